//! The documents as their schemas have them (OGC 19-072, 20-024, 20-057, 20-058); pages are made of the same.

use mapproxy_grid::{Bbox, MapExtent, PIXEL_SIZE_M, ResolutionRange, Srs};
use serde::Serialize;

use super::collection::Collection;
use super::crs;
use super::formats::Format;
use super::matrix_set::{MatrixLimits, MatrixSet};
use super::path::Scope;
use crate::services::markup::segment;

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html";
pub(super) const OPENAPI: &str = "application/vnd.oai.openapi+json;version=3.0";

const CONFORMANCE: &str = "http://www.opengis.net/def/rel/ogc/1.0/conformance";
const DATA: &str = "http://www.opengis.net/def/rel/ogc/1.0/data";
const GEODATA: &str = "http://www.opengis.net/def/rel/ogc/1.0/geodata";
const MAP: &str = "http://www.opengis.net/def/rel/ogc/1.0/map";
const TILESETS_MAP: &str = "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map";
const TILING_SCHEME: &str = "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme";
const TILING_SCHEMES: &str = "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes";

const COLLECTIONS: &str = "list of all data collections served from this endpoint";

#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    pub(super) rel: &'static str,
    #[serde(rename = "type")]
    pub(super) media_type: String,
    pub(super) title: String,
    pub(super) href: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) templated: bool,
}

impl Link {
    /// With `pages`, of which those for programs are meant.
    pub(super) fn is_html(&self) -> bool {
        self.media_type == HTML
    }

