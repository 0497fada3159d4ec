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
    /// The same picture with other samples; no copy where it has them already. Alpha is dropped, not composed: see
    /// [`Pixels::flatten`].
    pub fn into_mode(self, mode: PixelMode) -> Pixels {
        use PixelMode::{L, Rgb, Rgba};
        let data = &self.data;
        let data = match (self.mode, mode) {
            (from, to) if from == to => return self,
            (L, Rgb) => data.iter().flat_map(|&v| [v, v, v]).collect(),
            (L, Rgba) => data.iter().flat_map(|&v| [v, v, v, 255]).collect(),
            (Rgb, Rgba) => {
                let mut out = vec![255; data.len() / 3 * 4];
                for (to, from) in out.chunks_exact_mut(4).zip(data.chunks_exact(3)) {
                    to[..3].copy_from_slice(from);
                }
                out
            }
            (Rgba, Rgb) => {
                let mut out = vec![0; data.len() / 4 * 3];
                for (to, from) in out.chunks_exact_mut(3).zip(data.chunks_exact(4)) {
                    to.copy_from_slice(&from[..3]);
                }
                out
            }
            (Rgb, L) => data.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect(),
            (Rgba, L) => data.chunks_exact(4).map(|p| luma(p[0], p[1], p[2])).collect(),
            (L, L) | (Rgb, Rgb) | (Rgba, Rgba) => unreachable!("equal modes returned above"),
        };
        Pixels { size: self.size, mode, data }
    }
    /// Without alpha: composed over the colour of `ground`. No copy where there is no alpha.
    pub fn flatten(self, ground: Color) -> Pixels {
        if self.mode != PixelMode::Rgba {
            return self;
        }
        let Color([r, g, b, _]) = ground;
        let mut out = vec![0; self.data.len() / 4 * 3];
        for (to, from) in out.chunks_exact_mut(3).zip(self.data.chunks_exact(4)) {
            match from[3] {
                255 => to.copy_from_slice(&from[..3]),
                alpha => {
                    for (to, (&above, below)) in to.iter_mut().zip(from.iter().zip([r, g, b])) {
                        *to = mix(below, above, alpha);
                    }
                }
            }
        }
        Pixels { size: self.size, mode: PixelMode::Rgb, data: out }
    }
    /// Rows and columns cut out; the part beyond the picture is `fill`.
    pub fn crop(&self, x: i64, y: i64, size: Size, fill: Color) -> Pixels {
        let inside = x >= 0
            && y >= 0
            && x.saturating_add(i64::from(size.width)) <= i64::from(self.size.width)
            && y.saturating_add(i64::from(size.height)) <= i64::from(self.size.height);
        if inside {
            let samples = self.mode.samples();
            let (stride, width) = (self.size.width as usize * samples, size.width as usize * samples);
            let mut data = Vec::with_capacity(width * size.height as usize);
            for row in 0..size.height as usize {
                let start = (y as usize + row) * stride + x as usize * samples;
                data.extend_from_slice(&self.data[start..start + width]);
            }
            return Pixels { size, mode: self.mode, data };
        }
        let mut out = Pixels::filled(size, self.mode, fill);
        out.copy_from(self, x.saturating_neg(), y.saturating_neg());
        out
    }
    /// Copies `from` with its upper left corner to `x`, `y`; what does not fit is left out. Samples replace those
    /// below, alpha included. Panics where the modes differ.
    pub(crate) fn copy_from(&mut self, from: &Pixels, x: i64, y: i64) {
        assert_eq!(self.mode, from.mode, "modes of pictures to copy");
        let samples = self.mode.samples();
        let Some((to_x, from_x, columns)) = overlap(x, self.size.width, from.size.width) else { return };
        let Some((to_y, from_y, rows)) = overlap(y, self.size.height, from.size.height) else { return };
        let (to_stride, from_stride) = (self.size.width as usize * samples, from.size.width as usize * samples);
        for row in 0..rows {
            let to = (to_y + row) * to_stride + to_x * samples;
            let source = (from_y + row) * from_stride + from_x * samples;
            self.data[to..to + columns * samples].copy_from_slice(&from.data[source..source + columns * samples]);
        }
    }
    /// The only colour of the picture, if all pixels have it.
    pub fn single_color(&self) -> Option<Color> {
        if self.data.is_empty() {
            return None;
        }
        // Equal to itself shifted by a pixel: compared as whole slices, which the library does with memcmp.
        let samples = self.mode.samples();
        let same = self.data[samples..] == self.data[..self.data.len() - samples];
        same.then(|| Color(self.pixel(0, 0)))
    }
    /// Some pixel is not opaque.
    pub fn has_transparency(&self) -> bool {
        self.mode == PixelMode::Rgba
            && self.data.chunks(4096).any(|block| block.chunks_exact(4).fold(255, |all, p| all & p[3]) != 255)
    }
    /// Pixels whose samples all lie within `tolerance` of `color` become transparent (`transparent_color`).
    pub fn make_transparent(self, color: Color, tolerance: u8) -> Pixels {
        let Color([r, g, b, _]) = color;
        let mut out = self.into_mode(PixelMode::Rgba);
        for p in out.data.chunks_exact_mut(4) {
            if p[0].abs_diff(r) <= tolerance && p[1].abs_diff(g) <= tolerance && p[2].abs_diff(b) <= tolerance {
                p[3] = 0;
            }
        }
        out
    }
}

