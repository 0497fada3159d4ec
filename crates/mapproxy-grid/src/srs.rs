//! Spatial reference systems: names, axis order, units.
//!
//! `EPSG:4326`, `CRS:84`, `OGC:CRS84` and the web mercators are known by heart, so that a start with nothing but
//! them never opens PROJ's database. Everything else is asked from PROJ once and remembered for the process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use crate::METERS_PER_DEGREE;
use crate::proj_db::{self, Facts, SrsDescription};

/// A spatial reference system; a cheap, plain value.
///
/// Two values are equal when they mean the same definition: `EPSG:900913`, `EPSG:3857`, `EPSG:102100` and
/// `EPSG:102113` are equal, and so are `EPSG:4326` and `CRS:84` (which differ in axis order only).
#[derive(Clone)]
pub struct Srs(Arc<Definition>);

#[derive(Debug)]
struct Definition {
    /// As it was asked for.
    code: String,
    /// The code that stands for all equal ones; what PROJ is asked for.
    canonical: String,
    /// Number of `canonical` in this process: equality without comparing texts.
    id: u32,
    coordinates: Coordinates,
    facts: Facts,
}

/// Coordinates for which we have formulas of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coordinates {
    /// Degrees on WGS 84.
    Wgs84,
    /// Metres of the spherical mercator.
    WebMercator,
    /// A matter for PROJ.
    Other,
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
        let code_asked = code;
        let code = normalize(code);
        if let Some(known) = REGISTRY.find(&code) {
            return known.map_err(|reason| SrsError::Unknown { code: code_asked.to_owned(), reason });
        }
        let canonical = canonical(&code);
        if let Some(Ok(twin)) = REGISTRY.find(&canonical) {
            return Ok(REGISTRY.insert(code, &twin.0.canonical, twin.0.coordinates, twin.0.facts));
        }
        // Two threads may ask PROJ for the same code at once; the second answer is dropped by `insert`.
        match proj_db::look_up(&canonical) {
            Ok(facts) => Ok(REGISTRY.insert(code, &canonical, Coordinates::Other, facts)),
            Err(reason) => {
                REGISTRY.remember_unknown(code, &reason);
                Err(SrsError::Unknown { code: code_asked.to_owned(), reason })
            }
        }
    }

    /// `EPSG:4326`, without a look-up.
    pub fn wgs84() -> Srs {
        static WGS84: LazyLock<Srs> = LazyLock::new(|| Srs::new("EPSG:4326").expect("known by heart"));
        WGS84.clone()
    }

    /// `EPSG:3857`, without a look-up.
    pub fn web_mercator() -> Srs {
        static WEB_MERCATOR: LazyLock<Srs> = LazyLock::new(|| Srs::new("EPSG:3857").expect("known by heart"));
        WEB_MERCATOR.clone()
    }

    /// The code as it was asked for, upper-cased (`EPSG:900913` stays that).
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The SRS of an OGC name as a URL (OGC 09-048r5, 8): `http://www.opengis.net/def/crs/EPSG/0/25832`.
    pub fn from_ogc_url(url: &str) -> Result<Srs, SrsError> {
        let unknown = || SrsError::Unknown { code: url.to_owned(), reason: "not an OGC name of a CRS".to_owned() };
        let name = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let name = name.and_then(|name| name.strip_prefix("www.opengis.net/def/crs/")).ok_or_else(unknown)?;
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            // PROJ takes the edition for part of the authority.
            ["IAU", edition, code] => Srs::new(&format!("IAU_{edition}:{code}")),
            [authority, _, code] => Srs::new(&format!("{authority}:{code}")),
            _ => Err(unknown()),
        }
    }

    /// The OGC name as a URL, as OGC APIs write it.
    pub fn ogc_url(&self) -> String {
        let (authority, code) = self.code().split_once(':').unwrap_or(("EPSG", self.code()));
        match authority.split_once('_') {
            Some((authority, edition)) => format!("http://www.opengis.net/def/crs/{authority}/{edition}/{code}"),
            None if authority == "OGC" => format!("http://www.opengis.net/def/crs/OGC/1.3/{code}"),
            None => format!("http://www.opengis.net/def/crs/{authority}/0/{code}"),
        }
    }

    /// The number of an `EPSG:` code.
    pub fn epsg(&self) -> Option<u32> {
        self.code().strip_prefix("EPSG:")?.parse().ok()
    }

    /// Coordinates are degrees.
    pub fn is_geographic(&self) -> bool {
        self.0.facts.geographic
    }

    /// The definition's first axis points north: WMS 1.3.0 and WMTS write y before x.
    pub fn is_north_first(&self) -> bool {
        self.0.facts.north_first
    }

    /// Metres on the ground per unit: of a degree at the equator of the SRS's ellipsoid for geographic SRS.
    ///
    /// 1 for every other SRS, as MapProxy counts: scale denominators of an SRS in feet are in feet.
    pub fn meters_per_unit(&self) -> f64 {
        self.0.facts.meters_per_unit
    }

    /// Name and area of use, for people. Asks PROJ's database each time.
    pub fn describe(&self) -> Option<SrsDescription> {
        proj_db::describe(self.canonical_code())
    }

    /// The code that stands for all equal ones.
    pub(crate) fn canonical_code(&self) -> &str {
        &self.0.canonical
    }

    /// A small number that equal SRS share.
    pub(crate) fn id(&self) -> u32 {
        self.0.id
    }

    /// Coordinates are degrees, not gon.
    pub(crate) fn is_in_degrees(&self) -> bool {
        self.0.facts.degrees
    }

    pub(crate) fn coordinates(&self) -> Coordinates {
        self.0.coordinates
    }
}

