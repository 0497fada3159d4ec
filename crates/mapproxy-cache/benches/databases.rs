//! What a cached tile costs in files of SQLite and in an archive of PMTiles, beside files:
//! `cargo bench -p mapproxy-cache --bench databases`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::pmtiles::{Header, PmtilesWriter};
use mapproxy_cache::store::sqlite::geopackage::{Geopackage, GeopackageFiles, TileMatrices};
use mapproxy_cache::store::sqlite::levels::Levels;
use mapproxy_cache::store::sqlite::mbtiles::Mbtiles;
use mapproxy_cache::store::sqlite::{FileOptions, Pool};
use mapproxy_cache::store::{AtOnce, FileStore, PmtilesStore, TileData, TileStore};
use mapproxy_cache::{Permissions, TileKey};
use mapproxy_grid::{Origin, Srs, TileCoord, TileGrid, TileGridBuilder};

fn main() {
    divan::main();
}

const TILE: usize = 20_000;
const KINDS: [&str; 6] = ["file", "mbtiles", "mbtiles with log", "sqlite", "geopackage", "pmtiles"];

fn grid() -> TileGrid {
    let grid = TileGrid::builder("webmercator", Srs::new("EPSG:3857").unwrap());
    TileGridBuilder { origin: Origin::UpperLeft, ..grid }.build().unwrap()
}

/// A store of this kind with `tiles`; all but archives can be written.
fn store(kind: &str, base: &Path, tiles: &[(TileKey, TileData)]) -> Arc<dyn TileStore> {
    let pool = Arc::new(Pool::default());
    let options = FileOptions { wal: kind == "mbtiles with log", ..FileOptions::default() };
    let store: Arc<dyn TileStore> = match kind {
        "file" => Arc::new(FileStore {
            directory: base.join("tiles"),
            extension: "png".to_owned(),
            layout: Layout::Tc,
            link_single_color: LinkSingleColor::Off,
            permissions: Permissions::default(),
        }),
        "sqlite" => Arc::new(Levels { directory: base.join("levels"), options, ttl: None }.open(&pool)),
        "geopackage" => {
            let matrices = TileMatrices::new(&grid(), None).unwrap();
            let files = GeopackageFiles::One(base.join("tiles.gpkg"));
            Arc::new(Geopackage { files, table: "tiles".to_owned(), matrices, options }.open(&pool))
        }
        "pmtiles" => {
            let path = base.join("tiles.pmtiles");
            let mut writer = PmtilesWriter::create(&path).unwrap();
            for (TileKey { coord: TileCoord { x, y, z }, .. }, tile) in tiles {
                writer.add(*z, *x, *y, &[&tile.bytes[..], &[*x as u8, *y as u8]].concat()).unwrap();
            }
            writer.finish(Header::default(), "{}").unwrap();
            return Arc::new(PmtilesStore::open(path, &Arc::new(grid())).unwrap());
        }
        _ => Arc::new(Mbtiles { file: base.join("tiles.mbtiles"), options, metadata: Vec::new() }.open(&pool)),
    };
    store.store_many(tiles).unwrap();
    store
}

fn tiles() -> Vec<(TileKey, TileData)> {
    let tile = TileData::new(Bytes::from(vec![7; TILE]));
    let coords = (0..256).map(|n| TileCoord::new(n % 16, n / 16, 12));
    coords.map(|coord| (TileKey::new(coord), tile.clone())).collect()
}

#[divan::bench(args = KINDS)]
fn a_cached_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let tiles = tiles();
    let store = store(kind, base.path(), &tiles);
    let mut keys = tiles.iter().map(|(key, _)| key).cycle();
    bencher.bench_local(|| {
        let found = store.load_at_once(keys.next().unwrap()).unwrap();
        assert!(matches!(black_box(&found), AtOnce::Known(Some(_))));
    });
}

#[divan::bench(args = KINDS)]
fn the_sixteen_tiles_of_a_map(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let tiles = tiles();
    let store = store(kind, base.path(), &tiles);
    let keys: Vec<_> = tiles.iter().map(|(key, _)| key.clone()).take(16).collect();
    bencher.bench_local(|| assert!(store.load_many(black_box(&keys)).unwrap().iter().all(Option::is_some)));
}

#[divan::bench(args = &KINDS[..5])]
fn storing_the_sixteen_tiles_of_a_meta_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let base = tempfile::tempdir().unwrap();
    let tiles = tiles();
    let store = store(kind, base.path(), &tiles);
    bencher.bench_local(|| store.store_many(black_box(&tiles[..16])).unwrap());
}
