//! On a real Redis server, started here; machines are threads with connections of their own.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mapproxy_grid::{Bbox, Coverage, MetaGrid, Srs, TileCoord, TileGrid};
use tempfile::TempDir;

use super::agenda::Walk;
use super::*;
use crate::{Agenda as _, Claim, Limits as _, Outcome, Work};

/// Debian's `redis-server`, on a port of its own, which keeps what it has when it is killed.
struct Server {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Server {
    fn start() -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Server { port, folder: tempfile::tempdir().unwrap(), process: None };
        server.restart();
        server
    }

    fn restart(&mut self) {
        self.kill();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--dir",
            ])
            .arg(self.folder.path())
            .stdout(Stdio::from(log))
            .spawn()
            .expect("redis-server is missing: install Debian's redis-server");
        self.process = Some(process);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn forget(&self) {
        let folder: PathBuf = self.folder.path().join("appendonlydir");
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn address(&self) -> QueueAddress {
        format!("redis://127.0.0.1:{}/1?lease=1", self.port).parse().unwrap()
    }

    fn ask(&self, words: &[&str]) -> Value {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/1", self.port)).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut client.get_connection().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// So many pieces of one tile, in a row.
struct Row {
    next: u64,
    of: u64,
    walked: Arc<AtomicU64>,
}

impl Iterator for Row {
    type Item = Work;
    fn next(&mut self) -> Option<Work> {
        if self.next >= self.of {
            return None;
        }
        self.walked.fetch_add(1, Ordering::SeqCst);
        let main = TileCoord::new(self.next as u32, 0, 20);
        self.next += 1;
        Some(Work { number: self.next - 1, main, tiles: (0..4).map(|y| TileCoord::new(main.x, y, 20)).collect() })
    }
}

impl Walk for Row {
    fn place(&self) -> String {
        self.next.to_string()
    }
    fn share(&self) -> f64 {
        self.next as f64 / self.of as f64
    }
}

type WalkFrom = Box<dyn Fn(Option<&str>) -> Result<Box<dyn Walk>, String> + Send>;

fn row(of: u64, walked: &Arc<AtomicU64>) -> WalkFrom {
    let walked = Arc::clone(walked);
    Box::new(move |from| {
        let next = from.map_or(0, |position| position.parse().unwrap());
        Ok(Box::new(Row { next, of, walked: Arc::clone(&walked) }))
    })
}

fn plan(levels: &[u8], refresh: Refresh) -> Plan {
    Plan::new(["night", "osm"], &meta_grid(), levels, None, refresh, 0)
}

fn meta_grid() -> MetaGrid {
    let grid = TileGrid::builder("grid", Srs::web_mercator()).build().unwrap();
    MetaGrid::new(Arc::new(grid), (4, 4), 0)
}

fn join(server: &Server) -> Arc<Queue> {
    join_with(server, plan(&[1, 2], Refresh::Missing), false).unwrap()
}

fn join_with(server: &Server, plan: Plan, retry: bool) -> Result<Arc<Queue>, AgendaError> {
    Queue::join_plans(&server.address(), &[plan], retry, &Stop::default()).map(Arc::new)
}

fn agenda(queue: &Arc<Queue>, of: u64) -> QueueAgenda {
    queue.agenda_of(0, row(of, &Arc::default()), &Stop::default()).unwrap()
}

fn done() -> Outcome {
    Outcome::Done { made: 1, kept: 2, bytes: 10 }
}

/// Works until the end, and notes which pieces it did.
fn work(agenda: &QueueAgenda, did: &Mutex<BTreeMap<u64, u32>>, what: impl Fn(&Claim) -> Outcome) {
    let stop = Stop::default();
    while let Some(claim) = agenda.next(&stop).unwrap() {
        *did.lock().unwrap().entry(claim.work.number).or_default() += 1;
        agenda.finish(&claim, &what(&claim)).unwrap();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn machines_share_all_work_and_each_knows_what_all_have_done() {
    let server = Server::start();
    let (did, walked) = (Mutex::default(), Arc::default());
    let totals: Vec<(Joined, JointTotals, u64)> = thread::scope(|scope| {
        let machines: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let queue = join(&server);
                    let agenda = queue.agenda_of(0, row(5000, &walked), &Stop::default()).unwrap();
                    let own = AtomicU64::new(0);
                    thread::scope(|scope| {
                        for _ in 0..2 {
                            scope.spawn(|| {
                                work(&agenda, &did, |_| {
                                    own.fetch_add(1, Ordering::SeqCst);
                                    thread::sleep(Duration::from_micros(50));
                                    done()
                                })
                            });
                        }
                    });
                    (queue.joined(), agenda.totals(), own.into_inner())
                })
            })
            .collect();
        machines.into_iter().map(|machine| machine.join().unwrap()).collect()
    });
    let did = did.into_inner().unwrap();
    assert_eq!(did.len(), 5000);
    assert!(did.values().all(|&times| times == 1));
    assert_eq!(walked.load(Ordering::SeqCst), 5000, "only one walks");
    let counts = Counts {
        pieces: 5000,
        tiles: 20_000,
        made: 5000,
        kept: 10_000,
        empty: 5000,
        bytes: 50_000,
        ..Counts::default()
    };
    for (_, totals, own) in &totals {
        assert_eq!((totals.counts, totals.fraction), (counts, 1.0));
        assert!(*own > 0, "each does something");
    }
    let mut joined: Vec<_> = totals.iter().map(|(joined, _, _)| format!("{joined:?}")).collect();
    joined.sort();
    assert_eq!(joined, ["Begun", "GoneOn", "GoneOn"]);

    // One that is late hears of it and does nothing.
    let late = join(&server);
    let agenda = agenda(&late, 5000);
    assert_eq!((late.joined(), agenda.next(&Stop::default()).unwrap()), (Joined::Ended, None));
    assert_eq!(agenda.totals().counts, counts);
    assert_eq!((late.is_first_at_end().unwrap(), join(&server).is_first_at_end().unwrap()), (true, false));
    assert_eq!(server.ask(&["XLEN", &format!("{}0:work", prefix(late.name()))]), Value::Int(0), "nothing is left");
}

