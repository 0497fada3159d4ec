//! `mapproxy-util gridconf-from-ogcapitilematrixset`: the tile matrix sets of an OGC API as grids.

use std::process::ExitCode;

use mapproxy_grid::Srs;
use serde_json::{Map, Value, json};

use crate::{FAILED, Failure, eprintln, fetch, println, yaml_out};

#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "What cannot be a grid (rows of different widths, tiles that differ in size, …) is named on \
standard error.

Example:

  mapproxy-util gridconf-from-ogcapitilematrixset https://example.org/ogcapi >> mapproxy.yaml"
)]
pub(crate) struct Arguments {
    /// Address of the landing page
    #[arg(long = "url", value_name = "URL")]
    option: Option<String>,
    /// Address of the landing page
    #[arg(value_name = "URL")]
    url: Option<String>,
}

const TILING_SCHEMES: &str = "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes";
/// Definitions fetched of one server.
const MAX_SETS: usize = 1000;
/// Levels of a grid.
const MAX_LEVELS: usize = 256;

/// Status 1 where there are no definitions.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(url) = arguments.option.as_ref().or(arguments.url.as_ref()) else {
        return Err(Failure::with_usage("ERROR: the address of a landing page is required."));
    };
    let grids = grids(url, |reason| eprintln(format_args!("{reason}")))
        .map_err(|reason| Failure::new(FAILED, format_args!("ERROR: {reason}")))?;
    let text = yaml_out::document(&json!({ "grids": grids }));
    println(format_args!("Configuration to add to mapproxy.yml:\n\n{text}"));
    Ok(ExitCode::SUCCESS)
}

