//! A lock for each cache that a seeder works on: `--use-cache-lock`.
//!
//! The file and its table are MapProxy's, so that both programs see each other's locks: a row for each cache that is worked
//! on, with the process that does. The row of a process that has died counts for nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

/// The locks in one file.
#[derive(Clone, Debug)]
pub struct CacheLocks {
    path: PathBuf,
    pid: u32,
}

/// Nobody else works on the cache as long as this is held.
#[derive(Debug)]
pub struct CacheLock {
    locks: CacheLocks,
    cache: String,
}

/// Locks that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock caches with {}: {error}", path.display())]
pub struct CacheLockError {
    path: PathBuf,
    error: rusqlite::Error,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS cache_locks (
    cache_name TEXT NOT NULL,
    created REAL NOT NULL,
    pid INTEGER NUT NULL
)";

impl CacheLocks {
    /// The locks in the file `path`, which is made when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> CacheLocks {
        CacheLocks { path: path.into(), pid: std::process::id() }
    }

    /// The lock of the cache; `None`: another process works on it.
    pub fn lock(&self, cache: &str) -> Result<Option<CacheLock>, CacheLockError> {
        let lock = || {
            let mut connection = open(&self.path)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(TABLE, [])?;
            let holder: Option<u32> = transaction
                .query_row("SELECT pid FROM cache_locks WHERE cache_name = ?", [cache], |row| row.get(0))
                .optional()?;
            if holder.is_some_and(|pid| pid != self.pid && is_alive(pid)) {
                return Ok(false);
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            transaction.execute("DELETE FROM cache_locks WHERE cache_name = ?", [cache])?;
            transaction.execute("INSERT INTO cache_locks VALUES (?, ?, ?)", params![cache, now, self.pid])?;
            transaction.commit()?;
            Ok(true)
        };
        match lock() {
            Ok(true) => Ok(Some(CacheLock { locks: self.clone(), cache: cache.to_owned() })),
            Ok(false) => Ok(None),
            Err(error) => Err(CacheLockError { path: self.path.clone(), error }),
        }
    }
}

impl Drop for CacheLock {
    fn drop(&mut self) {
        let CacheLocks { path, pid } = &self.locks;
        let unlock = || {
            let params = params![self.cache, pid];
            open(path)?.execute("DELETE FROM cache_locks WHERE cache_name = ? AND pid = ?", params)
        };
        if let Err(error) = unlock() {
            // It ends with this process at the latest.
            log::warn!(target: "mapproxy.seed.cachelock", "cannot unlock cache {}: {}: {error}", self.cache, path.display());
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process of somebody else's is alive, too, though we may not send it signals.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn is_alive(_pid: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_locked_for_other_processes_until_the_lock_is_dropped_or_its_holder_dies() {
        let directory = tempfile::tempdir().unwrap();
        let ours = CacheLocks::new(directory.path().join("locks"));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let theirs = CacheLocks { pid: child.id(), ..ours.clone() };

        let lock = ours.lock("osm").unwrap().unwrap();
        assert!(theirs.lock("osm").unwrap().is_none());
        assert!(theirs.lock("another").unwrap().is_some());
        drop(lock);
        let lock = theirs.lock("osm").unwrap().unwrap();
        assert!(ours.lock("osm").unwrap().is_none());

        std::mem::forget(lock);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ours.lock("osm").unwrap().is_some(), "the dead hold no locks");
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        std::fs::write(&path, "no database, but long enough to have a header that can be looked at: ".repeat(9))
            .unwrap();
        let error = CacheLocks::new(&path).lock("osm").unwrap_err().to_string();
        assert!(error.starts_with("cannot lock caches with ") && error.contains("locks: "), "{error}");
    }
}
