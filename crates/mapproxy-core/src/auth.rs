//! Who may see what: the embedding program decides, the services obey.
//!
//! An [`Authorizer`] given to [`AppBuilder::authorizer`](crate::AppBuilder::authorizer) is asked once for each request
//! that shows something of a layer, before anything is drawn or read. Who asks is in the request: in its headers, or in
//! its extensions, where a server or a wrapper has put an identity.
//!
//! Inside, a service holds a [`Gate`] and gets a `Permit` from it, and there is no way to sources, tiles and lists of
//! layers without one. A gate without an authorizer is open: its permits cost nothing.
//!
//! Whatever goes wrong shows nothing: an error of the authorizer or a panic is a 500, a layer that a partial decision
//! does not name may not be seen, and an area that has no image in the SRS of a request gives no map.

mod api_keys;
mod by_credentials;
mod decision;
mod endpoint;
mod jwks;
mod jwt;
mod remembered;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use mapproxy_cache::TileManager;
use mapproxy_grid::TileCoord;
pub use mapproxy_grid::{Bbox, Coverage, CoverageError, MapExtent, Srs};
use mapproxy_map::info::InfoQuery;
use mapproxy_map::wrap::Clipped;
use mapproxy_map::{MapError, MapSource};

pub use self::api_keys::{AddressKey, ApiKeys};
pub use self::by_credentials::ByCredentials;
pub use self::decision::DecisionError;
pub(crate) use self::endpoint::MAX_ANSWER;
pub use self::endpoint::{Endpoint, EndpointOptions};
pub use self::jwks::{FetchedKeys, Keys};
pub use self::jwt::{Algorithm, Jwt, JwtOptions, KeySet, KeySetError};
use crate::response::{forbid_caching, plain};
use crate::{Incoming, Request, Response, TileSet};

/// Decides who may see what.
///
/// ```
/// use mapproxy_core::auth::{Authorizer, AuthorizerError, Decision, Feature, Grant, Partial, Question};
///
/// /// All may see the base map, and those with the key everything.
/// #[derive(Debug)]
/// struct ByKey;
///
/// impl Authorizer for ByKey {
///     fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
///         Ok(match question.request.headers().get("x-api-key") {
///             Some(key) if key == "sesame" => Decision::Full,
///             Some(_) => Decision::None,
///             None => Partial::new().layer("base", Grant::of([Feature::Map, Feature::Tile])).into(),
///         })
///     }
/// }
/// ```
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether and how far a request may be answered. May take its time: it is called where waiting is allowed. An
    /// error is logged and answered with status 500.
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError>;

    /// The decision, if it can be had without waiting; cached tiles are answered faster then. `None` has
    /// [`Authorizer::authorize`] called.
    fn authorize_now(&self, _question: &Question<'_>) -> Option<Decision> {
        None
    }

    /// `WWW-Authenticate` of the answer to [`Decision::Unauthenticated`], such as `Basic realm="maps"`.
    fn challenge(&self) -> Option<HeaderValue> {
        None
    }

    /// Whether `?api_key=KEY` and `/api_key/KEY` before the path of a service are taken out of addresses. The key is an
    /// [`AddressKey`] among the extensions of the request then, and the addresses that answers name begin with
    /// `/api_key/KEY`.
    fn takes_keys_in_addresses(&self) -> bool {
        false
    }
}

/// Why an [`Authorizer`] could not decide. Where it is an [`Unavailable`], the status is 503.
pub type AuthorizerError = Box<dyn std::error::Error + Send + Sync>;

/// Somebody who has to be asked cannot be; later it may be otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub Arc<str>);

/// What an [`Authorizer`] is asked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Question<'a> {
    /// What is wanted.
    pub operation: Operation,
    /// The layers it is about, in the order of drawing. Groups of the WMS are resolved into their layers.
    pub layers: &'a [&'a str],
    /// The box of the map or tile, x/y order; `None` for documents.
    pub extent: Option<&'a MapExtent>,
    /// The request, with the headers and extensions that say who asks.
    pub request: &'a Request,
}

