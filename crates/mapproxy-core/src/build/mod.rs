//! From a checked configuration to an application, leaves first: grids, coverages, sources, caches, layers, services.
//!
//! This is the only place that knows both the configuration and the parts. What cannot be built is a diagnostic at the
//! place where it was written; building goes on, so that all mistakes are told at once.

mod auth;
mod caches;
mod coverages;
mod databases;
mod explanations;
mod grids;
mod images;
mod layers;
pub(crate) mod seed;
mod servers;
mod services;
mod sources;
mod stores;
mod tools;

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapproxy_cache::store::TileStore;
use mapproxy_cache::store::compact::BundlePool;
use mapproxy_cache::store::objects::ObjectService;
use mapproxy_cache::store::sqlite::Pool;
use mapproxy_client::{Clients, HttpClient};
use mapproxy_config::checked::{Name, S3Store};
use mapproxy_config::{Config, Diagnostic, Diagnostics, Loaded, Origin};
use mapproxy_grid::{Coverage, ResolutionRange, Srs, TileGrid};
use mapproxy_map::info::InfoSource;
use mapproxy_map::{Dimension, MapSource};
use mapproxy_sources::Mapnik;

use crate::auth::{Authorizer, Gate};
use crate::decorate::{Decorator, Decorators};
use crate::{App, Observer, ProxyRules, ProxyRulesError};

pub use tools::{coverage, grids};

/// Builds an [`App`] with what a configuration alone cannot say.
#[derive(Clone, Debug)]
pub struct AppBuilder {
    input: Input,
    extras: Extras,
}

/// What the program around us adds to the configuration.
#[derive(Clone, Debug, Default)]
struct Extras {
    http_client: Option<Arc<dyn HttpClient>>,
    wrap_http: Option<Wrap>,
    proxies: ProxyRules,
    gate: Gate,
    decorators: Decorators,
    observer: Option<Arc<dyn Observer>>,
    sources: HashMap<String, SourceFactory>,
    infos: HashMap<String, InfoFactory>,
    stores: HashMap<String, StoreFactory>,
}

/// Stands before clients.
#[derive(Clone)]
struct Wrap(Arc<WrapClient>);

type WrapClient = dyn Fn(Arc<dyn HttpClient>) -> Arc<dyn HttpClient> + Send + Sync;

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrap")
    }
}

type SourceFactory = Factory<CustomSource, dyn MapSource>;
type InfoFactory = Factory<CustomSource, dyn InfoSource>;
type StoreFactory = Factory<CustomStore, dyn TileStore>;

/// Makes a part by what the configuration says of it.
struct Factory<Wanted, Part: ?Sized>(Arc<Make<Wanted, Part>>);

type Make<Wanted, Part> = dyn Fn(&Wanted) -> Result<Arc<Part>, String> + Send + Sync;

impl<Wanted, Part: ?Sized> Clone for Factory<Wanted, Part> {
    fn clone(&self) -> Self {
        Factory(Arc::clone(&self.0))
    }
}

impl<Wanted, Part: ?Sized> fmt::Debug for Factory<Wanted, Part> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

