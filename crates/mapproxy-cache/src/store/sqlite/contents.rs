//! What tables of tiles a GeoPackage has, for those who make a configuration of it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// A table of tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct TileTable {
    /// Its name.
    pub name: String,
    /// What it is called for people, where that is something else.
    pub title: Option<String>,
    /// EPSG code.
    pub srs_id: u32,
    /// Min x, min y, max x, max y of the tile matrix set.
    pub bbox: [f64; 4],
    /// Pixels of a tile.
    pub tile_size: [u32; 2],
    /// Levels with their resolutions, the coarsest first.
    pub levels: Vec<(u8, f64)>,
}

/// More tables or levels than anybody has.
const MOST: usize = 1000;

/// The tables of the file that have tiles in an EPSG system, by name. Nothing is written.
pub fn tile_tables(path: &Path) -> Result<Vec<TileTable>, StoreError> {
    read(path).map_err(|error| StoreError {
        action: "read",
        what: path.display().to_string(),
        reason: format!("{error}: it is no GeoPackage, or damaged"),
    })
}

fn read(path: &Path) -> rusqlite::Result<Vec<TileTable>> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut tables = connection.prepare(
        "SELECT c.table_name, c.identifier, s.srs_id, s.min_x, s.min_y, s.max_x, s.max_y FROM gpkg_contents c \
         JOIN gpkg_tile_matrix_set s ON s.table_name = c.table_name \
         WHERE lower(c.data_type) = 'tiles' AND s.srs_id > 0 ORDER BY c.table_name LIMIT ?1",
    )?;
    let tables = tables.query_map([MOST], |row| {
        let name: String = row.get(0)?;
        let title = row.get::<_, Option<String>>(1)?.filter(|title| *title != name && !title.trim().is_empty());
        let bbox = [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
        Ok(TileTable { name, title, srs_id: row.get(2)?, bbox, tile_size: [0, 0], levels: Vec::new() })
    })?;
    let mut found = Vec::new();
    let mut levels = connection.prepare(
        "SELECT zoom_level, tile_width, tile_height, pixel_x_size FROM gpkg_tile_matrix WHERE table_name = ?1 \
         AND pixel_x_size > 0 ORDER BY zoom_level LIMIT ?2",
    )?;
    for table in tables {
        let mut table = table?;
        let mut rows = levels.query(rusqlite::params![table.name, MOST])?;
        while let Some(row) = rows.next()? {
            table.tile_size = [row.get(1)?, row.get(2)?];
            table.levels.push((row.get(0)?, row.get(3)?));
        }
        found.push(table);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_tiles_are_found_with_their_levels() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.gpkg");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE gpkg_contents (table_name, data_type, identifier);
                 CREATE TABLE gpkg_tile_matrix_set (table_name, srs_id, min_x, min_y, max_x, max_y);
                 CREATE TABLE gpkg_tile_matrix (table_name, zoom_level, tile_width, tile_height, pixel_x_size);
                 INSERT INTO gpkg_contents VALUES ('t', 'tiles', 'Title'), ('f', 'features', 'f'), ('u', 'Tiles', 'u');
                 INSERT INTO gpkg_tile_matrix_set VALUES ('t', 3857, -1.0, -2, 3, 4.5), ('u', -1, 0, 0, 1, 1);
                 INSERT INTO gpkg_tile_matrix VALUES ('t', 1, 256, 512, 0.5), ('t', 0, 256, 512, 1.0);",
            )
            .unwrap();
        let wanted = TileTable {
            name: "t".to_owned(),
            title: Some("Title".to_owned()),
            srs_id: 3857,
            bbox: [-1.0, -2.0, 3.0, 4.5],
            tile_size: [256, 512],
            levels: vec![(0, 1.0), (1, 0.5)],
        };
        assert_eq!(tile_tables(&path).unwrap(), [wanted]);
        connection.execute("UPDATE gpkg_tile_matrix SET zoom_level = 'x'", []).unwrap();
        assert!(tile_tables(&path).is_err());
        std::fs::write(directory.path().join("b.gpkg"), "POLYGON").unwrap();
        let error = tile_tables(&directory.path().join("b.gpkg")).unwrap_err();
        assert!(error.to_string().contains("no GeoPackage"), "{error}");
        assert!(tile_tables(&directory.path().join("none.gpkg")).is_err());
    }
}
