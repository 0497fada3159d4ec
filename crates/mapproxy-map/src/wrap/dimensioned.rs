//! A source that is asked for other values of dimensions than the rest of a map.

use std::any::Any;
use std::sync::Arc;

use mapproxy_image::MapImage;

use crate::{Dimensions, MapError, MapQuery, MapSource, SourceProfile};

/// Asks a source with dimensions of its own in place of those of the query: layers of one map may have different
/// defaults, and styles.
#[derive(Debug)]
pub struct Dimensioned {
    source: Arc<dyn MapSource>,
    dimensions: Dimensions,
}

impl Dimensioned {
    /// `source`, asked with `dimensions`.
    pub fn new(source: Arc<dyn MapSource>, dimensions: Dimensions) -> Dimensioned {
        Dimensioned { source, dimensions }
    }

    fn own(&self, query: &MapQuery) -> MapQuery {
        MapQuery { dimensions: Arc::clone(&self.dimensions), ..query.clone() }
    }
}

#[deny(clippy::missing_trait_methods)]
impl MapSource for Dimensioned {
    fn profile(&self) -> &SourceProfile {
        self.source.profile()
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        self.source.render(&self.own(query))
    }

    fn is_opaque(&self, query: &MapQuery) -> bool {
        self.source.is_opaque(&self.own(query))
    }

    fn combine(&self, above: &dyn MapSource, query: &MapQuery) -> Option<Arc<dyn MapSource>> {
        let above = (above as &dyn Any).downcast_ref::<Dimensioned>()?;
        if above.dimensions != self.dimensions {
            return None;
        }
        let both = self.source.combine(above.source.as_ref(), &self.own(query))?;
        Some(Arc::new(Dimensioned::new(both, Arc::clone(&self.dimensions))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mapproxy_grid::{Bbox, Size, Srs};
    use mapproxy_image::ImageFormat;

    use super::*;

    /// Draws nothing, remembers what it was asked, and can be joined with any other.
    #[derive(Debug)]
    struct Recorder(SourceProfile, Arc<Mutex<Vec<Dimensions>>>);

    impl MapSource for Recorder {
        fn profile(&self) -> &SourceProfile {
            &self.0
        }
        fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
            self.1.lock().unwrap().push(Arc::clone(&query.dimensions));
            Ok(None)
        }
        fn combine(&self, _above: &dyn MapSource, _query: &MapQuery) -> Option<Arc<dyn MapSource>> {
            Some(Arc::new(Recorder(self.0.clone(), Arc::clone(&self.1))))
        }
    }

    #[test]
    fn each_source_is_asked_with_its_own_values_and_joined_with_its_like() {
        let asked = Arc::default();
        let own = |value: &str| {
            let recorder = Recorder(SourceProfile::new("r", Arc::default()), Arc::clone(&asked));
            Dimensioned::new(Arc::new(recorder), Arc::from([("time".to_owned(), value.to_owned())]))
        };
        let world = Bbox::new(-180.0, -90.0, 180.0, 90.0);
        let query = MapQuery::new(world, Size::new(10, 10), Srs::wgs84(), ImageFormat::png());
        let (first, same, other) = (own("1"), own("1"), own("2"));
        assert!(first.combine(&other, &query).is_none());
        first.combine(&same, &query).unwrap().render(&query).unwrap();
        other.render(&query).unwrap();
        let values: Vec<String> = asked.lock().unwrap().iter().map(|dimensions| dimensions[0].1.clone()).collect();
        assert_eq!(values, ["1", "2"]);
    }
}
