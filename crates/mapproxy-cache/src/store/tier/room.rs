//! Keeps a directory of tiles within a limit of bytes: the files not asked for longest go.
//!
//! How much lies there is written to a small file beside the tiles, by all processes that use the directory, after each
//! hundredth of the limit that they have stored; so nobody walks the directory at start-up. When the limit is passed, one
//! of them (a lock file says which) walks it twice: to learn what lies there by age, in a table of fixed size, and to
//! remove the oldest until nine tenths of the limit are left. What the walk counts replaces the number in the file,
//! which heals whatever a crash or a hand has changed. Only files with names of tiles are ever removed, and what writers
//! that died have left.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::Permissions;
use crate::fs::{create_directories, explain, write_atomic};
use crate::store::layout::Layout;

/// Holds the number of bytes.
const COUNT: &str = ".bytes";
/// Held by who counts and removes.
const LOCK: &str = ".bytes.lck";

/// A limit for the files of a directory.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    layout: Layout,
    extension: String,
    limit: u64,
    /// Stored by this process since the number was written.
    unwritten: AtomicU64,
    is_begun: AtomicBool,
    is_busy: AtomicBool,
}

/// Space on a disk is given in blocks.
const BLOCK: u64 = 4096;

/// A temporary file older than this has lost its writer.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Files by how long ago they were asked for, in steps of a twelfth.
struct Ages {
    bytes: [u64; 512],
}

impl Ages {
    fn class(age: Duration) -> usize {
        (((age.as_secs_f64() + 1.0).ln() / 1.09_f64.ln()) as usize).min(511)
    }
}

fn space(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    // Files of the future are new.
    metadata.accessed().ok().and_then(|accessed| now.duration_since(accessed).ok()).unwrap_or_default()
}

impl Room {
    pub(super) fn new(directory: PathBuf, layout: Layout, extension: String, limit: u64) -> Self {
        Room {
            directory,
            layout,
            extension,
            limit,
            unwritten: AtomicU64::new(0),
            is_begun: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
        }
    }

    /// A file of so many bytes was stored. Making room is left to another thread.
    pub(super) fn taken(self: &Arc<Self>, size: u64) {
        let unwritten = self.unwritten.fetch_add(space(size), Ordering::Relaxed) + space(size);
        let is_due = unwritten >= self.limit / 100 || !self.is_begun.load(Ordering::Relaxed);
        if !is_due || self.is_busy.swap(true, Ordering::Acquire) {
            return;
        }
        self.is_begun.store(true, Ordering::Relaxed);
        let room = Arc::clone(self);
        let thread = std::thread::Builder::new().name("mapproxy-room".to_owned()).spawn(move || room.tidy());
        if thread.is_err() {
            // Without a thread to be had, the next file tries again.
            self.is_busy.store(false, Ordering::Release);
        }
    }

    fn tidy(&self) {
        if let Err(error) = self.make_room() {
            log::warn!(
                target: "mapproxy.cache.tiered", "{}: cannot keep within {} bytes: {}", self.directory.display(), self.limit,
                explain(&error)
            );
        }
        self.is_busy.store(false, Ordering::Release);
    }

