//! Bundles open for reading, and how a tile is read while others write.
//!
//! Nothing is locked. What an entry of the index points to is complete before the entry is written and is never changed
//! afterwards, by us or by MapProxy. An entry itself is read in one piece; should one be caught half written all the
//! same, then the size before the tile (version 2) or a second look at the index (version 1) tells.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use mapproxy_map::Dimensions;
use quick_cache::sync::Cache;

use super::Version;
use super::format::{self, Place};
use crate::fs::explain;

/// How long a bundle is trusted to be the one that its name stands for. A tile that is missing is not believed to be
/// without looking.
const TRUSTED: Duration = Duration::from_secs(1);

/// How often a tile is looked at again that changes while it is read.
const TRIES: usize = 16;

/// Open bundles of any number of stores.
///
/// As many files stay open as the pool holds bundles (twice as many with version 1); those not used for the longest time
/// are closed.
#[derive(Debug)]
pub struct BundlePool {
    open: Cache<BundleKey, Arc<OpenBundle>>,
    begun: Instant,
    stores: AtomicU64,
}

/// A bundle of a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BundleKey {
    /// [`BundlePool::number`] of the store.
    pub(super) store: u64,
    pub(super) level: u8,
    /// First column and row.
    pub(super) column: u32,
    pub(super) row: u32,
    pub(super) dimensions: Dimensions,
}

/// A tile, or why there is none.
pub(super) enum Found {
    Tile(Bytes),
    Missing,
    /// It should be there.
    Damaged(String),
}

impl Default for BundlePool {
    fn default() -> Self {
        BundlePool::new(128)
    }
}

impl BundlePool {
    /// A pool of so many bundles.
    pub fn new(bundles: usize) -> Self {
        BundlePool { open: Cache::new(bundles), begun: Instant::now(), stores: AtomicU64::new(0) }
    }

    /// A number for another store.
    pub(super) fn number(&self) -> u64 {
        self.stores.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes the bundles of a level.
    pub(super) fn forget(&self, store: u64, level: u8) {
        self.open.retain(|key, _| key.store != store || key.level != level);
    }

    /// Closes a bundle.
    pub(super) fn close(&self, key: &BundleKey) {
        self.open.remove(key);
    }

    /// What `read` finds in a bundle, which is opened if it is not, or if its name has come to stand for another file.
    /// `path` is asked for only then. `None`: there is no bundle.
    pub(super) fn read<T>(
        &self,
        version: Version,
        key: &BundleKey,
        path: impl Fn() -> std::path::PathBuf,
        read: impl Fn(&OpenBundle) -> io::Result<(T, bool)>,
    ) -> io::Result<Option<T>> {
        let now = self.begun.elapsed().as_millis() as u64;
        if let Some(bundle) = self.open.get(key) {
            let trusted = now.saturating_sub(bundle.checked.load(Ordering::Relaxed)) < TRUSTED.as_millis() as u64;
            if trusted || bundle.is_at(&path()) {
                if !trusted {
                    bundle.checked.store(now, Ordering::Relaxed);
                }
                let (found, good) = read(&bundle)?;
                if good || bundle.is_at(&path()) {
                    return Ok(Some(found));
                }
            }
            self.open.remove(key);
        }
        let path = path();
        let Some(bundle) = self.opened(version, &path, now)? else { return Ok(None) };
        let (found, _) = read(&bundle)?;
        self.open.insert(key.clone(), Arc::new(bundle));
        Ok(Some(found))
    }

    fn opened(&self, version: Version, path: &Path, now: u64) -> io::Result<Option<OpenBundle>> {
        match OpenBundle::open(version, path, now) {
            // Too many files are open: ours are not needed as much.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => {
                self.open.clear();
                OpenBundle::open(version, path, now)
            }
            result => result,
        }
    }
}

/// A bundle open for reading.
#[derive(Debug)]
pub(super) struct OpenBundle {
    version: Version,
    tiles: File,
    /// Version 1 keeps it apart.
    index: Option<File>,
    /// Devices and inodes of the files, which others may replace as a whole.
    identity: Identity,
    /// When the name was last seen to stand for this file, in milliseconds of the pool.
    checked: AtomicU64,
    /// Why this is no bundle.
    foreign: Option<&'static str>,
    /// Damage is told of once.
    told: AtomicBool,
}

