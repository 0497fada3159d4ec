//! One thing that was logged, with all that a line may say about it.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use jiff::Zoned;
use log::{Level, Record};

/// Python's number of a level; what is finer than its DEBUG is 5 here.
pub(crate) fn number(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}

/// Python's name of a level.
pub(crate) fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// What was logged, when, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) time: Zoned,
    /// Milliseconds since the program began to log.
    pub(crate) age: f64,
    pub(crate) level: Level,
    /// With dots.
    pub(crate) logger: String,
    pub(crate) message: String,
    pub(crate) path: &'static str,
    pub(crate) line: u32,
    pub(crate) process: u32,
    pub(crate) thread: u64,
    pub(crate) thread_name: String,
}

impl Event {
    /// The record as it happens, on the calling thread.
    pub(crate) fn now(record: &Record<'_>) -> Event {
        let thread = std::thread::current();
        let number = thread_number(&thread);
        let thread_name = match thread.name() {
            // As Python calls it.
            Some("main") => "MainThread".to_owned(),
            Some(name) => name.to_owned(),
            None => format!("Thread-{number}"),
        };
        Event {
            time: Zoned::now(),
            age: beginning().elapsed().as_secs_f64() * 1000.0,
            level: record.level(),
            logger: dotted(record.target()),
            message: harmless(record.args().to_string()),
            path: record.file_static().unwrap_or("(unknown file)"),
            line: record.line().unwrap_or(0),
            process: std::process::id(),
            thread: number,
            thread_name,
        }
    }

    /// The last part of the path.
    pub(crate) fn file_name(&self) -> &'static str {
        Path::new(self.path).file_name().and_then(|name| name.to_str()).unwrap_or(self.path)
    }

    /// The file without its extension.
    pub(crate) fn module(&self) -> &'static str {
        let name = self.file_name();
        name.strip_suffix(".rs").unwrap_or(name)
    }
}

/// The message without what a terminal would obey: messages quote clients and upstream servers.
pub(crate) fn harmless(message: String) -> String {
    let is_command = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !message.contains(is_command) {
        return message;
    }
    let mut text = String::with_capacity(message.len() + 8);
    for character in message.chars() {
        match is_command(character) {
            true => {
                let _ = write!(text, "\\x{:02x}", u32::from(character));
            }
            false => text.push(character),
        }
    }
    text
}

/// The moment the program began to log: the first call.
pub(crate) fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// Code that names no target gets its module's path, which reads like one.
pub(crate) fn dotted(target: &str) -> String {
    target.replace("::", ".")
}

fn thread_number(thread: &std::thread::Thread) -> u64 {
    // The number is told nowhere else yet.
    let text = format!("{:?}", thread.id());
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(')');
    digits.parse().unwrap_or(0)
}
