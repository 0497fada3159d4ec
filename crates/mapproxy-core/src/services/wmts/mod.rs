//! Web Map Tile Service 1.0.0 (OGC 07-057r7), by parameters (KVP) and by paths (RESTful).

mod capabilities;
mod error;
mod info;
mod template;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mapproxy_grid::{MapExtent, Origin};
use mapproxy_map::dimension::{self, Omitted};
use mapproxy_map::info::InfoSource;
use mapproxy_map::{Dimension, Dimensions};
use mapproxy_trace as trace;

use self::error::WmtsError;
pub use self::info::InfoFormat;
use self::info::{InfoRequest, kvp_info};
pub use self::template::{TemplateError, TileTemplate};
use super::ServiceMetadata;
use super::kept::KeptDocuments;
use super::tile_answer::{Patience, Place, Wanted, answer};
use crate::auth::{Gate, Operation, Permit};
use crate::decorate::Decorators;
use crate::response::{forbid_caching, plain, respond};
use crate::{Incoming, LegendUrls, Params, Response, Service, TileLayer, TileSet};

/// Options of [`Wmts`].
#[derive(Debug)]
pub struct WmtsOptions {
    /// Layers in the order of the configuration.
    pub layers: Vec<TileLayer>,
    /// What capabilities say of the service.
    pub metadata: ServiceMetadata,
    /// Answers requests with parameters.
    pub kvp: bool,
    /// Paths of tiles; `None`: no RESTful service.
    pub restful: Option<TileTemplate>,
    /// Paths of feature info, where there is a RESTful service.
    pub restful_info: Option<TileTemplate>,
    /// Formats of feature info, in the order of the configuration; without one no layer is queryable.
    pub info_formats: Vec<InfoFormat>,
    /// How long clients may keep tiles.
    pub max_age: Duration,
    /// Keep URLs and reasons of upstream errors from clients.
    pub hide_error_details: bool,
    /// Who may see what.
    pub gate: Gate,
    /// Who draws on pictures before they are sent.
    pub decorators: Decorators,
}

/// WMTS: `/wmts`, and `SERVICE=WMTS` under `/service`.
#[derive(Debug)]
pub struct Wmts {
    layers: Vec<WmtsLayer>,
    /// Index into `layers`.
    by_name: HashMap<String, usize>,
    options: WmtsOptions,
    documents: KeptDocuments,
}

#[derive(Debug)]
struct WmtsLayer {
    name: String,
    title: String,
    abstract_: Option<String>,
    /// `png`, `jpeg`: of all its matrix sets.
    format: String,
    media_type: String,
    extent: MapExtent,
    sets: Vec<TileSet>,
    dimensions: Vec<Arc<Dimension>>,
    info: Vec<Arc<dyn InfoSource>>,
    legend_urls: LegendUrls,
}

/// What a path asks for.
enum Target<'a> {
    Tile(TileRequest<'a>),
    Info(InfoRequest<'a>),
}

/// A tile as a request names it.
#[derive(Debug)]
struct TileRequest<'a> {
    layer: &'a str,
    matrix_set: &'a str,
    matrix: &'a str,
    column: &'a str,
    row: &'a str,
    /// `png` or `image/png`; `None`: whatever the layer has.
    format: Option<&'a str>,
    /// All that may be a dimension, by name.
    dimensions: Vec<(&'a str, &'a str)>,
    /// A dimension that the layer lacks may only be said to have its default.
    is_closed: bool,
}

impl Wmts {
    /// The service for `options`. Grids whose rows cannot be counted from the north are left out with a warning.
    pub fn new(mut options: WmtsOptions) -> Wmts {
        let mut layers: Vec<WmtsLayer> = Vec::new();
        let mut by_name = HashMap::new();
        for layer in std::mem::take(&mut options.layers) {
            let (sets, others): (Vec<_>, Vec<_>) =
                layer.tile_sets.into_iter().partition(|set| set.grid().supports_origin(Origin::UpperLeft));
            for set in others {
                log::warn!(
                    target: "mapproxy.service.wmts",
                    "skipping layer '{}' for WMTS, grid '{}' of cache '{}' is not compatible with WMTS: \
                     its tiles do not end at the north edge of its bbox",
                    layer.name,
                    set.grid().name(),
                    set.cache_name()
                );
            }
            let Some(first) = sets.first() else { continue };
            let (format, media_type) = (first.format().to_owned(), first.media_type());
            let extent = first.extent.clone();
            by_name.insert(layer.name.clone(), layers.len());
            let (name, title, abstract_) = (layer.name, layer.title, layer.metadata.abstract_.clone());
            let (dimensions, info, legend_urls) = (layer.dimensions, layer.info, layer.legend_urls);
            layers.push(WmtsLayer {
                name,
                title,
                abstract_,
                format,
                media_type,
                extent,
                sets,
                dimensions,
                info,
                legend_urls,
            });
        }
        Wmts { layers, by_name, options, documents: KeptDocuments::default() }
    }

    /// Answers requests with parameters.
    pub fn has_kvp(&self) -> bool {
        self.options.kvp
    }

