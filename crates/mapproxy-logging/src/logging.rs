//! Starting to log, and the logger that the program's lines come to.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};

use crate::event::{self, Event};
use crate::file_config::FileConfig;
use crate::formatter::Formatter;
use crate::handler::Destination;
use crate::hierarchy::Hierarchy;
use crate::ini::{Ini, IniError, Keys};
use crate::sink::Sink;

/// How long the end of the program may be held up by lines that are still to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The configuration is wrong, or a file that it names cannot be opened.
    #[error(transparent)]
    File(#[from] IniError),
    /// What is logged is chosen by words that are none.
    #[error("RUST_LOG: {0}")]
    Filter(String),
    /// The program has a logger already.
    #[error("the program has a logger already")]
    Taken,
    /// There is no thread for it.
    #[error("no thread for the log: {0}")]
    Thread(io::Error),
}

/// The program's log. Dropping it waits until all lines are written, two seconds at most; the lines that follow are
/// still written as long as the program runs.
#[derive(Debug)]
#[must_use = "dropping it at the end of the program writes what is left"]
pub struct Logging {
    inner: Arc<Inner>,
}

/// Which stream lines go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `[2026-11-22 08:21:38,123] mapproxy.config - INFO - message`
    #[default]
    Text,
    /// A JSON object with `time` (RFC 3339), `level`, `logger` and `message`.
    Json,
}

/// Logging to a stream, without a `log.ini`.
#[derive(Clone, Debug)]
pub struct Setup {
    output: Output,
    format: Format,
    level: Option<LevelFilter>,
    default_level: LevelFilter,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup::new()
    }
}

impl Setup {
    /// Text to standard error: what the environment variable `RUST_LOG` asks for, or else what MapProxy has to say from
    /// INFO up, and what the libraries it uses warn of.
    pub fn new() -> Setup {
        Setup { output: Output::Stderr, format: Format::Text, level: None, default_level: LevelFilter::Info }
    }

    /// Where lines go.
    #[must_use]
    pub fn output(mut self, output: Output) -> Setup {
        self.output = output;
        self
    }

    /// How they look.
    #[must_use]
    pub fn format(mut self, format: Format) -> Setup {
        self.format = format;
        self
    }

    /// What MapProxy says at this level and above, whatever `RUST_LOG` is.
    #[must_use]
    pub fn level(mut self, level: LevelFilter) -> Setup {
        self.level = Some(level);
        self
    }

    /// What MapProxy says where `RUST_LOG` is not set; INFO.
    #[must_use]
    pub fn default_level(mut self, level: LevelFilter) -> Setup {
        self.default_level = level;
        self
    }

    /// Makes it the program's log.
    pub fn start(self) -> Result<Logging, LoggingError> {
        let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.trim().is_empty());
        let filter = match (self.level, asked) {
            (Some(level), _) => plain_filter(level),
            (None, None) => plain_filter(self.default_level),
            (None, Some(asked)) => chosen_filter(&asked)?,
        };
        let destination = match self.output {
            Output::Stdout => Destination::Stdout,
            Output::Stderr => Destination::Stderr,
        };
        let formatter = match self.format {
            Format::Text => Formatter::Plain,
            Format::Json => Formatter::Json,
        };
        let handler = Handler::start(&destination, 0, formatter).map_err(LoggingError::Thread)?;
        Logging::install(Inner { choice: Choice::Filter(filter), handlers: vec![handler] })
    }
}

/// MapProxy from `level` up, and the warnings and errors of libraries.
fn plain_filter(level: LevelFilter) -> Filter {
    let mut builder = env_filter::Builder::new();
    builder.filter_level(level.min(LevelFilter::Warn)).filter_module("mapproxy", level);
    builder.build()
}

fn chosen_filter(asked: &str) -> Result<Filter, LoggingError> {
    let mut builder = env_filter::Builder::new();
    builder.try_parse(asked).map_err(|error| LoggingError::Filter(error.to_string()))?;
    Ok(builder.build())
}

