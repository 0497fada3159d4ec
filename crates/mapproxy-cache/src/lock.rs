//! Locks that keep two processes from rendering the same meta tile.
//!
//! [`TileLocker::lock`] waits until the tile is free; dropping the guard frees it. Without dimensions the file names
//! are MapProxy's (`{cache_id}-{x}-{y}-{z}.lck`, locked with `flock`), so a Python MapProxy may share the directory.
//! The kernel drops the lock of a process that dies; a file left behind blocks nobody. Threads of one process don't get
//! here at once: they share results (`flight.rs`).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mapproxy_grid::TileCoord;
use mapproxy_map::{Dimensions, MapError};
use md5::{Digest as _, Md5};

use crate::Permissions;
use crate::fs::{FILE_MODE, explain, with_directory};

/// The folder of lock files where none is configured: in that of the tiles, where these have one of their own.
pub(crate) const TILE_LOCKS: &str = "tile_locks";

/// Locks tiles between processes, a Python MapProxy's included, by lock files.
#[derive(Clone, Debug)]
pub struct TileLocker {
    /// Directory of the lock files.
    pub directory: PathBuf,
    /// Prefix of the lock files' names (md5 of the cache's directory, as MapProxy has it).
    pub cache_id: String,
    /// How long to wait.
    pub timeout: Duration,
    /// Of lock files and directories.
    pub permissions: Permissions,
}

/// How often a lock held by another process is tried again: MapProxy's pace.
const POLL: Duration = Duration::from_millis(10);

/// How much older than the timeout an unlocked file must be to count as left behind.
const GRACE: Duration = Duration::from_secs(10);

/// Lock files removed in one go: somebody waits for the tile.
const MOST_REMOVED: u32 = 500;

/// A locked tile; free again when dropped.
#[derive(Debug)]
pub struct TileLock {
    file: File,
    path: PathBuf,
    left_behind: bool,
}

impl TileLock {
    /// Its former holder has died without freeing it, perhaps in the middle of storing the tile.
    pub(crate) fn was_left_behind(&self) -> bool {
        self.left_behind
    }
}

/// A tile that could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held the lock all the time.
    #[error("gave up waiting for {} after {waited:?}", path.display())]
    Timeout {
        /// The lock file.
        path: PathBuf,
        /// How long.
        waited: Duration,
    },
    /// The lock file cannot be made.
    #[error("lock {}: {reason}", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
}

impl LockError {
    pub(crate) fn of_cache(self, cache: &Arc<str>) -> MapError {
        match self {
            LockError::Timeout { path, waited } => {
                MapError::LockTimeout { lock: path.display().to_string(), seconds: waited.as_secs() }
            }
            LockError::File { .. } => MapError::Store { cache: Arc::clone(cache), reason: self.to_string() },
        }
    }
}

/// MapProxy's name for a store in names of lock files: the kind of the store and the hexadecimal MD5 of where it is.
pub(crate) fn lock_id(kind: &str, place: impl AsRef<std::ffi::OsStr>) -> String {
    format!("{kind}{}", hex(&Md5::digest(place.as_ref().as_encoded_bytes())))
}

impl TileLocker {
    /// The lock file of a tile.
    pub fn path(&self, tile: TileCoord, dimensions: &Dimensions) -> PathBuf {
        let TileCoord { x, y, z } = tile;
        let mut name = format!("{}-{x}-{y}-{z}", self.cache_id);
        if !dimensions.is_empty() {
            let mut digest = Md5::new();
            for (dimension, value) in dimensions.iter() {
                digest.update(format!("{dimension}={value}\n"));
            }
            name = format!("{name}-{}", hex(&digest.finalize()));
        }
        name.push_str(".lck");
        self.directory.join(name)
    }

