//! `seed_only`: a source that answers while caches are filled, and shows nothing while serving.

use std::sync::Arc;

use mapproxy_image::MapImage;
use mapproxy_map::data::{DataFormat, DataSource, DataTile};
use mapproxy_map::{MapError, MapQuery, MapSource, Purpose, SourceProfile};

/// A source that is asked only to fill caches.
#[derive(Debug)]
pub struct SeedOnly {
    inner: Arc<dyn MapSource>,
}

impl SeedOnly {
    /// Keeps requests of [`Purpose::Serve`] from `inner`.
    pub fn new(inner: Arc<dyn MapSource>) -> Self {
        SeedOnly { inner }
    }
}

/// The same for tiles of data.
#[derive(Debug)]
pub struct SeedOnlyData {
    inner: Arc<dyn DataSource>,
}

impl SeedOnlyData {
    /// Keeps requests of [`Purpose::Serve`] from `inner`.
    pub fn new(inner: Arc<dyn DataSource>) -> Self {
        SeedOnlyData { inner }
    }
}

impl DataSource for SeedOnlyData {
    fn profile(&self) -> &SourceProfile {
        self.inner.profile()
    }

    fn data(&self, query: &MapQuery, format: &DataFormat) -> Result<DataTile, MapError> {
        match query.purpose {
            Purpose::Seed => self.inner.data(query, format),
            Purpose::Serve => Ok(DataTile::EMPTY),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for SeedOnly {
    fn profile(&self) -> &SourceProfile {
        self.inner.profile()
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        match query.purpose {
            Purpose::Seed => self.inner.render(query),
            Purpose::Serve => Ok(None),
        }
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        query.purpose == Purpose::Seed && self.inner.is_opaque(query)
    }

    /// Never: what is above may be asked while serving.
    fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        None
    }
}
