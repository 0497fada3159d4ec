//! The service as a whole, on sources that remember what they were asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mapproxy_cache::{Creation, ManagerOptions, TileManager};
use mapproxy_grid::{Bbox, MapExtent, ResolutionRange, Size, Srs, TileGrid};
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::render::OnSourceErrors;
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use super::*;
use crate::auth::Gate;
use crate::layers::{Attribution, Identifier, KeywordList, Logo, OnlineResource};
use crate::services::{Contact, ServiceMetadata};
use crate::{LayerMetadata, MapLayer, Request, TileLayer, TileSet};

/// What a [`Fake`] answers.
#[derive(Clone, Debug)]
enum Answer {
    Color(Color),
    File(Bytes),
    Nothing,
    Failure,
}

/// Remembers its queries.
#[derive(Debug)]
struct Fake {
    profile: SourceProfile,
    answer: Answer,
    asked: Arc<Mutex<Vec<(String, MapQuery)>>>,
}

impl MapSource for Fake {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        self.asked.lock().unwrap().push((self.profile.name.to_string(), query.clone()));
        let options = Arc::clone(&self.profile.image);
        Ok(match &self.answer {
            Answer::Color(color) => {
                Some(MapImage::from_pixels(Pixels::filled(query.size, PixelMode::Rgba, *color), options))
            }
            Answer::File(bytes) => Some(MapImage::from_encoded(bytes.clone(), options)),
            Answer::Nothing => None,
            Answer::Failure => {
                return Err(MapError::Upstream {
                    source_name: Arc::clone(&self.profile.name),
                    message: "HTTP Error".to_owned(),
                    url: "http://upstream/?secret".to_owned(),
                    reason: "503".to_owned(),
                    status: Some(503),
                });
            }
        })
    }
}

const RED: Color = Color::rgb(255, 0, 0);
const HALF_BLUE: Color = Color([0, 0, 255, 128]);

/// Makes sources and services, and tells what the sources were asked.
#[derive(Default)]
struct Bench {
    asked: Arc<Mutex<Vec<(String, MapQuery)>>>,
}

impl Bench {
    fn source(&self, name: &str, answer: Answer) -> Arc<dyn MapSource> {
        let image = ImageOptions::new(ImageFormat::png()).with_transparent(matches!(answer, Answer::Color(HALF_BLUE)));
        let profile = SourceProfile::new(name, Arc::new(image));
        Arc::new(Fake { profile, answer, asked: Arc::clone(&self.asked) })
    }

    fn layer(&self, name: &str, answer: Answer) -> MapLayer {
        MapLayer { sources: vec![self.source(name, answer)], ..group(Some(name), Vec::new()) }
    }

    /// Names and queries since the last call.
    fn asked(&self) -> Vec<(String, MapQuery)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn names_asked(&self) -> Vec<String> {
        self.asked().into_iter().map(|(name, _)| name).collect()
    }
}

fn group(name: Option<&str>, children: Vec<MapLayer>) -> MapLayer {
    MapLayer {
        name: name.map(str::to_owned),
        title: name.unwrap_or("no name").to_owned(),
        sources: Vec::new(),
        info: Vec::new(),
        legends: Vec::new(),
        children,
        resolutions: ResolutionRange::default(),
        extent: None,
        dimensions: Vec::new(),
        forwards_styles: false,
        nominal_scale: None,
        metadata: Arc::default(),
    }
}

fn srs(code: &str) -> Srs {
    Srs::new(code).unwrap()
}

fn options(root: MapLayer) -> WmsOptions {
    let format = |name: &str| (name.to_owned(), Arc::new(ImageOptions::new(ImageFormat::new(name))));
    WmsOptions {
        root: Arc::new(root),
        srs: ["EPSG:4326", "CRS:84", "EPSG:3857", "EPSG:25832", "EPSG:31467"].map(srs).into(),
        image_formats: ["image/png", "image/jpeg", "image/png; mode=8bit", "image/GeoTIFF"].map(format).into(),
        bbox_srs: ["EPSG:3857", "EPSG:4326"].map(|code| BboxSrs { srs: srs(code), bbox: None }).into(),
        max_output_pixels: Some(4_000_000),
        versions: Vec::new(),
        strict: false,
        on_source_errors: OnSourceErrors::Notify,
        concurrent_layer_renderer: 1,
        attribution: None,
        metadata: ServiceMetadata::default(),
        inspire: None,
        featureinfo_transforms: Vec::new(),
        featureinfo_types: Vec::new(),
        max_tile_age: Duration::from_secs(60),
        hide_error_details: true,
        forward_params: Vec::new(),
        tile_layers: Vec::new(),
        gate: Gate::OPEN,
        decorators: Default::default(),
    }
}

