//! What one request has done on its way: how many tiles it found and made, whom it asked upstream, what failed and
//! where. For access logs, metrics and the error page of a server under development.
//!
//! [`collect`] gives a thread a [`Trace`] to write to while a request is worked on. Whoever starts threads for the
//! request hands it on with [`Scope`]. Where nobody collects, nothing is written and nothing is formatted.
//!
//! ```
//! use mapproxy_trace as trace;
//!
//! let (answer, trace) = trace::collect(|| {
//!     let _place = trace::within(|| trace::Place::Cache("osm".into()));
//!     trace::fail("no route to host");
//!     404
//! });
//! assert_eq!(answer, 404);
//! assert_eq!(trace.failures()[0].to_string(), "cache osm: no route to host");
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What one request has done.
#[derive(Debug, Default)]
pub struct Trace {
    hit: AtomicU64,
    remembered: AtomicU64,
    stale: AtomicU64,
    missed: AtomicU64,
    calls: Mutex<Vec<Call>>,
    failures: Mutex<Vec<Failure>>,
}

/// Tiles by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiles {
    /// Lay in a cache.
    pub hit: u64,
    /// Lay in this process's memory. They are counted as hits, too, by whoever asked for them.
    pub remembered: u64,
    /// Had expired, and stood in for new ones that could not be had.
    pub stale: u64,
    /// Were made.
    pub missed: u64,
}

/// A request to an upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where in the configuration it came from.
    pub places: Vec<Place>,
    /// `GET`, `POST`, or what else the source speaks.
    pub method: &'static str,
    /// Without credentials.
    pub url: String,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    /// Of the answer's body, if it was read.
    pub bytes: Option<u64>,
    /// Until the answer was complete, or failed.
    pub duration: Duration,
}

/// Something that went wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// From the layer down.
    pub places: Vec<Place>,
    /// The error, and below it what caused it.
    pub chain: Vec<String>,
}

/// A part of the configuration that a request is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A layer, or several with commas.
    Layer(Arc<str>),
    /// A cache.
    Cache(Arc<str>),
    /// A tile of the cache before: level, column, row.
    Tile(u8, u32, u32),
    /// A source.
    Source(Arc<str>),
}

/// A thread's trace and place, to be handed to other threads that work for the same request.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    trace: Option<Arc<Trace>>,
    places: Vec<Place>,
}

/// Leaves its place when dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the place"]
pub struct Within {
    entered: bool,
}

thread_local! {
    static CURRENT: RefCell<Scope> = const { RefCell::new(Scope { trace: None, places: Vec::new() }) };
}

/// Does `work` and tells what it did. A trace that was being collected before goes on afterwards.
pub fn collect<R>(work: impl FnOnce() -> R) -> (R, Arc<Trace>) {
    let trace = Arc::new(Trace::default());
    let scope = Scope { trace: Some(Arc::clone(&trace)), places: Vec::new() };
    (scope.enter(work), trace)
}

/// What the threads of this request are to [`Scope::enter`].
pub fn scope() -> Scope {
    CURRENT.with_borrow(Scope::clone)
}

/// Says that what follows on this thread happens for a place, which is asked for only if somebody collects.
pub fn within(place: impl FnOnce() -> Place) -> Within {
    CURRENT.with_borrow_mut(|scope| {
        let entered = scope.trace.is_some();
        if entered {
            scope.places.push(place());
        }
        Within { entered }
    })
}

/// Where this thread is, for a report of a panic.
pub fn places() -> Vec<Place> {
    CURRENT.with_borrow(|scope| scope.places.clone())
}

/// Counts tiles.
pub fn count(tiles: Tiles) {
    CURRENT.with_borrow(|scope| {
        if let Some(trace) = &scope.trace {
            trace.hit.fetch_add(tiles.hit, Ordering::Relaxed);
            trace.remembered.fetch_add(tiles.remembered, Ordering::Relaxed);
            trace.stale.fetch_add(tiles.stale, Ordering::Relaxed);
            trace.missed.fetch_add(tiles.missed, Ordering::Relaxed);
        }
    });
}

/// Notes a request to an upstream server; `call` is asked for it only if somebody collects, and need not know its
/// place.
pub fn call(call: impl FnOnce() -> Call) {
    CURRENT.with_borrow(|scope| {
        if let Some(trace) = &scope.trace {
            let call = Call { places: scope.places.clone(), ..call() };
            lock(&trace.calls).push(call);
        }
    });
}

/// Notes what went wrong, and all that caused it.
pub fn error(error: &(dyn Error + 'static)) {
    if CURRENT.with_borrow(|scope| scope.trace.is_none()) {
        return;
    }
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push(error.to_string());
        cause = error.source();
    }
    note(chain);
}

