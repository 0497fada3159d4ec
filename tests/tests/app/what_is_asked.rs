//! What sources are asked for by whole applications, to the letter and in order, and which files come of it. Requests and
//! names of files are those of MapProxy 7.0.0 with the same configurations.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use mapproxy_client::{ErrorKind, UpstreamRequest};
use mapproxy_core::{App, AppBuilder, Application};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const MAP: &str = "/service?service=WMS&version=1.1.1&request=GetMap&styles=&format=image/png&transparent=true";

struct Bench {
    app: App,
    client: ScriptedClient,
    directory: tempfile::TempDir,
}

/// A picture of the size that is asked for, half transparent: nothing below it is hidden.
fn drawn(request: &UpstreamRequest) -> Bytes {
    let number = |name: &str| {
        let mut pairs = request.url.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map_or(256, |(_, value)| value.parse().unwrap())
    };
    let options = ImageOptions::new(ImageFormat::png()).with_transparent(true);
    let size = Size::new(number("width"), number("height"));
    let pixels = Pixels::filled(size, PixelMode::Rgba, Color([200, 10, 10, 128]));
    MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options).unwrap().bytes
}

/// `http://broken/` answers with status 500, all others with a picture.
fn bench(config: &str) -> Bench {
    let globals = "globals: {cache: {base_dir: cache, meta_size: [1, 1], meta_buffer: 0}, image: {paletted: false}}";
    let services = "services: {wms: {srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:4258', 'EPSG:25832']}, wmts: {}}";
    let directory = tempfile::tempdir().unwrap();
    let client = ScriptedClient::new(|request| match request.url.starts_with("http://broken/") {
        true => Err(failure(ErrorKind::Status(500), request)),
        false => Ok(response("image/png", drawn(request))),
    });
    let builder = AppBuilder::from_text(format!("{services}\n{globals}\n{config}"), directory.path());
    let app = builder.http_client(Arc::new(client.clone())).build().unwrap().app;
    Bench { app, client, directory }
}

impl Bench {
    /// The requests that `path` leads to, sorted: sources are asked at the same time.
    fn asked(&self, path: &str) -> Vec<String> {
        let before = self.client.urls().len();
        let answer = self.app.call(http::Request::get(path).header("host", "h").body(Bytes::new()).unwrap());
        assert_eq!(answer.status(), StatusCode::OK, "{path}: {}", String::from_utf8_lossy(answer.body().as_bytes()));
        let mut urls = self.client.urls().split_off(before);
        urls.sort();
        urls
    }

    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, base: &Path, files: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, base, files),
                    false => files.push(path.strip_prefix(base).unwrap().display().to_string()),
                }
            }
        }
        let (base, mut files) = (self.directory.path().join("cache"), Vec::new());
        walk(&base, &base, &mut files);
        files.retain(|file| file.ends_with(".png"));
        files.sort();
        files
    }
}

/// What comes after `name=` in an address.
fn parameter<'u>(url: &'u str, name: &str) -> &'u str {
    url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}

