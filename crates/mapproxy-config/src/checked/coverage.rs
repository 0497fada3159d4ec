//! Coverages: where something has data. Shapes are named here, read and computed elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use crate::position::Origin;

/// An area.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// Where it was written.
    pub at: Origin,
    /// Its shape.
    pub shape: CoverageShape,
    /// `clip`: cut images along the outline instead of keeping whole requests.
    pub clip: bool,
}

/// The shape of a coverage.
#[derive(Debug, Clone, PartialEq)]
pub enum CoverageShape {
    /// A box.
    Bbox {
        /// `[min x, min y, max x, max y]`.
        bbox: [f64; 4],
        /// SRS of the box.
        srs: Arc<str>,
    },
    /// Polygons in a file.
    Polygons {
        /// The file, absolute.
        path: PathBuf,
        /// How they are written.
        format: CoverageFile,
        /// SRS of the coordinates.
        srs: Arc<str>,
    },
    /// Everything that is in any of these; the result is in the SRS of the first.
    Union(Vec<Coverage>),
    /// Everything that is in all of these.
    Intersection(Vec<Coverage>),
    /// The first without the others.
    Difference(Vec<Coverage>),
}

/// File formats of polygons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CoverageFile {
    /// Well-known text, one polygon or multipolygon a line.
    Wkt,
    /// GeoJSON.
    GeoJson,
}
