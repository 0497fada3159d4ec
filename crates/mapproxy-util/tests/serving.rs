//! Ways of serving: logs, directories, deployment files, other sockets and protocols, proxies.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use support::{CONFIGURATION, Running, ask, await_that, get, get_with, program, run, text, write};
use tempfile::TempDir;

const LOG_INI: &str = r#"
[loggers]
keys = root, requests
[handlers]
keys = console, all, requests
[formatters]
keys = plain, bare
[logger_root]
level = INFO
handlers = console, all
[logger_requests]
qualname = mapproxy.source.request
level = INFO
handlers = requests
propagate = 0
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[handler_all]
class = FileHandler
args = (r"%(here)s/mapproxy.log", "a")
formatter = plain
[handler_requests]
class = FileHandler
args = (r"%(here)s/source-requests.log", "a")
formatter = bare
[formatter_plain]
format = %(asctime)s - %(levelname)s - %(name)s - %(message)s
[formatter_bare]
format = [%(asctime)s] %(message)s
"#;

fn is_time(text: &str) -> bool {
    text.len() == 23 && text.parse::<String>().is_ok_and(|text| text.as_bytes()[19] == b',' && text.starts_with("20"))
}

#[test]
fn a_log_ini_says_what_goes_where_and_sighup_opens_the_files_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", &CONFIGURATION.replace("http://", "http://user:secret@"));
    let log_ini = write(&dir, "log.ini", LOG_INI);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let mut server = Running::start(&["serve", "-b", "0", "--log-config", &log_ini, &path]);
    assert_eq!(get(server.port, "/tms/1.0.0/osm/EPSG3857/0/0/0.png").0, 500);
    await_that(|| read("source-requests.log").lines().count() >= 1, "no request is logged");
    // As MapProxy writes it: method, URL, status, KiB, milliseconds; what is not known is a dash.
    let line = read("source-requests.log").lines().next().unwrap().to_owned();
    let (time, line) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
    assert!(is_time(time), "{time}");
    let (line, milliseconds) = line.rsplit_once(' ').unwrap();
    assert!(milliseconds.parse::<u32>().is_ok(), "{milliseconds}");
    let (line, known) = line.split_at(line.len() - " - -".len());
    assert!(line.starts_with("GET http://") && line.ends_with("127.0.0.1:9/1/0/0.png"), "{line}");
    assert_eq!(known, " - -");
    assert!(!line.contains("secret"), "{line}");
    assert!(!read("mapproxy.log").contains("mapproxy.source.request"), "the line went further up");
    let begin = read("mapproxy.log");
    let (time, rest) = begin.split_at(23);
    assert!(is_time(time) && rest.starts_with(" - INFO - mapproxy.config - reading: "), "{begin}");

    fs::rename(dir.path().join("mapproxy.log"), dir.path().join("mapproxy.log.1")).unwrap();
    server.signal("HUP");
    await_that(|| read("mapproxy.log").contains("configuration reloaded"), "the log was not opened anew");
    assert_eq!(server.stop("TERM"), Some(0));
    assert!(read("mapproxy.log").contains(" - INFO - mapproxy.http - stopped\n"), "the last line is missing");
    assert!(!read("mapproxy.log.1").contains("stopped"));
}

#[test]
fn without_a_log_ini_rust_log_and_the_options_choose() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let mut command = program(&["serve", "-b", "0", "--log-format", "json", &path]);
    let mut server = Running::spawn(command.env("RUST_LOG", "warn,mapproxy.http=info"));
    assert_eq!(get(server.port, "/tms/1.0.0/osm/EPSG3857/0/0/0.png").0, 500);
    assert_eq!(server.stop("TERM"), Some(0));
    await_that(|| server.said().contains("\"stopped\""), "the last line is missing");
    let lines: Vec<serde_json::Value> = server.said().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"] != "INFO" || line["logger"] == "mapproxy.http"), "{lines:?}");
    assert!(lines.iter().any(|line| line["level"] == "WARNING"), "the failed source is not warned of: {lines:?}");

    let mut command = program(&["serve", "-b", "0", "--log-level", "info", &path]);
    let server = Running::spawn(command.env("RUST_LOG", "off"));
    assert!(server.said().contains("] mapproxy.config - INFO - reading: "), "{}", server.said());
    let output = program(&["serve", "-b", "0", &path]).env("RUST_LOG", "mapproxy=loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("ERROR: RUST_LOG: "), "{}", text(&output.stderr));
}

