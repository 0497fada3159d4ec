//! `type: debug`: writes what was asked into a transparent picture.

use std::sync::Arc;

use mapproxy_grid::{Coverage, ResolutionRange};
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, message};
use mapproxy_map::{Access, MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::pyfmt::push_f64;

/// Draws box and resolution of each query.
#[derive(Debug)]
pub struct DebugSource {
    profile: SourceProfile,
}

impl DebugSource {
    /// The source called `name` in the configuration.
    pub fn new(name: &str, coverage: Option<Coverage>, resolutions: ResolutionRange) -> Self {
        let options = ImageOptions::new(ImageFormat::png()).with_transparent(true);
        let profile = SourceProfile {
            extent: coverage.as_ref().map(Coverage::extent),
            coverage,
            resolutions,
            access: Access::EachTile,
            ..SourceProfile::new(name, Arc::new(options))
        };
        DebugSource { profile }
    }
}

impl MapSource for DebugSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.profile.name)));
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        // Unlike other pictures with text, this one stands in for nothing.
        let picture = message::overlay(&description(query), query.size, &self.profile.image);
        Ok(Some(picture.with_cacheable(true)))
    }
}

/// The box, and the resolution in units of the SRS and in metres.
fn description(query: &MapQuery) -> String {
    let mut text = "bbox: (".to_owned();
    for (index, edge) in query.bbox.to_array().into_iter().enumerate() {
        text.push_str(if index > 0 { ", " } else { "" });
        push_f64(&mut text, edge);
    }
    let resolution = query.resolution();
    let metres = resolution * query.srs.meters_per_unit();
    format!("{text})\nres: {resolution:.8}({metres:.8})")
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::{Bbox, Size, Srs};

    use super::*;

    #[test]
    fn box_and_resolution_are_written() {
        let bbox = Bbox::new(-180.0, -90.0, 180.0, 90.5);
        let query = MapQuery::new(bbox, Size::new(360, 180), Srs::wgs84(), ImageFormat::png());
        assert_eq!(description(&query), "bbox: (-180.0, -90.0, 180.0, 90.5)\nres: 1.00000000(111319.49079327)");
    }

    #[test]
    fn something_is_drawn_on_a_transparent_ground() {
        let source = DebugSource::new("debug", None, ResolutionRange::default());
        let bbox = Bbox::new(0.0, 0.0, 10.0, 10.0);
        let query = MapQuery::new(bbox, Size::new(300, 100), Srs::wgs84(), ImageFormat::png());
        let image = source.render(&query).unwrap().unwrap();
        assert!(image.cacheable(), "caches keep it");
        let pixels = image.pixels().unwrap();
        assert_eq!(pixels.size(), query.size);
        assert!(pixels.single_color().is_none() && pixels.has_transparency());
    }
}
