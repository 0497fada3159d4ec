//! `mapproxy-util`: its command line. One file for each command.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    FAILED, MISTAKEN, autoconfig, cache_info, check, convert, create, defrag, eprintln, export, generated, gridconf,
    grids, println, scales, serve, serve_develop, verify, wms_capabilities,
};

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
    /// Convert between scales and resolutions
    Scales(scales::Arguments),
    /// Show the layers of a WMS
    WmsCapabilities(wms_capabilities::Arguments),
    /// Show grids, and how many tiles they have
    Grids(grids::Arguments),
    /// Turn the tile matrix sets of an OGC API into grids
    #[command(name = "gridconf-from-ogcapitilematrixset")]
    GridconfFromOgcapitilematrixset(gridconf::Arguments),
    /// Export tiles of a cache into a directory or a file of their own
    Export(Box<export::Arguments>),
    /// Write the bundles of compact caches anew without the bytes that are not in use
    #[command(name = "defrag-compact-cache")]
    DefragCompactCache(defrag::Arguments),
    /// Count the tiles that caches have, by level and age
    CacheInfo(cache_info::Arguments),
    /// Look at every stored tile for faults
    Verify(verify::Arguments),
    /// Take the tiles of a cache over into another
    Convert(Box<convert::Arguments>),
    /// Make a configuration of what a server or a file says of itself
    Autoconfig(autoconfig::Arguments),
    /// Write what shells need to complete command lines
    Completions(generated::Completions),
    /// Write manual pages
    Man(generated::Manuals),
}

/// The command line, for what is generated of it.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}

/// The program: reads its arguments, runs a command.
pub fn main() -> ExitCode {
    crate::allocator::keep_freed_memory();
    let matches = Arguments::command().try_get_matches();
    let parsed = matches.and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let result = match &arguments.command {
        Command::ServeDevelop(arguments) => serve_develop::run(arguments),
        Command::ServeMultiappDevelop(arguments) => serve_develop::run_multi(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Create(arguments) => create::run(arguments),
        Command::Scales(arguments) => scales::run(arguments),
        Command::WmsCapabilities(arguments) => wms_capabilities::run(arguments),
        Command::Grids(arguments) => grids::run(arguments),
        Command::GridconfFromOgcapitilematrixset(arguments) => gridconf::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::DefragCompactCache(arguments) => defrag::run(arguments),
        Command::CacheInfo(arguments) => cache_info::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Autoconfig(arguments) => autoconfig::run(arguments),
        Command::Completions(arguments) => generated::completions(arguments),
        Command::Man(arguments) => generated::manuals(arguments),
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            if failure.shows_usage {
                println(format_args!("{}", usage(matches.subcommand_name().unwrap_or_default()).trim_end()));
            }
            if !failure.message.is_empty() {
                eprintln(format_args!("{}", failure.message));
            }
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

/// The help of a command.
fn usage(command: &str) -> String {
    let mut main = Arguments::command();
    main.build();
    main.find_subcommand_mut(command).map(|command| command.render_help().to_string()).unwrap_or_default()
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
