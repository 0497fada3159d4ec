//! `services.ogcapi`.

use std::sync::Arc;

use super::services::{self, text};
use super::{Resolver, origin};
use crate::checked::{OgcApi, OgcApiContact, OgcApiMetadata};
use crate::position::Spanned;
use crate::raw;
use crate::yaml::{Node, Value};

const PATH: &str = "services.ogcapi";
const DEFAULT_SRS: [&str; 2] = ["EPSG:4326", "EPSG:3857"];
const DEFAULT_FORMATS: [&str; 2] = ["image/png", "image/jpeg"];

impl Resolver<'_> {
    pub(super) fn ogcapi_service(&mut self, raw: &Spanned<raw::OgcApi>) -> Option<OgcApi> {
        let global = self.raw_globals.ogcapi.as_ref().map(|ogcapi| &ogcapi.value);
        macro_rules! option {
            ($name:ident) => {
                raw.$name.as_ref().or_else(|| global.and_then(|ogcapi| ogcapi.$name.as_ref()))
            };
        }
        let map_srs: Vec<Arc<str>> = match option!(map_srs) {
            Some(list) => services::srs_codes(list),
            None => DEFAULT_SRS.into_iter().map(Arc::from).collect(),
        };
        if let (true, Some(list)) = (map_srs.is_empty(), option!(map_srs)) {
            self.findings.error(list.span, format!("{PATH}.map_srs"), "at least one SRS is needed");
            return None;
        }
        let formats = option!(image_formats);
        let image_formats = self.image_formats(formats, &DEFAULT_FORMATS, PATH);
        if let (true, Some(list)) = (image_formats.is_empty(), formats) {
            self.findings.error(list.span, format!("{PATH}.image_formats"), "at least one format is needed");
            return None;
        }
        let on_source_errors = self.on_source_errors(option!(on_source_errors), PATH);
        let max_output_pixels = self.max_output_pixels(option!(max_output_pixels), PATH)?;
        let concurrent_layer_renderer = self.concurrent_layer_renderer(option!(concurrent_layer_renderer), PATH)?;
        let dataset = option!(default_dataset_layers);
        let default_dataset_layers = dataset.iter().flat_map(|list| list.value.iter().enumerate());
        let default_dataset_layers = default_dataset_layers
            .map(|(index, name)| {
                let at = origin(format!("{PATH}.default_dataset_layers[{index}]"), name.span);
                (Arc::clone(&name.value), at)
            })
            .collect();
        let md = option!(md).map(|md| metadata(&md.value)).unwrap_or_default();
        Some(OgcApi {
            at: origin(PATH, raw.span),
            maps: option!(enable_maps).is_none_or(|enabled| enabled.value),
            tiles: option!(enable_tiles).is_none_or(|enabled| enabled.value),
            map_srs,
            image_formats,
            attribution: option!(attribution).and_then(|attribution| text(&attribution.value.text)),
            on_source_errors,
            max_output_pixels,
            concurrent_layer_renderer,
            default_dataset_layers,
            md,
        })
    }
}

fn metadata(raw: &raw::OgcApiMetadata) -> OgcApiMetadata {
    let identification = raw.identification.as_ref().map(|identification| &identification.value);
    OgcApiMetadata {
        title: identification.and_then(|about| text(&about.title)),
        description: identification.and_then(|about| text(&about.description)),
        url: identification.and_then(|about| text(&about.url)),
        terms_of_service: identification.and_then(|about| text(&about.terms_of_service)),
        keywords: identification
            .and_then(|about| about.keywords.as_ref())
            .map(|node| keywords(&node.value))
            .unwrap_or_default(),
        contact: raw.contact.as_ref().map(|contact| OgcApiContact {
            name: text(&contact.name),
            email: text(&contact.email),
            url: text(&contact.url),
            address: text(&contact.address),
            city: text(&contact.city),
            state: text(&contact.stateorprovince),
            postcode: text(&contact.postalcode),
            country: text(&contact.country),
            phone: text(&contact.phone),
            fax: text(&contact.fax),
            instructions: text(&contact.instructions),
        }),
        license: raw.license.as_ref().and_then(|license| Some((text(&license.name)?, text(&license.url)))),
        provider: raw.provider.as_ref().map(|provider| (text(&provider.name), text(&provider.url))),
    }
}

/// One word, a list of them, or lists by language.
fn keywords(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Sequence(items) => items.iter().flat_map(keywords).collect(),
        Value::Mapping(entries) => entries.iter().flat_map(|(_, value)| keywords(value)).collect(),
        _ => node.python_text().map(|text| text.into_owned()).into_iter().collect(),
    }
}
