//! From the options of a grid to its levels.

use super::{GridError, Level, Origin, TileGrid};
use crate::rounding::floor_division;
use crate::srs::Coordinates;
use crate::{Bbox, MapExtent, Size, Srs};

/// How the levels of a grid are said.
#[derive(Clone, Debug, Default)]
pub struct Resolutions {
    /// All resolutions, in any order (`res`).
    pub list: Option<Vec<f64>>,
    /// Factor between levels (`res_factor`); `None` is 2.
    pub factor: Option<f64>,
    /// The coarsest resolution (`min_res`).
    pub min_res: Option<f64>,
    /// The finest resolution (`max_res`).
    pub max_res: Option<f64>,
    /// Number of levels (`num_levels`).
    pub num_levels: Option<u32>,
    /// Resolutions of the grid to align with (`align_resolutions_with`).
    pub align_with: Option<Vec<f64>>,
}

/// Collects the parts of a [`TileGrid`]; see [`TileGrid::builder`].
#[derive(Clone, Debug)]
pub struct TileGridBuilder {
    /// Name, as it appears in WMTS and paths.
    pub name: String,
    /// The SRS.
    pub srs: Srs,
    /// The box in `bbox_srs`; `None` takes the world for geographic WGS 84 and web mercator.
    pub bbox: Option<Bbox>,
    /// SRS of `bbox` where it is not the grid's.
    pub bbox_srs: Option<Srs>,
    /// Origin of tile 0/0.
    pub origin: Origin,
    /// Pixels of a tile.
    pub tile_size: Size,
    /// The levels.
    pub resolutions: Resolutions,
    /// How much a tile may be enlarged before the next level is used.
    pub stretch_factor: f64,
    /// How far beyond the coarsest level's resolution maps may still be drawn.
    pub max_shrink_factor: f64,
    /// Resolutions at which levels switch, in any order.
    pub threshold_res: Vec<f64>,
}

/// `TileCoord::z` has eight bits.
const MAX_LEVELS: usize = 256;

/// Half the side of the web mercator's square, in metres.
const MERCATOR_EDGE: f64 = 20_037_508.342_789_244;

impl TileGridBuilder {
    /// Checks the parts and computes levels.
    pub fn build(self) -> Result<TileGrid, GridError> {
        let bbox = self.resolve_bbox()?;
        if self.tile_size.width == 0 || self.tile_size.height == 0 {
            return Err(self.invalid("tile_size must be at least 1 x 1"));
        }
        if !bbox.is_valid() {
            return Err(self.invalid(format!("bbox {bbox} has no area; it is written minx, miny, maxx, maxy")));
        }
        for (option, value) in [("stretch_factor", self.stretch_factor), ("max_shrink_factor", self.max_shrink_factor)]
        {
            if value.is_nan() || value <= 0.0 {
                return Err(self.invalid(format!("{option} {value} must be greater than 0")));
            }
        }
        let widest =
            (bbox.width() / f64::from(self.tile_size.width)).max(bbox.height() / f64::from(self.tile_size.height));
        let resolutions = self.resolutions.resolve(widest).map_err(|reason| self.invalid(reason))?;
        let asked = resolutions.len();
        let levels: Vec<Level> =
            resolutions.into_iter().map_while(|resolution| level(&bbox, self.tile_size, resolution)).collect();
        if levels.is_empty() {
            return Err(self.invalid("even the coarsest level has more than 4294967295 columns or rows"));
        }
        if levels.len() > MAX_LEVELS {
            return Err(self.invalid(format!("{} levels; at most {MAX_LEVELS} are possible", levels.len())));
        }
        let mut threshold_res = self.threshold_res;
        threshold_res.sort_by(|a, b| b.total_cmp(a));
        Ok(TileGrid {
            name: self.name,
            srs: self.srs,
            bbox,
            origin: self.origin,
            tile_size: self.tile_size,
            dropped_levels: asked - levels.len(),
            levels,
            stretch_factor: self.stretch_factor,
            max_shrink_factor: self.max_shrink_factor,
            threshold_res,
        })
    }

