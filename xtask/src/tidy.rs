//! `cargo xtask tidy`: rules of the house that no compiler checks.
//!
//! Which crate may use which (ARCHITECTURE.md draws it), how files begin, and what must not be committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Which of our crates each may use; what is not listed may use none.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mapproxy-grid", &[]),
    ("mapproxy-polygons", &[]),
    ("mapproxy-trace", &[]),
    ("mapproxy-client", &["trace"]),
    ("mapproxy-config", &[]),
    ("mapproxy-logging", &[]),
    ("mapproxy-image", &["grid"]),
    ("mapproxy-map", &["image", "grid", "client", "trace"]),
    ("mapproxy-sources", &["map", "client", "image", "grid", "trace"]),
    ("mapproxy-cache", &["map", "client", "image", "grid", "trace"]),
    ("mapproxy-seeding", &["cache", "map", "client", "image", "grid", "trace"]),
    (
        "mapproxy-core",
        &["config", "sources", "cache", "seeding", "polygons", "map", "client", "image", "grid", "trace"],
    ),
    ("mapproxy-http", &["core"]),
    ("mapproxy-util", &["core", "http", "config", "logging", "seeding", "cache", "image", "grid", "map", "client"]),
    ("mapproxy-tests", &["core", "http", "config", "sources", "cache", "seeding", "map", "client", "image", "grid"]),
];

/// Inside a crate: files under the folder must not name the module.
const MUST_NOT_NAME: &[(&str, &[&str], &str)] = &[
    ("crates/mapproxy-cache/src/store", &["mapproxy_image"], "a store keeps bytes and knows nothing of images"),
    (
        "crates/mapproxy-core/src/services",
        &["mapproxy_sources", "mapproxy_cache::store", "mapproxy_config"],
        "a service knows neither concrete sources and stores nor the configuration",
    ),
];

/// Folders of the machines we work on; written in two parts, or this file would break its own rule.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

const UNFINISHED: &[&str] = &[concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];

/// The lint that a file would have to switch off, and the only one that does: an option of the programs' allocator is a call
/// to C. The workspace could not make an exception if it forbade the lint.
const UNSAFE: (&str, &str) = (concat!("unsafe", "_code"), "crates/mapproxy-util/src/allocator.rs");

pub(crate) fn run() -> Result<()> {
    let mut faults = crate_faults(&workspace::metadata()?)?;
    let mut checked = 0;
    for path in workspace::tracked_files()? {
        let bytes = match fs::read(workspace::root().join(&path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue, // deleted, not yet committed
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Ok(text) = String::from_utf8(bytes) {
            faults.extend(file_faults(&path, &text));
            checked += 1;
        }
    }
    if !faults.is_empty() {
        bail!("{} faults:\n{}", faults.len(), faults.join("\n"));
    }
    println!("tidy: {checked} files, no fault");
    Ok(())
}

fn crate_faults(metadata: &Value) -> Result<Vec<String>> {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().context("no packages in the metadata")? {
        let Some(name) = package["name"].as_str() else { continue };
        let Some(allowed) = rules.get(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            // Tests may look further than the code does.
            let ours = dependency["kind"] != "dev" && used.starts_with("mapproxy-");
            if ours && !allowed.iter().any(|short| used.strip_prefix("mapproxy-") == Some(short)) {
                faults.push(format!("crates/{name}/Cargo.toml: {name} must not depend on {used}"));
            }
        }
    }
    Ok(faults)
}

fn file_faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: String| faults.push(format!("{}:{line}: {what}", path.display()));
    let rust = path.extension().is_some_and(|extension| extension == "rs");
    if rust && !text.starts_with("//!") {
        fault(1, "a file opens by saying what it is for (//!)".to_owned());
    }
    // A package that is a workspace of its own, as those are that we write for others, has nothing to take over.
    let is_ours = text.contains("[package]") && !text.lines().any(|line| line == "[workspace]");
    if path.ends_with("Cargo.toml") && is_ours && !text.contains("[lints]\nworkspace = true") {
        fault(1, "the lints of the workspace are not taken over".to_owned());
    }
    let forbidden = MUST_NOT_NAME.iter().filter(|(folder, _, _)| rust && path.starts_with(folder));
    let forbidden: Vec<_> = forbidden.collect();
    for (number, line) in text.lines().enumerate() {
        for machine_path in MACHINE_PATHS {
            if names_path(line, machine_path) {
                fault(number + 1, format!("names a folder of somebody's machine ({machine_path})"));
            }
        }
        if !rust {
            continue;
        }
        for unfinished in UNFINISHED {
            if line.contains(unfinished) {
                fault(number + 1, format!("unfinished ({unfinished})"));
            }
        }
        if line.contains(UNSAFE.0) && !path.ends_with(UNSAFE.1) {
            fault(number + 1, format!("switches off {}: only {} may", UNSAFE.0, UNSAFE.1));
        }
        for (_, modules, reason) in &forbidden {
            for module in modules.iter().filter(|module| line.contains(*module)) {
                fault(number + 1, format!("names {module}: {reason}"));
            }
        }
    }
    faults
}

/// Whether the line has the folder as an absolute path, rather than in the middle of a longer path or address.
fn names_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "}).$~_-*".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_dependency_is_named_and_one_for_tests_is_not() {
        let metadata = serde_json::json!({"packages": [{"name": "mapproxy-sources", "dependencies": [
            {"name": "mapproxy-map", "kind": null},
            {"name": "mapproxy-cache", "kind": null},
            {"name": "mapproxy-core", "kind": "dev"},
        ]}]});
        let faults = crate_faults(&metadata).unwrap();
        assert_eq!(faults, ["crates/mapproxy-sources/Cargo.toml: mapproxy-sources must not depend on mapproxy-cache"]);
    }

    #[test]
    fn what_no_compiler_checks_is_found_with_its_line() {
        let store = Path::new("crates/mapproxy-cache/src/store/x.rs");
        assert_eq!(file_faults(store, "//! X\n").len(), 0);
        assert_eq!(file_faults(store, "fn x() {}\n").len(), 1);
        let faults = file_faults(store, "//! X\nuse mapproxy_image::MapImage;\n");
        assert!(faults[0].starts_with("crates/mapproxy-cache/src/store/x.rs:2: names mapproxy_image"), "{faults:?}");
        let unfinished = format!("//! X\nfn x() {{ {}) }}\n", UNFINISHED[0]);
        assert_eq!(file_faults(Path::new("x.rs"), &unfinished).len(), 1);
        let lax = format!("//! X\n#![allow({})]\n", UNSAFE.0);
        assert_eq!(file_faults(store, &lax).len(), 1);
        assert_eq!(file_faults(Path::new(UNSAFE.1), &lax).len(), 0);
        for machine_path in MACHINE_PATHS {
            assert_eq!(file_faults(Path::new("x.md"), &format!("see {machine_path}x")).len(), 1);
            assert_eq!(file_faults(Path::new("x.md"), &format!("see https://example.org{machine_path}x")).len(), 0);
        }
    }
}
