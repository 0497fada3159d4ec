//! GIF: the first picture; written with a palette of at most 256 colours, one of them transparent.

use std::borrow::Cow;

use gif::{ColorOutput, DecodeOptions, DisposalMethod, Encoder, Frame};
use mapproxy_grid::Size;

use super::{Header, broken, within_limit};
use crate::options::Quantizer;
use crate::quantize::{self, Paletted};
use crate::{Codec, Color, ImageError, ImageOptions, PixelMode, Pixels};

/// The size is that of the whole canvas. Transparency is announced by the first picture's control block.
pub(super) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let mut decoder = options().read_info(bytes).map_err(broken)?;
    let size = within_limit(Size::new(decoder.width().into(), decoder.height().into()), u64::MAX)?;
    let frame = decoder.next_frame_info().map_err(broken)?.ok_or_else(|| broken("GIF without a picture"))?;
    let covers =
        frame.left == 0 && frame.top == 0 && (frame.width, frame.height) == (size.width as u16, size.height as u16);
    let mode = if frame.transparent.is_some() || !covers { PixelMode::Rgba } else { PixelMode::Rgb };
    let palette = decoder.palette().map(|palette| (palette.len() / 3) as u16).ok();
    Ok(Header { codec: Codec::Gif, size, mode, palette })
}

pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Pixels, ImageError> {
    let header = header(bytes)?;
    let size = within_limit(header.size, max_pixels)?;
    let mut decoder = options().read_info(bytes).map_err(broken)?;
    let frame = decoder.read_next_frame().map_err(broken)?.ok_or_else(|| broken("GIF without a picture"))?;
    let frame_size = Size::new(frame.width.into(), frame.height.into());
    let (left, top) = (i64::from(frame.left), i64::from(frame.top));
    let rgba = frame.buffer.to_vec();
    if rgba.len() as u64 != frame_size.pixels() * 4 {
        return Err(broken("rows are missing"));
    }
    let picture = Pixels::new(frame_size, PixelMode::Rgba, rgba);
    let whole = if frame_size == size && (left, top) == (0, 0) {
        picture
    } else {
        let mut canvas = Pixels::filled(size, PixelMode::Rgba, Color([0; 4]));
        canvas.copy_from(&picture, left, top);
        canvas
    };
    Ok(whole.into_mode(header.mode))
}

fn options() -> DecodeOptions {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.check_frame_consistency(true);
    options
}

pub(super) fn encode(pixels: &Pixels, options: &ImageOptions) -> Result<Vec<u8>, String> {
    let size = pixels.size();
    let (Ok(width), Ok(height)) = (u16::try_from(size.width), u16::try_from(size.height)) else {
        return Err(format!("{size} is more than the 65535 columns or rows of a GIF"));
    };
    let colors = match options.colors {
        None | Some(0) => 256,
        Some(colors) => colors.clamp(2, 256) as usize,
    };
    // Median cut is the one that leaves pixels either opaque or not at all, as GIF has them.
    let quantizer = if pixels.has_transparency() { Quantizer::MedianCut } else { options.encoding.quantizer };
    let ground = options.bgcolor.unwrap_or(Color::WHITE);
    let Paletted { palette, indices } = quantize::palette(pixels, colors, true, ground, quantizer);
    let transparent = palette.iter().position(|color| color[3] == 0).map(|index| index as u8);
    let rgb: Vec<u8> = palette.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    let mut out = Vec::with_capacity(indices.len() / 4 + 1024);
    let mut encoder = Encoder::new(&mut out, width, height, &rgb).map_err(|error| error.to_string())?;
    let frame = Frame {
        width,
        height,
        transparent,
        dispose: DisposalMethod::Any,
        buffer: Cow::Owned(indices),
        ..Frame::default()
    };
    encoder.write_frame(&frame).map_err(|error| error.to_string())?;
    drop(encoder);
    Ok(out)
}
