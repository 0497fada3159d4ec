//! Joining tiles to a picture and cutting a meta tile into tiles.

use mapproxy_grid::Size;

use crate::{ImageError, ImageOptions, MapImage, Pixels};

/// Joins tiles, row-wise from the north-west, to one picture; `None` leaves a blank place. Tiles are decoded in
/// parallel. An undecodable or wrongly sized tile is reported to `broken` by its index and left blank.
pub fn join(
    tiles: &[Option<MapImage>],
    columns: u32,
    rows: u32,
    tile_size: Size,
    options: &ImageOptions,
    broken: &mut dyn FnMut(usize, &ImageError),
) -> Pixels {
    let _ = (tiles, columns, rows, tile_size, options, broken);
    todo!()
}

/// Cuts pieces of `tile_size` at the given left and top edges; what lies beyond the picture is background.
pub fn cut(meta: &Pixels, places: &[(i64, i64)], tile_size: Size, options: &ImageOptions) -> Vec<Pixels> {
    let _ = (meta, places, tile_size, options);
    todo!()
}
