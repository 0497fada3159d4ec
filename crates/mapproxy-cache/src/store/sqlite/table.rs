//! A table of tiles and the statements on it.

use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_grid::TileCoord;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Row, params};

use super::time::{from_local, to_local};
use crate::store::visit::{Cells, Detail, Visit};
use crate::store::{StoredTile, TileData, TileMeta};

/// A blob larger than this is no tile.
const MAX_TILE_BYTES: usize = 256 << 20;

/// How many tiles one statement removes: others may write in between.
const REMOVED_AT_ONCE: u32 = 10_000;

/// Bytes of tiles that a list has in memory, but for the last one.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Level, column and row as they are in a table, be they what they may.
#[derive(Clone, Debug)]
pub(super) struct After(pub(super) SqlValue, pub(super) SqlValue, pub(super) SqlValue);

/// A row of a list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) place: After,
    pub(super) content: Content,
    pub(super) modified: Option<SystemTime>,
}

/// What a row has, as far as was asked for.
#[derive(Debug)]
pub(super) enum Content {
    Unknown,
    Size(u64),
    Bytes(Bytes),
    /// No tile.
    Unusable,
}

impl After {
    /// Before all tiles: of a level, of columns from `min_x` on.
    pub(super) fn beginning(level: Option<u8>, min_x: u32) -> After {
        let level = level.map_or(-1, i64::from);
        After(SqlValue::Integer(level), SqlValue::Integer(i64::from(min_x) - 1), SqlValue::Integer(i64::MAX))
    }

    /// The tile, if it is one.
    pub(super) fn coord(&self) -> Option<TileCoord> {
        let After(SqlValue::Integer(z), SqlValue::Integer(x), SqlValue::Integer(y)) = self else { return None };
        Some(TileCoord::new(u32::try_from(*x).ok()?, u32::try_from(*y).ok()?, u8::try_from(*z).ok()?))
    }
}

impl std::fmt::Display for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let After(z, x, y) = self;
        let text = |value: &SqlValue| match value {
            SqlValue::Null => "NULL".to_owned(),
            SqlValue::Integer(number) => number.to_string(),
            SqlValue::Real(number) => number.to_string(),
            SqlValue::Text(text) => format!("{text:?}"),
            SqlValue::Blob(_) => "a blob".to_owned(),
        };
        write!(f, "level {}, column {}, row {}", text(z), text(x), text(y))
    }
}

/// The statements on one table of tiles.
#[derive(Debug)]
pub(super) struct Table {
    /// As SQL has it.
    name: String,
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
            name,
        }
    }

    /// The statement that lists tiles after one, in the order of the index: `?1` to `?3` is that tile, `?4` how many.
    /// Nothing stays locked between two lists, and each is one look into the index.
    fn list(&self, level: Option<u8>, within: Option<Cells>, detail: Detail) -> String {
        let Table { name, .. } = self;
        let after = match level {
            Some(_) => "zoom_level = ?1 AND (tile_column, tile_row) > (?2, ?3)",
            None => "(zoom_level, tile_column, tile_row) > (?1, ?2, ?3)",
        };
        let time = if self.has_times { "last_modified" } else { "NULL" };
        let columns = match detail {
            Detail::Keys => "NULL, NULL".to_owned(),
            Detail::Meta => format!("length(tile_data), {time}"),
            Detail::Bytes => format!("tile_data, {time}"),
        };
        let mut cells = String::new();
        if let Some(Cells { min_x, min_y, max_x, max_y }) = within {
            cells = format!(
                " AND tile_column >= {min_x} AND tile_column <= {max_x} AND tile_row >= {min_y} AND tile_row <= {max_y}"
            );
        }
        format!(
            "SELECT {columns}, zoom_level, tile_column, tile_row FROM {name} WHERE {after}{cells} ORDER BY zoom_level, \
             tile_column, tile_row LIMIT ?4"
        )
    }

    /// Some of the tiles after one, and where to go on; `None`: these are the last.
    pub(super) fn some(
        &self,
        connection: &Connection,
        wanted: &Visit,
        after: &After,
    ) -> rusqlite::Result<(Vec<Listed>, Option<After>)> {
        let limit = if wanted.detail == Detail::Bytes { 256 } else { 4096 };
        let sql = self.list(wanted.level, wanted.within, wanted.detail);
        let mut statement = connection.prepare_cached(&sql)?;
        let After(z, x, y) = after;
        let mut rows = statement.query(params![z, x, y, limit])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let place = After(row.get(2)?, row.get(3)?, row.get(4)?);
            let content = match (wanted.detail, row.get_ref(0)?) {
                (Detail::Bytes, ValueRef::Blob(blob) | ValueRef::Text(blob)) if blob.len() <= MAX_TILE_BYTES => {
                    bytes += blob.len();
                    Content::Bytes(Bytes::copy_from_slice(blob))
                }
                (Detail::Meta, ValueRef::Integer(size)) => Content::Size(u64::try_from(size).unwrap_or(0)),
                (Detail::Keys, _) => Content::Unknown,
                _ => Content::Unusable,
            };
            found.push(Listed { place, content, modified: modified(row)? });
            if bytes > BYTES_AT_ONCE {
                break;
            }
        }
        let last = found.last().map(|row| row.place.clone());
        let may_be_more = found.len() >= limit || bytes > BYTES_AT_ONCE;
        Ok((found, last.filter(|_| may_be_more)))
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
            let own = tile.modified.map(to_local);
            statement.execute(params![z, x, y, bytes, own.as_deref().unwrap_or(now)])?;
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
