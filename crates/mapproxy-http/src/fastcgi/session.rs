//! The requests of one FastCGI connection: bytes in, requests out. Knows no sockets and no time, so that tests and
//! fuzzing need none either.

use bytes::{Bytes, BytesMut};

use super::record::{self, EndStatus, Pairs, Record, Violation, kind};
use crate::meta_variables::Head;

/// Requests that one connection may have at once. Web servers have one; the protocol allows for more.
const MAX_REQUESTS: usize = 32;

/// What a session accepts, and what it tells web servers that ask.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's parameters.
    pub max_head: usize,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Requests at once.
    pub max_requests: usize,
}

/// One connection's side of the protocol.
#[derive(Debug)]
pub(crate) struct Session {
    limits: Limits,
    requests: Vec<Request>,
    closing: bool,
}

/// What has come in.
#[derive(Debug)]
pub(crate) enum Event {
    /// A complete request. It is at hand until [`Session::end`].
    Request { id: u16, head: Box<Head>, body: Bytes },
    /// A request that cannot be answered by the application; at hand as well.
    Refused { id: u16, head: Option<Box<Head>>, refusal: Refusal },
    /// Nobody waits for the answer any more; the request is at hand until [`Session::end`] all the same.
    Aborted { id: u16 },
}

/// Why a request is not handed to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    HeadTooLarge,
    BodyTooLarge,
    BodyTooSlow,
    Nonsense(&'static str),
}

#[derive(Debug)]
struct Request {
    id: u16,
    keeps_connection: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Params(Vec<u8>),
    Body {
        head: Box<Head>,
        body: BytesMut,
    },
    /// With the application, or refused; the web server may still be sending its body then.
    Answering {
        all_read: bool,
    },
}

impl Session {
    pub(crate) fn new(limits: Limits) -> Session {
        Session { limits, requests: Vec::new(), closing: false }
    }

    /// Looks at the first record of `input`: the number of bytes that have been dealt with (none where the record is
    /// not complete), and what they mean. What must be said at once is added to `output`.
    pub(crate) fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(usize, Option<Event>), Violation> {
        let Some(record) = Record::first(input)? else { return Ok((0, None)) };
        let event = match record.kind {
            kind::BEGIN_REQUEST => self.begin(&record, output).map(|()| None),
            kind::ABORT_REQUEST => Ok(self.abort(record.id, output)),
            kind::PARAMS => self.params(&record),
            kind::STDIN => self.stdin(&record),
            kind::GET_VALUES if record.id == 0 => Ok(self.values(record.content, output)),
            unknown if record.id == 0 => {
                record::write(output, kind::UNKNOWN_TYPE, 0, &[unknown, 0, 0, 0, 0, 0, 0, 0]);
                Ok(None)
            }
            // Data for a role that is not ours, or something later versions may send.
            _ => Ok(None),
        };
        event.map(|event| (record.length, event))
    }

    /// Says that the request has been answered, or dropped. `false` where that is known already.
    pub(crate) fn end(&mut self, id: u16, status: EndStatus, output: &mut Vec<u8>) -> bool {
        let Some(at) = self.position(id) else { return false };
        let request = self.requests.swap_remove(at);
        record::write_end(output, id, status);
        // Of a request that was refused early, a part may still come in; it is passed over.
        self.closing |= !request.keeps_connection;
        true
    }

    /// Whether the connection shall end when everything is written.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether any request is at hand.
    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether the body of the request, which is at hand, has been read to its end.
    pub(crate) fn has_read_all(&self, id: u16) -> bool {
        self.requests
            .iter()
            .any(|request| request.id == id && matches!(request.stage, Stage::Answering { all_read: true }))
    }

    /// Whether a body is on its way.
    pub(crate) fn awaits_body(&self) -> bool {
        self.requests.iter().any(|request| matches!(request.stage, Stage::Body { .. }))
    }

    /// Gives up on the bodies that are on their way.
    pub(crate) fn refuse_slow_bodies(&mut self) -> Vec<Event> {
        let waiting = self.requests.iter_mut().filter(|request| matches!(request.stage, Stage::Body { .. }));
        waiting.map(|request| request.refuse(Refusal::BodyTooSlow)).collect()
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.requests.iter().position(|request| request.id == id)
    }

