//! Cutting pictures at the edge of a coverage.

use mapproxy_grid::{Bbox, Coverage, Size, Srs};

use crate::{Color, ImageError, PixelMode, Pixels};

/// How far an outline is drawn inwards, in pixels, so that an edge between two pixels takes the inner one only.
const INSET: f64 = 0.1;

/// The picture of `bbox` with everything outside of `coverage` transparent.
///
/// Pixels that an outline runs through are inside. A picture that lies within the coverage stays as it is, without
/// alpha if it had none.
pub fn clip(pixels: Pixels, bbox: &Bbox, srs: &Srs, coverage: &Coverage) -> Result<Pixels, ImageError> {
    if coverage.contains(bbox, srs)? {
        return Ok(pixels);
    }
    let size = pixels.size();
    let mut inside = Mask::new(size);
    let (x_res, y_res) = bbox.resolution(size);
    for polygon in coverage.polygons_in(bbox, srs)? {
        for (index, ring) in polygon.iter().enumerate() {
            let ring: Vec<_> = ring.iter().map(|(x, y)| ((x - bbox.min_x) / x_res, (bbox.max_y - y) / y_res)).collect();
            // A hole grows by what an outline shrinks.
            let inset = if index == 0 { INSET } else { -INSET };
            inside.fill(&shrunk(&ring, inset), index == 0);
        }
    }
    let mut out = pixels.into_mode(PixelMode::Rgba);
    let (data, _) = out.data_mut().as_chunks_mut::<4>();
    for (pixel, &inside) in data.iter_mut().zip(&inside.data) {
        if !inside {
            *pixel = Color::TRANSPARENT.0;
        }
    }
    Ok(out)
}

struct Mask {
    size: Size,
    data: Vec<bool>,
}

impl Mask {
    fn new(size: Size) -> Mask {
        Mask { size, data: vec![false; size.pixels() as usize] }
    }

    /// Sets the pixels inside of a ring and those that its corners and edges lie in.
    fn fill(&mut self, ring: &[(i64, i64)], value: bool) {
        let Some(&last) = ring.last() else { return };
        let edges: Vec<_> = std::iter::once(last).chain(ring.iter().copied()).zip(ring.iter().copied()).collect();
        let low = ring.iter().map(|point| point.1).min().unwrap_or(0).max(0);
        let high = ring.iter().map(|point| point.1).max().unwrap_or(0).min(i64::from(self.size.height) - 1);
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for y in low..=high {
            upper.clear();
            lower.clear();
            for &((x0, y0), (x1, y1)) in &edges {
                if y0 == y1 {
                    if y == y0 {
                        self.span(y, x0.min(x1) as f64, x0.max(x1) as f64, value);
                    }
                    continue;
                }
                let (top, bottom) = (y0.min(y1), y0.max(y1));
                if (top..=bottom).contains(&y) {
                    let x = x0 as f64 + (y - y0) as f64 * (x1 - x0) as f64 / (y1 - y0) as f64;
                    // Corners belong to the edge above once, to the one below once; both are filled.
                    if y != bottom {
                        lower.push(x);
                    }
                    if y != top {
                        upper.push(x);
                    }
                }
            }
            for crossings in [&mut upper, &mut lower] {
                crossings.sort_unstable_by(f64::total_cmp);
                for pair in crossings.chunks_exact(2) {
                    self.span(y, pair[0], pair[1], value);
                }
            }
        }
    }

    fn span(&mut self, y: i64, from: f64, to: f64, value: bool) {
        let width = i64::from(self.size.width);
        let from = ((from - 0.5).ceil() as i64).clamp(0, width);
        let to = ((to + 0.5).floor() as i64 + 1).clamp(0, width);
        let row = y as usize * self.size.width as usize;
        if from < to {
            self.data[row + from as usize..row + to as usize].fill(value);
        }
    }
}

/// The ring in whole pixels, its corners moved inwards by `inset` (outwards where negative).
fn shrunk(ring: &[(f64, f64)], inset: f64) -> Vec<(i64, i64)> {
    let mut ring = ring.to_vec();
    ring.dedup();
    if ring.len() > 1 && ring.first() == ring.last() {
        ring.pop();
    }
    let count = ring.len();
    if count < 3 {
        return Vec::new();
    }
    let area: f64 = (0..count).map(|i| cross(ring[i], ring[(i + 1) % count])).sum();
    let inset = inset * area.signum();
    let corner = |i: usize| {
        let (before, at, after) = (ring[(i + count - 1) % count], ring[i], ring[(i + 1) % count]);
        let (a, b) = (normal(before, at), normal(at, after));
        // Both edges moved along their normals meet at this far along the sum of the normals.
        let sum = (a.0 + b.0, a.1 + b.1);
        let length = sum.0 * sum.0 + sum.1 * sum.1;
        let factor = if length < 0.1 { 0.0 } else { 2.0 * inset / length };
        ((at.0 + sum.0 * factor) as i64, (at.1 + sum.1 * factor) as i64)
    };
    (0..count).map(corner).collect()
}

fn cross(a: (f64, f64), b: (f64, f64)) -> f64 {
    a.0 * b.1 - a.1 * b.0
}

/// Unit vector to the left of the way from `a` to `b` (with y downwards and a positive area: inwards).
fn normal(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let (x, y) = (b.0 - a.0, b.1 - a.1);
    let length = x.hypot(y);
    (-y / length, x / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(ring: &[(f64, f64)], size: u32) -> Vec<String> {
        let mut mask = Mask::new(Size::new(size, size));
        mask.fill(&shrunk(ring, INSET), true);
        let row = |row: &[bool]| row.iter().map(|&inside| if inside { '#' } else { '.' }).collect();
        mask.data.chunks(size as usize).map(row).collect()
    }

    #[test]
    fn edges_between_pixels_take_the_inner_pixel() {
        let rows = drawn(&[(2., 2.), (7., 2.), (7., 7.), (2., 7.), (2., 2.)], 10);
        let columns: Vec<_> = rows.iter().map(|row| row.matches('#').count()).collect();
        assert_eq!(columns, [0, 0, 5, 5, 5, 5, 5, 0, 0, 0]);
        assert_eq!(rows[4], "..#####...");
    }

    #[test]
    fn pixels_that_an_edge_runs_through_are_inside_whichever_way_the_ring_goes() {
        let mut ring = vec![(2.6, 1.4), (7.6, 1.4), (7.6, 6.4), (2.6, 6.4), (2.6, 1.4)];
        let one = drawn(&ring, 10);
        assert_eq!(one[1..7], ["..######.."; 6]);
        ring.reverse();
        assert_eq!(drawn(&ring, 10), one);
    }

    #[test]
    fn rings_without_area_or_far_outside_draw_nothing_and_end() {
        let empty = vec![".".repeat(6); 6];
        assert_eq!(drawn(&[(1., 1.), (4., 4.), (1., 1.)], 6), empty);
        assert_eq!(drawn(&[(1e18, 1e18), (2e18, 1e18), (2e18, 2e18)], 6), empty);
        assert_eq!(drawn(&[(f64::NAN, 1.), (3., 1.), (3., f64::INFINITY)], 6).len(), 6);
    }
}
