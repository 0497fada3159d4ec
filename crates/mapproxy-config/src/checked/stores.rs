//! Where the tiles of a cache in one grid are kept: all paths and keys complete.
//!
//! The text of paths is what MapProxy makes of the configuration, `./` and `..` included: names of lock files are hashes
//! of it, and a Python MapProxy on the same directory has to come to the same.

use std::path::{Path, PathBuf};

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
    /// `type: custom`: made by the program around us.
    Custom(CustomStore),
}

impl CacheStore {
    /// The directory that tiles are written to, for stores of files.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            CacheStore::Disabled => None,
            CacheStore::File(file) => Some(&file.directory),
            CacheStore::Compact(compact) => Some(&compact.directory),
            CacheStore::Custom(custom) => Some(&custom.directory),
            CacheStore::S3(_) | CacheStore::AzureBlob(_) => None,
        }
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
