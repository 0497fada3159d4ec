//! Emptying caches: whole levels where the store can, by the tiles that are there where only some of them go.
//!
//! Whatever goes is a tile of this cache: found by the store's own names, never by following links. Tiles of all
//! dimensions go. What somebody stores while a cleanup is at work stays, or goes if it is in the way of a whole level.

use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::SystemTime;

use mapproxy_cache::TileKey;
use mapproxy_cache::store::visit::{Detail, SeenTile, Visit, Visited};
use mapproxy_cache::store::{StoreError, TileStore};
use mapproxy_grid::TransformError;

use crate::selection::Selection;
use crate::{CleanupTask, Remove, Stop};

/// How a cleanup goes about it.
#[derive(Clone, Copy, Debug)]
pub struct CleanupOptions {
    /// Nothing is removed; what would be is told.
    pub dry_run: bool,
    /// Threads that remove tiles one by one.
    pub threads: usize,
}

impl Default for CleanupOptions {
    fn default() -> CleanupOptions {
        CleanupOptions { dry_run: false, threads: 4 }
    }
}

/// What a cleanup does, told while it does it.
#[derive(Debug)]
pub enum CleanupEvent<'a> {
    /// Tiles of a level are removed as a whole: those in `folder`, where a level has one.
    Level {
        /// The level.
        level: u8,
        /// Its folder.
        folder: Option<&'a Path>,
    },
    /// In a dry run: the file of a tile that would go.
    WouldRemove {
        /// The file.
        place: &'a str,
    },
    /// Tiles of a level are removed one by one, told now and then, and when the level is done.
    Progress {
        /// The level.
        level: u8,
        /// Tiles looked at on this level.
        looked: u64,
        /// Tiles removed on this level, or that would be.
        removed: u64,
        /// All of the level's tiles were looked at.
        done: bool,
    },
    /// A part of the cache could not be looked at; its tiles stay.
    Unreadable {
        /// Which, and why.
        what: String,
    },
}

/// What a cleanup has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupReport {
    /// Levels emptied as a whole, whose tiles nobody counted.
    pub levels: u64,
    /// Tiles removed one by one, or that would be.
    pub removed: u64,
    /// Parts of the cache that could not be looked at.
    pub unreadable: u64,
    /// Stopped before the end.
    pub stopped: bool,
}

/// Why a cleanup cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// `remove_before` on a store that knows no times.
    #[error("cleanup does not support remove_before for '{task}' because cache '{cache}' does not support timestamps")]
    NoTimes {
        /// The task.
        task: Arc<str>,
        /// The cache.
        cache: Arc<str>,
    },
    /// `disable_storage`.
    #[error("cache '{cache}' keeps no tiles (disable_storage: true)")]
    NoStore {
        /// The cache.
        cache: Arc<str>,
    },
    /// The store cannot go on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The coverage cannot be compared with tiles.
    #[error(transparent)]
    Transform(#[from] TransformError),
}

/// Tiles removed in one go.
const BATCH: usize = 1000;

/// How often progress is told, in tiles.
const TOLD_EVERY: u64 = 10_000;

/// Removes the tiles of a task, level by level. A level that is removed as a whole is not stopped half-way.
pub fn run(
    task: &CleanupTask,
    options: CleanupOptions,
    observer: &mut dyn FnMut(CleanupEvent<'_>),
    stop: &Stop,
) -> Result<CleanupReport, CleanupError> {
    let cache = task.manager.name();
    let store = task.manager.store().ok_or_else(|| CleanupError::NoStore { cache: Arc::clone(cache) })?;
    let before = match task.remove {
        Remove::All => None,
        Remove::Before(_) if !store.capabilities().timestamps => {
            return Err(CleanupError::NoTimes { task: Arc::clone(&task.name), cache: Arc::clone(cache) });
        }
        Remove::Before(before) => Some(before),
    };
    let mut report = CleanupReport::default();
    for level in &task.levels {
        if stop.is_asked() {
            report.stopped = true;
            break;
        }
        let mut one = Level { task, store: &**store, level: *level, before, options, stop, report: &mut report };
        match task.coverage {
            None => one.whole(observer)?,
            Some(_) => one.some(observer)?,
        }
    }
    Ok(report)
}

/// One level of a cleanup.
struct Level<'a> {
    task: &'a CleanupTask,
    store: &'a dyn TileStore,
    level: u8,
    before: Option<SystemTime>,
    options: CleanupOptions,
    stop: &'a Stop,
    report: &'a mut CleanupReport,
}

