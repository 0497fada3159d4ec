//! The seeds: one task after the other, those of locked caches last.

use std::collections::{HashSet, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_core::seed::{Planned, SeedTask};
use mapproxy_seeding::{
    Begin, Begun, CacheLock, CacheLocks, Counts, Ended, Journal, Observer, Pace, Report, RunOptions,
};

use super::arguments::Arguments;
use super::ending::Ending;
use super::machines::{self, Machines};
use super::{INCOMPLETE, INTERRUPTED, describe, memory};
use crate::{FAILED, Failure, progress};

/// How often a locked cache is looked at.
const LOCK_LOOK: Duration = Duration::from_secs(1);

/// What came of all seeds.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    counts: Counts,
    /// Caches with tiles that could not be made.
    pub(crate) incomplete: HashSet<Arc<str>>,
    /// Tasks that were not worked on to the end, with the reason.
    left: Vec<String>,
    /// Where what failed is remembered; `None`: nowhere.
    is_remembered: bool,
    /// Those that have shared the work.
    machines: Option<Machines>,
}

/// Makes all tiles.
pub(crate) fn run(
    arguments: &Arguments,
    tasks: &mut [Planned<SeedTask>],
    pace: &Arc<Pace>,
    ending: &Ending,
) -> Result<Outcome, Failure> {
    arguments.say(format_args!("========== Seeding tasks =========="));
    let plural = if tasks.len() == 1 { "" } else { "s" };
    arguments.say(format_args!("Start seeding process ({} task{plural})", tasks.len()));
    for planned in tasks.iter_mut() {
        if let Planned::Task(task) = planned {
            // The reference leaves out the check where fewer than so many levels remain.
            task.skip_geoms_for_last_levels = arguments.skip_geoms_for_last_levels.saturating_sub(1);
        }
    }
    let machines = machines::join(arguments, tasks, &ending.stop)?;
    let journal = Arc::new(memory::open(arguments)?);
    let observer = progress::observer(arguments.progress, arguments.quiet);
    let locks = arguments.use_cache_lock.then(|| CacheLocks::new(".mapproxy_seed.lck"));
    let mut outcome = Outcome::default();
    let mut queue: VecDeque<&Planned<SeedTask>> = tasks.iter().collect();
    let mut place = 0;
    while let Some(planned) = queue.pop_front() {
        arguments.say(format_args!("{}", describe::text(planned)));
        let Planned::Task(task) = planned else { continue };
        let _lock = match &locks {
            None => None,
            Some(locks) => match lock(locks, task, queue.is_empty(), ending)? {
                Some(lock) => Some(lock),
                None if ending.stop.is_asked() => break,
                None => {
                    arguments.say(format_args!("    ...cache is locked, skipping"));
                    queue.push_back(planned);
                    continue;
                }
            },
        };
        let options = RunOptions {
            workers: arguments.concurrency.get(),
            only_stored: arguments.skip_uncached,
            dry_run: arguments.dry_run,
            pace: Arc::clone(pace),
            ..RunOptions::default()
        };
        let report = match &machines {
            None => fill(arguments, task, &journal, &options, &*observer, ending)?,
            Some(machines) => fill_together(arguments, machines, place, task, &options, &*observer, ending)?,
        };
        place += 1;
        if !outcome.add(&report) {
            break;
        }
    }
    let failed = |error| Failure::new(FAILED, format_args!("ERROR: {error}"));
    let has_journal = journal.path() == memory::file(arguments);
    outcome.is_remembered = has_journal || machines.is_some();
    outcome.machines = machines;
    if has_journal && journal.is_done().map_err(failed)? {
        journal.remove().map_err(|error| Failure::new(FAILED, format_args!("ERROR: {error}")))?;
    }
    Ok(outcome)
}

/// The lock of the task's cache; the last task waits for it.
fn lock(locks: &CacheLocks, task: &SeedTask, is_last: bool, ending: &Ending) -> Result<Option<CacheLock>, Failure> {
    loop {
        let lock = locks.lock(task.manager.name());
        let lock = lock.map_err(|error| Failure::new(FAILED, format_args!("ERROR: {error}")))?;
        if lock.is_some() || !is_last || ending.stop.wait(LOCK_LOOK) {
            return Ok(lock);
        }
    }
}

