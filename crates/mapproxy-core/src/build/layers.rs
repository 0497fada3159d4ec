//! The layer tree of the WMS, and the layers of the tiled services.

use std::sync::Arc;

use mapproxy_config::checked::{self, SourceKind, SourceRef, SourceTarget};
use mapproxy_grid::{MapExtent, ResolutionRange, Srs, TransformError};
use mapproxy_map::MapSource;
use mapproxy_map::dimension::{Dimension, DimensionOptions};

use super::Parts;
use super::sources::{AskedBy, SourceUse, resolutions};
use crate::layers::{Attribution, Identifier, LayerMetadata, LegendUrls, Logo, OnlineResource};
use crate::{MapLayer, TileLayer, TileSet};

impl Parts<'_> {
    /// The root of the WMS layers. Layers with nothing to show are left out.
    pub(super) fn root_layer(&self) -> Option<MapLayer> {
        let config = self.config.root_layer.as_ref()?;
        let root = self.map_layer(config);
        if root.is_none() && !self.has_errors() {
            return self.error(&config.at, "found no WMS layer");
        }
        root
    }

    fn has_errors(&self) -> bool {
        self.diagnostics.borrow().iter().any(mapproxy_config::Diagnostic::is_error)
    }

    fn map_layer(&self, config: &checked::Layer) -> Option<MapLayer> {
        let children: Vec<MapLayer> = config.layers.iter().filter_map(|layer| self.map_layer(layer)).collect();
        let sources: Vec<Arc<dyn MapSource>> =
            config.sources.iter().filter_map(|source| self.layer_source(source)).collect();
        let info = self.info_sources(&config.sources);
        let legends = match &config.legend {
            Some(address) => {
                let name = config.name.as_deref().unwrap_or(&config.title);
                self.layer_legend(name, address, &config.at).into_iter().collect()
            }
            None => self.legend_sources(&config.sources),
        };
        if sources.is_empty() && children.is_empty() && info.is_empty() && legends.is_empty() {
            return None;
        }
        let ranges: Vec<ResolutionRange> = if sources.is_empty() {
            children.iter().map(|child| child.resolutions).collect()
        } else {
            sources.iter().map(|source| source.profile().resolutions).collect()
        };
        let of_sources = sources.iter().filter_map(|source| source.profile().extent.as_ref());
        let extents = of_sources.chain(children.iter().filter_map(|child| child.extent.as_ref()));
        let own = config.resolution.as_ref().map(resolutions);
        let inherited = || ranges.into_iter().reduce(|a, b| a.union(&b)).unwrap_or_default();
        let resolutions = own.unwrap_or_else(inherited);
        let extent = self.told(&config.at, announced_extent(extents))?;
        Some(MapLayer {
            name: config.name.as_deref().map(str::to_owned),
            title: config.title.clone(),
            sources,
            info,
            legends,
            children,
            resolutions,
            extent,
            dimensions: self.dimensions(&config.dimensions),
            forwards_styles: self.forwards_styles(config),
            nominal_scale: config.nominal_scale,
            metadata: Arc::new(metadata(&config.md)),
        })
    }

    /// Each is made once, however many services offer it.
    pub(super) fn dimensions(&self, config: &[checked::Dimension]) -> Vec<Arc<Dimension>> {
        config.iter().filter_map(|config| self.dimension(config)).collect()
    }

    fn dimension(&self, config: &checked::Dimension) -> Option<Arc<Dimension>> {
        let path = &config.at.path;
        if let Some(built) = self.dimensions.borrow().get(path) {
            return built.clone();
        }
        let options = DimensionOptions {
            name: config.name.to_string(),
            values: config.values.clone(),
            default: config.default.clone(),
            units: config.units.clone(),
            unit_symbol: config.unit_symbol.clone(),
            nearest: config.nearest_value,
            send_default: config.send_default,
        };
        let built = self.told(&config.at, Dimension::new(&options)).map(Arc::new);
        self.dimensions.borrow_mut().insert(Arc::clone(path), built.clone());
        built
    }

    /// The dimensions of all layers that show a cache, directly or through others.
    pub(super) fn announced_for(&self, cache: &str) -> Vec<Arc<Dimension>> {
        let mut found = Vec::new();
        if let Some(root) = &self.config.root_layer {
            self.collect_announced(root, cache, &mut Vec::new(), &mut found);
        }
        for layer in self.config.tile_layers.values() {
            if layer.caches.iter().any(|name| self.leads_to(name, cache)) {
                found.extend(self.dimensions(&layer.dimensions));
            }
        }
        let mut unique: Vec<Arc<Dimension>> = Vec::new();
        for dimension in found {
            if !unique.iter().any(|known| Arc::ptr_eq(known, &dimension)) {
                unique.push(dimension);
            }
        }
        unique
    }

    fn collect_announced<'c>(
        &self,
        layer: &'c checked::Layer,
        cache: &str,
        above: &mut Vec<&'c [checked::Dimension]>,
        found: &mut Vec<Arc<Dimension>>,
    ) {
        above.push(&layer.dimensions);
        let shows =
            |source: &SourceRef| matches!(&source.target, SourceTarget::Cache(name) if self.leads_to(name, cache));
        if layer.sources.iter().any(shows) {
            found.extend(above.iter().flat_map(|dimensions| self.dimensions(dimensions)));
        }
        for member in &layer.layers {
            self.collect_announced(member, cache, above, found);
        }
        above.pop();
    }

    /// `cache` is `from`, or a source of it.
    fn leads_to(&self, from: &str, cache: &str) -> bool {
        let is_below =
            |source: &SourceRef| matches!(&source.target, SourceTarget::Cache(name) if self.leads_to(name, cache));
        from == cache || self.config.caches.get(from).is_some_and(|from| from.sources.iter().any(is_below))
    }

    /// All that is drawn of a layer asks its server for the styles that clients name.
    fn forwards_styles(&self, config: &checked::Layer) -> bool {
        let forwards = |source: &SourceRef| match &source.target {
            SourceTarget::Cache(_) => false,
            SourceTarget::Source { name, .. } => match self.config.sources.get(name).map(|source| &source.kind) {
                Some(SourceKind::Wms(wms)) => {
                    wms.forward_req_params.iter().any(|name| name.eq_ignore_ascii_case("styles"))
                }
                _ => false,
            },
        };
        !config.sources.is_empty() && config.sources.iter().all(forwards)
    }

    fn layer_source(&self, source: &SourceRef) -> Option<Arc<dyn MapSource>> {
        match &source.target {
            SourceTarget::Cache(name) => {
                let map = self.cache(name)?.map.clone();
                if map.is_none() {
                    let message = format!("the tiles of cache {name} are no pictures: services of maps leave them out");
                    self.warning(&source.origin, message);
                }
                map
            }
            SourceTarget::Source { name, layers } => match self.source(name, layers.as_deref(), AskedBy::Layer)? {
                SourceUse::Map(source) => Some(source),
                SourceUse::NoMap => None,
            },
        }
    }

    /// The layers of the tiled services, in the order of the configuration.
    pub(super) fn tile_layers(&self) -> Vec<TileLayer> {
        self.config.tile_layers.values().map(|layer| self.tile_layer(layer)).collect()
    }

    fn tile_layer(&self, config: &checked::TileLayer) -> TileLayer {
        let mut tile_sets = Vec::new();
        for name in &config.caches {
            let Some(cache) = self.cache(name) else { continue };
            for manager in &cache.managers {
                let grid = manager.grid();
                let extent = cache.extent.clone().unwrap_or_else(|| MapExtent::new(grid.bbox(), grid.srs().clone()));
                tile_sets.push(TileSet::new(Arc::clone(manager), extent).with_max_age(config.md.max_age));
            }
        }
        TileLayer {
            name: config.name.to_string(),
            title: config.title.clone(),
            metadata: Arc::new(metadata(&config.md)),
            tile_sets,
            dimensions: self.dimensions(&config.dimensions),
            info: self.info_sources(&config.sources),
            legend_urls: self.legend_urls(config),
        }
    }

    /// Where clients of tiles find a legend: where the configuration says, else at the WMS if there is one.
    fn legend_urls(&self, config: &checked::TileLayer) -> LegendUrls {
        let wms = self.config.services.wms.as_ref();
        let at_wms = || {
            let version = wms?.versions.last().filter(|version| **version >= checked::WmsVersion::V1_1_1)?;
            let has_legend = config.has_legend || !self.legend_sources(&config.sources).is_empty();
            has_legend.then(|| {
                format!(
                    "{{base_url}}/service?service=WMS&request=GetLegendGraphic&version={version}&format=image%2Fpng\
                     &layer={{layer_name}}"
                )
            })
        };
        LegendUrls {
            kvp: config.kvp_legend_url.clone().or_else(at_wms),
            restful: config.rest_legend_url.clone().or_else(at_wms),
        }
    }
}

