//! Chores of this repository, each a subcommand of `cargo xtask`.
//!
//! What a chore needs from outside is named in its help; none reaches the network by itself except `e2e`, whose set-up
//! script installs the peers it tests against.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod bless;
mod compare;
mod e2e;
mod fuzz;
mod http;
mod licences;
mod server;
mod tidy;
mod workspace;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the rules of the house that no compiler checks
    Tidy,
    /// Check the licences and origins of all dependencies against deny.toml
    Licences,
    /// Run the end-to-end tests on real servers and clients, which a script installs first (Debian packages, PyPI)
    E2e(e2e::Arguments),
    /// Feed the fuzz targets with mutations of their seeds, for a bounded time
    Fuzz(fuzz::Arguments),
    /// Measure the served path under load, beside what the machine can do at all
    Bench(bench::Arguments),
    /// Rewrite the golden files of the tests
    Bless(bless::Arguments),
    /// Ask MapProxy 7.0.0 and this program the same questions and report differences
    CompareWithMapproxy(compare::Arguments),
    /// Draw the world map of the built-in example from its coastline figures
    World(world::Arguments),
}

fn main() -> Result<ExitCode> {
    if let Some(code) = fuzz::stand_in_for_rustc() {
        return Ok(code);
    }
    match Arguments::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Licences => licences::run(),
        Chore::E2e(arguments) => e2e::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Bless(arguments) => bless::run(&arguments),
        Chore::CompareWithMapproxy(arguments) => compare::run(&arguments),
        Chore::World(arguments) => world::run(&arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}
