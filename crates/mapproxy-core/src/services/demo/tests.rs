//! The pages of whole applications.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::auth::{Authorizer, AuthorizerError, Decision, Feature, Grant, Operation, Partial, Question};
use crate::{App, AppBuilder, Application, Request, Response};

/// Names that would do harm wherever they are not escaped.
const HOSTILE: &str = r#"<script>alert('x')</script>"&\${z}%22"#;

const CONFIG: &str = r#"
services:
  demo:
  kml:
  tms:
  wmts:
  ogcapi:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    image_formats: [image/png, image/jpeg, image/tiff]
    md: {title: "T<i>tle", abstract: "A</p><b>stract"}
layers:
  - name: group
    title: Group
    layers:
      - name: world
        title: World
        sources: [tiles]
        dimensions:
          time: {values: ['2020-01-01', '2021-01-01'], default: '2021-01-01'}
          depth: {values: ['<b>', '10'], default: '10', units: m}
          hour: {values: ['0/5000/1']}
      - {name: 'HOSTILE', title: 'HOSTILE', sources: [tiles]}
  - title: Heading
    layers:
      - {name: secret, title: Secret, sources: [tiles]}
caches:
  tiles: {grids: [GLOBAL_WEBMERCATOR, national], sources: [upstream]}
sources:
  upstream: {type: wms, req: {url: 'http://localhost/wms', layers: x}}
grids:
  national: {srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}
"#;

fn config() -> String {
    CONFIG.replace("HOSTILE", &HOSTILE.replace('\'', "''"))
}

fn builder(config: &str) -> AppBuilder {
    AppBuilder::from_text(config, "/nowhere")
}

fn app() -> App {
    builder(&config()).build().unwrap().app
}

fn get_with(app: &App, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = http::Request::get(target).header("host", "maps.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request: Request = request.body(Bytes::new()).unwrap();
    app.call(request)
}

fn get(app: &App, target: &str) -> Response {
    get_with(app, target, &[])
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body().as_bytes().to_vec()).unwrap()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Every page there is, for the hostile layer where it is about one.
fn pages() -> Vec<String> {
    let layer = encoded(HOSTILE);
    let mut pages = vec![
        "/demo/".to_owned(),
        "/demo/?wms_capabilities".to_owned(),
        "/demo/?wms_capabilities&version=1.0.0".to_owned(),
        "/demo/?wmsc_capabilities".to_owned(),
        "/demo/?wmts_capabilities".to_owned(),
        "/demo/?wmts_capabilities_kvp".to_owned(),
        "/demo/?tms_capabilities".to_owned(),
        format!("/demo/?tms_capabilities&layer={layer}&srs=EPSG25832"),
        "/demo/?kml=world&srs=EPSG25832".to_owned(),
        format!("/demo/?tilejson={layer}&srs=EPSG3857"),
        "/demo/?ogcapi=".to_owned(),
        "/demo/?ogcapi=/collections".to_owned(),
        "/demo/?ogcapi=/api".to_owned(),
        format!("/demo/?wmts_layer={layer}&grid=national"),
        format!("/demo/?tms_layer={layer}&srs=EPSG:3857&at=1,2,3,4&at_srs=EPSG:25832"),
    ];
    for srs in ["EPSG:4326", "EPSG:3857", "EPSG:25832"] {
        for version in ["1.0.0", "1.1.1", "1.3.0"] {
            pages.push(format!("/demo/?wms_layer={layer}&srs={srs}&version={version}&format=image/jpeg"));
        }
    }
    pages
}

#[test]
fn every_page_forbids_whatever_is_not_a_file_of_ours() {
    let app = app();
    for page in pages() {
        let response = get(&app, &page);
        assert_eq!(response.status(), StatusCode::OK, "{page}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let html = text(&response);
        // Scripts and styles stand in files only, and nothing is loaded from elsewhere.
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"../demo/static/").count(), "{page}");
        let in_attribute = [" style=", "<style", " onclick=", " onload=", "javascript:", " src=\"http", " src=\"//"];
        // Documents and snippets hold such words as text, where quotes and brackets are escaped.
        let tags: String = html.split('<').skip(1).filter_map(|tag| tag.split_once('>')).map(|(tag, _)| tag).collect();
        assert!(!in_attribute.iter().any(|found| tags.contains(found)), "{page}");
    }
}

#[test]
fn names_from_the_configuration_are_escaped_everywhere() {
    let app = app();
    for page in pages() {
        let html = text(&get(&app, &page));
        assert!(!html.contains("<script>") && !html.contains("T<i>tle") && !html.contains("</p><b>"), "{page}");
    }
    let index = text(&get(&app, "/demo/"));
    assert!(index.contains("T&#60;i&#62;tle"), "{index}");
}

