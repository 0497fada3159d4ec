//! How fast upstream servers are asked: by all workers together, each server by what it says and how it fares.
//!
//! A server that asks to be left alone (`Retry-After`) is, by everybody. One that fails several times in a row is taken
//! for dead: nobody asks it for a while, then one worker tries, and if that fails, too, the while doubles. Requests per
//! second may be limited. Workers wait before they begin a piece of work ([`Pace::enter`]), when they hold no lock that a
//! server might want; a request that comes upon a closed door all the same fails as the one before it did.
//!
//! What is asked is counted: requests, bytes, failures, and how long answers took.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_client::{ClientError, ErrorKind, HttpClient, Peer, RedactedUrl, UpstreamRequest, UpstreamResponse};
use mapproxy_map::MapError;

use crate::clock::{Clock, RealClock};
use crate::{Latency, Stop};

/// Failures in a row after which a server is taken for dead.
const FAILURES: u32 = 5;
/// How long it is left alone then, at first.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// So long a request may wait for its turn with a lock held.
const PATIENCE: Duration = Duration::from_secs(2);
/// No server is left alone for longer on its word.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 3600);
/// How often those who wait look up.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What is said of a request that was not sent.
const HELD_BACK: &str = "not asked";

/// What all who ask the same servers know together. Here those are the workers of one process; machines that share their
/// work may share this, too.
pub trait Limits: fmt::Debug + Send + Sync {
    /// Counts one more request to `host`, of which there are to be so many in a second: how long it has to wait.
    fn take(&self, host: &str, per_second: f64) -> Duration;
    /// Nobody is to ask `host` for so long.
    fn hold(&self, host: &str, time: Duration);
    /// For how long `host` is not to be asked.
    fn held(&self, host: &str) -> Option<Duration>;
}

/// How servers are asked.
#[derive(Debug)]
pub struct PaceOptions {
    /// Requests per second to each server; `None`: as many as are needed.
    pub max_rate: Option<f64>,
    /// After so many tries without an answer a server is given up.
    pub tries: u32,
    /// What other machines know; `None`: there are none.
    pub shared: Option<Arc<dyn Limits>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for PaceOptions {
    fn default() -> Self {
        PaceOptions { max_rate: None, tries: 100, shared: None, clock: Arc::new(RealClock) }
    }
}

/// What workers share of upstream servers.
#[derive(Debug, Default)]
pub struct Pace {
    options: PaceOptions,
    hosts: Mutex<HashMap<Arc<str>, Host>>,
    changed: Condvar,
}

/// A server as it was met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Name and port.
    pub host: String,
    /// Requests sent.
    pub requests: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Requests without a usable answer, by kind: `HTTP 503`, `timeout`, …
    pub errors: BTreeMap<String, u64>,
    /// How long answers took.
    pub latency: Latency,
    /// For how long it is not asked now.
    pub held: Option<Duration>,
    /// Why.
    pub reason: Option<String>,
}

