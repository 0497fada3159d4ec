//! What is refused, what is warned about, and how: one line per mistake.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mapproxy_config::{Severity, load_str};

/// A configuration that is right, in pieces that can be replaced.
const SERVICES: &str = "services: {wms: {}, wmts: {}, tms: {}}\n";
const SOURCES: &str = "sources: {s: {type: wms, req: {url: 'http://h/', layers: 'a,b'}}, \
                       t: {type: tile, grid: GLOBAL_MERCATOR, url: 'http://h/%(z)s'}}\n";
const LAYERS: &str = "layers: [{name: l, title: L, sources: [c]}]\n";
const CACHES: &str = "caches: {c: {sources: [s], grids: [GLOBAL_WEBMERCATOR]}}\n";

fn messages(text: &str, severity: Severity) -> Vec<String> {
    let loaded = load_str(text, Path::new("/conf"));
    assert_eq!(loaded.config.is_none(), loaded.diagnostics.has_errors());
    loaded.diagnostics.iter().filter(|d| d.severity == severity).map(|d| d.to_string()).collect()
}

#[track_caller]
fn is_error(text: &str, expected: &str) {
    let found = messages(text, Severity::Error);
    assert!(found.iter().any(|message| message.contains(expected)), "{expected:?} is not in {found:#?}\n{text}");
}

#[track_caller]
fn is_warning(text: &str, expected: &str) {
    let errors = messages(text, Severity::Error);
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    let found = messages(text, Severity::Warning);
    assert!(found.iter().any(|message| message.contains(expected)), "{expected:?} is not in {found:#?}\n{text}");
}

#[track_caller]
fn is_fine(text: &str) {
    let loaded = load_str(text, Path::new("/conf"));
    assert!(loaded.diagnostics.is_empty(), "{}\n{text}", loaded.diagnostics);
}

fn with_cache(options: &str) -> String {
    format!("{SERVICES}{SOURCES}{LAYERS}caches: {{c: {{sources: [s], grids: [GLOBAL_WEBMERCATOR], {options}}}}}\n")
}

fn with_source(options: &str) -> String {
    format!(
        "{SERVICES}layers: [{{name: l, title: L, sources: [s]}}]\n\
         sources: {{s: {{type: wms, req: {{url: 'http://h/', layers: a}}, {options}}}}}\n"
    )
}

fn with_grid(options: &str) -> String {
    format!(
        "{SERVICES}{SOURCES}{LAYERS}caches: {{c: {{sources: [s], grids: [g]}}}}\ngrids: {{g: {{origin: nw, {options}}}}}\n"
    )
}

fn with_layers(layers: &str) -> String {
    format!("{SERVICES}{SOURCES}{CACHES}layers: {layers}\n")
}

#[test]
fn the_pieces_are_right() {
    is_fine(&format!("{SERVICES}{SOURCES}{CACHES}{LAYERS}"));
    is_fine(&with_cache("meta_size: [1.0, 1]"));
    is_fine(&with_source("seed_only: no"));
    is_fine(&with_grid("srs: EPSG:4326"));
}

#[test]
fn a_document_is_one_dictionary() {
    for text in ["", "# nothing", "- a", "text", "5"] {
        is_error(text, "configuration not a YAML dictionary");
    }
    is_error("a: 1\n---\nb: 1\n", ":2:1: error: cannot read YAML: there is a second document here");
    is_error("a:\n\t- 1\n", "<configuration>:2");
    is_error("a: *x\n", "cannot read YAML");
    is_error("a: !python/name:os.system x\n", "has no meaning here");
    is_error("a: &a [*a]\n", "the alias is inside of what it stands for");
    is_error("? [a]\n: 1\n", "cannot be a key");
    is_error("a: 2001-13-45\n", "looks like a date");
    is_error("a: \u{7}\n", ":1:4: error: cannot read YAML: control character U+0007");
}

