//! Image formats as configurations and protocols name them.

use std::fmt;
use std::sync::Arc;

/// What writes and reads a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// PNG (also `image/png8`, `image/png; mode=8bit`).
    Png,
    /// JPEG.
    Jpeg,
    /// TIFF, with GeoTIFF tags where the position is known.
    Tiff,
    /// GIF.
    Gif,
    /// WebP.
    WebP,
}

/// A format by its name (`image/png`, `image/GeoTIFF`, `image/png; mode=8bit`, `mixed`).
///
/// Two formats are equal when their extensions are: the part after `/` and before `;`.
#[derive(Clone)]
pub struct ImageFormat(Arc<str>);

impl ImageFormat {
    /// The format called `name`.
    pub fn new(name: &str) -> Self {
        ImageFormat(name.into())
    }
    /// `image/png`.
    pub fn png() -> Self {
        Self::new("image/png")
    }
    /// `image/jpeg`.
    pub fn jpeg() -> Self {
        Self::new("image/jpeg")
    }
    /// The name as written: also the content type.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// `png` of `image/png; mode=8bit`; file extension of cached tiles.
    pub fn ext(&self) -> &str {
        let name = self.0.rsplit_once('/').map_or(&*self.0, |(_, ext)| ext);
        name.split(';').next().unwrap_or(name).trim()
    }
    /// PNG where a pixel is transparent, JPEG otherwise.
    pub fn is_mixed(&self) -> bool {
        self.ext() == "mixed"
    }
    /// What writes it; `None` for `mixed` and unknown formats.
    pub fn codec(&self) -> Option<Codec> {
        let ext = self.ext().to_ascii_lowercase();
        match ext.as_str() {
            "jpeg" | "jpg" => Some(Codec::Jpeg),
            "tiff" | "geotiff" => Some(Codec::Tiff),
            "gif" => Some(Codec::Gif),
            "webp" => Some(Codec::WebP),
            _ if ext.starts_with("png") => Some(Codec::Png),
            _ => None,
        }
    }
}

impl Codec {
    /// Recognises a file by its first bytes.
    pub fn sniff(bytes: &[u8]) -> Option<Codec> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Some(Codec::Png),
            [0xff, 0xd8, ..] => Some(Codec::Jpeg),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Codec::Tiff),
            [b'G', b'I', b'F', b'8', ..] => Some(Codec::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Codec::WebP),
            _ => None,
        }
    }
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Codec::Png => "image/png",
            Codec::Jpeg => "image/jpeg",
            Codec::Tiff => "image/tiff",
            Codec::Gif => "image/gif",
            Codec::WebP => "image/webp",
        }
    }
}

impl PartialEq for ImageFormat {
    fn eq(&self, other: &Self) -> bool {
        self.ext() == other.ext()
    }
}

impl Eq for ImageFormat {}

impl fmt::Debug for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
