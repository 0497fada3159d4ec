//! How upstream servers are asked by all machines together: kept on the Redis server that has their queue.
//!
//! Which servers are to be left alone is looked up a few times in a second, so that nobody waits for Redis to find out;
//! with a limit of requests per second, each request takes its turn there. While Redis is away a machine keeps to what it
//! knows itself, and to its fair part of the limit.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::link::{Link, Script};
use super::{QueueAddress, text_of, unique};
use crate::{AgendaError, Limits};

const LIMITS: Script = concat!(include_str!("lua/common.lua"), include_str!("lua/limits.lua"));
const TAKE: Script = include_str!("lua/take.lua");

/// How soon others know that a server is to be left alone, and how often we look.
const LOOK: Duration = Duration::from_millis(250);

/// A machine that was not heard of for so long has no part of a limit.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a Redis server that does not answer is left out of what must not wait.
const AWAY: Duration = Duration::from_secs(2);

/// The machines that ask upstream servers together.
const MACHINES: &str = "mapproxy-seed:asking";

/// Limits that machines share.
pub struct SharedLimits {
    shared: Arc<Shared>,
    link: Mutex<Link>,
}

struct Shared {
    server: String,
    me: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hosts: HashMap<String, Host>,
    machines: u32,
    /// Redis is not asked for turns before.
    away_until: Option<Instant>,
    is_closed: bool,
}

#[derive(Default)]
struct Host {
    until: Option<Instant>,
    /// Said here, and not to the others yet.
    is_news: bool,
    /// When our next request may be sent, while Redis is away.
    next: Option<Instant>,
}

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedLimits({})", self.shared.server)
    }
}

impl SharedLimits {
    /// Limits that are shared by all who name the same server and database.
    pub fn new(address: &QueueAddress) -> Result<SharedLimits, AgendaError> {
        let error = |reason: String| AgendaError { what: address.server().to_owned(), reason };
        let link = || Link::new(address).map_err(error);
        let shared = Arc::new(Shared {
            server: address.server().to_owned(),
            me: unique(),
            state: Mutex::new(State { machines: 1, ..State::default() }),
            changed: Condvar::new(),
        });
        let (link, own) = (link()?, link()?);
        let thread = thread::Builder::new().name("queue-limits".to_owned());
        let looker = Arc::clone(&shared);
        thread.spawn(move || looker.look(link)).map_err(|reason| error(format!("cannot start a thread: {reason}")))?;
        Ok(SharedLimits { shared, link: Mutex::new(own) })
    }

    /// Who keeps to them, as far as is known.
    #[cfg(test)]
    pub(super) fn machines(&self) -> u32 {
        self.shared.lock().machines
    }

    /// Our turn as Redis has it; `None`: it does not say.
    fn turn(&self, host: &str, between: Duration) -> Option<Duration> {
        if self.shared.lock().away_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("mapproxy-seed:turn:{host}");
        let arguments = [String::new(), between.as_micros().max(1).to_string()];
        match link.run::<Value>(TAKE, &key, &arguments) {
            Ok(wait) => text_of(&wait).parse().ok().map(Duration::from_micros),
            Err(_) => {
                self.shared.lock().away_until = Some(Instant::now() + AWAY);
                None
            }
        }
    }
}

impl Limits for SharedLimits {
    fn take(&self, host: &str, per_second: f64) -> Duration {
        let between = Duration::from_secs_f64(1.0 / per_second.clamp(1e-4, 1e6));
        if let Some(wait) = self.turn(host, between) {
            return wait;
        }
        let mut state = self.shared.lock();
        let (now, between) = (Instant::now(), between * state.machines.max(1));
        let host = state.hosts.entry(host.to_owned()).or_default();
        let turn = host.next.map_or(now, |next| next.max(now));
        host.next = Some(turn + between);
        turn.saturating_duration_since(now)
    }

    fn hold(&self, host: &str, time: Duration) {
        let mut state = self.shared.lock();
        let host = state.hosts.entry(host.to_owned()).or_default();
        let until = Instant::now() + time;
        if host.until.is_none_or(|own| own < until) {
            (host.until, host.is_news) = (Some(until), true);
            self.shared.changed.notify_all();
        }
    }

    fn held(&self, host: &str) -> Option<Duration> {
        let mut state = self.shared.lock();
        let Some(known) = state.hosts.get(host) else {
            // It is looked up from now on.
            state.hosts.insert(host.to_owned(), Host::default());
            self.shared.changed.notify_all();
            return None;
        };
        let left = known.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is known here, and asks what others know, until the limits are dropped.
    fn look(&self, mut link: Link) {
        let mut pause = LOOK;
        loop {
            let mut arguments = vec![String::new(), self.me.clone(), SILENCE.as_millis().to_string()];
            let mut asked = Vec::new();
            {
                let mut state = self.lock();
                let now = Instant::now();
                for (name, host) in &mut state.hosts {
                    let left = host.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
                    let news = if std::mem::take(&mut host.is_news) { left } else { Duration::ZERO };
                    arguments.extend([name.clone(), news.as_millis().to_string()]);
                    asked.push((name.clone(), !news.is_zero()));
                }
            }
            let answer = link.run::<Vec<Value>>(LIMITS, MACHINES, &arguments);
            let mut state = self.lock();
            match answer {
                Ok(answer) => {
                    let numbers: Vec<u64> = answer.iter().filter_map(|value| text_of(value).parse().ok()).collect();
                    let now = Instant::now();
                    state.machines = numbers.first().map_or(1, |count| u32::try_from(*count).unwrap_or(u32::MAX));
                    for ((name, _), held) in asked.iter().zip(numbers.iter().skip(1)) {
                        let host = state.hosts.entry(name.clone()).or_default();
                        if !host.is_news {
                            host.until = (*held > 0).then(|| now + Duration::from_millis(*held));
                        }
                    }
                    pause = LOOK;
                }
                Err(_) => {
                    for (name, was_news) in asked {
                        let host = state.hosts.entry(name).or_default();
                        host.is_news |= was_news;
                    }
                    pause = (pause * 2).min(AWAY);
                }
            }
            // News is told at once, but not faster than a server that is away may be asked.
            let is_away = pause > LOOK;
            let until = Instant::now() + pause;
            let known = state.hosts.len();
            loop {
                let left = until.saturating_duration_since(Instant::now());
                let has_news = state.hosts.len() > known || state.hosts.values().any(|host| host.is_news);
                if state.is_closed || left.is_zero() || (has_news && !is_away) {
                    break;
                }
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.is_closed {
                return;
            }
        }
    }
}
