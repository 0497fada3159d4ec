//! Readers and writers of image files.

use mapproxy_grid::Size;

use crate::{Codec, EncodedImage, GeoReference, ImageError, ImageOptions, Pixels};

/// What a file's header says.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// What wrote it.
    pub codec: Codec,
    /// Columns and rows.
    pub size: Size,
    /// Samples after decoding.
    pub mode: crate::PixelMode,
    /// The file has a palette of this many entries.
    pub palette: Option<u16>,
}

/// Reads only the header.
pub fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let _ = bytes;
    todo!()
}

/// Decodes any known format; refuses pictures of more than `max_pixels` before allocating.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Pixels, ImageError> {
    let _ = (bytes, max_pixels);
    todo!()
}

/// Encodes by `options` (whose `format` must be set).
pub fn encode(
    pixels: &Pixels,
    options: &ImageOptions,
    place: Option<&GeoReference>,
) -> Result<EncodedImage, ImageError> {
    let _ = (pixels, options, place);
    todo!()
}
