//! Authorization, on whole applications: what each service asks, and what it shows.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use mapproxy_core::auth::{
    Authorizer, AuthorizerError, Bbox, Coverage, Decision, Feature, Grant, Operation, Partial, Question, Srs,
};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

/// `photo` varies from pixel to pixel and is kept as JPEG, `red`, `green` and `blue` are what they are called.
const CONFIG: &str = r"
services:
  demo:
  tms:
  wmts:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    bbox_srs: ['EPSG:4326', 'EPSG:3857']
    image_formats: ['image/png', 'image/jpeg']
layers:
  - name: root
    title: Everything
    layers:
      - {name: photo, title: Photo, sources: [photo]}
      - name: group
        title: Group
        layers:
          - {name: green, title: Green, sources: [green]}
          - {name: blue, title: Blue, sources: [blue]}
      - title: Heading
        layers:
          - {name: red, title: Red, sources: [red_tiles]}
caches:
  photo: {grids: [GLOBAL_WEBMERCATOR], sources: [photo_file], format: image/jpeg}
  red_tiles: {grids: [GLOBAL_WEBMERCATOR], sources: [red_file]}
sources:
  photo_file: {type: raster, file: photo.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}
  red_file: {type: raster, file: red.png, srs: 'EPSG:4326', bbox: [-20, 30, 30, 70]}
  green: {type: raster, file: green.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}
  blue: {type: raster, file: blue.png, srs: 'EPSG:4326', bbox: [0, 0, 180, 90]}
globals:
  cache: {base_dir: cache_data, meta_size: [1, 1], meta_buffer: 0}
  image: {paletted: false}
";

type Decide = dyn Fn(&Question<'_>) -> Result<Decision, AuthorizerError> + Send + Sync;

/// A question as it was asked.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    operation: &'static str,
    layers: Vec<String>,
    extent: Option<(String, [f64; 4])>,
}

/// Remembers what it was asked and answers by a function.
struct Recording {
    asked: Mutex<Vec<Asked>>,
    decide: Box<Decide>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

impl Authorizer for Recording {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        self.asked.lock().unwrap().push(Asked {
            operation: question.operation.as_str(),
            layers: question.layers.iter().map(|&layer| layer.to_owned()).collect(),
            extent: question.extent.map(|extent| (extent.srs.code().to_owned(), extent.bbox.to_array())),
        });
        (self.decide)(question)
    }

    fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("Basic realm=\"maps\""))
    }
}

/// An application in a directory of its own.
struct Bench {
    app: App,
    authorizer: Option<Arc<Recording>>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn open() -> Bench {
        Bench::new(None)
    }

    fn guarded(decide: impl Fn(&Question<'_>) -> Result<Decision, AuthorizerError> + Send + Sync + 'static) -> Bench {
        Bench::new(Some(Arc::new(Recording { asked: Mutex::default(), decide: Box::new(decide) })))
    }

    /// With one decision for everything.
    fn deciding(decision: impl Into<Decision>) -> Bench {
        let decision = decision.into();
        Bench::guarded(move |_| Ok(decision.clone()))
    }

    fn new(authorizer: Option<Arc<Recording>>) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        draw_sources(directory.path());
        let builder = AppBuilder::from_text(CONFIG, directory.path());
        let builder = match &authorizer {
            Some(authorizer) => builder.authorizer(Arc::clone(authorizer) as Arc<dyn Authorizer>),
            None => builder,
        };
        Bench { app: builder.build().unwrap().app, authorizer, _directory: directory }
    }

    fn get(&self, url: &str) -> Response {
        self.app.call(request(url))
    }

    fn status(&self, url: &str) -> u16 {
        self.get(url).status().as_u16()
    }

    fn picture(&self, url: &str) -> Picture {
        let response = self.get(url);
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(response.status(), StatusCode::OK, "{url}: {:?}", response.body());
        let image = MapImage::from_encoded(response.into_body().into_bytes(), Arc::default());
        Picture { content_type, pixels: Arc::unwrap_or_clone(image.pixels().unwrap()) }
    }

    fn text(&self, url: &str) -> String {
        let response = self.get(url);
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        String::from_utf8(response.into_body().into_bytes().to_vec()).unwrap()
    }

    /// The only question since the last call.
    fn asked(&self) -> Asked {
        let asked = std::mem::take(&mut *self.authorizer.as_ref().unwrap().asked.lock().unwrap());
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.into_iter().next().unwrap()
    }
}

#[derive(Debug)]
struct Picture {
    content_type: String,
    pixels: Pixels,
}

impl Picture {
    fn at(&self, x: u32, y: u32) -> [u8; 4] {
        self.pixels.pixel(x, y)
    }

    /// As `full` where a pixel may be seen, `ground` elsewhere; pixels next to the edge may be either.
    fn assert_part_of(&self, full: &Picture, ground: [u8; 4], visible: &Visible) {
        assert_eq!(self.pixels.size(), full.pixels.size());
        for &(x, y, is_inside) in &visible.0 {
            let expected = if is_inside { full.at(x, y) } else { ground };
            assert_eq!(self.at(x, y), expected, "{x} {y}, inside: {is_inside}");
        }
    }
}

/// Which pixels may be seen, without those next to the edge.
struct Visible(Vec<(u32, u32, bool)>);

