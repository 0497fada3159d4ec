//! Sources of whole applications: servers of other kinds, programs, bands, and what is shown when they fail.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use mapproxy_client::{ErrorKind, UpstreamRequest};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const GLOBALS: &str = "
globals:
  cache: {base_dir: cache, meta_size: [2, 2], meta_buffer: 0}
  image: {paletted: false}
";

fn png(size: Size, color: Color) -> Bytes {
    let options = ImageOptions::new(ImageFormat::png()).with_transparent(color.0[3] < 255);
    let mode = if color.0[3] < 255 { PixelMode::Rgba } else { PixelMode::Rgb };
    let pixels = Pixels::filled(size, mode, color);
    MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options).unwrap().bytes
}

/// A picture of the size that a request asks for.
fn drawn(request: &UpstreamRequest, color: Color) -> Bytes {
    let value = |name: &str| {
        let lowered = request.url.to_ascii_lowercase();
        lowered.split(['?', '&']).find_map(|pair| pair.strip_prefix(name).map(str::to_owned))
    };
    let size = match (value("width="), value("height="), value("size=")) {
        (Some(width), Some(height), _) => Size::new(width.parse().unwrap(), height.parse().unwrap()),
        (_, _, Some(size)) => {
            let (width, height) = size.split_once(',').unwrap();
            Size::new(width.parse().unwrap(), height.parse().unwrap())
        }
        _ => Size::new(256, 256),
    };
    png(size, color)
}

fn build(config: &str, directory: &Path, client: &ScriptedClient) -> App {
    let text = format!("{config}{GLOBALS}");
    AppBuilder::from_text(text, directory).http_client(Arc::new(client.clone())).build().unwrap().app
}

fn refused(config: &str, directory: &Path) -> String {
    AppBuilder::from_text(format!("{config}{GLOBALS}"), directory).build().unwrap_err().to_string()
}

fn get(app: &App, uri: &str) -> Response {
    let request: Request = http::Request::get(uri).header("host", "h").body(Bytes::new()).unwrap();
    app.call(request)
}

/// The only colour of the picture at `uri`.
fn color(app: &App, uri: &str) -> [u8; 4] {
    let answer = get(app, uri);
    assert_eq!(answer.status(), 200, "{uri}: {}", String::from_utf8_lossy(answer.body().as_bytes()));
    let bytes = Bytes::copy_from_slice(answer.body().as_bytes());
    MapImage::from_encoded(bytes, Arc::default()).pixels().unwrap().single_color().unwrap().0
}

fn map(layer: &str) -> String {
    format!(
        "/service?service=WMS&version=1.1.1&request=GetMap&layers={layer}&styles=&srs=EPSG:3857&width=256&height=256\
         &bbox=0,0,20037508.342789244,20037508.342789244&format=image/png&transparent=true"
    )
}

const RED: Color = Color::rgb(200, 10, 30);

