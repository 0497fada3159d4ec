//! Laying pictures over each other.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Coverage, Size, Srs};

use crate::{ImageError, ImageOptions, MapImage};

/// One picture of a stack.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// The picture; its options say opacity and transparency.
    pub image: MapImage,
    /// Cut off outside of this coverage (only where it has `clip`).
    pub coverage: Option<&'a Coverage>,
}

/// The map that all pictures of a stack show.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Columns and rows.
    pub size: Size,
    /// Box in `srs`.
    pub bbox: Bbox,
    /// SRS of the box.
    pub srs: &'a Srs,
}

/// Merges bottom to top. One layer that needs nothing done is returned as it is; no layer gives a blank picture.
pub fn merge(layers: Vec<Layer<'_>>, options: &Arc<ImageOptions>, frame: &Frame<'_>) -> Result<MapImage, ImageError> {
    let _ = (layers, options, frame);
    todo!()
}

/// `image` (a part of a larger map) on an empty picture of `size`, its upper left corner at `x`, `y`.
pub fn place(
    image: &MapImage,
    x: i64,
    y: i64,
    size: Size,
    options: &Arc<ImageOptions>,
) -> Result<MapImage, ImageError> {
    let _ = (image, x, y, size, options);
    todo!()
}
