//! Tiles that are no pictures: passed on byte by byte, kept, and offered by all services that need not look into them.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;
use mapproxy_client::ErrorKind;
use mapproxy_core::client::testkit::{ScriptedClient, failure, response};
use mapproxy_core::{App, AppBuilder, Application, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const CONFIG: &str = r"
services: {wmts: {kvp: true, restful: true}, tms: {}, wms: {}, kml: {}, demo: {}, ogcapi: {}}
layers:
  - {name: pictures, title: Pictures, sources: [pictures]}
  - {name: roads, title: Roads, sources: [roads]}
  - {name: copy, title: Roads again, tile_sources: [copy]}
  - {name: places, title: Places, tile_sources: [places]}
  - {name: ground, title: Ground, tile_sources: [ground]}
caches:
  pictures: {grids: [GLOBAL_WEBMERCATOR], sources: [server]}
  roads: {grids: [GLOBAL_WEBMERCATOR], sources: [server], format: pbf, cache: {type: file, directory_layout: tms}}
  copy: {grids: [GLOBAL_WEBMERCATOR], sources: [roads], format: application/vnd.mapbox-vector-tile, disable_storage: true}
  places: {grids: [GLOBAL_WEBMERCATOR], sources: [server], format: json}
  ground: {grids: [GLOBAL_WEBMERCATOR], sources: [], format: terrain}
sources:
  server:
    type: tile
    url: 'http://server/%(z)s/%(x)s/%(y)s.%(format)s'
    grid: GLOBAL_WEBMERCATOR
    on_error: {404: {response: transparent, cache: true}, other: {response: transparent, cache: false}}
globals: {cache: {base_dir: cache}}
";

const PLACES: &str = r#"{"type": "FeatureCollection", "features": []}"#;

/// A layer called `roads` with features that compress well.
fn vector() -> Vec<u8> {
    let layer = [&b"\x0a\x05roads"[..], &[0x12, 0x02, 0x18, 0x01].repeat(40), b"\x28\x80\x20\x78\x02"].concat();
    [&[0x1a, (layer.len() & 0x7f) as u8 | 0x80, (layer.len() >> 7) as u8][..], &layer].concat()
}

fn packed() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vector()).unwrap();
    encoder.finish().unwrap()
}

fn png() -> Bytes {
    let options = ImageOptions::new(ImageFormat::png());
    let pixels = Pixels::filled(Size::new(256, 256), PixelMode::Rgb, Color::rgb(200, 10, 10));
    MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options).unwrap().bytes
}

struct Bench {
    app: App,
    client: ScriptedClient,
    directory: tempfile::TempDir,
    warnings: Vec<String>,
}

/// The server has a packed vector tile at 1/0/0, an unpacked one at 1/1/0, half of one at 1/1/1, and fails at 1/0/1.
fn bench(config: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let client = ScriptedClient::new(|request| {
        let path = request.url.strip_prefix("http://server/").unwrap();
        Ok(match path {
            _ if path.ends_with(".png") => response("image/png", png()),
            _ if path.ends_with(".json") => response("application/json", PLACES),
            "1/0/0.pbf" => response("application/x-protobuf", packed()),
            "1/1/0.pbf" => response("application/x-protobuf", vector()),
            "1/1/1.pbf" => response("application/x-protobuf", vector()[..50].to_vec()),
            "1/0/1.pbf" => return Err(failure(ErrorKind::Status(500), request)),
            "2/0/0.pbf" => return Err(failure(ErrorKind::Status(204), request)),
            _ => return Err(failure(ErrorKind::Status(404), request)),
        })
    });
    let built = AppBuilder::from_text(config, directory.path()).http_client(Arc::new(client.clone())).build().unwrap();
    let warnings = built.diagnostics.iter().map(ToString::to_string).collect();
    Bench { app: built.app, client, directory, warnings }
}

impl Bench {
    fn ask(&self, uri: &str, accept_encoding: &str) -> Response {
        let request = http::Request::get(uri).header("host", "h").header("accept-encoding", accept_encoding);
        self.app.call(request.body(Bytes::new()).unwrap())
    }

    fn get(&self, uri: &str) -> Response {
        self.ask(uri, "gzip, br")
    }

    fn kept(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.directory.path().join("cache/roads_EPSG3857").join(path)).ok()
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body().as_bytes()).unwrap()
}

const KVP: &str = "/service?service=WMTS&version=1.0.0&request=GetTile&style=&tilematrixset=GLOBAL_WEBMERCATOR\
                   &tilematrix=1&tilerow=0&tilecol=0";

