//! What all stores in SQLite files do alike, and what each of them writes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Srs, TileCoord, TileGrid, TileGridBuilder};
use tempfile::TempDir;

use super::geopackage::{Geopackage, GeopackageFiles, TileMatrices};
use super::levels::Levels;
use super::mbtiles::Mbtiles;
use super::*;
use crate::Permissions;
use crate::store::conformance::{assert_that_tiles_stay_as_old_as_they_are, store_suite};

type Made = (SqliteStore, TempDir);

fn grid(srs: &str) -> TileGrid {
    TileGrid::builder("webmercator", Srs::new(srs).unwrap()).build().unwrap()
}

fn quick() -> FileOptions {
    FileOptions { timeout: Duration::from_millis(150), ..FileOptions::default() }
}

fn mbtiles_in(directory: &Path, options: FileOptions) -> SqliteStore {
    let metadata = vec![("name", "osm".to_owned()), ("format", "png".to_owned())];
    Mbtiles { file: directory.join("osm.mbtiles"), options, metadata }.open(&Arc::new(Pool::default()))
}

fn mbtiles(options: FileOptions) -> Made {
    let base = tempfile::tempdir().unwrap();
    (mbtiles_in(base.path(), options), base)
}

fn levels(options: FileOptions, ttl: Option<Duration>) -> Made {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("osm/webmercator");
    (Levels { directory, options, ttl }.open(&Arc::new(Pool::default())), base)
}

fn geopackage_in(directory: &Path, srs: &str, by_level: bool) -> SqliteStore {
    let files = match by_level {
        true => GeopackageFiles::Levels(directory.join("osm/webmercator")),
        false => GeopackageFiles::One(directory.join("osm.gpkg")),
    };
    let (matrices, options) = (TileMatrices::new(&grid(srs), None).unwrap(), FileOptions::default());
    Geopackage { files, table: "osm_webmercator".to_owned(), matrices, options }.open(&Arc::new(Pool::default()))
}

fn geopackage(by_level: bool) -> Made {
    let base = tempfile::tempdir().unwrap();
    (geopackage_in(base.path(), "EPSG:3857", by_level), base)
}

fn key(x: u32, y: u32, z: u8) -> TileKey {
    TileKey::new(TileCoord::new(x, y, z))
}

fn tile(text: &str) -> TileData {
    TileData::new(Bytes::copy_from_slice(text.as_bytes()))
}

fn loaded(store: &SqliteStore, key: &TileKey) -> Option<String> {
    let tile = store.load(key).unwrap()?;
    Some(String::from_utf8(tile.bytes.to_vec()).unwrap())
}

fn rows(file: &Path, sql: &str) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let values = (0..columns).map(|index| row.get::<_, rusqlite::types::Value>(index));
        let values: Vec<_> = values.collect::<rusqlite::Result<_>>()?;
        Ok(values.into_iter().map(shown).collect::<Vec<_>>().join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn shown(value: rusqlite::types::Value) -> String {
    use rusqlite::types::Value;
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => String::from_utf8(bytes).unwrap(),
    }
}

#[test]
fn each_of_them_is_a_store() {
    let log = FileOptions { wal: true, ..FileOptions::default() };
    store_suite(|| mbtiles(FileOptions::default()));
    store_suite(|| mbtiles(log));
    store_suite(|| levels(FileOptions::default(), None));
    store_suite(|| levels(log, Some(Duration::from_secs(3600))));
    store_suite(|| geopackage(false));
    store_suite(|| geopackage(true));
}

#[test]
fn tiles_of_levels_stay_as_old_as_they_are() {
    assert_that_tiles_stay_as_old_as_they_are(&levels(FileOptions::default(), None).0);
}

