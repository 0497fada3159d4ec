//! The layer tree, and the flat list of tiled layers made from it.

use super::values::ResRange;
use super::{LegendAddress, Name, SourceRef};
use crate::position::Origin;

/// A layer or a group of layers.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `name`; only named layers can be asked for.
    pub name: Option<Name>,
    /// `title`. Empty only for the root made up around a list of several layers: services put their own title there.
    pub title: String,
    /// Where it was written.
    pub at: Origin,
    /// `sources`, the lowest first. Those of a group replace its layers where the group itself is drawn.
    pub sources: Vec<SourceRef>,
    /// `layers`: the members of a group.
    pub layers: Vec<Layer>,
    /// `legendurl`: the layer's own legend, in place of those of its sources.
    pub legend: Option<LegendAddress>,
    /// The layer's own range of resolutions; `None` takes that of its sources or members.
    pub resolution: Option<ResRange>,
    /// `dimensions`.
    pub dimensions: Vec<Dimension>,
    /// `nominal_scale`, or that of `nominal_res` at 0.28 mm per pixel: the scale at which it is meant to be seen.
    pub nominal_scale: Option<f64>,
    /// `md`.
    pub md: LayerMetadata,
}

/// A layer of the tile services.
#[derive(Debug, Clone)]
pub struct TileLayer {
    /// `name`.
    pub name: Name,
    /// `title`.
    pub title: String,
    /// Where it was written.
    pub at: Origin,
    /// `tile_sources`, or the one cache in `sources`: at least one.
    pub caches: Vec<Name>,
    /// `dimensions`.
    pub dimensions: Vec<Dimension>,
    /// Who is asked what lies at a point and for legends: the caches in `tile_sources`, else all `sources`.
    pub sources: Vec<SourceRef>,
    /// There is a `legendurl`.
    pub has_legend: bool,
    /// `wmts_kvp_legendurl`: a template.
    pub kvp_legend_url: Option<String>,
    /// `wmts_rest_legendurl`: a template.
    pub rest_legend_url: Option<String>,
    /// `md`.
    pub md: LayerMetadata,
}

/// A dimension of a layer, its values as they were written.
#[derive(Debug, Clone)]
pub struct Dimension {
    /// Its key.
    pub name: Name,
    /// Where it was written.
    pub at: Origin,
    /// `values`: at least one.
    pub values: Vec<String>,
    /// `default`.
    pub default: Option<String>,
    /// `units`.
    pub units: Option<String>,
    /// `unit_symbol`.
    pub unit_symbol: Option<String>,
    /// `nearest_value`: a value that is not there stands for the nearest that is.
    pub nearest_value: bool,
    /// `send_default`: WMS and TMS ask for the default where a client names no value.
    pub send_default: bool,
}

/// `md` of a layer: what capabilities documents tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerMetadata {
    /// `abstract`.
    pub abstract_: Option<String>,
    /// `keyword_list`.
    pub keyword_list: Vec<super::values::KeywordList>,
    /// `attribution`.
    pub attribution: Option<Attribution>,
    /// `identifier`.
    pub identifier: Vec<Identifier>,
    /// `metadata`.
    pub metadata: Vec<MetadataUrl>,
    /// `data`: `url` and `format`.
    pub data: Vec<OnlineData>,
    /// `feature_list`: `url` and `format`.
    pub feature_list: Vec<OnlineData>,
    /// `expires_hours` of the layer: how long clients may keep its tiles and maps.
    pub max_age: Option<std::time::Duration>,
}

/// Who provides a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attribution {
    /// `title`.
    pub title: Option<String>,
    /// `url`.
    pub url: Option<String>,
    /// `logo`.
    pub logo: Option<Logo>,
}

/// A picture of who provides a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logo {
    /// `url`.
    pub url: Option<String>,
    /// `width` in pixels.
    pub width: Option<i64>,
    /// `height` in pixels.
    pub height: Option<i64>,
    /// `format`: media type.
    pub format: Option<String>,
}

/// An identifier some authority gave to a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identifier {
    /// `url` of the authority.
    pub url: Option<String>,
    /// `name` of the authority.
    pub name: Option<String>,
    /// `value`: the identifier.
    pub value: Option<String>,
}

/// Where a description of a layer is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataUrl {
    /// `url`.
    pub url: Option<String>,
    /// `type`: the standard it follows, such as `TC211`.
    pub type_: Option<String>,
    /// `format`: media type.
    pub format: Option<String>,
}

/// Where data of a layer is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnlineData {
    /// `url`.
    pub url: Option<String>,
    /// `format`: media type.
    pub format: Option<String>,
}
