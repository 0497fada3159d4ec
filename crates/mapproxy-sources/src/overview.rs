//! Overviews: pictures of half the width and height.

use mapproxy_grid::Size;
use mapproxy_image::{PixelMode, Pixels};

/// The picture with 2×2 pixels made one, by their mean; colours count by their alpha. An odd last column or row is the
/// mean of what there is.
pub(crate) fn half(pixels: &Pixels) -> Pixels {
    match pixels.mode() {
        PixelMode::L => shrunk::<1>(pixels, mean),
        PixelMode::Rgb => shrunk::<3>(pixels, mean),
        PixelMode::Rgba => shrunk::<4>(pixels, mean_by_alpha),
    }
}

fn shrunk<const N: usize>(pixels: &Pixels, mean: impl Fn([[u8; N]; 4]) -> [u8; N]) -> Pixels {
    let Size { width, height } = pixels.size();
    let size = Size::new(width.div_ceil(2), height.div_ceil(2));
    let mut data = Vec::with_capacity(size.pixels() as usize * N);
    let stride = width as usize * N;
    for row in (0..height as usize).step_by(2) {
        let upper = &pixels.data()[row * stride..][..stride];
        let lower = if row + 1 < height as usize { &pixels.data()[(row + 1) * stride..][..stride] } else { upper };
        let (upper, _) = upper.as_chunks::<N>();
        let (lower, _) = lower.as_chunks::<N>();
        for (upper, lower) in upper.chunks(2).zip(lower.chunks(2)) {
            let last = upper.len() - 1;
            data.extend(mean([upper[0], upper[last], lower[0], lower[last]]));
        }
    }
    Pixels::new(size, pixels.mode(), data)
}

fn mean<const N: usize>(four: [[u8; N]; 4]) -> [u8; N] {
    std::array::from_fn(|sample| ((four.iter().map(|pixel| u32::from(pixel[sample])).sum::<u32>() + 2) / 4) as u8)
}

fn mean_by_alpha(four: [[u8; 4]; 4]) -> [u8; 4] {
    let alpha: u32 = four.iter().map(|pixel| u32::from(pixel[3])).sum();
    if alpha == 0 {
        return mean(four);
    }
    let sample = |at: usize| {
        let sum: u32 = four.iter().map(|pixel| u32::from(pixel[at]) * u32::from(pixel[3])).sum();
        ((sum + alpha / 2) / alpha) as u8
    };
    [sample(0), sample(1), sample(2), ((alpha + 2) / 4) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_pixels_become_their_mean() {
        let grey = Pixels::new(Size::new(3, 3), PixelMode::L, vec![0, 100, 8, 100, 200, 9, 20, 40, 7]);
        let half = half(&grey);
        assert_eq!((half.size(), half.data()), (Size::new(2, 2), [100, 9, 30, 7].as_slice()));
    }

    #[test]
    fn transparent_pixels_lend_no_colour() {
        let data = vec![200, 0, 0, 255, 0, 255, 255, 0, 200, 0, 0, 255, 9, 9, 9, 0];
        let half = half(&Pixels::new(Size::new(2, 2), PixelMode::Rgba, data));
        assert_eq!(half.data(), [200, 0, 0, 128]);
    }
}
