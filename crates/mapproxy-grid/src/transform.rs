//! Coordinate transformation, with transformers kept per thread.
//!
//! Between degrees on WGS 84 and the web mercator our own formula answers, to the bit as PROJ would; everything else
//! is PROJ's. A PROJ object costs milliseconds and may not change threads, so each thread keeps those it has used.

use std::cell::RefCell;
use std::f64::consts::{FRAC_PI_2, PI};

use proj::Proj;

use crate::srs::Coordinates;
use crate::{Bbox, Srs, proj_db};

/// Radius of the sphere of the web mercator, in metres.
const RADIUS: f64 = 6_378_137.0;

/// The web mercator's square reaches so far from the origin, in metres.
const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;

/// What a point without image becomes.
const NO_IMAGE: (f64, f64) = (f64::INFINITY, f64::INFINITY);

/// A box or point has no image in the other SRS.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot transform {what} from {from} to {to}")]
pub struct TransformError {
    /// The box or point.
    pub what: String,
    /// Its SRS.
    pub from: Srs,
    /// The wanted SRS.
    pub to: Srs,
}

impl Srs {
    /// Transforms points in place, x/y order on both sides; a point without image becomes infinite.
    pub fn transform_points(&self, to: &Srs, points: &mut [(f64, f64)]) -> Result<(), TransformError> {
        use Coordinates::{Other, WebMercator, Wgs84};
        let each = |points: &mut [(f64, f64)], formula: fn((f64, f64)) -> (f64, f64)| {
            points.iter_mut().for_each(|point| *point = formula(*point));
        };
        let no_image = |reason: String| self.no_image(to, format!("coordinates ({reason})"));
        match (self.coordinates(), to.coordinates()) {
            (Other, Other) if self == to => {}
            (Wgs84, Wgs84) | (WebMercator, WebMercator) => {}
            (Wgs84, WebMercator) => each(points, to_mercator),
            (WebMercator, Wgs84) => each(points, from_mercator),
            // By way of degrees, so that PROJ needs one transformer for both.
            (Other, WebMercator) => {
                through_proj(self, &Srs::wgs84(), points).map_err(no_image)?;
                each(points, to_mercator);
            }
            (WebMercator, Other) => {
                each(points, from_mercator);
                through_proj(&Srs::wgs84(), to, points).map_err(no_image)?;
            }
            (Other, Wgs84) => through_proj(self, &Srs::wgs84(), points).map_err(no_image)?,
            (Wgs84, Other) => through_proj(&Srs::wgs84(), to, points).map_err(no_image)?,
            (Other, Other) => through_proj(self, to, points).map_err(no_image)?,
        }
        Ok(())
    }

