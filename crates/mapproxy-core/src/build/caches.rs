//! Caches: tile managers for each grid, and the map source over them.

use std::sync::Arc;

use mapproxy_cache::{
    CachedMap, CachedTiles, Creation, DataTiles, ManagerOptions, RefreshBefore, Renderd, Rescaling, Spacing,
    TileLocker, TileManager, Watermark,
};
use mapproxy_config::Origin;
use mapproxy_config::checked::caches::{Cache, RescaleFrom};
use mapproxy_config::checked::{self, CacheGrid, SourceKind, SourceTarget, UseDirectFrom};
use mapproxy_grid::{Coverage, MapExtent, ResolutionRange, SupportedSrs, TileGrid};
use mapproxy_image::bands::{BandMerge, BandPart};
use mapproxy_image::{Color, ImageFormat, ImageOptions, PixelMode, message};
use mapproxy_map::data::{DataFormat, DataSource};
use mapproxy_map::wrap::{ResolutionSwitch, SrsSwitch};
use mapproxy_map::{Access, MapSource, SourceProfile};

use super::Parts;
use super::sources::{AskedBy, SourceUse};
use super::stores::permissions;

/// A cache, ready for layers.
#[derive(Debug)]
pub(super) struct BuiltCache {
    /// Its tiles, by grid in the order of the configuration.
    pub(super) managers: Vec<Arc<TileManager>>,
    /// Maps for the WMS; `None` where the tiles are no pictures.
    pub(super) map: Option<Arc<dyn MapSource>>,
    /// The area with tiles; `None`: as far as the grids reach.
    pub(super) extent: Option<MapExtent>,
}

