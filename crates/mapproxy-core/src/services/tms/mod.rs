//! Tile Map Service 1.0.0 (OSGeo), plain tiles under `/tiles`, and KML super-overlays: three ways to name the same tiles.

mod documents;
mod kml;
mod tile_json;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use mapproxy_grid::{Bbox, Level, Origin, Srs, TileCoord, TileGrid};
use mapproxy_map::{Dimensions, MapError, dimension};
use mapproxy_trace as trace;

use super::ServiceMetadata;
use super::tile_answer::{Patience, Place, Wanted, answer};
use crate::auth::{Gate, Operation, Permit, Refusal};
use crate::decorate::Decorators;
use crate::layers::Attribution;
use crate::response::{forbid_caching, plain, respond};
use crate::{Incoming, Response, Service, TileLayer, TileSet};

/// Options of [`Tms`].
#[derive(Debug)]
pub struct TmsOptions {
    /// Layers in the order of the configuration.
    pub layers: Vec<TileLayer>,
    /// What the documents say of the service.
    pub metadata: ServiceMetadata,
    /// Paths name grids instead of SRS.
    pub use_grid_names: bool,
    /// Rows of `/tiles` count from the north unless the request says otherwise.
    pub tiles_origin: Option<Origin>,
    /// How long clients may keep tiles.
    pub max_age: Duration,
    /// Keep URLs and reasons of upstream errors from clients.
    pub hide_error_details: bool,
    /// Who may see what.
    pub gate: Gate,
    /// Who draws on pictures before they are sent.
    pub decorators: Decorators,
}

/// `/tms` and `/tiles`, or `/kml`, whose options are its own.
#[derive(Debug)]
pub struct Tms {
    options: TmsOptions,
    maps: Vec<TileMap>,
    /// Index into `maps` by the path's layer and spec, and by `layer_spec`.
    by_path: HashMap<String, usize>,
}

/// The tiles of a layer in one grid.
#[derive(Debug)]
struct TileMap {
    layer: String,
    title: String,
    abstract_: Option<String>,
    attribution: Option<Attribution>,
    /// Second part of the path.
    spec: String,
    profile: Profile,
    tiles: TileSet,
    /// The protocol knows none; these are the defaults.
    dimensions: Dimensions,
}

/// TMS 1.0.0, "Global profiles".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    Mercator,
    Geodetic,
    Local,
}

/// Which of the services is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Tms,
    Tiles,
    Kml,
}

impl Dialect {
    fn of(request: &Incoming<'_>) -> Dialect {
        match request.first_segment() {
            "tms" => Dialect::Tms,
            "kml" => Dialect::Kml,
            _ => Dialect::Tiles,
        }
    }

    fn operation(self) -> Operation {
        if self == Dialect::Kml { Operation::Kml } else { Operation::Tms }
    }

    /// The SRS that tiles usually have: it may be left out of the path.
    fn usual_specs(self) -> [&'static str; 2] {
        if self == Dialect::Kml { ["EPSG4326", "EPSG900913"] } else { ["EPSG900913", "EPSG4326"] }
    }
}

#[derive(Debug)]
enum TmsError {
    /// There is no such thing.
    NotFound(String),
    Map(MapError),
    /// The caller may not see it.
    Refused(Refusal),
}

impl From<Refusal> for TmsError {
    fn from(refusal: Refusal) -> Self {
        TmsError::Refused(refusal)
    }
}

impl Tms {
    /// The service for `options`.
    pub fn new(options: TmsOptions) -> Tms {
        let mut maps: Vec<TileMap> = Vec::new();
        let mut by_path = HashMap::new();
        for layer in &options.layers {
            for tiles in &layer.tile_sets {
                let grid = tiles.grid();
                let srs_spec = grid.srs().code().replace(':', "").to_uppercase();
                let spec = if options.use_grid_names { grid.name().to_owned() } else { srs_spec };
                let map = TileMap {
                    layer: layer.name.clone(),
                    title: layer.title.clone(),
                    abstract_: layer.metadata.abstract_.clone(),
                    attribution: layer.metadata.attribution.clone(),
                    spec: spec.clone(),
                    profile: Profile::of(grid),
                    tiles: tiles.clone(),
                    dimensions: dimension::defaults(&layer.dimensions),
                };
                let path = format!("{}/{spec}", layer.name);
                // Of grids with the same SRS, addresses that name the SRS can reach one: the last.
                if let Some(&index) = by_path.get(&path) {
                    maps[index] = map;
                    continue;
                }
                by_path.insert(path, maps.len());
                if !options.use_grid_names {
                    by_path.insert(format!("{}_{spec}", layer.name), maps.len());
                }
                maps.push(map);
            }
        }
        Tms { options, maps, by_path }
    }

