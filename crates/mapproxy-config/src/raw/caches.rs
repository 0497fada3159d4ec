//! `caches`.

use super::reader::{FromNode, Reader, Table, Text, nearest, record};
use super::{BoolOrText, Coverage, ImageOptions, NumberOrText, Numbers, TimeSpec};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

record! {
    /// A cache.
    pub struct Cache {
        sources: CacheSources [required],
        /// Without meaning: the key is the name.
        name: Text,
        grids: Vec<Spanned<Text>>,
        cache_dir: Text,
        meta_size: Vec<Spanned<f64>>,
        meta_buffer: f64,
        bulk_meta_tiles: bool,
        minimize_meta_requests: bool,
        concurrent_tile_creators: i64,
        disable_storage: bool,
        format: Text,
        image: ImageOptions,
        request_format: Text,
        use_direct_from_level: f64,
        use_direct_from_res: f64,
        link_single_color_images: BoolOrText,
        cache_rescaled_tiles: bool,
        upscale_tiles: i64,
        downscale_tiles: i64,
        refresh_before: TimeSpec,
        watermark: Watermark,
        max_tile_limit: f64,
        cache: CacheBackend,
    }
}

/// What a cache is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum CacheSources {
    /// Sources and caches, the lowest first.
    List(Vec<Spanned<Text>>),
    /// Bands of sources.
    Bands(Bands),
}

impl FromNode for CacheSources {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Self::Bands),
            _ => reader.mismatch_any(node, "list, dict"),
        }
    }
}

record! {
    /// Which bands of which sources make up the bands of the image.
    pub struct Bands {
        /// Red.
        r: Vec<Spanned<Band>>,
        /// Green.
        g: Vec<Spanned<Band>>,
        /// Blue.
        b: Vec<Spanned<Band>>,
        /// Alpha.
        a: Vec<Spanned<Band>>,
        /// Grey.
        l: Vec<Spanned<Band>>,
    }
}

record! {
    /// A band of a source.
    pub struct Band {
        source: Text [required],
        band: i64 [required],
        factor: f64,
    }
}

record! {
    /// A text drawn into tiles.
    pub struct Watermark {
        text: Text,
        font_size: f64,
        color: Numbers,
        /// From 0 to 255.
        opacity: f64,
        spacing: Text,
    }
}

/// Where a cache keeps its tiles.
#[derive(Debug, Clone, PartialEq)]
pub enum CacheBackend {
    /// `type: file`
    File(FileBackend),
    /// `type: sqlite`
    Sqlite(SqliteBackend),
    /// `type: mbtiles`
    Mbtiles(MbtilesBackend),
    /// `type: geopackage`
    Geopackage(GeopackageBackend),
    /// `type: couchdb`
    Couchdb(CouchdbBackend),
    /// `type: s3`
    S3(S3Backend),
    /// `type: redis`
    Redis(RedisBackend),
    /// `type: compact`
    Compact(CompactBackend),
    /// `type: azureblob`
    AzureBlob(AzureBlobBackend),
    /// `type: custom`, not known to MapProxy 7.0.0
    Custom(CustomBackend),
    /// `type: memory`, not known to MapProxy 7.0.0
    Memory(MemoryBackend),
    /// `type: tiered`, not known to MapProxy 7.0.0
    Tiered(TieredBackend),
    /// `type: pmtiles`, not known to MapProxy 7.0.0
    Pmtiles(PmtilesBackend),
}

/// The names of [`CacheBackend`]'s variants in configurations.
pub(crate) const CACHE_TYPES: [&str; 13] = [
    "file",
    "sqlite",
    "mbtiles",
    "geopackage",
    "couchdb",
    "s3",
    "redis",
    "compact",
    "azureblob",
    "custom",
    "memory",
    "tiered",
    "pmtiles",
];