impl Parts<'_> {
    /// The cache called `name`, built once. A mistake is told once, too.
    pub(super) fn cache(&self, name: &str) -> Option<Arc<BuiltCache>> {
        if let Some(built) = self.caches.borrow().get(name) {
            return built.clone();
        }
        let config = self.config.caches.get(name)?;
        let built = self.build_cache(config).map(Arc::new);
        self.caches.borrow_mut().insert(Arc::clone(&config.name), built.clone());
        built
    }

    fn build_cache(&self, config: &Cache) -> Option<BuiltCache> {
        let coverage = self.coverage(config.coverage.as_ref()).ok()?;
        let image = self.image_options(&config.image);
        let mut grids = Vec::new();
        let mut direct = None;
        for grid_config in &config.grids {
            let grid = self.grid(&grid_config.grid)?;
            let drawn = match config.format.data {
                true => Drawn { sources: Vec::new(), data: Some(self.data_tiles(config, &grid)?) },
                false => Drawn { sources: self.sources_of(config, &grid, &image)?, data: None },
            };
            direct = direct.or_else(|| drawn.sources.first().cloned());
            let resolutions = if config.rescale.is_some() {
                ResolutionRange::default()
            } else {
                drawn.profiles().map(|profile| profile.resolutions).reduce(|a, b| a.union(&b)).unwrap_or_default()
            };
            let extent = self.told(&config.at, extent_of(coverage.as_ref(), &drawn))?;
            let manager = self.manager(config, grid_config, grid, drawn, Arc::clone(&image), coverage.clone())?;
            grids.push(BuiltGrid { manager: Arc::new(manager), resolutions, extent });
        }
        let extent = grids.first().and_then(|first| first.extent.clone());
        if config.format.data {
            let managers = grids.into_iter().map(|grid| grid.manager).collect();
            return Some(BuiltCache { managers, map: None, extent });
        }
        let map = self.cached_map(config, &grids, &image, Some(u64::from(config.max_tile_limit)))?;
        let map = match (&config.use_direct_from, direct) {
            (Some(from), Some(source)) if config.sources.len() == 1 => {
                let source = self.past_cache(config, source)?;
                let grid = grids.first()?.manager.grid();
                let threshold = match from {
                    UseDirectFrom::Res(res) => *res,
                    UseDirectFrom::Level(level) => {
                        let level = u8::try_from(*level).ok().and_then(|level| grid.level(level));
                        match level {
                            Some(level) => level.resolution,
                            None => {
                                let last = grid.levels().len() - 1;
                                let message = format!(
                                    "use_direct_from_level: grid {} has no such level, its last is {last}",
                                    grid.name()
                                );
                                return self.error(&config.at, message);
                            }
                        }
                    }
                };
                Arc::new(ResolutionSwitch::new(map, source, threshold, grid.srs().clone()))
            }
            (Some(_), _) => return self.error(&config.at, "use_direct_from_level/res only supports single sources"),
            (None, _) => map,
        };
        Some(BuiltCache { managers: grids.into_iter().map(|grid| grid.manager).collect(), map: Some(map), extent })
    }

    /// What draws the maps that are not made of tiles, where the tiles are drawn by `source`.
    fn past_cache(&self, config: &Cache, source: Arc<dyn MapSource>) -> Option<Arc<dyn MapSource>> {
        let [reference] = config.sources.as_slice() else { return Some(source) };
        let SourceTarget::Source { name, layers } = &reference.target else { return Some(source) };
        // Others are asked the same whoever asks.
        if !matches!(self.config.sources.get(name)?.kind, SourceKind::Wms(_)) {
            return Some(source);
        }
        Some(match self.source(name, layers.as_deref(), AskedBy::PastCache)? {
            SourceUse::Map(direct) => direct,
            SourceUse::NoMap => source,
        })
    }

    fn manager(
        &self,
        config: &Cache,
        grid_config: &CacheGrid,
        grid: Arc<TileGrid>,
        drawn: Drawn,
        image: Arc<ImageOptions>,
        coverage: Option<Coverage>,
    ) -> Option<TileManager> {
        let permissions = permissions(config);
        let store = self.store(config, grid_config, &grid)?;
        let locker = store.as_ref().map(|store| TileLocker {
            directory: config.tile_lock_dir.clone(),
            cache_id: store.lock_id(),
            timeout: self.config.globals.http.timeout,
            permissions,
        });
        let [columns, rows] = config.meta_size;
        let options = ManagerOptions {
            dimensions: self.dimensions_of(config),
            announced: self.announced_for(&config.name),
            name: Arc::clone(&config.name),
            grid,
            store,
            locker,
            renderd: self.renderd()?,
            sources: drawn.sources,
            bands: config.bands.as_ref().map(bands),
            data: drawn.data,
            image: if config.format.data { Arc::new(ImageOptions::new(ImageFormat::png())) } else { image },
            creation: Creation {
                meta_size: (columns, rows),
                meta_buffer: config.meta_buffer,
                bulk_meta_tiles: config.bulk_meta_tiles,
                minimize_meta_requests: config.minimize_meta_requests,
                concurrent_creators: config.concurrent_tile_creators as usize,
                request_format: ImageFormat::new(&config.request_format),
            },
            watermark: config.watermark.as_ref().map(watermark),
            refresh_before: config.refresh_before.as_ref().map(|before| match before {
                checked::RefreshBefore::Age(age) => RefreshBefore::Age(*age),
                checked::RefreshBefore::Time(time) => RefreshBefore::Time(*time),
                checked::RefreshBefore::FileTime(path) => RefreshBefore::FileModified(path.clone()),
            }),
            coverage,
            rescaling: config.rescale.map(|rescale| {
                // No grid has so many levels; more than all of them are all of them.
                let levels = u8::try_from(rescale.levels).unwrap_or(u8::MAX);
                match rescale.from {
                    RescaleFrom::Coarser => Rescaling::Up(levels),
                    RescaleFrom::Finer => Rescaling::Down(levels),
                }
            }),
            cache_rescaled_tiles: config.rescale.is_some_and(|rescale| rescale.store),
        };
        self.told(&config.at, TileManager::new(options))
    }

    /// Who makes missing tiles in place of this process; the inner `None` for nobody.
    fn renderd(&self) -> Option<Option<Renderd>> {
        let Some((address, at)) = &self.config.globals.renderd else { return Some(None) };
        let client = self.client(&self.config.globals.http, None, at)?;
        Some(Some(Renderd::new(address.clone(), client)))
    }

    /// Names of parameters that the sources of a cache forward, those of caches below included.
    fn dimensions_of(&self, config: &Cache) -> Vec<String> {
        let mut names = Vec::new();
        for source in &config.sources {
            match &source.target {
                SourceTarget::Cache(name) => {
                    names.extend(
                        self.config.caches.get(name).map(|below| self.dimensions_of(below)).unwrap_or_default(),
                    );
                }
                SourceTarget::Source { name, .. } => {
                    if let Some(SourceKind::Wms(wms)) = self.config.sources.get(name).map(|source| &source.kind) {
                        names.extend(wms.forward_req_params.iter().cloned());
                    }
                }
            }
        }
        names
    }

    /// Where the tiles of a cache come from that are no pictures.
    fn data_tiles(&self, config: &Cache, grid: &Arc<TileGrid>) -> Option<DataTiles> {
        let Some(format) = DataFormat::named(&config.format.name) else {
            return self.error(&config.at, format!("tiles of format {} are not known", config.format.name));
        };
        let source: Option<Arc<dyn DataSource>> = match config.sources.first() {
            None => None,
            Some(reference) => Some(match &reference.target {
                SourceTarget::Source { name, .. } => self.data_source(name)?,
                SourceTarget::Cache(name) => {
                    let below = self.cache(name)?;
                    let fitting = below.managers.iter().find(|manager| grid.is_subset_of(manager.grid()));
                    let same = |manager: &&Arc<TileManager>| {
                        manager.data_format().is_some_and(|below| below.kind() == format.kind())
                    };
                    let Some(manager) = fitting.filter(same) else {
                        let message = format!(
                            "tiles that are no pictures can only be taken over as they are: cache {name} has none of \
                             format {} in a grid that contains {}",
                            config.format.name,
                            grid.name()
                        );
                        return self.error(&reference.origin, message);
                    };
                    let profile = SourceProfile {
                        extent: below.extent.clone(),
                        access: Access::TilesOf(Arc::clone(grid)),
                        ..SourceProfile::new(Arc::clone(name), Arc::clone(manager.image()))
                    };
                    Arc::new(CachedTiles::new(Arc::clone(manager), profile))
                }
            }),
        };
        Some(DataTiles { format, source })
    }

    /// The sources of a cache in one of its grids, bottom to top.
    fn sources_of(
        &self,
        config: &Cache,
        grid: &Arc<TileGrid>,
        image: &Arc<ImageOptions>,
    ) -> Option<Vec<Arc<dyn MapSource>>> {
        if let Some(tiles) = self.tiles_of_caches(config, grid)? {
            return Some(tiles);
        }
        let mut sources = Vec::with_capacity(config.sources.len());
        for source in &config.sources {
            match &source.target {
                SourceTarget::Cache(name) => sources.push(self.cache_as_source(name, image, &source.origin)?),
                SourceTarget::Source { name, layers } => {
                    match self.source(name, layers.as_deref(), AskedBy::Cache(config, grid))? {
                        SourceUse::Map(source) => sources.push(source),
                        SourceUse::NoMap if config.bands.is_some() => {
                            return self.error(&source.origin, format!("source {name} draws no maps: it has no bands"));
                        }
                        SourceUse::NoMap => {}
                    }
                }
            }
        }
        Some(sources)
    }

    /// Caches whose tiles can be taken as they are: all sources have one grid, which this cache's is a part of, and
    /// this cache's format. `Some(None)`: they must be asked for maps.
    fn tiles_of_caches(&self, config: &Cache, grid: &Arc<TileGrid>) -> Option<Option<Vec<Arc<dyn MapSource>>>> {
        let mut tiles: Vec<Arc<dyn MapSource>> = Vec::new();
        for source in &config.sources {
            let SourceTarget::Cache(name) = &source.target else { return Some(None) };
            let below = self.config.caches.get(name)?;
            let [below_grid] = below.grids.as_slice() else { return Some(None) };
            let below_grid = self.grid(&below_grid.grid)?;
            if !grid.is_subset_of(&below_grid) || below.format.extension != config.format.extension {
                return Some(None);
            }
            let built = self.cache(name)?;
            let manager = built.managers.first()?;
            let profile = SourceProfile {
                extent: built.extent.clone(),
                access: Access::TilesOf(Arc::clone(grid)),
                ..SourceProfile::new(Arc::clone(name), Arc::clone(manager.image()))
            };
            tiles.push(Arc::new(CachedTiles::new(Arc::clone(manager), profile)));
        }
        Some((!tiles.is_empty()).then_some(tiles))
    }

    /// A cache asked for maps by another: all its grids, no limit of tiles.
    fn cache_as_source(&self, name: &str, _image: &Arc<ImageOptions>, at: &Origin) -> Option<Arc<dyn MapSource>> {
        let config = self.config.caches.get(name)?;
        let built = self.cache(name)?;
        let resolutions = built.map.as_ref()?.profile().resolutions;
        let grids: Vec<BuiltGrid> = built
            .managers
            .iter()
            .map(|manager| BuiltGrid { manager: Arc::clone(manager), resolutions, extent: built.extent.clone() })
            .collect();
        let image = built.managers.first().map(|manager| Arc::clone(manager.image()));
        let Some(image) = image else { return self.error(at, format!("cache {name} has no grid")) };
        self.cached_map(config, &grids, &image, None)
    }

    fn cached_map(
        &self,
        config: &Cache,
        grids: &[BuiltGrid],
        image: &Arc<ImageOptions>,
        max_tile_limit: Option<u64>,
    ) -> Option<Arc<dyn MapSource>> {
        let mut maps: Vec<Arc<dyn MapSource>> = Vec::with_capacity(grids.len());
        for built in grids {
            let grid = built.manager.grid();
            let own = MapExtent::new(grid.bbox(), grid.srs().clone());
            let profile = SourceProfile {
                extent: Some(built.extent.clone().unwrap_or(own)),
                resolutions: built.resolutions,
                ..SourceProfile::new(Arc::clone(&config.name), Arc::clone(image))
            };
            maps.push(Arc::new(CachedMap::new(Arc::clone(&built.manager), profile, max_tile_limit)));
        }
        if maps.len() < 2 {
            return maps.pop();
        }
        let profile = maps.first()?.profile().clone();
        let srs = grids.iter().map(|built| built.manager.grid().srs().clone()).collect();
        let srs = SupportedSrs::new(srs, Arc::clone(&self.preferred_srs));
        Some(Arc::new(SrsSwitch::new(profile, srs, maps)))
    }
}

