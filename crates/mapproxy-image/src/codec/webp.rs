//! WebP: lossy by libwebp with the feature `libwebp`, lossless without it.

use super::in_mode;
use crate::options::ModeOption;
use crate::{ImageOptions, PixelMode, Pixels};

pub(super) fn encode(pixels: &Pixels, options: &ImageOptions) -> Result<Vec<u8>, String> {
    let mode = match (options.mode, pixels.mode()) {
        (Some(ModeOption::Pixels(PixelMode::L | PixelMode::Rgb)), _) | (_, PixelMode::L) => PixelMode::Rgb,
        (_, mode) => mode,
    };
    let held;
    let pixels = if mode == pixels.mode() {
        pixels
    } else {
        held = in_mode(pixels, mode, options);
        &held
    };
    let size = pixels.size();
    const LARGEST: u32 = 16383;
    if size.width > LARGEST || size.height > LARGEST {
        return Err(format!("{size} is more than the {LARGEST} columns or rows of a WebP"));
    }
    write(pixels)
}

#[cfg(feature = "libwebp")]
fn write(pixels: &Pixels) -> Result<Vec<u8>, String> {
    /// Of libwebp's own scale, 0 to 100.
    const QUALITY: f32 = 80.0;
    let size = pixels.size();
    let encoder = match pixels.mode() {
        PixelMode::Rgba => webp::Encoder::from_rgba(pixels.data(), size.width, size.height),
        PixelMode::L | PixelMode::Rgb => webp::Encoder::from_rgb(pixels.data(), size.width, size.height),
    };
    encoder.encode_simple(false, QUALITY).map(|file| file.to_vec()).map_err(|error| format!("{error:?}"))
}

#[cfg(not(feature = "libwebp"))]
fn write(pixels: &Pixels) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(pixels.data().len() / 4 + 1024);
    let color = match pixels.mode() {
        PixelMode::Rgba => image::ExtendedColorType::Rgba8,
        PixelMode::L | PixelMode::Rgb => image::ExtendedColorType::Rgb8,
    };
    let size = pixels.size();
    image::codecs::webp::WebPEncoder::new_lossless(&mut out)
        .encode(pixels.data(), size.width, size.height, color)
        .map_err(|error| error.to_string())?;
    Ok(out)
}