#[test]
fn an_arcgis_server_draws_and_tells_what_lies_at_a_point() {
    let directory = tempfile::tempdir().unwrap();
    let client = ScriptedClient::new(|request| match request.url.contains("/identify?") {
        true => Ok(response("application/json", r#"{"results": [1]}"#)),
        false => Ok(response("image/png", drawn(request, RED))),
    });
    let config = "
services: {wms: {}, wmts: {}}
layers:
  - {name: direct, title: Direct, sources: [arc]}
  - {name: cached, title: Cached, sources: [cached]}
  - {name: told, title: Told, sources: [told]}
caches: {cached: {grids: [GLOBAL_WEBMERCATOR], sources: [arc]}}
sources:
  arc: {type: arcgis, req: {url: 'http://h/MapServer', layers: 'show:0'}, opts: {featureinfo: true}}
  told: {type: arcgis, req: {url: 'http://h/MapServer', layers: 'show:1'}, opts: {map: false, featureinfo: true}}
";
    let app = build(config, directory.path(), &client);
    assert_eq!(color(&app, &map("direct")), RED.0);
    assert_eq!(color(&app, "/wmts/cached/GLOBAL_WEBMERCATOR/3/1/1.png"), RED.0);
    assert!(
        client.urls().iter().all(|url| url.starts_with("http://h/MapServer/export?layers=show%3A0&format=png&bbox="))
    );
    for layer in ["direct", "cached", "told"] {
        let info = map(layer).replace("GetMap", "GetFeatureInfo");
        let answer = get(&app, &format!("{info}&x=5&y=5&query_layers={layer}&info_format=application/json"));
        assert_eq!(answer.body().as_bytes(), br#"{"results": [1]}"#, "{layer}");
    }
    let maps = client.urls().iter().filter(|url| url.contains("export")).count();
    assert_eq!((color(&app, &map("told"))[3], maps), (0, 2), "a source that draws no maps is not asked for any");
}

#[test]
fn a_map_server_is_run_for_each_map() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(directory.path().join(name), content).unwrap();
    write("red.png", &png(Size::new(512, 512), RED));
    write("roads.map", b"MAP END");
    let script = "#!/bin/sh
echo \"$PWD $QUERY_STRING\" >> ../asked
case $QUERY_STRING in
  *GetFeatureInfo*) printf 'Content-Type: text/plain\\n\\na road';;
  *) printf 'Content-Type: image/png\\r\\n\\r\\n'; cat ../red.png;;
esac
";
    write("mapserv", script.as_bytes());
    let program = directory.path().join("mapserv");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(directory.path().join("work")).unwrap();
    let config = "
services: {wms: {}, wmts: {}}
layers: [{name: roads, title: Roads, sources: [roads]}]
caches: {roads: {grids: [GLOBAL_WEBMERCATOR], sources: ['program:main,side']}}
sources:
  program:
    type: mapserver
    req: {map: ./roads.map, layers: 'main,side,tiny', transparent: true}
    wms_opts: {featureinfo: true}
    mapserver: {binary: ./mapserv, working_dir: work}
    concurrent_requests: 2
";
    let nobody = ScriptedClient::failing(500);
    let app = build(config, directory.path(), &nobody);
    assert_eq!(color(&app, "/wmts/roads/GLOBAL_WEBMERCATOR/1/1/0.png"), RED.0);
    let info = map("roads").replace("GetMap", "GetFeatureInfo");
    let answer = get(&app, &format!("{info}&x=5&y=5&query_layers=roads&info_format=text/plain"));
    assert_eq!(answer.body().as_bytes(), b"a road");
    let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
    let work = directory.path().join("work").canonicalize().unwrap();
    let map_file = format!("{}/./roads.map", directory.path().display()).replace('/', "%2F");
    let start = format!("{} map={map_file}&layers=main,side&transparent=True&format=image%2Fpng&bbox=", work.display());
    assert!(asked.starts_with(&start), "{asked}");
    assert_eq!(asked.lines().count(), 2);
    assert!(nobody.urls().is_empty());
}

#[test]
fn programs_that_are_not_there_are_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = |binary: &str| {
        format!(
            "
services: {{wms: {{}}}}
layers: [{{name: roads, title: Roads, sources: [roads]}}]
sources:
  roads: {{type: mapserver, req: {{map: a.map, layers: a}}, mapserver: {{binary: {binary}}}}}
"
        )
    };
    let said = refused(&config("./mapserv"), directory.path());
    assert!(said.contains("cannot run '") && said.contains("mapserv'") && said.contains("sources.roads"), "{said}");
    let said = refused(&config("no-such-mapserv"), directory.path());
    assert!(said.contains("there is no program 'no-such-mapserv' in the PATH"), "{said}");
}

#[test]
fn one_server_is_the_source_of_another_by_the_ogc_api() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("red.png"), png(Size::new(360, 180), RED)).unwrap();
    let below = "
services: {ogcapi: {map_srs: ['EPSG:4326', 'EPSG:3857']}}
layers: [{name: world, title: World, sources: [world]}]
caches: {world: {grids: [GLOBAL_WEBMERCATOR], sources: [red]}}
sources: {red: {type: raster, file: red.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}}
";
    let below = build(below, directory.path(), &ScriptedClient::failing(500));
    let client = ScriptedClient::new(move |request| {
        let path = request.url.strip_prefix("http://below").unwrap();
        let mut builder = http::Request::get(path).header("host", "below");
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let answer = below.call(builder.body(Bytes::new()).unwrap());
        if answer.status() != 200 {
            return Err(failure(ErrorKind::Status(answer.status().as_u16()), request));
        }
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        Ok(response(&kind, Bytes::copy_from_slice(answer.body().as_bytes())))
    });
    let above = "
services: {wms: {}, wmts: {}}
layers:
  - {name: maps, title: Maps, sources: [maps]}
  - {name: tiles, title: Tiles, sources: [tiles]}
