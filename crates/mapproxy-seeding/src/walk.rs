//! The walk over the meta tiles of a task: depth first, a tile after those below it, rows from the north.
//!
//! Each meta tile lies below one of the next coarser level: the one that its centre is in. Where the levels do not fit
//! into each other (`res_factor: sqrt2`), it may reach beyond that; a tile is passed over only when nothing that lies
//! below it can meet the coverage. So each one is met exactly once, whatever the grid, and what comes after a tile
//! depends on that tile alone: a walk needs no memory of where it was, and goes on from any [`Position`] at once.
//!
//! A level reaches as far as the coverage's box touches tiles of that level; as everywhere in MapProxy, a tenth of a
//! pixel on each side does not count.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mapproxy_grid::{Bbox, Coverage, Level, MetaGrid, Origin, Relation, TileCoord, TileGrid, TransformError};

use crate::{SeedTask, Work};

/// All work of a task, in an order that keeps neighbours together. Takes no memory to speak of, however long it is.
#[derive(Clone, Debug)]
pub struct TileWalk {
    grid: Arc<TileGrid>,
    coverage: Option<Coverage>,
    /// The box to stay in, in the grid's SRS.
    bbox: Bbox,
    origin: Origin,
    levels: Vec<Stage>,
    /// From this level on, nothing is compared with the coverage.
    unchecked_from: usize,
    /// The way from the coarsest level to where the walk is.
    path: Vec<Step>,
    number: u64,
    /// The tile that was given last.
    last: Option<TileCoord>,
}

/// A level as the walk sees it: columns and rows of meta tiles, counted from the grid's origin.
#[derive(Clone, Debug)]
struct Stage {
    meta_size: (u32, u32),
    columns: Axis,
    rows: Axis,
    /// Meta tiles to give; `None`: none of this level.
    wanted: Option<Area>,
    /// Meta tiles to pass through: those wanted, and those above wanted ones.
    needed: Option<Area>,
    /// How far wanted tiles below may reach beyond a meta tile, in the grid's units.
    overhang: (f64, f64),
}

/// One direction of a level.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Meta tiles.
    count: u32,
    /// Width of a meta tile, in the grid's units.
    width: f64,
    /// That width as a part of one of the next coarser level.
    of_parent: f64,
}

/// Meta tiles from one column and row to another, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    columns: (u32, u32),
    rows: (u32, u32),
}

/// The meta tiles below one tile, and how far the walk is with them.
#[derive(Clone, Debug)]
struct Step {
    area: Area,
    /// The next one: its column, and its row counted from the north.
    at: (u32, u32),
    /// All of them are inside of the coverage, or are taken for that.
    inside: bool,
    /// The walk is below the next one, which is to be given after that.
    gives: bool,
    /// How much of the whole walk comes before the first one, and how much each one is.
    before: f64,
    each: f64,
}

/// A place in a walk, right behind a piece of work; its text is short and stays valid as long as the task is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    number: u64,
    last: Option<TileCoord>,
}

/// A walk that cannot begin.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The coverage has no image in the grid's SRS.
    #[error("the coverage has no place in the grid {grid}: {error}")]
    Transform {
        /// Name of the grid.
        grid: String,
        /// Why not.
        error: TransformError,
    },
    /// The position is that of another task, or the task has changed.
    #[error("position {position} is not on the way of this task")]
    NotOnTheWay {
        /// The position.
        position: Position,
    },
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a position in a walk")]
pub struct PositionError(String);

impl TileWalk {
    /// All work of the task, from its beginning.
    pub fn new(task: &SeedTask) -> Result<TileWalk, WalkError> {
        TileWalk::over(&task.manager.work_grid(), &task.levels, task.coverage.clone(), task.skip_geoms_for_last_levels)
    }

    /// The work of the task that comes after `position`.
    pub fn resume(task: &SeedTask, position: &Position) -> Result<TileWalk, WalkError> {
        let mut walk = TileWalk::new(task)?;
        walk.go_to(position)?;
        Ok(walk)
    }