fn projects() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "streets.yaml", CONFIGURATION);
    write(&dir, "roads.yaml", &CONFIGURATION.replace("Streets", "Roads"));
    dir
}

#[test]
fn the_projects_of_a_directory_are_served_under_their_names() {
    let dir = projects();
    let path = dir.path().to_str().unwrap();
    for (arguments, lists) in [
        (&["serve", "-b", "0", "--multi", path][..], false),
        (&["serve", "-b", "0", "--multi", path, "--allow-listing"], true),
        (&["serve-multiapp-develop", "-b", "0", path], true),
    ] {
        let mut server = Running::start(arguments);
        assert!(get(server.port, "/roads/tms/1.0.0").1.contains("Roads"), "{arguments:?}");
        assert!(get(server.port, "/streets/tms/1.0.0").1.contains("Streets"), "{arguments:?}");
        assert_eq!(get(server.port, "/paths/tms/1.0.0").0, 404);
        assert_eq!(get(server.port, "/").1.contains("streets"), lists, "{arguments:?}");
        assert_eq!(server.stop("TERM"), Some(0));
    }
    let output = run(&["serve-multiapp-develop"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "ERROR: MapProxy projects directory required.\n");
}

#[test]
fn check_tells_what_is_wrong_without_serving() {
    let dir = projects();
    let (good, path) = (dir.path().join("roads.yaml"), dir.path().to_str().unwrap());
    let good = good.to_str().unwrap();
    let deployment = write(&dir, "good.ini", &format!("[app:main]\nuse = mapproxy#app\nmapproxy_conf = {good}\n"));
    let unknown = write(&dir, "unknown.ini", "[app:main]\nuse = egg:Other#app\n");
    let users = format!(
        "[pipeline:main]\npipeline = guard a\n[filter:guard]\nuse = mapproxy#basic-auth\nhtpasswd = {path}/none\n\
         [app:a]\nuse = mapproxy#app\nmapproxy_conf = {good}\n"
    );
    let users = write(&dir, "users.ini", &users);
    let log_ini = write(&dir, "log.ini", &LOG_INI.replace("FileHandler", "FyleHandler"));
    let checked = |arguments: &[&str], status: i32, expected: &str| {
        let output = run(&[&["serve", "--check"], arguments].concat());
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {told}{}", text(&output.stderr));
        assert!(told.contains(expected), "{arguments:?}: {told}");
    };
    checked(&[good], 0, "roads.yaml: 1 warning");
    checked(&["--multi", path], 0, "streets.yaml: 1 warning");
    checked(&[&deployment], 0, "roads.yaml: 1 warning");
    checked(&[&unknown], 1, "unknown.ini:2: use = egg:Other#app: there is no such application");
    checked(&[&users], 1, "none");
    checked(&["--log-config", &log_ini, good], 1, "log.ini:21: the handler FyleHandler is not there");
    let bad = write(&dir, "bad.yaml", "layers: 5\n");
    checked(&[&bad], 1, "bad.yaml:1:9: error: ");
    checked(&["--multi", path], 1, "bad.yaml:1:9: error: ");
}

/// As users of Paste write it.
const DEPLOYMENT: &str = "
[DEFAULT]
debug = true

[composite:main]
use = egg:Paste#urlmap
/one = one
/two = guarded

[app:one]
use = egg:MapProxy#app
mapproxy_conf = %(here)s/streets.yaml

[app:two]
use = egg:MapProxy#app
mapproxy_conf = %(here)s/roads.yaml

[pipeline:guarded]
pipeline = cors guard two

[filter:cors]
use = mapproxy#cors
allow_origin = https://example.org

[filter:guard]
use = mapproxy#basic-auth
htpasswd = %(here)s/users

[server:main]
use = egg:Paste#http
host = 127.0.0.1
port = 1
use_threadpool = true
";

/// User and password are both `maps`, as `htpasswd -B` writes them.
const USERS: &str = "maps:$2y$04$5maD8gmPHtj3iBx2Rb6rK.A4smmLmdeBHzHEiJQwzL0RqLvR1TDR2\n";

#[test]
fn a_deployment_file_says_which_applications_stand_where_behind_what() {
    let dir = projects();
    write(&dir, "users", USERS);
    let logging = LOG_INI.replace("mapproxy.log", "from-deployment.log");
    let ini = write(&dir, "config.ini", &format!("{DEPLOYMENT}{logging}"));
    let mut server = Running::start(&["serve", "-b", "0", &ini]);
    assert!(get(server.port, "/one/tms/1.0.0").1.contains("Streets"));
    assert_eq!(get(server.port, "/tms/1.0.0").0, 404);
    assert_eq!(get(server.port, "/two/tms/1.0.0").0, 401);
    let (status, body) = get_with(server.port, "/two/tms/1.0.0", "Authorization: Basic bWFwczptYXBz\r\n");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("Roads") && body.contains("/two/tms/1.0.0"), "{body}");
    let said = server.said();
    assert!(said.contains("config.ini:33: use_threadpool tunes egg:Paste#http and has no effect here"), "{said}");
    assert!(dir.path().join("from-deployment.log").is_file(), "the logging sections were not read");

    // A change of a configuration, of the deployment, and a mistake in it.
    write(&dir, "streets.yaml", &CONFIGURATION.replace("Streets", "Alleys"));
    await_that(|| get(server.port, "/one/tms/1.0.0").1.contains("Alleys"), "the configuration was not looked after");
    write(&dir, "config.ini", &DEPLOYMENT.replace("/one = one", "/three = one"));
    await_that(|| get(server.port, "/three/tms/1.0.0").0 == 200, "the deployment was not looked after");
    write(&dir, "config.ini", &DEPLOYMENT.replace("/one = one", "/four = nobody"));
    await_that(|| server.said().contains("config.ini:7: there is no [app:nobody]"), "the mistake is not told");
    assert_eq!(get(server.port, "/three/tms/1.0.0").0, 200);
    assert_eq!(server.stop("TERM"), Some(0));
}

