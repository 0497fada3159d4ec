//! Layers by name, as far as drawing them goes: what the services that draw maps have in common.

use std::collections::HashMap;
use std::sync::Arc;

use mapproxy_grid::ResolutionRange;
use mapproxy_map::{MapQuery, MapSource};

use crate::MapLayer;
use crate::auth::{Permit, Refusal};

/// What each name stands for: the layer's own sources, or those of the layers in it.
#[derive(Debug, Default)]
pub(crate) struct LayerTree {
    named: HashMap<String, Vec<Leaf>>,
    leaves: usize,
}

/// A layer that is drawn as a whole.
#[derive(Clone, Debug)]
struct Leaf {
    /// Tells leaves apart.
    id: usize,
    name: Option<Arc<str>>,
    sources: Arc<[Arc<dyn MapSource>]>,
    /// Its own range, and those of the groups between it and the name.
    resolutions: Vec<ResolutionRange>,
}

impl LayerTree {
    pub(crate) fn new(root: &MapLayer) -> LayerTree {
        let mut tree = LayerTree::default();
        tree.add(root);
        tree
    }

    fn add(&mut self, layer: &MapLayer) -> Vec<Leaf> {
        let below: Vec<Leaf> = layer.children.iter().flat_map(|child| self.add(child)).collect();
        let mut leaves = if layer.sources.is_empty() {
            below
        } else {
            self.leaves += 1;
            vec![Leaf {
                id: self.leaves,
                name: layer.name.as_deref().map(Arc::from),
                sources: layer.sources.as_slice().into(),
                resolutions: Vec::new(),
            }]
        };
        if !layer.resolutions.is_unlimited() {
            leaves.iter_mut().for_each(|leaf| leaf.resolutions.push(layer.resolutions));
        }
        if let Some(name) = &layer.name {
            self.named.insert(name.clone(), leaves.clone());
        }
        leaves
    }

    /// The first of the names that is no layer's.
    pub(crate) fn unknown<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
        names.into_iter().find(|name| !self.named.contains_key(*name))
    }

    /// The layers that are shown at the resolution of `query`, bottom to top. A layer named twice, alone or as part of a
    /// group, is drawn where it comes first.
    pub(crate) fn select(&self, names: &[String], query: &MapQuery) -> Selection<'_> {
        let mut seen = Vec::new();
        let mut leaves = Vec::new();
        for leaf in names.iter().filter_map(|name| self.named.get(name)).flatten() {
            if seen.contains(&leaf.id) {
                continue;
            }
            seen.push(leaf.id);
            if leaf.is_shown(query) {
                let is_named = leaf.name.as_deref().is_some_and(|name| names.iter().any(|asked| asked == name));
                leaves.push((leaf, is_named));
            }
        }
        Selection { leaves }
    }
}

/// Layers to be drawn, for those who have a permit.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// With whether the request names them, rather than a group they are in.
    leaves: Vec<(&'a Leaf, bool)>,
}

impl<'a> Selection<'a> {
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.leaves.iter().filter_map(|(leaf, _)| leaf.name.as_deref()).collect()
    }

    /// The sources, as far as they may be seen. Of what the caller may not see, it is told what it named itself; the
    /// rest is left out.
    pub(crate) fn sources(&self, permit: &Permit) -> Result<Vec<Arc<dyn MapSource>>, Refusal> {
        let mut sources = Vec::new();
        for (leaf, is_named) in &self.leaves {
            match permit.sources(leaf.name.as_deref(), &leaf.sources) {
                Some(visible) => sources.extend(visible),
                None if *is_named => return Err(Refusal::Forbidden),
                None => {}
            }
        }
        Ok(sources)
    }
}

impl Leaf {
    fn is_shown(&self, query: &MapQuery) -> bool {
        self.resolutions.iter().all(|range| range.contains(&query.bbox, query.size, &query.srs))
    }
}
