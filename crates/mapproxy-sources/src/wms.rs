//! `type: wms`: a Web Map Service.
//!
//! Requests are equal to MapProxy's to the byte, see `wms_request.rs`. Answers are checked for what can be
//! told without decoding them, and passed on as they came where nothing has to be done to them.

use std::any::Any;
use std::sync::Arc;

use mapproxy_client::{Credentials, HttpClient};
use mapproxy_grid::{Coverage, ResolutionRange, Srs, SupportedSrs};
use mapproxy_image::{ImageOptions, MapImage};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::picture_server::{GetMap, PictureServer, full_name};
use crate::wms_request::{RequestTemplate, is_dimension};
use crate::{OnErrors, TransparentColor};

/// Target of the log.
const LOG: &str = "mapproxy.source.wms";

/// The protocol's version spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WmsVersion {
    /// OGC 00-028.
    V1_0_0,
    /// OGC 01-047r2.
    V1_1_0,
    /// OGC 01-068r3.
    #[default]
    V1_1_1,
    /// OGC 06-042.
    V1_3_0,
}

/// How parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HttpMethod {
    /// POST with an `sld_body`, GET otherwise.
    #[default]
    Auto,
    /// In the URL.
    Get,
    /// In a form.
    Post,
}

/// What a [`WmsSource`] is made of.
#[derive(Clone, Debug)]
pub struct WmsOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, credentials included.
    pub url: String,
    /// `req` without `url`: names as spelled, in order, values as they go on the wire but not percent-encoded. An
    /// `sld` that names a file is to be replaced by `sld_body` with its content. A `format` here only says where the
    /// format goes; what it is belongs into `image`.
    pub params: Vec<(String, String)>,
    /// `wms_opts.version`.
    pub version: WmsVersion,
    /// `http.method`.
    pub method: HttpMethod,
    /// `image`, with `transparent` from `req.transparent` where it is not set by itself.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `supported_formats` as written; empty for any.
    pub supported_formats: Vec<String>,
    /// `supported_srs`; `None` for any.
    pub supported_srs: Option<SupportedSrs>,
    /// `forward_req_params`, and the dimensions of the cache: names of the client's parameters to pass on.
    pub forward_params: Vec<String>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

impl WmsOptions {
    /// The same for a cache, which asks for `format`. Its requests name the format before the box, and of the client's
    /// parameters only dimensions are passed on: tiles of different dimensions are kept apart, others are not.
    pub fn for_cache(mut self, format: &str) -> Self {
        if !self.params.iter().any(|(name, _)| name.eq_ignore_ascii_case("format")) {
            self.params.push(("format".to_owned(), format.to_owned()));
        }
        self.past_cache()
    }

    /// The same for maps in place of those of a cache (`use_direct_from_level`): in the format that is asked for, and
    /// with the client's parameters that the cache passes on.
    pub fn past_cache(mut self) -> Self {
        self.forward_params.retain(|name| is_dimension(name));
        self
    }
}

/// A Web Map Service.
#[derive(Clone, Debug)]
pub struct WmsSource {
    server: PictureServer,
    options: WmsOptions,
    template: RequestTemplate,
    credentials: Option<Arc<Credentials>>,
}

impl WmsSource {
    /// The server that `options` describe, asked through `client`.
    pub fn new(options: WmsOptions, client: Arc<dyn HttpClient>) -> Self {
        let (url, credentials) = Credentials::split(&options.url);
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let template =
            RequestTemplate::new(&url, &options.params, options.version, options.method, &options.forward_params);
        let server = PictureServer {
            profile,
            transparent_color: options.transparent_color,
            formats: options.supported_formats.iter().map(|name| full_name(name)).collect(),
            on_error: options.on_error.clone(),
            log_target: LOG,
            client,
        };
        WmsSource { server, options, template, credentials }
    }

    /// One request can ask for both: nothing but the layers and the ground below them differs.
    fn combines_with(&self, above: &WmsSource, query: &MapQuery) -> bool {
        let (a, b) = (&self.options, &above.options);
        let own_ground = |image: &ImageOptions| ImageOptions { transparent: None, ..image.clone() };
        a.image.opacity.is_none()
            && own_ground(&a.image) == own_ground(&b.image)
            && (&a.url, a.version, a.method, a.transparent_color) == (&b.url, b.version, b.method, b.transparent_color)
            && Arc::ptr_eq(&self.server.client, &above.server.client)
            && self.server.formats == above.server.formats
            && codes(&a.supported_srs) == codes(&b.supported_srs)
            && a.coverage == b.coverage
            && a.resolutions == b.resolutions
            && a.on_error == b.on_error
            && other_params(&a.params).eq(other_params(&b.params))
            && self.template.forwarded(&query.dimensions).eq(above.template.forwarded(&query.dimensions))
    }
}