impl Visible {
    /// By what holds of places in the picture.
    fn of(size: u32, is_visible: impl Fn(f64, f64) -> bool) -> Visible {
        let offsets = [-1.6, 0.0, 1.6].map(|dx| [-1.6, 0.0, 1.6].map(|dy| (dx, dy)));
        let pixel = |(x, y): (u32, u32)| {
            let (x_centre, y_centre) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
            let is_inside = is_visible(x_centre, y_centre);
            let mut near = offsets.as_flattened().iter().map(|(dx, dy)| is_visible(x_centre + dx, y_centre + dy));
            near.all(|near| near == is_inside).then_some((x, y, is_inside))
        };
        let pixels: Vec<_> = (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).filter_map(pixel).collect();
        let inside = pixels.iter().filter(|(_, _, is_inside)| *is_inside).count();
        assert!(inside > 100 && pixels.len() - inside > 100, "the edge should be in the picture");
        Visible(pixels)
    }
}

fn draw_sources(directory: &Path) {
    let write = |name: &str, pixels: Pixels| {
        let options = ImageOptions::new(ImageFormat::png());
        let image = MapImage::from_pixels(pixels, options.clone().into()).encode(&options).unwrap();
        std::fs::write(directory.join(name), image.bytes).unwrap();
    };
    let size = Size::new(360, 180);
    for (name, color) in [("red.png", (255, 0, 0)), ("green.png", (0, 255, 0)), ("blue.png", (0, 0, 255))] {
        write(name, Pixels::filled(size, PixelMode::Rgb, Color::rgb(color.0, color.1, color.2)));
    }
    let mut photo = Pixels::filled(size, PixelMode::Rgb, Color::WHITE);
    for (i, pixel) in photo.data_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % 360, i / 360);
        pixel.copy_from_slice(&[(x / 2) as u8, y as u8, ((x * 7 + y * 3) % 200) as u8]);
    }
    write("photo.png", photo);
}

fn request(url: &str) -> Request {
    let uri = url.parse::<http::Uri>().unwrap();
    http::Request::get(uri).header("host", "maps.example").body(Bytes::new()).unwrap()
}

fn map(layers: &str) -> String {
    format!(
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&STYLES=&SRS=EPSG:4326&BBOX=0,40,20,60&WIDTH=200&HEIGHT=200\
         &FORMAT=image/png&LAYERS={layers}"
    )
}

const WMS_CAPABILITIES: &str = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities";
const WMTS_CAPABILITIES: &str = "/service?SERVICE=WMTS&REQUEST=GetCapabilities";
const WMTS_KVP_TILE: &str = "/service?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=photo&STYLE=\
                             &TILEMATRIXSET=GLOBAL_WEBMERCATOR&TILEMATRIX=5&TILEROW=10&TILECOL=16&FORMAT=image/jpeg";
/// Longitudes 0 to 11.25, latitudes 48.9 to 55.8: in metres from 0, 6261721 to 1252344, 7514066.
const TILES: [&str; 4] = [
    "/wmts/photo/GLOBAL_WEBMERCATOR/05/16/10.jpeg",
    WMTS_KVP_TILE,
    "/tms/1.0.0/photo/EPSG3857/4/16/21.jpeg",
    "/tiles/photo/EPSG3857/5/16/10.jpeg?origin=nw",
];
const DOCUMENTS: [&str; 6] = [
    WMS_CAPABILITIES,
    WMTS_CAPABILITIES,
    "/wmts/1.0.0/WMTSCapabilities.xml",
    "/tms/1.0.0/",
    "/tms/1.0.0/photo/EPSG3857",
    "/demo/",
];

/// A box in degrees.
fn degrees(min_x: f64, min_y: f64, max_x: f64, max_y: f64) -> Coverage {
    Coverage::from_bbox(Bbox::new(min_x, min_y, max_x, max_y), Srs::wgs84())
}

fn granted(layers: &[&str]) -> Partial {
    layers.iter().fold(Partial::new(), |partial, layer| partial.layer(*layer, Grant::all()))
}

fn limited(layer: &str, area: Coverage) -> Partial {
    Partial::new().layer(layer, Grant::all().limited_to(area))
}

// AUT-01

#[test]
fn maps_and_documents_are_asked_for_by_operation_layers_and_extent() {
    let bench = Bench::deciding(Decision::Full);
    let in_degrees = Some(("EPSG:4326".to_owned(), [0.0, 40.0, 20.0, 60.0]));
    let v130 = map("red").replace("1.1.1", "1.3.0").replace("SRS=", "CRS=").replace("0,40,20,60", "40,0,60,20");
    for (url, operation, layers, extent) in [
        (map("red"), "wms.map", &["red"][..], &in_degrees),
        (map("blue,red"), "wms.map", &["blue", "red"], &in_degrees),
        (map("group"), "wms.map", &["green", "blue"], &in_degrees),
        (map("root"), "wms.map", &["photo", "green", "blue", "red"], &in_degrees),
        (v130, "wms.map", &["red"], &in_degrees),
        (WMS_CAPABILITIES.to_owned(), "wms.capabilities", &["root", "photo", "group", "green", "blue", "red"], &None),
        (WMTS_CAPABILITIES.to_owned(), "wmts", &["photo", "red"], &None),
        ("/wmts/1.0.0/WMTSCapabilities.xml".to_owned(), "wmts", &["photo", "red"], &None),
        ("/tms/1.0.0/".to_owned(), "tms", &["photo", "red"], &None),
        ("/tms/1.0.0/photo/EPSG3857".to_owned(), "tms", &["photo"], &None),
        ("/demo".to_owned(), "demo", &[], &None),
    ] {
        assert!(bench.status(&url) < 400, "{url}");
        let asked = bench.asked();
        assert_eq!(
            (asked.operation, &asked.layers[..], &asked.extent),
            (operation, &strings(layers)[..], extent),
            "{url}"
        );
    }
}

