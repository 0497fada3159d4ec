//! Image options: named formats, defaults, and what caches take over from their sources.

use std::sync::Arc;

use indexmap::IndexMap;

/// How to make an image, resolved: nothing here refers to `globals` any more.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageOptions {
    /// Media type such as `image/png` or `image/png; mode=8bit`, or `mixed`. `None` if nothing names one: whoever
    /// asks decides.
    pub format: Option<Arc<str>>,
    /// Colour model of the pixels; `None` keeps what comes.
    pub mode: Option<ImageMode>,
    /// Whether the image may have transparent parts; `None` if nobody said.
    pub transparent: Option<bool>,
    /// Opacity between 0 and 1, `None` for opaque.
    pub opacity: Option<f64>,
    /// How to resample; the default is bicubic.
    pub resampling: Resampling,
    /// Colour of what no source draws; `None` is white.
    pub bgcolor: Option<Color>,
    /// Size of the palette, 0 for none; `None` if nobody said.
    pub colors: Option<u32>,
    /// Options of the encoder.
    pub encoding: Encoding,
}

impl ImageOptions {
    /// The extension of the format: the part after `/` and before `;`, `mixed` for mixed.
    pub fn extension(&self) -> Option<&str> {
        self.format.as_deref().map(format_extension)
    }
}

/// The part of a media type after `/` and before `;`: `png` for `image/png; mode=8bit`. Two formats with equal
/// extensions are the same format.
pub fn format_extension(format: &str) -> &str {
    let subtype = format.split_once('/').map_or(format, |(_, subtype)| subtype);
    subtype.split_once(';').map_or(subtype, |(name, _)| name).trim()
}

/// Formats of tiles that are no pictures: names, media type, extension.
const DATA_FORMATS: [(&[&str], &str, &str); 5] = [
    (&["application/vnd.mapbox-vector-tile", "mvt"], "application/vnd.mapbox-vector-tile", "mvt"),
    (&["application/x-protobuf", "pbf"], "application/vnd.mapbox-vector-tile", "pbf"),
    (&["application/json", "json"], "application/json", "json"),
    (&["application/geo+json", "geojson"], "application/geo+json", "geojson"),
    (&["application/vnd.quantized-mesh", "terrain"], "application/vnd.quantized-mesh", "terrain"),
];

/// Media type and extension of tiles that are no pictures, by a media type or a short name.
pub fn data_format(name: &str) -> Option<(&'static str, &'static str)> {
    let (_, media_type, extension) = DATA_FORMATS.iter().find(|(names, _, _)| names.contains(&name))?;
    Some((media_type, extension))
}

/// All names of formats of tiles that are no pictures.
pub fn data_format_names() -> impl Iterator<Item = &'static str> {
    DATA_FORMATS.iter().flat_map(|(names, _, _)| names.iter().copied())
}

/// Options of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Encoding {
    /// JPEG quality from 0 to 100; `None` means [`ImageDefaults::jpeg_quality`].
    pub jpeg_quality: Option<u8>,
    /// How to choose a palette.
    pub quantizer: Option<Quantizer>,
    /// How to compress TIFF.
    pub tiff_compression: Option<TiffCompression>,
}

/// Colour models, in the order a cache chooses among those of its sources: the last wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageMode {
    /// Black and white, `1`.
    Bilevel,
    /// Floating point numbers.
    F,
    /// 32 bit integers.
    I,
    /// Grey.
    L,
    /// Grey with alpha.
    La,
    /// Palette.
    P,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

/// Resampling methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Resampling {
    /// Nearest neighbour.
    Nearest,
    /// Bilinear.
    Bilinear,
    /// Bicubic.
    #[default]
    Bicubic,
}

/// Ways to choose the palette of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantizer {
    /// Octree; keeps alpha.
    FastOctree,
    /// Median cut; opaque images only.
    MedianCut,
}

/// TIFF compressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TiffCompression {
    /// None.
    Raw,
    /// LZW.
    Lzw,
    /// JPEG.
    Jpeg,
}

/// A colour, with alpha if it was written with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Color {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
    /// Alpha, 0 is transparent; `None` if written without.
    pub alpha: Option<u8>,
}

/// `globals.image`: defaults and named formats.
#[derive(Debug, Clone)]
pub struct ImageDefaults {
    /// `resampling_method`, default bicubic.
    pub resampling: Resampling,
    /// `jpeg_quality`, default 90.
    pub jpeg_quality: u8,
    /// `paletted`: whether PNG images get a palette of 256 colours unless told otherwise. Default true.
    pub paletted: bool,
    /// `font_dir`: directory with `DejaVuSans.ttf`, as written.
    pub font_dir: Option<std::path::PathBuf>,
    pub(crate) formats: IndexMap<String, ImageOptions>,
}

impl ImageDefaults {
    /// The options an image in `format` is answered with, such as `image/png` of a WMS request: those of the named
    /// format if there is one, defaults otherwise.
    pub fn options(&self, format: &str) -> ImageOptions {
        self.complete(self.start(Some(format)))
    }

    /// What `format` alone says, named formats included. [`complete`](Self::complete) comes last.
    pub(crate) fn start(&self, format: Option<&str>) -> ImageOptions {
        if let Some(named) = format.and_then(|format| self.formats.get(format)) {
            return named.clone();
        }
        let mime = format.and_then(known_format);
        ImageOptions {
            transparent: (format == Some("mixed")).then_some(true),
            format: mime,
            mode: None,
            opacity: None,
            resampling: self.resampling,
            bgcolor: None,
            colors: None,
            encoding: Encoding::default(),
        }
    }

    /// Fills in what depends on the final format.
    pub(crate) fn complete(&self, mut options: ImageOptions) -> ImageOptions {
        if options.colors.is_none() && self.paletted && options.format.as_deref().is_some_and(|f| f.contains("png")) {
            options.colors = Some(256);
        }
        options
    }
}

/// The media type of a format's name: `image/…` and `mixed` as they are, the usual short names with `image/`.
pub(crate) fn known_format(name: &str) -> Option<Arc<str>> {
    match name {
        "mixed" => Some(Arc::from(name)),
        "png" | "jpeg" | "gif" | "tiff" | "webp" => Some(Arc::from(format!("image/{name}"))),
        "jpg" => Some(Arc::from("image/jpeg")),
        _ => name.starts_with("image/").then(|| Arc::from(name)),
    }
}
