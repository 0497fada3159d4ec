//! Servers in front of us: whose word about our public address counts, and what they say.
//!
//! A proxy tells in headers how the client called it: `X-Script-Name` or `X-Forwarded-Prefix`, `X-Forwarded-Host`,
//! `X-Forwarded-Proto`, or all in one `Forwarded` (RFC 7239). Anybody can send such headers. [`ProxyRules`] say from
//! whom they are believed, or fix the address once and for all.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_SCRIPT_NAME: HeaderName = HeaderName::from_static("x-script-name");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Who is at the other end of the connection, as a request extension. Without it nobody is trusted where
/// [`ProxyRules`] have a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A machine.
    Ip(IpAddr),
    /// A program on this machine, on a Unix socket.
    Unix,
}

/// How the address is found under which clients know us. By default the headers of every proxy are believed.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    trusted: Option<Arc<[Trusted]>>,
    public_url: Option<PublicUrl>,
}

/// Whose headers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    Net(IpNet),
    /// Whoever may write to our Unix socket.
    Unix,
}

/// An address that clients know, whatever proxies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Scheme, host and port.
    pub(crate) origin: String,
    /// The path, percent-decoded, without a slash at its end.
    pub(crate) path: String,
}

/// Rules that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyRulesError {
    /// Neither an address, nor a network, nor `unix`.
    #[error("{0:?} is no address of a proxy: expected an IP address, a network such as 10.0.0.0/8, or unix")]
    Proxy(String),
    /// Not the address of a web server.
    #[error("{url:?} is no public address: {reason}")]
    PublicUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What a request says about the way it came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    pub(crate) script_name: Option<Cow<'a, str>>,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) host: Option<Cow<'a, str>>,
}

impl ProxyRules {
    pub(crate) const fn believing_all() -> ProxyRules {
        ProxyRules { trusted: None, public_url: None }
    }

    /// Believes the headers of these proxies only: IP addresses, networks (`10.0.0.0/8`), or `unix` for peers on a Unix
    /// socket. With an empty list nobody is believed.
    pub fn trust_only<S: AsRef<str>>(mut self, proxies: &[S]) -> Result<ProxyRules, ProxyRulesError> {
        let trusted: Result<Vec<Trusted>, _> = proxies.iter().map(|proxy| proxy.as_ref().parse()).collect();
        self.trusted = Some(trusted?.into());
        Ok(self)
    }

    /// Fixes the address that answers name: scheme, host, and the path under which the services stand.
    #[must_use]
    pub fn public_url(mut self, url: PublicUrl) -> ProxyRules {
        self.public_url = Some(url);
        self
    }

    /// These rules, with what they leave open taken from `others`.
    #[must_use]
    pub fn or(self, others: &ProxyRules) -> ProxyRules {
        ProxyRules {
            trusted: self.trusted.or_else(|| others.trusted.clone()),
            public_url: self.public_url.or_else(|| others.public_url.clone()),
        }
    }

    pub(crate) fn fixed(&self) -> Option<&PublicUrl> {
        self.public_url.as_ref()
    }

    /// The path that a proxy in front has taken off, or would like to see taken off.
    pub(crate) fn script_name<'a>(&self, peer: Option<Peer>, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        // Most requests have neither, and tiles are to cost nothing more.
        if !headers.contains_key(X_SCRIPT_NAME) && !headers.contains_key(X_FORWARDED_PREFIX) {
            return None;
        }
        self.forwarded(peer, headers).script_name
    }

    /// What the proxies that are believed say.
    pub(crate) fn forwarded<'a>(&self, peer: Option<Peer>, headers: &'a HeaderMap) -> Forwarded<'a> {
        let Some(trusted) = &self.trusted else {
            return Forwarded::of(headers, |list| list.into_iter().next(), |elements| elements.into_iter().next());
        };
        let is_trusted = |peer: Peer| trusted.iter().any(|proxy| proxy.is(peer));
        if !peer.is_some_and(is_trusted) {
            return Forwarded::default();
        }
        let address_is_trusted = |text: &str| address_of(text).is_some_and(|ip| is_trusted(Peer::Ip(ip)));
        // Each proxy appends to the lists: the peer's entry is the last, and one further to the left is to be believed
        // if the one it was received from is.
        let senders: Vec<&str> = list(headers, "x-forwarded-for").collect();
        let hops = 1 + senders.iter().rev().take_while(|sender| address_is_trusted(sender)).count();
        Forwarded::of(
            headers,
            |list| {
                let at = list.len().saturating_sub(hops);
                list.into_iter().nth(at)
            },
            |elements| {
                let known = elements.iter().rev().take_while(|element| element.sender.is_some_and(address_is_trusted));
                let at = elements.len().saturating_sub(known.count() + 1);
                elements.into_iter().nth(at)
            },
        )
    }
}