#[test]
fn what_a_request_says_is_never_repeated_unescaped() {
    let app = app();
    let hostile = encoded("\"><script>alert(1)</script>");
    for parameter in ["srs", "format", "version", "transparent", "at", "at_srs", "grid", "layer"] {
        for page in ["wms_layer=world", "wmts_layer=world", "tms_layer=world", "wms_capabilities", "tms_capabilities"] {
            let html = text(&get(&app, &format!("/demo/?{page}&{parameter}={hostile}")));
            assert!(!html.contains("<script>alert"), "{page} {parameter}");
        }
    }
    for page in ["wms_layer", "wmts_layer", "tms_layer", "kml"] {
        let response = get(&app, &format!("/demo/?{page}={hostile}"));
        assert!(!text(&response).contains("<script>alert"), "{page}");
    }
    for (name, value) in [("x-forwarded-host", "\"><script>alert(1)"), ("x-script-name", "/\"><script>alert(1)")] {
        for page in ["/demo/", "/demo/?wms_capabilities", "/demo/?wms_layer=world"] {
            let html = text(&get_with(&app, page, &[(name, value)]));
            assert!(!html.contains("<script>alert"), "{page} {name}");
        }
    }
}

#[test]
fn what_is_not_there_is_a_404_and_not_something_else() {
    let app = app();
    for target in [
        "/demo/?wms_layer=nothing",
        "/demo/?wms_layer=Heading",
        "/demo/?wms_layer=world&srs=EPSG:31467",
        "/demo/?wms_layer=world&format=image/tiff",
        "/demo/?wms_layer=world&version=9",
        "/demo/?wmts_layer=world&grid=other",
        "/demo/?tms_layer=group",
        "/demo/static/",
        "/demo/static/../mod.rs",
        "/demo/static/..%2fmod.rs",
        "/demo/static/%2e%2e/%2e%2e/etc/passwd",
    ] {
        let response = get(&app, target);
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{target}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{target}");
    }
}

#[test]
fn pages_work_under_any_prefix_since_their_links_are_relative() {
    let app = app();
    let headers =
        [("x-script-name", "/gis/maps"), ("x-forwarded-host", "public.example"), ("x-forwarded-proto", "https")];
    for page in pages() {
        let html = text(&get_with(&app, &page, &headers));
        for attribute in ["href=\"", "src=\"", "action=\""] {
            for link in html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                let is_relative = link.starts_with("../") || link.starts_with('#') || link == "data:,";
                assert!(is_relative || link.starts_with("https://public.example/gis/maps/"), "{page}: {link}");
            }
        }
    }
    let response = get_with(&app, "/demo", &headers);
    assert_eq!(response.headers()["location"], "https://public.example/gis/maps/demo/");
    let html = text(&get_with(&app, "/demo/?wms_layer=world", &headers));
    assert!(html.contains("https://public.example/gis/maps/service"), "snippets name the public address");
}

#[test]
fn files_may_be_kept_for_ever_under_the_version_that_pages_name() {
    let app = app();
    let html = text(&get(&app, "/demo/?wms_layer=world"));
    let mut files = 0;
    for link in html.split("../demo/static/").skip(1).filter_map(|rest| rest.split('"').next()) {
        let response = get(&app, &format!("/demo/static/{link}"));
        assert_eq!(response.status(), StatusCode::OK, "{link}");
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable", "{link}");
        let etag = response.headers()["etag"].to_str().unwrap();
        let name = link.split('?').next().unwrap();
        for version in ["", "?v=0"] {
            let other = get_with(&app, &format!("/demo/static/{name}{version}"), &[("if-none-match", etag)]);
            assert_eq!(
                (other.status(), &other.headers()["cache-control"]),
                (StatusCode::NOT_MODIFIED, &"no-cache".parse().unwrap())
            );
        }
        files += 1;
    }
    assert_eq!(files, 3);
}

#[test]
fn the_view_is_kept_when_the_reference_system_changes() {
    let app = app();
    let focus = |query: &str| -> Vec<f64> {
        let html = text(&get(&app, &format!("/demo/?wms_layer=world&{query}")));
        let at = html.find("&#34;focus&#34;:[").unwrap() + "&#34;focus&#34;:[".len();
        html[at..].split(']').next().unwrap().split(',').map(|number| number.parse().unwrap()).collect()
    };
    let kept = focus("srs=EPSG:3857&at=8,53,8.5,53.2&at_srs=EPSG:4326");
    assert!((kept[0] - 890_555.93).abs() < 1.0 && (kept[2] - 946_215.67).abs() < 1.0, "{kept:?}");
    for nonsense in [
        "at=8,53,8.5&at_srs=EPSG:4326",
        "at=a,b,c,d&at_srs=EPSG:4326",
        "at=1,1,1,1&at_srs=EPSG:4326",
        "at=8,53,9,54",
        "at=8,53,9,54&at_srs=EPSG:0",
        "at=NaN,0,1,1&at_srs=EPSG:4326",
        "at=1e300,0,inf,1&at_srs=EPSG:4326",
    ] {
        assert_eq!(focus(&format!("srs=EPSG:3857&{nonsense}")), focus("srs=EPSG:3857"), "{nonsense}");
    }
}

