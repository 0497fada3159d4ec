//! Feature info of a source, rewritten document by document.

use std::sync::Arc;

use crate::MapError;
use crate::info::{InfoDocument, InfoQuery, InfoSource, InfoTransform};

/// A source whose documents are rewritten.
#[derive(Debug)]
pub struct Transformed {
    source: Arc<dyn InfoSource>,
    transform: Arc<dyn InfoTransform>,
}

impl Transformed {
    /// `source`, its documents rewritten by `transform`.
    pub fn new(source: Arc<dyn InfoSource>, transform: Arc<dyn InfoTransform>) -> Transformed {
        Transformed { source, transform }
    }
}

#[deny(clippy::missing_trait_methods)]
impl InfoSource for Transformed {
    fn name(&self) -> &Arc<str> {
        self.source.name()
    }

    fn info(&self, query: &InfoQuery) -> Result<Option<InfoDocument>, MapError> {
        self.source.info(query)?.map(|document| self.transform.apply(document)).transpose()
    }
}