    /// The tile of a lock file of ours; the reverse of [`TileLocker::path`] without dimensions.
    fn tile_of(&self, path: &Path) -> Option<TileCoord> {
        let numbers = path.file_stem()?.to_str()?.strip_prefix(&self.cache_id)?.strip_prefix('-')?;
        let mut numbers = numbers.split('-');
        let tile = TileCoord {
            x: numbers.next()?.parse().ok()?,
            y: numbers.next()?.parse().ok()?,
            z: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(tile)
    }

    /// Waits for a tile (of a meta tile, its main tile) and locks it.
    pub fn lock(&self, tile: TileCoord, dimensions: &Dimensions) -> Result<TileLock, LockError> {
        lock_file(&self.path(tile, dimensions), self.timeout, self.permissions)
    }

    /// Removes lock files that nobody holds and that are older than any wait: left behind by processes that died. Before,
    /// `sweep` gets the tile, unless it is one with dimensions, whose names hide their values.
    pub fn remove_stale(&self, sweep: impl Fn(TileCoord)) {
        let Some(oldest) = SystemTime::now().checked_sub(self.timeout + GRACE) else { return };
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut removed = 0;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if removed == MOST_REMOVED {
                break;
            }
            let is_lock = path.extension().is_some_and(|extension| extension == "lck");
            let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            if is_lock
                && modified.is_ok_and(|modified| modified < oldest)
                && let Ok(file) = File::open(&path)
                && file.try_lock().is_ok()
            {
                let lock = TileLock { file, path, left_behind: true };
                removed += 1;
                if let Some(tile) = self.tile_of(&lock.path) {
                    sweep(tile);
                }
            }
        }
    }
}

/// Waits until nobody holds the lock file at `path`, and holds it: as MapProxy locks what it makes or changes.
pub(crate) fn lock_file(path: &Path, timeout: Duration, permissions: Permissions) -> Result<TileLock, LockError> {
    let begun = Instant::now();
    loop {
        match try_lock(path, permissions) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) => {}
            Err(error) => return Err(LockError::File { path: path.to_owned(), reason: explain(&error) }),
        }
        if begun.elapsed() >= timeout {
            return Err(LockError::Timeout { path: path.to_owned(), waited: timeout });
        }
        std::thread::sleep(POLL);
    }
}

fn try_lock(path: &Path, permissions: Permissions) -> io::Result<Option<TileLock>> {
    let open = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
    };
    let mut file = with_directory(crate::fs::parent(path), permissions, open)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Its former holder may have removed the file between our opening and our locking it; the name is then free for
    // another file, and what we hold locks nothing.
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) if named.ino() == held.ino() && named.dev() == held.dev() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    if held.len() == 0 {
        // A file left behind by another user may be locked, but not changed in mode.
        permissions.apply_to_file(&file)?;
    }
    // For people to read; on a full disk the lock holds without. Never empty in between: who finds the lock of one that was
    // killed at this very moment must see that it was left behind.
    let text = format!(" {}\n", std::process::id());
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.set_len(text.len() as u64)) {
        log::debug!(target: "mapproxy.util.lock", "write {}: {error}", path.display());
    }
    Ok(Some(TileLock { file, path: path.to_owned(), left_behind: held.len() > 0 }))
}

impl Drop for TileLock {
    fn drop(&mut self) {
        // Removed while it is still locked: whoever locks it next sees that its name is gone and opens a new one.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!(target: "mapproxy.util.lock", "remove {}: {}", self.path.display(), explain(&error));
        }
        if let Err(error) = self.file.unlock() {
            log::debug!(target: "mapproxy.util.lock", "unlock {}: {error}", self.path.display());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const TILE: TileCoord = TileCoord::new(1, 2, 3);

    fn locker(timeout: Duration) -> (TileLocker, tempfile::TempDir) {
        let base = tempfile::tempdir().unwrap();
        let locker = TileLocker {
            directory: base.path().join("tile_locks"),
            cache_id: "id".to_owned(),
            timeout,
            permissions: Permissions::default(),
        };
        (locker, base)
    }

    fn none() -> Dimensions {
        Dimensions::default()
    }

    #[test]
    fn a_lock_file_is_mapproxys() {
        let (locker, _base) = locker(Duration::from_secs(5));
        let lock = locker.lock(TILE, &none()).unwrap();
        let path = locker.directory.join("id-1-2-3.lck");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!(" {}\n", std::process::id()));
        drop(lock);
        assert!(!path.exists());
    }