/// The area that capabilities announce for several things: what is known of it. Nothing is known of things without a
/// limit, which mostly is a coverage not configured, so they do not count where others have one.
fn announced_extent<'a>(extents: impl Iterator<Item = &'a MapExtent>) -> Result<Option<MapExtent>, TransformError> {
    let mut known: Option<MapExtent> = None;
    for extent in extents {
        known = Some(match known {
            None => extent.clone(),
            Some(known) if known == *extent => known,
            // In degrees, as MapProxy does, also where both are in the same SRS.
            Some(known) => {
                let wgs84 = Srs::wgs84();
                MapExtent::new(known.bbox_in(&wgs84)?.union(&extent.bbox_in(&wgs84)?), wgs84)
            }
        });
    }
    Ok(known)
}

fn metadata(md: &checked::LayerMetadata) -> LayerMetadata {
    let online = |data: &checked::layers::OnlineData| OnlineResource {
        url: data.url.clone().unwrap_or_default(),
        kind: None,
        format: data.format.clone(),
    };
    LayerMetadata {
        max_age: md.max_age,
        abstract_: md.abstract_.clone(),
        keywords: md.keyword_list.clone(),
        attribution: md.attribution.as_ref().map(|attribution| Attribution {
            title: attribution.title.clone(),
            url: attribution.url.clone(),
            logo: attribution.logo.as_ref().map(|logo| Logo {
                url: logo.url.clone().unwrap_or_default(),
                format: logo.format.clone(),
                width: logo.width.and_then(|width| width.try_into().ok()),
                height: logo.height.and_then(|height| height.try_into().ok()),
            }),
        }),
        identifiers: md
            .identifier
            .iter()
            .map(|identifier| Identifier {
                url: identifier.url.clone().unwrap_or_default(),
                name: identifier.name.clone().unwrap_or_default(),
                value: identifier.value.clone().unwrap_or_default(),
            })
            .collect(),
        metadata: md
            .metadata
            .iter()
            .map(|document| OnlineResource {
                url: document.url.clone().unwrap_or_default(),
                kind: document.type_.clone(),
                format: document.format.clone(),
            })
            .collect(),
        data: md.data.iter().map(online).collect(),
        feature_lists: md.feature_list.iter().map(online).collect(),
    }
}