/// ITU-R BT.601 brightness, rounded.
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// `a * b / 255`, rounded, for 0 to 255.
pub(crate) fn mul_255(a: u32, b: u32) -> u32 {
    let product = a * b + 128;
    (product + (product >> 8)) >> 8
}

/// `above` with `alpha` over an opaque `below`.
pub(crate) fn mix(below: u8, above: u8, alpha: u8) -> u8 {
    let sum = u32::from(above) * u32::from(alpha) + u32::from(below) * (255 - u32::from(alpha)) + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

/// Where `from` pixels placed at `at` meet `to` pixels: first of `to`, first of `from`, and how many.
fn overlap(at: i64, to: u32, from: u32) -> Option<(usize, usize, usize)> {
    let start = at.max(0);
    let end = at.saturating_add(i64::from(from)).min(i64::from(to));
    (start < end).then(|| (start as usize, (start - at) as usize, (end - start) as usize))
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({} {:?})", self.size, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(mode: PixelMode) -> Pixels {
        let size = Size::new(5, 4);
        let data = (0..size.pixels() as usize * mode.samples()).map(|i| (i * 7) as u8).collect();
        Pixels::new(size, mode, data)
    }

    #[test]
    fn crop_reaching_beyond_the_picture_is_filled() {
        let pixels = ramp(PixelMode::Rgb);
        let out = pixels.crop(-1, 2, Size::new(3, 4), Color([1, 2, 3, 255]));
        assert_eq!(out.pixel(0, 0), [1, 2, 3, 255]);
        assert_eq!(out.pixel(1, 0), pixels.pixel(0, 2));
        assert_eq!(out.pixel(2, 1), pixels.pixel(1, 3));
        assert_eq!(out.pixel(2, 2), [1, 2, 3, 255]);
        let far = pixels.crop(i64::MAX, i64::MIN, Size::new(2, 2), Color::WHITE);
        assert_eq!(far.single_color(), Some(Color::WHITE));
    }

    #[test]
    fn crop_inside_equals_crop_with_fill() {
        let pixels = ramp(PixelMode::Rgba);
        let out = pixels.crop(1, 1, Size::new(3, 2), Color::WHITE);
        for (x, y) in [(0, 0), (2, 1)] {
            assert_eq!(out.pixel(x, y), pixels.pixel(x + 1, y + 1));
        }
    }

    #[test]
    fn modes_convert_there_and_back() {
        for (a, b) in
            [(PixelMode::L, PixelMode::Rgb), (PixelMode::L, PixelMode::Rgba), (PixelMode::Rgb, PixelMode::Rgba)]
        {
            let pixels = ramp(a);
            assert!(pixels.clone().into_mode(b).into_mode(a) == pixels, "{a:?} {b:?}");
        }
    }

    #[test]
    fn one_different_pixel_is_not_a_single_color() {
        let mut pixels = Pixels::filled(Size::new(40, 30), PixelMode::Rgb, Color::rgb(10, 20, 30));
        assert_eq!(pixels.single_color(), Some(Color::rgb(10, 20, 30)));
        *pixels.data_mut().last_mut().unwrap() = 31;
        assert_eq!(pixels.single_color(), None);
    }

    #[test]
    fn tolerance_counts_each_sample_and_includes_its_bound() {
        let row = [[100, 100, 100], [105, 95, 100], [106, 100, 100], [94, 100, 100]];
        let pixels = Pixels::new(Size::new(4, 1), PixelMode::Rgb, row.concat());
        let out = pixels.make_transparent(Color::rgb(100, 100, 100), 5);
        assert_eq!([0, 1, 2, 3].map(|x| out.pixel(x, 0)[3]), [0, 0, 255, 255]);
        assert!(out.has_transparency());
    }

    #[test]
    fn flatten_composes_over_the_ground() {
        let data = vec![255, 0, 0, 128, 9, 9, 9, 0, 7, 8, 9, 255];
        let out = Pixels::new(Size::new(3, 1), PixelMode::Rgba, data).flatten(Color::WHITE);
        assert_eq!([0, 1, 2].map(|x| out.pixel(x, 0)), [[255, 127, 127, 255], [255, 255, 255, 255], [7, 8, 9, 255]]);
    }
}
