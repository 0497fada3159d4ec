//! What is no whole answer to what was asked is never stored, by whatever way it comes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use mapproxy_client::{ErrorKind, UpstreamRequest};
use mapproxy_core::{App, AppBuilder, Application, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const CONFIG: &str = r"
services: {wmts: {}, wms: {}}
layers:
  - {name: map, title: a, sources: [map]}
  - {name: tiles, title: b, sources: [tiles]}
  - {name: two, title: c, sources: [two]}
  - {name: above, title: d, sources: [above]}
  - {name: reprojected, title: e, sources: [reprojected]}
  - {name: scaled, title: f, sources: [scaled]}
  - {name: stand_in, title: g, sources: [stand_in]}
  - {name: mixed, title: h, sources: [mixed]}
  - {name: dated, title: i, sources: [dated], dimensions: {time: {values: ['2020', '2021']}}}
caches:
  map: {grids: [GLOBAL_WEBMERCATOR], sources: [map]}
  tiles: {grids: [GLOBAL_WEBMERCATOR], sources: [tiles]}
  two: {grids: [GLOBAL_WEBMERCATOR], sources: [good, map]}
  above: {grids: [GLOBAL_WEBMERCATOR], sources: [below]}
  below: {grids: [GLOBAL_WEBMERCATOR], sources: [map]}
  reprojected: {grids: [degrees], sources: [below]}
  scaled: {grids: [GLOBAL_WEBMERCATOR], sources: [deep], upscale_tiles: 2, cache_rescaled_tiles: true}
  stand_in: {grids: [GLOBAL_WEBMERCATOR], sources: [stand_in]}
  mixed: {grids: [GLOBAL_WEBMERCATOR], sources: [good, stand_in]}
  dated: {grids: [GLOBAL_WEBMERCATOR], sources: [dated]}
sources:
  map: {type: wms, req: {url: 'http://map/', layers: a}}
  good: {type: wms, req: {url: 'http://good/', layers: a}}
  deep: {type: wms, req: {url: 'http://map/', layers: a}, max_res: 30000}
  tiles: {type: tile, url: 'http://tiles/%(z)s/%(x)s/%(y)s.png', grid: GLOBAL_WEBMERCATOR}
  stand_in: {type: wms, req: {url: 'http://map/', layers: b}, on_error: {other: {response: '#ff0000', cache: false}}}
  dated: {type: wms, req: {url: 'http://map/', layers: c}, forward_req_params: [time]}
grids: {degrees: {base: GLOBAL_GEODETIC, bbox: [-180, -90, 180, 90], origin: nw}}
globals: {cache: {base_dir: cache, meta_size: [1, 1], meta_buffer: 0}, http: {hide_error_details: false}}
";

/// Ways not to answer.
const FAULTS: [&str; 7] = ["status", "timeout", "page", "page as picture", "half", "empty", "size"];

fn png(size: Size) -> Bytes {
    let options = ImageOptions::new(ImageFormat::png());
    let pixels = Pixels::filled(size, PixelMode::Rgb, Color::rgb(200, 10, 10));
    MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options).unwrap().bytes
}

fn size_of(request: &UpstreamRequest) -> Size {
    let number = |name: &str| {
        let mut pairs = request.url.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(256, |(_, value)| value.parse().unwrap())
    };
    Size::new(number("width"), number("height"))
}

struct Bench {
    app: App,
    client: ScriptedClient,
    fails: Arc<AtomicBool>,
    directory: tempfile::TempDir,
}

fn bench(fault: &'static str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let client = ScriptedClient::new({
        let fails = Arc::clone(&fails);
        move |request| {
            let whole = png(size_of(request));
            if request.url.starts_with("http://good/") || !fails.load(Ordering::SeqCst) {
                return Ok(response("image/png", whole));
            }
            match fault {
                "status" => Err(failure(ErrorKind::Status(500), request)),
                // Whatever breaks off between client and server comes so.
                "timeout" => Err(failure(ErrorKind::Timeout, request)),
                "page" => Ok(response("text/html", "<html>out of order</html>")),
                "page as picture" => Ok(response("image/png", "<html>out of order</html>")),
                "half" => Ok(response("image/png", whole.slice(..whole.len() / 2))),
                "empty" => Ok(response("image/png", "")),
                _ => Ok(response("image/png", png(Size::new(17, 256)))),
            }
        }
    });
    let builder = AppBuilder::from_text(CONFIG, directory.path()).http_client(Arc::new(client.clone()));
    Bench { app: builder.build().unwrap().app, client, fails, directory }
}

impl Bench {
    fn get(&self, uri: &str) -> Response {
        self.app.call(http::Request::get(uri).header("host", "h").body(Bytes::new()).unwrap())
    }

    fn tile(&self, layer: &str, grid: &str) -> Response {
        self.get(&format!("/wmts/{layer}/{grid}/1/1/0.png"))
    }

    fn stored(&self) -> Vec<String> {
        fn walk(folder: &Path, files: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, files) } else { files.push(path.display().to_string()) }
            }
        }
        let mut files = Vec::new();
        walk(&self.directory.path().join("cache"), &mut files);
        files
    }
}

fn may_be_kept(response: &Response) -> bool {
    let control = response.headers().get("cache-control").map_or("", |value| value.to_str().unwrap());
    response.status() == StatusCode::OK && !control.contains("no-store")
}

