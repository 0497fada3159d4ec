//! What a configuration comes to when it is right.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mapproxy_config::checked::caches::RescaleFrom;
use mapproxy_config::checked::{
    CacheStore, Color, CompactVersion, CoverageFile, CoverageShape, FileLayout, GeopackageFiles, GridOrigin,
    HttpMethod, ImageMode, LevelSelection, Levels, Quantizer, RefreshBefore, RemoveBefore, ResFactor, Resampling,
    SourceKind, SourceTarget, UseDirectFrom, WmsSource, WmsVersion,
};
use mapproxy_config::{Config, LoadOptions, load, load_seed_str, load_str, load_str_with, load_with};

#[track_caller]
fn config(text: &str) -> Config {
    let loaded = load_str(text, Path::new("/conf"));
    loaded.config.unwrap_or_else(|| panic!("{}", loaded.diagnostics))
}

fn wms<'c>(config: &'c Config, name: &str) -> &'c WmsSource {
    match &config.sources[name].kind {
        SourceKind::Wms(wms) => wms,
        other => panic!("{other:?}"),
    }
}

const BASE: &str = "\
services: {wms: {}}
sources: {s: {type: wms, req: {url: 'http://h/', layers: 'a,b'}}}
layers: [{name: l, title: L, sources: [c]}]
";

#[test]
fn nothing_said_means_the_defaults_of_mapproxy() {
    let config = config(&format!("{BASE}caches: {{c: {{sources: [s]}}}}\n"));
    let cache = &config.caches["c"];
    assert_eq!((cache.meta_size, cache.meta_buffer), ([4, 4], 80));
    assert_eq!((cache.concurrent_tile_creators, cache.max_tile_limit), (2, 500));
    assert_eq!((&*cache.format.mime, &*cache.format.extension, cache.format.mixed), ("image/png", "png", false));
    assert_eq!(&*cache.request_format, "image/png");
    assert_eq!(cache.image.colors, Some(256));
    assert_eq!(cache.image.resampling, Resampling::Bicubic);
    assert_eq!(&*cache.grids[0].grid, "GLOBAL_MERCATOR");
    // The text counts: names of lock files are made of it.
    assert_eq!(cache.grids[0].store.directory().unwrap().to_str().unwrap(), "/conf/./cache_data/c_EPSG900913");
    assert_eq!(cache.tile_lock_dir.to_str().unwrap(), "/conf/./cache_data/tile_locks");
    assert_eq!(config.globals.tile_max_age, Duration::from_secs(72 * 3600));
    assert_eq!(config.globals.access_control_allow_origin.as_deref(), Some("*"));
    let source = wms(&config, "s");
    assert_eq!(source.http.timeout, Duration::from_secs(60));
    assert_eq!(source.http.method, HttpMethod::Auto);
    assert!(source.http.hide_error_details && source.map);
    assert_eq!(source.version, WmsVersion::V1_1_1);
    let wms = config.services.wms.unwrap();
    assert_eq!(wms.srs.len(), 5);
    let formats: Vec<&str> = wms.image_formats.keys().map(|mime| &**mime).collect();
    assert_eq!(formats, ["image/png", "image/jpeg", "image/gif", "image/GeoTIFF", "image/tiff"]);
    assert_eq!(wms.max_output_pixels, 16_000_000);
    assert_eq!(wms.versions, WmsVersion::ALL);
    assert_eq!(wms.md.title.as_deref(), Some("MapProxy WMS"));
}

