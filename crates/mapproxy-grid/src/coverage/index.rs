//! Does a box touch polygons, does it lie inside? Asked for each tile, so answered without looking at all edges.
//!
//! The extent is halved again and again, along one axis or the other, until a cell has few edges or none. A cell without
//! edges is marked as inside or outside; one with edges knows them, and of one of its points whether that is inside. A box
//! is answered by the cells it meets: most often one without edges, or the first edge, settles it.
//!
//! Polygons must be valid, so that crossing an edge is going in or out.

use geo::kernels::{Kernel, Orientation};
use geo::{Coord, GeoNum};

use crate::Bbox;

/// Cells with fewer edges are not halved.
const FEW: usize = 12;
/// Cells are halved no more often than this.
const MAX_DEPTH: u32 = 48;
/// An edge may be in several cells; where edges lie so that all cells have all of them, halving would not end.
const MAX_SHARES: usize = 6;

/// Edges of polygons, by place.
#[derive(Debug)]
pub(super) struct Index {
    extent: Bbox,
    /// The root first, the halves of a cell one after the other.
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    /// Leaf by leaf, numbers of points: an edge leads from that point to the next.
    edges: Vec<u32>,
    /// Ring by ring.
    points: Vec<Coord>,
}

/// What a cell is: a kind in the lowest three bits, a number in the others.
#[derive(Clone, Copy, Debug)]
struct Node(u32);

impl Node {
    const OUTSIDE: u32 = 0;
    const INSIDE: u32 = 1;
    /// With the number of the leaf.
    const LEAF: u32 = 2;
    /// Halved by a vertical line, with the number of the western half.
    const WEST_EAST: u32 = 3;
    /// Halved by a horizontal line, with the number of the southern half.
    const SOUTH_NORTH: u32 = 4;

    fn new(kind: u32, number: usize) -> Node {
        let number = u32::try_from(number).ok().filter(|number| *number < 1 << 29);
        Node(kind | (number.expect("no more than some times the number of points, which are counted in 32 bits") << 3))
    }

    fn kind(self) -> u32 {
        self.0 & 7
    }

    fn number(self) -> usize {
        (self.0 >> 3) as usize
    }
}

/// A cell with edges.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    /// Some point of the cell.
    known: Coord,
    /// It is inside.
    is_inside: bool,
    /// Where its edges begin and end.
    edges: (u32, u32),
}

/// A cell that is still to be halved.
struct Task {
    node: usize,
    cell: Bbox,
    edges: Vec<u32>,
    known: Coord,
    is_inside: bool,
    depth: u32,
}

