//! PNG: palettes stay palettes until somebody needs pixels; writing picks filter and level by content.

use libdeflater::{CompressionLvl, Compressor};
use png::{BitDepth, ColorType, Decoder, DeflateCompression, Encoder, Filter, Limits, Transformations};

use std::io::Cursor;

use mapproxy_grid::Size;

use super::plain_png::{self, PlainPng};
use super::{Header, broken, in_mode, runs, within_limit};
use crate::options::ModeOption;
use crate::quantize::{self, Paletted};
use crate::{Codec, ImageError, ImageFormat, ImageOptions, PixelMode, Pixels};

/// A decoded PNG, its palette not yet applied.
pub(crate) enum Raster {
    /// Samples.
    Pixels(Pixels),
    /// One index a pixel. Indices beyond the file's palette are opaque black.
    Indexed {
        /// Columns and rows.
        size: Size,
        /// Row-wise.
        indices: Vec<u8>,
        /// RGBA by index.
        palette: Box<[[u8; 4]; 256]>,
        /// Some entry is not opaque.
        alpha: bool,
    },
}

impl Raster {
    /// The palette applied.
    pub(crate) fn into_pixels(self) -> Pixels {
        match self {
            Raster::Pixels(pixels) => pixels,
            Raster::Indexed { size, indices, palette, alpha } => {
                let mode = if alpha { PixelMode::Rgba } else { PixelMode::Rgb };
                let mut data = vec![0; indices.len() * mode.samples()];
                expand(&indices, &palette, mode, &mut data);
                Pixels::new(size, mode, data)
            }
        }
    }
}

/// Writes the colours of `indices` as samples of `mode`.
pub(crate) fn expand(indices: &[u8], palette: &[[u8; 4]; 256], mode: PixelMode, out: &mut [u8]) {
    match mode {
        PixelMode::L => {
            for (to, &index) in out.iter_mut().zip(indices) {
                let [r, g, b, _] = palette[usize::from(index)];
                *to = crate::pixels::luma(r, g, b);
            }
        }
        PixelMode::Rgb => {
            for (to, &index) in out.chunks_exact_mut(3).zip(indices) {
                to.copy_from_slice(&palette[usize::from(index)][..3]);
            }
        }
        PixelMode::Rgba => {
            for (to, &index) in out.chunks_exact_mut(4).zip(indices) {
                to.copy_from_slice(&palette[usize::from(index)]);
            }
        }
    }
}

/// Reads the chunks before the first row; inflates nothing.
pub(super) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let ihdr = bytes.get(8..33).filter(|ihdr| &ihdr[4..8] == b"IHDR");
    let Some(ihdr) = ihdr else { return Err(ImageError::Decode("PNG without a header".into())) };
    let size = Size::new(be_u32(&ihdr[8..12]), be_u32(&ihdr[12..16]));
    within_limit(size, u64::MAX)?;
    let color = ihdr[17];
    let (mut palette, mut transparency) = (None, false);
    let mut rest = &bytes[33..];
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = be_u32(&head[..4]) as usize;
        match &head[4..8] {
            b"IDAT" | b"IEND" => break,
            b"PLTE" => palette = Some((length / 3).min(256) as u16),
            b"tRNS" => transparency = true,
            _ => {}
        }
        let Some(next) = length.checked_add(4).and_then(|skip| tail.get(skip..)) else { break };
        rest = next;
    }
    let mode = match color {
        _ if transparency => PixelMode::Rgba,
        4 | 6 => PixelMode::Rgba,
        2 | 3 => PixelMode::Rgb,
        0 => PixelMode::L,
        other => return Err(ImageError::Decode(format!("PNG of unknown color type {other}"))),
    };
    let palette = palette.filter(|_| color == 3);
    Ok(Header { codec: Codec::Png, size, mode, palette })
}

