//! Maps: of one collection, or of several one above the other.

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use mapproxy_grid::{Bbox, MapExtent, Size, Srs};
use mapproxy_image::{Codec, Color, GeoReference, ImageError, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::render::RenderOptions;
use mapproxy_map::{Dimensions, MapError, MapQuery, Purpose};
use mapproxy_trace as trace;

use super::collection::coarsest;
use super::error::{ApiError, Failure};
use super::formats::{Format, Wish};
use super::negotiate::Accept;
use super::path::Scope;
use super::request::{MapRequest, Query, Style};
use super::sizing::{self, Subject, digits17};
use super::{OgcApi, crs, vary_by_accept, wms_parameters};
use crate::auth::Operation;
use crate::decorate::Picture;
use crate::response::{forbid_caching, respond};
use crate::services::map_drawing;
use crate::{Incoming, Response};

/// A picture to be drawn.
pub(super) struct Drawing<'a> {
    pub(super) operation: Operation,
    /// Bottom to top.
    pub(super) names: Vec<&'a str>,
    pub(super) bbox: Bbox,
    pub(super) size: Size,
    pub(super) srs: Srs,
    pub(super) style: Style,
    pub(super) format: &'a Format,
    pub(super) attribution: Option<&'a str>,
}

impl OgcApi {
    pub(super) fn map(
        &self,
        request: &Incoming<'_>,
        scope: Scope<'_>,
        extension: Option<&str>,
        accept: Accept,
    ) -> Result<Response, Failure> {
        let of_wms = wms_parameters::translated(request.params())?;
        let params = of_wms.as_ref().unwrap_or_else(|| request.params());
        let query = Query::of_map(params, scope == Scope::Dataset)?;
        let names = self.selected(scope, Some(&query), "map")?;
        let wish = Wish { extension, f: query.get("f"), accept };
        let format = wish.choose(&self.formats, None)?;
        let asked = MapRequest::parse(&query, &self.options.map_srs)?;
        let (bbox, size) = sizing::of_map(&asked, &self.subject(&names), self.limits)?;
        let MapRequest { crs: srs, style, .. } = asked;
        let attribution = self.options.attribution.as_deref();
        let operation = Operation::OgcApiMap;
        let drawing = Drawing { operation, names, bbox, size, srs, style, format, attribution };
        let mut response = self.draw(request, &drawing)?;
        if wish.is_negotiated() {
            vary_by_accept(&mut response);
        }
        Ok(response)
    }

    /// What is known of several layers together.
    fn subject<'a>(&self, names: &[&'a str]) -> Subject<'a> {
        let collections: Vec<_> = names.iter().filter_map(|name| self.collection(name).ok()).collect();
        let extents = collections.iter().map(|one| one.extent.clone());
        let extent = extents.reduce(|a, b| if a == b { a } else { a.union(&b).unwrap_or_else(|_| MapExtent::world()) });
        Subject {
            name: names.first().copied().unwrap_or_default(),
            extent: extent.unwrap_or_else(MapExtent::world),
            nominal_scale: coarsest(collections.iter().map(|one| one.nominal_scale)),
        }
    }

    /// The picture, as far as the caller may see it.
    pub(super) fn draw(&self, request: &Incoming<'_>, drawing: &Drawing<'_>) -> Result<Response, Failure> {
        let Drawing { names, bbox, size, srs, style, format, .. } = drawing;
        let _place = trace::within(|| trace::Place::Layer(names.join(",").into()));
        let transparent = style.is_transparent() && format.codec() != Some(Codec::Jpeg);
        let ground = style.background.map_or(Color::WHITE, |Color([r, g, b, _])| Color::rgb(r, g, b));
        let options = &format.options;
        let options = ImageOptions { transparent: Some(transparent), bgcolor: Some(ground), ..(**options).clone() };
        let options = Arc::new(options);
        let mut query = MapQuery {
            bbox: *bbox,
            size: *size,
            srs: srs.clone(),
            format: ImageFormat::new(&format.media_type),
            transparent,
            dimensions: Dimensions::default(),
            purpose: Purpose::Serve,
            kept: false,
            has_stale: false,
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut selection = self.tree.select(&names, &query);
        let subject = || (selection.names(), Some(MapExtent::new(*bbox, srs.clone())));
        let permit = self.options.gate.ask(drawing.operation, request, subject)?;
        // Nobody can name a value, so there is a default, and it is right.
        selection.resolve_dimensions(&mut query).map_err(|error| ApiError::invalid(error.to_string()))?;
        let sources = selection.sources(&permit)?;
        let how = RenderOptions {
            on_errors: self.options.on_source_errors,
            concurrency: self.options.concurrent_layer_renderer,
            hide_error_details: self.options.hide_error_details,
        };
        let told = |error: MapError| ApiError::from_map(&error, self.options.hide_error_details);
        let image = map_drawing::draw(&sources, &query, &options, sizing::world_in(srs), how).map_err(told)?;
        let source_name = || names.join(",").into();
        let broken = |error: ImageError| told(MapError::Image { source_name: source_name(), error });
        let image = match style.tint().filter(|_| transparent) {
            Some(color) => underlaid(image, color).map_err(broken)?,
            None => image,
        };
        let image = map_drawing::sign(image, drawing.attribution).map_err(broken)?;
        let extent = MapExtent::new(*bbox, srs.clone());
        let drawn = selection.names();
        let picture = Picture::new(drawing.operation, &drawn, &extent, request.request());
        let image = self.options.decorators.apply(image, &picture).map_err(told)?;
        let cacheable = image.cacheable();
        let image = image.with_geo_reference(GeoReference { bbox: *bbox, srs: srs.clone() });
        let encoded = image.encode(&options).map_err(broken)?;
        let mut response = respond(StatusCode::OK, format.media_type.clone(), encoded.bytes);
        place(&mut response, bbox, srs);
        Ok(if cacheable { response } else { forbid_caching(response) })
    }
}

