//! `on_error`: a picture of one colour instead of a failure.

use std::sync::Arc;

use mapproxy_grid::Size;
use mapproxy_image::{Color, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::MapError;

/// What to answer to one status.
#[derive(Clone, Debug, PartialEq)]
pub struct OnErrorRule {
    /// The status; `None` (`other`): all failures without a rule of their own, also those without a status.
    pub status: Option<u16>,
    /// The picture's colour; with an alpha below 255 the picture is transparent.
    pub color: Color,
    /// Whether the picture may be stored as a tile.
    pub cacheable: bool,
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

    /// The picture for a failure, or the failure where no rule is made for it.
    pub(crate) fn instead_of(
        &self,
        error: MapError,
        size: Size,
        options: &Arc<ImageOptions>,
        log_target: &str,
    ) -> Result<MapImage, MapError> {
        let status = match &error {
            MapError::Upstream { status, .. } => *status,
            _ => return Err(error),
        };
        match self.picture(status, size, options) {
            Some(picture) => {
                log::warn!(target: log_target, "{error}");
                Ok(picture)
            }
            None => Err(error),
        }
    }

    /// The picture for a failure with or without a status, where a rule says so.
    fn picture(&self, status: Option<u16>, size: Size, options: &Arc<ImageOptions>) -> Option<MapImage> {
        let rule = |status: Option<u16>| self.rules.iter().rev().find(|rule| rule.status == status);
        let OnErrorRule { color, cacheable, .. } =
            status.and_then(|status| rule(Some(status))).or_else(|| rule(None))?;
        let transparent = color.0[3] < 255;
        let mode = if transparent { PixelMode::Rgba } else { PixelMode::Rgb };
        let options = ImageOptions { transparent: Some(transparent), ..ImageOptions::clone(options) };
        let pixels = Pixels::filled(size, mode, *color);
        Some(MapImage::from_pixels(pixels, Arc::new(options)).with_cacheable(*cacheable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_colour_and_the_rest_the_other() {
        let rule = |status, color, cacheable| OnErrorRule { status, color, cacheable };
        let rules = OnErrors::new(vec![
            rule(None, Color::TRANSPARENT, false),
            rule(Some(404), Color::rgb(1, 2, 3), true),
            rule(Some(404), Color::rgb(7, 8, 9), true),
        ]);
        let picture = |rules: &OnErrors, status| rules.picture(status, Size::new(2, 2), &Arc::default());
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
}