    /// The meta tiles of some levels that meet the coverage; for the last `unchecked` of the levels, all that lie below
    /// tiles that do.
    pub fn over(
        meta_grid: &MetaGrid,
        levels: &[u8],
        coverage: Option<Coverage>,
        unchecked: u8,
    ) -> Result<TileWalk, WalkError> {
        let grid = Arc::clone(meta_grid.grid());
        let bbox = match &coverage {
            Some(coverage) => {
                let extent = coverage.extent();
                extent
                    .srs
                    .transform_bbox(grid.srs(), &extent.bbox)
                    .map_err(|error| WalkError::Transform { grid: grid.name().to_owned(), error })?
            }
            None => grid.bbox(),
        };
        let stages = stages(meta_grid, levels, &bbox);
        let mut ascending: Vec<u8> = levels.iter().copied().filter(|level| grid.level(*level).is_some()).collect();
        ascending.sort_unstable();
        ascending.dedup();
        let checked = ascending.len().saturating_sub(usize::from(unchecked));
        let unchecked_from = match checked.checked_sub(1).map(|last| usize::from(ascending[last])) {
            _ if unchecked == 0 => usize::MAX,
            Some(last_checked) => last_checked + 1,
            None => 0,
        };
        let mut walk = TileWalk {
            origin: grid.origin(),
            grid,
            coverage,
            bbox,
            path: Vec::with_capacity(stages.len()),
            levels: stages,
            unchecked_from,
            number: 0,
            last: None,
        };
        walk.begin();
        Ok(walk)
    }

    /// The place behind what was given last.
    pub fn position(&self) -> Position {
        Position { number: self.number, last: self.last }
    }

    /// How much of the way is done, from 0 to 1; tiles that are passed over count as much as those that are given.
    pub fn fraction(&self) -> f64 {
        match self.path.last() {
            Some(step) => (step.before + step.each * step.done() as f64).min(1.0),
            None => 1.0,
        }
    }

    /// The box the walk stays in: that of the coverage or of the grid, in the grid's SRS.
    pub fn bbox(&self) -> Bbox {
        self.bbox
    }

    /// The next meta tile by its number and its main tile: as [`next`](Iterator::next), without its list of tiles.
    pub fn next_main(&mut self) -> Option<(u64, TileCoord)> {
        let main = self.advance()?;
        let number = self.number;
        self.number += 1;
        self.last = Some(main);
        Some((number, main))
    }

    /// The work that a meta tile is.
    pub fn work(&self, number: u64, main: TileCoord) -> Work {
        let (columns, rows) = self.levels.get(usize::from(main.z)).map_or((1, 1), |stage| stage.meta_size);
        let (width, height) = self.grid.level(main.z).map_or((0, 0), |level| (level.columns, level.rows));
        let (right, top) = (main.x.saturating_add(columns).min(width), main.y.saturating_add(rows).min(height));
        let mut tiles = Vec::with_capacity((right - main.x) as usize * (top - main.y) as usize);
        let mut row = |y| tiles.extend((main.x..right).map(|x| TileCoord::new(x, y, main.z)));
        match self.origin {
            Origin::LowerLeft => (main.y..top).rev().for_each(&mut row),
            Origin::UpperLeft => (main.y..top).for_each(&mut row),
        }
        Work { number, main, tiles }
    }

    fn begin(&mut self) {
        self.path.clear();
        if let Some(area) = self.levels.first().and_then(|stage| stage.needed) {
            self.path.push(Step::new(area, self.coverage.is_none() || self.unchecked_from == 0, 0.0, 1.0));
        }
    }

    fn advance(&mut self) -> Option<TileCoord> {
        loop {
            let level = self.path.len().checked_sub(1)?;
            let step = &mut self.path[level];
            if step.gives {
                step.gives = false;
                let main = self.main(level);
                self.path[level].advance();
                return Some(main);
            }
            if step.is_over() {
                self.path.pop();
                // What it was below of is given now, if it is wanted, or over.
                if let Some(above) = self.path.last_mut()
                    && !above.gives
                {
                    above.advance();
                }
                continue;
            }
            let (gives, below) = self.look(level);
            match below {
                Some(below) => {
                    self.path[level].gives = gives;
                    self.path.push(below);
                }
                None if gives => {
                    let main = self.main(level);
                    self.path[level].advance();
                    return Some(main);
                }
                None => self.path[level].advance(),
            }
        }
    }

