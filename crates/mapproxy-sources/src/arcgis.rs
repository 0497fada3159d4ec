//! `type: arcgis`: map and image services of an ArcGIS server, asked through their REST interface.
//!
//! Requests (`export`, `exportImage`, `identify`) are equal to MapProxy's to the byte.

use std::fmt::Write as _;
use std::sync::Arc;

use mapproxy_client::{ErrorKind, HttpClient, UpstreamRequest};
use mapproxy_grid::{Bbox, Coverage, ResolutionRange, Srs, SupportedSrs};
use mapproxy_image::{ImageOptions, MapImage};
use mapproxy_map::info::{InfoDocument, InfoKind, InfoQuery, InfoSource};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::kvp::{Endpoint, Params};
use crate::picture_server::{GetMap, PictureServer, full_name};
use crate::pyfmt::push_f64;
use crate::{HttpMethod, MAX_INFO_BYTES, OnErrors, TransparentColor, answer};

/// Target of the log.
const LOG: &str = "mapproxy.source.arcgis";

/// What an [`ArcGisSource`] is made of.
#[derive(Clone, Debug)]
pub struct ArcGisOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, credentials included: of a `MapServer` or an `ImageServer`, or already of its `export` or
    /// `exportImage`.
    pub url: String,
    /// `req` without `url`: names as spelled, in order, values as they go on the wire but not percent-encoded. Of a
    /// `format` only the place counts.
    pub params: Vec<(String, String)>,
    /// `image`, with `transparent` from `req.transparent` where it is not set by itself.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `supported_formats` as written; empty for any.
    pub supported_formats: Vec<String>,
    /// `supported_srs`; `None` for any.
    pub supported_srs: Option<SupportedSrs>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A map or image service of an ArcGIS server.
#[derive(Clone, Debug)]
pub struct ArcGisSource {
    server: PictureServer,
    supported_srs: Option<SupportedSrs>,
    endpoint: Endpoint,
    params: Params,
}

impl ArcGisSource {
    /// The service that `options` describe, asked through `client`.
    pub fn new(options: ArcGisOptions, client: Arc<dyn HttpClient>) -> ArcGisSource {
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage,
            resolutions: options.resolutions,
            ..SourceProfile::new(options.name, options.image)
        };
        let server = PictureServer {
            profile,
            transparent_color: options.transparent_color,
            formats: options.supported_formats.iter().map(|name| full_name(name)).collect(),
            on_error: options.on_error,
            log_target: LOG,
            client,
        };
        let endpoint = Endpoint::new(&service(&options.url, Operation::Export), HttpMethod::Get, false);
        ArcGisSource { server, supported_srs: options.supported_srs, endpoint, params: Params::of(&options.params) }
    }

    fn request(&self, map: &GetMap<'_>) -> UpstreamRequest {
        let mut params = self.params.clone();
        params.set("format", map.format.ext());
        // A configured format keeps its place, another comes before the box.
        params.set("bbox", numbers(map.bbox));
        params.set("size", format!("{},{}", map.size.width, map.size.height));
        params.set("bboxSR", well_known_id(map.srs));
        params.set("imageSR", well_known_id(map.srs));
        params.set("f", "image");
        self.endpoint.request(&params)
    }
}

impl MapSource for ArcGisSource {
    fn profile(&self) -> &SourceProfile {
        &self.server.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.server.profile.name)));
        if !self.server.profile.covers(query)? {
            return Ok(None);
        }
        self.server.render(query, self.supported_srs.as_ref(), &|map| self.request(map))
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.server.is_opaque(query)
    }
}

/// What an [`ArcGisInfo`] is made of.
#[derive(Clone, Debug)]
pub struct ArcGisInfoOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, as in [`ArcGisOptions`].
    pub url: String,
    /// `req` without `url`, as in [`ArcGisOptions`].
    pub params: Vec<(String, String)>,
    /// `supported_srs`; `None` for any.
    pub supported_srs: Option<SupportedSrs>,
    /// `coverage`: of points elsewhere nothing is known.
    pub coverage: Option<Coverage>,
    /// `opts.featureinfo_tolerance`: pixels around the point.
    pub tolerance: f64,
    /// `opts.featureinfo_return_geometries`.
    pub geometries: bool,
}

