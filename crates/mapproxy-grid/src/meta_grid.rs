//! Meta tiles: several tiles asked from a source in one request, with a buffer around.

use std::sync::Arc;

use crate::rounding::round_digits;
use crate::tile_grid::{Cells, TileRange};
use crate::{AffectedTiles, Bbox, GridError, Size, TileCoord, TileGrid};

/// Groups the tiles of a grid.
#[derive(Clone, Debug)]
pub struct MetaGrid {
    grid: Arc<TileGrid>,
    meta_size: (u32, u32),
    buffer: u32,
}

/// Where a tile lies in its meta tile's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePlace {
    /// The tile; `None` outside of the grid.
    pub tile: Option<TileCoord>,
    /// Left edge in the picture, in pixels.
    pub x: i64,
    /// Top edge in the picture, in pixels.
    pub y: i64,
}

/// A meta tile: what to ask and how to cut.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaTile {
    /// The box to ask for, buffer included, in the grid's SRS.
    pub bbox: Bbox,
    /// The picture's pixels, buffer included.
    pub size: Size,
    /// The tile that names the meta tile in locks: [`MetaGrid::main_tile`] of its first tile.
    ///
    /// Of a minimal meta tile, it is the main tile of a full one, and need not be among `tiles`.
    pub main: TileCoord,
    /// The tiles, row-wise from the north-west.
    pub tiles: Vec<TilePlace>,
}

impl MetaGrid {
    /// Meta tiles of `meta_size` tiles with `buffer` pixels around.
    pub fn new(grid: Arc<TileGrid>, meta_size: (u32, u32), buffer: u32) -> Self {
        MetaGrid { grid, meta_size, buffer }
    }
    /// The grid.
    pub fn grid(&self) -> &Arc<TileGrid> {
        &self.grid
    }
    /// Tiles in x and y of a full meta tile.
    pub fn meta_size(&self) -> (u32, u32) {
        self.meta_size
    }
    /// Pixels around.
    pub fn buffer(&self) -> u32 {
        self.buffer
    }
    /// The meta tile that `tile` belongs to.
    pub fn meta_tile(&self, tile: TileCoord) -> MetaTile {
        let first = self.main_tile(tile);
        let (columns, rows) = self.level_meta_size(tile.z);
        self.meta_tile_of(Cells {
            x0: i64::from(first.x),
            x1: i64::from(first.x) + i64::from(columns) - 1,
            y0: i64::from(first.y),
            y1: i64::from(first.y) + i64::from(rows) - 1,
            level: tile.z,
        })
    }

    /// The tile that names `tile`'s meta tile: of its tiles, the one with the lowest column and row.
    pub fn main_tile(&self, tile: TileCoord) -> TileCoord {
        let (columns, rows) = self.level_meta_size(tile.z);
        TileCoord::new(tile.x / columns * columns, tile.y / rows * rows, tile.z)
    }

    /// The smallest meta tile with all of `tiles` (of one level, not empty): for `minimize_meta_requests`.
    ///
    /// # Panics
    ///
    /// If `tiles` is empty.
    pub fn minimal_meta_tile(&self, tiles: &[TileCoord]) -> MetaTile {
        let first = tiles.first().expect("a meta tile has tiles");
        let (x, y) = (i64::from(first.x), i64::from(first.y));
        let start = Cells { x0: x, x1: x, y0: y, y1: y, level: first.z };
        self.meta_tile_of(tiles.iter().fold(start, |cells, tile| Cells {
            x0: cells.x0.min(i64::from(tile.x)),
            x1: cells.x1.max(i64::from(tile.x)),
            y0: cells.y0.min(i64::from(tile.y)),
            y1: cells.y1.max(i64::from(tile.y)),
            level: cells.level,
        }))
    }

    /// The main tiles (see [`main_tile`](Self::main_tile)) of all meta tiles of `level` that meet `bbox` (in the grid's
    /// SRS), row-wise from the north-west; `None` outside of the grid.
    pub fn affected_level_tiles(&self, bbox: &Bbox, level: u8) -> Result<AffectedTiles, GridError> {
        let (columns, rows) = self.level_meta_size(level);
        self.grid.list(&self.grid.level_range(bbox, level)?.grouped(&self.grid, columns, rows))
    }

    /// Tiles in x and y of a meta tile on this level: no more than the level has.
    pub fn level_meta_size(&self, level: u8) -> (u32, u32) {
        let (columns, rows) = self.grid.level(level).map_or((u32::MAX, u32::MAX), |level| (level.columns, level.rows));
        (self.meta_size.0.clamp(1, columns), self.meta_size.1.clamp(1, rows))
    }

    fn meta_tile_of(&self, cells: Cells) -> MetaTile {
        let resolution = self.grid.resolution(cells.level);
        let (bbox, buffers) = self.buffered(self.cells_bbox(&cells, resolution), resolution);
        let tile_size = self.grid.tile_size();
        let range = TileRange::of_cells(&self.grid, bbox, cells);
        let columns = range.columns() as i64;
        let tiles: Vec<TilePlace> = (0_i64..)
            .zip(range.tiles())
            .map(|(index, tile)| TilePlace {
                tile,
                x: index % columns * i64::from(tile_size.width) + buffers.left,
                y: index / columns * i64::from(tile_size.height) + buffers.top,
            })
            .collect();
        let first = tiles.iter().find_map(|place| place.tile);
        MetaTile {
            bbox,
            size: Size::new(pixels(bbox.width(), resolution), pixels(bbox.height(), resolution)),
            main: self.main_tile(first.unwrap_or(TileCoord::new(0, 0, cells.level))),
            tiles,
        }
    }

