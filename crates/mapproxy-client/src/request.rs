//! What is asked and answered, whoever carries it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Credentials, RedactedUrl};

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

impl Method {
    /// `GET` or `POST`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
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
    /// For a server that asks who we are.
    pub credentials: Option<Arc<Credentials>>,
}

impl UpstreamRequest {
    /// A GET of `url`.
    pub fn get(url: impl Into<String>) -> Self {
        UpstreamRequest { method: Method::Get, url: url.into(), body: None, headers: Vec::new(), credentials: None }
    }

    /// A POST of a form (`key=value&key=value`, percent-encoded) to `url`.
    pub fn post_form(url: impl Into<String>, form: impl Into<Bytes>) -> Self {
        UpstreamRequest {
            method: Method::Post,
            url: url.into(),
            body: Some(form.into()),
            headers: vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())],
            credentials: None,
        }
    }

    /// The same request of somebody.
    pub fn with_credentials(self, credentials: Option<Arc<Credentials>>) -> Self {
        UpstreamRequest { credentials, ..self }
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
    /// The server redirects in a circle, or to what is no URL.
    Redirect,
    /// Our own machine: a lock file cannot be made, the request cannot be written.
    Local,
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
    /// `WWW-Authenticate` of an answer with status 401.
    pub challenge: Option<String>,
}

impl ClientError {
    /// An error of `kind` with the message that belongs to it.
    pub fn new(kind: ErrorKind, url: RedactedUrl, reason: impl Into<String>) -> Self {
        let message = match kind {
            ErrorKind::Status(_) | ErrorKind::Redirect => "HTTP Error",
            ErrorKind::Timeout | ErrorKind::Connection => "No response from URL",
            ErrorKind::Certificate => "Could not verify connection to URL",
            ErrorKind::InvalidUrl => "URL not correct",
            ErrorKind::TooLarge => "Response too large from URL",
            ErrorKind::Local => "Internal HTTP error",
        };
        ClientError { kind, message, url, reason: reason.into(), challenge: None }
    }

    /// The status code, where the server sent one.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            ErrorKind::Status(status) => Some(status),
            _ => None,
        }
    }
}
