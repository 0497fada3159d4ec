//! A program that logs as its log.ini says. One test, since a program has one log.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread;

use mapproxy_logging::{Logging, LoggingError, Setup};

const LOG_INI: &str = r#"
[loggers]
keys = root, requests

[handlers]
keys = file, requests, lost

[formatters]
keys = long

[logger_root]
level = INFO
handlers = file, lost

[logger_requests]
qualname = mapproxy.source.request
level = DEBUG
handlers = requests
propagate = 0

[handler_file]
class = FileHandler
formatter = long
args = (r"%(here)s/mapproxy.log", "a")

[handler_requests]
class = handlers.RotatingFileHandler
args = (r"%(here)s/requests.log",)
kwargs = {'maxBytes': 10 * 1000, 'backupCount': 2}

[handler_lost]
class = FileHandler
args = ("/dev/full",)

[formatter_long]
format = %(levelname)s %(name)s %(filename)s [%(threadName)s] %(message)s
"#;

#[test]
fn lines_reach_their_files_and_files_moved_away_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    fs::write(path("log.ini"), LOG_INI.replace("%(here)s/m", "%(here)s/none/m")).unwrap();
    let error = Logging::from_file(path("log.ini")).unwrap_err().to_string();
    assert!(error.contains("log.ini:21: cannot open ") && error.contains("none/mapproxy.log"), "{error}");

    fs::write(path("log.ini"), LOG_INI).unwrap();
    let logging = Logging::from_file(path("log.ini")).unwrap();
    assert!(matches!(Setup::new().start(), Err(LoggingError::Taken)));

    log::info!(target: "mapproxy.config", "one");
    log::debug!(target: "mapproxy.config", "too fine");
    log::warn!("two");
    log::debug!(target: "mapproxy.source.request", "GET http://a 200 12.3 45");
    logging.flush();
    assert_eq!(
        read("mapproxy.log"),
        "INFO mapproxy.config log_file.rs [lines_reach_their_files_and_files_moved_away_are_replaced] one\n\
         WARNING log_file log_file.rs [lines_reach_their_files_and_files_moved_away_are_replaced] two\n"
    );
    assert_eq!(read("requests.log"), "GET http://a 200 12.3 45\n");

    fs::rename(path("mapproxy.log"), path("mapproxy.log.1")).unwrap();
    logging.reopen();
    // Many threads at once lose no line, neither at the rotation nor at the end.
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for line in 0..500 {
                    log::error!(target: "mapproxy.system", "{thread} {line}");
                }
            });
        }
    });
    drop(logging);
    assert_eq!(read("mapproxy.log").lines().count(), 4000);
    assert_eq!(read("mapproxy.log.1").lines().count(), 2);
}
