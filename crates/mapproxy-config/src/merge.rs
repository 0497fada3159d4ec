//! The files of a configuration: the main file and those it names with `base`, merged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::env::{self, Environment};
use crate::findings::Findings;
use crate::position::{Files, Span};
use crate::yaml::{self, Key, Mapping, Node, Value};

/// Lists that replace those of the base; all others are appended to them. `meta_size` is a pair like `tile_size`.
const REPLACED_LISTS: [&str; 7] = ["bbox", "tile_size", "max_output_pixels", "sources", "grids", "res", "meta_size"];

/// How many files a configuration may be made of.
const MAX_FILES: usize = 1000;

/// Reads files and merges them.
pub(crate) struct FileLoader<'l> {
    pub(crate) files: &'l mut Files,
    pub(crate) findings: &'l mut Findings,
    pub(crate) env: &'l Environment<'l>,
    pub(crate) unset: BTreeMap<String, Span>,
    /// Whether `base` means something: not so in `seed.yaml`.
    pub(crate) follow_base: bool,
    stack: Vec<PathBuf>,
}

impl<'l> FileLoader<'l> {
    pub(crate) fn new(
        files: &'l mut Files,
        findings: &'l mut Findings,
        env: &'l Environment<'l>,
        follow_base: bool,
    ) -> Self {
        Self { files, findings, env, unset: BTreeMap::new(), follow_base, stack: Vec::new() }
    }

    /// The merged content of `path`. `named_at` is where the file was named, `None` for the main file.
    pub(crate) fn file(&mut self, path: &Path, named_at: Option<Span>) -> Option<Node> {
        if self.files.len() >= MAX_FILES {
            self.findings.error(named_at.unwrap_or_default(), "base", format!("more than {MAX_FILES} files"));
            return None;
        }
        let identity = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if self.stack.contains(&identity) {
            let message = format!("'{}' includes itself through `base`", path.display());
            self.findings.error(named_at.unwrap_or_default(), "base", message);
            return None;
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read '{}': {error}", path.display());
                match named_at {
                    Some(span) => self.findings.error(span, "base", message),
                    None => {
                        let file = self.files.add(path.to_path_buf());
                        self.findings.error(Span { file, line: 0, column: 0 }, "", message);
                    }
                }
                return None;
            }
        };
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        self.stack.push(identity);
        let file = self.files.add(path.to_path_buf());
        let merged = self.document(&bytes, file, &directory);
        self.stack.pop();
        merged
    }

    /// The merged content of a document; its `base` files are relative to `directory`.
    pub(crate) fn document(&mut self, bytes: &[u8], file: u32, directory: &Path) -> Option<Node> {
        let document = match yaml::parse(bytes, file) {
            Ok(document) => document,
            Err(error) => {
                self.findings.error(error.span, "", error.message);
                return None;
            }
        };
        for key in &document.duplicates {
            let message = format!("'{}' is given more than once here: the last one counts", key.text);
            self.findings.warning(key.span, "", message);
        }
        let root = env::expand(&document.root, self.env, &mut self.unset).unwrap_or(document.root);
        let Value::Mapping(mapping) = root.value else {
            self.findings.error(root.span, ".", "configuration not a YAML dictionary");
            return None;
        };
        if !self.follow_base {
            return Some(Node { value: Value::Mapping(mapping), span: root.span });
        }
        let mut mapping = Arc::unwrap_or_clone(mapping);
        let mut complete = true;
        if let Some((_, base)) = mapping.remove("base") {
            for base in self.base_entries(&base)? {
                // Earlier files win over later ones: each goes below all that was merged before it.
                match self.file(&directory.join(&*base.0), Some(base.1)) {
                    Some(Node { value: Value::Mapping(below), .. }) => {
                        mapping = merge_mappings(&mapping, &below, self.findings);
                    }
                    _ => complete = false,
                }
            }
        }
        complete.then(|| Node { value: Value::Mapping(Arc::new(mapping)), span: root.span })
    }

    fn base_entries(&mut self, base: &Node) -> Option<Vec<(Arc<str>, Span)>> {
        let entries = match &base.value {
            Value::Null => return Some(Vec::new()),
            Value::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(base),
        };
        let mut paths = Vec::with_capacity(entries.len());
        for entry in entries {
            match &entry.value {
                Value::String(path) => paths.push((Arc::clone(path), entry.span)),
                _ => {
                    let message = format!("{} in base is not the name of a file", entry.shown());
                    self.findings.error(entry.span, "base", message);
                    return None;
                }
            }
        }
        Some(paths)
    }
}

/// `own` on top of `base`; keys of the base come first.
fn merge_mappings(own: &Mapping, base: &Mapping, findings: &mut Findings) -> Mapping {
    let mut merged = base.clone();
    let mut index: FxHashMap<(Arc<str>, bool), usize> = FxHashMap::default();
    if own.len() > 4 {
        index.extend(merged.iter().enumerate().map(|(at, (key, _))| ((Arc::clone(&key.text), key.is_string), at)));
    }
    let mut removed = Vec::new();
    let entries = merged.entries_mut();
    for (key, node) in own.iter() {
        let known = if own.len() > 4 {
            index.get(&(Arc::clone(&key.text), key.is_string)).copied()
        } else {
            entries.iter().position(|(known, _)| known == key)
        };
        match known {
            None => entries.push((key.clone(), node.clone())),
            Some(at) => match merge_values(key, node, &entries[at].1, findings) {
                Some(node) => entries[at] = (key.clone(), node),
                None => removed.push(at),
            },
        }
    }
    removed.sort_unstable();
    for at in removed.into_iter().rev() {
        entries.remove(at);
    }
    merged
}

