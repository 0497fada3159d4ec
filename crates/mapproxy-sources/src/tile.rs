//! `type: tile`: a server of ready-made tiles.

use std::sync::Arc;

use mapproxy_client::HttpClient;
use mapproxy_grid::{Coverage, ResolutionRange, TileGrid};
use mapproxy_image::{ImageOptions, MapImage};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::{OnErrors, SourceError};

/// What a [`TileSource`] is made of.
#[derive(Clone, Debug)]
pub struct TileOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `url`: a template (`%(z)s/%(x)s/%(y)s.%(format)s`), credentials included.
    pub url: String,
    /// `grid`: the server's tiles.
    pub grid: Arc<TileGrid>,
    /// Of the tiles.
    pub image: Arc<ImageOptions>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A server of ready-made tiles; answers only boxes of single tiles of its grid.
#[derive(Debug)]
pub struct TileSource {
    profile: SourceProfile,
}

impl TileSource {
    /// Checks the template.
    pub fn new(options: TileOptions, client: Arc<dyn HttpClient>) -> Result<Self, SourceError> {
        let _ = (options, client);
        todo!()
    }
}

impl MapSource for TileSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = query;
        todo!()
    }
}
