//! What programs add that embed MapProxy: sources, stores, observers, and what they learn of each request.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mapproxy_core::cache::TileKey;
use mapproxy_core::cache::store::{Capabilities, StoreError, StoredTile, TileData, TileMeta, TileStore};
use mapproxy_core::image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_core::map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_core::{Answered, AppBuilder, Application, CacheState, Observer, Response};

const CONFIG: &str = "
services: {wms: {md: {title: test}}, tms: }
layers: [{name: plain, title: Plain, sources: [plain_cache]}]
caches: {plain_cache: {grids: [GLOBAL_WEBMERCATOR], sources: [plain], meta_size: [1, 1], cache: {type: custom}}}
sources: {plain: {type: custom, coverage: {bbox: [-10, -10, 10, 10], srs: 'EPSG:4326'}}}
";

/// One colour everywhere.
#[derive(Debug)]
struct Plain(SourceProfile, Color);

impl MapSource for Plain {
    fn profile(&self) -> &SourceProfile {
        &self.0
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        if !self.0.covers(query)? {
            return Ok(None);
        }
        let pixels = Pixels::filled(query.size, PixelMode::Rgb, self.1);
        Ok(Some(MapImage::from_pixels(pixels, Arc::clone(&self.0.image))))
    }
}

/// Tiles in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<TileKey, Bytes>>);

impl TileStore for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: false, dimensions: true, single_color: false }
    }
    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let tile = self.0.lock().unwrap().get(key).cloned();
        Ok(tile.map(|bytes| StoredTile { meta: TileMeta { modified: None, size: bytes.len() as u64 }, bytes }))
    }
    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(key.clone(), tile.bytes.clone());
        Ok(())
    }
    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Counter(Mutex<Vec<Seen>>);

/// Service, status, cache.
type Seen = (Option<&'static str>, u16, Option<CacheState>);

impl Observer for Counter {
    fn answered(&self, answered: &Answered<'_>) {
        self.0.lock().unwrap().push((answered.service, answered.status.as_u16(), answered.cache));
    }
}

fn builder(store: &Arc<Memory>, observer: &Arc<Counter>) -> AppBuilder {
    let store = Arc::clone(store);
    AppBuilder::from_text(CONFIG, std::env::temp_dir())
        .source("plain", |wanted| {
            let options = Arc::new(ImageOptions::new(ImageFormat::png()));
            let mut profile = SourceProfile::new(Arc::clone(&wanted.name), options);
            profile.coverage = wanted.coverage.clone();
            profile.extent = wanted.coverage.as_ref().map(|coverage| coverage.extent());
            Ok(Arc::new(Plain(profile, Color([10, 200, 30, 255]))))
        })
        .store("plain_cache", move |wanted| {
            assert_eq!(
                (&*wanted.cache, wanted.grid.name(), &*wanted.extension),
                ("plain_cache", "GLOBAL_WEBMERCATOR", "png")
            );
            Ok(Arc::clone(&store) as Arc<dyn TileStore>)
        })
        .observer(Arc::clone(observer) as Arc<dyn Observer>)
}

fn get(app: &impl Application, uri: &str) -> Response {
    let request = http::Request::get(uri).body(Bytes::new()).unwrap();
    app.call_now(&request).unwrap_or_else(|| app.call(request))
}

#[test]
fn a_program_brings_its_own_source_and_store_and_counts_what_happens() {
    let (store, observer) = (Arc::new(Memory::default()), Arc::new(Counter::default()));
    let app = builder(&store, &observer).build().unwrap().app;
    let states: Vec<Option<CacheState>> = (0..2)
        .map(|_| get(&app, "/tms/1.0.0/plain/EPSG3857/0/0/0.png"))
        .map(|answer| {
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["content-type"]),
                (200, &"image/png".parse().unwrap())
            );
            answer.extensions().get().copied()
        })
        .collect();
    assert_eq!(states, [Some(CacheState::Miss), Some(CacheState::Hit)]);
    assert_eq!(store.0.lock().unwrap().len(), 1);
    get(&app, "/nowhere");
    assert_eq!(
        *observer.0.lock().unwrap(),
        [(Some("tms"), 200, Some(CacheState::Miss)), (Some("tms"), 200, Some(CacheState::Hit)), (None, 404, None)]
    );
}

#[test]
fn a_custom_part_that_nobody_makes_is_refused_with_its_place() {
    let error = AppBuilder::from_text(CONFIG, std::env::temp_dir()).build().unwrap_err().to_string();
    assert!(error.contains("caches.plain_cache") || error.contains("sources.plain"), "{error}");
    let failing = AppBuilder::from_text(CONFIG, std::env::temp_dir())
        .source("plain", |_| Err("the raster is missing".to_owned()))
        .store("plain_cache", |_| Ok(Arc::new(Memory::default())));
    let error = failing.build().unwrap_err().to_string();
    assert!(error.contains("sources.plain") && error.contains("the raster is missing"), "{error}");
}
