//! Caches whose tiles are not, or not only, files: copies in memory and on disk, databases, another process.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mapproxy_core::client::testkit::{ScriptedClient, failure, response};
use mapproxy_core::client::{ErrorKind, Method, UpstreamRequest};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const TILE: &str = "/wmts/plain/GLOBAL_WEBMERCATOR/5/2/0.png";

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

/// A cache of single tiles; `others` answers requests to other servers than the map server.
fn bench(
    cache: &str,
    globals: &str,
    others: impl Fn(&UpstreamRequest) -> Option<mapproxy_core::client::UpstreamResponse> + Send + Sync + 'static,
) -> Bench {
    let config = format!(
        "services: {{wmts: {{}}}}\n\
         layers: [{{name: plain, title: Plain, sources: [plain]}}]\n\
         caches: {{plain: {{grids: [GLOBAL_WEBMERCATOR], sources: [server], cache: {cache}}}}}\n\
         sources: {{server: {{type: wms, req: {{url: 'http://server/', layers: a}}}}}}\n\
         globals: {{cache: {{base_dir: cache, meta_size: [1, 1], meta_buffer: 0}}, {globals}}}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let picture = png();
    let client = ScriptedClient::new(move |request| {
        if request.url.starts_with("http://server/") {
            return Ok(response("image/png", picture.clone()));
        }
        others(request).ok_or_else(|| failure(ErrorKind::Status(404), request))
    });
    let builder = AppBuilder::from_text(config, directory.path()).http_client(Arc::new(client.clone()));
    Bench { app: builder.build().unwrap().app, client, directory }
}

impl Bench {
    fn get(&self) -> Response {
        let request = http::Request::get(TILE).header("host", "localhost").body(Bytes::new()).unwrap();
        self.app.call(Request::from(request))
    }

    /// How often the map server was asked.
    fn maps_made(&self) -> usize {
        self.client.urls().iter().filter(|url| url.starts_with("http://server/")).count()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        files_below(&self.directory.path().join("cache"))
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "png") {
            found.push(path);
        }
    }
    found
}

fn nobody(_: &UpstreamRequest) -> Option<mapproxy_core::client::UpstreamResponse> {
    None
}

#[test]
fn copies_in_memory_are_served_for_as_long_as_they_are_believed() {
    for (max_age, expected) in [(600, 1), (0, 2)] {
        let bench = bench(&format!("{{type: file, memory: {{max_size: 5MB, max_age: {max_age}}}}}"), "", nobody);
        let first = bench.get();
        assert_eq!((first.status().as_u16(), bench.maps_made()), (200, 1));
        for file in bench.files() {
            std::fs::remove_file(file).unwrap();
        }
        let second = bench.get();
        assert_eq!(first.body(), second.body());
        assert_eq!(bench.maps_made(), expected, "max_age: {max_age}");
        if expected == 1 {
            assert_eq!(first.headers()["etag"], second.headers()["etag"]);
        }
    }
}

#[test]
fn a_copy_in_memory_is_answered_by_the_event_loop_itself() {
    let bench = bench("{type: file, memory: 5MB}", "", nobody);
    bench.get();
    let request = http::Request::get(TILE).header("host", "localhost").body(Bytes::new()).unwrap();
    let request = Request::from(request);
    assert!(bench.app.call_now(&request).is_some());
}

#[test]
fn tiers_on_disk_have_copies_below_the_names_of_cache_and_grid() {
    let tiers = "[{type: file, directory: near, max_size: 10MB}, {type: file, directory: far, directory_layout: tms}]";
    let bench = bench(&format!("{{type: tiered, tiers: {tiers}}}"), "", nobody);
    let first = bench.get();
    let (near, far) = (bench.directory.path().join("near"), bench.directory.path().join("far"));
    let copies = files_below(&near);
    assert_eq!(copies.len(), 1);
    assert!(copies[0].starts_with(near.join("plain/GLOBAL_WEBMERCATOR")), "{copies:?}");
    let kept = far.join("5/2/0.png");
    let modified = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&copies[0]), modified(&kept), "a copy is as old as its tile");
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(bench.get().headers()["etag"], first.headers()["etag"]);
    assert_eq!(bench.maps_made(), 1);
}

#[test]
fn documents_of_couchdb_are_written_and_read() {
    let kept: Arc<Mutex<Option<serde_json::Value>>> = Arc::default();
    let couch = Arc::clone(&kept);
    let cache = "{type: couchdb, url: 'http://u:p@couch:5984', tile_metadata: {layer: plain, column: '{{x}}'}}";
    let bench = bench(cache, "", move |request| {
        let path = request.url.strip_prefix("http://couch:5984/plain_epsg3857").expect("the database");
        let answer = match (request.method, path) {
            (Method::Put, "") => "{}".to_owned(),
            (Method::Post, "/_bulk_docs") => {
                let body: serde_json::Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
                *couch.lock().unwrap() = Some(body["docs"][0].clone());
                "[]".to_owned()
            }
            (Method::Get, _) => couch.lock().unwrap().as_ref()?.to_string(),
            other => panic!("{other:?}"),
        };
        Some(response("application/json", answer))
    });
    let (first, second) = (bench.get(), bench.get());
    assert_eq!(first.body(), second.body());
    assert_eq!(first.headers()["last-modified"], second.headers()["last-modified"]);
    assert_eq!(bench.maps_made(), 1);
    let document = kept.lock().unwrap().clone().unwrap();
    assert_eq!(document["_id"], "GLOBAL_WEBMERCATOR-5-2-0");
    assert_eq!((document["layer"].as_str(), document["column"].as_u64()), (Some("plain"), Some(2)));
    assert_eq!(document["_attachments"]["tile"]["content_type"], "image/png");
}

#[test]
fn missing_tiles_are_asked_of_another_process_where_there_is_one() {
    let bench = bench("{type: file}", "renderd: {address: 'http://renderd:8081/x'}", |request| {
        assert_eq!((request.method, request.url.as_str()), (Method::Post, "http://renderd:8081/x"));
        let body = String::from_utf8(request.body.as_ref().unwrap().to_vec()).unwrap();
        assert!(body.contains(r#""tiles": [[2, 0, 5]], "cache_identifier": "plain_GLOBAL_WEBMERCATOR""#), "{body}");
        Some(response("application/json", r#"{"status": "error", "error_message": "the words"}"#))
    });
    let answer = bench.get();
    assert_eq!(answer.status().as_u16(), 500);
    let body = String::from_utf8(answer.body().as_bytes().to_vec()).unwrap();
    assert!(body.contains("Error from renderd: the words"), "{body}");
    assert_eq!(bench.maps_made(), 0);
}
