//! Which tiles of a level meet a coverage, asked for one after the other in whatever order: those that a walk gives.

use std::collections::HashMap;
use std::sync::Arc;

use mapproxy_cache::store::visit::Cells;
use mapproxy_grid::{Bbox, Coverage, MetaGrid, Relation, TileCoord, TileGrid, TransformError};

/// Tiles of one level within a coverage.
///
/// Neighbours are asked about together: a block that lies inside or outside answers for all its tiles.
#[derive(Debug)]
pub struct Selection<'a> {
    grid: Arc<TileGrid>,
    coverage: Option<&'a Coverage>,
    level: u8,
    /// Columns and rows of tiles that belong to it together, or do not.
    group: (u32, u32),
    cells: Option<Cells>,
    is_empty: bool,
    blocks: HashMap<(u32, u32), Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Inside,
    Outside,
    Edge,
}

/// Tiles (or groups of them) of a block in either direction.
const SIDE: u32 = 16;

/// Blocks remembered.
const REMEMBERED: usize = 100_000;

impl<'a> Selection<'a> {
    /// Tiles of `level` that meet `coverage`; without one, all.
    pub fn new(
        grid: &Arc<TileGrid>,
        coverage: Option<&'a Coverage>,
        level: u8,
    ) -> Result<Selection<'a>, TransformError> {
        Selection::of_groups(grid, (1, 1), coverage, level)
    }

    /// Tiles of `level` whose meta tiles meet `coverage`: those that seeding makes.
    pub fn of_meta_tiles(
        meta_grid: &MetaGrid,
        coverage: Option<&'a Coverage>,
        level: u8,
    ) -> Result<Selection<'a>, TransformError> {
        Selection::of_groups(meta_grid.grid(), meta_grid.level_meta_size(level), coverage, level)
    }

    fn of_groups(
        grid: &Arc<TileGrid>,
        group: (u32, u32),
        coverage: Option<&'a Coverage>,
        level: u8,
    ) -> Result<Selection<'a>, TransformError> {
        let (grid, cells, blocks) = (Arc::clone(grid), None, HashMap::new());
        let mut selection = Selection { grid, coverage, level, group, cells, is_empty: false, blocks };
        let grid = Arc::clone(&selection.grid);
        // A box that cannot be said in the grid's system bounds nothing: tiles are then asked about one by one.
        let bbox = coverage.and_then(|coverage| coverage.extent().bbox_in(grid.srs()).ok());
        if let Some(range) = bbox.and_then(|bbox| grid.level_range(&bbox, level).ok()) {
            match range.corners() {
                Some((first, last)) => {
                    let (columns, rows) = group;
                    let end = |n: u32, size: u32| (n / size * size).saturating_add(size - 1);
                    selection.cells = Some(Cells {
                        min_x: first.x / columns * columns,
                        min_y: first.y / rows * rows,
                        max_x: end(last.x, columns),
                        max_y: end(last.y, rows),
                    });
                }
                None => selection.is_empty = true,
            }
        }
        Ok(selection)
    }

    /// Columns and rows beyond which there is none of these tiles.
    pub fn cells(&self) -> Option<Cells> {
        self.cells
    }

    /// There is no tile that meets the coverage.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether the tile is one of them.
    pub fn has(&mut self, tile: TileCoord) -> Result<bool, TransformError> {
        if tile.z != self.level || self.is_empty {
            return Ok(false);
        }
        let Some(coverage) = self.coverage else { return Ok(true) };
        if self.cells.is_some_and(|cells| !cells.contains(tile.x, tile.y)) || self.grid.level(tile.z).is_none() {
            return Ok(false);
        }
        let group = (tile.x / self.group.0, tile.y / self.group.1);
        let name = (group.0 / SIDE, group.1 / SIDE);
        let block = match self.blocks.get(&name) {
            Some(block) => *block,
            None => {
                let block = self.look(coverage, name);
                if self.blocks.len() >= REMEMBERED {
                    self.blocks.clear();
                }
                self.blocks.insert(name, block);
                block
            }
        };
        match block {
            Block::Inside => Ok(true),
            Block::Outside => Ok(false),
            Block::Edge => {
                let (bbox, srs) = (self.bbox(group, group), self.grid.srs());
                coverage.intersects(&bbox, srs).or_else(|error| match bbox.intersection(&self.grid.bbox()) {
                    Some(part) => coverage.intersects(&part, srs),
                    None => Err(error),
                })
            }
        }
    }

    /// The box from one group to another.
    fn bbox(&self, first: (u32, u32), last: (u32, u32)) -> Bbox {
        let ((columns, rows), z) = (self.group, self.level);
        let corner = |n: u32, size: u32| n.saturating_add(1).saturating_mul(size).saturating_sub(1);
        let from = TileCoord::new(first.0 * columns, first.1 * rows, z);
        let to = TileCoord::new(corner(last.0, columns), corner(last.1, rows), z);
        self.grid.tile_bbox(from).union(&self.grid.tile_bbox(to))
    }

    fn look(&self, coverage: &Coverage, (x, y): (u32, u32)) -> Block {
        let first = (x.saturating_mul(SIDE), y.saturating_mul(SIDE));
        let last = (first.0.saturating_add(SIDE - 1), first.1.saturating_add(SIDE - 1));
        let last_tile = TileCoord::new(
            last.0.saturating_add(1).saturating_mul(self.group.0) - 1,
            last.1.saturating_add(1).saturating_mul(self.group.1) - 1,
            self.level,
        );
        if !self.grid.contains_tile(last_tile) {
            // Beyond the grid boxes may have no image.
            return Block::Edge;
        }
        let bbox = self.bbox(first, last);
        match coverage.relation(&bbox, self.grid.srs()) {
            Ok(Relation::Inside) => Block::Inside,
            Ok(Relation::Beside) => Block::Outside,
            // What cannot be said of a block may be said of its tiles.
            Ok(Relation::Meets) | Err(_) => Block::Edge,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use mapproxy_grid::{Bbox, MetaGrid, Origin, Srs, TileGridBuilder};

    use super::*;
    use crate::TileWalk;

    fn grid(origin: Origin) -> Arc<TileGrid> {
        let grid = TileGrid::builder("webmercator", Srs::web_mercator());
        Arc::new(TileGridBuilder { origin, ..grid }.build().unwrap())
    }

    #[test]
    fn a_selection_has_the_tiles_that_a_walk_gives() {
        let triangle = "POLYGON((5 45, 40 47, 20 60, 5 45))";
        let coverages = [
            Coverage::from_wkt(triangle, Srs::wgs84()).unwrap(),
            Coverage::from_bbox(Bbox::new(0.0, 0.0, 180.0, 85.0), Srs::wgs84()),
            Coverage::from_bbox(Bbox::new(1e6, 1e6, 3e6, 2e6), Srs::web_mercator()),
        ];
        for origin in [Origin::LowerLeft, Origin::UpperLeft] {
            let grid = grid(origin);
            for coverage in &coverages {
                for level in [0, 3, 7] {
                    let meta_grid = MetaGrid::new(Arc::clone(&grid), (1, 1), 0);
                    let walk = TileWalk::over(&meta_grid, &[level], Some(coverage.clone()), 0).unwrap();
                    let walked: HashSet<TileCoord> = walk.map(|work| work.main).collect();
                    let mut selection = Selection::new(&grid, Some(coverage), level).unwrap();
                    for (x, y) in (0..1_u32 << level).flat_map(|x| (0..1_u32 << level).map(move |y| (x, y))) {
                        let tile = TileCoord::new(x, y, level);
                        assert_eq!(selection.has(tile).unwrap(), walked.contains(&tile), "{tile:?} {coverage:?}");
                    }
                    assert!(!walked.is_empty());
                    for meta_size in [(4, 4), (3, 5)] {
                        let meta_grid = MetaGrid::new(Arc::clone(&grid), meta_size, 0);
                        let walk = TileWalk::over(&meta_grid, &[level], Some(coverage.clone()), 0).unwrap();
                        let walked: HashSet<TileCoord> = walk.flat_map(|work| work.tiles).collect();
                        let mut selection = Selection::of_meta_tiles(&meta_grid, Some(coverage), level).unwrap();
                        for (x, y) in (0..1_u32 << level).flat_map(|x| (0..1_u32 << level).map(move |y| (x, y))) {
                            let tile = TileCoord::new(x, y, level);
                            assert_eq!(selection.has(tile).unwrap(), walked.contains(&tile), "{tile:?} {meta_size:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn without_a_coverage_all_tiles_of_the_level_are_meant() {
        let grid = grid(Origin::LowerLeft);
        let mut selection = Selection::new(&grid, None, 3).unwrap();
        assert!(selection.has(TileCoord::new(1, 1, 3)).unwrap() && selection.cells().is_none());
        assert!(!selection.has(TileCoord::new(1, 1, 4)).unwrap());
    }

    #[test]
    fn a_coverage_beside_the_grid_has_no_tiles() {
        let bbox = Bbox::new(0.0, 0.0, 2e6, 2e6);
        let mut builder = TileGrid::builder("east", Srs::web_mercator());
        builder.bbox = Some(Bbox::new(5e6, 5e6, 6e6, 6e6));
        let grid = Arc::new(builder.build().unwrap());
        let coverage = Coverage::from_bbox(bbox, Srs::web_mercator());
        let mut selection = Selection::new(&grid, Some(&coverage), 2).unwrap();
        assert!(selection.is_empty() && !selection.has(TileCoord::new(0, 0, 2)).unwrap());
    }
}
