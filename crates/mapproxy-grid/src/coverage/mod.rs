//! Coverages: the area that a source, a cache or a caller may be asked for.
//!
//! A box stays a box: it is tested without touching its edges, and stays a box in every SRS. Anything else is polygons,
//! valid and merged, with an index for the one question that is asked for each tile: does this box touch them?
//! A question in another SRS is answered in the coverage's own: the box is transformed, not the polygons.

mod algebra;
mod area;
mod index;
mod parse;
mod tiles;

use std::sync::{Arc, OnceLock};

use geo::{CoordsIter as _, MultiPolygon};

use crate::{Bbox, MapExtent, Srs, TileCoord, TransformError};
use area::Area;

/// A coverage that cannot be read or computed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CoverageError {
    /// The text is no WKT or GeoJSON polygon.
    #[error("not a polygon: {0}")]
    Parse(String),
    /// The result of an operation has no area.
    #[error("the coverage is empty")]
    Empty,
    /// No image in the other SRS.
    #[error(transparent)]
    Transform(#[from] TransformError),
}

/// An area in one SRS: a box or polygons. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Coverage {
    srs: Srs,
    shape: Shape,
    clip: bool,
    skipped: Arc<[String]>,
}

/// How a box lies to a coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// All of the box belongs to the coverage.
    Inside,
    /// Some of it.
    Meets,
    /// Nothing of it.
    Beside,
}

#[derive(Clone, Debug)]
enum Shape {
    Box(Bbox, Dense),
    Polygons(Arc<Area>),
    Any(Arc<Several>),
}

/// Areas that are asked one after the other.
#[derive(Debug)]
struct Several {
    parts: Vec<Coverage>,
    extent: MapExtent,
    /// All together, made when that is needed.
    merged: OnceLock<Result<Coverage, CoverageError>>,
}

/// A box as a polygon whose edges have points enough to bend, made when it is needed in another SRS.
#[derive(Clone, Debug, Default)]
struct Dense(Arc<OnceLock<Arc<Area>>>);

/// Polygons as rings of points (the first ring of a polygon is its outline), closed, in some SRS or in pixels.
pub type Polygons = Vec<Vec<Vec<(f64, f64)>>>;

