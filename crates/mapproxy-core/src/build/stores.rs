//! Stores of tiles: one function for each type.

use std::sync::Arc;
use std::time::Duration;

use mapproxy_cache::Permissions;
use mapproxy_cache::store::compact::{CompactOptions, Version};
use mapproxy_cache::store::couchdb::CouchdbOptions;
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::objects::{
    AzureBlob, AzureBlobOptions, BucketState, Connection, ObjectOptions, ObjectService, ObjectStore, S3, S3Options,
};
use mapproxy_cache::store::redis::{RedisOptions, RedisTls};
use mapproxy_cache::store::tier::{DiskCopies, MemoryCopies, Tier};
use mapproxy_cache::store::{CompactStore, CouchdbStore, FileStore, Lenient, RedisStore, TileStore};
use mapproxy_config::Origin;
use mapproxy_config::checked::caches::Cache;
use mapproxy_config::checked::{
    self, CacheGrid, CacheStore, CompactVersion, FileLayout, HttpOptions, SingleColorLink, TierPlace,
};
use mapproxy_grid::TileGrid;

use super::{CustomStore, Parts};

/// How long a database of tiles may take, at most.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl Parts<'_> {
    /// The store of a cache in one grid; the inner `None` with `disable_storage`.
    pub(super) fn store(
        &self,
        cache: &Cache,
        place: &CacheGrid,
        grid: &Arc<TileGrid>,
    ) -> Option<Option<Arc<dyn TileStore>>> {
        if place.store == CacheStore::Disabled {
            return Some(None);
        }
        let store = self.kept(cache, &place.store, grid)?;
        // Who forgives a server that it is away must be the outermost: copies are of use just then.
        let lowest = match &place.store {
            CacheStore::Tiered(tiered) => &tiered.lowest,
            store => store,
        };
        Some(Some(match lowest {
            CacheStore::Redis(_) | CacheStore::Couchdb(_) => Arc::new(Lenient::new(store, Arc::clone(&cache.name))),
            _ => store,
        }))
    }

    fn kept(&self, cache: &Cache, store: &CacheStore, grid: &Arc<TileGrid>) -> Option<Arc<dyn TileStore>> {
        Some(match store {
            CacheStore::Disabled => return None,
            CacheStore::File(file) => Arc::new(file_store(cache, file)),
            CacheStore::Compact(compact) => Arc::new(self.compact_store(cache, compact)),
            CacheStore::Mbtiles(mbtiles) => self.mbtiles_store(cache, mbtiles, grid)?,
            CacheStore::Pmtiles(file) => self.pmtiles_store(cache, file, grid)?,
            CacheStore::Sqlite(sqlite) => Arc::new(self.sqlite_store(cache, sqlite)),
            CacheStore::Geopackage(geopackage) => self.geopackage_store(cache, geopackage, grid)?,
            CacheStore::S3(s3) => {
                let options = objects(cache, &s3.base_path, s3.layout);
                Arc::new(ObjectStore::new(self.bucket(cache, s3)?, options))
            }
            CacheStore::AzureBlob(azure) => {
                let options = objects(cache, &azure.base_path, azure.layout);
                Arc::new(ObjectStore::new(self.container(cache, azure)?, options))
            }
            CacheStore::Custom(custom) => self.custom_store(cache, custom, grid)?,
            CacheStore::Redis(redis) => Arc::new(self.told(&cache.at, RedisStore::new(redis_options(redis)))?),
            CacheStore::Couchdb(couchdb) => self.couchdb_store(cache, couchdb, grid)?,
            CacheStore::Tiered(tiered) => {
                let mut store = self.kept(cache, &tiered.lowest, grid)?;
                for tier in tiered.near.iter().rev() {
                    store = match &tier.place {
                        TierPlace::Memory => Arc::new(Tier::new(MemoryCopies::new(tier.max_size), store, tier.max_age)),
                        TierPlace::Files(files) => {
                            let files =
                                FileStore { link_single_color: LinkSingleColor::Off, ..file_store(cache, files) };
                            Arc::new(Tier::new(DiskCopies::new(files, tier.max_size), store, tier.max_age))
                        }
                    };
                }
                store
            }
        })
    }

    fn couchdb_store(
        &self,
        cache: &Cache,
        couchdb: &checked::CouchdbStore,
        grid: &Arc<TileGrid>,
    ) -> Option<Arc<dyn TileStore>> {
        let options = CouchdbOptions {
            url: couchdb.url.0.to_string(),
            database: couchdb.database.clone(),
            tile_id: couchdb.tile_id.as_deref().map(str::to_owned),
            metadata: couchdb.metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
            grid: Arc::clone(grid),
            extension: cache.format.extension.to_string(),
        };
        // Who waits for a cache does not wait as long as for a map.
        let http = &self.config.globals.http;
        let http = HttpOptions { timeout: http.timeout.min(STORE_TIMEOUT), ..http.clone() };
        let client = self.client(&http, None, &cache.at)?;
        Some(Arc::new(self.told(&cache.at, CouchdbStore::new(&options, client))?))
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

    /// The bucket of an S3 cache. It is looked for once, however many caches are in it; one that does not answer now may
    /// do so later.
    fn bucket(&self, cache: &Cache, s3: &checked::S3Store) -> Option<Arc<dyn ObjectService>> {
        let place = checked::S3Store { base_path: String::new(), layout: FileLayout::Tms, ..s3.clone() };
        if let Some((_, bucket)) = self.buckets.borrow().iter().find(|(known, _)| *known == place) {
            return bucket.clone();
        }
        let options = S3Options {
            bucket: s3.bucket.clone(),
            profile: s3.profile.clone(),
            region: s3.region.clone(),
            endpoint_url: s3.endpoint_url.clone(),
            access_control_list: s3.access_control_list.clone(),
            public: s3.use_http_get,
            connection: self.connection(&cache.at)?,
            variables: Arc::new(variable),
        };
        let checked = S3::new(options).and_then(|bucket| Ok((bucket.check()?, bucket)));
        let checked = checked.map_err(|reason| format!("cache {}: {reason}", cache.name));
        let bucket = self.told(&cache.at, checked).map(|(state, bucket)| {
            if let BucketState::Unknown(reason) = state {
                let message = format!("cache {}: the bucket {} does not answer now: {reason}", cache.name, s3.bucket);
                self.warning(&cache.at, message);
            }
            Arc::new(bucket) as Arc<dyn ObjectService>
        });
        self.buckets.borrow_mut().push((place, bucket.clone()));
        bucket
    }

    /// The container of an Azure cache.
    fn container(&self, cache: &Cache, azure: &checked::AzureBlobStore) -> Option<Arc<dyn ObjectService>> {
        let own = azure.connection_string.as_ref().map(|secret| secret.0.clone());
        let Some(connection_string) = variable("AZURE_STORAGE_CONNECTION_STRING").or(own) else {
            let message = format!(
                "no connection_string configured for Azure Blob cache {}; write it there, or into the environment as \
                 AZURE_STORAGE_CONNECTION_STRING",
                cache.name
            );
            return self.error(&cache.at, message);
        };
        let connection = self.connection(&cache.at)?;
        let options = AzureBlobOptions { container: azure.container.clone(), connection_string, connection };
        let made = AzureBlob::new(options).map_err(|reason| format!("cache {}: {reason}", cache.name));
        Some(Arc::new(self.told(&cache.at, made)?))
    }

    /// To services of objects: what is sent to sources besides is none of theirs.
    fn connection(&self, at: &Origin) -> Option<Connection> {
        let globals = &self.config.globals.http;
        let timeout = globals.timeout;
        let http = HttpOptions { headers: Vec::new(), manage_cookies: false, ..globals.clone() };
        let quick = HttpOptions { timeout: timeout.min(Duration::from_secs(2)), ..http.clone() };
        let (client, quick) = (self.client(&http, None, at)?, self.client(&quick, None, at)?);
        Some(Connection { client, quick, timeout })
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

fn redis_options(redis: &checked::RedisStore) -> RedisOptions {
    RedisOptions {
        host: redis.host.to_string(),
        port: redis.port,
        db: redis.db,
        username: redis.username.as_deref().map(str::to_owned),
        password: redis.password.as_ref().map(|password| password.0.to_string()),
        prefix: redis.prefix.clone(),
        ttl: redis.ttl,
        tls: redis
            .tls
            .as_ref()
            .map(|tls| RedisTls { certificate: tls.certificate.clone(), ca_certs: tls.ca_certs.clone() }),
    }
}

fn objects(cache: &Cache, base_path: &str, file_layout: FileLayout) -> ObjectOptions {
    ObjectOptions {
        base_path: base_path.to_owned(),
        layout: layout(file_layout),
        extension: cache.format.extension.to_string(),
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
