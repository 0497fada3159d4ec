//! Scaling and reprojection.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, Srs};

use crate::{ImageError, ImageOptions, MapImage};

/// The map of `dst` from a picture of `src`. Same box and size: the picture as it is. Same resolution: cut at whole
/// pixels. Same SRS: scaled. Otherwise a mesh whose error stays below `MAX_PIXEL_ERROR`.
pub fn transform(
    image: &MapImage,
    src: (&Bbox, &Srs),
    dst: (&Bbox, Size, &Srs),
    options: &Arc<ImageOptions>,
) -> Result<MapImage, ImageError> {
    let _ = (image, src, dst, options);
    todo!()
}

/// Largest distance, in pixels of the answer, between a mesh and the exact transformation.
pub const MAX_PIXEL_ERROR: f64 = 1.0;