#[test]
fn a_background_opens_the_policy_for_pictures_of_its_host_only() {
    let config = format!(
        "{}\nglobals: {{background: {{url: 'https://tiles.example:8443/a/{{z}}/{{x}}/{{y}}.png'}}}}\n",
        config()
    );
    let app = builder(&config).build().unwrap().app;
    let response = get(&app, "/demo/?wms_layer=world&srs=EPSG:3857");
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("img-src 'self' data: https://tiles.example:8443;"), "{policy}");
    assert_eq!(policy.matches("tiles.example").count(), 1, "{policy}");
    assert!(text(&response).contains("https://tiles.example:8443/a/{z}/{x}/{y}.png"));
    assert!(!text(&get(&app, "/demo/?wms_layer=world&srs=EPSG:25832")).contains("tiles.example"));
}

#[test]
fn dimensions_are_chosen_and_asked_for() {
    let app = app();
    let url = |page: &str, query: &str| {
        let html = text(&get(&app, &format!("/demo/?{page}=world&{query}")));
        let at = html.find("&#34;url&#34;:&#34;").unwrap() + "&#34;url&#34;:&#34;".len();
        html[at..].split("&#34;").next().unwrap().replace("&#38;", "&")
    };
    assert!(url("wms_layer", "").contains("&TIME=2021-01-01&DIM_DEPTH=10&"), "{}", url("wms_layer", ""));
    assert!(url("wms_layer", "time=2020-01-01&dim_depth=%3Cb%3E").contains("&TIME=2020-01-01&DIM_DEPTH=%3Cb%3E&"));
    // The group asks for the dimensions of the layers in it; what is not offered is not asked for.
    assert!(url("wms_layer", "time=1999").contains("&TIME=2021-01-01&"));
    let group = text(&get(&app, "/demo/?wms_layer=group"));
    assert!(group.contains("TIME=2021-01-01") && group.contains("name=\"dim_depth\""));
    // A range of many values is a text.
    let html = text(&get(&app, "/demo/?wms_layer=world"));
    assert!(
        html.contains("<select name=\"time\"") && html.contains("<input type=\"text\" name=\"dim_hour\""),
        "{html}"
    );
    assert!(html.contains("depth (m)") && !html.contains("<b>"));
    // Version 1.0.0 has none.
    assert!(!url("wms_layer", "version=1.0.0").contains("TIME"));
}

#[test]
fn versions_before_1_3_0_have_x_before_y() {
    let app = app();
    let north_first = |query: &str| {
        let html = text(&get(&app, &format!("/demo/?wms_layer=world&{query}")));
        html.contains("&#34;north_first&#34;:true")
    };
    assert!(north_first("srs=EPSG:4326"));
    assert!(!north_first("srs=EPSG:4326&version=1.1.1"));
    assert!(!north_first("srs=EPSG:3857"));
}

/// Shows all but the layer `secret`, and its children with it.
#[derive(Debug)]
struct AllButSecret;

impl Authorizer for AllButSecret {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        if question.operation == Operation::Demo {
            return Ok(Decision::Full);
        }
        if question.operation == Operation::Kml {
            return Ok(Decision::None);
        }
        let shown = question.layers.iter().filter(|name| **name != "secret");
        let grant = Grant::of([Feature::Map, Feature::Tile]);
        Ok(shown.fold(Partial::new(), |partial, name| partial.layer(*name, grant.clone())).into())
    }
}

#[test]
fn layers_and_services_that_the_caller_may_not_see_are_not_listed() {
    let app = builder(&config()).authorizer(Arc::new(AllButSecret)).build().unwrap().app;
    let index = text(&get(&app, "/demo/"));
    assert!(
        index.contains("wms_layer=world") && index.contains("tms_layer=world") && index.contains("wmts_layer=world")
    );
    assert!(!index.contains("secret") && !index.contains("id=\"kml\""), "{index}");
    for page in ["wms_layer", "wmts_layer", "tms_layer"] {
        assert_eq!(get(&app, &format!("/demo/?{page}=secret")).status(), StatusCode::NOT_FOUND, "{page}");
        assert_eq!(get(&app, &format!("/demo/?{page}=world")).status(), StatusCode::OK, "{page}");
    }
    assert!(!text(&get(&app, "/demo/?wms_capabilities")).contains("secret"));
}