    /// The template of tiles' paths, where there is a RESTful service.
    pub fn template(&self) -> Option<&str> {
        self.options.restful.as_ref().map(TileTemplate::as_str)
    }

    /// The template of feature info's paths, where there is a RESTful service.
    pub(crate) fn info_template(&self) -> Option<&str> {
        self.options.restful_info.as_ref().map(TileTemplate::as_str)
    }

    /// What feature info is offered as, if the layer has some.
    pub(crate) fn info_formats(&self, layer: &str) -> &[InfoFormat] {
        let formats = &self.options.info_formats;
        let is_queryable = self.layer(layer).is_ok_and(|layer| layer.is_queryable(formats));
        if is_queryable { formats } else { &[] }
    }

    /// All tile sets with the names of their layers, in order.
    pub(crate) fn tile_sets(&self) -> impl Iterator<Item = (&str, &TileSet)> {
        self.layers.iter().flat_map(|layer| layer.sets.iter().map(|set| (layer.name.as_str(), set)))
    }

    /// A request by parameters, under `/service` and its kin.
    pub(crate) fn kvp(&self, request: &Incoming<'_>, patience: Patience) -> Option<Response> {
        let params = request.params();
        let name = params.get("request").unwrap_or("").to_ascii_lowercase();
        let answer = match name.as_str() {
            "gettile" => match kvp_tile(params) {
                Ok(tile) => self.tile(request, &tile, patience)?,
                Err(error) => Err(error),
            },
            "getcapabilities" => {
                self.capabilities(request, &capabilities::Access::Kvp { url: request.urls().base }, patience)?
            }
            "getfeatureinfo" if patience == Patience::None => return None,
            "getfeatureinfo" => kvp_info(params).and_then(|wanted| self.feature_info(request, &wanted)),
            _ => Err(WmtsError::invalid(format!("unknown WMTS request type '{name}'"), Some("request"))),
        };
        Some(answer.unwrap_or_else(|error| error.response(self.options.hide_error_details)))
    }

    fn restful(&self, request: &Incoming<'_>, patience: Patience) -> Option<Response> {
        let template = self.options.restful.as_ref()?;
        const CAPABILITIES: &str = "/1.0.0/WMTSCapabilities.xml";
        let answer = if request.path.ends_with(CAPABILITIES) {
            let base = request.urls().base;
            let url = base.strip_suffix(CAPABILITIES).unwrap_or(&base).to_owned();
            let info_template = self.options.restful_info.as_ref();
            self.capabilities(request, &capabilities::Access::Restful { url, template, info_template }, patience)?
        } else {
            match self.parse_path(template, request.rest()) {
                Some(Target::Tile(tile)) => self.tile(request, &tile, patience)?,
                Some(Target::Info(_)) if patience == Patience::None => return None,
                Some(Target::Info(wanted)) => self.feature_info(request, &wanted),
                None => {
                    let text = format!("internal error: invalid request ({})", request.path);
                    return Some(forbid_caching(plain(StatusCode::BAD_REQUEST, text)));
                }
            }
        };
        Some(answer.unwrap_or_else(|error| error.response(self.options.hide_error_details)))
    }

    fn tile(
        &self,
        request: &Incoming<'_>,
        wanted: &TileRequest<'_>,
        patience: Patience,
    ) -> Option<Result<Response, WmtsError>> {
        let permit = self.find(wanted).and_then(|(set, tile, dimensions)| {
            let permit = self.options.gate.ask_for_tile(Operation::Wmts, request, wanted.layer, set, tile)?;
            Ok((permit, dimensions))
        });
        let (permit, dimensions) = match permit {
            Ok(permit) => permit,
            Err(error) => return Some(Err(error)),
        };
        let _place = trace::within(|| trace::Place::Layer(wanted.layer.into()));
        let wanted = Wanted {
            operation: Operation::Wmts,
            layer: wanted.layer,
            dimensions: &dimensions,
            patience,
            max_age: self.options.max_age,
            decorators: &self.options.decorators,
            request,
        };
        Some(match answer(&permit, &wanted)? {
            Ok(response) => Ok(response),
            Err(error) => {
                super::log_map_error(&error);
                Err(WmtsError::Map(error))
            }
        })
    }

