//! Works on a task until nothing of it is left.
//!
//! One thread takes work from the agenda, the workers do it, a meta tile each. Work that fails is put aside and tried again
//! later; the worker takes other work meanwhile. How long work waits doubles each time, from 2 seconds to 10 minutes; what
//! is not done by then is given up:
//!
//! | failure | tries |
//! |---|---|
//! | no answer, a broken connection, `HTTP` 408, 425, 429, 5xx; a store that fails | 100 |
//! | somebody else has held the lock of the meta tile for too long | 100, at once |
//! | any other status, a document in place of a picture, a picture that cannot be read | 5 |
//! | the question itself cannot be asked: grids, transformations, configuration; a panic | 1 |
//!
//! While a server is not asked at all ([`Pace`]) work waits for it without using up its tries.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_cache::{MadeTiles, Making};
use mapproxy_grid::{Bbox, TileCoord};
use mapproxy_map::{Dimensions, Fault, MapError};

use crate::clock::{Clock, RealClock};
use crate::pace::{is_passing_status, jittered, was_held_back};
use crate::{
    Agenda, AgendaError, Claim, Counts, Ended, Event, Observer, Outcome, Pace, Progress, Refresh, Report, SeedTask,
    Stop, TileWalk,
};

/// How a task is worked on.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Pieces of work whose sources are asked at once. Those that have their answers are finished meanwhile, as many as
    /// there are cores.
    pub workers: usize,
    /// Only tiles that are there and too old are made; missing ones stay missing.
    pub only_stored: bool,
    /// Work is taken from the agenda, but not done.
    pub dry_run: bool,
    /// How often work is tried whose failure may pass.
    pub tries: u32,
    /// Of the servers that are asked; the clients of the task's sources keep to the same one.
    pub pace: Arc<Pace>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            workers: 2,
            only_stored: false,
            dry_run: false,
            tries: 100,
            pace: Arc::default(),
            clock: Arc::new(RealClock),
        }
    }
}

/// How often work is tried that will probably fail again.
const TRIES_IF_DOUBTFUL: u32 = 5;
/// How long failed work waits, at first.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// And at most.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Work that waits to be tried again, at most; with more, no new work is begun.
const MOST_WAITING: usize = 1000;
/// Work taken ahead, for each worker.
const AHEAD: usize = 8;
/// How often the observer is told how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(250);
/// How often those who wait look up.
const LOOK_UP: Duration = Duration::from_millis(100);
/// What rates and the time left are reckoned from.
const OF_LATE: Duration = Duration::from_secs(60);

/// Works on the agenda of a task until nothing is left, or `stop` is asked for; then what is being worked on is finished,
/// and the rest given back.
pub fn run(task: &SeedTask, agenda: &dyn Agenda, options: &RunOptions, observer: &dyn Observer, stop: &Stop) -> Report {
    let now = options.clock.now();
    let bbox = TileWalk::new(task).map_or_else(|_| task.manager.grid().bbox(), |walk| walk.bbox());
    options.pace.begin();
    let run = Run {
        task,
        agenda,
        options,
        observer,
        stop,
        oldest: match task.refresh {
            Refresh::Missing => None,
            Refresh::Before(moment) => Some(moment),
        },
        bbox,
        begun: now,
        dimensions: Dimensions::default(),
        desk: Mutex::default(),
        changed: Condvar::new(),
    };
    observer.event(&Event::Began { task, progress: &run.progress(&mut Past::default(), true) });
    std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(format!("mapproxy-{name}"));
        let mut workers = 0;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..options.workers.max(1) + cores {
            workers += usize::from(thread("seed").spawn_scoped(scope, || run.work()).is_ok());
        }
        let has_taker = workers > 0 && thread("agenda").spawn_scoped(scope, || run.take_from_agenda()).is_ok();
        if !has_taker {
            let what = "seeding".to_owned();
            run.end(Ended::Agenda(AgendaError { what, reason: "no more threads can be had".to_owned() }));
        }
        run.tell();
    });
    let report = run.report();
    observer.event(&Event::Ended(&report));
    report
}

