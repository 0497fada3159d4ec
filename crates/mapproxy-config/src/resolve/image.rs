//! Image options and colours.

use super::Resolver;
use crate::checked::{Color, Encoding, ImageMode, ImageOptions, Quantizer, Resampling, SourceImage, TiffCompression};
use crate::findings::Findings;
use crate::position::{Span, Spanned};
use crate::raw::{self, Text};
use crate::yaml::Value;

impl Resolver<'_> {
    /// What `local` says over what `format` says over defaults.
    pub(super) fn image(
        &mut self,
        local: Option<&Spanned<raw::ImageOptions>>,
        format: Option<&str>,
        path: &str,
    ) -> ImageOptions {
        let options = self.globals.image.start(format);
        let options = match local {
            Some(local) => over(options, local, path, self.findings),
            None => options,
        };
        self.globals.image.complete(options)
    }

    /// Image options of a source; `transparent` is its short form, `format` what it is asked for otherwise.
    pub(super) fn source_image(
        &mut self,
        local: Option<&Spanned<raw::ImageOptions>>,
        transparent: Option<bool>,
        format: Option<&str>,
        path: &str,
    ) -> SourceImage {
        let path = format!("{path}.image");
        let mut options = self.image(local, format, &path);
        if local.is_none_or(|local| local.transparent.is_none()) {
            options.transparent = transparent.or(options.transparent);
        }
        let transparent_color = local
            .and_then(|local| local.transparent_color.as_ref())
            .and_then(|color| self.color(&color.value, color.span, &format!("{path}.transparent_color")));
        let global = self.raw_globals.image.as_ref().and_then(|image| image.transparent_color_tolerance.as_ref());
        let tolerance = local.and_then(|local| local.transparent_color_tolerance.as_ref()).or(global);
        let tolerance = match tolerance {
            None => 5,
            Some(tolerance) if (0.0..=255.0).contains(&tolerance.value) => tolerance.value as u8,
            Some(tolerance) => {
                let message = format!("{} is not a tolerance from 0 to 255", tolerance.value);
                self.findings.error(tolerance.span, format!("{path}.transparent_color_tolerance"), message);
                5
            }
        };
        SourceImage { options, transparent_color, transparent_color_tolerance: tolerance }
    }

    /// A colour: a list of three or four numbers, or hexadecimal digits after `#`, `0x` or nothing.
    pub(super) fn color(&mut self, color: &raw::Numbers, span: Span, path: &str) -> Option<Color> {
        color_of(color, span, path, self.findings)
    }
}

fn color_of(color: &raw::Numbers, span: Span, path: &str, findings: &mut Findings) -> Option<Color> {
    let components: Option<Vec<u8>> = match color {
        raw::Numbers::List(list) => list
            .iter()
            .map(|part| (part.value.fract() == 0.0 && (0.0..=255.0).contains(&part.value)).then_some(part.value as u8))
            .collect(),
        raw::Numbers::Text(text) => {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix('#')).unwrap_or(text);
            let pairs = digits.as_bytes().chunks(2);
            let pair = |pair: &[u8]| {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
                pair.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
                u8::from_str_radix(pair, 16).ok()
            };
            pairs.map(pair).collect()
        }
    };
    match components.as_deref() {
        Some(&[red, green, blue]) => Some(Color { red, green, blue, alpha: None }),
        Some(&[red, green, blue, alpha]) => Some(Color { red, green, blue, alpha: Some(alpha) }),
        _ => {
            let shown = match color {
                raw::Numbers::Text(text) => format!("'{text}'"),
                raw::Numbers::List(list) => format!("{:?}", list.iter().map(|part| part.value).collect::<Vec<_>>()),
            };
            let message = format!("{shown} is not a color: it is written as '#rrggbb', '#rrggbbaa' or [r, g, b]");
            findings.error(span, path, message);
            None
        }
    }
}