    /// Whether the tile that is next on the level is to be given, and what lies below it.
    fn look(&self, level: usize) -> (bool, Option<Step>) {
        let (step, stage) = (&self.path[level], &self.levels[level]);
        let (column, row) = (step.at.0, step.row(self.origin));
        let is_wanted = stage.wanted.is_some_and(|area| area.has(column, row));
        let (own, below) =
            if step.inside { (Relation::Inside, Relation::Inside) } else { self.relations(level, column, row) };
        let gives = is_wanted && own != Relation::Beside;
        if below == Relation::Beside {
            return (gives, None);
        }
        // Without a closer look, but only below tiles that meet the coverage themselves.
        let inside = below == Relation::Inside || (level + 1 >= self.unchecked_from && own != Relation::Beside);
        (gives, self.below(level, column, row, inside))
    }

    /// The meta tiles below one that have to be passed through.
    fn below(&self, level: usize, column: u32, row: u32, inside: bool) -> Option<Step> {
        let stage = self.levels.get(level + 1)?;
        let needed = stage.needed?;
        let columns = common(stage.columns.below(column, self.levels[level].columns.count)?, needed.columns)?;
        let rows = common(stage.rows.below(row, self.levels[level].rows.count)?, needed.rows)?;
        let area = Area { columns, rows };
        let step = &self.path[level];
        let before = step.before + step.each * step.done() as f64;
        Some(Step::new(area, inside, before, step.each / area.len() as f64))
    }

    /// How a meta tile lies to the coverage, and how all that lies below it does.
    fn relations(&self, level: usize, column: u32, row: u32) -> (Relation, Relation) {
        let stage = &self.levels[level];
        let own = self.meta_bbox(level, column, row);
        let relation = self.relation(&own);
        let (x, y) = stage.overhang;
        if x == 0.0 && y == 0.0 {
            return (relation, relation);
        }
        let wide = Bbox::new(own.min_x - x, own.min_y - y, own.max_x + x, own.max_y + y);
        (relation, self.relation(&wide))
    }

    /// What cannot be told, as it has no image in the coverage's SRS, is not passed over.
    fn relation(&self, bbox: &Bbox) -> Relation {
        let Some(coverage) = &self.coverage else { return Relation::Inside };
        let srs = self.grid.srs();
        let in_grid = || {
            let part = bbox.intersection(&self.grid.bbox()).ok_or(())?;
            coverage.relation(&part, srs).map_err(|_| ())
        };
        coverage.relation(bbox, srs).or_else(|_| in_grid()).unwrap_or(Relation::Meets)
    }

    fn meta_bbox(&self, level: usize, column: u32, row: u32) -> Bbox {
        let (columns, rows) = self.levels[level].meta_size;
        let z = u8::try_from(level).expect("a grid has at most 256 levels");
        let (x, y) = (column * columns, row * rows);
        let first = self.grid.tile_bbox(TileCoord::new(x, y, z));
        if (columns, rows) == (1, 1) {
            return first;
        }
        first.union(&self.grid.tile_bbox(TileCoord::new(x.saturating_add(columns - 1), y.saturating_add(rows - 1), z)))
    }

    /// The main tile of the meta tile that is next on the level.
    fn main(&self, level: usize) -> TileCoord {
        let (step, (columns, rows)) = (&self.path[level], self.levels[level].meta_size);
        let z = u8::try_from(level).expect("a grid has at most 256 levels");
        TileCoord::new(step.at.0 * columns, step.row(self.origin) * rows, z)
    }

    /// Puts the walk right behind the position.
    fn go_to(&mut self, position: &Position) -> Result<(), WalkError> {
        let wrong = || WalkError::NotOnTheWay { position: *position };
        self.begin();
        self.number = position.number;
        self.last = position.last;
        let Some(last) = position.last else {
            return if position.number == 0 { Ok(()) } else { Err(wrong()) };
        };
        // From the tile up, then down again: what is above a tile follows from the tile.
        let deepest = usize::from(last.z);
        let stage = self.levels.get(deepest).ok_or_else(wrong)?;
        if !last.x.is_multiple_of(stage.meta_size.0) || !last.y.is_multiple_of(stage.meta_size.1) {
            return Err(wrong());
        }
        let mut way = vec![(last.x / stage.meta_size.0, last.y / stage.meta_size.1)];
        for level in (1..=deepest).rev() {
            let (column, row) = way[way.len() - 1];
            let (stage, above) = (&self.levels[level], &self.levels[level - 1]);
            way.push((stage.columns.parent(column, above.columns.count), stage.rows.parent(row, above.rows.count)));
        }
        for (level, (column, row)) in way.into_iter().rev().enumerate() {
            let step = self.path.get_mut(level).ok_or_else(wrong)?;
            if !step.area.has(column, row) {
                return Err(wrong());
            }
            step.at = (column, step.area.rows_north_of(row, self.origin));
            let (gives, below) = self.look(level);
            if level == deepest {
                if !gives {
                    return Err(wrong());
                }
                self.path[level].advance();
            } else {
                self.path[level].gives = gives;
                self.path.push(below.ok_or_else(wrong)?);
            }
        }
        Ok(())
    }
}