/// A run, seen by all its threads.
struct Run<'a> {
    task: &'a SeedTask,
    agenda: &'a dyn Agenda,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    stop: &'a Stop,
    oldest: Option<std::time::SystemTime>,
    /// Of the whole task.
    bbox: Bbox,
    begun: Instant,
    dimensions: Dimensions,
    desk: Mutex<Desk>,
    changed: Condvar,
}

/// Work on its way from the agenda through the workers.
#[derive(Debug, Default)]
struct Desk {
    ready: VecDeque<Job>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Pieces that workers are at.
    working: usize,
    /// Those of them whose sources are asked.
    asking: usize,
    /// The agenda has no more.
    is_all: bool,
    ended: Option<Ended>,
    at: Option<(TileCoord, TileCoord)>,
    counts: Counts,
    errors: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Job {
    claim: Claim,
    tries: u32,
}

/// A piece of work may ask its sources.
struct Turn<'a> {
    run: &'a Run<'a>,
    is_over: AtomicBool,
}

impl Turn<'_> {
    /// They have answered: the next one may ask.
    fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            locked(&self.run.desk).asking -= 1;
            self.run.changed.notify_all();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ordered by when it is due.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    job: Job,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |waiting: &Waiting| (waiting.due, waiting.job.claim.work.number);
        key(self).cmp(&key(other))
    }
}

