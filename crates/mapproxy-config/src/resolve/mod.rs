//! From what was written to what is meant: `raw` → `checked`.
//!
//! One [`Resolver`] walks through the sections, leaves first. Whatever is wrong goes to the findings, and resolving
//! goes on with the rest, so that all mistakes are found at once. Mistakes in items no layer uses are warnings, and
//! such items are left out.

mod auth;
mod bands;
mod caches;
mod coverage;
mod databases;
mod globals;
mod grids;
mod image;
mod inspire;
mod layers;
mod ogcapi;
mod seed;
mod seed_coverages;
mod servers;
mod services;
mod source_servers;
mod sources;
mod stores;
mod tiers;

pub(crate) use seed::document as seed_document;
pub(crate) use seed_coverages::coverages as seed_coverages;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::check::{self, Sections};
use crate::checked::{Config, Globals, Grid, ImageOptions, Name, RefreshBefore};
use crate::findings::Findings;
use crate::position::{Files, Origin, Span, Spanned};
use crate::raw;
use crate::yaml::Value;

/// Defaults for sections that were not written.
static NO_GLOBALS: std::sync::LazyLock<raw::Globals> = std::sync::LazyLock::new(raw::Globals::default);

/// Walks through the sections of a configuration.
pub(crate) struct Resolver<'r> {
    pub(crate) base_dir: &'r Path,
    /// The directory of the `mapproxy.yaml`, also where another file is read.
    main_dir: &'r Path,
    pub(crate) findings: &'r mut Findings,
    /// Other files the outcome depends on.
    pub(crate) files: &'r mut Vec<PathBuf>,
    raw_globals: &'r raw::Globals,
    globals: Globals,
    /// Keys of grids that were written and cannot be built.
    broken_grids: Vec<Name>,
    /// WMS sources without layers of their own: right only if all who use them name layers.
    without_layers: rustc_hash::FxHashMap<Name, Span>,
    /// Caches whose tiles are no pictures.
    data_caches: rustc_hash::FxHashSet<Name>,
}

/// The whole of a configuration.
pub(crate) fn document(
    raw: &raw::Document,
    base_dir: &Path,
    files: &Arc<Files>,
    findings: &mut Findings,
    watched: &mut Vec<PathBuf>,
) -> Option<Config> {
    let (no_caches, no_sources, no_grids) = Default::default();
    let sections = Sections {
        caches: raw.caches.as_ref().map_or(&no_caches, |caches| &caches.value),
        sources: raw.sources.as_ref().map_or(&no_sources, |sources| &sources.value),
        grids: raw.grids.as_ref().map_or(&no_grids, |grids| &grids.value),
    };
    let no_layers = raw::Layers::default();
    let layers = raw.layers.as_ref().map_or(&no_layers, |layers| &layers.value);
    let reachable = sections.reachable(layers);
    let raw_globals = raw.globals.as_ref().map_or(&*NO_GLOBALS, |globals| &globals.value);
    let globals = globals::resolve(raw_globals, base_dir, findings);
    let mut resolver = Resolver {
        base_dir,
        main_dir: base_dir,
        findings,
        files: watched,
        raw_globals,
        globals,
        broken_grids: Vec::new(),
        without_layers: rustc_hash::FxHashMap::default(),
        data_caches: rustc_hash::FxHashSet::default(),
    };

    let grids = resolver.grids(sections, &reachable);
    resolver.broken_grids = sections.grids.keys().filter(|key| !grids.contains_key(*key)).cloned().collect();
    let sources = resolver.sources(sections, &reachable, &grids);
    let order = check::cache_order(sections, resolver.findings);
    let caches = resolver.caches(sections, &reachable, order.as_deref().unwrap_or_default(), &grids, &sources);
    let layers_span = raw.layers.as_ref().map(|layers| layers.span);
    let tree = resolver.layers(layers, layers_span, sections, &sources);
    let services = resolver.services(raw.services.as_ref().map(|services| &services.value), &tree);
    resolver.globals.auth = resolver.auth(&tree);
    if resolver.findings.has_errors() {
        return None;
    }
    Some(Config {
        base_dir: base_dir.to_path_buf(),
        files: Arc::clone(files),
        globals: resolver.globals,
        grids,
        sources,
        caches,
        root_layer: tree.root,
        tile_layers: tree.tiled,
        services,
    })
}

