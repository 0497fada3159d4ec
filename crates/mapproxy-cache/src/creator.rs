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
use mapproxy_image::bands::BandMerge;
use mapproxy_image::merge::{self, Frame, Layer};
use mapproxy_image::{Codec, GeoReference, ImageError, ImageFormat, MapImage, PixelMode, Pixels, tiles};
use mapproxy_map::data::DataTile;
use mapproxy_map::{Access, Dimensions, MapError, MapQuery, MapSource, Purpose};
use rayon::prelude::*;

use crate::flight::{Flights, Flown};
use crate::manager::LOG;
use crate::parallel::try_map;
use crate::store::{SingleColor, TileData};
use crate::{DataTiles, LockError, Renderd, Tile, TileKey, TileLock, TileLocker, TileManager};

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

/// How many locks are taken between two searches for stale lock files. The first comes with the first lock: processes that
/// die early leave theirs, too.
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
    aim: Aim,
}

/// What tiles are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Aim {
    purpose: Purpose,
    /// There are old tiles to show if this fails.
    has_stale: bool,
}

/// What came of a piece of work. A tile that was made but is not in the list is empty.
#[derive(Debug)]
struct Made {
    tiles: Vec<MadeTile>,
    /// All tiles were made, not only those wanted.
    complete: bool,
}

type MadeTile = (TileCoord, Result<Tile, Arc<MapError>>);

/// What came of a tile that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It is kept, and has so many bytes.
    Made(u64),
    /// Somebody else was faster.
    ByOthers,
    /// No source has anything there, or nothing that may be kept.
    Nothing,
}

/// An encoded tile, not stored yet.
struct Encoded {
    coord: TileCoord,
    bytes: Bytes,
    single_color: Option<SingleColor>,
}

/// Told when no source is asked any more: what is left is work for this machine alone.
pub(crate) type Asked<'a> = &'a (dyn Fn() + Sync);

