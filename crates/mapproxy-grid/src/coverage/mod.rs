//! Coverages: the area that a source, a cache or a caller may be asked for.

use crate::{Bbox, MapExtent, Srs, TransformError};

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

/// An area in one SRS: a box or polygons.
#[derive(Clone, Debug)]
pub struct Coverage {
    srs: Srs,
    bbox: Bbox,
    clip: bool,
}

/// Polygons as rings of points (the first ring of a polygon is its outline), closed, in some SRS or in pixels.
pub type Polygons = Vec<Vec<Vec<(f64, f64)>>>;

impl Coverage {
    /// A box.
    pub fn from_bbox(bbox: Bbox, srs: Srs) -> Coverage {
        Coverage { srs, bbox, clip: false }
    }
    /// WKT POLYGON or MULTIPOLYGON texts, one a line; other geometries and blank lines are skipped.
    pub fn from_wkt(text: &str, srs: Srs) -> Result<Coverage, CoverageError> {
        let _ = (text, srs);
        todo!()
    }
    /// A GeoJSON FeatureCollection, Feature or geometry.
    pub fn from_geojson(text: &str, srs: Srs) -> Result<Coverage, CoverageError> {
        let _ = (text, srs);
        todo!()
    }
    /// All areas together, in the first one's SRS.
    pub fn union(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let _ = parts;
        todo!()
    }
    /// The area common to all, in the first one's SRS.
    pub fn intersection(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let _ = parts;
        todo!()
    }
    /// The first area without the others, in its SRS.
    pub fn difference(parts: &[Coverage]) -> Result<Coverage, CoverageError> {
        let _ = parts;
        todo!()
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
    /// The box around.
    pub fn extent(&self) -> MapExtent {
        MapExtent::new(self.bbox, self.srs.clone())
    }
    /// The coverage shares something with `bbox`: an area for box coverages, a touch counts for polygons.
    pub fn intersects(&self, bbox: &Bbox, srs: &Srs) -> Result<bool, TransformError> {
        let _ = (bbox, srs);
        todo!()
    }
    /// `bbox` lies inside the coverage.
    pub fn contains(&self, bbox: &Bbox, srs: &Srs) -> Result<bool, TransformError> {
        let _ = (bbox, srs);
        todo!()
    }
    /// The part of the coverage inside `bbox`, as polygons in `srs`; empty where nothing is.
    pub fn polygons_in(&self, bbox: &Bbox, srs: &Srs) -> Result<Polygons, TransformError> {
        let _ = (bbox, srs);
        todo!()
    }
}

impl PartialEq for Coverage {
    fn eq(&self, other: &Self) -> bool {
        let _ = other;
        todo!()
    }
}
