//! The configuration as the application is built from it: globals folded in, inheritance done, paths absolute.
//!
//! Every item carries its name and its [`Origin`], so that whoever builds it can say where a mistake was made. Names
//! in references ([`SourceRef`], grid names) are known to exist. Mathematics is left to others: a [`Grid`] holds the
//! parameters of a grid, not its resolutions.

pub mod auth;
pub mod caches;
pub mod coverage;
pub mod globals;
pub mod grids;
pub mod image;
pub mod inspire;
pub mod layers;
pub mod ogcapi;
pub mod seed;
pub mod services;
pub mod sources;
pub mod stores;
pub mod values;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

pub use auth::{ApiKey, ApiKeys, Auth, AuthEndpoint, Grant, Jwt, JwtAlgorithm, JwtKeys, LayerGrant, PartialGrant};
pub use caches::{
    Cache, CacheFormat, CacheGrid, Permissions, RefreshBefore, Rescale, SingleColorLink, UseDirectFrom, Watermark,
};
pub use coverage::{Coverage, CoverageFile, CoverageShape, Datasource};
pub use globals::{Globals, HttpMethod, HttpOptions};
pub use grids::{Grid, GridOrigin, Levels, ResFactor};
pub use image::{Color, Encoding, ImageDefaults, ImageMode, ImageOptions, Quantizer, Resampling, TiffCompression};
pub use inspire::Inspire;
pub use layers::{Dimension, Layer, LayerMetadata, TileLayer};
pub use ogcapi::{OgcApi, OgcApiContact, OgcApiMetadata};
pub use seed::{Cleanup, LevelSelection, RemoveBefore, Seed, SeedConfig};
pub use services::{BboxSrs, Contact, Demo, InfoType, Kml, ServiceMetadata, Services, Tms, Wms, Wmts};
pub use sources::{
    LegendAddress, OnError, RasterSource, Source, SourceImage, SourceKind, TileSource, WmsInfo, WmsLegend, WmsSource,
};
pub use stores::{
    AzureBlobStore, CacheStore, CompactStore, CompactVersion, CouchdbStore, CustomStore, FileLayout, FileStore,
    RedisStore, RedisTls, S3Store, Secret, Tier, TierPlace, TieredStore,
};
pub use values::{KeywordList, OnSourceErrors, ResRange, Stylesheet, WmsVersion};

use crate::diagnostic::{Diagnostic, Severity};
use crate::position::{Files, Origin};

/// Names of grids, caches, sources and layers; shared, since they appear in many places.
pub type Name = Arc<str>;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory relative paths were resolved against: that of the main file.
    pub base_dir: PathBuf,
    /// The files positions point into.
    pub files: Arc<Files>,
    /// Settings of the whole process.
    pub globals: Globals,
    /// All grids, the built-in ones included unless redefined. Grids that cannot be built and are not used by any
    /// layer are left out.
    pub grids: IndexMap<Name, Grid>,
    /// All sources, without those that cannot be built and are not used by any layer.
    pub sources: IndexMap<Name, Source>,
    /// All caches, without those that cannot be built and are not used by any layer. A cache comes in the order it
    /// was written, which may be before a cache it takes its tiles from; there are no cycles.
    pub caches: IndexMap<Name, Cache>,
    /// The root of the layer tree, as WMS shows it. `None` if there is no layer.
    pub root_layer: Option<Layer>,
    /// The layers of WMTS, TMS and their kin: each with a name and at least one cache. Of several layers with one
    /// name only the last is here.
    pub tile_layers: IndexMap<Name, TileLayer>,
    /// The configured services.
    pub services: Services,
}

impl Config {
    /// An error at `origin`, found by a later stage.
    pub fn error(&self, origin: &Origin, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, &self.files, origin.span, Arc::clone(&origin.path), message)
    }

    /// A warning at `origin`, found by a later stage.
    pub fn warning(&self, origin: &Origin, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, &self.files, origin.span, Arc::clone(&origin.path), message)
    }
}

/// A reference to a cache or source by name, known to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRef {
    /// What it points to.
    pub target: SourceTarget,
    /// Where the reference was written.
    pub origin: Origin,
}

/// What a [`SourceRef`] points to.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceTarget {
    /// A cache in [`Config::caches`].
    Cache(Name),
    /// A source in [`Config::sources`].
    Source {
        /// Its name.
        name: Name,
        /// The layers of a tagged reference, `name:layer1,layer2`; they replace the source's own.
        layers: Option<Vec<String>>,
    },
}
