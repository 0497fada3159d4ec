//! The documents as pages. They load nothing from other hosts and have no scripts.

use askama::Template;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::documents::{
    self, CollectionDocument, Collections, Conformance, Landing, Link, TileMatrixSets, TileSetDocument, TileSets,
};
use super::error::ApiError;
use super::matrix_set::{Definition, MatrixSet};
use super::options::ApiMetadata;
use super::path::Scope;
use crate::Response;
use crate::response::{plain, respond};
use crate::services::markup::segment;

/// Nothing but our own pictures and styles.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; style-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const HTML: &str = "text/html; charset=utf-8";
/// Tiles shown of a set: those of the first level with more than one.
const SAMPLE: u32 = 4;

/// What all pages have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) title: &'a str,
    pub(super) base: &'a str,
}

/// A step on the way to a page.
struct Crumb {
    text: String,
    href: String,
}

/// What is around a page.
struct Frame<'a> {
    site: Site<'a>,
    crumbs: Vec<Crumb>,
    heading: &'a str,
    /// For programs that read pages.
    links: Vec<Link>,
}

impl<'a> Frame<'a> {
    fn new(site: &Site<'a>, heading: &'a str, links: &[Link]) -> Frame<'a> {
        let links = links.iter().filter(|link| !link.templated).cloned().collect();
        Frame { site: *site, crumbs: Vec::new(), heading, links }
    }
}

impl Site<'_> {
    fn crumb(&self, text: &str, path: &str) -> Crumb {
        Crumb { text: text.to_owned(), href: format!("{}{path}?f=html", self.base) }
    }

    fn crumbs_to(&self, scope: Scope<'_>) -> Vec<Crumb> {
        match scope {
            Scope::Dataset => Vec::new(),
            Scope::Collection(id) => vec![
                self.crumb("Collections", "/collections"),
                self.crumb(id, &format!("/collections/{}", segment(id))),
            ],
        }
    }
}

pub(super) fn landing(site: &Site<'_>, metadata: &ApiMetadata, document: Landing) -> Response {
    let links = for_people(document.links);
    let frame = Frame { heading: site.title, ..Frame::new(site, "", &links) };
    let description = metadata.description.as_deref();
    render(StatusCode::OK, &LandingPage { frame, description, metadata, links })
}

pub(super) fn conformance(site: &Site<'_>, document: Conformance) -> Response {
    let frame = Frame::new(site, "Conformance", &[]);
    render(StatusCode::OK, &ConformancePage { frame, classes: document.classes })
}

pub(super) fn collections(site: &Site<'_>, document: Collections) -> Response {
    let Collections { collections, links } = document;
    let links = for_people(links);
    let frame = Frame::new(site, "Collections", &links);
    render(StatusCode::OK, &CollectionsPage { frame, collections, links })
}

pub(super) fn collection(site: &Site<'_>, document: CollectionDocument) -> Response {
    let preview = document.links.iter().find(|link| link.is_image()).map(|link| link.href.clone());
    let links = for_people(document.links.clone());
    let crumbs = vec![site.crumb("Collections", "/collections")];
    let frame = Frame { crumbs, ..Frame::new(site, &document.title, &links) };
    let bbox = document.bbox();
    render(StatusCode::OK, &CollectionPage { frame, document: &document, bbox, preview, links })
}

pub(super) fn tile_matrix_sets(site: &Site<'_>, document: TileMatrixSets) -> Response {
    let frame = Frame::new(site, "Tile matrix sets", &[]);
    render(StatusCode::OK, &MatrixSetsPage { frame, sets: document.sets })
}

pub(super) fn tile_matrix_set(site: &Site<'_>, document: Definition) -> Response {
    let crumbs = vec![site.crumb("Tile matrix sets", "/tileMatrixSets")];
    let frame = Frame { crumbs, ..Frame::new(site, &document.id, &[]) };
    render(StatusCode::OK, &MatrixSetPage { frame, document: &document })
}

pub(super) fn tile_sets(site: &Site<'_>, scope: Scope<'_>, document: TileSets) -> Response {
    let links = for_people(document.links);
    let frame = Frame { crumbs: site.crumbs_to(scope), ..Frame::new(site, "Tile sets", &links) };
    render(StatusCode::OK, &TileSetsPage { frame, sets: document.tilesets })
}

pub(super) fn tile_set(site: &Site<'_>, scope: Scope<'_>, set: &MatrixSet, document: TileSetDocument) -> Response {
    let mut crumbs = site.crumbs_to(scope);
    let path = match scope {
        Scope::Dataset => "/map/tiles".to_owned(),
        Scope::Collection(id) => format!("/collections/{}/map/tiles", segment(id)),
    };
    crumbs.push(site.crumb("Tile sets", &path));
    let template = document.links.iter().find(|link| link.templated).map(|link| link.href.clone());
    let rows = template.as_deref().map(|template| sample(set, template)).unwrap_or_default();
    let links = for_people(document.links.clone());
    let frame = Frame { crumbs, ..Frame::new(site, &document.title, &links) };
    render(StatusCode::OK, &TileSetPage { frame, document: &document, rows, links })
}