/// Asks an ArcGIS server what lies at a point (`identify`).
#[derive(Clone, Debug)]
pub struct ArcGisInfo {
    options: ArcGisInfoOptions,
    endpoint: Endpoint,
    params: Params,
    client: Arc<dyn HttpClient>,
}

impl ArcGisInfo {
    /// The service that `options` describe, asked through `client`.
    pub fn new(options: ArcGisInfoOptions, client: Arc<dyn HttpClient>) -> ArcGisInfo {
        let endpoint = Endpoint::new(&service(&options.url, Operation::Identify), HttpMethod::Get, false);
        let params = Params::of(&options.params);
        ArcGisInfo { options, endpoint, params, client }
    }

    fn request(&self, query: &InfoQuery, html: bool) -> UpstreamRequest {
        let mut params = self.params.clone();
        params.set("mapExtent", numbers(&query.bbox));
        params.set("imageDisplay", format!("{},{},96", query.size.width, query.size.height));
        let (x, y) = query.point();
        params.set("geometry", format!("{x:.6},{y:.6}"));
        params.set("sr", well_known_id(&query.srs));
        params.set("f", if html { "html" } else { "json" });
        params.set("tolerance", self.options.tolerance.to_string());
        params.set("returnGeometry", self.options.geometries.to_string());
        params.set("geometryType", "esriGeometryPoint");
        self.endpoint.request(&params)
    }
}

impl InfoSource for ArcGisInfo {
    fn name(&self) -> &Arc<str> {
        &self.options.name
    }

    /// HTML where that is wanted, otherwise JSON; as plain text where nothing else is wanted.
    fn info(&self, query: &InfoQuery) -> Result<Option<InfoDocument>, MapError> {
        let name = &self.options.name;
        let _place = trace::within(|| Place::Source(Arc::clone(name)));
        if let Some(coverage) = &self.options.coverage
            && !query.lies_in(coverage)?
        {
            return Ok(None);
        }
        let moved = match &self.options.supported_srs {
            Some(supported) if supported.find(&query.srs).is_none() => {
                supported.best_for(&query.srs).map(|srs| query.in_srs(srs)).transpose()?
            }
            _ => None,
        };
        let wanted = query.info_format.as_deref();
        let html = wanted.is_some_and(|format| format.starts_with("text/html"));
        let request = self.request(moved.as_ref().unwrap_or(query), html);
        let response = match self.client.send(&request) {
            Ok(response) => response,
            // Nothing is known there.
            Err(error) if error.kind == ErrorKind::Status(204) => return Ok(None),
            Err(error) => return Err(answer::client_error(name, error)),
        };
        if response.body.len() as u64 > MAX_INFO_BYTES {
            let reason = format!("{} bytes, and {MAX_INFO_BYTES} are allowed", response.body.len());
            return Err(answer::no_image(name, "feature info is too large", &request.url, reason));
        }
        let kind = match wanted.map(InfoKind::of) {
            _ if html => InfoKind::Html,
            Some(Some(InfoKind::Json | InfoKind::Xml | InfoKind::Html)) => InfoKind::Json,
            _ => InfoKind::Text,
        };
        let text = String::from_utf8_lossy(&response.body).into_owned();
        if !html && let Some(reason) = failure(&text) {
            return Err(answer::no_image(name, "source answered with an error", &request.url, reason));
        }
        Ok(Some(InfoDocument::new(kind, text)))
    }
}

/// What a service is asked to do.
#[derive(Clone, Copy)]
enum Operation {
    Export,
    Identify,
}

