//! Of a GeoPackage: its tables of tiles as caches.

use std::path::Path;

use mapproxy_cache::store::sqlite::contents::{TileTable, tile_tables};
use serde_json::{Value, json};

use super::{Found, Layer};
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
        let resolutions = resolutions(&table).map_err(failed)?;
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

/// Those of all levels from 0 on: tiles are found by the number of their level, so that levels that the file has not got
/// have to have a place, too.
fn resolutions(table: &TileTable) -> Result<Vec<f64>, String> {
    let wrong = |reason: &str| format!("table {}: {reason}", table.name);
    let (first, first_resolution) = *table.levels.first().ok_or_else(|| wrong("it has no levels"))?;
    let mut resolutions: Vec<f64> =
        (0..first).map(|level| first_resolution * 2_f64.powi(i32::from(first - level))).collect();
    for (level, resolution) in &table.levels {
        while resolutions.len() < usize::from(*level) {
            let before = resolutions.last().copied().unwrap_or(*resolution);
            let missing = usize::from(*level) - resolutions.len();
            // Between two that are known, in equal steps.
            let factor = (resolution / before).powf(1.0 / (missing as f64 + 1.0));
            resolutions.push(before * factor);
        }
        if resolutions.last().is_some_and(|before| before <= resolution) {
            return Err(wrong("its levels do not become finer"));
        }
        resolutions.push(*resolution);
    }
    Ok(resolutions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(levels: &[(u8, f64)]) -> TileTable {
        TileTable {
            name: "t".to_owned(),
            title: None,
            srs_id: 3857,
            bbox: [0.0; 4],
            tile_size: [256, 256],
            levels: levels.to_vec(),
        }
    }

    #[test]
    fn levels_that_are_missing_get_a_place() {
        assert_eq!(resolutions(&table(&[(0, 8.0), (1, 4.0)])), Ok(vec![8.0, 4.0]));
        assert_eq!(resolutions(&table(&[(2, 8.0), (4, 2.0)])), Ok(vec![32.0, 16.0, 8.0, 4.0, 2.0]));
        assert!(resolutions(&table(&[])).is_err() && resolutions(&table(&[(0, 8.0), (1, 8.0)])).is_err());
    }
}