impl Coverage {
    /// A box.
    pub fn from_bbox(bbox: Bbox, srs: Srs) -> Coverage {
        Coverage { srs, shape: Shape::Box(bbox, Dense::default()), clip: false, skipped: Arc::default() }
    }
    /// Polygons; the last point of a ring may be left out where it is the first one.
    ///
    /// Overlapping polygons are merged, and rings that cross themselves are mended.
    pub fn from_polygons(polygons: &Polygons, srs: Srs) -> Result<Coverage, CoverageError> {
        Self::from_read(parse::Read::from_rings(polygons), srs)
    }
    /// WKT POLYGON or MULTIPOLYGON texts, one a line; other geometries and blank lines are skipped.
    pub fn from_wkt(text: &str, srs: Srs) -> Result<Coverage, CoverageError> {
        Self::from_read(parse::wkt(text)?, srs)
    }
    /// A GeoJSON FeatureCollection, Feature or geometry.
    pub fn from_geojson(text: &str, srs: Srs) -> Result<Coverage, CoverageError> {
        Self::from_read(parse::geojson(text)?, srs)
    }
    /// Tiles of web mercator in the usual numbering (level 0 is one tile, rows from the north), of whatever levels and in
    /// whatever order. Tiles that are not in the world count for nothing.
    pub fn from_mercator_tiles(tiles: &[TileCoord]) -> Result<Coverage, CoverageError> {
        Self::from_multi_polygon(tiles::area(tiles), Srs::web_mercator())
    }
    /// All areas together, in the first one's SRS.
    pub fn union(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let (srs, shapes) = Self::in_common_srs(parts)?;
        let all = MultiPolygon(shapes.into_iter().flatten().collect());
        Self::from_multi_polygon(algebra::merged(all), srs)
    }
    /// All areas together, each tested as it is on its own: boxes stay boxes, each in its SRS.
    pub fn any_of(parts: Vec<Coverage>) -> Result<Coverage, CoverageError> {
        let mut extents = parts.iter().map(Coverage::extent);
        let first = extents.next().ok_or(CoverageError::Empty)?;
        let extent = extents.try_fold(first, |all, extent| all.union(&extent))?;
        if let [only] = parts.as_slice() {
            return Ok(only.clone());
        }
        let clip = parts.iter().any(Coverage::clip);
        let srs = extent.srs.clone();
        let shape = Shape::Any(Arc::new(Several { parts, extent, merged: OnceLock::new() }));
        Ok(Coverage { srs, shape, clip, skipped: Arc::default() })
    }
    /// The area common to all, in the first one's SRS.
    pub fn intersection(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let (srs, shapes) = Self::in_common_srs(parts)?;
        let common = shapes.into_iter().reduce(|common, part| algebra::intersection(&common, &part));
        Self::from_multi_polygon(common.ok_or(CoverageError::Empty)?, srs)
    }
    /// The first area without the others, in its SRS.
    pub fn difference(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let (srs, shapes) = Self::in_common_srs(parts)?;
        let rest = shapes.into_iter().reduce(|rest, part| algebra::difference(&rest, &part));
        Self::from_multi_polygon(rest.ok_or(CoverageError::Empty)?, srs)
    }
    /// Whether pictures are cut at the coverage's edge.
    pub fn with_clip(self, clip: bool) -> Coverage {
        Coverage { clip, ..self }
    }
    /// Pictures are cut at the coverage's edge.
    pub fn clip(&self) -> bool {
        self.clip
    }
    /// The SRS.
    pub fn srs(&self) -> &Srs {
        &self.srs
    }
    /// What the text held besides polygons (`POINT`, `LINESTRING`, …), once a kind: it was left out.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }
    /// The box around.
    pub fn extent(&self) -> MapExtent {
        let bbox = match &self.shape {
            Shape::Box(bbox, _) => *bbox,
            Shape::Polygons(area) => area.bbox(),
            Shape::Any(several) => return several.extent.clone(),
        };
        MapExtent::new(bbox, self.srs.clone())
    }
    /// The coverage shares something with `bbox`: an area for box coverages, a touch counts for polygons.
    pub fn intersects(&self, bbox: &Bbox, srs: &Srs) -> Result<bool, TransformError> {
        if let Shape::Any(several) = &self.shape {
            return several.any(|part| part.intersects(bbox, srs));
        }
        let bbox = srs.transform_bbox(&self.srs, bbox)?;
        Ok(match &self.shape {
            Shape::Box(own, _) => own.intersects(&bbox),
            Shape::Polygons(area) => area.touches(&bbox),
            Shape::Any(_) => false,
        })
    }
    /// `bbox` lies inside the coverage.
    pub fn contains(&self, bbox: &Bbox, srs: &Srs) -> Result<bool, TransformError> {
        Ok(self.relation(bbox, srs)? == Relation::Inside)
    }
    /// How `bbox` lies to the coverage: [`contains`](Self::contains) and [`intersects`](Self::intersects) in one question.
    pub fn relation(&self, bbox: &Bbox, srs: &Srs) -> Result<Relation, TransformError> {
        if let Shape::Any(several) = &self.shape {
            let mut meets = false;
            let inside = several.any(|part| {
                let relation = part.relation(bbox, srs)?;
                meets |= relation != Relation::Beside;
                Ok(relation == Relation::Inside)
            })?;
            return Ok(match (meets, inside) {
                (_, true) => Relation::Inside,
                (true, false) => Relation::Meets,
                (false, false) => Relation::Beside,
            });
        }
        let bbox = srs.transform_bbox(&self.srs, bbox)?;
        let (meets, contains) = match &self.shape {
            Shape::Box(own, _) => {
                let meets = own.intersects(&bbox);
                (meets, meets && own.contains(&bbox))
            }
            Shape::Polygons(area) => {
                let meets = area.touches(&bbox);
                (meets, meets && area.contains(&bbox))
            }
            Shape::Any(_) => (false, false),
        };
        Ok(match (meets, contains) {
            (_, true) => Relation::Inside,
            (true, false) => Relation::Meets,
            (false, false) => Relation::Beside,
        })
    }
    /// The same area in another SRS, its edges moved there point by point, those of a box, too.
    ///
    /// For an area that must not be left: questions in `srs` are then answered without transforming what somebody
    /// asks, whose box may well wrap around the world or have no image. An error where an edge has no image, or is torn
    /// apart (at the date line), since what it encloses there is not the area.
    pub fn in_srs(&self, srs: &Srs) -> Result<Coverage, CoverageError> {
        if *srs == self.srs {
            return Ok(self.clone());
        }
        let shape = match &self.shape {
            Shape::Box(bbox, dense) => {
                let area = match dense.0.get() {
                    Some(area) => area,
                    None => {
                        let polygon = MultiPolygon(vec![algebra::dense_polygon_of(bbox)]);
                        let area = Area::new(polygon).ok_or(CoverageError::Empty)?;
                        dense.0.get_or_init(|| Arc::new(area))
                    }
                };
                area.kept_image(&self.srs, srs)?
            }
            Shape::Polygons(area) => area.kept_image(&self.srs, srs)?,
            Shape::Any(several) => return Ok(several.merged()?.in_srs(srs)?.with_clip(self.clip)),
        };
        Ok(Coverage { srs: srs.clone(), shape: Shape::Polygons(shape), clip: self.clip, skipped: self.skipped.clone() })
    }
    /// The coverage with its corners in another SRS, and straight edges between them there: near to the same area, and
    /// no question in `srs` needs a transformation any more. A box stays a box, the one around its image.
    ///
    /// This is how MapProxy looks at the areas of seeding tasks. An error where a corner has no image.
    pub fn by_corners_in(&self, srs: &Srs) -> Result<Coverage, CoverageError> {
        let moved = match &self.shape {
            _ if *srs == self.srs => return Ok(self.clone()),
            Shape::Box(bbox, _) => Coverage::from_bbox(self.srs.transform_bbox(srs, bbox)?, srs.clone()),
            Shape::Polygons(area) => {
                let polygons = self.multi_polygon_in(srs)?;
                if polygons.coords_count() < area.polygons().coords_count() {
                    return Err(
                        TransformError { what: "a corner".into(), from: self.srs.clone(), to: srs.clone() }.into()
                    );
                }
                Coverage::from_multi_polygon(polygons, srs.clone())?
            }
            Shape::Any(several) => {
                let parts: Result<Vec<_>, _> = several.parts.iter().map(|part| part.by_corners_in(srs)).collect();
                Coverage::any_of(parts?)?
            }
        };
        Ok(Coverage { clip: self.clip, skipped: self.skipped.clone(), ..moved })
    }
    /// The part of the coverage inside `bbox`, as polygons in `srs`; empty where nothing is.
    ///
    /// The polygons are cut a little outside of `bbox`, so that the cuts are not mistaken for edges of the coverage.
    pub fn polygons_in(&self, bbox: &Bbox, srs: &Srs) -> Result<Polygons, TransformError> {
        let (x, y) = (bbox.width() / 8.0, bbox.height() / 8.0);
        let around = Bbox::new(bbox.min_x - x, bbox.min_y - y, bbox.max_x + x, bbox.max_y + y);
        Ok(match &self.shape {
            Shape::Box(own, _) => {
                let own = self.srs.transform_bbox(srs, own)?;
                let visible = own.intersects(bbox).then(|| own.intersection(&around)).flatten();
                visible.map(|part| algebra::ring_of(&part)).into_iter().collect()
            }
            Shape::Polygons(area) => {
                // Most pictures lie inside or outside; what an eighth more on each side says, holds for the picture.
                let asked = srs.transform_bbox(&self.srs, &around);
                match asked {
                    Ok(asked) if !area.touches(&asked) => Polygons::new(),
                    Ok(asked) if area.contains(&asked) => vec![algebra::ring_of(&around)],
                    _ if *srs == self.srs => area.own().cut(&around),
                    _ => area.transformed(&self.srs, srs)?.cut(&around),
                }
            }
            Shape::Any(several) => match several.merged() {
                Ok(merged) => merged.polygons_in(bbox, srs)?,
                Err(CoverageError::Transform(error)) => return Err(error),
                Err(_) => Polygons::new(),
            },
        })
    }

