//! A source of which only an area may be seen.
//!
//! The area is moved into the SRS of each query, never the query into that of the area: whoever asks chooses the query,
//! and a box that wraps around the world could seem to lie inside. Where the area has no image in the SRS of a query,
//! there is no map.

use std::any::Any;
use std::sync::Arc;

use mapproxy_grid::{Coverage, MapExtent};
use mapproxy_image::{ImageOptions, MapImage, mask};

use crate::{MapError, MapQuery, MapSource, SourceProfile};

/// Shows a source inside of an area; outside it is transparent, and not asked where nothing of the area is wanted.
#[derive(Debug)]
pub struct Clipped {
    source: Arc<dyn MapSource>,
    area: Coverage,
    profile: SourceProfile,
}

impl Clipped {
    /// `source` as far as it lies in `area`.
    pub fn new(source: Arc<dyn MapSource>, area: Coverage) -> Clipped {
        let inner = source.profile();
        // What the extent is good for is skipping a source; without one it is asked, and clipped all the same.
        let extent = inner.extent.as_ref().and_then(|extent| part_of(extent, &area)).or_else(|| inner.extent.clone());
        let profile = SourceProfile { extent, image: transparent(&inner.image), ..inner.clone() };
        Clipped { source, area, profile }
    }

    fn area_for(&self, query: &MapQuery) -> Result<Coverage, MapError> {
        let no_image = |error| MapError::Area { source_name: Arc::clone(&self.profile.name), error };
        self.area.in_srs(&query.srs).map_err(no_image)
    }
}

fn transparent(options: &ImageOptions) -> Arc<ImageOptions> {
    Arc::new(ImageOptions { transparent: Some(true), ..options.clone() })
}

