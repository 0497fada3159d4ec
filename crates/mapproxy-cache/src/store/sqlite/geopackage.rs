//! `type: geopackage`: tiles in a table of a GeoPackage, which may have others beside; one file for all levels or one
//! for each.
//!
//! Rows are the grid's own, as MapProxy has them. GeoPackage counts them from the north, so only grids with their origin
//! there make files that other programs show the right way up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mapproxy_grid::{Bbox, Srs, TileGrid};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::files::{Files, Names};
use super::table::{Table, quoted};
use super::trouble::Trouble;
use super::{FileOptions, Pool, Schema, SqliteStore};
use crate::lock::lock_id;

/// Where and how to keep tiles.
#[derive(Clone, Debug)]
pub struct Geopackage {
    /// The file or the files.
    pub files: GeopackageFiles,
    /// `table_name`.
    pub table: String,
    /// The grid of the tiles, as the file tells it.
    pub matrices: TileMatrices,
    /// How files are made and waited for.
    pub options: FileOptions,
}

/// One file or several.
#[derive(Clone, Debug)]
pub enum GeopackageFiles {
    /// One for all levels.
    One(PathBuf),
    /// `levels: true`: one for each, called `LEVEL.gpkg`, in this directory.
    Levels(PathBuf),
}

/// A grid in the words of GeoPackage.
#[derive(Clone, Debug, PartialEq)]
pub struct TileMatrices {
    /// The number of the SRS, by EPSG.
    pub srs_id: u32,
    /// The box of the grid.
    pub bbox: Bbox,
    /// The box that has tiles.
    pub contents: Bbox,
    /// Width and height of a tile.
    pub tile_size: (u32, u32),
    /// Columns, rows and SRS units per pixel of each level.
    pub levels: Vec<(u32, u32, f64)>,
}

impl TileMatrices {
    /// Of `grid`, with tiles in `contents` only; an SRS that has no number cannot be said in a GeoPackage.
    pub fn new(grid: &TileGrid, contents: Option<Bbox>) -> Result<TileMatrices, String> {
        let Some(srs_id) = srs_id(grid.srs()) else {
            return Err(format!(
                "a GeoPackage needs an SRS with an EPSG number, and the grid {} has {}",
                grid.name(),
                grid.srs()
            ));
        };
        let size = grid.tile_size();
        Ok(TileMatrices {
            srs_id,
            bbox: grid.bbox(),
            contents: contents.unwrap_or(grid.bbox()),
            tile_size: (size.width, size.height),
            levels: grid.levels().iter().map(|level| (level.columns, level.rows, level.resolution)).collect(),
        })
    }
}

fn srs_id(srs: &Srs) -> Option<u32> {
    let code = srs.code();
    if code.eq_ignore_ascii_case("CRS:84") || code.eq_ignore_ascii_case("OGC:CRS84") {
        // GeoPackage has longitude first in any SRS.
        return Some(4326);
    }
    srs.epsg()
}

impl Geopackage {
    /// The store. Files of levels are made when their first tile is stored; see [`SqliteStore::create`].
    pub fn open(self, pool: &Arc<Pool>) -> SqliteStore {
        let (lock_id, names) = match self.files {
            GeopackageFiles::One(file) => (lock_id("gpkg", &file), Names::One(file)),
            GeopackageFiles::Levels(directory) => {
                (lock_id("gpkg-", &directory), Names::Levels { directory, extension: "gpkg" })
            }
        };
        SqliteStore {
            lock_id,
            files: Files::new(Arc::clone(pool), names),
            table: Table::new(&self.table, false),
            schema: Box::new(Package { table: self.table, matrices: self.matrices }),
            options: self.options,
            ttl: None,
        }
    }
}

/// The tables of a GeoPackage.
#[derive(Debug)]
struct Package {
    table: String,
    matrices: TileMatrices,
}

/// `GP10`: what the header of the file says it is.
const APPLICATION_ID: i32 = 0x4750_3130;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY,
    data_type TEXT NOT NULL,
    identifier TEXT UNIQUE,
    description TEXT DEFAULT '',
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
    min_x DOUBLE,
    min_y DOUBLE,
    max_x DOUBLE,
    max_y DOUBLE,
    srs_id INTEGER,
    CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE IF NOT EXISTS gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL PRIMARY KEY,
    organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL,
    definition TEXT NOT NULL,
    description TEXT);
