//! Copies of tiles as files, within a limit of bytes: those not asked for lately go (`room.rs`).
//!
//! A file is as old as the tile is in the store below (its modification time), and its access time is when it was last
//! asked for, set at most once an hour. When a copy was last confirmed is known to this process alone.

use std::fs::{File, FileTimes};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;

use super::Copies;
use super::room::Room;
use crate::TileKey;
use crate::complaints::Complaints;
use crate::store::{FileStore, StoreError, StoredTile, TileMeta, TileStore as _};

/// Copies in files.
#[derive(Debug)]
pub struct DiskCopies {
    files: FileStore,
    room: Arc<Room>,
    known: Cache<TileKey, Known>,
    told: Complaints<String>,
}

/// What this process knows of a copy.
#[derive(Clone, Copy, Debug)]
struct Known {
    confirmed: Option<Instant>,
    touched: Option<Instant>,
}

/// Copies of which it is known when they were confirmed and asked for; others are confirmed anew.
const KNOWN: usize = 100_000;

/// How exact the order is in which copies go.
const TOUCH: Duration = Duration::from_secs(3600);

/// Stands for the time of a tile that has none.
const TIMELESS: SystemTime = UNIX_EPOCH;

impl DiskCopies {
    /// Copies below the directory of `files`, which nobody else uses, of about `max_size` bytes.
    pub fn new(files: FileStore, max_size: u64) -> Self {
        let room = Arc::new(Room::new(files.directory.clone(), files.layout, files.extension.clone(), max_size));
        DiskCopies { files, room, known: Cache::new(KNOWN), told: Complaints::every(Duration::from_secs(60)) }
    }

    /// What is wrong with the copies is wrong with nothing else.
    fn bear<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.told.about(&error.reason, |more| {
                    log::warn!(target: "mapproxy.cache.tiered", "{error}; going on without the copy{more}");
                });
            })
            .ok()
    }

    fn known(&self, key: &TileKey) -> Known {
        self.known.get(key).unwrap_or(Known { confirmed: None, touched: None })
    }

    /// Notes in the file that it was asked for. Where that cannot be, it goes a little earlier.
    fn touch(&self, key: &TileKey, known: Known) {
        if known.touched.is_some_and(|touched| touched.elapsed() < TOUCH) {
            return;
        }
        self.known.insert(key.clone(), Known { touched: Some(Instant::now()), ..known });
        if let Ok(path) = self.files.path(key)
            && let Ok(file) = File::open(path)
        {
            let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        }
    }
}

fn with_time(meta: TileMeta) -> TileMeta {
    TileMeta { modified: meta.modified.filter(|modified| *modified != TIMELESS), ..meta }
}

impl Copies for DiskCopies {
    const IN_MEMORY: bool = false;

    fn get(&self, key: &TileKey) -> Option<(StoredTile, Option<Instant>)> {
        let tile = self.bear(self.files.load(key))??;
        let known = self.known(key);
        self.touch(key, known);
        Some((StoredTile { meta: with_time(tile.meta), ..tile }, known.confirmed))
    }

    fn metadata(&self, key: &TileKey) -> Option<(TileMeta, Option<Instant>)> {
        let meta = self.bear(self.files.metadata(key))??;
        Some((with_time(meta), self.known(key).confirmed))
    }

    fn keep(&self, key: &TileKey, tile: &StoredTile) {
        let now = (Instant::now(), SystemTime::now());
        let times = FileTimes::new().set_modified(tile.meta.modified.unwrap_or(TIMELESS)).set_accessed(now.1);
        if self.bear(self.files.store_with_times(key, &tile.bytes, times)).is_none() {
            // The older copy would be taken for the new one.
            return self.forget(key);
        }
        self.known.insert(key.clone(), Known { confirmed: Some(now.0), touched: Some(now.0) });
        self.room.taken(tile.bytes.len() as u64);
    }

    fn confirm(&self, key: &TileKey, _tile: &StoredTile) {
        self.known.insert(key.clone(), Known { confirmed: Some(Instant::now()), ..self.known(key) });
    }

    fn forget(&self, key: &TileKey) {
        self.known.remove(key);
        self.bear(self.files.remove(key));
    }

    fn forget_level(&self, level: u8, before: Option<SystemTime>) {
        self.known.retain(|key, _| key.coord.z != level);
        self.bear(self.files.remove_level(level, before));
    }
}
