//! A coverage with a million points: making it, and deciding tiles with it.

use divan::Bencher;
use mapproxy_grid::coverage::Polygons;
use mapproxy_grid::{Bbox, Coverage, Srs, TileCoord};

fn main() {
    divan::main();
}

/// Islands with rough coasts: `points` in all, the half of them on one of them, over most of the world.
fn islands(points: usize) -> Polygons {
    let island = |x: f64, y: f64, size: f64, points: usize| {
        let at = |number: usize| {
            let angle = number as f64 / points as f64 * std::f64::consts::TAU;
            let rough: f64 = (0..12)
                .map(|octave| {
                    let waves = f64::from(1 << octave) * 3.0;
                    (angle * waves + f64::from(octave)).sin() / waves
                })
                .sum();
            let distance = size * (0.6 + rough);
            (x + distance * angle.cos(), y + distance * angle.sin())
        };
        let mut ring: Vec<(f64, f64)> = (0..points).map(at).collect();
        ring.push(ring[0]);
        vec![ring]
    };
    let mut polygons = vec![island(0.0, 0.0, 6e6, points / 2)];
    for number in 0..100_u32 {
        let (column, row) = (f64::from(number % 50), f64::from(number / 50));
        polygons.push(island(-1.9e7 + column * 7.6e5, if row == 0.0 { -1.6e7 } else { 1.6e7 }, 3e5, points / 200));
    }
    polygons
}

/// The tiles that a seeding of the area looks at: of each level, those that are children of tiles that met the coast, up
/// to a number.
fn tiles(coverage: &Coverage) -> Vec<Bbox> {
    const WORLD: f64 = 20_037_508.342_789_244;
    let srs = Srs::web_mercator();
    let mut level = vec![(0_u32, 0_u32)];
    let mut tiles = Vec::new();
    for z in 0..18_u32 {
        let side = 2.0 * WORLD / f64::from(1_u32 << z);
        let mut next = Vec::new();
        for (x, y) in level {
            let (west, south) = (f64::from(x) * side - WORLD, f64::from(y) * side - WORLD);
            let bbox = Bbox::new(west, south, west + side, south + side);
            tiles.push(bbox);
            if coverage.intersects(&bbox, &srs).expect("the same SRS")
                && !coverage.contains(&bbox, &srs).expect("the same SRS")
            {
                next.extend([(2 * x, 2 * y), (2 * x + 1, 2 * y), (2 * x, 2 * y + 1), (2 * x + 1, 2 * y + 1)]);
            }
        }
        // Spread over the coast.
        let step = next.len() / 4_000 + 1;
        level = next.into_iter().step_by(step).collect();
    }
    tiles
}

#[divan::bench(args = [10_000, 1_000_000])]
fn making_it(bencher: Bencher<'_, '_>, points: usize) {
    let polygons = islands(points);
    bencher.bench(|| Coverage::from_polygons(&polygons, Srs::web_mercator()).expect("polygons"));
}

#[divan::bench(args = [10_000, 1_000_000])]
fn the_first_question(bencher: Bencher<'_, '_>, points: usize) {
    let polygons = islands(points);
    let bbox = Bbox::new(0.0, 0.0, 1.0, 1.0);
    bencher
        .with_inputs(|| Coverage::from_polygons(&polygons, Srs::web_mercator()).expect("polygons"))
        .bench_values(|coverage| coverage.intersects(&bbox, &Srs::web_mercator()));
}

#[divan::bench(args = [10_000, 1_000_000])]
fn tiles_that_intersect(bencher: Bencher<'_, '_>, points: usize) {
    let coverage = Coverage::from_polygons(&islands(points), Srs::web_mercator()).expect("polygons");
    let (tiles, srs) = (tiles(&coverage), Srs::web_mercator());
    bencher
        .counter(divan::counter::ItemsCount::new(tiles.len()))
        .bench(|| tiles.iter().filter(|bbox| coverage.intersects(bbox, &srs).is_ok_and(|meets| meets)).count());
}

#[divan::bench(args = [10_000, 1_000_000])]
fn tiles_that_are_inside(bencher: Bencher<'_, '_>, points: usize) {
    let coverage = Coverage::from_polygons(&islands(points), Srs::web_mercator()).expect("polygons");
    let (tiles, srs) = (tiles(&coverage), Srs::web_mercator());
    bencher
        .counter(divan::counter::ItemsCount::new(tiles.len()))
        .bench(|| tiles.iter().filter(|bbox| coverage.contains(bbox, &srs).is_ok_and(|inside| inside)).count());
}

/// `points` with the text of a file.
#[divan::bench(args = [10_000, 1_000_000])]
fn reading_geojson(bencher: Bencher<'_, '_>, points: usize) {
    let polygons: Vec<String> = islands(points)
        .iter()
        .map(|rings| {
            let points: Vec<String> = rings[0].iter().map(|(x, y)| format!("[{x:.3},{y:.3}]")).collect();
            format!("[[{}]]", points.join(","))
        })
        .collect();
    let text = format!(r#"{{"type":"MultiPolygon","coordinates":[{}]}}"#, polygons.join(","));
    bencher.bench(|| Coverage::from_geojson(&text, Srs::web_mercator()).expect("polygons"));
}

/// A list of expired tiles, most of them together.
#[divan::bench(args = [10_000, 1_000_000])]
fn tiles_as_an_area(bencher: Bencher<'_, '_>, count: u32) {
    let tiles: Vec<TileCoord> = (0..count)
        .map(|number| {
            let (block, place) = (number / 64, number % 64);
            let scattered = block.wrapping_mul(2_654_435_761);
            TileCoord::new((scattered % 30_000) * 8 + place % 8, (scattered / 30_000 % 30_000) * 8 + place / 8, 18)
        })
        .collect();
    bencher.bench(|| Coverage::from_mercator_tiles(&tiles).expect("tiles"));
}