impl Logging {
    /// Logs as the file says, in the format of Python's `logging.config.fileConfig`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Logging, LoggingError> {
        let config = FileConfig::read(&Ini::read(path, Keys::Folded)?)?;
        Logging::from_config(&config)
    }

    /// Logs as configured: opens files, and makes it the program's log.
    pub fn from_config(config: &FileConfig) -> Result<Logging, LoggingError> {
        let handler = |handler: &crate::file_config::Handler| {
            let destination = &handler.destination;
            Handler::start(destination, handler.level, handler.formatter.clone())
                .map_err(|error| config.error(handler.line, format!("cannot open {}: {error}", destination.name())))
        };
        let handlers = config.handlers.iter().map(handler).collect::<Result<_, _>>()?;
        Logging::install(Inner { choice: Choice::Loggers(config.hierarchy.clone()), handlers })
    }

    fn install(inner: Inner) -> Result<Logging, LoggingError> {
        event::beginning();
        let level = inner.max_level();
        let inner = Arc::new(inner);
        let mut ours = None;
        let logger = LOGGER.get_or_init(|| Logger(Arc::clone(ours.insert(inner))));
        let inner = ours.ok_or(LoggingError::Taken)?;
        log::set_logger(logger).map_err(|_| LoggingError::Taken)?;
        log::set_max_level(level);
        Ok(Logging { inner })
    }

    /// Has all files opened anew before the next line: for files that were moved away, as `logrotate` does. Never
    /// waits.
    pub fn reopen(&self) {
        for handler in &self.inner.handlers {
            if let Some(sink) = &handler.sink {
                sink.reopen();
            }
        }
    }

    /// Waits until all lines are written, two seconds at most.
    pub fn flush(&self) {
        self.inner.flush();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Where the program's lines come to; there is one for the whole program.
static LOGGER: OnceLock<Logger> = OnceLock::new();

#[derive(Debug)]
struct Logger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    choice: Choice,
    handlers: Vec<Handler>,
}

/// What is written where.
enum Choice {
    /// The first handler gets what passes.
    Filter(Filter),
    Loggers(Hierarchy),
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Filter(filter) => filter.fmt(f),
            Choice::Loggers(hierarchy) => hierarchy.fmt(f),
        }
    }
}

#[derive(Debug)]
struct Handler {
    level: u8,
    formatter: Formatter,
    /// `None` if it writes nothing.
    sink: Option<Sink>,
}

impl Handler {
    fn start(destination: &Destination, level: u8, formatter: Formatter) -> io::Result<Handler> {
        let sink = destination.open()?.map(|output| Sink::start(destination.name(), output)).transpose()?;
        Ok(Handler { level, formatter, sink })
    }
}

impl Inner {
    fn max_level(&self) -> LevelFilter {
        match &self.choice {
            Choice::Filter(filter) => filter.filter(),
            Choice::Loggers(hierarchy) => hierarchy.max_level(),
        }
    }