    /// All tile sets with the names of their layers, in order.
    pub(crate) fn tile_sets(&self) -> impl Iterator<Item = (&str, &TileSet)> {
        self.maps.iter().map(|map| (map.layer.as_str(), &map.tiles))
    }

    /// How the path names a tile set, and its levels: order in URLs, number in the grid.
    pub(crate) fn spec_and_levels(&self, layer: &str, tiles: &TileSet) -> Option<(&str, Vec<(String, u8)>)> {
        let grid = tiles.grid();
        let map = self.maps.iter().find(|map| map.layer == layer && map.tiles.grid().name() == grid.name())?;
        let levels = (0..grid.levels().len()).filter_map(|order| {
            let z = map.internal_level(i64::try_from(order).ok()?, Dialect::Tms)?;
            let z = u8::try_from(z).ok().filter(|z| usize::from(*z) < grid.levels().len())?;
            Some((order.to_string(), z))
        });
        Some((&map.spec, levels.collect()))
    }

    fn find(&self, layer: &str, spec: Option<&str>, dialect: Dialect) -> Result<&TileMap, TmsError> {
        let found = match spec {
            Some(spec) => self.by_path.get(&format!("{layer}/{spec}")),
            None => self
                .by_path
                .get(layer)
                .or_else(|| dialect.usual_specs().iter().find_map(|spec| self.by_path.get(&format!("{layer}_{spec}")))),
        };
        let first = || self.maps.iter().position(|map| map.layer == layer);
        let found = found.copied().or_else(|| (dialect == Dialect::Kml && spec.is_none()).then(first).flatten());
        found.map(|index| &self.maps[index]).ok_or_else(|| TmsError::NotFound(format!("unknown layer: {layer}")))
    }

    fn answer(
        &self,
        request: &Incoming<'_>,
        dialect: Dialect,
        patience: Patience,
    ) -> Option<Result<Response, TmsError>> {
        let rest = request.rest();
        let path = rest.strip_prefix("/1.0.0").filter(|path| path.is_empty() || path.starts_with('/'));
        let segments: Vec<&str> = path.unwrap_or(rest).split('/').filter(|segment| !segment.is_empty()).collect();
        match (dialect, segments.as_slice()) {
            (Dialect::Kml, [layer]) => Some(self.overlay(request, layer, None, None)),
            (Dialect::Kml, [layer, spec]) => Some(self.overlay(request, layer, Some(spec), None)),
            (Dialect::Tiles, [name]) if name.ends_with(".json") => {
                Some(self.tile_json(request, name.trim_end_matches(".json"), None))
            }
            (Dialect::Tiles, [layer, name]) if name.ends_with(".json") => {
                Some(self.tile_json(request, layer, Some(name.trim_end_matches(".json"))))
            }
            (_, [layer, z, x, y_ext]) => self.tile(request, dialect, layer, None, [z, x, y_ext], patience),
            (_, [layer, spec, z, x, y_ext]) => self.tile(request, dialect, layer, Some(spec), [z, x, y_ext], patience),
            (Dialect::Tms, []) if path.is_none() => Some(Ok(self.root_resource(&request.urls()))),
            (Dialect::Tms, []) => Some(self.service_document(request)),
            (Dialect::Tms, [layer]) => Some(self.map_document(request, layer, None)),
            (Dialect::Tms, [layer, spec]) => Some(self.map_document(request, layer, Some(spec))),
            _ => Some(Err(TmsError::NotFound(format!("invalid request ({})", request.path)))),
        }
    }

    fn service_document(&self, request: &Incoming<'_>) -> Result<Response, TmsError> {
        let names = || {
            let mut names: Vec<&str> = self.maps.iter().map(|map| map.layer.as_str()).collect();
            names.dedup();
            (names, None)
        };
        let permit = self.options.gate.ask(Operation::Tms, request, names)?;
        Ok(self.tile_map_service(&request.urls(), &permit))
    }

