//! Creates missing tiles: lock, ask the sources, cut, encode, store.
//!
//! Two locks keep work from being done twice: a flight joins the threads of this process (they share the result, a
//! failure included), a lock file excludes other processes. After locking, the store is looked at again: somebody may
//! have been faster. Encoding goes to all cores (rayon); no lock is taken and nothing is read or written in there.

mod draw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use mapproxy_grid::{MetaGrid, MetaTile, TileCoord};
use mapproxy_map::{Dimensions, MapError, Purpose};

use self::draw::Encoded;
use crate::flight::{Flights, Flown};
use crate::manager::LOG;
use crate::parallel::try_map;
use crate::store::TileData;
use crate::{LockError, Renderd, Tile, TileKey, TileLock, TileLocker, TileManager};

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

    /// Tells, not too often, of what tiles can be served without.
    pub(crate) fn is_unkept(&self, what: &str, reason: &str, error: &dyn std::fmt::Display) {
        self.unkept.about(&format!("{what}: {reason}"), |more| {
            log::error!(target: LOG, "cache {}: {what}: {error}{more}", self.options.name);
        });
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

/// The error itself if nobody else has it.
fn unshare(error: Arc<MapError>) -> MapError {
    Arc::try_unwrap(error).unwrap_or_else(MapError::Shared)
}

#[cfg(test)]
mod tests;
