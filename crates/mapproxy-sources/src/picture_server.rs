//! A server that draws a picture of any box: what WMS, ArcGIS and OGC API Maps have in common.
//!
//! It is asked in an SRS and a format that it supports, for no more than its coverage. Answers are checked for what can
//! be told without decoding them, and passed on as they came where nothing has to be done to them.

use std::sync::Arc;

use mapproxy_client::{HttpClient, RedactedUrl, UpstreamRequest};
use mapproxy_grid::{Bbox, Coverage, Size, Srs, SupportedSrs};
use mapproxy_image::{Color, ImageError, ImageFormat, ImageOptions, MapImage, merge, transform};
use mapproxy_map::{MapError, MapQuery, SourceProfile};

use crate::sub_request::part_within;
use crate::{OnErrors, answer};

/// A colour to make transparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransparentColor {
    /// `image.transparent_color`.
    pub color: Color,
    /// `image.transparent_color_tolerance`: by how much each channel may differ.
    pub tolerance: u8,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GetMap<'a> {
    pub(crate) bbox: &'a Bbox,
    pub(crate) size: Size,
    /// With the server's spelling.
    pub(crate) srs: &'a Srs,
    pub(crate) format: &'a ImageFormat,
    /// The client's parameters; those the source forwards are chosen from them.
    pub(crate) forwarded: &'a [(String, String)],
}

/// Puts what is asked for into the words of a protocol.
pub(crate) type Ask<'a> = dyn Fn(&GetMap<'_>) -> UpstreamRequest + 'a;

/// A server that draws a picture of any box.
#[derive(Clone, Debug)]
pub(crate) struct PictureServer {
    pub(crate) profile: SourceProfile,
    pub(crate) transparent_color: Option<TransparentColor>,
    /// Those it has; any if there are none.
    pub(crate) formats: Vec<ImageFormat>,
    pub(crate) on_error: OnErrors,
    pub(crate) log_target: &'static str,
    pub(crate) client: Arc<dyn HttpClient>,
}

impl PictureServer {
    /// The map of `query`, which the profile covers; asked in one of the SRS `supported`, or in any.
    pub(crate) fn render(
        &self,
        query: &MapQuery,
        supported: Option<&SupportedSrs>,
        ask: &Ask<'_>,
    ) -> Result<Option<MapImage>, MapError> {
        let Some(supported) = supported else { return self.direct(query, &query.srs, ask) };
        match (supported.find(&query.srs), supported.best_for(&query.srs)) {
            (Some(same), _) => self.direct(query, same, ask),
            (None, Some(other)) => self.reprojected(query, other, ask),
            (None, None) => self.direct(query, &query.srs, ask),
        }
    }

    /// The picture hides everything below.
    pub(crate) fn is_opaque(&self, query: &MapQuery) -> bool {
        let image = &self.profile.image;
        let covered = |coverage: &Coverage| coverage.contains(&query.bbox, &query.srs).unwrap_or(false);
        image.transparent != Some(true)
            && self.transparent_color.is_none()
            && image.opacity.is_none_or(|opacity| opacity == 0.0 || opacity >= 0.99)
            && self.profile.resolutions.contains(&query.bbox, query.size, &query.srs)
            && self.profile.coverage.as_ref().is_none_or(covered)
    }

