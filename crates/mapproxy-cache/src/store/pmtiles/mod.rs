//! `type: pmtiles`: the tiles of one archive (PMTiles, version 3), which is only read.
//!
//! A tile is one look-up in the first directory, mostly one in another that is kept in memory, and one positioned read.
//! An archive exchanged while it is served is noticed within a second. What is damaged counts as missing.

mod directory;
mod header;
mod hilbert;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use flate2::read::GzDecoder;
use mapproxy_grid::{Origin, TileCoord, TileGrid};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

pub use header::{Compression, Header, Section, TileType};
pub use writer::PmtilesWriter;

use self::directory::Entry;
use super::compact::{Defragment, Defragmented};
use super::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, ended, show};
use super::{
    AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore, is_web_mercator_quad,
};
use crate::TileKey;
use crate::fs::explain;
use crate::lock::lock_id;

/// An archive that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// What it says makes no sense.
    #[error("{0}; make or fetch the archive again")]
    Malformed(&'static str),
    /// Something that this program does not know.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// It cannot be read.
    #[error("{0}")]
    Io(String),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> ArchiveError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Malformed("it is cut off"),
            _ => ArchiveError::Io(explain(&error)),
        }
    }
}

/// Tiles of a PMTiles archive.
#[derive(Debug)]
pub struct PmtilesStore {
    file: PathBuf,
    /// Rows of the grid are counted from the south.
    flip: bool,
    grid: Arc<TileGrid>,
    archive: RwLock<Result<Arc<Archive>, ArchiveError>>,
    born: Instant,
    /// Milliseconds since `born`.
    looked: AtomicU64,
}

/// How often it is looked whether the file is still the same, in milliseconds.
const LOOK_EVERY: u64 = 1000;

/// A compressed directory may not be larger than this, nor a decompressed one.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Bytes of directories that are kept in memory for each archive.
const KEPT_DIRECTORIES: u64 = 32 << 20;

/// A larger tile is none.
const MAX_TILE_BYTES: u64 = 256 << 20;

/// Directories that lead in circles.
const ENDLESS: ArchiveError = ArchiveError::Malformed("its directories lead to each other without end");

/// Directories may lead to directories so often.
const MAX_DEPTH: usize = 4;

impl PmtilesStore {
    /// The archive at `file` for a cache in `grid`, which must be that of the archives: web mercator in squares.
    pub fn open(file: PathBuf, grid: &Arc<TileGrid>) -> Result<PmtilesStore, StoreError> {
        let failed = |reason: String| StoreError { action: "read", what: file.display().to_string(), reason };
        if !is_web_mercator_quad(grid) {
            let reason = "PMTiles have tiles of the whole world in web mercator, and the grid has others; use \
                          GLOBAL_WEBMERCATOR, and another cache with this one as source for other grids";
            return Err(failed(format!("{reason} (grid {})", grid.name())));
        }
        let archive = Archive::open(&file).map_err(|error| failed(error.to_string()))?;
        let flip = grid.origin() == Origin::LowerLeft;
        Ok(PmtilesStore {
            flip,
            grid: Arc::clone(grid),
            archive: RwLock::new(Ok(Arc::new(archive))),
            born: Instant::now(),
            looked: AtomicU64::new(0),
            file,
        })
    }

    /// What the archive says of itself.
    pub fn header(&self) -> Option<Header> {
        self.archive().ok().map(|archive| archive.header.clone())
    }

    /// The archive as it lies on the disk, or as it did less than a second ago.
    fn archive(&self) -> Result<Arc<Archive>, ArchiveError> {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_due = now.saturating_sub(self.looked.load(Ordering::Relaxed)) >= LOOK_EVERY;
        let current = self.archive.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !is_due {
            return current;
        }
        self.looked.store(now, Ordering::Relaxed);
        let stamp = fs::metadata(&self.file).map(|metadata| Stamp::of(&metadata)).ok();
        if let Ok(archive) = &current
            && stamp == Some(archive.stamp)
        {
            return current;
        }
        let opened = Archive::open(&self.file).map(Arc::new);
        match (&opened, &current) {
            (Ok(_), _) => log::info!(target: "mapproxy.cache.pmtiles", "{}: opened anew", self.file.display()),
            (Err(error), before) if before.as_ref().err() != Some(error) => {
                log::warn!(target: "mapproxy.cache.pmtiles", "{}: {error}; its tiles count as missing", self.file.display());
            }
            _ => {}
        }
        *self.archive.write().unwrap_or_else(PoisonError::into_inner) = opened.clone();
        opened
    }