#[test]
fn the_work_and_the_walk_of_a_machine_that_dies_are_taken_over() {
    let server = Server::start();
    let (did, walked) = (Mutex::default(), Arc::default());
    let queue = join(&server);
    let dying = queue.agenda_of(0, row(20_000, &walked), &Stop::default()).unwrap();
    let held: Vec<_> = (0..3).map(|_| dying.next(&Stop::default()).unwrap().unwrap()).collect();
    wait_until("the stream is full", || dying.in_stream() >= 8192);
    // Both threads fall silent.
    dying.die();

    let queue = join(&server);
    let other = queue.agenda_of(0, row(20_000, &walked), &Stop::default()).unwrap();
    work(&other, &did, |_| done());
    let did = did.into_inner().unwrap();
    assert_eq!(did.len(), 20_000);
    assert!(held.iter().all(|claim| did[&claim.work.number] == 1));
    let totals = other.totals();
    assert_eq!((totals.counts.pieces, totals.counts.made), (20_000, 20_000));
    assert!(totals.redelivered >= 3, "{totals:?}");
    let walked = walked.load(Ordering::SeqCst);
    assert!((20_000..20_000 + 2 * 256).contains(&walked), "gone on where the other was: {walked}");
}

#[test]
fn work_counts_once_though_a_machine_believed_dead_ends_it_too() {
    let server = Server::start();
    let first = join(&server);
    let slow = agenda(&first, 1);
    let claim = slow.next(&Stop::default()).unwrap().unwrap();
    // It has not been heard of for an hour, says the server.
    let alive = format!("{}0:alive", prefix(first.name()));
    let other = agenda(&join(&server), 1);
    let (mut again, ended) = (None, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                server.ask(&["ZADD", &alive, "1", &first.me]);
            }
        });
        again = other.next(&Stop::default()).unwrap();
        ended.store(true, Ordering::SeqCst);
    });
    let again = again.unwrap();
    assert_eq!(again.work, claim.work);
    slow.finish(&claim, &done()).unwrap();
    other.finish(&again, &done()).unwrap();
    assert_eq!(slow.next(&Stop::default()).unwrap(), None);
    assert_eq!(other.next(&Stop::default()).unwrap(), None);
    let totals = other.totals();
    assert_eq!((totals.counts.pieces, totals.counts.made), (1, 1), "{totals:?}");
    assert!(totals.redelivered > 0);
}

