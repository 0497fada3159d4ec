//! The tiles of one cache in one grid: loaded where they are kept and fresh, created otherwise.
//!
//! A tile outside of the cache's coverage is empty. What the store has is served unless it is too old; the rest is
//! created (`creator`), what nobody could draw is taken from other levels (`rescale.rs`). A tile too old is still
//! served when its sources fail. What is stored, but is no whole picture, is never served: it counts as missing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mapproxy_grid::{Coverage, MetaGrid, TileCoord, TileGrid};
use mapproxy_image::bands::BandMerge;
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, codec, mask};
use mapproxy_map::data::{DataFormat, DataSource};
use mapproxy_map::dimension::{Dimension, is_same_dimension};
use mapproxy_map::{Access, Dimensions, MapError, MapSource, Purpose};
use mapproxy_trace::{self as trace, Place};

use crate::complaints::Complaints;
use crate::creator::{Creator, Mode};
use crate::refresh::is_expired;
use crate::store::{AtOnce, StoreError, StoredTile, TileStore};
use crate::{RefreshBefore, Renderd, Tile, TileKey, TileLocker, Watermark};

/// Target of the log.
pub(crate) const LOG: &str = "mapproxy.cache.tile";

/// How missing tiles are created.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Tiles of a meta tile in x and y.
    pub meta_size: (u32, u32),
    /// Pixels around a meta tile.
    pub meta_buffer: u32,
    /// Tile sources are asked for a whole meta tile's tiles at once.
    pub bulk_meta_tiles: bool,
    /// One request for the missing tiles of a map instead of one for each meta tile.
    pub minimize_meta_requests: bool,
    /// Meta tiles (or bulk tiles) created at once.
    pub concurrent_creators: usize,
    /// What sources are asked for.
    pub request_format: ImageFormat,
}

/// Missing tiles from other levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescaling {
    /// From up to so many coarser levels.
    Up(u8),
    /// From up to so many finer levels.
    Down(u8),
}

/// Tiles that are no pictures: kept and served as they come.
#[derive(Clone, Debug)]
pub struct DataTiles {
    /// Their format.
    pub format: DataFormat,
    /// Who has the missing ones; `None`: only what is stored.
    pub source: Option<Arc<dyn DataSource>>,
}

/// The parts of a [`TileManager`].
#[derive(Debug)]
pub struct ManagerOptions {
    /// Name of the cache in the configuration.
    pub name: Arc<str>,
    /// The grid.
    pub grid: Arc<TileGrid>,
    /// Where tiles are kept; `None`: `disable_storage`.
    pub store: Option<Arc<dyn TileStore>>,
    /// Locks; `None` with `disable_storage`.
    pub locker: Option<TileLocker>,
    /// Another process that makes missing tiles in place of this one. It knows nothing of dimensions: such tiles are made
    /// here.
    pub renderd: Option<Renderd>,
    /// Who draws missing tiles, bottom to top; none: only what is stored.
    pub sources: Vec<Arc<dyn MapSource>>,
    /// Makes one picture of the bands of all sources, in place of laying their pictures over each other.
    pub bands: Option<BandMerge>,
    /// In place of the sources, where the tiles are no pictures.
    pub data: Option<DataTiles>,
    /// Names of the dimensions that the sources ask for. Others, which strangers may send at will, do not tell tiles apart.
    pub dimensions: Vec<String>,
    /// The dimensions of the layers that show this cache. Tiles of other values than theirs are made, but not kept: there
    /// is no end to what strangers may think of.
    pub announced: Vec<Arc<Dimension>>,
    /// Of the tiles; `format` is set.
    pub image: Arc<ImageOptions>,
    /// How missing tiles are created.
    pub creation: Creation,
    /// Drawn on new tiles.
    pub watermark: Option<Watermark>,
    /// Tiles too old are created anew.
    pub refresh_before: Option<RefreshBefore>,
    /// Tiles outside are empty; with `clip`, tiles are cut at its edge.
    pub coverage: Option<Coverage>,
    /// Missing tiles from other levels.
    pub rescaling: Option<Rescaling>,
    /// Rescaled tiles are stored.
    pub cache_rescaled_tiles: bool,
}

