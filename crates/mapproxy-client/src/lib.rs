//! The only crate that dials out: HTTP requests to upstream servers.
//!
//! [`HttpClient`] is what sources hold; [`UreqClient`] speaks to the network, `testkit` stands in for it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod request;

pub use request::{ClientError, ErrorKind, HttpClient, Method, RedactedUrl, UpstreamRequest, UpstreamResponse};
