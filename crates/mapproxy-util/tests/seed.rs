//! `mapproxy-seed` as users and scripts see it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{text, write};
use tempfile::TempDir;

const MAPPROXY: &str = "
services: {demo: {}}
layers: [{name: shown, title: Shown, sources: [plain]}]
globals: {cache: {base_dir: tiles}}
grids: {small: {base: GLOBAL_WEBMERCATOR, num_levels: 4}}
sources:
  drawn: {type: debug}
  far: {type: wms, req: {url: 'http://127.0.0.1:9/map', layers: a}}
caches:
  plain: {sources: [drawn], grids: [small], meta_size: [2, 2], meta_buffer: 0}
  other: {sources: [drawn], grids: [small], cache: {type: mbtiles}}
  remote: {sources: [far], grids: [small]}
";

const SEED: &str = "
seeds:
  all: {caches: [plain], levels: [0, 1, 2]}
  part: {caches: [plain, other], coverages: [east], levels: [2], refresh_before: {time: '2020-01-31T10:00:00'}}
  remote: {caches: [remote], levels: [0]}
cleanups:
  old: {caches: [plain], levels: [2], coverages: [east], remove_all: true}
coverages:
  east: {bbox: [1, 1, 10, 10], srs: 'EPSG:4326'}
";

/// A directory with both configurations.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "mapproxy.yaml", MAPPROXY);
    write(&directory, "seed.yaml", SEED);
    directory
}

fn seeder(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapproxy-seed"));
    command.args(arguments).current_dir(directory.path()).env("TZ", "UTC").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &TempDir, arguments: &[&str]) -> Output {
    let both = ["-f", "mapproxy.yaml", "-s", "seed.yaml"];
    seeder(directory, &[&both, arguments].concat()).output().unwrap()
}

