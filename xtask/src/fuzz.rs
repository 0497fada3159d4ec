//! `cargo xtask fuzz`: runs the fuzz targets with libFuzzer for a bounded time, on a stable compiler.
//!
//! libFuzzer finds its way by counters that the compiler puts into the code. Only our own crates are built with them:
//! this program stands in for rustc there (RUSTC_WORKSPACE_WRAPPER) and adds the options, so that the dependencies, PROJ
//! among them, are those of every other build.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One target instead of all: request, auth, image, config, fastcgi, info, stores, polygons or upstream
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

const TARGETS: &[&str] = &["request", "auth", "image", "config", "fastcgi", "info", "stores", "polygons", "upstream"];

/// Set for the builds in which this program stands in for rustc.
const STAND_IN: &str = "MAPPROXY_XTASK_INSTRUMENTS";

/// SanitizerCoverage as libFuzzer reads it; `cargo fuzz` passes the same on nightly compilers.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    // Wrong sums shall show, too.
    "-Coverflow-checks=on",
    "-Cdebug-assertions=on",
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let chosen = |target: &&&str| arguments.target.as_ref().is_none_or(|name| name == **target);
    let targets: Vec<&str> = TARGETS.iter().filter(chosen).copied().collect();
    ensure!(!targets.is_empty(), "no such target; there are {}", TARGETS.join(", "));

    let this = std::env::current_exe().context("cannot find this program")?;
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--package", "mapproxy-fuzz"])
        .env("RUSTC_WORKSPACE_WRAPPER", this)
        .env(STAND_IN, "1");
    workspace::run(&mut build)?;

    let target_directory = workspace::target_directory()?;
    for target in targets {
        // New inputs go to the first folder; the seeds in the repository stay as they are.
        let corpus = target_directory.join("fuzz/corpus").join(target);
        let faults = target_directory.join("fuzz/faults").join(target);
        for folder in [&corpus, &faults] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        println!("fuzzing {target} for {} s", arguments.seconds);
        let mut fuzzer = Command::new(target_directory.join("release").join(format!("fuzz-{target}")));
        fuzzer.arg(format!("-max_total_time={}", arguments.seconds));
        fuzzer.arg(format!("-artifact_prefix={}/", faults.display()));
        fuzzer.args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-verbosity=0", "-print_final_stats=1"]);
        fuzzer.arg(&corpus).arg(workspace::root().join("fuzz/seeds").join(target));
        let found = || format!("{target} has a fault; the input is in {}", faults.display());
        workspace::run(&mut fuzzer).with_context(found)?;
    }
    Ok(())
}

/// If cargo runs this program in place of rustc: does what rustc would, with instrumentation.
pub(crate) fn stand_in_for_rustc() -> Option<ExitCode> {
    std::env::var_os(STAND_IN)?;
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.is_empty() {
        return None;
    }
    let mut rustc = Command::new(arguments.remove(0));
    // Cargo also asks the compiler about itself; only what is compiled is instrumented.
    if arguments.iter().any(|argument| argument == "--crate-name")
        && !arguments.iter().any(|argument| argument == "___")
    {
        rustc.args(INSTRUMENTATION);
    }
    match rustc.args(arguments).status() {
        Ok(status) if status.success() => Some(ExitCode::SUCCESS),
        Ok(_) => Some(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("cannot run rustc: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}
