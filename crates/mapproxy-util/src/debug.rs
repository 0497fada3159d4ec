//! What went wrong, in the browser: for development only, since it shows the program's insides to anybody.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt::Write;
use std::panic;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use mapproxy_core::{Application, Body, Request, Response};

thread_local! {
    /// The last panic of this thread.
    static REPORT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Shows the unhandled error behind an answer of status 500.
#[derive(Debug)]
pub(crate) struct ShowErrors<A> {
    app: A,
}

impl<A: Application> ShowErrors<A> {
    /// From here on panics of all threads are recorded before they go to standard error as ever.
    pub(crate) fn new(app: A) -> ShowErrors<A> {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let report = format!("{info}\n\n{}", Backtrace::force_capture());
            REPORT.with_borrow_mut(|last| *last = Some(report));
            print(info);
        }));
        ShowErrors { app }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for ShowErrors<A> {
    fn call(&self, request: Request) -> Response {
        REPORT.take();
        let mut text = format!("{} {}\n", request.method(), request.uri());
        let mut response = self.app.call(request);
        if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
            return response;
        }
        if let Some(report) = REPORT.take() {
            let _ = write!(text, "\n{report}");
            *response.body_mut() = Body::from(text);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        response
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.app.call_now(request)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use bytes::Bytes;

    use super::*;

    struct Fallible;

    impl Application for Fallible {
        fn call(&self, request: Request) -> Response {
            let path = request.uri().path().to_owned();
            let answer = catch_unwind(move || assert_ne!(path, "/broken", "the grid has no levels"));
            let mut response = Response::new(Body::from("internal error"));
            if answer.is_err() || request.uri().path() == "/error" {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response
        }
    }

    #[test]
    fn only_an_unhandled_error_is_shown() {
        let app = ShowErrors::new(Fallible);
        let body = |path: &str| {
            let response = app.call(http::Request::get(path).body(Bytes::new()).unwrap());
            String::from_utf8(response.body().as_bytes().to_vec()).unwrap()
        };
        let shown = body("/broken?a=b");
        assert!(shown.starts_with("GET /broken?a=b\n") && shown.contains("the grid has no levels"), "{shown}");
        assert!(shown.contains("debug.rs:"), "no place in {shown}");
        // An error that was handled says itself what it is, and an old report is no part of a new answer.
        assert_eq!(body("/error"), "internal error");
        assert_eq!(body("/fine"), "internal error");
    }
}
