//! The part of a map that a source's coverage can fill.

use mapproxy_grid::{Bbox, Size};

/// A part of a picture: the box to ask for, and where its pixels belong.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) bbox: Bbox,
    pub(crate) size: Size,
    pub(crate) x: i64,
    pub(crate) y: i64,
}

/// The part of a picture of `bbox` with `size` pixels that lies inside `extent`. Edges go to the whole pixel on their
/// left or top; `None` where not a whole pixel is left.
pub(crate) fn part_within(bbox: &Bbox, size: Size, extent: &Bbox) -> Option<Part> {
    let (x_res, y_res) = bbox.resolution(size);
    let inside = Bbox::new(
        bbox.min_x.max(extent.min_x),
        bbox.min_y.max(extent.min_y),
        bbox.max_x.min(extent.max_x),
        bbox.max_y.min(extent.max_y),
    );
    let column = |x: f64, edge: f64, at_edge: u32| if x == edge { at_edge } else { ((x - bbox.min_x) / x_res) as u32 };
    let row = |y: f64, edge: f64, at_edge: u32| if y == edge { at_edge } else { ((bbox.max_y - y) / y_res) as u32 };
    let left = column(inside.min_x, bbox.min_x, 0);
    let right = column(inside.max_x, bbox.max_x, size.width);
    let top = row(inside.max_y, bbox.max_y, 0);
    let bottom = row(inside.min_y, bbox.min_y, size.height);
    let size = Size::new(right.checked_sub(left)?, bottom.checked_sub(top)?);
    (size.width > 0 && size.height > 0).then(|| Part { bbox: inside, size, x: left.into(), y: top.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boxes and sizes as MapProxy 7.0.0 asked for them.
    #[test]
    fn parts_are_those_of_the_reference() {
        let part = |bbox: [f64; 4], size: u32, extent: [f64; 4]| {
            let [a, b, c, d] = bbox;
            let [e, f, g, h] = extent;
            let part = part_within(&Bbox::new(a, b, c, d), Size::new(size, size), &Bbox::new(e, f, g, h))?;
            Some((part.bbox.to_array(), part.size, (part.x, part.y)))
        };
        let coverage = [5.0, 45.0, 10.0, 55.0];
        assert_eq!(part([5.0, 45.0, 15.0, 55.0], 200, coverage), Some((coverage, Size::new(100, 200), (0, 0))));
        assert_eq!(
            part([0.0, 0.0, 5.001, 50.0], 100, coverage),
            Some(([5.0, 45.0, 5.001, 50.0], Size::new(1, 10), (99, 0)))
        );
        let mercator = [556597.4539663679, 5621521.486192066, 1113194.9079327357, 7361866.113051188];
        let world = 20037508.342789244;
        assert_eq!(part([0.0, 0.0, world, world], 256, mercator), Some((mercator, Size::new(7, 23), (7, 161))));
        assert_eq!(
            part([0.0, 5_500_000.0, 2_000_000.0, 7_500_000.0], 200, mercator),
            Some((mercator, Size::new(56, 174), (55, 13)))
        );
        assert_eq!(part([0.0, 0.0, 5.0001, 45.0001], 10, coverage), None);
    }
}
