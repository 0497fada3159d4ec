//! Who is at the other end of a connection, for the application and for the log.

use std::fmt;
use std::net::IpAddr;

use mapproxy_core::request::Peer;

/// The other end of a connection; behind FastCGI and CGI, the client of the web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Ip(IpAddr),
    Unix,
    /// The web server does not say.
    Unknown,
}

impl Remote {
    pub(crate) fn peer(self) -> Option<Peer> {
        match self {
            Remote::Ip(address) => Some(Peer::Ip(address)),
            Remote::Unix => Some(Peer::Unix),
            Remote::Unknown => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Ip(address) => write!(f, "{address}"),
            Remote::Unix => f.write_str("unix:"),
            Remote::Unknown => f.write_str("-"),
        }
    }
}
