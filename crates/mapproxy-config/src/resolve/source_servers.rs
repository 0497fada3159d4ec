//! Sources that are servers of their own kind, or programs in place of servers.

use std::sync::Arc;

use super::Resolver;
use super::sources::{Written, is_transparent, texts};
use crate::checked::{
    ArcgisInfo, ArcgisSource, MapnikSource, Name, OgcApiMapsSource, OgcApiTilesSource, Program, WmsSource,
};
use crate::position::Spanned;
use crate::raw::{self, Text, TextOrList};

/// The program of `type: mapserver` where none is named.
const MAPSERV: &str = "mapserv";

impl Resolver<'_> {
    pub(super) fn mapserver(&mut self, name: &Name, raw: &raw::MapserverSource, path: &str) -> Option<WmsSource> {
        let req = raw.req.as_ref()?;
        let written = Written {
            params: &req.params,
            span: req.span,
            options: raw.wms_opts.as_ref(),
            image: raw.image.as_ref(),
            supported_formats: raw.supported_formats.as_ref(),
            supported_srs: raw.supported_srs.as_ref(),
            forward_req_params: raw.forward_req_params.as_ref(),
            http: None,
            concurrent_requests: raw.common.concurrent_requests.as_ref(),
            on_error: None,
        };
        let mut source = self.wms_of(name, &written, path)?;
        let (_, map) = source.params.iter_mut().find(|(key, _)| key == "map")?;
        let map_file = self.path(map);
        *map = map_file.display().to_string();
        let (own, global) = (raw.mapserver.as_ref(), self.raw_globals.mapserver.as_ref());
        let option = |find: fn(&raw::Mapserver) -> Option<&Spanned<Text>>| {
            own.and_then(|own| find(&own.value)).or_else(|| global.and_then(|global| find(&global.value)))
        };
        let binary = match option(|options| options.binary.as_ref()) {
            // A mere name is looked for in the PATH, unless there is such a file beside the configuration.
            Some(binary) if !binary.value.contains('/') && !self.path(&binary.value).is_file() => {
                (&*binary.value).into()
            }
            Some(binary) => self.path(&binary.value),
            None => MAPSERV.into(),
        };
        let working_dir = option(|options| options.working_dir.as_ref()).map(|directory| self.path(&directory.value));
        source.program = Some(Program { binary, working_dir, map: map_file });
        Some(source)
    }

    pub(super) fn arcgis(&mut self, raw: &raw::ArcgisSource, path: &str) -> Option<ArcgisSource> {
        let req = raw.req.as_ref()?;
        let options = raw.opts.as_ref();
        let params = self.request_params(&req.params, path);
        let image = self.source_image(raw.image.as_ref(), is_transparent(&req.params), None, path);
        let http = self.http(raw.http.as_ref(), &format!("{path}.http"));
        let concurrent_requests =
            self.concurrent_requests(raw.common.concurrent_requests.as_ref(), raw.http.as_ref(), path);
        let on_error = self.on_error(raw.on_error.as_ref(), path);
        let tolerance = options.and_then(|options| options.featureinfo_tolerance.as_ref());
        if let Some(tolerance) = tolerance.filter(|tolerance| !(0.0..=1e6).contains(&tolerance.value)) {
            let message = format!("{} is not a number of pixels", tolerance.value);
            self.findings.error(tolerance.span, format!("{path}.opts.featureinfo_tolerance"), message);
        }
        let flag = |flag: Option<&Spanned<bool>>| flag.is_some_and(|flag| flag.value);
        let info = flag(options.and_then(|options| options.featureinfo.as_ref())).then(|| ArcgisInfo {
            tolerance: tolerance.map_or(5.0, |tolerance| tolerance.value),
            geometries: flag(options.and_then(|options| options.featureinfo_return_geometries.as_ref())),
        });
        let (params, _) = params?;
        Some(ArcgisSource {
            url: req.url.as_ref()?.value.to_string(),
            params,
            map: options.and_then(|options| options.map.as_ref()).is_none_or(|map| map.value),
            info,
            image,
            supported_formats: texts(raw.supported_formats.as_ref()),
            supported_srs: texts(raw.supported_srs.as_ref()),
            http,
            concurrent_requests,
            on_error: on_error?,
        })
    }

    pub(super) fn ogcapi_maps(&mut self, raw: &raw::OgcApiMapsSource, path: &str) -> Option<OgcApiMapsSource> {
        let transparent = raw.transparent.as_ref().map(|transparent| transparent.value);
        let image = self.source_image(raw.image.as_ref(), transparent, None, path);
        let http = self.http(raw.http.as_ref(), &format!("{path}.http"));
        let concurrent_requests =
            self.concurrent_requests(raw.common.concurrent_requests.as_ref(), raw.http.as_ref(), path);
        let on_error = self.on_error(raw.on_error.as_ref(), path);
        let bgcolor = match &raw.bgcolor {
            Some(color) => Some(self.color(&color.value, color.span, &format!("{path}.bgcolor"))?),
            None => None,
        };
        Some(OgcApiMapsSource {
            landing_page: raw.landingpage_url.as_ref()?.value.to_string(),
            collection: raw.collection.as_ref().map(|collection| Arc::clone(&collection.value)),
            supported_srs: texts(raw.supported_srs.as_ref()),
            transparent: transparent.unwrap_or(false),
            bgcolor,
            image,
            http,
            concurrent_requests,
            on_error: on_error?,
        })
    }

    pub(super) fn ogcapi_tiles(&mut self, raw: &raw::OgcApiTilesSource, path: &str) -> Option<OgcApiTilesSource> {
        let image = self.source_image(raw.image.as_ref(), None, None, path);
        let http = self.http(raw.http.as_ref(), &format!("{path}.http"));
        let concurrent_requests =
            self.concurrent_requests(raw.common.concurrent_requests.as_ref(), raw.http.as_ref(), path);
        let on_error = self.on_error(raw.on_error.as_ref(), path);
        Some(OgcApiTilesSource {
            landing_page: raw.landingpage_url.as_ref()?.value.to_string(),
            collection: raw.collection.as_ref().map(|collection| Arc::clone(&collection.value)),
            tile_matrix_set_id: raw.tile_matrix_set_id.as_ref().map(|id| Arc::clone(&id.value)),
            image,
            http,
            concurrent_requests,
            on_error: on_error?,
        })
    }

    pub(super) fn mapnik(&mut self, raw: &raw::MapnikSource, path: &str) -> Option<MapnikSource> {
        let transparent = raw.transparent.as_ref().map(|transparent| transparent.value);
        let image = self.source_image(raw.image.as_ref(), transparent, None, path);
        let concurrent_requests = self.concurrent_requests(raw.common.concurrent_requests.as_ref(), None, path);
        if let Some(old) = raw.use_mapnik2.as_ref() {
            let message = "use_mapnik2 has no effect: there is one module, called mapnik";
            self.findings.warning(old.span, format!("{path}.use_mapnik2"), message);
        }
        let scale_factor = match &raw.scale_factor {
            Some(factor) => self.positive(factor, &format!("{path}.scale_factor"))?,
            None => 1.0,
        };
        let layers = raw.layers.as_ref().map(|layers| match &layers.value {
            TextOrList::Text(text) => text.split(',').map(|layer| layer.trim().to_owned()).collect(),
            TextOrList::List(list) => list.iter().map(|layer| layer.value.to_string()).collect(),
        });
        Some(MapnikSource {
            mapfile: self.path(&raw.mapfile.as_ref()?.value),
            layers,
            scale_factor,
            multithreaded: raw.multithreaded.as_ref().is_some_and(|many| many.value),
            image,
            concurrent_requests,
        })
    }
}
