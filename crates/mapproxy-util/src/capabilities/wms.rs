//! Capabilities of a Web Map Service, 1.1.1 and 1.3.0.

use std::collections::BTreeSet;

use mapproxy_grid::Srs;
use roxmltree::{Document, Node, ParsingOptions};

/// The document, as far as we need it.
#[derive(Debug)]
pub(crate) struct WmsCapabilities {
    pub(crate) version: Version,
    pub(crate) title: Option<String>,
    /// Where maps are asked for.
    pub(crate) url: Option<String>,
    pub(crate) root: Layer,
    /// What is wrong with it, and was passed over.
    pub(crate) faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V111,
    V130,
}

impl Version {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Version::V111 => "1.1.1",
            Version::V130 => "1.3.0",
        }
    }
}

/// A layer; what it inherits is filled in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) name: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) is_queryable: bool,
    pub(crate) is_opaque: bool,
    pub(crate) srs: BTreeSet<String>,
    /// West, south, east, north in degrees.
    pub(crate) bounds: Option<[f64; 4]>,
    /// Boxes by SRS, min x first.
    pub(crate) boxes: Vec<BoxIn>,
    /// The coarsest and the finest resolution, in metres; 0: not limited.
    pub(crate) resolutions: Option<(f64, f64)>,
    pub(crate) legend: Option<String>,
    pub(crate) layers: Vec<Layer>,
}

/// A box in an SRS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BoxIn {
    pub(crate) srs: String,
    pub(crate) bbox: [f64; 4],
    /// It was written with y first.
    pub(crate) was_swapped: bool,
}

/// Why a document is none of a WMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not XML.
    NotXml(String),
    /// It is another one.
    Other(String),
}

/// More elements than any service has.
const MAX_NODES: u32 = 5_000_000;
/// Layers below layers below layers.
const MAX_DEPTH: usize = 64;

impl WmsCapabilities {
    /// Reads a document; bounded in all it takes.
    pub(crate) fn parse(text: &str) -> Result<WmsCapabilities, Unreadable> {
        let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|error| Unreadable::NotXml(error.to_string()))?;
        let root = document.root_element();
        let version = match (root.tag_name().name(), root.attribute("version").unwrap_or_default()) {
            ("WMT_MS_Capabilities", _) => Version::V111,
            ("WMS_Capabilities", version) if version.starts_with("1.3") => Version::V130,
            ("WMS_Capabilities", version) => {
                return Err(Unreadable::Other(format!("unknown version '{version}' of WMS capabilities")));
            }
            (other, _) => return Err(Unreadable::Other(format!("Unknown start tag in capabilities: {other}"))),
        };
        let missing = |what: &str| Unreadable::Other(format!("the capabilities have no {what}"));
        let capability = child(root, "Capability").ok_or_else(|| missing("Capability"))?;
        let layer = child(capability, "Layer").ok_or_else(|| missing("Layer"))?;
        let url = path(capability, &["Request", "GetMap", "DCPType", "HTTP", "Get", "OnlineResource"]).and_then(href);
        let mut faults = Vec::new();
        let root_layer = self::layer(layer, &Layer::default(), version, 0, &mut faults)
            .ok_or_else(|| Unreadable::Other(format!("the layers nest deeper than {MAX_DEPTH} levels")))?;
        let title = child(root, "Service").and_then(|service| text_of(service, "Title"));
        Ok(WmsCapabilities { version, title, url, root: root_layer, faults })
    }
}

