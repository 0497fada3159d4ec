//! Caches without services, and the tasks of a `seed.yaml` on them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mapproxy_cache::{Rescaling, TileManager};
use mapproxy_config::checked::{self, LevelSelection, Name, RemoveBefore};
use mapproxy_config::{Config, Diagnostics, Origin, SeedSelection};
use mapproxy_grid::{Coverage, TileGrid};
use mapproxy_seeding::{CleanupTask, Refresh, Remove, SeedTask};

use super::coverages::NoCoverage;
use super::{AppBuilder, BuildError, Extras, Parts};

/// The caches of a configuration, whether layers show them or not: for programs that work on tiles and serve nothing.
#[derive(Debug)]
pub struct Caches {
    config: Config,
    built: HashMap<Name, Option<ByGrid>>,
    diagnostics: Diagnostics,
    files: Vec<PathBuf>,
}

/// The tiles of a cache by the key of the grid.
type ByGrid = Vec<(Name, Arc<TileManager>)>;

/// What a `seed.yaml` asks for.
#[derive(Clone, Debug)]
pub struct Tasks {
    /// Tiles to make, in the order of the names asked for or of the file; for each grid, each cache.
    pub seeds: Vec<Planned<SeedTask>>,
    /// Tiles to remove, in the same order.
    pub cleanups: Vec<Planned<CleanupTask>>,
    /// Warnings; no errors.
    pub diagnostics: Diagnostics,
}

/// A task, or the name of one whose coverage has no area.
#[derive(Clone, Debug)]
pub enum Planned<T> {
    /// There is something to do.
    Task(T),
    /// The coverage of the task with this name is empty.
    Empty(Name),
}

/// Which tasks of a `seed.yaml` are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selected {
    /// All of them.
    #[default]
    All,
    /// Those with these names.
    Named(Vec<String>),
    /// None.
    Nothing,
}

/// Why there are no tasks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TasksError {
    /// Names that are no tasks.
    #[error("unknown {kind} tasks: {}\navailable {kind} tasks: {}", unknown.join(", "), available.join(", "))]
    Unknown {
        /// `seed` or `cleanup`.
        kind: &'static str,
        /// What was asked for.
        unknown: Vec<String>,
        /// What there is.
        available: Vec<Name>,
    },
    /// The file, or a cache that tasks are for, has mistakes.
    #[error(transparent)]
    Mistakes(#[from] BuildError),
}

impl AppBuilder {
    /// Reads and checks the configuration, and builds its caches. One that cannot be built is an error only for who asks
    /// for it.
    pub fn caches(&self) -> Result<Caches, BuildError> {
        let loaded = self.load();
        let Some(config) = loaded.config else {
            return Err(BuildError { diagnostics: loaded.diagnostics, files: loaded.files });
        };
        let parts = Parts::new(&config, self.extras.clone());
        let mut built = HashMap::new();
        for cache in config.caches.values() {
            let grids = || cache.grids.iter().map(|grid| Arc::clone(&grid.grid));
            let managers = parts.cache(&cache.name).map(|cache| grids().zip(cache.managers.iter().cloned()).collect());
            built.insert(Arc::clone(&cache.name), managers);
        }
        let mut diagnostics = loaded.diagnostics;
        diagnostics.0.extend(parts.diagnostics.into_inner());
        Ok(Caches { config, built, diagnostics, files: loaded.files })
    }
}

