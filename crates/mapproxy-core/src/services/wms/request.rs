//! What clients ask: parameters become values here, or exceptions.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size};
use mapproxy_image::{Color, ImageOptions};
use mapproxy_map::Dimensions;

use super::WmsVersion;
use super::dialect::Dialect;
use super::error::WmsError;
use crate::Params;

/// `REQUEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Map,
    FeatureInfo,
    Capabilities,
    LegendGraphic,
}

impl Operation {
    pub(super) fn parse(params: &Params, dialect: &Dialect) -> Result<Operation, WmsError> {
        let name = params.get("request").unwrap_or("None");
        match name.to_ascii_lowercase().as_str() {
            "getmap" | "map" => Ok(Operation::Map),
            "getfeatureinfo" | "feature_info" => Ok(Operation::FeatureInfo),
            "getcapabilities" | "capabilities" => Ok(Operation::Capabilities),
            "getlegendgraphic" if dialect.legends => Ok(Operation::LegendGraphic),
            _ => Err(WmsError::new(format!("unknown WMS request type '{name}'"))),
        }
    }
}

/// How the picture of a map is to be, apart from its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct MapStyle {
    pub(super) transparent: bool,
    pub(super) background: Option<Color>,
}

impl MapStyle {
    pub(super) fn parse(params: &Params) -> Result<MapStyle, WmsError> {
        let transparent = is_true(params.get("transparent"));
        let background = match params.get("bgcolor").filter(|text| !text.is_empty()).map(parse_color) {
            // Hardly ever seen, so a client's slip does no harm.
            Some(Err(_)) if transparent => None,
            background => background.transpose()?,
        };
        Ok(MapStyle { transparent, background })
    }

    /// The options of the format with what the client wants.
    pub(super) fn apply(self, options: &ImageOptions) -> Arc<ImageOptions> {
        let bgcolor = self.background.or(Some(Color::WHITE));
        Arc::new(ImageOptions { transparent: Some(self.transparent), bgcolor, ..options.clone() })
    }
}

/// A GetMap request whose parameters are all there and make sense in themselves.
#[derive(Debug)]
pub(super) struct GetMap {
    /// Names in the order of drawing.
    pub(super) layers: Vec<String>,
    /// As sent. Checked, unless some layer has styles besides the default.
    pub(super) styles: String,
    /// As sent: in the axis order of the version.
    pub(super) bbox: Bbox,
    pub(super) size: Size,
    pub(super) srs: String,
    pub(super) format: String,
    pub(super) style: MapStyle,
    /// A single tile is wanted as it is kept (WMS-C).
    pub(super) tiled: bool,
    pub(super) dimensions: Dimensions,
}

impl GetMap {
    /// `forward_params`: names besides dimensions that go to the sources.
    pub(super) fn parse(params: &Params, dialect: &Dialect, forward_params: &[String]) -> Result<GetMap, WmsError> {
        let required = [
            dialect.version_param,
            "request",
            "layers",
            "styles",
            dialect.srs_param,
            "bbox",
            "width",
            "height",
            "format",
        ];
        require(params, &required)?;
        let bbox = parse_bbox(params.get("bbox").unwrap_or(""))?;
        let styles = params.get("styles").unwrap_or("");
        if !forward_params.iter().any(|name| name.eq_ignore_ascii_case("styles")) {
            check_styles(styles)?;
        }
        Ok(GetMap {
            styles: styles.to_owned(),
            layers: layer_names(params, "layers"),
            bbox,
            size: size(params)?,
            srs: params.get(dialect.srs_param).unwrap_or("").to_owned(),
            format: params.get("format").unwrap_or("").to_owned(),
            style: MapStyle::parse(params)?,
            tiled: is_true(params.get("tiled")),
            dimensions: dimensions(params, dialect, forward_params),
        })
    }
}

/// A GetFeatureInfo request.
#[derive(Debug)]
pub(super) struct GetFeatureInfo {
    pub(super) layers: Vec<String>,
    pub(super) query_layers: Vec<String>,
    /// As sent: in the axis order of the version.
    pub(super) bbox: Bbox,
    pub(super) size: Size,
    pub(super) srs: String,
    /// Column and row, from the upper left corner.
    pub(super) position: (f64, f64),
    /// A media type.
    pub(super) info_format: Option<String>,
    /// The media type of the map.
    pub(super) format: Option<String>,
    pub(super) feature_count: Option<u32>,
    pub(super) dimensions: Dimensions,
}

