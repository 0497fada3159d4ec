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

/// Largest distance between points of a mesh's part and the exact transformation, in widths of a pixel of the answer
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

/// Where parts of a mesh are held against the exact transformation, as shares of their width and height.
const PROBES: [f64; 2] = [0.5, 0.25];

/// The point at a share of the width and height of four corners: upper left, lower left, lower right, upper right.
fn inside(corners: &[(f64, f64); 4], at: f64) -> (f64, f64) {
    let weights = [(1.0 - at) * (1.0 - at), (1.0 - at) * at, at * at, at * (1.0 - at)];
    corners
        .iter()
        .zip(weights)
        .fold((0.0, 0.0), |sum, (corner, weight)| (sum.0 + corner.0 * weight, sum.1 + corner.1 * weight))
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
        // Two points of each part by the mesh, back in the answer, where they should be. The middle alone does not do: the
        // middle of a box around the equator is exact, however bent the rest is.
        let mut probes: Vec<_> = corners.iter().flat_map(|corners| PROBES.map(|at| inside(corners, at))).collect();
        src_srs.transform_points(dst_srs, &mut probes)?;
        let (probes, _) = probes.as_chunks::<{ PROBES.len() }>();
        let mut next = Vec::new();
        for ((&area, corners), probes) in level.iter().zip(corners).zip(probes) {
            let [left, top, right, bottom] = area;
            let (width, height) = (right - left, bottom - top);
            let away = |(at, probe): (&f64, &(f64, f64))| {
                let x = probe.0 - (dst_bbox.min_x + (f64::from(left) + at * f64::from(width)) * dst_x_res);
                let y = probe.1 - (dst_bbox.max_y - (f64::from(top) + at * f64::from(height)) * dst_y_res);
                x.abs().max(y.abs()) / dst_x_res
            };
            let is_good = PROBES.iter().zip(probes).map(away).all(|error| error < MAX_PIXEL_ERROR);
            if width < SMALLEST_QUAD || height < SMALLEST_QUAD || is_good {
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

#[cfg(test)]
mod tests {
    use mapproxy_grid::{Bbox, Size, Srs};

    use super::*;
    use crate::{ImageFormat, PixelMode, Pixels, Resampling};

    /// Green counts northwards, in 256ths of web mercator's world.
    fn mercator_world() -> MapImage {
        let rows = (0..1024_u32).flat_map(|row| [0, 255 - (row / 4) as u8, 0].repeat(1024));
        let pixels = Pixels::new(Size::new(1024, 1024), PixelMode::Rgb, rows.collect());
        let options = ImageOptions { resampling: Resampling::Nearest, ..ImageOptions::new(ImageFormat::png()) };
        MapImage::from_pixels(pixels, Arc::new(options))
    }

    #[test]
    fn maps_around_the_equator_are_bent_as_all_others() {
        const HALF: f64 = 20037508.342789244;
        let (mercator, wgs84) = (Srs::web_mercator(), Srs::wgs84());
        let world = Bbox::new(-HALF, -HALF, HALF, HALF);
        for (south, north) in [(-90.0, 90.0), (-80.0, 80.0), (-80.0, 40.0), (-40.0, 120.0 - 40.0)] {
            let (size, wanted) = (Size::new(1024, 512), Bbox::new(-180.0, south, 180.0, north));
            let image = mercator_world();
            let options = Arc::clone(image.options());
            let map = transform(&image, (&world, &mercator), (&wanted, size, &wgs84), &options).unwrap();
            let pixels = map.pixels().unwrap();
            for row in (0..512).step_by(8) {
                let latitude = north - (f64::from(row) + 0.5) / 512.0 * (north - south);
                if latitude.abs() > 65.0 {
                    continue;
                }
                let mut point = [(0.0, latitude)];
                wgs84.transform_points(&mercator, &mut point).unwrap();
                let green = ((point[0].1 + HALF) / (2.0 * HALF) * 256.0) as u8;
                let is = pixels.pixel(512, row)[1];
                assert!(is.abs_diff(green) <= 1, "{is} instead of {green} at {latitude}, map of {wanted}");
            }
        }
    }
}