fn get(wms: &Wms, query: &str) -> Response {
    let uri = format!("http://localhost/service?{query}").parse::<http::Uri>().unwrap();
    let request: Request = http::Request::get(uri).header("host", "localhost").body(Bytes::new()).unwrap();
    wms.handle(&Incoming::new(&request)).unwrap()
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body().as_bytes()).unwrap()
}

fn parse(text: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(text, options).unwrap()
}

/// Code and text of an exception.
fn exception(response: &Response) -> (Option<String>, String) {
    let document = parse(text(response));
    let element = document.descendants().rfind(|node| node.is_element()).unwrap();
    (element.attribute("code").map(str::to_owned), element.text().unwrap().trim().to_owned())
}

fn picture(response: &Response) -> MapImage {
    MapImage::from_encoded(response.body().clone().into_bytes(), Arc::default())
}

fn pixel(response: &Response, x: u32, y: u32) -> [u8; 4] {
    picture(response).pixels().unwrap().pixel(x, y)
}

fn is_uncacheable(response: &Response) -> bool {
    response.headers().get("cache-control").is_some_and(|value| value == "no-cache, no-store")
}

const MAP_111: &str = "service=WMS&version=1.1.1&request=GetMap&styles=&srs=EPSG:4326&bbox=0,5,10,10&width=100&height=50\
                       &format=image/png";

#[test]
fn layers_are_asked_in_the_order_of_the_request_and_merged() {
    let bench = Bench::default();
    let root = group(None, vec![bench.layer("red", Answer::Color(RED)), bench.layer("blue", Answer::Color(HALF_BLUE))]);
    let wms = Wms::new(options(root));
    let response = get(&wms, &format!("{MAP_111}&layers=red,blue"));
    assert_eq!((response.status(), content_type(&response)), (StatusCode::OK, "image/png"));
    assert!(!response.headers().contains_key("cache-control"));
    let [r, g, b, a] = pixel(&response, 50, 25);
    assert!((125..=129).contains(&r) && g == 0 && (126..=130).contains(&b) && a == 255, "{r} {g} {b} {a}");
    assert_eq!(bench.names_asked(), ["red", "blue"]);
    get(&wms, &format!("{MAP_111}&layers=blue&LAYERS=red,blue"));
    assert_eq!(bench.names_asked(), ["blue", "red"]);
}

#[test]
fn a_query_has_what_the_request_says() {
    let bench = Bench::default();
    let wms = Wms::new(options(group(None, vec![bench.layer("a", Answer::Color(RED))])));
    let cases = [
        (
            "version=1.0.0&wmtver=1.0.0&request=map&srs=EPSG:4326&format=JPEG",
            "EPSG:4326",
            "image/jpeg",
            [5., 45., 15., 55.],
        ),
        ("version=1.1.0&request=GetMap&srs=epsg:4326&format=image/png", "EPSG:4326", "image/png", [5., 45., 15., 55.]),
        (
            "version=1.1.1&request=GetMap&srs=EPSG:31467&format=image/GeoTIFF",
            "EPSG:31467",
            "image/GeoTIFF",
            [5., 45., 15., 55.],
        ),
        ("version=1.3.0&request=GetMap&crs=EPSG:4326&format=image/png", "EPSG:4326", "image/png", [45., 5., 55., 15.]),
        ("version=1.3.0&request=GetMap&crs=CRS:84&format=image/png", "CRS:84", "image/png", [5., 45., 15., 55.]),
        (
            "version=1.3.0&request=GetMap&crs=EPSG:25832&format=image/png",
            "EPSG:25832",
            "image/png",
            [5., 45., 15., 55.],
        ),
        ("request=GetMap&version=2.0&crs=EPSG:31467&format=image/png", "EPSG:31467", "image/png", [45., 5., 55., 15.]),
    ];
    for (query, srs, format, [min_x, min_y, max_x, max_y]) in cases {
        let response =
            get(&wms, &format!("{query}&layers=a&styles=default&bbox=5,45,15,55&width=20.9&height=10&time=now"));
        assert_eq!((response.status(), content_type(&response)), (StatusCode::OK, format), "{query}");
        let [(_, asked)] = &bench.asked()[..] else { panic!("{query}") };
        assert_eq!(asked.bbox, Bbox::new(min_x, min_y, max_x, max_y), "{query}");
        assert_eq!((asked.size, asked.srs.code(), asked.format.as_str()), (Size::new(20, 10), srs, format));
        let has_dimensions = !query.contains("1.0.0");
        assert_eq!(asked.dimensions.len(), usize::from(has_dimensions), "{query}");
    }
}

