//! For tests: a source that counts what it is asked, and caches around it in temporary directories.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Origin, Size, Srs, TileCoord, TileGrid};
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, PixelMode, Pixels, codec};
use mapproxy_map::{Access, Dimensions, MapError, MapQuery, MapSource, SourceProfile};

use crate::store::FileStore;
use crate::store::file::LinkSingleColor;
use crate::store::layout::Layout;
use crate::{Creation, ManagerOptions, Permissions, TileKey, TileLocker, TileManager};

pub(crate) type Answer = Result<Option<MapImage>, MapError>;

/// Answers as told and remembers what it was asked.
pub(crate) struct FakeSource {
    pub(crate) profile: SourceProfile,
    asked: Mutex<Vec<MapQuery>>,
    answer: Box<dyn Fn(&MapQuery) -> Answer + Send + Sync>,
}

impl fmt::Debug for FakeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSource")
    }
}

impl FakeSource {
    pub(crate) fn new(answer: impl Fn(&MapQuery) -> Answer + Send + Sync + 'static) -> Self {
        FakeSource {
            profile: SourceProfile::new("fake", options()),
            asked: Mutex::new(Vec::new()),
            answer: Box::new(answer),
        }
    }

    /// Draws [`world_color`]s.
    pub(crate) fn world() -> Self {
        FakeSource::new(|query| Ok(Some(world(query))))
    }

    pub(crate) fn failing() -> Self {
        FakeSource::new(|_| Err(upstream_error()))
    }

    /// Answers with a file.
    pub(crate) fn file(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        FakeSource::new(move |_| Ok(Some(MapImage::from_encoded(bytes.clone(), options()))))
    }

    pub(crate) fn of_tiles(mut self) -> Self {
        self.profile.access = Access::TilesOf(grid());
        self
    }

    pub(crate) fn asked(&self) -> Vec<MapQuery> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl MapSource for FakeSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Answer {
        self.asked.lock().unwrap().push(query.clone());
        (self.answer)(query)
    }
}

pub(crate) fn upstream_error() -> MapError {
    MapError::Upstream {
        source_name: "fake".into(),
        message: "HTTP Error".to_owned(),
        url: "http://127.0.0.1/".to_owned(),
        reason: "broken on purpose".to_owned(),
        status: Some(500),
    }
}

/// True colour PNG.
pub(crate) fn options() -> Arc<ImageOptions> {
    Arc::new(ImageOptions { colors: Some(0), ..ImageOptions::new(ImageFormat::png()) })
}

/// `GLOBAL_WEBMERCATOR`, but counted from the south-west.
pub(crate) fn grid() -> Arc<TileGrid> {
    let mut builder = TileGrid::builder("test", Srs::web_mercator());
    builder.origin = Origin::LowerLeft;
    Arc::new(builder.build().unwrap())
}

pub(crate) const HALF: f64 = 20037508.342789244;

/// Red counts eastwards, green northwards, in 256ths of the world.
pub(crate) fn world_color(x: f64, y: f64) -> [u8; 4] {
    let part = |v: f64| ((v + HALF) / (2.0 * HALF) * 256.0).floor().clamp(0.0, 255.0) as u8;
    [part(x), part(y), 100, 255]
}

pub(crate) fn world_pixels(bbox: &Bbox, size: Size) -> Pixels {
    let (x_res, y_res) = bbox.resolution(size);
    let mut data = Vec::with_capacity(size.pixels() as usize * 3);
    for row in 0..size.height {
        for column in 0..size.width {
            let x = bbox.min_x + (f64::from(column) + 0.5) * x_res;
            let y = bbox.max_y - (f64::from(row) + 0.5) * y_res;
            data.extend_from_slice(&world_color(x, y)[..3]);
        }
    }
    Pixels::new(size, PixelMode::Rgb, data)
}

pub(crate) fn png(pixels: &Pixels) -> Bytes {
    codec::encode(pixels, &options(), None).unwrap().bytes
}

/// The map of the world for `query`, encoded, as an upstream server answers.
pub(crate) fn world(query: &MapQuery) -> MapImage {
    MapImage::from_encoded(png(&world_pixels(&query.bbox, query.size)), options())
}

