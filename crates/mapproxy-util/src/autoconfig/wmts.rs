//! Of the capabilities of a WMTS.

use serde_json::{Value, json};

use super::{Found, Layer, levels};
use crate::capabilities::wmts::{self, WmtsCapabilities};
use crate::{eprintln, fetch, gridconf};

/// A tile source, a cache in the server's own grid and a layer for each of its layers. What cannot be asked for by its
/// address alone is told and left out.
pub(super) fn read(text: &str, place: &str) -> Result<Found, String> {
    let capabilities = WmtsCapabilities::parse(text)?;
    let sets: Vec<Set> = capabilities.sets.iter().filter_map(|(name, set)| told(name, Set::read(name, set))).collect();
    let address = capabilities.url.clone().or_else(|| place.contains("://").then(|| place.to_owned()));
    let mut found = Found::default();
    for layer in &capabilities.layers {
        if let Some(()) = told(&layer.name, add(&mut found, layer, &sets, address.as_deref())) {}
    }
    if found.layers.is_empty() {
        return Err("no layer of this WMTS can be used".to_owned());
    }
    let title = capabilities.title.unwrap_or_else(|| "WMTS".to_owned());
    found.services.insert("wms".to_owned(), json!({ "md": { "title": title } }));
    found.services.insert("wmts".to_owned(), Value::Null);
    Ok(found)
}

fn told<T>(name: &str, result: Result<T, String>) -> Option<T> {
    result.map_err(|reason| eprintln(format_args!("{name} is left out: {reason}"))).ok()
}

/// A tile matrix set that is a grid.
struct Set {
    name: String,
    grid: Value,
    is_mercator: bool,
    /// What stands before the number of the level in the names of its matrices.
    prefix: String,
}

impl Set {
    fn read(name: &str, set: &Value) -> Result<Set, String> {
        let mut grid = gridconf::grid(set)?;
        let srs = grid["srs"].as_str().unwrap_or_default().to_owned();
        let mut ids: Vec<(&str, f64)> = Vec::new();
        for matrix in set["tileMatrices"].as_array().into_iter().flatten() {
            let scale = matrix["scaleDenominator"].as_f64().unwrap_or_default();
            ids.push((matrix["id"].as_str().ok_or("a matrix has no name")?, scale));
        }
        ids.sort_by(|a, b| b.1.total_cmp(&a.1));
        let stem = |id: &str| id.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let prefix = ids.first().map(|(id, _)| stem(id)).unwrap_or_default();
        let unnumbered = || format!("the names of its matrices are not numbers that count up ({})", ids[0].0);
        let known: Vec<f64> = grid["res"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let mut numbered = Vec::new();
        for ((id, _), resolution) in ids.iter().zip(known) {
            let number: u8 =
                id.strip_prefix(prefix.as_str()).and_then(|number| number.parse().ok()).ok_or_else(unnumbered)?;
            if format!("{prefix}{number}") != *id || numbered.last().is_some_and(|(before, _)| *before >= number) {
                return Err(unnumbered());
            }
            numbered.push((number, resolution));
        }
        grid["res"] = levels::resolutions(&numbered)?.into();
        grid["origin"] = "nw".into();
        let is_mercator = matches!(srs.as_str(), "EPSG:3857" | "EPSG:900913");
        Ok(Set { name: name.to_owned(), grid, is_mercator, prefix })
    }
}

fn add(found: &mut Found, layer: &wmts::Layer, sets: &[Set], address: Option<&str>) -> Result<(), String> {
    let offered: Vec<&Set> = layer.sets.iter().filter_map(|name| sets.iter().find(|set| set.name == *name)).collect();
    let set = offered.iter().find(|set| set.is_mercator).or_else(|| offered.first());
    let set = set.ok_or("none of its tile matrix sets can be a grid")?;
    let (url, format) = url(layer, set, address)?;
    let format = match format.as_str() {
        "image/jpeg" | "image/jpg" => "image/jpeg",
        "image/webp" => "image/webp",
        _ => "image/png",
    };
    let name = &layer.name;
    let (source, cache) = (format!("{name}_tiles"), format!("{name}_cache"));
    let grid = format!("{}_grid", set.name);
    found.grids.insert(grid.clone(), set.grid.clone());
    let mut options = json!({ "type": "tile", "url": url, "grid": grid });
    if format == "image/png" {
        options["transparent"] = true.into();
    }
    if let Some(bounds) = layer.bounds {
        options["coverage"] = json!({ "bbox": bounds, "srs": "EPSG:4326" });
    }
    found.sources.insert(source.clone(), options);
    found.caches.insert(cache.clone(), json!({ "grids": [grid], "sources": [source], "format": format }));
    found.layers.push(Layer {
        name: Some(name.clone()),
        title: layer.title.clone().unwrap_or_else(|| name.clone()),
        description: layer.description.clone(),
        cache: Some(cache),
        ..Layer::default()
    });
    Ok(())
}

/// The address of tiles with what MapProxy puts into it, and their format.
fn url(layer: &wmts::Layer, set: &Set, address: Option<&str>) -> Result<(String, String), String> {
    let is_picture =
        |format: &str| matches!(format, "image/png" | "image/png8" | "image/jpeg" | "image/jpg" | "image/webp");
    let matrix = format!("{}%(z)s", percent(&set.prefix));
    if let Some((template, format)) = layer.templates.iter().find(|(_, format)| is_picture(format)) {
        let mut url = String::new();
        let mut rest = template.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or("its address has a bracket that is not closed")?;
            url.push_str(&percent(before));
            url.push_str(&match name.to_ascii_lowercase().as_str() {
                "style" => percent(&layer.style),
                "tilematrixset" => percent(&set.name),
                "tilematrix" => matrix.clone(),
                "tilerow" => "%(y)s".to_owned(),
                "tilecol" => "%(x)s".to_owned(),
                _ => {
                    let default = layer.dimensions.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                    percent(&default.ok_or_else(|| format!("{{{name}}} of its address has no default"))?.1)
                }
            });
            rest = after;
        }
        url.push_str(&percent(rest));
        return Ok((url, format.clone()));
    }
    let address = address.ok_or("it does not say where its tiles are")?;
    let format = layer.formats.iter().find(|format| is_picture(format)).ok_or("its tiles are no pictures")?;
    let fixed = [
        ("SERVICE", "WMTS"),
        ("REQUEST", "GetTile"),
        ("VERSION", "1.0.0"),
        ("LAYER", layer.name.as_str()),
        ("STYLE", &layer.style),
        ("FORMAT", format),
        ("TILEMATRIXSET", &set.name),
    ];
    let own: Vec<(&str, &str)> = layer.dimensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let url = percent(&fetch::with_parameters(address, &[&fixed[..], &own].concat()));
    Ok((format!("{url}&TILEMATRIX={matrix}&TILEROW=%(y)s&TILECOL=%(x)s"), format.clone()))
}