impl<'a> Question<'a> {
    /// A question, to try an authorizer.
    pub fn new(
        operation: Operation,
        layers: &'a [&'a str],
        extent: Option<&'a MapExtent>,
        request: &'a Request,
    ) -> Question<'a> {
        Question { operation, layers, extent, request }
    }
}

/// What is wanted, by the names that MapProxy has given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `wms.map`: GetMap.
    WmsMap,
    /// `wms.featureinfo`: GetFeatureInfo of the WMS, with the box of the map.
    WmsFeatureInfo,
    /// `wms.capabilities`: the capabilities document of the WMS; with the layers of one legend, that legend.
    WmsCapabilities,
    /// `wmts`: a tile, or the capabilities document of the WMTS, which has no extent.
    Wmts,
    /// `wmts.featureinfo`: GetFeatureInfo of the WMTS, with the box of the tile.
    WmtsFeatureInfo,
    /// `tms`: a tile of `/tms` or `/tiles`, or one of the documents of the TMS, which have no extent.
    Tms,
    /// `kml`: a tile of `/kml`, or a document that places tiles.
    Kml,
    /// `ogcapi.map`: a map of the OGC API, or one of the documents that list maps, which have no extent.
    OgcApiMap,
    /// `ogcapi.tile`: a tile of the OGC API, or one of the documents that list tiles, which have no extent.
    OgcApiTile,
    /// `demo`: the demo pages. Without layers; only [`Decision::Full`] opens them.
    Demo,
}

impl Operation {
    /// The name: `wms.map`, `wmts`, ….
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::WmsMap => "wms.map",
            Operation::WmsFeatureInfo => "wms.featureinfo",
            Operation::WmsCapabilities => "wms.capabilities",
            Operation::Wmts => "wmts",
            Operation::WmtsFeatureInfo => "wmts.featureinfo",
            Operation::Tms => "tms",
            Operation::Kml => "kml",
            Operation::OgcApiMap => "ogcapi.map",
            Operation::OgcApiTile => "ogcapi.tile",
            Operation::Demo => "demo",
        }
    }

    /// What must be granted for a layer; `None`: nothing less than everything will do.
    fn feature(self) -> Option<Feature> {
        match self {
            Operation::WmsMap | Operation::WmsCapabilities | Operation::OgcApiMap => Some(Feature::Map),
            Operation::WmsFeatureInfo | Operation::WmtsFeatureInfo => Some(Feature::FeatureInfo),
            Operation::Wmts | Operation::Tms | Operation::Kml | Operation::OgcApiTile => Some(Feature::Tile),
            Operation::Demo => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an [`Authorizer`] answers.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Everything that was asked for.
    Full,
    /// Some of it.
    Partial(Partial),
    /// Nothing: status 403.
    None,
    /// Nothing, for the time being: status 401.
    Unauthenticated,
    /// The same, with this `WWW-Authenticate` in place of [`Authorizer::challenge`].
    Challenged(HeaderValue),
}

impl From<Partial> for Decision {
    fn from(partial: Partial) -> Self {
        Decision::Partial(partial)
    }
}

/// Some layers, in some area. A layer that is not named is not granted, unless [`Partial::others`] are.
///
/// In maps a layer asked for by its name that is not granted is a 403; one that is part of a group is left out.
#[derive(Clone, Debug, Default)]
pub struct Partial {
    /// Shared, since a decision is copied for each request.
    layers: Arc<HashMap<String, Grant>>,
    others: Option<Grant>,
    limits: Vec<Coverage>,
}

impl Partial {
    /// No layer yet.
    pub fn new() -> Partial {
        Partial::default()
    }

    /// Grants something of a layer, in place of what was granted of it before.
    pub fn layer(mut self, name: impl Into<String>, grant: Grant) -> Partial {
        Arc::make_mut(&mut self.layers).insert(name.into(), grant);
        self
    }

    /// Grants something of all layers that are not named.
    pub fn others(self, grant: Grant) -> Partial {
        Partial { others: Some(grant), ..self }
    }

    fn grant(&self, layer: &str) -> Option<&Grant> {
        self.layers.get(layer).or(self.others.as_ref())
    }

    /// Shows all layers in this area only; where several are named, in what they have in common.
    pub fn limited_to(mut self, area: Coverage) -> Partial {
        self.limits.push(area);
        self
    }
}

/// What may be seen of a layer.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    features: Vec<Feature>,
    limits: Vec<Coverage>,
}

