//! Keeps a fault that shows with each request from filling the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Different things said within [`WINDOW`].
const MOST: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// Things remembered; beyond that the memory starts anew, which costs lines in the log, not memory.
const REMEMBERED: usize = 4096;

/// What has been complained about lately.
#[derive(Debug)]
pub(crate) struct Complaints<K> {
    silence: Duration,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    said: HashMap<K, Instant>,
    window: Option<Instant>,
    within: u32,
    withheld: u64,
}

impl<K: Clone + Eq + Hash> Complaints<K> {
    /// Says the same again only after `silence`.
    pub(crate) fn every(silence: Duration) -> Self {
        let state = State { said: HashMap::new(), window: None, within: 0, withheld: 0 };
        Complaints { silence, state: Mutex::new(state) }
    }

    /// Complains of `what` unless that was done lately, or too much else was said within the last minute. The closure
    /// gets what to append: how many lines were kept back before this one.
    pub(crate) fn about(&self, what: &K, complain: impl FnOnce(&str)) {
        if let Some(withheld) = self.is_due(what, Instant::now()) {
            complain(&match withheld {
                0 => String::new(),
                n => format!(" ({n} lines like this were kept back)"),
            });
        }
    }

    fn is_due(&self, what: &K, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |then: &Instant, span: Duration| now.saturating_duration_since(*then) < span;
        if state.said.get(what).is_some_and(|then| is_recent(then, self.silence)) {
            state.withheld += 1;
            return None;
        }
        if !state.window.as_ref().is_some_and(|begun| is_recent(begun, WINDOW)) {
            state.window = Some(now);
            state.within = 0;
        }
        if state.within >= MOST {
            state.withheld += 1;
            return None;
        }
        state.within += 1;
        if state.said.len() >= REMEMBERED {
            state.said.clear();
        }
        state.said.insert(what.clone(), now);
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_same_is_said_again_only_after_a_while() {
        let (complaints, now) = (Complaints::every(HOUR), Instant::now());
        let said = [0, 1, 3599, 3600, 3601].map(|s| complaints.is_due(&"a", now + Duration::from_secs(s)));
        assert_eq!(said, [Some(0), None, None, Some(2), None]);
        assert_eq!(complaints.is_due(&"b", now + HOUR), Some(1));
    }

    #[test]
    fn a_flood_of_different_things_is_counted_instead_of_said() {
        let (complaints, now) = (Complaints::every(HOUR), Instant::now());
        let said = (0..100).filter(|n| complaints.is_due(n, now).is_some()).count();
        assert_eq!(said, 30);
        assert_eq!(complaints.is_due(&1000, now + WINDOW), Some(70));
        assert_eq!(complaints.is_due(&1001, now + WINDOW), Some(0));
    }

    #[test]
    fn memory_is_bounded() {
        let (complaints, now) = (Complaints::every(HOUR), Instant::now());
        for n in 0..20_000_u32 {
            complaints.is_due(&n, now + WINDOW * (n / 30));
        }
        assert!(complaints.state.lock().unwrap().said.len() <= REMEMBERED);
    }
}
