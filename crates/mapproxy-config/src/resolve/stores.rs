//! Where caches keep their tiles: one function for each type of store.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Grids, Resolver};
use crate::checked::{CacheGrid, CacheStore, CustomStore, FileLayout, FileStore, Grid, Name};
use crate::diagnostic::Severity;
use crate::position::Spanned;
use crate::raw::{self, CacheBackend, FileBackend, Text};

/// What stores are placed and named by.
struct Place<'a> {
    cache: &'a Name,
    grid: &'a Grid,
    /// How many grids the cache has.
    grids: usize,
    base: &'a Base<'a>,
    /// `caches.NAME`
    path: &'a str,
}

/// The directory that a cache is below.
struct Base<'a> {
    directory: PathBuf,
    /// It is `cache.directory`, which belongs to this cache alone.
    own: Option<&'a Spanned<Text>>,
}

impl Resolver<'_> {
    /// The stores of a cache, for each of its grids.
    pub(super) fn stores(
        &mut self,
        cache: &Name,
        raw: &Spanned<raw::Cache>,
        keys: &[Name],
        grids: &Grids,
        disabled: bool,
    ) -> Option<Vec<CacheGrid>> {
        let path = format!("caches.{cache}");
        let backend = raw.cache.as_ref().map(|backend| &backend.value);
        let base = self.base(raw);
        if let (Some(_), Some(cache_dir)) = (base.own, &raw.cache_dir) {
            let message = format!("found cache.directory and cache_dir option for {cache}, ignoring cache_dir");
            self.findings.warning(cache_dir.span, format!("{path}.cache_dir"), message);
        }
        let mut stores = Vec::with_capacity(keys.len());
        for key in keys {
            let place = Place { cache, grid: grids.get(key)?, grids: keys.len(), base: &base, path: &path };
            let store = match backend {
                _ if disabled => CacheStore::Disabled,
                None => self.file_store(None, &place)?,
                Some(CacheBackend::File(file)) => self.file_store(Some(file), &place)?,
                Some(CacheBackend::Custom(_)) => CacheStore::Custom(CustomStore { directory: below_base(&place) }),
                // Refused already, by name.
                Some(_) => return None,
            };
            stores.push(CacheGrid { grid: Arc::clone(key), store });
        }
        Some(stores)
    }

    /// The directory of the tile locks.
    pub(super) fn tile_lock_dir(&self, raw: &Spanned<raw::Cache>) -> PathBuf {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.tile_lock_dir.as_ref());
        let own = raw.cache.as_ref().and_then(|backend| backend.common().tile_lock_dir.as_ref());
        match own.or(global) {
            Some(directory) => self.path(&directory.value),
            None => self.base(raw).directory.join("tile_locks"),
        }
    }

    fn base<'a>(&self, raw: &'a Spanned<raw::Cache>) -> Base<'a> {
        let own = raw.cache.as_ref().and_then(|backend| backend.directory());
        let directory = match own.or(raw.cache_dir.as_ref()) {
            Some(directory) => self.path(&directory.value),
            None => self.globals.cache_base_dir.clone(),
        };
        Base { directory, own }
    }

    fn file_store(&mut self, file: Option<&FileBackend>, place: &Place<'_>) -> Option<CacheStore> {
        if let Some(own) = place.base.own
            && place.grids > 1
        {
            let message = format!("using single directory for cache with multiple grids in {}", place.cache);
            self.findings.error(own.span, format!("{}.cache.directory", place.path), message);
            return None;
        }
        let layout = file.and_then(|file| file.directory_layout.as_ref());
        let layout = self.layout(layout, FileLayout::Tc, place)?;
        let by_name = file.and_then(|file| file.use_grid_names.as_ref()).is_some_and(|by_name| by_name.value);
        let directory = if by_name && place.base.own.is_none() { by_names(place) } else { below_base(place) };
        Some(CacheStore::File(FileStore { directory, layout }))
    }

    /// `directory_layout`.
    fn layout(&mut self, layout: Option<&Spanned<Text>>, default: FileLayout, place: &Place<'_>) -> Option<FileLayout> {
        let Some(layout) = layout else { return Some(default) };
        Some(match &*layout.value {
            "tc" => FileLayout::Tc,
            "mp" => FileLayout::Mp,
            "tms" => FileLayout::Tms,
            "reverse_tms" => FileLayout::ReverseTms,
            "quadkey" => FileLayout::Quadkey,
            "arcgis" => FileLayout::Arcgis,
            other => {
                let known = ["tc", "mp", "tms", "reverse_tms", "quadkey", "arcgis"];
                let message = format!("unknown directory_layout \"{other}\"");
                let help = Some(format!("one of: {}", known.join(", ")));
                let path = format!("{}.cache.directory_layout", place.path);
                self.findings.add(Severity::Error, layout.span, path, message, help);
                return None;
            }
        })
    }
}

/// `cache.directory`, or a directory named by the cache and the SRS.
fn below_base(place: &Place<'_>) -> PathBuf {
    match place.base.own {
        Some(_) => place.base.directory.clone(),
        None => place.base.directory.join(format!("{}_{}", place.cache, place.grid.srs.replace(':', ""))),
    }
}

/// A directory named by the cache and the grid.
fn by_names(place: &Place<'_>) -> PathBuf {
    place.base.directory.join(&**place.cache).join(&*place.grid.name)
}
