//! All databases that are open, so that together they take no more than a bounded number of file descriptors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rusqlite::Connection;

use super::database::Database;

/// Open databases of one application. When one connection too many is opened, idle ones of the databases that were not
/// used for the longest time are closed.
#[derive(Debug)]
pub struct Pool {
    limit: usize,
    open: AtomicUsize,
    born: Instant,
    databases: Mutex<HashMap<PathBuf, Weak<Database>>>,
}

/// How many connections stay open. Each takes one file descriptor, or two with a write-ahead log.
const OPEN_CONNECTIONS: usize = 200;

impl Default for Pool {
    fn default() -> Pool {
        Pool::new(OPEN_CONNECTIONS)
    }
}

impl Pool {
    /// A pool that keeps at most `limit` connections open while they are idle.
    pub fn new(limit: usize) -> Pool {
        Pool { limit, open: AtomicUsize::new(0), born: Instant::now(), databases: Mutex::default() }
    }

    /// The database of a file: the same one for all that ask, so that a file has one writer.
    pub(super) fn database(self: &Arc<Self>, path: &Path) -> Arc<Database> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = databases.get(path).and_then(Weak::upgrade) {
            return database;
        }
        if databases.len().is_power_of_two() {
            databases.retain(|_, database| database.strong_count() > 0);
        }
        let database = Arc::new(Database::new(path.to_owned(), Arc::clone(self)));
        databases.insert(path.to_owned(), Arc::downgrade(&database));
        database
    }

    /// Milliseconds since the pool was made: a clock that never goes back.
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts a connection about to be opened.
    pub(super) fn permit(self: &Arc<Self>) -> Permit {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.close_idle();
        }
        Permit { pool: Arc::clone(self) }
    }

    fn close_idle(&self) {
        let mut databases: Vec<_> = {
            let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
            databases.values().filter_map(Weak::upgrade).collect()
        };
        databases.sort_by_key(|database| database.last_used());
        for database in databases {
            if self.open.load(Ordering::Relaxed) <= self.limit {
                return;
            }
            database.close_idle();
        }
    }
}

/// One of the pool's connections.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Arc<Pool>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open connection, counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// Dropped before it is counted as closed.
    pub(super) connection: Connection,
    pub(super) _permit: Permit,
}
