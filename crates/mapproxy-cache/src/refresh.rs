//! When a kept tile is too old (`refresh_before`).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Tiles stored at or before a moment are created anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshBefore {
    /// A fixed moment.
    Time(SystemTime),
    /// So long ago, counted from each request.
    Age(Duration),
    /// The modification time of a file, read at each request.
    FileModified(PathBuf),
}
