//! Tiles as files.
//!
//! A tile is loaded with one open, one stat and one read, and written under a temporary name and renamed. A Python
//! MapProxy may share the directory.

mod sweep;
mod visit;

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::sweep::Sweep;
use self::visit::FileWalk;
use super::compact::{Defragment, Defragmented};
use super::layout::Layout;
use super::visit::{Visit, Visitor};
use super::{AtOnce, Capabilities, Look, SingleColor, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::fs::{explain, ignore_missing, parent, remove_temporary, replace, write_atomic, write_atomic_with_times};
use crate::lock::lock_id;
use crate::{Permissions, TileKey};

/// `link_single_color_images`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LinkSingleColor {
    /// Each tile is a file.
    #[default]
    Off,
    /// Relative symbolic links.
    Symlink,
    /// Hard links.
    Hardlink,
}

/// Tiles as files below one directory.
#[derive(Debug)]
pub struct FileStore {
    /// The directory.
    pub directory: PathBuf,
    /// Extension of the files, without dot.
    pub extension: String,
    /// Names of the files.
    pub layout: Layout,
    /// Links for tiles of one colour.
    pub link_single_color: LinkSingleColor,
    /// Of new files and directories.
    pub permissions: Permissions,
}

/// Where the files of tiles of one colour are.
const SINGLE_COLOR_TILES: &str = "single_color_tiles";

/// A file larger than this is no tile.
const MAX_TILE_BYTES: u64 = 256 << 20;

impl FileStore {
    /// The file of a tile.
    pub fn path(&self, key: &TileKey) -> Result<PathBuf, StoreError> {
        self.layout.path(&self.directory, key, &self.extension).map_err(|error| StoreError {
            action: "name a tile below",
            what: self.directory.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Stores a tile whose file has other times than now.
    pub(crate) fn store_with_times(&self, key: &TileKey, bytes: &[u8], times: FileTimes) -> Result<(), StoreError> {
        let path = self.path(key)?;
        write_atomic_with_times(&path, bytes, self.permissions, Some(times)).map_err(failed("write", &path))
    }

    fn read(&self, path: &Path) -> io::Result<Option<StoredTile>> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let size = metadata.len();
        if size > MAX_TILE_BYTES {
            log::warn!(target: "mapproxy.cache.file", "{}: {size} bytes are no tile, taken for missing", path.display());
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let modified = match self.link_single_color {
            // The file behind is as old as the first tile of its colour; the tile is as old as its link.
            LinkSingleColor::Symlink => fs::symlink_metadata(path)?.modified()?,
            _ => metadata.modified()?,
        };
        Ok(Some(StoredTile { bytes: Bytes::from(bytes), meta: TileMeta { modified: Some(modified), size } }))
    }

    /// One look at a file, two at a link: it may lead nowhere.
    fn look_at(&self, key: &TileKey, look: Look) -> Result<Option<Stored>, StoreError> {
        let path = self.path(key)?;
        let found = || {
            let own = fs::symlink_metadata(&path)?;
            let file = if own.is_symlink() { fs::metadata(&path)? } else { own.clone() };
            if !file.is_file() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let modified = match self.link_single_color {
                _ if look == Look::Presence => None,
                LinkSingleColor::Symlink => Some(own.modified()?),
                _ => Some(file.modified()?),
            };
            Ok(Some(Stored { modified }))
        };
        match found() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => match in_capitals(key) {
                Some(key) => self.look_at(&key, look),
                None => Ok(None),
            },
            result => result.map_err(failed("read", &path)),
        }
    }

    /// Removes a folder of tiles that is empty, and those above it.
    fn remove_empty(&self, folder: &Path) {
        let mut folder = folder;
        // Whoever finds a folder missing that it writes to makes it again.
        while folder != self.directory && folder.starts_with(&self.directory) && fs::remove_dir(folder).is_ok() {
            let Some(above) = folder.parent() else { return };
            folder = above;
        }
    }

    /// Stores a tile of one colour as a link. `Ok(false)`: links are impossible here, or there are too many.
    fn link(&self, path: &Path, tile: &TileData, color: SingleColor) -> io::Result<bool> {
        let shared = self.directory.join(SINGLE_COLOR_TILES).join(format!("{color}.{}", self.extension));
        // Not only if it is missing: one damaged would damage all tiles of its colour, those made anew included.
        if fs::read(&shared).ok().as_deref() != Some(&*tile.bytes) {
            write_atomic(&shared, &tile.bytes, self.permissions)?;
        }
        let linked = match self.link_single_color {
            LinkSingleColor::Off => return Ok(false),
            LinkSingleColor::Symlink => {
                let target = self.relative_from(path, &shared);
                replace(path, self.permissions, |temporary| {
                    Ok(temporary.make_in(crate::fs::parent(path), |name| symlink(&target, name))?.into_temp_path())
                })
            }
            LinkSingleColor::Hardlink => replace_by_hard_link(path, &shared, self.permissions),
        };
        match linked {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks | io::ErrorKind::CrossesDevices
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// `shared` as seen from the directory of `path`; both lie below the store's directory.
    fn relative_from(&self, path: &Path, shared: &Path) -> PathBuf {
        let below = |file: &Path| file.strip_prefix(&self.directory).unwrap_or(file).to_owned();
        let up = below(path).components().count().saturating_sub(1);
        std::iter::repeat_n("..", up).collect::<PathBuf>().join(below(shared))
    }
}

/// Renaming a hard link over another link of the same file does nothing (POSIX `rename`): the new name must go then.
fn replace_by_hard_link(path: &Path, shared: &Path, permissions: Permissions) -> io::Result<()> {
    let spare = std::cell::RefCell::default();
    replace(path, permissions, |temporary| {
        let name = temporary.make_in(crate::fs::parent(path), |name| fs::hard_link(shared, name))?.into_temp_path();
        spare.replace(name.to_path_buf());
        Ok(name)
    })?;
    ignore_missing(fs::remove_file(spare.into_inner()))
}

/// The tile as MapProxy names it for clients that write `TIME`; ours are in lower case.
fn in_capitals(key: &TileKey) -> Option<TileKey> {
    let has_small = |name: &str| name.bytes().any(|b| b.is_ascii_lowercase());
    if !key.dimensions.iter().any(|(name, _)| has_small(name)) {
        return None;
    }
    let capitals = key.dimensions.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.clone()));
    Some(TileKey { coord: key.coord, dimensions: capitals.collect() })
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |error| StoreError { action, what: path.display().to_string(), reason: explain(&error) }
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for FileStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            timestamps: true,
            dimensions: true,
            single_color: self.link_single_color != LinkSingleColor::Off,
        }
    }

