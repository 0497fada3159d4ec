//! Logging for MapProxy servers.
//!
//! MapProxy says what it does through the crate `log`, with dotted names as targets: `mapproxy.config`,
//! `mapproxy.source.request`, `mapproxy.source.wms`… This crate is where those lines go, if the program has nothing
//! else for it: to a terminal ([`Setup`]) or wherever a `log.ini` in the format of Python's `logging.config.fileConfig`
//! sends them ([`Logging::from_file`]).
//!
//! ```no_run
//! use mapproxy_logging::{Logging, Setup};
//!
//! # fn main() -> Result<(), mapproxy_logging::LoggingError> {
//! // Keep the value until the program ends: dropping it writes what is left.
//! let _logging = match std::env::args_os().nth(1) {
//!     Some(log_ini) => Logging::from_file(log_ini)?,
//!     None => Setup::new().start()?,
//! };
//! log::info!(target: "mapproxy.system", "ready");
//! # Ok(())
//! # }
//! ```
//!
//! Lines are written by threads of their own, one for each handler; whoever logs waits for no disk and no terminal.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod event;
mod file_config;
mod formatter;
mod handler;
mod hierarchy;
pub mod ini;
mod literal;
mod logging;
mod sink;

pub use file_config::FileConfig;
pub use ini::IniError;
pub use logging::{Format, Logging, LoggingError, Output, Setup};
