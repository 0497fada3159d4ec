//! Lists of objects, as S3 and Azure send them. Namespaces are not looked at: services differ in them.

use std::time::SystemTime;

use roxmltree::{Document, Node};

use super::{Listed, Page};

/// `ListBucketResult` of S3's ListObjectsV2, whose keys are percent-encoded as asked for.
pub(super) fn s3_list(text: &str) -> Result<Page, String> {
    let document = parse(text)?;
    let root = document.root_element();
    let decode = child(root, "EncodingType") == Some("url");
    let key = |text: &str| if decode { decoded(text) } else { text.to_owned() };
    let mut page = Page::default();
    for node in root.children() {
        match node.tag_name().name() {
            "Contents" => {
                let modified = child(node, "LastModified").and_then(|time| time.parse::<jiff::Timestamp>().ok());
                let size = child(node, "Size").and_then(|size| size.parse().ok());
                if let Some(name) = child(node, "Key") {
                    page.objects.push(Listed { key: key(name), modified: modified.map(whole_seconds), size });
                }
            }
            "CommonPrefixes" => page.folders.extend(child(node, "Prefix").map(key)),
            _ => {}
        }
    }
    if child(root, "IsTruncated") == Some("true") {
        let token = child(root, "NextContinuationToken").filter(|token| !token.is_empty());
        page.next = Some(token.ok_or("a list of objects breaks off without saying where it goes on")?.to_owned());
    }
    Ok(page)
}

/// As headers have them: lists of some services are more exact.
fn whole_seconds(time: jiff::Timestamp) -> SystemTime {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time).into()
}

/// Keys that `DeleteObjects` did not delete, with the first one's reason.
pub(super) fn s3_not_deleted(text: &str) -> Result<Option<String>, String> {
    let document = parse(text)?;
    let error = document.root_element().children().find(|node| node.tag_name().name() == "Error");
    Ok(error.map(|error| {
        let part = |name| child(error, name).unwrap_or("?");
        format!("{} {} ({})", part("Code"), part("Message"), part("Key"))
    }))
}

/// `EnumerationResults` of Azure's List Blobs.
pub(super) fn azure_list(text: &str) -> Result<Page, String> {
    let document = parse(text)?;
    let root = document.root_element();
    let mut page = Page::default();
    let blobs = root.children().find(|node| node.tag_name().name() == "Blobs");
    for node in blobs.into_iter().flat_map(|blobs| blobs.children()) {
        let Some(name) = node.children().find(|child| child.tag_name().name() == "Name") else { continue };
        let encoded = name.attribute("Encoded") == Some("true");
        let key = name.text().unwrap_or_default();
        let key = if encoded { percent_decoded(key) } else { key.to_owned() };
        match node.tag_name().name() {
            "Blob" => {
                let properties = node.children().find(|node| node.tag_name().name() == "Properties");
                let property = |name| properties.and_then(|properties| child(properties, name));
                let modified = property("Last-Modified").and_then(|time| httpdate::parse_http_date(time).ok());
                let size = property("Content-Length").and_then(|size| size.parse().ok());
                page.objects.push(Listed { key, modified, size });
            }
            "BlobPrefix" => page.folders.push(key),
            _ => {}
        }
    }
    page.next = child(root, "NextMarker").filter(|marker| !marker.is_empty()).map(str::to_owned);
    Ok(page)
}

/// The text of an element of that name anywhere in a small document.
pub(super) fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value.trim())
}

/// A text as part of a document.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn parse(text: &str) -> Result<Document<'_>, String> {
    Document::parse(text).map_err(|error| format!("the answer is no XML: {error}"))
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.tag_name().name() == name)?.text()
}

/// As forms are encoded, where a space is `+`.
fn decoded(text: &str) -> String {
    percent_decoded(&text.replace('+', " "))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: &str, meta: Option<(SystemTime, u64)>) -> Listed {
        let (modified, size) = meta.unzip();
        Listed { key: key.to_owned(), modified, size }
    }

    #[test]
    fn a_list_of_s3_is_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Name>tiles</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
              <NextContinuationToken>abc=</NextContinuationToken>
              <Contents><Key>a/4/5%2B6+7.png</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><Size>7</Size></Contents>
              <Contents><Key>b</Key></Contents>
              <CommonPrefixes><Prefix>a/5/</Prefix></CommonPrefixes>
            </ListBucketResult>"#;
        let page = s3_list(text).unwrap();
        let time = httpdate::parse_http_date("Mon, 12 Oct 2009 17:50:30 GMT").unwrap();
        assert_eq!(page.objects, [listed("a/4/5+6 7.png", Some((time, 7))), listed("b", None)]);
        assert_eq!((page.folders, page.next.as_deref()), (vec!["a/5/".to_owned()], Some("abc=")));
        let other = "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Contents><Key>a%2Bb</Key></Contents></ListBucketResult>";
        assert_eq!(s3_list(other).unwrap().objects, [listed("a%2Bb", None)]);
    }

    #[test]
    fn a_list_that_breaks_off_is_an_error() {
        assert!(s3_list("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>").is_err());
        assert!(s3_list("<ListBucketResult>").is_err());
        assert!(azure_list("nonsense").is_err());
    }

    #[test]
    fn a_list_of_azure_is_read() {
        let text = r#"<?xml version="1.0" encoding="utf-8"?>
            <EnumerationResults ContainerName="tiles"><Blobs>
              <Blob><Name>a/4/5/6.png</Name><Properties><Last-Modified>Mon, 12 Oct 2009 17:50:30 GMT</Last-Modified><Content-Length>7</Content-Length></Properties></Blob>
              <Blob><Name Encoded="true">a%20b</Name><Properties/></Blob>
              <BlobPrefix><Name>a/5/</Name></BlobPrefix>
            </Blobs><NextMarker>2!68!x</NextMarker></EnumerationResults>"#;
        let page = azure_list(text).unwrap();
        let time = httpdate::parse_http_date("Mon, 12 Oct 2009 17:50:30 GMT").unwrap();
        assert_eq!(page.objects, [listed("a/4/5/6.png", Some((time, 7))), listed("a b", None)]);
        assert_eq!((page.folders, page.next.as_deref()), (vec!["a/5/".to_owned()], Some("2!68!x")));
    }

    #[test]
    fn what_was_not_deleted_is_told() {
        let text =
            "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
        assert_eq!(s3_not_deleted(text).unwrap().as_deref(), Some("AccessDenied no (a)"));
        assert_eq!(s3_not_deleted("<DeleteResult/>").unwrap(), None);
    }
}