#[test]
fn groups_stand_for_their_layers_or_their_own_sources() {
    let bench = Bench::default();
    let nothing = || Answer::Nothing;
    let own = MapLayer {
        sources: vec![bench.source("own", nothing())],
        ..group(Some("with_own"), vec![bench.layer("c", nothing())])
    };
    let inner = group(None, vec![bench.layer("b", nothing()), own]);
    let root = group(Some("root"), vec![bench.layer("a", nothing()), inner]);
    let wms = Wms::new(options(root));
    for (layers, asked) in
        [("root", &["a", "b", "own"][..]), ("with_own", &["own"]), ("c", &["c"]), ("b,root,a,b", &["b", "a", "own"])]
    {
        let response = get(&wms, &format!("{MAP_111}&layers={layers}"));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(bench.names_asked(), asked, "{layers}");
    }
}

#[test]
fn layers_are_not_asked_outside_of_their_resolutions() {
    let bench = Bench::default();
    let fine = ResolutionRange { min_res: Some(100.0), max_res: None };
    let limited = MapLayer { resolutions: fine, ..bench.layer("limited", Answer::Color(RED)) };
    let in_group =
        MapLayer { resolutions: fine, ..group(Some("group"), vec![bench.layer("free", Answer::Color(RED))]) };
    let wms = Wms::new(options(group(None, vec![limited, in_group])));
    let query = "version=1.1.1&request=GetMap&styles=&srs=EPSG:3857&width=100&height=100&format=image/png";
    let coarse = get(&wms, &format!("{query}&bbox=0,0,20000,20000&layers=limited,group"));
    assert_eq!(pixel(&coarse, 50, 50), [255, 255, 255, 255]);
    assert!(bench.names_asked().is_empty());
    let fine = get(&wms, &format!("{query}&bbox=0,0,2000,2000&layers=limited,group,free"));
    assert_eq!(pixel(&fine, 50, 50), [255, 0, 0, 255]);
    assert_eq!(bench.names_asked(), ["limited", "free"]);
}

#[test]
fn a_picture_that_fits_goes_out_byte_by_byte() {
    let bench = Bench::default();
    let file = MapImage::from_pixels(Pixels::filled(Size::new(100, 50), PixelMode::Rgb, RED), Arc::default());
    let file = file.encode(&ImageOptions::new(ImageFormat::png())).unwrap().bytes;
    let wms = Wms::new(options(group(None, vec![bench.layer("file", Answer::File(file.clone()))])));
    let response = get(&wms, &format!("{MAP_111}&layers=file"));
    let sent = response.into_body().into_bytes();
    assert_eq!(sent, file);
    assert_eq!(sent.as_ptr(), file.as_ptr(), "copied");
}

#[test]
fn the_ground_is_white_or_coloured_or_transparent() {
    let bench = Bench::default();
    let wms = Wms::new(options(group(None, vec![bench.layer("empty", Answer::Nothing)])));
    for (params, expected) in [
        ("", [255, 255, 255, 255]),
        ("&bgcolor=0xff00a0", [255, 0, 160, 255]),
        ("&transparent=TRUE&bgcolor=0xff00a0", [255, 0, 160, 0]),
        ("&transparent=1", [255, 255, 255, 255]),
    ] {
        let response = get(&wms, &format!("{MAP_111}&layers=empty{params}"));
        assert_eq!(pixel(&response, 3, 3), expected, "{params}");
    }
}

#[test]
fn nothing_is_drawn_outside_of_the_box_of_an_srs() {
    let bench = Bench::default();
    let mut settings = options(group(None, vec![bench.layer("a", Answer::Color(RED))]));
    settings.bbox_srs = vec![BboxSrs { srs: srs("EPSG:4326"), bbox: Some(Bbox::new(0.0, 0.0, 5.0, 8.0)) }];
    let wms = Wms::new(settings);
    let response = get(&wms, &format!("{MAP_111}&layers=a&time=now"));
    let (_, asked) = bench.asked().pop().unwrap();
    assert_eq!((asked.bbox, asked.size), (Bbox::new(0.0, 5.0, 5.0, 8.0), Size::new(50, 30)));
    assert_eq!(asked.dimensions.len(), 1);
    for (x, y, expected) in [(10, 40, [255, 0, 0, 255]), (60, 40, [255; 4]), (10, 10, [255; 4])] {
        assert_eq!(pixel(&response, x, y), expected, "{x} {y}");
    }
    let beside = MAP_111.replace("0,5,10,10", "50,50,60,60");
    assert_eq!(pixel(&get(&wms, &format!("{beside}&layers=a")), 10, 10), [255; 4]);
    assert!(bench.asked().is_empty());
    let inside = MAP_111.replace("0,5,10,10", "1,1,2,2");
    get(&wms, &format!("{inside}&layers=a"));
    assert_eq!(bench.asked().pop().unwrap().1.size, Size::new(100, 50));
}

