//! `globals.auth`, on whole applications: keys, tokens and an endpoint, and what they show of maps, tiles and documents.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use mapproxy_client::{ClientError, ErrorKind, UpstreamRequest, UpstreamResponse};
use mapproxy_core::{App, AppBuilder, Application, Request, Response};
use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CONFIG: &str = r"
services:
  demo:
  kml:
  tms:
  wmts:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857']
layers:
  - name: root
    title: Everything
    layers:
      - {name: red, title: Red, sources: [red_tiles]}
      - {name: green, title: Green, sources: [green]}
caches:
  red_tiles: {grids: [GLOBAL_WEBMERCATOR], sources: [red_file]}
sources:
  red_file: {type: raster, file: red.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}
  green: {type: raster, file: green.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}
globals:
  cache: {base_dir: cache_data, meta_size: [1, 1], meta_buffer: 0}
  image: {paletted: false}
";
const SECRET: &[u8] = b"a secret of at least 32 bytes, drawn at random";

/// 0 to 20 east, 40 to 60 north, on 200 pixels: ten a degree.
fn map(layers: &str) -> String {
    format!(
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&STYLES=&SRS=EPSG:4326&BBOX=0,40,20,60&WIDTH=200&HEIGHT=200\
         &FORMAT=image/png&TRANSPARENT=true&LAYERS={layers}"
    )
}
/// 0 to 11.25 east, 48.9 to 55.8 north.
const TILE: &str = "/wmts/red/GLOBAL_WEBMERCATOR/05/16/10.png";
const WMS: &str = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities";
const WMTS: &str = "/service?SERVICE=WMTS&REQUEST=GetCapabilities";

const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];

struct Bench {
    app: App,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// With this below `globals.auth`.
    fn new(auth: &str, client: Option<ScriptedClient>) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        draw_sources(directory.path());
        std::fs::write(directory.path().join("secret"), [SECRET, b"\n"].concat()).unwrap();
        let mut builder = AppBuilder::from_text(config(auth), directory.path());
        if let Some(client) = client {
            builder = builder.http_client(Arc::new(client));
        }
        let built = builder.build().unwrap_or_else(|error| panic!("{error}"));
        Bench { app: built.app, _directory: directory }
    }

    fn get(&self, url: &str, headers: &[(&str, &str)]) -> Response {
        self.app.call(request(url, headers))
    }

    fn status(&self, url: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(url, headers).status().as_u16()
    }

    /// Pixels of a picture.
    fn pixels<const N: usize>(&self, url: &str, headers: &[(&str, &str)], places: [(u32, u32); N]) -> [[u8; 4]; N] {
        let response = self.get(url, headers);
        assert_eq!(response.status(), 200, "{url}: {:?}", response.body());
        assert_eq!(response.headers()["content-type"], "image/png");
        let image = MapImage::from_encoded(response.into_body().into_bytes(), Arc::default());
        let pixels = image.pixels().unwrap();
        places.map(|(x, y)| pixels.pixel(x, y))
    }

    fn text(&self, url: &str, headers: &[(&str, &str)]) -> String {
        let response = self.get(url, headers);
        assert_eq!(response.status(), 200, "{url}");
        String::from_utf8(response.into_body().into_bytes().to_vec()).unwrap()
    }
}

fn config(auth: &str) -> String {
    let auth: String = auth.lines().map(|line| format!("    {line}\n")).collect();
    format!("{CONFIG}  auth:\n{auth}")
}

