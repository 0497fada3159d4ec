//! Operations on polygons. Results are valid: rings do not cross, polygons do not overlap.

use geo::bool_ops::{BooleanOps, FillRule, OpType};
use geo::{BoundingRect, Coord, LineString, MultiPolygon, Orient, Polygon, Rect, orient::Direction};

use crate::{Bbox, Srs, TransformError};

/// The library computes on a grid of 2^30 steps or so; what lies nearer to a given coordinate than this part of the
/// extent, is that coordinate.
const SNAP: f64 = 1.0 / (1 << 26) as f64;

/// Overlapping and adjacent polygons become one, crossing rings are split. Nothing but usable polygons is left.
pub(super) fn merged(polygons: MultiPolygon) -> MultiPolygon {
    let usable = polygons.0.into_iter().filter(|polygon| polygon.exterior().0.len() >= 4);
    let oriented = MultiPolygon(usable.map(|polygon| polygon.orient(Direction::Default)).collect());
    // What has no size cannot be scaled to the library's grid.
    if oriented.bounding_rect().is_none_or(|rect| rect.width().max(rect.height()) < 1e-30) {
        return MultiPolygon(Vec::new());
    }
    if let [only] = oriented.0.as_slice()
        && is_rectangle(only)
    {
        return oriented;
    }
    let union = oriented.union_with_fill_rule(&MultiPolygon::new(Vec::new()), FillRule::NonZero);
    snapped(union, &[&oriented])
}

pub(super) fn intersection(a: &MultiPolygon, b: &MultiPolygon) -> MultiPolygon {
    snapped(a.boolean_op(b, OpType::Intersection), &[a, b])
}

pub(super) fn difference(a: &MultiPolygon, b: &MultiPolygon) -> MultiPolygon {
    snapped(a.boolean_op(b, OpType::Difference), &[a, b])
}

/// Without points that do not show: within a millionth of each polygon's extent.
pub(super) fn simplified(polygons: MultiPolygon) -> MultiPolygon {
    let polygon = |polygon: Polygon| match polygon.bounding_rect() {
        Some(rect) if polygon.exterior().0.len() > 8 => {
            let tolerance = rect.width().min(rect.height()) / 1e6;
            let (outline, holes) = polygon.into_inner();
            let ring = |ring: LineString| LineString(simplified_ring(&ring.0, tolerance));
            Polygon::new(ring(outline), holes.into_iter().map(ring).collect())
        }
        _ => polygon,
    };
    MultiPolygon(polygons.0.into_iter().map(polygon).collect())
}

/// Douglas and Peucker, without recursion and by pieces, so that no ring takes more than a bounded time for each point.
fn simplified_ring(ring: &[Coord], tolerance: f64) -> Vec<Coord> {
    const PIECE: usize = 256;
    let Some(last) = ring.len().checked_sub(1) else { return Vec::new() };
    let mut kept = vec![ring[0]];
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < last {
        let end = (start + PIECE).min(last);
        ranges.push((start, end));
        while let Some((from, to)) = ranges.pop() {
            let line = [ring[from], ring[to]];
            let between = (from + 1..to).map(|number| (number, square_distance(ring[number], &line)));
            match between.max_by(|a, b| a.1.total_cmp(&b.1)) {
                Some((farthest, square)) if square > tolerance * tolerance => {
                    // The first part is taken first.
                    ranges.extend([(farthest, to), (from, farthest)]);
                }
                _ => kept.push(ring[to]),
            }
        }
        start = end;
    }
    // Where nothing is left, the ring was smaller than what shows.
    if kept.len() < 4 { ring.to_vec() } else { kept }
}

