//! `mapproxy-util create`: files to begin with: configurations, programs, and what goes into other servers.

mod backend;
mod package;
mod render;
mod snippets;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{FAILED, Failure, eprintln, println};
use backend::{Backend, Prefix};
use write::Target;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to create; --list-templates lists them
    #[arg(short, long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// List the templates
    #[arg(short, long)]
    list_templates: bool,
    /// The mapproxy.yaml that the template is for
    #[arg(short = 'f', long, value_name = "FILE")]
    mapproxy_conf: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// Where the server runs that the snippet is for: HOST:PORT or unix:PATH [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Backend>,
    /// The path under which clients find it [default: /]
    #[arg(long, value_name = "PATH")]
    prefix: Option<Prefix>,
    /// The server speaks FastCGI rather than HTTP
    #[arg(long)]
    fastcgi: bool,
    /// The folder of MapProxy's crates that the program shall use, rather than published ones
    #[arg(long, value_name = "DIR")]
    crates: Option<PathBuf>,
    /// The file or folder to create
    #[arg(value_name = "DESTINATION")]
    destination: Option<PathBuf>,
}

/// Something to create.
struct Template {
    name: &'static str,
    about: &'static str,
    /// Whether it is made for a certain mapproxy.yaml.
    for_configuration: bool,
    /// The options besides `--mapproxy-conf` and `--force` that it knows.
    options: &'static [&'static str],
    files: fn(&Order<'_>) -> Result<Vec<Target>, Failure>,
}

/// What was asked for, checked as far as all templates need it.
pub(crate) struct Order<'a> {
    /// Absolute, if the template is made for a configuration.
    configuration: PathBuf,
    backend: Backend,
    prefix: Prefix,
    fastcgi: bool,
    crates: Option<&'a Path>,
    destination: &'a Path,
}

const PROXY: &[&str] = &["--address", "--prefix", "--fastcgi"];

const TEMPLATES: &[Template] = &[
    Template {
        name: "base-config",
        about: "mapproxy.yaml and seed.yaml to begin with, and full examples, in a folder",
        for_configuration: false,
        options: &[],
        files: base_config,
    },
    Template {
        name: "log-ini",
        about: "logging, for --log-config",
        for_configuration: false,
        options: &[],
        files: log_ini,
    },
    Template {
        name: "server-app",
        about: "a server for one configuration as a program of your own: a Cargo package in a folder",
        for_configuration: true,
        options: &["--crates"],
        files: package::server_app,
    },
    Template {
        name: "wsgi-app",
        about: "the same as server-app, which has the place of a WSGI script here",
        for_configuration: true,
        options: &["--crates"],
        files: package::wsgi_app,
    },
    Template {
        name: "deploy-ini",
        about: "a deployment file: what to serve, how, and what to log",
        for_configuration: true,
        options: PROXY,
        files: snippets::deploy_ini,
    },
    Template {
        name: "nginx",
        about: "nginx in front of the server, HTTP or FastCGI",
        for_configuration: true,
        options: PROXY,
        files: snippets::nginx,
    },
    Template {
        name: "apache",
        about: "Apache in front of the server, HTTP or FastCGI",
        for_configuration: true,
        options: PROXY,
        files: snippets::apache,
    },
    Template {
        name: "lighttpd",
        about: "lighttpd in front of the server, HTTP or FastCGI",
        for_configuration: true,
        options: PROXY,
        files: snippets::lighttpd,
    },
    Template {
        name: "varnish",
        about: "Varnish in front of the server",
        for_configuration: true,
        options: &["--address", "--prefix"],
        files: snippets::varnish,
    },
    Template {
        name: "systemd",
        about: "mapproxy.service and mapproxy.socket, in a folder",
        for_configuration: true,
        options: &["--address", "--fastcgi"],
        files: snippets::systemd,
    },
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.list_templates {
        println(format_args!("Available templates:"));
        for template in TEMPLATES {
            println(format_args!("{:<12} {}", template.name, template.about));
        }
        return Ok(ExitCode::from(FAILED)); // nothing was created, and scripts know this status
    }
    let Some(name) = &arguments.template else {
        return Err(Failure::with_usage(""));
    };
    let template = TEMPLATES
        .iter()
        .find(|template| template.name == name)
        .ok_or_else(|| failure(format_args!("unknown template {name}")))?;
    let destination =
        arguments.destination.as_deref().ok_or_else(|| failure("template requires destination argument"))?;
    refuse_unknown_options(arguments, template)?;
    let configuration = match (&arguments.mapproxy_conf, template.for_configuration) {
        (Some(path), true) => configuration(path)?,
        (None, true) => {
            return Err(Failure::with_usage("ERROR: template requires --mapproxy-conf option"));
        }
        (_, false) => PathBuf::new(),
    };
    let order = Order {
        configuration,
        backend: arguments.address.clone().unwrap_or_default(),
        prefix: arguments.prefix.clone().unwrap_or_default(),
        fastcgi: arguments.fastcgi,
        crates: arguments.crates.as_deref(),
        destination,
    };
    let files = (template.files)(&order)?;
    write::write(&files, arguments.force)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(message: impl std::fmt::Display) -> Failure {
    Failure::new(FAILED, format_args!("ERROR: {message}"))
}

/// An option that would change nothing is a misunderstanding.
fn refuse_unknown_options(arguments: &Arguments, template: &Template) -> Result<(), Failure> {
    let given = [
        ("--mapproxy-conf", arguments.mapproxy_conf.is_some()),
        ("--address", arguments.address.is_some()),
        ("--prefix", arguments.prefix.is_some()),
        ("--fastcgi", arguments.fastcgi),
        ("--crates", arguments.crates.is_some()),
    ];
    for (option, is_given) in given {
        let known = template.options.contains(&option) || (option == "--mapproxy-conf" && template.for_configuration);
        if is_given && !known {
            return Err(failure(format_args!("template {} has no use for {option}", template.name)));
        }
    }
    Ok(())
}

/// The configuration as others will find it. It may lie on another machine, so that a missing one is only mentioned.
fn configuration(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|error| failure(format_args!("cannot make {} absolute: {error}", path.display())))?;
    // Folders such as `../maps` are fine for us but not for those who read the file.
    let absolute = absolute.canonicalize().unwrap_or(absolute);
    if absolute.to_str().is_none_or(|text| text.chars().any(char::is_control)) {
        return Err(failure(format_args!("{:?} cannot be written into a file as it is", absolute)));
    }
    if !absolute.is_file() {
        eprintln(format_args!("WARNING: there is no {} yet", absolute.display()));
    }
    Ok(absolute)
}

fn base_config(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    const FILES: [(&str, &str); 4] = [
        ("mapproxy.yaml", include_str!("templates/base-config/mapproxy.yaml")),
        ("seed.yaml", include_str!("templates/base-config/seed.yaml")),
        ("full_example.yaml", include_str!("templates/base-config/full_example.yaml")),
        ("full_seed_example.yaml", include_str!("templates/base-config/full_seed_example.yaml")),
    ];
    Ok(FILES.iter().map(|(name, text)| Target::new(order.destination.join(name), *text)).collect())
}

fn log_ini(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    Ok(vec![Target::new(order.destination, include_str!("templates/log.ini"))])
}
