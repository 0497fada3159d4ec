//! `type: raster`: a georeferenced picture on disk.
//!
//! The picture is decoded when first asked for and kept: 1, 3 or 4 bytes a pixel (grey, RGB, RGBA), and a third more for
//! the overviews, each half as wide and high as the one before, made when a map first needs them. When the file changes,
//! the next request reads it anew; one that cannot be read then leaves the old picture in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use mapproxy_grid::{Bbox, Coverage, MapExtent, ResolutionRange, Size, Srs};
use mapproxy_image::{ImageError, ImageOptions, MapImage, PixelMode, Pixels, codec, transform};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::overview::half;
use crate::{SourceError, TransparentColor, georeference};

/// Target of the log.
const LOG: &str = "mapproxy.source.raster";

/// The largest picture that is decoded: 400 megapixels, 1.2 GB of RGB.
const MAX_PIXELS: u64 = 400_000_000;

/// Pixels around the part of the picture that a map shows, for resampling at its edges.
const MARGIN: f64 = 4.0;

/// What a [`RasterSource`] is made of.
#[derive(Clone, Debug)]
pub struct RasterOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `file`: PNG, JPEG, TIFF, GIF or WebP.
    pub file: PathBuf,
    /// `srs`; `None`: what the GeoTIFF says.
    pub srs: Option<Srs>,
    /// `bbox` in `srs`; `None`: what a world file beside the picture or the GeoTIFF says.
    pub bbox: Option<Bbox>,
    /// Of the answers; `resampling` counts.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
}

/// A picture on disk, scaled and reprojected as asked.
#[derive(Debug)]
pub struct RasterSource {
    profile: SourceProfile,
    options: RasterOptions,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    picture: Arc<Picture>,
    /// The state of a file that could not be read: it is not tried again until it changes.
    broken: Option<Stamp>,
}

/// Tells two states of a file apart.
type Stamp = (SystemTime, u64);

/// The picture in one state of the file.
#[derive(Debug)]
struct Picture {
    stamp: Stamp,
    size: Size,
    opaque: bool,
    bbox: Bbox,
    srs: Srs,
    /// The picture and its overviews, each half the one before.
    levels: Vec<OnceLock<Result<Arc<Pixels>, String>>>,
}

impl RasterSource {
    /// Reads the picture's header and position; its pixels are decoded when first asked for.
    pub fn new(options: RasterOptions) -> Result<Self, SourceError> {
        let picture = Picture::open(&options).map_err(|reason| SourceError::File {
            source_name: Arc::clone(&options.name),
            file: options.file.display().to_string(),
            reason,
        })?;
        let own = MapExtent::new(picture.bbox, picture.srs.clone());
        let profile = SourceProfile {
            extent: Some(options.coverage.as_ref().map_or(own, Coverage::extent)),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let current = Mutex::new(Current { picture: Arc::new(picture), broken: None });
        Ok(RasterSource { profile, options, current })
    }

    /// The picture as the file is now.
    fn picture(&self) -> Arc<Picture> {
        let now = stamp(&self.options.file);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = |now| now == current.picture.stamp || current.broken == Some(now);
        if let Ok(now) = now
            && !unchanged(now)
        {
            match Picture::open(&self.options) {
                Ok(picture) => *current = Current { picture: Arc::new(picture), broken: None },
                Err(reason) => {
                    let (name, file) = (&self.options.name, self.options.file.display());
                    log::warn!(target: LOG, "{name}: {file}: {reason}; the picture read before stays in use");
                    current.broken = Some(now);
                }
            }
        }
        Arc::clone(&current.picture)
    }

    fn error(&self, error: ImageError) -> MapError {
        MapError::Image { source_name: Arc::clone(&self.profile.name), error }
    }
}

impl MapSource for RasterSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.profile.name)));
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let picture = self.picture();
        let wanted = match query.srs == picture.srs {
            true => query.bbox,
            false => query.srs.transform_bbox(&picture.srs, &query.bbox)?,
        };
        if query.size.pixels() == 0 || !wanted.is_valid() || !picture.bbox.intersects(&wanted) {
            return Ok(None);
        }
        let level = picture.level_for(&wanted, query.size);
        let pixels = picture.pixels(level, &self.options).map_err(|e| self.error(ImageError::Decode(e)))?;
        let (part, bbox) = picture.part(&pixels, level, &wanted);
        let whole = picture.bbox.contains(&wanted);
        let options = match whole || self.profile.image.transparent == Some(true) {
            true => Arc::clone(&self.profile.image),
            false => Arc::new(ImageOptions::clone(&self.profile.image).with_transparent(true)),
        };
        let part =
            MapImage::from_pixels(if whole { part } else { part.into_mode(PixelMode::Rgba) }, Arc::clone(&options));
        let target = (&query.bbox, query.size, &query.srs);
        transform::transform(&part, (&bbox, &picture.srs), target, &options).map(Some).map_err(|e| self.error(e))
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        let image = &self.profile.image;
        let settings = image.transparent != Some(true)
            && self.options.transparent_color.is_none()
            && image.opacity.is_none_or(|opacity| opacity == 0.0 || opacity >= 0.99)
            && self.profile.resolutions.contains(&query.bbox, query.size, &query.srs);
        let covered = |coverage: &Coverage| coverage.contains(&query.bbox, &query.srs).unwrap_or(false);
        settings && self.profile.coverage.as_ref().is_none_or(covered) && {
            let picture = self.picture();
            let wanted = query.srs.transform_bbox(&picture.srs, &query.bbox);
            picture.opaque && wanted.is_ok_and(|wanted| picture.bbox.contains(&wanted))
        }
    }
}

