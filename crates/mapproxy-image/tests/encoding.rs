//! What files come out of which options.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Size, Srs};
use mapproxy_image::{
    Codec, Color, EncodingOptions, GeoReference, ImageFormat, ImageOptions, MapImage, ModeOption, PixelMode, Pixels,
    Quantizer, TiffCompression, codec,
};

/// Many colours, with alpha from left to right.
fn colorful(mode: PixelMode) -> Pixels {
    let size = Size::new(64, 48);
    let pixel = |i: u32| {
        let (x, y) = (i % 64, i / 64);
        [(x * 4) as u8, (y * 5) as u8, (x * y % 251) as u8, (x * 255 / 63) as u8]
    };
    let data = (0..64 * 48).flat_map(pixel).collect();
    Pixels::new(size, PixelMode::Rgba, data).into_mode(mode)
}

fn options(format: &str) -> ImageOptions {
    ImageOptions::new(ImageFormat::new(format))
}

fn encode(pixels: &Pixels, options: &ImageOptions) -> Bytes {
    codec::encode(pixels, options, None).unwrap().bytes
}

/// Colour type and bits of a PNG's header.
fn kind(png: &[u8]) -> (u8, u8) {
    (png[25], png[24])
}

const GREY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const RGBA: u8 = 6;

#[test]
fn png_is_paletted_unless_colors_mode_or_another_name_say_otherwise() {
    use PixelMode::{L, Rgb, Rgba};
    let png = options("image/png");
    let pixels = |mode| Some(ModeOption::Pixels(mode));
    let cases = [
        (png.clone(), Rgba, PALETTE),
        (png.clone(), Rgb, PALETTE),
        (png.clone(), L, PALETTE),
        (ImageOptions { colors: Some(256), ..png.clone() }, Rgba, PALETTE),
        (ImageOptions { colors: Some(0), ..png.clone() }, Rgba, RGBA),
        (ImageOptions { colors: Some(0), ..png.clone() }, Rgb, RGB),
        (ImageOptions { colors: Some(0), ..png.clone() }, L, GREY),
        (ImageOptions { mode: pixels(Rgb), ..png.clone() }, Rgba, RGB),
        (ImageOptions { mode: pixels(Rgba), ..png.clone() }, L, RGBA),
        (ImageOptions { mode: pixels(L), colors: Some(256), ..png.clone() }, Rgb, GREY),
        (ImageOptions { mode: Some(ModeOption::Paletted), colors: Some(0), ..png.clone() }, Rgba, PALETTE),
        (options("png8"), Rgb, RGB),
        (options("image/png8"), Rgba, RGBA),
        (options("image/png; mode=24bit"), Rgb, PALETTE),
        (ImageOptions { colors: Some(64), ..options("image/png8") }, Rgba, PALETTE),
    ];
    for (options, mode, expected) in cases {
        assert_eq!(kind(&encode(&colorful(mode), &options)).0, expected, "{mode:?} {options:?}");
    }
}

#[test]
fn few_colors_take_few_bits_and_are_exact() {
    for (colors, bits) in [(1u32, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)] {
        let size = Size::new(37, 19);
        let data = (0..37 * 19).flat_map(|i: u32| [(i % colors) as u8, 7, (i % colors) as u8 / 3]).collect();
        let pixels = Pixels::new(size, PixelMode::Rgb, data);
        let file = encode(&pixels, &options("image/png"));
        assert_eq!(kind(&file), (PALETTE, bits), "{colors}");
        assert_eq!(codec::header(&file).unwrap().palette, Some(colors as u16));
        assert!(codec::decode(&file, 1 << 20).unwrap() == pixels, "{colors}");
    }
}

#[test]
fn large_maps_are_exact_too() {
    for colors in [2u32, 9, 200] {
        let size = Size::new(1021, 601);
        let pixel = |i: u32| [((i % 1021 / 37 + i / 1021 / 11) % colors) as u8, 3, 9];
        let pixels = Pixels::new(size, PixelMode::Rgb, (0..1021 * 601).flat_map(pixel).collect());
        let file = encode(&pixels, &options("image/png"));
        assert!(codec::decode(&file, 1 << 20).unwrap() == pixels, "{colors}");
        assert!(file.len() < 60_000, "{colors}: {}", file.len());
    }
}

