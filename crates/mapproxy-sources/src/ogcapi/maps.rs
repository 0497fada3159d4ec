//! `type: ogcapimaps`: a server of maps by OGC API - Maps (OGC 20-058).
//!
//! Requests are equal to MapProxy's to the byte.

use std::fmt::Write as _;
use std::sync::Arc;

use mapproxy_client::{HttpClient, UpstreamRequest};
use mapproxy_grid::{Bbox, Coverage, ResolutionRange, Srs, SupportedSrs};
use mapproxy_image::{ImageFormat, ImageOptions, MapImage};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};
use serde_json::Value;

use super::api::{Api, Document, Link};
use super::{Discovery, crs};
use crate::picture_server::{GetMap, PictureServer};
use crate::pyfmt::{push_g17, quote};
use crate::{OnErrors, TransparentColor};

/// Target of the log.
const LOG: &str = "mapproxy.source.ogcapimaps";

/// What an [`OgcApiMapsSource`] is made of.
#[derive(Clone, Debug)]
pub struct OgcApiMapsOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `landingpage_url`, credentials included.
    pub landing_page: String,
    /// `collection`; `None`: the whole dataset.
    pub collection: Option<Arc<str>>,
    /// `supported_srs`; `None`: what the server says.
    pub supported_srs: Option<SupportedSrs>,
    /// `globals.srs.preferred_src_proj`, for what the server says.
    pub preferred_srs: Arc<Vec<(Srs, Vec<Srs>)>>,
    /// `transparent`.
    pub transparent: bool,
    /// `bgcolor` as it goes on the wire: `0xRRGGBB` or `0xAARRGGBB`.
    pub bgcolor: Option<String>,
    /// `image`.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A server of maps by OGC API - Maps.
#[derive(Debug)]
pub struct OgcApiMapsSource {
    server: PictureServer,
    api: Api,
    options: OgcApiMapsOptions,
    maps: Discovery<Maps>,
}

/// What the server says of its maps.
#[derive(Debug)]
struct Maps {
    links: Vec<Link>,
    /// `None`: it does not say, and so it is CRS84.
    srs: Option<SupportedSrs>,
}

impl OgcApiMapsSource {
    /// The server that `options` describe, asked for maps through `client` and for what it says of itself through
    /// `documents`.
    pub fn new(
        options: OgcApiMapsOptions,
        client: Arc<dyn HttpClient>,
        documents: Arc<dyn HttpClient>,
    ) -> OgcApiMapsSource {
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let server = PictureServer {
            profile,
            transparent_color: options.transparent_color,
            formats: Vec::new(),
            on_error: options.on_error.clone(),
            log_target: LOG,
            client,
        };
        let api = Api::new(Arc::clone(&options.name), &options.landing_page, options.collection.as_deref(), documents);
        OgcApiMapsSource { server, api, options, maps: Discovery::new() }
    }

    fn discover(&self) -> Result<Maps, MapError> {
        let document = self.api.document(&self.api.url)?;
        let links = document.links("map");
        let is_picture = |link: &Link| match &link.media_type {
            Some(media_type) => ImageFormat::new(media_type).codec().is_some(),
            None => true,
        };
        let links: Vec<Link> = links.into_iter().filter(is_picture).collect();
        if links.is_empty() {
            let reason = "no link with rel http://www.opengis.net/def/rel/ogc/1.0/map to a picture".to_owned();
            return Err(self.api.unusable(&document.url, reason));
        }
        let srs = match &self.options.supported_srs {
            Some(configured) => Some(configured.clone()),
            None => {
                let named = named_srs(&document);
                (!named.is_empty()).then(|| SupportedSrs::new(named, Arc::clone(&self.options.preferred_srs)))
            }
        };
        Ok(Maps { links, srs })
    }