impl Grant {
    /// These features, everywhere.
    pub fn of(features: impl IntoIterator<Item = Feature>) -> Grant {
        Grant { features: features.into_iter().collect(), limits: Vec::new() }
    }

    /// All features there are, everywhere.
    pub fn all() -> Grant {
        Grant::of([Feature::Map, Feature::Tile, Feature::FeatureInfo, Feature::LegendGraphic])
    }

    /// In this area only; where several are named, in what they have in common.
    pub fn limited_to(mut self, area: Coverage) -> Grant {
        self.limits.push(area);
        self
    }
}

/// What can be done with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Maps of the WMS and the OGC API, and being listed in their documents.
    Map,
    /// Tiles of WMTS, TMS and the OGC API, and being listed in their documents.
    Tile,
    /// Feature info of WMS and WMTS, and being called queryable in their capabilities.
    FeatureInfo,
    /// The legend, which goes with `Map`, too.
    LegendGraphic,
}

/// Where a service asks for permits.
#[derive(Clone, Debug, Default)]
pub struct Gate(Option<Arc<dyn Authorizer>>);

impl Gate {
    /// Everybody may see everything.
    pub const OPEN: Gate = Gate(None);

    /// `authorizer` decides.
    pub fn guarded_by(authorizer: Arc<dyn Authorizer>) -> Gate {
        Gate(Some(authorizer))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn takes_keys_in_addresses(&self) -> bool {
        self.0.as_ref().is_some_and(|authorizer| authorizer.takes_keys_in_addresses())
    }

    /// A permit for layers and, where there is one, the box of a map; they are named only if somebody asks.
    pub(crate) fn ask<'a>(
        &self,
        operation: Operation,
        request: &Incoming<'_>,
        subject: impl FnOnce() -> (Vec<&'a str>, Option<MapExtent>),
    ) -> Result<Permit, Refusal> {
        let Some(authorizer) = &self.0 else { return Ok(Permit { operation, partial: None }) };
        let (layers, extent) = subject();
        let question = Question::new(operation, &layers, extent.as_ref(), request.request());
        let decision = if request.is_at_once() {
            let Some(decision) = authorizer.authorize_now(&question) else {
                request.put_off();
                return Err(Refusal::Failed);
            };
            Ok(decision)
        } else {
            authorizer.authorize(&question)
        };
        match decision {
            Ok(Decision::Full) => Ok(Permit { operation, partial: None }),
            Ok(Decision::Partial(partial)) if operation.feature().is_some() => {
                Ok(Permit { operation, partial: Some(partial) })
            }
            Ok(Decision::Partial(_) | Decision::None) => Err(Refusal::Forbidden),
            Ok(Decision::Unauthenticated) => Err(Refusal::Unauthenticated(authorizer.challenge())),
            Ok(Decision::Challenged(challenge)) => Err(Refusal::Unauthenticated(Some(challenge))),
            Err(error) => {
                log::error!(target: "mapproxy.auth", "cannot authorize {operation} of {layers:?}: {error}");
                Err(if error.is::<Unavailable>() { Refusal::Unavailable } else { Refusal::Failed })
            }
        }
    }

    /// A permit for one tile of a layer.
    pub(crate) fn ask_for_tile<'a>(
        &self,
        operation: Operation,
        request: &Incoming<'_>,
        layer: &str,
        set: &'a TileSet,
        coord: TileCoord,
    ) -> Result<TilePermit<'a>, Refusal> {
        let permit = self.ask(operation, request, || (vec![layer], Some(extent_of(set, coord))))?;
        if !permit.allows(layer) {
            return Err(Refusal::Forbidden);
        }
        let visible = permit.visible(layer, || extent_of(set, coord)).map_err(|error| {
            log::error!(target: "mapproxy.auth", "cannot limit {operation} of {layer}: {error}");
            Refusal::Failed
        })?;
        Ok(TilePermit { set, coord, visible })
    }
}

