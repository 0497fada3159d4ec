//! Decoded pictures: rows of 8-bit samples.

use mapproxy_grid::Size;

use crate::Color;

/// Samples of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelMode {
    /// Grey.
    L,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba,
}

impl PixelMode {
    /// Bytes a pixel.
    pub const fn samples(self) -> usize {
        match self {
            PixelMode::L => 1,
            PixelMode::Rgb => 3,
            PixelMode::Rgba => 4,
        }
    }
}

/// A decoded picture, row-wise from the top, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    size: Size,
    mode: PixelMode,
    data: Vec<u8>,
}

impl Pixels {
    /// Wraps samples. Panics if `data` has not `size` times `mode.samples()` bytes.
    pub fn new(size: Size, mode: PixelMode, data: Vec<u8>) -> Self {
        assert_eq!(data.len() as u64, size.pixels() * mode.samples() as u64, "sample count of {size} {mode:?}");
        Pixels { size, mode, data }
    }
    /// One colour all over; alpha counts in `Rgba` only.
    pub fn filled(size: Size, mode: PixelMode, color: Color) -> Self {
        let Color([r, g, b, a]) = color;
        let data = match mode {
            PixelMode::L => vec![
                ((u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1000) as u8;
                size.pixels() as usize
            ],
            PixelMode::Rgb => [r, g, b].repeat(size.pixels() as usize),
            PixelMode::Rgba => [r, g, b, a].repeat(size.pixels() as usize),
        };
        Pixels { size, mode, data }
    }
    /// Columns and rows.
    pub fn size(&self) -> Size {
        self.size
    }
    /// Kind of the samples.
    pub fn mode(&self) -> PixelMode {
        self.mode
    }
    /// The samples.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
    /// The samples, to change.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
    /// The samples, to keep.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
    /// The pixel at a column and row, as RGBA. Panics outside.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 4] {
        let at = (y as usize * self.size.width as usize + x as usize) * self.mode.samples();
        match (self.mode, &self.data[at..at + self.mode.samples()]) {
            (PixelMode::L, p) => [p[0], p[0], p[0], 255],
            (PixelMode::Rgb, p) => [p[0], p[1], p[2], 255],
            (PixelMode::Rgba, p) => [p[0], p[1], p[2], p[3]],
        }
    }
    /// The same picture with other samples; no copy where it has them already.
    pub fn into_mode(self, mode: PixelMode) -> Pixels {
        let _ = mode;
        todo!()
    }
    /// Rows and columns cut out; the part beyond the picture is `fill`.
    pub fn crop(&self, x: i64, y: i64, size: Size, fill: Color) -> Pixels {
        let _ = (x, y, size, fill);
        todo!()
    }
    /// The only colour of the picture, if all pixels have it.
    pub fn single_color(&self) -> Option<Color> {
        todo!()
    }
    /// Some pixel is not opaque.
    pub fn has_transparency(&self) -> bool {
        todo!()
    }
    /// Pixels whose samples all lie within `tolerance` of `color` become transparent (`transparent_color`).
    pub fn make_transparent(self, color: Color, tolerance: u8) -> Pixels {
        let _ = (color, tolerance);
        todo!()
    }
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({} {:?})", self.size, self.mode)
    }
}
