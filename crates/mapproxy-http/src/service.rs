//! An application as a service of hyper and tower.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{RETRY_AFTER, SERVER};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use mapproxy_core::request::ScriptName;
use mapproxy_core::{Application, Request, Response};

use crate::Workers;
use crate::refusal::{body_too_large, body_too_slow, panicked, refusal, text};

type HttpResponse = http::Response<Full<Bytes>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An [`Application`] as a [`hyper::service::Service`] and a [`tower_service::Service`]. Clones share application and
/// workers. It is to be polled in a tokio runtime with time enabled.
///
/// What [`Application::call_now`] answers is answered in the first poll; all else by one of the [`Workers`], and with
/// 503 and `Retry-After` when none can take it.
pub struct AppService<A> {
    app: Arc<A>,
    workers: Arc<Workers>,
    max_body: usize,
    body_timeout: Duration,
    mounted_at: Option<Arc<str>>,
}

impl<A> Clone for AppService<A> {
    fn clone(&self) -> Self {
        AppService {
            app: Arc::clone(&self.app),
            workers: Arc::clone(&self.workers),
            mounted_at: self.mounted_at.clone(),
            ..*self
        }
    }
}

impl<A> fmt::Debug for AppService<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService")
            .field("workers", &self.workers)
            .field("max_body", &self.max_body)
            .field("body_timeout", &self.body_timeout)
            .field("mounted_at", &self.mounted_at)
            .finish_non_exhaustive()
    }
}

impl<A: Application + 'static> AppService<A> {
    /// Takes bodies of up to 10 MiB that arrive within 30 seconds.
    pub fn new(app: A, workers: Workers) -> AppService<A> {
        AppService {
            app: Arc::new(app),
            workers: Arc::new(workers),
            max_body: 10 << 20,
            body_timeout: Duration::from_secs(30),
            mounted_at: None,
        }
    }

    /// Says where the application stands, for routers that take this part off the path: axum's `nest_service`.
    /// `/maps`, and the application names its addresses with `/maps` in front.
    #[must_use]
    pub fn mounted_at(mut self, path: &str) -> AppService<A> {
        let path = path.trim_matches('/');
        self.mounted_at = (!path.is_empty()).then(|| format!("/{path}").into());
        self
    }

    /// The most bytes of a request's body; more are refused with 413.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> AppService<A> {
        self.max_body = bytes;
        self
    }

    /// How long a request's body may be on its way; later it is refused with 408.
    #[must_use]
    pub fn body_timeout(mut self, limit: Duration) -> AppService<A> {
        self.body_timeout = limit;
        self
    }

    #[cfg(any(feature = "fastcgi", feature = "actix"))]
    pub(crate) fn body_limit(&self) -> Duration {
        self.body_timeout
    }

    /// Answers a request.
    pub fn answer<B>(&self, request: http::Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // A tunnel is not ours to give, and the method would turn any 200 into one.
        if request.method() == Method::CONNECT {
            return Answer::now(refusal(StatusCode::NOT_IMPLEMENTED, "tunnels are not supported"));
        }
        let (mut parts, body) = request.into_parts();
        if let Some(prefix) = &self.mounted_at
            && let Err(response) = mount(&mut parts, prefix)
        {
            return Answer::now(*response);
        }
        if body.is_end_stream() {
            return self.answer_complete(Request::from_parts(parts, Bytes::new()));
        }
        if body.size_hint().lower() > self.max_body as u64 {
            return Answer::now(body_too_large(self.max_body));
        }
        let service = self.clone();
        Answer(State::Later(Box::pin(async move {
            let body = Limited::new(body, service.max_body).collect();
            match tokio::time::timeout(service.body_timeout, body).await {
                Ok(Ok(body)) => match service.answer_complete(Request::from_parts(parts, body.to_bytes())).0 {
                    State::Now(response) => response.expect("nobody has taken it yet"),
                    State::Later(future) => future.await,
                },
                Ok(Err(error)) if error.is::<LengthLimitError>() => body_too_large(service.max_body),
                Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "the body of the request is broken"),
                Err(_) => body_too_slow(),
            }
        })))
    }

    /// Answers a request that is there completely.
    pub(crate) fn answer_complete(&self, request: Request) -> Answer {
        if let Some(response) = self.app.call_now(&request) {
            return Answer::now(response);
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let app = Arc::clone(&self.app);
        let submitted = self.workers.submit(move || {
            // A client that has gone while the request was waiting for its turn needs no answer.
            if !sender.is_closed() {
                let _ = sender.send(app.call(request));
            }
        });
        if submitted.is_err() {
            return Answer::now(overloaded());
        }
        Answer(State::Later(Box::pin(async move {
            // Without a sender the call has panicked, which its thread has logged.
            receiver.await.unwrap_or_else(|_| panicked())
        })))
    }
}

/// Puts back what a router has taken off the path, and names it.
fn mount(parts: &mut http::request::Parts, prefix: &str) -> Result<(), Box<Response>> {
    let rest = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let Ok(path) = PathAndQuery::try_from(format!("{prefix}{slash}{rest}")) else {
        return Err(Box::new(text(StatusCode::URI_TOO_LONG, "the address of the request is too long")));
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(path);
    // A path can replace a path.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.extensions.insert(ScriptName(prefix.to_owned()));
    Ok(())
}

/// Marks the answer to a request that no worker could take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overloaded;

fn overloaded() -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response.extensions_mut().insert(Overloaded);
    response
}

/// The answer of an [`AppService`], there at once or to come.
pub struct Answer(pub(crate) State);

pub(crate) enum State {
    Now(Option<Response>),
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Answer {
    /// The application's answer, not yet made fit for HTTP.
    #[cfg(any(feature = "fastcgi", feature = "actix"))]
    pub(crate) fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Response> {
        match &mut self.0 {
            State::Now(response) => Poll::Ready(response.take().expect("a future is not polled after its end")),
            State::Later(future) => future.as_mut().poll(context),
        }
    }

    pub(crate) fn now(response: Response) -> Answer {
        Answer(State::Now(Some(response)))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Now(_) => "Answer::Now",
            State::Later(_) => "Answer::Later",
        })
    }
}

impl Future for Answer {
    type Output = Result<HttpResponse, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Now(response) => {
                let response = response.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(for_http(response)))
            }
            State::Later(future) => future.as_mut().poll(context).map(|response| Ok(for_http(response))),
        }
    }
}

fn for_http(response: Response) -> HttpResponse {
    let mut response = response.map(|body| Full::new(body.into_bytes()));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("MapProxy"));
    response
}

impl<A, B> hyper::service::Service<http::Request<B>> for AppService<A>
where
    A: Application + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<B>) -> Answer {
        self.answer(request)
    }
}

impl<A, B> tower_service::Service<http::Request<B>> for AppService<A>
where
    A: Application + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Answer {
        self.answer(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_has_taken_off_the_path_is_put_back_and_named() {
        for (uri, expected) in
            [("/service?a=b", "/maps/service?a=b"), ("/", "/maps/"), ("http://host/x", "http://host/maps/x")]
        {
            let mut parts = http::Request::get(uri).body(()).unwrap().into_parts().0;
            mount(&mut parts, "/maps").unwrap();
            assert_eq!(parts.uri, expected);
            assert_eq!(parts.extensions.get::<ScriptName>().unwrap().0, "/maps");
        }
        let mut parts = http::Request::get(format!("/{}", "a".repeat(65_530))).body(()).unwrap().into_parts().0;
        assert_eq!(mount(&mut parts, "/maps").unwrap_err().status(), StatusCode::URI_TOO_LONG);
    }
}
