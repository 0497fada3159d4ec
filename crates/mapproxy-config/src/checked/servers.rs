//! Sources that are servers of their own kind, or programs in place of servers.

use std::path::PathBuf;
use std::sync::Arc;

use super::globals::HttpOptions;
use super::image::Color;
use super::sources::{OnError, SourceImage};

/// The program that answers in place of a Web Map Service (`type: mapserver`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `mapserver.binary`: absolute, or a mere name to be looked for in the `PATH`. Default `mapserv`.
    pub binary: PathBuf,
    /// `mapserver.working_dir`; `None` for the directory of the binary.
    pub working_dir: Option<PathBuf>,
    /// `req.map`, absolute.
    pub map: PathBuf,
}

/// A map or image service of an ArcGIS server.
#[derive(Debug, Clone)]
pub struct ArcgisSource {
    /// `req.url` as written, credentials included.
    pub url: String,
    /// `req` without `url`, as in [`WmsSource`](super::WmsSource).
    pub params: Vec<(String, String)>,
    /// `opts.map`: whether it draws maps. Default true.
    pub map: bool,
    /// `opts.featureinfo`: it is asked what lies at points.
    pub info: Option<ArcgisInfo>,
    /// Image options and the colour to make transparent.
    pub image: SourceImage,
    /// `supported_formats` as written; empty for any.
    pub supported_formats: Vec<String>,
    /// `supported_srs` as written; empty for any.
    pub supported_srs: Vec<String>,
    /// `http` over the global options.
    pub http: HttpOptions,
    /// `concurrent_requests`: how many requests the server may get at once; `None` for any number.
    pub concurrent_requests: Option<u32>,
    /// `on_error`, in the order written.
    pub on_error: Vec<OnError>,
}

/// How an ArcGIS server is asked what lies at points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArcgisInfo {
    /// `featureinfo_tolerance`, in pixels. Default 5.
    pub tolerance: f64,
    /// `featureinfo_return_geometries`.
    pub geometries: bool,
}

/// A server of maps by OGC API - Maps.
#[derive(Debug, Clone)]
pub struct OgcApiMapsSource {
    /// `landingpage_url` as written, credentials included.
    pub landing_page: String,
    /// `collection`; `None` for the whole dataset.
    pub collection: Option<Arc<str>>,
    /// `supported_srs` as written; empty for those that the server names.
    pub supported_srs: Vec<String>,
    /// `transparent`.
    pub transparent: bool,
    /// `bgcolor`: the ground of its maps.
    pub bgcolor: Option<Color>,
    /// Image options and the colour to make transparent.
    pub image: SourceImage,
    /// `http` over the global options.
    pub http: HttpOptions,
    /// `concurrent_requests`: how many requests the server may get at once; `None` for any number.
    pub concurrent_requests: Option<u32>,
    /// `on_error`, in the order written.
    pub on_error: Vec<OnError>,
}

/// A server of map tiles by OGC API - Tiles.
#[derive(Debug, Clone)]
pub struct OgcApiTilesSource {
    /// `landingpage_url` as written, credentials included.
    pub landing_page: String,
    /// `collection`; `None` for the whole dataset.
    pub collection: Option<Arc<str>>,
    /// `tile_matrix_set_id`; `None` for the first that fits the cache.
    pub tile_matrix_set_id: Option<Arc<str>>,
    /// Image options.
    pub image: SourceImage,
    /// `http` over the global options.
    pub http: HttpOptions,
    /// `concurrent_requests`: how many requests the server may get at once; `None` for any number.
    pub concurrent_requests: Option<u32>,
    /// `on_error`, in the order written.
    pub on_error: Vec<OnError>,
}

/// Maps drawn by Mapnik.
#[derive(Debug, Clone)]
pub struct MapnikSource {
    /// `mapfile`, absolute; `%(webmercator_level)s` in it stands for a level.
    pub mapfile: PathBuf,
    /// `layers`; `None` for all.
    pub layers: Option<Vec<String>>,
    /// `scale_factor`.
    pub scale_factor: f64,
    /// `multithreaded`: several maps may be drawn at once.
    pub multithreaded: bool,
    /// Image options and the colour to make transparent.
    pub image: SourceImage,
    /// `concurrent_requests`: how many maps may be drawn at once, in place of `multithreaded`.
    pub concurrent_requests: Option<u32>,
}
