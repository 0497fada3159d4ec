//! Files as no honest server sends them: broken, cut off, lying about their size.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use mapproxy_grid::Size;
use mapproxy_image::{Codec, ImageError, ImageFormat, ImageOptions, ModeOption, PixelMode, Pixels, codec};
use proptest::prelude::*;

const LIMIT: u64 = 4096;

fn files() -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = names.filter(|path| path.to_str().unwrap().contains("/decode")).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_files_decode_or_fail_within_limits(
        file in 0..18usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        header in prop::collection::vec((0..64usize, any::<u8>()), 0..3),
        keep in 0.2..1.3f64,
    ) {
        let files = files();
        let mut bytes = files[file % files.len()].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in header {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        if let Ok(pixels) = codec::decode(&bytes, LIMIT) {
            prop_assert!(pixels.size().pixels() <= LIMIT && pixels.size().pixels() > 0);
            let header = codec::header(&bytes).unwrap();
            prop_assert_eq!(header.size, pixels.size());
        }
    }

    #[test]
    fn noise_with_a_known_beginning_does_not_decode(
        start in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF89a", b"RIFF\0\x01\0\0WEBPVP8 "]),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &noise].concat();
        if let Ok(pixels) = codec::decode(&bytes, LIMIT) {
            prop_assert!(pixels.size().pixels() <= LIMIT);
        }
    }
}

#[test]
fn a_header_that_promises_gigapixels_is_refused_by_its_size() {
    let options = ImageOptions { colors: Some(0), ..ImageOptions::new(ImageFormat::png()) };
    let pixels = Pixels::new(Size::new(2, 2), PixelMode::L, vec![1, 2, 3, 4]);
    let mut bytes = codec::encode(&pixels, &options, None).unwrap().bytes.to_vec();
    bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let error = codec::decode(&bytes, codec::DEFAULT_MAX_PIXELS).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { size, .. } if size == Size::new(65536, 65536)), "{error}");
    assert_eq!(error.to_string(), "image of 65536x65536 is larger than the limit of 100000000 pixels");
}

#[test]
fn errors_say_what_came_instead_of_a_picture() {
    let error = codec::decode(b"<html>\n<h1>Gone</h1>", LIMIT).unwrap_err();
    let text = "cannot decode image: not a PNG, JPEG, TIFF, GIF or WebP file; 20 bytes, starting with \"<html>\\n<h1>Gone</h1>\"";
    assert_eq!(error.to_string(), text);
    assert_eq!(codec::header(b"").unwrap_err().to_string(), "cannot decode image: no bytes");
}

#[test]
fn pictures_too_large_for_a_format_are_refused_with_the_reason() {
    let long = Pixels::new(Size::new(70_000, 1), PixelMode::L, vec![0; 70_000]);
    for format in ["image/jpeg", "image/gif", "image/webp"] {
        let error = codec::encode(&long, &ImageOptions::new(ImageFormat::new(format)), None).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot encode image as {format}: 70000x1")), "{error}");
    }
    let error = codec::encode(&long, &ImageOptions::new(ImageFormat::new("image/x-pcx")), None).unwrap_err();
    assert_eq!(error.to_string(), "cannot encode image as image/x-pcx: known are png, jpeg, tiff, gif, webp and mixed");
    assert!(codec::encode(&long, &ImageOptions::default(), None).is_err());
    // What they can hold they do, in every mode.
    for mode in [PixelMode::L, PixelMode::Rgb, PixelMode::Rgba] {
        let narrow = Pixels::new(Size::new(1, 3), mode, vec![77; 3 * mode.samples()]);
        for kind in [Codec::Png, Codec::Jpeg, Codec::Tiff, Codec::Gif, Codec::WebP] {
            for wanted in [
                None,
                Some(ModeOption::Paletted),
                Some(ModeOption::Pixels(PixelMode::L)),
                Some(ModeOption::Pixels(PixelMode::Rgba)),
            ] {
                let options = ImageOptions { mode: wanted, ..ImageOptions::new(ImageFormat::new(kind.content_type())) };
                let file = codec::encode(&narrow, &options, None).unwrap();
                assert_eq!(Codec::sniff(&file.bytes), Some(kind), "{mode:?} {wanted:?}");
                assert_eq!(
                    codec::decode(&file.bytes, 3).unwrap().size(),
                    Size::new(1, 3),
                    "{kind:?} {mode:?} {wanted:?}"
                );
            }
        }
    }
}
