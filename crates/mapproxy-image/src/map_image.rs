//! A picture on its way through MapProxy: encoded, decoded or both.

use std::sync::Arc;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Size, Srs};

use crate::options::ModeOption;
use crate::{Codec, Color, ImageError, ImageFormat, ImageOptions, PixelMode, Pixels, codec};

/// Bytes and what they are.
#[derive(Clone, Debug)]
pub struct EncodedImage {
    /// The file.
    pub bytes: Bytes,
    /// Its format; the name is the content type.
    pub format: ImageFormat,
}

/// Where a picture lies, for GeoTIFF tags.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoReference {
    /// The picture's box, in units of `srs`.
    pub bbox: Bbox,
    /// Its SRS.
    pub srs: Srs,
}

/// A picture with the options it was asked with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MapImage {
    data: Data,
    options: Arc<ImageOptions>,
    cacheable: bool,
    geo_reference: Option<GeoReference>,
}

#[derive(Clone, Debug)]
enum Data {
    Encoded(Bytes),
    Decoded(Arc<Pixels>),
}

impl MapImage {
    /// A decoded picture.
    pub fn from_pixels(pixels: Pixels, options: Arc<ImageOptions>) -> Self {
        MapImage { data: Data::Decoded(Arc::new(pixels)), options, cacheable: true, geo_reference: None }
    }
    /// A file as it came; decoded when needed.
    pub fn from_encoded(bytes: Bytes, options: Arc<ImageOptions>) -> Self {
        MapImage { data: Data::Encoded(bytes), options, cacheable: true, geo_reference: None }
    }
    /// An empty picture by `options`: background colour, or transparent.
    pub fn blank(size: Size, options: Arc<ImageOptions>) -> Self {
        MapImage::from_pixels(blank(size, &options), options)
    }
    /// Columns and rows; reads no more than the header of an encoded picture.
    pub fn size(&self) -> Result<Size, ImageError> {
        match &self.data {
            Data::Encoded(bytes) => Ok(codec::header(bytes)?.size),
            Data::Decoded(pixels) => Ok(pixels.size()),
        }
    }
    /// The options it was asked with.
    pub fn options(&self) -> &Arc<ImageOptions> {
        &self.options
    }
    /// The same picture with other options.
    pub fn with_options(self, options: Arc<ImageOptions>) -> Self {
        MapImage { options, ..self }
    }
    /// May be stored; `false` for stand-ins of failed sources.
    pub fn cacheable(&self) -> bool {
        self.cacheable
    }
    /// The same picture, to be stored or not.
    pub fn with_cacheable(self, cacheable: bool) -> Self {
        MapImage { cacheable, ..self }
    }
    /// The same picture with a position for GeoTIFF.
    pub fn with_geo_reference(self, geo_reference: GeoReference) -> Self {
        MapImage { geo_reference: Some(geo_reference), ..self }
    }
    /// What the bytes are, where the picture is encoded.
    pub fn codec(&self) -> Option<Codec> {
        match &self.data {
            Data::Encoded(bytes) => Codec::sniff(bytes),
            Data::Decoded(_) => None,
        }
    }
    /// The encoded bytes, where the picture is still as it came.
    pub fn encoded_bytes(&self) -> Option<&Bytes> {
        match &self.data {
            Data::Encoded(bytes) => Some(bytes),
            Data::Decoded(_) => None,
        }
    }
    /// Kind of pixels; of an encoded picture by its header (paletted: `Rgba` with, `Rgb` without transparency).
    pub fn mode(&self) -> Result<PixelMode, ImageError> {
        match &self.data {
            Data::Encoded(bytes) => Ok(codec::header(bytes)?.mode),
            Data::Decoded(pixels) => Ok(pixels.mode()),
        }
    }
    /// The pixels, decoded now if need be; not of pictures above [`codec::DEFAULT_MAX_PIXELS`].
    pub fn pixels(&self) -> Result<Arc<Pixels>, ImageError> {
        match &self.data {
            Data::Encoded(bytes) => Ok(Arc::new(codec::decode(bytes, codec::DEFAULT_MAX_PIXELS)?)),
            Data::Decoded(pixels) => Ok(pixels.clone()),
        }
    }
    /// The pixels, to keep; copied only where somebody else holds them, too.
    pub fn into_pixels(self) -> Result<Pixels, ImageError> {
        match self.data {
            Data::Encoded(bytes) => codec::decode(&bytes, codec::DEFAULT_MAX_PIXELS),
            Data::Decoded(pixels) => Ok(Arc::unwrap_or_clone(pixels)),
        }
    }
    /// The same picture with its pixels decoded now, so that later uses share them.
    pub fn decoded(self) -> Result<Self, ImageError> {
        let data = Data::Decoded(self.pixels()?);
        Ok(MapImage { data, ..self })
    }
    /// The file for `options`: the bytes as they came where format and pixels fit, encoded now otherwise.
    /// `mixed` becomes PNG or JPEG by content.
    ///
    /// Bytes fit when they are of the codec asked for, under the same name where the picture's own options name one
    /// (`png8` is not `png`), and either the same `mode` was asked of the picture before or its header shows the one
    /// asked for now. Colours and quality are not looked at.
    pub fn encode(&self, options: &ImageOptions) -> Result<EncodedImage, ImageError> {
        if let Data::Encoded(bytes) = &self.data
            && let Some(format) = self.fits(bytes, options)
        {
            return Ok(EncodedImage { bytes: bytes.clone(), format });
        }
        codec::encode(&*self.pixels()?, options, self.geo_reference.as_ref())
    }

