//! Spatial reference systems: names, axis order, units.

use std::fmt;
use std::sync::Arc;

/// A spatial reference system; a cheap, plain value.
///
/// Two values are equal when they mean the same definition: `EPSG:900913`, `EPSG:3857`, `EPSG:102100` and
/// `EPSG:102113` are equal, and so are `EPSG:4326` and `CRS:84` (which differ in axis order only).
#[derive(Clone)]
pub struct Srs(Arc<Definition>);

#[derive(Debug)]
struct Definition {
    code: String,
}

/// Why a code is not an SRS.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SrsError {
    /// PROJ's database does not know the code.
    #[error("unknown SRS {code:?}: {reason}")]
    Unknown {
        /// The code as written.
        code: String,
        /// What PROJ said.
        reason: String,
    },
}

impl Srs {
    /// Looks the code up (`EPSG:25832`, `CRS:84`, `3857`, `OGC:CRS84`, `IAU_2015:30100`, …). Remembered for the process.
    pub fn new(code: &str) -> Result<Srs, SrsError> {
        let _ = code;
        todo!()
    }

    /// `EPSG:4326`, without a look-up.
    pub fn wgs84() -> Srs {
        todo!()
    }

    /// `EPSG:3857`, without a look-up.
    pub fn web_mercator() -> Srs {
        todo!()
    }

    /// The code as it was asked for, upper-cased (`EPSG:900913` stays that).
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The number of an `EPSG:` code.
    pub fn epsg(&self) -> Option<u32> {
        self.code().strip_prefix("EPSG:")?.parse().ok()
    }

    /// Coordinates are degrees.
    pub fn is_geographic(&self) -> bool {
        todo!()
    }

    /// The definition's first axis points north: WMS 1.3.0 and WMTS write y before x.
    pub fn is_north_first(&self) -> bool {
        todo!()
    }

    /// Metres on the ground per unit: of a degree at the equator of the SRS's ellipsoid for geographic SRS.
    pub fn meters_per_unit(&self) -> f64 {
        todo!()
    }
}

impl PartialEq for Srs {
    fn eq(&self, other: &Self) -> bool {
        let _ = other;
        todo!()
    }
}

impl Eq for Srs {}

impl fmt::Debug for Srs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Srs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The SRS that something supports, in order, and which of them is best asked for another.
#[derive(Clone, Debug, Default)]
pub struct SupportedSrs {
    srs: Vec<Srs>,
    /// `globals.srs.preferred_src_proj`: for a target, sources in order of preference.
    preferred: Arc<Vec<(Srs, Vec<Srs>)>>,
}

impl SupportedSrs {
    /// `srs` in order, with the preferences of the configuration.
    pub fn new(srs: Vec<Srs>, preferred: Arc<Vec<(Srs, Vec<Srs>)>>) -> Self {
        SupportedSrs { srs, preferred }
    }

    /// The SRS as listed.
    pub fn as_slice(&self) -> &[Srs] {
        &self.srs
    }

    /// The listed SRS equal to `srs`, with the listed spelling.
    pub fn find(&self, srs: &Srs) -> Option<&Srs> {
        self.srs.iter().find(|s| s.code() == srs.code()).or_else(|| self.srs.iter().find(|s| *s == srs))
    }

    /// The SRS to ask for in order to answer in `target`: itself, else a preferred one, else the first of the same
    /// kind (geographic or projected), else the first. `None` only when nothing is listed.
    pub fn best_for(&self, target: &Srs) -> Option<&Srs> {
        if let Some(same) = self.find(target) {
            return Some(same);
        }
        let preferred = self.preferred.iter().find(|(t, _)| t == target).map(|(_, list)| list.as_slice());
        preferred
            .unwrap_or_default()
            .iter()
            .find_map(|p| self.find(p))
            .or_else(|| self.srs.iter().find(|s| s.is_geographic() == target.is_geographic()))
            .or_else(|| self.srs.first())
    }
}
