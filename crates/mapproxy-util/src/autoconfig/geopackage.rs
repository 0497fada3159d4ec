//! Of a GeoPackage: its tables of tiles as caches.

use std::path::Path;

use mapproxy_cache::store::sqlite::contents::tile_tables;
use serde_json::{Value, json};

use super::{Found, Layer, levels};
use crate::{FAILED, Failure};

/// A grid, a cache and a layer for each table.
pub(super) fn read(path: &Path) -> Result<Found, Failure> {
    let failed = |reason: String| Failure::new(FAILED, format_args!("ERROR: {reason}"));
    if !path.is_file() {
        return Err(failed(format!("No file {} exists.", path.display())));
    }
    let tables = tile_tables(path).map_err(|error| failed(error.to_string()))?;
    if tables.is_empty() {
        return Err(failed(format!("{} has no tables of tiles", path.display())));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = Found::default();
    for table in tables {
        let name = &table.name;
        let cache = format!("{name}_cache");
        let grid = format!("{name}_{}", table.srs_id);
        let resolutions =
            levels::resolutions(&table.levels).map_err(|reason| failed(format!("table {name}: {reason}")))?;
        found.grids.insert(
            grid.clone(),
            json!({
                "srs": format!("EPSG:{}", table.srs_id),
                "origin": "nw",
                "bbox": table.bbox,
                "tile_size": table.tile_size,
                "res": resolutions,
            }),
        );
        found.caches.insert(
            cache.clone(),
            json!({
                "cache": { "type": "geopackage", "filename": absolute.display().to_string(), "table_name": name },
                "grids": [grid],
                "sources": [],
            }),
        );
        let title = table.title.clone().unwrap_or_else(|| name.clone());
        found.layers.push(Layer { name: Some(name.clone()), title, cache: Some(cache), ..Layer::default() });
    }
    for service in ["demo", "wms", "wmts"] {
        found.services.insert(service.to_owned(), Value::Null);
    }
    found.services.insert("kml".to_owned(), json!({ "use_grid_names": true }));
    found.services.insert("tms".to_owned(), json!({ "use_grid_names": true, "origin": "nw" }));
    Ok(found)
}
