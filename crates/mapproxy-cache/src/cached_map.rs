//! A cache as a map source.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, TileCoord, TileGrid};
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, mask, merge, tiles, transform};
use mapproxy_map::data::{DataFormat, DataSource, DataTile};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::{Tile, TileManager};

/// Draws any map from the tiles of one cache in one grid: joined, scaled, reprojected.
#[derive(Debug)]
pub struct CachedMap {
    manager: Arc<TileManager>,
    profile: SourceProfile,
    max_tile_limit: Option<u64>,
    /// Options of maps that don't fill what was asked for.
    partial: Arc<ImageOptions>,
}

impl CachedMap {
    /// `profile.extent` limits what is asked; `max_tile_limit` is `None` for caches as sources of caches.
    pub fn new(manager: Arc<TileManager>, profile: SourceProfile, max_tile_limit: Option<u64>) -> Self {
        let mut partial = (**manager.image()).clone().with_transparent(true);
        partial.mode = None;
        if partial.format.as_ref().is_none_or(|format| !can_be_transparent(format)) {
            partial.format = Some(ImageFormat::png());
        }
        CachedMap { manager, profile, max_tile_limit, partial: Arc::new(partial) }
    }

    /// The tiles behind.
    pub fn manager(&self) -> &Arc<TileManager> {
        &self.manager
    }

    fn failed(&self, error: mapproxy_image::ImageError) -> MapError {
        self.manager.image_failed(error)
    }

    /// The map, all of which lies inside of the extent.
    fn draw(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let dimensions = self.manager.own_dimensions(&query.dimensions);
        let grid = self.manager.grid();
        if let Some(coord) = exact_tile(grid, query) {
            self.check_limit(1)?;
            let tile = self.manager.load_many(&[Some(coord)], &dimensions, query.purpose)?.pop();
            return Ok(tile.and_then(|tile| self.image_of(tile)));
        }
        let Some(affected) = grid.affected_tiles(&query.bbox, query.size, &query.srs)? else { return Ok(None) };
        self.check_limit(u64::from(affected.columns) * u64::from(affected.rows))?;
        let loaded = self.manager.load_uncut(&affected.tiles, &dimensions, query.purpose)?;
        let cacheable = loaded.iter().all(|tile| tile.cacheable);
        let images: Vec<_> = loaded.into_iter().map(|tile| self.image_of(tile)).collect();
        if images.iter().all(Option::is_none) {
            return Ok(None);
        }
        let options = self.manager.image();
        let mut has_hole = false;
        let mut broken = |place: usize, error: &mapproxy_image::ImageError| {
            has_hole = true;
            if let Some(Some(coord)) = affected.tiles.get(place) {
                self.manager.discard(*coord, &dimensions, error);
            }
        };
        let joined = tiles::join(&images, affected.columns, affected.rows, grid.tile_size(), options, &mut broken);
        drop(images);
        let joined = MapImage::from_pixels(joined, Arc::clone(options));
        let (from, to) = ((&affected.bbox, grid.srs()), (&query.bbox, query.size, &query.srs));
        let map = transform::transform(&joined, from, to, options).map_err(|error| self.failed(error))?;
        drop(joined);
        let map = self.cut_at_coverage(map, query)?;
        Ok(Some(map.with_cacheable(cacheable && !has_hole)))
    }

    fn image_of(&self, tile: Tile) -> Option<MapImage> {
        // A tile may have been cut, and be transparent there, whatever the cache's options say.
        let options = if self.manager.clip().is_some() { &self.partial } else { self.manager.image() };
        let image = MapImage::from_encoded(tile.bytes?, Arc::clone(options));
        Some(image.with_cacheable(tile.cacheable))
    }

    fn check_limit(&self, tiles: u64) -> Result<(), MapError> {
        match self.max_tile_limit {
            Some(limit) if tiles >= limit => Err(MapError::TooManyTiles { limit, tiles }),
            _ => Ok(()),
        }
    }

