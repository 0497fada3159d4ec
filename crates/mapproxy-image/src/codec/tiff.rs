//! TIFF, uncompressed, LZW or JPEG inside, with GeoTIFF tags where the position is known.

use std::io::Cursor;

use mapproxy_grid::Size;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::encoder::{Compression, DirectoryEncoder, TiffEncoder, TiffKindStandard, colortype};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::{broken, flattened, in_mode, jpeg, within_limit};
use crate::options::{ModeOption, TiffCompression};
use crate::{GeoReference, ImageError, ImageOptions, PixelMode, Pixels};

type YcbcrDecoder<'a> = Decoder<Cursor<&'a [u8]>>;

/// A reader for files of brightness and colour difference (with JPEG inside), which `image` does not know; `None` for
/// others.
fn ycbcr(bytes: &[u8]) -> Result<Option<(YcbcrDecoder<'_>, Size)>, ImageError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions().map_err(broken)?;
    let known = matches!(decoder.colortype(), Ok(ColorType::YCbCr(8)));
    Ok(known.then_some((decoder, Size::new(width, height))))
}

/// Size of a file that [`decode_ycbcr`] reads.
pub(super) fn ycbcr_size(bytes: &[u8]) -> Result<Option<Size>, ImageError> {
    ycbcr(bytes)?.map(|(_, size)| within_limit(size, u64::MAX)).transpose()
}

/// RGB of such a file by ITU-R BT.601 with all 256 steps, as JFIF has it.
pub(super) fn decode_ycbcr(bytes: &[u8], max_pixels: u64) -> Result<Option<Pixels>, ImageError> {
    let Some((decoder, size)) = ycbcr(bytes)? else { return Ok(None) };
    within_limit(size, max_pixels)?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(size.pixels().saturating_mul(4)).unwrap_or(usize::MAX);
    let DecodingResult::U8(mut data) = decoder.with_limits(limits).read_image().map_err(broken)? else {
        return Err(broken("samples of more than 8 bits"));
    };
    let (pixels, rest) = data.as_chunks_mut::<3>();
    if pixels.len() as u64 != size.pixels() || !rest.is_empty() {
        return Err(broken("rows are missing"));
    }
    for pixel in pixels {
        let [y, blue, red] = [f32::from(pixel[0]), f32::from(pixel[1]) - 128.0, f32::from(pixel[2]) - 128.0];
        let rgb = [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue];
        *pixel = rgb.map(|sample| sample.round() as u8);
    }
    Ok(Some(Pixels::new(size, PixelMode::Rgb, data)))
}

pub(super) fn encode(pixels: &Pixels, options: &ImageOptions, place: Option<&GeoReference>) -> Result<Vec<u8>, String> {
    let held;
    let pixels = match options.mode {
        Some(ModeOption::Pixels(mode)) if mode != pixels.mode() => {
            held = in_mode(pixels, mode, options);
            &held
        }
        _ => pixels,
    };
    let mut out = Cursor::new(Vec::with_capacity(pixels.data().len() + 1024));
    match options.encoding.tiff_compression {
        TiffCompression::Raw => samples(&mut out, pixels, place, Compression::Uncompressed),
        TiffCompression::Lzw => samples(&mut out, pixels, place, Compression::Lzw),
        TiffCompression::Jpeg => {
            let opaque = flattened(pixels, options);
            let strip = jpeg::encode_samples(&opaque, options.encoding.jpeg_quality)?;
            jpeg_strip(&mut out, &opaque, &strip, place)
        }
    }
    .map_err(|error| error.to_string())?;
    Ok(out.into_inner())
}

type File<'a> = &'a mut Cursor<Vec<u8>>;

fn samples(out: File<'_>, pixels: &Pixels, place: Option<&GeoReference>, compression: Compression) -> TiffResult<()> {
    let mut file = TiffEncoder::new(out)?.with_compression(compression);
    let (width, height) = (pixels.size().width, pixels.size().height);
    macro_rules! write {
        ($color:ty) => {{
            let mut image = file.new_image::<$color>(width, height)?;
            geo_tags(image.encoder(), pixels, place)?;
            image.write_data(pixels.data())
        }};
    }
    match pixels.mode() {
        PixelMode::L => write!(colortype::Gray8),
        PixelMode::Rgb => write!(colortype::RGB8),
        PixelMode::Rgba => write!(colortype::RGBA8),
    }
}

/// One strip holding a complete JPEG file (TIFF Technical Note 2 lets the tables stay in the strip).
fn jpeg_strip(out: File<'_>, pixels: &Pixels, strip: &[u8], place: Option<&GeoReference>) -> TiffResult<()> {
    const JPEG: u16 = 7;
    const GREY: u16 = 1;
    const YCBCR: u16 = 6;
    let grey = pixels.mode() == PixelMode::L;
    let mut file = TiffEncoder::new(out)?;
    let mut directory = file.image_directory()?;
    let offset = directory.write_data(strip)?;
    let too_long = |_| TiffError::LimitsExceeded;
    directory.write_tag(Tag::ImageWidth, pixels.size().width)?;
    directory.write_tag(Tag::ImageLength, pixels.size().height)?;
    directory.write_tag(Tag::BitsPerSample, &[8u16, 8, 8][..if grey { 1 } else { 3 }])?;
    directory.write_tag(Tag::Compression, JPEG)?;
    directory.write_tag(Tag::PhotometricInterpretation, if grey { GREY } else { YCBCR })?;
    directory.write_tag(Tag::StripOffsets, u32::try_from(offset).map_err(too_long)?)?;
    directory.write_tag(Tag::SamplesPerPixel, if grey { 1u16 } else { 3 })?;
    directory.write_tag(Tag::RowsPerStrip, pixels.size().height)?;
    directory.write_tag(Tag::StripByteCounts, u32::try_from(strip.len()).map_err(too_long)?)?;
    directory.write_tag(Tag::PlanarConfiguration, 1u16)?;
    if !grey {
        directory.write_tag(Tag::Unknown(530), &[2u16, 2][..])?;
    }
    geo_tags(&mut directory, pixels, place)?;
    directory.finish()
}

/// GeoTIFF 1.1 (OGC 19-008): pixel scale, tie point of the upper left corner, EPSG code.
fn geo_tags(
    directory: &mut DirectoryEncoder<'_, File<'_>, TiffKindStandard>,
    pixels: &Pixels,
    place: Option<&GeoReference>,
) -> TiffResult<()> {
    let Some(GeoReference { bbox, srs }) = place else { return Ok(()) };
    let Some(epsg) = srs.epsg().and_then(|code| u16::try_from(code).ok()) else { return Ok(()) };
    let (x, y) = bbox.resolution(pixels.size());
    directory.write_tag(Tag::ModelPixelScaleTag, &[x, y, 0.0][..])?;
    directory.write_tag(Tag::ModelTiepointTag, &[0.0, 0.0, 0.0, bbox.min_x, bbox.max_y, 0.0][..])?;
    const MODEL_TYPE: u16 = 1024;
    const RASTER_TYPE: u16 = 1025;
    const GEOGRAPHIC_TYPE: u16 = 2048;
    const PROJECTED_TYPE: u16 = 3072;
    let (model, key) = if srs.is_geographic() { (2, GEOGRAPHIC_TYPE) } else { (1, PROJECTED_TYPE) };
    let keys = [
        [1, 1, 0, 3],
        [MODEL_TYPE, 0, 1, model],
        [RASTER_TYPE, 0, 1, 1], // a pixel is an area
        [key, 0, 1, epsg],
    ];
    directory.write_tag(Tag::GeoKeyDirectoryTag, keys.as_flattened())
}