/// `local` over `options`.
pub(super) fn over(
    mut options: ImageOptions,
    local: &Spanned<raw::ImageOptions>,
    path: &str,
    findings: &mut Findings,
) -> ImageOptions {
    if let Some(format) = &local.format {
        options.format = crate::checked::image::known_format(&format.value);
        if options.format.is_none() {
            let message = format!("unknown image format '{}'", format.value);
            let help = Some("formats are media types such as image/png or image/jpeg".to_owned());
            let severity = crate::diagnostic::Severity::Error;
            findings.add(severity, format.span, format!("{path}.format"), message, help);
        }
    }
    if let Some(mode) = &local.mode {
        match image_mode(&mode.value) {
            Some(mode) => options.mode = Some(mode),
            None => {
                let message = format!("unknown mode '{}': one of RGB, RGBA, P, L, LA, I, F, 1 is needed", mode.value);
                findings.error(mode.span, format!("{path}.mode"), message);
            }
        }
    }
    if let Some(colors) = &local.colors {
        if colors.value.fract() == 0.0 && (0.0..=256.0).contains(&colors.value) {
            options.colors = Some(colors.value as u32);
        } else {
            let message = format!("{} is not a number of colors from 0 to 256", colors.value);
            findings.error(colors.span, format!("{path}.colors"), message);
        }
    }
    if let Some(transparent) = &local.transparent {
        options.transparent = Some(transparent.value);
    }
    if let Some(method) = &local.resampling_method
        && let Some(method) = resampling(method, &format!("{path}.resampling_method"), findings)
    {
        options.resampling = method;
    }
    if let Some(opacity) = &local.opacity {
        if (0.0..=1.0).contains(&opacity.value) {
            options.opacity = Some(opacity.value);
        } else {
            let message = format!("{} is not an opacity from 0 to 1", opacity.value);
            findings.error(opacity.span, format!("{path}.opacity"), message);
        }
    }
    if let Some(bgcolor) = &local.bgcolor {
        let bgcolor = color_of(&bgcolor.value, bgcolor.span, &format!("{path}.bgcolor"), findings);
        options.bgcolor = bgcolor.or(options.bgcolor);
    }
    if let Some(encoding) = &local.encoding_options {
        options.encoding = encoding_options(options.encoding, &encoding.value, path, findings);
    }
    if let Some(method) = &local.merge_method {
        findings.warning(method.span, format!("{path}.merge_method"), "merge_method has no effect any more");
    }
    options
}

/// Encoder options; those given replace all of the named format's.
fn encoding_options(
    below: Encoding,
    raw: &raw::Table<crate::yaml::Node>,
    path: &str,
    findings: &mut Findings,
) -> Encoding {
    if raw.is_empty() {
        return below;
    }
    let mut encoding = Encoding::default();
    for (name, entry) in raw {
        let node = &entry.value.value;
        let path = format!("{path}.encoding_options.{name}");
        match &**name {
            "jpeg_quality" => match node.value {
                Value::Int(quality @ 0..=100) => encoding.jpeg_quality = u8::try_from(quality).ok(),
                Value::Int(quality) => {
                    findings.error(node.span, path, format!("{quality} is not a quality from 0 to 100"));
                }
                _ => findings.error(node.span, path, "jpeg_quality is not an integer"),
            },
            "quantizer" => match node.as_str() {
                Some("fastoctree") => encoding.quantizer = Some(Quantizer::FastOctree),
                Some("mediancut") => encoding.quantizer = Some(Quantizer::MedianCut),
                _ => {
                    let message = format!("unknown quantizer {}: fastoctree or mediancut is needed", node.shown());
                    findings.error(node.span, path, message);
                }
            },
            "tiff_compression" => match node.as_str() {
                Some("raw") => encoding.tiff_compression = Some(TiffCompression::Raw),
                Some("tiff_lzw") => encoding.tiff_compression = Some(TiffCompression::Lzw),
                Some("jpeg") => encoding.tiff_compression = Some(TiffCompression::Jpeg),
                _ => {
                    let message = format!("unknown tiff_compression {}: raw, tiff_lzw or jpeg is needed", node.shown());
                    findings.error(node.span, path, message);
                }
            },
            _ => {
                let known = ["jpeg_quality", "quantizer", "tiff_compression"];
                let help = raw::nearest(name, known).map(|near| format!("did you mean '{near}'?"));
                let severity = crate::diagnostic::Severity::Error;
                findings.add(severity, entry.key_span, path, format!("unknown encoding_options: '{name}'"), help);
            }
        }
    }
    encoding
}

pub(super) fn resampling(method: &Spanned<Text>, path: &str, findings: &mut Findings) -> Option<Resampling> {
    match &*method.value {
        "nearest" => Some(Resampling::Nearest),
        "bilinear" => Some(Resampling::Bilinear),
        "bicubic" => Some(Resampling::Bicubic),
        other => {
            let message = format!("unknown resampling method '{other}': nearest, bilinear or bicubic is needed");
            findings.error(method.span, path, message);
            None
        }
    }
}

fn image_mode(mode: &str) -> Option<ImageMode> {
    Some(match mode {
        "1" => ImageMode::Bilevel,
        "F" => ImageMode::F,
        "I" => ImageMode::I,
        "L" => ImageMode::L,
        "LA" => ImageMode::La,
        "P" => ImageMode::P,
        "RGB" => ImageMode::Rgb,
        "RGBA" => ImageMode::Rgba,
        _ => return None,
    })
}

/// Options of a cache with what nobody said taken from its sources.
pub(super) fn inherit(mut cache: ImageOptions, sources: &[&ImageOptions]) -> ImageOptions {
    if cache.colors.is_none() {
        let colors: Vec<u32> = sources.iter().filter_map(|source| source.colors).collect();
        cache.colors = if colors.contains(&0) { Some(0) } else { colors.into_iter().max() };
    }
    if cache.transparent.is_none() {
        let said: Vec<bool> = sources.iter().filter_map(|source| source.transparent).collect();
        cache.transparent = (!said.is_empty()).then(|| said.iter().all(|transparent| *transparent));
    }
    if cache.mode.is_none() {
        cache.mode = sources.iter().filter_map(|source| source.mode).max();
    }
    cache
}