impl Level<'_> {
    /// All tiles of the level.
    fn whole(&mut self, observer: &mut dyn FnMut(CleanupEvent<'_>)) -> Result<(), CleanupError> {
        let folder = self.store.level_folder(self.level);
        observer(CleanupEvent::Level { level: self.level, folder: folder.as_deref() });
        if !self.options.dry_run {
            self.store.remove_level(self.level, self.before)?;
            self.report.levels += 1;
            return Ok(());
        }
        let wanted = Visit::level(self.level, self.detail());
        let mut removed = 0;
        self.store.visit(&wanted, &mut |seen| {
            match seen {
                Visited::Tile(tile) if self.is_old(&tile) => {
                    removed += 1;
                    if folder.is_some() {
                        observer(CleanupEvent::WouldRemove { place: &self.store.place(&tile.key) });
                    }
                }
                Visited::Unreadable { name, reason } => {
                    observer(CleanupEvent::Unreadable { what: format!("{name}: {reason}") });
                }
                _ => {}
            }
            if self.stop.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.report.removed += removed;
        self.report.stopped |= self.stop.is_asked();
        Ok(())
    }

    /// Tiles that meet the coverage.
    fn some(&mut self, observer: &mut dyn FnMut(CleanupEvent<'_>)) -> Result<(), CleanupError> {
        let mut selection =
            Selection::of_meta_tiles(&self.task.manager.work_grid(), self.task.coverage.as_ref(), self.level)?;
        let removed = AtomicU64::new(0);
        let failed: Mutex<Option<StoreError>> = Mutex::new(None);
        let wanted = Visit { level: Some(self.level), within: selection.cells(), detail: self.detail() };
        let (mut looked, mut unreadable, mut transform) = (0_u64, 0, None);
        let (level, is_nothing) = (self.level, selection.is_empty());
        let (store, threads) = (self.store, if self.options.dry_run { 0 } else { self.options.threads.max(1) });
        let visited = std::thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel::<Vec<TileKey>>(threads.max(1));
            let batches = Arc::new(Mutex::new(batches));
            for _ in 0..threads {
                let (batches, removed, failed) = (Arc::clone(&batches), &removed, &failed);
                scope.spawn(move || {
                    loop {
                        let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(batch) = batch else { break };
                        match store.remove_many(&batch) {
                            Ok(()) => {
                                removed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                            }
                            Err(error) => {
                                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                                break;
                            }
                        }
                    }
                });
            }
            // Gone with the last of the threads, which then fails the sending.
            drop(batches);
            if is_nothing {
                return Ok(());
            }
            let mut batch = Vec::with_capacity(BATCH);
            let visited = store.visit(&wanted, &mut |seen| {
                match seen {
                    Visited::Tile(tile) => {
                        looked += 1;
                        match selection.has(tile.key.coord) {
                            Ok(true) if self.is_old(&tile) => batch.push(tile.key),
                            Ok(_) => {}
                            Err(error) => {
                                transform = Some(error);
                                return ControlFlow::Break(());
                            }
                        }
                    }
                    // It is in the way of the tile that should be there.
                    Visited::Broken { key, .. } if self.before.is_none() => match selection.has(key.coord) {
                        Ok(true) => batch.push(key),
                        Ok(false) => {}
                        Err(error) => {
                            transform = Some(error);
                            return ControlFlow::Break(());
                        }
                    },
                    Visited::Unreadable { name, reason } => {
                        unreadable += 1;
                        observer(CleanupEvent::Unreadable { what: format!("{name}: {reason}") });
                    }
                    Visited::Broken { .. } | Visited::Foreign { .. } | Visited::Leftover { .. } => {}
                }
                if batch.len() >= BATCH {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    if threads == 0 {
                        removed.fetch_add(full.len() as u64, Ordering::Relaxed);
                    } else if sender.send(full).is_err() {
                        return ControlFlow::Break(());
                    }
                }
                if looked % TOLD_EVERY == 0 {
                    let removed = removed.load(Ordering::Relaxed);
                    observer(CleanupEvent::Progress { level, looked, removed, done: false });
                }
                if self.stop.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if threads == 0 {
                removed.fetch_add(batch.len() as u64, Ordering::Relaxed);
            } else if !batch.is_empty() {
                // Refused only when the threads have failed, which is told.
                let _ = sender.send(batch);
            }
            visited
        });
        let removed = removed.into_inner();
        self.report.removed += removed;
        self.report.unreadable += unreadable;
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
        if let Some(error) = transform {
            return Err(error.into());
        }
        visited?;
        self.report.stopped |= self.stop.is_asked();
        observer(CleanupEvent::Progress { level, looked, removed, done: !self.stop.is_asked() });
        Ok(())
    }

    fn detail(&self) -> Detail {
        if self.before.is_some() { Detail::Meta } else { Detail::Keys }
    }

    /// A tile that says no time is not known to be old.
    fn is_old(&self, tile: &SeenTile) -> bool {
        let modified = || tile.meta.and_then(|meta| meta.modified);
        self.before.is_none_or(|before| modified().is_some_and(|modified| modified <= before))
    }
}

/// A folder as people in another one call it: seen from there, unless it lies two folders up or further.
pub fn as_seen_from(folder: &Path, here: &Path) -> PathBuf {
    let (to, from): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), here.components().collect());
    let common = to.iter().zip(&from).take_while(|(one, other)| one == other).count();
    let up = from.len() - common;
    if common == 0 || up > 1 {
        return folder.to_owned();
    }
    let path: PathBuf = std::iter::repeat_n(Component::ParentDir, up).chain(to[common..].iter().copied()).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mapproxy_cache::Permissions;
    use mapproxy_cache::store::TileData;
    use mapproxy_cache::store::file::{FileStore, LinkSingleColor};
    use mapproxy_cache::store::layout::Layout;
    use mapproxy_cache::store::sqlite::mbtiles::Mbtiles;
    use mapproxy_cache::store::sqlite::{FileOptions, Pool};
    use mapproxy_grid::{Bbox, Coverage, Srs, TileCoord};

    use super::*;
    use crate::testkit;

    fn files(directory: &Path, layout: Layout) -> Arc<dyn TileStore> {
        Arc::new(FileStore {
            directory: directory.join("tiles"),
            extension: "png".to_owned(),
            layout,
            link_single_color: LinkSingleColor::Off,
            permissions: Permissions::default(),
        })
    }

    fn mbtiles(directory: &Path) -> Arc<dyn TileStore> {
        let file = Mbtiles { file: directory.join("a.mbtiles"), options: FileOptions::default(), metadata: Vec::new() };
        Arc::new(file.open(&Arc::new(Pool::default())))
    }

    /// All tiles to level 5, those of level 5 in another dimension, too.
    fn fill(store: &dyn TileStore) {
        let all =
            (0..=5_u8).flat_map(|z| (0..1_u32 << (2 * z)).map(move |n| TileCoord::new(n >> z, n & ((1 << z) - 1), z)));
        let mut keys: Vec<TileKey> = all.map(TileKey::new).collect();
        let dimensions: mapproxy_map::Dimensions = [("time".to_owned(), "2020".to_owned())].into();
        let dated = |key: &TileKey| TileKey { dimensions: Arc::clone(&dimensions), ..key.clone() };
        let others: Vec<TileKey> = keys.iter().filter(|key| key.coord.z == 5).map(dated).collect();
        keys.extend(others);
        let data = |key: TileKey| (key, TileData::new("tile".into()));
        store.store_many(&keys.into_iter().map(data).collect::<Vec<_>>()).unwrap();
    }

    /// How many tiles each level has, of all dimensions.
    fn count(store: &dyn TileStore) -> Vec<usize> {
        let mut counts = vec![0; 6];
        let mut visitor = |seen| {
            let Visited::Tile(tile) = seen else { panic!("{seen:?}") };
            counts[usize::from(tile.key.coord.z)] += 1;
            ControlFlow::Continue(())
        };
        store.visit(&Visit::all(Detail::Keys), &mut visitor).unwrap();
        counts
    }

    fn task(store: &Arc<dyn TileStore>, levels: &[u8], coverage: Option<Coverage>, remove: Remove) -> CleanupTask {
        let manager = testkit::manager_of(Arc::clone(store));
        CleanupTask { name: "old".into(), manager, levels: levels.to_vec(), coverage, remove }
    }

    fn clean(task: &CleanupTask, dry_run: bool) -> (CleanupReport, Vec<String>) {
        let mut told = Vec::new();
        let options = CleanupOptions { dry_run, threads: 3 };
        let report = run(task, options, &mut |event| told.push(format!("{event:?}")), &Stop::default());
        (report.unwrap(), told)
    }

    fn north_east() -> Coverage {
        Coverage::from_bbox(Bbox::new(0.0, 0.0, 180.0, 85.0), Srs::wgs84())
    }

    #[test]
    fn levels_are_emptied_and_others_stay() {
        let base = tempfile::tempdir().unwrap();
        for layout in [Layout::Tc, Layout::Tms, Layout::ReverseTms, Layout::Quadkey] {
            let directory = base.path().join(format!("{layout:?}"));
            let store = files(&directory, layout);
            fill(&*store);
            let task = task(&store, &[2, 5], None, Remove::All);
            let (report, told) = clean(&task, true);
            assert_eq!((report.removed, count(&*store)), (16 + 2048, vec![1, 4, 16, 64, 256, 2048]));
            let has_folders = matches!(layout, Layout::Tc | Layout::Tms);
            let named = told.iter().filter(|event| event.contains("WouldRemove")).count();
            assert_eq!(named, if has_folders { 16 + 2048 } else { 0 });
            let (report, told) = clean(&task, false);
            assert_eq!((report.levels, count(&*store)), (2, vec![1, 4, 0, 64, 256, 0]));
            assert_eq!((told.len(), told[0].contains("folder: Some")), (2, has_folders), "{told:?}");
        }
    }

    #[test]
    fn tiles_within_a_coverage_go_with_those_of_other_dimensions_and_leave_no_empty_folders() {
        let base = tempfile::tempdir().unwrap();
        for store in [files(base.path(), Layout::Tms), mbtiles(base.path())] {
            fill(&*store);
            let task = task(&store, &[2, 5], Some(north_east()), Remove::All);
            let (report, told) = clean(&task, true);
            assert_eq!((report.removed, count(&*store)), (4 + 512, vec![1, 4, 16, 64, 256, 2048]));
            assert!(told.iter().all(|event| event.contains("Progress")), "{told:?}");
            let (report, _) = clean(&task, false);
            assert_eq!((report.removed, count(&*store)), (4 + 512, vec![1, 4, 12, 64, 256, 1536]));
        }
        let store = files(base.path(), Layout::Tms);
        let world = Coverage::from_bbox(Bbox::new(-180.0, -85.06, 180.0, 85.06), Srs::wgs84());
        clean(&task(&store, &[0, 1, 2, 3, 4, 5], Some(world), Remove::All), false);
        assert_eq!(std::fs::read_dir(base.path().join("tiles")).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn only_tiles_that_are_old_enough_go() {
        let base = tempfile::tempdir().unwrap();
        let store = files(base.path(), Layout::Tc);
        fill(&*store);
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        for coverage in [None, Some(north_east())] {
            clean(&task(&store, &[1, 2], coverage, Remove::Before(now - minute)), false);
            assert_eq!(count(&*store), [1, 4, 16, 64, 256, 2048]);
        }
        clean(&task(&store, &[1], Some(north_east()), Remove::Before(now + minute)), false);
        clean(&task(&store, &[2], None, Remove::Before(now + minute)), false);
        assert_eq!(count(&*store), [1, 3, 0, 64, 256, 2048]);
    }

    #[test]
    fn a_store_without_times_is_refused_to_be_cleaned_by_them() {
        let base = tempfile::tempdir().unwrap();
        let store = mbtiles(base.path());
        let task = task(&store, &[1], None, Remove::Before(SystemTime::now()));
        let error = run(&task, CleanupOptions::default(), &mut |_| {}, &Stop::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cleanup does not support remove_before for 'old' because cache 'osm' does not support timestamps"
        );
    }

    #[test]
    fn a_cleanup_stops_when_it_is_asked_to() {
        let base = tempfile::tempdir().unwrap();
        let store = files(base.path(), Layout::Tms);
        fill(&*store);
        let stop = Stop::default();
        stop.ask();
        let task = task(&store, &[3], None, Remove::All);
        let report = run(&task, CleanupOptions::default(), &mut |_| {}, &stop).unwrap();
        assert!(report.stopped);
        assert_eq!(count(&*store)[3], 64);
    }

    #[test]
    fn what_a_store_refuses_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let store = files(base.path(), Layout::Tms);
        // A folder where the file of a tile should be.
        std::fs::create_dir_all(base.path().join("tiles/3/5/2.png")).unwrap();
        let task = task(&store, &[3], Some(north_east()), Remove::All);
        let error = run(&task, CleanupOptions::default(), &mut |_| {}, &Stop::default()).unwrap_err();
        assert!(error.to_string().contains("2.png"), "{error}");
    }

    #[test]
    fn folders_are_told_as_seen_from_here() {
        let seen = |folder: &str, here: &str| as_seen_from(Path::new(folder), Path::new(here)).display().to_string();
        assert_eq!(seen("/a/b/c/03", "/a/b"), "c/03");
        assert_eq!(seen("/a/x/03", "/a/b"), "../x/03");
        assert_eq!(seen("/x/03", "/a/b"), "/x/03");
        assert_eq!(seen("/a/x/03", "/a/b/c"), "/a/x/03");
        assert_eq!(seen("/a/b", "/a/b"), ".");
    }
}
