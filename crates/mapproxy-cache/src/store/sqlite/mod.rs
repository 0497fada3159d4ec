//! Tiles in SQLite files: `mbtiles`, `sqlite` (a file for each level) and `geopackage`.
//!
//! A cached tile is one look-up by a prepared statement on a connection that stays open; several tiles are several of
//! them in one transaction. A file has one writer in this process, which keeps the tiles of a meta tile, and those that
//! other threads have put down meanwhile, in one transaction; between processes SQLite's locks decide, and whoever finds the file locked tries again until
//! `sqlite_timeout` is over. What cannot be read because the file is damaged counts as missing, and is told in the log;
//! no file of a person's is ever removed or mended.
//!
//! Tiles with dimensions are in files of their own: `type: sqlite` has them below the directories that a file cache has
//! (`elevation-3000/time-2012/4.mbtiles`), the others in a folder beside the file
//! (`osm.dimensions/elevation-3000/time-2012/osm.mbtiles`).

pub mod contents;
mod database;
mod files;
mod gathering;
pub mod geopackage;
pub mod levels;
pub mod mbtiles;
mod pool;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod trouble;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use mapproxy_grid::TileCoord;
use rusqlite::Connection;

pub use database::FileOptions;
pub use pool::Pool;

use self::files::{Entry, Files, Part, Tiles};
use self::gathering::Batch;
use self::table::{After, Content, Listed, Table};
use self::trouble::Trouble;
use super::compact::{Defragment, Defragmented};
use super::visit::{Halt, SeenTile, Visit, Visited, Visitor, show};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;

/// Tiles in tables of SQLite files. Made by [`mbtiles::Mbtiles`], [`levels::Levels`] and [`geopackage::Geopackage`].
#[derive(Debug)]
pub struct SqliteStore {
    files: Files,
    table: Table,
    schema: Box<dyn Schema>,
    options: FileOptions,
    /// Tiles older than this are not seen.
    ttl: Option<Duration>,
    lock_id: String,
}

/// What the files of a store hold beside tiles.
trait Schema: fmt::Debug + Send + Sync {
    /// Makes what is missing; called on new files, and once on each that is written to.
    fn create(&self, connection: &Connection) -> Result<(), Trouble>;
    /// The file is for the tiles that are expected in it; asked once before it is read.
    fn verify(&self, _connection: &Connection) -> rusqlite::Result<Result<(), String>> {
        Ok(Ok(()))
    }
    /// [`Schema::verify`] has something to say.
    fn is_strict(&self) -> bool {
        false
    }
}

impl SqliteStore {
    /// Runs `work` on a file, of which is made sure first that it is the right one.
    fn read<T>(
        &self,
        entry: &Entry,
        wait: Duration,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        if self.schema.is_strict() {
            let generation = entry.database.generation();
            if entry.verified.load(Ordering::Relaxed) != generation {
                match entry.database.read(wait, |connection| self.schema.verify(connection)) {
                    Ok(verdict) => verdict.map_err(Trouble::Unsuitable)?,
                    // Not made yet, or its maker is at it.
                    Err(Trouble::NoTable(_)) => return Err(Trouble::Missing),
                    Err(trouble) => return Err(trouble),
                }
                entry.verified.store(generation, Ordering::Relaxed);
            }
        }
        entry.database.read(wait, work)
    }

    fn write<T>(&self, entry: &Entry, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let database = &entry.database;
        let prepare = |connection: &Connection| -> Result<(), Trouble> {
            self.schema.verify(connection).unwrap_or(Ok(())).map_err(Trouble::Unsuitable)?;
            self.schema.create(connection)
        };
        let result = database.write(&self.options, &prepare, |connection| {
            let generation = database.generation();
            if entry.prepared.load(Ordering::Relaxed) != generation {
                prepare(connection)?;
            }
            let value = work(connection)?;
            entry.prepared.store(generation, Ordering::Relaxed);
            Ok(value)
        });
        result.map_err(|trouble| {
            if matches!(trouble, Trouble::NoTable(_)) {
                entry.prepared.store(0, Ordering::Relaxed);
            }
            failed("write", entry, &trouble)
        })
    }

    /// What is missing, and what damage makes missing, is `missing`.
    fn or_missing<T>(&self, entry: &Entry, result: Result<T, Trouble>, missing: T) -> Result<T, StoreError> {
        match result {
            Ok(value) => Ok(value),
            Err(Trouble::Missing) => Ok(missing),
            Err(trouble @ (Trouble::NoTable(_) | Trouble::Corrupt(_))) => {
                entry.database.complain(&trouble);
                Ok(missing)
            }
            Err(trouble) => Err(failed("read", entry, &trouble)),
        }
    }

    fn is_visible(&self, meta: &TileMeta) -> bool {
        let age = meta.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        self.ttl.is_none_or(|ttl| age.is_none_or(|age| age <= ttl))
    }

