//! The cleanups: one task after the other, a level at once where the store can.

use mapproxy_core::cache::TileKey;
use mapproxy_core::cache::store::StoreError;
use mapproxy_core::grid::{MetaGrid, TileCoord};
use mapproxy_core::map::Dimensions;
use mapproxy_core::seed::{CleanupTask, Planned, Remove};
use mapproxy_seeding::TileWalk;

use super::arguments::Arguments;
use super::describe::{self, clock};
use super::ending::Ending;
use super::filling::Outcome;
use crate::{FAILED, Failure};

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
        clean(arguments, task, ending)
            .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cache {}: {error}", task.manager.name())))?;
    }
    Ok(())
}

fn clean(arguments: &Arguments, task: &CleanupTask, ending: &Ending) -> Result<(), StoreError> {
    let Some(store) = task.manager.store() else { return Ok(()) };
    let before = match task.remove {
        Remove::All => None,
        Remove::Before(moment) => Some(moment),
    };
    if task.coverage.is_none() && !arguments.dry_run {
        for level in &task.levels {
            arguments.say(format_args!("[{}] removing old tiles for level {level}", clock()));
            store.remove_level(*level, before)?;
        }
        return Ok(());
    }
    let single = MetaGrid::new(task.manager.grid().clone(), (1, 1), 0);
    let walk = TileWalk::over(&single, &task.levels, task.coverage.clone(), 0).map_err(|error| StoreError {
        action: "clean up",
        what: task.name.to_string(),
        reason: error.to_string(),
    })?;
    for work in walk {
        if ending.stop.is_asked() {
            break;
        }
        let key = TileKey { coord: work.main, dimensions: Dimensions::default() };
        if let Some(before) = before {
            let modified = store.metadata(&key)?.and_then(|meta| meta.modified);
            if modified.is_some_and(|modified| modified > before) {
                continue;
            }
        }
        if arguments.dry_run {
            let TileCoord { x, y, z } = key.coord;
            arguments.say(format_args!("removing {z}/{x}/{y}"));
        } else {
            store.remove(&key)?;
        }
    }
    Ok(())
}
