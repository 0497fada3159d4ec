//! One name for a tile wherever it is loaded, locked or stored.

use mapproxy_grid::TileCoord;
use mapproxy_map::Dimensions;

/// A tile of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TileKey {
    /// Place in the cache's grid, counted from the grid's own origin.
    pub coord: TileCoord,
    /// Dimension values, sorted; empty for most caches.
    pub dimensions: Dimensions,
}

impl TileKey {
    /// A tile without dimensions.
    pub fn new(coord: TileCoord) -> Self {
        TileKey { coord, dimensions: Dimensions::default() }
    }
}
