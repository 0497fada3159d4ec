//! What upstream servers answer, checked before anybody stores it.

use bytes::Bytes;
use mapproxy_client::{ClientError, RedactedUrl, UpstreamResponse};
use mapproxy_grid::Size;
use mapproxy_image::codec;
use mapproxy_map::MapError;

use std::sync::Arc;

/// The answer's content type says that it is a picture, or nothing.
pub(crate) fn is_image(response: &UpstreamResponse) -> bool {
    response.content_type.as_ref().is_none_or(|content_type| content_type.starts_with("image/"))
}

/// The start of an answer that is no picture, for the log: more of a text, which may be an exception report.
pub(crate) fn excerpt(response: &UpstreamResponse) -> String {
    let content_type = response.content_type.as_deref().unwrap_or_default();
    let is_text = content_type.starts_with("text/") || content_type.starts_with("application/vnd.ogc");
    let end = response.body.len().min(if is_text { 8000 } else { 100 });
    String::from_utf8_lossy(&response.body[..end]).into_owned()
}

/// The bytes are a whole picture of `size`, as far as can be told without decoding it. The error says what they are.
pub(crate) fn check_picture(bytes: &Bytes, size: Size) -> Result<(), String> {
    match whole_picture(bytes)? {
        is if is == size => Ok(()),
        other => Err(wrong_size(other, size)),
    }
}

/// The picture has at least half and at most twice the pixels asked for in each direction.
pub(crate) fn is_nearly_as_large(is: Size, asked: Size) -> bool {
    let is_near = |is: u32, asked: u32| is >= asked.div_ceil(2) && is <= asked.saturating_mul(2);
    is_near(is.width, asked.width) && is_near(is.height, asked.height)
}

/// What is wrong with a picture of another size than asked for.
pub(crate) fn wrong_size(is: Size, asked: Size) -> String {
    format!("the image has {is} pixels, not {asked}")
}

/// The size of a picture that is there to its end, as far as can be told without decoding it.
pub(crate) fn whole_picture(bytes: &Bytes) -> Result<Size, String> {
    if bytes.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    let header = codec::header(bytes).map_err(|error| error.to_string())?;
    match codec::whole(bytes) {
        Ok(_) => Ok(header.size),
        Err(_) => Err(format!("the image is cut off after {} bytes, or damaged", bytes.len())),
    }
}

/// A failure of the client as one of a map.
pub(crate) fn client_error(source_name: &Arc<str>, error: ClientError) -> MapError {
    MapError::Upstream {
        source_name: Arc::clone(source_name),
        message: error.message.to_owned(),
        status: error.status(),
        url: error.url.to_string(),
        reason: error.reason,
    }
}

/// An answer that is no usable picture.
pub(crate) fn no_image(source_name: &Arc<str>, message: &str, url: &str, reason: String) -> MapError {
    MapError::Upstream {
        source_name: Arc::clone(source_name),
        message: message.to_owned(),
        url: RedactedUrl::new(url).to_string(),
        reason,
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_client::testkit::response;

    use super::*;

    #[test]
    fn only_image_types_and_none_are_pictures() {
        let named = |name: &str| is_image(&response(name, "x"));
        assert!(named("image/png") && named("image/svg+xml"));
        assert!(!named("text/xml") && !named("application/vnd.ogc.se_xml") && !named("application/octet-stream"));
        assert!(is_image(&UpstreamResponse { content_type: None, ..response("", "x") }));
    }

    #[test]
    fn excerpts_of_texts_are_longer() {
        let body = "é".repeat(5000);
        assert_eq!(excerpt(&response("text/html", body.clone())).chars().count(), 4000);
        assert_eq!(excerpt(&response("application/json", body)).chars().count(), 50);
    }
}
