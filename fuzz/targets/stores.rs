//! What lies in files and buckets that others write: bundles of compact caches with bytes changed and cut off, what
//! services of objects may answer, headers and directories of PMTiles. Tiles may be missing, but nothing panics, hangs, or takes more memory than there is
//! reason for, and what is stored afterwards is found.
//!
//! An input is a byte that says what it is for, and either changes (three bytes for the place, one for the length, as
//! many as that), after how many bytes (three) the file ends, or the body of all answers.

#![no_main]

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mapproxy_cache::store::compact::{BundlePool, CompactOptions, Version};
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::objects::{
    AzureBlob, AzureBlobOptions, Connection, ObjectOptions, ObjectService, S3, S3Options,
};
use mapproxy_cache::store::pmtiles::fuzzing;
use mapproxy_cache::store::visit::{Detail, Visit};
use mapproxy_cache::store::{CompactStore, ObjectStore, TileData, TileStore};
use mapproxy_cache::{Permissions, TileKey};
use mapproxy_client::testkit::ScriptedClient;
use mapproxy_grid::TileCoord;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => bundle(Version::V1, rest),
        1 => bundle(Version::V2, rest),
        4 => fuzzing::read(rest),
        kind => objects(kind == 2, rest),
    }
});

fn key(x: u32) -> TileKey {
    TileKey::new(TileCoord::new(x, 1, 3))
}

fn bundle(version: Version, data: &[u8]) {
    let base = tempfile::tempdir().expect("a temporary directory");
    let directory = base.path().join("c");
    let options = CompactOptions {
        directory: directory.clone(),
        version,
        permissions: Permissions::default(),
        timeout: Duration::from_secs(5),
    };
    let make = || CompactStore::new(options.clone(), Arc::new(BundlePool::new(2)));
    let tile = |x: u32| TileData::new(Bytes::from(vec![x as u8; 50 + x as usize]));
    let tiles: Vec<_> = (0..8).map(|x| (key(x), tile(x))).collect();
    make().store_many(&tiles).expect("a new bundle takes tiles");
    let mut rest = data;
    for name in ["R0000C0000.bundle", "R0000C0000.bundlx"] {
        rest = change(&directory.join("L03").join(name), rest);
    }
    let store = make();
    for x in 0..10 {
        let found = store.load(&key(x)).expect("a file can be read");
        assert!(found.is_none_or(|tile| tile.bytes.len() <= 1 << 24));
        let _ = store.metadata(&key(x));
    }
    look_at_all(&store, Detail::Bytes);
    look_at_all(&store, Detail::Meta);
    if store.store(&key(3), &tile(3)).is_ok() {
        let found = store.load(&key(3)).expect("a file can be read").expect("it was stored");
        assert_eq!(found.bytes, tile(3).bytes);
    }
    let _ = store.remove(&key(3));
}

fn change<'a>(path: &Path, mut data: &'a [u8]) -> &'a [u8] {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return data };
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]));
    let Some((length, rest)) = data.split_at_checked(3) else { return data };
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    data = rest;
    while let Some((head, rest)) = data.split_at_checked(4) {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(head[3] % 16)));
        file.write_all_at(bytes, number(head) % size).expect("a file can be written");
        data = rest;
        if head[3] >= 128 {
            break;
        }
    }
    if number(length) < size {
        file.set_len(number(length)).expect("a file can be cut");
    }
    data
}

fn look_at_all(store: &impl TileStore, detail: Detail) {
    for wanted in [Visit::all(detail), Visit::level(3, Detail::Keys)] {
        let mut left = 20_000;
        let mut visitor = |_| {
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let _ = store.visit(&wanted, &mut visitor);
    }
}

fn objects(amazon: bool, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let client = Arc::new(ScriptedClient::answering("text/xml", body));
    let connection = Connection { quick: client.clone(), client: client.clone(), timeout: Duration::from_millis(10) };
    let variables = Arc::new(|name: &str| name.starts_with("AWS_").then(|| "x".to_owned()));
    let service: Arc<dyn ObjectService> = if amazon {
        let options = S3Options {
            bucket: "b".to_owned(),
            profile: None,
            region: Some("r".to_owned()),
            endpoint_url: Some("http://h".to_owned()),
            access_control_list: None,
            public: false,
            connection,
            variables,
        };
        Arc::new(S3::new(options).expect("it is an address"))
    } else {
        let connection_string = "AccountName=a;AccountKey=eA==".to_owned();
        let options = AzureBlobOptions { container: "b".to_owned(), connection_string, connection };
        Arc::new(AzureBlob::new(options).expect("it is a connection string"))
    };
    let options = ObjectOptions { base_path: "c".to_owned(), layout: Layout::Tms, extension: "png".to_owned() };
    let store = ObjectStore::new(service, options);
    let _ = store.remove_level(3, None);
    let _ = store.remove_level(3, Some(SystemTime::now()));
    let _ = store.load(&key(1));
    let _ = store.metadata(&key(1));
    look_at_all(&store, Detail::Keys);
    assert!(client.requests().len() < 10_000, "an answer that repeats itself is followed for ever");
}
