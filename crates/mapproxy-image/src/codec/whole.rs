//! Whether a picture's file is there from its beginning to its end, told without decoding it.
//!
//! A crash, a full disk, a broken download or another program leaves files that are empty, cut off, filled up with
//! zeros, or something else altogether. All of that shows in how a file begins, in the lengths that it states, and in
//! how it ends; nothing in between is read. A flipped bit within compressed pixels does not show: decoding finds it.

use crate::Codec;

/// What is wrong with a file that should be a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It does not begin as any known picture does.
    #[error("it is no PNG, JPEG, TIFF, GIF or WebP file")]
    Foreign,
    /// It begins as a picture, but its end is missing.
    #[error("it begins as {}, but is cut off or damaged", .0.content_type())]
    CutOff(Codec),
}

/// What the file is, if it is whole. Bytes behind its end, as some encoders write them, do not matter.
///
/// Takes some ten nanoseconds for a file that ends as its format says, whatever its size.
pub fn whole(bytes: &[u8]) -> Result<Codec, Damage> {
    if bytes.is_empty() {
        return Err(Damage::Empty);
    }
    let codec = Codec::sniff(bytes).ok_or(Damage::Foreign)?;
    let whole = match codec {
        Codec::Png => png(bytes),
        Codec::Jpeg => jpeg(bytes),
        Codec::Gif => gif(bytes).is_some(),
        Codec::WebP => webp(bytes).is_some(),
        Codec::Tiff => tiff(bytes).is_some(),
    };
    if whole { Ok(codec) } else { Err(Damage::CutOff(codec)) }
}

/// The checksum of the last chunk, which is always empty.
const PNG_END: [u8; 4] = [0xae, 0x42, 0x60, 0x82];

/// The chain of chunks leads from the header over data to the end.
fn png(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR") else { return false };
    // 13 bytes of header and their checksum.
    let Some(chunks) = rest.get(17..) else { return false };
    rest = chunks;
    let mut has_data = false;
    loop {
        let Some(([a, b, c, d, kind @ ..], content)) = rest.split_first_chunk::<8>() else { return false };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(next) = content.get(length..).and_then(|checksum| checksum.get(4..)) else { return false };
        match kind {
            b"IEND" => return has_data && length == 0 && content.starts_with(&PNG_END),
            b"IDAT" => has_data = true,
            _ if kind.iter().all(u8::is_ascii_alphabetic) => {}
            _ => return false,
        }
        rest = next;
    }
}

const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// The last marker is that of the end. With something behind it, the file is read from its first scan on: before,
/// there may be a preview with an end of its own.
fn jpeg(bytes: &[u8]) -> bool {
    if bytes.len() < 4 || bytes[2] != 0xff {
        return false;
    }
    bytes.ends_with(&JPEG_END)
        || jpeg_scan(bytes).is_some_and(|scan| scan.windows(JPEG_END.len()).any(|pair| pair == JPEG_END))
}

/// What follows the first start of a scan.
fn jpeg_scan(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(2..)?;
    loop {
        match rest {
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, 0xda, scan @ ..] => return Some(scan),
            [0xff, 0x01 | 0xd0..=0xd7, next @ ..] => rest = next,
            [0xff, marker, segment @ ..] if *marker >= 0xc0 => {
                let length = u16::from_be_bytes(*segment.first_chunk()?);
                rest = segment.get(usize::from(length).max(2)..)?;
            }
            _ => return None,
        }
    }
}

/// Blocks follow each other up to the trailer. Their data comes in pieces of at most 255 bytes, each with its length.
fn gif(bytes: &[u8]) -> Option<()> {
    let colors = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let flags = *bytes.get(10)?;
    let mut rest = bytes.get(13 + colors(flags)..)?;
    let mut has_picture = false;
    loop {
        let (kind, block) = rest.split_first()?;
        let mut pieces = match kind {
            0x21 => block.get(1..)?,
            0x2c => {
                has_picture = true;
                block.get(9 + colors(*block.get(8)?) + 1..)?
            }
            0x3b => return has_picture.then_some(()),
            _ => return None,
        };
        loop {
            let (length, data) = pieces.split_first()?;
            pieces = data.get(usize::from(*length)..)?;
            if *length == 0 {
                break;
            }
        }
        rest = pieces;
    }
}

/// The stated size is there, and within it the data of a picture.
fn webp(bytes: &[u8]) -> Option<()> {
    let size = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let mut rest = bytes.get(8..size.checked_add(8)?)?.get(4..)?;
    loop {
        let ([kind @ .., a, b, c, d], content) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let next = content.get(length..)?;
        if length > 0 && matches!(kind, b"VP8 " | b"VP8L" | b"ANMF") {
            return Some(());
        }
        rest = next.get(length % 2..)?;
    }
}

/// The first directory, all that it refers to, and all strips or tiles that it lists lie within the file.
fn tiff(bytes: &[u8]) -> Option<()> {
    let tiff = Tiff { bytes, little: bytes.starts_with(b"II") };
    let directory = tiff.u32(4)? as usize;
    let entries = usize::from(tiff.u16(directory)?);
    // Behind the entries follows where the next directory is.
    bytes.get(directory.checked_add(2)?..)?.get(..entries * 12 + 4)?;
    let (mut offsets, mut counts) = (None, None);
    for entry in 0..entries {
        let at = directory + 2 + entry * 12;
        let list = tiff.list(at)?;
        match tiff.u16(at)? {
            273 | 324 => offsets = Some(list),
            279 | 325 => counts = Some(list),
            _ => {}
        }
    }
    let (offsets, counts) = (offsets?, counts?);
    if offsets.len == 0 || offsets.len != counts.len {
        return None;
    }
    (0..offsets.len).try_for_each(|index| {
        let (offset, count) = (tiff.item(&offsets, index)? as usize, tiff.item(&counts, index)? as usize);
        bytes.get(offset..)?.get(..count).map(drop)
    })
}

struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
}

/// The values of a directory's entry.
struct TiffList {
    at: usize,
    /// Bytes of each.
    width: usize,
    len: usize,
}

impl Tiff<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// The values of the entry at `entry`: in place where they fit, elsewhere where not.
    fn list(&self, entry: usize) -> Option<TiffList> {
        let width = match self.u16(entry + 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 => 8,
            _ => 1,
        };
        let len = self.u32(entry + 4)? as usize;
        let size = len.checked_mul(width)?;
        let at = if size <= 4 { entry + 8 } else { self.u32(entry + 8)? as usize };
        self.bytes.get(at..)?.get(..size)?;
        Some(TiffList { at, width, len })
    }

    fn item(&self, list: &TiffList, index: usize) -> Option<u32> {
        match list.width {
            2 => self.u16(list.at + index * 2).map(u32::from),
            4 => self.u32(list.at + index * 4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Size;

    use super::*;
    use crate::{Color, ImageFormat, ImageOptions, PixelMode, Pixels, TiffCompression, codec};

    const NAMES: [&str; 5] = ["image/png", "image/jpeg", "image/tiff", "image/gif", "image/webp"];

    fn picture(name: &str, change: impl FnOnce(&mut ImageOptions)) -> Vec<u8> {
        let size = Size::new(70, 50);
        let mut pixels = Pixels::filled(size, PixelMode::Rgb, Color::rgb(20, 90, 200));
        let spots: Vec<u8> =
            (0..size.pixels() as u32 * 3).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        pixels.copy_from(&Pixels::new(size, PixelMode::Rgb, spots), 9, 7);
        let mut options = ImageOptions::new(ImageFormat::new(name));
        change(&mut options);
        codec::encode(&pixels, &options, None).unwrap().bytes.to_vec()
    }

    fn pictures() -> Vec<Vec<u8>> {
        let mut all: Vec<_> = NAMES.iter().map(|name| picture(name, |_| {})).collect();
        all.push(picture("image/png", |options| options.colors = Some(16)));
        for compression in [TiffCompression::Lzw, TiffCompression::Jpeg] {
            all.push(picture("image/tiff", |options| options.encoding.tiff_compression = compression));
        }
        all
    }

    #[test]
    fn what_was_written_is_whole() {
        for bytes in pictures() {
            assert_eq!(whole(&bytes), Ok(Codec::sniff(&bytes).unwrap()));
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_not_whole() {
        for bytes in pictures() {
            let codec = Codec::sniff(&bytes).unwrap();
            for length in 0..bytes.len() {
                assert!(whole(&bytes[..length]).is_err(), "{codec:?} cut off after {length} of {} bytes", bytes.len());
            }
        }
    }

    /// As after a power failure, when a file has its length already, but not yet all of its content.
    #[test]
    fn a_file_that_ends_in_zeros_is_not_whole() {
        for bytes in pictures() {
            let codec = Codec::sniff(&bytes).unwrap();
            // What ends in pixels may end in zeros.
            if matches!(codec, Codec::Tiff | Codec::WebP) {
                continue;
            }
            for kept in (0..bytes.len() - 2).step_by(13) {
                let mut bytes = bytes.clone();
                bytes[kept..].fill(0);
                assert!(whole(&bytes).is_err(), "{codec:?} with zeros from byte {kept} on");
            }
        }
    }

    #[test]
    fn bytes_behind_the_end_do_not_matter() {
        for bytes in pictures() {
            for behind in [&b"\0"[..], b"\n", &[0; 5000], b"a comment"] {
                let longer = [&bytes, behind].concat();
                assert_eq!(whole(&longer), Ok(Codec::sniff(&bytes).unwrap()));
            }
        }
    }

    #[test]
    fn the_end_of_a_preview_is_not_that_of_the_picture() {
        let whole_file = picture("image/jpeg", |_| {});
        let preview = [&[0xff, 0xe1, 0, 8][..], &[0xff, 0xd8, 0xff, 0xd9, 0, 0]].concat();
        let bytes = [&whole_file[..2], &preview, &whole_file[2..]].concat();
        assert!(whole(&[&bytes[..], b"\0\0"].concat()).is_ok());
        assert_eq!(whole(&bytes[..bytes.len() - 2]), Err(Damage::CutOff(Codec::Jpeg)));
    }

    #[test]
    fn what_is_no_picture_is_told_apart() {
        assert_eq!(whole(b""), Err(Damage::Empty));
        assert_eq!(whole(&[0; 4096]), Err(Damage::Foreign));
        assert_eq!(whole(b"<html>"), Err(Damage::Foreign));
        assert_eq!(whole(b"\x89PNG\r\n\x1a\n"), Err(Damage::CutOff(Codec::Png)));
        assert_eq!(whole(b"\xff\xd8"), Err(Damage::CutOff(Codec::Jpeg)));
        assert_eq!(Damage::CutOff(Codec::Png).to_string(), "it begins as image/png, but is cut off or damaged");
    }

    #[test]
    fn directories_that_lead_out_of_the_file_are_damage() {
        let bytes = picture("image/tiff", |_| {});
        for (at, value) in [(4, [0xff; 4]), (4, [0; 4])] {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&value);
            assert_eq!(whole(&bytes), Err(Damage::CutOff(Codec::Tiff)));
        }
    }
}