impl GetFeatureInfo {
    /// `forward_params`: names besides dimensions that go to the sources.
    pub(super) fn parse(
        params: &Params,
        dialect: &Dialect,
        strict: bool,
        forward_params: &[String],
    ) -> Result<GetFeatureInfo, WmsError> {
        let [x, y] = dialect.position_params;
        let mut required = vec![dialect.version_param, "request", "layers"];
        if strict {
            required.push("styles");
        }
        required.extend([dialect.srs_param, "bbox", "width", "height"]);
        if strict {
            required.push("format");
        }
        required.extend(["query_layers", x, y]);
        require(params, &required)?;
        let bbox = parse_bbox(params.get("bbox").unwrap_or(""))?;
        let size = size(params)?;
        let column = pixel(params, x, size.width, dialect)?;
        let row = pixel(params, y, size.height, dialect)?;
        let feature_count = match params.get("feature_count").map(str::trim) {
            None | Some("") => None,
            Some(text) => {
                let count = text.parse().ok().filter(|count| *count > 0);
                Some(count.ok_or_else(|| WmsError::new(format!("invalid feature_count: {text}")))?)
            }
        };
        Ok(GetFeatureInfo {
            layers: layer_names(params, "layers"),
            query_layers: layer_names(params, "query_layers"),
            bbox,
            size,
            srs: params.get(dialect.srs_param).unwrap_or("").to_owned(),
            position: (column, row),
            info_format: params
                .get("info_format")
                .filter(|name| !name.is_empty())
                .map(|name| info_format(name, dialect)),
            format: params.get("format").filter(|name| !name.is_empty()).map(|name| {
                let is_short = dialect.has_short_formats && !name.contains('/');
                if is_short { format!("image/{name}") } else { name.to_owned() }
            }),
            feature_count,
            // Styles of single layers are for maps.
            dimensions: dimensions(params, dialect, forward_params)
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("styles"))
                .cloned()
                .collect(),
        })
    }
}

/// A column or row of the map. WMS 1.3.0 (OGC 06-042, 7.3.3.7) wants it inside; servers of older versions take others.
fn pixel(params: &Params, name: &str, side: u32, dialect: &Dialect) -> Result<f64, WmsError> {
    let text = params.get(name).unwrap_or("");
    let is_1_3_0 = dialect.version == WmsVersion::V1_3_0;
    let inside = |pixel: f64| !is_1_3_0 || (0.0..f64::from(side)).contains(&pixel);
    text.trim().parse().ok().filter(|pixel: &f64| pixel.is_finite() && inside(*pixel)).ok_or_else(|| WmsError {
        code: is_1_3_0.then_some("InvalidPoint"),
        ..WmsError::new(format!("invalid {name}: {text}"))
    })
}

/// WMS 1.0.0 has names of its own: `MIME` for any media type that is text, `GML.1` and the like.
fn info_format(name: &str, dialect: &Dialect) -> String {
    match name.to_ascii_uppercase().as_str() {
        "MIME" if dialect.has_short_formats => "text/plain".to_owned(),
        short if dialect.has_short_formats && short.starts_with("GML.") => "application/vnd.ogc.gml".to_owned(),
        _ => name.to_owned(),
    }
}

/// A GetLegendGraphic request.
#[derive(Debug)]
pub(super) struct GetLegendGraphic {
    pub(super) layer: String,
    pub(super) format: String,
    /// Denominator.
    pub(super) scale: Option<f64>,
    pub(super) style: MapStyle,
}

impl GetLegendGraphic {
    pub(super) fn parse(params: &Params, dialect: &Dialect, strict: bool) -> Result<GetLegendGraphic, WmsError> {
        let mut required = vec![dialect.version_param, "request", "layer", "format"];
        if strict {
            required.push("sld_version");
        }
        require(params, &required)?;
        match params.get("sld_version") {
            None | Some("1.1.0") => {}
            Some(version) => return Err(WmsError::new(format!("invalid sld_version {version}"))),
        }
        let scale = match params.get("scale").map(str::trim) {
            None | Some("") => None,
            Some(text) => {
                let scale = text.parse().ok().filter(|scale: &f64| scale.is_finite() && *scale > 0.0);
                Some(scale.ok_or_else(|| WmsError::new(format!("invalid scale: {text}")))?)
            }
        };
        Ok(GetLegendGraphic {
            layer: params.get("layer").unwrap_or("").to_owned(),
            format: params.get("format").unwrap_or("").to_owned(),
            scale,
            style: MapStyle::parse(params)?,
        })
    }
}

/// `WIDTH` and `HEIGHT`: whole pixels; a fraction is cut off. More than can be said is as good as the most.
pub(super) fn size(params: &Params) -> Result<Size, WmsError> {
    let side = |name: &str| {
        let text = params.get(name).unwrap_or("");
        match text.trim().parse::<f64>() {
            Ok(side) if side >= 1.0 => Ok(side as u32),
            _ => Err(WmsError::new(format!("invalid {name}: {text}"))),
        }
    };
    Ok(Size::new(side("width")?, side("height")?))
}