impl CacheBackend {
    /// Its `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Sqlite(_) => "sqlite",
            Self::Mbtiles(_) => "mbtiles",
            Self::Geopackage(_) => "geopackage",
            Self::Couchdb(_) => "couchdb",
            Self::S3(_) => "s3",
            Self::Redis(_) => "redis",
            Self::Compact(_) => "compact",
            Self::AzureBlob(_) => "azureblob",
            Self::Custom(_) => "custom",
            Self::Memory(_) => "memory",
            Self::Tiered(_) => "tiered",
            Self::Pmtiles(_) => "pmtiles",
        }
    }

    /// Its `directory`, of those types that keep tiles in one on this machine.
    pub fn directory(&self) -> Option<&Spanned<Text>> {
        match self {
            Self::File(backend) => backend.directory.as_ref(),
            Self::Sqlite(backend) => backend.directory.as_ref(),
            Self::Geopackage(backend) => backend.directory.as_ref(),
            Self::Compact(backend) => backend.directory.as_ref(),
            Self::Tiered(backend) => backend.lowest()?.directory(),
            _ => None,
        }
    }

    /// What every type has.
    pub fn common(&self) -> &BackendCommon {
        match self {
            Self::File(backend) => &backend.common,
            Self::Sqlite(backend) => &backend.common,
            Self::Mbtiles(backend) => &backend.common,
            Self::Geopackage(backend) => &backend.common,
            Self::Couchdb(backend) => &backend.common,
            Self::S3(backend) => &backend.common,
            Self::Redis(backend) => &backend.common,
            Self::Compact(backend) => &backend.common,
            Self::AzureBlob(backend) => &backend.common,
            Self::Custom(backend) => &backend.common,
            Self::Memory(backend) => &backend.common,
            Self::Tiered(backend) => &backend.common,
            Self::Pmtiles(backend) => &backend.common,
        }
    }
}

impl FromNode for CacheBackend {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        let name = type_of(node, reader, &CACHE_TYPES)?;
        match name {
            "file" => FromNode::from_node(node, reader).map(Self::File),
            "sqlite" => FromNode::from_node(node, reader).map(Self::Sqlite),
            "mbtiles" => FromNode::from_node(node, reader).map(Self::Mbtiles),
            "geopackage" => FromNode::from_node(node, reader).map(Self::Geopackage),
            "couchdb" => FromNode::from_node(node, reader).map(Self::Couchdb),
            "s3" => FromNode::from_node(node, reader).map(Self::S3),
            "redis" => FromNode::from_node(node, reader).map(Self::Redis),
            "compact" => FromNode::from_node(node, reader).map(Self::Compact),
            "azureblob" => FromNode::from_node(node, reader).map(Self::AzureBlob),
            "memory" => FromNode::from_node(node, reader).map(Self::Memory),
            "tiered" => FromNode::from_node(node, reader).map(Self::Tiered),
            "pmtiles" => FromNode::from_node(node, reader).map(Self::Pmtiles),
            _ => FromNode::from_node(node, reader).map(Self::Custom),
        }
    }
}

/// The `type` of a section that has one, if it is in `known`.
pub(super) fn type_of<'a>(node: &'a Node, reader: &mut Reader<'a, '_>, known: &[&'static str]) -> Option<&'a str> {
    if node.is_null() || node.as_mapping().is_some_and(crate::yaml::Mapping::is_empty) {
        let message = format!("{} is empty", reader.path());
        reader.error(node.span, message);
        return None;
    }
    let Some((_, value)) = node.as_mapping().and_then(|mapping| mapping.get_entry("type")) else {
        let message = format!("'type' not in {}", reader.path());
        reader.error(node.span, message);
        return None;
    };
    match value.as_str() {
        Some(name) if known.contains(&name) => Some(name),
        _ => {
            let message = format!("unknown type value {} in {}", value.shown(), reader.path());
            let help = match value.as_str().and_then(|name| nearest(name, known.iter().copied())) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("one of: {}", known.join(", ")),
            };
            reader.error_with_help(value.span, message, help);
            None
        }
    }
}

record! {
    /// What every backend has.
    pub struct BackendCommon {
        type_ ("type"): Text,
        coverage: Coverage,
        tile_lock_dir: Text,
        directory_permissions: Text,
        file_permissions: Text,
        /// Copies of tiles in memory, not known to MapProxy 7.0.0.
        memory: Memory,
    }
}

