//! The layer tree and the tiled layers.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::sources::METRES_PER_PIXEL;
use super::{Resolver, origin};
use crate::check::{Prefer, Sections};
use crate::checked::layers::{Attribution, Dimension, Identifier, Logo, MetadataUrl, OnlineData};
use crate::checked::{KeywordList, Layer, LayerMetadata, Name, Source, SourceKind, SourceRef, SourceTarget, TileLayer};
use crate::diagnostic::Severity;
use crate::position::{Span, Spanned};
use crate::raw::{self, Layers, Text};

/// What the layers come to.
pub(super) struct LayerTree {
    pub(super) root: Option<Layer>,
    pub(super) tiled: IndexMap<Name, TileLayer>,
    /// Where `layers` was written.
    pub(super) span: Option<Span>,
}

impl Resolver<'_> {
    pub(super) fn layers(
        &mut self,
        raw: &Layers,
        span: Option<Span>,
        sections: Sections<'_>,
        sources: &IndexMap<Name, Source>,
    ) -> LayerTree {
        let mut walk = Walk { sections, sources, tiled: IndexMap::new(), names: rustc_hash::FxHashMap::default() };
        let at = span.unwrap_or_default();
        let mut layers = Vec::new();
        let mut single_root = false;
        match raw {
            Layers::List(list) => {
                single_root = matches!(list.as_slice(), [layer] if layer.layers.is_some()
                    || layer.sources.is_some()
                    || layer.tile_sources.is_some());
                for (index, layer) in list.iter().enumerate() {
                    layers.extend(self.layer(layer, None, &format!("layers[{index}]"), &mut walk));
                }
            }
            Layers::Legacy(table) => {
                let message = "this way to write layers is outdated";
                let help = Some("write a list: `- name: …`, `title: …`, `sources: […]`".to_owned());
                self.findings.add(Severity::Warning, at, "layers", message, help);
                for (name, entry) in table {
                    layers.extend(self.layer(&entry.value, Some(name), &format!("layers.{name}"), &mut walk));
                }
            }
        }
        let root = if single_root {
            layers.pop()
        } else if layers.is_empty() {
            None
        } else {
            Some(Layer {
                name: None,
                title: String::new(),
                at: origin("layers", at),
                sources: Vec::new(),
                layers,
                legend: None,
                resolution: None,
                dimensions: Vec::new(),
                nominal_scale: None,
                md: LayerMetadata::default(),
            })
        };
        LayerTree { root, tiled: walk.tiled, span }
    }

    /// A layer, `None` if there is nothing to show.
    fn layer(
        &mut self,
        raw: &Spanned<raw::Layer>,
        legacy_name: Option<&Text>,
        path: &str,
        walk: &mut Walk<'_>,
    ) -> Option<Layer> {
        let name = raw.name.as_ref().map(|name| Arc::clone(&name.value)).or_else(|| legacy_name.cloned());
        let title = raw.title.as_ref().map(|title| title.value.to_string()).unwrap_or_default();
        if let Some(name) = &name {
            let span = raw.name.as_ref().map_or(raw.span, |name| name.span);
            if walk.names.insert(Arc::clone(name), span).is_some() {
                let message = format!("there is more than one layer '{name}': the last one counts");
                self.findings.warning(span, path, message);
            }
        }
        let shown = name.as_deref().unwrap_or(&title).to_owned();
        let sources = self.layer_sources(raw, &shown, path, walk);
        let resolution = self.res_range(&raw.min_res, &raw.max_res, &raw.min_scale, &raw.max_scale, path);
        let nominal_scale = self.nominal_scale(raw, path);
        let mut md = raw.md.as_ref().map(|md| layer_metadata(md)).unwrap_or_default();
        md.max_age = raw.expires_hours.as_ref().and_then(|hours| {
            let age = Duration::try_from_secs_f64(hours.value * 3600.0).ok();
            if age.is_none() {
                let message = format!("{} is not a number of hours", hours.value);
                self.findings.error(hours.span, format!("{path}.expires_hours"), message);
            }
            age
        });
        let legend = raw.legendurl.as_ref().and_then(|url| self.legend_address(url, &format!("{path}.legendurl")));
        let dimensions = self.dimensions(raw, path);
        if let Some(name) = &name
            && let Some(caches) = self.tile_caches(raw, &sources, &shown, path, walk)
        {
            let layer = TileLayer {
                name: Arc::clone(name),
                title: title.clone(),
                at: origin(path, raw.span),
                sources: match &raw.tile_sources {
                    Some(list) => caches
                        .iter()
                        .map(|cache| SourceRef {
                            target: SourceTarget::Cache(Arc::clone(cache)),
                            origin: origin(format!("{path}.tile_sources"), list.span),
                        })
                        .collect(),
                    None => sources.clone(),
                },
                caches,
                dimensions: dimensions.clone(),
                has_legend: legend.is_some(),
                kvp_legend_url: text(&raw.wmts_kvp_legendurl),
                rest_legend_url: text(&raw.wmts_rest_legendurl),
                md: md.clone(),
            };
            walk.tiled.insert(Arc::clone(name), layer);
        }
        let mut members = Vec::new();
        for (index, member) in raw.layers.iter().flat_map(|layers| layers.value.iter()).enumerate() {
            members.extend(self.layer(member, None, &format!("{path}.layers[{index}]"), walk));
        }
        if sources.is_empty() && members.is_empty() && raw.legendurl.is_none() {
            return None;
        }
        Some(Layer {
            name,
            title,
            at: origin(path, raw.span),
            sources,
            layers: members,
            legend,
            resolution,
            nominal_scale,
            dimensions,
            md,
        })
    }

    fn nominal_scale(&mut self, raw: &raw::Layer, path: &str) -> Option<f64> {
        match (&raw.nominal_res, &raw.nominal_scale) {
            (Some(res), scale) => {
                if let Some(scale) = scale {
                    self.findings.warning(scale.span, path, "nominal_res is given: nominal_scale does not count");
                }
                let res = self.positive(res, &format!("{path}.nominal_res"))?;
                Some(res / METRES_PER_PIXEL)
            }
            (None, Some(scale)) => self.positive(scale, &format!("{path}.nominal_scale")),
            (None, None) => None,
        }
    }

    fn layer_sources(&mut self, raw: &raw::Layer, shown: &str, path: &str, walk: &Walk<'_>) -> Vec<SourceRef> {
        let mut refs = Vec::new();
        for (index, source) in raw.sources.iter().flat_map(|list| list.value.iter()).enumerate() {
            let at = origin(format!("{path}.sources[{index}]"), source.span);
            let unknown = |unknown: &str| format!("source/cache \"{unknown}\" not found");
            let Some(reference) = walk.sections.reference(source, Prefer::Cache, at, &unknown, self.findings) else {
                continue;
            };
            if let SourceTarget::Source { name, .. } = &reference.target {
                let written = walk.sections.sources.get(name).map(|entry| &entry.value.value);
                if matches!(written, Some(raw::Source::Tile(_) | raw::Source::OgcApiTiles(_))) {
                    let message = format!("source \"{name}\" of layer \"{shown}\" does not support un-tiled access");
                    let help = Some("make a cache of it, and use that in the layer".to_owned());
                    let path = Arc::clone(&reference.origin.path);
                    self.findings.add(Severity::Error, source.span, path, message, help);
                }
            }
            self.check_layers(&reference);
            refs.push(reference);
        }
        refs
    }

    /// The caches tile services take a layer from: `tile_sources`, or the only cache in `sources`.
    fn tile_caches(
        &mut self,
        raw: &raw::Layer,
        sources: &[SourceRef],
        shown: &str,
        path: &str,
        walk: &Walk<'_>,
    ) -> Option<Vec<Name>> {
        if let Some(list) = &raw.tile_sources {
            let mut caches = Vec::with_capacity(list.value.len());
            for (index, cache) in list.value.iter().enumerate() {
                match walk.sections.caches.get_key_value(&cache.value) {
                    Some((name, _)) => caches.push(Arc::clone(name)),
                    None => {
                        let message = format!("Tile source '{}' for layer '{shown}' not in cache section", cache.value);
                        let known = walk.sections.caches.keys().map(|name| &**name);
                        let help = raw::nearest(&cache.value, known).map(|near| format!("did you mean '{near}'?"));
                        let path = format!("{path}.tile_sources[{index}]");
                        self.findings.add(Severity::Error, cache.span, path, message, help);
                    }
                }
            }
            return (!caches.is_empty()).then_some(caches);
        }
        let mut cache = None;
        for reference in sources {
            match &reference.target {
                SourceTarget::Cache(_) if cache.is_some() => return None,
                SourceTarget::Cache(name) => cache = Some(Arc::clone(name)),
                SourceTarget::Source { name, .. } => match walk.sources.get(name).map(|source| &source.kind) {
                    Some(SourceKind::Debug) => {}
                    Some(SourceKind::Wms(wms)) if !wms.map => {}
                    _ => return None,
                },
            }
        }
        cache.map(|cache| vec![cache])
    }

    fn dimensions(&mut self, raw: &raw::Layer, path: &str) -> Vec<Dimension> {
        let written = |value: &raw::DimensionValue| value.0.python_text().map(|text| text.into_owned());
        let mut dimensions: Vec<Dimension> = Vec::new();
        for (name, entry) in raw.dimensions.iter().flat_map(|dimensions| &dimensions.value) {
            let path = format!("{path}.dimensions.{name}");
            let raw = &entry.value;
            if dimensions.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                self.findings.error(entry.key_span, path, format!("dimension '{name}' is there twice"));
                continue;
            }
            let values = raw.values.iter().flat_map(|values| values.value.iter());
            let values: Vec<String> = values.filter_map(|value| written(&value.value)).collect();
            if values.is_empty() {
                self.findings.error(raw.span, path, format!("dimension '{name}' has no values"));
                continue;
            }
            dimensions.push(Dimension {
                name: Arc::clone(name),
                at: origin(path, raw.span),
                values,
                default: raw.default.as_ref().and_then(|default| written(&default.value)),
                units: text(&raw.units),
                unit_symbol: text(&raw.unit_symbol),
                nearest_value: raw.nearest_value.as_ref().is_some_and(|nearest| nearest.value),
                send_default: raw.send_default.as_ref().is_some_and(|send| send.value),
            });
        }
        dimensions
    }
}

