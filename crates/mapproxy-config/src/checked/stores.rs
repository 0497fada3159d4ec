//! Where the tiles of a cache in one grid are kept: all paths and keys complete.
//!
//! The text of paths is what MapProxy makes of the configuration, `./` and `..` included: names of lock files are hashes
//! of it, and a Python MapProxy on the same directory has to come to the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where tiles are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum CacheStore {
    /// `disable_storage: true`: nowhere.
    Disabled,
    /// `type: file`.
    File(FileStore),
    /// `type: compact`.
    Compact(CompactStore),
    /// `type: s3`.
    S3(S3Store),
    /// `type: azureblob`.
    AzureBlob(AzureBlobStore),
    /// `type: mbtiles`.
    Mbtiles(MbtilesStore),
    /// `type: sqlite`.
    Sqlite(SqliteStore),
    /// `type: geopackage`.
    Geopackage(GeopackageStore),
    /// `type: pmtiles`: the file.
    Pmtiles(PathBuf),
    /// `type: custom`: made by the program around us.
    Custom(CustomStore),
    /// `type: redis`.
    Redis(RedisStore),
    /// `type: couchdb`.
    Couchdb(CouchdbStore),
    /// `type: tiered`, and `memory` of any other.
    Tiered(TieredStore),
}

impl CacheStore {
    /// The directory that tiles are written to, for stores of files.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            CacheStore::Disabled | CacheStore::Pmtiles(_) | CacheStore::Redis(_) | CacheStore::Couchdb(_) => None,
            CacheStore::File(file) => Some(&file.directory),
            CacheStore::Compact(compact) => Some(&compact.directory),
            CacheStore::Mbtiles(mbtiles) => mbtiles.file.parent(),
            CacheStore::Sqlite(sqlite) => Some(&sqlite.directory),
            CacheStore::Geopackage(GeopackageStore { files: GeopackageFiles::One(file), .. }) => file.parent(),
            CacheStore::Geopackage(GeopackageStore { files: GeopackageFiles::Levels(directory), .. }) => {
                Some(directory)
            }
            CacheStore::Custom(custom) => Some(&custom.directory),
            CacheStore::S3(_) | CacheStore::AzureBlob(_) => None,
            CacheStore::Tiered(tiered) => tiered.lowest.directory(),
        }
    }

    /// All directories that tiles and copies of tiles are written to.
    pub fn directories(&self) -> Vec<&Path> {
        let near = match self {
            CacheStore::Tiered(tiered) => &tiered.near[..],
            _ => &[],
        };
        let copies = near.iter().filter_map(|tier| match &tier.place {
            TierPlace::Memory => None,
            TierPlace::Files(files) => Some(&*files.directory),
        });
        copies.chain(self.directory()).collect()
    }
}

/// `type: file`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileStore {
    /// The directory of the tiles.
    pub directory: PathBuf,
    /// `directory_layout`.
    pub layout: FileLayout,
}

/// `type: compact`.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactStore {
    /// The directory of the levels.
    pub directory: PathBuf,
    /// `version`.
    pub version: CompactVersion,
}

/// Version of ArcGIS' compact caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactVersion {
    /// `1`: before ArcGIS 10.3.
    V1,
    /// `2`: since ArcGIS 10.3.
    V2,
}

/// `type: s3`; what is unset is said by the environment, or by Amazon's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct S3Store {
    /// `bucket_name`.
    pub bucket: String,
    /// What keys begin with; slashes at its beginning are not part of keys.
    pub base_path: String,
    /// `directory_layout`.
    pub layout: FileLayout,
    /// `profile_name`.
    pub profile: Option<String>,
    /// `region_name`.
    pub region: Option<String>,
    /// `endpoint_url`.
    pub endpoint_url: Option<String>,
    /// `access_control_list`.
    pub access_control_list: Option<String>,
    /// `use_http_get`: tiles are public and read without credentials.
    pub use_http_get: bool,
}

/// `type: azureblob`.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureBlobStore {
    /// `container_name`.
    pub container: String,
    /// What names begin with; slashes at its beginning are not part of names.
    pub base_path: String,
    /// `directory_layout`.
    pub layout: FileLayout,
    /// `connection_string`; that of the environment goes before.
    pub connection_string: Option<Secret>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `type: mbtiles`.
