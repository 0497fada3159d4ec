//! Joining tiles to a picture and cutting a meta tile into tiles.

use mapproxy_grid::Size;
use rayon::prelude::*;

use crate::codec::png::{self, Raster};
use crate::map_image::{blank, ground};
use crate::{Codec, ImageError, ImageOptions, MapImage, PixelMode, Pixels, codec};

/// Joins tiles, row-wise from the north-west, to one picture; `None` leaves a blank place. Tiles are decoded in
/// parallel. An undecodable or wrongly sized tile is reported to `broken` by its index and left blank.
///
/// Samples are copied as they are: a half-transparent tile on an opaque picture loses its alpha.
pub fn join(
    tiles: &[Option<MapImage>],
    columns: u32,
    rows: u32,
    tile_size: Size,
    options: &ImageOptions,
    broken: &mut dyn FnMut(usize, &ImageError),
) -> Pixels {
    let size = Size::new(tile_size.width * columns, tile_size.height * rows);
    let mut out = blank(size, options);
    if size.pixels() == 0 {
        return out;
    }
    let mode = out.mode();
    let stride = size.width as usize * mode.samples();
    let row_of_tiles = |(row, band): (usize, &mut [u8])| {
        let start = (row * columns as usize).min(tiles.len());
        let end = (start + columns as usize).min(tiles.len());
        let mut errors = Vec::new();
        for (column, tile) in tiles[start..end].iter().enumerate() {
            let left = column * tile_size.width as usize * mode.samples();
            if let Some(tile) = tile
                && let Err(error) = copy_tile(tile, tile_size, mode, band, stride, left)
            {
                errors.push((start + column, error));
            }
        }
        errors
    };
    let band = stride * tile_size.height as usize;
    let errors: Vec<_> = if tiles.len() < 4 || rows < 2 {
        out.data_mut().chunks_mut(band).enumerate().flat_map(row_of_tiles).collect()
    } else {
        out.data_mut().par_chunks_mut(band).enumerate().flat_map_iter(row_of_tiles).collect()
    };
    for (index, error) in &errors {
        broken(*index, error);
    }
    out
}

/// Decodes a tile into a band of the picture, whose rows are `stride` bytes apart, from byte `left` on.
fn copy_tile(
    tile: &MapImage,
    size: Size,
    mode: PixelMode,
    band: &mut [u8],
    stride: usize,
    left: usize,
) -> Result<(), ImageError> {
    let checked = |have: Size| match have == size {
        true => Ok(()),
        false => Err(ImageError::Decode(format!("tile of {have}, expected {size}"))),
    };
    let width = size.width as usize * mode.samples();
    let rows = band.chunks_exact_mut(stride).map(|row| &mut row[left..left + width]);
    match tile.encoded_bytes() {
        Some(bytes) if Codec::sniff(bytes) == Some(Codec::Png) => {
            checked(codec::header(bytes)?.size)?;
            // The palette is applied on the way into the picture: no tile of samples in between.
            match png::decode(bytes, size.pixels())? {
                Raster::Indexed { indices, palette, .. } => {
                    for (to, from) in rows.zip(indices.chunks_exact(size.width as usize)) {
                        png::expand(from, &palette, mode, to);
                    }
                }
                Raster::Pixels(pixels) => copy_rows(pixels, mode, rows),
            }
        }
        Some(bytes) => {
            let pixels = codec::decode(bytes, size.pixels())?;
            checked(pixels.size())?;
            copy_rows(pixels, mode, rows);
        }
        None => {
            let pixels = tile.pixels()?;
            checked(pixels.size())?;
            if pixels.mode() == mode {
                for (to, from) in rows.zip(pixels.data().chunks_exact(width)) {
                    to.copy_from_slice(from);
                }
            } else {
                copy_rows(Pixels::clone(&pixels), mode, rows);
            }
        }
    }
    Ok(())
}

fn copy_rows<'a>(pixels: Pixels, mode: PixelMode, rows: impl Iterator<Item = &'a mut [u8]>) {
    let width = pixels.size().width as usize * mode.samples();
    let pixels = pixels.into_mode(mode);
    for (to, from) in rows.zip(pixels.data().chunks_exact(width)) {
        to.copy_from_slice(from);
    }
}

