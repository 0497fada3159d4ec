//! The bytes of ArcGIS compact caches, versions 1 and 2. All numbers are little-endian.
//!
//! A bundle holds up to 128 × 128 tiles of a level. Version 2 is one file: a header, an index of 8-byte entries, the
//! tiles, each after its size in 4 bytes. Version 1 keeps an index of 5-byte entries, column by column, in a file of its
//! own (`.bundlx`) beside the tiles (`.bundle`). Tiles are only ever appended; an entry of the index that is written
//! anew leaves the tile's former bytes behind.

use super::Version;

/// Tiles of a bundle in either direction.
pub(super) const SIDE: u32 = 128;
const TILES: usize = (SIDE * SIDE) as usize;

/// Where the tiles begin in a `.bundle` of version 2.
pub(super) const V2_TILES: u64 = V2_HEADER + 8 * TILES as u64;
const V2_HEADER: u64 = 64;
/// Where the tiles begin in a `.bundle` of version 1: after a size of zero for each tile, which is where the index of a
/// new bundle points.
pub(super) const V1_TILES: u64 = V1_HEADER + 4 * TILES as u64;
pub(super) const V1_HEADER: u64 = 60;
/// Length of a `.bundlx`.
pub(super) const V1_INDEX: u64 = 16 + 5 * TILES as u64 + 16;

const LOW_40: u64 = (1 << 40) - 1;

/// Largest tile that an entry can name.
pub(super) fn largest_tile(version: Version) -> u64 {
    match version {
        // As for tiles in files.
        Version::V1 => 256 << 20,
        Version::V2 => (1 << 24) - 1,
    }
}

/// A tile's place in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    column: u64,
    row: u64,
}

impl Place {
    pub(super) fn of(x: u32, y: u32) -> Self {
        Place { column: u64::from(x % SIDE), row: u64::from(y % SIDE) }
    }

    /// Where its entry of the index lies.
    pub(super) fn v1_entry(self) -> u64 {
        16 + (self.column * u64::from(SIDE) + self.row) * 5
    }

    /// Where its entry of the index lies.
    pub(super) fn v2_entry(self) -> u64 {
        V2_HEADER + (self.column + u64::from(SIDE) * self.row) * 8
    }
}

/// An entry of version 1: where the size of the tile lies; `None`: removed.
pub(super) fn v1_decode(entry: [u8; 5]) -> Option<u64> {
    let [a, b, c, d, e] = entry;
    let offset = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
    (offset > 0).then_some(offset)
}

pub(super) fn v1_encode(offset: u64) -> [u8; 5] {
    let [a, b, c, d, e, ..] = offset.to_le_bytes();
    [a, b, c, d, e]
}

/// An entry of version 2: where the tile lies, and its size; `None`: no tile.
pub(super) fn v2_decode(entry: [u8; 8]) -> Option<(u64, u32)> {
    let entry = u64::from_le_bytes(entry);
    let size = (entry >> 40) as u32;
    (size > 0).then_some((entry & LOW_40, size))
}

pub(super) fn v2_encode(offset: u64, size: u32) -> [u8; 8] {
    (offset & LOW_40 | u64::from(size) << 40).to_le_bytes()
}

/// Offsets have 40 bits.
pub(super) const LARGEST_BUNDLE: u64 = LOW_40;

/// Positions of the fields of a header that change.
pub(super) struct Fields {
    /// u32: bytes of the largest tile.
    pub(super) largest: u64,
    /// u64: bytes of the file.
    pub(super) size: u64,
    /// u64: four for each tile; version 1 only.
    pub(super) count: u64,
}

/// The same in both versions, but for the count, which version 2 does not keep.
pub(super) const FIELDS: Fields = Fields { largest: 8, count: 16, size: 24 };

/// A `.bundle` of version 2 without tiles.
pub(super) fn v2_empty() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V2_TILES as usize);
    push(&mut bytes, &[3, TILES as u32, 0, 5]);
    push_long(&mut bytes, &[0, V2_TILES, 40]);
    push(&mut bytes, &[20 + 8 * TILES as u32, 3, 16, TILES as u32, 5, 8 * TILES as u32]);
    // Where entries of no size point is of no meaning; MapProxy writes 4.
    bytes.extend((0..TILES).flat_map(|_| v2_encode(4, 0)));
    bytes
}

/// A `.bundle` of version 1 without tiles, for the tiles from a column and row on.
pub(super) fn v1_empty(column: u32, row: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V1_TILES as usize);
    push(&mut bytes, &[3, TILES as u32, 16, 5]);
    push_long(&mut bytes, &[0, V1_TILES, 40]);
    let last = |first: u32| first.saturating_add(SIDE - 1);
    push(&mut bytes, &[16, row, last(row), column, last(column)]);
    bytes.resize(V1_TILES as usize, 0);
    bytes
}

/// A `.bundlx` that points to the zeros of [`v1_empty`].
pub(super) fn v1_empty_index() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V1_INDEX as usize);
    push(&mut bytes, &[3, 16, TILES as u32, 5]);
    bytes.extend((0..TILES as u64).flat_map(|tile| v1_encode(tile * 4 + V1_HEADER)));
    push(&mut bytes, &[0, 16, 16, 0]);
    bytes
}

/// Why a `.bundle` that begins so is none of version 2; `None`: it may be one.
pub(super) fn is_no_v2(header: &[u8; 64]) -> Option<&'static str> {
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    match (field(0), field(40)) {
        (3, 16) => Some("is a bundle of version 1; set version: 1"),
        (3, _) => None,
        _ => Some("is no bundle of a compact cache"),
    }
}

/// Why a `.bundle` that begins so is none of version 1; `None`: it may be one.
pub(super) fn is_no_v1(header: &[u8; 60]) -> Option<&'static str> {
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    match (field(0), field(40)) {
        (3, size) if size == 20 + 8 * TILES as u32 => Some("is a bundle of version 2; set version: 2"),
        (3, _) => None,
        _ => Some("is no bundle of a compact cache"),
    }
}

fn push(bytes: &mut Vec<u8>, numbers: &[u32]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn push_long(bytes: &mut Vec<u8>, numbers: &[u64]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn new_files_have_the_lengths_of_mapproxys() {
        assert_eq!(v1_empty(0, 0).len() as u64, V1_TILES);
        assert_eq!(v1_empty_index().len() as u64, V1_INDEX);
        assert_eq!(v2_empty().len() as u64, V2_TILES);
        assert_eq!((V1_TILES, V1_INDEX, V2_TILES), (65_596, 81_952, 131_136));
    }

    #[test]
    fn a_bundle_of_one_version_is_told_from_the_other() {
        let v1 = v1_empty(128, 256);
        let v2 = v2_empty();
        assert_eq!(is_no_v1(v1[..60].try_into().unwrap()), None);
        assert_eq!(is_no_v2(v2[..64].try_into().unwrap()), None);
        assert!(is_no_v2(v1[..64].try_into().unwrap()).is_some_and(|reason| reason.contains("version: 1")));
        assert!(is_no_v1(v2[..60].try_into().unwrap()).is_some_and(|reason| reason.contains("version: 2")));
        assert!(is_no_v2(&[7; 64]).is_some() && is_no_v1(&[7; 60]).is_some());
    }

    proptest! {
        #[test]
        fn entries_are_read_as_written(offset in 1..=LARGEST_BUNDLE, size in 1..1_u32 << 24) {
            prop_assert_eq!(v2_decode(v2_encode(offset, size)), Some((offset, size)));
            prop_assert_eq!(v1_decode(v1_encode(offset)), Some(offset));
        }
    }
}
