//! Addresses to listen on, as written after `-b`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use mapproxy_http::Listen;

/// A host and a port: `8080`, `:8080`, `localhost`, `0.0.0.0:8080`, `[::1]:8080` or `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

const HOST: &str = "127.0.0.1";
const PORT: u16 = 8080;

impl Address {
    /// Whether only this machine can reach it.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl Default for Address {
    fn default() -> Address {
        Address { host: HOST.to_owned(), port: PORT }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if text.is_empty() {
            return Err("empty; expected PORT, HOST or HOST:PORT".to_owned());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Address { host: HOST.to_owned(), port: port(text)? });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            let host: Ipv6Addr = host.parse().map_err(|_| format!("{host:?} is no IPv6 address"))?;
            let port = match rest.strip_prefix(':') {
                Some(text) => port(text)?,
                None if rest.is_empty() => PORT,
                None => return Err(format!("{rest:?} after the bracket; expected :PORT")),
            };
            return Ok(Address { host: host.to_string(), port });
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Address { host: text.to_owned(), port: PORT });
        }
        match text.split_once(':') {
            None => Ok(Address { host: text.to_owned(), port: PORT }),
            Some(("", text)) => Ok(Address { host: HOST.to_owned(), port: port(text)? }),
            Some((host, text)) => Ok(Address { host: host.to_owned(), port: port(text)? }),
        }
    }
}

/// Where a server may listen: an [`Address`], or what [`Listen`] knows beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Network(Address),
    Other(Listen),
}

impl Bind {
    pub(crate) fn listen(&self) -> Listen {
        match self {
            Bind::Network(address) => Listen::Tcp(address.to_string()),
            Bind::Other(listen) => listen.clone(),
        }
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Bind, String> {
        let is_other = text == "systemd" || ["unix:", "fd:"].iter().any(|prefix| text.starts_with(prefix));
        match text.parse() {
            Ok(Listen::Systemd(name)) => Ok(Bind::Other(Listen::Systemd(name))),
            other if is_other => other.map(Bind::Other),
            _ => text.parse().map(Bind::Network),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is no port; expected a number up to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_may_each_be_left_out() {
        let address = |text: &str| text.parse::<Address>().unwrap().to_string();
        assert_eq!(address("1234"), "127.0.0.1:1234");
        assert_eq!(address(":1234"), "127.0.0.1:1234");
        assert_eq!(address("0.0.0.0"), "0.0.0.0:8080");
        assert_eq!(address("tiles.example:80"), "tiles.example:80");
        assert_eq!(address("[::1]:1234"), "[::1]:1234");
        assert_eq!(address("[::]"), "[::]:8080");
        assert_eq!(address("::1"), "[::1]:8080");
        assert_eq!(Address::default().to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "localhost:", "localhost:x", "99999", ":-1", "[::1", "[::1]x", "[host]:80", "a:b:c"] {
            assert!(text.parse::<Address>().is_err(), "{text:?} was taken for an address");
        }
    }

    #[test]
    fn servers_listen_on_other_sockets_too() {
        let bind = |text: &str| text.parse::<Bind>().map(|bind| bind.listen().to_string());
        assert_eq!(bind("8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(bind("[::1]").unwrap(), "[::1]:8080");
        for text in ["unix:/run/mapproxy.sock", "fd:0", "systemd", "systemd:maps"] {
            assert_eq!(bind(text).unwrap(), text);
        }
        assert!(bind("unix:").is_err() && bind("fd:x").is_err());
    }

    #[test]
    fn only_loopback_addresses_are_local() {
        let is_local = |text: &str| text.parse::<Address>().unwrap().is_local();
        assert!(is_local("8080") && is_local("localhost") && is_local("127.0.0.2:80") && is_local("[::1]"));
        assert!(!is_local("0.0.0.0") && !is_local("[::]") && !is_local("example.org"));
    }
}