    fn visit_part(&self, part: &Part, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), Halt> {
        let Part { entry, level, dimensions } = part;
        let wanted = Visit { level: *level, ..*wanted };
        let mut after = Some(After::beginning(*level, wanted.within.map_or(0, |cells| cells.min_x)));
        while let Some(place) = after {
            let list =
                self.read(entry, self.options.timeout, |connection| self.table.some(connection, &wanted, &place));
            let (rows, next) = match list {
                Ok(list) => list,
                Err(Trouble::Missing) => return Ok(()),
                Err(trouble @ (Trouble::NoTable(_) | Trouble::Corrupt(_) | Trouble::Unsuitable(_))) => {
                    let name = entry.database.path().display().to_string();
                    return show(visitor, Visited::Unreadable { name, reason: trouble.to_string() });
                }
                Err(trouble) => return Err(failed("read", entry, &trouble).into()),
            };
            for Listed { place, content, modified } in rows {
                let Some(coord) = place.coord() else {
                    if level.is_none() {
                        let name = format!("{}: {place}", entry.database.path().display());
                        show(visitor, Visited::Foreign { name })?;
                    }
                    continue;
                };
                let key = TileKey { coord, dimensions: Arc::clone(dimensions) };
                let seen = |meta, bytes| Visited::Tile(SeenTile { key: key.clone(), meta, bytes });
                let visited = match content {
                    Content::Unknown => seen(None, None),
                    Content::Size(size) => seen(Some(TileMeta { modified, size }), None),
                    Content::Bytes(bytes) => seen(Some(TileMeta { modified, size: bytes.len() as u64 }), Some(bytes)),
                    Content::Unusable => {
                        Visited::Broken { key, reason: "its row has no tile, or one too large".to_owned() }
                    }
                };
                show(visitor, visited)?;
            }
            after = next;
        }
        Ok(())
    }

    /// Tiles by the files they are in, each with its place in `keys`.
    fn by_file<'a>(&self, keys: impl Iterator<Item = &'a TileKey>) -> Result<Vec<Members>, StoreError> {
        let mut files: Vec<Members> = Vec::new();
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        for (index, key) in keys.enumerate() {
            let entry = self.files.entry(key)?;
            match files.last_mut() {
                Some((last, members)) if Arc::ptr_eq(last, &entry) => members.push(index),
                _ => {
                    let place = *places.entry(entry.database.path().to_owned()).or_insert(files.len());
                    match files.get_mut(place) {
                        Some((_, members)) => members.push(index),
                        None => files.push((entry, vec![index])),
                    }
                }
            }
        }
        Ok(files)
    }
}

/// Rows between two tiles of a column up to which one question is asked for both.
const MAX_GAP: u32 = 8;

/// Tiles removed in one transaction: others may write in between.
const REMOVED_AT_ONCE: usize = 2000;

/// A file and places of tiles in it.
type Members = (Arc<Entry>, Vec<usize>);

