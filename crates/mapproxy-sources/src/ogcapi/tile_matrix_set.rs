//! Tile matrix sets as documents (OGC 17-083r4, annex D), and the grids that they describe.

use mapproxy_grid::{Bbox, Origin, Resolutions, Size, Srs, TileCoord, TileGrid};
use serde_json::Value;

use super::crs;

/// Levels whose rows or columns are beyond this are no maps.
const MAX_TILES: u64 = u32::MAX as u64;

/// A tile matrix set: a grid, and what its levels are called.
#[derive(Debug, Clone)]
pub struct TileMatrixSet {
    grid: TileGrid,
    /// `id`, columns and rows of each level of the grid.
    levels: Vec<(String, u32, u32)>,
}

/// A tile matrix set that is no grid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TileMatrixSetError(String);

/// One of its matrices.
#[derive(Debug)]
struct Matrix {
    id: String,
    resolution: f64,
    origin: [f64; 2],
    corner: Origin,
    tile: (u64, u64),
    columns: u64,
    rows: u64,
}

impl TileMatrixSet {
    /// Reads the document.
    pub fn parse(document: &Value) -> Result<TileMatrixSet, TileMatrixSetError> {
        let error = |reason: String| TileMatrixSetError(reason);
        let name = document.get("id").and_then(Value::as_str).unwrap_or("tile matrix set");
        let uri = crs_of(document).ok_or_else(|| error(format!("{name} names no crs")))?;
        let srs = crs::parse(uri).ok_or_else(|| error(format!("{name}: unknown crs {uri}")))?;
        let north_first = axes_are_swapped(document).unwrap_or_else(|| srs.is_north_first());
        let matrices = document.get("tileMatrices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut matrices = matrices
            .iter()
            .map(|matrix| Matrix::parse(matrix, &srs, north_first))
            .collect::<Result<Vec<Matrix>, String>>()
            .map_err(|reason| error(format!("{name}: {reason}")))?;
        matrices.sort_by(|a, b| b.resolution.total_cmp(&a.resolution));
        matrices.dedup_by(|b, a| a.resolution == b.resolution);
        let Some(first) = matrices.first() else { return Err(error(format!("{name} has no tileMatrices"))) };
        for other in &matrices {
            if other.tile != first.tile {
                return Err(error(format!("{name}: tiles of {} and {} differ in size", first.id, other.id)));
            }
            let near = |axis: usize| (other.origin[axis] - first.origin[axis]).abs() <= other.resolution / 100.0;
            if other.corner != first.corner || !near(0) || !near(1) {
                return Err(error(format!("{name}: {} and {} begin at different points", first.id, other.id)));
            }
        }
        let grid = Matrix::grid(&matrices, first, name, srs).map_err(|reason| error(format!("{name}: {reason}")))?;
        let levels = matrices.into_iter().map(|matrix| {
            // Checked when it was read.
            let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            (matrix.id, narrow(matrix.columns), narrow(matrix.rows))
        });
        Ok(TileMatrixSet { grid, levels: levels.collect() })
    }

    /// Its tiles. Rows count as in the set.
    pub fn grid(&self) -> &TileGrid {
        &self.grid
    }

    /// What the matrix of a tile is called; `None` for a tile that it has not got.
    pub fn matrix(&self, tile: TileCoord) -> Option<&str> {
        let (id, columns, rows) = self.levels.get(usize::from(tile.z))?;
        (tile.x < *columns && tile.y < *rows).then_some(id)
    }
}

impl Matrix {
    fn parse(value: &Value, srs: &Srs, north_first: bool) -> Result<Matrix, String> {
        let id = match value.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err("a matrix has no id".to_owned()),
        };
        let wrong = |what: &str| format!("matrix {id}: {what}");
        let variable = value.get("variableMatrixWidths").and_then(Value::as_array);
        if variable.is_some_and(|widths| !widths.is_empty()) {
            return Err(wrong("rows of different widths (variableMatrixWidths) are not supported"));
        }
        let number = |name: &str| value.get(name).and_then(Value::as_f64).filter(|number| number.is_finite());
        let resolution = number("cellSize").or_else(|| {
            // The standardized rendering pixel size is 0.28 mm.
            Some(number("scaleDenominator")? * 0.000_28 / srs.meters_per_unit())
        });
        let resolution = resolution.filter(|resolution| *resolution > 0.0).ok_or_else(|| wrong("no cellSize"))?;
        let origin = match value.get("pointOfOrigin").and_then(Value::as_array).map(Vec::as_slice) {
            Some([first, second]) => first.as_f64().zip(second.as_f64()),
            _ => None,
        };
        let (first, second) = origin.ok_or_else(|| wrong("no pointOfOrigin"))?;
        let corner = match value.get("cornerOfOrigin").and_then(Value::as_str) {
            None | Some("topLeft") => Origin::UpperLeft,
            Some("bottomLeft") => Origin::LowerLeft,
            Some(other) => return Err(wrong(&format!("unknown cornerOfOrigin {other}"))),
        };
        let count = |name: &str, most: u64| {
            let count = value.get(name).and_then(Value::as_u64).filter(|count| (1..=most).contains(count));
            count.ok_or_else(|| wrong(&format!("no {name} from 1 to {most}")))
        };
        let tile = (count("tileWidth", 8192)?, count("tileHeight", 8192)?);
        let (columns, rows) = (count("matrixWidth", MAX_TILES)?, count("matrixHeight", MAX_TILES)?);
        let origin = if north_first { [second, first] } else { [first, second] };
        Ok(Matrix { id, resolution, origin, corner, tile, columns, rows })
    }

