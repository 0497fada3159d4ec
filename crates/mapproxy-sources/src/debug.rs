//! `type: debug`: writes what was asked into a transparent picture.

use std::sync::Arc;

use mapproxy_grid::{Coverage, ResolutionRange};
use mapproxy_image::MapImage;
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

/// Draws box and resolution of each query.
#[derive(Debug)]
pub struct DebugSource {
    profile: SourceProfile,
}

impl DebugSource {
    /// The source called `name` in the configuration.
    pub fn new(name: &str, coverage: Option<Coverage>, resolutions: ResolutionRange) -> Self {
        let _ = (name, coverage, resolutions);
        todo!()
    }
}

impl MapSource for DebugSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = query;
        todo!()
    }
}