caches: {tiles: {grids: [GLOBAL_WEBMERCATOR], sources: [tiles]}}
sources:
  maps: {type: ogcapimaps, landingpage_url: 'http://below/ogcapi', collection: world}
  tiles: {type: ogcapitiles, landingpage_url: 'http://below/ogcapi', collection: world}
";
    let other = tempfile::tempdir().unwrap();
    let above = build(above, other.path(), &client);
    assert_eq!(color(&above, &map("maps")), RED.0);
    assert_eq!(color(&above, "/wmts/tiles/GLOBAL_WEBMERCATOR/4/7/5.png"), RED.0);
    let urls = client.urls();
    let tile = urls.last().unwrap();
    assert!(tile.contains("/4/") && tile.ends_with("/7.png"), "row before column, as the API has it: {tile}");
}

#[test]
fn bands_of_several_sources_make_one_picture() {
    let directory = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let client = ScriptedClient::new(move |request| {
        let color = match request.url.contains("layers=a") {
            true => Color::rgb(101, 150, 200),
            false if failing.load(Ordering::SeqCst) => return Err(failure(ErrorKind::Status(500), request)),
            false => Color([10, 20, 30, 77]),
        };
        Ok(response("image/png", drawn(request, color)))
    });
    let config = "
services: {wms: {}, wmts: {}}
layers:
  - {name: swapped, title: Swapped, sources: [swapped]}
  - {name: grey, title: Grey, sources: [grey]}
  - {name: beyond, title: Beyond, sources: [beyond]}
  - {name: above, title: Above, sources: [above]}
caches:
  above: {grids: [GLOBAL_WEBMERCATOR], sources: {r: [{source: below, band: 2}], g: [{source: below, band: 0}]}}
  below: {grids: [GLOBAL_WEBMERCATOR], sources: [a]}
  swapped:
    grids: [GLOBAL_WEBMERCATOR]
    sources:
      r: [{source: a, band: 2}]
      g: [{source: a, band: 0, factor: 0.5}, {source: b, band: 1, factor: 2}]
      b: [{source: a, band: 1}]
      a: [{source: b, band: 3}]
    image: {transparent: true}
  grey:
    grids: [GLOBAL_WEBMERCATOR]
    sources: {l: [{source: a, band: 0, factor: 0.21}, {source: a, band: 1, factor: 0.72}, {source: a, band: 2, factor: 0.07}]}
  beyond:
    grids: [GLOBAL_WEBMERCATOR]
    sources: {r: [{source: a, band: 0}], g: [{source: there, band: 0}]}
sources:
  a: {type: wms, req: {url: 'http://h/', layers: a}, wms_opts: {featureinfo: true}}
  b: {type: wms, req: {url: 'http://h/', layers: b}, on_error: {500: {response: '#ffffff', cache: false}}}
  there: {type: wms, req: {url: 'http://h/', layers: there}, coverage: {bbox: [-10, -80, -5, -70], srs: 'EPSG:4326'}}
";
    let app = build(config, directory.path(), &client);
    assert_eq!(color(&app, "/wmts/swapped/GLOBAL_WEBMERCATOR/2/1/1.png"), [200, 90, 150, 77]);
    assert_eq!(color(&app, "/wmts/grey/GLOBAL_WEBMERCATOR/2/1/1.png"), [143, 143, 143, 255]);
    assert_eq!(color(&app, "/wmts/above/GLOBAL_WEBMERCATOR/2/1/1.png"), [200, 101, 0, 255], "of a cache written later");
    fails.store(true, Ordering::SeqCst);
    let answer = get(&app, "/wmts/swapped/GLOBAL_WEBMERCATOR/6/1/1.png");
    assert_eq!(answer.status(), 200);
    let kept = |name: &str| {
        let file = format!("cache/{name}_EPSG3857/06/000/000/001/000/000/062.png");
        directory.path().join(file).exists()
    };
    assert!(!kept("swapped"), "a picture with a stand-in in it is not kept");
    let asked = client.urls().len();
    assert_eq!(
        color(&app, "/wmts/beyond/GLOBAL_WEBMERCATOR/6/60/1.png")[3],
        0,
        "of a source with nothing, nothing is made"
    );
    assert!(client.urls()[asked..].iter().all(|url| url.contains("layers=a")));
    let info = map("swapped").replace("GetMap", "GetFeatureInfo");
    let answer = get(&app, &format!("{info}&x=5&y=5&query_layers=swapped"));
    assert!(String::from_utf8_lossy(answer.body().as_bytes()).contains("not queryable"));
}

