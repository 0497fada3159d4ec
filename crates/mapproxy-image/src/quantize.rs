//! Palettes: exact where the picture has few colours, otherwise from a cube of colour cells.
//!
//! The cube counts pixels in cells of equal colour range (16 or 32 steps a sample). While there are more occupied cells
//! than colours wanted, neighbouring ones share a colour: boxes of cells are split where their colours vary most
//! (the idea of Heckbert's median cut, 1982, with Wu's variance as the criterion, 1991). Coarse cells keep drawn maps
//! small: shades of one antialiased edge fall together, which deflate rewards.

use rustc_hash::FxHasher;
use std::hash::Hasher;

use crate::options::Quantizer;
use crate::{Color, PixelMode, Pixels};

/// A picture by indices into a palette.
#[derive(Debug)]
pub(crate) struct Paletted {
    /// RGBA, at most 256, at least 1.
    pub(crate) palette: Vec<[u8; 4]>,
    /// One a pixel, row-wise.
    pub(crate) indices: Vec<u8>,
}

/// The picture with at most `colors` (2 to 256) colours. Without `alpha` it is composed over `ground` first.
pub(crate) fn palette(pixels: &Pixels, colors: usize, alpha: bool, ground: Color, quantizer: Quantizer) -> Paletted {
    let held;
    let pixels = if pixels.mode() == PixelMode::Rgba && !alpha {
        held = pixels.clone().flatten(ground);
        &held
    } else {
        pixels
    };
    if let Some(exact) = exact(pixels, colors) {
        return exact;
    }
    match (pixels.mode(), quantizer) {
        (PixelMode::L, _) => grey(pixels, colors),
        (PixelMode::Rgb, Quantizer::FastOctree) => cube::<3, Opaque<4>>(pixels, colors),
        (PixelMode::Rgb, Quantizer::MedianCut) => cube::<3, Opaque<5>>(pixels, colors),
        (PixelMode::Rgba, Quantizer::FastOctree) => cube::<4, Translucent>(pixels, colors),
        (PixelMode::Rgba, Quantizer::MedianCut) => cube::<4, OnOff>(pixels, colors),
    }
}

/// The colours as they are, or `None` as soon as there are too many.
fn exact(pixels: &Pixels, colors: usize) -> Option<Paletted> {
    match pixels.mode() {
        PixelMode::L => exact_of(pixels, colors, |p: [u8; 1]| u32::from_le_bytes([p[0], p[0], p[0], 255])),
        PixelMode::Rgb => exact_of(pixels, colors, |p: [u8; 3]| u32::from_le_bytes([p[0], p[1], p[2], 255])),
        PixelMode::Rgba => exact_of(pixels, colors, u32::from_le_bytes),
    }
}

#[inline(always)]
fn exact_of<const N: usize>(pixels: &Pixels, colors: usize, key: impl Fn([u8; N]) -> u32) -> Option<Paletted> {
    const SLOTS: usize = 1024;
    const EMPTY: u16 = u16::MAX;
    let mut table = [(0u32, EMPTY); SLOTS];
    let mut palette: Vec<u32> = Vec::with_capacity(colors);
    let (data, _) = pixels.data().as_chunks::<N>();
    let mut indices = vec![0; data.len()];
    each_run(data, |pixel, run| {
        let color = key(pixel);
        let mut hasher = FxHasher::default();
        hasher.write_u32(color);
        let mut slot = hasher.finish() as usize % SLOTS;
        let index = loop {
            match table[slot] {
                (_, EMPTY) => {
                    if palette.len() == colors {
                        return None;
                    }
                    table[slot] = (color, palette.len() as u16);
                    palette.push(color);
                }
                (held, at) if held == color => break at as u8,
                _ => slot = (slot + 1) % SLOTS,
            }
        };
        indices[run].fill(index);
        Some(())
    })?;
    let palette: Vec<_> = palette.into_iter().map(u32::to_le_bytes).collect();
    (!palette.is_empty()).then_some(Paletted { palette, indices })
}

