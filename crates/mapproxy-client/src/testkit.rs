//! An [`HttpClient`] without a network, for tests: answers by a script and remembers what it was asked.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{ClientError, ErrorKind, HttpClient, RedactedUrl, UpstreamRequest, UpstreamResponse};

type Script = dyn Fn(&UpstreamRequest) -> Result<UpstreamResponse, ClientError> + Send + Sync;

/// A client that answers from a function and records all requests.
#[derive(Clone)]
pub struct ScriptedClient {
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<UpstreamRequest>>>,
}

impl ScriptedClient {
    /// Answers with whatever `script` returns.
    pub fn new(
        script: impl Fn(&UpstreamRequest) -> Result<UpstreamResponse, ClientError> + Send + Sync + 'static,
    ) -> Self {
        ScriptedClient { script: Arc::new(script), requests: Arc::default() }
    }

    /// Answers every request with this body.
    pub fn answering(content_type: &str, body: impl Into<Bytes>) -> Self {
        let answer = response(content_type, body);
        Self::new(move |_| Ok(answer.clone()))
    }

    /// Fails every request with this status.
    pub fn failing(status: u16) -> Self {
        Self::new(move |request| Err(failure(ErrorKind::Status(status), request)))
    }

    /// All requests so far, oldest first.
    pub fn requests(&self) -> Vec<UpstreamRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URLs of all requests so far, oldest first.
    pub fn urls(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.url).collect()
    }
}

/// An answer with status 200.
pub fn response(content_type: &str, body: impl Into<Bytes>) -> UpstreamResponse {
    UpstreamResponse {
        status: 200,
        content_type: Some(content_type.to_owned()),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.into(),
    }
}

/// The failure of `request`.
pub fn failure(kind: ErrorKind, request: &UpstreamRequest) -> ClientError {
    ClientError::new(kind, RedactedUrl::new(&request.url), "scripted failure")
}

impl HttpClient for ScriptedClient {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        (self.script)(request)
    }
}

impl fmt::Debug for ScriptedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedClient({} requests)", self.requests().len())
    }
}
