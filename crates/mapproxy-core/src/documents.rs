//! What all text answers have in common: an entity tag of the content, and compression (RFC 9110, 8.4 and 12.5.3).
//!
//! A document that is asked for again and again is compressed once: those used last are remembered, a few of them and a
//! few megabytes. Pictures pass by; they are compressed already.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::conditional::{conditional, open_tag_of};
use crate::{Body, Response};

/// Shorter ones fit into a packet as they are.
const MIN_COMPRESSED: usize = 1 << 10;
/// What is as long is not compressed where others wait.
const LARGE: usize = 64 << 10;
/// Longer ones would keep a processor busy for too long.
const MAX_COMPRESSED: usize = 64 << 20;
/// Shorter ones are compressed almost as soon as they are looked for.
const MIN_KEPT: usize = 2 << 10;
/// What is remembered at most: documents, and their bytes in all forms.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Finishes text answers.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    compression: bool,
    /// Used last first.
    kept: Mutex<VecDeque<Arc<Kept>>>,
}

/// A document with its compressed forms, so far as they were needed.
#[derive(Debug)]
struct Kept {
    /// As long as it is held, nothing else can lie at its place: what does is the same.
    plain: Bytes,
    tag: String,
    gzip: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
}

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Documents {
    pub(crate) fn new(compression: bool) -> Documents {
        Documents { compression, kept: Mutex::default() }
    }

    /// Whether a media type is that of text, which can be compressed.
    pub(crate) fn is_text(media_type: &[u8]) -> bool {
        let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let is_application = essence.starts_with(b"application/");
        essence.starts_with(b"text/")
            || essence.ends_with(b"+xml")
            || essence.ends_with(b"+json")
            || is_application && [&b"xml"[..], b"json", b"javascript"].iter().any(|kind| essence.ends_with(kind))
    }

    /// Whether the answer has to be compressed first, and that is not done in a moment.
    pub(crate) fn takes_time(&self, request: &HeaderMap, response: &Response) -> bool {
        let place = response.body().as_bytes();
        let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        if !self.compression || place.len() < LARGE || !Documents::is_text(kind) {
            return false;
        }
        let coding = Accepted::of(request).best();
        let has_form =
            |kept: &Arc<Kept>| kept.is_at(place) && kept.form(coding).is_some_and(|form| form.get().is_some());
        coding != Coding::Identity && !self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().any(has_form)
    }

    /// The answer with a tag and in the form that the client likes best; or 304.
    pub(crate) fn finish(&self, request: &HeaderMap, mut response: Response) -> Response {
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        let is_own_form = headers.contains_key(CONTENT_ENCODING) || headers.contains_key(ETAG);
        let may_compress = self.compression && !is_own_form && (MIN_COMPRESSED..=MAX_COMPRESSED).contains(&length);
        let accepted = if may_compress { Accepted::of(request) } else { Accepted::default() };
        if accepted.any() {
            // Who can read nothing else gets what everybody can read, from whatever cache.
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        let coding = accepted.best();
        let is_kept = headers.get(CACHE_CONTROL).is_none_or(|control| !control.as_bytes().ends_with(b"no-store"));
        let has_tag = response.status() == StatusCode::OK && is_kept && !is_own_form && length > 0;
        let plain = response.body().clone().into_bytes();
        let kept = ((has_tag || coding != Coding::Identity) && length >= MIN_KEPT).then(|| self.kept(&plain));
        let tag = match &kept {
            Some(kept) => Some(kept.tag.clone()),
            None => has_tag.then(|| open_tag_of(&plain)),
        };
        if let (true, Some(tag)) = (has_tag, &tag) {
            let etag = format!("{tag}{}\"", coding.suffix());
            let value = HeaderValue::try_from(&etag).expect("an entity tag of hex digits is a header value");
            response.headers_mut().insert(ETAG, value);
            response = conditional(request, Some(&etag), None, response);
            if response.status() != StatusCode::OK {
                return response;
            }
        }
        let Some(name) = coding.name() else { return response };
        let compressed = match kept {
            Some(kept) => {
                let form = kept.form(coding).expect("identity has been sent as it is");
                let compressed = form.get_or_init(|| coding.compress(&plain)).clone();
                self.forget_beyond_limits();
                compressed
            }
            None => coding.compress(&plain),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        headers.remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(compressed);
        response
    }

    /// The document, by its place in memory or else by what it says.
    fn kept(&self, plain: &Bytes) -> Arc<Kept> {
        if let Some(known) = self.known(|kept| kept.is_at(plain)) {
            return known;
        }
        let tag = open_tag_of(plain);
        if let Some(known) = self.known(|kept| kept.tag == tag) {
            return known;
        }
        let (gzip, zstd) = (OnceLock::new(), OnceLock::new());
        let document = Arc::new(Kept { plain: plain.clone(), tag, gzip, zstd });
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push_front(Arc::clone(&document));
        self.forget_beyond_limits();
        document
    }

    fn known(&self, is_meant: impl Fn(&Kept) -> bool) -> Option<Arc<Kept>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|kept| is_meant(kept)).and_then(|at| kept.remove(at))?;
        kept.push_front(Arc::clone(&known));
        Some(known)
    }

    fn forget_beyond_limits(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let fitting = kept.iter().take(MAX_KEPT).take_while(|kept| {
            bytes += kept.bytes();
            bytes <= MAX_KEPT_BYTES
        });
        let fitting = fitting.count();
        kept.truncate(fitting);
    }
}