fn part_of(extent: &MapExtent, area: &Coverage) -> Option<MapExtent> {
    let bbox = area.extent().bbox_in(&extent.srs).ok()?.intersection(&extent.bbox)?;
    Some(MapExtent::new(bbox, extent.srs.clone()))
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for Clipped {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let area = self.area_for(query)?;
        if !area.intersects(&query.bbox, &query.srs)? {
            return Ok(None);
        }
        let Some(image) = self.source.render(query)? else { return Ok(None) };
        if area.contains(&query.bbox, &query.srs)? {
            return Ok(Some(image));
        }
        let options = transparent(image.options());
        let cacheable = image.cacheable();
        let clip = || mask::clip(image.into_pixels()?, &query.bbox, &query.srs, &area);
        let pixels = clip().map_err(|error| MapError::Image { source_name: Arc::clone(&self.profile.name), error })?;
        Ok(Some(MapImage::from_pixels(pixels, options).with_cacheable(cacheable)))
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        let is_inside = || Ok::<_, MapError>(self.area_for(query)?.contains(&query.bbox, &query.srs)?);
        self.source.is_opaque(query) && is_inside().unwrap_or(false)
    }

    fn combine(&self, above: &dyn MapSource, query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        let above = (above as &dyn Any).downcast_ref::<Clipped>().filter(|above| above.area == self.area)?;
        let both = self.source.combine(above.source.as_ref(), query)?;
        Some(Arc::new(Clipped::new(both, self.area.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mapproxy_grid::{Bbox, Size, Srs};
    use mapproxy_image::{Color, ImageFormat, PixelMode, Pixels};

    use super::*;

    /// Red everywhere, and opaque; remembers how often it was asked.
    #[derive(Debug)]
    struct Red(SourceProfile, Mutex<usize>);

    impl MapSource for Red {
        fn profile(&self) -> &SourceProfile {
            &self.0
        }
        fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
            *self.1.lock().unwrap() += 1;
            let pixels = Pixels::filled(query.size, PixelMode::Rgb, Color::rgb(255, 0, 0));
            let options = ImageOptions { opacity: Some(0.5), ..ImageOptions::new(ImageFormat::jpeg()) };
            Ok(Some(MapImage::from_pixels(pixels, Arc::new(options)).with_cacheable(false)))
        }
        fn is_opaque(&self, _query: &MapQuery) -> bool {
            true
        }
        fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
            Some(red())
        }
    }

    fn red() -> Arc<Red> {
        let mut profile = SourceProfile::new("red", Arc::new(ImageOptions::new(ImageFormat::jpeg())));
        profile.extent = Some(MapExtent::world());
        Arc::new(Red(profile, Mutex::new(0)))
    }

    fn query(srs: &Srs, [min_x, min_y, max_x, max_y]: [f64; 4]) -> MapQuery {
        let bbox = Bbox::new(min_x, min_y, max_x, max_y);
        MapQuery::new(bbox, Size::new(100, 100), srs.clone(), ImageFormat::png())
    }

    fn triangle() -> Coverage {
        Coverage::from_wkt("POLYGON((0 0,20 0,0 20,0 0))", Srs::wgs84()).unwrap()
    }

    #[test]
    fn outside_of_the_area_there_is_nothing_and_nobody_is_asked() {
        let source = red();
        let clipped = Clipped::new(source.clone(), triangle());
        let wgs84 = Srs::wgs84();
        assert!(clipped.render(&query(&wgs84, [15.0, 15.0, 20.0, 20.0])).unwrap().is_none());
        assert_eq!(*source.1.lock().unwrap(), 0);
        assert_eq!(clipped.profile().extent, Some(MapExtent::new(Bbox::new(0.0, 0.0, 20.0, 20.0), wgs84)));
    }

    #[test]
    fn inside_of_the_area_the_picture_is_that_of_the_source() {
        let source = red();
        let clipped = Clipped::new(source.clone(), triangle());
        let inside = query(&Srs::wgs84(), [1.0, 1.0, 2.0, 2.0]);
        let image = clipped.render(&inside).unwrap().unwrap();
        assert_eq!((image.mode().unwrap(), image.options().transparent), (PixelMode::Rgb, None));
        assert_eq!(*source.1.lock().unwrap(), 1, "asked once");
        assert!(clipped.is_opaque(&inside));
    }

    #[test]
    fn across_the_edge_of_the_area_the_rest_is_transparent() {
        let clipped = Clipped::new(red(), triangle());
        for (srs, [x, y]) in [(Srs::wgs84(), [20.0, 20.0]), (Srs::web_mercator(), [2_226_389.8, 2_273_030.9])] {
            let across = query(&srs, [0.0, 0.0, x, y]);
            let image = clipped.render(&across).unwrap().unwrap();
            assert_eq!((image.options().transparent, image.options().opacity), (Some(true), Some(0.5)));
            assert!(!image.cacheable());
            let pixels = image.pixels().unwrap();
            assert_eq!((pixels.pixel(10, 80), pixels.pixel(80, 20)), ([255, 0, 0, 255], [255, 255, 255, 0]), "{srs}");
            assert!(!clipped.is_opaque(&across));
        }
    }

    #[test]
    fn a_box_that_wraps_around_the_world_shows_no_more() {
        let clipped = Clipped::new(red(), triangle());
        let turn = 40_075_016.685_578_49;
        let around = query(&Srs::web_mercator(), [500_000.0, 500_000.0, 500_000.0 + 4.0 * turn, 600_000.0]);
        assert!(!clipped.is_opaque(&around));
        let pixels = clipped.render(&around).unwrap().unwrap().pixels().unwrap();
        assert!((3..100).all(|x| pixels.pixel(x, 50)[3] == 0));
    }

    #[test]
    fn where_the_area_has_no_image_there_is_no_map() {
        let across = Coverage::from_bbox(Bbox::new(170.0, -50.0, 190.0, -30.0), Srs::wgs84());
        let clipped = Clipped::new(red(), across);
        let error = clipped.render(&query(&Srs::web_mercator(), [0.0, 0.0, 1e6, 1e6])).unwrap_err();
        assert_eq!((error.fault(), error.public_message(false)), (crate::Fault::Local, "internal error".to_owned()));
    }

    #[test]
    fn neighbours_with_one_area_are_asked_together() {
        let (below, above) = (Clipped::new(red(), triangle()), Clipped::new(red(), triangle()));
        let query = query(&Srs::wgs84(), [0.0, 0.0, 30.0, 30.0]);
        let both = below.combine(&above, &query).unwrap();
        assert_eq!(both.render(&query).unwrap().unwrap().pixels().unwrap().pixel(99, 0)[3], 0);
        let other = Coverage::from_bbox(Bbox::new(0.0, 0.0, 20.0, 20.0), Srs::wgs84());
        assert!(below.combine(&Clipped::new(red(), other), &query).is_none());
        assert!(below.combine(red().as_ref(), &query).is_none());
    }
}
