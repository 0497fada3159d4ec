//! Validators and conditional requests (RFC 9110, 8.8 and 13): `ETag`, `Last-Modified`, 304.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::{Body, Response};

/// What tells one version of an answer from another.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// Strong entity tag, with its quotes.
    pub(crate) etag: Option<String>,
    /// When the content last changed.
    pub(crate) modified: Option<SystemTime>,
    /// How long it may be kept without asking.
    pub(crate) max_age: Duration,
}

impl Validators {
    /// Of something stored: its time and size tell versions apart.
    pub(crate) fn of_stored(modified: SystemTime, size: u64, max_age: Duration) -> Self {
        let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Validators { etag: Some(format!("\"{nanos:x}-{size:x}\"")), modified: Some(modified), max_age }
    }

    /// Adds the validators to an answer, and turns it into a 304 where the client has this version.
    pub(crate) fn apply(&self, request: &HeaderMap, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(etag) = &self.etag {
            headers.insert(ETAG, HeaderValue::try_from(etag).expect("an entity tag of hex digits is a header value"));
        }
        if let Some(modified) = self.modified {
            let date = httpdate::fmt_http_date(modified);
            headers.insert(LAST_MODIFIED, HeaderValue::try_from(date).expect("a date is a header value"));
        }
        let seconds = self.max_age.as_secs();
        let control = format!("public, max-age={seconds}, s-maxage={seconds}");
        headers.insert(CACHE_CONTROL, HeaderValue::try_from(control).expect("digits are a header value"));
        if self.not_modified(request) {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_LENGTH);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::EMPTY;
        }
        response
    }

    /// RFC 9110, 13.2.2: `If-None-Match` decides where it is sent, `If-Modified-Since` otherwise.
    fn not_modified(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(IF_NONE_MATCH).iter().peekable();
        if tags.peek().is_some() {
            let Some(etag) = &self.etag else { return false };
            return tags.filter_map(|list| list.to_str().ok()).any(|list| list_matches(list, etag));
        }
        let since = request.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
        let since = since.and_then(|text| httpdate::parse_http_date(text).ok());
        match (since, self.modified) {
            // Dates have whole seconds; the part of a second that the client could not be told is no change.
            (Some(since), Some(modified)) => whole_seconds(modified) <= whole_seconds(since),
            _ => false,
        }
    }
}

/// Weak comparison (RFC 9110, 8.8.3.2). Tags without quotes are taken as well: MapProxy sent such.
fn list_matches(list: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    list.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::respond;

    fn validators() -> Validators {
        let modified = UNIX_EPOCH + Duration::from_millis(1_234_567_890_500);
        Validators::of_stored(modified, 100, Duration::from_secs(60))
    }

    fn status(name: http::HeaderName, value: &str) -> StatusCode {
        let mut request = HeaderMap::new();
        request.insert(name, HeaderValue::from_str(value).unwrap());
        validators().apply(&request, respond(StatusCode::OK, "image/png", "tile")).status()
    }

    #[test]
    fn answers_carry_a_quoted_tag_a_date_and_an_age() {
        let response = validators().apply(&HeaderMap::new(), respond(StatusCode::OK, "image/png", "tile"));
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("etag").starts_with('"') && header("etag").ends_with('"'));
        assert_eq!(header("last-modified"), "Fri, 13 Feb 2009 23:31:30 GMT");
        assert_eq!(header("cache-control"), "public, max-age=60, s-maxage=60");
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn a_known_tag_gives_304_in_any_form_of_rfc_9110() {
        let tag = validators().etag.unwrap();
        for list in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            assert_eq!(status(IF_NONE_MATCH, &list), StatusCode::NOT_MODIFIED, "{list}");
        }
        assert_eq!(status(IF_NONE_MATCH, "\"other\""), StatusCode::OK);
    }

    #[test]
    fn a_tag_that_does_not_match_outweighs_the_date() {
        let mut request = HeaderMap::new();
        request.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        request.insert(IF_MODIFIED_SINCE, HeaderValue::from_static("Fri, 13 Feb 2029 23:31:30 GMT"));
        let response = validators().apply(&request, respond(StatusCode::OK, "image/png", "tile"));
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn the_date_that_was_sent_gives_304_when_it_comes_back() {
        assert_eq!(status(IF_MODIFIED_SINCE, "Fri, 13 Feb 2009 23:31:30 GMT"), StatusCode::NOT_MODIFIED);
        assert_eq!(status(IF_MODIFIED_SINCE, "Fri, 13 Feb 2009 23:31:29 GMT"), StatusCode::OK);
        assert_eq!(status(IF_MODIFIED_SINCE, "yesterday"), StatusCode::OK);
    }
}
