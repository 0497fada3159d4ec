//! `mapproxy-util check`: says what is wrong with a configuration, without serving it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use mapproxy_config::Diagnostics;
use mapproxy_core::AppBuilder;

use crate::{FAILED, Failure, println};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How to say it: one line for each mistake, or a JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The mapproxy.yaml
    #[arg(value_name = "CONF")]
    configuration: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Status 0 if the configuration can be served (there may be warnings), 1 if not.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.configuration.as_ref().ok_or_else(Failure::without_configuration)?;
    let is_valid = match arguments.format {
        Format::Text => configuration(path),
        Format::Json => {
            let (is_valid, diagnostics, files) = build(path);
            let report = serde_json::json!({ "valid": is_valid, "files": files, "diagnostics": diagnostics });
            println(format_args!("{report:#}"));
            is_valid
        }
    };
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Tells all mistakes of a configuration, and whether it can be served all the same.
pub(crate) fn configuration(path: &Path) -> bool {
    let (is_valid, diagnostics, _) = build(path);
    if !diagnostics.is_empty() {
        println(format_args!("{diagnostics}"));
    }
    println(format_args!("{}: {}", path.display(), diagnostics.summary()));
    is_valid
}

fn build(path: &Path) -> (bool, Diagnostics, Vec<PathBuf>) {
    match AppBuilder::from_file(path).build() {
        Ok(built) => (true, built.diagnostics, built.files),
        Err(error) => (false, error.diagnostics, error.files),
    }
}
