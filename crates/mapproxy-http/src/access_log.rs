//! One line for each answered request, to a file or to standard output.
//!
//! Requests only append to a buffer; a thread of the log writes it out a few times a second, so that a slow disk holds
//! up nobody. Should it stall for long, lines are dropped rather than kept without end, and their number is logged.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::header::{HeaderName, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};
use jiff::Zoned;
use mapproxy_core::request::loggable;
use mapproxy_core::{CacheState, Response};

use crate::remote::Remote;

/// How often lines are written out.
const INTERVAL: Duration = Duration::from_millis(200);
/// Bytes that wait to be written at most.
const MAX_WAITING: usize = 8 << 20;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLogFormat {
    /// The combined format of Apache and nginx, and the state of the cache behind it: `host - - [time] "request" status
    /// bytes "referrer" "user agent" cache`. The last is `hit`, `miss`, `stale`, or `-` where no cache was asked.
    Combined,
    /// A JSON object with `time` (RFC 3339), `remote`, `method`, `uri`, `protocol`, `status`, `bytes`, `duration_ms`,
    /// `cache` (as above, or null), `referer` and `user_agent`.
    Json,
}

/// A log of answered requests; clones write to the same one. The last one dropped writes what is left.
#[derive(Clone, Debug)]
pub struct AccessLog {
    writer: Arc<Writer>,
}

#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    format: AccessLogFormat,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    reopen: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    closing: bool,
}

/// What is known of a request when it has been answered.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    status: u16,
    bytes: usize,
    cache: Option<CacheState>,
}

/// What is known of a request when it comes in.
#[derive(Debug)]
pub(crate) struct Entry {
    remote: Remote,
    method: Method,
    uri: Uri,
    version: Version,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    begun: Instant,
}

impl AccessLog {
    /// Appends to the file at `path`, which is created if missing; `-` is standard output.
    pub fn open(path: impl AsRef<Path>, format: AccessLogFormat) -> io::Result<AccessLog> {
        let path = path.as_ref();
        let target = if path == Path::new("-") { Target::Stdout } else { Target::file(path)? };
        let shared = Arc::new(Shared {
            format,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            reopen: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name("mapproxy-access-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_to(target)
        })?;
        Ok(AccessLog { writer: Arc::new(Writer { shared, thread: Some(thread) }) })
    }

    /// Opens the file anew before the next line, for logs that have been rotated.
    pub fn reopen(&self) {
        self.writer.shared.reopen.store(true, Ordering::Release);
    }

    pub(crate) fn write(&self, entry: &Entry, response: &Response) {
        self.append(
            entry,
            Outcome {
                status: response.status().as_u16(),
                bytes: if entry.method == Method::HEAD { 0 } else { response.body().len() },
                cache: response.extensions().get().copied(),
            },
        );
    }

    fn append(&self, entry: &Entry, outcome: Outcome) {
        let shared = &*self.writer.shared;
        let now = Zoned::now();
        let mut waiting = shared.lock();
        if waiting.lines.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        let first = waiting.lines.is_empty();
        match shared.format {
            AccessLogFormat::Combined => entry.combined(&mut waiting.lines, &now, outcome),
            AccessLogFormat::Json => entry.json(&mut waiting.lines, &now, outcome),
        }
        drop(waiting);
        if first {
            shared.changed.notify_one();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut target: Target) {
        let mut failing = false;
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() && !waiting.closing {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if !waiting.closing {
                // More lines are likely to follow the first; they go out together.
                drop(waiting);
                thread::sleep(INTERVAL);
                waiting = self.lock();
            }
            let closing = waiting.closing;
            let dropped = std::mem::take(&mut waiting.dropped);
            lines.clear();
            std::mem::swap(&mut lines, &mut waiting.lines);
            drop(waiting);
            if dropped > 0 {
                log::warn!(target: "mapproxy.http", "the access log is too slow: {dropped} lines were left out");
            }
            if self.reopen.swap(false, Ordering::AcqRel) {
                target.reopen();
            }
            match target.write(&lines) {
                Err(error) if !failing => {
                    failing = true;
                    log::error!(target: "mapproxy.http", "cannot write the access log{target}: {error}");
                }
                Err(_) => {}
                Ok(()) => failing = false,
            }
            if closing {
                return;
            }
        }
    }
}

/// A page's address, without an API key in it.
fn without_key(address: HeaderValue) -> HeaderValue {
    let shown = match address.to_str().map(loggable) {
        Ok(Cow::Owned(shown)) => HeaderValue::try_from(shown).ok(),
        _ => None,
    };
    shown.unwrap_or(address)
}

enum Target {
    Stdout,
    File(File, PathBuf),
}

impl Target {
    fn file(path: &Path) -> io::Result<Target> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Target::File(file, path.to_owned()))
    }

