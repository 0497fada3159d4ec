//! Meta tiles: several tiles asked from a source in one request, with a buffer around.

use std::sync::Arc;

use crate::{Bbox, Size, TileCoord, TileGrid};

/// Groups the tiles of a grid.
#[derive(Clone, Debug)]
pub struct MetaGrid {
    grid: Arc<TileGrid>,
    meta_size: (u32, u32),
    buffer: u32,
}

/// Where a tile lies in its meta tile's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePlace {
    /// The tile; `None` outside of the grid.
    pub tile: Option<TileCoord>,
    /// Left edge in the picture, in pixels.
    pub x: i64,
    /// Top edge in the picture, in pixels.
    pub y: i64,
}

/// A meta tile: what to ask and how to cut.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaTile {
    /// The box to ask for, buffer included, in the grid's SRS.
    pub bbox: Bbox,
    /// The picture's pixels, buffer included.
    pub size: Size,
    /// The tile that names the meta tile in locks.
    pub main: TileCoord,
    /// The tiles, row-wise from the north-west.
    pub tiles: Vec<TilePlace>,
}

impl MetaGrid {
    /// Meta tiles of `meta_size` tiles with `buffer` pixels around.
    pub fn new(grid: Arc<TileGrid>, meta_size: (u32, u32), buffer: u32) -> Self {
        MetaGrid { grid, meta_size, buffer }
    }
    /// The grid.
    pub fn grid(&self) -> &Arc<TileGrid> {
        &self.grid
    }
    /// Tiles in x and y of a full meta tile.
    pub fn meta_size(&self) -> (u32, u32) {
        self.meta_size
    }
    /// Pixels around.
    pub fn buffer(&self) -> u32 {
        self.buffer
    }
    /// The meta tile that `tile` belongs to.
    pub fn meta_tile(&self, tile: TileCoord) -> MetaTile {
        let _ = tile;
        todo!()
    }
    /// The tile that names `tile`'s meta tile.
    pub fn main_tile(&self, tile: TileCoord) -> TileCoord {
        let _ = tile;
        todo!()
    }
    /// The smallest meta tile with all of `tiles` (of one level, not empty): for `minimize_meta_requests`.
    pub fn minimal_meta_tile(&self, tiles: &[TileCoord]) -> MetaTile {
        let _ = tiles;
        todo!()
    }
}
