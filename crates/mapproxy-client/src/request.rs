//! What is asked and answered, whoever carries it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Credentials, RedactedUrl};

/// Carries a request to an upstream server.
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// Sends `request` and reads the whole answer. Status codes from 400 are errors, and so is `204` where something
    /// was asked for (GET, POST).
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError>;
}

/// What is to be done with what the URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Parameters in the URL.
    Get,
    /// Parameters in a form body.
    Post,
    /// The head of what a GET would give.
    Head,
    /// The body is to be kept.
    Put,
    /// To be forgotten.
    Delete,
}

impl Method {
    /// As on the wire: `GET`, `POST`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }

    /// Only looks: may be sent elsewhere and again at will.
    pub(crate) fn is_reading(self) -> bool {
        matches!(self, Method::Get | Method::Head)
    }

    /// Requests of this kind carry a body.
    pub(crate) fn has_body(self) -> bool {
        matches!(self, Method::Post | Method::Put)
    }
}

/// Who is asked, which decides what is made of it in logs and traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// A source of maps: log target `mapproxy.source.request`, each request with `info`.
    #[default]
    Source,
    /// A store of tiles: log target `mapproxy.cache.request`, with `debug`; that something is not there (404) is an
    /// answer and no failure.
    Store,
}

/// A request to an upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// What is to be done.
    pub method: Method,
    /// With its query, ready to be sent; credentials are not in it.
    pub url: String,
    /// Form body of a POST, content of a PUT.
    pub body: Option<Bytes>,
    /// Headers besides the client's own.
    pub headers: Vec<(String, String)>,
    /// For a server that asks who we are.
    pub credentials: Option<Arc<Credentials>>,
    /// Who is asked.
    pub peer: Peer,
}

impl UpstreamRequest {
    /// A GET of `url`.
    pub fn get(url: impl Into<String>) -> Self {
        UpstreamRequest {
            method: Method::Get,
            url: url.into(),
            body: None,
            headers: Vec::new(),
            credentials: None,
            peer: Peer::Source,
        }
    }

    /// A request without body: a HEAD or DELETE, or a PUT of nothing.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        UpstreamRequest { method, ..UpstreamRequest::get(url) }
    }

    /// A PUT of `body` to `url`.
    pub fn put(url: impl Into<String>, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        UpstreamRequest {
            body: Some(body.into()),
            headers: vec![("Content-Type".to_owned(), content_type.into())],
            ..UpstreamRequest::new(Method::Put, url)
        }
    }

    /// A POST of a form (`key=value&key=value`, percent-encoded) to `url`.
    pub fn post_form(url: impl Into<String>, form: impl Into<Bytes>) -> Self {
        UpstreamRequest {
            body: Some(form.into()),
            headers: vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())],
            ..UpstreamRequest::new(Method::Post, url)
        }
    }

    /// The same request to somebody else.
    pub fn to(self, peer: Peer) -> Self {
        UpstreamRequest { peer, ..self }
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
    /// The server answered with this status (from 400, or 204 to a GET or POST).
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
    /// A program that answers in place of a server ended with a failure.
    Program,
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
    /// `Retry-After` of the answer: for how many seconds the server wants to be left alone.
    pub retry_after: Option<u32>,
    /// What the server said about the failure, as far as it is short (16 KiB): documents of stores and APIs with the
    /// reason in their own words. Empty where it said nothing.
    pub answer: Box<[u8]>,
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
            ErrorKind::Program => "Error during CGI call",
        };
        ClientError {
            kind,
            message,
            url,
            reason: reason.into(),
            challenge: None,
            retry_after: None,
            answer: Box::default(),
        }
    }

    /// The status code, where the server sent one.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            ErrorKind::Status(status) => Some(status),
            _ => None,
        }
    }
}
