//! The protocols.

pub mod demo;
pub(crate) mod explanations;
pub(crate) mod kept;
mod layer_tree;
pub(crate) mod map_drawing;
pub(crate) mod markup;
pub mod ogcapi;
mod ows;
mod tile_answer;
pub mod tms;
pub mod wms;
pub mod wmts;
pub(crate) mod xml;

use std::fmt;

pub use crate::metadata::{Contact, Inspire, ServiceMetadata};
pub use ows::Ows;
pub(crate) use ows::exception as ows_exception;

use crate::{Incoming, Response};

/// A protocol under one or more first path segments.
pub trait Service: fmt::Debug + Send + Sync {
    /// The answer; `None`: there is nothing under this path (404).
    fn handle(&self, request: &Incoming<'_>) -> Option<Response>;
    /// The answer, if it can be had without waiting for a source, a lock or much computing; see
    /// [`crate::Application::call_now`].
    fn handle_now(&self, _request: &Incoming<'_>) -> Option<Response> {
        None
    }
}

/// Logs why there is no map: what upstream servers and we do wrong loudly, what clients ask wrongly quietly.
pub(crate) fn log_map_error(error: &mapproxy_map::MapError) {
    use mapproxy_map::Fault;
    mapproxy_trace::error(error);
    match error.fault() {
        Fault::Client => log::debug!(target: "mapproxy.service", "{error}"),
        Fault::Upstream => log::warn!(target: "mapproxy.source", "{error}"),
        Fault::Local => log::error!(target: "mapproxy.service", "{error}"),
    }
}

/// Several paths may lead to one service.
impl<S: Service + ?Sized> Service for std::sync::Arc<S> {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        (**self).handle(request)
    }
    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        (**self).handle_now(request)
    }
}
