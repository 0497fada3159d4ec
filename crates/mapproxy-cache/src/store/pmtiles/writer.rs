//! Writes PMTiles archives: tiles in the order of their numbers, the same tile once, runs of it as one entry.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};

use super::directory::{self, Entry};
use super::header::{self, Compression, Header, Section, TileType};
use super::hilbert;
use crate::Permissions;
use crate::fs::replace;

/// An archive being written. Tiles come in any order, each once; [`PmtilesWriter::finish`] puts the archive in its place.
#[derive(Debug)]
pub struct PmtilesWriter {
    path: PathBuf,
    /// Tiles as they came.
    tiles: BufWriter<File>,
    written: u64,
    by_digest: HashMap<[u8; 16], (u64, u32)>,
    entries: Vec<Entry>,
}

/// Different tiles that are compared with those that follow: most that come again (sea, sky) come early.
const MAX_COMPARED: usize = 1 << 18;

/// The header and the first directory fit into what readers fetch first.
const ROOT_END: usize = 16_384;

impl PmtilesWriter {
    /// Begins an archive that will lie at `path`. Tiles are put into a nameless file in the same directory meanwhile.
    pub fn create(path: &Path) -> io::Result<PmtilesWriter> {
        let tiles = BufWriter::new(tempfile::tempfile_in(crate::fs::parent(path))?);
        Ok(PmtilesWriter { path: path.to_owned(), tiles, written: 0, by_digest: HashMap::new(), entries: Vec::new() })
    }

    /// Adds a tile; rows are counted from the north.
    pub fn add(&mut self, z: u8, x: u32, y: u32, bytes: &[u8]) -> io::Result<()> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let id = hilbert::tile_id(z, x, y).ok_or_else(|| invalid("there is no such tile"))?;
        let length = u32::try_from(bytes.len()).map_err(|_| invalid("a tile is too large"))?;
        if length == 0 {
            return Ok(());
        }
        let digest = *digest(&SHA256, bytes).as_ref().first_chunk().expect("a digest has 32 bytes");
        let (offset, length) = match self.by_digest.get(&digest) {
            Some(place) => *place,
            None => {
                self.tiles.write_all(bytes)?;
                let place = (self.written, length);
                self.written += u64::from(length);
                if self.by_digest.len() < MAX_COMPARED {
                    self.by_digest.insert(digest, place);
                }
                place
            }
        };
        self.entries.push(Entry { id, offset, length, run_length: 1 });
        Ok(())
    }

    /// Writes the archive: `header` says what tiles are, how they are compressed, and where they lie in the world; the
    /// rest of it is filled in. `metadata` is a JSON object.
    pub fn finish(mut self, header: Header, metadata: &str) -> io::Result<()> {
        self.entries.sort_by_key(|entry| entry.id);
        self.entries.dedup_by_key(|entry| entry.id);
        let addressed = self.entries.len() as u64;
        let levels =
            |entry: Option<&Entry>| entry.and_then(|entry| hilbert::tile_of(entry.id)).map_or(0, |(z, _, _)| z);
        let zooms = (levels(self.entries.first()), levels(self.entries.last()));

        // In the order of their numbers, each different tile once.
        let mut order: Vec<(u64, u32)> = Vec::new();
        let mut moved: HashMap<u64, u64> = HashMap::new();
        let mut end = 0_u64;
        let mut runs: Vec<Entry> = Vec::new();
        for entry in &self.entries {
            let offset = *moved.entry(entry.offset).or_insert_with(|| {
                order.push((entry.offset, entry.length));
                end += u64::from(entry.length);
                end - u64::from(entry.length)
            });
            match runs.last_mut() {
                Some(run)
                    if run.offset == offset
                        && run.id + u64::from(run.run_length) == entry.id
                        && run.run_length < u32::MAX =>
                {
                    run.run_length += 1
                }
                _ => runs.push(Entry { offset, ..*entry }),
            }
        }
        let (root, leaves) = directories(&runs)?;
        let metadata = gzip(metadata.as_bytes())?;
        let section =
            |before: Section, length: usize| Section { offset: before.offset + before.length, length: length as u64 };
        let first = Section { offset: 0, length: header::LENGTH as u64 };
        let root_at = section(first, root.len());
        let metadata_at = section(root_at, metadata.len());
        let leaves_at = section(metadata_at, leaves.len());
        let tiles_at = Section { length: end, ..section(leaves_at, 0) };
        let header = Header {
            root: root_at,
            metadata: metadata_at,
            leaves: leaves_at,
            tiles: tiles_at,
            counts: [addressed, runs.len() as u64, order.len() as u64],
            clustered: true,
            internal: Compression::Gzip,
            tile_compression: match header.tile_compression {
                Compression::Unknown if header.tile_type != TileType::Mvt => Compression::None,
                compression => compression,
            },
            zooms,
            ..header
        };
        let source = self.tiles.into_inner().map_err(io::IntoInnerError::into_error)?;
        let source = std::cell::RefCell::new(BufReader::new(source));
        replace(&self.path, Permissions::default(), |temporary| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(crate::fs::FILE_MODE);
            let mut file = temporary.permissions(mode).tempfile_in(crate::fs::parent(&self.path))?;
            let mut out = BufWriter::new(file.as_file_mut());
            for part in [&header.to_bytes()[..], &root, &metadata, &leaves] {
                out.write_all(part)?;
            }
            let mut source = source.borrow_mut();
            for (offset, length) in &order {
                source.seek(SeekFrom::Start(*offset))?;
                let copied = io::copy(&mut source.by_ref().take(u64::from(*length)), &mut out)?;
                if copied != u64::from(*length) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            out.flush()?;
            drop(out);
            file.as_file().sync_all()?;
            Ok(file.into_temp_path())
        })
    }
}

/// The first directory, and those it leads to if it would be too long alone.
fn directories(entries: &[Entry]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let root = gzip(&directory::serialize(entries))?;
    if header::LENGTH + root.len() <= ROOT_END {
        return Ok((root, Vec::new()));
    }
    let mut size = 4096;
    loop {
        let (mut leaves, mut roots) = (Vec::new(), Vec::new());
        for chunk in entries.chunks(size) {
            let leaf = gzip(&directory::serialize(chunk))?;
            let length = u32::try_from(leaf.len()).map_err(|_| io::ErrorKind::InvalidData)?;
            roots.push(Entry { id: chunk[0].id, offset: leaves.len() as u64, length, run_length: 0 });
            leaves.extend_from_slice(&leaf);
        }
        let root = gzip(&directory::serialize(&roots))?;
        if header::LENGTH + root.len() <= ROOT_END {
            return Ok((root, leaves));
        }
        size *= 2;
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}
