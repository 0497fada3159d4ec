//! Boxes and pixel sizes.

use std::fmt;

/// A width and a height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// `width` by `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Size { width, height }
    }

    /// Number of pixels; cannot overflow.
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A box in the units of some SRS, in x/y order (east, north).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bbox {
    /// West edge.
    pub min_x: f64,
    /// South edge.
    pub min_y: f64,
    /// East edge.
    pub max_x: f64,
    /// North edge.
    pub max_y: f64,
}

impl Bbox {
    /// The box with these edges; no edge is checked.
    pub const fn new(min_x: f64, min_y: f64, max_x: f64, max_y: f64) -> Self {
        Bbox { min_x, min_y, max_x, max_y }
    }

    /// East minus west.
    pub fn width(&self) -> f64 {
        self.max_x - self.min_x
    }

    /// North minus south.
    pub fn height(&self) -> f64 {
        self.max_y - self.min_y
    }

    /// The edges as west, south, east, north.
    pub const fn to_array(self) -> [f64; 4] {
        [self.min_x, self.min_y, self.max_x, self.max_y]
    }

    /// All four edges are finite, and the box has a positive width and height.
    pub fn is_valid(&self) -> bool {
        self.to_array().iter().all(|v| v.is_finite()) && self.min_x < self.max_x && self.min_y < self.max_y
    }

    /// The boxes share an area; touching edges do not count.
    pub fn intersects(&self, other: &Bbox) -> bool {
        self.min_x < other.max_x && self.max_x > other.min_x && self.min_y < other.max_y && self.max_y > other.min_y
    }

    /// `other` lies inside, with a tolerance of a 10^-13th of this box's extent.
    pub fn contains(&self, other: &Bbox) -> bool {
        let (tx, ty) = (self.width().abs() / 10e12, self.height().abs() / 10e12);
        self.min_x <= other.min_x + tx
            && self.min_y <= other.min_y + ty
            && self.max_x + tx >= other.max_x
            && self.max_y + ty >= other.max_y
    }

    /// The point lies inside or on an edge.
    pub fn contains_point(&self, x: f64, y: f64) -> bool {
        self.min_x <= x && x <= self.max_x && self.min_y <= y && y <= self.max_y
    }

    /// The common area, or `None` where there is none.
    pub fn intersection(&self, other: &Bbox) -> Option<Bbox> {
        self.intersects(other).then(|| Bbox {
            min_x: self.min_x.max(other.min_x),
            min_y: self.min_y.max(other.min_y),
            max_x: self.max_x.min(other.max_x),
            max_y: self.max_y.min(other.max_y),
        })
    }

    /// The smallest box around both.
    pub fn union(&self, other: &Bbox) -> Bbox {
        Bbox {
            min_x: self.min_x.min(other.min_x),
            min_y: self.min_y.min(other.min_y),
            max_x: self.max_x.max(other.max_x),
            max_y: self.max_y.max(other.max_y),
        }
    }

    /// All edges differ by less than the given tolerances.
    pub fn almost_equals(&self, other: &Bbox, x_tolerance: f64, y_tolerance: f64) -> bool {
        (self.min_x - other.min_x).abs() < x_tolerance
            && (self.max_x - other.max_x).abs() < x_tolerance
            && (self.min_y - other.min_y).abs() < y_tolerance
            && (self.max_y - other.max_y).abs() < y_tolerance
    }

    /// The resolution in SRS units per pixel, in x and y, of this box drawn with `size` pixels.
    pub fn resolution(&self, size: Size) -> (f64, f64) {
        (self.width() / f64::from(size.width), self.height() / f64::from(size.height))
    }
}

impl fmt::Display for Bbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.min_x, self.min_y, self.max_x, self.max_y)
    }
}
