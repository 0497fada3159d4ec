//! Whatever the input, loading ends, and ends without a panic.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mapproxy_config::{Config, load_seed_str, load_str};
use proptest::prelude::*;

const SEEDS: [&str; 2] = [
    "services: {wms: {srs: ['EPSG:4326'], versions: [1.1.1], md: {title: x}}, wmts: ~, tms: {origin: nw}}\n\
     globals: {cache: {meta_size: [4, 4]}, image: {formats: {f: {mode: P}}}, http: {client_timeout: 1.5}}\n\
     grids: {g: {base: GLOBAL_MERCATOR, num_levels: 5, origin: nw}, h: {srs: 'EPSG:25832', bbox: [0, 0, 1, 1], res: [3, 2]}}\n\
     sources:\n  s: &s {type: wms, req: {url: 'http://h/$X', layers: a}, coverage: {bbox: '1,2,3,4', srs: x, clip: yes}}\n  \
     t: {type: tile, url: 'http://h/%(z)s', grid: g, on_error: {500: {response: '#ff0000'}}}\n\
     caches:\n  c: {sources: [s], grids: [g, h], refresh_before: {time: 2010-10-21T12:35:00}}\n  d: {sources: [c, 's:a'], grids: [h]}\n\
     layers:\n  - {name: l, title: L, sources: [c], md: {keyword_list: [{keywords: [a]}]}}\n  \
     - {name: m, title: M, layers: [{name: n, title: N, sources: [d], min_res: 10, max_res: 1}]}\n",
    "seeds:\n  a: {caches: [c], coverages: [x], levels: {from: 1, to: 3}, refresh_before: {days: 1}}\n\
     cleanups:\n  b: {caches: [c], remove_before: {mtime: x}, resolutions: [1, 2]}\ncoverages: {x: {bbox: [0, 0, 1, 1], srs: y}}\n",
];

const PIECES: [&str; 40] = [
    "~",
    "[",
    "]",
    "{",
    "}",
    ":",
    "- ",
    "&a ",
    "*a",
    "<<: *a",
    "!!int ",
    "!x ",
    "'",
    "\"",
    "|\n",
    ">\n",
    "#",
    "\t",
    "\n",
    "  ",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "99999999999999999999",
    "2001-02-31",
    "1:60",
    "base: x",
    "%",
    "@",
    "$",
    "${",
    "?",
    "---\n",
    "\u{feff}",
    "\0",
    "\u{85}",
    "null",
    "yes",
];

/// A text with some of its characters replaced by pieces that mean something.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (
        0..text.len(),
        0..6usize,
        prop_oneof![
            (0..PIECES.len()).prop_map(|piece| PIECES[piece].as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..3),
            (0..text.len(), 1..30usize)
                .prop_map(|(from, length)| text.as_bytes()[from..(from + length).min(text.len())].to_vec()),
        ],
    );
    proptest::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, length, piece) in changes {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        bytes
    })
}

fn base() -> Config {
    load_str(SEEDS[0], Path::new("/conf")).config.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_configurations_load_or_say_why_not(bytes in mutated(SEEDS[0])) {
        let loaded = load_str(&bytes, Path::new("/nonexistent"));
        prop_assert_eq!(loaded.config.is_none(), loaded.diagnostics.has_errors());
        let _ = loaded.diagnostics.to_string();
    }

    #[test]
    fn mutated_seed_configurations_load_or_say_why_not(bytes in mutated(SEEDS[1])) {
        let loaded = load_seed_str(&bytes, Path::new("/nonexistent"), &base());
        prop_assert_eq!(loaded.config.is_none(), loaded.diagnostics.has_errors());
    }

    #[test]
    fn any_bytes_load_or_say_why_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let loaded = load_str(&bytes, Path::new("/nonexistent"));
        prop_assert_eq!(loaded.config.is_none(), loaded.diagnostics.has_errors());
    }
}

#[test]
fn aliases_of_aliases_are_refused_before_they_fill_the_memory() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    let shown = load_str(&text, Path::new("/conf")).diagnostics.to_string();
    assert!(shown.contains("too many values"), "{shown}");
}

#[test]
fn merges_of_merges_are_refused_before_they_fill_the_memory() {
    let mut text = String::from("a0: &a0 {x: 1, y: 2, z: 3}\n");
    for level in 1..200 {
        let previous = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} {{<<: [{}]}}\n", vec![previous; 50].join(", ")));
    }
    assert!(load_str(&text, Path::new("/conf")).diagnostics.has_errors());
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let block: String = (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for text in [
        "a: ".to_owned() + &"[".repeat(100_000),
        "{a: ".repeat(100_000),
        "? ".repeat(100_000),
        "- ".repeat(100_000),
        block,
    ] {
        assert!(load_str(&text, Path::new("/conf")).diagnostics.has_errors());
    }
}

#[test]
fn a_long_chain_of_caches_is_no_overflow() {
    let length = 5000;
    let mut text = String::from("layers: [{name: l, title: L, sources: [c0]}]\ncaches:\n");
    for at in 0..length {
        text.push_str(&format!("  c{at}: {{sources: [c{}], grids: [GLOBAL_WEBMERCATOR]}}\n", at + 1));
    }
    text.push_str(&format!("  c{length}: {{sources: [], grids: [GLOBAL_WEBMERCATOR]}}\n"));
    let loaded = load_str(&text, Path::new("/conf"));
    assert_eq!(loaded.config.map(|config| config.caches.len()), Some(length + 1), "{}", loaded.diagnostics);
}