impl Desk {
    /// Nothing more will be done.
    fn is_over(&self) -> bool {
        self.ended.is_some() && self.working == 0
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    /// Puts what the agenda gives on the desk, a little ahead of the workers. The agenda may wait for others, and no worker
    /// with it.
    fn take_from_agenda(&self) {
        loop {
            let mut desk = locked(&self.desk);
            while desk.ended.is_none()
                && (desk.ready.len() >= self.options.workers.max(1) * AHEAD || desk.waiting.len() >= MOST_WAITING)
            {
                self.note_stop(&mut desk);
                desk = self.changed.wait_timeout(desk, LOOK_UP).unwrap_or_else(PoisonError::into_inner).0;
            }
            if desk.ended.is_some() {
                return;
            }
            drop(desk);
            match self.agenda.next(self.stop) {
                Ok(Some(claim)) => {
                    let mut desk = locked(&self.desk);
                    desk.ready.push_back(Job { claim, tries: 0 });
                    drop(desk);
                    self.changed.notify_all();
                }
                Ok(None) => {
                    let mut desk = locked(&self.desk);
                    if !self.note_stop(&mut desk) {
                        desk.is_all = true;
                        self.note_end(&mut desk);
                    }
                    drop(desk);
                    self.changed.notify_all();
                    return;
                }
                Err(error) => return self.end(Ended::Agenda(error)),
            }
        }
    }

    fn end(&self, ended: Ended) {
        locked(&self.desk).ended.get_or_insert(ended);
        self.changed.notify_all();
    }

    /// Ends the run if that was asked for.
    fn note_stop(&self, desk: &mut Desk) -> bool {
        if self.stop.is_asked() {
            desk.ended.get_or_insert(Ended::Stopped);
        }
        desk.ended.is_some()
    }

    /// Ends the run if nothing is left.
    fn note_end(&self, desk: &mut Desk) {
        if desk.is_all && desk.ready.is_empty() && desk.waiting.is_empty() && desk.working == 0 {
            desk.ended.get_or_insert(Ended::Complete);
        }
    }

    /// The next piece of work, that which is due to be tried again first, when it is its turn to ask its sources.
    fn take(&self) -> Option<(Job, Turn<'_>)> {
        let mut desk = locked(&self.desk);
        loop {
            self.note_end(&mut desk);
            if self.note_stop(&mut desk) {
                self.changed.notify_all();
                return None;
            }
            let now = self.options.clock.now();
            let wait = desk.waiting.peek().map(|Reverse(first)| first.due.saturating_duration_since(now));
            let is_full = desk.asking >= self.options.workers.max(1);
            let job = match wait {
                _ if is_full => None,
                Some(Duration::ZERO) => desk.waiting.pop().map(|Reverse(waiting)| waiting.job),
                _ => desk.ready.pop_front(),
            };
            if let Some(job) = job {
                desk.working += 1;
                desk.asking += 1;
                let tiles = &job.claim.work.tiles;
                desk.at = tiles.first().copied().zip(tiles.last().copied());
                // The agenda is asked for more when half of what was taken ahead is left.
                let is_low = desk.ready.len() == self.options.workers.max(1) * AHEAD / 2;
                drop(desk);
                if is_low {
                    self.changed.notify_all();
                }
                return Some((job, Turn { run: self, is_over: AtomicBool::new(false) }));
            }
            // A clock of tests passes the time only when there is nothing else to do.
            let is_idle = desk.working == 0;
            let nap = match wait {
                Some(wait) if is_idle => self.options.clock.nap(wait).min(LOOK_UP),
                Some(wait) => wait.min(LOOK_UP),
                None => LOOK_UP,
            };
            desk = self.changed.wait_timeout(desk, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn work(&self) {
        while let Some((job, turn)) = self.take() {
            let entered = self.options.pace.enter(self.stop);
            if self.stop.is_asked() {
                self.put_back(job);
                continue;
            }
            let made = self.make(&job, &turn);
            drop((entered, turn));
            match made {
                Ok(made) => self.is_done(&job, made),
                Err(failure) => self.has_failed(job, failure),
            }
        }
    }

    fn make(&self, job: &Job, turn: &Turn<'_>) -> Result<MadeTiles, Failure> {
        if self.options.dry_run {
            return Ok(MadeTiles::default());
        }
        let making = Making { oldest: self.oldest, only_stored: self.options.only_stored };
        let made = || self.task.manager.make(&job.claim.work.tiles, &self.dimensions, making, &|| turn.end());
        match catch_unwind(AssertUnwindSafe(made)) {
            Ok(made) => made.map_err(|error| Failure::of(&error, self.options.tries)),
            Err(panic) => Err(Failure::panic(&*panic)),
        }
    }

    fn is_done(&self, job: &Job, made: MadeTiles) {
        let MadeTiles { made, kept, bytes, .. } = made;
        let finished = self.agenda.finish(&job.claim, &Outcome::Done { made, kept, bytes });
        self.is_finished(job, finished, |counts, tiles| {
            counts.made += made;
            counts.kept += kept;
            counts.empty += tiles.saturating_sub(made + kept);
            counts.bytes += bytes;
        });
    }

    fn is_finished(&self, job: &Job, finished: Result<(), AgendaError>, count: impl FnOnce(&mut Counts, u64)) {
        let mut desk = locked(&self.desk);
        desk.working -= 1;
        match finished {
            Ok(()) => {
                let tiles = job.claim.work.tiles.len() as u64;
                desk.counts.pieces += 1;
                desk.counts.tiles += tiles;
                count(&mut desk.counts, tiles);
            }
            // What is not noted is not counted.
            Err(error) => {
                desk.ended.get_or_insert(Ended::Agenda(error));
            }
        }
        let is_last = desk.is_all && desk.working == 0 || desk.ended.is_some();
        drop(desk);
        if is_last {
            self.changed.notify_all();
        }
    }

    fn has_failed(&self, job: Job, failure: Failure) {
        let tries = job.tries + u32::from(!failure.is_held_back);
        if !failure.is_held_back {
            *locked(&self.desk).errors.entry(failure.kind.clone()).or_default() += 1;
        }
        if let Some((host, reason)) = self.options.pace.given_up() {
            self.put_back(job);
            return self.end(Ended::GivenUp { host, reason });
        }
        if tries >= failure.tries {
            let outcome = Outcome::Failed { reason: failure.reason.clone() };
            self.observer.event(&Event::Failed { work: &job.claim.work, reason: &failure.reason });
            let finished = self.agenda.finish(&job.claim, &outcome);
            return self.is_finished(&job, finished, |counts, tiles| {
                counts.failed += tiles;
                counts.failed_pieces += 1;
            });
        }
        let wait = match failure {
            Failure { is_held_back: true, .. } => LOOK_UP,
            Failure { at_once: true, .. } => Duration::ZERO,
            _ => jittered(FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_WAIT)),
        };
        if !failure.is_held_back {
            let left = failure.tries - tries;
            self.observer.event(&Event::Retry { work: &job.claim.work, reason: &failure.reason, wait, left });
        }
        let due = self.options.clock.now() + wait;
        let mut desk = locked(&self.desk);
        desk.working -= 1;
        desk.counts.retries += u64::from(!failure.is_held_back);
        desk.waiting.push(Reverse(Waiting { due, job: Job { tries, ..job } }));
        drop(desk);
        self.changed.notify_all();
    }

    /// It was taken, but not begun.
    fn put_back(&self, job: Job) {
        let mut desk = locked(&self.desk);
        desk.working -= 1;
        desk.ready.push_front(job);
        drop(desk);
        self.changed.notify_all();
    }

    /// Tells how far the run is until it is over.
    fn tell(&self) {
        let mut past = Past::default();
        let mut desk = locked(&self.desk);
        while !desk.is_over() {
            let (again, timeout) = self
                .changed
                .wait_timeout_while(desk, TOLD_EVERY, |desk| !desk.is_over())
                .unwrap_or_else(PoisonError::into_inner);
            desk = again;
            if timeout.timed_out() {
                drop(desk);
                self.observer.event(&Event::Progress(&self.progress(&mut past, false)));
                desk = locked(&self.desk);
                self.note_stop(&mut desk);
            }
        }
        let is_complete = matches!(desk.ended, Some(Ended::Complete));
        drop(desk);
        self.observer.event(&Event::Progress(&self.progress(&mut past, is_complete)));
    }

    fn progress(&self, past: &mut Past, is_whole: bool) -> Progress {
        let grid = self.task.manager.grid();
        let fraction = self.agenda.fraction();
        let (at, counts, waiting) = {
            let desk = locked(&self.desk);
            (desk.at, desk.counts, desk.waiting.len())
        };
        let at = at.filter(|_| !is_whole);
        let bbox = at.map_or(self.bbox, |(first, last)| {
            let (one, other) = (grid.tile_bbox(first), grid.tile_bbox(last));
            Bbox::new(
                one.min_x.min(other.min_x),
                one.min_y.min(other.min_y),
                one.max_x.max(other.max_x),
                one.max_y.max(other.max_y),
            )
        });
        let elapsed = self.options.clock.now().saturating_duration_since(self.begun);
        let (rate, left) = past.note(elapsed, fraction, counts.tiles);
        Progress {
            task: Arc::clone(&self.task.name),
            cache: Arc::clone(self.task.manager.name()),
            grid: grid.name().into(),
            fraction,
            at: at.map(|(first, _)| first),
            bbox,
            counts,
            elapsed,
            rate,
            left,
            waiting,
            traffic: self.options.pace.traffic(),
        }
    }

    /// Gives back what was not done.
    fn report(self) -> Report {
        let desk = self.desk.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut ended = desk.ended.unwrap_or(Ended::Complete);
        let waiting = desk.waiting.into_iter().map(|Reverse(waiting)| waiting.job);
        for job in desk.ready.into_iter().chain(waiting) {
            if let Err(error) = self.agenda.finish(&job.claim, &Outcome::NotDone) {
                ended = Ended::Agenda(error);
            }
        }
        Report {
            task: Arc::clone(&self.task.name),
            cache: Arc::clone(self.task.manager.name()),
            grid: self.task.manager.grid().name().into(),
            counts: desk.counts,
            errors: desk.errors,
            elapsed: self.options.clock.now().saturating_duration_since(self.begun),
            ended,
            traffic: self.options.pace.traffic(),
        }
    }
}

/// What the run has been like of late.
#[derive(Debug, Default)]
struct Past {
    seen: VecDeque<(Duration, f64, u64)>,
}

impl Past {
    /// Tiles in a second, and the time left.
    fn note(&mut self, elapsed: Duration, fraction: f64, tiles: u64) -> (f64, Option<Duration>) {
        while self.seen.front().is_some_and(|(then, ..)| elapsed.saturating_sub(*then) > OF_LATE) {
            self.seen.pop_front();
        }
        // One in a second is enough to remember.
        if self.seen.back().is_none_or(|(then, ..)| elapsed.saturating_sub(*then) >= Duration::from_secs(1)) {
            self.seen.push_back((elapsed, fraction, tiles));
        }
        let Some((then, had, walked)) = self.seen.front().copied() else { return (0.0, None) };
        let time = elapsed.saturating_sub(then).as_secs_f64();
        if time <= 0.0 {
            return (0.0, None);
        }
        let left = (1.0 - fraction) * time / (fraction - had);
        let left = Duration::try_from_secs_f64(left).ok().filter(|_| fraction > had);
        (tiles.saturating_sub(walked) as f64 / time, left)
    }
}

/// Why work was not done, and what is made of it.
#[derive(Debug)]
struct Failure {
    /// For people.
    reason: String,
    /// For counting.
    kind: String,
    tries: u32,
    at_once: bool,
    is_held_back: bool,
}

impl Failure {
    fn of(error: &MapError, tries: u32) -> Failure {
        let (kind, tries) = judge(error, tries);
        let at_once = is_lock(error);
        Failure { reason: error.to_string(), kind, tries, at_once, is_held_back: was_held_back(error) }
    }

    fn panic(panic: &(dyn Any + Send)) -> Failure {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let reason = format!("a defect of this program: {}", text.unwrap_or("panic"));
        Failure { reason, kind: "defect".to_owned(), tries: 1, at_once: false, is_held_back: false }
    }
}

fn is_lock(error: &MapError) -> bool {
    match error {
        MapError::LockTimeout { .. } => true,
        MapError::Shared(error) => is_lock(error),
        _ => false,
    }
}

/// What kind of failure it is, and how often the work is worth being tried.
fn judge(error: &MapError, tries: u32) -> (String, u32) {
    let doubtful = TRIES_IF_DOUBTFUL.min(tries);
    match error {
        MapError::Shared(error) => judge(error, tries),
        MapError::Upstream { status: Some(status), .. } => {
            (format!("HTTP {status}"), if is_passing_status(*status) { tries } else { doubtful })
        }
        // The client's word for connections that cannot be made, break, or bring nothing in time.
        MapError::Upstream { message, .. } if message == "No response from URL" => ("no answer".to_owned(), tries),
        MapError::Upstream { message, .. } => (message.clone(), doubtful),
        MapError::Image { .. } => ("unusable picture".to_owned(), doubtful),
        MapError::NoSource(_) => ("no source".to_owned(), tries),
        MapError::Store { .. } => ("store".to_owned(), tries),
        MapError::LockTimeout { .. } => ("lock".to_owned(), tries),
        other => match other.fault() {
            Fault::Upstream => ("upstream".to_owned(), doubtful),
            Fault::Client | Fault::Local => ("configuration".to_owned(), 1),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::atomic::AtomicU32;

    use mapproxy_client::testkit::{ScriptedClient, failure};
    use mapproxy_client::{ClientError, ErrorKind, HttpClient};

    use super::*;
    use crate::clock::HastyClock;
    use crate::testkit::{answer, manager, task, whole_tiles};
    use crate::{Begin, Journal, PaceOptions, Silent};

    /// Remembers what it was told.
    #[derive(Debug, Default)]
    struct Notes {
        told: Mutex<Vec<String>>,
    }

    impl Observer for Notes {
        fn event(&self, event: &Event<'_>) {
            let text = match event {
                Event::Began { .. } => "began".to_owned(),
                Event::Progress(_) => return,
                Event::Retry { wait, left, .. } => format!("retry {} {left}", wait.as_secs()),
                Event::Failed { reason, .. } => format!("failed {reason}"),
                Event::Ended(report) => format!("ended {:?}", report.ended),
            };
            locked(&self.told).push(text);
        }
    }

    struct Setting {
        directory: tempfile::TempDir,
        clock: Arc<HastyClock>,
        options: RunOptions,
    }

    fn setting(workers: usize) -> Setting {
        let clock = Arc::new(HastyClock::default());
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let pace = Pace::new(PaceOptions { clock: Arc::clone(&shared), ..PaceOptions::default() });
        let options = RunOptions { workers, pace: Arc::new(pace), clock: shared, ..RunOptions::default() };
        Setting { directory: tempfile::tempdir().unwrap(), clock, options }
    }

    impl Setting {
        fn task(&self, client: impl HttpClient + 'static, to: u8) -> SeedTask {
            task(&manager(self.directory.path(), self.options.pace.client(Arc::new(client))), to)
        }

        fn run(&self, task: &SeedTask, observer: &dyn Observer) -> Report {
            let journal = Arc::new(Journal::in_memory().unwrap());
            let agenda = journal.agenda(task, Begin::Anew, None).unwrap();
            run(task, &agenda, &self.options, observer, &Stop::default())
        }
    }

    fn tiles_to(level: u8) -> u64 {
        (0..=u32::from(level)).map(|z| 4_u64.pow(z)).sum()
    }

    fn adds_up(counts: &Counts) -> bool {
        counts.tiles == counts.made + counts.kept + counts.empty + counts.failed
    }

    #[test]
    fn all_tiles_are_made_once_and_found_the_next_time() {
        let setting = setting(3);
        let client = ScriptedClient::new(|_| Ok(answer()));
        let task = setting.task(client.clone(), 4);
        let first = setting.run(&task, &Silent);
        assert!(first.is_success() && adds_up(&first.counts), "{first:?}");
        assert_eq!((first.counts.made, first.counts.kept), (tiles_to(4), 0));
        assert_eq!(whole_tiles(setting.directory.path()).len() as u64, tiles_to(4));
        let asked = client.urls();
        assert_eq!(asked.len() as u64, first.counts.pieces);
        assert_eq!(asked.iter().collect::<HashSet<_>>().len(), asked.len());
        assert_eq!(first.traffic[0].requests, first.counts.pieces);
        let second = setting.run(&task, &Silent);
        assert_eq!((second.counts.made, second.counts.kept), (0, tiles_to(4)));
        assert_eq!(client.urls().len(), asked.len());
    }

    #[test]
    fn every_tile_is_there_in_the_end_whatever_the_server_does() {
        let setting = setting(4);
        let clock = Arc::clone(&setting.clock);
        let asked = AtomicU32::new(0);
        let dead_since: Mutex<Option<Duration>> = Mutex::default();
        let client = ScriptedClient::new(move |request| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            let dies = *locked(&dead_since).get_or_insert_with(|| clock.ahead()) + Duration::from_secs(60);
            if (200..300).contains(&number) && clock.ahead() < dies {
                return Err(failure(ErrorKind::Connection, request));
            }
            match number % 20 {
                3 => Err(failure(ErrorKind::Status(500), request)),
                11 if number % 40 == 11 => Err(failure(ErrorKind::Timeout, request)),
                17 if number % 60 == 17 => {
                    Err(ClientError { retry_after: Some(7), ..failure(ErrorKind::Status(429), request) })
                }
                _ => Ok(answer()),
            }
        });
        let task = setting.task(client, 5);
        let report = setting.run(&task, &Silent);
        assert!(report.is_success() && adds_up(&report.counts), "{report:?}");
        assert_eq!(whole_tiles(setting.directory.path()).len() as u64, tiles_to(5));
        assert!(report.counts.retries > 10 && report.errors["HTTP 500"] > 5, "{report:?}");
        assert!(report.traffic[0].errors["HTTP 429"] > 0);
    }

    #[test]
    fn work_that_fails_forever_is_told_and_the_rest_is_done() {
        let setting = setting(2);
        // The world's north-west on level 2; its server is alive, and answers others.
        let is_cursed = |url: &str| url.contains("bbox=-20037508.342789244,0,0,20037508.342789244");
        let client = ScriptedClient::new(move |request| {
            if is_cursed(&request.url) { Err(failure(ErrorKind::Status(500), request)) } else { Ok(answer()) }
        });
        let task = setting.task(client.clone(), 4);
        let journal = Arc::new(Journal::open(&setting.directory.path().join("journal")).unwrap());
        let agenda = journal.agenda(&task, Begin::Anew, None).unwrap();
        let notes = Notes::default();
        let options = RunOptions { tries: 4, ..setting.options.clone() };
        let report = run(&task, &agenda, &options, &notes, &Stop::default());
        drop(agenda);
        assert!(matches!(report.ended, Ended::Complete) && !report.is_success() && adds_up(&report.counts));
        assert_eq!((report.counts.failed, report.counts.failed_pieces), (4, 1), "{report:?}");
        assert_eq!(report.counts.made, tiles_to(4) - 4);
        let told = notes.told.into_inner().unwrap();
        let retries: Vec<&String> = told.iter().filter(|told| told.starts_with("retry")).collect();
        assert_eq!(retries.len(), 3);
        assert!(retries[2].ends_with(" 1"), "{retries:?}");
        assert_eq!(journal.failed().unwrap(), (1, 4));
        assert!(journal.failures(1).unwrap()[0].reason.contains("maps.example"));
        assert_eq!(client.urls().iter().filter(|url| is_cursed(url)).count(), 4);
    }

    #[test]
    fn a_question_that_is_wrong_is_not_asked_a_hundred_times() {
        let setting = setting(2);
        let client = ScriptedClient::failing(400);
        let report = setting.run(&setting.task(client.clone(), 0), &Silent);
        assert_eq!((client.urls().len(), report.counts.failed_pieces), (TRIES_IF_DOUBTFUL as usize, 1));
    }

    #[test]
    fn a_server_that_never_comes_back_ends_the_run_with_all_its_work_left() {
        let mut setting = setting(2);
        let clock: Arc<dyn Clock> = Arc::clone(&setting.clock) as _;
        let pace = Pace::new(PaceOptions { clock, tries: 10, ..PaceOptions::default() });
        setting.options.pace = Arc::new(pace);
        let client = ScriptedClient::new(|request| Err(failure(ErrorKind::Connection, request)));
        let task = setting.task(client.clone(), 4);
        let journal = Arc::new(Journal::in_memory().unwrap());
        let agenda = journal.agenda(&task, Begin::Anew, None).unwrap();
        let report = run(&task, &agenda, &setting.options, &Silent, &Stop::default());
        assert!(matches!(report.ended, Ended::GivenUp { .. }) && !report.is_success(), "{report:?}");
        assert_eq!((report.counts.pieces, report.counts.failed), (0, 0));
        assert!(client.urls().len() < 40, "{} requests", client.urls().len());
        drop(agenda);
        let again = journal.agenda(&task, Begin::Continue, None).unwrap();
        let left = std::iter::from_fn(|| again.next(&Stop::default()).unwrap()).count();
        assert_eq!(left, TileWalk::new(&task).unwrap().count());
    }

    #[test]
    fn stopping_finishes_what_is_begun_and_gives_back_the_rest() {
        let setting = setting(2);
        let stop = Stop::default();
        let (stopper, asked) = (stop.clone(), AtomicU32::new(0));
        let client = ScriptedClient::new(move |_| {
            if asked.fetch_add(1, Ordering::SeqCst) == 5 {
                stopper.ask();
            }
            Ok(answer())
        });
        let task = setting.task(client.clone(), 4);
        let journal = Arc::new(Journal::in_memory().unwrap());
        let agenda = journal.agenda(&task, Begin::Anew, None).unwrap();
        let first = run(&task, &agenda, &setting.options, &Silent, &stop);
        assert!(matches!(first.ended, Ended::Stopped));
        assert!(first.counts.pieces < 10 && first.counts.pieces == client.urls().len() as u64);
        drop(agenda);
        let agenda = journal.agenda(&task, Begin::Continue, None).unwrap();
        let second = run(&task, &agenda, &setting.options, &Silent, &Stop::default());
        assert!(second.is_success());
        assert_eq!(first.counts.made + second.counts.made, tiles_to(4));
        assert_eq!(second.counts.kept, 0, "nothing is looked at twice");
        assert_eq!(agenda.totals().made, tiles_to(4));
    }

    #[test]
    fn a_worker_that_panics_costs_one_piece_of_work() {
        let setting = setting(2);
        let client = ScriptedClient::new(|request| {
            assert!(!request.url.contains("bbox=0,0,20037508"), "on purpose");
            Ok(answer())
        });
        let report = setting.run(&setting.task(client, 3), &Silent);
        assert!(adds_up(&report.counts) && matches!(report.ended, Ended::Complete));
        assert_eq!((report.counts.failed_pieces, report.errors["defect"]), (1, 1), "{report:?}");
    }

    #[test]
    fn what_a_store_cannot_keep_is_never_counted_as_done() {
        let setting = setting(2);
        let task = setting.task(ScriptedClient::new(|_| Ok(answer())), 2);
        let folder = setting.directory.path().join("tiles/2");
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        let options = RunOptions { tries: 3, ..setting.options.clone() };
        let journal = Arc::new(Journal::in_memory().unwrap());
        let agenda = journal.agenda(&task, Begin::Anew, None).unwrap();
        let report = run(&task, &agenda, &options, &Silent, &Stop::default());
        assert_eq!((report.counts.made, report.counts.failed), (5, 16), "{report:?}");
        assert!(report.errors["store"] >= 4);
    }

    #[test]
    fn a_dry_run_asks_nobody() {
        let mut setting = setting(2);
        setting.options.dry_run = true;
        let client = ScriptedClient::new(|_| Ok(answer()));
        let report = setting.run(&setting.task(client.clone(), 3), &Silent);
        assert_eq!((report.counts.tiles, report.counts.made, client.urls().len()), (tiles_to(3), 0, 0));
    }

    /// An agenda whose end is known only when all of its work has come back, as that of several machines.
    #[derive(Debug, Default)]
    struct Waiter {
        given: AtomicBool,
        finished: AtomicBool,
        outcomes: Mutex<HashMap<String, Outcome>>,
    }

    impl Agenda for Waiter {
        fn next(&self, stop: &Stop) -> Result<Option<Claim>, AgendaError> {
            if !self.given.swap(true, Ordering::SeqCst) {
                let main = TileCoord::new(0, 0, 0);
                let work = crate::Work { number: 0, main, tiles: vec![main] };
                return Ok(Some(Claim { work, id: "only".to_owned() }));
            }
            loop {
                if self.finished.load(Ordering::SeqCst) || stop.wait(Duration::from_millis(1)) {
                    return Ok(None);
                }
            }
        }
        fn finish(&self, claim: &Claim, outcome: &Outcome) -> Result<(), AgendaError> {
            locked(&self.outcomes).insert(claim.id.clone(), outcome.clone());
            self.finished.store(true, Ordering::SeqCst);
            Ok(())
        }
        fn fraction(&self) -> f64 {
            0.0
        }
    }

    #[test]
    fn an_agenda_that_waits_for_work_does_not_keep_it_from_being_tried_again() {
        let setting = setting(1);
        let fails = AtomicU32::new(1);
        let client = ScriptedClient::new(move |request| {
            let fails = fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if fails { Err(failure(ErrorKind::Timeout, request)) } else { Ok(answer()) }
        });
        let agenda = Waiter::default();
        let task = setting.task(client, 0);
        let report = run(&task, &agenda, &setting.options, &Silent, &Stop::default());
        assert!(report.is_success(), "{report:?}");
        assert!(matches!(locked(&agenda.outcomes)["only"], Outcome::Done { made: 1, .. }));
    }
}