    fn map_document(&self, request: &Incoming<'_>, layer: &str, spec: Option<&str>) -> Result<Response, TmsError> {
        let map = self.find(layer, spec, Dialect::Tms)?;
        let permit: Permit = self.options.gate.ask(Operation::Tms, request, || (vec![&map.layer], None))?;
        if !permit.shows(&map.layer, &map.tiles.extent) {
            return Err(Refusal::Forbidden.into());
        }
        Ok(self.tile_map(map, &request.urls(), &permit))
    }

    fn tile(
        &self,
        request: &Incoming<'_>,
        dialect: Dialect,
        layer: &str,
        spec: Option<&str>,
        [z, x, y_ext]: [&str; 3],
        patience: Patience,
    ) -> Option<Result<Response, TmsError>> {
        if dialect == Dialect::Kml
            && let Some(y) = y_ext.strip_suffix(".kml")
        {
            return Some(self.overlay(request, layer, spec, Some([z, x, y])));
        }
        let permit = self.place(request, dialect, layer, spec, [z, x, y_ext]).and_then(|(map, tile)| {
            Ok((map, self.options.gate.ask_for_tile(dialect.operation(), request, &map.layer, &map.tiles, tile)?))
        });
        let (map, permit) = match permit {
            Ok(permit) => permit,
            Err(error) => return Some(Err(error)),
        };
        let _place = trace::within(|| trace::Place::Layer(layer.into()));
        let wanted = Wanted {
            operation: dialect.operation(),
            layer: &map.layer,
            dimensions: &map.dimensions,
            patience,
            max_age: self.options.max_age,
            decorators: &self.options.decorators,
            request,
        };
        Some(answer(&permit, &wanted)?.map_err(TmsError::Map))
    }

    fn place(
        &self,
        request: &Incoming<'_>,
        dialect: Dialect,
        layer: &str,
        spec: Option<&str>,
        [z, x, y_ext]: [&str; 3],
    ) -> Result<(&TileMap, TileCoord), TmsError> {
        let (y, ext) = y_ext.split_once('.').ok_or_else(|| invalid_request(request))?;
        let place = parse_place(request, [z, x, y])?;
        let map = self.find(layer, spec, dialect)?;
        if !map.tiles.is_of_format(ext) {
            let format = map.tiles.format();
            return Err(TmsError::NotFound(format!("invalid format ({ext}). this tile set only supports ({format})")));
        }
        let grid = map.tiles.grid();
        let origin = match dialect {
            Dialect::Tms | Dialect::Kml => Origin::LowerLeft,
            Dialect::Tiles => match request.params().get("origin") {
                Some("nw") => Origin::UpperLeft,
                Some("sw") => Origin::LowerLeft,
                _ => self.options.tiles_origin.unwrap_or(grid.origin()),
            },
        };
        Ok((map, map.tile(place, origin, dialect)?))
    }

    /// The KML document of a tile, or of the first one.
    fn overlay(
        &self,
        request: &Incoming<'_>,
        layer: &str,
        spec: Option<&str>,
        place: Option<[&str; 3]>,
    ) -> Result<Response, TmsError> {
        let place = match place {
            Some(place) => parse_place(request, place)?,
            None => Place { x: 0, y: 0, z: 0 },
        };
        let map = self.find(layer, spec, Dialect::Kml)?;
        let tile = map.tile(place, Origin::LowerLeft, Dialect::Kml)?;
        self.options.gate.ask_for_tile(Operation::Kml, request, &map.layer, &map.tiles, tile)?;
        self.super_overlay(request, map, tile).map_err(|error| TmsError::NotFound(error.to_string()))
    }

    fn respond(&self, request: &Incoming<'_>, patience: Patience) -> Option<Response> {
        let dialect = Dialect::of(request);
        let answer = self.answer(request, dialect, patience)?;
        Some(answer.unwrap_or_else(|error| self.error(&error, dialect)))
    }

