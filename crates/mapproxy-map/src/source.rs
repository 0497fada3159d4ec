//! Who can answer: upstream servers, caches, and wrappers around them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mapproxy_grid::{Coverage, MapExtent, ResolutionRange, TileGrid};
use mapproxy_image::{ImageOptions, MapImage};

use crate::{MapError, MapQuery};

/// Which boxes may be asked for.
#[derive(Clone, Debug)]
pub enum Access {
    /// Any.
    AnyBox,
    /// Any, but each tile is to be asked for on its own: the picture of several, cut, is not that of one.
    EachTile,
    /// Only those of single tiles of this grid.
    TilesOf(Arc<TileGrid>),
}

/// What never changes between queries.
#[derive(Clone, Debug)]
pub struct SourceProfile {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// The area beyond which there is nothing; `None`: unlimited.
    pub extent: Option<MapExtent>,
    /// The exact area, where one is configured.
    pub coverage: Option<Coverage>,
    /// Resolutions at which there is something.
    pub resolutions: ResolutionRange,
    /// Of its pictures.
    pub image: Arc<ImageOptions>,
    /// Which boxes may be asked for.
    pub access: Access,
}

impl SourceProfile {
    /// A source of any box, unlimited.
    pub fn new(name: impl Into<Arc<str>>, image: Arc<ImageOptions>) -> Self {
        SourceProfile {
            name: name.into(),
            extent: None,
            coverage: None,
            resolutions: ResolutionRange::default(),
            image,
            access: Access::AnyBox,
        }
    }

    /// There is something to be shown for `query`, as far as resolution and coverage tell.
    pub fn covers(&self, query: &MapQuery) -> Result<bool, MapError> {
        if !self.resolutions.contains(&query.bbox, query.size, &query.srs) {
            return Ok(false);
        }
        match &self.coverage {
            Some(coverage) => Ok(coverage.intersects(&query.bbox, &query.srs)?),
            None => Ok(true),
        }
    }
}

/// Something that can draw a map: an upstream server, a cache, or a wrapper around another.
pub trait MapSource: Any + fmt::Debug + Send + Sync {
    /// What never changes between queries.
    fn profile(&self) -> &SourceProfile;

    /// The map for `query`, or `None` where this source has nothing to show.
    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError>;

    /// The answer to `query` will hide everything below.
    fn is_opaque(&self, _query: &MapQuery) -> bool {
        false
    }

    /// One source answering for both, this one below, if a single upstream request can.
    fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        None
    }
}
