//! The program as its users start it, and what it answers.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const CONFIGURATION: &str = "
services:
  demo:
  tms:
layers:
  - name: osm
    title: Streets
    sources: [tiles]
caches:
  tiles:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
sources:
  upstream:
    type: tile
    url: http://127.0.0.1:9/%(z)s/%(x)s/%(y)s.png
";

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapproxy-util"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn write(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server that is killed when the test is over.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// 0 if it does not listen on the network.
    pub(crate) port: u16,
    /// Standard output of `serve-develop`; `serve` logs to standard error, which goes to the test's.
    lines: Option<BufReader<ChildStdout>>,
    said: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Running {
        Running::spawn(&mut program(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Running {
        let develops = command.get_args().next().is_some_and(|name| name.to_string_lossy().ends_with("-develop"));
        let mut child = command.spawn().unwrap();
        if develops {
            let lines = child.stdout.take().map(BufReader::new);
            let mut running = Running { port: 0, lines, child, said: Arc::default() };
            running.port = port(&running.await_line(" * Running on http://"), "/ (Press CTRL+C to quit)");
            return running;
        }
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut said = String::new();
        while !line.contains("listening ") {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "the server has ended: {said}");
            said.push_str(&line);
        }
        let said = Arc::new(Mutex::new(said));
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in errors.lines().map_while(Result::ok) {
                    said.lock().unwrap().push_str(&format!("{line}\n"));
                }
            }
        });
        // As text or as JSON.
        let address = line.trim_end().trim_end_matches(['"', '}']).strip_suffix('/');
        let port = address.and_then(|address| address.rsplit(':').next()?.parse().ok()).unwrap_or(0);
        Running { port, lines: None, child, said }
    }

    /// What it has said on standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn await_line(&mut self, part: &str) -> String {
        let lines = self.lines.as_mut().unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server has ended before it said {part:?}");
            if line.contains(part) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn stop(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "the server does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn port(line: &str, end: &str) -> u16 {
    let line = line.strip_suffix(end).unwrap_or_else(|| panic!("no {end:?} at the end of {line:?}"));
    line.rsplit(':').next().unwrap().parse().unwrap()
}

pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    get_with(port, path, "")
}

/// With further headers, each with its end of line.
pub(crate) fn get_with(port: u16, path: &str, headers: &str) -> (u16, String) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    ask(stream, path, headers)
}

/// The status and the body of the answer on a connection.
pub(crate) fn ask(mut stream: impl Read + Write, path: &str, headers: &str) -> (u16, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) fn await_that(condition: impl Fn() -> bool, failure: &str) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{failure}");
        thread::sleep(Duration::from_millis(20));
    }
}
