//! How other programs are told of a layer: lines to be copied.
//!
//! Names of layers come from the configuration and may hold anything: each language gets its own quotes.

use mapproxy_grid::{Bbox, Srs, TileGrid};
use mapproxy_map::ogc::float;

use super::encode;
use crate::services::wms::WmsVersion;

/// A few lines for one program.
pub(super) struct Snippet {
    pub(super) program: &'static str,
    /// Where the lines belong.
    pub(super) place: &'static str,
    pub(super) code: String,
}

pub(super) struct WmsSnippets<'a> {
    pub(super) script: &'a str,
    pub(super) layer: &'a str,
    pub(super) title: &'a str,
    pub(super) version: WmsVersion,
    pub(super) srs: &'a Srs,
    pub(super) format: &'a str,
    pub(super) transparent: bool,
    pub(super) extent: Bbox,
    /// Path and query of a map, with `{width}`, `{height}` and `{bbox}`.
    pub(super) map_path: &'a str,
}

pub(super) struct TiledSnippets<'a> {
    pub(super) script: &'a str,
    pub(super) layer: &'a str,
    pub(super) grid: &'a TileGrid,
    /// Path of the document that describes the tiles.
    pub(super) document: &'a str,
    /// Path of tiles with `{z}`, `{x}` and `{y}`, where rows count from the north in the grid that all programs know.
    pub(super) xyz_path: Option<&'a str>,
    /// `png`
    pub(super) format: &'a str,
}

/// For maps.
pub(super) fn wms(of: &WmsSnippets<'_>) -> Vec<Snippet> {
    let service = format!("{}/service", of.script);
    let version = of.version.as_str();
    let (quoted_url, layers, format) = (js(&service), js(of.layer), js(of.format));
    let srs = of.srs.code();
    let qgis_source = format!(
        "crs={srs}&dpiMode=7&format={}&layers={}&styles=&url={}",
        encode(of.format),
        encode(of.layer),
        encode(&service)
    );
    let mut snippets = vec![
        qgis(&format!("{service}?"), &format!("iface.addRasterLayer({}, {}, \"wms\")", js(&qgis_source), js(of.title))),
        Snippet {
            program: "OpenLayers",
            place: "A layer of a map",
            code: format!(
                "import ImageLayer from \"ol/layer/Image.js\";\nimport ImageWMS from \"ol/source/ImageWMS.js\";\n\n\
                 const layer = new ImageLayer({{\n  source: new ImageWMS({{\n    url: {quoted_url},\n    \
                 params: {{ LAYERS: {layers}, FORMAT: {format}, TRANSPARENT: {}, VERSION: \"{version}\" }},\n  \
                 }}),\n}});\n",
                of.transparent
            ),
        },
    ];
    let is_mercator = *of.srs == Srs::web_mercator();
    if is_mercator || *of.srs == Srs::wgs84() {
        let crs = if is_mercator { "EPSG3857" } else { "EPSG4326" };
        snippets.push(Snippet {
            program: "Leaflet",
            place: "A layer of the map in the variable map",
            code: format!(
                "L.tileLayer.wms({quoted_url}, {{\n  layers: {layers},\n  format: {format},\n  transparent: {},\n  \
                 version: \"{version}\",\n  crs: L.CRS.{crs},\n}}).addTo(map);\n",
                of.transparent
            ),
        });
    }
    if is_mercator {
        let url = format!("{}{}", of.script, of.map_path).replace("{bbox}", "{bbox-epsg-3857}");
        let url = url.replace("{width}", "512").replace("{height}", "512");
        snippets.push(maplibre(of.layer, &url, 512));
    }
    let [min_x, min_y, max_x, max_y] = of.extent.to_array().map(float);
    let is_north_first = of.version == WmsVersion::V1_3_0 && of.srs.is_north_first();
    let bbox = if is_north_first {
        format!("{min_y},{min_x},{max_y},{max_x}")
    } else {
        format!("{min_x},{min_y},{max_x},{max_y}")
    };
    // GDAL speaks 1.1.0 and newer, and chooses sizes itself.
    if of.version != WmsVersion::V1_0_0 {
        let path = of.map_path.replace("&WIDTH={width}&HEIGHT={height}", "").replace("{bbox}", &bbox);
        let source = format!("WMS:{}{path}", of.script);
        snippets.push(gdal(&format!("gdal_translate -outsize 1024 0 {} map.tif", shell(&source))));
    }
    snippets
}