#[test]
fn the_deployment_file_may_name_other_applications_and_servers() {
    let dir = projects();
    let socket = dir.path().join("maps.sock");
    let ini = format!(
        "[app:projects]\nuse = egg:MapProxy#multiapp\nconfig_dir = %(here)s\nallow_listing = on\n\
         [server:fcgi]\nuse = egg:Flup#fcgi_fork\nsocket = {}\numask = 007\n",
        socket.display()
    );
    let ini = write(&dir, "config.ini", &ini);
    let mut server = Running::start(&["serve", "-b", "0", "--app-name", "projects", &ini]);
    assert!(get(server.port, "/").1.contains("roads"));
    assert_eq!(server.stop("TERM"), Some(0));
    let mut server = Running::start(&["serve", "-n", "fcgi", "--app-name", "projects", &ini]);
    assert!(server.said().contains("listening for FastCGI on unix:"), "{}", server.said());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o770);
    assert!(speaks_fastcgi(UnixStream::connect(&socket).unwrap()));
    assert_eq!(server.stop("TERM"), Some(0));
    assert!(!socket.exists(), "the socket stays behind");
    for (arguments, expected) in [
        (&["serve", &ini][..], "there is no [app:main]"),
        (&["serve", "-n", "other", "--app-name", "projects", &ini], "there is no [server:other]"),
        (&["serve", "--no-reload", "-b", "0", "--app-name", "projects", &ini], "--no-reload"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

/// Asks for the limits of the server: the request that needs no more than a record.
fn speaks_fastcgi(mut stream: UnixStream) -> bool {
    let name = b"FCGI_MAX_CONNS";
    let mut record = vec![1, 9, 0, 0, 0, name.len() as u8 + 2, 0, 0, name.len() as u8, 0];
    record.extend_from_slice(name);
    stream.write_all(&record).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    answer[..2] == [1, 10]
}

#[test]
fn http_is_spoken_on_a_socket_with_the_rights_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let socket = dir.path().join("maps.sock");
    let address = format!("unix:{}", socket.display());
    let mut server = Running::start(&["serve", "-b", &address, "-b", "0", "--socket-mode", "600", &path]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, body) = ask(UnixStream::connect(&socket).unwrap(), "/tms/1.0.0", "");
    assert!(status == 200 && body.contains("Streets"), "{body}");
    assert_eq!(server.stop("TERM"), Some(0));
}

#[test]
fn one_request_is_answered_as_a_cgi_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let mut command = program(&["serve", "--cgi", &path]);
    command.env("REQUEST_METHOD", "GET").env("SCRIPT_NAME", "/maps").env("PATH_INFO", "/tms/1.0.0");
    command.env("SERVER_NAME", "example.org").env("SERVER_PORT", "80").env("SERVER_PROTOCOL", "HTTP/1.1");
    let output = command.env("GATEWAY_INTERFACE", "CGI/1.1").output().unwrap();
    let answer = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(answer.starts_with("Status: 200") && answer.contains("Streets"), "{answer}");
    assert!(answer.contains("http://example.org/maps/tms/1.0.0"), "{answer}");
}

