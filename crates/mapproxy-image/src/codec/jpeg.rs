//! JPEG: baseline, colour samples halved in both directions (4:2:0), as most map servers send it.

use mapproxy_grid::Size;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{Header, broken, flattened, in_mode, within_limit};
use crate::options::ModeOption;
use crate::{Codec, ImageError, ImageOptions, PixelMode, Pixels};

pub(super) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let (_, header) = open(bytes)?;
    Ok(header)
}

pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Pixels, ImageError> {
    let (mut decoder, Header { size, mode, .. }) = open(bytes)?;
    within_limit(size, max_pixels)?;
    let mut data = vec![0; size.pixels() as usize * mode.samples()];
    #[cfg(feature = "turbojpeg")]
    if turbo::decode(bytes, size, mode, &mut data) {
        return Ok(Pixels::new(size, mode, data));
    }
    decoder.decode_into(&mut data).map_err(broken)?;
    Ok(Pixels::new(size, mode, data))
}

type Reader<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// The headers read, and grey or RGB (of YCbCr, CMYK and YCCK, too) chosen for what follows.
fn open(bytes: &[u8]) -> Result<(Reader<'_>, Header), ImageError> {
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(65535).set_max_height(65535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| broken("JPEG without a size"))?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (space, mode) = if grey { (ColorSpace::Luma, PixelMode::L) } else { (ColorSpace::RGB, PixelMode::Rgb) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let size = within_limit(Size::new(width as u32, height as u32), u64::MAX)?;
    Ok((decoder, Header { codec: Codec::Jpeg, size, mode, palette: None }))
}

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
#[cfg(feature = "turbojpeg")]
pub(super) fn encode_samples(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
    turbo::encode(pixels, quality)
}

/// A JPEG file of grey or RGB pixels.
#[cfg(not(feature = "turbojpeg"))]
pub(super) fn encode_samples(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    let color = match pixels.mode() {
        PixelMode::L => ColorType::Luma,
        PixelMode::Rgb => ColorType::Rgb,
        PixelMode::Rgba => ColorType::Rgba,
    };
    let size = pixels.size();
    let (Ok(width), Ok(height)) = (u16::try_from(size.width), u16::try_from(size.height)) else {
        return Err(too_large(size));
    };
    let mut out = Vec::with_capacity(pixels.data().len() / 8 + 1024);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    // Said aloud, since the encoder takes full colour resolution from quality 90 on.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(pixels.data(), width, height, color).map_err(|error| error.to_string())?;
    Ok(out)
}

fn too_large(size: Size) -> String {
    format!("{size} is more than the 65535 columns or rows of a JPEG")
}

/// The same by libjpeg-turbo.
#[cfg(feature = "turbojpeg")]
mod turbo {
    use mapproxy_grid::Size;
    use turbojpeg::{Compressor, Decompressor, Image, PixelFormat, Subsamp};

    use crate::{PixelMode, Pixels};

    /// Decodes into `data`; `false` for what is left to the other decoder: CMYK, and files with anything unusual, a cut
    /// end included.
    pub(super) fn decode(bytes: &[u8], size: Size, mode: PixelMode, data: &mut [u8]) -> bool {
        let decoded = Decompressor::new().and_then(|mut decompressor| {
            let header = decompressor.read_header(bytes)?;
            let colors = matches!(header.colorspace, turbojpeg::Colorspace::CMYK | turbojpeg::Colorspace::YCCK);
            let same_size = (header.width, header.height) == (size.width as usize, size.height as usize);
            if colors || !same_size {
                return Ok(false);
            }
            decompressor.decompress(bytes, image(data, size, mode)).map(|()| true)
        });
        decoded.unwrap_or(false)
    }

    pub(super) fn encode(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
        let size = pixels.size();
        if size.width > 65535 || size.height > 65535 {
            return Err(super::too_large(size));
        }
        let compressed = Compressor::new().and_then(|mut compressor| {
            compressor.set_quality(i32::from(quality.clamp(1, 100)))?;
            let subsamp = if pixels.mode() == PixelMode::L { Subsamp::Gray } else { Subsamp::Sub2x2 };
            compressor.set_subsamp(subsamp)?;
            compressor.compress_to_vec(image(pixels.data(), size, pixels.mode()))
        });
        compressed.map_err(|error| error.to_string())
    }

    fn image<T>(pixels: T, size: Size, mode: PixelMode) -> Image<T> {
        let format = match mode {
            PixelMode::L => PixelFormat::GRAY,
            PixelMode::Rgb => PixelFormat::RGB,
            PixelMode::Rgba => PixelFormat::RGBA,
        };
        let (width, height) = (size.width as usize, size.height as usize);
        Image { pixels, width, pitch: width * mode.samples(), height, format }
    }
}