#[derive(Debug, Clone, PartialEq)]
pub struct MbtilesStore {
    /// `filename`.
    pub file: PathBuf,
    /// How the file is made and waited for.
    pub options: SqliteOptions,
}

/// `type: sqlite`.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteStore {
    /// The directory of the files, which are called `LEVEL.mbtiles`.
    pub directory: PathBuf,
    /// How files are made and waited for.
    pub options: SqliteOptions,
    /// `ttl`: tiles older than this do not count.
    pub ttl: Option<Duration>,
}

/// `type: geopackage`.
#[derive(Debug, Clone, PartialEq)]
pub struct GeopackageStore {
    /// `filename`, or the directory with `levels`.
    pub files: GeopackageFiles,
    /// `table_name`.
    pub table: Arc<str>,
    /// How files are made and waited for.
    pub options: SqliteOptions,
}

/// The files of `type: geopackage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeopackageFiles {
    /// All levels in one.
    One(PathBuf),
    /// `levels: true`: the directory of files called `LEVEL.gpkg`.
    Levels(PathBuf),
}

/// How SQLite files are made and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// `sqlite_timeout`: how long to wait for others to unlock a file. Default 30 s.
    pub timeout: Duration,
    /// `sqlite_wal`: new files get a write-ahead log.
    pub wal: bool,
}

/// `type: custom`.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomStore {
    /// Where a file cache would keep its tiles.
    pub directory: PathBuf,
}

/// How the path of a tile is made of its coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FileLayout {
    /// `tc`, that of TileCache: thousands in directories.
    #[default]
    Tc,
    /// `mp`: ten thousands in directories.
    Mp,
    /// `tms`: `z/x/y`.
    Tms,
    /// `reverse_tms`: `y/x/z`.
    ReverseTms,
    /// `quadkey`.
    Quadkey,
    /// `arcgis`: `Lzz/Ryyyyyyyy/Cxxxxxxxx`.
    Arcgis,
}

/// `type: redis`.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisStore {
    /// `host`. Default `127.0.0.1`.
    pub host: Arc<str>,
    /// `port`. Default 6379.
    pub port: u16,
    /// `db`. Default 0.
    pub db: i64,
    /// `username`.
    pub username: Option<Arc<str>>,
    /// `password`.
    pub password: Option<Secret>,
    /// `prefix`: begins all keys. Default `<cache>_<grid>`.
    pub prefix: String,
    /// `default_ttl`: how long a tile is kept; `None`: until somebody removes it. Default an hour.
    pub ttl: Option<Duration>,
    /// TLS, if any of `ssl_certfile`, `ssl_keyfile`, `ssl_ca_certs` is given.
    pub tls: Option<RedisTls>,
}

/// `ssl_…` of `type: redis`.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisTls {
    /// `ssl_certfile` and `ssl_keyfile`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `ssl_ca_certs`; the system's if unset.
    pub ca_certs: Option<PathBuf>,
}

/// `type: couchdb`.
#[derive(Debug, Clone, PartialEq)]
pub struct CouchdbStore {
    /// `url`, user and password included. Default `http://127.0.0.1:5984`.
    pub url: Secret,
    /// `db_name`. Default `<cache>_<srs>`.
    pub database: String,
    /// `tile_id`: template of the names of documents.
    pub tile_id: Option<Arc<str>>,
    /// `tile_metadata`: what else documents say, with templates.
    pub metadata: Vec<(Arc<str>, serde_json::Value)>,
}

/// `type: tiered`, and `memory` of any other.
#[derive(Debug, Clone, PartialEq)]
pub struct TieredStore {
    /// Tiers with copies, the nearest first; at least one.
    pub near: Vec<Tier>,
    /// The tier that has all tiles.
    pub lowest: Box<CacheStore>,
}

/// A tier with copies.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// `max_size`, in bytes.
    pub max_size: u64,
    /// `max_age`: for how long a copy is believed. Default 10 seconds in memory, an hour on disk.
    pub max_age: Duration,
    /// Where copies are.
    pub place: TierPlace,
}

/// Where copies of tiles are.
#[derive(Debug, Clone, PartialEq)]
pub enum TierPlace {
    /// In memory.
    Memory,
    /// In files of this cache and grid alone.
    Files(FileStore),
}
