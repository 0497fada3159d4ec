//! Tiles as objects behind HTTP: Amazon's S3 and those who speak as it does, Azure Blob Storage.
//!
//! A tile is loaded with one GET; nothing is asked before. An object that is not there is a missing tile. A service that
//! fails is an error and no missing tile: were each of its tiles to be drawn again for want of the kept one, the sources
//! would be asked for all that caches keep from them. Who fails to answer at all is not asked again for a second
//! (`calls.rs`), so that requests do not queue up for time-outs.

mod aws;
mod azure;
mod calls;
mod s3;
mod xml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_client::{HttpClient, UpstreamResponse};
use quick_cache::sync::Cache;

pub use self::aws::Lookup;
pub use self::azure::{AzureBlob, AzureBlobOptions};
pub use self::s3::{BucketState, S3, S3Options};
use super::compact::{Defragment, Defragmented};
use super::layout::{Layout, ParsedPath, dimensions_of};
use super::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, ended, show};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;
use crate::lock::lock_id;
use crate::parallel::try_map;

/// Reads and writes at once, for several tiles: MapProxy's number.
const AT_ONCE: usize = 4;

/// Looks at once: nothing but heads come back.
const LOOKS_AT_ONCE: usize = 16;

/// Tiles in memory at once while all are read.
const READ_AT_ONCE: usize = 64;

/// Keeps objects under keys.
pub trait ObjectService: fmt::Debug + Send + Sync {
    /// What an object is called in messages.
    fn name(&self, key: &str) -> String;
    /// Prefix of lock files and what is hashed after it, for objects below a path.
    fn lock_place(&self, base_path: &str) -> (&'static str, String);
    /// An object; `Err`: why it cannot be told whether there is one.
    fn get(&self, key: &str) -> Result<Option<StoredTile>, String>;
    /// Its time and size.
    fn head(&self, key: &str) -> Result<Option<TileMeta>, String>;
    /// Keeps an object; when, by the service's clock.
    fn put(&self, key: &str, content_type: &str, bytes: &Bytes) -> Result<Option<SystemTime>, String>;
    /// Forgets an object.
    fn delete(&self, key: &str) -> Result<(), String>;
    /// Forgets many.
    fn delete_many(&self, keys: &[String]) -> Result<(), String> {
        try_map(keys, AT_ONCE, |key| self.delete(key)).map(|_| ())
    }
    /// A page of the keys that begin with `prefix`; `flat`: also those with further slashes, instead of their folders.
    fn list(&self, prefix: &str, flat: bool, page: Option<&str>) -> Result<Page, String>;
}

/// A page of a list of objects.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// What there is.
    pub objects: Vec<Listed>,
    /// Prefixes of keys, up to a slash.
    pub folders: Vec<String>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// When it was stored.
    pub modified: Option<SystemTime>,
    /// Bytes.
    pub size: Option<u64>,
}

/// How the options of an [`ObjectStore`] are called.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// What all keys begin with, as configured: slashes at its beginning are not part of keys.
    pub base_path: String,
    /// Of what follows.
    pub layout: Layout,
    /// Extension of the keys, without dot.
    pub extension: String,
}

/// Tiles as objects.
#[derive(Debug)]
pub struct ObjectStore {
    service: Arc<dyn ObjectService>,
    options: ObjectOptions,
    /// `base_path` as keys begin with it.
    prefix: String,
    /// Times of tiles just stored, which are asked for right afterwards.
    just_stored: Cache<String, TileMeta>,
}

impl ObjectStore {
    /// A store of objects.
    pub fn new(service: Arc<dyn ObjectService>, options: ObjectOptions) -> Self {
        let mut prefix = options.base_path.trim_start_matches('/').to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        ObjectStore { service, options, prefix, just_stored: Cache::new(1024) }
    }

    fn key(&self, key: &TileKey) -> Result<String, StoreError> {
        let path = self.options.layout.path(Path::new(""), key, &self.options.extension).map_err(|error| {
            StoreError { action: "name a tile below", what: self.service.name(&self.prefix), reason: error.to_string() }
        })?;
        Ok(format!("{}{}", self.prefix, path.display()))
    }

    fn failed(&self, action: &'static str, key: &str) -> impl FnOnce(String) -> StoreError {
        let what = self.service.name(key);
        move |reason| StoreError { action, what, reason }
    }