impl Picture {
    /// Reads header and position.
    fn open(options: &RasterOptions) -> Result<Self, String> {
        let file = fs::read(&options.file).map_err(|error| error.to_string())?;
        let stamp = stamp(&options.file).map_err(|error| error.to_string())?;
        let header = codec::header(&file).map_err(|error| error.to_string())?;
        let size = header.size;
        if size.pixels() > MAX_PIXELS {
            return Err(format!("{size} pixels are more than {MAX_PIXELS}; serve it as tiles or with a WMS"));
        }
        if size.pixels() == 0 {
            return Err("the picture has no pixels".to_owned());
        }
        let tags = match (&options.bbox, &options.srs) {
            (Some(_), Some(_)) => georeference::GeoTags::default(),
            _ => georeference::geo_tags(&file, size)?,
        };
        let world = match options.bbox {
            Some(bbox) => Some(bbox),
            None => georeference::world_file(&options.file, size)?,
        };
        let bbox =
            world.or(tags.bbox).ok_or("nothing says where the picture lies: give bbox, a world file or a GeoTIFF")?;
        if !bbox.is_valid() {
            return Err(format!("{bbox} is no box"));
        }
        let srs = options.srs.clone().or(tags.srs).ok_or("nothing says in which SRS the picture is: give srs")?;
        let overviews = (size.width.max(size.height)).ilog2() + 1;
        let levels = (0..overviews).map(|_| OnceLock::new()).collect();
        let opaque = header.mode != PixelMode::Rgba;
        Ok(Picture { stamp, size, opaque, bbox, srs, levels })
    }

    /// Units of the SRS a pixel of `level`.
    fn resolution(&self, level: usize) -> (f64, f64) {
        let (x, y) = self.bbox.resolution(self.size);
        let factor = (level as f64).exp2();
        (x * factor, y * factor)
    }

    /// The coarsest level that is still finer than a map of `bbox` with `size` pixels.
    fn level_for(&self, bbox: &Bbox, size: Size) -> usize {
        let (wanted_x, wanted_y) = bbox.resolution(size);
        let (x, y) = self.resolution(0);
        let factor = (wanted_x / x).min(wanted_y / y);
        if factor < 2.0 { 0 } else { (factor.log2() as usize).min(self.levels.len() - 1) }
    }

    /// The pixels of a level; the first who asks decodes or shrinks, others wait for it.
    fn pixels(&self, level: usize, options: &RasterOptions) -> Result<Arc<Pixels>, String> {
        let made = self.levels[level].get_or_init(|| match level.checked_sub(1) {
            None => decode(options).map(Arc::new),
            Some(finer) => self.pixels(finer, options).map(|finer| Arc::new(half(&finer))),
        });
        made.clone()
    }

    /// The part of a level that shows `wanted`, a little more at each side, and its box.
    fn part(&self, pixels: &Pixels, level: usize, wanted: &Bbox) -> (Pixels, Bbox) {
        let (x_res, y_res) = self.resolution(level);
        let Size { width, height } = pixels.size();
        let limited = |position: f64, most: u32| position.clamp(0.0, f64::from(most)) as u32;
        let left = limited(((wanted.min_x - self.bbox.min_x) / x_res - MARGIN).floor(), width - 1);
        let right = limited(((wanted.max_x - self.bbox.min_x) / x_res + MARGIN).ceil(), width).max(left + 1);
        let top = limited(((self.bbox.max_y - wanted.max_y) / y_res - MARGIN).floor(), height - 1);
        let bottom = limited(((self.bbox.max_y - wanted.min_y) / y_res + MARGIN).ceil(), height).max(top + 1);
        let bbox = Bbox::new(
            self.bbox.min_x + f64::from(left) * x_res,
            self.bbox.max_y - f64::from(bottom) * y_res,
            self.bbox.min_x + f64::from(right) * x_res,
            self.bbox.max_y - f64::from(top) * y_res,
        );
        let size = Size::new(right - left, bottom - top);
        (pixels.crop(left.into(), top.into(), size, mapproxy_image::Color::TRANSPARENT), bbox)
    }
}

