//! The protocols.

pub(crate) mod markup;
mod metadata;
pub(crate) mod number;
mod ows;
pub mod wms;
pub(crate) mod xml;

use std::fmt;

pub use metadata::{Contact, ServiceMetadata};
pub use ows::Ows;

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
