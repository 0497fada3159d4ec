//! From a [`Deployment`] to applications.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapproxy_core::wrap::{self, BasicAuth, Loaded, NotLoaded, Passwords, Prefix, Reload, UrlMap, Watching};
use mapproxy_core::{AppBuilder, Application, ProxyRules, Request, Response};

use super::{Deployment, Mount, Part};
use crate::served::{Served, WATCH_INTERVAL, multi};
use crate::{Failure, MISTAKEN};

/// All applications of a deployment file, and what keeps them up to date.
struct Deployed {
    app: Arc<dyn Application>,
    /// Each configuration is looked after by itself, so that a change of one leaves the others alone.
    _watching: Vec<Watching>,
}

#[deny(clippy::missing_trait_methods)]
impl Application for Deployed {
    fn call(&self, request: Request) -> Response {
        self.app.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.app.call_now(request)
    }
}

impl Deployment {
    /// The applications; they are built anew when the deployment file changes as far as they are concerned. Its server
    /// and its log are those of the start.
    pub(crate) fn serve(&self, rules: &ProxyRules, watch: bool, no_reload: bool) -> Result<Served, Failure> {
        for warning in &self.warnings {
            log::warn!(target: "mapproxy.config", "{warning}");
        }
        if no_reload && !self.directories().is_empty() {
            return Err(Failure::new(
                MISTAKEN,
                "ERROR: --no-reload: the configurations of a directory (multiapp) are always looked after",
            ));
        }
        let (file, app_name, rules) = (self.file.clone(), self.app_name.clone(), rules.clone());
        let app = Reload::new(move || {
            let deployment = Deployment::read(&file, &app_name, None)
                .map_err(|failure| NotLoaded { reason: failure.message, files: vec![file.clone()] })?;
            let files = deployment.files.clone();
            match deployment.build(&rules, watch) {
                Ok(app) => Ok(Loaded { app, files }),
                Err(reason) => Err(NotLoaded { reason, files }),
            }
        });
        Served::reloading(Arc::new(app.map_err(|error| Failure::new(MISTAKEN, error))?), watch)
    }

    /// Builds everything, and throws it away.
    pub(crate) fn try_build(&self, rules: &ProxyRules) -> Result<(), Failure> {
        self.build(rules, false).map(|_| ()).map_err(|reason| Failure::new(MISTAKEN, reason))
    }

    fn build(&self, rules: &ProxyRules, watch: bool) -> Result<Deployed, String> {
        let mut builder = Builder { rules, watching: watch.then(Vec::new) };
        let app = builder.part(&self.app)?;
        Ok(Deployed { app, _watching: builder.watching.unwrap_or_default() })
    }

    /// All configurations that it names.
    pub(crate) fn configurations(&self) -> Vec<&Path> {
        self.paths(|part| match part {
            Part::Configuration(path) => Some(path),
            _ => None,
        })
    }

    /// All directories of configurations that it names.
    pub(crate) fn directories(&self) -> Vec<&Path> {
        self.paths(|part| match part {
            Part::Directory { directory, .. } => Some(directory),
            _ => None,
        })
    }

    fn paths<'a>(&'a self, path: impl Fn(&'a Part) -> Option<&'a PathBuf>) -> Vec<&'a Path> {
        let mut paths = Vec::new();
        self.app.each(&mut |part| {
            if let Some(path) = path(part).filter(|path| !paths.contains(&path.as_path())) {
                paths.push(path.as_path());
            }
        });
        paths
    }
}

struct Builder<'a> {
    rules: &'a ProxyRules,
    /// `None` if files are not looked after.
    watching: Option<Vec<Watching>>,
}

impl Builder<'_> {
    fn part(&mut self, part: &Part) -> Result<Arc<dyn Application>, String> {
        let error = |error: &dyn std::fmt::Display| format!("ERROR: {error}");
        Ok(match part {
            Part::Configuration(path) => {
                log::info!(target: "mapproxy.config", "reading: {}", path.display());
                let app = Reload::of_builder(AppBuilder::from_file(path).proxies(self.rules.clone()));
                let app = Arc::new(app.map_err(|error| error.to_string())?);
                if let Some(watching) = &mut self.watching {
                    let watch = app.watch(WATCH_INTERVAL);
                    watching.push(
                        watch.map_err(|reason| error(&format_args!("cannot watch {}: {reason}", path.display())))?,
                    );
                }
                app
            }
            Part::Directory { directory, allow_listing } => {
                Arc::new(multi(directory, *allow_listing, self.rules).map_err(|reason| error(&reason))?)
            }
            Part::UrlMap(mounts) => Arc::new(self.url_map(mounts)?),
            Part::Prefix { prefix, https, app } => {
                let prefixed = Prefix::new(self.part(app)?, prefix).proxies(self.rules.clone());
                Arc::new(https.iter().fold(prefixed, |prefixed, https| prefixed.https(*https)))
            }
            Part::Cors { cors, app } => {
                let built = wrap::Cors::new(self.part(app)?, &cors.origins)
                    .and_then(|built| if cors.expose.is_empty() { Ok(built) } else { built.expose(&cors.expose) })
                    .and_then(|built| built.credentials(cors.credentials));
                let built = built.map_err(|reason| error(&reason))?;
                Arc::new(cors.max_age.iter().fold(built, |built, seconds| built.max_age(*seconds)))
            }
            Part::BasicAuth { realm, htpasswd, app } => {
                let passwords = Passwords::open(htpasswd).map_err(|reason| error(&reason))?;
                Arc::new(BasicAuth::new(self.part(app)?, realm, passwords))
            }
        })
    }

    fn url_map(&mut self, mounts: &[Mount]) -> Result<UrlMap, String> {
        let mut map = UrlMap::new().proxies(self.rules.clone());
        for Mount { host, path, app } in mounts {
            let app = self.part(app)?;
            let mounted = match host {
                Some(host) => map.mount_for_host(host, path, app),
                None => map.mount(path, app),
            };
            map = mounted.map_err(|error| format!("ERROR: {error}"))?;
        }
        Ok(map)
    }
}