/// Cuts a piece of `size` whose left and top edges are at `place`; what lies beyond the picture is background.
pub fn cut(picture: &Pixels, place: (i64, i64), size: Size, options: &ImageOptions) -> Pixels {
    picture.crop(place.0, place.1, size, ground(options))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Color, ImageFormat};

    fn encoded(color: Color, mode: PixelMode, options: &ImageOptions) -> MapImage {
        let pixels = Pixels::filled(Size::new(16, 16), mode, color);
        let file = codec::encode(&pixels, options, None).unwrap();
        MapImage::from_encoded(file.bytes, Arc::new(options.clone()))
    }

    #[test]
    fn join_takes_any_kind_of_tile_and_leaves_missing_ones_blank() {
        let png = ImageOptions::new(ImageFormat::png());
        let full = ImageOptions { colors: Some(0), ..png.clone() };
        let tiles = [
            Some(encoded(Color::rgb(200, 0, 0), PixelMode::Rgb, &png)),
            None,
            Some(encoded(Color([0, 200, 0, 99]), PixelMode::Rgba, &full)),
            Some(encoded(Color::rgb(77, 77, 77), PixelMode::L, &full)),
            Some(encoded(Color::rgb(9, 9, 9), PixelMode::L, &ImageOptions::new(ImageFormat::jpeg()))),
            Some(MapImage::from_pixels(
                Pixels::filled(Size::new(16, 16), PixelMode::Rgb, Color::rgb(1, 2, 3)),
                Arc::new(png.clone()),
            )),
        ];
        let options = png.clone().with_transparent(true);
        let out = join(&tiles, 2, 3, Size::new(16, 16), &options, &mut |index, error| panic!("{index} {error}"));
        let at = |x: u32, y: u32| out.pixel(x * 16 + 3, y * 16 + 15);
        assert_eq!([at(0, 0), at(1, 0)], [[200, 0, 0, 255], [255, 255, 255, 0]]);
        assert_eq!([at(0, 1), at(1, 1)], [[0, 200, 0, 99], [77, 77, 77, 255]]);
        assert_eq!([at(0, 2), at(1, 2)], [[9, 9, 9, 255], [1, 2, 3, 255]]);
    }

    #[test]
    fn broken_and_wrongly_sized_tiles_are_named_and_left_blank() {
        let png = ImageOptions::new(ImageFormat::png());
        let good = encoded(Color::rgb(200, 0, 0), PixelMode::Rgb, &png);
        let bytes = good.encoded_bytes().unwrap();
        let cut_off = MapImage::from_encoded(bytes.slice(..bytes.len() - 20), Arc::new(png.clone()));
        let small =
            MapImage::from_pixels(Pixels::filled(Size::new(1, 1), PixelMode::L, Color::WHITE), Arc::new(png.clone()));
        let tiles = [Some(good), Some(cut_off), Some(small), None];
        let mut seen = Vec::new();
        let out =
            join(&tiles, 4, 1, Size::new(16, 16), &png, &mut |index, error| seen.push((index, error.to_string())));
        assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(seen[1].1, "cannot decode image: tile of 1x1, expected 16x16");
        assert_eq!([out.pixel(2, 2), out.pixel(40, 2)], [[200, 0, 0, 255], [255, 255, 255, 255]]);
    }

    #[test]
    fn cut_pieces_join_to_the_picture_again() {
        let size = Size::new(32, 32);
        let data = (0..size.pixels() * 3).map(|i| (i * 31 % 251) as u8).collect();
        let meta = Pixels::new(size, PixelMode::Rgb, data);
        let options = ImageOptions::new(ImageFormat::png());
        let tile = |place| {
            let piece = cut(&meta, place, Size::new(16, 16), &options);
            Some(MapImage::from_pixels(piece, Arc::new(options.clone())))
        };
        let tiles = [(0, 0), (16, 0), (0, 16), (16, 16)].map(tile);
        let out = join(&tiles, 2, 2, Size::new(16, 16), &options, &mut |_, error| panic!("{error}"));
        assert!(out == meta);
    }
}
