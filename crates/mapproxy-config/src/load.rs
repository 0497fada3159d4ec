//! The way in: files or texts → checked configurations and diagnostics.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::checked::{Config, Coverage, Name, SeedConfig};
use crate::diagnostic::{Diagnostics, Severity};
use crate::env::Environment;
use crate::findings::Findings;
use crate::merge::FileLoader;
use crate::position::Files;
use crate::raw::{self, FromNode, Reader};
use crate::resolve;
use crate::yaml::Node;

/// What loading a configuration came to.
#[derive(Debug, Clone)]
#[must_use = "the diagnostics are meant to be shown"]
pub struct Loaded {
    /// The configuration; `None` if there is any error.
    pub config: Option<Config>,
    /// All that is wrong, by file and line.
    pub diagnostics: Diagnostics,
    /// The files the configuration depends on, absolute: the main file, those of `base`, coverages and the like. When
    /// one of them changes, it is time to load again.
    pub files: Vec<PathBuf>,
}

/// What loading a `seed.yaml` came to.
#[derive(Debug, Clone)]
#[must_use = "the diagnostics are meant to be shown"]
pub struct LoadedSeed {
    /// The tasks; `None` if there is any error.
    pub config: Option<SeedConfig>,
    /// The keys of `seeds`, in the order written, selected or not.
    pub seed_names: Vec<Name>,
    /// The keys of `cleanups`, in the order written, selected or not.
    pub cleanup_names: Vec<Name>,
    /// All that is wrong, by line.
    pub diagnostics: Diagnostics,
    /// The files the tasks depend on, absolute.
    pub files: Vec<PathBuf>,
}

/// What loading the coverages of a `seed.yaml` came to.
#[derive(Debug, Clone)]
#[must_use = "the diagnostics are meant to be shown"]
pub struct LoadedCoverages {
    /// Those without mistakes, by name.
    pub coverages: IndexMap<Name, Coverage>,
    /// All that is wrong with them, by line.
    pub diagnostics: Diagnostics,
}

/// Which tasks of a `seed.yaml` are wanted, by their names. The others are not looked at.
pub struct SeedSelection<'s> {
    /// Of `seeds`.
    pub seeds: &'s dyn Fn(&str) -> bool,
    /// Of `cleanups`.
    pub cleanups: &'s dyn Fn(&str) -> bool,
}

impl SeedSelection<'static> {
    /// All tasks.
    pub const ALL: SeedSelection<'static> = SeedSelection { seeds: &|_| true, cleanups: &|_| true };
}

impl std::fmt::Debug for SeedSelection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedSelection").finish_non_exhaustive()
    }
}

/// How to load.
pub struct LoadOptions<'e> {
    /// Where `$VAR` is looked up.
    pub env: &'e Environment<'e>,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions").finish_non_exhaustive()
    }
}

