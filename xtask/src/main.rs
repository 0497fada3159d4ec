//! Chores of this repository, each a subcommand of `cargo xtask`.
//!
//! What a chore needs from outside is named in its help; none reaches the network by itself except `e2e`, whose set-up
//! script installs the peers it tests against.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod world;

use std::path::PathBuf;

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
    /// Draw the world map of the built-in example from its coastline figures
    World(world::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::World(arguments) => world::run(&arguments),
    }
}

/// The root of the repository, wherever the command was given.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}
