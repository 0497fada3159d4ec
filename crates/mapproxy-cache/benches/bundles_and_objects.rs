//! What a cached tile costs: in bundles beside files, and from S3 beside a signed GET made by hand:
//! `cargo bench -p mapproxy-cache --bench bundles_and_objects`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box};
use mapproxy_cache::store::compact::{BundlePool, CompactOptions, Version};
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::objects::{Connection, ObjectOptions, S3, S3Options};
use mapproxy_cache::store::{CompactStore, FileStore, ObjectStore, TileData, TileStore};
use mapproxy_cache::{Permissions, TileKey};
use mapproxy_client::{ClientOptions, Clients, HttpClient, UpstreamRequest};
use mapproxy_grid::TileCoord;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};

fn main() {
    divan::main();
}

const TILE: usize = 20_000;
const KINDS: [&str; 3] = ["file", "compact 2", "compact 1"];

fn store(kind: &str, base: &tempfile::TempDir) -> Box<dyn TileStore> {
    let directory = base.path().join("tiles");
    let permissions = Permissions::default();
    let compact = |version| {
        let options =
            CompactOptions { directory: directory.clone(), version, permissions, timeout: Duration::from_secs(9) };
        CompactStore::new(options, Arc::new(BundlePool::default()))
    };
    match kind {
        "file" => Box::new(FileStore {
            directory,
            extension: "png".to_owned(),
            layout: Layout::Tc,
            link_single_color: LinkSingleColor::Off,
            permissions,
        }),
        "compact 1" => Box::new(compact(Version::V1)),
        _ => Box::new(compact(Version::V2)),
    }
}

fn tiles() -> Vec<(TileKey, TileData)> {
    let tile = TileData::new(Bytes::from(vec![7; TILE]));
    let coords = (0..256).map(|n| TileCoord::new(n % 16, n / 16, 12));
    coords.map(|coord| (TileKey::new(coord), tile.clone())).collect()
}

#[divan::bench(args = KINDS)]
fn load_a_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let (store, tiles) = (store(kind, &base), tiles());
    store.store_many(&tiles).unwrap();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % tiles.len();
        black_box(store.load(&tiles[at].0).unwrap().unwrap())
    });
}

#[divan::bench(args = KINDS)]
fn find_a_tile_missing(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let store = store(kind, &base);
    store.store_many(&tiles()).unwrap();
    let missing = TileKey::new(TileCoord::new(100, 100, 12));
    bencher.bench_local(|| black_box(store.load(&missing).unwrap()));
}

#[divan::bench(args = KINDS, sample_count = 50)]
fn store_a_meta_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let (store, tiles) = (store(kind, &base), tiles());
    bencher.bench_local(|| store.store_many(&tiles[..16]).unwrap());
}

/// Answers every request with a tile, for as long as the connection is open.
fn responder() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let date = "Sun, 22 Nov 2026 18:00:00 GMT";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {TILE}\r\nContent-Type: image/png\r\nLast-Modified: {date}\r\n\r\n"
    );
    let answer = [head.as_bytes(), &vec![7; TILE]].concat();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() && stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn client() -> Arc<dyn HttpClient> {
    Clients::default().client(ClientOptions::default()).unwrap()
}

#[divan::bench]
fn s3_load(bencher: Bencher<'_, '_>) {
    let (client, timeout) = (client(), Duration::from_secs(60));
    let options = S3Options {
        bucket: "tiles".to_owned(),
        profile: None,
        region: None,
        endpoint_url: Some(responder()),
        access_control_list: None,
        public: false,
        connection: Connection { quick: Arc::clone(&client), client, timeout },
        variables: Arc::new(|name| {
            matches!(name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY").then(|| "x".to_owned())
        }),
    };
    let places = ObjectOptions { base_path: "cache/grid".to_owned(), layout: Layout::Tms, extension: "png".to_owned() };
    let store = ObjectStore::new(Arc::new(S3::new(options).unwrap()), places);
    let key = TileKey::new(TileCoord::new(5, 6, 4));
    bencher.bench_local(|| black_box(store.load(&key).unwrap().unwrap()));
}

#[divan::bench]
fn s3_signed_get_by_hand(bencher: Bencher<'_, '_>) {
    let client = client();
    let bucket = Bucket::new(responder().parse().unwrap(), UrlStyle::Path, "tiles", "us-east-1").unwrap();
    let credentials = Credentials::new("x", "x");
    bencher.bench_local(|| {
        let url = bucket.get_object(Some(&credentials), "cache/grid/4/5/6.png").sign(Duration::from_secs(900));
        black_box(client.send(&UpstreamRequest::get(String::from(url))).unwrap())
    });
}
