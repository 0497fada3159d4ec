//! Serves an [`Application`](mapproxy_core::Application) over HTTP/1: the only crate that listens.
//!
//! ```no_run
//! use mapproxy_http::Server;
//!
//! # fn serve(app: impl mapproxy_core::Application + 'static) -> Result<(), mapproxy_http::ServerError> {
//! Server::builder(app).bind("127.0.0.1:8080").stop_on_signals(true).build()?.run()
//! # }
//! ```
//!
//! [`Server`] is complete: time limits, size limits, an access log, a graceful stop. Who has a hyper or tower server
//! already puts an [`AppService`] into it instead.
//!
//! Answers that can be had at once ([`Application::call_now`](mapproxy_core::Application::call_now): cached tiles) are
//! given in the event loop that read the request. All others go to threads of their own ([`Workers`]), so that any
//! number of requests may wait for upstream servers without a cached tile waiting for them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access_log;
pub mod cgi;
mod connection;
mod error;
mod event_loop;
#[cfg(feature = "fastcgi")]
#[doc(hidden)]
pub mod fastcgi;
mod listen;
mod meta_variables;
mod notify;
mod refusal;
mod remote;
mod server;
mod service;
mod stream;
mod workers;

pub use access_log::{AccessLog, AccessLogFormat};
pub use error::ServerError;
pub use listen::{Listen, ListenAddr, UnixSocket};
pub use server::{Builder, Handle, Protocol, Server};
pub use service::{Answer, AppService};
pub use workers::{Busy, Workers};
