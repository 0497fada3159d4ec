//! Web Map Service 1.0.0, 1.1.0, 1.1.1 and 1.3.0.

mod options;

pub use options::{BboxSrs, WmsOptions, WmsVersion};

use crate::{Incoming, Response, Service};

/// A WMS: any map of the layers of one tree.
#[derive(Debug)]
pub struct Wms {
    options: WmsOptions,
}

impl Wms {
    /// Puts a service together.
    pub fn new(options: WmsOptions) -> Wms {
        Wms { options }
    }
}

impl Service for Wms {
    fn handle(&self, _request: &Incoming<'_>) -> Option<Response> {
        let _ = &self.options;
        None
    }
}
