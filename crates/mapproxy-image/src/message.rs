//! Text in pictures: errors, attribution, debug labels.

use std::sync::{Arc, LazyLock};

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use mapproxy_grid::Size;

use crate::map_image::{blank, ground};
use crate::pixels::{luma, mix};
use crate::{Color, ImageOptions, MapImage, PixelMode, Pixels};

/// Height of an em, in pixels.
const FONT_SIZE: f32 = 10.0;
/// Between the edge of the picture and its text.
const PADDING: f32 = 5.0;
/// Between lines.
const LINE_SPACING: f32 = 3.0;

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::regular()).expect("the font compiled in is a font"));

/// A picture of `size` with an error text at its upper left, on the background that `options` say.
///
/// The text is black, or white on a dark background. Lines are broken at the picture's right edge; what does not fit
/// below is left out.
pub fn error_image(text: &str, size: Size, options: &Arc<ImageOptions>) -> MapImage {
    MapImage::from_pixels(with_text(blank(size, options), text, options), options.clone()).with_cacheable(false)
}

/// A transparent picture with `text` from the upper left (errors drawn over a partial map, debug source).
pub fn overlay(text: &str, size: Size, options: &Arc<ImageOptions>) -> MapImage {
    let Color([r, g, b, _]) = ground(options);
    let canvas = Pixels::filled(size, PixelMode::Rgba, Color([r, g, b, 0]));
    let options = Arc::new(ImageOptions::clone(options).with_transparent(true));
    MapImage::from_pixels(with_text(canvas, text, &options), options).with_cacheable(false)
}

/// A transparent picture with each message on one line from the upper left, cut at the right edge: what is drawn over a
/// map that could be had in part only, of which much should still be seen.
pub fn notice(messages: &[String], size: Size, options: &Arc<ImageOptions>) -> MapImage {
    let scale = scale(FONT_SIZE);
    let room = size.width as f32 - 2.0 * PADDING;
    let lines: Vec<String> = messages.iter().map(|message| cut_off(message, scale, room)).collect();
    overlay(&lines.join("\n"), size, options)
}

/// The first line of a text as far as there is room, with an ellipsis where more follows.
fn cut_off(text: &str, scale: PxScale, room: f32) -> String {
    let line = text.lines().next().unwrap_or("");
    if line_width(line, scale) <= room {
        return line.to_owned();
    }
    let mut cut = String::new();
    for char in line.chars() {
        cut.push(char);
        if line_width(&format!("{cut}…"), scale) > room {
            cut.pop();
            break;
        }
    }
    format!("{}…", cut.trim_end())
}

/// Draws an attribution line into the lower right corner, black on a half-transparent white box.
pub fn attribution(pixels: &mut Pixels, text: &str) {
    const BOX: Color = Color([255, 255, 255, 120]);
    const MARGIN: f32 = 2.0;
    if text.trim().is_empty() {
        return;
    }
    let size = pixels.size();
    let scale = scale(FONT_SIZE);
    let font = FONT.as_scaled(scale);
    let lines = [text.to_string()];
    let width = line_width(text, scale) + 2.0 * MARGIN;
    let height = font.ascent() - font.descent() + 2.0;
    let (left, top) = (size.width as f32 - width.ceil(), size.height as f32 - height.ceil());
    for y in top.max(0.0) as u32..size.height {
        for x in left.max(0.0) as u32..size.width {
            put(pixels, x, y, BOX);
        }
    }
    draw(pixels, &lines, scale, left + MARGIN, top + 1.0, Color([0, 0, 0, 255]));
}

/// Text laid over a tile so that its origin shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    /// One line.
    pub text: String,
    /// Height of an em, in pixels.
    pub font_size: f32,
    /// Colour; alpha is how strongly the text covers what lies below.
    pub color: Color,
}

/// Where the middle of a watermark lies, from the left edge of the picture to the right; always half way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkPlace {
    /// On the left edge: its right half is seen.
    Left,
    /// In the centre.
    Centre,
    /// On the right edge: its left half is seen.
    Right,
}

