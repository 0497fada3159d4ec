//! `mapproxy-util autoconfig`: a configuration to begin with, made of what a server or a file says of itself.

mod geopackage;
mod levels;
mod ogcapi;
mod output;
mod overwrite;
mod wms;
mod wmts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mapproxy_config::read_written;
use mapproxy_config::yaml::{Mapping, Node};
use serde_json::{Map, Value, json};

use crate::yaml_out::from_node;
use crate::{FAILED, Failure, MISTAKEN, fetch, wms_capabilities};

#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Every layer becomes a source, a layer, and a cache in all grids of --base whose SRS the server \
offers. The files of --overwrite and --overwrite-seed are merged into what is written; there, `__all__` means all entries \
of a section, `roads___` those that begin and `___roads` those that end with a text, and `key__extend__` adds to a list.

Examples:

  mapproxy-util autoconfig --capabilities https://example.org/wms --base base.yaml --output mapproxy.yaml
  mapproxy-util autoconfig --capabilities caps.xml --output mapproxy.yaml --output-seed seed.yaml --force
  mapproxy-util autoconfig --wmts https://example.org/WMTSCapabilities.xml --output mapproxy.yaml
  mapproxy-util autoconfig --ogcapi https://example.org/ogcapi --base base.yaml --output mapproxy.yaml
  mapproxy-util autoconfig --geopackage tiles.gpkg --output mapproxy.yaml"
)]
pub(crate) struct Arguments {
    /// Capabilities of a WMS (1.1.1 or 1.3.0): an address or a file
    #[arg(long, value_name = "URL|FILE")]
    capabilities: Option<String>,
    /// Capabilities of a WMTS: an address or a file
    #[arg(long, value_name = "URL|FILE")]
    wmts: Option<String>,
    /// The landing page of an OGC API with maps or tiles
    #[arg(long, value_name = "URL")]
    ogcapi: Option<String>,
    /// A GeoPackage with tiles
    #[arg(long, value_name = "FILE")]
    geopackage: Option<PathBuf>,
    /// Where to write the configuration; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: String,
    /// Where to write a seed.yaml for the caches; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output_seed: Option<String>,
    /// A configuration with grids and globals, which the new one names as its base
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// YAML merged into the configuration
    #[arg(long, value_name = "FILE")]
    overwrite: Option<PathBuf>,
    /// YAML merged into the seed.yaml
    #[arg(long, value_name = "FILE")]
    overwrite_seed: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// What was found out; sections of a configuration by their keys.
#[derive(Debug, Default)]
struct Found {
    services: Map<String, Value>,
    grids: Map<String, Value>,
    sources: Map<String, Value>,
    /// Of which the layers are made.
    layers: Vec<Layer>,
    /// Caches that are files, by name.
    caches: Map<String, Value>,
}

/// A layer, and what it shows.
#[derive(Debug, Default)]
struct Layer {
    name: Option<String>,
    title: String,
    description: Option<String>,
    /// The source of its own.
    source: Option<String>,
    /// The cache of its own.
    cache: Option<String>,
    layers: Vec<Layer>,
}

/// A grid of the base.
struct BaseGrid {
    name: String,
    srs: String,
}

/// Status 2 for mistakes in the usage or files that are there, 1 for documents that cannot be had or used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let is_given = [
        arguments.capabilities.is_some(),
        arguments.wmts.is_some(),
        arguments.ogcapi.is_some(),
        arguments.geopackage.is_some(),
    ];
    if is_given.iter().filter(|given| **given).count() != 1 {
        let missing = Failure::with_usage(
            "ERROR: --capabilities required or --geopackage required, or --wmts or --ogcapi: one of them",
        );
        return Err(Failure { status: MISTAKEN, ..missing });
    }
    if arguments.overwrite_seed.is_some() && arguments.output_seed.is_none() {
        return Err(Failure::new(MISTAKEN, "ERROR: --overwrite-seed needs --output-seed"));
    }
    for file in [Some(&arguments.output), arguments.output_seed.as_ref()].into_iter().flatten() {
        output::check(file, arguments.force)?;
    }
    let base_grids = arguments.base.as_deref().map(base_grids).transpose()?.unwrap_or_default();
    let overwrite = arguments.overwrite.as_deref().map(mapping).transpose()?.unwrap_or_default();
    let overwrite_seed = arguments.overwrite_seed.as_deref().map(mapping).transpose()?.unwrap_or_default();
    let failed = |reason: String| Failure::new(FAILED, format_args!("ERROR: {reason}"));
    let (found, from) = if let Some(place) = &arguments.capabilities {
        let request = wms_capabilities::request(place, "1.1.1");
        (content(place, &request).and_then(|text| wms::read(&text)).map_err(failed)?, place.clone())
    } else if let Some(place) = &arguments.wmts {
        let found = content(place, &wmts_request(place)).and_then(|text| wmts::read(&text, place));
        (found.map_err(failed)?, place.clone())
    } else if let Some(url) = &arguments.ogcapi {
        (ogcapi::read(url, &base_grids).map_err(failed)?, url.clone())
    } else {
        let path = arguments.geopackage.clone().unwrap_or_default();
        (geopackage::read(&path)?, path.display().to_string())
    };
    let mut document = found.document(&base_grids, overwrite);
    if let Some(base) = &arguments.base {
        let absolute = std::path::absolute(base).unwrap_or_else(|_| base.clone());
        document.insert("base".to_owned(), absolute.display().to_string().into());
    }
    let seeds = arguments.output_seed.as_ref().map(|place| (place, seeds(&document, overwrite_seed)));
    let mut files = vec![(arguments.output.as_str(), document)];
    files.extend(seeds.map(|(place, document)| (place.as_str(), document)));
    output::write(files, &from, arguments.force)?;
    Ok(ExitCode::SUCCESS)
}

