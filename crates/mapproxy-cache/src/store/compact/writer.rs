//! Writing bundles: under `<bundle>.lck`, which a Python MapProxy locks as well.
//!
//! Tiles are appended and on the disk before the index names them; the header comes last, and nothing depends on it. So a
//! process that is killed, or a machine that stops, leaves the old tile or the new one. A write that fails is taken back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::format::{self, FIELDS, Place};
use super::reader::header_fault;
use super::{Placed, Version};
use crate::Permissions;
use crate::fs::write_atomic;

/// A bundle open for writing, locked by its caller.
#[derive(Debug)]
pub(super) struct Writer {
    version: Version,
    tiles: File,
    /// That of the tiles in version 2.
    index: File,
}

/// What keeps a bundle from being written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The file system.
    Io(io::Error),
    /// The file is somebody else's, or full.
    Bundle(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

impl Writer {
    /// Opens what is there: a file that has no tiles that could be read is none.
    pub(super) fn existing(version: Version, path: &Path) -> Result<Option<Writer>, Refusal> {
        let (tiles_path, index_path) = (version.tiles_path(path), version.index_path(path));
        let Some(tiles) = writable(&tiles_path)? else { return Ok(None) };
        let Some(index) = writable(&index_path)? else { return Ok(None) };
        let (least_index, least_tiles) = match version {
            Version::V1 => (format::V1_INDEX - 16, format::V1_HEADER),
            Version::V2 => (format::V2_TILES, format::V2_TILES),
        };
        if index.metadata()?.len() < least_index || tiles.metadata()?.len() < least_tiles {
            log::warn!(
                target: "mapproxy.cache.compact",
                "{}: ends before a tile could begin; a new bundle takes its place", index_path.display()
            );
            return Ok(None);
        }
        match header_fault(version, &tiles)? {
            None => Ok(Some(Writer { version, tiles, index })),
            Some(fault) => Err(Refusal::Bundle(format!("{fault}; move it out of the way"))),
        }
    }

    /// Opens a bundle, or makes it, of tiles from a column and row on.
    pub(super) fn create(
        version: Version,
        path: &Path,
        (column, row): (u32, u32),
        permissions: Permissions,
    ) -> Result<Writer, Refusal> {
        if let Some(writer) = Writer::existing(version, path)? {
            return Ok(writer);
        }
        let tiles = version.tiles_path(path);
        match version {
            Version::V2 => write_atomic(&tiles, &format::v2_empty(), permissions)?,
            Version::V1 => {
                // An index without its tiles would name those to come. A new one names none, whatever is there.
                let index = version.index_path(path);
                write_atomic(&index, &format::v1_empty_index(), permissions)?;
                if !is_long_enough(&tiles)? {
                    write_atomic(&tiles, &format::v1_empty(column, row), permissions)?;
                }
            }
        }
        let writer = Writer::existing(version, path)?;
        writer.ok_or_else(|| Refusal::Bundle("was removed while it was made; try again".to_owned()))
    }

    /// Keeps tiles.
    pub(super) fn append(&self, tiles: &[Placed<'_>]) -> Result<(), Refusal> {
        let begin = self.tiles.metadata()?.len();
        let total: usize = tiles.iter().map(|(_, bytes)| 4 + bytes.len()).sum();
        let end = begin + total as u64;
        if end > format::LARGEST_BUNDLE {
            return Err(Refusal::Bundle("is full: offsets have 40 bits; defragment or remove it".to_owned()));
        }
        let mut appended = Vec::with_capacity(total);
        let mut entries = Vec::with_capacity(tiles.len());
        for (place, bytes) in tiles {
            let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            if bytes.is_empty() || u64::from(size) > format::largest_tile(self.version) {
                return Err(Refusal::Bundle(format!("cannot hold a tile of {} bytes", bytes.len())));
            }
            entries.push((*place, begin + appended.len() as u64, size));
            appended.extend(size.to_le_bytes());
            appended.extend(*bytes);
        }
        let written = self.tiles.write_all_at(&appended, begin).and_then(|()| self.tiles.sync_data());
        if let Err(error) = written {
            // A full disk, most likely: what nothing names yet needs no room. Failing to give it back does no harm.
            let _ = self.tiles.set_len(begin);
            return Err(error.into());
        }
        let mut added = 0;
        for (place, offset, size) in &entries {
            match self.version {
                Version::V1 => {
                    added += u64::from(!self.v1_has(*place)?);
                    self.index.write_all_at(&format::v1_encode(*offset), place.v1_entry())?;
                }
                Version::V2 => {
                    self.index.write_all_at(&format::v2_encode(offset + 4, *size), place.v2_entry())?;
                }
            }
        }
        let largest = entries.iter().map(|(_, _, size)| *size).max().unwrap_or(0);
        self.update_header(end, largest, added)?;
        Ok(())
    }

    /// Forgets a tile.
    pub(super) fn remove(&self, place: Place) -> Result<(), Refusal> {
        match self.version {
            Version::V1 => self.index.write_all_at(&[0; 5], place.v1_entry())?,
            Version::V2 => self.index.write_all_at(&[0; 8], place.v2_entry())?,
        }
        Ok(())
    }

    fn v1_has(&self, place: Place) -> io::Result<bool> {
        let (mut entry, mut size) = ([0; 5], [0; 4]);
        self.index.read_exact_at(&mut entry, place.v1_entry())?;
        let Some(offset) = format::v1_decode(entry) else { return Ok(false) };
        match self.tiles.read_exact_at(&mut size, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            result => result.map(|()| size != [0; 4]),
        }
    }

    fn update_header(&self, size: u64, largest: u32, added: u64) -> io::Result<()> {
        let mut former = [0; 4];
        self.tiles.read_exact_at(&mut former, FIELDS.largest)?;
        if largest > u32::from_le_bytes(former) {
            self.tiles.write_all_at(&largest.to_le_bytes(), FIELDS.largest)?;
        }
        if added > 0 {
            let mut count = [0; 8];
            self.tiles.read_exact_at(&mut count, FIELDS.count)?;
            let count = u64::from_le_bytes(count).saturating_add(4 * added);
            self.tiles.write_all_at(&count.to_le_bytes(), FIELDS.count)?;
        }
        self.tiles.write_all_at(&size.to_le_bytes(), FIELDS.size)
    }
}

fn writable(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The tiles' file of version 1 is there and has what a new index points to.
fn is_long_enough(tiles: &Path) -> io::Result<bool> {
    match std::fs::metadata(tiles) {
        Ok(metadata) => Ok(metadata.len() >= format::V1_TILES),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
