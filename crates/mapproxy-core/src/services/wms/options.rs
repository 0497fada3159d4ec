//! What a WMS is made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_grid::{Bbox, Srs};
use mapproxy_image::ImageOptions;
use mapproxy_map::info::{InfoKind, InfoTransform};
use mapproxy_map::render::OnSourceErrors;

use crate::auth::Gate;
use crate::decorate::Decorators;
use crate::services::{Inspire, ServiceMetadata};
use crate::{MapLayer, TileLayer};

/// The parts and settings of a [`super::Wms`].
#[derive(Clone, Debug)]
pub struct WmsOptions {
    /// The layer tree.
    pub root: Arc<MapLayer>,
    /// SRS that clients may ask for, in the order of the configuration.
    pub srs: Vec<Srs>,
    /// Formats that clients may ask for, by their exact name, in the order of the configuration.
    pub image_formats: Vec<(String, Arc<ImageOptions>)>,
    /// SRS in which capabilities give the box of each layer.
    pub bbox_srs: Vec<BboxSrs>,
    /// Largest number of pixels of an answer; `None`: 2^28.
    pub max_output_pixels: Option<u64>,
    /// Versions spoken; empty: all.
    pub versions: Vec<WmsVersion>,
    /// `FORMAT` and `STYLES` of feature info requests and `SLD_VERSION` of legend requests must be sent.
    pub strict: bool,
    /// When some sources fail and others answer.
    pub on_source_errors: OnSourceErrors,
    /// Layers asked at once.
    pub concurrent_layer_renderer: usize,
    /// Text drawn on each map.
    pub attribution: Option<String>,
    /// For capabilities.
    pub metadata: ServiceMetadata,
    /// INSPIRE metadata, for capabilities of 1.3.0.
    pub inspire: Option<Arc<Inspire>>,
    /// `featureinfo_types`: what capabilities offer; empty: what there are transforms for, else text, HTML and XML.
    pub featureinfo_types: Vec<InfoKind>,
    /// `featureinfo_xslt`: what rewrites answers, by the kind that is wanted.
    pub featureinfo_transforms: Vec<(InfoKind, Arc<dyn InfoTransform>)>,
    /// How long clients may keep a tile asked for with `tiled=true`.
    pub max_tile_age: Duration,
    /// Keep upstream URLs and reasons out of exceptions.
    pub hide_error_details: bool,
    /// `forward_req_params` of all sources: names of parameters that go to the sources besides `TIME`, `ELEVATION` and
    /// `DIM_*`.
    pub forward_params: Vec<String>,
    /// Layers with tiles, for requests with `tiled=true` (WMS-C).
    pub tile_layers: Vec<Arc<TileLayer>>,
    /// Who may see what.
    pub gate: Gate,
    /// Who draws on pictures before they are sent.
    pub decorators: Decorators,
}

impl WmsOptions {
    /// What feature info is offered as.
    pub(crate) fn info_kinds(&self) -> Vec<InfoKind> {
        let transformed: Vec<InfoKind> = self.featureinfo_transforms.iter().map(|(kind, _)| *kind).collect();
        match (self.featureinfo_types.is_empty(), transformed.is_empty()) {
            (false, _) => self.featureinfo_types.clone(),
            (true, false) => transformed,
            (true, true) => vec![InfoKind::Text, InfoKind::Html, InfoKind::Xml],
        }
    }
}

/// An SRS with the box to be announced and drawn in it.
#[derive(Clone, Debug)]
pub struct BboxSrs {
    /// The SRS.
    pub srs: Srs,
    /// Nothing is drawn outside of this box; `None`: no limit, the layer's own box is announced.
    pub bbox: Option<Bbox>,
}

/// Versions of the Web Map Service (OGC 00-028, 01-047r2, 01-068r3, 06-042).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WmsVersion {
    /// 1.0.0
    V1_0_0,
    /// 1.1.0
    V1_1_0,
    /// 1.1.1
    V1_1_1,
    /// 1.3.0
    V1_3_0,
}

impl WmsVersion {
    /// All versions, ascending.
    pub const ALL: [WmsVersion; 4] = [WmsVersion::V1_0_0, WmsVersion::V1_1_0, WmsVersion::V1_1_1, WmsVersion::V1_3_0];

    /// As written in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            WmsVersion::V1_0_0 => "1.0.0",
            WmsVersion::V1_1_0 => "1.1.0",
            WmsVersion::V1_1_1 => "1.1.1",
            WmsVersion::V1_3_0 => "1.3.0",
        }
    }

    pub(super) fn numbers(self) -> [u32; 3] {
        match self {
            WmsVersion::V1_0_0 => [1, 0, 0],
            WmsVersion::V1_1_0 => [1, 1, 0],
            WmsVersion::V1_1_1 => [1, 1, 1],
            WmsVersion::V1_3_0 => [1, 3, 0],
        }
    }
}

impl fmt::Display for WmsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
