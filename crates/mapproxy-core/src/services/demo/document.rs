//! Documents of the services, as they answer the caller, to be read on a page.

use askama::Template;
use http::StatusCode;

use super::index::OGC_API;
use super::{Demo, Failure, Frame, encode, markup};
use crate::Incoming;
use crate::services::wms::WmsVersion;

#[derive(Template)]
#[template(path = "demo/document.html")]
pub(super) struct DocumentPage<'a> {
    frame: Frame<'a>,
    heading: String,
    /// Other versions of the document: query and name.
    variants: Vec<Variant>,
    url: String,
    media_type: String,
    bytes: usize,
    /// HTML.
    text: String,
}

struct Variant {
    query: String,
    text: &'static str,
    is_current: bool,
}

struct Wanted {
    heading: String,
    path: String,
    variants: Vec<Variant>,
}

impl Demo {
    /// The document that a request names; `None` if it names none.
    pub(super) fn document(&self, request: &Incoming<'_>) -> Result<Option<DocumentPage<'_>>, Failure> {
        let Some(wanted) = self.wanted(request) else { return Ok(None) };
        let no_such = || Failure::NoSuch("no such document");
        let mut inner = request.beside(&wanted.path).ok_or_else(no_such)?;
        for name in [http::header::IF_NONE_MATCH, http::header::IF_MODIFIED_SINCE] {
            inner.headers_mut().remove(name);
        }
        let inner = Incoming::new(&inner);
        let service = self.options.services.get(inner.first_segment()).ok_or_else(no_such)?;
        let answer = service.handle(&inner).ok_or_else(no_such)?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Failure::Refused(Box::new(answer)));
        }
        let media_type = answer.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let body = answer.body().as_bytes();
        let text = String::from_utf8_lossy(body);
        Ok(Some(DocumentPage {
            frame: self.frame(),
            heading: wanted.heading,
            variants: wanted.variants,
            url: format!("{}{}", request.urls().script, wanted.path),
            bytes: body.len(),
            text: if media_type.contains("json") { markup::json(&text) } else { markup::xml(&text) },
            media_type,
        }))
    }

    fn wanted(&self, request: &Incoming<'_>) -> Option<Wanted> {
        let params = request.params();
        let plain = |heading: &str, path: String| Some(Wanted { heading: heading.to_owned(), path, variants: vec![] });
        let wms = "/service?REQUEST=GetCapabilities&SERVICE=WMS";
        if params.get("wms_capabilities").is_some() {
            let versions = self.wms_versions();
            let named = params.get("version");
            let version = versions.iter().copied().find(|version| Some(version.as_str()) == named);
            let version = version.or_else(|| versions.first().copied()).unwrap_or(WmsVersion::V1_3_0);
            let variant = |other: WmsVersion| Variant {
                query: format!("wms_capabilities&version={other}"),
                text: other.as_str(),
                is_current: other == version,
            };
            let name = if version == WmsVersion::V1_0_0 { "WMTVER" } else { "VERSION" };
            let path = format!("{wms}&{name}={version}");
            let variants = versions.into_iter().map(variant).collect();
            return Some(Wanted { heading: "WMS capabilities".to_owned(), path, variants });
        }
        if params.get("wmsc_capabilities").is_some() {
            return plain("WMS-C capabilities", format!("{wms}&VERSION=1.1.1&tiled=true"));
        }
        if params.get("wmts_capabilities").is_some() {
            return plain("WMTS capabilities, RESTful", "/wmts/1.0.0/WMTSCapabilities.xml".to_owned());
        }
        if params.get("wmts_capabilities_kvp").is_some() {
            return plain("WMTS capabilities, KVP", wms.replace("WMS", "WMTS"));
        }
        if params.get("tms_capabilities").is_some() {
            return match (params.get("layer"), params.get("srs")) {
                (Some(layer), Some(srs)) => {
                    plain("TMS tile map", format!("/tms/1.0.0/{}/{}", encode(layer), encode(srs)))
                }
                _ => plain("TMS tile maps", "/tms/1.0.0/".to_owned()),
            };
        }
        if let Some(wanted) = params.get("ogcapi") {
            let (name, path) = OGC_API.into_iter().find(|(_, path)| *path == wanted)?;
            return plain(&format!("OGC API: {name}"), format!("/ogcapi{path}?f=json"));
        }
        if let (Some(layer), Some(srs)) = (params.get("tilejson"), params.get("srs")) {
            return plain("TileJSON", format!("/tiles/{}/{}.json", encode(layer), encode(srs)));
        }
        if let Some(layer) = params.get("kml") {
            let spec = params.get("srs").map(|srs| format!("/{}", encode(srs))).unwrap_or_default();
            return plain("KML super-overlay", format!("/kml/{}{spec}", encode(layer)));
        }
        None
    }
}
