//! Readers and writers of image files.
//!
//! Whatever a file holds becomes 8-bit grey, RGB or RGBA. A picture's size is read from its header and held against
//! the caller's limit before a single row is allocated, since upstream servers may send anything.

mod gif;
mod jpeg;
mod plain_png;
pub(crate) mod png;
mod runs;
mod tiff;
mod webp;
mod whole;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder};
use mapproxy_grid::Size;

use crate::{Codec, Color, EncodedImage, GeoReference, ImageError, ImageFormat, ImageOptions, PixelMode, Pixels};

pub use whole::{Damage, whole};

/// Pixels of the largest picture that is decoded where the caller says nothing else: 100 megapixels.
pub const DEFAULT_MAX_PIXELS: u64 = 100_000_000;

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What wrote it.
    pub codec: Codec,
    /// Columns and rows.
    pub size: Size,
    /// Samples after decoding.
    pub mode: PixelMode,
    /// The file has a palette of this many entries.
    pub palette: Option<u16>,
}

/// Reads only the header.
pub fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let codec = sniff(bytes)?;
    match codec {
        Codec::Png => png::header(bytes),
        Codec::Gif => gif::header(bytes),
        Codec::Jpeg => guarded(|| jpeg::header(bytes)),
        Codec::Tiff | Codec::WebP => guarded(|| {
            if codec == Codec::Tiff
                && let Some(size) = tiff::ycbcr_size(bytes)?
            {
                return Ok(Header { codec, size, mode: PixelMode::Rgb, palette: None });
            }
            let decoder = decoder(bytes, codec)?;
            let (width, height) = decoder.dimensions();
            let color = decoder.color_type();
            let mode = match (color.has_color(), color.has_alpha()) {
                (_, true) => PixelMode::Rgba,
                (true, false) => PixelMode::Rgb,
                (false, false) => PixelMode::L,
            };
            Ok(Header { codec, size: Size::new(width, height), mode, palette: None })
        }),
    }
}

/// Decodes any known format; refuses pictures of more than `max_pixels` before allocating.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Pixels, ImageError> {
    let codec = sniff(bytes)?;
    match codec {
        Codec::Png => Ok(png::decode(bytes, max_pixels)?.into_pixels()),
        Codec::Gif => gif::decode(bytes, max_pixels),
        Codec::Jpeg => guarded(|| jpeg::decode(bytes, max_pixels)),
        Codec::Tiff | Codec::WebP => guarded(|| {
            if codec == Codec::Tiff
                && let Some(pixels) = tiff::decode_ycbcr(bytes, max_pixels)?
            {
                return Ok(pixels);
            }
            let mut decoder = decoder(bytes, codec)?;
            let (width, height) = decoder.dimensions();
            let size = within_limit(Size::new(width, height), max_pixels)?;
            let mut limits = image::Limits::default();
            // 16-bit RGBA and the decoder's own rows fit; more is a lie in the header.
            limits.max_alloc = Some(size.pixels().saturating_mul(16).saturating_add(1 << 20));
            decoder.set_limits(limits).map_err(broken)?;
            let mode = match decoder.color_type() {
                image::ColorType::L8 => PixelMode::L,
                image::ColorType::Rgb8 => PixelMode::Rgb,
                image::ColorType::Rgba8 => PixelMode::Rgba,
                _ => return Ok(from_dynamic(DynamicImage::from_decoder(decoder).map_err(broken)?)),
            };
            let mut data = vec![0; size.pixels() as usize * mode.samples()];
            decoder.read_image(&mut data).map_err(broken)?;
            Ok(Pixels::new(size, mode, data))
        }),
    }
}

