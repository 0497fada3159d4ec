//! The time, which tests may let pass at once.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Tells the time, and says how long a wait really is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Instant;
    /// Somebody is going to wait for `time`: so long the thread is to sleep. What has become due by then is looked up anew.
    fn nap(&self, time: Duration) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn nap(&self, time: Duration) -> Duration {
        time
    }
}

/// A clock for tests: it goes as any other, but whoever waits finds that the time has passed.
#[derive(Debug, Default)]
pub struct HastyClock {
    ahead: Mutex<Duration>,
}

impl HastyClock {
    /// How much time was not waited for.
    pub fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for HastyClock {
    fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }
    fn nap(&self, time: Duration) -> Duration {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += time;
        // Others get their turn.
        Duration::from_micros(100)
    }
}
