//! Which file a tile is in.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use mapproxy_grid::TileCoord;
use mapproxy_map::Dimensions;

use super::database::Database;
use super::gathering::Gathering;
use super::pool::Pool;
use crate::TileKey;
use crate::fs::{explain, parent};
use crate::store::layout::{dimension_directories, dimensions_of};
use crate::store::{StoreError, TileData};

/// A file of a store.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) database: Arc<Database>,
    /// The generation of the file that was found to be the right one.
    pub(super) verified: AtomicU64,
    /// The generation of the file that has all tables.
    pub(super) prepared: AtomicU64,
    /// Tiles on their way into it.
    pub(super) gathering: Gathering<Tiles, StoreError>,
}

/// Tiles that one thread writes.
pub(super) type Tiles = Vec<(TileCoord, TileData)>;

/// A file that exists.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) entry: Arc<Entry>,
    /// Only rows of this level are tiles.
    pub(super) level: Option<u8>,
    pub(super) dimensions: Dimensions,
}

/// The files of a store.
#[derive(Debug)]
pub(super) struct Files {
    pool: Arc<Pool>,
    names: Names,
    /// Of tiles without dimensions, by level; only the first is used by one file for all levels.
    plain: Box<[OnceLock<Arc<Entry>>]>,
    dimensional: RwLock<HashMap<(usize, Dimensions), Arc<Entry>>>,
}

/// How files are called.
#[derive(Debug)]
pub(super) enum Names {
    /// One file for all levels.
    One(PathBuf),
    /// `directory/LEVEL.extension`
    Levels {
        /// Where the files are.
        directory: PathBuf,
        /// What the names end with, without a dot.
        extension: &'static str,
    },
}

/// Files of dimensions that are remembered; those that are not are looked up again.
const REMEMBERED: usize = 4096;

impl Files {
    pub(super) fn new(pool: Arc<Pool>, names: Names) -> Files {
        let count = match names {
            Names::One(_) => 1,
            Names::Levels { .. } => 1 + usize::from(u8::MAX),
        };
        Files { pool, names, plain: (0..count).map(|_| OnceLock::new()).collect(), dimensional: RwLock::default() }
    }

    pub(super) fn are_levels(&self) -> bool {
        matches!(self.names, Names::Levels { .. })
    }

    /// The file that has, or would have, the tile.
    pub(super) fn entry(&self, key: &TileKey) -> Result<Arc<Entry>, StoreError> {
        let index = if self.are_levels() { usize::from(key.coord.z) } else { 0 };
        if key.dimensions.is_empty() {
            return Ok(Arc::clone(self.plain(index)));
        }
        let place = (index, Arc::clone(&key.dimensions));
        if let Some(entry) = self.dimensional.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Ok(Arc::clone(entry));
        }
        let directories = dimension_directories(&key.dimensions).map_err(|error| StoreError {
            action: "name a tile of",
            what: self.to_string(),
            reason: error.to_string(),
        })?;
        let path = match &self.names {
            Names::One(file) => beside(file).join(directories).join(file.file_name().unwrap_or_default()),
            Names::Levels { directory, extension } => directory.join(directories).join(format!("{index}.{extension}")),
        };
        let entry = self.open(&path);
        let mut dimensional = self.dimensional.write().unwrap_or_else(PoisonError::into_inner);
        if dimensional.len() >= REMEMBERED {
            dimensional.clear();
        }
        Ok(Arc::clone(dimensional.entry(place).or_insert(entry)))
    }

    /// The files with tiles of a level, those of all dimensions included, as far as they exist.
    pub(super) fn of_level(&self, level: u8) -> Result<Vec<Arc<Entry>>, StoreError> {
        let mut found = Vec::new();
        let index = if self.are_levels() { usize::from(level) } else { 0 };
        let plain = self.plain(index);
        if plain.database.path().exists() {
            found.push(Arc::clone(plain));
        }
        let (below, name) = match &self.names {
            Names::One(file) => (beside(file), file.file_name().unwrap_or_default().to_owned()),
            Names::Levels { directory, extension } => {
                (directory.clone(), OsString::from(format!("{index}.{extension}")))
            }
        };
        let mut folders: Vec<PathBuf> = subfolders(&below)?;
        while let Some(folder) = folders.pop() {
            let path = folder.join(&name);
            if path.is_file() {
                found.push(self.open(&path));
            }
            folders.extend(subfolders(&folder)?);
        }
        Ok(found)
    }

    /// All files that exist and may have tiles of a level, or of any: each with the only level it is for, where it is for
    /// one, and the dimensions of its tiles.
    pub(super) fn existing(&self, level: Option<u8>) -> Result<Vec<Part>, StoreError> {
        let (below, names): (PathBuf, Vec<(OsString, Option<u8>)>) = match &self.names {
            Names::One(file) => (beside(file), vec![(file.file_name().unwrap_or_default().to_owned(), level)]),
            Names::Levels { directory, extension } => {
                let levels = level.map_or(0..=u8::MAX, |level| level..=level);
                (directory.clone(), levels.map(|z| (format!("{z}.{extension}").into(), Some(z))).collect())
            }
        };
        let mut found = Vec::new();
        for index in 0..self.plain.len() {
            let of_level = self.are_levels().then_some(index as u8);
            if of_level.is_some() && level.is_some() && of_level != level {
                continue;
            }
            let entry = self.plain(index);
            if entry.database.path().exists() {
                let level = of_level.or(level);
                found.push(Part { entry: Arc::clone(entry), level, dimensions: Dimensions::default() });
            }
        }
        let mut folders: Vec<PathBuf> = subfolders(&below)?;
        while let Some(folder) = folders.pop() {
            let dimensions = folder.strip_prefix(&below).ok().and_then(Path::to_str).map(dimensions_of);
            for (name, level) in dimensions.is_some().then_some(&names).into_iter().flatten() {
                let path = folder.join(name);
                if path.is_file() {
                    let dimensions = dimensions.clone().unwrap_or_default();
                    found.push(Part { entry: self.open(&path), level: *level, dimensions });
                }
            }
            folders.extend(subfolders(&folder)?);
        }
        Ok(found)
    }

    /// The only file, or that of the first level.
    pub(super) fn first(&self) -> Arc<Entry> {
        Arc::clone(self.plain(0))
    }

    fn plain(&self, index: usize) -> &Arc<Entry> {
        self.plain[index].get_or_init(|| match &self.names {
            Names::One(file) => self.open(file),
            Names::Levels { directory, extension } => self.open(&directory.join(format!("{index}.{extension}"))),
        })
    }

    fn open(&self, path: &Path) -> Arc<Entry> {
        let database = self.pool.database(path);
        let (verified, prepared) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Entry { database, verified, prepared, gathering: Gathering::default() })
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::One(file) => file.display().fmt(f),
            Names::Levels { directory, .. } => directory.display().fmt(f),
        }
    }
}

/// `osm.dimensions` beside `osm.mbtiles`.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(".dimensions");
    parent(file).join(name)
}

/// Folders of dimensions have a hyphen, or are the rest of a value with slashes in it.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed =
        |error: io::Error| StoreError { action: "list", what: folder.display().to_string(), reason: explain(&error) };
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