    fn refused(&self, action: &'static str) -> StoreError {
        let reason = "an archive of PMTiles is only read: a cache of it has `sources: []`".to_owned();
        StoreError { action, what: self.file.display().to_string(), reason }
    }

    fn find(&self, key: &TileKey) -> Result<Option<(Arc<Archive>, Section)>, ArchiveError> {
        if !key.dimensions.is_empty() {
            return Ok(None);
        }
        let TileCoord { x, y, z } = if self.flip { self.grid.flip(key.coord) } else { key.coord };
        let Some(id) = hilbert::tile_id(z, x, y) else { return Ok(None) };
        let archive = self.archive()?;
        Ok(archive.find(id)?.map(|place| (archive, place)))
    }

    fn or_missing<T>(&self, key: &TileKey, result: Result<Option<T>, ArchiveError>) -> Result<Option<T>, StoreError> {
        match result {
            Err(ArchiveError::Io(reason)) => {
                Err(StoreError { action: "read", what: self.file.display().to_string(), reason })
            }
            Err(error) => {
                let TileCoord { x, y, z } = key.coord;
                log::warn!(target: "mapproxy.cache.pmtiles", "{}: tile {z}/{x}/{y}: {error}", self.file.display());
                Ok(None)
            }
            Ok(found) => Ok(found),
        }
    }

    fn read(&self, key: &TileKey) -> Result<Option<StoredTile>, ArchiveError> {
        let Some((archive, place)) = self.find(key)? else { return Ok(None) };
        Self::read_at(&archive, place).map(Some)
    }

    fn read_at(archive: &Archive, place: Section) -> Result<StoredTile, ArchiveError> {
        let mut bytes = archive.section(place, MAX_TILE_BYTES)?;
        // Vector tiles stay as they are: whoever serves them tells how they are compressed.
        if archive.header.tile_type != TileType::Mvt || archive.header.tile_compression != Compression::Gzip {
            bytes = decompress(bytes, archive.header.tile_compression, MAX_TILE_BYTES)?;
        }
        let meta = TileMeta { modified: archive.stamp.modified, size: bytes.len() as u64 };
        Ok(StoredTile { bytes: Bytes::from(bytes), meta })
    }

    fn unreadable(&self, error: &ArchiveError) -> StoreError {
        StoreError { action: "read", what: self.file.display().to_string(), reason: error.to_string() }
    }

