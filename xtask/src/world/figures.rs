//! Coastlines and borders as a topology: arcs drawn once, countries made of rings of arcs.
//!
//! An arc used by one country only is a coast, by two a border. Coordinates are integers of 1/100 degree, which is a
//! sixth of a pixel of the picture. The file is text, one record a line: `a X Y DX DY …` an arc, `c NAME` a country,
//! `r ARC …` a ring of the last country; a negative number `-n-1` is arc `n` backwards, as in TopoJSON.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Hundredths of a degree, longitude and latitude.
pub(super) type Point = [i32; 2];

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct World {
    pub(super) arcs: Vec<Vec<Point>>,
    pub(super) countries: Vec<Country>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Country {
    pub(super) name: String,
    pub(super) rings: Vec<Vec<i32>>,
}

/// Points nearer than this (1/100 degree) to the line without them are left out.
const TOLERANCE: f64 = 3.5;
/// Islands smaller than this (square 1/100 degrees) are left out: under a third of a pixel.
const SMALLEST_ISLAND: i64 = 100;

const HEADER: &str = "\
# Coastlines and country borders for the example world map, simplified to about 0.035 degrees.
# Made by `cargo xtask world --import` from the 1:50m countries of Natural Earth (https://www.naturalearthdata.com),
# which are in the public domain, as packed in the npm package world-atlas 2.0.2.
# a X Y DX DY ..: an arc in 1/100 degree; c NAME: a country; r ARC ..: a ring of it, -n-1 being arc n backwards.
";

impl World {
    /// The points of a ring, its arcs joined; the last point equals the first. Longitudes run on beyond ±180 degrees
    /// where the ring crosses the antimeridian, and a ring around a pole is led through it.
    pub(super) fn ring(&self, arcs: &[i32]) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for &arc in arcs {
            let line = &self.arcs[arc_number(arc)];
            let skip = usize::from(!points.is_empty());
            if arc < 0 {
                points.extend(line.iter().rev().skip(skip));
            } else {
                points.extend(line.iter().skip(skip));
            }
        }
        unwrap_longitudes(&mut points);
        if let (Some(&first), Some(&last)) = (points.first(), points.last())
            && first[0] != last[0]
        {
            let pole = 9000 * first[1].signum();
            points.extend([[last[0], pole], [first[0], pole], first]);
        }
        points
    }

    /// For each arc, the countries on its sides.
    pub(super) fn owners(&self) -> Vec<Vec<usize>> {
        let mut owners = vec![Vec::new(); self.arcs.len()];
        for (number, country) in self.countries.iter().enumerate() {
            for &arc in country.rings.iter().flatten() {
                owners[arc_number(arc)].push(number);
            }
        }
        owners
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        for arc in &self.arcs {
            text.push('a');
            let mut last = [0, 0];
            for &[x, y] in arc {
                write!(text, " {} {}", x - last[0], y - last[1]).expect("a String takes everything");
                last = [x, y];
            }
            text.push('\n');
        }
        for country in &self.countries {
            writeln!(text, "c {}", country.name).expect("a String takes everything");
            for ring in &country.rings {
                text.push('r');
                for arc in ring {
                    write!(text, " {arc}").expect("a String takes everything");
                }
                text.push('\n');
            }
        }
        text
    }

    pub(super) fn from_text(text: &str) -> Result<World> {
        let mut world = World::default();
        for (number, line) in text.lines().enumerate() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let integers = || {
                rest.split(' ')
                    .map(str::parse)
                    .collect::<Result<Vec<i32>, _>>()
                    .with_context(|| format!("line {}: expected integers", number + 1))
            };
            match kind {
                "a" => {
                    let (steps, mut at) = (integers()?, [0, 0]);
                    ensure!(steps.len() >= 4 && steps.len() % 2 == 0, "line {}: an arc needs two points", number + 1);
                    let points = steps.chunks_exact(2).map(|step| {
                        at = [at[0] + step[0], at[1] + step[1]];
                        at
                    });
                    world.arcs.push(points.collect());
                }
                "c" => world.countries.push(Country { name: rest.to_owned(), rings: Vec::new() }),
                "r" => {
                    let ring = integers()?;
                    let known = |&arc: &i32| arc_number(arc) < world.arcs.len();
                    ensure!(ring.iter().all(known), "line {}: unknown arc", number + 1);
                    let country = world.countries.last_mut();
                    country
                        .with_context(|| format!("line {}: a ring before any country", number + 1))?
                        .rings
                        .push(ring);
                }
                _ if line.is_empty() || kind.starts_with('#') => {}
                _ => bail!("line {}: unknown record {kind:?}", number + 1),
            }
        }
        Ok(world)
    }
}

