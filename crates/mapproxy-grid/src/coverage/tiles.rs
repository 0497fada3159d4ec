//! The outline of many tiles of a quadtree, as lists of expired tiles name them: millions, of several levels, repeatedly.
//!
//! Sides that two tiles have in common cancel each other, what is left is linked to rings. That is sorting, most of all.

use std::collections::BTreeMap;

use geo::{Coord, LineString, MultiPolygon, Polygon};

use crate::TileCoord;

/// Half the side of web mercator's world, in metres.
const EDGE: f64 = 20_037_508.342_789_244;
/// The deepest level: 3.7 cm a tile.
const MAX_LEVEL: u8 = 30;

/// The area of the tiles in web mercator, without overlaps: valid polygons.
pub(super) fn area(tiles: &[TileCoord]) -> MultiPolygon {
    let tiles = apart(tiles);
    let Some(level) = tiles.iter().map(|tile| tile.z).max() else { return MultiPolygon(Vec::new()) };
    let (mut columns, mut rows) = (Sides::default(), Sides::default());
    for tile in &tiles {
        let shift = level - tile.z;
        let (west, south) = (tile.x << shift, ((1_u32 << tile.z) - 1 - tile.y) << shift);
        let (east, north) = (west + (1 << shift), south + (1 << shift));
        // Inside is to the left of each side.
        rows.add(south, west, east, 1);
        rows.add(north, west, east, -1);
        columns.add(east, south, north, 1);
        columns.add(west, south, north, -1);
    }
    let rings = linked(&rows.left_over(), &columns.left_over());
    let size = 1_u32 << level;
    let unit = 2.0 * EDGE / f64::from(size);
    let at = |(x, y): (u32, u32)| Coord { x: f64::from(x) * unit - EDGE, y: EDGE - f64::from(size - y) * unit };
    let ring = |points: &[(u32, u32)]| {
        let mut points: Vec<Coord> = points.iter().map(|corner| at(*corner)).collect();
        points.extend(points.first().copied());
        LineString(points)
    };
    let mut polygons: Vec<(&Ring, Vec<LineString>)> = Vec::new();
    let mut places = vec![None; rings.len()];
    for (number, outline) in rings.iter().enumerate().filter(|(_, ring)| ring.outline.is_none()) {
        places[number] = Some(polygons.len());
        polygons.push((outline, Vec::new()));
    }
    for hole in &rings {
        if let Some(place) = hole.outline.and_then(|outline| places[outline]) {
            polygons[place].1.push(ring(&hole.points));
        }
    }
    MultiPolygon(polygons.into_iter().map(|(outline, holes)| Polygon::new(ring(&outline.points), holes)).collect())
}

/// Each once, and none that lies in another one.
fn apart(tiles: &[TileCoord]) -> Vec<TileCoord> {
    let is_real = |tile: &&TileCoord| tile.z <= MAX_LEVEL && tile.x >> tile.z == 0 && tile.y >> tile.z == 0;
    // In the order of a walk through the quadtree, a tile is followed by what lies in it.
    let start = |tile: &TileCoord| interleaved(tile.x, tile.y) << (2 * (MAX_LEVEL - tile.z));
    let mut sorted: Vec<(u64, TileCoord)> = tiles.iter().filter(is_real).map(|tile| (start(tile), *tile)).collect();
    sorted.sort_unstable_by_key(|(start, tile)| (*start, tile.z));
    let mut end = 0;
    sorted.retain(|(start, tile)| {
        let is_new = *start >= end;
        if is_new {
            end = start + (1 << (2 * (MAX_LEVEL - tile.z)));
        }
        is_new
    });
    sorted.into_iter().map(|(_, tile)| tile).collect()
}

/// The bits of both numbers, in turns.
fn interleaved(x: u32, y: u32) -> u64 {
    let spread = |number: u32| {
        [
            (16, 0x0000_ffff_0000_ffff),
            (8, 0x00ff_00ff_00ff_00ff),
            (4, 0x0f0f_0f0f_0f0f_0f0f),
            (2, 0x3333_3333_3333_3333),
            (1, 0x5555_5555_5555_5555),
        ]
        .into_iter()
        .fold(u64::from(number), |bits, (shift, mask): (u32, u64)| (bits | (bits << shift)) & mask)
    };
    spread(x) | (spread(y) << 1)
}

