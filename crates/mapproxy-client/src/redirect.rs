//! Where a server sends us (RFC 9110, 15.4), as Python's urllib follows it.

use http::{HeaderValue, Uri};

use crate::Method;

/// Redirects followed for one request.
pub(crate) const LIMIT: usize = 10;

/// What an answer says about where to ask.
#[derive(Debug, PartialEq)]
pub(crate) enum Redirect {
    /// This is the answer.
    No,
    /// Ask there.
    To(Method, Uri),
    /// The answer leads nowhere; why.
    Nowhere(String),
}

/// After a POST, 301 to 303 lead to a GET; 307 and 308 keep method and body. What is to be changed on a server is not
/// looked at elsewhere instead.
pub(crate) fn next(method: Method, base: &Uri, status: u16, location: Option<&HeaderValue>) -> Redirect {
    let method = match status {
        301..=303 if method == Method::Post => Method::Get,
        301..=303 if method.is_reading() => method,
        301..=303 => return Redirect::Nowhere(format!("a {} is not repeated there", method.as_str())),
        307 | 308 => method,
        _ => return Redirect::No,
    };
    let Some(location) = location else { return Redirect::Nowhere("no Location".to_owned()) };
    let location = String::from_utf8_lossy(location.as_bytes());
    match join(base, location.trim()) {
        Some(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() => {
            Redirect::To(method, uri)
        }
        _ => Redirect::Nowhere(format!("Location {:?} is no URL", crate::RedactedUrl::new(&location))),
    }
}

/// Resolves a reference (RFC 3986, 5.2) as far as servers use it.
fn join(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default().replace(' ', "%20");
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let has_scheme = reference.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    let text = if has_scheme {
        reference
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{}", without_dots(&reference))
    } else if reference.is_empty() || reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{}", without_dots(&format!("{directory}/{reference}")))
    };
    text.parse().ok()
}

fn without_dots(path_and_query: &str) -> String {
    let (path, query) = path_and_query.split_at(path_and_query.find('?').unwrap_or(path_and_query.len()));
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match *segment {
            ".." => {
                kept.pop();
            }
            "." => {}
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_against_the_request() {
        let base: Uri = "http://h:8080/a/b?x=1".parse().unwrap();
        let joined = |reference| join(&base, reference).unwrap().to_string();
        assert_eq!(joined("https://other/c?d#e"), "https://other/c?d");
        assert_eq!(joined("//other/c"), "http://other/c");
        assert_eq!(joined("/c?u=http://x/../y"), "http://h:8080/c?u=http://x/../y");
        assert_eq!(joined("c d"), "http://h:8080/a/c%20d");
        assert_eq!(joined("../c/./d"), "http://h:8080/c/d");
        assert_eq!(joined("?y=2"), "http://h:8080/a/b?y=2");
    }

    #[test]
    fn a_post_becomes_a_get_only_where_the_status_says_so() {
        let base: Uri = "http://h/a".parse().unwrap();
        let location = HeaderValue::from_static("/b");
        let next = |status| match next(Method::Post, &base, status, Some(&location)) {
            Redirect::To(method, _) => Some(method),
            _ => None,
        };
        assert_eq!([next(302), next(307), next(308)], [Some(Method::Get), Some(Method::Post), Some(Method::Post)]);
        assert_eq!([next(200), next(304), next(300)], [None; 3]);
    }

    #[test]
    fn a_head_stays_one_and_what_changes_something_is_not_turned_into_a_get() {
        let base: Uri = "http://h/a".parse().unwrap();
        let location = HeaderValue::from_static("/b");
        let next = |method, status| next(method, &base, status, Some(&location));
        assert!(matches!(next(Method::Head, 302), Redirect::To(Method::Head, _)));
        assert!(matches!(next(Method::Put, 307), Redirect::To(Method::Put, _)));
        for method in [Method::Put, Method::Delete] {
            assert!(matches!(next(method, 302), Redirect::Nowhere(_)), "{method:?}");
        }
    }

    #[test]
    fn a_redirect_to_another_protocol_is_refused() {
        let base: Uri = "http://h/a".parse().unwrap();
        for location in ["file:///etc/passwd", "ftp://h/x", "http:///x"] {
            let location = HeaderValue::from_static(location);
            assert!(matches!(next(Method::Get, &base, 302, Some(&location)), Redirect::Nowhere(_)), "{location:?}");
        }
        assert!(matches!(next(Method::Get, &base, 302, None), Redirect::Nowhere(_)));
    }
}
