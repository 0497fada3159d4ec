//! What SQLite's errors mean for a store.

use std::io;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::fs::explain;

/// Why a database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// Somebody else had it locked all the time.
    #[error("another process or thread had it locked all the time; a longer sqlite_timeout waits longer")]
    Busy,
    /// A table is not there.
    #[error("{0}; it is not a file of this kind, or not a finished one")]
    NoTable(String),
    /// Damaged, or no database.
    #[error(
        "{0}; the file is damaged or no database: move it away and its tiles will be made anew, or restore what can be \
         restored with `sqlite3 FILE .recover`"
    )]
    Corrupt(String),
    /// Another process was interrupted while it wrote, and only one who may write can tidy up.
    #[error("{0}; what an interrupted program left unfinished in it can be tidied up only with permission to write")]
    NeedsWriter(String),
    /// No permission.
    #[error("{0}; check owner and mode of the file and its directory")]
    Denied(String),
    /// No space.
    #[error("{0}; free some space")]
    Full(String),
    /// It is for other tiles than those wanted.
    #[error("{0}")]
    Unsuitable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        let rusqlite::Error::SqliteFailure(code, message) = &error else { return Trouble::Other(error.to_string()) };
        let text = message.clone().unwrap_or_else(|| code.to_string());
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Trouble::Corrupt(text),
            ErrorCode::DiskFull => Trouble::Full(text),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Trouble::Denied(text),
            ErrorCode::ReadOnly => match code.extended_code {
                ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY => Trouble::NeedsWriter(text),
                _ => Trouble::Denied(text),
            },
            // A file cut off in the middle of a page.
            ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHORT_READ => Trouble::Corrupt(text),
            _ if text.starts_with("no such table") => Trouble::NoTable(text),
            _ => Trouble::Other(text),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::NotFound => Trouble::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full(error.to_string()),
            io::ErrorKind::PermissionDenied => Trouble::Denied(error.to_string()),
            _ => Trouble::Other(explain(&error)),
        }
    }
}
