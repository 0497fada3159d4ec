//! What clients ask of maps and tiles: parameters become values here, or errors (OGC 20-058, 7 to 14).

use mapproxy_grid::{Bbox, Srs};
use mapproxy_image::Color;

use super::crs;
use super::error::ApiError;
use crate::Params;

/// Parameters of documents.
pub(super) const DOCUMENT: &[&str] = &["f"];
/// Parameters of the API document.
pub(super) const API: &[&str] = &["f", "ui"];
/// Parameters of the picture of a map or tile.
const PICTURE: &[&str] = &["f", "bgcolor", "transparent"];
/// Parameters of scaling.
const SCALING: &[&str] = &["width", "height", "scale-denominator", "mm-per-pixel"];
/// Parameters that choose the part of a map.
const SUBSETTING: &[&str] = &["crs", "bbox", "bbox-crs", "center", "center-crs", "subset", "subset-crs"];

/// The parameters of a request, of which all are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a Params);

impl<'a> Query<'a> {
    /// Of a document, whose parameters are `names`.
    pub(super) fn of_document(params: &'a Params, names: &[&str]) -> Result<Query<'a>, ApiError> {
        Query::checked(params, &[names])
    }

    /// Of a map; `collections` may choose among those of the dataset.
    pub(super) fn of_map(params: &'a Params, is_dataset: bool) -> Result<Query<'a>, ApiError> {
        Query::checked(params, &[PICTURE, SCALING, SUBSETTING, selection(is_dataset)])
    }

    /// Of a tile, which can be scaled where there are maps.
    pub(super) fn of_tile(params: &'a Params, is_dataset: bool, scales: bool) -> Result<Query<'a>, ApiError> {
        Query::checked(params, &[PICTURE, if scales { SCALING } else { &[] }, selection(is_dataset)])
    }

    /// Names have a case here, unlike those of the older services.
    fn checked(params: &'a Params, known: &[&[&str]]) -> Result<Query<'a>, ApiError> {
        match params.iter().find(|(name, _)| !known.iter().any(|names| names.contains(name))) {
            Some((name, _)) => Err(ApiError::unknown_parameter(name)),
            None => Ok(Query(params)),
        }
    }

    /// The first value; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// Nothing but `f` and `collections` is said.
    pub(super) fn is_plain(&self) -> bool {
        self.0.iter().all(|(name, value)| value.is_empty() || matches!(name, "f" | "collections"))
    }

    /// `collections`, names with commas between.
    pub(super) fn collections(&self) -> Option<Vec<&'a str>> {
        Some(self.get("collections")?.split(',').map(str::trim).filter(|name| !name.is_empty()).collect())
    }
}

fn selection(is_dataset: bool) -> &'static [&'static str] {
    if is_dataset { &["collections"] } else { &[] }
}

/// Which part of the world a map shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Area {
    /// All that the layers have, or its middle.
    Default,
    /// This box, x/y order.
    Box(Bbox, Srs, &'static str),
    /// Around this point, x/y order.
    Around((f64, f64), Srs),
}

/// A map request whose parameters make sense in themselves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MapRequest {
    pub(super) crs: Srs,
    pub(super) area: Area,
    pub(super) scaling: Scaling,
    pub(super) style: Style,
}

/// How large the picture is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaling {
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    /// `scale-denominator`
    pub(super) scale: Option<f64>,
    /// `mm-per-pixel`
    pub(super) mm_per_pixel: Option<f64>,
}

/// The pixel of the standards.
const MM_PER_PIXEL: f64 = 0.28;

/// What is below the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) transparent: bool,
    pub(super) background: Option<Color>,
}

impl Style {
    /// The ground can be seen through, but not wholly: `bgcolor` with an alpha of its own.
    pub(super) fn tint(&self) -> Option<Color> {
        self.background.filter(|color| !self.transparent && color.0[3] < 255)
    }