fn fill(
    arguments: &Arguments,
    task: &SeedTask,
    journal: &Arc<Journal>,
    options: &RunOptions,
    observer: &dyn Observer,
    ending: &Ending,
) -> Result<Report, Failure> {
    let begin = match () {
        () if arguments.go_on => Begin::Continue,
        () if arguments.retry_failed => Begin::RetryFailed,
        () => Begin::Anew,
    };
    let part = arguments.shard.map(|shard| shard.part(task));
    let agenda =
        journal.agenda(task, begin, part).map_err(|error| Failure::new(FAILED, format_args!("ERROR: {error}")))?;
    match agenda.begun() {
        Begun::Anew => {}
        Begun::Changed => arguments.say(format_args!("    The task has changed since: it is begun anew")),
        Begun::Continued { before } => {
            arguments.say(format_args!(
                "    Continued: {} tiles were looked at before",
                before.made + before.kept + before.empty
            ));
        }
        Begun::Retrying { pieces } => {
            arguments.say(format_args!("    Trying again what has failed: {pieces} meta tiles"))
        }
    }
    Ok(mapproxy_seeding::run(agenda.task(), &agenda, options, observer, &ending.stop))
}

/// Our part of a task that several machines work on; the report says what has failed on all of them.
fn fill_together(
    arguments: &Arguments,
    machines: &Machines,
    place: usize,
    task: &SeedTask,
    options: &RunOptions,
    observer: &dyn Observer,
    ending: &Ending,
) -> Result<Report, Failure> {
    let agenda = machines.agenda(place, task, &ending.stop)?;
    let mut report = mapproxy_seeding::run(task, &agenda, options, observer, &ending.stop);
    if matches!(report.ended, Ended::Complete) {
        let totals = agenda.totals();
        machines.tell(arguments, place, &totals);
        report.counts.failed = totals.counts.failed;
        report.counts.failed_pieces = totals.counts.failed_pieces;
    }
    Ok(report)
}

impl Outcome {
    /// Whether other tasks can be gone on with.
    fn add(&mut self, report: &Report) -> bool {
        let counts = &mut self.counts;
        counts.failed += report.counts.failed;
        counts.failed_pieces += report.counts.failed_pieces;
        counts.made += report.counts.made;
        counts.kept += report.counts.kept;
        if !report.is_success() {
            self.incomplete.insert(Arc::clone(&report.cache));
        }
        match &report.ended {
            Ended::Complete => true,
            Ended::GivenUp { host, reason } => {
                self.left.push(format!("{}: {host} does not answer any more: {reason}", report.task));
                true
            }
            Ended::Agenda(error) => {
                self.left.push(format!("{}: {error}", report.task));
                false
            }
            _ => false,
        }
    }

    /// Why cleanups are not done here: what several machines share is cleaned by one of them, when all are ready.
    pub(crate) fn leaves_cleanups(&self, arguments: &Arguments) -> Result<Option<&'static str>, Failure> {
        if arguments.shard.is_some() && arguments.cleanup.is_empty() {
            return Ok(Some("not done with --shard; clean with --cleanup, when all shares are made"));
        }
        Ok(match &self.machines {
            Some(_) if !self.left.is_empty() => Some("left to a machine that comes to the end of the seeds"),
            Some(machines) if !machines.are_closed_by_us()? => Some("done by another machine"),
            _ => None,
        })
    }

    /// Says what is left to do, and how the program ends.
    pub(crate) fn tell(&self, arguments: &Arguments, ending: &Ending) -> ExitCode {
        let option = |name: &str| match &arguments.progress_file {
            Some(file) => format!("{name} --progress-file {}", file.display()),
            None => name.to_owned(),
        };
        for reason in &self.left {
            arguments.say(format_args!("not finished: {reason}"));
        }
        if self.counts.failed_pieces > 0 {
            let Counts { failed, failed_pieces, .. } = self.counts;
            arguments.say(format_args!("{failed} tiles ({failed_pieces} meta tiles) could not be made"));
            if self.is_remembered {
                arguments.say(format_args!("try them again by the same command with {}", option("--retry-failed")));
            }
        }
        let is_stopped = ending.stop.is_asked();
        if is_stopped && !ending.is_time_over() {
            arguments.say(format_args!("\ninterrupted..."));
        }
        if (is_stopped || !self.left.is_empty()) && self.is_remembered {
            match arguments.queue {
                Some(_) => arguments.say(format_args!("go on by the same command")),
                None => arguments.say(format_args!("go on by the same command with {}", option("--continue"))),
            }
        }
        ExitCode::from(match () {
            () if is_stopped && ending.is_time_over() => 0,
            () if is_stopped => INTERRUPTED,
            () if self.counts.failed_pieces > 0 || !self.left.is_empty() => INCOMPLETE,
            () => 0,
        })
    }
}
