//! Tiles made to be kept: what seeding asks of a tile manager.
//!
//! Nothing is read that is there: a look tells whether a tile is stored and young enough. What is missing is made as for a
//! client, under the same locks, so that a server and who fills its cache do not do the same work twice; after locking the
//! store is looked at once more. A damaged tile is there as far as a look can tell.

use std::sync::Arc;
use std::time::SystemTime;

use mapproxy_grid::TileCoord;
use mapproxy_map::{Dimensions, MapError, Purpose};

use crate::creator::Filled;
use crate::refresh::is_expired;
use crate::store::{Look, TileStore};
use crate::{TileKey, TileManager};

/// Which tiles are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Making {
    /// Those stored at this moment or before are made anew, and all where the store knows no times; `None`: only missing
    /// ones are made. The cache's own `refresh_before` counts, too.
    pub oldest: Option<SystemTime>,
    /// Only tiles that are there are made anew; missing ones stay missing.
    pub only_stored: bool,
}

/// What came of tiles that were to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MadeTiles {
    /// Made and stored now.
    pub made: u64,
    /// There already, and young enough; those made by others in the meantime, too.
    pub kept: u64,
    /// Not there, and rightly so: outside of the cache's coverage, nothing there in any source, a stand-in of a failed
    /// source that is not to be kept (`on_error`), or missing where only those that are there were wanted.
    pub empty: u64,
    /// Size of the tiles made.
    pub bytes: u64,
}

/// What the store has for a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Young,
    Old,
    Missing,
}

impl TileManager {
    /// Makes tiles of one level that are missing or too old, and stores them; best those of one meta tile, which are made
    /// together. All of them are stored when this returns, or it is an error.
    ///
    /// `asked` may be called before: when the sources have answered, and decoding, cutting, encoding and storing are left.
    /// Who limits what the sources are asked at once lets the next one ask then.
    pub fn make(
        &self,
        coords: &[TileCoord],
        dimensions: &Dimensions,
        making: Making,
        asked: &(dyn Fn() + Sync),
    ) -> Result<MadeTiles, MapError> {
        let Some(store) = self.store_for(dimensions) else {
            let reason = "it keeps no tiles that could be made beforehand (disable_storage)".to_owned();
            return Err(MapError::Store { cache: Arc::clone(self.name()), reason });
        };
        let mut places = Vec::with_capacity(coords.len());
        for coord in coords {
            if self.has_something_at(*coord)? {
                places.push(*coord);
            }
        }
        // Tiles that nobody can make anew are never too old.
        let is_lasting = self.is_stored_only() && self.options.rescaling.is_none();
        let oldest = if is_lasting { None } else { making.oldest.max(self.oldest()) };
        let is_wanted = |state: State| match state {
            State::Young => false,
            State::Old => true,
            State::Missing => !making.only_stored,
        };
        let states = self.states(store, &places, dimensions, oldest)?;
        let mut tally = MadeTiles { empty: (coords.len() - places.len()) as u64, ..MadeTiles::default() };
        let mut wanted = Vec::new();
        for (coord, state) in places.into_iter().zip(states) {
            match state {
                _ if is_wanted(state) => wanted.push(coord),
                State::Missing => tally.empty += 1,
                State::Young | State::Old => tally.kept += 1,
            }
        }
        if wanted.is_empty() {
            return Ok(tally);
        }
        let look = |coords: &[TileCoord]| {
            let states = self.states(store, coords, dimensions, oldest)?;
            Ok(states.into_iter().map(is_wanted).collect())
        };
        let filled = self.fill(&wanted, dimensions, look, asked)?;
        for (coord, filled) in wanted.into_iter().zip(filled) {
            match filled {
                Filled::Made(bytes) => tally.add(bytes),
                Filled::ByOthers => tally.kept += 1,
                Filled::Nothing => match self.fill_rescaled(coord, dimensions)? {
                    Some(bytes) => tally.add(bytes),
                    None => tally.empty += 1,
                },
            }
        }
        Ok(tally)
    }

    /// A tile of those of other levels, stored; its size.
    fn fill_rescaled(&self, coord: TileCoord, dimensions: &Dimensions) -> Result<Option<u64>, MapError> {
        let Some(rescaling) = self.options.rescaling.filter(|_| self.options.cache_rescaled_tiles) else {
            return Ok(None);
        };
        let tile = self.rescale(coord, rescaling, dimensions, Purpose::Seed)?.filter(|tile| tile.cacheable);
        Ok(tile.and_then(|tile| tile.bytes).map(|bytes| bytes.len() as u64))
    }

    fn states(
        &self,
        store: &dyn TileStore,
        coords: &[TileCoord],
        dimensions: &Dimensions,
        oldest: Option<SystemTime>,
    ) -> Result<Vec<State>, MapError> {
        let key = |coord: &TileCoord| TileKey { coord: *coord, dimensions: Arc::clone(dimensions) };
        let keys: Vec<TileKey> = coords.iter().map(key).collect();
        let look = if oldest.is_some() { Look::Times } else { Look::Presence };
        let stored = store.times(&keys, look).map_err(|error| self.store_failed(&error))?;
        let state = |stored: Option<crate::store::Stored>| match stored {
            None => State::Missing,
            Some(stored) if is_expired(stored.modified, oldest) => State::Old,
            Some(_) => State::Young,
        };
        Ok(stored.into_iter().map(state).collect())
    }
}

