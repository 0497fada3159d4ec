//! `mapproxy-util create` as users and scripts see it: files, output, exit status.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn create(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapproxy-util"));
    command.arg("create").args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Status, last line of standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let stdout = text(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap(), last, text(&output.stderr).trim_end().to_owned())
}

#[test]
fn templates_are_listed_and_usage_is_shown_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let output = create(dir.path(), &["-l"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("Available templates:\n"), "{stdout}");
    for name in ["base-config", "wsgi-app", "log-ini", "server-app", "systemd"] {
        assert!(stdout.lines().any(|line| line.split_whitespace().next() == Some(name)), "{stdout}");
    }
    for arguments in [&[][..], &["somewhere"]] {
        let output = create(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("--list-templates"));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_done_is_told_as_scripts_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let errors = |arguments: &[&str]| {
        let (status, _, stderr) = told(&create(dir.path(), arguments));
        (status, stderr)
    };
    assert_eq!(errors(&["-t", "nope", "x"]), (1, "ERROR: unknown template nope".to_owned()));
    let destination = "ERROR: template requires destination argument".to_owned();
    assert_eq!(errors(&["-t", "base-config"]), (1, destination.clone()));
    assert_eq!(errors(&["-t", "wsgi-app"]), (1, destination));
    let configuration = "ERROR: template requires --mapproxy-conf option".to_owned();
    assert_eq!(errors(&["-t", "wsgi-app", "x"]), (1, configuration));
    assert_eq!(errors(&["-t", "varnish", "--fastcgi", "-f", "a.yaml", "x"]).0, 1);
    assert_eq!(errors(&["-t", "nginx", "--address", "unix:x", "-f", "a.yaml", "x"]).0, 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_base_config_is_written_once_checked_and_overwritten_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let output = create(dir.path(), &["--template=base-config", "a/maps"]);
    let names = ["mapproxy.yaml", "seed.yaml", "full_example.yaml", "full_seed_example.yaml"];
    let expected: String = names.iter().map(|name| format!("writing a/maps/{name}\n")).collect();
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(0));
    let file = dir.path().join("a/maps/seed.yaml");
    assert_ne!(fs::metadata(&file).unwrap().permissions().mode() & 0o044, 0, "only the owner may read it");

    fs::remove_file(dir.path().join("a/maps/mapproxy.yaml")).unwrap();
    fs::write(&file, "mine").unwrap();
    let (status, _, stderr) = told(&create(dir.path(), &["-t", "base-config", "a/maps"]));
    assert_eq!((status, stderr.as_str()), (1, "ERROR: a/maps/seed.yaml already exists, use --force"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(!dir.path().join("a/maps/mapproxy.yaml").exists(), "half of the files were written");

    assert_eq!(create(dir.path(), &["-t", "base-config", "--force", "a/maps"]).status.code(), Some(0));
    assert_ne!(fs::read_to_string(&file).unwrap(), "mine");
    for name in ["mapproxy.yaml", "full_example.yaml"] {
        let check = Command::new(env!("CARGO_BIN_EXE_mapproxy-util"))
            .args(["check", name])
            .current_dir(dir.path().join("a/maps"))
            .output()
            .unwrap();
        assert_eq!(text(&check.stdout), format!("{name}: no errors, no warnings\n"));
        assert_eq!(check.status.code(), Some(0));
    }
    assert_eq!(fs::read_dir(dir.path().join("a/maps")).unwrap().count(), 4, "temporary files were left");
}

#[test]
fn a_destination_of_the_wrong_kind_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "mine").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for force in [&[][..], &["--force"]] {
        let (status, _, stderr) = told(&create(dir.path(), &[force, &["-t", "base-config", "file"]].concat()));
        assert_eq!(status, 1);
        assert!(stderr.starts_with("ERROR: cannot write file/mapproxy.yaml: "), "{stderr}");
        let (status, _, stderr) = told(&create(dir.path(), &[force, &["-t", "log-ini", "folder"]].concat()));
        assert_eq!((status, stderr.as_str()), (1, "ERROR: folder is a folder"));
    }
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
}

#[test]
fn snippets_name_the_configuration_absolutely() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    assert_eq!(create(&root, &["-t", "base-config", "etc"]).status.code(), Some(0));
    for name in ["nginx", "apache", "lighttpd", "varnish", "deploy-ini"] {
        let output = create(&root, &["-t", name, "-f", "etc/../etc/mapproxy.yaml", "--prefix", "/maps/", name]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let written = fs::read_to_string(root.join(name)).unwrap();
        assert!(written.contains(&root.join("etc/mapproxy.yaml").display().to_string()), "{written}");
        assert!(written.contains("8080") && written.contains("/maps"), "{written}");
    }
    let output = create(&root, &["-t", "nginx", "-f", "not/there.yaml", "missing"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("not/there.yaml yet"), "{}", text(&output.stderr));
}

#[test]
fn wsgi_app_is_a_server_app_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mapproxy.yaml"), "").unwrap();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let crates = crates.to_str().unwrap();
    let arguments = ["-t", "wsgi-app", "-f", "mapproxy.yaml", "--crates", crates, "config.py"];
    let output = create(dir.path(), &arguments);
    assert!(text(&output.stdout).contains("server-app"), "{}", text(&output.stdout));
    let manifest = fs::read_to_string(dir.path().join("config/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("mapproxy-core = {{ path = \"{crates}/mapproxy-core\" }}")), "{manifest}");
    assert!(dir.path().join("config/src/main.rs").is_file());
    let (status, _, stderr) =
        told(&create(dir.path(), &["-t", "server-app", "-f", "mapproxy.yaml", "--crates", ".", "x"]));
    assert_eq!(status, 1);
    assert!(stderr.contains("mapproxy-core"), "{stderr}");
}

#[test]
fn files_for_the_server_are_understood_by_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(create(dir.path(), &["-t", "base-config", "."]).status.code(), Some(0));
    assert_eq!(create(dir.path(), &["-t", "log-ini", "log.ini"]).status.code(), Some(0));
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mapproxy-util"));
        let output = command.args(["serve", "--check"]).args(arguments).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    };
    check(&["--log-config", "log.ini", "mapproxy.yaml"]);
    for address in ["127.0.0.1:8080", "[::1]:8080", "unix:/run/mapproxy.sock"] {
        for options in [&[][..], &["--fastcgi"], &["--prefix", "/maps"]] {
            let base = ["-t", "deploy-ini", "--force", "-f", "mapproxy.yaml", "--address", address, "deploy.ini"];
            let output = create(dir.path(), &[&base, options].concat());
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            check(&["deploy.ini"]);
        }
    }
}
