//! Several machines that share the work of a run by way of a Redis server.
//!
//! Of the machines that take part one walks a task and keeps a stream filled with pieces of work, in bounded portions;
//! where it is in its walk is written down in the same instant as what it has found, so that another goes on right there
//! when it dies. All of them claim work from the stream (a consumer group), and what came of a piece is counted in the
//! instant in which it leaves the stream: once, whoever did it, and however often.
//!
//! A machine says that it is alive every few seconds. The work of one that has been silent for longer than the *lease* is
//! given to others. So a tile is made twice at most where a machine dies, or is cut off, in the middle of it. Work that
//! fails goes to a list, from which it can be put back.
//!
//! What is kept, all below `mapproxy-seed:{NAME}:`, with an end 30 days after anybody has last looked at it:
//!
//! | key | |
//! |---|---|
//! | `run` | the run: its id, which tasks it has, which moments of refresh all have agreed on, when it began and ended |
//! | `N:state` | of the N-th task: who walks it, up to where, and what all have done together |
//! | `N:work` | the stream of work that is to be done or being done |
//! | `N:failed`, `N:again` | work that failed, and that which is waiting to be tried again |
//! | `N:alive` | the machines, by when they were last heard of |
//!
//! The times are the server's. Nothing here waits for a server without noticing that stopping is asked for.

mod address;
mod agenda;
mod entry;
mod limits;
mod link;
mod plan;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;

use crate::{AgendaError, Counts, FailedWork, Refresh, SeedTask, Stop};
use link::{Link, Script, Trouble};
use plan::Plan;

pub use address::{AddressError, QueueAddress};
pub use agenda::QueueAgenda;
pub use limits::SharedLimits;

const JOIN: Script = concat!(include_str!("lua/common.lua"), include_str!("lua/join.lua"));

/// How long a run that has ended can be joined by a machine that is late: it is told what the others have done. After
/// that, the same tasks are a new run.
const GRACE: Duration = Duration::from_secs(600);

/// How often and how far apart a server is tried at the start: one that is not there then has the wrong address.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// A run that this process takes part in.
#[derive(Debug)]
pub struct Queue {
    address: QueueAddress,
    name: String,
    id: String,
    me: String,
    joined: Joined,
    begun: SystemTime,
    tasks: Vec<QueueTask>,
}

#[derive(Debug)]
struct QueueTask {
    /// Of the task, its cache and its grid.
    names: [String; 3],
    refresh: Refresh,
}

/// How a process came to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is the first one.
    Begun,
    /// Others have begun, or had: it is gone on with.
    GoneOn,
    /// All is done since a short time.
    Ended,
}

/// What all machines together have done of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointTotals {
    /// Their work; how often they tried again is not known.
    pub counts: Counts,
    /// Pieces that were given to another machine, because theirs has died.
    pub redelivered: u64,
    /// Machines that take part, as far as they are known to be alive.
    pub machines: u64,
    /// How much is behind them: 0 to 1.
    pub fraction: f64,
}

impl Queue {
    /// Takes part in the run of these tasks; begins it, if nobody has. With `retry_failed` what has failed in the last
    /// run is done again, and nothing else.
    ///
    /// Errors are a server that is not there, and a run that is under way with other tasks.
    pub fn join(
        address: &QueueAddress,
        tasks: &[SeedTask],
        retry_failed: bool,
        stop: &Stop,
    ) -> Result<Queue, AgendaError> {
        Queue::join_plans(address, &tasks.iter().map(Plan::of).collect::<Vec<_>>(), retry_failed, stop)
    }

    fn join_plans(
        address: &QueueAddress,
        plans: &[Plan],
        retry_failed: bool,
        stop: &Stop,
    ) -> Result<Queue, AgendaError> {
        let error = |reason: String| AgendaError { what: address.server().to_owned(), reason };
        let name = address.run.clone().unwrap_or_else(|| plan::name_of(plans));
        let me = unique();
        let mut link = Link::new(address).map_err(error)?;
        let text = plan::text_of(plans);
        let mut arguments = vec![
            prefix(&name),
            text.clone(),
            me.clone(),
            GRACE.as_millis().to_string(),
            u8::from(retry_failed).to_string(),
            plans.len().to_string(),
        ];
        arguments.extend(plans.iter().map(|plan| moment(plan.refresh)));
        let mut tries = 1;
        let answer: Vec<Value> = loop {
            match link.run(JOIN, &format!("{}run", prefix(&name)), &arguments) {
                Ok(answer) => break answer,
                Err(Trouble::Away(reason)) if tries >= TRIES || stop.wait(BETWEEN_TRIES) => return Err(error(reason)),
                Err(Trouble::Away(_)) => tries += 1,
                Err(Trouble::Refused(reason)) => return Err(error(reason)),
                Err(Trouble::Gone) => return Err(error("is not usable as a queue".to_owned())),
            }
        };
        let text_at = |at: usize| answer.get(at).map(text_of).unwrap_or_default();
        let begun = text_at(2).parse().ok().and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        let begun = begun.unwrap_or(UNIX_EPOCH);
        let joined = match text_at(0).as_str() {
            "new" => Joined::Begun,
            "join" => Joined::GoneOn,
            "ended" => Joined::Ended,
            "nothing" => return Err(error("no run of these tasks is known, so nothing of it has failed".to_owned())),
            _ => {
                let there = text_at(3);
                return Err(error(format!(
                    "a run of other tasks is under way in queue {name}: {}; give this one another name (…?run=NAME), or \
                     let that one finish",
                    plan::difference(&there, &text)
                )));
            }
        };
        let tasks = plans.iter().enumerate();
        let tasks = tasks
            .map(|(place, plan)| QueueTask { names: plan.names.clone(), refresh: refresh(&text_at(4 + place)) })
            .collect();
        Ok(Queue { address: address.clone(), name, id: text_at(1), me, joined, begun, tasks })
    }

