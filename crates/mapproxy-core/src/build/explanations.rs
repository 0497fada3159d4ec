//! Who knows more of sources than their maps: feature info and legends, also of what caches are made of.

use std::collections::HashSet;
use std::sync::Arc;

use mapproxy_cache::{CachedLegend, Permissions};
use mapproxy_client::HttpClient;
use mapproxy_config::Origin;
use mapproxy_config::checked::{self, InfoType, Source, SourceKind, SourceRef, SourceTarget, Stylesheet};
use mapproxy_map::info::{InfoKind, InfoSource, InfoTransform};
use mapproxy_map::legend::LegendSource;
use mapproxy_map::wrap::Transformed;
use mapproxy_sources::{
    self as sources, MAX_INFO_BYTES, StaticLegend, WmsInfo, WmsInfoOptions, WmsLegend, WmsLegendOptions,
};

use super::sources::{resolutions, version, wms_method};
use super::{CustomSource, Parts};
use crate::xslt::{self, Xslt};

impl Parts<'_> {
    /// Who is asked about points of what `references` name, in order. A source that several caches share is asked once.
    pub(super) fn info_sources(&self, references: &[SourceRef]) -> Vec<Arc<dyn InfoSource>> {
        self.leaves(references).filter_map(|(source, layers)| self.info_source(source, layers)).collect()
    }

    /// The legends of what `references` name, in order.
    pub(super) fn legend_sources(&self, references: &[SourceRef]) -> Vec<Arc<dyn LegendSource>> {
        self.leaves(references).filter_map(|(source, layers)| self.legend_source(source, layers)).collect()
    }

    /// The sources behind references, caches followed to what they are made of.
    fn leaves<'p>(&'p self, references: &'p [SourceRef]) -> impl Iterator<Item = (&'p Source, Option<&'p [String]>)> {
        let mut leaves = Vec::new();
        let mut seen = HashSet::new();
        self.add_leaves(references, &mut seen, &mut leaves);
        leaves.into_iter()
    }

    fn add_leaves<'p>(
        &'p self,
        references: &'p [SourceRef],
        seen: &mut HashSet<(&'p str, Option<&'p [String]>)>,
        leaves: &mut Vec<(&'p Source, Option<&'p [String]>)>,
    ) {
        for reference in references {
            match &reference.target {
                // There are no cycles.
                SourceTarget::Cache(name) => {
                    // Of bands of pictures, nothing is known.
                    if let Some(cache) = self.config.caches.get(name).filter(|cache| cache.bands.is_none()) {
                        self.add_leaves(&cache.sources, seen, leaves);
                    }
                }
                SourceTarget::Source { name, layers } => {
                    if let Some(source) = self.config.sources.get(name)
                        && seen.insert((name, layers.as_deref()))
                    {
                        leaves.push((source, layers.as_deref()));
                    }
                }
            }
        }
    }

    fn info_source(&self, config: &Source, layers: Option<&[String]>) -> Option<Arc<dyn InfoSource>> {
        // What is wrong with it has been told by then.
        let coverage = || self.coverage(config.coverage.as_ref()).ok();
        let wms = match &config.kind {
            SourceKind::Wms(wms) => wms,
            SourceKind::Arcgis(arcgis) => return self.arcgis_info(config, arcgis, coverage()?),
            SourceKind::Custom => {
                let factory = self.extras.infos.get(&*config.name)?;
                let wanted = CustomSource {
                    name: Arc::clone(&config.name),
                    coverage: coverage()?,
                    resolutions: resolutions(&config.resolution),
                };
                return self.told(&config.at, (factory.0)(&wanted));
            }
            SourceKind::Tile(_)
            | SourceKind::Raster(_)
            | SourceKind::OgcApiMaps(_)
            | SourceKind::OgcApiTiles(_)
            | SourceKind::Mapnik(_)
            | SourceKind::Debug => return None,
        };
        let info = wms.info.as_ref()?;
        let (url, client) = self.wms_client(wms, Some(MAX_INFO_BYTES), &config.at)?;
        let options = WmsInfoOptions {
            name: Arc::clone(&config.name),
            url,
            params: with_layers(&wms.params, layers),
            version: version(wms.version),
            method: wms_method(wms),
            supported_srs: self.supported_srs(&wms.supported_srs, &config.at)?,
            forward_params: wms.forward_req_params.clone(),
            coverage: coverage()?,
            info_format: info.format.clone(),
            query_layers: info.query_layers.clone(),
        };
        let source: Arc<dyn InfoSource> = Arc::new(WmsInfo::new(options, client));
        let Some(stylesheet) = &info.xslt else { return Some(source) };
        let output = info.out_format.as_ref().or(info.format.as_ref());
        let is_html = output.and_then(|name| InfoKind::of(name)) == Some(InfoKind::Html);
        let output = if is_html { InfoKind::Html } else { InfoKind::Xml };
        let transform = self.transform(stylesheet, Arc::clone(&config.name), output)?;
        Some(Arc::new(Transformed::new(source, transform)))
    }

    /// What a stylesheet does. Where the program for it is missing, that is told; all else works without it.
    fn transform(&self, config: &Stylesheet, owner: Arc<str>, output: InfoKind) -> Option<Arc<dyn InfoTransform>> {
        let xslt = Xslt::new(config.path.clone(), owner, output);
        // A source may be used by many layers.
        let is_new = self.stylesheets.borrow_mut().insert((config.path.clone(), config.at.path.to_string()));
        if is_new {
            self.told(&config.at, xslt.check())?;
            if !xslt.has_program() {
                self.warning(&config.at, xslt::MISSING);
            }
        }
        Some(Arc::new(xslt))
    }

    /// `featureinfo_xslt` of the WMS.
    pub(super) fn service_transforms(
        &self,
        stylesheets: &[(InfoType, Stylesheet)],
    ) -> Vec<(InfoKind, Arc<dyn InfoTransform>)> {
        let transform = |(kind, stylesheet): &(InfoType, Stylesheet)| {
            let kind = info_kind(*kind);
            Some((kind, self.transform(stylesheet, "services.wms".into(), kind)?))
        };
        stylesheets.iter().filter_map(transform).collect()
    }

    fn legend_source(&self, config: &Source, layers: Option<&[String]>) -> Option<Arc<dyn LegendSource>> {
        let SourceKind::Wms(wms) = &config.kind else { return None };
        match wms.legend.as_ref()? {
            checked::WmsLegend::Static(address) => {
                let client = self.client(&wms.http, wms.concurrent_requests, &config.at)?;
                Some(self.static_legend(&config.name, address, client))
            }
            checked::WmsLegend::Graphic => {
                let supports_png = wms.supported_formats.iter().any(|format| format.ends_with("png"));
                let format = wms.supported_formats.first().filter(|_| !supports_png);
                let (url, client) = self.wms_client(wms, None, &config.at)?;
                let options = WmsLegendOptions {
                    name: Arc::clone(&config.name),
                    url,
                    params: wms.params.clone(),
                    layers: layers.map_or_else(|| wms.layers.clone(), <[String]>::to_vec),
                    version: version(wms.version),
                    method: wms_method(wms),
                    format: format.map(|name| if name.contains('/') { name.clone() } else { format!("image/{name}") }),
                };
                let legend = WmsLegend::new(options, client);
                let identifier = legend.identifier();
                Some(self.kept_legend(Arc::new(legend), identifier))
            }
        }
    }

    /// `legendurl` of a layer.
    pub(super) fn layer_legend(
        &self,
        name: &str,
        address: &checked::LegendAddress,
        at: &Origin,
    ) -> Option<Arc<dyn LegendSource>> {
        let client = self.client(&self.config.globals.http, None, at)?;
        Some(self.static_legend(&name.into(), address, client))
    }

    fn static_legend(
        &self,
        name: &Arc<str>,
        address: &checked::LegendAddress,
        client: Arc<dyn HttpClient>,
    ) -> Arc<dyn LegendSource> {
        let legend = |address| Arc::new(StaticLegend::new(Arc::clone(name), address, client));
        match address {
            checked::LegendAddress::Url(url) => {
                self.kept_legend(legend(sources::LegendAddress::Url(url.clone())), url.clone())
            }
            // It is on disk already.
            checked::LegendAddress::File(path) => legend(sources::LegendAddress::File(path.clone())),
        }
    }

    fn kept_legend(&self, legend: Arc<dyn LegendSource>, identifier: String) -> Arc<dyn LegendSource> {
        let globals = &self.config.globals;
        let permissions = Permissions { directory: globals.permissions.directories, file: globals.permissions.files };
        Arc::new(CachedLegend::new(legend, identifier, globals.cache_base_dir.join("legends"), permissions))
    }
}

pub(super) fn info_kind(kind: InfoType) -> InfoKind {
    match kind {
        InfoType::Text => InfoKind::Text,
        InfoType::Html => InfoKind::Html,
        InfoType::Xml => InfoKind::Xml,
        InfoType::Json => InfoKind::Json,
    }
}

/// The parameters with the layers of a tagged reference, if it is one.
pub(super) fn with_layers(params: &[(String, String)], layers: Option<&[String]>) -> Vec<(String, String)> {
    let mut params = params.to_vec();
    if let Some(layers) = layers {
        let value = layers.join(",");
        match params.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("layers")) {
            Some((_, all)) => *all = value,
            None => params.push(("layers".to_owned(), value)),
        }
    }
    params
}
