//! `mapproxy-seed`: fills, refreshes and empties caches, as a seed.yaml says.
//!
//! What it prints and how it ends is what the original does; the work itself is done by `mapproxy-seeding`.

mod arguments;
mod cleaning;
mod describe;
pub(crate) mod ending;
mod filling;
mod machines;
mod memory;
mod reseed;

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use mapproxy_core::AppBuilder;
use mapproxy_core::seed::{Caches, Selected, Tasks, TasksError};
use mapproxy_logging::{Output, Setup};
use mapproxy_seeding::{Pace, PaceOptions};

use crate::logs::{self, Logs};
use crate::{FAILED, Failure, MISTAKEN, eprintln, println};
use arguments::Arguments;
use describe::Describe;
use ending::Ending;

/// Stopped before the work was done.
const INTERRUPTED: u8 = 3;
/// What there was to try was tried, or the queue that knows what is left was lost: some tiles are missing.
const INCOMPLETE: u8 = 4;

/// The command line, for what is generated of it.
pub(crate) fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// The program: reads its arguments and the tasks, and does the work.
pub fn main() -> ExitCode {
    crate::allocator::keep_freed_memory();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match run(&arguments) {
        Ok(status) => status,
        Err(failure) => {
            eprintln(format_args!("{}", failure.message));
            ExitCode::from(failure.status)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (proxy_conf, seed_conf) = match arguments.files() {
        Ok(files) => files,
        Err(status) => return Ok(status),
    };
    let _logs = start_log(arguments)?;
    let (max_rate, shared) = (arguments.max_rate, machines::limits(arguments)?);
    let pace = Arc::new(Pace::new(PaceOptions { max_rate, shared, ..PaceOptions::default() }));
    let builder = {
        let pace = Arc::clone(&pace);
        AppBuilder::from_file(proxy_conf).wrap_http(move |client| pace.client(client))
    };
    let caches = builder.caches().map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {error}")))?;
    let (seeds, cleanups) = arguments.selected();
    let mut tasks = match read_tasks(&caches, seed_conf, (&seeds, &cleanups)) {
        Ok(tasks) => tasks,
        Err(failure) => {
            println(format_args!("{}", failure.message));
            return Ok(ExitCode::from(failure.status));
        }
    };
    for warning in caches.diagnostics().warnings().chain(tasks.diagnostics.warnings()) {
        log::warn!(target: "mapproxy.config", "{warning}");
    }
    if arguments.summary {
        tell_of(&tasks);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.interactive {
        choose(&mut tasks)?;
    }
    if let Some(file) = &arguments.reseed_file {
        let is_new = memory::is_kept(arguments) && !memory::file(arguments).exists();
        let due = reseed::is_due(file, arguments.reseed_interval, is_new);
        if !due.map_err(|error| Failure::new(FAILED, format_args!("ERROR: {}: {error}", file.display())))? {
            println(format_args!("no need for re-seeding"));
            return Ok(ExitCode::from(FAILED));
        }
    }
    let ending = Ending::watched(arguments.duration)
        .map_err(|error| Failure::new(FAILED, format_args!("ERROR: no signals can be waited for: {error}")))?;
    let mut outcome = filling::Outcome::default();
    if !tasks.seeds.is_empty() {
        outcome = filling::run(arguments, &mut tasks.seeds, &pace, &ending)?;
    }
    if !tasks.cleanups.is_empty() && !ending.stop.is_asked() {
        match outcome.leaves_cleanups(arguments)? {
            Some(why) => arguments.say(format_args!("Cleanup tasks: {why}")),
            None => cleaning::run(arguments, &tasks.cleanups, &outcome, &ending)?,
        }
    }
    Ok(outcome.tell(arguments, &ending))
}

/// As the original: warnings, to standard output.
fn start_log(arguments: &Arguments) -> Result<Logs, Failure> {
    match &arguments.log_config {
        Some(path) => Logs::of_config(&logs::read(path)?),
        None => Logs::of_setup(Setup::new().output(Output::Stdout).default_level(log::LevelFilter::Warn)),
    }
}

fn read_tasks(
    caches: &Caches,
    path: &std::path::Path,
    (seeds, cleanups): (&Selected, &Selected),
) -> Result<Tasks, Failure> {
    caches.tasks(path, seeds, cleanups, SystemTime::now()).map_err(|error| match error {
        TasksError::Unknown { .. } => Failure::new(FAILED, error),
        error => Failure::new(MISTAKEN, format_args!("error in configuration: {error}")),
    })
}

fn tell_of(tasks: &Tasks) {
    println(format_args!("========== Seeding tasks =========="));
    for task in &tasks.seeds {
        println(format_args!("{}", describe::text(task)));
    }
    println(format_args!("========== Cleanup tasks =========="));
    for task in &tasks.cleanups {
        println(format_args!("{}", describe::text(task)));
    }
}

/// Leaves the tasks that the user wants.
fn choose(tasks: &mut Tasks) -> Result<(), Failure> {
    println(format_args!("========== Select seeding tasks =========="));
    tasks.seeds = chosen(std::mem::take(&mut tasks.seeds), "Seed")?;
    println(format_args!("========== Select cleanup tasks =========="));
    tasks.cleanups = chosen(std::mem::take(&mut tasks.cleanups), "Cleanup")?;
    Ok(())
}

fn chosen<T: Describe>(tasks: Vec<T>, verb: &str) -> Result<Vec<T>, Failure> {
    let mut chosen = Vec::new();
    for task in tasks {
        println(format_args!("{}", describe::text(&task)));
        if ask(&format!("    {verb} this task (y/n)? "))? {
            chosen.push(task);
        }
    }
    Ok(chosen)
}

/// Asks until the answer is yes or no.
fn ask(question: &str) -> Result<bool, Failure> {
    loop {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(question.as_bytes()).and_then(|()| stdout.flush());
        drop(stdout);
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer) {
            Ok(1..) => {}
            _ => return Err(Failure::new(FAILED, "\nERROR: nobody answers; without --interactive nothing is asked")),
        }
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}
