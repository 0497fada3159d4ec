//! JPEG: baseline, colour samples halved in both directions (4:2:0), as most map servers send it.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::{flattened, in_mode};
use crate::options::ModeOption;
use crate::{ImageOptions, PixelMode, Pixels};

pub(super) fn encode(pixels: &Pixels, options: &ImageOptions) -> Result<Vec<u8>, String> {
    let held;
    let pixels = match (options.mode, pixels.mode()) {
        (Some(ModeOption::Pixels(PixelMode::L)), PixelMode::Rgb | PixelMode::Rgba) => {
            held = in_mode(pixels, PixelMode::L, options);
            &held
        }
        (_, PixelMode::Rgba) => {
            held = flattened(pixels, options);
            &held
        }
        (_, PixelMode::L | PixelMode::Rgb) => pixels,
    };
    encode_samples(pixels, options.encoding.jpeg_quality)
}

/// A JPEG file of grey or RGB pixels.
pub(super) fn encode_samples(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
    let color = match pixels.mode() {
        PixelMode::L => ColorType::Luma,
        PixelMode::Rgb => ColorType::Rgb,
        PixelMode::Rgba => ColorType::Rgba,
    };
    let size = pixels.size();
    let (Ok(width), Ok(height)) = (u16::try_from(size.width), u16::try_from(size.height)) else {
        return Err(format!("{size} is more than the 65535 columns or rows of a JPEG"));
    };
    let mut out = Vec::with_capacity(pixels.data().len() / 8 + 1024);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    // Said aloud, since the encoder takes full colour resolution from quality 90 on.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(pixels.data(), width, height, color).map_err(|error| error.to_string())?;
    Ok(out)
}
