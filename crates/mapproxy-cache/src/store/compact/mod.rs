//! Compact caches of ArcGIS: up to 16384 tiles in a file, a "bundle".
//!
//! `L12/R0380C1380.bundle` has the tiles of level 12 from row 0x380 and column 0x1380 on. Bundles are shared with Python
//! MapProxies, whose lock files (`R0380C1380.lck`) are ours, and with ArcGIS. Reading creates and locks nothing
//! (`reader.rs`); tiles are appended (`writer.rs`). Tiles have no times. Those with dimensions have bundles of their own
//! below the directories that the file cache has for them.

mod defragment;
mod format;
mod reader;
mod visit;
mod writer;

use std::ffi::OsStr;
use std::fs;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mapproxy_grid::TileCoord;

pub use self::defragment::{Defragment, Defragmented};
use self::format::{Place, SIDE};
pub use self::reader::BundlePool;
use self::reader::{BundleKey, Found};
use self::writer::{Refusal, Writer};
use super::layout::dimension_directories;
use super::visit::{Visit, Visitor, ended};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::fs::{explain, ignore_missing, is_being_removed, parent, remove_folder, remove_temporary};
use crate::lock::{lock_file, lock_id};
use crate::{Permissions, TileKey};

/// Version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Before ArcGIS 10.3: `.bundle` and `.bundlx`.
    V1,
    /// Since ArcGIS 10.3: `.bundle` alone.
    V2,
}

impl Version {
    fn tiles_path(self, path: &Path) -> PathBuf {
        with_extension(path, "bundle")
    }

    fn index_path(self, path: &Path) -> PathBuf {
        with_extension(path, if self == Version::V1 { "bundlx" } else { "bundle" })
    }
}

/// `R0000C0000` with an extension; `Path::with_extension` would take a dot in it for another.
fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// How [`CompactStore`]s are made.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// The directory of the levels.
    pub directory: PathBuf,
    /// Of the format.
    pub version: Version,
    /// Of new files and directories.
    pub permissions: Permissions,
    /// How long to wait while others write the bundle.
    pub timeout: Duration,
}

/// Tiles in bundles below one directory.
#[derive(Debug)]
pub struct CompactStore {
    options: CompactOptions,
    pool: Arc<BundlePool>,
    number: u64,
    /// Threads wait here for bundles, so that only processes wait for lock files. A bundle's is found by its hash.
    writing: [Mutex<()>; 32],
    hasher: std::collections::hash_map::RandomState,
}

/// A tile and its place in a bundle.
type Placed<'a> = (Place, &'a [u8]);

impl CompactStore {
    /// A store whose bundles stay open in `pool`, which it may share with others.
    pub fn new(options: CompactOptions, pool: Arc<BundlePool>) -> Self {
        let number = pool.number();
        CompactStore { options, number, pool, writing: Default::default(), hasher: Default::default() }
    }

    fn bundle_of(&self, key: &TileKey) -> BundleKey {
        let first = |number: u32| number / SIDE * SIDE;
        BundleKey {
            store: self.number,
            level: key.coord.z,
            column: first(key.coord.x),
            row: first(key.coord.y),
            dimensions: Arc::clone(&key.dimensions),
        }
    }

    /// The path of a bundle without extension.
    fn path(&self, bundle: &BundleKey) -> Result<PathBuf, StoreError> {
        let dimensions = dimension_directories(&bundle.dimensions).map_err(|error| StoreError {
            action: "name a tile below",
            what: self.options.directory.display().to_string(),
            reason: error.to_string(),
        })?;
        let BundleKey { level, column, row, .. } = bundle;
        let mut path = self.options.directory.join(dimensions);
        path.push(format!("L{level:02}"));
        path.push(format!("R{row:04x}C{column:04x}"));
        Ok(path)
    }

