//! The export as a part of the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapproxy_cache::TileManager;
use mapproxy_config::checked::{CacheStore, GeopackageFiles, SourceTarget};
use mapproxy_config::yaml::parse;
use mapproxy_config::{Config, Diagnostics, read_written};
use mapproxy_core::AppBuilder;
use mapproxy_grid::TileGrid;
use mapproxy_seeding::Pace;
use serde_json::{Map, Value, json};

use super::target::Kind;
use crate::yaml_out::from_node;
use crate::{Failure, MISTAKEN, eprintln};

/// What is exported, and how.
pub(super) struct Plan<'a> {
    /// The grid of the export.
    pub(super) grid: Arc<TileGrid>,
    /// Its name, where it is one of the configuration.
    pub(super) grid_name: Option<&'a str>,
    /// Tiles are copied: no picture is drawn.
    pub(super) is_copy: bool,
    /// What tiles are stored as.
    pub(super) extension: String,
    source: &'a str,
    /// The additions: all but the cache of the export.
    document: Map<String, Value>,
    /// Options of the export's cache.
    cache: Map<String, Value>,
    base_dir: PathBuf,
}

/// Where the export goes.
pub(super) struct Part<'a> {
    pub(super) kind: Kind,
    pub(super) place: &'a Path,
    /// Directory of locks.
    pub(super) locks: &'a Path,
    /// The `coverage` that is wanted.
    pub(super) area: Option<Value>,
}

/// The key of a grid that is given by its options.
const CUSTOM_GRID: &str = "export grid";
/// Tiles stored together.
const BLOCK: u32 = 8;

