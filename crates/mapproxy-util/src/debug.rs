//! What went wrong, in the browser: for development only, since it shows the program's insides to anybody.

use std::backtrace::Backtrace;
use std::fmt::Write;
use std::panic;
use std::sync::Arc;

use askama::Template;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::{HeaderValue, StatusCode};
use mapproxy_core::trace::{self, Place, Tiles, Trace};
use mapproxy_core::{Application, Body, Request, Response};

/// Shows the errors behind an answer of status 500: to browsers as a page, to others as text where the answer has none
/// of its own.
#[derive(Debug)]
pub(crate) struct ShowErrors<A> {
    app: A,
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
    headline: String,
    failures: Vec<Failure>,
    request: String,
    calls: Vec<Call>,
    tiles: Tiles,
}

struct Failure {
    places: String,
    chain: Vec<String>,
}

struct Call {
    places: String,
    method: &'static str,
    url: String,
    status: String,
    bytes: String,
    milliseconds: u128,
}

impl<A: Application> ShowErrors<A> {
    /// From here on panics of all threads are noted for their request before they go to standard error as ever.
    pub(crate) fn new(app: A) -> ShowErrors<A> {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            trace::fail(format_args!("{info}\n\n{}", Backtrace::force_capture()));
            print(info);
        }));
        ShowErrors { app }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for ShowErrors<A> {
    fn call(&self, request: Request) -> Response {
        let described = describe(&request);
        let accepts_pages = request
            .headers()
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        let mut response = self.app.call(request);
        if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
            return response;
        }
        let Some(trace) = response.extensions().get::<Arc<Trace>>().cloned() else { return response };
        if trace.failures().is_empty() {
            return response;
        }
        let is_unhandled = response.body().as_bytes() == b"internal error";
        let (body, content_type) = match (accepts_pages, is_unhandled) {
            (true, _) => match page(described, &trace).render() {
                Ok(page) => (page, "text/html; charset=utf-8"),
                Err(_) => return response,
            },
            (false, true) => (text(&described, &trace), "text/plain; charset=utf-8"),
            (false, false) => return response,
        };
        *response.body_mut() = Body::from(body);
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.app.call_now(request)
    }
}

/// The request without what is secret in it.
fn describe(request: &Request) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let value = match name {
            name if *name == AUTHORIZATION || *name == COOKIE => "(not shown)".into(),
            _ => String::from_utf8_lossy(value.as_bytes()),
        };
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}

fn page(request: String, trace: &Trace) -> Page {
    let failures: Vec<Failure> = trace
        .failures()
        .into_iter()
        .map(|failure| Failure { places: joined(&failure.places), chain: failure.chain })
        .collect();
    let headline = failures.last().and_then(|failure| failure.chain.first()).and_then(|error| error.lines().next());
    Page {
        headline: headline.unwrap_or("internal error").to_owned(),
        failures,
        request,
        calls: trace
            .calls()
            .into_iter()
            .map(|call| Call {
                places: joined(&call.places),
                method: call.method,
                url: call.url,
                status: call.status.map_or("-".to_owned(), |status| status.to_string()),
                bytes: call.bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
                milliseconds: call.duration.as_millis(),
            })
            .collect(),
        tiles: trace.tiles(),
    }
}

fn text(request: &str, trace: &Trace) -> String {
    let mut text = request.to_owned();
    for failure in trace.failures() {
        let _ = write!(text, "\n{failure}\n");
    }
    for call in trace.calls() {
        let status = call.status.map_or("-".to_owned(), |status| status.to_string());
        let _ = write!(text, "\n{} {} {status} {} ms", call.method, call.url, call.duration.as_millis());
    }
    text
}

fn joined(places: &[Place]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    /// Fails as the application does: what panics is answered with `internal error`, and the trace goes along.
    struct Fallible;

    impl Application for Fallible {
        fn call(&self, request: Request) -> Response {
            let path = request.uri().path().to_owned();
            let (answer, trace) = trace::collect(|| {
                let _layer = trace::within(|| Place::Layer("roads".into()));
                if path == "/broken" {
                    trace::call(|| trace::Call {
                        places: Vec::new(),
                        method: "GET",
                        url: "http://up.example/?a=<b>".to_owned(),
                        status: Some(404),
                        bytes: None,
                        duration: Duration::from_millis(7),
                    });
                }
                catch_unwind(|| assert_ne!(path, "/broken", "the grid has no <levels>"))
            });
            let mut response = Response::new(Body::from("internal error"));
            if answer.is_err() || path == "/error" {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response.extensions_mut().insert(trace);
            response
        }
    }

    fn body(app: &impl Application, path: &str, accept: &str) -> String {
        let request = http::Request::get(path).header("accept", accept).header("authorization", "Basic c2VjcmV0");
        let response = app.call(request.body(Bytes::new()).unwrap());
        String::from_utf8(response.body().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn only_unhandled_errors_are_shown_with_place_backtrace_and_upstream_requests() {
        let app = ShowErrors::new(Fallible);
        let page = body(&app, "/broken?a=b", "text/html,*/*");
        for part in [
            "GET /broken?a=b",
            "authorization: (not shown)",
            "in layer roads",
            "the grid has no &#60;levels&#62;",
            "debug.rs:",
            "http://up.example/?a=&#60;b&#62;",
            "<td>404</td>",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        let text = body(&app, "/broken", "image/png");
        assert!(text.starts_with("GET /broken\n") && text.contains("GET http://up.example/?a=<b> 404 7 ms"), "{text}");
        // An error that was handled says itself what it is.
        assert_eq!(body(&app, "/error", "text/html"), "internal error");
        assert_eq!(body(&app, "/fine", "text/html"), "internal error");
    }
}
