//! Pixels between pixels: scaling along the axes and warping by a mesh of quadrilaterals.
//!
//! The pixel in column `i` is sampled at `i + 0.5`. Nothing is averaged when a picture shrinks, and what is sampled from
//! outside of the picture is empty: both as MapProxy has always drawn maps. Weights and sums are 32-bit floats in
//! groups of four samples, which compilers turn into vector instructions; results are cut off, not rounded. Rows are
//! walked by code compiled twice, for the oldest machine and for AVX2, of which the better one is taken at run time; all
//! functions on that way are therefore inlined.

use mapproxy_grid::Size;
use rayon::prelude::*;
use wide::{f32x4, i16x8, i32x4, u8x16};

use crate::{PixelMode, Pixels, Resampling};

/// Pixels from which on more than one thread pays.
const PARALLEL_PIXELS: u64 = 128 * 1024;

/// A part of the answer with the places of its corners in the source, in pixels from the upper left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quad {
    /// Left column, top row, and those after the last.
    pub(crate) area: [u32; 4],
    /// Upper left, lower left, lower right, upper right.
    pub(crate) corners: [(f64, f64); 4],
}

impl Quad {
    /// Left, top, right and bottom in the source, if it is a rectangle there.
    fn window(&self) -> Option<[f64; 4]> {
        /// Of a pixel: nobody sees it.
        const TOLERANCE: f64 = 1e-4;
        let [nw, sw, se, ne] = self.corners;
        let upright = [nw.0 - sw.0, ne.0 - se.0, nw.1 - ne.1, sw.1 - se.1].iter().all(|d| d.abs() <= TOLERANCE);
        upright.then_some([nw.0, nw.1, se.0, se.1])
    }
}

/// The picture's `window` (left, top, right, bottom, in pixels, fractions allowed) with `size` pixels.
pub(crate) fn scale(src: &Pixels, window: [f64; 4], size: Size, resampling: Resampling) -> Pixels {
    sampled(src, resampling, |src| {
        let mut out = Pixels::new(size, src.mode(), vec![0; size.pixels() as usize * src.mode().samples()]);
        scale_into(src, window, &mut out, [0, 0, size.width, size.height], resampling);
        out
    })
}

/// The picture through a mesh; what no quad covers is empty.
pub(crate) fn warp(src: &Pixels, quads: &[Quad], size: Size, resampling: Resampling) -> Pixels {
    sampled(src, resampling, |src| {
        let mut out = Pixels::new(size, src.mode(), vec![0; size.pixels() as usize * src.mode().samples()]);
        // Rectangles scale: all of them between geographic coordinates and Mercator.
        let (upright, other): (Vec<&Quad>, Vec<&Quad>) = quads.iter().partition(|quad| quad.window().is_some());
        for (quad, window) in upright.into_iter().filter_map(|quad| Some((quad, quad.window()?))) {
            scale_into(src, window, &mut out, quad.area, resampling);
        }
        if !other.is_empty() && src.size().pixels() > 0 && size.pixels() > 0 {
            warp_into(src, &other, &mut out, resampling);
        }
        out
    })
}

fn scale_into(src: &Pixels, window: [f64; 4], out: &mut Pixels, area: [u32; 4], resampling: Resampling) {
    match (src.mode(), resampling) {
        (PixelMode::L, Resampling::Nearest) => scale_nearest::<1>(src, window, out, area),
        (PixelMode::Rgb, Resampling::Nearest) => scale_nearest::<3>(src, window, out, area),
        (PixelMode::Rgba, Resampling::Nearest) => scale_nearest::<4>(src, window, out, area),
        (PixelMode::L, Resampling::Bilinear) => scale_weighted::<1, 2>(src, window, out, area, bilinear),
        (PixelMode::Rgb, Resampling::Bilinear) => scale_weighted::<3, 2>(src, window, out, area, bilinear),
        (PixelMode::Rgba, Resampling::Bilinear) => scale_weighted::<4, 2>(src, window, out, area, bilinear),
        (PixelMode::L, Resampling::Bicubic) => scale_weighted::<1, 4>(src, window, out, area, bicubic),
        (PixelMode::Rgb, Resampling::Bicubic) => scale_weighted::<3, 4>(src, window, out, area, bicubic),
        (PixelMode::Rgba, Resampling::Bicubic) => scale_weighted::<4, 4>(src, window, out, area, bicubic),
    }
}

