//! What goes wrong, as a JSON or HTML document.

use http::StatusCode;
use mapproxy_map::{Fault, MapError};
use serde::Serialize;

use crate::auth::Refusal;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Error(ApiError),
    /// The caller may not see it.
    Refused(Refusal),
}

/// An error that the client is told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) detail: String,
}

/// The document: RFC 7807 with MapProxy's title and content type.
#[derive(Debug, Serialize)]
pub(super) struct Exception<'a> {
    title: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    detail: &'a str,
}

impl ApiError {
    /// A parameter or a part of the path has a value that it cannot have.
    pub(super) fn invalid(detail: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, kind: "Invalid Parameter", detail: detail.into() }
    }

    /// There is no parameter of this name here.
    pub(super) fn unknown_parameter(name: &str) -> ApiError {
        let detail = format!("Unknown query parameter {name}");
        ApiError { status: StatusCode::BAD_REQUEST, kind: "Bad Request", detail }
    }

    pub(super) fn not_found(what: &str) -> ApiError {
        ApiError { status: StatusCode::NOT_FOUND, kind: "Not Found", detail: format!("{what} not found") }
    }

    pub(super) fn not_acceptable(format: &str) -> ApiError {
        let detail = format!("Unsupported image format {format}");
        ApiError { status: StatusCode::NOT_ACCEPTABLE, kind: "Not Acceptable", detail }
    }

    /// The configuration lacks something that the request needs.
    pub(super) fn not_configured(detail: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "InternalError", detail: detail.into() }
    }

    /// What a client may read of a map that could not be drawn; the whole goes to the log.
    pub(super) fn from_map(error: &MapError, hide_details: bool) -> ApiError {
        crate::services::log_map_error(error);
        let detail = error.public_message(hide_details);
        match error.fault() {
            Fault::Client => ApiError::invalid(detail),
            Fault::Upstream | Fault::Local => ApiError::not_configured(detail),
        }
    }

    pub(super) fn document(&self) -> Exception<'_> {
        Exception { title: "OGCAPI", kind: self.kind, status: self.status.as_u16(), detail: &self.detail }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Error(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}