impl Resolver<'_> {
    /// `path` against the directory of the configuration; the text is not tidied up.
    fn path(&self, path: &str) -> PathBuf {
        self.base_dir.join(path)
    }

    /// Resolves an item; mistakes are warnings if it is not used, and then it is left out.
    fn item<T>(&mut self, used: bool, resolve: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.findings.problems();
        self.findings.set_lenient(!used);
        let item = resolve(self);
        self.findings.set_lenient(false);
        item.filter(|_| self.findings.problems() == before)
    }

    /// A whole number of at least `least`.
    fn whole(&mut self, number: &Spanned<f64>, least: u32, path: &str) -> Option<u32> {
        let value = number.value;
        if value.fract() == 0.0 && value >= f64::from(least) && value <= f64::from(u32::MAX) {
            return Some(value as u32);
        }
        self.findings.error(number.span, path, format!("{value} is not a whole number from {least} on"));
        None
    }

    /// A whole number of at least `least`.
    fn int(&mut self, number: &Spanned<i64>, least: u32, path: &str) -> Option<u32> {
        match u32::try_from(number.value) {
            Ok(value) if value >= least => Some(value),
            _ => {
                let message = format!("{} is not a whole number from {least} on", number.value);
                self.findings.error(number.span, path, message);
                None
            }
        }
    }

    /// A number above zero.
    fn positive(&mut self, number: &Spanned<f64>, path: &str) -> Option<f64> {
        if number.value.is_finite() && number.value > 0.0 {
            return Some(number.value);
        }
        self.findings.error(number.span, path, format!("{} is not a number above 0", number.value));
        None
    }

    /// Two whole numbers of at least 1, such as a size.
    fn pair(&mut self, numbers: &[Spanned<f64>], span: Span, path: &str) -> Option<[u32; 2]> {
        let [x, y, rest @ ..] = numbers else {
            self.findings.error(span, path, "two numbers are needed here");
            return None;
        };
        if !rest.is_empty() {
            self.findings.warning(span, path, "only the first two numbers count here");
        }
        Some([self.whole(x, 1, path)?, self.whole(y, 1, path)?])
    }

    /// A box, written as list or as text: four numbers, smaller ones first.
    fn bbox(&mut self, numbers: &raw::Numbers, span: Span, path: &str) -> Option<[f64; 4]> {
        let bbox = match numbers {
            raw::Numbers::List(list) => list.iter().map(|number| number.value).collect::<Vec<f64>>(),
            raw::Numbers::Text(text) => {
                let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse::<f64>()).collect();
                let Ok(numbers) = numbers else {
                    let message = format!("'{text}' is not a bbox: four numbers with commas between them are needed");
                    self.findings.error(span, path, message);
                    return None;
                };
                numbers
            }
        };
        let [min_x, min_y, max_x, max_y] = *bbox.as_slice() else {
            let message = format!("a bbox is four numbers (min x, min y, max x, max y), and here are {}", bbox.len());
            self.findings.error(span, path, message);
            return None;
        };
        if !bbox.iter().all(|number| number.is_finite()) {
            self.findings.error(span, path, "a bbox is four finite numbers");
            return None;
        }
        if min_x >= max_x || min_y >= max_y {
            let message = "the bbox is empty: min x and min y come first, then max x and max y";
            self.findings.error(span, path, message);
            return None;
        }
        Some([min_x, min_y, max_x, max_y])
    }

    /// `refresh_before`, `remove_before`: `time` over `mtime` over the sum of the others. `None` if nothing is given.
    fn time(&mut self, spec: &raw::TimeSpec, path: &str) -> Option<RefreshBefore> {
        if let Some(time) = &spec.time {
            let point = match &time.value.value {
                Value::Timestamp(timestamp) => timestamp.to_system_time(),
                Value::String(text) => match crate::yaml::iso_time(text) {
                    Some(timestamp) => timestamp.to_system_time(),
                    None => None,
                },
                _ => None,
            };
            if point.is_none() {
                self.findings.add(
                    crate::diagnostic::Severity::Error,
                    time.span,
                    format!("{path}.time"),
                    format!("can't parse time {}. should be ISO time string", time.value.shown()),
                    Some("write it as in 2010-10-21T12:35:00".to_owned()),
                );
            }
            return point.map(RefreshBefore::Time);
        }
        if let Some(file) = &spec.mtime {
            return Some(RefreshBefore::FileTime(self.path(&file.value)));
        }
        let parts = [
            (&spec.seconds, 1.0),
            (&spec.minutes, 60.0),
            (&spec.hours, 3600.0),
            (&spec.days, 86_400.0),
            (&spec.weeks, 604_800.0),
        ];
        let first = parts.iter().find_map(|(part, _)| part.as_ref())?;
        let seconds: f64 = parts.iter().filter_map(|(part, unit)| Some(part.as_ref()?.value * unit)).sum();
        match std::time::Duration::try_from_secs_f64(seconds) {
            Ok(age) => Some(RefreshBefore::Age(age)),
            Err(_) => {
                self.findings.error(first.span, path, "the age of tiles cannot be negative, nor endless");
                None
            }
        }
    }
}

/// The origin of `path` at `span`.
fn origin(path: impl Into<Arc<str>>, span: Span) -> Origin {
    Origin::new(path, span)
}

/// Grids by key.
type Grids = IndexMap<Name, Grid>;

/// Image options of caches that have been resolved.
type CacheImages = rustc_hash::FxHashMap<Name, ImageOptions>;
