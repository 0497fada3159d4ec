//! The cleanups: one task after the other, a level at once where the store can.

use mapproxy_core::seed::{CleanupTask, Planned};
use mapproxy_seeding::cleanup::{self, CleanupError, CleanupEvent, CleanupOptions, CleanupReport};

use super::arguments::Arguments;
use super::describe::{self, clock};
use super::ending::Ending;
use super::filling::Outcome;
use crate::{FAILED, Failure, eprintln};

/// Removes tiles; of a cache whose tiles could not all be made, none: the old ones are all there is.
pub(crate) fn run(
    arguments: &Arguments,
    tasks: &[Planned<CleanupTask>],
    seeded: &Outcome,
    ending: &Ending,
) -> Result<(), Failure> {
    arguments.say(format_args!("========== Cleanup tasks =========="));
    let plural = if tasks.len() == 1 { "" } else { "s" };
    arguments.say(format_args!("Start cleanup process ({} task{plural})", tasks.len()));
    let mut unreadable = Vec::new();
    for planned in tasks {
        arguments.say(format_args!("{}", describe::text(planned)));
        let Planned::Task(task) = planned else { continue };
        if seeded.incomplete.contains(task.manager.name()) {
            arguments.say(format_args!("    ...not cleaned up: tiles of this cache could not be made"));
            continue;
        }
        if ending.stop.is_asked() {
            break;
        }
        let report = clean(arguments, task, ending)
            .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cache {}: {error}", task.manager.name())))?;
        if report.unreadable > 0 {
            unreadable.push(&task.name);
        }
    }
    match unreadable.first() {
        None => Ok(()),
        Some(name) => Err(Failure::new(FAILED, format_args!("ERROR: {name}: not all could be looked at, see above"))),
    }
}

fn clean(arguments: &Arguments, task: &CleanupTask, ending: &Ending) -> Result<CleanupReport, CleanupError> {
    let here = std::env::current_dir().unwrap_or_default();
    let options = CleanupOptions { dry_run: arguments.dry_run, ..CleanupOptions::default() };
    let mut tell = |event: CleanupEvent<'_>| match event {
        CleanupEvent::Level { folder: Some(folder), .. } => {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            let folder = cleanup::as_seen_from(&folder, &here);
            arguments.say(format_args!("[{}] removing old tiles in {}", clock(), folder.display()));
        }
        CleanupEvent::Level { level, folder: None } => {
            arguments.say(format_args!("[{}] removing old tiles for level {level}", clock()));
        }
        CleanupEvent::WouldRemove { place } => arguments.say(format_args!("removing {place}")),
        CleanupEvent::Progress { level, looked, removed, done } if done || arguments.quiet == 0 => {
            let what = if arguments.dry_run { "would be removed" } else { "removed" };
            arguments.say(format_args!("[{}] {level:2} {removed} of {looked} tiles {what}", clock()));
        }
        CleanupEvent::Progress { .. } => {}
        CleanupEvent::Unreadable { what } => eprintln(format_args!("ERROR: {what}; its tiles stay")),
    };
    cleanup::run(task, options, &mut tell, &ending.stop)
}
