//! Tile grids (tile matrix sets): levels, tile boxes, the tiles that a map needs.
//!
//! Boxes of tiles end up in requests to upstream servers, digit by digit: the order of the operations in
//! [`TileGrid::tile_bbox`] and its helpers is MapProxy's and must stay.

mod build;

pub use build::{Resolutions, TileGridBuilder};

use crate::rounding::round_digits;
use crate::{Bbox, Size, Srs, TransformError};

/// Which corner tile 0/0 lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// South-west (`ll`, `sw`): rows count northwards.
    #[default]
    LowerLeft,
    /// North-west (`ul`, `nw`): rows count southwards.
    UpperLeft,
}

/// One tile of a grid, in the grid's own origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileCoord {
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
    /// Level, 0 the coarsest.
    pub z: u8,
}

impl TileCoord {
    /// Column `x`, row `y`, level `z`.
    pub const fn new(x: u32, y: u32, z: u8) -> Self {
        TileCoord { x, y, z }
    }
}

/// One zoom level (tile matrix).
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// SRS units per pixel.
    pub resolution: f64,
    /// Tiles in x.
    pub columns: u32,
    /// Tiles in y.
    pub rows: u32,
}

/// A pyramid of equally sized tiles over one bbox in one SRS.
#[derive(Clone, Debug)]
pub struct TileGrid {
    name: String,
    srs: Srs,
    bbox: Bbox,
    origin: Origin,
    tile_size: Size,
    levels: Vec<Level>,
    /// Levels after the last one that were left out.
    dropped_levels: usize,
    stretch_factor: f64,
    max_shrink_factor: f64,
    /// The largest first.
    threshold_res: Vec<f64>,
}

/// A grid that cannot be, or a map that a grid cannot give.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The parts contradict each other; the text says which and how to mend it.
    #[error("grid {grid}: {reason}")]
    Invalid {
        /// Name of the grid.
        grid: String,
        /// What is wrong.
        reason: String,
    },
    /// The box has no area, or less than a tenth of a pixel.
    #[error("Invalid BBOX")]
    InvalidBbox,
    /// The grid has no such level.
    #[error("grid {grid} has no level {level}")]
    NoLevel {
        /// Name of the grid.
        grid: String,
        /// The level.
        level: u8,
    },
    /// More tiles than one list may hold.
    #[error("the map needs {columns} x {rows} tiles, at most {max} can be listed", max = TileRange::MAX_TILES)]
    TooManyTiles {
        /// Tiles in x.
        columns: u64,
        /// Tiles in y.
        rows: u64,
    },
    /// The box has no image in the grid's SRS.
    #[error(transparent)]
    Transform(#[from] TransformError),
}

/// The tiles needed for a map.
#[derive(Clone, Debug, PartialEq)]
pub struct AffectedTiles {
    /// The box of all tiles together, in the grid's SRS.
    pub bbox: Bbox,
    /// Tiles in x.
    pub columns: u32,
    /// Tiles in y.
    pub rows: u32,
    /// The level.
    pub level: u8,
    /// Row-wise from the north-west; `None` outside of the grid.
    pub tiles: Vec<Option<TileCoord>>,
}

impl TileGrid {
    /// A grid in `srs` with MapProxy's defaults (256×256, lower left, factor 2, 20 levels).
    pub fn builder(name: &str, srs: Srs) -> TileGridBuilder {
        TileGridBuilder {
            name: name.to_owned(),
            srs,
            bbox: None,
            bbox_srs: None,
            origin: Origin::LowerLeft,
            tile_size: Size::new(256, 256),
            resolutions: Resolutions::default(),
            stretch_factor: 1.15,
            max_shrink_factor: 4.0,
            threshold_res: Vec::new(),
        }
    }

