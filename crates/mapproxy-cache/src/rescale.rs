//! Levels above or below as a source for missing tiles (`upscale_tiles`, `downscale_tiles`).
//!
//! Tiles of the next level are loaded like any others, created by the sources if they have something there; what is
//! missing on that level, too, is looked for one level further on. With `cache_rescaled_tiles`, the tiles of the levels in
//! between are kept, too: their neighbours need them next.

use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_grid::TileCoord;
use mapproxy_image::{ImageError, MapImage, tiles, transform};
use mapproxy_map::{Dimensions, MapError, Purpose};

use crate::store::TileData;
use crate::{Rescaling, Tile, TileKey, TileManager};

/// Tiles looked at for one rescaled tile: five levels down in a grid of factor 2, and never a search without end.
const MAX_LOOKUPS: usize = 1365;

struct Search<'a> {
    rescaling: Rescaling,
    dimensions: &'a Dimensions,
    purpose: Purpose,
    lookups: Cell<usize>,
    cacheable: Cell<bool>,
}

impl TileManager {
    /// A tile made of tiles of other levels; `None` where there are none.
    pub(crate) fn rescale(
        &self,
        coord: TileCoord,
        rescaling: Rescaling,
        dimensions: &Dimensions,
        purpose: Purpose,
    ) -> Result<Option<Tile>, MapError> {
        let search = Search { rescaling, dimensions, purpose, lookups: Cell::new(0), cacheable: Cell::new(true) };
        let (Rescaling::Up(steps) | Rescaling::Down(steps)) = rescaling;
        let Some(image) = self.rescaled(coord, steps, &search)? else { return Ok(None) };
        let encoded = image.encode(&self.options.image).map_err(|error| self.image_failed(error))?;
        let modified = self.keep_rescaled(coord, &encoded.bytes, &search)?;
        Ok(Some(Tile { bytes: Some(encoded.bytes), modified, cacheable: search.cacheable.get() }))
    }

    /// Stores a rescaled tile if that is wished, and tells when that was.
    fn keep_rescaled(
        &self,
        coord: TileCoord,
        bytes: &Bytes,
        search: &Search<'_>,
    ) -> Result<Option<SystemTime>, MapError> {
        if !self.options.cache_rescaled_tiles || !search.cacheable.get() {
            return Ok(None);
        }
        let Some(store) = self.store_for(search.dimensions) else { return Ok(None) };
        let key = TileKey { coord, dimensions: Arc::clone(search.dimensions) };
        match store.store(&key, &TileData::new(bytes.clone())) {
            Ok(()) => return Ok(store.metadata(&key).ok().flatten().and_then(|meta| meta.modified)),
            Err(error) if search.purpose == Purpose::Seed => return Err(self.store_failed(&error)),
            Err(error) => self.is_unkept("a rescaled tile is served but not kept", &error.reason, &error),
        }
        Ok(None)
    }

    fn rescaled(&self, coord: TileCoord, steps: u8, search: &Search<'_>) -> Result<Option<MapImage>, MapError> {
        let grid = &self.options.grid;
        let level = match search.rescaling {
            Rescaling::Up(_) => coord.z.checked_sub(1),
            Rescaling::Down(_) => coord.z.checked_add(1),
        };
        let Some(level) = level.filter(|level| steps > 0 && grid.level(*level).is_some()) else { return Ok(None) };
        let bbox = grid.tile_bbox(coord);
        let Ok(affected) = grid.affected_level_tiles(&bbox, level) else { return Ok(None) };
        search.lookups.set(search.lookups.get() + affected.tiles.len());
        if search.lookups.get() > MAX_LOOKUPS {
            log::warn!(target: "mapproxy.cache.tile", "cache {}: gave up looking for tiles to rescale after {MAX_LOOKUPS}", self.options.name);
            return Ok(None);
        }

        let options = &self.options.image;
        let loaded = self.load_unscaled(&affected.tiles, search.dimensions, search.purpose)?;
        if loaded.tiles.iter().any(|tile| !tile.cacheable) {
            search.cacheable.set(false);
        }
        let image = |tile: Tile| Some(MapImage::from_encoded(tile.bytes?, Arc::clone(options)));
        let mut parts: Vec<_> = loaded.tiles.into_iter().map(image).collect();
        for (place, coord) in loaded.missing {
            let Some(part) = self.rescaled(coord, steps - 1, search)? else { continue };
            if self.options.cache_rescaled_tiles {
                let encoded = part.encode(&self.options.image).map_err(|error| self.image_failed(error))?;
                self.keep_rescaled(coord, &encoded.bytes, search)?;
            }
            parts[place] = Some(part);
        }
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let tile_size = grid.tile_size();
        let mut broken = |place: usize, error: &ImageError| {
            search.cacheable.set(false);
            if let Some(Some(tile)) = affected.tiles.get(place) {
                self.discard(*tile, search.dimensions, error);
            }
        };
        let joined = tiles::join(&parts, affected.columns, affected.rows, tile_size, options, &mut broken);
        let joined = MapImage::from_pixels(joined, Arc::clone(options));
        let (from, to) = ((&affected.bbox, grid.srs()), (&bbox, tile_size, grid.srs()));
        transform::transform(&joined, from, to, options).map(Some).map_err(|error| self.image_failed(error))
    }

