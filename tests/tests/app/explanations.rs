//! Feature info and legends, on whole applications with a scripted upstream server.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use mapproxy_client::{ErrorKind, UpstreamRequest};
use mapproxy_core::auth::{
    Authorizer, AuthorizerError, Bbox, Coverage, Decision, Feature, Grant, Partial, Question, Srs,
};
use mapproxy_core::map::MapError;
use mapproxy_core::map::info::{InfoDocument, InfoKind, InfoQuery, InfoSource};
use mapproxy_core::{App, AppBuilder, Application, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};

const CONFIG: &str = "
services:
  wms: {srs: ['EPSG:4326', 'EPSG:3857'], image_formats: ['image/png', 'image/jpeg']}
  wmts:
    kvp: true
    restful: true
    featureinfo_formats: [{mimetype: text/plain, suffix: txt}, {mimetype: application/json, suffix: json}]
layers:
  - {name: text, title: Text, sources: [text]}
  - {name: other, title: Other, sources: [other]}
  - {name: down, title: Down, sources: [down]}
  - {name: silent, title: Silent, sources: [silent]}
  - {name: xml, title: Xml, sources: [xml]}
  - {name: cached, title: Cached, sources: [cached], legendurl: 'http://up/static.png'}
  - {name: south, title: From the south, sources: [south]}
  - name: group
    title: Group
    layers:
      - {name: one, title: One, sources: [text, red]}
      - {name: two, title: Two, sources: [other, blue]}
      - {name: plain, title: Plain, sources: [silent]}
  - {name: only_legend, title: Only a legend, legendurl: 'http://up/static.png'}
  - {name: no_map, title: Only info, sources: [no_map]}
  - {name: broken, title: Legend fails, sources: [broken]}
caches:
  cached: {grids: [GLOBAL_WEBMERCATOR], sources: [text, limited]}
  south: {grids: [GLOBAL_MERCATOR], sources: [text]}
sources:
  text: {type: wms, wms_opts: {featureinfo: true}, req: {url: 'http://up/text', layers: text}}
  other: {type: wms, wms_opts: {featureinfo: true}, req: {url: 'http://up/other', layers: other}}
  xml: {type: wms, wms_opts: {featureinfo: true}, req: {url: 'http://up/xml', layers: xml}}
  down: {type: wms, wms_opts: {featureinfo: true}, req: {url: 'http://up/down', layers: down}}
  no_map: {type: wms, wms_opts: {featureinfo: true, map: false}, req: {url: 'http://up/text', layers: no_map}}
  limited:
    type: wms
    coverage: {bbox: [0, 0, 10, 10], srs: 'EPSG:4326'}
    wms_opts: {featureinfo: true}
    req: {url: 'http://up/other', layers: limited}
  silent: {type: wms, req: {url: 'http://up/text', layers: silent}}
  red: {type: wms, wms_opts: {legendgraphic: true}, req: {url: 'http://up/red', layers: red}}
  blue: {type: wms, wms_opts: {legendgraphic: true, version: 1.3.0}, req: {url: 'http://up/blue', layers: blue}}
  broken: {type: wms, wms_opts: {legendgraphic: true}, req: {url: 'http://up/down', layers: x}}
";

const INFO: &str = "/service?service=WMS&version=1.1.1&request=GetFeatureInfo&styles=&srs=EPSG:4326&bbox=0,0,20,20\
                    &width=200&height=200&format=image/png";
const LEGEND: &str = "/service?service=WMS&version=1.3.0&request=GetLegendGraphic&format=image/png";

fn png(width: u32, height: u32, color: Color) -> Vec<u8> {
    let pixels = Pixels::filled(Size::new(width, height), PixelMode::Rgb, color);
    let options = Arc::new(ImageOptions::new(ImageFormat::png()));
    MapImage::from_pixels(pixels, Arc::clone(&options)).encode(&options).unwrap().bytes.to_vec()
}

fn upstream(request: &UpstreamRequest) -> Result<mapproxy_client::UpstreamResponse, mapproxy_client::ClientError> {
    let path = request.url.strip_prefix("http://up/").unwrap().split('?').next().unwrap();
    match path {
        "text" => Ok(response("text/plain", "hello")),
        "other" => Ok(response("text/plain; charset=iso-8859-1", &b"caf\xe9"[..])),
        "xml" => Ok(response("text/xml", "<a/>")),
        "red" => Ok(response("image/png", png(10, 4, Color::rgb(255, 0, 0)))),
        "blue" => Ok(response("image/png", png(20, 6, Color::rgb(0, 0, 255)))),
        "static.png" => Ok(response("image/png", png(7, 7, Color::rgb(0, 255, 0)))),
        _ => Err(failure(ErrorKind::Status(503), request)),
    }
}

