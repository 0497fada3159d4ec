//! Sources of maps.

use std::sync::Arc;

use mapproxy_client::{ClientOptions, HttpClient, Limited, RequestLimit};
use mapproxy_config::Origin;
use mapproxy_config::checked::caches::Cache;
use mapproxy_config::checked::{self, HttpMethod, HttpOptions, Source, SourceKind, WmsVersion};
use mapproxy_grid::{Bbox, ResolutionRange, SupportedSrs, TileGrid};
use mapproxy_map::MapSource;
use mapproxy_map::data::DataSource;
use mapproxy_sources::{
    self as sources, DebugSource, OnErrorRule, OnErrors, RasterOptions, RasterSource, SeedOnly, SeedOnlyData,
    TileOptions, TileSource, TransparentColor, WmsOptions, WmsSource,
};

use super::explanations::with_layers;
use super::{CustomSource, Parts, Wrap, images};

/// Who asks a source.
#[derive(Clone, Copy, Debug)]
pub(super) enum AskedBy<'a> {
    /// A layer, for maps.
    Layer,
    /// A cache, for its tiles in a grid.
    Cache(&'a Cache, &'a Arc<TileGrid>),
    /// A cache, for maps that are not made of its tiles (`use_direct_from_level`).
    PastCache,
}

/// What a reference to a source gives.
#[derive(Debug)]
pub(super) enum SourceUse {
    /// Something that draws maps.
    Map(Arc<dyn MapSource>),
    /// A source that is there for other things (`wms_opts.map: false`).
    NoMap,
}

impl Parts<'_> {
    /// The source called `name`, with the layers of a tagged reference.
    pub(super) fn source(&self, name: &str, layers: Option<&[String]>, asked_by: AskedBy<'_>) -> Option<SourceUse> {
        let config = self.config.sources.get(name)?;
        let coverage = self.coverage(config.coverage.as_ref()).ok()?;
        let resolutions = resolutions(&config.resolution);
        let built: Arc<dyn MapSource> = match &config.kind {
            SourceKind::Wms(wms) if !wms.map => return Some(SourceUse::NoMap),
            SourceKind::Arcgis(arcgis) if !arcgis.map => return Some(SourceUse::NoMap),
            SourceKind::Arcgis(arcgis) => Arc::new(self.arcgis(config, arcgis, coverage, resolutions)?),
            SourceKind::Wms(wms) => {
                let (url, client) = self.wms_client(wms, None, &config.at)?;
                let options = self.wms_options(config, wms, layers)?;
                let options = WmsOptions { url, coverage, resolutions, ..options };
                let options = match asked_by {
                    AskedBy::Layer => options,
                    AskedBy::Cache(cache, _) => options.for_cache(&cache.request_format),
                    AskedBy::PastCache => options.past_cache(),
                };
                Arc::new(WmsSource::new(options, client))
            }
            SourceKind::Tile(tile) => Arc::new(self.tile_source(config, tile)?),
            SourceKind::Raster(raster) => {
                let srs = match &raster.srs {
                    Some(code) => Some(self.srs(code, &config.at)?),
                    None => None,
                };
                let options = RasterOptions {
                    name: Arc::clone(&config.name),
                    file: raster.file.clone(),
                    srs,
                    bbox: raster.bbox.map(|[min_x, min_y, max_x, max_y]| Bbox::new(min_x, min_y, max_x, max_y)),
                    image: self.image_options(&raster.image.options),
                    transparent_color: transparent_color(&raster.image),
                    coverage,
                    resolutions,
                };
                Arc::new(self.told(&config.at, RasterSource::new(options))?)
            }
            SourceKind::Custom => {
                let Some(factory) = self.extras.sources.get(name) else {
                    let message = "a custom source is made by the program around MapProxy, and this one does not";
                    return self.error(&config.at, message);
                };
                let wanted = CustomSource { name: Arc::clone(&config.name), coverage, resolutions };
                self.told(&config.at, (factory.0)(&wanted))?
            }
            SourceKind::OgcApiMaps(maps) => Arc::new(self.ogcapi_maps(config, maps, coverage, resolutions)?),
            SourceKind::OgcApiTiles(tiles) => {
                let AskedBy::Cache(cache, grid) = asked_by else {
                    return self
                        .error(&config.at, "a source of type 'ogcapitiles' needs a cache: layers cannot use it");
                };
                Arc::new(self.ogcapi_tiles(config, tiles, (cache, grid), coverage, resolutions)?)
            }
            SourceKind::Mapnik(mapnik) => Arc::new(self.mapnik(config, mapnik, layers, coverage, resolutions)?),
            SourceKind::Debug => Arc::new(DebugSource::new(&config.name, coverage, resolutions)),
        };
        Some(SourceUse::Map(if config.seed_only { Arc::new(SeedOnly::new(built)) } else { built }))
    }

    /// A source of tiles that are no pictures; the configuration has been checked for its being one of tiles.
    pub(super) fn data_source(&self, name: &str) -> Option<Arc<dyn DataSource>> {
        let config = self.config.sources.get(name)?;
        let SourceKind::Tile(tile) = &config.kind else {
            return self.error(&config.at, "only a source of type 'tile' has tiles that are no pictures");
        };
        let built: Arc<dyn DataSource> = Arc::new(self.tile_source(config, tile)?);
        Some(if config.seed_only { Arc::new(SeedOnlyData::new(built)) } else { built })
    }

    fn tile_source(&self, config: &Source, tile: &checked::TileSource) -> Option<TileSource> {
        let client = self.client(&tile.http, tile.concurrent_requests, &config.at)?;
        let options = TileOptions {
            name: Arc::clone(&config.name),
            url: tile.url.clone(),
            grid: self.grid(&tile.grid)?,
            image: self.image_options(&tile.image.options),
            coverage: self.coverage(config.coverage.as_ref()).ok()?,
            resolutions: resolutions(&config.resolution),
            on_error: on_errors(&tile.on_error),
        };
        self.told(&config.at, TileSource::new(options, client))
    }

    fn wms_options(&self, config: &Source, wms: &checked::WmsSource, layers: Option<&[String]>) -> Option<WmsOptions> {
        Some(WmsOptions {
            name: Arc::clone(&config.name),
            url: String::new(),
            params: with_layers(&wms.params, layers),
            version: version(wms.version),
            method: wms_method(wms),
            image: self.image_options(&wms.image.options),
            transparent_color: transparent_color(&wms.image),
            supported_formats: wms.supported_formats.clone(),
            supported_srs: self.supported_srs(&wms.supported_srs, &config.at)?,
            forward_params: wms.forward_req_params.clone(),
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: on_errors(&wms.on_error),
        })
    }

    /// `supported_srs`; the inner `None` for any.
    pub(super) fn supported_srs(&self, codes: &[String], at: &Origin) -> Option<Option<SupportedSrs>> {
        let srs: Option<Vec<_>> = codes.iter().map(|code| self.srs(code, at)).collect();
        let srs = srs?;
        Some((!srs.is_empty()).then(|| SupportedSrs::new(srs, Arc::clone(&self.preferred_srs))))
    }

    /// The way to a server that gets at most `limit` requests at once.
    pub(super) fn client(&self, http: &HttpOptions, limit: Option<u32>, at: &Origin) -> Option<Arc<dyn HttpClient>> {
        self.client_for(http, limit, None, at)
    }

    /// The same for answers of at most so many bytes.
    pub(super) fn client_for(
        &self,
        http: &HttpOptions,
        limit: Option<u32>,
        max_body: Option<u64>,
        at: &Origin,
    ) -> Option<Arc<dyn HttpClient>> {
        let client = self.unwrapped_client(http, limit, max_body, at)?;
        Some(match &self.extras.wrap_http {
            Some(Wrap(wrap)) => wrap(client),
            None => client,
        })
    }

    fn unwrapped_client(
        &self,
        http: &HttpOptions,
        limit: Option<u32>,
        max_body: Option<u64>,
        at: &Origin,
    ) -> Option<Arc<dyn HttpClient>> {
        let limit = limit.map(|requests| RequestLimit { requests, lock_dir: self.config.globals.lock_dir.clone() });
        match (&self.extras.http_client, limit) {
            (Some(client), None) => Some(Arc::clone(client)),
            (Some(client), Some(limit)) => {
                Some(Arc::new(Limited::new(Arc::clone(client), limit.requests, &limit.lock_dir, http.timeout)))
            }
            (None, limit) => {
                let defaults = ClientOptions::default();
                let options = ClientOptions {
                    timeout: http.timeout,
                    headers: http.headers.clone(),
                    insecure: http.insecure,
                    ca_certs: http.ca_certs.clone(),
                    manage_cookies: http.manage_cookies,
                    limit,
                    max_body: max_body.unwrap_or(defaults.max_body),
                };
                self.told(at, self.clients.client(options))
            }
        }
    }

    /// The result, or `None` and its error told.
    pub(super) fn told<T, E: std::fmt::Display>(&self, at: &Origin, result: Result<T, E>) -> Option<T> {
        result.map_or_else(|error| self.error(at, error), Some)
    }
}

