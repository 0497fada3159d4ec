//! Serves one MapProxy configuration:
//!
//! ```sh
//! {{name}}               # on 127.0.0.1:8080
//! {{name}} 0.0.0.0:80    # elsewhere
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_core::AppBuilder;
use mapproxy_core::wrap::{Loaded, NotLoaded, Reload};
use mapproxy_http::Server;

const CONFIGURATION: &str = {{quoted_config}};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());

    // The application is built anew when a file of the configuration changes, and on SIGHUP. One that cannot be built
    // leaves the old one in place.
    let app = Arc::new(Reload::new(load)?);
    let _watching = app.watch(Duration::from_secs(1))?;

    Server::builder(Arc::clone(&app))
        .bind(address)
        .stop_on_signals(true)
        .on_hangup(move || {
            app.reload();
        })
        .build()?
        .run()?;
    Ok(())
}

fn load() -> Result<Loaded<mapproxy_core::App>, NotLoaded> {
    match AppBuilder::from_file(CONFIGURATION).build() {
        Ok(built) => Ok(Loaded { app: built.app, files: built.files }),
        Err(error) => Err(NotLoaded { reason: error.to_string(), files: error.files }),
    }
}
