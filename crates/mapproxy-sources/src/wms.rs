//! `type: wms`: a Web Map Service.

use std::sync::Arc;

use mapproxy_client::HttpClient;
use mapproxy_grid::{Coverage, ResolutionRange, SupportedSrs};
use mapproxy_image::{Color, ImageOptions, MapImage};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::{OnErrors, SourceError};

/// The protocol's version spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WmsVersion {
    /// OGC 00-028.
    V1_0_0,
    /// OGC 01-047r2.
    V1_1_0,
    /// OGC 01-068r3.
    #[default]
    V1_1_1,
    /// OGC 06-042.
    V1_3_0,
}

/// How parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HttpMethod {
    /// POST with an `sld_body`, GET otherwise.
    #[default]
    Auto,
    /// In the URL.
    Get,
    /// In a form.
    Post,
}

/// A colour to make transparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransparentColor {
    /// `image.transparent_color`.
    pub color: Color,
    /// `image.transparent_color_tolerance`: by how much each channel may differ.
    pub tolerance: u8,
}

/// What a [`WmsSource`] is made of.
#[derive(Clone, Debug)]
pub struct WmsOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, credentials included.
    pub url: String,
    /// `req` without `url`: names as spelled, in order, values as they go on the wire but not percent-encoded. An
    /// `sld` that names a file is to be replaced by `sld_body` with its content.
    pub params: Vec<(String, String)>,
    /// `wms_opts.version`.
    pub version: WmsVersion,
    /// `http.method`.
    pub method: HttpMethod,
    /// `image`, with `transparent` from `req.transparent` where it is not set by itself.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `supported_formats` as written; empty for any.
    pub supported_formats: Vec<String>,
    /// `supported_srs`; `None` for any.
    pub supported_srs: Option<SupportedSrs>,
    /// `forward_req_params`: names of the client's parameters to pass on, besides dimensions of caches.
    pub forward_params: Vec<String>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A Web Map Service.
#[derive(Debug)]
pub struct WmsSource {
    profile: SourceProfile,
}

impl WmsSource {
    /// Checks the URL.
    pub fn new(options: WmsOptions, client: Arc<dyn HttpClient>) -> Result<Self, SourceError> {
        let _ = (options, client);
        todo!()
    }
}

impl MapSource for WmsSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = query;
        todo!()
    }
}
