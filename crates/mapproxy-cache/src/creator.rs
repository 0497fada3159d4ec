//! Creates missing tiles: lock, ask the sources, cut, encode, store.
//!
//! Two locks keep work from being done twice: a flight joins the threads of this process (they share the result, a
//! failure included), a lock file excludes other processes. After locking, the store is looked at again: somebody may
//! have been faster. Encoding goes to all cores (rayon); no lock is taken and nothing is read or written in there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mapproxy_grid::{Bbox, MetaGrid, MetaTile, Size, TileCoord};
use mapproxy_image::merge::{self, Frame, Layer};
use mapproxy_image::{Codec, GeoReference, ImageError, ImageFormat, MapImage, PixelMode, Pixels, tiles};
use mapproxy_map::{Dimensions, MapError, MapQuery, MapSource, Purpose};
use rayon::prelude::*;

use crate::flight::{Flights, Flown};
use crate::parallel::try_map;
use crate::store::{SingleColor, TileData};
use crate::{Tile, TileKey, TileManager};

/// How tiles are asked for.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Not at all.
    StoredOnly,
    /// One by one.
    Single,
    /// One by one, but all of a meta tile together.
    Bulk(MetaGrid),
    /// As a picture of a meta tile, to be cut.
    Meta(MetaGrid),
}

/// The state shared by all who create tiles of a cache.
#[derive(Debug)]
pub(crate) struct Creator {
    pub(crate) mode: Mode,
    flights: Flights<WorkKey, Result<Arc<Made>, Arc<MapError>>>,
    locks: AtomicU32,
}

/// Sources of one cache asked at once.
const MAX_SOURCES_AT_ONCE: usize = 20;

/// How long threads wait for each other in a cache without locks (`disable_storage`).
const UNLOCKED_TIMEOUT: Duration = Duration::from_secs(60);

/// How many locks are taken between two searches for stale lock files.
const LOCKS_PER_CLEANING: u32 = 50;

/// Tiles that are made together.
#[derive(Debug)]
struct Work {
    /// Places in the list of wanted tiles.
    wanted: Vec<usize>,
    what: What,
}

#[derive(Debug)]
enum What {
    Single(TileCoord),
    Bulk(MetaTile),
    Meta(MetaTile),
}

/// Names a piece of work: the first and last tile of its rectangle, and who it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WorkKey {
    from: TileCoord,
    to: TileCoord,
    dimensions: Dimensions,
    seed: bool,
}

/// What came of a piece of work. A tile that was made but is not in the list is empty.
#[derive(Debug)]
struct Made {
    tiles: Vec<(TileCoord, Result<Tile, Arc<MapError>>)>,
    /// All tiles were made, not only those wanted.
    complete: bool,
}

/// An encoded tile, not stored yet.
struct Encoded {
    coord: TileCoord,
    bytes: Bytes,
    single_color: Option<SingleColor>,
}

impl Creator {
    pub(crate) fn new(mode: Mode) -> Self {
        Creator { mode, flights: Flights::new(), locks: AtomicU32::new(0) }
    }
}

impl What {
    fn coords(&self) -> Vec<TileCoord> {
        match self {
            What::Single(coord) => vec![*coord],
            What::Bulk(meta) | What::Meta(meta) => meta.tiles.iter().filter_map(|place| place.tile).collect(),
        }
    }

    /// The tile that names the lock.
    fn main(&self) -> TileCoord {
        match self {
            What::Single(coord) => *coord,
            What::Bulk(meta) | What::Meta(meta) => meta.main,
        }
    }
}

impl Made {
    fn get(&self, coord: TileCoord) -> Option<&Result<Tile, Arc<MapError>>> {
        self.tiles.iter().find(|(made, _)| *made == coord).map(|(_, tile)| tile)
    }
}

