//! Tile grids (tile matrix sets): levels, tile boxes, the tiles that a map needs.

use crate::{Bbox, Size, Srs};

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
    stretch_factor: f64,
    max_shrink_factor: f64,
    threshold_res: Vec<f64>,
}

/// How the levels of a grid are said.
#[derive(Clone, Debug, Default)]
pub struct Resolutions {
    /// All resolutions, in any order (`res`).
    pub list: Option<Vec<f64>>,
    /// Factor between levels (`res_factor`); `None` is 2.
    pub factor: Option<f64>,
    /// The coarsest resolution (`min_res`).
    pub min_res: Option<f64>,
    /// The finest resolution (`max_res`).
    pub max_res: Option<f64>,
    /// Number of levels (`num_levels`).
    pub num_levels: Option<u32>,
    /// Resolutions of the grid to align with (`align_resolutions_with`).
    pub align_with: Option<Vec<f64>>,
}

/// Collects the parts of a [`TileGrid`]; see [`TileGrid::builder`].
#[derive(Clone, Debug)]
pub struct TileGridBuilder {
    /// Name, as it appears in WMTS and paths.
    pub name: String,
    /// The SRS.
    pub srs: Srs,
    /// The box in `bbox_srs`; `None` takes the world for geographic WGS 84 and web mercator.
    pub bbox: Option<Bbox>,
    /// SRS of `bbox` where it is not the grid's.
    pub bbox_srs: Option<Srs>,
    /// Origin of tile 0/0.
    pub origin: Origin,
    /// Pixels of a tile.
    pub tile_size: Size,
    /// The levels.
    pub resolutions: Resolutions,
    /// How much a tile may be enlarged before the next level is used.
    pub stretch_factor: f64,
    /// How far beyond the coarsest level's resolution maps may still be drawn.
    pub max_shrink_factor: f64,
    /// Resolutions at which levels switch, in any order.
    pub threshold_res: Vec<f64>,
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
    /// The box has no area or lies outside.
    #[error("Invalid BBOX")]
    InvalidBbox,
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

impl TileGridBuilder {
    /// Checks the parts and computes levels.
    pub fn build(self) -> Result<TileGrid, GridError> {
        todo!()
    }
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
    /// The box of a tile, rounded as MapProxy does (12 digits).
    pub fn tile_bbox(&self, tile: TileCoord) -> Bbox {
        let _ = tile;
        todo!()
    }
    /// The tile counted from the other origin (rows - 1 - y).
    pub fn flip(&self, tile: TileCoord) -> TileCoord {
        let rows = self.levels[usize::from(tile.z)].rows;
        TileCoord { y: rows - 1 - tile.y, ..tile }
    }
    /// Tiles may be addressed from `origin`: it is the grid's own, or all levels cover the bbox in whole rows.
    pub fn supports_origin(&self, origin: Origin) -> bool {
        let _ = origin;
        todo!()
    }
    /// The level whose tiles draw a map of `resolution` (SRS units per pixel) best.
    pub fn closest_level(&self, resolution: f64) -> u8 {
        let _ = resolution;
        todo!()
    }
    /// The tiles for a map of `bbox` (in `srs`) with `size` pixels, and the box in the grid's SRS: on the level whose
    /// resolution fits best. `Ok(None)`: coarser than `max_shrink_factor` allows, or beside the grid.
    pub fn affected_tiles(&self, bbox: &Bbox, size: Size, srs: &Srs) -> Result<Option<AffectedTiles>, GridError> {
        let _ = (bbox, size, srs);
        todo!()
    }
    /// The tiles of `level` that meet `bbox` (in the grid's SRS).
    pub fn affected_level_tiles(&self, bbox: &Bbox, level: u8) -> Result<AffectedTiles, GridError> {
        let _ = (bbox, level);
        todo!()
    }
    /// Each tile of this grid is also a tile of `other` (same SRS, tile size, resolutions, aligned boxes).
    pub fn is_subset_of(&self, other: &TileGrid) -> bool {
        let _ = other;
        todo!()
    }
}