/// The text of a file, or of what `request` brings where `place` is an address.
fn content(place: &str, request: &str) -> Result<String, String> {
    let content = if place.contains("://") { fetch::url(request) } else { fetch::file(Path::new(place)) };
    content.map(|content| fetch::xml_text(&content))
}

/// Documents have addresses of their own, services have parameters.
fn wmts_request(place: &str) -> String {
    let path = place.split(['?', '#']).next().unwrap_or_default();
    if path.to_ascii_lowercase().ends_with(".xml") {
        return place.to_owned();
    }
    fetch::with_parameters(place, &[("SERVICE", "WMTS"), ("REQUEST", "GetCapabilities"), ("VERSION", "1.0.0")])
}

impl Found {
    /// The configuration, with what is to be merged into it.
    fn document(self, base_grids: &[BaseGrid], mut overwrite: Map<String, Value>) -> Map<String, Value> {
        let mut section = |found: Map<String, Value>, names: &[&str]| {
            let mut section = found;
            for name in names {
                match overwrite.remove(*name) {
                    Some(Value::Object(changes)) => overwrite::merge(&mut section, changes),
                    Some(other) => {
                        overwrite.insert((*name).to_owned(), other);
                    }
                    None => {}
                }
            }
            section
        };
        let services = section(self.services, &["service", "services"]);
        let sources = section(self.sources, &["sources"]);
        let mut caches = self.caches;
        caches.extend(caches_of(&self.layers, &sources, base_grids));
        let caches = section(caches, &["caches"]);
        let grids = section(self.grids, &["grids"]);
        let layers: Vec<Value> = self.layers.iter().filter_map(|layer| layer.document(&caches)).collect();
        let mut document = Map::new();
        document.insert("services".to_owned(), services.into());
        document.insert("caches".to_owned(), caches.into());
        document.insert("layers".to_owned(), layers.into());
        if !sources.is_empty() {
            document.insert("sources".to_owned(), sources.into());
        }
        if !grids.is_empty() {
            document.insert("grids".to_owned(), grids.into());
        }
        overwrite::merge(&mut document, overwrite);
        document
    }
}

/// A cache for each source that offers the SRS of a grid.
fn caches_of(layers: &[Layer], sources: &Map<String, Value>, base_grids: &[BaseGrid]) -> Map<String, Value> {
    let mut caches = Map::new();
    for layer in layers {
        caches.extend(caches_of(&layer.layers, sources, base_grids));
        let (Some(name), Some(source)) = (&layer.name, &layer.source) else { continue };
        let supported = sources.get(source).and_then(|source| source.get("supported_srs")).and_then(Value::as_array);
        let grids: Vec<&str> = match supported {
            None => base_grids.iter().map(|grid| grid.name.as_str()).collect(),
            // In the order of the reference systems.
            Some(list) => list
                .iter()
                .filter_map(Value::as_str)
                .flat_map(|srs| base_grids.iter().filter(|grid| grid.srs.eq_ignore_ascii_case(srs)))
                .map(|grid| grid.name.as_str())
                .collect(),
        };
        if !grids.is_empty() {
            caches.insert(format!("{name}_cache"), json!({ "grids": grids, "sources": [source] }));
        }
    }
    caches
}