/// What a request may show.
#[derive(Debug)]
pub(crate) struct Permit {
    operation: Operation,
    /// `None`: everything.
    partial: Option<Partial>,
}

impl Permit {
    pub(crate) fn is_full(&self) -> bool {
        self.partial.is_none()
    }

    /// The layer may be shown, at least in some area.
    pub(crate) fn allows(&self, layer: &str) -> bool {
        let Some(partial) = &self.partial else { return true };
        let grant = partial.grant(layer).zip(self.operation.feature());
        grant.is_some_and(|(grant, feature)| grant.features.contains(&feature))
    }

    /// What the operation is about may be had of the layer; of one without a name only with a permit for everything.
    pub(crate) fn allows_layer(&self, layer: Option<&str>) -> bool {
        self.is_full() || layer.is_some_and(|layer| self.allows(layer))
    }

    /// The layer is granted with one of the features.
    fn grants(&self, layer: Option<&str>, features: &[Feature]) -> bool {
        let Some(partial) = &self.partial else { return true };
        let grant = layer.and_then(|layer| partial.grant(layer));
        grant.is_some_and(|grant| grant.features.iter().any(|feature| features.contains(feature)))
    }

    /// Feature info of the layer may be asked for, whatever this permit was asked for.
    pub(crate) fn allows_info(&self, layer: Option<&str>) -> bool {
        self.grants(layer, &[Feature::FeatureInfo])
    }

    /// The legend of the layer may be seen, whatever this permit was asked for.
    pub(crate) fn allows_legend(&self, layer: Option<&str>) -> bool {
        self.grants(layer, &[Feature::Map, Feature::LegendGraphic])
    }

    /// The point of `query` lies where the layer may be seen.
    pub(crate) fn shows_point(&self, layer: Option<&str>, query: &InfoQuery) -> Result<bool, MapError> {
        for area in self.limits(layer) {
            // Moved to the point, since whoever asks chooses the SRS of the point; see `Clipped`.
            let named = || layer.unwrap_or("layer").into();
            let area = area.in_srs(&query.srs).map_err(|error| MapError::Area { source_name: named(), error })?;
            if !query.lies_in(&area)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The layer may be shown, and some of its extent lies where it may be.
    pub(crate) fn shows(&self, layer: &str, extent: &MapExtent) -> bool {
        self.allows(layer) && self.extent(Some(layer), Some(extent)).is_some()
    }

    /// The areas in which the layer may be shown; all of them hold. Without a name: those of the whole request.
    fn limits<'a>(&'a self, layer: Option<&str>) -> impl Iterator<Item = &'a Coverage> {
        let partial = self.partial.as_ref();
        let grant = partial.zip(layer).and_then(|(partial, layer)| partial.grant(layer));
        let own = grant.into_iter().flat_map(|grant| &grant.limits);
        own.chain(partial.into_iter().flat_map(|partial| &partial.limits))
    }

    /// The sources of a layer, each shown as far as it may be; `None` where the layer may not be shown.
    pub(crate) fn sources(
        &self,
        layer: Option<&str>,
        sources: &[Arc<dyn MapSource>],
    ) -> Option<Vec<Arc<dyn MapSource>>> {
        let is_allowed = self.allows_layer(layer);
        let clipped = |source: &Arc<dyn MapSource>| {
            self.limits(layer).fold(Arc::clone(source), |source, area| {
                Arc::new(Clipped::new(source, area.clone())) as Arc<dyn MapSource>
            })
        };
        is_allowed.then(|| sources.iter().map(clipped).collect())
    }

    /// What documents may say of the extent of a layer, or of a heading without a name; `None` where nothing of it may
    /// be seen.
    pub(crate) fn extent(&self, layer: Option<&str>, extent: Option<&MapExtent>) -> Option<Option<MapExtent>> {
        let mut limits = self.limits(layer).peekable();
        if limits.peek().is_none() {
            return Some(extent.cloned());
        }
        let whole = extent.cloned().unwrap_or_else(MapExtent::world);
        limits.try_fold(whole, |extent, area| common_extent(&extent, &area.extent())).map(Some)
    }

