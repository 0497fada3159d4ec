//! The FastCGI server as web servers see it: real sockets, records made by hand.

#![cfg(feature = "fastcgi")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mapproxy_http::{AccessLog, AccessLogFormat, Builder, Protocol};
use support::{Running, TestApp, serve_with};

const SECOND: Duration = Duration::from_secs(1);
const BEGIN: u8 = 1;
const ABORT: u8 = 2;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const GET_VALUES: u8 = 9;
const VALUES: u8 = 10;

fn serve() -> Running {
    with(|builder| builder)
}

fn with(configure: impl FnOnce(Builder<Arc<TestApp>>) -> Builder<Arc<TestApp>>) -> Running {
    serve_with(|builder| configure(builder.protocol(Protocol::FastCgi)))
}

fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 8;
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([padding as u8, 0]);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

fn begin(id: u16, keep: bool) -> Vec<u8> {
    record(BEGIN, id, &[0, 1, keep.into(), 0, 0, 0, 0, 0])
}

fn params(id: u16, variables: &[(&str, &str)]) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (name, value) in variables {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(length @ 0..0x80) => pairs.push(length),
                _ => pairs.extend((length as u32 | 0x8000_0000).to_be_bytes()),
            }
        }
        pairs.extend(name.bytes().chain(value.bytes()));
    }
    let mut bytes = Vec::new();
    for content in pairs.chunks(0xffff) {
        bytes.extend(record(PARAMS, id, content));
    }
    bytes.extend(record(PARAMS, id, &[]));
    bytes
}

fn get(id: u16, path: &str) -> Vec<u8> {
    let variables = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("REMOTE_ADDR", "192.0.2.1")];
    [begin(id, true), params(id, &variables), record(STDIN, id, &[])].concat()
}

/// The connection of a web server.
struct WebServer {
    stream: TcpStream,
}

struct Answer {
    head: String,
    body: Vec<u8>,
    status: u8,
}