impl Layer {
    fn document(&self, caches: &Map<String, Value>) -> Option<Value> {
        let mut document = Map::new();
        let layers: Vec<Value> = self.layers.iter().filter_map(|layer| layer.document(caches)).collect();
        let cached = self.name.as_ref().map(|name| format!("{name}_cache")).filter(|name| caches.contains_key(name));
        let shown = self.cache.as_ref().or(cached.as_ref()).or(self.source.as_ref());
        if shown.is_none() && layers.is_empty() {
            return None;
        }
        if let Some(shown) = shown {
            document.insert("sources".to_owned(), json!([shown]));
        }
        if let Some(name) = &self.name {
            document.insert("name".to_owned(), name.as_str().into());
        }
        document.insert("title".to_owned(), self.title.as_str().into());
        if let Some(description) = &self.description {
            document.insert("md".to_owned(), json!({ "abstract": description }));
        }
        if !layers.is_empty() {
            document.insert("layers".to_owned(), layers.into());
        }
        Some(document.into())
    }
}

/// A task for each cache in each of its grids, and one that removes nothing until somebody says from when on.
fn seeds(document: &Map<String, Value>, overwrite: Map<String, Value>) -> Map<String, Value> {
    let (mut seeds, mut cleanups) = (Map::new(), Map::new());
    let caches = document.get("caches").and_then(Value::as_object).into_iter().flatten();
    for (cache, options) in caches {
        let grids = options.get("grids").and_then(Value::as_array).into_iter().flatten();
        for grid in grids.filter_map(Value::as_str) {
            let name = format!("{cache}_{grid}");
            seeds.insert(name.clone(), json!({ "caches": [cache], "grids": [grid] }));
            let never = json!({ "time": "1900-01-01T00:00:00" });
            cleanups.insert(name, json!({ "caches": [cache], "grids": [grid], "remove_before": never }));
        }
    }
    let mut tasks = Map::new();
    tasks.insert("seeds".to_owned(), seeds.into());
    tasks.insert("cleanups".to_owned(), cleanups.into());
    overwrite::merge(&mut tasks, overwrite);
    tasks
}

/// A YAML file that is a dictionary.
fn mapping(path: &Path) -> Result<Map<String, Value>, Failure> {
    let mistake = |reason: String| Failure::new(MISTAKEN, format_args!("ERROR: {reason}"));
    let content = fetch::file(path).map_err(mistake)?;
    let document = mapproxy_config::yaml::parse(&content, 0)
        .map_err(|error| mistake(format!("{}:{}: {}", path.display(), error.span.line, error.message)))?;
    match from_node(&document.root) {
        Value::Object(mapping) => Ok(mapping),
        Value::Null => Ok(Map::new()),
        _ => Err(mistake(format!("{}: a dictionary is needed, with sections as in mapproxy.yaml", path.display()))),
    }
}