fn warp_into(src: &Pixels, quads: &[&Quad], out: &mut Pixels, resampling: Resampling) {
    match (src.mode(), resampling) {
        (PixelMode::L, Resampling::Nearest) => warp_with::<1, 0>(src, quads, out, |_| []),
        (PixelMode::Rgb, Resampling::Nearest) => warp_with::<3, 0>(src, quads, out, |_| []),
        (PixelMode::Rgba, Resampling::Nearest) => warp_with::<4, 0>(src, quads, out, |_| []),
        (PixelMode::L, Resampling::Bilinear) => warp_with::<1, 1>(src, quads, out, bilinear_pair),
        (PixelMode::Rgb, Resampling::Bilinear) => warp_with::<3, 1>(src, quads, out, bilinear_pair),
        (PixelMode::Rgba, Resampling::Bilinear) => warp_with::<4, 1>(src, quads, out, bilinear_pair),
        (PixelMode::L, Resampling::Bicubic) => warp_with::<1, 2>(src, quads, out, bicubic_pairs),
        (PixelMode::Rgb, Resampling::Bicubic) => warp_with::<3, 2>(src, quads, out, bicubic_pairs),
        (PixelMode::Rgba, Resampling::Bicubic) => warp_with::<4, 2>(src, quads, out, bicubic_pairs),
    }
}

/// Runs `work` on premultiplied samples where alpha has to weigh colours.
fn sampled(src: &Pixels, resampling: Resampling, work: impl FnOnce(&Pixels) -> Pixels) -> Pixels {
    if resampling == Resampling::Nearest || src.mode() != PixelMode::Rgba {
        return work(src);
    }
    if !src.has_transparency() {
        // Opaque everywhere: colours are their own products, also in the answer's empty parts.
        return work(src);
    }
    let mut products = src.clone();
    for p in products.data_mut().chunks_exact_mut(4) {
        let alpha = u32::from(p[3]);
        for sample in &mut p[..3] {
            *sample = crate::pixels::mul_255(u32::from(*sample), alpha) as u8;
        }
    }
    let mut out = work(&products);
    for p in out.data_mut().chunks_exact_mut(4) {
        let alpha = u32::from(p[3]);
        if alpha != 255 && alpha != 0 {
            for sample in &mut p[..3] {
                *sample = (u32::from(*sample) * 255 / alpha).min(255) as u8;
            }
        }
    }
    out
}

#[inline(always)]
fn bilinear(part: f32) -> [f32; 2] {
    [1.0 - part, part]
}

/// Cubic convolution (Keys, 1981) with a = -1, as polynomials of all four weights at once.
#[inline(always)]
fn bicubic(part: f32) -> [f32; 4] {
    const BY_POWER: [[f32; 4]; 4] =
        [[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0], [2.0, -2.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]];
    let [constant, linear, square, cube] = BY_POWER;
    std::array::from_fn(|i| constant[i] + part * (linear[i] + part * (square[i] + part * cube[i])))
}

/// Where the columns (or rows) of the answer lie along one axis of the source.
struct Axis {
    /// Position of the first pixel's middle, and the step to the next.
    start: f64,
    step: f64,
    /// Pixels of the source.
    length: usize,
    /// Pixels of the answer whose middle lies on the source.
    covered: std::ops::Range<usize>,
}

impl Axis {
    fn new(from: f64, to: f64, count: u32, length: u32) -> Axis {
        let step = (to - from) / f64::from(count);
        let start = from + step * 0.5;
        let mut axis = Axis { start, step, length: length as usize, covered: 0..0 };
        let inside = |i: &usize| (0.0..f64::from(length)).contains(&axis.at(*i));
        // Middles go one way, so those inside are neighbours.
        if let Some(first) = (0..count as usize).find(inside) {
            let after = (first..count as usize).find(|i| !inside(i)).unwrap_or(count as usize);
            axis.covered = first..after;
        }
        axis
    }

    fn at(&self, index: usize) -> f64 {
        self.start + self.step * index as f64
    }

    /// The covered pixels in the whole answer, of which this axis begins at `first`.
    fn range(&self, first: u32) -> std::ops::Range<usize> {
        first as usize + self.covered.start..first as usize + self.covered.end
    }

