//! Numbers of tiles: level by level along Hilbert's curve, with the first tile in the north-west.

/// The finest level whose tiles have numbers.
pub(super) const MAX_LEVEL: u8 = 31;

/// The number of tile `z/x/y`, rows counted from the north; `None` for tiles that do not exist.
pub(super) fn tile_id(z: u8, x: u32, y: u32) -> Option<u64> {
    if z > MAX_LEVEL || u64::from(x.max(y)) >= 1 << z {
        return None;
    }
    let (mut x, mut y) = (x, y);
    let mut position = 0_u64;
    for level in (0..z).rev() {
        let half = 1_u32 << level;
        let (right, low) = (u32::from(x & half != 0), u32::from(y & half != 0));
        position += (u64::from(half) * u64::from(half)) * u64::from((3 * right) ^ low);
        (x, y) = (x & (half - 1), y & (half - 1));
        if low == 0 {
            if right == 1 {
                (x, y) = (half - 1 - x, half - 1 - y);
            }
            (x, y) = (y, x);
        }
    }
    Some(first_id(z) + position)
}

/// The tile with a number, as level, column, row.
pub(super) fn tile_of(id: u64) -> Option<(u8, u32, u32)> {
    let z = (0..=MAX_LEVEL).rev().find(|z| first_id(*z) <= id)?;
    let mut rest = id - first_id(z);
    if rest >= 1 << (2 * u32::from(z)) {
        return None;
    }
    let (mut x, mut y) = (0_u32, 0_u32);
    for level in 0..z {
        let size = 1_u32 << level;
        let right = (rest >> 1) as u32 & 1;
        let low = (rest as u32 ^ right) & 1;
        if low == 0 {
            if right == 1 {
                (x, y) = (size - 1 - x, size - 1 - y);
            }
            (x, y) = (y, x);
        }
        (x, y) = (x + size * right, y + size * low);
        rest >>= 2;
    }
    Some((z, x, y))
}

/// The number of a level's first tile: as many as all coarser levels have together.
pub(super) fn first_id(z: u8) -> u64 {
    // Numbers end with the last level; all that would follow begins there.
    if z > MAX_LEVEL { u64::MAX / 3 } else { ((1_u64 << (2 * u32::from(z))) - 1) / 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        let expected = [
            ((0, 0, 0), 0),
            ((1, 0, 0), 1),
            ((1, 0, 1), 2),
            ((1, 1, 1), 3),
            ((1, 1, 0), 4),
            ((2, 0, 0), 5),
            ((12, 3423, 1763), 19_078_479),
        ];
        for ((z, x, y), id) in expected {
            assert_eq!(tile_id(z, x, y), Some(id));
        }
        assert_eq!(tile_id(1, 2, 0), None);
        assert_eq!(tile_id(32, 0, 0), None);
    }

    #[test]
    fn each_tile_has_a_number_and_each_number_a_tile() {
        for z in 0..7 {
            let mut ids: Vec<u64> = Vec::new();
            for x in 0..1 << z {
                for y in 0..1 << z {
                    let id = tile_id(z, x, y).unwrap();
                    assert_eq!(tile_of(id), Some((z, x, y)));
                    ids.push(id);
                }
            }
            ids.sort_unstable();
            assert_eq!(ids, (first_id(z)..first_id(z + 1)).collect::<Vec<_>>());
        }
        let last = (1 << 31) - 1;
        assert_eq!(tile_of(tile_id(31, last, last).unwrap()), Some((31, last, last)));
        assert_eq!(tile_of(u64::MAX), None);
    }
}