impl MapSource for WmsSource {
    fn profile(&self) -> &SourceProfile {
        &self.server.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.options.name)));
        if !self.server.profile.covers(query)? {
            return Ok(None);
        }
        let ask = |map: &GetMap<'_>| self.template.request(map).with_credentials(self.credentials.clone());
        self.server.render(query, self.options.supported_srs.as_ref(), &ask)
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.server.is_opaque(query)
    }

    fn combine(&self, above: &dyn MapSource, query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        let above = (above as &dyn Any).downcast_ref::<WmsSource>()?;
        if !self.combines_with(above, query) {
            return None;
        }
        let mut options = self.options.clone();
        let layers =
            |source: &WmsSource| source.options.params.iter().position(|(name, _)| name.eq_ignore_ascii_case("layers"));
        let (ours, theirs) = (layers(self)?, layers(above)?);
        let value = &mut options.params[ours].1;
        value.push(',');
        value.push_str(&above.options.params[theirs].1);
        Some(Arc::new(WmsSource::new(options, Arc::clone(&self.server.client))))
    }
}

fn codes(srs: &Option<SupportedSrs>) -> Option<Vec<&str>> {
    srs.as_ref().map(|srs| srs.as_slice().iter().map(Srs::code).collect())
}

/// What must be the same in two requests to make them one.
fn other_params(params: &[(String, String)]) -> impl Iterator<Item = (String, &str)> {
    let lowered = params.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()));
    lowered.filter(|(name, _)| name != "layers" && name != "transparent")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mapproxy_client::testkit::{ScriptedClient, failure, response};
    use mapproxy_client::{ErrorKind, Method, UpstreamRequest};
    use mapproxy_grid::{Bbox, Size};
    use mapproxy_image::{Color, ImageFormat, PixelMode, Pixels, codec};

    use super::*;
    use crate::OnErrorRule;

    const RED: Color = Color::rgb(200, 10, 10);

    fn png(size: Size, color: Color) -> Vec<u8> {
        let pixels = Pixels::filled(size, PixelMode::Rgb, color);
        codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap().bytes.to_vec()
    }

    /// Width and height that a request asks for.
    fn size_asked(request: &UpstreamRequest) -> Size {
        let form = request.body.as_ref().map_or(String::new(), |body| String::from_utf8(body.to_vec()).unwrap());
        let query = format!("{}&{form}", request.url);
        let number = |name: &str| {
            let value = query.split(['&', '?']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().parse().unwrap()
        };
        Size::new(number("width"), number("height"))
    }

    /// A server that draws everything red.
    fn red() -> ScriptedClient {
        ScriptedClient::new(|request| Ok(response("image/png", png(size_asked(request), RED))))
    }

    fn options() -> WmsOptions {
        WmsOptions {
            name: "wms".into(),
            url: "http://h/service".into(),
            params: vec![("layers".into(), "a,b".into())],
            version: WmsVersion::V1_1_1,
            method: HttpMethod::Auto,
            image: Arc::default(),
            transparent_color: None,
            supported_formats: Vec::new(),
            supported_srs: None,
            forward_params: Vec::new(),
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: OnErrors::default(),
        }
    }

    fn with(params: &[(&str, &str)]) -> WmsOptions {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WmsOptions { params, ..options() }
    }

    fn only(codes: &[&str]) -> Option<SupportedSrs> {
        Some(SupportedSrs::new(codes.iter().map(|code| Srs::new(code).unwrap()).collect(), Arc::default()))
    }

    fn query(bbox: [f64; 4], size: (u32, u32), srs: &str) -> MapQuery {
        let [a, b, c, d] = bbox;
        MapQuery::new(Bbox::new(a, b, c, d), Size::new(size.0, size.1), Srs::new(srs).unwrap(), ImageFormat::png())
    }

    /// What most recordings were asked with.
    fn degrees() -> MapQuery {
        query([5.0, 45.0, 15.0, 55.0], (200, 200), "EPSG:4326")
    }

    /// What `options` ask for `query`: the URL behind the host, and the form.
    fn asked(options: WmsOptions, query: &MapQuery) -> String {
        let client = red();
        WmsSource::new(options, Arc::new(client.clone())).render(query).unwrap();
        let requests = client.requests();
        assert!(requests.len() <= 1, "{requests:?}");
        requests.into_iter().fold(String::new(), |_, request| {
            assert_eq!(request.method == Method::Post, request.body.is_some());
            let url = request.url.strip_prefix("http://h").unwrap().to_owned();
            match request.body {
                Some(body) => format!("{url} BODY {}", String::from_utf8(body.to_vec()).unwrap()),
                None => url,
            }
        })
    }

    /// Recorded from MapProxy 7.0.0.
    #[test]
    fn requests_are_those_of_the_reference() {
        use WmsVersion::*;
        let version = |version| WmsOptions { version, ..options() };
        let url = |url: &str| WmsOptions { url: url.into(), ..options() };
        let post = |options| WmsOptions { method: HttpMethod::Post, ..options };
        let base = "bbox=5.0,45.0,15.0,55.0&width=200&height=200&srs=EPSG%3A4326&format=image%2Fpng&request=GetMap&version=1.1.1&service=WMS&styles=";
        let no_format = "bbox=5.0,45.0,15.0,55.0&width=200&height=200&srs=EPSG%3A4326&request=GetMap&version=1.1.1&service=WMS&styles=";
        let plain = format!("layers=a,b&{base}");
        let odd = [("layers", "a/b:c d,ü+&=*~()!'$"), ("transparent", "True"), ("l", "[1, 2]"), ("e", "")];
        let preset = [
            ("layers", "a,b"),
            ("width", "1"),
            ("FORMAT", "image/gif"),
            ("bbox", "1,2"),
            ("styles", "st"),
            ("srs", "EPSG:9"),
            ("STYLES", "q"),
        ];
        let sized = |name: &str| {
            let image = Arc::new(ImageOptions::new(ImageFormat::new(name)));
            WmsOptions { image, ..with(&[("layers", "a,b"), ("format", name)]) }
        };
        let formats = |names: &[&str]| WmsOptions {
            supported_formats: names.iter().map(|name| (*name).to_owned()).collect(),
            ..options()
        };
        for (options, expected) in [
            (version(V1_0_0), "/service?layers=a,b&request=map&bbox=5.0,45.0,15.0,55.0&width=200&height=200&srs=EPSG%3A4326&format=PNG&wmtver=1.0.0&styles=".to_owned()),
            (version(V1_1_0), format!("/service?{plain}").replace("1.1.1", "1.1.0")),
            (options(), format!("/service?{plain}")),
            (version(V1_3_0), "/service?layers=a,b&bbox=45.0,5.0,55.0,15.0&width=200&height=200&format=image%2Fpng&request=GetMap&version=1.3.0&service=WMS&styles=&crs=EPSG%3A4326".to_owned()),
            (url("http://h/service?"), format!("/service?{plain}")),
            (url("http://h/service?map=/x/y.map"), format!("/service?map=/x/y.map&{plain}")),
            (url("http://h/service?map=x&"), format!("/service?map=x&&{plain}")),
            (with(&preset), "/service?layers=a,b&width=200&FORMAT=image%2Fpng&bbox=5.0,45.0,15.0,55.0&styles=st,q&srs=EPSG%3A4326&height=200&request=GetMap&version=1.1.1&service=WMS".to_owned()),
            (sized("image/jpeg"), format!("/service?layers=a,b&format=image%2Fjpeg&{no_format}")),
            (sized("image/png; mode=8bit"), format!("/service?layers=a,b&format=image%2Fpng%3B%20mode%3D8bit&{no_format}")),
            (formats(&["image/tiff", "image/jpeg"]), format!("/service?{plain}").replace("png", "tiff")),
            (formats(&["gif", "jpeg"]), format!("/service?{plain}").replace("png", "gif")),
            (with(&odd), format!("/service?layers=a%2Fb%3Ac%20d,%C3%BC%2B%26%3D%2A~%28%29%21%27%24&transparent=True&l=%5B1,%202%5D&e=&{base}")),
            (post(options()), format!("/service BODY {plain}")),
            (post(url("http://h/service?")), format!("/service BODY {plain}")),
            (post(url("http://h/service?map=x")), format!("/service?map=x BODY {plain}")),
            (with(&[("layers", "a,b"), ("sld_body", "<x y=\"1\"/>")]), format!("/service BODY layers=a,b&sld_body=%3Cx%20y%3D%221%22%2F%3E&{base}")),
            (WmsOptions { method: HttpMethod::Get, ..with(&[("layers", "a,b"), ("sld_body", "<x/>")]) }, format!("/service?layers=a,b&sld_body=%3Cx%2F%3E&{base}")),
            (with(&[("layers", "a,b"), ("sld", "http://x/y.sld")]), format!("/service?layers=a,b&sld=http%3A%2F%2Fx%2Fy.sld&{base}")),
        ] {
            assert_eq!(asked(options, &degrees()), expected);
        }
        // Sources of caches have a format at the end of what is configured.
        let tile = query([0.0, 0.0, 20037508.342789244, 20037508.342789244], (256, 256), "EPSG:900913");
        let cached = |version| WmsOptions { version, ..options() }.for_cache("image/png");
        assert_eq!(
            asked(cached(V1_1_1), &tile),
            "/service?layers=a,b&format=image%2Fpng&bbox=0.0,0.0,20037508.342789244,20037508.342789244&width=256&height=256&srs=EPSG%3A900913&request=GetMap&version=1.1.1&service=WMS&styles="
        );
        assert_eq!(
            asked(cached(V1_0_0), &tile),
            "/service?layers=a,b&format=PNG&request=map&bbox=0.0,0.0,20037508.342789244,20037508.342789244&width=256&height=256&srs=EPSG%3A900913&wmtver=1.0.0&styles="
        );
        assert_eq!(
            asked(cached(V1_3_0), &tile),
            "/service?layers=a,b&format=image%2Fpng&bbox=0.0,0.0,20037508.342789244,20037508.342789244&width=256&height=256&request=GetMap&version=1.3.0&service=WMS&styles=&crs=EPSG%3A900913"
        );
        let gauss = query([3e6, 5e6, 4e6, 6e6], (200, 200), "EPSG:31467");
        assert!(asked(version(V1_3_0), &gauss).contains("bbox=5000000.0,3000000.0,6000000.0,4000000.0&"));
        let huge = query([-20037508.342789244, 0.3333333333333333, 1e16, 1e22], (200, 200), "EPSG:31467");
        assert!(asked(options(), &huge).contains("bbox=-20037508.342789244,0.3333333333333333,1e%2B16,1e%2B22&"));
    }

    /// Boxes and sizes recorded from MapProxy 7.0.0; PROJ's version decides the last digits of some.
    #[test]
    fn a_server_is_asked_in_an_srs_it_supports() {
        let asked = |codes: &[&str], version, query: &MapQuery| {
            asked(WmsOptions { supported_srs: only(codes), version, ..options() }, query)
        };
        let parameter = |url: &str, name: &str| {
            let value = url.split(['&', '?']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("{name} in {url}")).to_owned()
        };
        let check = |url: &str, bbox: [f64; 4], size: [&str; 2], srs: &str| {
            let asked: Vec<f64> = parameter(url, "bbox").split(',').map(|edge| edge.parse().unwrap()).collect();
            assert!(asked.iter().zip(bbox).all(|(a, b)| (a - b).abs() < 1e-3), "{asked:?} is not {bbox:?}");
            assert_eq!([parameter(url, "width"), parameter(url, "height")], size, "{url}");
            assert!(url.contains(srs), "{srs} in {url}");
        };
        let both = ["EPSG:4326", "EPSG:31467"];
        assert!(
            asked(&both, WmsVersion::V1_1_1, &degrees())
                .contains("bbox=5.0,45.0,15.0,55.0&width=200&height=200&srs=EPSG%3A4326")
        );
        let url = asked(&["EPSG:900913", "EPSG:25832"], WmsVersion::V1_1_1, &degrees());
        check(
            &url,
            [556597.4539663679, 5621521.486192066, 1669792.3618991035, 7361866.113051188],
            ["200", "313"],
            "srs=EPSG%3A900913",
        );
        let url = asked(&["EPSG:25832"], WmsVersion::V1_1_1, &degrees());
        check(
            &url,
            [184738.5728434822, 4983436.768229601, 972891.7912730456, 6111268.070079633],
            ["200", "286"],
            "srs=EPSG%3A25832",
        );
        let url = asked(&["EPSG:31467"], WmsVersion::V1_3_0, &degrees());
        check(
            &url,
            [4984990.642462204, 3184690.7147186557, 6113277.485685089, 3973161.2053362774],
            ["200", "286"],
            "crs=EPSG%3A31467",
        );
        let url = asked(&both, WmsVersion::V1_1_1, &query([5e5, 55e5, 6e5, 56e5], (300, 100), "EPSG:3857"));
        check(
            &url,
            [3139821.3789636944, 4904488.216310517, 3214754.893176286, 4979190.014849707],
            ["300", "299"],
            "srs=EPSG%3A31467",
        );
        let google =
            asked(&["EPSG:900913"], WmsVersion::V1_1_1, &query([5e5, 55e5, 6e5, 56e5], (300, 100), "EPSG:3857"));
        assert!(google.contains("bbox=500000.0,5500000.0,600000.0,5600000.0&width=300&height=100&srs=EPSG%3A900913"));
        let crs84 = asked(&["CRS:84"], WmsVersion::V1_3_0, &degrees());
        assert!(crs84.contains("bbox=5.0,45.0,15.0,55.0") && crs84.ends_with("&crs=CRS%3A84"), "{crs84}");
    }

    #[test]
    fn another_srs_is_drawn_in_the_size_of_the_query() {
        let source = WmsSource::new(WmsOptions { supported_srs: only(&["EPSG:25832"]), ..options() }, Arc::new(red()));
        let image = source.render(&degrees()).unwrap().unwrap();
        let pixels = image.pixels().unwrap();
        assert_eq!(pixels.size(), degrees().size);
        assert_eq!(pixels.pixel(100, 100), RED.0);
    }

    #[test]
    fn a_coverage_limits_what_is_asked_and_drawn() {
        let coverage = Coverage::from_bbox(Bbox::new(5.0, 45.0, 10.0, 55.0), Srs::wgs84());
        let limited = || WmsOptions { coverage: Some(coverage.clone()), ..options() };
        assert!(asked(limited(), &degrees()).contains("bbox=5.0,45.0,10.0,55.0&width=100&height=200"));
        let mercator = query([0.0, 55e5, 20e5, 75e5], (200, 200), "EPSG:3857");
        assert!(asked(limited(), &mercator).contains("&width=56&height=174&"));
        assert_eq!(asked(limited(), &query([0.0, 0.0, 4.0, 4.0], (100, 100), "EPSG:4326")), "");
        let only_degrees = WmsOptions { supported_srs: only(&["EPSG:4326"]), ..limited() };
        let utm = query([1e5, 49e5, 12e5, 62e5], (200, 200), "EPSG:25832");
        assert!(asked(only_degrees, &utm).contains("bbox=5.0,45.0,10.0,55.0&width=83&height=167&"));

        let source = WmsSource::new(limited(), Arc::new(red()));
        let pixels = source.render(&degrees()).unwrap().unwrap().pixels().unwrap();
        assert_eq!((pixels.size(), pixels.pixel(99, 10), pixels.pixel(100, 10)[3]), (degrees().size, RED.0, 0));
        assert!(!source.is_opaque(&degrees()));
        assert!(source.is_opaque(&query([6.0, 46.0, 8.0, 48.0], (100, 100), "EPSG:4326")));
    }

    #[test]
    fn dimensions_keep_the_clients_spelling_and_others_the_configured_one() {
        let forwarding = |params: &[(&str, &str)]| WmsOptions {
            forward_params: vec!["time".into(), "CQL".into(), "dim_x".into()],
            ..with(params)
        };
        let client = |pairs: &[(&str, &str)]| MapQuery {
            dimensions: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..degrees()
        };
        let layers = [("layers", "a")];
        let query = client(&[("TIME", "2004"), ("cql", "a b"), ("DIM_X", "3"), ("foo", "1")]);
        let url = asked(forwarding(&layers), &query);
        assert!(url.contains("&format=image%2Fpng&TIME=2004&DIM_X=3&CQL=a%20b&request=GetMap"), "{url}");
        let url = asked(forwarding(&layers), &client(&[("Time", "2004"), ("CQL", "")]));
        assert!(url.contains("&Time=2004&CQL=&request=GetMap"), "{url}");
        let url = asked(forwarding(&layers).for_cache("image/png"), &query);
        assert!(url.contains("&srs=EPSG%3A4326&TIME=2004&DIM_X=3&request=GetMap"), "{url}");
        let preset = [("layers", "a"), ("time", "2000")];
        let url = asked(forwarding(&preset), &query);
        assert!(url.starts_with("/service?layers=a&time=2004&bbox=") && !url.contains("TIME"), "{url}");
        assert!(asked(forwarding(&preset), &degrees()).starts_with("/service?layers=a&time=2000&bbox="));
    }

    #[test]
    fn a_good_answer_goes_out_as_it_came() {
        let source = WmsSource::new(options(), Arc::new(red()));
        let image = source.render(&degrees()).unwrap().unwrap();
        assert_eq!(image.encoded_bytes().unwrap(), &png(degrees().size, RED));
        assert!(image.cacheable());
    }

    #[test]
    fn the_transparent_colour_is_taken_out() {
        let near = TransparentColor { color: Color::rgb(202, 8, 12), tolerance: 5 };
        let source = WmsSource::new(WmsOptions { transparent_color: Some(near), ..options() }, Arc::new(red()));
        assert_eq!(source.render(&degrees()).unwrap().unwrap().pixels().unwrap().pixel(3, 3)[3], 0);
        assert!(!source.is_opaque(&degrees()));
        let far = TransparentColor { color: Color::rgb(202, 8, 120), tolerance: 5 };
        let source = WmsSource::new(WmsOptions { transparent_color: Some(far), ..options() }, Arc::new(red()));
        assert_eq!(source.render(&degrees()).unwrap().unwrap().pixels().unwrap().pixel(3, 3), RED.0);
    }

    #[test]
    fn unusable_answers_are_errors_without_secrets() {
        let size = degrees().size;
        let whole = png(size, RED);
        let cut = whole[..whole.len() - 8].to_vec();
        for (content_type, body, expected) in [
            ("text/html", b"<h1>no</h1>".to_vec(), "content type is text/html"),
            (
                "application/vnd.ogc.se_xml",
                b"<ServiceException/>".to_vec(),
                "content type is application/vnd.ogc.se_xml",
            ),
            ("image/png", Vec::new(), "empty"),
            ("image/png", png(Size::new(2, 2), RED), "2x2 pixels, not 200x200"),
            ("image/png", cut, "cut off"),
            ("image/png", b"<ServiceException/>".to_vec(), "cannot decode"),
        ] {
            let client = ScriptedClient::answering(content_type, body);
            let url = "http://user:geheim@h/service?token=geheim".to_owned();
            let source = WmsSource::new(WmsOptions { url, ..options() }, Arc::new(client.clone()));
            let error = source.render(&MapQuery { kept: true, ..degrees() }).unwrap_err();
            let MapError::Upstream { message, reason, status, .. } = &error else { panic!("{error:?}") };
            assert_eq!((message.as_str(), *status), ("no image returned from source WMS", None));
            assert!(reason.contains(expected), "{reason:?} should tell {expected:?}");
            assert!(!format!("{error} {}", error.public_message(false)).contains("geheim"));
            assert!(client.requests()[0].credentials.is_some());
        }
    }

    #[test]
    fn a_picture_of_another_size_is_scaled_and_to_be_kept_only_if_it_is_nearly_as_large() {
        let render = |is: Size, kept: bool| {
            let client = ScriptedClient::answering("image/png", png(is, RED));
            WmsSource::new(options(), Arc::new(client)).render(&MapQuery { kept, ..degrees() })
        };
        let Size { width, height } = degrees().size;
        for is in [Size::new(width * 2, height), Size::new(width, height.div_ceil(2)), Size::new(width - 1, height + 1)]
        {
            let map = render(is, true).unwrap().unwrap();
            assert_eq!((map.size().unwrap(), map.cacheable()), (degrees().size, true));
            assert_eq!(map.pixels().unwrap().pixel(100, 100), [200, 10, 10, 255]);
        }
        for is in [Size::new(width * 2 + 1, height), Size::new(width, height / 2 - 1), Size::new(1, 1)] {
            assert!(render(is, true).unwrap_err().to_string().contains("pixels, not"));
            let map = render(is, false).unwrap().unwrap();
            assert_eq!((map.size().unwrap(), map.cacheable()), (degrees().size, false));
        }
    }

    #[test]
    fn failures_of_the_server_have_stand_ins_where_configured() {
        let rule =
            |status, cacheable| OnErrorRule { status, color: Color::rgb(1, 2, 3), cacheable, authorize_stale: false };
        let rules = OnErrors::new(vec![rule(Some(500), true), rule(None, false)]);
        let render = |kind: ErrorKind, on_error: OnErrors| {
            let client = ScriptedClient::new(move |request| Err(failure(kind.clone(), request)));
            WmsSource::new(WmsOptions { on_error, ..options() }, Arc::new(client)).render(&degrees())
        };
        assert!(render(ErrorKind::Status(500), rules.clone()).unwrap().unwrap().cacheable());
        assert!(!render(ErrorKind::Timeout, rules).unwrap().unwrap().cacheable());
        let only_404 = OnErrors::new(vec![rule(Some(404), true)]);
        match render(ErrorKind::Status(503), only_404).unwrap_err() {
            MapError::Upstream { status, message, .. } => {
                assert_eq!((status, message.as_str()), (Some(503), "HTTP Error"))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_asked_outside_of_the_resolutions() {
        let coarse = ResolutionRange { min_res: Some(1000.0), max_res: None };
        assert_eq!(asked(WmsOptions { resolutions: coarse, ..options() }, &degrees()), "");
    }

    /// Layers of the answer to two sources, or `None` where they need two requests.
    fn combined(below: WmsOptions, above: WmsOptions) -> Option<String> {
        let client = red();
        let shared: Arc<dyn HttpClient> = Arc::new(client.clone());
        let above = WmsSource::new(above, Arc::clone(&shared));
        let both = WmsSource::new(below, shared).combine(&above, &degrees())?;
        both.render(&degrees()).unwrap();
        let url = client.urls().remove(0);
        Some(url.split(['?', '&']).find_map(|pair| pair.strip_prefix("layers=")).unwrap().to_owned())
    }

    #[test]
    fn neighbours_of_one_server_are_asked_together() {
        let transparent = |layers: &str| WmsOptions {
            image: Arc::new(ImageOptions::default().with_transparent(true)),
            ..with(&[("layers", layers), ("transparent", "True")])
        };
        assert_eq!(combined(transparent("a"), transparent("b,c")).as_deref(), Some("a,b,c"));
        assert_eq!(combined(with(&[("layers", "a")]), transparent("b")).as_deref(), Some("a,b"));
        let half = |options: WmsOptions| WmsOptions {
            image: Arc::new(ImageOptions { opacity: Some(0.5), ..ImageOptions::clone(&options.image) }),
            ..options
        };
        let other_url = WmsOptions { url: "http://h/other".into(), ..transparent("b") };
        let other_srs = WmsOptions { supported_srs: only(&["EPSG:4326"]), ..transparent("b") };
        let other_style = WmsOptions { params: with(&[("layers", "b"), ("styles", "x")]).params, ..transparent("b") };
        let finer = ResolutionRange { min_res: Some(1e5), max_res: None };
        let other_scales = WmsOptions { resolutions: finer, ..transparent("b") };
        for above in [half(transparent("b")), other_url, other_srs, other_style, other_scales] {
            assert_eq!(combined(transparent("a"), above), None);
        }
        assert_eq!(combined(half(transparent("a")), half(transparent("b"))), None);
    }

    #[test]
    fn sources_with_different_clients_are_not_combined() {
        let below = WmsSource::new(options(), Arc::new(red()));
        assert!(below.combine(&WmsSource::new(options(), Arc::new(red())), &degrees()).is_none());
    }

    #[test]
    fn a_seed_only_source_is_silent_while_serving() {
        use mapproxy_map::Purpose;
        let client = red();
        let source = crate::SeedOnly::new(Arc::new(WmsSource::new(options(), Arc::new(client.clone()))));
        assert!(source.render(&degrees()).unwrap().is_none() && !source.is_opaque(&degrees()));
        assert!(client.urls().is_empty());
        let seeding = MapQuery { purpose: Purpose::Seed, ..degrees() };
        assert!(source.render(&seeding).unwrap().is_some() && source.is_opaque(&seeding));
    }

    #[test]
    fn many_threads_may_ask_one_source() {
        let client = red();
        let source = WmsSource::new(options(), Arc::new(client.clone()));
        let failed = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    if source.render(&degrees()).is_err() {
                        *failed.lock().unwrap() += 1;
                    }
                });
            }
        });
        assert_eq!((*failed.lock().unwrap(), client.urls().len()), (0, 8));
    }
}