#[test]
fn lock_files_have_mapproxys_names() {
    let at = |name: &str| Path::new("/caches").join(name);
    let pool = Arc::new(Pool::default());
    let matrices = TileMatrices::new(&grid("EPSG:3857"), None).unwrap();
    let options = FileOptions::default();
    let md5 = |text: &str| crate::lock::lock_id("", text);
    let one = Mbtiles { file: at("osm.mbtiles"), options, metadata: Vec::new() }.open(&pool);
    assert_eq!(one.lock_id(), format!("mbtiles-{}", md5("/caches/osm.mbtiles")));
    let levels = Levels { directory: at("osm/grid"), options, ttl: None }.open(&pool);
    assert_eq!(levels.lock_id(), format!("sqlite-{}", md5("/caches/osm/grid")));
    let package = |files| Geopackage { files, table: "t".to_owned(), matrices: matrices.clone(), options }.open(&pool);
    assert_eq!(package(GeopackageFiles::One(at("osm.gpkg"))).lock_id(), format!("gpkg{}", md5("/caches/osm.gpkg")));
    assert_eq!(package(GeopackageFiles::Levels(at("osm/grid"))).lock_id(), format!("gpkg-{}", md5("/caches/osm/grid")));
}

#[test]
fn the_tables_of_mbtiles_are_mapproxys_to_the_last_space() {
    let (store, base) = mbtiles(FileOptions::default());
    store.create().unwrap();
    let found = rows(&base.path().join("osm.mbtiles"), "SELECT sql FROM sqlite_schema");
    let expected = [
        "CREATE TABLE tiles (\n                    zoom_level integer,\n                    tile_column integer,\n                    \
         tile_row integer,\n                    tile_data blob\n            \n                )",
        "CREATE TABLE metadata (name text, value text)",
        "CREATE UNIQUE INDEX idx_tile on tiles\n                    (zoom_level, tile_column, tile_row)",
    ];
    assert_eq!(found, expected);
    assert_eq!(rows(&base.path().join("osm.mbtiles"), "SELECT * FROM metadata"), ["name|osm", "format|png"]);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1, "no lock file is left");
}

#[test]
fn files_of_levels_have_a_time_and_no_metadata() {
    let (store, base) = levels(FileOptions::default(), None);
    store.store(&key(0, 0, 0), &tile("world")).unwrap();
    store.store(&key(1, 2, 3), &tile("tile")).unwrap();
    let file = base.path().join("osm/webmercator/3.mbtiles");
    let sql = &rows(&file, "SELECT sql FROM sqlite_schema WHERE name = 'tiles'")[0];
    assert!(
        sql.ends_with(
            "tile_data blob\n            \n                    , last_modified datetime DEFAULT \
             (datetime('now','localtime'))\n                \n                )"
        ),
        "{sql}"
    );
    let apart = "SELECT zoom_level, tile_column, tile_row, tile_data, \
                 abs(julianday(last_modified) - julianday('now', 'localtime')) < 1e-4 FROM tiles";
    assert_eq!(rows(&file, apart), ["3|1|2|tile|1"]);
    assert_eq!(loaded(&store, &key(0, 0, 0)).unwrap(), "world");
    let many = store.load_many(&[key(1, 2, 3), key(0, 0, 0), key(2, 2, 3)]).unwrap();
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn rows_are_those_of_the_grid() {
    let (store, base) = mbtiles(FileOptions::default());
    store.store(&key(1, 0, 2), &tile("tile")).unwrap();
    assert_eq!(rows(&base.path().join("osm.mbtiles"), "SELECT * FROM tiles"), ["2|1|0|tile"]);
}

#[test]
fn many_more_tiles_than_a_statement_has_variables_are_loaded_and_removed() {
    let (store, _base) = levels(FileOptions::default(), None);
    let tiles: Vec<_> = (0..4500).map(|x| (key(x, 1, 13), tile("tile"))).collect();
    store.store_many(&tiles).unwrap();
    let keys: Vec<_> = tiles.iter().map(|(key, _)| key.clone()).collect();
    assert!(store.load_many(&keys).unwrap().iter().all(Option::is_some));
    store.remove_level(13, Some(SystemTime::now() + Duration::from_secs(60))).unwrap();
    assert!(store.load_many(&keys).unwrap().iter().all(Option::is_none));
}

#[test]
fn tiles_older_than_their_ttl_are_not_seen() {
    let (store, base) = levels(FileOptions::default(), Some(Duration::from_secs(100)));
    store.store_many(&[(key(0, 0, 1), tile("old")), (key(1, 0, 1), tile("young"))]).unwrap();
    let file = Connection::open(base.path().join("osm/webmercator/1.mbtiles")).unwrap();
    file.execute(
        "UPDATE tiles SET last_modified = datetime('now', 'localtime', '-200 seconds') WHERE tile_column = 0",
        [],
    )
    .unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)), None);
    assert_eq!(store.metadata(&key(0, 0, 1)).unwrap(), None);
    assert!(matches!(store.load_at_once(&key(0, 0, 1)).unwrap(), AtOnce::Known(None)));
    assert_eq!(store.load_many(&[key(0, 0, 1), key(1, 0, 1)]).unwrap().iter().flatten().count(), 1);
    assert_eq!(loaded(&store, &key(1, 0, 1)).unwrap(), "young");
}

