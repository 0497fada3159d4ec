//! What upstream servers and programs may answer: documents of OGC APIs and the output of CGI programs are understood or
//! refused, and nothing else.
//!
//! An input is the output of a program, and at the same time documents with lines of `--` between them, which a server
//! answers one after the other.

#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mapproxy_client::cgi_response;
use mapproxy_client::testkit::{ScriptedClient, response};
use mapproxy_grid::{Bbox, Origin, ResolutionRange, Size, Srs, TileCoord, TileGrid};
use mapproxy_image::ImageFormat;
use mapproxy_map::{MapQuery, MapSource};
use mapproxy_sources::{
    OgcApiMapsOptions, OgcApiMapsSource, OgcApiTilesOptions, OgcApiTilesSource, OnErrors, TileMatrixSet,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(answer) = cgi_response(Bytes::copy_from_slice(data)) {
        assert!((100..600).contains(&answer.status) && answer.body.len() < data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let documents: Vec<String> = text.split("\n--\n").map(str::to_owned).collect();
    for document in documents.iter().filter_map(|document| serde_json::from_str(document).ok()) {
        if let Ok(set) = TileMatrixSet::parse(&document) {
            let tile = TileCoord::new(0, 0, 0);
            let _ = (set.matrix(tile), set.grid().tile_bbox(tile));
        }
    }
    let server = || {
        let (documents, next) = (documents.clone(), AtomicUsize::new(0));
        Arc::new(ScriptedClient::new(move |_| {
            let next = next.fetch_add(1, Ordering::Relaxed);
            Ok(response("application/json", documents.get(next).cloned().unwrap_or_default()))
        }))
    };
    let mut builder = TileGrid::builder("cache", Srs::web_mercator());
    builder.origin = Origin::UpperLeft;
    let grid = Arc::new(builder.build().expect("the defaults are a grid"));
    let bbox: Bbox = grid.tile_bbox(TileCoord::new(1, 1, 2));
    let query = MapQuery::new(bbox, Size::new(256, 256), Srs::web_mercator(), ImageFormat::png());
    let client = server();
    let maps = OgcApiMapsOptions {
        name: "maps".into(),
        landing_page: "http://h/".into(),
        collection: None,
        supported_srs: None,
        preferred_srs: Arc::default(),
        transparent: false,
        bgcolor: None,
        image: Arc::default(),
        transparent_color: None,
        coverage: None,
        resolutions: ResolutionRange::default(),
        on_error: OnErrors::default(),
    };
    let _ = OgcApiMapsSource::new(maps, client.clone(), client).render(&query);
    let client = server();
    let tiles = OgcApiTilesOptions {
        name: "tiles".into(),
        landing_page: "http://h/".into(),
        collection: None,
        tile_matrix_set_id: None,
        grid,
        format: ImageFormat::png(),
        image: Arc::default(),
        coverage: None,
        resolutions: ResolutionRange::default(),
        on_error: OnErrors::default(),
    };
    let _ = OgcApiTilesSource::new(tiles, client.clone(), client).render(&query);
});
