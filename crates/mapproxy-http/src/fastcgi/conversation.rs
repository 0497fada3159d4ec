//! One connection of a web server, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use mapproxy_core::{Application, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::output::Output;
use super::record::EndStatus;
use super::session::{Event, Limits, Refusal, Session};
use crate::access_log::{AccessLog, Entry};
use crate::connection::{Order, Watch, WatchedStream};
use crate::meta_variables::Head;
use crate::refusal::{body_too_large, body_too_slow, refusal};
use crate::service::{Overloaded, State};
use crate::{Answer, AppService};

/// Nothing more is read while this many bytes wait to be taken.
const MAX_WAITING: usize = 64 << 10;
/// What is read at once; large bodies come in large pieces.
const READ: usize = 16 << 10;

/// Serves a connection until it ends or shall end.
pub(crate) async fn converse<A: Application + 'static>(
    service: &AppService<A>,
    access_log: Option<&AccessLog>,
    limits: Limits,
    stream: WatchedStream,
    watch: &Arc<Watch>,
) {
    let mut conversation = Conversation {
        service,
        access_log,
        limits,
        watch,
        stream,
        input: BytesMut::new(),
        session: Session::new(limits),
        output: Output::default(),
        answering: Vec::new(),
        body_deadline: None,
        phase: Phase::Talking,
        has_unread_body: false,
        has_answered_last: false,
    };
    if let Err(error) = poll_fn(|context| conversation.poll(context)).await {
        // Web servers that vanish are no concern of the operator.
        log::debug!(target: "mapproxy.http", "FastCGI connection: {error}");
    }
}

struct Conversation<'a, A> {
    service: &'a AppService<A>,
    access_log: Option<&'a AccessLog>,
    limits: Limits,
    watch: &'a Arc<Watch>,
    stream: WatchedStream,
    input: BytesMut,
    session: Session,
    output: Output,
    answering: Vec<Answering>,
    body_deadline: Option<Pin<Box<Sleep>>>,
    phase: Phase,
    /// A request was answered before its body had been read.
    has_unread_body: bool,
    /// An answer was given after the last call.
    has_answered_last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Talking,
    /// Everything has been said; what the web server still sends is thrown away, so that it can read what was said.
    Listening,
}

/// A request that is with the application.
struct Answering {
    id: u16,
    answer: Answer,
    note: Note,
}

/// What must be known of a request when it has been answered.
struct Note {
    is_head: bool,
    entry: Option<Entry>,
}

