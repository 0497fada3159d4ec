//! Of an OGC API with maps or tiles.

use serde_json::{Value, json};

use super::{BaseGrid, Found, Layer};
use crate::{eprintln, gridconf};

const MAP: &str = "/rel/ogc/1.0/map";
const TILESETS: &str = "/rel/ogc/1.0/tilesets-map";
const DATA: &str = "/rel/ogc/1.0/data";
/// Collections of one server.
const MAX_COLLECTIONS: usize = 10_000;

/// A source, a cache where it can have one, and a layer for each collection of the server.
pub(super) fn read(landing_page: &str, base_grids: &[BaseGrid]) -> Result<Found, String> {
    let landing = gridconf::json_of(landing_page)?;
    let is_data = |rel: &str| rel == "data" || rel.ends_with(DATA) || rel == "[ogc-rel:data]";
    let collections = gridconf::link(&landing, landing_page, is_data)
        .ok_or_else(|| format!("{landing_page}: no link to its collections (data)"))?;
    let list = gridconf::json_of(&collections)?;
    let collections = list.get("collections").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let grids = match gridconf::grids(landing_page, |reason| eprintln(format_args!("{reason}"))) {
        Ok(grids) => grids,
        Err(reason) => {
            eprintln(format_args!("{reason}"));
            serde_json::Map::new()
        }
    };
    let mut found = Found::default();
    for collection in collections.iter().take(MAX_COLLECTIONS) {
        let Some(id) = collection.get("id").and_then(Value::as_str) else { continue };
        let has = |relation: &str| {
            let links = collection.get("links").and_then(Value::as_array).into_iter().flatten();
            links.filter_map(|link| link.get("rel").and_then(Value::as_str)).any(|rel| rel.ends_with(relation))
        };
        let tiles_grid = grids.iter().find(|(_, grid)| grid["srs"] == "EPSG:3857").or_else(|| grids.iter().next());
        let mut options = match (has(MAP), has(TILESETS), tiles_grid) {
            (true, ..) => json!({ "type": "ogcapimaps", "transparent": true }),
            (false, true, Some((set, _))) => json!({ "type": "ogcapitiles", "tile_matrix_set_id": set }),
            _ => {
                eprintln(format_args!(
                    "{id} is left out: it has neither maps nor tiles that are pictures in a usable grid"
                ));
                continue;
            }
        };
        options["landingpage_url"] = landing_page.into();
        options["collection"] = id.into();
        let bbox = collection.pointer("/extent/spatial/bbox/0").and_then(Value::as_array);
        if let Some([west, south, east, north]) = bbox.and_then(|bbox| <[f64; 4]>::try_from(corners(bbox)?).ok())
            && west < east
            && south < north
        {
            options["coverage"] = json!({ "bbox": [west, south, east, north], "srs": "EPSG:4326" });
        }
        let is_tiles = options["type"] == "ogcapitiles";
        let source = format!("{id}_{}", if is_tiles { "tiles" } else { "maps" });
        let cache = match (is_tiles, tiles_grid) {
            (true, Some((set, grid))) => {
                let name = format!("{set}_grid");
                found.grids.insert(name.clone(), grid.clone());
                Some(vec![name])
            }
            _ => Some(base_grids.iter().map(|grid| grid.name.clone()).collect()),
        };
        let cache = cache.filter(|grids: &Vec<String>| !grids.is_empty()).map(|grids| {
            let cache = format!("{id}_cache");
            found.caches.insert(cache.clone(), json!({ "grids": grids, "sources": [source] }));
            cache
        });
        found.sources.insert(source.clone(), options);
        let text = |key: &str| collection.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.layers.push(Layer {
            name: Some(id.to_owned()),
            title: text("title").unwrap_or(id).to_owned(),
            description: text("description").map(str::to_owned),
            source: cache.is_none().then_some(source),
            cache,
            layers: Vec::new(),
        });
    }
    if found.layers.is_empty() {
        return Err(format!("{landing_page}: no collection can be used"));
    }
    let title = landing.get("title").and_then(Value::as_str).unwrap_or("OGC API");
    found.services.insert("wms".to_owned(), json!({ "md": { "title": title } }));
    Ok(found)
}

/// The corners of a box of two or three dimensions.
fn corners(bbox: &[Value]) -> Option<Vec<f64>> {
    let numbers: Vec<f64> = bbox.iter().map(Value::as_f64).collect::<Option<_>>()?;
    match *numbers.as_slice() {
        [west, south, east, north] | [west, south, _, east, north, _] => Some(vec![west, south, east, north]),
        _ => None,
    }
}