#[test]
fn errors_carry_line_column_and_key_path() {
    let text = "services:\n  wms: {}\nlayers:\n  - name: a\n    title: 5\n    sources: [x]\n";
    let loaded = load_str(text, Path::new("/conf"));
    let shown = loaded.diagnostics.to_string();
    assert_eq!(
        shown,
        "<configuration>:5:12: error: 5 in layers[0].title not of type str (at layers[0].title)\n  \
         help: put the value in quotes to make it a text\n\
         <configuration>:6:15: error: source/cache \"x\" not found (at layers[0].sources[0])"
    );
    let json = serde_json::to_value(&loaded.diagnostics).unwrap();
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["line"], 5);
    assert_eq!(json[1]["path"], "layers[0].sources[0]");
}

#[test]
fn wrong_types_are_errors_in_the_words_known_from_mapproxy() {
    for (text, expected) in [
        ("globals: {cache: {meta_buffer: ~}}", "null in globals.cache.meta_buffer not of type number"),
        ("caches: {a: ~}", "missing 'sources', not in caches.a"),
        ("caches: {a: {sources: x}}", "'x' in caches.a.sources not of any type list, dict"),
        ("caches: {a: {sources: [x], meta_size: 1}}", "1 in caches.a.meta_size not of type list"),
        ("caches: {a: {sources: [x], disable_storage: 5}}", "5 in caches.a.disable_storage not of type bool"),
        ("sources: {a: {type: wms, req: ~}}", "missing 'url', not in sources.a.req"),
        ("sources: {a: {type: tile}}", "missing 'url', not in sources.a"),
        ("sources: {a: {type: foo}}", "unknown type value 'foo' in sources.a"),
        ("sources: {a: {type: wmss}}", "help: did you mean 'wms'?"),
        ("sources: {a: {}}", "sources.a is empty"),
        ("sources: {a: ~}", "sources.a is empty"),
        ("sources: {a: [1]}", "'type' not in sources.a"),
        ("layers: [1]", "1 in layers[0] not of type dict"),
        ("layers: [{title: no}]", "false in layers[0].title not of type str"),
        ("layers: [{name: x}]", "missing 'title', not in layers[0]"),
        ("services: {wms: {bbox_srs: [5]}}", "5 in services.wms.bbox_srs[0] not of any type str, dict"),
        ("grids: {a: {res: [1.0, x]}}", "'x' in grids.a.res[1] not of type number"),
        ("grids: {a: {bbox: 5}}", "5 in grids.a.bbox not of any type str, list"),
        ("sources: {a: {type: tile, url: x, http: {client_timeout: yes}}}", "true in sources.a.http.client_timeout"),
    ] {
        is_error(text, expected);
    }
}

#[test]
fn unknown_keys_are_warnings_with_a_suggestion() {
    is_warning(&with_source("suported_srs: ['EPSG:4326']"), "unknown 'suported_srs' in sources.s");
    is_warning(&with_source("suported_srs: ['EPSG:4326']"), "help: did you mean 'supported_srs'?");
    is_warning(&format!("{SERVICES}{SOURCES}{CACHES}{LAYERS}foo: 1\n"), "unknown 'foo' in .");
    is_warning(&format!("{SERVICES}{SOURCES}{CACHES}{LAYERS}cache: {{}}\n"), "help: did you mean 'caches'?");
    is_warning(&with_layers("[{name: l, title: L, sources: [c], titel: x}]"), "did you mean 'title'?");
    is_fine(&format!("{SERVICES}{SOURCES}{CACHES}{LAYERS}parts: {{anything: [1]}}\n"));
}

#[test]
fn names_that_are_no_texts_are_warnings() {
    is_warning("caches: {off: {sources: [], grids: [GLOBAL_MERCATOR]}}", "the name 'false' in caches was not written");
}

#[test]
fn duplicate_keys_are_warnings() {
    is_warning("layers: []\nlayers: []\n", ":2:1: warning: 'layers' is given more than once here");
}

