//! `seed.yaml`: tasks on the caches of a checked configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Resolver, origin};
use crate::checked::{Cleanup, Config, Coverage, LevelSelection, Name, RemoveBefore, Seed, SeedConfig};
use crate::findings::Findings;
use crate::load::SeedSelection;
use crate::position::Spanned;
use crate::raw::{self, Selection, Table};

/// What seeds and cleanups have in common.
struct Task {
    caches: Vec<Name>,
    grids: Vec<Name>,
    coverages: Vec<Coverage>,
    levels: LevelSelection,
}

/// The tasks of a `seed.yaml` that are selected; they work on `config`.
pub(crate) fn document(
    raw: &raw::SeedDocument,
    config: &Config,
    selection: &SeedSelection<'_>,
    base_dir: &Path,
    findings: &mut Findings,
    watched: &mut Vec<PathBuf>,
) -> Option<SeedConfig> {
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
    if let Some(views) = &raw.views {
        let message = "`views` are not supported any more: use `seeds`, `cleanups` and `coverages`";
        resolver.findings.error(views.span, "views", message);
    }
    let no_coverages = Table::default();
    let coverages = raw.coverages.as_ref().map_or(&no_coverages, |coverages| &coverages.value);
    let mut seed_config = SeedConfig::default();
    for (name, entry) in raw.seeds.iter().flat_map(|seeds| seeds.value.iter()) {
        if !(selection.seeds)(name) {
            continue;
        }
        let path = format!("seeds.{name}");
        let task = resolver.task(&entry.value.common, coverages, config, &path, "seed");
        let refresh_before = match &entry.value.refresh_before {
            Some(spec) => resolver.since(spec, &format!("{path}.refresh_before")),
            None => None,
        };
        if let Some(Task { caches, grids, coverages, levels }) = task {
            let at = origin(path, entry.value.span);
            seed_config.seeds.push(Seed {
                name: Arc::clone(name),
                at,
                caches,
                grids,
                coverages,
                levels,
                refresh_before,
            });
        }
    }
    for (name, entry) in raw.cleanups.iter().flat_map(|cleanups| cleanups.value.iter()) {
        if !(selection.cleanups)(name) {
            continue;
        }
        let path = format!("cleanups.{name}");
        let task = resolver.task(&entry.value.common, coverages, config, &path, "clean up");
        let all = entry.value.remove_all.as_ref().is_some_and(|all| all.value);
        let remove = match &entry.value.remove_before {
            _ if all => Some(RemoveBefore::All),
            Some(spec) => resolver.since(spec, &format!("{path}.remove_before")).map(RemoveBefore::Before),
            None => Some(RemoveBefore::Start),
        };
        if let (Some(Task { caches, grids, coverages, levels }), Some(remove)) = (task, remove) {
            let at = origin(path, entry.value.span);
            seed_config.cleanups.push(Cleanup { name: Arc::clone(name), at, caches, grids, coverages, levels, remove });
        }
    }
    (!resolver.findings.has_errors()).then_some(seed_config)
}

