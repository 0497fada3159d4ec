//! Validators and conditional requests (RFC 9110, 8.8 and 13): `ETag`, `Last-Modified`, 304, 412.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::response::{forbid_caching, plain};
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

    /// Of something made for this request.
    pub(crate) fn of_content(content: &[u8], max_age: Duration) -> Self {
        Validators { etag: Some(open_tag_of(content) + "\""), modified: None, max_age }
    }

    /// Adds the validators to an answer, and turns it into a 304 where the client has this version.
    pub(crate) fn apply(&self, request: &HeaderMap, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(etag) = &self.etag {
            headers.insert(ETAG, HeaderValue::try_from(etag).expect("an entity tag of hex digits is a header value"));
        }
        if let Some(modified) = self.modified {
            // A file from before the clock went back: no answer may claim to be of the future (RFC 9110, 8.8.2.1).
            let date = httpdate::fmt_http_date(modified.min(SystemTime::now()));
            headers.insert(LAST_MODIFIED, HeaderValue::try_from(date).expect("a date is a header value"));
        }
        headers.insert(CACHE_CONTROL, public_for(self.max_age));
        conditional(request, self.etag.as_deref(), self.modified, response)
    }
}

/// `Cache-Control` of what everybody may keep for a while.
pub(crate) fn public_for(max_age: Duration) -> HeaderValue {
    let seconds = max_age.as_secs();
    let control = format!("public, max-age={seconds}, s-maxage={seconds}");
    HeaderValue::try_from(control).expect("digits are a header value")
}

/// A strong entity tag that says what the content is, without its closing quote: a variant may be added.
pub(crate) fn open_tag_of(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let mut tag = String::with_capacity(40);
    tag.push('"');
    for byte in &hash[..16] {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("half a byte is a hex digit");
        tag.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    tag
}

/// The answer to a request with conditions: as it is, or 304, or 412. What says how it may be kept stays.
pub(crate) fn conditional(
    request: &HeaderMap,
    etag: Option<&str>,
    modified: Option<SystemTime>,
    mut response: Response,
) -> Response {
    match evaluate(request, etag, modified) {
        Condition::Met => response,
        Condition::NotModified => {
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                response.headers_mut().remove(name);
            }
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::EMPTY;
            response
        }
        Condition::Failed => forbid_caching(plain(StatusCode::PRECONDITION_FAILED, "precondition failed")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Met,
    NotModified,
    Failed,
}

/// RFC 9110, 13.2.2: conditions on tags outweigh those on dates.
fn evaluate(request: &HeaderMap, etag: Option<&str>, modified: Option<SystemTime>) -> Condition {
    // Nearly all requests have none of them.
    let asks = |name: HeaderName| request.contains_key(name);
    if asks(IF_MATCH) {
        if !tags(request, IF_MATCH).any(|tag| tag.is_strongly(etag)) {
            return Condition::Failed;
        }
    } else if asks(IF_UNMODIFIED_SINCE)
        && let (Some(since), Some(modified)) = (date(request, IF_UNMODIFIED_SINCE), modified)
        && whole_seconds(modified) > whole_seconds(since)
    {
        return Condition::Failed;
    }
    if asks(IF_NONE_MATCH) {
        let is_known = etag.is_some() && tags(request, IF_NONE_MATCH).any(|tag| tag.is_weakly(etag));
        return if is_known { Condition::NotModified } else { Condition::Met };
    }
    if !asks(IF_MODIFIED_SINCE) {
        return Condition::Met;
    }
    match (date(request, IF_MODIFIED_SINCE), modified) {
        // Dates have whole seconds; the part of a second that the client could not be told is no change.
        (Some(since), Some(modified)) if whole_seconds(modified) <= whole_seconds(since) => Condition::NotModified,
        _ => Condition::Met,
    }
}

/// An entity tag in a condition (RFC 9110, 8.8.3), or the `*` that stands for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag<'a> {
    Any,
    Opaque { text: &'a str, is_weak: bool },
}

impl Tag<'_> {
    fn is_weakly(self, etag: Option<&str>) -> bool {
        match self {
            Tag::Any => true,
            Tag::Opaque { text, .. } => etag.is_some_and(|etag| opaque(etag) == text),
        }
    }

    fn is_strongly(self, etag: Option<&str>) -> bool {
        let is_weak = |tag: &str| tag.starts_with("W/");
        !matches!(self, Tag::Opaque { is_weak: true, .. }) && !etag.is_some_and(is_weak) && self.is_weakly(etag)
    }
}

/// What is between the quotes.
fn opaque(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

fn tags(request: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Tag<'_>> {
    request.get_all(name).iter().filter_map(|list| list.to_str().ok()).flat_map(Tags)
}

/// Splits a list of entity tags, in which commas may be quoted. Tags without quotes are taken as well: MapProxy sent
/// such.
#[derive(Clone, Debug)]
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let list = self.0.trim_start_matches([' ', '\t', ',']);
        if list.is_empty() {
            self.0 = "";
            return None;
        }
        let (is_weak, tag) = list.strip_prefix("W/").map_or((false, list), |tag| (true, tag));
        if let Some((text, rest)) = tag.strip_prefix('"').and_then(|tag| tag.split_once('"')) {
            self.0 = rest;
            return Some(Tag::Opaque { text, is_weak });
        }
        let (text, rest) = tag.split_once(',').unwrap_or((tag, ""));
        self.0 = rest;
        let text = text.trim().trim_matches('"');
        Some(if text == "*" { Tag::Any } else { Tag::Opaque { text, is_weak } })
    }
}

