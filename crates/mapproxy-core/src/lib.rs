//! MapProxy as a library: [`make_app`] builds an [`Application`] from a `mapproxy.yaml`, any server can call it.
//!
//! ```no_run
//! use mapproxy_core::{Application, Body, make_app};
//!
//! let app = make_app("mapproxy.yaml")?;
//! let request = http::Request::get("/demo/").body(bytes::Bytes::new())?;
//! let response = app.call(request);
//! assert_eq!(response.status(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

/// What the guide shows is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/authorization.md")]
struct Guide;

mod app;
pub mod auth;
mod build;
mod conditional;
pub mod decorate;
mod documents;
mod layers;
mod metadata;
mod methods;
mod observe;
mod params;
mod proxies;
pub mod request;
mod response;
pub mod seed;
pub mod services;
pub mod wrap;
mod xslt;

pub use app::{App, Application};
pub use build::{AppBuilder, BuildError, Built, CustomSource, CustomStore, coverage, grids, make_app};
pub use layers::{
    Attribution, Identifier, KeywordList, LayerMetadata, LegendUrls, Logo, MapLayer, OnlineResource, TileLayer, TileSet,
};
pub use observe::{Answered, Observer};
pub use params::Params;
pub use proxies::{ProxyRules, ProxyRulesError, PublicUrl};
pub use request::{Incoming, Request, Urls};
pub use response::{Body, CacheState, Response};
pub use services::Service;
pub use wrap::make_multi_app;
pub use {
    mapproxy_cache as cache, mapproxy_client as client, mapproxy_grid as grid, mapproxy_image as image,
    mapproxy_map as map, mapproxy_trace as trace,
};