struct Bench {
    app: App,
    client: ScriptedClient,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|builder| builder)
    }

    fn with(more: impl FnOnce(AppBuilder) -> AppBuilder) -> Bench {
        Bench::of(CONFIG, more)
    }

    fn of(config: &str, more: impl FnOnce(AppBuilder) -> AppBuilder) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let client = ScriptedClient::new(upstream);
        let builder = AppBuilder::from_text(config, directory.path()).http_client(Arc::new(client.clone()));
        Bench { app: more(builder).build().unwrap().app, client, directory }
    }

    fn get(&self, uri: &str) -> Response {
        self.app.call(http::Request::get(uri).header("host", "h").body(Bytes::new()).unwrap())
    }

    fn text(&self, uri: &str) -> (u16, String, String) {
        let answer = self.get(uri);
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let text = String::from_utf8(answer.body().as_bytes().to_vec()).unwrap();
        (answer.status().as_u16(), content_type, text)
    }

    fn info(&self, layers: &str, more: &str) -> (u16, String, String) {
        self.text(&format!("{INFO}&layers={layers}&query_layers={layers}&x=150&y=50{more}"))
    }

    fn said(&self, layers: &str) -> String {
        self.info(layers, "").2
    }

    fn picture(&self, uri: &str) -> Pixels {
        let answer = self.get(uri);
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
        let bytes = Bytes::copy_from_slice(answer.body().as_bytes());
        Arc::unwrap_or_clone(MapImage::from_encoded(bytes, Arc::default()).pixels().unwrap())
    }

    fn asked(&self) -> Vec<String> {
        self.client.urls()
    }
}

#[test]
fn what_all_layers_say_is_joined_in_the_order_of_the_request() {
    let bench = Bench::new();
    assert_eq!(bench.info("text", ""), (200, "text/plain; charset=utf-8".into(), "hello".into()));
    assert_eq!(bench.said("other,text"), "café\nhello");
    assert_eq!(bench.said("group"), "hello\ncafé");
    assert_eq!(bench.said("text,two,group"), "hello\ncafé\nhello", "the layer in the group is another");
    assert_eq!(bench.said("no_map"), "hello");
    assert_eq!(bench.info("xml", "").1, "application/vnd.ogc.gml");
    assert_eq!(bench.info("text,xml", "").2, "hello\n<a/>");
}

#[test]
fn caches_are_asked_through_to_their_sources_within_their_coverage() {
    let bench = Bench::new();
    assert_eq!(bench.said("cached"), "hello", "15° E 15° N is outside of the coverage");
    let inside = format!("{INFO}&layers=cached&query_layers=cached&x=50&y=150");
    assert_eq!(bench.text(&inside).2, "hello\ncafé");
    assert!(bench.asked().iter().all(|url| url.contains("&bbox=0.0,0.0,20.0,20.0&width=200&height=200&")));
}

#[test]
fn a_failing_source_is_an_exception_only_where_no_other_answers() {
    let bench = Bench::new();
    let (status, content_type, text) = bench.info("down", "");
    assert_eq!((status, content_type.as_str()), (500, "application/vnd.ogc.se_xml"));
    assert!(text.contains("HTTP Error (see logs for URL and reason)"), "{text}");
    assert_eq!(bench.said("down,text"), "hello");
    let raising = Bench::of(&CONFIG.replace("wms: {", "wms: {on_source_errors: raise, "), |builder| builder);
    assert_eq!(raising.info("down,text", "").0, 500);
}

#[test]
fn mistakes_of_clients_are_exceptions() {
    let bench = Bench::new();
    for (layers, more, message) in [
        ("silent", "", "layer silent is not queryable"),
        ("only_legend", "", "layer only_legend is not queryable"),
        ("nope", "", "unknown layer: nope"),
        ("text", "&feature_count=0", "invalid feature_count: 0"),
    ] {
        let (status, _, text) = bench.info(layers, more);
        assert!(status == 400 && text.contains(message), "{layers}: {status} {text}");
    }
    let outside = INFO.replace("1.1.1", "1.3.0").replace("srs=", "crs=") + "&layers=text&query_layers=text&i=200&j=5";
    assert!(bench.text(&outside).2.contains("code=\"InvalidPoint\""));
    assert!(bench.asked().is_empty());
}