/// Gives pixels and where each follows itself, looked at eight at once, until told to stop. Where few neighbours are
/// equal, as in photos, each pixel is a run: to look costs more than it saves.
#[inline(always)]
fn each_run<const N: usize>(
    data: &[[u8; N]],
    mut run: impl FnMut([u8; N], std::ops::Range<usize>) -> Option<()>,
) -> Option<()> {
    let (mut pairs, mut equal) = (0, 0);
    for part in data.chunks(64).step_by(61) {
        pairs += part.len() - 1;
        equal += part.windows(2).filter(|pair| pair[0] == pair[1]).count();
    }
    if equal * 8 < pairs * 7 {
        return data.iter().enumerate().try_for_each(|(at, pixel)| run(*pixel, at..at + 1));
    }
    let mut start = 0;
    while let Some((&pixel, rest)) = data.get(start..).and_then(<[_]>::split_first) {
        let mut end = start + 1;
        if rest.first() == Some(&pixel) {
            let many = [pixel; 8];
            end += rest.as_chunks::<8>().0.iter().take_while(|next| **next == many).count() * many.len();
            end += data[end..].iter().take_while(|next| **next == pixel).count();
        }
        run(pixel, start..end)?;
        start = end;
    }
    Some(())
}

/// Fewer greys, evenly spread.
fn grey(pixels: &Pixels, colors: usize) -> Paletted {
    let levels = colors.max(2) as u32;
    let palette = (0..levels).map(|i| (i * 255 / (levels - 1)) as u8).map(|v| [v, v, v, 255]).collect();
    let indices = pixels.data().iter().map(|&v| ((u32::from(v) * (levels - 1) + 127) / 255) as u8).collect();
    Paletted { palette, indices }
}

/// How samples fall into cells.
trait Cells<const N: usize> {
    /// Cells of the cube.
    const COUNT: usize;
    /// The cell of a pixel.
    fn cell(pixel: [u8; N]) -> usize;
    /// RGBA of a pixel as it counts.
    fn color(pixel: [u8; N]) -> [u8; 4];
}

/// No alpha, so many bits a sample.
struct Opaque<const BITS: u32>;

impl<const BITS: u32> Cells<3> for Opaque<BITS> {
    const COUNT: usize = 1 << (3 * BITS);
    #[inline(always)]
    fn cell([r, g, b]: [u8; 3]) -> usize {
        let part = |v: u8| usize::from(v >> (8 - BITS));
        part(r) << (2 * BITS) | part(g) << BITS | part(b)
    }
    #[inline(always)]
    fn color([r, g, b]: [u8; 3]) -> [u8; 4] {
        [r, g, b, 255]
    }
}

/// Four bits of each sample and of alpha. Of an invisible pixel only its alpha counts.
struct Translucent;

impl Cells<4> for Translucent {
    const COUNT: usize = 1 << 16;
    #[inline(always)]
    fn cell([r, g, b, a]: [u8; 4]) -> usize {
        let [r, g, b] = if a == 0 { [255; 3] } else { [r, g, b] };
        // Full opacity has a cell of its own, so that opaque pixels stay so.
        let alpha = if a == 255 { 15 } else { usize::from(a) * 15 / 255 };
        usize::from(r >> 4) << 12 | usize::from(g >> 4) << 8 | usize::from(b >> 4) << 4 | alpha
    }
    #[inline(always)]
    fn color(pixel: [u8; 4]) -> [u8; 4] {
        if pixel[3] == 0 { [255, 255, 255, 0] } else { pixel }
    }
}

/// Five bits of each sample; a pixel is opaque or not at all.
struct OnOff;

impl Cells<4> for OnOff {
    const COUNT: usize = 1 << 16;
    #[inline(always)]
    fn cell([r, g, b, a]: [u8; 4]) -> usize {
        if a <= 128 { 0 } else { 1 << 15 | Opaque::<5>::cell([r, g, b]) }
    }
    #[inline(always)]
    fn color([r, g, b, a]: [u8; 4]) -> [u8; 4] {
        if a <= 128 { [255, 255, 255, 0] } else { [r, g, b, 255] }
    }
}

/// Pixels of a cell: how many, and the sums of their samples.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: u32,
    samples: [u32; 4],
}