    /// Name, as it appears in WMTS and paths.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The SRS.
    pub fn srs(&self) -> &Srs {
        &self.srs
    }
    /// The box, in the grid's SRS.
    pub fn bbox(&self) -> Bbox {
        self.bbox
    }
    /// Which corner tile 0/0 lies in.
    pub fn origin(&self) -> Origin {
        self.origin
    }
    /// Pixels of a tile.
    pub fn tile_size(&self) -> Size {
        self.tile_size
    }
    /// All levels, the coarsest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
    /// One level.
    pub fn level(&self, z: u8) -> Option<&Level> {
        self.levels.get(usize::from(z))
    }
    /// The tile exists.
    pub fn contains_tile(&self, tile: TileCoord) -> bool {
        self.level(tile.z).is_some_and(|l| tile.x < l.columns && tile.y < l.rows)
    }
    /// How many of the finest levels asked for were left out, because their columns or rows do not fit 32 bits. No map
    /// needs them, but whoever wrote the configuration may be told.
    pub fn dropped_levels(&self) -> usize {
        self.dropped_levels
    }
    /// The box of a tile, rounded as MapProxy does (12 digits).
    ///
    /// A level beyond the last one has the last one's resolution.
    pub fn tile_bbox(&self, tile: TileCoord) -> Bbox {
        self.cell_bbox(i64::from(tile.x), i64::from(tile.y), self.resolution(tile.z))
    }
    /// The tile counted from the other origin (rows - 1 - y); a tile outside of the grid stays as it is.
    pub fn flip(&self, tile: TileCoord) -> TileCoord {
        let flipped = self.level(tile.z).and_then(|level| (level.rows - 1).checked_sub(tile.y));
        TileCoord { y: flipped.unwrap_or(tile.y), ..tile }
    }
    /// Tiles may be addressed from `origin`: it is the grid's own, or all levels cover the bbox in whole rows.
    pub fn supports_origin(&self, origin: Origin) -> bool {
        if origin == self.origin {
            return true;
        }
        let tolerance = self.bbox.min_y.abs().max(self.bbox.max_y.abs()) / 1e12;
        let (top, bottom) = (self.bbox.max_y, self.bbox.min_y);
        self.levels.iter().all(|level| {
            let last = self.cell_bbox(0, i64::from(level.rows) - 1, level.resolution);
            match self.origin {
                Origin::LowerLeft => (last.max_y - top).abs() <= tolerance,
                Origin::UpperLeft => (last.min_y - bottom).abs() <= tolerance,
            }
        })
    }

    /// The level whose tiles draw a map of `resolution` (SRS units per pixel) best.
    ///
    /// The first level that need not be stretched by more than the stretch factor; a finer one is better as long as it
    /// is not finer than the map. Thresholds go first.
    pub fn closest_level(&self, resolution: f64) -> u8 {
        let coarsest = self.levels[0].resolution;
        let mut thresholds = self.threshold_res.iter().copied().skip_while(|&t| t > coarsest).peekable();
        let mut before = coarsest;
        let mut candidate = None;
        for (index, level) in (0..=u8::MAX).zip(&self.levels) {
            let here = level.resolution;
            if let Some(&threshold) = thresholds.peek()
                && before > threshold
                && threshold >= here
            {
                if resolution > threshold {
                    return index - 1;
                } else if resolution >= here {
                    return index;
                }
                thresholds.next();
            }
            if let Some(candidate) = candidate
                && here < resolution
            {
                return candidate;
            }
            if here <= resolution * self.stretch_factor {
                candidate = Some(index);
            }
            before = here;
        }
        self.last_level()
    }

    /// The tiles for a map of `bbox` (in `srs`) with `size` pixels, and the box in the grid's SRS: on the level whose
    /// resolution fits best. `Ok(None)`: coarser than `max_shrink_factor` allows, or beside the grid.
    pub fn affected_tiles(&self, bbox: &Bbox, size: Size, srs: &Srs) -> Result<Option<AffectedTiles>, GridError> {
        self.affected_range(bbox, size, srs)?.map(|range| self.list(&range)).transpose()
    }