    fn cut_at_coverage(&self, map: MapImage, query: &MapQuery) -> Result<MapImage, MapError> {
        match self.manager.clip() {
            Some(coverage) if !coverage.contains(&query.bbox, &query.srs)? => {
                let pixels = map.pixels().map_err(|error| self.failed(error))?;
                drop(map);
                mask::clip(Arc::unwrap_or_clone(pixels), &query.bbox, &query.srs, coverage)
                    .map(|pixels| MapImage::from_pixels(pixels, Arc::clone(&self.partial)))
                    .map_err(|error| self.failed(error))
            }
            _ => Ok(map),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for CachedMap {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let Some(extent) = &self.profile.extent else { return self.draw(query) };
        // Asked in the extent's SRS first: the box around a large extent may be meaningless in the SRS of a small map.
        if extent.contains(&query.bbox, &query.srs)? {
            return self.draw(query);
        }
        let extent = extent.bbox_in(&query.srs)?;
        if extent.contains(&query.bbox) {
            return self.draw(query);
        }
        let Some(inside) = extent.intersection(&query.bbox) else { return Ok(None) };
        let Some(part) = PixelWindow::around(&inside, query) else { return Ok(None) };
        if part.size == query.size {
            return self.draw(query);
        }
        match self.draw(&query.sub(part.bbox, part.size))? {
            Some(image) => merge::place(&image, part.x, part.y, query.size, &self.partial)
                .map(|map| Some(map.with_cacheable(image.cacheable())))
                .map_err(|error| self.failed(error)),
            None => Ok(None),
        }
    }

    fn is_opaque(&self, _query: &MapQuery) -> bool {
        false
    }

    fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        None
    }
}

/// Gives single tiles of a cache as they are stored: a cache as source of a cache whose grid is a subset of its own.
#[derive(Debug)]
pub struct CachedTiles {
    manager: Arc<TileManager>,
    profile: SourceProfile,
}

impl CachedTiles {
    /// `profile.access` is `TilesOf` the asking cache's grid.
    pub fn new(manager: Arc<TileManager>, profile: SourceProfile) -> Self {
        CachedTiles { manager, profile }
    }
}

impl CachedTiles {
    fn tile(&self, query: &MapQuery) -> Result<Option<Tile>, MapError> {
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let grid = self.manager.grid();
        let Some(coord) = exact_tile(grid, query) else {
            return Err(MapError::Misaligned {
                source_name: Arc::clone(&self.profile.name),
                reason: format!(
                    "{} in {} with {} pixels is no tile of the grid {}",
                    query.bbox,
                    query.srs,
                    query.size,
                    grid.name()
                ),
            });
        };
        let dimensions = self.manager.own_dimensions(&query.dimensions);
        Ok(self.manager.load_many(&[Some(coord)], &dimensions, query.purpose)?.pop())
    }
}

impl DataSource for CachedTiles {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn data(&self, query: &MapQuery, _format: &DataFormat) -> Result<DataTile, MapError> {
        let tile = self.tile(query)?;
        Ok(tile.map_or(DataTile::EMPTY, |tile| DataTile { bytes: tile.bytes, cacheable: tile.cacheable }))
    }
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for CachedTiles {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        Ok(self.tile(query)?.and_then(|tile| {
            let image = MapImage::from_encoded(tile.bytes?, Arc::clone(self.manager.image()));
            Some(image.with_cacheable(tile.cacheable))
        }))
    }

    fn is_opaque(&self, _query: &MapQuery) -> bool {
        false
    }

    fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        None
    }
}

/// The tile that is exactly what `query` asks for, up to a tenth of a pixel.
fn exact_tile(grid: &TileGrid, query: &MapQuery) -> Option<TileCoord> {
    if query.size != grid.tile_size() || query.srs != *grid.srs() {
        return None;
    }
    let (x_res, y_res) = query.bbox.resolution(query.size);
    let tolerance = 0.1 / f64::from(query.size.width.max(query.size.height).max(1));
    let close = |res: f64, level: f64| (res - level).abs() < level * tolerance;
    let fits = |level: f64| close(x_res, level) && close(y_res, level);
    let level = grid.levels().iter().position(|level| fits(level.resolution))?;
    let level = u8::try_from(level).ok()?;
    let affected = grid.affected_level_tiles(&query.bbox, level).ok()?;
    let [Some(coord)] = affected.tiles[..] else { return None };
    grid.tile_bbox(coord).almost_equals(&query.bbox, x_res / 10.0, y_res / 10.0).then_some(coord)
}

