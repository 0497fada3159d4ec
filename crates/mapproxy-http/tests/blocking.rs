//! The server of plain threads as clients see it.

#![cfg(all(feature = "blocking", feature = "server"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mapproxy_http::blocking::{Builder, Handle, Server};
use mapproxy_http::{AccessLog, AccessLogFormat, Listen, ServerError};
use support::{Client, TestApp};

const SECOND: Duration = Duration::from_secs(1);

struct Running {
    app: Arc<TestApp>,
    address: SocketAddr,
    handle: Handle,
    thread: JoinHandle<Result<(), ServerError>>,
}

fn serve() -> Running {
    with(|builder| builder)
}

fn with(configure: impl FnOnce(Builder<Arc<TestApp>>) -> Builder<Arc<TestApp>>) -> Running {
    let app = Arc::new(TestApp::default());
    let builder = Server::builder(Arc::clone(&app)).listen(Listen::Tcp("127.0.0.1:0".to_owned()));
    let server = configure(builder).build().unwrap();
    let (address, handle) = (server.local_addr().unwrap(), server.handle());
    Running { app, address, handle, thread: thread::spawn(|| server.run()) }
}

impl Running {
    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn await_end(self, limit: Duration) {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < limit, "the server still runs after {limit:?}");
            thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn one_connection_serves_many_requests_also_when_they_are_sent_ahead() {
    let server = serve();
    let mut client = server.connect();
    for number in 0..20 {
        assert_eq!(client.get(&format!("/slow/{number}")).body, format!("called /slow/{number}").as_bytes());
    }
    let requests: String = (0..20).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests.as_bytes());
    for number in 0..20 {
        assert_eq!(client.answer().body, format!("called /{number}").as_bytes());
    }
    assert_eq!(client.get("/peer").header("server"), Some("MapProxy"));
    let answer = client.get("/");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{:?}", answer.headers);
}

