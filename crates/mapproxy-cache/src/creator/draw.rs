//! Makes tiles: asks the sources, merges, cuts, encodes. Nothing is stored here, and no lock is taken.

use std::sync::Arc;

use bytes::Bytes;
use mapproxy_grid::{Bbox, MetaTile, Size, TileCoord};
use mapproxy_image::bands::BandMerge;
use mapproxy_image::merge::{self, Frame, Layer};
use mapproxy_image::{Codec, GeoReference, ImageError, ImageFormat, MapImage, PixelMode, Pixels, tiles};
use mapproxy_map::data::DataTile;
use mapproxy_map::{Access, Dimensions, MapError, MapQuery, MapSource};
use rayon::prelude::*;

use super::{Aim, Asked, MadeTile};
use crate::parallel::try_map;
use crate::store::SingleColor;
use crate::{DataTiles, Tile, TileManager};

/// Sources of one cache asked at once.
const MAX_SOURCES_AT_ONCE: usize = 20;

/// An encoded tile, not stored yet.
pub(super) struct Encoded {
    pub(super) coord: TileCoord,
    pub(super) bytes: Bytes,
    pub(super) single_color: Option<SingleColor>,
}

impl TileManager {
    /// A tile of data, as its source gave it.
    pub(super) fn make_data(
        &self,
        coord: TileCoord,
        dimensions: &Dimensions,
        aim: Aim,
    ) -> Result<Vec<MadeTile>, MapError> {
        let Some(DataTiles { format, source: Some(source) }) = &self.options.data else { return Ok(Vec::new()) };
        let grid = &self.options.grid;
        let query = self.query(grid.tile_bbox(coord), grid.tile_size(), dimensions, aim);
        let DataTile { bytes, cacheable } = source.data(&query, format)?;
        let Some(bytes) = bytes else { return Ok(vec![(coord, Ok(Tile { bytes, modified: None, cacheable }))]) };
        self.keep(vec![(Encoded { coord, bytes, single_color: None }, cacheable)], dimensions, aim.purpose)
    }

    /// A tile as its source gave it, if its format fits, and only if it can be read to its end.
    pub(super) fn make_single(
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

    pub(super) fn make_meta(
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
    pub(super) fn asked_name(&self) -> Arc<str> {
        match self.options.sources.as_slice() {
            [source] => Arc::clone(&source.profile().name),
            _ => Arc::clone(&self.options.name),
        }
    }
}

fn wrong_size(is: Size, wanted: Size) -> ImageError {
    ImageError::Decode(format!("a picture of {is} pixels instead of {wanted}"))
}
