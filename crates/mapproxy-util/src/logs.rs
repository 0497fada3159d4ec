//! Where the log of a command goes: its options, and the log itself for as long as the command runs.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use log::LevelFilter;
use mapproxy_logging::ini::{Ini, Keys};
use mapproxy_logging::{FileConfig, Format, IniError, Logging, LoggingError, Output, Setup};

use crate::{Failure, MISTAKEN};

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Log as this file says, in the format of Python's logging.config.fileConfig
    #[arg(long, value_name = "INI", conflicts_with_all = ["log_level", "log_format"])]
    log_config: Option<PathBuf>,
    /// What to log at least: error, warn, info or debug [default: what RUST_LOG says, or else info]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    log_level: Option<LevelFilter>,
    /// How lines look [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LineFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LineFormat {
    /// `[time] logger - LEVEL - message`
    Text,
    /// A JSON object a line
    Json,
}

/// The log of the program. What is left is written when it is dropped.
#[derive(Clone)]
pub(crate) struct Logs {
    logging: Arc<Logging>,
}

impl Arguments {
    /// Whether anything is said on the command line.
    fn is_given(&self) -> bool {
        self.log_config.is_some() || self.log_level.is_some() || self.log_format.is_some()
    }

    /// What `--log-config` says, if it is given.
    pub(crate) fn config(&self) -> Result<Option<FileConfig>, Failure> {
        self.log_config.as_deref().map(read).transpose()
    }

    /// Begins to log: as the command line says, or else as `file` does, or else to standard error.
    pub(crate) fn start(&self, file: Option<&FileConfig>) -> Result<Logs, Failure> {
        if let Some(config) = self.config()? {
            return Logs::of_config(&config);
        }
        if let Some(config) = file.filter(|_| !self.is_given()) {
            return Logs::of_config(config);
        }
        let format = if self.log_format == Some(LineFormat::Json) { Format::Json } else { Format::Text };
        let setup = Setup::new().output(Output::Stderr).format(format);
        Logs::of_setup(self.log_level.into_iter().fold(setup, Setup::level))
    }
}

impl Logs {
    pub(crate) fn of_setup(setup: Setup) -> Result<Logs, Failure> {
        Ok(Logs { logging: Arc::new(setup.start()?) })
    }

    pub(crate) fn of_config(config: &FileConfig) -> Result<Logs, Failure> {
        Ok(Logs { logging: Arc::new(Logging::from_config(config)?) })
    }

    /// Opens log files anew.
    pub(crate) fn reopen(&self) {
        self.logging.reopen();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        // Others may hold it still, such as the task that waits for SIGHUP.
        self.logging.flush();
    }
}

/// A configuration of the log from a file.
pub(crate) fn read(path: &std::path::Path) -> Result<FileConfig, Failure> {
    Ok(Ini::read(path, Keys::Folded).and_then(|ini| FileConfig::read(&ini))?)
}

impl From<IniError> for Failure {
    fn from(error: IniError) -> Failure {
        Failure::new(MISTAKEN, format_args!("ERROR: {error}"))
    }
}

impl From<LoggingError> for Failure {
    fn from(error: LoggingError) -> Failure {
        Failure::new(MISTAKEN, format_args!("ERROR: {error}"))
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    match text.parse() {
        Ok(level @ (LevelFilter::Error | LevelFilter::Warn | LevelFilter::Info | LevelFilter::Debug)) => Ok(level),
        _ => Err("expected error, warn, info or debug".to_owned()),
    }
}
