//! OGC API – Maps and Tiles of a whole application.

use std::sync::Arc;

use bytes::Bytes;
use mapproxy_core::auth::{
    Authorizer, AuthorizerError, Bbox, Coverage, Decision, Feature, Grant, Operation, Partial, Question, Srs,
};
use mapproxy_core::{App, AppBuilder, Application, Response};
use mapproxy_image::{MapImage, Pixels};
use serde_json::{Value, json};

const CONFIG: &str = "
services:
  ogcapi:
    map_srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    max_output_pixels: [2000, 2000]
    default_dataset_layers: [red, blue]
    attribution: {text: '© us'}
    md:
      identification: {title: Maps <b>, description: All of them, keywords: [a, b]}
      contact: {name: Ada, email: ada@example.org, city: Town}
      license: {name: Free, url: 'https://example.org/free'}
layers:
  - name: group
    title: A group
    layers:
      - {name: red, title: Red, sources: [red], nominal_scale: 50000000}
      - name: blue
        title: Blue <x>
        sources: [blue_tiles]
        min_res: 100000
        max_res: 1
        md:
          abstract: What it shows
          attribution: {title: Them, url: 'https://example.org/'}
  - {name: 'photo/1', title: Photo, sources: [photo]}
caches:
  blue_tiles: {grids: [GLOBAL_WEBMERCATOR, small], sources: [blue]}
  photo: {grids: [few], sources: [blue], format: image/jpeg}
grids:
  small: {srs: 'EPSG:31467', bbox: [3200000, 5200000, 3990000, 6110000], origin: nw, num_levels: 3}
  few: {base: GLOBAL_WEBMERCATOR, num_levels: 3}
sources:
  red: {type: raster, file: red.png, srs: 'EPSG:4326', bbox: [-20, 30, 30, 70]}
  blue: {type: raster, file: blue.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}
globals:
  cache: {base_dir: cache_data, meta_size: [1, 1], meta_buffer: 0}
  image: {paletted: false}
";

const RED: [u8; 4] = [200, 0, 0, 255];
const BLUE: [u8; 4] = [0, 0, 200, 255];

struct Bench {
    app: App,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn open() -> Bench {
        Bench::with(CONFIG, None)
    }

    fn guarded(decide: impl Fn(&Question<'_>) -> Decision + Send + Sync + 'static) -> Bench {
        Bench::with(CONFIG, Some(Arc::new(Deciding(Box::new(decide)))))
    }

    fn with(config: &str, authorizer: Option<Arc<dyn Authorizer>>) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        for (name, color) in [("red", RED), ("blue", BLUE)] {
            std::fs::write(directory.path().join(format!("{name}.png")), solid(color)).unwrap();
        }
        let builder = AppBuilder::from_text(config, directory.path());
        let builder = match authorizer {
            Some(authorizer) => builder.authorizer(authorizer),
            None => builder,
        };
        Bench { app: builder.build().unwrap().app, _directory: directory }
    }

    fn ask(&self, uri: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = http::Request::get(uri).header("host", "a.b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.app.call(request.body(Bytes::new()).unwrap())
    }

    fn get(&self, uri: &str) -> Response {
        self.ask(uri, &[])
    }

    fn status(&self, uri: &str) -> u16 {
        self.get(uri).status().as_u16()
    }

    fn json(&self, uri: &str) -> Value {
        let answer = self.get(uri);
        assert_eq!(answer.status(), 200, "{uri}: {:?}", answer.body());
        serde_json::from_slice(answer.body().as_bytes()).unwrap()
    }

    fn error(&self, uri: &str) -> (u16, String) {
        let answer = self.get(uri);
        let document: Value = serde_json::from_slice(answer.body().as_bytes()).unwrap();
        assert_eq!(document["status"], answer.status().as_u16(), "{uri}");
        (answer.status().as_u16(), document["detail"].as_str().unwrap().to_owned())
    }

    fn picture(&self, uri: &str) -> Pixels {
        let answer = self.get(uri);
        assert_eq!(answer.status(), 200, "{uri}: {:?}", answer.body());
        Arc::unwrap_or_clone(MapImage::from_encoded(answer.into_body().into_bytes(), Arc::default()).pixels().unwrap())
    }
}

struct Deciding(Box<dyn Fn(&Question<'_>) -> Decision + Send + Sync>);

impl std::fmt::Debug for Deciding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deciding")
    }
}

impl Authorizer for Deciding {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        Ok((self.0)(question))
    }
}