#[test]
fn true_colour_is_exact_whether_drawn_or_photographed() {
    let drawn = |mode| {
        let pixel = |i: u32| [(i / 640) as u8 * 16, 40, 90, 255 - (i / 640) as u8];
        Pixels::new(Size::new(64, 48), PixelMode::Rgba, (0..64 * 48).flat_map(pixel).collect()).into_mode(mode)
    };
    let exact = ImageOptions { colors: Some(0), ..options("image/png") };
    for mode in [PixelMode::L, PixelMode::Rgb, PixelMode::Rgba] {
        for pixels in [colorful(mode), drawn(mode)] {
            assert!(codec::decode(&encode(&pixels, &exact), 1 << 20).unwrap() == pixels, "{mode:?}");
        }
        // A single column: every row but the first is the difference from the one above.
        let column = colorful(mode).crop(7, 0, Size::new(1, 48), Color::WHITE);
        assert!(codec::decode(&encode(&column, &exact), 1 << 20).unwrap() == column, "{mode:?}");
    }
}

#[test]
fn palettes_keep_alpha_where_the_picture_may_be_transparent_and_lose_it_otherwise() {
    let pixels = colorful(PixelMode::Rgba);
    let png = options("image/png");
    let kept = codec::decode(&encode(&pixels, &png.clone().with_transparent(true)), 1 << 20).unwrap();
    assert_eq!(kept.mode(), PixelMode::Rgba);
    for x in 0..64 {
        assert!(kept.pixel(x, 20)[3].abs_diff(pixels.pixel(x, 20)[3]) < 64, "{x}");
    }
    assert_eq!((kept.pixel(0, 20)[3], kept.pixel(63, 20)[3]), (0, 255));
    let lost = codec::decode(&encode(&pixels, &png), 1 << 20).unwrap();
    assert_eq!(lost.mode(), PixelMode::Rgb);
    assert!(lost.pixel(0, 20).iter().all(|&sample| sample > 240), "white shows through");
    let encoding = EncodingOptions { quantizer: Quantizer::MedianCut, ..EncodingOptions::default() };
    let hard = ImageOptions { encoding, ..png.with_transparent(true) };
    let hard = codec::decode(&encode(&pixels, &hard), 1 << 20).unwrap();
    assert!((0..64).all(|x| hard.pixel(x, 20)[3] == if pixels.pixel(x, 20)[3] <= 128 { 0 } else { 255 }));
}

#[test]
fn quality_background_and_grey_reach_the_jpeg() {
    let pixels = colorful(PixelMode::Rgba);
    let with = |quality| {
        let encoding = EncodingOptions { jpeg_quality: quality, ..EncodingOptions::default() };
        encode(&pixels, &ImageOptions { encoding, ..options("image/jpeg") }).len()
    };
    assert!(with(95) > with(75) && with(75) > with(20));
    let green = ImageOptions { bgcolor: Some(Color::rgb(0, 200, 0)), ..options("image/jpeg") };
    let [r, g, b, _] = codec::decode(&encode(&pixels, &green), 1 << 20).unwrap().pixel(0, 24);
    assert!(r < 40 && g > 160 && b < 40, "{r} {g} {b}");
    let grey = ImageOptions { mode: Some(ModeOption::Pixels(PixelMode::L)), ..options("image/jpeg") };
    assert_eq!(codec::header(&encode(&pixels, &grey)).unwrap().mode, PixelMode::L);
}

#[test]
fn mixed_is_png_where_something_is_transparent_and_jpeg_otherwise() {
    let mixed = options("mixed").with_transparent(true);
    let file = codec::encode(&colorful(PixelMode::Rgba), &mixed, None).unwrap();
    assert_eq!((Codec::sniff(&file.bytes), file.format.as_str()), (Some(Codec::Png), "image/png"));
    let opaque = colorful(PixelMode::Rgb).into_mode(PixelMode::Rgba);
    let file = codec::encode(&opaque, &mixed, None).unwrap();
    assert_eq!((Codec::sniff(&file.bytes), file.format.as_str()), (Some(Codec::Jpeg), "image/jpeg"));
}