    fn error(&self, error: &TmsError, dialect: Dialect) -> Response {
        let (status, message) = match error {
            TmsError::Refused(refusal) => return refusal.response(),
            TmsError::NotFound(message) => (StatusCode::NOT_FOUND, message.clone()),
            TmsError::Map(error) => {
                super::log_map_error(error);
                (StatusCode::INTERNAL_SERVER_ERROR, error.public_message(self.options.hide_error_details))
            }
        };
        forbid_caching(match dialect {
            Dialect::Tms => respond(status, "text/xml; charset=utf-8", documents::error(&message)),
            Dialect::Tiles | Dialect::Kml => plain(status, message),
        })
    }
}

impl Service for Tms {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        self.respond(request, Patience::Unlimited)
    }
    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        self.respond(request, Patience::None)
    }
}

fn invalid_request(request: &Incoming<'_>) -> TmsError {
    TmsError::NotFound(format!("invalid request ({})", request.path))
}

fn parse_place(request: &Incoming<'_>, [z, x, y]: [&str; 3]) -> Result<Place, TmsError> {
    let number = |text: &str| text.parse::<i64>().map_err(|_| invalid_request(request));
    Ok(Place { x: number(x)?, y: number(y)?, z: number(z)? })
}

impl TileMap {
    /// The tile at a place whose rows count from `origin`.
    fn tile(&self, place: Place, origin: Origin, dialect: Dialect) -> Result<TileCoord, TmsError> {
        let z = self.internal_level(place.z, dialect);
        let tile = z.and_then(|z| Place { z, ..place }.in_grid(self.tiles.grid(), origin));
        let outside = "The requested tile is outside the bounding box of the tile map.";
        tile.ok_or_else(|| TmsError::NotFound(outside.to_owned()))
    }

    /// The level of the grid for a level in a URL. Of grids with a factor of √2 only each second level is offered.
    fn internal_level(&self, z: i64, dialect: Dialect) -> Option<i64> {
        let skipped = if dialect == Dialect::Tms { i64::from(self.profile.skipped_levels()) } else { 0 };
        if z < 0 {
            return None;
        }
        z.checked_add(skipped)?.checked_mul(if has_sqrt2_levels(self.tiles.grid()) { 2 } else { 1 })
    }

    /// Order (level in URLs) and resolution of all levels offered by `/tms`.
    fn orders(&self) -> impl Iterator<Item = (usize, f64)> {
        offered_levels(self.tiles.grid()).map(|level| level.resolution).enumerate()
    }
}

impl Profile {
    fn of(grid: &TileGrid) -> Profile {
        const WORLD: Bbox = Bbox::new(-180.0, -90.0, 180.0, 90.0);
        const MERCATOR: f64 = 20_037_508.342_789_244;
        const MERCATOR_WORLD: Bbox = Bbox::new(-MERCATOR, -MERCATOR, MERCATOR, MERCATOR);
        if *grid.srs() == Srs::web_mercator() && grid.bbox() == MERCATOR_WORLD {
            Profile::Mercator
        } else if *grid.srs() == Srs::wgs84() && grid.bbox() == WORLD {
            Profile::Geodetic
        } else {
            Profile::Local
        }
    }

    /// Levels that clients do not count: the global profiles begin where the world has two (or four) tiles.
    fn skipped_levels(self) -> u8 {
        if self == Profile::Local { 0 } else { 1 }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Mercator => "global-mercator",
            Profile::Geodetic => "global-geodetic",
            Profile::Local => "local",
        })
    }
}

/// The levels of a grid that TMS offers, also to WMS-C.
pub(super) fn offered_levels(grid: &TileGrid) -> impl Iterator<Item = &Level> {
    let step = if has_sqrt2_levels(grid) { 2 } else { 1 };
    grid.levels().iter().step_by(step).skip(Profile::of(grid).skipped_levels().into())
}

/// TMS 1.0.0 names the spherical mercator projection `OSGEO:41001`.
pub(super) fn srs_name(grid: &TileGrid) -> &str {
    match Profile::of(grid) {
        Profile::Mercator => "OSGEO:41001",
        Profile::Geodetic => "EPSG:4326",
        Profile::Local => grid.srs().code(),
    }
}

fn has_sqrt2_levels(grid: &TileGrid) -> bool {
    match grid.levels() {
        [first, second, ..] => (first.resolution / second.resolution - std::f64::consts::SQRT_2).abs() < 1e-6,
        _ => false,
    }
}