/// For tiles by WMTS.
pub(super) fn wmts(of: &TiledSnippets<'_>) -> Vec<Snippet> {
    let document = format!("{}{}", of.script, of.document);
    let grid = of.grid.name();
    let qgis_source = format!(
        "crs={}&format={}&layers={}&styles=default&tileMatrixSet={}&url={}",
        of.grid.srs().code(),
        encode(&format!("image/{}", of.format)),
        encode(of.layer),
        encode(grid),
        encode(&document)
    );
    let mut snippets = vec![
        qgis(&document, &format!("iface.addRasterLayer({}, {}, \"wms\")", js(&qgis_source), js(of.layer))),
        Snippet {
            program: "OpenLayers",
            place: "A layer of a map, as the capabilities describe it",
            code: format!(
                "import TileLayer from \"ol/layer/Tile.js\";\n\
                 import WMTS, {{ optionsFromCapabilities }} from \"ol/source/WMTS.js\";\n\
                 import WMTSCapabilities from \"ol/format/WMTSCapabilities.js\";\n\n\
                 const answer = await fetch({});\n\
                 const capabilities = new WMTSCapabilities().read(await answer.text());\n\
                 const options = optionsFromCapabilities(capabilities, {{ layer: {}, matrixSet: {} }});\n\
                 const layer = new TileLayer({{ source: new WMTS(options) }});\n",
                js(&document),
                js(of.layer),
                js(grid)
            ),
        },
    ];
    snippets.extend(xyz(of));
    let source = format!("WMTS:{document},layer={},tilematrixset={grid}", of.layer);
    snippets.push(gdal(&format!("gdal_translate -outsize 1024 0 {} map.tif", shell(&source))));
    snippets
}

/// For tiles by TMS.
pub(super) fn tms(of: &TiledSnippets<'_>) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    if let Some(path) = of.xyz_path {
        let url = format!("{}{path}", of.script);
        let last = of.grid.levels().len().saturating_sub(1);
        let source = format!("type=xyz&zmin=0&zmax={last}&url={}", encode(&url));
        let line = format!("iface.addRasterLayer({}, {}, \"wms\")", js(&source), js(of.layer));
        snippets.push(Snippet {
            program: "QGIS",
            place: "As an XYZ connection in the browser panel, or in the Python console",
            code: format!("{url}\n\n{line}\n"),
        });
        snippets.push(Snippet {
            program: "OpenLayers",
            place: "A layer of a map",
            code: format!(
                "import TileLayer from \"ol/layer/Tile.js\";\nimport XYZ from \"ol/source/XYZ.js\";\n\n\
                 const layer = new TileLayer({{ source: new XYZ({{ url: {}, maxZoom: {last} }}) }});\n",
                js(&url)
            ),
        });
    }
    snippets.extend(xyz(of));
    let document = format!("{}{}", of.script, of.document);
    snippets.push(gdal(&format!("gdal_translate -outsize 1024 0 {} map.tif", shell(&document))));
    snippets
}

/// Programs that know one grid.
fn xyz(of: &TiledSnippets<'_>) -> Vec<Snippet> {
    let Some(path) = of.xyz_path else { return Vec::new() };
    let url = format!("{}{path}", of.script);
    let last = of.grid.levels().len().saturating_sub(1);
    let size = of.grid.tile_size().width;
    let leaflet = Snippet {
        program: "Leaflet",
        place: "A layer of the map in the variable map",
        code: format!("L.tileLayer({}, {{ maxZoom: {last} }}).addTo(map);\n", js(&url)),
    };
    vec![leaflet, maplibre(of.layer, &url, size)]
}

fn qgis(address: &str, line: &str) -> Snippet {
    Snippet {
        program: "QGIS",
        place: "The address of a WMS/WMTS connection in the browser panel, or a line for the Python console",
        code: format!("{address}\n\n{line}\n"),
    }
}

fn maplibre(layer: &str, url: &str, size: u32) -> Snippet {
    Snippet {
        program: "MapLibre GL",
        place: "When the map in the variable map has loaded",
        code: format!(
            "map.addSource({0}, {{ type: \"raster\", tiles: [{1}], tileSize: {size} }});\n\
             map.addLayer({{ id: {0}, type: \"raster\", source: {0} }});\n",
            js(layer),
            js(url)
        ),
    }
}

fn gdal(line: &str) -> Snippet {
    Snippet { program: "GDAL", place: "On the command line", code: format!("{line}\n") }
}

/// A string of JavaScript, Python and JSON.
fn js(text: &str) -> String {
    serde_json::to_string(text).expect("a string can be written as JSON")
}

/// One word for a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_each_language_wants_it() {
        assert_eq!(js("a\"b\\\n</script>"), r#""a\"b\\\n</script>""#);
        assert_eq!(shell("it's"), r"'it'\''s'");
    }
}