/// Decodes, palettes unapplied.
pub(crate) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Raster, ImageError> {
    let size = within_limit(header(bytes)?.size, max_pixels)?;
    let Some(PlainPng { samples, palette, transparency }) = plain_png::read(bytes, size) else {
        return general(bytes, size);
    };
    match bytes[COLOR_TYPE] {
        INDEXED => indexed(size, samples, palette, transparency),
        0 => raster(size, ColorType::Grayscale, samples),
        2 => raster(size, ColorType::Rgb, samples),
        4 => raster(size, ColorType::GrayscaleAlpha, samples),
        _ => raster(size, ColorType::Rgba, samples),
    }
}

/// Where the header tells the colour type.
const COLOR_TYPE: usize = 25;
/// The colour type of pictures with a palette.
const INDEXED: u8 = 3;

/// Decodes anything that is a PNG, and says what is wrong with what is not.
pub(super) fn general(bytes: &[u8], size: Size) -> Result<Raster, ImageError> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let bytes_allowed = usize::try_from(size.pixels().saturating_mul(8)).unwrap_or(usize::MAX);
    decoder.set_limits(Limits { bytes: bytes_allowed.saturating_add(1 << 20) });
    decoder.set_ignore_text_chunk(true);
    let is_indexed = bytes.get(COLOR_TYPE) == Some(&INDEXED);
    decoder.set_transformations(match is_indexed {
        true => Transformations::IDENTITY,
        false => Transformations::EXPAND | Transformations::STRIP_16,
    });
    let mut reader = decoder.read_info().map_err(broken)?;
    let length = reader.output_buffer_size().ok_or_else(|| broken("rows too long"))?;
    let mut data = vec![0; length];
    let frame = reader.next_frame(&mut data).map_err(broken)?;
    data.truncate(frame.buffer_size());
    if (frame.width, frame.height) != (size.width, size.height) {
        return Err(broken(format!("frame of {}x{} in a PNG of {size}", frame.width, frame.height)));
    }
    if is_indexed {
        let info = reader.info();
        let palette = info.palette.as_deref().unwrap_or_default();
        let indices = unpack(data, size, frame.bit_depth);
        return indexed(size, indices, palette, info.trns.as_deref().unwrap_or_default());
    }
    raster(size, frame.color_type, data)
}

fn indexed(size: Size, indices: Vec<u8>, colors: &[u8], alphas: &[u8]) -> Result<Raster, ImageError> {
    if colors.is_empty() {
        return Err(broken("no palette"));
    }
    let mut palette = Box::new([[0, 0, 0, 255]; 256]);
    for (to, from) in palette.iter_mut().zip(colors.chunks_exact(3)) {
        to[..3].copy_from_slice(from);
    }
    for (to, &alpha) in palette.iter_mut().zip(alphas) {
        to[3] = alpha;
    }
    Ok(Raster::Indexed { size, indices, palette, alpha: alphas.iter().any(|&alpha| alpha != 255) })
}

fn raster(size: Size, color: ColorType, mut data: Vec<u8>) -> Result<Raster, ImageError> {
    let mode = match color {
        ColorType::Grayscale => PixelMode::L,
        ColorType::Rgb => PixelMode::Rgb,
        ColorType::Rgba => PixelMode::Rgba,
        ColorType::GrayscaleAlpha => {
            data = data.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect();
            PixelMode::Rgba
        }
        ColorType::Indexed => return Err(broken("palette in a picture without one")),
    };
    Ok(Raster::Pixels(Pixels::new(size, mode, data)))
}

/// One byte a pixel from 1, 2, 4 or 8 bits.
fn unpack(data: Vec<u8>, size: Size, depth: BitDepth) -> Vec<u8> {
    let bits = depth as u8;
    if bits >= 8 {
        return data;
    }
    let per_byte = usize::from(8 / bits);
    let mask = (1u8 << bits) - 1;
    let width = size.width as usize;
    let mut out = Vec::with_capacity(width * size.height as usize);
    for row in data.chunks_exact(width.div_ceil(per_byte)) {
        let samples =
            row.iter().flat_map(|&byte| (0..per_byte as u8).map(move |i| byte >> (8 - bits * (i + 1)) & mask));
        out.extend(samples.take(width));
    }
    out
}

