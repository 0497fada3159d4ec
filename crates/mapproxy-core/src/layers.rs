//! What services publish: map layers in a tree, and tile layers.

use std::sync::Arc;
use std::time::Duration;

use mapproxy_cache::TileManager;
pub use mapproxy_config::checked::KeywordList;
use mapproxy_grid::{MapExtent, ResolutionRange, TileGrid};
use mapproxy_image::ImageOptions;
use mapproxy_map::data::DataFormat;
use mapproxy_map::info::InfoSource;
use mapproxy_map::legend::LegendSource;
use mapproxy_map::{Dimension, MapSource};

use crate::auth::Key;

/// A layer of the WMS, with its children.
#[derive(Debug)]
pub struct MapLayer {
    /// Name to ask for it; `None`: only a heading.
    pub name: Option<String>,
    /// Title for people.
    pub title: String,
    /// Sources, bottom to top; a group's own sources replace its children's.
    pub sources: Vec<Arc<dyn MapSource>>,
    /// Who knows what lies at a point of it, in the order of the answer; a group's own replace its children's.
    pub info: Vec<Arc<dyn InfoSource>>,
    /// Who explains it, in the order of its sources; a group's own replace its children's.
    pub legends: Vec<Arc<dyn LegendSource>>,
    /// Children in order.
    pub children: Vec<MapLayer>,
    /// Resolutions at which it is shown.
    pub resolutions: ResolutionRange,
    /// The area of its sources or children; `None`: unlimited (the world is announced).
    pub extent: Option<MapExtent>,
    /// Its dimensions; those of groups hold for the layers in them, too.
    pub dimensions: Vec<Arc<Dimension>>,
    /// Its sources ask for the styles that clients name (`forward_req_params`).
    pub forwards_styles: bool,
    /// The scale (its denominator) at which the layer is meant to be seen.
    pub nominal_scale: Option<f64>,
    /// What capabilities say besides.
    pub metadata: Arc<LayerMetadata>,
}

impl MapLayer {
    /// Something is known of points of the layer, or of layers in it.
    pub fn is_queryable(&self) -> bool {
        !self.info.is_empty() || self.children.iter().any(MapLayer::is_queryable)
    }

    /// There is a legend of the layer, or of layers in it.
    pub fn has_legend(&self) -> bool {
        !self.legends.is_empty() || self.children.iter().any(MapLayer::has_legend)
    }

    /// The layer, or one of those in it, is called `name`.
    pub(crate) fn has_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.children.iter().any(|child| child.has_named(name))
    }
}

/// `md` of a layer.
#[derive(Clone, Debug, Default)]
pub struct LayerMetadata {
    /// How long clients may keep its maps and tiles, in place of what holds for all tiles; maps without it say nothing.
    pub max_age: Option<Duration>,
    /// Description.
    pub abstract_: Option<String>,
    /// Keywords by vocabulary.
    pub keywords: Vec<KeywordList>,
    /// Who is to be named.
    pub attribution: Option<Attribution>,
    /// Identifiers given by authorities.
    pub identifiers: Vec<Identifier>,
    /// `MetadataURL`s.
    pub metadata: Vec<OnlineResource>,
    /// `DataURL`s.
    pub data: Vec<OnlineResource>,
    /// `FeatureListURL`s.
    pub feature_lists: Vec<OnlineResource>,
}

/// Who is to be named.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// Text.
    pub title: Option<String>,
    /// Page.
    pub url: Option<String>,
    /// Picture: URL, format, width, height.
    pub logo: Option<Logo>,
}

/// A picture for an attribution.
#[derive(Clone, Debug, Default)]
pub struct Logo {
    /// Address.
    pub url: String,
    /// Media type.
    pub format: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
}

/// An identifier given by an authority.
#[derive(Clone, Debug, Default)]
pub struct Identifier {
    /// Address of the authority.
    pub url: String,
    /// Name of the authority.
    pub name: String,
    /// The identifier.
    pub value: String,
}

/// A document about a layer.
#[derive(Clone, Debug, Default)]
pub struct OnlineResource {
    /// Address.
    pub url: String,
    /// Kind of metadata, as configured (`ISO19115:2003`).
    pub kind: Option<String>,
    /// Media type.
    pub format: Option<String>,
}

/// A layer of the tiled services.
#[derive(Clone, Debug)]
pub struct TileLayer {
    /// Name.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// What capabilities say besides.
    pub metadata: Arc<LayerMetadata>,
    /// Its tiles, by grid, in the order of the configuration.
    pub tile_sets: Vec<TileSet>,
    /// Its dimensions.
    pub dimensions: Vec<Arc<Dimension>>,
    /// Who knows what lies at a point of it, in the order of the answer.
    pub info: Vec<Arc<dyn InfoSource>>,
    /// Where its legend is.
    pub legend_urls: LegendUrls,
}

/// Where clients find the legend of a tile layer: templates with `{base_url}` and `{layer_name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegendUrls {
    /// For clients who ask by parameters.
    pub kvp: Option<String>,
    /// For clients who ask by paths.
    pub restful: Option<String>,
}

/// The tiles of a layer in one grid.
#[derive(Clone, Debug)]
pub struct TileSet {
    /// The tiles; the grid and the format are its.
    manager: Arc<TileManager>,
    /// The area with tiles.
    pub extent: MapExtent,
    /// How long clients may keep them, if not as long as all tiles.
    max_age: Option<Duration>,
}

impl TileSet {
    /// The tiles of `manager`, of which there are some in `extent`.
    pub fn new(manager: Arc<TileManager>, extent: MapExtent) -> TileSet {
        TileSet { manager, extent, max_age: None }
    }

    /// The same, to be kept by clients as long as this, or as long as all tiles.
    #[must_use]
    pub fn with_max_age(self, max_age: Option<Duration>) -> TileSet {
        TileSet { max_age, ..self }
    }

    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// The grid of the tiles.
    pub fn grid(&self) -> &Arc<TileGrid> {
        self.manager.grid()
    }

    /// The format of the tiles as requests and addresses name it (`png`). Tiles of mixed formats are asked for as PNG.
    pub fn format(&self) -> &str {
        if let Some(format) = self.data_format() {
            return format.extension();
        }
        match self.image().format.as_ref().map_or("png", |format| format.ext()) {
            "mixed" => "png",
            ext => ext,
        }
    }

    /// The media type that capabilities say the tiles have.
    pub fn media_type(&self) -> String {
        match self.data_format() {
            Some(format) => format.media_type().to_owned(),
            None => format!("image/{}", self.format()),
        }
    }

    /// Whether a request that names this format means the tiles'.
    pub(crate) fn is_of_format(&self, name: &str) -> bool {
        match self.data_format() {
            Some(format) => format.is_called(name),
            None => name.strip_prefix("image/").unwrap_or(name) == self.format(),
        }
    }

    /// The format of tiles that are no pictures.
    pub fn data_format(&self) -> Option<&DataFormat> {
        self.manager.data_format()
    }

    /// Of the tiles' pictures.
    pub fn image(&self) -> &Arc<ImageOptions> {
        self.manager.image()
    }

    /// Name of the cache.
    pub fn cache_name(&self) -> &str {
        self.manager.name()
    }

    /// The tiles themselves, for those who have a permit.
    pub(crate) fn manager(&self, _key: &Key) -> &TileManager {
        &self.manager
    }
}