#[test]
fn the_demo_asks_for_itself_and_then_for_the_layers_of_each_service_that_it_lists() {
    let bench = Bench::deciding(Decision::Full);
    assert_eq!(bench.status("/demo/"), 200);
    let asked = std::mem::take(&mut *bench.authorizer.as_ref().unwrap().asked.lock().unwrap());
    let operations: Vec<&str> = asked.iter().map(|asked| asked.operation).collect();
    assert_eq!(operations, ["demo", "wmts", "tms", "wms.capabilities"]);
    assert_eq!(asked[1].layers, strings(&["photo", "red"]));
    assert_eq!(asked[3].layers, strings(&["root", "photo", "group", "green", "blue", "red"]));
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn tiles_are_asked_for_with_the_box_that_they_show() {
    let bench = Bench::deciding(Decision::Full);
    for (url, operation) in TILES.iter().zip(["wmts", "wmts", "tms", "tms"]) {
        assert_eq!(bench.status(url), 200, "{url}");
        let asked = bench.asked();
        assert_eq!((asked.operation, asked.layers.as_slice()), (operation, &strings(&["photo"])[..]));
        let (srs, bbox) = asked.extent.unwrap();
        assert_eq!((srs.as_str(), bbox.map(f64::round)), ("EPSG:3857", [0.0, 6_261_721.0, 1_252_344.0, 7_514_066.0]));
    }
}

#[test]
fn who_asks_is_in_the_headers_or_the_extensions_of_the_request() {
    #[derive(Clone)]
    struct User(&'static str);

    let bench = Bench::guarded(|question| {
        let user = question.request.extensions().get::<User>().map(|user| user.0);
        let key = question.request.headers().get("x-api-key");
        let knows = user == Some("joe") || key.is_some_and(|key| key == "sesame");
        Ok(if knows { Decision::Full } else { Decision::None })
    });
    assert_eq!(bench.status(TILES[0]), 403);
    let mut by_key = request(TILES[0]);
    by_key.headers_mut().insert("x-api-key", HeaderValue::from_static("sesame"));
    assert_eq!(bench.app.call(by_key).status(), 200);
    let mut by_login = request(TILES[0]);
    by_login.extensions_mut().insert(User("joe"));
    assert_eq!(bench.app.call(by_login).status(), 200);
    // The demo asks other services on behalf of whom it serves.
    let mut demo = request("/demo/?wms_capabilities");
    demo.extensions_mut().insert(User("joe"));
    let page = bench.app.call(demo);
    assert_eq!(page.status(), 200);
    assert!(String::from_utf8_lossy(page.body().as_bytes()).contains("GetCapabilities"));
}

// AUT-02

#[test]
fn none_is_a_403_and_unauthenticated_a_401_in_every_service() {
    let maps = [map("red"), map("group"), map("red") + "&EXCEPTIONS=inimage", map("photo") + "&TILED=true"];
    let urls =
        || maps.iter().map(String::as_str).chain(TILES).chain(DOCUMENTS).chain(["/demo", "/demo/?wms_layer=red"]);
    for (decision, status, text) in [
        (Decision::None, StatusCode::FORBIDDEN, "forbidden"),
        (Decision::Unauthenticated, StatusCode::UNAUTHORIZED, "unauthorized"),
    ] {
        let bench = Bench::deciding(decision);
        for url in urls() {
            let response = bench.get(url);
            assert_eq!(response.status(), status, "{url}");
            assert_eq!(response.body().as_bytes(), text.as_bytes(), "{url}");
            assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
            assert_eq!(response.headers()["cache-control"], "no-cache, no-store");
            let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap());
            assert_eq!(challenge, (status == StatusCode::UNAUTHORIZED).then_some("Basic realm=\"maps\""));
        }
    }
    let bench = Bench::deciding(Decision::Full);
    for url in urls().filter(|url| *url != "/demo") {
        assert_eq!(bench.status(&url.replace("&TILED=true", "")), 200, "{url}");
    }
}

#[test]
fn an_authorizer_that_fails_or_panics_shows_nothing() {
    let failing = Bench::guarded(|_| Err("the directory of users is away".into()));
    let panicking = Bench::guarded(|_| panic!("a defect"));
    for bench in [failing, panicking] {
        let map = map("red");
        for url in [map.as_str()].into_iter().chain(TILES).chain(DOCUMENTS) {
            let response = bench.get(url);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{url}");
            assert_eq!(response.body().as_bytes(), b"internal error", "{url}");
        }
    }
}

#[test]
fn what_is_not_granted_is_not_shown() {
    let map_only = Partial::new().layer("photo", Grant::of([Feature::Map]));
    let bench = Bench::deciding(map_only);
    assert_eq!(bench.status(&map("photo")), 200);
    assert!(TILES.iter().all(|url| bench.status(url) == 403));
    let tile_only = Partial::new().layer("photo", Grant::of([Feature::Tile])).layer("red", Grant::default());
    let bench = Bench::deciding(tile_only);
    assert_eq!((bench.status(&map("photo")), bench.status(&map("red"))), (403, 403));
    assert!(TILES.iter().all(|url| bench.status(url) == 200));
    assert_eq!(bench.status("/tiles/red/EPSG3857/5/16/10.png"), 403);
}

// AUT-03

#[test]
fn forbidden_layers_of_groups_are_left_out_and_those_named_are_refused() {
    let bench = Bench::deciding(granted(&["green"]));
    let group = bench.picture(&map("group"));
    assert_eq!((group.at(10, 10), group.at(190, 190)), ([0, 255, 0, 255], [0, 255, 0, 255]), "blue lies on green");
    assert_eq!(Bench::open().picture(&map("group")).at(10, 10), [0, 0, 255, 255]);
    assert_eq!(bench.picture(&map("root")).at(10, 10), [0, 255, 0, 255]);
    for refused in ["blue", "group,blue", "blue,group", "green,blue", "red"] {
        assert_eq!(bench.status(&map(refused)), 403, "{refused}");
    }
    let nothing = Bench::deciding(Partial::new());
    assert_eq!(nothing.picture(&map("group")).at(10, 10), [255; 4]);
}

// AUT-04

#[test]
fn a_layer_is_shown_inside_of_its_area() {
    let full = Bench::open().picture(&map("photo"));
    let (x, y) = (|x: f64| x / 10.0, |y: f64| 60.0 - y / 10.0);
    let in_box = move |px: f64, py: f64| (5.0..10.0).contains(&x(px)) && (45.0..55.0).contains(&y(py));
    let wkt = |text: &str| Coverage::from_wkt(text, Srs::wgs84()).unwrap();
    let in_triangle = move |px: f64, py: f64| x(px) > 2.0 && y(py) > 42.0 && (x(px) - 2.0) + (y(py) - 42.0) < 14.0;
    let triangle = wkt("POLYGON((2 42,16 42,2 56,2 42))");
    let with_hole = wkt("POLYGON((1 41,19 41,19 59,1 59,1 41),(5 45,5 55,10 55,10 45,5 45))");
    let in_frame = move |px, py| (1.0..19.0).contains(&x(px)) && (41.0..59.0).contains(&y(py)) && !in_box(px, py);
    let mercator = Bbox::new(556_597.453_966, 5_621_521.486_192, 1_113_194.907_933, 7_361_866.113_051);
    for (area, visible) in [
        (degrees(5.0, 45.0, 10.0, 55.0), Visible::of(200, in_box)),
        (Coverage::from_bbox(mercator, Srs::web_mercator()), Visible::of(200, in_box)),
        (triangle, Visible::of(200, in_triangle)),
        (with_hole, Visible::of(200, in_frame)),
    ] {
        let bench = Bench::deciding(limited("photo", area));
        for (params, ground) in [
            ("", [255, 255, 255, 255]),
            ("&BGCOLOR=0xff00ff", [255, 0, 255, 255]),
            ("&TRANSPARENT=true", [255, 255, 255, 0]),
        ] {
            bench.picture(&(map("photo") + params)).assert_part_of(&full, ground, &visible);
        }
        let jpeg = bench.picture(&(map("photo").replace("image/png", "image/jpeg") + "&TRANSPARENT=true"));
        assert_eq!(jpeg.content_type, "image/jpeg");
        assert!(jpeg.at(195, 195)[..3].iter().all(|&sample| sample > 250), "no transparency in JPEG");
    }
}

#[test]
fn a_limit_clips_its_layer_and_shows_those_below() {
    let area = degrees(5.0, 45.0, 10.0, 55.0);
    let open = Bench::open();
    let (photo, green) = (open.picture(&map("photo")), open.picture(&map("green")));
    let visible = Visible::of(200, |x, y| (50.0..100.0).contains(&x) && (50.0..150.0).contains(&y));
    let one = granted(&["green"]).layer("photo", Grant::all().limited_to(area.clone()));
    // The photo is opaque where it is whole, so what lies below must be asked for all the same.
    Bench::deciding(one).picture(&map("green,photo")).assert_part_of(&photo, green.at(0, 0), &visible);
    let all = granted(&["green", "photo"]).limited_to(area.clone());
    Bench::deciding(all).picture(&map("green,photo")).assert_part_of(&photo, [255; 4], &visible);
    let both = limited("photo", area).limited_to(degrees(5.0, 50.0, 20.0, 60.0));
    let in_both = Visible::of(200, |x, y| (50.0..100.0).contains(&x) && (50.0..100.0).contains(&y));
    Bench::deciding(both).picture(&map("photo")).assert_part_of(&photo, [255; 4], &in_both);
}

#[test]
fn maps_within_the_limit_are_as_without_and_maps_beside_it_are_blank() {
    let bench = Bench::deciding(limited("photo", degrees(-1.0, 30.0, 30.0, 70.0)));
    let (within, open) = (bench.get(&map("photo")), Bench::open().get(&map("photo")));
    assert_eq!(within.body(), open.body());
    let bench = Bench::deciding(limited("photo", degrees(-50.0, 30.0, -30.0, 70.0)));
    let beside = bench.picture(&map("photo"));
    assert!((0..200).all(|i| beside.at(i, i) == [255; 4]));
}

#[test]
fn a_box_bends_with_its_edges_in_another_srs() {
    // The box around the limit in this SRS has corners that are no part of the limit.
    let utm = map("photo").replace("EPSG:4326", "EPSG:25832").replace("0,40,20,60", "100000,5400000,900000,6200000");
    let full = Bench::open().picture(&utm);
    let to_degrees = |x: f64, y: f64| {
        let mut point = [(100_000.0 + x * 4000.0, 6_200_000.0 - y * 4000.0)];
        Srs::new("EPSG:25832").unwrap().transform_points(&Srs::wgs84(), &mut point).unwrap();
        point[0]
    };
    let visible = Visible::of(200, |x, y| {
        let (lon, lat) = to_degrees(x, y);
        (5.0..13.0).contains(&lon) && (50.0..55.0).contains(&lat)
    });
    let bench = Bench::deciding(limited("photo", degrees(5.0, 50.0, 13.0, 55.0)));
    bench.picture(&utm).assert_part_of(&full, [255; 4], &visible);
}

#[test]
fn no_box_is_so_strange_that_it_shows_more() {
    let bench = Bench::deciding(limited("green", degrees(5.0, 45.0, 10.0, 55.0)));
    let turn = 40_075_016.685_578_49;
    let around = format!("600000,6000000,{},6100000", 600_000.0 + 4.0 * turn);
    for (srs, bbox) in [
        ("EPSG:3857", around.as_str()),
        ("EPSG:3857", "-20037508,-20037508,20037508,20037508"),
        ("EPSG:4326", "-180,-90,180,90"),
        ("EPSG:4326", "7,46,1447,47"),
        ("EPSG:25832", "-30000000,-30000000,30000000,30000000"),
    ] {
        let url = map("green").replace("EPSG:4326", srs).replace("0,40,20,60", bbox);
        let response = bench.get(&url);
        if response.headers()["content-type"] != "image/png" {
            continue;
        }
        let picture = bench.picture(&url);
        let seen = (0..200).flat_map(|y| (0..200).map(move |x| (x, y))).filter(|&(x, y)| picture.at(x, y) != [255; 4]);
        let seen = seen.count();
        assert!(seen <= 450, "{srs} {bbox}: {seen} pixels");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_map_is_asked_for_shows_places_in_the_area_only(
        area in 0_usize..3,
        code in proptest::sample::select(&["EPSG:4326", "EPSG:3857", "EPSG:25832"][..]),
        place in (-40.0..40.0, 20.0..75.0),
        (width, height) in (0.001..400.0_f64, 0.001..100.0_f64),
        stretch in 0.1..10.0_f64,
    ) {
        thread_local! {
            static BENCHES: Vec<Bench> = areas().map(|area| Bench::deciding(limited("green", area))).into();
        }
        const SIDE: u32 = 40;
        let srs = Srs::new(code).unwrap();
        let mut centre = [place];
        Srs::wgs84().transform_points(&srs, &mut centre).unwrap();
        let unit = if code == "EPSG:4326" { 1.0 } else { 111_000.0 };
        let (width, height) = (width * unit * stretch, height * unit);
        let bbox = [centre[0].0 - width / 2.0, centre[0].1 - height / 2.0, centre[0].0 + width / 2.0, centre[0].1 + height / 2.0];
        let url = map("green")
            .replace("EPSG:4326", code)
            .replace("0,40,20,60", &bbox.map(|edge| edge.to_string()).join(","))
            .replace("WIDTH=200&HEIGHT=200", &format!("WIDTH={SIDE}&HEIGHT={SIDE}"));
        let picture = BENCHES.with(|benches| {
            let is_picture = benches[area].get(&url).headers()["content-type"] == "image/png";
            is_picture.then(|| benches[area].picture(&url))
        });
        let Some(picture) = picture else { return Ok(()) };
        for (x, y) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y))) {
            if picture.at(x, y) == [255; 4] {
                continue;
            }
            // The pixel, or what lies within a pixel and a half of its centre.
            let offsets = || [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5].into_iter();
            let mut near = offsets().flat_map(|dx| offsets().map(move |dy| (dx, dy)));
            let is_permitted = near.any(|(dx, dy)| {
                let at = |pixel: u32, offset: f64| (f64::from(pixel) + 0.5 + offset) / f64::from(SIDE);
                let point = (bbox[0] + at(x, dx) * width, bbox[3] - at(y, dy) * height);
                is_in_area(area, &srs, point, width.max(height) / f64::from(SIDE) / unit)
            });
            proptest::prop_assert!(is_permitted, "{url}: pixel {x} {y}");
        }
    }
}

