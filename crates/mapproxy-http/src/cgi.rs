//! One request from the environment and standard input, its answer to standard output: CGI (RFC 3875).
//!
//! Every request starts the program anew, configuration and all. That is for trying out, and for machines where nothing
//! else can be had.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode};
use mapproxy_core::{Application, Response};

use crate::meta_variables::Head;
use crate::refusal::{body_too_large, refusal};

/// Bytes of a body at most.
const MAX_BODY: usize = 10 << 20;

/// Answers the request that a web server has started this process for.
pub fn run(app: &dyn Application) -> io::Result<()> {
    answer(app, std::env::vars_os(), io::stdin().lock(), io::stdout().lock())
}

fn answer(
    app: &dyn Application,
    environment: impl Iterator<Item = (OsString, OsString)>,
    input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let variables: Vec<_> = environment.map(|(name, value)| (bytes(name), bytes(value))).collect();
    let (response, is_head) = respond(app, &variables, input)?;
    let mut head = Vec::new();
    write_head(&response, &mut head);
    output.write_all(&head)?;
    if has_body(&response, is_head) {
        output.write_all(response.body().as_bytes())?;
    }
    output.flush()
}

/// The answer, and whether its body shall be kept back.
fn respond(app: &dyn Application, variables: &[(Vec<u8>, Vec<u8>)], input: impl Read) -> io::Result<(Response, bool)> {
    let head = match Head::read(variables.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))) {
        Ok(head) => head,
        Err(nonsense) => return Ok((refusal(StatusCode::BAD_REQUEST, nonsense.0), false)),
    };
    let length = head.length.unwrap_or(0);
    if length > MAX_BODY as u64 {
        return Ok((body_too_large(MAX_BODY), false));
    }
    // Standard input need not end; only the announced length does.
    let mut body = Vec::new();
    input.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        return Ok((refusal(StatusCode::BAD_REQUEST, "the body of the request is shorter than announced"), false));
    }
    let is_head = head.parts.method == Method::HEAD;
    Ok((app.call(Request::from_parts(head.parts, body.into())), is_head))
}

#[cfg(unix)]
fn bytes(text: OsString) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(text)
}

#[cfg(not(unix))]
fn bytes(text: OsString) -> Vec<u8> {
    text.to_string_lossy().into_owned().into_bytes()
}

/// Status and headers as CGI has them. Those about the connection are left out: it is not ours.
pub(crate) fn write_head(response: &Response, output: &mut Vec<u8>) {
    let status = response.status();
    // Writing to a vector does not fail.
    let _ = write!(output, "Status: {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Unknown"));
    for (name, value) in response.headers() {
        if name != CONNECTION && name != TRANSFER_ENCODING {
            output.extend_from_slice(name.as_str().as_bytes());
            output.extend_from_slice(b": ");
            output.extend_from_slice(value.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
    }
    if may_have_body(status) && !response.headers().contains_key(CONTENT_LENGTH) {
        let _ = write!(output, "content-length: {}\r\n", response.body().len());
    }
    output.extend_from_slice(b"\r\n");
}

/// Whether the body is to be sent.
pub(crate) fn has_body(response: &Response, is_head: bool) -> bool {
    !is_head && may_have_body(response.status())
}

fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use mapproxy_core::Body;

    use super::*;

    struct Echo;

    impl Application for Echo {
        fn call(&self, request: mapproxy_core::Request) -> Response {
            let mut response = Response::new(Body::from(format!("{} {:?}", request.uri(), request.body())));
            if request.uri().path() == "/same" {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            }
            response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
            response
        }
    }

    fn ask(variables: &[(&str, &str)], input: &[u8]) -> String {
        let mut output = Vec::new();
        let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        answer(&Echo, environment, input, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_request_of_the_environment_is_answered() {
        let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/a?b"), ("CONTENT_LENGTH", "3")];
        let expected = "Status: 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\n/a?b b\"abc\"";
        assert_eq!(ask(&variables, b"abcdef"), expected);
        assert!(ask(&variables, b"ab").starts_with("Status: 400 Bad Request\r\n"));
    }

    #[test]
    fn bodies_are_kept_back_where_none_may_be() {
        let head = ask(&[("REQUEST_METHOD", "HEAD"), ("REQUEST_URI", "/a")], b"");
        assert!(head.ends_with("content-length: 6\r\n\r\n"), "{head}");
        let same = ask(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/same")], b"");
        assert_eq!(same, "Status: 304 Not Modified\r\ncontent-type: text/plain\r\n\r\n");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(ask(&[], b"").starts_with("Status: 400 Bad Request\r\n"));
        let large = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "99999999999")];
        assert!(ask(&large, b"").starts_with("Status: 413 Payload Too Large\r\n"));
    }
}
