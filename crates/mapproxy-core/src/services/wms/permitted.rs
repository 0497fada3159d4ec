//! What capabilities show to callers who may not see all layers.

use std::sync::Arc;

use mapproxy_grid::MapExtent;

use super::WmsOptions;
use crate::auth::Permit;
use crate::{MapLayer, TileLayer};

/// The names of all layers, each before those in it.
pub(super) fn names(root: &MapLayer) -> Vec<&str> {
    let below = root.children.iter().flat_map(names);
    root.name.as_deref().into_iter().chain(below).collect()
}

/// The service with nothing but the layers that the caller may see, to be written about and not to be drawn. The root
/// stays, since a document needs one.
pub(super) fn part(options: &WmsOptions, permit: &Permit) -> WmsOptions {
    let root = layer(&options.root, permit).unwrap_or_else(|| heading(&options.root, permit));
    let listed = names(&root);
    let is_listed = |layer: &&Arc<TileLayer>| listed.contains(&layer.name.as_str()) && permit.allows(&layer.name);
    let tile_layers = options.tile_layers.iter().filter(is_listed).cloned().collect();
    WmsOptions { root: Arc::new(root), tile_layers, ..options.clone() }
}

/// The layer with what may be seen of it and in it; `None` where that is nothing. What lies in a layer that may not be
/// seen is hidden with it.
fn layer(layer: &MapLayer, permit: &Permit) -> Option<MapLayer> {
    let name = layer.name.as_deref();
    if !name.is_none_or(|name| permit.allows(name)) {
        return None;
    }
    let extent = permit.extent(name, layer.extent.as_ref())?;
    let children = children(layer, permit);
    if children.is_empty() && layer.sources.is_empty() && layer.info.is_empty() && layer.legends.is_empty() {
        return None;
    }
    let mut part = without_sources(layer, extent, children);
    part.legends = layer.legends.clone();
    if permit.allows_info(name) {
        part.info = layer.info.clone();
    }
    Some(part)
}

/// The root where it may not be seen itself.
fn heading(root: &MapLayer, permit: &Permit) -> MapLayer {
    let extent = permit.extent(None, root.extent.as_ref()).unwrap_or_else(|| root.extent.clone());
    without_sources(root, extent, children(root, permit))
}

fn children(layer_above: &MapLayer, permit: &Permit) -> Vec<MapLayer> {
    layer_above.children.iter().filter_map(|child| layer(child, permit)).collect()
}

fn without_sources(layer: &MapLayer, extent: Option<MapExtent>, children: Vec<MapLayer>) -> MapLayer {
    MapLayer {
        name: layer.name.clone(),
        title: layer.title.clone(),
        sources: Vec::new(),
        info: Vec::new(),
        legends: Vec::new(),
        children,
        resolutions: layer.resolutions,
        nominal_scale: layer.nominal_scale,
        extent,
        dimensions: layer.dimensions.clone(),
        forwards_styles: layer.forwards_styles,
        metadata: Arc::clone(&layer.metadata),
    }
}