/// Draws a watermark at each of `places`.
pub fn watermark(pixels: &mut Pixels, watermark: &Watermark, places: &[WatermarkPlace]) {
    let scale = scale(watermark.font_size);
    let font = FONT.as_scaled(scale);
    let (width, height) = (line_width(&watermark.text, scale), font.ascent() - font.descent());
    let size = pixels.size();
    let lines = [watermark.text.clone()];
    for place in places {
        let middle = match place {
            WatermarkPlace::Left => 0.0,
            WatermarkPlace::Centre => size.width as f32 / 2.0,
            WatermarkPlace::Right => size.width as f32,
        };
        let top = (size.height as f32 - height) / 2.0;
        draw(pixels, &lines, scale, middle - width / 2.0, top, watermark.color);
    }
}

/// An em of `font_size` pixels in the measure that `ab_glyph` takes: ascent to descent.
fn scale(font_size: f32) -> PxScale {
    let per_em = FONT.units_per_em().unwrap_or(1000.0);
    PxScale::from(font_size * FONT.height_unscaled() / per_em)
}

fn with_text(mut pixels: Pixels, text: &str, options: &ImageOptions) -> Pixels {
    const DARK: u8 = 128;
    let Color([r, g, b, _]) = options.bgcolor.unwrap_or(Color::WHITE);
    let color = if luma(r, g, b) <= DARK { Color::WHITE } else { Color([0, 0, 0, 255]) };
    let scale = scale(FONT_SIZE);
    let lines = wrapped(text, scale, pixels.size().width as f32 - 2.0 * PADDING);
    draw(&mut pixels, &lines, scale, PADDING, PADDING, color);
    pixels
}

fn line_width(text: &str, scale: PxScale) -> f32 {
    let font = FONT.as_scaled(scale);
    let mut last = None;
    let mut width = 0.0;
    for id in text.chars().map(|char| font.glyph_id(char)) {
        width += last.map_or(0.0, |last| font.kern(last, id)) + font.h_advance(id);
        last = Some(id);
    }
    width
}

/// Breaks lines between words, and words that are longer than a line.
fn wrapped(text: &str, scale: PxScale, width: f32) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
            if line_width(&longer, scale) <= width {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for char in word.chars() {
                line.push(char);
                if line_width(&line, scale) > width && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, char.to_string()));
                }
            }
        }
        lines.push(line);
    }
    lines
}

/// Draws lines downwards from `left`, `top`, as far as the picture reaches.
fn draw(pixels: &mut Pixels, lines: &[String], scale: PxScale, left: f32, top: f32, color: Color) {
    let font = FONT.as_scaled(scale);
    let Color([r, g, b, a]) = color;
    let size = pixels.size();
    let mut top = top;
    for line in lines {
        if top >= size.height as f32 {
            break;
        }
        let baseline = (top + font.ascent()).round();
        let (mut x, mut last) = (left, None);
        for char in line.chars() {
            let id = font.glyph_id(char);
            x += last.map_or(0.0, |last| font.kern(last, id));
            let glyph: Glyph = id.with_scale_and_position(scale, point(x, baseline));
            x += font.h_advance(id);
            last = Some(id);
            let Some(outline) = FONT.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|column, row, share| {
                let (x, y) = (corner.x as i64 + i64::from(column), corner.y as i64 + i64::from(row));
                if (0..i64::from(size.width)).contains(&x) && (0..i64::from(size.height)).contains(&y) {
                    let alpha = (share.clamp(0.0, 1.0) * f32::from(a)).round() as u8;
                    put(pixels, x as u32, y as u32, Color([r, g, b, alpha]));
                }
            });
        }
        top += font.ascent() - font.descent() + LINE_SPACING;
    }
}

