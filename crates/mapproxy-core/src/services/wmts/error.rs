//! Exceptions of WMTS: OWS exception reports (OGC 06-121r9, 8).

use http::StatusCode;
use mapproxy_map::MapError;

use super::super::markup::escape;
use crate::Response;
use crate::auth::Refusal;
use crate::response::{forbid_caching, respond};

/// Why a WMTS request fails.
#[derive(Debug)]
pub(super) enum WmtsError {
    /// Parameters are missing; the text names them.
    Missing(String),
    /// A value that is not known here.
    Invalid { message: String, locator: Option<&'static str> },
    /// The place lies outside of the tile matrix.
    TileOutOfRange,
    /// The pixel lies outside of the tile; the parameter with which it does.
    PointOutOfRange(&'static str),
    /// The layer cannot do this.
    NotSupported(String),
    /// The tile could not be had.
    Map(MapError),
    /// The caller may not see it.
    Refused(Refusal),
}

impl From<Refusal> for WmtsError {
    fn from(refusal: Refusal) -> Self {
        WmtsError::Refused(refusal)
    }
}

impl WmtsError {
    pub(super) fn invalid(message: String, locator: Option<&'static str>) -> Self {
        WmtsError::Invalid { message, locator }
    }

    pub(super) fn response(&self, hide_details: bool) -> Response {
        let (status, code, message, locator) = match self {
            WmtsError::Missing(message) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "NoApplicableCode", message.clone(), None)
            }
            WmtsError::Invalid { message, locator } => {
                (StatusCode::BAD_REQUEST, "InvalidParameterValue", message.clone(), *locator)
            }
            WmtsError::TileOutOfRange => {
                let message = "The requested tile is outside the bounding box of the tile map.".to_owned();
                (StatusCode::BAD_REQUEST, "TileOutOfRange", message, None)
            }
            WmtsError::PointOutOfRange(locator) => {
                let message = "The requested pixel is outside of the tile.".to_owned();
                (StatusCode::BAD_REQUEST, "PointIJOutOfRange", message, Some(*locator))
            }
            WmtsError::NotSupported(message) => {
                (StatusCode::NOT_IMPLEMENTED, "OperationNotSupported", message.clone(), None)
            }
            WmtsError::Refused(refusal) => return refusal.response(),
            WmtsError::Map(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "NoApplicableCode", error.public_message(hide_details), None)
            }
        };
        let locator = locator.map_or(String::new(), |name| format!(" locator=\"{name}\""));
        let xml = format!(
            "<?xml version=\"1.0\"?>\n\
             <ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:schemaLocation=\"http://www.opengis.net/ows/1.1 \
             http://schemas.opengis.net/ows/1.1.0/owsExceptionReport.xsd\" version=\"1.1.0\" xml:lang=\"en\">\n  \
             <ows:Exception exceptionCode=\"{code}\"{locator}>\n    \
             <ows:ExceptionText>{}</ows:ExceptionText>\n  </ows:Exception>\n</ows:ExceptionReport>\n",
            escape(&message)
        );
        forbid_caching(respond(status, "text/xml", xml))
    }
}