impl Index {
    /// `rings` are closed; `bbox` is the box around them.
    pub(super) fn new<'a>(rings: impl Iterator<Item = &'a [Coord]>, bbox: Bbox) -> Index {
        let mut points = Vec::new();
        let mut edges = Vec::new();
        for ring in rings.filter(|ring| ring.len() > 1) {
            let start = points.len() as u32;
            points.extend_from_slice(ring);
            edges.extend(start..start + ring.len() as u32 - 1);
        }
        points.shrink_to_fit();
        // Rounding never gets an edge out of its cell.
        let largest = bbox.to_array().into_iter().fold(0.0_f64, |largest, edge| largest.max(edge.abs()));
        let slack = largest * 1e-14;
        let (x, y) = (bbox.width() / 64.0 + slack, bbox.height() / 64.0 + slack);
        let extent = Bbox::new(bbox.min_x - x, bbox.min_y - y, bbox.max_x + x, bbox.max_y + y);
        let mut index =
            Index { extent, nodes: vec![Node(Node::OUTSIDE)], leaves: Vec::new(), edges: Vec::new(), points };
        let mut left_to_share = edges.len() * MAX_SHARES + 1_000;
        let known = Coord { x: extent.min_x, y: extent.min_y };
        let mut tasks = vec![Task { node: 0, cell: extent, edges, known, is_inside: false, depth: 0 }];
        while let Some(task) = tasks.pop() {
            index.place(task, slack, &mut left_to_share, &mut tasks);
        }
        index.nodes.shrink_to_fit();
        index.leaves.shrink_to_fit();
        index.edges.shrink_to_fit();
        index
    }

    /// The box and the polygons have a common point.
    pub(super) fn touches(&self, bbox: &Bbox) -> bool {
        // Without an edge, it is all in or all out.
        self.is_met(0, self.extent, bbox) || self.has_inside(centre(bbox))
    }

    /// The box lies inside the polygons; it may touch their edges from within.
    pub(super) fn contains(&self, bbox: &Bbox) -> bool {
        !self.is_left(0, self.extent, bbox) && self.has_inside(centre(bbox))
    }

    /// Bytes it takes.
    #[cfg(test)]
    fn size(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.leaves) + size_of_val(&*self.edges) + size_of_val(&*self.points)
    }

    /// A cell inside, or an edge, meets the box.
    fn is_met(&self, node: usize, cell: Bbox, bbox: &Bbox) -> bool {
        let node = self.nodes[node];
        let number = node.number();
        match node.kind() {
            Node::OUTSIDE => false,
            Node::INSIDE => true,
            Node::LEAF => self.edges_of(number).any(|edge| meets(&edge, bbox)),
            Node::WEST_EAST => {
                let [west, east] = halves(&cell, true);
                (bbox.min_x <= west.max_x && self.is_met(number, west, bbox))
                    || (bbox.max_x >= east.min_x && self.is_met(number + 1, east, bbox))
            }
            _ => {
                let [south, north] = halves(&cell, false);
                (bbox.min_y <= south.max_y && self.is_met(number, south, bbox))
                    || (bbox.max_y >= north.min_y && self.is_met(number + 1, north, bbox))
            }
        }
    }

    /// A cell outside, or an edge, enters the box.
    fn is_left(&self, node: usize, cell: Bbox, bbox: &Bbox) -> bool {
        let node = self.nodes[node];
        let number = node.number();
        match node.kind() {
            Node::OUTSIDE => true,
            Node::INSIDE => false,
            Node::LEAF => self.edges_of(number).any(|edge| enters(&edge, bbox)),
            Node::WEST_EAST => {
                let [west, east] = halves(&cell, true);
                (bbox.min_x < west.max_x && self.is_left(number, west, bbox))
                    || ((bbox.max_x > east.min_x || bbox.min_x >= east.min_x) && self.is_left(number + 1, east, bbox))
            }
            _ => {
                let [south, north] = halves(&cell, false);
                (bbox.min_y < south.max_y && self.is_left(number, south, bbox))
                    || ((bbox.max_y > north.min_y || bbox.min_y >= north.min_y)
                        && self.is_left(number + 1, north, bbox))
            }
        }
    }

    fn edges_of(&self, leaf: usize) -> impl Iterator<Item = [Coord; 2]> {
        let (start, end) = self.leaves[leaf].edges;
        self.edges[start as usize..end as usize].iter().map(|number| self.edge(*number))
    }

    fn edge(&self, number: u32) -> [Coord; 2] {
        [self.points[number as usize], self.points[number as usize + 1]]
    }

    /// The point, which is not on an edge, lies inside.
    fn has_inside(&self, point: Coord) -> bool {
        let mut cell = self.extent;
        if !cell.contains_point(point.x, point.y) {
            return false;
        }
        let mut node = self.nodes[0];
        loop {
            let number = node.number();
            let (first, second, is_first) = match node.kind() {
                Node::OUTSIDE => return false,
                Node::INSIDE => return true,
                Node::LEAF => {
                    let leaf = &self.leaves[number];
                    return leaf.is_inside != changes_side(self.edges_of(number), leaf.known, point);
                }
                Node::WEST_EAST => {
                    let [west, east] = halves(&cell, true);
                    (west, east, point.x < west.max_x)
                }
                _ => {
                    let [south, north] = halves(&cell, false);
                    (south, north, point.y < south.max_y)
                }
            };
            (cell, node) = if is_first { (first, self.nodes[number]) } else { (second, self.nodes[number + 1]) };
        }
    }

    /// Makes a cell a leaf, or leaves its halves to be placed.
    fn place(&mut self, task: Task, slack: f64, left_to_share: &mut usize, tasks: &mut Vec<Task>) {
        let Task { node, cell, edges, known, is_inside, depth } = task;
        if edges.is_empty() {
            self.nodes[node] = Node(if is_inside { Node::INSIDE } else { Node::OUTSIDE });
            return;
        }
        let is_small = cell.width().max(cell.height()) < slack * 64.0;
        let halved = if edges.len() <= FEW || depth >= MAX_DEPTH || is_small {
            None
        } else {
            self.halved(&cell, &edges, slack, *left_to_share)
        };
        let Some((kind, cells, shares)) = halved else {
            let start = self.edges.len() as u32;
            self.edges.extend_from_slice(&edges);
            self.nodes[node] = Node::new(Node::LEAF, self.leaves.len());
            self.leaves.push(Leaf { known, is_inside, edges: (start, self.edges.len() as u32) });
            return;
        };
        *left_to_share -= (shares[0].len() + shares[1].len()).saturating_sub(edges.len());
        let first = self.nodes.len();
        self.nodes[node] = Node::new(kind, first);
        self.nodes.extend([Node(Node::OUTSIDE); 2]);
        for (number, (cell, share)) in cells.into_iter().zip(shares).enumerate() {
            // One half has the known point; for the other one, the edges up to a new point are counted.
            let (known, is_inside) = if cell.contains_point(known.x, known.y) {
                (known, is_inside)
            } else {
                // Where edges hardly ever begin or end.
                let new = Coord {
                    x: cell.min_x + cell.width() * 0.438_579_021_4,
                    y: cell.min_y + cell.height() * 0.561_284_970_2,
                };
                let passed = edges.iter().map(|number| self.edge(*number));
                (new, is_inside != changes_side(passed, known, new))
            };
            tasks.push(Task { node: first + number, cell, edges: share, known, is_inside, depth: depth + 1 });
        }
    }

    /// The halves of a cell with their edges, along the axis that parts the edges better; `None` where none does.
    fn halved(
        &self,
        cell: &Bbox,
        edges: &[u32],
        slack: f64,
        left_to_share: usize,
    ) -> Option<(u32, [Bbox; 2], [Vec<u32>; 2])> {
        let along = |is_vertical: bool| {
            let cells = halves(cell, is_vertical);
            let mut shares = [Vec::with_capacity(edges.len()), Vec::with_capacity(edges.len())];
            for number in edges {
                let edge = self.edge(*number);
                for (cell, share) in cells.iter().zip(&mut shares) {
                    if is_near(&edge, cell, slack) {
                        share.push(*number);
                    }
                }
            }
            let kind = if is_vertical { Node::WEST_EAST } else { Node::SOUTH_NORTH };
            (kind, cells, shares)
        };
        let more = |(_, _, shares): &(u32, [Bbox; 2], [Vec<u32>; 2])| {
            (shares[0].len() + shares[1].len()).saturating_sub(edges.len())
        };
        let is_wide = cell.width() >= cell.height();
        let mut best = along(is_wide);
        if more(&best) * 2 > edges.len() {
            let other = along(!is_wide);
            if more(&other) < more(&best) {
                best = other;
            }
        }
        (more(&best) * 10 <= edges.len() * 8 && more(&best) <= left_to_share).then_some(best)
    }
}

