//! Whole applications: a configuration in, answers out. One program for all, since each links the whole of MapProxy.
#![allow(clippy::unwrap_used)]

mod authorization;
mod caches_elsewhere;
mod coverages;
mod data_tiles;
mod dimensions;
mod embedding;
mod explanations;
mod global_auth;
mod http_semantics;
mod kml;
mod never_stored;
mod ogcapi;
mod sources;
mod tile_json;
mod what_is_asked;
