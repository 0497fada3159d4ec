//! The services, and the application that routes to them.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use mapproxy_config::checked::{self, OnSourceErrors, SourceKind};
use mapproxy_grid::{Bbox, Origin};
use mapproxy_map::render;

use super::Parts;
use super::explanations::info_kind;
use crate::app::Welcome;
use crate::documents::Documents;
use crate::services::Ows;
use crate::services::demo::{Demo, DemoOptions};
use crate::services::ogcapi::{ApiContact, ApiMetadata, OgcApi, OgcApiOptions};
use crate::services::tms::{Tms, TmsOptions};
use crate::services::wms::{self, Wms, WmsOptions};
use crate::services::wmts::{InfoFormat, TileTemplate, Wmts, WmtsKvp, WmtsOptions};
use crate::{App, MapLayer, Service, TileLayer};

/// The application; `None` where something could not be built, which has been told.
pub(super) fn app(parts: &Parts<'_>) -> Option<App> {
    let config = parts.config;
    let services = &config.services;
    let tile_layers = parts.tile_layers();
    let pictures = with_pictures(&tile_layers);
    let mut routes: HashMap<&'static str, Arc<dyn Service>> = HashMap::new();

    let wms = services.wms.as_ref().map(|wms| parts.wms(wms, &pictures));
    let wms = match wms {
        Some(options) => Some(options?),
        None => None,
    };
    let demo_wms = wms.clone();
    let root = wms.as_ref().map(|wms| Arc::clone(&wms.root));
    let wms = wms.map(|options| Arc::new(Wms::new(options)));
    let wmts = services.wmts.as_ref().map(|wmts| parts.wmts(wmts, &tile_layers));
    let wmts = match wmts {
        Some(wmts) => Some(Arc::new(wmts?)),
        None => None,
    };
    let ogcapi = services.ogcapi.as_ref().map(|ogcapi| parts.ogcapi(ogcapi, root, &pictures));
    let ogcapi = match ogcapi {
        Some(options) => Some(OgcApi::new(options?)),
        None => None,
    };
    let kml = services.kml.as_ref();
    let kml = kml.map(|kml| Arc::new(parts.tms(&kml.md, kml.use_grid_names, None, pictures.clone())));
    let demo_layers = if services.demo.is_some() { tile_layers.clone() } else { Vec::new() };
    let tms = services.tms.as_ref().map(|tms| {
        let origin = tms.origin_nw.then_some(Origin::UpperLeft);
        Arc::new(parts.tms(&tms.md, tms.use_grid_names, origin, tile_layers))
    });
    if let Some(tms) = &tms {
        routes.insert("tms", Arc::new(Arc::clone(tms)));
        routes.insert("tiles", Arc::new(Arc::clone(tms)));
    }
    if let Some(ogcapi) = ogcapi {
        routes.insert("ogcapi", Arc::new(ogcapi));
    }
    if let Some(kml) = &kml {
        routes.insert("kml", Arc::new(Arc::clone(kml)));
    }
    if let Some(wmts) = &wmts {
        routes.insert("wmts", Arc::new(Arc::clone(wmts)));
    }
    let kvp = wmts.as_ref().filter(|wmts| wmts.has_kvp());
    let kvp = kvp.map(|wmts| Arc::new(WmtsKvp(Arc::clone(wmts))) as Arc<dyn Service>);
    let has_wms = wms.is_some();
    let ows: Arc<dyn Service> = Arc::new(Ows::new(wms.map(|wms| wms as Arc<dyn Service>), kvp));
    routes.insert("service", Arc::clone(&ows));
    routes.insert("ows", Arc::clone(&ows));
    if has_wms {
        routes.insert("wms", ows);
    }
    if let Some(demo) = &services.demo {
        let demo = Demo::new(DemoOptions {
            metadata: demo.md.clone(),
            wms: demo_wms,
            wmts: wmts.clone(),
            tms,
            kml,
            layers: demo_layers,
            services: routes.clone(),
            background: demo.background.clone(),
            gate: parts.extras.gate.clone(),
        });
        routes.insert("demo", Arc::new(demo));
    }

    let origin = config.globals.access_control_allow_origin.as_deref().filter(|origin| !origin.is_empty());
    let origin = match origin.map(HeaderValue::try_from) {
        Some(Ok(origin)) => Some(origin),
        Some(Err(_)) => {
            let at = mapproxy_config::Origin::new(
                "globals.http.access_control_allow_origin",
                mapproxy_config::Span::default(),
            );
            return parts.error(&at, "not a header value: use an origin such as https://maps.example.org, or *");
        }
        None => None,
    };
    let proxies = parts.proxies()?;
    let observer = parts.extras.observer.clone();
    let welcome = Welcome { has_demo: services.demo.is_some() };
    let documents = Documents::new(config.globals.compression);
    Some(App::new(routes, origin, proxies, observer, welcome, parts.extras.gate.clone(), documents))
}