#[test]
fn mistakes_in_bands_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let config = |sources: &str| {
        format!(
            "
services: {{wms: {{}}}}
layers: [{{name: bands, title: Bands, sources: [bands]}}]
caches: {{bands: {{grids: [GLOBAL_WEBMERCATOR], sources: {sources}}}}}
sources: {{a: {{type: wms, req: {{url: 'http://h/', layers: a}}}}}}
"
        )
    };
    for (sources, expected) in [
        ("{r: [{source: nobody, band: 0}]}", "unknown source nobody"),
        ("{r: [{source: a, band: 4}]}", "4 is no band"),
        ("{r: [{band: 0}]}", "source"),
        ("{}", "at least one band"),
    ] {
        let said = refused(&config(sources), directory.path());
        assert!(said.contains(expected) && said.contains("caches.bands"), "{said}");
    }
}

/// A server that can be told to fail, behind a cache whose tiles are always too old.
fn stale(meta_size: u32, on_error: &str) -> (App, Arc<Mutex<Option<u16>>>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let status = Arc::new(Mutex::new(None));
    let told = Arc::clone(&status);
    let client = ScriptedClient::new(move |request| match *told.lock().unwrap() {
        Some(status) => Err(failure(ErrorKind::Status(status), request)),
        None => Ok(response("image/png", drawn(request, RED))),
    });
    let mark = directory.path().join("mark");
    std::fs::write(&mark, "").unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&mark).unwrap().set_modified(later).unwrap();
    let config = format!(
        "
services: {{wms: {{}}, wmts: {{}}}}
layers: [{{name: roads, title: Roads, sources: [roads]}}]
caches:
  roads:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [server]
    meta_size: [{meta_size}, {meta_size}]
    refresh_before: {{mtime: ./mark}}
sources:
  server: {{type: wms, req: {{url: 'http://h/', layers: a}}, on_error: {on_error}}}
"
    );
    (build(&config, directory.path(), &client), status, directory)
}

#[test]
fn where_it_is_said_so_an_old_tile_is_shown_in_place_of_a_stand_in() {
    let on_error =
        "{500: {response: '#0000ff', cache: false, authorize_stale: true}, 404: {response: '#00ff00', cache: false}}";
    for meta_size in [1, 4] {
        let (app, status, _directory) = stale(meta_size, on_error);
        let old = "/wmts/roads/GLOBAL_WEBMERCATOR/5/3/2.png";
        let new = "/wmts/roads/GLOBAL_WEBMERCATOR/5/20/20.png";
        assert_eq!(color(&app, old), RED.0);
        *status.lock().unwrap() = Some(500);
        assert_eq!(color(&app, old), RED.0, "meta_size {meta_size}");
        assert_eq!(color(&app, new), [0, 0, 255, 255]);
        let cached = get(&app, old).headers()["cache-control"].to_str().unwrap().to_owned();
        assert!(cached.contains("no-") || cached.contains("max-age=0"), "an old tile is not to be kept: {cached}");
        *status.lock().unwrap() = Some(404);
        assert_eq!(color(&app, old), [0, 255, 0, 255], "only where it is said so");
    }
}

#[test]
fn debug_tiles_tell_each_its_own_box_and_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let config = "
services: {wmts: {}}
layers: [{name: d, title: D, sources: [d]}]
caches: {d: {grids: [GLOBAL_WEBMERCATOR], sources: [dbg], cache: {type: file, directory_layout: tms}}}
sources: {dbg: {type: debug}}
";
    let app = AppBuilder::from_text(format!("{config}{GLOBALS}"), directory.path()).build().unwrap().app;
    let tiles = ["2/1/1", "2/1/2"].map(|tile| get(&app, &format!("/wmts/d/GLOBAL_WEBMERCATOR/{tile}.png")));
    assert_ne!(tiles[0].body().as_bytes(), tiles[1].body().as_bytes());
    for name in ["2/1/1.png", "2/1/2.png"] {
        assert!(directory.path().join("cache/d_EPSG3857").join(name).exists(), "{name}");
    }
    assert!(!directory.path().join("cache/d_EPSG3857/2/0").exists(), "a neighbour was not asked for");
}
