//! Polygons out of files and databases, for coverages.
//!
//! Shapefile, GeoPackage, FlatGeobuf and GeoJSON with a condition are read here; everything else, and conditions that are
//! more than comparisons, is left to GDAL's `ogr2ogr`, a program that need not be there for the former. This crate knows
//! nothing of reference systems: it hands out coordinates as they are written.
//!
//! Files come from others: whatever is in them, reading ends in polygons or in an error that says what is wrong, takes no
//! more memory than some times the size of the file, and never panics.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bytes;
mod condition;
mod flatbuffer;
mod flatgeobuf;
mod geojson;
mod geopackage;
mod ogr;
mod rings;
mod shapefile;
mod wkb;

use std::path::{Path, PathBuf};

pub use ogr::{LIMITS as OGR_LIMITS, Limits as OgrLimits};

/// Polygons as rings of points, the outline first; the last point of a ring is its first one.
pub type Polygons = Vec<Vec<Vec<(f64, f64)>>>;

/// Where polygons are.
#[derive(Clone, Copy, Debug)]
pub enum Datasource<'a> {
    /// A file in a format that is read here.
    File(&'a Path, Format),
    /// Whatever GDAL opens by this name: another file, or `PG:dbname=…` and the like.
    Ogr(&'a str),
}

/// Formats that are read without GDAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 7946, in whatever reference system.
    GeoJson,
    /// ESRI's, version 1000, with its attributes in a `.dbf` beside it.
    Shapefile,
    /// OGC 12-128; its first layer, unless a query names another.
    GeoPackage,
    /// Version 3.
    FlatGeobuf,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Polygons.
    Polygons {
        /// In the order of the file.
        polygons: Polygons,
        /// Kinds of geometries that are no polygons, each once.
        skipped: Vec<String>,
    },
    /// A GeoJSON text that holds them.
    GeoJson(String),
}

/// Why there are no polygons.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The contents of a file are not what its format asks for.
    #[error("{path}: {what}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The condition does not fit the data.
    #[error("the condition `{condition}` does not work: {what}")]
    Condition {
        /// As it was written.
        condition: String,
        /// Why.
        what: String,
    },
    /// GDAL says so.
    #[error("ogr2ogr cannot read {name}: {what}")]
    Ogr {
        /// The data source, without passwords.
        name: String,
        /// Its words, without passwords.
        what: String,
    },
    /// GDAL is needed, and not there.
    #[error(
        "{what} is read by GDAL's `ogr2ogr`, which is not installed here (Debian and Ubuntu: package gdal-bin); \
         without it, Shapefile, GeoPackage, FlatGeobuf, GeoJSON and WKT are read"
    )]
    NoGdal {
        /// What for.
        what: String,
    },
}

/// What the reader of a format says.
#[derive(Debug)]
enum Trouble {
    /// An error.
    Error(Error),
    /// GDAL may know; it would be asked for this.
    Beyond(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Error(error)
    }
}

/// The polygons of a data source whose features meet a condition, or that a query (`select …`) returns.
///
/// Conditions mean what they mean to GDAL: in SQLite's SQL for a GeoPackage, in OGR's SQL otherwise.
pub fn read(source: Datasource<'_>, condition: Option<&str>) -> Result<Found, Error> {
    let condition = condition.map(str::trim).filter(|condition| !condition.is_empty());
    let (path, format) = match source {
        Datasource::Ogr(name) => return ogr::read(name, condition, &ogr::LIMITS),
        Datasource::File(path, format) => (path, format),
    };
    let read = match format {
        Format::GeoJson => geojson::read(path, condition),
        Format::Shapefile => shapefile::read(path, condition),
        Format::GeoPackage => geopackage::read(path, condition),
        Format::FlatGeobuf => flatgeobuf::read(path, condition),
    };
    match read {
        Ok(found) => Ok(found),
        Err(Trouble::Error(error)) => Err(error),
        Err(Trouble::Beyond(what)) => match ogr::read(&path.to_string_lossy(), condition, &ogr::LIMITS) {
            Err(Error::NoGdal { .. }) => Err(Error::NoGdal { what: format!("{what} in {}", path.display()) }),
            other => other,
        },
    }
}

/// Parses bytes as a file of `format` without opening anything else: for fuzzing.
#[doc(hidden)]
pub fn parse(format: Format, data: &[u8], attributes: &[u8], condition: Option<&str>) -> Option<Found> {
    let path = Path::new("memory");
    let read = match format {
        Format::GeoJson => geojson::parse(path, &String::from_utf8_lossy(data), condition),
        Format::Shapefile => shapefile::parse(path, data, None, Some((path, attributes, None)), condition),
        Format::FlatGeobuf => flatgeobuf::parse(path, data, condition),
        Format::GeoPackage => geopackage::parse_geometries(path, data),
    };
    read.ok()
}

/// Is this a query of its own rather than a condition?
fn is_query(condition: &str) -> bool {
    condition.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("select"))
}

/// Collects polygons, and the names of what is none.
#[derive(Debug, Default)]
struct Collector {
    polygons: Polygons,
    skipped: Vec<String>,
}

impl Collector {
    fn skip(&mut self, kind: &str) {
        if !self.skipped.iter().any(|known| known == kind) {
            self.skipped.push(kind.to_owned());
        }
    }

    fn found(self) -> Found {
        Found::Polygons { polygons: self.polygons, skipped: self.skipped }
    }
}

/// The whole of a file.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|cause| Error::Io { path: path.to_owned(), cause })
}

fn broken(path: &Path, what: impl Into<String>) -> Error {
    Error::Broken { path: path.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests;
