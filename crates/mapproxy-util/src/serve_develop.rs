//! `mapproxy-util serve-develop`, `serve-multiapp-develop`: servers to work on configurations with. They reload
//! when a file of a configuration changes, and say on the terminal what they do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use mapproxy_core::{Application, ProxyRules};
use mapproxy_http::{AccessLog, AccessLogFormat, Builder, Server};
use mapproxy_logging::{Output, Setup};

use crate::address::Address;
use crate::debug::ShowErrors;
use crate::example::Example;
use crate::logs::{self, Logs};
use crate::served::Served;
use crate::{FAILED, Failure, eprintln, println};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) server: DevelopOptions,
    /// The mapproxy.yaml; without one, an example with a map of the world is served
    #[arg(value_name = "CONF")]
    configuration: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MultiArguments {
    #[command(flatten)]
    server: DevelopOptions,
    /// The directory with a NAME.yaml for each project
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevelopOptions {
    /// Where to listen: PORT, HOST, HOST:PORT or [IPV6]:PORT; 0.0.0.0 lets other machines in [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Option<Address>,
    /// Log more, and show unhandled errors in the browser
    #[arg(long)]
    pub(crate) debug: bool,
    /// Log as this file says, in the format of Python's logging.config.fileConfig
    #[arg(long, value_name = "INI")]
    log_config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let logs = arguments.server.begin()?;
    // The example must outlive the server: it may lie in a temporary directory.
    let (configuration, _example) = match &arguments.configuration {
        Some(path) => (path.clone(), None),
        None => {
            let example = Example::unpack()
                .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot write the example: {error}")))?;
            (example.configuration(), Some(example))
        }
    };
    let served = Served::configuration(&configuration, &ProxyRules::default(), true)?;
    arguments.server.serve(served, logs)
}

pub(crate) fn run_multi(arguments: &MultiArguments) -> Result<ExitCode, Failure> {
    let missing = || Failure::with_usage("ERROR: MapProxy projects directory required.");
    let directory = arguments.directory.as_ref().ok_or_else(missing)?;
    let logs = arguments.server.begin()?;
    arguments.server.serve(Served::directory(directory, true, &ProxyRules::default())?, logs)
}

impl DevelopOptions {
    /// Starts the log, and warns of what others may see.
    fn begin(&self) -> Result<Logs, Failure> {
        let level = if self.debug { LevelFilter::Debug } else { LevelFilter::Info };
        let logs = match &self.log_config {
            Some(path) => Logs::of_config(&logs::read(path)?)?,
            None => Logs::of_setup(Setup::new().output(Output::Stdout).default_level(level))?,
        };
        let address = self.bind.clone().unwrap_or_default();
        if !address.is_local() {
            let danger = match self.debug {
                true => "and --debug shows the program's insides to all of them; do not use the two together",
                false => "this command is meant for development; use `mapproxy-util serve` to serve others",
            };
            eprintln(format_args!("WARNING: {address} can be reached by other machines, {danger}"));
        }
        Ok(logs)
    }

    fn serve(&self, served: Served, logs: Logs) -> Result<ExitCode, Failure> {
        let reload = Arc::clone(&served.reload);
        let on_hangup = {
            let logs = logs.clone();
            move || {
                logs.reopen();
                reload();
            }
        };
        let app = Arc::clone(&served.app);
        match self.debug {
            true => self.run(Server::builder(ShowErrors::new(app)).on_hangup(on_hangup)),
            false => self.run(Server::builder(app).on_hangup(on_hangup)),
        }
    }

    fn run<A: Application + 'static>(&self, builder: Builder<A>) -> Result<ExitCode, Failure> {
        let address = self.bind.clone().unwrap_or_default();
        let access_log = AccessLog::open("-", AccessLogFormat::Combined)
            .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot write the access log: {error}")))?;
        // Whoever stops a server under development does not want to wait for slow upstream servers.
        let server = builder
            .bind(address.to_string())
            .access_log(access_log)
            .stop_on_signals(true)
            .stop_timeout(Duration::from_secs(2))
            .build()?;
        let port = server.local_addr().map_or(address.port, |local| local.port());
        let shown = Address { port, ..address };
        println(format_args!(" * Running on http://{shown}/ (Press CTRL+C to quit)"));
        server.run()?;
        Ok(ExitCode::SUCCESS)
    }
}