/// The grids of the server with this landing page, by name; `tell` is told of those that are none.
pub(crate) fn grids(landing_page: &str, tell: impl Fn(String)) -> Result<Map<String, Value>, String> {
    let landing = json_of(landing_page)?;
    let schemes = link(&landing, landing_page, |rel| rel == TILING_SCHEMES || rel == "[ogc-rel:tiling-schemes]")
        .ok_or_else(|| format!("{landing_page}: Cannot find a link to tile matrix set definitions"))?;
    let list = json_of(&schemes)?;
    let sets = list.get("tileMatrixSets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut grids = Map::new();
    for set in sets.iter().take(MAX_SETS) {
        let title = set.get("id").or_else(|| set.get("title")).and_then(Value::as_str).unwrap_or("a tile matrix set");
        let is_definition = |rel: &str| {
            matches!(rel, "self" | "item") || rel.ends_with("tiling-scheme") || rel.ends_with("tiling-scheme]")
        };
        let Some(url) = link(set, &schemes, is_definition) else {
            tell(format!("Cannot find definition for {title}"));
            continue;
        };
        let grid = json_of(&url).and_then(|document| {
            let name = document.get("id").and_then(Value::as_str).unwrap_or(title).to_owned();
            Ok((name, grid(&document)?))
        });
        match grid {
            Ok((name, grid)) => {
                grids.insert(name, grid);
            }
            Err(reason) => tell(format!("Cannot handle {url}: {reason}")),
        }
    }
    Ok(grids)
}

/// The options of the grid that a tile matrix set is (OGC 17-083r4).
pub(crate) fn grid(set: &Value) -> Result<Value, String> {
    let crs = set.get("crs").ok_or("it names no CRS")?;
    let crs = crs.as_str().or_else(|| crs.get("uri").and_then(Value::as_str)).ok_or("it names no CRS")?;
    let srs = srs_of_uri(crs).ok_or_else(|| format!("CRS {crs} is not supported"))?;
    let first_axis = set.pointer("/orderedAxes/0").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let north_first = match first_axis.as_deref() {
        Some("lat" | "latitude" | "n" | "north" | "northing" | "y") => true,
        Some("lon" | "long" | "longitude" | "e" | "east" | "easting" | "x") => false,
        _ => srs.is_north_first(),
    };
    let matrices = set.get("tileMatrices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if matrices.len() > MAX_LEVELS {
        return Err(format!("{} tile matrices are too many", matrices.len()));
    }
    let mut levels = matrices.iter().map(|matrix| Matrix::read(matrix, &srs)).collect::<Result<Vec<_>, _>>()?;
    levels.sort_by(|a, b| b.resolution.total_cmp(&a.resolution));
    let first = levels.first().ok_or("it has no tile matrices")?;
    for level in &levels {
        if level.tile != first.tile {
            return Err("Tile matrix set with varying tileWidth or tileHeight depending on tile matrix".to_owned());
        }
        let near = |axis: usize| (level.origin[axis] - first.origin[axis]).abs() <= level.resolution / 100.0;
        if !near(0) || !near(1) {
            return Err("Tile matrix set with varying pointOfOrigin depending on tile matrix".to_owned());
        }
        if level.is_top_left != first.is_top_left {
            return Err("Tile matrix set with varying cornerOfOrigin depending on tile matrix".to_owned());
        }
    }
    let extent = |axis: usize| {
        let lengths = levels.iter().map(|level| level.resolution * level.tile[axis] as f64 * level.count[axis] as f64);
        lengths.fold(0.0, f64::max)
    };
    let (width, height) = (extent(0), extent(1));
    let [x, y] = if north_first { [first.origin[1], first.origin[0]] } else { first.origin };
    let bbox = if first.is_top_left { [x, y - height, x + width, y] } else { [x, y, x + width, y + height] };
    let resolutions: Vec<f64> = levels.iter().map(|level| level.resolution).collect();
    Ok(json!({
        "bbox": bbox,
        "origin": if first.is_top_left { "ul" } else { "ll" },
        "res": resolutions,
        "srs": if srs.code() == "OGC:CRS84" { "CRS:84" } else { srs.code() },
        "tile_size": first.tile,
    }))
}

struct Matrix {
    resolution: f64,
    origin: [f64; 2],
    is_top_left: bool,
    tile: [u64; 2],
    count: [u64; 2],
}

impl Matrix {
    fn read(matrix: &Value, srs: &Srs) -> Result<Matrix, String> {
        if matrix.get("variableMatrixWidths").and_then(Value::as_array).is_some_and(|widths| !widths.is_empty()) {
            return Err("Tile matrix with variableMatrixWidths are not supported".to_owned());
        }
        let number = |name: &str| matrix.get(name).and_then(Value::as_f64).filter(|n| n.is_finite() && *n > 0.0);
        let resolution = number("cellSize")
            .or_else(|| Some(number("scaleDenominator")? * 0.000_28 / srs.meters_per_unit()))
            .ok_or("a tile matrix has neither cellSize nor scaleDenominator")?;
        let axis = |n: usize| matrix.pointer(&format!("/pointOfOrigin/{n}")).and_then(Value::as_f64);
        let origin = axis(0).zip(axis(1)).ok_or("a tile matrix has no pointOfOrigin")?;
        let is_top_left = match matrix.get("cornerOfOrigin").and_then(Value::as_str) {
            None | Some("topLeft") => true,
            Some("bottomLeft") => false,
            Some(other) => return Err(format!("unknown cornerOfOrigin {other}")),
        };
        let count = |name: &str, most: u64| {
            let count = matrix.get(name).and_then(Value::as_u64).filter(|count| (1..=most).contains(count));
            count.ok_or_else(|| format!("a tile matrix has no {name} from 1 to {most}"))
        };
        Ok(Matrix {
            resolution,
            origin: origin.into(),
            is_top_left,
            tile: [count("tileWidth", 8192)?, count("tileHeight", 8192)?],
            count: [count("matrixWidth", u32::MAX.into())?, count("matrixHeight", u32::MAX.into())?],
        })
    }
}

/// The reference system that a URI, URN or CURIE names.
pub(crate) fn srs_of_uri(uri: &str) -> Option<Srs> {
    if let Ok(srs) = Srs::from_ogc_url(uri) {
        return Some(srs);
    }
    let inner = uri.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(uri);
    let code = match inner.strip_prefix("urn:ogc:def:crs:") {
        Some(parts) => {
            let mut parts = parts.split(':');
            let (authority, _, code) = (parts.next()?, parts.next()?, parts.next()?);
            format!("{authority}:{code}")
        }
        None => inner.to_owned(),
    };
    let code = if matches!(&*code, "OGC:CRS84" | "CRS84") { "CRS:84" } else { &code };
    Srs::new(code).ok()
}

/// A link of this relation to a JSON document, absolute.
pub(crate) fn link(object: &Value, base: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    let links = object.get("links").and_then(Value::as_array)?;
    let wanted = |link: &&Value| link.get("rel").and_then(Value::as_str).is_some_and(&is_wanted);
    let is_json = |link: &&&Value| link.get("type").and_then(Value::as_str).is_none_or(|kind| kind.contains("json"));
    let found: Vec<&Value> = links.iter().filter(wanted).collect();
    let link = found.iter().find(is_json)?;
    absolute(base, link.get("href").and_then(Value::as_str)?)
}

/// The address that `link` means on the page `base`.
pub(crate) fn absolute(base: &str, link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") {
        return Some(link.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    if let Some(host_and_path) = link.strip_prefix("//") {
        return Some(format!("{scheme}://{host_and_path}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if link.starts_with('/') {
        return Some(format!("{scheme}://{host}{link}"));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let directory = path.rfind('/').map_or("", |end| &path[..end]);
    Some(format!("{scheme}://{host}{directory}/{link}"))
}

/// The JSON document at an address.
pub(crate) fn json_of(url: &str) -> Result<Value, String> {
    let body = fetch::json(url)?;
    serde_json::from_slice(&body).map_err(|error| format!("{url}: no JSON document: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mercator() -> Value {
        json!({
            "id": "WebMercatorQuad", "crs": "http://www.opengis.net/def/crs/EPSG/0/3857",
            "tileMatrices": [
                { "id": "1", "cellSize": 78_271.516_964, "pointOfOrigin": [-20_037_508.342_784, 20_037_508.342_784],
                  "tileWidth": 256, "tileHeight": 256, "matrixWidth": 2, "matrixHeight": 2 },
                { "id": "0", "cellSize": 156_543.033_928, "pointOfOrigin": [-20_037_508.342_784, 20_037_508.342_784],
                  "tileWidth": 256, "tileHeight": 256, "matrixWidth": 1, "matrixHeight": 1 },
            ],
        })
    }

    #[test]
    fn a_set_is_a_grid() {
        let read = grid(&mercator()).unwrap();
        assert_eq!(read["res"], json!([156_543.033_928, 78_271.516_964]));
        assert_eq!((&read["origin"], &read["srs"]), (&json!("ul"), &json!("EPSG:3857")));
        assert_eq!(read["tile_size"], json!([256, 256]));
        assert_eq!(read["bbox"][0], json!(-20_037_508.342_784));
    }

    #[test]
    fn what_is_no_grid_is_said() {
        let change = |pointer: &str, value: Value| {
            let mut set = mercator();
            *set.pointer_mut(pointer).unwrap() = value;
            grid(&set).unwrap_err()
        };
        assert!(change("/crs", json!("http://nowhere")).contains("not supported"));
        assert!(change("/tileMatrices/0/tileWidth", json!(512)).contains("tileWidth"));
        assert!(change("/tileMatrices/0/pointOfOrigin", json!([0, 0])).contains("pointOfOrigin"));
        assert!(change("/tileMatrices/0/matrixWidth", json!(0)).contains("matrixWidth"));
        assert!(change("/tileMatrices/0/cellSize", json!("a")).contains("cellSize"));
        assert!(change("/tileMatrices", json!([])).contains("no tile matrices"));
        assert!(change("/tileMatrices", json!(vec![1; 1000])).contains("too many"));
    }

    #[test]
    fn links_may_be_relative() {
        for (link, wanted) in [
            ("https://other/x", "https://other/x"),
            ("/a/b", "http://host:8080/a/b"),
            ("b?f=json", "http://host:8080/api/b?f=json"),
            ("//c/d", "http://c/d"),
        ] {
            assert_eq!(absolute("http://host:8080/api/landing?f=json", link).as_deref(), Some(wanted));
        }
        assert_eq!(absolute("http://host", "a").as_deref(), Some("http://host/a"));
    }
}
