//! What is to be done with a cache, with nothing left to look up.

use std::sync::Arc;
use std::time::SystemTime;

use mapproxy_cache::TileManager;
use mapproxy_grid::Coverage;

/// Tiles to make: of one cache in one grid.
#[derive(Clone, Debug)]
pub struct SeedTask {
    /// The key in `seeds`.
    pub name: Arc<str>,
    /// The cache in the grid.
    pub manager: Arc<TileManager>,
    /// Levels to make, ascending, each one the grid has.
    pub levels: Vec<u8>,
    /// Only tiles that meet it; `None`: the whole grid.
    pub coverage: Option<Coverage>,
    /// Which tiles that are there are made again.
    pub refresh: Refresh,
    /// Of the finest so many of `levels`, the tiles are not compared with the coverage: all below a tile that meets it
    /// are made. Saves time where the coverage has many points.
    pub skip_geoms_for_last_levels: u8,
}

/// Which stored tiles are made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// None: only missing ones are made.
    Missing,
    /// Those stored at this moment or earlier, and all where the store knows no times. Fixed for the whole run.
    Before(SystemTime),
}

/// Tiles to remove: of one cache in one grid.
#[derive(Clone, Debug)]
pub struct CleanupTask {
    /// The key in `cleanups`.
    pub name: Arc<str>,
    /// The cache in the grid.
    pub manager: Arc<TileManager>,
    /// Levels to clean, ascending, each one the grid has.
    pub levels: Vec<u8>,
    /// Only tiles that meet it; `None`: all, those outside of the grid's box included.
    pub coverage: Option<Coverage>,
    /// Which tiles go.
    pub remove: Remove,
}

/// Which tiles a cleanup removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// All of them.
    All,
    /// Those stored at this moment or earlier.
    Before(SystemTime),
}