    /// The grid of them all, as far as the widest and the highest reach.
    fn grid(all: &[Matrix], first: &Matrix, name: &str, srs: Srs) -> Result<TileGrid, String> {
        let widest = all.iter().map(|matrix| (matrix.columns * matrix.tile.0) as f64 * matrix.resolution);
        let highest = all.iter().map(|matrix| (matrix.rows * matrix.tile.1) as f64 * matrix.resolution);
        let (width, height) = (widest.fold(0.0, f64::max), highest.fold(0.0, f64::max));
        let [x, y] = first.origin;
        let bbox = match first.corner {
            Origin::UpperLeft => Bbox::new(x, y - height, x + width, y),
            Origin::LowerLeft => Bbox::new(x, y, x + width, y + height),
        };
        let mut builder = TileGrid::builder(name, srs);
        builder.bbox = Some(bbox);
        builder.origin = first.corner;
        let narrow = |pixels: u64| u32::try_from(pixels).map_err(|error| error.to_string());
        builder.tile_size = Size::new(narrow(first.tile.0)?, narrow(first.tile.1)?);
        let list = all.iter().map(|matrix| matrix.resolution).collect();
        builder.resolutions = Resolutions { list: Some(list), ..Resolutions::default() };
        let grid = builder.build().map_err(|error| error.to_string())?;
        Ok(grid)
    }
}

/// `crs` as a text or an object.
pub(super) fn crs_of(document: &Value) -> Option<&str> {
    let crs = document.get("crs")?;
    crs.as_str().or_else(|| crs.get("uri").and_then(Value::as_str))
}