    /// Like [`affected_tiles`](Self::affected_tiles), without the list: for checking the number of tiles first.
    pub fn affected_range(&self, bbox: &Bbox, size: Size, srs: &Srs) -> Result<Option<TileRange>, GridError> {
        let Some((bbox, level)) = self.affected_bbox_and_level(bbox, size, srs)? else { return Ok(None) };
        self.level_range(&bbox, level).map(Some)
    }

    /// The map's box in the grid's SRS, and the level whose resolution fits best; `None` as for
    /// [`affected_tiles`](Self::affected_tiles).
    pub fn affected_bbox_and_level(&self, bbox: &Bbox, size: Size, srs: &Srs) -> Result<Option<(Bbox, u8)>, GridError> {
        if size.width == 0 || size.height == 0 || bbox.to_array().iter().any(|v| !v.is_finite()) {
            return Err(GridError::InvalidBbox);
        }
        let bbox = srs.transform_bbox(&self.srs, bbox)?;
        if !self.bbox.intersects(&bbox) {
            return Ok(None);
        }
        let (x_res, y_res) = bbox.resolution(size);
        let resolution = x_res.min(y_res);
        if resolution > self.levels[0].resolution * self.max_shrink_factor {
            return Ok(None);
        }
        Ok(Some((bbox, self.closest_level(resolution))))
    }

    /// The tiles of `level` that meet `bbox` (in the grid's SRS).
    pub fn affected_level_tiles(&self, bbox: &Bbox, level: u8) -> Result<AffectedTiles, GridError> {
        self.list(&self.level_range(bbox, level)?)
    }

    /// Like [`affected_level_tiles`](Self::affected_level_tiles), without the list.
    ///
    /// A tenth of a pixel on each side does not count.
    pub fn level_range(&self, bbox: &Bbox, level: u8) -> Result<TileRange, GridError> {
        let Some(Level { resolution, columns, rows }) = self.level(level) else {
            return Err(GridError::NoLevel { grid: self.name.clone(), level });
        };
        if bbox.to_array().iter().any(|v| !v.is_finite()) {
            return Err(GridError::InvalidBbox);
        }
        let margin = resolution / 10.0;
        let (x0, y0) = self.cell_at(bbox.min_x + margin, bbox.min_y + margin, *resolution);
        let (x1, y1) = self.cell_at(bbox.max_x - margin, bbox.max_y - margin, *resolution);
        let (bottom, top) = (y0, y1);
        let (y0, y1) = (bottom.min(top), bottom.max(top));
        let is_upright = match self.origin {
            Origin::LowerLeft => bottom <= top,
            Origin::UpperLeft => top <= bottom,
        };
        if x0 > x1 || !is_upright {
            return Err(GridError::InvalidBbox);
        }
        let south_west = self.cell_bbox(x0, bottom, *resolution);
        let north_east = self.cell_bbox(x1, top, *resolution);
        let bbox = Bbox::new(south_west.min_x, south_west.min_y, north_east.max_x, north_east.max_y);
        Ok(TileRange { bbox, level, x0, x1, y0, y1, step: (1, 1), size: (*columns, *rows), origin: self.origin })
    }

    /// Each tile of this grid is also a tile of `other` (same SRS, tile size, resolutions, aligned boxes), as far as
    /// `other` reaches.
    pub fn is_subset_of(&self, other: &TileGrid) -> bool {
        if self.srs != other.srs || self.tile_size != other.tile_size || !self.bbox.intersects(&other.bbox) {
            return false;
        }
        (0..=self.last_level()).zip(&self.levels).all(|(level, own)| {
            let Some(twin) = other.levels.iter().position(|theirs| theirs.resolution == own.resolution) else {
                return false;
            };
            let twin = u8::try_from(twin).expect("a grid has at most 256 levels");
            let (Ok(own), Ok(theirs)) = (self.level_range(&self.bbox, level), other.level_range(&self.bbox, twin))
            else {
                return false;
            };
            let (x, y) = (own.bbox.width() / 1e6, own.bbox.height() / 1e6);
            own.columns() == theirs.columns()
                && own.rows() == theirs.rows()
                && own.bbox.almost_equals(&theirs.bbox, x, y)
        })
    }