/// Device and inode of the tiles, and of the index where it is apart.
type Identity = ((u64, u64), Option<(u64, u64)>);

impl OpenBundle {
    pub(super) fn open(version: Version, path: &Path, now: u64) -> io::Result<Option<OpenBundle>> {
        let existing = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let Some(tiles) = existing(&version.tiles_path(path))? else { return Ok(None) };
        let index = match version {
            Version::V2 => None,
            Version::V1 => match existing(&version.index_path(path))? {
                Some(index) => Some(index),
                None => return Ok(None),
            },
        };
        let metadata = tiles.metadata()?;
        // Both were exchanged while they were opened: they may not belong together.
        if index.is_some() && std::fs::metadata(version.tiles_path(path)).ok().as_ref().map(of) != Some(of(&metadata)) {
            return Ok(None);
        }
        let foreign = if metadata.is_file() {
            header_fault(version, &tiles)?
        } else {
            Some("is a directory where a bundle is to be")
        };
        let index_metadata = index.as_ref().map(File::metadata).transpose()?;
        let bundle = OpenBundle {
            version,
            identity: (of(&metadata), index_metadata.as_ref().map(of)),
            tiles,
            index,
            checked: AtomicU64::new(now),
            foreign,
            told: AtomicBool::new(false),
        };
        Ok(Some(bundle))
    }

    fn is_at(&self, path: &Path) -> bool {
        let named = |path: &Path| std::fs::metadata(path).ok().as_ref().map(of);
        let index = self.identity.1.filter(|index| named(&self.version.index_path(path)) == Some(*index));
        named(&self.version.tiles_path(path)) == Some(self.identity.0) && index == self.identity.1
    }

    /// Says so once: a damaged bundle has many tiles.
    pub(super) fn tell(&self, path: &Path, reason: &str) {
        let path = self.version.tiles_path(path);
        if self.told.swap(true, Ordering::Relaxed) {
            log::debug!(target: "mapproxy.cache.compact", "{}: {reason}", path.display());
        } else {
            log::warn!(
                target: "mapproxy.cache.compact",
                "{}: {reason}; such tiles count as missing (told once for a bundle)", path.display()
            );
        }
    }

