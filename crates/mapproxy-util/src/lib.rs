//! The programs of MapProxy as functions: each has a command line of its own, and they share what is here.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of options are their help texts, where [..] is no link"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod allocator;
mod autoconfig;
mod cache_info;
mod capabilities;
mod check;
mod convert;
mod create;
mod debug;
mod defrag;
mod deployment;
mod example;
mod export;
mod fetch;
mod generated;
mod gridconf;
mod grids;
mod logs;
pub mod progress;
mod scales;
pub mod seed;
mod serve;
mod serve_develop;
mod served;
mod server_options;
mod stored;
mod tiles_wanted;
pub mod util;
mod verify;
mod wms_capabilities;
mod yaml_out;

use std::fmt;

/// Usage was right, but something in the environment was not.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
const MISTAKEN: u8 = 2;

/// Why a command ends before its work is done, with the exit status that tells.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
    /// The command's help goes before.
    shows_usage: bool,
}

impl Failure {
    pub(crate) fn new(status: u8, message: impl fmt::Display) -> Failure {
        Failure { message: message.to_string(), status, shows_usage: false }
    }

    /// The usage of the command, and what is missing.
    pub(crate) fn with_usage(missing: impl fmt::Display) -> Failure {
        Failure { shows_usage: true, ..Failure::new(FAILED, missing) }
    }

    /// No configuration was named.
    fn without_configuration() -> Failure {
        Failure::with_usage("ERROR: MapProxy configuration required.")
    }
}

impl From<mapproxy_http::ServerError> for Failure {
    fn from(error: mapproxy_http::ServerError) -> Failure {
        Failure::new(MISTAKEN, format_args!("ERROR: {error}"))
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