pub(super) fn api(site: &Site<'_>, document: &Value) -> Response {
    let frame = Frame::new(site, "The API", &[]);
    render(StatusCode::OK, &ApiPage { frame, operations: operations(document) })
}

pub(super) fn error(site: &Site<'_>, error: &ApiError) -> Response {
    let frame = Frame::new(site, error.kind(), &[]);
    render(error.status, &ErrorPage { frame, status: error.status, detail: &error.detail })
}

fn for_people(mut links: Vec<Link>) -> Vec<Link> {
    documents::of_page(&mut links);
    links
}

/// The tiles of a coarse level as they lie, the northernmost row first.
fn sample(set: &MatrixSet, template: &str) -> Vec<Vec<String>> {
    let levels = set.grid.levels();
    let z = levels.iter().position(|level| level.columns > 1 || level.rows > 1).unwrap_or(0);
    let (columns, rows) = (levels[z].columns.min(SAMPLE), levels[z].rows.min(SAMPLE));
    let is_upwards = set.grid.origin() == mapproxy_grid::Origin::LowerLeft;
    let numbers: Vec<u32> = if is_upwards { (0..rows).rev().collect() } else { (0..rows).collect() };
    let tile = |row: u32, column: u32| {
        let place = |text: &str, name: &str, number: String| text.replace(name, &number);
        let text = place(template, "{tileMatrix}", z.to_string());
        place(&place(&text, "{tileRow}", row.to_string()), "{tileCol}", column.to_string())
    };
    numbers.into_iter().map(|row| (0..columns).map(|column| tile(row, column)).collect()).collect()
}

/// An operation of the API.
struct Operation {
    path: String,
    summary: String,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    place: String,
    description: String,
    values: String,
}

fn operations(document: &Value) -> Vec<Operation> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parameter = |value: &Value| {
        let value = value["$ref"].as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?));
        let value = value.unwrap_or(&Value::Null);
        let schema = &value["schema"];
        let allowed = schema["enum"].as_array().or_else(|| schema["items"]["enum"].as_array());
        let values = match allowed {
            Some(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
            None => text(&schema["type"]),
        };
        Parameter {
            name: text(&value["name"]),
            place: text(&value["in"]),
            description: text(&value["description"]),
            values,
        }
    };
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .map(|(path, item)| Operation {
            path: path.clone(),
            summary: text(&item["get"]["summary"]),
            parameters: item["get"]["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
        })
        .collect()
}

fn render(status: StatusCode, page: &impl Template) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => {
            log::error!(target: "mapproxy.service.ogcapi", "cannot write page: {error}");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        }
    };
    let mut response = respond(status, HTML, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[derive(Template)]
#[template(path = "ogcapi/landing.html")]
struct LandingPage<'a> {
    frame: Frame<'a>,
    description: Option<&'a str>,
    metadata: &'a ApiMetadata,
    links: Vec<Link>,
}

#[derive(Template)]
#[template(path = "ogcapi/conformance.html")]
struct ConformancePage<'a> {
    frame: Frame<'a>,
    classes: Vec<String>,
}

#[derive(Template)]
#[template(path = "ogcapi/collections.html")]
struct CollectionsPage<'a> {
    frame: Frame<'a>,
    collections: Vec<CollectionDocument>,
    links: Vec<Link>,
}

#[derive(Template)]
#[template(path = "ogcapi/collection.html")]
struct CollectionPage<'a> {
    frame: Frame<'a>,
    document: &'a CollectionDocument,
    bbox: String,
    preview: Option<String>,
    links: Vec<Link>,
}

#[derive(Template)]
#[template(path = "ogcapi/matrix_sets.html")]
struct MatrixSetsPage<'a> {
    frame: Frame<'a>,
    sets: Vec<documents::TileMatrixSetItem>,
}

#[derive(Template)]
#[template(path = "ogcapi/matrix_set.html")]
struct MatrixSetPage<'a> {
    frame: Frame<'a>,
    document: &'a Definition,
}

#[derive(Template)]
#[template(path = "ogcapi/tile_sets.html")]
struct TileSetsPage<'a> {
    frame: Frame<'a>,
    sets: Vec<TileSetDocument>,
}

#[derive(Template)]
#[template(path = "ogcapi/tile_set.html")]
struct TileSetPage<'a> {
    frame: Frame<'a>,
    document: &'a TileSetDocument,
    /// Addresses of tiles, row by row.
    rows: Vec<Vec<String>>,
    links: Vec<Link>,
}

#[derive(Template)]
#[template(path = "ogcapi/api.html")]
struct ApiPage<'a> {
    frame: Frame<'a>,
    operations: Vec<Operation>,
}

#[derive(Template)]
#[template(path = "ogcapi/error.html")]
struct ErrorPage<'a> {
    frame: Frame<'a>,
    status: StatusCode,
    detail: &'a str,
}
