//! What a map costs, step by step, on drawn and photographic pictures: `cargo bench -p mapproxy-image`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use divan::{Bencher, black_box};
use mapproxy_grid::{Bbox, Size, Srs};
use mapproxy_image::transform::transform;
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, Resampling, codec, tiles};

fn main() {
    divan::main();
}

const KINDS: [&str; 2] = ["drawn", "photo"];
const METHODS: [Resampling; 3] = [Resampling::Nearest, Resampling::Bilinear, Resampling::Bicubic];

/// Areas with soft edges and lines, or waves with some noise.
fn picture(kind: &str, size: Size) -> Pixels {
    let wave = |x: u32, y: u32, i: u32| {
        let (x, y, i) = (f64::from(x), f64::from(y), f64::from(i));
        (x / (31.0 + 17.0 * i) + i).sin() + (y / (27.0 + 11.0 * i)).cos()
    };
    let mut data = Vec::with_capacity(size.pixels() as usize * 3);
    for y in 0..size.height {
        for x in 0..size.width {
            if kind == "drawn" {
                let height = wave(x, y, 1) * 2.0;
                let edge = ((height - height.floor()) * 40.0).min(1.0);
                let ground =
                    [[242.0, 239.0, 233.0], [232.0, 221.0, 205.0], [215.0, 230.0, 200.0], [170.0, 211.0, 223.0]];
                let area = ground[(height.floor() as i32).rem_euclid(4) as usize];
                let line = [130.0, 110.0, 130.0];
                data.extend((0..3).map(|i| (area[i] * edge + line[i] * (1.0 - edge)) as u8));
            } else {
                let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 28;
                data.extend((0..3).map(|i| (127.0 + 55.0 * wave(x, y, i)) as u8 / 2 + noise as u8));
            }
        }
    }
    Pixels::new(size, PixelMode::Rgb, data)
}

fn format(name: &str) -> ImageOptions {
    let colors = (name == "png24").then_some(0);
    ImageOptions {
        colors,
        ..ImageOptions::new(ImageFormat::new(if name == "jpeg" { "image/jpeg" } else { "image/png" }))
    }
}

fn tile_format(kind: &str) -> ImageOptions {
    format(if kind == "drawn" { "png8" } else { "jpeg" })
}

#[divan::bench(args = KINDS)]
fn decode_tile(bencher: Bencher<'_, '_>, kind: &str) {
    let file = codec::encode(&picture(kind, Size::new(256, 256)), &tile_format(kind), None).unwrap();
    bencher.bench(|| codec::decode(black_box(&file.bytes), 1 << 20).unwrap());
}

/// What each cached tile pays for never being served cut off.
#[divan::bench(args = ["png8", "jpeg", "gif", "tiff"])]
fn check_tile(bencher: Bencher<'_, '_>, name: &str) {
    let kind = if name == "jpeg" { "photo" } else { "drawn" };
    let options = ImageOptions::new(ImageFormat::new(&format!("image/{name}")));
    let file = codec::encode(&picture(kind, Size::new(256, 256)), &options, None).unwrap();
    bencher.bench(|| codec::whole(black_box(&file.bytes)).unwrap());
}

#[divan::bench(args = KINDS)]
fn join_30_tiles(bencher: Bencher<'_, '_>, kind: &str) {
    let options = Arc::new(tile_format(kind));
    let tile = |i: usize| {
        let pixels = picture(kind, Size::new(256, 256 + i as u32)).crop(
            0,
            i as i64,
            Size::new(256, 256),
            mapproxy_image::Color::WHITE,
        );
        let file = codec::encode(&pixels, &options, None).unwrap();
        Some(MapImage::from_encoded(file.bytes, options.clone()))
    };
    let tiles: Vec<_> = (0..30).map(tile).collect();
    bencher.bench(|| tiles::join(&tiles, 6, 5, Size::new(256, 256), &options, &mut |_, error| panic!("{error}")));
}

fn transformed(bencher: Bencher<'_, '_>, resampling: Resampling, dst: &Bbox, code: &str) {
    let options = Arc::new(ImageOptions { resampling, ..ImageOptions::new(ImageFormat::png()) });
    let image = MapImage::from_pixels(picture("drawn", Size::new(1536, 1280)), options.clone());
    let src = Bbox::new(1_000_000.0, 6_000_000.0, 1_768_000.0, 6_640_000.0);
    let (mercator, srs) = (Srs::web_mercator(), Srs::new(code).unwrap());
    let dst = (dst, Size::new(1024, 768), &srs);
    bencher.bench(|| transform(&image, (&src, &mercator), dst, &options).unwrap());
}

#[divan::bench(args = METHODS)]
fn scale_1400x1050(bencher: Bencher<'_, '_>, resampling: Resampling) {
    transformed(bencher, resampling, &Bbox::new(1_015_150.0, 6_089_650.0, 1_715_150.0, 6_614_650.0), "EPSG:3857");
}

#[divan::bench(args = METHODS)]
fn mesh_to_4326(bencher: Bencher<'_, '_>, resampling: Resampling) {
    transformed(bencher, resampling, &Bbox::new(9.2, 47.5, 15.5, 50.7), "EPSG:4326");
}

#[divan::bench(args = METHODS)]
fn mesh_to_25832(bencher: Bencher<'_, '_>, resampling: Resampling) {
    transformed(bencher, resampling, &Bbox::new(530_000.0, 5_270_000.0, 930_000.0, 5_570_000.0), "EPSG:25832");
}

#[divan::bench(args = ["png8", "png24", "jpeg"], consts = [0, 1])]
fn encode_1024x768<const KIND: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let pixels = picture(KINDS[KIND], Size::new(1024, 768));
    let options = format(name);
    bencher.bench(|| codec::encode(black_box(&pixels), &options, None).unwrap());
}