fn date(request: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(request.get(name)?.to_str().ok()?).ok()
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
    fn what_is_of_the_future_is_dated_now() {
        let ahead = Validators::of_stored(SystemTime::now() + Duration::from_secs(86_400), 100, Duration::ZERO);
        let response = ahead.apply(&HeaderMap::new(), respond(StatusCode::OK, "image/png", "tile"));
        let date = httpdate::parse_http_date(response.headers()[LAST_MODIFIED].to_str().unwrap()).unwrap();
        assert!(date <= SystemTime::now());
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

    #[test]
    fn dates_may_have_the_three_forms_of_rfc_9110_and_others_are_passed_over() {
        for date in ["Fri, 13 Feb 2009 23:31:31 GMT", "Friday, 13-Feb-09 23:31:30 GMT", "Fri Feb 13 23:31:30 2009"] {
            assert_eq!(status(IF_MODIFIED_SINCE, date), StatusCode::NOT_MODIFIED, "{date}");
        }
        for date in [
            "",
            "1234567890",
            "2009-02-13T23:31:30Z",
            "Fri, 13 Feb 2009 23:31 GMT",
            "Fri, 32 Feb 2009 23:31:30 GMT",
            "Fri, 13 Foo 2009 23:31:30 GMT",
            "Sat, 14 Feb 2009 00:31:30 +0100",
            "Fri, 13 Feb 9999999 23:31:30 GMT",
        ] {
            assert_eq!(status(IF_MODIFIED_SINCE, date), StatusCode::OK, "{date}");
            assert_eq!(status(IF_UNMODIFIED_SINCE, date), StatusCode::OK, "{date}");
        }
    }

    #[test]
    fn a_comma_in_a_tag_does_not_end_it() {
        let listed = |list| Tags(list).collect::<Vec<_>>();
        let strong = |text| Tag::Opaque { text, is_weak: false };
        assert_eq!(
            listed(r#""a,b" , W/"c",, d"#),
            [strong("a,b"), Tag::Opaque { text: "c", is_weak: true }, strong("d")]
        );
        assert_eq!(listed("*"), [Tag::Any]);
        assert_eq!(listed(r#""*""#), [strong("*")]);
        assert_eq!(listed(r#""never ends, x"#), [strong("never ends"), strong("x")]);
        assert_eq!(listed(" , "), []);
    }

    #[test]
    fn who_wants_a_version_that_is_gone_gets_412() {
        let tag = validators().etag.unwrap();
        assert_eq!(status(IF_MATCH, &tag), StatusCode::OK);
        assert_eq!(status(IF_MATCH, "*"), StatusCode::OK);
        assert_eq!(status(IF_MATCH, &format!("W/{tag}")), StatusCode::PRECONDITION_FAILED);
        assert_eq!(status(IF_MATCH, "\"other\""), StatusCode::PRECONDITION_FAILED);
        assert_eq!(status(IF_UNMODIFIED_SINCE, "Fri, 13 Feb 2009 23:31:30 GMT"), StatusCode::OK);
        assert_eq!(status(IF_UNMODIFIED_SINCE, "Fri, 13 Feb 2009 23:31:29 GMT"), StatusCode::PRECONDITION_FAILED);
    }

    #[test]
    fn a_304_still_says_how_the_answer_may_be_kept() {
        let mut request = HeaderMap::new();
        request.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let response = validators().apply(&request, respond(StatusCode::OK, "image/png", "tile"));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(response.body().is_empty() && !response.headers().contains_key(CONTENT_TYPE));
        for name in [ETAG, LAST_MODIFIED, CACHE_CONTROL] {
            assert!(response.headers().contains_key(name));
        }
    }
}
