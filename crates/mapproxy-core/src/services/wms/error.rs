//! Why there is no answer, or no map.

use http::StatusCode;
use mapproxy_map::{Fault, MapError};

use crate::auth::Refusal;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct WmsError {
    pub(super) message: String,
    pub(super) code: Option<&'static str>,
    pub(super) status: StatusCode,
    /// Not to be drawn in a picture, whatever the client prefers.
    pub(super) xml_only: bool,
}

/// Why there is no map.
#[derive(Debug)]
pub(super) enum Failure {
    Exception(WmsError),
    /// The caller may not see it.
    Refused(Refusal),
}

impl From<WmsError> for Failure {
    fn from(error: WmsError) -> Self {
        Failure::Exception(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl WmsError {
    /// A mistake of the client, without code. The standards of the WMS name no status, so it is HTTP's.
    pub(super) fn new(message: impl Into<String>) -> WmsError {
        WmsError { message: message.into(), code: None, status: StatusCode::BAD_REQUEST, xml_only: false }
    }

    /// Something that the client cannot help.
    pub(super) fn failed(message: impl Into<String>) -> WmsError {
        WmsError { status: StatusCode::INTERNAL_SERVER_ERROR, ..WmsError::new(message) }
    }

    pub(super) fn with_code(code: &'static str, message: impl Into<String>) -> WmsError {
        WmsError { code: Some(code), ..WmsError::new(message) }
    }

    /// What a client may read of a map that could not be drawn; the whole goes to the log.
    pub(super) fn from_map(error: &MapError, hide_details: bool) -> WmsError {
        match error.fault() {
            Fault::Client => log::info!(target: "mapproxy.service.wms", "{error}"),
            Fault::Upstream => log::warn!(target: "mapproxy.service.wms", "{error}"),
            Fault::Local => log::error!(target: "mapproxy.service.wms", "{error}"),
        }
        let message = error.public_message(hide_details);
        if error.fault() == Fault::Client { WmsError::new(message) } else { WmsError::failed(message) }
    }
}