#[test]
fn references_to_nothing_are_errors() {
    is_error(&with_layers("[{name: l, title: L, sources: [cc]}]"), "source/cache \"cc\" not found");
    is_error(&with_layers("[{name: l, title: L, sources: ['c:x']}]"), "source/cache \"c:x\" not found");
    is_error(
        &with_layers("[{name: l, title: L, sources: [c], tile_sources: [s]}]"),
        "Tile source 's' for layer 'l' not in cache section",
    );
    let caches = "caches: {c: {sources: [zz], grids: [GLOBAL_WEBMERCATOR]}}\n";
    is_error(&format!("{SERVICES}{SOURCES}{LAYERS}{caches}"), "unknown source zz");
    let caches = "caches: {c: {sources: [s], grids: [GLOBAL_WEBMERCATR]}}\n";
    is_error(&format!("{SERVICES}{SOURCES}{LAYERS}{caches}"), "Grid 'GLOBAL_WEBMERCATR' for cache 'c' not found");
    is_error(&format!("{SERVICES}{SOURCES}{LAYERS}{caches}"), "did you mean 'GLOBAL_WEBMERCATOR'?");
}

#[test]
fn mistakes_in_what_no_layer_uses_are_warnings_and_it_is_left_out() {
    let text = format!(
        "{SERVICES}{LAYERS}sources: {{s: {{type: wms, req: {{url: 'http://h/', layers: a}}}}, \
         m: {{type: mapnik, mapfile: x, scale_factor: 0}}, q: {{type: tile, grid: FOO, url: x}}}}\n\
         grids: {{bad: {{srs: 'EPSG:25832', origin: nw}}}}\n\
         caches: {{c: {{sources: [s], grids: [GLOBAL_WEBMERCATOR]}}, broken: {{sources: [zz], grids: [YY]}}}}\n"
    );
    is_warning(&text, "unknown source zz in cache 'broken' (not used by any layer)");
    is_warning(&text, "0 is not a number above 0 (not used by any layer)");
    let config = load_str(&text, Path::new("/conf")).config.unwrap();
    assert_eq!(config.caches.keys().map(|name| &**name).collect::<Vec<_>>(), ["c"]);
    assert_eq!(config.sources.keys().map(|name| &**name).collect::<Vec<_>>(), ["s"]);
    assert!(!config.grids.contains_key("bad"));
}

#[test]
fn caches_made_of_themselves_are_errors() {
    let caches = "caches: {c: {sources: [d], grids: [GLOBAL_WEBMERCATOR]}, \
                  d: {sources: [c], grids: [GLOBAL_WEBMERCATOR]}}\n";
    is_error(&format!("{SERVICES}{LAYERS}{caches}"), "cache 'c' is made of itself: c -> d -> c");
}

