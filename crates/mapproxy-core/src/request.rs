//! Requests as services see them: routed path, parameters, and the URLs that answers must name.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::auth::AddressKey;
pub use crate::proxies::Peer;
use crate::proxies::{ProxyRules, is_host};
use crate::{Params, methods};

/// A request, its body read completely: the form of a POST, whose parameters come behind those of the query.
pub type Request = http::Request<Bytes>;

/// The script name that a server in front or a URL map took off the path, as a request extension.
#[derive(Clone, Debug)]
pub struct ScriptName(pub String);

/// `https` where the server itself speaks TLS, as a request extension; `http` without it.
#[derive(Clone, Copy, Debug)]
pub struct Scheme(pub &'static str);

/// Where the client believes the application to stand, as a request extension. An application that holds others finds
/// it out once, takes its part off the path, and leaves it to them; they look at no header again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    /// Scheme, host and port.
    origin: String,
    /// The path of the application, without a slash at its end.
    script_name: String,
}

/// A request on its way through the router.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Path without script name, percent-decoded, beginning with `/`.
    pub path: Cow<'a, str>,
    /// Query as sent; behind it the form of a POST.
    pub raw_query: Cow<'a, str>,
    /// Headers as sent.
    pub headers: &'a HeaderMap,
    params: OnceCell<Params>,
    request: &'a Request,
    rules: &'a ProxyRules,
    script_name: Cow<'a, str>,
    /// Nothing may be waited for.
    at_once: bool,
    /// Something had to be waited for.
    put_off: Cell<bool>,
}

/// The addresses under which the client knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// Scheme, host and port.
    pub origin: String,
    /// Scheme, host and script name, without trailing slash.
    pub script: String,
    /// `script` with the path that was called.
    pub base: String,
}

const PATH_SAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}').add(b'%');

pub(crate) static ANYBODY: ProxyRules = ProxyRules::believing_all();

