//! Resolutions, scales, and the ranges in which a layer or source is shown.

use crate::{Bbox, Size, Srs};

/// OGC's standard pixel, in metres: scale denominator = resolution in m/px divided by this (OGC 06-042, 7.2.4.6.9).
pub const PIXEL_SIZE_M: f64 = 0.00028;

/// Metres in a degree on the equator of WGS 84 (OGC 07-057r7, 6.1).
pub const METERS_PER_DEGREE: f64 = 6_378_137.0 * 2.0 * std::f64::consts::PI / 360.0;

/// From the coarsest to the finest resolution shown, in metres per pixel; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct ResolutionRange {
    /// The coarsest resolution (the larger number): MapProxy's `min_res`.
    pub min_res: Option<f64>,
    /// The finest resolution (the smaller number): MapProxy's `max_res`.
    pub max_res: Option<f64>,
}

impl ResolutionRange {
    /// The map of `bbox` in `size` pixels is inside the range; equality with either limit is inside.
    pub fn contains(&self, bbox: &Bbox, size: Size, srs: &Srs) -> bool {
        let (mut x_res, mut y_res) = bbox.resolution(size);
        if srs.is_geographic() {
            x_res *= srs.meters_per_unit();
            y_res *= srs.meters_per_unit();
        }
        let too_coarse = |res: f64| self.min_res.is_some_and(|min| res >= min + 1e-6);
        let too_fine = |res: f64| self.max_res.is_some_and(|max| res < max);
        !(too_coarse(x_res) || too_coarse(y_res) || too_fine(x_res) || too_fine(y_res))
    }

    /// The range in which at least one of both is shown; unlimited where one is.
    pub fn union(&self, other: &ResolutionRange) -> ResolutionRange {
        ResolutionRange {
            min_res: self.min_res.zip(other.min_res).map(|(a, b)| a.max(b)),
            max_res: self.max_res.zip(other.max_res).map(|(a, b)| a.min(b)),
        }
    }

    /// No limit on either side.
    pub fn is_unlimited(&self) -> bool {
        self.min_res.is_none() && self.max_res.is_none()
    }
}
