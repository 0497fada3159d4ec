//! Where tiles are kept. Stores know nothing of images, sources or sharing between workers.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_grid::{Bbox, TileGrid};

use self::compact::{Defragment, Defragmented};
use self::visit::{Visit, Visitor};
use crate::TileKey;

pub mod compact;
pub mod conformance;
pub mod couchdb;
pub mod file;
pub mod layout;
mod lenient;
pub mod objects;
pub mod pmtiles;
mod presence;
pub mod redis;
pub mod sqlite;
pub mod tier;
pub mod visit;

pub use compact::CompactStore;
pub use couchdb::CouchdbStore;
pub use file::FileStore;
pub use lenient::Lenient;
pub use objects::ObjectStore;
pub use pmtiles::PmtilesStore;
pub use redis::RedisStore;

/// Facts about a store.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Tiles have a time of their own.
    pub timestamps: bool,
    /// Tiles differ by dimension values.
    pub dimensions: bool,
    /// [`TileData::single_color`] is of use.
    pub single_color: bool,
}

/// A tile as kept.
#[derive(Clone, Debug)]
pub struct StoredTile {
    /// The file.
    pub bytes: Bytes,
    /// Its time and size.
    pub meta: TileMeta,
}

/// Time and size of a kept tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileMeta {
    /// When it was stored; `None` where the store does not say.
    pub modified: Option<SystemTime>,
    /// Bytes.
    pub size: u64,
}

/// A tile that is there, as far as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When it was stored; `None` where the store does not say, or was not asked.
    pub modified: Option<SystemTime>,
}

/// What is wanted of many tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whether they are there.
    Presence,
    /// When they were stored, too.
    Times,
}

/// What is known of a tile without waiting.
#[derive(Clone, Debug)]
pub enum AtOnce {
    /// The tile, or that it is missing.
    Known(Option<StoredTile>),
    /// Only [`TileStore::load`] can tell.
    Unknown,
}

/// A store that cannot read or write.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action} {what}: {reason}")]
pub struct StoreError {
    /// `read`, `write`, `remove`, …
    pub action: &'static str,
    /// File, key or table.
    pub what: String,
    /// Why, and what to do.
    pub reason: String,
}

/// The grid is that of most web maps: one tile for the world in web mercator, four for each on the next level. What it
/// counts rows from does not matter.
pub fn is_web_mercator_quad(grid: &TileGrid) -> bool {
    /// Half of the world's width in metres.
    const HALF: f64 = 20_037_508.342_789_244;
    let is_world = grid.bbox().almost_equals(&Bbox::new(-HALF, -HALF, HALF, HALF), 1.0, 1.0);
    let is_mercator = matches!(grid.srs().epsg(), Some(3857 | 900_913 | 3785 | 102_100 | 102_113));
    let (first, levels) = (grid.levels()[0].resolution, grid.levels());
    is_world
        && is_mercator
        && grid.tile_size().width == grid.tile_size().height
        && (0_i32..).zip(levels).all(|(z, level)| {
            let count = 1_u64 << z.min(63);
            (level.resolution * 2_f64.powi(z) / first - 1.0).abs() < 1e-6
                && (u64::from(level.columns), u64::from(level.rows)) == (count, count)
        })
}

/// Keeps encoded tiles.
pub trait TileStore: fmt::Debug + Send + Sync {
    /// Facts about this store.
    fn capabilities(&self) -> Capabilities;
    /// What the names of this store's lock files begin with: MapProxy's, so that both may share a cache.
    fn lock_id(&self) -> String;
    /// A tile and its time, or `None`. One look-up, nothing decoded.
    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError>;
    /// The same for threads that must not wait: no network, and no lock that somebody else may hold.
    fn load_at_once(&self, _key: &TileKey) -> Result<AtOnce, StoreError> {
        Ok(AtOnce::Unknown)
    }
    /// Keeps a tile; atomic: a reader sees the old one or the new one.
    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError>;
    /// Forgets a tile; a missing one is no error.
    fn remove(&self, key: &TileKey) -> Result<(), StoreError>;
    /// Forgets the tiles of a level, of all dimensions: all, or those stored at `before` or earlier. A store without times
    /// refuses the latter.
    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError>;
    /// Shows all tiles that `wanted` asks for, each once, until the visitor breaks off; a bounded number is in memory. Tiles
    /// of all dimensions are shown, and those that are too old to be loaded, too.
    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError>;
    /// Where a tile is, or would be, for people: a file, an object, a row.
    fn place(&self, key: &TileKey) -> String;
    /// The folder that has all tiles of a level without dimensions, where there is one and its name says so.
    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }
    /// Writes files anew of which much is not in use any more, and tells of each. `Ok(false)`: this store has none that
    /// would need it.
    fn defragment(&self, _wanted: Defragment, _tell: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }
    /// Removes what processes that died while they stored these tiles have left behind. The caller holds the tiles' lock.
    /// Stores whose writes are transactions have nothing to do.
    fn sweep(&self, _keys: &[TileKey]) {}
    /// Time and size only.
    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        Ok(self.load(key)?.map(|tile| tile.meta))
    }
    /// Looks for several tiles, reading none; `None`: missing. As the store has them now, not as copies may have them. A tile
    /// that is damaged is there all the same.
    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        let stored = |meta: TileMeta| Stored { modified: meta.modified.filter(|_| look == Look::Times) };
        keys.iter().map(|key| Ok(self.metadata(key)?.map(stored))).collect()
    }
    /// Several tiles at once.
    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        keys.iter().map(|key| self.load(key)).collect()
    }
    /// The same for who has waited for a lock: the tiles as they are kept now, and not copies that may be older.
    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }
    /// Forgets several tiles.
    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| self.remove(key))
    }
    /// Several tiles at once.
    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        tiles.iter().try_for_each(|(key, tile)| self.store(key, tile))
    }
}

/// A tile to be kept.
#[derive(Clone, Debug)]
pub struct TileData {
    /// The file.
    pub bytes: Bytes,
    /// The colour of all pixels, where there is only one: stores may link such tiles. Told only to stores whose
    /// capabilities ask for it.
    pub single_color: Option<SingleColor>,
    /// When it was made, where that is not now: kept by the stores that write times themselves. Object stores and Redis
    /// have their own.
    pub modified: Option<SystemTime>,
}

impl TileData {
    /// A tile made now, of nobody knows how many colours.
    pub fn new(bytes: Bytes) -> TileData {
        TileData { bytes, single_color: None, modified: None }
    }
}

/// The colour of all pixels of a tile, without alpha where its pixels have none. Displayed as in the names of MapProxy's
/// `single_color_tiles`: two hexadecimal digits for each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SingleColor {
    /// Red, green, blue.
    Rgb([u8; 3]),
    /// Red, green, blue, alpha.
    Rgba([u8; 4]),
}

impl fmt::Display for SingleColor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples: &[u8] = match self {
            SingleColor::Rgb(samples) => samples,
            SingleColor::Rgba(samples) => samples,
        };
        samples.iter().try_for_each(|sample| write!(f, "{sample:02x}"))
    }
}