fn layer(
    node: Node<'_, '_>,
    parent: &Layer,
    version: Version,
    depth: usize,
    faults: &mut Vec<String>,
) -> Option<Layer> {
    if depth > MAX_DEPTH {
        return None;
    }
    let is_true = |name: &str| matches!(node.attribute(name), Some("1" | "true"));
    let mut own = Layer {
        name: text_of(node, "Name"),
        title: text_of(node, "Title"),
        description: text_of(node, "Abstract"),
        is_queryable: is_true("queryable"),
        is_opaque: is_true("opaque"),
        srs: parent.srs.clone(),
        bounds: bounds(node, version, faults).or(parent.bounds),
        boxes: boxes(node, version, faults),
        resolutions: resolutions(node, version),
        legend: path(node, &["Style", "LegendURL", "OnlineResource"]).and_then(href),
        layers: Vec::new(),
    };
    if own.boxes.is_empty() {
        own.boxes.clone_from(&parent.boxes);
    }
    let tag = if version == Version::V111 { "SRS" } else { "CRS" };
    for codes in children(node, tag).filter_map(|node| node.text()) {
        own.srs.extend(codes.split_whitespace().map(str::to_owned));
    }
    let below: Option<Vec<Layer>> =
        children(node, "Layer").map(|node| layer(node, &own, version, depth + 1, faults)).collect();
    own.layers = below?;
    Some(own)
}

fn bounds(node: Node<'_, '_>, version: Version, faults: &mut Vec<String>) -> Option<[f64; 4]> {
    match version {
        Version::V111 => {
            let bbox = child(node, "LatLonBoundingBox")?;
            numbers(|name| bbox.attribute(name), CORNERS, "attribute", faults)
        }
        Version::V130 => {
            let bbox = child(node, "EX_GeographicBoundingBox")?;
            let names = ["westBoundLongitude", "southBoundLatitude", "eastBoundLongitude", "northBoundLatitude"];
            numbers(|name| child(bbox, name)?.text(), names, "element", faults)
        }
    }
}

const CORNERS: [&str; 4] = ["minx", "miny", "maxx", "maxy"];

fn boxes(node: Node<'_, '_>, version: Version, faults: &mut Vec<String>) -> Vec<BoxIn> {
    let tag = if version == Version::V111 { "SRS" } else { "CRS" };
    let mut found: Vec<BoxIn> = Vec::new();
    for bbox in children(node, "BoundingBox") {
        let Some(srs) = bbox.attribute(tag) else {
            note(faults, format!("XML-Element has no such attribute ({tag})."));
            continue;
        };
        let corners = numbers(|name| bbox.attribute(name), CORNERS, "attribute", faults);
        let Some([min_x, min_y, max_x, max_y]) = corners else { continue };
        let was_swapped = version == Version::V130 && Srs::new(srs).is_ok_and(|srs| srs.is_north_first());
        let bbox = if was_swapped { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] };
        // The last of an SRS counts.
        found.retain(|other| other.srs != srs);
        found.push(BoxIn { srs: srs.to_owned(), bbox, was_swapped });
    }
    found
}

fn resolutions(node: Node<'_, '_>, version: Version) -> Option<(f64, f64)> {
    match version {
        // The diagonal of a pixel.
        Version::V111 => {
            let hint = child(node, "ScaleHint")?;
            let of =
                |name: &str| hint.attribute(name).and_then(number).map(|diagonal| (diagonal * diagonal / 2.0).sqrt());
            let (coarsest, finest) = (of("max"), of("min"));
            (coarsest.is_some() || finest.is_some()).then(|| (coarsest.unwrap_or(0.0), finest.unwrap_or(0.0)))
        }
        Version::V130 => None,
    }
}