#[test]
fn rules_of_caches() {
    for (options, expected) in [
        ("format: mixed", "request_format must be set to image/png or image/vnd.jpeg-png"),
        ("format: mixed, request_format: image/jpeg", "request_format must be set to image/png"),
        ("upscale_tiles: -1", "upscale_tiles must be positive"),
        ("downscale_tiles: -1", "downscale_tiles must be positive"),
        ("upscale_tiles: 1, downscale_tiles: 1", "cannot use both upscale_tiles and downscale_tiles"),
        ("meta_size: [2]", "two numbers are needed"),
        ("meta_size: [0, 2]", "0 is not a whole number from 1 on"),
        ("meta_buffer: -1", "-1 is not a whole number from 0 on"),
        ("meta_buffer: .nan", "not a whole number"),
        ("cache: {type: file, directory_layout: foo}", "unknown directory_layout \"foo\""),
        ("cache: {type: foo}", "unknown type value 'foo' in caches.c.cache"),
        ("cache: {type: compact}", "missing 'version', not in caches.c.cache"),
        ("cache: {type: sqlite, ttl: -1}", "-1 is no number of seconds"),
        ("cache: {type: mbtiles, sqlite_timeout: -1}", "-1 is no number of seconds"),
        ("cache: {type: geopackage, table_name: 'a b'}", "the table_name 'a b' may have letters, digits, _ and - only"),
        ("cache: {type: compact, version: 3}", "compact cache only supports version 1 or 2"),
        ("cache: {type: s3}", "no bucket_name configured for s3 cache c"),
        ("cache: {type: s3, bucket_name: b, directory_layout: foo}", "unknown directory_layout \"foo\""),
        ("cache: {type: azureblob}", "no container_name configured for Azure Blob cache c"),
        ("cache: {type: file, file_permissions: '99'}", "'99' are not permissions"),
        ("watermark: {font_size: 5}", "a watermark needs a text"),
        ("watermark: {text: x, spacing: narrow}", "unknown spacing 'narrow'"),
        ("image: {mode: FOO}", "unknown mode 'FOO'"),
        ("image: {resampling_method: best}", "unknown resampling method 'best'"),
        ("image: {encoding_options: {jpeg_quality: high}}", "jpeg_quality is not an integer"),
        ("image: {encoding_options: {quantizer: x}}", "unknown quantizer 'x'"),
        ("image: {encoding_options: {tiff_compression: x}}", "unknown tiff_compression 'x'"),
        ("image: {encoding_options: {foo: x}}", "unknown encoding_options: 'foo'"),
        ("link_single_color_images: maybe", "'maybe' is none of true, false, symlink, hardlink"),
        ("refresh_before: {time: foo}", "can't parse time 'foo'. should be ISO time string"),
        ("refresh_before: {time: 2010-10-21}", "x"),
        ("refresh_before: {days: -1}", "cannot be negative"),
        ("concurrent_tile_creators: 0", "0 is not a whole number from 1 on"),
    ] {
        if expected == "x" {
            // A date alone is a time for us, midnight; the reference fails on it when the first tile is asked for.
            is_fine(&with_cache(options));
            continue;
        }
        is_error(&with_cache(options), expected);
    }
    is_warning(&with_cache("format: png24"), "unknown image format 'png24': tiles are stored as image/png");
    is_fine(&with_cache("upscale_tiles: 0, refresh_before: {days: 1, hours: 2}"));
    is_fine(&with_cache("refresh_before: {time: 2010-10-21T12:35:00}"));
    is_fine(&with_cache("refresh_before: {time: '2010-10-21T12:35:00'}"));
    is_warning(&with_cache("cache_dir: x, cache: {type: file, directory: y}"), "ignoring cache_dir");
}

#[test]
fn rules_between_caches_and_sources() {
    let cache = |cache: &str| format!("{SERVICES}{SOURCES}{LAYERS}caches: {{c: {{{cache}}}}}\n");
    is_error(&cache("sources: [s, t], grids: [GLOBAL_MERCATOR]"), "meta tiling configured but not supported by all");
    is_fine(&cache("sources: [s, t], grids: [GLOBAL_MERCATOR], meta_size: [1, 1], meta_buffer: 0"));
    is_error(
        &cache("sources: [s, s], grids: [GLOBAL_MERCATOR], use_direct_from_level: 3"),
        "use_direct_from_level/res only supports single sources",
    );
    is_error(
        &cache("sources: [s], grids: [GLOBAL_MERCATOR, GLOBAL_GEODETIC], cache: {type: file, directory: x}"),
        "using single directory for cache with multiple grids in c",
    );
    is_error(
        &cache(
            "sources: [s], grids: [GLOBAL_MERCATOR, GLOBAL_GEODETIC], cache: {type: compact, version: 2, directory: x}",
        ),
        "using single directory for cache with multiple grids in c",
    );
    let shared =
        "sources: [s], grids: [GLOBAL_MERCATOR, GLOBAL_GEODETIC], cache: {type: s3, bucket_name: b, directory: x";
    is_warning(&cache(&format!("{shared}}}")), "their tiles have the same names");
    is_fine(&cache(&format!("{shared}, include_grid_name: true}}")));
    is_error(&cache("sources: ['t:a'], grids: [GLOBAL_MERCATOR]"), "found ':' in 't:a'");
    is_error(&cache("sources: ['s:z'], grids: [GLOBAL_MERCATOR]"), "layers (z) not supported by source (a, b)");
    is_fine(&cache("sources: ['s:b'], grids: [GLOBAL_MERCATOR]"));
    is_error(&cache("sources: [s], grids: []"), "at least one grid");
    is_warning(&cache("sources: [s]"), "cache 'c' has no grids");
    is_fine(&cache("sources: {r: [{source: s, band: 0}]}, grids: [GLOBAL_MERCATOR]"));
    is_error(&cache("sources: {r: [{source: s, band: 4}]}, grids: [GLOBAL_MERCATOR]"), "4 is no band");
    is_error(&cache("sources: {r: [{source: z, band: 0}]}, grids: [GLOBAL_MERCATOR]"), "unknown source z");
    is_error(&cache("sources: {}, grids: [GLOBAL_MERCATOR]"), "at least one band");
    is_error(&cache("sources: {r: [{source: c, band: 0}]}, grids: [GLOBAL_MERCATOR]"), "is made of itself");
    is_error(
        &cache("sources: {r: [{source: s, band: 0}]}, grids: [GLOBAL_MERCATOR], use_direct_from_level: 3"),
        "only supports single sources",
    );
    let grey = "sources: {l: [{source: s, band: 0}], a: [{source: s, band: 3}]}, grids: [GLOBAL_MERCATOR]";
    is_warning(&cache(grey), "l makes a grey picture");
}

