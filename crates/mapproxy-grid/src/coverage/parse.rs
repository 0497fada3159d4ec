//! Polygons out of WKT and GeoJSON texts.

use std::str::FromStr;

use geo::{Coord, LineString, MultiPolygon, Polygon};
use geojson::{Feature, GeoJson, GeometryValue};
use wkt::Wkt;

use super::{CoverageError, Polygons};

/// What was found in a text.
pub(super) struct Read {
    pub(super) polygons: MultiPolygon,
    /// Kinds of geometries that are no polygons.
    pub(super) skipped: Vec<String>,
}

impl Read {
    fn nothing() -> Read {
        Read { polygons: MultiPolygon(Vec::new()), skipped: Vec::new() }
    }

    pub(super) fn from_rings(polygons: &Polygons) -> Read {
        let rings = |rings: &Vec<Vec<(f64, f64)>>| {
            let mut rings = rings.iter().map(|ring| LineString::from(ring.clone()));
            let outline = rings.next().unwrap_or_else(LineString::empty);
            Polygon::new(outline, rings.collect())
        };
        Read { polygons: MultiPolygon(polygons.iter().map(rings).collect()), skipped: Vec::new() }
    }

    fn skip(&mut self, kind: &str) {
        if !self.skipped.iter().any(|known| known == kind) {
            self.skipped.push(kind.to_owned());
        }
    }
}

/// One geometry a line.
pub(super) fn wkt(text: &str) -> Result<Read, CoverageError> {
    let mut read = Read::nothing();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let error = |reason: &str| CoverageError::Parse(format!("WKT in line {number}: {reason}"));
        match Wkt::<f64>::from_str(line).map_err(error)? {
            Wkt::Polygon(polygon) => read.polygons.0.push(polygon.into()),
            Wkt::MultiPolygon(polygons) => read.polygons.0.extend(MultiPolygon::from(polygons)),
            Wkt::Point(_) => read.skip("POINT"),
            Wkt::LineString(_) => read.skip("LINESTRING"),
            Wkt::MultiPoint(_) => read.skip("MULTIPOINT"),
            Wkt::MultiLineString(_) => read.skip("MULTILINESTRING"),
            Wkt::GeometryCollection(_) => read.skip("GEOMETRYCOLLECTION"),
        }
    }
    Ok(read)
}

/// RFC 7946, whatever the SRS.
pub(super) fn geojson(text: &str) -> Result<Read, CoverageError> {
    let error = |error: geojson::Error| CoverageError::Parse(format!("GeoJSON: {error}"));
    let mut read = Read::nothing();
    let mut feature = |feature: &Feature| match &feature.geometry {
        Some(geometry) => geojson_geometry(&geometry.value, &mut read),
        None => Ok(()),
    };
    match text.trim_start_matches('\u{feff}').parse::<GeoJson>().map_err(error)? {
        GeoJson::FeatureCollection(collection) => collection.features.iter().try_for_each(feature)?,
        GeoJson::Feature(single) => feature(&single)?,
        GeoJson::Geometry(geometry) => geojson_geometry(&geometry.value, &mut read)?,
    }
    Ok(read)
}

fn geojson_geometry(geometry: &GeometryValue, read: &mut Read) -> Result<(), CoverageError> {
    match geometry {
        GeometryValue::Polygon { coordinates } => read.polygons.0.push(geojson_polygon(coordinates)?),
        GeometryValue::MultiPolygon { coordinates } => {
            for polygon in coordinates {
                read.polygons.0.push(geojson_polygon(polygon)?);
            }
        }
        other => read.skip(&other.type_name().to_ascii_uppercase()),
    }
    Ok(())
}

fn geojson_polygon(rings: &geojson::PolygonType) -> Result<Polygon, CoverageError> {
    let mut rings = rings.iter().map(|ring| {
        let point = |position: &geojson::PointType| match position.as_slice() {
            &[x, y, ..] => Ok(Coord { x, y }),
            _ => Err(CoverageError::Parse("GeoJSON: a position has less than two numbers".to_owned())),
        };
        ring.iter().map(point).collect::<Result<Vec<_>, _>>().map(LineString)
    });
    let outline = rings.next().transpose()?.unwrap_or_else(LineString::empty);
    Ok(Polygon::new(outline, rings.collect::<Result<_, _>>()?))
}
