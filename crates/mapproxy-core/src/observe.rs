//! What programs around us may measure.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use mapproxy_trace::Trace;

use crate::CacheState;

/// Is told of each answer: a sink for metrics. Called on the thread that answers, so it should only count.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A request has been answered.
    fn answered(&self, answered: &Answered<'_>);
}

/// An answer and how it came about.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// The first segment of the path that a service answers to (`service`, `wmts`, …); `None` where none does.
    pub service: Option<&'static str>,
    /// Status of the answer.
    pub status: StatusCode,
    /// Bytes of its body.
    pub bytes: usize,
    /// From the call to the answer.
    pub duration: Duration,
    /// Where the tiles came from, if tiles were asked for.
    pub cache: Option<CacheState>,
    /// What was asked upstream and what failed; `None` for answers that could be had at once.
    pub trace: Option<&'a Trace>,
}
