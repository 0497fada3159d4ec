//! References between the sections: what exists, what is used, and that nothing is made of itself.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::checked::{Name, SourceRef, SourceTarget};
use crate::diagnostic::Severity;
use crate::findings::Findings;
use crate::position::{Origin, Span, Spanned};
use crate::raw::{self, CacheSources, Layer, Layers, Table, Text};

/// The grid of caches and tile sources that name none.
pub(crate) const DEFAULT_GRID: &str = "GLOBAL_MERCATOR";

/// What is reachable from the layers: only that is built, and only there mistakes matter.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    pub(crate) caches: FxHashSet<Name>,
    pub(crate) sources: FxHashSet<Name>,
    pub(crate) grids: FxHashSet<Name>,
}

/// The sections references point into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sections<'r> {
    pub(crate) caches: &'r Table<raw::Cache>,
    pub(crate) sources: &'r Table<raw::Source>,
    pub(crate) grids: &'r Table<raw::Grid>,
}

/// What a name means that both a cache and a source have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// In layers it is the cache: usually the source is what the cache is made of.
    Cache,
    /// In caches it is the source: a cache is not made of itself.
    Source,
}

/// Why a reference points to nothing.
pub(crate) enum Dangling {
    /// No cache or source of this name.
    Unknown,
    /// `source:layers` for a source that cannot take layers.
    NotTaggable,
    /// Layers the source does not have: those asked for, those there.
    Layers(String, String),
}

impl<'r> Sections<'r> {
    /// What `name` refers to: a cache, a source, or a source with layers.
    pub(crate) fn resolve(&self, name: &Text, prefer: Prefer) -> Result<SourceTarget, Dangling> {
        let cache = || self.caches.get_key_value(name).map(|(name, _)| SourceTarget::Cache(Arc::clone(name)));
        let source = || {
            let (name, _) = self.sources.get_key_value(name)?;
            Some(SourceTarget::Source { name: Arc::clone(name), layers: None })
        };
        let found = match prefer {
            Prefer::Cache => cache().or_else(source),
            Prefer::Source => source().or_else(cache),
        };
        if let Some(target) = found {
            return Ok(target);
        }
        let (name, tags) = name.split_once(':').ok_or(Dangling::Unknown)?;
        let (name, entry) = self.sources.get_key_value(name).ok_or(Dangling::Unknown)?;
        let layers: Vec<String> = tags.split(',').map(str::to_owned).collect();
        let own = own_layers(&entry.value).ok_or(Dangling::NotTaggable)?;
        if !own.is_empty() && layers.iter().any(|layer| !own.contains(layer)) {
            return Err(Dangling::Layers(layers.join(", "), own.join(", ")));
        }
        Ok(SourceTarget::Source { name: Arc::clone(name), layers: Some(layers) })
    }

