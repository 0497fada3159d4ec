//! One connection from its first request to its last, on a thread of its own.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, RETRY_AFTER, SERVER, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use mapproxy_core::{Application, Response};

use super::Options;
use super::accept::Stream;
use super::request::{Chunks, Head, Length, Refusal};
use crate::access_log::Entry;
use crate::refusal::{body_too_large, body_too_slow, panicked, refusal};
use crate::remote::Remote;

/// Bodies up to this size are written together with their head.
const SMALL: usize = 32 << 10;

/// What every connection is served with.
pub(super) struct Serving<A> {
    pub(super) app: A,
    pub(super) options: Options,
    pub(super) connections: Arc<Connections>,
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, Arc<Stream>>,
    draining: bool,
}

/// Keeps a connection among the open ones.
pub(super) struct Registered {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(self: &Arc<Self>, stream: &Arc<Stream>) -> Registered {
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, Arc::clone(stream));
        Registered { connections: Arc::clone(self), number }
    }

    fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Lets the connections end after the request at hand; how many there still are when the time is up.
    pub(super) fn drain(&self, limit: Duration) -> usize {
        let mut open = self.lock();
        open.draining = true;
        for stream in open.streams.values() {
            // Whoever waits for a request is woken; answers can still be written.
            stream.shutdown(Shutdown::Read);
        }
        let waited = self.changed.wait_timeout_while(open, limit, |open| !open.streams.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.streams.len()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.lock().streams.remove(&self.number);
        self.connections.changed.notify_all();
    }
}

/// Tells a client that there is no thread for it. What it has sent is not read: it may send for ever.
pub(super) fn refuse(stream: &Stream) {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "too many connections at once");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    let (mut bytes, body) = written(response, Version::HTTP_11, false, false);
    bytes.extend_from_slice(&body);
    let _ = stream.write_all(&bytes, Duration::from_millis(100));
    stream.shutdown(Shutdown::Write);
}

impl<A: Application> Serving<A> {
    pub(super) fn converse(&self, stream: &Stream, remote: Remote) {
        let mut connection = Connection { serving: self, stream, remote, input: Vec::new() };
        // The first request has the time of a head; later ones may be waited for.
        let mut patience = self.options.head_timeout;
        while !self.connections.is_draining() {
            match connection.exchange(patience) {
                Ok(true) => patience = self.options.idle_timeout,
                Ok(false) => break,
                Err(error) => {
                    // Clients that vanish and nonsense sent to the port are no concern of the operator.
                    log::debug!(target: "mapproxy.http", "connection from {remote}: {error}");
                    break;
                }
            }
        }
    }
}

struct Connection<'a, A> {
    serving: &'a Serving<A>,
    stream: &'a Stream,
    remote: Remote,
    /// What has been read and not yet used: the beginning of the next request.
    input: Vec<u8>,
}

