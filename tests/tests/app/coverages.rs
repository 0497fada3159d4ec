//! Areas out of files, in whole applications.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use mapproxy_core::{AppBuilder, Application};

const AREAS: &str = "../crates/mapproxy-polygons/fixtures/areas";

/// A cache whose source has this coverage.
fn config(coverage: &str) -> String {
    format!(
        "services: {{tms: {{}}}}\nlayers: [{{name: l, title: L, sources: [c]}}]\n\
         caches: {{c: {{grids: [GLOBAL_WEBMERCATOR], sources: [s]}}}}\nsources: {{s: {{type: debug, coverage: {coverage}}}}}\n"
    )
}

/// The bounds that the layer says it has, and what else there is to say.
fn bounds(folder: &Path, coverage: &str) -> (Vec<f64>, String) {
    let built = AppBuilder::from_text(config(coverage), folder).build();
    let built = built.unwrap_or_else(|error| panic!("{coverage}: {error}"));
    let answer = built.app.call(http::Request::get("/tiles/l.json").header("host", "a").body(Bytes::new()).unwrap());
    assert_eq!(answer.status(), 200);
    let document: serde_json::Value = serde_json::from_slice(answer.body().as_bytes()).unwrap();
    let numbers = document["bounds"].as_array().unwrap().iter();
    let rounded = numbers.map(|number| (number.as_f64().unwrap() * 1e6).round() / 1e6).collect();
    (rounded, built.diagnostics.to_string())
}

fn complaint(folder: &Path, coverage: &str) -> String {
    match AppBuilder::from_text(config(coverage), folder).build() {
        Ok(_) => panic!("{coverage} is built"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn files_of_features_are_areas_and_conditions_choose_among_them() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for ending in ["shp", "fgb", "geojson"] {
        for (condition, expected) in [("", [0.0, 0.0, 70.0, 10.0]), ("where: \"n = 2\", ", [20.0, 0.0, 30.0, 10.0])] {
            let coverage = format!("{{datasource: {AREAS}.{ending}, {condition}srs: 'EPSG:4326'}}");
            assert_eq!(bounds(here, &coverage), (expected.to_vec(), String::new()), "{coverage}");
        }
    }
    let nothing = complaint(here, &format!("{{datasource: {AREAS}.shp, where: n = 9, srs: 'EPSG:4326'}}"));
    assert!(nothing.contains(":4:") && nothing.contains("areas.shp: no polygons for which `n = 9`"), "{nothing}");
    let column = complaint(here, &format!("{{datasource: {AREAS}.fgb, where: m = 9, srs: 'EPSG:4326'}}"));
    assert!(column.contains("the data has no column m (it has kind, n, name)"), "{column}");
}

#[test]
fn lists_of_expired_tiles_are_areas_up_to_a_broken_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("lists/more")).unwrap();
    fs::write(folder.path().join("lists/one"), "2/2/1\n\n3/5/3\n").unwrap();
    fs::write(folder.path().join("lists/more/two"), "1/1/0\nfoo\n0/0/0\n").unwrap();
    let north_east = vec![0.0, 0.0, 180.0, 85.051129];
    let (found, said) = bounds(folder.path(), "{expire_tiles: lists}");
    assert_eq!(found, north_east);
    assert!(said.contains("two:2: no tile of the form z/x/y: the rest of the list is not used"), "{said}");
    assert_eq!(bounds(folder.path(), "{expire_tiles: lists/one}").0, [0.0, 0.0, 90.0, 66.51326]);
    fs::write(folder.path().join("lists/one"), "").unwrap();
    assert!(complaint(folder.path(), "{expire_tiles: lists/one}").contains("one: no polygons"));
}

#[test]
fn broken_files_say_where_they_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("{\"type\": \"Polygon\",\n\"coordinates\": [[[0, 0], [1, 0], \"x\"]]}", "line 2 column"),
        ("{\"type\": \"Polygon\"}", "a Polygon without coordinates"),
        ("POLYGON((0 0,1 0,1 1,0 0))\nPOLYGON((0 0,1", "WKT in line 2"),
        ("{\"type\": \"Point\", \"coordinates\": [1, 2]}", "no polygons"),
    ] {
        fs::write(folder.path().join("area"), text).unwrap();
        let said = complaint(folder.path(), "{datasource: area, srs: 'EPSG:4326'}");
        assert!(said.contains(":4:") && said.contains("area: ") && said.contains(expected), "{said}");
    }
    fs::write(folder.path().join("area"), "POLYGON((0 0,1 0,1 1,0 0))\nPOINT(1 1)\n").unwrap();
    let (_, said) = bounds(folder.path(), "{polygons: area, polygons_srs: 'EPSG:4326'}");
    assert!(said.contains("area: what is no polygon is left out (POINT)"), "{said}");
}

#[test]
fn a_mistake_in_what_several_use_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("area"), "{\"type\": \"FeatureCollection\", \"features\": []}").unwrap();
    let text = "services: {wms: {}}
layers: [{name: l, title: L, sources: [c]}, {name: s, title: S, sources: [s]}]
caches: {c: {grids: [GLOBAL_WEBMERCATOR, GLOBAL_GEODETIC], sources: [s]}}
sources: {s: {type: debug, coverage: {datasource: area, srs: 'EPSG:4326'}}}
";
    let Err(error) = AppBuilder::from_text(text, folder.path()).build() else { panic!("it is built") };
    let said = error.to_string();
    assert_eq!(said.matches("no polygons").count(), 1, "{said}");
}