/// `Content-Crs` and `Content-Bbox` (20-058, 7.4).
pub(super) fn place(response: &mut Response, bbox: &Bbox, srs: &Srs) {
    let uri = crs::uri(srs);
    let is_crs84 = uri == crs::CRS84;
    let [min_x, min_y, max_x, max_y] = bbox.to_array();
    let swaps = srs.is_north_first() && !is_crs84;
    let numbers = if swaps { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] };
    let headers = response.headers_mut();
    if !is_crs84 && let Ok(value) = HeaderValue::try_from(format!("<{uri}>")) {
        headers.insert(HeaderName::from_static("content-crs"), value);
    }
    let text = numbers.map(digits17).join(",");
    headers.insert(
        HeaderName::from_static("content-bbox"),
        HeaderValue::try_from(text).expect("digits are a header value"),
    );
}

/// A picture over a ground that can be seen through itself.
fn underlaid(image: MapImage, color: Color) -> Result<MapImage, ImageError> {
    let (options, cacheable) = (Arc::clone(image.options()), image.cacheable());
    let pixels = image.into_pixels()?;
    let size = pixels.size();
    let mut data = pixels.into_mode(PixelMode::Rgba).into_data();
    let Color(ground) = color;
    for pixel in data.chunks_exact_mut(4) {
        over(pixel, ground);
    }
    Ok(MapImage::from_pixels(Pixels::new(size, PixelMode::Rgba, data), options).with_cacheable(cacheable))
}

/// Porter and Duff's "over", without premultiplication.
fn over(pixel: &mut [u8], ground: [u8; 4]) {
    let alpha = u32::from(pixel[3]);
    let below = u32::from(ground[3]) * (255 - alpha) / 255;
    let sum = alpha + below;
    if sum == 0 {
        return;
    }
    for (channel, ground) in pixel[..3].iter_mut().zip(ground) {
        let mixed = (u32::from(*channel) * alpha + u32::from(ground) * below + sum / 2) / sum;
        *channel = mixed.min(255) as u8;
    }
    pixel[3] = sum.min(255) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_ground(mut pixel: [u8; 4], ground: [u8; 4]) -> [u8; 4] {
        over(&mut pixel, ground);
        pixel
    }

    #[test]
    fn a_ground_shows_where_the_map_does_not() {
        let ground = [10, 20, 30, 128];
        assert_eq!(over_ground([1, 2, 3, 255], ground), [1, 2, 3, 255]);
        assert_eq!(over_ground([1, 2, 3, 0], ground), ground);
        let half = over_ground([255, 255, 255, 128], ground);
        assert!(half[3] > 180 && half[0] > 150 && half[0] < 200, "{half:?}");
        assert_eq!(over_ground([9, 9, 9, 0], [1, 1, 1, 0]), [9, 9, 9, 0]);
    }
}
