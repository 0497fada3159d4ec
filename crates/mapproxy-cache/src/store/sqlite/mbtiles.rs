//! `type: mbtiles`: all tiles of a grid in one file, in the tables of MBTiles.
//!
//! Rows are the grid's own, as MapProxy has them. MBTiles counts them from the south, so only grids with their origin
//! there make files that other programs show the right way up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, params};

use super::files::{Files, Names};
use super::table::Table;
use super::trouble::Trouble;
use super::{FileOptions, Pool, Schema, SqliteStore, StoreError};
use crate::lock::lock_id;

/// Where and how to keep tiles.
#[derive(Clone, Debug)]
pub struct Mbtiles {
    /// The file.
    pub file: PathBuf,
    /// How it is made and waited for.
    pub options: FileOptions,
    /// What a new file says of itself, as rows of `metadata`.
    pub metadata: Vec<(&'static str, String)>,
}

impl Mbtiles {
    /// The store. Its file is made when the first tile is stored; see [`SqliteStore::create`].
    pub fn open(self, pool: &Arc<Pool>) -> SqliteStore {
        SqliteStore {
            lock_id: lock_id("mbtiles-", &self.file),
            files: Files::new(Arc::clone(pool), Names::One(self.file)),
            table: Table::new("tiles", false),
            schema: Box::new(Tables { has_times: false, metadata: self.metadata }),
            options: self.options,
            ttl: None,
        }
    }
}

/// The tables of MBTiles, with a column for the time of a tile or without.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) has_times: bool,
    pub(super) metadata: Vec<(&'static str, String)>,
}

// The text of a statement becomes part of the file, white space included: these are the ones in MapProxy's files.
const TILES: &str = "CREATE TABLE tiles (\n\
                     \x20                   zoom_level integer,\n\
                     \x20                   tile_column integer,\n\
                     \x20                   tile_row integer,\n\
                     \x20                   tile_data blob\n\
                     \x20           \n";
const TIMES: &str =
    "                    , last_modified datetime DEFAULT (datetime('now','localtime'))\n                \n";
const END: &str = "                )";
const METADATA: &str = "CREATE TABLE metadata (name text, value text)";
const INDEX: &str = "CREATE UNIQUE INDEX idx_tile on tiles\n                    (zoom_level, tile_column, tile_row)";

impl Schema for Tables {
    fn create(&self, connection: &Connection) -> Result<(), Trouble> {
        // In files of others they may be views, and indexes have any name.
        let mut names =
            connection.prepare_cached("SELECT name FROM sqlite_schema WHERE name IN ('tiles', 'metadata')")?;
        let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if !names.iter().any(|name| name == "tiles") {
            let times = if self.has_times { TIMES } else { "" };
            connection.execute(&format!("{TILES}{times}{END}"), [])?;
            if !names.iter().any(|name| name == "metadata") {
                connection.execute(METADATA, [])?;
                for (name, value) in &self.metadata {
                    connection.execute("INSERT INTO metadata (name, value) VALUES (?1, ?2)", params![name, value])?;
                }
            }
            connection.execute(INDEX, [])?;
        }
        Ok(())
    }
}

/// Puts what a file says of itself into it, in place of what it said by these names.
pub fn describe(file: &Path, rows: &[(&str, String)]) -> Result<(), StoreError> {
    let write = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(30))?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (name, value) in rows {
            transaction.execute("DELETE FROM metadata WHERE name = ?1", [name])?;
            transaction.execute("INSERT INTO metadata (name, value) VALUES (?1, ?2)", params![name, value])?;
        }
        transaction.commit()
    };
    write().map_err(|error| StoreError {
        action: "describe",
        what: file.display().to_string(),
        reason: error.to_string(),
    })
}

impl SqliteStore {
    /// Makes the file if there is none, as MapProxy does when it starts; verifies one that is there.
    pub fn create(&self) -> Result<(), StoreError> {
        let entry = self.files.first();
        if entry.database.path().exists() {
            return self.check();
        }
        self.write(&entry, |_| Ok(()))
    }

    /// Whether a file that is there is for these tiles. Files of levels are looked at when they are needed.
    pub fn check(&self) -> Result<(), StoreError> {
        let entry = self.files.first();
        let verdict = self.read(&entry, self.options.timeout, |_| Ok(()));
        self.or_missing(&entry, verdict, ())
    }
}