    fn flush(&self) {
        let deadline = Instant::now() + LAST_LINES;
        self.handlers.iter().filter_map(|handler| handler.sink.as_ref()).for_each(|sink| sink.flush(deadline));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match &self.0.choice {
            Choice::Filter(filter) => filter.enabled(metadata),
            Choice::Loggers(hierarchy) => {
                let target = metadata.target();
                let level = match target.contains("::") {
                    true => hierarchy.level(&event::dotted(target)),
                    false => hierarchy.level(target),
                };
                event::number(metadata.level()) >= level
            }
        }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match &self.0.choice {
            Choice::Filter(filter) if !filter.matches(record) => {}
            Choice::Filter(_) => self.0.hand_out(&Event::now(record), [0]),
            Choice::Loggers(hierarchy) => {
                let event = Event::now(record);
                self.0.hand_out(&event, hierarchy.handlers(&event.logger));
            }
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

impl Inner {
    fn hand_out(&self, event: &Event, handlers: impl IntoIterator<Item = usize>) {
        for handler in handlers.into_iter().map(|index| &self.handlers[index]) {
            if event::number(event.level) >= handler.level
                && let Some(sink) = &handler.sink
            {
                sink.push(event.level, event.time.timestamp(), |line| handler.formatter.write(event, line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use log::Level;

    use super::*;
    use crate::handler::Destination;

    #[derive(Debug)]
    struct Case {
        name: String,
        ini: String,
        records: Vec<(String, i64, String)>,
        written: Option<String>,
    }

    fn cases() -> Vec<Case> {
        let cases: serde_json::Value = serde_json::from_str(include_str!("../tests/python/expected.json")).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let record = |record: &serde_json::Value| (text(&record[0]), record[1].as_i64().unwrap(), text(&record[2]));
        let case = |case: &serde_json::Value| Case {
            name: text(&case["name"]),
            ini: text(&case["ini"]),
            records: case["records"].as_array().unwrap().iter().map(record).collect(),
            written: case["written"].as_str().map(str::to_owned),
        };
        cases.as_array().unwrap().iter().map(case).collect()
    }

    fn event(logger: &str, level: Level, message: &str) -> Event {
        Event {
            time: Timestamp::from_millisecond(1_795_347_050_302).unwrap().to_zoned(TimeZone::UTC),
            age: 221.5,
            level,
            logger: logger.to_owned(),
            message: message.to_owned(),
            path: "crates/mapproxy-core/src/app.rs",
            line: 14,
            process: 4711,
            thread: 77,
            thread_name: "worker".to_owned(),
        }
    }

    fn config(ini: &str) -> Result<FileConfig, IniError> {
        FileConfig::read(&Ini::parse(ini, Path::new("log.ini"), Keys::Folded)?)
    }

    /// What the handlers on standard output write.
    fn written(config: &FileConfig, records: &[(String, i64, String)]) -> String {
        let mut written = Vec::new();
        for (logger, level, message) in records {
            let level = match level {
                10 => Level::Debug,
                20 => Level::Info,
                30 => Level::Warn,
                _ => Level::Error,
            };
            if event::number(level) < config.hierarchy.level(logger) {
                continue;
            }
            let event = event(logger, level, message);
            for handler in config.hierarchy.handlers(logger).map(|index| &config.handlers[index]) {
                if event::number(level) >= handler.level && handler.destination == Destination::Stdout {
                    handler.formatter.write(&event, &mut written);
                }
            }
        }
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn lines_are_those_that_python_writes_for_the_same_configuration() {
        let mut differing = Vec::new();
        for case in cases() {
            let ours = config(&case.ini).map(|config| written(&config, &case.records));
            if ours.as_ref().ok() != case.written.as_ref() {
                differing.push(format!("{}: {ours:?} instead of {:?}", case.name, case.written));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        let good = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\nhandlers=h\n\
                    [handler_h]\nclass=FileHandler\nargs=('a.log',)\nformatter=f\n[formatter_f]\nformat=%(message)s\n";
        config(good).unwrap();
        for (from, to, expected) in [
            (
                "FileHandler",
                "SMTPHandler",
                "log.ini:11: the handler SMTPHandler is not there; StreamHandler, FileHandler,",
            ),
            ("formatter=f", "formatters=f", "log.ini:13: formatters means nothing in [handler_h]"),
            ("('a.log',)", "('a.log')", "log.ini:12: args must be a tuple; write (\"a.log\",)"),
            ("('a.log',)", "(open('a'),)", "log.ini:12: args: \"open('a'),)\" is not understood"),
            ("('a.log',)", "('a.log', 'x')", "log.ini:12: mode \"x\" is not known"),
            ("('a.log',)", "('a.log', 'a', 'latin-1')", "log.ini:12: encoding \"latin-1\" is not there"),
            ("('a.log',)", "('a','a',None,0,None,5)", "log.ini:12: FileHandler takes 5 values"),
            ("('a.log',)", "()\nkwargs={'file': 'a'}", "log.ini:12: FileHandler takes no \"file\""),
            ("('a.log',)", "()", "log.ini:12: the name of the file is missing"),
            ("level=INFO", "level=LOUD", "log.ini:8: level \"LOUD\" is not known"),
            ("handlers=h", "handlers=g", "log.ini:9: there is no handler \"g\""),
            ("%(message)s", "%(massage)s", "log.ini:15: there is no field \"massage\""),
            ("keys=root", "keys=root, x", "log.ini:2: there is no section [logger_x]"),
            ("%(message)s", "%(asctime)s\ndatefmt=%!", "log.ini:15: datefmt: "),
            (
                "FileHandler\nargs=('a.log',)",
                "handlers.SysLogHandler\nargs=('/dev/log', 'local9')",
                "log.ini:12: there is no facility \"local9\"",
            ),
            (
                "FileHandler\nargs=('a.log',)",
                "handlers.TimedRotatingFileHandler\nargs=('a', 'X')",
                "log.ini:12: when = \"X\" is not known",
            ),
        ] {
            let error = config(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\ninstead of\n{expected}");
        }
    }

    #[test]
    fn each_handler_of_the_list_can_be_configured() {
        let destination = |class: &str, args: &str| {
            let ini = format!(
                "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n\
                 [handler_h]\nclass={class}\nargs={args}\n"
            );
            config(&ini).unwrap().handlers[0].destination.clone()
        };
        let debug = |class: &str, args: &str| format!("{:?}", destination(class, args));
        assert_eq!(destination("NullHandler", "()"), Destination::Null);
        assert_eq!(destination("StreamHandler", "()"), Destination::Stderr);
        assert_eq!(
            debug("handlers.RotatingFileHandler", "(r'%(here)s/a.log', 'a', 5*1024*1024, 3)"),
            format!(
                "Rotating {{ path: \"{}/a.log\", mode: Append, delay: false, max_bytes: 5242880, backups: 3 }}",
                std::env::current_dir().unwrap().display()
            )
        );
        assert_eq!(
            debug("logging.handlers.TimedRotatingFileHandler", "('a', 'midnight', 1, 7)\nkwargs={'utc': True}"),
            "Timed { path: \"a\", delay: false, when: Midnight, interval: 1, backups: 7, utc: true }"
        );
        for (args, expected) in [
            ("()", "Syslog { address: Udp(\"localhost\", 514), facility: 1 }"),
            ("('/dev/log',)", "Syslog { address: Socket(\"/dev/log\"), facility: 1 }"),
            ("(('h', 1514), handlers.SysLogHandler.LOG_LOCAL3)", "Syslog { address: Udp(\"h\", 1514), facility: 19 }"),
            (
                "(('h', handlers.SYSLOG_UDP_PORT), 'daemon', socket.SOCK_STREAM)",
                "Syslog { address: Tcp(\"h\", 514), facility: 3 }",
            ),
        ] {
            assert_eq!(debug("SysLogHandler", args), expected);
        }
    }

    #[test]
    fn plain_lines_have_time_name_level_and_message() {
        let line = |message| {
            let mut line = Vec::new();
            Formatter::Plain.write(&event("mapproxy.source.request", Level::Info, message), &mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            line("GET http://a 200 12.3 45"),
            "[2026-11-22 11:30:50,302] mapproxy.source.request - INFO - GET http://a 200 12.3 45\n"
        );
        // What a client says cannot pass for another line.
        let forged = line("no layer a\n[2026-11-22 11:30:50,302] mapproxy - INFO - all is well");
        assert!(forged.ends_with("- no layer a\n    [2026-11-22 11:30:50,302] mapproxy - INFO - all is well\n"));
    }

    #[test]
    fn json_lines_are_objects_whatever_the_message() {
        let mut line = Vec::new();
        Formatter::Json.write(&event("mapproxy.config", Level::Warn, "a \"b\"\nc"), &mut line);
        let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            object,
            serde_json::json!({
                "time": "2026-11-22T11:30:50.302+00:00",
                "level": "WARNING",
                "logger": "mapproxy.config",
                "message": "a \"b\"\nc",
            })
        );
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn messages_cannot_command_a_terminal() {
        let message = event::harmless("a\x1b[2Jb\tc\nd\u{9b}e".to_owned());
        assert_eq!(message, "a\\x1b[2Jb\tc\nd\\x9be");
    }

    #[test]
    fn libraries_are_heard_when_they_warn_and_rust_log_chooses() {
        let enabled = |filter: &Filter, target: &str, level| {
            filter.enabled(&Metadata::builder().target(target).level(level).build())
        };
        let plain = plain_filter(LevelFilter::Debug);
        assert!(enabled(&plain, "mapproxy.config", Level::Debug) && enabled(&plain, "rustls::client", Level::Warn));
        assert!(!enabled(&plain, "mapproxy.config", Level::Trace) && !enabled(&plain, "rustls::client", Level::Info));
        let chosen = chosen_filter("warn,mapproxy.source.request=info").unwrap();
        assert!(enabled(&chosen, "mapproxy.source.request", Level::Info));
        assert!(!enabled(&chosen, "mapproxy.source.wms", Level::Info));
        assert!(matches!(chosen_filter("mapproxy=loud"), Err(LoggingError::Filter(_))));
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_refused_rather_than_a_panic(
            text in r#"(\[(loggers|handlers|formatters|logger_root|handler_h|formatter_f)\]|keys|class|args|kwargs|format|style|level|handlers|=|root|h|f|StreamHandler|\(|\)|,|'|"|%\(name\)-5s|\{message:|\}|%|\$|\*|-|[0-9a-zé \t\n\\#;:<>^.]){0,40}"#
        ) {
            let ini = format!("[loggers]\nkeys=root\n{text}");
            let _ = config(&ini);
            let _ = crate::literal::evaluate(&text);
            for style in ["%", "{", "$"] {
                if let Ok(formatter) = Formatter::new(&text, Some(text.clone()), style) {
                    formatter.write(&event("a", Level::Info, "b"), &mut Vec::new());
                }
                if let Ok(formatter) = Formatter::new(&text, None, style) {
                    formatter.write(&event("a", Level::Info, "b"), &mut Vec::new());
                }
            }
        }
    }
}
