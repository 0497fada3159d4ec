//! Tile matrix sets (OGC 17-083r4): the grids of the configuration under the names of the standard.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Origin, PIXEL_SIZE_M, Size, Srs, TileCoord, TileGrid};
use serde::Serialize;

use super::crs;
use super::error::ApiError;
use super::path::TilePath;
use crate::services::tile_answer::Place;

const WEB_MERCATOR_QUAD: &str = "WebMercatorQuad";
const WEB_MERCATOR_QUAD_URI: &str = "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad";
const GOOGLE_MAPS_COMPATIBLE: &str = "http://www.opengis.net/def/wkss/OGC/1.0/GoogleMapsCompatible";
const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;

/// A grid under a name.
#[derive(Clone, Debug)]
pub(super) struct MatrixSet {
    pub(super) id: String,
    pub(super) grid: Arc<TileGrid>,
    /// It is the set that the OGC has registered.
    pub(super) uri: Option<&'static str>,
}

/// The definition of a set.
#[derive(Debug, Serialize)]
pub(super) struct Definition {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) crs: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uri: Option<&'static str>,
    #[serde(rename = "wellKnownScaleSet", skip_serializing_if = "Option::is_none")]
    pub(super) scale_set: Option<&'static str>,
    #[serde(rename = "tileMatrices")]
    pub(super) matrices: Vec<Matrix>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Matrix {
    pub(super) id: String,
    pub(super) cell_size: f64,
    pub(super) scale_denominator: f64,
    pub(super) corner_of_origin: &'static str,
    pub(super) point_of_origin: [f64; 2],
    pub(super) matrix_width: u32,
    pub(super) matrix_height: u32,
    pub(super) tile_width: u32,
    pub(super) tile_height: u32,
}

/// The part of a matrix in which there is something.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatrixLimits {
    tile_matrix: String,
    min_tile_row: u32,
    max_tile_row: u32,
    min_tile_col: u32,
    max_tile_col: u32,
}

impl MatrixSet {
    /// All grids, each under its own name but `GLOBAL_WEBMERCATOR`.
    pub(super) fn list(grids: &[Arc<TileGrid>]) -> Vec<MatrixSet> {
        let has_own = grids.iter().any(|grid| grid.name() == WEB_MERCATOR_QUAD);
        let set = |grid: &Arc<TileGrid>| {
            let is_quad = is_web_mercator_quad(grid);
            let id = if is_quad && !has_own && grid.name() == "GLOBAL_WEBMERCATOR" {
                WEB_MERCATOR_QUAD
            } else {
                grid.name()
            };
            let uri = (id == WEB_MERCATOR_QUAD && is_quad).then_some(WEB_MERCATOR_QUAD_URI);
            MatrixSet { id: id.to_owned(), grid: Arc::clone(grid), uri }
        };
        grids.iter().map(set).collect()
    }

    pub(super) fn definition(&self) -> Definition {
        let grid = &self.grid;
        let Bbox { min_x, min_y, max_y, .. } = grid.bbox();
        let (corner, y) = match grid.origin() {
            Origin::UpperLeft => ("topLeft", max_y),
            Origin::LowerLeft => ("bottomLeft", min_y),
        };
        let is_lon_lat = *grid.srs() == Srs::wgs84();
        let swaps = grid.srs().is_north_first() && !is_lon_lat;
        let Size { width, height } = grid.tile_size();
        let matrices = grid.levels().iter().enumerate().map(|(z, level)| Matrix {
            id: z.to_string(),
            cell_size: level.resolution,
            scale_denominator: level.resolution * grid.srs().meters_per_unit() / PIXEL_SIZE_M,
            corner_of_origin: corner,
            // In the order of the axes of the CRS (6.2.6).
            point_of_origin: if swaps { [y, min_x] } else { [min_x, y] },
            matrix_width: level.columns,
            matrix_height: level.rows,
            tile_width: width,
            tile_height: height,
        });
        Definition {
            id: self.id.clone(),
            title: self.id.clone(),
            crs: crs::uri(grid.srs()),
            uri: self.uri,
            scale_set: self.uri.map(|_| GOOGLE_MAPS_COMPATIBLE),
            matrices: matrices.collect(),
        }
    }

