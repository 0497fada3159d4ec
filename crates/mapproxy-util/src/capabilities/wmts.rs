//! Capabilities of a Web Map Tile Service, 1.0.0.

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};

/// The document, as far as we need it.
#[derive(Debug)]
pub(crate) struct WmtsCapabilities {
    pub(crate) title: Option<String>,
    /// Where tiles are asked for with parameters.
    pub(crate) url: Option<String>,
    pub(crate) layers: Vec<Layer>,
    /// Tile matrix sets by name, in the form of OGC 17-083r4.
    pub(crate) sets: Vec<(String, Value)>,
}

/// A layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) style: String,
    pub(crate) formats: Vec<String>,
    /// Names of tile matrix sets.
    pub(crate) sets: Vec<String>,
    /// Addresses of tiles with `{TileMatrix}` and the like, and their formats.
    pub(crate) templates: Vec<(String, String)>,
    /// Dimensions with their defaults.
    pub(crate) dimensions: Vec<(String, String)>,
    /// West, south, east, north in degrees.
    pub(crate) bounds: Option<[f64; 4]>,
}

/// More elements than any service has.
const MAX_NODES: u32 = 5_000_000;

impl WmtsCapabilities {
    /// Reads a document; bounded in all it takes.
    pub(crate) fn parse(text: &str) -> Result<WmtsCapabilities, String> {
        let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|error| format!("no XML document: {error}"))?;
        let root = document.root_element();
        let contents = child(root, "Contents").filter(|_| root.tag_name().name() == "Capabilities");
        let contents = contents.ok_or("no capabilities of a WMTS: they have no Contents")?;
        let operation = |name: &str| {
            let metadata = child(root, "OperationsMetadata")?;
            children(metadata, "Operation").find(|operation| operation.attribute("name") == Some(name))
        };
        let url = operation("GetTile")
            .and_then(|operation| child(child(child(operation, "DCP")?, "HTTP")?, "Get"))
            .and_then(|get| get.attribute(("http://www.w3.org/1999/xlink", "href")))
            .map(|url| url.trim().to_owned());
        let title = child(root, "ServiceIdentification").and_then(|service| text_of(service, "Title"));
        let layers = children(contents, "Layer").filter_map(layer).collect();
        let sets = children(contents, "TileMatrixSet").filter_map(set).collect();
        Ok(WmtsCapabilities { title, url, layers, sets })
    }
}

fn layer(node: Node<'_, '_>) -> Option<Layer> {
    let styles: Vec<Node<'_, '_>> = children(node, "Style").collect();
    let style = styles.iter().find(|style| style.attribute("isDefault") == Some("true")).or_else(|| styles.first());
    let corners = child(node, "WGS84BoundingBox").and_then(|bbox| {
        let corner = |name| child(bbox, name).and_then(|node| pair(node.text()?));
        Some((corner("LowerCorner")?, corner("UpperCorner")?))
    });
    Some(Layer {
        name: text_of(node, "Identifier")?,
        title: text_of(node, "Title"),
        description: text_of(node, "Abstract"),
        style: style.and_then(|style| text_of(*style, "Identifier")).unwrap_or_else(|| "default".to_owned()),
        formats: children(node, "Format").filter_map(|node| Some(node.text()?.trim().to_owned())).collect(),
        sets: children(node, "TileMatrixSetLink").filter_map(|link| text_of(link, "TileMatrixSet")).collect(),
        templates: children(node, "ResourceURL")
            .filter(|url| url.attribute("resourceType") == Some("tile"))
            .filter_map(|url| {
                Some((url.attribute("template")?.to_owned(), url.attribute("format").unwrap_or_default().to_owned()))
            })
            .collect(),
        dimensions: children(node, "Dimension")
            .filter_map(|node| Some((text_of(node, "Identifier")?, text_of(node, "Default")?)))
            .collect(),
        bounds: corners.map(|([west, south], [east, north])| [west, south, east, north]),
    })
}

fn set(node: Node<'_, '_>) -> Option<(String, Value)> {
    let name = text_of(node, "Identifier")?;
    let matrix = |node: Node<'_, '_>| {
        let number = |name| text_of(node, name).and_then(|text| text.parse::<f64>().ok());
        let count = |name| text_of(node, name).and_then(|text| text.parse::<u64>().ok());
        json!({
            "id": text_of(node, "Identifier"),
            "scaleDenominator": number("ScaleDenominator"),
            "pointOfOrigin": text_of(node, "TopLeftCorner").and_then(|text| pair(&text)),
            "tileWidth": count("TileWidth"),
            "tileHeight": count("TileHeight"),
            "matrixWidth": count("MatrixWidth"),
            "matrixHeight": count("MatrixHeight"),
        })
    };
    let matrices: Vec<Value> = children(node, "TileMatrix").map(matrix).collect();
    let set = json!({ "id": name, "crs": text_of(node, "SupportedCRS"), "tileMatrices": matrices });
    Some((name, set))
}

fn pair(text: &str) -> Option<[f64; 2]> {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().ok().filter(|n| n.is_finite()));
    Some([numbers.next()??, numbers.next()??])
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(node, name)?.text()?.trim();
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
