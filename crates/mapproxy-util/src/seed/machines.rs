//! Work that several machines share: by a queue on a Redis server, with what each says of the whole.

use std::sync::Arc;
use std::time::SystemTime;

use mapproxy_core::seed::{Planned, SeedTask};
use mapproxy_seeding::{Joined, JointTotals, Limits, Queue, QueueAgenda, SharedLimits, Stop};

use super::arguments::Arguments;
use super::describe::Moment;
use crate::{FAILED, Failure};

/// Failed work that is told of at the end of a task.
const MOST_TOLD: usize = 20;

/// The run that we take part in.
#[derive(Debug)]
pub(crate) struct Machines {
    queue: Arc<Queue>,
}

/// What machines with a queue know together of upstream servers.
pub(crate) fn limits(arguments: &Arguments) -> Result<Option<Arc<dyn Limits>>, Failure> {
    let Some(address) = arguments.queue.as_ref().filter(|_| arguments.has_queue()) else { return Ok(None) };
    let limits = SharedLimits::new(address).map_err(failed)?;
    Ok(Some(Arc::new(limits)))
}

/// Takes part in the run of these tasks, and gives them the moments of refresh that all machines have agreed on.
pub(crate) fn join(
    arguments: &Arguments,
    tasks: &mut [Planned<SeedTask>],
    stop: &Stop,
) -> Result<Option<Machines>, Failure> {
    let Some(address) = arguments.queue.as_ref().filter(|_| arguments.has_queue()) else { return Ok(None) };
    let of_task = |planned: &Planned<SeedTask>| match planned {
        Planned::Task(task) => Some(task.clone()),
        Planned::Empty(_) => None,
    };
    let all: Vec<SeedTask> = tasks.iter().filter_map(of_task).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let queue = Queue::join(address, &all, arguments.retry_failed, stop).map_err(failed)?;
    let own = tasks.iter_mut().filter_map(|planned| match planned {
        Planned::Task(task) => Some(task),
        Planned::Empty(_) => None,
    });
    own.enumerate().for_each(|(place, task)| task.refresh = queue.refresh(place));
    let begun =
        Moment(SystemTime::UNIX_EPOCH + queue.begun().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let (name, server) = (queue.name(), address.server());
    arguments.say(format_args!(
        "Sharing the work in queue {name} on {server}: {}",
        match queue.joined() {
            Joined::Begun => "the first machine".to_owned(),
            Joined::GoneOn => format!("joined the run begun at {begun}"),
            Joined::Ended => format!("the run begun at {begun} is done"),
        }
    ));
    Ok(Some(Machines { queue: Arc::new(queue) }))
}

impl Machines {
    /// The work of the task at this place, empty ones not counted.
    pub(crate) fn agenda(&self, place: usize, task: &SeedTask, stop: &Stop) -> Result<QueueAgenda, Failure> {
        self.queue.agenda(place, task, stop).map_err(failed)
    }

    /// Whether it is on us to do what is to be done once, after all seeds.
    pub(crate) fn are_closed_by_us(&self) -> Result<bool, Failure> {
        self.queue.is_first_at_end().map_err(failed)
    }

    /// What all have done of a task.
    pub(crate) fn tell(&self, arguments: &Arguments, place: usize, totals: &JointTotals) {
        let JointTotals { counts, redelivered, .. } = totals;
        arguments.say(format_args!(
            "    All machines: {} tiles made ({} bytes), {} kept, {} empty, {} failed",
            counts.made, counts.bytes, counts.kept, counts.empty, counts.failed
        ));
        if *redelivered > 0 {
            arguments
                .say(format_args!("    {redelivered} meta tiles were given to another machine, as theirs fell silent"));
        }
        if counts.failed_pieces == 0 {
            return;
        }
        let failures = self.queue.failures(place, MOST_TOLD).unwrap_or_default();
        for failure in &failures {
            let main = failure.main;
            arguments.say(format_args!(
                "    failed: {}/{}/{} ({} tiles, given up {} times): {}",
                main.z, main.x, main.y, failure.tiles, failure.attempts, failure.reason
            ));
        }
        let more = counts.failed_pieces.saturating_sub(failures.len() as u64);
        if more > 0 {
            arguments.say(format_args!("    … and {more} more"));
        }
    }
}

fn failed(error: mapproxy_seeding::AgendaError) -> Failure {
    Failure::new(FAILED, format_args!("ERROR: {error}"))
}
