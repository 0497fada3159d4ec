//! What is left to do when all tiles are there.

use std::ops::ControlFlow;
use std::path::Path;

use mapproxy_cache::store::TileStore;
use mapproxy_cache::store::pmtiles::{Compression, Header, PmtilesWriter, TileType};
use mapproxy_cache::store::sqlite::mbtiles;
use mapproxy_cache::store::visit::{Detail, SeenTile, Visit, Visited};
use mapproxy_grid::{Bbox, Origin};
use mapproxy_seeding::SeedTask;

use super::plan::Plan;
use super::target::Kind;
use crate::eprintln;

/// What an export says of itself.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    /// In degrees.
    pub(super) extent: Option<Bbox>,
    pub(super) levels: &'a [u8],
    pub(super) plan: &'a Plan<'a>,
}

impl About<'_> {
    fn levels(&self) -> (u8, u8) {
        (self.levels.first().copied().unwrap_or_default(), self.levels.last().copied().unwrap_or_default())
    }
}

/// Files say of themselves what is in them; an archive takes its place.
pub(super) fn finish(
    kind: Kind,
    task: &SeedTask,
    working: &Path,
    destination: &Path,
    about: &About<'_>,
) -> Result<(), String> {
    match kind {
        Kind::Mbtiles => describe(working, about),
        Kind::Pmtiles => {
            let store = task.manager.store().ok_or("the export keeps no tiles")?;
            archive(&**store, destination, about)?;
            remove_database(working);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn describe(path: &Path, about: &About<'_>) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    let grid = &about.plan.grid;
    if grid.origin() == Origin::UpperLeft {
        eprintln(format_args!(
            "WARN: MBTiles count rows from the south, and the grid counts from the north: MapProxy finds the tiles, other \
             programs will show them upside down. For those, use a grid with origin sw."
        ));
    }
    let format = match about.plan.extension.as_str() {
        "jpeg" => "jpg",
        "mixed" => "png",
        other => other,
    };
    let (first, last) = about.levels();
    let mut rows = vec![
        ("name", about.name.to_owned()),
        ("format", format.to_owned()),
        ("minzoom", first.to_string()),
        ("maxzoom", last.to_string()),
    ];
    if let Some(extent) = about.extent {
        let [west, south, east, north] = extent.to_array();
        rows.push(("bounds", format!("{west:.7},{south:.7},{east:.7},{north:.7}")));
    }
    mbtiles::describe(path, &rows).map_err(|error| error.to_string())
}

fn archive(store: &dyn TileStore, destination: &Path, about: &About<'_>) -> Result<(), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", destination.display());
    let path = super::absolute(destination);
    let grid = &about.plan.grid;
    let mut writer = PmtilesWriter::create(&path).map_err(|error| cannot(&error))?;
    let mut failed = None;
    for level in about.levels {
        store
            .visit(&Visit::level(*level, Detail::Bytes), &mut |visited| {
                let Visited::Tile(SeenTile { key, bytes: Some(bytes), .. }) = visited else {
                    return ControlFlow::Continue(());
                };
                let coord = if grid.origin() == Origin::LowerLeft { grid.flip(key.coord) } else { key.coord };
                match writer.add(coord.z, coord.x, coord.y, &bytes) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })
            .map_err(|error| error.to_string())?;
    }
    if let Some(error) = failed {
        return Err(cannot(&error));
    }
    let extent = about.extent.map_or([-180.0, -85.051_128_8, 180.0, 85.051_128_8], |extent| extent.to_array());
    let ten_millionths = |degrees: f64| (degrees * 1e7).round() as i32;
    let bounds = extent.map(ten_millionths);
    let [west, south, east, north] = extent;
    let tile_type = match about.plan.extension.as_str() {
        "png" => TileType::Png,
        "jpeg" | "jpg" => TileType::Jpeg,
        "webp" => TileType::Webp,
        "mvt" | "pbf" => TileType::Mvt,
        _ => TileType::Unknown,
    };
    let header = Header {
        tile_type,
        bounds,
        center: (about.levels().0, ten_millionths((west + east) / 2.0), ten_millionths((south + north) / 2.0)),
        tile_compression: if tile_type == TileType::Mvt { Compression::Unknown } else { Compression::None },
        ..Header::default()
    };
    let metadata = serde_json::json!({ "name": about.name, "type": "overlay" }).to_string();
    writer.finish(header, &metadata).map_err(|error| cannot(&error))
}

/// The file and what SQLite keeps beside it.
fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(path.with_file_name(name));
    }
}
