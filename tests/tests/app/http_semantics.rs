//! HTTP, on a whole application: methods, conditions, compression, and what caches may keep.

use std::io::Read;

use bytes::Bytes;
use http::{Method, StatusCode};
use mapproxy_core::grid::Size;
use mapproxy_core::image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};

const CONFIG: &str = "
services:
  demo:
  kml:
  tms:
  wmts:
  wms: {srs: ['EPSG:4326', 'EPSG:3857']}
layers:
  - {name: cached, title: Cached, sources: [cached]}
  - {name: direct, title: Direct, sources: [drawn]}
caches:
  cached: {grids: [GLOBAL_WEBMERCATOR], sources: [drawn], meta_size: [1, 1], meta_buffer: 0}
sources:
  drawn: {type: debug}
";

const WMS: &str = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities";
const TILE: &str = "/tms/1.0.0/cached/EPSG3857/0/0/0.png";
const DOCUMENTS: [&str; 8] = [
    "/",
    "/demo/",
    "/demo/static/viewer.js",
    WMS,
    "/service?SERVICE=WMTS&REQUEST=GetCapabilities",
    "/wmts/1.0.0/WMTSCapabilities.xml",
    "/tms/1.0.0/",
    "/kml/cached/EPSG3857",
];
const MAP: &str = "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=direct&STYLES=&SRS=EPSG:4326&BBOX=0,0,10,10\
                   &WIDTH=64&HEIGHT=64&FORMAT=image/png";

fn app(globals: &str) -> (App, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let built = AppBuilder::from_text(format!("{CONFIG}globals:\n{globals}"), directory.path()).build();
    (built.unwrap_or_else(|error| panic!("{error}")).app, directory)
}

fn plain_app() -> (App, tempfile::TempDir) {
    app("  cache: {base_dir: cache}\n")
}

