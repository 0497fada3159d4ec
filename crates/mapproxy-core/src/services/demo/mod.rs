//! `/demo`: what there is, a viewer for each layer, and the capabilities documents as text.
//!
//! The pages load nothing from other hosts, and the services are asked in process.

mod preview;

use std::sync::Arc;

use askama::Template;
use http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use mapproxy_grid::Srs;

use super::ServiceMetadata;
use super::tms::Tms;
use super::wmts::Wmts;
use crate::auth::{self, Gate};
use crate::response::{plain, respond};
use crate::{Incoming, MapLayer, Response, Service};

/// Nothing but our own pictures, scripts and styles.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'self'";
const HTML: &str = "text/html; charset=utf-8";

/// Options of [`Demo`].
#[derive(Debug)]
pub struct DemoOptions {
    /// Title and abstract of the pages.
    pub metadata: ServiceMetadata,
    /// Layers, SRS and formats of the WMS.
    pub wms: Option<DemoWms>,
    /// The WMTS.
    pub wmts: Option<Arc<Wmts>>,
    /// The TMS.
    pub tms: Option<Arc<Tms>>,
    /// `/service`, asked for capabilities.
    pub ows: Arc<dyn Service>,
    /// Who may see the pages.
    pub gate: Gate,
}

/// What the WMS offers.
#[derive(Debug)]
pub struct DemoWms {
    /// The layer tree.
    pub root: Arc<MapLayer>,
    /// In the order of the configuration.
    pub srs: Vec<Srs>,
    /// Names of formats, in the order of the configuration.
    pub formats: Vec<String>,
}

/// `/demo`.
#[derive(Debug)]
pub struct Demo {
    options: DemoOptions,
}

/// A page that cannot be shown: what was asked for is not there.
struct NoSuch(&'static str);

enum Failure {
    NoSuch(NoSuch),
    /// The answer of the service that a page is about.
    Refused(Box<Response>),
}

impl From<NoSuch> for Failure {
    fn from(what: NoSuch) -> Self {
        Failure::NoSuch(what)
    }
}

impl Demo {
    /// The pages for `options`.
    pub fn new(options: DemoOptions) -> Demo {
        Demo { options }
    }

    fn page(&self, request: &Incoming<'_>) -> Result<Response, Failure> {
        let params = request.params();
        if let Some(layer) = params.get("wms_layer") {
            return Ok(html(&self.wms_preview(layer, request)?));
        }
        if let Some(layer) = params.get("wmts_layer") {
            return Ok(html(&self.wmts_preview(layer, request)?));
        }
        if let Some(layer) = params.get("tms_layer") {
            return Ok(html(&self.tms_preview(layer, request)?));
        }
        let wms = "/service?REQUEST=GetCapabilities&SERVICE=WMS";
        let views = [
            ("wms_capabilities", "WMS Capabilities", wms.to_owned()),
            ("wmsc_capabilities", "WMS-C Capabilities", format!("{wms}&tiled=true")),
            ("wmts_capabilities", "WMTS Capabilities (RESTful)", "/wmts/1.0.0/WMTSCapabilities.xml".to_owned()),
            ("wmts_capabilities_kvp", "WMTS Capabilities (KVP)", wms.replace("WMS", "WMTS")),
            ("tms_capabilities", "TMS Capabilities", tms_document(request)),
        ];
        for (name, heading, path) in views {
            if params.get(name).is_some() {
                return self.document(heading, &path, request);
            }
        }
        Ok(html(&self.index()))
    }

    fn index(&self) -> Index<'_> {
        let wms = self.options.wms.as_ref();
        let mut wms_layers = Vec::new();
        if let Some(wms) = wms {
            preview::collect_named(&wms.root, &mut wms_layers);
            wms_layers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut tiled = Vec::new();
        if let Some(wmts) = &self.options.wmts {
            let mut capabilities = Vec::new();
            if wmts.template().is_some() {
                let href = "../wmts/1.0.0/WMTSCapabilities.xml";
                capabilities.push(Link { href, text: "Capabilities document (RESTful)", view: "wmts_capabilities" });
            }
            if wmts.has_kvp() {
                let href = "../service?REQUEST=GetCapabilities&SERVICE=WMTS";
                capabilities.push(Link { href, text: "Capabilities document (KVP)", view: "wmts_capabilities_kvp" });
            }
            let layers = preview::tiled_layers(wmts.tile_sets());
            tiled.push(TiledService { key: "wmts", title: "WMTS", capabilities, layers });
        }
        if let Some(tms) = &self.options.tms {
            let link = Link { href: "../tms/1.0.0/", text: "Capabilities document", view: "tms_capabilities" };
            let layers = preview::tiled_layers(tms.tile_sets());
            tiled.push(TiledService { key: "tms", title: "TMS", capabilities: vec![link], layers });
        }
        Index {
            title: self.title(),
            version: env!("CARGO_PKG_VERSION"),
            abstract_: self.options.metadata.abstract_.as_deref(),
            has_wms: wms.is_some(),
            wms_layers,
            wms_formats: wms.map(preview::shown_formats).unwrap_or_default(),
            wms_srs: wms.map(|wms| wms.srs.iter().map(|srs| srs.code().to_owned()).collect()).unwrap_or_default(),
            tiled,
        }
    }

    fn title(&self) -> &str {
        self.options.metadata.title.as_deref().unwrap_or("MapProxy")
    }

    /// A document of one of our services, asked in process with the client's own headers.
    fn document(&self, heading: &'static str, path: &str, request: &Incoming<'_>) -> Result<Response, Failure> {
        let mut inner = request.beside(path).ok_or(NoSuch("no such document"))?;
        inner.headers_mut().remove(http::header::IF_NONE_MATCH);
        inner.headers_mut().remove(http::header::IF_MODIFIED_SINCE);
        let inner = Incoming::new(&inner);
        let answer = match inner.first_segment() {
            "tms" => self.options.tms.as_ref().and_then(|tms| tms.handle(&inner)),
            "wmts" => self.options.wmts.as_ref().and_then(|wmts| wmts.handle(&inner)),
            _ => self.options.ows.handle(&inner),
        };
        let answer = answer.ok_or(NoSuch("no such document"))?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Failure::Refused(Box::new(answer)));
        }
        Ok(html(&Document {
            title: self.title(),
            version: env!("CARGO_PKG_VERSION"),
            heading,
            url: format!("{}{path}", request.urls().script),
            text: String::from_utf8_lossy(answer.body().as_bytes()).into_owned(),
        }))
    }
}

