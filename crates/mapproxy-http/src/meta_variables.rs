//! Requests as CGI hands them over: meta-variables (RFC 3875) in the environment, or in the parameters of FastCGI.
//!
//! Web servers do not agree on what they send. Of the path there are two accounts: `REQUEST_URI`, as the client wrote it,
//! and `SCRIPT_NAME` with `PATH_INFO`, decoded and cleaned. The first is used where there is one: what the client wrote is
//! what must be answered. The script name, below which the application stands, is then decided so ([`script_name`]):
//!
//! | `SCRIPT_NAME` | means | sent by |
//! |---|---|---|
//! | a part of the path, up to a slash | the application stands there | lighttpd; mod_fcgid; Apache's mod_proxy_fcgi with `proxy-fcgi-pathinfo`; nginx with `fastcgi_split_path_info` or an own `SCRIPT_NAME` |
//! | the whole path, no `PATH_INFO` or the same | nothing: the web server does not know | nginx's stock `fastcgi_params`, Apache's mod_proxy_fcgi |
//! | something else, or nothing | nothing | whoever rewrites addresses inside |

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use mapproxy_core::request::{Scheme, ScriptName};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::remote::Remote;

/// What goes before the body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    pub(crate) remote: Remote,
    /// Bytes that the body is said to have.
    pub(crate) length: Option<u64>,
}

/// Why meta-variables are no request, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense(pub(crate) &'static str);

/// The variables that are no headers. Of several with the same name the last one counts, as administrators expect who
/// add a line below an included file.
#[derive(Default)]
struct Variables<'a> {
    method: &'a [u8],
    request_uri: &'a [u8],
    script_name: &'a [u8],
    path_info: &'a [u8],
    query: &'a [u8],
    content_type: &'a [u8],
    content_length: &'a [u8],
    https: &'a [u8],
    scheme: &'a [u8],
    protocol: &'a [u8],
    remote: &'a [u8],
    server_name: &'a [u8],
    server_address: &'a [u8],
    server_port: &'a [u8],
}

/// What `http` does not take in a path or query; web servers are more generous.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`');
/// The same for a path that has been decoded.
const UNSAFE_DECODED: &AsciiSet = &UNSAFE.add(b'%').add(b'?');

impl Head {
    /// Reads meta-variables.
    pub(crate) fn read<'a>(variables: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Head, Nonsense> {
        let mut known = Variables::default();
        let mut headers = HeaderMap::new();
        let mut name = Vec::new();
        for (variable, value) in variables {
            if let Some(header) = variable.strip_prefix(b"HTTP_") {
                name.clear();
                name.extend(header.iter().map(|&byte| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }));
                known.header(&mut headers, &name, value)?;
            } else if let Some(place) = known.place(variable) {
                *place = value;
            }
        }
        known.head(headers)
    }
}

