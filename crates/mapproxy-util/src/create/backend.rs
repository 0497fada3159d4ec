//! The server that a snippet is for: its address and the path under which clients find it.

use std::fmt;
use std::str::FromStr;

/// Where the server listens, as far as another server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// A host name or address, without brackets, and a port.
    Tcp(String, u16),
    /// The absolute path of a socket.
    Unix(String),
}

impl Default for Backend {
    fn default() -> Backend {
        Backend::Tcp("127.0.0.1".to_owned(), 8080)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Backend::Tcp(host, port) => write!(f, "{host}:{port}"),
            Backend::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Backend, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // What needs no quotes in any of the configurations.
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            return match path.starts_with('/') && path.chars().all(plain) {
                true => Ok(Backend::Unix(path.to_owned())),
                false => Err("expected an absolute path of letters, digits, '.', '_' and '-' after unix:".to_owned()),
            };
        }
        let expected = || "expected HOST:PORT or unix:PATH".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| format!("{address:?} is no IPv6 address"))?;
            return Ok(Backend::Tcp(address.to_string(), port));
        }
        let is_name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        if is_name { Ok(Backend::Tcp(host.to_owned(), port)) } else { Err(expected()) }
    }
}

/// The path under which clients find the server: empty, or `/maps` and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a part of a regular expression.
    pub(super) fn pattern(&self) -> String {
        self.0.replace('.', "\\.")
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        let path = text.trim_end_matches('/');
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.chars().all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c))
        };
        match path.strip_prefix('/') {
            None if path.is_empty() && !text.is_empty() => Ok(Prefix::default()),
            Some(rest) if rest.split('/').all(is_segment) => Ok(Prefix(path.to_owned())),
            _ => Err("expected a path such as /maps, of letters, digits, '.', '_', '~' and '-'".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports_or_sockets() {
        for text in ["127.0.0.1:8080", "maps.example.org:80", "[::1]:8080", "unix:/run/mapproxy/mapproxy.sock"] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        for text in ["", "8080", "localhost", "::1:80", "a b:80", "host:port", "unix:relative", "unix:/a;b", "unix:"] {
            assert!(text.parse::<Backend>().is_err(), "{text:?} was taken for an address");
        }
    }

    #[test]
    fn a_prefix_is_a_path_that_means_itself_everywhere() {
        let prefix = |text: &str| text.parse::<Prefix>().map(|prefix| prefix.0);
        assert_eq!(prefix("/").as_deref(), Ok(""));
        assert_eq!(prefix("/maps/").as_deref(), Ok("/maps"));
        assert_eq!(prefix("/a/b-c.d").as_deref(), Ok("/a/b-c.d"));
        for text in ["", "maps", "//", "/a//b", "/a/../b", "/a b", "/a\"b", "/a{b", "/a%20b"] {
            let is_root = text.trim_end_matches('/').is_empty() && !text.is_empty();
            assert_eq!(prefix(text).is_ok(), is_root, "{text:?}");
        }
        assert_eq!("/v1.0".parse::<Prefix>().unwrap().pattern(), "/v1\\.0");
    }
}
