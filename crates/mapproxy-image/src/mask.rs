//! Cutting pictures at the edge of a coverage.

use mapproxy_grid::{Bbox, Coverage, Srs};

use crate::{ImageError, Pixels};

/// The picture of `bbox` with everything outside of `coverage` transparent.
pub fn clip(pixels: Pixels, bbox: &Bbox, srs: &Srs, coverage: &Coverage) -> Result<Pixels, ImageError> {
    let _ = (pixels, bbox, srs, coverage);
    todo!()
}