fn areas() -> [Coverage; 3] {
    let utm = Srs::new("EPSG:25832").unwrap();
    [
        degrees(5.0, 45.0, 10.0, 55.0),
        Coverage::from_wkt("POLYGON((0 40,20 40,0 60,0 40))", Srs::wgs84()).unwrap(),
        Coverage::from_bbox(Bbox::new(400_000.0, 5_000_000.0, 900_000.0, 6_000_000.0), utm),
    ]
}

/// The point lies in the area, or nearer than half a pixel of `pixel` degrees to it.
fn is_in_area(area: usize, srs: &Srs, point: (f64, f64), pixel: f64) -> bool {
    let area_srs = if area == 2 { Srs::new("EPSG:25832").unwrap() } else { Srs::wgs84() };
    let mut point = [point];
    srs.transform_points(&area_srs, &mut point).unwrap();
    let [(x, y)] = point;
    let near = pixel / 2.0;
    match area {
        0 => (5.0 - near..10.0 + near).contains(&x) && (45.0 - near..55.0 + near).contains(&y),
        // Its long edge is straight in the SRS of the map, and up to 1.5 degrees off this one.
        1 => x > -near && y > 40.0 - near && x + (y - 40.0) < 20.0 + 1.5 + 2.0 * near,
        _ => {
            let near = near * 111_000.0;
            (400_000.0 - near..900_000.0 + near).contains(&x) && (5_000_000.0 - near..6_000_000.0 + near).contains(&y)
        }
    }
}