const MERCATOR: &str = "GLOBAL_WEBMERCATOR";

#[test]
fn a_fault_of_the_source_is_never_stored_and_is_over_when_the_source_is_well_again() {
    let layers = [
        ("map", MERCATOR),
        ("tiles", MERCATOR),
        ("two", MERCATOR),
        ("above", MERCATOR),
        ("reprojected", "degrees"),
        ("scaled", MERCATOR),
        ("dated", MERCATOR),
    ];
    for fault in FAULTS {
        for (layer, grid) in layers {
            let bench = bench(fault);
            let answer = bench.tile(layer, grid);
            assert!(!answer.status().is_success(), "{layer}, {fault}: {:?}", answer.headers());
            assert_eq!(bench.stored(), [""; 0], "{layer}, {fault}");
            bench.fails.store(false, Ordering::SeqCst);
            assert!(may_be_kept(&bench.tile(layer, grid)), "{layer}, {fault}");
            assert!(!bench.stored().is_empty(), "{layer}, {fault}");
            let asked = bench.client.urls().len();
            assert!(may_be_kept(&bench.tile(layer, grid)));
            assert_eq!(bench.client.urls().len(), asked, "{layer}, {fault}: what is well is stored");
        }
    }
}

#[test]
fn stand_ins_are_served_and_not_stored_alone_or_merged() {
    for layer in ["stand_in", "mixed"] {
        let bench = bench("status");
        for _ in 0..2 {
            let answer = bench.tile(layer, MERCATOR);
            assert!(answer.status().is_success() && !may_be_kept(&answer), "{layer}: {:?}", answer.headers());
        }
        assert_eq!(bench.stored(), [""; 0], "{layer}");
        bench.fails.store(false, Ordering::SeqCst);
        assert!(may_be_kept(&bench.tile(layer, MERCATOR)));
        assert_eq!(bench.stored().len(), 1, "{layer}");
    }
}

#[test]
fn what_is_drawn_over_a_hole_is_not_stored() {
    let bench = bench("status");
    bench.fails.store(false, Ordering::SeqCst);
    assert!(may_be_kept(&bench.tile("reprojected", "degrees")));
    let below: Vec<_> = bench.stored().into_iter().filter(|file| file.contains("below")).collect();
    assert!(below.len() > 1, "{below:?}");
    // Whole by its looks, but its pixels cannot be unpacked.
    let mut flipped = std::fs::read(&below[0]).unwrap();
    let middle = flipped.windows(4).position(|part| part == b"IDAT").unwrap() + 6;
    flipped[middle..middle + 4].fill(0xff);
    std::fs::write(&below[0], flipped).unwrap();
    for above in bench.stored().into_iter().filter(|file| file.contains("reprojected")) {
        std::fs::remove_file(above).unwrap();
    }
    let answer = bench.tile("reprojected", "degrees");
    assert!(answer.status().is_success() && !may_be_kept(&answer), "{:?}", answer.headers());
    assert!(!bench.stored().iter().any(|file| file.contains("reprojected")), "a hole is not stored");
    assert!(may_be_kept(&bench.tile("reprojected", "degrees")), "the tile below was made anew");
}

#[test]
fn a_damaged_parent_is_made_anew_before_it_is_scaled() {
    let bench = bench("status");
    bench.fails.store(false, Ordering::SeqCst);
    let fine = "/wmts/scaled/GLOBAL_WEBMERCATOR/4/3/3.png";
    assert!(may_be_kept(&bench.get(fine)));
    let files = bench.stored();
    assert_eq!(files.len(), 3, "the tile of level 2, the one made of it, and the one made of that: {files:?}");
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        std::fs::write(file, &whole[..whole.len() - 3]).unwrap();
    }
    bench.fails.store(true, Ordering::SeqCst);
    assert!(!bench.get(fine).status().is_success(), "nothing is made of half a tile");
    bench.fails.store(false, Ordering::SeqCst);
    assert!(may_be_kept(&bench.get(fine)));
    assert_eq!(bench.stored().len(), 3);
}

#[test]
fn an_old_tile_outlives_the_failure_but_not_in_the_caches_of_clients() {
    let config = CONFIG.replace(
        "map: {grids: [GLOBAL_WEBMERCATOR], sources: [map]}",
        "map: {grids: [GLOBAL_WEBMERCATOR], sources: [map], refresh_before: {seconds: 0}}",
    );
    for fault in FAULTS {
        let Bench { client, fails, directory, .. } = bench(fault);
        let builder = AppBuilder::from_text(config.clone(), directory.path()).http_client(Arc::new(client.clone()));
        let bench = Bench { app: builder.build().unwrap().app, client, fails, directory };
        bench.fails.store(false, Ordering::SeqCst);
        assert!(may_be_kept(&bench.tile("map", MERCATOR)));
        let stored = std::fs::read(&bench.stored()[0]).unwrap();
        bench.fails.store(true, Ordering::SeqCst);
        let answer = bench.tile("map", MERCATOR);
        assert_eq!((answer.status(), answer.body().as_bytes()), (StatusCode::OK, &*stored), "{fault}");
        assert!(!may_be_kept(&answer), "{fault}");
        assert_eq!(std::fs::read(&bench.stored()[0]).unwrap(), stored, "{fault}");
    }
}