    /// The box of all tiles, without buffer.
    fn cells_bbox(&self, cells: &Cells, resolution: f64) -> Bbox {
        let a = self.grid.cell_bbox(cells.x0, cells.y0, resolution);
        let b = self.grid.cell_bbox(cells.x1, cells.y1, resolution);
        a.union(&b)
    }

    /// The box with the buffer around, cut at the grid's edge, and the pixels of the buffer that are left: where the
    /// tiles begin in the picture. Negative where the tiles themselves reach beyond the grid.
    fn buffered(&self, bbox: Bbox, resolution: f64) -> (Bbox, Buffers) {
        let buffer = i64::from(self.buffer);
        if buffer == 0 {
            return (bbox, Buffers { left: 0, top: 0 });
        }
        let (width, limit) = (buffer as f64 * resolution, self.grid.bbox());
        let mut bbox = Bbox::new(bbox.min_x - width, bbox.min_y - width, bbox.max_x + width, bbox.max_y + width);
        let mut buffers = Buffers { left: buffer, top: buffer };
        let whole_pixels = |length: f64| round_digits(length / resolution, 5).trunc() as i64;
        if limit.min_x > bbox.min_x {
            buffers.left -= whole_pixels(limit.min_x - bbox.min_x);
            bbox.min_x = limit.min_x;
        }
        if limit.max_y < bbox.max_y {
            buffers.top -= whole_pixels(bbox.max_y - limit.max_y);
            bbox.max_y = limit.max_y;
        }
        bbox.min_y = bbox.min_y.max(limit.min_y);
        bbox.max_x = bbox.max_x.min(limit.max_x);
        (bbox, buffers)
    }
}

/// Pixels between the edge of the picture and its first tile.
struct Buffers {
    left: i64,
    top: i64,
}

/// How many pixels a length takes; at least one.
fn pixels(length: f64, resolution: f64) -> u32 {
    // A float becomes the nearest number that fits.
    ((length / resolution).round_ties_even() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Srs;

    fn web_mercator(origin: crate::Origin) -> Arc<TileGrid> {
        let mut builder = TileGrid::builder("mercator", Srs::web_mercator());
        builder.origin = origin;
        Arc::new(builder.build().unwrap())
    }

    #[test]
    fn a_meta_tile_of_one_tile_still_has_a_buffer() {
        let meta = MetaGrid::new(web_mercator(crate::Origin::UpperLeft), (1, 1), 80).meta_tile(TileCoord::new(2, 2, 3));
        assert_eq!(meta.size, Size::new(416, 416));
        assert_eq!(meta.tiles, [TilePlace { tile: Some(TileCoord::new(2, 2, 3)), x: 80, y: 80 }]);
    }

    #[test]
    fn a_minimal_meta_tile_is_named_as_the_full_one_of_its_first_tile() {
        // The names of MapProxy's lock files for these tiles.
        let tiles = |rows: [u32; 2]| rows.map(|y| [3, 4, 5].map(|x| TileCoord::new(x, y, 3))).concat();
        for (origin, tiles, main) in [
            (crate::Origin::LowerLeft, tiles([6, 5]), TileCoord::new(0, 4, 3)),
            (crate::Origin::UpperLeft, tiles([1, 2]), TileCoord::new(0, 0, 3)),
        ] {
            let meta = MetaGrid::new(web_mercator(origin), (4, 4), 80).minimal_meta_tile(&tiles);
            assert_eq!((meta.main, meta.size), (main, Size::new(928, 672)));
            let places: Vec<TileCoord> = meta.tiles.iter().filter_map(|place| place.tile).collect();
            assert_eq!(places, tiles);
        }
        let metas = MetaGrid::new(web_mercator(crate::Origin::LowerLeft), (4, 4), 80);
        assert_eq!(metas.meta_tile(TileCoord::new(5, 2, 3)).main, TileCoord::new(4, 0, 3));
    }

    #[test]
    fn a_level_smaller_than_the_meta_size_is_one_meta_tile() {
        let metas = MetaGrid::new(web_mercator(crate::Origin::LowerLeft), (4, 4), 0);
        assert_eq!(metas.level_meta_size(0), (1, 1));
        assert_eq!(metas.level_meta_size(1), (2, 2));
        assert_eq!(metas.meta_tile(TileCoord::new(1, 1, 1)).size, Size::new(512, 512));
    }

    #[test]
    fn tiles_beyond_the_grid_or_its_levels_are_no_panic() {
        let metas = MetaGrid::new(web_mercator(crate::Origin::LowerLeft), (0, u32::MAX), u32::MAX);
        for tile in [TileCoord::new(u32::MAX, u32::MAX, 0), TileCoord::new(1, 1, 255)] {
            let _ = metas.main_tile(tile);
        }
        let metas = MetaGrid::new(web_mercator(crate::Origin::LowerLeft), (2, 2), u32::MAX);
        for tile in [TileCoord::new(u32::MAX, u32::MAX, 3), TileCoord::new(u32::MAX, 0, 255)] {
            assert!(metas.meta_tile(tile).size.width > 0);
        }
    }
}
