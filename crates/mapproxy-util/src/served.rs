//! What a server serves: one configuration, a directory of them, or what a deployment file names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_core::wrap::{Multi, Reload, Watching};
use mapproxy_core::{AppBuilder, Application, ProxyRules};

use crate::{FAILED, Failure, MISTAKEN};

/// How often files are looked at for changes.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// An application, and how to build it anew.
pub(crate) struct Served {
    pub(crate) app: Arc<dyn Application>,
    pub(crate) reload: Arc<dyn Fn() + Send + Sync>,
    /// Ends with this value.
    _watching: Option<Watching>,
}

impl Served {
    /// The application of a mapproxy.yaml; warnings go to the log.
    pub(crate) fn configuration(path: &Path, rules: &ProxyRules, watch: bool) -> Result<Served, Failure> {
        log::info!(target: "mapproxy.config", "reading: {}", path.display());
        let reload = Reload::of_builder(AppBuilder::from_file(path).proxies(rules.clone()));
        Served::reloading(Arc::new(reload.map_err(|error| Failure::new(MISTAKEN, error))?), watch)
    }

    /// Every configuration of a directory; each is built when it is first asked for, and looked at with each request.
    pub(crate) fn directory(dir: &Path, allow_listing: bool, rules: &ProxyRules) -> Result<Served, Failure> {
        let app = multi(dir, allow_listing, rules);
        let app = app.map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {error}")))?;
        Ok(Served { app: Arc::new(app), reload: Arc::new(|| {}), _watching: None })
    }

    /// An application that builds itself anew.
    pub(crate) fn reloading<A: Application + 'static>(app: Arc<Reload<A>>, watch: bool) -> Result<Served, Failure> {
        let watching = watch.then(|| app.watch(WATCH_INTERVAL)).transpose();
        let watching = watching
            .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot watch the configuration: {error}")))?;
        let reload = Arc::clone(&app);
        let reload = Arc::new(move || {
            reload.reload();
        });
        Ok(Served { app, reload, _watching: watching })
    }
}

/// The application of a directory.
pub(crate) fn multi(
    dir: &Path,
    allow_listing: bool,
    rules: &ProxyRules,
) -> Result<Multi, mapproxy_core::wrap::MultiError> {
    let of_projects = rules.clone();
    Multi::builder(dir)
        .allow_listing(allow_listing)
        .proxies(rules.clone())
        .configure(move |builder| builder.proxies(of_projects.clone()))
        .build()
}