#[test]
fn globals_are_defaults_and_own_options_win() {
    let text = format!(
        "{BASE}globals: {{cache: {{meta_size: [2, 2], meta_buffer: 10, base_dir: ../data, link_single_color_images: yes, \
         tile_lock_dir: locks, file_permissions: '0644'}}, http: {{client_timeout: 5, headers: {{a: b}}, \
         access_control_allow_origin: ''}}, image: {{jpeg_quality: 80, paletted: no}}, tiles: {{expires_hours: 010}}, \
         grid: {{tile_size: [512, 512]}}}}\n\
         caches: {{c: {{sources: [s], grids: [GLOBAL_GEODETIC], meta_buffer: 0, cache: {{type: file, \
         use_grid_names: true, directory_layout: tms}}}}}}\n"
    );
    let config = config(&text);
    let cache = &config.caches["c"];
    assert_eq!((cache.meta_size, cache.meta_buffer), ([2, 2], 0));
    assert_eq!(cache.grids[0].store.directory().unwrap().to_str().unwrap(), "/conf/../data/c/GLOBAL_GEODETIC");
    assert_eq!(cache.tile_lock_dir.to_str().unwrap(), "/conf/locks");
    assert_eq!(cache.permissions.files, Some(0o644));
    assert!(cache.link_single_color_images.is_some());
    assert_eq!(cache.image.colors, None);
    assert!(matches!(&cache.grids[0].store, CacheStore::File(file) if file.layout == FileLayout::Tms));
    assert_eq!(config.globals.tile_max_age, Duration::from_secs(8 * 3600));
    assert_eq!(config.globals.access_control_allow_origin, None);
    assert_eq!(wms(&config, "s").http.headers, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(config.grids["GLOBAL_GEODETIC"].tile_size, [512, 512]);
}

#[test]
fn stores_of_objects_are_placed_as_configured_for_them_or_for_all() {
    let store = |globals: &str, cache: &str| {
        let cache = format!("caches: {{c: {{sources: [s], grids: [GLOBAL_WEBMERCATOR], cache: {{{cache}}}}}}}");
        config(&format!("{BASE}globals: {{cache: {globals}}}\n{cache}\n")).caches["c"].grids[0].store.clone()
    };
    let s3 = |globals: &str, cache: &str| match store(globals, cache) {
        CacheStore::S3(s3) => s3,
        other => panic!("{other:?}"),
    };
    let alone = s3("{}", "type: s3, bucket_name: b");
    assert_eq!((&*alone.bucket, &*alone.base_path, alone.layout), ("b", "c/GLOBAL_WEBMERCATOR", FileLayout::Tms));
    assert_eq!((alone.region, alone.endpoint_url, alone.use_http_get), (None, None, false));
    let all =
        "{s3: {bucket_name: g, region_name: r, include_grid_name: true, use_http_get: true, access_control_list: a}}";
    let with_globals = s3(all, "type: s3, directory: /a/b/, region_name: own, directory_layout: quadkey");
    assert_eq!((&*with_globals.bucket, &*with_globals.base_path), ("g", "/a/b/GLOBAL_WEBMERCATOR"));
    assert_eq!((with_globals.region.as_deref(), with_globals.layout), (Some("own"), FileLayout::Quadkey));
    assert_eq!((with_globals.access_control_list.as_deref(), with_globals.use_http_get), (Some("a"), true));
    assert_eq!(s3(all, "type: s3, directory: a/b, include_grid_name: false").base_path, "a/b");

    let azure = store("{azureblob: {container_name: g, connection_string: geheim}}", "type: azureblob, directory: /x/");
    assert!(!format!("{azure:?}").contains("geheim"));
    let CacheStore::AzureBlob(azure) = azure else { panic!("{azure:?}") };
    assert_eq!((&*azure.container, &*azure.base_path), ("g", "/x/"));
    assert_eq!(azure.connection_string.unwrap().0, "geheim");

    let compact = store("{base_dir: ../data}", "type: compact, version: 1");
    assert_eq!(compact.directory().unwrap().to_str().unwrap(), "/conf/../data/c/GLOBAL_WEBMERCATOR");
    let compact = store("{}", "type: compact, version: 2.0, directory: x/y");
    assert_eq!(compact.directory().unwrap().to_str().unwrap(), "/conf/x/y");
    assert!(matches!(compact, CacheStore::Compact(compact) if compact.version == CompactVersion::V2));
}

#[test]
fn cache_directories_are_exact_where_given() {
    let of = |options: &str| {
        let config =
            config(&format!("{BASE}caches: {{c: {{sources: [s], grids: [GLOBAL_WEBMERCATOR], {options}}}}}\n"));
        let cache = &config.caches["c"];
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        (text(cache.grids[0].store.directory().unwrap()), text(&cache.tile_lock_dir))
    };
    assert_eq!(of("cache_dir: ./x/../y/"), ("/conf/./x/../y/c_EPSG3857".into(), "/conf/./x/../y/tile_locks".into()));
    assert_eq!(of("cache_dir: /abs/"), ("/abs/c_EPSG3857".into(), "/abs/tile_locks".into()));
    assert_eq!(
        of("cache: {type: file, directory: d/../e/}"),
        ("/conf/d/../e/".into(), "/conf/d/../e/tile_locks".into())
    );
}

#[test]
fn databases_are_where_mapproxy_has_them() {
    let stores = |options: &str| {
        let grids = "GLOBAL_WEBMERCATOR, GLOBAL_GEODETIC";
        let config = config(&format!("{BASE}caches: {{c: {{sources: [s], grids: [{grids}], {options}}}}}\n"));
        let stores = config.caches["c"].grids.iter().map(|grid| grid.store.clone());
        stores.collect::<Vec<_>>()
    };
    let file = |store: &CacheStore| match store {
        CacheStore::Mbtiles(store) => store.file.to_str().unwrap().to_owned(),
        CacheStore::Sqlite(store) => store.directory.to_str().unwrap().to_owned(),
        CacheStore::Geopackage(store) => match &store.files {
            GeopackageFiles::One(file) => format!("{} {}", file.display(), store.table),
            GeopackageFiles::Levels(directory) => format!("{}/ {}", directory.display(), store.table),
        },
        other => panic!("{other:?}"),
    };
    let first = |options: &str| file(&stores(options)[0]);
    assert_eq!(first("cache: {type: mbtiles}"), "/conf/./cache_data/c.mbtiles");
    assert_eq!(first("cache: {type: mbtiles, filename: ./a.mbtiles}"), "/conf/./a.mbtiles");
    assert_eq!(first("cache_dir: ./d, cache: {type: mbtiles, filename: s/a.mbtiles}"), "/conf/./d/s/a.mbtiles");
    assert_eq!(first("cache: {type: mbtiles, filename: /a.mbtiles}"), "/a.mbtiles");
    assert_eq!(file(&stores("cache: {type: mbtiles}")[1]), "/conf/./cache_data/c_GLOBAL_GEODETIC.mbtiles");
    assert_eq!(first("cache: {type: sqlite}"), "/conf/./cache_data/c/GLOBAL_WEBMERCATOR");
    assert_eq!(file(&stores("cache: {type: sqlite, directory: d}")[1]), "/conf/d/GLOBAL_GEODETIC");
    assert_eq!(first("cache: {type: geopackage}"), "/conf/./cache_data/c.gpkg c_GLOBAL_WEBMERCATOR");
    assert_eq!(file(&stores("cache: {type: geopackage}")[1]), "/conf/./cache_data/c.gpkg c_GLOBAL_GEODETIC");
    assert_eq!(
        first("cache: {type: geopackage, directory: d, filename: g/x.gpkg}"),
        "/conf/d/g/x.gpkg c_GLOBAL_WEBMERCATOR"
    );
    assert_eq!(
        first("cache: {type: geopackage, levels: true, table_name: t}"),
        "/conf/./cache_data/c/GLOBAL_WEBMERCATOR/ t"
    );
}

#[test]
fn options_of_databases_are_inherited_from_the_globals_but_not_by_geopackages() {
    let options = |own: &str| {
        let globals = "globals: {cache: {sqlite_timeout: 0.5, sqlite_wal: true}}";
        let config = config(&format!("{BASE}{globals}\ncaches: {{c: {{sources: [s], cache: {{{own}}}}}}}\n"));
        match &config.caches["c"].grids[0].store {
            CacheStore::Mbtiles(store) => (store.options.timeout.as_millis(), store.options.wal),
            CacheStore::Sqlite(store) => (store.options.timeout.as_millis(), store.options.wal),
            CacheStore::Geopackage(store) => (store.options.timeout.as_millis(), store.options.wal),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(options("type: mbtiles"), (500, true));
    assert_eq!(options("type: sqlite, sqlite_timeout: 2, sqlite_wal: false"), (2000, false));
    assert_eq!(options("type: geopackage"), (30_000, false));
}

#[test]
fn parameters_are_sent_as_python_writes_them_in_the_order_written() {
    let config = config(
        "sources: {s: {type: wms, req: {url: 'http://u:p@h/', transparent: true, layers: [a, b], n: 5, f: 1.0e+3, \
         d: 2001-01-01, t: 'on', FOO: Bar}, image: {transparent_color: '#fff0f0'}}}\n\
         layers: [{name: l, title: L, sources: [s]}]\n",
    );
    let source = wms(&config, "s");
    let params: Vec<String> = source.params.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(params, ["transparent=True", "layers=a,b", "n=5", "f=1000.0", "d=2001-01-01", "t=on", "FOO=Bar"]);
    assert_eq!(source.layers, ["a", "b"]);
    assert_eq!(source.image.options.transparent, Some(true));
    assert_eq!(source.image.options.format, None);
    assert_eq!(source.image.transparent_color, Some(Color { red: 255, green: 240, blue: 240, alpha: None }));
    assert_eq!(source.image.transparent_color_tolerance, 5);
}

#[test]
fn the_format_of_a_request_is_the_format_of_the_source_unless_its_image_says_otherwise() {
    let of = |options: &str| {
        let config = config(&format!(
            "sources: {{s: {{type: wms, {options}}}}}\nlayers: [{{name: l, title: L, sources: [s]}}]\n"
        ));
        let image = &wms(&config, "s").image.options;
        (image.format.as_deref().map(str::to_owned), image.colors, image.transparent)
    };
    let png = Some("image/png".to_owned());
    assert_eq!(of("req: {url: x, layers: a, format: image/png}"), (png.clone(), Some(256), None));
    assert_eq!(of("req: {url: x, layers: a, format: png}"), (None, None, None));
    assert_eq!(
        of(
            "req: {url: x, layers: a, format: image/jpeg, transparent: yes}, image: {format: image/png, transparent: no}"
        ),
        (png, Some(256), Some(false))
    );
}

#[test]
fn a_name_means_the_cache_in_layers_and_the_source_in_caches() {
    let config = config(
        "sources: {d: {type: wms, req: {url: x, layers: a}}}\nlayers: [{name: l, title: L, sources: [d]}]\n\
         caches: {c: {sources: [d], grids: [GLOBAL_MERCATOR]}, d: {sources: [d], grids: [GLOBAL_MERCATOR]}}\n",
    );
    assert_eq!(config.root_layer.unwrap().sources[0].target, SourceTarget::Cache("d".into()));
    assert_eq!(config.caches["d"].sources[0].target, SourceTarget::Source { name: "d".into(), layers: None });
}

#[test]
fn image_options_come_from_named_formats_and_from_sources() {
    let config = config(
        "globals: {image: {formats: {poster: {format: image/png, mode: P, colors: 16, encoding_options: \
         {quantizer: mediancut}}, image/jpeg: {encoding_options: {jpeg_quality: 70}}}}}\n\
         services: {wms: {image_formats: [image/jpeg, poster]}}\n\
         sources:\n  a: {type: wms, req: {url: x, layers: a, transparent: true}, image: {mode: RGBA}}\n  \
         b: {type: wms, req: {url: x, layers: a}, image: {transparent: false, mode: P}}\n\
         caches:\n  named: {sources: [a], grids: [GLOBAL_MERCATOR], format: poster}\n  \
         both: {sources: [a, b], grids: [GLOBAL_MERCATOR], format: image/jpeg}\n  \
         above: {sources: [both], grids: [GLOBAL_MERCATOR], format: image/jpeg}\n  \
         mixed: {sources: [b], grids: [GLOBAL_MERCATOR], format: mixed, request_format: image/png}\n\
         layers: [{name: l, title: L, sources: [named, above, mixed]}]\n",
    );
    let named = &config.caches["named"];
    assert_eq!(named.image.mode, Some(ImageMode::P));
    assert_eq!(named.image.colors, Some(16));
    assert_eq!(named.image.encoding.quantizer, Some(Quantizer::MedianCut));
    assert_eq!(named.image.transparent, Some(true));
    assert_eq!((&*named.format.mime, &*named.format.extension), ("image/png", "png"));
    let both = &config.caches["both"];
    assert_eq!(both.image.transparent, Some(false));
    assert_eq!(both.image.mode, Some(ImageMode::Rgba));
    assert_eq!(both.image.encoding.jpeg_quality, Some(70));
    assert_eq!(config.caches["above"].image, both.image);
    let mixed = &config.caches["mixed"];
    assert!(mixed.format.mixed);
    assert_eq!((&*mixed.format.mime, &*mixed.format.extension), ("image/png", "mixed"));
    assert_eq!(mixed.image.transparent, Some(true));
    let formats = config.services.wms.unwrap().image_formats;
    assert_eq!(formats.keys().map(|mime| &**mime).collect::<Vec<_>>(), ["image/jpeg", "image/png"]);
    assert_eq!(formats["image/png"].colors, Some(16));
    assert_eq!(config.globals.image.options("image/png").colors, Some(256));
}

#[test]
fn grids_take_over_from_their_base_and_its_base() {
    let config = config(
        "grids:\n  a: {base: b, num_levels: 2}\n  b: {base: d, tile_size: [512, 512]}\n  \
         d: {srs: 'EPSG:25832', bbox: '0,0, 10,10', origin: nw, res_factor: sqrt2, stretch_factor: 1.5, name: shown}\n  \
         e: {base: GLOBAL_GEODETIC, origin: ul, res: [1, 10, 5]}\n  f: {base: e, align_resolutions_with: d, srs: 'EPSG:4326'}\n",
    );
    let grid = &config.grids["a"];
    assert_eq!((&*grid.srs, grid.bbox, grid.tile_size), ("EPSG:25832", Some([0.0, 0.0, 10.0, 10.0]), [512, 512]));
    assert_eq!((grid.origin, grid.stretch_factor, grid.max_shrink_factor), (GridOrigin::UpperLeft, 1.5, 4.0));
    assert_eq!(&*grid.name, "a");
    assert_eq!(&*config.grids["d"].name, "shown");
    let levels = Levels::Computed {
        min_res: None,
        max_res: None,
        num_levels: Some(2),
        factor: Some(ResFactor::Sqrt2),
        align_with: None,
    };
    assert_eq!(grid.levels, levels);
    assert_eq!(config.grids["e"].levels, Levels::Listed(vec![10.0, 5.0, 1.0]));
    // `res` of the base does not go with the grid's own alignment.
    assert!(!config.grids.contains_key("f"));
    assert_eq!(config.grids["GLOBAL_WEBMERCATOR"].origin, GridOrigin::UpperLeft);
    assert_eq!(config.grids["GLOBAL_MERCATOR"].origin, GridOrigin::LowerLeft);
}

#[test]
fn options_of_caches_are_resolved() {
    let config = config(&format!(
        "{BASE}caches: {{c: {{sources: ['s:b'], grids: [GLOBAL_WEBMERCATOR], upscale_tiles: 2, cache_rescaled_tiles: yes, \
         use_direct_from_level: 7, refresh_before: {{days: 1, hours: 1}}, disable_storage: true}}}}\n"
    ));
    let cache = &config.caches["c"];
    let rescale = cache.rescale.unwrap();
    assert_eq!((rescale.from, rescale.levels, rescale.store), (RescaleFrom::Coarser, 2, true));
    assert_eq!(cache.use_direct_from, Some(UseDirectFrom::Level(7)));
    assert_eq!(cache.refresh_before, Some(RefreshBefore::Age(Duration::from_secs(90_000))));
    assert_eq!(cache.grids[0].store, CacheStore::Disabled);
    let target = SourceTarget::Source { name: "s".into(), layers: Some(vec!["b".to_owned()]) };
    assert_eq!(cache.sources[0].target, target);
}

#[test]
fn sources_are_resolved() {
    let config = config(
        "layers: [{name: l, title: L, sources: [s, r, d]}]\nsources:\n  s:\n    type: wms\n    req: {url: x, layers: a}\n    \
         min_scale: 1000\n    max_scale: 10000\n    concurrent_requests: 4\n    on_error: {500: {response: '#ff000080', \
         cache: true}, other: {response: transparent}}\n    coverage: {bbox: [1, 2, 3, 4], srs: 'EPSG:4326', clip: on}\n  \
         r: {type: raster, file: world.png, srs: 'EPSG:4326', bbox: [-180, -90, 180, 90]}\n  d: {type: debug}\n",
    );
    let source = &config.sources["s"];
    assert_eq!(source.resolution.min_res, Some(10000.0 * 0.00028));
    assert_eq!(source.resolution.max_res, Some(1000.0 * 0.00028));
    let coverage = source.coverage.as_ref().unwrap();
    assert!(coverage.clip);
    assert_eq!(coverage.shape, CoverageShape::Bbox { bbox: [1.0, 2.0, 3.0, 4.0], srs: "EPSG:4326".into() });
    let wms = wms(&config, "s");
    assert_eq!(wms.concurrent_requests, Some(4));
    assert_eq!(wms.on_error[0].status, Some(500));
    assert_eq!(wms.on_error[0].response, Color { red: 255, green: 0, blue: 0, alpha: Some(128) });
    assert!(wms.on_error[0].cache && !wms.on_error[1].cache);
    assert_eq!(wms.on_error[1].response, Color { red: 255, green: 255, blue: 255, alpha: Some(0) });
    match &config.sources["r"].kind {
        SourceKind::Raster(raster) => {
            assert_eq!(raster.file, Path::new("/conf/world.png"));
            assert_eq!(raster.bbox, Some([-180.0, -90.0, 180.0, 90.0]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_layer_with_content_is_the_root_and_several_get_one_around_them() {
    let sources = "sources: {s: {type: wms, req: {url: x, layers: a}}}\n";
    let one = config(&format!("{sources}layers: [{{title: Root, layers: [{{name: a, title: A, sources: [s]}}]}}]\n"));
    let root = one.root_layer.unwrap();
    assert_eq!((root.title.as_str(), root.layers.len()), ("Root", 1));
    let two = config(&format!(
        "{sources}layers: [{{name: a, title: A, sources: [s]}}, {{title: empty}}, {{name: b, title: B, sources: [s]}}]\n"
    ));
    let root = two.root_layer.unwrap();
    assert_eq!((root.title.as_str(), root.name.is_none(), root.layers.len()), ("", true, 2));
    assert_eq!(&*root.layers[1].at.path, "layers[2]");
}

#[test]
fn layers_by_name_as_they_were_once_written_are_layers_in_their_order() {
    let sources = "sources: {s: {type: wms, req: {url: x, layers: a}}}\n";
    let names = |layers: &str| -> Vec<(Option<String>, String)> {
        let root = config(&format!("{sources}layers: {layers}\n")).root_layer.unwrap();
        assert!(root.name.is_none());
        root.layers.iter().map(|layer| (layer.name.as_deref().map(str::to_owned), layer.title.clone())).collect()
    };
    let now = names("[{name: b, title: B, sources: [s]}, {name: a, title: A, sources: [s]}]");
    assert_eq!(now[0], (Some("b".to_owned()), "B".to_owned()));
    assert_eq!(names("{b: {title: B, sources: [s]}, a: {title: A, sources: [s]}}"), now);
    assert_eq!(names("[{b: {title: B, sources: [s]}}, {a: {title: A, sources: [s]}}]"), now);
}

#[test]
fn tile_layers_are_named_layers_with_one_cache_or_with_tile_sources() {
    let config = config(
        "sources: {s: {type: wms, req: {url: x, layers: a}}, d: {type: debug}, \
         fi: {type: wms, req: {url: x, layers: a}, wms_opts: {map: false}}}\n\
         caches: {c: {sources: [s], grids: [GLOBAL_MERCATOR]}, e: {sources: [s], grids: [GLOBAL_GEODETIC]}}\n\
         layers:\n  - {name: one, title: T, sources: [c, d, fi]}\n  - {name: two, title: T, sources: [c, e]}\n  \
         - {name: direct, title: T, sources: [c, s]}\n  - {title: unnamed, sources: [c]}\n  \
         - title: group\n    name: group\n    layers: [{name: inner, title: T, sources: [s], tile_sources: [c, e]}]\n",
    );
    let layers: Vec<(&str, Vec<&str>)> =
        config.tile_layers.iter().map(|(n, l)| (&**n, l.caches.iter().map(|c| &**c).collect())).collect();
    assert_eq!(layers, [("one", vec!["c"]), ("inner", vec!["c", "e"])]);
}

#[test]
fn kvp_and_restful_are_both_on_unless_one_is_named() {
    let of = |options: &str| {
        let wmts = config(&format!("services: {{wmts: {options}}}\n")).services.wmts.unwrap();
        (wmts.kvp, wmts.restful)
    };
    assert_eq!(of("~"), (true, true));
    assert_eq!(of("{kvp: true}"), (true, false));
    assert_eq!(of("{restful: true}"), (false, true));
    assert_eq!(of("{kvp: false}"), (false, false));
}

#[test]
fn metadata_of_wms_are_the_defaults_of_the_others() {
    let config = config(
        "services:\n  wms: {md: {title: T, abstract: A, contact: {person: P, postcode: 12345}}}\n  \
         wmts: {md: {title: W}}\n  tms: ~\nsources: {s: {type: debug}}\nlayers: [{name: l, title: L, sources: [s]}]\n",
    );
    let wmts = config.services.wmts.unwrap().md;
    assert_eq!((wmts.title.as_deref(), wmts.abstract_.as_deref()), (Some("W"), Some("A")));
    let tms = config.services.tms.unwrap().md;
    assert_eq!(tms.title.as_deref(), Some("T"));
    assert_eq!(tms.contact.unwrap().postcode.as_deref(), Some("12345"));
}

#[test]
fn files_are_merged_with_their_bases_and_the_first_base_wins() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    write("sub/a.yaml", "base: ../c.yaml\nservices: {wms: {md: {title: a}, srs: ['EPSG:1']}}\n");
    write(
        "b.yaml",
        "services: {wms: {md: {title: b, abstract: b}, srs: ['EPSG:2']}}\nglobals: {cache: {meta_size: [2, 2]}}\n",
    );
    write("c.yaml", "sources: {s: {type: wms, req: {url: '$URL/${NOPE}', layers: a}}}\n");
    write(
        "main.yaml",
        "base: [sub/a.yaml, b.yaml]\nservices: {wms: {srs: ['EPSG:3']}}\nglobals: {cache: {meta_size: [1, 3]}}\n\
         layers: [{name: l, title: L, sources: [c]}]\ncaches: {c: {sources: [s], grids: [GLOBAL_MERCATOR]}}\n",
    );
    let env = |name: &str| (name == "URL").then(|| "http://h".to_owned());
    let loaded = load_with(&dir.path().join("main.yaml"), &LoadOptions { env: &env });
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.diagnostics));
    let wms_service = config.services.wms.as_ref().unwrap();
    assert_eq!(wms_service.md.title.as_deref(), Some("a"));
    assert_eq!(wms_service.md.abstract_.as_deref(), Some("b"));
    assert_eq!(wms_service.srs.iter().map(|srs| &**srs).collect::<Vec<_>>(), ["EPSG:2", "EPSG:1", "EPSG:3"]);
    assert_eq!(config.caches["c"].meta_size, [1, 3]);
    assert_eq!(wms(&config, "s").url, "http://h/${NOPE}");
    assert_eq!(config.base_dir, dir.path());
    assert_eq!(loaded.files.len(), 4);
    let warnings = loaded.diagnostics.to_string();
    assert!(warnings.contains("c.yaml:1:37: warning: environment variable 'NOPE' is not set"), "{warnings}");
}

#[test]
fn missing_files_and_circles_of_files_are_errors_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.yaml");
    let missing = load(&main);
    assert!(missing.config.is_none());
    assert!(missing.diagnostics.to_string().contains("main.yaml: error: cannot read '"), "{}", missing.diagnostics);
    fs::write(&main, "a: 1\nbase: nope.yaml\n").unwrap();
    let shown = load(&main).diagnostics.to_string();
    assert!(shown.contains("main.yaml:2:7: error: cannot read '"), "{shown}");
    fs::write(&main, "base: [other.yaml]\n").unwrap();
    fs::write(dir.path().join("other.yaml"), "base: main.yaml\n").unwrap();
    let shown = load(&main).diagnostics.to_string();
    assert!(shown.contains("other.yaml:1:7: error: "), "{shown}");
    assert!(shown.contains("includes itself through `base`"), "{shown}");
}

#[test]
fn coverages_are_told_apart_by_what_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "\u{feff}POLYGON((0 0, 1 0, 1 1, 0 0))\n").unwrap();
    fs::write(dir.path().join("b.txt"), "{\"type\": \"Polygon\"}").unwrap();
    let text = "sources: {s: {type: wms, req: {url: x, layers: a}, coverage: {union: [{datasource: a.txt, \
                srs: 'EPSG:4326'}, {datasource: b.txt, srs: 'EPSG:4326'}, {datasource: '1,2,3,4', srs: 'EPSG:4326'}]}}}\n\
                layers: [{name: l, title: L, sources: [s]}]\n";
    let loaded = load_str(text, dir.path());
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.diagnostics));
    let CoverageShape::Union(parts) = &config.sources["s"].coverage.as_ref().unwrap().shape else { panic!("a union") };
    assert!(matches!(&parts[0].shape, CoverageShape::Polygons { format: CoverageFile::Wkt, .. }));
    assert!(matches!(&parts[1].shape, CoverageShape::Polygons { format: CoverageFile::GeoJson, .. }));
    assert!(matches!(&parts[2].shape, CoverageShape::Bbox { .. }));
    assert_eq!(loaded.files, [dir.path().join("a.txt"), dir.path().join("b.txt")]);
}