    /// The box around 16 transformed points of the outline (four segments a side).
    ///
    /// Points without image are left out; it is an error if none has one. A box in `EPSG:4326` that reaches the edge
    /// of the world, or goes beyond 85.06° of latitude, reaches exactly the edge of the web mercator.
    pub fn transform_bbox(&self, to: &Srs, bbox: &Bbox) -> Result<Bbox, TransformError> {
        if self == to {
            return Ok(*bbox);
        }
        if bbox.to_array().iter().any(|edge| !edge.is_finite()) {
            return Err(self.no_image(to, bbox.to_string()));
        }
        let mut points = outline(bbox);
        self.transform_points(to, &mut points)?;
        let start = Bbox::new(f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
        let mut around = points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .fold(start, |b, &(x, y)| Bbox::new(b.min_x.min(x), b.min_y.min(y), b.max_x.max(x), b.max_y.max(y)));
        if around.min_x > around.max_x {
            return Err(self.no_image(to, bbox.to_string()));
        }
        // Only these spellings: `CRS:84` and the other web mercators are transformed plainly, as MapProxy does.
        if self.code() == "EPSG:4326" && matches!(to.code(), "EPSG:3857" | "EPSG:900913") {
            snap_to_world_edge(bbox, &mut around);
        }
        Ok(around)
    }

    fn no_image(&self, to: &Srs, what: String) -> TransformError {
        TransformError { what, from: self.clone(), to: to.clone() }
    }
}

/// Transformers kept in a thread. Each has a PROJ context with a database connection, some megabytes.
const MAX_TRANSFORMERS: usize = 16;

/// The identities of two SRS.
type Pair = (u32, u32);

thread_local! {
    /// The last used one last.
    static TRANSFORMERS: RefCell<Vec<(Pair, Proj)>> = const { RefCell::new(Vec::new()) };
}

/// The error says why PROJ has no transformation.
fn through_proj(from: &Srs, to: &Srs, points: &mut [(f64, f64)]) -> Result<(), String> {
    let pair = (from.id(), to.id());
    TRANSFORMERS.with_borrow_mut(|transformers| {
        match transformers.iter().rposition(|(known, _)| *known == pair) {
            Some(index) => transformers[index..].rotate_left(1),
            None => {
                let proj = proj_db::transformation(from.canonical_code(), to.canonical_code())?;
                if transformers.len() >= MAX_TRANSFORMERS {
                    transformers.remove(0);
                }
                transformers.push((pair, proj));
            }
        }
        let (_, proj) = transformers.last().expect("found or pushed");
        // PROJ would refuse these, too, but write a line to stderr for each.
        let is_hopeless = |(x, y): (f64, f64)| {
            !x.is_finite() || !y.is_finite() || (from.is_in_degrees() && (y.abs() > 90.0 + 1e-10 || x.abs() > 572.0))
        };
        for point in points {
            *point = if is_hopeless(*point) { NO_IMAGE } else { proj.convert(*point).unwrap_or(NO_IMAGE) };
        }
        Ok(())
    })
}

/// Corners and three points between on each side, once around.
fn outline(bbox: &Bbox) -> [(f64, f64); 16] {
    let (x_step, y_step) = (bbox.width() / 4.0, bbox.height() / 4.0);
    let x = |i: usize| if i == 4 { bbox.max_x } else { bbox.min_x + i as f64 * x_step };
    let y = |i: usize| if i == 4 { bbox.max_y } else { bbox.min_y + i as f64 * y_step };
    std::array::from_fn(|i| match i {
        0..4 => (x(i), bbox.min_y),
        4..8 => (bbox.max_x, y(i - 4)),
        8..12 => (x(12 - i), bbox.max_y),
        _ => (bbox.min_x, y(16 - i)),
    })
}

fn snap_to_world_edge(degrees: &Bbox, metres: &mut Bbox) {
    if degrees.min_x <= -180.0 {
        metres.min_x = -MERCATOR_EDGE;
    }
    if degrees.min_y <= -85.06 {
        metres.min_y = -MERCATOR_EDGE;
    }
    if degrees.max_x >= 180.0 {
        metres.max_x = MERCATOR_EDGE;
    }
    if degrees.max_y >= 85.06 {
        metres.max_y = MERCATOR_EDGE;
    }
}

/// Degrees to metres (EPSG method 1024), within the limits that PROJ sets for degrees.
fn to_mercator((lon, lat): (f64, f64)) -> (f64, f64) {
    const RADIANS_PER_DEGREE: f64 = PI / 180.0;
    let (lam, phi) = (lon * RADIANS_PER_DEGREE, lat * RADIANS_PER_DEGREE);
    let is_on_earth = lam.abs() <= 10.0 && phi.abs() <= FRAC_PI_2 + 1e-12;
    if !is_on_earth {
        return NO_IMAGE;
    }
    let phi = phi.clamp(-FRAC_PI_2, FRAC_PI_2);
    (wrap(lam) * RADIUS, asinh(phi.tan()) * RADIUS)
}

/// Metres to degrees.
fn from_mercator((x, y): (f64, f64)) -> (f64, f64) {
    const DEGREES_PER_RADIAN: f64 = 180.0 / PI;
    if !x.is_finite() || !y.is_finite() {
        return NO_IMAGE;
    }
    let (lam, psi) = (x * (1.0 / RADIUS), y * (1.0 / RADIUS));
    (wrap(lam) * DEGREES_PER_RADIAN, psi.sinh().atan() * DEGREES_PER_RADIAN)
}

/// A longitude in radians between -π and π; a hair beyond stays, so that the date line does not jump to the other side.
fn wrap(lam: f64) -> f64 {
    if lam.abs() < PI + 1e-12 {
        return lam;
    }
    let turned = lam + PI;
    turned - 2.0 * PI * (turned / (2.0 * PI)).floor() - PI
}

/// Inverse hyperbolic sine with the C library's way of splitting the range; the standard library's differs in the last
/// bit, and upstream servers see our digits.
fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let value = if a > 268_435_456.0 {
        a.ln() + std::f64::consts::LN_2
    } else if a > 2.0 {
        (2.0 * a + 1.0 / ((x * x + 1.0).sqrt() + a)).ln()
    } else {
        let square = x * x;
        (a + square / (1.0 + (1.0 + square).sqrt())).ln_1p()
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(from: &str, to: &str, mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
        Srs::new(from).unwrap().transform_points(&Srs::new(to).unwrap(), &mut points).unwrap();
        points
    }

    #[test]
    fn degrees_become_metres_as_in_proj() {
        // Expected values are from pyproj.
        let degrees = vec![
            (12.345, 67.89),
            (200.0, 10.0),
            (180.000_000_1, 0.0),
            (540.0, 0.0),
            (0.0, 90.0),
            (0.0, 89.9999),
            (0.0, 0.0),
            (0.0, 90.000_000_1),
            (1000.0, 0.0),
            (f64::NAN, 1.0),
            (f64::INFINITY, 1.0),
        ];
        let metres = points("EPSG:4326", "EPSG:3857", degrees);
        assert_eq!(
            metres[..7],
            [
                (1374239.1138429623, 10414386.703743009),
                (-17811118.526923772, 1118889.9748579594),
                (-20037508.331657294, 0.0),
                (-20037508.342789244, 0.0),
                (0.0, 242528680.94374272),
                (0.0, 88985946.57770471),
                (0.0, 0.0),
            ]
        );
        assert!(metres[7..].iter().all(|point| *point == NO_IMAGE), "{metres:?}");
    }

    #[test]
    fn metres_become_degrees_as_in_proj() {
        let metres =
            vec![(1234567.8, 7654321.0), (0.0, 1e9), (1e9, 1.0), (20037509.342789244, 0.0), (f64::INFINITY, 0.0)];
        assert_eq!(
            points("EPSG:3857", "CRS:84", metres),
            [
                (11.090311240218124, 56.478766832891125),
                (0.0, 90.0),
                (-16.84715880478703, 8.983152841195177e-06),
                (-179.99999101684716, 0.0),
                NO_IMAGE,
            ]
        );
    }

    #[test]
    fn a_point_without_image_becomes_infinite_and_the_others_stay_right() {
        let found = points("EPSG:4326", "EPSG:25832", vec![(9.0, 95.0), (9.0, 50.0), (9.0, f64::NAN)]);
        assert_eq!(found[0], NO_IMAGE);
        assert!((found[1].0 - 500_000.0).abs() < 1e-6 && (found[1].1 - 5_538_630.702_868_3).abs() < 1e-3, "{found:?}");
        assert!(!found[2].0.is_finite());
    }

    #[test]
    fn boxes_are_left_alone_between_equal_srs() {
        let odd = Bbox::new(500.0, f64::NAN, -7.0, f64::INFINITY);
        let same = Srs::wgs84().transform_bbox(&Srs::new("CRS:84").unwrap(), &odd).unwrap();
        assert_eq!(format!("{same}"), format!("{odd}"));
    }

    #[test]
    fn a_box_without_image_is_an_error_that_names_it() {
        let error = Srs::wgs84().transform_bbox(&Srs::web_mercator(), &Bbox::new(0.0, 95.0, 1.0, 96.0)).unwrap_err();
        assert_eq!(error.to_string(), "cannot transform 0,95,1,96 from EPSG:4326 to EPSG:3857");
    }

    #[test]
    fn more_pairs_than_are_kept_still_transform() {
        for zone in (1..=60).chain(1..=60) {
            let utm = Srs::new(&format!("EPSG:{}", 32600 + zone)).unwrap();
            let centre = f64::from(zone) * 6.0 - 183.0;
            let mut points = [(centre, 10.0)];
            Srs::wgs84().transform_points(&utm, &mut points).unwrap();
            assert!((points[0].0 - 500_000.0).abs() < 1e-6);
            utm.transform_points(&Srs::wgs84(), &mut points).unwrap();
            assert!((points[0].0 - centre).abs() < 1e-9 && (points[0].1 - 10.0).abs() < 1e-9);
        }
    }

    #[test]
    fn threads_transform_at_the_same_time() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let found = points("EPSG:31467", "EPSG:25832", vec![(3_500_000.0, 5_540_000.0)]);
                        assert!((found[0].0 - 499_930.0).abs() < 50.0, "{found:?}");
                    }
                });
            }
        });
    }

    proptest! {
        #[test]
        fn the_web_mercator_goes_there_and_back(lon in -180.0_f64..180.0, lat in -89.9_f64..89.9) {
            let (x, y) = from_mercator(to_mercator((lon, lat)));
            prop_assert!((x - lon).abs() < 1e-11 && (y - lat).abs() < 1e-11);
        }

        #[test]
        fn any_numbers_are_transformed_without_panic(a in any::<f64>(), b in any::<f64>()) {
            points("EPSG:4326", "EPSG:3857", vec![(a, b)]);
            points("EPSG:3857", "EPSG:4326", vec![(a, b)]);
            points("EPSG:25832", "EPSG:4326", vec![(a, b)]);
        }
    }
}