pub(super) fn resolutions(range: &checked::ResRange) -> ResolutionRange {
    ResolutionRange { min_res: range.min_res, max_res: range.max_res }
}

pub(super) fn version(version: WmsVersion) -> sources::WmsVersion {
    match version {
        WmsVersion::V1_0_0 => sources::WmsVersion::V1_0_0,
        WmsVersion::V1_1_0 => sources::WmsVersion::V1_1_0,
        WmsVersion::V1_1_1 => sources::WmsVersion::V1_1_1,
        WmsVersion::V1_3_0 => sources::WmsVersion::V1_3_0,
    }
}

pub(super) fn wms_method(wms: &checked::WmsSource) -> sources::HttpMethod {
    match wms.http.method {
        // Programs are asked by GET only.
        _ if wms.program.is_some() => sources::HttpMethod::Get,
        HttpMethod::Auto => sources::HttpMethod::Auto,
        HttpMethod::Get => sources::HttpMethod::Get,
        HttpMethod::Post => sources::HttpMethod::Post,
    }
}

pub(super) fn transparent_color(image: &checked::SourceImage) -> Option<TransparentColor> {
    let color = image.transparent_color.as_ref()?;
    Some(TransparentColor { color: images::color(color), tolerance: image.transparent_color_tolerance })
}

pub(super) fn on_errors(rules: &[checked::OnError]) -> OnErrors {
    OnErrors::new(
        rules
            .iter()
            .map(|rule| OnErrorRule {
                status: rule.status,
                color: images::color(&rule.response),
                cacheable: rule.cache,
                authorize_stale: rule.authorize_stale,
            })
            .collect(),
    )
}
