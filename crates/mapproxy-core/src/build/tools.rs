//! Single parts of a configuration, for programs that look at them and serve nothing.

use std::sync::Arc;

use mapproxy_config::checked::{self, Name};
use mapproxy_config::{Config, Diagnostics};
use mapproxy_grid::{Coverage, TileGrid};

use super::{Extras, Parts};

/// The grids of a configuration by their keys, used by caches or not, those everybody has included. One that cannot be
/// built is missing, and told.
pub fn grids(config: &Config) -> (Vec<(Name, Arc<TileGrid>)>, Diagnostics) {
    let parts = Parts::new(config, Extras::default());
    let grids = config.grids.keys().filter_map(|name| Some((Arc::clone(name), parts.grid(name)?))).collect();
    (grids, Diagnostics(parts.diagnostics.into_inner()))
}

/// The area that `coverage` describes, and what there is to be said of it; `None` if it cannot be had.
pub fn coverage(config: &Config, coverage: &checked::Coverage) -> (Option<Coverage>, Diagnostics) {
    let parts = Parts::new(config, Extras::default());
    let built = parts.coverage(Some(coverage)).unwrap_or_default();
    (built, Diagnostics(parts.diagnostics.into_inner()))
}