#[test]
fn tiff_is_compressed_as_asked_and_knows_its_place() {
    let pixels = colorful(PixelMode::Rgb);
    let place = |code| GeoReference { bbox: Bbox::new(10.0, 20.0, 74.0, 44.0), srs: Srs::new(code).unwrap() };
    for compression in [TiffCompression::Raw, TiffCompression::Lzw, TiffCompression::Jpeg] {
        let encoding = EncodingOptions { tiff_compression: compression, ..EncodingOptions::default() };
        let options = ImageOptions { encoding, ..options("image/GeoTIFF") };
        for (code, model, key) in [("EPSG:3857", 1, 3072), ("EPSG:4326", 2, 2048)] {
            let reference = place(code);
            let file = codec::encode(&pixels, &options, Some(&reference)).unwrap();
            assert_eq!(file.format.as_str(), "image/GeoTIFF");
            let mut reader = tiff::decoder::Decoder::new(Cursor::new(&file.bytes)).unwrap();
            use tiff::tags::Tag;
            let mut tag = |tag| match tag {
                Tag::ModelPixelScaleTag | Tag::ModelTiepointTag => reader.get_tag_f64_vec(tag).unwrap(),
                _ => reader.get_tag_u16_vec(tag).unwrap().into_iter().map(f64::from).collect(),
            };
            assert_eq!(tag(Tag::ModelPixelScaleTag), [1.0, 0.5, 0.0]);
            assert_eq!(tag(Tag::ModelTiepointTag), [0.0, 0.0, 0.0, 10.0, 44.0, 0.0]);
            let epsg = f64::from(reference.srs.epsg().unwrap());
            let keys =
                [1., 1., 0., 3., 1024., 0., 1., f64::from(model), 1025., 0., 1., 1., f64::from(key), 0., 1., epsg];
            assert_eq!(tag(Tag::GeoKeyDirectoryTag), keys);
            let expected = [(TiffCompression::Raw, 1.0), (TiffCompression::Lzw, 5.0), (TiffCompression::Jpeg, 7.0)];
            assert!(expected.contains(&(compression, tag(Tag::Compression)[0])));
            let back = codec::decode(&file.bytes, 1 << 20).unwrap();
            if compression == TiffCompression::Jpeg {
                assert!(back.data().iter().zip(pixels.data()).filter(|(a, b)| a.abs_diff(**b) > 60).count() < 900);
            } else {
                assert!(back == pixels);
            }
        }
    }
}

#[test]
fn gif_keeps_opaque_and_invisible_pixels() {
    let file = encode(&colorful(PixelMode::Rgba), &options("image/gif"));
    let back = codec::decode(&file, 1 << 20).unwrap();
    assert_eq!((back.mode(), back.pixel(0, 9)[3], back.pixel(63, 9)[3]), (PixelMode::Rgba, 0, 255));
    let opaque = codec::decode(&encode(&colorful(PixelMode::Rgb), &options("image/gif")), 1 << 20).unwrap();
    assert_eq!(opaque.mode(), PixelMode::Rgb);
    let close = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 48;
    assert!(opaque.data().iter().zip(colorful(PixelMode::Rgb).data()).all(close));
}

#[test]
fn bytes_pass_through_untouched_where_format_and_mode_fit() {
    let png = options("image/png");
    let rgb = ImageOptions { mode: Some(ModeOption::Pixels(PixelMode::Rgb)), ..png.clone() };
    let full = ImageOptions { colors: Some(0), ..png.clone() };
    let jpeg = options("image/jpeg");
    let data = encode(&colorful(PixelMode::Rgb), &full);
    let photo = encode(&colorful(PixelMode::Rgb), &jpeg);
    let unknown = ImageOptions::default();
    let mixed = options("mixed");
    // The file, the options it came with, those asked for, passed on untouched?
    let cases = [
        (&data, &unknown, &png, true),
        (&data, &png, &png, true),
        (&data, &png, &full, true),
        (&data, &jpeg, &png, true),
        (&data, &png, &rgb, true),
        (&data, &rgb, &png, false),
        (&data, &png, &options("image/png8"), false),
        (&data, &png, &jpeg, false),
        (&data, &png, &mixed, false),
        (&data, &mixed, &mixed, true),
        (&photo, &unknown, &jpeg, true),
        (&photo, &png, &png, false),
        (&photo, &mixed, &mixed, true),
        (&photo, &unknown, &mixed, true),
    ];
    for (bytes, came, asked, untouched) in cases {
        let image = MapImage::from_encoded(bytes.clone(), Arc::new(came.clone()));
        let file = image.encode(asked).unwrap();
        assert_eq!(file.bytes.as_ptr() == bytes.as_ptr(), untouched, "{came:?}\n{asked:?}");
        if !asked.format.as_ref().unwrap().is_mixed() {
            assert_eq!(file.format.as_str(), asked.format.as_ref().unwrap().as_str());
        }
    }
    let cached = MapImage::from_encoded(data, Arc::new(png)).with_cacheable(false);
    assert!(!cached.cacheable() && !cached.decoded().unwrap().cacheable());
}

#[test]
fn blank_pictures_follow_background_transparency_and_mode() {
    let size = Size::new(3, 2);
    let ground = Some(Color::rgb(16, 32, 48));
    let blank = |options: ImageOptions| MapImage::blank(size, Arc::new(options)).into_pixels().unwrap();
    let plain = blank(options("image/png"));
    assert_eq!((plain.mode(), plain.single_color()), (PixelMode::Rgb, Some(Color::WHITE)));
    let clear = blank(ImageOptions { bgcolor: ground, ..options("image/png").with_transparent(true) });
    assert_eq!((clear.mode(), clear.single_color()), (PixelMode::Rgba, Some(Color([16, 32, 48, 0]))));
    let mode = Some(ModeOption::Pixels(PixelMode::L));
    assert_eq!(blank(ImageOptions { mode, ..options("image/png") }).mode(), PixelMode::L);
}
