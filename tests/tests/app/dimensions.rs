//! Dimensions, styles and decorations on whole applications: what is announced, asked for, kept and refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mapproxy_core::auth::Operation;
use mapproxy_core::client::testkit::{ScriptedClient, response};
use mapproxy_core::decorate::{Decorator, DecoratorError, Picture};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const CONFIG: &str = r"
services:
  wms: {srs: ['EPSG:3857', 'EPSG:4326']}
  wmts:
    kvp: true
    restful: true
    restful_template: '/{Layer}/{TileMatrixSet}/{Time}/{TileMatrix}/{TileCol}/{TileRow}.{Format}'
  tms:
layers:
  - name: group
    title: Group
    layers:
      - name: cached
        title: Cached
        sources: [cached]
        dimensions:
          Time: {values: ['2020-01-01T00:00:00Z/2020-01-03T00:00:00Z/P1D'], default: '2020-01-02T00:00:00Z', send_default: true}
          elevation: {values: [0, 100], units: 'CRS:88', unit_symbol: m, nearest_value: true, send_default: true}
      - name: direct
        title: Direct
        sources: [server]
        dimensions:
          time: {values: ['2019-01-01T00:00:00Z', '2020-01-01T00:00:00Z'], send_default: true}
      - name: left_open
        title: Left open
        sources: [cached]
        dimensions:
          time: {values: ['2020-01-01T00:00:00Z', '2020-01-02T00:00:00Z']}
  - {name: plain, title: Plain, sources: [cached]}
  - {name: styled, title: Styled, sources: [styled]}
  - {name: fixed, title: Fixed, sources: [fixed]}
caches:
  cached: {grids: [GLOBAL_WEBMERCATOR], sources: [server], cache: {type: file, directory_layout: tms}}
sources:
  server:
    type: wms
    req: {url: 'http://server/', layers: a}
    forward_req_params: [TIME, elevation]
  styled:
    type: wms
    req: {url: 'http://styled/', layers: b}
    forward_req_params: [styles]
  fixed: {type: wms, req: {url: 'http://fixed/', layers: c}}
globals:
  cache: {base_dir: cache, meta_size: [1, 1], meta_buffer: 0}
";

struct Bench {
    app: App,
    client: ScriptedClient,
    directory: tempfile::TempDir,
}

fn png() -> Bytes {
    let options = ImageOptions::new(ImageFormat::png());
    let pixels = Pixels::filled(Size::new(256, 256), PixelMode::Rgb, Color::rgb(200, 10, 10));
    MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options).unwrap().bytes
}

fn bench(change: impl FnOnce(AppBuilder) -> AppBuilder) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let picture = png();
    let client = ScriptedClient::new(move |_| Ok(response("image/png", picture.clone())));
    let builder = AppBuilder::from_text(CONFIG, directory.path()).http_client(Arc::new(client.clone()));
    Bench { app: change(builder).build().unwrap().app, client, directory }
}

impl Bench {
    fn get(&self, uri: &str) -> Response {
        self.app.call(request(uri))
    }

    fn map(&self, rest: &str) -> Response {
        self.get(&format!(
            "/service?service=WMS&version=1.3.0&request=GetMap&crs=EPSG:3857&bbox=0,0,20037508.342789244,\
             20037508.342789244&width=256&height=256&format=image/png&{rest}"
        ))
    }

    /// Of the last request upstream.
    fn asked(&self, name: &str) -> Option<String> {
        let url = self.client.urls().pop()?;
        let mut pairs = url.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.replace("%3A", ":"))
    }

    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, files: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, files) } else { files.push(path.to_str().unwrap().to_owned()) }
            }
        }
        let mut files = Vec::new();
        let cache = self.directory.path().join("cache/cached_EPSG3857");
        walk(&cache, &mut files);
        let prefix = format!("{}/", cache.display());
        let mut files: Vec<_> = files.iter().map(|file| file.strip_prefix(&prefix).unwrap().to_owned()).collect();
        files.sort();
        files
    }
}

fn request(uri: &str) -> Request {
    http::Request::get(uri).header("host", "h").body(Bytes::new()).unwrap()
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body().as_bytes()).unwrap()
}

const FIRST: &str = "elevation-0/time-2020-01-01T00:00:00Z/1/1/0.png";
const DEFAULT: &str = "elevation-100/time-2020-01-02T00:00:00Z/1/1/0.png";

