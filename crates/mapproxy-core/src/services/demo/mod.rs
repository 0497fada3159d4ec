//! `/demo`: what there is, a viewer for each layer, and the documents of the services as text.
//!
//! The pages load nothing from other hosts but the background that the configuration names, run no script and use no
//! style that is not a file of ours, and ask the services in process. They list what the caller may see.

mod assets;
mod document;
mod index;
mod markup;
mod snippets;
mod start_view;
mod viewer;
mod visible;

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use percent_encoding::AsciiSet;

use self::assets::Versions;
use super::ServiceMetadata;
use super::tms::Tms;
use super::wms::WmsOptions;
use super::wmts::Wmts;
use crate::auth::{self, Gate};
use crate::response::{plain, respond};
use crate::{Incoming, Response, Service, TileLayer};

const HTML: &str = "text/html; charset=utf-8";

/// Options of [`Demo`].
#[derive(Debug)]
pub struct DemoOptions {
    /// Title and abstract of the pages.
    pub metadata: ServiceMetadata,
    /// The WMS.
    pub wms: Option<WmsOptions>,
    /// The WMTS.
    pub wmts: Option<Arc<Wmts>>,
    /// The TMS.
    pub tms: Option<Arc<Tms>>,
    /// The KML service.
    pub kml: Option<Arc<Tms>>,
    /// The layers of the tiled services.
    pub layers: Vec<TileLayer>,
    /// All services by the first segment of their paths, to be asked for documents.
    pub services: HashMap<&'static str, Arc<dyn Service>>,
    /// Address of a map of the world beneath the layers, in EPSG:3857, with `{z}`, `{x}` and `{y}`.
    pub background: Option<String>,
    /// Who may see the pages.
    pub gate: Gate,
}

/// `/demo`.
#[derive(Debug)]
pub struct Demo {
    options: DemoOptions,
    policy: HeaderValue,
}

/// What all pages have.
struct Frame<'a> {
    title: &'a str,
    version: &'static str,
    assets: Versions,
}

/// Why there is no page.
enum Failure {
    /// What was asked for is not there.
    NoSuch(&'static str),
    /// The answer of the service that a page is about.
    Refused(Box<Response>),
}

impl Demo {
    /// The pages for `options`.
    pub fn new(options: DemoOptions) -> Demo {
        let policy = policy(options.background.as_deref());
        Demo { options, policy }
    }

    fn page(&self, request: &Incoming<'_>) -> Result<Response, Failure> {
        let params = request.params();
        for (parameter, view) in [
            ("wms_layer", Demo::wms_viewer as fn(&Demo, &str, &Incoming<'_>) -> Result<viewer::Viewer, Failure>),
            ("wmts_layer", Demo::wmts_viewer),
            ("tms_layer", Demo::tms_viewer),
        ] {
            if let Some(layer) = params.get(parameter) {
                let viewer = view(self, layer, request)?;
                return Ok(self.html(&viewer::Page { frame: self.frame(), viewer }));
            }
        }
        if let Some(document) = self.document(request)? {
            return Ok(self.html(&document));
        }
        Ok(self.html(&self.index(request)))
    }

    fn tile_layer(&self, name: &str) -> Option<&TileLayer> {
        self.options.layers.iter().find(|layer| layer.name == name)
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            title: self.options.metadata.title.as_deref().unwrap_or("MapProxy"),
            version: env!("CARGO_PKG_VERSION"),
            assets: Versions::current(),
        }
    }

    fn html(&self, page: &impl Template) -> Response {
        let text = match page.render() {
            Ok(text) => text,
            Err(error) => {
                log::error!(target: "mapproxy.service.demo", "cannot write page: {error}");
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
            }
        };
        let mut response = respond(StatusCode::OK, HTML, text);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

impl Service for Demo {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        if let Some(name) = request.rest().strip_prefix("/static/") {
            return Some(assets::answer(name, request));
        }
        if let Err(refusal) = self.options.gate.ask(auth::Operation::Demo, request, Default::default) {
            return Some(refusal.response());
        }
        if request.rest().is_empty() {
            // Links on the pages are relative to the slash.
            let mut response = plain(StatusCode::MOVED_PERMANENTLY, "");
            let url = format!("{}/demo/", request.urls().script);
            let url = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/demo/"));
            response.headers_mut().insert(LOCATION, url);
            return Some(response);
        }
        Some(self.page(request).unwrap_or_else(|failure| match failure {
            Failure::NoSuch(what) => plain(StatusCode::NOT_FOUND, what),
            Failure::Refused(answer) => *answer,
        }))
    }
}

/// Nothing but our own files and answers, and pictures of the background's host.
fn policy(background: Option<&str>) -> HeaderValue {
    let host = background.and_then(origin).map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{host}; connect-src 'self'; \
         frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Scheme and host of an address; `None` if these could say something else in a header.
fn origin(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let (scheme, host) = (&url[..start - 3], &url[start..end]);
    (matches!(scheme, "http" | "https") && !host.is_empty() && host.chars().all(is_host)).then_some(&url[..end])
}

/// All but what RFC 3986, 2.3 reserves for nothing, and the colon, which stands in every name of an SRS.
const ESCAPED: &AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// A segment of a path, or a value in a query.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests;