    pub(crate) fn image_failed(&self, error: ImageError) -> MapError {
        MapError::Image { source_name: Arc::clone(&self.options.name), error }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Bbox;

    use super::*;
    use crate::testkit::*;

    const TILE: TileCoord = TileCoord::new(5, 6, 4);

    fn resolution(query: &mapproxy_map::MapQuery) -> f64 {
        query.resolution()
    }

    #[test]
    fn a_missing_tile_is_made_of_a_coarser_one() {
        let cache = cache(&[]).with(|options| options.rescaling = Some(Rescaling::Up(2))).build();
        assert!(cache.load(TILE).unwrap().bytes.is_none());
        cache.put_world(TileCoord::new(1, 1, 2));
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 2);
        assert_eq!((cache.number_stored(), tile.modified), (1, None));
    }

    #[test]
    fn tiles_further_away_than_allowed_do_not_count() {
        let cache = cache(&[]).with(|options| options.rescaling = Some(Rescaling::Up(1))).build();
        cache.put_world(TileCoord::new(1, 1, 2));
        assert!(cache.load(TILE).unwrap().bytes.is_none());
    }

    #[test]
    fn a_missing_tile_is_made_of_finer_ones() {
        let cache = cache(&[]).with(|options| options.rescaling = Some(Rescaling::Down(2))).build();
        for (x, y) in [(10, 12), (11, 12), (10, 13)] {
            cache.put_world(TileCoord::new(x, y, 5));
        }
        for (x, y) in [(22, 26), (23, 26), (22, 27), (23, 27)] {
            cache.put_world(TileCoord::new(x, y, 6));
        }
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 2);
    }

    #[test]
    fn rescaled_tiles_are_kept_if_wished() {
        let cache = cache(&[])
            .with(|options| {
                options.rescaling = Some(Rescaling::Up(1));
                options.cache_rescaled_tiles = true;
            })
            .build();
        cache.put_world(TileCoord::new(2, 3, 3));
        let tile = cache.load(TILE).unwrap();
        let kept = cache.load_kept(TILE).unwrap();
        assert_eq!((kept.bytes, kept.modified), (tile.bytes, tile.modified));
    }

    #[test]
    fn tiles_of_the_levels_in_between_are_kept_too() {
        let rescaling = |rescaling, is_kept| {
            let cache = cache(&[]).with(|options| {
                options.rescaling = Some(rescaling);
                options.cache_rescaled_tiles = is_kept;
            });
            cache.build()
        };
        // TILE lies in 2/3/3 and 1/1/2, and above 10/12/5 and three more.
        for (is_kept, number) in [(true, 3), (false, 1)] {
            let up = rescaling(Rescaling::Up(2), is_kept);
            up.put_world(TileCoord::new(1, 1, 2));
            let tile = up.load(TILE).unwrap();
            assert_eq!(up.number_stored(), number);
            assert_eq!(up.stored(TileCoord::new(2, 3, 3)).is_some(), is_kept);
            assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 2);

            let down = rescaling(Rescaling::Down(2), is_kept);
            for (x, y) in [(20, 24), (21, 24), (20, 25), (21, 25)] {
                down.put_world(TileCoord::new(x, y, 6));
            }
            down.load(TILE).unwrap();
            assert_eq!(down.number_stored(), number + 3, "only tiles that there is something of");
            assert_eq!(down.stored(TileCoord::new(10, 12, 5)).is_some(), is_kept);
        }
        let up = rescaling(Rescaling::Up(2), true);
        up.put_world(TileCoord::new(1, 1, 2));
        up.load(TILE).unwrap();
        up.load(TileCoord::new(4, 6, 4)).unwrap();
        assert_eq!(up.number_stored(), 4, "the neighbour is made of the tile in between");
    }

    #[test]
    fn sources_are_asked_on_the_other_level() {
        let finest = grid().levels()[2].resolution;
        let source =
            Arc::new(FakeSource::new(move |query| Ok((resolution(query) > finest * 0.9).then(|| world(query)))));
        let cache = cache(&[&source]).with(|options| options.rescaling = Some(Rescaling::Up(2))).build();
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 2);
        assert!(cache.stored(TileCoord::new(1, 1, 2)).is_some());
        assert!(cache.load(TileCoord::new(10, 12, 5)).unwrap().bytes.is_none(), "three levels are too many");
    }

    #[test]
    fn a_search_among_finer_levels_ends() {
        let cache = cache(&[]).with(|options| options.rescaling = Some(Rescaling::Down(19))).build();
        let begun = std::time::Instant::now();
        assert!(cache.load(TileCoord::new(0, 0, 0)).unwrap().bytes.is_none());
        assert!(begun.elapsed().as_secs() < 20);
    }

    #[test]
    fn a_failing_source_is_an_error_and_no_reason_to_rescale() {
        let source = Arc::new(FakeSource::failing());
        let cache = cache(&[&source]).with(|options| options.rescaling = Some(Rescaling::Up(2))).build();
        cache.put_world(TileCoord::new(2, 3, 3));
        assert!(cache.load(TILE).is_err());
    }

    #[test]
    fn tiles_outside_of_the_coverage_are_not_rescaled() {
        let east = mapproxy_grid::Coverage::from_bbox(Bbox::new(1.0, -HALF, HALF, HALF), grid().srs().clone());
        let cache = cache(&[])
            .with(|options| {
                options.rescaling = Some(Rescaling::Up(2));
                options.coverage = Some(east);
            })
            .build();
        cache.put_world(TileCoord::new(2, 3, 3));
        assert!(cache.load(TILE).unwrap().bytes.is_none());
    }
}