#[test]
fn a_map_is_kept_under_the_announced_spelling_of_its_values() {
    let bench = bench(|builder| builder);
    for time in ["2020-01-01T00:00:00Z", "2020-01-01", "2020-01-01T01:00:00%2B01:00", "2020-01-01T00:00:00.000Z"] {
        let answer = bench.map(&format!("layers=cached&styles=&TIME={time}&Elevation=0"));
        assert_eq!(answer.status(), 200, "{time}: {}", text(&answer));
        assert!(!answer.headers().contains_key("warning"));
    }
    assert_eq!(bench.files(), [FIRST]);
    assert_eq!(bench.client.urls().len(), 1);
    assert_eq!(bench.asked("time").unwrap(), "2020-01-01T00:00:00Z");
    assert_eq!(bench.asked("elevation").unwrap(), "0");
}

#[test]
fn what_a_client_does_not_say_is_the_default_and_it_is_told() {
    let bench = bench(|builder| builder);
    let answer = bench.map("layers=cached&styles=");
    let warnings: Vec<_> = answer.headers().get_all("warning").iter().map(|text| text.to_str().unwrap()).collect();
    let expected =
        ["99 Default value used: time=2020-01-02T00:00:00Z ISO8601", "99 Default value used: elevation=100 CRS:88"];
    assert_eq!(warnings, expected);
    assert_eq!(bench.files(), [DEFAULT]);
    let nearest = bench.map("layers=cached&styles=&elevation=20&time=2020-01-01");
    assert_eq!(nearest.headers()["warning"], "99 Nearest value used: elevation=0 CRS:88");
    assert_eq!(bench.files(), [FIRST, DEFAULT]);
}

#[test]
fn unless_the_default_is_to_be_sent_the_server_decides() {
    let bench = bench(|builder| builder);
    let answer = bench.map("layers=left_open&styles=");
    assert!(answer.status().is_success() && !answer.headers().contains_key("warning"));
    assert_eq!((bench.asked("time"), bench.files()), (None, vec!["1/1/0.png".to_owned()]));
    assert!(bench.map("layers=left_open&styles=&time=default").status().is_success());
    assert_eq!(bench.asked("time").unwrap(), "2020-01-02T00:00:00Z");
    assert!(bench.get("/wmts/left_open/GLOBAL_WEBMERCATOR/2020-01-01/1/1/0.png").status().is_success());
    assert_eq!(bench.asked("time").unwrap(), "2020-01-01T00:00:00Z");
    assert!(bench.get("/tiles/left_open/EPSG3857/1/1/0.png").status().is_success());
    assert_eq!(bench.client.urls().len(), 3, "the tile without a time was there");
}

#[test]
fn values_that_are_not_offered_are_exceptions_and_reach_nobody() {
    let bench = bench(|builder| builder);
    for time in ["2020-01-09", "../../x", "a/b", "2020-01-01,2020-01-02", "2020-01-01/2020-01-02", "%00"] {
        let answer = bench.map(&format!("layers=cached&styles=&time={time}"));
        assert!(text(&answer).contains("code=\"InvalidDimensionValue\""), "{time}: {}", text(&answer));
    }
    assert!(bench.map("layers=cached&styles=&time=current").status().is_success());
    assert_eq!(bench.client.urls().len(), 1);
    assert_eq!(bench.files(), ["elevation-100/time-2020-01-03T00:00:00Z/1/1/0.png"]);
}

#[test]
fn values_of_layers_without_dimensions_go_through_and_only_known_ones_are_kept() {
    let bench = bench(|builder| builder);
    assert!(bench.map("layers=plain&styles=&TIME=whatever").status().is_success());
    assert_eq!(bench.asked("time").unwrap(), "whatever");
    assert!(bench.map("layers=plain&styles=&TIME=../../x").status().is_success());
    assert!(bench.files().is_empty());
    assert!(bench.map("layers=plain&styles=&TIME=2020-01-01T00:00:00Z&ELEVATION=0").status().is_success());
    assert_eq!(bench.files(), [FIRST]);
    assert!(bench.map("layers=plain&styles=").status().is_success());
    assert_eq!(bench.files(), ["1/1/0.png", FIRST]);
}

#[test]
fn tiles_of_mapproxy_for_clients_who_write_time_in_capitals_are_read() {
    let bench = bench(|builder| builder);
    let file = bench
        .directory
        .path()
        .join(format!("cache/cached_EPSG3857/{}", FIRST.replace("elevation", "ELEVATION").replace("time", "TIME")));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, png()).unwrap();
    assert!(bench.map("layers=cached&styles=&time=2020-01-01&elevation=0").status().is_success());
    assert!(bench.client.urls().is_empty());
}