/// Standard output of a run that ends with this status.
fn said(directory: &TempDir, arguments: &[&str], status: i32) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn tiles(directory: &TempDir) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.path().join("tiles")]);
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false if path.extension().is_some_and(|extension| extension == "png") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// The time of the day in lines of progress is that of the test.
fn without_clock(said: &str) -> String {
    let line = |line: &str| match line.strip_prefix('[') {
        Some(rest) if rest.get(8..9) == Some("]") => format!("[clock{}", &rest[8..]),
        _ => line.to_owned(),
    };
    said.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn the_summary_tells_all_tasks_and_does_nothing() {
    let directory = directory();
    let said = said(&directory, &["--summary"], 0);
    let expected = "\
========== Seeding tasks ==========
  all:
    Seeding cache 'plain' with grid 'small' in EPSG:3857
    Limited to coverage in: -180.00000, -85.05113, 180.00000, 85.05113 (EPSG:4326)
    Levels: [0, 1, 2]
    Overwriting: all tiles
  part:
    Seeding cache 'plain' with grid 'small' in EPSG:3857
    Limited to coverage in: 1.00000, 1.00000, 10.00000, 10.00000 (EPSG:4326)
    Levels: [2]
    Overwriting: tiles older than 2020-01-31 10:00:00
  part:
    Seeding cache 'other' with grid 'small' in EPSG:3857
    Limited to coverage in: 1.00000, 1.00000, 10.00000, 10.00000 (EPSG:4326)
    Levels: [2]
    Overwriting: tiles older than 2020-01-31 10:00:00
  remote:
    Seeding cache 'remote' with grid 'small' in EPSG:3857
    Limited to coverage in: -180.00000, -85.05113, 180.00000, 85.05113 (EPSG:4326)
    Levels: [0]
    Overwriting: all tiles
========== Cleanup tasks ==========
  old:
    Cleaning up cache 'plain' with grid 'small' in EPSG:3857
    Limited to coverage in: 1.00000, 1.00000, 10.00000, 10.00000 (EPSG:4326)
    Levels: [2]
    Remove: all tiles
";
    assert_eq!(said, expected);
    assert!(tiles(&directory).is_empty());
}

#[test]
fn tiles_are_made_once_and_the_lines_are_those_of_the_original() {
    let directory = directory();
    let first = said(&directory, &["--seed", "all"], 0);
    let world = "-20037508.34279, -20037508.34279, 20037508.34279, 20037508.34279";
    let expected = format!(
        "========== Seeding tasks ==========
Start seeding process (1 task)
  all:
    Seeding cache 'plain' with grid 'small' in EPSG:3857
    Limited to coverage in: -180.00000, -85.05113, 180.00000, 85.05113 (EPSG:4326)
    Levels: [0, 1, 2]
    Overwriting: all tiles
[clock]  0   0.00% {world} (0 tiles)
[clock]  0 100.00% {world} (21 tiles)
"
    );
    assert_eq!(without_clock(&first), expected);
    let made = tiles(&directory);
    assert_eq!(made.len(), 21);
    let times = || made.iter().map(|path| std::fs::metadata(path).unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = times();
    assert!(!said(&directory, &["--seed", "all", "-qq"], 0).contains('%'));
    assert_eq!(times(), before, "what is there stays");
    std::fs::remove_file(&made[5]).unwrap();
    said(&directory, &["--seed", "all"], 0);
    assert_eq!(tiles(&directory), made, "each tile of a meta tile counts");
    assert!(!directory.path().join(".mapproxy_seed_progress").exists());
}

#[test]
fn a_dry_run_makes_and_removes_nothing() {
    let directory = directory();
    said(&directory, &["--seed", "all", "-n"], 0);
    assert!(tiles(&directory).is_empty());
    said(&directory, &["--seed", "all"], 0);
    said(&directory, &["--cleanup", "ALL", "-n"], 0);
    assert_eq!(tiles(&directory).len(), 21);
}

#[test]
fn cleanups_remove_tiles_in_their_area_only() {
    let directory = directory();
    said(&directory, &["--seed", "all"], 0);
    let said = said(&directory, &["--cleanup", "old"], 0);
    assert!(
        said.starts_with("========== Cleanup tasks ==========\nStart cleanup process (1 task)\n  old:\n"),
        "{said}"
    );
    assert_eq!(tiles(&directory).len(), 20);
}

#[test]
fn mistakes_in_the_usage_are_told_with_the_usage() {
    let directory = directory();
    let refused = |arguments: &[&str]| {
        let output = seeder(&directory, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = text(&output.stderr);
        told.strip_prefix("Usage: mapproxy-seed [options] seed_conf\n\nmapproxy-seed: error: ")
            .unwrap_or_else(|| panic!("{told}"))
            .trim_end()
            .to_owned()
    };
    assert_eq!(refused(&["-s", "seed.yaml"]), "missing mapproxy configuration -f/--proxy-conf");
    assert_eq!(refused(&["--bogus"]), "no such option: --bogus");
    assert_eq!(refused(&["--see", "all"]), "ambiguous option: --see (--seed, --seed-conf?)");
    assert_eq!(refused(&["-f", "a", "b", "--progress-file"]), "--progress-file option requires 1 argument");
    let expected = "option --duration: invalid duration value: 'x', expected (10s, 15m, 0.5h, 3d, etc)";
    assert_eq!(refused(&["-f", "a", "b", "--duration", "x"]), expected);
    for arguments in [&[][..], &["-f", "mapproxy.yaml"]] {
        let output = seeder(&directory, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stdout).contains("--skip-geoms-for-last-levels"));
    }
    assert_eq!(seeder(&directory, &["--help"]).output().unwrap().status.code(), Some(0));
}

#[test]
fn mistakes_in_the_configuration_and_names_that_are_no_tasks_have_their_status() {
    let directory = directory();
    assert_eq!(
        said(&directory, &["--seed", "all,nope"], 1),
        "unknown seed tasks: nope\navailable seed tasks: all, part, remote\n"
    );
    write(&directory, "seed.yaml", "seeds: {a: {caches: [nope]}}");
    let told = said(&directory, &[], 2);
    assert!(
        told.starts_with("error in configuration: ") && told.contains("seed.yaml:1:22: error: cache nope"),
        "{told}"
    );
    write(&directory, "mapproxy.yaml", "caches: [");
    let output = run(&directory, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("ERROR: "));
}

#[test]
fn each_task_is_asked_for_with_interactive() {
    let directory = directory();
    let answer = |answers: &str, status: i32| {
        let arguments = ["-f", "mapproxy.yaml", "seed.yaml", "-i", "--seed", "all,part", "--cleanup", "ALL"];
        let mut child = seeder(&directory, &arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        text(&output.stdout)
    };
    let said = answer("maybe\nY\nn\nn\nno\n", 0);
    assert!(said.starts_with("========== Select seeding tasks ==========\n  all:\n"), "{said}");
    assert_eq!(said.matches("    Seed this task (y/n)? ").count(), 4);
    assert_eq!(said.matches("    Cleanup this task (y/n)? ").count(), 1);
    assert!(said.contains("Start seeding process (1 task)") && !said.contains("Start cleanup process"), "{said}");
    assert_eq!(tiles(&directory).len(), 21);
    answer("y\n", 1);
}

#[test]
fn a_run_is_begun_again_only_when_it_is_time() {
    let directory = directory();
    let arguments = ["--seed", "part", "--continue", "--reseed-file", "last", "--reseed-interval", "1h"];
    said(&directory, &arguments, 0);
    assert!(directory.path().join("last").exists());
    assert_eq!(said(&directory, &arguments, 1), "no need for re-seeding\n");
}

#[test]
fn caches_are_locked_by_name_in_the_working_directory() {
    let directory = directory();
    said(&directory, &["--seed", "all", "--use-cache-lock"], 0);
    assert!(directory.path().join(".mapproxy_seed.lck").exists());
    assert_eq!(tiles(&directory).len(), 21);
}

/// A map server that answers all requests with a picture of the world's colour.
fn upstream(picture: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).unwrap_or(0) {
                    0 => break,
                    read => request.extend_from_slice(&buffer[..read]),
                }
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n", picture.len());
            let _ = stream.write_all(&picture);
        }
    });
    port
}

