//! The tiles that commands on stored tiles are about: which caches, grids, levels, and where.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use mapproxy_cache::TileManager;
use mapproxy_cache::store::TileStore;
use mapproxy_cache::store::visit::{Detail, Visit, Visited};
use mapproxy_core::AppBuilder;
use mapproxy_core::seed::Caches;
use mapproxy_grid::Coverage;
use mapproxy_seeding::Selection;

use crate::tiles_wanted::{CachesWanted, TilesWanted};
use crate::{FAILED, Failure, MISTAKEN};

/// Options that name stored tiles.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StoredWanted {
    /// The mapproxy.yaml
    #[arg(short = 'f', long = "mapproxy-conf", value_name = "CONF")]
    configuration: Option<PathBuf>,
    #[command(flatten)]
    caches: CachesWanted,
    #[command(flatten)]
    tiles: TilesWanted,
}

/// The stored tiles of one cache in one grid that are meant.
#[derive(Debug)]
pub(crate) struct Part {
    /// The cache in the configuration.
    pub(crate) cache: Arc<str>,
    /// The key of the grid.
    pub(crate) grid: Arc<str>,
    /// The cache in the grid.
    pub(crate) manager: Arc<TileManager>,
    /// Where its tiles are kept.
    pub(crate) store: Arc<dyn TileStore>,
    /// Only these levels, ascending, each one the grid has.
    pub(crate) levels: Option<Vec<u8>>,
    /// Only tiles that meet it.
    pub(crate) coverage: Option<Coverage>,
}

impl StoredWanted {
    /// All parts, in the order of the configuration. Caches that keep no tiles have none.
    pub(crate) fn parts(&self) -> Result<Vec<Part>, Failure> {
        let path = self.configuration.as_ref().ok_or_else(Failure::without_configuration)?;
        let caches = read(path)?;
        self.caches.check(caches.config())?;
        let coverage = self.tiles.area.coverage(caches.config())?;
        let mut parts = Vec::new();
        for cache in caches.names() {
            let is_named = self.caches.caches.iter().any(|name| **name == **cache);
            if !self.caches.caches.is_empty() && !is_named {
                continue;
            }
            for (grid, manager) in grids(&caches, cache)? {
                if !self.caches.wants(cache, grid) {
                    continue;
                }
                let Some(store) = manager.store() else {
                    if is_named {
                        let message = format_args!("ERROR: cache {cache} keeps no tiles (disable_storage: true)");
                        return Err(Failure::new(MISTAKEN, message));
                    }
                    continue;
                };
                parts.push(Part {
                    cache: Arc::clone(cache),
                    grid: Arc::clone(grid),
                    manager: Arc::clone(manager),
                    store: Arc::clone(store),
                    levels: self.tiles.levels.as_ref().map(|levels| {
                        let levels = levels.as_slice().iter().copied();
                        levels.filter(|level| manager.grid().level(*level).is_some()).collect()
                    }),
                    coverage: coverage.clone(),
                });
            }
        }
        Ok(parts)
    }
}

/// The caches of a configuration.
pub(crate) fn read(path: &std::path::Path) -> Result<Caches, Failure> {
    let caches = AppBuilder::from_file(path).caches();
    caches.map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {}", error.diagnostics)))
}

/// The grids of a cache that is there.
#[expect(clippy::type_complexity, reason = "a slice of pairs")]
pub(crate) fn grids<'a>(caches: &'a Caches, cache: &str) -> Result<&'a [(Arc<str>, Arc<TileManager>)], Failure> {
    let grids = caches.get(cache);
    let grids = grids.map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {}", error.diagnostics)))?;
    Ok(grids.unwrap_or_default())
}

impl Part {
    /// Shows all that is meant; where nothing narrows it down, also what lies among tiles and is none.
    pub(crate) fn visit(
        &self,
        detail: Detail,
        visitor: &mut dyn FnMut(Visited) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(FAILED, format_args!("ERROR: cache {}, grid {}: {error}", self.cache, self.grid))
        };
        if self.levels.is_none() && self.coverage.is_none() {
            return self.store.visit(&Visit::all(detail), visitor).map_err(|error| failed(&error));
        }
        let all: Vec<u8> = (0..=u8::MAX).take(self.manager.grid().levels().len()).collect();
        for level in self.levels.as_ref().unwrap_or(&all) {
            let selection = Selection::new(self.manager.grid(), self.coverage.as_ref(), *level);
            let mut selection = selection.map_err(|error| failed(&error))?;
            if selection.is_empty() {
                continue;
            }
            let (mut outcome, mut is_over) = (Ok(()), false);
            let visit = Visit { level: Some(*level), within: selection.cells(), detail };
            let mut chosen = |seen: Visited| {
                let key = match &seen {
                    Visited::Tile(tile) => Some(&tile.key),
                    Visited::Broken { key, .. } => Some(key),
                    Visited::Unreadable { .. } | Visited::Foreign { .. } | Visited::Leftover { .. } => None,
                };
                let is_meant = key.map_or(Ok(true), |key| selection.has(key.coord));
                match is_meant {
                    Ok(false) => ControlFlow::Continue(()),
                    Ok(true) => {
                        let flow = visitor(seen);
                        is_over = flow.is_break();
                        flow
                    }
                    Err(error) => {
                        outcome = Err(failed(&error));
                        ControlFlow::Break(())
                    }
                }
            };
            self.store.visit(&visit, &mut chosen).map_err(|error| failed(&error))?;
            outcome?;
            if is_over {
                break;
            }
        }
        Ok(())
    }
}