    #[test]
    fn the_cache_id_is_the_md5_of_the_directory() {
        assert_eq!(lock_id("", "/tiles"), "72ad3f7be721eab8213220c20d76a20e");
    }

    #[test]
    fn a_held_lock_times_out() {
        let (locker, _base) = locker(Duration::from_millis(60));
        let _held = locker.lock(TILE, &none()).unwrap();
        assert!(matches!(locker.lock(TILE, &none()), Err(LockError::Timeout { .. })));
        assert!(locker.lock(TileCoord::new(1, 2, 4), &none()).is_ok());
    }

    #[test]
    fn tiles_of_other_dimensions_are_other_locks() {
        let (locker, _base) = locker(Duration::from_millis(20));
        let dated = |value: &str| Dimensions::from([("time".to_owned(), value.to_owned())]);
        let _held = locker.lock(TILE, &dated("2020")).unwrap();
        assert!(locker.lock(TILE, &dated("2021")).is_ok());
        assert!(locker.lock(TILE, &none()).is_ok());
        assert!(locker.lock(TILE, &dated("2020")).is_err());
    }

    #[test]
    fn only_one_holds_a_lock_however_many_come_and_go() {
        let (locker, _base) = locker(Duration::from_secs(60));
        let (inside, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..15 {
                        let _lock = locker.lock(TILE, &none()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                        std::thread::sleep(Duration::from_micros(200));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        total.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 120);
        assert_eq!(fs::read_dir(&locker.directory).unwrap().count(), 0);
    }

    #[test]
    fn a_file_left_behind_blocks_nobody() {
        let (locker, _base) = locker(Duration::from_millis(50));
        let path = locker.path(TILE, &none());
        fs::create_dir_all(&locker.directory).unwrap();
        for text in [" 1\n", " 18446744073709551615\n"] {
            fs::write(&path, text).unwrap();
            let lock = locker.lock(TILE, &none()).unwrap();
            assert!(lock.was_left_behind());
            assert_eq!(fs::read_to_string(&path).unwrap(), format!(" {}\n", std::process::id()));
            drop(lock);
            assert!(!locker.lock(TILE, &none()).unwrap().was_left_behind());
        }
    }

    #[test]
    fn stale_files_are_removed_unless_somebody_holds_them() {
        let (locker, _base) = locker(Duration::from_secs(60));
        let held = locker.lock(TILE, &none()).unwrap();
        let (left, fresh) = (locker.directory.join("id-7-8-9.lck"), locker.directory.join("fresh.lck"));
        let other = locker.directory.join("other.txt");
        for path in [&left, &fresh, &other] {
            fs::write(path, "").unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(71);
        for path in [&left, &other, &held.path] {
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        let swept = Mutex::new(Vec::new());
        locker.remove_stale(|tile| swept.lock().unwrap().push(tile));
        assert!(!left.exists() && fresh.exists() && other.exists() && held.path.exists());
        assert_eq!(swept.into_inner().unwrap(), [TileCoord::new(7, 8, 9)]);
    }

    #[test]
    fn a_lock_directory_that_cannot_be_is_named() {
        let (mut locker, base) = locker(Duration::from_secs(60));
        locker.directory = base.path().join("file/tile_locks");
        fs::write(base.path().join("file"), "").unwrap();
        let message = locker.lock(TILE, &none()).unwrap_err().to_string();
        assert!(message.contains("file/tile_locks/id-1-2-3.lck"), "{message}");
    }
}