#[test]
fn a_file_locked_by_another_costs_a_store_its_timeout_and_nothing_else() {
    let (store, base) = mbtiles(quick());
    store.store(&key(0, 0, 1), &tile("before")).unwrap();
    let other = Connection::open(base.path().join("osm.mbtiles")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    let message = store.store(&key(1, 0, 1), &tile("lost")).unwrap_err().to_string();
    assert!(begun.elapsed() >= Duration::from_millis(150), "it was tried long enough");
    assert!(message.contains("osm.mbtiles") && message.contains("sqlite_timeout"), "{message}");
    assert!(matches!(store.load_at_once(&key(0, 0, 1)).unwrap(), AtOnce::Unknown), "nobody waits on an event loop");
    assert!(store.load(&key(0, 0, 1)).is_err(), "locked is not missing");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)).unwrap(), "before");
    store.store(&key(1, 0, 1), &tile("kept")).unwrap();
    assert_eq!(loaded(&store, &key(1, 0, 1)).unwrap(), "kept");
}

#[test]
fn a_lock_given_up_in_time_is_waited_for() {
    let (store, base) = mbtiles(FileOptions::default());
    store.create().unwrap();
    let other = Connection::open(base.path().join("osm.mbtiles")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|x| (x, &store))
            .map(|(x, store)| scope.spawn(move || store.store(&key(x, 0, 2), &tile("kept"))))
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        other.execute_batch("COMMIT").unwrap();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert_eq!(rows(&base.path().join("osm.mbtiles"), "SELECT count(*) FROM tiles"), ["4"]);
}

#[test]
fn several_stores_write_one_file_as_several_processes_would() {
    for wal in [false, true] {
        let base = tempfile::tempdir().unwrap();
        let options = FileOptions { wal, ..FileOptions::default() };
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let store = mbtiles_in(base.path(), options);
                scope.spawn(move || {
                    for x in 0..20 {
                        store.store(&key(x, writer, 9), &tile("tile")).unwrap();
                        assert!(store.load(&key(x, writer, 9)).unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(rows(&base.path().join("osm.mbtiles"), "SELECT count(*) FROM tiles"), ["60"]);
    }
}

#[test]
fn a_file_that_is_removed_is_made_anew_and_one_put_in_its_place_is_read() {
    let (store, base) = mbtiles(FileOptions::default());
    let file = base.path().join("osm.mbtiles");
    store.store(&key(0, 0, 1), &tile("first")).unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)).unwrap(), "first");
    fs::remove_file(&file).unwrap();
    store.store(&key(1, 0, 1), &tile("second")).unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)), None, "the removed file is not read any more");
    assert_eq!(loaded(&store, &key(1, 0, 1)).unwrap(), "second");

    let (other, elsewhere) = mbtiles(FileOptions::default());
    other.store(&key(1, 0, 1), &tile("third")).unwrap();
    drop(other);
    fs::rename(elsewhere.path().join("osm.mbtiles"), &file).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(loaded(&store, &key(1, 0, 1)).unwrap(), "third");
    fs::remove_file(&file).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(loaded(&store, &key(1, 0, 1)), None);
}

#[test]
fn what_is_no_database_has_no_tiles_and_is_left_as_it_is() {
    let (store, base) = mbtiles(quick());
    let file = base.path().join("osm.mbtiles");
    fs::write(&file, "this is the diary of somebody").unwrap();
    store.create().unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)), None);
    assert!(store.load_many(&[key(0, 0, 1), key(1, 0, 1)]).unwrap().iter().all(Option::is_none));
    let message = store.store(&key(0, 0, 1), &tile("tile")).unwrap_err().to_string();
    assert!(message.contains("osm.mbtiles") && message.contains("move it away"), "{message}");
    assert!(store.remove_level(1, None).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "this is the diary of somebody");
}

