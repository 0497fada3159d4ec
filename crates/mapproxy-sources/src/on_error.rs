//! `on_error`: a picture of one colour instead of a failure.

use std::sync::Arc;

use mapproxy_client::ClientError;
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageOptions, MapImage};

/// What to answer to one status.
#[derive(Clone, Debug, PartialEq)]
pub struct OnErrorRule {
    /// The status; `None` (`other`): all failures without a rule of their own, also those without a status.
    pub status: Option<u16>,
    /// The picture's colour; with an alpha below 255 the picture is transparent.
    pub color: Color,
    /// Whether the picture may be stored as a tile.
    pub cacheable: bool,
}

/// All rules of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnErrors {
    rules: Vec<OnErrorRule>,
}

impl OnErrors {
    /// Of two rules for one status the later counts.
    pub fn new(rules: Vec<OnErrorRule>) -> Self {
        OnErrors { rules }
    }

    /// The picture for a failure, where a rule says so.
    pub(crate) fn picture(&self, error: &ClientError, size: Size, options: &Arc<ImageOptions>) -> Option<MapImage> {
        let _ = (error, size, options, &self.rules);
        todo!()
    }
}
