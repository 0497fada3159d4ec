//! For tests: tasks on caches in temporary directories, whose source asks a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::{FileStore, TileStore};
use mapproxy_cache::{Creation, ManagerOptions, Permissions, TileLocker, TileManager};
use mapproxy_client::{HttpClient, UpstreamRequest, UpstreamResponse};
use mapproxy_grid::{Bbox, Coverage, Origin, Size, Srs, TileGrid};
use mapproxy_image::{Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, codec};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::{Refresh, SeedTask};

/// Asks the client for each map; what comes is not looked at.
#[derive(Debug)]
struct Source {
    profile: SourceProfile,
    client: Arc<dyn HttpClient>,
}

impl MapSource for Source {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let Bbox { min_x, min_y, max_x, max_y } = query.bbox;
        let url = format!("http://maps.example/?size={}&bbox={min_x},{min_y},{max_x},{max_y}", query.size);
        let request = UpstreamRequest::get(url);
        self.client.send(&request).map_err(|error| MapError::Upstream {
            source_name: "wms".into(),
            message: error.message.to_owned(),
            status: error.status(),
            url: error.url.to_string(),
            reason: error.reason,
        })?;
        let pixels = Pixels::filled(query.size, PixelMode::Rgb, Color::rgb(10, 20, 30));
        Ok(Some(MapImage::from_pixels(pixels, options())))
    }
}

fn options() -> Arc<ImageOptions> {
    Arc::new(ImageOptions { colors: Some(0), ..ImageOptions::new(ImageFormat::png()) })
}

/// An answer that says nothing.
pub(crate) fn answer() -> UpstreamResponse {
    mapproxy_client::testkit::response("image/png", "a map")
}

/// A cache in `directory`: tiles of 16 pixels, meta tiles of 2 × 2 of them.
pub(crate) fn manager(directory: &Path, client: Arc<dyn HttpClient>) -> Arc<TileManager> {
    let store = FileStore {
        directory: directory.join("tiles"),
        extension: "png".to_owned(),
        layout: Layout::Tms,
        link_single_color: LinkSingleColor::Off,
        permissions: Permissions::default(),
    };
    let locker = TileLocker {
        directory: directory.join("locks"),
        cache_id: "id".to_owned(),
        timeout: Duration::from_secs(60),
        permissions: Permissions::default(),
    };
    let source = Source { profile: SourceProfile::new("wms", options()), client };
    manager_with(Arc::new(store), Some(locker), vec![Arc::new(source)])
}

/// A cache of what `store` has.
pub(crate) fn manager_of(store: Arc<dyn TileStore>) -> Arc<TileManager> {
    manager_with(store, None, Vec::new())
}

fn manager_with(
    store: Arc<dyn TileStore>,
    locker: Option<TileLocker>,
    sources: Vec<Arc<dyn MapSource>>,
) -> Arc<TileManager> {
    let mut grid = TileGrid::builder("world", Srs::web_mercator());
    grid.origin = Origin::UpperLeft;
    grid.tile_size = Size::new(16, 16);
    let grid = Arc::new(grid.build().unwrap());
    let manager = TileManager::new(ManagerOptions {
        name: "osm".into(),
        grid,
        store: Some(store),
        locker,
        renderd: None,
        sources,
        bands: None,
        data: None,
        dimensions: Vec::new(),
        announced: Vec::new(),
        image: options(),
        creation: Creation {
            meta_size: (2, 2),
            meta_buffer: 0,
            bulk_meta_tiles: false,
            minimize_meta_requests: false,
            concurrent_creators: 1,
            request_format: ImageFormat::png(),
        },
        watermark: None,
        refresh_before: None,
        coverage: None,
        rescaling: None,
        cache_rescaled_tiles: false,
    });
    Arc::new(manager.unwrap())
}

/// All tiles of the levels from 0 to `to`.
pub(crate) fn task(manager: &Arc<TileManager>, to: u8) -> SeedTask {
    SeedTask {
        name: "all".into(),
        manager: Arc::clone(manager),
        levels: (0..=to).collect(),
        coverage: None::<Coverage>,
        refresh: Refresh::Missing,
        skip_geoms_for_last_levels: 0,
    }
}

/// All tiles in a cache, each of them whole.
pub(crate) fn whole_tiles(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory.join("tiles")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                codec::decode(&std::fs::read(&path).unwrap(), 1 << 20).unwrap();
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
