//! Where caches keep their tiles: one function for each type of store.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Grids, Resolver};
use crate::checked::{
    AzureBlobStore, CacheGrid, CacheStore, CompactStore, CompactVersion, CustomStore, FileLayout, FileStore, Grid,
    Name, S3Store, Secret,
};
use crate::diagnostic::Severity;
use crate::position::{Span, Spanned};
use crate::raw::{self, AzureBlobBackend, CacheBackend, CompactBackend, FileBackend, S3Backend, Text};

/// What stores are placed and named by.
pub(super) struct Place<'a> {
    pub(super) cache: &'a Name,
    pub(super) grid: &'a Grid,
    /// The grid's place among those of the cache.
    pub(super) index: usize,
    /// How many grids the cache has.
    pub(super) grids: usize,
    pub(super) base: &'a Base<'a>,
    /// `caches.NAME`
    pub(super) path: &'a str,
    /// Where the cache, or what it is kept in, was written.
    pub(super) at: Span,
}

/// The directory that a cache is below.
pub(super) struct Base<'a> {
    pub(super) directory: PathBuf,
    /// It is `cache.directory`, which belongs to this cache alone.
    pub(super) own: Option<&'a Spanned<Text>>,
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
        let at = raw.cache.as_ref().map_or(raw.span, |backend| backend.span);
        let base = self.base(raw);
        if let (Some(_), Some(cache_dir)) = (base.own, &raw.cache_dir) {
            let message = format!("found cache.directory and cache_dir option for {cache}, ignoring cache_dir");
            self.findings.warning(cache_dir.span, format!("{path}.cache_dir"), message);
        }
        let mut stores = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let place = Place { cache, grid: grids.get(key)?, index, grids: keys.len(), base: &base, path: &path, at };
            let store = match raw.cache.as_ref() {
                _ if disabled => CacheStore::Disabled,
                None => self.file_store(None, &place)?,
                Some(backend) => {
                    let store = self.store(backend, &place)?;
                    self.with_memory(store, backend.value.common(), &place)?
                }
            };
            stores.push(CacheGrid { grid: Arc::clone(key), store });
        }
        Some(stores)
    }

    /// The store of a cache in one grid.
    pub(super) fn store(&mut self, backend: &Spanned<CacheBackend>, place: &Place<'_>) -> Option<CacheStore> {
        Some(match &backend.value {
            CacheBackend::File(file) => {
                self.only_in_tiers(file, place)?;
                self.file_store(Some(file), place)?
            }
            CacheBackend::Compact(compact) => self.compact_store(compact, place)?,
            CacheBackend::S3(s3) => self.s3_store(s3, place)?,
            CacheBackend::AzureBlob(azure) => self.azure_store(azure, place)?,
            CacheBackend::Mbtiles(mbtiles) => self.mbtiles_store(mbtiles, place)?,
            CacheBackend::Sqlite(sqlite) => self.sqlite_store(sqlite, place)?,
            CacheBackend::Geopackage(geopackage) => self.geopackage_store(geopackage, place)?,
            CacheBackend::Pmtiles(pmtiles) => self.pmtiles_store(pmtiles, place)?,
            CacheBackend::Custom(_) => CacheStore::Custom(CustomStore { directory: below_base(place) }),
            CacheBackend::Redis(redis) => CacheStore::Redis(self.redis_store(redis, place)?),
            CacheBackend::Couchdb(couchdb) => CacheStore::Couchdb(self.couchdb_store(couchdb, place)?),
            CacheBackend::Tiered(tiered) => self.tiered_store(tiered, place)?,
            CacheBackend::Memory(_) => {
                let message = "a cache in memory alone forgets all of its tiles whenever the program ends";
                let help = "keep tiles somewhere, and add `memory: 64MB` for copies in memory".to_owned();
                let path = format!("{}.cache", place.path);
                self.findings.add(Severity::Error, backend.span, path, message, Some(help));
                return None;
            }
        })
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

    fn compact_store(&mut self, compact: &CompactBackend, place: &Place<'_>) -> Option<CacheStore> {
        if let Some(own) = place.base.own
            && place.grids > 1
        {
            let message = format!("using single directory for cache with multiple grids in {}", place.cache);
            self.findings.error(own.span, format!("{}.cache.directory", place.path), message);
            return None;
        }
        let version = compact.version.as_ref()?;
        let version = match version.value {
            1.0 => CompactVersion::V1,
            2.0 => CompactVersion::V2,
            _ => {
                let message = "compact cache only supports version 1 or 2";
                self.findings.error(version.span, format!("{}.cache.version", place.path), message);
                return None;
            }
        };
        let directory = if place.base.own.is_some() { place.base.directory.clone() } else { by_names(place) };
        Some(CacheStore::Compact(CompactStore { directory, version }))
    }

    fn s3_store(&mut self, s3: &S3Backend, place: &Place<'_>) -> Option<CacheStore> {
        let globals = self.raw_globals.cache.as_ref().and_then(|cache| cache.s3.as_ref()).map(|s3| s3.value.clone());
        let globals = globals.unwrap_or_default();
        let text = |own: &Option<Spanned<Text>>, global: Option<Spanned<Text>>| {
            own.clone().or(global).map(|text| text.value.to_string()).filter(|text| !text.is_empty())
        };
        let flag = |own: &Option<Spanned<bool>>, global: Option<Spanned<bool>>| {
            own.as_ref().or(global.as_ref()).is_some_and(|flag| flag.value)
        };
        let Some(bucket) = text(&s3.bucket_name, globals.bucket_name) else {
            return self.store_lacks(
                place,
                "bucket_name",
                &format!("no bucket_name configured for s3 cache {}", place.cache),
            );
        };
        let layout = self.layout(s3.directory_layout.as_ref(), FileLayout::Tms, place)?;
        let by_grid = flag(&s3.include_grid_name, globals.include_grid_name);
        let base_path = match &s3.directory {
            Some(directory) if by_grid => {
                let slash = if directory.value.is_empty() || directory.value.ends_with('/') { "" } else { "/" };
                format!("{}{slash}{}", directory.value, place.grid.name)
            }
            Some(directory) => self.shared_prefix(directory, "set include_grid_name: true", place),
            None => format!("{}/{}", place.cache, place.grid.name),
        };
        Some(CacheStore::S3(S3Store {
            bucket,
            base_path,
            layout,
            profile: text(&s3.profile_name, globals.profile_name),
            region: text(&s3.region_name, globals.region_name),
            endpoint_url: text(&s3.endpoint_url, globals.endpoint_url),
            access_control_list: text(&s3.access_control_list, globals.access_control_list),
            use_http_get: flag(&s3.use_http_get, globals.use_http_get),
        }))
    }

    fn azure_store(&mut self, azure: &AzureBlobBackend, place: &Place<'_>) -> Option<CacheStore> {
        let globals = self.raw_globals.cache.as_ref().and_then(|cache| cache.azureblob.as_ref());
        let globals = globals.map(|azure| azure.value.clone()).unwrap_or_default();
        let text = |own: &Option<Spanned<Text>>, global: Option<Spanned<Text>>| {
            own.clone().or(global).map(|text| text.value.to_string()).filter(|text| !text.is_empty())
        };
        let Some(container) = text(&azure.container_name, globals.container_name) else {
            let message = format!("no container_name configured for Azure Blob cache {}", place.cache);
            return self.store_lacks(place, "container_name", &message);
        };
        let layout = self.layout(azure.directory_layout.as_ref(), FileLayout::Tms, place)?;
        let base_path = match &azure.directory {
            Some(directory) => self.shared_prefix(directory, "use a cache for each grid", place),
            None => format!("{}/{}", place.cache, place.grid.name),
        };
        let connection_string = text(&azure.connection_string, globals.connection_string).map(Secret);
        Some(CacheStore::AzureBlob(AzureBlobStore { container, base_path, layout, connection_string }))
    }

    /// `directory` of a store of objects. Grids share it: their tiles have the same names, which does for grids that are
    /// alike.
    fn shared_prefix(&mut self, directory: &Spanned<Text>, help: &str, place: &Place<'_>) -> String {
        if place.grids > 1 {
            let message = format!(
                "using single directory for cache with multiple grids in {}: their tiles have the same names",
                place.cache
            );
            let path = format!("{}.cache.directory", place.path);
            self.findings.add(Severity::Warning, directory.span, path, message, Some(help.to_owned()));
        }
        directory.value.to_string()
    }

    fn store_lacks(&mut self, place: &Place<'_>, option: &str, message: &str) -> Option<CacheStore> {
        self.findings.error(place.at, format!("{}.cache.{option}", place.path), message);
        None
    }

    pub(super) fn refuse<T>(&mut self, span: Span, path: String, message: impl Into<String>) -> Option<T> {
        self.findings.error(span, path, message);
        None
    }

    /// `directory_layout`.
    pub(super) fn layout(
        &mut self,
        layout: Option<&Spanned<Text>>,
        default: FileLayout,
        place: &Place<'_>,
    ) -> Option<FileLayout> {
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
pub(super) fn by_names(place: &Place<'_>) -> PathBuf {
    place.base.directory.join(&**place.cache).join(&*place.grid.name)
}