/// A single `%` is written as two of them.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Map;

    use super::*;

    fn capabilities(template: &str, ids: [&str; 2]) -> String {
        let matrix = |id: &str, count: u32| {
            let scale = 559_082_264.028_717 / f64::from(count);
            format!(
                "<TileMatrix><ows:Identifier>{id}</ows:Identifier><ScaleDenominator>{scale}</ScaleDenominator>\
                 <TopLeftCorner>-20037508.3428 20037508.3428</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256\
                 </TileHeight><MatrixWidth>{count}</MatrixWidth><MatrixHeight>{count}</MatrixHeight></TileMatrix>"
            )
        };
        format!(
            "<Capabilities xmlns='http://www.opengis.net/wmts/1.0' xmlns:ows='http://www.opengis.net/ows/1.1' \
             xmlns:xlink='http://www.w3.org/1999/xlink'><ows:OperationsMetadata><ows:Operation name='GetTile'><ows:DCP>\
             <ows:HTTP><ows:Get xlink:href='http://h/wmts?map=1'/></ows:HTTP></ows:DCP></ows:Operation>\
             </ows:OperationsMetadata><Contents><Layer><ows:Title>Roads</ows:Title><ows:Identifier>roads</ows:Identifier>\
             <Style isDefault='true'><ows:Identifier>day</ows:Identifier></Style><Format>image/png</Format>\
             <TileMatrixSetLink><TileMatrixSet>web</TileMatrixSet></TileMatrixSetLink>{template}</Layer><TileMatrixSet>\
             <ows:Identifier>web</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{}{}\
             </TileMatrixSet></Contents></Capabilities>",
            matrix(ids[1], 2),
            matrix(ids[0], 1)
        )
    }

    fn source_url(text: &str) -> String {
        let document = read(text, "caps.xml").unwrap().document(&[], Map::new());
        let url = document["sources"]["roads_tiles"]["url"].as_str().unwrap().to_owned();
        let written = crate::yaml_out::document(&document.into());
        let loaded = mapproxy_config::load_str(&written, Path::new(""));
        assert!(loaded.config.is_some(), "{}\n{written}", loaded.diagnostics);
        url
    }

    #[test]
    fn tiles_are_asked_for_by_address_or_by_parameters() {
        let template = "<ResourceURL resourceType='tile' format='image/png' \
                        template='http://h/a%20b/{Style}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.png'/>";
        let by_address = source_url(&capabilities(template, ["0", "1"]));
        assert_eq!(by_address, "http://h/a%%20b/day/web/%(z)s/%(y)s/%(x)s.png");
        let by_parameters = source_url(&capabilities("", ["EPSG:3857:5", "EPSG:3857:6"]));
        assert_eq!(
            by_parameters,
            "http://h/wmts?map=1&SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=roads&STYLE=day&FORMAT=image/png&\
             TILEMATRIXSET=web&TILEMATRIX=EPSG:3857:%(z)s&TILEROW=%(y)s&TILECOL=%(x)s"
        );
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        assert!(read(&capabilities("", ["00", "01"]), "").is_err());
        assert!(read(&capabilities("", ["coarse", "fine"]), "").is_err());
        assert!(read(&capabilities("", ["1", "0"]), "").is_err());
        for text in ["", "<a/>", "<Capabilities/>", "<Capabilities><Contents/></Capabilities>"] {
            assert!(read(text, "").is_err());
        }
    }
}
