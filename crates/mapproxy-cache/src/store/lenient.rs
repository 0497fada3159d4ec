//! A store whose failures to read are missing tiles: a cache server that is away is a cache that has nothing.
//!
//! Tiles are made by their sources then, as they would be without a cache. Failures to write and to remove stay errors:
//! whoever serves a tile tells it in the log, whoever seeds or cleans up must know.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::compact::{Defragment, Defragmented};
use super::visit::{Visit, Visitor};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;
use crate::complaints::Complaints;

/// How often the same failure is told.
const SILENCE: Duration = Duration::from_secs(60);

/// A store whose failures to read are missing tiles.
#[derive(Debug)]
pub struct Lenient {
    store: Arc<dyn TileStore>,
    cache: Arc<str>,
    told: Complaints<String>,
}

impl Lenient {
    /// Bears with `store`, which is that of `cache`.
    pub fn new(store: Arc<dyn TileStore>, cache: Arc<str>) -> Self {
        Lenient { store, cache, told: Complaints::every(SILENCE) }
    }

    fn or_missing<T>(&self, result: Result<T, StoreError>, missing: impl FnOnce() -> T) -> Result<T, StoreError> {
        match result {
            // Whoever asks for a tile that cannot have a name is not answered that there is none.
            Err(error) if !error.action.starts_with("name") => {
                let cache = &self.cache;
                self.told.about(&error.reason, |more| {
                    log::error!(target: "mapproxy.cache.store", "cache {cache}: {error}; taken for missing{more}");
                });
                mapproxy_trace::error(&error);
                Ok(missing())
            }
            result => result,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for Lenient {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn lock_id(&self) -> String {
        self.store.lock_id()
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        self.or_missing(self.store.load(key), || None)
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        self.or_missing(self.store.load_at_once(key), || AtOnce::Unknown)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.store.store(key, tile)
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        self.store.remove(key)
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        self.store.remove_level(level, before)
    }

    /// Who looks at all tiles must know what cannot be looked at.
    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        self.store.visit(wanted, visitor)
    }

    fn place(&self, key: &TileKey) -> String {
        self.store.place(key)
    }

    fn defragment(&self, wanted: Defragment, tell: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        self.store.defragment(wanted, tell)
    }

    fn level_folder(&self, level: u8) -> Option<PathBuf> {
        self.store.level_folder(level)
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        self.store.remove_many(keys)
    }

    fn sweep(&self, keys: &[TileKey]) {
        self.store.sweep(keys);
    }

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        self.or_missing(self.store.metadata(key), || None)
    }

    /// Asked by who fills a cache, and must know.
    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        self.store.times(keys, look)
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.or_missing(self.store.load_many(keys), || vec![None; keys.len()])
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.or_missing(self.store.reload(keys), || vec![None; keys.len()])
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        self.store.store_many(tiles)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mapproxy_grid::TileCoord;

    use super::*;
    use crate::store::conformance::store_suite;
    use crate::testkit::{AwayStore, file_store};

    #[test]
    fn a_store_that_works_is_a_store() {
        store_suite(|| {
            let (store, guard) = file_store();
            (Lenient::new(store, "osm".into()), guard)
        });
    }

    #[test]
    fn what_cannot_be_read_is_missing_and_what_cannot_be_written_is_an_error() {
        let store = Lenient::new(Arc::new(AwayStore::default()), "osm".into());
        let key = TileKey::new(TileCoord::new(1, 2, 3));
        assert!(store.load(&key).unwrap().is_none());
        assert_eq!(store.metadata(&key).unwrap(), None);
        assert_eq!(store.load_many(&[key.clone(), key.clone()]).unwrap().len(), 2);
        assert!(matches!(store.load_at_once(&key).unwrap(), AtOnce::Unknown));
        let tile = TileData::new(Bytes::from_static(b"tile"));
        assert!(store.store(&key, &tile).is_err());
        assert!(store.times(std::slice::from_ref(&key), Look::Presence).is_err());
        assert!(store.remove(&key).is_err());
        assert!(store.remove_level(3, None).is_err());
    }
}
