//! `type: wms`: a Web Map Service.
//!
//! Requests are equal to MapProxy's to the byte, see `wms_request.rs`. Answers are checked for what can be
//! told without decoding them, and passed on as they came where nothing has to be done to them.

use std::any::Any;
use std::sync::Arc;

use mapproxy_client::{Credentials, HttpClient, RedactedUrl};
use mapproxy_grid::{Bbox, Coverage, ResolutionRange, Size, Srs, SupportedSrs};
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, merge, transform};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::OnErrors;
use crate::answer;
use crate::sub_request::part_within;
use crate::wms_request::{GetMap, RequestTemplate};

/// Target of the log.
const LOG: &str = "mapproxy.source.wms";

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
    /// `sld` that names a file is to be replaced by `sld_body` with its content. A `format` here only says where the
    /// format goes: a configured one belongs into `image`, and sources of caches have one at the end.
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
    /// `forward_req_params`, and the dimensions of the cache: names of the client's parameters to pass on.
    pub forward_params: Vec<String>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A Web Map Service.
#[derive(Clone, Debug)]
pub struct WmsSource {
    profile: SourceProfile,
    options: WmsOptions,
    template: RequestTemplate,
    formats: Vec<ImageFormat>,
    credentials: Option<Arc<Credentials>>,
    client: Arc<dyn HttpClient>,
}

impl WmsSource {
    /// The server that `options` describe, asked through `client`.
    pub fn new(options: WmsOptions, client: Arc<dyn HttpClient>) -> Self {
        let (url, credentials) = Credentials::split(&options.url);
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let template =
            RequestTemplate::new(&url, &options.params, options.version, options.method, &options.forward_params);
        let formats = options.supported_formats.iter().map(|name| full_name(name)).collect();
        WmsSource { profile, options, template, formats, credentials, client }
    }

    /// The source's own format, else the asker's; but one that the server supports.
    fn format(&self, query: &MapQuery) -> ImageFormat {
        let wanted = self.options.image.format.as_ref().unwrap_or(&query.format);
        let wanted = match wanted.is_mixed() {
            true => ImageFormat::png(),
            false => full_name(wanted.as_str()),
        };
        match self.formats.first() {
            Some(first) if !self.formats.contains(&wanted) => first.clone(),
            _ => wanted,
        }
    }

    /// The map of `query`, whose SRS the server calls `srs`.
    fn direct(&self, query: &MapQuery, srs: &Srs) -> Result<Option<MapImage>, MapError> {
        let Some(extent) = self.limit(srs, &query.bbox)? else {
            return self.fetch(&query.bbox, query.size, srs, query).map(Some);
        };
        let Some(part) = part_within(&query.bbox, query.size, &extent) else { return Ok(None) };
        let image = self.fetch(&part.bbox, part.size, srs, query)?;
        let options = self.transparent_options();
        merge::place(&image, part.x, part.y, query.size, &options)
            .map(|placed| Some(placed.with_cacheable(image.cacheable())))
            .map_err(|error| self.image_error(error))
    }

    /// The map of `query` from one in `srs`.
    fn reprojected(&self, query: &MapQuery, srs: &Srs) -> Result<Option<MapImage>, MapError> {
        let bbox = query.srs.transform_bbox(srs, &query.bbox)?;
        let size = size_in(&bbox, query.size);
        let (bbox, size, options) = match self.limit(srs, &bbox)? {
            None => (bbox, size, Arc::clone(&self.profile.image)),
            Some(extent) => match part_within(&bbox, size, &extent) {
                Some(part) => (part.bbox, part.size, self.transparent_options()),
                None => return Ok(None),
            },
        };
        let image = self.fetch(&bbox, size, srs, query)?;
        let target = (&query.bbox, query.size, &query.srs);
        transform::transform(&image, (&bbox, srs), target, &options)
            .map(|drawn| Some(drawn.with_cacheable(image.cacheable())))
            .map_err(|error| self.image_error(error))
    }

    /// The box of the coverage, where it does not hold all of `bbox`.
    fn limit(&self, srs: &Srs, bbox: &Bbox) -> Result<Option<Bbox>, MapError> {
        let Some(extent) = &self.profile.extent else { return Ok(None) };
        let extent = extent.bbox_in(srs)?;
        Ok((!extent.contains(bbox)).then_some(extent))
    }

    /// For pictures that fill only a part of the map.
    fn transparent_options(&self) -> Arc<ImageOptions> {
        Arc::new(ImageOptions::clone(&self.profile.image).with_transparent(true))
    }

