//! Comparisons with pictures that MapProxy 7.0.0 made (`golden/make.py` makes them anew).
//!
//! `GOLDEN_DIR` names another directory of such pictures, larger ones say.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, Srs};
use mapproxy_image::merge::{Frame, Layer, merge};
use mapproxy_image::transform::transform;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, Resampling, codec};

fn directory() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("GOLDEN_DIR").map_or_else(own, PathBuf::from)
}

fn read(name: &str) -> Pixels {
    let bytes = std::fs::read(directory().join(name)).unwrap();
    codec::decode(&bytes, 1 << 24).unwrap()
}

fn lines(name: &str) -> Vec<String> {
    std::fs::read_to_string(directory().join(name)).unwrap().lines().map(str::to_string).collect()
}

/// Largest difference of samples, and the signal-to-noise ratio in dB (infinite where nothing differs).
fn difference(a: &Pixels, b: &Pixels) -> (u8, f64) {
    assert_eq!(a.size(), b.size());
    let (a, b) = (a.clone().into_mode(PixelMode::Rgba), b.clone().into_mode(PixelMode::Rgba));
    let differences = a.data().iter().zip(b.data()).map(|(a, b)| a.abs_diff(*b));
    let squares: f64 = differences.clone().map(|d| f64::from(d).powi(2)).sum();
    let mean = squares / a.data().len() as f64;
    (differences.max().unwrap_or(0), 10.0 * (255.0f64.powi(2) / mean).log10())
}

fn bbox(text: &str) -> Bbox {
    let edges: Vec<f64> = text.split(',').map(|edge| edge.parse().unwrap()).collect();
    Bbox::new(edges[0], edges[1], edges[2], edges[3])
}

#[test]
fn transformed_pictures_are_mapproxys() {
    for line in lines("transform.txt") {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, source, src_bbox, src_srs, dst_bbox, size, dst_srs, method] = fields[..] else { panic!("{line}") };
        let resampling = match method {
            "nearest" => Resampling::Nearest,
            "bilinear" => Resampling::Bilinear,
            _ => Resampling::Bicubic,
        };
        let (width, height) = size.split_once('x').unwrap();
        let size = Size::new(width.parse().unwrap(), height.parse().unwrap());
        let options = Arc::new(ImageOptions { resampling, ..ImageOptions::new(ImageFormat::png()) });
        let image = MapImage::from_pixels(read(source), options.clone());
        let (src_srs, dst_srs) = (Srs::new(src_srs).unwrap(), Srs::new(dst_srs).unwrap());
        let dst = (&bbox(dst_bbox), size, &dst_srs);
        let ours = transform(&image, (&bbox(src_bbox), &src_srs), dst, &options).unwrap().pixels().unwrap();
        let theirs = read(&format!("transform-{name}.png"));
        let (largest, ratio) = difference(&ours, &theirs);
        println!("{name}: {ratio:.1} dB, at most {largest}");
        // Colours of nearly invisible pixels are divided by their alpha, so that one step becomes many.
        let allowed = if source.contains("alpha") { (255, 45.0) } else { (1, 60.0) };
        assert!(largest <= allowed.0 && ratio >= allowed.1, "{name}: {ratio:.1} dB, at most {largest}");
    }
}

#[test]
fn merged_pixels_are_mapproxys() {
    let size = Size::new(8, 8);
    let srs = Srs::web_mercator();
    let frame = Frame { size, bbox: Bbox::new(0.0, 0.0, 8.0, 8.0), srs: &srs };
    for line in lines("merge.txt") {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [output, stack, mode, pixel] = fields[..] else { panic!("{line}") };
        let options = ImageOptions::new(ImageFormat::png()).with_transparent(output == "transparent");
        let bgcolor = (output == "ground").then_some(Color::rgb(0x10, 0x20, 0x30));
        let options = Arc::new(ImageOptions { bgcolor, ..options });
        let layer = |text: &str| {
            let (name, opacity) = text.split_once('@').unwrap_or((text, ""));
            let (mode, color) = match name {
                "L" => (PixelMode::L, Color::rgb(70, 70, 70)),
                "RGB" => (PixelMode::Rgb, Color::rgb(0, 100, 0)),
                "RED" => (PixelMode::Rgb, Color::rgb(200, 0, 0)),
                "RGBA" => (PixelMode::Rgba, Color([200, 0, 0, 128])),
                _ => (PixelMode::Rgba, Color([0, 100, 50, 100])),
            };
            let options = ImageOptions::new(ImageFormat::png()).with_transparent(mode == PixelMode::Rgba);
            let options = ImageOptions { opacity: opacity.parse().ok(), ..options };
            let image = MapImage::from_pixels(Pixels::filled(size, mode, color), Arc::new(options));
            Layer { image, coverage: None }
        };
        let out = merge(stack.split(' ').map(layer).collect(), &options, &frame).unwrap().pixels().unwrap();
        let ours = out.pixel(3, 3);
        let theirs: Vec<u8> = pixel.split(',').map(|sample| sample.parse().unwrap()).collect();
        let close = ours.iter().zip(&theirs).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(close && format!("{:?}", out.mode()).to_uppercase() == mode, "{line}: {ours:?} {:?}", out.mode());
    }
}

#[test]
fn every_format_decodes_to_the_same_picture() {
    let (color, grey) = (read("decode.png"), read("decode-grey.png"));
    assert_eq!((color.mode(), grey.mode()), (PixelMode::Rgb, PixelMode::L));
    let mut seen = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("decode-") {
            continue;
        }
        seen += 1;
        let bytes = std::fs::read(directory().join(&name)).unwrap();
        let header = codec::header(&bytes).unwrap();
        let pixels = codec::decode(&bytes, 40 * 30).unwrap();
        assert_eq!((header.size, header.mode), (pixels.size(), pixels.mode()), "{name}");
        let expected = if name.contains("grey") { &grey } else { &color };
        let (largest, ratio) = difference(&pixels, expected);
        assert!(if name.contains("lossy") { ratio > 25.0 } else { largest == 0 }, "{name}: {ratio:.1} dB, {largest}");
        let error = codec::decode(&bytes, 40 * 30 - 1).unwrap_err();
        assert_eq!(error.to_string(), "image of 40x30 is larger than the limit of 1199 pixels", "{name}");
    }
    assert!(seen >= 15, "{seen} files");
}