impl<'a> Incoming<'a> {
    /// Takes the script name off the path, believing what proxies say.
    pub fn new(request: &'a Request) -> Incoming<'a> {
        Incoming::with_rules(request, &ANYBODY)
    }

    /// Takes the script name off the path, as far as `rules` believe in it.
    pub fn with_rules(request: &'a Request, rules: &'a ProxyRules) -> Incoming<'a> {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let (path, script_name) = match request.extensions().get::<Standing>() {
            Some(standing) => (path, Cow::Borrowed(standing.script_name.as_str())),
            None => {
                let name = match (rules.fixed(), request.extensions().get::<ScriptName>()) {
                    (Some(public), _) => Cow::Borrowed(public.path.as_str()),
                    (None, known) => {
                        match (rules.script_name(request.extensions().get::<Peer>().copied(), request.headers()), known)
                        {
                            (Some(name), _) => name,
                            (None, Some(ScriptName(name))) => Cow::Borrowed(name.as_str()),
                            (None, None) => Cow::Borrowed(""),
                        }
                    }
                };
                let name = rooted(name);
                let path = strip_prefix(&path, &name).map_or(path, Cow::Owned);
                (path, name)
            }
        };
        Incoming {
            path,
            raw_query: methods::query(request),
            headers: request.headers(),
            params: OnceCell::new(),
            request,
            rules,
            script_name,
            at_once: false,
            put_off: Cell::new(false),
        }
    }

    /// To be answered without waiting, or not at all.
    pub(crate) fn at_once(self) -> Incoming<'a> {
        Incoming { at_once: true, ..self }
    }

    pub(crate) fn is_at_once(&self) -> bool {
        self.at_once
    }

    /// Whatever the answer is, it is none: the request has to be answered with time.
    pub(crate) fn put_off(&self) {
        self.put_off.set(true);
    }

    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off.get()
    }

    /// The request without the API key in its address, which is among its extensions then. Answers to it name addresses
    /// with the key, so that clients who follow them keep it.
    pub(crate) fn without_key(&self) -> Option<Request> {
        if self.first_segment() == KEY {
            let key = self.rest().strip_prefix('/')?.split('/').next().filter(|key| !key.is_empty())?;
            let mut request = self.mounted(&format!("/{KEY}/{key}"))?;
            request.extensions_mut().insert(AddressKey(key.to_owned()));
            return Some(request);
        }
        let query = self.request.uri().query().filter(|query| contains_key(query))?;
        let params = Params::parse(query);
        let key = params.get(KEY).filter(|key| !key.is_empty())?;
        let others: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
        let mut standing = self.standing();
        // A key with a slash in it cannot be told from a path.
        if !key.contains('/') {
            standing.script_name.push_str(&format!("/{KEY}/{key}"));
        }
        let target = format!("{}?{}", utf8_percent_encode(&self.path, PATH_SAFE), others.join("&"));
        let mut request = self.for_target(&target, standing)?;
        request.extensions_mut().insert(AddressKey(key.to_owned()));
        Some(request)
    }

    /// The request as an application sees it that stands at `prefix` (`/maps`) in this one; `None` if the path does not
    /// begin with it.
    pub(crate) fn mounted(&self, prefix: &str) -> Option<Request> {
        let rest = match prefix {
            "" => self.path.clone().into_owned(),
            prefix => strip_prefix(&self.path, prefix)?,
        };
        let mut standing = self.standing();
        standing.script_name.push_str(prefix);
        self.for_target(&self.target(&rest), standing)
    }

    /// A request for `target`, path and query, that comes to this application in the same way as this one.
    pub(crate) fn beside(&self, target: &str) -> Option<Request> {
        let mut request = self.for_target(target, self.standing())?;
        *request.method_mut() = Method::GET;
        *request.body_mut() = Bytes::new();
        Some(request)
    }

    /// The request as an application sees it that stands at `prefix` unless a proxy says something else, and takes it
    /// off the path where it is there. `scheme` goes before what proxies say.
    pub(crate) fn standing_at(&self, prefix: &str, scheme: Option<&'static str>) -> Request {
        let mut standing = self.standing();
        let mut path = Cow::Borrowed(&*self.path);
        if standing.script_name.is_empty() {
            standing.script_name = prefix.to_owned();
            path = strip_prefix(&path, prefix).map_or(path, Cow::Owned);
        }
        if let (Some(scheme), Some((_, host))) = (scheme, standing.origin.split_once("://")) {
            standing.origin = format!("{scheme}://{host}");
        }
        // A path that was one stays one.
        self.for_target(&self.target(&path), standing).unwrap_or_else(|| self.request.clone())
    }

    /// `path` with our query.
    fn target(&self, path: &str) -> String {
        let path = utf8_percent_encode(path, PATH_SAFE);
        match self.request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_string(),
        }
    }

    fn for_target(&self, target: &str, standing: Standing) -> Option<Request> {
        let target = Uri::try_from(target).ok()?;
        let mut request = self.request.clone();
        *request.uri_mut() = target;
        request.extensions_mut().insert(standing);
        Some(request)
    }

    /// The query's parameters; parsed at the first call.
    pub fn params(&self) -> &Params {
        self.params.get_or_init(|| Params::parse(&self.raw_query))
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

    /// The request as it came, whose path may have a script name.
    pub fn request(&self) -> &'a Request {
        self.request
    }

    /// Values that middleware has left for services.
    pub fn extensions(&self) -> &http::Extensions {
        self.request.extensions()
    }

    /// The addresses under which the client knows us: as [`ProxyRules`] fix them, else as the proxies say that they
    /// believe, else by `Host`.
    pub fn urls(&self) -> Urls {
        let Standing { origin, script_name } = self.standing();
        let script = format!("{origin}{}", utf8_percent_encode(&script_name, PATH_SAFE));
        let base = format!("{script}{}", utf8_percent_encode(&self.path, PATH_SAFE));
        Urls { origin, script, base }
    }

    fn standing(&self) -> Standing {
        match (self.rules.fixed(), self.request.extensions().get::<Standing>()) {
            (Some(public), _) => Standing { origin: public.origin.clone(), script_name: public.path.clone() },
            (None, Some(standing)) => standing.clone(),
            (None, None) => Standing { origin: self.origin(), script_name: self.script_name.clone().into_owned() },
        }
    }

    fn origin(&self) -> String {
        let extensions = self.request.extensions();
        let forwarded = self.rules.forwarded(extensions.get::<Peer>().copied(), self.headers);
        let scheme = forwarded.scheme.unwrap_or_else(|| extensions.get::<Scheme>().map_or("http", |scheme| scheme.0));
        if let Some(host) = forwarded.host {
            return format!("{scheme}://{host}");
        }
        let named = self.headers.get("host").and_then(|value| value.to_str().ok());
        let named = named.or_else(|| self.request.uri().authority().map(|authority| authority.as_str()));
        let host = named.filter(|host| is_host(host)).unwrap_or("localhost");
        let host = match scheme {
            "https" => host.strip_suffix(":443").unwrap_or(host),
            _ => host.strip_suffix(":80").unwrap_or(host),
        };
        format!("{scheme}://{host}")
    }
}

/// The name of the API key in addresses: of a parameter, and of the segment of the path before it.
const KEY: &str = "api_key";

fn is_key(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    percent_decode_str(name).decode_utf8_lossy().eq_ignore_ascii_case(KEY)
}

/// Whether it is worth looking: nearly all addresses have none.
fn contains_key(text: &str) -> bool {
    let text = text.as_bytes();
    text.windows(3).any(|part| part.eq_ignore_ascii_case(b"key") || part.eq_ignore_ascii_case(b"%6b"))
}