/// The environment of the process.
fn process_env(name: &str) -> Option<String> {
    // `std::env::var_os` panics on none of these, but such names can never be set.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}

const PROCESS: LoadOptions<'static> = LoadOptions { env: &process_env };

/// Loads the configuration in the file `path`, with variables from the environment of the process.
pub fn load(path: &Path) -> Loaded {
    load_with(path, &PROCESS)
}

/// Loads the configuration in the file `path`.
pub fn load_with(path: &Path, options: &LoadOptions<'_>) -> Loaded {
    let path = absolute(path);
    let base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    read(options, true, |loader| loader.file(&path, None)).into_config(&base_dir)
}

/// Loads a configuration from `text`, any bytes; relative paths are below `base_dir`.
pub fn load_str(text: impl AsRef<[u8]>, base_dir: &Path) -> Loaded {
    load_str_with(text, base_dir, &PROCESS)
}

/// Loads a configuration from `text`, any bytes; relative paths are below `base_dir`.
pub fn load_str_with(text: impl AsRef<[u8]>, base_dir: &Path, options: &LoadOptions<'_>) -> Loaded {
    let base_dir = absolute(base_dir);
    read(options, true, |loader| {
        let file = loader.files.add_text();
        loader.document(text.as_ref(), file, &base_dir)
    })
    .into_config(&base_dir)
}

/// Loads the `seed.yaml` in the file `path`; its tasks work on the caches of `config`.
pub fn load_seed(path: &Path, config: &Config) -> LoadedSeed {
    load_seed_with(path, config, &PROCESS)
}

/// As [`load_seed`], only the tasks of `selection`: mistakes in others are not told.
pub fn load_seed_selected(path: &Path, config: &Config, selection: &SeedSelection<'_>) -> LoadedSeed {
    let path = absolute(path);
    let base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    read(&PROCESS, false, |loader| loader.file(&path, None)).into_seed(&base_dir, config, selection)
}

/// Loads the `seed.yaml` in the file `path`; its tasks work on the caches of `config`.
pub fn load_seed_with(path: &Path, config: &Config, options: &LoadOptions<'_>) -> LoadedSeed {
    let path = absolute(path);
    let base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    read(options, false, |loader| loader.file(&path, None)).into_seed(&base_dir, config, &SeedSelection::ALL)
}

/// Loads a `seed.yaml` from `text`, any bytes; relative paths are below `base_dir`.
pub fn load_seed_str(text: impl AsRef<[u8]>, base_dir: &Path, config: &Config) -> LoadedSeed {
    let base_dir = absolute(base_dir);
    read(&PROCESS, false, |loader| {
        let file = loader.files.add_text();
        loader.document(text.as_ref(), file, &base_dir)
    })
    .into_seed(&base_dir, config, &SeedSelection::ALL)
}

/// Loads only the `coverages` of the `seed.yaml` in the file `path`.
pub fn load_coverages(path: &Path, config: &Config) -> LoadedCoverages {
    let path = absolute(path);
    let base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    read(&PROCESS, false, |loader| loader.file(&path, None)).into_coverages(&base_dir, config)
}

/// Loads only the `coverages` of a `seed.yaml` from `text`, any bytes; relative paths are below `base_dir`. Nothing is
/// looked up in the environment.
pub fn load_coverages_str(text: impl AsRef<[u8]>, base_dir: &Path, config: &Config) -> LoadedCoverages {
    let base_dir = absolute(base_dir);
    let mut document = read(&LoadOptions { env: &|_| None }, false, |loader| {
        let file = loader.files.add_text();
        loader.document(text.as_ref(), file, &base_dir)
    });
    if document.root.is_some() {
        // Names that are not set stay as they are, which is meant.
        document.findings = Findings::default();
    }
    document.into_coverages(&base_dir, config)
}

/// The content of the file `path` with that of its `base` files, as written; variables are those of the process.
/// `None`: it cannot be read, which [`load`] tells.
pub fn read_written(path: &Path) -> Option<Node> {
    read(&PROCESS, true, |loader| loader.file(&absolute(path), None)).root
}

/// Absolute, without resolving links; the current directory is needed for relative paths only.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A document read and merged.
struct Document {
    root: Option<Node>,
    files: Files,
    findings: Findings,
}

fn read(
    options: &LoadOptions<'_>,
    follow_base: bool,
    read: impl FnOnce(&mut FileLoader<'_>) -> Option<Node>,
) -> Document {
    let mut files = Files::default();
    let mut findings = Findings::default();
    let mut loader = FileLoader::new(&mut files, &mut findings, options.env, follow_base);
    let root = read(&mut loader);
    let unset = std::mem::take(&mut loader.unset);
    for (name, span) in unset {
        let message = format!("environment variable '{name}' is not set: the text stays as it is");
        findings.add(Severity::Warning, span, "", message, None);
    }
    Document { root, files, findings }
}

impl Document {
    fn into_config(mut self, base_dir: &Path) -> Loaded {
        let files = Arc::new(self.files);
        let mut watched: Vec<PathBuf> = files.iter().map(Path::to_path_buf).collect();
        let mut config = None;
        if let Some(root) = &self.root {
            let document = raw::Document::from_node(root, &mut Reader::new(&mut self.findings));
            if let Some(document) = document {
                config = resolve::document(&document, base_dir, &files, &mut self.findings, &mut watched);
            }
        }
        dedup(&mut watched);
        Loaded { config, diagnostics: self.findings.into_diagnostics(&files), files: watched }
    }

    fn into_seed(mut self, base_dir: &Path, config: &Config, selection: &SeedSelection<'_>) -> LoadedSeed {
        let files = Arc::new(self.files);
        let mut watched: Vec<PathBuf> = files.iter().map(Path::to_path_buf).collect();
        let (mut seed, mut seed_names, mut cleanup_names) = (None, Vec::new(), Vec::new());
        if let Some(root) = &self.root {
            let document = raw::SeedDocument::from_node(root, &mut Reader::new(&mut self.findings));
            if let Some(document) = document {
                seed_names.extend(document.seeds.iter().flat_map(|seeds| seeds.value.keys().cloned()));
                cleanup_names.extend(document.cleanups.iter().flat_map(|cleanups| cleanups.value.keys().cloned()));
                let findings = &mut self.findings;
                seed = resolve::seed_document(&document, config, selection, base_dir, findings, &mut watched);
            }
        }
        dedup(&mut watched);
        let config = seed.map(|seed| SeedConfig { files: Arc::clone(&files), ..seed });
        let diagnostics = self.findings.into_diagnostics(&files);
        LoadedSeed { config, seed_names, cleanup_names, diagnostics, files: watched }
    }
}

impl Document {
    fn into_coverages(mut self, base_dir: &Path, config: &Config) -> LoadedCoverages {
        let mut coverages = IndexMap::new();
        if let Some(root) = &self.root {
            let document = raw::SeedDocument::from_node(root, &mut Reader::new(&mut self.findings));
            if let Some(document) = document {
                let mut watched = Vec::new();
                coverages = resolve::seed_coverages(&document, config, base_dir, &mut self.findings, &mut watched);
            }
        }
        LoadedCoverages { coverages, diagnostics: self.findings.into_diagnostics(&self.files) }
    }
}

fn dedup(files: &mut Vec<PathBuf>) {
    let mut seen = rustc_hash::FxHashSet::default();
    files.retain(|file| seen.insert(file.clone()));
}
