//! Laying pictures over each other.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Coverage, Size, Srs};

use crate::map_image::blank;
use crate::pixels::mix;
use crate::{Color, ImageError, ImageOptions, MapImage, PixelMode, Pixels, mask};

/// One picture of a stack.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// The picture; its options say opacity and transparency.
    pub image: MapImage,
    /// Cut off outside of this coverage (only where it has `clip`).
    pub coverage: Option<&'a Coverage>,
}

/// The map that all pictures of a stack show.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Columns and rows.
    pub size: Size,
    /// Box in `srs`.
    pub bbox: Bbox,
    /// SRS of the box.
    pub srs: &'a Srs,
}

/// Merges bottom to top. One layer that needs nothing done is returned as it is; no layer gives a blank picture.
///
/// A layer above others is composed by its alpha times its `opacity`. One that lies alone is composed, too, if it may be
/// transparent and the map may not. A picture of another size than the frame's lies in the upper left corner.
pub fn merge(layers: Vec<Layer<'_>>, options: &Arc<ImageOptions>, frame: &Frame<'_>) -> Result<MapImage, ImageError> {
    if layers.is_empty() {
        return Ok(MapImage::blank(frame.size, options.clone()));
    }
    let cacheable = layers.iter().all(|layer| layer.image.cacheable());
    if let [Layer { image, coverage }] = &layers[..]
        && !coverage.is_some_and(Coverage::clip)
        && (image.options().transparent != Some(true) || options.transparent == Some(true))
        && image.size()? == frame.size
    {
        return Ok(layers.into_iter().next().expect("one layer, by the pattern").image);
    }
    let mut canvas = Canvas::new(blank(frame.size, options));
    for Layer { image, coverage } in layers {
        let opacity = image.options().opacity;
        let mut pixels = image.into_pixels()?;
        if let Some(coverage) = coverage.filter(|coverage| coverage.clip()) {
            pixels = mask::clip(pixels, &frame.bbox, frame.srs, coverage)?;
        }
        canvas.add(pixels, opacity);
    }
    Ok(MapImage::from_pixels(canvas.finish(options), options.clone()).with_cacheable(cacheable))
}

/// The picture that layers are laid on: RGB or RGBA.
struct Canvas {
    pixels: Pixels,
}

impl Canvas {
    fn new(pixels: Pixels) -> Canvas {
        let mode = if pixels.mode() == PixelMode::Rgba { PixelMode::Rgba } else { PixelMode::Rgb };
        Canvas { pixels: pixels.into_mode(mode) }
    }

    fn finish(self, options: &ImageOptions) -> Pixels {
        self.pixels.into_mode(crate::map_image::canvas_mode(options))
    }

    fn add(&mut self, layer: Pixels, opacity: Option<f32>) {
        let opacity = opacity.filter(|&opacity| opacity < 1.0).map(|opacity| opacity.max(0.0));
        match (self.pixels.mode(), layer.mode()) {
            (PixelMode::Rgba, PixelMode::Rgba) => {
                let opacity = opacity.map_or(255, |opacity| (255.0 * opacity) as u32);
                self.rows(&layer, |below, above| over(below, above, opacity));
            }
            (PixelMode::Rgba, _) => {
                let layer = layer.into_mode(PixelMode::Rgba);
                match opacity {
                    Some(opacity) => self.rows(&layer, |below, above| over(below, above, (255.0 * opacity) as u32)),
                    None => self.pixels.copy_from(&layer, 0, 0),
                }
            }
            (_, PixelMode::Rgba) => {
                let opacity = opacity.map_or(255, |opacity| (255.0 * opacity) as u32);
                self.rows(&layer, |below, above| paste(below, above, opacity));
            }
            _ => {
                let layer = layer.into_mode(PixelMode::Rgb);
                match opacity {
                    Some(opacity) => self.rows(&layer, |below, above| blend(below, above, opacity)),
                    None => self.pixels.copy_from(&layer, 0, 0),
                }
            }
        }
    }

    /// Calls `work` with each row of the picture and of the layer, as far as both reach.
    fn rows(&mut self, layer: &Pixels, work: impl Fn(&mut [u8], &[u8]) + Sync) {
        use rayon::prelude::*;
        let below = self.pixels.size().width as usize * self.pixels.mode().samples();
        let above = layer.size().width as usize * layer.mode().samples();
        if below == 0 || above == 0 {
            return;
        }
        let rows = self.pixels.data_mut().par_chunks_exact_mut(below).zip(layer.data().par_chunks_exact(above));
        rows.with_min_len(64).for_each(|(below, above)| work(below, above));
    }
}

/// RGBA over RGBA (Porter and Duff's "over", alpha not premultiplied), the upper alpha times `opacity` of 255.
pub(crate) fn over(below: &mut [u8], above: &[u8], opacity: u32) {
    for (below, above) in below.chunks_exact_mut(4).zip(above.chunks_exact(4)) {
        // Cut off, not rounded: Pillow does so when it dims a channel.
        let alpha = u32::from(above[3]) * opacity / 255;
        let ground = u32::from(below[3]);
        match (alpha, ground) {
            (0, _) => {}
            (255, _) | (_, 0) => {
                below[..3].copy_from_slice(&above[..3]);
                below[3] = alpha as u8;
            }
            (_, 255) => {
                for i in 0..3 {
                    below[i] = mix(below[i], above[i], alpha as u8);
                }
            }
            _ => {
                // All in 255ths of 255ths: both weights sum up to `total`.
                let (upper, lower) = (alpha * 255, ground * (255 - alpha));
                let total = upper + lower;
                for i in 0..3 {
                    let sum = u32::from(above[i]) * upper + u32::from(below[i]) * lower;
                    below[i] = ((sum + total / 2) / total) as u8;
                }
                below[3] = ((total + 127) / 255) as u8;
            }
        }
    }
}