impl Caches {
    /// The configuration they are built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Warnings, and the errors of caches that could not be built.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// The names of all caches, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.config.caches.keys()
    }

    /// The tiles of a cache by the keys of its grids, in the order of the configuration. `Ok(None)`: there is no such
    /// cache; an error: it cannot be built.
    #[expect(clippy::type_complexity, reason = "a slice of pairs, there or not")]
    pub fn get(&self, cache: &str) -> Result<Option<&[(Name, Arc<TileManager>)]>, BuildError> {
        match self.built.get(cache) {
            None => Ok(None),
            Some(Some(managers)) => Ok(Some(managers)),
            Some(None) => Err(self.broken(cache)),
        }
    }

    /// The tiles of a cache in the grid with this key.
    pub fn manager(&self, cache: &str, grid: &str) -> Result<Option<&Arc<TileManager>>, BuildError> {
        let managers = self.get(cache)?.unwrap_or_default();
        Ok(managers.iter().find(|(name, _)| **name == *grid).map(|(_, manager)| manager))
    }

    /// The tasks of the `seed.yaml` in the file `path`. `now` is the moment that ages count back from.
    pub fn tasks(
        &self,
        path: &Path,
        seeds: &Selected,
        cleanups: &Selected,
        now: SystemTime,
    ) -> Result<Tasks, TasksError> {
        let selection = SeedSelection { seeds: &|name| seeds.has(name), cleanups: &|name| cleanups.has(name) };
        let loaded = mapproxy_config::load_seed_selected(path, &self.config, &selection);
        if loaded.config.is_some() || !(loaded.seed_names.is_empty() && loaded.cleanup_names.is_empty()) {
            seeds.check("seed", &loaded.seed_names)?;
            cleanups.check("cleanup", &loaded.cleanup_names)?;
        }
        let Some(seed_config) = loaded.config else {
            return Err(BuildError { diagnostics: loaded.diagnostics, files: loaded.files }.into());
        };
        // Places in the tasks' coverages are places in the seed.yaml.
        let config = Config { files: Arc::clone(&seed_config.files), ..self.config.clone() };
        let planner = Planner { caches: self, parts: Parts::new(&config, Extras::default()), now };
        let mut tasks = Tasks { seeds: Vec::new(), cleanups: Vec::new(), diagnostics: Diagnostics::default() };
        let mut broken = Vec::new();
        for seed in seeds.in_order(&seed_config.seeds, |seed| &seed.name) {
            broken.extend(planner.seed(seed, &mut tasks.seeds).err());
        }
        for cleanup in cleanups.in_order(&seed_config.cleanups, |cleanup| &cleanup.name) {
            broken.extend(planner.cleanup(cleanup, &mut tasks.cleanups).err());
        }
        let mut diagnostics = loaded.diagnostics;
        diagnostics.0.extend(planner.parts.diagnostics.into_inner());
        if let Some(error) = broken.into_iter().next() {
            diagnostics.0.extend(error.diagnostics.0);
        }
        if diagnostics.has_errors() {
            return Err(BuildError { diagnostics, files: loaded.files }.into());
        }
        Ok(Tasks { diagnostics, ..tasks })
    }

    /// All that is wrong, since one mistake may keep several caches from being built.
    fn broken(&self, cache: &str) -> BuildError {
        let mut diagnostics = Diagnostics(self.diagnostics.errors().cloned().collect());
        if diagnostics.0.is_empty() {
            let at = self.config.caches.get(cache).map(|cache| cache.at.clone()).unwrap_or_default();
            diagnostics.0.push(self.config.error(&at, format!("cache {cache} cannot be built")));
        }
        BuildError { diagnostics, files: self.files.clone() }
    }
}

impl Selected {
    fn has(&self, name: &str) -> bool {
        match self {
            Selected::All => true,
            Selected::Named(names) => names.iter().any(|known| known == name),
            Selected::Nothing => false,
        }
    }

    /// In the order of the names, each once, or in that of the file.
    fn in_order<'t, T>(&self, tasks: &'t [T], name: impl Fn(&T) -> &str) -> Vec<&'t T> {
        let mut order: Vec<&T> = tasks.iter().collect();
        if let Selected::Named(names) = self {
            order.sort_by_key(|task| names.iter().position(|known| known == name(task)));
        }
        order
    }

    fn check(&self, kind: &'static str, available: &[Name]) -> Result<(), TasksError> {
        let Selected::Named(names) = self else { return Ok(()) };
        let is_unknown = |name: &&String| !available.iter().any(|known| **known == ***name);
        let unknown: Vec<String> = names.iter().filter(is_unknown).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(TasksError::Unknown { kind, unknown, available: available.to_vec() })
    }
}

/// Makes tasks of what is configured.
struct Planner<'a> {
    caches: &'a Caches,
    parts: Parts<'a>,
    now: SystemTime,
}

