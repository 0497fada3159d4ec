//! The OGC API: which parts are offered, and what it tells of itself.

use std::sync::Arc;

use indexmap::IndexMap;

use super::image::ImageOptions;
use super::values::OnSourceErrors;
use crate::position::Origin;

/// `services.ogcapi` over `globals.ogcapi`.
#[derive(Debug, Clone)]
pub struct OgcApi {
    /// Where it was written.
    pub at: Origin,
    /// `enable_maps`. Default true.
    pub maps: bool,
    /// `enable_tiles`. Default true.
    pub tiles: bool,
    /// `map_srs` in upper case: what maps may be asked for in, the first unless the request says otherwise.
    pub map_srs: Vec<Arc<str>>,
    /// `image_formats`: media type → options of the answer, the preferred one first. Default PNG and JPEG.
    pub image_formats: IndexMap<Arc<str>, ImageOptions>,
    /// `attribution.text`, drawn on maps.
    pub attribution: Option<String>,
    /// `on_source_errors`. Default notify.
    pub on_source_errors: OnSourceErrors,
    /// `max_output_pixels`; width × height of the largest map. Default 16,000,000.
    pub max_output_pixels: u64,
    /// `concurrent_layer_renderer`: how many layers to render at once. Default 1.
    pub concurrent_layer_renderer: u32,
    /// `default_dataset_layers`: what a map without collections shows, the lowest first, and where each was written.
    pub default_dataset_layers: Vec<(Arc<str>, Origin)>,
    /// `md`.
    pub md: OgcApiMetadata,
}

/// `md` of the OGC API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OgcApiMetadata {
    /// `identification.title`.
    pub title: Option<String>,
    /// `identification.description`.
    pub description: Option<String>,
    /// `identification.url`: a page about the service.
    pub url: Option<String>,
    /// `identification.terms_of_service`: a page.
    pub terms_of_service: Option<String>,
    /// `identification.keywords`.
    pub keywords: Vec<String>,
    /// `contact`.
    pub contact: Option<OgcApiContact>,
    /// `license`: name and page.
    pub license: Option<(String, Option<String>)>,
    /// `provider`: name and page.
    pub provider: Option<(Option<String>, Option<String>)>,
}

/// Whom to ask about the OGC API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OgcApiContact {
    /// `name`.
    pub name: Option<String>,
    /// `email`.
    pub email: Option<String>,
    /// `url`.
    pub url: Option<String>,
    /// `address`.
    pub address: Option<String>,
    /// `city`.
    pub city: Option<String>,
    /// `stateorprovince`.
    pub state: Option<String>,
    /// `postalcode`.
    pub postcode: Option<String>,
    /// `country`.
    pub country: Option<String>,
    /// `phone`.
    pub phone: Option<String>,
    /// `fax`.
    pub fax: Option<String>,
    /// `instructions`.
    pub instructions: Option<String>,
}
