//! Whether a server that keeps tiles is there: one that is not is asked again after a moment, and not by everybody.
//!
//! Without this each tile would wait for a time-out of its own while the server is away. The first request to fail marks
//! the server; for a while nobody asks, then one request tries, while the others go on without. The while is longer
//! where failing takes long: a server that refuses connections is tried each second, one that hangs each ten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a server that failed is left alone, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// And at most.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// A server's state as this process sees it.
#[derive(Debug)]
pub(crate) struct Presence {
    /// For the log: what and where, without credentials.
    server: String,
    /// Target of the log.
    target: &'static str,
    away: AtomicBool,
    state: Mutex<Option<Away>>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    asked: Instant,
    pause: Duration,
    reason: String,
}

/// How asking a server has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not answer.
    Away(String),
    /// It answered that it cannot or will not.
    Refused(String),
}

impl Presence {
    pub(crate) fn new(server: String, target: &'static str) -> Self {
        Presence { server, target, away: AtomicBool::new(false), state: Mutex::new(None) }
    }

    /// What and where.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Asks, unless the server is known to be away. The error is a reason, fit for the log.
    pub(crate) fn ask<T>(&self, request: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
        if self.away.load(Ordering::Relaxed) {
            self.may_ask(Instant::now())?;
        }
        let begun = Instant::now();
        match request() {
            Err(Failure::Away(reason)) => {
                self.is_away(&reason, begun, Instant::now());
                Err(reason)
            }
            answer => {
                if self.away.load(Ordering::Relaxed) {
                    self.is_back();
                }
                answer.map_err(|failure| match failure {
                    Failure::Away(reason) | Failure::Refused(reason) => reason,
                })
            }
        }
    }

    fn may_ask(&self, now: Instant) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            Some(away) if now.saturating_duration_since(away.asked) < away.pause => Err(away.reason.clone()),
            Some(away) => {
                away.asked = now;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is_away(&self, reason: &str, begun: Instant, now: Instant) {
        let pause = (now.saturating_duration_since(begun) * 4).clamp(PAUSE, LONG_PAUSE);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.as_ref().map_or(begun, |away| away.since);
        *state = Some(Away { since, asked: now, pause, reason: reason.to_owned() });
        self.away.store(true, Ordering::Relaxed);
    }

    fn is_back(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(away) = state.take() {
            self.away.store(false, Ordering::Relaxed);
            let seconds = away.since.elapsed().as_secs_f64();
            log::info!(target: self.target, "{} answers again after {seconds:.1} s", self.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn presence() -> Presence {
        Presence::new("server".to_owned(), "test")
    }

    #[test]
    fn a_server_that_failed_is_left_alone_for_a_moment() {
        let (presence, asked) = (presence(), Cell::new(0));
        let fail = || {
            presence.ask(|| {
                asked.set(asked.get() + 1);
                Err::<(), _>(Failure::Away("no route".to_owned()))
            })
        };
        for _ in 0..10 {
            assert_eq!(fail(), Err("no route".to_owned()));
        }
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn after_the_pause_one_asks_and_the_others_go_on_without() {
        let presence = presence();
        let start = Instant::now();
        presence.is_away("no route", start, start);
        assert!(presence.may_ask(start + PAUSE / 2).is_err());
        assert!(presence.may_ask(start + PAUSE).is_ok());
        assert!(presence.may_ask(start + PAUSE).is_err());
        assert!(presence.may_ask(start + PAUSE * 2).is_ok());
    }

    #[test]
    fn a_server_that_hangs_is_left_alone_for_longer() {
        let (presence, start) = (presence(), Instant::now());
        let failed = start + Duration::from_secs(2);
        presence.is_away("no answer", start, failed);
        assert!(presence.may_ask(failed + Duration::from_secs(7)).is_err());
        assert!(presence.may_ask(failed + Duration::from_secs(8)).is_ok());
        presence.is_away("no answer", start, start + Duration::from_secs(60));
        assert!(presence.may_ask(start + Duration::from_secs(71)).is_ok());
    }

    #[test]
    fn an_answer_of_any_kind_ends_it() {
        for answer in [Ok(1), Err(Failure::Refused("no memory".to_owned()))] {
            let presence = presence();
            let begun = Instant::now().checked_sub(PAUSE * 2).unwrap();
            presence.is_away("no route", begun, begun);
            let expected = answer.as_ref().map(|n| *n).map_err(|_| "no memory".to_owned());
            assert_eq!(presence.ask(|| answer), expected);
            assert!(!presence.away.load(Ordering::Relaxed));
        }
    }
}
