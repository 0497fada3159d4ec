//! Answers kept for a while, each asked for once however many want it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an answer depends on, hashed (SHA-256), so that no secrets are kept.
pub(super) type Key = [u8; 32];

/// Answers in two generations: when the young are too many they become the old, and the old go. What is asked for again
/// is young again.
pub(super) struct Remembered<V> {
    generation: usize,
    state: Mutex<State<V>>,
}

struct State<V> {
    young: HashMap<Key, Kept<V>>,
    old: HashMap<Key, Kept<V>>,
    asked: HashMap<Key, Arc<Asked<V>>>,
}

struct Kept<V> {
    value: V,
    until: Instant,
}

/// A question that somebody is waiting with.
struct Asked<V> {
    answer: Mutex<Progress<V>>,
    changed: Condvar,
}

enum Progress<V> {
    Pending,
    Answered(V),
    /// Whoever asked has panicked.
    Abandoned,
}

impl<V: Clone> Remembered<V> {
    /// Keeps at most this many answers, and the half at least.
    pub(super) fn new(most: usize) -> Remembered<V> {
        let state = State { young: HashMap::new(), old: HashMap::new(), asked: HashMap::new() };
        Remembered { generation: (most / 2).max(1), state: Mutex::new(state) }
    }

    /// The answer, if it is known.
    pub(super) fn get(&self, key: &Key) -> Option<V> {
        self.lock().get(key, self.generation)
    }

    /// The answer: known, the one that somebody else is about to get, or that of `ask`, with the time for which it holds.
    pub(super) fn get_or(&self, key: Key, mut ask: impl FnMut() -> (V, Duration)) -> V {
        loop {
            let mut state = self.lock();
            if let Some(value) = state.get(&key, self.generation) {
                return value;
            }
            let asked = state.asked.get(&key).cloned();
            let Some(asked) = asked else {
                let asked = Arc::new(Asked { answer: Mutex::new(Progress::Pending), changed: Condvar::new() });
                state.asked.insert(key, Arc::clone(&asked));
                drop(state);
                let mut flight = Flight { remembered: self, key, asked, answer: None };
                let (value, time) = ask();
                flight.answer = Some((value.clone(), time));
                return value;
            };
            drop(state);
            let pending = |progress: &mut Progress<V>| matches!(progress, Progress::Pending);
            let answer = asked.answer.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = asked.changed.wait_while(answer, pending).unwrap_or_else(PoisonError::into_inner);
            if let Progress::Answered(value) = &*answer {
                return value.clone();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // Nothing under the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> State<V> {
    fn get(&mut self, key: &Key, generation: usize) -> Option<V> {
        let now = Instant::now();
        if let Some(kept) = self.young.get(key) {
            return (kept.until > now).then(|| kept.value.clone());
        }
        let kept = self.old.remove(key).filter(|kept| kept.until > now)?;
        let value = kept.value.clone();
        self.keep(*key, kept, generation);
        Some(value)
    }

    fn keep(&mut self, key: Key, kept: Kept<V>, generation: usize) {
        if self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, kept);
    }
}

/// Tells those who wait, whatever happens.
struct Flight<'a, V: Clone> {
    remembered: &'a Remembered<V>,
    key: Key,
    asked: Arc<Asked<V>>,
    answer: Option<(V, Duration)>,
}

impl<V: Clone> Drop for Flight<'_, V> {
    fn drop(&mut self) {
        let mut state = self.remembered.lock();
        state.asked.remove(&self.key);
        let progress = match self.answer.take() {
            Some((value, time)) => {
                if let Some(until) = Instant::now().checked_add(time).filter(|_| !time.is_zero()) {
                    let kept = Kept { value: value.clone(), until };
                    state.keep(self.key, kept, self.remembered.generation);
                }
                Progress::Answered(value)
            }
            None => Progress::Abandoned,
        };
        drop(state);
        *self.asked.answer.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        self.asked.changed.notify_all();
    }
}

impl<V> fmt::Debug for Remembered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("generation", &self.generation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(number: u8) -> Key {
        [number; 32]
    }

    #[test]
    fn many_who_ask_the_same_at_once_cost_one_question() {
        let remembered = Remembered::new(10);
        let (questions, all) = (AtomicUsize::new(0), Barrier::new(64));
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    all.wait();
                    let answer = remembered.get_or(key(1), || {
                        thread::sleep(Duration::from_millis(50));
                        (questions.fetch_add(1, Ordering::SeqCst), HOUR)
                    });
                    assert_eq!(answer, 0);
                });
            }
        });
        assert_eq!((questions.into_inner(), remembered.get(&key(1))), (1, Some(0)));
    }

    #[test]
    fn an_answer_holds_for_its_time() {
        let remembered = Remembered::new(10);
        assert_eq!(remembered.get_or(key(1), || (1, Duration::from_millis(20))), 1);
        assert_eq!(remembered.get_or(key(2), || (2, Duration::ZERO)), 2);
        assert_eq!((remembered.get(&key(1)), remembered.get(&key(2))), (Some(1), None));
        thread::sleep(Duration::from_millis(40));
        assert_eq!(remembered.get(&key(1)), None);
        assert_eq!(remembered.get_or(key(1), || (3, HOUR)), 3);
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten_first() {
        let remembered = Remembered::new(20);
        for number in 0..100 {
            remembered.get_or(key(number), || (number, HOUR));
            assert_eq!(remembered.get(&key(0)), Some(0), "{number}");
        }
        let state = remembered.lock();
        assert!(state.young.len() + state.old.len() <= 20);
    }

    #[test]
    fn a_panic_leaves_the_question_to_the_next() {
        let remembered = Remembered::<u8>::new(10);
        assert!(catch_unwind(AssertUnwindSafe(|| remembered.get_or(key(1), || panic!("as told")))).is_err());
        assert_eq!(remembered.get_or(key(1), || (7, HOUR)), 7);
    }
}
