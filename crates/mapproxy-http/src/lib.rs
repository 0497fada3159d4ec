//! Runs an [`Application`](mapproxy_core::Application) anywhere: the only crate that listens.
//!
//! ```no_run
//! # #[cfg(feature = "server")]
//! # fn serve(app: impl mapproxy_core::Application + 'static) -> Result<(), mapproxy_http::ServerError> {
//! use mapproxy_http::Server;
//!
//! Server::builder(app).bind("127.0.0.1:8080").stop_on_signals(true).build()?.run()
//! # }
//! ```
//!
//! | wanted | taken | feature |
//! |---|---|---|
//! | a complete server over HTTP: limits, access log, graceful stop | `Server` | `server`, on by default |
//! | the same over FastCGI, for a web server in front | `Server` with `Protocol::FastCgi` | `fastcgi`, on by default |
//! | a service in one's own hyper, tower or axum server | `AppService` | `server` |
//! | a service in one's own actix-web server | `actix::service` | `actix` |
//! | a server without any async runtime | `blocking::Server` | `blocking` |
//! | one request from the environment | [`cgi::run`] | |
//!
//! All of them listen wherever [`Listen`] says, where they listen themselves.
//!
//! Answers that can be had at once ([`Application::call_now`](mapproxy_core::Application::call_now): cached tiles) are
//! given in the event loop that read the request. All others go to threads of their own ([`Workers`]), so that any
//! number of requests may wait for upstream servers without a cached tile waiting for them.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// Which parts of the shared modules are used depends on the features; with all of them, everything is.
#![cfg_attr(not(all(feature = "fastcgi", feature = "blocking")), allow(dead_code))]

mod access_log;
#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod cgi;
#[cfg(feature = "server")]
mod connection;
mod error;
#[cfg(feature = "server")]
mod event_loop;
#[cfg(feature = "fastcgi")]
#[doc(hidden)]
pub mod fastcgi;
mod listen;
mod meta_variables;
#[cfg(feature = "server")]
mod notify;
mod refusal;
mod remote;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod service;
#[cfg(feature = "server")]
mod stream;
mod workers;

pub use access_log::{AccessLog, AccessLogFormat};
pub use error::ServerError;
pub use listen::{Listen, ListenAddr, UnixSocket};
#[cfg(feature = "server")]
pub use server::{Builder, Handle, Protocol, Server};
#[cfg(feature = "server")]
pub use service::{Answer, AppService};
pub use workers::{Busy, Workers};