#[test]
fn finer_maps_than_a_level_or_resolution_come_from_the_source_as_they_are_asked_for() {
    let bench = bench(
        "layers:
  - {name: level, title: L, sources: [level]}
  - {name: res, title: R, sources: [res]}
  - {name: direct, title: D, sources: [w]}
caches:
  level: {grids: [GLOBAL_WEBMERCATOR], sources: [w], use_direct_from_level: 2, request_format: image/tiff}
  res: {grids: [GLOBAL_WEBMERCATOR], sources: [w], use_direct_from_res: 30000}
sources: {w: {type: wms, forward_req_params: [time, foo], req: {url: 'http://h/w', layers: x, transparent: true}}}",
    );
    let map = |layer: &str, edge: &str, size: u32| {
        format!("{MAP}&layers={layer}&srs=EPSG:3857&bbox=0,0,{edge},{edge}&width={size}&height={size}&foo=1&Time=2020")
    };
    // Level 2 has 39135.76 units per pixel: at that, and below, the source is asked.
    let coarse = bench.asked(&map("level", "10000000", 255));
    assert!(
        parameter(&coarse[0], "format") == "image%2Ftiff" && coarse[0].contains("layers=x&transparent=True&format=")
    );
    assert_eq!(parameter(&coarse[0], "bbox"), "0.0,0.0,10018754.171394622,10018754.171394622");
    for edge in ["10000000", "10018754.171394622"] {
        let tail = "width=256&height=256&srs=EPSG%3A3857&format=image%2Fpng&Time=2020&request=GetMap&version=1.1.1\
                    &service=WMS&styles=";
        let box_written = if edge.contains('.') { edge.to_owned() } else { format!("{edge}.0") };
        let url = format!("http://h/w?layers=x&transparent=True&bbox=0.0,0.0,{box_written},{box_written}&{tail}");
        assert_eq!(bench.asked(&map("level", edge, 256)), [url], "of parameters, caches pass on dimensions only");
    }
    // The finer of both directions counts, in the SRS of the grid.
    let wide = map("level", "10000000", 256).replace("width=256", "width=100");
    assert_eq!(parameter(&bench.asked(&wide)[0], "width"), "100");
    let degrees = map("level", "80", 256).replace("EPSG:3857", "EPSG:4326");
    assert_eq!(parameter(&bench.asked(&degrees)[0], "srs"), "EPSG%3A4326");
    assert_eq!(parameter(&bench.asked(&map("res", "10000000", 257))[0], "format"), "image%2Fpng");
    assert_eq!(parameter(&bench.asked(&map("res", "7000000", 256))[0], "bbox"), "0.0,0.0,7000000.0,7000000.0");
    let both = bench.asked(&map("level,direct", "1000000", 200).replace("&foo=1", ""));
    assert_eq!(both.len(), 2, "a cache is asked for itself: {both:?}");
    let tile = bench.asked("/wmts/level/GLOBAL_WEBMERCATOR/5/3/3.png");
    assert_eq!(parameter(&tile[0], "format"), "image%2Ftiff", "tiles are tiles of the cache");
}

#[test]
fn of_several_grids_the_one_in_the_srs_of_the_map_answers_or_else_one_of_its_kind() {
    let bench = bench(
        "layers:
  - {name: three, title: A, sources: [three]}
  - {name: two, title: B, sources: [two]}
  - {name: metres, title: C, sources: [metres]}
caches:
  three: {grids: [degrees, mercator, utm], sources: [w]}
  two: {grids: [mercator, degrees], sources: [w]}
  metres: {grids: [utm, mercator], sources: [w]}
grids:
  degrees: {base: GLOBAL_GEODETIC, num_levels: 12}
  mercator: {base: GLOBAL_WEBMERCATOR, num_levels: 14}
  utm: {srs: 'EPSG:25832', bbox: [300000, 5200000, 900000, 6100000], origin: nw, num_levels: 8}
sources: {w: {type: wms, req: {url: 'http://h/w', layers: x, transparent: true}}}",
    );
    let places = [
        "EPSG:3857&bbox=1000000,6000000,1010000,6010000",
        "EPSG:4326&bbox=9,50,9.1,50.1",
        "EPSG:4258&bbox=9,50,9.1,50.1",
        "EPSG:25832&bbox=500000,5500000,510000,5510000",
    ];
    for (layer, expected) in [
        ("three", ["EPSG%3A3857", "EPSG%3A4326", "", "EPSG%3A25832"]),
        ("two", ["EPSG%3A3857", "EPSG%3A4326", "", "EPSG%3A3857"]),
        ("metres", ["EPSG%3A3857", "EPSG%3A25832", "", "EPSG%3A25832"]),
    ] {
        for (place, srs) in places.iter().zip(expected) {
            let asked = bench.asked(&format!("{MAP}&layers={layer}&srs={place}&width=100&height=100"));
            let is_that = |url: &String| parameter(url, "srs") == srs;
            assert!(asked.iter().all(is_that) && asked.is_empty() == srs.is_empty(), "{layer}, {place}: {asked:?}");
        }
    }
    assert_eq!(
        bench.files(),
        [
            "metres_EPSG25832/05/000/000/007/000/000/020.png",
            "metres_EPSG25832/05/000/000/007/000/000/021.png",
            "metres_EPSG25832/06/000/000/014/000/000/039.png",
            "metres_EPSG3857/11/000/001/075/000/000/716.png",
            "metres_EPSG3857/11/000/001/075/000/000/717.png",
            "three_EPSG25832/05/000/000/007/000/000/020.png",
            "three_EPSG25832/05/000/000/007/000/000/021.png",
            "three_EPSG3857/11/000/001/075/000/000/716.png",
            "three_EPSG3857/11/000/001/075/000/000/717.png",
            "three_EPSG4326/11/000/001/075/000/000/796.png",
            "three_EPSG4326/11/000/001/075/000/000/797.png",
            "two_EPSG3857/10/000/000/537/000/000/348.png",
            "two_EPSG3857/11/000/001/075/000/000/716.png",
            "two_EPSG3857/11/000/001/075/000/000/717.png",
            "two_EPSG4326/11/000/001/075/000/000/796.png",
            "two_EPSG4326/11/000/001/075/000/000/797.png",
        ]
    );
}

