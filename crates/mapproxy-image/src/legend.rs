//! Legends of several layers as one picture.

use std::sync::Arc;

use mapproxy_grid::Size;

use crate::{Color, ImageError, ImageOptions, MapImage, PixelMode, Pixels};

/// Pixels of the largest legend that is put together.
const MAX_PIXELS: u64 = 1 << 26;

/// Pictures below each other, from the top, each at the left edge of a transparent picture as wide as the widest. One
/// alone stays as it is. Not cacheable if one is not.
pub fn stack(pictures: Vec<MapImage>, options: &Arc<ImageOptions>) -> Result<MapImage, ImageError> {
    let cacheable = pictures.iter().all(MapImage::cacheable);
    let size = stacked_size(&pictures.iter().map(MapImage::size).collect::<Result<Vec<_>, _>>()?);
    if size.pixels() > MAX_PIXELS {
        return Err(ImageError::TooLarge { size, limit: MAX_PIXELS });
    }
    let mut pictures = pictures.into_iter();
    let first = match (pictures.len(), pictures.next()) {
        (1, Some(only)) => return Ok(only),
        (_, first) => first,
    };
    let mut canvas = Pixels::filled(size, PixelMode::Rgba, Color([255, 255, 255, 0]));
    let mut row = 0;
    for picture in first.into_iter().chain(pictures) {
        let pixels = picture.into_pixels()?.into_mode(PixelMode::Rgba);
        canvas.copy_from(&pixels, 0, row);
        row += i64::from(pixels.size().height);
    }
    Ok(MapImage::from_pixels(canvas, Arc::clone(options)).with_cacheable(cacheable))
}

/// The size of pictures below each other.
pub fn stacked_size(sizes: &[Size]) -> Size {
    let width = sizes.iter().map(|size| size.width).max().unwrap_or(1);
    let height = sizes.iter().fold(0u32, |height, size| height.saturating_add(size.height));
    Size::new(width.max(1), height.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageFormat;

    fn picture(width: u32, height: u32, color: Color) -> MapImage {
        let options = Arc::new(ImageOptions::new(ImageFormat::png()));
        MapImage::from_pixels(Pixels::filled(Size::new(width, height), PixelMode::Rgb, color), options)
    }

    #[test]
    fn pictures_come_below_each_other_on_transparent_ground() {
        let (red, blue) = (Color::rgb(255, 0, 0), Color::rgb(0, 0, 255));
        let options = Arc::new(ImageOptions::new(ImageFormat::png()));
        let stacked = stack(vec![picture(4, 2, red), picture(2, 3, blue).with_cacheable(false)], &options).unwrap();
        assert!(!stacked.cacheable());
        let pixels = stacked.pixels().unwrap();
        assert_eq!(pixels.size(), Size::new(4, 5));
        assert_eq!((pixels.pixel(3, 1), pixels.pixel(1, 4)), ([255, 0, 0, 255], [0, 0, 255, 255]));
        assert_eq!(pixels.pixel(3, 2)[3], 0);
    }

    #[test]
    fn one_stays_and_too_many_are_refused() {
        let options = Arc::new(ImageOptions::new(ImageFormat::png()));
        let only = stack(vec![picture(4, 2, Color::WHITE)], &options).unwrap();
        assert_eq!((only.size().unwrap(), only.mode().unwrap()), (Size::new(4, 2), PixelMode::Rgb));
        let tall = || picture(1, 1 << 20, Color::WHITE);
        let wide = picture(100, 1, Color::WHITE);
        assert!(matches!(stack(vec![tall(), tall(), wide], &options), Err(ImageError::TooLarge { .. })));
        assert_eq!(stack(vec![], &options).unwrap().size().unwrap(), Size::new(1, 1));
    }
}
