//! Scripts and styles. Pages name them with the version of their content, under which they may be kept for ever.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use crate::response::{plain, respond};
use crate::{Incoming, Response};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
    version: u64,
}

const fn asset(name: &'static str, media_type: &'static str, text: &'static str) -> Asset {
    Asset { name, media_type, text, version: fnv1a(text.as_bytes()) }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: Asset = asset("demo.css", "text/css; charset=utf-8", include_str!("static/demo.css"));
const PAGE: Asset = asset("page.js", SCRIPT, include_str!("static/page.js"));
const VIEWER: Asset = asset("viewer.js", SCRIPT, include_str!("static/viewer.js"));

/// What templates write behind the names.
pub(super) struct Versions {
    pub(super) style: String,
    pub(super) page: String,
    pub(super) viewer: String,
}

impl Versions {
    pub(super) fn current() -> Versions {
        let version = |asset: &Asset| format!("{:016x}", asset.version);
        Versions { style: version(&STYLE), page: version(&PAGE), viewer: version(&VIEWER) }
    }
}

/// The file of this name.
pub(super) fn answer(name: &str, request: &Incoming<'_>) -> Response {
    let Some(asset) = [&STYLE, &PAGE, &VIEWER].into_iter().find(|asset| asset.name == name) else {
        return plain(StatusCode::NOT_FOUND, "file not found");
    };
    let version = format!("{:016x}", asset.version);
    let is_versioned = request.params().get("v") == Some(&version);
    let mut response = respond(StatusCode::OK, asset.media_type, asset.text);
    let control = if is_versioned { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(control));
    response
}

/// The 64-bit FNV-1a hash: tells versions of a file apart.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
