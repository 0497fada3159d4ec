//! Answers.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, PRAGMA};
use http::{HeaderValue, StatusCode};
use mapproxy_trace::Tiles;

/// An answer of an [`crate::Application`].
pub type Response = http::Response<Body>;

/// Where the tiles of an answer came from, as a response extension; without it, no cache was asked. Access logs and
/// metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheState {
    /// All of them lay in the cache.
    Hit,
    /// Some had expired, and stood in for new ones that could not be had.
    Stale,
    /// Some had to be made.
    Miss,
}

impl CacheState {
    /// The worst of all tiles; `None` without tiles.
    pub(crate) fn of(tiles: Tiles) -> Option<CacheState> {
        match tiles {
            Tiles { missed: 1.., .. } => Some(CacheState::Miss),
            Tiles { stale: 1.., .. } => Some(CacheState::Stale),
            Tiles { hit: 1.., .. } => Some(CacheState::Hit),
            _ => None,
        }
    }
}

impl fmt::Display for CacheState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CacheState::Hit => "hit",
            CacheState::Stale => "stale",
            CacheState::Miss => "miss",
        })
    }
}

/// The body of an answer, complete in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    /// No bytes.
    pub const EMPTY: Body = Body(Bytes::new());
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// The bytes, to keep.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body(bytes.into())
    }
}

/// An answer with a status, a content type and a body.
pub(crate) fn respond(
    status: StatusCode,
    content_type: impl Into<Cow<'static, str>>,
    body: impl Into<Body>,
) -> Response {
    let content_type = match content_type.into() {
        Cow::Borrowed(name) => HeaderValue::from_static(name),
        // Configured format names may hold anything; what is no header value cannot be announced.
        Cow::Owned(name) => HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("application/octet-stream")),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A plain text answer.
pub(crate) fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    respond(status, "text/plain; charset=utf-8", text.into())
}

/// For an answer that depends on who asks: shared caches may not keep it, and the client's own asks each time, since
/// somebody else may sit there, or fewer things be allowed. What is forbidden altogether stays so.
pub(crate) fn keep_private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if !headers.get(CACHE_CONTROL).is_some_and(|control| control.as_bytes().ends_with(b"no-store")) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    response
}

/// Forbids caches to keep the answer: errors and stand-ins.
pub(crate) fn forbid_caching(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("-1"));
    response
}
