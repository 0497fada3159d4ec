//! TileJSON of a whole application.

use bytes::Bytes;
use mapproxy_core::{App, AppBuilder, Application, Response};
use serde_json::{Value, json};

const CONFIG: &str = "
services: {tms: {}}
layers:
  - name: plain
    title: Plain & simple
    sources: [plain]
    md:
      abstract: What it shows
      attribution: {title: <Us>, url: 'https://example.org/?a=1&b=2'}
  - {name: part, title: Part, sources: [part]}
  - {name: large, title: Large tiles, sources: [large]}
  - {name: local, title: Elsewhere, sources: [local]}
  - {name: both, title: Both, tile_sources: [local, plain]}
caches:
  plain: {grids: [GLOBAL_WEBMERCATOR], sources: [debug], format: image/jpeg}
  part: {grids: [GLOBAL_MERCATOR], sources: [limited]}
  large: {grids: [large], sources: [debug]}
  local: {grids: [local], sources: [debug]}
grids:
  large: {base: GLOBAL_WEBMERCATOR, tile_size: [512, 512], num_levels: 7}
  local: {srs: 'EPSG:3857', bbox: [0, 0, 1000000, 1000000]}
sources:
  debug: {type: debug}
  limited: {type: wms, req: {url: 'http://localhost:9/', layers: x}, coverage: {bbox: [5, 45, 15, 89], srs: 'EPSG:4326'}}
";

fn app(config: &str) -> (App, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (AppBuilder::from_text(config, dir.path()).build().unwrap().app, dir)
}

fn get(app: &App, uri: &str) -> Response {
    let request = http::Request::get(uri).header("host", "a.b").header("x-script-name", "/p");
    app.call(request.body(Bytes::new()).unwrap())
}

fn document(app: &App, uri: &str) -> Value {
    let answer = get(app, uri);
    assert_eq!(answer.status(), 200, "{uri}: {:?}", answer.body());
    assert_eq!(answer.headers()["content-type"], "application/json");
    serde_json::from_slice(answer.body().as_bytes()).unwrap()
}

#[test]
fn a_document_has_what_map_libraries_ask_for() {
    let (app, _dir) = app(CONFIG);
    let bounds = json!([-180.0, -85.051_128_779_806_6, 180.0, 85.051_128_779_806_6]);
    let expected = json!({
        "tilejson": "3.0.0",
        "name": "Plain & simple",
        "description": "What it shows",
        "attribution": "<a href=\"https://example.org/?a=1&amp;b=2\">&lt;Us&gt;</a>",
        "scheme": "xyz",
        "tiles": ["http://a.b/p/tiles/plain/EPSG3857/{z}/{x}/{y}.jpeg"],
        "minzoom": 0,
        "maxzoom": 19,
        "bounds": bounds,
        "center": [0.0, 0.0, 0],
        "format": "jpeg",
        "tileSize": 256,
    });
    assert_eq!(document(&app, "/tiles/plain/EPSG3857.json"), expected);
    assert_eq!(document(&app, "/tiles/plain.json"), expected);
    assert_eq!(document(&app, "/tiles/1.0.0/plain/EPSG3857.json"), expected);
}

#[test]
fn the_template_leads_to_tiles_of_the_size_that_is_said() {
    let (app, _dir) = app(CONFIG);
    let large = document(&app, "/tiles/large.json");
    assert_eq!((&large["tileSize"], &large["maxzoom"]), (&json!(512), &json!(6)));
    let template = large["tiles"][0].as_str().unwrap();
    let first = template.replace("http://a.b/p", "").replace("{z}", "0").replace("{x}", "0").replace("{y}", "0");
    assert_eq!(get(&app, &first).status(), 200, "{first}");
}

#[test]
fn grids_that_are_not_those_of_web_maps_have_none() {
    let (app, _dir) = app(CONFIG);
    for uri in ["/tiles/local.json", "/tiles/local/EPSG3857.json", "/tiles/none.json", "/tiles/plain/EPSG4326.json"] {
        let answer = get(&app, uri);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"].to_str().unwrap()[..10]),
            (404, "text/plain"),
            "{uri}"
        );
    }
    // Several grids under one address: the last is the one that is served.
    assert_eq!(document(&app, "/tiles/both.json")["tiles"][0], "http://a.b/p/tiles/both/EPSG3857/{z}/{x}/{y}.jpeg");
}

#[test]
fn a_grid_that_counts_from_the_south_is_asked_from_the_north() {
    let (app, _dir) = app(CONFIG);
    let part = document(&app, "/tiles/part.json");
    assert_eq!(part["tiles"][0], "http://a.b/p/tiles/part/EPSG900913/{z}/{x}/{y}.png?origin=nw");
    assert_eq!(part["bounds"], json!([5.0, 45.0, 15.0, 85.051_128_779_806_6]));
    assert_eq!(part["center"][2], 5);
    let config = CONFIG.replace("tms: {}", "tms: {origin: nw, use_grid_names: true}");
    let (app, _dir) = self::app(&config);
    assert_eq!(
        document(&app, "/tiles/part.json")["tiles"][0],
        "http://a.b/p/tiles/part/GLOBAL_MERCATOR/{z}/{x}/{y}.png"
    );
}