    /// The queue's name on the server, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How we came to it.
    pub fn joined(&self) -> Joined {
        self.joined
    }

    /// When the run began.
    pub fn begun(&self) -> SystemTime {
        self.begun
    }

    /// Which tiles are made again: what the first machine said, so that all mean the same moment.
    pub fn refresh(&self, task: usize) -> Refresh {
        self.tasks[task].refresh
    }

    /// Whether we are the first to ask, of all that take part: for what is to be done once, when all tasks are done.
    pub fn is_first_at_end(&self) -> Result<bool, AgendaError> {
        let mut link = Link::new(&self.address).map_err(|reason| self.error(reason))?;
        let mut command = redis::cmd("HSETNX");
        command.arg(format!("{}run", prefix(&self.name))).arg("closer").arg(&self.me);
        let answer = link.ask(&command).map_err(|trouble| self.trouble(&trouble))?;
        Ok(answer == Value::Int(1))
    }

    /// Work that failed in one of the tasks, at most so much of it.
    pub fn failures(&self, task: usize, most: usize) -> Result<Vec<FailedWork>, AgendaError> {
        let mut link = Link::new(&self.address).map_err(|reason| self.error(reason))?;
        let key = format!("{}{task}:failed", prefix(&self.name));
        let (mut cursor, mut failures) = ("0".to_owned(), Vec::new());
        loop {
            let mut command = redis::cmd("HSCAN");
            command.arg(&key).arg(&cursor).arg("COUNT").arg(500);
            let answer = link.ask(&command).map_err(|trouble| self.trouble(&trouble))?;
            let Value::Array(answer) = answer else { break };
            let [next, Value::Array(found)] = answer.as_slice() else { break };
            failures.extend(found.chunks_exact(2).filter_map(|pair| self.failure(task, &text_of(&pair[1]))));
            cursor = text_of(next);
            if cursor == "0" || failures.len() >= most {
                break;
            }
        }
        failures.sort_by_key(|(number, _)| *number);
        Ok(failures.into_iter().map(|(_, failure)| failure).take(most).collect())
    }

    /// What `give_up` (task.lua) has written.
    fn failure(&self, task: usize, text: &str) -> Option<(u64, FailedWork)> {
        let [name, cache, grid] = &self.tasks[task].names;
        let mut lines = text.splitn(5, '\n');
        let attempts = lines.next()?.parse().ok()?;
        let tiles = lines.next()?.parse().ok()?;
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(lines.next()?.parse().ok()?))?;
        let crate::Work { number, main, .. } = entry::parse(lines.next()?)?;
        let reason = lines.next()?.to_owned();
        let (task, cache, grid) = (name.clone(), cache.clone(), grid.clone());
        Some((number, FailedWork { task, cache, grid, main, tiles, reason, attempts, time }))
    }

    fn error(&self, reason: String) -> AgendaError {
        AgendaError { what: format!("queue {} on {}", self.name, self.address.server()), reason }
    }

    fn trouble(&self, trouble: &Trouble) -> AgendaError {
        self.error(match trouble {
            Trouble::Away(reason) | Trouble::Refused(reason) => reason.clone(),
            Trouble::Gone => "this run is not there any more: the server has lost its data (it was restarted without \
                              saving, it evicts keys, or somebody removed them), or the next run has begun. What was made \
                              is stored; start again, and only what is missing is made"
                .to_owned(),
        })
    }
}

fn prefix(name: &str) -> String {
    format!("mapproxy-seed:{{{name}}}:")
}

/// A name that no other process has.
fn unique() -> String {
    let random = || RandomState::new().hash_one((std::process::id(), SystemTime::now()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}-{:016x}", host.trim(), std::process::id(), random())
}

fn moment(refresh: Refresh) -> String {
    match refresh {
        Refresh::Missing => String::new(),
        Refresh::Before(moment) => moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string(),
    }
}

fn refresh(moment: &str) -> Refresh {
    match moment.parse().ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))) {
        None => Refresh::Missing,
        Some(moment) => Refresh::Before(moment),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}