/// To the segment, not only to the line.
fn square_distance(point: Coord, [a, b]: &[Coord; 2]) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length = dx * dx + dy * dy;
    let along =
        if length > 0.0 { (((point.x - a.x) * dx + (point.y - a.y) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    let (x, y) = (point.x - a.x - along * dx, point.y - a.y - along * dy);
    x * x + y * y
}

/// Point by point; points without image are left out.
pub(super) fn transformed(polygons: &MultiPolygon, from: &Srs, to: &Srs) -> Result<MultiPolygon, TransformError> {
    let ring = |ring: &LineString| {
        let mut points: Vec<(f64, f64)> = ring.0.iter().map(|c| (c.x, c.y)).collect();
        from.transform_points(to, &mut points)?;
        points.retain(|(x, y)| x.is_finite() && y.is_finite());
        Ok(LineString::from(points))
    };
    let transformed = polygons
        .iter()
        .map(|polygon| {
            let holes = polygon.interiors().iter().map(ring).collect::<Result<Vec<_>, TransformError>>()?;
            let holes = holes.into_iter().filter(|hole| hole.0.len() >= 3).collect();
            Ok(Polygon::new(ring(polygon.exterior())?, holes))
        })
        .collect::<Result<Vec<_>, TransformError>>()?;
    Ok(MultiPolygon(transformed.into_iter().filter(|polygon| polygon.exterior().0.len() >= 4).collect()))
}

/// The polygons in another SRS, each point with its image. An error where one has none, or where an edge does not lead
/// from one image to the other: half way along it, one must be half way along the edge that it was.
pub(super) fn image(polygons: &MultiPolygon, from: &Srs, to: &Srs) -> Result<MultiPolygon, TransformError> {
    let torn = |at: Coord| TransformError {
        what: format!("the edge at {} {}", at.x, at.y),
        from: from.clone(),
        to: to.clone(),
    };
    let ring = |ring: &LineString| {
        let mut points: Vec<(f64, f64)> = ring.0.iter().map(|c| (c.x, c.y)).collect();
        from.transform_points(to, &mut points)?;
        if let Some(lost) = points.iter().position(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return Err(torn(ring.0[lost]));
        }
        let mut middles: Vec<(f64, f64)> = points
            .windows(2)
            .map(|edge| (f64::midpoint(edge[0].0, edge[1].0), f64::midpoint(edge[0].1, edge[1].1)))
            .collect();
        to.transform_points(from, &mut middles)?;
        for (edge, (x, y)) in ring.0.windows(2).zip(middles) {
            let (dx, dy) = (edge[1].x - edge[0].x, edge[1].y - edge[0].y);
            let mut off_x = (x - f64::midpoint(edge[0].x, edge[1].x)).abs();
            if from.is_geographic() {
                off_x = off_x.min((off_x - 360.0).abs());
            }
            let off_y = (y - f64::midpoint(edge[0].y, edge[1].y)).abs();
            // A bend is some part of the edge's length, a tear is half the world.
            let is_bend = off_x.max(off_y) <= dx.hypot(dy) / 2.0 + 1e-9;
            if !is_bend {
                return Err(torn(edge[0]));
            }
        }
        Ok(LineString::from(points))
    };
    let polygon = |polygon: &Polygon| {
        let holes = polygon.interiors().iter().map(ring).collect::<Result<Vec<_>, TransformError>>()?;
        Ok(Polygon::new(ring(polygon.exterior())?, holes))
    };
    polygons.iter().map(polygon).collect::<Result<Vec<_>, TransformError>>().map(MultiPolygon)
}

/// The box as a polygon with many points on each edge, so that they bend with it.
pub(super) fn dense_polygon_of(bbox: &Bbox) -> Polygon {
    const POINTS: u32 = 64;
    let &Bbox { min_x, min_y, max_x, max_y } = bbox;
    let corners = [(min_x, min_y), (max_x, min_y), (max_x, max_y), (min_x, max_y), (min_x, min_y)];
    let points = corners.windows(2).flat_map(|edge| {
        let [(x0, y0), (x1, y1)] = [edge[0], edge[1]];
        (0..POINTS).map(move |i| {
            let part = f64::from(i) / f64::from(POINTS);
            (x0 + (x1 - x0) * part, y0 + (y1 - y0) * part)
        })
    });
    Polygon::new(points.collect(), Vec::new())
}

/// The box as a polygon.
pub(super) fn polygon_of(bbox: &Bbox) -> Polygon {
    Rect::new(Coord { x: bbox.min_x, y: bbox.min_y }, Coord { x: bbox.max_x, y: bbox.max_y }).to_polygon()
}

/// The box as the rings of a polygon.
pub(super) fn ring_of(bbox: &Bbox) -> Vec<Vec<(f64, f64)>> {
    let &Bbox { min_x, min_y, max_x, max_y } = bbox;
    vec![vec![(min_x, min_y), (max_x, min_y), (max_x, max_y), (min_x, max_y), (min_x, min_y)]]
}

/// The part of a ring inside the box (Sutherland and Hodgman): edge by edge. Cuts follow the edges of the box, and parts
/// that fall apart stay connected along them, which encloses no area.
pub(super) fn clip_ring(ring: &[(f64, f64)], bbox: &Bbox) -> Vec<(f64, f64)> {
    type Inside = fn((f64, f64), f64) -> bool;
    type Cut = fn((f64, f64), (f64, f64), f64) -> (f64, f64);
    let at_x: Cut = |a, b, x| (x, a.1 + (b.1 - a.1) * ((x - a.0) / (b.0 - a.0)));
    let at_y: Cut = |a, b, y| (a.0 + (b.0 - a.0) * ((y - a.1) / (b.1 - a.1)), y);
    let edges: [(f64, Inside, Cut); 4] = [
        (bbox.min_x, |p, x| p.0 >= x, at_x),
        (bbox.max_x, |p, x| p.0 <= x, at_x),
        (bbox.min_y, |p, y| p.1 >= y, at_y),
        (bbox.max_y, |p, y| p.1 <= y, at_y),
    ];
    let cut_at = |points: &[(f64, f64)], (edge, inside, cut): (f64, Inside, Cut)| {
        let Some(&last) = points.last() else { return Vec::new() };
        let mut before = last;
        let mut kept = Vec::new();
        for &point in points {
            let is_inside = inside(point, edge);
            if inside(before, edge) != is_inside {
                kept.push(cut(before, point, edge));
            }
            if is_inside {
                kept.push(point);
            }
            before = point;
        }
        kept
    };
    let open = if ring.len() > 1 && ring.first() == ring.last() { &ring[1..] } else { ring };
    let [first, others @ ..] = edges;
    let mut points = others.into_iter().fold(cut_at(open, first), |points, edge| cut_at(&points, edge));
    if points.len() < 3 {
        return Vec::new();
    }
    let first = points[0];
    points.push(first);
    points
}

fn is_rectangle(polygon: &Polygon) -> bool {
    let ring = &polygon.exterior().0;
    polygon.interiors().is_empty()
        && ring.len() == 5
        && polygon.bounding_rect().is_some_and(|rect| {
            rect.width() > 0.0
                && rect.height() > 0.0
                && ring.windows(2).all(|edge| (edge[0].x == edge[1].x) != (edge[0].y == edge[1].y))
        })
}

/// Gives coordinates their exact value back, where one is near, and drops what has become nothing by that.
fn snapped(mut result: MultiPolygon, inputs: &[&MultiPolygon]) -> MultiPolygon {
    let coords = || inputs.iter().flat_map(|input| input.iter()).flat_map(rings).flat_map(|ring| &ring.0);
    let mut xs: Vec<f64> = coords().map(|c| c.x).collect();
    let mut ys: Vec<f64> = coords().map(|c| c.y).collect();
    xs.sort_by(f64::total_cmp);
    ys.sort_by(f64::total_cmp);
    let extent = |sorted: &[f64]| sorted.last().zip(sorted.first()).map_or(0.0, |(last, first)| last - first);
    let tolerance = extent(&xs).max(extent(&ys)) * SNAP;
    let snap = |line: &mut LineString| {
        for coord in &mut line.0 {
            coord.x = nearest(&xs, coord.x, tolerance);
            coord.y = nearest(&ys, coord.y, tolerance);
        }
        line.0.dedup();
    };
    for polygon in &mut result.0 {
        polygon.exterior_mut(snap);
        polygon.interiors_mut(|holes| holes.iter_mut().for_each(snap));
    }
    result.0.retain(|polygon| polygon.exterior().0.len() >= 4);
    result
}

fn nearest(sorted: &[f64], value: f64, tolerance: f64) -> f64 {
    let after = sorted.partition_point(|v| *v < value);
    let candidates = [after.checked_sub(1).and_then(|i| sorted.get(i)), sorted.get(after)];
    let best = candidates.into_iter().flatten().min_by(|a, b| (*a - value).abs().total_cmp(&(*b - value).abs()));
    best.copied().filter(|v| (v - value).abs() <= tolerance).unwrap_or(value)
}

/// All rings of a polygon.
pub(super) fn rings(polygon: &Polygon) -> impl Iterator<Item = &LineString> {
    std::iter::once(polygon.exterior()).chain(polygon.interiors())
}
