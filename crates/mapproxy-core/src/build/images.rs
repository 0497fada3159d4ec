//! Image options: from the configuration's words to the image crate's.

use std::sync::Arc;

use mapproxy_config::checked::{self, ImageMode};
use mapproxy_image::{
    Color, EncodingOptions, ImageFormat, ImageOptions, ModeOption, PixelMode, Quantizer, Resampling, TiffCompression,
};

use super::Parts;

impl Parts<'_> {
    pub(super) fn image_options(&self, options: &checked::ImageOptions) -> Arc<ImageOptions> {
        let encoding = &options.encoding;
        Arc::new(ImageOptions {
            format: options.format.as_deref().map(ImageFormat::new),
            mode: options.mode.map(mode),
            // Where nothing is said, `globals.image.paletted` decides.
            colors: options.colors.or((!self.config.globals.image.paletted).then_some(0)),
            transparent: options.transparent,
            opacity: options.opacity.map(|opacity| opacity as f32),
            resampling: match options.resampling {
                checked::Resampling::Nearest => Resampling::Nearest,
                checked::Resampling::Bilinear => Resampling::Bilinear,
                checked::Resampling::Bicubic => Resampling::Bicubic,
            },
            bgcolor: None,
            encoding: EncodingOptions {
                jpeg_quality: encoding.jpeg_quality.unwrap_or(self.config.globals.image.jpeg_quality),
                quantizer: match encoding.quantizer {
                    Some(checked::Quantizer::MedianCut) => Quantizer::MedianCut,
                    Some(checked::Quantizer::FastOctree) | None => Quantizer::FastOctree,
                },
                tiff_compression: match encoding.tiff_compression {
                    Some(checked::TiffCompression::Lzw) => TiffCompression::Lzw,
                    Some(checked::TiffCompression::Jpeg) => TiffCompression::Jpeg,
                    Some(checked::TiffCompression::Raw) | None => TiffCompression::Raw,
                },
            },
        })
    }
}

fn mode(mode: ImageMode) -> ModeOption {
    match mode {
        ImageMode::P => ModeOption::Paletted,
        // All samples have 8 bits here; finer grey has the same picture.
        ImageMode::Bilevel | ImageMode::L | ImageMode::I | ImageMode::F => ModeOption::Pixels(PixelMode::L),
        ImageMode::Rgb => ModeOption::Pixels(PixelMode::Rgb),
        ImageMode::La | ImageMode::Rgba => ModeOption::Pixels(PixelMode::Rgba),
    }
}

pub(super) fn color(color: &checked::Color) -> Color {
    Color([color.red, color.green, color.blue, color.alpha.unwrap_or(255)])
}