#[test]
fn wishes_reach_the_source_in_its_words() {
    let bench = Bench::new();
    bench.info("text", "&info_format=text/html&feature_count=3");
    let old = "/service?wmtver=1.0.0&request=feature_info&srs=EPSG:4326&bbox=0,0,20,20&width=200&height=200&x=1&y=2\
               &layers=text&query_layers=text&info_format=GML.1";
    bench.text(old);
    let asked = bench.asked();
    assert!(asked[0].contains("&feature_count=3&query_layers=text&info_format=text%2Fhtml&"), "{asked:?}");
    assert!(asked[1].contains("&info_format=application%2Fvnd.ogc.gml&"), "{asked:?}");
}

const PIXEL: &str = "/service?service=WMTS&version=1.0.0&request=GetFeatureInfo&style=&format=image/png&tilematrix=2\
                     &tilerow=1&tilecol=2&j=20";

#[test]
fn pixels_of_tiles_are_asked_about_in_the_box_of_the_tile() {
    let bench = Bench::new();
    let cached = format!("{PIXEL}&layer=cached&tilematrixset=GLOBAL_WEBMERCATOR&infoformat=text/plain");
    assert_eq!(bench.text(&format!("{cached}&i=10")), (200, "text/plain; charset=utf-8".into(), "hello".into()));
    let by_path = bench.text("/wmts/cached/GLOBAL_WEBMERCATOR/2/2/1/10/20.json");
    assert_eq!(by_path, (200, "application/json".into(), "hello".into()));
    // Rows of the grid count from the south, those of WMTS from the north.
    bench.text(&format!("{PIXEL}&layer=south&tilematrixset=GLOBAL_MERCATOR&infoformat=text/plain&i=10"));
    let asked = bench.asked();
    assert_eq!(asked.len(), 3);
    for url in asked {
        let tile = "bbox=0.0,0.0,10018754.171394622,10018754.171394622&width=256&height=256&x=10&y=20";
        assert!(url.contains(tile), "{url}");
    }
}