impl TileManager {
    /// Makes tiles (of one level). `stale` are the tiles to fall back on when the sources fail. `None`: nothing there.
    pub(crate) fn create(
        &self,
        coords: &[TileCoord],
        stale: &[Option<Tile>],
        dimensions: &Dimensions,
        purpose: Purpose,
        oldest: Option<SystemTime>,
    ) -> Result<Vec<Option<Tile>>, MapError> {
        let works = self.plan(coords, purpose);
        let answers = try_map(&works, self.options.creation.concurrent_creators, |work| {
            let wanted: Vec<TileCoord> = work.wanted.iter().map(|place| coords[*place]).collect();
            let fallback: Option<Vec<Tile>> = work.wanted.iter().map(|place| stale[*place].clone()).collect();
            match (self.perform(&work.what, &wanted, dimensions, purpose, oldest), fallback) {
                (Ok(tiles), _) => Ok(tiles),
                (Err(error), Some(fallback)) if purpose == Purpose::Serve => {
                    log::warn!("cache {}: serving tiles that are too old: {error}", self.options.name);
                    Ok(fallback.into_iter().map(|tile| Some(Tile { cacheable: false, ..tile })).collect())
                }
                (Err(error), _) => Err(error),
            }
        })?;
        let mut created = vec![None; coords.len()];
        for (work, tiles) in works.iter().zip(answers) {
            for (place, tile) in work.wanted.iter().zip(tiles) {
                created[*place] = tile;
            }
        }
        Ok(created)
    }

    fn plan(&self, coords: &[TileCoord], purpose: Purpose) -> Vec<Work> {
        let minimize = self.options.creation.minimize_meta_requests && purpose == Purpose::Serve && coords.len() > 1;
        match &self.creator.mode {
            Mode::StoredOnly => Vec::new(),
            Mode::Single => {
                let single =
                    |(place, coord): (usize, &TileCoord)| Work { wanted: vec![place], what: What::Single(*coord) };
                coords.iter().enumerate().map(single).collect()
            }
            Mode::Meta(grid) if minimize => {
                let what = What::Meta(grid.minimal_meta_tile(coords));
                vec![Work { wanted: (0..coords.len()).collect(), what }]
            }
            Mode::Meta(grid) => group(coords, grid, What::Meta),
            Mode::Bulk(grid) => group(coords, grid, What::Bulk),
        }
    }

    /// Does a piece of work, or has it done by whoever is at it already.
    fn perform(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        purpose: Purpose,
        oldest: Option<SystemTime>,
    ) -> Result<Vec<Option<Tile>>, MapError> {
        let coords = what.coords();
        let (Some(from), Some(to)) = (coords.first(), coords.last()) else { return Ok(vec![None; wanted.len()]) };
        let key = WorkKey { from: *from, to: *to, dimensions: Arc::clone(dimensions), seed: purpose == Purpose::Seed };
        let timeout = self.options.locker.as_ref().map_or(UNLOCKED_TIMEOUT, |locker| locker.timeout);
        loop {
            let flown = self.creator.flights.run(&key, timeout, || {
                self.perform_alone(what, wanted, dimensions, purpose, oldest).map(Arc::new).map_err(Arc::new)
            });
            let (result, own) = match flown {
                Flown::Own(result) => (result, true),
                Flown::Shared(result) => (result, false),
                Flown::TimedOut => {
                    let TileCoord { x, y, z } = what.main();
                    let lock = format!("tile {z}/{x}/{y} of cache {}", self.options.name);
                    return Err(MapError::LockTimeout { lock, seconds: timeout.as_secs() });
                }
            };
            let made = result.map_err(unshare)?;
            if !own && !made.complete && wanted.iter().any(|coord| made.get(*coord).is_none()) {
                // The other found its own tiles stored, or stopped at a failure, before it came to ours.
                continue;
            }
            return wanted
                .iter()
                .map(|coord| match made.get(*coord).cloned().transpose() {
                    Ok(tile) => Ok(tile.filter(|tile| tile.bytes.is_some())),
                    Err(error) => Err(unshare(error)),
                })
                .collect();
        }
    }