    fn request(&mut self, id: u16) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id)
    }

    fn begin(&mut self, record: &Record<'_>, output: &mut Vec<u8>) -> Result<(), Violation> {
        const RESPONDER: u16 = 1;
        const KEEP_CONNECTION: u8 = 1;

        let id = record.id;
        let Some(&[role1, role0, flags, ..]) = record.content.first_chunk::<8>() else {
            return Err(Violation("a request begins with too few bytes"));
        };
        if id == 0 {
            return Err(Violation("a request has the number 0"));
        }
        if self.position(id).is_some() {
            return Err(Violation("a request has the number of another one"));
        }
        let refusal = match u16::from_be_bytes([role1, role0]) {
            RESPONDER if self.requests.len() < MAX_REQUESTS => None,
            RESPONDER => Some(EndStatus::Overloaded),
            _ => Some(EndStatus::UnknownRole),
        };
        let keeps_connection = flags & KEEP_CONNECTION != 0;
        match refusal {
            Some(status) => {
                record::write_end(output, id, status);
                self.closing |= !keeps_connection;
            }
            None => self.requests.push(Request { id, keeps_connection, stage: Stage::Params(Vec::new()) }),
        }
        Ok(())
    }

    fn abort(&mut self, id: u16, output: &mut Vec<u8>) -> Option<Event> {
        match self.request(id)?.stage {
            Stage::Answering { .. } => Some(Event::Aborted { id }),
            _ => {
                self.end(id, EndStatus::Complete, output);
                None
            }
        }
    }

    fn params(&mut self, record: &Record<'_>) -> Result<Option<Event>, Violation> {
        let limits = self.limits;
        let Some(request) = self.request(record.id) else { return Ok(None) };
        let Stage::Params(params) = &mut request.stage else { return Ok(None) };
        if !record.content.is_empty() {
            if params.len() + record.content.len() > limits.max_head {
                return Ok(Some(request.refuse(Refusal::HeadTooLarge)));
            }
            params.extend_from_slice(record.content);
            return Ok(None);
        }
        let pairs: Vec<_> = Pairs(params).collect::<Result<_, _>>()?;
        match Head::read(pairs) {
            Ok(head) => {
                let is_too_large = head.length.is_some_and(|length| length > limits.max_body as u64);
                request.stage = Stage::Body { head: Box::new(head), body: BytesMut::new() };
                Ok(is_too_large.then(|| request.refuse(Refusal::BodyTooLarge)))
            }
            Err(nonsense) => Ok(Some(request.refuse(Refusal::Nonsense(nonsense.0)))),
        }
    }

    fn stdin(&mut self, record: &Record<'_>) -> Result<Option<Event>, Violation> {
        let max_body = self.limits.max_body;
        let Some(request) = self.request(record.id) else { return Ok(None) };
        match &mut request.stage {
            Stage::Params(_) => Err(Violation("a body comes before the end of the parameters")),
            Stage::Answering { all_read } => {
                *all_read |= record.content.is_empty();
                Ok(None)
            }
            Stage::Body { body, .. } if !record.content.is_empty() => {
                if body.len() + record.content.len() > max_body {
                    return Ok(Some(request.refuse(Refusal::BodyTooLarge)));
                }
                body.extend_from_slice(record.content);
                Ok(None)
            }
            Stage::Body { head, body } if head.length.is_some_and(|length| length > body.len() as u64) => {
                let event = request.refuse(Refusal::Nonsense("the body of the request is shorter than announced"));
                request.stage = Stage::Answering { all_read: true };
                Ok(Some(event))
            }
            Stage::Body { .. } => {
                let answering = Stage::Answering { all_read: true };
                let Stage::Body { head, body } = std::mem::replace(&mut request.stage, answering) else {
                    return Ok(None);
                };
                Ok(Some(Event::Request { id: record.id, head, body: body.freeze() }))
            }
        }
    }

    /// Answers what the web server wants to know of us. It always gets the same answer to the same question, and each
    /// value once.
    fn values(&self, content: &[u8], output: &mut Vec<u8>) -> Option<Event> {
        let values: [(&[u8], usize); 3] = [
            (b"FCGI_MAX_CONNS", self.limits.max_connections),
            (b"FCGI_MAX_REQS", self.limits.max_requests),
            (b"FCGI_MPXS_CONNS", 1),
        ];
        let mut result = Vec::new();
        for (name, value) in values {
            if Pairs(content).flatten().any(|(wanted, _)| wanted == name) {
                let value = value.to_string();
                // Both are far shorter than the 127 bytes that one byte of length can tell.
                result.extend([name.len() as u8, value.len() as u8]);
                result.extend_from_slice(name);
                result.extend_from_slice(value.as_bytes());
            }
        }
        record::write(output, kind::GET_VALUES_RESULT, 0, &result);
        None
    }
}