impl<'a> Plan<'a> {
    pub(super) fn new(
        config: &Config,
        configuration: &Path,
        source: &'a str,
        grid: &'a str,
        fetch: bool,
    ) -> Result<Plan<'a>, Failure> {
        let mistake = |message: String| Failure::new(MISTAKEN, format_args!("ERROR: {message}"));
        let cache = config.caches.get(source);
        match (cache, config.sources.contains_key(source)) {
            (None, false) => {
                let known: Vec<&str> = config.caches.keys().map(|name| &**name).collect();
                return Err(mistake(format!("unknown source {source}. available caches: {}", known.join(","))));
            }
            (None, true) if !fetch => {
                let message = "is a source, of which nothing is kept: use --fetch-missing-tiles, or export a cache";
                return Err(mistake(format!("{source} {message}")));
            }
            _ => {}
        }
        let path = super::absolute(configuration);
        let base_dir = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut document = Map::new();
        document.insert("base".to_owned(), json!([path.display().to_string()]));
        let is_custom = grid.contains('=') && !config.grids.contains_key(grid);
        let key = if is_custom { CUSTOM_GRID } else { grid };
        if is_custom {
            let options =
                grid_options(grid).map_err(|reason| mistake(format!("invalid grid configuration\n  {reason}")))?;
            document.insert("grids".to_owned(), json!({ CUSTOM_GRID: options }));
        }
        let built = build_grids(&document, &base_dir, is_custom)?;
        let find = |name: &str| built.iter().find(|(key, _)| **key == *name).map(|(_, grid)| Arc::clone(grid));
        let Some(export_grid) = find(key) else {
            let known: Vec<&str> = config.grids.keys().map(|name| &**name).collect();
            return Err(mistake(format!("unknown grid {grid}. available grids: {}", known.join(","))));
        };
        // A cache whose tiles can be taken as they are is asked in that grid alone.
        let own = cache.map(|cache| cache.grids.as_slice()).unwrap_or_default();
        let same = own.iter().find(|place| find(&place.grid).is_some_and(|own| export_grid.is_subset_of(&own)));
        let mut caches: Map<String, Value> = Map::new();
        if !fetch {
            // Caches of caches may have what the first has not got, but nobody else is asked.
            for cache in config.caches.values() {
                let asks = cache.sources.iter().any(|source| matches!(source.target, SourceTarget::Source { .. }));
                if asks {
                    caches.insert(cache.name.to_string(), json!({ "sources": [] }));
                }
            }
        }
        if let (Some(place), true) = (same, own.len() > 1) {
            let changes = caches.entry(source).or_insert_with(|| json!({}));
            changes["grids"] = json!([&*place.grid]);
            // Files of databases are named by which grid of several it is.
            match &place.store {
                CacheStore::Mbtiles(store) => {
                    changes["cache"] = json!({ "filename": store.file.display().to_string() })
                }
                CacheStore::Geopackage(store) => {
                    if let GeopackageFiles::One(file) = &store.files {
                        let file = file.display().to_string();
                        changes["cache"] = json!({ "filename": file, "table_name": &*store.table });
                    }
                }
                _ => {}
            }
        }
        document.insert("caches".to_owned(), caches.into());
        let mut options = written_options(&path, source);
        options.insert("sources".to_owned(), json!([source]));
        options.insert("grids".to_owned(), json!([key]));
        options.insert("meta_buffer".to_owned(), 0.into());
        let extension = cache.map_or_else(|| "png".to_owned(), |cache| cache.format.extension.to_string());
        Ok(Plan {
            grid: export_grid,
            grid_name: (!is_custom).then_some(grid),
            is_copy: same.is_some(),
            extension,
            source,
            document,
            cache: options,
            base_dir,
        })
    }

    /// The tiles of the export, to be kept at `place`.
    pub(super) fn build(&self, part: &Part<'_>, pace: &Arc<Pace>) -> Result<Arc<TileManager>, Failure> {
        let mistake = |message: String| Failure::new(MISTAKEN, format_args!("ERROR: {message}"));
        let mut document = self.document.clone();
        let mut caches = document
            .remove("caches")
            .and_then(|caches| match caches {
                Value::Object(caches) => Some(caches),
                _ => None,
            })
            .unwrap_or_default();
        let mut cache = self.cache.clone();
        if self.is_copy {
            cache.insert("bulk_meta_tiles".to_owned(), true.into());
            cache.insert("meta_size".to_owned(), json!([BLOCK, BLOCK]));
        }
        let table: String = format!("{}_{}", self.source, self.grid.name())
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '_' })
            .collect();
        let mut store = part.kind.cache(part.place, &table, part.locks);
        // Tiles are copied in blocks, but none that does not meet the area.
        if let Some(area) = part.area.as_ref().filter(|_| self.is_copy) {
            store["coverage"] = area.clone();
        }
        cache.insert("cache".to_owned(), store);
        // A name that no cache has: those of people have no such sign.
        let name = format!("{} \u{2192} export", self.source);
        caches.insert(name.clone(), cache.into());
        document.insert("caches".to_owned(), caches.into());
        let built = AppBuilder::from_text(Value::from(document).to_string(), &self.base_dir)
            .wrap_http({
                let pace = Arc::clone(pace);
                move |client| pace.client(client)
            })
            .caches();
        let built = built.map_err(|error| mistake(format!("the export cannot be set up:\n{}", error.diagnostics)))?;
        let of_export = |diagnostics: &Diagnostics| {
            let messages: Vec<&str> =
                diagnostics.iter().filter(|one| one.path.contains(&*name)).map(|one| one.message.as_str()).collect();
            messages.join("; ")
        };
        let managers = built
            .get(&name)
            .map_err(|error| mistake(format!("the export cannot be set up:\n{}", error.diagnostics)))?;
        match managers.and_then(|managers| managers.first()) {
            Some((_, manager)) => Ok(Arc::clone(manager)),
            None => Err(mistake(format!("the export cannot be set up: {}", of_export(built.diagnostics())))),
        }
    }
}

/// By their keys.
type Grids = Vec<(Arc<str>, Arc<TileGrid>)>;

