//! The tiles of one cache in one grid: loaded where they are kept and fresh, created otherwise.

use std::sync::Arc;

use mapproxy_grid::{Coverage, TileCoord, TileGrid};
use mapproxy_image::{ImageFormat, ImageOptions};
use mapproxy_map::{Dimensions, MapError, MapSource, Purpose};

use crate::store::TileStore;
use crate::{RefreshBefore, Tile, TileLocker};

/// How missing tiles are created.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Tiles of a meta tile in x and y.
    pub meta_size: (u32, u32),
    /// Pixels around a meta tile.
    pub meta_buffer: u32,
    /// Tile sources are asked for a whole meta tile's tiles at once.
    pub bulk_meta_tiles: bool,
    /// One request for the missing tiles of a map instead of one for each meta tile.
    pub minimize_meta_requests: bool,
    /// Meta tiles (or bulk tiles) created at once.
    pub concurrent_creators: usize,
    /// What sources are asked for.
    pub request_format: ImageFormat,
}

/// Missing tiles from other levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescaling {
    /// From up to so many coarser levels.
    Up(u8),
    /// From up to so many finer levels.
    Down(u8),
}

/// The parts of a [`TileManager`].
#[derive(Debug)]
pub struct ManagerOptions {
    /// Name of the cache in the configuration.
    pub name: Arc<str>,
    /// The grid.
    pub grid: Arc<TileGrid>,
    /// Where tiles are kept; `None`: `disable_storage`.
    pub store: Option<Arc<dyn TileStore>>,
    /// Locks; `None` with `disable_storage`.
    pub locker: Option<TileLocker>,
    /// Who draws missing tiles, bottom to top; none: only what is stored.
    pub sources: Vec<Arc<dyn MapSource>>,
    /// Of the tiles; `format` is set.
    pub image: Arc<ImageOptions>,
    /// How missing tiles are created.
    pub creation: Creation,
    /// Tiles too old are created anew.
    pub refresh_before: Option<RefreshBefore>,
    /// Tiles outside are empty; with `clip`, tiles are cut at its edge.
    pub coverage: Option<Coverage>,
    /// Missing tiles from other levels.
    pub rescaling: Option<Rescaling>,
    /// Rescaled tiles are stored.
    pub cache_rescaled_tiles: bool,
}

/// The tiles of one cache in one grid.
#[derive(Debug)]
pub struct TileManager {
    options: ManagerOptions,
}

impl TileManager {
    /// Checks that the parts fit (`meta tiling configured but not supported by all sources`, …).
    pub fn new(options: ManagerOptions) -> Result<Self, String> {
        Ok(TileManager { options })
    }
    /// Name of the cache in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.options.name
    }
    /// The grid.
    pub fn grid(&self) -> &Arc<TileGrid> {
        &self.options.grid
    }
    /// Options of the tiles.
    pub fn image(&self) -> &Arc<ImageOptions> {
        &self.options.image
    }
    /// The tile if it can be had at once: kept and fresh, or known to be empty. Never waits for a source or a lock:
    /// one open, one stat, one read at most, nothing decoded. `Ok(None)`: ask [`TileManager::load`].
    pub fn load_kept(&self, coord: TileCoord, dimensions: &Dimensions) -> Result<Option<Tile>, MapError> {
        let _ = (coord, dimensions);
        todo!()
    }
    /// One tile, created if need be.
    pub fn load(&self, coord: TileCoord, dimensions: &Dimensions) -> Result<Tile, MapError> {
        let _ = (coord, dimensions);
        todo!()
    }
    /// Several tiles of one level; places outside of the grid (`None`) are empty.
    pub fn load_many(
        &self,
        coords: &[Option<TileCoord>],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Vec<Tile>, MapError> {
        let _ = (coords, dimensions, purpose);
        todo!()
    }
}
