//! An application whose answers take as long as the test wants, and a client that sees every byte.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use mapproxy_core::request::Peer;
use mapproxy_core::{Application, Body, Request, Response};
use mapproxy_http::{Builder, Handle, Server, ServerError};

/// `/now…` is answered at once, everything else by a worker; `/wait` only after [`TestApp::open_gate`].
#[derive(Default)]
pub(crate) struct TestApp {
    pub(crate) counted: AtomicUsize,
    waiting: AtomicUsize,
    gate_is_open: Mutex<bool>,
    gate: Condvar,
}

impl TestApp {
    pub(crate) fn open_gate(&self) {
        *self.gate_is_open.lock().unwrap() = true;
        self.gate.notify_all();
    }

    /// Until `count` requests stand before the gate.
    pub(crate) fn await_waiting(&self, count: usize) {
        let begun = Instant::now();
        while self.waiting.load(Ordering::SeqCst) < count {
            assert!(begun.elapsed() < Duration::from_secs(10), "the requests have not arrived");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

static SHARED: LazyLock<Bytes> = LazyLock::new(|| vec![7; 10 << 20].into());

fn answer(request: &Request, text: String) -> Response {
    let path = request.uri().path();
    let body = match path {
        path if path.ends_with("/large") => Body::from((0..20 << 20).map(|at| (at % 251) as u8).collect::<Vec<_>>()),
        "/now/shared" => Body::from(SHARED.clone()),
        "/now/thread" => Body::from(format!("{:?}", thread::current().id())),
        "/now/peer" => Body::from(format!("{:?}", request.extensions().get::<Peer>())),
        "/now/unchanged" => Body::EMPTY,
        _ => Body::from(text),
    };
    let mut response = Response::new(body);
    if path == "/now/unchanged" {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    response
}

impl Application for TestApp {
    fn call(&self, request: Request) -> Response {
        let path = request.uri().path();
        match path {
            "/wait" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let open = self.gate_is_open.lock().unwrap();
                let limit = Duration::from_secs(20);
                drop(self.gate.wait_timeout_while(open, limit, |open| !*open).unwrap());
            }
            "/panic" => panic!("as told"),
            "/counted" => drop(self.counted.fetch_add(1, Ordering::SeqCst)),
            "/length" => return answer(&request, format!("{} bytes", request.body().len())),
            _ => {}
        }
        answer(&request, format!("called {path}"))
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        path.starts_with("/now").then(|| answer(request, format!("now {path}")))
    }
}

/// A server that runs until the test is over.
pub(crate) struct Running {
    pub(crate) app: Arc<TestApp>,
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: JoinHandle<Result<(), ServerError>>,
}

pub(crate) fn serve() -> Running {
    serve_with(|builder| builder)
}

pub(crate) fn serve_with(configure: impl FnOnce(Builder<Arc<TestApp>>) -> Builder<Arc<TestApp>>) -> Running {
    let app = Arc::new(TestApp::default());
    let builder = Server::builder(Arc::clone(&app)).bind("127.0.0.1:0").event_loops(2);
    let server = configure(builder).build().unwrap();
    let (address, handle) = (server.local_addr().unwrap(), server.handle());
    Running { app, address, handle, thread: thread::spawn(|| server.run()) }
}

impl Running {
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn await_end(self, limit: Duration) {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < limit, "the server still runs after {limit:?}");
            thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().unwrap().unwrap();
    }
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    /// For requests that the server may refuse before they are sent.
    pub(crate) fn send_ignoring_errors(&mut self, bytes: &[u8]) {
        let _ = self.stream().write_all(bytes);
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.answer()
    }

    /// Whether the beginning of an answer is there, or comes in a moment.
    pub(crate) fn has_answer(&mut self) -> bool {
        self.stream().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        self.stream().peek(&mut [0]).is_ok_and(|bytes| bytes > 0)
    }

    /// Status and headers.
    pub(crate) fn head(&mut self) -> Answer {
        self.stream().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body).unwrap();
        answer
    }

    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream().set_read_timeout(Some(limit)).unwrap();
        match self.stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("there are bytes nobody asked for"),
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        !self.is_closed_within(time)
    }
}