pub(super) fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn require(params: &Params, names: &[&str]) -> Result<(), WmsError> {
    let missing = names.iter().filter(|name| params.get(name).is_none());
    let missing: Vec<String> = missing.map(|name| format!("'{name}'")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(WmsError::new(format!("missing parameters [{}]", missing.join(", "))))
}

fn layer_names(params: &Params, name: &str) -> Vec<String> {
    params.all(name).flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

fn parse_bbox(text: &str) -> Result<Bbox, WmsError> {
    let invalid = || WmsError::new(format!("invalid bbox {text}"));
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let Some([min_x, min_y, max_x, max_y]) = numbers.as_deref() else { return Err(invalid()) };
    let bbox = Bbox::new(*min_x, *min_y, *max_x, *max_y);
    if bbox.is_valid() { Ok(bbox) } else { Err(invalid()) }
}

fn check_styles(styles: &str) -> Result<(), WmsError> {
    if styles.split(',').all(is_default_style) { Ok(()) } else { Err(unknown_styles(styles)) }
}

/// The style that each layer has.
pub(super) fn is_default_style(style: &str) -> bool {
    matches!(style, "" | "default" | "inspire_common:DEFAULT")
}

pub(super) fn unknown_styles(styles: &str) -> WmsError {
    WmsError::with_code("StyleNotDefined", format!("unsupported styles: {styles}"))
}

/// `0xRRGGBB`; three and eight digits are understood, and `#` in place of `0x`.
fn parse_color(text: &str) -> Result<Color, WmsError> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).or_else(|| text.strip_prefix('#'));
    let digits = digits.unwrap_or(text);
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let nibble = |at: usize| digits.get(at..=at).and_then(|one| u8::from_str_radix(one, 16).ok()).map(|n| n * 17);
    let color = match digits.len() {
        _ if !digits.bytes().all(|b| b.is_ascii_hexdigit()) => None,
        3 => nibble(0).zip(nibble(1)).zip(nibble(2)),
        6 | 8 => byte(0).zip(byte(2)).zip(byte(4)),
        _ => None,
    };
    match color {
        Some(((r, g), b)) => Ok(Color::rgb(r, g, b)),
        None => Err(WmsError::new(format!("invalid bgcolor: {text}"))),
    }
}