/// The layers without tiles that are no pictures.
fn with_pictures(layers: &[TileLayer]) -> Vec<TileLayer> {
    let only_pictures = |layer: &TileLayer| {
        let sets: Vec<_> = layer.tile_sets.iter().filter(|set| set.data_format().is_none()).cloned().collect();
        (!sets.is_empty()).then(|| TileLayer { tile_sets: sets, ..layer.clone() })
    };
    layers.iter().filter_map(only_pictures).collect()
}

impl Parts<'_> {
    fn wms(&self, config: &checked::Wms, tile_layers: &[TileLayer]) -> Option<WmsOptions> {
        let root = self.root_layer();
        let srs: Option<Vec<_>> = config.srs.iter().map(|code| self.srs(code, &config.at)).collect();
        let bbox_srs: Option<Vec<_>> = config
            .bbox_srs
            .iter()
            .map(|bbox_srs| {
                let bbox = bbox_srs.bbox.map(|[min_x, min_y, max_x, max_y]| Bbox::new(min_x, min_y, max_x, max_y));
                Some(wms::BboxSrs { srs: self.srs(&bbox_srs.srs, &config.at)?, bbox })
            })
            .collect();
        let image_formats = config.image_formats.iter();
        Some(WmsOptions {
            root: Arc::new(root?),
            srs: srs?,
            image_formats: image_formats.map(|(name, image)| (name.to_string(), self.image_options(image))).collect(),
            bbox_srs: bbox_srs?,
            max_output_pixels: Some(config.max_output_pixels),
            versions: config.versions.iter().map(|version| wms_version(*version)).collect(),
            strict: config.strict,
            on_source_errors: on_source_errors(config.on_source_errors),
            concurrent_layer_renderer: config.concurrent_layer_renderer as usize,
            attribution: config.attribution.clone(),
            metadata: config.md.clone(),
            inspire: config.inspire.clone().map(Arc::new),
            forward_params: self.forwarded_params(),
            featureinfo_types: config.featureinfo_types.iter().map(|kind| info_kind(*kind)).collect(),
            featureinfo_transforms: self.service_transforms(&config.featureinfo_xslt),
            max_tile_age: self.config.globals.tile_max_age,
            hide_error_details: self.config.globals.http.hide_error_details,
            tile_layers: tile_layers.iter().cloned().map(Arc::new).collect(),
            gate: self.extras.gate.clone(),
            decorators: self.extras.decorators.clone(),
        })
    }

    /// `root`: the layer tree, if it has been built.
    fn ogcapi(
        &self,
        config: &checked::OgcApi,
        root: Option<Arc<MapLayer>>,
        tile_layers: &[TileLayer],
    ) -> Option<OgcApiOptions> {
        let root = match root {
            Some(root) => root,
            None => Arc::new(self.root_layer()?),
        };
        let mut default_dataset_layers = Vec::new();
        for (name, at) in &config.default_dataset_layers {
            if !root.has_named(name) {
                return self.error(at, format!("there is no layer '{name}' to show"));
            }
            default_dataset_layers.push(name.to_string());
        }
        let map_srs: Option<Vec<_>> = config.map_srs.iter().map(|code| self.srs(code, &config.at)).collect();
        let grids = self.config.grids.keys().filter_map(|name| self.grid(name)).collect();
        let image_formats = config.image_formats.iter();
        Some(OgcApiOptions {
            root,
            tile_layers: tile_layers.to_vec(),
            grids,
            maps: config.maps,
            tiles: config.tiles,
            map_srs: map_srs?,
            image_formats: image_formats.map(|(name, image)| (name.to_string(), self.image_options(image))).collect(),
            default_dataset_layers,
            attribution: config.attribution.clone(),
            on_source_errors: on_source_errors(config.on_source_errors),
            concurrent_layer_renderer: config.concurrent_layer_renderer as usize,
            max_output_pixels: config.max_output_pixels,
            metadata: api_metadata(&config.md),
            max_age: self.config.globals.tile_max_age,
            hide_error_details: self.config.globals.http.hide_error_details,
            gate: self.extras.gate.clone(),
            decorators: self.extras.decorators.clone(),
        })
    }

    /// Names that any source forwards.
    fn forwarded_params(&self) -> Vec<String> {
        let mut names = Vec::new();
        for source in self.config.sources.values() {
            if let SourceKind::Wms(wms) = &source.kind {
                names.extend(wms.forward_req_params.iter().cloned());
            }
        }
        fn add_dimensions(layer: &checked::Layer, names: &mut Vec<String>) {
            names.extend(layer.dimensions.iter().map(|dimension| dimension.name.to_string()));
            layer.layers.iter().for_each(|layer| add_dimensions(layer, names));
        }
        if let Some(root) = &self.config.root_layer {
            add_dimensions(root, &mut names);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn wmts(&self, config: &checked::Wmts, tile_layers: &[TileLayer]) -> Option<Wmts> {
        let restful = match (config.restful, &config.restful_template) {
            (false, _) => None,
            (true, template) => {
                let template = template.as_deref().unwrap_or(TileTemplate::DEFAULT);
                Some(self.told(&config.at, TileTemplate::new(template))?)
            }
        };
        Some(Wmts::new(WmtsOptions {
            layers: tile_layers.to_vec(),
            metadata: config.md.clone(),
            kvp: config.kvp,
            restful_info: match &restful {
                Some(_) => {
                    let template = config.restful_featureinfo_template.as_deref();
                    let template = template.unwrap_or(TileTemplate::INFO_DEFAULT);
                    Some(self.told(&config.at, TileTemplate::for_info(template))?)
                }
                None => None,
            },
            restful,
            info_formats: config
                .featureinfo_formats
                .iter()
                .map(|(media_type, suffix)| InfoFormat { media_type: media_type.clone(), suffix: suffix.clone() })
                .collect(),
            max_age: self.config.globals.tile_max_age,
            hide_error_details: self.config.globals.http.hide_error_details,
            gate: self.extras.gate.clone(),
            decorators: self.extras.decorators.clone(),
        }))
    }

    fn tms(
        &self,
        md: &checked::ServiceMetadata,
        use_grid_names: bool,
        tiles_origin: Option<Origin>,
        layers: Vec<TileLayer>,
    ) -> Tms {
        Tms::new(TmsOptions {
            layers,
            metadata: md.clone(),
            use_grid_names,
            tiles_origin,
            max_age: self.config.globals.tile_max_age,
            hide_error_details: self.config.globals.http.hide_error_details,
            gate: self.extras.gate.clone(),
            decorators: self.extras.decorators.clone(),
        })
    }
}

fn on_source_errors(config: OnSourceErrors) -> render::OnSourceErrors {
    match config {
        OnSourceErrors::Notify => render::OnSourceErrors::Notify,
        OnSourceErrors::Raise => render::OnSourceErrors::Raise,
    }
}

fn api_metadata(md: &checked::OgcApiMetadata) -> ApiMetadata {
    ApiMetadata {
        title: md.title.clone(),
        description: md.description.clone(),
        url: md.url.clone(),
        terms_of_service: md.terms_of_service.clone(),
        keywords: md.keywords.clone(),
        contact: md.contact.as_ref().map(|contact| ApiContact {
            name: contact.name.clone(),
            email: contact.email.clone(),
            url: contact.url.clone(),
            address: [&contact.address, &contact.postcode, &contact.city, &contact.state, &contact.country]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            phone: contact.phone.clone(),
            fax: contact.fax.clone(),
            instructions: contact.instructions.clone(),
        }),
        license: md.license.clone(),
        provider: md.provider.clone(),
    }
}

fn wms_version(version: checked::WmsVersion) -> wms::WmsVersion {
    match version {
        checked::WmsVersion::V1_0_0 => wms::WmsVersion::V1_0_0,
        checked::WmsVersion::V1_1_0 => wms::WmsVersion::V1_1_0,
        checked::WmsVersion::V1_1_1 => wms::WmsVersion::V1_1_1,
        checked::WmsVersion::V1_3_0 => wms::WmsVersion::V1_3_0,
    }
}