    /// The bytes as they came, where [`MapImage::encode`] would give just these: nothing is decoded.
    pub fn bytes_as(&self, options: &ImageOptions) -> Option<&Bytes> {
        self.encoded_bytes().filter(|bytes| self.fits(bytes, options).is_some())
    }

    /// What `bytes` are for `options`, if they can go out untouched.
    fn fits(&self, bytes: &Bytes, options: &ImageOptions) -> Option<ImageFormat> {
        let have = Codec::sniff(bytes)?;
        let wanted = options.format.as_ref()?;
        if wanted.is_mixed() {
            let was_mixed = self.options.format.as_ref().is_some_and(ImageFormat::is_mixed);
            return match have {
                Codec::Jpeg => Some(ImageFormat::jpeg()),
                Codec::Png if was_mixed => Some(ImageFormat::png()),
                _ => None,
            };
        }
        if wanted.codec() != Some(have) {
            return None;
        }
        let named = self.options.format.as_ref().filter(|format| format.codec() == Some(have));
        let same_name = match (have, named) {
            (Codec::Png, Some(format)) => format == wanted,
            (Codec::Png, None) => *wanted == ImageFormat::png(),
            // GeoTIFF tags belong to this picture, and the bytes may have none.
            (Codec::Tiff, _) => self.geo_reference.is_none(),
            _ => true,
        };
        let same_mode = self.options.mode == options.mode
            || match options.mode {
                None => false,
                Some(mode) => codec::header(bytes).is_ok_and(|header| match mode {
                    ModeOption::Paletted => header.palette.is_some(),
                    ModeOption::Pixels(mode) => header.palette.is_none() && header.mode == mode,
                }),
            };
        (same_name && same_mode).then(|| wanted.clone())
    }
}

/// Samples of a picture that `options` describe and nothing is known of yet.
pub(crate) fn canvas_mode(options: &ImageOptions) -> PixelMode {
    match options.mode {
        Some(ModeOption::Pixels(mode)) => mode,
        Some(ModeOption::Paletted) | None if options.transparent == Some(true) => PixelMode::Rgba,
        Some(ModeOption::Paletted) | None => PixelMode::Rgb,
    }
}

/// Colour of a picture without anything: the background, transparent where the options say so.
pub(crate) fn ground(options: &ImageOptions) -> Color {
    let Color([r, g, b, a]) = options.bgcolor.unwrap_or(Color::WHITE);
    Color([r, g, b, if options.transparent == Some(true) { 0 } else { a }])
}

/// A picture without anything.
pub(crate) fn blank(size: Size, options: &ImageOptions) -> Pixels {
    Pixels::filled(size, canvas_mode(options), ground(options))
}
