//! Coordinate transformation, with transformers kept per thread.
//!
//! Between degrees on WGS 84 and the web mercator our own formula answers, to the bit as PROJ would; everything else
//! is PROJ's. A PROJ object costs milliseconds and may not change threads, so each thread keeps those it has used.

use std::cell::RefCell;
use std::f64::consts::{FRAC_PI_2, PI};
use std::rc::Rc;

use proj::Proj;

use crate::srs::Coordinates;
use crate::{Bbox, Srs, proj_db};

/// Radius of the sphere of the web mercator, in metres.
const RADIUS: f64 = 6_378_137.0;

/// The web mercator's square reaches so far from the origin, in metres.
const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;

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
        match Path::between(self, to)? {
            Path::Same => {}
            Path::ToMercator => points.iter_mut().for_each(|point| *point = to_mercator(*point)),
            Path::FromMercator => points.iter_mut().for_each(|point| *point = from_mercator(*point)),
            Path::Proj(proj) => {
                for point in points {
                    *point = proj.convert(*point).unwrap_or((f64::INFINITY, f64::INFINITY));
                }
            }
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

/// How points get from one SRS to the other.
enum Path {
    Same,
    ToMercator,
    FromMercator,
    Proj(Rc<Proj>),
}

impl Path {
    fn between(from: &Srs, to: &Srs) -> Result<Path, TransformError> {
        use Coordinates::{Other, WebMercator, Wgs84};
        Ok(match (from.coordinates(), to.coordinates()) {
            _ if from == to => Path::Same,
            (Wgs84, Wgs84) | (WebMercator, WebMercator) => Path::Same,
            (Wgs84, WebMercator) => Path::ToMercator,
            (WebMercator, Wgs84) => Path::FromMercator,
            (Other, _) | (_, Other) => Path::Proj(transformer(from, to)?),
        })
    }
}

/// Transformers kept in a thread. Each holds a PROJ context, so their number is limited.
const MAX_TRANSFORMERS: usize = 64;

/// The identities of two SRS.
type Pair = (u32, u32);

thread_local! {
    /// The last used one last.
    static TRANSFORMERS: RefCell<Vec<(Pair, Rc<Proj>)>> = const { RefCell::new(Vec::new()) };
}

fn transformer(from: &Srs, to: &Srs) -> Result<Rc<Proj>, TransformError> {
    let pair = (from.id(), to.id());
    TRANSFORMERS.with_borrow_mut(|transformers| {
        if let Some(index) = transformers.iter().rposition(|(known, _)| *known == pair) {
            let last = transformers.len() - 1;
            transformers.swap(index, last);
            return Ok(Rc::clone(&transformers[last].1));
        }
        let proj = proj_db::transformation(from.canonical_code(), to.canonical_code())
            .map_err(|reason| from.no_image(to, format!("coordinates ({reason})")))?;
        if transformers.len() >= MAX_TRANSFORMERS {
            transformers.remove(0);
        }
        let proj = Rc::new(proj);
        transformers.push((pair, Rc::clone(&proj)));
        Ok(proj)
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

const NO_IMAGE: (f64, f64) = (f64::INFINITY, f64::INFINITY);

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
