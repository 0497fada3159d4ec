//! The same polygons in each format, as GDAL writes them.

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The GeoPackage is made here: as a file it would be a hundred kilobytes.
fn geopackage(directory: &Path) -> PathBuf {
    let path = directory.join("areas 100%.gpkg");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT);
             CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT);
             INSERT INTO gpkg_contents VALUES ('notes', 'attributes'), ('my \"areas\"', 'features'), ('others', 'features');
             INSERT INTO gpkg_geometry_columns VALUES ('others', 'shape'), ('My \"Areas\"', 'geom');
             CREATE TABLE \"my \"\"areas\"\"\" (fid INTEGER PRIMARY KEY, geom BLOB, kind TEXT, n REAL, name TEXT);
             CREATE TABLE others (shape BLOB);",
        )
        .unwrap();
    let Found::Polygons { polygons, .. } =
        read(Datasource::File(&fixture("areas.shp"), Format::Shapefile), None).unwrap()
    else {
        panic!()
    };
    let blob = |polygons: &[Vec<Vec<(f64, f64)>>]| {
        let mut blob = b"GP\0\x03\0\0\0\0".to_vec();
        blob.extend([0; 32]);
        blob.extend([1, 6, 0, 0, 0]);
        blob.extend((polygons.len() as u32).to_le_bytes());
        for polygon in polygons {
            blob.extend([1, 3, 0, 0, 0]);
            blob.extend((polygon.len() as u32).to_le_bytes());
            for ring in polygon {
                blob.extend((ring.len() as u32).to_le_bytes());
                ring.iter().for_each(|(x, y)| blob.extend([x.to_le_bytes(), y.to_le_bytes()].concat()));
            }
        }
        blob
    };
    let rows = [
        (&polygons[..1], "land", 1.0, Some("Österreich")),
        (&polygons[1..2], "sea", 2.0, None),
        (&polygons[2..], "Land", 3.5, Some("it's")),
    ];
    for (polygons, kind, n, name) in rows {
        let insert = "INSERT INTO \"my \"\"areas\"\"\" (geom, kind, n, name) VALUES (?, ?, ?, ?)";
        database.execute(insert, rusqlite::params![blob(polygons), kind, n, name]).unwrap();
    }
    path
}

/// The west edges of what was found.
fn wests(found: Found) -> Vec<i32> {
    let west = |ring: &Vec<(f64, f64)>| ring.iter().map(|(x, _)| *x as i32).min().unwrap();
    let mut wests: Vec<i32> = match found {
        Found::Polygons { polygons, .. } => polygons.iter().map(|polygon| west(&polygon[0])).collect(),
        // Each polygon of the fixture begins with its corner in the south west.
        Found::GeoJson(text) => {
            let starts = text.split("[[[").filter(|part| !part.contains("type")).count();
            assert!(starts <= 4);
            let corner = |part: &str| -> Option<i32> { part.trim_start_matches('[').split(',').next()?.parse().ok() };
            [0, 20, 40, 60]
                .into_iter()
                .filter(|west: &i32| text.match_indices("[[").any(|(at, _)| corner(&text[at..]) == Some(*west)))
                .collect()
        }
    };
    wests.sort_unstable();
    wests
}

#[test]
fn each_format_has_the_same_polygons_and_conditions_choose_among_them() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        (fixture("areas.shp"), Format::Shapefile),
        (fixture("areas.fgb"), Format::FlatGeobuf),
        (fixture("areas.geojson"), Format::GeoJson),
        (geopackage(directory.path()), Format::GeoPackage),
    ];
    for (path, format) in &files {
        for (condition, expected) in [
            (None, &[0, 20, 40, 60][..]),
            (Some("kind = 'sea'"), &[20]),
            (Some("n > 1.5 AND NOT kind = 'sea'"), &[40, 60]),
            (Some("name IS NULL OR \"n\" = 1"), &[0, 20]),
            (Some("name = 'Österreich'"), &[0]),
            (Some("name = 'it''s'"), &[40, 60]),
            (Some("kind IN ('none', 'nothing')"), &[]),
        ] {
            let found = read(Datasource::File(path, *format), condition);
            assert_eq!(wests(found.unwrap()), expected, "{format:?} {condition:?}");
        }
        let error = read(Datasource::File(path, *format), Some("colour = 1")).unwrap_err().to_string();
        assert!(error.starts_with("the condition `colour = 1` does not work: ") && error.contains("no"), "{error}");
    }
    let (path, _) = &files[3];
    let geopackage = |query| read(Datasource::File(path, Format::GeoPackage), Some(query));
    assert_eq!(wests(geopackage("kind LIKE 'LAN%' -- any case").unwrap()), [0, 40, 60]);
    assert_eq!(wests(geopackage("SELECT n, geom FROM \"my \"\"areas\"\"\" WHERE fid = 2").unwrap()), [20]);
    assert!(geopackage("select n from \"my \"\"areas\"\"\"").unwrap_err().to_string().contains("none of its columns"));
    assert!(geopackage("kind = 'a') OR (").is_err());
}

#[test]
fn deleted_and_shortened_features_are_noticed() {
    let file = std::fs::read(fixture("areas.fgb")).unwrap();
    for length in 0..file.len() {
        let found = flatgeobuf::parse(Path::new("a.fgb"), &file[..length], None);
        assert!(found.is_err(), "{length} of {} bytes", file.len());
    }
    let shapes = std::fs::read(fixture("areas.shp")).unwrap();
    let mut table = std::fs::read(fixture("areas.dbf")).unwrap();
    let start = usize::from(u16::from_le_bytes([table[8], table[9]]));
    table[start] = b'*';
    let path = Path::new("a.shp");
    let found = shapefile::parse(path, &shapes, None, Some((path, &table, None)), None).unwrap();
    assert_eq!(wests(found), [20, 40, 60]);
}

#[test]
fn files_that_are_not_there_are_named() {
    for format in [Format::Shapefile, Format::FlatGeobuf, Format::GeoJson, Format::GeoPackage] {
        let error = read(Datasource::File(Path::new("nowhere/a.b"), format), None).unwrap_err().to_string();
        assert!(error.contains("nowhere/a.b"), "{error}");
    }
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn files_with_wrong_bytes_do_not_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            which in 0..2_usize,
        ) {
            let (format, name) = [(Format::Shapefile, "areas.shp"), (Format::FlatGeobuf, "areas.fgb")][which];
            let mut file = std::fs::read(fixture(name)).unwrap();
            let mut table = std::fs::read(fixture("areas.dbf")).unwrap();
            for (place, byte) in changes {
                let length = file.len();
                file[place.index(length)] = byte;
                let length = table.len();
                table[place.index(length)] = byte;
            }
            let _ = parse(format, &file, &table, Some("kind = 'a' AND n > 1"));
            let _ = parse(format, &file, &table, None);
        }
    }
}