/// Where a task works.
struct Place {
    manager: Arc<TileManager>,
    levels: Vec<u8>,
}

impl Planner<'_> {
    fn seed(&self, seed: &checked::Seed, tasks: &mut Vec<Planned<SeedTask>>) -> Result<(), BuildError> {
        let refresh = match &seed.refresh_before {
            None => Some(Refresh::Missing),
            Some(before) => self.moment(before, &seed.at).map(Refresh::Before),
        };
        let coverage = self.area(&seed.coverages);
        for Place { manager, levels } in self.work(&seed.caches, &seed.grids, &seed.levels)? {
            let (Some(refresh), Ok(coverage)) = (refresh, &coverage) else { return Ok(()) };
            let Some(coverage) = coverage else {
                tasks.push(Planned::Empty(Arc::clone(&seed.name)));
                continue;
            };
            let coverage = in_grid(coverage.as_ref(), &manager);
            let task = |levels: Vec<u8>| {
                Planned::Task(SeedTask {
                    name: Arc::clone(&seed.name),
                    manager: Arc::clone(&manager),
                    levels,
                    coverage: coverage.clone(),
                    refresh,
                    skip_geoms_for_last_levels: 0,
                })
            };
            // Tiles are made of those of other levels, which have to be there by then.
            match manager.rescaling() {
                None => tasks.push(task(levels)),
                Some(Rescaling::Up(_)) => tasks.extend(levels.into_iter().map(|level| task(vec![level]))),
                Some(Rescaling::Down(_)) => tasks.extend(levels.into_iter().rev().map(|level| task(vec![level]))),
            }
        }
        Ok(())
    }

    fn cleanup(&self, cleanup: &checked::Cleanup, tasks: &mut Vec<Planned<CleanupTask>>) -> Result<(), BuildError> {
        let coverage = self.area(&cleanup.coverages);
        let before = match &cleanup.remove {
            RemoveBefore::All => None,
            RemoveBefore::Start => Some(self.now),
            RemoveBefore::Before(before) => match self.moment(before, &cleanup.at) {
                Some(moment) => Some(moment),
                None => return Ok(()),
            },
        };
        for Place { manager, levels } in self.work(&cleanup.caches, &cleanup.grids, &cleanup.levels)? {
            let Ok(coverage) = &coverage else { return Ok(()) };
            let has_times = manager.store().is_some_and(|store| store.capabilities().timestamps);
            let remove = match before {
                Some(_) if !has_times && matches!(cleanup.remove, RemoveBefore::Before(_)) => {
                    let (name, cache) = (&cleanup.name, manager.name());
                    let message = format!(
                        "cleanup does not support remove_before for '{name}' because cache '{cache}' does not support \
                         timestamps"
                    );
                    let _told: Option<()> = self.parts.error(&cleanup.at, message);
                    return Ok(());
                }
                Some(moment) if has_times => Remove::Before(moment),
                // Every tile was there before the run.
                _ => Remove::All,
            };
            tasks.push(match coverage {
                None => Planned::Empty(Arc::clone(&cleanup.name)),
                Some(coverage) => Planned::Task(CleanupTask {
                    name: Arc::clone(&cleanup.name),
                    levels,
                    coverage: in_grid(coverage.as_ref(), &manager),
                    manager,
                    remove,
                }),
            });
        }
        Ok(())
    }

    /// The tiles to work on, for each grid of each cache, and which levels.
    fn work(&self, caches: &[Name], grids: &[Name], levels: &LevelSelection) -> Result<Vec<Place>, BuildError> {
        let mut work = Vec::new();
        for grid in grids {
            for cache in caches {
                if let Some(manager) = self.caches.manager(cache, grid)? {
                    let levels = levels_of(levels, manager.grid());
                    work.push(Place { manager: Arc::clone(manager), levels });
                }
            }
        }
        Ok(work)
    }

    /// The area of a task: `Ok(Some(None))` is everywhere, `Ok(None)` nowhere; an error has been told.
    fn area(&self, coverages: &[checked::Coverage]) -> Result<Option<Option<Coverage>>, ()> {
        if coverages.is_empty() {
            return Ok(Some(None));
        }
        let (mut parts, mut is_told) = (Vec::new(), false);
        for coverage in coverages {
            match self.parts.build_coverage(coverage) {
                Ok(part) => parts.push(part),
                Err(NoCoverage::Empty(..)) => {}
                Err(NoCoverage::Told) => is_told = true,
            }
        }
        if is_told {
            return Err(());
        }
        if parts.is_empty() {
            return Ok(None);
        }
        match Coverage::any_of(parts) {
            Ok(coverage) => Ok(Some(Some(coverage))),
            Err(error) => self.parts.error(&coverages[0].at, error).ok_or(()),
        }
    }

    fn moment(&self, before: &checked::RefreshBefore, at: &Origin) -> Option<SystemTime> {
        match before {
            checked::RefreshBefore::Time(time) => Some(*time),
            checked::RefreshBefore::Age(age) => match whole_seconds(self.now).checked_sub(*age) {
                Some(moment) => Some(moment),
                None => self.parts.error(at, "the age is more than there is time to count back"),
            },
            checked::RefreshBefore::FileTime(path) => match std::fs::metadata(path).and_then(|file| file.modified()) {
                Ok(modified) => Some(modified),
                Err(error) => {
                    let message = format!("can't parse last modified time from file '{}': {error}", path.display());
                    self.parts.error(at, message)
                }
            },
        }
    }
}