    pub(super) fn is_image(&self) -> bool {
        self.media_type.starts_with("image/")
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Landing {
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Serialize)]
pub(super) struct Conformance {
    #[serde(rename = "conformsTo")]
    pub(super) classes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Collections {
    pub(super) collections: Vec<CollectionDocument>,
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CollectionDocument {
    data_type: &'static str,
    pub(super) id: String,
    pub(super) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attribution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution_media_type: Option<&'static str>,
    extent: Extent,
    pub(super) crs: Vec<String>,
    pub(super) storage_crs: String,
    pub(super) links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_cell_size: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_scale_denominator: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cell_size: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_scale_denominator: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Extent {
    spatial: SpatialExtent,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpatialExtent {
    bbox: [[f64; 4]; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_crs_bbox: Option<[[f64; 4]; 1]>,
}

#[derive(Debug, Serialize)]
pub(super) struct TileMatrixSets {
    #[serde(rename = "tileMatrixSets")]
    pub(super) sets: Vec<TileMatrixSetItem>,
}

#[derive(Debug, Serialize)]
pub(super) struct TileMatrixSetItem {
    pub(super) id: String,
    title: String,
    pub(super) links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct TileSets {
    pub(super) links: Vec<Link>,
    pub(super) tilesets: Vec<TileSetDocument>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TileSetDocument {
    pub(super) title: String,
    #[serde(rename = "tileMatrixSetURI", skip_serializing_if = "Option::is_none")]
    tile_matrix_set_uri: Option<&'static str>,
    data_type: &'static str,
    pub(super) crs: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tile_matrix_set_limits: Vec<MatrixLimits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bounding_box: Option<BoundingBox>,
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BoundingBox {
    lower_left: [f64; 2],
    upper_right: [f64; 2],
    crs: &'static str,
}

/// Makes documents that name the addresses of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a> {
    /// `https://…/ogcapi`
    pub(super) base: &'a str,
    pub(super) formats: &'a [Format],
    /// SRS of maps.
    pub(super) map_srs: &'a [Srs],
    pub(super) maps: bool,
    pub(super) tiles: bool,
    /// There is something to show without a collection.
    pub(super) dataset: bool,
}

impl Writer<'_> {
    pub(super) fn landing(&self) -> Landing {
        let about = "landing page for this OGC (geospatial) API Service providing links to the API definition, the \
                     conformance declaration and information about the data collections offered at this endpoint.";
        let mut links = self.itself("", about);
        let about =
            "conformance declaration for this server listing the requirement classes implemented by this server";
        let [json, html] = self.representations(CONFORMANCE, about, "/conformance");
        links.push(Link { rel: "conformance", ..json.clone() });
        links.extend([json, html]);
        let title = "The JSON OpenAPI 3.0 document that describes the API offered at this endpoint";
        links.push(self.link("service-desc", OPENAPI, title, "/api?f=json"));
        let title = "The HTML documentation of the API offered at this endpoint";
        links.push(self.link("service-doc", HTML, title, "/api?f=html"));
        for rel in ["data", DATA] {
            links.extend(self.representations(rel, COLLECTIONS, "/collections"));
        }
        if self.maps && self.dataset {
            links.extend(self.pictures(MAP, "Default map of the whole datase", "/map", false));
        }
        if self.tiles {
            links.extend(self.both(TILING_SCHEMES, "The list of supported tiling schemes", "/tileMatrixSets"));
            if self.dataset {
                // 20-057, requirement 12: without it nobody finds them.
                links.extend(self.both(TILESETS_MAP, "Map tilesets available for the whole dataset", "/map/tiles"));
            }
        }
        Landing { links }
    }

    pub(super) fn conformance(&self) -> Conformance {
        let mut classes: Vec<String> = Vec::new();
        let mut add = |standard: &str, names: &[&str]| {
            classes.extend(names.iter().map(|name| format!("http://www.opengis.net/spec/{standard}/1.0/conf/{name}")));
        };
        add("ogcapi-common-1", &["core", "html", "json", "landing-page", "oas30"]);
        add("ogcapi-common-2", &["collections"]);
        if self.maps {
            let part = [
                "core",
                "scaling",
                "spatial-subsetting",
                "crs",
                "display-resolution",
                "background",
                "collection-map",
                "collections-selection",
            ];
            add("ogcapi-maps-1", &part);
            for name in ["png", "jpeg", "tiff"] {
                if self.formats.iter().any(|format| format.name == name) {
                    add("ogcapi-maps-1", &[name]);
                }
            }
            if self.dataset {
                add("ogcapi-maps-1", &["dataset-map"]);
            }
            if self.tiles {
                add("ogcapi-maps-1", &["tilesets"]);
            }
        }
        if self.tiles {
            add("ogcapi-tiles-1", &["core", "oas30", "tileset", "tilesets-list", "geodata-tilesets"]);
            if self.dataset {
                add("ogcapi-tiles-1", &["dataset-tilesets"]);
            }
        }
        Conformance { classes }
    }

    pub(super) fn collections(&self, collections: Vec<CollectionDocument>) -> Collections {
        Collections { collections, links: self.itself("/collections", COLLECTIONS) }
    }

    /// `extent`: what the caller may see of it.
    pub(super) fn collection(&self, collection: &Collection, extent: &MapExtent, shown: Shown) -> CollectionDocument {
        let path = format!("/collections/{}", segment(&collection.id));
        let mut links = self.itself(&path, "this data collection");
        if shown.maps {
            links.extend(self.pictures(MAP, "Default map", &format!("{path}/map"), false));
        }
        if shown.tiles {
            links.extend(self.both(
                TILESETS_MAP,
                "Map tilesets available for this collection",
                &format!("{path}/map/tiles"),
            ));
        }
        let storage = crs::uri(&extent.srs);
        let is_crs84 = storage == crs::CRS84;
        let swaps = extent.srs.is_north_first() && !is_crs84;
        let ResolutionRange { min_res, max_res } = collection.resolutions;
        // Ours are metres, those of the document units of the storage CRS.
        let cell_size = |res: f64| res / extent.srs.meters_per_unit();
        CollectionDocument {
            data_type: "map",
            id: collection.id.clone(),
            title: collection.title.clone(),
            description: collection.description.clone(),
            attribution: collection.attribution.as_ref().map(|(text, _)| text.clone()),
            attribution_media_type: collection.attribution.as_ref().and_then(|(_, media_type)| *media_type),
            extent: Extent {
                spatial: SpatialExtent {
                    bbox: [degrees(extent).to_array()],
                    storage_crs_bbox: (!is_crs84).then(|| [in_axis_order(extent.bbox, swaps)]),
                },
            },
            crs: crs::uris(self.map_srs),
            storage_crs: storage,
            links,
            min_cell_size: max_res.map(cell_size),
            min_scale_denominator: max_res.map(|res| res / PIXEL_SIZE_M),
            max_cell_size: min_res.map(cell_size),
            max_scale_denominator: min_res.map(|res| res / PIXEL_SIZE_M),
        }
    }

    pub(super) fn tile_matrix_sets(&self, sets: &[MatrixSet]) -> TileMatrixSets {
        let item = |set: &MatrixSet| {
            let path = format!("/tileMatrixSets/{}", segment(&set.id));
            let links = self.itself(&path, &format!("the {} tiling scheme definition", set.id));
            TileMatrixSetItem { id: set.id.clone(), title: set.id.clone(), links, uri: set.uri }
        };
        TileMatrixSets { sets: sets.iter().map(item).collect() }
    }

    pub(super) fn tile_sets(&self, scope: Scope<'_>, sets: &[MatrixSet], extent: &MapExtent) -> TileSets {
        let about = format!("available map tilesets for {}", subject(scope));
        let [json, html] = self.representations("self", &about, &tiles_path(scope));
        let links = vec![
            Link { title: format!("{} (as JSON)", json.title), ..json },
            Link { rel: "alternate", title: format!("{} (as HTML)", html.title), ..html },
        ];
        TileSets { links, tilesets: sets.iter().map(|set| self.tile_set_item(scope, set, extent)).collect() }
    }

    /// A tile set as it is listed.
    fn tile_set_item(&self, scope: Scope<'_>, set: &MatrixSet, extent: &MapExtent) -> TileSetDocument {
        let of = subject(scope);
        let path = format!("{}/{}", tiles_path(scope), segment(&set.id));
        let mut links = self.tiling_scheme(set);
        let [json, html] = self.both("self", &format!("{} map tileset for {of}", set.id), &path);
        links.extend([json, Link { rel: "alternate", ..html }]);
        let template = format!("{path}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}");
        links.extend(self.pictures("item", &format!("{} map tiles for {of}", set.id), &template, true));
        let whole = MapExtent::new(set.grid.bbox(), set.grid.srs().clone());
        let limits = extent.bbox_in(set.grid.srs()).map(|bbox| set.limits(&bbox)).unwrap_or_default();
        let is_limited = !limits.is_empty();
        let title = match scope {
            Scope::Collection(id) => format!("{id} with {} tile matrix set", set.id),
            Scope::Dataset => format!("Whole dataset with {} tile matrix set", set.id),
        };
        TileSetDocument {
            title,
            tile_matrix_set_uri: set.uri,
            data_type: "map",
            crs: crs::uri(set.grid.srs()),
            tile_matrix_set_limits: limits,
            bounding_box: is_limited.then(|| {
                let part = degrees(extent).intersection(&degrees(&whole)).unwrap_or(degrees(&whole));
                let Bbox { min_x, min_y, max_x, max_y } = part;
                BoundingBox { lower_left: [min_x, min_y], upper_right: [max_x, max_y], crs: crs::CRS84 }
            }),
            links,
        }
    }

    pub(super) fn tile_set(&self, scope: Scope<'_>, set: &MatrixSet, extent: &MapExtent) -> TileSetDocument {
        let mut document = self.tile_set_item(scope, set, extent);
        // Said twice, as MapProxy does.
        document.links.extend(self.tiling_scheme(set));
        if let Scope::Collection(id) = scope {
            let path = format!("/collections/{}", segment(id));
            document.links.extend(self.both(GEODATA, &format!("{id} collection"), &path));
        }
        document
    }

    /// Where the tiles of a set are, for the `Link-Template` header: a path, whose variables are those of the document.
    pub(super) fn tile_template(&self, scope: Scope<'_>, set: &MatrixSet, format: &Format) -> String {
        let prefix = self.base.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..])).unwrap_or("");
        let path = format!("{}/{}", tiles_path(scope), segment(&set.id));
        format!("{prefix}{path}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}.{}", format.extension())
    }

    fn tiling_scheme(&self, set: &MatrixSet) -> Vec<Link> {
        let path = format!("/tileMatrixSets/{}", segment(&set.id));
        self.both(TILING_SCHEME, &format!("{} definition", set.id), &path).into()
    }

    fn link(&self, rel: &'static str, media_type: &str, title: &str, path: &str) -> Link {
        let href = format!("{}{path}", self.base);
        Link { rel, media_type: media_type.to_owned(), title: title.to_owned(), href, templated: false }
    }

    /// As JSON and as HTML.
    fn both(&self, rel: &'static str, title: &str, path: &str) -> [Link; 2] {
        [
            self.link(rel, JSON, &format!("{title} (as JSON)"), &format!("{path}?f=json")),
            self.link(rel, HTML, &format!("{title} (as HTML)"), &format!("{path}?f=html")),
        ]
    }

    /// As JSON and as HTML, with the words that MapProxy has for documents.
    fn representations(&self, rel: &'static str, about: &str, path: &str) -> [Link; 2] {
        let article = if about.starts_with("the ") || about.starts_with("this ") { "" } else { "the " };
        [
            self.link(rel, JSON, &format!("The JSON representation of {article}{about}"), &format!("{path}?f=json")),
            self.link(rel, HTML, &format!("The HTML representation of {article}{about}"), &format!("{path}?f=html")),
        ]
    }

    /// The document that is being read.
    fn itself(&self, path: &str, about: &str) -> Vec<Link> {
        let [json, html] = self.representations("self", about, path);
        vec![json, Link { rel: "alternate", ..html }]
    }

    fn pictures(&self, rel: &'static str, title: &str, path: &str, templated: bool) -> Vec<Link> {
        let picture = |format: &Format| {
            let title = format!("{title} (as {})", format.title());
            let path = format!("{path}.{}", format.extension());
            Link { templated, ..self.link(rel, &format.media_type, &title, &path) }
        };
        self.formats.iter().map(picture).collect()
    }
}

impl CollectionDocument {
    /// Its page.
    pub(super) fn page(&self) -> &str {
        self.links.iter().find(|link| link.is_html()).map_or("", |link| &link.href)
    }

    /// Longitude and latitude, for people.
    pub(super) fn bbox(&self) -> String {
        let [[min_x, min_y, max_x, max_y]] = self.extent.spatial.bbox;
        format!("{min_x}, {min_y} – {max_x}, {max_y}")
    }
}

impl TileSetDocument {
    /// Its page.
    pub(super) fn page(&self) -> Option<&str> {
        let mut pages = self.links.iter().filter(|link| link.is_html() && link.rel != TILING_SCHEME);
        pages.next().map(|link| link.href.as_str())
    }
}

/// What of a collection there is, for a caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) maps: bool,
    pub(super) tiles: bool,
}

/// Makes `links` those of a page: the page is `self`, the JSON its alternate.
pub(super) fn of_page(links: &mut [Link]) {
    for link in links {
        match link.rel {
            "self" => link.rel = "alternate",
            "alternate" => link.rel = "self",
            _ => {}
        }
    }
}

fn tiles_path(scope: Scope<'_>) -> String {
    match scope {
        Scope::Dataset => "/map/tiles".to_owned(),
        Scope::Collection(id) => format!("/collections/{}/map/tiles", segment(id)),
    }
}

fn subject(scope: Scope<'_>) -> &str {
    match scope {
        Scope::Dataset => "the whole dataset",
        Scope::Collection(id) => id,
    }
}

/// In longitude and latitude; the world where there is no image of it.
pub(super) fn degrees(extent: &MapExtent) -> Bbox {
    extent.bbox_in(&Srs::wgs84()).ok().filter(Bbox::is_valid).unwrap_or(MapExtent::world().bbox)
}

fn in_axis_order(bbox: Bbox, swaps: bool) -> [f64; 4] {
    let [min_x, min_y, max_x, max_y] = bbox.to_array();
    if swaps { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] }
}