#[test]
fn a_single_tile_that_is_kept_is_answered_at_once() {
    let bench = bench(|builder| builder);
    let uri = "/service?service=WMS&version=1.3.0&request=GetMap&crs=EPSG:3857&bbox=0,0,20037508.342789244,\
               20037508.342789244&width=256&height=256&format=image/png&styles=&layers=cached&tiled=true&time=2020-01-01";
    assert!(bench.app.call_now(&request(uri)).is_none());
    let first = bench.get(uri);
    let now = bench.app.call_now(&request(uri)).unwrap();
    for name in ["etag", "last-modified", "cache-control", "content-type", "warning"] {
        assert_eq!(now.headers()[name], first.headers()[name], "{name}");
    }
    assert_eq!(now.body(), first.body());
    assert!(bench.app.call_now(&request(&uri.replace("time=2020-01-01", "time=2020-01-02"))).is_none());
    assert!(bench.app.call_now(&request(&uri.replace("width=256", "width=255"))).is_none());
    assert!(bench.app.call_now(&request(&uri.replace("image/png", "image/jpeg"))).is_none());
}

#[test]
fn layers_of_one_map_have_their_own_defaults() {
    let bench = bench(|builder| builder);
    assert!(bench.map("layers=direct,cached&styles=&transparent=true").status().is_success());
    let urls = bench.client.urls();
    assert!(urls.iter().any(|url| url.contains("time=2020-01-01T00%3A00%3A00Z")), "{urls:?}");
    assert!(urls.iter().any(|url| url.contains("elevation=100&time=2020-01-02T00%3A00%3A00Z")), "{urls:?}");
}

#[test]
fn tiles_have_dimensions_by_parameters_by_paths_and_by_default() {
    let bench = bench(|builder| builder);
    let kvp = "/service?service=WMTS&version=1.0.0&request=GetTile&style=&tilematrixset=GLOBAL_WEBMERCATOR\
               &tilematrix=1&tilecol=1&tilerow=0&format=png";
    assert_eq!(bench.get(&format!("{kvp}&layer=cached&TIME=2020-01-01&elevation=0&foo=x")).status(), 200);
    assert_eq!(bench.files(), [FIRST]);
    assert!(bench.app.call_now(&request(&format!("{kvp}&layer=cached&time=2020-01-01&elevation=0"))).is_some());
    assert!(bench.app.call_now(&request(&format!("{kvp}&layer=cached"))).is_none());
    let path = |layer: &str, time: &str| format!("/wmts/{layer}/GLOBAL_WEBMERCATOR/{time}/1/1/0.png");
    assert_eq!(bench.get(&path("cached", "default")).status(), 200);
    assert_eq!(bench.files(), [FIRST, DEFAULT]);
    let asked = bench.client.urls().len();
    assert_eq!(bench.get("/tiles/cached/EPSG3857/1/1/0.png").status(), 200);
    assert_eq!(bench.get(&path("cached", "2020-01-02T00:00:00Z")).status(), 200);
    assert_eq!(bench.client.urls().len(), asked, "all of them are one tile");
    for (uri, message) in [
        (path("cached", "2030-01-01"), "invalid dimension value (time=2030-01-01)."),
        (path("plain", "2020-01-01"), "unknown dimension: Time"),
        (format!("{kvp}&layer=cached&time=x"), "invalid dimension value (time=x)."),
    ] {
        let answer = bench.get(&uri);
        assert_eq!(answer.status(), 400);
        assert!(text(&answer).contains(message), "{}", text(&answer));
    }
    assert_eq!(bench.get(&path("plain", "default")).status(), 200);
}

#[test]
fn documents_announce_dimensions_as_their_version_does() {
    let bench = bench(|builder| builder);
    let wms = |version: &str| {
        let uri = format!("/service?service=WMS&version={version}&request=GetCapabilities");
        text(&bench.get(&uri)).to_owned()
    };
    let values = "2020-01-01T00:00:00Z,2020-01-02T00:00:00Z,2020-01-03T00:00:00Z";
    let new = format!(
        "<Dimension name=\"time\" units=\"ISO8601\" default=\"2020-01-02T00:00:00Z\" nearestValue=\"0\" \
         current=\"1\">{values}</Dimension>"
    );
    assert!(wms("1.3.0").contains(&new), "{}", wms("1.3.0"));
    let old = format!("<Extent name=\"time\" default=\"2020-01-02T00:00:00Z\">{values}</Extent>");
    assert!(wms("1.1.1").contains(&old) && wms("1.1.0").contains(&old), "{}", wms("1.1.1"));
    assert!(wms("1.1.1").contains("<Extent name=\"elevation\" default=\"100\" nearestValue=\"1\">0,100</Extent>"));

    let kvp = bench.get("/service?service=WMTS&request=GetCapabilities");
    assert!(text(&kvp).contains("<ows:Identifier>elevation</ows:Identifier>"));
    let restful = bench.get("/wmts/1.0.0/WMTSCapabilities.xml");
    let restful = text(&restful);
    assert!(restful.contains("/wmts/cached/{TileMatrixSet}/{time}/{TileMatrix}/{TileCol}/{TileRow}.png\""));
    assert!(restful.contains("/wmts/plain/{TileMatrixSet}/default/{TileMatrix}/{TileCol}/{TileRow}.png\""));
    assert!(restful.contains("<Value>2020-01-03T00:00:00Z</Value>"));
    assert!(!restful.contains("elevation"), "no path can say it");
}