/// What the layers refer to, and what has been found on the way.
struct Walk<'w> {
    sections: Sections<'w>,
    sources: &'w IndexMap<Name, Source>,
    tiled: IndexMap<Name, TileLayer>,
    names: rustc_hash::FxHashMap<Name, Span>,
}

fn text(text: &Option<Spanned<Text>>) -> Option<String> {
    text.as_ref().map(|text| text.value.to_string())
}

fn layer_metadata(raw: &raw::LayerMetadata) -> LayerMetadata {
    let online = |list: &Option<Spanned<Vec<Spanned<raw::OnlineData>>>>| -> Vec<OnlineData> {
        let items = list.iter().flat_map(|list| list.value.iter());
        items.map(|item| OnlineData { url: text(&item.url), format: text(&item.format) }).collect()
    };
    LayerMetadata {
        abstract_: text(&raw.abstract_),
        keyword_list: keyword_lists(raw.keyword_list.as_ref()),
        attribution: raw.attribution.as_ref().map(|attribution| Attribution {
            title: text(&attribution.title),
            url: text(&attribution.url),
            logo: attribution.logo.as_ref().map(|logo| Logo {
                url: text(&logo.url),
                width: logo.width.as_ref().map(|width| width.value),
                height: logo.height.as_ref().map(|height| height.value),
                format: text(&logo.format),
            }),
        }),
        identifier: raw
            .identifier
            .iter()
            .flat_map(|list| list.value.iter())
            .map(|item| Identifier { url: text(&item.url), name: text(&item.name), value: text(&item.value.value) })
            .collect(),
        metadata: raw
            .metadata
            .iter()
            .flat_map(|list| list.value.iter())
            .map(|item| MetadataUrl { url: text(&item.url), type_: text(&item.type_), format: text(&item.format) })
            .collect(),
        data: online(&raw.data),
        feature_list: online(&raw.feature_list),
        max_age: None,
    }
}

/// Keyword lists as written.
pub(super) fn keyword_lists(raw: Option<&Spanned<Vec<Spanned<raw::KeywordList>>>>) -> Vec<KeywordList> {
    raw.iter()
        .flat_map(|list| list.value.iter())
        .map(|list| KeywordList {
            vocabulary: text(&list.vocabulary),
            keywords: super::sources::texts(list.keywords.as_ref()),
        })
        .collect()
}