#[test]
fn formats_with_features_are_told_apart_and_what_is_not_known_is_left_to_gdal() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = b"SQLite format 3\0".to_vec();
    database.resize(100, 0);
    fs::write(dir.path().join("old.gpkg"), &database).unwrap();
    fs::write(dir.path().join("spatialite"), &database).unwrap();
    database[68..72].copy_from_slice(b"GPKG");
    fs::write(dir.path().join("new"), &database).unwrap();
    fs::write(dir.path().join("a.SHP"), b"\0\0\x27\x0a rest").unwrap();
    fs::write(dir.path().join("a.dbf"), b"").unwrap();
    fs::write(dir.path().join("a.fgb"), b"fgb\x03fgb\x01").unwrap();
    fs::write(dir.path().join("a.gml"), b"<gml/>").unwrap();
    fs::write(dir.path().join("a.json"), b" {").unwrap();
    fs::write(dir.path().join("tiles"), b"1/0/0").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let shape = |coverage: &str| {
        let text = format!(
            "sources: {{s: {{type: wms, req: {{url: x, layers: a}}, coverage: {{{coverage}}}}}}}\n\
             layers: [{{name: l, title: L, sources: [s]}}]\n"
        );
        let loaded = load_str(text, dir.path());
        let config = loaded.config.unwrap_or_else(|| panic!("{coverage}: {}", loaded.diagnostics));
        (config.sources["s"].coverage.clone().unwrap().shape, loaded.files)
    };
    for (name, expected) in [
        ("old.gpkg", CoverageFile::GeoPackage),
        ("new", CoverageFile::GeoPackage),
        ("a.SHP", CoverageFile::Shapefile),
        ("a.fgb", CoverageFile::FlatGeobuf),
        ("a.json", CoverageFile::GeoJson),
    ] {
        for coverage in [
            format!("datasource: {name}, where: n > 1, srs: 'EPSG:4326'"),
            format!("ogr_datasource: {name}, ogr_where: n > 1, ogr_srs: 'EPSG:4326'"),
        ] {
            let (CoverageShape::Polygons { path, format, condition, .. }, files) = shape(&coverage) else {
                panic!("{name}")
            };
            assert_eq!((path, format), (dir.path().join(name), expected), "{coverage}");
            assert_eq!(condition.as_deref(), Some("n > 1"));
            assert_eq!(files.contains(&dir.path().join("a.dbf")), expected == CoverageFile::Shapefile);
        }
    }
    let here = |name: &str| dir.path().join(name).display().to_string();
    for (name, expected) in [
        ("spatialite", here("spatialite")),
        ("a.gml", here("a.gml")),
        ("folder", here("folder")),
        ("'PG:dbname=x password=secret'", "PG:dbname=x password=secret".to_owned()),
        ("/vsizip/a.zip", "/vsizip/a.zip".to_owned()),
    ] {
        let (shape, _) = shape(&format!("datasource: {name}, srs: 'EPSG:4326'"));
        assert!(!format!("{shape:?}").contains("secret"), "{shape:?}");
        let CoverageShape::Ogr { datasource, condition: None, .. } = shape else { panic!("{name}") };
        assert_eq!(datasource.name(), expected);
    }
    assert_eq!(shape("expire_tiles: tiles").0, CoverageShape::ExpiredTiles { path: dir.path().join("tiles") });
}

