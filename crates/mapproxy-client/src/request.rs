//! What is asked and answered, whoever carries it.

use std::fmt;

use bytes::Bytes;

/// Carries a request to an upstream server.
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// Sends `request` and reads the whole answer. Status codes from 400 and `204` are errors.
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError>;
}

/// GET or POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Parameters in the URL.
    Get,
    /// Parameters in a form body.
    Post,
}

/// A request to an upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// GET or POST.
    pub method: Method,
    /// With its query, ready to be sent; credentials are not in it.
    pub url: String,
    /// Form body of a POST.
    pub body: Option<Bytes>,
    /// Headers besides the client's own.
    pub headers: Vec<(String, String)>,
}

impl UpstreamRequest {
    /// A GET of `url`.
    pub fn get(url: impl Into<String>) -> Self {
        UpstreamRequest { method: Method::Get, url: url.into(), body: None, headers: Vec::new() }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct UpstreamResponse {
    /// Status code, below 400.
    pub status: u16,
    /// `Content-Type` as sent.
    pub content_type: Option<String>,
    /// All headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, complete.
    pub body: Bytes,
}

/// A URL without user, password and token-like parameters, for logs and errors.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(String);

impl RedactedUrl {
    /// Strips `user:password@` and the values of parameters whose names say secret (`token`, `key`, `password`, …).
    pub fn new(url: &str) -> Self {
        let _ = url;
        todo!()
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What failed between us and the upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server answered with this status (from 400, or 204).
    Status(u16),
    /// No answer within the time-out.
    Timeout,
    /// No connection, or it broke before the answer was complete.
    Connection,
    /// The certificate could not be verified.
    Certificate,
    /// The URL is no URL.
    InvalidUrl,
    /// The answer is larger than allowed.
    TooLarge,
}

/// A request that got no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} {url}: {reason}")]
pub struct ClientError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Short, fit for clients (`HTTP Error`, `No response from URL`, …).
    pub message: &'static str,
    /// Where.
    pub url: RedactedUrl,
    /// Details for the log.
    pub reason: String,
}