/// Notes what went wrong, as a text.
pub fn fail(message: impl fmt::Display) {
    if CURRENT.with_borrow(|scope| scope.trace.is_some()) {
        note(vec![message.to_string()]);
    }
}

fn note(chain: Vec<String>) {
    CURRENT.with_borrow(|scope| {
        let Some(trace) = &scope.trace else { return };
        let mut failures = lock(&trace.failures);
        // On its way up an error is seen several times, with more words around it; the first time is where it happened.
        let is_known = |known: &Failure| match (known.chain.first(), chain.first()) {
            (Some(known), Some(error)) => error.contains(known.as_str()),
            _ => false,
        };
        if !failures.iter().any(is_known) {
            failures.push(Failure { places: scope.places.clone(), chain });
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only whole values are pushed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// Tiles that were found and made.
    pub fn tiles(&self) -> Tiles {
        Tiles {
            hit: self.hit.load(Ordering::Relaxed),
            remembered: self.remembered.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
        }
    }

    /// Requests to upstream servers, in the order of their answers.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// What went wrong, also where somebody coped with it.
    pub fn failures(&self) -> Vec<Failure> {
        lock(&self.failures).clone()
    }
}

impl Scope {
    /// Does `work` for the request that this scope belongs to.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        /// Puts the thread's own scope back, after a panic, too.
        struct Restore(Scope);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let _restore = Restore(CURRENT.replace(self.clone()));
        work()
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        if self.entered {
            CURRENT.with_borrow_mut(|scope| {
                scope.places.pop();
            });
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Layer(name) => write!(f, "layer {name}"),
            Place::Cache(name) => write!(f, "cache {name}"),
            Place::Tile(z, x, y) => write!(f, "tile {z}/{x}/{y}"),
            Place::Source(name) => write!(f, "source {name}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { "" } else { ", " })?;
        }
        let chain = self.chain.join(": ");
        if self.places.is_empty() { f.write_str(&chain) } else { write!(f, ": {chain}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(url: &str) -> Call {
        Call {
            places: Vec::new(),
            method: "GET",
            url: url.to_owned(),
            status: Some(200),
            bytes: Some(12),
            duration: Duration::from_millis(3),
        }
    }

    #[test]
    fn threads_of_one_request_write_to_one_trace() {
        let ((), trace) = collect(|| {
            let _layer = within(|| Place::Layer("roads".into()));
            let scope = scope();
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    scope.enter(|| {
                        let _source = within(|| Place::Source("wms".into()));
                        call(|| get("http://a/"));
                        count(Tiles { missed: 2, ..Tiles::default() });
                    });
                    assert!(places().is_empty());
                });
            });
            count(Tiles { hit: 1, ..Tiles::default() });
        });
        assert_eq!(trace.tiles(), Tiles { hit: 1, missed: 2, ..Tiles::default() });
        let places = vec![Place::Layer("roads".into()), Place::Source("wms".into())];
        assert_eq!(trace.calls(), [Call { places, ..get("http://a/") }]);
    }

    #[test]
    fn an_error_is_noted_once_where_it_happened_with_its_causes() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot read")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let outer = Outer(std::io::Error::other("disk is gone"));
        let ((), trace) = collect(|| {
            {
                let _cache = within(|| Place::Cache("osm".into()));
                let _tile = within(|| Place::Tile(3, 1, 2));
                error(&outer);
            }
            error(&outer);
            fail("osm: cannot read");
        });
        let failures: Vec<String> = trace.failures().iter().map(ToString::to_string).collect();
        assert_eq!(failures, ["cache osm, tile 3/1/2: cannot read: disk is gone"]);
    }

    #[test]
    fn without_a_collector_nothing_is_kept_and_after_a_panic_all_is_as_before() {
        call(|| unreachable!("nobody wants to know"));
        let _place = within(|| Place::Source("a".into()));
        assert!(places().is_empty());
        let result = std::panic::catch_unwind(|| {
            collect(|| {
                let _place = within(|| Place::Source("a".into()));
                panic!("as asked");
            })
        });
        assert!(result.is_err() && places().is_empty());
        call(|| unreachable!("nobody wants to know"));
    }

    #[test]
    fn a_trace_within_a_trace_has_its_own_events() {
        let ((), outer) = collect(|| {
            let ((), inner) = collect(|| count(Tiles { hit: 1, ..Tiles::default() }));
            assert_eq!(inner.tiles().hit, 1);
            count(Tiles { stale: 1, ..Tiles::default() });
        });
        assert_eq!(outer.tiles(), Tiles { stale: 1, ..Tiles::default() });
    }
}