    /// Whether dimension values can be directories is asked where the path is needed first; an open bundle has proved it.
    fn read<T>(
        &self,
        key: &TileKey,
        read: impl Fn(&reader::OpenBundle, &dyn Fn() -> PathBuf) -> io::Result<(T, bool)>,
    ) -> Result<Option<T>, StoreError> {
        let bundle = self.bundle_of(key);
        if !key.dimensions.is_empty() {
            self.path(&bundle)?;
        }
        let path = || self.path(&bundle).unwrap_or_default();
        let found = self.pool.read(self.options.version, &bundle, path, |open| read(open, &path));
        found.map_err(|error| failed("read", &self.options.version.tiles_path(&path()), &error))
    }

    /// Locks a bundle for this process and all others, and works on it.
    fn write<T>(&self, bundle: &BundleKey, work: impl FnOnce(&Path) -> Result<T, Refusal>) -> Result<T, StoreError> {
        let path = self.path(bundle)?;
        let _turn = self.turn(bundle);
        let CompactOptions { version, permissions, timeout, .. } = self.options;
        let what = || version.tiles_path(&path).display().to_string();
        let _lock = lock_file(&with_extension(&path, "lck"), timeout, permissions).map_err(|error| StoreError {
            action: "write",
            what: what(),
            reason: error.to_string(),
        })?;
        work(&path).map_err(|refusal| match refusal {
            Refusal::Io(error) => failed("write", &version.tiles_path(&path), &error),
            Refusal::Bundle(reason) => StoreError { action: "write", what: what(), reason },
        })
    }

    fn turn(&self, bundle: &BundleKey) -> MutexGuard<'_, ()> {
        let index = self.hasher.hash_one(bundle) as usize % self.writing.len();
        self.writing[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_in(&self, bundle: &BundleKey, tiles: &[Placed<'_>]) -> Result<(), StoreError> {
        let CompactOptions { version, permissions, .. } = self.options;
        self.write(bundle, |path| {
            Writer::create(version, path, (bundle.column, bundle.row), permissions)?.append(tiles)
        })
    }

    /// Takes the folders of a level out of the way and removes them, those of dimensions, too.
    fn remove_folders(&self, level: u8) -> Result<(), (PathBuf, io::Error)> {
        let level_name = format!("L{level:02}");
        let mut folders = vec![(self.options.directory.clone(), String::new())];
        while let Some((folder, relative)) = folders.pop() {
            let at = |path: &Path| {
                let path = path.to_owned();
                move |error| (path, error)
            };
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err((folder, error)),
            };
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let (path, name) = (entry.path(), entry.file_name());
                let Some(name) = name.to_str() else { continue };
                if !entry.file_type().map_err(at(&path))?.is_dir() {
                    continue;
                }
                let below = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
                if is_being_removed(name) {
                    ignore_missing(fs::remove_dir_all(&path)).map_err(at(&path))?;
                } else if name == level_name {
                    remove_folder(&path).map_err(at(&path))?;
                } else if !relative.is_empty() || name.contains('-') {
                    // The first of the directories of dimensions has a hyphen.
                    folders.push((path, below));
                }
            }
        }
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError { action, what: path.display().to_string(), reason: explain(error) }
}

fn stored(bytes: Bytes) -> StoredTile {
    let meta = TileMeta { modified: None, size: bytes.len() as u64 };
    StoredTile { bytes, meta }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for CompactStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: false, dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        lock_id("compactcache-", &self.options.directory)
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let place = Place::of(key.coord.x, key.coord.y);
        let found = self.read(key, |bundle, path| {
            Ok(match bundle.tile(place)? {
                Found::Tile(bytes) => (Some(stored(bytes)), true),
                Found::Missing => (None, false),
                Found::Damaged(reason) => {
                    bundle.tell(&path(), &reason);
                    (None, false)
                }
            })
        })?;
        Ok(found.flatten())
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        self.load(key).map(AtOnce::Known)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.store_in(&self.bundle_of(key), &[(Place::of(key.coord.x, key.coord.y), &tile.bytes)])
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let (bundle, version) = (self.bundle_of(key), self.options.version);
        // Without a bundle there is nothing to lock, and no folder to lock it in.
        if !version.index_path(&self.path(&bundle)?).exists() {
            return Ok(());
        }
        self.write(&bundle, |path| match Writer::existing(version, path)? {
            Some(writer) => writer.remove(Place::of(key.coord.x, key.coord.y)),
            None => Ok(()),
        })
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        if before.is_some() {
            return Err(StoreError {
                action: "remove old tiles below",
                what: self.options.directory.display().to_string(),
                reason: "bundles do not keep times; remove all tiles of the level".to_owned(),
            });
        }
        let removed = self.remove_folders(level);
        self.pool.forget(self.number, level);
        removed.map_err(|(path, error)| failed("remove", &path, &error))
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        ended(self.visit_all(wanted, visitor))
    }

