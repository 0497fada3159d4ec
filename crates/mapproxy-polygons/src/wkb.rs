//! Well-known binary (OGC 06-103r4), with the variants of ISO and PostGIS for more dimensions: only x and y are taken.

use crate::bytes::{Bytes, points};
use crate::{Collector, Trouble};

/// Collects in one geometry in another are followed this deep.
const MAX_DEPTH: u32 = 16;

/// Collects the polygons of one geometry. The error says what is wrong.
pub(crate) fn read(bytes: &[u8], into: &mut Collector) -> Result<(), Wrong> {
    geometry(&mut Bytes::new(bytes), into, MAX_DEPTH)
}

/// What may be wrong with a geometry.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It ends too early, or is none.
    Broken(&'static str),
    /// Curves.
    Curved(&'static str),
}

impl Wrong {
    /// As the reader of a format says it.
    pub(crate) fn trouble(self, broken: impl FnOnce(&str) -> crate::Error) -> Trouble {
        match self {
            Wrong::Broken(what) => Trouble::Error(broken(what)),
            Wrong::Curved(what) => Trouble::Beyond(what.to_owned()),
        }
    }
}

const CUT_OFF: Wrong = Wrong::Broken("a geometry is cut off");

fn geometry(bytes: &mut Bytes<'_>, into: &mut Collector, depth: u32) -> Result<(), Wrong> {
    let is_little = match bytes.u8().ok_or(CUT_OFF)? {
        0 => false,
        1 => true,
        _ => return Err(Wrong::Broken("a geometry has an unknown byte order")),
    };
    let number = |bytes: &mut Bytes<'_>| match is_little {
        true => bytes.u32_le().ok_or(CUT_OFF),
        false => bytes.u32_be().ok_or(CUT_OFF),
    };
    let code = number(bytes)?;
    let (flags, code) = (code >> 28, code & 0x0fff_ffff);
    if flags & 2 != 0 {
        number(bytes)?; // The SRS of PostGIS.
    }
    let dimensions = match (code / 1000, flags >> 2) {
        (0, more) => 2 + (more & 1) as usize + (more >> 1) as usize,
        (1 | 2, _) => 3,
        (3, _) => 4,
        _ => return Err(Wrong::Broken("a geometry of an unknown kind")),
    };
    match code % 1000 {
        1 => into.skip("POINT"),
        2 => into.skip("LINESTRING"),
        3 => {
            let rings = number(bytes)?;
            let mut polygon = Vec::new();
            for _ in 0..rings {
                let length = number(bytes)? as usize;
                let size = length.checked_mul(dimensions * 8).ok_or(CUT_OFF)?;
                polygon.push(ring(bytes.take(size).ok_or(CUT_OFF)?, dimensions, is_little));
            }
            into.polygons.push(polygon);
        }
        4 => into.skip("MULTIPOINT"),
        5 => into.skip("MULTILINESTRING"),
        6 => {
            let parts = number(bytes)?;
            let depth = depth.checked_sub(1).ok_or(Wrong::Broken("geometries are nested too deeply"))?;
            for _ in 0..parts {
                geometry(bytes, into, depth)?;
            }
        }
        7 => into.skip("GEOMETRYCOLLECTION"),
        8 | 9 | 11 | 13 => into.skip("CURVE"),
        10 | 12 | 14 => return Err(Wrong::Curved("a polygon with curves")),
        15..=17 => return Err(Wrong::Curved("a surface")),
        _ => return Err(Wrong::Broken("a geometry of an unknown kind")),
    }
    Ok(())
}

fn ring(bytes: &[u8], dimensions: usize, is_little: bool) -> Vec<(f64, f64)> {
    if is_little && dimensions == 2 {
        return points(bytes).collect();
    }
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |bytes: [u8; 8]| if is_little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
    numbers.chunks_exact(dimensions).map(|point| (number(point[0]), number(point[1]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A triangle as ISO, PostGIS and the plain standard write it, in both byte orders.
    fn triangle(code: u32, dimensions: usize, is_little: bool) -> Vec<u8> {
        let mut bytes = vec![u8::from(is_little)];
        let mut number = |n: u32| bytes.extend(if is_little { n.to_le_bytes() } else { n.to_be_bytes() });
        number(code);
        if code & 0x2000_0000 != 0 {
            number(4326);
        }
        number(1);
        number(4);
        for (x, y) in [(0.0, 0.0), (1.5, 0.0), (1.5, 2.5), (0.0, 0.0)] {
            for n in [x, y, 7.0, 8.0].into_iter().take(dimensions) {
                bytes.extend(if is_little { f64::to_le_bytes(n) } else { f64::to_be_bytes(n) });
            }
        }
        bytes
    }

    #[test]
    fn x_and_y_are_taken_whatever_else_there_is() {
        let variants = [(3, 2), (1003, 3), (2003, 3), (3003, 4), (0x8000_0003, 3), (0xc000_0003, 4), (0x2000_0003, 2)];
        for (code, dimensions) in variants {
            for is_little in [true, false] {
                let mut found = Collector::default();
                read(&triangle(code, dimensions, is_little), &mut found).unwrap();
                assert_eq!(found.polygons, [[[(0.0, 0.0), (1.5, 0.0), (1.5, 2.5), (0.0, 0.0)]]], "{code} {is_little}");
            }
        }
    }

    #[test]
    fn geometries_that_are_cut_off_or_claim_too_much_are_errors() {
        let whole = triangle(3, 2, true);
        for length in 0..whole.len() {
            assert!(read(&whole[..length], &mut Collector::default()).is_err(), "{length}");
        }
        let mut many = whole;
        many[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(&many, &mut Collector::default()).is_err());
        let nested: Vec<u8> = [1, 6, 0, 0, 0, 1, 0, 0, 0].repeat(100_000);
        assert!(matches!(
            read(&nested, &mut Collector::default()),
            Err(Wrong::Broken("geometries are nested too deeply"))
        ));
        assert!(matches!(read(&[1, 10, 0, 0, 0], &mut Collector::default()), Err(Wrong::Curved(_))));
    }
}
