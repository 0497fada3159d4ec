//! An application that is rebuilt when the files it was made of change.
//!
//! Requests never wait for it: they are answered by the application there is until the next one is complete, and each
//! request by one and the same from beginning to end. Files that make no application change nothing but the log.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::{App, AppBuilder, Application, Request, Response};

/// An application that can be replaced by a newer version of itself while it is in use.
pub struct Reload<A> {
    current: ArcSwap<A>,
    build: Box<dyn Fn() -> Result<Loaded<A>, NotLoaded> + Send + Sync>,
    /// Held while building, so that only one thread builds at a time.
    watched: Mutex<Stamps>,
}

/// An application and what it was made of.
#[derive(Debug)]
pub struct Loaded<A> {
    /// The application.
    pub app: A,
    /// The files that were read; a change of one of them calls for another build.
    pub files: Vec<PathBuf>,
}

/// Why there is no application.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotLoaded {
    /// What is wrong, in full: it goes to the log, line by line.
    pub reason: String,
    /// The files that were read, as far as known. Those of the last successful build stay watched in any case.
    pub files: Vec<PathBuf>,
}

/// What came of looking at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are as they were.
    Unchanged,
    /// A new application is in use.
    Replaced,
    /// They make no application; the old one stays in use. The log says why.
    Kept,
}

/// Keeps an application watched; dropping it ends that.
#[derive(Debug)]
pub struct Watching {
    _ends_thread_when_dropped: Sender<()>,
}

/// When a file was last changed and how long it is; `None` if it cannot be seen.
type Stamp = Option<(SystemTime, u64)>;

pub(super) type Stamps = BTreeMap<PathBuf, Stamp>;

impl<A> Reload<A> {
    /// Builds the application for the first time. `build` is called again for each new version.
    pub fn new(
        build: impl Fn() -> Result<Loaded<A>, NotLoaded> + Send + Sync + 'static,
    ) -> Result<Reload<A>, NotLoaded> {
        let Loaded { app, files } = build()?;
        let watched = Mutex::new(stamps(files));
        Ok(Reload { current: ArcSwap::from_pointee(app), build: Box::new(build), watched })
    }

    /// The application in use.
    pub fn current(&self) -> Arc<A> {
        self.current.load_full()
    }

    /// Builds anew if one of the files has changed.
    pub fn check(&self) -> Outcome {
        let mut watched = self.lock();
        let now = stamps(watched.keys().cloned());
        if *watched == now {
            return Outcome::Unchanged;
        }
        self.rebuild(&mut watched, now)
    }

    /// Builds anew if one of the files has changed and nobody else is at it.
    pub fn check_unless_busy(&self) -> Outcome {
        let Some(mut watched) = self.try_lock() else { return Outcome::Unchanged };
        let now = stamps(watched.keys().cloned());
        if *watched == now { Outcome::Unchanged } else { self.rebuild(&mut watched, now) }
    }

    /// Whether one of the files has changed and nobody is about to build anew.
    pub fn has_changed(&self) -> bool {
        self.try_lock().is_some_and(|watched| watched.iter().any(|(file, seen)| stamp(file) != *seen))
    }

    /// Builds anew in any case.
    pub fn reload(&self) -> Outcome {
        let mut watched = self.lock();
        let now = stamps(watched.keys().cloned());
        self.rebuild(&mut watched, now)
    }

    fn lock(&self) -> MutexGuard<'_, Stamps> {
        // A panic while building leaves the old stamps, which are valid.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Stamps>> {
        match self.watched.try_lock() {
            Ok(watched) => Some(watched),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// `before` was taken before anything is read: what changes while we read is seen as changed next time.
    fn rebuild(&self, watched: &mut Stamps, before: Stamps) -> Outcome {
        match (self.build)() {
            Ok(Loaded { app, files }) => {
                *watched = files
                    .into_iter()
                    .map(|file| match before.get(&file) {
                        Some(seen) => (file, *seen),
                        None => stamped(file),
                    })
                    .collect();
                self.current.store(Arc::new(app));
                log::info!(target: "mapproxy.config", "configuration reloaded");
                Outcome::Replaced
            }
            Err(NotLoaded { reason, files }) => {
                *watched = stamps(files);
                watched.extend(before);
                for line in reason.lines() {
                    log::error!(target: "mapproxy.config", "{line}");
                }
                log::error!(
                    target: "mapproxy.config",
                    "configuration not reloaded: the previous one stays in use until the files are mended"
                );
                Outcome::Kept
            }
        }
    }
}

impl Reload<App> {
    /// The application that `builder` makes of its files, and of later versions of them. Warnings go to the log.
    pub fn of_builder(builder: AppBuilder) -> Result<Reload<App>, NotLoaded> {
        Reload::new(move || match builder.build() {
            Ok(built) => {
                for warning in built.diagnostics.warnings() {
                    log::warn!(target: "mapproxy.config", "{warning}");
                }
                Ok(Loaded { app: built.app, files: built.files })
            }
            Err(error) => {
                let reason =
                    format!("{}\nERROR: {}: {}", error.diagnostics, builder.name(), error.diagnostics.summary());
                Err(NotLoaded { reason, files: error.files })
            }
        })
    }
}

impl<A: Send + Sync + 'static> Reload<A> {
    /// Calls [`Reload::check`] every `interval`, on a thread of its own.
    pub fn watch(self: &Arc<Self>, interval: Duration) -> std::io::Result<Watching> {
        let (sender, receiver) = channel();
        let watched = Arc::downgrade(self);
        thread::Builder::new().name("mapproxy-reload".to_owned()).spawn(move || {
            while receiver.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let Some(reload) = watched.upgrade() else { return };
                reload.check();
            }
        })?;
        Ok(Watching { _ends_thread_when_dropped: sender })
    }
}