impl Iterator for TileWalk {
    type Item = Work;

    fn next(&mut self) -> Option<Work> {
        let (number, main) = self.next_main()?;
        Some(self.work(number, main))
    }
}

impl std::iter::FusedIterator for TileWalk {}

/// The levels down to the finest one asked for.
fn stages(meta_grid: &MetaGrid, levels: &[u8], bbox: &Bbox) -> Vec<Stage> {
    let grid = meta_grid.grid();
    let tile_size = grid.tile_size();
    let count = levels.iter().filter(|z| grid.level(**z).is_some()).max().map_or(0, |z| usize::from(*z) + 1);
    let mut stages: Vec<Stage> = Vec::with_capacity(count);
    for (z, level) in (0..=u8::MAX).zip(&grid.levels()[..count]) {
        let meta_size = meta_grid.level_meta_size(z);
        let above = stages.last();
        let axis = |tiles: u32, meta: u32, pixels: u32, above: Option<Axis>| {
            let width = level.resolution * f64::from(pixels) * f64::from(meta);
            Axis {
                count: tiles.div_ceil(meta),
                width,
                of_parent: above.map_or(1.0, |above| nearly_whole(width, above.width)),
            }
        };
        let columns = axis(level.columns, meta_size.0, tile_size.width, above.map(|above| above.columns));
        let rows = axis(level.rows, meta_size.1, tile_size.height, above.map(|above| above.rows));
        let wanted = levels.contains(&z).then(|| wanted(grid, level, meta_size, bbox)).flatten();
        stages.push(Stage { meta_size, columns, rows, wanted, needed: wanted, overhang: (0.0, 0.0) });
    }
    for z in (1..stages.len()).rev() {
        let (above, below) = stages.split_at_mut(z);
        let (above, below) = (&mut above[z - 1], &below[0]);
        if let Some(needed) = below.needed {
            let span = |axis: Axis, parent: Axis, (first, last): (u32, u32)| {
                (axis.parent(first, parent.count), axis.parent(last, parent.count))
            };
            let area = Area {
                columns: span(below.columns, above.columns, needed.columns),
                rows: span(below.rows, above.rows, needed.rows),
            };
            above.needed = Some(above.wanted.map_or(area, |wanted| wanted.around(&area)));
            let (x, y) = below.overhang;
            above.overhang = (x + below.columns.overhang(), y + below.rows.overhang());
        }
    }
    stages
}

/// The meta tiles of the level that the box touches.
fn wanted(grid: &TileGrid, level: &Level, (columns, rows): (u32, u32), bbox: &Bbox) -> Option<Area> {
    let (own, size) = (grid.bbox(), grid.tile_size());
    let span = |from: f64, to: f64, pixels: u32, tiles: u32, meta: u32| {
        let width = level.resolution * f64::from(pixels);
        let cells = |margin: f64| (((from + margin) / width).floor(), ((to - margin) / width).floor());
        let (first, last) = match cells(level.resolution / 10.0) {
            (first, last) if first > last => cells(0.0),
            cells => cells,
        };
        let end = f64::from(tiles - 1);
        // Written so that what is no number is no span.
        let touches = first <= last && first <= end && last >= 0.0;
        touches.then(|| (first.max(0.0) as u32 / meta, last.min(end) as u32 / meta))
    };
    let (south, north) = match grid.origin() {
        Origin::LowerLeft => (bbox.min_y - own.min_y, bbox.max_y - own.min_y),
        Origin::UpperLeft => (own.max_y - bbox.max_y, own.max_y - bbox.min_y),
    };
    Some(Area {
        columns: span(bbox.min_x - own.min_x, bbox.max_x - own.min_x, size.width, level.columns, columns)?,
        rows: span(south, north, size.height, level.rows, rows)?,
    })
}

