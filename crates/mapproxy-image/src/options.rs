//! Image options with their values resolved: what a picture should be like.

use crate::{ImageFormat, PixelMode};

/// Red, green, blue, alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color(pub [u8; 4]);

impl Color {
    /// Opaque white.
    pub const WHITE: Color = Color([255, 255, 255, 255]);
    /// White without opacity.
    pub const TRANSPARENT: Color = Color([255, 255, 255, 0]);
    /// An opaque colour.
    pub const fn rgb(r: u8, g: u8, b: u8) -> Color {
        Color([r, g, b, 255])
    }
}

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Resampling {
    /// The nearest pixel.
    Nearest,
    /// Weighted from 2×2 pixels.
    Bilinear,
    /// Weighted from 4×4 pixels (a = -1, as MapProxy has it).
    #[default]
    Bicubic,
}

/// How a palette is found for pictures with too many colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Quantizer {
    /// Octree; keeps half-transparent pixels.
    #[default]
    FastOctree,
    /// Median cut; pixels are opaque or transparent.
    MedianCut,
}

/// Compression inside TIFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TiffCompression {
    /// None.
    #[default]
    Raw,
    /// LZW.
    Lzw,
    /// JPEG.
    Jpeg,
}

/// `encoding_options`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodingOptions {
    /// 1 to 100.
    pub jpeg_quality: u8,
    /// For palettes.
    pub quantizer: Quantizer,
    /// For TIFF.
    pub tiff_compression: TiffCompression,
}

impl Default for EncodingOptions {
    fn default() -> Self {
        EncodingOptions {
            jpeg_quality: 90,
            quantizer: Quantizer::default(),
            tiff_compression: TiffCompression::default(),
        }
    }
}

/// What a picture should be like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageOptions {
    /// The format; for a source's answer of unknown format, what its bytes say.
    pub format: Option<ImageFormat>,
    /// Pixels as asked for; `None`: by `transparent`.
    pub mode: Option<ModeOption>,
    /// Colours of the palette; `Some(0)`: no palette; `None`: palette only where the format's default has one.
    pub colors: Option<u32>,
    /// The picture may have transparent pixels; `None`: not said.
    pub transparent: Option<bool>,
    /// 0 to 1, for merging over others.
    pub opacity: Option<f32>,
    /// For reprojection and scaling.
    pub resampling: Resampling,
    /// Ground of pictures without anything.
    pub bgcolor: Option<Color>,
    /// Per format.
    pub encoding: EncodingOptions,
}

/// The `mode` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeOption {
    /// Unpaletted pixels of this kind.
    Pixels(PixelMode),
    /// A palette.
    Paletted,
}

impl ImageOptions {
    /// Options of `format` and nothing else said.
    pub fn new(format: ImageFormat) -> Self {
        ImageOptions { format: Some(format), ..Self::default() }
    }
    /// The same with `transparent` set.
    pub fn with_transparent(mut self, transparent: bool) -> Self {
        self.transparent = Some(transparent);
        self
    }
}