#[test]
fn neighbours_of_one_server_are_one_request_but_never_across_others() {
    let bench = bench(
        "layers:
  - {name: a, title: A, sources: [a]}
  - {name: b, title: B, sources: [b]}
  - {name: c, title: C, sources: [c]}
  - {name: x, title: X, sources: [x]}
  - {name: cached, title: K, sources: [cached]}
  - {name: all, title: All, sources: [a, b, x, c]}
  - {title: G, name: group, layers: [{name: ga, title: A, sources: [a]}, {name: gb, title: B, sources: [b]}]}
caches: {cached: {grids: [GLOBAL_WEBMERCATOR], sources: [a]}}
sources:
  a: {type: wms, req: {url: 'http://h/w', layers: a, transparent: true}}
  b: {type: wms, req: {url: 'http://h/w', layers: 'b,bb', transparent: true}}
  c: {type: wms, req: {url: 'http://h/w', layers: c, transparent: true}}
  x: {type: wms, req: {url: 'http://h/x', layers: x, transparent: true}}",
    );
    bench.asked("/wmts/cached/GLOBAL_WEBMERCATOR/4/8/7.png");
    for (layers, expected) in [
        ("a,b", &["a,b,bb"][..]),
        ("a,b,c", &["a,b,bb,c"]),
        ("b,a", &["b,bb,a"]),
        ("a,x,b", &["a", "b,bb", "x"]),
        ("a,b,x,c", &["a,b,bb", "c", "x"]),
        ("b,cached,c", &["b,bb", "c"]),
        ("all", &["a,b,bb", "c", "x"]),
        ("all,a", &["a,b,bb", "c,a", "x"]),
        ("a,all", &["a,a,b,bb", "c", "x"]),
        ("group", &["a,b,bb"]),
        ("x,group,c", &["a,b,bb,c", "x"]),
        ("a,a", &["a"]),
    ] {
        let map = format!("{MAP}&srs=EPSG:3857&bbox=0,0,1000000,1000000&width=100&height=100&layers={layers}");
        let asked = bench.asked(&map);
        let asked: Vec<_> = asked.iter().map(|url| parameter(url, "layers")).collect();
        assert_eq!(asked, expected, "{layers}");
    }
}

