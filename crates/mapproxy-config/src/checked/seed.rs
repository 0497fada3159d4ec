//! `seed.yaml`: what to make beforehand, and what to throw away.

use std::sync::Arc;

use super::Name;
use super::caches::RefreshBefore;
use super::coverage::Coverage;
use crate::position::{Files, Origin};

/// A checked `seed.yaml`.
#[derive(Debug, Clone, Default)]
pub struct SeedConfig {
    /// The files positions point into.
    pub files: Arc<Files>,
    /// `seeds`, in the order written.
    pub seeds: Vec<Seed>,
    /// `cleanups`, in the order written.
    pub cleanups: Vec<Cleanup>,
}

/// Tiles to make.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The key in `seeds`.
    pub name: Name,
    /// Where it was written.
    pub at: Origin,
    /// `caches`: names of caches that exist.
    pub caches: Vec<Name>,
    /// `grids`: keys of grids all the caches have; all grids of the caches if unset.
    pub grids: Vec<Name>,
    /// `coverages`; empty for the whole grid.
    pub coverages: Vec<Coverage>,
    /// `levels` or `resolutions`.
    pub levels: LevelSelection,
    /// `refresh_before`: make existing tiles again that are not younger; `None` makes missing tiles only.
    pub refresh_before: Option<RefreshBefore>,
}

/// Tiles to remove.
#[derive(Debug, Clone)]
pub struct Cleanup {
    /// The key in `cleanups`.
    pub name: Name,
    /// Where it was written.
    pub at: Origin,
    /// `caches`: names of caches that exist.
    pub caches: Vec<Name>,
    /// `grids`: keys of grids all the caches have; all grids of the caches if unset.
    pub grids: Vec<Name>,
    /// `coverages`; empty for the whole grid.
    pub coverages: Vec<Coverage>,
    /// `levels` or `resolutions`.
    pub levels: LevelSelection,
    /// `remove_before` or `remove_all`.
    pub remove: RemoveBefore,
}

/// Which levels of a grid.
#[derive(Debug, Clone, PartialEq)]
pub enum LevelSelection {
    /// All of them.
    All,
    /// These, as far as the grid has them.
    Levels(Vec<u32>),
    /// From one level to another, both included; open where `None`.
    LevelRange(Option<u32>, Option<u32>),
    /// The levels closest to these resolutions.
    Resolutions(Vec<f64>),
    /// From the level closest to one resolution to that closest to another; open where `None`.
    ResolutionRange(Option<f64>, Option<f64>),
}

/// Which tiles a cleanup removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveBefore {
    /// `remove_all: true`: every tile.
    All,
    /// `remove_before`: tiles that are older.
    Before(RefreshBefore),
    /// Nothing given: tiles older than the start of the run.
    Start,
}
