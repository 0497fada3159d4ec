//! KML super-overlays of a whole application.

use bytes::Bytes;
use mapproxy_core::{App, AppBuilder, Application, Response};

const CONFIG: &str = "
services: {kml: {md: {abstract: 'Maps & more'}}}
layers:
  - {name: plain, title: Plain, sources: [plain]}
  - {name: north, title: From the north, sources: [north]}
  - {name: fine, title: Half steps, sources: [fine]}
caches:
  plain: {grids: [GLOBAL_MERCATOR, GLOBAL_GEODETIC], sources: [debug]}
  north: {grids: [nw], sources: [debug], format: image/jpeg}
  fine: {grids: [sqrt2], sources: [debug]}
grids:
  nw: {base: GLOBAL_WEBMERCATOR, num_levels: 3}
  sqrt2: {base: GLOBAL_MERCATOR, res_factor: sqrt2, num_levels: 6}
sources: {debug: {type: debug}}
";

fn app() -> (App, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (AppBuilder::from_text(CONFIG, dir.path()).build().unwrap().app, dir)
}

fn get(app: &App, uri: &str) -> Response {
    let request = http::Request::get(uri).header("host", "a.b").body(Bytes::new()).unwrap();
    app.call_now(&request).unwrap_or_else(|| app.call(request))
}

fn document(app: &App, uri: &str) -> String {
    let answer = get(app, uri);
    let text = String::from_utf8(answer.body().as_bytes().to_vec()).unwrap();
    assert_eq!(answer.headers()["content-type"], "application/vnd.google-earth.kml+xml", "{text}");
    text
}

/// Contents of all elements called `name`.
fn all<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&begin).skip(1).map(|rest| rest.split(&end).next().unwrap()).collect()
}

#[test]
fn a_document_places_the_tiles_below_and_links_to_their_documents() {
    let (app, _dir) = app();
    let text = document(&app, "/kml/plain/EPSG900913");
    let links: Vec<&str> = all(&text, "href");
    let at = |place: &str| format!("http://a.b/kml/plain/EPSG900913/{place}");
    let expected: Vec<String> = ["kml", "png"]
        .iter()
        .flat_map(|ext| ["1/0/1", "1/1/1", "1/0/0", "1/1/0"].map(|p| at(&format!("{p}.{ext}"))))
        .collect();
    assert_eq!(links, expected);
    let boxes = all(&text, "LatLonBox");
    assert_eq!(
        boxes[0],
        "<north>90.000000</north><south>0.000000</south><east>0.000000</east><west>-180.000000</west>"
    );
    assert!(text.contains("<description>Maps &amp; more</description>"), "{text}");
    assert_eq!(all(&text, "drawOrder"), ["1"; 4]);
    assert_eq!(all(&text, "maxLodPixels"), ["-1", "-1", "-1", "-1", "768", "768", "768", "768"]);
    // A tile further down is the same wherever one comes from.
    let below = document(&app, "/kml/plain/EPSG900913/1/0/1.kml");
    assert!(below.contains(&at("2/0/3.kml")) && below.contains("<north>66.513260</north>"), "{below}");
}

#[test]
fn degrees_are_preferred_and_rows_count_from_the_south() {
    let (app, _dir) = app();
    assert!(document(&app, "/kml/plain").contains("/kml/plain/EPSG4326/1/0/0.kml"));
    let north = document(&app, "/kml/north/1/0/0.kml");
    let picture = all(&north, "href").into_iter().find(|href| href.ends_with("2/0/1.jpeg")).unwrap().to_owned();
    assert!(north.contains("<south>-90.000000</south>"), "{north}");
    let answer = get(&app, picture.strip_prefix("http://a.b").unwrap());
    assert_eq!(answer.headers()["content-type"], "image/jpeg");
}

#[test]
fn the_last_level_has_nothing_below_and_of_half_steps_each_second_is_taken() {
    let (app, _dir) = app();
    assert!(all(&document(&app, "/kml/north/2/0/0.kml"), "href").is_empty());
    let text = document(&app, "/kml/fine/0/0/0.kml");
    assert!(all(&text, "href").iter().all(|href| href.contains("/fine/EPSG900913/1/")), "{text}");
    assert_eq!(all(&text, "NetworkLink").len(), 4);
}

#[test]
fn documents_are_revalidated_and_nonsense_is_not_found() {
    let (app, _dir) = app();
    let etag = get(&app, "/kml/plain").headers()["etag"].clone();
    let request = http::Request::get("/kml/plain").header("host", "a.b").header("if-none-match", etag);
    assert_eq!(app.call(request.body(Bytes::new()).unwrap()).status(), 304);
    for (uri, message) in [
        ("/kml", "invalid request (/kml)"),
        ("/kml/nope", "unknown layer: nope"),
        ("/kml/plain/0/0/-1.kml", "outside the bounding box"),
        ("/kml/plain/-1/0/0.kml", "outside the bounding box"),
        ("/kml/plain/a/b/c.kml", "invalid request"),
        ("/kml/plain/0/0/0.jpeg", "invalid format (jpeg)"),
        ("/kml/plain/0/0", "invalid request"),
    ] {
        let answer = get(&app, uri);
        let text = String::from_utf8_lossy(answer.body().as_bytes()).into_owned();
        assert_eq!(answer.status(), 404, "{uri}: {text}");
        assert!(text.contains(message), "{uri}: {text}");
    }
}