impl Service for Demo {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        let is_static = request.rest().starts_with("/static/");
        if !is_static && let Err(refusal) = self.options.gate.ask(auth::Operation::Demo, request, Default::default) {
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
        Some(match request.rest() {
            "/static/viewer.js" => {
                respond(StatusCode::OK, "text/javascript; charset=utf-8", include_str!("static/viewer.js"))
            }
            "/static/demo.css" => respond(StatusCode::OK, "text/css; charset=utf-8", include_str!("static/demo.css")),
            path if path.starts_with("/static/") => plain(StatusCode::NOT_FOUND, "file not found"),
            _ => match self.page(request) {
                Ok(page) => page,
                Err(Failure::NoSuch(NoSuch(what))) => plain(StatusCode::NOT_FOUND, what),
                Err(Failure::Refused(answer)) => *answer,
            },
        })
    }
}

/// The TMS document that a request for a view names: the service's, or that of one layer.
fn tms_document(request: &Incoming<'_>) -> String {
    let params = request.params();
    let segment =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    match (params.get("layer"), params.get("srs")) {
        (Some(layer), Some(srs)) => format!("/tms/1.0.0/{}/{}", segment(layer), segment(srs)),
        _ => "/tms/1.0.0/".to_owned(),
    }
}

fn html(page: &impl Template) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => {
            log::error!(target: "mapproxy.service.demo", "cannot write page: {error}");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        }
    };
    let mut response = respond(StatusCode::OK, HTML, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[derive(Template)]
#[template(path = "demo/index.html")]
struct Index<'a> {
    title: &'a str,
    version: &'static str,
    abstract_: Option<&'a str>,
    has_wms: bool,
    wms_layers: Vec<NamedLayer>,
    wms_formats: Vec<Format>,
    wms_srs: Vec<String>,
    tiled: Vec<TiledService>,
}

struct NamedLayer {
    name: String,
}

struct Format {
    name: String,
    short: String,
}

struct TiledService {
    key: &'static str,
    title: &'static str,
    capabilities: Vec<Link>,
    layers: Vec<TiledLayer>,
}

struct Link {
    href: &'static str,
    text: &'static str,
    view: &'static str,
}

struct TiledLayer {
    name: String,
    format: String,
    sets: Vec<MatrixSet>,
}

struct MatrixSet {
    grid: String,
    srs: String,
    /// The SRS does not tell which set is meant.
    ambiguous: bool,
}

#[derive(Template)]
#[template(path = "demo/document.html")]
struct Document<'a> {
    title: &'a str,
    version: &'static str,
    heading: &'static str,
    url: String,
    text: String,
}
