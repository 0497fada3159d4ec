//! Does a box touch polygons, does it lie inside? Asked for each tile, so answered without looking at all edges.
//!
//! A raster is laid over the polygons. A cell without edges is marked as inside or outside; a cell with edges knows them.
//! A box is answered by the cells it meets: most often one without edges settles it.
//!
//! Polygons must be valid, so that crossing an edge is going in or out.

use geo::Coord;

use crate::Bbox;

/// What a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Outside,
    Inside,
    /// Has edges.
    Edge,
}

type Segment = [Coord; 2];

/// Edges of polygons in a raster.
#[derive(Debug)]
pub(super) struct Index {
    raster: Raster,
    cells: Vec<Cell>,
    /// For each cell, where its edges begin in `edges`; one more for the end.
    starts: Vec<u32>,
    /// Numbers of segments, cell by cell.
    edges: Vec<u32>,
    segments: Vec<Segment>,
}

impl Index {
    /// `rings` are closed; `bbox` is the box around them.
    pub(super) fn new<'a>(rings: impl Iterator<Item = &'a [Coord]>, bbox: Bbox) -> Index {
        let segments: Vec<Segment> = rings.flat_map(|ring| ring.windows(2).map(|pair| [pair[0], pair[1]])).collect();
        let raster = Raster::new(bbox, segments.len());
        let mut counts = vec![0_u32; raster.columns * raster.rows + 1];
        for segment in &segments {
            raster.visit(segment, |cell| counts[cell + 1] += 1);
        }
        let starts: Vec<u32> = counts
            .iter()
            .scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            })
            .collect();
        let mut next = starts.clone();
        let mut edges = vec![0; starts.last().map_or(0, |end| *end as usize)];
        for (number, segment) in (0_u32..).zip(&segments) {
            raster.visit(segment, |cell| {
                edges[next[cell] as usize] = number;
                next[cell] += 1;
            });
        }
        let mut index = Index { raster, cells: Vec::new(), starts, edges, segments };
        index.mark_cells();
        index
    }

    /// The box and the polygons have a common point.
    pub(super) fn touches(&self, bbox: &Bbox) -> bool {
        let mut has_outside = false;
        for cell in self.raster.cells_of(bbox) {
            match self.cells[cell] {
                Cell::Inside => return true,
                Cell::Outside => has_outside = true,
                Cell::Edge if self.edges_of(cell).any(|segment| meets(segment, bbox)) => return true,
                Cell::Edge => {}
            }
        }
        // No edge meets the box: it is all in or all out.
        !has_outside && self.has_inside((bbox.min_x + bbox.max_x) / 2.0, (bbox.min_y + bbox.max_y) / 2.0)
    }

    /// The box lies inside the polygons; it may touch their edges from within.
    pub(super) fn contains(&self, bbox: &Bbox) -> bool {
        for cell in self.raster.cells_of(bbox) {
            if self.cells[cell] == Cell::Edge && self.edges_of(cell).any(|segment| enters(segment, bbox)) {
                return false;
            }
        }
        self.has_inside((bbox.min_x + bbox.max_x) / 2.0, (bbox.min_y + bbox.max_y) / 2.0)
    }

    fn edges_of(&self, cell: usize) -> impl Iterator<Item = &Segment> {
        let range = self.starts[cell] as usize..self.starts[cell + 1] as usize;
        self.edges[range].iter().map(|number| &self.segments[*number as usize])
    }

    /// The point, which is not on an edge, lies inside: counts edges to the west of it, until a cell without edges says
    /// what is there.
    fn has_inside(&self, x: f64, y: f64) -> bool {
        let raster = &self.raster;
        if !raster.bbox.contains_point(x, y) {
            return false;
        }
        let (column, row) = (raster.column(x), raster.row(y));
        let mut crossings = 0;
        for column in (0..=column).rev() {
            let cell = row * raster.columns + column;
            match self.cells[cell] {
                Cell::Outside => break,
                Cell::Inside => {
                    crossings += 1;
                    break;
                }
                // An edge through several cells counts where it is crossed.
                Cell::Edge => {
                    let crossed = self.edges_of(cell).filter_map(|segment| crossing(segment, y));
                    crossings += crossed.filter(|at| *at < x && raster.column(*at) == column).count();
                }
            }
        }
        crossings % 2 == 1
    }

    /// Cells without edges are inside where an odd number of edges lies to the west of their centre.
    fn mark_cells(&mut self) {
        let Raster { columns, rows, .. } = self.raster;
        let mut cells = vec![Cell::Edge; columns * rows];
        let mut crossed = Vec::new();
        for row in 0..rows {
            let y = self.raster.bbox.min_y + (row as f64 + 0.5) * self.raster.height;
            crossed.clear();
            for column in 0..columns {
                let cell = row * columns + column;
                let here = self.edges_of(cell).filter_map(|segment| crossing(segment, y));
                crossed.extend(here.filter(|at| self.raster.column(*at) == column));
                if self.starts[cell] == self.starts[cell + 1] {
                    cells[cell] = if crossed.len() % 2 == 1 { Cell::Inside } else { Cell::Outside };
                }
            }
        }
        self.cells = cells;
    }
}

