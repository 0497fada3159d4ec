//! Tiles as files.

use std::path::PathBuf;

use super::layout::Layout;
use super::{Capabilities, StoreError, StoredTile, TileData, TileStore};
use crate::{Permissions, TileKey};

/// `link_single_color_images`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LinkSingleColor {
    /// Each tile is a file.
    #[default]
    Off,
    /// Relative symbolic links.
    Symlink,
    /// Hard links.
    Hardlink,
}

/// Tiles as files below one directory.
#[derive(Debug)]
pub struct FileStore {
    /// The directory.
    pub directory: PathBuf,
    /// Extension of the files, without dot.
    pub extension: String,
    /// Names of the files.
    pub layout: Layout,
    /// Links for tiles of one colour.
    pub link_single_color: LinkSingleColor,
    /// Of new files and directories.
    pub permissions: Permissions,
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for FileStore {
    fn capabilities(&self) -> Capabilities {
        todo!()
    }
    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let _ = key;
        todo!()
    }
    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        let _ = (key, tile);
        todo!()
    }
    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let _ = key;
        todo!()
    }
    fn metadata(&self, key: &TileKey) -> Result<Option<super::TileMeta>, StoreError> {
        let _ = key;
        todo!()
    }
    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        keys.iter().map(|key| self.load(key)).collect()
    }
    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        tiles.iter().try_for_each(|(key, tile)| self.store(key, tile))
    }
}