/// The address of an operation, from that of the service or of its export.
fn service(url: &str, operation: Operation) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let path = path.trim_end_matches('/');
    let mut address = match operation {
        Operation::Export if path.ends_with("MapServer") => format!("{path}/export"),
        Operation::Export if path.ends_with("ImageServer") => format!("{path}/exportImage"),
        Operation::Export => path.to_owned(),
        Operation::Identify => {
            let service = path.strip_suffix("/export").or_else(|| path.strip_suffix("/exportImage"));
            format!("{}/identify", service.unwrap_or(path))
        }
    };
    if let Some(query) = query {
        let _ = write!(address, "?{query}");
    }
    address
}

/// The number by which ArcGIS knows an SRS.
fn well_known_id(srs: &Srs) -> String {
    match srs.code() {
        "CRS:84" | "OGC:CRS84" => "4326".to_owned(),
        code => code.rsplit_once(':').map_or(code, |(_, number)| number).to_owned(),
    }
}

fn numbers(bbox: &Bbox) -> String {
    let mut text = String::with_capacity(80);
    for (index, edge) in bbox.to_array().into_iter().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        push_f64(&mut text, edge);
    }
    text
}

/// Servers tell of errors with status 200: `{"error": {"code": 400, "message": "…"}}`.
fn failure(text: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = document.get("error")?;
    Some(error.get("message").and_then(|message| message.as_str()).map_or_else(|| error.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use mapproxy_client::testkit::{ScriptedClient, response};
    use mapproxy_grid::Size;
    use mapproxy_image::{Color, ImageFormat, PixelMode, Pixels, codec};

    use super::*;
    use crate::OnErrorRule;

    /// A server that draws everything in one colour, of the size that was asked for.
    fn server() -> ScriptedClient {
        ScriptedClient::new(|request| {
            let size = request.url.split(['?', '&']).find_map(|pair| pair.strip_prefix("size=")).unwrap();
            let (width, height) = size.split_once(',').unwrap();
            let size = Size::new(width.parse().unwrap(), height.parse().unwrap());
            let pixels = Pixels::filled(size, PixelMode::Rgb, Color::rgb(200, 10, 10));
            let png = codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap();
            Ok(response("image/png", png.bytes))
        })
    }

    fn options(url: &str, params: &[(&str, &str)]) -> ArcGisOptions {
        ArcGisOptions {
            name: "arc".into(),
            url: format!("http://h{url}"),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            image: Arc::default(),
            transparent_color: None,
            supported_formats: Vec::new(),
            supported_srs: None,
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: OnErrors::default(),
        }
    }

    fn only(codes: &[&str]) -> Option<SupportedSrs> {
        Some(SupportedSrs::new(codes.iter().map(|code| Srs::new(code).unwrap()).collect(), Arc::default()))
    }

    fn bbox() -> Bbox {
        Bbox::new(5.0, 45.0, 15.0, 50.0)
    }

    fn asked(options: ArcGisOptions, srs: &str, bbox: Bbox, format: &str) -> String {
        let client = server();
        let query = MapQuery::new(bbox, Size::new(200, 100), Srs::new(srs).unwrap(), ImageFormat::new(format));
        ArcGisSource::new(options, Arc::new(client.clone())).render(&query).unwrap();
        client.urls().first().map_or(String::new(), |url| url.strip_prefix("http://h").unwrap().to_owned())
    }

    /// Recorded from MapProxy 7.0.0.
    #[test]
    fn maps_are_asked_for_as_the_reference_does() {
        let all =
            [("layers", "show: 0"), ("transparent", "True"), ("dpi", "96"), ("time", "2020"), ("format", "png32")];
        let image_server = ArcGisOptions { supported_srs: only(&["EPSG:3857"]), ..options("/arc/ImageServer/", &all) };
        let jpg = ArcGisOptions {
            supported_formats: vec!["jpg".into()],
            supported_srs: only(&["EPSG:900913"]),
            ..options("/arc/other", &[])
        };
        let export = options("/arc/MapServer/export?token=a", &[("layers", "show:0"), ("transparent", "False")]);
        let preset = options("/arc/ImageServer/exportImage/", &[("format", "jpgpng"), ("transparent", "True")]);
        let utm = ArcGisOptions {
            supported_srs: only(&["EPSG:25832"]),
            ..options("/arc/MapServer", &[("layers", "show:0")])
        };
        let metres = Bbox::new(0.0, 0.0, 1000.0, 500.0);
        for (options, srs, bbox, format, expected) in [
            (
                options("/arc/MapServer", &[("layers", "show:0,1")]),
                "EPSG:4326",
                bbox(),
                "image/png",
                "/arc/MapServer/export?layers=show%3A0,1&format=png&bbox=5.0,45.0,15.0,50.0&size=200,100&bboxSR=4326&imageSR=4326&f=image",
            ),
            (
                image_server,
                "EPSG:4326",
                bbox(),
                "image/png",
                "/arc/ImageServer/exportImage?layers=show%3A%200&transparent=True&dpi=96&time=2020&format=png&bbox=556597.4539663679,5621521.486192066,1669792.3618991035,6446275.841017161&size=200,148&bboxSR=3857&imageSR=3857&f=image",
            ),
            (
                export,
                "EPSG:4326",
                bbox(),
                "image/png",
                "/arc/MapServer/export?token=a&layers=show%3A0&transparent=False&format=png&bbox=5.0,45.0,15.0,50.0&size=200,100&bboxSR=4326&imageSR=4326&f=image",
            ),
            (
                jpg,
                "EPSG:3857",
                metres,
                "image/png",
                "/arc/other?format=jpg&bbox=0.0,0.0,1000.0,500.0&size=200,100&bboxSR=900913&imageSR=900913&f=image",
            ),
            (
                preset,
                "EPSG:3857",
                metres,
                "image/jpeg",
                "/arc/ImageServer/exportImage?format=jpeg&transparent=True&bbox=0.0,0.0,1000.0,500.0&size=200,100&bboxSR=3857&imageSR=3857&f=image",
            ),
            (
                utm,
                "EPSG:4326",
                bbox(),
                "image/png",
                "/arc/MapServer/export?layers=show%3A0&format=png&bbox=184738.5728434822,4983436.768229601,972891.7912730456,5555901.554085919&size=200,145&bboxSR=25832&imageSR=25832&f=image",
            ),
            (
                options("/arc/MapServer", &[]),
                "CRS:84",
                bbox(),
                "image/tiff",
                "/arc/MapServer/export?format=tiff&bbox=5.0,45.0,15.0,50.0&size=200,100&bboxSR=4326&imageSR=4326&f=image",
            ),
        ] {
            assert_eq!(asked(options, srs, bbox, format), expected);
        }
    }

    #[test]
    fn only_the_coverage_is_asked_for() {
        let coverage = Coverage::from_bbox(bbox(), Srs::wgs84());
        let limited = ArcGisOptions { coverage: Some(coverage), ..options("/arc/MapServer", &[]) };
        let url = asked(limited.clone(), "EPSG:4326", Bbox::new(0.0, 45.0, 10.0, 50.0), "image/png");
        assert!(url.contains("bbox=5.0,45.0,10.0,50.0&size=100,100&"), "{url}");
        assert_eq!(asked(limited, "EPSG:4326", Bbox::new(20.0, 45.0, 30.0, 50.0), "image/png"), "");
    }

    #[test]
    fn failures_become_the_configured_colour() {
        let (color, status) = (Color::rgb(1, 2, 3), Some(500));
        let rule = OnErrorRule { status, color, cacheable: false, authorize_stale: false };
        let on_error = OnErrors::new(vec![rule]);
        let client = ScriptedClient::failing(500);
        let source = ArcGisSource::new(ArcGisOptions { on_error, ..options("/MapServer", &[]) }, Arc::new(client));
        let query = MapQuery::new(bbox(), Size::new(4, 4), Srs::wgs84(), ImageFormat::png());
        let image = source.render(&query).unwrap().unwrap();
        assert_eq!(image.pixels().unwrap().single_color(), Some(Color::rgb(1, 2, 3)));
    }

    fn info_options(url: &str, params: &[(&str, &str)]) -> ArcGisInfoOptions {
        let ArcGisOptions { name, url, params, .. } = options(url, params);
        ArcGisInfoOptions { name, url, params, supported_srs: None, coverage: None, tolerance: 5.0, geometries: false }
    }

    fn point(info_format: Option<&str>) -> InfoQuery {
        let query = InfoQuery::new(bbox(), Size::new(200, 100), Srs::wgs84(), (10.0, 20.0));
        InfoQuery { info_format: info_format.map(str::to_owned), ..query }
    }

    /// Recorded from MapProxy 7.0.0.
    #[test]
    fn points_are_asked_for_as_the_reference_does() {
        let asked = |options, format| {
            let client = ScriptedClient::answering("application/json", "{}");
            ArcGisInfo::new(options, Arc::new(client.clone())).info(&point(format)).unwrap();
            client.urls()[0].strip_prefix("http://h").unwrap().to_owned()
        };
        assert_eq!(
            asked(info_options("/arc/MapServer/export?token=a", &[("layers", "show:0")]), Some("text/html")),
            "/arc/MapServer/identify?token=a&layers=show%3A0&mapExtent=5.0,45.0,15.0,50.0&imageDisplay=200,100,96&geometry=5.500000,49.000000&sr=4326&f=html&tolerance=5&returnGeometry=false&geometryType=esriGeometryPoint"
        );
        let moved = ArcGisInfoOptions {
            supported_srs: only(&["EPSG:3857"]),
            tolerance: 10.0,
            geometries: true,
            ..info_options("/arc/ImageServer/", &[("format", "png32")])
        };
        assert_eq!(
            asked(moved, None),
            "/arc/ImageServer/identify?format=png32&mapExtent=556597.4539663679,5621521.486192066,1669792.3618991035,6446275.841017161&imageDisplay=200,148,96&geometry=612257.199363,6273523.239669&sr=3857&f=json&tolerance=10&returnGeometry=true&geometryType=esriGeometryPoint"
        );
    }

    #[test]
    fn documents_are_what_was_asked_for() {
        let kind = |format| {
            let client = ScriptedClient::answering("application/json", "{\"results\": []}");
            let info = ArcGisInfo::new(info_options("/MapServer", &[]), Arc::new(client));
            info.info(&point(format)).unwrap().unwrap().kind
        };
        assert_eq!(kind(Some("text/html; charset=utf-8")), InfoKind::Html);
        assert_eq!(kind(Some("application/json")), InfoKind::Json);
        assert_eq!(kind(Some("text/xml")), InfoKind::Json);
        assert_eq!((kind(Some("text/plain")), kind(None)), (InfoKind::Text, InfoKind::Text));
    }

    #[test]
    fn an_error_with_status_200_is_one() {
        let body = r#"{"error": {"code": 400, "message": "Unable to complete operation."}}"#;
        let client = ScriptedClient::answering("application/json", body);
        let error = ArcGisInfo::new(info_options("/MapServer", &[]), Arc::new(client)).info(&point(None)).unwrap_err();
        let MapError::Upstream { reason, .. } = error else { panic!("{error:?}") };
        assert_eq!(reason, "Unable to complete operation.");
    }

    #[test]
    fn nothing_is_asked_of_points_beside_the_coverage() {
        let client = ScriptedClient::failing(500);
        let coverage = Some(Coverage::from_bbox(Bbox::new(10.0, 45.0, 15.0, 50.0), Srs::wgs84()));
        let options = ArcGisInfoOptions { coverage, ..info_options("/MapServer", &[]) };
        assert!(ArcGisInfo::new(options, Arc::new(client.clone())).info(&point(None)).unwrap().is_none());
        assert!(client.urls().is_empty());
    }
}
