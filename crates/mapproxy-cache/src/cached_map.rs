//! A cache as a map source.

use std::sync::Arc;

use mapproxy_image::MapImage;
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::TileManager;

/// Draws any map from the tiles of one cache in one grid: joined, scaled, reprojected.
#[derive(Debug)]
pub struct CachedMap {
    manager: Arc<TileManager>,
    profile: SourceProfile,
    max_tile_limit: Option<u64>,
}

impl CachedMap {
    /// `profile.extent` limits what is asked; `max_tile_limit` is `None` for caches as sources of caches.
    pub fn new(manager: Arc<TileManager>, profile: SourceProfile, max_tile_limit: Option<u64>) -> Self {
        CachedMap { manager, profile, max_tile_limit }
    }
    /// The tiles behind.
    pub fn manager(&self) -> &Arc<TileManager> {
        &self.manager
    }
}

impl MapSource for CachedMap {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = (query, self.max_tile_limit);
        todo!()
    }
}

/// Gives single tiles of a cache as they are stored: a cache as source of a cache whose grid is a subset of its own.
#[derive(Debug)]
pub struct CachedTiles {
    manager: Arc<TileManager>,
    profile: SourceProfile,
}

impl CachedTiles {
    /// `profile.access` is `TilesOf` the asking cache's grid.
    pub fn new(manager: Arc<TileManager>, profile: SourceProfile) -> Self {
        CachedTiles { manager, profile }
    }
}

impl MapSource for CachedTiles {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = (query, &self.manager);
        todo!()
    }
}
