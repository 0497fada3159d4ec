//! What the tiled services have in common: fetching a tile and answering with it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mapproxy_cache::{Tile, TileManager};
use mapproxy_grid::{Origin, Size, TileCoord, TileGrid};
use mapproxy_image::{Codec, Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::{Dimensions, MapError};

use crate::Response;
use crate::conditional::Validators;
use crate::response::{forbid_caching, respond};

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

/// A tile; `None` where there was no patience to wait for it.
pub(crate) fn fetch(manager: &TileManager, coord: TileCoord, patience: Patience) -> Option<Result<Tile, MapError>> {
    let dimensions = Dimensions::default();
    match (manager.load_kept(coord, &dimensions), patience) {
        (Ok(Some(tile)), _) => Some(Ok(tile)),
        (_, Patience::None) => None,
        (Ok(None), Patience::Unlimited) => Some(manager.load(coord, &dimensions)),
        (Err(error), Patience::Unlimited) => Some(Err(error)),
    }
}

/// Answers with a tile: its type by its bytes, validators where it is stored, a transparent picture where it is empty.
pub(crate) fn answer(manager: &TileManager, tile: Tile, max_age: Duration, request: &HeaderMap) -> Response {
    let size = manager.grid().tile_size();
    let (bytes, content_type) = match tile.bytes {
        Some(bytes) => {
            let content_type = Codec::sniff(&bytes).map_or("application/octet-stream", Codec::content_type);
            (bytes, content_type)
        }
        None => (empty_tile(size), Codec::Png.content_type()),
    };
    let length = bytes.len() as u64;
    let response = respond(StatusCode::OK, content_type, bytes);
    if !tile.cacheable {
        return forbid_caching(response);
    }
    match tile.modified {
        Some(modified) => Validators::of_stored(modified, length, max_age).apply(request, response),
        None => Validators { etag: None, modified: None, max_age }.apply(request, response),
    }
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