/// The area as the grid sees it; one that has no place there is asked in its own SRS, tile by tile.
fn in_grid(coverage: Option<&Coverage>, manager: &TileManager) -> Option<Coverage> {
    coverage.map(|coverage| coverage.by_corners_in(manager.grid().srs()).unwrap_or_else(|_| coverage.clone()))
}

fn whole_seconds(moment: SystemTime) -> SystemTime {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// The levels of the grid that are selected, ascending.
fn levels_of(selection: &LevelSelection, grid: &TileGrid) -> Vec<u8> {
    let count = grid.levels().len();
    let range = |from: Option<usize>, to: Option<usize>| {
        let (from, to) = (from.unwrap_or(0), to.map_or(count, |to| to.saturating_add(1)).min(count));
        (from..to).filter_map(|level| u8::try_from(level).ok()).collect()
    };
    let closest = |resolution: &f64| usize::from(grid.closest_level(*resolution));
    let whole = |level: &u32| usize::try_from(*level).unwrap_or(usize::MAX);
    let mut listed: Vec<usize> = match selection {
        LevelSelection::All => return range(None, None),
        LevelSelection::LevelRange(from, to) => return range(from.as_ref().map(whole), to.as_ref().map(whole)),
        LevelSelection::ResolutionRange(from, to) => {
            return range(from.as_ref().map(closest), to.as_ref().map(closest));
        }
        LevelSelection::Levels(list) => list.iter().map(whole).collect(),
        LevelSelection::Resolutions(list) => list.iter().map(closest).collect(),
    };
    listed.sort_unstable();
    listed.dedup();
    listed.into_iter().filter(|level| *level < count).filter_map(|level| u8::try_from(level).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "
services: {demo: {}}
layers: [{name: l, title: l, sources: [c]}]
sources: {s: {type: debug}, gone: {type: raster, file: gone.png, srs: 'EPSG:4326', bbox: [0, 0, 1, 1]}}
grids: {small: {base: GLOBAL_MERCATOR, num_levels: 4}}
caches:
  c: {sources: [s], grids: [small, GLOBAL_GEODETIC]}
  unshown: {sources: [s], grids: [small], cache: {type: mbtiles}}
  up: {sources: [s], grids: [small], upscale_tiles: 1}
  down: {sources: [s], grids: [small], downscale_tiles: 1}
  broken: {sources: [gone], grids: [small]}
";

    fn tasks(seed: &str) -> Result<Tasks, TasksError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.yaml");
        std::fs::write(&path, seed).unwrap();
        std::fs::write(directory.path().join("empty.json"), r#"{"type":"FeatureCollection","features":[]}"#).unwrap();
        let caches = AppBuilder::from_text(CONF, directory.path()).caches().unwrap();
        caches.tasks(&path, &Selected::All, &Selected::All, now())
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    }

    fn seeds(seed: &str) -> Vec<String> {
        let describe = |planned: &Planned<SeedTask>| match planned {
            Planned::Empty(name) => format!("{name} empty"),
            Planned::Task(task) => {
                format!("{} {} {} {:?}", task.name, task.manager.name(), task.manager.grid().name(), task.levels)
            }
        };
        tasks(seed).unwrap().seeds.iter().map(describe).collect()
    }

    fn refusal(seed: &str) -> String {
        tasks(seed).unwrap_err().to_string()
    }

    #[test]
    fn caches_are_there_without_layers_and_broken_ones_are_told_to_who_asks() {
        let directory = tempfile::tempdir().unwrap();
        let caches = AppBuilder::from_text(CONF, directory.path()).caches().unwrap();
        assert_eq!(caches.names().map(|name| &**name).collect::<Vec<_>>(), ["c", "unshown", "up", "down", "broken"]);
        assert!(caches.manager("unshown", "small").unwrap().is_some());
        assert!(caches.manager("unshown", "GLOBAL_GEODETIC").unwrap().is_none());
        assert!(caches.get("nothing").unwrap().is_none());
        assert!(caches.get("broken").unwrap_err().to_string().contains("gone.png"));
    }

    #[test]
    fn there_is_a_task_for_each_grid_of_each_cache_and_for_each_level_where_tiles_are_rescaled() {
        assert_eq!(
            seeds("seeds: {all: {caches: [c]}, two: {caches: [c, unshown], grids: [small], levels: [9, 1, 0]}}"),
            [
                "all c small [0, 1, 2, 3]".to_owned(),
                format!("all c GLOBAL_GEODETIC {:?}", (0..20).collect::<Vec<u8>>()),
                "two c small [0, 1]".to_owned(),
                "two unshown small [0, 1]".to_owned(),
            ]
        );
        assert_eq!(
            seeds("seeds: {a: {caches: [up], levels: {from: 2}}, b: {caches: [down], levels: {to: 1}}}"),
            ["a up small [2]", "a up small [3]", "b down small [1]", "b down small [0]"]
        );
    }

    #[test]
    fn levels_are_selected_by_resolutions_too() {
        let levels = |selection: &str| seeds(&format!("seeds: {{a: {{caches: [unshown], {selection}}}}}"));
        assert_eq!(levels("resolutions: [80000, 20000, 19000]"), ["a unshown small [1, 3]"]);
        assert_eq!(levels("resolutions: {from: 90000, to: 40000}"), ["a unshown small [1, 2]"]);
        assert_eq!(levels("levels: {from: 3, to: 90}, resolutions: [80000]"), ["a unshown small [3]"]);
        assert_eq!(levels("levels: [], resolutions: [80000]"), ["a unshown small [0, 1, 2, 3]"]);
        assert_eq!(levels("levels: {from: 3, to: 2}"), ["a unshown small []"]);
        for (selection, expected) in [
            ("levels: {from: 2}", "[2, 3]"),
            ("levels: {to: 1}", "[0, 1]"),
            ("levels: {from: 2, to: 30}", "[2, 3]"),
            ("levels: {}", "[0, 1, 2, 3]"),
            ("levels: [3, 1, 1, 12]", "[1, 3]"),
            ("resolutions: {from: 90000}", "[1, 2, 3]"),
            ("resolutions: {to: 40000}", "[0, 1, 2]"),
            ("resolutions: [1000000]", "[0]"),
        ] {
            assert_eq!(levels(selection), [format!("a unshown small {expected}")], "{selection}");
        }
    }

    #[test]
    fn coverages_are_laid_together_and_empty_ones_count_for_nothing() {
        let seed = "
seeds:
  none: {caches: [unshown], coverages: [empty]}
  one: {caches: [unshown], coverages: [empty, west]}
  both: {caches: [unshown], coverages: [west, east]}
coverages:
  empty: {datasource: empty.json, srs: 'EPSG:4326'}
  west: {bbox: [0, 0, 1, 1], srs: 'EPSG:4326'}
  east: {bbox: [3, 0, 4, 1], srs: 'EPSG:4326'}
";
        let tasks = tasks(seed).unwrap();
        let boxes = tasks.seeds.iter().map(|planned| match planned {
            Planned::Task(task) => {
                task.coverage.as_ref().map(|coverage| coverage.extent().bbox.to_array().map(f64::round))
            }
            Planned::Empty(_) => None,
        });
        // In the grid's SRS, web mercator: a degree is 111,319 m at the equator.
        let expected = |east: f64| Some([0.0, 0.0, east, 111_325.0]);
        assert_eq!(boxes.collect::<Vec<_>>(), [None, expected(111_319.0), expected(445_278.0)]);
    }

    #[test]
    fn ages_count_from_the_start_of_the_run() {
        let tasks = tasks(
            "seeds: {a: {caches: [c], grids: [small], refresh_before: {hours: 1}}, b: {caches: [unshown]}}\n\
             cleanups: {x: {caches: [c], grids: [small]}, y: {caches: [c], grids: [small], remove_all: true}, \
             z: {caches: [unshown]}, w: {caches: [c], grids: [small], remove_before: {seconds: 1}}}",
        )
        .unwrap();
        let refresh = tasks.seeds.iter().map(|planned| match planned {
            Planned::Task(task) => task.refresh,
            Planned::Empty(name) => panic!("{name} is empty"),
        });
        assert_eq!(refresh.collect::<Vec<_>>(), [Refresh::Before(now() - Duration::from_secs(3600)), Refresh::Missing]);
        let remove = tasks.cleanups.iter().map(|planned| match planned {
            Planned::Task(task) => task.remove,
            Planned::Empty(name) => panic!("{name} is empty"),
        });
        let second = now() - Duration::from_secs(1);
        assert_eq!(
            remove.collect::<Vec<_>>(),
            [Remove::Before(now()), Remove::All, Remove::All, Remove::Before(second)]
        );
    }

    #[test]
    fn mistakes_name_the_place_in_the_seed_yaml() {
        for (seed, expected) in [
            (
                "seeds: {a: {caches: [nope]}}",
                "seed.yaml:1:22: error: cache nope not found. available caches: c,unshown",
            ),
            ("seeds: {a: {caches: [c], grids: [GLOBAL_MERCATOR]}}", "GLOBAL_MERCATOR not defined for caches"),
            ("seeds: {a: {caches: [c, up]}}", "caches in same seed task require identical grids"),
            ("seeds: {a: {caches: [up], coverages: [x]}}", "coverage x not found. available coverages: "),
            ("seeds: {a: {caches: [broken]}}", "gone.png"),
            (
                "seeds: {a: {caches: [up], refresh_before: {mtime: gone}}}",
                "seed.yaml:1:12: error: can't parse last modified time from file",
            ),
            (
                "cleanups: {a: {caches: [unshown], remove_before: {days: 1}}}",
                "cleanup does not support remove_before for 'a' because cache 'unshown' does not support timestamps",
            ),
            (
                "seeds: {a: {caches: [up], coverages: [x]}}\ncoverages: {x: {datasource: gone.wkt, srs: 'EPSG:4326'}}",
                "seed.yaml:2:29: error: cannot read",
            ),
        ] {
            let message = refusal(seed);
            assert!(message.contains(expected), "{message}\n{expected}");
        }
    }

    #[test]
    fn only_selected_tasks_have_to_be_right_and_unknown_names_are_told_with_those_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.yaml");
        std::fs::write(&path, "seeds: {good: {caches: [up], levels: [0]}, bad: {caches: [nope]}}").unwrap();
        let caches = AppBuilder::from_text(CONF, directory.path()).caches().unwrap();
        let named = |name: &str| Selected::Named(vec![name.to_owned()]);
        let tasks = |seeds: &Selected| caches.tasks(&path, seeds, &Selected::Nothing, now());
        assert_eq!(tasks(&named("good")).unwrap().seeds.len(), 1);
        assert!(tasks(&Selected::All).is_err());
        let message = tasks(&named("nope")).unwrap_err().to_string();
        assert_eq!(message, "unknown seed tasks: nope\navailable seed tasks: good, bad");
    }
}
