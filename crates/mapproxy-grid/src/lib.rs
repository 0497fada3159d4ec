//! The mathematics of maps: boxes, spatial reference systems, tile grids, meta tiles and coverages.
//!
//! No I/O of its own; PROJ answers what a coordinate means. Inside MapProxy all coordinates are x/y (east, north),
//! whatever the axis order of the SRS; protocols swap at their border.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bbox;
pub mod coverage;
mod extent;
mod meta_grid;
mod proj_db;
mod resolution;
mod rounding;
mod srs;
mod tile_grid;
mod transform;

pub use bbox::{Bbox, Size};
pub use coverage::{Coverage, CoverageError, Relation};
pub use extent::MapExtent;
pub use meta_grid::{MetaGrid, MetaTile, TilePlace};
pub use proj_db::{SrsDescription, set_proj_data_dir};
pub use resolution::{METERS_PER_DEGREE, PIXEL_SIZE_M, ResolutionRange};
pub use srs::{Srs, SrsError, SupportedSrs};
pub use tile_grid::{
    AffectedTiles, GridError, Level, Origin, Resolutions, TileCoord, TileGrid, TileGridBuilder, TileRange,
};
pub use transform::TransformError;
