//! Log lines in the form MapProxy's users know: `[2026-11-22 08:21:38,123] mapproxy.config - INFO - message`.

use std::io::{self, Write};
use std::sync::OnceLock;

use jiff::Zoned;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Where the lines go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

struct Logger {
    output: Output,
    level: LevelFilter,
}

/// Writes what MapProxy says at `level` and above, and the warnings and errors of the libraries it uses.
pub(crate) fn start(output: Output, level: LevelFilter) {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    // Fails only if there is a logger already, which then stays.
    if log::set_logger(LOGGER.get_or_init(|| Logger { output, level })).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let of_ours = metadata.target().starts_with("mapproxy");
        metadata.level() <= if of_ours { self.level } else { self.level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = line(&Zoned::now(), record);
        // A log that cannot be written is no reason to stop.
        let _ = match self.output {
            Output::Stdout => io::stdout().lock().write_all(&line),
            Output::Stderr => io::stderr().lock().write_all(&line),
        };
    }

    fn flush(&self) {
        let _ = io::stdout().lock().flush();
    }
}

fn line(time: &Zoned, record: &Record<'_>) -> Vec<u8> {
    let level = match record.level() {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    };
    // Code that names no target gets its module's path, which reads like one.
    let name = record.target().replace("::", ".");
    let time = time.strftime("%Y-%m-%d %H:%M:%S,%3f");
    format!("[{time}] {name} - {level} - {}\n", record.args()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_time_name_level_and_message() {
        let time = "2026-11-22T08:21:38.1239+01:00[Europe/Berlin]".parse().unwrap();
        let record = |target, level| {
            let args = format_args!("GET http://a 200 12.3 45");
            String::from_utf8(line(&time, &Record::builder().target(target).level(level).args(args).build())).unwrap()
        };
        assert_eq!(
            record("mapproxy.source.request", Level::Info),
            "[2026-11-22 08:21:38,123] mapproxy.source.request - INFO - GET http://a 200 12.3 45\n"
        );
        assert!(record("mapproxy_core::app", Level::Warn).contains("] mapproxy_core.app - WARNING - "));
    }

    #[test]
    fn libraries_are_heard_when_they_warn() {
        let logger = Logger { output: Output::Stdout, level: LevelFilter::Debug };
        let enabled = |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(enabled("mapproxy.config", Level::Debug) && enabled("rustls::client", Level::Warn));
        assert!(!enabled("mapproxy.config", Level::Trace) && !enabled("rustls::client", Level::Info));
    }
}
