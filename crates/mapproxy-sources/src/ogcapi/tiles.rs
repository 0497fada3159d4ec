//! `type: ogcapitiles`: a server of map tiles by OGC API - Tiles (OGC 20-057).
//!
//! Its documents are asked for in the order in which MapProxy does: landing page or collection, list of tile sets, tile
//! matrix set, tile set; the last two of each tile set that may fit, until one does.

use std::fmt::Write as _;
use std::sync::Arc;

use mapproxy_client::{HttpClient, UpstreamRequest};
use mapproxy_grid::{Coverage, ResolutionRange, TileCoord, TileGrid};
use mapproxy_image::{ImageFormat, ImageOptions, MapImage};
use mapproxy_map::{Access, MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};
use serde_json::Value;

use super::api::{Api, Link, links, to_json};
use super::tile_matrix_set::{TileMatrixSet, crs_of};
use super::{Discovery, crs};
use crate::pyfmt::quote;
use crate::tile::{TileServer, tile_of};
use crate::{OnErrors, answer};

/// Target of the log.
const LOG: &str = "mapproxy.source.ogcapitiles";

/// Tile sets that are looked at.
const MAX_TILE_SETS: usize = 100;

/// What an [`OgcApiTilesSource`] is made of.
#[derive(Clone, Debug)]
pub struct OgcApiTilesOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `landingpage_url`, credentials included.
    pub landing_page: String,
    /// `collection`; `None`: the whole dataset.
    pub collection: Option<Arc<str>>,
    /// `tile_matrix_set_id`; `None`: the first that fits.
    pub tile_matrix_set_id: Option<Arc<str>>,
    /// Of the cache that asks: its tiles must be tiles of the server.
    pub grid: Arc<TileGrid>,
    /// The format that the cache asks for.
    pub format: ImageFormat,
    /// Of the tiles.
    pub image: Arc<ImageOptions>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A server of map tiles by OGC API - Tiles.
#[derive(Debug)]
pub struct OgcApiTilesSource {
    profile: SourceProfile,
    api: Api,
    options: OgcApiTilesOptions,
    tiles: Discovery<Tiles>,
    client: Arc<dyn HttpClient>,
}

/// Tiles, and where they are.
#[derive(Debug)]
struct Tiles {
    set: TileMatrixSet,
    template: String,
}

impl OgcApiTilesSource {
    /// The server that `options` describe, asked for tiles through `client` and for what it says of itself through
    /// `documents`.
    pub fn new(
        options: OgcApiTilesOptions,
        client: Arc<dyn HttpClient>,
        documents: Arc<dyn HttpClient>,
    ) -> OgcApiTilesSource {
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            access: Access::TilesOf(Arc::clone(&options.grid)),
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let api = Api::new(Arc::clone(&options.name), &options.landing_page, options.collection.as_deref(), documents);
        OgcApiTilesSource { profile, api, options, tiles: Discovery::new(), client }
    }