    /// Pixels are left transparent where there is nothing.
    pub(super) fn is_transparent(&self) -> bool {
        self.transparent || self.tint().is_some()
    }
}

impl MapRequest {
    /// `offered`: the SRS of maps, the first of which is the default.
    pub(super) fn parse(query: &Query<'_>, offered: &[Srs]) -> Result<MapRequest, ApiError> {
        let crs = match srs(query, "crs")? {
            Some(asked) => {
                let known = offered.iter().find(|srs| srs.code() == asked.code());
                let known = known.or_else(|| offered.iter().find(|srs| **srs == asked));
                known.ok_or_else(|| ApiError::invalid("crs is incompatible with this layer"))?
            }
            None => offered.first().ok_or_else(|| ApiError::invalid("crs is incompatible with this layer"))?,
        };
        let scaling = Scaling::parse(query)?;
        Ok(MapRequest { crs: crs.clone(), area: area(query)?, scaling, style: Style::parse(query)? })
    }
}

impl Scaling {
    pub(super) fn parse(query: &Query<'_>) -> Result<Scaling, ApiError> {
        Ok(Scaling {
            width: pixels(query, "width")?,
            height: pixels(query, "height")?,
            scale: positive(query, "scale-denominator")?,
            mm_per_pixel: positive(query, "mm-per-pixel")?,
        })
    }

    /// Units of `srs` per pixel at a scale.
    pub(super) fn resolution(&self, scale: f64, srs: &Srs) -> f64 {
        scale * self.mm_per_pixel.unwrap_or(MM_PER_PIXEL) / 1000.0 / srs.meters_per_unit()
    }

    /// How many of the standard's pixels one of ours has in a direction.
    pub(super) fn density(&self) -> f64 {
        MM_PER_PIXEL / self.mm_per_pixel.unwrap_or(MM_PER_PIXEL)
    }

    pub(super) fn has_size(&self) -> bool {
        self.width.is_some() || self.height.is_some()
    }
}

impl Style {
    pub(super) fn parse(query: &Query<'_>) -> Result<Style, ApiError> {
        let background = match query.get("bgcolor") {
            Some(text) => Some(color(text).ok_or_else(|| ApiError::invalid("invalid value for bgcolor"))?),
            None => None,
        };
        let transparent = match query.get("transparent") {
            Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(ApiError::invalid("invalid value for transparent")),
            None => background.is_none(),
        };
        // Said to be opaque, it is.
        let is_opaque = !transparent && query.get("transparent").is_some();
        let background = background.map(|color| if is_opaque { opaque(color) } else { color });
        Ok(Style { transparent, background })
    }
}

fn opaque(Color([red, green, blue, _]): Color) -> Color {
    Color::rgb(red, green, blue)
}

fn area(query: &Query<'_>) -> Result<Area, ApiError> {
    let (bbox, center, subset) = (query.get("bbox"), query.get("center"), query.get("subset"));
    if (bbox.is_some() || center.is_some()) && subset.is_some() {
        return Err(ApiError::invalid("(bbox or center) and subset are mutually exclusive"));
    }
    if bbox.is_some() && center.is_some() {
        return Err(ApiError::invalid("bbox and center are mutually exclusive"));
    }
    let bbox_crs = srs(query, "bbox-crs")?.unwrap_or_else(crs::lon_lat);
    let center_crs = srs(query, "center-crs")?.unwrap_or_else(crs::lon_lat);
    let subset_crs = srs(query, "subset-crs")?.unwrap_or_else(crs::lon_lat);
    if let Some(text) = bbox {
        let bbox = parse_bbox(text)?;
        let bbox = if bbox_crs.is_north_first() { swapped(bbox) } else { bbox };
        return Ok(Area::Box(bbox, bbox_crs, "bbox"));
    }
    if let Some(text) = center {
        let wrong = || ApiError::invalid("center must be a list of 2 numeric values");
        let [first, second] = numbers(text).ok_or_else(wrong)?[..] else { return Err(wrong()) };
        let point = if center_crs.is_north_first() { (second, first) } else { (first, second) };
        return Ok(Area::Around(point, center_crs));
    }
    if subset.is_some() {
        let parts: Vec<&str> = query.0.all("subset").collect();
        return Ok(Area::Box(parse_subset(&parts.join(","))?, subset_crs, "subset"));
    }
    Ok(Area::Default)
}

