//! `mapproxy-util serve-develop`: a server to work on a configuration with. It reloads when a file of the configuration
//! changes, and says on the terminal what it does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use mapproxy_core::Application;
use mapproxy_http::{AccessLog, AccessLogFormat, Builder, Server};

use crate::address::Address;
use crate::debug::ShowErrors;
use crate::example::Example;
use crate::logging::{self, Output};
use crate::{FAILED, Failure, MISTAKEN, application, eprintln, println};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen: PORT, HOST, HOST:PORT or [IPV6]:PORT; 0.0.0.0 lets other machines in [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Option<Address>,
    /// Log more, and show unhandled errors in the browser
    #[arg(long)]
    pub(crate) debug: bool,
    /// Logging configuration; not supported yet
    #[arg(long, value_name = "INI")]
    log_config: Option<PathBuf>,
    /// The mapproxy.yaml; without one, an example with a map of the world is served
    #[arg(value_name = "CONF")]
    configuration: Option<PathBuf>,
}

/// How often files are looked at for changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.log_config.is_some() {
        return Err(Failure::new(
            MISTAKEN,
            "ERROR: --log-config is not supported yet; without it the log goes to standard output",
        ));
    }
    logging::start(Output::Stdout, if arguments.debug { LevelFilter::Debug } else { LevelFilter::Info });
    let address = arguments.bind.clone().unwrap_or_default();
    if !address.is_local() {
        let danger = match arguments.debug {
            true => "and --debug shows the program's insides to all of them; do not use the two together",
            false => "this command is meant for development; use `mapproxy-util serve` to serve others",
        };
        eprintln(format_args!("WARNING: {address} can be reached by other machines, {danger}"));
    }
    // The example must outlive the server: it may lie in a temporary directory.
    let (configuration, _example) = match &arguments.configuration {
        Some(path) => (path.clone(), None),
        None => {
            let example = Example::unpack()
                .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot write the example: {error}")))?;
            (example.configuration(), Some(example))
        }
    };
    let app = application::load(&configuration)?;
    let _watching = app
        .watch(WATCH_INTERVAL)
        .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot watch the configuration: {error}")))?;
    let reload = {
        let app = Arc::clone(&app);
        move || {
            app.reload();
        }
    };
    match arguments.debug {
        true => serve(Server::builder(ShowErrors::new(app)).on_hangup(reload), &address),
        false => serve(Server::builder(app).on_hangup(reload), &address),
    }
}

fn serve<A: Application + 'static>(builder: Builder<A>, address: &Address) -> Result<ExitCode, Failure> {
    let access_log = AccessLog::open("-", AccessLogFormat::Combined)
        .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot write the access log: {error}")))?;
    // Whoever stops a server under development does not want to wait for slow upstream servers.
    let server = builder
        .bind(address.to_string())
        .access_log(access_log)
        .stop_on_signals(true)
        .stop_timeout(Duration::from_secs(2))
        .build()?;
    let shown = Address { port: server.local_addr().map_or(address.port, |local| local.port()), ..address.clone() };
    println(format_args!(" * Running on http://{shown}/ (Press CTRL+C to quit)"));
    server.run()?;
    Ok(ExitCode::SUCCESS)
}
