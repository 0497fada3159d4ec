//! `cargo xtask e2e`: the end-to-end tests in tests/e2e, with the program built here or any other server.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Command of the mapproxy-util to test, instead of the one built here
    #[arg(long, value_name = "CMD")]
    server: Option<String>,
    /// The mapproxy-util that is built already, as `cargo test --release` leaves one
    #[arg(long, conflicts_with = "server")]
    no_build: bool,
    /// The server is MapProxy 7.0.0: leave out the tests of what differs by intention
    #[arg(long)]
    reference: bool,
    /// Only tests whose name has this word (pytest's -k)
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Keep configurations, caches and logs of passed tests too; screenshots are always kept
    #[arg(long)]
    keep: bool,
    /// How long 200 clients ask in the tests of the deployment guide
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    crowd_seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = workspace::target_directory()?.join("e2e");
    let tests = workspace::root().join("tests/e2e");
    workspace::run(Command::new(tests.join("setup")).arg(&folder))?;
    let server = match &arguments.server {
        Some(command) => command.clone(),
        None if arguments.no_build => quoted(&workspace::program()?),
        None => quoted(&workspace::build_program()?),
    };
    let mut pytest = Command::new(folder.join("venv/bin/pytest"));
    pytest.arg("-c").arg(tests.join("pytest.ini")).arg("--rootdir").arg(&tests).arg(&tests);
    pytest.args(["-p", "no:cacheprovider", "--server", &server, "--artefacts"]).arg(folder.join("artefacts"));
    pytest.arg(format!("--crowd-seconds={}", arguments.crowd_seconds));
    if arguments.reference {
        pytest.arg("--reference");
    }
    if arguments.keep {
        pytest.arg("--keep");
    }
    if let Some(only) = &arguments.only {
        pytest.args(["-k", only]);
    }
    workspace::run(pytest.env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// As the shell would want it: the option is split into words.
fn quoted(path: &std::path::Path) -> String {
    format!("'{}'", PathBuf::from(path).display().to_string().replace('\'', "'\\''"))
}
