//! What a cached tile costs with copies in memory, on disk, and without: `cargo bench -p mapproxy-cache --bench tiers`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box};
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::tier::{DiskCopies, MemoryCopies, Tier};
use mapproxy_cache::store::{FileStore, TileData, TileStore};
use mapproxy_cache::{Permissions, TileKey};
use mapproxy_grid::TileCoord;

fn main() {
    divan::main();
}

const TILE: usize = 20_000;
const LONG: Duration = Duration::from_secs(3600);
const KINDS: [&str; 4] = ["file", "memory before file", "memory before file, asked each time", "disk before file"];

fn files(directory: &Path) -> FileStore {
    FileStore {
        directory: directory.to_owned(),
        extension: "png".to_owned(),
        layout: Layout::Tc,
        link_single_color: LinkSingleColor::Off,
        permissions: Permissions::default(),
    }
}

fn store(kind: &str, base: &Path) -> Arc<dyn TileStore> {
    let below: Arc<dyn TileStore> = Arc::new(files(&base.join("tiles")));
    let memory = || MemoryCopies::new(64_000_000);
    match kind {
        "file" => below,
        "memory before file" => Arc::new(Tier::new(memory(), below, LONG)),
        "memory before file, asked each time" => Arc::new(Tier::new(memory(), below, Duration::ZERO)),
        _ => Arc::new(Tier::new(DiskCopies::new(files(&base.join("copies")), 64_000_000), below, LONG)),
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
    let (store, tiles) = (store(kind, base.path()), tiles());
    store.store_many(&tiles).unwrap();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % tiles.len();
        black_box(store.load(&tiles[at].0).unwrap().unwrap())
    });
}

#[divan::bench(args = KINDS, threads = 4)]
fn load_tiles_in_four_threads(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let (store, tiles) = (store(kind, base.path()), tiles());
    store.store_many(&tiles).unwrap();
    bencher.bench(|| {
        for (key, _) in &tiles {
            black_box(store.load(key).unwrap().unwrap());
        }
    });
}

#[divan::bench(args = KINDS, sample_count = 50)]
fn store_a_meta_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let (store, tiles) = (store(kind, base.path()), tiles());
    bencher.bench_local(|| store.store_many(&tiles[..16]).unwrap());
}
