//! GetMap.

use std::sync::Arc;
use std::time::Duration;

use http::header::WARNING;
use http::{HeaderValue, StatusCode};
use mapproxy_grid::{Bbox, MapExtent, Srs};
use mapproxy_image::{GeoReference, ImageError, ImageFormat, ImageOptions, MapImage};
use mapproxy_map::dimension::{Choice, Replaced};
use mapproxy_map::render::RenderOptions;
use mapproxy_map::{MapError, MapQuery, MapSource, Purpose};
use mapproxy_trace as trace;

use super::Wms;
use super::dialect::Dialect;
use super::error::{Failure, WmsError};
use super::request::{self, GetMap};
use crate::auth::{self, Permit};
use crate::conditional::Validators;
use crate::decorate::Picture;
use crate::response::{forbid_caching, keep_private, respond};
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
    /// The layers that these are of.
    drawn: Vec<&'a str>,
    /// Dimensions of which another value was taken than the client named.
    replaced: Vec<Replaced>,
    /// How long clients may keep the map, where the layers say so.
    max_age: Option<Duration>,
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
            return Ok(tell_replaced(answer, &plan.replaced));
        }
        let image = self.draw(&plan).map_err(|error| self.map_error(&error))?;
        let image = if request.tiled {
            image
        } else {
            map_drawing::sign(image, self.options.attribution.as_deref()).map_err(|error| image_error(&error))?
        };
        let image = self.decorate(image, &plan, incoming).map_err(|error| self.map_error(&error))?;
        let image = image.with_geo_reference(GeoReference { bbox: plan.query.bbox, srs: plan.query.srs.clone() });
        let encoded = image.encode(&plan.options).map_err(|error| image_error(&error))?;
        let response = respond(StatusCode::OK, plan.format.to_owned(), encoded.bytes);
        let response = tell_replaced(response, &plan.replaced);
        let decorated_age = self.options.decorators.max_age(auth::Operation::WmsMap);
        Ok(match plan.max_age {
            // It may differ from client to client.
            _ if image.cacheable() && self.is_decorated() && decorated_age.is_none() => keep_private(response),
            _ if !image.cacheable() => forbid_caching(response),
            Some(max_age) => {
                let max_age = decorated_age.map_or(max_age, |age| age.min(max_age));
                Validators::of_content(response.body().as_bytes(), max_age).apply(incoming.headers, response)
            }
            None => response,
        })
    }

    /// GetMap for a single tile that can be sent as it is kept. Whatever is wrong is told by [`Wms::get_map`].
    pub(super) fn get_tile_now(&self, incoming: &Incoming<'_>, dialect: &Dialect) -> Option<Response> {
        let request = GetMap::parse(incoming.params(), dialect, &self.options.forward_params).ok()?;
        let plan = self.plan(&request, dialect, incoming).ok()?;
        let answer = self.single_tile_now(&plan, incoming.headers)?;
        Some(tell_replaced(answer, &plan.replaced))
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
        let mut query = MapQuery {
            bbox,
            size: request.size,
            srs: srs.clone(),
            format: ImageFormat::new(format),
            transparent: request.style.transparent,
            dimensions: Arc::clone(&request.dimensions),
            purpose: Purpose::Serve,
            kept: false,
            has_stale: false,
        };
        let mut selection = self.tree.select(&request.layers, &query);
        if let Some(styles) = self.named_styles(request)? {
            selection.set_styles(&styles, &query);
        }
        let subject = || (selection.names(), Some(MapExtent::new(query.bbox, query.srs.clone())));
        let permit = self.options.gate.ask(auth::Operation::WmsMap, incoming, subject)?;
        let replaced = selection
            .resolve_dimensions(&mut query)
            .map_err(|error| WmsError::with_code("InvalidDimensionValue", error.to_string()))?;
        let sources = selection.sources(&permit)?;
        let (drawn, max_age) = (selection.names(), selection.max_age());
        let options = request.style.apply(options);
        Ok(Plan { layers: &request.layers, query, format, options, sources, drawn, replaced, max_age, permit })
    }

    /// The style of each layer, or of all, for the sources to be asked for; `None`: no source has any.
    fn named_styles<'a>(&self, request: &'a GetMap) -> Result<Option<Vec<&'a str>>, WmsError> {
        if !request.dimensions.iter().any(|(name, _)| name.eq_ignore_ascii_case("styles")) {
            return Ok(None);
        }
        let styles: Vec<&str> = request.styles.split(',').collect();
        let has_one_each = styles.len() == request.layers.len();
        let unknown = || request::unknown_styles(&request.styles);
        for (index, _) in styles.iter().enumerate().filter(|(_, style)| !request::is_default_style(style)) {
            match request.layers.get(index) {
                Some(layer) if has_one_each && self.tree.forwards_styles(layer) => {}
                _ => return Err(unknown()),
            }
        }
        // The servers have never heard of a style by these names.
        Ok(Some(styles.into_iter().map(|style| if request::is_default_style(style) { "" } else { style }).collect()))
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

    /// The map with what the embedding program draws on it.
    fn decorate(&self, image: MapImage, plan: &Plan<'_>, incoming: &Incoming<'_>) -> Result<MapImage, MapError> {
        let extent = MapExtent::new(plan.query.bbox, plan.query.srs.clone());
        let picture = Picture::new(auth::Operation::WmsMap, &plan.drawn, &extent, incoming.request());
        self.options.decorators.apply(image, &picture)
    }

    /// Somebody draws on maps: a single tile is not sent as it is kept.
    pub(super) fn is_decorated(&self) -> bool {
        self.options.decorators.concern(auth::Operation::WmsMap)
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

/// Tells the client which values were taken for those it did not name (OGC 06-042, C.4.3).
fn tell_replaced(mut response: Response, replaced: &[Replaced]) -> Response {
    for (dimension, value) in replaced {
        let what = if value.choice == Choice::Nearest { "Nearest" } else { "Default" };
        let text = format!("99 {what} value used: {}={} {}", dimension.name(), value.value, dimension.units());
        if let Ok(text) = HeaderValue::try_from(text.trim_end()) {
            response.headers_mut().append(WARNING, text);
        }
    }
    response
}