    fn last_level(&self) -> u8 {
        u8::try_from(self.levels.len() - 1).expect("a grid has at most 256 levels")
    }

    /// Of the level, or of the last one.
    pub(crate) fn resolution(&self, level: u8) -> f64 {
        self.levels[usize::from(level.min(self.last_level()))].resolution
    }

    /// The box of the cell in column `x` and row `y`, which need not be in the grid.
    pub(crate) fn cell_bbox(&self, x: i64, y: i64, resolution: f64) -> Bbox {
        let (width, height) = (f64::from(self.tile_size.width), f64::from(self.tile_size.height));
        let along = |n: i64, pixels: f64| round_digits(n as f64 * resolution * pixels, 12);
        let min_x = self.bbox.min_x + along(x, width);
        let max_x = min_x + round_digits(resolution * width, 12);
        let tile_height = round_digits(resolution * height, 12);
        let (min_y, max_y) = match self.origin {
            Origin::LowerLeft => {
                let min_y = self.bbox.min_y + along(y, height);
                (min_y, min_y + tile_height)
            }
            Origin::UpperLeft => {
                let max_y = self.bbox.max_y - along(y, height);
                (max_y - tile_height, max_y)
            }
        };
        Bbox::new(min_x, min_y, max_x, max_y)
    }

    /// Column and row of the cell with the point, inside of the grid or not.
    fn cell_at(&self, x: f64, y: f64, resolution: f64) -> (i64, i64) {
        let x = x - self.bbox.min_x;
        let y = match self.origin {
            Origin::LowerLeft => y - self.bbox.min_y,
            Origin::UpperLeft => self.bbox.max_y - y,
        };
        let width = resolution * f64::from(self.tile_size.width);
        let height = resolution * f64::from(self.tile_size.height);
        // Far beyond any grid; keeps sums of cells within bounds.
        const FAR: f64 = (1_i64 << 53) as f64;
        let cell = |n: f64| n.floor().clamp(-FAR, FAR) as i64;
        (cell(x / width), cell(y / height))
    }

    pub(crate) fn list(&self, range: &TileRange) -> Result<AffectedTiles, GridError> {
        let (columns, rows) = (range.columns(), range.rows());
        let too_many = || GridError::TooManyTiles { columns, rows };
        if columns.saturating_mul(rows) > TileRange::MAX_TILES {
            return Err(too_many());
        }
        Ok(AffectedTiles {
            bbox: range.bbox,
            columns: u32::try_from(columns).map_err(|_| too_many())?,
            rows: u32::try_from(rows).map_err(|_| too_many())?,
            level: range.level,
            tiles: range.tiles().collect(),
        })
    }
}

/// A rectangle of cells, the last ones included; it may reach beyond the grid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    pub(crate) x0: i64,
    pub(crate) x1: i64,
    pub(crate) y0: i64,
    pub(crate) y1: i64,
    pub(crate) level: u8,
}

/// A rectangle of cells on one level; it may reach beyond the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct TileRange {
    /// The box of all cells together, in the grid's SRS.
    pub bbox: Bbox,
    /// The level.
    pub level: u8,
    x0: i64,
    x1: i64,
    y0: i64,
    y1: i64,
    /// From one column or row to the next.
    step: (i64, i64),
    /// Columns and rows of the level.
    size: (u32, u32),
    origin: Origin,
}

impl TileRange {
    pub(crate) fn of_cells(grid: &TileGrid, bbox: Bbox, cells: Cells) -> TileRange {
        let Cells { x0, x1, y0, y1, level } = cells;
        let size = grid.level(level).map_or((0, 0), |level| (level.columns, level.rows));
        TileRange { bbox, level, x0, x1, y0, y1, step: (1, 1), size, origin: grid.origin }
    }

