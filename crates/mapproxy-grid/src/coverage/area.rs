//! Polygons with what is computed from them on first use: an index, and copies in other SRS.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use geo::{BoundingRect, MultiPolygon, Polygon};

use super::algebra;
use super::index::Index;
use super::{CoverageError, Polygons, algebra::rings};
use crate::{Bbox, Srs, TransformError};

/// Valid polygons.
#[derive(Debug)]
pub(super) struct Area {
    polygons: MultiPolygon,
    bbox: Bbox,
    index: OnceLock<Index>,
    own: OnceLock<Outlines>,
    /// Clients choose the SRS, within what the service allows.
    transformed: Mutex<Vec<(Srs, Arc<Outlines>)>>,
    images: Mutex<Vec<(Srs, Arc<Area>)>>,
}

impl Area {
    /// Copies in other SRS that are kept.
    const MAX_TRANSFORMED: usize = 16;

    /// `None` for no area.
    pub(super) fn new(polygons: MultiPolygon) -> Option<Area> {
        let bbox = bbox_of(polygons.bounding_rect()?);
        bbox.is_valid().then(|| Area {
            polygons,
            bbox,
            index: OnceLock::new(),
            own: OnceLock::new(),
            transformed: Mutex::default(),
            images: Mutex::default(),
        })
    }

    pub(super) fn polygons(&self) -> &MultiPolygon {
        &self.polygons
    }

    pub(super) fn bbox(&self) -> Bbox {
        self.bbox
    }

    /// A common point is enough.
    pub(super) fn touches(&self, bbox: &Bbox) -> bool {
        touch(&self.bbox, bbox) && self.index().touches(bbox)
    }

    pub(super) fn contains(&self, bbox: &Bbox) -> bool {
        let Bbox { min_x, min_y, max_x, max_y } = self.bbox;
        let is_within = min_x <= bbox.min_x && min_y <= bbox.min_y && max_x >= bbox.max_x && max_y >= bbox.max_y;
        is_within && self.index().contains(bbox)
    }

    pub(super) fn own(&self) -> &Outlines {
        self.own.get_or_init(|| Outlines::of(&self.polygons))
    }

    /// The polygons in another SRS, point by point.
    pub(super) fn transformed(&self, from: &Srs, to: &Srs) -> Result<Arc<Outlines>, TransformError> {
        kept(&self.transformed, to, || Ok(Outlines::of(&algebra::transformed(&self.polygons, from, to)?)))
    }

    /// The area in another SRS, edge by edge.
    pub(super) fn image(&self, from: &Srs, to: &Srs) -> Result<Area, CoverageError> {
        Area::new(algebra::image(&self.polygons, from, to)?).ok_or(CoverageError::Empty)
    }

    /// As `image`, made once.
    pub(super) fn kept_image(&self, from: &Srs, to: &Srs) -> Result<Arc<Area>, CoverageError> {
        kept(&self.images, to, || self.image(from, to))
    }

    fn index(&self) -> &Index {
        self.index
            .get_or_init(|| Index::new(self.polygons.iter().flat_map(rings).map(|ring| ring.0.as_slice()), self.bbox))
    }
}

/// The rings of one polygon, the outline first.
type Rings = Vec<Vec<(f64, f64)>>;

/// Polygons to be drawn, each with the box around it.
#[derive(Debug)]
pub(super) struct Outlines {
    polygons: Vec<Outline>,
}

#[derive(Debug)]
struct Outline {
    bbox: Bbox,
    rings: Rings,
    /// For each ring, the boxes around pieces of it.
    pieces: Vec<Vec<Bbox>>,
}

/// Points of a ring that have a box in common.
const PIECE: usize = 64;

impl Outlines {
    fn of(polygons: &MultiPolygon) -> Outlines {
        let outline = |polygon: &Polygon| {
            let points = |ring: &geo::LineString| ring.0.iter().map(|c| (c.x, c.y)).collect();
            let rings: Rings = rings(polygon).map(points).collect();
            let pieces = rings.iter().map(|ring| ring.chunks(PIECE).map(around).collect()).collect();
            Some(Outline { bbox: bbox_of(polygon.bounding_rect()?), rings, pieces })
        };
        Outlines { polygons: polygons.iter().filter_map(outline).collect() }
    }

