//! Sources that are servers of their own kind, or programs in place of servers.

use std::path::Path;
use std::sync::Arc;

use mapproxy_client::{CgiClient, ClientOptions, HttpClient, Limited, program_in_path};
use mapproxy_config::Origin;
use mapproxy_config::checked::caches::Cache;
use mapproxy_config::checked::{self, Source};
use mapproxy_grid::{Coverage, ResolutionRange, TileGrid};
use mapproxy_image::ImageFormat;
use mapproxy_map::info::InfoSource;
use mapproxy_sources::{
    ArcGisInfo, ArcGisInfoOptions, ArcGisOptions, ArcGisSource, MAX_DOCUMENT_BYTES, MAX_INFO_BYTES, Mapnik,
    MapnikOptions, MapnikSource, OgcApiMapsOptions, OgcApiMapsSource, OgcApiTilesOptions, OgcApiTilesSource,
};

use super::Parts;
use super::sources::{on_errors, transparent_color};

impl Parts<'_> {
    /// The address of a Web Map Service, and the way to it; a program's is one of our own.
    pub(super) fn wms_client(
        &self,
        wms: &checked::WmsSource,
        max_body: Option<u64>,
        at: &Origin,
    ) -> Option<(String, Arc<dyn HttpClient>)> {
        let Some(program) = &wms.program else {
            let client = self.client_for(&wms.http, wms.concurrent_requests, max_body, at)?;
            return Some((wms.url.clone(), client));
        };
        if !program.map.is_file() {
            self.warning(at, format!("there is no map file '{}'", program.map.display()));
        }
        let is_name = program.binary.components().count() == 1;
        let binary = match is_name.then(|| program_in_path(&program.binary.to_string_lossy())) {
            None => program.binary.clone(),
            Some(Some(found)) => found,
            Some(None) => {
                let name = program.binary.display();
                let message = format!(
                    "there is no program '{name}' in the PATH: name it by mapserver.binary (on Debian, it comes with `apt install cgi-mapserver`)"
                );
                return self.error(at, message);
            }
        };
        let directory = program.working_dir.clone().or_else(|| binary.parent().map(Path::to_owned)).unwrap_or_default();
        let max_body = max_body.unwrap_or(ClientOptions::default().max_body);
        let url = CgiClient::url(&binary);
        let client = self.told(at, CgiClient::new(binary, directory, wms.http.timeout, max_body))?;
        let client: Arc<dyn HttpClient> = Arc::new(client);
        let Some(limit) = wms.concurrent_requests else { return Some((url, client)) };
        let lock_dir = &self.config.globals.lock_dir;
        Some((url, Arc::new(Limited::new(client, limit, lock_dir, wms.http.timeout))))
    }

    pub(super) fn arcgis(
        &self,
        config: &Source,
        arcgis: &checked::ArcgisSource,
        coverage: Option<Coverage>,
        resolutions: ResolutionRange,
    ) -> Option<ArcGisSource> {
        let client = self.client(&arcgis.http, arcgis.concurrent_requests, &config.at)?;
        let options = ArcGisOptions {
            name: Arc::clone(&config.name),
            url: arcgis.url.clone(),
            params: arcgis.params.clone(),
            image: self.image_options(&arcgis.image.options),
            transparent_color: transparent_color(&arcgis.image),
            supported_formats: arcgis.supported_formats.clone(),
            supported_srs: self.supported_srs(&arcgis.supported_srs, &config.at)?,
            coverage,
            resolutions,
            on_error: on_errors(&arcgis.on_error),
        };
        Some(ArcGisSource::new(options, client))
    }

    pub(super) fn arcgis_info(
        &self,
        config: &Source,
        arcgis: &checked::ArcgisSource,
        coverage: Option<Coverage>,
    ) -> Option<Arc<dyn InfoSource>> {
        let info = arcgis.info?;
        let client = self.client_for(&arcgis.http, arcgis.concurrent_requests, Some(MAX_INFO_BYTES), &config.at)?;
        let options = ArcGisInfoOptions {
            name: Arc::clone(&config.name),
            url: arcgis.url.clone(),
            params: arcgis.params.clone(),
            supported_srs: self.supported_srs(&arcgis.supported_srs, &config.at)?,
            coverage,
            tolerance: info.tolerance,
            geometries: info.geometries,
        };
        Some(Arc::new(ArcGisInfo::new(options, client)))
    }

    pub(super) fn ogcapi_maps(
        &self,
        config: &Source,
        maps: &checked::OgcApiMapsSource,
        coverage: Option<Coverage>,
        resolutions: ResolutionRange,
    ) -> Option<OgcApiMapsSource> {
        let (client, documents) = self.api_clients(&maps.http, maps.concurrent_requests, &config.at)?;
        let bgcolor = maps.bgcolor.as_ref().map(|color| {
            let checked::Color { red, green, blue, alpha } = color;
            let alpha = alpha.map_or(String::new(), |alpha| format!("{alpha:02X}"));
            format!("0x{alpha}{red:02X}{green:02X}{blue:02X}")
        });
        let options = OgcApiMapsOptions {
            name: Arc::clone(&config.name),
            landing_page: self.landing_page(&maps.landing_page, &config.at)?,
            collection: maps.collection.clone(),
            supported_srs: self.supported_srs(&maps.supported_srs, &config.at)?,
            preferred_srs: Arc::clone(&self.preferred_srs),
            transparent: maps.transparent,
            bgcolor,
            image: self.image_options(&maps.image.options),
            transparent_color: transparent_color(&maps.image),
            coverage,
            resolutions,
            on_error: on_errors(&maps.on_error),
        };
        Some(OgcApiMapsSource::new(options, client, documents))
    }

    /// Tiles for a cache in `grid`.
    pub(super) fn ogcapi_tiles(
        &self,
        config: &Source,
        tiles: &checked::OgcApiTilesSource,
        (cache, grid): (&Cache, &Arc<TileGrid>),
        coverage: Option<Coverage>,
        resolutions: ResolutionRange,
    ) -> Option<OgcApiTilesSource> {
        let (client, documents) = self.api_clients(&tiles.http, tiles.concurrent_requests, &config.at)?;
        let options = OgcApiTilesOptions {
            name: Arc::clone(&config.name),
            landing_page: self.landing_page(&tiles.landing_page, &config.at)?,
            collection: tiles.collection.clone(),
            tile_matrix_set_id: tiles.tile_matrix_set_id.clone(),
            grid: Arc::clone(grid),
            format: ImageFormat::new(&cache.request_format),
            image: self.image_options(&tiles.image.options),
            coverage,
            resolutions,
            on_error: on_errors(&tiles.on_error),
        };
        Some(OgcApiTilesSource::new(options, client, documents))
    }

    fn landing_page(&self, url: &str, at: &Origin) -> Option<String> {
        if url.starts_with("http://") || url.starts_with("https://") {
            return Some(url.to_owned());
        }
        self.error(at, "landingpage_url: http://… or https://… is needed")
    }

    /// For maps, and for documents.
    fn api_clients(
        &self,
        http: &checked::HttpOptions,
        limit: Option<u32>,
        at: &Origin,
    ) -> Option<(Arc<dyn HttpClient>, Arc<dyn HttpClient>)> {
        Some((self.client(http, limit, at)?, self.client_for(http, limit, Some(MAX_DOCUMENT_BYTES), at)?))
    }

    pub(super) fn mapnik(
        &self,
        config: &Source,
        mapnik: &checked::MapnikSource,
        layers: Option<&[String]>,
        coverage: Option<Coverage>,
        resolutions: ResolutionRange,
    ) -> Option<MapnikSource> {
        let options = MapnikOptions {
            name: Arc::clone(&config.name),
            mapfile: mapnik.mapfile.clone(),
            layers: layers.map(<[String]>::to_vec).or_else(|| mapnik.layers.clone()),
            scale_factor: mapnik.scale_factor,
            image: self.image_options(&mapnik.image.options),
            transparent_color: transparent_color(&mapnik.image),
            coverage,
            resolutions,
        };
        let source = MapnikSource::new(options, self.mapnik_workers(config, mapnik)?);
        if let Some(file) = source.mapfile().filter(|file| !file.is_file()) {
            self.warning(&config.at, format!("there is no map file '{}'", file.display()));
        }
        Some(source)
    }

    /// Those who draw for a source, whoever uses it.
    fn mapnik_workers(&self, config: &Source, mapnik: &checked::MapnikSource) -> Option<Arc<Mapnik>> {
        if let Some(known) = self.mapniks.borrow().get(&config.name) {
            return Some(Arc::clone(known));
        }
        let python = self.python.get_or_init(Mapnik::python);
        let python = self.told(&config.at, python.clone())?;
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limit = match mapnik.concurrent_requests {
            Some(limit) => limit as usize,
            None if mapnik.multithreaded => all,
            None => 1,
        };
        let workers = Arc::new(Mapnik::new(python, limit, self.config.globals.http.timeout));
        self.mapniks.borrow_mut().insert(Arc::clone(&config.name), Arc::clone(&workers));
        Some(workers)
    }
}
