//! The only crate that dials out: HTTP requests to upstream servers.
//!
//! [`HttpClient`] is what sources hold; [`UreqClient`] speaks to the network, [`testkit`] stands in for it.
//! [`Limited`] lets a server get only so many requests at once.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod cookies;
mod fan_out;
mod limit;
mod proxy;
mod redirect;
mod request;
pub mod testkit;
mod transport;
mod ureq_client;
mod url;

pub use fan_out::fan_out;
pub use limit::Limited;
pub use request::{ClientError, ErrorKind, HttpClient, Method, Peer, UpstreamRequest, UpstreamResponse};
pub use ureq_client::{ClientOptions, ClientSetupError, Clients, RequestLimit, UreqClient};
pub use url::{Credentials, RedactedUrl};
