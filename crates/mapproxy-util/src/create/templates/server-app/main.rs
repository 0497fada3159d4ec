//! Serves one MapProxy configuration:
//!
//! ```sh
//! {{name}}                                      # HTTP on 127.0.0.1:8080
//! {{name}} 0.0.0.0:80                           # HTTP elsewhere
//! {{name}} unix:/run/mapproxy/mapproxy.sock     # HTTP on a unix socket
//! {{name}} systemd                              # HTTP on the sockets that systemd has opened
//! {{name}} --fastcgi unix:/run/mapproxy.sock    # FastCGI on any of them
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_core::AppBuilder;
use mapproxy_core::wrap::Reload;
use mapproxy_http::{Listen, Protocol, Server};

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
    let mut protocol = Protocol::Http;
    let mut address = "127.0.0.1:8080".to_owned();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--fastcgi" => protocol = Protocol::FastCgi,
            option if option.starts_with('-') => return Err(format!("unknown option {option}").into()),
            _ => address = argument,
        }
    }
    let listen: Listen = address.parse()?;

    // The log goes to standard error. To have it elsewhere, take the other line, and write the file with
    // `mapproxy-util create -t log-ini log.ini`.
    let logging = mapproxy_logging::Setup::new().start()?;
    // let logging = mapproxy_logging::Logging::from_file("log.ini")?;

    // The application is built anew when a file of the configuration changes, and on SIGHUP. One that cannot be built
    // leaves the old one in place.
    let app = Arc::new(Reload::of_builder(AppBuilder::from_file(CONFIGURATION))?);
    let _watching = app.watch(Duration::from_secs(1))?;

    // What stands around an application is an application. Here only pages of one origin may read the answers:
    // let served = mapproxy_core::wrap::Cors::new(Arc::clone(&app), &["https://maps.example.org"])?;
    let served = Arc::clone(&app);

    Server::builder(served)
        .listen(listen)
        .protocol(protocol)
        .stop_on_signals(true)
        .on_hangup(move || {
            app.reload();
            logging.reopen();
        })
        .build()?
        .run()?;
    Ok(())
}
