//! Whole applications: a configuration in, answers out. One program for all, since each links the whole of MapProxy.
#![allow(clippy::unwrap_used)]

mod authorization;
mod coverages;
mod dimensions;
mod embedding;
mod explanations;
mod global_auth;
mod http_semantics;
mod kml;
mod ogcapi;
mod tile_json;