#[test]
fn bodies_are_read_head_and_304_have_none() {
    let server = serve();
    let mut client = server.connect();
    client.send(b"POST /length HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().body, b"5 bytes");
    client.send(b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.answer().body, b"3 bytes");
    client.send(b"POST /length HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send(b"ab");
    assert_eq!(client.answer().body, b"2 bytes");
    client.send(b"HEAD /slow HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().header("content-length"), Some("12"));
    assert_eq!(client.answer().body, b"called /next");
    let answer = client.get("/now/unchanged");
    assert_eq!((answer.status, answer.header("content-length")), (304, None));
    assert_eq!(client.get("/slow").body, b"called /slow");
}

#[test]
fn large_answers_arrive_whole() {
    let server = serve();
    let body = server.connect().get("/slow/large").body;
    assert_eq!(body.len(), 20 << 20);
    assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
}

#[test]
fn old_clients_are_served_and_parted_from() {
    let server = serve();
    let mut client = server.connect();
    client.send(b"GET /slow HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().header("connection"), Some("close"));
    assert!(client.is_closed_within(SECOND));
}

#[test]
fn what_is_too_large_too_slow_or_nonsense_is_refused() {
    let server = with(|builder| builder.max_head(8 << 10).max_body(1000).body_timeout(Duration::from_millis(200)));
    let refused = |request: &[u8]| {
        let mut client = server.connect();
        client.send_ignoring_errors(request);
        let status = client.answer().status;
        assert!(client.is_closed_within(SECOND));
        status
    };
    let large_head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(9 << 10));
    assert_eq!(refused(large_head.as_bytes()), 431);
    let many: String = (0..200).map(|number| format!("A{number}: b\r\n")).collect();
    assert_eq!(refused(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()), 431);
    assert_eq!(refused(b"POST /length HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
    assert_eq!(refused(b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"), 413);
    assert_eq!(refused(b"POST /length HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"), 408);
    assert_eq!(refused(b"nonsense\r\n\r\n"), 400);
    assert_eq!(refused(b"CONNECT a:1 HTTP/1.1\r\n\r\n"), 501);
    assert_eq!(server.connect().get("/slow").status, 200);
}

#[test]
fn slow_and_idle_clients_are_cut_off_waiting_ones_are_not() {
    let server =
        with(|builder| builder.head_timeout(Duration::from_millis(200)).idle_timeout(Duration::from_millis(500)));
    let (mut silent, mut idle, mut slow, mut waiting) =
        (server.connect(), server.connect(), server.connect(), server.connect());
    assert_eq!(idle.get("/slow").status, 200);
    waiting.send(b"GET /wait HTTP/1.1\r\n\r\n");
    assert!(silent.is_closed_within(SECOND));
    assert!(idle.is_closed_within(2 * SECOND));
    let begun = Instant::now();
    while !slow.is_closed_within(Duration::from_millis(1)) {
        slow.send_ignoring_errors(b"G");
        assert!(begun.elapsed() < 5 * SECOND, "a client may send its head for ever");
        thread::sleep(Duration::from_millis(20));
    }
    server.app.open_gate();
    assert_eq!(waiting.answer().body, b"called /wait");
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let server = with(|builder| builder.idle_timeout(Duration::from_millis(200)));
    let mut stalled = server.connect();
    stalled.send(b"GET /large HTTP/1.1\r\n\r\n");
    thread::sleep(SECOND);
    let mut rest = Vec::new();
    let end = stalled.stream().read_to_end(&mut rest);
    assert!(end.is_err() || rest.len() < 20 << 20, "the whole answer was kept");
}

#[test]
fn beyond_the_threads_clients_are_told_to_come_back() {
    let server = with(|builder| builder.threads(2));
    let mut first: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut first {
        assert_eq!(client.get("/slow").status, 200);
    }
    let mut late = server.connect();
    let answer = late.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    first.clear();
    let begun = Instant::now();
    // A thread is free a moment after its client has left.
    loop {
        let mut client = server.connect();
        client.send_ignoring_errors(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        if client.answer().status == 200 {
            break;
        }
        assert!(begun.elapsed() < 5 * SECOND, "the threads are not given back");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_panic_is_answered_with_500_and_harms_nobody_else() {
    let server = serve();
    let mut client = server.connect();
    assert_eq!(client.get("/panic").status, 500);
    assert_eq!(client.get("/slow").status, 200);
}

#[test]
fn a_stop_answers_what_has_begun_and_closes_what_is_idle() {
    let server = serve();
    let (mut idle, mut at_work) = (server.connect(), server.connect());
    assert_eq!(idle.get("/slow").status, 200);
    at_work.send(b"GET /wait HTTP/1.1\r\n\r\n");
    server.app.await_waiting(1);
    server.handle.stop();
    assert!(idle.is_closed_within(SECOND));
    thread::sleep(Duration::from_millis(50));
    server.app.open_gate();
    let answer = at_work.answer();
    assert_eq!((answer.body.as_slice(), answer.header("connection")), (&b"called /wait"[..], Some("close")));
    server.await_end(SECOND);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let server = with(|builder| builder.stop_timeout(Duration::from_millis(200)));
    let mut at_work = server.connect();
    at_work.send(b"GET /wait HTTP/1.1\r\n\r\n");
    server.app.await_waiting(1);
    server.handle.stop();
    server.await_end(2 * SECOND);
}

#[test]
fn requests_are_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLog::open(&path, AccessLogFormat::Combined).unwrap();
    let server = with(|builder| builder.access_log(log));
    server.connect().get("/slow?a=b");
    server.handle.stop();
    server.await_end(5 * SECOND);
    let lines = std::fs::read_to_string(&path).unwrap();
    assert!(lines.ends_with("] \"GET /slow?a=b HTTP/1.1\" 200 12 \"-\" \"-\" -\n"), "{lines}");
}