impl Resolver<'_> {
    /// A time; a section without any is the moment of asking.
    fn since(&mut self, spec: &Spanned<raw::TimeSpec>, path: &str) -> Option<crate::checked::RefreshBefore> {
        let before = self.findings.problems();
        let time = self.time(&spec.value, path);
        if time.is_none() && self.findings.problems() == before {
            return Some(crate::checked::RefreshBefore::Age(std::time::Duration::ZERO));
        }
        time
    }

    fn task(
        &mut self,
        raw: &raw::TaskCommon,
        coverages: &Table<raw::Coverage>,
        config: &Config,
        path: &str,
        verb: &str,
    ) -> Option<Task> {
        let before = self.findings.problems();
        let mut caches = Vec::new();
        for (index, cache) in raw.caches.iter().flat_map(|caches| caches.value.iter()).enumerate() {
            let path = format!("{path}.caches[{index}]");
            match config.caches.get(&cache.value) {
                Some(known) => {
                    if !known.is_kept() {
                        let message = format!("can't {verb} cache {} (disable_storage: true)", cache.value);
                        self.findings.error(cache.span, path, message);
                    }
                    caches.push(Arc::clone(&known.name));
                }
                None => {
                    let names: Vec<&str> = config.caches.keys().map(|name| &**name).collect();
                    let message = format!("cache {} not found. available caches: {}", cache.value, names.join(","));
                    let help = raw::nearest(&cache.value, names).map(|near| format!("did you mean '{near}'?"));
                    self.findings.add(crate::diagnostic::Severity::Error, cache.span, path, message, help);
                }
            }
        }
        let grids = self.task_grids(raw, &caches, config, path);
        let mut areas = Vec::new();
        for (index, name) in raw.coverages.iter().flat_map(|names| names.value.iter()).enumerate() {
            let path = format!("{path}.coverages[{index}]");
            match coverages.get(&name.value) {
                Some(entry) => {
                    if let Ok(coverage) = self.coverage(&entry.value, &format!("coverages.{}", name.value)) {
                        areas.extend(coverage);
                    }
                }
                None => {
                    let names: Vec<&str> = coverages.keys().map(|name| &**name).collect();
                    let message =
                        format!("coverage {} not found. available coverages: {}", name.value, names.join(","));
                    let help = raw::nearest(&name.value, names).map(|near| format!("did you mean '{near}'?"));
                    self.findings.add(crate::diagnostic::Severity::Error, name.span, path, message, help);
                }
            }
        }
        let levels = self.selection(raw, path);
        if self.findings.problems() > before {
            return None;
        }
        Some(Task { caches, grids: grids?, coverages: areas, levels: levels? })
    }

    fn task_grids(&mut self, raw: &raw::TaskCommon, caches: &[Name], config: &Config, path: &str) -> Option<Vec<Name>> {
        let grids_of = |cache: &Name| -> Vec<Name> {
            let cache = config.caches.get(cache);
            cache.iter().flat_map(|cache| cache.grids.iter()).map(|grid| Arc::clone(&grid.grid)).collect()
        };
        if let Some(written) = raw.grids.as_ref().filter(|grids| !grids.value.is_empty()) {
            let mut grids = Vec::new();
            for (index, grid) in written.value.iter().enumerate() {
                if caches.iter().all(|cache| grids_of(cache).contains(&grid.value)) {
                    grids.push(Arc::clone(&grid.value));
                } else {
                    let message = format!("{} not defined for caches", grid.value);
                    self.findings.error(grid.span, format!("{path}.grids[{index}]"), message);
                }
            }
            return Some(grids);
        }
        let mut lists = caches.iter().map(grids_of);
        let first = lists.next().unwrap_or_default();
        if lists.any(|list| list != first) {
            let span = raw.caches.as_ref().map(|caches| caches.span).unwrap_or_default();
            let message = "caches in same seed task require identical grids";
            let help = Some("name the grids with `grids: [...]`, or make a task of each cache".to_owned());
            self.findings.add(crate::diagnostic::Severity::Error, span, path, message, help);
            return None;
        }
        Some(first)
    }

    fn selection(&mut self, raw: &raw::TaskCommon, path: &str) -> Option<LevelSelection> {
        if let Some(levels) = &raw.levels {
            let path = format!("{path}.levels");
            match &levels.value {
                Selection::List(list) if list.is_empty() => {}
                Selection::List(list) => {
                    let mut numbers = Vec::with_capacity(list.len());
                    for level in list {
                        numbers.push(self.whole(level, 0, &path)?);
                    }
                    numbers.sort_unstable();
                    numbers.dedup();
                    return Some(LevelSelection::Levels(numbers));
                }
                Selection::Range(range) => {
                    let from = range.from.as_ref().map(|level| self.whole(level, 0, &path));
                    let to = range.to.as_ref().map(|level| self.whole(level, 0, &path));
                    if from.is_some() || to.is_some() {
                        let (from, to) = (flatten(from)?, flatten(to)?);
                        return Some(LevelSelection::LevelRange(from, to));
                    }
                }
            }
            // An empty selection selects everything, and resolutions do not count beside it.
            return Some(LevelSelection::All);
        }
        let Some(resolutions) = &raw.resolutions else {
            return Some(LevelSelection::All);
        };
        let path = format!("{path}.resolutions");
        match &resolutions.value {
            Selection::List(list) if list.is_empty() => Some(LevelSelection::All),
            Selection::List(list) => {
                let mut numbers = Vec::with_capacity(list.len());
                for res in list {
                    numbers.push(self.positive(res, &path)?);
                }
                Some(LevelSelection::Resolutions(numbers))
            }
            Selection::Range(range) => {
                let from = range.from.as_ref().map(|res| self.positive(res, &path));
                let to = range.to.as_ref().map(|res| self.positive(res, &path));
                if from.is_none() && to.is_none() {
                    return Some(LevelSelection::All);
                }
                Some(LevelSelection::ResolutionRange(flatten(from)?, flatten(to)?))
            }
        }
    }
}

/// `None` inside means it was reported.
fn flatten<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}
