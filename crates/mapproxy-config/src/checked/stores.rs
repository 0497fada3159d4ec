//! Where the tiles of a cache in one grid are kept: all paths and keys complete.
//!
//! The text of paths is what MapProxy makes of the configuration, `./` and `..` included: names of lock files are hashes
//! of it, and a Python MapProxy on the same directory has to come to the same.

use std::path::{Path, PathBuf};

/// Where tiles are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum CacheStore {
    /// `disable_storage: true`: nowhere.
    Disabled,
    /// `type: file`.
    File(FileStore),
    /// `type: custom`: made by the program around us.
    Custom(CustomStore),
}

impl CacheStore {
    /// The directory that tiles are written to, for stores of files.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            CacheStore::Disabled => None,
            CacheStore::File(file) => Some(&file.directory),
            CacheStore::Custom(custom) => Some(&custom.directory),
        }
    }
}

/// `type: file`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileStore {
    /// The directory of the tiles.
    pub directory: PathBuf,
    /// `directory_layout`.
    pub layout: FileLayout,
}

/// `type: custom`.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomStore {
    /// Where a file cache would keep its tiles.
    pub directory: PathBuf,
}

/// How the path of a tile is made of its coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FileLayout {
    /// `tc`, that of TileCache: thousands in directories.
    #[default]
    Tc,
    /// `mp`: ten thousands in directories.
    Mp,
    /// `tms`: `z/x/y`.
    Tms,
    /// `reverse_tms`: `y/x/z`.
    ReverseTms,
    /// `quadkey`.
    Quadkey,
    /// `arcgis`: `Lzz/Ryyyyyyyy/Cxxxxxxxx`.
    Arcgis,
}
