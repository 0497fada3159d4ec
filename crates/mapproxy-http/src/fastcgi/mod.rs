//! FastCGI, the responder's side: what web servers speak with application servers.
//!
//! `record` reads and writes the records, `session` makes requests of them, `conversation` answers these on one
//! connection. Requests on one connection may overlap. Where no worker can take a request, the client gets the answer
//! that HTTP has for this (503 with `Retry-After`) and the web server the one that FastCGI has (`FCGI_OVERLOADED`).

mod conversation;
mod output;
mod record;
mod session;

pub(crate) use conversation::converse;
pub use record::Violation;
pub use session::Limits;
pub(crate) use session::Session;

/// Gives bytes to the parser, in two pieces, as if from a web server: the number of requests, and what is said at once.
/// For fuzzing.
#[doc(hidden)]
pub fn parse(bytes: &[u8], cut: usize, limits: Limits) -> Result<(usize, Vec<u8>), Violation> {
    let mut session = Session::new(limits);
    let (mut requests, mut input, mut output) = (0, Vec::new(), Vec::new());
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    for piece in [first, second] {
        input.extend_from_slice(piece);
        loop {
            let (consumed, event) = session.receive(&input, &mut output)?;
            if consumed == 0 {
                break;
            }
            input.drain(..consumed);
            if let Some(session::Event::Request { id, .. }) = event {
                requests += 1;
                // Every second one is answered at once.
                if requests % 2 == 0 {
                    session.end(id, record::EndStatus::Complete, &mut output);
                }
            }
        }
    }
    Ok((requests, output))
}
