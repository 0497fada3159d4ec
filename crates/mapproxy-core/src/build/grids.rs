//! Tile grids.

use std::sync::Arc;

use mapproxy_config::checked::{self, GridOrigin, Levels, ResFactor};
use mapproxy_grid::{Bbox, Origin, Resolutions, Size, TileGrid};

use super::Parts;

impl Parts<'_> {
    /// The grid called `name`, built once. A mistake is told once, too.
    pub(super) fn grid(&self, name: &str) -> Option<Arc<TileGrid>> {
        if let Some(built) = self.grids.borrow().get(name) {
            return built.clone();
        }
        let config = self.config.grids.get(name)?;
        // Until it is built, a grid aligned with itself finds nothing.
        self.grids.borrow_mut().insert(name.into(), None);
        let grid = self.build_grid(config).map(Arc::new);
        self.grids.borrow_mut().insert(name.into(), grid.clone());
        grid
    }

    fn build_grid(&self, config: &checked::Grid) -> Option<TileGrid> {
        let mut builder = TileGrid::builder(&config.name, self.srs(&config.srs, &config.at)?);
        builder.bbox = config.bbox.map(|[min_x, min_y, max_x, max_y]| Bbox::new(min_x, min_y, max_x, max_y));
        builder.bbox_srs = match &config.bbox_srs {
            Some(code) => Some(self.srs(code, &config.at)?),
            None => None,
        };
        builder.origin = match config.origin {
            GridOrigin::LowerLeft => Origin::LowerLeft,
            GridOrigin::UpperLeft => Origin::UpperLeft,
        };
        let [width, height] = config.tile_size;
        builder.tile_size = Size::new(width, height);
        builder.resolutions = match &config.levels {
            Levels::Listed(list) => Resolutions { list: Some(list.clone()), ..Resolutions::default() },
            Levels::Computed { min_res, max_res, num_levels, factor, align_with } => Resolutions {
                list: None,
                factor: factor.map(|factor| match factor {
                    ResFactor::Value(value) => value,
                    ResFactor::Sqrt2 => std::f64::consts::SQRT_2,
                }),
                min_res: *min_res,
                max_res: *max_res,
                num_levels: *num_levels,
                align_with: match align_with {
                    Some(other) => Some(self.grid(other)?.levels().iter().map(|level| level.resolution).collect()),
                    None => None,
                },
            },
        };
        builder.threshold_res = config.threshold_res.clone();
        builder.stretch_factor = config.stretch_factor;
        builder.max_shrink_factor = config.max_shrink_factor;
        let grid = builder.build().map_or_else(|error| self.error(&config.at, error), Some)?;
        match grid.dropped_levels() {
            0 => {}
            dropped => self.warning(
                &config.at,
                format!("grid {}: the {dropped} finest levels are left out: they have more columns or rows than can be counted", config.name),
            ),
        }
        Some(grid)
    }
}