    /// Shows the tiles of a directory and those it leads to, which all have numbers from `ids.0` to below `ids.1`.
    fn visit_directory(
        &self,
        archive: &Archive,
        entries: &[Entry],
        ids: (u64, u64),
        wanted: &Visit,
        visitor: Visitor<'_>,
        depth: usize,
    ) -> Result<(), Halt> {
        let level = wanted.level.map(|level| (hilbert::first_id(level), hilbert::first_id(level.saturating_add(1))));
        let level = level.unwrap_or((0, u64::MAX));
        for (index, entry) in entries.iter().enumerate() {
            let next = entries.get(index + 1).map_or(ids.1, |next| next.id);
            let runs_to = entry.id.saturating_add(u64::from(entry.run_length));
            let end = if entry.run_length == 0 { next } else { runs_to.min(next) };
            let (first, end) = (entry.id.max(ids.0).max(level.0), end.min(ids.1).min(level.1));
            if first >= end {
                continue;
            }
            let place = archive.place(entry).map_err(|error| self.unreadable(&error))?;
            if entry.run_length == 0 {
                if depth >= MAX_DEPTH {
                    return Err(self.unreadable(&ENDLESS).into());
                }
                let leaf = archive.leaf(entry, place).map_err(|error| self.unreadable(&error))?;
                self.visit_directory(archive, &leaf, (first, end), wanted, visitor, depth + 1)?;
                continue;
            }
            if place.length == 0 {
                continue;
            }
            // All tiles of a run are the same one.
            let mut tile: Option<Result<StoredTile, ArchiveError>> = None;
            let is_plain = archive.header.tile_compression == Compression::None;
            for id in first..end {
                let Some((z, x, y)) = hilbert::tile_of(id) else { break };
                let coord = TileCoord::new(x, y, z);
                let coord = if self.flip && self.grid.level(z).is_some() { self.grid.flip(coord) } else { coord };
                if !wanted.wants(coord) {
                    continue;
                }
                let key = TileKey::new(coord);
                let plain = TileMeta { modified: archive.stamp.modified, size: place.length };
                let seen = match wanted.detail {
                    Detail::Keys => Visited::Tile(SeenTile { key, meta: is_plain.then_some(plain), bytes: None }),
                    Detail::Meta if is_plain => Visited::Tile(SeenTile { key, meta: Some(plain), bytes: None }),
                    Detail::Meta | Detail::Bytes => match tile.get_or_insert_with(|| Self::read_at(archive, place)) {
                        Ok(StoredTile { bytes, meta }) => {
                            Visited::Tile(SeenTile { key, meta: Some(*meta), bytes: Some(bytes.clone()) })
                        }
                        Err(error) => Visited::Broken { key, reason: error.to_string() },
                    },
                };
                show(visitor, seen)?;
            }
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for PmtilesStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: true, dimensions: false, single_color: false }
    }

    fn lock_id(&self) -> String {
        lock_id("pmtiles-", &self.file)
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        self.or_missing(key, self.read(key))
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        self.load(key).map(AtOnce::Known)
    }

    fn store(&self, _key: &TileKey, _tile: &TileData) -> Result<(), StoreError> {
        Err(self.refused("write"))
    }

    fn remove(&self, _key: &TileKey) -> Result<(), StoreError> {
        Err(self.refused("remove a tile of"))
    }

    fn remove_level(&self, _level: u8, _before: Option<SystemTime>) -> Result<(), StoreError> {
        Err(self.refused("remove tiles of"))
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        let archive = self.archive().map_err(|error| self.unreadable(&error))?;
        let root = Arc::clone(&archive.root);
        ended(self.visit_directory(&archive, &root, (0, u64::MAX), wanted, visitor, 1))
    }

    fn place(&self, key: &TileKey) -> String {
        let TileCoord { x, y, z } = key.coord;
        format!("{}: {z}/{x}/{y}", self.file.display())
    }

    fn defragment(&self, _: Defragment, _: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        if keys.is_empty() { Ok(()) } else { Err(self.refused("remove tiles of")) }
    }

    fn sweep(&self, _keys: &[TileKey]) {}

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        self.load(key).map(|tile| tile.map(|tile| tile.meta))
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        let stored = |meta: TileMeta| Stored { modified: meta.modified.filter(|_| look == Look::Times) };
        keys.iter().map(|key| Ok(self.metadata(key)?.map(stored))).collect()
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        keys.iter().map(|key| self.load(key)).collect()
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        if tiles.is_empty() { Ok(()) } else { Err(self.refused("write")) }
    }
}