    /// Removes what a page of a list names, if it is a tile of the level and not too young.
    fn remove_listed(&self, page: &Page, level: u8, before: Option<SystemTime>) -> Result<(), String> {
        let is_meant = |object: &&Listed| {
            let tile = self.parse(&object.key);
            let is_old = before.is_none_or(|before| object.modified.is_some_and(|modified| modified <= before));
            is_old && tile.is_some_and(|tile| tile.coord.z == level)
        };
        let keys: Vec<String> = page.objects.iter().filter(is_meant).map(|object| object.key.clone()).collect();
        if keys.is_empty() { Ok(()) } else { self.service.delete_many(&keys) }
    }

    fn parse<'a>(&self, key: &'a str) -> Option<ParsedPath<'a>> {
        self.options.layout.parse(key.strip_prefix(&self.prefix)?, &self.options.extension)
    }

    /// Goes through the folders that may have tiles of the level; through all that there is without one.
    fn pages(&self, level: Option<u8>, mut look: impl FnMut(&Page) -> Result<(), Halt>) -> Result<(), Halt> {
        // Without folders of levels all keys have to be looked at.
        let has_levels = !matches!(self.options.layout, Layout::ReverseTms | Layout::Quadkey);
        let mut prefixes = vec![(self.prefix.clone(), !has_levels || level.is_none())];
        while let Some((prefix, flat)) = prefixes.pop() {
            let mut next: Option<String> = None;
            loop {
                let page = self.service.list(&prefix, flat, next.as_deref()).map_err(self.failed("list", &prefix))?;
                look(&page)?;
                for folder in &page.folders {
                    let relative = folder.strip_prefix(&self.prefix).unwrap_or(folder).trim_end_matches('/');
                    match self.options.layout.level_of_folder(relative) {
                        Some(found) if Some(found) == level && !flat => prefixes.push((folder.clone(), true)),
                        Some(_) => {}
                        // The first of the folders of dimensions has a hyphen. A folder is not below itself, whatever
                        // a service says.
                        None if folder.len() > prefix.len()
                            && folder.starts_with(&prefix)
                            && relative.split('/').next().is_some_and(|first| first.contains('-')) =>
                        {
                            prefixes.push((folder.clone(), false));
                        }
                        None => {}
                    }
                }
                match page.next {
                    Some(token) if next.as_ref() != Some(&token) => next = Some(token),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Shows what a page of a list names.
    fn visit_page(&self, page: &Page, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), Halt> {
        let mut tiles: Vec<(TileKey, &Listed)> = Vec::with_capacity(page.objects.len());
        for object in &page.objects {
            match self.parse(&object.key) {
                Some(tile) if wanted.wants(tile.coord) => {
                    let key = TileKey { coord: tile.coord, dimensions: dimensions_of(tile.dimensions) };
                    tiles.push((key, object));
                }
                Some(_) => {}
                None if wanted.level.is_none() => {
                    show(visitor, Visited::Foreign { name: self.service.name(&object.key) })?;
                }
                None => {}
            }
        }
        for some in tiles.chunks(READ_AT_ONCE) {
            let loaded = match wanted.detail {
                Detail::Bytes => {
                    let loaded = try_map(some, AT_ONCE, |(_, object)| {
                        self.service.get(&object.key).map_err(self.failed("read", &object.key))
                    });
                    loaded?.into_iter().map(Some).collect()
                }
                Detail::Keys | Detail::Meta => vec![None; some.len()],
            };
            for ((key, object), loaded) in some.iter().zip(loaded) {
                let key = key.clone();
                let listed = object.size.map(|size| TileMeta { modified: object.modified, size });
                let seen = match (loaded, listed) {
                    (Some(Some(tile)), _) => SeenTile { key, meta: Some(tile.meta), bytes: Some(tile.bytes) },
                    // Gone since it was listed.
                    (Some(None), _) => continue,
                    (None, None) if wanted.detail == Detail::Meta => {
                        let meta = self.service.head(&object.key).map_err(self.failed("read", &object.key))?;
                        let Some(meta) = meta else { continue };
                        SeenTile { key, meta: Some(meta), bytes: None }
                    }
                    (None, meta) => SeenTile { key, meta, bytes: None },
                };
                show(visitor, Visited::Tile(seen))?;
            }
        }
        Ok(())
    }
}

/// What a browser is told of an object.
fn content_type(extension: &str, bytes: &[u8]) -> String {
    match extension {
        "mixed" if bytes.starts_with(b"\x89PNG") => "image/png".to_owned(),
        "mixed" => "image/jpeg".to_owned(),
        "mvt" | "pbf" => "application/vnd.mapbox-vector-tile".to_owned(),
        "json" | "geojson" => "application/json".to_owned(),
        "terrain" => "application/vnd.quantized-mesh".to_owned(),
        image => format!("image/{image}"),
    }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for ObjectStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: true, dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        let (kind, place) = self.service.lock_place(&self.options.base_path);
        lock_id(kind, place)
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let key = self.key(key)?;
        let tile = self.service.get(&key).map_err(self.failed("read", &key))?;
        Ok(tile.filter(|tile| {
            if tile.bytes.is_empty() {
                log::warn!(target: "mapproxy.cache.objects", "{}: no bytes are no tile, taken for missing", self.service.name(&key));
            }
            !tile.bytes.is_empty()
        }))
    }

    fn load_at_once(&self, _: &TileKey) -> Result<AtOnce, StoreError> {
        Ok(AtOnce::Unknown)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        let key = self.key(key)?;
        let content_type = content_type(&self.options.extension, &tile.bytes);
        let stored = self.service.put(&key, &content_type, &tile.bytes).map_err(self.failed("write", &key))?;
        if let Some(modified) = stored {
            self.just_stored.insert(key, TileMeta { modified: Some(modified), size: tile.bytes.len() as u64 });
        }
        Ok(())
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let key = self.key(key)?;
        self.just_stored.remove(&key);
        self.service.delete(&key).map_err(self.failed("remove", &key))
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        self.just_stored.clear();
        ended(self.pages(Some(level), |page| {
            let removed = self.remove_listed(page, level, before);
            removed.map_err(self.failed("remove a level of", &self.prefix)).map_err(Halt::from)
        }))
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        ended(self.pages(wanted.level, |page| self.visit_page(page, wanted, visitor)))
    }

    fn place(&self, key: &TileKey) -> String {
        self.service.name(&self.key(key).unwrap_or_else(|_| self.prefix.clone()))
    }

    fn defragment(&self, _: Defragment, _: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let names = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        for name in &names {
            self.just_stored.remove(name);
        }
        self.service.delete_many(&names).map_err(self.failed("remove", &names[0]))
    }

    /// An object is stored whole or not at all.
    fn sweep(&self, _: &[TileKey]) {}

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let key = self.key(key)?;
        if let Some((_, meta)) = self.just_stored.remove(&key) {
            return Ok(Some(meta));
        }
        self.service.head(&key).map_err(self.failed("read", &key))
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        try_map(keys, LOOKS_AT_ONCE, |key| {
            let key = self.key(key)?;
            let meta = self.service.head(&key).map_err(self.failed("read", &key))?;
            let stored = |meta: TileMeta| Stored { modified: meta.modified.filter(|_| look == Look::Times) };
            Ok(meta.filter(|meta| meta.size > 0).map(stored))
        })
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        try_map(keys, AT_ONCE, |key| self.load(key))
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        try_map(tiles, AT_ONCE, |(key, tile)| self.store(key, tile)).map(|_| ())
    }
}

/// How services are reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// For objects.
    pub client: Arc<dyn HttpClient>,
    /// For questions that must not take long: whether a bucket is there, who we are.
    pub quick: Arc<dyn HttpClient>,
    /// `client_timeout`: how long a request may be tried again.
    pub timeout: std::time::Duration,
}

/// The object in an answer.
fn object(response: UpstreamResponse) -> StoredTile {
    let meta = TileMeta { modified: time(&response, "last-modified"), size: response.body.len() as u64 };
    StoredTile { bytes: response.body, meta }
}

fn header<'a>(response: &'a UpstreamResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

fn time(response: &UpstreamResponse, name: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(header(response, name)?).ok()
}

fn head(response: &UpstreamResponse) -> TileMeta {
    let size = header(response, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    TileMeta { modified: time(response, "last-modified"), size }
}

#[cfg(test)]
mod tests;