    fn resolve_bbox(&self) -> Result<Bbox, GridError> {
        match (self.bbox, self.srs.coordinates()) {
            (Some(bbox), _) => match &self.bbox_srs {
                Some(bbox_srs) => Ok(bbox_srs.transform_bbox(&self.srs, &bbox)?),
                None => Ok(bbox),
            },
            (None, Coordinates::Wgs84) => Ok(MapExtent::world().bbox),
            (None, Coordinates::WebMercator) => {
                Ok(Bbox::new(-MERCATOR_EDGE, -MERCATOR_EDGE, MERCATOR_EDGE, MERCATOR_EDGE))
            }
            (None, Coordinates::Other) => Err(self.invalid(format!("need a bbox for grid with SRS {}", self.srs))),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> GridError {
        GridError::Invalid { grid: self.name.clone(), reason: reason.into() }
    }
}

/// `None` if columns or rows do not fit 32 bits.
fn level(bbox: &Bbox, tile_size: Size, resolution: f64) -> Option<Level> {
    let tiles = |length: f64, pixels: u32| {
        let tiles = (floor_division(length, resolution) / f64::from(pixels)).ceil().max(1.0);
        (tiles <= f64::from(u32::MAX)).then_some(tiles as u32)
    };
    let columns = tiles(bbox.width(), tile_size.width)?;
    let rows = tiles(bbox.height(), tile_size.height)?;
    Some(Level { resolution, columns, rows })
}

impl Resolutions {
    /// All resolutions, the coarsest first. `widest` is the resolution with which the grid's box fits into one tile.
    fn resolve(&self, widest: f64) -> Result<Vec<f64>, String> {
        // As in MapProxy, an empty list and zeros are the same as nothing.
        let given = |value: Option<f64>| value.filter(|v| *v != 0.0);
        let (min_res, max_res) = (given(self.min_res), given(self.max_res));
        let num_levels = self.num_levels.filter(|n| *n != 0).map(|n| n as usize);
        for (option, value) in [("min_res", min_res), ("max_res", max_res), ("res_factor", self.factor)] {
            if value.is_some_and(|v| !(v > 0.0 && v.is_finite())) {
                return Err(format!("{option} must be greater than 0"));
            }
        }
        if num_levels.is_some_and(|n| n > MAX_LEVELS) {
            return Err(format!("num_levels: at most {MAX_LEVELS} levels are possible"));
        }
        if let Some(list) = self.list.as_deref().filter(|list| !list.is_empty()) {
            let others = [
                ("min_res", min_res.is_some()),
                ("max_res", max_res.is_some()),
                ("align_resolutions_with", self.align_with.is_some()),
            ];
            if let Some((option, _)) = others.iter().find(|(_, is_given)| *is_given) {
                return Err(format!("res lists all resolutions: remove {option}"));
            }
            return sorted(list);
        }
        if let Some(others) = &self.align_with {
            return self.align(&sorted(others)?, min_res.unwrap_or(widest), max_res, num_levels);
        }
        let (first, factor) = (min_res.unwrap_or(widest), self.factor.unwrap_or(2.0));
        match (max_res, num_levels) {
            (Some(_), Some(1)) => Err("min_res to max_res need at least 2 num_levels".to_owned()),
            (Some(last), Some(number)) => Ok(logarithmic(first, last, number)),
            (Some(last), None) if factor <= 1.0 => {
                Err(format!("res_factor {factor} never reaches max_res {last}: it must be greater than 1"))
            }
            (Some(last), None) => {
                // One level too many tells `build` that there are too many.
                let steps = std::iter::successors(Some(first), |res| Some(res / factor));
                let finer = steps.skip(1).take_while(|res| *res > last).take(MAX_LEVELS);
                Ok(std::iter::once(first).chain(finer).collect())
            }
            (None, number) if factor < 1.0 => Err(format!(
                "res_factor {factor} makes the {} levels coarser: it must be greater than 1",
                number.unwrap_or(20)
            )),
            (None, number) => {
                let default = if is_sqrt2(factor) { 40 } else { 20 };
                Ok(std::iter::successors(Some(first), |res| Some(res / factor))
                    .take(number.unwrap_or(default))
                    .collect())
            }
        }
    }

    /// The levels of another grid between `min_res` and `max_res`. A grid in steps of 2 can be filled to steps of √2,
    /// and of a grid in steps of √2 every other level can be taken.
    fn align(
        &self,
        others: &[f64],
        min_res: f64,
        max_res: Option<f64>,
        num_levels: Option<usize>,
    ) -> Result<Vec<f64>, String> {
        let max_res = max_res.unwrap_or(0.0);
        let common: Vec<f64> = others.iter().copied().filter(|res| *res <= min_res && *res >= max_res).collect();
        let common = &common[..num_levels.unwrap_or(common.len()).min(common.len())];
        let &[first, second, ..] = common else {
            return Err(format!(
                "align_resolutions_with needs two common levels at least; the other grid has {} from min_res {min_res} on",
                common.len()
            ));
        };
        let (wanted, found) = (self.factor.unwrap_or(2.0), first / second);
        let is_two = |factor: f64| (factor - 2.0).abs() < ALIGN_TOLERANCE;
        let is_root = |factor: f64| (factor - std::f64::consts::SQRT_2).abs() < ALIGN_TOLERANCE;
        Ok(if is_root(wanted) && is_two(found) {
            common.iter().flat_map(|res| [*res, res / std::f64::consts::SQRT_2]).collect()
        } else if is_two(wanted) && is_root(found) {
            common.iter().copied().step_by(2).collect()
        } else {
            common.to_vec()
        })
    }
}

/// Two factors are the same within this.
const ALIGN_TOLERANCE: f64 = 1e-6;

fn is_sqrt2(factor: f64) -> bool {
    factor == std::f64::consts::SQRT_2
}

/// The coarsest first.
fn sorted(resolutions: &[f64]) -> Result<Vec<f64>, String> {
    if let Some(wrong) = resolutions.iter().find(|res| !(**res > 0.0 && res.is_finite())) {
        return Err(format!("resolution {wrong} must be greater than 0"));
    }
    let mut sorted = resolutions.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Ok(sorted)
}

/// `number` levels between and including both, in equal steps of the logarithm.
fn logarithmic(first: f64, last: f64, number: usize) -> Vec<f64> {
    let step = (first.log10() - last.log10()) / (number - 1) as f64;
    (0..number).map(|i| 10_f64.powf(first.log10() - step * i as f64)).collect()
}