    /// The parts inside of `bbox`.
    pub(super) fn cut(&self, bbox: &Bbox) -> Polygons {
        let near = self.polygons.iter().filter(|outline| touch(&outline.bbox, bbox));
        near.filter_map(|Outline { bbox: own, rings, pieces }| {
            if bbox.contains_point(own.min_x, own.min_y) && bbox.contains_point(own.max_x, own.max_y) {
                return Some(rings.clone());
            }
            let rings = rings.iter().zip(pieces);
            let mut cut = rings.map(|(ring, pieces)| algebra::clip_ring(&near_points(ring, pieces, bbox), bbox));
            let outline = cut.next().filter(|outline| !outline.is_empty())?;
            let holes = cut.filter(|hole| !hole.is_empty());
            Some(std::iter::once(outline).chain(holes).collect())
        })
        .collect()
    }
}

/// The ring without most of what lies on one side of the box: of a piece that does, its ends say enough.
fn near_points(ring: &[(f64, f64)], pieces: &[Bbox], bbox: &Bbox) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for (piece, own) in ring.chunks(PIECE).zip(pieces) {
        match piece {
            [first, .., last] if !touch(own, bbox) => points.extend([*first, *last]),
            _ => points.extend_from_slice(piece),
        }
    }
    points
}

fn around(points: &[(f64, f64)]) -> Bbox {
    let nothing = Bbox::new(f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
    points.iter().fold(nothing, |b, &(x, y)| Bbox::new(b.min_x.min(x), b.min_y.min(y), b.max_x.max(x), b.max_y.max(y)))
}

/// What was made for `srs` before, or is made now.
fn kept<T, E>(copies: &Mutex<Vec<(Srs, Arc<T>)>>, srs: &Srs, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
    let lock = || copies.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = lock().iter().find(|(known, _)| known == srs) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(make()?);
    let mut copies = lock();
    if copies.len() >= Area::MAX_TRANSFORMED {
        copies.remove(0);
    }
    copies.push((srs.clone(), Arc::clone(&made)));
    Ok(made)
}

fn touch(a: &Bbox, b: &Bbox) -> bool {
    a.min_x <= b.max_x && a.max_x >= b.min_x && a.min_y <= b.max_y && a.max_y >= b.min_y
}

fn bbox_of(rect: geo::Rect) -> Bbox {
    Bbox::new(rect.min().x, rect.min().y, rect.max().x, rect.max().y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cutting_only_the_pieces_that_are_near_encloses_the_same(
            distances in prop::collection::vec(1.0_f64..10.0, 100..400),
            (x, y, w, h) in (-12.0_f64..10.0, -12.0_f64..10.0, 0.1_f64..12.0, 0.1_f64..12.0),
        ) {
            let corner = |(number, distance): (usize, &f64)| {
                let angle = number as f64 / distances.len() as f64 * std::f64::consts::TAU;
                (distance * angle.cos(), distance * angle.sin())
            };
            let mut ring: Vec<(f64, f64)> = distances.iter().enumerate().map(corner).collect();
            ring.push(ring[0]);
            let bbox = Bbox::new(x, y, x + w, y + h);
            let pieces: Vec<Bbox> = ring.chunks(PIECE).map(around).collect();
            let near = near_points(&ring, &pieces, &bbox);
            // Edges there and back along the border of the box may differ, what is enclosed does not.
            let enclosed = |ring: &[(f64, f64)]| -> f64 {
                ring.windows(2).map(|edge| edge[0].0 * edge[1].1 - edge[1].0 * edge[0].1).sum::<f64>() / 2.0
            };
            let (cut, whole) = (algebra::clip_ring(&near, &bbox), algebra::clip_ring(&ring, &bbox));
            prop_assert!((enclosed(&cut) - enclosed(&whole)).abs() < 1e-9, "{cut:?} {whole:?}");
            prop_assert!(near.len() <= ring.len());
        }
    }
}