/// What pixels a PNG gets.
enum Target {
    /// A palette of at most so many colours, alpha kept or not.
    Palette { colors: usize, alpha: bool },
    /// Samples.
    Mode(PixelMode),
}

fn target(pixels: &Pixels, format: &ImageFormat, options: &ImageOptions) -> Target {
    let alpha = options.transparent == Some(true);
    match (options.mode, options.colors) {
        (Some(ModeOption::Pixels(mode)), _) => Target::Mode(mode),
        (Some(ModeOption::Paletted), Some(0)) => Target::Palette { colors: 256, alpha: true },
        (None, Some(0)) => Target::Mode(pixels.mode()),
        (_, Some(colors)) => Target::Palette { colors: colors.clamp(2, 256) as usize, alpha },
        (Some(ModeOption::Paletted), None) => Target::Palette { colors: 256, alpha },
        (None, None) if format.ext().eq_ignore_ascii_case("png") => Target::Palette { colors: 256, alpha },
        (None, None) => Target::Mode(pixels.mode()),
    }
}

pub(super) fn encode(pixels: &Pixels, format: &ImageFormat, options: &ImageOptions) -> Result<Vec<u8>, String> {
    let mode = match target(pixels, format, options) {
        Target::Palette { colors, alpha } => {
            let ground = options.bgcolor.unwrap_or(crate::Color::WHITE);
            // Tiles are made once and read often; maps are made for one reader, and searched for runs only.
            const LARGEST_TILE: u64 = 512 * 512;
            let way = match pixels.size().pixels() <= LARGEST_TILE {
                true if is_drawn(pixels) => Way::Drawn,
                true => Way::Photo(Filter::NoFilter),
                false => Way::Runs,
            };
            let paletted = quantize::palette(pixels, colors, alpha, ground, options.encoding.quantizer);
            return encode_paletted(&paletted, pixels.size(), way);
        }
        Target::Mode(mode) => mode,
    };
    let held;
    let pixels = if pixels.mode() == mode {
        pixels
    } else {
        held = in_mode(pixels, mode, options);
        &held
    };
    let color = match mode {
        PixelMode::L => ColorType::Grayscale,
        PixelMode::Rgb => ColorType::Rgb,
        PixelMode::Rgba => ColorType::Rgba,
    };
    // Drawn maps repeat whole pixels, which a filter hides from deflate; photos only shrink with one.
    let way = if is_drawn(pixels) { Way::Drawn } else { Way::Photo(Filter::Up) };
    write(pixels.size(), color, BitDepth::Eight, None, way, pixels.data())
}

/// A PNG with the fewest bits a pixel that hold the palette.
fn encode_paletted(paletted: &Paletted, size: Size, way: Way) -> Result<Vec<u8>, String> {
    let depth = match paletted.palette.len() {
        0..=2 => BitDepth::One,
        3..=4 => BitDepth::Two,
        5..=16 => BitDepth::Four,
        _ => BitDepth::Eight,
    };
    let packed;
    let data = if depth == BitDepth::Eight {
        &paletted.indices
    } else {
        packed = pack(&paletted.indices, size.width as usize, depth as u8);
        &packed
    };
    write(size, ColorType::Indexed, depth, Some(&paletted.palette), way, data)
}

/// Rows of `bits` a pixel, each row starting on a byte.
fn pack(indices: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / bits);
    let mut out = Vec::with_capacity(width.div_ceil(per_byte) * (indices.len() / width.max(1)));
    for row in indices.chunks(width.max(1)) {
        out.extend(row.chunks(per_byte).map(|pixels| {
            let byte = pixels.iter().fold(0u8, |byte, &index| byte << bits | index);
            byte << (bits * (per_byte - pixels.len()) as u8)
        }));
    }
    out
}