impl Request {
    fn refuse(&mut self, refusal: Refusal) -> Event {
        let head = match std::mem::replace(&mut self.stage, Stage::Answering { all_read: false }) {
            Stage::Body { head, .. } => Some(head),
            Stage::Params(_) | Stage::Answering { .. } => None,
        };
        Event::Refused { id: self.id, head, refusal }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fastcgi::record::write;

    const LIMITS: Limits = Limits { max_head: 1000, max_body: 100, max_connections: 12, max_requests: 34 };

    fn begin(id: u16, role: u8, flags: u8) -> Vec<u8> {
        record(kind::BEGIN_REQUEST, id, &[0, role, flags, 0, 0, 0, 0, 0])
    }

    fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, kind, id, content);
        bytes
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in pairs {
            bytes.extend([name.len() as u8, value.len() as u8]);
            bytes.extend(name.bytes().chain(value.bytes()));
        }
        bytes
    }

    fn params(id: u16, variables: &[(&str, &str)]) -> Vec<u8> {
        [record(kind::PARAMS, id, &pairs(variables)), record(kind::PARAMS, id, &[])].concat()
    }

    /// A complete request with a body.
    fn request(id: u16, path: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = begin(id, 1, 1);
        bytes.extend(params(id, &[("REQUEST_METHOD", "GET"), ("REQUEST_URI", path)]));
        if !body.is_empty() {
            bytes.extend(record(kind::STDIN, id, body));
        }
        bytes.extend(record(kind::STDIN, id, &[]));
        bytes
    }

    /// Events in short, and what was said at once.
    fn feed(session: &mut Session, chunks: &[&[u8]]) -> Result<(Vec<String>, Vec<u8>), Violation> {
        let (mut input, mut output, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in chunks {
            input.extend_from_slice(chunk);
            loop {
                let (consumed, event) = session.receive(&input, &mut output)?;
                if consumed == 0 {
                    break;
                }
                input.drain(..consumed);
                events.extend(event.map(|event| match event {
                    Event::Request { id, head, body } => format!("{id} {} {body:?}", head.parts.uri),
                    Event::Refused { id, refusal, .. } => format!("{id} {refusal:?}"),
                    Event::Aborted { id } => format!("{id} aborted"),
                }));
            }
        }
        Ok((events, output))
    }

    fn events(bytes: &[u8]) -> Result<(Vec<String>, Vec<u8>), Violation> {
        feed(&mut Session::new(LIMITS), &[bytes])
    }

    fn ended(id: u16, status: u8) -> Vec<u8> {
        record(kind::END_REQUEST, id, &[0, 0, 0, 0, status, 0, 0, 0])
    }

    #[test]
    fn requests_may_be_interleaved() {
        let (one, two) = (request(1, "/one", b"1"), request(2, "/two", b"2"));
        let mut bytes = Vec::new();
        let (mut one, mut two) = (records(&one).into_iter(), records(&two).into_iter());
        while let (Some(one), Some(two)) = (one.next(), two.next()) {
            bytes.extend(two);
            bytes.extend(one);
        }
        assert_eq!(events(&bytes).unwrap().0, ["2 /two b\"2\"", "1 /one b\"1\""]);
    }

    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while let Some(record) = Record::first(bytes).unwrap() {
            records.push(bytes[..record.length].to_vec());
            bytes = &bytes[record.length..];
        }
        records
    }

    #[test]
    fn other_roles_are_unknown() {
        let bytes = [begin(1, 2, 1), params(1, &[("A", "b")]), request(2, "/", b"")].concat();
        assert_eq!(events(&bytes), Ok((vec!["2 / b\"\"".to_owned()], ended(1, 3))));
    }

    #[test]
    fn too_many_requests_on_a_connection_are_refused() {
        let mut session = Session::new(LIMITS);
        let all: Vec<u8> = (1..=33).flat_map(|id| request(id, "/", b"")).collect();
        let (events, output) = feed(&mut session, &[&all]).unwrap();
        assert_eq!((events.len(), output), (32, ended(33, 2)));
        let mut output = Vec::new();
        assert!(session.end(5, EndStatus::Complete, &mut output));
        assert!(!session.end(5, EndStatus::Complete, &mut output));
        assert_eq!(output, ended(5, 0));
        assert_eq!(feed(&mut session, &[&request(5, "/again", b"")]).unwrap().0, ["5 /again b\"\""]);
    }

    #[test]
    fn what_is_too_large_is_refused_and_the_rest_passed_over() {
        let get = ("REQUEST_METHOD", "GET");
        let head = [begin(1, 1, 1), record(kind::PARAMS, 1, &[0; 1001]), record(kind::PARAMS, 1, &[])].concat();
        let announced = [begin(2, 1, 1), params(2, &[get, ("CONTENT_LENGTH", "101")])].concat();
        let sent = [begin(3, 1, 1), params(3, &[get]), record(kind::STDIN, 3, &[0; 101])].concat();
        let rest: Vec<u8> =
            (1..=3).flat_map(|id| [record(kind::STDIN, id, b"more"), record(kind::STDIN, id, b"")].concat()).collect();
        let fits = request(4, "/", &[b'x'; 100]);
        let (events, output) = events(&[head, announced, sent, rest, fits].concat()).unwrap();
        assert_eq!(events[..3], ["1 HeadTooLarge", "2 BodyTooLarge", "3 BodyTooLarge"]);
        assert!(events[3].starts_with("4 / b\"xxx") && events.len() == 4 && output.is_empty());
    }

    #[test]
    fn a_body_shorter_than_announced_is_nonsense_and_a_longer_one_is_not() {
        let with = |length| {
            let variables = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", length)];
            [begin(1, 1, 1), params(1, &variables), record(kind::STDIN, 1, b"abc"), record(kind::STDIN, 1, b"")]
                .concat()
        };
        assert!(events(&with("4")).unwrap().0[0].contains("shorter"));
        assert_eq!(events(&with("2")).unwrap().0, ["1 / b\"abc\""]);
    }

    #[test]
    fn requests_can_be_aborted_at_any_time() {
        let abort = record(kind::ABORT_REQUEST, 1, &[]);
        let early = [begin(1, 1, 1), abort.clone(), request(1, "/again", b""), abort.clone()].concat();
        let expected = vec!["1 /again b\"\"".to_owned(), "1 aborted".to_owned()];
        assert_eq!(events(&early), Ok((expected, ended(1, 0))));
        assert_eq!(events(&abort), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn connections_are_kept_only_if_asked() {
        let mut session = Session::new(LIMITS);
        feed(&mut session, &[&request(1, "/", b"")]).unwrap();
        session.end(1, EndStatus::Complete, &mut Vec::new());
        assert!(!session.is_closing());
        feed(&mut session, &[&begin(2, 1, 0)]).unwrap();
        session.end(2, EndStatus::Complete, &mut Vec::new());
        assert!(session.is_closing());
    }

    #[test]
    fn values_are_told_once_each_and_unknown_ones_left_out() {
        let wanted = pairs(&[
            ("FCGI_MPXS_CONNS", ""),
            ("X", ""),
            ("FCGI_MPXS_CONNS", ""),
            ("FCGI_MAX_CONNS", ""),
            ("FCGI_MAX_REQS", ""),
        ]);
        let (_, output) = events(&record(kind::GET_VALUES, 0, &wanted)).unwrap();
        let told = pairs(&[("FCGI_MAX_CONNS", "12"), ("FCGI_MAX_REQS", "34"), ("FCGI_MPXS_CONNS", "1")]);
        assert_eq!(output, record(kind::GET_VALUES_RESULT, 0, &told));
    }

    #[test]
    fn unknown_records_are_said_to_be_unless_they_belong_to_a_request() {
        let (events, output) =
            events(&[record(77, 0, b"?"), record(77, 1, b"?"), record(8, 1, b"data")].concat()).unwrap();
        assert_eq!((events.len(), output), (0, record(kind::UNKNOWN_TYPE, 0, &[77, 0, 0, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn what_is_no_fastcgi_ends_the_session() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            begin(0, 1, 1),
            [begin(1, 1, 1), begin(1, 1, 1)].concat(),
            record(kind::BEGIN_REQUEST, 1, &[0, 1]),
            [begin(1, 1, 1), record(kind::STDIN, 1, b"early")].concat(),
            [begin(1, 1, 1), record(kind::PARAMS, 1, &[9, 9]), record(kind::PARAMS, 1, &[])].concat(),
        ] {
            assert!(events(&bytes).is_err(), "{bytes:?}");
        }
    }

    fn any_record() -> impl Strategy<Value = Vec<u8>> {
        let content = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            4 => (1u16..4, content.clone()).prop_map(|(id, body)| request(id, "/a", &body)),
            1 => (1u16..4, 0u8..3, 0u8..2).prop_map(|(id, role, flags)| begin(id, role, flags)),
            2 => (0u8..14, 0u16..4, content.clone()).prop_map(|(kind, id, content)| record(kind, id, &content)),
            1 => content,
        ]
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_split_they_mean_the_same(
            records in proptest::collection::vec(any_record(), 0..20),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let bytes = records.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(feed(&mut Session::new(LIMITS), &chunks), events(&bytes));
        }
    }
}
