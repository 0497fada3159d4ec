//! What can be asked of a map source.

use std::sync::Arc;

use mapproxy_grid::{Bbox, Size, Srs};
use mapproxy_image::ImageFormat;

/// Dimension values and other forwarded parameters, with the client's spelling of the names, in order.
pub type Dimensions = Arc<[(String, String)]>;

/// Why a map is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Purpose {
    /// Somebody waits for it.
    #[default]
    Serve,
    /// A cache is being filled: `seed_only` sources answer, too.
    Seed,
}

/// A map that is wanted.
#[derive(Clone, Debug)]
pub struct MapQuery {
    /// The box, in units of `srs`, x/y order.
    pub bbox: Bbox,
    /// Pixels of the picture.
    pub size: Size,
    /// The SRS of the box.
    pub srs: Srs,
    /// The format that suits the asker best; a source may answer in another.
    pub format: ImageFormat,
    /// The asker can use transparent pixels.
    pub transparent: bool,
    /// Dimensions and forwarded parameters.
    pub dimensions: Dimensions,
    /// Why it is drawn.
    pub purpose: Purpose,
    /// The answer will be kept in a cache: a source must give exactly what was asked for, or fail.
    pub kept: bool,
    /// There is an old answer to show in case of a failure, which is better than a stand-in then.
    pub has_stale: bool,
}

impl MapQuery {
    /// A map without dimensions, for somebody who waits.
    pub fn new(bbox: Bbox, size: Size, srs: Srs, format: ImageFormat) -> Self {
        MapQuery {
            bbox,
            size,
            srs,
            format,
            transparent: false,
            dimensions: Arc::new([]),
            purpose: Purpose::Serve,
            kept: false,
            has_stale: false,
        }
    }

    /// The same for another box and size.
    pub fn sub(&self, bbox: Bbox, size: Size) -> Self {
        MapQuery { bbox, size, ..self.clone() }
    }

    /// SRS units per pixel, the finer of both directions.
    pub fn resolution(&self) -> f64 {
        let (x, y) = self.bbox.resolution(self.size);
        x.min(y)
    }
}