#[test]
fn a_database_cut_off_anywhere_loses_tiles_but_neither_lies_nor_panics() {
    let (store, base) = mbtiles(quick());
    let tiles: Vec<_> = (0..40).map(|x| (key(x, 0, 9), tile(&format!("{x:05}").repeat(2000)))).collect();
    store.store_many(&tiles).unwrap();
    drop(store);
    let whole = fs::read(base.path().join("osm.mbtiles")).unwrap();
    let mut missing = 0;
    for length in (0..whole.len()).step_by(9973) {
        let cut = tempfile::tempdir().unwrap();
        fs::write(cut.path().join("osm.mbtiles"), &whole[..length]).unwrap();
        let store = mbtiles_in(cut.path(), quick());
        for (key, tile) in &tiles {
            match store.load(key).unwrap() {
                Some(found) => assert_eq!(found.bytes, tile.bytes, "cut at {length}"),
                None => missing += 1,
            }
        }
    }
    assert!(missing > 0);
}

#[test]
fn pages_written_over_with_rubbish_never_panic() {
    let (store, base) = mbtiles(quick());
    let tiles: Vec<_> = (0..40).map(|x| (key(x, 0, 9), tile(&format!("{x:05}").repeat(500)))).collect();
    store.store_many(&tiles).unwrap();
    drop(store);
    let whole = fs::read(base.path().join("osm.mbtiles")).unwrap();
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        for (index, byte) in
            bytes[page * 4096..(page + 1) * 4096].iter_mut().enumerate().skip(if page == 0 { 100 } else { 0 })
        {
            *byte = (index * 37 % 251) as u8;
        }
        let damaged = tempfile::tempdir().unwrap();
        fs::write(damaged.path().join("osm.mbtiles"), &bytes).unwrap();
        let store = mbtiles_in(damaged.path(), quick());
        for (key, _) in &tiles {
            store.load(key).map(drop).unwrap();
        }
    }
}

#[test]
fn what_an_interrupted_writer_left_is_undone() {
    let (store, base) = mbtiles(FileOptions::default());
    store.store(&key(0, 0, 1), &tile("before")).unwrap();
    drop(store);
    let file = base.path().join("osm.mbtiles");
    let writer = Connection::open(&file).unwrap();
    writer.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN").unwrap();
    writer.execute("UPDATE tiles SET tile_data = zeroblob(2000000)", []).unwrap();
    let after_crash = tempfile::tempdir().unwrap();
    for name in ["osm.mbtiles", "osm.mbtiles-journal"] {
        fs::copy(base.path().join(name), after_crash.path().join(name)).unwrap();
    }
    assert!(
        fs::metadata(after_crash.path().join("osm.mbtiles")).unwrap().len() > 1_000_000,
        "half a transaction is there"
    );
    let store = mbtiles_in(after_crash.path(), FileOptions::default());
    assert!(matches!(store.load_at_once(&key(0, 0, 1)).unwrap(), AtOnce::Unknown), "tidying up may take long");
    assert_eq!(loaded(&store, &key(0, 0, 1)).unwrap(), "before");
}

#[test]
fn new_files_get_a_log_and_modes_as_configured() {
    let permissions = Permissions { directory: Some(0o751), file: Some(0o640) };
    let (store, base) = levels(FileOptions { wal: true, permissions, ..FileOptions::default() }, None);
    store.store(&key(0, 0, 1), &tile("tile")).unwrap();
    let mode = |path: &str| fs::metadata(base.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("osm"), 0o751);
    assert_eq!(mode("osm/webmercator"), 0o751);
    assert_eq!(mode("osm/webmercator/1.mbtiles"), 0o640);
    assert_eq!(mode("osm/webmercator/1.mbtiles-wal"), 0o640);
    assert_eq!(rows(&base.path().join("osm/webmercator/1.mbtiles"), "PRAGMA journal_mode"), ["wal"]);
}