impl<'a> Forwarded<'a> {
    fn of(
        headers: &'a HeaderMap,
        choose: impl Fn(Vec<&'a str>) -> Option<&'a str>,
        choose_element: impl Fn(Vec<Element<'a>>) -> Option<Element<'a>>,
    ) -> Forwarded<'a> {
        let one = |name: &str| headers.contains_key(name).then(|| choose(list(headers, name).collect())).flatten();
        let element = headers
            .contains_key(http::header::FORWARDED)
            .then(|| choose_element(text_of(headers, "forwarded").flat_map(elements).collect()))
            .flatten()
            .unwrap_or_default();
        let script_name = match text_of(headers, "x-script-name").next() {
            Some(name) => Some(Cow::Borrowed(name.trim())),
            // Several prefixes were put before one another, the outermost first.
            None => {
                let prefixes: Vec<&str> = list(headers, "x-forwarded-prefix").collect();
                match prefixes.as_slice() {
                    [] => None,
                    [prefix] => Some(Cow::Borrowed(*prefix)),
                    prefixes => Some(Cow::Owned(prefixes.iter().fold(String::new(), |all, prefix| {
                        format!("{}/{}", all.trim_end_matches('/'), prefix.trim_matches('/'))
                    }))),
                }
            }
        };
        Forwarded {
            script_name,
            scheme: one("x-forwarded-proto").and_then(scheme).or_else(|| element.proto.and_then(scheme)),
            host: match one("x-forwarded-host").filter(|host| is_host(host)) {
                Some(host) => Some(Cow::Borrowed(host)),
                None => element.host.filter(|host| is_host(host)),
            },
        }
    }
}

impl Trusted {
    fn is(self, peer: Peer) -> bool {
        match (self, peer) {
            (Trusted::Net(net), Peer::Ip(ip)) => net.contains(&ip.to_canonical()),
            (Trusted::Unix, Peer::Unix) => true,
            _ => false,
        }
    }
}

impl FromStr for Trusted {
    type Err = ProxyRulesError;

    fn from_str(text: &str) -> Result<Trusted, ProxyRulesError> {
        if text == "unix" {
            return Ok(Trusted::Unix);
        }
        let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(Trusted::Net).ok_or_else(|| ProxyRulesError::Proxy(text.to_owned()))
    }
}

impl FromStr for PublicUrl {
    type Err = ProxyRulesError;

    fn from_str(url: &str) -> Result<PublicUrl, ProxyRulesError> {
        let error = |reason| ProxyRulesError::PublicUrl { url: url.to_owned(), reason };
        let (name, rest) = url.split_once("://").ok_or_else(|| error("expected http:// or https://"))?;
        let scheme = scheme(name).ok_or_else(|| error("expected http:// or https://"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !is_host(host) {
            return Err(error("expected a host name, perhaps with a port"));
        }
        if path.contains(['?', '#']) {
            return Err(error("a query or a fragment is no part of it"));
        }
        let path = percent_encoding::percent_decode_str(path.trim_end_matches('/')).decode_utf8();
        let path = path.map_err(|_| error("the path is not UTF-8"))?.into_owned();
        Ok(PublicUrl { origin: format!("{scheme}://{host}"), path })
    }
}

/// `http` or `https`, which are all there is.
fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|scheme| scheme.eq_ignore_ascii_case(text))
}

/// Whether this is a host, perhaps with a port, and nothing else (RFC 3986, 3.2.2): it will stand in our answers.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, ""),
            Some((host, rest)) => match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None => return false,
            },
            None => return false,
        },
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let in_brackets = text.starts_with('[');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    !host.is_empty()
        && host.bytes().all(|byte| if in_brackets { is_address(byte) } else { is_name(byte) })
        && port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The entries of a header with commas, in one line or in several.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    text_of(headers, name).flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

/// What one proxy has put into `Forwarded`.
#[derive(Debug, Default)]
struct Element<'a> {
    sender: Option<&'a str>,
    host: Option<Cow<'a, str>>,
    proto: Option<&'a str>,
}

/// The elements of a `Forwarded` header; what is no pair is left out.
fn elements(line: &str) -> Vec<Element<'_>> {
    split_outside_quotes(line, ',')
        .map(|element| {
            let mut found = Element::default();
            for pair in split_outside_quotes(element, ';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let (name, value) = (name.trim(), value.trim());
                let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                if name.eq_ignore_ascii_case("host") {
                    found.host = Some(Cow::Borrowed(unquoted));
                } else if name.eq_ignore_ascii_case("proto") {
                    found.proto = Some(unquoted);
                } else if name.eq_ignore_ascii_case("for") {
                    found.sender = Some(unquoted);
                }
            }
            found
        })
        .collect()
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        quoted ^= letter == '"';
        letter == separator && !quoted
    })
}