/// The grids that the base has itself: those everybody has are not meant.
fn base_grids(path: &Path) -> Result<Vec<BaseGrid>, Failure> {
    let unreadable = || {
        let loaded = mapproxy_config::load(path);
        Failure::new(MISTAKEN, format_args!("{}\nERROR: --base {} cannot be read", loaded.diagnostics, path.display()))
    };
    let root = read_written(path).ok_or_else(unreadable)?;
    let Some(grids) = root.as_mapping().and_then(|root| root.get("grids")).and_then(Node::as_mapping) else {
        return Ok(Vec::new());
    };
    let own = grids.iter().filter(|(key, _)| !key.text.starts_with("GLOBAL_"));
    let mut found: Vec<BaseGrid> =
        own.map(|(key, _)| BaseGrid { name: key.text.to_string(), srs: srs_of(grids, &key.text) }).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Its own SRS, or that of the grid it is based on, and so on.
fn srs_of(grids: &Mapping, grid: &str) -> String {
    let mut name = grid.to_owned();
    for _ in 0..=grids.len() {
        let Some(options) = grids.get(&name).and_then(Node::as_mapping) else { break };
        if let Some(srs) = options.get("srs").and_then(Node::python_text) {
            return srs.into_owned();
        }
        match options.get("base").and_then(Node::as_str) {
            Some(base) => name = base.to_owned(),
            None => return "EPSG:900913".to_owned(),
        }
    }
    match name.as_str() {
        "GLOBAL_GEODETIC" => "EPSG:4326",
        "GLOBAL_WEBMERCATOR" => "EPSG:3857",
        _ => "EPSG:900913",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: &str = "<WMT_MS_Capabilities version='1.1.1'><Service><Title>Maps</Title></Service><Capability>\
        <Request><GetMap><DCPType><HTTP><Get><OnlineResource href='http://h/wms?'/></Get></HTTP></DCPType></GetMap>\
        </Request><Layer><Title>All</Title><SRS>EPSG:4326</SRS><Layer opaque='1' queryable='1'><Name>a</Name>\
        <SRS>EPSG:25832</SRS></Layer><Layer><Title>Nothing</Title></Layer></Layer></Capability></WMT_MS_Capabilities>";

    fn grids() -> Vec<BaseGrid> {
        [("g", "EPSG:4326"), ("u", "epsg:25832"), ("w", "EPSG:3857")]
            .map(|(name, srs)| BaseGrid { name: name.to_owned(), srs: srs.to_owned() })
            .into()
    }

    #[test]
    fn what_is_written_can_be_served() {
        let document = wms::read(CAPABILITIES).unwrap().document(&grids(), Map::new());
        assert_eq!(document["caches"], json!({ "a_cache": { "grids": ["u", "g"], "sources": ["a_wms"] } }));
        let mut document = document;
        let written = json!({ "g": { "srs": "EPSG:4326", "origin": "nw" }, "u": { "srs": "EPSG:25832", "origin": "nw", "bbox": [4, 46, 16, 56], "bbox_srs": "EPSG:4326" } });
        document.insert("grids".to_owned(), written);
        let text = crate::yaml_out::document(&document.into());
        let loaded = mapproxy_config::load_str(&text, Path::new(""));
        assert!(loaded.config.is_some(), "{}\n{text}", loaded.diagnostics);
        // A group of nothing is no layer, and a layer without a title has its name.
        assert!(!text.contains("Nothing") && text.contains("title: a"), "{text}");
    }

    #[test]
    fn sections_are_overwritten_before_caches_are_made_of_them() {
        let changes = json!({ "sources": { "a_wms": { "supported_srs": ["EPSG:3857"] } }, "service": { "wms": { "md": { "title": "X" } } }, "globals": { "a": 1 } });
        let Value::Object(changes) = changes else { unreachable!() };
        let document = wms::read(CAPABILITIES).unwrap().document(&grids(), changes);
        assert_eq!(document["caches"]["a_cache"]["grids"], json!(["w"]));
        assert_eq!(
            (&document["services"]["wms"]["md"]["title"], &document["globals"]),
            (&json!("X"), &json!({ "a": 1 }))
        );
        let tasks = seeds(&document, Map::new());
        assert_eq!(tasks["seeds"], json!({ "a_cache_w": { "caches": ["a_cache"], "grids": ["w"] } }));
    }

    #[test]
    fn grids_of_a_base_are_found_through_their_own_bases() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("base.yaml");
        std::fs::write(&path, "grids: {a: {srs: 'EPSG:25832'}, b: {base: a}, c: {base: GLOBAL_GEODETIC}, d: {base: d}, e: , GLOBAL_X: {}}").unwrap();
        let found: Vec<_> = base_grids(&path).unwrap().into_iter().map(|grid| (grid.name, grid.srs)).collect();
        let wanted =
            [("a", "EPSG:25832"), ("b", "EPSG:25832"), ("c", "EPSG:4326"), ("d", "EPSG:900913"), ("e", "EPSG:900913")];
        assert_eq!(found, wanted.map(|(name, srs)| (name.to_owned(), srs.to_owned())));
        assert!(base_grids(&directory.path().join("none")).is_err());
    }
}