/// An address as logs may show it: without the API key in its path or query.
pub fn loggable(address: &str) -> Cow<'_, str> {
    if !contains_key(address) {
        return Cow::Borrowed(address);
    }
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    let mut after_key = false;
    let segments = path.split('/').map(|segment| {
        let hidden = std::mem::replace(&mut after_key, is_key(segment));
        if hidden && !segment.is_empty() { "*" } else { segment }
    });
    let mut shown = segments.collect::<Vec<_>>().join("/");
    if let Some(query) = query {
        let pairs: Vec<&str> = query.split('&').map(|pair| if is_key(pair) { "api_key=*" } else { pair }).collect();
        shown.push('?');
        shown.push_str(&pairs.join("&"));
    }
    Cow::Owned(shown)
}

/// A script name as a prefix of paths: with a slash before it and none behind it, or empty.
fn rooted(name: Cow<'_, str>) -> Cow<'_, str> {
    match name {
        Cow::Borrowed(name) => {
            let name = name.trim_end_matches('/');
            if name.is_empty() || name.starts_with('/') { Cow::Borrowed(name) } else { Cow::Owned(format!("/{name}")) }
        }
        Cow::Owned(name) => Cow::Owned(rooted(Cow::Borrowed(&name)).into_owned()),
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

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        let request = request("/service", &[("host", "a\"><script>")]);
        assert_eq!(Incoming::new(&request).urls().base, "http://localhost/service");
    }

    #[test]
    fn a_public_url_is_named_whatever_the_headers_say() {
        let rules = ProxyRules::default().public_url("https://maps.example/gis data".parse().unwrap());
        let headers = [("host", "inner"), ("x-forwarded-host", "evil"), ("x-script-name", "/evil")];
        for uri in ["/service", "/gis%20data/service"] {
            let request = request(uri, &headers);
            let incoming = Incoming::with_rules(&request, &rules);
            assert_eq!(incoming.path, "/service");
            assert_eq!(incoming.urls().base, "https://maps.example/gis%20data/service");
        }
    }

    #[test]
    fn strangers_cannot_take_anything_off_the_path() {
        let rules = ProxyRules::default().trust_only(&["127.0.0.1"]).unwrap();
        let mut request = request("/maps/service", &[("host", "a.b"), ("x-script-name", "/maps")]);
        assert_eq!(Incoming::with_rules(&request, &rules).urls().base, "http://a.b/maps/service");
        request.extensions_mut().insert(Peer::Ip([127, 0, 0, 1].into()));
        let incoming = Incoming::with_rules(&request, &rules);
        assert_eq!((incoming.first_segment(), incoming.urls().script.as_str()), ("service", "http://a.b/maps"));
    }

    #[test]
    fn a_mounted_application_is_named_behind_the_script_name() {
        let request = request("/gis/a%20b/service?x=%2F", &[("host", "a.b"), ("x-script-name", "/gis")]);
        let outer = Incoming::new(&request);
        assert!(outer.mounted("/a").is_none() && outer.mounted("/service").is_none());
        let mounted = outer.mounted("/a b").unwrap();
        let inner = Incoming::new(&mounted);
        assert_eq!((inner.path.as_ref(), inner.raw_query.as_ref()), ("/service", "x=%2F"));
        assert_eq!(inner.urls().base, "http://a.b/gis/a%20b/service");
        let root = outer.mounted("/a b").unwrap();
        assert_eq!(Incoming::new(&root).mounted("").unwrap().uri(), "/service?x=%2F");
    }

    #[test]
    fn a_key_in_the_address_is_taken_out_and_named_in_addresses() {
        for (uri, path, query) in [
            ("/api_key/se%20same/service?a=1", "/service", "a=1"),
            ("/api_key/se%20same", "/", ""),
            ("/service?a=1&API_KEY=se+same&b=2", "/service", "a=1&b=2"),
            ("/service?api%5Fkey=se%20same", "/service", ""),
        ] {
            let request = request(uri, &[("host", "a.b"), ("x-script-name", "/maps")]);
            let taken = Incoming::new(&request).without_key().unwrap();
            assert_eq!(taken.extensions().get(), Some(&AddressKey("se same".to_owned())), "{uri}");
            let incoming = Incoming::new(&taken);
            assert_eq!((incoming.path.as_ref(), incoming.raw_query.as_ref()), (path, query), "{uri}");
            assert_eq!(incoming.urls().script, "http://a.b/maps/api_key/se%20same", "{uri}");
        }
        for uri in ["/service?key=a", "/api_key/", "/api_key", "/service?api_key=", "/service/api_key/a"] {
            assert!(Incoming::new(&request(uri, &[])).without_key().is_none(), "{uri}");
        }
    }

    #[test]
    fn logs_show_no_keys() {
        for (address, shown) in [
            ("/service?a=1&api_key=x&b=2", "/service?a=1&api_key=*&b=2"),
            ("/service?API%5FKEY=x", "/service?api_key=*"),
            ("/api_key/x/service?monkey=1", "/api_key/*/service?monkey=1"),
            ("https://a.b/maps/api_key/x/demo/", "https://a.b/maps/api_key/*/demo/"),
            ("/keys/api_key", "/keys/api_key"),
            ("/tiles/1/2/3.png", "/tiles/1/2/3.png"),
        ] {
            assert_eq!(loggable(address), shown);
        }
    }
}
