//! `tiled=true` (WMS-C): maps that are a tile of a cache, given as it is kept.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use mapproxy_grid::{Size, TileCoord};
use mapproxy_image::MapImage;
use mapproxy_image::merge::{self, Frame, Layer};
use mapproxy_map::MapQuery;
use mapproxy_trace as trace;

use super::Wms;
use super::error::WmsError;
use super::map::{Plan, image_error};
use crate::auth::TilePermit;
use crate::conditional::Validators;
use crate::response::{forbid_caching, respond};
use crate::{CacheState, Response, TileLayer, TileSet};

impl Wms {
    /// Checks that the map is one tile of each layer that has tiles. Where it is nothing but a tile, this is the answer.
    pub(super) fn single_tile(&self, plan: &Plan<'_>, headers: &HeaderMap) -> Result<Option<Response>, WmsError> {
        match self.only_tile(plan)? {
            Some(permit) => self.tile_answer(plan, &permit, headers).map(Some),
            None => Ok(None),
        }
    }

    /// The answer where the map is nothing but a tile that can be sent as it is kept.
    pub(super) fn single_tile_now(&self, plan: &Plan<'_>, headers: &HeaderMap) -> Option<Response> {
        let permit = self.only_tile(plan).ok()??;
        let manager = permit.manager();
        let dimensions = manager.own_dimensions(&plan.query.dimensions);
        let tile = manager.load_kept(permit.coord(), &dimensions).ok()??;
        let image = MapImage::from_encoded(tile.bytes?, Arc::clone(manager.image()));
        let needs_ground = image.options().transparent == Some(true) && plan.options.transparent != Some(true);
        if needs_ground || !tile.cacheable || image.size().ok()? != plan.query.size {
            return None;
        }
        let bytes = image.bytes_as(&plan.options)?.clone();
        let max_age = permit.max_age().unwrap_or(self.options.max_tile_age);
        let validators = Validators::of_stored(tile.modified?, bytes.len() as u64, max_age);
        trace::count(trace::Tiles { hit: 1, ..trace::Tiles::default() });
        let mut response = respond(StatusCode::OK, plan.format.to_owned(), bytes);
        response.extensions_mut().insert(CacheState::Hit);
        Some(validators.apply(headers, response))
    }

    /// The tile that the map is, where it is nothing else.
    fn only_tile<'a>(&'a self, plan: &Plan<'_>) -> Result<Option<TilePermit<'a>>, WmsError> {
        let mut tile = None;
        for name in plan.layers {
            let Some(layer) = self.options.tile_layers.iter().find(|layer| layer.name == *name) else { continue };
            let Some(set) = tiles_for(layer, &plan.query) else { continue };
            tile = tile_of(set, &plan.query)?.and_then(|coord| plan.permit.whole_tile(name, set, coord));
        }
        let is_limited = self.limit(&plan.query.srs).is_some_and(|limit| !limit.contains(&plan.query.bbox));
        let is_only = plan.layers.len() == 1 && !is_limited && !plan.is_empty() && !self.is_decorated();
        Ok(tile.filter(|_| is_only))
    }

    fn tile_answer(&self, plan: &Plan<'_>, permit: &TilePermit<'_>, headers: &HeaderMap) -> Result<Response, WmsError> {
        let Plan { query, options, .. } = plan;
        let manager = permit.manager();
        let dimensions = manager.own_dimensions(&query.dimensions);
        let tile = manager.load(permit.coord(), &dimensions).map_err(|error| self.map_error(&error))?;
        let image = match &tile.bytes {
            Some(bytes) => {
                let image = MapImage::from_encoded(bytes.clone(), Arc::clone(manager.image()));
                let frame = Frame { size: query.size, bbox: query.bbox, srs: &query.srs };
                let layers = vec![Layer { image, coverage: None }];
                merge::merge(layers, options, &frame).map_err(|error| image_error(&error))?
            }
            None => MapImage::blank(query.size, Arc::clone(options)),
        };
        let encoded = image.encode(options).map_err(|error| image_error(&error))?;
        let stored_size = tile.bytes.as_ref().map(|bytes| bytes.len() as u64);
        let response = respond(StatusCode::OK, plan.format.to_owned(), encoded.bytes);
        if !tile.cacheable {
            return Ok(forbid_caching(response));
        }
        Ok(match tile.modified.zip(stored_size) {
            Some((modified, size)) => {
                let max_age = permit.max_age().unwrap_or(self.options.max_tile_age);
                Validators::of_stored(modified, size, max_age).apply(headers, response)
            }
            None => response,
        })
    }
}

/// The tiles in the SRS of the query, else any.
fn tiles_for<'a>(layer: &'a TileLayer, query: &MapQuery) -> Option<&'a TileSet> {
    let fitting = layer.tile_sets.iter().find(|set| *set.grid().srs() == query.srs);
    fitting.or(layer.tile_sets.first())
}

/// The tile that the query asks for; `None` where there is nothing.
fn tile_of(set: &TileSet, query: &MapQuery) -> Result<Option<TileCoord>, WmsError> {
    let grid = set.grid();
    if let Some(format) = set.image().format.as_ref().filter(|format| !format.is_mixed() && **format != query.format) {
        return Err(WmsError::new(format!("Invalid request: invalid tile format, use {}", format.ext())));
    }
    let Size { width, height } = grid.tile_size();
    if query.size != grid.tile_size() {
        return Err(WmsError::new(format!("Invalid request: invalid tile size (use {width}x{height})")));
    }
    let misplaced = |reason: &str| WmsError::new(format!("Request too large or invalid BBOX. ({reason})"));
    let affected = grid.affected_tiles(&query.bbox, query.size, &query.srs).map_err(|e| misplaced(&e.to_string()))?;
    let Some(affected) = affected else { return Ok(None) };
    let [tile] = affected.tiles[..] else { return Err(misplaced("not a single tile")) };
    let (x_res, y_res) = query.bbox.resolution(query.size);
    if *grid.srs() != query.srs || !affected.bbox.almost_equals(&query.bbox, x_res / 10.0, y_res / 10.0) {
        return Err(misplaced("query does not align to tile boundaries"));
    }
    Ok(tile)
}