    /// Brings the number up to date, and the files within the limit.
    fn make_room(&self) -> io::Result<()> {
        create_directories(&self.directory, Permissions::default())?;
        let lock = File::options().write(true).create(true).truncate(false).open(self.directory.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            // Another process is at it; what is stored here is told the next time.
            Err(fs::TryLockError::WouldBlock) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let count = self.directory.join(COUNT);
        let known = fs::read_to_string(&count).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let unwritten = self.unwritten.swap(0, Ordering::Relaxed);
        let mut total = known.map(|known| known.saturating_add(unwritten));
        if total.is_none_or(|total| total > self.limit) {
            total = Some(self.remove_oldest()?);
        }
        write_atomic(&count, format!("{}\n", total.unwrap_or_default()).as_bytes(), Permissions::default())
    }

    /// Returns what is left.
    fn remove_oldest(&self) -> io::Result<u64> {
        let now = SystemTime::now();
        let mut ages = Ages { bytes: [0; 512] };
        self.walk(|metadata| {
            ages.bytes[Ages::class(age(metadata, now))] += space(metadata.len());
            false
        })?;
        let mut total: u64 = ages.bytes.iter().sum();
        if total <= self.limit {
            return Ok(total);
        }
        let target = self.limit / 10 * 9;
        // All files of classes above go, and so many of this one as it takes.
        let (mut class, mut left) = (511, total);
        while class > 0 && left - ages.bytes[class] > target {
            left -= ages.bytes[class];
            class -= 1;
        }
        let (mut of_class, before) = (left.saturating_sub(target), total);
        self.walk(|metadata| {
            let size = space(metadata.len());
            let goes = match Ages::class(age(metadata, now)) {
                own if own == class && of_class > 0 => {
                    of_class = of_class.saturating_sub(size);
                    true
                }
                own => own > class,
            };
            if goes {
                total = total.saturating_sub(size);
            }
            goes
        })?;
        log::info!(
            target: "mapproxy.cache.tiered", "{}: removed the {} bytes not asked for longest, {total} of {} are left",
            self.directory.display(), before - total, self.limit
        );
        Ok(total)
    }

    /// Shows all tiles; those that `see` says so of are removed.
    fn walk(&self, mut see: impl FnMut(&Metadata) -> bool) -> io::Result<()> {
        let mut folders = vec![(self.directory.clone(), String::new())];
        while let Some((folder, relative)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let below = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
                let metadata = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata?,
                };
                if metadata.is_dir() {
                    folders.push((entry.path(), below));
                    continue;
                }
                let goes = match self.layout.parse(&below, &self.extension) {
                    Some(_) => see(&metadata),
                    None => name.contains(".tmp-") && age(&metadata, SystemTime::now()) > LEFT_BEHIND,
                };
                if goes {
                    match fs::remove_file(entry.path()) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::path::Path;

    use mapproxy_grid::TileCoord;

    use super::*;
    use crate::TileKey;

    fn room(directory: &Path, limit: u64) -> Room {
        Room::new(directory.to_owned(), Layout::Tms, "png".to_owned(), limit)
    }

    /// A file of one block that was asked for so many hours ago.
    fn put(directory: &Path, x: u32, hours: u64) -> PathBuf {
        let path = Layout::Tms.path(directory, &TileKey::new(TileCoord::new(x, 0, 9)), "png").unwrap();
        write_atomic(&path, &[1; 4096], Permissions::default()).unwrap();
        let accessed = SystemTime::now() - Duration::from_secs(hours * 3600);
        File::open(&path).unwrap().set_times(FileTimes::new().set_accessed(accessed)).unwrap();
        path
    }

    fn written(directory: &Path) -> u64 {
        fs::read_to_string(directory.join(COUNT)).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn the_files_not_asked_for_longest_go_first() {
        let base = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..100).map(|x| put(base.path(), x, u64::from(x) * 10)).collect();
        room(base.path(), 50 * 4096).make_room().unwrap();
        let left: Vec<_> = files.iter().map(|path| path.exists()).collect();
        assert_eq!(left.iter().filter(|exists| **exists).count(), 45);
        // Ages are told apart by a twelfth.
        assert!(left[..40].iter().all(|exists| *exists) && left[52..].iter().all(|exists| !*exists), "{left:?}");
        assert_eq!(written(base.path()), 45 * 4096);
    }

    #[test]
    fn of_files_of_the_same_age_only_so_many_go_as_must() {
        let base = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..100).map(|x| put(base.path(), x, 0)).collect();
        room(base.path(), 50 * 4096).make_room().unwrap();
        assert_eq!(files.iter().filter(|path| path.exists()).count(), 45);
    }

    #[test]
    fn nothing_but_tiles_goes() {
        let base = tempfile::tempdir().unwrap();
        let foreign = base.path().join("notes.txt");
        fs::write(&foreign, [1; 100_000]).unwrap();
        let (new, old) = (base.path().join("9/1.png.tmp-abc"), base.path().join("9/2.png.tmp-abc"));
        put(base.path(), 1, 5);
        fs::write(&new, b"").unwrap();
        fs::write(&old, b"").unwrap();
        let accessed = SystemTime::now() - LEFT_BEHIND * 2;
        File::open(&old).unwrap().set_times(FileTimes::new().set_accessed(accessed)).unwrap();
        room(base.path(), 1).make_room().unwrap();
        assert!(foreign.exists() && new.exists() && !old.exists());
        assert_eq!(written(base.path()), 0);
    }

    #[test]
    fn what_lies_there_is_counted_once_and_then_known() {
        let base = tempfile::tempdir().unwrap();
        put(base.path(), 1, 0);
        let room = room(base.path(), 1_000_000);
        room.make_room().unwrap();
        assert_eq!(written(base.path()), 4096);
        put(base.path(), 2, 0);
        room.unwritten.store(space(4000), Ordering::Relaxed);
        room.make_room().unwrap();
        assert_eq!(written(base.path()), 8192);
        fs::write(base.path().join(COUNT), "nonsense").unwrap();
        room.make_room().unwrap();
        assert_eq!(written(base.path()), 8192, "counted anew");
    }

    #[test]
    fn who_finds_another_at_it_leaves_it_to_them() {
        let base = tempfile::tempdir().unwrap();
        let path = put(base.path(), 1, 5);
        let lock = File::create(base.path().join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        room(base.path(), 1).make_room().unwrap();
        assert!(path.exists());
    }
}