    /// Columns and rows within the bundle that the index names a tile for, read at once; `Err`: why this is no bundle. With
    /// version 1 some of them are of no bytes, and so none.
    pub(super) fn entries(&self) -> io::Result<Result<Vec<(u32, u32)>, String>> {
        if let Some(reason) = self.foreign {
            return Ok(Err(reason.to_owned()));
        }
        let (file, begin, width) = match (self.version, &self.index) {
            (Version::V1, Some(index)) => (index, Place::of(0, 0).v1_entry(), 5),
            _ => (&self.tiles, Place::of(0, 0).v2_entry(), 8),
        };
        let side = format::SIDE as usize;
        let mut index = vec![0; side * side * width];
        match file.read_exact_at(&mut index, begin) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Err("its index is cut off".to_owned()));
            }
            read => read?,
        }
        let named = index.chunks_exact(width).enumerate().filter(|(_, entry)| match self.version {
            Version::V1 => entry.iter().any(|byte| *byte != 0),
            // The size is what comes last.
            Version::V2 => entry[5..].iter().any(|byte| *byte != 0),
        });
        let place = |(number, _): (usize, &[u8])| {
            let (major, minor) = ((number / side) as u32, (number % side) as u32);
            if self.version == Version::V1 { (major, minor) } else { (minor, major) }
        };
        Ok(Ok(named.map(place).collect()))
    }

    /// The tile at a place.
    pub(super) fn tile(&self, place: Place) -> io::Result<Found> {
        self.look(|| match self.version {
            Version::V1 => self.v1_tile(place),
            Version::V2 => self.v2_tile(place),
        })
    }

    /// The size of the tile at a place.
    pub(super) fn size(&self, place: Place) -> io::Result<Result<u64, Found>> {
        let mut size = 0;
        let found = self.look(|| {
            size = match self.version {
                Version::V1 => match self.v1_size(place)? {
                    Some((_, bytes)) => bytes.into(),
                    None => return Ok(Found::Missing),
                },
                Version::V2 => match format::v2_decode(self.v2_entry(place)?) {
                    Some((_, bytes)) => bytes.into(),
                    None => return Ok(Found::Missing),
                },
            };
            Ok(Found::Tile(Bytes::new()))
        })?;
        Ok(match found {
            Found::Tile(_) => Ok(size),
            other => Err(other),
        })
    }

    fn look(&self, mut read: impl FnMut() -> io::Result<Found>) -> io::Result<Found> {
        if let Some(reason) = self.foreign {
            return Ok(Found::Damaged(reason.to_owned()));
        }
        match read() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Found::Damaged("ends before a tile does that its index names".to_owned()))
            }
            result => result,
        }
    }

    fn v2_entry(&self, place: Place) -> io::Result<[u8; 8]> {
        let mut entry = [0; 8];
        self.tiles.read_exact_at(&mut entry, place.v2_entry())?;
        Ok(entry)
    }

    fn v2_tile(&self, place: Place) -> io::Result<Found> {
        let mut entry = self.v2_entry(place)?;
        for _ in 0..TRIES {
            let Some((offset, size)) = format::v2_decode(entry) else { return Ok(Found::Missing) };
            let mut length = [0; 4];
            // The size, once more, lies before the tile: both come with one read.
            let from = offset.checked_sub(length.len() as u64).filter(|from| *from >= format::V2_TILES);
            if let Some(from) = from {
                let mut bytes = vec![0; length.len() + size as usize];
                let read = self.tiles.read_exact_at(&mut bytes, from);
                length.copy_from_slice(&bytes[..4]);
                match read {
                    Ok(()) if u32::from_le_bytes(length) == size => {
                        let mut bytes = Bytes::from(bytes);
                        bytes.advance(length.len());
                        return Ok(Found::Tile(bytes));
                    }
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                    _ => {}
                }
            }
            let again = self.v2_entry(place)?;
            if again == entry {
                let reason = format!("the index names {size} bytes at {offset}, where no tile of this size is");
                return Ok(Found::Damaged(reason));
            }
            entry = again;
        }
        Ok(Found::Missing)
    }

    fn v1_entry(&self, place: Place) -> io::Result<[u8; 5]> {
        let mut entry = [0; 5];
        if let Some(index) = &self.index {
            index.read_exact_at(&mut entry, place.v1_entry())?;
        }
        Ok(entry)
    }

    /// Where the tile at a place begins, and its size.
    fn v1_size(&self, place: Place) -> io::Result<Option<(u64, u32)>> {
        let Some(offset) = format::v1_decode(self.v1_entry(place)?) else { return Ok(None) };
        let mut size = [0; 4];
        self.tiles.read_exact_at(&mut size, offset)?;
        let size = u32::from_le_bytes(size);
        Ok((size > 0).then_some((offset + 4, size)))
    }

    fn v1_tile(&self, place: Place) -> io::Result<Found> {
        let mut entry = self.v1_entry(place)?;
        for _ in 0..TRIES {
            let found = match self.v1_size(place) {
                Ok(None) => Found::Missing,
                Ok(Some((from, size))) => {
                    // A size that is none must not cost its memory.
                    let end = from + u64::from(size);
                    let fits = u64::from(size) <= format::largest_tile(Version::V1)
                        && (size < 1 << 20 || end <= self.tiles.metadata()?.len());
                    let mut bytes = vec![0; if fits { size as usize } else { 0 }];
                    match self.tiles.read_exact_at(&mut bytes, from) {
                        Ok(()) if fits => Found::Tile(bytes.into()),
                        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                        _ => Found::Damaged(format!("the index names {size} bytes at {from}, beyond the file's end")),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Found::Damaged("the index names a tile beyond the file's end".to_owned())
                }
                Err(error) => return Err(error),
            };
            let again = self.v1_entry(place)?;
            if again == entry {
                return Ok(found);
            }
            entry = again;
        }
        Ok(Found::Missing)
    }
}

fn of(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Why the `.bundle` is none of this version.
pub(super) fn header_fault(version: Version, tiles: &File) -> io::Result<Option<&'static str>> {
    let fault = match version {
        Version::V1 => {
            let mut header = [0; 60];
            tiles.read_exact_at(&mut header, 0).map(|()| format::is_no_v1(&header))
        }
        Version::V2 => {
            let mut header = [0; 64];
            tiles.read_exact_at(&mut header, 0).map(|()| format::is_no_v2(&header))
        }
    };
    match fault {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some("is too short for a bundle")),
        Err(error) => Err(io::Error::new(error.kind(), explain(&error))),
        fault => fault,
    }
}