fn centre(bbox: &Bbox) -> Coord {
    Coord { x: f64::midpoint(bbox.min_x, bbox.max_x), y: f64::midpoint(bbox.min_y, bbox.max_y) }
}

fn halves(cell: &Bbox, is_vertical: bool) -> [Bbox; 2] {
    if is_vertical {
        let middle = f64::midpoint(cell.min_x, cell.max_x);
        [Bbox { max_x: middle, ..*cell }, Bbox { min_x: middle, ..*cell }]
    } else {
        let middle = f64::midpoint(cell.min_y, cell.max_y);
        [Bbox { max_y: middle, ..*cell }, Bbox { min_y: middle, ..*cell }]
    }
}

/// The edge meets the cell, or nearly does: one too many does no harm, one too few would.
fn is_near([a, b]: &[Coord; 2], cell: &Bbox, slack: f64) -> bool {
    let (west, east) = if a.x <= b.x { (a.x, b.x) } else { (b.x, a.x) };
    let (south, north) = if a.y <= b.y { (a.y, b.y) } else { (b.y, a.y) };
    if west > cell.max_x + slack
        || east < cell.min_x - slack
        || south > cell.max_y + slack
        || north < cell.min_y - slack
    {
        return false;
    }
    let Coord { x, y } = centre(cell);
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    // Does the line pass the middle at a distance that no corner has?
    let distance = dy * (x - a.x) - dx * (y - a.y);
    let reach = dy.abs() * (cell.width() / 2.0 + slack) + dx.abs() * (cell.height() / 2.0 + slack);
    distance.abs() <= reach
}