pub(super) fn stamps(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    files.into_iter().map(stamped).collect()
}

fn stamped(file: PathBuf) -> (PathBuf, Stamp) {
    let stamp = stamp(&file);
    (file, stamp)
}

fn stamp(file: &Path) -> Stamp {
    std::fs::metadata(file).and_then(|metadata| Ok((metadata.modified()?, metadata.len()))).ok()
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for Reload<A> {
    fn call(&self, request: Request) -> Response {
        // An owned handle, since the call may take long and others may be waiting to replace the application.
        self.current.load_full().call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.current.load().call_now(request)
    }
}

impl<A: fmt::Debug> fmt::Debug for Reload<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("current", &self.current).field("watched", &self.watched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::Body;

    /// Says what its file says; a file that says `broken` makes none.
    #[derive(Debug)]
    struct Saying(String);

    impl Application for Saying {
        fn call(&self, _request: Request) -> Response {
            Response::new(Body::from(self.0.clone()))
        }
    }

    fn reload_of(file: &Path) -> Reload<Saying> {
        let file = file.to_owned();
        Reload::new(move || {
            let text = fs::read_to_string(&file).unwrap_or_else(|_| "broken".to_owned());
            // `also NAME` brings in another file.
            let mut files = vec![file.clone()];
            files.extend(text.strip_prefix("also ").map(|name| file.with_file_name(name)));
            match files.get(1).map_or(Ok(text), fs::read_to_string) {
                Ok(text) if text != "broken" => Ok(Loaded { app: Saying(text), files }),
                _ => Err(NotLoaded { reason: "it is broken".to_owned(), files }),
            }
        })
        .unwrap()
    }

    fn says(app: &impl Application) -> String {
        let response = app.call(http::Request::get("/").body(Bytes::new()).unwrap());
        String::from_utf8(response.body().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_changed_file_makes_a_new_application_and_an_unchanged_one_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let app = reload_of(&file);
        assert_eq!(app.check(), Outcome::Unchanged);
        fs::write(&file, "three").unwrap();
        assert_eq!(says(&app), "one");
        assert_eq!(app.check(), Outcome::Replaced);
        assert_eq!(says(&app), "three");
        assert_eq!(app.check(), Outcome::Unchanged);
        assert_eq!(app.reload(), Outcome::Replaced);
    }

    #[test]
    fn a_broken_or_missing_file_keeps_the_old_application_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let app = reload_of(&file);
        fs::write(&file, "broken").unwrap();
        assert_eq!(app.check(), Outcome::Kept);
        assert_eq!(app.check(), Outcome::Unchanged, "the same mistake is reported once");
        fs::remove_file(&file).unwrap();
        assert_eq!(app.check(), Outcome::Kept);
        assert_eq!(says(&app), "one");
        fs::write(&file, "three").unwrap();
        assert_eq!(app.check(), Outcome::Replaced);
        assert_eq!(says(&app), "three");
    }

    #[test]
    fn files_that_a_change_brings_in_are_watched_even_if_they_are_what_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "one").unwrap();
        let app = reload_of(&file);
        fs::write(&other, "broken").unwrap();
        fs::write(&file, "also b").unwrap();
        assert_eq!(app.check(), Outcome::Kept);
        fs::write(&other, "mended").unwrap();
        assert_eq!(app.check(), Outcome::Replaced);
        assert_eq!(says(&app), "mended");
        fs::write(&other, "changed").unwrap();
        assert_eq!(app.check(), Outcome::Replaced);
        assert_eq!(says(&app), "changed");
    }

    #[test]
    fn a_watched_application_follows_its_file_and_stops_when_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let app = Arc::new(reload_of(&file));
        let watching = app.watch(Duration::from_millis(5)).unwrap();
        fs::write(&file, "three").unwrap();
        let begun = Instant::now();
        while says(&app) != "three" {
            assert!(begun.elapsed() < Duration::from_secs(10), "the change was not noticed");
            thread::sleep(Duration::from_millis(1));
        }
        drop(watching);
        let begun = Instant::now();
        while Arc::weak_count(&app) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the thread is still there");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_first_build_must_succeed() {
        let result = Reload::<Saying>::new(|| Err(NotLoaded { reason: "no".to_owned(), files: Vec::new() }));
        assert_eq!(result.unwrap_err().to_string(), "no");
    }
}