CREATE TABLE IF NOT EXISTS gpkg_tile_matrix (
    table_name TEXT NOT NULL,
    zoom_level INTEGER NOT NULL,
    matrix_width INTEGER NOT NULL,
    matrix_height INTEGER NOT NULL,
    tile_width INTEGER NOT NULL,
    tile_height INTEGER NOT NULL,
    pixel_x_size DOUBLE NOT NULL,
    pixel_y_size DOUBLE NOT NULL,
    CONSTRAINT pk_ttm PRIMARY KEY (table_name, zoom_level),
    CONSTRAINT fk_tmm_table_name FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name));
CREATE TABLE IF NOT EXISTS gpkg_tile_matrix_set (
    table_name TEXT NOT NULL PRIMARY KEY,
    srs_id INTEGER NOT NULL,
    min_x DOUBLE NOT NULL,
    min_y DOUBLE NOT NULL,
    max_x DOUBLE NOT NULL,
    max_y DOUBLE NOT NULL,
    CONSTRAINT fk_gtms_table_name FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
    CONSTRAINT fk_gtms_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
";

const TILES: &str = "(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    zoom_level INTEGER NOT NULL,
    tile_column INTEGER NOT NULL,
    tile_row INTEGER NOT NULL,
    tile_data BLOB NOT NULL,
    UNIQUE (zoom_level, tile_column, tile_row))";

// White space as in MapProxy's files.
const WEB_MERCATOR: &str = "\n    PROJCS[\"WGS 84 / Pseudo-Mercator\",GEOGCS[\"WGS 84\",DATUM[\"WGS_1984\",SPHEROID[\"WGS 84\",6378137,298.257223563,    AUTHORITY[\"EPSG\",\"7030\"]],AUTHORITY[\"EPSG\",\"6326\"]],PRIMEM[\"Greenwich\",0,AUTHORITY[\"EPSG\",\"8901\"]],    UNIT[\"degree\",0.0174532925199433,AUTHORITY[\"EPSG\",\"9122\"]],AUTHORITY[\"EPSG\",\"4326\"]],    PROJECTION[\"Mercator_1SP\"],PARAMETER[\"central_meridian\",0],PARAMETER[\"scale_factor\",1],PARAMETER[\"false_easting\",0],    PARAMETER[\"false_northing\",0],UNIT[\"metre\",1,AUTHORITY[\"EPSG\",\"9001\"]],AXIS[\"X\",EAST],AXIS[\"Y\",NORTH],    AUTHORITY[\"EPSG\",\"3857\"]]";
const WGS_84: &str = "\n    GEOGCS[\"WGS 84\",DATUM[\"WGS_1984\",SPHEROID[\"WGS 84\",6378137,298.257223563,AUTHORITY[\"EPSG\",\"7030\"]],    AUTHORITY[\"EPSG\",\"6326\"]],PRIMEM[\"Greenwich\",0,AUTHORITY[\"EPSG\",\"8901\"]],UNIT[\"degree\",0.0174532925199433,    AUTHORITY[\"EPSG\",\"9122\"]],AUTHORITY[\"EPSG\",\"4326\"]]";

/// Those that every GeoPackage must have, and web mercator: name, number, organization, definition.
const KNOWN_SRS: [(&str, i64, &str, &str); 4] = [
    ("WGS 84 / Pseudo-Mercator", 3857, "epsg", WEB_MERCATOR),
    ("WGS 84", 4326, "epsg", WGS_84),
    (" ", -1, "NONE", "undefined"),
    (" ", 0, "NONE", "undefined"),
];

/// How far resolutions may be apart, as a part of them.
const SAME_RESOLUTION: f64 = 1e-9;