#[test]
fn sld_files_become_the_body_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("style.xml"), "<sld/>").unwrap();
    let text = "sources: {s: {type: wms, req: {sld: 'file://style.xml', url: x, layers: a}}}\n\
                layers: [{name: l, title: L, sources: [s]}]\n";
    let config = load_str(text, dir.path()).config.unwrap();
    let params = [("layers".to_owned(), "a".to_owned()), ("sld_body".to_owned(), "<sld/>".to_owned())];
    assert_eq!(wms(&config, "s").params, params);
}

#[test]
fn seeds_and_cleanups_are_resolved() {
    let config = config(&format!(
        "{BASE}caches: {{c: {{sources: [s], grids: [GLOBAL_MERCATOR, GLOBAL_GEODETIC]}}, \
         d: {{sources: [s], grids: [GLOBAL_MERCATOR]}}, idle: {{sources: [s], grids: [GLOBAL_MERCATOR], disable_storage: on}}}}\n"
    ));
    let text = "seeds:\n  one: {caches: [c], coverages: [box], levels: {to: 5}, refresh_before: {weeks: 1}}\n  \
                two: {caches: [c, d], grids: [GLOBAL_MERCATOR], levels: [3, 1, 1]}\n  three: {caches: [d], resolutions: {from: 10, to: 1}}\n\
                cleanups:\n  old: {caches: [c], remove_before: {days: 7}}\n  all: {caches: [c], remove_all: true, levels: []}\n  \
                start: {caches: [c]}\ncoverages: {box: {bbox: [0, 0, 1, 1], srs: 'EPSG:4326'}}\n";
    let loaded = load_seed_str(text, Path::new("/conf"), &config);
    let seed = loaded.config.unwrap_or_else(|| panic!("{}", loaded.diagnostics));
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
    assert_eq!(seed.seeds[0].grids.len(), 2);
    assert_eq!(seed.seeds[0].coverages.len(), 1);
    assert_eq!(seed.seeds[0].levels, LevelSelection::LevelRange(None, Some(5)));
    assert_eq!(seed.seeds[0].refresh_before, Some(RefreshBefore::Age(Duration::from_secs(604_800))));
    assert_eq!(seed.seeds[1].levels, LevelSelection::Levels(vec![1, 3]));
    assert_eq!(seed.seeds[1].grids.len(), 1);
    assert_eq!(seed.seeds[2].levels, LevelSelection::ResolutionRange(Some(10.0), Some(1.0)));
    assert_eq!(seed.seeds[2].refresh_before, None);
    assert_eq!(seed.cleanups[0].remove, RemoveBefore::Before(RefreshBefore::Age(Duration::from_secs(7 * 86_400))));
    assert_eq!(seed.cleanups[1].remove, RemoveBefore::All);
    assert_eq!(seed.cleanups[1].levels, LevelSelection::All);
    assert_eq!(seed.cleanups[2].remove, RemoveBefore::Start);

    for (text, expected) in [
        ("seeds: {x: {caches: [zz]}}", "cache zz not found. available caches: c,d,idle"),
        ("seeds: {x: {caches: [c, d]}}", "caches in same seed task require identical grids"),
        ("seeds: {x: {caches: [d], grids: [GLOBAL_GEODETIC]}}", "GLOBAL_GEODETIC not defined for caches"),
        ("seeds: {x: {caches: [idle]}}", "can't seed cache idle (disable_storage: true)"),
        ("seeds: {x: {caches: [c], coverages: [y]}}", "coverage y not found. available coverages: "),
        ("seeds: {x: {}}", "missing 'caches', not in seeds.x"),
        ("seeds: {x: {caches: [c], refresh_before: {time: yesterday}}}", "can't parse time 'yesterday'"),
        ("views: {}", "not supported any more"),
    ] {
        let shown = load_seed_str(text, Path::new("/conf"), &config).diagnostics.to_string();
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
}

#[test]
fn merge_keys_anchors_and_byte_order_marks_are_understood() {
    let text = "parts:\n  base: &base {type: wms, req: {url: x, layers: a}, seed_only: no}\n  more: &more {seed_only: yes, min_res: 5}\n\
                sources:\n  s: {<<: [*base, *more], min_res: 6}\nlayers: [{name: l, title: L, sources: [s]}]\n";
    let source = &config(text).sources["s"];
    assert!(!source.seed_only);
    assert_eq!(source.resolution.min_res, Some(6.0));
    let utf16: Vec<u8> =
        [0xfffe_u16.swap_bytes()].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert!(load_str(utf16, Path::new("/conf")).config.is_some());
    assert!(load_str(format!("\u{feff}{text}"), Path::new("/conf")).config.is_some());
}

#[test]
fn variables_can_come_from_anywhere() {
    let env = |name: &str| (name == "T").then(|| "from outside".to_owned());
    let text = "sources: {s: {type: debug}}\nlayers: [{name: l, title: '<$T>', sources: [s]}]\n";
    let loaded = load_str_with(text, Path::new("/conf"), &LoadOptions { env: &env });
    assert_eq!(loaded.config.unwrap().root_layer.unwrap().title, "<from outside>");
}

#[test]
fn the_directories_of_all_tiers_are_known() {
    let tiers =
        "{type: memory, max_size: 5MB}, {type: file, directory: /ssd, max_size: 1GB}, {type: sqlite, directory: /disk}";
    let config = config(&format!("{BASE}caches: {{c: {{sources: [s], cache: {{type: tiered, tiers: [{tiers}]}}}}}}\n"));
    let directories = config.caches["c"].grids[0].store.directories();
    assert_eq!(directories.len(), 2);
    assert!(directories[0].starts_with("/ssd") && directories[1].starts_with("/disk"), "{directories:?}");
}
