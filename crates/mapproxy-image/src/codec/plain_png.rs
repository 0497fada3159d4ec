//! PNGs as map servers write them, read at once: 8 bits a sample, neither interlaced nor with a transparent colour.
//!
//! Their data is inflated as a whole by libdeflate, two to four times faster than piece by piece; it is most of what
//! decoding costs. What is not so, or not whole, is for the general reader, which has the last word on it: the two read
//! the same files (PNG, third edition, clauses 5, 9 and 11).

use libdeflater::{Decompressor, crc32};
use mapproxy_grid::Size;
use wide::{i16x8, u8x16};

/// What such a file holds.
pub(super) struct PlainPng<'a> {
    /// Row-wise, without filters.
    pub(super) samples: Vec<u8>,
    /// The content of `PLTE`, empty without it.
    pub(super) palette: &'a [u8],
    /// The content of `tRNS`.
    pub(super) transparency: &'a [u8],
}

/// Bytes of a pixel, where the colour type is one of those read here.
fn pixel_bytes(color: u8) -> Option<usize> {
    match color {
        0 | 3 => Some(1),
        4 => Some(2),
        2 => Some(3),
        6 => Some(4),
        _ => None,
    }
}

/// Reads a file whose header tells this size; `None`: it is for the general reader.
pub(super) fn read(bytes: &[u8], size: Size) -> Option<PlainPng<'_>> {
    // Depth, colour type, compression, filter and interlace method.
    let &[8, color, 0, 0, 0] = bytes.get(24..29)? else { return None };
    let mut png = PlainPng { samples: Vec::new(), palette: &[], transparency: &[] };
    let (mut first, mut joined) = (None, Vec::new());
    let mut rest = bytes.get(8..)?;
    loop {
        let (length, chunk) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (chunk, after) = chunk.split_at_checked(length.checked_add(4)?)?;
        let (checksum, after) = after.split_first_chunk::<4>()?;
        if crc32(chunk) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (kind, content) = chunk.split_first_chunk::<4>()?;
        match kind {
            b"IDAT" if first.is_none() => first = Some(content),
            b"IDAT" => {
                if joined.is_empty() {
                    joined.extend_from_slice(first?);
                }
                joined.extend_from_slice(content);
            }
            b"PLTE" => png.palette = content,
            b"tRNS" if color == 3 => png.transparency = content,
            b"tRNS" => return None,
            b"IEND" => break,
            _ => {}
        }
        rest = after;
    }
    let data = if joined.is_empty() { first? } else { &joined };
    let pixel = pixel_bytes(color)?;
    let (row, rows) = (size.width as usize * pixel, size.height as usize);
    png.samples = vec![0; row.checked_add(1)?.checked_mul(rows)?];
    let inflated = Decompressor::new().zlib_decompress(data, &mut png.samples).ok()?;
    if inflated != png.samples.len() {
        return None;
    }
    match pixel {
        1 => unfilter::<1>(&mut png.samples, row),
        2 => unfilter::<2>(&mut png.samples, row),
        3 => unfilter::<3>(&mut png.samples, row),
        _ => unfilter::<4>(&mut png.samples, row),
    }?;
    png.samples.truncate(row * rows);
    Some(png)
}

/// Moves rows, each behind the number of its filter, to where they are without these, and undoes the filters.
fn unfilter<const N: usize>(data: &mut [u8], row: usize) -> Option<()> {
    let none = vec![0; row];
    for y in 0..data.len() / (row + 1) {
        let from = y * (row + 1);
        let filter = data[from];
        data.copy_within(from + 1..from + 1 + row, y * row);
        let (above, now) = data.split_at_mut(y * row);
        let above = if y == 0 { &none } else { &above[(y - 1) * row..] };
        let (above, now) = (above.as_chunks::<N>().0, now[..row].as_chunks_mut::<N>().0);
        match filter {
            0 => {}
            1 => predicted(now, above, |left, _, _| left),
            2 => {
                for (now, above) in now.as_flattened_mut().iter_mut().zip(above.as_flattened()) {
                    *now = now.wrapping_add(*above);
                }
            }
            3 => predicted(now, above, |left, above, _| (left + above) >> 1),
            4 => predicted(now, above, paeth),
            _ => return None,
        }
    }
    Some(())
}

/// Adds to each pixel what is predicted from those to the left, above, and above to the left; all samples of a pixel at once.
#[inline(always)]
fn predicted<const N: usize>(now: &mut [[u8; N]], above: &[[u8; N]], predict: impl Fn(i16x8, i16x8, i16x8) -> i16x8) {
    let (mut left, mut corner) = (i16x8::ZERO, i16x8::ZERO);
    let byte = i16x8::splat(0xff);
    for (now, above) in now.iter_mut().zip(above) {
        let above = lanes(*above);
        left = (lanes(*now) + predict(left, above, corner)) & byte;
        corner = above;
        let bytes = u8x16::narrow_i16x8(left, left).to_array();
        now.copy_from_slice(&bytes[..N]);
    }
}

