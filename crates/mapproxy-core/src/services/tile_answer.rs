//! What the tiled services have in common: fetching a tile and answering with it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mapproxy_cache::{Tile, TileManager};
use mapproxy_grid::{Coverage, Origin, Size, TileCoord, TileGrid};
use mapproxy_image::{Codec, Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, mask};
use mapproxy_map::{Dimensions, MapError};
use mapproxy_trace as trace;

use crate::auth::{TilePermit, Visible};
use crate::conditional::Validators;
use crate::response::{forbid_caching, respond};
use crate::{CacheState, Response};

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Answer at once or not at all.
    None,
    /// Wait for sources and locks.
    Unlimited,
}

/// A place in a tile matrix as a client names it: any number, row and column perhaps outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) z: i64,
}

impl Place {
    /// The tile of `grid` at this place, whose rows the client counts from `origin`; `None` outside of the grid.
    pub(crate) fn in_grid(self, grid: &TileGrid, origin: Origin) -> Option<TileCoord> {
        let coord = TileCoord { x: self.x.try_into().ok()?, y: self.y.try_into().ok()?, z: self.z.try_into().ok()? };
        grid.contains_tile(coord).then(|| if grid.origin() == origin { coord } else { grid.flip(coord) })
    }
}

/// The answer with a tile, as far as it may be seen; `None` where there was no patience to wait for it.
pub(crate) fn answer(
    permit: &TilePermit<'_>,
    patience: Patience,
    max_age: Duration,
    request: &HeaderMap,
) -> Option<Result<Response, MapError>> {
    let manager = permit.manager();
    let areas = match permit.visible() {
        Visible::All => &[][..],
        Visible::Inside(areas) => areas,
        Visible::Nothing => return Some(Ok(respond_empty(manager))),
    };
    let tile = match fetch(manager, permit.coord(), patience)? {
        Ok(tile) => tile,
        Err(error) => return Some(Err(error)),
    };
    if areas.is_empty() {
        return Some(Ok(whole(manager, tile, max_age, request)));
    }
    Some(clipped(manager, permit.coord(), tile, areas))
}

fn fetch(manager: &TileManager, coord: TileCoord, patience: Patience) -> Option<Result<Tile, MapError>> {
    let dimensions = Dimensions::default();
    match (manager.load_kept(coord, &dimensions), patience) {
        (Ok(Some(tile)), _) => {
            trace::count(trace::Tiles { hit: 1, ..trace::Tiles::default() });
            Some(Ok(tile))
        }
        (_, Patience::None) => None,
        (Ok(None), Patience::Unlimited) => Some(manager.load(coord, &dimensions)),
        (Err(error), Patience::Unlimited) => Some(Err(error)),
    }
}

/// Its type by its bytes, validators where it is stored, a transparent picture where it is empty.
fn whole(manager: &TileManager, tile: Tile, max_age: Duration, request: &HeaderMap) -> Response {
    let (bytes, content_type) = match tile.bytes {
        Some(bytes) => {
            let content_type = Codec::sniff(&bytes).map_or("application/octet-stream", Codec::content_type);
            (bytes, content_type)
        }
        None => (empty_tile(manager.grid().tile_size()), Codec::Png.content_type()),
    };
    let length = bytes.len() as u64;
    let response = respond(StatusCode::OK, content_type, bytes);
    if !tile.cacheable {
        return forbid_caching(response);
    }
    let mut response = response;
    // Unless the trace of the request knows better.
    response.extensions_mut().insert(CacheState::Hit);
    match tile.modified {
        Some(modified) => Validators::of_stored(modified, length, max_age).apply(request, response),
        None => Validators { etag: None, modified: None, max_age }.apply(request, response),
    }
}

/// The part of a tile inside of `areas`, which are in its SRS: a PNG, since the rest is transparent. It has no
/// validators: those of the tile would tell a client that it may keep more, or less, than it may see.
fn clipped(manager: &TileManager, coord: TileCoord, tile: Tile, areas: &[Coverage]) -> Result<Response, MapError> {
    let Some(bytes) = tile.bytes else { return Ok(respond_empty(manager)) };
    let bbox = manager.grid().tile_bbox(coord);
    let draw = || {
        let pixels = MapImage::from_encoded(bytes, Arc::clone(manager.image())).into_pixels()?;
        let clip = |pixels, area| mask::clip(pixels, &bbox, manager.grid().srs(), area);
        let pixels = areas.iter().try_fold(pixels, clip)?;
        let options = ImageOptions { format: Some(ImageFormat::png()), mode: None, ..(**manager.image()).clone() };
        let options = options.with_transparent(true);
        MapImage::from_pixels(pixels, options.clone().into()).encode(&options)
    };
    let encoded = draw().map_err(|error| MapError::Image { source_name: Arc::clone(manager.name()), error })?;
    let response = respond(StatusCode::OK, Codec::Png.content_type(), encoded.bytes);
    Ok(if tile.cacheable { response } else { forbid_caching(response) })
}

fn respond_empty(manager: &TileManager) -> Response {
    respond(StatusCode::OK, Codec::Png.content_type(), empty_tile(manager.grid().tile_size()))
}

/// A transparent PNG; the usual size is made once.
fn empty_tile(size: Size) -> Bytes {
    static USUAL: OnceLock<Bytes> = OnceLock::new();
    const USUAL_SIZE: Size = Size::new(256, 256);
    let make = || {
        let options = ImageOptions { colors: Some(2), ..ImageOptions::new(ImageFormat::png()).with_transparent(true) };
        let pixels = Pixels::filled(size, PixelMode::Rgba, Color::TRANSPARENT);
        let image = MapImage::from_pixels(pixels, options.clone().into()).encode(&options);
        image.expect("a picture of one colour can be written as PNG").bytes
    };
    if size == USUAL_SIZE { USUAL.get_or_init(make).clone() } else { make() }
}