    /// The source's own format, else the asker's; but one that the server supports.
    pub(crate) fn format(&self, query: &MapQuery) -> ImageFormat {
        let wanted = self.profile.image.format.as_ref().unwrap_or(&query.format);
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
    fn direct(&self, query: &MapQuery, srs: &Srs, ask: &Ask<'_>) -> Result<Option<MapImage>, MapError> {
        let Some(extent) = self.limit(srs, &query.bbox)? else {
            return self.fetch(&query.bbox, query.size, srs, query, ask).map(Some);
        };
        let Some(part) = part_within(&query.bbox, query.size, &extent) else { return Ok(None) };
        let image = self.fetch(&part.bbox, part.size, srs, query, ask)?;
        let options = self.transparent_options();
        merge::place(&image, part.x, part.y, query.size, &options)
            .map(|placed| Some(placed.with_cacheable(image.cacheable())))
            .map_err(|error| self.image_error(error))
    }

    /// The map of `query` from one in `srs`.
    fn reprojected(&self, query: &MapQuery, srs: &Srs, ask: &Ask<'_>) -> Result<Option<MapImage>, MapError> {
        let bbox = query.srs.transform_bbox(srs, &query.bbox)?;
        let size = size_in(&bbox, query.size);
        let (image, options) = match self.limit(srs, &bbox)? {
            None => (self.fetch(&bbox, size, srs, query, ask)?, Arc::clone(&self.profile.image)),
            Some(extent) => {
                let Some(part) = part_within(&bbox, size, &extent) else { return Ok(None) };
                let image = self.fetch(&part.bbox, part.size, srs, query, ask)?;
                let options = self.transparent_options();
                let placed = merge::place(&image, part.x, part.y, size, &options);
                (placed.map_err(|error| self.image_error(error))?.with_cacheable(image.cacheable()), options)
            }
        };
        let target = (&query.bbox, query.size, &query.srs);
        transform::transform(&image, (&bbox, srs), target, &options)
            .map(|drawn| Some(drawn.with_cacheable(image.cacheable())))
            .map_err(|error| self.image_error(error))
    }

    /// The box of the coverage, where it does not hold all of `bbox`.
    fn limit(&self, srs: &Srs, bbox: &Bbox) -> Result<Option<Bbox>, MapError> {
        let Some(extent) = &self.profile.extent else { return Ok(None) };
        // Asked in the extent's SRS first: the box around a large extent may be meaningless in the SRS of a small map.
        if extent.contains(bbox, srs)? {
            return Ok(None);
        }
        let extent = extent.bbox_in(srs)?;
        Ok((!extent.contains(bbox)).then_some(extent))
    }

    /// For pictures that fill only a part of the map.
    fn transparent_options(&self) -> Arc<ImageOptions> {
        Arc::new(ImageOptions::clone(&self.profile.image).with_transparent(true))
    }

    fn fetch(&self, bbox: &Bbox, size: Size, srs: &Srs, query: &MapQuery, ask: &Ask<'_>) -> Result<MapImage, MapError> {
        let name = &self.profile.name;
        let format = self.format(query);
        let request = ask(&GetMap { bbox, size, srs, format: &format, forwarded: &query.dimensions });
        let response = match self.client.send(&request) {
            Ok(response) => response,
            Err(error) => {
                let error = answer::client_error(name, error);
                return self.on_error.instead_of(error, query, size, &self.profile.image, self.log_target);
            }
        };
        let no_image = |reason| answer::no_image(name, "no image returned from source WMS", &request.url, reason);
        if !answer::is_image(&response) {
            let content_type = response.content_type.as_deref().unwrap_or_default();
            let url = RedactedUrl::new(&request.url);
            log::warn!(target: self.log_target, "{name}: no image returned from source WMS: {url}: {}", answer::excerpt(&response));
            return Err(no_image(format!("content type is {content_type}")));
        }
        let is = answer::whole_picture(&response.body).map_err(no_image)?;
        if query.kept && !answer::is_nearly_as_large(is, size) {
            return Err(no_image(answer::wrong_size(is, size)));
        }
        let image = MapImage::from_encoded(response.body, Arc::clone(&self.profile.image));
        let image = if is == size {
            image
        } else {
            // A map of the box all the same (WMS 1.3.0, 7.3.3.8): some servers limit the size of their answers, or do not
            // care for the shape. What is far from what was asked for is more likely a message in place of the map: who
            // waits may look at it, but it is not to be kept.
            let url = RedactedUrl::new(&request.url);
            log::warn!(target: self.log_target, "{name}: {url}: {}; it is scaled", answer::wrong_size(is, size));
            transform::transform(&image, (bbox, srs), (bbox, size, srs), &self.profile.image)
                .map_err(|error| self.image_error(error))?
                .with_cacheable(answer::is_nearly_as_large(is, size))
        };
        match self.transparent_color {
            None => Ok(image),
            Some(transparent) => transparent.apply(&image).map_err(|error| self.image_error(error)),
        }
    }

    fn image_error(&self, error: ImageError) -> MapError {
        MapError::Image { source_name: Arc::clone(&self.profile.name), error }
    }
}

impl TransparentColor {
    /// The picture with the colour made transparent.
    pub(crate) fn apply(self, image: &MapImage) -> Result<MapImage, ImageError> {
        let pixels = Arc::unwrap_or_clone(image.pixels()?).make_transparent(self.color, self.tolerance);
        Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())).with_cacheable(image.cacheable()))
    }
}

/// `image/png` of `png`.
pub(crate) fn full_name(format: &str) -> ImageFormat {
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
