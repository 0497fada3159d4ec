//! Who says what is next, and remembers what came of it.

use std::fmt;

use crate::{Claim, Stop};

/// The list of work of one task, shared by all its workers.
pub trait Agenda: fmt::Debug + Send + Sync {
    /// The next piece of work. Waits while others are at work that may come back; `None`: nothing is left, or `stop` was
    /// asked for.
    fn next(&self, stop: &Stop) -> Result<Option<Claim>, AgendaError>;
    /// What came of it. Work of which nothing came (the worker stops) is given back by [`Outcome::NotDone`].
    fn finish(&self, claim: &Claim, outcome: &Outcome) -> Result<(), AgendaError>;
    /// How much of the task is behind it: 0 to 1.
    fn fraction(&self) -> f64;
}

/// What came of a piece of work.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All its tiles are stored.
    Done {
        /// Tiles made now.
        made: u64,
        /// Tiles that were there and stay.
        kept: u64,
        /// Size of the tiles made.
        bytes: u64,
    },
    /// Tried as often as allowed, in vain.
    Failed {
        /// Why, for people, without secrets.
        reason: String,
    },
    /// Not tried to the end.
    NotDone,
}

/// An agenda that cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct AgendaError {
    /// File or server, without secrets.
    pub what: String,
    /// Why, and what to do.
    pub reason: String,
}