    fn request(&self, maps: &Maps, map: &GetMap<'_>) -> UpstreamRequest {
        let mut url = maps.link(map.format).to_owned();
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("bbox=");
        let is_default = is_default(map.srs);
        push_bbox(&mut url, map.bbox, !is_default && map.srs.is_north_first());
        let uri = crs::uri(map.srs);
        if !is_default {
            let _ = write!(url, "&bbox-crs={}", quote(&uri));
        }
        if maps.srs.is_some() {
            let _ = write!(url, "&crs={}", quote(&uri));
        }
        let _ = write!(url, "&width={}&height={}", map.size.width, map.size.height);
        if self.options.transparent {
            url.push_str("&transparent=true");
        }
        if let Some(color) = &self.options.bgcolor {
            let _ = write!(url, "&bgcolor={color}");
        }
        self.api.request(&url)
    }
}

impl Maps {
    /// The best link for a format: to it, to one that says nothing, to PNG, to any.
    fn link(&self, format: &ImageFormat) -> &str {
        let to = |wanted: &ImageFormat| {
            let is_wanted = |link: &&Link| {
                let named = link.media_type.as_deref().map(ImageFormat::new);
                named.is_some_and(|named| named.codec() == wanted.codec())
            };
            self.links.iter().find(is_wanted)
        };
        let link = to(format).or_else(|| self.links.iter().find(|link| link.media_type.is_none()));
        let link = link.or_else(|| to(&ImageFormat::png())).or(self.links.first());
        link.map(|link| &*link.href).unwrap_or_default()
    }
}

impl MapSource for OgcApiMapsSource {
    fn profile(&self) -> &SourceProfile {
        &self.server.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.options.name)));
        if !self.server.profile.covers(query)? {
            return Ok(None);
        }
        let maps = match self.maps.get(|| self.discover()) {
            Ok(maps) => maps,
            Err(error) => {
                let image = &self.server.profile.image;
                return self.options.on_error.instead_of(error, query, query.size, image, LOG).map(Some);
            }
        };
        let only_default;
        let supported = match &maps.srs {
            Some(supported) => supported,
            None => {
                only_default = SupportedSrs::new(vec![Srs::wgs84()], Arc::default());
                &only_default
            }
        };
        self.server.render(query, Some(supported), &|map| self.request(&maps, map))
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.server.is_opaque(query)
    }
}

