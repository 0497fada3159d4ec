//! TileJSON 3.0.0: what a map library has to know of tiles under `/tiles`, in one document.
//!
//! `/tiles/LAYER/SPEC.json`, and `/tiles/LAYER.json` for the first grid of a layer that TileJSON can describe: that is
//! web mercator with the whole world as one tile on level 0, and nothing else.

use http::StatusCode;
use mapproxy_grid::{Bbox, MapExtent, Origin, Srs};
use mapproxy_map::data::DataKind;
use serde::Serialize;

use super::{Dialect, TileMap, Tms, TmsError};
use crate::auth::{Operation, Permit, Refusal};
use crate::layers::Attribution;
use crate::response::respond;
use crate::services::markup::{escape, segment};
use crate::{Incoming, Response};

const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;
/// TileJSON 3.0.0, 3.4: web mercator ends here.
const WORLD: Bbox = Bbox::new(-180.0, -85.051_128_779_806_6, 180.0, 85.051_128_779_806_6);

#[derive(Debug, Serialize)]
struct TileJson<'a> {
    tilejson: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution: Option<String>,
    scheme: &'static str,
    tiles: [String; 1],
    minzoom: u8,
    maxzoom: u8,
    bounds: [f64; 4],
    center: (f64, f64, u8),
    /// Of the pictures; not in the specification, but widely understood.
    format: &'a str,
    /// Pixels of a side; not in the specification, but renderers that assume 512 read it.
    #[serde(rename = "tileSize", skip_serializing_if = "Option::is_none")]
    tile_size: Option<u32>,
    /// Required of vector tiles (3.3). What is in ours nobody looks into: none is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_layers: Option<[(); 0]>,
}

impl Tms {
    pub(super) fn tile_json(
        &self,
        request: &Incoming<'_>,
        layer: &str,
        spec: Option<&str>,
    ) -> Result<Response, TmsError> {
        let map = match spec {
            Some(spec) => self.find(layer, Some(spec), Dialect::Tiles)?,
            None => {
                let mut own = self.maps.iter().filter(|map| map.layer == layer).peekable();
                if own.peek().is_none() {
                    return Err(TmsError::NotFound(format!("unknown layer: {layer}")));
                }
                // Of several under one address, the last is served.
                let served = |map: &&TileMap| {
                    self.find(layer, Some(&map.spec), Dialect::Tiles).is_ok_and(|served| std::ptr::eq(served, *map))
                };
                let found = own.filter(served).find(|map| map.last_level().is_some());
                found.ok_or_else(|| {
                    TmsError::NotFound(format!("no tiles of {layer} are in the grid that TileJSON has"))
                })?
            }
        };
        let permit: Permit = self.options.gate.ask(Operation::Tms, request, || (vec![&map.layer], None))?;
        if !permit.allows(&map.layer) {
            return Err(Refusal::Forbidden.into());
        }
        let extent = permit.extent(Some(&map.layer), Some(&map.tiles.extent)).flatten().ok_or(Refusal::Forbidden)?;
        let Some(maxzoom) = map.last_level() else {
            let message = format!(
                "no TileJSON for grid {}: it is for web mercator with the whole world as tile 0/0/0",
                map.tiles.grid().name()
            );
            return Err(TmsError::NotFound(message));
        };
        let document = self.describe(map, &extent, maxzoom, &request.urls().script);
        let body = serde_json::to_vec_pretty(&document).expect("the document has text keys and finite numbers");
        Ok(respond(StatusCode::OK, "application/json", body))
    }

    fn describe<'a>(&self, map: &'a TileMap, extent: &MapExtent, maxzoom: u8, script: &str) -> TileJson<'a> {
        let grid = map.tiles.grid();
        let (format, data) = (map.tiles.format(), map.tiles.data_format());
        let is_vector = data.is_some_and(|format| format.kind() == DataKind::Vector);
        // `xyz` counts rows from the north.
        let origin = self.options.tiles_origin.unwrap_or(grid.origin());
        let query = if origin == Origin::UpperLeft { "" } else { "?origin=nw" };
        let (layer, spec) = (segment(&map.layer), segment(&map.spec));
        let Bbox { min_x, min_y, max_x, max_y } = bounds(extent);
        let zoom = (360.0 / (max_x - min_x)).log2().floor().clamp(0.0, f64::from(maxzoom)) as u8;
        TileJson {
            tilejson: "3.0.0",
            name: &map.title,
            description: map.abstract_.as_deref(),
            attribution: map.attribution.as_ref().and_then(html),
            scheme: "xyz",
            tiles: [format!("{script}/tiles/{layer}/{spec}/{{z}}/{{x}}/{{y}}.{format}{query}")],
            minzoom: 0,
            maxzoom,
            bounds: [min_x, min_y, max_x, max_y],
            center: ((min_x + max_x) / 2.0, (min_y + max_y) / 2.0, zoom),
            // By this name, whatever the address: what libraries look for.
            format: if is_vector { "pbf" } else { format },
            tile_size: data.is_none().then(|| grid.tile_size().width),
            vector_layers: is_vector.then_some([]),
        }
    }
}

impl TileMap {
    /// The last level that can be asked for under `/tiles`; `None` where a level is not that of all web maps.
    fn last_level(&self) -> Option<u8> {
        let grid = self.tiles.grid();
        let Bbox { min_x, max_y, .. } = grid.bbox();
        let side = grid.tile_size();
        let is_near = |a: f64, b: f64| (a - b).abs() < 1e-3;
        let fits = *grid.srs() == Srs::web_mercator()
            && side.width == side.height
            && is_near(min_x, -MERCATOR_EDGE)
            && is_near(max_y, MERCATOR_EDGE)
            && grid.supports_origin(Origin::UpperLeft);
        if !fits {
            return None;
        }
        let mut last = None;
        for z in 0..=u8::MAX {
            let internal = self.internal_level(i64::from(z), Dialect::Tiles).and_then(|level| u8::try_from(level).ok());
            let Some(level) = internal.and_then(|level| grid.level(level)) else { break };
            let expected = 2.0 * MERCATOR_EDGE / f64::from(side.width) / 2f64.powi(i32::from(z));
            if (level.resolution / expected - 1.0).abs() > 1e-9 {
                return None;
            }
            last = Some(z);
        }
        last
    }
}

fn bounds(extent: &MapExtent) -> Bbox {
    let degrees = extent.bbox_in(&Srs::wgs84()).ok().filter(Bbox::is_valid);
    degrees.and_then(|bbox| bbox.intersection(&WORLD)).unwrap_or(WORLD)
}

/// Libraries take it for HTML.
fn html(attribution: &Attribution) -> Option<String> {
    let text = attribution.title.as_deref().or(attribution.url.as_deref()).filter(|text| !text.is_empty())?;
    let is_address = |url: &&str| url.starts_with("http://") || url.starts_with("https://");
    Some(match attribution.url.as_deref().filter(is_address) {
        Some(url) => format!("<a href=\"{}\">{}</a>", escape(url), escape(text)),
        None => escape(text),
    })
}