    /// Where the covered pixels lie in a row of the answer.
    fn bytes(&self, first: u32, samples: usize) -> (usize, usize) {
        let range = self.range(first);
        (range.start * samples, range.end * samples)
    }

    /// The pixel that the middle of each covered one lies in.
    fn pixels(&self) -> Vec<usize> {
        self.covered.clone().map(|i| (self.at(i) as usize).min(self.length - 1)).collect()
    }

    /// For each covered pixel the first of `T` source pixels, which may lie up to two outside, and their weights.
    fn taps<const T: usize>(&self, weights: impl Fn(f32) -> [f32; T] + Copy + Sync) -> Vec<(isize, [f32; T])> {
        let tap = |i| {
            let position = self.at(i) - 0.5;
            let whole = position.floor();
            (whole as isize - (T as isize / 2 - 1), weights((position - whole) as f32))
        };
        self.covered.clone().map(tap).collect()
    }
}

/// Columns and rows of `area` in the source; `None` where no pixel of it lies there.
fn axes(src: &Pixels, [left, top, right, bottom]: [f64; 4], area: [u32; 4]) -> Option<(Axis, Axis)> {
    if ![left, top, right, bottom].iter().all(|v| v.is_finite()) || src.size().pixels() == 0 {
        return None;
    }
    let columns = Axis::new(left, right, area[2] - area[0], src.size().width);
    let rows = Axis::new(top, bottom, area[3] - area[1], src.size().height);
    (!columns.covered.is_empty() && !rows.covered.is_empty()).then_some((columns, rows))
}

/// Calls `work` with each covered row of the answer and its place among them; in parallel when it pays.
#[inline(always)]
fn for_rows<S>(
    out: &mut Pixels,
    covered: std::ops::Range<usize>,
    scratch: impl Fn() -> S + Send + Sync,
    work: impl Fn(&mut S, usize, &mut [u8]) + Sync,
) {
    let (pixels, stride) = (out.size().pixels(), out.size().width as usize * out.mode().samples());
    let rows = &mut out.data_mut()[covered.start * stride..covered.end * stride];
    if pixels >= PARALLEL_PIXELS {
        let jobs = rows.par_chunks_exact_mut(stride).enumerate().with_min_len(64);
        jobs.for_each_init(scratch, |scratch, (index, row)| {
            vectorized(
                #[inline(always)]
                || work(scratch, index, row),
            )
        });
    } else {
        let mut scratch = scratch();
        for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
            vectorized(
                #[inline(always)]
                || work(&mut scratch, index, row),
            );
        }
    }
}

/// Runs `work` with the vector instructions that this machine has.
#[inline(always)]
fn vectorized(work: impl FnOnce()) {
    struct Work<F>(F);
    impl<F: FnOnce()> pulp::NullaryFnOnce for Work<F> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            (self.0)();
        }
    }
    pulp::Arch::new().dispatch(Work(work));
}

fn scale_nearest<const N: usize>(src: &Pixels, window: [f64; 4], out: &mut Pixels, area: [u32; 4]) {
    let Some((columns, rows)) = axes(src, window, area) else { return };
    let stride = src.size().width as usize * N;
    let (left, right) = columns.bytes(area[0], N);
    let (from_columns, from_rows) = (columns.pixels(), rows.pixels());
    for_rows(
        out,
        rows.range(area[1]),
        || (),
        #[inline(always)]
        |(), index, row| {
            let (from, _) = src.data()[from_rows[index] * stride..][..stride].as_chunks::<N>();
            let (to, _) = row[left..right].as_chunks_mut::<N>();
            for (to, &column) in to.iter_mut().zip(&from_columns) {
                *to = from[column];
            }
        },
    );
}

