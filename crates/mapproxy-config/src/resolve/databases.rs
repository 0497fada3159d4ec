//! Stores that are single files: those of SQLite (`mbtiles`, `sqlite` and `geopackage`) and `pmtiles`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Resolver;
use super::stores::{Place, by_names};
use crate::checked::{CacheStore, GeopackageFiles, GeopackageStore, MbtilesStore, SqliteOptions, SqliteStore};
use crate::diagnostic::Severity;
use crate::position::Spanned;
use crate::raw::{GeopackageBackend, MbtilesBackend, PmtilesBackend, SqliteBackend, Text};

/// How long SQLite files that others have locked are waited for.
const SQLITE_TIMEOUT: Duration = Duration::from_secs(30);

impl Resolver<'_> {
    pub(super) fn mbtiles_store(&mut self, mbtiles: &MbtilesBackend, place: &Place<'_>) -> Option<CacheStore> {
        let options = self.sqlite_options(mbtiles.sqlite_timeout.as_ref(), mbtiles.sqlite_wal.as_ref(), place);
        let mut file = self.database(mbtiles.filename.as_ref(), "mbtiles", place);
        if place.index > 0 {
            file = beside(&file, &place.grid.name);
            let message = format!(
                "a file holds the tiles of one grid only: those of {} go to {}",
                place.grid.name,
                file.display()
            );
            let span = mbtiles.filename.as_ref().map_or(place.at, |filename| filename.span);
            let help = "give each grid a cache of its own".to_owned();
            self.findings.add(Severity::Warning, span, format!("{}.cache", place.path), message, Some(help));
        }
        Some(CacheStore::Mbtiles(MbtilesStore { file, options: options? }))
    }

    pub(super) fn sqlite_store(&mut self, sqlite: &SqliteBackend, place: &Place<'_>) -> Option<CacheStore> {
        let options = self.sqlite_options(sqlite.sqlite_timeout.as_ref(), sqlite.sqlite_wal.as_ref(), place);
        let ttl = match &sqlite.ttl {
            None => Some(None),
            Some(ttl) => match u64::try_from(ttl.value) {
                Ok(seconds) => Some((seconds > 0).then(|| Duration::from_secs(seconds))),
                Err(_) => {
                    let message = format!("{} is no number of seconds", ttl.value);
                    self.findings.error(ttl.span, format!("{}.cache.ttl", place.path), message);
                    None
                }
            },
        };
        let directory = by_grid(place);
        Some(CacheStore::Sqlite(SqliteStore { directory, options: options?, ttl: ttl? }))
    }

    pub(super) fn geopackage_store(&mut self, geopackage: &GeopackageBackend, place: &Place<'_>) -> Option<CacheStore> {
        let table_path = format!("{}.cache.table_name", place.path);
        let (table, span) = match &geopackage.table_name {
            Some(table) => (Arc::clone(&table.value), table.span),
            None => (format!("{}_{}", place.cache, place.grid.name).into(), place.at),
        };
        let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        if table.is_empty() || !table.chars().all(is_allowed) {
            let message = format!("the table_name '{table}' may have letters, digits, _ and - only");
            let help = geopackage.table_name.is_none().then(|| "set a table_name".to_owned());
            self.findings.add(Severity::Error, span, table_path, message, help);
            return None;
        }
        let by_level = geopackage.levels.as_ref().is_some_and(|levels| levels.value);
        if let (Some(name), false, true) = (&geopackage.table_name, by_level, place.index > 0) {
            let message = format!("the grids of {} would share the table {table}", place.cache);
            let help = "leave table_name out, or give each grid a cache of its own".to_owned();
            self.findings.add(Severity::Error, name.span, table_path, message, Some(help));
            return None;
        }
        let files = if by_level {
            GeopackageFiles::Levels(by_grid(place))
        } else {
            GeopackageFiles::One(self.database(geopackage.filename.as_ref(), "gpkg", place))
        };
        // MapProxy has no options for these.
        let options = SqliteOptions { timeout: SQLITE_TIMEOUT, wal: false };
        Some(CacheStore::Geopackage(GeopackageStore { files, table, options }))
    }

    pub(super) fn pmtiles_store(&mut self, pmtiles: &PmtilesBackend, place: &Place<'_>) -> Option<CacheStore> {
        let filename = pmtiles.filename.as_ref()?;
        if filename.value.contains("://") {
            let message = "archives of PMTiles on servers are not supported: only files are read";
            let help = "fetch the archive and name the file".to_owned();
            let path = format!("{}.cache.filename", place.path);
            self.findings.add(Severity::Error, filename.span, path, message, Some(help));
            return None;
        }
        Some(CacheStore::Pmtiles(self.database(Some(filename), "pmtiles", place)))
    }

    /// The file of a cache: beside the configuration if it says so by `./`, else below the directory of caches.
    fn database(&self, filename: Option<&Spanned<Text>>, extension: &str, place: &Place<'_>) -> PathBuf {
        match filename {
            Some(name) if name.value.starts_with("./") => self.path(&name.value),
            Some(name) => place.base.directory.join(&*name.value),
            None => place.base.directory.join(format!("{}.{extension}", place.cache)),
        }
    }

    fn sqlite_options(
        &mut self,
        timeout: Option<&Spanned<f64>>,
        wal: Option<&Spanned<bool>>,
        place: &Place<'_>,
    ) -> Option<SqliteOptions> {
        let globals = self.raw_globals.cache.as_ref();
        let (timeout, path) = match (timeout, globals.and_then(|globals| globals.sqlite_timeout.as_ref())) {
            (Some(timeout), _) => (Some(timeout), format!("{}.cache.sqlite_timeout", place.path)),
            (None, global) => (global, "globals.cache.sqlite_timeout".to_owned()),
        };
        let timeout = match timeout {
            None => SQLITE_TIMEOUT,
            Some(timeout) => match Duration::try_from_secs_f64(timeout.value) {
                Ok(timeout) => timeout,
                Err(_) => {
                    let message = format!("{} is no number of seconds", timeout.value);
                    self.findings.error(timeout.span, path, message);
                    return None;
                }
            },
        };
        let wal = wal.or(globals.and_then(|globals| globals.sqlite_wal.as_ref()));
        Some(SqliteOptions { timeout, wal: wal.is_some_and(|wal| wal.value) })
    }
}

/// A directory for a grid's files of levels: named by the grid below `cache.directory`, else by the cache and the grid.
fn by_grid(place: &Place<'_>) -> PathBuf {
    match place.base.own {
        Some(_) => place.base.directory.join(&*place.grid.name),
        None => by_names(place),
    }
}

/// `osm_grid.mbtiles` for `osm.mbtiles`.
fn beside(file: &Path, grid: &str) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push("_");
    name.push(grid);
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}
