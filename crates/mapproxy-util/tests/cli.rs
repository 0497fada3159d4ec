//! The program as users and scripts see it: output, exit status, signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use support::{CONFIGURATION, Running, await_that, get, program, run, text, write};

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
        assert!(text(&output.stdout).contains("Usage: "), "{}", text(&output.stdout));
        assert_eq!(text(&output.stderr), "ERROR: MapProxy configuration required.\n");
    }
}

#[test]
fn wrong_usage_has_status_2_and_says_what_is_wrong() {
    for (arguments, expected) in [
        (&["serve", "--frobnicate", "a.yaml"][..], "--frobnicate"),
        (&["serve-develop", "-b", "localhost:http", "a.yaml"], "\"http\" is no port"),
        (&["serve-develop", "--log-config", "none.ini", "a.yaml"], "none.ini: cannot be read"),
        (&["serve", "--log-config", "log.ini", "--log-level", "info", "a.yaml"], "cannot be used with"),
        (&["serve", "--socket-mode", "600", "a.yaml"], "are for --bind unix:PATH"),
        (&["serve", "--trusted-proxies", "all", "a.yaml"], "\"all\" is no address of a proxy"),
        (&["serve", "--app-name", "x", "a.yaml"], "are for a deployment file"),
        (&["serve", "--multi", "dir", "a.yaml"], "cannot be used with"),
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
        "--no-reload",
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