/// The systems in `crs`, and the one that the data are stored in.
fn named_srs(document: &Document) -> Vec<Srs> {
    let listed = document.value.get("crs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let stored = document.value.get("storageCrs");
    let mut named: Vec<Srs> = Vec::new();
    for srs in listed.iter().chain(stored).filter_map(Value::as_str).filter_map(crs::parse) {
        if !named.iter().any(|known| known.code() == srs.code()) {
            named.push(srs);
        }
    }
    named
}

/// Boxes are in CRS84 unless something else is said.
fn is_default(srs: &Srs) -> bool {
    matches!(srs.code(), "EPSG:4326" | "CRS:84" | "OGC:CRS84")
}

fn push_bbox(text: &mut String, bbox: &Bbox, north_first: bool) {
    let [min_x, min_y, max_x, max_y] = bbox.to_array();
    let edges = if north_first { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] };
    for (index, edge) in edges.into_iter().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        push_g17(text, edge);
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_client::ErrorKind;
    use mapproxy_client::testkit::{ScriptedClient, failure, response};
    use mapproxy_grid::Size;
    use mapproxy_image::{Color, PixelMode, Pixels, codec};

    use super::*;
    use crate::OnErrorRule;

    const REL: &str = "http://www.opengis.net/def/rel/ogc/1.0/map";

    fn options(collection: Option<&str>) -> OgcApiMapsOptions {
        OgcApiMapsOptions {
            name: "maps".into(),
            landing_page: "http://h/m".into(),
            collection: collection.map(Into::into),
            supported_srs: None,
            preferred_srs: Arc::default(),
            transparent: false,
            bgcolor: None,
            image: Arc::default(),
            transparent_color: None,
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: OnErrors::default(),
        }
    }

    /// A server with this document that draws everything red.
    fn server(document: Value) -> ScriptedClient {
        ScriptedClient::new(move |request| {
            let number = |name: &str| {
                let value = request.url.split(['&', '?']).find_map(|pair| pair.strip_prefix(name));
                value.and_then(|value| value.parse().ok())
            };
            let (Some(width), Some(height)) = (number("width="), number("height=")) else {
                return Ok(response("application/json", document.to_string()));
            };
            let pixels = Pixels::filled(Size::new(width, height), PixelMode::Rgb, Color::rgb(200, 10, 10));
            Ok(response(
                "image/png",
                codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap().bytes,
            ))
        })
    }

    fn only(codes: &[&str]) -> Option<SupportedSrs> {
        Some(SupportedSrs::new(codes.iter().map(|code| Srs::new(code).unwrap()).collect(), Arc::default()))
    }

    fn query(bbox: [f64; 4], srs: &str, format: &str) -> MapQuery {
        let [a, b, c, d] = bbox;
        let srs = Srs::new(srs).unwrap();
        MapQuery::new(Bbox::new(a, b, c, d), Size::new(200, 100), srs, ImageFormat::new(format))
    }

    fn source(options: OgcApiMapsOptions, client: &ScriptedClient) -> OgcApiMapsSource {
        OgcApiMapsSource::new(options, Arc::new(client.clone()), Arc::new(client.clone()))
    }

    /// The last request for a map.
    fn asked(options: OgcApiMapsOptions, document: &Value, query: &MapQuery) -> String {
        let client = server(document.clone());
        source(options, &client).render(query).unwrap().unwrap();
        let urls = client.urls();
        assert_eq!(urls.len(), 2, "{urls:?}");
        urls[1].strip_prefix("http://h").unwrap().to_owned()
    }

    /// Recorded from MapProxy 7.0.0.
    #[test]
    fn maps_are_asked_for_as_the_reference_does() {
        let plain = serde_json::json!({"links": [{"rel": REL, "type": "image/png", "href": "/m/map.png?x=y"}]});
        let collection = serde_json::json!({
            "links": [
                {"rel": "[ogc-rel:map]", "type": "image/png", "href": "http://h/m/c/map"},
                {"rel": REL, "type": "image/jpeg", "href": "/m/c/map.jpg"},
                {"rel": REL, "type": "text/html", "href": "/m/c/map.html"},
            ],
            "crs": [
                "http://www.opengis.net/def/crs/OGC/1.3/CRS84", "http://www.opengis.net/def/crs/EPSG/0/4326", "#/crs",
                "http://www.opengis.net/def/crs/EPSG/0/3857", "http://www.opengis.net/def/crs/EPSG/0/25832",
            ],
        });
        let moon = serde_json::json!({
            "links": [{"rel": REL, "type": "image/png", "href": "/m/h/map"}],
            "storageCrs": "http://www.opengis.net/def/crs/IAU/2015/30100",
        });
        let degrees = [5.0, 45.0, 15.0, 50.0];
        let decorated =
            OgcApiMapsOptions { transparent: true, bgcolor: Some("0x80FF00FF".to_owned()), ..options(Some("c")) };
        let configured = OgcApiMapsOptions { supported_srs: only(&["EPSG:4326", "EPSG:900913"]), ..options(Some("c")) };
        const DEF: &str = "http%3A%2F%2Fwww.opengis.net%2Fdef%2Fcrs%2F";
        for (options, document, query, expected) in [
            (
                options(None),
                &plain,
                query(degrees, "EPSG:4326", "image/png"),
                "/m/map.png?x=y&bbox=5,45,15,50&width=200&height=100".to_owned(),
            ),
            (
                decorated.clone(),
                &collection,
                query(degrees, "EPSG:4326", "image/png"),
                format!(
                    "/m/c/map?bbox=5,45,15,50&crs={DEF}EPSG%2F0%2F4326&width=200&height=100&transparent=true&bgcolor=0x80FF00FF"
                ),
            ),
            (
                decorated,
                &collection,
                query([0.0, 0.0, 2000000.5, 1000000.123456789], "EPSG:3857", "image/jpeg"),
                format!(
                    "/m/c/map.jpg?bbox=0,0,2000000.5,1000000.1234567889&bbox-crs={DEF}EPSG%2F0%2F3857&crs={DEF}EPSG%2F0%2F3857&width=200&height=100&transparent=true&bgcolor=0x80FF00FF"
                ),
            ),
            (
                options(Some("c")),
                &collection,
                query([3400000.0, 5000000.0, 3600000.0, 5100000.0], "EPSG:31467", "image/png"),
                format!(
                    "/m/c/map?bbox=857974.25972470548,5642383.2027921313,1145551.9017858994,5786629.782926308&bbox-crs={DEF}EPSG%2F0%2F3857&crs={DEF}EPSG%2F0%2F3857&width=200&height=100"
                ),
            ),
            (
                configured.clone(),
                &plain,
                query(degrees, "EPSG:4326", "image/png"),
                format!("/m/map.png?x=y&bbox=5,45,15,50&crs={DEF}EPSG%2F0%2F4326&width=200&height=100"),
            ),
            (
                configured,
                &plain,
                query([0.0, 0.0, 20.0, 10.0], "EPSG:3857", "image/png"),
                format!(
                    "/m/map.png?x=y&bbox=0,0,20,10&bbox-crs={DEF}EPSG%2F0%2F900913&crs={DEF}EPSG%2F0%2F900913&width=200&height=100"
                ),
            ),
            (
                options(Some("h")),
                &moon,
                query([0.0, 0.0, 20.0, 10.0], "IAU_2015:30100", "image/png"),
                format!(
                    "/m/h/map?bbox=0,0,10,20&bbox-crs={DEF}IAU%2F2015%2F30100&crs={DEF}IAU%2F2015%2F30100&width=200&height=100"
                ),
            ),
        ] {
            assert_eq!(asked(options, document, &query), expected);
        }
    }

    #[test]
    fn a_format_that_the_server_has_not_is_asked_for_as_another() {
        let document = serde_json::json!({"links": [
            {"rel": REL, "type": "application/pdf", "href": "/pdf"},
            {"rel": REL, "type": "image/jpeg", "href": "/jpg"},
        ]});
        let url = asked(options(None), &document, &query([5.0, 45.0, 15.0, 50.0], "EPSG:4326", "image/gif"));
        assert!(url.starts_with("/jpg?"), "{url}");
        let untyped = serde_json::json!({"links": [{"rel": REL, "href": "map"}]});
        let url = asked(options(None), &untyped, &query([5.0, 45.0, 15.0, 50.0], "EPSG:4326", "image/png"));
        assert!(url.starts_with("/map?bbox"), "{url}");
    }

    #[test]
    fn a_server_that_was_away_is_asked_again() {
        let away = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (there, seen) = (server(serde_json::json!({"links": [{"rel": REL, "href": "/map"}]})), Arc::clone(&away));
        let client = ScriptedClient::new(move |request| {
            if seen.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(failure(ErrorKind::Status(503), request));
            }
            there.send(request)
        });
        let degrees = query([5.0, 45.0, 15.0, 50.0], "EPSG:4326", "image/png");
        let maps = source(options(None), &client);
        for _ in 0..3 {
            assert!(maps.render(&degrees).unwrap_err().to_string().contains("503") || client.urls().len() == 1);
        }
        assert_eq!(client.urls().len(), 1, "a failure counts for a moment");
        away.store(false, std::sync::atomic::Ordering::SeqCst);
        maps.maps.forget_failure();
        assert!(maps.render(&degrees).unwrap().is_some());

        away.store(true, std::sync::atomic::Ordering::SeqCst);
        let (status, color) = (Some(503), Color::rgb(1, 2, 3));
        let rule = OnErrorRule { status, color, cacheable: false, authorize_stale: false };
        let maps = source(OgcApiMapsOptions { on_error: OnErrors::new(vec![rule]), ..options(None) }, &client);
        for _ in 0..2 {
            let image = maps.render(&degrees).unwrap().unwrap();
            assert_eq!(image.pixels().unwrap().single_color(), Some(Color::rgb(1, 2, 3)));
        }
    }

    #[test]
    fn documents_without_maps_are_errors() {
        for document in [serde_json::json!({}), serde_json::json!([1]), serde_json::json!({"links": "x", "crs": 7})] {
            let client = server(document);
            let error =
                source(options(None), &client).render(&query([5.0, 45.0, 15.0, 50.0], "EPSG:4326", "image/png"));
            assert!(error.unwrap_err().to_string().contains("no link with rel"));
        }
    }
}