/// The IP address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    text.parse().ok().or_else(|| text.split_once(':')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    fn peer(ip: &str) -> Option<Peer> {
        Some(Peer::Ip(ip.parse().unwrap()))
    }

    /// Scheme and host.
    fn seen(rules: &ProxyRules, peer: Option<Peer>, lines: &[(&str, &str)]) -> (Option<&'static str>, Option<String>) {
        let headers = headers(lines);
        let forwarded = rules.forwarded(peer, &headers);
        (forwarded.scheme, forwarded.host.map(Cow::into_owned))
    }

    fn some(scheme: &'static str, host: &str) -> (Option<&'static str>, Option<String>) {
        (Some(scheme), Some(host.to_owned()))
    }

    #[test]
    fn without_a_list_everybody_is_believed_and_the_first_entry_counts() {
        let rules = ProxyRules::default();
        let lines = [("x-forwarded-host", "a.b:99, c.d"), ("x-forwarded-proto", "https, http")];
        assert_eq!(seen(&rules, None, &lines), some("https", "a.b:99"));
        let lines = [("forwarded", "for=\"[2001:db8::1]\";Host=\"a.b:99\";proto=https, for=10.0.0.1;host=c.d")];
        assert_eq!(seen(&rules, None, &lines), some("https", "a.b:99"));
    }

    #[test]
    fn several_lines_of_a_header_are_one_list() {
        let rules = ProxyRules::default();
        let lines = [("x-forwarded-host", "a.b"), ("x-forwarded-host", "c.d"), ("x-forwarded-proto", "https")];
        assert_eq!(seen(&rules, None, &lines), some("https", "a.b"));
    }

    #[test]
    fn with_a_list_strangers_are_not_believed() {
        let rules = ProxyRules::default().trust_only(&["10.0.0.0/8", "unix", "2001:db8::1"]).unwrap();
        let lines = [("x-forwarded-host", "a.b"), ("x-forwarded-proto", "https"), ("x-script-name", "/maps")];
        for trusted in [peer("10.1.2.3"), peer("::ffff:10.1.2.3"), peer("2001:db8::1"), Some(Peer::Unix)] {
            assert_eq!(seen(&rules, trusted, &lines), some("https", "a.b"), "{trusted:?}");
        }
        for stranger in [peer("11.0.0.1"), peer("2001:db8::2"), None] {
            assert_eq!(rules.forwarded(stranger, &headers(&lines)), Forwarded::default(), "{stranger:?}");
        }
        let nobody = ProxyRules::default().trust_only::<&str>(&[]).unwrap();
        assert_eq!(nobody.forwarded(Some(Peer::Unix), &headers(&lines)), Forwarded::default());
    }

    #[test]
    fn what_the_client_itself_has_put_into_a_list_is_not_believed() {
        let rules = ProxyRules::default().trust_only(&["10.0.0.1", "10.0.0.2"]).unwrap();
        let lines =
            [("x-forwarded-host", "evil, a.b"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
        assert_eq!(seen(&rules, peer("10.0.0.1"), &lines), some("https", "a.b"));
        // Two proxies: the outer one's entry is the one before the last.
        let lines = [
            ("x-forwarded-host", "evil, a.b, inner"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.2"),
            ("x-forwarded-proto", "http, https, http"),
        ];
        assert_eq!(seen(&rules, peer("10.0.0.1"), &lines), some("https", "a.b"));
        let lines = [(
            "forwarded",
            "for=1.2.3.4;host=evil;proto=http, for=203.0.113.9;host=a.b;proto=https, for=\"10.0.0.2:81\";host=inner",
        )];
        assert_eq!(seen(&rules, peer("10.0.0.1"), &lines), some("https", "a.b"));
    }

    #[test]
    fn prefixes_stand_one_behind_the_other_and_a_script_name_goes_before_them() {
        let rules = ProxyRules::default();
        let name = |lines: &[(&str, &str)]| rules.forwarded(None, &headers(lines)).script_name.map(Cow::into_owned);
        assert_eq!(name(&[("x-forwarded-prefix", "/gis, maps/")]).as_deref(), Some("/gis/maps"));
        assert_eq!(name(&[("x-forwarded-prefix", "/gis"), ("x-script-name", "/maps")]).as_deref(), Some("/maps"));
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn what_is_no_host_and_no_scheme_is_passed_over() {
        let rules = ProxyRules::default();
        let lines = [("x-forwarded-host", "a.b/\"><script>"), ("x-forwarded-proto", "javascript")];
        assert_eq!(seen(&rules, None, &lines), (None, None));
        for host in ["a.b", "a.b:80", "a_b", "[::1]", "[::1]:80", "192.0.2.1:1"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", ":80", "a b", "a@b", "[::1", "[::1]80", "a.b:123456", "a/b", "[g]"] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn a_public_url_is_taken_apart_and_nonsense_is_refused() {
        let url: PublicUrl = "https://maps.example:8443/gis%20data/".parse().unwrap();
        assert_eq!((url.origin.as_str(), url.path.as_str()), ("https://maps.example:8443", "/gis data"));
        assert_eq!("http://a".parse::<PublicUrl>().unwrap().path, "");
        for url in ["maps.example", "ftp://a/", "https:///x", "https://a/?b", "https://a b/"] {
            assert!(url.parse::<PublicUrl>().is_err(), "{url}");
        }
        assert!(ProxyRules::default().trust_only(&["example.org"]).is_err());
    }
}