    /// The names of all caches and sources.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'r str> {
        self.caches.keys().chain(self.sources.keys()).map(|name| &**name)
    }

    /// Follows the references from `layers`; nothing is reported here.
    pub(crate) fn reachable(&self, layers: &Layers) -> Reachable {
        let mut found = Reachable::default();
        let mut pending = Vec::new();
        for_each_layer(layers, &mut |layer| {
            let sources = layer.sources.iter().chain(&layer.tile_sources).flat_map(|sources| sources.value.iter());
            pending.extend(sources.map(|source| (source, Prefer::Cache)));
        });
        while let Some((reference, prefer)) = pending.pop() {
            match self.resolve(&reference.value, prefer) {
                Ok(SourceTarget::Cache(name)) => {
                    let Some(entry) = self.caches.get(&name) else { continue };
                    if !found.caches.insert(name) {
                        continue;
                    }
                    match entry.value.sources.as_ref().map(|sources| &sources.value) {
                        Some(CacheSources::List(list)) => {
                            pending.extend(list.iter().map(|source| (source, Prefer::Source)));
                        }
                        Some(CacheSources::Bands(bands)) => {
                            for band in band_entries(bands) {
                                pending.extend(band.source.as_ref().map(|source| (source, Prefer::Source)));
                            }
                        }
                        None => {}
                    }
                    match &entry.value.grids {
                        Some(grids) => grids.value.iter().for_each(|grid| self.reach_grid(&grid.value, &mut found)),
                        None => self.reach_grid(&Arc::from(DEFAULT_GRID), &mut found),
                    }
                }
                Ok(SourceTarget::Source { name, .. }) => {
                    if let Some(raw::Source::Tile(tile)) = self.sources.get(&name).map(|entry| &entry.value.value) {
                        match &tile.grid {
                            Some(grid) => self.reach_grid(&grid.value, &mut found),
                            None => self.reach_grid(&Arc::from(DEFAULT_GRID), &mut found),
                        }
                    }
                    found.sources.insert(name);
                }
                Err(_) => {}
            }
        }
        found
    }

    fn reach_grid(&self, name: &Text, found: &mut Reachable) {
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            if found.grids.insert(Arc::clone(name))
                && let Some(entry) = self.grids.get(name)
            {
                pending.extend(entry.value.base.iter().map(|base| &base.value));
                pending.extend(entry.value.align_resolutions_with.iter().map(|grid| &grid.value));
            }
        }
    }

    /// The reference `name` at `origin`, reported if it points to nothing. `what` says who refers.
    pub(crate) fn reference(
        &self,
        name: &Spanned<Text>,
        prefer: Prefer,
        origin: Origin,
        unknown: &dyn Fn(&str) -> String,
        findings: &mut Findings,
    ) -> Option<SourceRef> {
        let message = match self.resolve(&name.value, prefer) {
            Ok(target) => return Some(SourceRef { target, origin }),
            Err(Dangling::Unknown) => {
                let near = raw::nearest(&name.value, self.names()).map(|near| format!("did you mean '{near}'?"));
                let known = near.or_else(|| {
                    (self.names().count() <= 12 && self.names().next().is_some())
                        .then(|| format!("there are: {}", self.names().collect::<Vec<_>>().join(", ")))
                });
                findings.add(Severity::Error, origin.span, origin.path, unknown(&name.value), known);
                return None;
            }
            Err(Dangling::NotTaggable) => {
                format!("found ':' in '{}': only sources of type wms, mapserver and mapnik take layers", name.value)
            }
            Err(Dangling::Layers(asked, there)) => format!("layers ({asked}) not supported by source ({there})"),
        };
        findings.error(origin.span, origin.path, message);
        None
    }
}

/// The layers a source asks for, `None` if its type knows no layers.
fn own_layers(source: &raw::Source) -> Option<Vec<String>> {
    let split = |text: &str| text.split(',').map(|layer| layer.trim().to_owned()).collect::<Vec<_>>();
    let listed = |node: &crate::yaml::Node| match node.as_sequence() {
        Some(items) => items.iter().filter_map(|item| item.python_text()).map(|text| text.into_owned()).collect(),
        None => node.python_text().filter(|text| !text.is_empty()).map(|text| split(&text)).unwrap_or_default(),
    };
    match source {
        raw::Source::Wms(source) => {
            let layers = source.req.as_ref().and_then(|req| req.param("layers"));
            Some(layers.map(listed).unwrap_or_default())
        }
        raw::Source::Mapserver(source) => {
            let req = source.req.as_ref();
            let layers = req.and_then(|req| req.params.iter().find(|(key, _)| &*key.text == "layers"));
            Some(layers.map(|(_, node)| listed(node)).unwrap_or_default())
        }
        raw::Source::Mapnik(source) => Some(match source.layers.as_ref().map(|layers| &layers.value) {
            Some(raw::TextOrList::Text(text)) => split(text),
            Some(raw::TextOrList::List(list)) => list.iter().map(|layer| layer.value.to_string()).collect(),
            None => Vec::new(),
        }),
        _ => None,
    }
}

/// All bands of a band merge.
pub(crate) fn band_entries(bands: &raw::Bands) -> impl Iterator<Item = &raw::Band> {
    [&bands.r, &bands.g, &bands.b, &bands.a, &bands.l]
        .into_iter()
        .flatten()
        .flat_map(|list| list.value.iter().map(|band| &band.value))
}

