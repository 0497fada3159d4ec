//! The application of a configuration file, rebuilt when told to, and the server both commands put it into.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapproxy_config::{Diagnostics, Severity};
use mapproxy_core::wrap::{Loaded, NotLoaded, Reload};
use mapproxy_core::{App, AppBuilder};

use crate::{Failure, MISTAKEN};

/// Builds the application of `configuration`; warnings go to the log.
pub(crate) fn load(configuration: &Path) -> Result<Arc<Reload<App>>, Failure> {
    let path = configuration.to_owned();
    let reload = Reload::new(move || build(&path)).map_err(|error| Failure::new(MISTAKEN, error))?;
    Ok(Arc::new(reload))
}

fn build(path: &PathBuf) -> Result<Loaded<App>, NotLoaded> {
    log::info!(target: "mapproxy.config", "reading: {}", path.display());
    match AppBuilder::from_file(path).build() {
        Ok(built) => {
            for warning in built.diagnostics.warnings() {
                log::warn!(target: "mapproxy.config", "{warning}");
            }
            Ok(Loaded { app: built.app, files: built.files })
        }
        Err(error) => {
            let reason = format!("{}\nERROR: {}", error.diagnostics, summary(path, &error.diagnostics));
            Err(NotLoaded { reason, files: error.files })
        }
    }
}

/// `mapproxy.yaml: 2 errors, 1 warning`.
pub(crate) fn summary(path: &Path, diagnostics: &Diagnostics) -> String {
    let count = |severity: Severity, noun: &str| {
        let count = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {noun}{plural}"))
    };
    let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let counts = if counts.is_empty() { "no errors, no warnings".to_owned() } else { counts.join(", ") };
    format!("{}: {counts}", path.display())
}
