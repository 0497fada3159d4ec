//! `use_direct_from_level` and `use_direct_from_res`: fine maps come from the source, coarse ones from the cache.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, Srs};
use mapproxy_image::MapImage;

use crate::{MapError, MapQuery, MapSource, SourceProfile};

/// Asks one source for resolutions above a threshold, another for the rest.
#[derive(Debug)]
pub struct ResolutionSwitch {
    coarse: Arc<dyn MapSource>,
    fine: Arc<dyn MapSource>,
    threshold: f64,
    srs: Srs,
}

impl ResolutionSwitch {
    /// `fine` answers at `threshold` units of `srs` per pixel and below, `coarse` above.
    pub fn new(coarse: Arc<dyn MapSource>, fine: Arc<dyn MapSource>, threshold: f64, srs: Srs) -> Self {
        ResolutionSwitch { coarse, fine, threshold, srs }
    }

    fn choose(&self, query: &MapQuery) -> Result<&Arc<dyn MapSource>, MapError> {
        let bbox = if query.srs == self.srs { query.bbox } else { query.srs.transform_bbox(&self.srs, &query.bbox)? };
        Ok(if finer_resolution(&bbox, query.size) > self.threshold { &self.coarse } else { &self.fine })
    }
}

fn finer_resolution(bbox: &Bbox, size: Size) -> f64 {
    let (x, y) = bbox.resolution(size);
    x.min(y)
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for ResolutionSwitch {
    fn profile(&self) -> &SourceProfile {
        self.coarse.profile()
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        self.choose(query)?.render(query)
    }
    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.choose(query).is_ok_and(|source| source.is_opaque(query))
    }
    fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        // As in MapProxy, a cache is asked for itself.
        None
    }
}