impl Kept {
    fn is_at(&self, place: &[u8]) -> bool {
        self.plain.as_ptr() == place.as_ptr() && self.plain.len() == place.len()
    }

    fn form(&self, coding: Coding) -> Option<&OnceLock<Bytes>> {
        match coding {
            Coding::Identity => None,
            Coding::Gzip => Some(&self.gzip),
            Coding::Zstd => Some(&self.zstd),
        }
    }

    fn bytes(&self) -> usize {
        let forms = [&self.gzip, &self.zstd].into_iter().filter_map(OnceLock::get);
        self.plain.len() + forms.map(Bytes::len).sum::<usize>()
    }
}

impl Coding {
    fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// In entity tags: each form is a representation of its own (RFC 9110, 8.8.3.3).
    fn suffix(self) -> &'static str {
        match self {
            Coding::Identity => "",
            Coding::Gzip => "-gzip",
            Coding::Zstd => "-zstd",
        }
    }

    fn compress(self, plain: &[u8]) -> Bytes {
        match self {
            Coding::Identity => Bytes::copy_from_slice(plain),
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::new(6));
                let written = encoder.write_all(plain).and_then(|()| encoder.finish());
                written.expect("writing to memory does not fail").into()
            }
            Coding::Zstd => zstd::bulk::compress(plain, 3).expect("memory takes any document of limited size").into(),
        }
    }
}

/// The client takes what is compressed by gzip.
pub(crate) fn accepts_gzip(request: &HeaderMap) -> bool {
    Accepted::of(request).gzip > 0
}

/// How much a client likes each form, in thousandths; identity only if it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Accepted {
    gzip: u16,
    zstd: u16,
    identity: u16,
}

impl Accepted {
    fn of(request: &HeaderMap) -> Accepted {
        let (mut gzip, mut zstd, mut identity, mut others) = (None, None, None, None);
        let lists = request.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        for element in lists.flat_map(|list| list.split(',')) {
            let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
            let coding = match name.trim() {
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
                name if name.eq_ignore_ascii_case("zstd") => &mut zstd,
                name if name.eq_ignore_ascii_case("identity") => &mut identity,
                "*" => &mut others,
                _ => continue,
            };
            *coding = Some(weight(parameters));
        }
        let of = |named: Option<u16>| named.or(others).unwrap_or(0);
        Accepted { gzip: of(gzip), zstd: of(zstd), identity: identity.unwrap_or(0) }
    }

    /// Something but identity.
    fn any(self) -> bool {
        self.gzip > 0 || self.zstd > 0
    }

    fn best(self) -> Coding {
        let most = self.gzip.max(self.zstd);
        if most == 0 || most < self.identity {
            Coding::Identity
        } else if self.zstd == most {
            Coding::Zstd
        } else {
            Coding::Gzip
        }
    }
}

