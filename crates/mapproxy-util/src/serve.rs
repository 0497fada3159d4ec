//! `mapproxy-util serve`: a server for production. Its log goes to standard error, its access log where it is told.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mapproxy_http::{ListenAddr, Server};

use crate::deployment::Deployment;
use crate::served::{Served, multi};
use crate::server_options::ServerOptions;
use crate::{FAILED, Failure, MISTAKEN, check, logs, println};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    logs: logs::Arguments,
    /// Answer one request from the environment, as a CGI program does, and exit
    #[arg(long, conflicts_with_all = ["bind", "fastcgi"])]
    cgi: bool,
    /// Serve every project of this directory under /NAME/
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "no_reload"])]
    multi: Option<PathBuf>,
    /// Show a list of the projects at /
    #[arg(long, requires = "multi")]
    allow_listing: bool,
    /// Say whether it can be served, and exit: 0 if it can, 1 if not
    #[arg(long)]
    check: bool,
    /// Do not look for changes of the configuration; SIGHUP reloads in any case
    #[arg(long)]
    no_reload: bool,
    /// Which application of a deployment file [default: main]
    #[arg(long, value_name = "NAME")]
    app_name: Option<String>,
    /// Which server of a deployment file [default: main]
    #[arg(short = 'n', long, value_name = "NAME")]
    server_name: Option<String>,
    /// The mapproxy.yaml, or a deployment file whose name ends in .ini
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is to be served, and where that is said.
enum What {
    Configuration(PathBuf),
    Directory(PathBuf),
    Deployment(Box<Deployment>),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.check {
        return run_check(arguments);
    }
    let what = what(arguments)?;
    let options = match &what {
        What::Deployment(deployment) => arguments.server.clone().or(deployment.server.clone()),
        _ => arguments.server.clone(),
    };
    options.check()?;
    let config = match &what {
        What::Deployment(deployment) => deployment.logging.as_ref(),
        _ => None,
    };
    let logs = arguments.logs.start(config)?;
    let rules = options.proxy_rules()?;
    // A CGI program is gone before anything can change.
    let watch = !arguments.no_reload && !arguments.cgi;
    let served = match what {
        What::Configuration(path) => Served::configuration(&path, &rules, watch)?,
        What::Directory(dir) => Served::directory(&dir, arguments.allow_listing, &rules)?,
        What::Deployment(deployment) => deployment.serve(&rules, watch, arguments.no_reload)?,
    };
    if arguments.cgi {
        let failed = |error| Failure::new(FAILED, format_args!("ERROR: the request cannot be answered: {error}"));
        mapproxy_http::cgi::run(&served.app).map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let on_hangup = {
        let (reload, logs) = (Arc::clone(&served.reload), logs.clone());
        move || {
            logs.reopen();
            reload();
        }
    };
    let builder = Server::builder(Arc::clone(&served.app)).stop_on_signals(true).on_hangup(on_hangup);
    let server = options.apply(builder)?.build()?;
    for address in server.addresses() {
        match (options.fastcgi, address) {
            (true, address) => log::info!(target: "mapproxy.http", "listening for FastCGI on {address}"),
            (false, ListenAddr::Tcp(address)) => {
                log::info!(target: "mapproxy.http", "listening on http://{address}/");
            }
            (false, address) => log::info!(target: "mapproxy.http", "listening on {address}"),
        }
    }
    server.run()?;
    log::info!(target: "mapproxy.http", "stopped");
    Ok(ExitCode::SUCCESS)
}

fn what(arguments: &Arguments) -> Result<What, Failure> {
    if let Some(dir) = &arguments.multi {
        return Ok(What::Directory(dir.clone()));
    }
    let path = arguments.file.as_ref().ok_or_else(Failure::without_configuration)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ini")) {
        let app_name = arguments.app_name.as_deref().unwrap_or("main");
        let deployment = Deployment::read(path, app_name, arguments.server_name.as_deref())?;
        return Ok(What::Deployment(Box::new(deployment)));
    }
    if arguments.app_name.is_some() || arguments.server_name.is_some() {
        return Err(Failure::new(MISTAKEN, "ERROR: --app-name and --server-name are for a deployment file (.ini)"));
    }
    Ok(What::Configuration(path.clone()))
}

/// Tries everything but listening and opening logs.
fn run_check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mistaken = |failure: Failure| {
        println(format_args!("{}", failure.message));
        ExitCode::from(FAILED)
    };
    let what = match what(arguments) {
        Ok(what) => what,
        Err(failure) if failure.status == MISTAKEN => return Ok(mistaken(failure)),
        Err(failure) => return Err(failure),
    };
    let options = match &what {
        What::Deployment(deployment) => arguments.server.clone().or(deployment.server.clone()),
        _ => arguments.server.clone(),
    };
    if let Err(failure) = options.check().and_then(|()| arguments.logs.config()) {
        return Ok(mistaken(failure));
    }
    let is_valid = match &what {
        What::Configuration(path) => check::configuration(path),
        What::Directory(dir) => check_directory(dir)?,
        What::Deployment(deployment) => {
            for warning in &deployment.warnings {
                println(format_args!("{warning}"));
            }
            // What they share is reported once for each; that is better than not at all.
            let configurations = deployment.configurations();
            let valid = configurations.iter().filter(|path| check::configuration(path)).count();
            let mut valid = valid == configurations.len();
            for dir in deployment.directories() {
                valid &= check_directory(dir)?;
            }
            match valid.then(|| deployment.try_build(&options.proxy_rules().unwrap_or_default())) {
                Some(Err(failure)) => return Ok(mistaken(failure)),
                Some(Ok(())) => true,
                None => false,
            }
        }
    };
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn check_directory(dir: &Path) -> Result<bool, Failure> {
    let mistaken = |error: &dyn std::fmt::Display| Failure::new(MISTAKEN, format_args!("ERROR: {error}"));
    let names = multi(dir, false, &mapproxy_core::ProxyRules::default())
        .map_err(|error| mistaken(&error))?
        .names()
        .map_err(|error| mistaken(&format_args!("{}: {error}", dir.display())))?;
    let valid = names.iter().filter(|name| check::configuration(&dir.join(format!("{name}.yaml")))).count();
    Ok(valid == names.len())
}
