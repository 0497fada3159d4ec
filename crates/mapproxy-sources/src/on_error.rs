//! `on_error`: a picture of one colour instead of a failure.

use std::sync::Arc;

use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::{MapError, MapQuery};

/// What to answer to one status.
#[derive(Clone, Debug, PartialEq)]
pub struct OnErrorRule {
    /// The status; `None` (`other`): all failures without a rule of their own, also those without a status.
    pub status: Option<u16>,
    /// The picture's colour; with an alpha below 255 the picture is transparent.
    pub color: Color,
    /// Whether the picture may be stored as a tile.
    pub cacheable: bool,
    /// Where an old tile can be shown, the failure stays one, and so the old tile is.
    pub authorize_stale: bool,
}

/// All rules of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnErrors {
    rules: Vec<OnErrorRule>,
}

impl OnErrors {
    /// Of two rules for one status the later counts.
    pub fn new(rules: Vec<OnErrorRule>) -> Self {
        OnErrors { rules }
    }

    /// The picture of `size` for a failure to answer `query`; the failure, where no rule is made for it.
    pub(crate) fn instead_of(
        &self,
        error: MapError,
        query: &MapQuery,
        size: Size,
        options: &Arc<ImageOptions>,
        log_target: &str,
    ) -> Result<MapImage, MapError> {
        let Some(status) = upstream_status(&error) else { return Err(error) };
        match self.rule(status) {
            Some(rule) if !(rule.authorize_stale && query.has_stale) => {
                log::warn!(target: log_target, "{error}");
                Ok(rule.picture(size, options))
            }
            _ => Err(error),
        }
    }

    /// The rule for a failure with or without a status.
    pub(crate) fn rule(&self, status: Option<u16>) -> Option<&OnErrorRule> {
        let rule = |status: Option<u16>| self.rules.iter().rev().find(|rule| rule.status == status);
        status.and_then(|status| rule(Some(status))).or_else(|| rule(None))
    }
}

impl OnErrorRule {
    fn picture(&self, size: Size, options: &Arc<ImageOptions>) -> MapImage {
        let transparent = self.color.0[3] < 255;
        let mode = if transparent { PixelMode::Rgba } else { PixelMode::Rgb };
        let options = ImageOptions { transparent: Some(transparent), ..ImageOptions::clone(options) };
        let pixels = Pixels::filled(size, mode, self.color);
        MapImage::from_pixels(pixels, Arc::new(options)).with_cacheable(self.cacheable)
    }
}

/// Of a failure of an upstream server; the inner `None` where it sent no status.
fn upstream_status(error: &MapError) -> Option<Option<u16>> {
    match error {
        MapError::Upstream { status, .. } => Some(*status),
        MapError::Shared(error) => upstream_status(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(status: Option<u16>, color: Color, cacheable: bool) -> OnErrorRule {
        OnErrorRule { status, color, cacheable, authorize_stale: false }
    }

    #[test]
    fn a_status_has_its_own_colour_and_the_rest_the_other() {
        let rules = OnErrors::new(vec![
            rule(None, Color::TRANSPARENT, false),
            rule(Some(404), Color::rgb(1, 2, 3), true),
            rule(Some(404), Color::rgb(7, 8, 9), true),
        ]);
        let picture =
            |rules: &OnErrors, status| rules.rule(status).map(|rule| rule.picture(Size::new(2, 2), &Arc::default()));
        let not_found = picture(&rules, Some(404)).unwrap();
        assert_eq!(not_found.pixels().unwrap().pixel(1, 1), [7, 8, 9, 255]);
        assert!(not_found.cacheable());
        for status in [Some(500), None] {
            let other = picture(&rules, status).unwrap();
            assert_eq!(other.pixels().unwrap().pixel(0, 0), [255, 255, 255, 0]);
            assert_eq!((other.cacheable(), other.options().transparent), (false, Some(true)));
        }
        let only_404 = OnErrors::new(vec![rule(Some(404), Color::WHITE, true)]);
        assert!(picture(&only_404, Some(500)).is_none() && picture(&only_404, None).is_none());
    }

    #[test]
    fn where_an_old_tile_can_be_shown_the_failure_stays_one_if_a_rule_says_so() {
        let stale = OnErrorRule { authorize_stale: true, ..rule(Some(500), Color::rgb(1, 2, 3), false) };
        let rules = OnErrors::new(vec![stale, rule(None, Color::WHITE, false)]);
        let shown = |status, has_stale| {
            let error = MapError::Upstream {
                source_name: "wms".into(),
                message: "HTTP Error".to_owned(),
                url: "http://h".to_owned(),
                reason: String::new(),
                status: Some(status),
            };
            let bbox = mapproxy_grid::Bbox::new(0.0, 0.0, 1.0, 1.0);
            let (size, png) = (Size::new(2, 2), mapproxy_image::ImageFormat::png());
            let query = MapQuery { has_stale, ..MapQuery::new(bbox, size, mapproxy_grid::Srs::wgs84(), png) };
            let error = MapError::Shared(Arc::new(error));
            rules.instead_of(error, &query, size, &Arc::default(), "test").is_ok()
        };
        assert!(shown(500, false) && !shown(500, true));
        assert!(shown(502, false) && shown(502, true));
    }
}
