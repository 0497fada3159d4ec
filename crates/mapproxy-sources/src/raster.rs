//! `type: raster`: a georeferenced picture on disk.

use std::path::PathBuf;
use std::sync::Arc;

use mapproxy_grid::{Bbox, Coverage, ResolutionRange, Srs};
use mapproxy_image::{ImageOptions, MapImage};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};

use crate::{SourceError, TransparentColor};

/// What a [`RasterSource`] is made of.
#[derive(Clone, Debug)]
pub struct RasterOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `file`: PNG, JPEG, TIFF, GIF or WebP.
    pub file: PathBuf,
    /// `srs`; `None`: what the GeoTIFF says.
    pub srs: Option<Srs>,
    /// `bbox` in `srs`; `None`: what a world file beside the picture or the GeoTIFF says.
    pub bbox: Option<Bbox>,
    /// Of the answers; `resampling` counts.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
}

/// A picture on disk, scaled and reprojected as asked.
#[derive(Debug)]
pub struct RasterSource {
    profile: SourceProfile,
}

impl RasterSource {
    /// Reads the picture's header and position; its pixels are decoded when first asked for.
    pub fn new(options: RasterOptions) -> Result<Self, SourceError> {
        let _ = options;
        todo!()
    }
}

impl MapSource for RasterSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _ = query;
        todo!()
    }
}