#[test]
fn failing_sources_are_told_in_the_picture_or_by_an_exception() {
    let bench = Bench::default();
    let layers = || vec![bench.layer("good", Answer::Color(RED)), bench.layer("bad", Answer::Failure)];
    let wms = Wms::new(options(group(None, layers())));
    let partial = get(&wms, &format!("{MAP_111}&layers=bad,good"));
    assert_eq!(partial.status(), StatusCode::OK);
    assert!(is_uncacheable(&partial));
    let none = get(&wms, &format!("{MAP_111}&layers=bad"));
    assert_eq!(none.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let message = "Could not get any sources:\nHTTP Error (see logs for URL and reason).".to_owned();
    assert_eq!(exception(&none), (None, message));

    let raising = WmsOptions { on_source_errors: OnSourceErrors::Raise, ..options(group(None, layers())) };
    let raised = get(&Wms::new(raising), &format!("{MAP_111}&layers=good,bad"));
    assert_eq!(exception(&raised), (None, "HTTP Error (see logs for URL and reason).".to_owned()));

    let open = WmsOptions { hide_error_details: false, ..options(group(None, layers())) };
    let told = get(&Wms::new(open), &format!("{MAP_111}&layers=bad"));
    assert!(exception(&told).1.contains("http://upstream/?secret"));
}

#[test]
fn attribution_is_drawn_into_the_lower_right_corner() {
    let bench = Bench::default();
    let layers = || group(None, vec![bench.layer("a", Answer::Color(RED))]);
    let plain = get(&Wms::new(options(layers())), &format!("{MAP_111}&layers=a"));
    let signing = WmsOptions { attribution: Some("© X".to_owned()), ..options(layers()) };
    let signed = get(&Wms::new(signing), &format!("{MAP_111}&layers=a"));
    let differs = |x: u32, y: u32| pixel(&plain, x, y) != pixel(&signed, x, y);
    assert!((80..100).any(|x| (35..50).any(|y| differs(x, y))));
    assert!((0..50).all(|x| (0..25).all(|y| !differs(x, y))));
}

/// A request, its status, content type, code and text.
type ExceptionCase = (String, u16, &'static str, Option<&'static str>, &'static str);

#[test]
fn exceptions_have_the_form_of_the_version() {
    const SE_XML: &str = "application/vnd.ogc.se_xml";
    const UTF8: &str = "text/xml; charset=utf-8";
    let bench = Bench::default();
    let wms = Wms::new(options(group(None, vec![bench.layer("a", Answer::Color(RED))])));
    let v100 = "wmtver=1.0.0&request=map&layers=a&styles=&srs=EPSG:4326&bbox=0,0,1,1&width=10&height=10&format=PNG";
    let v110 =
        "version=1.1.0&request=GetMap&layers=a&styles=&srs=EPSG:4326&bbox=0,0,1,1&width=10&height=10&format=image/png";
    let v111 = v110.replace("1.1.0", "1.1.1");
    let v130 = v110.replace("1.1.0", "1.3.0").replace("srs=", "crs=");
    let info = v111.replace("GetMap", "GetFeatureInfo");
    let legend = "version=1.1.1&request=GetLegendGraphic&format=image/png";
    let cases: Vec<ExceptionCase> = vec![
        ("".into(), 400, UTF8, None, "unknown WMS request type 'None'"),
        ("version=1.0.0&request=foo".into(), 400, "text/xml", None, "unknown WMS request type 'foo'"),
        (
            "version=1.1.0&request=GetLegendGraphic".into(),
            400,
            SE_XML,
            None,
            "unknown WMS request type 'GetLegendGraphic'",
        ),
        ("version=abc&request=%3Cb%3E%00'".into(), 400, UTF8, None, "unknown WMS request type '<b> ''"),
        (v100.replace("layers=a", "layers=x"), 400, "text/xml", None, "unknown layer: x"),
        (v110.replace("layers=a", "layers=x"), 400, SE_XML, Some("LayerNotDefined"), "unknown layer: x"),
        (v111.replace("layers=a", "layers=a,"), 400, SE_XML, Some("LayerNotDefined"), "unknown layer:"),
        (v130.replace("layers=a", "layers=x"), 400, UTF8, Some("LayerNotDefined"), "unknown layer: x"),
        (v111.replace("image/png", "image/x"), 400, SE_XML, Some("InvalidFormat"), "unsupported image format: image/x"),
        (v111.replace("image/png", "PNG"), 400, SE_XML, Some("InvalidFormat"), "unsupported image format: PNG"),
        (v111.replace("EPSG:4326", "EPSG:1"), 400, SE_XML, Some("InvalidSRS"), "unsupported srs: EPSG:1"),
        (v130.replace("EPSG:4326", "EPSG:1"), 400, UTF8, Some("InvalidCRS"), "unsupported crs: EPSG:1"),
        (v111.replace("styles=", "styles=x"), 400, SE_XML, Some("StyleNotDefined"), "unsupported styles: x"),
        (v111.replace("=10", "=2001") + "&exceptions=inimage", 400, SE_XML, None, "image size too large"),
        (v111.replace("=10", "=1e300") + "&exceptions=blank", 400, SE_XML, None, "image size too large"),
        (v111.replace("width=10", "width=x") + "&exceptions=xml", 400, SE_XML, None, "invalid width: x"),
        (info.clone(), 400, SE_XML, None, "missing parameters ['query_layers', 'x', 'y']"),
        (info.clone() + "&query_layers=a&x=1&y=1", 400, SE_XML, None, "layer a is not queryable"),
        (info.clone() + "&query_layers=b&x=1&y=1", 400, SE_XML, Some("LayerNotDefined"), "unknown layer: b"),
        (format!("{legend}&layer=a"), 404, SE_XML, None, "layer a has no legend graphic"),
        (format!("{legend}&layer=b"), 400, SE_XML, Some("LayerNotDefined"), "unknown layer: b"),
        (legend.into(), 400, SE_XML, None, "missing parameters ['layer']"),
    ];
    for (query, status, kind, code, message) in cases {
        let response = get(&wms, &query);
        assert_eq!((response.status().as_u16(), content_type(&response)), (status, kind), "{query}");
        assert_eq!(exception(&response), (code.map(str::to_owned), message.to_owned()), "{query}");
        assert!(is_uncacheable(&response), "{query}");
    }
    assert!(bench.asked().is_empty());
}

#[test]
fn exceptions_can_be_pictures_of_the_size_and_format_asked_for() {
    let wms = Wms::new(options(group(None, Vec::new())));
    for (params, kind, size) in [
        ("&layers=x&exceptions=application/vnd.ogc.se_inimage", "image/png", Size::new(100, 50)),
        ("&layers=x&exceptions=BLANK&format=image/jpeg", "image/png", Size::new(100, 50)),
        ("&layers=x&exceptions=INIMAGE&bgcolor=zzz", "image/png", Size::new(100, 50)),
        ("&exceptions=INIMAGE", "image/png", Size::new(100, 50)),
    ] {
        let response = get(&wms, &format!("{MAP_111}{params}"));
        assert_eq!((response.status(), content_type(&response)), (StatusCode::OK, kind), "{params}");
        assert_eq!(picture(&response).size().unwrap(), size, "{params}");
        assert!(is_uncacheable(&response));
    }
    let of_format =
        |format: &str| get(&wms, &format!("{}&layers=x&exceptions=inimage", MAP_111.replace("image/png", format)));
    assert_eq!(content_type(&of_format("image/jpeg")), "image/jpeg");
    assert_eq!(content_type(&of_format("image/png%3B%20mode=8bit")), "image/png; mode=8bit");
    assert_eq!(content_type(&of_format("image/unknown")), "image/png");
    let without_size = get(&wms, "version=1.1.1&request=GetMap&exceptions=inimage");
    assert_eq!(picture(&without_size).size().unwrap(), Size::new(256, 256));

    let text = of_format("image/png");
    let has_text = |response: &Response| (0..100).any(|x| (0..50).any(|y| pixel(response, x, y)[0] < 64));
    assert!(has_text(&text));
    let blank = get(&wms, &format!("{MAP_111}&layers=x&exceptions=blank"));
    assert!(!has_text(&blank));
    let transparent = get(&wms, &format!("{MAP_111}&layers=x&exceptions=blank&transparent=true"));
    assert_eq!(pixel(&transparent, 0, 0)[3], 0);
}

/// A cache of EPSG:25832 that keeps nothing.
fn tile_layer(bench: &Bench) -> Arc<TileLayer> {
    let mut grid = TileGrid::builder("utm", srs("EPSG:25832"));
    grid.bbox = Some(Bbox::new(300_000.0, 5_200_000.0, 900_000.0, 6_100_000.0));
    let grid = Arc::new(grid.build().unwrap());
    let manager = TileManager::new(ManagerOptions {
        dimensions: Vec::new(),
        announced: Vec::new(),
        name: "utm".into(),
        grid: Arc::clone(&grid),
        store: None,
        locker: None,
        renderd: None,
        data: None,
        sources: vec![bench.source("tiles", Answer::Color(RED))],
        bands: None,
        image: Arc::new(ImageOptions::new(ImageFormat::png())),
        creation: Creation {
            meta_size: (1, 1),
            meta_buffer: 0,
            bulk_meta_tiles: false,
            minimize_meta_requests: false,
            concurrent_creators: 1,
            request_format: ImageFormat::png(),
        },
        refresh_before: None,
        coverage: None,
        rescaling: None,
        cache_rescaled_tiles: false,
        watermark: None,
    });
    let extent = MapExtent::new(grid.bbox(), grid.srs().clone());
    let tile_sets = vec![TileSet::new(Arc::new(manager.unwrap()), extent)];
    Arc::new(TileLayer {
        name: "utm".to_owned(),
        title: "UTM".to_owned(),
        metadata: Arc::default(),
        tile_sets,
        dimensions: Vec::new(),
        info: Vec::new(),
        legend_urls: Default::default(),
    })
}

#[test]
fn tiled_maps_are_single_tiles_or_exceptions() {
    let bench = Bench::default();
    let root = group(None, vec![bench.layer("utm", Answer::Color(RED)), bench.layer("other", Answer::Color(RED))]);
    let wms = Wms::new(WmsOptions { tile_layers: vec![tile_layer(&bench)], ..options(root) });
    let query = "version=1.1.1&request=GetMap&layers=utm&styles=&srs=EPSG:25832&bbox=300000,5200000,750000,5650000\
                 &width=256&height=256&format=image/png&tiled=true";
    let response = get(&wms, query);
    assert_eq!((response.status(), pixel(&response, 9, 9)), (StatusCode::OK, [255, 0, 0, 255]));
    assert_eq!(bench.names_asked(), ["tiles"]);
    for (from, to, message) in [
        ("image/png", "image/jpeg", "Invalid request: invalid tile format, use png"),
        ("width=256", "width=255", "Invalid request: invalid tile size (use 256x256)"),
        ("bbox=300000", "bbox=310000", "Request too large or invalid BBOX. (query does not align to tile boundaries)"),
        ("750000,5650000", "900000,5800000", "Request too large or invalid BBOX. (not a single tile)"),
    ] {
        assert_eq!(exception(&get(&wms, &query.replace(from, to))), (None, message.to_owned()), "{to}");
    }
    assert!(bench.asked().is_empty());
    for (layers, asked) in [("other", &["other"][..]), ("utm,other", &["utm", "other"])] {
        let response = get(&wms, &query.replace("layers=utm", &format!("layers={layers}")));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(bench.names_asked(), asked);
    }
    let beside = get(&wms, &query.replace("300000,5200000,750000,5650000", "-6000000,5200000,-5550000,5650000"));
    assert_eq!((beside.status(), pixel(&beside, 9, 9)), (StatusCode::OK, [255, 0, 0, 255]));
}

fn announced_service(bench: &Bench) -> Wms {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let text = |text: &str| Some(text.to_owned());
    let keywords = || {
        vec![
            KeywordList { vocabulary: text("A vocabulary"), keywords: words(&["one", "two"]) },
            KeywordList { vocabulary: None, keywords: words(&["free"]) },
        ]
    };
    let resource = |url: &str, kind: &str, format: &str| OnlineResource {
        url: url.to_owned(),
        kind: text(kind),
        format: text(format),
    };
    let metadata = LayerMetadata {
        max_age: None,
        abstract_: text("Some abstract"),
        keywords: keywords(),
        attribution: Some(Attribution {
            title: text("Surveyors"),
            url: text("http://some.url/?a=b&c=d"),
            logo: Some(Logo {
                url: "http://some.url/logo.jpg".to_owned(),
                format: text("image/jpeg"),
                width: Some(100),
                height: None,
            }),
        }),
        identifiers: vec![Identifier { url: "http://some.url/".into(), name: "HKU".into(), value: "1234".into() }],
        metadata: vec![
            resource("http://some.url/1", "INSPIRE", "application/xml"),
            resource("http://some.url/2", "ISO19115:2003", "application/xml"),
        ],
        data: vec![resource("http://some.url/test.shp", "", "application/octet-stream")],
        feature_lists: vec![resource("http://some.url/test.pdf", "", "application/pdf")],
    };
    let extent = |code: &str, [a, b, c, d]: [f64; 4]| Some(MapExtent::new(Bbox::new(a, b, c, d), srs(code)));
    let direct = MapLayer {
        title: "Direct <layer>".to_owned(),
        extent: extent("EPSG:4326", [-180.0, -80.0, 170.0, 80.0]),
        ..bench.layer("direct", Answer::Nothing)
    };
    let world = MapLayer {
        title: "Rhein &amp; Ruhr & \"more\"".to_owned(),
        resolutions: ResolutionRange { min_res: Some(10000.0), max_res: Some(10.0) },
        ..bench.layer("world", Answer::Nothing)
    };
    let gauss = MapLayer {
        extent: extent("EPSG:31467", [3_500_000.0, 5_300_000.0, 3_700_000.0, 5_600_000.0]),
        metadata: Arc::new(metadata),
        resolutions: ResolutionRange { min_res: Some(1000.0), max_res: None },
        ..bench.layer("gauss", Answer::Nothing)
    };
    let group_extent = gauss.extent.clone();
    let root = MapLayer {
        title: String::new(),
        ..group(None, vec![direct, world, MapLayer { extent: group_extent, ..group(None, vec![gauss]) }])
    };
    let mut settings = options(root);
    settings.bbox_srs[1].bbox = Some(Bbox::new(-180.0, -70.0, 180.0, 90.0));
    settings.tile_layers = vec![tile_layer(bench)];
    settings.metadata = ServiceMetadata {
        title: text("Maps ☃"),
        abstract_: text("All of them"),
        online_resource: None,
        contact: Some(Contact { person: text("Bob"), city: text("Fakecity"), ..Contact::default() }),
        fees: None,
        access_constraints: text("Here be dragons."),
        keyword_list: keywords(),
    };
    Wms::new(settings)
}

#[test]
fn capabilities_are_as_they_were_approved() {
    let wms = announced_service(&Bench::default());
    for (query, name) in [
        ("wmtver=1.0.0", "capabilities_1_0_0.xml"),
        ("version=1.1.0&tiled=true", "capabilities_1_1_0_tiled.xml"),
        ("version=1.1.1", "capabilities_1_1_1.xml"),
        ("version=1.3.0", "capabilities_1_3_0.xml"),
    ] {
        let response = get(&wms, &format!("request=GetCapabilities&{query}"));
        assert_eq!(response.status(), StatusCode::OK);
        parse(text(&response));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/services/wms/golden").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, text(&response)).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        // Coordinates depend on the version of PROJ in their last digits, so they compare as numbers.
        let (now, then) = (parse(text(&response)), parse(&golden));
        assert_same(now.root_element(), then.root_element(), name);
    }
}

fn assert_same(now: roxmltree::Node<'_, '_>, then: roxmltree::Node<'_, '_>, place: &str) {
    let place = format!("{place}/{}", then.tag_name().name());
    assert_eq!(now.tag_name(), then.tag_name(), "{place}");
    let close = |now: &str, then: &str| match (now.parse::<f64>(), then.parse::<f64>()) {
        (Ok(now), Ok(then)) => (now - then).abs() <= then.abs() * 1e-9,
        _ => now.trim() == then.trim(),
    };
    let (a, b) = (now.attributes(), then.attributes());
    assert_eq!(a.len(), b.len(), "{place}");
    for (a, b) in a.zip(b) {
        assert_eq!((a.namespace(), a.name()), (b.namespace(), b.name()), "{place}");
        assert!(close(a.value(), b.value()), "{place}: {a:?} {b:?}");
    }
    let own_text = |node: roxmltree::Node<'_, '_>| node.text().unwrap_or("").to_owned();
    assert!(close(&own_text(now), &own_text(then)), "{place}: {:?} {:?}", own_text(now), own_text(then));
    let elements = |node: roxmltree::Node<'_, '_>| node.children().filter(|child| child.is_element()).count();
    assert_eq!(elements(now), elements(then), "{place}");
    let children = now.children().filter(|child| child.is_element());
    for (now, then) in children.zip(then.children().filter(|child| child.is_element())) {
        assert_same(now, then, &place);
    }
}

#[test]
fn capabilities_name_the_address_that_was_called() {
    let wms = announced_service(&Bench::default());
    let at = |uri: &str, host: &str| {
        let request: Request = http::Request::get(uri)
            .header("host", host)
            .header("x-forwarded-proto", "https")
            .body(Bytes::new())
            .unwrap();
        let incoming = Incoming::new(&request);
        let now = wms.handle_now(&incoming).map(|response| text(&response).to_owned());
        let response = wms.handle(&incoming).unwrap();
        (now, text(&response).to_owned())
    };
    let (now, document) = at("/ows?request=GetCapabilities&version=1.3.0", "a.example");
    assert!(now.is_none(), "was not written before");
    assert!(document.contains("xlink:href=\"https://a.example/ows?\""));
    let (now, document) = at("/service/x%22%3C?request=GetCapabilities&version=1.3.0", "b.example");
    assert_eq!(now.as_deref(), Some(document.as_str()));
    assert!(!document.contains("a.example"));
    assert!(parse(&document).descendants().any(|node| {
        let href = node.attribute(("http://www.w3.org/1999/xlink", "href"));
        href.is_some_and(|href| href.starts_with("https://b.example/service/x"))
    }));
}

#[test]
fn boxes_never_reach_the_poles_and_skip_what_has_no_image() {
    let bench = Bench::default();
    let extent = Some(MapExtent::new(Bbox::new(-100.0, 0.0, -80.0, 50.0), Srs::wgs84()));
    let far = MapLayer { extent, ..bench.layer("far", Answer::Nothing) };
    let mut settings = options(group(None, vec![far]));
    let utm = Bbox::new(300_000.0, 5_200_000.0, 900_000.0, 6_100_000.0);
    settings.bbox_srs = vec![BboxSrs { srs: srs("EPSG:25832"), bbox: Some(utm) }];
    let wms = Wms::new(settings);
    let response = get(&wms, "request=GetCapabilities&version=1.1.1");
    let document = parse(text(&response));
    let layers: Vec<_> = document.descendants().filter(|node| node.has_tag_name("Layer")).collect();
    let boxes = |layer: roxmltree::Node<'_, '_>| -> Vec<(String, String)> {
        let boxes = layer.children().filter(|node| node.tag_name().name().ends_with("BoundingBox"));
        boxes.map(|b| (b.attribute("SRS").unwrap_or("").to_owned(), b.attribute("maxy").unwrap().to_owned())).collect()
    };
    let pair = |srs: &str, max_y: &str| (srs.to_owned(), max_y.to_owned());
    assert_eq!(boxes(layers[0]), [pair("", "89.999999"), pair("EPSG:25832", "6100000"), pair("EPSG:4326", "90")]);
    assert_eq!(boxes(layers[1]), [pair("", "50"), pair("EPSG:4326", "50")]);
}

#[test]
fn layers_of_one_extent_share_their_boxes() {
    let bench = Bench::default();
    let extent = || Some(MapExtent::new(Bbox::new(0.0, 0.0, 1.0, 1.0), srs("EPSG:25832")));
    let layers = (0..100).map(|i| MapLayer { extent: extent(), ..bench.layer(&format!("l{i}"), Answer::Nothing) });
    let boxes = boxes::of_tree(&options(group(None, layers.collect())));
    assert_eq!(boxes.len(), 101);
    assert!(boxes[1..].iter().all(|one| Arc::ptr_eq(one, &boxes[1])));
}

/// Values that parameters have in earnest, and values that strangers try.
fn values() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const KNOWN: &[&str] = &[
        "1.0.0",
        "1.1.1",
        "1.3.0",
        "GetMap",
        "map",
        "GetFeatureInfo",
        "GetLegendGraphic",
        "GetCapabilities",
        "a",
        "a,a",
        "utm",
        "EPSG:4326",
        "EPSG:25832",
        "CRS:84",
        "0,0,1,1",
        "-1e308,-1e308,1e308,1e308",
        "0,0,1e-300,1e-300",
        "1",
        "256",
        "2000",
        "4294967295",
        "1e99",
        "-0",
        "nan",
        "image/png",
        "image/jpeg",
        "PNG",
        "true",
        "inimage",
        "blank",
        "0xfff",
        "0xäöüÄÖ",
        "",
    ];
    prop_oneof![4 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn strangers_get_an_answer_whatever_they_ask(
        pairs in proptest::collection::vec((proptest::sample::select(&[
            "version", "request", "layers", "styles", "srs", "crs", "bbox", "width", "height", "format", "exceptions",
            "transparent", "bgcolor", "tiled", "query_layers", "x", "i", "y", "j", "layer", "time", "wmtver",
        ][..]), values()), 0..20),
        complete in proptest::bool::ANY,
    ) {
        let bench = Bench::default();
        let root = group(None, vec![bench.layer("a", Answer::Nothing), bench.layer("utm", Answer::Nothing)]);
        let wms = Wms::new(WmsOptions { tile_layers: vec![tile_layer(&bench)], max_output_pixels: Some(10_000), ..options(root) });
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let mut query: String = pairs.iter().map(|(name, value)| format!("{name}={}&", encode(value))).collect();
        if complete {
            query += "version=1.1.1&request=GetMap&layers=a&styles=&srs=EPSG:4326&bbox=0,0,1,1&width=9&height=9&format=image/png";
        }
        let response = get(&wms, &query);
        proptest::prop_assert!([200, 400, 404, 500].contains(&response.status().as_u16()));
        if !content_type(&response).starts_with("image/") {
            parse(text(&response));
            proptest::prop_assert!(!text(&response).contains("internal error"));
        }
    }
}
