//! The commands beside the servers, as users and scripts see them.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use support::{program, run, text, write};
use tempfile::TempDir;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Status, standard output and standard error.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(arguments);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The files below a directory and what is in them.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Answers requests by the part of their address that comes first in `documents`; 404 for others.
fn serve(documents: Vec<(&'static str, String)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&buffer[..read]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let line = request.lines().next().unwrap_or_default();
            let found = documents.iter().find(|(part, _)| line.contains(part));
            let (status, body) = found.map_or(("404 Not Found", ""), |(_, body)| ("200 OK", body));
            let body = body.replace("{port}", &port.to_string());
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

const CAPABILITIES: &str = "<?xml version='1.0' encoding='UTF-8'?><WMS_Capabilities version='1.3.0' \
    xmlns='http://www.opengis.net/wms' xmlns:xlink='http://www.w3.org/1999/xlink'><Service><Title>Maps</Title></Service>\
    <Capability><Request><GetMap><DCPType><HTTP><Get><OnlineResource xlink:href='http://h/wms?'/></Get></HTTP></DCPType>\
    </GetMap></Request><Layer><Title>All</Title><CRS>EPSG:3857</CRS><CRS>EPSG:4326</CRS><Layer queryable='1'><Name>roads\
    </Name><Title>Roads</Title><EX_GeographicBoundingBox><westBoundLongitude>5</westBoundLongitude><eastBoundLongitude>15\
    </eastBoundLongitude><southBoundLatitude>45</southBoundLatitude><northBoundLatitude>55</northBoundLatitude>\
    </EX_GeographicBoundingBox><BoundingBox CRS='EPSG:4326' minx='45' miny='5' maxx='55' maxy='15'/></Layer></Layer>\
    </Capability></WMS_Capabilities>";

#[test]
fn scales_become_resolutions() {
    let (status, out, _) = said(&["scales", "-l", "3", "1000000"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "      280.0000000000 #  0     1000000.00000000\n      140.0000000000 #  1      500000.00000000\n       \
         70.0000000000 #  2      250000.00000000\n"
    );
    let (_, out, _) = said(&["scales", "--as-res-config", "--unit", "d", "-d", "72", "1000000"]);
    assert_eq!(
        out,
        "    res: [\n         #  res            level     scale @72.0 DPI\n            0.0031690567, #  0     \
         1000000.00000000\n    ]\n"
    );
    let mut piped = program(&["scales", "--repeat", "-l", "3", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"1000 # one\n500\n\n250\n").unwrap();
    let out = text(&piped.wait_with_output().unwrap().stdout);
    assert_eq!(
        out.lines().map(|line| line.split('#').next().unwrap().trim()).collect::<Vec<_>>(),
        ["0.2800000000", "0.1400000000", "0.0280000000"]
    );
    let (status, out, err) = said(&["scales"]);
    assert!(status == Some(1) && out.contains("Usage:") && err.starts_with("ERROR:"));
    for wrong in
        [&["scales", "abc"][..], &["scales", "-d", "0", "1"], &["scales", "--eval", "1/0"], &["scales", "-l", "x", "1"]]
    {
        assert_eq!(said(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn layers_of_a_wms_are_shown() {
    let port = serve(vec![
        ("/wms?map=1&service=WMS&version=1.3.0&request=GetCapabilities ", CAPABILITIES.to_owned()),
        ("/other", "<a/>".to_owned()),
    ]);
    let url = format!("http://127.0.0.1:{port}/wms?map=1");
    let (status, out, _) = said(&["wms-capabilities", "--version", "1.3.0", &url]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "# Note: This is not a valid MapProxy configuration!\nCapabilities Document Version 1.3.0\nRoot-Layer:\n  - name: \
         roads\n    title: Roads\n    url: http://h/wms?\n    srs: ['EPSG:3857', 'EPSG:4326']\n    llbbox: [5.0, 45.0, 15.0, \
         55.0]\n    queryable: True\n    opaque: False\n    abstract: \n    res_hint: \n    bbox_srs: {'EPSG:4326': (5.0, 45.0, \
         15.0, 55.0)}\n    legend: \n"
    );
    let (status, _, err) = said(&["wms-capabilities", &format!("http://user:secret@127.0.0.1:{port}/none")]);
    assert!(status == Some(1) && err.contains("404") && !err.contains("secret"), "{err}");
    let (status, out, err) = said(&["wms-capabilities", "--host", &format!("http://127.0.0.1:{port}/other")]);
    assert!(status == Some(1) && err.contains("<a/>") && err.contains("Not a capabilities document"), "{out}{err}");
    assert_eq!(said(&["wms-capabilities"]).0, Some(2));
}

const GRIDS: &str = "
services: {tms: }
layers: [{name: l, title: L, sources: [c]}]
caches: {c: {sources: [s], grids: [G1, GLOBAL_WEBMERCATOR]}}
sources: {s: {type: debug}}
grids:
  G1: {srs: 'EPSG:25832', bbox: [3, 46, 16, 56], bbox_srs: 'EPSG:4326', origin: nw, res: [1000, 500.5, 250], tile_size: [512, 512]}
  other: {name: the name, srs: 'EPSG:4326', origin: sw, num_levels: 2}
";

#[test]
fn grids_are_shown_with_what_a_coverage_takes_of_them() {
    let directory = temporary();
    let configuration = write(&directory, "mapproxy.yaml", GRIDS);
    let seeds = write(
        &directory,
        "seed.yaml",
        "seeds: {x: {caches: [none]}}\ncoverages: {box: {bbox: [5, 50, 10, 55], srs: 'EPSG:4326'}}",
    );
    let (status, out, _) = said(&["grids", "-f", &configuration, "-g", "g1", "-s", &seeds, "-c", "box"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "G1:\n    Configuration:\n        bbox: [3, 46, 16, 56]\n        bbox_srs: 'EPSG:4326'\n        origin: 'nw'\n        \
         res: [1000, 500.5, 250]\n        srs: 'EPSG:25832'\n        tile_size: [512, 512]\n    Coverage: box covers approx. \
         17.6862% of the grid BBOX\n    Levels: Resolutions, # x * y = total tiles (approx. tiles within coverage)\n        \
         00:  1000,  #      2 * 3      =          6 (1)\n        01:  500.5, #      4 * 5      =         20 (3)\n        \
         02:  250,   #      8 * 9      =         72 (12)\n"
    );
    assert_eq!(said(&["grids", &configuration, "-l"]).1, "G1\nGLOBAL_WEBMERCATOR\n");
    assert_eq!(
        said(&["grids", &configuration, "-l", "--all"]).1,
        "G1\nGLOBAL_GEODETIC\nGLOBAL_MERCATOR\nGLOBAL_WEBMERCATOR\nother\n"
    );
    let (_, out, _) = said(&["grids", &configuration, "-g", "OTHER"]);
    assert!(out.starts_with("the name:\n") && out.contains("bbox*: [-180.0, -90.0, 180.0, 90.0]"), "{out}");
    let (status, _, err) = said(&["grids", &configuration, "-g", "none"]);
    assert_eq!((status, err.as_str()), (Some(1), "grid not found: none\n"));
    let (status, _, err) = said(&["grids", &configuration, "-s", &seeds, "-c", "none"]);
    assert!(status == Some(1) && err.contains("available coverages: box"), "{err}");
    assert_eq!(said(&["grids", &configuration, "-c", "box"]).0, Some(1));
    let broken = write(&directory, "broken.yaml", "layers: [");
    let (status, _, err) = said(&["grids", &broken]);
    assert!(status == Some(2) && err.ends_with("ERROR: invalid configuration (see above)\n"), "{err}");
}

#[test]
fn what_autoconfig_writes_can_be_served() {
    let directory = temporary();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let base = write(
        &directory,
        "base.yaml",
        "grids: {web: {srs: 'EPSG:3857', origin: nw}, utm: {srs: 'EPSG:25832', origin: nw, bbox: [4, 46, 16, 56], bbox_srs: 'EPSG:4326'}}",
    );
    let capabilities = write(&directory, "caps.xml", CAPABILITIES);
    let overwrite = write(
        &directory,
        "overwrite.yaml",
        "sources: {__all__: {concurrent_requests: 2}}\nservice: {wms: {md: {title: Mine}}}",
    );
    let (output, seeds) = (path("mapproxy.yaml"), path("seed.yaml"));
    let arguments = [
        "autoconfig",
        "--capabilities",
        &capabilities,
        "--base",
        &base,
        "--overwrite",
        &overwrite,
        "--output",
        &output,
        "--output-seed",
        &seeds,
    ];
    assert_eq!(said(&arguments), (Some(0), String::new(), String::new()));
    let written = std::fs::read_to_string(&output).unwrap();
    assert!(written.starts_with("# MapProxy configuration"), "{written}");
    assert!(written.contains(
        "caches:\n  roads_cache:\n    grids: [web]\n    sources: [roads_wms]\nlayers:\n- layers:\n  - name: roads\n    sources: \
         [roads_cache]\n    title: Roads\n  title: All\nservices:\n  wms:\n    md:\n      title: Mine\nsources:\n  roads_wms:\n    \
         concurrent_requests: 2\n    coverage:\n      bbox: [5.0, 45.0, 15.0, 55.0]\n      srs: EPSG:4326\n"
    ), "{written}");
    assert_eq!(said(&["check", &output]).0, Some(0));
    let tasks = std::fs::read_to_string(&seeds).unwrap();
    assert!(tasks.contains("seeds:\n  roads_cache_web:\n    caches: [roads_cache]\n    grids: [web]\n"), "{tasks}");

    let (status, _, err) = said(&arguments);
    assert!(status == Some(2) && err.contains("already exists, use --force"), "{err}");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), written);
    for (wrong, status) in [
        (&["autoconfig"][..], 2),
        (&["autoconfig", "--capabilities", "none.xml"], 1),
        (&["autoconfig", "--capabilities", &base], 1),
        (&["autoconfig", "--geopackage", &base], 1),
        (&["autoconfig", "--capabilities", &capabilities, "--base", "none.yaml"], 2),
    ] {
        assert_eq!(said(wrong).0, Some(status), "{wrong:?}");
    }
}

/// An OGC API with one collection of maps and one tile matrix set.
fn ogc_api() -> u16 {
    let landing = r#"{"title": "Maps", "links": [{"rel": "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes", "href": "/sets"}, {"rel": "data", "href": "/collections"}]}"#;
    let sets = r#"{"tileMatrixSets": [{"id": "Quad", "links": [{"rel": "self", "href": "/quad"}]}, {"id": "Odd", "links": [{"rel": "self", "href": "/odd"}]}]}"#;
    let quad = r#"{"id": "Quad", "crs": "http://www.opengis.net/def/crs/EPSG/0/3857", "tileMatrices": [{"id": "0", "cellSize": 156543.03392804097, "pointOfOrigin": [-20037508.342789244, 20037508.342789244], "cornerOfOrigin": "topLeft", "tileWidth": 256, "tileHeight": 256, "matrixWidth": 1, "matrixHeight": 1}]}"#;
    let odd = r#"{"id": "Odd", "crs": "http://www.opengis.net/def/crs/EPSG/0/3857", "tileMatrices": [{"id": "0", "variableMatrixWidths": [{}]}]}"#;
    let collections = r#"{"collections": [{"id": "roads", "title": "Roads", "extent": {"spatial": {"bbox": [[5, 45, 15, 55]]}}, "links": [{"rel": "http://www.opengis.net/def/rel/ogc/1.0/map", "href": "/x"}]}, {"id": "tiles", "links": [{"rel": "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map", "href": "/y"}]}, {"id": "words", "links": []}]}"#;
    serve(vec![
        ("/api ", landing.to_owned()),
        ("/sets ", sets.to_owned()),
        ("/quad ", quad.to_owned()),
        ("/odd ", odd.to_owned()),
        ("/collections ", collections.to_owned()),
    ])
}

#[test]
fn tile_matrix_sets_become_grids_and_collections_layers() {
    let url = format!("http://127.0.0.1:{}/api", ogc_api());
    let (status, out, err) = said(&["gridconf-from-ogcapitilematrixset", &url]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "Configuration to add to mapproxy.yml:\n\ngrids:\n  Quad:\n    bbox: [-20037508.342789244, -20037508.342789244, \
         20037508.342789244, 20037508.342789244]\n    origin: ul\n    res: [156543.03392804097]\n    srs: EPSG:3857\n    \
         tile_size: [256, 256]\n\n"
    );
    assert!(err.contains("/odd: Tile matrix with variableMatrixWidths"), "{err}");
    let (status, _, err) = said(&["gridconf-from-ogcapitilematrixset", "--url", &format!("{url}/none")]);
    assert!(status == Some(1) && err.contains("404"), "{err}");

    let directory = temporary();
    let output = directory.path().join("mapproxy.yaml").to_str().unwrap().to_owned();
    let (status, _, err) = said(&["autoconfig", "--ogcapi", &url, "--output", &output]);
    assert!(status == Some(0) && err.contains("words is left out"), "{err}");
    let written = std::fs::read_to_string(&output).unwrap();
    assert!(written.contains("tile_matrix_set_id: Quad") && written.contains("type: ogcapimaps"), "{written}");
    assert_eq!(said(&["check", &output]), (Some(0), format!("{output}: no errors, no warnings\n"), String::new()));
}

const EXPORTED: &str = "
services: {tms: }
layers: [{name: l, title: L, sources: [c]}]
caches:
  c: {sources: [s], grids: [web], meta_size: [2, 2], meta_buffer: 0, cache: {type: file, directory: kept, directory_layout: tms}}
  two: {sources: [c], grids: [utm, web], cache: {type: mbtiles}}
sources: {s: {type: debug}}
grids:
  web: {base: GLOBAL_WEBMERCATOR, origin: sw, num_levels: 5}
  utm: {srs: 'EPSG:25832', origin: nw, bbox: [4, 46, 16, 56], bbox_srs: 'EPSG:4326', num_levels: 4}
";

/// A configuration whose cache `c` has levels 0 to 2.
fn filled() -> (TempDir, String) {
    let directory = temporary();
    let configuration = write(&directory, "mapproxy.yaml", EXPORTED);
    let (status, _, err) =
        export(&directory, &configuration, &["--levels", "0..2", "--dest", "first", "--fetch-missing-tiles"]);
    assert_eq!(status, Some(0), "{err}");
    (directory, configuration)
}

fn export(directory: &TempDir, configuration: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(&["export", "-f", configuration, "--source", "c", "--grid", "web"]);
    let output = command.args(arguments).current_dir(directory.path()).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_export_copies_tiles_to_where_the_person_says() {
    let (directory, configuration) = filled();
    let kept = files(&directory.path().join("kept"));
    assert_eq!(kept.len(), 21);
    assert_eq!(files(&directory.path().join("first")), kept);

    // Another directory than that of the configuration, and nobody else is asked.
    let elsewhere = temporary();
    let (status, out, err) = export(&elsewhere, &configuration, &["--dest", "out", "--levels", "1..3"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("Exporting cache 'c' to 'out' with grid 'web' in EPSG:3857\n  Limited to: -180.00000, -85.05113, 180.00000, 85.05113 (EPSG:4326)\n  Levels: [1, 2, 3]\n"), "{out}");
    assert!(out.ends_with("20 tiles exported (") || out.contains("20 tiles exported"), "{out}");
    let wanted: BTreeMap<_, _> = kept.into_iter().filter(|(name, _)| !name.starts_with("0/")).collect();
    assert_eq!(files(&elsewhere.path().join("out")), wanted);

    let (status, _, err) = export(&elsewhere, &configuration, &["--dest", "out", "--levels", "0"]);
    assert!(status == Some(2) && err == "ERROR: destination exists, remove first or use --force\n", "{err}");
    let (status, out, _) = export(&elsewhere, &configuration, &["--dest", "out", "--levels", "0..2", "--continue"]);
    assert!(status == Some(0) && out.contains("1 tiles exported") && out.contains("20 were there"), "{out}");
}

#[test]
fn an_export_is_limited_to_an_area_tile_by_tile() {
    let (directory, configuration) = filled();
    let (status, _, err) =
        export(&directory, &configuration, &["--dest", "out", "--levels", "0..2", "--bbox", "5,45,10,50"]);
    assert_eq!(status, Some(0), "{err}");
    let names: Vec<String> = files(&directory.path().join("out")).into_keys().collect();
    assert_eq!(names, ["0/0/0.png", "1/1/1.png", "2/2/2.png"]);
}

#[test]
fn exports_of_all_types_hold_the_tiles() {
    let (directory, configuration) = filled();
    for kind in [
        "tms",
        "mapproxy",
        "tc",
        "quadkey",
        "arcgis",
        "mbtile",
        "sqlite",
        "geopackage",
        "compact-v1",
        "compact-v2",
        "pmtiles",
    ] {
        let (status, out, err) =
            export(&directory, &configuration, &["--dest", kind, "--levels", "0..2", "--type", kind]);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{kind}");
        assert!(out.contains("21 tiles exported"), "{kind}: {out}");
        let path = directory.path().join(kind);
        assert_eq!(path.is_file(), matches!(kind, "mbtile" | "geopackage" | "pmtiles"), "{kind}");
        assert!(!directory.path().join(format!("{kind}.part")).exists());
    }
    // They are caches, too.
    let caches = "
services: {tms: }
layers: [{name: l, title: L, sources: [mbtile]}]
caches:
  mbtile: {sources: [], grids: [web], cache: {type: mbtiles, filename: ./mbtile}}
  sqlite: {sources: [], grids: [web], cache: {type: sqlite, directory: sqlite}}
  compact-v1: {sources: [], grids: [web], cache: {type: compact, version: 1, directory: compact-v1}}
  compact-v2: {sources: [], grids: [web], cache: {type: compact, version: 2, directory: compact-v2}}
  geopackage: {sources: [], grids: [web], cache: {type: geopackage, filename: ./geopackage, table_name: c_web}}
  pmtiles: {sources: [], grids: [web], cache: {type: pmtiles, filename: ./pmtiles}}
  quadkey: {sources: [], grids: [web], cache: {type: file, directory: quadkey, directory_layout: quadkey}}
grids:
  web: {base: GLOBAL_WEBMERCATOR, origin: sw, num_levels: 5}
";
    let again = write(&directory, "again.yaml", caches);
    let kept = files(&directory.path().join("kept"));
    for cache in ["mbtile", "sqlite", "compact-v1", "compact-v2", "geopackage", "pmtiles", "quadkey"] {
        let back = format!("back-{cache}");
        let mut command = program(&[
            "export", "-f", &again, "--source", cache, "--grid", "web", "--levels", "0..2", "-qq", "--dest", &back,
        ]);
        let output = command.current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{cache}: {}", text(&output.stderr));
        assert!(files(&directory.path().join(&back)) == kept, "{cache}");
    }
}

#[test]
fn an_export_into_another_grid_is_drawn_anew_and_said() {
    let (directory, configuration) = filled();
    let grid = "srs='EPSG:4326' bbox=[0,0,80,80] origin=nw";
    let mut command =
        program(&["export", "-f", &configuration, "--source", "c", "--grid", grid, "--levels", "0", "--dest", "out"]);
    let output = command.current_dir(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "WARN: grids are incompatible. needs to scale/reproject tiles for export.\n");
    assert!(text(&output.stdout).contains("with custom grid in EPSG:4326"));
    assert_eq!(files(&directory.path().join("out")).into_keys().collect::<Vec<_>>(), ["0/0/0.png"]);
}

#[test]
fn a_cache_of_several_grids_is_copied_in_the_one_that_fits() {
    let (directory, configuration) = filled();
    let mut command = program(&[
        "export",
        "-f",
        &configuration,
        "--source",
        "two",
        "--grid",
        "web",
        "--levels",
        "0..1",
        "--dest",
        "out",
    ]);
    let output = command.current_dir(directory.path()).output().unwrap();
    // Its own store is empty, and that of the cache below is a cache like any other.
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let kept = files(&directory.path().join("kept"));
    let wanted: BTreeMap<_, _> = kept.into_iter().filter(|(name, _)| !name.starts_with("2/")).collect();
    assert_eq!(files(&directory.path().join("out")), wanted);
}

#[test]
fn a_dry_run_writes_nothing() {
    let (directory, configuration) = filled();
    let before = files(directory.path());
    for kind in ["tms", "mbtile", "geopackage", "pmtiles"] {
        let (status, out, err) =
            export(&directory, &configuration, &["--dest", "out", "--levels", "0..2", "--type", kind, "-n"]);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        assert!(out.contains("100.00%") && out.contains("(21 tiles)"), "{out}");
    }
    assert_eq!(files(directory.path()), before);
}

#[test]
fn what_cannot_be_exported_is_said() {
    let (directory, configuration) = filled();
    let base = ["export", "-f", &configuration];
    for (arguments, status, reason) in [
        (&["--source", "c", "--grid", "web", "--dest", "x"][..], 1, "ERROR: missing required option --levels"),
        (&["--grid", "web", "--dest", "x", "--levels", "0"], 1, "ERROR: missing required option --source"),
        (&["--source", "c", "--dest", "x", "--levels", "0"], 1, "ERROR: missing required option --grid"),
        (&["--source", "c", "--grid", "web", "--levels", "0"], 1, "ERROR: missing required option --dest"),
        (
            &["--source", "none", "--grid", "web", "--dest", "x", "--levels", "0"],
            2,
            "unknown source none. available caches: c,two",
        ),
        (&["--source", "s", "--grid", "web", "--dest", "x", "--levels", "0"], 2, "use --fetch-missing-tiles"),
        (&["--source", "c", "--grid", "none", "--dest", "x", "--levels", "0"], 2, "unknown grid none"),
        (
            &["--source", "c", "--grid", "foo=bar", "--dest", "x", "--levels", "0"],
            2,
            "ERROR: invalid grid configuration\n  unknown 'foo'",
        ),
        (&["--source", "c", "--grid", "srs=EPSG:25832", "--dest", "x", "--levels", "0"], 2, "need a bbox"),
        (
            &["--source", "c", "--grid", "web", "--dest", "x", "--levels", "0..5"],
            2,
            "ERROR: destination grid only has 5 levels",
        ),
        (&["--source", "c", "--grid", "web", "--dest", "x", "--levels", "3..1"], 2, "'3..1' is empty"),
        (
            &["--source", "c", "--grid", "web", "--dest", "x", "--levels", "0", "--type", "zip"],
            2,
            "ERROR: unsupported --type zip",
        ),
        (&["--source", "c", "--grid", "utm", "--dest", "x", "--levels", "0", "--type", "pmtiles"], 2, "web mercator"),
        (&["--source", "c", "--grid", "web", "--dest", "x", "--levels", "0", "--coverage", "none.wkt"], 2, "none.wkt"),
    ] {
        let output = program(&[&base[..], arguments].concat()).current_dir(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(text(&output.stderr).contains(reason), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(!directory.path().join("x").exists());
}

#[test]
fn completions_and_manuals_know_every_command() {
    let (_, help, _) = said(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What is indented further goes on with the line before.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(commands.len() > 10, "{help}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (status, script, _) = said(&["completions", shell]);
        assert_eq!(status, Some(0));
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    let (status, script, _) = said(&["completions", "--program", "mapproxy-seed", "bash"]);
    assert!(status == Some(0) && script.contains("--seed-conf") && script.contains("mapproxy-seed"), "{script}");
    let directory = temporary();
    let man = directory.path().join("man1");
    let (status, out, _) = said(&["man", man.to_str().unwrap()]);
    assert_eq!(status, Some(0));
    assert!(man.join("mapproxy-seed.1").exists());
    for command in &commands {
        let page = man.join(format!("mapproxy-util-{command}.1"));
        assert!(std::fs::read_to_string(&page).unwrap().contains(".TH"), "{}", page.display());
        assert!(out.contains(page.to_str().unwrap()));
        let (status, help, _) = said(&[command, "--help"]);
        assert!(status == Some(0) && help.contains("Usage: mapproxy-util"), "{command}: {help}");
    }
}

/// A cache with the tiles of three levels, and two others that can take them.
fn with_tiles() -> (TempDir, String) {
    let directory = temporary();
    let config = write(
        &directory,
        "mapproxy.yaml",
        "caches:
  files: {grids: [GLOBAL_WEBMERCATOR], sources: [drawn], cache: {type: file, directory: ./files, directory_layout: tms}}
  database: {grids: [GLOBAL_WEBMERCATOR], sources: [], cache: {type: mbtiles, filename: ./tiles.mbtiles}}
  photos: {grids: [GLOBAL_WEBMERCATOR], sources: [], format: image/jpeg, cache: {type: compact, version: 2, directory: ./photos}}
  nothing: {grids: [GLOBAL_GEODETIC], sources: [drawn], disable_storage: true}
sources: {drawn: {type: debug}}
layers: [{name: a, title: A, sources: [files]}]
services: {demo: {}}
globals: {cache: {base_dir: cache}}
",
    );
    let seed = write(&directory, "seed.yaml", "seeds: {all: {caches: [files], levels: {to: 2}}}");
    let seeded = std::process::Command::new(env!("CARGO_BIN_EXE_mapproxy-seed"))
        .current_dir(directory.path())
        .args(["-f", &config, "-s", &seed, "-qq"])
        .output()
        .unwrap();
    assert!(seeded.status.success(), "{}", text(&seeded.stdout));
    (directory, config)
}

#[test]
fn verify_finds_and_removes_what_is_no_tile() {
    let (directory, config) = with_tiles();
    let well = said(&["verify", "-f", &config, "--cache", "files"]);
    assert_eq!(well, (Some(0), "files in GLOBAL_WEBMERCATOR: 21 tiles, no fault\n".to_owned(), String::new()));
    let tile = |path: &str| directory.path().join("files").join(path);
    let whole = std::fs::read(tile("2/1/1.png")).unwrap();
    std::fs::write(tile("2/1/1.png"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(tile("2/1/2.png"), "").unwrap();
    std::fs::write(tile("1/0/0.txt"), "a note").unwrap();
    let (status, out, _) = said(&["verify", "-f", &config]);
    assert_eq!(status, Some(1), "{out}");
    for told in
        ["2/1/1.png: damaged: ", "2/1/2.png: damaged: ", "1/0/0.txt: no tile: ", "21 tiles, 2 damaged, 1 no tile\n"]
    {
        assert!(out.contains(told), "{told} in {out}");
    }
    assert!(tile("2/1/1.png").exists(), "only told");
    // On other levels nothing is wrong, and what is no tile has no level.
    assert_eq!(said(&["verify", "-f", &config, "--cache", "files", "--levels", "0,1"]).0, Some(0));
    let (status, out, _) = said(&["verify", "-f", &config, "--cache", "files", "--remove", "--format", "json"]);
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((status, &last["removed"], &last["faults"]), (Some(1), &2.into(), &2.into()));
    assert!(!tile("2/1/1.png").exists() && tile("1/0/0.txt").exists());
    assert_eq!(said(&["verify", "-f", &config, "--cache", "files"]).0, Some(0));
    assert_eq!(said(&["verify", "-f", &config, "--cache", "nothing"]).0, Some(2));
    assert_eq!(said(&["verify", "-f", &config, "--cache", "fils"]).0, Some(2));
}

#[test]
fn verify_wonders_about_a_tile_of_one_colour_that_stands_alone() {
    let (directory, config) = with_tiles();
    let grey: Vec<u8> = {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 256, 256);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(&[119; 256 * 256]).unwrap();
        bytes
    };
    std::fs::write(directory.path().join("files/2/1/1.png"), &grey).unwrap();
    let (status, out, _) = said(&["verify", "-f", &config, "--cache", "files"]);
    assert!(out.contains("2/1/1.png: suspicious: all of it is #777777ff"), "{out}");
    assert_eq!(status, Some(0), "it is no fault: {out}");
    std::fs::write(directory.path().join("files/2/1/2.png"), &grey).unwrap();
    let (_, out, _) = said(&["verify", "-f", &config, "--cache", "files"]);
    assert!(out.contains("21 tiles, no fault"), "not the only one any more: {out}");
}

#[test]
fn cache_info_counts_tiles_and_draws_where_they_are() {
    let (directory, config) = with_tiles();
    let pictures = directory.path().join("pictures");
    std::fs::remove_file(directory.path().join("files/2/0/0.png")).unwrap();
    let (status, out, _) =
        said(&["cache-info", "-f", &config, "--cache", "files", "--picture", pictures.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{out}");
    let levels: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(levels[4], ["2", "15", "93.75"], "{out}");
    assert_eq!(levels[5][..2], ["all", "20"], "{out}");
    let picture = std::fs::File::open(pictures.join("files-GLOBAL_WEBMERCATOR-02.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::BufReader::new(picture)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let mut expected = [0; 16];
    expected[0] = 255; // the grid counts from the north-west
    assert_eq!(pixels, expected);
    let (_, out, _) =
        said(&["cache-info", "-f", &config, "--cache", "files", "--format", "json", "--bbox", "1,1,20,20"]);
    let info: serde_json::Value = serde_json::from_str(&out).unwrap();
    let level = &info["caches"][0]["levels"][2];
    assert_eq!((&level["tiles"], &level["of"]), (&1.into(), &1.into()), "{out}");
}

#[test]
fn convert_copies_tiles_and_writes_them_in_the_format_of_the_new_cache() {
    let (directory, config) = with_tiles();
    let damaged = directory.path().join("files/1/1/1.png");
    let whole = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &whole[..100]).unwrap();
    let convert = |more: &[&str]| said(&[&["convert", "-f", &config, "--from", "files"], more].concat());
    let (status, out, _) = convert(&["--to", "database", "-n"]);
    assert!(out.contains("20 tiles to be stored") && status == Some(1), "{out}");
    let (status, out, err) = convert(&["--to", "database"]);
    assert!(out.contains("20 tiles stored") && out.contains("0 were there, 1 damaged"), "{out}");
    assert!(err.contains("1/1/1.png: ") && status == Some(1), "{err}");
    std::fs::write(&damaged, &whole).unwrap();
    let (status, out, _) = convert(&["--to", "database"]);
    assert!(out.contains("1 tiles stored") && out.contains("20 were there, 0 damaged"), "it goes on: {out}");
    assert_eq!(status, Some(0));
    let (_, out, _) = said(&["verify", "-f", &config, "--cache", "database"]);
    assert!(out.contains("21 tiles, no fault"), "{out}");
    assert_eq!(convert(&["--to", "photos", "--levels", "2"]).0, Some(0));
    let (_, out, _) = said(&["verify", "-f", &config, "--cache", "photos"]);
    assert!(out.contains("16 tiles, no fault"), "as JPEG: {out}");
    for (more, told) in [
        (&["--to", "files"][..], "the same cache"),
        (&["--to", "nothing"], "no such grid in common"),
        (&["--to", "foto"], "cache foto not found. available: files,database"),
        (&[], "missing required option --to"),
    ] {
        let (status, _, err) = convert(more);
        assert!(status == Some(2) && err.contains(told), "{err}");
    }
}

#[test]
fn bundles_and_databases_are_written_anew_without_what_is_not_in_use() {
    let (_directory, config) = with_tiles();
    for to in ["photos", "database"] {
        for _ in 0..2 {
            let converted = said(&["convert", "-f", &config, "--from", "files", "--to", to, "--force"]);
            assert_eq!(converted.0, Some(0), "{converted:?}");
        }
    }
    let defrag = |more: &[&str]| {
        said(&[&["defrag-compact-cache", "-f", &config, "--min-mb", "0", "--min-percent", "1"], more].concat())
    };
    let all_are = |out: &str, what: &str| out.lines().count() == 4 && out.lines().all(|line| line.ends_with(what));
    let (status, out, _) = defrag(&["-n"]);
    assert!(status == Some(0) && all_are(&out, " - defragmenting"), "{out}");
    assert!(out.lines().next().unwrap().contains("] database:   1/1 ("), "{out}");
    assert!(all_are(&defrag(&["-n"]).1, " - defragmenting"), "nothing was changed");
    assert!(all_are(&defrag(&[]).1, " - defragmenting"));
    let (_, out, _) = defrag(&[]);
    assert!(all_are(&out, " - skipping"), "it is done: {out}");
    for cache in ["photos", "database"] {
        let (_, out, _) = said(&["verify", "-f", &config, "--cache", cache]);
        assert!(out.contains("21 tiles, no fault"), "{out}");
    }
    let (status, out, _) = defrag(&["--caches", "files"]);
    assert_eq!((status, out.lines().next()), (Some(1), Some("unknown caches: files")));
}
