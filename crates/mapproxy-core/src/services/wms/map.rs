//! GetMap.

use std::sync::Arc;

use http::StatusCode;
use mapproxy_grid::{Bbox, MapExtent, Srs};
use mapproxy_image::{GeoReference, ImageError, ImageFormat, ImageOptions, MapImage};
use mapproxy_map::render::RenderOptions;
use mapproxy_map::{MapError, MapQuery, MapSource, Purpose};
use mapproxy_trace as trace;

use super::Wms;
use super::dialect::Dialect;
use super::error::{Failure, WmsError};
use super::request::GetMap;
use crate::auth::{self, Permit};
use crate::response::{forbid_caching, respond};
use crate::services::map_drawing;
use crate::{Incoming, Response};

/// A map that may be drawn.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) layers: &'a [String],
    pub(super) query: MapQuery,
    /// Also the content type of the answer.
    pub(super) format: &'a str,
    pub(super) options: Arc<ImageOptions>,
    /// What may be seen of the layers, bottom to top.
    sources: Vec<Arc<dyn MapSource>>,
    pub(super) permit: Permit,
}

impl Plan<'_> {
    /// No layer is shown at this resolution, or may be seen.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

impl Wms {
    pub(super) fn get_map(&self, incoming: &Incoming<'_>, dialect: &Dialect) -> Result<Response, Failure> {
        let request = GetMap::parse(incoming.params(), dialect, &self.options.forward_params)?;
        let _place = trace::within(|| trace::Place::Layer(request.layers.join(",").into()));
        let plan = self.plan(&request, dialect, incoming)?;
        if request.tiled
            && let Some(answer) = self.single_tile(&plan, incoming.headers)?
        {
            return Ok(answer);
        }
        let image = self.draw(&plan).map_err(|error| self.map_error(&error))?;
        let image = if request.tiled {
            image
        } else {
            map_drawing::sign(image, self.options.attribution.as_deref()).map_err(|error| image_error(&error))?
        };
        let image = image.with_geo_reference(GeoReference { bbox: plan.query.bbox, srs: plan.query.srs.clone() });
        let encoded = image.encode(&plan.options).map_err(|error| image_error(&error))?;
        let response = respond(StatusCode::OK, plan.format.to_owned(), encoded.bytes);
        Ok(if image.cacheable() { response } else { forbid_caching(response) })
    }

    /// Checks what is asked against what there is, and what the caller may see.
    fn plan<'a>(
        &'a self,
        request: &'a GetMap,
        dialect: &Dialect,
        incoming: &Incoming<'_>,
    ) -> Result<Plan<'a>, Failure> {
        if request.size.pixels() > self.max_pixels() {
            return Err(WmsError { xml_only: true, ..WmsError::new("image size too large") }.into());
        }
        self.check_layers(&request.layers)?;
        let Some((format, options)) = self.image_format(&request.format, dialect) else {
            let message = format!("unsupported image format: {}", request.format);
            return Err(WmsError::with_code("InvalidFormat", message).into());
        };
        let srs = self.srs(&request.srs, dialect)?;
        let Bbox { min_x, min_y, max_x, max_y } = request.bbox;
        let bbox = if dialect.crs_axis_order && srs.is_north_first() {
            Bbox::new(min_y, min_x, max_y, max_x)
        } else {
            request.bbox
        };
        let query = MapQuery {
            bbox,
            size: request.size,
            srs: srs.clone(),
            format: ImageFormat::new(format),
            transparent: request.style.transparent,
            dimensions: Arc::clone(&request.dimensions),
            purpose: Purpose::Serve,
            kept: false,
        };
        let selection = self.tree.select(&request.layers, &query);
        let subject = || (selection.names(), Some(MapExtent::new(query.bbox, query.srs.clone())));
        let permit = self.options.gate.ask(auth::Operation::WmsMap, incoming, subject)?;
        let sources = selection.sources(&permit)?;
        Ok(Plan { layers: &request.layers, query, format, options: request.style.apply(options), sources, permit })
    }

    /// The map, empty outside of the box that `bbox_srs` sets for its SRS.
    fn draw(&self, plan: &Plan<'_>) -> Result<MapImage, MapError> {
        let how = RenderOptions {
            on_errors: self.options.on_source_errors,
            concurrency: self.options.concurrent_layer_renderer,
            hide_error_details: self.options.hide_error_details,
        };
        map_drawing::draw(&plan.sources, &plan.query, &plan.options, self.limit(&plan.query.srs), how)
    }

    pub(super) fn max_pixels(&self) -> u64 {
        self.options.max_output_pixels.unwrap_or(map_drawing::MAX_PIXELS)
    }

    /// The format called `name`, with its options. In 1.0.0 names are `PNG`, `JPEG`, ….
    pub(super) fn image_format(&self, name: &str, dialect: &Dialect) -> Option<(&String, &Arc<ImageOptions>)> {
        let formats = &self.options.image_formats;
        let exact = formats.iter().find(|(format, _)| format == name);
        let short = || {
            let has_name = |format: &str| format.strip_prefix("image/").is_some_and(|f| f.eq_ignore_ascii_case(name));
            formats.iter().find(|(format, _)| dialect.has_short_formats && has_name(format))
        };
        exact.or_else(short).map(|(format, options)| (format, options))
    }

    pub(super) fn srs(&self, code: &str, dialect: &Dialect) -> Result<&Srs, WmsError> {
        self.options.srs.iter().find(|srs| srs.code().eq_ignore_ascii_case(code)).ok_or_else(|| {
            let message = format!("unsupported {}: {code}", dialect.srs_param);
            WmsError::with_code(dialect.invalid_srs, message)
        })
    }

    /// The box beyond which nothing is drawn in `srs`.
    pub(super) fn limit(&self, srs: &Srs) -> Option<Bbox> {
        self.options.bbox_srs.iter().find(|limited| limited.srs == *srs)?.bbox
    }

    pub(super) fn map_error(&self, error: &MapError) -> WmsError {
        WmsError::from_map(error, self.options.hide_error_details)
    }
}

pub(super) fn image_error(error: &ImageError) -> WmsError {
    log::warn!(target: "mapproxy.service.wms", "{error}");
    WmsError::failed(format!("error while processing image file: {error}"))
}
