//! Stores of tiles: one function for each type.

use std::sync::Arc;

use mapproxy_cache::Permissions;
use mapproxy_cache::store::compact::{CompactOptions, Version};
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::{CompactStore, FileStore, TileStore};
use mapproxy_config::checked::caches::Cache;
use mapproxy_config::checked::{self, CacheGrid, CacheStore, CompactVersion, FileLayout, SingleColorLink};
use mapproxy_grid::TileGrid;

use super::{CustomStore, Parts};

impl Parts<'_> {
    /// The store of a cache in one grid; the inner `None` with `disable_storage`.
    pub(super) fn store(
        &self,
        cache: &Cache,
        place: &CacheGrid,
        grid: &Arc<TileGrid>,
    ) -> Option<Option<Arc<dyn TileStore>>> {
        let store: Arc<dyn TileStore> = match &place.store {
            CacheStore::Disabled => return Some(None),
            CacheStore::File(file) => Arc::new(file_store(cache, file)),
            CacheStore::Compact(compact) => Arc::new(self.compact_store(cache, compact)),
            CacheStore::S3(_) | CacheStore::AzureBlob(_) => return self.error(&cache.at, "not supported yet"),
            CacheStore::Custom(custom) => self.custom_store(cache, custom, grid)?,
        };
        Some(Some(store))
    }

    fn compact_store(&self, cache: &Cache, compact: &checked::CompactStore) -> CompactStore {
        let options = CompactOptions {
            directory: compact.directory.clone(),
            version: match compact.version {
                CompactVersion::V1 => Version::V1,
                CompactVersion::V2 => Version::V2,
            },
            permissions: permissions(cache),
            timeout: self.config.globals.http.timeout,
        };
        CompactStore::new(options, Arc::clone(&self.bundles))
    }

    fn custom_store(
        &self,
        cache: &Cache,
        custom: &checked::CustomStore,
        grid: &Arc<TileGrid>,
    ) -> Option<Arc<dyn TileStore>> {
        let Some(factory) = self.extras.stores.get(&*cache.name) else {
            let message = "a custom store is made by the program around MapProxy, and this one does not";
            return self.error(&cache.at, message);
        };
        let wanted = CustomStore {
            cache: Arc::clone(&cache.name),
            grid: Arc::clone(grid),
            directory: custom.directory.clone(),
            extension: cache.format.extension.to_string(),
        };
        self.told(&cache.at, (factory.0)(&wanted))
    }
}

fn file_store(cache: &Cache, file: &checked::FileStore) -> FileStore {
    FileStore {
        directory: file.directory.clone(),
        extension: cache.format.extension.to_string(),
        layout: layout(file.layout),
        link_single_color: match cache.link_single_color_images {
            None => LinkSingleColor::Off,
            Some(SingleColorLink::Symlink) => LinkSingleColor::Symlink,
            Some(SingleColorLink::Hardlink) => LinkSingleColor::Hardlink,
        },
        permissions: permissions(cache),
    }
}

/// Of what a cache makes.
pub(super) fn permissions(cache: &Cache) -> Permissions {
    Permissions { directory: cache.permissions.directories, file: cache.permissions.files }
}

fn layout(layout: FileLayout) -> Layout {
    match layout {
        FileLayout::Tc => Layout::Tc,
        FileLayout::Mp => Layout::Mp,
        FileLayout::Tms => Layout::Tms,
        FileLayout::ReverseTms => Layout::ReverseTms,
        FileLayout::Quadkey => Layout::Quadkey,
        FileLayout::Arcgis => Layout::Arcgis,
    }
}