/// A source of `type: custom` as the configuration describes it; the profile of what is made has to hold these.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CustomSource {
    /// Its name.
    pub name: Arc<str>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res`, or the scales.
    pub resolutions: ResolutionRange,
}

/// The store of a cache with `cache: {type: custom}`, in one of the cache's grids.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CustomStore {
    /// The name of the cache.
    pub cache: Arc<str>,
    /// The grid of the tiles.
    pub grid: Arc<TileGrid>,
    /// Where a file cache would keep them: a place for those stores that need one.
    pub directory: PathBuf,
    /// The tiles' file extension, without a dot.
    pub extension: String,
}

#[derive(Clone, Debug)]
enum Input {
    File(PathBuf),
    Text { text: Vec<u8>, base_dir: PathBuf },
}

/// A built application and what was noticed on the way.
#[derive(Debug)]
pub struct Built {
    /// The application.
    pub app: App,
    /// Warnings; no errors.
    pub diagnostics: Diagnostics,
    /// Files whose change asks for a new application.
    pub files: Vec<PathBuf>,
}

/// A configuration from which no application can be built.
#[derive(Debug, thiserror::Error)]
#[error("{diagnostics}")]
pub struct BuildError {
    /// All mistakes, and warnings beside them.
    pub diagnostics: Diagnostics,
    /// Files whose change asks for another try.
    pub files: Vec<PathBuf>,
}

/// Builds the application that a `mapproxy.yaml` describes.
pub fn make_app(config: impl AsRef<Path>) -> Result<App, BuildError> {
    AppBuilder::from_file(config).build().map(|built| built.app)
}

impl AppBuilder {
    /// From a `mapproxy.yaml`; paths in it are relative to its directory.
    pub fn from_file(path: impl AsRef<Path>) -> AppBuilder {
        AppBuilder::new(Input::File(path.as_ref().to_path_buf()))
    }

    /// From a configuration in memory; paths in it are relative to `base_dir`.
    pub fn from_text(text: impl Into<Vec<u8>>, base_dir: impl Into<PathBuf>) -> AppBuilder {
        AppBuilder::new(Input::Text { text: text.into(), base_dir: base_dir.into() })
    }

    /// Sends all upstream requests through `client`, in place of the configured HTTP options.
    pub fn http_client(mut self, client: Arc<dyn HttpClient>) -> AppBuilder {
        self.extras.http_client = Some(client);
        self
    }

    /// Whose word about our public address counts; goes before `globals.public_url` and `globals.trusted_proxies`.
    #[must_use]
    pub fn proxies(mut self, rules: ProxyRules) -> AppBuilder {
        self.extras.proxies = rules;
        self
    }

    /// Asks `authorizer` who may see what; without one, all may see everything.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> AppBuilder {
        self.extras.gate = Gate::guarded_by(authorizer);
        self
    }

    /// Has `decorator` draw on each map and tile before it is sent, after those given before.
    #[must_use]
    pub fn decorate(mut self, decorator: Arc<dyn Decorator>) -> AppBuilder {
        self.extras.decorators = self.extras.decorators.with(decorator);
        self
    }

    /// Makes the source called `name`, which the configuration has with `type: custom`. An error stops the build, and
    /// is told with the place in the configuration.
    #[must_use]
    pub fn source(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&CustomSource) -> Result<Arc<dyn MapSource>, String> + Send + Sync + 'static,
    ) -> AppBuilder {
        self.extras.sources.insert(name.into(), Factory(Arc::new(make)));
        self
    }

    /// Makes the one who is asked about points of the source called `name`, which the configuration has with `type:
    /// custom`; the layers made of it are queryable then.
    #[must_use]
    pub fn info(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&CustomSource) -> Result<Arc<dyn InfoSource>, String> + Send + Sync + 'static,
    ) -> AppBuilder {
        self.extras.infos.insert(name.into(), Factory(Arc::new(make)));
        self
    }

    /// Makes the store of the cache called `cache`, which the configuration has with `cache: {type: custom}`; once for
    /// each of its grids.
    #[must_use]
    pub fn store(
        mut self,
        cache: impl Into<String>,
        make: impl Fn(&CustomStore) -> Result<Arc<dyn TileStore>, String> + Send + Sync + 'static,
    ) -> AppBuilder {
        self.extras.stores.insert(cache.into(), Factory(Arc::new(make)));
        self
    }

    /// Tells `observer` of each answer: a sink for metrics.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> AppBuilder {
        self.extras.observer = Some(observer);
        self
    }

    /// Wraps the way to each upstream server, with the HTTP options that are configured for it: to count requests, or to
    /// hold them back. Programs that answer in place of servers are not wrapped.
    #[must_use]
    pub fn wrap_http(
        mut self,
        wrap: impl Fn(Arc<dyn HttpClient>) -> Arc<dyn HttpClient> + Send + Sync + 'static,
    ) -> AppBuilder {
        self.extras.wrap_http = Some(Wrap(Arc::new(wrap)));
        self
    }

    fn new(input: Input) -> AppBuilder {
        AppBuilder { input, extras: Extras::default() }
    }

    /// What it builds from, for people.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        match &self.input {
            Input::File(path) => path.display(),
            Input::Text { base_dir, .. } => base_dir.display(),
        }
    }

    fn load(&self) -> Loaded {
        match &self.input {
            Input::File(path) => mapproxy_config::load(path),
            Input::Text { text, base_dir } => mapproxy_config::load_str(text, base_dir),
        }
    }

    /// Reads, checks and builds; as often as wanted.
    pub fn build(&self) -> Result<Built, BuildError> {
        let loaded = self.load();
        let Some(config) = loaded.config else {
            return Err(BuildError { diagnostics: loaded.diagnostics, files: loaded.files });
        };
        let mut parts = Parts::new(&config, self.extras.clone());
        let gate = parts.gate();
        let is_guarded = gate.is_some();
        // Without a gate the rest is built for its mistakes only, and thrown away.
        parts.extras.gate = gate.unwrap_or_default();
        let app = services::app(&parts).filter(|_| is_guarded);
        let mut diagnostics = loaded.diagnostics;
        diagnostics.0.extend(parts.diagnostics.into_inner());
        match app {
            Some(app) if !diagnostics.has_errors() => Ok(Built { app, diagnostics, files: loaded.files }),
            _ => Err(BuildError { diagnostics, files: loaded.files }),
        }
    }
}

