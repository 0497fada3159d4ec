//! From what a request says of place and size to the box and the pixels of a map (OGC 20-058, 8 and 9).

use mapproxy_grid::{Bbox, MapExtent, Size, Srs};

use super::error::ApiError;
use super::request::{Area, MapRequest, Scaling};

/// The longer side of a map whose size is not said.
const DEFAULT_SIDE: f64 = 1024.0;
/// Beyond any place in any unit.
const FAR_AWAY: f64 = 1e12;
const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;

/// The largest picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_side: u32,
    pub(super) max_pixels: u64,
}

/// What is known of the layers of a map.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) extent: MapExtent,
    pub(super) nominal_scale: Option<f64>,
}

impl Limits {
    /// A side may be longer than that of a square of so many pixels, but not without end.
    pub(super) fn new(max_pixels: u64) -> Limits {
        let side = (max_pixels as f64).sqrt().floor() * 10.0;
        Limits { max_side: side.min(f64::from(u32::MAX)) as u32, max_pixels }
    }

    fn check(&self, size: Size) -> Result<Size, ApiError> {
        for (name, value) in [("width", size.width), ("height", size.height)] {
            if value > self.max_side {
                return Err(ApiError::invalid(format!("{name}={value} exceeds max_{name}={}", self.max_side)));
            }
        }
        if size.pixels() > self.max_pixels {
            let (pixels, max) = (size.pixels(), self.max_pixels);
            return Err(ApiError::invalid(format!("number of pixels {pixels} exceed max_pixels={max}")));
        }
        Ok(size)
    }
}

/// The box of a map in its CRS, x/y order, and its size.
pub(super) fn of_map(request: &MapRequest, subject: &Subject<'_>, limits: Limits) -> Result<(Bbox, Size), ApiError> {
    let MapRequest { crs, area, scaling, .. } = request;
    let (bbox, size) = match area {
        Area::Box(bbox, srs, name) => {
            let bbox = reprojected(name, bbox, srs, crs)?;
            let size = of_box(&bbox, scaling, crs)?;
            (bbox, size)
        }
        Area::Default if !scaling.has_size() && scaling.scale.is_none() => {
            let bbox = default_box(subject, crs)?;
            let size = of_box(&bbox, scaling, crs)?;
            (bbox, size)
        }
        Area::Default | Area::Around(..) => {
            let whole = default_box(subject, crs)?;
            let Some(scale) = scaling.scale.or(subject.nominal_scale) else {
                let detail = format!("Layer {} lacks a nominal_res/nominal_scale setting", subject.name);
                return Err(ApiError::not_configured(detail));
            };
            let size = limits.check(fill(scaling, &whole))?;
            let (x, y) = match area {
                Area::Around(point, srs) => reprojected_point(*point, srs, crs)?,
                _ => (whole.min_x + whole.width() / 2.0, whole.min_y + whole.height() / 2.0),
            };
            let resolution = scaling.resolution(scale, crs);
            let half_width = f64::from(size.width) * resolution / 2.0;
            let half_height = f64::from(size.height) * resolution / 2.0;
            (Bbox::new(x - half_width, y - half_height, x + half_width, y + half_height), size)
        }
    };
    if !bbox.is_valid() || bbox.to_array().iter().any(|edge| edge.abs() > FAR_AWAY) {
        return Err(ApiError::invalid("the map has no extent on earth"));
    }
    Ok((bbox, limits.check(size)?))
}

/// The size of a tile with `bbox` whose own size is `size`.
pub(super) fn of_tile(scaling: &Scaling, bbox: &Bbox, size: Size, srs: &Srs, limits: Limits) -> Result<Size, ApiError> {
    if scaling.scale.is_some() && scaling.has_size() {
        return Err(ApiError::invalid("scale-denominator is mutually exclusive with width or height"));
    }
    let size = match scaling.scale {
        Some(scale) => at_scale(bbox, scaling.resolution(scale, srs)),
        None if scaling.has_size() => fill(scaling, bbox),
        None => Size::new(
            pixels(f64::from(size.width) * scaling.density()),
            pixels(f64::from(size.height) * scaling.density()),
        ),
    };
    limits.check(size)
}

/// Of a box that is given, with as many pixels as its scale or size want.
fn of_box(bbox: &Bbox, scaling: &Scaling, srs: &Srs) -> Result<Size, ApiError> {
    match scaling.scale {
        Some(_) if scaling.has_size() => {
            Err(ApiError::invalid("bbox and scale-denominator and (width/height) are mutually exclusive"))
        }
        Some(scale) => Ok(at_scale(bbox, scaling.resolution(scale, srs))),
        None => Ok(fill(scaling, bbox)),
    }
}