#[test]
fn mistakes_about_pixels_of_tiles_are_exceptions() {
    let bench = Bench::new();
    let of = |layer: &str, more: &str| {
        let grid = "tilematrixset=GLOBAL_WEBMERCATOR";
        let (status, _, text) = bench.text(&format!("{PIXEL}&layer={layer}&{grid}{more}"));
        let code = text.split("exceptionCode=\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        (status, code.unwrap_or(text))
    };
    let code = |status, code: &str| (status, code.to_owned());
    assert_eq!(of("cached", "&infoformat=text/plain&i=256"), code(400, "PointIJOutOfRange"));
    assert_eq!(of("cached", "&infoformat=text/plain&i=-1"), code(400, "PointIJOutOfRange"));
    assert_eq!(of("cached", "&infoformat=text/plain&i=x"), code(400, "InvalidParameterValue"));
    assert_eq!(of("cached", "&infoformat=text/html&i=1"), code(400, "InvalidParameterValue"));
    assert_eq!(of("cached", "&infoformat=text/plain&i=1&feature_count=-2"), code(400, "InvalidParameterValue"));
    assert_eq!(of("nope", "&infoformat=text/plain&i=1"), code(400, "InvalidParameterValue"));
    assert!(bench.get("/wmts/cached/GLOBAL_WEBMERCATOR/2/9/1/10/20.txt").status() == 400);
    assert!(bench.asked().is_empty());
    let without = CONFIG.replace("featureinfo_formats: [", "featureinfo_formats: [] #");
    let without = Bench::of(&without, |builder| builder);
    let (status, _, text) = without.text(&format!("{PIXEL}&layer=cached&infoformat=text/plain&i=1&tilematrixset=x"));
    assert!(status == 501 && text.contains("layer cached not queryable"), "{text}");
}

#[test]
fn legends_of_all_sources_come_below_each_other_the_uppermost_first() {
    let bench = Bench::new();
    let red = bench.picture(&format!("{LEGEND}&layer=one"));
    assert_eq!((red.size(), red.pixel(0, 0)), (Size::new(10, 4), [255, 0, 0, 255]));
    let group = bench.picture(&format!("{LEGEND}&layer=group"));
    assert_eq!((group.size(), group.mode()), (Size::new(20, 10), PixelMode::Rgb));
    let pixels = [group.pixel(0, 0), group.pixel(0, 9), group.pixel(19, 9)];
    assert_eq!(pixels, [[0, 0, 255, 255], [255, 0, 0, 255], [255; 4]]);
    let clear = bench.picture(&format!("{LEGEND}&layer=group&transparent=true"));
    assert_eq!(clear.pixel(19, 9)[3], 0);
    assert_eq!(bench.picture(&format!("{LEGEND}&layer=cached")).size(), Size::new(7, 7));
    assert_eq!(bench.picture(&format!("{LEGEND}&layer=only_legend")).size(), Size::new(7, 7));
    let asked = bench.asked();
    assert_eq!(asked.len(), 3, "each is asked once and kept: {asked:?}");
    assert!(asked[1].contains("version=1.3.0"));
    assert_eq!(std::fs::read_dir(bench.directory.path().join("cache_data/legends")).unwrap().count(), 3);
}

#[test]
fn legends_that_are_not_there_are_exceptions() {
    let bench = Bench::new();
    for (query, status, message) in [
        ("layer=text", 404, "layer text has no legend graphic"),
        ("layer=nope", 400, "unknown layer: nope"),
        ("layer=one&scale=-1", 400, "invalid scale: -1"),
        ("layer=broken", 500, "HTTP Error (see logs for URL and reason)"),
        ("layer=only_legend&format=application/json", 404, "layer only_legend has no legend graphic in JSON"),
        ("layer=one&format=image/x", 400, "unsupported image format: image/x"),
    ] {
        let base = if query.contains("format=") { LEGEND.replace("&format=image/png", "") } else { LEGEND.to_owned() };
        let (is, _, text) = bench.text(&format!("{base}&{query}"));
        assert!(is == status && text.contains(message), "{query}: {is} {text}");
    }
}

/// The element of a layer in capabilities, up to the next.
fn layer<'a>(text: &'a str, name: &str) -> &'a str {
    let at = text.find(&format!("<Name>{name}</Name>")).unwrap_or_else(|| panic!("{name} in {text}"));
    let start = text[..at].rfind("<Layer").unwrap();
    let end = text[at..].find("<Layer").map_or(text.len(), |end| at + end);
    &text[start..end]
}

fn capabilities(bench: &Bench, version: &str) -> String {
    bench.text(&format!("/service?service=WMS&version={version}&wmtver={version}&request=GetCapabilities")).2
}

#[test]
fn capabilities_say_what_can_be_asked_and_how_large_legends_are() {
    let bench = Bench::new();
    capabilities(&bench, "1.1.1");
    let known = bench.asked().len();
    for version in ["1.1.0", "1.1.1", "1.3.0"] {
        let text = capabilities(&bench, version);
        assert!(layer(&text, "text").starts_with("<Layer queryable=\"1\">"));
        assert!(layer(&text, "group").starts_with("<Layer queryable=\"1\">"));
        assert!(layer(&text, "silent").starts_with("<Layer>"));
        assert!(layer(&text, "one").contains("<LegendURL width=\"10\" height=\"4\">"), "{text}");
        let href = "?format=image%2Fpng&amp;layer=one&amp;sld_version=1.1.0&amp;request=GetLegendGraphic";
        assert!(layer(&text, "one").contains(href));
        assert!(!layer(&text, "silent").contains("<Style>") && !layer(&text, "group").contains("<Style>"));
        assert_eq!(text.contains("GetLegendGraphic>"), version != "1.1.0");
        assert_eq!(
            layer(&text, "broken").contains("<LegendURL>"),
            version == "1.3.0",
            "there the size may be left out"
        );
    }
    assert!(capabilities(&bench, "1.0.0").contains("<StyleURL>http://h/service?format=image%2Fpng&amp;layer=one"));
    let mut asked = bench.asked();
    assert_eq!(asked.len(), known, "no legend is asked for again: {asked:?}");
    // Two layers that share a legend may both have asked when neither had it.
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[test]
fn capabilities_of_tiles_name_formats_paths_and_legends() {
    let bench = Bench::new();
    let kvp = bench.text("/service?service=WMTS&request=GetCapabilities").2;
    assert!(kvp.contains("<InfoFormat>text/plain</InfoFormat>") && kvp.contains("name=\"GetFeatureInfo\""));
    let legend = "http://h/service?service=WMS&amp;request=GetLegendGraphic&amp;version=1.3.0&amp;format=image%2Fpng\
                  &amp;layer=cached";
    assert_eq!(kvp.matches("<LegendURL").count(), 1);
    assert!(kvp.contains(&format!("xlink:href=\"{legend}\"")), "{kvp}");
    let restful = bench.text("/wmts/1.0.0/WMTSCapabilities.xml").2;
    let template = "http://h/wmts/cached/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}/{I}/{J}.txt";
    let resource = format!("<ResourceURL format=\"text/plain\" resourceType=\"FeatureInfo\" template=\"{template}\"/>");
    assert!(restful.contains(&resource), "{restful}");
}

#[test]
fn legends_of_tile_layers_may_have_addresses_of_their_own() {
    let own = "wmts_kvp_legendurl: '{base_url}/a?b=1&layer={layer_name}', wmts_rest_legendurl: '{base_url}/r.png'";
    let config = CONFIG.replace("sources: [cached], ", &format!("sources: [cached], {own}, "));
    let bench = Bench::of(&config, |builder| builder);
    let kvp = bench.text("/service?service=WMTS&request=GetCapabilities").2;
    assert!(kvp.contains("xlink:href=\"http://h/a?b=1&amp;layer=cached\""), "{kvp}");
    assert!(bench.text("/wmts/1.0.0/WMTSCapabilities.xml").2.contains("xlink:href=\"http://h/r.png\""));
}

type Decide = dyn Fn(&Question<'_>) -> Decision + Send + Sync;

/// Decides by a function and remembers what it was asked.
struct Deciding(Box<Decide>, Arc<Mutex<Vec<String>>>);

impl fmt::Debug for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deciding")
    }
}