#[test]
fn work_that_kills_machines_is_given_up() {
    let server = Server::start();
    for _ in 0..=5 {
        let queue = join(&server);
        let dying = agenda(&queue, 1);
        if dying.next(&Stop::default()).unwrap().is_none() {
            let totals = dying.totals();
            assert_eq!((totals.counts.pieces, totals.counts.failed, totals.counts.failed_pieces), (1, 4, 1));
            let failures = queue.failures(0, 10).unwrap();
            assert_eq!(failures[0].reason, "5 machines that took it on have died");
            return;
        }
        dying.die();
        server.ask(&["ZADD", &format!("{}0:alive", prefix(queue.name())), "1", &queue.me]);
    }
    panic!("given out for ever");
}

#[test]
fn work_beside_that_which_kills_machines_is_done() {
    let (server, deadly) = (Server::start(), 7);
    for _ in 0..10 {
        let queue = join(&server);
        let (machine, killed) = (agenda(&queue, 20), Stop::default());
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    while let Some(claim) = machine.next(&killed).unwrap() {
                        if claim.work.number == deadly {
                            killed.ask();
                        }
                        thread::sleep(Duration::from_millis(20));
                        if killed.is_asked() {
                            break;
                        }
                        machine.finish(&claim, &done()).unwrap();
                    }
                });
            }
        });
        if !killed.is_asked() {
            let totals = machine.totals();
            assert_eq!((totals.counts.pieces, totals.counts.made, totals.counts.failed_pieces), (20, 19, 1));
            assert_eq!(u64::from(queue.failures(0, 10).unwrap()[0].main.x), deadly);
            return;
        }
        machine.die();
        server.ask(&["ZADD", &format!("{}0:alive", prefix(queue.name())), "1", &queue.me]);
    }
    panic!("given out for ever");
}

#[test]
fn what_failed_is_listed_and_can_be_done_again() {
    let server = Server::start();
    let did = Mutex::default();
    let queue = join(&server);
    let first = agenda(&queue, 1000);
    let bad = |claim: &Claim| match claim.work.number % 100 {
        7 => Outcome::Failed { reason: "tiles.example: 500\nof the night".to_owned() },
        _ => done(),
    };
    work(&first, &did, bad);
    let totals = first.totals();
    assert_eq!(
        (totals.counts.pieces, totals.counts.made, totals.counts.failed, totals.counts.failed_pieces),
        (1000, 990, 40, 10)
    );
    drop(first);
    let failures = queue.failures(0, 100).unwrap();
    assert_eq!(
        failures.iter().map(|failure| failure.main.x).collect::<Vec<_>>(),
        (0..10u32).map(|i| i * 100 + 7).collect::<Vec<_>>()
    );
    assert_eq!((failures[3].attempts, failures[3].reason.as_str()), (1, "tiles.example: 500\nof the night"));

    let did = Mutex::default();
    let plan = plan(&[1, 2], Refresh::Missing);
    let queue = join_with(&server, plan.clone(), true).unwrap();
    let again = agenda(&queue, 1000);
    work(&again, &did, |claim| if claim.work.number == 7 { bad(claim) } else { done() });
    assert_eq!(did.into_inner().unwrap().len(), 10);
    let totals = again.totals();
    assert_eq!(
        (totals.counts.pieces, totals.counts.made, totals.counts.failed, totals.counts.failed_pieces),
        (1000, 999, 4, 1)
    );
    assert_eq!(queue.failures(0, 100).unwrap()[0].attempts, 2);
    drop(again);
    server.ask(&["FLUSHALL"]);
    let error = join_with(&server, plan, true).unwrap_err().to_string();
    assert!(error.ends_with("no run of these tasks is known, so nothing of it has failed"), "{error}");
}