#[test]
fn an_area_without_image_in_the_srs_of_the_map_shows_nothing() {
    let bench = Bench::deciding(limited("green", degrees(170.0, 45.0, 190.0, 55.0)));
    assert_eq!(bench.picture(&map("green")).at(100, 100), [255; 4]);
    let mercator = map("green").replace("EPSG:4326", "EPSG:3857").replace("0,40,20,60", "0,0,1000000,1000000");
    assert_eq!(bench.status(&mercator), 500);
    let bench = Bench::deciding(limited("photo", degrees(170.0, 45.0, 190.0, 55.0)));
    assert!(TILES.iter().all(|url| bench.status(url) == 500));
}

#[test]
fn a_tile_asked_for_as_a_map_is_clipped_too() {
    let url = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&STYLES=&SRS=EPSG:3857&LAYERS=red&TILED=true\
               &BBOX=0,6261721.357121638,1252344.2714243277,7514065.628545966&WIDTH=256&HEIGHT=256&FORMAT=image/png";
    let open = Bench::open().get(url);
    assert!(open.headers().contains_key("etag"));
    let across = Bench::deciding(limited("red", degrees(5.0, 45.0, 10.0, 60.0)));
    let picture = across.picture(url);
    assert_eq!(
        (picture.at(150, 128), picture.at(50, 128), picture.at(250, 128)),
        ([255, 0, 0, 255], [255; 4], [255; 4])
    );
    assert!(!across.get(url).headers().contains_key("etag"));
    let within = Bench::deciding(limited("red", degrees(-1.0, 45.0, 20.0, 60.0)));
    assert_eq!(within.get(url).body(), open.body());
    assert_eq!(Bench::deciding(granted(&["photo"])).status(url), 403);
}