impl WebServer {
    fn connect(server: &Running) -> WebServer {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(10 * SECOND)).unwrap();
        WebServer { stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn record(&mut self) -> (u8, u16, Vec<u8>) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).unwrap();
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut content = vec![0; length + usize::from(header[6])];
        self.stream.read_exact(&mut content).unwrap();
        assert_eq!((header[0], (content.len() + 8) % 8), (1, 0));
        content.truncate(length);
        (header[1], u16::from_be_bytes([header[2], header[3]]), content)
    }

    /// The next answer to end, whichever it is, if its records are not mixed with those of others.
    fn answer(&mut self) -> (u16, Answer) {
        let mut bytes = Vec::new();
        loop {
            match self.record() {
                (STDOUT, _, content) => bytes.extend(content),
                (END, id, content) => {
                    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
                    let body = bytes.split_off(at);
                    return (id, Answer { head: String::from_utf8(bytes).unwrap(), body, status: content[4] });
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send(&get(1, path));
        self.answer().1
    }

    fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        match self.stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("there are bytes nobody asked for"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_kept_connection_serves_many_requests() {
    let server = serve();
    let mut web_server = WebServer::connect(&server);
    for _ in 0..20 {
        let answer = web_server.get("/now/a?b");
        assert_eq!((answer.body.as_slice(), answer.status), (&b"now /now/a"[..], 0));
        assert_eq!(answer.head, "Status: 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\n");
        assert_eq!(web_server.get("/slow").body, b"called /slow");
    }
    assert_eq!(web_server.get("/now/peer").body, b"Some(Ip(192.0.2.1))");
}

#[test]
fn a_connection_that_shall_not_be_kept_is_closed() {
    let server = serve();
    for path in ["/now", "/slow", "/now/large"] {
        let mut web_server = WebServer::connect(&server);
        let variables = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path)];
        web_server.send(&[begin(1, false), params(1, &variables), record(STDIN, 1, &[])].concat());
        assert!(web_server.answer().1.head.starts_with("Status: 200 OK"));
        assert!(web_server.is_closed_within(SECOND));
    }
}

#[test]
fn requests_on_one_connection_overlap() {
    let server = serve();
    let mut web_server = WebServer::connect(&server);
    web_server.send(&[get(7, "/wait"), get(8, "/slow"), get(9, "/now")].concat());
    let mut ids = [web_server.answer().0, web_server.answer().0];
    ids.sort_unstable();
    assert_eq!(ids, [8, 9]);
    server.app.open_gate();
    let (id, answer) = web_server.answer();
    assert_eq!((id, answer.body.as_slice()), (7, &b"called /wait"[..]));
}

#[test]
fn large_answers_and_bodies_arrive_whole() {
    let server = serve();
    let mut web_server = WebServer::connect(&server);
    for path in ["/now/large", "/slow/large"] {
        let body = web_server.get(path).body;
        assert_eq!(body.len(), 20 << 20);
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{path} is garbled");
    }
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/length"), ("CONTENT_LENGTH", "9000000")];
    web_server.send(&[begin(1, true), params(1, &variables)].concat());
    for _ in 0..9_000_000 / 50_000 {
        web_server.send(&record(STDIN, 1, &[b'x'; 50_000]));
    }
    web_server.send(&record(STDIN, 1, &[]));
    assert_eq!(web_server.answer().1.body, b"9000000 bytes");
}

#[test]
fn head_and_304_have_no_body() {
    let server = serve();
    let mut web_server = WebServer::connect(&server);
    let variables = [("REQUEST_METHOD", "HEAD"), ("REQUEST_URI", "/now")];
    web_server.send(&[begin(1, true), params(1, &variables), record(STDIN, 1, &[])].concat());
    let (_, answer) = web_server.answer();
    assert!(answer.body.is_empty() && answer.head.contains("content-length: 8\r\n"), "{}", answer.head);
    let answer = web_server.get("/now/unchanged");
    assert!(answer.body.is_empty() && answer.head.starts_with("Status: 304 Not Modified\r\n"), "{}", answer.head);
}

#[test]
fn what_is_too_large_or_too_slow_is_refused_and_the_connection_goes_on() {
    let server = with(|builder| builder.max_body(1000).max_head(8 << 10).body_timeout(Duration::from_millis(200)));
    let mut web_server = WebServer::connect(&server);
    let post = |length| [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/length"), ("CONTENT_LENGTH", length)];
    web_server.send(&[begin(1, true), params(1, &post("1001"))].concat());
    assert!(web_server.answer().1.head.starts_with("Status: 413 Payload Too Large\r\n"));
    web_server.send(&[record(STDIN, 1, &[0; 1001]), record(STDIN, 1, &[])].concat());
    web_server.send(&[begin(1, true), params(1, &[("REQUEST_METHOD", &"a".repeat(9 << 10))])].concat());
    assert!(web_server.answer().1.head.starts_with("Status: 431 "));
    web_server.send(&[begin(2, true), params(2, &post("10")), record(STDIN, 2, b"abc")].concat());
    assert!(web_server.answer().1.head.starts_with("Status: 408 "));
    web_server.send(&[begin(3, true), params(3, &post("x"))].concat());
    assert!(web_server.answer().1.head.starts_with("Status: 400 "));
    assert_eq!(web_server.get("/now").body, b"now /now");
}

#[test]
fn a_refused_body_is_read_away_so_that_the_refusal_arrives() {
    let server = with(|builder| builder.max_body(1000));
    let mut web_server = WebServer::connect(&server);
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/length"), ("CONTENT_LENGTH", "5000000")];
    web_server.send(&[begin(1, false), params(1, &variables)].concat());
    for _ in 0..100 {
        web_server.send(&record(STDIN, 1, &[b'x'; 50_000]));
    }
    web_server.send(&record(STDIN, 1, &[]));
    assert!(web_server.answer().1.head.starts_with("Status: 413 "));
    assert!(web_server.is_closed_within(SECOND));
}

#[test]
fn too_many_requests_at_once_are_refused_in_both_languages() {
    let server = with(|builder| builder.workers(1).queue(0));
    let mut web_server = WebServer::connect(&server);
    web_server.send(&get(1, "/wait"));
    server.app.await_waiting(1);
    web_server.send(&get(2, "/slow"));
    let (id, answer) = web_server.answer();
    assert_eq!((id, answer.status), (2, 2));
    assert!(answer.head.starts_with("Status: 503 ") && answer.head.contains("retry-after: 5\r\n"), "{}", answer.head);
    assert_eq!(web_server.get_as(3, "/now").body, b"now /now");
    server.app.open_gate();
    assert_eq!(web_server.answer().0, 1);
}

impl WebServer {
    fn get_as(&mut self, id: u16, path: &str) -> Answer {
        self.send(&get(id, path));
        self.answer().1
    }
}

#[test]
fn an_aborted_request_is_not_made_if_it_can_still_be_helped() {
    let server = with(|builder| builder.workers(1).queue(10));
    let mut web_server = WebServer::connect(&server);
    web_server.send(&get(1, "/wait"));
    server.app.await_waiting(1);
    web_server.send(&get(2, "/counted"));
    web_server.send(&record(ABORT, 2, &[]));
    let (id, answer) = web_server.answer();
    assert_eq!((id, answer.head.as_str()), (2, ""));
    server.app.open_gate();
    assert_eq!(web_server.answer().0, 1);
    assert_eq!(web_server.get("/slow").status, 0);
    assert_eq!(server.app.counted.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn limits_are_told() {
    let server = with(|builder| builder.workers(5).queue(6).max_connections(7));
    let mut web_server = WebServer::connect(&server);
    web_server.send(&record(GET_VALUES, 0, b"\x0e\x00FCGI_MAX_CONNS\x0d\x00FCGI_MAX_REQS\x0f\x00FCGI_MPXS_CONNS"));
    let told = b"\x0e\x01FCGI_MAX_CONNS7\x0d\x02FCGI_MAX_REQS11\x0f\x01FCGI_MPXS_CONNS1".to_vec();
    assert_eq!(web_server.record(), (VALUES, 0, told));
}

#[test]
fn connections_that_say_nothing_are_closed_and_waiting_ones_are_not() {
    let server =
        with(|builder| builder.head_timeout(Duration::from_millis(150)).idle_timeout(Duration::from_millis(400)));
    let (mut silent, mut slow) = (WebServer::connect(&server), WebServer::connect(&server));
    let (mut waiting, mut idle) = (WebServer::connect(&server), WebServer::connect(&server));
    waiting.send(&get(1, "/wait"));
    assert_eq!(idle.get("/now").status, 0);
    let begun = Instant::now();
    let request = get(1, "/now");
    let mut sent = 0;
    while begun.elapsed() < SECOND && sent < request.len() {
        if slow.stream.write_all(&request[sent..=sent]).is_err() {
            break;
        }
        sent += 1;
        thread::sleep(Duration::from_millis(20));
    }
    assert!(sent < request.len(), "a web server may take as long as it wants");
    assert!(silent.is_closed_within(SECOND) && idle.is_closed_within(SECOND));
    server.app.open_gate();
    assert_eq!(waiting.answer().1.body, b"called /wait");
}

#[test]
fn a_stop_answers_what_has_begun() {
    let server = serve();
    let (mut at_work, mut idle) = (WebServer::connect(&server), WebServer::connect(&server));
    assert_eq!(idle.get("/now").status, 0);
    at_work.send(&get(1, "/wait"));
    server.app.await_waiting(1);
    server.handle.stop();
    assert!(idle.is_closed_within(SECOND));
    server.app.open_gate();
    assert_eq!(at_work.answer().1.body, b"called /wait");
    assert!(at_work.is_closed_within(SECOND));
    server.await_end(SECOND);
}

#[test]
fn nonsense_and_vanished_web_servers_harm_nobody() {
    let server = serve();
    let mut http = WebServer::connect(&server);
    http.send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(http.is_closed_within(SECOND));
    for cut in [1, 9, 30, 50] {
        let mut web_server = WebServer::connect(&server);
        web_server.send(&get(1, "/now")[..cut]);
        drop(web_server);
    }
    let mut half = WebServer::connect(&server);
    half.send(&get(1, "/now"));
    half.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.answer().1.body, b"now /now");
    let answer = WebServer::connect(&server).get("/panic");
    assert!(answer.head.starts_with("Status: 500 "));
    assert_eq!(WebServer::connect(&server).get("/now").body, b"now /now");
}

#[test]
fn a_web_server_that_takes_nothing_is_cut_off() {
    let server = with(|builder| builder.idle_timeout(Duration::from_millis(300)));
    let mut stalled = WebServer::connect(&server);
    stalled.send(&get(1, "/now/large"));
    thread::sleep(SECOND);
    let mut rest = Vec::new();
    let end = stalled.stream.read_to_end(&mut rest);
    assert!(end.is_err() || rest.len() < 20 << 20, "the whole answer was kept");
}

#[test]
fn requests_are_logged_with_the_clients_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLog::open(&path, AccessLogFormat::Combined).unwrap();
    let server = with(|builder| builder.access_log(log));
    let mut web_server = WebServer::connect(&server);
    web_server.get("/now?a=b");
    web_server.get("/slow");
    drop(web_server);
    server.handle.stop();
    server.await_end(5 * SECOND);
    let lines = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with("192.0.2.1 - - ["), "{}", lines[0]);
    assert!(lines[0].ends_with("] \"GET /now?a=b HTTP/1.1\" 200 8 \"-\" \"-\" -"), "{}", lines[0]);
    assert_eq!(lines.len(), 2);
}

/// In a process of its own, for the environment belongs to all tests.
#[test]
fn only_the_named_web_servers_may_connect() {
    for (allowed, answered) in [("127.0.0.1", true), ("192.0.2.1, ::ffff:127.0.0.1", true), ("192.0.2.1", false)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "web_servers_may_connect_unless_others_are_named"]);
        command.env("FCGI_WEB_SERVER_ADDRS", allowed).env("TEST_ANSWERED", answered.to_string());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{allowed}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "web_servers_may_connect_unless_others_are_named"])
        .env("FCGI_WEB_SERVER_ADDRS", "localhost");
    let output = command.output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("localhost"));
}

/// Also the child process of the test above, which names web servers.
#[test]
fn web_servers_may_connect_unless_others_are_named() {
    let server = serve();
    let mut web_server = WebServer::connect(&server);
    match std::env::var("TEST_ANSWERED").as_deref() {
        Ok("false") => assert!(web_server.is_closed_within(SECOND)),
        _ => assert_eq!(web_server.get("/now").body, b"now /now"),
    }
}
