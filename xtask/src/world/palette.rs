//! Reduces a picture to the colours it uses most and writes it as a palette PNG.
//!
//! A drawn map has few pure colours and many mixtures at the edges; taking the most frequent ones, after rounding to
//! five bits a channel, and the nearest for the rest is enough and keeps the file small.

use std::collections::HashMap;

use anyhow::Result;

use super::draw::Picture;

/// Colours in the file; more of them make it larger and no prettier.
const COLOURS: usize = 128;

pub(super) struct Quantised {
    pub(super) colours: Vec<[u8; 3]>,
    pub(super) indices: Vec<u8>,
}

pub(super) fn quantise(picture: &Picture) -> Quantised {
    // Sum and count of the true colours in each cell of the rounded colour cube.
    let mut cells: HashMap<[u8; 3], ([u64; 3], u64)> = HashMap::new();
    for &pixel in &picture.pixels {
        let (sum, count) = cells.entry(rounded(pixel)).or_default();
        sum.iter_mut().zip(pixel).for_each(|(sum, channel)| *sum += u64::from(channel));
        *count += 1;
    }
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by_key(|&(cell, (_, count))| (std::cmp::Reverse(count), cell));
    let mean = |&(_, (sum, count)): &([u8; 3], ([u64; 3], u64))| sum.map(|sum| (sum / count) as u8);
    let colours: Vec<[u8; 3]> = cells.iter().take(COLOURS).map(mean).collect();
    let nearest: HashMap<[u8; 3], u8> = cells.iter().map(|cell| (cell.0, nearest(mean(cell), &colours))).collect();
    let indices = picture.pixels.iter().map(|&pixel| nearest[&rounded(pixel)]).collect();
    Quantised { colours, indices }
}

pub(super) fn encode(picture: &Picture) -> Result<Vec<u8>> {
    let Quantised { colours, indices } = quantise(picture);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colours.concat());
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&indices)?;
    Ok(bytes)
}

fn rounded(colour: [u8; 3]) -> [u8; 3] {
    colour.map(|channel| channel >> 3)
}

fn nearest(colour: [u8; 3], among: &[[u8; 3]]) -> u8 {
    let distance =
        |other: &[u8; 3]| -> u32 { colour.iter().zip(other).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    let found = (0..among.len()).min_by_key(|&index| distance(&among[index]));
    found.expect("a picture has at least one colour") as u8
}
