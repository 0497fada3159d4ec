//! The application: one function from requests to answers, for any server.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, VARY};
use http::{HeaderValue, StatusCode};
use mapproxy_trace::{self as trace, Trace};

use crate::auth::Gate;
use crate::documents::Documents;
use crate::methods;
use crate::request::ANYBODY;
use crate::response::{keep_private, plain, respond};
use crate::services::markup::escape;
use crate::{Answered, CacheState, Incoming, Observer, ProxyRules, Request, Response, Service};

/// Answers requests. Servers, middleware and tests speak to this trait only; it knows no runtime and no sockets.
pub trait Application: Send + Sync {
    /// Answers, however long it takes: may wait for upstream servers and locks. To be called on a thread of its own.
    fn call(&self, request: Request) -> Response;

    /// The answer if it can be had at once, as for a cached tile: at most one small file is read. Servers with an
    /// event loop may call this in the loop and hand the request to a worker only where the answer is `None`.
    fn call_now(&self, _request: &Request) -> Option<Response> {
        None
    }
}

impl<A: Application + ?Sized> Application for Arc<A> {
    fn call(&self, request: Request) -> Response {
        (**self).call(request)
    }
    fn call_now(&self, request: &Request) -> Option<Response> {
        (**self).call_now(request)
    }
}

/// The application of one configuration.
#[derive(Debug)]
pub struct App {
    /// By first segment of the path.
    services: HashMap<&'static str, Arc<dyn Service>>,
    allow_origin: Option<HeaderValue>,
    proxies: ProxyRules,
    observer: Option<Arc<dyn Observer>>,
    welcome: Welcome,
    gate: Gate,
    documents: Documents,
}

/// What `/` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcome {
    pub(crate) has_demo: bool,
}

impl App {
    pub(crate) fn new(
        services: HashMap<&'static str, Arc<dyn Service>>,
        allow_origin: Option<HeaderValue>,
        proxies: ProxyRules,
        observer: Option<Arc<dyn Observer>>,
        welcome: Welcome,
        gate: Gate,
        documents: Documents,
    ) -> App {
        App { services, allow_origin, proxies, observer, welcome, gate, documents }
    }

    fn route(&self, request: &Incoming<'_>) -> Response {
        let segment = request.first_segment();
        if segment.is_empty() {
            return self.welcome.page(request);
        }
        let answer = self.services.get(segment).and_then(|service| service.handle(request));
        answer.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "not found"))
    }

    fn observe(&self, begun: Option<Instant>, request: &Incoming<'_>, response: &Response, trace: Option<&Trace>) {
        let (Some(observer), Some(begun)) = (&self.observer, begun) else { return };
        observer.answered(&Answered {
            service: self.services.get_key_value(request.first_segment()).map(|(name, _)| *name),
            status: response.status(),
            bytes: response.body().len(),
            duration: begun.elapsed(),
            cache: response.extensions().get().copied(),
            trace,
        });
    }

    /// Headers that all answers carry.
    fn finish(&self, request: &Incoming<'_>, mut response: Response) -> Response {
        if let Some(origin) = &self.allow_origin {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let is_text = Documents::is_text(kind);
        // Documents name URLs, which depend on how the client came here.
        if kind.starts_with(b"text/") || kind.starts_with(b"application/") {
            let names = "X-Script-Name, X-Forwarded-Host, X-Forwarded-Proto";
            let all = "X-Script-Name, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-Prefix, Forwarded";
            let has_others = ["x-forwarded-prefix", "forwarded"].iter().any(|name| request.headers.contains_key(*name));
            let names = if has_others { all } else { names };
            // Beside what else the service has looked at.
            response.headers_mut().append(VARY, HeaderValue::from_static(names));
        }
        if is_text {
            response = self.documents.finish(request.headers, response);
        }
        if self.gate.is_open() { response } else { keep_private(response) }
    }

    fn answer(&self, request: &Request, rules: &ProxyRules) -> Response {
        let begun = self.observer.as_ref().map(|_| Instant::now());
        let incoming = Incoming::with_rules(request, rules);
        if let Some(answer) = methods::answer(request, self.allow_origin.is_some()) {
            self.observe(begun, &incoming, &answer, None);
            return self.finish(&incoming, answer);
        }
        let (answer, trace) = trace::collect(|| catch_unwind(AssertUnwindSafe(|| self.route(&incoming))));
        let mut response = answer.unwrap_or_else(|panic| {
            log::error!(
                target: "mapproxy.wsgiapp",
                "fatal error in {} for {}?{}: {}",
                incoming.first_segment(),
                incoming.path,
                incoming.raw_query,
                panic_text(&*panic)
            );
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        });
        if let Some(state) = CacheState::of(trace.tiles()) {
            response.extensions_mut().insert(state);
        }
        self.observe(begun, &incoming, &response, Some(&trace));
        response.extensions_mut().insert(trace);
        self.finish(&incoming, response)
    }

    fn answer_now(&self, request: &Request, rules: &ProxyRules) -> Option<Response> {
        let begun = self.observer.as_ref().map(|_| Instant::now());
        let incoming = Incoming::with_rules(request, rules).at_once();
        let service = self.services.get(incoming.first_segment())?;
        // A defect shows in `call`, which comes next.
        let answer = catch_unwind(AssertUnwindSafe(|| service.handle_now(&incoming))).ok()??;
        if incoming.is_put_off() || self.documents.takes_time(incoming.headers, &answer) {
            return None;
        }
        self.observe(begun, &incoming, &answer, None);
        Some(self.finish(&incoming, answer))
    }

    /// The request without the key in its address, where keys are taken from there. Where it stands is known then.
    fn without_key(&self, request: &Request) -> Option<Request> {
        if !self.gate.takes_keys_in_addresses() {
            return None;
        }
        Incoming::with_rules(request, &self.proxies).without_key()
    }
}

impl Application for App {
    fn call(&self, request: Request) -> Response {
        match self.without_key(&request) {
            Some(request) => self.answer(&request, &ANYBODY),
            None => self.answer(&request, &self.proxies),
        }
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        if !methods::is_get(request) {
            return None;
        }
        match self.without_key(request) {
            Some(request) => self.answer_now(&request, &ANYBODY),
            None => self.answer_now(request, &self.proxies),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

impl Welcome {
    fn page(&self, request: &Incoming<'_>) -> Response {
        let demo = if self.has_demo {
            let url = escape(&request.urls().script);
            format!("<p>See all configured layers and services at: <a href=\"{url}/demo/\">demo</a></p>")
        } else {
            String::new()
        };
        let version = env!("CARGO_PKG_VERSION");
        let page = format!("<html><body><h1>Welcome to MapProxy {version}</h1>{demo}</body></html>");
        respond(StatusCode::OK, "text/html; charset=utf-8", page)
    }
}