    fn perform_alone(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        purpose: Purpose,
        oldest: Option<SystemTime>,
    ) -> Result<Made, MapError> {
        let Some(locker) = &self.options.locker else { return self.make(what, wanted, dimensions, purpose) };
        let made = {
            let _lock = locker.lock(what.main(), dimensions).map_err(|error| error.of_cache(&self.options.name))?;
            let keys: Vec<_> =
                wanted.iter().map(|coord| TileKey { coord: *coord, dimensions: Arc::clone(dimensions) }).collect();
            let found: Option<Vec<Tile>> = self.load_fresh(&keys, oldest)?.into_iter().collect();
            match found {
                Some(found) => {
                    let tiles = wanted.iter().copied().zip(found.into_iter().map(Ok)).collect();
                    Ok(Made { tiles, complete: false })
                }
                None => self.make(what, wanted, dimensions, purpose),
            }
        };
        if self.creator.locks.fetch_add(1, Ordering::Relaxed) % LOCKS_PER_CLEANING == LOCKS_PER_CLEANING - 1 {
            locker.remove_stale();
        }
        made
    }

    fn make(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Made, MapError> {
        match what {
            What::Single(coord) => {
                let made = self.make_single(*coord, dimensions, purpose)?;
                let tiles = self.keep(made.into_iter().collect(), dimensions, purpose)?;
                Ok(Made { tiles, complete: true })
            }
            What::Bulk(meta) => self.make_bulk(meta, wanted, dimensions, purpose),
            What::Meta(meta) => {
                let made = self.make_meta(meta, dimensions, purpose)?;
                Ok(Made { tiles: self.keep(made, dimensions, purpose)?, complete: true })
            }
        }
    }

    /// A tile as its source gave it, if its format fits, and only if it can be read to its end.
    fn make_single(
        &self,
        coord: TileCoord,
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Option<(Encoded, bool)>, MapError> {
        let grid = &self.options.grid;
        let bbox = grid.tile_bbox(coord);
        let Some(image) = self.ask(bbox, grid.tile_size(), dimensions, purpose)? else { return Ok(None) };
        let failed = |error| MapError::Image { source_name: self.asked_name(), error };
        let size = image.size().map_err(failed)?;
        if size != grid.tile_size() {
            return Err(failed(wrong_size(size, grid.tile_size())));
        }
        // Decoded in any case: a cut-off file must not be stored.
        let pixels = image.pixels().map_err(failed)?;
        let cacheable = image.cacheable();
        let pixels = self.marked(pixels, coord);
        let single_color = if cacheable { self.single_color(&pixels, dimensions) } else { None };
        let other_format = |codec| self.options.image.format.as_ref().and_then(ImageFormat::codec) != Some(codec);
        let image = match image.codec() {
            // What was changed, or came in another format, is to be written anew.
            Some(codec) if other_format(codec) || self.options.watermark.is_some() => {
                MapImage::from_pixels(Arc::unwrap_or_clone(pixels), Arc::clone(image.options()))
            }
            None if self.options.watermark.is_some() => {
                MapImage::from_pixels(Arc::unwrap_or_clone(pixels), Arc::clone(image.options()))
            }
            _ => image,
        };
        let bytes = self.encode(image, bbox).map_err(failed)?;
        Ok(Some((Encoded { coord, bytes, single_color }, cacheable)))
    }

    /// All tiles of a meta tile, the wanted ones first. A failure ends it, but spares what is there by then.
    fn make_bulk(
        &self,
        meta: &MetaTile,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Made, MapError> {
        let mut coords: Vec<TileCoord> = meta.tiles.iter().filter_map(|place| place.tile).collect();
        coords.sort_by_key(|coord| !wanted.contains(coord));
        let failure = std::sync::Mutex::new(None);
        let asked = std::sync::Mutex::new(Vec::with_capacity(coords.len()));
        let ended = try_map(&coords, self.options.creation.concurrent_creators, |coord| {
            match self.make_single(*coord, dimensions, purpose) {
                Ok(made) => {
                    asked.lock().expect("nobody panics here").push((*coord, made));
                    Ok(())
                }
                Err(error) => {
                    failure.lock().expect("nobody panics here").get_or_insert((*coord, error));
                    Err(())
                }
            }
        });
        let asked = asked.into_inner().expect("nobody panics here");
        let failure = failure.into_inner().expect("nobody panics here");
        let empty: Vec<_> = asked.iter().filter(|(_, made)| made.is_none()).map(|(coord, _)| *coord).collect();
        let made = asked.into_iter().filter_map(|(_, made)| made).collect();
        let mut tiles = self.keep(made, dimensions, purpose)?;
        tiles.extend(empty.into_iter().map(|coord| (coord, Ok(Tile::EMPTY))));
        if let Some((coord, error)) = failure {
            tiles.push((coord, Err(Arc::new(error))));
        }
        Ok(Made { tiles, complete: ended.is_ok() })
    }

    fn make_meta(
        &self,
        meta: &MetaTile,
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Vec<(Encoded, bool)>, MapError> {
        let grid = &self.options.grid;
        let Some(image) = self.ask(meta.bbox, meta.size, dimensions, purpose)? else { return Ok(Vec::new()) };
        let failed = |error| MapError::Image { source_name: self.asked_name(), error };
        let cacheable = image.cacheable();
        let pixels = image.pixels().map_err(failed)?;
        drop(image);
        if pixels.size() != meta.size {
            return Err(failed(wrong_size(pixels.size(), meta.size)));
        }
        let (coords, places): (Vec<_>, Vec<_>) =
            meta.tiles.iter().filter_map(|place| Some((place.tile?, (place.x, place.y)))).unzip();
        let options = &self.options.image;
        let pieces = tiles::cut(&pixels, &places, grid.tile_size(), options);
        drop(pixels);
        coords
            .into_par_iter()
            .zip(pieces)
            .map(|(coord, mut pixels)| {
                if let Some(watermark) = &self.options.watermark {
                    watermark.draw(&mut pixels, coord);
                }
                let single_color = if cacheable { self.single_color(&pixels, dimensions) } else { None };
                let image = MapImage::from_pixels(pixels, Arc::clone(options));
                let bytes = self.encode(image, grid.tile_bbox(coord)).map_err(failed)?;
                Ok((Encoded { coord, bytes, single_color }, cacheable))
            })
            .collect()
    }

    /// The sources' answers, merged.
    fn ask(
        &self,
        bbox: Bbox,
        size: Size,
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Option<MapImage>, MapError> {
        let options = &self.options;
        let query = MapQuery {
            bbox,
            size,
            srs: options.grid.srs().clone(),
            format: options.creation.request_format.clone(),
            transparent: options.image.transparent.unwrap_or(false),
            dimensions: Arc::clone(dimensions),
            purpose,
        };
        let clips = |source: &dyn MapSource| source.profile().coverage.as_ref().is_some_and(|coverage| coverage.clip());
        let images = match options.sources.as_slice() {
            [source] if !clips(source.as_ref()) => return source.render(&query),
            [source] => match source.render(&query)? {
                None => return Ok(None),
                image => vec![image],
            },
            sources => try_map(sources, MAX_SOURCES_AT_ONCE, |source| source.render(&query))?,
        };
        let layers = options
            .sources
            .iter()
            .zip(images)
            .filter_map(|(source, image)| Some(Layer { image: image?, coverage: source.profile().coverage.as_ref() }))
            .collect();
        let frame = Frame { size, bbox, srs: &query.srs };
        let merged = merge::merge(layers, &options.image, &frame);
        merged.map(Some).map_err(|error| MapError::Image { source_name: self.asked_name(), error })
    }

    /// The picture of a tile with its watermark.
    fn marked(&self, pixels: Arc<Pixels>, coord: TileCoord) -> Arc<Pixels> {
        let Some(watermark) = &self.options.watermark else { return pixels };
        let mut pixels = Arc::unwrap_or_clone(pixels);
        watermark.draw(&mut pixels, coord);
        Arc::new(pixels)
    }

    fn encode(&self, image: MapImage, bbox: Bbox) -> Result<Bytes, ImageError> {
        let options = &self.options.image;
        let is_tiff = options.format.as_ref().and_then(|format| format.codec()) == Some(Codec::Tiff);
        let image = if is_tiff {
            image.with_geo_reference(GeoReference { bbox, srs: self.options.grid.srs().clone() })
        } else {
            image
        };
        Ok(image.encode(options)?.bytes)
    }

    /// Stores tiles that may be stored. While serving, a store that fails costs the tiles only their being kept.
    fn keep(
        &self,
        made: Vec<(Encoded, bool)>,
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Vec<(TileCoord, Result<Tile, Arc<MapError>>)>, MapError> {
        let store = self.store_for(dimensions);
        let key = |coord| TileKey { coord, dimensions: Arc::clone(dimensions) };
        let mut stored = false;
        if let Some(store) = store {
            let data: Vec<_> = made
                .iter()
                .filter(|(_, cacheable)| *cacheable)
                .map(|(tile, _)| {
                    (key(tile.coord), TileData { bytes: tile.bytes.clone(), single_color: tile.single_color })
                })
                .collect();
            match store.store_many(&data) {
                Ok(()) => stored = true,
                Err(error) if purpose == Purpose::Seed => return Err(self.store_failed(&error)),
                Err(error) => log::error!("cache {}: a new tile is served but not kept: {error}", self.options.name),
            }
        }
        // The times that the next answers will have, so that their validators are those of this one.
        let modified = |coord| store.filter(|_| stored)?.metadata(&key(coord)).ok()??.modified;
        Ok(made
            .into_iter()
            .map(|(Encoded { coord, bytes, .. }, cacheable)| {
                let modified = if cacheable { modified(coord) } else { None };
                (coord, Ok(Tile { bytes: Some(bytes), modified, cacheable }))
            })
            .collect())
    }

    fn single_color(&self, pixels: &Pixels, dimensions: &Dimensions) -> Option<SingleColor> {
        if !self.store_for(dimensions)?.capabilities().single_color {
            return None;
        }
        let [r, g, b, a] = pixels.single_color()?.0;
        Some(match pixels.mode() {
            PixelMode::Rgba => SingleColor::Rgba([r, g, b, a]),
            PixelMode::L | PixelMode::Rgb => SingleColor::Rgb([r, g, b]),
        })
    }

    /// For error messages: the source, or the cache where several were merged.
    fn asked_name(&self) -> Arc<str> {
        match self.options.sources.as_slice() {
            [source] => Arc::clone(&source.profile().name),
            _ => Arc::clone(&self.options.name),
        }
    }
}

fn group(coords: &[TileCoord], grid: &MetaGrid, what: fn(MetaTile) -> What) -> Vec<Work> {
    let mut works: Vec<(TileCoord, Work)> = Vec::new();
    for (place, coord) in coords.iter().enumerate() {
        let main = grid.main_tile(*coord);
        match works.iter_mut().find(|(other, _)| *other == main) {
            Some((_, work)) => work.wanted.push(place),
            None => works.push((main, Work { wanted: vec![place], what: what(grid.meta_tile(*coord)) })),
        }
    }
    works.into_iter().map(|(_, work)| work).collect()
}

fn wrong_size(is: Size, wanted: Size) -> ImageError {
    ImageError::Decode(format!("a picture of {is} pixels instead of {wanted}"))
}

/// The error itself if nobody else has it.
fn unshare(error: Arc<MapError>) -> MapError {
    Arc::try_unwrap(error).unwrap_or_else(MapError::Shared)
}
