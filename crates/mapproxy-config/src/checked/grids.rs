//! Grids as parameters: the `base` chain folded, defaults filled in, nothing computed.

use std::sync::Arc;

use super::Name;
use crate::position::Origin;

/// The parameters of a tile grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The key in `grids`, by which caches refer to it.
    pub key: Name,
    /// The name clients and directories see: `name` if given, the key otherwise.
    pub name: Name,
    /// Where it was written; empty for a built-in grid.
    pub at: Origin,
    /// `srs` as written, such as `EPSG:25832`. Default `EPSG:900913`.
    pub srs: Arc<str>,
    /// `bbox` as `[min x, min y, max x, max y]`. `None` means the whole extent, which only EPSG:4326 and web mercator
    /// have; other SRS without bbox were refused.
    pub bbox: Option<[f64; 4]>,
    /// `bbox_srs`: SRS of `bbox` where it differs from `srs`.
    pub bbox_srs: Option<Arc<str>>,
    /// `tile_size` in pixels as `[width, height]`. Default 256 × 256.
    pub tile_size: [u32; 2],
    /// `origin`.
    pub origin: GridOrigin,
    /// How the levels come about.
    pub levels: Levels,
    /// `threshold_res`, as written.
    pub threshold_res: Vec<f64>,
    /// `stretch_factor`: by how much tiles may be enlarged before the next level is used. Default 1.15.
    pub stretch_factor: f64,
    /// `max_shrink_factor`: by how much tiles of the first level may be reduced. Default 4.
    pub max_shrink_factor: f64,
}

/// The corner tiles are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GridOrigin {
    /// `ll` or `sw`: lower left, rows count northward.
    #[default]
    LowerLeft,
    /// `ul` or `nw`: upper left, rows count southward.
    UpperLeft,
}

/// How the levels of a grid come about.
#[derive(Debug, Clone, PartialEq)]
pub enum Levels {
    /// `res`: listed, in units of the SRS per pixel, largest first.
    Listed(Vec<f64>),
    /// Computed from the other options.
    Computed {
        /// `min_res`: the first resolution. `None`: one tile covers the bbox.
        min_res: Option<f64>,
        /// `max_res`: the last resolution.
        max_res: Option<f64>,
        /// `num_levels`.
        num_levels: Option<u32>,
        /// `res_factor`; `None` is 2, or that of the grid aligned with.
        factor: Option<ResFactor>,
        /// `align_resolutions_with`: key of the grid whose resolutions are taken over.
        align_with: Option<Name>,
    },
}

/// By how much the resolution falls from level to level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ResFactor {
    /// A number.
    Value(f64),
    /// `sqrt2`: the square root of 2.
    Sqrt2,
}