/// Whether the picture is made of areas of one colour, looked at in a few rows: neighbours are equal or quite different.
/// In photos they are neither, however smooth.
fn is_drawn(pixels: &Pixels) -> bool {
    match pixels.mode() {
        PixelMode::L => is_drawn_in::<1>(pixels),
        PixelMode::Rgb => is_drawn_in::<3>(pixels),
        PixelMode::Rgba => is_drawn_in::<4>(pixels),
    }
}

fn is_drawn_in<const SAMPLES: usize>(pixels: &Pixels) -> bool {
    /// Differences up to this are a gradient.
    const STEP: u8 = 6;
    let (width, height) = (pixels.size().width as usize, pixels.size().height as usize);
    let (mut same, mut near, mut far) = (0, 0, 0);
    let rows = pixels.data().as_chunks::<SAMPLES>().0.chunks(width.max(1));
    for row in rows.step_by((height / 16).max(1)) {
        for (a, b) in row.iter().zip(&row[1..]) {
            if a == b {
                same += 1;
            } else if a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= STEP) {
                near += 1;
            } else {
                far += 1;
            }
        }
    }
    same * 2 >= near + far && near <= far
}

/// How rows are compressed.
enum Way {
    /// What repeats: zlib of level 3 finds it, and is the fastest at that.
    Drawn,
    /// What hardly repeats: libdeflate takes half the time of zlib for as many bytes.
    Photo(Filter),
    /// Runs of equal bytes only.
    Runs,
}

fn write(
    size: Size,
    color: ColorType,
    depth: BitDepth,
    palette: Option<&[[u8; 4]]>,
    way: Way,
    data: &[u8],
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(data.len() / 8 + 1024);
    let mut encoder = Encoder::new(&mut out, size.width, size.height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect::<Vec<u8>>());
        // Entries after the last one given are opaque.
        if let Some(last) = palette.iter().rposition(|color| color[3] != 255) {
            encoder.set_trns(palette[..=last].iter().map(|color| color[3]).collect::<Vec<u8>>());
        }
    }
    encoder.set_deflate_compression(DeflateCompression::Level(3));
    encoder.set_filter(Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    let row = data.len() / size.height.max(1) as usize;
    match way {
        Way::Drawn => writer.write_image_data(data),
        Way::Photo(filter) => writer.write_chunk(png::chunk::IDAT, &squeezed(&filtered(data, row, filter))?),
        Way::Runs => writer.write_chunk(png::chunk::IDAT, &runs::zlib(&filtered(data, row, Filter::NoFilter))),
    }
    .map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(out)
}

/// Rows of so many bytes, each behind the number of its filter: as they are, or as differences from those above.
fn filtered(data: &[u8], row: usize, filter: Filter) -> Vec<u8> {
    let row = row.max(1);
    let mut out = Vec::with_capacity(data.len() + data.len() / row + 1);
    let mut above: Option<&[u8]> = None;
    for now in data.chunks(row) {
        match above {
            Some(above) if filter == Filter::Up => {
                out.push(Filter::Up as u8);
                out.extend(now.iter().zip(above).map(|(now, above)| now.wrapping_sub(*above)));
            }
            _ => {
                out.push(Filter::NoFilter as u8);
                out.extend_from_slice(now);
            }
        }
        above = Some(now);
    }
    out
}

/// As zlib stream (RFC 1950).
fn squeezed(rows: &[u8]) -> Result<Vec<u8>, String> {
    let mut compressor = Compressor::new(CompressionLvl::fastest());
    let mut out = vec![0; compressor.zlib_compress_bound(rows.len())];
    let length = compressor.zlib_compress(rows, &mut out).map_err(|error| error.to_string())?;
    out.truncate(length);
    Ok(out)
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}