/// Going from one point to the other, first along x, then along y, an odd number of edges is crossed.
///
/// Points are taken as if they lay a trifle to the north and a much smaller one to the east, so that none lies on an
/// edge or beside the end of one. With exact arithmetic, no two answers contradict each other.
fn changes_side(edges: impl Iterator<Item = [Coord; 2]>, from: Coord, to: Coord) -> bool {
    let corner = Coord { x: to.x, y: from.y };
    let mut is_odd = false;
    for edge in edges {
        let [a, b] = edge;
        if (a.y <= from.y) != (b.y <= from.y) {
            is_odd ^= is_left_of(&edge, from) != is_left_of(&edge, corner);
        }
        if (a.x <= to.x) != (b.x <= to.x) {
            is_odd ^= is_left_of(&edge, corner) != is_left_of(&edge, to);
        }
    }
    is_odd
}

fn is_left_of([a, b]: &[Coord; 2], point: Coord) -> bool {
    match <f64 as GeoNum>::Ker::orient2d(*a, *b, point) {
        Orientation::CounterClockwise => true,
        Orientation::Clockwise => false,
        Orientation::Collinear => b.x > a.x || (b.x == a.x && b.y < a.y),
    }
}

/// The segment has a point in the closed box.
fn meets([a, b]: &[Coord; 2], bbox: &Bbox) -> bool {
    inside_part(a, b, bbox).is_some()
}

/// The segment has a point in the open box.
fn enters([a, b]: &[Coord; 2], bbox: &Bbox) -> bool {
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

    #[test]
    fn an_index_takes_some_bytes_for_each_edge_however_they_lie() {
        let rough = |number: u32| 5.0 + f64::from(number.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        let coast: Vec<f64> = (0..50_000).map(rough).collect();
        let comb = (0..20_000).flat_map(|tooth| {
            let x = f64::from(tooth);
            [(x, 0.0), (x + 0.25, 9_000.0), (x + 0.5, 9_000.0), (x + 0.75, 0.0)]
        });
        let comb = Polygon::new(comb.chain([(20_000.0, -1.0), (0.0, -1.0)]).collect(), Vec::new());
        let turned = geo::Rotate::rotate_around_point(&comb, 45.0, geo::Point::new(0.0, 0.0));
        for polygon in [star(0.0, 0.0, &coast), comb, turned] {
            let edges = polygon.exterior().0.len() + polygon.interiors().iter().map(|ring| ring.0.len()).sum::<usize>();
            let size = index(&MultiPolygon(vec![polygon])).size();
            assert!(size < edges * 90, "{size} bytes for {edges} edges");
        }
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
            let polygons = algebra::merged(MultiPolygon(squares.collect()));
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