#[test]
fn all_tiled_services_pass_vector_tiles_on_as_they_came() {
    let bench = bench(CONFIG);
    let addresses = [
        "/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.pbf".to_owned(),
        "/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.mvt".to_owned(),
        "/wmts/copy/GLOBAL_WEBMERCATOR/1/0/0.mvt".to_owned(),
        "/tms/1.0.0/roads/EPSG3857/0/0/1.pbf".to_owned(),
        "/tiles/roads/EPSG3857/1/0/0.pbf".to_owned(),
        "/tiles/roads/EPSG3857/1/0/1.mvt?origin=sw".to_owned(),
        format!("{KVP}&layer=roads&format=application/vnd.mapbox-vector-tile"),
        format!("{KVP}&layer=roads&format=pbf"),
    ];
    for address in &addresses {
        let answer = bench.get(address);
        assert_eq!(answer.status(), StatusCode::OK, "{address}: {}", text(&answer));
        assert_eq!(answer.body().as_bytes(), packed(), "{address}");
        assert_eq!(header(&answer, "content-type"), "application/vnd.mapbox-vector-tile");
        assert_eq!((header(&answer, "content-encoding"), header(&answer, "vary")), ("gzip", "Accept-Encoding"));
        assert!(header(&answer, "cache-control").starts_with("public, max-age="), "{address}");
    }
    assert_eq!(bench.client.urls(), ["http://server/1/0/0.pbf"]);
    assert_eq!(bench.kept("1/0/1.pbf").or(bench.kept("1/0/0.pbf")).unwrap(), packed());
    let picture = bench.get("/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.png");
    assert_eq!(picture.status(), StatusCode::BAD_REQUEST);
    assert!(text(&picture).contains("this tile set only supports (pbf)"), "{}", text(&picture));
}

#[test]
fn who_cannot_unpack_gets_tiles_unpacked() {
    let bench = bench(CONFIG);
    for accept in ["identity", "", "br", "gzip;q=0"] {
        let answer = bench.ask("/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.pbf", accept);
        assert_eq!((answer.body().as_bytes(), header(&answer, "content-encoding")), (&*vector(), ""), "{accept}");
        assert_eq!(header(&answer, "vary"), "Accept-Encoding");
    }
    let packed = bench.get("/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.pbf");
    let plain = bench.ask("/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.pbf", "identity");
    assert_ne!(header(&packed, "etag"), header(&plain, "etag"), "different bytes, different tags");
    let came_plain = bench.get("/wmts/roads/GLOBAL_WEBMERCATOR/1/1/0.pbf");
    assert_eq!((came_plain.body().as_bytes(), header(&came_plain, "content-encoding")), (&*vector(), ""));
}

#[test]
fn what_there_is_not_is_answered_so_and_what_is_broken_is_not_kept() {
    let bench = bench(CONFIG);
    // A rule for 404 (clients may keep it), 204, and the rule for all others (nobody may).
    for (tile, control) in [("2/3/3", "public"), ("2/0/0", "public"), ("1/0/1", "no-"), ("1/1/1", "no-")] {
        let answer = bench.get(&format!("/wmts/roads/GLOBAL_WEBMERCATOR/{tile}.pbf"));
        assert_eq!((answer.status(), answer.body().as_bytes()), (StatusCode::NO_CONTENT, &b""[..]), "{tile}");
        assert!(header(&answer, "cache-control").starts_with(control), "{tile}: {:?}", answer.headers());
    }
    assert!(!bench.directory.path().join("cache/roads_EPSG3857").join("1").exists(), "nothing is kept");
    let ground = bench.get("/wmts/ground/GLOBAL_WEBMERCATOR/1/0/0.terrain");
    assert_eq!(ground.status(), StatusCode::NOT_FOUND);

    let strict = self::bench(&CONFIG.replace("404: {response: transparent, cache: true}, other:", "599:"));
    let answer = strict.get("/wmts/roads/GLOBAL_WEBMERCATOR/1/1/1.pbf");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&answer).contains("response is not a tile"), "{}", text(&answer));
}

#[test]
fn a_kept_tile_that_cannot_be_unpacked_is_made_anew() {
    let bench = bench(CONFIG);
    let address = "/wmts/roads/GLOBAL_WEBMERCATOR/1/0/0.pbf";
    bench.get(address);
    let path = ["1/0/1.pbf", "1/0/0.pbf"].into_iter().find(|path| bench.kept(path).is_some()).unwrap();
    let mut broken = packed();
    broken[14] ^= 0xff;
    std::fs::write(bench.directory.path().join("cache/roads_EPSG3857").join(path), &broken).unwrap();
    assert_eq!(bench.ask(address, "identity").status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(bench.ask(address, "identity").body().as_bytes(), vector());
    let cut = &packed()[..packed().len() - 9];
    std::fs::write(bench.directory.path().join("cache/roads_EPSG3857").join(path), cut).unwrap();
    assert_eq!(bench.get(address).body().as_bytes(), packed());
}

#[test]
fn json_is_json() {
    let bench = bench(CONFIG);
    for _ in 0..2 {
        let answer = bench.ask("/tiles/places/EPSG3857/0/0/0.json", "identity");
        assert_eq!((text(&answer), header(&answer, "content-type")), (PLACES, "application/json"));
    }
    let answer = bench.ask("/tiles/places/EPSG3857/0/0/0.json", "gzip");
    if header(&answer, "content-encoding") == "gzip" {
        let mut plain = String::new();
        GzDecoder::new(answer.body().as_bytes()).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, PLACES);
    }
    assert_eq!(bench.client.urls(), ["http://server/0/0/0.json"]);
}

