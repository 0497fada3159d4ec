//! Tiles: kept in stores, created on demand under locks, joined to maps.
//!
//! [`TileManager`] gives tiles of one cache in one grid; [`CachedMap`] makes a [`mapproxy_map::MapSource`] of it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cached_legend;
mod cached_map;
mod complaints;
mod creator;
mod fill;
mod filter;
mod flight;
mod fs;
mod key;
mod lock;
mod manager;
mod parallel;
mod refresh;
mod renderd;
mod rescale;
pub mod store;
#[cfg(test)]
mod testkit;
mod tile;

pub use cached_legend::CachedLegend;
pub use cached_map::{CachedMap, CachedTiles};
pub use fill::{MadeTiles, Making};
pub use filter::{Spacing, Watermark};
pub use fs::Permissions;
pub use key::TileKey;
pub use lock::{LockError, TileLock, TileLocker};
pub use manager::{Creation, DataTiles, ManagerOptions, Rescaling, TileManager};
pub use refresh::RefreshBefore;
pub use renderd::Renderd;
pub use tile::Tile;
