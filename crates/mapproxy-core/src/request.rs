//! Requests as services see them: routed path, parameters, and the URLs that answers must name.

use std::borrow::Cow;
use std::cell::OnceCell;

use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::Params;

/// A request, its body read completely (bodies are never used: OGC parameters come in the query).
pub type Request = http::Request<Bytes>;

/// The script name that a server in front or a URL map took off the path, as a request extension.
#[derive(Clone, Debug)]
pub struct ScriptName(pub String);

/// `https` where the server itself speaks TLS, as a request extension; `http` without it.
#[derive(Clone, Copy, Debug)]
pub struct Scheme(pub &'static str);

/// A request on its way through the router.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Path without script name, percent-decoded, beginning with `/`.
    pub path: Cow<'a, str>,
    /// Query as sent.
    pub raw_query: &'a str,
    /// Headers as sent.
    pub headers: &'a HeaderMap,
    params: OnceCell<Params>,
    request: &'a Request,
    script_name: Cow<'a, str>,
}

/// The addresses under which the client knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// Scheme, host and script name, without trailing slash.
    pub script: String,
    /// `script` with the path that was called.
    pub base: String,
}

const PATH_SAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}').add(b'%');

impl<'a> Incoming<'a> {
    /// Takes the script name off the path.
    pub fn new(request: &'a Request) -> Incoming<'a> {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let script_name: Cow<'a, str> = match (header("x-script-name"), request.extensions().get::<ScriptName>()) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some(ScriptName(name))) => Cow::Borrowed(name),
            (None, None) => Cow::Borrowed(""),
        };
        let path = match strip_prefix(&path, script_name.trim_end_matches('/')) {
            Some(rest) => Cow::Owned(rest),
            None => path,
        };
        Incoming {
            path,
            raw_query: request.uri().query().unwrap_or(""),
            headers: request.headers(),
            params: OnceCell::new(),
            request,
            script_name,
        }
    }

    /// The query's parameters; parsed at the first call.
    pub fn params(&self) -> &Params {
        self.params.get_or_init(|| Params::parse(self.raw_query))
    }

    /// The first segment of the path, without slashes: what the router goes by.
    pub fn first_segment(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or("")
    }

    /// The path after the first segment, beginning with `/` or empty.
    pub fn rest(&self) -> &str {
        let path = self.path.trim_start_matches('/');
        path.find('/').map_or("", |at| &path[at..])
    }

    /// Values that middleware has left for services.
    pub fn extensions(&self) -> &http::Extensions {
        self.request.extensions()
    }

    /// The addresses under which the client knows us, by `X-Forwarded-Proto`, `X-Forwarded-Host` or `Host`.
    pub fn urls(&self) -> Urls {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let server_scheme = self.request.extensions().get::<Scheme>().map_or("http", |scheme| scheme.0);
        let scheme = header("x-forwarded-proto").unwrap_or(server_scheme);
        let host = match header("x-forwarded-host") {
            Some(hosts) => hosts.split(',').next().unwrap_or("").trim(),
            None => {
                let host = header("host").or_else(|| self.request.uri().authority().map(|a| a.as_str()));
                let host = host.unwrap_or("localhost");
                match scheme {
                    "http" => host.strip_suffix(":80").unwrap_or(host),
                    "https" => host.strip_suffix(":443").unwrap_or(host),
                    _ => host,
                }
            }
        };
        let name = utf8_percent_encode(self.script_name.trim_end_matches('/'), PATH_SAFE);
        let script = format!("{scheme}://{host}{name}");
        let base = format!("{script}{}", utf8_percent_encode(&self.path, PATH_SAFE));
        Urls { script, base }
    }
}

fn strip_prefix(path: &str, script_name: &str) -> Option<String> {
    if script_name.is_empty() {
        return None;
    }
    let rest = path.strip_prefix(script_name)?;
    match rest.as_bytes().first() {
        None => Some("/".to_owned()),
        Some(b'/') => Some(rest.to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::new()).unwrap()
    }

    #[test]
    fn the_path_is_decoded_before_routing() {
        let request = request("/ser%76ice/extra?a=b", &[]);
        let incoming = Incoming::new(&request);
        assert_eq!((incoming.first_segment(), incoming.rest()), ("service", "/extra"));
        assert_eq!(incoming.raw_query, "a=b");
    }

    #[test]
    fn a_script_name_is_taken_off_the_path_and_named_in_urls() {
        let request = request("/maps/service", &[("x-script-name", "/maps"), ("host", "a.example:80")]);
        let incoming = Incoming::new(&request);
        assert_eq!(incoming.path, "/service");
        let urls = incoming.urls();
        assert_eq!(
            (urls.script.as_str(), urls.base.as_str()),
            ("http://a.example/maps", "http://a.example/maps/service")
        );
    }

    #[test]
    fn a_script_name_that_only_begins_a_segment_is_left_alone() {
        let request = request("/mapsets/service", &[("x-script-name", "/maps")]);
        assert_eq!(Incoming::new(&request).path, "/mapsets/service");
    }

    #[test]
    fn forwarded_headers_decide_scheme_and_host() {
        let headers = [("host", "inner:8080"), ("x-forwarded-host", "a.b:99, c.d"), ("x-forwarded-proto", "https")];
        let request = request("/service", &headers);
        assert_eq!(Incoming::new(&request).urls().base, "https://a.b:99/service");
    }
}