    fn find(&self, wanted: &TileRequest<'_>) -> Result<(&TileSet, mapproxy_grid::TileCoord, Dimensions), WmtsError> {
        let layer = self.layer(wanted.layer)?;
        let set = layer.sets.iter().find(|set| set.grid().name() == wanted.matrix_set).ok_or_else(|| {
            WmtsError::invalid(format!("unknown tilematrixset: {}", wanted.matrix_set), Some("tilematrixset"))
        })?;
        if let Some(format) = wanted.format.filter(|format| !format.is_empty())
            && !set.is_of_format(format)
        {
            let (ext, own) = (format.strip_prefix("image/").unwrap_or(format), set.format());
            let message = format!("invalid format ({ext}). this tile set only supports ({own})");
            return Err(WmtsError::invalid(message, Some("format")));
        }
        let number = |name: &'static str, text: &str| {
            text.parse::<i64>()
                .map_err(|_| WmtsError::invalid(format!("invalid value '{text}' for {name}: not a number"), Some(name)))
        };
        let place = Place {
            x: number("tilecol", wanted.column)?,
            y: number("tilerow", wanted.row)?,
            z: number("tilematrix", wanted.matrix)?,
        };
        let tile = place.in_grid(set.grid(), Origin::UpperLeft).ok_or(WmtsError::TileOutOfRange)?;
        Ok((set, tile, layer.dimensions_of(wanted)?))
    }

    fn layer(&self, name: &str) -> Result<&WmtsLayer, WmtsError> {
        let unknown = || WmtsError::invalid(format!("unknown layer: {name}"), Some("layer"));
        self.by_name.get(name).map(|&index| &self.layers[index]).ok_or_else(unknown)
    }

    fn parse_path<'a>(&'a self, template: &'a TileTemplate, path: &'a str) -> Option<Target<'a>> {
        let info = || self.options.restful_info.as_ref()?.parse_info(path).map(Target::Info);
        template.parse(path).map(Target::Tile).or_else(info)
    }

    fn capabilities(
        &self,
        request: &Incoming<'_>,
        access: &capabilities::Access<'_>,
        patience: Patience,
    ) -> Option<Result<Response, WmtsError>> {
        let (variant, url) = match access {
            capabilities::Access::Kvp { url } => (0, url),
            capabilities::Access::Restful { url, .. } => (1, url),
        };
        if patience == Patience::None {
            let kept = self.documents.get(variant, url).filter(|_| self.options.gate.is_open())?;
            return Some(Ok(respond(StatusCode::OK, "application/xml", kept)));
        }
        let names = || (self.layers.iter().map(|layer| layer.name.as_str()).collect(), None);
        let permit: Permit = match self.options.gate.ask(Operation::Wmts, request, names) {
            Ok(permit) => permit,
            Err(refusal) => return Some(Err(refusal.into())),
        };
        let write = || self.capabilities_document(access, &permit, &request.urls().script);
        let text = if permit.is_full() { self.documents.get_or_write(variant, url, write) } else { write().into() };
        Some(Ok(respond(StatusCode::OK, "application/xml", text)))
    }
}

impl Service for Wmts {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        self.restful(request, Patience::Unlimited)
    }
    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        self.restful(request, Patience::None)
    }
}

impl WmtsLayer {
    /// The values that a request means, by the names of the dimensions.
    fn dimensions_of(&self, wanted: &TileRequest<'_>) -> Result<Dimensions, WmtsError> {
        let is_known = |name: &str| self.dimensions.iter().any(|dimension| dimension.is_asked_by(name));
        let is_default = |value: &str| value.is_empty() || value.eq_ignore_ascii_case("default");
        let unknown = |(name, value): &&(&str, &str)| wanted.is_closed && !is_known(name) && !is_default(value);
        if let Some((name, _)) = wanted.dimensions.iter().find(unknown) {
            return Err(WmtsError::invalid(format!("unknown dimension: {name}"), None));
        }
        if self.dimensions.is_empty() {
            return Ok(Dimensions::default());
        }
        let asked = wanted.dimensions.iter().filter(|(name, _)| is_known(name));
        let asked = asked.map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        let resolved = dimension::resolve(&self.dimensions, &asked, Omitted::Default);
        resolved.map(|(values, _)| values).map_err(|error| WmtsError::invalid(error.to_string(), None))
    }
}

/// KVP GetTile: OGC 07-057r7, table 29.
fn kvp_tile(params: &Params) -> Result<TileRequest<'_>, WmtsError> {
    kvp_tile_and(params, &[])
}

/// A tile; parameters besides those of a tile are to be there, too.
fn kvp_tile_and<'a>(params: &'a Params, others: &[&str]) -> Result<TileRequest<'a>, WmtsError> {
    const EXPECTED: [&str; 9] =
        ["version", "request", "layer", "style", "tilematrixset", "tilematrix", "tilerow", "tilecol", "format"];
    let missing: Vec<&str> = EXPECTED.iter().chain(others).copied().filter(|name| params.get(name).is_none()).collect();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|name| format!("'{name}'")).collect();
        return Err(WmtsError::Missing(format!("missing parameters [{}]", names.join(", "))));
    }
    let value = |name: &str| params.get(name).unwrap_or("");
    Ok(TileRequest {
        layer: value("layer"),
        matrix_set: value("tilematrixset"),
        matrix: value("tilematrix"),
        column: value("tilecol"),
        row: value("tilerow"),
        format: Some(value("format")),
        dimensions: params.iter().collect(),
        is_closed: false,
    })
}

/// `SERVICE=WMTS` under `/service` and its kin.
#[derive(Debug)]
pub struct WmtsKvp(pub Arc<Wmts>);

impl Service for WmtsKvp {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        self.0.kvp(request, Patience::Unlimited)
    }
    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        self.0.kvp(request, Patience::None)
    }
}