/// The picture has the colours of the world at its centre and near its corners; `slack` in 256ths of the world.
#[track_caller]
pub(crate) fn assert_shows_world(pixels: &Pixels, bbox: &Bbox, slack: u8) {
    let size = pixels.size();
    let (x_res, y_res) = bbox.resolution(size);
    let (w, h) = (size.width, size.height);
    for (column, row) in [(w / 2, h / 2), (1, 1), (w - 2, 1), (1, h - 2), (w - 2, h - 2)] {
        let x = bbox.min_x + (f64::from(column) + 0.5) * x_res;
        let y = bbox.max_y - (f64::from(row) + 0.5) * y_res;
        let (is, wanted) = (pixels.pixel(column, row), world_color(x, y));
        let close = is.iter().zip(wanted).all(|(is, wanted)| is.abs_diff(wanted) <= slack);
        assert!(close, "{is:?} instead of {wanted:?} at column {column}, row {row} of {bbox}");
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Pixels {
    codec::decode(bytes, 1 << 24).unwrap()
}

pub(crate) fn no_dimensions() -> Dimensions {
    Dimensions::default()
}

/// A cache in a temporary directory.
pub(crate) struct TestCache {
    pub(crate) manager: Arc<TileManager>,
    pub(crate) directory: PathBuf,
    _base: Arc<tempfile::TempDir>,
}

/// What a [`TestCache`] is made of.
pub(crate) struct TestCacheBuilder {
    pub(crate) options: ManagerOptions,
    directory: PathBuf,
    base: Arc<tempfile::TempDir>,
}

pub(crate) fn cache(sources: &[&Arc<FakeSource>]) -> TestCacheBuilder {
    cache_in(Arc::new(tempfile::tempdir().unwrap()), sources)
}

/// Another cache of the same directory, as another process would have.
pub(crate) fn cache_in(base: Arc<tempfile::TempDir>, sources: &[&Arc<FakeSource>]) -> TestCacheBuilder {
    let directory = base.path().join("tiles");
    let store = FileStore {
        directory: directory.clone(),
        extension: "png".to_owned(),
        layout: Layout::Tms,
        link_single_color: LinkSingleColor::Off,
        permissions: Permissions::default(),
    };
    let locker = TileLocker {
        directory: base.path().join("locks"),
        cache_id: crate::lock::lock_id("", &directory),
        timeout: Duration::from_secs(30),
        permissions: Permissions::default(),
    };
    let options = ManagerOptions {
        data: None,
        dimensions: Vec::new(),
        announced: Vec::new(),
        name: "test".into(),
        grid: grid(),
        store: Some(Arc::new(store)),
        locker: Some(locker),
        renderd: None,
        sources: sources.iter().map(|source| Arc::clone(source) as Arc<dyn MapSource>).collect(),
        bands: None,
        image: options(),
        creation: Creation {
            meta_size: (4, 4),
            meta_buffer: 80,
            bulk_meta_tiles: false,
            minimize_meta_requests: false,
            concurrent_creators: 2,
            request_format: ImageFormat::png(),
        },
        watermark: None,
        refresh_before: None,
        coverage: None,
        rescaling: None,
        cache_rescaled_tiles: false,
    };
    TestCacheBuilder { options, directory, base }
}

impl TestCacheBuilder {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ManagerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn build(self) -> TestCache {
        TestCache {
            manager: Arc::new(TileManager::new(self.options).unwrap()),
            directory: self.directory,
            _base: self.base,
        }
    }
}

impl TestCache {
    pub(crate) fn path(&self, TileCoord { x, y, z }: TileCoord) -> PathBuf {
        self.directory.join(format!("{z}/{x}/{y}.png"))
    }

    pub(crate) fn put(&self, coord: TileCoord, bytes: &[u8]) {
        let path = self.path(coord);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Stores the world's picture of a tile.
    pub(crate) fn put_world(&self, coord: TileCoord) {
        let grid = grid();
        self.put(coord, &png(&world_pixels(&grid.tile_bbox(coord), grid.tile_size())));
    }

    pub(crate) fn stored(&self, coord: TileCoord) -> Option<Vec<u8>> {
        std::fs::read(self.path(coord)).ok()
    }

    pub(crate) fn number_stored(&self) -> usize {
        files_below(&self.directory)
    }

    pub(crate) fn load(&self, coord: TileCoord) -> Result<crate::Tile, MapError> {
        self.manager.load(coord, &no_dimensions())
    }

    pub(crate) fn load_kept(&self, coord: TileCoord) -> Option<crate::Tile> {
        self.manager.load_kept(coord, &no_dimensions()).unwrap()
    }
}

pub(crate) fn files_below(directory: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() { files_below(&path) } else { 1 }
        })
        .sum()
}

/// A store that can only be read, as on a full disk.
#[derive(Debug)]
pub(crate) struct FullStore;

impl crate::store::TileStore for FullStore {
    fn capabilities(&self) -> crate::store::Capabilities {
        crate::store::Capabilities { timestamps: true, dimensions: true, single_color: false }
    }
    fn lock_id(&self) -> String {
        "full".to_owned()
    }
    fn remove_level(&self, _: u8, _: Option<std::time::SystemTime>) -> Result<(), crate::store::StoreError> {
        Ok(())
    }
    fn load(&self, _key: &TileKey) -> Result<Option<crate::store::StoredTile>, crate::store::StoreError> {
        Ok(None)
    }
    fn store(&self, _key: &TileKey, _tile: &crate::store::TileData) -> Result<(), crate::store::StoreError> {
        Err(crate::store::StoreError { action: "write", what: "tile".to_owned(), reason: "no space left".to_owned() })
    }
    fn remove(&self, _key: &TileKey) -> Result<(), crate::store::StoreError> {
        Ok(())
    }
    fn visit(
        &self,
        _: &crate::store::visit::Visit,
        _: crate::store::visit::Visitor<'_>,
    ) -> Result<(), crate::store::StoreError> {
        Ok(())
    }
    fn place(&self, key: &TileKey) -> String {
        format!("{key:?}")
    }
}

/// A store of files in a temporary directory.
pub(crate) fn file_store() -> (Arc<dyn crate::store::TileStore>, tempfile::TempDir) {
    let base = tempfile::tempdir().unwrap();
    let store = FileStore {
        directory: base.path().join("tiles"),
        extension: "png".to_owned(),
        layout: Layout::Tms,
        link_single_color: LinkSingleColor::Off,
        permissions: Permissions::default(),
    };
    (Arc::new(store), base)
}

/// A store that can be away, as one behind a network; says how often it was asked for a tile and how often for facts.
#[derive(Debug)]
pub(crate) struct AwayStore {
    pub(crate) store: Arc<dyn crate::store::TileStore>,
    pub(crate) is_away: std::sync::atomic::AtomicBool,
    pub(crate) loads: std::sync::atomic::AtomicUsize,
    pub(crate) looks: std::sync::atomic::AtomicUsize,
}

impl AwayStore {
    pub(crate) fn new(store: Arc<dyn crate::store::TileStore>) -> Self {
        AwayStore { store, is_away: false.into(), loads: 0.into(), looks: 0.into() }
    }

    pub(crate) fn leave(&self) {
        self.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> (usize, usize) {
        use std::sync::atomic::Ordering::SeqCst;
        (self.loads.load(SeqCst), self.looks.load(SeqCst))
    }

    fn here(&self) -> Result<(), crate::store::StoreError> {
        if self.is_away.load(std::sync::atomic::Ordering::SeqCst) {
            let reason = "no route to host".to_owned();
            return Err(crate::store::StoreError { action: "reach", what: "server".to_owned(), reason });
        }
        Ok(())
    }
}

impl Default for AwayStore {
    fn default() -> Self {
        let store = AwayStore::new(Arc::new(FullStore));
        store.leave();
        store
    }
}

impl crate::store::TileStore for AwayStore {
    fn capabilities(&self) -> crate::store::Capabilities {
        self.store.capabilities()
    }
    fn lock_id(&self) -> String {
        self.store.lock_id()
    }
    fn load(&self, key: &TileKey) -> Result<Option<crate::store::StoredTile>, crate::store::StoreError> {
        self.here()?;
        self.loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.store.load(key)
    }
    fn load_at_once(&self, _: &TileKey) -> Result<crate::store::AtOnce, crate::store::StoreError> {
        self.here().map(|()| crate::store::AtOnce::Unknown)
    }
    fn metadata(&self, key: &TileKey) -> Result<Option<crate::store::TileMeta>, crate::store::StoreError> {
        self.here()?;
        self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.store.metadata(key)
    }
    fn store(&self, key: &TileKey, tile: &crate::store::TileData) -> Result<(), crate::store::StoreError> {
        self.here()?;
        self.store.store(key, tile)
    }
    fn remove(&self, key: &TileKey) -> Result<(), crate::store::StoreError> {
        self.here()?;
        self.store.remove(key)
    }
    fn visit(
        &self,
        wanted: &crate::store::visit::Visit,
        visitor: crate::store::visit::Visitor<'_>,
    ) -> Result<(), crate::store::StoreError> {
        self.here()?;
        self.store.visit(wanted, visitor)
    }
    fn place(&self, key: &TileKey) -> String {
        self.store.place(key)
    }
    fn remove_level(&self, z: u8, before: Option<std::time::SystemTime>) -> Result<(), crate::store::StoreError> {
        self.here()?;
        self.store.remove_level(z, before)
    }
}
