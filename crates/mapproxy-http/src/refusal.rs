//! Answers that the server gives in place of the application.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use mapproxy_core::{Body, Response};

pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// An answer to a request that was not read to its end: the connection cannot be used again.
pub(crate) fn refusal(status: StatusCode, message: impl Into<Bytes>) -> Response {
    let mut response = text(status, message);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

pub(crate) fn body_too_large(limit: usize) -> Response {
    refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body of a request may have {limit} bytes"))
}

pub(crate) fn body_too_slow() -> Response {
    refusal(StatusCode::REQUEST_TIMEOUT, "the body of the request took too long")
}

pub(crate) fn panicked() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}