/// All grids; a mistake in the one that was given on the command line is told as that.
fn build_grids(document: &Map<String, Value>, base_dir: &Path, is_custom: bool) -> Result<Grids, Failure> {
    let text = Value::from(document.clone()).to_string();
    let loaded = mapproxy_config::load_str(text, base_dir);
    let invalid = |reasons: &[String]| {
        Failure::new(MISTAKEN, format_args!("ERROR: invalid grid configuration\n  {}", reasons.join("\n  ")))
    };
    let of_custom = |diagnostics: &Diagnostics| -> Vec<String> {
        let prefix = format!("grids.{CUSTOM_GRID}");
        let own = diagnostics.iter().filter(|diagnostic| diagnostic.path.starts_with(&prefix));
        own.map(|diagnostic| diagnostic.message.clone()).collect()
    };
    let wrong = of_custom(&loaded.diagnostics);
    if is_custom && !wrong.is_empty() {
        return Err(invalid(&wrong));
    }
    let Some(config) = loaded.config else {
        return Err(Failure::new(
            MISTAKEN,
            format_args!("{}\nERROR: invalid configuration (see above)", loaded.diagnostics),
        ));
    };
    let (grids, diagnostics) = mapproxy_core::grids(&config);
    let wrong = of_custom(&diagnostics);
    if is_custom && !wrong.is_empty() {
        return Err(invalid(&wrong));
    }
    for diagnostic in diagnostics.errors() {
        eprintln(format_args!("{diagnostic}"));
    }
    Ok(grids)
}

/// What the exported cache says of its pictures.
fn written_options(path: &Path, source: &str) -> Map<String, Value> {
    let root = read_written(path);
    let cache =
        root.as_ref().and_then(|root| root.as_mapping()?.get("caches")?.as_mapping()?.get(source)?.as_mapping());
    let mut options = Map::new();
    for key in ["format", "request_format", "image"] {
        if let Some(value) = cache.and_then(|cache| cache.get(key)) {
            options.insert(key.to_owned(), from_node(value));
        }
    }
    options
}

/// `key=value` with spaces between them; values are those of YAML.
fn grid_options(text: &str) -> Result<Map<String, Value>, String> {
    let mut options = Map::new();
    for word in words(text)? {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is not of the form key=value"))?;
        let value = parse(value.as_bytes(), 0).map_err(|error| format!("{key}: {}", error.message))?;
        options.insert(key.to_owned(), from_node(&value.root));
    }
    if !options.contains_key("origin") && !options.contains_key("base") {
        options.insert("origin".to_owned(), "sw".into());
    }
    Ok(options)
}

/// Parts between spaces and commas that are in no quotes and no brackets.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quote, mut depth) = (None, 0_u32);
    for c in text.chars() {
        match (quote, c) {
            (None, c) if depth == 0 && (c.is_whitespace() || c == ',') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.checked_sub(1).ok_or_else(|| format!("'{c}' closes nothing"))?,
            _ => {}
        }
        word.push(c);
    }
    if quote.is_some() || depth > 0 {
        return Err("a quote or a bracket is not closed".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_given_by_their_options() {
        let options = |text: &str| grid_options(text).map(Value::Object);
        let wanted = json!({ "srs": "EPSG:4326", "bbox": [5, 50, 10, 60.5], "origin": "nw", "num_levels": 3 });
        assert_eq!(options("srs='EPSG:4326' bbox=[5, 50,10,60.5] origin=nw num_levels=3"), Ok(wanted.clone()));
        assert_eq!(options(r#"srs="EPSG:4326", bbox=[5,50,10,60.5],origin='nw',  num_levels=3"#), Ok(wanted));
        assert_eq!(options("srs=EPSG:4326"), Ok(json!({ "srs": "EPSG:4326", "origin": "sw" })));
        assert_eq!(options("base=GLOBAL_WEBMERCATOR"), Ok(json!({ "base": "GLOBAL_WEBMERCATOR" })));
        for wrong in ["srs='EPSG:4326", "bbox=[1,2", "bbox=1]", "a b=c", "bbox=[1,"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }
}
