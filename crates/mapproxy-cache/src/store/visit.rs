//! Looking at the tiles that are there, without knowing their names before.
//!
//! A store shows what it has in whatever order is cheapest for it, a bounded part of it at a time. Tiles stored or removed
//! meanwhile may be shown or not; all others are shown once. While it shows them a store holds no lock that its writers
//! want, so a visitor may remove what it is shown.

use std::ops::ControlFlow;

use bytes::Bytes;
use mapproxy_grid::TileCoord;

use super::{StoreError, TileMeta};
use crate::TileKey;

/// Which tiles are looked at, and what is wanted of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Tiles of one level; `None`: of all, and also what is no tile but lies among them.
    pub level: Option<u8>,
    /// Only tiles of these columns and rows.
    pub within: Option<Cells>,
    /// What is wanted of each.
    pub detail: Detail,
}

impl Visit {
    /// All that a store has.
    pub fn all(detail: Detail) -> Visit {
        Visit { level: None, within: None, detail }
    }

    /// One level.
    pub fn level(level: u8, detail: Detail) -> Visit {
        Visit { level: Some(level), within: None, detail }
    }

    /// The tile is among those looked at.
    pub fn wants(&self, TileCoord { x, y, z }: TileCoord) -> bool {
        self.level.is_none_or(|level| level == z) && self.within.is_none_or(|cells| cells.contains(x, y))
    }
}

/// What a visitor wants to know of tiles. A store tells more where that costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// That they are there.
    Keys,
    /// Their times and sizes.
    Meta,
    /// The tiles themselves.
    Bytes,
}

/// Columns and rows, the last ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// First column.
    pub min_x: u32,
    /// First row, as the grid counts.
    pub min_y: u32,
    /// Last column.
    pub max_x: u32,
    /// Last row.
    pub max_y: u32,
}

impl Cells {
    /// The tile is one of them.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        (self.min_x..=self.max_x).contains(&x) && (self.min_y..=self.max_y).contains(&y)
    }

    /// They have tiles of these columns and rows in common, the last ones included.
    pub(crate) fn meets(&self, (x0, x1): (u32, u32), (y0, y1): (u32, u32)) -> bool {
        self.min_x <= x1 && x0 <= self.max_x && self.min_y <= y1 && y0 <= self.max_y
    }
}

/// Something that a store has.
#[derive(Clone, Debug)]
pub enum Visited {
    /// A tile.
    Tile(SeenTile),
    /// It is named, but cannot be loaded.
    Broken {
        /// The tile.
        key: TileKey,
        /// What is wrong.
        reason: String,
    },
    /// A part of the store that has tiles of which nothing can be told: a damaged database or bundle.
    Unreadable {
        /// File.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No tile, though it lies where tiles do. Told of only by visits to all levels.
    Foreign {
        /// File, object or row.
        name: String,
    },
    /// Left behind by a process that died, or written right now by another.
    Leftover {
        /// File.
        name: String,
    },
}

/// A tile, as far as was asked for.
///
/// Dimensions are told from names of directories: `TileKey` leads to the tile again, but a value in it may be divided from
/// its name in another place than where it was stored (`model-run-3`).
#[derive(Clone, Debug)]
pub struct SeenTile {
    /// Its name.
    pub key: TileKey,
    /// Time and size.
    pub meta: Option<TileMeta>,
    /// The file.
    pub bytes: Option<Bytes>,
}

/// Who is shown things, one by one.
pub type Visitor<'a> = &'a mut dyn FnMut(Visited) -> ControlFlow<()>;

/// Why a visit ends early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The visitor has seen enough.
    Stopped,
    /// The store cannot go on.
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Halt {
        Halt::Failed(error)
    }
}

/// Shows something, and goes on if the visitor wants to.
pub(crate) fn show(visitor: Visitor<'_>, seen: Visited) -> Result<(), Halt> {
    match visitor(seen) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Halt::Stopped),
    }
}

/// A visit that was ended by the visitor is no failure.
pub(crate) fn ended(result: Result<(), Halt>) -> Result<(), StoreError> {
    match result {
        Ok(()) | Err(Halt::Stopped) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
    }
}