    /// The tile of a path, rows counted from the set's own origin.
    pub(super) fn coord(&self, path: &TilePath<'_>) -> Result<TileCoord, ApiError> {
        let within = |text: &str, what: &str, count: u32| {
            let found = text.parse::<u32>().ok().filter(|number| *number < count);
            found.ok_or_else(|| ApiError::invalid(format!("Invalid {what}. Valid range is [0,{}]", count - 1)))
        };
        let levels = self.grid.levels();
        let z = within(path.matrix, "zoom level", u32::try_from(levels.len()).unwrap_or(u32::MAX))?;
        let level = &levels[z as usize];
        let y = within(path.row, "row number", level.rows)?;
        let x = within(path.column, "col number", level.columns)?;
        Ok(TileCoord { x, y, z: u8::try_from(z).expect("a grid has at most 256 levels") })
    }

    /// The tile of another grid that is this one: tiles that are kept may be kept in a grid with another name.
    pub(super) fn tile_in(&self, other: &TileGrid, coord: TileCoord) -> Option<TileCoord> {
        let own = &*self.grid;
        if std::ptr::eq(own, other) {
            return Some(coord);
        }
        let resolution = |grid: &TileGrid| grid.level(coord.z).map(|level| level.resolution.to_bits());
        let is_same = own.srs() == other.srs()
            && own.bbox() == other.bbox()
            && own.tile_size() == other.tile_size()
            && resolution(own) == resolution(other)
            && other.supports_origin(own.origin());
        if !is_same {
            return None;
        }
        let place = Place { x: coord.x.into(), y: coord.y.into(), z: coord.z.into() };
        place.in_grid(other, own.origin())
    }

    /// The tiles that meet `bbox` (in the grid's SRS); empty where that is all of them.
    pub(super) fn limits(&self, bbox: &Bbox) -> Vec<MatrixLimits> {
        let grid = &self.grid;
        let Some(part) = bbox.intersection(&grid.bbox()) else { return Vec::new() };
        if part.contains(&grid.bbox()) {
            return Vec::new();
        }
        let Size { width, height } = grid.tile_size();
        let limit = |(z, level): (usize, &mapproxy_grid::Level)| {
            // A tenth of a pixel does not make a tile.
            let margin = level.resolution / 10.0;
            let index = |distance: f64, side: u32, count: u32| {
                let index = (distance / (level.resolution * f64::from(side))).floor();
                index.clamp(0.0, f64::from(count - 1)) as u32
            };
            let whole = grid.bbox();
            let (top, bottom) = match grid.origin() {
                Origin::UpperLeft => (whole.max_y - part.max_y + margin, whole.max_y - part.min_y - margin),
                Origin::LowerLeft => (part.min_y - whole.min_y + margin, part.max_y - whole.min_y - margin),
            };
            MatrixLimits {
                tile_matrix: z.to_string(),
                min_tile_row: index(top, height, level.rows),
                max_tile_row: index(bottom, height, level.rows),
                min_tile_col: index(part.min_x - whole.min_x + margin, width, level.columns),
                max_tile_col: index(part.max_x - whole.min_x - margin, width, level.columns),
            }
        };
        grid.levels().iter().enumerate().map(limit).collect()
    }
}

/// OGC 17-083r4, annex D.1, as far as the grid reaches.
fn is_web_mercator_quad(grid: &TileGrid) -> bool {
    let whole = Bbox::new(-MERCATOR_EDGE, -MERCATOR_EDGE, MERCATOR_EDGE, MERCATOR_EDGE);
    let has_resolution = |(z, level): (i32, &mapproxy_grid::Level)| {
        let expected = 2.0 * MERCATOR_EDGE / 256.0 / 2f64.powi(z);
        (level.resolution / expected - 1.0).abs() < 1e-9
    };
    *grid.srs() == Srs::web_mercator()
        && grid.origin() == Origin::UpperLeft
        && grid.tile_size() == Size::new(256, 256)
        && grid.bbox().almost_equals(&whole, 1e-3, 1e-3)
        && (0..).zip(grid.levels()).all(has_resolution)
}
