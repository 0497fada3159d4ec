//! Directories of a PMTiles archive: where tiles, and other directories, lie.

use super::ArchiveError;

/// Where the tiles `id` to `id + run_length - 1` lie, all of them the same; a directory with tiles from `id` on if
/// `run_length` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of the first tile.
    pub(super) id: u64,
    /// Begin in the section of tiles, or of directories.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u32,
    /// Number of tiles.
    pub(super) run_length: u32,
}

/// Entries that one directory may have: more would not fit into memory, nor into what writers make.
const MAX_ENTRIES: usize = 4 << 20;

/// Reads a directory that has been decompressed.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let mut numbers = Numbers { bytes };
    let count = usize::try_from(numbers.next()?).ok().filter(|count| *count <= MAX_ENTRIES);
    // Each entry has four numbers of at least a byte.
    let count = count.filter(|count| count * 4 <= bytes.len()).ok_or(TOO_MANY)?;
    let mut entries = Vec::with_capacity(count);
    let mut id = 0_u64;
    for _ in 0..count {
        id = id.checked_add(numbers.next()?).ok_or(SENSELESS)?;
        entries.push(Entry { id, offset: 0, length: 0, run_length: 0 });
    }
    for entry in &mut entries {
        entry.run_length = u32::try_from(numbers.next()?).map_err(|_| SENSELESS)?;
    }
    for entry in &mut entries {
        entry.length = u32::try_from(numbers.next()?).map_err(|_| SENSELESS)?;
    }
    let mut follows = None;
    for entry in &mut entries {
        entry.offset = match (numbers.next()?, follows) {
            (0, Some(follows)) => follows,
            (0, None) => return Err(SENSELESS),
            (offset, _) => offset - 1,
        };
        follows = Some(entry.offset.checked_add(u64::from(entry.length)).ok_or(SENSELESS)?);
    }
    if !entries.is_sorted_by(|one, next| one.id < next.id) {
        return Err(SENSELESS);
    }
    Ok(entries)
}

const TOO_MANY: ArchiveError = ArchiveError::Malformed("a directory is longer than its bytes");
const SENSELESS: ArchiveError = ArchiveError::Malformed("a directory has senseless entries");

/// The bytes of a directory before compression.
pub(super) fn serialize(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * 6 + 4);
    push(&mut bytes, entries.len() as u64);
    let mut last = 0;
    for entry in entries {
        push(&mut bytes, entry.id - last);
        last = entry.id;
    }
    entries.iter().for_each(|entry| push(&mut bytes, u64::from(entry.run_length)));
    entries.iter().for_each(|entry| push(&mut bytes, u64::from(entry.length)));
    let mut follows = None;
    for entry in entries {
        push(&mut bytes, if follows == Some(entry.offset) { 0 } else { entry.offset + 1 });
        follows = Some(entry.offset + u64::from(entry.length));
    }
    bytes
}

/// The entry that has tile `id`, or leads to it.
pub(super) fn find(entries: &[Entry], id: u64) -> Option<&Entry> {
    let at = entries.partition_point(|entry| entry.id <= id).checked_sub(1)?;
    let entry = &entries[at];
    let is_here = entry.run_length == 0 || id - entry.id < u64::from(entry.run_length);
    is_here.then_some(entry)
}

/// Numbers of variable length, as in protocol buffers.
struct Numbers<'a> {
    bytes: &'a [u8],
}

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, ArchiveError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or(ArchiveError::Malformed("a directory is cut off"))?;
            self.bytes = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ArchiveError::Malformed("a directory has a number that is too large"))
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn directories_come_back(steps in prop::collection::vec((1..1_000_000_u64, any::<u32>(), any::<u32>(), 0..1_u64 << 40), 0..50)) {
            let mut id = 0;
            let entries: Vec<_> = steps
                .into_iter()
                .map(|(step, length, run_length, offset)| {
                    id += step;
                    Entry { id, offset, length, run_length }
                })
                .collect();
            prop_assert_eq!(parse(&serialize(&entries)), Ok(entries));
        }

        #[test]
        fn any_bytes_are_a_directory_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entries) = parse(&bytes) {
                prop_assert_eq!(parse(&serialize(&entries)), Ok(entries));
            }
        }
    }

    #[test]
    fn a_run_is_found_from_its_first_tile_to_its_last() {
        let entries = [
            Entry { id: 3, offset: 0, length: 1, run_length: 2 },
            Entry { id: 9, offset: 1, length: 1, run_length: 1 },
            Entry { id: 20, offset: 0, length: 1, run_length: 0 },
        ];
        let at = |id| find(&entries, id).map(|entry| entry.id);
        assert_eq!([at(2), at(3), at(4), at(5), at(9), at(10)], [None, Some(3), Some(3), None, Some(9), None]);
        assert_eq!((at(20), at(1 << 40)), (Some(20), Some(20)), "a directory has all that follow");
    }

    #[test]
    fn a_directory_that_claims_too_much_takes_no_memory() {
        let mut bytes = Vec::new();
        push(&mut bytes, u64::MAX);
        assert!(parse(&bytes).is_err());
        bytes.clear();
        push(&mut bytes, 1 << 22);
        assert!(parse(&bytes).is_err());
    }
}
