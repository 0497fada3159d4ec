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
        let name = match params.get("service").filter(|name| !name.is_empty()) {
            Some(name) => name.to_lowercase(),
            // WMS 1.0.0 has no such parameter, and clients forget it with GetMap.
            None if params.get("wmtver") == Some("1.0.0") || params.get("request") == Some("GetMap") => {
                "wms".to_owned()
            }
            None => {
                let text = "The service parameter is missing";
                return Err(Box::new(exception("MissingParameterValue", Some("service"), text)));
            }
        };
        let service = match name.as_str() {
            "wms" => self.wms.as_deref(),
            "wmts" => self.wmts.as_deref(),
            _ => None,
        };
        service.ok_or_else(|| {
            let text = format!("The value of the service parameter \"{name}\" is invalid");
            Box::new(forbid_caching(exception("InvalidParameterValue", Some("service"), &text)))
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
pub(crate) fn exception(code: &str, locator: Option<&str>, text: &str) -> Response {
    let text = escape(text);
    let locator = locator.map(|name| format!(" locator=\"{name}\"")).unwrap_or_default();
    let body = format!(
        "<?xml version=\"1.0\"?>\n\
         <ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"http://www.opengis.net/ows/1.1 \
         http://schemas.opengis.net/ows/1.1.0/owsExceptionReport.xsd\" version=\"1.0.0\" xml:lang=\"en\">\n\
         <ows:Exception exceptionCode=\"{code}\"{locator}>\n\
         <ows:ExceptionText>{text}</ows:ExceptionText>\n</ows:Exception>\n</ows:ExceptionReport>\n"
    );
    respond(StatusCode::BAD_REQUEST, "text/xml; charset=utf-8", body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Request;

    /// Answers with its name.
    #[derive(Debug)]
    struct Named(&'static str);

    impl Service for Named {
        fn handle(&self, _request: &Incoming<'_>) -> Option<Response> {
            Some(respond(StatusCode::OK, "text/plain", self.0))
        }
        fn handle_now(&self, _request: &Incoming<'_>) -> Option<Response> {
            Some(respond(StatusCode::OK, "text/plain", self.0))
        }
    }

    fn get(service: &Ows, query: &str) -> (Response, bool) {
        let uri = format!("/service?{query}").parse::<http::Uri>().unwrap();
        let request: Request = http::Request::get(uri).body(Bytes::new()).unwrap();
        let incoming = Incoming::new(&request);
        (service.handle(&incoming).unwrap(), service.handle_now(&incoming).is_some())
    }

    #[test]
    fn requests_go_to_the_service_they_name() {
        let both = Ows::new(Some(Arc::new(Named("wms"))), Some(Arc::new(Named("wmts"))));
        for (query, name) in [
            ("SERVICE=WMS", "wms"),
            ("Service=wMtS&request=GetMap", "wmts"),
            ("request=GetMap", "wms"),
            ("WMTVER=1.0.0", "wms"),
        ] {
            let (response, now) = get(&both, query);
            assert_eq!((response.body().as_bytes(), now), (name.as_bytes(), true), "{query}");
        }
    }

    #[test]
    fn other_requests_are_exceptions() {
        let only_wmts = Ows::new(None, Some(Arc::new(Named("wmts"))));
        for (query, code, text, uncacheable) in [
            ("", "MissingParameterValue", "The service parameter is missing", false),
            ("request=getmap", "MissingParameterValue", "The service parameter is missing", false),
            ("wmtver=1.0", "MissingParameterValue", "The service parameter is missing", false),
            ("service=", "MissingParameterValue", "The service parameter is missing", false),
            ("service=F%3Coo", "InvalidParameterValue", "The value of the service parameter \"f<oo\" is invalid", true),
            ("service=WMS", "InvalidParameterValue", "The value of the service parameter \"wms\" is invalid", true),
            ("request=GetMap", "InvalidParameterValue", "The value of the service parameter \"wms\" is invalid", true),
        ] {
            let (response, now) = get(&only_wmts, query);
            assert_eq!((response.status(), now), (StatusCode::BAD_REQUEST, false), "{query}");
            assert_eq!(response.headers()["content-type"], "text/xml; charset=utf-8");
            assert_eq!(response.headers().contains_key("cache-control"), uncacheable, "{query}");
            let body = std::str::from_utf8(response.body().as_bytes()).unwrap();
            let document = roxmltree::Document::parse(body).unwrap();
            let exception = document.descendants().find(|node| node.tag_name().name() == "Exception").unwrap();
            assert_eq!(exception.attribute("exceptionCode"), Some(code), "{query}");
            assert_eq!(exception.attribute("locator"), Some("service"));
            let element = document.descendants().find(|node| node.tag_name().name() == "ExceptionText").unwrap();
            assert_eq!(element.text(), Some(text), "{query}");
        }
    }
}