#[test]
fn machines_with_other_tasks_do_not_mix() {
    let server = Server::start();
    let _queue = join(&server);
    let error = join_with(&server, plan(&[1, 2, 3], Refresh::Missing), false).unwrap_err().to_string();
    assert!(error.contains("seed night, cache osm, grid grid: there levels [1, 2], here levels [1, 2, 3]"), "{error}");
    let meta = meta_grid();
    let here = |coverage: &Coverage| Plan::new(["night", "osm"], &meta, &[1, 2], Some(coverage), Refresh::Missing, 0);
    let bbox = |east: f64| Coverage::from_bbox(Bbox::new(5.0, 45.0, east, 55.0), Srs::wgs84());
    assert_eq!(here(&bbox(15.0)), here(&bbox(15.0)));
    assert_ne!(here(&bbox(15.0)), here(&bbox(15.1)));
    let error = join_with(&server, here(&bbox(15.0)), false).unwrap_err().to_string();
    assert!(error.contains("there coverage None"), "{error}");
}

#[test]
fn the_moment_of_refresh_is_that_of_the_first_machine() {
    let server = Server::start();
    let at = |seconds| Refresh::Before(UNIX_EPOCH + Duration::from_millis(seconds));
    let first = join_with(&server, plan(&[1], at(1_000_000_500)), false).unwrap();
    let second = join_with(&server, plan(&[1], at(2_000_000_000)), false).unwrap();
    assert_eq!((first.refresh(0), second.refresh(0)), (at(1_000_000_500), at(1_000_000_500)));
    assert!(first.begun().elapsed().unwrap() < Duration::from_secs(60));
    let error = join_with(&server, plan(&[1], Refresh::Missing), false).unwrap_err().to_string();
    assert!(error.contains("there refreshes true, here refreshes false"), "{error}");
}

#[test]
fn stopping_gives_back_what_is_not_done_at_once() {
    let server = Server::start();
    let (queue, stop) = (join(&server), Stop::default());
    let stopped = queue.agenda_of(0, row(300, &Arc::default()), &stop).unwrap();
    let claim = stopped.next(&stop).unwrap().unwrap();
    stop.ask();
    assert_eq!(stopped.next(&stop).unwrap(), None);
    stopped.finish(&claim, &Outcome::NotDone).unwrap();
    let begun = Instant::now();
    drop(stopped);
    assert!(begun.elapsed() < PATIENCE_OF_TESTS);
    let work_key = format!("{}0:work", prefix(queue.name()));
    let Value::Array(pending) = server.ask(&["XPENDING", &work_key, "workers"]) else { panic!() };
    assert_eq!(pending[0], Value::Int(0));

    let did = Mutex::default();
    let other = agenda(&join(&server), 300);
    work(&other, &did, |_| done());
    assert_eq!(did.into_inner().unwrap().len(), 300);
    assert_eq!((other.totals().redelivered, other.totals().counts.pieces), (0, 300));
}

const PATIENCE_OF_TESTS: Duration = Duration::from_secs(4);

#[test]
fn a_server_that_is_away_for_a_while_costs_nothing() {
    let mut server = Server::start();
    let did: Mutex<BTreeMap<u64, u32>> = Mutex::default();
    let queue = join(&server);
    let agenda = agenda(&queue, 400);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                work(&agenda, &did, |_| {
                    thread::sleep(Duration::from_millis(1));
                    done()
                })
            });
        }
        wait_until("some work is done", || did.lock().unwrap().len() > 50);
        server.kill();
        let stands_still = |before: &mut usize| {
            let now = did.lock().unwrap().len();
            let is_same = *before == now;
            *before = now;
            is_same
        };
        let mut before = 0;
        wait_until("what was brought is done", || {
            thread::sleep(Duration::from_millis(100));
            stands_still(&mut before)
        });
        server.restart();
    });
    assert_eq!(did.into_inner().unwrap().len(), 400);
    let totals = agenda.totals();
    assert_eq!((totals.counts.pieces, totals.counts.made, totals.fraction), (400, 400, 1.0), "{totals:?}");
}