fn solid(color: [u8; 4]) -> Vec<u8> {
    use mapproxy_image::{Color, ImageFormat, ImageOptions, PixelMode};
    let options = ImageOptions { colors: Some(0), ..ImageOptions::new(ImageFormat::png()) };
    let pixels = Pixels::filled(mapproxy_grid::Size::new(36, 18), PixelMode::Rgba, Color(color));
    MapImage::from_pixels(pixels, options.clone().into()).encode(&options).unwrap().bytes.to_vec()
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

fn rels(document: &Value) -> Vec<(&str, &str)> {
    let links = document["links"].as_array().unwrap();
    links.iter().map(|link| (link["rel"].as_str().unwrap(), link["type"].as_str().unwrap())).collect()
}

/// Each local `$ref` leads somewhere; none leads elsewhere.
fn check_references(value: &Value, root: &Value) {
    match value {
        Value::Object(entries) => {
            if let Some(target) = entries.get("$ref") {
                let pointer = target.as_str().unwrap().strip_prefix('#').expect("a reference into the document");
                assert!(root.pointer(pointer).is_some(), "{pointer}");
            }
            let is_empty = |name: &str| matches!(entries.get(name), Some(Value::Array(list)) if list.is_empty());
            assert!(!is_empty("required") && !is_empty("enum"), "OpenAPI wants at least one: {value}");
            entries.values().for_each(|value| check_references(value, root));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(value, root)),
        _ => {}
    }
}

#[test]
fn from_the_landing_page_every_document_can_be_reached() {
    let bench = Bench::open();
    let mut todo = vec!["http://a.b/ogcapi".to_owned()];
    let mut seen = std::collections::HashSet::new();
    while let Some(href) = todo.pop() {
        if !seen.insert(href.clone()) {
            continue;
        }
        let answer = bench.get(href.strip_prefix("http://a.b").unwrap());
        assert_eq!(answer.status(), 200, "{href}: {:?}", answer.body());
        let kind = header(&answer, "content-type").unwrap();
        if kind != "application/json" {
            continue;
        }
        let document: Value = serde_json::from_slice(answer.body().as_bytes()).unwrap();
        let mut values = vec![&document];
        while let Some(value) = values.pop() {
            if let (Some(href), Some(rel)) = (value["href"].as_str(), value["rel"].as_str()) {
                assert!(rel.starts_with("http") || rel.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{rel}");
                let first =
                    |text: &str| text.replace("{tileMatrix}", "0").replace("{tileRow}", "0").replace("{tileCol}", "0");
                todo.push(first(href));
            }
            match value {
                Value::Object(entries) => values.extend(entries.values()),
                Value::Array(items) => values.extend(items),
                _ => {}
            }
        }
    }
    // Four collections and five matrix sets, documents and pictures of each.
    assert!(seen.len() > 100, "{}", seen.len());
}

#[test]
fn the_landing_page_leads_to_the_parts() {
    let bench = Bench::open();
    let document = bench.json("/ogcapi");
    let found = rels(&document);
    for rel in ["self", "service-desc", "service-doc", "conformance", "data"] {
        assert!(found.iter().any(|(found, _)| *found == rel), "{rel} in {found:?}");
    }
    for rel in ["conformance", "data", "map", "tilesets-map", "tiling-schemes"] {
        let rel = format!("http://www.opengis.net/def/rel/ogc/1.0/{rel}");
        assert!(found.iter().any(|(found, _)| *found == rel), "{rel} in {found:?}");
    }
    let without = Bench::with(&CONFIG.replace("default_dataset_layers: [red, blue]", "enable_maps: false"), None);
    let document = without.json("/ogcapi");
    assert!(rels(&document).iter().all(|(rel, _)| !rel.ends_with("/map") && !rel.ends_with("/tilesets-map")));
    let classes = without.json("/ogcapi/conformance").to_string();
    assert!(!classes.contains("ogcapi-maps") && !classes.contains("dataset-tilesets"), "{classes}");
}

#[test]
fn the_definition_of_the_api_is_complete_in_itself() {
    let bench = Bench::open();
    let answer = bench.get("/ogcapi/api");
    assert_eq!(header(&answer, "content-type"), Some("application/vnd.oai.openapi+json;version=3.0"));
    let document: Value = serde_json::from_slice(answer.body().as_bytes()).unwrap();
    check_references(&document, &document);
    assert_eq!(document["servers"][0]["url"], "http://a.b/ogcapi");
    assert_eq!(document["info"]["title"], "Maps <b>");
    assert_eq!(document["info"]["x-OGC-limits"]["maps"]["maxPixels"], 4_000_000);
    let ids = json!(["group", "red", "blue", "photo/1"]);
    assert_eq!(document["components"]["parameters"]["collectionId"]["schema"]["enum"], ids);
    let mut seen = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["get"];
        assert!(seen.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        let named = path.matches('{').count();
        let in_path = operation["parameters"].as_array().unwrap().iter().filter(|parameter| {
            let pointer = parameter["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
            document.pointer(pointer).unwrap()["in"] == "path"
        });
        assert_eq!(in_path.count(), named, "{path}");
    }
    assert_eq!(seen.len(), 15);
}

#[test]
fn a_collection_says_where_it_is_and_what_there_is_of_it() {
    let bench = Bench::open();
    let blue = bench.json("/ogcapi/collections/blue");
    assert_eq!(
        (&blue["id"], &blue["title"], &blue["description"]),
        (&json!("blue"), &json!("Blue <x>"), &json!("What it shows"))
    );
    assert_eq!(blue["attribution"], "[Them](https://example.org/)");
    assert_eq!(blue["storageCrs"], "http://www.opengis.net/def/crs/OGC/1.3/CRS84", "the source's");
    assert_eq!(blue["crs"][0], "http://www.opengis.net/def/crs/OGC/1.3/CRS84");
    let close = |value: &Value, expected: f64| (value.as_f64().unwrap() / expected - 1.0).abs() < 1e-9;
    assert!(close(&blue["minCellSize"], 1.0 / 111_319.490_793_273_58), "degrees: {}", blue["minCellSize"]);
    assert!(close(&blue["maxScaleDenominator"], 100_000.0 / 0.00028));
    assert!((blue["minScaleDenominator"].as_f64().unwrap() - 1.0 / 0.00028).abs() < 1e-6);
    let red = bench.json("/ogcapi/collections/red");
    assert_eq!(red["extent"]["spatial"]["bbox"], json!([[-20.0, 30.0, 30.0, 70.0]]));
    assert_eq!(red["extent"]["spatial"].get("storageCrsBbox"), None);
    let all = bench.json("/ogcapi/collections");
    let ids: Vec<&str> = all["collections"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["group", "red", "blue", "photo/1"]);
    let photo = &all["collections"][3]["links"][0]["href"];
    assert_eq!(photo, "http://a.b/ogcapi/collections/photo%2F1?f=json");
    assert_eq!(bench.json("/ogcapi/collections/photo%2F1"), bench.json("/ogcapi/collections/photo/1"));
}

#[test]
fn tile_matrix_sets_follow_the_standard() {
    let bench = Bench::open();
    let sets = bench.json("/ogcapi/tileMatrixSets");
    let ids: Vec<&str> =
        sets["tileMatrixSets"].as_array().unwrap().iter().map(|set| set["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["GLOBAL_GEODETIC", "GLOBAL_MERCATOR", "WebMercatorQuad", "small", "few"]);
    let quad = bench.json("/ogcapi/tileMatrixSets/WebMercatorQuad");
    assert_eq!(quad["uri"], "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad");
    assert!((quad["tileMatrices"][0]["scaleDenominator"].as_f64().unwrap() - 559_082_264.028_717_8).abs() < 1e-3);
    // As WorldCRS84Quad has it, for tiles of the same size: half of the quad's at the equator.
    let geodetic = bench.json("/ogcapi/tileMatrixSets/GLOBAL_GEODETIC");
    assert!((geodetic["tileMatrices"][1]["scaleDenominator"].as_f64().unwrap() - 279_541_132.014_358_76).abs() < 1e-3);
    assert_eq!(geodetic["tileMatrices"][0]["cornerOfOrigin"], "bottomLeft");
    assert_eq!(geodetic["tileMatrices"][0]["pointOfOrigin"], json!([-180.0, -90.0]));
    let small = bench.json("/ogcapi/tileMatrixSets/small");
    assert_eq!(small["crs"], "http://www.opengis.net/def/crs/EPSG/0/31467");
    assert_eq!(small["tileMatrices"][0]["pointOfOrigin"], json!([6_110_000.0, 3_200_000.0]), "north before east");
    assert_eq!(bench.error("/ogcapi/tileMatrixSets/GLOBAL_WEBMERCATOR"), (404, "TileMatrixSet not found".to_owned()));
}

#[test]
fn a_tile_set_has_limits_where_its_collection_has() {
    let bench = Bench::open();
    let all = bench.json("/ogcapi/collections/blue/map/tiles/WebMercatorQuad");
    assert_eq!((all.get("tileMatrixSetLimits"), all.get("boundingBox")), (None, None));
    let red = bench.json("/ogcapi/collections/red/map/tiles/WebMercatorQuad");
    assert_eq!(red["boundingBox"]["lowerLeft"], json!([-20.0, 30.0]));
    let level = json!({"tileMatrix": "3", "minTileRow": 1, "maxTileRow": 3, "minTileCol": 3, "maxTileCol": 4});
    assert_eq!(red["tileMatrixSetLimits"][3], level);
    // Rows of this grid count from the south.
    let south = bench.json("/ogcapi/collections/red/map/tiles/GLOBAL_GEODETIC");
    let level = json!({"tileMatrix": "2", "minTileRow": 1, "maxTileRow": 1, "minTileCol": 1, "maxTileCol": 2});
    assert_eq!(south["tileMatrixSetLimits"][2], level);
    let template = bench.get("/ogcapi/collections/red/map/tiles/few");
    assert_eq!(
        header(&template, "link-template"),
        Some(
            "</ogcapi/collections/red/map/tiles/few/{tileMatrix}/{tileRow}/{tileCol}.png>; rel=\"item\"; type=\"image/png\""
        )
    );
}

#[test]
fn pages_are_escaped_have_no_scripts_and_load_nothing_from_elsewhere() {
    let bench = Bench::open();
    for path in [
        "",
        "/conformance",
        "/api",
        "/collections",
        "/collections/blue",
        "/collections/x",
        "/tileMatrixSets",
        "/tileMatrixSets/small",
        "/collections/blue/map/tiles",
        "/collections/blue/map/tiles/GLOBAL_GEODETIC",
        "/map/tiles",
        "/map/tiles/few",
    ] {
        let answer = bench.ask(&format!("/ogcapi{path}"), &[("accept", "text/html,*/*;q=0.8")]);
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(header(&answer, "content-security-policy").unwrap().starts_with("default-src 'none'"), "{path}");
        assert!(answer.headers().get_all("vary").iter().any(|value| value == "Accept"), "{path}");
        let text = std::str::from_utf8(answer.body().as_bytes()).unwrap();
        assert!(text.contains("Maps &#60;b&#62;") && !text.contains("<b>") && !text.contains("<x>"), "{path}: {text}");
        assert!(!text.contains("<script") && !text.contains(" style=") && !text.contains("<style"), "{path}");
        for reference in text.split(" src=\"").skip(1) {
            assert!(reference.starts_with("http://a.b/ogcapi/"), "{path}: {}", &reference[..60]);
        }
    }
    assert_eq!(bench.status("/ogcapi/static/ogcapi.css"), 200);
    assert_eq!(bench.status("/ogcapi/static/../../mod.rs"), 404);
}

#[test]
fn the_form_is_what_f_or_accept_wish() {
    let bench = Bench::open();
    let kind = |uri: &str, accept: &str| {
        let answer = bench.ask(uri, &[("accept", accept)]);
        header(&answer, "content-type").unwrap().to_owned()
    };
    assert_eq!(kind("/ogcapi/conformance", "application/json, text/html;q=0.5"), "application/json");
    assert_eq!(kind("/ogcapi/conformance?f=html", "application/json"), "text/html; charset=utf-8");
    assert_eq!(kind("/ogcapi/conformance?f=json", "text/html"), "application/json");
    let tile = "/ogcapi/collections/red/map/tiles/WebMercatorQuad/0/0/0";
    assert_eq!(kind(tile, "image/jpeg;q=0.5, image/png;q=0.1"), "image/jpeg");
    assert_eq!(kind(&format!("{tile}?f=jpeg"), "image/png"), "image/jpeg");
    assert_eq!(kind(&format!("{tile}.png?f=jpeg"), "image/jpeg"), "image/png");
    assert_eq!(bench.ask(tile, &[("accept", "image/webp")]).status(), 406);
    assert_eq!(bench.error(&format!("{tile}.gif")), (406, "Unsupported image format gif".to_owned()));
    assert_eq!(bench.error("/ogcapi/conformance?f=png").0, 400);
    assert_eq!(bench.error("/ogcapi/conformance?x=1"), (400, "Unknown query parameter x".to_owned()));
    assert_eq!(bench.error("/ogcapi/api?ui=redoc").0, 400);
    assert_eq!(bench.status("/ogcapi/map.gif"), 404);
    assert_eq!(bench.status("/ogcapi/nothing"), 404);
}

#[test]
fn a_map_says_which_box_it_shows() {
    let bench = Bench::open();
    let answer = bench.get("/ogcapi/collections/red/map?bbox=0,40,20,50&width=40");
    assert_eq!((header(&answer, "content-crs"), header(&answer, "content-bbox")), (None, Some("0,40,20,50")));
    let answer = bench.get("/ogcapi/collections/red/map?bbox=0,40,20,50&width=40&crs=EPSG:25832");
    assert_eq!(header(&answer, "content-crs"), Some("<http://www.opengis.net/def/crs/EPSG/0/25832>"));
    let map = bench.picture("/ogcapi/collections/red/map?bbox=-40,30,0,70&width=40&height=40");
    assert_eq!((map.pixel(30, 5), map.pixel(5, 5)[3]), (RED, 0), "half of it is beyond the layer");
    let map = bench.picture("/ogcapi/collections/red/map?bbox=-40,30,0,70&width=40&height=40&transparent=false");
    assert_eq!(map.pixel(5, 5), [255, 255, 255, 255]);
    let map = bench.picture("/ogcapi/collections/red/map?bbox=-40,30,0,70&width=40&height=40&bgcolor=lime");
    assert_eq!(map.pixel(5, 5), [0, 255, 0, 255]);
    let map = bench.picture("/ogcapi/collections/red/map?bbox=-40,30,0,70&width=40&height=40&bgcolor=0x8000ff00");
    assert_eq!((map.pixel(5, 5), map.pixel(30, 5)), ([0, 255, 0, 128], RED));
    let map = bench.picture("/ogcapi/collections/red/map?bbox=-200,-100,200,100&width=400&height=200");
    assert_eq!((map.pixel(5, 100)[3], map.pixel(205, 50)), (0, RED), "beyond the world is nothing");
}

#[test]
fn maps_of_the_dataset_stack_collections_in_order() {
    let bench = Bench::open();
    let at = "bbox=0,40,20,50&width=40&height=20";
    assert_eq!(bench.picture(&format!("/ogcapi/map?{at}")).pixel(5, 5), BLUE, "blue is above");
    assert_eq!(bench.picture(&format!("/ogcapi/map?{at}&collections=blue,red")).pixel(5, 5), RED);
    assert_eq!(bench.error("/ogcapi/map?collections=red,x"), (400, "unknown collection x".to_owned()));
    assert_eq!(bench.error("/ogcapi/collections/red/map?collections=blue").0, 400);
    let none = Bench::with(&CONFIG.replace("    default_dataset_layers: [red, blue]\n", ""), None);
    for path in ["map", "map/tiles", "map/tiles/few", "map/tiles/few/0/0/0"] {
        let (status, detail) = none.error(&format!("/ogcapi/{path}"));
        assert!(status == 500 && detail.contains("default_dataset_layers"), "{path}: {detail}");
    }
    assert_eq!(none.picture(&format!("/ogcapi/map?{at}&collections=red")).pixel(5, 5), RED);
    assert_eq!(none.status("/ogcapi/map/tiles/few/0/0/0?collections=red"), 200);
}

#[test]
fn a_kept_tile_is_served_as_it_is_kept_and_at_once() {
    let bench = Bench::open();
    let uri = "/ogcapi/collections/blue/map/tiles/WebMercatorQuad/1/0/1.png";
    let now = |bench: &Bench, uri: &str| {
        bench.app.call_now(&http::Request::get(uri).header("host", "a.b").body(Bytes::new()).unwrap())
    };
    assert!(now(&bench, uri).is_none(), "it has to be made first");
    let first = bench.get(uri);
    let again = now(&bench, uri).expect("it is kept");
    assert_eq!((first.status(), first.body()), (again.status(), again.body()));
    let etag = header(&again, "etag").unwrap();
    assert_eq!(header(&first, "etag"), Some(etag));
    assert_eq!(header(&again, "content-crs"), Some("<http://www.opengis.net/def/crs/EPSG/0/3857>"));
    assert_eq!(bench.ask(uri, &[("if-none-match", etag)]).status(), 304);
    // The same tile by other names of its place.
    let flipped = now(&bench, "/ogcapi/collections/blue/map/tiles/GLOBAL_MERCATOR/1/1/1.png").expect("it is kept");
    assert_eq!(flipped.body(), first.body());
    let few = now(&bench, "/ogcapi/collections/blue/map/tiles/few/1/0/1").expect("it is kept");
    assert_eq!(few.body(), first.body());
    // In another format, size or place it is drawn.
    for other in ["WebMercatorQuad/1/0/1.jpg", "WebMercatorQuad/1/0/1.png?width=100", "GLOBAL_GEODETIC/1/0/1.png"] {
        let uri = format!("/ogcapi/collections/blue/map/tiles/{other}");
        assert!(now(&bench, &uri).is_none(), "{other}");
        assert_eq!(bench.status(&uri), 200, "{other}");
    }
    // The format of the cache goes first.
    let photo = bench.get("/ogcapi/collections/photo%2F1/map/tiles/WebMercatorQuad/1/0/1");
    assert_eq!(header(&photo, "content-type"), Some("image/jpeg"));
}

#[test]
fn tiles_lie_where_their_matrix_set_says() {
    let bench = Bench::open();
    let red = |path: &str| bench.picture(&format!("/ogcapi/collections/red/map/tiles/{path}")).pixel(128, 128);
    assert_eq!(red("WebMercatorQuad/4/5/8.png"), RED);
    assert_eq!(red("WebMercatorQuad/4/10/8.png")[3], 0);
    assert_eq!(red("GLOBAL_MERCATOR/4/10/8.png"), RED, "counted from the south");
    assert_eq!(red("GLOBAL_GEODETIC/4/6/8.png"), RED);
    for (path, detail) in [
        ("WebMercatorQuad/20/0/0.png", "Invalid zoom level. Valid range is [0,19]"),
        ("WebMercatorQuad/1/2/0.png", "Invalid row number. Valid range is [0,1]"),
        ("WebMercatorQuad/1/0/-1.png", "Invalid col number. Valid range is [0,1]"),
        ("WebMercatorQuad/0/0/0.png?width=0", "width must be strictly positive"),
        (
            "WebMercatorQuad/0/0/0.png?scale-denominator=1&height=1",
            "scale-denominator is mutually exclusive with width or height",
        ),
        ("WebMercatorQuad/0/0/0.png?crs=EPSG:4326", "Unknown query parameter crs"),
    ] {
        assert_eq!(bench.error(&format!("/ogcapi/collections/red/map/tiles/{path}")), (400, detail.to_owned()));
    }
    assert_eq!(bench.picture("/ogcapi/collections/red/map/tiles/few/0/0/0?mm-per-pixel=0.14").size().width, 512);
}

#[test]
fn parts_that_are_not_enabled_are_not_there() {
    let no_maps = Bench::with(&CONFIG.replace("  ogcapi:\n", "  ogcapi:\n    enable_maps: false\n"), None);
    assert_eq!((no_maps.status("/ogcapi/map"), no_maps.status("/ogcapi/map/tiles/few/0/0/0")), (404, 200));
    let tile = "/ogcapi/map/tiles/few/0/0/0?width=9";
    assert_eq!(no_maps.error(tile), (400, "Unknown query parameter width".to_owned()));
    let no_tiles = Bench::with(&CONFIG.replace("  ogcapi:\n", "  ogcapi:\n    enable_tiles: false\n"), None);
    assert_eq!((no_tiles.status("/ogcapi/map"), no_tiles.status("/ogcapi/map/tiles")), (200, 404));
    assert_eq!(no_tiles.status("/ogcapi/tileMatrixSets"), 404);
}

#[test]
fn who_may_not_see_a_layer_finds_it_nowhere() {
    let bench = Bench::guarded(|_| Partial::new().layer("red", Grant::of([Feature::Map])).into());
    let all = bench.json("/ogcapi/collections");
    let ids: Vec<&str> = all["collections"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["red"]);
    assert!(rels(&all["collections"][0]).iter().all(|(rel, _)| !rel.ends_with("tilesets-map")), "no tiles are granted");
    let api = bench.json("/ogcapi/api?f=json");
    assert_eq!(api["components"]["parameters"]["collectionId"]["schema"]["enum"], json!(["red"]));
    for uri in [
        "/ogcapi/collections/blue",
        "/ogcapi/collections/blue/map",
        "/ogcapi/map?collections=red,blue",
        "/ogcapi/map",
        "/ogcapi/collections/red/map/tiles",
        "/ogcapi/collections/red/map/tiles/few",
        "/ogcapi/collections/red/map/tiles/few/0/0/0",
        "/ogcapi/collections/blue/map/tiles/WebMercatorQuad/0/0/0",
        "/ogcapi/collections/blue/map/tiles/WebMercatorQuad/2/0/0?width=300",
        "/ogcapi/collections/photo/1/map/tiles/few/0/0/0",
        "/ogcapi/map/tiles/few/0/0/0",
        "/ogcapi/collections/blue/map?service=WMS&request=GetMap&version=1.1.1&srs=EPSG:4326&bbox=0,0,1,1&width=9&height=9",
    ] {
        assert_eq!(bench.status(uri), 403, "{uri}");
    }
    assert_eq!(bench.status("/ogcapi/collections/red/map"), 200);
    assert_eq!(bench.status("/ogcapi/collections/group/map"), 200, "of a group, what is granted is shown");
}

#[test]
fn none_is_forbidden_and_strangers_are_asked_who_they_are() {
    let documents = ["collections", "collections/red", "api", "map/tiles", "collections/red/map/tiles/few"];
    let pictures = ["map", "collections/red/map", "map/tiles/few/0/0/0", "collections/blue/map/tiles/few/0/0/0"];
    for (decision, status) in [(Decision::None, 403), (Decision::Unauthenticated, 401)] {
        let bench = Bench::guarded(move |_| decision.clone());
        for path in documents.iter().chain(&pictures) {
            assert_eq!(bench.status(&format!("/ogcapi/{path}")), status, "{path}");
        }
        // Nothing of a layer is in these.
        assert_eq!((bench.status("/ogcapi"), bench.status("/ogcapi/tileMatrixSets")), (200, 200));
    }
}

#[test]
fn pictures_end_where_the_limit_does() {
    let area = || Coverage::from_bbox(Bbox::new(0.0, -90.0, 180.0, 90.0), Srs::wgs84());
    let bench = Bench::guarded(move |question| match question.operation {
        Operation::OgcApiMap | Operation::OgcApiTile => {
            let grant = Grant::of([Feature::Map, Feature::Tile]).limited_to(area());
            Partial::new().layer("blue", grant.clone()).layer("red", grant).into()
        }
        _ => Decision::None,
    });
    let map = bench.picture("/ogcapi/collections/blue/map?bbox=-40,-20,40,20&width=160&height=80");
    assert_eq!((map.pixel(20, 20)[3], map.pixel(140, 20)), (0, BLUE));
    for uri in ["WebMercatorQuad/0/0/0.png", "WebMercatorQuad/1/0/0.png?width=1000", "GLOBAL_GEODETIC/1/0/0.png"] {
        let tile = bench.picture(&format!("/ogcapi/collections/blue/map/tiles/{uri}"));
        assert_eq!(tile.pixel(60, 100)[3], 0, "{uri}");
    }
    let tile = bench.picture("/ogcapi/collections/blue/map/tiles/WebMercatorQuad/0/0/0.png");
    assert_eq!(tile.pixel(200, 100), BLUE);
    let document = bench.json("/ogcapi/collections/red");
    assert_eq!(document["extent"]["spatial"]["bbox"], json!([[0.0, 30.0, 30.0, 70.0]]));
    let answer = bench.get("/ogcapi/collections/blue/map/tiles/WebMercatorQuad/0/0/0.png");
    assert_eq!(header(&answer, "cache-control"), Some("private, no-cache"));
}
