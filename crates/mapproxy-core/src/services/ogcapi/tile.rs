//! Tiles: as they are kept where a cache has them in this very place and format, else drawn.

use mapproxy_grid::TileCoord;
use mapproxy_image::Codec;
use mapproxy_trace as trace;

use super::error::{ApiError, Failure};
use super::formats::Wish;
use super::map::{Drawing, place};
use super::matrix_set::MatrixSet;
use super::negotiate::Accept;
use super::path::{Scope, TilePath};
use super::request::{Query, Scaling, Style};
use super::{OgcApi, sizing, vary_by_accept};
use crate::auth::Operation;
use crate::services::tile_answer::{Patience, Wanted, answer};
use crate::{Incoming, Response, TileSet};

impl OgcApi {
    /// The tile; `None` where there was no patience to wait for it.
    pub(super) fn tile(
        &self,
        request: &Incoming<'_>,
        scope: Scope<'_>,
        path: TilePath<'_>,
        accept: Accept,
        patience: Patience,
    ) -> Result<Option<Response>, Failure> {
        let query = Query::of_tile(request.params(), scope == Scope::Dataset, self.options.maps)?;
        let names = self.selected(scope, Some(&query), "tile")?;
        let set = self.matrix_set(path.matrix_set)?;
        let coord = set.coord(&path)?;
        let wish = Wish { extension: path.extension, f: query.get("f"), accept };
        let kept = if query.is_plain() { self.kept(&names, set, coord) } else { None };
        let codec = kept.and_then(|(tiles, _)| tiles.image().format.as_ref()?.codec());
        let format = wish.choose(&self.formats, codec)?;

        let bbox = set.grid.tile_bbox(coord);
        let direct = kept.filter(|_| codec == format.codec() || codec.is_none() && takes_either(&wish));
        let response = match direct {
            Some((tiles, kept_coord)) => {
                let name = names[0];
                let gate = &self.options.gate;
                let permit = gate.ask_for_tile(Operation::OgcApiTile, request, name, tiles, kept_coord)?;
                let _place = trace::within(|| trace::Place::Layer(name.into()));
                let wanted = Wanted {
                    operation: Operation::OgcApiTile,
                    layer: name,
                    dimensions: &self.collection(name)?.dimensions,
                    patience,
                    max_age: tiles.max_age().unwrap_or(self.options.max_age),
                    decorators: &self.options.decorators,
                    request,
                };
                match answer(&permit, &wanted) {
                    None => return Ok(None),
                    Some(Ok(mut response)) => {
                        place(&mut response, &bbox, set.grid.srs());
                        response
                    }
                    Some(Err(error)) => return Err(ApiError::from_map(&error, self.options.hide_error_details).into()),
                }
            }
            None if patience == Patience::None => return Ok(None),
            None => {
                let srs = set.grid.srs().clone();
                let scaling = Scaling::parse(&query)?;
                let size = sizing::of_tile(&scaling, &bbox, set.grid.tile_size(), &srs, self.limits)?;
                let style = Style::parse(&query)?;
                let operation = Operation::OgcApiTile;
                self.draw(request, &Drawing { operation, names, bbox, size, srs, style, format, attribution: None })?
            }
        };
        let mut response = response;
        if wish.is_negotiated() {
            vary_by_accept(&mut response);
        }
        Ok(Some(response))
    }

    /// Where the tile is kept, if it is one of a single layer with such tiles.
    fn kept(&self, names: &[&str], set: &MatrixSet, coord: TileCoord) -> Option<(&TileSet, TileCoord)> {
        let [name] = names else { return None };
        let tiles = &self.collection(name).ok()?.tiles;
        tiles.iter().find_map(|tiles| Some((tiles, set.tile_in(tiles.grid(), coord)?)))
    }
}

/// PNG and JPEG are equally welcome: a tile that may be either is.
fn takes_either(wish: &Wish<'_>) -> bool {
    let welcome = |codec: Codec| wish.accept.weight(codec.content_type()) > 0;
    wish.is_negotiated() && welcome(Codec::Png) && welcome(Codec::Jpeg)
}