/// Lays one half-transparent pixel over the picture.
fn put(pixels: &mut Pixels, x: u32, y: u32, Color([r, g, b, alpha]): Color) {
    let samples = pixels.mode().samples();
    let at = (y as usize * pixels.size().width as usize + x as usize) * samples;
    let mode = pixels.mode();
    let pixel = &mut pixels.data_mut()[at..at + samples];
    match mode {
        PixelMode::L => pixel[0] = mix(pixel[0], luma(r, g, b), alpha),
        PixelMode::Rgb => {
            for (below, above) in pixel.iter_mut().zip([r, g, b]) {
                *below = mix(*below, above, alpha);
            }
        }
        PixelMode::Rgba => crate::merge::over(pixel, &[r, g, b, alpha], 255),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageFormat;

    fn options(transparent: bool, bgcolor: Option<Color>) -> Arc<ImageOptions> {
        let options = ImageOptions::new(ImageFormat::png()).with_transparent(transparent);
        Arc::new(ImageOptions { bgcolor, ..options })
    }

    /// Left, top, right and bottom of what differs from the lower left pixel.
    fn inked(pixels: &Pixels) -> Option<[u32; 4]> {
        let size = pixels.size();
        let ground = pixels.pixel(0, size.height - 1);
        let mut found: Option<[u32; 4]> = None;
        for y in 0..size.height {
            for x in (0..size.width).filter(|&x| pixels.pixel(x, y) != ground) {
                let [l, t, r, b] = found.unwrap_or([x, y, x, y]);
                found = Some([l.min(x), t.min(y), r.max(x), b.max(y)]);
            }
        }
        found
    }

    #[test]
    fn an_error_is_black_on_light_and_white_on_dark() {
        for (bgcolor, ink) in [(None, 0), (Some(Color::rgb(32, 32, 32)), 255)] {
            let image = error_image("MMMM WWWW IIII", Size::new(200, 40), &options(false, bgcolor));
            let pixels = image.pixels().unwrap();
            let [left, top, ..] = inked(&pixels).unwrap();
            assert!((4..8).contains(&left) && (4..10).contains(&top), "{left} {top}");
            let extreme = pixels.data().iter().any(|&v| v.abs_diff(ink) < 20);
            assert!(extreme, "{bgcolor:?}");
            assert!(!image.cacheable());
        }
    }

    #[test]
    fn long_texts_are_wrapped_and_cut_at_the_bottom() {
        let text = "a long sentence of many words ".repeat(40) + &"x".repeat(500);
        let image = overlay(&text, Size::new(120, 61), &options(false, None));
        let pixels = image.pixels().unwrap();
        assert_eq!(pixels.mode(), PixelMode::Rgba);
        let [left, top, right, bottom] = inked(&pixels).unwrap();
        assert!(left >= 4 && top >= 4 && right < 118 && bottom > 50, "{left} {top} {right} {bottom}");
        let scale = scale(FONT_SIZE);
        assert!(wrapped(&text, scale, 110.0).iter().all(|line| line_width(line, scale) <= 110.0));
        for size in [Size::new(1, 1), Size::new(3, 200)] {
            assert_eq!(overlay(&text, size, &options(true, None)).size().unwrap(), size);
        }
    }

    #[test]
    fn attribution_lies_in_the_lower_right_corner() {
        for mode in [PixelMode::L, PixelMode::Rgb, PixelMode::Rgba] {
            let mut pixels = Pixels::filled(Size::new(256, 100), mode, Color::rgb(0, 100, 0));
            attribution(&mut pixels, "© contributors");
            let [left, top, right, bottom] = inked(&pixels).unwrap();
            assert!(left > 150 && top > 80 && (right, bottom) == (255, 99), "{left} {top} {right} {bottom}");
        }
        let mut tiny = Pixels::filled(Size::new(3, 2), PixelMode::Rgb, Color::rgb(0, 100, 0));
        attribution(&mut tiny, "much too long for this");
        assert!(inked(&tiny).is_none() || tiny.size() == Size::new(3, 2));
    }
}
