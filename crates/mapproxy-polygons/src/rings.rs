//! Which ring is a hole of which: for formats that list rings without saying so.

type Ring = Vec<(f64, f64)>;

/// Polygons of rings that do not cross. A ring that runs clockwise is an outline, one that runs the other way a hole of the
/// smallest outline around it. A hole without one is an outline, too, since some programs write it wrong; one that lies
/// only in the box around an outline is found out where polygons are merged.
pub(crate) fn organised(rings: Vec<Ring>) -> impl Iterator<Item = Vec<Ring>> {
    let mut outlines: Vec<(Bounds, Vec<Ring>)> = Vec::new();
    let mut holes = Vec::new();
    let only = rings.len() == 1;
    for ring in rings {
        if only || is_clockwise(&ring) {
            outlines.push((Bounds::of(&ring), vec![ring]));
        } else {
            holes.push(ring);
        }
    }
    let mut strays = Vec::new();
    for hole in holes {
        let bounds = Bounds::of(&hole);
        let mut around: Vec<&mut (Bounds, Vec<Ring>)> =
            outlines.iter_mut().filter(|(outer, _)| outer.has(&bounds)).collect();
        around.sort_by(|(a, _), (b, _)| a.size().total_cmp(&b.size()));
        // The largest may have a million points, and is the one where no other is.
        let largest = around.pop();
        let smallest = around.into_iter().find(|(_, polygon)| is_around(&polygon[0], &hole));
        match smallest.or(largest) {
            Some((_, polygon)) => polygon.push(hole),
            None => strays.push(vec![hole]),
        }
    }
    outlines.into_iter().map(|(_, polygon)| polygon).chain(strays)
}

fn is_clockwise(ring: &[(f64, f64)]) -> bool {
    let Some(&(x, y)) = ring.first() else { return true };
    // Relative to the first point, or small rings far from the origin lose their area.
    let twice = ring.windows(2).map(|edge| (edge[0].0 - x) * (edge[1].1 - y) - (edge[1].0 - x) * (edge[0].1 - y));
    twice.sum::<f64>() <= 0.0
}

/// Some point of the hole that is not on the ring lies inside.
fn is_around(ring: &[(f64, f64)], hole: &[(f64, f64)]) -> bool {
    // Corners may be common; the middles of edges are then inside or outside.
    let corners = hole.iter().copied().filter(|corner| !ring.contains(corner)).take(1);
    let middles = hole.windows(2).map(|edge| ((edge[0].0 + edge[1].0) / 2.0, (edge[0].1 + edge[1].1) / 2.0));
    corners.chain(middles).next().is_some_and(|point| has_inside(ring, point))
}

fn has_inside(ring: &[(f64, f64)], (x, y): (f64, f64)) -> bool {
    let crossed = ring.windows(2).filter(|edge| {
        let [(ax, ay), (bx, by)] = [edge[0], edge[1]];
        (ay <= y) != (by <= y) && ax + (y - ay) / (by - ay) * (bx - ax) < x
    });
    crossed.count() % 2 == 1
}

#[derive(Debug)]
struct Bounds {
    min: (f64, f64),
    max: (f64, f64),
}

impl Bounds {
    fn of(ring: &[(f64, f64)]) -> Bounds {
        let nothing = Bounds { min: (f64::INFINITY, f64::INFINITY), max: (f64::NEG_INFINITY, f64::NEG_INFINITY) };
        ring.iter().fold(nothing, |b, &(x, y)| Bounds {
            min: (b.min.0.min(x), b.min.1.min(y)),
            max: (b.max.0.max(x), b.max.1.max(y)),
        })
    }

    fn has(&self, other: &Bounds) -> bool {
        self.min.0 <= other.min.0 && self.min.1 <= other.min.1 && self.max.0 >= other.max.0 && self.max.1 >= other.max.1
    }

    fn size(&self) -> f64 {
        (self.max.0 - self.min.0) * (self.max.1 - self.min.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(min: f64, max: f64, clockwise: bool) -> Ring {
        let mut ring = vec![(min, min), (min, max), (max, max), (max, min), (min, min)];
        if !clockwise {
            ring.reverse();
        }
        ring
    }

    #[test]
    fn a_hole_belongs_to_the_smallest_outline_around_it_in_whatever_order() {
        let rings =
            vec![square(4.0, 6.0, false), square(0.0, 20.0, true), square(1.0, 15.0, false), square(3.0, 7.0, true)];
        let polygons: Vec<_> = organised(rings).collect();
        assert_eq!(
            polygons,
            [
                vec![square(0.0, 20.0, true), square(1.0, 15.0, false)],
                vec![square(3.0, 7.0, true), square(4.0, 6.0, false)],
            ]
        );
    }

    #[test]
    fn a_ring_that_runs_the_wrong_way_is_an_outline_where_nothing_is_around_it() {
        assert_eq!(organised(vec![square(0.0, 1.0, false)]).collect::<Vec<_>>(), [vec![square(0.0, 1.0, false)]]);
        let apart = organised(vec![square(0.0, 1.0, true), square(5.0, 6.0, false)]).collect::<Vec<_>>();
        assert_eq!(apart.len(), 2);
        assert!(organised(Vec::new()).next().is_none());
        assert_eq!(organised(vec![Vec::new(), Vec::new()]).count(), 2);
    }
}