    fn place(&self, key: &TileKey) -> String {
        let TileCoord { x, y, z } = key.coord;
        let path = self.path(&self.bundle_of(key)).unwrap_or_else(|_| self.options.directory.clone());
        format!("{}: level {z}, column {x}, row {y}", self.options.version.tiles_path(&path).display())
    }

    fn defragment(&self, wanted: Defragment, tell: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        self.defragment_bundles(wanted, tell).map(|()| true)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    /// All tiles of a bundle are removed under one lock.
    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        let version = self.options.version;
        let mut rest: Vec<(BundleKey, Place)> =
            keys.iter().map(|key| (self.bundle_of(key), Place::of(key.coord.x, key.coord.y))).collect();
        while let Some((bundle, _)) = rest.last().cloned() {
            let (places, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(other, _)| *other == bundle);
            rest = others;
            if !version.index_path(&self.path(&bundle)?).exists() {
                continue;
            }
            self.write(&bundle, |path| match Writer::existing(version, path)? {
                Some(writer) => places.iter().try_for_each(|(_, place)| writer.remove(*place)),
                None => Ok(()),
            })?;
        }
        Ok(())
    }

    /// A bundle is new or replaced under a temporary name; who holds its lock may know that nobody is at it.
    fn sweep(&self, keys: &[TileKey]) {
        let mut bundles: Vec<BundleKey> = keys.iter().map(|key| self.bundle_of(key)).collect();
        bundles.dedup();
        for bundle in bundles {
            let version = self.options.version;
            let swept = self.write(&bundle, |path| {
                let files = [version.tiles_path(path), version.index_path(path)];
                let is_one = |name: &OsStr, _: &fs::DirEntry| files.iter().any(|file| file.file_name() == Some(name));
                Ok(remove_temporary(parent(path), is_one))
            });
            if let Err(error) = swept {
                log::debug!(target: "mapproxy.cache.compact", "{error}");
            }
        }
    }

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let place = Place::of(key.coord.x, key.coord.y);
        let found = self.read(key, |bundle, path| {
            Ok(match bundle.size(place)? {
                Ok(size) => (Some(TileMeta { modified: None, size }), true),
                Err(Found::Damaged(reason)) => {
                    bundle.tell(&path(), &reason);
                    (None, false)
                }
                Err(_) => (None, false),
            })
        })?;
        Ok(found.flatten())
    }

    /// Only the index says more than that a tile is there.
    fn times(&self, keys: &[TileKey], _look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        keys.iter().map(|key| Ok(self.metadata(key)?.map(|_| Stored { modified: None }))).collect()
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        keys.iter().map(|key| self.load(key)).collect()
    }

    /// Bundles are opened anew: others may have replaced them while they were waited for.
    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        for key in keys {
            self.pool.close(&self.bundle_of(key));
        }
        self.load_many(keys)
    }

    /// All tiles of a bundle are written under one lock.
    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        let mut bundles: Vec<(BundleKey, Vec<Placed<'_>>)> = Vec::new();
        for (key, tile) in tiles {
            let bundle = self.bundle_of(key);
            let tile = (Place::of(key.coord.x, key.coord.y), &tile.bytes[..]);
            match bundles.iter_mut().find(|(other, _)| *other == bundle) {
                Some((_, tiles)) => tiles.push(tile),
                None => bundles.push((bundle, vec![tile])),
            }
        }
        bundles.iter().try_for_each(|(bundle, tiles)| self.store_in(bundle, tiles))
    }
}

#[cfg(test)]
mod tests;