/// The value of `key`, or `None` if it is back to its default.
fn merge_values(key: &Key, own: &Node, base: &Node, findings: &mut Findings) -> Option<Node> {
    let value = match (&own.value, &base.value) {
        (Value::Null, Value::Mapping(_) | Value::Sequence(_)) => return Some(base.clone()),
        (Value::Null, _) => return None,
        (Value::Mapping(own), Value::Mapping(base)) => Value::Mapping(Arc::new(merge_mappings(own, base, findings))),
        (Value::Sequence(_), Value::Sequence(_)) if REPLACED_LISTS.contains(&&*key.text) => return Some(own.clone()),
        (Value::Sequence(own), Value::Sequence(base)) if &*key.text == "layers" && is_layers(own, base) => {
            Value::Sequence(Arc::new(merge_layers(own, base, findings)))
        }
        (Value::Sequence(own), Value::Sequence(_)) if own.is_empty() => return None,
        (Value::Sequence(own), Value::Sequence(base)) => {
            Value::Sequence(Arc::new(base.iter().chain(own.iter()).cloned().collect()))
        }
        _ => return Some(own.clone()),
    };
    Some(Node { value, span: own.span })
}

/// Layers are dictionaries; a list of texts under the same key is something else.
fn is_layers(own: &[Node], base: &[Node]) -> bool {
    own.iter().chain(base).all(|layer| layer.as_mapping().is_some())
}

/// Layers of one name are merged in the place of the base's, new ones follow.
fn merge_layers(own: &[Node], base: &[Node], findings: &mut Findings) -> Vec<Node> {
    fn name(layer: &Node) -> Option<&str> {
        layer.as_mapping()?.get("name")?.as_str()
    }
    let mut merged = base.to_vec();
    let index: FxHashMap<&str, usize> =
        base.iter().enumerate().filter_map(|(at, layer)| Some((name(layer)?, at))).collect();
    for layer in own {
        let known = name(layer).and_then(|name| index.get(name).copied());
        match (known, layer.as_mapping()) {
            (Some(at), Some(mapping)) => {
                if let Some(below) = merged[at].as_mapping() {
                    let value = Value::Mapping(Arc::new(merge_mappings(mapping, below, findings)));
                    merged[at] = Node { value, span: layer.span };
                }
            }
            _ => {
                if name(layer).is_none() && !base.is_empty() {
                    findings.warning(
                        layer.span,
                        "layers",
                        "a layer without name cannot be merged with one of `base`: it is added to them",
                    );
                }
                merged.push(layer.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        yaml::parse(text.as_bytes(), 0).unwrap().root
    }

    fn merged(own: &str, base: &str) -> String {
        let (own, base) = (node(own), node(base));
        let mut findings = Findings::default();
        let merged = merge_mappings(own.as_mapping().unwrap(), base.as_mapping().unwrap(), &mut findings);
        Node { value: Value::Mapping(Arc::new(merged)), span: Span::default() }.shown()
    }

    #[test]
    fn dictionaries_are_merged_and_keys_of_the_base_come_first() {
        assert_eq!(merged("{b: {x: 2}, c: 3}", "{a: 1, b: {x: 1, y: 1}}"), "{a: 1, b: {x: 2, y: 1}, c: 3}");
    }

    #[test]
    fn lists_are_appended_to_those_of_the_base_but_for_some() {
        assert_eq!(merged("{srs: [b]}", "{srs: [a]}"), "{srs: ['a', 'b']}");
        for key in REPLACED_LISTS {
            assert_eq!(merged(&format!("{{{key}: [2, 2]}}"), &format!("{{{key}: [1]}}")), format!("{{{key}: [2, 2]}}"));
        }
    }

    #[test]
    fn null_keeps_lists_and_dictionaries_and_takes_scalars_away() {
        assert_eq!(merged("{a: ~, b: ~, c: ~}", "{a: [1], b: {x: 1}, c: 1, d: 1}"), "{a: [1], b: {x: 1}, d: 1}");
    }

    #[test]
    fn an_empty_list_takes_the_list_of_the_base_away() {
        assert_eq!(merged("{a: [], sources: []}", "{a: [1], sources: [x]}"), "{sources: []}");
    }

    #[test]
    fn a_value_of_another_kind_replaces() {
        assert_eq!(merged("{a: x, b: {c: 1}, d: [1]}", "{a: [1], b: 2, d: 1}"), "{a: 'x', b: {c: 1}, d: [1]}");
    }

    #[test]
    fn layers_are_merged_by_name_in_the_order_of_the_base() {
        assert_eq!(
            merged(
                "{layers: [{name: n}, {name: a, title: A2, sources: [y]}]}",
                "{layers: [{name: a, title: A, sources: [x]}, {name: b}]}"
            ),
            "{layers: [{name: 'a', title: 'A2', sources: ['y']}, {name: 'b'}, {name: 'n'}]}"
        );
    }
}