fn srs(query: &Query<'_>, name: &str) -> Result<Option<Srs>, ApiError> {
    let parse = |text| crs::parse(text).ok_or_else(|| ApiError::invalid(format!("{name} is not a valid CRS")));
    query.get(name).map(parse).transpose()
}

fn pixels(query: &Query<'_>, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let number: i64 = text.trim().parse().map_err(|_| ApiError::invalid(format!("{name} is not an integer")))?;
    match u32::try_from(number) {
        Ok(1..) => Ok(u32::try_from(number).ok()),
        _ if number > 0 => Ok(Some(u32::MAX)),
        _ => Err(ApiError::invalid(format!("{name} must be strictly positive"))),
    }
}

fn positive(query: &Query<'_>, name: &str) -> Result<Option<f64>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let wrong = || ApiError::invalid(format!("{name} must be a strictly positive numeric value"));
    number(text).filter(|number| *number > 0.0).map(Some).ok_or_else(wrong)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    // Nothing has more than six.
    text.split(',').take(7).map(number).collect()
}

/// Four numbers, or six with a height at third and sixth place, in the order of the axes.
fn parse_bbox(text: &str) -> Result<Bbox, ApiError> {
    let wrong = || ApiError::invalid("bbox must be a list of 4 or 6 numeric values");
    let bbox = match numbers(text).ok_or_else(wrong)?[..] {
        [a, b, c, d] | [a, b, _, c, d, _] => Bbox::new(a, b, c, d),
        _ => return Err(wrong()),
    };
    if !bbox.is_valid() {
        return Err(ApiError::invalid("bbox[2] must be greater than bbox[0] and bbox[3] must be greater than bbox[1]"));
    }
    Ok(bbox)
}

fn swapped(Bbox { min_x, min_y, max_x, max_y }: Bbox) -> Bbox {
    Bbox::new(min_y, min_x, max_y, max_x)
}

/// `Lat(45:50),Lon(5:15)`, `E(…),N(…)` or `X(…),Y(…)`, in any order.
fn parse_subset(text: &str) -> Result<Bbox, ApiError> {
    let text = text.to_ascii_lowercase();
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [first, second] = parts[..] else { return Err(ApiError::invalid("subset must include 2 axis")) };
    let mut ranges: [Option<(f64, f64)>; 2] = [None, None];
    for part in [first, second] {
        let wrong = || ApiError::invalid(format!("Invalid subset part {part}"));
        let (name, rest) = part.split_once('(').ok_or_else(wrong)?;
        let range = rest.strip_suffix(')').filter(|range| !range.is_empty()).ok_or_else(wrong)?;
        let axis = match name {
            "lon" | "long" | "longitude" | "e" | "x" => 0,
            "lat" | "latitude" | "n" | "y" => 1,
            _ => return Err(ApiError::invalid(format!("Unsupported axis name {name} in subset part {part}"))),
        };
        let Some((low, high)) = range.split_once(':') else {
            return Err(ApiError::invalid(format!("Only intervals are supported in subset part {part}")));
        };
        let (Some(low), Some(high)) = (number(low), number(high)) else {
            return Err(ApiError::invalid(format!("Non numeric value found in range of subset part {part}")));
        };
        if low >= high {
            return Err(ApiError::invalid("Invalid range in subset: first value must be less than second one"));
        }
        if ranges[axis].replace((low, high)).is_some() {
            let message = format!("Axis name {name} has been specified in multiple subset parts");
            return Err(ApiError::invalid(message));
        }
    }
    match ranges {
        [Some((min_x, max_x)), Some((min_y, max_y))] => Ok(Bbox::new(min_x, min_y, max_x, max_y)),
        _ => Err(ApiError::invalid("subset must include 2 axis")),
    }
}