/// `width / parent`; exactly one part of a whole number where it is that but for rounding.
fn nearly_whole(width: f64, parent: f64) -> f64 {
    let parts = parent / width;
    if (parts - parts.round()).abs() < parts * 1e-9 { 1.0 / parts.round() } else { width / parent }
}

fn common(a: (u32, u32), b: (u32, u32)) -> Option<(u32, u32)> {
    let (first, last) = (a.0.max(b.0), a.1.min(b.1));
    (first <= last).then_some((first, last))
}

impl Axis {
    /// The one of the next coarser level that the centre of `index` lies in; the last one for what reaches beyond it.
    fn parent(&self, index: u32, parents: u32) -> u32 {
        let place = ((f64::from(index) + 0.5) * self.of_parent).floor();
        (place as u32).min(parents - 1)
    }

    /// Those whose centre lies in `parent`.
    fn below(&self, parent: u32, parents: u32) -> Option<(u32, u32)> {
        let first = self.first_below(parent, parents);
        let end = if parent + 1 >= parents { self.count } else { self.first_below(parent + 1, parents) };
        (first < end).then(|| (first, end - 1))
    }

    /// The first one whose centre lies in `parent` or behind it.
    fn first_below(&self, parent: u32, parents: u32) -> u32 {
        let guess = (f64::from(parent) / self.of_parent - 0.5).ceil().clamp(0.0, f64::from(self.count));
        let mut first = guess as u32;
        while first > 0 && self.parent(first - 1, parents) >= parent {
            first -= 1;
        }
        while first < self.count && self.parent(first, parents) < parent {
            first += 1;
        }
        first
    }

    /// How far one may reach beyond that of the next coarser level which its centre lies in.
    fn overhang(&self) -> f64 {
        let parts = 1.0 / self.of_parent;
        if parts == parts.round() { 0.0 } else { self.width / 2.0 }
    }
}

impl Area {
    fn has(&self, column: u32, row: u32) -> bool {
        (self.columns.0..=self.columns.1).contains(&column) && (self.rows.0..=self.rows.1).contains(&row)
    }

    fn around(&self, other: &Area) -> Area {
        let hull = |a: (u32, u32), b: (u32, u32)| (a.0.min(b.0), a.1.max(b.1));
        Area { columns: hull(self.columns, other.columns), rows: hull(self.rows, other.rows) }
    }

    fn width(&self) -> u64 {
        u64::from(self.columns.1 - self.columns.0) + 1
    }

    fn height(&self) -> u64 {
        u64::from(self.rows.1 - self.rows.0) + 1
    }

    fn len(&self) -> u64 {
        self.width().saturating_mul(self.height())
    }

    /// How many rows of the area lie north of `row`; and back again.
    fn rows_north_of(&self, row: u32, origin: Origin) -> u32 {
        match origin {
            Origin::LowerLeft => self.rows.1 - row,
            Origin::UpperLeft => row - self.rows.0,
        }
    }
}

impl Step {
    fn new(area: Area, inside: bool, before: f64, each: f64) -> Step {
        Step { area, at: (area.columns.0, 0), inside, gives: false, before, each }
    }

    fn is_over(&self) -> bool {
        u64::from(self.at.1) >= self.area.height()
    }

    fn advance(&mut self) {
        if self.at.0 < self.area.columns.1 {
            self.at.0 += 1;
        } else {
            self.at = (self.area.columns.0, self.at.1 + 1);
        }
    }

    /// The row of the next one, counted from the grid's origin.
    fn row(&self, origin: Origin) -> u32 {
        match origin {
            Origin::LowerLeft => self.area.rows.1 - self.at.1,
            Origin::UpperLeft => self.area.rows.0 + self.at.1,
        }
    }