#[test]
fn rules_of_sources() {
    for (options, expected) in [
        ("min_res: 1, max_res: 10", "min_res (1) has to be greater than max_res (10)"),
        ("min_res: 1, max_res: 1", "has to be greater"),
        ("min_scale: 10, max_scale: 1", "max_scale (1) has to be greater than min_scale (10)"),
        ("wms_opts: {version: 1.2.0}", "unknown WMS version '1.2.0'"),
        ("on_error: {foo: {response: transparent}}", "invalid error code 'foo' in on_error"),
        ("on_error: {500: {response: red}}", "'red' is not a color"),
        ("on_error: {500: {response: [1, 2, 256]}}", "is not a color"),
        ("on_error: {500: {}}", "missing 'response', not in sources.s.on_error.500"),
        ("http: {client_timeout: 0}", "is not a number of seconds above 0"),
        ("http: {client_timeout: .inf}", "is not a number of seconds above 0"),
        ("http: {method: PUT}", "unknown method 'PUT'"),
        ("coverage: {bbox: [1, 2, 3, 4]}", "missing 'srs', not in sources.s.coverage"),
        ("coverage: {bbox: abc, srs: 'EPSG:4326'}", "'abc' is not a bbox"),
        ("coverage: {bbox: [1, 2, 3], srs: 'EPSG:4326'}", "a bbox is four numbers"),
        ("coverage: {bbox: [3, 2, 1, 4], srs: 'EPSG:4326'}", "the bbox is empty"),
        ("coverage: {polygons: nope.wkt, srs: 'EPSG:4326'}", "cannot read '/conf/nope.wkt'"),
        ("coverage: {datasource: 'PG:x'}", "missing 'srs', not in sources.s.coverage"),
        ("coverage: {ogr_datasource: 'PG:x'}", "missing 'ogr_srs', not in sources.s.coverage"),
        ("coverage: {datasource: nope.shp, srs: 'EPSG:4326'}", "cannot read '/conf/nope.shp'"),
        ("coverage: {union: []}", "at least one coverage"),
        ("coverage: {expire_tiles: x}", "cannot read '/conf/x'"),
        ("image: {opacity: 2}", "2 is not an opacity"),
        ("image: {transparent_color: '#12345'}", "'#12345' is not a color"),
        ("concurrent_requests: -1", "-1 is not a whole number"),
    ] {
        is_error(&with_source(options), expected);
    }
    is_warning(&with_source("wms_opts: {featureinfo: true, featureinfo_out_format: text/xml}"), "and there is none");
    is_error(&with_source("wms_opts: {legendurl: 'legend.png'}"), "'legend.png' is no address of a legend");
    is_fine(&with_source("coverage: {bbox: '1,2, 3,4', srs: 'EPSG:4326'}, min_res: 10, max_res: 1"));
    is_fine(&with_source("coverage: {}"));
    is_fine(&with_source("coverage: {datasource: 'PG:dbname=x', where: n = 1, srs: 'EPSG:4326'}"));
    let two = "coverage: {bbox: [1, 2, 3, 4], datasource: x.shp, where: n = 1, srs: 'EPSG:4326'}";
    is_warning(&with_source(two), "a coverage has one shape: `bbox` is used, not `datasource`");
    is_warning(&with_source(two), "`where` has no effect: `bbox` has no features to choose from");
    let source = |options: &str| {
        format!("{SERVICES}layers: [{{name: l, title: L, sources: [s]}}]\nsources: {{s: {{{options}}}}}")
    };
    is_fine(&source("type: arcgis, req: {url: 'http://h/MapServer', any: thing}, opts: {featureinfo: true}"));
    is_error(&source("type: arcgis, req: {layers: 'show:0'}"), "missing 'url', not in sources.s.req");
    is_error(
        &source("type: arcgis, req: {url: x}, opts: {featureinfo_tolerance: -1}"),
        ":3:74: error: -1 is not a number of pixels (at sources.s.opts.featureinfo_tolerance)",
    );
    is_error(&source("type: mapserver, req: {layers: a}"), "missing 'map', not in sources.s.req");
    is_error(&source("type: ogcapimaps, collection: a"), "missing 'landingpage_url'");
    is_error(&source("type: ogcapimaps, landingpage_url: 'http://h/', bgcolor: red"), "'red' is not a color");
    is_warning(&source("type: mapnik, mapfile: a, use_mapnik2: true"), "use_mapnik2 has no effect");
    is_warning(
        &format!(
            "{SERVICES}layers: [{{name: l, title: L, sources: [s]}}]\nsources: {{s: {{type: wms, req: {{url: x}}}}}}"
        ),
        "Missing 'layers' for source 's'",
    );
}

