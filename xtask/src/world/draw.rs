//! Paints the world in plate carrée (EPSG:4326), four samples a pixel each way, averaged at the end.
//!
//! Samples hold a class (sea, shelf, a tint of land, a line); the colours come last. Latitude distortion is not
//! corrected: shelves and lines are as wide in pixels everywhere.

use super::figures::{Point, World};

/// Pixels of the finished picture.
const WIDTH: usize = 2048;
const HEIGHT: usize = 1024;
/// Samples per pixel, each way.
const SAMPLES: usize = 4;
const COLUMNS: usize = WIDTH * SAMPLES;
const ROWS: usize = HEIGHT * SAMPLES;
/// Degrees between the lines of the graticule.
const GRATICULE: usize = 15;

const SEA: u8 = 0;
const SHELF: u8 = 1;
const SHALLOWS: u8 = 2;
const COAST: u8 = 3;
const BORDER: u8 = 4;
const ICE: u8 = 5;
const FIRST_TINT: u8 = 6;
/// The map is drawn with its neighbours to the west and east, for what crosses the antimeridian.
const TURNS: [i32; 3] = [-36000, 0, 36000];
/// Set on samples under a line of the graticule.
const UNDER_GRATICULE: u8 = 0x80;

const COLOURS: [[u8; 3]; 12] = [
    [150, 194, 217],
    [166, 206, 226],
    [185, 218, 233],
    [74, 116, 146],
    [168, 150, 138],
    [247, 250, 252],
    [243, 232, 204],
    [225, 236, 205],
    [248, 217, 196],
    [231, 222, 236],
    [248, 239, 190],
    [214, 232, 226],
];

/// A picture of true colours, rows from north to south.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[u8; 3]>,
}

pub(super) fn world(world: &World) -> Picture {
    let mut canvas = vec![SEA; COLUMNS * ROWS];
    let owners = world.owners();
    let coasts = || world.arcs.iter().zip(&owners).filter(|(_, owners)| owners.len() < 2).map(|(arc, _)| arc);
    for (class, radius) in [(SHELF, 26), (SHALLOWS, 12)] {
        coasts().for_each(|arc| stroke(&mut canvas, arc, radius, class));
    }
    for (country, tint) in world.countries.iter().zip(tints(world, &owners)) {
        let rings: Vec<Vec<Point>> = country.rings.iter().map(|ring| world.ring(ring)).collect();
        fill(&mut canvas, &rings, tint);
    }
    for (arc, owners) in world.arcs.iter().zip(&owners) {
        if owners.len() > 1 {
            stroke(&mut canvas, arc, 1, BORDER);
        }
    }
    coasts().for_each(|arc| stroke(&mut canvas, arc, 1, COAST));
    graticule(&mut canvas);
    averaged(&canvas)
}

/// The six numbers of a world file: pixel size and the centre of the upper left pixel.
pub(super) fn world_file() -> String {
    let step = 360.0 / WIDTH as f64;
    format!("{step}\n0.0\n0.0\n-{step}\n{}\n{}\n", -180.0 + step / 2.0, 90.0 - step / 2.0)
}

/// A tint per country that none of its neighbours has; ice where there is nothing but ice.
fn tints(world: &World, owners: &[Vec<usize>]) -> Vec<u8> {
    let mut neighbours = vec![Vec::new(); world.countries.len()];
    for owners in owners {
        for &one in owners {
            neighbours[one].extend(owners.iter().filter(|&&other| other != one));
        }
    }
    let choice = COLOURS.len() - usize::from(FIRST_TINT);
    let mut tints = vec![u8::MAX; world.countries.len()];
    // Those with many neighbours choose first: the others will still find a tint.
    let mut order: Vec<usize> = (0..world.countries.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(neighbours[number].len()));
    for number in order {
        let country = &world.countries[number];
        tints[number] = if matches!(country.name.as_str(), "Antarctica" | "Greenland") {
            ICE
        } else {
            // Starting elsewhere for each country spreads the tints over the islands, which have no neighbours.
            let start: usize = country.name.bytes().map(usize::from).sum();
            let free = |tint: &u8| neighbours[number].iter().all(|&other: &usize| tints[other] != *tint);
            let mut candidates = (0..choice).map(|offset| FIRST_TINT + ((start + offset) % choice) as u8);
            candidates.find(free).unwrap_or(FIRST_TINT)
        };
    }
    tints
}

fn column(longitude: i32) -> f64 {
    f64::from(longitude + 18000) * COLUMNS as f64 / 36000.0
}

fn row(latitude: i32) -> f64 {
    f64::from(9000 - latitude) * ROWS as f64 / 18000.0
}

/// Even–odd fill at the centres of the samples.
fn fill(canvas: &mut [u8], rings: &[Vec<Point>], class: u8) {
    let mut crossings: Vec<Vec<f64>> = vec![Vec::new(); ROWS];
    let edges = || rings.iter().flat_map(|ring| ring.windows(2));
    for (turn, edge) in TURNS.into_iter().flat_map(|turn| edges().map(move |edge| (turn, edge))) {
        let ((x0, y0), (x1, y1)) =
            ((column(edge[0][0] + turn), row(edge[0][1])), (column(edge[1][0] + turn), row(edge[1][1])));
        let first = (y0.min(y1) - 0.5).ceil().max(0.0) as usize;
        let end = ((y0.max(y1) - 0.5).ceil().max(0.0) as usize).min(ROWS);
        for (y, row) in crossings.iter_mut().enumerate().take(end).skip(first) {
            row.push(x0 + (y as f64 + 0.5 - y0) / (y1 - y0) * (x1 - x0));
        }
    }
    for (mut row, line) in crossings.into_iter().zip(canvas.chunks_exact_mut(COLUMNS)) {
        row.sort_by(f64::total_cmp);
        for pair in row.chunks_exact(2) {
            let first = (pair[0] - 0.5).ceil().max(0.0) as usize;
            let end = ((pair[1] - 0.5).ceil().max(0.0) as usize).min(COLUMNS);
            if first < end {
                line[first..end].fill(class);
            }
        }
    }
}