#[test]
fn a_server_that_has_forgotten_the_run_is_an_error_that_says_so() {
    let mut server = Server::start();
    let queue = join(&server);
    let agenda = agenda(&queue, 100_000);
    let claim = agenda.next(&Stop::default()).unwrap().unwrap();
    server.kill();
    server.forget();
    server.restart();
    agenda.finish(&claim, &done()).unwrap_or_default();
    let error = loop {
        match agenda.next(&Stop::default()) {
            Ok(Some(claim)) => agenda.finish(&claim, &done()).unwrap_or_default(),
            Ok(None) => panic!("it did not end"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("this run is not there any more") && error.contains("start again"), "{error}");
}

#[test]
fn the_stream_and_what_is_kept_of_done_work_stay_small() {
    let server = Server::start();
    let queue = join(&server);
    let agenda = agenda(&queue, 60_000);
    let did = Mutex::default();
    let work_key = format!("{}0:work", prefix(queue.name()));
    let (most, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                if let Value::Int(length) = server.ask(&["XLEN", &work_key]) {
                    most.fetch_max(length.unsigned_abs(), Ordering::SeqCst);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        work(&agenda, &did, |_| done());
        ended.store(true, Ordering::SeqCst);
    });
    assert!(most.into_inner() <= 8192 + 2 * 256);
    assert_eq!(agenda.totals().counts.pieces, 60_000);
    let keys = server.ask(&["KEYS", "*"]);
    let Value::Array(keys) = keys else { panic!() };
    assert!(keys.len() <= 4, "{keys:?}");
    for key in &keys {
        let Value::Int(ttl) = server.ask(&["TTL", &text_of(key)]) else { panic!() };
        assert!(ttl > 0, "{} has an end", text_of(key));
    }
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("redis://:geheim@127.0.0.1:{port}").parse().unwrap();
    let error = Queue::join_plans(&address, &[plan(&[1], Refresh::Missing)], false, &Stop::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("refused") && error.contains(&port.to_string()) && !error.contains("geheim"), "{error}");
}

fn limits(server: &Server) -> SharedLimits {
    SharedLimits::new(&server.address()).unwrap()
}

#[test]
fn a_server_that_one_machine_is_to_leave_alone_is_left_alone_by_all() {
    let mut server = Server::start();
    let (one, other) = (limits(&server), limits(&server));
    assert_eq!(other.held("tiles.example:80"), None);
    one.hold("tiles.example:80", Duration::from_secs(100));
    assert!(one.held("tiles.example:80").unwrap() > Duration::from_secs(98), "at once here");
    wait_until("the other one knows", || other.held("tiles.example:80").is_some());
    assert!(other.held("tiles.example:80").unwrap() <= Duration::from_secs(100));
    assert_eq!(other.held("else.example:80"), None);
    one.hold("tiles.example:80", Duration::from_secs(1));
    assert!(one.held("tiles.example:80").unwrap() > Duration::from_secs(90), "the longest counts");

    // Redis is away: each keeps what it knows, and tells it later.
    server.kill();
    one.hold("down.example:80", Duration::from_secs(100));
    assert!(one.held("down.example:80").is_some() && other.held("tiles.example:80").is_some());
    assert_eq!(other.held("down.example:80"), None);
    server.restart();
    wait_until("the news is told", || other.held("down.example:80").is_some());
}

#[test]
fn a_limit_of_requests_is_kept_by_all_machines_together_and_by_each_alone_when_redis_is_away() {
    let mut server = Server::start();
    let all: Vec<SharedLimits> = (0..3).map(|_| limits(&server)).collect();
    let waits: Vec<Duration> = (0..30).map(|i| all[i % 3].take("tiles.example:80", 10.0)).collect();
    // The thirtieth turn is 2.9 seconds behind the first, less the time that went by.
    let last = waits[29];
    assert!(waits[0] < Duration::from_millis(50), "{waits:?}");
    assert!((Duration::from_millis(1900)..Duration::from_millis(2901)).contains(&last), "{waits:?}");
    assert!(all[0].take("else.example:80", 10.0) < Duration::from_millis(50));

    wait_until("they know of each other", || all[0].machines() == 3);
    server.kill();
    let begun = Instant::now();
    let waits: Vec<Duration> = (0..4).map(|_| all[0].take("third.example:80", 10.0)).collect();
    assert!((Duration::from_millis(700)..Duration::from_millis(901)).contains(&waits[3]), "a third each: {waits:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}
