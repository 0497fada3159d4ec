//! What a configuration cannot say: a source that draws by itself, a store that keeps tiles in memory, an observer that
//! counts, and a decorator that signs maps. The configuration names the places of sources and stores with `type: custom`,
//! the program fills them.
//!
//! ```sh
//! cargo run --release -p example-custom-parts
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Result;
use bytes::Bytes;
use mapproxy_core::auth::Operation;
use mapproxy_core::cache::TileKey;
use mapproxy_core::cache::store::visit::{SeenTile, Visit, Visited, Visitor};
use mapproxy_core::cache::store::{Capabilities, StoreError, StoredTile, TileData, TileMeta, TileStore};
use mapproxy_core::decorate::{Decorator, DecoratorError, Picture};
use mapproxy_core::grid::Coverage;
use mapproxy_core::image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, message};
use mapproxy_core::map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_core::{Answered, App, AppBuilder, CacheState, CustomSource, Observer};
use mapproxy_http::Server;

const CONFIGURATION: &str = "
services: {demo: , wms: {md: {title: Custom parts}}, tms: }
layers: [{name: plain, title: A plain colour, sources: [plain_cache]}]
caches:
  plain_cache: {grids: [GLOBAL_WEBMERCATOR], sources: [plain], meta_size: [1, 1], cache: {type: custom}}
sources:
  plain: {type: custom, coverage: {bbox: [-10, 30, 40, 70], srs: 'EPSG:4326'}}
";

fn main() -> Result<()> {
    let counter = Arc::new(Counter::default());
    let app = app(&counter)?;
    println!("http://127.0.0.1:8080/demo/");
    Server::builder(app).bind("127.0.0.1:8080").stop_on_signals(true).build()?.run()?;
    println!("{} answers, {} of them from the cache", counter.answers(), counter.hits());
    Ok(())
}

fn app(counter: &Arc<Counter>) -> Result<App> {
    let builder = AppBuilder::from_text(CONFIGURATION, std::env::current_dir()?)
        .source("plain", |wanted| Ok(Arc::new(Plain::new(wanted))))
        .store("plain_cache", |_| Ok(Arc::new(Memory::default())))
        .decorate(Arc::new(Signature))
        .observer(Arc::clone(counter) as Arc<dyn Observer>);
    Ok(builder.build()?.app)
}

/// Draws one colour.
#[derive(Debug)]
struct Plain {
    profile: SourceProfile,
}

impl Plain {
    fn new(wanted: &CustomSource) -> Plain {
        let options = Arc::new(ImageOptions::new(ImageFormat::png()));
        Plain {
            profile: SourceProfile {
                extent: wanted.coverage.as_ref().map(Coverage::extent),
                coverage: wanted.coverage.clone(),
                resolutions: wanted.resolutions,
                ..SourceProfile::new(Arc::clone(&wanted.name), options)
            },
        }
    }
}

impl MapSource for Plain {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let pixels = Pixels::filled(query.size, PixelMode::Rgb, Color([70, 130, 180, 255]));
        Ok(Some(MapImage::from_pixels(pixels, Arc::clone(&self.profile.image))))
    }
}

/// Keeps tiles as long as the program runs.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<TileKey, Bytes>>);

impl Memory {
    fn tiles(&self) -> MutexGuard<'_, HashMap<TileKey, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TileStore for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: false, dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        "memory".to_owned()
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        if before.is_some() {
            let (what, reason) = ("old tiles".to_owned(), "this store knows no times".to_owned());
            return Err(StoreError { action: "remove", what, reason });
        }
        self.tiles().retain(|key, _| key.coord.z != level);
        Ok(())
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        // A copy of the keys: the visitor may remove what it is shown.
        let keys: Vec<TileKey> = self.tiles().keys().filter(|key| wanted.wants(key.coord)).cloned().collect();
        for key in keys {
            let Some(StoredTile { bytes, meta }) = self.load(&key)? else { continue };
            if visitor(Visited::Tile(SeenTile { key, meta: Some(meta), bytes: Some(bytes) })).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn place(&self, key: &TileKey) -> String {
        format!("{:?} in memory", key.coord)
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let stored = |bytes: &Bytes| StoredTile {
            bytes: bytes.clone(),
            meta: TileMeta { modified: None, size: bytes.len() as u64 },
        };
        Ok(self.tiles().get(key).map(stored))
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.tiles().insert(key.clone(), tile.bytes.clone());
        Ok(())
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        self.tiles().remove(key);
        Ok(())
    }
}

/// Writes into the corner of each map of the WMS for whom it was drawn. Tiles are left alone, and so take the short way.
#[derive(Debug)]
struct Signature;

impl Decorator for Signature {
    fn decorate(&self, image: MapImage, picture: &Picture<'_>) -> Result<MapImage, DecoratorError> {
        let name = picture.request.headers().get("x-customer").and_then(|name| name.to_str().ok());
        let Some(name) = name else { return Ok(image) };
        let mut pixels = Arc::unwrap_or_clone(image.pixels()?);
        message::attribution(&mut pixels, name);
        Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())))
    }

    fn concerns(&self, operation: Operation) -> bool {
        operation == Operation::WmsMap
    }
}

/// Counts answers, as a sink for metrics would.
#[derive(Debug, Default)]
struct Counter {
    answers: AtomicU64,
    hits: AtomicU64,
}

impl Counter {
    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl Observer for Counter {
    fn answered(&self, answered: &Answered<'_>) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if answered.cache == Some(CacheState::Hit) {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_core::{Application, Response};

    use super::*;

    fn get(app: &App, uri: &str) -> Response {
        let request = http::Request::get(uri).body(Bytes::new()).unwrap();
        app.call_now(&request).unwrap_or_else(|| app.call(request))
    }

    #[test]
    fn tiles_come_from_the_source_once_and_then_from_the_store() {
        let counter = Arc::new(Counter::default());
        let app = app(&counter).unwrap();
        let first = get(&app, "/tms/1.0.0/plain/EPSG3857/0/0/0.png");
        let second = get(&app, "/tms/1.0.0/plain/EPSG3857/0/0/0.png");
        assert_eq!(first.headers()["content-type"], "image/png");
        assert_eq!(first.body(), second.body());
        let states = [&first, &second].map(|answer| answer.extensions().get().copied());
        assert_eq!(states, [Some(CacheState::Miss), Some(CacheState::Hit)]);
        assert_eq!(get(&app, "/nowhere").status(), 404);
        assert_eq!((counter.answers(), counter.hits()), (3, 1));
    }

    #[test]
    fn maps_are_signed_for_those_who_say_who_they_are() {
        let app = app(&Arc::default()).unwrap();
        let uri = "/service?service=WMS&version=1.1.1&request=GetMap&layers=plain&styles=&srs=EPSG:4326&bbox=0,40,10,50\
                   &width=200&height=200&format=image/png";
        let signed = http::Request::get(uri).header("x-customer", "Somebody").body(Bytes::new()).unwrap();
        let (signed, plain) = (app.call(signed), get(&app, uri));
        assert_eq!((signed.status(), plain.status()), (http::StatusCode::OK, http::StatusCode::OK));
        assert_ne!(signed.body(), plain.body());
        assert_eq!(signed.headers()["cache-control"], "private, no-cache");
    }
}
