//! Sources.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Grids, Resolver, origin};
use crate::check::{self, Reachable, Sections};
use crate::checked::{
    Color, LegendAddress, Name, OnError, RasterSource, ResRange, Source, SourceKind, Stylesheet, TileSource, WmsInfo,
    WmsLegend, WmsSource, WmsVersion,
};
use crate::position::{Span, Spanned};
use crate::raw::{self, Numbers, Table, Text};
use crate::yaml::{Key, Node, Value};

/// Metres per pixel at scale 1: the standard pixel of OGC is 0.28 mm wide.
pub(super) const METRES_PER_PIXEL: f64 = 0.000_28;

impl Resolver<'_> {
    /// All sources that can be built.
    pub(super) fn sources(
        &mut self,
        sections: Sections<'_>,
        reachable: &Reachable,
        grids: &Grids,
    ) -> IndexMap<Name, Source> {
        let mut sources = IndexMap::with_capacity(sections.sources.len());
        for (name, entry) in sections.sources {
            let used = reachable.sources.contains(name);
            let source = self.item(used, |resolver| resolver.source(name, &entry.value, grids));
            if let Some(source) = source {
                sources.insert(Arc::clone(name), source);
            }
        }
        sources
    }

    fn source(&mut self, name: &Name, raw: &Spanned<raw::Source>, grids: &Grids) -> Option<Source> {
        let path = format!("sources.{name}");
        let common = raw.common();
        let kind = match &raw.value {
            raw::Source::Wms(source) => self.wms(name, source, &path).map(SourceKind::Wms),
            raw::Source::Mapserver(source) => self.mapserver(name, source, &path).map(SourceKind::Wms),
            raw::Source::Arcgis(source) => self.arcgis(source, &path).map(SourceKind::Arcgis),
            raw::Source::OgcApiMaps(source) => self.ogcapi_maps(source, &path).map(SourceKind::OgcApiMaps),
            raw::Source::OgcApiTiles(source) => self.ogcapi_tiles(source, &path).map(SourceKind::OgcApiTiles),
            raw::Source::Mapnik(source) => self.mapnik(source, &path).map(SourceKind::Mapnik),
            raw::Source::Tile(source) => self.tile(name, source, grids, &path).map(SourceKind::Tile),
            raw::Source::Raster(source) => self.raster(source, &path).map(SourceKind::Raster),
            raw::Source::Debug(_) => Some(SourceKind::Debug),
            raw::Source::Custom(_) => {
                if let Some(limit) = &common.concurrent_requests {
                    let message = "custom sources limit their requests themselves";
                    self.findings.error(limit.span, format!("{path}.concurrent_requests"), message);
                }
                Some(SourceKind::Custom)
            }
        };
        let coverage = match &common.coverage {
            Some(coverage) => self.coverage(coverage, &format!("{path}.coverage")),
            None => Ok(None),
        };
        let resolution = self.res_range(&common.min_res, &common.max_res, &common.min_scale, &common.max_scale, &path);
        Some(Source {
            name: Arc::clone(name),
            at: origin(path, raw.span),
            coverage: coverage.ok()?,
            resolution: resolution.unwrap_or_default(),
            seed_only: common.seed_only.as_ref().is_some_and(|seed_only| seed_only.value),
            kind: kind?,
        })
    }

    /// A range of resolutions, `None` if none is given. Resolutions count, scales only without them.
    pub(super) fn res_range(
        &mut self,
        min_res: &Option<Spanned<f64>>,
        max_res: &Option<Spanned<f64>>,
        min_scale: &Option<Spanned<f64>>,
        max_scale: &Option<Spanned<f64>>,
        path: &str,
    ) -> Option<ResRange> {
        let (coarse, fine, factor, names) = if min_res.is_some() || max_res.is_some() {
            if let Some(scale) = min_scale.as_ref().or(max_scale.as_ref()) {
                self.findings.warning(scale.span, path, "min_res and max_res are given: the scales do not count");
            }
            (min_res, max_res, 1.0, ["min_res", "max_res"])
        } else {
            (max_scale, min_scale, METRES_PER_PIXEL, ["max_scale", "min_scale"])
        };
        let [coarse_name, fine_name] = names;
        let min = match coarse {
            Some(value) => Some(self.positive(value, &format!("{path}.{coarse_name}"))?),
            None => None,
        };
        let max = match fine {
            Some(value) if value.value == 0.0 => None,
            Some(value) => Some(self.positive(value, &format!("{path}.{fine_name}"))?),
            None => None,
        };
        if let (Some(min), Some(max), Some(at)) = (min, max, fine)
            && min <= max
        {
            let message = format!("{coarse_name} ({min}) has to be greater than {fine_name} ({max})");
            self.findings.error(at.span, path, message);
            return None;
        }
        let range = ResRange { min_res: min.map(|res| res * factor), max_res: max.map(|res| res * factor) };
        (!range.is_unlimited()).then_some(range)
    }

    fn wms(&mut self, name: &Name, raw: &raw::WmsSource, path: &str) -> Option<WmsSource> {
        let req = raw.req.as_ref()?;
        let written = Written {
            params: &req.params,
            span: req.span,
            options: raw.wms_opts.as_ref(),
            image: raw.image.as_ref(),
            supported_formats: raw.supported_formats.as_ref(),
            supported_srs: raw.supported_srs.as_ref(),
            forward_req_params: raw.forward_req_params.as_ref(),
            http: raw.http.as_ref(),
            concurrent_requests: raw.common.concurrent_requests.as_ref(),
            on_error: raw.on_error.as_ref(),
        };
        let source = self.wms_of(name, &written, path);
        let url = req.url.as_ref()?.value.to_string();
        Some(WmsSource { url, ..source? })
    }

    /// A Web Map Service without an address.
    pub(super) fn wms_of(&mut self, name: &Name, raw: &Written<'_>, path: &str) -> Option<WmsSource> {
        let options = raw.options;
        let version = match options.and_then(|options| options.version.as_ref()) {
            None => Some(WmsVersion::V1_1_1),
            Some(version) => self.wms_version(version, &format!("{path}.wms_opts.version")),
        };
        let info = options.and_then(|options| self.wms_info(options, &format!("{path}.wms_opts"))).map(Box::new);
        let legend = options.and_then(|options| self.wms_legend(options, &format!("{path}.wms_opts")));
        let params = self.request_params(raw.params, path);
        let format = param(raw.params, "format").and_then(Node::as_str).filter(|format| format.starts_with("image/"));
        let image = self.source_image(raw.image, is_transparent(raw.params), format, path);
        let http = self.http(raw.http, &format!("{path}.http"));
        let concurrent_requests = self.concurrent_requests(raw.concurrent_requests, raw.http, path);
        let on_error = self.on_error(raw.on_error, path);
        let (params, layers) = params?;
        if layers.is_empty() && !params.iter().any(|(key, _)| matches!(&**key, "sld" | "sld_body")) {
            self.without_layers.insert(Arc::clone(name), raw.span);
        }
        Some(WmsSource {
            url: String::new(),
            program: None,
            params,
            layers,
            version: version?,
            map: options.and_then(|options| options.map.as_ref()).is_none_or(|map| map.value),
            image,
            supported_formats: texts(raw.supported_formats),
            supported_srs: texts(raw.supported_srs),
            forward_req_params: texts(raw.forward_req_params),
            http,
            concurrent_requests,
            on_error: on_error?,
            info,
            legend,
        })
    }

    fn wms_info(&mut self, raw: &raw::WmsOptions, path: &str) -> Option<WmsInfo> {
        let text = |text: &Option<Spanned<Text>>| text.as_ref().map(|text| text.value.to_string());
        let is_on = raw.featureinfo.as_ref().is_some_and(|info| info.value);
        if let Some(format) = raw.featureinfo_out_format.as_ref().filter(|_| raw.featureinfo_xslt.is_none()) {
            let message = "featureinfo_out_format says what featureinfo_xslt makes, and there is none";
            self.findings.warning(format.span, format!("{path}.featureinfo_out_format"), message);
        }
        let xslt = raw.featureinfo_xslt.as_ref().filter(|_| is_on);
        let xslt = xslt.map(|file| self.stylesheet(file, format!("{path}.featureinfo_xslt")));
        is_on.then(|| WmsInfo {
            format: text(&raw.featureinfo_format),
            query_layers: text(&raw.query_layers),
            xslt,
            out_format: text(&raw.featureinfo_out_format),
        })
    }

    /// A stylesheet, to be read by whoever uses it.
    pub(super) fn stylesheet(&mut self, file: &Spanned<Text>, path: impl Into<Arc<str>>) -> Stylesheet {
        let at = origin(path, file.span);
        let path = self.path(&file.value);
        self.files.push(path.clone());
        Stylesheet { path, at }
    }

    fn wms_legend(&mut self, raw: &raw::WmsOptions, path: &str) -> Option<WmsLegend> {
        match &raw.legendurl {
            Some(url) => self.legend_address(url, &format!("{path}.legendurl")).map(WmsLegend::Static),
            None => raw.legendgraphic.as_ref().filter(|legend| legend.value).map(|_| WmsLegend::Graphic),
        }
    }

    /// `legendurl`: on a server or on disk.
    pub(super) fn legend_address(&mut self, url: &Spanned<Text>, path: &str) -> Option<LegendAddress> {
        if let Some(file) = url.value.strip_prefix("file://") {
            return Some(LegendAddress::File(self.path(file)));
        }
        if url.value.starts_with("http://") || url.value.starts_with("https://") {
            return Some(LegendAddress::Url(url.value.to_string()));
        }
        let message = format!("'{}' is no address of a legend: http://, https:// or file:// is needed", url.value);
        self.findings.error(url.span, path, message);
        None
    }

    pub(super) fn wms_version(&mut self, version: &Spanned<Text>, path: &str) -> Option<WmsVersion> {
        let parsed = WmsVersion::parse(&version.value);
        if parsed.is_none() {
            let message = format!("unknown WMS version '{}': 1.0.0, 1.1.0, 1.1.1 and 1.3.0 are known", version.value);
            self.findings.error(version.span, path, message);
        }
        parsed
    }

    /// Parameters as they are sent, and the layers among them.
    #[expect(clippy::type_complexity, reason = "named by the fields it goes to")]
    pub(super) fn request_params(
        &mut self,
        written: &[(Key, Node)],
        path: &str,
    ) -> Option<(Vec<(String, String)>, Vec<String>)> {
        let mut params = Vec::with_capacity(written.len());
        let mut layers = Vec::new();
        let mut sld_body = None;
        for (key, node) in written {
            let path = format!("{path}.req.{}", key.text);
            let value = match &node.value {
                Value::Null => {
                    self.findings.warning(node.span, path, "there is no value: the parameter is not sent");
                    continue;
                }
                Value::Sequence(items) => {
                    let texts: Option<Vec<_>> = items.iter().map(Node::python_text).collect();
                    texts.map(|texts| texts.join(","))
                }
                _ => node.python_text().map(|text| text.into_owned()),
            };
            let Some(value) = value else {
                let message = format!("{} cannot be sent as a parameter", node.shown());
                self.findings.error(node.span, path, message);
                return None;
            };
            if key.text.eq_ignore_ascii_case("layers") && !value.is_empty() {
                layers = value.split(',').map(str::to_owned).collect();
            }
            match value.strip_prefix("file://").filter(|_| &*key.text == "sld") {
                Some(file) => {
                    let file = self.path(file);
                    match std::fs::read_to_string(&file) {
                        Ok(text) => sld_body = Some(text),
                        Err(error) => {
                            let message = format!("cannot read '{}': {error}", file.display());
                            self.findings.error(node.span, path, message);
                            return None;
                        }
                    }
                    self.files.push(file);
                }
                None => params.push((key.text.to_string(), value)),
            }
        }
        params.extend(sld_body.map(|body| ("sld_body".to_owned(), body)));
        Some((params, layers))
    }

    fn tile(&mut self, name: &Name, raw: &raw::TileSource, grids: &Grids, path: &str) -> Option<TileSource> {
        let grid = match &raw.grid {
            None => {
                let message = format!("source '{name}' has no grid: its tiles are taken to be in GLOBAL_MERCATOR");
                let span = raw.url.as_ref().map(|url| url.span).unwrap_or_default();
                self.findings.warning(span, path, message);
                self.grid_reference(&Arc::from(check::DEFAULT_GRID), span, grids, path, "source", name)
            }
            Some(grid) => self.grid_reference(&grid.value, grid.span, grids, &format!("{path}.grid"), "source", name),
        };
        let transparent = raw.transparent.as_ref().map(|transparent| transparent.value);
        let image = self.source_image(raw.image.as_ref(), transparent, None, path);
        let http = self.http(raw.http.as_ref(), &format!("{path}.http"));
        let concurrent_requests =
            self.concurrent_requests(raw.common.concurrent_requests.as_ref(), raw.http.as_ref(), path);
        let on_error = self.on_error(raw.on_error.as_ref(), path);
        for (key, value) in [("origin", &raw.origin), ("request_format", &raw.request_format)] {
            if let Some(value) = value {
                self.findings.warning(value.span, format!("{path}.{key}"), format!("{key} of a source has no effect"));
            }
        }
        Some(TileSource {
            url: raw.url.as_ref()?.value.to_string(),
            grid: grid?,
            image,
            http,
            concurrent_requests,
            on_error: on_error?,
        })
    }

    /// The key of a grid that exists.
    pub(super) fn grid_reference(
        &mut self,
        grid: &Text,
        span: crate::position::Span,
        grids: &Grids,
        path: &str,
        what: &str,
        user: &str,
    ) -> Option<Name> {
        if let Some((name, _)) = grids.get_key_value(grid) {
            return Some(Arc::clone(name));
        }
        let message = if self.broken_grids.contains(grid) {
            format!("Grid '{grid}' for {what} '{user}' cannot be built")
        } else {
            format!("Grid '{grid}' for {what} '{user}' not found in config")
        };
        let help = raw::nearest(grid, grids.keys().map(|name| &**name)).map(|near| format!("did you mean '{near}'?"));
        self.findings.add(crate::diagnostic::Severity::Error, span, path, message, help);
        None
    }

    fn raster(&mut self, raw: &raw::RasterSource, path: &str) -> Option<RasterSource> {
        let transparent = raw.transparent.as_ref().map(|transparent| transparent.value);
        let image = self.source_image(raw.image.as_ref(), transparent, None, path);
        let bbox = match &raw.bbox {
            Some(bbox) => Some(self.bbox(&bbox.value, bbox.span, &format!("{path}.bbox"))?),
            None => None,
        };
        let file = self.path(&raw.file.as_ref()?.value);
        self.files.push(file.clone());
        Some(RasterSource { file, srs: raw.srs.as_ref().map(|srs| Arc::clone(&srs.value)), bbox, image })
    }

    pub(super) fn on_error(&mut self, raw: Option<&Spanned<Table<raw::OnError>>>, path: &str) -> Option<Vec<OnError>> {
        let mut rules = Vec::new();
        for (key, entry) in raw.iter().flat_map(|table| table.value.iter()) {
            let path = format!("{path}.on_error.{key}");
            let status = match &**key {
                "other" => None,
                code => match code.parse::<u16>() {
                    Ok(code) => Some(code),
                    Err(_) => {
                        let message = format!("invalid error code '{code}' in on_error: an HTTP status or 'other'");
                        self.findings.error(entry.key_span, path, message);
                        return None;
                    }
                },
            };
            let response = entry.value.response.as_ref()?;
            let transparent = Color { red: 255, green: 255, blue: 255, alpha: Some(0) };
            let color = match &response.value {
                Numbers::Text(text) if &**text == "transparent" => transparent,
                color => self.color(color, response.span, &format!("{path}.response"))?,
            };
            rules.push(OnError {
                status,
                response: color,
                cache: entry.value.cache.as_ref().is_some_and(|cache| cache.value),
                authorize_stale: entry.value.authorize_stale.as_ref().is_some_and(|stale| stale.value),
            });
        }
        Some(rules)
    }
}