#[test]
fn rules_of_grids() {
    for (options, expected) in [
        ("origin: foo, srs: EPSG:4326", "unknown origin value 'foo'"),
        ("srs: EPSG:25832", "need a bbox for grid with SRS EPSG:25832"),
        ("srs: EPSG:4326, res: [1, 2], min_res: 5", "min_res cannot be given with it"),
        ("srs: EPSG:4326, res: []", "at least one resolution"),
        ("srs: EPSG:4326, res: [0]", "0 is not a number above 0"),
        ("srs: EPSG:4326, min_res: 1, max_res: 2", "max_res (2) is the smaller number"),
        ("srs: EPSG:4326, num_levels: 0", "0 is not a whole number from 1 on"),
        ("srs: EPSG:4326, num_levels: 100000", "more than the 200"),
        ("srs: EPSG:4326, res_factor: 1", "res_factor is a number above 1, or sqrt2"),
        ("srs: EPSG:4326, res_factor: sqrt3", "res_factor is a number above 1, or sqrt2"),
        ("srs: EPSG:4326, tile_size: [256]", "tile_size is two numbers"),
        ("srs: EPSG:4326, tile_size: [0, 256]", "0 is not a whole number"),
        ("base: nope", "unknown base nope for grid g"),
        ("base: g", "grid 'g' is based on itself"),
        ("srs: EPSG:4326, align_resolutions_with: nope", "unknown grid 'nope' in align_resolutions_with"),
        ("srs: EPSG:4326, align_resolutions_with: g", "grid 'g' is aligned with itself"),
    ] {
        is_error(&with_grid(options), expected);
    }
    let text = with_grid("srs: EPSG:4326").replace("origin: nw, ", "");
    is_warning(&text, "grid 'g' has no origin");
}