/// An occupied cell.
#[derive(Clone, Copy)]
struct Entry {
    cell: u32,
    count: f32,
    mean: [f32; 4],
}

fn cube<const N: usize, C: Cells<N>>(pixels: &Pixels, colors: usize) -> Paletted {
    let (data, _) = pixels.data().as_chunks::<N>();
    let mut entries = occupied::<N, C>(data);
    let boxes = split(&mut entries, colors);
    let mut lookup = vec![0u8; C::COUNT];
    let mut palette = Vec::with_capacity(boxes.len());
    for range in boxes {
        let members = &entries[range];
        for entry in members {
            lookup[entry.cell as usize] = palette.len() as u8;
        }
        let color = Moments::of(members).mean().map(|v| v.round() as u8);
        palette.push(color);
    }
    let mut indices = vec![0; data.len()];
    each_run(data, |pixel, run| {
        indices[run].fill(lookup[C::cell(pixel)]);
        Some(())
    });
    Paletted { palette, indices }
}

/// Counts pixels by cell. In blocks, since sums of more than 2^24 pixels would not fit.
fn occupied<const N: usize, C: Cells<N>>(data: &[[u8; N]]) -> Vec<Entry> {
    let mut cells = vec![Sums::default(); C::COUNT];
    let mut entries: Vec<Entry> = Vec::new();
    for (block, pixels) in data.chunks(1 << 24).enumerate() {
        if block > 0 {
            cells.fill(Sums::default());
        }
        each_run(pixels, |pixel, run| {
            // No more than the pixels of a block.
            let count = run.len() as u32;
            let sums = &mut cells[C::cell(pixel)];
            sums.count += count;
            for (sum, value) in sums.samples.iter_mut().zip(C::color(pixel)) {
                *sum += count * u32::from(value);
            }
            Some(())
        });
        for (cell, sums) in cells.iter().enumerate().filter(|(_, sums)| sums.count > 0) {
            let count = sums.count as f32;
            entries.push(Entry { cell: cell as u32, count, mean: sums.samples.map(|sum| sum as f32 / count) });
        }
    }
    entries
}

/// Weighted sums over cells.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: [f64; 4],
    square: [f64; 4],
}

impl Moments {
    fn of(entries: &[Entry]) -> Moments {
        let mut all = Moments::default();
        for entry in entries {
            let count = f64::from(entry.count);
            all.count += count;
            for i in 0..4 {
                let mean = f64::from(entry.mean[i]);
                all.sum[i] += count * mean;
                all.square[i] += count * mean * mean;
            }
        }
        all
    }
    fn mean(&self) -> [f64; 4] {
        self.sum.map(|sum| sum / self.count)
    }
    /// The sample that varies most, and its squared error.
    fn widest(&self) -> (usize, f64) {
        let error = |i: usize| self.square[i] - self.sum[i] * self.sum[i] / self.count;
        (0..4).map(|i| (i, error(i))).fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best })
    }
}

/// Sorts the cells into at most `colors` neighbouring groups.
fn split(entries: &mut [Entry], colors: usize) -> Vec<std::ops::Range<usize>> {
    struct Part {
        range: std::ops::Range<usize>,
        axis: usize,
        error: f64,
        mean: f64,
    }
    fn part(entries: &[Entry], range: std::ops::Range<usize>) -> Part {
        let moments = Moments::of(&entries[range.clone()]);
        let (axis, error) = if range.len() > 1 { moments.widest() } else { (0, 0.0) };
        Part { range, axis, error, mean: moments.mean()[axis] }
    }
    if entries.len() <= colors {
        return (0..entries.len()).map(|i| i..i + 1).collect();
    }
    // Opaque and invisible colours share a box with none that is not so, lest areas without a hole get one.
    let mut parts = Vec::with_capacity(colors);
    if colors > 2 {
        let opaque = partition(entries, |entry| entry.mean[3] == 255.0);
        let invisible = opaque + partition(&mut entries[opaque..], |entry| entry.mean[3] == 0.0);
        for range in [0..opaque, opaque..invisible, invisible..entries.len()] {
            if !range.is_empty() {
                parts.push(part(entries, range));
            }
        }
    } else {
        parts.push(part(entries, 0..entries.len()));
    }
    while parts.len() < colors {
        let worst = (0..parts.len()).max_by(|&a, &b| parts[a].error.total_cmp(&parts[b].error));
        let Some(worst) = worst.filter(|&at| parts[at].error > 0.0) else { break };
        let Part { range, axis, mean, .. } = parts.swap_remove(worst);
        let members = &mut entries[range.clone()];
        let middle = partition(members, |entry| f64::from(entry.mean[axis]) <= mean);
        // All on one side happens by rounding only; then half and half.
        let middle = if middle == 0 || middle == members.len() { members.len() / 2 } else { middle };
        let middle = range.start + middle;
        parts.push(part(entries, range.start..middle));
        parts.push(part(entries, middle..range.end));
    }
    parts.into_iter().map(|part| part.range).collect()
}