impl<A: Application + 'static> Conversation<'_, A> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let order = self.watch.poll_order(context);
        if order == Order::Close {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut has_moved = self.take_answers(context);
            has_moved |= self.check_bodies(context);
            has_moved |= self.take_requests()?;
            while self.output.waiting() > 0 {
                match self.output.poll_write(Pin::new(&mut self.stream), context)? {
                    Poll::Ready(_) => has_moved = true,
                    Poll::Pending => break,
                }
            }
            let is_done = self.answering.is_empty() && self.output.waiting() == 0;
            let was_last = order == Order::LastCall && self.has_answered_last && !self.session.has_requests();
            if self.phase == Phase::Talking && (self.session.is_closing() || was_last) && is_done {
                if Pin::new(&mut self.stream).poll_shutdown(context)?.is_pending() {
                    return Poll::Pending;
                }
                if !self.has_unread_body {
                    return Poll::Ready(Ok(()));
                }
                self.phase = Phase::Listening;
            }
            if self.output.waiting() < MAX_WAITING && !has_moved {
                match self.poll_read(context)? {
                    Poll::Ready(0) => return self.poll_end(context),
                    Poll::Ready(_) => has_moved = true,
                    // All that has come in has been dealt with.
                    Poll::Pending if order == Order::Drain && is_done && !self.session.has_requests() => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Pending => {}
                }
            }
            if !has_moved {
                return Poll::Pending;
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.phase == Phase::Listening {
            self.input.clear();
        }
        if self.input.is_empty() && self.input.capacity() > 2 * READ && !self.session.awaits_body() {
            self.input = BytesMut::new();
        }
        let mut bytes = [0; READ];
        let mut buffer = ReadBuf::new(&mut bytes);
        Pin::new(&mut self.stream).poll_read(context, &mut buffer).map_ok(|()| {
            self.input.extend_from_slice(buffer.filled());
            buffer.filled().len()
        })
    }

    /// The web server has closed the connection. Nobody will take what is still in the making.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answering.clear();
        while self.output.waiting() > 0 {
            match self.output.poll_write(Pin::new(&mut self.stream), context)? {
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Deals with the records that have come in; whether there were any.
    fn take_requests(&mut self) -> io::Result<bool> {
        let mut has_moved = false;
        while self.phase == Phase::Talking && !self.session.is_closing() && self.output.waiting() < MAX_WAITING {
            let (consumed, event) = self.session.receive(&self.input, self.output.tail()).map_err(io::Error::other)?;
            if consumed == 0 {
                break;
            }
            has_moved = true;
            self.input.advance(consumed);
            if let Some(event) = event {
                self.take(event);
            }
            if !self.session.has_requests() {
                self.watch.idle();
            } else if self.session.awaits_body() {
                // Bodies have a limit of their own.
                self.watch.busy();
            }
        }
        Ok(has_moved)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Request { id, head, body } => self.ask(id, *head, body),
            Event::Refused { id, head, refusal } => {
                self.has_unread_body |= !self.session.has_read_all(id);
                let note = match head {
                    Some(head) => self.note(&head),
                    None => Note { is_head: false, entry: None },
                };
                self.give(id, self.refuse(refusal), &note);
            }
            Event::Aborted { id } => {
                // The call itself cannot be stopped; one that waits for its turn is not made.
                self.answering.retain(|answering| answering.id != id);
                self.session.end(id, EndStatus::Complete, self.output.tail());
                self.settle();
            }
        }
    }

    fn refuse(&self, reason: Refusal) -> Response {
        match reason {
            Refusal::HeadTooLarge => {
                refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")
            }
            Refusal::BodyTooLarge => body_too_large(self.limits.max_body),
            Refusal::BodyTooSlow => body_too_slow(),
            Refusal::Nonsense(message) => refusal(StatusCode::BAD_REQUEST, message),
        }
    }

    fn note(&self, head: &Head) -> Note {
        Note {
            is_head: head.parts.method == Method::HEAD,
            entry: self.access_log.map(|_| Entry::new(head.remote, &head.parts)),
        }
    }

    fn ask(&mut self, id: u16, head: Head, body: Bytes) {
        let note = self.note(&head);
        self.watch.busy();
        let mut answer = self.service.answer_complete(Request::from_parts(head.parts, body));
        match &mut answer.0 {
            State::Now(response) => {
                let response = response.take().expect("nobody has taken it yet");
                self.give(id, response, &note);
            }
            State::Later(_) => self.answering.push(Answering { id, answer, note }),
        }
    }

    /// Fetches the answers that are ready; whether there were any.
    fn take_answers(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        let mut at = 0;
        while let Some(answering) = self.answering.get_mut(at) {
            match answering.answer.poll_response(context) {
                Poll::Ready(response) => {
                    let Answering { id, note, .. } = self.answering.swap_remove(at);
                    self.give(id, response, &note);
                    has_moved = true;
                }
                Poll::Pending => at += 1,
            }
        }
        has_moved
    }

    fn give(&mut self, id: u16, response: Response, note: &Note) {
        if let (Some(log), Some(entry)) = (self.access_log, &note.entry) {
            log.write(entry, &response);
        }
        self.has_answered_last |= self.watch.answers_last();
        let is_overloaded = response.extensions().get::<Overloaded>().is_some();
        self.output.answer(id, response, note.is_head);
        let status = if is_overloaded { EndStatus::Overloaded } else { EndStatus::Complete };
        self.session.end(id, status, self.output.tail());
        self.settle();
    }

    /// With nothing in the making, the clock runs for the web server again.
    fn settle(&self) {
        if self.answering.is_empty() && !self.session.awaits_body() {
            self.watch.idle();
        }
    }

    /// Gives up on bodies that are too long on their way; whether there were any.
    fn check_bodies(&mut self, context: &mut Context<'_>) -> bool {
        if !self.session.awaits_body() {
            self.body_deadline = None;
            return false;
        }
        let limit = self.service.body_limit();
        let deadline = self.body_deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if deadline.as_mut().poll(context).is_pending() {
            return false;
        }
        for event in self.session.refuse_slow_bodies() {
            self.take(event);
        }
        true
    }
}
