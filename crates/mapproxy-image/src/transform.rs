//! Scaling and reprojection.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, Srs, TransformError};

use crate::resample::{Quad, scale, warp};
use crate::{Color, ImageError, ImageOptions, MapImage};

/// The map of `dst` from a picture of `src`. Same box and size: the picture as it is. Same resolution: cut at whole
/// pixels. Same SRS: scaled. Otherwise a mesh whose error stays below [`MAX_PIXEL_ERROR`].
///
/// What lies beyond the picture is transparent, or black where there is no alpha.
pub fn transform(
    image: &MapImage,
    src: (&Bbox, &Srs),
    dst: (&Bbox, Size, &Srs),
    options: &Arc<ImageOptions>,
) -> Result<MapImage, ImageError> {
    let (src_bbox, src_srs) = src;
    let (dst_bbox, size, dst_srs) = dst;
    let src_size = image.size()?;
    let (x_res, y_res) = src_bbox.resolution(src_size);
    if src_srs == dst_srs && src_size == size && src_bbox.almost_equals(dst_bbox, x_res / 10.0, y_res / 10.0) {
        return Ok(image.clone());
    }
    let pixels = image.pixels()?;
    let out = if src_srs != dst_srs {
        let quads = mesh((src_bbox, src_size, src_srs), dst)?;
        warp(&pixels, &quads, size, options.resampling)
    } else {
        let (dst_x_res, dst_y_res) = dst_bbox.resolution(size);
        let same =
            |have: f64, wanted: f64, pixels: u32| (have - wanted).abs() < wanted.abs() / (f64::from(pixels) * 10.0);
        let window = window(src_bbox, src_size, dst_bbox);
        if same(x_res, dst_x_res, size.width) && same(y_res, dst_y_res, size.height) {
            let [left, top, ..] = window.map(|v| v.round_ties_even() as i64);
            pixels.crop(left, top, size, Color([0; 4]))
        } else {
            scale(&pixels, window, size, options.resampling)
        }
    };
    Ok(MapImage::from_pixels(out, options.clone()).with_cacheable(image.cacheable()))
}

/// Largest distance between the middle of a mesh's part and the exact transformation, in widths of a pixel of the answer
/// (in both directions, so that meshes are MapProxy's to the quad).
pub const MAX_PIXEL_ERROR: f64 = 1.0;

/// Quads narrower or lower than this are not divided any more.
const SMALLEST_QUAD: u32 = 50;

/// Left, top, right and bottom of `dst` in pixels of the picture of `src`.
fn window(src: &Bbox, src_size: Size, dst: &Bbox) -> [f64; 4] {
    let (x_res, y_res) = src.resolution(src_size);
    [
        (dst.min_x - src.min_x) / x_res,
        (src.max_y - dst.max_y) / y_res,
        (dst.max_x - src.min_x) / x_res,
        (src.max_y - dst.min_y) / y_res,
    ]
}

/// Divides the answer until straight lines in each part are good enough.
fn mesh(src: (&Bbox, Size, &Srs), dst: (&Bbox, Size, &Srs)) -> Result<Vec<Quad>, TransformError> {
    let (src_bbox, src_size, src_srs) = src;
    let (dst_bbox, dst_size, dst_srs) = dst;
    let (src_x_res, src_y_res) = src_bbox.resolution(src_size);
    let (dst_x_res, dst_y_res) = dst_bbox.resolution(dst_size);
    let mut quads = Vec::new();
    let mut level = vec![[0, 0, dst_size.width, dst_size.height]];
    while !level.is_empty() {
        // All corners of a level in one call: transformations are cheaper by the dozen.
        let mut corners = Vec::with_capacity(level.len() * 4);
        for &[left, top, right, bottom] in &level {
            for (x, y) in [(left, top), (left, bottom), (right, bottom), (right, top)] {
                corners.push((dst_bbox.min_x + f64::from(x) * dst_x_res, dst_bbox.max_y - f64::from(y) * dst_y_res));
            }
        }
        dst_srs.transform_points(src_srs, &mut corners)?;
        let (corners, _) = corners.as_chunks::<4>();
        let to_pixel = |(x, y): (f64, f64)| ((x - src_bbox.min_x) / src_x_res, (src_bbox.max_y - y) / src_y_res);
        // The middle by the mesh, back in the answer, where it should be.
        let middle = |corners: &[(f64, f64); 4]| {
            let sum = corners.iter().fold((0.0, 0.0), |sum, corner| (sum.0 + corner.0, sum.1 + corner.1));
            (sum.0 / 4.0, sum.1 / 4.0)
        };
        let mut middles: Vec<_> = corners.iter().map(middle).collect();
        src_srs.transform_points(dst_srs, &mut middles)?;
        let mut next = Vec::new();
        for ((&area, corners), middle) in level.iter().zip(corners).zip(middles) {
            let [left, top, right, bottom] = area;
            let (width, height) = (right - left, bottom - top);
            let x = middle.0 - (dst_bbox.min_x + f64::from(left + right) / 2.0 * dst_x_res);
            let y = middle.1 - (dst_bbox.max_y - f64::from(top + bottom) / 2.0 * dst_y_res);
            let error = x.abs().max(y.abs()) / dst_x_res;
            if width < SMALLEST_QUAD || height < SMALLEST_QUAD || error < MAX_PIXEL_ERROR {
                quads.push(Quad { area, corners: corners.map(to_pixel) });
            } else {
                divide(area, &mut next);
            }
        }
        level = next;
    }
    Ok(quads)
}

/// Four parts, or two where a side is more than twice the other.
fn divide([left, top, right, bottom]: [u32; 4], parts: &mut Vec<[u32; 4]>) {
    let (width, height) = (right - left, bottom - top);
    let (x, y) = (left + width / 2, top + height / 2);
    if width > 2 * height {
        parts.extend([[left, top, x, bottom], [x, top, right, bottom]]);
    } else if height > 2 * width {
        parts.extend([[left, top, right, y], [left, y, right, bottom]]);
    } else {
        parts.extend([[left, top, x, y], [x, top, right, y], [left, y, x, bottom], [x, y, right, bottom]]);
    }
}