/// RGBA over RGB, the alpha times `opacity` of 255.
fn paste(below: &mut [u8], above: &[u8], opacity: u32) {
    for (below, above) in below.chunks_exact_mut(3).zip(above.chunks_exact(4)) {
        match u32::from(above[3]) * opacity / 255 {
            0 => {}
            255 => below.copy_from_slice(&above[..3]),
            alpha => {
                for (below, &above) in below.iter_mut().zip(above) {
                    *below = mix(*below, above, alpha as u8);
                }
            }
        }
    }
}

/// Samples of both by share.
fn blend(below: &mut [u8], above: &[u8], share: f32) {
    for (below, &above) in below.iter_mut().zip(above) {
        let low = f32::from(*below);
        *below = (low + share * (f32::from(above) - low)) as u8;
    }
}

/// `image` (a part of a larger map) on an empty picture of `size`, its upper left corner at `x`, `y`.
///
/// The empty picture is transparent, in the background colour, whatever `options` say of transparency.
pub fn place(
    image: &MapImage,
    x: i64,
    y: i64,
    size: Size,
    options: &Arc<ImageOptions>,
) -> Result<MapImage, ImageError> {
    let Color([r, g, b, _]) = options.bgcolor.unwrap_or(Color::WHITE);
    let mut canvas = Pixels::filled(size, PixelMode::Rgba, Color([r, g, b, 0]));
    let part = Arc::unwrap_or_clone(image.pixels()?).into_mode(PixelMode::Rgba);
    canvas.copy_from(&part, x, y);
    Ok(MapImage::from_pixels(canvas, options.clone()).with_cacheable(image.cacheable()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageFormat;

    const SIZE: Size = Size::new(4, 3);

    fn layer(mode: PixelMode, color: Color, opacity: Option<f32>, size: Size) -> Layer<'static> {
        let options = ImageOptions::new(ImageFormat::png()).with_transparent(mode == PixelMode::Rgba);
        let image =
            MapImage::from_pixels(Pixels::filled(size, mode, color), Arc::new(ImageOptions { opacity, ..options }));
        Layer { image, coverage: None }
    }

    fn merged(layers: Vec<Layer<'_>>, transparent: bool) -> MapImage {
        let options = Arc::new(ImageOptions::new(ImageFormat::png()).with_transparent(transparent));
        let srs = Srs::web_mercator();
        merge(layers, &options, &Frame { size: SIZE, bbox: Bbox::new(0., 0., 4., 3.), srs: &srs }).unwrap()
    }

    #[test]
    fn invisible_pixels_stay_invisible_whatever_the_opacity() {
        let ground = || layer(PixelMode::Rgb, Color::rgb(0, 100, 0), None, SIZE);
        let glass = layer(PixelMode::Rgba, Color::TRANSPARENT, Some(0.5), SIZE);
        assert_eq!(merged(vec![ground(), glass], false).pixels().unwrap().pixel(1, 1), [0, 100, 0, 255]);
        let red = layer(PixelMode::Rgba, Color([200, 0, 0, 255]), Some(0.5), SIZE);
        assert_eq!(merged(vec![ground(), red], false).pixels().unwrap().pixel(1, 1), [100, 50, 0, 255]);
    }

    #[test]
    fn one_fitting_layer_is_returned_as_it_is_and_others_are_laid_on_the_ground() {
        let only = layer(PixelMode::Rgb, Color::rgb(1, 2, 3), None, SIZE);
        let before = only.image.pixels().unwrap();
        assert!(Arc::ptr_eq(&before, &merged(vec![only], true).pixels().unwrap()));
        let small = layer(PixelMode::Rgb, Color::rgb(1, 2, 3), None, Size::new(2, 9));
        let out = merged(vec![small], true).pixels().unwrap();
        assert_eq!((out.size(), out.pixel(1, 2), out.pixel(2, 0)), (SIZE, [1, 2, 3, 255], [255, 255, 255, 0]));
        assert_eq!(merged(vec![], false).pixels().unwrap().single_color(), Some(Color::WHITE));
    }

    #[test]
    fn a_stand_in_makes_the_map_one() {
        let good = layer(PixelMode::Rgb, Color::WHITE, None, SIZE);
        let mut bad = layer(PixelMode::Rgba, Color::TRANSPARENT, None, SIZE);
        bad.image = bad.image.with_cacheable(false);
        assert!(!merged(vec![good.clone(), bad], true).cacheable());
        assert!(merged(vec![good.clone(), good], true).cacheable());
    }

    #[test]
    fn a_part_is_placed_on_a_transparent_map_and_cut_at_its_edges() {
        let part = layer(PixelMode::Rgb, Color::rgb(1, 2, 3), None, Size::new(3, 3)).image;
        let options = Arc::new(ImageOptions::new(ImageFormat::png()));
        let out = place(&part, -1, 2, SIZE, &options).unwrap().pixels().unwrap();
        let row: Vec<_> = (0..4).map(|x| out.pixel(x, 2)[3]).collect();
        assert_eq!((row, out.pixel(0, 1)), (vec![255, 255, 0, 0], [255, 255, 255, 0]));
    }
}