fn at_scale(bbox: &Bbox, resolution: f64) -> Size {
    Size::new(pixels(bbox.width() / resolution), pixels(bbox.height() / resolution))
}

/// What is not said of the size, by the proportions of `bbox`.
fn fill(scaling: &Scaling, bbox: &Bbox) -> Size {
    let ratio = bbox.width() / bbox.height();
    match (scaling.width, scaling.height) {
        (Some(width), Some(height)) => Size::new(width, height),
        (Some(width), None) => Size::new(width, pixels(f64::from(width) / ratio)),
        (None, Some(height)) => Size::new(pixels(f64::from(height) * ratio), height),
        (None, None) if ratio >= 1.0 => Size::new(pixels(DEFAULT_SIDE), pixels(DEFAULT_SIDE / ratio)),
        (None, None) => Size::new(pixels(DEFAULT_SIDE * ratio), pixels(DEFAULT_SIDE)),
    }
}

/// At least one, and no more than can be counted.
fn pixels(number: f64) -> u32 {
    number.round().clamp(1.0, f64::from(u32::MAX)) as u32
}

fn default_box(subject: &Subject<'_>, crs: &Srs) -> Result<Bbox, ApiError> {
    reprojected("extent", &subject.extent.bbox, &subject.extent.srs, crs)
}

fn reprojected(name: &str, bbox: &Bbox, from: &Srs, to: &Srs) -> Result<Bbox, ApiError> {
    // Under this name, a box up to the poles ends where web mercator does.
    let from_as_named = if *from == Srs::wgs84() { Srs::wgs84() } else { from.clone() };
    let moved = if bbox.is_valid() { MapExtent::new(*bbox, from_as_named).bbox_in(to).ok() } else { None };
    moved.filter(Bbox::is_valid).ok_or_else(|| no_image(name, from, to))
}

fn reprojected_point(point: (f64, f64), from: &Srs, to: &Srs) -> Result<(f64, f64), ApiError> {
    let mut points = [point];
    let moved = from.transform_points(to, &mut points).is_ok();
    let [(x, y)] = points;
    if moved && x.is_finite() && y.is_finite() { Ok((x, y)) } else { Err(no_image("center", from, to)) }
}

fn no_image(name: &str, from: &Srs, to: &Srs) -> ApiError {
    let detail = format!("{name} cannot be reprojected from SRS {from} ('{from}') to SRS {to} ('{to}')");
    ApiError::invalid(detail)
}

/// The box beyond which an SRS has no places, so that nothing is asked there.
pub(super) fn world_in(srs: &Srs) -> Option<Bbox> {
    if *srs == Srs::wgs84() {
        Some(Bbox::new(-180.0, -90.0, 180.0, 90.0))
    } else if *srs == Srs::web_mercator() {
        Some(Bbox::new(-MERCATOR_EDGE, -MERCATOR_EDGE, MERCATOR_EDGE, MERCATOR_EDGE))
    } else {
        None
    }
}