#[test]
fn documents_say_what_the_tiles_are() {
    let bench = bench(CONFIG);
    let capabilities = bench.ask("/wmts/1.0.0/WMTSCapabilities.xml", "identity");
    let capabilities = text(&capabilities);
    for part in [
        "<Format>application/vnd.mapbox-vector-tile</Format>",
        "<Format>application/json</Format>",
        "<Format>application/vnd.quantized-mesh</Format>",
        "<ResourceURL format=\"application/vnd.mapbox-vector-tile\" resourceType=\"tile\"",
        "{TileMatrix}/{TileCol}/{TileRow}.pbf\"",
        "<Format>image/png</Format>",
    ] {
        assert!(capabilities.contains(part), "{part} is missing in {capabilities}");
    }
    let map = bench.ask("/tms/1.0.0/roads/EPSG3857", "identity");
    let format = "mime-type=\"application/vnd.mapbox-vector-tile\" extension=\"pbf\"";
    assert!(text(&map).contains(format), "{}", text(&map));
    let json: serde_json::Value = serde_json::from_str(text(&bench.ask("/tiles/roads.json", "identity"))).unwrap();
    assert_eq!((&json["format"], &json["vector_layers"]), (&"pbf".into(), &serde_json::json!([])));
    assert!(json["tiles"][0].as_str().unwrap().contains("{z}/{x}/{y}.pbf"), "{json}");
    assert!(json.get("tileSize").is_none());
    let pictures: serde_json::Value =
        serde_json::from_str(text(&bench.ask("/tiles/pictures.json", "identity"))).unwrap();
    assert!(pictures.get("vector_layers").is_none());
}

#[test]
fn services_of_maps_leave_them_out_and_say_so_once() {
    let bench = bench(CONFIG);
    let capabilities = bench.ask("/service?service=WMS&version=1.3.0&request=GetCapabilities", "identity");
    assert!(
        text(&capabilities).contains("<Name>pictures</Name>") && !text(&capabilities).contains("<Name>roads</Name>")
    );
    let about: Vec<_> = bench.warnings.iter().filter(|warning| warning.contains("are no pictures")).collect();
    assert!(about.len() == 1 && about[0].contains("cache roads"), "{:?}", bench.warnings);
    assert_eq!(bench.get("/kml/roads/EPSG3857/0/0/0.kml").status(), StatusCode::NOT_FOUND);
    assert_eq!(bench.get("/ogcapi/collections/roads?f=json").status(), StatusCode::NOT_FOUND);
    let index = bench.ask("/demo/", "identity");
    assert!(text(&index).contains("roads") && !text(&index).contains("wmts_layer=roads"));
    assert!(text(&index).contains("tilejson=roads"));
    assert_eq!(bench.get("/demo/?wmts_layer=roads&srs=EPSG:3857").status(), StatusCode::NOT_FOUND);
}

#[test]
fn what_needs_pixels_is_refused_by_name() {
    let roads = "format: pbf, cache: {type: file, directory_layout: tms}}";
    for (written, expected) in [
        ("format: pbf, watermark: {text: x}}", "nothing can be drawn on them"),
        ("format: pbf, image: {colors: 0}}", "`image` has no meaning"),
        ("format: pbf, upscale_tiles: 2}", "they cannot be scaled"),
        ("format: pbf, request_format: image/png}", "request_format has no meaning"),
        ("format: pbf, link_single_color_images: true}", "no colours"),
        ("format: pbf, bulk_meta_tiles: true}", "one by one"),
        ("format: pbf, use_direct_from_level: 3}", "no maps"),
        (
            "format: pbf, cache: {type: file, coverage: {bbox: [0, 0, 9, 9], srs: 'EPSG:4326', clip: true}}}",
            "cannot be cut",
        ),
    ] {
        assert!(refusal(roads, written).contains(expected), "{written}: {}", refusal(roads, written));
    }
    let several = refusal("sources: [server], format: pbf", "sources: [server, pictures], format: pbf");
    assert!(several.contains("there can be only one source"), "{several}");
    let pictures =
        refusal("{grids: [GLOBAL_WEBMERCATOR], sources: [server]}", "{grids: [GLOBAL_WEBMERCATOR], sources: [roads]}");
    assert!(pictures.contains("needs pictures"), "{pictures}");
    let wms = refusal(
        "    type: tile\n    url: 'http://server/%(z)s/%(x)s/%(y)s.%(format)s'\n    grid: GLOBAL_WEBMERCATOR\n",
        "    type: wms\n    req: {url: 'http://server/', layers: a}\n",
    );
    assert!(wms.contains("only a source of type 'tile'"), "{wms}");
}

/// What is said of the configuration with `written` in place of `was`.
fn refusal(was: &str, written: &str) -> String {
    let config = CONFIG.replace(was, written);
    assert_ne!(config, CONFIG, "{was}");
    let directory = tempfile::tempdir().unwrap();
    AppBuilder::from_text(config, directory.path()).build().unwrap_err().to_string()
}