fn request(url: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::get(url).header("host", "maps.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::new()).unwrap()
}

fn draw_sources(directory: &Path) {
    for (name, color) in [("red.png", Color::rgb(255, 0, 0)), ("green.png", Color::rgb(0, 255, 0))] {
        let options = ImageOptions::new(ImageFormat::png());
        let pixels = Pixels::filled(Size::new(360, 180), PixelMode::Rgb, color);
        let image = MapImage::from_pixels(pixels, options.clone().into()).encode(&options).unwrap();
        std::fs::write(directory.join(name), image.bytes).unwrap();
    }
}

fn sha256(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One key for each kind of grant.
fn keys() -> String {
    format!(
        "api_keys:\n  in_addresses: true\n  keys:\n  - {{name: all, sha256: {}, authorized: full}}\n  \
         - {{sha256: {}, layers: [red]}}\n  \
         - {{sha256: {}, layers: {{root: {{map: true}}, red: {{map: true, tile: true, limited_to: {{bbox: [5, 45, 10, 55], srs: 'EPSG:4326'}}}}}}}}\n  \
         - {{sha256: {}, limited_to: {{bbox: [0, 40, 10, 60], srs: 'EPSG:4326'}}}}",
        sha256("all"),
        sha256("red"),
        sha256("area"),
        sha256("west")
    )
}

fn key(key: &str) -> [(&str, &str); 1] {
    [("x-api-key", key)]
}

fn token(claims: &Value) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.to_string().as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("Bearer {message}.{}", encode(signature.as_ref()))
}

const JWT: &str = "jwt: {secret_file: secret, algorithms: [HS256], audience: maps}";

// What each of the three grants; rows AUT-01 to AUT-08.

/// The same decisions by three ways.
fn benches(decision: &Value) -> Vec<(Bench, Vec<(&'static str, String)>)> {
    let answer = decision.to_string();
    let endpoint = Bench::new(
        "endpoint: {url: 'http://auth.example/'}",
        Some(ScriptedClient::answering("application/json", answer)),
    );
    let claims = json!({"exp": 4_102_444_800_u64, "aud": "maps", "mapproxy": decision});
    vec![
        (endpoint, vec![("cookie", "session=1".to_owned())]),
        (Bench::new(JWT, None), vec![("authorization", token(&claims))]),
    ]
}

fn each(decision: Value, test: impl Fn(&Bench, &[(&str, &str)])) {
    for (bench, headers) in benches(&decision) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        test(&bench, &headers);
    }
}

#[test]
fn full_shows_all_and_none_nothing() {
    let documents = [WMS, WMTS, "/tms/1.0.0/", "/tms/1.0.0/red/EPSG3857", "/kml/red/EPSG3857", "/demo/"];
    let map = map("root");
    let all = || documents.into_iter().chain([TILE, &map]);
    each(json!({"authorized": "full"}), |bench, who| {
        assert!(all().all(|url| bench.status(url, who) == 200));
        assert_eq!(bench.pixels(&map, who, [(100, 100)]), [GREEN]);
    });
    each(json!({"authorized": "none"}), |bench, who| assert!(all().all(|url| bench.status(url, who) == 403)));
    each(json!({"authorized": "unauthenticated"}), |bench, who| {
        assert!(all().all(|url| bench.status(url, who) == 401));
    });
}

#[test]
fn part_of_the_layers_is_shown_and_listed() {
    let decision =
        json!({"authorized": "partial", "layers": {"root": {"map": true}, "red": {"map": true, "tile": true}}});
    each(decision, |bench, who| {
        assert_eq!(bench.pixels(&map("root"), who, [(100, 100)]), [RED]);
        assert_eq!(bench.pixels(&map("red"), who, [(100, 100)]), [RED]);
        assert_eq!(bench.status(&map("green"), who), 403);
        assert_eq!(bench.status(TILE, who), 200);
        assert_eq!(bench.status("/demo/", who), 403);
        let document = bench.text(WMS, who);
        assert!(document.contains("<Name>red</Name>") && !document.contains("<Name>green</Name>"), "{document}");
    });
    let maps_only = json!({"authorized": "partial", "layers": {"red": {"map": true, "tile": false}}});
    each(maps_only, |bench, who| {
        assert_eq!((bench.status(TILE, who), bench.status("/kml/red/EPSG3857", who)), (403, 403));
        assert!(!bench.text(WMTS, who).contains("<ows:Identifier>red<"));
    });
}

#[test]
fn areas_clip_maps_and_tiles_and_narrow_extents() {
    let area = json!({"geometry": [5, 45, 10, 55], "srs": "EPSG:4326"});
    let wkt = json!({"geometry": "POLYGON((5 45,10 45,10 55,5 55,5 45))", "srs": "EPSG:4326"});
    let metres = json!({"geometry": [556597.45, 5621521.49, 1113194.91, 7361866.11], "srs": "EPSG:3857"});
    let ring = json!([[[5, 45], [10, 45], [10, 55], [5, 55], [5, 45]]]);
    let geojson = json!({"geometry": {"type": "Polygon", "coordinates": ring}});
    for area in [area, wkt, metres, geojson] {
        let own = json!({"authorized": "partial", "layers": {"root": {"map": true}, "red": {"map": true, "tile": true, "limited_to": area}}});
        let whole = json!({"authorized": "partial", "limited_to": area, "layers": {"root": {"map": true}, "red": {"map": true, "tile": true}}});
        for decision in [own, whole, json!({"authorized": "full", "limited_to": area})] {
            each(decision, |bench, who| {
                let places = [(75, 100), (75, 30), (30, 100), (120, 100), (75, 180)];
                let [inside, outside @ ..] = bench.pixels(&map("red"), who, places);
                assert_eq!((inside, outside.map(|pixel| pixel[3])), (RED, [0; 4]));
                let [inside, west] = bench.pixels(TILE, who, [(170, 150), (50, 150)]);
                assert_eq!((inside, west[3]), (RED, 0));
                let document = bench.text(WMS, who);
                let box_of_red = document.split("<Name>red</Name>").nth(1).unwrap();
                let edges = ["minx=\"5", "miny=\"45", "maxx=\"10", "maxy=\"55"];
                let (number, near) = (|edge: &str| edge.split('"').nth(1).unwrap().parse::<f64>().unwrap(), 1e-5);
                let llbox = box_of_red.split("LatLonBoundingBox").nth(1).unwrap();
                for edge in edges {
                    let name = edge.split('=').next().unwrap();
                    let value = llbox.split(&format!("{name}=\"")).nth(1).unwrap();
                    let value: f64 = value.split('"').next().unwrap().parse().unwrap();
                    assert!((value - number(&format!("{edge}\""))).abs() < near, "{edge}: {value}");
                }
                let beyond = bench.pixels("/wmts/red/GLOBAL_WEBMERCATOR/05/00/10.png", who, [(100, 100)]);
                assert_eq!(beyond[0][3], 0);
            });
        }
    }
}

// API keys

#[test]
fn keys_open_what_the_configuration_says() {
    let bench = Bench::new(&keys(), None);
    assert_eq!(bench.pixels(&map("root"), &key("all"), [(100, 100)]), [GREEN]);
    assert_eq!((bench.status(&map("red"), &key("red")), bench.status(&map("green"), &key("red"))), (200, 403));
    assert_eq!(bench.pixels(TILE, &key("red"), [(50, 150)]), [RED]);
    let places = [(75, 100), (120, 100)];
    assert_eq!(bench.pixels(&map("red"), &key("area"), places)[0], RED);
    assert_eq!(bench.pixels(&map("red"), &key("area"), places)[1][3], 0);
    let [west, east] = bench.pixels(&map("green"), &key("west"), [(50, 100), (150, 100)]);
    assert_eq!((west, east[3]), (GREEN, 0));
    for who in [&[][..], &key("wrong"), &[("authorization", "Bearer all")]] {
        let refused = bench.get(TILE, who);
        assert_eq!(refused.status(), 401, "{who:?}");
        assert_eq!(refused.headers()["www-authenticate"], "ApiKey realm=\"MapProxy\", header=\"x-api-key\"");
        assert_eq!(refused.headers()["cache-control"], "no-cache, no-store");
    }
    assert_eq!(bench.get(TILE, &key("red")).headers()["cache-control"], "private, no-cache");
}

#[test]
fn a_key_in_the_address_stays_in_the_addresses_of_documents() {
    let bench = Bench::new(&keys(), None);
    for url in ["/api_key/all/service?SERVICE=WMS&REQUEST=GetCapabilities", &format!("{WMS}&api_key=all")] {
        let document = bench.text(url, &[]);
        assert!(document.contains("xlink:href=\"http://maps.example/api_key/all/service?"), "{document}");
        assert!(!document.contains("api_key=all"), "{document}");
    }
    let restful = bench.text("/api_key/red/wmts/1.0.0/WMTSCapabilities.xml", &[]);
    let template = restful.split("template=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(template.starts_with("http://maps.example/api_key/red/wmts/red/"), "{template}");
    assert!(
        bench.text("/tms/1.0.0/?api_key=red", &[]).contains("http://maps.example/api_key/red/tms/1.0.0/red/EPSG3857")
    );
    for url in [format!("/api_key/red{TILE}"), format!("{TILE}?api_key=red")] {
        assert_eq!(
            (bench.status(&url, &[]), bench.status(&url.replace("key/red", "key/none").replace("=red", "=none"), &[])),
            (200, 401),
            "{url}"
        );
        assert_eq!(bench.app.call_now(&request(&url, &[])).unwrap().status(), 200, "{url}");
    }
    let in_headers_only = Bench::new(&keys().replace("true\n", "false\n"), None);
    assert_eq!(in_headers_only.status(&format!("{TILE}?api_key=red"), &[]), 401);
    assert_eq!(in_headers_only.status(&format!("/api_key/red{TILE}"), &[]), 404);
}

// Tokens

#[test]
fn tokens_are_refused_with_the_reason_that_clients_understand() {
    let bench = Bench::new(JWT, None);
    let claims = |until: u64| json!({"exp": until, "aud": "maps", "layers": ["red"]});
    let right = token(&claims(4_102_444_800));
    assert_eq!(bench.pixels(TILE, &[("authorization", &right)], [(50, 150)]), [RED]);
    assert_eq!(bench.status(&map("green"), &[("authorization", &right)]), 403);
    let old = token(&claims(1_000_000_000));
    for (who, challenge) in [
        (&[("authorization", old.as_str())][..], "Bearer realm=\"MapProxy\", error=\"invalid_token\""),
        (&[("authorization", "Bearer nonsense")], "Bearer realm=\"MapProxy\", error=\"invalid_token\""),
        (&[("authorization", "Basic YTpi")], "Bearer realm=\"MapProxy\""),
        (&[], "Bearer realm=\"MapProxy\""),
    ] {
        let refused = bench.get(TILE, who);
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
            (401, &challenge.parse().unwrap())
        );
    }
    // Nothing is granted to those whose token says nothing.
    let mute = token(&json!({"exp": 4_102_444_800_u64, "aud": "maps"}));
    assert_eq!(bench.status(TILE, &[("authorization", &mute)]), 403);
}

// The endpoint

type Answer = Result<UpstreamResponse, ClientError>;

fn asking(answer: impl Fn(&UpstreamRequest) -> Answer + Send + Sync + 'static) -> (Bench, ScriptedClient) {
    let client = ScriptedClient::new(answer);
    (Bench::new("endpoint: {url: 'http://auth.example/'}", Some(client.clone())), client)
}

fn full(_: &UpstreamRequest) -> Answer {
    Ok(response("application/json", r#"{"authorized": "full"}"#))
}

#[test]
fn a_page_of_tiles_costs_one_question() {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let (bench, client) = asking(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        full(request)
    });
    std::thread::scope(|scope| {
        for number in 0..64 {
            let bench = &bench;
            let url = format!("/wmts/red/GLOBAL_WEBMERCATOR/05/{:02}/{:02}.png", number % 8, number / 8);
            scope.spawn(move || assert_eq!(bench.status(&url, &[("cookie", "session=1")]), 200));
        }
    });
    assert_eq!(questions.load(Ordering::SeqCst), 1);
    let asked: Value = serde_json::from_slice(client.requests()[0].body.as_ref().unwrap()).unwrap();
    assert_eq!(asked, json!({"operation": "wmts", "layers": ["red"]}));
    // Whose answer is known is served at once.
    bench.get(TILE, &[("cookie", "session=1")]);
    assert!(bench.app.call_now(&request(TILE, &[("cookie", "session=1")])).is_some());
    assert!(bench.app.call_now(&request(TILE, &[("cookie", "session=2")])).is_none());
    assert_eq!(questions.load(Ordering::SeqCst), 1);
}

#[test]
fn an_endpoint_that_gives_no_decision_shows_nothing() {
    let answers: [fn(&UpstreamRequest) -> Answer; 5] = [
        |request| Err(failure(ErrorKind::Connection, request)),
        |request| Err(failure(ErrorKind::Status(500), request)),
        |request| Err(failure(ErrorKind::Status(302), request)),
        |_| Ok(response("text/html", "<h1>Welcome</h1>")),
        |_| Ok(response("application/json", r#"{"authorized": "yes"}"#)),
    ];
    for answer in answers {
        let (bench, _) = asking(answer);
        for url in [TILE, &map("red"), WMS, WMTS, "/tms/1.0.0/", "/kml/red/EPSG3857", "/demo/"] {
            let refused = bench.get(url, &[]);
            assert_eq!(
                (refused.status().as_u16(), refused.body().as_bytes()),
                (503, &b"service unavailable"[..]),
                "{url}"
            );
            assert_eq!(refused.headers()["cache-control"], "no-cache, no-store");
        }
    }
    let (bench, _) = asking(|request| {
        let mut error = failure(ErrorKind::Status(401), request);
        error.challenge = Some("Negotiate".to_owned());
        Err(error)
    });
    let refused = bench.get(TILE, &[]);
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Negotiate".parse().unwrap())
    );
}

// All together

#[test]
fn what_is_shown_first_decides_and_the_anonymous_get_what_is_left() {
    let client = ScriptedClient::new(|request| {
        let joe = request.headers.iter().any(|(name, value)| name == "cookie" && value == "joe");
        Ok(response("application/json", if joe { r#"{"authorized": "full"}"# } else { r#"{"authorized": "none"}"# }))
    });
    let auth = format!(
        "{}\n{JWT}\nendpoint: {{url: 'http://auth.example/'}}\nanonymous: {{layers: {{green: {{map: true}}}}}}",
        keys()
    );
    let bench = Bench::new(&auth, Some(client.clone()));
    assert_eq!((bench.status(&map("green"), &[]), bench.status(&map("red"), &[])), (200, 403));
    assert!(client.requests().is_empty(), "who shows nothing needs no endpoint");
    assert_eq!((bench.status(TILE, &[("cookie", "joe")]), bench.status(TILE, &[("cookie", "ann")])), (200, 403));
    assert_eq!(client.requests().len(), 2);
    let red = token(&json!({"exp": 4_102_444_800_u64, "aud": "maps", "layers": ["red"]}));
    assert_eq!(bench.status(TILE, &[("authorization", &red), ("cookie", "ann")]), 200);
    // What is wrong is not made good by something else.
    assert_eq!(bench.status(TILE, &[("x-api-key", "wrong"), ("authorization", &red), ("cookie", "joe")]), 401);
    assert_eq!(bench.status(&map("green"), &[("authorization", "Bearer wrong")]), 401);
    assert_eq!(client.requests().len(), 2);
    let refused = bench.get(TILE, &[("x-api-key", "wrong")]);
    let challenge = "Bearer realm=\"MapProxy\", ApiKey realm=\"MapProxy\", header=\"x-api-key\"";
    assert_eq!(refused.headers()["www-authenticate"], challenge);
}

#[test]
fn pages_of_other_origins_may_ask_whether_they_may_send_a_key() {
    let bench = Bench::new(&keys(), None);
    let mut preflight = request(
        TILE,
        &[
            ("origin", "https://page.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-api-key"),
        ],
    );
    *preflight.method_mut() = http::Method::OPTIONS;
    let answer = bench.app.call(preflight);
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["access-control-allow-headers"]),
        (204, &"x-api-key".parse().unwrap())
    );
}

#[test]
fn mistakes_are_told_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    draw_sources(directory.path());
    std::fs::write(directory.path().join("short"), "abc").unwrap();
    std::fs::write(directory.path().join("keys.json"), r#"{"keys": []}"#).unwrap();
    let line = CONFIG.lines().count() + 2;
    for (auth, message) in [
        ("endpoint: {url: auth.example}", "http://host/… or https://host/… is needed (at globals.auth.endpoint.url)"),
        ("endpoint: {url: 'http://a:b@c/'}", "a user and a password in the url are not possible here"),
        ("endpoint: {url: 'http://a/', headers: [Host]}", "headers: 'Host' says nothing of who asks"),
        ("endpoint: {url: 'http://a/', methods: GET}", "unknown 'methods' in globals.auth.endpoint"),
        ("endpoint: {url: 'http://a/', cache: -1}", "-1 is not a number of seconds"),
        ("endpoint: {}", "missing 'url'"),
        ("anonymous: full", "nobody can say who he is"),
        ("api_keys: {keys: [{sha256: abc, authorized: full}]}", "not a SHA-256: 64 hexadecimal digits are needed"),
        ("jwt: {jwks: nowhere.json, algorithms: [RS256]}", "cannot read"),
        ("jwt: {jwks: keys.json, algorithms: [RS256], audience: a}", "no public RSA, P-256, P-384 or Ed25519 key"),
        ("jwt: {jwks: keys.json, algorithms: [HS256]}", "HS256 needs secret_file in place of jwks"),
        ("jwt: {jwks: keys.json, algorithms: [none]}", "unknown algorithm 'none'"),
        (
            "jwt: {secret_file: short, algorithms: [HS256], audience: a}",
            "a secret has 32 bytes at least, this one has 3",
        ),
        ("jwt: {algorithms: [RS256]}", "one of jwks and secret_file is needed"),
    ] {
        let error = AppBuilder::from_text(config(auth), directory.path()).build().unwrap_err().diagnostics.to_string();
        assert!(error.contains(message), "{auth}\n{error}");
        assert!(
            error.contains(&format!("<configuration>:{line}:"))
                || error.contains(&format!("<configuration>:{}:", line - 1)),
            "{auth}\n{error}"
        );
    }
    let hash = sha256("a");
    for (grant, message) in
        [("layers: [rde]", "there is no layer 'rde'"), ("layers: {red: {}}", "nothing is granted of layer 'red'")]
    {
        let auth = format!("api_keys: {{keys: [{{sha256: {hash}, {grant}}}]}}");
        let built = AppBuilder::from_text(config(&auth), directory.path()).build().unwrap();
        assert!(built.diagnostics.to_string().contains(message), "{}", built.diagnostics);
    }
    for grant in ["", ", authorized: some", ", authorized: none, layers: [red]", ", limited_to: {}"] {
        let auth = format!("api_keys: {{keys: [{{sha256: {hash}{grant}}}]}}");
        AppBuilder::from_text(config(&auth), directory.path()).build().unwrap_err();
    }
}

#[test]
fn files_of_keys_are_watched() {
    let directory = tempfile::tempdir().unwrap();
    draw_sources(directory.path());
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let built = AppBuilder::from_text(config(JWT), directory.path()).build().unwrap();
    assert!(built.files.contains(&secret), "{:?}", built.files);
}

#[test]
fn a_program_that_decides_itself_goes_before_the_configuration() {
    use mapproxy_core::auth::{ApiKeys, Decision};

    let directory = tempfile::tempdir().unwrap();
    draw_sources(directory.path());
    let own = ApiKeys::new(http::HeaderName::from_static("x-own")).key("sesame", Decision::Full);
    let built = AppBuilder::from_text(config(&keys()), directory.path()).authorizer(Arc::new(own)).build().unwrap();
    assert!(built.diagnostics.to_string().contains("not used: the program around MapProxy decides"));
    assert_eq!(built.app.call(request(TILE, &key("all"))).status(), 401);
    assert_eq!(built.app.call(request(TILE, &[("x-own", "sesame")])).status(), 200);
}

#[test]
fn the_examples_of_the_guide_are_valid() {
    let guide = include_str!("../../../docs/authorization.md");
    let examples: Vec<&str> = guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 3);
    for example in examples {
        let directory = tempfile::tempdir().unwrap();
        draw_sources(directory.path());
        let auth = example.trim_start_matches("globals:\n");
        let built = AppBuilder::from_text(format!("{CONFIG}{auth}"), directory.path()).build();
        let built = built.unwrap_or_else(|error| panic!("{example}\n{error}"));
        // Their layers are not ours.
        let others: Vec<_> =
            built.diagnostics.iter().filter(|found| !found.message.contains("there is no layer")).collect();
        assert!(others.is_empty(), "{example}\n{others:?}");
    }
}

#[test]
fn decisions_of_the_guide_are_understood() {
    let guide = include_str!("../../../docs/authorization.md");
    let examples = guide.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut decisions = 0;
    for example in examples {
        let json: Value = serde_json::from_str(example).unwrap();
        let decision = json.get("mapproxy").unwrap_or(&json);
        if decision.get("authorized").is_some() {
            mapproxy_core::auth::Decision::from_json(decision.to_string().as_bytes()).unwrap();
            decisions += 1;
        }
    }
    assert_eq!(decisions, 2);
}
