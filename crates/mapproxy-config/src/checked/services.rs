//! Services: which protocols are spoken, and what they tell of themselves.

use std::sync::Arc;

use indexmap::IndexMap;

use super::image::ImageOptions;
use super::ogcapi::OgcApi;
use super::values::{KeywordList, OnSourceErrors, Stylesheet, WmsVersion};
use crate::position::Origin;

/// The configured services.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// `wms`.
    pub wms: Option<Wms>,
    /// `wmts`.
    pub wmts: Option<Wmts>,
    /// `tms`; it also stands for `/tiles`.
    pub tms: Option<Tms>,
    /// `kml`.
    pub kml: Option<Kml>,
    /// `ogcapi`.
    pub ogcapi: Option<OgcApi>,
    /// `demo`.
    pub demo: Option<Demo>,
}

/// `services.wms`.
#[derive(Debug, Clone)]
pub struct Wms {
    /// Where it was written.
    pub at: Origin,
    /// `srs` in upper case as offered in capabilities, in order.
    pub srs: Vec<Arc<str>>,
    /// `bbox_srs`: which bounding boxes capabilities list, and where maps end.
    pub bbox_srs: Vec<BboxSrs>,
    /// `image_formats`: media type → options of the answer, in the order of capabilities.
    pub image_formats: IndexMap<Arc<str>, ImageOptions>,
    /// `attribution.text`, drawn on maps.
    pub attribution: Option<String>,
    /// `on_source_errors`. Default notify.
    pub on_source_errors: OnSourceErrors,
    /// `max_output_pixels`; width × height of the largest map. Default 16,000,000.
    pub max_output_pixels: u64,
    /// `strict`: missing parameters are an error.
    pub strict: bool,
    /// `versions`, ascending. Default all.
    pub versions: Vec<WmsVersion>,
    /// `concurrent_layer_renderer`: how many layers to render at once. Default 1.
    pub concurrent_layer_renderer: u32,
    /// `inspire_md`.
    pub inspire: Option<super::Inspire>,
    /// `featureinfo_types`: what capabilities offer; empty for the default.
    pub featureinfo_types: Vec<InfoType>,
    /// `featureinfo_xslt`: rewrites answers, by the type that is wanted.
    pub featureinfo_xslt: Vec<(InfoType, Stylesheet)>,
    /// `md`; the title is `MapProxy WMS` if there is none.
    pub md: ServiceMetadata,
}

/// Types of feature info.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InfoType {
    /// `text`
    Text,
    /// `html`
    Html,
    /// `xml`
    Xml,
    /// `json`
    Json,
}

impl InfoType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Text, Self::Html, Self::Xml, Self::Json];

    /// As written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Html => "html",
            Self::Xml => "xml",
            Self::Json => "json",
        }
    }

    /// The type written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An SRS with the box maps in it are limited to.
#[derive(Debug, Clone, PartialEq)]
pub struct BboxSrs {
    /// SRS code.
    pub srs: Arc<str>,
    /// `[min x, min y, max x, max y]`, `None` for the extent of the layers.
    pub bbox: Option<[f64; 4]>,
}

/// `services.wmts`.
#[derive(Debug, Clone)]
pub struct Wmts {
    /// Where it was written.
    pub at: Origin,
    /// `kvp`: answers requests with parameters. If neither this nor `restful` is given, both are on; if one is given,
    /// the other is off.
    pub kvp: bool,
    /// `restful`: answers paths.
    pub restful: bool,
    /// `restful_template`, if given.
    pub restful_template: Option<String>,
    /// `restful_featureinfo_template`, if given.
    pub restful_featureinfo_template: Option<String>,
    /// `featureinfo_formats` as (media type, suffix).
    pub featureinfo_formats: Vec<(String, String)>,
    /// `md` over that of WMS.
    pub md: ServiceMetadata,
}

/// `services.tms`.
#[derive(Debug, Clone)]
pub struct Tms {
    /// Where it was written.
    pub at: Origin,
    /// `use_grid_names`: paths name the grid instead of the SRS.
    pub use_grid_names: bool,
    /// `origin`: whether `/tiles` counts rows from the north (`nw`) unless the request says otherwise.
    pub origin_nw: bool,
    /// `md` over that of WMS.
    pub md: ServiceMetadata,
}

/// `services.kml`.
#[derive(Debug, Clone)]
pub struct Kml {
    /// Where it was written.
    pub at: Origin,
    /// `use_grid_names`: paths name the grid instead of the SRS.
    pub use_grid_names: bool,
    /// `md` over that of WMS.
    pub md: ServiceMetadata,
}

/// `services.demo`.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Where it was written.
    pub at: Origin,
    /// `md` of WMS.
    pub md: ServiceMetadata,
    /// `globals.background.url`: a map of the world in EPSG:3857 to be shown beneath the layers, with `{z}`, `{x}`, `{y}`.
    pub background: Option<String>,
}

/// `md` of a service: what capabilities documents tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceMetadata {
    /// `title`.
    pub title: Option<String>,
    /// `abstract`.
    pub abstract_: Option<String>,
    /// `online_resource`.
    pub online_resource: Option<String>,
    /// `contact`.
    pub contact: Option<Contact>,
    /// `fees`.
    pub fees: Option<String>,
    /// `access_constraints`.
    pub access_constraints: Option<String>,
    /// `keyword_list`.
    pub keyword_list: Vec<KeywordList>,
}

/// Whom to ask about a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// `person`.
    pub person: Option<String>,
    /// `position`.
    pub position: Option<String>,
    /// `organization`.
    pub organization: Option<String>,
    /// `address`.
    pub address: Option<String>,
    /// `address_type`.
    pub address_type: Option<String>,
    /// `city`.
    pub city: Option<String>,
    /// `postcode`.
    pub postcode: Option<String>,
    /// `state`.
    pub state: Option<String>,
    /// `country`.
    pub country: Option<String>,
    /// `phone`.
    pub phone: Option<String>,
    /// `fax`.
    pub fax: Option<String>,
    /// `email`.
    pub email: Option<String>,
}
