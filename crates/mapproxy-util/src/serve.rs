//! `mapproxy-util serve`: a server for production. Its log goes to standard error, its access log where it is told.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use log::LevelFilter;
use mapproxy_http::{AccessLog, AccessLogFormat, Server};

use crate::address::Address;
use crate::logging::{self, Output};
use crate::{FAILED, Failure, application};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen: PORT, HOST, HOST:PORT or [IPV6]:PORT [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Option<Address>,
    /// Threads that read requests and answer them with cached tiles [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Threads for requests that take time, at most
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    workers: usize,
    /// Requests that may wait for a worker; further ones are refused with status 503
    #[arg(long, value_name = "N", default_value_t = 1024)]
    queue: usize,
    /// How far workers step back behind cached tiles when processors are scarce, 0 (not at all) to 19
    #[arg(long, value_name = "N", default_value_t = 19, value_parser = clap::value_parser!(i32).range(0..=19))]
    niceness: i32,
    /// Connections at once; further ones wait
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one)]
    max_connections: usize,
    /// Seconds that requests at hand are given when the server is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    stop_timeout: u32,
    /// Reload when a file of the configuration changes (SIGHUP reloads in any case)
    #[arg(long)]
    reload: bool,
    /// Note each request in this file, `-` for standard output; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// How to note it
    #[arg(long, value_enum, default_value_t = LogFormat::Combined, requires = "access_log")]
    access_log_format: LogFormat,
    /// What to log at least: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    log_level: LevelFilter,
    /// The mapproxy.yaml
    #[arg(value_name = "CONF")]
    configuration: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// As Apache and nginx do
    Combined,
    /// A JSON object a line
    Json,
}

impl From<LogFormat> for AccessLogFormat {
    fn from(format: LogFormat) -> AccessLogFormat {
        match format {
            LogFormat::Combined => AccessLogFormat::Combined,
            LogFormat::Json => AccessLogFormat::Json,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let configuration = arguments.configuration.as_ref().ok_or_else(|| Failure::without_configuration("serve"))?;
    logging::start(Output::Stderr, arguments.log_level);
    let app = application::load(configuration)?;
    let _watching =
        match arguments.reload {
            true => Some(app.watch(Duration::from_secs(1)).map_err(|error| {
                Failure::new(FAILED, format_args!("ERROR: cannot watch the configuration: {error}"))
            })?),
            false => None,
        };
    let access_log = match &arguments.access_log {
        Some(path) => Some(AccessLog::open(path, arguments.access_log_format.into()).map_err(|error| {
            Failure::new(FAILED, format_args!("ERROR: cannot open the access log {}: {error}", path.display()))
        })?),
        None => None,
    };
    let address = arguments.bind.clone().unwrap_or_default();
    let mut builder = Server::builder(Arc::clone(&app))
        .bind(address.to_string())
        .workers(arguments.workers)
        .queue(arguments.queue)
        .worker_niceness(arguments.niceness)
        .max_connections(arguments.max_connections)
        .stop_timeout(Duration::from_secs(arguments.stop_timeout.into()))
        .access_log(access_log)
        .stop_on_signals(true)
        .on_hangup(move || {
            app.reload();
        });
    if let Some(threads) = arguments.threads {
        builder = builder.event_loops(threads);
    }
    let server = builder.build()?;
    for address in server.addresses() {
        log::info!(target: "mapproxy.http", "listening on http://{address}/");
    }
    server.run()?;
    log::info!(target: "mapproxy.http", "stopped");
    Ok(ExitCode::SUCCESS)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number from 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text.parse() {
        Ok(level @ (LevelFilter::Error | LevelFilter::Warn | LevelFilter::Info | LevelFilter::Debug)) => Ok(level),
        _ => Err("expected error, warn, info or debug".to_owned()),
    }
}