/// The sixteen names of HTML 4, or `0xRRGGBB`, or `0xAARRGGBB`.
fn color(text: &str) -> Option<Color> {
    const NAMES: [(&str, u32); 17] = [
        ("black", 0x000000),
        ("silver", 0xc0c0c0),
        ("gray", 0x808080),
        ("grey", 0x808080),
        ("white", 0xffffff),
        ("maroon", 0x800000),
        ("red", 0xff0000),
        ("purple", 0x800080),
        ("fuchsia", 0xff00ff),
        ("green", 0x008000),
        ("lime", 0x00ff00),
        ("olive", 0x808000),
        ("yellow", 0xffff00),
        ("navy", 0x000080),
        ("blue", 0x0000ff),
        ("teal", 0x008080),
        ("aqua", 0x00ffff),
    ];
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let argb = match digits {
        // No sign, which `from_str_radix` would take.
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => None,
        Some(digits) if digits.len() == 6 => u32::from_str_radix(digits, 16).ok().map(|rgb| rgb | 0xff00_0000),
        Some(digits) if digits.len() == 8 => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => {
            let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            named.map(|(_, rgb)| rgb | 0xff00_0000)
        }
    };
    argb.map(|argb| {
        let [alpha, red, green, blue] = argb.to_be_bytes();
        Color([red, green, blue, alpha])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offered() -> Vec<Srs> {
        ["EPSG:4326", "EPSG:3857", "EPSG:31467"].map(|code| Srs::new(code).unwrap()).to_vec()
    }

    fn parse(query: &str) -> Result<MapRequest, ApiError> {
        let params = Params::parse(query);
        MapRequest::parse(&Query::of_map(&params, true)?, &offered())
    }

    fn message(query: &str) -> String {
        parse(query).unwrap_err().detail
    }

    #[test]
    fn a_request_without_parameters_is_the_default_map() {
        let request = parse("").unwrap();
        assert_eq!((request.crs.code(), request.area), ("EPSG:4326", Area::Default));
        assert!(request.style.transparent && !request.scaling.has_size());
        assert_eq!(parse("bbox=&width=&crs=&bgcolor=").unwrap(), parse("").unwrap());
    }

    #[test]
    fn boxes_are_in_the_axis_order_of_their_crs() {
        let bbox = |query: &str| match parse(query).unwrap().area {
            Area::Box(bbox, srs, _) => (bbox.to_array(), srs.code().to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(bbox("bbox=1,2,3,4"), ([1.0, 2.0, 3.0, 4.0], "CRS:84".to_owned()));
        assert_eq!(bbox("bbox=1,2,0,3,4,9"), ([1.0, 2.0, 3.0, 4.0], "CRS:84".to_owned()));
        assert_eq!(bbox("bbox=1,2,3,4&bbox-crs=[EPSG:4326]"), ([2.0, 1.0, 4.0, 3.0], "EPSG:4326".to_owned()));
        assert_eq!(bbox("bbox=1,2,3,4&bbox-crs=EPSG:3857"), ([1.0, 2.0, 3.0, 4.0], "EPSG:3857".to_owned()));
        for subset in ["Lat(2:4),Lon(1:3)", "lon(1:3)&subset=lat(2:4)", "E(1:3),N(2:4)", "y(2:4),x(1:3)"] {
            assert_eq!(bbox(&format!("subset={subset}")), ([1.0, 2.0, 3.0, 4.0], "CRS:84".to_owned()));
        }
        let around = |query: &str| parse(query).unwrap().area;
        assert!(matches!(around("center=1,2"), Area::Around((1.0, 2.0), _)));
        assert!(matches!(around("center=1,2&center-crs=EPSG:4326"), Area::Around((2.0, 1.0), _)));
    }

    #[test]
    fn the_crs_of_maps_are_those_of_the_configuration() {
        for (name, code) in [("OGC:CRS84", "EPSG:4326"), ("EPSG:4326", "EPSG:4326"), ("[EPSG:900913]", "EPSG:3857")] {
            assert_eq!(parse(&format!("crs={name}")).unwrap().crs.code(), code);
        }
        assert_eq!(message("crs=EPSG:25832"), "crs is incompatible with this layer");
        assert_eq!(message("crs=moon"), "crs is not a valid CRS");
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_parameter() {
        for (query, text) in [
            ("Width=1", "Unknown query parameter Width"),
            ("width=0", "width must be strictly positive"),
            ("height=-1", "height must be strictly positive"),
            ("height=1.5", "height is not an integer"),
            ("width=99999999999999999999", "width is not an integer"),
            ("scale-denominator=nan", "scale-denominator must be a strictly positive numeric value"),
            ("mm-per-pixel=-1", "mm-per-pixel must be a strictly positive numeric value"),
            ("bbox=0,0,1", "bbox must be a list of 4 or 6 numeric values"),
            ("bbox=0,0,1,1,1,1,1", "bbox must be a list of 4 or 6 numeric values"),
            ("bbox=0,0,inf,1", "bbox must be a list of 4 or 6 numeric values"),
            ("bbox=1,0,0,1", "bbox[2] must be greater than bbox[0] and bbox[3] must be greater than bbox[1]"),
            ("bbox=0,0,1,1&center=0,0", "bbox and center are mutually exclusive"),
            ("center=0", "center must be a list of 2 numeric values"),
            ("subset=lat", "subset must include 2 axis"),
            ("subset=lat,lon(0:1)", "Invalid subset part lat"),
            ("subset=lat(,lon(0:1)", "Invalid subset part lat("),
            ("subset=lat(),lon(0:1)", "Invalid subset part lat()"),
            ("subset=lat(0:x),lon(0:1)", "Non numeric value found in range of subset part lat(0:x)"),
            ("subset=Lat(0),lon(0:1)", "Only intervals are supported in subset part lat(0)"),
            ("subset=h(0:1),lon(0:1)", "Unsupported axis name h in subset part h(0:1)"),
            ("subset=lat(0:1),lat(0:1)", "Axis name lat has been specified in multiple subset parts"),
            ("subset=lat(1:1),lon(0:1)", "Invalid range in subset: first value must be less than second one"),
            ("subset=lat(0:1),lon(0:1)&bbox=0,0,1,1", "(bbox or center) and subset are mutually exclusive"),
            ("bgcolor=0x+1+1+1", "invalid value for bgcolor"),
            ("bgcolor=ff0000", "invalid value for bgcolor"),
            ("transparent=TRUE", "invalid value for transparent"),
        ] {
            assert_eq!(message(query), text, "{query}");
        }
    }

    #[test]
    fn a_map_is_transparent_unless_it_has_a_ground() {
        let style = |query: &str| parse(query).unwrap().style;
        assert_eq!(style("bgcolor=Red"), Style { transparent: false, background: Some(Color::rgb(255, 0, 0)) });
        assert!(style("transparent=true&bgcolor=red").is_transparent());
        assert_eq!(style("bgcolor=0x80ff0000").tint(), Some(Color([255, 0, 0, 128])));
        assert_eq!(style("bgcolor=0x80ff0000&transparent=false").tint(), None);
        assert_eq!(style("transparent=false"), Style { transparent: false, background: None });
    }

    proptest! {
        #[test]
        fn any_query_is_read(
            name in "(f|crs|bbox|bbox-crs|center|subset|width|scale-denominator|bgcolor|transparent)",
            value in ".{0,60}",
        ) {
            let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC).to_string();
            let _ = parse(&format!("{name}={value}"));
        }

        #[test]
        fn any_subset_is_read(value in "[latonexyLE():,.0-9*-]{0,40}") {
            let _ = parse_subset(&value);
        }
    }
}