/// Samples as numbers of their own.
#[inline(always)]
fn lanes<const N: usize>(pixel: [u8; N]) -> i16x8 {
    let mut bytes = [0; 16];
    bytes[..N].copy_from_slice(&pixel);
    i16x8::from_u8x16_low(u8x16::new(bytes))
}

/// Clause 9.4: of the three the one that is nearest to left + above - corner. Without branches: the corner is nearest where
/// it lies between the others with room to spare.
#[inline(always)]
fn paeth(left: i16x8, above: i16x8, corner: i16x8) -> i16x8 {
    let turn = corner + corner + corner - left - above;
    let (low, high) = (left.min(above), left.max(above));
    let falling = high.simd_gt(turn).select(corner, low);
    turn.simd_gt(low).select(falling, high)
}

#[cfg(test)]
mod tests {
    use png::{BitDepth, ColorType, Encoder, Filter};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::png::general;

    const FILTERS: [Filter; 6] =
        [Filter::NoFilter, Filter::Sub, Filter::Up, Filter::Avg, Filter::Paeth, Filter::Adaptive];
    const COLORS: [ColorType; 5] =
        [ColorType::Grayscale, ColorType::Rgb, ColorType::Indexed, ColorType::GrayscaleAlpha, ColorType::Rgba];

    /// A file and its samples.
    fn file(size: Size, color: ColorType, filter: Filter, seed: u32) -> (Vec<u8>, Vec<u8>) {
        let length = size.pixels() as usize * color.samples();
        let mut state = seed;
        let next = |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Smooth, with some noise.
            (i / 7) as u8 ^ (state >> 30) as u8
        };
        let samples: Vec<u8> = (0..length).map(next).collect();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, size.width, size.height);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_filter(filter);
        if color == ColorType::Indexed {
            encoder.set_palette((0..768).map(|i| i as u8).collect::<Vec<u8>>());
            encoder.set_trns(vec![9, 99]);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&samples).unwrap();
        writer.finish().unwrap();
        (bytes, samples)
    }

    /// The data in pieces, as libpng writes it.
    fn in_pieces(bytes: &[u8], most: usize) -> Vec<u8> {
        let mut out = bytes[..8].to_vec();
        let mut rest = &bytes[8..];
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (chunk, after) = rest.split_at(12 + length);
            let content = &chunk[8..8 + length];
            let pieces = if &chunk[4..8] == b"IDAT" { content.chunks(most).collect() } else { vec![content] };
            for piece in pieces {
                let kind = [&chunk[4..8], piece].concat();
                out.extend((piece.len() as u32).to_be_bytes());
                out.extend(&kind);
                out.extend(crc32(&kind).to_be_bytes());
            }
            rest = after;
        }
        out
    }

    proptest! {
        #[test]
        fn samples_are_as_they_were_written(
            width in 1u32..70, height in 1u32..40, color in 0usize..5, filter in 0usize..6, seed: u32, most in 1usize..300
        ) {
            let size = Size::new(width, height);
            let (bytes, samples) = file(size, COLORS[color], FILTERS[filter], seed);
            for bytes in [in_pieces(&bytes, most), bytes] {
                let png = read(&bytes, size).expect("it is plain");
                prop_assert_eq!(&png.samples, &samples);
                let is_indexed = COLORS[color] == ColorType::Indexed;
                prop_assert_eq!((png.palette.len(), png.transparency), if is_indexed { (768, &[9, 99][..]) } else { (0, &[][..]) });
            }
        }

        #[test]
        fn damaged_files_are_left_to_the_general_reader(
            color in 0usize..5, filter in 0usize..6, at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index
        ) {
            let size = Size::new(31, 17);
            let (mut bytes, samples) = file(size, COLORS[color], FILTERS[filter], 1);
            prop_assert!(read(&bytes[..cut.index(bytes.len())], size).is_none());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Some(png) = read(&bytes, size) {
                // Only the signature is not looked at here.
                prop_assert!(at < 8 && png.samples == samples);
            }
        }
    }

    #[test]
    fn the_prediction_is_that_of_the_standard() {
        for (left, above, corner) in (0..=255)
            .flat_map(|a| (0..=255).map(move |b| (a, b)))
            .flat_map(|(a, b)| (0..=255).step_by(5).map(move |c| (a, b, c)))
        {
            let estimate = i16::from(left) + i16::from(above) - i16::from(corner);
            let nearest = [left, above, corner].into_iter().min_by_key(|of| (estimate - i16::from(*of)).abs());
            let [left16, above16, corner16] = [left, above, corner].map(|v| i16x8::splat(v.into()));
            let found = paeth(left16, above16, corner16).to_array()[0] as u8;
            assert_eq!(Some(found), nearest, "{left} {above} {corner}");
        }
    }

    #[test]
    fn both_readers_see_the_same() {
        let size = Size::new(40, 30);
        for color in COLORS {
            let (bytes, _) = file(size, color, Filter::Adaptive, 5);
            let plain = crate::codec::png::decode(&bytes, 10_000).unwrap().into_pixels();
            assert!(plain == general(&bytes, size).unwrap().into_pixels(), "{color:?}");
        }
    }
}
