//! `/service`, `/ows` and `/wms`: one address for all services that take their parameters from the query.

use std::sync::Arc;

use http::StatusCode;

use crate::response::{forbid_caching, respond};
use crate::services::markup::escape;
use crate::{Incoming, Response, Service};

/// Hands requests on by their `SERVICE` parameter.
#[derive(Debug)]
pub struct Ows {
    wms: Option<Arc<dyn Service>>,
    wmts: Option<Arc<dyn Service>>,
}

impl Ows {
    /// The services that are configured.
    pub fn new(wms: Option<Arc<dyn Service>>, wmts: Option<Arc<dyn Service>>) -> Ows {
        Ows { wms, wmts }
    }

    fn choose(&self, request: &Incoming<'_>) -> Result<&dyn Service, Box<Response>> {
        let params = request.params();
        let name = match params.get("service") {
            Some(name) => name.to_lowercase(),
            // WMS 1.0.0 has no such parameter, and clients forget it with GetMap.
            None if params.get("wmtver") == Some("1.0.0") || params.get("request") == Some("GetMap") => {
                "wms".to_owned()
            }
            None => {
                let text = "The service parameter is missing";
                return Err(Box::new(exception("MissingParameterValue", text)));
            }
        };
        let service = match name.as_str() {
            "wms" => self.wms.as_deref(),
            "wmts" => self.wmts.as_deref(),
            _ => None,
        };
        service.ok_or_else(|| {
            let text = format!("The value of the service parameter \"{name}\" is invalid");
            Box::new(forbid_caching(exception("InvalidParameterValue", &text)))
        })
    }
}

impl Service for Ows {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        match self.choose(request) {
            Ok(service) => service.handle(request),
            Err(response) => Some(*response),
        }
    }

    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        self.choose(request).ok()?.handle_now(request)
    }
}

/// An exception report of OWS Common 1.1 (OGC 06-121r3, 8).
fn exception(code: &str, text: &str) -> Response {
    let text = escape(text);
    let body = format!(
        "<?xml version=\"1.0\"?>\n\
         <ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"http://www.opengis.net/ows/1.1 \
         http://schemas.opengis.net/ows/1.1.0/owsExceptionReport.xsd\" version=\"1.0.0\" xml:lang=\"en\">\n\
         <ows:Exception exceptionCode=\"{code}\" locator=\"service\">\n\
         <ows:ExceptionText>{text}</ows:ExceptionText>\n</ows:Exception>\n</ows:ExceptionReport>\n"
    );
    respond(StatusCode::BAD_REQUEST, "text/xml; charset=utf-8", body)
}