#[test]
fn rules_of_layers() {
    is_error(
        &with_layers("[{name: l, title: L, sources: [t]}]"),
        "source \"t\" of layer \"l\" does not support un-tiled access",
    );
    is_error(&with_layers("[]"), "found no WMS layer");
    is_error(&with_layers("[{name: l, title: L, tile_sources: [c]}]"), "found no WMS layer");
    is_error(&with_layers("[{name: l, title: L, sources: [c], min_res: 1, max_res: 2}]"), "has to be greater");
    is_warning(
        &with_layers("[{name: l, title: L, sources: [c]}, {name: l, title: M, sources: [s]}]"),
        "there is more than one layer 'l'",
    );
    is_warning(&with_layers("{l: {title: L, sources: [c]}}"), "outdated");
    is_warning(&with_layers("[{l: {title: L, sources: [c]}}]"), "outdated");
    is_error(&with_layers("[{name: l, title: L, sources: [c], legendurl: 'ftp://h/'}]"), "is no address of a legend");
    is_error(
        &with_layers("[{name: l, title: L, sources: [c], dimensions: {time: {values: []}}}]"),
        "dimension 'time' has no values",
    );
    is_error(
        &with_layers("[{name: l, title: L, sources: [c], dimensions: {time: {values: [1]}, TIME: {values: [2]}}}]"),
        "dimension 'TIME' is there twice",
    );
}

#[test]
fn rules_of_services() {
    let services = |services: &str| format!("services: {{{services}}}\n{SOURCES}{CACHES}{LAYERS}");
    is_error(&services("wms: {versions: [1.2.0]}"), "unknown WMS version '1.2.0'");
    is_error(&services("wms: {versions: [1.1]}"), "1.1 in services.wms.versions[0] not of type str");
    is_error(&services("wms: {max_output_pixels: -1}"), "-1 is not a number of pixels");
    is_error(&services("wms: {bbox_srs: [{bbox: [0, 0, 1, 1]}]}"), "missing 'srs'");
    is_error(&services("tms: {origin: up}"), "unknown origin value 'up'");
    is_warning(&services("wms: {on_source_errors: foo}"), "unknown 'foo': notify or raise");
    is_error(&services("ogcapi: {map_srs: []}"), "at least one SRS is needed");
    is_error(&services("ogcapi: {max_output_pixels: 0}"), "0 is not a number of pixels");
    is_warning(&services("ogcapi: {image_formats: [image/png, foo]}"), "unknown image format 'foo'");
    is_warning(&services("ogcapi: {on_source_errors: foo}"), "unknown 'foo': notify or raise");
    is_error(&services("wmms: {}"), "error: unknown 'wmms' in services");
    is_error(&services("wmms: {}"), "help: did you mean '");
    is_warning(&services("wms: {image_formats: [image/png, png8]}"), "unknown image format 'png8'");
    is_warning(&services("wms: {md: {contact: {organisation: x}}}"), "did you mean 'organization'?");
}

#[test]
fn all_mistakes_are_found_at_once() {
    let text = "services: {wms: {versions: [9]}}\n\
                sources: {a: {type: wms, req: {layers: x}}, b: {type: nope}}\n\
                caches: {c: {sources: [zz], grids: [yy], meta_size: x}}\n\
                layers: [{name: l, sources: [c, d], titel: L}]\n";
    assert!(messages(text, Severity::Error).len() >= 8, "{:#?}", messages(text, Severity::Error));
}

