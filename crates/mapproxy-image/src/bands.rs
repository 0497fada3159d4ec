//! Pictures made of bands of others: false colours, greys, one picture's alpha from another's.

use std::sync::Arc;

use crate::{ImageError, PixelMode, Pixels};

/// A band of a source that goes into a band of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandPart {
    /// The band of the picture: 0 to 3 for red (or grey), green, blue, alpha.
    pub target: u8,
    /// Which of the sources.
    pub source: usize,
    /// Its band, 0 to 3. A grey picture has equal bands 0 to 2; without alpha, band 3 is opaque.
    pub band: u8,
    /// That much of it is added to what is there; exactly 1 replaces what is there.
    pub factor: f64,
}

/// How a picture is made of bands of others.
#[derive(Clone, Debug, PartialEq)]
pub struct BandMerge {
    /// What the picture has.
    pub mode: PixelMode,
    /// What goes where, in this order.
    pub parts: Vec<BandPart>,
}

impl BandMerge {
    /// The picture. Bands that nothing goes into are 0, an alpha is opaque.
    ///
    /// The sources must be equally large. A sum of products is cut off after each step, as MapProxy's: products lose
    /// their fraction, and nothing is below 0 or above 255.
    pub fn merge(&self, sources: &[Arc<Pixels>]) -> Result<Pixels, ImageError> {
        let unequal = || ImageError::Decode("pictures whose bands are merged differ in size".to_owned());
        let size = sources.first().map(|source| source.size()).ok_or_else(unequal)?;
        if sources.iter().any(|source| source.size() != size) {
            return Err(unequal());
        }
        let samples = self.mode.samples();
        let mut data = vec![0; size.pixels() as usize * samples];
        if self.mode == PixelMode::Rgba && !self.parts.iter().any(|part| part.target == 3) {
            data.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
        }
        for part in &self.parts {
            let target = usize::from(part.target);
            let Some(source) = sources.get(part.source).filter(|_| target < samples) else { continue };
            let targets = data.iter_mut().skip(target).step_by(samples);
            let table = part.table();
            let replaces = part.factor == 1.0;
            let put = |(to, value): (&mut u8, u8)| {
                let value = table[usize::from(value)];
                *to = if replaces { value } else { to.saturating_add(value) };
            };
            match band_in(source.mode(), part.band) {
                Some(band) => {
                    let values = source.data().iter().skip(band).step_by(source.mode().samples());
                    targets.zip(values.copied()).for_each(put);
                }
                None => targets.map(|to| (to, 255)).for_each(put),
            }
        }
        Ok(Pixels::new(size, self.mode, data))
    }
}

impl BandPart {
    /// Each value times the factor.
    fn table(&self) -> [u8; 256] {
        // Casts from floats are cut off at both ends.
        std::array::from_fn(|value| (value as f64 * self.factor) as u8)
    }
}

/// Which sample of a pixel a band is; `None`: an alpha that is not there.
fn band_in(mode: PixelMode, band: u8) -> Option<usize> {
    match (mode, band) {
        (PixelMode::L, 0..3) => Some(0),
        (PixelMode::L | PixelMode::Rgb, 3..) => None,
        (PixelMode::Rgb | PixelMode::Rgba, band) => Some(usize::from(band.min(3))),
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Size;

    use super::*;
    use crate::Color;

    const RGB: PixelMode = PixelMode::Rgb;
    const RGBA: PixelMode = PixelMode::Rgba;

    fn merged(mode: PixelMode, parts: &[(u8, usize, u8, f64)]) -> [u8; 4] {
        let filled = |mode, color| Arc::new(Pixels::filled(Size::new(4, 3), mode, color));
        let sources = [
            filled(RGB, Color::rgb(101, 150, 200)),
            filled(RGBA, Color([10, 20, 30, 77])),
            filled(PixelMode::L, Color::rgb(99, 99, 99)),
        ];
        let part = |&(target, source, band, factor): &(u8, usize, u8, f64)| BandPart { target, source, band, factor };
        let merge = BandMerge { mode, parts: parts.iter().map(part).collect() };
        let picture = merge.merge(&sources).unwrap();
        assert_eq!((picture.size(), picture.mode()), (Size::new(4, 3), mode));
        picture.single_color().unwrap().0
    }

    /// Values that MapProxy 7.0.0 made of the same pictures.
    #[test]
    fn values_are_those_of_the_reference() {
        let one = |parts: &[(u8, usize, u8, f64)]| merged(RGB, parts)[0];
        assert_eq!(merged(RGB, &[(0, 0, 2, 1.0), (1, 0, 1, 1.0), (2, 0, 0, 1.0)]), [200, 150, 101, 255]);
        assert_eq!(merged(RGB, &[(0, 0, 2, 1.0)]), [200, 0, 0, 255]);
        assert_eq!(merged(RGBA, &[(0, 0, 2, 1.0)]), [200, 0, 0, 255]);
        assert_eq!(merged(RGBA, &[(3, 1, 3, 1.0), (0, 0, 0, 1.0)]), [101, 0, 0, 77]);
        assert_eq!(one(&[(0, 0, 0, 0.5), (0, 0, 1, 0.333)]), 99);
        assert_eq!(one(&[(0, 0, 0, 0.5), (0, 0, 1, 1.0)]), 150);
        assert_eq!(one(&[(0, 0, 1, 1.0), (0, 0, 0, 0.5)]), 200);
        assert_eq!(one(&[(0, 0, 0, 3.0), (0, 0, 1, 0.5)]), 255);
        assert_eq!(one(&[(0, 0, 0, -0.5), (0, 0, 1, 0.5)]), 75);
        assert_eq!(one(&[(0, 0, 3, 1.0)]), 255);
        assert_eq!(one(&[(0, 0, 0, 0.0)]), 0);
        assert_eq!(merged(PixelMode::L, &[(0, 0, 0, 0.21), (0, 0, 1, 0.72), (0, 0, 2, 0.07)])[0], 143);
    }

    #[test]
    fn a_grey_picture_has_equal_colours() {
        assert_eq!(merged(RGBA, &[(0, 2, 0, 1.0), (1, 2, 1, 1.0), (2, 2, 2, 0.5), (3, 2, 3, 0.5)]), [99, 99, 49, 127]);
    }

    #[test]
    fn pictures_of_different_sizes_are_refused() {
        let filled = |width| Arc::new(Pixels::filled(Size::new(width, 3), RGB, Color::WHITE));
        let merge = BandMerge { mode: RGB, parts: Vec::new() };
        assert!(merge.merge(&[filled(3), filled(4)]).is_err());
        assert!(merge.merge(&[]).is_err());
        assert_eq!(merge.merge(&[filled(3)]).unwrap().single_color(), Some(Color::rgb(0, 0, 0)));
    }
}
