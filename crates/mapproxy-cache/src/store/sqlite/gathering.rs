//! Tiles of several threads, written in one transaction.
//!
//! A transaction makes the disk wait a few times, however few tiles are in it. Threads that come while another one writes
//! put their tiles down; when it is done, one of them writes those of all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What one thread has put down.
#[derive(Debug)]
pub(super) struct Batch<T, E> {
    pub(super) content: T,
    outcome: OnceLock<Result<(), E>>,
}

/// What is put down for one file.
#[derive(Debug)]
pub(super) struct Gathering<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T, E> {
    waiting: Vec<Arc<Batch<T, E>>>,
    is_writing: bool,
}

impl<T, E> Default for Gathering<T, E> {
    fn default() -> Self {
        let state = State { waiting: Vec::new(), is_writing: false };
        Gathering { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T, E: Clone> Gathering<T, E> {
    /// Writes `content` by `write`, together with what others have put down, or waits until another thread has written it.
    /// `None`: nobody came to it in this time, and nobody will.
    pub(super) fn write(
        &self,
        content: T,
        patience: Duration,
        write: impl Fn(&[Arc<Batch<T, E>>]) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let deadline = Instant::now() + patience;
        let batch = Arc::new(Batch { content, outcome: OnceLock::new() });
        let mut state = self.locked();
        state.waiting.push(Arc::clone(&batch));
        loop {
            if let Some(outcome) = batch.outcome.get() {
                return Some(outcome.clone());
            }
            if !state.is_writing {
                // Without ours if the thread that had taken it came to nothing: then it is told so here.
                if !state.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, &batch)) {
                    state.waiting.push(Arc::clone(&batch));
                }
                let batches = std::mem::take(&mut state.waiting);
                state.is_writing = true;
                drop(state);
                let writing = Writing { gathering: self };
                let outcome = write(&batches);
                for batch in &batches {
                    // Nobody else sets it.
                    let _ = batch.outcome.set(outcome.clone());
                }
                drop(writing);
                return Some(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero()
                && let Some(place) = state.waiting.iter().position(|other| Arc::ptr_eq(other, &batch))
            {
                state.waiting.remove(place);
                return None;
            }
            // Who writes has patience of its own, so that this ends.
            let nap = left.max(Duration::from_millis(100));
            state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn locked(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write, given up even in a panic.
struct Writing<'a, T, E: Clone> {
    gathering: &'a Gathering<T, E>,
}

impl<T, E: Clone> Drop for Writing<'_, T, E> {
    fn drop(&mut self) {
        self.gathering.locked().is_writing = false;
        self.gathering.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Threads that come while the first one writes.
    struct Crowd {
        gathering: Gathering<u32, String>,
        has_begun: AtomicBool,
        may_end: AtomicBool,
        written: Mutex<Vec<Vec<u32>>>,
    }

    fn wait_for(condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < LONG, "it never happens");
            std::thread::yield_now();
        }
    }

    impl Crowd {
        fn new() -> Crowd {
            Crowd {
                gathering: Gathering::default(),
                has_begun: AtomicBool::new(false),
                may_end: AtomicBool::new(false),
                written: Mutex::default(),
            }
        }

        fn write(&self, number: u32, patience: Duration, outcome: &Result<(), String>) -> Option<Result<(), String>> {
            self.gathering.write(number, patience, |batches| {
                self.has_begun.store(true, Ordering::SeqCst);
                wait_for(|| self.may_end.load(Ordering::SeqCst));
                let mut numbers: Vec<u32> = batches.iter().map(|batch| batch.content).collect();
                numbers.sort_unstable();
                self.written.lock().unwrap().push(numbers);
                outcome.clone()
            })
        }

        fn waiting(&self) -> usize {
            self.gathering.locked().waiting.len()
        }
    }

    #[test]
    fn those_who_wait_are_written_together_and_have_one_outcome() {
        let crowd = Crowd::new();
        let failure = Err("disk full".to_owned());
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let first = scope.spawn(|| crowd.write(0, LONG, &Ok(())));
            wait_for(|| crowd.has_begun.load(Ordering::SeqCst));
            let others: Vec<_> = (1..5)
                .map(|number| {
                    let (crowd, failure) = (&crowd, &failure);
                    scope.spawn(move || crowd.write(number, LONG, failure))
                })
                .collect();
            wait_for(|| crowd.waiting() == 4);
            crowd.may_end.store(true, Ordering::SeqCst);
            std::iter::once(first).chain(others).map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes[0], Some(Ok(())));
        assert!(outcomes[1..].iter().all(|outcome| *outcome == Some(failure.clone())));
        assert_eq!(*crowd.written.lock().unwrap(), [vec![0], vec![1, 2, 3, 4]]);
    }

    #[test]
    fn who_loses_patience_is_not_written() {
        let crowd = Crowd::new();
        std::thread::scope(|scope| {
            scope.spawn(|| crowd.write(0, LONG, &Ok(())));
            wait_for(|| crowd.has_begun.load(Ordering::SeqCst));
            assert_eq!(crowd.write(1, Duration::from_millis(10), &Ok(())), None);
            assert_eq!(crowd.waiting(), 0);
            crowd.may_end.store(true, Ordering::SeqCst);
        });
        assert_eq!(*crowd.written.lock().unwrap(), [[0]]);
    }

    #[test]
    fn what_a_thread_leaves_that_panics_is_written_by_its_owner() {
        let crowd = Crowd::new();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let write = |_: &[Arc<Batch<u32, String>>]| {
                    crowd.has_begun.store(true, Ordering::SeqCst);
                    wait_for(|| crowd.waiting() == 1);
                    panic!("on purpose")
                };
                crowd.gathering.write(0, LONG, write)
            });
            wait_for(|| crowd.has_begun.load(Ordering::SeqCst));
            crowd.may_end.store(true, Ordering::SeqCst);
            assert_eq!(crowd.write(1, LONG, &Ok(())), Some(Ok(())));
            first.join().unwrap_err();
        });
        assert_eq!(*crowd.written.lock().unwrap(), [[1]]);
    }
}