/// Whole pixels of a map.
struct PixelWindow {
    x: i64,
    y: i64,
    size: Size,
    bbox: Bbox,
}

impl PixelWindow {
    /// The pixels of `query` that `inside` touches, and their box: the same pixels as in the whole map.
    fn around(inside: &Bbox, query: &MapQuery) -> Option<PixelWindow> {
        let (x_res, y_res) = query.bbox.resolution(query.size);
        // A box that ends on the edge of a pixel but for rounding does not touch the next.
        let (first, last) = (|pixels: f64| (pixels + 1e-6).floor(), |pixels: f64| (pixels - 1e-6).ceil());
        let clamp = |pixels: f64, most: u32| (pixels.max(0.0) as u32).min(most);
        let left = clamp(first((inside.min_x - query.bbox.min_x) / x_res), query.size.width);
        let right = clamp(last((inside.max_x - query.bbox.min_x) / x_res), query.size.width);
        let top = clamp(first((query.bbox.max_y - inside.max_y) / y_res), query.size.height);
        let bottom = clamp(last((query.bbox.max_y - inside.min_y) / y_res), query.size.height);
        if left >= right || top >= bottom {
            return None;
        }
        let bbox = Bbox::new(
            query.bbox.min_x + f64::from(left) * x_res,
            query.bbox.max_y - f64::from(bottom) * y_res,
            query.bbox.min_x + f64::from(right) * x_res,
            query.bbox.max_y - f64::from(top) * y_res,
        );
        Some(PixelWindow { x: left.into(), y: top.into(), size: Size::new(right - left, bottom - top), bbox })
    }
}