/// Scales rows first, then columns: the weights of a pixel are products of a row's and a column's.
fn scale_weighted<const N: usize, const T: usize>(
    src: &Pixels,
    window: [f64; 4],
    out: &mut Pixels,
    area: [u32; 4],
    weights: impl Fn(f32) -> [f32; T] + Copy + Sync,
) {
    let Some((columns, rows)) = axes(src, window, area) else { return };
    let (left, right) = columns.bytes(area[0], N);
    let (from_columns, from_rows) = (columns.taps(weights), rows.taps(weights));
    let (width, height) = (src.size().width as isize, src.size().height as isize);
    let stride = width as usize * N;
    // The columns that are needed, of which some may lie outside and repeat the edge.
    let needed = from_columns.iter().map(|(first, _)| *first);
    let (first, last) = needed.fold((isize::MAX, isize::MIN), |(low, high), at| (low.min(at), high.max(at)));
    let after = last + T as isize;
    let inner = first.max(0)..after.min(width);
    let from_columns: Vec<(usize, [f32; T])> =
        from_columns.into_iter().map(|(at, weights)| ((at - first) as usize * N, weights)).collect();
    // Groups of four samples are read, also of the last pixel.
    let line = (after - first) as usize * N + 4;
    for_rows(
        out,
        rows.range(area[1]),
        || vec![0f32; line],
        #[inline(always)]
        |mixed, index, row| {
            let (top, weights) = from_rows[index];
            let lines: [&[u8]; T] = std::array::from_fn(|tap| {
                let y = (top + tap as isize).clamp(0, height - 1) as usize;
                &src.data()[y * stride..][inner.start as usize * N..inner.end as usize * N]
            });
            let before = (inner.start - first) as usize * N;
            let count = lines[0].len();
            mix_rows(lines, weights, &mut mixed[before..before + count]);
            repeat_edges::<N>(mixed, before, before + count);
            mix_columns::<N, T>(mixed, &from_columns, &mut row[left..right]);
        },
    );
}