/// `q=0.5` in thousandths (RFC 9110, 12.4.2); what is none weighs nothing.
fn weight(parameters: &str) -> u16 {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return 1000;
    }
    let value = parameters.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let value = value.and_then(|(_, value)| value.trim().parse::<f32>().ok());
    value.filter(|value| (0.0..=1.0).contains(value)).map_or(0, |value| (value * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::header::IF_NONE_MATCH;

    use super::*;
    use crate::response::{forbid_caching, respond};

    fn request(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn best(accepted: &str) -> Coding {
        Accepted::of(&request(ACCEPT_ENCODING, accepted)).best()
    }

    fn document(bytes: usize) -> Response {
        respond(StatusCode::OK, "text/xml; charset=utf-8", "<layer>of a map</layer>".repeat(bytes / 23))
    }

    fn gunzipped(response: &Response) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(response.body().as_bytes()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_form_is_chosen_by_what_the_client_likes() {
        for (accepted, coding) in [
            ("gzip, deflate, br", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("zstd;q=0.5, GZIP", Coding::Gzip),
            ("gzip;q=0, *", Coding::Zstd),
            ("*;q=0", Coding::Identity),
            ("gzip ; q = 0.2, identity;q=0.5", Coding::Identity),
            ("gzip;q=0.001", Coding::Gzip),
            ("gzip;q=2, zstd;q=x, br", Coding::Identity),
            ("identity", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(best(accepted), coding, "{accepted}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).best(), Coding::Identity);
    }

    #[test]
    fn texts_are_told_from_pictures() {
        for text in ["text/html; charset=utf-8", "application/vnd.ogc.wms_xml", "application/json", "image/svg+xml"] {
            assert!(Documents::is_text(text.as_bytes()), "{text}");
        }
        for other in ["image/png", "application/vnd.google-earth.kmz", "application/octet-stream", ""] {
            assert!(!Documents::is_text(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn each_form_has_its_tag_and_holds_the_same_text() {
        let documents = Documents::new(true);
        for bytes in [2_000, 200_000] {
            let plain = documents.finish(&HeaderMap::new(), document(bytes));
            let gzip = documents.finish(&request(ACCEPT_ENCODING, "gzip"), document(bytes));
            let zstd = documents.finish(&request(ACCEPT_ENCODING, "zstd"), document(bytes));
            let tag = |response: &Response| response.headers()[ETAG].to_str().unwrap().trim_matches('"').to_owned();
            assert_eq!((tag(&gzip), tag(&zstd)), (tag(&plain) + "-gzip", tag(&plain) + "-zstd"));
            assert_eq!(gunzipped(&gzip).as_bytes(), plain.body().as_bytes());
            assert_eq!(zstd::decode_all(zstd.body().as_bytes()).unwrap(), plain.body().as_bytes());
            assert!(gzip.body().len() * 10 < bytes && zstd.body().len() * 10 < bytes);
            assert_eq!(
                (&gzip.headers()[VARY], &gzip.headers()[CONTENT_ENCODING]),
                (&"Accept-Encoding".parse().unwrap(), &"gzip".parse().unwrap())
            );
            assert!(!plain.headers().contains_key(CONTENT_ENCODING) && !plain.headers().contains_key(VARY));
        }
    }

    #[test]
    fn a_known_document_is_a_304_with_the_headers_of_the_whole() {
        let documents = Documents::new(true);
        let mut request = request(ACCEPT_ENCODING, "gzip");
        let tag = documents.finish(&request, document(5_000)).headers()[ETAG].clone();
        request.insert(IF_NONE_MATCH, tag.clone());
        let answer = documents.finish(&request, document(5_000));
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!((&answer.headers()[ETAG], &answer.headers()[VARY]), (&tag, &"Accept-Encoding".parse().unwrap()));
        assert!(!answer.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(documents.finish(&request, document(6_000)).status(), StatusCode::OK);
    }

    #[test]
    fn errors_are_compressed_and_have_no_tag() {
        let documents = Documents::new(true);
        let mut error = document(50_000);
        *error.status_mut() = StatusCode::BAD_REQUEST;
        let answer = documents.finish(&request(ACCEPT_ENCODING, "gzip"), error);
        assert!(answer.headers().contains_key(CONTENT_ENCODING) && !answer.headers().contains_key(ETAG));
        let answer = documents.finish(&HeaderMap::new(), forbid_caching(document(500)));
        assert!(!answer.headers().contains_key(ETAG));
    }

    #[test]
    fn little_ones_and_those_with_a_form_of_their_own_are_left_alone() {
        let documents = Documents::new(true);
        let accepting = request(ACCEPT_ENCODING, "gzip, zstd");
        let small = documents.finish(&accepting, document(500));
        assert!(!small.headers().contains_key(CONTENT_ENCODING) && !small.headers().contains_key(VARY));
        let mut tagged = document(5_000);
        tagged.headers_mut().insert(ETAG, HeaderValue::from_static("\"own\""));
        let tagged = documents.finish(&accepting, tagged);
        assert_eq!(
            (&tagged.headers()[ETAG], tagged.headers().contains_key(CONTENT_ENCODING)),
            (&"\"own\"".parse().unwrap(), false)
        );
        let off = Documents::new(false).finish(&accepting, document(5_000));
        assert!(!off.headers().contains_key(CONTENT_ENCODING) && off.headers().contains_key(ETAG));
    }

    #[test]
    fn the_same_document_is_known_by_its_place_and_an_equal_one_by_its_text() {
        let documents = Documents::new(true);
        let accepting = request(ACCEPT_ENCODING, "gzip");
        let one = document(5_000);
        let answer = documents.finish(&accepting, one.clone());
        for other in [one, document(5_000)] {
            let again = documents.finish(&accepting, other);
            assert_eq!(again.body().as_bytes().as_ptr(), answer.body().as_bytes().as_ptr());
            assert_eq!(again.headers()[ETAG], answer.headers()[ETAG]);
        }
        assert_eq!(documents.kept.lock().unwrap().len(), 1);
        let large = document(200_000);
        assert!(documents.takes_time(&accepting, &large) && !documents.takes_time(&accepting, &document(5_000)));
        assert!(!documents.takes_time(&HeaderMap::new(), &large));
        assert!(!documents.takes_time(&accepting, &respond(StatusCode::OK, "image/png", vec![0; 200_000])));
        documents.finish(&accepting, large.clone());
        assert!(!documents.takes_time(&accepting, &large));
        let huge = documents.finish(&accepting, document(MAX_KEPT_BYTES + 100));
        assert!(huge.headers().contains_key(ETAG) && huge.headers().contains_key(CONTENT_ENCODING));
        assert!(documents.kept.lock().unwrap().is_empty());
    }

    #[test]
    fn only_so_much_is_remembered() {
        let documents = Documents::new(true);
        for number in 0..100 {
            documents.finish(&request(ACCEPT_ENCODING, "gzip"), document(MIN_KEPT + 23 + 23 * number));
        }
        assert_eq!(documents.kept.lock().unwrap().len(), MAX_KEPT);
    }
}
