//! How fast the pieces of work of large tasks are found.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use mapproxy_grid::{Bbox, Coverage, MetaGrid, Srs, TileGrid};
use mapproxy_seeding::TileWalk;

const PIECES: usize = 100_000;

fn main() {
    divan::main();
}

fn world() -> MetaGrid {
    let grid = TileGrid::builder("world", Srs::web_mercator()).build().expect("a grid with defaults");
    MetaGrid::new(Arc::new(grid), (4, 4), 0)
}

fn pieces(bencher: Bencher<'_, '_>, coverage: Option<Coverage>) {
    let walk = TileWalk::over(&world(), &(0..20).collect::<Vec<u8>>(), coverage, 0).expect("a walk over the world");
    bencher
        .counter(ItemsCount::new(PIECES))
        .with_inputs(|| walk.clone())
        .bench_values(|walk| walk.take(PIECES).map(|work| work.tiles.len()).sum::<usize>());
}

#[divan::bench]
fn whole_grid(bencher: Bencher<'_, '_>) {
    pieces(bencher, None);
}

#[divan::bench]
fn main_tiles_only(bencher: Bencher<'_, '_>) {
    let walk = TileWalk::over(&world(), &[19], None, 0).expect("a walk over the world");
    bencher.counter(ItemsCount::new(PIECES)).with_inputs(|| walk.clone()).bench_values(|mut walk| {
        let mut sum = 0;
        for _ in 0..PIECES {
            sum += walk.next_main().map_or(0, |(number, _)| number);
        }
        sum
    });
}

#[divan::bench]
fn a_box_in_another_srs(bencher: Bencher<'_, '_>) {
    pieces(bencher, Some(Coverage::from_bbox(Bbox::new(5.0, 45.0, 15.0, 55.0), Srs::wgs84())));
}

#[divan::bench]
fn a_ring_of_a_thousand_points(bencher: Bencher<'_, '_>) {
    let at = |n: i32, size: f64| {
        let angle = f64::from(n) / 1000.0 * std::f64::consts::TAU;
        (size * angle.cos(), size * angle.sin())
    };
    let ring = |size: f64| (0..=1000).map(|n| at(n % 1000, size)).collect();
    let polygons = vec![vec![ring(5e6), ring(4.9e6)]];
    pieces(bencher, Some(Coverage::from_polygons(&polygons, Srs::web_mercator()).expect("a ring")));
}
