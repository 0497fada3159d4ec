//! A piece of work: what one question upstream brings.

use mapproxy_grid::TileCoord;

/// The tiles of a meta tile that a task wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// How many pieces come before it in the walk of its task: names it within the task, in every run and on every
    /// machine, as long as the task stays the same.
    pub number: u64,
    /// The tile that names the meta tile in locks.
    pub main: TileCoord,
    /// The tiles, row-wise from the north-west; none outside of the grid.
    pub tiles: Vec<TileCoord>,
}

/// A piece of work that somebody has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is to be done.
    pub work: Work,
    /// What the agenda knows the claim by.
    pub id: String,
}
