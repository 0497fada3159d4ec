//! Stores that are single files: those of SQLite, and PMTiles.

use std::path::Path;
use std::sync::Arc;

use mapproxy_cache::store::pmtiles::TileType;
use mapproxy_cache::store::sqlite::geopackage::{Geopackage, GeopackageFiles, TileMatrices};
use mapproxy_cache::store::sqlite::levels::Levels;
use mapproxy_cache::store::sqlite::mbtiles::Mbtiles;
use mapproxy_cache::store::sqlite::{FileOptions, SqliteStore};
use mapproxy_cache::store::{PmtilesStore, TileStore, is_web_mercator_quad};
use mapproxy_config::checked;
use mapproxy_config::checked::caches::Cache;
use mapproxy_grid::{MapExtent, Origin, TileGrid, TransformError};

use super::Parts;
use super::stores::permissions;

impl Parts<'_> {
    pub(super) fn mbtiles_store(
        &self,
        cache: &Cache,
        mbtiles: &checked::MbtilesStore,
        grid: &TileGrid,
    ) -> Option<Arc<dyn TileStore>> {
        let metadata = self.told(&cache.at, self.mbtiles_metadata(cache, grid))?;
        let store = Mbtiles { file: mbtiles.file.clone(), options: file_options(cache, &mbtiles.options), metadata };
        self.made(cache, store.open(&self.databases))
    }

    pub(super) fn sqlite_store(&self, cache: &Cache, sqlite: &checked::SqliteStore) -> SqliteStore {
        let options = file_options(cache, &sqlite.options);
        Levels { directory: sqlite.directory.clone(), options, ttl: sqlite.ttl }.open(&self.databases)
    }

    pub(super) fn geopackage_store(
        &self,
        cache: &Cache,
        geopackage: &checked::GeopackageStore,
        grid: &TileGrid,
    ) -> Option<Arc<dyn TileStore>> {
        let coverage = self.coverage(cache.coverage.as_ref()).ok()?;
        let contents = coverage.map(|coverage| coverage.extent().bbox_in(grid.srs())).transpose();
        let contents = self.told(&cache.at, contents)?;
        let matrices = self.told(&cache.at, TileMatrices::new(grid, contents))?;
        let (files, is_one) = match &geopackage.files {
            checked::GeopackageFiles::One(file) => (GeopackageFiles::One(file.clone()), true),
            checked::GeopackageFiles::Levels(directory) => (GeopackageFiles::Levels(directory.clone()), false),
        };
        let options = file_options(cache, &geopackage.options);
        let table = geopackage.table.to_string();
        let store = Geopackage { files, table, matrices, options }.open(&self.databases);
        if is_one { self.made(cache, store) } else { Some(Arc::new(store)) }
    }

    pub(super) fn pmtiles_store(&self, cache: &Cache, file: &Path, grid: &Arc<TileGrid>) -> Option<Arc<dyn TileStore>> {
        if !cache.sources.is_empty() {
            let message =
                "an archive of PMTiles is only read: write `sources: []`, and keep new tiles in another cache";
            return self.error(&cache.at, message);
        }
        let store = self.told(&cache.at, PmtilesStore::open(file.to_path_buf(), grid))?;
        let holds = store.header().and_then(|header| match header.tile_type {
            TileType::Png => Some("png"),
            TileType::Jpeg => Some("jpeg"),
            TileType::Webp => Some("webp"),
            _ => None,
        });
        if let Some(holds) = holds
            && holds != &*cache.format.extension
        {
            let message = format!(
                "{} has tiles in image/{holds}, and the format of the cache is {}; write `format: image/{holds}`",
                file.display(),
                cache.format.name
            );
            self.warning(&cache.at, message);
        }
        Some(Arc::new(store))
    }

    /// The store with its file, which is made now if tiles will be stored in it.
    fn made(&self, cache: &Cache, store: SqliteStore) -> Option<Arc<dyn TileStore>> {
        let made = if cache.sources.is_empty() { store.check() } else { store.create() };
        self.told(&cache.at, made)?;
        Some(Arc::new(store))
    }

    /// What a new MBTiles file says of itself, if it is what programs expect of one: tiles of the whole world in web
    /// mercator, counted from the south.
    fn mbtiles_metadata(&self, cache: &Cache, grid: &TileGrid) -> Result<Vec<(&'static str, String)>, TransformError> {
        if grid.origin() != Origin::LowerLeft || !is_web_mercator_quad(grid) {
            return Ok(Vec::new());
        }
        let extent = match self.coverage(cache.coverage.as_ref()) {
            Ok(Some(coverage)) => coverage.extent(),
            _ => MapExtent::new(grid.bbox(), grid.srs().clone()),
        };
        let [west, south, east, north] = extent.bbox_in(&MapExtent::world().srs)?.to_array();
        let format = match &*cache.format.extension {
            "jpeg" => "jpg",
            "mixed" => "png",
            other => other,
        };
        Ok(vec![
            ("name", cache.name.to_string()),
            ("format", format.to_owned()),
            ("bounds", format!("{west:.7},{south:.7},{east:.7},{north:.7}")),
        ])
    }
}

fn file_options(cache: &Cache, options: &checked::SqliteOptions) -> FileOptions {
    FileOptions { timeout: options.timeout, wal: options.wal, permissions: permissions(cache) }
}