fn request(method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request {
    let mut request = http::Request::builder().method(method).uri(url).header("host", "maps.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn get(app: &App, url: &str, headers: &[(&str, &str)]) -> Response {
    app.call(request(Method::GET, url, headers, ""))
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn every_document_can_be_asked_for_by_its_tag() {
    let (app, _directory) = plain_app();
    for url in DOCUMENTS {
        let whole = get(&app, url, &[]);
        assert_eq!(whole.status(), StatusCode::OK, "{url}");
        let tag = header(&whole, "etag").unwrap_or_else(|| panic!("{url} has no tag"));
        assert_eq!(header(&get(&app, url, &[]), "etag"), Some(tag), "{url}");
        let known = get(&app, url, &[("if-none-match", tag)]);
        assert_eq!((known.status(), known.body().len()), (StatusCode::NOT_MODIFIED, 0), "{url}");
        assert_eq!((header(&known, "etag"), header(&known, "vary")), (Some(tag), header(&whole, "vary")), "{url}");
        assert_eq!(header(&whole, "x-content-type-options"), Some("nosniff"), "{url}");
    }
    // Documents name addresses: another host, another document.
    let elsewhere = get(&app, WMS, &[("x-forwarded-host", "other.example")]);
    assert_ne!(header(&elsewhere, "etag"), header(&get(&app, WMS, &[]), "etag"));
}

#[test]
fn documents_are_compressed_for_those_who_ask_and_pictures_never() {
    let (app, _directory) = plain_app();
    let plain = get(&app, WMS, &[]);
    assert_eq!(header(&plain, "vary"), Some("X-Script-Name, X-Forwarded-Host, X-Forwarded-Proto"));
    let gzip = get(&app, WMS, &[("accept-encoding", "gzip, deflate, br")]);
    assert_eq!(header(&gzip, "content-encoding"), Some("gzip"));
    let vary: Vec<_> = gzip.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["X-Script-Name, X-Forwarded-Host, X-Forwarded-Proto", "Accept-Encoding"]);
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(gzip.body().as_bytes()).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body().as_bytes());
    let zstd = get(&app, WMS, &[("accept-encoding", "gzip, zstd")]);
    assert_eq!(zstd::decode_all(zstd.body().as_bytes()).unwrap(), plain.body().as_bytes());
    assert_ne!(header(&gzip, "etag"), header(&zstd, "etag"));
    for url in [TILE.to_owned(), format!("/service?{MAP}")] {
        let picture = get(&app, &url, &[("accept-encoding", "gzip")]);
        assert_eq!((header(&picture, "content-encoding"), header(&picture, "vary")), (None, None), "{url}");
    }
    let (off, _directory) = self::app("  cache: {base_dir: cache}\n  http: {compression: false}\n");
    let answer = get(&off, WMS, &[("accept-encoding", "gzip")]);
    assert_eq!((header(&answer, "content-encoding"), answer.body()), (None, plain.body()));
}

#[test]
fn a_document_given_at_once_is_the_same() {
    let (app, _directory) = plain_app();
    let accepting = ("accept-encoding", "gzip");
    let whole = get(&app, WMS, &[accepting]);
    let now = app.call_now(&request(Method::GET, WMS, &[accepting], "")).unwrap();
    assert_eq!((now.status(), now.headers(), now.body()), (whole.status(), whole.headers(), whole.body()));
    let tag = header(&whole, "etag").unwrap();
    let known = app.call_now(&request(Method::GET, WMS, &[accepting, ("if-none-match", tag)], ""));
    assert_eq!(known.unwrap().status(), StatusCode::NOT_MODIFIED);
}

#[test]
fn a_form_is_read_like_a_query() {
    let (app, _directory) = plain_app();
    let by_get = get(&app, &format!("/service?{MAP}"), &[]);
    assert_eq!(header(&by_get, "content-type"), Some("image/png"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let by_post = app.call(request(Method::POST, "/service", &form, MAP));
    assert_eq!((header(&by_post, "content-type"), by_post.body()), (Some("image/png"), by_get.body()));
    let (address, rest) = MAP.split_at(MAP.find("&LAYERS").unwrap());
    let by_both = app.call(request(Method::POST, &format!("/service?{address}"), &form, rest[1..].to_owned()));
    assert_eq!(by_both.body(), by_get.body());
    assert!(app.call_now(&request(Method::POST, "/service", &form, MAP)).is_none());
    let without_body = app.call(request(Method::POST, &format!("/service?{MAP}"), &[], ""));
    assert_eq!(without_body.body(), by_get.body());
    let xml = app.call(request(Method::POST, "/service", &[("content-type", "application/xml")], "<GetMap/>"));
    assert_eq!(
        (xml.status(), header(&xml, "content-type")),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("text/xml; charset=utf-8"))
    );
}

#[test]
fn head_is_get_and_options_says_what_can_be_done() {
    let (app, _directory) = plain_app();
    for url in [WMS, TILE, "/nothing"] {
        get(&app, url, &[]);
        let (whole, head) = (get(&app, url, &[]), app.call(request(Method::HEAD, url, &[], "")));
        // Servers leave the body out and tell its length.
        assert_eq!((head.status(), head.headers()), (whole.status(), whole.headers()), "{url}");
    }
    let options = app.call(request(Method::OPTIONS, "/service", &[], ""));
    assert_eq!(
        (options.status(), header(&options, "allow")),
        (StatusCode::NO_CONTENT, Some("GET, HEAD, OPTIONS, POST"))
    );
    let preflight = [("origin", "https://page.example"), ("access-control-request-method", "GET")];
    let asked = app.call(request(Method::OPTIONS, TILE, &preflight, ""));
    assert_eq!(header(&asked, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&asked, "access-control-allow-methods"), Some("GET, HEAD, OPTIONS, POST"));
    let (closed, _directory) = self::app("  cache: {base_dir: cache}\n  http: {access_control_allow_origin: ''}\n");
    let asked = closed.call(request(Method::OPTIONS, TILE, &preflight, ""));
    assert_eq!((header(&asked, "access-control-allow-methods"), asked.status()), (None, StatusCode::NO_CONTENT));
    let put = app.call(request(Method::PUT, TILE, &[], "tile"));
    assert_eq!(
        (put.status(), header(&put, "allow")),
        (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD, OPTIONS, POST"))
    );
}

#[test]
fn mistakes_of_clients_are_4xx() {
    let (app, _directory) = plain_app();
    for (change, by) in [
        ("BBOX=0,0,10,10", "BBOX=0,0,10"),
        ("LAYERS=direct", "LAYERS=unknown"),
        ("WIDTH=64", "WIDTH=x"),
        ("WIDTH=64", "WIDTH=1000000"),
        ("FORMAT=image/png", "FORMAT=image/x"),
        ("SRS=EPSG:4326", "SRS=EPSG:1"),
        ("&STYLES=", ""),
        ("GetMap", "GetRap"),
    ] {
        let answer = get(&app, &format!("/service?{}", MAP.replace(change, by)), &[]);
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{by}");
        assert!(header(&answer, "content-type").unwrap().contains("xml"), "{by}");
    }
    for url in ["/tms/1.0.0/none/EPSG3857/0/0/0.png", "/tms/1.0.0/cached/EPSG3857/0/0/0.jpeg", "/tiles/a", "/x"] {
        assert_eq!(get(&app, url, &[]).status(), StatusCode::NOT_FOUND, "{url}");
    }
    assert_eq!(get(&app, "/wmts/cached/GLOBAL_WEBMERCATOR/0/0/x.png", &[]).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn layers_say_how_long_they_may_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let layers = "
  - {name: short, title: Short, sources: [cached], expires_hours: 1}
  - {name: long, title: Long, sources: [cached], expires_hours: 48}
  - {name: usual, title: Usual, sources: [cached]}
caches:";
    let source = "red: {type: raster, file: red.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}";
    let config = CONFIG.replace("caches:", layers.trim_start_matches('\n')).replace("drawn: {type: debug}", source);
    let options = ImageOptions::new(ImageFormat::png());
    let pixels = Pixels::filled(Size::new(36, 18), PixelMode::Rgb, Color::rgb(255, 0, 0));
    let picture = MapImage::from_pixels(pixels, options.clone().into()).encode(&options).unwrap();
    std::fs::write(directory.path().join("red.png"), picture.bytes).unwrap();
    let app = AppBuilder::from_text(config.replace("[drawn]", "[red]"), directory.path()).build();
    let app = app.unwrap_or_else(|error| panic!("{error}")).app;
    let kept = |url: &str| header(&get(&app, url, &[]), "cache-control").map(str::to_owned);
    let tile = |layer: &str| kept(&TILE.replace("cached", layer));
    let hours = |hours: u32| Some(format!("public, max-age={0}, s-maxage={0}", hours * 3600));
    for (layer, expected) in [("short", 1), ("long", 48), ("usual", 72)] {
        assert_eq!(tile(layer), hours(expected), "{layer}");
    }
    let map = |layers: &str| format!("/service?{}", MAP.replace("LAYERS=direct", &format!("LAYERS={layers}")));
    assert_eq!((kept(&map("short")), kept(&map("long,short"))), (hours(1), hours(1)));
    assert_eq!((kept(&map("usual")), kept(&map("long,usual"))), (None, None));
    let whole = get(&app, &map("long"), &[]);
    let again = get(&app, &map("long"), &[("if-none-match", header(&whole, "etag").unwrap())]);
    assert_eq!((again.status(), header(&again, "cache-control")), (StatusCode::NOT_MODIFIED, hours(48).as_deref()));
}