    fn from_read(read: parse::Read, srs: Srs) -> Result<Coverage, CoverageError> {
        let coords = || read.polygons.iter().flat_map(algebra::rings).flat_map(|ring| &ring.0);
        // No reference system has larger ones, and areas of larger ones could not be computed.
        let is_known = |number: f64| number.abs() <= 1e30;
        if let Some(wrong) = coords().find(|c| !is_known(c.x) || !is_known(c.y)) {
            return Err(CoverageError::Parse(format!("{} {} is no coordinate", wrong.x, wrong.y)));
        }
        let polygons = algebra::merged(algebra::simplified(read.polygons));
        let coverage = Self::from_multi_polygon(polygons, srs)?;
        Ok(Coverage { skipped: read.skipped.into(), ..coverage })
    }

    fn from_multi_polygon(polygons: MultiPolygon, srs: Srs) -> Result<Coverage, CoverageError> {
        let area = Area::new(polygons).ok_or(CoverageError::Empty)?;
        Ok(Coverage { srs, shape: Shape::Polygons(Arc::new(area)), clip: false, skipped: Arc::default() })
    }

    fn in_common_srs(parts: &[Coverage]) -> Result<(Srs, Vec<MultiPolygon>), CoverageError> {
        let srs = &parts.first().ok_or(CoverageError::Empty)?.srs;
        let shapes = parts.iter().map(|part| part.multi_polygon_in(srs)).collect::<Result<Vec<_>, _>>()?;
        Ok((srs.clone(), shapes))
    }