impl<'a> Variables<'a> {
    fn place(&mut self, name: &[u8]) -> Option<&mut &'a [u8]> {
        Some(match name {
            b"REQUEST_METHOD" => &mut self.method,
            b"REQUEST_URI" => &mut self.request_uri,
            b"SCRIPT_NAME" => &mut self.script_name,
            b"PATH_INFO" => &mut self.path_info,
            b"QUERY_STRING" => &mut self.query,
            b"CONTENT_TYPE" => &mut self.content_type,
            b"CONTENT_LENGTH" => &mut self.content_length,
            b"HTTPS" => &mut self.https,
            b"REQUEST_SCHEME" => &mut self.scheme,
            b"SERVER_PROTOCOL" => &mut self.protocol,
            b"REMOTE_ADDR" => &mut self.remote,
            b"SERVER_NAME" => &mut self.server_name,
            b"SERVER_ADDR" => &mut self.server_address,
            b"SERVER_PORT" => &mut self.server_port,
            _ => return None,
        })
    }

    /// Takes over a header of the client, unless it is about the connection to the web server, or has a variable of
    /// its own.
    fn header(&self, headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Nonsense> {
        if matches!(name, b"connection" | b"content-length" | b"content-type" | b"transfer-encoding") {
            return Ok(());
        }
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            return Err(Nonsense("a header of the request is invalid"));
        };
        // Debian's stock settings of nginx name a host without its port; who knows better says so in a later line.
        let result = match name {
            HOST => headers.try_insert(name, value).map(drop),
            name => headers.try_append(name, value).map(drop),
        };
        result.map_err(|_| Nonsense("the request has too many headers"))
    }

    fn head(self, mut headers: HeaderMap) -> Result<Head, Nonsense> {
        let method = Method::from_bytes(self.method).map_err(|_| Nonsense("the request has no valid method"))?;
        let uri = self.uri()?;
        let scheme = if self.is_https() { "https" } else { "http" };
        if !headers.contains_key(HOST)
            && let Some(host) = self.host(scheme)
        {
            headers.insert(HOST, host);
        }
        if !self.content_type.is_empty()
            && let Ok(value) = HeaderValue::from_bytes(self.content_type)
        {
            headers.insert(CONTENT_TYPE, value);
        }
        let length = match self.content_length {
            b"" => None,
            text => Some(number(text).ok_or(Nonsense("the length of the request's body is no number"))?),
        };
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let remote = self.remote();
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.extensions.insert(Scheme(scheme));
        if let Some(peer) = remote.peer() {
            parts.extensions.insert(peer);
        }
        if let Some(name) = script_name(uri.path(), self.script_name, self.path_info) {
            parts.extensions.insert(ScriptName(name));
        }
        parts.version = match self.protocol {
            b"HTTP/1.0" => Version::HTTP_10,
            b"HTTP/2" | b"HTTP/2.0" => Version::HTTP_2,
            b"HTTP/3" | b"HTTP/3.0" => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        (parts.method, parts.uri, parts.headers) = (method, uri, headers);
        Ok(Head { parts, remote, length })
    }

    fn uri(&self) -> Result<Uri, Nonsense> {
        let mut text = match self.request_uri {
            b"" => percent_encode(&[self.script_name, self.path_info].concat(), UNSAFE_DECODED).to_string(),
            uri => percent_encode(without_authority(uri), UNSAFE).to_string(),
        };
        if !text.starts_with('/') && text != "*" {
            text.insert(0, '/');
        }
        if self.request_uri.is_empty() && !self.query.is_empty() {
            text.push('?');
            text.extend(percent_encode(self.query, UNSAFE));
        }
        let path = PathAndQuery::from_maybe_shared(Bytes::from(text));
        Ok(Uri::from(path.map_err(|_| Nonsense("the address of the request is invalid or too long"))?))
    }

    fn is_https(&self) -> bool {
        let is = |value: &[u8], wanted: &str| value.eq_ignore_ascii_case(wanted.as_bytes());
        is(self.https, "on") || is(self.https, "1") || is(self.scheme, "https")
    }

    /// `Host` for a client that has sent none.
    fn host(&self, scheme: &str) -> Option<HeaderValue> {
        let named = |name: &[u8]| !name.is_empty() && name != b"_";
        let host = if named(self.server_name) { self.server_name } else { self.server_address };
        let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty())?;
        let host = if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
        let port = std::str::from_utf8(self.server_port).unwrap_or_default();
        let host = match (scheme, port) {
            (_, "") | ("http", "80") | ("https", "443") => host,
            _ => format!("{host}:{port}"),
        };
        HeaderValue::try_from(host).ok()
    }

    fn remote(&self) -> Remote {
        let text = std::str::from_utf8(self.remote).unwrap_or_default();
        match text.parse::<IpAddr>() {
            Ok(address) => Remote::Ip(address.to_canonical()),
            // nginx says so of its own Unix sockets.
            Err(_) if text.starts_with("unix:") => Remote::Unix,
            Err(_) => Remote::Unknown,
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Takes `http://host` off an address that a client has sent as if to a proxy.
fn without_authority(uri: &[u8]) -> &[u8] {
    if uri.first() == Some(&b'/') {
        return uri;
    }
    let Some(at) = uri.windows(3).position(|window| window == b"://") else { return uri };
    if !uri[..at].iter().all(u8::is_ascii_alphanumeric) {
        return uri;
    }
    let rest = &uri[at + 3..];
    &rest[rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())..]
}

/// The part of `path` (as the client wrote it) below which the application stands, if the web server says so.
fn script_name(path: &str, script: &[u8], info: &[u8]) -> Option<String> {
    let script = std::str::from_utf8(script).ok()?;
    let name = script.trim_end_matches('/');
    if name.is_empty() {
        return None;
    }
    let path = percent_decode(path.as_bytes()).decode_utf8_lossy();
    let stands_before = path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !stands_before {
        return None;
    }
    // The whole path says nothing, unless the slash at its end is said to be for the application.
    let is_whole = segments(name) == segments(&path);
    let info_is_the_rest = !info.is_empty() && info.iter().all(|&byte| byte == b'/');
    (!is_whole || info_is_the_rest).then(|| name.to_owned())
}

/// The parts of a path as web servers understand it: without empty ones and dots.
fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use mapproxy_core::request::Peer;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Head, Nonsense> {
        Head::read(variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn get(variables: &[(&str, &str)]) -> Head {
        let mut all = vec![("REQUEST_METHOD", "GET")];
        all.extend(variables);
        read(&all).unwrap()
    }

    /// Path and script name.
    fn place(variables: &[(&str, &str)]) -> (String, Option<String>) {
        let head = get(variables);
        let name = head.parts.extensions.get::<ScriptName>().map(|name| name.0.clone());
        (head.parts.uri.to_string(), name)
    }

    #[test]
    fn a_script_name_that_is_the_whole_path_names_no_script() {
        for extra in [&[][..], &[("PATH_INFO", "")], &[("PATH_INFO", "/service/a b")]] {
            let mut variables = vec![("REQUEST_URI", "/service/a%20b?x=%2F"), ("SCRIPT_NAME", "/service/a b")];
            variables.extend(extra);
            assert_eq!(place(&variables), ("/service/a%20b?x=%2F".to_owned(), None));
        }
        let variables = [("REQUEST_URI", "/demo/"), ("SCRIPT_NAME", "/demo/")];
        assert_eq!(place(&variables).1, None);
        // Nothing a client writes makes a script name of a part of its path.
        for uri in ["//demo/", "/demo//", "/demo/.", "/x/../demo/", "/demo/x/.."] {
            assert_eq!(place(&[("REQUEST_URI", uri), ("SCRIPT_NAME", "/demo/")]).1, None, "{uri}");
        }
    }

    #[test]
    fn a_script_name_before_the_path_is_one() {
        let maps = Some("/maps".to_owned());
        let cases = [
            ("/maps/service", "/maps", "/service"),
            ("/maps/service", "/maps", ""),
            ("/maps/", "/maps", "/"),
            ("/maps/", "/maps/", "/"),
            ("/maps/maps", "/maps", "/maps"),
            ("/m%61ps/service", "/maps", "/service"),
        ];
        for (uri, script, info) in cases {
            let variables = [("REQUEST_URI", uri), ("SCRIPT_NAME", script), ("PATH_INFO", info)];
            assert_eq!(place(&variables), (uri.to_owned(), maps.clone()), "{uri} {script} {info}");
        }
        for (uri, script) in [("/mapsets/service", "/maps"), ("/service", "/"), ("/service", ""), ("/a", "/b")] {
            assert_eq!(place(&[("REQUEST_URI", uri), ("SCRIPT_NAME", script)]).1, None, "{uri} {script}");
        }
    }

    #[test]
    fn without_an_address_the_path_is_put_together() {
        let variables = [("SCRIPT_NAME", "/maps"), ("PATH_INFO", "/a b%/ü?"), ("QUERY_STRING", "x=<1>&y=%20")];
        let expected = ("/maps/a%20b%25/%C3%BC%3F?x=%3C1%3E&y=%20".to_owned(), Some("/maps".to_owned()));
        assert_eq!(place(&variables), expected);
        assert_eq!(place(&[]), ("/".to_owned(), None));
        assert_eq!(place(&[("SCRIPT_NAME", "/service")]), ("/service".to_owned(), None));
    }

    #[test]
    fn addresses_may_be_written_as_for_a_proxy() {
        for (uri, path) in [
            ("http://maps.example/service?a=b", "/service?a=b"),
            ("https://maps.example", "/"),
            ("https://maps.example?a", "/?a"),
            ("service", "/service"),
            ("*", "*"),
            ("/a?url=http://b/c", "/a?url=http://b/c"),
            ("/a\"<>`#", "/a%22%3C%3E%60%23"),
        ] {
            assert_eq!(place(&[("REQUEST_URI", uri)]).0, path);
        }
    }

    #[test]
    fn headers_are_taken_over_and_the_body_announced() {
        let head = read(&[
            ("HTTP_X_FORWARDED_HOST", "a.example"),
            ("REQUEST_METHOD", "POST"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "17"),
            ("HTTP_CONTENT_LENGTH", "99"),
            ("HTTP_CONNECTION", "close"),
            ("SERVER_PROTOCOL", "HTTP/2.0"),
            ("REQUEST_URI", "/first"),
            ("REQUEST_URI", "/last"),
        ])
        .unwrap();
        assert_eq!((head.parts.method, head.parts.version), (Method::POST, Version::HTTP_2));
        assert_eq!((head.parts.uri.path(), head.length), ("/last", Some(17)));
        let headers: Vec<_> =
            head.parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            headers,
            [("x-forwarded-host", "a.example"), ("content-type", "text/plain"), ("content-length", "17")]
        );
    }

    #[test]
    fn a_missing_host_is_made_of_server_and_port() {
        let host = |variables: &[(&str, &str)]| {
            get(variables).parts.headers.get(HOST).map(|value| value.to_str().unwrap().to_owned())
        };
        let server = [("SERVER_NAME", "a.example"), ("SERVER_PORT", "8080")];
        assert_eq!(host(&server).as_deref(), Some("a.example:8080"));
        assert_eq!(host(&[server[0], ("SERVER_PORT", "80")]).as_deref(), Some("a.example"));
        assert_eq!(host(&[server[0], ("SERVER_PORT", "443"), ("HTTPS", "on")]).as_deref(), Some("a.example"));
        assert_eq!(host(&[("SERVER_NAME", "_"), ("SERVER_ADDR", "::1")]).as_deref(), Some("[::1]"));
        assert_eq!(host(&[server[0], ("HTTP_HOST", "b.example")]).as_deref(), Some("b.example"));
        let twice = [("HTTP_HOST", "c.example"), ("HTTP_HOST", "c.example:8080")];
        assert_eq!(host(&twice).as_deref(), Some("c.example:8080"));
        assert_eq!(get(&twice).parts.headers.get_all(HOST).iter().count(), 1);
        assert_eq!(host(&[]), None);
    }

    #[test]
    fn scheme_and_peer_are_the_clients() {
        let scheme = |variables: &[(&str, &str)]| get(variables).parts.extensions.get::<Scheme>().unwrap().0;
        assert_eq!(scheme(&[]), "http");
        assert_eq!(scheme(&[("HTTPS", "off")]), "http");
        assert_eq!(scheme(&[("HTTPS", "on")]), "https");
        assert_eq!(scheme(&[("REQUEST_SCHEME", "https")]), "https");
        let peer = |remote: &str| get(&[("REMOTE_ADDR", remote)]).parts.extensions.get::<Peer>().copied();
        assert_eq!(peer("::ffff:192.0.2.7"), Some(Peer::Ip("192.0.2.7".parse().unwrap())));
        assert_eq!(peer("unix:"), Some(Peer::Unix));
        assert_eq!(peer(""), None);
    }

    #[test]
    fn nonsense_is_no_request() {
        assert!(read(&[]).is_err());
        assert!(read(&[("REQUEST_METHOD", "GET IT")]).is_err());
        for (name, value) in [("CONTENT_LENGTH", "+1"), ("CONTENT_LENGTH", "x"), ("HTTP_A", "b\nc"), ("HTTP_", "b")] {
            assert!(read(&[("REQUEST_METHOD", "GET"), (name, value)]).is_err(), "{name}={value}");
        }
        let long = format!("/{}", "a".repeat(70_000));
        assert!(read(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", &long)]).is_err());
    }
}
