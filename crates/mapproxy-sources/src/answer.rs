//! What upstream servers answer, checked before anybody stores it.

use bytes::Bytes;
use mapproxy_client::{ClientError, RedactedUrl, UpstreamResponse};
use mapproxy_grid::Size;
use mapproxy_image::{Codec, codec};
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
    if !is_complete(header.codec, bytes) {
        return Err(format!("the image is cut off after {} bytes", bytes.len()));
    }
    Ok(header.size)
}

/// The end of the file is there. Servers may send a little more behind it.
fn is_complete(codec: Codec, bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(1024)..];
    let ends_with = |mark: &[u8]| tail.windows(mark.len()).any(|window| window == mark);
    match codec {
        Codec::Png => ends_with(b"IEND"),
        Codec::Jpeg => ends_with(&[0xff, 0xd9]),
        Codec::Gif => ends_with(&[0x3b]),
        Codec::WebP => {
            // RIFF: the size of what follows the first 8 bytes, at 4.
            let size = bytes.get(4..8).and_then(|size| <[u8; 4]>::try_from(size).ok()).map(u32::from_le_bytes);
            size.is_some_and(|size| u64::from(size) + 8 <= bytes.len() as u64)
        }
        Codec::Tiff => true,
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

    #[test]
    fn the_end_of_a_picture_is_looked_for() {
        assert!(is_complete(Codec::Png, b"...IEND\xaeB\x60\x82\n") && !is_complete(Codec::Png, b"...IDAT"));
        assert!(is_complete(Codec::Jpeg, b"..\xff\xd9\0\0") && !is_complete(Codec::Jpeg, b"..\xff"));
        assert!(is_complete(Codec::WebP, b"RIFF\x04\0\0\0WEBP") && !is_complete(Codec::WebP, b"RIFF\x05\0\0\0WEBP"));
        assert!(!is_complete(Codec::WebP, b"RIFF"));
    }
}