/// The tiles of one cache in one grid.
#[derive(Debug)]
pub struct TileManager {
    pub(crate) options: ManagerOptions,
    pub(crate) creator: Creator,
    /// Tiles found damaged.
    damaged: Complaints<TileKey>,
    /// Why tiles could not be stored, or not be locked.
    pub(crate) unkept: Complaints<String>,
}

/// What the store has for a tile.
enum Kept {
    Fresh(Tile),
    /// Too old, but better than nothing.
    Stale(Tile),
    Missing,
    /// No whole picture.
    Damaged,
}

/// Tiles, and the places and names of those that are neither kept nor drawn by any source.
pub(crate) struct Loaded {
    pub(crate) tiles: Vec<Tile>,
    pub(crate) missing: Vec<(usize, TileCoord)>,
}

impl TileManager {
    /// Checks that the parts fit (`meta tiling configured but not supported by all sources`, …).
    pub fn new(options: ManagerOptions) -> Result<Self, String> {
        let cache = &options.name;
        if options.image.format.is_none() {
            return Err(format!("cache {cache}: the format of the tiles is not said"));
        }
        let Creation { meta_size, meta_buffer, bulk_meta_tiles, .. } = options.creation;
        if meta_size.0 == 0 || meta_size.1 == 0 {
            return Err(format!("cache {cache}: meta_size must be at least 1 in both directions"));
        }
        let any_box = options.sources.iter().filter(|source| matches!(source.profile().access, Access::AnyBox)).count();
        let meta = meta_size != (1, 1) || meta_buffer > 0;
        let mode = if let Some(data) = &options.data {
            let clips = options.coverage.as_ref().is_some_and(Coverage::clip);
            let drawn = !options.sources.is_empty() || options.bands.is_some() || options.watermark.is_some();
            if drawn || options.rescaling.is_some() || clips {
                return Err(format!(
                    "cache {cache}: {} tiles are passed on as they are; they cannot be merged, drawn on, scaled or cut",
                    data.format.extension()
                ));
            }
            if data.source.is_some() { Mode::Single } else { Mode::StoredOnly }
        } else if options.sources.is_empty() {
            Mode::StoredOnly
        } else if meta && any_box == options.sources.len() {
            Mode::Meta(MetaGrid::new(Arc::clone(&options.grid), meta_size, meta_buffer))
        } else if meta && any_box > 0 {
            return Err(format!(
                "cache {cache}: meta tiling configured but not supported by all sources; set meta_size to [1, 1] and \
                 meta_buffer to 0, or cache the tile sources on their own"
            ));
        } else if bulk_meta_tiles && meta_size != (1, 1) {
            Mode::Bulk(MetaGrid::new(Arc::clone(&options.grid), meta_size, 0))
        } else {
            Mode::Single
        };
        Ok(TileManager {
            creator: Creator::new(mode),
            options,
            damaged: Complaints::every(Duration::from_secs(3600)),
            unkept: Complaints::every(Duration::from_secs(60)),
        })
    }