#[test]
fn addresses_are_those_that_are_public_and_only_trusted_proxies_are_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let forwarded = "X-Forwarded-Host: other.example\r\n";
    for (option, value, expected) in [
        ("--public-url", "https://maps.example.org/public", "https://maps.example.org/public/tms/1.0.0"),
        ("--trusted-proxies", "127.0.0.0/8,unix", "http://other.example/tms/1.0.0"),
        ("--trusted-proxies", "10.0.0.0/8", "http://test/tms/1.0.0"),
    ] {
        let server = Running::start(&["serve", "-b", "0", option, value, &path]);
        let (_, body) = get_with(server.port, "/tms/1.0.0", forwarded);
        assert!(body.contains(expected), "{option} {value}: {body}");
    }
}

#[test]
fn changes_are_noticed_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let watched = Running::start(&["serve", "-b", "0", &path]);
    let unwatched = Running::start(&["serve", "-b", "0", "--no-reload", &path]);
    write(&dir, "mapproxy.yaml", &CONFIGURATION.replace("Streets", "Roads"));
    await_that(|| get(watched.port, "/tms/1.0.0").1.contains("Roads"), "the change was not noticed");
    thread::sleep(Duration::from_millis(200));
    assert!(get(unwatched.port, "/tms/1.0.0").1.contains("Streets"));
    unwatched.signal("HUP");
    await_that(|| get(unwatched.port, "/tms/1.0.0").1.contains("Roads"), "SIGHUP did not reload");
}

#[test]
fn what_create_writes_can_be_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "mapproxy.yaml", CONFIGURATION);
    let created = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (log_ini, deployment) = (created("log.ini"), created("deploy.ini"));
    for arguments in [
        &["create", "-t", "log-ini", &log_ini][..],
        &["create", "-t", "deploy-ini", "-f", &path, &deployment],
        &["serve", "--check", "--log-config", &log_ini, &path],
        &["serve", "--check", &deployment],
    ] {
        let output = run(arguments);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}{}", text(&output.stderr));
    }
}
