//! A request to stop, which ends every wait.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asked for once, seen by all who hold it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Asks all to stop.
    pub fn ask(&self) {
        let (asked, changed) = &*self.shared;
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `true` as soon as it is asked for, `false` when the time is over.
    pub fn wait(&self, time: Duration) -> bool {
        let (asked, changed) = &*self.shared;
        let until = Instant::now().checked_add(time);
        let mut guard = asked.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            let Some(left) = until.map_or(Some(Duration::MAX), |until| until.checked_duration_since(Instant::now()))
            else {
                return false;
            };
            if left.is_zero() {
                return false;
            }
            guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_stopping_is_asked_for_or_the_time_is_over() {
        let stop = Stop::default();
        assert!(!stop.wait(Duration::from_millis(1)));
        let other = stop.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.ask();
        assert!(waiter.join().unwrap());
        assert!(stop.is_asked() && stop.wait(Duration::ZERO));
    }
}
