//! What an export is written as.

use std::path::{Path, PathBuf};

use mapproxy_cache::store::is_web_mercator_quad;
use mapproxy_grid::TileGrid;
use serde_json::{Value, json};

/// The types of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Files in a directory, by this layout.
    Files(&'static str),
    Mbtiles,
    Sqlite,
    Geopackage,
    Compact(u8),
    Pmtiles,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "tms" => Kind::Files("tms"),
            // The layout of MapProxy's own file caches.
            "mapproxy" | "tc" => Kind::Files("tc"),
            "quadkey" => Kind::Files("quadkey"),
            "arcgis" => Kind::Files("arcgis"),
            "mbtile" | "mbtiles" => Kind::Mbtiles,
            "sqlite" => Kind::Sqlite,
            "geopackage" => Kind::Geopackage,
            "compact-v1" => Kind::Compact(1),
            "compact-v2" => Kind::Compact(2),
            "pmtiles" => Kind::Pmtiles,
            _ => return None,
        })
    }

    /// What is written to until all is there. An archive of PMTiles can only be written at once: its tiles are kept in
    /// MBTiles beside it before.
    pub(super) fn working_path(self, destination: &Path) -> PathBuf {
        if self != Kind::Pmtiles {
            return destination.to_owned();
        }
        let mut name = destination.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        destination.with_file_name(name)
    }

    /// Whether tiles of this grid can be kept so.
    pub(super) fn check(self, grid: &TileGrid) -> Result<(), String> {
        if self == Kind::Pmtiles && !is_web_mercator_quad(grid) {
            return Err("PMTiles are of the whole world in web mercator: use --grid GLOBAL_WEBMERCATOR".to_owned());
        }
        Ok(())
    }

    /// The `cache` section of the export.
    pub(super) fn cache(self, place: &Path, table: &str, locks: &Path) -> Value {
        let place = place.display().to_string();
        let mut cache = match self {
            Kind::Files(layout) => json!({ "type": "file", "directory": place, "directory_layout": layout }),
            Kind::Mbtiles | Kind::Pmtiles => json!({ "type": "mbtiles", "filename": place }),
            Kind::Sqlite => json!({ "type": "sqlite", "directory": place }),
            Kind::Geopackage => json!({ "type": "geopackage", "filename": place, "table_name": table }),
            Kind::Compact(version) => json!({ "type": "compact", "directory": place, "version": version }),
        };
        cache["tile_lock_dir"] = locks.display().to_string().into();
        cache
    }
}