    fn discover(&self) -> Result<Tiles, MapError> {
        let start = self.api.document(&self.api.url)?;
        let list = start.json_link("tilesets-map").ok_or_else(|| {
            let reason = "no link with rel http://www.opengis.net/def/rel/ogc/1.0/tilesets-map to JSON";
            self.api.unusable(&start.url, reason.to_owned())
        })?;
        let list = self.api.document(&list)?;
        let sets = list.value.get("tilesets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut reasons = Vec::new();
        for set in sets.iter().filter(|set| self.may_fit(set, &list.url)).take(MAX_TILE_SETS) {
            match self.tiles_of(set, &list.url)? {
                Ok(tiles) => return Ok(tiles),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            let id = self.options.tile_matrix_set_id.as_ref().map_or(String::new(), |id| format!(" called {id}"));
            reasons.push(format!("there is no map tile set{id} in it"));
        }
        let message = format!("Cannot find a valid tile matrix set for SRS {}", self.options.grid.srs());
        Err(answer::no_image(&self.options.name, &message, &list.url, reasons.join("; ")))
    }

    /// A set of maps with the right name and reference system, as far as the list tells.
    fn may_fit(&self, set: &Value, base: &str) -> bool {
        let is_map = set.get("dataType").and_then(Value::as_str).is_none_or(|kind| kind == "map");
        let fits = crs_of(set).is_none_or(|uri| crs::parse(uri).is_some_and(|srs| srs == *self.options.grid.srs()));
        let is_called = |id: &str| {
            let itself = to_json(links(set, base, |rel| rel == "self")).unwrap_or_default();
            let path = itself.split('?').next().unwrap_or_default();
            let by_address = path.trim_end_matches('/').rsplit('/').next() == Some(id);
            let by_uri = set.get("tileMatrixSetURI").and_then(Value::as_str).and_then(|uri| uri.rsplit('/').next());
            by_address || by_uri == Some(id) || set.get("tileMatrixSetId").and_then(Value::as_str) == Some(id)
        };
        is_map && fits && self.options.tile_matrix_set_id.as_deref().is_none_or(is_called)
    }

    /// The tiles of a set; the inner error says why they cannot be used.
    fn tiles_of(&self, set: &Value, base: &str) -> Result<Result<Tiles, String>, MapError> {
        let scheme = links(set, base, |rel| {
            matches!(rel, "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme" | "[ogc-rel:tiling-scheme]")
        });
        let Some(scheme) = to_json(scheme) else { return Ok(Err("a tile set has no link to its scheme".to_owned())) };
        let Some(itself) = to_json(links(set, base, |rel| rel == "self")) else {
            return Ok(Err("a tile set has no link to itself".to_owned()));
        };
        let matrices = match TileMatrixSet::parse(&self.api.document(&scheme)?.value) {
            Ok(matrices) => matrices,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (grid, wanted) = (matrices.grid(), &self.options.grid);
        if grid.srs() != wanted.srs() {
            return Ok(Err(format!("{} is in {}", grid.name(), grid.srs())));
        }
        let itself = self.api.document(&itself)?;
        let items = links(&itself.value, &itself.url, |rel| rel == "item");
        let Some(template) = self.template(&items) else {
            return Ok(Err(format!("{} has no link to pictures", grid.name())));
        };
        let template = template.replace("{tileMatrixSetId}", &quote(grid.name()).to_string());
        let known = ["{tileMatrix}", "{tileRow}", "{tileCol}"];
        let rest = known.iter().fold(template.clone(), |rest, name| rest.replace(name, ""));
        if !known.iter().all(|name| template.contains(name)) || rest.contains(['{', '}']) {
            return Ok(Err(format!("{template}: {} and nothing else are needed in it", known.join(", "))));
        }
        Ok(Ok(Tiles { set: matrices, template }))
    }

    /// To the format of the cache, to what says nothing, to PNG, to any.
    fn template(&self, items: &[Link]) -> Option<String> {
        let codec = |link: &Link| link.media_type.as_deref().and_then(|name| ImageFormat::new(name).codec());
        let wanted = if self.options.format.is_mixed() { ImageFormat::png() } else { self.options.format.clone() };
        let to =
            |format: &ImageFormat| items.iter().find(|link| codec(link).is_some() && codec(link) == format.codec());
        let found = to(&wanted)
            .or_else(|| items.iter().find(|link| link.media_type.is_none()))
            .or_else(|| to(&ImageFormat::png()))
            .or_else(|| items.iter().find(|link| codec(link).is_some()));
        found.map(|link| link.href.clone())
    }
}

impl Tiles {
    /// The address of a tile; `None` if there is none.
    fn url(&self, tile: TileCoord) -> Option<String> {
        let matrix = self.set.matrix(tile)?;
        let mut url = String::with_capacity(self.template.len() + 16);
        let mut rest = self.template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            url.push_str(before);
            let _ = match name {
                "tileMatrix" => write!(url, "{}", quote(matrix)),
                "tileRow" => write!(url, "{}", tile.y),
                _ => write!(url, "{}", tile.x),
            };
            rest = after;
        }
        url.push_str(rest);
        Some(url)
    }
}

impl MapSource for OgcApiTilesSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.profile.name)));
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let tiles = match self.tiles.get(|| self.discover()) {
            Ok(tiles) => tiles,
            Err(error) => {
                let image = &self.profile.image;
                return self.options.on_error.instead_of(error, query, query.size, image, LOG).map(Some);
            }
        };
        let Some(tile) = tile_of(tiles.set.grid(), query, &self.profile.name)? else { return Ok(None) };
        let Some(url) = tiles.url(tile) else { return Ok(None) };
        let request: UpstreamRequest = self.api.request(&url);
        let server = TileServer {
            profile: &self.profile,
            on_error: &self.options.on_error,
            client: self.client.as_ref(),
            log_target: LOG,
        };
        server.fetch(&request, query).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mapproxy_client::ErrorKind;
    use mapproxy_client::testkit::{ScriptedClient, failure, response};
    use mapproxy_grid::{Origin, Srs};
    use mapproxy_image::{Color, PixelMode, Pixels, codec};
    use serde_json::json;

    use super::*;

    fn grid(srs: Srs) -> Arc<TileGrid> {
        let mut builder = TileGrid::builder("cache", srs);
        builder.origin = Origin::UpperLeft;
        Arc::new(builder.build().unwrap())
    }

    fn matrices(id: &str, crs: &str, first: f64, columns: u32, origin: [f64; 2], levels: u32) -> Value {
        let matrix = |level: u32| {
            json!({
                "id": level.to_string(), "cellSize": first / f64::from(1 << level), "pointOfOrigin": origin,
                "tileWidth": 256, "tileHeight": 256, "matrixWidth": columns << level, "matrixHeight": 1 << level,
            })
        };
        let list: Vec<Value> = (0..levels).map(matrix).collect();
        json!({"id": id, "crs": crs, "orderedAxes": ["X", "Y"], "tileMatrices": list})
    }

    /// Documents by their addresses.
    fn documents() -> BTreeMap<String, Value> {
        const TILESETS: &str = "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map";
        const SCHEME: &str = "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme";
        let mercator = "http://www.opengis.net/def/crs/EPSG/0/3857";
        let degrees = "http://www.opengis.net/def/crs/OGC/1.3/CRS84";
        let set = |kind: &str, crs: &str, id: &str| {
            json!({"dataType": kind, "crs": crs, "links": [
                {"rel": "self", "type": "application/json", "href": format!("/t/tiles/{id}")},
                {"rel": SCHEME, "type": "application/json", "href": format!("/t/tms/{id}")},
            ]})
        };
        let edge = 20_037_508.342_789_244;
        let of = |address: &str, value: Value| (format!("http://h{address}"), value);
        [
            of("/t", json!({"links": [{"rel": TILESETS, "type": "application/json", "href": "/t/tiles"}]})),
            of(
                "/t/tiles",
                json!({"tilesets": [
                    set("vector", mercator, "Vec"), set("map", degrees, "W84"), set("map", mercator, "WMQ"),
                ]}),
            ),
            of("/t/tms/WMQ", matrices("WMQ", mercator, 156_543.033_928_040_97, 1, [-edge, edge], 20)),
            of("/t/tms/W84", matrices("W84", degrees, 0.703_125, 2, [-180.0, 90.0], 18)),
            of(
                "/t/tiles/WMQ",
                json!({"links": [
                    {"rel": "item", "type": "image/png", "href": "http://h/map/{tileMatrix}/{tileRow}/{tileCol}.png"},
                    {"rel": "item", "type": "image/jpeg", "href": "/map/{tileMatrix}/{tileRow}/{tileCol}?f=jpg"},
                ]}),
            ),
            of(
                "/t/tiles/W84",
                json!({"links": [
                    {"rel": "item", "href": "{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}"},
                ]}),
            ),
        ]
        .into()
    }

    /// A server of these documents and of red tiles.
    fn server(documents: BTreeMap<String, Value>) -> ScriptedClient {
        ScriptedClient::new(move |request| {
            if let Some(document) = documents.get(&request.url) {
                return Ok(response("application/json", document.to_string()));
            }
            if !request.headers.is_empty() {
                return Err(failure(ErrorKind::Status(404), request));
            }
            let pixels = Pixels::filled(mapproxy_grid::Size::new(256, 256), PixelMode::Rgb, Color::rgb(200, 10, 10));
            Ok(response(
                "image/png",
                codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap().bytes,
            ))
        })
    }

    fn options(srs: Srs) -> OgcApiTilesOptions {
        OgcApiTilesOptions {
            name: "tiles".into(),
            landing_page: "http://h/t".into(),
            collection: None,
            tile_matrix_set_id: None,
            grid: grid(srs),
            format: ImageFormat::png(),
            image: Arc::default(),
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: OnErrors::default(),
        }
    }

    fn render(
        options: OgcApiTilesOptions,
        client: &ScriptedClient,
        tile: TileCoord,
    ) -> Result<Option<MapImage>, MapError> {
        let grid = Arc::clone(&options.grid);
        let source = OgcApiTilesSource::new(options, Arc::new(client.clone()), Arc::new(client.clone()));
        let query = MapQuery::new(grid.tile_bbox(tile), grid.tile_size(), grid.srs().clone(), ImageFormat::png());
        source.render(&query)
    }

    fn asked(options: OgcApiTilesOptions, documents: BTreeMap<String, Value>, tile: TileCoord) -> Vec<String> {
        let client = server(documents);
        render(options, &client, tile).unwrap();
        client.urls().iter().map(|url| url.strip_prefix("http://h").unwrap().to_owned()).collect()
    }

    /// The order recorded from MapProxy 7.0.0.
    #[test]
    fn tiles_are_found_from_the_landing_page() {
        let mercator = options(Srs::web_mercator());
        assert_eq!(
            asked(mercator.clone(), documents(), TileCoord::new(0, 3, 2)),
            ["/t", "/t/tiles", "/t/tms/WMQ", "/t/tiles/WMQ", "/map/2/3/0.png"]
        );
        let jpeg = OgcApiTilesOptions { format: ImageFormat::jpeg(), ..mercator };
        assert_eq!(asked(jpeg, documents(), TileCoord::new(1, 2, 3)).last().unwrap(), "/map/3/2/1?f=jpg");
    }

    #[test]
    fn a_set_in_crs84_fits_a_cache_in_degrees() {
        let mut builder = TileGrid::builder("degrees", Srs::wgs84());
        builder.origin = Origin::UpperLeft;
        builder.resolutions.min_res = Some(0.703_125);
        let named = OgcApiTilesOptions {
            grid: Arc::new(builder.build().unwrap()),
            tile_matrix_set_id: Some("W84".into()),
            ..options(Srs::wgs84())
        };
        assert_eq!(asked(named, documents(), TileCoord::new(3, 1, 1)).last().unwrap(), "/t/tiles/W84/1/1/3");
    }

    #[test]
    fn nothing_is_asked_of_tiles_that_the_server_has_not() {
        let mut documents = documents();
        documents.get_mut("http://h/t/tms/WMQ").unwrap()["tileMatrices"][2]["matrixWidth"] = json!(1);
        let urls = asked(options(Srs::web_mercator()), documents, TileCoord::new(3, 0, 2));
        assert_eq!(urls.last().unwrap(), "/t/tiles/WMQ");
    }

    #[test]
    fn sets_that_do_not_fit_are_told_with_their_reasons() {
        let said = |change: &dyn Fn(&mut BTreeMap<String, Value>)| {
            let mut documents = documents();
            change(&mut documents);
            let error = render(options(Srs::web_mercator()), &server(documents), TileCoord::new(0, 0, 0)).unwrap_err();
            error.to_string()
        };
        type Documents = BTreeMap<String, Value>;
        type Change<'a> = &'a dyn Fn(&mut Documents);
        let changes: [(Change<'_>, &str); 5] = [
            (&|d| d.get_mut("http://h/t").unwrap()["links"] = json!([]), "no link with rel"),
            (&|d| d.get_mut("http://h/t/tiles").unwrap()["tilesets"] = json!([]), "no map tile set in it"),
            (
                &|d| {
                    d.get_mut("http://h/t/tms/WMQ").unwrap()["tileMatrices"][1]["variableMatrixWidths"] = json!([1]);
                },
                "Cannot find a valid tile matrix set for SRS EPSG:3857 http://h/t/tiles: WMQ: matrix 1: rows of different",
            ),
            (&|d| d.get_mut("http://h/t/tiles/WMQ").unwrap()["links"] = json!([]), "WMQ has no link to pictures"),
            (
                &|d| d.get_mut("http://h/t/tiles/WMQ").unwrap()["links"][0]["href"] = json!("/{tileMatrix}/{odd}"),
                "and nothing else are needed",
            ),
        ];
        for (change, expected) in changes {
            let error = said(change);
            assert!(error.contains(expected), "{error:?} should tell {expected:?}");
        }
    }

    #[test]
    fn boxes_that_are_no_tiles_of_the_server_are_refused() {
        let client = server(documents());
        let mut builder = TileGrid::builder("odd", Srs::web_mercator());
        builder.resolutions.min_res = Some(100_000.0);
        let odd = OgcApiTilesOptions { grid: Arc::new(builder.build().unwrap()), ..options(Srs::web_mercator()) };
        assert!(matches!(render(odd, &client, TileCoord::new(0, 0, 0)), Err(MapError::Misaligned { .. })));
    }
}