#[test]
fn a_level_is_removed_with_its_file_and_log() {
    let (store, base) = levels(FileOptions { wal: true, ..FileOptions::default() }, None);
    let dated = TileKey { dimensions: [("time".to_owned(), "2020".to_owned())].into(), ..key(0, 0, 1) };
    for key in [&key(0, 0, 1), &key(0, 0, 2), &dated] {
        store.store(key, &tile("tile")).unwrap();
    }
    let directory = base.path().join("osm/webmercator");
    assert!(directory.join("time-2020/1.mbtiles").exists());
    store.remove_level(1, None).unwrap();
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["2.mbtiles", "2.mbtiles-shm", "2.mbtiles-wal", "time-2020"]);
    assert_eq!(fs::read_dir(directory.join("time-2020")).unwrap().count(), 0);
    assert_eq!((loaded(&store, &key(0, 0, 1)), loaded(&store, &dated)), (None, None));
    assert!(loaded(&store, &key(0, 0, 2)).is_some());
}

#[test]
fn tiles_with_dimensions_have_files_beside() {
    let (store, base) = mbtiles(FileOptions::default());
    let dimensions = [("elevation".to_owned(), "3000".to_owned()), ("time".to_owned(), "2012".to_owned())];
    let dated = TileKey { dimensions: dimensions.into(), ..key(0, 0, 1) };
    store.store(&dated, &tile("tile")).unwrap();
    assert!(base.path().join("osm.dimensions/elevation-3000/time-2012/osm.mbtiles").exists());
    store.remove_level(1, None).unwrap();
    assert_eq!(loaded(&store, &dated), None);
}

#[test]
fn however_many_files_are_read_few_stay_open() {
    let base = tempfile::tempdir().unwrap();
    let pool = Arc::new(Pool::new(8));
    let stores: Vec<_> = (0..40)
        .map(|number| {
            let file = base.path().join(format!("{number}.mbtiles"));
            Mbtiles { file, options: FileOptions::default(), metadata: Vec::new() }.open(&pool)
        })
        .collect();
    for store in &stores {
        store.store(&key(0, 0, 0), &tile("tile")).unwrap();
    }
    for _ in 0..2 {
        for store in &stores {
            assert!(loaded(store, &key(0, 0, 0)).is_some());
        }
    }
    let below = fs::canonicalize(base.path()).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let open = open.filter(|file| file.starts_with(&below)).count();
    assert!((1..=8).contains(&open), "{open} files are open");
}

#[test]
fn two_stores_of_one_pool_share_a_file() {
    let base = tempfile::tempdir().unwrap();
    let pool = Arc::new(Pool::default());
    let open = |table: &str| {
        let files = GeopackageFiles::One(base.path().join("osm.gpkg"));
        let matrices = TileMatrices::new(&grid("EPSG:3857"), None).unwrap();
        Geopackage { files, table: table.to_owned(), matrices, options: quick() }.open(&pool)
    };
    let (first, second) = (open("first"), open("second"));
    first.create().unwrap();
    second.create().unwrap();
    first.store(&key(0, 0, 1), &tile("1")).unwrap();
    second.store(&key(0, 0, 1), &tile("2")).unwrap();
    assert_eq!(
        (loaded(&first, &key(0, 0, 1)).unwrap(), loaded(&second, &key(0, 0, 1)).unwrap()),
        ("1".into(), "2".into())
    );
    assert_eq!(rows(&base.path().join("osm.gpkg"), "SELECT table_name FROM gpkg_contents"), ["first", "second"]);
}