fn failed(action: &'static str, entry: &Entry, trouble: &Trouble) -> StoreError {
    StoreError { action, what: entry.database.path().display().to_string(), reason: trouble.to_string() }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: self.table.has_times(), dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        self.lock_id.clone()
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let entry = self.files.entry(key)?;
        let tile = self.read(&entry, self.options.timeout, |connection| self.table.load(connection, key.coord));
        Ok(self.or_missing(&entry, tile, None)?.filter(|tile| self.is_visible(&tile.meta)))
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        let entry = self.files.entry(key)?;
        match self.read(&entry, Duration::ZERO, |connection| self.table.load(connection, key.coord)) {
            Ok(tile) => Ok(AtOnce::Known(tile.filter(|tile| self.is_visible(&tile.meta)))),
            Err(_) => Ok(AtOnce::Unknown),
        }
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.store_many(std::slice::from_ref(&(key.clone(), tile.clone())))
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let entry = self.files.entry(key)?;
        let is_there = self.read(&entry, self.options.timeout, |connection| self.table.metadata(connection, key.coord));
        match self.or_missing(&entry, is_there, None)? {
            Some(_) => self.write(&entry, |connection| self.table.remove(connection, key.coord)),
            None => Ok(()),
        }
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        if before.is_some() && !self.table.has_times() {
            return Err(StoreError {
                action: "remove old tiles of",
                what: self.files.to_string(),
                reason: "this type of cache does not know how old its tiles are; only all of them can be removed"
                    .to_owned(),
            });
        }
        for entry in self.files.of_level(level)? {
            if before.is_none() && self.files.are_levels() {
                entry.database.remove_file(&self.options).map_err(|trouble| failed("remove", &entry, &trouble))?;
                continue;
            }
            while self.write(&entry, |connection| self.table.remove_some(connection, level, before))? {}
        }
        Ok(())
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        for part in self.files.existing(wanted.level)? {
            match self.visit_part(&part, wanted, visitor) {
                Err(Halt::Stopped) => return Ok(()),
                Err(Halt::Failed(error)) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn place(&self, key: &TileKey) -> String {
        let TileCoord { x, y, z } = key.coord;
        match self.files.entry(key) {
            Ok(entry) => format!("{}: level {z}, column {x}, row {y}", entry.database.path().display()),
            Err(_) => format!("{}: level {z}, column {x}, row {y}", self.files),
        }
    }

    fn defragment(&self, wanted: Defragment, tell: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        let files = self.files.existing(None)?;
        for (index, Part { entry, .. }) in files.iter().enumerate() {
            let database = &entry.database;
            let (unused, anew) = match database.unused(&self.options) {
                Ok((unused, all)) => {
                    let percent = unused as f64 / all.max(1) as f64 * 100.0;
                    let is_wanted = unused > 0 && percent >= wanted.min_percent && unused >= wanted.min_bytes;
                    let done = if is_wanted && !wanted.dry_run { database.vacuum(&self.options) } else { Ok(()) };
                    ((unused, all), done.map(|()| is_wanted))
                }
                Err(trouble) => ((0, 0), Err(trouble)),
            };
            tell(&Defragmented {
                number: (index + 1, files.len()),
                name: database.path().display().to_string(),
                unused,
                anew: anew.map_err(|trouble| trouble.to_string()),
            });
        }
        Ok(true)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        for (entry, members) in self.by_file(keys.iter())? {
            if !entry.database.path().exists() {
                continue;
            }
            for some in members.chunks(REMOVED_AT_ONCE) {
                self.write(&entry, |connection| {
                    some.iter().try_for_each(|index| self.table.remove(connection, keys[*index].coord))
                })?;
            }
        }
        Ok(())
    }

    fn sweep(&self, _keys: &[TileKey]) {}

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let entry = self.files.entry(key)?;
        let meta = self.read(&entry, self.options.timeout, |connection| self.table.metadata(connection, key.coord));
        Ok(self.or_missing(&entry, meta, None)?.filter(|meta| self.is_visible(meta)))
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        // Tiles past their time are not seen.
        let with_times = self.table.has_times() && (look == Look::Times || self.ttl.is_some());
        let mut found = vec![None; keys.len()];
        for (entry, mut members) in self.by_file(keys.iter())? {
            members.sort_unstable_by_key(|index| {
                let TileCoord { x, y, z } = keys[*index].coord;
                (z, x, y)
            });
            let is_next = |one: &usize, other: &usize| {
                let (one, other) = (keys[*one].coord, keys[*other].coord);
                (one.z, one.x) == (other.z, other.x) && other.y - one.y <= MAX_GAP
            };
            let runs: Vec<&[usize]> = members.chunk_by(is_next).collect();
            let look_up = |connection: &Connection| {
                let transaction = connection.unchecked_transaction()?;
                let mut seen = Vec::with_capacity(members.len());
                for run in &runs {
                    let (first, last) = (keys[run[0]].coord, keys[run[run.len() - 1]].coord);
                    self.table.times(connection, first, last.y, with_times, |row, modified| {
                        let place = run.partition_point(|index| keys[*index].coord.y < row);
                        let same = run[place..].iter().take_while(|index| keys[**index].coord.y == row);
                        seen.extend(same.map(|index| (*index, modified)));
                    })?;
                }
                transaction.finish()?;
                Ok(seen)
            };
            let seen = self.read(&entry, self.options.timeout, look_up);
            for (index, modified) in self.or_missing(&entry, seen, Vec::new())? {
                if self.is_visible(&TileMeta { modified, size: 0 }) {
                    found[index] = Some(Stored { modified: modified.filter(|_| look == Look::Times) });
                }
            }
        }
        Ok(found)
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        let mut tiles = vec![None; keys.len()];
        for (entry, members) in self.by_file(keys.iter())? {
            let load = |connection: &Connection| {
                let transaction = connection.unchecked_transaction()?;
                let tiles = members.iter().map(|index| self.table.load(connection, keys[*index].coord));
                let tiles: rusqlite::Result<Vec<_>> = tiles.collect();
                transaction.finish()?;
                tiles
            };
            let loaded = self.read(&entry, self.options.timeout, load);
            let loaded = self.or_missing(&entry, loaded, Vec::new())?;
            for (index, tile) in members.into_iter().zip(loaded) {
                tiles[index] = tile.filter(|tile| self.is_visible(&tile.meta));
            }
        }
        Ok(tiles)
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        let now = time::to_local(SystemTime::now());
        for (entry, members) in self.by_file(tiles.iter().map(|(key, _)| key))? {
            let own = members.iter().map(|index| (tiles[*index].0.coord, tiles[*index].1.clone())).collect();
            let written = entry.gathering.write(own, self.options.timeout, |batches| {
                self.write(&entry, |connection| {
                    let mut all = batches.iter().flat_map(|batch: &Arc<Batch<Tiles, StoreError>>| &batch.content);
                    all.try_for_each(|(coord, tile)| self.table.store(connection, *coord, tile, &now))
                })
            });
            written.unwrap_or_else(|| Err(failed("write", &entry, &Trouble::Busy)))?;
        }
        Ok(())
    }
}
