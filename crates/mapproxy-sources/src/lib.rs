//! Who can be asked for maps: servers of WMS, ArcGIS, tiles and OGC APIs, Mapnik, pictures on disk, and a source for
//! debugging; and who knows more of them: feature info and legends.
//!
//! Each is a [`MapSource`](mapproxy_map::MapSource), [`InfoSource`](mapproxy_map::info::InfoSource) or
//! [`LegendSource`](mapproxy_map::legend::LegendSource) made from plain options; [`SeedOnly`] wraps one that must not
//! be asked while serving. Nothing here reads a configuration.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod arcgis;
mod debug;
mod error;
mod georeference;
mod kvp;
mod legend;
mod mapnik;
mod ogcapi;
mod on_error;
mod overview;
mod picture_server;
mod pyfmt;
mod raster;
mod seed_only;
mod sub_request;
mod tile;
mod tile_url;
mod wms;
mod wms_info;
mod wms_request;

pub use arcgis::{ArcGisInfo, ArcGisInfoOptions, ArcGisOptions, ArcGisSource};
pub use debug::DebugSource;
pub use error::SourceError;
pub use legend::{LegendAddress, StaticLegend, WmsLegend, WmsLegendOptions};
pub use mapnik::{Mapnik, MapnikOptions, MapnikSource};
pub use ogcapi::{
    MAX_DOCUMENT_BYTES, OgcApiMapsOptions, OgcApiMapsSource, OgcApiTilesOptions, OgcApiTilesSource, TileMatrixSet,
    TileMatrixSetError,
};
pub use on_error::{OnErrorRule, OnErrors};
pub use picture_server::TransparentColor;
pub use raster::{RasterOptions, RasterSource};
pub use seed_only::{SeedOnly, SeedOnlyData};
pub use tile::{TileOptions, TileSource};
pub use wms::{HttpMethod, WmsOptions, WmsSource, WmsVersion};
pub use wms_info::{MAX_INFO_BYTES, WmsInfo, WmsInfoOptions};
