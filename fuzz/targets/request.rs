//! What a client may send: a path with a query, and headers. No input may cause a panic, whoever would catch it, nor an
//! answer larger than the limits of the configuration.
//!
//! An input is text: the first line the path and query, every other line a header.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mapproxy_core::{App, AppBuilder, Application};

/// Every service, nothing to wait for; pictures are small, so that many requests are tried.
const CONFIG: &str = "
services:
  demo:
  tms: {use_grid_names: true}
  wmts:
    restful: true
    kvp: true
  ogcapi: {map_srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832'], max_output_pixels: [64, 64], default_dataset_layers: [cached]}
  wms: {srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832'], max_output_pixels: [64, 64]}
layers:
  - name: group
    title: Group
    layers:
      - name: cached
        title: Cached
        sources: [cached]
        nominal_scale: 1000000000
        dimensions:
          time: {values: ['2024-01-01T00:00:00Z/2024-02-01T00:00:00Z/PT6H', '2020-02/2021-02/P1M'], nearest_value: true}
          elevation: {values: [0/300/50]}
      - {name: direct, title: Direct, sources: [drawn], min_res: 100000, max_res: 1}
caches:
  cached: {grids: [GLOBAL_WEBMERCATOR, small], sources: [drawn], disable_storage: true, meta_size: [1, 1], meta_buffer: 0}
sources:
  drawn: {type: debug}
grids:
  small: {srs: 'EPSG:4326', bbox: [-180, -90, 180, 90], origin: nw, tile_size: [32, 32], num_levels: 4}
";

static APP: LazyLock<App> = LazyLock::new(|| {
    let built = AppBuilder::from_text(CONFIG, std::env::temp_dir()).build();
    built.expect("the configuration of the fuzz target is valid").app
});

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut request = http::Request::get(lines.next().unwrap_or_default());
    for line in lines {
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            request = request.header(&line[..colon], &line[colon + 1..]);
        }
    }
    // What is no request for HTTP never reaches the application.
    let Ok(request) = request.body(Bytes::new()) else { return };
    let now = APP.call_now(&request);
    let response = APP.call(request);
    assert!(response.body().len() < 4_000_000, "{} bytes", response.body().len());
    if let Some(now) = now {
        assert_eq!(now.status(), response.status());
    }
});
