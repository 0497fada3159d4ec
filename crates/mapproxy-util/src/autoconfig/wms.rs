//! Of the capabilities of a WMS.

use serde_json::{Map, Value, json};

use super::{Found, Layer};
use crate::capabilities::wms::{self, Unreadable, Version, WmsCapabilities};
use crate::eprintln;

/// A source and a layer for each of its layers.
pub(super) fn read(text: &str) -> Result<Found, String> {
    let capabilities = WmsCapabilities::parse(text).map_err(|error| match error {
        Unreadable::NotXml(reason) => format!("no XML document: {reason}"),
        Unreadable::Other(reason) => format!("no capabilities of a WMS: {reason}"),
    })?;
    let url = capabilities.url.as_deref().ok_or("the capabilities do not say where maps are asked for (GetMap)")?;
    for fault in &capabilities.faults {
        eprintln(format_args!("WARN: the capabilities have a box that cannot be used: {fault}"));
    }
    let mut found = Found::default();
    let mut md = Map::new();
    if let Some(title) = &capabilities.title {
        md.insert("title".to_owned(), title.as_str().into());
    }
    found.services.insert("wms".to_owned(), json!({ "md": md }));
    let root = layer(&capabilities.root, url, capabilities.version, &mut found.sources);
    found.layers.push(root);
    Ok(found)
}

fn layer(layer_of: &wms::Layer, url: &str, version: Version, sources: &mut Map<String, Value>) -> Layer {
    let source = layer_of.name.as_ref().map(|name| {
        let key = format!("{name}_wms");
        sources.insert(key.clone(), source(layer_of, name, url, version));
        key
    });
    Layer {
        name: layer_of.name.clone(),
        title: layer_of.title.clone().or_else(|| layer_of.name.clone()).unwrap_or_default(),
        description: layer_of.description.clone(),
        source,
        cache: None,
        layers: layer_of.layers.iter().map(|inner| layer(inner, url, version, sources)).collect(),
    }
}

fn source(layer: &wms::Layer, name: &str, url: &str, version: Version) -> Value {
    let mut request = json!({ "url": url, "layers": name });
    if !layer.is_opaque {
        request["transparent"] = true.into();
    }
    let mut options = Map::new();
    if version != Version::V111 {
        options.insert("version".to_owned(), version.as_str().into());
    }
    if layer.is_queryable {
        options.insert("featureinfo".to_owned(), true.into());
    }
    if let Some(legend) = &layer.legend {
        options.insert("legendurl".to_owned(), legend.as_str().into());
    }
    let mut source = json!({ "type": "wms", "req": request });
    if !layer.srs.is_empty() {
        source["supported_srs"] = layer.srs.iter().cloned().collect();
    }
    if !options.is_empty() {
        source["wms_opts"] = options.into();
    }
    if let Some(bounds) = layer.bounds {
        source["coverage"] = json!({ "bbox": bounds, "srs": "EPSG:4326" });
    }
    if let Some((coarsest, finest)) = layer.resolutions {
        // The larger number is MapProxy's `min_res`.
        if coarsest > 0.0 {
            source["min_res"] = coarsest.into();
        }
        if finest > 0.0 {
            source["max_res"] = finest.into();
        }
    }
    source
}