    /// Name of the cache in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.options.name
    }

    /// The grid.
    pub fn grid(&self) -> &Arc<TileGrid> {
        &self.options.grid
    }

    /// Where the tiles are kept; `None`: nowhere.
    pub fn store(&self) -> Option<&Arc<dyn TileStore>> {
        self.options.store.as_ref()
    }

    /// Options of the tiles.
    pub fn image(&self) -> &Arc<ImageOptions> {
        &self.options.image
    }

    /// The format of the tiles, where they are no pictures.
    pub fn data_format(&self) -> Option<&DataFormat> {
        self.options.data.as_ref().map(|data| &data.format)
    }

    /// The tiles grouped into what is made together, without buffer: meta tiles, or single tiles where the sources are
    /// asked for one after the other.
    pub fn work_grid(&self) -> MetaGrid {
        let grid = Arc::clone(&self.options.grid);
        let single = (1, 1);
        let meta_size = match &self.creator.mode {
            _ if self.options.rescaling.is_some() => single,
            Mode::Meta(meta) | Mode::Bulk(meta) => meta.meta_size(),
            Mode::StoredOnly | Mode::Single => single,
        };
        MetaGrid::new(grid, meta_size, 0)
    }

    /// Where missing tiles are taken from other levels.
    pub fn rescaling(&self) -> Option<Rescaling> {
        self.options.rescaling
    }

    /// Those of a query's dimensions that tell tiles apart: in lower case, sorted by name.
    pub fn own_dimensions(&self, dimensions: &Dimensions) -> Dimensions {
        if dimensions.is_empty() {
            return Arc::clone(dimensions);
        }
        let known = |name: &str| self.options.dimensions.iter().any(|own| is_same_dimension(own, name));
        let own = dimensions.iter().filter(|(name, _)| known(name));
        let mut own: Vec<_> = own.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        own.sort();
        own.into()
    }

    /// The tile if it can be had at once: kept and fresh, or known to be empty. Never waits for a source, a
    /// network or a lock; nothing is decoded. `Ok(None)`: ask [`TileManager::load`].
    pub fn load_kept(&self, coord: TileCoord, dimensions: &Dimensions) -> Result<Option<Tile>, MapError> {
        if !self.has_something_at(coord)? {
            return Ok(Some(Tile::EMPTY));
        }
        if self.is_cut(coord)? {
            return Ok(None);
        }
        let key = TileKey { coord, dimensions: Arc::clone(dimensions) };
        let stored = match self.store_for(dimensions) {
            Some(store) => match store.load_at_once(&key).map_err(|error| self.store_failed(&error))? {
                AtOnce::Known(stored) => stored,
                AtOnce::Unknown => return Ok(None),
            },
            None => None,
        };
        let is_all = self.is_stored_only() && self.options.rescaling.is_none();
        Ok(match self.judge(&key, stored, self.oldest()) {
            Kept::Fresh(tile) => Some(tile),
            Kept::Missing if is_all => Some(Tile::EMPTY),
            Kept::Damaged if is_all => Some(Tile::LOST),
            Kept::Stale(_) | Kept::Missing | Kept::Damaged => None,
        })
    }

    /// One tile, created if need be.
    pub fn load(&self, coord: TileCoord, dimensions: &Dimensions) -> Result<Tile, MapError> {
        let tiles = self.load_many(&[Some(coord)], dimensions, Purpose::Serve)?;
        Ok(tiles.into_iter().next().unwrap_or(Tile::EMPTY))
    }

    /// Several tiles of one level; places outside of the grid (`None`) are empty.
    pub fn load_many(
        &self,
        coords: &[Option<TileCoord>],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Vec<Tile>, MapError> {
        let mut tiles = self.load_uncut(coords, dimensions, purpose)?;
        for (tile, coord) in tiles.iter_mut().zip(coords) {
            if let Some(coord) = coord
                && tile.bytes.is_some()
                && self.is_cut(*coord)?
            {
                *tile = self.cut_at_coverage(tile, *coord, dimensions)?;
            }
        }
        Ok(tiles)
    }

    /// As [`TileManager::load_many`], without cutting tiles at the edge of the cache's coverage.
    pub(crate) fn load_uncut(
        &self,
        coords: &[Option<TileCoord>],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Vec<Tile>, MapError> {
        let Loaded { mut tiles, missing } = self.load_unscaled(coords, dimensions, purpose)?;
        if let Some(rescaling) = self.options.rescaling {
            for (place, coord) in missing {
                if let Some(tile) = self.rescale(coord, rescaling, dimensions, purpose)? {
                    tiles[place] = tile;
                }
            }
        }
        Ok(tiles)
    }

    /// The tiles that are kept or that the sources can draw, and those that neither have.
    pub(crate) fn load_unscaled(
        &self,
        coords: &[Option<TileCoord>],
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Loaded, MapError> {
        let mut tiles = vec![Tile::EMPTY; coords.len()];
        let mut places = Vec::with_capacity(coords.len());
        let mut keys = Vec::with_capacity(coords.len());
        for (place, coord) in coords.iter().enumerate() {
            if let Some(coord) = *coord
                && self.has_something_at(coord)?
            {
                places.push(place);
                keys.push(TileKey { coord, dimensions: Arc::clone(dimensions) });
            }
        }
        let oldest = self.oldest();
        let kept = self.load_stored(&keys, oldest)?;
        let kept_count = kept.len();

        let (mut wanted, mut stale) = (Vec::new(), Vec::new());
        for ((place, key), kept) in places.into_iter().zip(keys).zip(kept) {
            let old = match kept {
                Kept::Fresh(tile) => {
                    tiles[place] = tile;
                    continue;
                }
                Kept::Stale(tile) => Some(tile),
                Kept::Missing => None,
                Kept::Damaged => {
                    if self.is_stored_only() {
                        tiles[place] = Tile::LOST;
                    }
                    None
                }
            };
            wanted.push((place, key.coord));
            stale.push(old);
        }
        let mut missing = Vec::new();
        let mut tally = trace::Tiles { hit: (kept_count - wanted.len()) as u64, ..trace::Tiles::default() };
        if !wanted.is_empty() {
            let _place = trace::within(|| Place::Cache(Arc::clone(&self.options.name)));
            let coords: Vec<_> = wanted.iter().map(|(_, coord)| *coord).collect();
            let created = self.create(&coords, &stale, dimensions, purpose, oldest).inspect_err(|_| {
                trace::count(trace::Tiles { missed: coords.len() as u64, ..tally });
            })?;
            for (((place, coord), created), stale) in wanted.into_iter().zip(created).zip(stale) {
                match (created, stale) {
                    (Some(tile), _) => {
                        tally.missed += 1;
                        tiles[place] = tile;
                    }
                    (None, Some(tile)) => {
                        tally.stale += 1;
                        tiles[place] = tile;
                    }
                    (None, None) => {
                        tally.missed += 1;
                        missing.push((place, coord));
                    }
                }
            }
        }
        trace::count(tally);
        Ok(Loaded { tiles, missing })
    }

    /// Which of the tiles are kept and fresh, now that a lock was waited for; `None` for the others.
    pub(crate) fn load_fresh(
        &self,
        keys: &[TileKey],
        oldest: Option<SystemTime>,
    ) -> Result<Vec<Option<Tile>>, MapError> {
        let store = keys.first().and_then(|key| self.store_for(&key.dimensions));
        let Some(store) = store else { return Ok(vec![None; keys.len()]) };
        let stored = store.reload(keys).map_err(|error| self.store_failed(&error))?;
        let kept = keys.iter().zip(stored).map(|(key, stored)| self.judge(key, stored, oldest));
        Ok(kept
            .map(|kept| match kept {
                Kept::Fresh(tile) => Some(tile),
                Kept::Stale(_) | Kept::Missing | Kept::Damaged => None,
            })
            .collect())
    }

    /// Forgets a tile that turned out to be unreadable, so that it is created anew. One that nobody can create stays for
    /// its owner to look at.
    pub fn discard(&self, coord: TileCoord, dimensions: &Dimensions, reason: &dyn std::fmt::Display) {
        let TileCoord { x, y, z } = coord;
        let (cache, key) = (&self.options.name, TileKey { coord, dimensions: Arc::clone(dimensions) });
        if self.is_stored_only() {
            self.damaged.about(&key, |more| {
                log::warn!(target: LOG, "cache {cache}: tile {z}/{x}/{y} is unreadable and left out: {reason}{more}");
            });
            return;
        }
        log::warn!(target: LOG, "cache {cache}: removed unreadable tile {z}/{x}/{y}: {reason}");
        if let Some(store) = self.store_for(dimensions)
            && let Err(error) = store.remove(&key)
        {
            log::error!(target: LOG, "cache {}: {error}", self.options.name);
        }
    }

    /// The store, where it can keep tiles of these dimensions apart, and they are such that are kept.
    pub(crate) fn store_for(&self, dimensions: &Dimensions) -> Option<&dyn TileStore> {
        let store = self.options.store.as_deref()?;
        if dimensions.is_empty() {
            return Some(store);
        }
        let is_announced = |name: &str, value: &str| {
            self.options.announced.iter().any(|dimension| **dimension.name() == *name && dimension.offers(value))
        };
        let keeps = store.capabilities().dimensions && dimensions.iter().all(|(name, value)| is_announced(name, value));
        keeps.then_some(store)
    }

    pub(crate) fn store_failed(&self, error: &StoreError) -> MapError {
        MapError::Store { cache: Arc::clone(&self.options.name), reason: error.to_string() }
    }

    /// There are only the tiles that are stored.
    pub(crate) fn is_stored_only(&self) -> bool {
        matches!(self.creator.mode, Mode::StoredOnly)
    }

    /// The cache's coverage cuts off part of the tile.
    pub(crate) fn is_cut(&self, coord: TileCoord) -> Result<bool, MapError> {
        match self.clip() {
            Some(coverage) => {
                let grid = &self.options.grid;
                Ok(!coverage.contains(&grid.tile_bbox(coord), grid.srs())?)
            }
            None => Ok(false),
        }
    }

    /// The coverage to cut tiles and maps at.
    pub(crate) fn clip(&self) -> Option<&Coverage> {
        self.options.coverage.as_ref().filter(|coverage| coverage.clip())
    }

    /// The tile is in the grid and meets the coverage.
    pub(crate) fn has_something_at(&self, coord: TileCoord) -> Result<bool, MapError> {
        let grid = &self.options.grid;
        if !grid.contains_tile(coord) {
            return Ok(false);
        }
        match &self.options.coverage {
            Some(coverage) => Ok(coverage.intersects(&grid.tile_bbox(coord), grid.srs())?),
            None => Ok(true),
        }
    }

    /// Tiles stored at this moment or before are too old. Tiles that cannot be made anew are never too old.
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        if self.is_stored_only() { None } else { self.options.refresh_before.as_ref()?.moment() }
    }

    fn load_stored(&self, keys: &[TileKey], oldest: Option<SystemTime>) -> Result<Vec<Kept>, MapError> {
        let store = keys.first().and_then(|key| self.store_for(&key.dimensions));
        let Some(store) = store else { return Ok(keys.iter().map(|_| Kept::Missing).collect()) };
        let stored = match keys {
            [key] => vec![store.load(key).map_err(|error| self.store_failed(&error))?],
            _ => store.load_many(keys).map_err(|error| self.store_failed(&error))?,
        };
        Ok(keys.iter().zip(stored).map(|(key, stored)| self.judge(key, stored, oldest)).collect())
    }

    fn judge(&self, key: &TileKey, stored: Option<StoredTile>, oldest: Option<SystemTime>) -> Kept {
        let Some(StoredTile { bytes, meta }) = stored else { return Kept::Missing };
        let damage: Option<Box<dyn std::error::Error>> = match self.data_format() {
            None => codec::whole(&bytes).err().map(Into::into),
            Some(format) => format.check(&bytes).err().map(Into::into),
        };
        if let Some(damage) = damage {
            let (cache, TileCoord { x, y, z }, size) = (&self.options.name, key.coord, bytes.len());
            let fate = if self.is_stored_only() { "left out" } else { "made anew" };
            self.damaged.about(key, |more| {
                log::warn!(target: LOG, "cache {cache}: stored tile {z}/{x}/{y} ({size} bytes) is {fate}: {damage}{more}");
            });
            return Kept::Damaged;
        }
        let tile = Tile { bytes: Some(bytes), modified: meta.modified, cacheable: true };
        if is_expired(meta.modified, oldest) { Kept::Stale(tile) } else { Kept::Fresh(tile) }
    }

    /// The tile with everything beyond the cache's coverage transparent, as PNG.
    fn cut_at_coverage(&self, tile: &Tile, coord: TileCoord, dimensions: &Dimensions) -> Result<Tile, MapError> {
        let (Some(bytes), Some(coverage)) = (&tile.bytes, self.clip()) else { return Ok(tile.clone()) };
        let grid = &self.options.grid;
        let image = MapImage::from_encoded(bytes.clone(), Arc::clone(&self.options.image));
        let pixels = match image.pixels() {
            Ok(pixels) => Arc::unwrap_or_clone(pixels),
            Err(error) => {
                self.discard(coord, dimensions, &error);
                return Ok(Tile::LOST);
            }
        };
        let mut options = (*self.options.image).clone().with_transparent(true);
        options.format = Some(ImageFormat::png());
        options.mode = None;
        let encoded = mask::clip(pixels, &grid.tile_bbox(coord), grid.srs(), coverage)
            .and_then(|pixels| MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(&options))
            .map_err(|error| MapError::Image { source_name: Arc::clone(&self.options.name), error })?;
        Ok(Tile { bytes: Some(encoded.bytes), ..tile.clone() })
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Bbox;
    use mapproxy_image::Codec;

    use super::*;
    use crate::testkit::*;

    const TILE: TileCoord = TileCoord::new(5, 6, 4);

    #[test]
    fn a_cache_without_sources_gives_what_it_has() {
        let cache = cache(&[]).build();
        assert!(cache.load_kept(TILE).unwrap().bytes.is_none());
        cache.put_world(TILE);
        assert_eq!(cache.load_kept(TILE).unwrap().bytes.unwrap(), cache.stored(TILE).unwrap());
        assert!(cache.load(TileCoord::new(0, 0, 4)).unwrap().bytes.is_none());
    }

    #[test]
    fn tiles_that_cannot_be_made_anew_are_never_too_old() {
        let cache =
            cache(&[]).with(|options| options.refresh_before = Some(RefreshBefore::Age(Duration::ZERO))).build();
        cache.put_world(TILE);
        assert!(cache.load_kept(TILE).unwrap().bytes.is_some());
        assert!(cache.load(TILE).unwrap().bytes.is_some());
    }

    #[test]
    fn places_outside_of_the_grid_are_empty() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        for coord in [TileCoord::new(16, 0, 4), TileCoord::new(0, 16, 4), TileCoord::new(0, 0, 200)] {
            assert!(cache.load_kept(coord).unwrap().bytes.is_none());
            assert!(cache.load(coord).unwrap().bytes.is_none());
        }
        let tiles = cache.manager.load_many(&[None, None], &no_dimensions(), Purpose::Serve).unwrap();
        assert!(tiles.iter().all(|tile| tile.bytes.is_none()));
        assert_eq!(source.times_asked(), 0);
    }

    #[test]
    fn what_is_no_picture_is_made_anew_and_never_served() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let whole = cache.load(TILE).unwrap().bytes.unwrap();
        let cut_off = &whole[..whole.len() - 1];
        for rubbish in [&b"<html>"[..], b"", b"\0\0\0\0", cut_off, &whole[..100]] {
            cache.put(TILE, rubbish);
            assert!(cache.load_kept(TILE).is_none());
            assert_eq!(cache.load(TILE).unwrap().bytes.unwrap(), whole);
            assert_eq!(cache.stored(TILE).unwrap(), whole);
        }
        assert_eq!(source.times_asked(), 6);
    }

    #[test]
    fn a_damaged_tile_is_not_served_either_when_its_source_fails() {
        let source = Arc::new(FakeSource::failing());
        let cache = cache(&[&source]).with(|options| options.refresh_before = Some(RefreshBefore::Age(Duration::ZERO)));
        let cache = cache.build();
        cache.put(TILE, b"<html>");
        assert!(cache.load(TILE).is_err(), "what is damaged is no stale tile to fall back on");
        assert_eq!(cache.stored(TILE).unwrap(), b"<html>", "a failure is never stored");
    }

    #[test]
    fn a_damaged_tile_that_nobody_can_make_is_answered_as_lost_and_stays_for_its_owner() {
        let cache = cache(&[]).build();
        cache.put_world(TILE);
        let whole = cache.stored(TILE).unwrap();
        cache.put(TILE, &whole[..whole.len() - 20]);
        for tile in [cache.load_kept(TILE).unwrap(), cache.load(TILE).unwrap()] {
            assert!(tile.bytes.is_none() && !tile.cacheable);
        }
        assert!(cache.stored(TILE).is_some());
        let missing = cache.load(TileCoord::new(0, 0, 4)).unwrap();
        assert!(missing.bytes.is_none() && missing.cacheable, "where nothing was stored, nothing is what there is");
    }

    #[test]
    fn a_picture_of_another_format_than_the_caches_is_served_as_it_is() {
        let cache = cache(&[]).build();
        let pixels = world_pixels(&grid().tile_bbox(TILE), grid().tile_size());
        let jpeg = codec::encode(&pixels, &ImageOptions::new(ImageFormat::jpeg()), None).unwrap().bytes;
        cache.put(TILE, &jpeg);
        let tile = cache.load_kept(TILE).unwrap();
        assert_eq!((tile.codec(), tile.bytes), (Some(Codec::Jpeg), Some(jpeg)));
    }

    #[test]
    fn meta_tiles_of_no_tiles_are_refused() {
        let options = cache(&[]).with(|options| options.creation.meta_size = (0, 4)).options;
        assert!(TileManager::new(options).unwrap_err().contains("meta_size"));
    }

    #[test]
    fn tiles_at_the_edge_of_a_clipping_coverage_are_cut() {
        let source = Arc::new(FakeSource::world());
        let east = Coverage::from_bbox(Bbox::new(HALF / 16.0, -HALF, HALF, HALF), grid().srs().clone()).with_clip(true);
        let cache = cache(&[&source]).with(|options| options.coverage = Some(east)).build();
        let (edge, inside) = (TileCoord::new(8, 3, 4), TileCoord::new(9, 3, 4));
        for _ in 0..2 {
            let tile = cache.load(edge).unwrap();
            assert_eq!(tile.codec(), Some(Codec::Png));
            let pixels = decode(&tile.bytes.unwrap());
            assert_eq!((pixels.pixel(100, 100)[3], pixels.pixel(150, 100)[3]), (0, 255));
            assert!(cache.load_kept(edge).is_none(), "a tile to be cut needs decoding");
        }
        assert!(cache.load_kept(inside).is_some());
        assert_eq!(source.times_asked(), 1);
        assert!(!decode(&cache.stored(edge).unwrap()).has_transparency(), "tiles are kept whole");
    }

    #[test]
    fn a_store_that_cannot_be_read_is_an_error_that_names_the_cache() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        std::fs::create_dir_all(cache.path(TILE)).unwrap();
        let error = cache.manager.load_kept(TILE, &no_dimensions()).unwrap_err().to_string();
        assert!(error.starts_with("cache test: read ") && error.contains("4/5/6.png"), "{error}");
    }
}
