//! Text in pictures: errors, attribution, debug labels.

use std::sync::Arc;

use mapproxy_grid::Size;

use crate::{ImageOptions, MapImage, Pixels};

/// A picture of `size` with an error text at its upper left, on the background that `options` say.
pub fn error_image(text: &str, size: Size, options: &Arc<ImageOptions>) -> MapImage {
    let _ = (text, size, options);
    todo!()
}

/// A transparent picture with `text` from the upper left (errors drawn over a partial map, debug source).
pub fn overlay(text: &str, size: Size, options: &Arc<ImageOptions>) -> MapImage {
    let _ = (text, size, options);
    todo!()
}

/// Draws an attribution line into the lower right corner, black on a half-transparent white box.
pub fn attribution(pixels: &mut Pixels, text: &str) {
    let _ = (pixels, text);
    todo!()
}
