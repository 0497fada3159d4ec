//! The program as users and scripts see it: output, exit status, signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const CONFIGURATION: &str = "
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

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapproxy-util"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn no_command_and_an_unknown_one_list_the_commands() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("serve-develop"));
    let output = run(&["frobnicate"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("serve-develop"));
    assert!(text(&output.stdout).ends_with("ERROR: unknown command frobnicate\n"), "{}", text(&output.stdout));
}

#[test]
fn version_and_help_are_answers() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains(concat!("MapProxy ", env!("CARGO_PKG_VERSION"))));
    let output = run(&["serve", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("--access-log"));
}

#[test]
fn a_command_without_its_configuration_shows_its_usage() {
    for command in ["serve", "check"] {
        let output = run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("CONF"), "{}", text(&output.stdout));
        assert_eq!(text(&output.stderr), "ERROR: MapProxy configuration required.\n");
    }
}

#[test]
fn wrong_usage_has_status_2_and_says_what_is_wrong() {
    for (arguments, expected) in [
        (&["serve", "--frobnicate", "a.yaml"][..], "--frobnicate"),
        (&["serve-develop", "-b", "localhost:http", "a.yaml"], "\"http\" is no port"),
        (&["serve-develop", "--log-config", "log.ini", "a.yaml"], "--log-config is not supported yet"),
        (&["serve", "--threads", "0", "a.yaml"], "from 1"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_broken_configuration_is_not_served_and_all_mistakes_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let broken =
        CONFIGURATION.replace("sources: [tiles]", "sources: [tile]").replace("sources: [upstream]", "sources: 5");
    let path = write(&dir, "mapproxy.yaml", &broken);
    for command in ["serve", "serve-develop"] {
        let output = run(&[command, "-b", "0", &path]);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        for mistake in ["mapproxy.yaml:8:15: error: ", "mapproxy.yaml:12:14: error: "] {
            assert!(told.contains(mistake), "{told}");
        }
        assert!(told.lines().last().unwrap().contains("2 errors"), "{told}");
    }
    let output = run(&["serve", dir.path().join("missing.yaml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("missing.yaml"), "{}", text(&output.stderr));
}

#[test]
fn check_tells_by_its_status_whether_a_configuration_can_be_served() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (write(&dir, "good.yaml", CONFIGURATION), write(&dir, "bad.yaml", "layers: 5\n"));
    let output = run(&["check", &good]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let output = run(&["check", &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("bad.yaml:1:9: error: "), "{}", text(&output.stdout));
    assert!(output.stderr.is_empty());
    let report = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&run(&["check", "--format", "json", path]).stdout).unwrap()
    };
    let bad = report(&bad);
    assert_eq!(bad["valid"], false);
    assert_eq!(bad["diagnostics"][0]["severity"], "error");
    assert_eq!(bad["diagnostics"][0]["line"], 1);
    let good_report = report(&good);
    assert_eq!(good_report["valid"], true);
    assert_eq!(good_report["files"][0].as_str().map(PathBuf::from), Path::new(&good).canonicalize().ok());
}

#[test]
fn serve_develop_says_where_it_runs_logs_requests_reloads_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let mut server = Running::start(&["serve-develop", "-b", "localhost:0", &path]);
    assert_eq!(get(server.port, "/").0, 200);
    let (status, tms) = get(server.port, "/tms/1.0.0");
    assert_eq!(status, 200);
    assert!(tms.contains("Streets"), "{tms}");

    write(&dir, "mapproxy.yaml", &CONFIGURATION.replace("Streets", "Roads and paths"));
    await_that(|| get(server.port, "/tms/1.0.0").1.contains("Roads and paths"), "the change was not noticed");
    write(&dir, "mapproxy.yaml", "layers: [\n");
    assert!(server.await_line("configuration not reloaded").contains("mapproxy.config - ERROR - "));
    assert!(get(server.port, "/tms/1.0.0").1.contains("Roads and paths"));
    write(&dir, "mapproxy.yaml", CONFIGURATION);
    await_that(|| get(server.port, "/tms/1.0.0").1.contains("Streets"), "the mended file was not noticed");

    assert_eq!(get(server.port, "/logged?yes").0, 404);
    let line = server.await_line("/logged?yes");
    assert!(line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /logged?yes HTTP/1.1\" 404 "), "{line}");
    assert_eq!(server.stop("INT"), Some(0));
}

#[test]
fn serve_reloads_on_sighup_and_ends_with_0_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let log = dir.path().join("access.log");
    let mut server = Running::start(&[
        "serve",
        "-b",
        "127.0.0.1:0",
        "--access-log",
        log.to_str().unwrap(),
        "--access-log-format",
        "json",
        &path,
    ]);
    assert_eq!(get(server.port, "/tms/1.0.0").0, 200);
    write(&dir, "mapproxy.yaml", &CONFIGURATION.replace("Streets", "Roads"));
    thread::sleep(Duration::from_millis(1200));
    assert!(get(server.port, "/tms/1.0.0").1.contains("Streets"), "reloaded without being told");
    server.signal("HUP");
    await_that(|| get(server.port, "/tms/1.0.0").1.contains("Roads"), "SIGHUP did not reload");
    assert_eq!(server.stop("TERM"), Some(0));
    let lines = std::fs::read_to_string(&log).unwrap();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["uri"], &first["status"]), (&"/tms/1.0.0".into(), &200.into()));
}

#[test]
fn a_port_in_use_ends_the_program_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let server = Running::start(&["serve", "-b", "0", &path]);
    for command in ["serve", "serve-develop"] {
        let output = run(&[command, "-b", &server.port.to_string(), &path]);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains("the address is in use by another program"), "{told}");
    }
}

#[test]
fn without_a_configuration_a_map_of_the_world_is_served() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(&["serve-develop", "-b", "0"]);
    let mut server = Running::spawn(command.env("XDG_CACHE_HOME", home.path()));
    let (status, page) = get(server.port, "/demo/");
    assert_eq!(status, 200);
    assert!(page.contains("World map"), "{page}");
    assert_eq!(get(server.port, "/tms/1.0.0/world/GLOBAL_WEBMERCATOR/0/0/0.png").0, 200);
    assert!(home.path().join("mapproxy").is_dir(), "the example is not in the user's cache directory");
    assert_eq!(server.stop("TERM"), Some(0));
}

/// A server that is killed when the test is over.
struct Running {
    child: Child,
    port: u16,
    /// Standard output of `serve-develop`; `serve` logs to standard error, which goes to the test's.
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running::spawn(&mut program(arguments))
    }

    fn spawn(command: &mut Command) -> Running {
        let develops = command.get_args().next().is_some_and(|name| name == "serve-develop");
        let mut child = command.spawn().unwrap();
        if develops {
            let mut running = Running { port: 0, lines: child.stdout.take().map(BufReader::new), child };
            running.port = port(&running.await_line(" * Running on http://"), "/ (Press CTRL+C to quit)");
            return running;
        }
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "the server has ended");
        }
        // Nobody reads on, but the pipe must stay open.
        thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        Running { port: port(line.trim_end(), "/"), lines: None, child }
    }

    fn await_line(&mut self, part: &str) -> String {
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

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn stop(&mut self, signal: &str) -> Option<i32> {
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

fn port(line: &str, end: &str) -> u16 {
    let line = line.strip_suffix(end).unwrap_or_else(|| panic!("no {end:?} at the end of {line:?}"));
    line.rsplit(':').next().unwrap().parse().unwrap()
}

fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn await_that(condition: impl Fn() -> bool, failure: &str) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{failure}");
        thread::sleep(Duration::from_millis(20));
    }
}
