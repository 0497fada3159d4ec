//! The application of a configuration file, rebuilt when told to.

use std::path::Path;
use std::sync::Arc;

use mapproxy_core::wrap::Reload;
use mapproxy_core::{App, AppBuilder};

use crate::{Failure, MISTAKEN};

/// Builds the application of `configuration`; warnings go to the log.
pub(crate) fn load(configuration: &Path) -> Result<Arc<Reload<App>>, Failure> {
    log::info!(target: "mapproxy.config", "reading: {}", configuration.display());
    let reload = Reload::of_builder(AppBuilder::from_file(configuration));
    Ok(Arc::new(reload.map_err(|error| Failure::new(MISTAKEN, error))?))
}
