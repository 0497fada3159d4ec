//! Coverages: where something has data. Shapes are named here, read and computed elsewhere.

use std::fmt;
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
        /// Which features count: `where`. WKT has none.
        condition: Option<Arc<str>>,
    },
    /// Whatever else GDAL reads.
    Ogr {
        /// What GDAL opens: a file, absolute, or `PG:dbname=…` and the like.
        datasource: Datasource,
        /// SRS of the coordinates.
        srs: Arc<str>,
        /// Which features count: `where`.
        condition: Option<Arc<str>>,
    },
    /// Tiles of web mercator, numbered from the north west, `z/x/y` a line.
    ExpiredTiles {
        /// The list, or a directory of lists; absolute.
        path: PathBuf,
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
    /// ESRI Shapefile.
    Shapefile,
    /// OGC GeoPackage.
    GeoPackage,
    /// FlatGeobuf.
    FlatGeobuf,
}

/// The name of a data source of GDAL's, which may hold a password: it does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Datasource(Arc<str>);

impl Datasource {
    /// As it was written.
    pub fn new(name: impl Into<Arc<str>>) -> Datasource {
        Datasource(name.into())
    }

    /// As GDAL wants it.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Datasource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.0.split(':').next().unwrap_or_default();
        write!(f, "Datasource({prefix}…)")
    }
}
