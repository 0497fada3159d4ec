//! `type: sqlite`: a file for each level, with the time of each tile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, Names};
use super::mbtiles::Tables;
use super::table::Table;
use super::{FileOptions, Pool, SqliteStore};
use crate::lock::lock_id;

/// Where and how to keep tiles.
#[derive(Clone, Debug)]
pub struct Levels {
    /// The directory of the files.
    pub directory: PathBuf,
    /// How they are made and waited for.
    pub options: FileOptions,
    /// `ttl`: tiles older than this are not seen; they stay in the file.
    pub ttl: Option<Duration>,
}

impl Levels {
    /// The store. A level's file is made when its first tile is stored.
    pub fn open(self, pool: &Arc<Pool>) -> SqliteStore {
        SqliteStore {
            lock_id: lock_id("sqlite-", &self.directory),
            files: Files::new(Arc::clone(pool), Names::Levels { directory: self.directory, extension: "mbtiles" }),
            table: Table::new("tiles", true),
            schema: Box::new(Tables { has_times: true, metadata: Vec::new() }),
            options: self.options,
            ttl: self.ttl,
        }
    }
}