fn can_be_transparent(format: &ImageFormat) -> bool {
    use mapproxy_image::Codec;
    matches!(format.codec(), Some(Codec::Png | Codec::WebP))
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::{Coverage, MapExtent, Srs};

    use super::*;
    use crate::testkit::*;

    fn map_of(cache: &TestCache, limit: Option<u64>) -> CachedMap {
        CachedMap::new(Arc::clone(&cache.manager), SourceProfile::new("test", options()), limit)
    }

    fn query(bbox: [f64; 4], width: u32, height: u32) -> MapQuery {
        let [min_x, min_y, max_x, max_y] = bbox;
        let bbox = Bbox::new(min_x, min_y, max_x, max_y);
        MapQuery::new(bbox, Size::new(width, height), grid().srs().clone(), ImageFormat::png())
    }

    fn pixels(image: Option<MapImage>) -> mapproxy_image::Pixels {
        Arc::unwrap_or_clone(image.unwrap().pixels().unwrap())
    }

    #[test]
    fn a_map_is_joined_from_tiles() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let query = query([-5e6, -3e6, 7e6, 6e6], 800, 600);
        let map = map_of(&cache, Some(500)).render(&query).unwrap();
        assert_shows_world(&pixels(map), &query.bbox, 1);
    }

    #[test]
    fn a_map_in_another_srs_is_reprojected() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let mut query = query([-10.0, -10.0, 10.0, 10.0], 500, 500);
        query.srs = Srs::wgs84();
        let pixels = pixels(map_of(&cache, None).render(&query).unwrap());
        let [red, green, ..] = pixels.pixel(250, 250);
        assert!(red.abs_diff(128) <= 1 && green.abs_diff(128) <= 1);
        let [red, green, ..] = pixels.pixel(495, 5);
        assert!(red.abs_diff(134) <= 1 && green.abs_diff(134) <= 1, "{red} {green}");
    }

    #[test]
    fn a_map_that_is_a_tile_is_the_tile() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let coord = TileCoord::new(5, 6, 4);
        let query = query(grid().tile_bbox(coord).to_array(), 256, 256);
        let map = map_of(&cache, Some(500)).render(&query).unwrap().unwrap();
        assert_eq!(map.encoded_bytes().unwrap(), &cache.stored(coord).unwrap());
    }

    #[test]
    fn nothing_is_drawn_beside_the_extent_and_only_the_part_within() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let mut map = map_of(&cache, Some(500));
        map.profile.extent = Some(MapExtent::new(Bbox::new(0.0, 0.0, HALF, HALF), grid().srs().clone()));
        assert!(map.render(&query([-HALF, -HALF, -1.0, -1.0], 300, 300)).unwrap().is_none());
        assert_eq!(source.times_asked(), 0);

        let half = query([-4e6, 1e6, 4e6, 5e6], 800, 400);
        let pixels = pixels(map.render(&half).unwrap());
        assert_eq!(pixels.size(), half.size);
        assert_eq!(pixels.pixel(200, 200)[3], 0);
        assert_eq!(pixels.pixel(398, 200)[3], 0);
        let east = world_color(2e6, 3e6);
        assert!(pixels.pixel(600, 200).iter().zip(east).all(|(is, wanted)| is.abs_diff(wanted) <= 1));
        assert_eq!(pixels.pixel(402, 200)[3], 255);
    }

    #[test]
    fn nothing_is_drawn_where_all_tiles_are_empty() {
        let source = Arc::new(FakeSource::new(|_| Ok(None)));
        let cache = cache(&[&source]).build();
        assert!(map_of(&cache, None).render(&query([-5e6, -3e6, 7e6, 6e6], 800, 600)).unwrap().is_none());
    }

    #[test]
    fn too_many_tiles_are_refused() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let query = query([-HALF, -HALF, HALF, HALF], 1024, 1024);
        let error = map_of(&cache, Some(16)).render(&query).unwrap_err();
        assert!(matches!(error, MapError::TooManyTiles { limit: 16, tiles: 16 }), "{error}");
        assert_eq!(source.times_asked(), 0);
        assert!(map_of(&cache, Some(17)).render(&query).is_ok());
    }

    #[test]
    fn an_unreadable_tile_is_left_out_removed_and_made_anew() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let (query, broken) = (query([-HALF, -HALF, HALF, HALF], 1000, 1000), TileCoord::new(1, 1, 2));
        map_of(&cache, None).render(&query).unwrap();
        let mut flipped = cache.stored(broken).unwrap();
        let middle = flipped.len() / 2;
        flipped[middle..middle + 40].fill(0xa5);
        cache.put(broken, &flipped);
        let map = map_of(&cache, None).render(&query).unwrap();
        assert!(!map.as_ref().unwrap().cacheable(), "nobody may keep a map with a hole");
        let map = pixels(map);
        let centre = world_color(-HALF / 4.0, -HALF / 4.0);
        assert_ne!(map.pixel(375, 625), centre);
        assert!(cache.stored(broken).is_none());
        let map = pixels(map_of(&cache, None).render(&query).unwrap());
        let is = map.pixel(375, 625);
        assert!(is.iter().zip(centre).all(|(is, wanted)| is.abs_diff(wanted) <= 2), "{is:?} instead of {centre:?}");
        assert_eq!(source.times_asked(), 2);
    }

    #[test]
    fn a_tile_that_is_cut_off_is_made_anew_before_the_map_is() {
        let source = Arc::new(FakeSource::world());
        let cache = cache(&[&source]).build();
        let (query, broken) = (query([-HALF, -HALF, HALF, HALF], 1000, 1000), TileCoord::new(1, 1, 2));
        let first = pixels(map_of(&cache, None).render(&query).unwrap());
        let whole = cache.stored(broken).unwrap();
        cache.put(broken, &whole[..whole.len() / 2]);
        assert_eq!(pixels(map_of(&cache, None).render(&query).unwrap()), first);
        assert_eq!(cache.stored(broken).unwrap(), whole);
    }

    #[test]
    fn maps_are_cut_at_a_clipping_coverage() {
        let source = Arc::new(FakeSource::world());
        let east = Coverage::from_bbox(Bbox::new(0.0, -HALF, HALF, HALF), grid().srs().clone()).with_clip(true);
        let cache = cache(&[&source]).with(|options| options.coverage = Some(east)).build();
        let map = pixels(map_of(&cache, None).render(&query([-4e6, 1e6, 4e6, 5e6], 800, 400)).unwrap());
        assert_eq!((map.pixel(300, 200)[3], map.pixel(500, 200)[3]), (0, 255));
    }

    #[test]
    fn a_stand_in_makes_the_map_a_stand_in() {
        let source = Arc::new(FakeSource::new(|query| Ok(Some(world(query).with_cacheable(false)))));
        let cache = cache(&[&source]).build();
        let map = map_of(&cache, None).render(&query([-5e6, -3e6, 7e6, 6e6], 800, 600)).unwrap().unwrap();
        assert!(!map.cacheable());
    }

    #[test]
    fn maps_beyond_the_resolutions_of_the_source_are_empty() {
        let cache = cache(&[]).build();
        let mut map = map_of(&cache, None);
        map.profile.resolutions.max_res = Some(1e6);
        assert!(map.render(&query([-5e6, -3e6, 7e6, 6e6], 800, 600)).unwrap().is_none());
    }

    #[test]
    fn a_cache_of_a_cache_takes_tiles_as_they_are() {
        let upstream = Arc::new(FakeSource::world());
        let below = cache(&[&upstream]).build();
        let mut profile = SourceProfile::new("below", options());
        profile.access = mapproxy_map::Access::TilesOf(grid());
        let tiles: Arc<dyn MapSource> = Arc::new(CachedTiles::new(Arc::clone(&below.manager), profile));
        let above = cache(&[]).with(|options| options.sources = vec![tiles]).build();
        let coord = TileCoord::new(5, 6, 4);
        let tile = above.load(coord).unwrap();
        assert_eq!(tile.bytes.unwrap(), below.stored(coord).unwrap());
        assert_eq!(above.stored(coord), below.stored(coord));
        assert_eq!((upstream.times_asked(), above.number_stored(), below.number_stored()), (1, 1, 16));
    }

    #[test]
    fn a_cache_of_a_cache_in_another_grid_is_drawn_from_maps() {
        let upstream = Arc::new(FakeSource::world());
        let below = cache(&[&upstream]).build();
        let map: Arc<dyn MapSource> = Arc::new(map_of(&below, None));
        let geodetic = Arc::new(TileGrid::builder("geodetic", Srs::wgs84()).build().unwrap());
        let above = cache(&[])
            .with(|options| {
                options.sources = vec![map];
                options.grid = Arc::clone(&geodetic);
                options.creation.meta_size = (1, 1);
                options.creation.meta_buffer = 0;
            })
            .build();
        let tile = above.load(TileCoord::new(2, 1, 2)).unwrap();
        let pixels = decode(&tile.bytes.unwrap());
        let [red, ..] = pixels.pixel(128, 128);
        assert!(red.abs_diff(160) <= 1, "{red} {:?} {:?}", pixels.pixel(1, 128), pixels.pixel(10, 250));
    }

    #[test]
    fn boxes_that_are_no_tiles_are_refused_by_tiles() {
        let cache = cache(&[]).build();
        let tiles = CachedTiles::new(Arc::clone(&cache.manager), SourceProfile::new("test", options()));
        let bbox = grid().tile_bbox(TileCoord::new(5, 6, 4));
        let moved = Bbox::new(bbox.min_x + 1e5, bbox.min_y, bbox.max_x + 1e5, bbox.max_y);
        let mut other_srs = query(bbox.to_array(), 256, 256);
        other_srs.srs = Srs::wgs84();
        for query in [query(moved.to_array(), 256, 256), query(bbox.to_array(), 512, 512), other_srs] {
            assert!(matches!(tiles.render(&query), Err(MapError::Misaligned { .. })));
        }
        assert!(tiles.render(&query(bbox.to_array(), 256, 256)).unwrap().is_none());
    }
}