fn numbers<'a>(
    get: impl Fn(&'static str) -> Option<&'a str>,
    names: [&'static str; 4],
    kind: &str,
    faults: &mut Vec<String>,
) -> Option<[f64; 4]> {
    let mut found = [0.0; 4];
    for (place, name) in found.iter_mut().zip(names) {
        let Some(text) = get(name) else {
            note(faults, format!("XML-Element has no such {kind} ({name})."));
            return None;
        };
        let Some(number) = number(text) else {
            note(faults, format!("XML-Element: {kind} ({name}) is no number."));
            return None;
        };
        *place = number;
    }
    Some(found)
}

/// Each once, and not without end.
fn note(faults: &mut Vec<String>, fault: String) {
    const MOST: usize = 20;
    if faults.len() < MOST && !faults.contains(&fault) {
        faults.push(fault);
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn href(node: Node<'_, '_>) -> Option<String> {
    let link = node.attribute(("http://www.w3.org/1999/xlink", "href")).or_else(|| node.attribute("href"))?;
    Some(link.trim().to_owned()).filter(|link| !link.is_empty())
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The first element on this path.
fn path<'a, 'i>(node: Node<'a, 'i>, names: &[&str]) -> Option<Node<'a, 'i>> {
    names.iter().try_fold(node, |node, name| child(node, name))
}

/// The text of a child; `None` where it says nothing.
fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(node, name)?.text()?;
    Some(text.to_owned()).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_inherit_what_they_do_not_say() {
        let text = "<WMT_MS_Capabilities version='1.1.1'><Capability><Layer><SRS>EPSG:4326 EPSG:3857</SRS>\
                    <LatLonBoundingBox minx='-180' miny='-90' maxx='180' maxy='90'/><Layer queryable='1'><Name>a</Name>\
                    <SRS>EPSG:25832</SRS><ScaleHint min='0' max='1000'/></Layer></Layer></Capability>\
                    </WMT_MS_Capabilities>";
        let read = WmsCapabilities::parse(text).unwrap();
        let [layer] = read.root.layers.as_slice() else { panic!("{:?}", read.root) };
        assert_eq!(layer.srs.iter().collect::<Vec<_>>(), ["EPSG:25832", "EPSG:3857", "EPSG:4326"]);
        assert_eq!(layer.bounds, Some([-180.0, -90.0, 180.0, 90.0]));
        assert_eq!(
            (layer.resolutions, layer.is_queryable, layer.is_opaque),
            (Some((707.1067811865476, 0.0)), true, false)
        );
        assert_eq!(read.url, None);
    }

    #[test]
    fn boxes_of_1_3_0_are_turned_to_x_first() {
        let text = "<WMS_Capabilities version='1.3.0' xmlns='http://www.opengis.net/wms'><Capability><Layer>\
                    <BoundingBox CRS='EPSG:4326' minx='45' miny='5' maxx='55' maxy='15'/>\
                    <BoundingBox CRS='EPSG:3857' minx='1' miny='2' maxx='3' maxy='4'/></Layer></Capability>\
                    </WMS_Capabilities>";
        let boxes = WmsCapabilities::parse(text).unwrap().root.boxes;
        let boxes: Vec<_> = boxes.iter().map(|found| (&*found.srs, found.bbox, found.was_swapped)).collect();
        let wanted = [("EPSG:4326", [5.0, 45.0, 15.0, 55.0], true), ("EPSG:3857", [1.0, 2.0, 3.0, 4.0], false)];
        assert_eq!(boxes, wanted);
    }

    #[test]
    fn boxes_that_are_none_are_passed_over_and_told() {
        let text = "<WMT_MS_Capabilities version='1.1.1'><Capability><Layer><LatLonBoundingBox minx='5'/><BoundingBox \
                    SRS='EPSG:4326' minx='a'/><BoundingBox/><BoundingBox/></Layer></Capability></WMT_MS_Capabilities>";
        let read = WmsCapabilities::parse(text).unwrap();
        assert_eq!((read.root.bounds, read.root.boxes.len()), (None, 0));
        assert_eq!(
            read.faults,
            [
                "XML-Element has no such attribute (miny).",
                "XML-Element: attribute (minx) is no number.",
                "XML-Element has no such attribute (SRS)."
            ]
        );
    }

    #[test]
    fn hostile_documents_are_refused_and_end() {
        let nested = format!(
            "<WMT_MS_Capabilities><Capability>{}{}</Capability></WMT_MS_Capabilities>",
            "<Layer>".repeat(100_000),
            "</Layer>".repeat(100_000)
        );
        let laughs = format!(
            "<!DOCTYPE a [<!ENTITY a0 'ha'>{}]><WMT_MS_Capabilities>&a20;</WMT_MS_Capabilities>",
            (1..=20).map(|n| format!("<!ENTITY a{n} '&a{0};&a{0};&a{0};&a{0};'>", n - 1)).collect::<String>()
        );
        for text in ["", "<a", "<a/>", "<WMS_Capabilities version='9'/>", "<WMT_MS_Capabilities/>", &nested, &laughs] {
            assert!(WmsCapabilities::parse(text).is_err());
        }
    }
}