/// How a bucket is reached, and the way there; `None` where that was found to be wrong.
type Bucket = (S3Store, Option<Arc<dyn ObjectService>>);

/// The configuration and what has been built of it. Each part is built when first asked for, and once.
struct Parts<'a> {
    config: &'a Config,
    clients: Clients,
    /// Open files of compact caches.
    bundles: Arc<BundlePool>,
    /// Buckets that were looked for, by what is configured of them.
    buckets: RefCell<Vec<Bucket>>,
    extras: Extras,
    /// `globals.srs.preferred_src_proj`.
    preferred_srs: Arc<Vec<(Srs, Vec<Srs>)>>,
    grids: RefCell<HashMap<Name, Option<Arc<TileGrid>>>>,
    caches: RefCell<HashMap<Name, Option<Arc<caches::BuiltCache>>>>,
    /// Files of SQLite that are open.
    databases: Arc<Pool>,
    /// By their place in the configuration.
    dimensions: RefCell<HashMap<Arc<str>, Option<Arc<Dimension>>>>,
    /// Stylesheets that were looked at, by file and place in the configuration.
    stylesheets: RefCell<HashSet<(PathBuf, String)>>,
    /// Those who draw for sources of this name.
    mapniks: RefCell<HashMap<Name, Arc<Mapnik>>>,
    /// One that has Mapnik, once it was looked for.
    python: OnceCell<Result<PathBuf, String>>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'a> Parts<'a> {
    fn new(config: &'a Config, extras: Extras) -> Parts<'a> {
        let mut parts = Parts {
            config,
            clients: Clients::default(),
            bundles: Arc::default(),
            buckets: RefCell::default(),
            extras,
            preferred_srs: Arc::default(),
            grids: RefCell::default(),
            caches: RefCell::default(),
            databases: Arc::default(),
            dimensions: RefCell::default(),
            stylesheets: RefCell::default(),
            mapniks: RefCell::default(),
            python: OnceCell::new(),
            diagnostics: RefCell::default(),
        };
        if let Some(directory) = &config.globals.proj_data_dir {
            mapproxy_grid::set_proj_data_dir(directory);
        }
        let at = Origin::new("globals.srs.preferred_src_proj", mapproxy_config::Span::default());
        let mut preferred = Vec::new();
        for (target, sources) in &config.globals.preferred_src_proj {
            let target = parts.srs(target, &at);
            let sources: Option<Vec<Srs>> = sources.iter().map(|code| parts.srs(code, &at)).collect();
            preferred.extend(target.zip(sources));
        }
        parts.preferred_srs = Arc::new(preferred);
        parts
    }

    /// Reports a mistake; the part is left out.
    fn error<T>(&self, at: &Origin, message: impl fmt::Display) -> Option<T> {
        self.tell(self.config.error(at, message.to_string()));
        None
    }

    /// Reports what works, but hardly as it was meant.
    fn warning(&self, at: &Origin, message: impl fmt::Display) {
        self.tell(self.config.warning(at, message.to_string()));
    }

    /// Says it once: what several caches and layers use is built for each of them.
    fn tell(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }

    /// What the program says of proxies, and for the rest the configuration.
    fn proxies(&self) -> Option<ProxyRules> {
        let globals = &self.config.globals;
        let mut configured = ProxyRules::default();
        if let Some((proxies, at)) = &globals.trusted_proxies {
            configured = configured.trust_only(proxies).map_or_else(|error| self.error(at, error), Some)?;
        }
        if let Some((url, at)) = &globals.public_url {
            configured =
                configured.public_url(url.parse().map_or_else(|error: ProxyRulesError| self.error(at, error), Some)?);
        }
        Some(self.extras.proxies.clone().or(&configured))
    }

    fn srs(&self, code: &str, at: &Origin) -> Option<Srs> {
        Srs::new(code).map_or_else(|error| self.error(at, error), Some)
    }
}
