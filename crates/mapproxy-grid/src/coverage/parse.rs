//! Polygons out of WKT and GeoJSON texts.

use std::fmt;
use std::str::FromStr;

use geo::{Coord, LineString, MultiPolygon, Polygon};
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    let object: Object = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| CoverageError::Parse(format!("GeoJSON: {error}")))?;
    let mut read = Read::nothing();
    object.collect(&mut read)?;
    Ok(read)
}

/// An object of GeoJSON of whatever type, with what matters here.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    coordinates: Option<Positions>,
    #[serde(default)]
    geometry: Option<Box<Object>>,
    #[serde(default)]
    features: Option<Vec<Object>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Kind {
    FeatureCollection,
    Feature,
    Point,
    MultiPoint,
    LineString,
    MultiLineString,
    Polygon,
    MultiPolygon,
    GeometryCollection,
}

impl Object {
    fn collect(self, read: &mut Read) -> Result<(), CoverageError> {
        let missing = |what: &str| CoverageError::Parse(format!("GeoJSON: a {:?} without {what}", self.kind));
        match self.kind {
            Kind::FeatureCollection => {
                let features = self.features.ok_or_else(|| missing("features"))?;
                if let Some(other) = features.iter().find(|feature| feature.kind != Kind::Feature) {
                    return Err(CoverageError::Parse(format!("GeoJSON: a {:?} in place of a Feature", other.kind)));
                }
                features.into_iter().try_for_each(|feature| feature.collect(read))
            }
            Kind::Feature => match self.geometry {
                Some(geometry) if matches!(geometry.kind, Kind::Feature | Kind::FeatureCollection) => {
                    Err(CoverageError::Parse(format!("GeoJSON: a {:?} in place of a geometry", geometry.kind)))
                }
                Some(geometry) => geometry.collect(read),
                None => Ok(()),
            },
            Kind::Polygon => {
                read.polygons.0.push(self.coordinates.ok_or_else(|| missing("coordinates"))?.polygon()?);
                Ok(())
            }
            Kind::MultiPolygon => {
                for polygon in self.coordinates.ok_or_else(|| missing("coordinates"))?.list()? {
                    read.polygons.0.push(polygon.polygon()?);
                }
                Ok(())
            }
            other => {
                read.skip(&format!("{other:?}").to_ascii_uppercase());
                Ok(())
            }
        }
    }
}

/// A position, or a list of such: GeoJSON may write `coordinates` before the `type` that tells how deep they are.
enum Positions {
    One(Coord),
    /// A ring takes no more memory than its positions.
    Ring(Vec<Coord>),
    List(Vec<Positions>),
}

impl Positions {
    fn polygon(self) -> Result<Polygon, CoverageError> {
        let mut rings = self.list()?.into_iter().map(Positions::ring);
        let outline = rings.next().transpose()?.unwrap_or_else(LineString::empty);
        Ok(Polygon::new(outline, rings.collect::<Result<_, _>>()?))
    }

    fn ring(self) -> Result<LineString, CoverageError> {
        match self {
            Positions::Ring(ring) => Ok(LineString(ring)),
            Positions::List(list) if list.is_empty() => Ok(LineString::empty()),
            _ => Err(CoverageError::Parse("GeoJSON: a ring is a list of positions".to_owned())),
        }
    }

    fn list(self) -> Result<Vec<Positions>, CoverageError> {
        match self {
            Positions::List(list) => Ok(list),
            _ => Err(CoverageError::Parse("GeoJSON: a polygon is a list of rings".to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PositionsVisitor)
    }
}

struct PositionsVisitor;

impl<'de> Visitor<'de> for PositionsVisitor {
    type Value = Positions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("coordinates")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Positions, A::Error> {
        match items.next_element::<Item>()? {
            None => Ok(Positions::List(Vec::new())),
            Some(Item::Number(x)) => {
                let Some(y) = items.next_element()? else {
                    return Err(A::Error::custom("a position has less than two numbers"));
                };
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Positions::One(Coord { x, y }))
            }
            Some(Item::Positions(Positions::One(first))) => {
                let mut ring = vec![first];
                while let Some(next) = items.next_element()? {
                    let Positions::One(next) = next else {
                        return Err(A::Error::custom("a list of positions holds something else"));
                    };
                    ring.push(next);
                }
                Ok(Positions::Ring(ring))
            }
            Some(Item::Positions(first)) => {
                let mut list = vec![first];
                while let Some(next) = items.next_element()? {
                    list.push(next);
                }
                Ok(Positions::List(list))
            }
        }
    }
}

/// The first element says what a list is.
enum Item {
    Number(f64),
    Positions(Positions),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of numbers")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Item, E> {
        Ok(Item::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Item, E> {
        Ok(Item::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Item, E> {
        Ok(Item::Number(number as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Item, A::Error> {
        PositionsVisitor.visit_seq(items).map(Item::Positions)
    }
}
