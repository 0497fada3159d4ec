//! Layers by name, as far as knowing more of them goes: who is asked about points, and whose legends there are.

use std::collections::HashMap;
use std::sync::Arc;

use mapproxy_client::fan_out;
use mapproxy_map::dimension::{self, InvalidValue, Omitted};
use mapproxy_map::info::{self, InfoDocument, InfoQuery, InfoSource};
use mapproxy_map::legend::LegendSource;
use mapproxy_map::{Dimension, Fault, MapError};

use crate::MapLayer;
use crate::auth::{Permit, Refusal};

/// What each name stands for: the layer's own sources, or those of the layers in it.
#[derive(Debug, Default)]
pub(crate) struct Explanations {
    named: HashMap<String, Explained>,
    leaves: usize,
}

#[derive(Clone, Debug, Default)]
struct Explained {
    info: Vec<InfoLeaf>,
    legends: Vec<LegendLeaf>,
}

#[derive(Clone, Debug)]
struct InfoLeaf {
    /// Tells leaves apart.
    id: usize,
    name: Option<Arc<str>>,
    sources: Arc<[Arc<dyn InfoSource>]>,
    /// Its own, and those of the groups it is in.
    dimensions: Arc<[Arc<Dimension>]>,
}

#[derive(Clone, Debug)]
struct LegendLeaf {
    name: Option<Arc<str>>,
    sources: Arc<[Arc<dyn LegendSource>]>,
}

impl Explanations {
    pub(crate) fn new(root: &MapLayer) -> Explanations {
        let mut explanations = Explanations::default();
        explanations.add(root, &[]);
        explanations
    }

    fn add(&mut self, layer: &MapLayer, above: &[Arc<Dimension>]) -> Explained {
        let is_replaced = |above: &&Arc<Dimension>| layer.dimensions.iter().any(|own| own.name() == above.name());
        let inherited = above.iter().filter(|above| !is_replaced(above));
        let dimensions: Arc<[Arc<Dimension>]> = layer.dimensions.iter().chain(inherited).cloned().collect();
        let mut explained = Explained::default();
        for child in &layer.children {
            let Explained { info, legends } = self.add(child, &dimensions);
            explained.info.extend(info);
            explained.legends.extend(legends);
        }
        let name: Option<Arc<str>> = layer.name.as_deref().map(Arc::from);
        if !layer.info.is_empty() {
            self.leaves += 1;
            let sources = layer.info.as_slice().into();
            explained.info = vec![InfoLeaf { id: self.leaves, name: name.clone(), sources, dimensions }];
        }
        if !layer.legends.is_empty() {
            explained.legends = vec![LegendLeaf { name, sources: layer.legends.as_slice().into() }];
        }
        if let Some(name) = &layer.name {
            self.named.insert(name.clone(), explained.clone());
        }
        explained
    }

    /// Something is known of points of the layer.
    pub(crate) fn is_queryable(&self, name: &str) -> bool {
        self.named.get(name).is_some_and(|explained| !explained.info.is_empty())
    }

    /// Who is asked about points of the layers, in the order of the answer; each once.
    pub(crate) fn info(&self, names: &[String]) -> InfoSelection<'_> {
        let mut leaves: Vec<(&InfoLeaf, bool)> = Vec::new();
        for leaf in names.iter().filter_map(|name| self.named.get(name)).flat_map(|explained| &explained.info) {
            if leaves.iter().all(|(known, _)| known.id != leaf.id) {
                let is_named = leaf.name.as_deref().is_some_and(|name| names.iter().any(|asked| asked == name));
                leaves.push((leaf, is_named));
            }
        }
        InfoSelection { leaves }
    }

    /// Whose legends make up that of a layer, bottom to top; `None` if there are none.
    pub(crate) fn legends(&self, name: &str) -> Option<LegendSelection<'_>> {
        let legends = &self.named.get(name)?.legends;
        (!legends.is_empty()).then_some(LegendSelection { leaves: legends })
    }
}

/// Who is to be asked about a point, for those who have a permit.
#[derive(Debug)]
pub(crate) struct InfoSelection<'a> {
    /// With whether the request names them, rather than a group they are in.
    leaves: Vec<(&'a InfoLeaf, bool)>,
}

impl<'a> InfoSelection<'a> {
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.leaves.iter().filter_map(|(leaf, _)| leaf.name.as_deref()).collect()
    }

    /// What is to be asked of those layers that may be asked about, where the point lies in what may be seen of them:
    /// `query` with the values of the layer's dimensions. What the caller may not ask about is told if it named it
    /// itself; the rest is left out.
    pub(crate) fn asks(&self, permit: &Permit, query: &InfoQuery) -> Result<Vec<Ask>, NotAsked> {
        let mut asks = Vec::new();
        for (leaf, is_named) in &self.leaves {
            let name = leaf.name.as_deref();
            if !permit.allows_layer(name) {
                if *is_named {
                    return Err(NotAsked::Refused(Refusal::Forbidden));
                }
                continue;
            }
            if !permit.shows_point(name, query).map_err(NotAsked::Failed)? {
                continue;
            }
            let (dimensions, _) = dimension::resolve(&leaf.dimensions, &query.dimensions, Omitted::AsConfigured)
                .map_err(NotAsked::Dimension)?;
            let query = Arc::new(InfoQuery { dimensions, ..query.clone() });
            asks.extend(
                leaf.sources.iter().map(|source| Ask { source: Arc::clone(source), query: Arc::clone(&query) }),
            );
        }
        Ok(asks)
    }
}

/// A source, and what it is to be asked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) source: Arc<dyn InfoSource>,
    pub(crate) query: Arc<InfoQuery>,
}

/// Why nobody is asked about a point.
#[derive(Debug)]
pub(crate) enum NotAsked {
    Refused(Refusal),
    Dimension(InvalidValue),
    Failed(MapError),
}

/// The legends that make up one, for those who have a permit.
#[derive(Debug)]
pub(crate) struct LegendSelection<'a> {
    leaves: &'a [LegendLeaf],
}

impl<'a> LegendSelection<'a> {
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.leaves.iter().filter_map(|leaf| leaf.name.as_deref()).collect()
    }

    /// The sources of layers that may be seen, top to bottom as legends are read; `None` if there is none.
    pub(crate) fn sources(&self, permit: &Permit) -> Option<Vec<Arc<dyn LegendSource>>> {
        let visible = self.leaves.iter().rev().filter(|leaf| permit.allows_legend(leaf.name.as_deref()));
        let sources: Vec<_> = visible.flat_map(|leaf| leaf.sources.iter().rev().cloned()).collect();
        (!sources.is_empty()).then_some(sources)
    }
}

/// Asks all sources about a point, up to `concurrency` at once, and merges what they say; `None` if that is nothing.
/// Where some fail and others answer, the failures are logged, unless `all_or_none`.
pub(crate) fn ask_all(asks: &[Ask], concurrency: usize, all_or_none: bool) -> Result<Option<InfoDocument>, MapError> {
    let (mut documents, mut failure, mut answered) = (Vec::new(), None, false);
    for answer in fan_out(asks, concurrency, |ask| ask.source.info(&ask.query)) {
        match answer {
            Ok(document) => {
                answered = true;
                documents.extend(document);
            }
            Err(error) if all_or_none || error.fault() == Fault::Client => return Err(error),
            Err(error) => {
                mapproxy_trace::error(&error);
                log::warn!(target: "mapproxy.source", "no feature info: {error}");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) if !answered => Err(error),
        _ => Ok(info::merge(documents)),
    }
}