/// By `orderedAxes`: the first is the one that goes north.
fn axes_are_swapped(document: &Value) -> Option<bool> {
    let first = document.get("orderedAxes")?.as_array()?.first()?.as_str()?.to_ascii_lowercase();
    match first.as_str() {
        "lat" | "latitude" | "n" | "north" | "northing" | "y" => Some(true),
        "lon" | "long" | "longitude" | "e" | "east" | "easting" | "x" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the web mercator of the standard's annex, with levels 0 to 4.
    fn mercator() -> Value {
        let matrix = |level: u32| {
            json!({
                "id": level.to_string(),
                "cellSize": 156_543.033_928_041 / f64::from(1 << level),
                "scaleDenominator": 559_082_264.028_717 / f64::from(1 << level),
                "cornerOfOrigin": "topLeft",
                "pointOfOrigin": [-20_037_508.342_789_244, 20_037_508.342_789_244],
                "tileWidth": 256, "tileHeight": 256, "matrixWidth": 1 << level, "matrixHeight": 1 << level,
            })
        };
        json!({
            "id": "WebMercatorQuad",
            "crs": "http://www.opengis.net/def/crs/EPSG/0/3857",
            "tileMatrices": (0..5).map(matrix).collect::<Vec<_>>(),
        })
    }

    fn changed(level: usize, key: &str, value: Value) -> Value {
        let mut document = mercator();
        document["tileMatrices"][level][key] = value;
        document
    }

    #[test]
    fn a_set_is_a_grid() {
        let set = TileMatrixSet::parse(&mercator()).unwrap();
        let levels: Vec<_> = set.grid().levels().iter().map(|level| (level.columns, level.rows)).collect();
        assert_eq!(levels, [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16)]);
        assert_eq!((set.grid().origin(), set.grid().tile_size()), (Origin::UpperLeft, Size::new(256, 256)));
        assert_eq!(set.matrix(TileCoord::new(3, 3, 2)), Some("2"));
        assert_eq!(set.matrix(TileCoord::new(4, 3, 2)), None);
        assert_eq!(set.matrix(TileCoord::new(0, 0, 5)), None);
    }

    #[test]
    fn scales_do_where_sizes_are_missing_and_the_order_of_levels_does_not_matter() {
        let mut document = mercator();
        let matrices = document["tileMatrices"].as_array_mut().unwrap();
        matrices.reverse();
        for matrix in matrices {
            matrix.as_object_mut().unwrap().remove("cellSize");
        }
        let set = TileMatrixSet::parse(&document).unwrap();
        assert!((set.grid().levels()[0].resolution - 156_543.033_928_041).abs() < 1e-6);
        assert_eq!(set.matrix(TileCoord::new(0, 0, 4)), Some("4"));
    }

    #[test]
    fn points_of_origin_are_in_the_order_of_the_axes() {
        let matrix = json!({
            "id": "a", "cellSize": 0.703_125, "pointOfOrigin": [90, -180], "tileWidth": 256, "tileHeight": 256,
            "matrixWidth": 2, "matrixHeight": 1,
        });
        let mut document =
            json!({"crs": {"uri": "http://www.opengis.net/def/crs/EPSG/0/4326"}, "tileMatrices": [matrix]});
        let world = Bbox::new(-180.0, -90.0, 180.0, 90.0);
        assert_eq!(TileMatrixSet::parse(&document).unwrap().grid().bbox(), world);
        document["orderedAxes"] = json!(["Lon", "Lat"]);
        document["tileMatrices"][0]["pointOfOrigin"] = json!([-180, 90]);
        assert_eq!(TileMatrixSet::parse(&document).unwrap().grid().bbox(), world);
        document["tileMatrices"][0]["cornerOfOrigin"] = json!("bottomLeft");
        document["tileMatrices"][0]["pointOfOrigin"] = json!([-180, -90]);
        let set = TileMatrixSet::parse(&document).unwrap();
        assert_eq!((set.grid().bbox(), set.grid().origin()), (world, Origin::LowerLeft));
    }

    #[test]
    fn what_is_no_grid_is_told() {
        let widths = json!([{"coalesce": 2, "minTileRow": 0, "maxTileRow": 0}]);
        for (document, expected) in [
            (changed(3, "variableMatrixWidths", widths), "matrix 3: rows of different widths"),
            (changed(3, "tileWidth", json!(512)), "tiles of 0 and 3 differ in size"),
            (changed(3, "pointOfOrigin", json!([0.0, 0.0])), "0 and 3 begin at different points"),
            (changed(3, "cornerOfOrigin", json!("bottomRight")), "unknown cornerOfOrigin"),
            (changed(3, "cellSize", json!(-1)), "no cellSize"),
            (changed(3, "matrixWidth", json!(u64::MAX)), "no matrixWidth"),
            (changed(3, "id", json!(null)), "a matrix has no id"),
            (json!({"crs": "http://www.opengis.net/def/crs/EPSG/0/3857"}), "no tileMatrices"),
            (json!({"crs": "urn:x"}), "unknown crs urn:x"),
            (json!([]), "names no crs"),
        ] {
            let error = TileMatrixSet::parse(&document).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should tell {expected:?}");
        }
    }
}
