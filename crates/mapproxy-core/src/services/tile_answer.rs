//! What the tiled services have in common: fetching a tile and answering with it.

use std::io::Read as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use mapproxy_cache::{Tile, TileManager};
use mapproxy_grid::{Coverage, MapExtent, Origin, Size, TileCoord, TileGrid};
use mapproxy_image::{Codec, Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, mask};
use mapproxy_map::data::{DataFormat, DataKind, is_gzip};
use mapproxy_map::{Dimensions, MapError};
use mapproxy_trace as trace;

use crate::auth::{Operation, TilePermit, Visible};
use crate::conditional::Validators;
use crate::decorate::{Decorators, Picture};
use crate::documents::accepts_gzip;
use crate::response::{forbid_caching, keep_private, plain, respond};
use crate::{CacheState, Incoming, Response};

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

/// How a tile is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// What it is an answer to.
    pub(crate) operation: Operation,
    /// The layer as the request names it.
    pub(crate) layer: &'a str,
    pub(crate) dimensions: &'a Dimensions,
    pub(crate) patience: Patience,
    /// How long clients may keep it.
    pub(crate) max_age: Duration,
    /// Who draws on it.
    pub(crate) decorators: &'a Decorators,
    pub(crate) request: &'a Incoming<'a>,
}

/// The answer with a tile, as far as it may be seen; `None` where there was no patience to wait for it.
pub(crate) fn answer(permit: &TilePermit<'_>, wanted: &Wanted<'_>) -> Option<Result<Response, MapError>> {
    let Wanted { patience, max_age, .. } = *wanted;
    let request = wanted.request.headers;
    let max_age = permit.max_age().unwrap_or(max_age);
    let manager = permit.manager();
    if let Some(format) = manager.data_format() {
        return data(permit, wanted, format, max_age);
    }
    if wanted.decorators.concern(wanted.operation) {
        // Somebody else's code, which may take its time.
        return (patience == Patience::Unlimited).then(|| decorated(permit, wanted));
    }
    let areas = match permit.visible() {
        Visible::All => &[][..],
        // To clip a tile takes its time.
        Visible::Inside(_) if patience == Patience::None => return None,
        Visible::Inside(areas) => areas,
        Visible::Nothing => return Some(Ok(respond_empty(manager))),
    };
    let tile = match fetch(manager, permit.coord(), wanted.dimensions, patience)? {
        Ok(tile) => tile,
        Err(error) => return Some(Err(error)),
    };
    if areas.is_empty() {
        return Some(Ok(whole(manager, tile, max_age, request)));
    }
    Some(clipped(manager, permit.coord(), tile, areas))
}