impl<A: Application> Connection<'_, A> {
    /// Reads a request and answers it; whether another one may follow.
    fn exchange(&mut self, patience: Duration) -> io::Result<bool> {
        if self.input.is_empty() && !self.fill(Instant::now() + patience)? {
            return Ok(false);
        }
        let head = match self.head()? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(Refusal(status, message)) => {
                self.answer(refusal(status, message), Version::HTTP_11, false, false)?;
                return self.part();
            }
        };
        let Head { request, body, keeps_alive, expects_continue } = head;
        let (version, is_head) = (request.version(), *request.method() == Method::HEAD);
        let (mut parts, ()) = request.into_parts();
        let entry = self.serving.options.access_log.as_ref().map(|_| Entry::new(self.remote, &parts));
        if expects_continue && body != Length::Known(0) && self.input.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", self.serving.options.idle_timeout)?;
        }
        let (response, is_read) = match self.body(body)? {
            Ok(body) => {
                if let Some(peer) = self.remote.peer() {
                    parts.extensions.insert(peer);
                }
                let request = Request::from_parts(parts, body);
                let answer = catch_unwind(AssertUnwindSafe(|| self.serving.app.call(request)));
                let response = answer.unwrap_or_else(|_| {
                    log::error!(target: "mapproxy.http", "a request ended in a panic");
                    panicked()
                });
                (response, true)
            }
            Err(response) => (*response, false),
        };
        if let (Some(log), Some(entry)) = (&self.serving.options.access_log, &entry) {
            log.write(entry, &response);
        }
        let keeps_alive = keeps_alive && is_read && !self.serving.connections.is_draining();
        self.answer(response, version, is_head, keeps_alive)?;
        if is_read { Ok(keeps_alive) } else { self.part() }
    }

    /// Reads on; `false` at the end of the connection.
    fn fill(&mut self, deadline: Instant) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        loop {
            match self.stream.read(&mut bytes, left) {
                Ok(count) => {
                    self.input.extend_from_slice(&bytes[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// First line and headers; `None` where the client leaves in the middle of them.
    fn head(&mut self) -> io::Result<Result<Option<Head>, Refusal>> {
        let Options { max_head, head_timeout, .. } = self.serving.options;
        let deadline = Instant::now() + head_timeout;
        loop {
            match Head::parse(&self.input) {
                Ok(Some((head, length))) if length <= max_head => {
                    self.input.drain(..length);
                    return Ok(Ok(Some(head)));
                }
                Ok(None) if self.input.len() <= max_head => {}
                Ok(_) => {
                    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    return Ok(Err(Refusal(status, "the head of the request is too large")));
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
            if !self.fill(deadline)? {
                return Ok(Ok(None));
            }
        }
    }

    /// The body, or what to say where there is none to be had.
    fn body(&mut self, length: Length) -> io::Result<Result<Bytes, Box<Response>>> {
        let Options { max_body, body_timeout, .. } = self.serving.options;
        let deadline = Instant::now() + body_timeout;
        let mut chunks = Chunks::default();
        loop {
            match length {
                Length::Known(length) if length > max_body as u64 => {
                    return Ok(Err(Box::new(body_too_large(max_body))));
                }
                Length::Known(length) if self.input.len() as u64 >= length => {
                    // It is no longer than the input, which has a length of this type.
                    let rest = self.input.split_off(length as usize);
                    return Ok(Ok(std::mem::replace(&mut self.input, rest).into()));
                }
                Length::Known(_) => {}
                Length::Chunked => match chunks.feed(&mut self.input, max_body) {
                    Ok(Some(body)) => return Ok(Ok(body)),
                    Ok(None) => {}
                    Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, _)) => {
                        return Ok(Err(Box::new(body_too_large(max_body))));
                    }
                    Err(Refusal(status, message)) => return Ok(Err(Box::new(refusal(status, message)))),
                },
            }
            match self.fill(deadline) {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Err(Box::new(body_too_slow()))),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&self, response: Response, version: Version, is_head: bool, keeps_alive: bool) -> io::Result<()> {
        let (mut head, body) = written(response, version, is_head, keeps_alive);
        let limit = self.serving.options.idle_timeout;
        if body.len() <= SMALL {
            head.extend_from_slice(&body);
            return self.stream.write_all(&head, limit);
        }
        self.stream.write_all(&head, limit)?;
        self.stream.write_all(&body, limit)
    }

    /// Ends a connection whose client may still be sending: what it sends is read for a while, or closing the
    /// connection would take the answer away from it.
    fn part(&mut self) -> io::Result<bool> {
        self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + self.serving.options.head_timeout;
        loop {
            self.input.clear();
            if !self.fill(deadline)? {
                return Ok(false);
            }
        }
    }
}

/// Head and body of an answer.
fn written(response: Response, version: Version, is_head: bool, keeps_alive: bool) -> (Vec<u8>, Bytes) {
    let status = response.status();
    let may_have_body =
        !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    let mut head = Vec::with_capacity(512);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
        head.extend_from_slice(b"\r\n");
    };
    let reason = status.canonical_reason().unwrap_or("Unknown");
    line(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes()]);
    for (name, value) in response.headers() {
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, DATE, SERVER].contains(name) {
            line(&[name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
    }
    line(&[b"server: MapProxy"]);
    line(&[b"date: ", httpdate::fmt_http_date(SystemTime::now()).as_bytes()]);
    if may_have_body {
        line(&[b"content-length: ", response.body().len().to_string().as_bytes()]);
    }
    match (keeps_alive, version) {
        (false, _) => line(&[b"connection: close"]),
        (true, Version::HTTP_10) => line(&[b"connection: keep-alive"]),
        (true, _) => {}
    }
    line(&[]);
    let body = if may_have_body && !is_head { response.into_body().into_bytes() } else { Bytes::new() };
    (head, body)
}