impl PartialEq for Srs {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Srs {}

impl Hash for Srs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

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

/// Upper case, with an authority; a bare number is an EPSG code.
fn normalize(code: &str) -> String {
    let code = code.trim().to_ascii_uppercase();
    if code.contains(':') { code } else { format!("EPSG:{code}") }
}

/// `EPSG:04326` means `EPSG:4326`.
fn canonical(normalized: &str) -> String {
    match normalized.strip_prefix("EPSG:").and_then(|number| number.parse::<u32>().ok()) {
        Some(number) => format!("EPSG:{number}"),
        None => normalized.to_owned(),
    }
}

/// All SRS of the process, by normalized code.
static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::with_well_known);

struct Registry(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    known: FxHashMap<String, Srs>,
    ids: FxHashMap<String, u32>,
    /// Clients may ask for anything: what PROJ does not know is remembered too, within limits.
    unknown: FxHashMap<String, String>,
}

impl Registry {
    const MAX_UNKNOWN: usize = 1000;

    fn with_well_known() -> Registry {
        let registry = Registry(RwLock::default());
        let degrees =
            |north_first| Facts { geographic: true, north_first, meters_per_unit: METERS_PER_DEGREE, degrees: true };
        let metres = Facts { geographic: false, north_first: false, meters_per_unit: 1.0, degrees: false };
        for (code, canonical, coordinates, facts) in [
            ("EPSG:4326", "EPSG:4326", Coordinates::Wgs84, degrees(true)),
            ("CRS:84", "EPSG:4326", Coordinates::Wgs84, degrees(false)),
            // MapProxy holds OGC's spelling for another SRS, though the coordinates are the same.
            ("OGC:CRS84", "OGC:CRS84", Coordinates::Wgs84, degrees(false)),
            ("EPSG:3857", "EPSG:3857", Coordinates::WebMercator, metres),
            ("EPSG:900913", "EPSG:3857", Coordinates::WebMercator, metres),
            ("EPSG:102100", "EPSG:3857", Coordinates::WebMercator, metres),
            ("EPSG:102113", "EPSG:3857", Coordinates::WebMercator, metres),
        ] {
            registry.insert(code.to_owned(), canonical, coordinates, facts);
        }
        registry
    }

    fn find(&self, code: &str) -> Option<Result<Srs, String>> {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match tables.known.get(code) {
            Some(srs) => Some(Ok(srs.clone())),
            None => tables.unknown.get(code).map(|reason| Err(reason.clone())),
        }
    }

    fn insert(&self, code: String, canonical: &str, coordinates: Coordinates, facts: Facts) -> Srs {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(srs) = tables.known.get(&code) {
            return srs.clone();
        }
        let next = u32::try_from(tables.ids.len()).expect("fewer SRS than 2^32");
        let id = *tables.ids.entry(canonical.to_owned()).or_insert(next);
        let srs =
            Srs(Arc::new(Definition { code: code.clone(), canonical: canonical.to_owned(), id, coordinates, facts }));
        tables.known.insert(code, srs.clone());
        srs
    }

