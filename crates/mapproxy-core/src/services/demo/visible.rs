//! What the caller may see of what there is.

use std::sync::Arc;

use mapproxy_grid::MapExtent;
use mapproxy_map::Dimension;

use super::Demo;
use crate::auth::{Operation, Permit};
use crate::services::tms::Tms;
use crate::{Incoming, MapLayer, TileSet};

/// The tile sets of a service that the caller may see.
pub(super) struct Tiled<'a> {
    pub(super) sets: Vec<(&'a str, &'a TileSet)>,
    pub(super) permit: Permit,
}

impl<'a> Tiled<'a> {
    /// Those of one layer, as far as they are pictures and can be shown.
    pub(super) fn of_layer(&self, name: &str) -> Vec<&'a TileSet> {
        let is_shown = |(layer, set): &&(&str, &TileSet)| *layer == name && set.data_format().is_none();
        self.sets.iter().filter(is_shown).map(|(_, set)| *set).collect()
    }
}

impl Demo {
    /// What the WMS permits; `None`: there is no WMS for this caller.
    pub(super) fn wms_permit(&self, request: &Incoming<'_>) -> Option<Permit> {
        let wms = self.options.wms.as_ref()?;
        self.options.gate.ask(Operation::WmsCapabilities, request, || (names(&wms.root), None)).ok()
    }

    pub(super) fn visible_wmts<'a>(&'a self, request: &Incoming<'_>) -> Option<Tiled<'a>> {
        self.tiled(Operation::Wmts, self.options.wmts.as_ref()?.tile_sets().collect(), request)
    }

    pub(super) fn visible_tms<'a>(&'a self, request: &Incoming<'_>) -> Option<Tiled<'a>> {
        self.tiled(Operation::Tms, self.options.tms.as_deref()?.tile_sets().collect(), request)
    }

    pub(super) fn visible_kml<'a>(&'a self, request: &Incoming<'_>) -> Option<(&'a Tms, Tiled<'a>)> {
        let kml = self.options.kml.as_deref()?;
        Some((kml, self.tiled(Operation::Kml, kml.tile_sets().collect(), request)?))
    }

    fn tiled<'a>(
        &self,
        operation: Operation,
        sets: Vec<(&'a str, &'a TileSet)>,
        request: &Incoming<'_>,
    ) -> Option<Tiled<'a>> {
        let names = || {
            let mut names: Vec<&str> = sets.iter().map(|(name, _)| *name).collect();
            names.dedup();
            (names, None)
        };
        let permit = self.options.gate.ask(operation, request, names).ok()?;
        let sets = sets.into_iter().filter(|(name, set)| permit.shows(name, &set.extent)).collect();
        Some(Tiled { sets, permit })
    }
}

/// The layer may be seen, alone or as a heading.
pub(super) fn is_visible(layer: &MapLayer, permit: &Permit) -> bool {
    let name = layer.name.as_deref();
    name.is_none_or(|name| permit.allows(name)) && permit.extent(name, layer.extent.as_ref()).is_some()
}

/// The layer of this name with the part of its extent that may be seen. What lies in a layer that may not be seen is
/// hidden with it.
pub(super) fn find<'a>(layer: &'a MapLayer, name: &str, permit: &Permit) -> Option<(&'a MapLayer, Option<MapExtent>)> {
    if !is_visible(layer, permit) {
        return None;
    }
    let own = layer.name.as_deref();
    if own == Some(name) {
        return Some((layer, permit.extent(own, layer.extent.as_ref())?));
    }
    layer.children.iter().find_map(|child| find(child, name, permit))
}

/// The dimensions that count for the layer of this name: its own, those of the groups around it and of the layers in it.
pub(super) fn dimensions(layer: &MapLayer, name: &str) -> Vec<Arc<Dimension>> {
    fn collect(layer: &MapLayer, name: &str, is_inside: bool, found: &mut Vec<Arc<Dimension>>) -> bool {
        let is_inside = is_inside || layer.name.as_deref() == Some(name);
        let mut holds = is_inside;
        for child in &layer.children {
            holds |= collect(child, name, is_inside, found);
        }
        if holds {
            for dimension in &layer.dimensions {
                if !found.iter().any(|known| known.is_asked_by(dimension.name())) {
                    found.push(Arc::clone(dimension));
                }
            }
        }
        holds
    }
    let mut found = Vec::new();
    collect(layer, name, false, &mut found);
    found
}

/// The names of all layers, each before those in it.
fn names(root: &MapLayer) -> Vec<&str> {
    let below = root.children.iter().flat_map(names);
    root.name.as_deref().into_iter().chain(below).collect()
}