/// Where the tiles of a cache come from: pictures of some, or data of one.
struct Drawn {
    sources: Vec<Arc<dyn MapSource>>,
    data: Option<DataTiles>,
}

impl Drawn {
    fn profiles(&self) -> impl Iterator<Item = &SourceProfile> {
        let data = self.data.as_ref().and_then(|data| data.source.as_ref());
        self.sources.iter().map(|source| source.profile()).chain(data.map(|source| source.profile()))
    }
}

/// What is known of a cache in one grid.
struct BuiltGrid {
    manager: Arc<TileManager>,
    resolutions: ResolutionRange,
    extent: Option<MapExtent>,
}

/// The area of a cache: its coverage, else that of its sources where all have one.
fn extent_of(coverage: Option<&Coverage>, drawn: &Drawn) -> Result<Option<MapExtent>, mapproxy_grid::TransformError> {
    if let Some(coverage) = coverage {
        return Ok(Some(coverage.extent()));
    }
    union_of_extents(drawn.profiles().map(|profile| profile.extent.as_ref()))
}

/// The area around all; `None` as soon as one is unlimited, or where there are none.
pub(super) fn union_of_extents<'a>(
    extents: impl Iterator<Item = Option<&'a MapExtent>>,
) -> Result<Option<MapExtent>, mapproxy_grid::TransformError> {
    let mut union: Option<MapExtent> = None;
    for extent in extents {
        let Some(extent) = extent else { return Ok(None) };
        union = Some(match union {
            Some(union) => union.union(extent)?,
            None => extent.clone(),
        });
    }
    Ok(union)
}

fn bands(config: &checked::Bands) -> BandMerge {
    let mode = match config {
        checked::Bands { grey: true, .. } => PixelMode::L,
        checked::Bands { alpha: true, .. } => PixelMode::Rgba,
        _ => PixelMode::Rgb,
    };
    let part = |part: &checked::BandPart| BandPart {
        target: part.target,
        source: part.source,
        band: part.band,
        factor: part.factor,
    };
    BandMerge { mode, parts: config.parts.iter().map(part).collect() }
}

fn watermark(config: &checked::Watermark) -> Watermark {
    let checked::Color { red, green, blue, .. } = config.color;
    let color = Color([red, green, blue, config.opacity]);
    let style = message::Watermark { text: config.text.clone(), font_size: config.font_size as f32, color };
    Watermark { style, spacing: if config.wide { Spacing::Wide } else { Spacing::Narrow } }
}

#[cfg(test)]
mod tests {
    use mapproxy_config::checked::image::{data_format, data_format_names};

    use super::*;

    #[test]
    fn all_formats_of_data_that_can_be_configured_are_known() {
        for name in data_format_names() {
            let format = DataFormat::named(name).unwrap();
            assert_eq!(data_format(name), Some((format.media_type(), format.extension())), "{name}");
        }
    }
}