// AUT-05

/// Names of the layers of a WMS document.
fn layer_names(document: &str) -> Vec<String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(document, options).unwrap();
    let layers = document.descendants().filter(|node| node.tag_name().name() == "Layer");
    let name = |layer: roxmltree::Node<'_, '_>| {
        let named = |names: &[&str]| layer.children().find(|child| names.contains(&child.tag_name().name()));
        let element = named(&["Name", "Identifier"]).or_else(|| named(&["Title"]));
        element.unwrap().text().unwrap().to_owned()
    };
    layers.map(name).collect()
}

/// Edges of the box called `element` of the layer called `layer`.
fn edges(document: &str, layer: &str, element: &str, srs: Option<&str>) -> [f64; 4] {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(document, options).unwrap();
    let name = document.descendants().find(|node| node.tag_name().name() == "Name" && node.text() == Some(layer));
    let mut boxes = name.unwrap().parent().unwrap().children().filter(|node| node.tag_name().name() == element);
    let found = boxes.find(|node| srs.is_none() || node.attribute("SRS") == srs);
    let found = found.unwrap_or_else(|| panic!("{}", document.input_text()));
    ["minx", "miny", "maxx", "maxy"].map(|edge| found.attribute(edge).unwrap().parse().unwrap())
}

#[test]
fn wms_capabilities_list_what_may_be_seen() {
    let all = ["root", "photo", "group", "green", "blue", "Heading", "red"];
    assert_eq!(layer_names(&Bench::deciding(Decision::Full).text(WMS_CAPABILITIES)), all);
    for (layers, listed) in [
        (&all[..], &all[..]),
        (&["root", "red"], &["root", "Heading", "red"]),
        (&["root", "group", "green"], &["root", "group", "green"]),
        // Within a group that may not be seen, and a group in which nothing may be seen.
        (&["root", "green"], &["root"]),
        (&["root", "group"], &["root"]),
        (&[], &["root"]),
    ] {
        let bench = Bench::deciding(granted(layers));
        for version in ["1.0.0", "1.1.0", "1.1.1", "1.3.0"] {
            let document = bench.text(&WMS_CAPABILITIES.replace("1.1.1", version));
            assert_eq!(layer_names(&document), listed, "{layers:?} {version}");
        }
        // What one caller saw is not kept for another.
        assert_eq!(bench.text(WMS_CAPABILITIES), bench.text(WMS_CAPABILITIES));
    }
    let tiled = Bench::deciding(granted(&["root", "photo"])).text(&format!("{WMS_CAPABILITIES}&TILED=true"));
    assert!(tiled.contains("<Layers>photo</Layers>") && !tiled.contains("<Layers>red</Layers>"), "{tiled}");
    let tiles_only = Partial::new().layer("root", Grant::all()).layer("photo", Grant::of([Feature::Tile]));
    assert_eq!(layer_names(&Bench::deciding(tiles_only).text(WMS_CAPABILITIES)), ["root"]);
}

#[test]
fn one_application_lists_different_layers_for_different_callers() {
    let bench = Bench::guarded(|question| {
        Ok(match question.request.headers().get("x-user") {
            Some(_) => Decision::Full,
            None => granted(&["root", "photo"]).into(),
        })
    });
    let mut known = request(WMS_CAPABILITIES);
    known.headers_mut().insert("x-user", HeaderValue::from_static("joe"));
    for _ in 0..2 {
        let document = bench.app.call(known.clone()).into_body().into_bytes();
        assert_eq!(layer_names(std::str::from_utf8(&document).unwrap()).len(), 7);
        assert_eq!(layer_names(&bench.text(WMS_CAPABILITIES)), ["root", "photo"]);
        assert!(bench.app.call_now(&request(WMS_CAPABILITIES)).is_none());
    }
}