    fn remember_unknown(&self, code: String, reason: &str) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if tables.unknown.len() >= Self::MAX_UNKNOWN {
            tables.unknown.clear();
        }
        tables.unknown.insert(code, reason.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn srs(code: &str) -> Srs {
        Srs::new(code).unwrap()
    }

    #[test]
    fn spellings_of_the_web_mercator_are_equal_and_keep_their_code() {
        for code in ["EPSG:900913", "epsg:3857", "102100", " EPSG:102113 ", "EPSG:03857"] {
            assert_eq!(srs(code), Srs::web_mercator(), "{code}");
        }
        assert_eq!(srs("epsg:900913").code(), "EPSG:900913");
        assert_eq!(srs("102100").epsg(), Some(102_100));
    }

    #[test]
    fn crs_84_is_wgs84_with_longitude_first() {
        assert_eq!(srs("CRS:84"), Srs::wgs84());
        assert!(Srs::wgs84().is_north_first());
        assert!(!srs("CRS:84").is_north_first());
        assert_ne!(srs("OGC:CRS84"), Srs::wgs84());
    }

    #[test]
    fn a_description_has_a_name_and_an_area() {
        let utm = srs("EPSG:25832").describe().unwrap();
        assert!(utm.name.contains("UTM zone 32N"), "{utm:?}");
        let [west, south, east, north] = utm.area_of_use.unwrap();
        assert!((west - 6.0).abs() < 0.1 && (east - 12.0).abs() < 0.1 && south > 35.0 && north < 86.0, "{utm:?}");
        assert_eq!(srs("EPSG:900913").describe(), srs("EPSG:3857").describe());
        let [west, _, east, _] = srs("EPSG:2193").describe().unwrap().area_of_use.unwrap();
        assert!(-180.0 <= west && east <= 180.0);
    }

    #[test]
    fn axis_order_and_kind_come_from_the_definition() {
        for (code, geographic, north_first) in [
            ("EPSG:4326", true, true),
            ("CRS:84", true, false),
            ("OGC:CRS84", true, false),
            ("EPSG:4258", true, true),
            ("EPSG:4807", true, true),
            ("EPSG:4979", true, true),
            ("EPSG:9518", true, true),
            ("OGC:CRS83", true, false),
            ("IAU_2015:30100", true, true),
            ("IAU_2015:49910", false, false),
            ("IGNF:LAMB93", false, false),
            ("ESRI:54009", false, false),
            ("EPSG:31466", false, true),
            ("EPSG:31467", false, true),
            ("EPSG:31468", false, true),
            ("EPSG:3035", false, true),
            ("EPSG:3857", false, false),
            ("EPSG:25832", false, false),
            ("EPSG:2056", false, false),
            ("EPSG:21781", false, false),
            ("EPSG:2225", false, false),
            ("EPSG:5514", false, false),
            ("EPSG:3413", false, false),
        ] {
            let srs = srs(code);
            assert_eq!((srs.is_geographic(), srs.is_north_first()), (geographic, north_first), "{code}");
        }
    }

    #[test]
    fn a_degree_is_as_long_as_the_ellipsoid_is_large() {
        assert_eq!(Srs::wgs84().meters_per_unit(), 111_319.49079327358);
        assert_eq!(srs("EPSG:4258").meters_per_unit(), 111_319.49079327358);
        let moon = srs("IAU_2015:30100").meters_per_unit();
        assert!((moon - 1_737_400.0 * std::f64::consts::TAU / 360.0).abs() < 1e-6, "{moon}");
        assert_eq!(srs("EPSG:25832").meters_per_unit(), 1.0);
        assert_eq!(srs("EPSG:2225").meters_per_unit(), 1.0);
    }

    #[test]
    fn ogc_names_are_read_and_written() {
        for (code, url) in [
            ("EPSG:4326", "http://www.opengis.net/def/crs/EPSG/0/4326"),
            ("EPSG:900913", "http://www.opengis.net/def/crs/EPSG/0/900913"),
            ("CRS:84", "http://www.opengis.net/def/crs/CRS/0/84"),
            ("OGC:CRS84", "http://www.opengis.net/def/crs/OGC/1.3/CRS84"),
            ("IAU_2015:30100", "http://www.opengis.net/def/crs/IAU/2015/30100"),
        ] {
            assert_eq!(srs(code).ogc_url(), url);
            assert_eq!(Srs::from_ogc_url(url).unwrap().code(), code);
        }
        assert_eq!(Srs::from_ogc_url("https://www.opengis.net/def/crs/EPSG/9.9.1/25832").unwrap(), srs("EPSG:25832"));
        for url in ["", "EPSG:4326", "http://www.opengis.net/def/crs/EPSG/0", "http://www.opengis.net/def/crs/a/b/c/d"]
        {
            assert!(Srs::from_ogc_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_code() {
        let codes = [
            "",
            ":",
            "EPSG:",
            "EPSG:999999",
            "foo:bar",
            "EPSG:1127",
            "EPSG:1671",
            "EPSG:5773",
            "EPSG:7030",
            "+proj=merc",
            "EPSG:4326;DROP",
            "EPSG:-1",
            "äöü:ß",
            "EPSG:\0",
            "WGS 84",
            "EPSG:4326 +proj=x",
            "FOO",
            "../../etc/passwd:x",
        ];
        for code in codes {
            for _ in 0..2 {
                let error = Srs::new(code).unwrap_err().to_string();
                assert!(error.starts_with(&format!("unknown SRS {code:?}: ")), "{error}");
            }
        }
    }

    #[test]
    fn the_best_source_srs_is_itself_then_preferred_then_of_the_same_kind_then_the_first() {
        let list = |codes: &[&str]| codes.iter().map(|code| srs(code)).collect::<Vec<_>>();
        let preferred = Arc::new(vec![(srs("EPSG:25833"), list(&["EPSG:31467", "EPSG:25832"]))]);
        let supported = SupportedSrs::new(list(&["EPSG:4326", "EPSG:900913", "EPSG:25832"]), preferred);
        let best = |code: &str| supported.best_for(&srs(code)).unwrap().code().to_owned();
        assert_eq!(best("EPSG:3857"), "EPSG:900913");
        assert_eq!(best("EPSG:25833"), "EPSG:25832");
        assert_eq!(best("EPSG:4258"), "EPSG:4326");
        assert_eq!(best("EPSG:31467"), "EPSG:900913");
        assert!(SupportedSrs::default().best_for(&Srs::wgs84()).is_none());
    }
}