impl Authorizer for Deciding {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        let extent = question.extent.map_or("none".to_owned(), |extent| extent.srs.code().to_owned());
        let asked = format!("{} {} {extent}", question.operation, question.layers.join(","));
        self.1.lock().unwrap().push(asked);
        Ok((self.0)(question))
    }
}

fn guarded(decide: impl Fn(&Question<'_>) -> Decision + Send + Sync + 'static) -> (Bench, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let authorizer = Arc::new(Deciding(Box::new(decide), Arc::clone(&asked)));
    (Bench::with(|builder| builder.authorizer(authorizer)), asked)
}

#[test]
fn feature_info_needs_a_grant_of_its_own() {
    let info = Grant::of([Feature::FeatureInfo]);
    let partial =
        Partial::new().layer("text", info.clone()).layer("one", info).layer("other", Grant::of([Feature::Map]));
    let (bench, asked) = guarded(move |_| partial.clone().into());
    assert_eq!(bench.said("text"), "hello");
    assert_eq!(bench.info("other", "").0, 403);
    assert_eq!(bench.said("group"), "hello", "what is not granted in a group is left out");
    assert_eq!(
        *asked.lock().unwrap(),
        ["wms.featureinfo text EPSG:4326", "wms.featureinfo other EPSG:4326", "wms.featureinfo one,two EPSG:4326"]
    );
    for (decision, status) in [(Decision::None, 403), (Decision::Unauthenticated, 401)] {
        let (bench, _) = guarded(move |_| decision.clone());
        assert_eq!(bench.info("text", "").0, status);
        let pixel = format!("{PIXEL}&layer=cached&tilematrixset=GLOBAL_WEBMERCATOR&infoformat=text/plain&i=10");
        assert_eq!(bench.text(&pixel).0, status);
        assert!(bench.asked().is_empty());
    }
}

#[test]
fn points_outside_of_the_limits_are_empty_answers() {
    let area = || Coverage::from_bbox(Bbox::new(10.0, 10.0, 20.0, 20.0), Srs::wgs84());
    let by_layer =
        Partial::new().layer("text", Grant::all().limited_to(area())).layer("cached", Grant::all().limited_to(area()));
    let by_request = Partial::new().layer("text", Grant::all()).layer("cached", Grant::all()).limited_to(area());
    for partial in [by_layer, by_request] {
        let (bench, asked) = guarded(move |_| partial.clone().into());
        assert_eq!(bench.info("text", ""), (200, "text/plain; charset=utf-8".into(), "hello".into()));
        let outside = format!("{INFO}&layers=text&query_layers=text&x=50&y=150");
        assert_eq!(bench.text(&outside), (200, "text/plain; charset=utf-8".into(), String::new()));
        // The same point of the world in another SRS.
        let mercator = "/service?service=WMS&version=1.1.1&request=GetFeatureInfo&layers=text&query_layers=text&styles=\
                        &srs=EPSG:3857&bbox=0,0,2000000,2000000&width=200&height=200";
        assert_eq!(bench.text(&format!("{mercator}&x=50&y=150")).2, "");
        assert_eq!(bench.text(&format!("{mercator}&x=150&y=50")).2, "hello");
        let pixel = format!("{PIXEL}&layer=cached&tilematrixset=GLOBAL_WEBMERCATOR&infoformat=text/plain");
        assert_eq!(bench.text(&format!("{pixel}&i=10")), (200, "text/plain; charset=utf-8".into(), String::new()));
        assert_eq!(asked.lock().unwrap().last().unwrap(), "wmts.featureinfo cached EPSG:3857");
        let inside = pixel.replace("&j=20", "&j=220") + "&i=40";
        assert_eq!(bench.text(&inside).2, "hello");
    }
}

#[test]
fn documents_call_queryable_what_is_granted() {
    let partial = Partial::new()
        .layer("text", Grant::of([Feature::Map]))
        .layer("xml", Grant::of([Feature::Map, Feature::FeatureInfo]))
        .layer("cached", Grant::of([Feature::Map, Feature::Tile]));
    let (bench, _) = guarded(move |_| partial.clone().into());
    let text = capabilities(&bench, "1.3.0");
    assert!(layer(&text, "text").starts_with("<Layer>") && layer(&text, "xml").starts_with("<Layer queryable=\"1\">"));
    assert!(layer(&text, "cached").contains("<LegendURL width=\"7\" height=\"7\">"), "{text}");
    assert!(!text.contains("<Name>one</Name>"));
    assert!(!bench.text("/service?service=WMTS&request=GetCapabilities").2.contains("<InfoFormat>"));
}

#[test]
fn a_legend_may_be_seen_by_whoever_sees_its_layer_listed() {
    let partial =
        Partial::new().layer("one", Grant::of([Feature::Map])).layer("cached", Grant::of([Feature::LegendGraphic]));
    let (bench, asked) = guarded(move |_| partial.clone().into());
    assert_eq!(bench.picture(&format!("{LEGEND}&layer=group")).size(), Size::new(10, 4), "that of `two` is left out");
    assert_eq!(bench.picture(&format!("{LEGEND}&layer=cached")).size(), Size::new(7, 7));
    assert_eq!(bench.text(&format!("{LEGEND}&layer=two")).0, 403);
    assert_eq!(asked.lock().unwrap()[0], "wms.capabilities one,two none");
}

/// Says where it was asked.
#[derive(Debug)]
struct Echo(Arc<str>);

impl InfoSource for Echo {
    fn name(&self) -> &Arc<str> {
        &self.0
    }
    fn info(&self, query: &InfoQuery) -> Result<Option<InfoDocument>, MapError> {
        let (x, y) = query.point();
        Ok(Some(InfoDocument::new(InfoKind::Json, format!("{{\"x\":{x},\"y\":{y}}}"))))
    }
}

#[test]
fn a_program_may_answer_for_its_own_sources() {
    let config = CONFIG
        .replace("layers:\n  - {name: text", "layers:\n  - {name: own, title: Own, sources: [own]}\n  - {name: text")
        .replace("sources:\n  text:", "sources:\n  own: {type: custom}\n  text:");
    let bench = Bench::of(&config, |builder| {
        let draw = |_: &mapproxy_core::CustomSource| -> Result<Arc<dyn mapproxy_core::map::MapSource>, String> {
            Ok(Arc::new(mapproxy_sources::DebugSource::new("own", None, Default::default())))
        };
        builder.source("own", draw).info("own", |wanted| Ok(Arc::new(Echo(Arc::clone(&wanted.name)))))
    });
    assert_eq!(bench.info("own", ""), (200, "application/json".into(), "{\"x\":15,\"y\":15}".into()));
    assert!(layer(&capabilities(&bench, "1.3.0"), "own").starts_with("<Layer queryable"));
}

#[test]
fn a_stylesheet_that_cannot_be_read_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("wms: {", "wms: {featureinfo_xslt: {html: missing.xsl}, ");
    let error = AppBuilder::from_text(config, directory.path()).build().unwrap_err().to_string();
    assert!(error.contains("missing.xsl") && error.contains("services.wms.featureinfo_xslt.html"), "{error}");
}
