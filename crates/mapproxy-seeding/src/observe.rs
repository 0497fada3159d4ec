//! What is told of a run while it goes on, and at its end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_grid::{Bbox, TileCoord};

use crate::{AgendaError, SeedTask, Traffic, Work};

/// Watches a run. Called by all its workers, who wait meanwhile.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Something has happened.
    fn event(&self, event: &Event<'_>);
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A task is begun.
    Began {
        /// The task.
        task: &'a SeedTask,
        /// How far it is, and nothing else yet.
        progress: &'a Progress,
    },
    /// Some time has gone by: a fraction of a second.
    Progress(&'a Progress),
    /// A piece of work has failed, and will be tried again.
    Retry {
        /// The work.
        work: &'a Work,
        /// Why.
        reason: &'a str,
        /// After how long.
        wait: Duration,
        /// How often it will be tried, if it fails each time.
        left: u32,
    },
    /// A piece of work has failed for good.
    Failed {
        /// The work.
        work: &'a Work,
        /// Why.
        reason: &'a str,
    },
    /// The run has ended.
    Ended(&'a Report),
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The key in `seeds`.
    pub task: Arc<str>,
    /// The cache.
    pub cache: Arc<str>,
    /// Its grid.
    pub grid: Arc<str>,
    /// How much of the task is behind it: 0 to 1.
    pub fraction: f64,
    /// The piece of work taken last, by the tile that names it.
    pub at: Option<TileCoord>,
    /// The box of its tiles, in the grid's SRS; at the beginning and at the end that of the task.
    pub bbox: Bbox,
    /// What was done so far.
    pub counts: Counts,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Tiles walked in a second, of late.
    pub rate: f64,
    /// How long it will take at the pace of late.
    pub left: Option<Duration>,
    /// Pieces of work that wait to be tried again.
    pub waiting: usize,
    /// The servers asked in this run of the program.
    pub traffic: Vec<Traffic>,
}

/// What was done. `tiles` are `made`, `kept`, `empty` and `failed` together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces of work, those that failed included.
    pub pieces: u64,
    /// Tiles of that work.
    pub tiles: u64,
    /// Tiles made and stored.
    pub made: u64,
    /// Tiles that were there, and are young enough.
    pub kept: u64,
    /// Tiles that there are not: no source has anything there.
    pub empty: u64,
    /// Tiles of work that failed.
    pub failed: u64,
    /// Pieces of work that failed.
    pub failed_pieces: u64,
    /// How often work was tried again.
    pub retries: u64,
    /// Size of the tiles made.
    pub bytes: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The key in `seeds`.
    pub task: Arc<str>,
    /// The cache.
    pub cache: Arc<str>,
    /// Its grid.
    pub grid: Arc<str>,
    /// What was done.
    pub counts: Counts,
    /// Failures of any kind, also of work that was done in the end: `HTTP 503`, `store`, …
    pub errors: BTreeMap<String, u64>,
    /// How long it took.
    pub elapsed: Duration,
    /// How it ended.
    pub ended: Ended,
    /// The servers asked in this run of the program.
    pub traffic: Vec<Traffic>,
}

impl Report {
    /// All work is done, and nothing has failed.
    pub fn is_success(&self) -> bool {
        matches!(self.ended, Ended::Complete) && self.counts.failed_pieces == 0
    }
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// No work is left, though some may have failed.
    Complete,
    /// By request, with work left.
    Stopped,
    /// A server does not answer any more, whatever is tried, and work is left.
    GivenUp {
        /// The server.
        host: String,
        /// How it fails.
        reason: String,
    },
    /// The agenda cannot be read or written, and work may be left.
    Agenda(AgendaError),
}
