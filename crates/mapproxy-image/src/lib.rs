//! Pixels: decoding and encoding, palettes, resampling and reprojection, merging, masks, text.
//!
//! A [`MapImage`] is a picture that is decoded or encoded only when somebody needs it so: a source's answer that goes
//! out in the same format passes through untouched.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod format;
mod map_image;
mod options;
mod pixels;

pub mod bands;
pub mod codec;
pub mod legend;
pub mod mask;
pub mod merge;
pub mod message;
mod quantize;
mod resample;
pub mod tiles;
pub mod transform;

pub use error::ImageError;
pub use format::{Codec, ImageFormat};
pub use map_image::{EncodedImage, GeoReference, MapImage};
pub use options::{Color, EncodingOptions, ImageOptions, ModeOption, Quantizer, Resampling, TiffCompression};
pub use pixels::{PixelMode, Pixels};