#[test]
fn stores_on_servers_say_what_cannot_be() {
    let redis = |options: &str| with_cache(&format!("cache: {{type: redis, {options}}}"));
    is_fine(&redis("host: h, password: p, username: u, db: 2, default_ttl: 0, ssl_ca_certs: ca.pem"));
    is_error(&redis("port: 0"), "a port is a number from 1 to 65535");
    is_error(&redis("db: -1"), "cannot be negative");
    is_error(&redis("default_ttl: -5"), "expire before they are stored");
    is_error(&redis("ssl_certfile: a.pem"), "ssl_certfile and ssl_keyfile");
    is_error(&redis("username: u"), "a user needs a password");
    let couchdb = |options: &str| with_cache(&format!("cache: {{type: couchdb, {options}}}"));
    is_fine(&couchdb("url: 'https://u:p@h:5984', tile_metadata: {a: 1, b: [x]}"));
    is_error(&couchdb("url: 'h:5984'"), "begins with http:// or https://");
    is_error(&couchdb("db_name: ''"), "needs a name");
    let two_grids = |cache: &str| with_cache(&format!("grids: [GLOBAL_WEBMERCATOR, GLOBAL_GEODETIC], cache: {cache}"));
    let two_grids = |cache: &str| two_grids(cache).replace("grids: [GLOBAL_WEBMERCATOR], grids:", "grids:");
    is_fine(&two_grids("{type: redis}"));
    is_error(&two_grids("{type: redis, prefix: x}"), "the tiles of 2 grids would have the same keys");
    is_error(&two_grids("{type: couchdb, tile_id: '%(z)s-%(x)s-%(y)s'}"), "would be the same documents");
}

#[test]
fn tiers_that_make_no_sense_are_refused_by_name() {
    let tiers = |list: &str| with_cache(&format!("cache: {{type: tiered, tiers: [{list}]}}"));
    const MEMORY: &str = "{type: memory, max_size: 64MB}";
    const DISK: &str = "{type: file, directory: near, max_size: 1.5GiB, max_age: 60}";
    is_fine(&tiers(&format!("{MEMORY}, {DISK}, {{type: file}}")));
    is_fine(&tiers(&format!("{DISK}, {{type: redis}}")));
    is_fine(&with_cache("cache: {type: file, memory: 64MB}"));
    is_fine(&with_cache("cache: {type: redis, memory: {max_size: 64000000, max_age: 2.5}}"));
    is_error(&tiers(MEMORY), "tiers are at least two");
    is_error(&tiers(""), "tiers are at least two");
    is_error(&tiers(&format!("{DISK}, {MEMORY}")), "memory would forget them");
    is_error(&tiers(&format!("{DISK}, {MEMORY}, {{type: file}}")), "it has to be the first tier");
    is_error(&tiers("{type: redis}, {type: file}"), "is of type memory or file, not redis");
    is_error(&tiers("{type: memory}, {type: file}"), "needs a limit");
    is_error(&tiers("{type: memory, max_size: 5kB}, {type: file}"), "at least 1MB");
    is_error(&tiers("{type: memory, max_size: lots}, {type: file}"), "a size is a number of bytes");
    is_error(&tiers("{type: memory, max_size: 5MB, max_age: -1}, {type: file}"), "seconds that is not negative");
    is_error(&tiers(&format!("{MEMORY}, {{type: file, max_size: 5GB}}")), "max_size is for tiers with copies");
    is_error(&with_cache("cache: {type: file, max_age: 5}"), "max_age is for tiers with copies");
    is_error(
        &tiers(&format!("{MEMORY}, {{type: tiered, tiers: [{MEMORY}, {{type: file}}]}}")),
        "tiers cannot have tiers",
    );
    is_error(
        &tiers(&format!("{{type: tiered, tiers: [{MEMORY}, {{type: file}}]}}, {{type: file}}")),
        "tiers cannot have tiers",
    );
    is_error(&with_cache("cache: {type: memory, max_size: 64MB}"), "forgets all of its tiles");
    is_error(
        &tiers(&format!("{MEMORY}, {{type: file, coverage: {{bbox: [0, 0, 1, 1], srs: 'EPSG:4326'}}}}")),
        "coverage belongs to the cache",
    );
    is_error(&tiers(&format!("{MEMORY}, {{type: file, memory: 5MB}}")), "memory belongs to the cache");
    is_error(
        &with_cache(&format!("cache: {{type: tiered, memory: 5MB, tiers: [{MEMORY}, {{type: file}}]}}")),
        "already",
    );
    is_error(
        &tiers("{type: file, directory: /a, max_size: 5GB}, {type: file, directory: /a/c/GLOBAL_WEBMERCATOR}"),
        "the directory of two tiers",
    );
}