/// Reads the object `countries` of a TopoJSON text, simplifies its arcs and leaves out the smallest islands.
pub(super) fn import(topojson: &str) -> Result<World> {
    let topology: Value = serde_json::from_str(topojson)?;
    let number = |value: &Value| value.as_f64().context("expected a number");
    let transform = &topology["transform"];
    let (scale, translate) = (&transform["scale"], &transform["translate"]);
    let mut arcs = Vec::new();
    for arc in array(&topology["arcs"])? {
        let (mut x, mut y, mut points) = (0.0, 0.0, Vec::new());
        for step in array(arc)? {
            x += number(&step[0])?;
            y += number(&step[1])?;
            let longitude = x * number(&scale[0])? + number(&translate[0])?;
            let latitude = y * number(&scale[1])? + number(&translate[1])?;
            points.push([(longitude * 100.0).round() as i32, (latitude * 100.0).round() as i32]);
        }
        unwrap_longitudes(&mut points);
        arcs.push(simplified(&points));
    }
    let all = World { arcs, countries: Vec::new() };

    let mut world = World::default();
    let mut renumbered: HashMap<usize, i32> = HashMap::new();
    for geometry in array(&topology["objects"]["countries"]["geometries"])? {
        let name = geometry["properties"]["name"].as_str().context("a country without a name")?;
        let polygons = match geometry["type"].as_str() {
            Some("Polygon") => vec![&geometry["arcs"]],
            Some("MultiPolygon") => array(&geometry["arcs"])?.iter().collect(),
            other => bail!("{name}: cannot draw a {other:?}"),
        };
        let mut rings = Vec::new();
        for ring in polygons.into_iter().map(array).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let ring: Vec<i32> = serde_json::from_value(ring.clone())?;
            if doubled_area(&all.ring(&ring)).abs() < 2 * SMALLEST_ISLAND {
                continue;
            }
            let mut kept = Vec::new();
            for arc in ring {
                let new = *renumbered.entry(arc_number(arc)).or_insert_with(|| {
                    world.arcs.push(all.arcs[arc_number(arc)].clone());
                    world.arcs.len() as i32 - 1
                });
                kept.push(if arc < 0 { -new - 1 } else { new });
            }
            rings.push(kept);
        }
        world.countries.push(Country { name: name.to_owned(), rings });
    }
    Ok(world)
}

fn arc_number(arc: i32) -> usize {
    if arc < 0 { (-1 - arc) as usize } else { arc as usize }
}

/// Takes out the jumps of a whole turn, so that a line across the antimeridian stays in one piece.
fn unwrap_longitudes(points: &mut [Point]) {
    for at in 1..points.len() {
        let turns = (points[at][0] - points[at - 1][0] + 18000).div_euclid(36000);
        points[at][0] -= turns * 36000;
    }
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("expected an array")
}

fn doubled_area(ring: &[Point]) -> i64 {
    ring.windows(2)
        .map(|pair| i64::from(pair[0][0]) * i64::from(pair[1][1]) - i64::from(pair[1][0]) * i64::from(pair[0][1]))
        .sum()
}

/// Douglas–Peucker; the ends stay, so neighbours still meet.
fn simplified(points: &[Point]) -> Vec<Point> {
    let mut keep = vec![false; points.len()];
    let mut open = vec![(0, points.len() - 1)];
    while let Some((first, last)) = open.pop() {
        keep[first] = true;
        keep[last] = true;
        let farthest = (first + 1..last)
            .map(|middle| (distance(points[middle], points[first], points[last]), middle))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((distance, middle)) = farthest
            && distance > TOLERANCE
        {
            open.extend([(first, middle), (middle, last)]);
        }
    }
    points.iter().zip(keep).filter_map(|(&point, keep)| keep.then_some(point)).collect()
}

/// From a point to a line segment, which may be a point itself.
fn distance(point: Point, from: Point, to: Point) -> f64 {
    let vector = |a: Point, b: Point| (f64::from(b[0] - a[0]), f64::from(b[1] - a[1]));
    let ((dx, dy), (px, py)) = (vector(from, to), vector(from, point));
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * dx).hypot(py - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simplification_keeps_corners_and_drops_what_lies_on_the_line() {
        assert_eq!(simplified(&[[0, 0], [50, 1], [100, 0], [100, 100]]), [[0, 0], [100, 0], [100, 100]]);
    }

    #[test]
    fn a_line_across_the_antimeridian_stays_in_one_piece() {
        let mut line = [[17900, 0], [-17900, 10], [17950, 20]];
        unwrap_longitudes(&mut line);
        assert_eq!(line, [[17900, 0], [18100, 10], [17950, 20]]);
    }

    #[test]
    fn a_ring_around_the_pole_is_closed_through_it() {
        let world = World::from_text("a -18000 -7000 12000 0 12000 0 12000 0").unwrap();
        let (closing, pole) = ([18000, -7000], -9000);
        assert_eq!(world.ring(&[0])[3..], [closing, [18000, pole], [-18000, pole], [-18000, -7000]]);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        for (text, message) in [
            ("a 1 2", "line 1: an arc needs two points"),
            ("a 1 2 3 x", "line 1: expected integers"),
            ("a 0 0 1 1\nc A\nr 1", "line 3: unknown arc"),
            ("a 0 0 1 1\nr 0", "line 2: a ring before any country"),
            ("q", "line 1: unknown record \"q\""),
        ] {
            assert_eq!(World::from_text(text).unwrap_err().to_string(), message);
        }
    }
}