/// Equal cells over a box.
#[derive(Debug)]
struct Raster {
    bbox: Bbox,
    columns: usize,
    rows: usize,
    /// Of a cell.
    width: f64,
    height: f64,
}

impl Raster {
    /// About two cells for each segment, as square as can be.
    fn new(bbox: Bbox, segments: usize) -> Raster {
        const MAX: f64 = 512.0;
        let cells = (segments as f64 * 2.0).clamp(64.0, MAX * MAX);
        let ratio = (bbox.width() / bbox.height()).clamp(1.0 / 64.0, 64.0);
        let columns = (cells * ratio).sqrt().clamp(1.0, MAX) as usize;
        let rows = (cells / ratio).sqrt().clamp(1.0, MAX) as usize;
        Raster { bbox, columns, rows, width: bbox.width() / columns as f64, height: bbox.height() / rows as f64 }
    }

    /// A cast takes everything beyond to the first or, with the minimum, to the last column.
    fn column(&self, x: f64) -> usize {
        (((x - self.bbox.min_x) / self.width) as usize).min(self.columns - 1)
    }

    fn row(&self, y: f64) -> usize {
        (((y - self.bbox.min_y) / self.height) as usize).min(self.rows - 1)
    }

    /// The cells that the box meets.
    fn cells_of(&self, bbox: &Bbox) -> impl Iterator<Item = usize> {
        let columns = self.column(bbox.min_x)..=self.column(bbox.max_x);
        let rows = self.row(bbox.min_y)..=self.row(bbox.max_y);
        rows.flat_map(move |row| columns.clone().map(move |column| row * self.columns + column))
    }

    /// The cells that a segment meets, and sometimes a neighbour: a cell too many does no harm, one too few would.
    fn visit(&self, [a, b]: &Segment, mut found: impl FnMut(usize)) {
        let (slack_x, slack_y) = (self.width * 1e-6, self.height * 1e-6);
        let (low, high) = if a.y <= b.y { (a, b) } else { (b, a) };
        for row in self.row(low.y - slack_y)..=self.row(high.y + slack_y) {
            let bottom = self.bbox.min_y + row as f64 * self.height - slack_y;
            let top = bottom + self.height + 2.0 * slack_y;
            let at = |y: f64| {
                if high.y - low.y > slack_y {
                    low.x + (high.x - low.x) * ((y - low.y) / (high.y - low.y)).clamp(0.0, 1.0)
                } else {
                    f64::NAN
                }
            };
            // A flat segment meets all columns between its ends.
            let (from, to) = (at(bottom), at(top));
            let (west, east) =
                if from.is_nan() { (low.x.min(high.x), low.x.max(high.x)) } else { (from.min(to), from.max(to)) };
            for column in self.column(west - slack_x)..=self.column(east + slack_x) {
                found(row * self.columns + column);
            }
        }
    }
}

/// Where the segment crosses the horizontal line at `y`. Its upper end belongs to the next segment.
fn crossing([a, b]: &Segment, y: f64) -> Option<f64> {
    ((a.y <= y) != (b.y <= y)).then(|| a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x))
}

/// The segment has a point in the closed box.
fn meets([a, b]: &Segment, bbox: &Bbox) -> bool {
    inside_part(a, b, bbox).is_some()
}

