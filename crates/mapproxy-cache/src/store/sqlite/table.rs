//! A table of tiles and the statements on it.

use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_grid::TileCoord;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::time::{from_local, to_local};
use crate::store::{StoredTile, TileData, TileMeta};

/// A blob larger than this is no tile.
const MAX_TILE_BYTES: usize = 256 << 20;

/// How many tiles one statement removes: others may write in between.
const REMOVED_AT_ONCE: u32 = 2000;

/// The statements on one table of tiles.
#[derive(Debug)]
pub(super) struct Table {
    has_times: bool,
    load: String,
    metadata: String,
    presence: String,
    times: String,
    store: String,
    remove: String,
    remove_some: String,
    remove_old: String,
}

impl Table {
    /// Of the table called `name`; with the times of tiles as `last_modified`, or without.
    pub(super) fn new(name: &str, has_times: bool) -> Table {
        let name = quoted(name);
        let at = "WHERE zoom_level = ?1 AND tile_column = ?2 AND tile_row = ?3";
        let rows = "WHERE zoom_level = ?1 AND tile_column = ?2 AND tile_row BETWEEN ?3 AND ?4";
        let time = if has_times { "last_modified" } else { "NULL" };
        let (times, values) = if has_times { (", last_modified", ", ?5") } else { ("", "") };
        let some = |condition: &str| {
            format!(
                "DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name} WHERE zoom_level = ?1{condition} LIMIT \
                 {REMOVED_AT_ONCE})"
            )
        };
        Table {
            has_times,
            load: format!("SELECT tile_data, {time} FROM {name} {at}"),
            metadata: format!("SELECT length(tile_data), {time} FROM {name} {at}"),
            presence: format!("SELECT tile_row FROM {name} {rows}"),
            times: format!("SELECT tile_row, {time} FROM {name} {rows}"),
            store: format!(
                "INSERT OR REPLACE INTO {name} (zoom_level, tile_column, tile_row, tile_data{times}) \
                 VALUES (?1, ?2, ?3, ?4{values})"
            ),
            remove: format!("DELETE FROM {name} {at}"),
            remove_some: some(""),
            remove_old: some(" AND last_modified <= ?2"),
        }
    }

    pub(super) fn has_times(&self) -> bool {
        self.has_times
    }

    pub(super) fn load(
        &self,
        connection: &Connection,
        TileCoord { x, y, z }: TileCoord,
    ) -> rusqlite::Result<Option<StoredTile>> {
        let mut statement = connection.prepare_cached(&self.load)?;
        let mut rows = statement.query(params![z, x, y])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (ValueRef::Blob(bytes) | ValueRef::Text(bytes)) = row.get_ref(0)? else { return Ok(None) };
        if bytes.is_empty() || bytes.len() > MAX_TILE_BYTES {
            return Ok(None);
        }
        let meta = TileMeta { modified: modified(row)?, size: bytes.len() as u64 };
        Ok(Some(StoredTile { bytes: Bytes::copy_from_slice(bytes), meta }))
    }

    pub(super) fn metadata(
        &self,
        connection: &Connection,
        TileCoord { x, y, z }: TileCoord,
    ) -> rusqlite::Result<Option<TileMeta>> {
        let mut statement = connection.prepare_cached(&self.metadata)?;
        let mut rows = statement.query(params![z, x, y])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let size: Option<u64> = row.get(0)?;
        let modified = modified(row)?;
        Ok(size.filter(|size| *size > 0).map(|size| TileMeta { modified, size }))
    }

    /// The tiles of a column, from one to a row; without times from the index alone.
    pub(super) fn times(
        &self,
        connection: &Connection,
        TileCoord { x, y, z }: TileCoord,
        to: u32,
        with_times: bool,
        mut found: impl FnMut(u32, Option<SystemTime>),
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(if with_times { &self.times } else { &self.presence })?;
        let mut rows = statement.query(params![z, x, y, to])?;
        while let Some(row) = rows.next()? {
            let time = if with_times { modified(row)? } else { None };
            found(row.get(0)?, time);
        }
        Ok(())
    }

    pub(super) fn store(
        &self,
        connection: &Connection,
        TileCoord { x, y, z }: TileCoord,
        tile: &TileData,
        now: &str,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&self.store)?;
        let bytes: &[u8] = &tile.bytes;
        if self.has_times {
            statement.execute(params![z, x, y, bytes, now])?;
        } else {
            statement.execute(params![z, x, y, bytes])?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, connection: &Connection, TileCoord { x, y, z }: TileCoord) -> rusqlite::Result<()> {
        connection.prepare_cached(&self.remove)?.execute(params![z, x, y]).map(drop)
    }

    /// Removes some tiles of a level, all or those of `before` and earlier; `true`: there may be more.
    pub(super) fn remove_some(
        &self,
        connection: &Connection,
        level: u8,
        before: Option<SystemTime>,
    ) -> rusqlite::Result<bool> {
        let removed = match before {
            Some(before) => connection.prepare_cached(&self.remove_old)?.execute(params![level, to_local(before)])?,
            None => connection.prepare_cached(&self.remove_some)?.execute(params![level])?,
        };
        Ok(removed >= REMOVED_AT_ONCE as usize)
    }
}

fn modified(row: &Row<'_>) -> rusqlite::Result<Option<SystemTime>> {
    Ok(match row.get_ref(1)? {
        ValueRef::Text(text) => from_local(text),
        _ => None,
    })
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