fn decode(options: &RasterOptions) -> Result<Pixels, String> {
    let error = |error: &dyn std::fmt::Display| format!("{}: {error}", options.file.display());
    let file = fs::read(&options.file).map_err(|e| error(&e))?;
    let pixels = codec::decode(&file, MAX_PIXELS).map_err(|e| error(&e))?;
    Ok(match options.transparent_color {
        Some(TransparentColor { color, tolerance }) => pixels.make_transparent(color, tolerance),
        None => pixels,
    })
}

fn stamp(file: &Path) -> std::io::Result<Stamp> {
    let metadata = fs::metadata(file)?;
    Ok((metadata.modified()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use mapproxy_image::{Color, GeoReference, ImageFormat};

    use super::*;

    const RED: Color = Color::rgb(200, 10, 10);
    const BLUE: Color = Color::rgb(10, 10, 200);

    fn write(file: &Path, pixels: &Pixels) {
        let image =
            codec::encode(pixels, &ImageOptions { colors: Some(0), ..ImageOptions::new(ImageFormat::png()) }, None);
        fs::write(file, image.unwrap().bytes).unwrap();
    }

    /// Left half red, right half blue.
    fn two_halves(size: Size) -> Pixels {
        let mut pixels = Pixels::filled(size, PixelMode::Rgb, RED);
        let width = size.width as usize;
        for (index, pixel) in pixels.data_mut().chunks_exact_mut(3).enumerate() {
            if index % width >= width / 2 {
                pixel.copy_from_slice(&BLUE.0[..3]);
            }
        }
        pixels
    }

    fn options(file: PathBuf) -> RasterOptions {
        RasterOptions {
            name: "world".into(),
            file,
            srs: Some(Srs::wgs84()),
            bbox: Some(Bbox::new(-180.0, -90.0, 180.0, 90.0)),
            image: Arc::default(),
            transparent_color: None,
            coverage: None,
            resolutions: ResolutionRange::default(),
        }
    }

    fn query(bbox: [f64; 4], width: u32, height: u32) -> MapQuery {
        let [a, b, c, d] = bbox;
        MapQuery::new(Bbox::new(a, b, c, d), Size::new(width, height), Srs::wgs84(), ImageFormat::png())
    }

    fn pixel(source: &RasterSource, query: &MapQuery, x: u32, y: u32) -> [u8; 4] {
        source.render(query).unwrap().unwrap().pixels().unwrap().pixel(x, y)
    }

    #[test]
    fn maps_show_their_part_at_every_scale() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("world.png");
        write(&file, &two_halves(Size::new(1000, 500)));
        let source = RasterSource::new(options(file)).unwrap();
        for (bbox, width, height) in [
            ([-180.0, -90.0, 180.0, 90.0], 1000, 500),
            ([-180.0, -90.0, 180.0, 90.0], 20, 10),
            ([-1.0, -1.0, 1.0, 1.0], 256, 256),
        ] {
            let query = query(bbox, width, height);
            assert_eq!(pixel(&source, &query, 1, height / 2), RED.0, "{bbox:?}");
            assert_eq!(pixel(&source, &query, width - 2, height / 2), BLUE.0, "{bbox:?}");
            assert!(source.is_opaque(&query));
        }
        let mercator = MapQuery {
            srs: Srs::web_mercator(),
            ..query([-20037508.342789244, -20037508.342789244, 20037508.342789244, 20037508.342789244], 256, 256)
        };
        assert_eq!(pixel(&source, &mercator, 10, 128), RED.0);
        assert_eq!(pixel(&source, &mercator, 245, 128), BLUE.0);
    }

    #[test]
    fn beyond_the_picture_there_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("world.png");
        write(&file, &two_halves(Size::new(100, 50)));
        let mut options = options(file);
        options.bbox = Some(Bbox::new(0.0, 0.0, 10.0, 10.0));
        let source = RasterSource::new(options).unwrap();
        assert!(source.render(&query([20.0, 0.0, 30.0, 10.0], 10, 10)).unwrap().is_none());
        let partly = query([-10.0, 0.0, 10.0, 20.0], 200, 200);
        assert!(!source.is_opaque(&partly));
        assert_eq!(pixel(&source, &partly, 50, 150)[3], 0);
        assert_eq!(pixel(&source, &partly, 120, 150), RED.0);
        assert_eq!(source.render(&partly).unwrap().unwrap().options().transparent, Some(true));
    }

    #[test]
    fn a_changed_file_is_read_anew_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("world.png");
        write(&file, &two_halves(Size::new(100, 50)));
        let source = RasterSource::new(options(file.clone())).unwrap();
        let query = query([-180.0, -90.0, 180.0, 90.0], 100, 50);
        assert_eq!(pixel(&source, &query, 10, 25), RED.0);
        write(&file, &Pixels::filled(Size::new(64, 32), PixelMode::Rgb, BLUE));
        assert_eq!(pixel(&source, &query, 10, 25), BLUE.0);
        fs::write(&file, "no picture").unwrap();
        assert_eq!(pixel(&source, &query, 10, 25), BLUE.0);
        fs::remove_file(&file).unwrap();
        assert_eq!(pixel(&source, &query, 10, 25), BLUE.0);
    }

    #[test]
    fn a_world_file_says_where_the_picture_lies() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("map.png");
        write(&file, &two_halves(Size::new(100, 50)));
        fs::write(file.with_extension("pgw"), "0.1\n0\n0\n-0.1\n5.05\n54.95\n").unwrap();
        let source = RasterSource::new(RasterOptions { bbox: None, ..options(file) }).unwrap();
        let [a, b, c, d] = source.profile().extent.as_ref().unwrap().bbox.to_array();
        let near = |x: f64, y: f64| (x - y).abs() < 1e-9;
        assert!(near(a, 5.0) && near(b, 50.0) && near(c, 15.0) && near(d, 55.0));
    }

    #[test]
    fn a_geotiff_says_where_it_lies_and_in_which_srs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("map.tiff");
        let utm = Srs::new("EPSG:25832").unwrap();
        let place = GeoReference { bbox: Bbox::new(5e5, 55e5, 6e5, 56e5), srs: utm.clone() };
        let tiff = ImageOptions::new(ImageFormat::new("image/tiff"));
        fs::write(&file, codec::encode(&two_halves(Size::new(100, 100)), &tiff, Some(&place)).unwrap().bytes).unwrap();
        let source = RasterSource::new(RasterOptions { bbox: None, srs: None, ..options(file) }).unwrap();
        let extent = source.profile().extent.clone().unwrap();
        assert_eq!((extent.bbox, extent.srs), (place.bbox, utm.clone()));
        let query = MapQuery::new(place.bbox, Size::new(50, 50), utm, ImageFormat::png());
        assert_eq!(pixel(&source, &query, 5, 25), RED.0);
        assert_eq!(pixel(&source, &query, 45, 25), BLUE.0);
    }

    #[test]
    fn senseless_queries_get_no_map_and_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("world.png");
        write(&file, &two_halves(Size::new(7, 3)));
        let source = RasterSource::new(options(file)).unwrap();
        for (bbox, width, height) in [
            ([0.0, 0.0, 1.0, 1.0], 0, 0),
            ([0.0, 0.0, 0.0, 0.0], 10, 10),
            ([1.0, 1.0, 0.0, 0.0], 10, 10),
            ([f64::NAN, 0.0, 1.0, 1.0], 10, 10),
            ([f64::NEG_INFINITY, 0.0, f64::INFINITY, 1.0], 10, 10),
        ] {
            assert!(source.render(&query(bbox, width, height)).unwrap().is_none(), "{bbox:?}");
        }
        for bbox in [[-1e9, -1e9, 1e9, 1e9], [179.999_999, 89.999_999, 180.0, 90.0]] {
            let image = source.render(&query(bbox, 10, 10)).unwrap().unwrap();
            assert_eq!(image.size().unwrap(), Size::new(10, 10), "{bbox:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("map.png");
        let error = |options: RasterOptions| RasterSource::new(options).unwrap_err().to_string();
        assert!(error(options(file.clone())).contains("map.png: "));
        write(&file, &two_halves(Size::new(10, 10)));
        assert!(error(RasterOptions { bbox: None, ..options(file.clone()) }).contains("give bbox"));
        assert!(error(RasterOptions { srs: None, ..options(file.clone()) }).contains("give srs"));
        fs::write(&file, "text").unwrap();
        assert!(error(options(file)).contains("world: "));
    }
}