/// What was written of a Web Map Service, whoever answers in its place.
pub(super) struct Written<'a> {
    pub(super) params: &'a [(Key, Node)],
    /// Of the parameters.
    pub(super) span: Span,
    pub(super) options: Option<&'a Spanned<raw::WmsOptions>>,
    pub(super) image: Option<&'a Spanned<raw::ImageOptions>>,
    pub(super) supported_formats: Option<&'a Spanned<Vec<Spanned<Text>>>>,
    pub(super) supported_srs: Option<&'a Spanned<Vec<Spanned<Text>>>>,
    pub(super) forward_req_params: Option<&'a Spanned<Vec<Spanned<Text>>>>,
    pub(super) http: Option<&'a Spanned<raw::Http>>,
    pub(super) concurrent_requests: Option<&'a Spanned<i64>>,
    pub(super) on_error: Option<&'a Spanned<Table<raw::OnError>>>,
}

/// A parameter by its name.
pub(super) fn param<'a>(params: &'a [(Key, Node)], name: &str) -> Option<&'a Node> {
    params.iter().find(|(key, _)| &*key.text == name).map(|(_, value)| value)
}

/// What `req.transparent` says.
pub(super) fn is_transparent(params: &[(Key, Node)]) -> Option<bool> {
    param(params, "transparent").and_then(|node| match &node.value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => Some(text.eq_ignore_ascii_case("true")),
        _ => None,
    })
}

/// A list of texts, empty if not given.
pub(super) fn texts(list: Option<&Spanned<Vec<Spanned<Text>>>>) -> Vec<String> {
    list.iter().flat_map(|list| list.value.iter()).map(|text| text.value.to_string()).collect()
}