#[test]
fn wms_capabilities_say_where_layers_may_be_seen() {
    let area = degrees(5.0, 45.0, 10.0, 55.0);
    let metres = [556_597.0, 5_621_521.0, 1_113_195.0, 7_361_866.0];
    let limited = granted(&["root", "photo", "group", "green"]).layer("photo", Grant::all().limited_to(area.clone()));
    let document = Bench::deciding(limited).text(WMS_CAPABILITIES);
    assert_eq!(edges(&document, "photo", "LatLonBoundingBox", None), [5.0, 45.0, 10.0, 55.0]);
    assert_eq!(edges(&document, "photo", "BoundingBox", Some("EPSG:3857")).map(f64::round), metres);
    assert_eq!(edges(&document, "green", "LatLonBoundingBox", None)[0], -180.0);

    let narrower = degrees(-10.0, 40.0, 7.0, 50.0);
    let everywhere = granted(&["root", "group", "green", "blue"])
        .layer("photo", Grant::all().limited_to(narrower))
        .limited_to(area.clone());
    let document = Bench::deciding(everywhere).text(WMS_CAPABILITIES);
    for layer in ["root", "group", "green", "blue"] {
        assert_eq!(edges(&document, layer, "LatLonBoundingBox", None), [5.0, 45.0, 10.0, 55.0], "{layer}");
    }
    assert_eq!(edges(&document, "photo", "LatLonBoundingBox", None), [5.0, 45.0, 7.0, 50.0]);

    // Red lies elsewhere.
    let elsewhere = granted(&["root", "photo"]).layer("red", Grant::all().limited_to(degrees(100.0, 0.0, 110.0, 9.0)));
    assert_eq!(layer_names(&Bench::deciding(elsewhere).text(WMS_CAPABILITIES)), ["root", "photo"]);
    let utm = Coverage::from_bbox(Bbox::new(5e5, 5.5e6, 7e5, 5.7e6), Srs::new("EPSG:25832").unwrap());
    let utm = granted(&["root"]).layer("photo", Grant::all().limited_to(utm));
    let document = Bench::deciding(utm).text(WMS_CAPABILITIES);
    assert_eq!(edges(&document, "photo", "BoundingBox", Some("EPSG:25832")), [5e5, 5.5e6, 7e5, 5.7e6]);
}

#[test]
fn wmts_capabilities_list_what_may_be_seen_and_where() {
    for url in [WMTS_CAPABILITIES, "/wmts/1.0.0/WMTSCapabilities.xml"] {
        let both = Bench::deciding(granted(&["photo", "red"])).text(url);
        assert_eq!(layer_names(&both), ["photo", "red"]);
        let document = Bench::deciding(limited("red", degrees(5.0, 45.0, 10.0, 55.0))).text(url);
        assert_eq!(layer_names(&document), ["red"]);
        assert!(document.contains("<ows:LowerCorner>5.0 45.0<") && document.contains("<ows:UpperCorner>10.0 55.0<"));
        let nothing = Bench::deciding(Partial::new()).text(url);
        assert_eq!(layer_names(&nothing).len(), 0);
        assert!(!nothing.contains("<TileMatrixSet>"), "{nothing}");
        let elsewhere = Bench::deciding(limited("red", degrees(100.0, 0.0, 110.0, 9.0))).text(url);
        assert_eq!(layer_names(&elsewhere).len(), 0);
    }
}

#[test]
fn tms_documents_list_what_may_be_seen_and_where() {
    let service = "/tms/1.0.0/";
    let listed = |bench: &Bench| bench.text(service).matches("<TileMap ").count();
    assert_eq!(listed(&Bench::deciding(granted(&["photo", "red"]))), 2);
    assert_eq!(listed(&Bench::deciding(Partial::new())), 0);
    let bench = Bench::deciding(limited("red", degrees(5.0, 45.0, 10.0, 55.0)));
    assert_eq!(listed(&bench), 1);
    assert!(bench.text(service).contains("/tms/1.0.0/red/EPSG3857"));
    let map = bench.text("/tms/1.0.0/red/EPSG3857");
    assert!(map.contains("<BoundingBox minx=\"556597.4539663"), "{map}");
    assert!(map.contains("<Origin x=\"-20037508.342789244\" y=\"-20037508.342789244\"/>"), "{map}");
    assert_eq!(bench.status("/tms/1.0.0/photo/EPSG3857"), 403);
    let elsewhere = Bench::deciding(limited("red", degrees(100.0, 0.0, 110.0, 9.0)));
    assert_eq!((listed(&elsewhere), elsewhere.status("/tms/1.0.0/red/EPSG3857")), (0, 403));
    // What the service is called is no secret.
    assert_eq!(Bench::deciding(Decision::None).status("/tms/"), 200);
}

// AUT-06

/// Column and row of a tile's pixel in degrees.
fn tile_degrees(x: f64, y: f64) -> (f64, f64) {
    let (x, y) = (x * 1_252_344.271_424 / 256.0, 7_514_065.628_546 - y * 1_252_344.271_424 / 256.0);
    let mut point = [(x, y)];
    Srs::web_mercator().transform_points(&Srs::wgs84(), &mut point).unwrap();
    point[0]
}

#[test]
fn tiles_across_the_limit_are_clipped_pngs() {
    let open = Bench::open();
    let triangle = "POLYGON((2 49.5,10 49.5,2 55,2 49.5))";
    let in_box = |x: f64, y: f64| {
        let (lon, lat) = tile_degrees(x, y);
        (5.0..10.0).contains(&lon) && (45.0..53.0).contains(&lat)
    };
    let utm =
        Coverage::from_bbox(Bbox::new(400_000.0, 5_600_000.0, 600_000.0, 5_800_000.0), Srs::new("EPSG:25832").unwrap());
    let in_utm = |x: f64, y: f64| {
        let mut point = [tile_degrees(x, y)];
        Srs::wgs84().transform_points(&Srs::new("EPSG:25832").unwrap(), &mut point).unwrap();
        let [(x, y)] = point;
        (400_000.0..600_000.0).contains(&x) && (5_600_000.0..5_800_000.0).contains(&y)
    };
    let in_triangle = |x: f64, y: f64| {
        // Straight in metres between its corners, as in the picture.
        let metres = |lon: f64, lat: f64| {
            let mut point = [(lon, lat)];
            Srs::wgs84().transform_points(&Srs::web_mercator(), &mut point).unwrap();
            point[0]
        };
        let ((x0, y0), (x1, _), (_, y1)) = (metres(2.0, 49.5), metres(10.0, 49.5), metres(2.0, 55.0));
        let (lon, lat) = tile_degrees(x, y);
        let (mx, my) = metres(lon, lat);
        mx > x0 && my > y0 && (mx - x0) / (x1 - x0) + (my - y0) / (y1 - y0) < 1.0
    };
    for (area, visible) in [
        (degrees(5.0, 45.0, 10.0, 53.0), Visible::of(256, in_box)),
        (utm, Visible::of(256, in_utm)),
        (Coverage::from_wkt(triangle, Srs::wgs84()).unwrap(), Visible::of(256, in_triangle)),
    ] {
        let own = Bench::deciding(limited("photo", area.clone()));
        let global = Bench::deciding(granted(&["photo"]).limited_to(area));
        for url in TILES {
            let full = open.picture(url);
            assert_eq!(full.content_type, "image/jpeg");
            for bench in [&own, &global] {
                let part = bench.picture(url);
                assert_eq!(part.content_type, "image/png");
                part.assert_part_of(&full, [255, 255, 255, 0], &visible);
            }
        }
    }
}

