//! Levels above or below as a source for missing tiles (`upscale_tiles`, `downscale_tiles`).
//!
//! Only what is stored counts: the sources of a cache were asked for the tile itself already. Tiles that are missing on
//! the next level, too, are looked for one level further on.

use std::cell::Cell;
use std::sync::Arc;

use mapproxy_grid::{Bbox, TileCoord};
use mapproxy_image::{MapImage, tiles, transform};
use mapproxy_map::{Dimensions, MapError};

use crate::store::TileData;
use crate::{Rescaling, Tile, TileKey, TileManager};

/// Looks into the store for one rescaled tile: four levels down in a grid of factor 2, and never a search without end.
const MAX_LOOKUPS: u32 = 1024;

struct Search<'a> {
    dimensions: &'a Dimensions,
    rescaling: Rescaling,
    lookups_left: Cell<u32>,
}

impl TileManager {
    /// A tile made of tiles of other levels; `None` where there are none.
    pub(crate) fn rescale(
        &self,
        coord: TileCoord,
        dimensions: &Dimensions,
        rescaling: Rescaling,
    ) -> Result<Option<Tile>, MapError> {
        let search = Search { dimensions, rescaling, lookups_left: Cell::new(MAX_LOOKUPS) };
        let (Rescaling::Up(steps) | Rescaling::Down(steps)) = rescaling;
        let Some(image) = self.rescaled(coord, steps, &search)? else { return Ok(None) };
        let encoded = image.encode(&self.options.image).map_err(|error| self.image_failed(error))?;
        let mut modified = None;
        if self.options.cache_rescaled_tiles
            && let Some(store) = self.store_for(dimensions)
        {
            let key = TileKey { coord, dimensions: Arc::clone(dimensions) };
            let data = TileData { bytes: encoded.bytes.clone(), single_color: None };
            match store.store(&key, &data) {
                Ok(()) => modified = store.metadata(&key).ok().flatten().and_then(|meta| meta.modified),
                Err(error) => log::error!("cache {}: a rescaled tile is not kept: {error}", self.options.name),
            }
        }
        Ok(Some(Tile { bytes: Some(encoded.bytes), modified, cacheable: true }))
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
        let mut parts = Vec::with_capacity(affected.tiles.len());
        for tile in &affected.tiles {
            parts.push(match tile {
                Some(tile) => self.part(*tile, steps, search)?,
                None => None,
            });
        }
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let options = &self.options.image;
        let tile_size = grid.tile_size();
        let mut broken = |place: usize, error: &mapproxy_image::ImageError| {
            if let Some(Some(tile)) = affected.tiles.get(place) {
                self.discard(*tile, search.dimensions, error);
            }
        };
        let joined = tiles::join(&parts, affected.columns, affected.rows, tile_size, options, &mut broken);
        let joined = MapImage::from_pixels(joined, Arc::clone(options));
        let (from, to): ((&Bbox, _), _) = ((&affected.bbox, grid.srs()), (&bbox, tile_size, grid.srs()));
        transform::transform(&joined, from, to, options).map(Some).map_err(|error| self.image_failed(error))
    }

    /// A tile of another level: stored, or itself rescaled.
    fn part(&self, coord: TileCoord, steps: u8, search: &Search<'_>) -> Result<Option<MapImage>, MapError> {
        let Some(left) = search.lookups_left.get().checked_sub(1) else {
            return Ok(None);
        };
        search.lookups_left.set(left);
        if left == 0 {
            log::warn!("cache {}: gave up looking for tiles to rescale after {MAX_LOOKUPS}", self.options.name);
        }
        let key = TileKey { coord, dimensions: Arc::clone(search.dimensions) };
        match self.load_any(&key)?.and_then(|tile| tile.bytes) {
            Some(bytes) => Ok(Some(MapImage::from_encoded(bytes, Arc::clone(&self.options.image)))),
            None => self.rescaled(coord, steps - 1, search),
        }
    }

    pub(crate) fn image_failed(&self, error: mapproxy_image::ImageError) -> MapError {
        MapError::Image { source_name: Arc::clone(&self.options.name), error }
    }
}
