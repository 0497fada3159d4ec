//! Work on whole caches: filling, refreshing and emptying them.
//!
//! A **task** says what is wanted: the tiles of one cache in one grid, on some levels, within a coverage. A **walk** turns
//! it into pieces of **work**, each a meta tile: what one question upstream brings. An **agenda** hands them out to
//! workers and remembers what came of them: a walk with its journal, the list of those that failed, or a queue that
//! several machines share. Workers only call the cache's tile manager, as a server does.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agenda;
mod cache_lock;
pub mod cleanup;
mod clock;
mod journal;
mod latency;
mod observe;
mod pace;
mod queue;
mod run;
mod selection;
mod shard;
mod stop;
mod task;
#[cfg(test)]
mod testkit;
mod walk;
mod work;

pub use agenda::{Agenda, AgendaError, Outcome};
pub use cache_lock::{CacheLock, CacheLockError, CacheLocks};
pub use clock::{Clock, HastyClock, RealClock};
pub use journal::{Begin, Begun, FailedWork, Journal, JournalAgenda, JournalError, Part, Totals};
pub use latency::Latency;
pub use observe::{Counts, Ended, Event, Observer, Progress, Report, Silent};
pub use pace::{Entered, Limits, Pace, PaceOptions, Traffic};
pub use queue::{AddressError, Joined, JointTotals, Queue, QueueAddress, QueueAgenda, SharedLimits};
pub use run::{RunOptions, run};
pub use selection::Selection;
pub use shard::{Shard, ShardError};
pub use stop::Stop;
pub use task::{CleanupTask, Refresh, Remove, SeedTask};
pub use walk::{Position, PositionError, TileWalk, WalkError};
pub use work::{Claim, Work};