#[test]
fn tiles_within_the_limit_are_as_stored_and_tiles_beside_it_are_empty() {
    let open = Bench::open();
    let within = Bench::deciding(limited("photo", degrees(-1.0, 30.0, 30.0, 70.0)));
    let beside = Bench::deciding(limited("photo", degrees(-50.0, 30.0, -30.0, 70.0)));
    let both = limited("photo", degrees(-1.0, 30.0, 30.0, 70.0)).limited_to(degrees(-50.0, 30.0, -30.0, 70.0));
    let both = Bench::deciding(both);
    for url in TILES {
        let (full, same) = (open.get(url), within.get(url));
        assert_eq!((same.body(), &same.headers()["content-type"]), (full.body(), &full.headers()["content-type"]));
        for bench in [&beside, &both] {
            let empty = bench.picture(url);
            assert_eq!(empty.content_type, "image/png");
            assert!((0..256).all(|i| empty.at(i, i)[3] == 0));
        }
    }
}

// AUT-08

#[test]
fn the_demo_is_shown_whole_or_not_at_all() {
    let bench = Bench::deciding(granted(&["root", "photo"]));
    for page in ["/demo/", "/demo", "/demo/?wms_layer=photo", "/demo/?wms_capabilities"] {
        assert_eq!(bench.status(page), 403, "{page}");
    }
    assert_eq!(bench.status("/demo/static/demo.css"), 200);
    let demo_only = Bench::guarded(|question| {
        Ok(if question.operation == Operation::Demo { Decision::Full } else { Decision::Unauthenticated })
    });
    assert_eq!(demo_only.status("/demo/"), 200);
    // A page about a document that may not be seen is no page.
    let document = demo_only.get("/demo/?wmts_capabilities");
    assert_eq!(document.status(), StatusCode::UNAUTHORIZED);
    assert!(document.headers().contains_key("www-authenticate"));
}

// Caches in between

#[test]
fn with_an_authorizer_no_answer_is_for_shared_caches() {
    let area = degrees(5.0, 45.0, 10.0, 53.0);
    for decision in [Decision::Full, limited("photo", area).into()] {
        let bench = Bench::deciding(decision.clone());
        let is_partial = matches!(decision, Decision::Partial(_));
        let maps = [map("photo")];
        let urls = maps.iter().map(String::as_str).chain(TILES).chain(DOCUMENTS);
        for url in urls.filter(|url| !is_partial || !url.contains("demo")) {
            for _ in 0..2 {
                let response = bench.get(url);
                assert_eq!(response.headers()["cache-control"], "private, no-cache", "{url}");
                let is_document = DOCUMENTS.contains(&url);
                assert!(!is_partial || is_document || !response.headers().contains_key("etag"), "{url}");
            }
        }
    }
    let tile = Bench::open().get(TILES[0]);
    assert_eq!(tile.headers()["cache-control"], "public, max-age=259200, s-maxage=259200");
}

#[test]
fn a_client_with_a_tile_is_asked_again_before_it_is_told_to_keep_it() {
    let is_known = Arc::new(Mutex::new(Decision::Full));
    let decision = Arc::clone(&is_known);
    let bench = Bench::guarded(move |_| Ok(decision.lock().unwrap().clone()));
    bench.get(TILES[0]);
    let etag = bench.get(TILES[0]).headers()["etag"].clone();
    let again = || {
        let mut request = request(TILES[0]);
        request.headers_mut().insert("if-none-match", etag.clone());
        bench.app.call(request)
    };
    let kept = again();
    assert_eq!(
        (kept.status(), &kept.headers()["cache-control"]),
        (StatusCode::NOT_MODIFIED, &HeaderValue::from_static("private, no-cache"))
    );
    *is_known.lock().unwrap() = limited("photo", degrees(5.0, 45.0, 10.0, 53.0)).into();
    assert_eq!(again().status(), StatusCode::OK);
    *is_known.lock().unwrap() = Decision::None;
    assert_eq!(again().status(), StatusCode::FORBIDDEN);
}

#[test]
fn cached_tiles_are_answered_at_once_only_where_nobody_is_to_be_asked() {
    let open = Bench::open();
    let guarded = Bench::deciding(Decision::Full);
    for url in TILES {
        for bench in [&open, &guarded] {
            bench.get(url);
        }
        assert!(open.app.call_now(&request(url)).is_some(), "{url}");
        assert!(guarded.app.call_now(&request(url)).is_none(), "{url}");
    }
    guarded.authorizer.as_ref().unwrap().asked.lock().unwrap().clear();
    assert!(guarded.app.call_now(&request(WMS_CAPABILITIES)).is_none());
    assert!(guarded.authorizer.as_ref().unwrap().asked.lock().unwrap().is_empty());
}
