//! The only crate that dials out: HTTP requests to upstream servers.
//!
//! [`HttpClient`] is what sources hold; [`UreqClient`] speaks to the network, [`testkit`] stands in for it.
//! [`Limited`] lets a server get only so many requests at once. [`CgiClient`] runs a program in place of a server, and
//! [`Workers`] keeps programs that answer one question after the other.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod cgi;
mod cookies;
mod fan_out;
mod limit;
mod note;
mod process;
mod proxy;
mod redirect;
mod request;
pub mod testkit;
mod transport;
mod ureq_client;
mod url;
mod workers;

pub use cgi::{CgiClient, CgiSetupError, cgi_response, program_in_path};
pub use fan_out::fan_out;
pub use limit::Limited;
pub use request::{ClientError, ErrorKind, HttpClient, Method, Peer, UpstreamRequest, UpstreamResponse};
pub use ureq_client::{ClientOptions, ClientSetupError, Clients, RequestLimit, UreqClient};
pub use url::{Credentials, RedactedUrl};
pub use workers::{WorkerError, Workers};