    fn reopen(&mut self) {
        let Target::File(_, path) = self else { return };
        match Target::file(path) {
            Ok(target) => *self = target,
            Err(error) => log::error!(
                target: "mapproxy.http",
                "cannot open the access log {}, the old file stays in use: {error}",
                path.display()
            ),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Target::File(file, _) => file.write_all(lines),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Stdout => Ok(()),
            Target::File(_, path) => write!(f, " {}", path.display()),
        }
    }
}

impl Entry {
    pub(crate) fn new(remote: Remote, request: &http::request::Parts) -> Entry {
        let header = |name: HeaderName| request.headers.get(name).cloned();
        Entry {
            remote,
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: request.version,
            referer: header(REFERER).map(without_key),
            user_agent: header(USER_AGENT),
            begun: Instant::now(),
        }
    }

    fn combined(&self, line: &mut Vec<u8>, now: &Zoned, outcome: Outcome) {
        let time = now.strftime("%d/%b/%Y:%H:%M:%S %z");
        let _ = write!(line, "{} - - [{time}] \"{} ", self.remote, self.method);
        escape_combined(line, loggable(&self.uri.to_string()).as_bytes());
        let _ = write!(line, " {:?}\" {} {} \"", self.version, outcome.status, outcome.bytes);
        escape_combined(line, self.referer.as_ref().map_or(b"-", HeaderValue::as_bytes));
        line.extend_from_slice(b"\" \"");
        escape_combined(line, self.user_agent.as_ref().map_or(b"-", HeaderValue::as_bytes));
        let _ = match outcome.cache {
            Some(cache) => writeln!(line, "\" {cache}"),
            None => writeln!(line, "\" -"),
        };
    }

    fn json(&self, line: &mut Vec<u8>, now: &Zoned, outcome: Outcome) {
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let duration_ms = (self.begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        let object = serde_json::json!({
            "time": now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
            "remote": self.remote.to_string(),
            "method": self.method.as_str(),
            "uri": loggable(&self.uri.to_string()),
            "protocol": format!("{:?}", self.version),
            "status": outcome.status,
            "bytes": outcome.bytes,
            "duration_ms": duration_ms,
            "cache": outcome.cache.map(|cache| cache.to_string()),
            "referer": text(&self.referer),
            "user_agent": text(&self.user_agent),
        });
        let _ = writeln!(line, "{object}");
    }
}

/// Quotes, backslashes and what is not printable ASCII as `\xHH`, so that no client can write a line of its own.
fn escape_combined(line: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            let _ = write!(line, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let request = http::Request::get("/tms?a=b")
            .header("user-agent", HeaderValue::from_bytes(b"evil\" \xff\"").unwrap())
            .body(())
            .unwrap();
        Entry::new(Remote::Ip("::1".parse().unwrap()), &request.into_parts().0)
    }

    fn outcome(status: u16, bytes: usize) -> Outcome {
        Outcome { status, bytes, cache: None }
    }

    fn time() -> Zoned {
        "2026-11-22T08:21:38.5+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn combined_lines_have_ten_fields_and_cannot_be_forged() {
        let mut line = Vec::new();
        entry().combined(&mut line, &time(), Outcome { cache: Some(CacheState::Hit), ..outcome(200, 17) });
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "::1 - - [22/Nov/2026:08:21:38 +0100] \"GET /tms?a=b HTTP/1.1\" 200 17 \"-\" \"evil\\x22 \\xFF\\x22\" hit\n"
        );
    }

    #[test]
    fn json_lines_are_json() {
        let mut line = Vec::new();
        entry().json(&mut line, &time(), outcome(404, 9));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["time"], "2026-11-22T08:21:38.500+01:00");
        assert_eq!(value["remote"], "::1");
        assert_eq!(value["uri"], "/tms?a=b");
        assert_eq!(value["status"], 404);
        assert_eq!(value["referer"], serde_json::Value::Null);
        assert_eq!(value["cache"], serde_json::Value::Null);
        assert_eq!(value["user_agent"], "evil\" \u{fffd}\"");
        assert!(value["duration_ms"].as_f64().unwrap() >= 0.0);
    }

    #[test]
    fn a_rotated_log_continues_in_the_new_file_after_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, rotated) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let log = AccessLog::open(&path, AccessLogFormat::Combined).unwrap();
        log.append(&entry(), outcome(200, 1));
        while std::fs::metadata(&path).unwrap().len() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen();
        log.append(&entry(), outcome(201, 2));
        log.append(&entry(), outcome(202, 3));
        drop(log);
        assert_eq!(std::fs::read_to_string(&rotated).unwrap().lines().count(), 1);
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(lines.contains("\" 201 2 ") && lines.contains("\" 202 3 "), "{lines}");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_once() {
        assert!(AccessLog::open("/nonexistent/access.log", AccessLogFormat::Json).is_err());
    }
}
