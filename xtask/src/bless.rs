//! `cargo xtask bless`: accepts what the tests draw and say now as what they shall draw and say.
//!
//! Runs the whole-application tests with `BLESS=1`, which makes them rewrite their golden files instead of comparing.
//! Look at the difference git shows before committing it.

use anyhow::Result;

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name has this word
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut tests = workspace::cargo();
    tests.args(["test", "--release", "--package", "mapproxy-tests", "--no-fail-fast"]).args(&arguments.name);
    workspace::run(tests.env("BLESS", "1"))?;
    workspace::run(std::process::Command::new("git").args(["status", "--short", "tests"]))
}
