//! GeoPackage (OGC 12-128): geometries in the tables of an SQLite database. Conditions and queries are SQLite's.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::bytes::Bytes;
use crate::{Collector, Error, Found, Trouble, broken, is_query, wkb};

pub(crate) fn read(path: &Path, condition: Option<&str>) -> Result<Found, Trouble> {
    let database = open(path).map_err(|error| broken(path, in_words(&error)))?;
    let query = match condition {
        Some(query) if is_query(query) => query.to_owned(),
        _ => {
            let (table, column) = first_layer(&database)
                .map_err(|error| broken(path, in_words(&error)))?
                .ok_or_else(|| broken(path, "a GeoPackage without a layer of features"))?;
            let rows = format!("SELECT {} FROM {}", quoted(&column), quoted(&table));
            match condition {
                // On a line of its own, so that a comment in it ends there.
                Some(condition) => format!("{rows} WHERE ({condition}\n)"),
                None => rows,
            }
        }
    };
    let mut statement = match (database.prepare(&query), condition) {
        (Ok(statement), _) => statement,
        // Functions of GDAL or SpatiaLite.
        (Err(error), Some(condition)) if error.to_string().contains("no such function") => {
            return Err(Trouble::Beyond(format!("the condition `{condition}`")));
        }
        (Err(error), Some(condition)) => {
            return Err(Error::Condition { condition: condition.to_owned(), what: in_words(&error) }.into());
        }
        (Err(error), None) => return Err(broken(path, in_words(&error)).into()),
    };
    if !statement.readonly() {
        let what = "it would change the data".to_owned();
        return Err(Error::Condition { condition: condition.unwrap_or_default().to_owned(), what }.into());
    }
    let columns = statement.column_count();
    let failed = |error: rusqlite::Error| match condition {
        Some(condition) => Error::Condition { condition: condition.to_owned(), what: in_words(&error) },
        None => broken(path, in_words(&error)),
    };
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Collector::default();
    let mut number = 0_u64;
    let mut has_geometries = false;
    while let Some(row) = rows.next().map_err(failed)? {
        number += 1;
        // The column of the layer, or the first of a query that holds geometries.
        for column in 0..columns {
            let Ok(ValueRef::Blob(blob)) = row.get_ref(column) else { continue };
            if blob.starts_with(b"GP") {
                has_geometries = true;
                collect(blob, &mut found)
                    .map_err(|wrong| wrong.trouble(|what| broken(path, format!("row {number}: {what}"))))?;
                break;
            }
        }
    }
    if number > 0 && !has_geometries && condition.is_some_and(is_query) {
        let what = "none of its columns holds geometries".to_owned();
        return Err(Error::Condition { condition: condition.unwrap_or_default().to_owned(), what }.into());
    }
    Ok(found.found())
}

/// Only the geometries, each with its length before it: for fuzzing.
pub(crate) fn parse_geometries(path: &Path, data: &[u8]) -> Result<Found, Trouble> {
    let mut found = Collector::default();
    let mut bytes = Bytes::new(data);
    while let Some(length) = bytes.array().map(u16::from_le_bytes) {
        let blob = bytes.take((length as usize).min(bytes.left())).unwrap_or_default();
        collect(blob, &mut found).map_err(|wrong| wrong.trouble(|what| broken(path, what)))?;
    }
    Ok(found.found())
}

/// A file in a directory that cannot be written to is read as it is, whatever its journal.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags)?;
    match opened.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())) {
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::CannotOpen => {
            let mut address = String::from("file:");
            for byte in path.as_os_str().as_encoded_bytes() {
                match byte {
                    b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                        address.push(char::from(*byte))
                    }
                    other => address.push_str(&format!("%{other:02x}")),
                }
            }
            Connection::open_with_flags(address + "?immutable=1", flags | OpenFlags::SQLITE_OPEN_URI)
        }
        Err(error) => Err(error),
        Ok(()) => {
            opened.busy_timeout(std::time::Duration::from_secs(10))?;
            Ok(opened)
        }
    }
}

/// Table and column of the layer that GDAL calls the first.
fn first_layer(database: &Connection) -> rusqlite::Result<Option<(String, String)>> {
    let query = "SELECT c.table_name, g.column_name FROM gpkg_contents c JOIN gpkg_geometry_columns g \
                 ON lower(g.table_name) = lower(c.table_name) WHERE c.data_type = 'features' ORDER BY c.rowid LIMIT 1";
    match database.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))) {
        Ok(layer) => Ok(Some(layer)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(error),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Without the query, which is told apart.
fn in_words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

/// A header, perhaps with boxes, then well-known binary.
fn collect(blob: &[u8], found: &mut Collector) -> Result<(), wkb::Wrong> {
    const CUT_OFF: wkb::Wrong = wkb::Wrong::Broken("a geometry is cut off");
    let flags = *blob.get(3).ok_or(CUT_OFF)?;
    if flags & 0b0010_0000 != 0 {
        return Err(wkb::Wrong::Broken("a geometry of a private extension"));
    }
    let boxes = match (flags >> 1) & 7 {
        0 => 0,
        1 => 32,
        2 | 3 => 48,
        4 => 64,
        _ => return Err(wkb::Wrong::Broken("a geometry has an unknown header")),
    };
    if flags & 0b0001_0000 != 0 {
        return Ok(()); // empty
    }
    wkb::read(blob.get(8 + boxes..).ok_or(CUT_OFF)?, found)
}