/// A tile that is no picture: as it is kept, or not at all. Nobody can draw on it or cut it, so one that reaches beyond
/// what may be seen is not shown.
fn data(
    permit: &TilePermit<'_>,
    wanted: &Wanted<'_>,
    format: &DataFormat,
    max_age: Duration,
) -> Option<Result<Response, MapError>> {
    let (manager, headers) = (permit.manager(), wanted.request.headers);
    if !matches!(permit.visible(), Visible::All) {
        return Some(Ok(keep_private(without_data(format))));
    }
    let tile = match fetch(manager, permit.coord(), wanted.dimensions, wanted.patience)? {
        Ok(tile) => tile,
        Err(error) => return Some(Err(error)),
    };
    let Some(bytes) = tile.bytes else {
        let response = without_data(format);
        return Some(Ok(match tile.cacheable {
            true => Validators { etag: None, modified: None, max_age }.apply(headers, response),
            false => forbid_caching(response),
        }));
    };
    let is_packed = is_gzip(&bytes);
    let unpacks = is_packed && !accepts_gzip(headers);
    let bytes = match unpacks {
        false => bytes,
        // Takes its time.
        true if wanted.patience == Patience::None => return None,
        true => match unpacked(&bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = format!("cannot be unpacked: {error}");
                manager.discard(permit.coord(), &manager.own_dimensions(wanted.dimensions), &reason);
                return Some(Err(MapError::Store { cache: Arc::clone(manager.name()), reason }));
            }
        },
    };
    let length = bytes.len() as u64;
    let mut response = respond(StatusCode::OK, format.media_type(), bytes);
    if is_packed {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if !unpacks {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    if !tile.cacheable {
        return Some(Ok(forbid_caching(response)));
    }
    response.extensions_mut().insert(CacheState::Hit);
    let validators = match tile.modified {
        Some(modified) => Validators::of_stored(modified, length, max_age),
        None => Validators { etag: None, modified: None, max_age },
    };
    Some(Ok(validators.apply(headers, response)))
}

/// There is nothing here. Vector tiles without anything are usual, and their clients know this answer.
fn without_data(format: &DataFormat) -> Response {
    match format.kind() {
        DataKind::Vector => respond(StatusCode::NO_CONTENT, format.media_type(), Bytes::new()),
        DataKind::Json | DataKind::GeoJson | DataKind::QuantizedMesh => {
            plain(StatusCode::NOT_FOUND, "there is no tile here")
        }
    }
}

/// As much as any tile may hold.
const MAX_UNPACKED: u64 = 256 << 20;

fn unpacked(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut plain = Vec::with_capacity(bytes.len() * 4);
    let mut limited = MultiGzDecoder::new(bytes).take(MAX_UNPACKED + 1);
    limited.read_to_end(&mut plain)?;
    if plain.len() as u64 > MAX_UNPACKED {
        return Err(std::io::Error::other(format!("it holds more than {} MiB", MAX_UNPACKED >> 20)));
    }
    Ok(plain.into())
}

fn fetch(
    manager: &TileManager,
    coord: TileCoord,
    dimensions: &Dimensions,
    patience: Patience,
) -> Option<Result<Tile, MapError>> {
    let dimensions = &manager.own_dimensions(dimensions);
    match (manager.load_kept(coord, dimensions), patience) {
        (Ok(Some(tile)), _) => {
            trace::count(trace::Tiles { hit: 1, ..trace::Tiles::default() });
            Some(Ok(tile))
        }
        (_, Patience::None) => None,
        (Ok(None), Patience::Unlimited) => Some(manager.load(coord, dimensions)),
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
    let draw = || {
        let image = clip(manager, coord, bytes, areas)?;
        image.encode(image.options())
    };
    let encoded = draw().map_err(|error| image_failed(manager, error))?;
    let response = respond(StatusCode::OK, Codec::Png.content_type(), encoded.bytes);
    Ok(if tile.cacheable { response } else { forbid_caching(response) })
}

fn clip(
    manager: &TileManager,
    coord: TileCoord,
    bytes: Bytes,
    areas: &[Coverage],
) -> Result<MapImage, mapproxy_image::ImageError> {
    let bbox = manager.grid().tile_bbox(coord);
    let pixels = MapImage::from_encoded(bytes, Arc::clone(manager.image())).into_pixels()?;
    let clip = |pixels, area| mask::clip(pixels, &bbox, manager.grid().srs(), area);
    let pixels = areas.iter().try_fold(pixels, clip)?;
    Ok(MapImage::from_pixels(pixels, transparent_png(manager)))
}

/// For tiles that are, or become, transparent whatever their cache's format.
fn transparent_png(manager: &TileManager) -> Arc<ImageOptions> {
    let options = ImageOptions { format: Some(ImageFormat::png()), mode: None, ..(**manager.image()).clone() };
    Arc::new(options.with_transparent(true))
}

fn image_failed(manager: &TileManager, error: mapproxy_image::ImageError) -> MapError {
    MapError::Image { source_name: Arc::clone(manager.name()), error }
}

/// The tile with what the embedding program draws on it. Its validators are its own: see `decorate`.
fn decorated(permit: &TilePermit<'_>, wanted: &Wanted<'_>) -> Result<Response, MapError> {
    let manager = permit.manager();
    let size = manager.grid().tile_size();
    let empty = || Ok(MapImage::blank(size, transparent_png(manager)));
    let load = || fetch(manager, permit.coord(), wanted.dimensions, Patience::Unlimited).unwrap_or(Ok(Tile::EMPTY));
    let (image, cacheable) = match permit.visible() {
        Visible::Nothing => (empty(), true),
        visible => {
            let Tile { bytes, cacheable, .. } = load()?;
            let image = match (bytes, visible) {
                (None, _) => empty(),
                (Some(bytes), Visible::Inside(areas)) => clip(manager, permit.coord(), bytes, areas),
                (Some(bytes), _) => Ok(MapImage::from_encoded(bytes, Arc::clone(manager.image()))),
            };
            (image, cacheable)
        }
    };
    let image = image.map_err(|error| image_failed(manager, error))?.with_cacheable(cacheable);
    let options = Arc::clone(image.options());
    let extent = MapExtent::new(manager.grid().tile_bbox(permit.coord()), manager.grid().srs().clone());
    let layers = [wanted.layer];
    let picture = Picture::new(wanted.operation, &layers, &extent, wanted.request.request());
    let image = wanted.decorators.apply(image, &picture)?;
    let bytes = image.encode(&options).map_err(|error| image_failed(manager, error))?.bytes;
    let content_type = Codec::sniff(&bytes).map_or("application/octet-stream", Codec::content_type);
    let max_age = wanted.decorators.max_age(wanted.operation);
    let validators = Validators::of_content(&bytes, max_age.unwrap_or_default());
    let response = respond(StatusCode::OK, content_type, bytes);
    if !image.cacheable() {
        return Ok(forbid_caching(response));
    }
    let response = validators.apply(wanted.request.headers, response);
    Ok(if max_age.is_some() { response } else { keep_private(response) })
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
