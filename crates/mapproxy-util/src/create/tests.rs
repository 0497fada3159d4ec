//! Templates: complete, valid, and rendered for every kind of backend.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mapproxy_config::Severity;
use mapproxy_core::AppBuilder;

use super::*;

const FULL: &str = include_str!("templates/base-config/full_example.yaml");
const FULL_SEED: &str = include_str!("templates/base-config/full_seed_example.yaml");

/// What `#:` lines of the examples refer to.
fn files_of_ones_own(folder: &Path) {
    let square = r#"{"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 0]]]}"#;
    fs::write(folder.join("area.geojson"), square).unwrap();
    fs::write(folder.join("district.geojson"), square).unwrap();
    let feature = format!(
        r#"{{"type": "FeatureCollection", "features": [{{"type": "Feature", "properties": {{"kind": "land", "size": 7}}, "geometry": {square}}}]}}"#
    );
    fs::write(folder.join("areas.geojson"), feature).unwrap();
    fs::write(folder.join("expired.txt"), "3/4/2\n").unwrap();
    fs::write(folder.join("common.yaml"), "parts: {}\n").unwrap();
    fs::write(folder.join("ca.pem"), CERTIFICATE).unwrap();
    for name in ["fonts", "proj"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for name in ["to_html.xsl", "to_xml.xsl"] {
        fs::write(folder.join(name), STYLESHEET).unwrap();
    }
    let mut picture = Vec::new();
    image(&mut picture);
    fs::write(folder.join("world.png"), picture).unwrap();
}

/// The smallest PNG: one grey pixel.
fn image(into: &mut Vec<u8>) {
    into.extend_from_slice(include_bytes!("../../example/world.png"));
}

const STYLESHEET: &str = "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'/>";

const CERTIFICATE: &str = include_str!("testdata/ca.pem");

/// `text` without the marks of lines that are not meant to be read, and the numbers of those lines.
fn unmarked(text: &str, marks: &[&str]) -> (String, BTreeSet<usize>) {
    let mut lines = BTreeSet::new();
    let mut result = String::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match marks.iter().find_map(|mark| line.trim_start().strip_prefix(mark)) {
            Some(rest) => {
                lines.insert(number + 1);
                result.push_str(&line[..indent]);
                result.push_str(rest);
            }
            None => result.push_str(line),
        }
        result.push('\n');
    }
    (result, lines)
}

/// All that `mapproxy-util check` says of `text`.
fn findings(folder: &Path, text: &str) -> Vec<(Severity, Option<usize>, String)> {
    let path = folder.join("checked.yaml");
    fs::write(&path, text).unwrap();
    let diagnostics = match AppBuilder::from_file(&path).build() {
        Ok(built) => built.diagnostics,
        Err(error) => error.diagnostics,
    };
    let line = |text: &str| text.split("checked.yaml:").nth(1)?.split(':').next()?.parse().ok();
    diagnostics.iter().map(|found| (found.severity, line(&found.to_string()), found.to_string())).collect()
}

#[test]
fn the_configurations_have_neither_mistakes_nor_warnings() {
    let dir = tempfile::tempdir().unwrap();
    for text in [include_str!("templates/base-config/mapproxy.yaml"), FULL] {
        assert_eq!(findings(dir.path(), text), []);
    }
}

#[test]
fn the_full_example_is_right_with_files_of_ones_own_too() {
    let dir = tempfile::tempdir().unwrap();
    files_of_ones_own(dir.path());
    let (text, lines) = unmarked(FULL, &["#: "]);
    assert!(lines.len() > 10);
    let mut found = findings(dir.path(), &text);
    // Nobody has to have the program of stylesheets to work on MapProxy.
    found.retain(|(_, _, message)| !message.contains("xsltproc"));
    assert_eq!(found, []);
}

#[test]
fn what_the_full_example_says_is_not_built_yet_is_not_and_is_written_correctly() {
    let dir = tempfile::tempdir().unwrap();
    let (text, lines) = unmarked(FULL, &["#~ "]);
    let found = findings(dir.path(), &text);
    for (_, line, message) in &found {
        assert!(message.contains("not supported yet"), "{message}");
        assert!(line.is_some_and(|line| lines.contains(&line)), "{message}");
    }
    // Defaults of what is not there change nothing, and nobody complains.
    let silent = ["sqlite_timeout:", "ogcapi: {max", "mapserver: {"];
    let all: Vec<&str> = text.lines().collect();
    for &line in lines.iter().filter(|line| !lines.contains(&(**line - 1))) {
        let last = (line..).take_while(|line| lines.contains(line)).last().unwrap();
        let told = found.iter().any(|(_, at, _)| at.is_some_and(|at| (line..=last).contains(&at)));
        let excused = silent.iter().any(|start| all[line - 1].trim_start().starts_with(start));
        assert!(told || excused, "line {line} of full_example.yaml is built by now: {}", all[line - 1]);
    }
}

