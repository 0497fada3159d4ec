//! `mapproxy-util check`: says what is wrong with a configuration, without serving it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
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
    let path = arguments.configuration.as_ref().ok_or_else(|| Failure::without_configuration("check"))?;
    let (is_valid, diagnostics, files) = match AppBuilder::from_file(path).build() {
        Ok(built) => (true, built.diagnostics, built.files),
        Err(error) => (false, error.diagnostics, error.files),
    };
    match arguments.format {
        Format::Text => {
            if !diagnostics.is_empty() {
                println(format_args!("{diagnostics}"));
            }
            println(format_args!("{}: {}", path.display(), diagnostics.summary()));
        }
        Format::Json => {
            let report = serde_json::json!({ "valid": is_valid, "files": files, "diagnostics": diagnostics });
            println(format_args!("{report:#}"));
        }
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
