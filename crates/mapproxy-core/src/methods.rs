//! The methods of HTTP (RFC 9110, 9.3): which there are, and what comes with them.
//!
//! Everything is asked for by GET. HEAD is GET whose body servers hold back. POST is for parameters too long for an
//! address: a form, as WMS clients send it, whose parameters come behind those of the address. OPTIONS says so, and
//! answers the question of a browser whether a page of another origin may ask (Fetch standard, 3.2).

use std::borrow::Cow;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use crate::response::{forbid_caching, plain};
use crate::services::ows_exception;
use crate::{Body, Request, Response};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS, POST");
/// Longer forms are refused.
const MAX_FORM: usize = 1 << 20;
/// For how many seconds browsers may remember that a page may ask.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Whether the method is one for which an answer may be at hand.
pub(crate) fn is_get(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The answer to a request that asks for nothing the services have; `None` for all others.
pub(crate) fn answer(request: &Request, shares_with_pages: bool) -> Option<Response> {
    match *request.method() {
        Method::GET | Method::HEAD => None,
        Method::POST => refuse_body(request),
        Method::OPTIONS => Some(options(request, shares_with_pages)),
        _ => {
            let mut response = forbid_caching(plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
            response.headers_mut().insert(ALLOW, METHODS);
            Some(response)
        }
    }
}

/// The query of a request: what stands in the address, and behind it the form.
pub(crate) fn query(request: &Request) -> Cow<'_, str> {
    let sent = request.uri().query().unwrap_or("");
    if *request.method() != Method::POST || request.body().is_empty() || !is_form(request) {
        return Cow::Borrowed(sent);
    }
    let form = String::from_utf8_lossy(request.body());
    let form = form.trim_end_matches(['\r', '\n']);
    if sent.is_empty() { Cow::Owned(form.to_owned()) } else { Cow::Owned(format!("{sent}&{form}")) }
}

fn is_form(request: &Request) -> bool {
    media_type(request).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

fn media_type(request: &Request) -> &[u8] {
    let value = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}

/// A body that holds a request in a language we do not speak, or too many parameters. All others mean nothing and are
/// ignored, as MapProxy ignores them.
fn refuse_body(request: &Request) -> Option<Response> {
    if request.body().is_empty() {
        return None;
    }
    if media_type(request).to_ascii_lowercase().ends_with(b"xml") {
        let text =
            "requests are taken from the address, or from a form (application/x-www-form-urlencoded), not from XML";
        let mut response = ows_exception("OperationNotSupported", None, text);
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Some(forbid_caching(response));
    }
    (is_form(request) && request.body().len() > MAX_FORM).then(|| {
        let text = format!("forms of more than {} KiB are not taken", MAX_FORM >> 10);
        forbid_caching(plain(StatusCode::PAYLOAD_TOO_LARGE, text))
    })
}

fn options(request: &Request, shares_with_pages: bool) -> Response {
    let mut response = Response::new(Body::EMPTY);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    let asked = request.headers();
    if shares_with_pages && asked.contains_key(ORIGIN) && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            // `*` would leave out `Authorization`.
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn post(uri: &str, content_type: Option<&str>, body: impl Into<Bytes>) -> Request {
        let mut request = http::Request::post(uri);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(body.into()).unwrap()
    }

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=UTF-8");

    #[test]
    fn the_parameters_of_a_form_come_behind_those_of_the_address() {
        assert_eq!(query(&post("/service?a=1", FORM, "b=2&a=3")), "a=1&b=2&a=3");
        assert_eq!(query(&post("/service", FORM, "b=2\r\n")), "b=2");
        assert_eq!(query(&post("/service?a=1", None, "b=2")), "a=1");
        assert_eq!(query(&post("/service?a=1", FORM, "")), "a=1");
        assert_eq!(query(&post("/service", FORM, &b"b=\xff"[..])), "b=\u{fffd}");
    }

    #[test]
    fn bodies_in_another_language_or_too_long_are_refused() {
        let status = |request: &Request| answer(request, true).map(|response| response.status());
        assert_eq!(status(&post("/service", FORM, "a=1")), None);
        assert_eq!(status(&post("/service", None, "whatever")), None);
        assert_eq!(status(&post("/service", Some("application/octet-stream"), vec![0; 2 * MAX_FORM])), None);
        assert_eq!(status(&post("/service", Some("text/xml"), "")), None);
        let xml = post("/service", Some("text/xml"), "<GetCapabilities/>");
        assert_eq!(status(&xml), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert!(
            String::from_utf8_lossy(answer(&xml, true).unwrap().body().as_bytes()).contains("<ows:ExceptionReport")
        );
        assert_eq!(status(&post("/service", FORM, vec![b'a'; MAX_FORM])), None);
        assert_eq!(status(&post("/service", FORM, vec![b'a'; MAX_FORM + 1])), Some(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[test]
    fn options_tells_pages_of_other_origins_whether_they_may_ask() {
        let request = http::Request::options("/service")
            .header(ORIGIN, "https://a.example")
            .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization, x-api-key");
        let request = request.body(Bytes::new()).unwrap();
        let shared = answer(&request, true).unwrap();
        assert_eq!(shared.status(), StatusCode::NO_CONTENT);
        assert_eq!(shared.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, x-api-key");
        assert_eq!(shared.headers()[ALLOW], "GET, HEAD, OPTIONS, POST");
        let own = answer(&request, false).unwrap();
        assert!(!own.headers().contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    }

    #[test]
    fn what_changes_things_is_not_allowed() {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
            let request = http::Request::builder().method(method).uri("/service").body(Bytes::new()).unwrap();
            let response = answer(&request, true).unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert_eq!(response.headers()[ALLOW], "GET, HEAD, OPTIONS, POST");
        }
    }
}