#[test]
fn a_geopackage_says_what_it_holds() {
    let base = tempfile::tempdir().unwrap();
    let matrices = TileMatrices::new(&grid("EPSG:900913"), Some(Bbox::new(0.0, 0.0, 10.0, 20.0))).unwrap();
    let file = base.path().join("osm.gpkg");
    let files = GeopackageFiles::One(file.clone());
    let store =
        Geopackage { files, table: "osm-1".to_owned(), matrices, options: quick() }.open(&Arc::new(Pool::default()));
    store.create().unwrap();
    assert_eq!(rows(&file, "PRAGMA application_id"), ["1196437808"]);
    assert_eq!(
        rows(
            &file,
            "SELECT table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents"
        ),
        ["osm-1|tiles|osm-1|Created with Mapproxy.|0|0|10|20|900913"]
    );
    assert_eq!(
        rows(&file, "SELECT * FROM gpkg_tile_matrix_set"),
        ["osm-1|900913|-20037508.342789244|-20037508.342789244|20037508.342789244|20037508.342789244"]
    );
    assert_eq!(
        rows(
            &file,
            "SELECT srs_id, srs_name, organization, organization_coordsys_id, description FROM gpkg_spatial_ref_sys"
        ),
        [
            "-1| |NONE|-1|NULL",
            "0| |NONE|0|NULL",
            "3857|WGS 84 / Pseudo-Mercator|epsg|3857|NULL",
            "4326|WGS 84|epsg|4326|NULL",
            "900913|Not provided|epsg|900913|NULL"
        ]
    );
    let matrices = rows(&file, "SELECT * FROM gpkg_tile_matrix");
    assert_eq!(matrices.len(), 20);
    assert_eq!(matrices[0], "osm-1|0|1|1|256|256|156543.03392804097|156543.03392804097");
    assert_eq!(rows(&file, "SELECT count(*) FROM \"osm-1\""), ["0"]);
}

#[test]
fn a_geopackage_for_other_tiles_is_refused_in_mapproxys_words() {
    let changes = [
        ("UPDATE gpkg_contents SET data_type = 'features'", "table_name is improperly configured."),
        ("UPDATE gpkg_contents SET srs_id = 4326", "srs is improperly configured."),
        ("UPDATE gpkg_tile_matrix SET tile_width = 512", "tile_size is improperly configured."),
        ("UPDATE gpkg_tile_matrix SET pixel_x_size = pixel_x_size * 1.00001", "res is improperly configured."),
    ];
    for (change, expected) in changes {
        for by_level in [false, true] {
            let (store, base) = geopackage(by_level);
            store.store(&key(0, 0, 0), &tile("tile")).unwrap();
            drop(store);
            let file = base.path().join(if by_level { "osm/webmercator/0.gpkg" } else { "osm.gpkg" });
            Connection::open(&file).unwrap().execute(change, []).unwrap();
            let store = geopackage_in(base.path(), "EPSG:3857", by_level);
            let message = store.load(&key(0, 0, 0)).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains(".gpkg"), "{message}");
            assert!(store.store(&key(0, 0, 0), &tile("other")).unwrap_err().to_string().contains(expected));
            assert!(by_level || store.create().is_err());
        }
    }
}

#[test]
fn rows_that_a_geopackage_lacks_are_added() {
    let (store, base) = geopackage(false);
    store.create().unwrap();
    drop(store);
    let file = base.path().join("osm.gpkg");
    let whole = |file: &Path| {
        (rows(file, "SELECT table_name FROM gpkg_contents"), rows(file, "SELECT srs_id FROM gpkg_spatial_ref_sys"))
    };
    let before = whole(&file);
    Connection::open(&file)
        .unwrap()
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM gpkg_contents; DELETE FROM gpkg_spatial_ref_sys WHERE srs_id IN (0, 3857)")
        .unwrap();
    let store = geopackage_in(base.path(), "EPSG:3857", false);
    store.store(&key(0, 0, 0), &tile("tile")).unwrap();
    assert_eq!(whole(&file), before);
    assert_eq!(loaded(&store, &key(0, 0, 0)).unwrap(), "tile");
}

#[test]
fn an_srs_without_a_number_cannot_be_in_a_geopackage() {
    let id = |srs: &str| {
        let grid = TileGridBuilder {
            bbox: Some(Bbox::new(0.0, 0.0, 10.0, 10.0)),
            ..TileGrid::builder("grid", Srs::new(srs).unwrap())
        }
        .build();
        TileMatrices::new(&grid.unwrap(), None).map(|matrices| matrices.srs_id)
    };
    assert_eq!(id("EPSG:25832"), Ok(25832));
    assert_eq!(id("OGC:CRS84"), Ok(4326));
    assert!(id("IAU_2015:30100").unwrap_err().contains("EPSG number"));
}

