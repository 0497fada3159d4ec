//! The application as a service of actix-web.
//!
//! ```no_run
//! # fn run(app: impl mapproxy_core::Application + 'static) -> std::io::Result<()> {
//! use actix_web::{App, HttpServer};
//!
//! let maps = mapproxy_http::actix::service(app).mounted_at("/maps");
//! let server = HttpServer::new(move || App::new().service(maps.clone())).bind("127.0.0.1:8080")?;
//! actix_web::rt::System::new().block_on(server.run())
//! # }
//! ```
//!
//! Mounted nowhere in particular it answers everything, so other services must be registered before it;
//! `App::default_service(maps.route())` says the same.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{AppService as Services, HttpServiceFactory};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Route};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use mapproxy_core::request::{Peer, Scheme, ScriptName};
use mapproxy_core::{Application, Response};

use crate::refusal::{body_too_large, body_too_slow, refusal};
use crate::{AppService, Workers};

/// An [`Application`] in actix-web. Clones share application and workers, so that one can go to each of actix's threads.
#[derive(Debug)]
pub struct Service<A> {
    service: AppService<A>,
    max_body: usize,
    path: Arc<str>,
}

impl<A> Clone for Service<A> {
    fn clone(&self) -> Self {
        Service { service: self.service.clone(), max_body: self.max_body, path: Arc::clone(&self.path) }
    }
}

/// A service with up to 512 threads for answers that take time, a queue of 1024, and bodies of up to 10 MiB.
pub fn service<A: Application + 'static>(app: A) -> Service<A> {
    service_with(app, Workers::with_niceness(512, 1024, 19))
}

/// A service with threads as wanted.
pub fn service_with<A: Application + 'static>(app: A, workers: Workers) -> Service<A> {
    Service { service: AppService::new(app, workers), max_body: 10 << 20, path: Arc::from("") }
}

impl<A: Application + 'static> Service<A> {
    /// Where the application stands: `/maps`. As a service it is registered there.
    #[must_use]
    pub fn mounted_at(mut self, path: &str) -> Self {
        let path = path.trim_matches('/');
        self.path = if path.is_empty() { Arc::from("") } else { format!("/{path}").into() };
        self
    }

    /// The most bytes of a request's body; more are refused with 413.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// How long a request's body may be on its way; later it is refused with 408.
    #[must_use]
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.service = self.service.body_timeout(limit);
        self
    }

    /// The application as a route, for `default_service` and scopes.
    pub fn route(&self) -> Route {
        let service = self.clone();
        web::to(move |request: HttpRequest, payload: Payload| {
            let service = service.clone();
            async move { service.answer(request, payload).await }
        })
    }

    async fn answer(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        let response = match self.request(&request, payload).await {
            Ok(request) => {
                let mut answer = self.service.answer_complete(request);
                poll_fn(|context| answer.poll_response(context)).await
            }
            Err(response) => *response,
        };
        for_actix(response)
    }

    /// The same request in the types of another version of `http`.
    async fn request(&self, from: &HttpRequest, payload: Payload) -> Result<mapproxy_core::Request, Box<Response>> {
        let nonsense = || Box::new(refusal(StatusCode::BAD_REQUEST, "the request is invalid"));
        let body = payload.to_bytes_limited(self.max_body);
        let body = match actix_web::rt::time::timeout(self.service.body_limit(), body).await {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(_))) => {
                return Err(Box::new(refusal(StatusCode::BAD_REQUEST, "the body of the request is broken")));
            }
            Ok(Err(_)) => return Err(Box::new(body_too_large(self.max_body))),
            Err(_) => return Err(Box::new(body_too_slow())),
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::from_bytes(from.method().as_str().as_bytes()).map_err(|_| nonsense())?;
        *request.uri_mut() = from.uri().to_string().parse().map_err(|_| nonsense())?;
        for (name, value) in from.headers() {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| nonsense())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| nonsense())?;
            request.headers_mut().try_append(name, value).map_err(|_| nonsense())?;
        }
        let extensions = request.extensions_mut();
        if let Some(address) = from.peer_addr() {
            extensions.insert(Peer::Ip(address.ip().to_canonical()));
        }
        if from.app_config().secure() {
            extensions.insert(Scheme("https"));
        }
        if !self.path.is_empty() {
            extensions.insert(ScriptName(self.path.to_string()));
        }
        Ok(request)
    }
}

impl<A: Application + 'static> HttpServiceFactory for Service<A> {
    fn register(self, services: &mut Services) {
        web::scope(&self.path).default_service(self.route()).register(services);
    }
}

fn for_actix(response: Response) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(response.status().as_u16())
        .unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponseBuilder::new(status);
    for (name, value) in response.headers() {
        builder.append_header((name.as_str(), value.as_bytes()));
    }
    builder.body(response.into_body().into_bytes())
}
