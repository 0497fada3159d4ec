//! An application as a service of hyper and tower.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use mapproxy_core::{Application, Request};

use crate::Workers;

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
}

impl<A> Clone for AppService<A> {
    fn clone(&self) -> Self {
        AppService { app: Arc::clone(&self.app), workers: Arc::clone(&self.workers), ..*self }
    }
}

impl<A> fmt::Debug for AppService<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService")
            .field("workers", &self.workers)
            .field("max_body", &self.max_body)
            .field("body_timeout", &self.body_timeout)
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
        }
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
        let (parts, body) = request.into_parts();
        if body.is_end_stream() {
            return self.answer_complete(Request::from_parts(parts, Bytes::new()));
        }
        if body.size_hint().lower() > self.max_body as u64 {
            return Answer::now(self.too_large());
        }
        let service = self.clone();
        Answer(State::Later(Box::pin(async move {
            let body = Limited::new(body, service.max_body).collect();
            match tokio::time::timeout(service.body_timeout, body).await {
                Ok(Ok(body)) => match service.answer_complete(Request::from_parts(parts, body.to_bytes())).0 {
                    State::Now(response) => response.expect("nobody has taken it yet"),
                    State::Later(future) => future.await,
                },
                Ok(Err(error)) if error.is::<LengthLimitError>() => service.too_large(),
                Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "the body of the request is broken"),
                Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the body of the request took too long"),
            }
        })))
    }

    fn answer_complete(&self, request: Request) -> Answer {
        if let Some(response) = self.app.call_now(&request) {
            return Answer::now(finish(response));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let app = Arc::clone(&self.app);
        let submitted = self.workers.submit(move || {
            // A client that has gone while the request was waiting for its turn needs no answer.
            if !sender.is_closed() {
                let _ = sender.send(finish(app.call(request)));
            }
        });
        if submitted.is_err() {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return Answer::now(response);
        }
        Answer(State::Later(Box::pin(async move {
            // Without a sender the call has panicked, which its thread has logged.
            receiver.await.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
        })))
    }

    fn too_large(&self) -> HttpResponse {
        refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body of a request may have {} bytes", self.max_body))
    }
}

fn finish(response: mapproxy_core::Response) -> HttpResponse {
    let mut response = response.map(|body| Full::new(body.into_bytes()));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("MapProxy"));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    let mut response = http::Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("MapProxy"));
    response
}

/// An answer to a request that was not read to its end: the connection cannot be used again.
fn refusal(status: StatusCode, message: impl Into<Bytes>) -> HttpResponse {
    let mut response = text(status, message);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer of an [`AppService`], there at once or to come.
pub struct Answer(pub(crate) State);

pub(crate) enum State {
    Now(Option<HttpResponse>),
    Later(Pin<Box<dyn Future<Output = HttpResponse> + Send>>),
}

impl Answer {
    pub(crate) fn now(response: HttpResponse) -> Answer {
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
            State::Now(response) => Poll::Ready(Ok(response.take().expect("a future is not polled after its end"))),
            State::Later(future) => future.as_mut().poll(context).map(Ok),
        }
    }
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