    /// The first cells of groups of `columns` by `rows`, and the box of all groups together.
    pub(crate) fn grouped(&self, grid: &TileGrid, columns: u32, rows: u32) -> TileRange {
        let step = (i64::from(columns), i64::from(rows));
        let first = |n: i64, step: i64| n.div_euclid(step) * step;
        let (x0, x1) = (first(self.x0, step.0), first(self.x1, step.0));
        let (y0, y1) = (first(self.y0, step.1), first(self.y1, step.1));
        let resolution = grid.resolution(self.level);
        let corner = grid.cell_bbox(x0, y0, resolution);
        let bbox = corner.union(&grid.cell_bbox(x1 + step.0 - 1, y1 + step.1 - 1, resolution));
        TileRange { bbox, x0, x1, y0, y1, step, ..self.clone() }
    }

    /// More tiles are never put into one list.
    pub const MAX_TILES: u64 = 1 << 22;

    /// Tiles in x.
    pub fn columns(&self) -> u64 {
        self.x1.abs_diff(self.x0) / self.step.0.unsigned_abs() + 1
    }

    /// Tiles in y.
    pub fn rows(&self) -> u64 {
        self.y1.abs_diff(self.y0) / self.step.1.unsigned_abs() + 1
    }

    /// The first and the last tile in columns and rows as the grid counts them; `None`: all lie outside of the grid.
    pub fn corners(&self) -> Option<(TileCoord, TileCoord)> {
        let inside = |first: i64, last: i64, count: u32| {
            let last = last.min(i64::from(count) - 1);
            Some((u32::try_from(first.max(0)).ok()?, u32::try_from(last).ok()?)).filter(|(first, last)| first <= last)
        };
        let (x0, x1) = inside(self.x0, self.x1, self.size.0)?;
        let (y0, y1) = inside(self.y0.min(self.y1), self.y0.max(self.y1), self.size.1)?;
        Some((TileCoord::new(x0, y0, self.level), TileCoord::new(x1, y1, self.level)))
    }

