//! Feature info: what lies under a pixel of a map, as documents of several kinds.
//!
//! An [`InfoSource`] answers an [`InfoQuery`] with an [`InfoDocument`]; [`merge`] makes one of many. An
//! [`InfoTransform`] rewrites documents, one by one.

mod html;
mod json;
mod merge;
mod xml;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mapproxy_grid::{Bbox, Coverage, Size, Srs};

pub(crate) use self::json::merge as merge_json;
pub use self::merge::merge;
pub use self::xml::{UnsafeXml, without_doctype};
use crate::{Dimensions, MapError};

/// Something that knows what lies at a point of a map.
pub trait InfoSource: Any + fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// What lies under the pixel of `query`; `None` where it has nothing to say, as outside of its coverage.
    fn info(&self, query: &InfoQuery) -> Result<Option<InfoDocument>, MapError>;
}

/// Rewrites documents.
pub trait InfoTransform: fmt::Debug + Send + Sync {
    /// The document that `document` becomes.
    fn apply(&self, document: InfoDocument) -> Result<InfoDocument, MapError>;
}

/// A pixel of a map, about which something is to be known.
#[derive(Clone, Debug)]
pub struct InfoQuery {
    /// The box of the map, in units of `srs`, x/y order.
    pub bbox: Bbox,
    /// Pixels of the map.
    pub size: Size,
    /// The SRS of the box.
    pub srs: Srs,
    /// Column and row of the pixel, from the upper left corner of the map; it may lie outside of it.
    pub position: (f64, f64),
    /// The media type that is wanted; `None`: whatever the source likes.
    pub info_format: Option<String>,
    /// The media type of the map.
    pub format: Option<String>,
    /// How many features of a layer are wanted at most.
    pub feature_count: Option<u32>,
    /// Dimensions and forwarded parameters.
    pub dimensions: Dimensions,
}

impl InfoQuery {
    /// A query about a pixel, without wishes.
    pub fn new(bbox: Bbox, size: Size, srs: Srs, position: (f64, f64)) -> InfoQuery {
        InfoQuery {
            bbox,
            size,
            srs,
            position,
            info_format: None,
            format: None,
            feature_count: None,
            dimensions: Arc::new([]),
        }
    }

    /// The point in units of `srs`: the upper left corner of the pixel.
    pub fn point(&self) -> (f64, f64) {
        let (x_res, y_res) = self.bbox.resolution(self.size);
        let (column, row) = self.position;
        (self.bbox.min_x + column * x_res, self.bbox.max_y - row * y_res)
    }

    /// The point lies in an area.
    pub fn lies_in(&self, area: &Coverage) -> Result<bool, MapError> {
        let (x, y) = self.point();
        Ok(area.intersects(&Bbox::new(x, y, x, y), &self.srs)?)
    }

    /// The same point on a map in another SRS, as wide in pixels and as high as its box asks for.
    pub fn in_srs(&self, srs: &Srs) -> Result<InfoQuery, MapError> {
        let bbox = self.srs.transform_bbox(srs, &self.bbox)?;
        let mut point = [self.point()];
        self.srs.transform_points(srs, &mut point)?;
        let [(x, y)] = point;
        // As in maps: no server draws a box a thousand times as high as wide.
        let height = (bbox.height() / bbox.width() * f64::from(self.size.width)).clamp(1.0, 100_000.0) as u32;
        let size = Size::new(self.size.width, height);
        let (x_res, y_res) = bbox.resolution(size);
        let position = (((x - bbox.min_x) / x_res).round(), ((bbox.max_y - y) / y_res).round());
        Ok(InfoQuery { bbox, size, srs: srs.clone(), position, ..self.clone() })
    }
}

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InfoKind {
    /// Plain text.
    Text,
    /// HTML.
    Html,
    /// XML, GML among it.
    Xml,
    /// JSON, GeoJSON among it.
    Json,
}

impl InfoKind {
    /// The kind that a media type stands for; `None`: none that is known.
    pub fn of(media_type: &str) -> Option<InfoKind> {
        let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "text/plain" => Some(InfoKind::Text),
            "text/html" | "application/xhtml+xml" => Some(InfoKind::Html),
            "text/xml" | "application/xml" => Some(InfoKind::Xml),
            "application/json" | "text/json" => Some(InfoKind::Json),
            _ if name.starts_with("application/vnd.ogc.gml") || name.starts_with("gml.") => Some(InfoKind::Xml),
            _ if name.ends_with("+xml") => Some(InfoKind::Xml),
            _ if name.ends_with("+json") => Some(InfoKind::Json),
            _ => None,
        }
    }
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoDocument {
    /// What it is written in.
    pub kind: InfoKind,
    /// The document, without a byte order mark. XML may name an encoding other than UTF-8 only if it is all ASCII.
    pub text: String,
}

impl InfoDocument {
    /// A document.
    pub fn new(kind: InfoKind, text: impl Into<String>) -> InfoDocument {
        InfoDocument { kind, text: text.into() }
    }

    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(srs: Srs) -> InfoQuery {
        InfoQuery::new(Bbox::new(5.0, 45.0, 15.0, 55.0), Size::new(200, 100), srs, (10.0, 20.0))
    }

    #[test]
    fn media_types_have_kinds_whatever_their_parameters() {
        for (name, kind) in [
            ("text/plain", Some(InfoKind::Text)),
            ("Text/HTML; charset=utf-8", Some(InfoKind::Html)),
            ("application/vnd.ogc.gml/3.1.1", Some(InfoKind::Xml)),
            ("application/gml+xml; version=3.1", Some(InfoKind::Xml)),
            ("GML.1", Some(InfoKind::Xml)),
            ("application/geo+json", Some(InfoKind::Json)),
            ("text/mycustom_xml", None),
            ("", None),
        ] {
            assert_eq!(InfoKind::of(name), kind, "{name}");
        }
    }

    /// Box, size and position as MapProxy 7.0.0 asked for them.
    #[test]
    fn the_point_in_another_srs_is_that_of_the_reference() {
        let moved = query(Srs::wgs84()).in_srs(&Srs::web_mercator()).unwrap();
        assert_eq!((moved.size, moved.position), (Size::new(200, 312), (10.0, 68.0)));
        assert_eq!(moved.bbox.min_x, 556597.4539663679);
        let moved = query(Srs::wgs84()).in_srs(&Srs::new("EPSG:25832").unwrap()).unwrap();
        assert_eq!((moved.size, moved.position), (Size::new(200, 286), (20.0, 59.0)));
    }

    #[test]
    fn a_point_lies_in_an_area_of_any_srs() {
        let area = Coverage::from_bbox(Bbox::new(5.4, 52.0, 5.6, 54.0), Srs::wgs84());
        assert!(query(Srs::wgs84()).lies_in(&area).unwrap());
        let elsewhere = InfoQuery { position: (12.1, 20.0), ..query(Srs::wgs84()) };
        assert!(!elsewhere.lies_in(&area).unwrap());
        assert!(query(Srs::wgs84()).in_srs(&Srs::web_mercator()).unwrap().lies_in(&area).unwrap());
    }
}