    fn done(&self) -> u64 {
        u64::from(self.at.1) * self.area.width() + u64::from(self.at.0 - self.area.columns.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(TileCoord { x, y, z }) => write!(f, "{}@{z}/{x}/{y}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let read = || {
            let Some((number, tile)) = text.split_once('@') else {
                return Some(Position { number: text.parse().ok().filter(|number| *number == 0)?, last: None });
            };
            let mut parts = tile.splitn(3, '/');
            let z = parts.next()?.parse().ok()?;
            let (x, y) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Position { number: number.parse().ok()?, last: Some(TileCoord::new(x, y, z)) })
        };
        read().ok_or_else(|| PositionError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mapproxy_grid::{Size, Srs};
    use proptest::prelude::*;

    use super::*;

    fn world() -> Arc<TileGrid> {
        Arc::new(TileGrid::builder("world", Srs::web_mercator()).build().unwrap())
    }

    fn walk(grid: &Arc<TileGrid>, meta: (u32, u32), levels: &[u8], coverage: Option<Coverage>) -> TileWalk {
        TileWalk::over(&MetaGrid::new(Arc::clone(grid), meta, 0), levels, coverage, 0).unwrap()
    }

    fn mains(walk: TileWalk) -> Vec<(u8, u32, u32)> {
        walk.map(|work| (work.main.z, work.main.x, work.main.y)).collect()
    }

    #[test]
    fn tiles_come_after_those_below_them_and_rows_from_the_north() {
        let all = mains(walk(&world(), (1, 1), &[0, 1, 2], None));
        let quarter = |x: u32, y: u32| {
            let below = [(0, 1), (1, 1), (0, 0), (1, 0)].map(|(a, b)| (2, 2 * x + a, 2 * y + b));
            below.into_iter().chain([(1, x, y)])
        };
        let mut expected: Vec<_> =
            [(0, 1), (1, 1), (0, 0), (1, 0)].into_iter().flat_map(|(x, y)| quarter(x, y)).collect();
        expected.push((0, 0, 0));
        assert_eq!(all, expected);
    }

    #[test]
    fn work_has_the_tiles_of_a_meta_tile_that_the_grid_has() {
        let mut builder = TileGrid::builder("odd", Srs::web_mercator());
        builder.bbox = Some(Bbox::new(0.0, 0.0, 1000.0, 700.0));
        builder.tile_size = Size::new(100, 100);
        builder.resolutions.list = Some(vec![1.0]);
        builder.origin = Origin::UpperLeft;
        let grid = Arc::new(builder.build().unwrap());
        let work: Vec<Work> = walk(&grid, (4, 4), &[0], None).collect();
        assert_eq!(work.iter().map(|work| work.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(work.iter().map(|work| work.tiles.len()).collect::<Vec<_>>(), [16, 16, 8, 12, 12, 6]);
        let expected: Vec<_> = [4, 5, 6].into_iter().flat_map(|y| [8, 9].map(|x| TileCoord::new(x, y, 0))).collect();
        assert_eq!((work[5].main, &work[5].tiles), (TileCoord::new(8, 4, 0), &expected));
    }

    #[test]
    fn a_coverage_a_hair_beyond_an_edge_loses_nothing_on_finer_levels() {
        // West of the middle, but less than a tenth of a pixel of level 1.
        let coverage = Coverage::from_bbox(Bbox::new(-7000.0, 0.0, 1e6, 1e6), Srs::web_mercator());
        let all = mains(walk(&world(), (1, 1), &[1, 15], Some(coverage)));
        assert!(!all.contains(&(1, 0, 1)) && all.contains(&(1, 1, 1)));
        assert_eq!(all.iter().filter(|(z, x, _)| *z == 15 && *x < 1 << 14).map(|(_, x, _)| x).min(), Some(&16378));
    }

    #[test]
    fn a_coverage_narrower_than_the_margins_has_the_tiles_it_lies_in() {
        let coverage = Coverage::from_bbox(Bbox::new(-1.0, 5.0, 1.0, 6.0), Srs::web_mercator());
        assert_eq!(mains(walk(&world(), (1, 1), &[3], Some(coverage))), [(3, 3, 4), (3, 4, 4)]);
    }

    #[test]
    fn nothing_is_found_beside_the_grid_and_on_levels_it_has_not() {
        let mut builder = TileGrid::builder("small", Srs::wgs84());
        builder.bbox = Some(Bbox::new(5.0, 5.0, 10.0, 10.0));
        let grid = Arc::new(builder.build().unwrap());
        let beside = Coverage::from_bbox(Bbox::new(-20.0, 0.0, -10.0, 5.0), Srs::wgs84());
        let mut nothing = walk(&grid, (1, 1), &[0, 3], Some(beside));
        assert_eq!((nothing.fraction(), nothing.next()), (1.0, None));
        assert_eq!(walk(&grid, (1, 1), &[], None).next(), None);
        assert_eq!(walk(&grid, (1, 1), &[99], None).next(), None);
    }

    #[test]
    fn a_coverage_that_has_no_place_in_the_grid_is_an_error() {
        let mut builder = TileGrid::builder("utm", Srs::new("EPSG:25832").unwrap());
        builder.bbox = Some(Bbox::new(0.0, 5e6, 1e6, 6e6));
        let meta = MetaGrid::new(Arc::new(builder.build().unwrap()), (1, 1), 0);
        let nowhere = Coverage::from_bbox(Bbox::new(f64::NAN, 0.0, 1.0, 1.0), Srs::wgs84());
        let error = TileWalk::over(&meta, &[0], Some(nowhere), 0).unwrap_err().to_string();
        assert!(error.starts_with("the coverage has no place in the grid utm: "), "{error}");
    }

    #[test]
    fn billions_of_tiles_are_gone_on_with_anywhere_at_once() {
        let mut all = walk(&world(), (4, 4), &[19], None);
        assert!(all.by_ref().take(1000).count() == 1000 && all.fraction() < 1e-6);
        let far: Position = "12345678901@19/400000/300000".parse().unwrap();
        all.go_to(&far).unwrap();
        assert_eq!(all.position(), far);
        let (number, main) = all.next_main().unwrap();
        assert_eq!((number, main), (12_345_678_901, TileCoord::new(400_004, 300_000, 19)));
        assert!((0.1..0.5).contains(&all.fraction()), "in the north-east: {}", all.fraction());
    }

    #[test]
    fn positions_are_short_texts_and_wrong_ones_are_refused() {
        for text in ["", "x", "7", "1@", "1@2/3", "1@2/3/4/5", "-1@2/3/4", "1@300/0/0", "1@2/3/x"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        let coverage = Coverage::from_bbox(Bbox::new(1.0, 1.0, 1e6, 1e6), Srs::web_mercator());
        let mut walk = walk(&world(), (2, 2), &[3, 5], Some(coverage));
        for text in ["1@3/1/4", "1@3/0/0", "1@5/0/0", "1@4/8/8", "1@9/16/16", "1@3/4000000000/4"] {
            assert!(matches!(walk.go_to(&text.parse().unwrap()), Err(WalkError::NotOnTheWay { .. })), "{text}");
        }
        walk.go_to(&"0".parse().unwrap()).unwrap();
        assert_eq!(walk.position().to_string(), "0");
        assert_eq!(walk.next().unwrap().number, 0);
        assert_eq!(walk.position().to_string(), "1@5/16/16");
    }

    #[test]
    fn below_tiles_that_meet_the_coverage_the_last_levels_may_go_unchecked() {
        let coverage = || Coverage::from_wkt("POLYGON((1 1,1 9,9 9,1 1))", Srs::wgs84()).unwrap();
        let meta = MetaGrid::new(world(), (1, 1), 0);
        let count = |unchecked| {
            let all = TileWalk::over(&meta, &[5, 6, 7, 8], Some(coverage()), unchecked).unwrap();
            all.fold([0; 4], |mut counts, work| {
                counts[usize::from(work.main.z) - 5] += 1;
                counts
            })
        };
        let exact = count(0);
        let (one, two, four) = (count(1), count(2), count(4));
        assert_eq!(one[..3], exact[..3]);
        assert_eq!(two[..2], exact[..2]);
        assert!(exact[3] < one[3] && one[3] <= two[3] && exact[2] < two[2]);
        let extent = coverage().extent();
        let in_box = mains(walk(&world(), (1, 1), &[8], Some(Coverage::from_bbox(extent.bbox, extent.srs)))).len();
        assert_eq!(four[3], in_box);
    }

    fn grids() -> impl Strategy<Value = Arc<TileGrid>> {
        let resolutions = prop_oneof![
            Just((Some(2.0), None)),
            Just((Some(std::f64::consts::SQRT_2), None)),
            Just((Some(1.3), None)),
            Just((Some(3.0), None)),
            prop::collection::vec(1.0..100.0, 1..6).prop_map(|list| (None, Some(list))),
        ];
        (resolutions, any::<bool>(), 100.0..5000.0, 100.0..5000.0, 10_u32..50).prop_map(
            |((factor, list), upper, width, height, tile): ((_, Option<Vec<f64>>), _, _, _, _)| {
                let mut builder = TileGrid::builder("any", Srs::web_mercator());
                builder.bbox = Some(Bbox::new(-500.0, 300.0, -500.0 + width, 300.0 + height));
                builder.origin = if upper { Origin::UpperLeft } else { Origin::LowerLeft };
                builder.tile_size = Size::new(tile, tile + 3);
                builder.resolutions.factor = factor;
                builder.resolutions.num_levels = list.is_none().then_some(6);
                builder.resolutions.list = list;
                Arc::new(builder.build().unwrap())
            },
        )
    }

    fn coverages() -> impl Strategy<Value = Option<Coverage>> {
        let point = || (-700.0..5000.0, 100.0..5500.0);
        let polygon = prop::collection::vec(point(), 3..7).prop_map(|mut ring: Vec<(f64, f64)>| {
            ring.push(ring[0]);
            Coverage::from_polygons(&vec![vec![ring]], Srs::web_mercator()).ok()
        });
        let bbox = (point(), 1.0..3000.0, 1.0..3000.0).prop_map(|((x, y), width, height)| {
            Some(Coverage::from_bbox(Bbox::new(x, y, x + width, y + height), Srs::web_mercator()))
        });
        prop_oneof![Just(None), bbox, polygon]
    }

    proptest! {
        #[test]
        fn every_meta_tile_that_meets_the_coverage_is_given_once_and_any_place_can_be_gone_on_from(
            grid in grids(),
            coverage in coverages(),
            meta in (1_u32..5, 1_u32..5),
            wanted in prop::collection::vec(0_u8..6, 1..5),
            place in any::<prop::sample::Index>(),
        ) {
            let levels: Vec<u8> = wanted.into_iter().filter(|z| grid.level(*z).is_some()).collect();
            let walk = walk(&grid, meta, &levels, coverage.clone());
            let stages = walk.levels.clone();
            let mut given: HashMap<(u8, u32, u32), u32> = HashMap::new();
            let (mut positions, mut steps, mut fraction) = (vec![walk.position()], Vec::new(), 0.0);
            let mut going = walk.clone();
            while let Some(work) = going.next() {
                prop_assert_eq!(work.number, steps.len() as u64);
                prop_assert!(work.tiles.iter().all(|tile| grid.contains_tile(*tile)) && work.tiles.contains(&work.main));
                prop_assert!(going.fraction() + 1e-9 >= fraction && going.fraction() <= 1.0);
                fraction = going.fraction();
                *given.entry((work.main.z, work.main.x, work.main.y)).or_default() += 1;
                steps.push(work);
                positions.push(going.position());
            }
            prop_assert!(given.values().all(|times| *times == 1));
            for (z, stage) in stages.iter().enumerate() {
                let Some(area) = stage.wanted else { continue };
                for column in area.columns.0..=area.columns.1 {
                    for row in area.rows.0..=area.rows.1 {
                        let meets = coverage.as_ref().is_none_or(|coverage| {
                            coverage.intersects(&walk.meta_bbox(z, column, row), grid.srs()).unwrap()
                        });
                        let (x, y) = (column * stage.meta_size.0, row * stage.meta_size.1);
                        // What only the part beyond the grid's edge meets may be passed over.
                        let inside = walk.meta_bbox(z, column, row).intersection(&grid.bbox());
                        let meets_inside = inside.is_some_and(|inside| {
                            coverage.as_ref().is_none_or(|coverage| coverage.intersects(&inside, grid.srs()).unwrap())
                        });
                        let is_given = given.contains_key(&(u8::try_from(z).unwrap(), x, y));
                        prop_assert!(!is_given || meets, "{} {} {}", z, x, y);
                        prop_assert!(is_given || !meets_inside, "{} {} {}", z, x, y);
                    }
                }
            }
            let place = place.index(positions.len());
            let text = positions[place].to_string();
            let mut resumed = walk;
            resumed.go_to(&text.parse().unwrap()).unwrap();
            prop_assert_eq!(resumed.collect::<Vec<_>>(), &steps[place..]);
        }
    }
}
