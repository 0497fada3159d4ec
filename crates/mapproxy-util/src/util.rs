//! `mapproxy-util`: the command line of MapProxy. One file for each command.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of options are their help texts, where [..] is no link"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod check;
mod create;
mod debug;
mod deployment;
mod example;
mod logs;
mod serve;
mod serve_develop;
mod served;
mod server_options;

use std::fmt;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

/// Usage was right, but something in the environment was not.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
const MISTAKEN: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "mapproxy-util",
    version = concat!("MapProxy ", env!("CARGO_PKG_VERSION")),
    about = "Serves and checks MapProxy configurations",
    infer_long_args = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration while working on it: reloads on changes, logs to the terminal
    ServeDevelop(serve_develop::Arguments),
    /// Serve every configuration of a directory while working on them, each under its name
    ServeMultiappDevelop(serve_develop::MultiArguments),
    /// Serve a configuration in production
    Serve(Box<serve::Arguments>),
    /// Say what is wrong with a configuration
    Check(check::Arguments),
    /// Create files to begin with: configurations, programs, what goes into other servers
    Create(create::Arguments),
}

/// Why a command ends before its work is done, with the exit status that tells.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    pub(crate) fn new(status: u8, message: impl fmt::Display) -> Failure {
        Failure { message: message.to_string(), status }
    }

    /// No configuration was named: the usage of `command`, and what is missing.
    fn without_configuration(command: &str) -> Failure {
        Failure::with_usage(command, "ERROR: MapProxy configuration required.")
    }

    /// The usage of `command`, and what is missing.
    fn with_usage(command: &str, missing: &str) -> Failure {
        let mut main = Arguments::command();
        main.build();
        let usage = main.find_subcommand_mut(command).map(|command| command.render_help().to_string());
        println(format_args!("{}", usage.unwrap_or_default()));
        Failure::new(FAILED, missing)
    }
}

impl From<mapproxy_http::ServerError> for Failure {
    fn from(error: mapproxy_http::ServerError) -> Failure {
        Failure::new(MISTAKEN, format_args!("ERROR: {error}"))
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let result = match &arguments.command {
        Command::ServeDevelop(arguments) => serve_develop::run(arguments),
        Command::ServeMultiappDevelop(arguments) => serve_develop::run_multi(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Create(arguments) => create::run(arguments),
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            eprintln(format_args!("{}", failure.message));
            ExitCode::from(failure.status)
        }
    }
}

/// Help and version are answers; no command or an unknown one gets the list of commands, as scripts expect it on
/// standard output with status 1; anything else is a mistake in the usage.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            println(format_args!("{}", error.render().to_string().trim_end()));
            ExitCode::SUCCESS
        }
        ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::InvalidSubcommand => {
            println(format_args!("{}", Arguments::command().render_help()));
            if let Some(name) = error.get(clap::error::ContextKind::InvalidSubcommand) {
                println(format_args!("ERROR: unknown command {name}"));
            }
            ExitCode::from(FAILED)
        }
        _ => {
            eprintln(format_args!("{}", error.render().to_string().trim_end()));
            ExitCode::from(MISTAKEN)
        }
    }
}

/// `println!` that does not mind a reader who has gone.
pub(crate) fn println(text: fmt::Arguments<'_>) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// `eprintln!` that does not mind a reader who has gone.
pub(crate) fn eprintln(text: fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn long_options_may_be_abbreviated_as_long_as_they_are_unique() {
        let arguments = Arguments::try_parse_from(["mapproxy-util", "serve-develop", "--deb", "a.yaml"]).unwrap();
        let Command::ServeDevelop(arguments) = arguments.command else { panic!("another command") };
        assert!(arguments.server.debug);
    }
}