#[test]
fn tiles_that_are_no_blobs_or_empty_are_missing() {
    let (store, base) = mbtiles(FileOptions::default());
    store.create().unwrap();
    let file = Connection::open(base.path().join("osm.mbtiles")).unwrap();
    file.execute_batch("INSERT INTO tiles VALUES (1, 0, 0, NULL), (1, 0, 1, x''), (1, 1, 0, 12), (1, 1, 1, 'text')")
        .unwrap();
    for (x, y) in [(0, 0), (0, 1), (1, 0)] {
        assert_eq!(loaded(&store, &key(x, y, 1)), None);
    }
    assert_eq!(loaded(&store, &key(1, 1, 1)).unwrap(), "text");
}

#[test]
fn databases_of_others_are_read_through_views() {
    let (store, base) = mbtiles(quick());
    let file = Connection::open(base.path().join("osm.mbtiles")).unwrap();
    file.execute_batch(
        "CREATE TABLE map (zoom_level, tile_column, tile_row, tile_id); CREATE TABLE images (tile_id, tile_data); \
         CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data FROM map JOIN images USING (tile_id); \
         INSERT INTO map VALUES (1, 0, 0, 'a'); INSERT INTO images VALUES ('a', x'7469')",
    )
    .unwrap();
    assert_eq!(loaded(&store, &key(0, 0, 1)).unwrap(), "ti");
    let message = store.store(&key(0, 0, 1), &tile("other")).unwrap_err().to_string();
    assert!(message.contains("view"), "{message}");
}

#[test]
fn a_directory_in_place_of_a_file_is_an_error_that_names_it() {
    let (store, base) = mbtiles(quick());
    fs::create_dir(base.path().join("osm.mbtiles")).unwrap();
    for result in [store.load(&key(0, 0, 1)).map(drop), store.store(&key(0, 0, 1), &tile("tile"))] {
        assert!(result.unwrap_err().to_string().contains("osm.mbtiles"));
    }
}

#[test]
fn a_database_that_cannot_be_written_is_read_without_files_beside() {
    // A file with a log that cannot be used. Root may write anywhere, so a directory in place of the log's index stands
    // for the missing permission.
    let (store, base) = mbtiles(FileOptions { wal: true, ..quick() });
    store.store(&key(0, 0, 1), &tile("tile")).unwrap();
    drop(store);
    let file = base.path().join("osm.mbtiles");
    assert!(!base.path().join("osm.mbtiles-wal").exists(), "the last to close it empties the log");
    let inode = fs::metadata(&file).unwrap().ino();
    fs::create_dir(base.path().join("osm.mbtiles-shm")).unwrap();
    let store = mbtiles_in(base.path(), quick());
    assert_eq!(loaded(&store, &key(0, 0, 1)).unwrap(), "tile");
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn files_are_written_anew_without_what_holds_nothing() {
    let wal = FileOptions { wal: true, ..FileOptions::default() };
    for (store, base) in
        [mbtiles(FileOptions::default()), mbtiles(wal), levels(FileOptions::default(), None), geopackage(false)]
    {
        let body = "a tile ".repeat(3000);
        for x in 0..64 {
            store.store(&key(x, 1, 7), &tile(&body)).unwrap();
        }
        let gone: Vec<TileKey> = (0..60).map(|x| key(x, 1, 7)).collect();
        store.remove_many(&gone).unwrap();
        let defragment = |wanted: Defragment| {
            let mut told = Vec::new();
            assert!(store.defragment(wanted, &mut |file| told.push((file.unused, file.anew.clone()))).unwrap());
            told
        };
        let all = Defragment { min_percent: 10.0, min_bytes: 1, dry_run: false };
        let [((unused, size), Ok(true))] = defragment(Defragment { dry_run: true, ..all })[..] else {
            panic!("a file")
        };
        assert!(unused > 60 * 20_000 && size > unused, "{unused} of {size}");
        assert!(matches!(defragment(Defragment { min_bytes: 1 << 30, ..all })[..], [(_, Ok(false))]));
        assert!(matches!(defragment(all)[..], [(_, Ok(true))]));
        assert!(matches!(defragment(all)[..], [((0, left), Ok(false))] if left < size / 4));
        assert_eq!(loaded(&store, &key(62, 1, 7)), Some(body.clone()), "readers that were open go on");
        store.store(&key(1, 1, 7), &tile("new")).unwrap();
        assert_eq!(loaded(&store, &key(1, 1, 7)).as_deref(), Some("new"));
        drop(base);
    }
}