/// A line as a row of discs.
fn stroke(canvas: &mut [u8], line: &[Point], radius: i64, class: u8) {
    let visible = -(radius as f64)..(COLUMNS as f64 + radius as f64);
    for (turn, step) in TURNS.into_iter().flat_map(|turn| line.windows(2).map(move |step| (turn, step))) {
        let [from, to] = [step[0], step[1]].map(|[x, y]| (column(x + turn), row(y)));
        if !visible.contains(&from.0) && !visible.contains(&to.0) {
            continue;
        }
        let count = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for number in 0..=count as i64 {
            let part = number as f64 / count;
            disc(canvas, from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part, radius, class);
        }
    }
}

fn disc(canvas: &mut [u8], x: f64, y: f64, radius: i64, class: u8) {
    let (x, y) = (x.floor() as i64, y.floor() as i64);
    for dy in -radius..=radius {
        let row = y + dy;
        if !(0..ROWS as i64).contains(&row) {
            continue;
        }
        let half = ((radius * radius + radius - dy * dy) as f64).sqrt() as i64;
        let first = (x - half).clamp(0, COLUMNS as i64) as usize;
        let end = (x + half + 1).clamp(0, COLUMNS as i64) as usize;
        canvas[row as usize * COLUMNS..][first..end].fill(class);
    }
}

fn graticule(canvas: &mut [u8]) {
    let meridians: Vec<usize> = (0..360).step_by(GRATICULE).map(|degree| degree * COLUMNS / 360).collect();
    let parallels: Vec<usize> = (GRATICULE..180).step_by(GRATICULE).map(|degree| degree * ROWS / 180).collect();
    let width = 2;
    for (y, line) in canvas.chunks_exact_mut(COLUMNS).enumerate() {
        if parallels.iter().any(|&parallel| (parallel..parallel + width).contains(&y)) {
            line.iter_mut().for_each(|sample| *sample |= UNDER_GRATICULE);
        } else {
            for &meridian in &meridians {
                line[meridian..meridian + width].iter_mut().for_each(|sample| *sample |= UNDER_GRATICULE);
            }
        }
    }
}

fn averaged(canvas: &[u8]) -> Picture {
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT);
    for band in canvas.chunks_exact(COLUMNS * SAMPLES) {
        for x in 0..WIDTH {
            let mut sum = [0u32; 3];
            for line in band.chunks_exact(COLUMNS) {
                for &sample in &line[x * SAMPLES..][..SAMPLES] {
                    sum.iter_mut().zip(colour(sample)).for_each(|(sum, channel)| *sum += u32::from(channel));
                }
            }
            pixels.push(sum.map(|channel| ((channel + 8) / (SAMPLES * SAMPLES) as u32) as u8));
        }
    }
    Picture { width: WIDTH, height: HEIGHT, pixels }
}

fn colour(sample: u8) -> [u8; 3] {
    let colour = COLOURS[usize::from(sample & !UNDER_GRATICULE)];
    if sample & UNDER_GRATICULE == 0 {
        return colour;
    }
    // A third of slate over whatever lies below.
    let over = |below: u8, line: u16| ((u16::from(below) * 2 + line) / 3) as u8;
    [over(colour[0], 96), over(colour[1], 124), over(colour[2], 150)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_is_filled_to_its_edges_and_not_beyond() {
        let mut canvas = vec![SEA; COLUMNS * ROWS];
        fill(&mut canvas, &[vec![[0, 0], [1000, 0], [1000, 1000], [0, 0]]], ICE);
        let at = |longitude, latitude| canvas[row(latitude) as usize * COLUMNS + column(longitude) as usize];
        assert_eq!([at(900, 500), at(500, 900), at(1050, 500), at(900, -50)], [ICE, SEA, SEA, SEA]);
        let area = canvas.iter().filter(|&&sample| sample == ICE).count() as f64;
        let expected = 0.5 * (10.0 * COLUMNS as f64 / 360.0).powi(2);
        assert!((area - expected).abs() < expected * 0.01, "{area} samples instead of {expected}");
    }

    #[test]
    fn neighbours_never_share_a_tint() {
        let world = World::from_text("a 0 0 1 1\na 0 0 1 0\na 0 0 0 1\nc A\nr 0 1\nc A\nr 0 2\nc A\nr 1 2").unwrap();
        let tints = tints(&world, &world.owners());
        assert!(tints[0] != tints[1] && tints[1] != tints[2] && tints[0] != tints[2], "{tints:?}");
    }

    #[test]
    fn the_world_file_names_the_centre_of_the_upper_left_pixel() {
        assert_eq!(world_file(), "0.17578125\n0.0\n0.0\n-0.17578125\n-179.912109375\n89.912109375\n");
    }
}