/// Parameters that go to the sources, as the client spells them; of repeated ones the first.
fn dimensions(params: &Params, dialect: &Dialect, forward_params: &[String]) -> Dimensions {
    let is_dimension = |name: &str| {
        let is_named = name.eq_ignore_ascii_case("time") || name.eq_ignore_ascii_case("elevation");
        dialect.dimensions && (is_named || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("dim_")))
    };
    let is_forwarded = |name: &str| forward_params.iter().any(|forward| forward.eq_ignore_ascii_case(name));
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in params.iter().filter(|(name, _)| is_dimension(name) || is_forwarded(name)) {
        if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::parse(query)
    }

    fn map_message(version: WmsVersion, query: &str) -> String {
        match GetMap::parse(&params(query), Dialect::of(version), &[]) {
            Ok(request) => format!("{request:?}"),
            Err(error) => error.message,
        }
    }

    const COMPLETE: &str = "version=1.1.1&request=GetMap&layers=a&styles=&srs=EPSG:4326&bbox=0,1,2,3&width=10&height=20\
                            &format=image/png";

    #[test]
    fn missing_parameters_are_named_in_the_order_of_the_version() {
        for (version, query, message) in [
            (
                WmsVersion::V1_0_0,
                "version=1.0.0&request=map",
                "missing parameters ['wmtver', 'layers', 'styles', 'srs', 'bbox', 'width', 'height', 'format']",
            ),
            (
                WmsVersion::V1_1_1,
                "version=1.1.1&request=GetMap&LAYERS=&STYLES=&BBOX=&WIDTH=&height=&format=",
                "missing parameters ['srs']",
            ),
            (WmsVersion::V1_3_0, COMPLETE, "missing parameters ['crs']"),
        ] {
            assert_eq!(map_message(version, query), message);
        }
    }

    #[test]
    fn nonsense_is_an_exception_and_never_a_panic() {
        for (from, to, message) in [
            ("0,1,2,3", "2,1,0,3", "invalid bbox 2,1,0,3"),
            ("0,1,2,3", "0,0,0,0", "invalid bbox 0,0,0,0"),
            ("0,1,2,3", "0,1,2", "invalid bbox 0,1,2"),
            ("0,1,2,3", "0,1,2,3,4", "invalid bbox 0,1,2,3,4"),
            ("0,1,2,3", "0,1,2,nan", "invalid bbox 0,1,2,nan"),
            ("0,1,2,3", "0,1,2,1e999", "invalid bbox 0,1,2,1e999"),
            ("0,1,2,3", "", "invalid bbox "),
            ("0,1,2,3", "a,b,c,d", "invalid bbox a,b,c,d"),
            ("width=10", "width=0", "invalid width: 0"),
            ("width=10", "width=0.5", "invalid width: 0.5"),
            ("width=10", "width=-5", "invalid width: -5"),
            ("width=10", "width=abc", "invalid width: abc"),
            ("height=20", "height=nan", "invalid height: nan"),
            ("styles=", "styles=default,x", "unsupported styles: default,x"),
            ("format", "bgcolor=zzz&format", "invalid bgcolor: zzz"),
            ("format", "bgcolor=0xff&format", "invalid bgcolor: 0xff"),
            ("format", "bgcolor=%C3%A4%C3%A4%C3%A4&format", "invalid bgcolor: äää"),
        ] {
            assert_eq!(map_message(WmsVersion::V1_1_1, &COMPLETE.replacen(from, to, 1)), message);
        }
    }

    #[test]
    fn a_complete_request_is_understood() {
        let query =
            format!("{COMPLETE}&LAYERS=b,c&Transparent=TRUE&tiled=true&TIME=2020&time=2021&Dim_X=1&foo=2&map_angle=3");
        let request = GetMap::parse(&params(&query), Dialect::of(WmsVersion::V1_1_1), &["Map_Angle".to_owned()]);
        let request = request.unwrap();
        assert_eq!(request.layers, ["a", "b", "c"]);
        assert_eq!(request.bbox, Bbox::new(0.0, 1.0, 2.0, 3.0));
        assert_eq!(request.size, Size::new(10, 20));
        assert_eq!((request.srs.as_str(), request.format.as_str()), ("EPSG:4326", "image/png"));
        assert!(request.style.transparent && request.tiled);
        let dimensions: Vec<_> = request.dimensions.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(dimensions, [("TIME", "2020"), ("Dim_X", "1"), ("map_angle", "3")]);
    }

    #[test]
    fn sizes_may_have_fractions_and_are_bounded() {
        assert_eq!(size(&params("width=200.9&height=1e3")).unwrap(), Size::new(200, 1000));
        assert_eq!(size(&params("width=1e30&height=inf")).unwrap(), Size::new(u32::MAX, u32::MAX));
    }

    #[test]
    fn colours_are_hexadecimal() {
        for (text, color) in [
            ("0xff00a0", Color::rgb(255, 0, 160)),
            ("0XFF00A0", Color::rgb(255, 0, 160)),
            ("#ff00a0", Color::rgb(255, 0, 160)),
            ("ff00a0", Color::rgb(255, 0, 160)),
            ("0xf0a", Color::rgb(255, 0, 170)),
            ("0xff00a080", Color::rgb(255, 0, 160)),
        ] {
            assert_eq!(parse_color(text).unwrap(), color, "{text}");
        }
        let style = MapStyle::parse(&params("transparent=true&bgcolor=nonsense")).unwrap();
        assert_eq!(style, MapStyle { transparent: true, background: None });
        assert_eq!(MapStyle::parse(&params("bgcolor=")).unwrap(), MapStyle::default());
    }

    #[test]
    fn feature_info_needs_format_and_styles_only_where_strict() {
        let query = "version=1.3.0&request=GetFeatureInfo&layers=a&crs=EPSG:4326&bbox=0,0,1,1&width=1&height=1";
        let dialect = Dialect::of(WmsVersion::V1_3_0);
        let message =
            |query: &str, strict| GetFeatureInfo::parse(&params(query), dialect, strict, &[]).unwrap_err().message;
        assert_eq!(message(query, false), "missing parameters ['query_layers', 'i', 'j']");
        assert_eq!(message(query, true), "missing parameters ['styles', 'format', 'query_layers', 'i', 'j']");
        assert_eq!(message(&format!("{query}&query_layers=a&i=a&j=0"), false), "invalid i: a");
    }

    #[test]
    fn legends_know_one_sld_version() {
        let dialect = Dialect::of(WmsVersion::V1_1_1);
        let query = "version=1.1.1&request=GetLegendGraphic&layer=a&format=image/png";
        assert_eq!(GetLegendGraphic::parse(&params(query), dialect, false).unwrap().layer, "a");
        let message =
            |query: &str, strict| GetLegendGraphic::parse(&params(query), dialect, strict).unwrap_err().message;
        assert_eq!(message(query, true), "missing parameters ['sld_version']");
        assert_eq!(message(&format!("{query}&sld_version=1.0"), false), "invalid sld_version 1.0");
    }
}