/// 17 significant digits, without zeros at the end: C's `%.17g`, as `Content-Bbox` has it.
pub(super) fn digits17(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).expect("between 0 and 20");
        trimmed(&format!("{value:.decimals$}"))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::Query;
    use super::*;
    use crate::Params;

    const LIMITS: Limits = Limits { max_side: 40_000, max_pixels: 16_000_000 };

    fn size_up(query: &str, extent: MapExtent) -> Result<(Bbox, Size), ApiError> {
        let srs = ["EPSG:4326", "EPSG:3857", "EPSG:25832"].map(|code| Srs::new(code).unwrap());
        let params = Params::parse(query);
        let request = MapRequest::parse(&Query::of_map(&params, false)?, &srs)?;
        of_map(&request, &Subject { name: "a", extent, nominal_scale: Some(50_000_000.0) }, LIMITS)
    }

    fn world(query: &str) -> ([f64; 4], (u32, u32)) {
        let (bbox, size) = size_up(query, MapExtent::world()).unwrap();
        (bbox.to_array(), (size.width, size.height))
    }

    #[test]
    fn boxes_and_sizes_are_those_of_mapproxy() {
        let half = 0.628_820_698_883_665_1;
        for (query, bbox, size) in [
            ("", [-180.0, -90.0, 180.0, 90.0], (1024, 512)),
            ("crs=EPSG:3857", [-MERCATOR_EDGE, -MERCATOR_EDGE, MERCATOR_EDGE, MERCATOR_EDGE], (1024, 1024)),
            ("bbox=0,0,20,10", [0.0, 0.0, 20.0, 10.0], (1024, 512)),
            ("bbox=0,0,20,10&height=100", [0.0, 0.0, 20.0, 10.0], (200, 100)),
            ("bbox=0,0,20,10&width=100&height=100", [0.0, 0.0, 20.0, 10.0], (100, 100)),
            ("bbox=0,0,20,10&scale-denominator=1e7", [0.0, 0.0, 20.0, 10.0], (795, 398)),
            ("bbox=0,0,20,10&scale-denominator=1e7&mm-per-pixel=0.14", [0.0, 0.0, 20.0, 10.0], (1590, 795)),
            ("bbox=0,0,20,0.0001", [0.0, 0.0, 20.0, 0.0001], (1024, 1)),
            ("width=10", [-half, -half / 2.0, half, half / 2.0], (10, 5)),
            ("width=10&height=10&center=0,0", [-half, -half, half, half], (10, 10)),
        ] {
            assert_eq!(world(query), (bbox, size), "{query}");
        }
        let ten = MapExtent::new(Bbox::new(5.0, 45.0, 15.0, 56.0), Srs::wgs84());
        assert_eq!(size_up("", ten.clone()).unwrap().1, Size::new(931, 1024));
        assert_eq!(size_up("width=10", ten).unwrap().1, Size::new(10, 11));
    }

    #[test]
    fn a_box_up_to_the_poles_ends_where_mercator_does() {
        let (bbox, size) = world("bbox=-180,-90,180,90&crs=EPSG:3857");
        assert!(bbox[3] < MERCATOR_EDGE + 1.0 && size == (1024, 1024), "{bbox:?} {size:?}");
        assert!(size_up("bbox=0,88,1,89&crs=EPSG:3857", MapExtent::world()).is_err());
    }

    #[test]
    fn pictures_have_limits() {
        let message = |query: &str| size_up(query, MapExtent::world()).unwrap_err().detail;
        assert_eq!(message("width=40001"), "width=40001 exceeds max_width=40000");
        assert_eq!(message("width=1&height=99999999999"), "height=4294967295 exceeds max_height=40000");
        assert_eq!(message("width=5000&height=5000"), "number of pixels 25000000 exceed max_pixels=16000000");
        assert_eq!(message("bbox=0,0,1,1&scale-denominator=1e-300"), "width=4294967295 exceeds max_width=40000");
        assert_eq!(message("scale-denominator=1e308"), "the map has no extent on earth");
    }

    #[test]
    fn a_layer_without_a_nominal_scale_cannot_be_cut_by_its_size() {
        let params = Params::parse("width=10");
        let query = Query::of_map(&params, false).unwrap();
        let request = MapRequest::parse(&query, &[Srs::wgs84()]).unwrap();
        let subject = Subject { name: "a", extent: MapExtent::world(), nominal_scale: None };
        let error = of_map(&request, &subject, LIMITS).unwrap_err();
        assert_eq!(error.detail, "Layer a lacks a nominal_res/nominal_scale setting");
    }

    #[test]
    fn numbers_have_17_digits() {
        for (value, text) in [
            (-180.0, "-180"),
            (0.0, "0"),
            (0.1, "0.10000000000000001"),
            (20037508.342789244, "20037508.342789244"),
            (0.251528279553466, "0.25152827955346602"),
            (8.983152841195214e-5, "8.9831528411952135e-05"),
            (0.0001, "0.0001"),
            (1e300, "1.0000000000000001e+300"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e16, "10000000000000000"),
        ] {
            assert_eq!(digits17(value), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in proptest::num::f64::NORMAL) {
            prop_assert_eq!(digits17(value).parse::<f64>().unwrap(), value);
        }

        #[test]
        fn no_size_is_beyond_the_limits(w in 0u32.., h in 0u32.., scale in 1e-300f64..1e300) {
            for query in [format!("width={w}&height={h}"), format!("width={w}&scale-denominator={scale:e}"),
                format!("scale-denominator={scale:e}&bbox=0,0,1,1")] {
                if let Ok((bbox, size)) = size_up(&query, MapExtent::world()) {
                    prop_assert!(bbox.is_valid() && size.pixels() > 0 && size.pixels() <= LIMITS.max_pixels);
                }
            }
        }
    }
}