    fn lock_id(&self) -> String {
        lock_id("", &self.directory)
    }

    fn load_at_once(&self, key: &TileKey) -> Result<AtOnce, StoreError> {
        self.load(key).map(AtOnce::Known)
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let path = self.path(key)?;
        match self.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match in_capitals(key) {
                Some(key) => self.load(&key),
                None => Ok(None),
            },
            result => result.map_err(failed("read", &path)),
        }
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        let path = self.path(key)?;
        // A link shares its time with the others of its colour.
        if self.link_single_color != LinkSingleColor::Off
            && tile.modified.is_none()
            && let Some(color) = tile.single_color
            && self.link(&path, tile, color).map_err(failed("write", &path))?
        {
            return Ok(());
        }
        let times = tile.modified.map(|modified| FileTimes::new().set_modified(modified));
        write_atomic_with_times(&path, &tile.bytes, self.permissions, times).map_err(failed("write", &path))
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let path = self.path(key)?;
        ignore_missing(fs::remove_file(&path)).map_err(failed("remove", &path))
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        let sweep = Sweep { layout: self.layout, extension: &self.extension, level, before };
        sweep.clean(&self.directory)
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        FileWalk::run(self, wanted, visitor)
    }

    fn place(&self, key: &TileKey) -> String {
        self.path(key).unwrap_or_else(|_| self.directory.clone()).display().to_string()
    }

    fn defragment(&self, _: Defragment, _: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn level_folder(&self, level: u8) -> Option<PathBuf> {
        self.layout.level_folder(level).map(|name| self.directory.join(name))
    }

    /// Folders that become empty go as well.
    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        let mut emptied: Option<PathBuf> = None;
        for key in keys {
            let path = self.path(key)?;
            ignore_missing(fs::remove_file(&path)).map_err(failed("remove", &path))?;
            if emptied.as_deref() != path.parent() {
                let folder = path.parent().map(Path::to_owned);
                if let Some(before) = std::mem::replace(&mut emptied, folder) {
                    self.remove_empty(&before);
                }
            }
        }
        if let Some(last) = emptied {
            self.remove_empty(&last);
        }
        Ok(())
    }

    fn sweep(&self, keys: &[TileKey]) {
        let mut removed = 0;
        let mut paths: Vec<PathBuf> = keys.iter().filter_map(|key| self.path(key).ok()).collect();
        paths.sort();
        for tiles in paths.chunk_by(|one, other| one.parent() == other.parent()) {
            let is_one = |name: &OsStr, _: &fs::DirEntry| tiles.iter().any(|tile| tile.file_name() == Some(name));
            removed += remove_temporary(parent(&tiles[0]), is_one);
        }
        if self.link_single_color != LinkSingleColor::Off {
            // These may be anybody's: only what nobody can be at any more.
            let is_old = |_: &OsStr, entry: &fs::DirEntry| {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > Duration::from_secs(600)))
            };
            removed += remove_temporary(&self.directory.join(SINGLE_COLOR_TILES), is_old);
        }
        if removed > 0 {
            let directory = self.directory.display();
            log::info!(target: "mapproxy.cache.file", "{directory}: removed {removed} files of a process that died");
        }
    }

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let path = self.path(key)?;
        let read = || {
            let metadata = fs::symlink_metadata(&path)?;
            Ok(TileMeta { modified: Some(metadata.modified()?), size: metadata.len() })
        };
        match read() {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        keys.iter().map(|key| self.look_at(key, look)).collect()
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        keys.iter().map(|key| self.load(key)).collect()
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        tiles.iter().try_for_each(|(key, tile)| self.store(key, tile))
    }
}

#[cfg(test)]
mod tests;