#[test]
fn styles_go_to_the_sources_that_forward_them_layer_by_layer() {
    let bench = bench(|builder| builder);
    assert!(bench.map("layers=styled&styles=night").status().is_success());
    assert_eq!(bench.asked("styles").unwrap(), "night");
    assert!(bench.map("layers=styled&styles=default").status().is_success());
    assert_eq!(bench.asked("styles").unwrap(), "");
    assert!(bench.map("layers=fixed,styled&styles=,night&transparent=true").status().is_success());
    assert_eq!(bench.asked("styles").unwrap(), "night");
    let asked = bench.client.urls().len();
    for layers_and_styles in [
        "layers=fixed&styles=night",
        "layers=styled,fixed&styles=,night",
        "layers=styled,fixed&styles=night",
        "layers=cached&styles=night",
    ] {
        let answer = bench.map(layers_and_styles);
        assert!(text(&answer).contains("StyleNotDefined"), "{layers_and_styles}: {}", text(&answer));
    }
    assert_eq!(bench.client.urls().len(), asked);
}

/// Paints everything green, except what the KML shows.
#[derive(Debug)]
struct Green(Option<Duration>);

impl Decorator for Green {
    fn decorate(&self, image: MapImage, picture: &Picture<'_>) -> Result<MapImage, DecoratorError> {
        let size = image.size()?;
        if picture.request.headers().contains_key("x-fail") {
            return Err("told to".into());
        }
        assert_eq!(picture.layers, ["plain"]);
        assert!(picture.extent.bbox.min_x.abs() < 1.0 && picture.extent.srs.code() == "EPSG:3857");
        let pixels = Pixels::filled(size, PixelMode::Rgb, Color::rgb(0, 255, 0));
        Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())))
    }
    fn concerns(&self, operation: Operation) -> bool {
        operation != Operation::Tms
    }
    fn max_age(&self) -> Option<Duration> {
        self.0
    }
}

fn is_green(response: &Response) -> bool {
    let image = MapImage::from_encoded(response.body().as_bytes().to_vec().into(), Arc::default());
    image.into_pixels().unwrap().pixel(128, 128)[..3] == [0, 255, 0]
}

const TILE: &str = "/wmts/plain/GLOBAL_WEBMERCATOR/default/1/1/0.png";

#[test]
fn decorated_tiles_have_validators_of_their_own() {
    let bench = bench(|builder| builder.decorate(Arc::new(Green(None))));
    let answer = bench.get(TILE);
    assert!(is_green(&answer) && !answer.headers().contains_key("last-modified"));
    assert_eq!(answer.headers()["cache-control"], "private, no-cache");
    let again = http::Request::get(TILE).header("if-none-match", &answer.headers()["etag"]).body(Bytes::new()).unwrap();
    assert!(bench.app.call_now(&again).is_none(), "decorating takes its time");
    let again = bench.app.call(again);
    assert_eq!((again.status().as_u16(), &again.headers()["cache-control"]), (304, &answer.headers()["cache-control"]));
    let kept = bench.get("/tiles/plain/EPSG3857/1/1/0.png");
    assert!(!is_green(&kept) && kept.headers().contains_key("last-modified"), "what is kept is left alone");

    let public = self::bench(|builder| builder.decorate(Arc::new(Green(Some(Duration::from_secs(60))))));
    assert_eq!(public.get(TILE).headers()["cache-control"], "public, max-age=60, s-maxage=60");
}

#[test]
fn maps_are_decorated_also_where_they_are_single_tiles() {
    let bench = bench(|builder| builder.decorate(Arc::new(Green(None))));
    assert!(is_green(&bench.map("layers=plain&styles=")));
    assert!(is_green(&bench.map("layers=plain&styles=&tiled=true")));
    let uri = TILE;
    let failing = http::Request::get(uri).header("x-fail", "1").body(Bytes::new()).unwrap();
    let answer = bench.app.call(failing);
    assert_eq!(answer.status(), 500);
    assert!(!text(&answer).contains("told to"));
}