/// The segment has a point in the open box.
fn enters([a, b]: &Segment, bbox: &Bbox) -> bool {
    let runs_along = |a: f64, b: f64, min: f64, max: f64| a == b && (a <= min || a >= max);
    if runs_along(a.x, b.x, bbox.min_x, bbox.max_x) || runs_along(a.y, b.y, bbox.min_y, bbox.max_y) {
        return false;
    }
    inside_part(a, b, bbox).is_some_and(|(from, to)| from < to)
}

/// Which part of the segment lies in the closed box, from 0 to 1 (Liang and Barsky).
fn inside_part(a: &Coord, b: &Coord, bbox: &Bbox) -> Option<(f64, f64)> {
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    for (start, delta, min, max) in [(a.x, b.x - a.x, bbox.min_x, bbox.max_x), (a.y, b.y - a.y, bbox.min_y, bbox.max_y)]
    {
        if delta == 0.0 {
            if start < min || start > max {
                return None;
            }
            continue;
        }
        let (enter, leave) = ((min - start) / delta, (max - start) / delta);
        from = from.max(enter.min(leave));
        to = to.min(enter.max(leave));
    }
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use geo::{Contains, Covers, Intersects, MultiPolygon, Polygon};
    use proptest::prelude::*;

    use super::super::algebra;
    use super::*;

    fn index(polygons: &MultiPolygon) -> Index {
        use geo::BoundingRect;
        let rect = polygons.bounding_rect().unwrap();
        let bbox = Bbox::new(rect.min().x, rect.min().y, rect.max().x, rect.max().y);
        Index::new(polygons.iter().flat_map(algebra::rings).map(|ring| ring.0.as_slice()), bbox)
    }

    /// A star with a hole, with corners at the given distances.
    fn star(x: f64, y: f64, distances: &[f64]) -> Polygon {
        let ring = |scale: f64| {
            let corner = |(i, distance): (usize, &f64)| {
                let angle = i as f64 / distances.len() as f64 * std::f64::consts::TAU;
                (x + scale * distance * angle.cos(), y + scale * distance * angle.sin())
            };
            geo::LineString::from(distances.iter().enumerate().map(corner).collect::<Vec<_>>())
        };
        Polygon::new(ring(1.0), vec![ring(0.4)])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn boxes_are_answered_as_by_looking_at_all_edges(
            distances in prop::collection::vec(1.0_f64..10.0, 5..60),
            boxes in prop::collection::vec((-25.0_f64..35.0, -15.0_f64..15.0, 0.001_f64..8.0, 0.001_f64..8.0), 60),
        ) {
            let polygons = MultiPolygon(vec![star(0.0, 0.0, &distances), star(20.5, 1.0, &distances[..4])]);
            let index = index(&polygons);
            for (x, y, w, h) in boxes {
                let bbox = Bbox::new(x, y, x + w, y + h);
                let polygon = algebra::polygon_of(&bbox);
                prop_assert_eq!(index.touches(&bbox), polygons.intersects(&polygon), "{}", bbox);
                prop_assert_eq!(index.contains(&bbox), polygons.contains(&polygon), "{}", bbox);
            }
        }

        #[test]
        fn boxes_on_the_lines_of_square_polygons_are_answered_exactly(
            cells in prop::collection::vec(any::<bool>(), 36),
            boxes in prop::collection::vec((-1_i32..7, -1_i32..7, 1_i32..4, 1_i32..4), 40),
        ) {
            let squares = (0..36).filter(|i| cells[*i as usize]).map(|i| {
                let (x, y) = (f64::from(i % 6), f64::from(i / 6));
                algebra::polygon_of(&Bbox::new(x, y, x + 1.0, y + 1.0))
            });
            let polygons = algebra::merged(&MultiPolygon(squares.collect()));
            prop_assume!(!polygons.0.is_empty());
            let index = index(&polygons);
            for (x, y, w, h) in boxes {
                let bbox = Bbox::new(f64::from(x), f64::from(y), f64::from(x + w), f64::from(y + h));
                let polygon = algebra::polygon_of(&bbox);
                prop_assert_eq!(index.touches(&bbox), polygons.intersects(&polygon), "{} {:?}", bbox, polygons);
                let filled = (x..x + w).all(|x| (y..y + h).all(|y| (0..6).contains(&x) && (0..6).contains(&y) && cells[(y * 6 + x) as usize]));
                prop_assert_eq!(index.contains(&bbox), filled, "{} {:?}", bbox, polygons);
                prop_assert!(!filled || polygons.covers(&polygon));
            }
        }
    }
}