/// Copies of tiles in memory in front of a store.
#[derive(Debug, Clone, PartialEq)]
pub enum Memory {
    /// How much, all else by default.
    Size(NumberOrText),
    /// In detail.
    Options(Box<MemoryOptions>),
}

impl FromNode for Memory {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Mapping(_) => reader.record(node).map(Box::new).map(Self::Options),
            Value::Int(_) | Value::Float(_) | Value::String(_) => FromNode::from_node(node, reader).map(Self::Size),
            _ => reader.mismatch_any(node, "number, str, dict"),
        }
    }
}

record! {
    /// How much memory for copies, and for how long they are believed.
    pub struct MemoryOptions {
        /// In bytes, or with a unit.
        max_size: NumberOrText [required],
        /// In seconds.
        max_age: f64,
    }
}

record! {
    /// `type: file`
    pub struct FileBackend with common: BackendCommon {
        directory_layout: Text,
        use_grid_names: bool,
        directory: Text,
        /// Of a tier: in bytes, or with a unit.
        max_size: NumberOrText,
        /// Of a tier: in seconds.
        max_age: f64,
    }
}

record! {
    /// `type: sqlite`
    pub struct SqliteBackend with common: BackendCommon {
        directory: Text,
        /// In seconds.
        sqlite_timeout: f64,
        sqlite_wal: bool,
        /// In seconds.
        ttl: i64,
    }
}

record! {
    /// `type: mbtiles`
    pub struct MbtilesBackend with common: BackendCommon {
        filename: Text,
        /// In seconds.
        sqlite_timeout: f64,
        sqlite_wal: bool,
    }
}

record! {
    /// `type: pmtiles`
    pub struct PmtilesBackend with common: BackendCommon {
        filename: Text [required],
    }
}

record! {
    /// `type: geopackage`
    pub struct GeopackageBackend with common: BackendCommon {
        filename: Text,
        directory: Text,
        table_name: Text,
        levels: bool,
    }
}

record! {
    /// `type: couchdb`
    pub struct CouchdbBackend with common: BackendCommon {
        url: Text,
        db_name: Text,
        tile_metadata: Table<Node>,
        tile_id: Text,
    }
}

record! {
    /// `type: s3`
    pub struct S3Backend with common: BackendCommon {
        bucket_name: Text,
        directory_layout: Text,
        directory: Text,
        profile_name: Text,
        region_name: Text,
        endpoint_url: Text,
        access_control_list: Text,
        use_http_get: bool,
        include_grid_name: bool,
    }
}

record! {
    /// `type: redis`
    pub struct RedisBackend with common: BackendCommon {
        host: Text,
        port: i64,
        password: Text,
        username: Text,
        db: i64,
        prefix: Text,
        /// In seconds.
        default_ttl: i64,
        ssl_certfile: Text,
        ssl_keyfile: Text,
        ssl_ca_certs: Text,
    }
}

record! {
    /// `type: compact`
    pub struct CompactBackend with common: BackendCommon {
        directory: Text,
        version: f64 [required],
    }
}

record! {
    /// `type: azureblob`
    pub struct AzureBlobBackend with common: BackendCommon {
        connection_string: Text,
        container_name: Text,
        directory_layout: Text,
        directory: Text,
    }
}

record! {
    /// `type: custom`: made by the program that embeds MapProxy
    pub struct CustomBackend with common: BackendCommon {}
}

record! {
    /// `type: memory`: a tier
    pub struct MemoryBackend with common: BackendCommon {
        /// In bytes, or with a unit.
        max_size: NumberOrText,
        /// In seconds.
        max_age: f64,
    }
}

record! {
    /// `type: tiered`: a store with copies nearer by
    pub struct TieredBackend with common: BackendCommon {
        /// From the nearest to the one that has all tiles.
        tiers: Vec<Spanned<CacheBackend>> [required],
    }
}

impl TieredBackend {
    /// The tier that has all tiles.
    pub fn lowest(&self) -> Option<&CacheBackend> {
        Some(&self.tiers.as_ref()?.value.last()?.value)
    }
}