#[test]
fn tiles_that_are_missing_for_a_map_are_asked_for_meta_tile_by_meta_tile_or_at_once() {
    let bench = bench(
        "layers:
  - {name: bulk, title: A, sources: [bulk]}
  - {name: least, title: B, sources: [least]}
  - {name: full, title: C, sources: [full]}
caches:
  bulk: {grids: [GLOBAL_WEBMERCATOR], sources: [tiles], bulk_meta_tiles: true, meta_size: [2, 2]}
  least: {grids: [GLOBAL_WEBMERCATOR], sources: [w], minimize_meta_requests: true, meta_size: [2, 2], meta_buffer: 10}
  full: {grids: [GLOBAL_WEBMERCATOR], sources: [w], meta_size: [2, 2], meta_buffer: 10}
sources:
  w: {type: wms, req: {url: 'http://h/w', layers: x}}
  tiles: {type: tile, grid: GLOBAL_WEBMERCATOR, url: 'http://h/%(z)s/%(x)s/%(y)s.png'}",
    );
    let asked = bench.asked("/wmts/bulk/GLOBAL_WEBMERCATOR/3/5/2.png");
    assert_eq!(asked, ["http://h/3/4/2.png", "http://h/3/4/3.png", "http://h/3/5/2.png", "http://h/3/5/3.png"]);
    assert_eq!(bench.asked("/wmts/bulk/GLOBAL_WEBMERCATOR/3/4/3.png"), [""; 0]);
    let pieces = |path: &str| -> Vec<String> {
        let piece = |url: &String| format!("{} {}", parameter(url, "bbox"), parameter(url, "width"));
        bench.asked(path).iter().map(piece).collect()
    };
    let map = |layer| {
        format!("{MAP}&srs=EPSG:3857&bbox=-1000000,-1000000,1000000,1000000&width=100&height=100&layers={layer}")
    };
    assert_eq!(
        pieces(&map("least")),
        ["-5205055.878107363,-5205055.878107362,5205055.878107362,5205055.878107363 532"]
    );
    assert_eq!(
        pieces(&map("full")),
        [
            "-10214432.963804673,-10214432.963804675,195678.7924100503,195678.79241005122 532",
            "-10214432.963804673,-195678.7924100503,195678.7924100503,10214432.963804673 532",
            "-195678.79241005122,-10214432.963804675,10214432.963804675,195678.79241005122 532",
            "-195678.79241005122,-195678.7924100503,10214432.963804675,10214432.963804673 532",
        ]
    );
    for (tile, expected) in [
        (
            "least/GLOBAL_WEBMERCATOR/5/15/15",
            "-2553608.240951167,-48919.6981025135,48919.6981025135,2553608.240951167 532",
        ),
        (
            "full/GLOBAL_WEBMERCATOR/5/0/0",
            "-20037508.342789244,17483900.10183808,-17483900.10183808,20037508.342789244 522",
        ),
        (
            "full/GLOBAL_WEBMERCATOR/1/1/0",
            "-20037508.342789244,-20037508.342789244,20037508.342789244,20037508.342789244 512",
        ),
        (
            "full/GLOBAL_WEBMERCATOR/0/0/0",
            "-20037508.342789244,-20037508.342789244,20037508.342789244,20037508.342789244 256",
        ),
    ] {
        assert_eq!(pieces(&format!("/wmts/{tile}.png")), [expected], "{tile}: the buffer ends where the grid does");
    }
    let of_least: Vec<_> = bench.files().into_iter().filter(|file| file.starts_with("least_EPSG3857/03/")).collect();
    assert_eq!(
        of_least,
        [
            "least_EPSG3857/03/000/000/003/000/000/003.png",
            "least_EPSG3857/03/000/000/003/000/000/004.png",
            "least_EPSG3857/03/000/000/004/000/000/003.png",
            "least_EPSG3857/03/000/000/004/000/000/004.png",
        ],
        "only the tiles that were missing"
    );
}

#[test]
fn stand_ins_that_are_to_be_kept_are_tiles_like_others() {
    let bench = bench(
        "layers:
  - {name: maps, title: A, sources: [maps]}
  - {name: tiles, title: B, sources: [tiles]}
  - {name: passing, title: C, sources: [passing]}
caches:
  maps: {grids: [GLOBAL_WEBMERCATOR], sources: [maps], meta_size: [2, 2]}
  tiles: {grids: [GLOBAL_WEBMERCATOR], sources: [tiles]}
  passing: {grids: [GLOBAL_WEBMERCATOR], sources: [passing]}
sources:
  maps: {type: wms, req: {url: 'http://broken/', layers: x}, on_error: {500: {response: '#ff0000', cache: true}}}
  tiles:
    type: tile
    grid: GLOBAL_WEBMERCATOR
    url: 'http://broken/%(z)s/%(x)s/%(y)s.png'
    on_error: {other: {response: transparent, cache: true}}
  passing:
    type: tile
    grid: GLOBAL_WEBMERCATOR
    url: 'http://broken/%(z)s/%(x)s/%(y)s.png'
    on_error: {500: {response: [0, 255, 0, 128], cache: false}, other: {response: transparent, cache: true}}",
    );
    for (layer, again) in [("maps", 0), ("tiles", 0), ("passing", 1)] {
        let tile = format!("/wmts/{layer}/GLOBAL_WEBMERCATOR/1/1/0.png");
        assert_eq!((bench.asked(&tile).len(), bench.asked(&tile).len()), (1, again), "{layer}");
    }
    assert_eq!(
        bench.files(),
        [
            "maps_EPSG3857/01/000/000/000/000/000/000.png",
            "maps_EPSG3857/01/000/000/000/000/000/001.png",
            "maps_EPSG3857/01/000/000/001/000/000/000.png",
            "maps_EPSG3857/01/000/000/001/000/000/001.png",
            "tiles_EPSG3857/01/000/000/001/000/000/000.png",
        ]
    );
}