/// Waits for a line that contains `part`.
fn await_line(from: impl Read, part: &str) {
    let mut lines = BufReader::new(from).lines();
    assert!(lines.any(|line| line.unwrap().contains(part)), "the program ends without {part}");
}

fn stop(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

#[test]
fn a_run_that_is_stopped_says_how_to_go_on_and_is_gone_on_with() {
    let directory = directory();
    let journal = directory.path().join(".mapproxy_seed_progress");
    // Nobody listens.
    let arguments = ["-f", "mapproxy.yaml", "seed.yaml", "--seed", "all,remote"];
    let mut child = seeder(&directory, &arguments).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut reader = BufReader::new(stderr);
    await_line(&mut reader, "An error occured. Retry in ");
    stop(&child);
    let output = child.wait_with_output().unwrap();
    let said_then = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said_then}");
    assert!(said_then.contains("\ninterrupted...\n") && said_then.contains("--continue"), "{said_then}");
    assert!(journal.exists());

    let made = tiles(&directory);
    let picture = std::fs::read(&made[0]).unwrap();
    let port = upstream(picture);
    write(&directory, "mapproxy.yaml", &MAPPROXY.replace("127.0.0.1:9/", &format!("127.0.0.1:{port}/")));
    let said_now = said(&directory, &["--seed", "all,remote", "--continue"], 0);
    assert!(said_now.contains("    Continued: 21 tiles were looked at before"), "{said_now}");
    assert_eq!(tiles(&directory).len(), made.len() + 1);
    assert!(!journal.exists(), "nothing is left to remember");
}

#[test]
fn the_end_of_the_duration_is_no_failure() {
    let directory = directory();
    let said = said(&directory, &["--seed", "remote", "--duration", "0.3s"], 0);
    assert!(!said.contains("interrupted") && said.contains("--continue"), "{said}");
    assert!(Path::new(&directory.path().join(".mapproxy_seed_progress")).exists());
}

#[test]
fn a_progress_file_of_the_original_is_moved_aside_and_one_that_all_may_write_is_ignored() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    let pickle = "\u{80}\u{4}junk".repeat(100);
    write(&directory, "progress", &pickle);
    let arguments = ["--seed", "all", "--progress-file", "progress", "--continue"];
    let told = said(&directory, &arguments, 0);
    assert!(told.contains("begun anew, and the file moved to progress.old"), "{told}");
    assert_eq!(std::fs::read_to_string(directory.path().join("progress.old")).unwrap(), pickle);

    let path = write(&directory, "open", "");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
    let told = said(&directory, &["--seed", "all", "--progress-file", "open"], 0);
    assert!(told.contains("progress file (open) is world writable, ignoring file"), "{told}");
}
