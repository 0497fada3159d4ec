//! One cache in several grids: asks the one whose SRS suits the query best.

use std::sync::Arc;

use mapproxy_grid::SupportedSrs;
use mapproxy_image::MapImage;

use crate::{MapError, MapQuery, MapSource, SourceProfile};

/// Chooses among sources by the SRS of the query.
#[derive(Debug)]
pub struct SrsSwitch {
    profile: SourceProfile,
    srs: SupportedSrs,
    sources: Vec<Arc<dyn MapSource>>,
}

impl SrsSwitch {
    /// `sources[i]` answers best in `srs.as_slice()[i]`; both lists are of one length and not empty.
    pub fn new(profile: SourceProfile, srs: SupportedSrs, sources: Vec<Arc<dyn MapSource>>) -> Self {
        assert_eq!(srs.as_slice().len(), sources.len(), "an SRS for each source");
        SrsSwitch { profile, srs, sources }
    }

    fn choose(&self, query: &MapQuery) -> &Arc<dyn MapSource> {
        let best = self.srs.best_for(&query.srs);
        let index = best.and_then(|best| self.srs.as_slice().iter().position(|srs| srs.code() == best.code()));
        &self.sources[index.unwrap_or(0)]
    }
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for SrsSwitch {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        self.choose(query).render(query)
    }
    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.choose(query).is_opaque(query)
    }
    fn combine(&self, above: &dyn MapSource, query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        self.choose(query).combine(above, query)
    }
}