/// Moves the entries that hold to the front and counts them.
fn partition(entries: &mut [Entry], holds: impl Fn(&Entry) -> bool) -> usize {
    let mut front = 0;
    for i in 0..entries.len() {
        if holds(&entries[i]) {
            entries.swap(front, i);
            front += 1;
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Size;

    use super::*;

    fn noise(mode: PixelMode) -> Pixels {
        let size = Size::new(200, 100);
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Pixels::new(size, mode, (0..size.pixels() as usize * mode.samples()).map(next).collect())
    }

    /// Mean square error of the samples, invisible pixels left out.
    fn error(pixels: &Pixels, paletted: &Paletted) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for (i, &index) in paletted.indices.iter().enumerate() {
            let is = pixels.pixel(i as u32 % pixels.size().width, i as u32 / pixels.size().width);
            let becomes = paletted.palette[usize::from(index)];
            if is[3] > 0 {
                sum += is.iter().zip(becomes).map(|(a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>();
                count += 4.0;
            }
        }
        sum / count
    }

    #[test]
    fn any_picture_gets_at_most_the_colors_asked_for_and_more_colors_are_nearer() {
        for mode in [PixelMode::L, PixelMode::Rgb, PixelMode::Rgba] {
            for quantizer in [Quantizer::FastOctree, Quantizer::MedianCut] {
                let pixels = noise(mode);
                let mut last = f64::MAX;
                for colors in [2, 16, 64, 200, 256] {
                    let paletted = palette(&pixels, colors, true, Color::WHITE, quantizer);
                    assert!(paletted.palette.len() <= colors && paletted.indices.len() == 20_000);
                    let now = error(&pixels, &paletted);
                    assert!(now < last || now == 0.0, "{mode:?} {quantizer:?} {colors}: {now} after {last}");
                    last = now;
                }
                // Median cut makes half-transparent pixels opaque or invisible, which is far away.
                let hard = mode == PixelMode::Rgba && quantizer == Quantizer::MedianCut;
                assert!(last < 1500.0 || hard, "{mode:?} {quantizer:?}: {last}");
            }
        }
    }

    #[test]
    fn opaque_and_invisible_pixels_stay_so() {
        let mut pixels = noise(PixelMode::Rgba);
        let (data, _) = pixels.data_mut().as_chunks_mut::<4>();
        for (i, pixel) in data.iter_mut().enumerate() {
            pixel[3] = [0, 255, pixel[3]][i % 3];
        }
        let paletted = palette(&pixels, 256, true, Color::WHITE, Quantizer::FastOctree);
        let alpha = |i: usize| paletted.palette[usize::from(paletted.indices[i])][3];
        assert!((0..19_998).step_by(3).all(|i| (alpha(i), alpha(i + 1)) == (0, 255)));
    }

    #[test]
    fn without_alpha_the_ground_shows_through() {
        let pixels = Pixels::new(Size::new(2, 1), PixelMode::Rgba, vec![200, 0, 0, 0, 0, 0, 200, 255]);
        let paletted = palette(&pixels, 256, false, Color::rgb(1, 2, 3), Quantizer::FastOctree);
        assert_eq!(paletted.palette, [[1, 2, 3, 255], [0, 0, 200, 255]]);
        assert_eq!(paletted.indices, [0, 1]);
    }
}