    fn fetch(&self, bbox: &Bbox, size: Size, srs: &Srs, query: &MapQuery) -> Result<MapImage, MapError> {
        let name = &self.profile.name;
        let format = self.format(query);
        let get_map = GetMap { bbox, size, srs, format: &format, forwarded: &query.dimensions };
        let request = self.template.request(&get_map).with_credentials(self.credentials.clone());
        let response = match self.client.send(&request) {
            Ok(response) => response,
            Err(error) => {
                let error = answer::client_error(name, error);
                return self.options.on_error.instead_of(error, size, &self.profile.image, LOG);
            }
        };
        let no_image = |reason| answer::no_image(name, "no image returned from source WMS", &request.url, reason);
        if !answer::is_image(&response) {
            let content_type = response.content_type.as_deref().unwrap_or_default();
            let url = RedactedUrl::new(&request.url);
            log::warn!(target: LOG, "{name}: no image returned from source WMS: {url}: {}", answer::excerpt(&response));
            return Err(no_image(format!("content type is {content_type}")));
        }
        answer::check_picture(&response.body, size).map_err(no_image)?;
        let image = MapImage::from_encoded(response.body, Arc::clone(&self.profile.image));
        match self.options.transparent_color {
            None => Ok(image),
            Some(transparent) => transparent.apply(&image).map_err(|error| self.image_error(error)),
        }
    }

    fn image_error(&self, error: mapproxy_image::ImageError) -> MapError {
        MapError::Image { source_name: Arc::clone(&self.profile.name), error }
    }

    /// One request can ask for both: nothing but the layers and the ground below them differs.
    fn combines_with(&self, above: &WmsSource, query: &MapQuery) -> bool {
        let (a, b) = (&self.options, &above.options);
        let own_ground = |image: &ImageOptions| ImageOptions { transparent: None, ..image.clone() };
        a.image.opacity.is_none()
            && own_ground(&a.image) == own_ground(&b.image)
            && (&a.url, a.version, a.method, a.transparent_color) == (&b.url, b.version, b.method, b.transparent_color)
            && Arc::ptr_eq(&self.client, &above.client)
            && self.formats == above.formats
            && codes(&a.supported_srs) == codes(&b.supported_srs)
            && a.coverage == b.coverage
            && a.resolutions == b.resolutions
            && a.on_error == b.on_error
            && other_params(&a.params).eq(other_params(&b.params))
            && self.template.forwarded(&query.dimensions).eq(above.template.forwarded(&query.dimensions))
    }
}

impl TransparentColor {
    /// The picture with the colour made transparent.
    pub(crate) fn apply(self, image: &MapImage) -> Result<MapImage, mapproxy_image::ImageError> {
        let pixels = Arc::unwrap_or_clone(image.pixels()?).make_transparent(self.color, self.tolerance);
        Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())).with_cacheable(image.cacheable()))
    }
}

impl MapSource for WmsSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        match &self.options.supported_srs {
            None => self.direct(query, &query.srs),
            Some(supported) => match (supported.find(&query.srs), supported.best_for(&query.srs)) {
                (Some(same), _) => self.direct(query, same),
                (None, Some(other)) => self.reprojected(query, other),
                (None, None) => self.direct(query, &query.srs),
            },
        }
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        let image = &self.profile.image;
        let covered = |coverage: &Coverage| coverage.contains(&query.bbox, &query.srs).unwrap_or(false);
        image.transparent != Some(true)
            && self.options.transparent_color.is_none()
            && image.opacity.is_none_or(|opacity| opacity == 0.0 || opacity >= 0.99)
            && self.profile.resolutions.contains(&query.bbox, query.size, &query.srs)
            && self.profile.coverage.as_ref().is_none_or(covered)
    }

    fn combine(&self, above: &dyn MapSource, query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        let above = (above as &dyn Any).downcast_ref::<WmsSource>()?;
        if !self.combines_with(above, query) {
            return None;
        }
        let mut options = self.options.clone();
        let layers =
            |source: &WmsSource| source.options.params.iter().position(|(name, _)| name.eq_ignore_ascii_case("layers"));
        let (ours, theirs) = (layers(self)?, layers(above)?);
        let value = &mut options.params[ours].1;
        value.push(',');
        value.push_str(&above.options.params[theirs].1);
        Some(Arc::new(WmsSource::new(options, Arc::clone(&self.client))))
    }
}

/// `image/png` of `png`.
fn full_name(format: &str) -> ImageFormat {
    if format.contains('/') { ImageFormat::new(format) } else { ImageFormat::new(&format!("image/{format}")) }
}

/// Pixels of a picture of `bbox`, fine enough to draw one of `size` from it.
fn size_in(bbox: &Bbox, size: Size) -> Size {
    let (x_res, y_res) = bbox.resolution(size);
    let ratio = bbox.width() / bbox.height();
    // A box may become a thousand times as high as wide; no server draws that, and no more than this is worth asking.
    let rounded = |pixels: f64| (pixels + 0.5).clamp(1.0, 100_000.0) as u32;
    if x_res < y_res {
        Size::new(size.width, rounded(f64::from(size.width) / ratio))
    } else {
        Size::new(rounded(f64::from(size.height) * ratio), size.height)
    }
}

fn codes(srs: &Option<SupportedSrs>) -> Option<Vec<&str>> {
    srs.as_ref().map(|srs| srs.as_slice().iter().map(Srs::code).collect())
}

/// What must be the same in two requests to make them one.
fn other_params(params: &[(String, String)]) -> impl Iterator<Item = (String, &str)> {
    let lowered = params.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()));
    lowered.filter(|(name, _)| name != "layers" && name != "transparent")
}
