//! Single flight: of many threads that want the same work done, one does it and all get its result.
//!
//! This is what keeps a burst of clients from asking a source more than once within one process; lock files
//! ([`crate::TileLocker`]) do the same between processes. A failure is a result, too: those who waited for it don't try
//! again on their own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work in progress, by what it is for.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    running: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

#[derive(Debug)]
struct Flight<V> {
    state: Mutex<State<V>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<V> {
    Running,
    Done(V),
    /// The worker panicked.
    Abandoned,
}

/// How a result was come by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flown<V> {
    /// By this thread.
    Own(V),
    /// By another that was at it already.
    Shared(V),
    /// Not at all: the other took too long.
    TimedOut,
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Flights { running: Mutex::new(HashMap::new()) }
    }

    /// Does `work`, or waits up to `timeout` for whoever is at it.
    pub(crate) fn run(&self, key: &K, timeout: Duration, work: impl FnOnce() -> V) -> Flown<V> {
        let deadline = Instant::now() + timeout;
        loop {
            let flight = {
                let mut running = lock(&self.running);
                match running.get(key) {
                    Some(flight) => Arc::clone(flight),
                    None => {
                        let flight = Arc::new(Flight { state: Mutex::new(State::Running), changed: Condvar::new() });
                        running.insert(key.clone(), Arc::clone(&flight));
                        drop(running);
                        let landing = Landing { flights: self, key, flight };
                        let result = work();
                        landing.land(State::Done(result.clone()));
                        return Flown::Own(result);
                    }
                }
            };
            let mut state = lock(&flight.state);
            loop {
                match &*state {
                    State::Done(result) => return Flown::Shared(result.clone()),
                    State::Abandoned => break,
                    State::Running => {}
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Flown::TimedOut;
                }
                state = flight.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// Ends a flight even if its worker panics.
struct Landing<'a, K: Eq + Hash + Clone, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Arc<Flight<V>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Landing<'_, K, V> {
    fn land(&self, end: State<V>) {
        // Whoever comes from here on begins anew, and finds what is stored by now.
        lock(&self.flights.running).remove(self.key);
        *lock(&self.flight.state) = end;
        self.flight.changed.notify_all();
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        if matches!(*lock(&self.flight.state), State::Running) {
            self.land(State::Abandoned);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_works_and_all_share_the_result() {
        let (flights, calls, start) = (Flights::new(), AtomicUsize::new(0), Barrier::new(64));
        let work = || {
            std::thread::sleep(Duration::from_millis(100));
            calls.fetch_add(1, Ordering::SeqCst)
        };
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    start.wait();
                    let result = flights.run(&"tile", LONG, work);
                    assert!(matches!(result, Flown::Own(0) | Flown::Shared(0)), "{result:?}");
                });
            }
        });
        assert_eq!(calls.into_inner(), 1);
    }

    #[test]
    fn different_work_does_not_wait() {
        let (flights, both) = (Flights::new(), Barrier::new(2));
        std::thread::scope(|scope| {
            for key in [1, 2] {
                let (flights, both) = (&flights, &both);
                // Each waits for the other inside of its work.
                scope.spawn(move || flights.run(&key, LONG, || both.wait().is_leader()));
            }
        });
    }

    #[test]
    fn later_work_is_done_anew() {
        let flights = Flights::new();
        assert_eq!(flights.run(&1, LONG, || "first"), Flown::Own("first"));
        assert_eq!(flights.run(&1, LONG, || "second"), Flown::Own("second"));
    }

    #[test]
    fn waiting_ends_in_time() {
        let (flights, begun) = (Flights::new(), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                flights.run(&1, LONG, || {
                    begun.wait();
                    std::thread::sleep(Duration::from_millis(300));
                })
            });
            begun.wait();
            assert_eq!(flights.run(&1, Duration::from_millis(20), || ()), Flown::TimedOut);
        });
    }

    #[test]
    fn a_panic_lets_the_next_one_try() {
        let (flights, begun) = (Flights::new(), Barrier::new(2));
        std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                flights.run(&1, LONG, || {
                    begun.wait();
                    std::thread::sleep(Duration::from_millis(50));
                    panic!("on purpose")
                })
            });
            begun.wait();
            assert_eq!(flights.run(&1, LONG, || 7), Flown::Own(7));
            assert!(panicking.join().is_err());
        });
    }
}
