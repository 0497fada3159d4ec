//! Drawing a map: what the services that draw maps have in common.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size};
use mapproxy_image::{ImageError, ImageOptions, MapImage, merge, message};
use mapproxy_map::render::{RenderOptions, render_all};
use mapproxy_map::{MapError, MapQuery, MapSource};

/// Pixels of the largest picture where the configuration has no limit.
pub(crate) const MAX_PIXELS: u64 = 1 << 28;

/// The map, bottom to top, empty outside of `limit`.
pub(crate) fn draw(
    sources: &[Arc<dyn MapSource>],
    query: &MapQuery,
    options: &Arc<ImageOptions>,
    limit: Option<Bbox>,
    how: RenderOptions,
) -> Result<MapImage, MapError> {
    let limit = match limit {
        Some(limit) if !limit.contains(&query.bbox) => limit,
        _ => return render_all(sources, query, options, how),
    };
    let Some((x, y, part)) = part_inside(query, &limit) else {
        return Ok(MapImage::blank(query.size, Arc::clone(options)));
    };
    let image = render_all(sources, &part, options, how)?;
    let placed = merge::place(&image, i64::from(x), i64::from(y), query.size, options);
    let placed = placed.map_err(|error| MapError::Image { source_name: "limited map".into(), error })?;
    Ok(placed.with_cacheable(image.cacheable()))
}

/// Draws the attribution on the map, if there is one.
pub(crate) fn sign(image: MapImage, attribution: Option<&str>) -> Result<MapImage, ImageError> {
    let Some(text) = attribution else { return Ok(image) };
    let mut pixels = Arc::unwrap_or_clone(image.pixels()?);
    message::attribution(&mut pixels, text);
    let cacheable = image.cacheable();
    Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())).with_cacheable(cacheable))
}

/// The part of a query inside `limit`, and the column and row of its upper left pixel; `None` where that is less than
/// a pixel.
fn part_inside(query: &MapQuery, limit: &Bbox) -> Option<(u32, u32, MapQuery)> {
    let bbox = query.bbox.intersection(limit)?;
    let (x_res, y_res) = query.bbox.resolution(query.size);
    // Inside of the picture, so neither negative nor too large.
    let pixel = |distance: f64, res: f64| (distance / res) as u32;
    let left = pixel(bbox.min_x - query.bbox.min_x, x_res);
    let right = pixel(bbox.max_x - query.bbox.min_x, x_res);
    let top = pixel(query.bbox.max_y - bbox.max_y, y_res);
    let bottom = pixel(query.bbox.max_y - bbox.min_y, y_res);
    let size = Size::new(right - left, bottom - top);
    (size.pixels() > 0).then(|| (left, top, query.sub(bbox, size)))
}
