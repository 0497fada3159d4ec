//! A store with copies of its tiles nearer by: in memory, or on a disk in front of a network.
//!
//! The store below is the truth. It is written first and asked first for whatever there is no copy of; a copy is believed
//! for `max_age` after the store below was last asked, then asked about again. So a tile that another process replaced or
//! removed is served for no longer than that, unless the store below cannot be asked: then what is here is served. What
//! fails with the copies fails nobody. Tiers may be stacked: the copies of one are the truth of the next.

mod disk;
mod memory;
mod room;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mapproxy_trace as trace;

pub use self::disk::DiskCopies;
pub use self::memory::MemoryCopies;
use super::compact::{Defragment, Defragmented};
use super::visit::{Visit, Visitor};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;
use crate::complaints::Complaints;

/// Where copies of tiles are kept. Nothing here fails: what cannot be kept is not kept.
pub trait Copies: fmt::Debug + Send + Sync {
    /// Copies are in this process's memory: keeping and finding them makes nobody wait.
    const IN_MEMORY: bool;
    /// A copy, and when it was last known to be what the store below has; `None` for not since the start.
    fn get(&self, key: &TileKey) -> Option<(StoredTile, Option<Instant>)>;
    /// The same without the tile itself.
    fn metadata(&self, key: &TileKey) -> Option<(TileMeta, Option<Instant>)>;
    /// Keeps a tile that the store below has now.
    fn keep(&self, key: &TileKey, tile: &StoredTile);
    /// Notes that a copy is what the store below has now.
    fn confirm(&self, key: &TileKey, tile: &StoredTile);
    /// Forgets a copy.
    fn forget(&self, key: &TileKey);
    /// Forgets the copies of a level, or those of tiles stored at `before` or earlier.
    fn forget_level(&self, level: u8, before: Option<SystemTime>);
}

/// A store with copies of its tiles nearer by.
#[derive(Debug)]
pub struct Tier<C> {
    copies: C,
    below: Arc<dyn TileStore>,
    max_age: Duration,
    writes: Writes,
    told: Complaints<String>,
}

/// How often the same failure is told.
const SILENCE: Duration = Duration::from_secs(60);

impl<C: Copies> Tier<C> {
    /// Puts `copies` before `below`, to be believed for `max_age`.
    pub fn new(copies: C, below: Arc<dyn TileStore>, max_age: Duration) -> Self {
        Tier { copies, below, max_age, writes: Writes::default(), told: Complaints::every(SILENCE) }
    }

    fn is_believed(&self, confirmed: Option<Instant>) -> bool {
        confirmed.is_some_and(|confirmed| confirmed.elapsed() < self.max_age)
    }

    /// A copy that is believed.
    fn copy(&self, key: &TileKey) -> Result<StoredTile, Option<StoredTile>> {
        match self.copies.get(key) {
            Some((tile, confirmed)) if self.is_believed(confirmed) => {
                if C::IN_MEMORY {
                    trace::count(trace::Tiles { remembered: 1, ..trace::Tiles::default() });
                }
                Ok(tile)
            }
            doubted => Err(doubted.map(|(tile, _)| tile)),
        }
    }

    /// What the store below has, where there is no copy, or only one in doubt.
    fn load_below(&self, key: &TileKey, doubted: Option<StoredTile>) -> Result<Option<StoredTile>, StoreError> {
        let seen = self.writes.seen(key);
        if let Some(copy) = &doubted
            && copy.meta.modified.is_some()
        {
            match self.below.metadata(key) {
                Ok(Some(meta)) if meta == copy.meta => {
                    self.writes.unless_written(key, seen, || self.copies.confirm(key, copy));
                    return Ok(doubted);
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.writes.unless_written(key, seen, || self.copies.forget(key));
                    return Ok(None);
                }
                Err(error) => return self.instead(error, doubted),
            }
        }
        match self.below.load(key) {
            Ok(tile) => {
                self.take_over(key, seen, tile.as_ref(), doubted.is_some());
                Ok(tile)
            }
            Err(error) => self.instead(error, doubted),
        }
    }

    /// Copies what the store below gave; forgets the copy of what it does not have.
    fn take_over(&self, key: &TileKey, seen: u64, tile: Option<&StoredTile>, had_copy: bool) {
        match tile {
            Some(tile) => self.writes.unless_written(key, seen, || self.copies.keep(key, tile)),
            None if had_copy => self.writes.unless_written(key, seen, || self.copies.forget(key)),
            None => {}
        }
    }

    /// A copy in doubt is better than a failure.
    fn instead(&self, error: StoreError, copy: Option<StoredTile>) -> Result<Option<StoredTile>, StoreError> {
        match copy {
            Some(copy) => {
                self.complain(&error);
                Ok(Some(copy))
            }
            None => Err(error),
        }
    }

    fn complain(&self, error: &StoreError) {
        self.told.about(&error.reason, |more| {
            log::warn!(target: "mapproxy.cache.tiered", "{error}; copies are served unchecked{more}");
        });
        trace::error(error);
    }