    fn multi_polygon_in(&self, srs: &Srs) -> Result<MultiPolygon, TransformError> {
        match &self.shape {
            Shape::Box(bbox, _) => Ok(MultiPolygon(vec![algebra::polygon_of(&self.srs.transform_bbox(srs, bbox)?)])),
            Shape::Polygons(area) if *srs == self.srs => Ok(area.polygons().clone()),
            Shape::Polygons(area) => algebra::transformed(area.polygons(), &self.srs, srs),
            Shape::Any(several) => {
                let parts = several.parts.iter().map(|part| part.multi_polygon_in(srs));
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                Ok(algebra::merged(MultiPolygon(parts.into_iter().flatten().collect())))
            }
        }
    }
}

impl Several {
    /// Whether one of them says so. Who cannot tell counts only where nobody says so.
    fn any(&self, mut says: impl FnMut(&Coverage) -> Result<bool, TransformError>) -> Result<bool, TransformError> {
        let mut trouble = None;
        for part in &self.parts {
            match says(part) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(false), Err)
    }

    fn merged(&self) -> Result<Coverage, CoverageError> {
        self.merged.get_or_init(|| Coverage::union(&self.parts)).clone()
    }
}

/// The same area, said in the same SRS and cut or not alike.
impl PartialEq for Coverage {
    fn eq(&self, other: &Self) -> bool {
        let same_shape = match (&self.shape, &other.shape) {
            (Shape::Box(a, _), Shape::Box(b, _)) => a == b,
            (Shape::Polygons(a), Shape::Polygons(b)) => Arc::ptr_eq(a, b) || a.polygons() == b.polygons(),
            (Shape::Any(a), Shape::Any(b)) => Arc::ptr_eq(a, b) || a.parts == b.parts,
            _ => false,
        };
        same_shape && self.srs == other.srs && self.clip == other.clip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wkt(text: &str) -> Coverage {
        Coverage::from_wkt(text, Srs::wgs84()).unwrap()
    }

    fn bbox(min_x: f64, min_y: f64, max_x: f64, max_y: f64) -> Bbox {
        Bbox::new(min_x, min_y, max_x, max_y)
    }

    fn in_degrees(b: Bbox) -> Coverage {
        Coverage::from_bbox(b, Srs::wgs84())
    }

    const SQUARE: &str = "POLYGON((5 45,15 45,15 55,5 55,5 45))";

    #[test]
    fn touching_counts_for_polygons_but_not_for_boxes() {
        let (polygon, square) = (wkt(SQUARE), in_degrees(bbox(5.0, 45.0, 15.0, 55.0)));
        // Box, whether it meets the box coverage, whether it meets the polygon, whether it is inside of either:
        // as MapProxy answers.
        for (b, box_meets, polygon_meets, box_has, polygon_has) in [
            (bbox(15.0, 45.0, 20.0, 50.0), false, true, false, false),
            (bbox(15.0, 55.0, 20.0, 60.0), false, true, false, false),
            (bbox(15.0000001, 55.0, 20.0, 60.0), false, false, false, false),
            (bbox(6.0, 46.0, 7.0, 47.0), true, true, true, true),
            (bbox(5.0, 45.0, 15.0, 55.0), true, true, true, true),
            (bbox(4.0, 44.0, 16.0, 56.0), true, true, false, false),
            (bbox(5.0, 45.0, 15.0, 55.000_000_000_000_1), true, true, true, false),
            (bbox(5.0, 45.0, 15.0, 55.000_000_000_01), true, true, false, false),
        ] {
            let srs = Srs::wgs84();
            assert_eq!(square.intersects(&b, &srs).unwrap(), box_meets, "{b}");
            assert_eq!(polygon.intersects(&b, &srs).unwrap(), polygon_meets, "{b}");
            assert_eq!(square.contains(&b, &srs).unwrap(), box_has, "{b}");
            assert_eq!(polygon.contains(&b, &srs).unwrap(), polygon_has, "{b}");
            for (coverage, meets, has) in [(&square, box_meets, box_has), (&polygon, polygon_meets, polygon_has)] {
                let expected = match (meets, has) {
                    (_, true) => Relation::Inside,
                    (true, false) => Relation::Meets,
                    (false, false) => Relation::Beside,
                };
                assert_eq!(coverage.relation(&b, &srs).unwrap(), expected, "{b}");
            }
        }
    }

    #[test]
    fn several_areas_together_are_tested_each_as_it_is() {
        let (west, east) = (bbox(0.0, 0.0, 10.0, 10.0), bbox(20.0, 0.0, 30.0, 10.0));
        let mercator = Srs::web_mercator();
        let east_in_metres = Coverage::from_bbox(Srs::wgs84().transform_bbox(&mercator, &east).unwrap(), mercator);
        let several = Coverage::any_of(vec![in_degrees(west), east_in_metres]).unwrap();
        let relation = |b: Bbox| several.relation(&b, &Srs::wgs84()).unwrap();
        assert_eq!(relation(bbox(1.0, 1.0, 2.0, 2.0)), Relation::Inside);
        assert_eq!(relation(bbox(21.0, 1.0, 22.0, 2.0)), Relation::Inside);
        assert_eq!(relation(bbox(9.0, 1.0, 22.0, 2.0)), Relation::Meets);
        assert_eq!(relation(bbox(10.0, 1.0, 19.0, 2.0)), Relation::Beside, "boxes that only touch do not meet");
        assert!(several.intersects(&bbox(9.0, 1.0, 11.0, 2.0), &Srs::wgs84()).unwrap());
        let extent = several.extent();
        assert!(extent.bbox.almost_equals(&bbox(0.0, 0.0, 30.0, 10.0), 1e-9, 1e-9), "{}", extent.bbox);
        assert_eq!(several.polygons_in(&bbox(-5.0, -5.0, 35.0, 15.0), &Srs::wgs84()).unwrap().len(), 2);
        assert_eq!(Coverage::any_of(vec![wkt(SQUARE)]).unwrap(), wkt(SQUARE));
        assert!(matches!(Coverage::any_of(Vec::new()), Err(CoverageError::Empty)));
    }

    #[test]
    fn corners_are_moved_to_another_srs_with_straight_edges_between_them() {
        let utm = Srs::new("EPSG:25832").unwrap();
        let polygon = wkt("POLYGON((3 50,15 50,15 54,3 54,3 50))");
        let moved = polygon.by_corners_in(&utm).unwrap();
        // In the middle, the parallel lies south of the straight line.
        let south = moved.extent().bbox.min_y;
        let corner = Srs::wgs84().transform_bbox(&utm, &bbox(3.0, 50.0, 3.001, 50.001)).unwrap();
        assert!((south - corner.min_y).abs() < 100.0, "{south} {corner}");
        let middle = Srs::wgs84().transform_bbox(&utm, &bbox(8.9, 50.05, 9.1, 50.06)).unwrap();
        assert!(polygon.intersects(&middle, &utm).unwrap() && !moved.intersects(&middle, &utm).unwrap());
        let square = in_degrees(bbox(3.0, 50.0, 15.0, 54.0)).by_corners_in(&utm).unwrap();
        assert!(square.intersects(&middle, &utm).unwrap(), "a box is the box around");
        let both = Coverage::any_of(vec![polygon.clone(), in_degrees(bbox(0.0, 0.0, 1.0, 1.0))]).unwrap();
        assert_eq!(both.by_corners_in(&utm).unwrap().srs(), &utm);
        assert_eq!(polygon.by_corners_in(&Srs::wgs84()).unwrap(), polygon);
        let beyond = wkt("POLYGON((3 50,15 50,15 95,3 95,3 50))");
        assert!(beyond.by_corners_in(&Srs::web_mercator()).is_err());
    }

    #[test]
    fn the_asked_box_is_transformed_and_not_the_coverage() {
        let mercator = Srs::web_mercator();
        let polygon = wkt(SQUARE);
        assert!(polygon.contains(&bbox(667_916.0, 5_780_349.0, 779_236.0, 5_942_074.0), &mercator).unwrap());
        assert!(!polygon.intersects(&bbox(1_670_000.0, 5_780_349.0, 1_700_000.0, 5_942_074.0), &mercator).unwrap());
        assert!(polygon.intersects(&bbox(0.0, f64::NAN, 1.0, 1.0), &mercator).is_err());
    }

    #[test]
    fn extents_are_exact() {
        let text =
            "POLYGON((5.1 45.3,15.7 45.3,12.9 55.6,5.1 45.3))\nPOLYGON((5.2 45.4,19.3 45.35,12.9 50.6,5.2 45.4))";
        assert_eq!(wkt(text).extent().bbox, bbox(5.1, 45.3, 19.3, 55.6));
        let parts = [in_degrees(bbox(0.1, 0.2, 0.3, 0.7)), in_degrees(bbox(0.2, 0.3, 100.7, 80.1))];
        assert_eq!(Coverage::union(&parts).unwrap().extent().bbox, bbox(0.1, 0.2, 100.7, 80.1));
        assert_eq!(Coverage::intersection(&parts).unwrap().extent().bbox, bbox(0.2, 0.3, 0.3, 0.7));
    }

    #[test]
    fn texts_are_read_line_by_line_and_other_geometries_are_named() {
        let text = "\u{feff}POLYGON((0 0,10 0,10 10,0 10,0 0))\r\n\nPOINT(1 1)\npoint(2 2)\nLINESTRING(0 0,1 1)\n\
                    multipolygon(((20 0,30 0,30 10,20 0)),((40 0,50 0,50 10,40 0)))\nPOLYGON EMPTY\n";
        let coverage = wkt(text);
        assert_eq!(coverage.extent().bbox, bbox(0.0, 0.0, 50.0, 10.0));
        assert_eq!(coverage.skipped(), ["POINT", "LINESTRING"]);
    }

    #[test]
    fn texts_without_polygons_are_empty_and_nonsense_names_its_line() {
        let read = |text: &str| Coverage::from_wkt(text, Srs::wgs84()).unwrap_err();
        for text in [
            "",
            "\n\n",
            "POINT(1 1)",
            "POLYGON EMPTY",
            "POLYGON((0 0,1e-200 0,1e-200 1e-200,0 1e-200,0 0))",
            "POLYGON((0 0,0 0,0 0,0 0))",
            "POLYGON((0 0,1 1,2 2,0 0))",
        ] {
            assert!(matches!(read(text), CoverageError::Empty), "{text}");
        }
        for text in ["\ngarbage", "\nSRID=4326;POLYGON((0 0,1 0,1 1,0 0))", "\nPOLYGON((0 0,1 0"] {
            let error = read(text).to_string();
            assert!(error.starts_with("not a polygon: WKT in line 2: "), "{text}: {error}");
        }
        let too_large = "POLYGON((0 0,1e300 0,1e300 1e300,-1e300 1e300,0 0))";
        for text in ["POLYGON((0 0,nan 0,1 1,0 0))", "POLYGON((0 0,1e999 0,1 1,0 0))", too_large] {
            assert!(matches!(read(text), CoverageError::Parse(_)), "{text}");
        }
    }

    #[test]
    fn geojson_is_read_from_collections_features_and_geometries() {
        let polygon = r#"{"type":"Polygon","coordinates":[[[0.1,0],[1,0,7],[1,1],[0.1,0]]]}"#;
        let feature = |geometry: &str| format!(r#"{{"type":"Feature","properties":{{}},"geometry":{geometry}}}"#);
        let collection =
            |features: &[String]| format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","));
        let point = r#"{"type":"Point","coordinates":[0,0]}"#;
        let read = |text: &str| Coverage::from_geojson(text, Srs::wgs84());
        let without_properties = format!(r#"{{"type":"Feature","geometry":{polygon},"crs":{{"type":"name"}}}}"#);
        let unclosed = r#"{"type":"Polygon","coordinates":[[[0.1,0],[1,0],[1,1]]]}"#.to_owned();
        for text in [
            polygon.to_owned(),
            feature(polygon),
            without_properties,
            unclosed,
            collection(&[feature(polygon), feature("null")]),
            r#"{"type":"MultiPolygon","coordinates":[[[[0.1,0],[1,0],[1,1],[0.1,0]]]]}"#.to_owned(),
        ] {
            assert_eq!(read(&text).unwrap().extent().bbox, bbox(0.1, 0.0, 1.0, 1.0), "{text}");
        }
        assert_eq!(read(&collection(&[feature(point), feature(polygon)])).unwrap().skipped(), ["POINT"]);
        for text in [collection(&[]), point.to_owned(), r#"{"type":"Polygon","coordinates":[]}"#.to_owned()] {
            assert!(matches!(read(&text), Err(CoverageError::Empty)), "{text}");
        }
        for text in ["", "{", "[1]", r#"{"type":"x"}"#, r#"{"type":"Polygon","coordinates":[[[1],[2],[3],[1]]]}"#] {
            assert!(matches!(read(text), Err(CoverageError::Parse(_))), "{text}");
        }
    }

    #[test]
    fn broken_polygons_are_mended() {
        let bow_tie = wkt("POLYGON((0 0,10 10,10 0,0 10,0 0))");
        let srs = Srs::wgs84();
        assert!(bow_tie.contains(&bbox(8.0, 4.0, 9.0, 6.0), &srs).unwrap());
        assert!(bow_tie.contains(&bbox(1.0, 4.0, 2.0, 6.0), &srs).unwrap());
        assert!(!bow_tie.intersects(&bbox(4.0, 8.0, 6.0, 9.0), &srs).unwrap());
        let overlapping = wkt(
            "POLYGON((0 0,10 0,10 10,0 10,0 0))\nPOLYGON((5 5,5 15,15 15,15 5,5 5))\nPOLYGON((10 0,20 0,20 10,10 10,10 0))",
        );
        for b in
            [bbox(6.0, 6.0, 9.0, 9.0), bbox(4.0, 4.0, 6.0, 6.0), bbox(9.0, 1.0, 11.0, 2.0), bbox(1.0, 1.0, 19.0, 4.0)]
        {
            assert!(overlapping.contains(&b, &srs).unwrap(), "{b}");
        }
    }

    #[test]
    fn holes_are_outside() {
        let srs = Srs::wgs84();
        let ring = wkt("POLYGON((0 0,0 10,10 10,10 0,0 0),(3 3,3 7,7 7,7 3,3 3))");
        assert!(!ring.intersects(&bbox(4.0, 4.0, 6.0, 6.0), &srs).unwrap());
        assert!(ring.intersects(&bbox(4.0, 4.0, 7.0, 6.0), &srs).unwrap());
        assert!(ring.intersects(&bbox(2.0, 2.0, 8.0, 8.0), &srs).unwrap());
        assert!(!ring.contains(&bbox(2.0, 2.0, 8.0, 8.0), &srs).unwrap());
        assert!(ring.contains(&bbox(0.0, 0.0, 3.0, 10.0), &srs).unwrap());
    }

    #[test]
    fn differences_and_intersections_are_in_the_first_srs() {
        let a = in_degrees(bbox(5.0, 45.0, 15.0, 55.0));
        let rest = Coverage::difference(&[
            a.clone(),
            in_degrees(bbox(10.0, 45.0, 30.0, 55.0)),
            in_degrees(bbox(0.0, 0.0, 6.0, 60.0)),
        ]);
        assert_eq!(rest.unwrap().extent(), MapExtent::new(bbox(6.0, 45.0, 10.0, 55.0), Srs::wgs84()));
        let mercator = Coverage::from_bbox(bbox(1e6, 6e6, 2e6, 8e6), Srs::web_mercator());
        let union = Coverage::union(&[a.clone(), mercator.clone()]).unwrap().extent();
        assert_eq!(union.srs, Srs::wgs84());
        assert_eq!(union.bbox, bbox(5.0, 45.0, 17.966_305_682_390_427, 58.155_242_094_659_734));
        for empty in [
            Coverage::difference(&[a.clone(), a.clone()]),
            Coverage::intersection(&[a.clone(), in_degrees(bbox(20.0, 45.0, 30.0, 55.0))]),
            Coverage::intersection(&[a, in_degrees(bbox(15.0, 45.0, 30.0, 55.0))]),
            Coverage::union(&[]),
        ] {
            assert!(matches!(empty, Err(CoverageError::Empty)), "{empty:?}");
        }
    }

    #[test]
    fn equal_means_the_same_area_in_the_same_srs_cut_alike() {
        assert_eq!(wkt(SQUARE), wkt(SQUARE));
        assert_eq!(wkt(SQUARE), Coverage::from_wkt(SQUARE, Srs::new("CRS:84").unwrap()).unwrap());
        assert_ne!(wkt(SQUARE), wkt("POLYGON((5 45,15 45,15 55,5 55.5,5 45))"));
        assert_ne!(wkt(SQUARE), in_degrees(bbox(5.0, 45.0, 15.0, 55.0)));
        assert_ne!(wkt(SQUARE), wkt(SQUARE).with_clip(true));
        assert_ne!(
            in_degrees(bbox(0.0, 0.0, 1.0, 1.0)),
            Coverage::from_bbox(bbox(0.0, 0.0, 1.0, 1.0), Srs::web_mercator())
        );
    }

    #[test]
    fn in_another_srs_an_area_keeps_its_edges() {
        let utm = Srs::new("EPSG:25832").unwrap();
        let square = in_degrees(bbox(6.0, 50.0, 12.0, 54.0)).in_srs(&utm).unwrap();
        // The parallel of 50° bends: 5,538,631 m north in the middle, 4 km more at the sides.
        let at = |x: f64, y: f64| bbox(x, y, x + 1.0, y + 1.0);
        assert!(square.contains(&at(500_000.0, 5_539_000.0), &utm).unwrap());
        assert!(!square.intersects(&at(500_000.0, 5_538_000.0), &utm).unwrap());
        assert!(!square.intersects(&at(290_000.0, 5_542_000.0), &utm).unwrap());
        assert!(square.contains(&at(290_000.0, 5_546_000.0), &utm).unwrap());
        let same = in_degrees(bbox(6.0, 50.0, 12.0, 54.0));
        assert_eq!(same.in_srs(&Srs::new("CRS:84").unwrap()).unwrap(), same);
        // Polygons keep their corners, and the image is made once.
        let polygon = wkt(SQUARE);
        let metres = polygon.in_srs(&Srs::web_mercator()).unwrap();
        assert!((metres.extent().bbox.min_x - 556_597.453_966).abs() < 1e-3);
        let again = polygon.in_srs(&Srs::web_mercator()).unwrap();
        match (&metres.shape, &again.shape) {
            (Shape::Polygons(a), Shape::Polygons(b)) => assert!(Arc::ptr_eq(a, b)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn boxes_that_wrap_around_the_world_are_not_inside_of_an_area_in_the_same_srs() {
        let (mercator, turn) = (Srs::web_mercator(), 40_075_016.685_578_49);
        // Four turns wide: all points of the outline lie on one meridian.
        let around = bbox(779_236.0, 5_780_349.0, 779_236.0 + 4.0 * turn, 5_942_074.0);
        for coverage in [in_degrees(bbox(5.0, 45.0, 15.0, 55.0)), wkt(SQUARE)] {
            assert!(!coverage.in_srs(&mercator).unwrap().contains(&around, &mercator).unwrap());
        }
    }

    #[test]
    fn an_area_torn_apart_in_the_other_srs_is_an_error() {
        let mercator = Srs::web_mercator();
        let across = in_degrees(bbox(170.0, -50.0, 190.0, -30.0));
        assert!(matches!(across.in_srs(&mercator), Err(CoverageError::Transform(_))));
        let text = "POLYGON((170 -50,190 -50,190 -30,170 -30,170 -50))";
        assert!(matches!(wkt(text).in_srs(&mercator), Err(CoverageError::Transform(_))));
        let up_to_it = in_degrees(bbox(170.0, -50.0, 180.0, -30.0));
        assert!(up_to_it.in_srs(&mercator).is_ok());
        let world = in_degrees(bbox(-180.0, -90.0, 180.0, 90.0));
        let inside = bbox(-2e7, -2e7, 2e7, 2e7);
        assert!(world.in_srs(&mercator).unwrap().contains(&inside, &mercator).unwrap());
        let polar = Srs::new("EPSG:3413").unwrap();
        let around_the_pole = Coverage::from_bbox(bbox(-1e6, -1e6, 1e6, 1e6), polar.clone());
        assert!(matches!(around_the_pole.in_srs(&Srs::wgs84()), Err(CoverageError::Transform(_))));
        let cap = in_degrees(bbox(-180.0, 60.0, 180.0, 85.0)).in_srs(&polar).unwrap();
        assert!(cap.contains(&bbox(1e6, 1e6, 1.1e6, 1.1e6), &polar).unwrap());
        assert!(!cap.contains(&bbox(-1e6, -1e6, 1e6, 1e6), &polar).unwrap());
    }

    #[test]
    fn polygons_to_be_drawn_are_cut_near_the_picture() {
        let srs = Srs::wgs84();
        let polygon = wkt("POLYGON((0 0,100 0,50 80,0 0))");
        assert!(polygon.polygons_in(&bbox(0.0, 60.0, 10.0, 70.0), &srs).unwrap().is_empty());
        let whole = polygon.polygons_in(&bbox(-10.0, -10.0, 110.0, 110.0), &srs).unwrap();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0][0].len(), 4);
        // In the middle: only the cut is left, an eighth beyond the picture.
        let part = polygon.polygons_in(&bbox(40.0, 10.0, 48.0, 18.0), &srs).unwrap();
        let ring = &part[0][0];
        assert_eq!(ring.first(), ring.last());
        assert!(ring.iter().all(|(x, y)| (39.0..=49.0).contains(x) && (9.0..=19.0).contains(y)), "{ring:?}");
        let metres = polygon.polygons_in(&bbox(0.0, 0.0, 1e6, 1e6), &Srs::web_mercator()).unwrap();
        assert!(metres[0][0].iter().any(|(x, y)| *x > 1e6 && *y > 0.5e6), "{metres:?}");
        let square = in_degrees(bbox(5.0, 45.0, 15.0, 55.0));
        let metres = square.polygons_in(&bbox(0.0, 0.0, 1e7, 1e7), &Srs::web_mercator()).unwrap();
        assert_eq!(metres[0][0].len(), 5);
        assert!((metres[0][0][0].0 - 556_597.453_966).abs() < 1e-3);
        assert!(square.polygons_in(&bbox(20.0, 45.0, 30.0, 55.0), &srs).unwrap().is_empty());
    }
}