    /// Row-wise from the north-west, whatever the origin; `None` outside of the grid.
    pub fn tiles(&self) -> impl Iterator<Item = Option<TileCoord>> {
        let &TileRange { level, x0, y0, y1, step, size, origin, .. } = self;
        let (columns, rows) = (self.columns() as i64, self.rows() as i64);
        (0..rows).flat_map(move |row| {
            let y = match origin {
                Origin::LowerLeft => y1 - row * step.1,
                Origin::UpperLeft => y0 + row * step.1,
            };
            (0..columns).map(move |column| {
                let inside = |n: i64, limit: u32| u32::try_from(n).ok().filter(|n| *n < limit);
                Some(TileCoord::new(inside(x0 + column * step.0, size.0)?, inside(y, size.1)?, level))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grid(origin: Origin, srs: &str, res: Option<Vec<f64>>) -> TileGrid {
        let mut builder = TileGrid::builder("test", Srs::new(srs).unwrap());
        builder.origin = origin;
        builder.bbox = Some(Bbox::new(-170.5, -80.25, 175.125, 83.0));
        builder.tile_size = Size::new(256, 100);
        builder.resolutions.list = res;
        builder.build().unwrap()
    }

    #[test]
    fn contradictions_are_errors_that_name_the_grid_and_the_option() {
        type Change = fn(&mut TileGridBuilder);
        let changes: [(Change, &str); 12] = [
            (|b| b.srs = Srs::new("EPSG:25832").unwrap(), "need a bbox for grid with SRS EPSG:25832"),
            (|b| b.bbox = Some(Bbox::new(10.0, 10.0, 0.0, 0.0)), "bbox"),
            (|b| b.bbox = Some(Bbox::new(0.0, 0.0, f64::NAN, 1.0)), "bbox"),
            (|b| b.tile_size = Size::new(0, 256), "tile_size"),
            (|b| b.resolutions.list = Some(vec![10.0, 0.0]), "resolution 0"),
            (|b| (b.resolutions.list, b.resolutions.max_res) = (Some(vec![10.0]), Some(3.0)), "max_res"),
            (|b| (b.resolutions.max_res, b.resolutions.num_levels) = (Some(3.0), Some(1)), "num_levels"),
            (|b| (b.resolutions.max_res, b.resolutions.factor) = (Some(3.0), Some(1.0)), "res_factor 1"),
            (|b| b.resolutions.factor = Some(-1.0), "res_factor"),
            (|b| b.resolutions.min_res = Some(-5.0), "min_res"),
            (|b| b.resolutions.align_with = Some(vec![5.0]), "align_resolutions_with"),
            (|b| (b.resolutions.factor, b.resolutions.max_res) = (Some(1.0001), Some(1.0)), "levels"),
        ];
        for (change, reason) in changes {
            let mut builder = TileGrid::builder("mine", Srs::web_mercator());
            change(&mut builder);
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with("grid mine: ") && error.contains(reason), "{error} / {reason}");
        }
    }

    #[test]
    fn levels_whose_tiles_cannot_be_counted_are_left_out() {
        let mut builder = TileGrid::builder("deep", Srs::web_mercator());
        builder.resolutions.num_levels = Some(40);
        let grid = builder.build().unwrap();
        assert_eq!((grid.levels().len(), grid.dropped_levels()), (32, 8));
        assert_eq!(grid.closest_level(1e-9), 31);
    }

    #[test]
    fn a_box_that_would_need_millions_of_tiles_is_an_error_and_its_number_is_known() {
        let grid = TileGrid::builder("world", Srs::web_mercator()).build().unwrap();
        let stripe = Bbox::new(-2e7, 0.0, 2e7, 1e7);
        assert!(matches!(grid.affected_level_tiles(&stripe, 19), Err(GridError::TooManyTiles { .. })));
        let range = grid.level_range(&stripe, 19).unwrap();
        assert!(range.columns() > 500_000 && range.rows() > 100_000);
        assert_eq!(range.tiles().next(), Some(Some(TileCoord::new(490, 392_970, 19))));
        let far = Bbox::new(-1e300, -1e300, 1e300, 1e300);
        assert!(matches!(grid.affected_level_tiles(&far, 19), Err(GridError::TooManyTiles { .. })));
        assert!(matches!(grid.affected_level_tiles(&far, 20), Err(GridError::NoLevel { .. })));
    }

    #[test]
    fn boxes_without_area_and_maps_without_pixels_are_invalid() {
        let grid = TileGrid::builder("world", Srs::web_mercator()).build().unwrap();
        let affected = |bbox: [f64; 4], size| {
            let [a, b, c, d] = bbox;
            grid.affected_tiles(&Bbox::new(a, b, c, d), size, grid.srs())
        };
        let size = Size::new(10, 10);
        for bbox in [[0.0; 4], [0.0, 0.0, 10.0, 0.0], [0.0, 0.0, f64::NAN, 1.0], [0.0, 0.0, f64::INFINITY, 1.0]] {
            assert!(matches!(affected(bbox, size), Err(GridError::InvalidBbox)), "{bbox:?}");
        }
        assert!(matches!(affected([0.0, 0.0, 1.0, 1.0], Size::new(0, 10)), Err(GridError::InvalidBbox)));
        assert!(affected([3e7, 0.0, 3.1e7, 1e6], size).unwrap().is_none());
    }

    #[test]
    fn flipping_counts_rows_from_the_other_side() {
        let grid = TileGrid::builder("world", Srs::web_mercator()).build().unwrap();
        assert_eq!(grid.flip(TileCoord::new(3, 1, 3)), TileCoord::new(3, 6, 3));
        assert_eq!(grid.flip(TileCoord::new(3, 99, 3)), TileCoord::new(3, 99, 3));
        assert_eq!(grid.flip(TileCoord::new(3, 1, 99)), TileCoord::new(3, 1, 99));
    }

    #[test]
    fn the_corners_of_a_range_are_those_of_its_tiles() {
        for origin in [Origin::LowerLeft, Origin::UpperLeft] {
            let grid = grid(origin, "EPSG:4326", None);
            let around = grid.bbox();
            for bbox in [Bbox::new(-10.0, 20.0, 30.0, 50.0), Bbox::new(-500.0, -500.0, 0.0, 0.0), around] {
                let range = grid.level_range(&bbox, 5).unwrap();
                let tiles: Vec<TileCoord> = range.tiles().flatten().collect();
                let (first, last) = range.corners().unwrap();
                let columns = tiles.iter().map(|tile| tile.x);
                let rows = tiles.iter().map(|tile| tile.y);
                assert_eq!((first.x, first.y), (columns.clone().min().unwrap(), rows.clone().min().unwrap()));
                assert_eq!((last.x, last.y), (columns.max().unwrap(), rows.max().unwrap()));
            }
            let beside = grid.level_range(&Bbox::new(500.0, 0.0, 600.0, 10.0), 5).unwrap();
            assert_eq!(beside.corners(), None);
        }
    }

    proptest! {
        #[test]
        fn the_box_of_a_tile_needs_that_tile_only(
            upper in any::<bool>(), z in 0_u8..12, x in 0.0_f64..1.0, y in 0.0_f64..1.0,
        ) {
            let origin = if upper { Origin::UpperLeft } else { Origin::LowerLeft };
            let grid = grid(origin, "EPSG:4326", None);
            let level = grid.level(z).unwrap();
            let tile = TileCoord::new((x * f64::from(level.columns)) as u32, (y * f64::from(level.rows)) as u32, z);
            prop_assert!(grid.contains_tile(tile));
            let bbox = grid.tile_bbox(tile);
            let found = grid.affected_level_tiles(&bbox, z).unwrap();
            prop_assert_eq!(&found.tiles, &[Some(tile)]);
            prop_assert_eq!(found.bbox, bbox);
            if grid.bbox().contains(&bbox) {
                let map = grid.affected_tiles(&bbox, grid.tile_size(), grid.srs()).unwrap().unwrap();
                prop_assert_eq!(map.tiles, [Some(tile)]);
            }
        }

        #[test]
        fn the_tiles_of_a_box_cover_it(
            upper in any::<bool>(), z in 0_u8..6,
            x in -200.0_f64..200.0, y in -100.0_f64..100.0, w in 0.1_f64..90.0, h in 0.1_f64..90.0,
        ) {
            let origin = if upper { Origin::UpperLeft } else { Origin::LowerLeft };
            let grid = grid(origin, "EPSG:4326", Some(vec![1.3, 0.7, 0.31, 0.2, 0.07, 0.05]));
            let bbox = Bbox::new(x, y, x + w, y + h);
            let found = match grid.affected_level_tiles(&bbox, z) {
                Err(GridError::InvalidBbox) => {
                    prop_assert!(w.min(h) <= 0.2 * grid.level(z).unwrap().resolution + 1e-9);
                    return Ok(());
                }
                other => other.unwrap(),
            };
            let margin = grid.level(z).unwrap().resolution * 0.1001;
            prop_assert!(found.bbox.min_x <= x + margin && found.bbox.max_x >= x + w - margin);
            prop_assert!(found.bbox.min_y <= y + margin && found.bbox.max_y >= y + h - margin);
            prop_assert_eq!(found.tiles.len(), found.columns as usize * found.rows as usize);
            for tile in found.tiles.iter().flatten() {
                prop_assert!(grid.contains_tile(*tile));
            }
            // Row-wise from the north-west.
            let inside: Vec<Bbox> = found.tiles.iter().flatten().map(|tile| grid.tile_bbox(*tile)).collect();
            for pair in inside.windows(2) {
                let same_row = (pair[0].min_y - pair[1].min_y).abs() < 1e-6;
                let is_after = if same_row { pair[0].min_x < pair[1].min_x } else { pair[0].min_y > pair[1].min_y };
                prop_assert!(is_after, "{} after {}", pair[1], pair[0]);
            }
        }

        #[test]
        fn each_resolution_has_a_level(res in prop::num::f64::POSITIVE) {
            let grid = grid(Origin::LowerLeft, "EPSG:4326", None);
            prop_assert!(grid.level(grid.closest_level(res)).is_some());
        }
    }
}