    /// Several tiles, those without a copy to believe in one go.
    fn load_all(
        &self,
        keys: &[TileKey],
        copies: Vec<Result<StoredTile, Option<StoredTile>>>,
        load: impl Fn(&[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError>,
    ) -> Result<Vec<Option<StoredTile>>, StoreError> {
        let (mut tiles, mut wanted) = (Vec::with_capacity(keys.len()), Vec::new());
        for (place, copy) in copies.into_iter().enumerate() {
            match copy {
                Ok(tile) => tiles.push(Some(tile)),
                Err(doubted) => {
                    wanted.push(place);
                    tiles.push(doubted);
                }
            }
        }
        if wanted.is_empty() {
            return Ok(tiles);
        }
        let names: Vec<TileKey> = wanted.iter().map(|place| keys[*place].clone()).collect();
        let seen: Vec<u64> = names.iter().map(|key| self.writes.seen(key)).collect();
        match load(&names) {
            Ok(found) => {
                for (((place, key), seen), tile) in wanted.into_iter().zip(&names).zip(seen).zip(found) {
                    self.take_over(key, seen, tile.as_ref(), tiles[place].is_some());
                    tiles[place] = tile;
                }
                Ok(tiles)
            }
            Err(error) if wanted.iter().all(|place| tiles[*place].is_some()) => {
                self.complain(&error);
                Ok(tiles)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes something below and in the copies; nothing that was read before is kept after it. `copy` gets the place of
    /// a key, and what must not have been written since for it to keep something.
    fn write<'a>(
        &self,
        keys: impl Iterator<Item = &'a TileKey> + Clone,
        below: impl FnOnce() -> Result<(), StoreError>,
        copy: impl Fn(usize, u64),
    ) -> Result<(), StoreError> {
        for key in keys.clone() {
            self.writes.note(key);
        }
        let result = below();
        for (place, key) in keys.enumerate() {
            let seen = self.writes.note(key);
            match &result {
                Ok(()) => copy(place, seen),
                Err(_) => self.copies.forget(key),
            }
        }
        result
    }

    /// Copies a tile that was stored just now, with the time that the store below gave it.
    fn copy_stored(&self, key: &TileKey, tile: &TileData, seen: u64) {
        let meta = self.below.metadata(key);
        self.writes.unless_written(key, seen, || match meta {
            Ok(Some(meta)) if meta.size == tile.bytes.len() as u64 => {
                self.copies.keep(key, &StoredTile { bytes: tile.bytes.clone(), meta });
            }
            _ => self.copies.forget(key),
        });
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Copies> TileStore for Tier<C> {
    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn lock_id(&self) -> String {
        self.below.lock_id()
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        match self.copy(key) {
            Ok(tile) => Ok(Some(tile)),
            Err(doubted) => self.load_below(key, doubted),
        }
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        let doubted = match self.copy(key) {
            Ok(tile) => return Ok(AtOnce::Known(Some(tile))),
            Err(doubted) => doubted,
        };
        if !C::IN_MEMORY {
            return self.below.load_at_once(key);
        }
        let seen = self.writes.seen(key);
        let answer = self.below.load_at_once(key)?;
        if let AtOnce::Known(tile) = &answer {
            self.take_over(key, seen, tile.as_ref(), doubted.is_some());
        }
        Ok(answer)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.write(
            std::iter::once(key),
            || self.below.store(key, tile),
            |_, seen| {
                self.copy_stored(key, tile, seen);
            },
        )
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        self.write(std::iter::once(key), || self.below.remove(key), |_, _| self.copies.forget(key))
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        self.writes.note_all();
        let result = self.below.remove_level(level, before);
        self.writes.note_all();
        if result.is_ok() || before.is_none() {
            self.copies.forget_level(level, before);
        }
        result
    }

    /// What the last tier has: copies are no tiles of their own.
    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        self.below.visit(wanted, visitor)
    }

    fn place(&self, key: &TileKey) -> String {
        self.below.place(key)
    }

    fn defragment(&self, wanted: Defragment, tell: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        self.below.defragment(wanted, tell)
    }

    fn level_folder(&self, level: u8) -> Option<PathBuf> {
        self.below.level_folder(level)
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        self.write(keys.iter(), || self.below.remove_many(keys), |place, _| self.copies.forget(&keys[place]))
    }

    fn sweep(&self, keys: &[TileKey]) {
        self.below.sweep(keys);
    }

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        match self.copies.metadata(key) {
            Some((meta, confirmed)) if self.is_believed(confirmed) => Ok(Some(meta)),
            Some((meta, _)) => self.below.metadata(key).or_else(|error| {
                self.complain(&error);
                Ok(Some(meta))
            }),
            None => self.below.metadata(key),
        }
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        self.below.times(keys, look)
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        let copies = keys.iter().map(|key| self.copy(key)).collect();
        self.load_all(keys, copies, |keys| self.below.load_many(keys))
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        let copies = keys.iter().map(|key| Err(self.copies.get(key).map(|(tile, _)| tile))).collect();
        self.load_all(keys, copies, |keys| self.below.reload(keys))
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        let copy = |place: usize, seen| {
            let (key, tile) = &tiles[place];
            self.copy_stored(key, tile, seen);
        };
        self.write(tiles.iter().map(|(key, _)| key), || self.below.store_many(tiles), copy)
    }
}

/// Counts writes, so that nobody keeps as a copy what was read before a write and is no more. Keys share counters; the
/// counter of a key is locked only by who fills or changes copies, never by who finds one.
#[derive(Debug)]
struct Writes {
    counters: [Mutex<u64>; 64],
    hasher: RandomState,
}

impl Default for Writes {
    fn default() -> Self {
        Writes { counters: std::array::from_fn(|_| Mutex::new(0)), hasher: RandomState::new() }
    }
}

impl Writes {
    fn counter(&self, key: &TileKey) -> MutexGuard<'_, u64> {
        let index = self.hasher.hash_one(key) as usize % self.counters.len();
        self.counters[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, key: &TileKey) -> u64 {
        *self.counter(key)
    }

    fn unless_written(&self, key: &TileKey, seen: u64, change: impl FnOnce()) {
        let counter = self.counter(key);
        if *counter == seen {
            change();
        }
    }

    fn note(&self, key: &TileKey) -> u64 {
        let mut counter = self.counter(key);
        *counter += 1;
        *counter
    }

    fn note_all(&self) {
        for counter in &self.counters {
            *counter.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }
}

#[cfg(test)]
mod tests;