/// Encodes by `options` (whose `format` must be set).
///
/// `mixed` becomes PNG where a pixel is transparent, JPEG otherwise. Formats without alpha get it composed over
/// `bgcolor`, or white.
pub fn encode(
    pixels: &Pixels,
    options: &ImageOptions,
    place: Option<&GeoReference>,
) -> Result<EncodedImage, ImageError> {
    let Some(format) = &options.format else {
        return Err(ImageError::Encode { format: "image".into(), reason: "no format is set".into() });
    };
    let (format, codec) = match format.codec() {
        Some(codec) => (format.clone(), codec),
        None if format.is_mixed() && pixels.has_transparency() => (ImageFormat::png(), Codec::Png),
        None if format.is_mixed() => (ImageFormat::jpeg(), Codec::Jpeg),
        None => {
            let reason = "known are png, jpeg, tiff, gif, webp and mixed".into();
            return Err(ImageError::Encode { format: format.as_str().into(), reason });
        }
    };
    let bytes = match codec {
        Codec::Png => png::encode(pixels, &format, options),
        Codec::Jpeg => jpeg::encode(pixels, options),
        Codec::Tiff => tiff::encode(pixels, options, place),
        Codec::Gif => gif::encode(pixels, options),
        Codec::WebP => webp::encode(pixels, options),
    }
    .map_err(|reason| ImageError::Encode { format: format.as_str().into(), reason })?;
    Ok(EncodedImage { bytes: Bytes::from(bytes), format })
}

/// The picture in the samples that the option `mode` asks for, alpha composed where those have none.
pub(crate) fn in_mode(pixels: &Pixels, mode: PixelMode, options: &ImageOptions) -> Pixels {
    match mode {
        PixelMode::Rgba => pixels.clone().into_mode(mode),
        PixelMode::L | PixelMode::Rgb => flattened(pixels, options).into_mode(mode),
    }
}

/// The picture without alpha.
pub(crate) fn flattened(pixels: &Pixels, options: &ImageOptions) -> Pixels {
    pixels.clone().flatten(options.bgcolor.unwrap_or(Color::WHITE))
}

fn sniff(bytes: &[u8]) -> Result<Codec, ImageError> {
    Codec::sniff(bytes).ok_or_else(|| {
        let start: String = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).escape_debug().collect();
        ImageError::Decode(match bytes {
            [] => "no bytes".into(),
            _ => format!("not a PNG, JPEG, TIFF, GIF or WebP file; {} bytes, starting with \"{start}\"", bytes.len()),
        })
    })
}

fn decoder(bytes: &[u8], codec: Codec) -> Result<Box<dyn ImageDecoder + '_>, ImageError> {
    let input = Cursor::new(bytes);
    Ok(match codec {
        Codec::Tiff => Box::new(image::codecs::tiff::TiffDecoder::new(input).map_err(broken)?),
        Codec::WebP => Box::new(image::codecs::webp::WebPDecoder::new(input).map_err(broken)?),
        Codec::Png | Codec::Jpeg | Codec::Gif => return Err(broken("read elsewhere")),
    })
}

/// 16-bit, floating point and grey-with-alpha samples as 8-bit ones.
fn from_dynamic(image: DynamicImage) -> Pixels {
    let size = Size::new(image.width(), image.height());
    let color = image.color();
    match (color.has_color(), color.has_alpha()) {
        (_, true) => Pixels::new(size, PixelMode::Rgba, image.into_rgba8().into_raw()),
        (true, false) => Pixels::new(size, PixelMode::Rgb, image.into_rgb8().into_raw()),
        (false, false) => Pixels::new(size, PixelMode::L, image.into_luma8().into_raw()),
    }
}

/// The size, if it is neither empty nor above the limit.
pub(crate) fn within_limit(size: Size, max_pixels: u64) -> Result<Size, ImageError> {
    match size.pixels() {
        0 => Err(ImageError::Decode(format!("size of {size}"))),
        pixels if pixels > max_pixels => Err(ImageError::TooLarge { size, limit: max_pixels }),
        _ => Ok(size),
    }
}

pub(crate) fn broken(error: impl std::fmt::Display) -> ImageError {
    ImageError::Decode(error.to_string())
}

/// Runs a decoder of others. A panic inside one on hostile bytes is an error of that picture, not the end of the worker.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ImageError::Decode("the decoder gave up".into())))
}