/// Calls `visit` for every layer and group.
pub(crate) fn for_each_layer<'l>(layers: &'l Layers, visit: &mut dyn FnMut(&'l Layer)) {
    fn list<'l>(layers: &'l [Spanned<Layer>], visit: &mut dyn FnMut(&'l Layer)) {
        for layer in layers {
            visit(&layer.value);
            if let Some(members) = &layer.value.layers {
                list(&members.value, visit);
            }
        }
    }
    match layers {
        Layers::List(layers) => list(layers, visit),
        Layers::Legacy(table) => {
            for entry in table.values() {
                list(std::slice::from_ref(&entry.value), visit);
            }
        }
    }
}

/// Caches in an order in which each comes after those it is made of. Reports circles; `None` if there is one.
pub(crate) fn cache_order<'r>(sections: Sections<'r>, findings: &mut Findings) -> Option<Vec<&'r Name>> {
    let edges: Vec<Vec<(usize, Span)>> = sections
        .caches
        .values()
        .map(|entry| {
            let names: Vec<&Spanned<Text>> = match entry.value.sources.as_ref().map(|sources| &sources.value) {
                Some(CacheSources::List(list)) => list.iter().collect(),
                Some(CacheSources::Bands(bands)) => {
                    band_entries(bands).filter_map(|band| band.source.as_ref()).collect()
                }
                None => Vec::new(),
            };
            names
                .into_iter()
                .filter_map(|source| match sections.resolve(&source.value, Prefer::Source) {
                    Ok(SourceTarget::Cache(name)) => Some((sections.caches.get_index_of(&name)?, source.span)),
                    _ => None,
                })
                .collect()
        })
        .collect();
    let found = depth_first(&edges);
    if let Err((circle, span)) = found {
        let names: Vec<&str> =
            circle.iter().filter_map(|at| sections.caches.get_index(*at)).map(|(name, _)| &**name).collect();
        let first = names.first().copied().unwrap_or_default();
        let message = format!("cache '{first}' is made of itself: {} -> {first}", names.join(" -> "));
        findings.error(span, format!("caches.{first}.sources"), message);
        return None;
    }
    let order = found.ok()?;
    Some(order.into_iter().filter_map(|at| sections.caches.get_index(at).map(|(name, _)| name)).collect())
}

/// Nodes of a graph, each after those it points to; or a circle, and the edge that closes it.
pub(crate) fn depth_first(edges: &[Vec<(usize, Span)>]) -> Result<Vec<usize>, (Vec<usize>, Span)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; edges.len()];
    let mut order = Vec::with_capacity(edges.len());
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..edges.len() {
        if state[start] != State::New {
            continue;
        }
        state[start] = State::Open;
        path.push((start, 0));
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(&(target, span)) = edges[node].get(*next) else {
                state[node] = State::Done;
                order.push(node);
                path.pop();
                continue;
            };
            *next += 1;
            match state[target] {
                State::Done => {}
                State::New => {
                    state[target] = State::Open;
                    path.push((target, 0));
                }
                State::Open => {
                    let from = path.iter().position(|(node, _)| *node == target).unwrap_or(0);
                    return Err((path[from..].iter().map(|(node, _)| *node).collect(), span));
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_first_puts_nodes_after_those_they_point_to() {
        let edges = vec![vec![(1, Span::default()), (2, Span::default())], vec![(2, Span::default())], vec![]];
        assert_eq!(depth_first(&edges), Ok(vec![2, 1, 0]));
    }

    #[test]
    fn depth_first_finds_circles() {
        let edges = vec![vec![(1, Span::default())], vec![(2, Span::default())], vec![(1, Span::default())]];
        assert_eq!(depth_first(&edges), Err((vec![1, 2], Span::default())));
    }

    #[test]
    fn depth_first_does_not_recurse() {
        let length = 200_000;
        let edges: Vec<_> =
            (0..length).map(|at| if at + 1 < length { vec![(at + 1, Span::default())] } else { Vec::new() }).collect();
        assert_eq!(depth_first(&edges).unwrap().len(), length);
    }
}
