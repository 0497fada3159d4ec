//! Sources: who can be asked for maps, and how.

use std::path::PathBuf;
use std::sync::Arc;

use super::Name;
use super::coverage::Coverage;
use super::globals::HttpOptions;
use super::image::{Color, ImageOptions};
use super::servers::{ArcgisSource, MapnikSource, OgcApiMapsSource, OgcApiTilesSource, Program};
use super::values::{ResRange, Stylesheet, WmsVersion};
use crate::position::Origin;

/// Someone who can be asked for maps.
#[derive(Debug, Clone)]
pub struct Source {
    /// The key in `sources`.
    pub name: Name,
    /// Where it was written.
    pub at: Origin,
    /// `coverage`: where the source has data.
    pub coverage: Option<Coverage>,
    /// `min_res` and `max_res`, or the scales: at which resolutions the source has data.
    pub resolution: ResRange,
    /// `seed_only`: answers only while seeding.
    pub seed_only: bool,
    /// What is special to its type.
    pub kind: SourceKind,
}

/// The types of sources.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// `type: wms`, and `type: mapserver`: a Web Map Service that is a program.
    Wms(WmsSource),
    /// `type: tile`.
    Tile(TileSource),
    /// `type: raster`: a georeferenced picture.
    Raster(RasterSource),
    /// `type: arcgis`.
    Arcgis(ArcgisSource),
    /// `type: ogcapimaps`.
    OgcApiMaps(OgcApiMapsSource),
    /// `type: ogcapitiles`.
    OgcApiTiles(OgcApiTilesSource),
    /// `type: mapnik`.
    Mapnik(MapnikSource),
    /// `type: debug`: draws the parameters of the request.
    Debug,
    /// `type: custom`: made by the program around us.
    Custom,
}

/// A Web Map Service.
#[derive(Debug, Clone)]
pub struct WmsSource {
    /// `req.url` as written, credentials included; empty where a program answers.
    pub url: String,
    /// The program of `type: mapserver`.
    pub program: Option<Program>,
    /// `req` without `url`: names as written, in the order written, values as they go on the wire but not
    /// percent-encoded. An `sld` that names a file (`file://…`) is here as `sld_body` with its content, at the end.
    pub params: Vec<(String, String)>,
    /// `req.layers`, split at commas.
    pub layers: Vec<String>,
    /// `wms_opts.version`. Default 1.1.1.
    pub version: WmsVersion,
    /// `wms_opts.map`: whether it draws maps. Default true.
    pub map: bool,
    /// Image options and the colour to make transparent.
    pub image: SourceImage,
    /// `supported_formats` as written; empty for any.
    pub supported_formats: Vec<String>,
    /// `supported_srs` as written; empty for any.
    pub supported_srs: Vec<String>,
    /// `forward_req_params`: names of parameters passed on from the client's request.
    pub forward_req_params: Vec<String>,
    /// `http` over the global options.
    pub http: HttpOptions,
    /// `concurrent_requests`: how many requests the server may get at once; `None` for any number.
    pub concurrent_requests: Option<u32>,
    /// `on_error`, in the order written.
    pub on_error: Vec<OnError>,
    /// `wms_opts.featureinfo`: it is asked what lies at points.
    pub info: Option<Box<WmsInfo>>,
    /// `wms_opts.legendurl`, else `wms_opts.legendgraphic`: where its legends come from.
    pub legend: Option<WmsLegend>,
}

/// How a Web Map Service is asked what lies at points.
#[derive(Debug, Clone, Default)]
pub struct WmsInfo {
    /// `featureinfo_format`: asked for whatever the client wants.
    pub format: Option<String>,
    /// `query_layers`; `None` for those of the map.
    pub query_layers: Option<String>,
    /// `featureinfo_xslt`: rewrites each document.
    pub xslt: Option<Stylesheet>,
    /// `featureinfo_out_format`: what the stylesheet makes, else what goes into it.
    pub out_format: Option<String>,
}

/// Where the legends of a Web Map Service come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WmsLegend {
    /// `legendurl`: one picture.
    Static(LegendAddress),
    /// `legendgraphic`: the service, layer by layer.
    Graphic,
}

/// Where a picture of a legend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegendAddress {
    /// `http://…`, as written.
    Url(String),
    /// `file://…`, absolute.
    File(PathBuf),
}

/// A server of ready-made tiles.
#[derive(Debug, Clone)]
pub struct TileSource {
    /// `url` as written, credentials included: a template with `%(x)s` and the like.
    pub url: String,
    /// `grid`: key of the grid the server's tiles are in. Default `GLOBAL_MERCATOR`.
    pub grid: Name,
    /// Image options.
    pub image: SourceImage,
    /// `http` over the global options.
    pub http: HttpOptions,
    /// `concurrent_requests`: how many requests the server may get at once; `None` for any number.
    pub concurrent_requests: Option<u32>,
    /// `on_error`, in the order written.
    pub on_error: Vec<OnError>,
}

/// A georeferenced picture on disk.
#[derive(Debug, Clone)]
pub struct RasterSource {
    /// `file`, absolute.
    pub file: PathBuf,
    /// `srs`; `None` means what the file says of itself.
    pub srs: Option<Arc<str>>,
    /// `bbox` as `[min x, min y, max x, max y]`; `None` means a world file beside it or what the file says of itself.
    pub bbox: Option<[f64; 4]>,
    /// Image options.
    pub image: SourceImage,
}

/// Image options of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceImage {
    /// The options; `transparent` here includes the short forms (`req.transparent`, `transparent`).
    pub options: ImageOptions,
    /// `transparent_color`: the colour to make transparent.
    pub transparent_color: Option<Color>,
    /// `transparent_color_tolerance`: by how much each channel may differ from it. Default 5.
    pub transparent_color_tolerance: u8,
}

/// What to answer when the upstream server fails.
#[derive(Debug, Clone, PartialEq)]
pub struct OnError {
    /// The HTTP status, or `None` for `other`: all errors that have no rule of their own.
    pub status: Option<u16>,
    /// `response`: the colour to fill the image with; four components make it transparent.
    pub response: Color,
    /// `cache`: whether the filled image may be kept as a tile.
    pub cache: bool,
    /// `authorize_stale`: answer with an expired tile if there is one.
    pub authorize_stale: bool,
}
