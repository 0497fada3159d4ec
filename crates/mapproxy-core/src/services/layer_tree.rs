//! Layers by name, as far as drawing them goes: what the services that draw maps have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_grid::ResolutionRange;
use mapproxy_map::dimension::{self, Dimension, InvalidValue, Omitted, Replaced};
use mapproxy_map::wrap::Dimensioned;
use mapproxy_map::{Dimensions, MapQuery, MapSource};

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
    /// Its own dimensions, and those of the groups it is in.
    dimensions: Arc<[Arc<Dimension>]>,
    forwards_styles: bool,
    max_age: Option<Duration>,
    /// Its own range, and those of the groups between it and the name.
    resolutions: Vec<ResolutionRange>,
}

impl LayerTree {
    pub(crate) fn new(root: &MapLayer) -> LayerTree {
        let mut tree = LayerTree::default();
        tree.add(root, &[]);
        tree
    }

    fn add(&mut self, layer: &MapLayer, inherited: &[Arc<Dimension>]) -> Vec<Leaf> {
        let is_replaced = |above: &&Arc<Dimension>| layer.dimensions.iter().any(|own| own.name() == above.name());
        let inherited = inherited.iter().filter(|above| !is_replaced(above));
        let dimensions: Arc<[Arc<Dimension>]> = layer.dimensions.iter().chain(inherited).cloned().collect();
        let below: Vec<Leaf> = layer.children.iter().flat_map(|child| self.add(child, &dimensions)).collect();
        let mut leaves = if layer.sources.is_empty() {
            below
        } else {
            self.leaves += 1;
            vec![Leaf {
                id: self.leaves,
                name: layer.name.as_deref().map(Arc::from),
                sources: layer.sources.as_slice().into(),
                dimensions,
                forwards_styles: layer.forwards_styles,
                max_age: layer.metadata.max_age,
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

    /// All that is drawn for the name asks its server for the styles that clients name.
    pub(crate) fn forwards_styles(&self, name: &str) -> bool {
        self.named.get(name).is_some_and(|leaves| !leaves.is_empty() && leaves.iter().all(|leaf| leaf.forwards_styles))
    }

    /// The layers that are shown at the resolution of `query`, bottom to top. A layer named twice, alone or as part of a
    /// group, is drawn where it comes first.
    pub(crate) fn select(&self, names: &[String], query: &MapQuery) -> Selection<'_> {
        let mut seen = Vec::new();
        let mut chosen = Vec::new();
        let asked = names.iter().enumerate().filter_map(|(asked, name)| Some((asked, self.named.get(name)?)));
        for (asked, leaf) in asked.flat_map(|(asked, leaves)| leaves.iter().map(move |leaf| (asked, leaf))) {
            if seen.contains(&leaf.id) {
                continue;
            }
            seen.push(leaf.id);
            if leaf.is_shown(query) {
                let is_named = leaf.name.as_deref().is_some_and(|name| names.iter().any(|asked| asked == name));
                chosen.push(Chosen { leaf, is_named, asked, dimensions: None });
            }
        }
        Selection { chosen }
    }
}

/// Layers to be drawn, for those who have a permit.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    chosen: Vec<Chosen<'a>>,
}

#[derive(Debug)]
struct Chosen<'a> {
    leaf: &'a Leaf,
    /// The request names it, rather than a group it is in.
    is_named: bool,
    /// Which of the names that were asked for it came with.
    asked: usize,
    /// Where they are not those of the query.
    dimensions: Option<Dimensions>,
}

impl<'a> Selection<'a> {
    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.chosen.iter().filter_map(|chosen| chosen.leaf.name.as_deref()).collect()
    }

    /// How long clients may keep the map; `None` where a layer does not say.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        let ages: Option<Vec<Duration>> = self.chosen.iter().map(|chosen| chosen.leaf.max_age).collect();
        ages?.into_iter().min()
    }

    /// Has each layer drawn in its style, of which there is one for each name that was asked for, or one for all.
    pub(crate) fn set_styles(&mut self, styles: &[&str], query: &MapQuery) {
        for Chosen { asked, dimensions, .. } in &mut self.chosen {
            let style = styles.get(*asked).or(styles.first()).copied().unwrap_or_default();
            let others = dimensions.as_ref().unwrap_or(&query.dimensions).iter();
            let mut own: Vec<_> = others.filter(|(name, _)| !name.eq_ignore_ascii_case("styles")).cloned().collect();
            own.push(("styles".to_owned(), style.to_owned()));
            *dimensions = Some(own.into());
        }
    }

    /// Gives each layer the values of its dimensions that the query means, and the query those that all layers share.
    pub(crate) fn resolve_dimensions(&mut self, query: &mut MapQuery) -> Result<Vec<Replaced>, InvalidValue> {
        let mut replaced: Vec<Replaced> = Vec::new();
        for Chosen { leaf, dimensions, .. } in &mut self.chosen {
            let asked = dimensions.as_ref().unwrap_or(&query.dimensions);
            let (values, others) = dimension::resolve(&leaf.dimensions, asked, Omitted::AsConfigured)?;
            *dimensions = Some(values);
            for (dimension, value) in others {
                if !replaced.iter().any(|(known, _)| known.name() == dimension.name()) {
                    replaced.push((dimension, value));
                }
            }
        }
        if let Some(first) = self.chosen.first().and_then(|first| first.dimensions.clone())
            && self.chosen.iter().all(|chosen| chosen.dimensions.as_ref() == Some(&first))
        {
            query.dimensions = first;
            self.chosen.iter_mut().for_each(|chosen| chosen.dimensions = None);
        }
        Ok(replaced)
    }

    /// The sources, as far as they may be seen. Of what the caller may not see, it is told what it named itself; the
    /// rest is left out.
    pub(crate) fn sources(&self, permit: &Permit) -> Result<Vec<Arc<dyn MapSource>>, Refusal> {
        let mut sources = Vec::new();
        for Chosen { leaf, is_named, dimensions, .. } in &self.chosen {
            let own = |source| match dimensions {
                Some(own) => Arc::new(Dimensioned::new(source, Arc::clone(own))) as Arc<dyn MapSource>,
                None => source,
            };
            match permit.sources(leaf.name.as_deref(), &leaf.sources) {
                Some(visible) => sources.extend(visible.into_iter().map(own)),
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