impl MadeTiles {
    fn add(&mut self, bytes: u64) {
        self.made += 1;
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use mapproxy_grid::{Bbox, Coverage};

    use super::*;
    use crate::Rescaling;
    use crate::testkit::*;

    /// The tiles of a meta tile.
    fn meta_tile() -> Vec<TileCoord> {
        (4..8).flat_map(|y| (4..8).map(move |x| TileCoord::new(x, y, 4))).collect()
    }

    fn make(cache: &TestCache, making: Making) -> Result<MadeTiles, MapError> {
        cache.manager.make(&meta_tile(), &no_dimensions(), making, &|| {})
    }

    #[test]
    fn a_meta_tile_is_made_if_any_of_its_tiles_is_missing_and_only_then() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let made = make(&cache, Making::default()).unwrap();
        assert_eq!((made.made, made.kept, made.empty), (16, 0, 0));
        let stored = meta_tile().into_iter().map(|coord| cache.stored(coord).unwrap().len() as u64);
        assert_eq!(made.bytes, stored.sum::<u64>());
        assert_eq!(make(&cache, Making::default()).unwrap(), MadeTiles { kept: 16, ..MadeTiles::default() });
        assert_eq!(source.times_asked(), 1);
        // Its first tile is there, another is not.
        std::fs::remove_file(cache.path(TileCoord::new(6, 7, 4))).unwrap();
        let made = make(&cache, Making::default()).unwrap();
        assert_eq!((made.made, made.kept, source.times_asked()), (1, 15, 2));
        assert!(cache.stored(TileCoord::new(6, 7, 4)).is_some());
    }

    #[test]
    fn the_sources_are_done_with_before_anything_is_stored() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let (told, stored) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        let asked = || {
            told.fetch_add(source.times_asked() as u32, Ordering::SeqCst);
            stored.store(cache.number_stored() as u32, Ordering::SeqCst);
        };
        cache.manager.make(&meta_tile(), &no_dimensions(), Making::default(), &asked).unwrap();
        assert_eq!((told.into_inner(), stored.into_inner(), cache.number_stored()), (1, 0, 16));
    }

    #[test]
    fn old_tiles_are_made_anew_and_young_ones_stay() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        make(&cache, Making::default()).unwrap();
        let hour = Duration::from_secs(3600);
        let before = |moment: SystemTime| Making { oldest: Some(moment), ..Making::default() };
        assert_eq!(make(&cache, before(SystemTime::now() - hour)).unwrap().kept, 16);
        assert_eq!(make(&cache, before(SystemTime::now() + hour)).unwrap().made, 16);
        assert_eq!(source.times_asked(), 2);
    }

    #[test]
    fn where_only_stored_tiles_are_wanted_missing_ones_stay_missing() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let making = Making { oldest: Some(SystemTime::now() + Duration::from_secs(60)), only_stored: true };
        assert_eq!(make(&cache, making).unwrap(), MadeTiles { empty: 16, ..MadeTiles::default() });
        assert_eq!(source.times_asked(), 0);
        cache.put_world(TileCoord::new(5, 5, 4));
        let made = make(&cache, making).unwrap();
        assert_eq!((made.made, made.empty, source.times_asked()), (1, 15, 1));
    }

    #[test]
    fn what_no_source_has_and_what_lies_outside_is_empty() {
        let nothing = Arc::new(FakeSource::new(|_| Ok(None)));
        assert_eq!(make(&cache(&[&nothing]).build(), Making::default()).unwrap().empty, 16);
        let source = Arc::new(FakeSource::world());
        let east = Coverage::from_bbox(Bbox::new(HALF / 8.0, -HALF, HALF, HALF), grid().srs().clone());
        let cache = cache(&[&source]).with(|options| options.coverage = Some(east)).build();
        let made = make(&cache, Making::default()).unwrap();
        assert_eq!((made.made + made.kept + made.empty, source.times_asked()), (16, 0));
    }

    #[test]
    fn a_failing_source_and_a_store_that_cannot_write_are_errors() {
        let source = Arc::new(FakeSource::failing());
        assert!(make(&cache(&[&source]).build(), Making::default()).is_err());
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let file = cache.path(TileCoord::new(4, 4, 4));
        std::fs::create_dir_all(file.parent().unwrap().parent().unwrap()).unwrap();
        std::fs::write(file.parent().unwrap(), "in the way").unwrap();
        let error = make(&cache, Making::default()).unwrap_err();
        assert!(matches!(error, MapError::Store { .. }), "{error}");
    }

    #[test]
    fn tiles_of_other_levels_fill_what_is_missing_if_they_are_to_be_kept() {
        for keep in [false, true] {
            let cache = cache(&[]).with(|options| {
                options.rescaling = Some(Rescaling::Up(2));
                options.cache_rescaled_tiles = keep;
            });
            let cache = cache.build();
            cache.put_world(TileCoord::new(1, 1, 2));
            let made = make(&cache, Making::default()).unwrap();
            assert_eq!((made.made, made.empty), if keep { (16, 0) } else { (0, 16) });
        }
    }

    #[test]
    fn what_somebody_else_makes_meanwhile_is_not_made_again() {
        let source = Arc::new(FakeSource::new(|query| {
            std::thread::sleep(Duration::from_millis(50));
            Ok(Some(world(query)))
        }));
        let cache = cache(&[&source]).build();
        let made: Vec<MadeTiles> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| make(&cache, Making::default()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(source.times_asked(), 1);
        assert_eq!(made.iter().map(|made| made.made).sum::<u64>(), 16);
        assert!(made.iter().all(|made| made.made + made.kept == 16));
    }
}
