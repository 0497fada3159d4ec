//! What an OGC API is made of.

use std::sync::Arc;
use std::time::Duration;

use mapproxy_grid::{Srs, TileGrid};
use mapproxy_image::ImageOptions;
use mapproxy_map::render::OnSourceErrors;

use crate::auth::Gate;
use crate::decorate::Decorators;
use crate::{MapLayer, TileLayer};

/// The parts and settings of an [`super::OgcApi`].
#[derive(Clone, Debug)]
pub struct OgcApiOptions {
    /// The layer tree; each layer with a name is a collection.
    pub root: Arc<MapLayer>,
    /// Layers with tiles of their own, which are served as they are kept.
    pub tile_layers: Vec<TileLayer>,
    /// Tile matrix sets, in order.
    pub grids: Vec<Arc<TileGrid>>,
    /// There are maps.
    pub maps: bool,
    /// There are tiles.
    pub tiles: bool,
    /// SRS of maps; the first is the default.
    pub map_srs: Vec<Srs>,
    /// Formats of pictures by their media types; the first is the default.
    pub image_formats: Vec<(String, Arc<ImageOptions>)>,
    /// The collections of a map that names none, bottom to top.
    pub default_dataset_layers: Vec<String>,
    /// Text drawn on each map.
    pub attribution: Option<String>,
    /// When some sources fail and others answer.
    pub on_source_errors: OnSourceErrors,
    /// Layers asked at once.
    pub concurrent_layer_renderer: usize,
    /// Largest number of pixels of an answer.
    pub max_output_pixels: u64,
    /// For documents.
    pub metadata: ApiMetadata,
    /// How long clients may keep a tile that is served as it is kept.
    pub max_age: Duration,
    /// Keep upstream URLs and reasons out of errors.
    pub hide_error_details: bool,
    /// Who may see what.
    pub gate: Gate,
    /// Who draws on maps and tiles.
    pub decorators: Decorators,
}

/// What the documents say of the service.
#[derive(Clone, Debug, Default)]
pub struct ApiMetadata {
    /// Title for people.
    pub title: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// A page about the service.
    pub url: Option<String>,
    /// A page with the terms of its use.
    pub terms_of_service: Option<String>,
    /// Keywords.
    pub keywords: Vec<String>,
    /// Whom to ask.
    pub contact: Option<ApiContact>,
    /// The licence of the data: name and page.
    pub license: Option<(String, Option<String>)>,
    /// Who provides the service: name and page.
    pub provider: Option<(Option<String>, Option<String>)>,
}

/// Whom to ask.
#[derive(Clone, Debug, Default)]
pub struct ApiContact {
    /// Name.
    pub name: Option<String>,
    /// Electronic mail.
    pub email: Option<String>,
    /// Page.
    pub url: Option<String>,
    /// Street, city, state, postal code, country: as much as there is.
    pub address: Vec<String>,
    /// Telephone.
    pub phone: Option<String>,
    /// Fax.
    pub fax: Option<String>,
    /// When and how.
    pub instructions: Option<String>,
}
