//! A picture on its way through MapProxy: encoded, decoded or both.

use std::sync::Arc;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Size, Srs};

use crate::{Codec, ImageError, ImageFormat, ImageOptions, PixelMode, Pixels};

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
        let _ = (size, options);
        todo!()
    }
    /// Columns and rows; reads no more than the header of an encoded picture.
    pub fn size(&self) -> Result<Size, ImageError> {
        todo!()
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
        todo!()
    }
    /// The pixels, decoded now if need be.
    pub fn pixels(&self) -> Result<Arc<Pixels>, ImageError> {
        todo!()
    }
    /// The file for `options`: the bytes as they came where format and pixels fit, encoded now otherwise.
    /// `mixed` becomes PNG or JPEG by content.
    pub fn encode(&self, options: &ImageOptions) -> Result<EncodedImage, ImageError> {
        let _ = options;
        todo!()
    }
}
