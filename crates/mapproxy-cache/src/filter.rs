//! What is done to new tiles before they are stored: watermarks.

use mapproxy_grid::TileCoord;
use mapproxy_image::Pixels;
use mapproxy_image::message::{self, WatermarkPlace};

/// Where watermarks lie on the tiles of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spacing {
    /// On each tile: in the centre of even rows, across the side edges in odd rows.
    #[default]
    Narrow,
    /// In the centre of each second tile, as on a chess board.
    Wide,
}

/// `watermark`: a text on the tiles of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    /// Text, size and colour.
    pub style: message::Watermark,
    /// Where it lies.
    pub spacing: Spacing,
}

impl Watermark {
    /// Draws the watermark of tile `coord`.
    pub(crate) fn draw(&self, pixels: &mut Pixels, coord: TileCoord) {
        message::watermark(pixels, &self.style, self.places(coord));
    }

    fn places(&self, coord: TileCoord) -> &'static [WatermarkPlace] {
        let (odd_column, odd_row) = (coord.x % 2 == 1, coord.y % 2 == 1);
        match self.spacing {
            Spacing::Wide if odd_row != odd_column => &[WatermarkPlace::Centre],
            Spacing::Wide => &[],
            Spacing::Narrow if odd_row => &[WatermarkPlace::Left, WatermarkPlace::Right],
            Spacing::Narrow => &[WatermarkPlace::Centre],
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Size;
    use mapproxy_image::{Color, PixelMode};

    use super::*;

    fn drawn(spacing: Spacing, x: u32, y: u32) -> Pixels {
        let style = message::Watermark { text: "@ us".to_owned(), font_size: 24.0, color: Color([0, 0, 0, 128]) };
        let mut pixels = Pixels::filled(Size::new(256, 256), PixelMode::Rgb, Color::WHITE);
        Watermark { style, spacing }.draw(&mut pixels, TileCoord::new(x, y, 3));
        pixels
    }

    fn has_ink(pixels: &Pixels, columns: std::ops::Range<u32>) -> bool {
        columns.into_iter().any(|x| (0..256).any(|y| pixels.pixel(x, y) != [255, 255, 255, 255]))
    }

    #[test]
    fn a_narrow_watermark_alternates_between_centre_and_edges_by_row() {
        let even = drawn(Spacing::Narrow, 0, 2);
        assert!(has_ink(&even, 100..156) && !has_ink(&even, 0..60) && !has_ink(&even, 196..256));
        let odd = drawn(Spacing::Narrow, 0, 3);
        assert!(!has_ink(&odd, 100..156) && has_ink(&odd, 0..60) && has_ink(&odd, 196..256));
    }

    #[test]
    fn a_wide_watermark_lies_on_each_second_tile() {
        assert!(has_ink(&drawn(Spacing::Wide, 0, 1), 0..256));
        assert!(has_ink(&drawn(Spacing::Wide, 1, 0), 0..256));
        assert!(!has_ink(&drawn(Spacing::Wide, 0, 0), 0..256));
        assert!(!has_ink(&drawn(Spacing::Wide, 1, 1), 0..256));
    }
}
