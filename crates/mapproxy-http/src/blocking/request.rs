//! Reading requests of HTTP/1 from bytes that come in pieces.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

/// Headers of a request at most.
const MAX_HEADERS: usize = 100;

/// What a request says before its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) body: Length,
    /// Whether the client wants to send another request on the same connection.
    pub(super) keeps_alive: bool,
    /// Whether the client waits to be asked for the body.
    pub(super) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

/// Why a request is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

const fn bad(message: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message)
}

impl Head {
    /// The head that `input` begins with, and its length; `None` if it is not there completely.
    pub(super) fn parse(input: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers"));
            }
            Err(_) => return Err(bad("this is no request of HTTP/1")),
        };
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
        let uri = parsed.path.unwrap_or_default().parse::<Uri>();
        let (Ok(method), Ok(uri)) = (method, uri) else { return Err(bad("this is no request of HTTP/1")) };
        if method == Method::CONNECT {
            return Err(Refusal(StatusCode::NOT_IMPLEMENTED, "tunnels are not supported"));
        }
        let mut request = Request::new(());
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_bytes(header.value);
            let (Ok(name), Ok(value)) = (name, value) else { return Err(bad("a header of the request is invalid")) };
            request.headers_mut().append(name, value);
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let is_new = request.version() == Version::HTTP_11;
        let headers = request.headers();
        let head = Head {
            body: body_length(headers, is_new)?,
            keeps_alive: match is_new {
                true => !has_token(headers, CONNECTION, "close"),
                false => has_token(headers, CONNECTION, "keep-alive"),
            },
            expects_continue: is_new && has_token(headers, EXPECT, "100-continue"),
            request,
        };
        Ok(Some((head, length)))
    }
}

/// Requests whose end two programs could see in different places are refused: they are how requests are smuggled past a
/// server in front.
fn body_length(headers: &HeaderMap, is_new: bool) -> Result<Length, Refusal> {
    const AMBIGUOUS: Refusal = bad("the length of the body is ambiguous");

    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match lengths.next() {
        Some(value) => {
            let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length =
                digits.and_then(|digits| digits.parse().ok()).ok_or(bad("the length of the body is no number"))?;
            Some(length)
        }
        None => None,
    };
    if lengths.next().is_some() {
        return Err(AMBIGUOUS);
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next(), length) {
        (None, _, length) => Ok(Length::Known(length.unwrap_or(0))),
        (Some(encoding), None, None) if is_new && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Length::Chunked)
        }
        (Some(_), None, None) if is_new => {
            Err(Refusal(StatusCode::NOT_IMPLEMENTED, "the body comes in an encoding that is not supported"))
        }
        _ => Err(AMBIGUOUS),
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Puts together a body that comes in chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    body: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Size,
    /// So many bytes of a chunk are to come, and the end of its line.
    Data(usize),
    Trailers,
}

impl Chunks {
    /// Takes from the front of `input` what it understands; the body when it is complete.
    pub(super) fn feed(&mut self, input: &mut Vec<u8>, max: usize) -> Result<Option<Bytes>, Refusal> {
        const BROKEN: Refusal = bad("the body of the request is broken");
        // Sizes with their extensions, and trailers, are of no use here and shall not take memory.
        const MAX_LINE: usize = 8 << 10;

        loop {
            match self.stage {
                Stage::Size => match httparse::parse_chunk_size(input) {
                    Ok(httparse::Status::Complete((length, 0))) => {
                        input.drain(..length);
                        self.stage = Stage::Trailers;
                    }
                    Ok(httparse::Status::Complete((length, size))) => {
                        let size = usize::try_from(size).unwrap_or(usize::MAX);
                        if size > max.saturating_sub(self.body.len()) {
                            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body of the request is too large"));
                        }
                        input.drain(..length);
                        self.stage = Stage::Data(size);
                    }
                    Ok(httparse::Status::Partial) if input.len() < MAX_LINE => return Ok(None),
                    _ => return Err(BROKEN),
                },
                Stage::Data(0) => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.drain(..2);
                        self.stage = Stage::Size;
                    }
                    Some(_) => return Err(BROKEN),
                    None => return Ok(None),
                },
                Stage::Data(_) if input.is_empty() => return Ok(None),
                Stage::Data(left) => {
                    let count = left.min(input.len());
                    self.body.extend(input.drain(..count));
                    self.stage = Stage::Data(left - count);
                }
                Stage::Trailers => {
                    let Some(end) = input.windows(2).position(|window| window == b"\r\n") else {
                        return if input.len() < MAX_LINE { Ok(None) } else { Err(BROKEN) };
                    };
                    input.drain(..end + 2);
                    if end == 0 {
                        return Ok(Some(std::mem::take(&mut self.body).into()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        Head::parse(text.as_bytes()).unwrap_err().0.as_u16()
    }

    #[test]
    fn requests_whose_end_is_in_doubt_are_refused() {
        let with = |headers: &str| format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n");
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Content-Length: +1",
            "Content-Length: 1, 1",
            "Content-Length : 1",
        ] {
            assert_eq!(refused(&with(headers)), 400, "{headers}");
        }
        assert_eq!(refused(&with("Transfer-Encoding: gzip, chunked")), 501);
        assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(refused("CONNECT a:1 HTTP/1.1\r\n\r\n"), 501);
        assert_eq!(refused("\x16\x03\x01"), 400);
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        let keeps = |text: &str| Head::parse(text.as_bytes()).unwrap().unwrap().0.keeps_alive;
        assert!(keeps("GET / HTTP/1.1\r\n\r\n") && !keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nConnection: a, Close\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn chunks_make_a_body_however_they_come() {
        let text = b"4;x=y\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET";
        for step in 1..text.len() {
            let (mut chunks, mut input, mut body) = (Chunks::default(), Vec::new(), None);
            for piece in text.chunks(step) {
                input.extend_from_slice(piece);
                if body.is_none() {
                    body = chunks.feed(&mut input, 100).unwrap();
                }
            }
            assert_eq!(body.unwrap(), "Wikipedia in \r\n\r\nchunks.");
            assert!(b"GET".ends_with(&input) || input.ends_with(b"GET"));
        }
        assert_eq!(Chunks::default().feed(&mut b"ff\r\n".to_vec(), 100).unwrap_err().0.as_u16(), 413);
        assert_eq!(Chunks::default().feed(&mut b"1\r\nabc".to_vec(), 100).unwrap_err().0.as_u16(), 400);
        assert_eq!(Chunks::default().feed(&mut b"x\r\n".to_vec(), 100).unwrap_err().0.as_u16(), 400);
    }
}