/// What tells that a file is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        let inode = (metadata.dev(), metadata.ino());
        Stamp { inode, size: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// An open archive.
#[derive(Debug)]
struct Archive {
    file: File,
    stamp: Stamp,
    header: Header,
    root: Arc<[Entry]>,
    /// Other directories, by their place in their section.
    leaves: Cache<u64, Arc<[Entry]>, Bytewise>,
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<u64, Arc<[Entry]>> for Bytewise {
    fn weight(&self, _offset: &u64, entries: &Arc<[Entry]>) -> u64 {
        (size_of_val::<[Entry]>(entries) as u64).max(1)
    }
}

impl Archive {
    fn open(path: &Path) -> Result<Archive, ArchiveError> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ArchiveError::Io("it is not a file".to_owned()));
        }
        let mut head = [0; header::LENGTH];
        file.read_exact_at(&mut head, 0)?;
        let header = Header::parse(&head)?;
        for compression in [header.internal, header.tile_compression] {
            if compression == Compression::Brotli {
                return Err(ArchiveError::Unsupported("an archive compressed with Brotli".to_owned()));
            }
        }
        let mut archive = Archive {
            file,
            stamp: Stamp::of(&metadata),
            root: Arc::from([]),
            leaves: Cache::with_weighter(1000, KEPT_DIRECTORIES, Bytewise),
            header,
        };
        archive.root = archive.directory(archive.header.root)?;
        Ok(archive)
    }

    /// Where the tile with this number lies in the file.
    fn find(&self, id: u64) -> Result<Option<Section>, ArchiveError> {
        let mut entries = Arc::clone(&self.root);
        for _ in 0..MAX_DEPTH {
            let Some(entry) = directory::find(&entries, id) else { return Ok(None) };
            let place = self.place(entry)?;
            if entry.run_length > 0 {
                return Ok((place.length > 0).then_some(place));
            }
            entries = self.leaf(entry, place)?;
        }
        Err(ENDLESS)
    }

    /// Where what an entry names lies in the file.
    fn place(&self, entry: &Entry) -> Result<Section, ArchiveError> {
        let (length, whole) =
            (u64::from(entry.length), if entry.run_length > 0 { self.header.tiles } else { self.header.leaves });
        if entry.offset.checked_add(length).is_none_or(|end| end > whole.length) {
            return Err(ArchiveError::Malformed("a directory leads out of the archive"));
        }
        Ok(Section { offset: whole.offset + entry.offset, length })
    }

    /// The directory that an entry names, which lies at `place`.
    fn leaf(&self, entry: &Entry, place: Section) -> Result<Arc<[Entry]>, ArchiveError> {
        self.leaves.get_or_insert_with(&entry.offset, || self.directory(place))
    }

    fn directory(&self, place: Section) -> Result<Arc<[Entry]>, ArchiveError> {
        let bytes = self.section(place, MAX_DIRECTORY)?;
        let bytes = decompress(bytes, self.header.internal, MAX_DIRECTORY)?;
        Ok(directory::parse(&bytes)?.into())
    }

    fn section(&self, place: Section, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        // Nothing is allocated for what cannot be there.
        if place.length > limit || place.offset.checked_add(place.length).is_none_or(|end| end > self.stamp.size) {
            return Err(ArchiveError::Malformed("it is cut off"));
        }
        let mut bytes = vec![0; place.length as usize];
        self.file.read_exact_at(&mut bytes, place.offset)?;
        Ok(bytes)
    }
}

fn decompress(bytes: Vec<u8>, compression: Compression, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let broken = |_| ArchiveError::Malformed("what is compressed cannot be decompressed");
    let mut plain = Vec::new();
    match compression {
        Compression::None | Compression::Unknown => return Ok(bytes),
        Compression::Gzip => GzDecoder::new(&*bytes).take(limit + 1).read_to_end(&mut plain).map_err(broken)?,
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(&*bytes).map_err(broken)?;
            decoder.take(limit + 1).read_to_end(&mut plain).map_err(broken)?
        }
        Compression::Brotli => return Err(ArchiveError::Unsupported("an archive compressed with Brotli".to_owned())),
    };
    if plain.len() as u64 > limit {
        return Err(ArchiveError::Malformed("what is compressed is too large"));
    }
    Ok(plain)
}

#[doc(hidden)]
pub mod fuzzing {
    //! For fuzz targets: what strangers' archives hold.

    use super::*;