/// Sides on parallel lines.
#[derive(Default)]
struct Sides {
    /// Line and place on it; what begins or ends there.
    ends: Vec<(u64, i8)>,
}

/// A side on a line, from one place to another, in the direction that has the inside to its left.
#[derive(Clone, Copy, Debug)]
struct Side {
    line: u32,
    from: u32,
    to: u32,
}

impl Sides {
    fn add(&mut self, line: u32, from: u32, to: u32, direction: i8) {
        let line = u64::from(line) << 32;
        self.ends.extend([(line | u64::from(from), direction), (line | u64::from(to), -direction)]);
    }

    /// What no other side cancels, line by line.
    fn left_over(mut self) -> Vec<Side> {
        self.ends.sort_unstable_by_key(|(place, _)| *place);
        let mut sides = Vec::new();
        let (mut direction, mut start) = (0_i8, 0_u64);
        for ends in self.ends.chunk_by(|a, b| a.0 == b.0) {
            let place = ends[0].0;
            let change: i8 = ends.iter().map(|(_, change)| change).sum();
            if change == 0 {
                continue;
            }
            let (line, low, high) = ((place >> 32) as u32, start as u32, place as u32);
            match direction {
                1 => sides.push(Side { line, from: low, to: high }),
                -1 => sides.push(Side { line, from: high, to: low }),
                _ => {}
            }
            direction += change;
            start = place;
        }
        sides
    }
}

/// Corners, the last not repeated.
struct Ring {
    points: Vec<(u32, u32)>,
    /// The ring in which this one is a hole.
    outline: Option<usize>,
}

/// Follows the sides. Where two tiles touch with their corners, it turns left, so that they stay apart.
fn linked(rows: &[Side], columns: &[Side]) -> Vec<Ring> {
    let starts = |sides: &[Side]| {
        let mut starts: Vec<((u32, u32), usize)> =
            sides.iter().enumerate().map(|(number, side)| ((side.line, side.from), number)).collect();
        starts.sort_unstable();
        starts
    };
    let (row_starts, column_starts) = (starts(rows), starts(columns));
    let next = |starts: &[((u32, u32), usize)], sides: &[Side], line: u32, place: u32, wants_up: bool| {
        let first = starts.partition_point(|(start, _)| *start < (line, place));
        let here = starts[first..].iter().take_while(|(start, _)| *start == (line, place)).map(|(_, number)| *number);
        let (mut found, is_up) = (None, |number: usize| sides[number].to > sides[number].from);
        for number in here {
            if is_up(number) == wants_up {
                return Some(number);
            }
            found = Some(number);
        }
        found
    };
    let mut is_used = vec![false; rows.len()];
    // The ring of each side in `columns`.
    let mut ring_of = vec![usize::MAX; columns.len()];
    let mut rings: Vec<Ring> = Vec::new();
    for first in 0..rows.len() {
        let (mut row, mut points) = (first, Vec::new());
        while !is_used[row] {
            is_used[row] = true;
            let Side { line: y, from, to } = rows[row];
            points.push((from, y));
            let Some(column) = next(&column_starts, columns, to, y, to > from) else { break };
            ring_of[column] = rings.len();
            let Side { line: x, from, to } = columns[column];
            points.push((x, from));
            let Some(following) = next(&row_starts, rows, to, x, to < from) else { break };
            row = following;
        }
        if !points.is_empty() {
            rings.push(Ring { points, outline: None });
        }
    }
    find_outlines(&mut rings, columns, &ring_of);
    rings
}

/// Tells of each hole whose it is: of the ring whose side is the next to the west of it.
fn find_outlines(rings: &mut [Ring], columns: &[Side], ring_of: &[usize]) {
    let is_hole: Vec<bool> = rings.iter().map(|ring| is_clockwise(&ring.points)).collect();
    if !is_hole.contains(&true) {
        return;
    }
    // From west to east: which ring was met last, from this place on.
    let mut seen: BTreeMap<u32, Option<usize>> = BTreeMap::from([(0, None)]);
    let mut is_known = vec![false; rings.len()];
    for (side, &ring) in columns.iter().zip(ring_of) {
        let (low, high) = (side.from.min(side.to), side.from.max(side.to));
        let at =
            |seen: &BTreeMap<u32, Option<usize>>, place| seen.range(..=place).next_back().and_then(|(_, ring)| *ring);
        if ring == usize::MAX {
            continue;
        }
        if is_hole[ring] && !is_known[ring] {
            rings[ring].outline = at(&seen, low).map(|west| rings[west].outline.unwrap_or(west));
        }
        is_known[ring] = true;
        let behind = at(&seen, high);
        let covered: Vec<u32> = seen.range(low..high).map(|(place, _)| *place).collect();
        for place in covered {
            seen.remove(&place);
        }
        seen.insert(low, Some(ring));
        seen.entry(high).or_insert(behind);
    }
}