/// Nobody wants to know.
const UNTOLD: Asked<'_> = &|| {};

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
            let aim = Aim { purpose, has_stale: fallback.is_some() && purpose == Purpose::Serve };
            match (self.perform(&work.what, &wanted, dimensions, aim, oldest), fallback) {
                (Ok(tiles), _) => Ok(tiles),
                (Err(error), Some(fallback)) if purpose == Purpose::Serve => {
                    log::warn!(target: LOG, "cache {}: serving tiles that are too old: {error}", self.options.name);
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

    /// Makes tiles (of one level), to be kept and not to be shown: those of which `look` still says that they are wanted
    /// once nobody else is at them. `asked` is called when no source is asked any more.
    pub(crate) fn fill(
        &self,
        coords: &[TileCoord],
        dimensions: &Dimensions,
        look: impl Fn(&[TileCoord]) -> Result<Vec<bool>, MapError> + Sync,
        asked: Asked<'_>,
    ) -> Result<Vec<Filled>, MapError> {
        let works = self.plan(coords, Purpose::Seed);
        let asked = if works.len() == 1 { asked } else { UNTOLD };
        let answers = try_map(&works, self.options.creation.concurrent_creators, |work| {
            let wanted: Vec<TileCoord> = work.wanted.iter().map(|place| coords[*place]).collect();
            self.fill_alone(&work.what, &wanted, dimensions, &look, asked)
        })?;
        let mut filled = vec![Filled::Nothing; coords.len()];
        for (work, answers) in works.iter().zip(answers) {
            for (place, answer) in work.wanted.iter().zip(answers) {
                filled[*place] = answer;
            }
        }
        Ok(filled)
    }

    fn fill_alone(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        look: impl Fn(&[TileCoord]) -> Result<Vec<bool>, MapError>,
        asked: Asked<'_>,
    ) -> Result<Vec<Filled>, MapError> {
        if let Some(renderd) = self.options.renderd.as_ref().filter(|_| dimensions.is_empty()) {
            self.ask_renderd(renderd, what, Purpose::Seed)?;
            let lacks = look(wanted)?;
            return Ok(lacks.into_iter().map(|lacks| if lacks { Filled::Nothing } else { Filled::ByOthers }).collect());
        }
        let made = {
            let _lock = match &self.options.locker {
                Some(locker) => self.lock(locker, what, dimensions)?,
                None => None,
            };
            let lacks = look(wanted)?;
            let still: Vec<TileCoord> =
                wanted.iter().zip(&lacks).filter(|(_, lacks)| **lacks).map(|(coord, _)| *coord).collect();
            if still.is_empty() {
                return Ok(vec![Filled::ByOthers; wanted.len()]);
            }
            let aim = Aim { purpose: Purpose::Seed, has_stale: false };
            let made = self.draw(what, &still, dimensions, aim, asked)?;
            let filled = |(coord, lacks): (&TileCoord, bool)| {
                if !lacks {
                    return Ok(Filled::ByOthers);
                }
                let Some(tile) = made.get(*coord).cloned().transpose().map_err(unshare)? else {
                    return Ok(Filled::Nothing);
                };
                let kept = tile.bytes.filter(|_| tile.cacheable);
                Ok(kept.map_or(Filled::Nothing, |bytes| Filled::Made(bytes.len() as u64)))
            };
            wanted.iter().zip(lacks).map(filled).collect()
        };
        if let Some(locker) = &self.options.locker {
            self.clean_up_locks(locker);
        }
        made
    }

    /// Does a piece of work, or has it done by whoever is at it already.
    fn perform(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        aim: Aim,
        oldest: Option<SystemTime>,
    ) -> Result<Vec<Option<Tile>>, MapError> {
        let coords = what.coords();
        let (Some(from), Some(to)) = (coords.first(), coords.last()) else { return Ok(vec![None; wanted.len()]) };
        let key = WorkKey { from: *from, to: *to, dimensions: Arc::clone(dimensions), aim };
        let timeout = self.options.locker.as_ref().map_or(UNLOCKED_TIMEOUT, |locker| locker.timeout);
        loop {
            let flown = self.creator.flights.run(&key, timeout, || {
                let made = match &self.options.renderd {
                    Some(renderd) if dimensions.is_empty() && self.store_for(dimensions).is_some() => {
                        self.have_made(renderd, what, wanted, aim.purpose)
                    }
                    _ => self.perform_alone(what, wanted, dimensions, aim, oldest),
                };
                made.map(Arc::new).map_err(Arc::new)
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
                    Ok(tile) => Ok(tile.filter(|tile| tile.bytes.is_some() || !tile.cacheable)),
                    Err(error) => Err(unshare(error)),
                })
                .collect();
        }
    }

    /// Has another process do the work, and takes what it has stored.
    fn have_made(
        &self,
        renderd: &Renderd,
        what: &What,
        wanted: &[TileCoord],
        purpose: Purpose,
    ) -> Result<Made, MapError> {
        self.ask_renderd(renderd, what, purpose)?;
        let keys: Vec<_> = wanted.iter().map(|coord| TileKey::new(*coord)).collect();
        let found = self.load_fresh(&keys, None)?;
        let tiles = wanted.iter().zip(found).filter_map(|(coord, tile)| Some((*coord, Ok(tile?)))).collect();
        Ok(Made { tiles, complete: false })
    }

    fn ask_renderd(&self, renderd: &Renderd, what: &What, purpose: Purpose) -> Result<(), MapError> {
        renderd.make(&format!("{}_{}", self.options.name, self.options.grid.name()), what.main(), purpose)
    }

    fn perform_alone(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        aim: Aim,
        oldest: Option<SystemTime>,
    ) -> Result<Made, MapError> {
        let locker = self.options.locker.as_ref().filter(|_| self.store_for(dimensions).is_some());
        let Some(locker) = locker else { return self.draw(what, wanted, dimensions, aim, UNTOLD) };
        let made = {
            let _lock = self.lock(locker, what, dimensions)?;
            let keys: Vec<_> =
                wanted.iter().map(|coord| TileKey { coord: *coord, dimensions: Arc::clone(dimensions) }).collect();
            let found: Option<Vec<Tile>> = self.load_fresh(&keys, oldest)?.into_iter().collect();
            match found {
                Some(found) => {
                    let tiles = wanted.iter().copied().zip(found.into_iter().map(Ok)).collect();
                    Ok(Made { tiles, complete: false })
                }
                None => self.draw(what, wanted, dimensions, aim, UNTOLD),
            }
        };
        self.clean_up_locks(locker);
        made
    }

    /// Excludes other processes from a piece of work.
    fn lock(&self, locker: &TileLocker, what: &What, dimensions: &Dimensions) -> Result<Option<TileLock>, MapError> {
        match locker.lock(what.main(), dimensions) {
            Ok(lock) => {
                if lock.was_left_behind() {
                    self.sweep(&what.coords(), dimensions);
                }
                Ok(Some(lock))
            }
            Err(error @ LockError::Timeout { .. }) => Err(error.of_cache(&self.options.name)),
            // A full disk or a directory that is read-only: nobody else can hold the lock either.
            Err(LockError::File { path, reason }) => {
                let message = format!("lock {}: {reason}", path.display());
                self.is_unkept("tiles are made without a lock", &reason, &message);
                Ok(None)
            }
        }
    }

    /// Now and then, removes the locks of those who died.
    fn clean_up_locks(&self, locker: &TileLocker) {
        if self.creator.locks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOCKS_PER_CLEANING) {
            locker.remove_stale(|main| {
                if !self.options.grid.contains_tile(main) {
                    return;
                }
                let what = match &self.creator.mode {
                    Mode::StoredOnly | Mode::Single => What::Single(main),
                    Mode::Bulk(grid) | Mode::Meta(grid) => What::Meta(grid.meta_tile(main)),
                };
                self.sweep(&what.coords(), &Dimensions::default());
            });
        }
    }

    /// Somebody died while making these tiles, whose lock we hold now.
    fn sweep(&self, coords: &[TileCoord], dimensions: &Dimensions) {
        if let Some(store) = self.store_for(dimensions) {
            let key = |coord: &TileCoord| TileKey { coord: *coord, dimensions: Arc::clone(dimensions) };
            store.sweep(&coords.iter().map(key).collect::<Vec<_>>());
        }
    }

    fn draw(
        &self,
        what: &What,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        aim: Aim,
        asked: Asked<'_>,
    ) -> Result<Made, MapError> {
        match what {
            What::Single(coord) if self.options.data.is_some() => {
                Ok(Made { tiles: self.make_data(*coord, dimensions, aim)?, complete: true })
            }
            What::Single(coord) => {
                let made = self.make_single(*coord, dimensions, aim)?;
                asked();
                let tiles = self.keep(made.into_iter().collect(), dimensions, aim.purpose)?;
                Ok(Made { tiles, complete: true })
            }
            What::Bulk(meta) => self.make_bulk(meta, wanted, dimensions, aim, asked),
            What::Meta(meta) => {
                let made = self.make_meta(meta, dimensions, aim, asked)?;
                Ok(Made { tiles: self.keep(made, dimensions, aim.purpose)?, complete: true })
            }
        }
    }

    /// A tile of data, as its source gave it.
    fn make_data(&self, coord: TileCoord, dimensions: &Dimensions, aim: Aim) -> Result<Vec<MadeTile>, MapError> {
        let Some(DataTiles { format, source: Some(source) }) = &self.options.data else { return Ok(Vec::new()) };
        let grid = &self.options.grid;
        let query = self.query(grid.tile_bbox(coord), grid.tile_size(), dimensions, aim);
        let DataTile { bytes, cacheable } = source.data(&query, format)?;
        let Some(bytes) = bytes else { return Ok(vec![(coord, Ok(Tile { bytes, modified: None, cacheable }))]) };
        self.keep(vec![(Encoded { coord, bytes, single_color: None }, cacheable)], dimensions, aim.purpose)
    }

    /// A tile as its source gave it, if its format fits, and only if it can be read to its end.
    fn make_single(
        &self,
        coord: TileCoord,
        dimensions: &Dimensions,
        aim: Aim,
    ) -> Result<Option<(Encoded, bool)>, MapError> {
        let grid = &self.options.grid;
        let bbox = grid.tile_bbox(coord);
        let Some(image) = self.ask(bbox, grid.tile_size(), dimensions, aim)? else { return Ok(None) };
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
        if let Some(bytes) = image.encoded_bytes().filter(|_| self.is_mixed_as_it_is(&image, &pixels)) {
            return Ok(Some((Encoded { coord, bytes: bytes.clone(), single_color }, cacheable)));
        }
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

    /// A cache `mixed` keeps this picture as it came: JPEG, PNG that has to be, and PNG of those who have tiles, too.
    fn is_mixed_as_it_is(&self, image: &MapImage, pixels: &Pixels) -> bool {
        let is_mixed = self.options.image.format.as_ref().is_some_and(ImageFormat::is_mixed);
        let are_tiles =
            || self.options.sources.iter().all(|source| matches!(source.profile().access, Access::TilesOf(_)));
        is_mixed
            && self.options.watermark.is_none()
            && match image.codec() {
                Some(Codec::Jpeg) => true,
                Some(Codec::Png) => are_tiles() || pixels.has_transparency(),
                _ => false,
            }
    }

    /// All tiles of a meta tile, the wanted ones first. A failure ends it, but spares what is there by then.
    fn make_bulk(
        &self,
        meta: &MetaTile,
        wanted: &[TileCoord],
        dimensions: &Dimensions,
        aim: Aim,
        asked: Asked<'_>,
    ) -> Result<Made, MapError> {
        let mut coords: Vec<TileCoord> = meta.tiles.iter().filter_map(|place| place.tile).collect();
        if aim.purpose == Purpose::Seed {
            // The others are there, or will be asked for.
            coords.retain(|coord| wanted.contains(coord));
        }
        coords.sort_by_key(|coord| !wanted.contains(coord));
        let failure = std::sync::Mutex::new(None);
        let answers = std::sync::Mutex::new(Vec::with_capacity(coords.len()));
        let ended = try_map(&coords, self.options.creation.concurrent_creators, |coord| {
            match self.make_single(*coord, dimensions, aim) {
                Ok(made) => {
                    answers.lock().expect("nobody panics here").push((*coord, made));
                    Ok(())
                }
                Err(error) => {
                    failure.lock().expect("nobody panics here").get_or_insert((*coord, error));
                    Err(())
                }
            }
        });
        asked();
        let answers = answers.into_inner().expect("nobody panics here");
        let failure = failure.into_inner().expect("nobody panics here");
        let empty: Vec<_> = answers.iter().filter(|(_, made)| made.is_none()).map(|(coord, _)| *coord).collect();
        let made = answers.into_iter().filter_map(|(_, made)| made).collect();
        let mut tiles = self.keep(made, dimensions, aim.purpose)?;
        tiles.extend(empty.into_iter().map(|coord| (coord, Ok(Tile::EMPTY))));
        if let Some((coord, error)) = failure {
            tiles.push((coord, Err(Arc::new(error))));
        }
        Ok(Made { tiles, complete: ended.is_ok() && aim.purpose == Purpose::Serve })
    }

    fn make_meta(
        &self,
        meta: &MetaTile,
        dimensions: &Dimensions,
        aim: Aim,
        asked: Asked<'_>,
    ) -> Result<Vec<(Encoded, bool)>, MapError> {
        let grid = &self.options.grid;
        let image = self.ask(meta.bbox, meta.size, dimensions, aim)?;
        asked();
        let Some(image) = image else { return Ok(Vec::new()) };
        let failed = |error| MapError::Image { source_name: self.asked_name(), error };
        let cacheable = image.cacheable();
        let picture = image.pixels().map_err(failed)?;
        drop(image);
        if picture.size() != meta.size {
            return Err(failed(wrong_size(picture.size(), meta.size)));
        }
        let places: Vec<_> = meta.tiles.iter().filter_map(|place| Some((place.tile?, (place.x, place.y)))).collect();
        let options = &self.options.image;
        places
            .into_par_iter()
            .map(|(coord, place)| {
                let mut pixels = tiles::cut(&picture, place, grid.tile_size(), options);
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

    fn query(&self, bbox: Bbox, size: Size, dimensions: &Dimensions, aim: Aim) -> MapQuery {
        let options = &self.options;
        MapQuery {
            bbox,
            size,
            srs: options.grid.srs().clone(),
            format: options.creation.request_format.clone(),
            transparent: options.image.transparent.unwrap_or(false),
            dimensions: Arc::clone(dimensions),
            purpose: aim.purpose,
            kept: true,
            has_stale: aim.has_stale,
        }
    }

    /// The sources' answers, merged.
    fn ask(&self, bbox: Bbox, size: Size, dimensions: &Dimensions, aim: Aim) -> Result<Option<MapImage>, MapError> {
        let options = &self.options;
        let query = self.query(bbox, size, dimensions, aim);
        let clips = |source: &dyn MapSource| source.profile().coverage.as_ref().is_some_and(|coverage| coverage.clip());
        if let Some(bands) = &options.bands {
            return self.ask_for_bands(bands, &query);
        }
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

    /// The picture made of the bands of all sources; `None` as soon as one has nothing to show.
    fn ask_for_bands(&self, bands: &BandMerge, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let images = try_map(&self.options.sources, MAX_SOURCES_AT_ONCE, |source| source.render(query))?;
        let Some(images) = images.into_iter().collect::<Option<Vec<MapImage>>>() else { return Ok(None) };
        let cacheable = images.iter().all(MapImage::cacheable);
        let pixels: Result<Vec<Arc<Pixels>>, ImageError> = images.iter().map(MapImage::pixels).collect();
        let merged = pixels.and_then(|pixels| bands.merge(&pixels));
        let merged = merged.map_err(|error| MapError::Image { source_name: self.asked_name(), error })?;
        Ok(Some(MapImage::from_pixels(merged, Arc::clone(&self.options.image)).with_cacheable(cacheable)))
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
    ) -> Result<Vec<MadeTile>, MapError> {
        let store = self.store_for(dimensions);
        let key = |coord| TileKey { coord, dimensions: Arc::clone(dimensions) };
        let mut stored = false;
        if let Some(store) = store {
            let data: Vec<_> = made
                .iter()
                .filter(|(_, cacheable)| *cacheable)
                .map(|(tile, _)| {
                    (key(tile.coord), TileData { single_color: tile.single_color, ..TileData::new(tile.bytes.clone()) })
                })
                .collect();
            match store.store_many(&data) {
                Ok(()) => stored = true,
                Err(error) if purpose == Purpose::Seed => return Err(self.store_failed(&error)),
                Err(error) => self.is_unkept("new tiles are served but not kept", &error.reason, &error),
            }
        }
        if purpose == Purpose::Seed {
            let tile = |(Encoded { coord, bytes, .. }, cacheable)| {
                (coord, Ok(Tile { bytes: Some(bytes), modified: None, cacheable }))
            };
            return Ok(made.into_iter().map(tile).collect());
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

    /// Tells, not too often, of what tiles can be served without.
    pub(crate) fn is_unkept(&self, what: &str, reason: &str, error: &dyn std::fmt::Display) {
        self.unkept.about(&format!("{what}: {reason}"), |more| {
            log::error!(target: LOG, "cache {}: {what}: {error}{more}", self.options.name);
        });
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use mapproxy_grid::Coverage;
    use mapproxy_image::{Color, ImageOptions};
    use mapproxy_map::dimension::{Dimension, DimensionOptions};

    use super::*;
    use crate::store::FileStore;
    use crate::store::file::LinkSingleColor;
    use crate::store::layout::Layout;
    use crate::testkit::*;
    use crate::{Permissions, RefreshBefore};

    const TILE: TileCoord = TileCoord::new(5, 6, 4);

    fn error_of(result: Result<Tile, MapError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_meta_tile_is_asked_for_once_and_its_tiles_are_kept() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let first = cache.load(TILE).unwrap();
        assert_eq!(cache.number_stored(), 16);
        for (x, y) in (4..8).flat_map(|x| (4..8).map(move |y| (x, y))) {
            let coord = TileCoord::new(x, y, 4);
            let tile = cache.load(coord).unwrap();
            assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
        }
        let again = cache.load_kept(TILE).unwrap();
        assert_eq!((&again.bytes, again.modified), (&first.bytes, first.modified));
        assert!(first.modified.is_some(), "the first answer has the validators of the next");
        let asked = source.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].size, Size::new(1024 + 160, 1024 + 160));
    }

    #[test]
    fn the_buffer_ends_at_the_edge_of_the_grid() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let coord = TileCoord::new(0, 0, 4);
        let tile = cache.load(coord).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
        let asked = source.asked().remove(0);
        assert_eq!(asked.size, Size::new(1024 + 80, 1024 + 80));
        assert_eq!((asked.bbox.min_x, asked.bbox.min_y), (-HALF, -HALF));
    }

    #[test]
    fn a_level_smaller_than_a_meta_tile_is_asked_for_as_it_is() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let coord = TileCoord::new(1, 0, 1);
        let tile = cache.load(coord).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
        assert_eq!(source.asked()[0].size, Size::new(512, 512));
        assert_eq!(cache.number_stored(), 4);
    }

    #[test]
    fn a_buffer_alone_makes_a_meta_tile_of_one_tile() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).with(|options| options.creation.meta_size = (1, 1)).build();
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
        assert_eq!(source.asked()[0].size, Size::new(416, 416));
        assert_eq!(cache.number_stored(), 1);
    }

    #[test]
    fn a_stampede_asks_once_and_all_get_the_tile() {
        let source = Arc::new(FakeSource::new(|query| {
            std::thread::sleep(Duration::from_millis(150));
            Ok(Some(world(query)))
        }));
        let cache = cache(&[&source]).build();
        let start = Barrier::new(64);
        let tiles: Vec<Tile> = std::thread::scope(|scope| {
            // All tiles of one meta tile, four times each.
            let ask = |n: u32| {
                let (cache, start) = (&cache, &start);
                move || {
                    start.wait();
                    cache.load(TileCoord::new(4 + n % 4, 4 + n / 4 % 4, 4)).unwrap()
                }
            };
            let threads: Vec<_> = (0..64).map(|n| scope.spawn(ask(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(source.times_asked(), 1);
        for (n, tile) in tiles.iter().enumerate() {
            assert_eq!((&tile.bytes, tile.modified), (&tiles[n % 16].bytes, tiles[n % 16].modified));
        }
    }

    #[test]
    fn those_who_waited_for_a_failure_do_not_ask_again() {
        let source = Arc::new(FakeSource::new(|_| {
            std::thread::sleep(Duration::from_millis(150));
            Err(upstream_error())
        }));
        let cache = cache(&[&source]).build();
        let start = Barrier::new(32);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    start.wait();
                    assert!(error_of(cache.load(TILE)).contains("HTTP Error"));
                });
            }
        });
        assert_eq!(source.times_asked(), 1);
        cache.load(TILE).unwrap_err();
        assert_eq!(source.times_asked(), 2, "a later request tries anew");
    }

    #[test]
    fn another_process_waits_and_finds_the_tile() {
        let source = Arc::new(FakeSource::new(|query| {
            std::thread::sleep(Duration::from_millis(100));
            Ok(Some(world(query)))
        }));
        let base = Arc::new(tempfile::tempdir().unwrap());
        let caches: Vec<_> = (0..4).map(|_| cache_in(Arc::clone(&base), &[&source]).build()).collect();
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for cache in &caches {
                scope.spawn(|| {
                    start.wait();
                    assert!(cache.load(TILE).unwrap().bytes.is_some());
                });
            }
        });
        assert_eq!(source.times_asked(), 1);
        assert_eq!(files_below(&base.path().join("locks")), 0);
    }

    #[test]
    fn requests_for_different_meta_tiles_are_all_in_flight_at_once() {
        let all = Arc::new(Barrier::new(16));
        let source = {
            let all = Arc::clone(&all);
            // Each waits inside of the source until all others are there, too.
            Arc::new(FakeSource::new(move |query| {
                all.wait();
                Ok(Some(world(query)))
            }))
        };
        let cache = cache(&[&source]).build();
        std::thread::scope(|scope| {
            for n in 0..16 {
                let cache = &cache;
                scope.spawn(move || cache.load(TileCoord::new(n % 4 * 4, n / 4 * 4, 4)).unwrap());
            }
        });
        assert_eq!(source.times_asked(), 16);
    }

    #[test]
    fn one_request_makes_several_meta_tiles_at_once_but_not_too_many() {
        let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let source = {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            Arc::new(FakeSource::new(move |query| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(60));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Some(world(query)))
            }))
        };
        let cache = cache(&[&source]).build();
        let coords: Vec<_> = (0..4).map(|n| Some(TileCoord::new(n * 4, 0, 4))).collect();
        let tiles = cache.manager.load_many(&coords, &no_dimensions(), Purpose::Serve).unwrap();
        assert!(tiles.iter().all(|tile| tile.bytes.is_some()));
        assert_eq!((source.times_asked(), most.load(Ordering::SeqCst)), (4, 2));
    }

    #[test]
    fn missing_tiles_of_a_map_can_be_one_request() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).with(|options| options.creation.minimize_meta_requests = true).build();
        let coords = [(3, 3), (4, 3), (3, 4), (4, 4)].map(|(x, y)| Some(TileCoord::new(x, y, 4)));
        let tiles = cache.manager.load_many(&coords, &no_dimensions(), Purpose::Serve).unwrap();
        for (tile, coord) in tiles.into_iter().zip(coords) {
            assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord.unwrap()), 0);
        }
        let asked = source.asked();
        assert_eq!((asked.len(), asked[0].size), (1, Size::new(672, 672)));
        assert_eq!(cache.number_stored(), 4);
    }

    #[test]
    fn a_single_tile_is_kept_as_its_source_gave_it() {
        let bytes = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256)));
        let source = Arc::new(FakeSource::file(bytes.clone()).of_tiles());
        let cache = cache(&[&source]).build();
        assert_eq!(cache.load(TILE).unwrap().bytes, Some(bytes.clone()));
        assert_eq!(cache.stored(TILE).unwrap(), bytes);
        assert_eq!(cache.number_stored(), 1);
        assert_eq!(source.asked()[0].bbox, grid().tile_bbox(TILE));
    }

    #[test]
    fn a_single_tile_of_another_format_is_converted() {
        let pixels = world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256));
        let jpeg = mapproxy_image::codec::encode(&pixels, &ImageOptions::new(ImageFormat::jpeg()), None).unwrap();
        let source = Arc::new(FakeSource::file(jpeg.bytes).of_tiles());
        let cache = cache(&[&source]).build();
        let tile = cache.load(TILE).unwrap();
        assert_eq!(tile.codec(), Some(Codec::Png));
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 12);
    }

    #[test]
    fn a_mixed_cache_keeps_the_jpegs_and_pngs_of_tile_sources_as_they_come() {
        let opaque = world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256));
        let glass = Pixels::filled(Size::new(256, 256), PixelMode::Rgba, Color([200, 10, 10, 128]));
        let file = |pixels: &Pixels, name: &str| {
            let options = ImageOptions::new(ImageFormat::new(name)).with_transparent(pixels.has_transparency());
            mapproxy_image::codec::encode(pixels, &options, None).unwrap().bytes
        };
        // Maps are drawn for the cache: opaque ones become JPEG. `None`: as it came.
        for (bytes, of_tiles, becomes) in [
            (file(&opaque, "image/jpeg"), true, None),
            (file(&opaque, "image/png"), true, None),
            (file(&glass, "image/png"), true, None),
            (file(&opaque, "image/gif"), true, Some(Codec::Jpeg)),
            (file(&opaque, "image/jpeg"), false, None),
            (file(&opaque, "image/png"), false, Some(Codec::Jpeg)),
            (file(&glass, "image/png"), false, None),
        ] {
            let came_as = Codec::sniff(&bytes);
            let source = FakeSource::file(bytes.clone());
            let source = Arc::new(if of_tiles { source.of_tiles() } else { source });
            let cache = cache(&[&source]).with(|options| {
                options.image = Arc::new(ImageOptions::new(ImageFormat::new("mixed")).with_transparent(true));
                (options.creation.meta_size, options.creation.meta_buffer) = ((1, 1), 0);
            });
            let tile = cache.build().load(TILE).unwrap();
            match becomes {
                None => assert_eq!(tile.bytes, Some(bytes), "{came_as:?} of tiles: {of_tiles}"),
                Some(codec) => assert_eq!(tile.codec(), Some(codec), "{came_as:?} of tiles: {of_tiles}"),
            }
        }
    }

    #[test]
    fn what_is_no_whole_picture_of_a_tile_is_never_kept() {
        let whole = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256)));
        let small = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(255, 256)));
        let html = Bytes::from_static(b"<html><body>Service Unavailable</body></html>");
        for bytes in
            [whole.slice(..whole.len() / 2), Bytes::new(), html, small, Bytes::from_static(b"\x89PNG\r\n\x1a\n")]
        {
            for of_tiles in [true, false] {
                let source = FakeSource::file(bytes.clone());
                let source = Arc::new(if of_tiles { source.of_tiles() } else { source });
                let cache = cache(&[&source]).build();
                let error = cache.load(TILE).unwrap_err();
                assert!(matches!(error, MapError::Image { .. }), "{error}");
                assert_eq!(cache.number_stored(), 0);
            }
        }
    }

    #[test]
    fn tile_sources_can_be_asked_for_a_whole_meta_tile() {
        let source = Arc::new(FakeSource::world().of_tiles());
        let cache = cache(&[&source]).with(|options| options.creation.bulk_meta_tiles = true).build();
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
        assert_eq!((source.times_asked(), cache.number_stored()), (16, 16));
        assert_eq!(source.asked()[0].bbox, grid().tile_bbox(TILE), "the tile somebody waits for comes first");
    }

    #[test]
    fn a_neighbour_that_fails_costs_a_bulk_tile_nothing() {
        let wanted = grid().tile_bbox(TILE);
        let source = Arc::new(
            FakeSource::new(
                move |query| if query.bbox == wanted { Ok(Some(world(query))) } else { Err(upstream_error()) },
            )
            .of_tiles(),
        );
        let cache = cache(&[&source]).with(|options| options.creation.bulk_meta_tiles = true).build();
        assert!(cache.load(TILE).unwrap().bytes.is_some());
        assert_eq!(cache.number_stored(), 1);
        assert!(source.times_asked() <= 3, "a failing server is left alone");
        assert!(cache.load(TileCoord::new(4, 4, 4)).is_err());
    }

    #[test]
    fn meta_tiles_of_tile_sources_and_others_together_are_refused() {
        let (boxes, tiles) = (Arc::new(FakeSource::world()), Arc::new(FakeSource::world().of_tiles()));
        let error = TileManager::new(cache(&[&boxes, &tiles]).options).unwrap_err();
        assert!(error.contains("meta tiling configured but not supported by all sources"), "{error}");
        let single = cache(&[&boxes, &tiles]).with(|options| {
            options.creation.meta_size = (1, 1);
            options.creation.meta_buffer = 0;
        });
        assert!(single.build().load(TILE).unwrap().bytes.is_some());
    }

    #[test]
    fn a_stand_in_for_a_failed_source_is_served_but_not_kept() {
        let source = Arc::new(FakeSource::new(|query| Ok(Some(world(query).with_cacheable(false)))));
        let cache = cache(&[&source]).build();
        let tile = cache.load(TILE).unwrap();
        assert!(tile.bytes.is_some() && !tile.cacheable && tile.modified.is_none());
        assert_eq!(cache.number_stored(), 0);
    }

    #[test]
    fn where_a_source_has_nothing_nothing_is_kept() {
        let source = Arc::new(FakeSource::new(|_| Ok(None)));
        let cache = cache(&[&source]).build();
        assert!(cache.load(TILE).unwrap().bytes.is_none());
        assert_eq!(cache.number_stored(), 0);
    }

    #[test]
    fn where_several_sources_have_nothing_an_empty_tile_is_kept() {
        let (below, above) = (Arc::new(FakeSource::new(|_| Ok(None))), Arc::new(FakeSource::new(|_| Ok(None))));
        let cache = cache(&[&below, &above]).build();
        assert!(cache.load(TILE).unwrap().bytes.is_some());
        assert_eq!(cache.number_stored(), 16);
    }

    #[test]
    fn sources_are_asked_at_once_and_merged_bottom_to_top() {
        let both = Arc::new(Barrier::new(2));
        let solid = |color: Color| {
            let both = Arc::clone(&both);
            Arc::new(FakeSource::new(move |query| {
                both.wait();
                Ok(Some(MapImage::from_pixels(Pixels::filled(query.size, PixelMode::Rgb, color), options())))
            }))
        };
        let cache = cache(&[&solid(Color::rgb(255, 0, 0)), &solid(Color::rgb(0, 0, 255))]).build();
        let tile = cache.load(TILE).unwrap();
        assert_eq!(decode(&tile.bytes.unwrap()).pixel(100, 100), [0, 0, 255, 255]);
    }

    #[test]
    fn one_failing_source_of_several_fails_the_tile() {
        let (good, bad) = (Arc::new(FakeSource::world()), Arc::new(FakeSource::failing()));
        let cache = cache(&[&good, &bad]).build();
        assert!(error_of(cache.load(TILE)).contains("HTTP Error"));
        assert_eq!(cache.number_stored(), 0);
    }

    #[test]
    fn a_full_disk_costs_a_client_nothing_but_stops_a_seed() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).with(|options| options.store = Some(Arc::new(FullStore))).build();
        let tile = cache.load(TILE).unwrap();
        assert!(tile.bytes.is_some() && tile.modified.is_none());
        let seeded = cache.manager.load_many(&[Some(TILE)], &no_dimensions(), Purpose::Seed);
        assert!(matches!(seeded, Err(MapError::Store { .. })));
    }

    #[test]
    fn what_a_process_left_behind_that_died_is_swept_away() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let (dead, alive) =
            (cache.directory.join("4/5/7.png.tmp-dEaD01"), cache.directory.join("4/9/7.png.tmp-aLiVe1"));
        for path in [&dead, &alive] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "half a tile").unwrap();
        }
        let locker = cache.manager.options.locker.as_ref().unwrap();
        std::fs::create_dir_all(&locker.directory).unwrap();
        std::fs::write(locker.path(TileCoord::new(4, 4, 4), &no_dimensions()), " 1\n").unwrap();
        cache.load(TILE).unwrap();
        assert!(!dead.exists() && alive.exists());

        let stale = locker.path(TileCoord::new(8, 4, 4), &no_dimensions());
        std::fs::write(&stale, " 1\n").unwrap();
        let file = std::fs::File::options().write(true).open(&stale).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        for x in 0..LOCKS_PER_CLEANING {
            cache.load(TileCoord::new(x * 4, 0, 8)).unwrap();
        }
        assert!(!alive.exists() && !stale.exists());
    }

    #[test]
    fn where_no_lock_can_be_made_tiles_are_made_without() {
        let source = Arc::new(FakeSource::world());
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("file"), "").unwrap();
        let directory = base.path().join("file/locks");
        let cache = cache(&[&source]).with(|options| options.locker.as_mut().unwrap().directory = directory).build();
        assert!(cache.load(TILE).unwrap().bytes.is_some());
        assert_eq!((source.times_asked(), cache.number_stored()), (1, 16));
    }

    /// Has vector tiles: one with a layer called `roads` in the west, nothing in the east; fails beyond level 10.
    #[derive(Debug)]
    struct FakeData(mapproxy_map::SourceProfile, AtomicU32);

    const VECTOR: &[u8] = b"\x1a\x0c\x0a\x05roads\x28\x80\x20\x78\x02";

    impl mapproxy_map::data::DataSource for FakeData {
        fn profile(&self) -> &mapproxy_map::SourceProfile {
            &self.0
        }
        fn data(&self, query: &MapQuery, format: &mapproxy_map::data::DataFormat) -> Result<DataTile, MapError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            assert_eq!(format.extension(), "pbf");
            match (query.bbox.min_x < 0.0, query.resolution() > 100.0) {
                (true, true) => Ok(DataTile { bytes: Some(Bytes::from_static(VECTOR)), cacheable: true }),
                (true, false) => Err(upstream_error()),
                (false, true) => Ok(DataTile::EMPTY),
                (false, false) => Ok(DataTile { bytes: None, cacheable: false }),
            }
        }
    }

    #[test]
    fn tiles_of_data_are_kept_as_they_come_and_checked_when_they_are_read() {
        let source = Arc::new(FakeData(mapproxy_map::SourceProfile::new("data", options()), AtomicU32::new(0)));
        let format = mapproxy_map::data::DataFormat::named("pbf").unwrap();
        let data = DataTiles { format, source: Some(Arc::clone(&source) as _) };
        let cache = cache(&[]).with(|options| options.data = Some(data.clone())).build();
        for _ in 0..2 {
            let tile = cache.load(TILE).unwrap();
            assert_eq!((tile.bytes.as_deref(), tile.modified.is_some()), (Some(VECTOR), true));
        }
        assert_eq!(source.1.load(Ordering::SeqCst), 1);
        assert_eq!(cache.load_kept(TILE).unwrap().bytes.as_deref(), Some(VECTOR));
        cache.put(TILE, &VECTOR[..9]);
        assert!(cache.load_kept(TILE).is_none());
        assert_eq!(cache.load(TILE).unwrap().bytes.as_deref(), Some(VECTOR));

        let east = cache.load(TileCoord::new(9, 6, 4)).unwrap();
        assert!(east.bytes.is_none() && east.cacheable);
        assert!(cache.load(TileCoord::new(1, 1, 11)).is_err());
        let stand_in = cache.load(TileCoord::new(2000, 1, 11)).unwrap();
        assert!(stand_in.bytes.is_none() && !stand_in.cacheable);
        assert_eq!(cache.number_stored(), 1);

        let marked = self::cache(&[]).with(|options| {
            options.data = Some(data);
            options.rescaling = Some(crate::Rescaling::Up(1));
        });
        assert!(TileManager::new(marked.options).unwrap_err().contains("pbf tiles are passed on as they are"));
    }

    #[test]
    fn without_storage_each_request_asks() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source])
            .with(|options| {
                options.store = None;
                options.locker = None;
            })
            .build();
        for _ in 0..2 {
            let tile = cache.load(TILE).unwrap();
            assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
        }
        assert_eq!((source.times_asked(), cache.number_stored()), (2, 0));
    }

    #[test]
    fn an_old_tile_is_made_anew_and_served_while_its_source_fails() {
        let fails = Arc::new(AtomicBool::new(false));
        let source = {
            let fails = Arc::clone(&fails);
            Arc::new(FakeSource::new(move |query| {
                if fails.load(Ordering::SeqCst) { Err(upstream_error()) } else { Ok(Some(world(query))) }
            }))
        };
        let cache = cache(&[&source])
            .with(|options| options.refresh_before = Some(RefreshBefore::Age(Duration::from_secs(3600))))
            .build();
        let make_old = || {
            let file = std::fs::File::options().write(true).open(cache.path(TILE)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
        };
        cache.load(TILE).unwrap();
        assert!(cache.load_kept(TILE).is_some());
        make_old();
        assert!(cache.load_kept(TILE).is_none());
        let renewed = cache.load(TILE).unwrap();
        assert_eq!(source.times_asked(), 2);
        assert!(renewed.modified.unwrap().elapsed().unwrap() < Duration::from_secs(60));

        make_old();
        fails.store(true, Ordering::SeqCst);
        let old = cache.load(TILE).unwrap();
        assert_eq!(old.bytes, renewed.bytes);
        assert!(!old.cacheable, "nobody should keep a tile known to be too old");
        assert_eq!(source.times_asked(), 3);
        assert!(cache.load(TileCoord::new(0, 0, 4)).is_err(), "there is no old tile here");
    }

    #[test]
    fn only_tiles_meeting_the_coverage_are_asked_for() {
        let source = Arc::new(FakeSource::world());
        let north_east = Coverage::from_bbox(Bbox::new(1.0, 1.0, HALF, HALF), grid().srs().clone());
        let cache = cache(&[&source]).with(|options| options.coverage = Some(north_east)).build();
        let outside = TileCoord::new(1, 1, 4);
        assert!(cache.load_kept(outside).unwrap().bytes.is_none());
        assert!(cache.load(outside).unwrap().bytes.is_none());
        assert_eq!(source.times_asked(), 0);
        assert!(cache.load(TileCoord::new(8, 8, 4)).unwrap().bytes.is_some());
        assert_eq!(source.times_asked(), 1);
    }

    #[test]
    fn dimensions_are_asked_for_and_kept_apart() {
        let source = Arc::new(FakeSource::world());
        let values = vec!["2020".to_owned(), "2021".to_owned()];
        let years = Dimension::new(&DimensionOptions { name: "time".to_owned(), values, ..Default::default() });
        let years = Arc::new(years.unwrap());
        let cache = cache(&[&source]).with(|options| options.announced = vec![years]).build();
        let dated = |time: &str| Dimensions::from([("time".to_owned(), time.to_owned())]);
        for time in ["2020", "2021", "2020", "2022", "2022", "../.."] {
            assert!(cache.manager.load(TILE, &dated(time)).unwrap().bytes.is_some());
        }
        let times: Vec<_> = source.asked().iter().map(|query| query.dimensions[0].1.clone()).collect();
        assert_eq!(times, ["2020", "2021", "2022", "2022", "../.."], "what nobody announces is not kept");
        let kept: Vec<_> =
            std::fs::read_dir(&cache.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(kept.iter().all(|name| name == "time-2020" || name == "time-2021" || name == "tile_locks"), "{kept:?}");
        assert!(cache.directory.join("time-2020/4/5/6.png").exists());
    }

    #[test]
    fn tiles_of_one_color_are_linked() {
        let red = Color::rgb(255, 1, 5);
        let source = Arc::new(FakeSource::new(move |query| {
            Ok(Some(MapImage::from_pixels(Pixels::filled(query.size, PixelMode::Rgb, red), options())))
        }));
        let base = tempfile::tempdir().unwrap();
        let store = FileStore {
            directory: base.path().to_owned(),
            extension: "png".to_owned(),
            layout: Layout::Tms,
            link_single_color: LinkSingleColor::Symlink,
            permissions: Permissions::default(),
        };
        let cache = cache(&[&source]).with(|options| options.store = Some(Arc::new(store))).build();
        let made = cache.load(TILE).unwrap();
        let link = std::fs::read_link(base.path().join("4/5/6.png")).unwrap();
        assert_eq!(link, std::path::Path::new("../../single_color_tiles/ff0105.png"));
        assert_eq!(cache.load_kept(TILE).unwrap().modified, made.modified);
    }

    #[test]
    fn a_tile_removed_from_a_meta_tile_comes_back() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let neighbour = TileCoord::new(4, 7, 4);
        cache.load(TILE).unwrap();
        std::fs::remove_file(cache.path(neighbour)).unwrap();
        assert!(cache.load(neighbour).unwrap().bytes.is_some());
        assert_eq!((source.times_asked(), cache.number_stored()), (2, 16));
    }

    #[test]
    fn another_process_makes_tiles_where_there_is_one() {
        let source = Arc::new(FakeSource::world());
        let base = Arc::new(tempfile::tempdir().unwrap());
        // The other one: makes what it is asked for, in the same directory.
        let other = cache_in(Arc::clone(&base), &[&source]).build();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let client = {
            let asked = Arc::clone(&asked);
            mapproxy_client::testkit::ScriptedClient::new(move |request| {
                let body = String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap();
                asked.lock().unwrap().push(body);
                other.load(TileCoord::new(4, 4, 4)).unwrap();
                Ok(mapproxy_client::testkit::response("application/json", r#"{"status": "ok"}"#))
            })
        };
        let own = Arc::new(FakeSource::failing());
        let renderd = crate::Renderd::new("http://renderd".to_owned(), Arc::new(client));
        let cache = cache_in(base, &[&own]).with(|options| options.renderd = Some(renderd)).build();
        assert!(cache.load(TILE).unwrap().bytes.is_some());
        assert!(cache.load(TileCoord::new(4, 7, 4)).unwrap().bytes.is_some());
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "its neighbour was made with it");
        assert!(asked[0].contains(r#""tiles": [[4, 4, 4]], "cache_identifier": "test_test""#), "{asked:?}");
        assert_eq!((own.times_asked(), source.times_asked()), (0, 1));
    }
}