    /// Reads a header, and the rest as a directory in each compression.
    pub fn read(bytes: &[u8]) {
        let header = Header::parse(bytes);
        if let Ok(header) = &header {
            assert_eq!(Header::parse(&header.to_bytes()).as_ref(), Ok(header));
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let Ok(plain) = decompress(bytes.to_vec(), compression, 1 << 20) else { continue };
            if let Ok(entries) = directory::parse(&plain) {
                for id in entries.iter().take(10).flat_map(|entry| [entry.id, entry.id.wrapping_sub(1), u64::MAX]) {
                    directory::find(&entries, id);
                    hilbert::tile_of(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::{Srs, TileGridBuilder};

    use super::*;

    fn grid(origin: Origin) -> Arc<TileGrid> {
        let grid = TileGrid::builder("webmercator", Srs::new("EPSG:3857").unwrap());
        Arc::new(TileGridBuilder { origin, ..grid }.build().unwrap())
    }

    fn key(x: u32, y: u32, z: u8) -> TileKey {
        TileKey::new(TileCoord::new(x, y, z))
    }

    fn text(store: &PmtilesStore, key: &TileKey) -> Option<String> {
        let tile = store.load(key).unwrap()?;
        assert_eq!(tile.meta.size, tile.bytes.len() as u64);
        Some(String::from_utf8(tile.bytes.to_vec()).unwrap())
    }

    /// Tiles of so many lengths that directories of many do not shrink to one.
    fn content(z: u8, x: u32) -> String {
        format!("{z}/{x}").repeat(1 + (x.wrapping_mul(2_654_435_761) >> 25) as usize)
    }

    /// All tiles to level `last`: those of each column are alike.
    fn archive(path: &Path, last: u8, header: Header) {
        let mut writer = PmtilesWriter::create(path).unwrap();
        for z in (0..=last).rev() {
            for x in 0..1 << z {
                for y in 0..1 << z {
                    writer.add(z, x, y, content(z, x).as_bytes()).unwrap();
                }
            }
        }
        writer.add(last + 1, 0, 1, b"the north-west but one").unwrap();
        writer.finish(header, "{\"name\": \"test\"}").unwrap();
    }

    #[test]
    fn what_is_written_is_read_with_directories_in_directories() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a.pmtiles");
        archive(&path, 9, Header { tile_type: TileType::Png, ..Header::default() });
        let store = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).unwrap();
        let header = store.header().unwrap();
        assert!(header.leaves.length > 0 && header.clustered, "{header:?}");
        assert_eq!((header.zooms, header.counts[0], header.counts[2]), ((0, 10), 349_526, 1024));
        assert!(header.counts[1] < header.counts[0], "runs of the same tile are one entry");
        for z in 0..=9 {
            for x in 0..1 << z {
                for y in [0, (1 << z) / 2, (1 << z) - 1] {
                    assert_eq!(text(&store, &key(x, y, z)).unwrap(), content(z, x));
                }
            }
        }
        assert_eq!(text(&store, &key(0, 1, 10)).unwrap(), "the north-west but one");
        assert_eq!((text(&store, &key(1, 1, 10)), text(&store, &key(0, 0, 19))), (None, None));
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
        let from_south = PmtilesStore::open(path, &grid(Origin::LowerLeft)).unwrap();
        assert_eq!(text(&from_south, &key(0, 1022, 10)).unwrap(), "the north-west but one");
    }

    #[test]
    fn all_tiles_of_an_archive_are_visited_once_level_by_level() {
        use std::ops::ControlFlow;

        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a.pmtiles");
        archive(&path, 9, Header { tile_type: TileType::Png, ..Header::default() });
        let header = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).unwrap().header().unwrap();
        assert!(header.leaves.length > 0, "the directory leads to others");
        for origin in [Origin::UpperLeft, Origin::LowerLeft] {
            let store = PmtilesStore::open(path.clone(), &grid(origin)).unwrap();
            let visit = |wanted: Visit| {
                let mut seen = Vec::new();
                let mut visitor = |visited| {
                    let Visited::Tile(tile) = visited else { panic!("{visited:?}") };
                    if tile.key.coord.x % 16 == 0 {
                        let loaded = store.load(&tile.key).unwrap().unwrap();
                        assert_eq!((tile.bytes.unwrap(), tile.meta.unwrap()), (loaded.bytes, loaded.meta));
                    }
                    seen.push((tile.key.coord.z, tile.key.coord.x, tile.key.coord.y));
                    ControlFlow::Continue(())
                };
                store.visit(&wanted, &mut visitor).unwrap();
                seen.sort_unstable();
                let all = seen.len();
                seen.dedup();
                assert_eq!(seen.len(), all, "each once");
                seen
            };
            assert_eq!(visit(Visit::all(Detail::Bytes)).len() as u64, header.counts[0]);
            let level = visit(Visit::level(7, Detail::Bytes));
            assert_eq!((level.len(), level[0].0, level.last().unwrap().0), (1 << 14, 7, 7));
            assert!(visit(Visit::level(30, Detail::Bytes)).is_empty());
        }
    }

    #[test]
    fn vector_tiles_stay_compressed_and_pictures_do_not() {
        let base = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, b"tile").unwrap();
        let packed = gzip.finish().unwrap();
        for (tile_type, expected) in [(TileType::Mvt, &packed[..]), (TileType::Png, b"tile")] {
            let path = base.path().join("a.pmtiles");
            let mut writer = PmtilesWriter::create(&path).unwrap();
            writer.add(0, 0, 0, &packed).unwrap();
            let header = Header { tile_type, tile_compression: Compression::Gzip, ..Header::default() };
            writer.finish(header, "{}").unwrap();
            let store = PmtilesStore::open(path, &grid(Origin::UpperLeft)).unwrap();
            assert_eq!(store.load(&key(0, 0, 0)).unwrap().unwrap().bytes, expected);
        }
    }

    #[test]
    fn an_archive_is_only_read_and_only_in_its_own_grid() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a.pmtiles");
        archive(&path, 1, Header::default());
        let store = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).unwrap();
        let tile = TileData::new(Bytes::from_static(b"x"));
        for result in [store.store(&key(0, 0, 0), &tile), store.remove(&key(0, 0, 0)), store.remove_level(0, None)] {
            assert!(result.unwrap_err().to_string().contains("sources: []"));
        }
        let geodetic = TileGrid::builder("geodetic", Srs::new("EPSG:4326").unwrap()).build().unwrap();
        let message = PmtilesStore::open(path, &Arc::new(geodetic)).unwrap_err().to_string();
        assert!(message.contains("geodetic") && message.contains("a.pmtiles"), "{message}");
    }

    #[test]
    fn a_missing_or_foreign_archive_is_refused_and_one_exchanged_is_read() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a.pmtiles");
        assert!(PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).is_err());
        fs::write(&path, "x".repeat(500)).unwrap();
        let message = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).unwrap_err().to_string();
        assert!(message.contains("no PMTiles archive"), "{message}");
        archive(&path, 1, Header::default());
        let store = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)).unwrap();
        assert!(text(&store, &key(0, 0, 2)).is_none());
        archive(&path, 2, Header::default());
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(text(&store, &key(0, 0, 2)).unwrap(), "2/0");
    }

    #[test]
    fn an_archive_cut_off_or_spoilt_anywhere_never_panics() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a.pmtiles");
        archive(&path, 4, Header { tile_type: TileType::Png, ..Header::default() });
        let whole = fs::read(&path).unwrap();
        let variants = (0..whole.len()).step_by(13).flat_map(|at| {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0x55;
            [whole[..at].to_vec(), spoilt]
        });
        for bytes in variants {
            fs::write(&path, &bytes).unwrap();
            let Ok(store) = PmtilesStore::open(path.clone(), &grid(Origin::UpperLeft)) else { continue };
            for x in 0..16 {
                store.load(&key(x, x, 4)).map(drop).unwrap();
            }
            fuzzing::read(&bytes);
        }
    }
}