    /// A tile as part of a map, where all of it may be seen.
    pub(crate) fn whole_tile<'a>(&self, layer: &str, set: &'a TileSet, coord: TileCoord) -> Option<TilePermit<'a>> {
        let visible = self.visible(layer, || extent_of(set, coord)).ok()?;
        let is_whole = self.allows(layer) && matches!(visible, Visible::All);
        is_whole.then_some(TilePermit { set, coord, visible })
    }

    fn visible(&self, layer: &str, extent: impl FnOnce() -> MapExtent) -> Result<Visible, MapError> {
        let mut limits = self.limits(Some(layer)).peekable();
        if limits.peek().is_none() {
            return Ok(Visible::All);
        }
        let MapExtent { bbox, srs } = extent();
        let mut edges = Vec::new();
        for area in limits {
            // Moved to the tile, since a tile moved to the area may end up anywhere; see `Clipped`.
            let area = area.in_srs(&srs).map_err(|error| MapError::Area { source_name: layer.into(), error })?;
            if !area.intersects(&bbox, &srs)? {
                return Ok(Visible::Nothing);
            }
            if !area.contains(&bbox, &srs)? {
                edges.push(area);
            }
        }
        Ok(if edges.is_empty() { Visible::All } else { Visible::Inside(edges) })
    }
}

/// What two extents have in common, in degrees unless one lies inside of the other.
fn common_extent(extent: &MapExtent, limit: &MapExtent) -> Option<MapExtent> {
    let wgs84 = Srs::wgs84();
    let (bbox, limit_bbox) = (extent.bbox_in(&wgs84).ok()?, limit.bbox_in(&wgs84).ok()?);
    if bbox.contains(&limit_bbox) {
        return Some(limit.clone());
    }
    if limit_bbox.contains(&bbox) {
        return Some(extent.clone());
    }
    Some(MapExtent::new(bbox.intersection(&limit_bbox)?, wgs84))
}

/// Opens tile sets; only permits have it.
#[derive(Debug)]
pub(crate) struct Key(());

/// A tile that may be shown.
#[derive(Debug)]
pub(crate) struct TilePermit<'a> {
    set: &'a TileSet,
    coord: TileCoord,
    visible: Visible,
}

/// How much of a tile may be shown.
#[derive(Debug)]
pub(crate) enum Visible {
    All,
    Nothing,
    /// What lies in all of these areas, which are in the SRS of the tile.
    Inside(Vec<Coverage>),
}

impl TilePermit<'_> {
    /// The tiles, of which this permit is for one.
    pub(crate) fn manager(&self) -> &TileManager {
        self.set.manager(&Key(()))
    }

    pub(crate) fn coord(&self) -> TileCoord {
        self.coord
    }

    /// How long clients may keep the tile, if not as long as all tiles.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.set.max_age()
    }

    pub(crate) fn visible(&self) -> &Visible {
        &self.visible
    }
}

fn extent_of(set: &TileSet, coord: TileCoord) -> MapExtent {
    MapExtent::new(set.grid().tile_bbox(coord), set.grid().srs().clone())
}

/// No permit.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    Forbidden,
    /// With the challenge of the authorizer.
    Unauthenticated(Option<HeaderValue>),
    /// The authorizer could not decide; the log says why.
    Failed,
    /// It could not for the time being.
    Unavailable,
}

impl Refusal {
    /// Plain text in all services, as from MapProxy.
    pub(crate) fn response(&self) -> Response {
        let response = match self {
            Refusal::Forbidden => plain(StatusCode::FORBIDDEN, "forbidden"),
            Refusal::Unauthenticated(challenge) => {
                let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized");
                if let Some(challenge) = challenge {
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
                }
                response
            }
            Refusal::Failed => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Refusal::Unavailable => {
                let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
        };
        forbid_caching(response)
    }
}
