//! Locks that keep two workers from rendering the same meta tile.

use std::path::PathBuf;
use std::time::Duration;

use crate::Permissions;

/// Locks tiles: between threads in memory, between processes (a Python MapProxy's included) by lock files.
#[derive(Debug)]
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