#[derive(Debug, Default)]
struct Host {
    traffic: Traffic,
    /// Somebody has asked it since the task began.
    is_used: bool,
    /// Failures in a row.
    failures: u32,
    /// Not before.
    until: Option<Instant>,
    /// It is taken for dead: how long it was left alone last, and how often it was tried since.
    dead: Option<(Duration, u32)>,
    /// Somebody is finding out whether it lives.
    is_tried: bool,
    /// When the next request may be sent, with `max_rate`.
    next: Option<Instant>,
    /// How it failed last.
    error: Option<ClientError>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pace {
    /// A pace of these options.
    pub fn new(options: PaceOptions) -> Pace {
        Pace { options, hosts: Mutex::default(), changed: Condvar::new() }
    }

    /// The client, with this pace.
    pub fn client(self: &Arc<Self>, inner: Arc<dyn HttpClient>) -> Arc<dyn HttpClient> {
        Arc::new(PacedClient { inner, pace: Arc::clone(self) })
    }

    /// Another task begins: it may ask other servers.
    pub fn begin(&self) {
        for host in locked(&self.hosts).values_mut() {
            host.is_used = false;
        }
    }

    /// Waits until the servers that are asked for this task may be asked, or `stop` is asked for. Of those who wait for a
    /// server that is taken for dead, one is let in to try it.
    pub fn enter(&self, stop: &Stop) -> Entered<'_> {
        let mut hosts = locked(&self.hosts);
        loop {
            let now = self.options.clock.now();
            let wait = hosts
                .iter_mut()
                .filter(|(_, host)| host.is_used)
                .filter_map(|(name, host)| self.wait_for(name, host, now))
                .max();
            if stop.is_asked() {
                return Entered { pace: self, tries: Vec::new() };
            }
            let Some(wait) = wait else { break };
            let nap = self.options.clock.nap(wait.min(LOOK_UP));
            hosts = self.changed.wait_timeout(hosts, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
        let dead = hosts.iter_mut().filter(|(_, host)| host.is_used && host.dead.is_some());
        let tries = dead.map(|(name, host)| {
            host.is_tried = true;
            Arc::clone(name)
        });
        let tries = tries.collect();
        Entered { pace: self, tries }
    }

    /// How long to wait for a server; `None`: not at all.
    fn wait_for(&self, name: &str, host: &mut Host, now: Instant) -> Option<Duration> {
        if let Some(held) = self.options.shared.as_ref().and_then(|shared| shared.held(name)) {
            let until = now + held;
            host.until = Some(host.until.map_or(until, |own| own.max(until)));
        }
        let held = host.until.and_then(|until| until.checked_duration_since(now)).filter(|held| !held.is_zero());
        if held.is_none() {
            host.until = None;
        }
        held.or(if host.dead.is_some() && host.is_tried { Some(LOOK_UP) } else { None })
    }

    /// A server that has been tried as often as allowed without an answer, and why.
    pub fn given_up(&self) -> Option<(String, String)> {
        let hosts = locked(&self.hosts);
        let tries = self.options.tries;
        let mut dead =
            hosts.iter().filter(|(_, host)| host.is_used && host.dead.is_some_and(|(_, tried)| tried >= tries));
        let (name, host) = dead.next()?;
        Some((name.to_string(), host.error.as_ref().map_or(String::new(), |error| error.reason.clone())))
    }

    /// All servers that were asked.
    pub fn traffic(&self) -> Vec<Traffic> {
        let now = self.options.clock.now();
        let hosts = locked(&self.hosts);
        let mut all: Vec<Traffic> = hosts
            .values()
            .map(|host| {
                let held = host.until.and_then(|until| until.checked_duration_since(now));
                let reason = host.error.as_ref().filter(|_| held.is_some()).map(|error| error.reason.clone());
                Traffic { held, reason, ..host.traffic.clone() }
            })
            .collect();
        all.sort_by(|one, other| one.host.cmp(&other.host));
        all
    }

    /// Waits for our turn; an error where that takes too long.
    fn before(&self, name: &Arc<str>, request: &UpstreamRequest) -> Result<Instant, ClientError> {
        let clock = &self.options.clock;
        let begun = clock.now();
        let mut hosts = locked(&self.hosts);
        loop {
            let host = hosts.entry(Arc::clone(name)).or_default();
            host.is_used = true;
            let now = clock.now();
            let is_trying = host.is_tried;
            // Those who were let in to try it pass.
            let wait = self.wait_for(name, host, now).filter(|_| !is_trying || host.until.is_some());
            let Some(wait) = wait else { break };
            if now.saturating_duration_since(begun) + wait > PATIENCE {
                let url = RedactedUrl::new(&request.url);
                let seconds = wait.as_secs();
                return Err(match &host.error {
                    Some(error) => ClientError {
                        url,
                        reason: format!("{HELD_BACK} for {seconds} s more: {}", error.reason),
                        ..error.clone()
                    },
                    None => ClientError::new(
                        ErrorKind::Status(429),
                        url,
                        format!("{HELD_BACK} for {seconds} s more: the server wants to be left alone"),
                    ),
                });
            }
            let nap = clock.nap(wait.min(LOOK_UP));
            hosts = self.changed.wait_timeout(hosts, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
        let Some(rate) = self.options.max_rate else { return Ok(clock.now()) };
        let wait = match &self.options.shared {
            Some(shared) => {
                drop(hosts);
                shared.take(name, rate)
            }
            None => {
                let now = clock.now();
                let host = hosts.entry(Arc::clone(name)).or_default();
                let turn = host.next.map_or(now, |next| next.max(now));
                host.next = Some(turn + Duration::from_secs_f64(1.0 / rate.max(1e-6)));
                drop(hosts);
                turn.saturating_duration_since(now)
            }
        };
        if !wait.is_zero() {
            std::thread::sleep(clock.nap(wait));
        }
        Ok(clock.now())
    }

    fn after(&self, name: &Arc<str>, begun: Instant, answer: &Result<UpstreamResponse, ClientError>) {
        let now = self.options.clock.now();
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(Arc::clone(name)).or_default();
        let traffic = &mut host.traffic;
        if traffic.host.is_empty() {
            traffic.host = name.to_string();
        }
        traffic.requests += 1;
        traffic.latency.note(now.saturating_duration_since(begun));
        match answer {
            Ok(answer) => traffic.bytes += answer.body.len() as u64,
            Err(error) => *traffic.errors.entry(kind(error)).or_default() += 1,
        }
        let error = match answer {
            Err(error) if is_trouble(error) => error,
            _ => {
                if let Some((_, tried)) = host.dead.take() {
                    log::info!(target: "mapproxy.seed", "{name} answers again, after {} tries", tried + 1);
                }
                (host.failures, host.until, host.is_tried, host.error) = (0, None, false, None);
                self.changed.notify_all();
                return;
            }
        };
        host.error = Some(error.clone());
        if let Some(wish) = error.retry_after {
            // It lives, and says when it wants to be asked again.
            let wish = Duration::from_secs(wish.into()).min(LONGEST_WISH);
            (host.failures, host.dead, host.is_tried) = (0, None, false);
            if !wish.is_zero() {
                log::info!(target: "mapproxy.seed", "{name} wants to be left alone for {} s ({})", wish.as_secs(), error.reason);
            }
            self.hold(name, host, now, wish);
        } else if let Some((pause, tried)) = host.dead {
            // An answer to what was asked before the door was closed says nothing new.
            if host.until.is_none_or(|until| begun >= until) {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                (host.dead, host.is_tried) = (Some((pause, tried + 1)), false);
                log::warn!(target: "mapproxy.seed", "{name} still fails ({}); tried again in {} s", error.reason, pause.as_secs());
                self.hold(name, host, now, jittered(pause));
            }
        } else {
            host.failures += 1;
            if host.failures >= FAILURES {
                host.dead = Some((FIRST_PAUSE, 0));
                log::warn!(
                    target: "mapproxy.seed", "{name} fails again and again ({}); tried again in {} s",
                    error.reason, FIRST_PAUSE.as_secs()
                );
                self.hold(name, host, now, jittered(FIRST_PAUSE));
            }
        }
        drop(hosts);
        self.changed.notify_all();
    }

    fn hold(&self, name: &str, host: &mut Host, now: Instant, time: Duration) {
        let until = now + time;
        host.until = Some(host.until.map_or(until, |own| own.max(until)));
        if let Some(shared) = &self.options.shared {
            shared.hold(name, time);
        }
    }
}

/// A worker that may ask upstream servers.
#[derive(Debug)]
pub struct Entered<'a> {
    pace: &'a Pace,
    /// Servers that it is to try.
    tries: Vec<Arc<str>>,
}

impl Drop for Entered<'_> {
    /// Perhaps it had nothing to ask: then somebody else is to try.
    fn drop(&mut self) {
        if self.tries.is_empty() {
            return;
        }
        let mut hosts = locked(&self.pace.hosts);
        for name in &self.tries {
            if let Some(host) = hosts.get_mut(name) {
                host.is_tried = false;
            }
        }
        drop(hosts);
        self.pace.changed.notify_all();
    }
}

/// Nothing was asked, as the server is not to be asked now.
pub(crate) fn was_held_back(error: &MapError) -> bool {
    match error {
        MapError::Upstream { reason, .. } => reason.starts_with(HELD_BACK),
        MapError::Shared(error) => was_held_back(error),
        MapError::NoSource(messages) => messages.contains(HELD_BACK),
        _ => false,
    }
}

/// A quarter more or less, so that not all come back in the same moment.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.75 + 0.5 * fastrand::f64())
}

/// Something that passes, and that has to do with how the server fares and not with what it was asked.
fn is_trouble(error: &ClientError) -> bool {
    match error.kind {
        ErrorKind::Status(status) => is_passing_status(status),
        ErrorKind::Timeout | ErrorKind::Connection => true,
        _ => false,
    }
}

/// The same question may get an answer later.
pub(crate) fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn kind(error: &ClientError) -> String {
    match error.kind {
        ErrorKind::Status(status) => format!("HTTP {status}"),
        ErrorKind::Timeout => "timeout".to_owned(),
        ErrorKind::Connection => "no connection".to_owned(),
        ErrorKind::Certificate => "certificate".to_owned(),
        ErrorKind::TooLarge => "too large".to_owned(),
        ErrorKind::Redirect => "redirect".to_owned(),
        _ => "other".to_owned(),
    }
}

/// Name and port of the server.
fn host_of(url: &str) -> Arc<str> {
    let url = RedactedUrl::new(url);
    let rest = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.to_ascii_lowercase().into()
}

/// A client that keeps to a pace. Stores are asked as ever.
#[derive(Debug)]
struct PacedClient {
    inner: Arc<dyn HttpClient>,
    pace: Arc<Pace>,
}

impl HttpClient for PacedClient {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        if request.peer == Peer::Store {
            return self.inner.send(request);
        }
        let host = host_of(&request.url);
        let begun = self.pace.before(&host, request)?;
        let answer = self.inner.send(request);
        self.pace.after(&host, begun, &answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use mapproxy_client::testkit::{ScriptedClient, failure, response};

    use super::*;
    use crate::clock::HastyClock;

    const URL: &str = "http://user:secret@Maps.example:81/wms?x=1";

    fn pace(max_rate: Option<f64>) -> (Arc<Pace>, Arc<HastyClock>) {
        let clock = Arc::new(HastyClock::default());
        let options = PaceOptions { max_rate, clock: Arc::clone(&clock) as _, tries: 4, shared: None };
        (Arc::new(Pace::new(options)), clock)
    }

    fn ask(client: &dyn HttpClient) -> Result<UpstreamResponse, ClientError> {
        client.send(&UpstreamRequest::get(URL))
    }

    /// Fails so often, then answers.
    fn failing(times: u32, error: impl Fn(ClientError) -> ClientError + Send + Sync + 'static) -> Arc<ScriptedClient> {
        let left = AtomicU32::new(times);
        Arc::new(ScriptedClient::new(move |request| {
            let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if fails { Err(error(failure(ErrorKind::Status(503), request))) } else { Ok(response("image/png", "tile")) }
        }))
    }

    #[test]
    fn what_is_asked_is_counted_by_server_and_without_secrets() {
        let (pace, _) = pace(None);
        let client = pace.client(failing(2, |error| error));
        for _ in 0..3 {
            let _ = ask(&*client);
        }
        let store = UpstreamRequest::get("http://bucket/tile").to(Peer::Store);
        client.send(&store).unwrap();
        let all = pace.traffic();
        assert_eq!(all.len(), 1, "what stores are asked is no business of this");
        let Traffic { host, requests, bytes, errors, .. } = &all[0];
        assert_eq!((&**host, *requests, *bytes), ("maps.example:81", 3, 4));
        assert_eq!(errors, &BTreeMap::from([("HTTP 503".to_owned(), 2)]));
    }

    #[test]
    fn a_server_that_asks_to_be_left_alone_is() {
        let (pace, clock) = pace(None);
        let wish = Duration::from_secs(40);
        let inner = failing(1, move |error| ClientError { retry_after: Some(40), ..error });
        let client = pace.client(Arc::clone(&inner) as _);
        assert_eq!(ask(&*client).unwrap_err().status(), Some(503));
        let held = ask(&*client).unwrap_err();
        assert_eq!((held.status(), inner.requests().len()), (Some(503), 1), "it fails as the server has: {held}");
        assert!(held.reason.starts_with(HELD_BACK));
        let begun = clock.ahead();
        drop(pace.enter(&Stop::default()));
        let waited = clock.ahead() - begun;
        assert!(waited > wish - Duration::from_secs(1) && waited < wish + Duration::from_secs(1), "{waited:?}");
        ask(&*client).unwrap();
    }

    #[test]
    fn a_server_that_fails_again_and_again_is_tried_by_one_at_a_time_and_ever_more_seldom() {
        let (pace, clock) = pace(None);
        let inner = failing(FAILURES + 3, |error| error);
        let client = pace.client(Arc::clone(&inner) as _);
        for _ in 0..FAILURES {
            ask(&*client).unwrap_err();
        }
        let mut waits = Vec::new();
        for _ in 0..4 {
            let begun = clock.ahead();
            let entered = pace.enter(&Stop::default());
            waits.push(clock.ahead() - begun);
            assert_eq!(entered.tries.len(), 1);
            // Meanwhile nobody else comes in.
            let stop = Stop::default();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| pace.enter(&stop).tries.len());
                stop.ask();
                assert_eq!(other.join().unwrap(), 0);
            });
            let _ = ask(&*client);
        }
        assert_eq!(inner.requests().len(), FAILURES as usize + 4);
        for (wait, expected) in waits.iter().zip([2.0, 4.0, 8.0, 16.0]) {
            assert!((0.7..1.35).contains(&(wait.as_secs_f64() / expected)), "{waits:?}");
        }
        let begun = clock.ahead();
        assert!(pace.enter(&Stop::default()).tries.is_empty(), "it lives");
        assert_eq!(clock.ahead(), begun);
    }

    #[test]
    fn a_server_that_stays_dead_is_given_up_in_the_end() {
        let (pace, _) = pace(None);
        let client = pace.client(failing(1000, |error| error));
        for _ in 0..FAILURES + 4 {
            assert_eq!(pace.given_up(), None);
            drop((pace.enter(&Stop::default()), ask(&*client)));
        }
        assert_eq!(pace.given_up(), Some(("maps.example:81".to_owned(), "scripted failure".to_owned())));
        pace.begin();
        assert_eq!(pace.given_up(), None, "another task may do without it");
    }

    #[test]
    fn a_question_that_is_wrong_says_nothing_about_the_server() {
        let (pace, clock) = pace(None);
        let inner = Arc::new(ScriptedClient::failing(404));
        let client = pace.client(Arc::clone(&inner) as _);
        for _ in 0..20 {
            drop(pace.enter(&Stop::default()));
            ask(&*client).unwrap_err();
        }
        assert_eq!((inner.requests().len(), clock.ahead()), (20, Duration::ZERO));
    }

    #[test]
    fn requests_per_second_are_limited_for_each_server() {
        let (pace, clock) = pace(Some(10.0));
        let client = pace.client(failing(0, |error| error));
        for _ in 0..21 {
            ask(&*client).unwrap();
        }
        let waited = clock.ahead().as_secs_f64();
        assert!((1.9..2.1).contains(&waited), "{waited}");
        client.send(&UpstreamRequest::get("http://other/")).unwrap();
        assert!(clock.ahead().as_secs_f64() - waited < 0.01, "another server is another matter");
    }
}