/// Weighted sums of rows.
#[inline(always)]
fn mix_rows<const T: usize>(rows: [&[u8]; T], weights: [f32; T], out: &mut [f32]) {
    let rows = rows.map(|row| &row[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = 0.0;
        for tap in 0..T {
            sum += f32::from(rows[tap][i]) * weights[tap];
        }
        *out = sum;
    }
}

/// Copies the first and last pixel outwards.
#[inline(always)]
fn repeat_edges<const N: usize>(line: &mut [f32], start: usize, end: usize) {
    for i in (0..start).rev() {
        line[i] = line[i + N];
    }
    for i in end..line.len() {
        line[i] = line[i - N];
    }
}

/// Weighted sums of neighbouring pixels, as samples.
#[inline(always)]
fn mix_columns<const N: usize, const T: usize>(line: &[f32], columns: &[(usize, [f32; T])], out: &mut [u8]) {
    for (index, (first, weights)) in columns.iter().enumerate() {
        let taps = &line[*first..][..(T - 1) * N + 4];
        // Whole numbers that lost a little in the sum stay whole when it is cut off.
        let mut sum = f32x4::splat(0.002);
        for (tap, &weight) in weights.iter().enumerate() {
            let pixel: &[f32; 4] = taps[tap * N..].first_chunk().expect("four samples, by the slice above");
            sum += f32x4::from(*pixel) * f32x4::splat(weight);
        }
        put::<N>(out, index, samples(sum.fast_trunc_int()));
    }
}

/// Writes a pixel. All four samples are written where there is room, whatever a pixel has: the next one covers those too
/// many. So nobody computes with three, which makes poor vector code.
#[inline(always)]
fn put<const N: usize>(row: &mut [u8], index: usize, pixel: [u8; 4]) {
    let rest = &mut row[index * N..];
    match rest.first_chunk_mut::<4>() {
        Some(place) => *place = pixel,
        None => rest[..N].copy_from_slice(&pixel[..N]),
    }
}

/// Sums as samples between 0 and 255.
#[inline(always)]
fn samples(sum: i32x4) -> [u8; 4] {
    let words = i16x8::from_i32x8_saturate(bytemuck::cast([sum, sum]));
    let bytes = u8x16::narrow_i16x8(words, words).to_array();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

/// Positions with 32 bits behind the point: a step a pixel adds up without error that could be seen.
const ONE: f64 = 4_294_967_296.0;
/// Half a pixel.
const HALF: i64 = 1 << 31;
/// Farther corners come of points without image in the other SRS.
const FARTHEST: f64 = 1e8;

/// The whole of two or four weights.
const WHOLE: i32 = 1 << 14;

/// Two weights in the halves of an integer, for instructions that multiply and add pairs.
type Pair = i32;

const fn pair(low: i32, high: i32) -> Pair {
    low & 0xffff | high << 16
}

/// Weights of the two pixels around a position, of which the part behind the point is given, in 2^32nds.
#[inline(always)]
fn bilinear_pair(part: u32) -> [Pair; 1] {
    let second = (part >> 18) as i32;
    [pair(WHOLE - second, second)]
}

/// Weights of the four pixels around a position: as [`bicubic`], for 2048 parts of a pixel.
#[inline(always)]
fn bicubic_pairs(part: u32) -> [Pair; 2] {
    const STEPS: i64 = 2048;
    const fn rounded(cubes: i64) -> i32 {
        const TO_WEIGHT: i64 = STEPS * STEPS * STEPS / WHOLE as i64;
        (cubes + TO_WEIGHT / 2).div_euclid(TO_WEIGHT) as i32
    }
    static WEIGHTS: [[Pair; 2]; STEPS as usize + 1] = {
        let mut weights = [[0; 2]; STEPS as usize + 1];
        let mut step = 0;
        while step <= STEPS {
            let (linear, square, cube) = (step * STEPS * STEPS, step * step * STEPS, step * step * step);
            let (first, third) = (rounded(2 * square - linear - cube), rounded(linear + square - cube));
            let fourth = rounded(cube - square);
            weights[step as usize] = [pair(first, WHOLE - first - third - fourth), pair(third, fourth)];
            step += 1;
        }
        weights
    };
    WEIGHTS[(part >> 20).div_ceil(2) as usize]
}

fn warp_with<const N: usize, const P: usize>(
    src: &Pixels,
    quads: &[&Quad],
    out: &mut Pixels,
    weights: impl Fn(u32) -> [Pair; P] + Copy + Sync,
) {
    let quads: Vec<Warp> = quads.iter().filter_map(|quad| Warp::new(quad, src.size(), P)).collect();
    let rows = 0..out.size().height as usize;
    for_rows(
        out,
        rows,
        || (),
        #[inline(always)]
        |(), y, row| {
            for quad in quads.iter().filter(|quad| quad.rows.contains(&y)) {
                let to = &mut row[quad.columns.start * N..quad.columns.end * N];
                let (at, step) = quad.line(y);
                match (P, quad.inner) {
                    (0, _) => warp_nearest::<N>(src, at, step, to),
                    (_, true) => warp_inner::<N, P>(src, at, step, to, weights),
                    (_, false) => warp_edge::<N, P>(src, at, step, to, weights),
                }
            }
        },
    );
}

/// A quad ready to be walked.
struct Warp {
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    /// Per axis of the source: constant, per column, per row, per both.
    x: [f64; 4],
    y: [f64; 4],
    /// All taps of all pixels lie on the source, with a pixel to spare.
    inner: bool,
}

impl Warp {
    fn new(quad: &Quad, src: Size, pairs: usize) -> Option<Warp> {
        let [left, top, right, bottom] = quad.area.map(|v| v as usize);
        let [nw, sw, se, ne] = quad.corners;
        let corners = [nw, sw, se, ne];
        if corners.iter().any(|(x, y)| !(x.abs() <= FARTHEST && y.abs() <= FARTHEST)) || left >= right || top >= bottom
        {
            return None;
        }
        let (width, height) = ((right - left) as f64, (bottom - top) as f64);
        let factors = |nw: f64, sw: f64, se: f64, ne: f64| {
            [nw, (ne - nw) / width, (sw - nw) / height, (se - sw - ne + nw) / (width * height)]
        };
        let margin = pairs as f64 + 1.0;
        let inside = |&(x, y): &(f64, f64)| {
            let (width, height) = (f64::from(src.width), f64::from(src.height));
            x >= margin && y >= margin && x <= width - margin && y <= height - margin
        };
        Some(Warp {
            columns: left..right,
            rows: top..bottom,
            x: factors(nw.0, sw.0, se.0, ne.0),
            y: factors(nw.1, sw.1, se.1, ne.1),
            inner: corners.iter().all(inside),
        })
    }

    /// Position of a row's first pixel, and the step to the next.
    #[inline(always)]
    fn line(&self, row: usize) -> ([i64; 2], [i64; 2]) {
        let down = (row - self.rows.start) as f64 + 0.5;
        let axis = |[constant, column, row, both]: [f64; 4]| {
            let step = column + both * down;
            (((constant + row * down + step * 0.5) * ONE) as i64, (step * ONE) as i64)
        };
        let ((x, step_x), (y, step_y)) = (axis(self.x), axis(self.y));
        ([x, y], [step_x, step_y])
    }
}

#[inline(always)]
fn warp_nearest<const N: usize>(src: &Pixels, [mut x, mut y]: [i64; 2], [step_x, step_y]: [i64; 2], out: &mut [u8]) {
    let (pixels, _) = src.data().as_chunks::<N>();
    let (width, height) = (i64::from(src.size().width), i64::from(src.size().height));
    for out in out.as_chunks_mut::<N>().0 {
        if (0..width).contains(&(x >> 32)) && (0..height).contains(&(y >> 32)) {
            *out = pixels[((y >> 32) * width + (x >> 32)) as usize];
        }
        (x, y) = (x + step_x, y + step_y);
    }
}

/// One row of a quad whose taps all lie on the source.
#[inline(always)]
fn warp_inner<const N: usize, const P: usize>(
    src: &Pixels,
    [x, y]: [i64; 2],
    [step_x, step_y]: [i64; 2],
    out: &mut [u8],
    weights: impl Fn(u32) -> [Pair; P] + Copy + Sync,
) {
    let data = src.data();
    let stride = src.size().width as usize * N;
    let before = P as i64 - 1;
    let (mut x, mut y) = (x - HALF, y - HALF);
    for index in 0..out.len() / N {
        let first = ((y >> 32) - before) as usize * stride + ((x >> 32) - before) as usize * N;
        let block = &data[first..][..(2 * P - 1) * (stride + N) + 4];
        let tap = |row: usize, column: usize| group(&block[row * stride + column * N..]);
        put::<N>(out, index, mixed(tap, weights(x as u32), weights(y as u32)));
        (x, y) = (x + step_x, y + step_y);
    }
}

/// One row of a quad that reaches beyond the source: the edge is repeated for taps, and pixels outside stay empty.
#[inline(always)]
fn warp_edge<const N: usize, const P: usize>(
    src: &Pixels,
    [mut x, mut y]: [i64; 2],
    [step_x, step_y]: [i64; 2],
    out: &mut [u8],
    weights: impl Fn(u32) -> [Pair; P] + Copy + Sync,
) {
    let (pixels, _) = src.data().as_chunks::<N>();
    let (width, height) = (i64::from(src.size().width), i64::from(src.size().height));
    let before = P as i64 - 1;
    for out in out.as_chunks_mut::<N>().0 {
        if (0..width).contains(&(x >> 32)) && (0..height).contains(&(y >> 32)) {
            let (left, top) = (x - HALF, y - HALF);
            let tap = |row: usize, column: usize| {
                let row = ((top >> 32) - before + row as i64).clamp(0, height - 1);
                let column = ((left >> 32) - before + column as i64).clamp(0, width - 1);
                let mut samples = [0; 4];
                samples[..N].copy_from_slice(&pixels[(row * width + column) as usize]);
                group(&samples)
            };
            let pixel = mixed(tap, weights(left as u32), weights(top as u32));
            out.copy_from_slice(&pixel[..N]);
        }
        (x, y) = (x + step_x, y + step_y);
    }
}

/// The first four samples.
#[inline(always)]
fn group(data: &[u8]) -> u8x16 {
    let mut samples = [0; 16];
    samples[..4].copy_from_slice(&data[..4]);
    u8x16::from(samples)
}

/// A pixel from two by two or four by four taps. All in integers: samples times weights of 14 bits, cut to 6 bits behind the
/// point between columns and rows, so that pairs of rows fit into the 16 bits that are multiplied next.
#[inline(always)]
fn mixed<const P: usize>(tap: impl Fn(usize, usize) -> u8x16, x: [Pair; P], y: [Pair; P]) -> [u8; 4] {
    let spread = |weights: [Pair; P]| weights.map(|pair| bytemuck::cast::<i32x4, i16x8>(i32x4::splat(pair)));
    let (x, y) = (spread(x), spread(y));
    let row = |row: usize| {
        let mut sum = i32x4::splat(1 << 7);
        for (at, &weights) in x.iter().enumerate() {
            let both = u8x16::unpack_low(tap(row, 2 * at), tap(row, 2 * at + 1));
            sum += i16x8::from_u8x16_low(both).dot(weights);
        }
        sum >> 8
    };
    // Whole numbers that lost a little in rounded weights stay whole when the sum is cut off.
    let mut sum = i32x4::splat(1 << 14);
    for (at, &weights) in y.iter().enumerate() {
        let both = row(2 * at) & i32x4::splat(0xffff) | row(2 * at + 1) << 16;
        sum += bytemuck::cast::<i32x4, i16x8>(both).dot(weights);
    }
    samples(sum >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker(mode: PixelMode) -> Pixels {
        let size = Size::new(64, 40);
        let sample = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        Pixels::new(size, mode, (0..size.pixels() * mode.samples() as u64).map(sample).collect())
    }

    /// Source of an answer of 90x70 pixels that reaches beyond the picture on two sides.
    const WINDOW: [f64; 4] = [-7.3, 3.1, 50.2, 44.9];

    #[test]
    fn a_mesh_of_an_upright_rectangle_is_that_of_a_slightly_turned_one() {
        let size = Size::new(90, 70);
        let [left, top, right, bottom] = WINDOW;
        // Too little to see, too much to count as upright.
        let turn = 2e-4;
        let corners = [(left, top), (left + turn, bottom), (right + turn, bottom), (right, top)];
        let quad = Quad { area: [0, 0, 90, 70], corners };
        assert!(quad.window().is_none());
        for mode in [PixelMode::L, PixelMode::Rgb, PixelMode::Rgba] {
            for resampling in [Resampling::Nearest, Resampling::Bilinear, Resampling::Bicubic] {
                let src = checker(mode);
                let (upright, turned) = (scale(&src, WINDOW, size, resampling), warp(&src, &[quad], size, resampling));
                let differing = upright.data().iter().zip(turned.data()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
                // Divided by a small alpha, one step is many.
                let allowed = if mode == PixelMode::Rgba && resampling != Resampling::Nearest { 900 } else { 20 };
                assert!(differing <= allowed, "{mode:?} {resampling:?}: {differing}");
            }
        }
    }

    #[test]
    fn the_inside_of_a_mesh_is_sampled_as_its_edge_is() {
        let size = Size::new(40, 30);
        let inner = [(6.2, 5.1), (4.9, 30.3), (50.7, 33.6), (55.1, 7.7)];
        for resampling in [Resampling::Bilinear, Resampling::Bicubic] {
            for mode in [PixelMode::L, PixelMode::Rgb] {
                let src = checker(mode);
                let whole = Quad { area: [0, 0, 40, 30], corners: inner };
                let pairs = if resampling == Resampling::Bilinear { 1 } else { 2 };
                assert!(Warp::new(&whole, src.size(), pairs).unwrap().inner);
                let fast = warp(&src, &[whole], size, resampling);
                // The same picture with the source's rim cut off close to the corners.
                let cut = src.crop(3, 3, Size::new(54, 32), crate::Color::WHITE);
                let moved = Quad { area: whole.area, corners: inner.map(|(x, y)| (x - 3.0, y - 3.0)) };
                assert!(!Warp::new(&moved, cut.size(), pairs).unwrap().inner);
                assert_eq!(fast.pixel(20, 15), warp(&cut, &[moved], size, resampling).pixel(20, 15));
            }
        }
    }

    #[test]
    fn one_color_stays_itself_and_places_without_image_stay_empty() {
        let src = Pixels::filled(Size::new(33, 21), PixelMode::Rgb, crate::Color::rgb(255, 200, 1));
        for resampling in [Resampling::Nearest, Resampling::Bilinear, Resampling::Bicubic] {
            let corners = [(3.3, 3.3), (3.9, 17.1), (28.3, 16.2), (29.1, 4.4)];
            let out = warp(&src, &[Quad { area: [0, 0, 50, 50], corners }], Size::new(50, 50), resampling);
            assert_eq!(out.single_color(), Some(crate::Color::rgb(255, 200, 1)));
            for value in [f64::NAN, f64::INFINITY, -1e300, 1e12] {
                let corners = [(3.0, 3.0), (value, 17.0), (28.0, 16.0), (29.0, value)];
                let out = warp(&src, &[Quad { area: [0, 0, 9, 9], corners }], Size::new(9, 9), resampling);
                assert_eq!(out.single_color(), Some(crate::Color::rgb(0, 0, 0)));
                let out = scale(&src, [0.0, 0.0, value, 5.0], Size::new(9, 9), resampling);
                assert_eq!(out.size(), Size::new(9, 9));
            }
            assert_eq!(scale(&src, [5.0, 0.0, 5.0, 9.0], Size::new(2, 2), resampling).size(), Size::new(2, 2));
        }
    }
}