impl Schema for Package {
    fn create(&self, connection: &Connection) -> Result<(), Trouble> {
        let Package { table, matrices } = self;
        let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id == 0 {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        connection.execute_batch(TABLES)?;
        connection.execute(&format!("CREATE TABLE IF NOT EXISTS {} {TILES}", quoted(table)), [])?;
        let add_srs = "INSERT OR IGNORE INTO gpkg_spatial_ref_sys (srs_name, srs_id, organization, \
                       organization_coordsys_id, definition) VALUES (?1, ?2, ?3, ?2, ?4)";
        for (name, id, organization, definition) in KNOWN_SRS {
            connection.execute(add_srs, params![name, id, organization, definition])?;
        }
        connection.execute(add_srs, params!["Not provided", matrices.srs_id, "epsg", "Added via Mapproxy."])?;
        let Bbox { min_x, min_y, max_x, max_y } = matrices.contents;
        connection.execute(
            "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, last_change, min_x, \
             min_y, max_x, max_y, srs_id) VALUES (?1, 'tiles', ?1, 'Created with Mapproxy.', ?2, ?3, ?4, ?5, ?6, ?7)",
            params![table, now(), min_x, min_y, max_x, max_y, matrices.srs_id],
        )?;
        let Bbox { min_x, min_y, max_x, max_y } = matrices.bbox;
        connection.execute(
            "INSERT OR IGNORE INTO gpkg_tile_matrix_set (table_name, srs_id, min_x, min_y, max_x, max_y) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![table, matrices.srs_id, min_x, min_y, max_x, max_y],
        )?;
        let (width, height) = matrices.tile_size;
        for (level, (columns, rows, resolution)) in matrices.levels.iter().enumerate() {
            connection.execute(
                "INSERT OR IGNORE INTO gpkg_tile_matrix (table_name, zoom_level, matrix_width, matrix_height, \
                 tile_width, tile_height, pixel_x_size, pixel_y_size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                params![table, level as u32, columns, rows, width, height, resolution],
            )?;
        }
        Ok(())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn verify(&self, connection: &Connection) -> rusqlite::Result<Result<(), String>> {
        let Package { table, matrices } = self;
        let contents = connection
            .query_row("SELECT data_type, srs_id FROM gpkg_contents WHERE table_name = ?1", [table], |row| {
                Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<i64>>(1)?))
            })
            .optional()?;
        let Some((data_type, srs_id)) = contents else { return Ok(Ok(())) };
        if data_type.as_deref().is_none_or(|data_type| !data_type.eq_ignore_ascii_case("tiles")) {
            let holds = data_type.unwrap_or_default();
            return Ok(Err(format!(
                "table_name is improperly configured. The table {table} of this file holds {holds}, not tiles"
            )));
        }
        if srs_id.is_some_and(|id| id != i64::from(matrices.srs_id)) {
            return Ok(Err(format!(
                "srs is improperly configured. The table {table} of this file is in SRS {}, the grid in EPSG:{}",
                srs_id.unwrap_or_default(),
                matrices.srs_id
            )));
        }
        let mut rows = connection.prepare(
            "SELECT zoom_level, tile_width, tile_height, pixel_x_size, pixel_y_size FROM gpkg_tile_matrix \
             WHERE table_name = ?1 ORDER BY zoom_level",
        )?;
        let mut rows = rows.query([table])?;
        while let Some(row) = rows.next()? {
            let level: i64 = row.get(0)?;
            let size: (i64, i64) = (row.get(1)?, row.get(2)?);
            let resolution: (f64, f64) = (row.get(3)?, row.get(4)?);
            let Some((_, _, expected)) = usize::try_from(level).ok().and_then(|level| matrices.levels.get(level))
            else {
                continue;
            };
            let (width, height) = matrices.tile_size;
            if size != (i64::from(width), i64::from(height)) {
                return Ok(Err(format!(
                    "tile_size is improperly configured. The tiles of table {table} have {} x {} pixels, those of the \
                     grid {width} x {height}",
                    size.0, size.1
                )));
            }
            let is_same = |found: f64| (found - expected).abs() <= expected.abs() * SAME_RESOLUTION;
            if !is_same(resolution.0) || !is_same(resolution.1) {
                return Ok(Err(format!(
                    "res is improperly configured. Level {level} of table {table} has {} units per pixel, that of the \
                     grid {expected}",
                    resolution.0
                )));
            }
        }
        Ok(Ok(()))
    }
}

/// The time for a new row; that of `SOURCE_DATE_EPOCH` for those who want the same file each time.
fn now() -> String {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = match fixed {
        Some(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        None => None,
    };
    let now = Timestamp::try_from(now.unwrap_or_else(SystemTime::now)).unwrap_or(Timestamp::UNIX_EPOCH);
    now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
