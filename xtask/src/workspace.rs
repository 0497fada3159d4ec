//! What `cargo metadata` and git say of this repository, and running programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The root of the repository, wherever the command was given.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}

/// `cargo metadata` of the whole graph.
pub(crate) fn metadata() -> Result<Value> {
    let text = output(cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    serde_json::from_str(&text).context("cannot understand cargo metadata")
}

/// Where cargo builds; honours CARGO_TARGET_DIR and configuration.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let text = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cannot understand cargo metadata")?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo names no target directory")?))
}

/// Builds the program in release mode and returns its path.
pub(crate) fn build_program() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "mapproxy-util"]))?;
    program()
}

/// Where `mapproxy-util` is built.
pub(crate) fn program() -> Result<PathBuf> {
    Ok(target_directory()?.join("release/mapproxy-util"))
}

/// The paths git knows, relative to the root.
pub(crate) fn tracked_files() -> Result<Vec<PathBuf>> {
    let text = output(Command::new("git").args(["ls-files", "-z"]))?;
    Ok(text.split_terminator('\0').map(PathBuf::from).collect())
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")))
}

/// Runs in the root of the repository; any status but 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{} failed with {status}", name(command));
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).output().with_context(|| format!("cannot run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{} failed with {}: {complaint}", name(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", name(command)))
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