/// The keys of all records in the sources of mapproxy-config's `raw` module.
fn keys(files: &[&str]) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mapproxy-config/src/raw");
    let mut keys = BTreeSet::new();
    for name in files {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let mut in_record = false;
        for line in text.lines() {
            match line {
                "record! {" => in_record = true,
                "}" => in_record = false,
                _ if in_record && line.starts_with("        ") && line.ends_with(',') => {
                    let (field, _) = line.trim().split_once(':').unwrap();
                    let quoted = field.split_once('"').map(|(_, rest)| rest.trim_end_matches("\")"));
                    keys.insert(quoted.unwrap_or(field).to_owned());
                }
                _ => {}
            }
        }
    }
    keys
}

fn is_told(key: &str, text: &str) -> bool {
    text.match_indices(&format!("{key}:")).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    })
}

#[test]
fn the_full_examples_tell_every_option_there_is() {
    // Words of older versions, and those without effect.
    const LEFT_OUT: &[&str] = &[
        "merge_method",
        "axis_order_ne",
        "axis_order_en",
        "use_mapnik2",
        "polygons",
        "polygons_srs",
        "ogr_datasource",
        "ogr_where",
        "ogr_srs",
        "template_dir",
        "debug_mode",
        "views",
    ];
    let files = [
        "auth.rs",
        "caches.rs",
        "coverage.rs",
        "globals.rs",
        "grids.rs",
        "layers.rs",
        "mod.rs",
        "services.rs",
        "sources.rs",
    ];
    let known = keys(&files);
    assert!(known.len() > 200, "{} keys", known.len());
    let missing: Vec<_> = known.iter().filter(|key| !LEFT_OUT.contains(&key.as_str()) && !is_told(key, FULL)).collect();
    assert!(missing.is_empty(), "full_example.yaml does not tell {missing:?}");
    let missing: Vec<_> = keys(&["seed.rs"])
        .into_iter()
        .filter(|key| !LEFT_OUT.contains(&key.as_str()) && !is_told(key, FULL_SEED))
        .collect();
    assert!(missing.is_empty(), "full_seed_example.yaml does not tell {missing:?}");
}

#[test]
fn the_seed_files_are_for_the_configurations_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    files_of_ones_own(dir.path());
    fs::write(dir.path().join("full_seed_example.yaml"), FULL_SEED).unwrap(); // it names itself
    let seed = include_str!("templates/base-config/seed.yaml");
    let (with_files, _) = unmarked(FULL_SEED, &["#: "]);
    for (configuration, seed) in
        [(include_str!("templates/base-config/mapproxy.yaml"), seed), (FULL, FULL_SEED), (FULL, with_files.as_str())]
    {
        let config = mapproxy_config::load_str(configuration, dir.path()).config.unwrap();
        let loaded = mapproxy_config::load_seed_str(seed, dir.path(), &config);
        assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
        assert!(loaded.config.is_some_and(|config| !config.seeds.is_empty() && !config.cleanups.is_empty()));
    }
}

#[test]
fn every_template_is_rendered_for_every_kind_of_backend() {
    let dir = tempfile::tempdir().unwrap();
    let configuration = dir.path().join("50 % of \"my\" maps.yaml");
    fs::write(&configuration, include_str!("templates/base-config/mapproxy.yaml")).unwrap();
    for template in TEMPLATES {
        for backend in ["127.0.0.1:8080", "[::1]:80", "unix:/run/mapproxy.sock"] {
            for (prefix, fastcgi) in [("/", false), ("/maps", true), ("/v1.0/maps", false)] {
                let order = Order {
                    configuration: configuration.clone(),
                    backend: backend.parse().unwrap(),
                    prefix: prefix.parse().unwrap(),
                    fastcgi,
                    crates: None,
                    destination: Path::new("created"),
                };
                let files = (template.files)(&order).unwrap();
                assert!(!files.is_empty());
                for file in files {
                    assert!(!file.text().contains("{{") || template.name == "base-config", "{}", file.text());
                    assert!(file.text().ends_with('\n') && !file.text().ends_with("\n\n"), "{}", template.name);
                }
            }
        }
    }
}

#[test]
fn a_unit_may_write_where_the_caches_are() {
    let dir = tempfile::tempdir().unwrap();
    let configuration = dir.path().join("mapproxy.yaml");
    fs::write(&configuration, include_str!("templates/base-config/mapproxy.yaml")).unwrap();
    let order = Order {
        configuration,
        backend: Backend::default(),
        prefix: Prefix::default(),
        fastcgi: true,
        crates: None,
        destination: Path::new("units"),
    };
    let files = snippets::systemd(&order).unwrap();
    let expected = format!("ReadWritePaths=-{}\n", dir.path().join("cache_data").display());
    assert!(files[0].text().contains(&expected), "{}", files[0].text());
    assert_eq!(files[0].text().matches("ReadWritePaths").count(), 1, "{}", files[0].text());
    assert!(files[0].text().contains(" serve --fastcgi -b systemd "));
    assert!(files[1].text().contains("ListenStream=127.0.0.1:8080\n"));
}
