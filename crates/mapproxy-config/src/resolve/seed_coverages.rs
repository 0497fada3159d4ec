//! The coverages of a `seed.yaml`, whether tasks use them or not: for programs that look at an area.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::Resolver;
use crate::checked::{Config, Coverage, Name};
use crate::findings::Findings;
use crate::raw;

/// Those that are not empty, by name.
pub(crate) fn coverages(
    raw: &raw::SeedDocument,
    config: &Config,
    base_dir: &Path,
    findings: &mut Findings,
    watched: &mut Vec<PathBuf>,
) -> IndexMap<Name, Coverage> {
    let mut resolver = Resolver {
        base_dir,
        main_dir: &config.base_dir,
        findings,
        files: watched,
        raw_globals: &super::NO_GLOBALS,
        globals: config.globals.clone(),
        broken_grids: Vec::new(),
        without_layers: rustc_hash::FxHashMap::default(),
        data_caches: rustc_hash::FxHashSet::default(),
    };
    let mut coverages = IndexMap::new();
    for (name, entry) in raw.coverages.iter().flat_map(|coverages| coverages.value.iter()) {
        if let Ok(Some(coverage)) = resolver.coverage(&entry.value, &format!("coverages.{name}")) {
            coverages.insert(Arc::clone(name), coverage);
        }
    }
    coverages
}