fn is_clockwise(points: &[(u32, u32)]) -> bool {
    let next = points.iter().cycle().skip(1);
    let part =
        |(a, b): (&(u32, u32), &(u32, u32))| i128::from(a.0) * i128::from(b.1) - i128::from(b.0) * i128::from(a.1);
    points.iter().zip(next).map(part).sum::<i128>() < 0
}

#[cfg(test)]
mod tests {
    use geo::{Area, Validation};
    use proptest::prelude::*;

    use super::*;

    fn tile(z: u8, x: u32, y: u32) -> TileCoord {
        TileCoord::new(x, y, z)
    }

    #[test]
    fn a_tile_is_where_the_original_says() {
        let polygons = area(&[tile(3, 4, 2), tile(3, 4, 2), tile(5, 16, 10)]);
        assert_eq!(polygons.0.len(), 1);
        let (far, near) = (10_018_754.171_394_622, 5_009_377.085_697_311);
        let corners = &polygons.0[0].exterior().0;
        assert_eq!(corners.len(), 5);
        for (corner, (x, y)) in corners.iter().zip([(0.0, near), (near, near), (near, far), (0.0, far), (0.0, near)]) {
            assert!((corner.x - x).abs() < 1e-8 && (corner.y - y).abs() < 1e-8, "{corner:?}");
        }
    }

    #[test]
    fn a_frame_has_a_hole_and_an_island_in_it_is_a_polygon_of_its_own() {
        let frame = |low: u32, high: u32| {
            (low..=high)
                .flat_map(move |x| (low..=high).map(move |y| (x, y)))
                .filter(move |(x, y)| [*x, *y].iter().any(|n| *n == low || *n == high))
        };
        let tiles: Vec<TileCoord> =
            frame(10, 20).chain(frame(12, 18)).chain(frame(15, 15)).map(|(x, y)| tile(6, x, y)).collect();
        let polygons = area(&tiles);
        let holes: Vec<usize> = polygons.iter().map(|polygon| polygon.interiors().len()).collect();
        assert_eq!(holes, [1, 1, 0]);
        assert!(polygons.is_valid());
    }

    #[test]
    fn tiles_outside_of_the_world_count_for_nothing() {
        assert!(area(&[tile(2, 4, 0), tile(2, 0, 4), tile(31, 0, 0), tile(200, 5, 5)]).0.is_empty());
        assert_eq!(area(&[tile(30, (1 << 30) - 1, (1 << 30) - 1)]).0.len(), 1);
    }

    proptest! {
        #[test]
        fn the_outline_encloses_the_tiles_and_nothing_else(
            tiles in prop::collection::vec((0_u8..=4, 0_u32..16, 0_u32..16), 1..60),
        ) {
            let tiles: Vec<TileCoord> = tiles.into_iter().map(|(z, x, y)| tile(z, x >> (4 - z), y >> (4 - z))).collect();
            let polygons = area(&tiles);
            let side = 2.0 * EDGE / 16.0;
            let mut filled = 0;
            for (x, y) in (0..16_u32).flat_map(|x| (0..16_u32).map(move |y| (x, y))) {
                let is_in = tiles.iter().any(|t| (x >> (4 - t.z), y >> (4 - t.z)) == (t.x, t.y));
                filled += u32::from(is_in);
                let middle = geo::Point::new((f64::from(x) + 0.5) * side - EDGE, EDGE - (f64::from(y) + 0.5) * side);
                prop_assert_eq!(geo::Contains::contains(&polygons, &middle), is_in, "{} {}", x, y);
            }
            prop_assert!((polygons.unsigned_area() / (side * side) - f64::from(filled)).abs() < 1e-6);
        }
    }
}
