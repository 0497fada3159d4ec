//! From a checked configuration to an application, leaves first: grids, coverages, sources, caches, layers, services.
//!
//! This is the only place that knows both the configuration and the parts. What cannot be built is a diagnostic at the
//! place where it was written; building goes on, so that all mistakes are told at once.

mod caches;
mod coverages;
mod grids;
mod images;
mod layers;
mod services;
mod sources;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapproxy_client::{Clients, HttpClient};
use mapproxy_config::checked::Name;
use mapproxy_config::{Config, Diagnostic, Diagnostics, Origin};
use mapproxy_grid::{Srs, TileGrid};

use crate::App;

/// Builds an [`App`] with what a configuration alone cannot say.
#[derive(Debug)]
pub struct AppBuilder {
    input: Input,
    http_client: Option<Arc<dyn HttpClient>>,
}

#[derive(Debug)]
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
        AppBuilder { input: Input::File(path.as_ref().to_path_buf()), http_client: None }
    }

    /// From a configuration in memory; paths in it are relative to `base_dir`.
    pub fn from_text(text: impl Into<Vec<u8>>, base_dir: impl Into<PathBuf>) -> AppBuilder {
        AppBuilder { input: Input::Text { text: text.into(), base_dir: base_dir.into() }, http_client: None }
    }

    /// Sends all upstream requests through `client`, in place of the configured HTTP options.
    pub fn http_client(mut self, client: Arc<dyn HttpClient>) -> AppBuilder {
        self.http_client = Some(client);
        self
    }

    /// Reads, checks and builds.
    pub fn build(self) -> Result<Built, BuildError> {
        let loaded = match &self.input {
            Input::File(path) => mapproxy_config::load(path),
            Input::Text { text, base_dir } => mapproxy_config::load_str(text, base_dir),
        };
        let Some(config) = loaded.config else {
            return Err(BuildError { diagnostics: loaded.diagnostics, files: loaded.files });
        };
        let parts = Parts::new(&config, self.http_client);
        let app = services::app(&parts);
        let mut diagnostics = loaded.diagnostics;
        diagnostics.0.extend(parts.diagnostics.into_inner());
        match app {
            Some(app) if !diagnostics.has_errors() => Ok(Built { app, diagnostics, files: loaded.files }),
            _ => Err(BuildError { diagnostics, files: loaded.files }),
        }
    }
}

/// The configuration and what has been built of it. Each part is built when first asked for, and once.
struct Parts<'a> {
    config: &'a Config,
    clients: Clients,
    http_client: Option<Arc<dyn HttpClient>>,
    /// `globals.srs.preferred_src_proj`.
    preferred_srs: Arc<Vec<(Srs, Vec<Srs>)>>,
    grids: RefCell<HashMap<Name, Option<Arc<TileGrid>>>>,
    caches: RefCell<HashMap<Name, Option<Arc<caches::BuiltCache>>>>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'a> Parts<'a> {
    fn new(config: &'a Config, http_client: Option<Arc<dyn HttpClient>>) -> Parts<'a> {
        let mut parts = Parts {
            config,
            clients: Clients::default(),
            http_client,
            preferred_srs: Arc::default(),
            grids: RefCell::default(),
            caches: RefCell::default(),
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
        self.diagnostics.borrow_mut().push(self.config.error(at, message.to_string()));
        None
    }

    fn srs(&self, code: &str, at: &Origin) -> Option<Srs> {
        Srs::new(code).map_or_else(|error| self.error(at, error), Some)
    }
}
