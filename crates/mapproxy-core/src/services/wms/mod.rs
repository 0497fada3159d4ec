//! Web Map Service 1.0.0, 1.1.0, 1.1.1 and 1.3.0 (OGC 00-028, 01-047r2, 01-068r3, 06-042), with the tiles of WMS-C.
//!
//! A request is parsed (`request`) in the words of its version (`dialect`), checked against the layers (`layer_tree`)
//! and limits, drawn (`map`, `tiled`), explained (`info`, `legend`) or answered by the capabilities document; what goes
//! wrong on the way is an exception in the form the client asks for (`error`).

mod boxes;
mod capabilities;
mod dialect;
mod error;
mod exception;
mod info;
mod inspire;
mod legend;
mod map;
mod options;
mod permitted;
mod request;
mod tiled;

pub use options::{BboxSrs, WmsOptions, WmsVersion};

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LANGUAGE;

use self::capabilities::Capabilities;
use self::dialect::Dialect;
use self::error::{Failure, WmsError};
use self::legend::LegendSizes;
use self::request::Operation;
use super::explanations::Explanations;
use super::layer_tree::LayerTree;
use crate::auth::{self, Refusal};
use crate::response::respond;
use crate::{Incoming, Response, Service};

/// A WMS: any map of the layers of one tree.
#[derive(Debug)]
pub struct Wms {
    options: WmsOptions,
    tree: LayerTree,
    explanations: Explanations,
    legend_sizes: LegendSizes,
    capabilities: Capabilities,
}

impl Wms {
    /// Puts a service together.
    pub fn new(mut options: WmsOptions) -> Wms {
        if options.versions.is_empty() {
            options.versions.extend(WmsVersion::ALL);
        }
        options.versions.sort();
        let tree = LayerTree::new(&options.root);
        let explanations = Explanations::new(&options.root);
        let legend_sizes = LegendSizes::new(&options.root);
        Wms { options, tree, explanations, legend_sizes, capabilities: Capabilities::default() }
    }

    fn answer(&self, request: &Incoming<'_>) -> Response {
        let params = request.params();
        let dialect = Dialect::sniff(params, &self.options.versions);
        let operation = match Operation::parse(params, dialect) {
            Ok(operation) => operation,
            Err(error) => return error.xml(dialect),
        };
        match operation {
            Operation::Capabilities => {
                self.get_capabilities(request, dialect).unwrap_or_else(|refusal| refusal.response())
            }
            Operation::Map => told(self.get_map(request, dialect), |error| self.exception(&error, dialect, params)),
            Operation::FeatureInfo => {
                told(self.feature_info(request, dialect), |error| self.exception(&error, dialect, params))
            }
            Operation::LegendGraphic => told(self.legend_graphic(request, dialect), |error| error.xml(dialect)),
        }
    }

    /// Each name is a layer's.
    fn check_layers<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<(), WmsError> {
        match self.tree.unknown(names) {
            Some(name) => Err(WmsError::with_code("LayerNotDefined", format!("unknown layer: {name}"))),
            None => Ok(()),
        }
    }

    fn get_capabilities(&self, request: &Incoming<'_>, dialect: &Dialect) -> Result<Response, Refusal> {
        let names = || (permitted::names(&self.options.root), None);
        let permit = self.options.gate.ask(auth::Operation::WmsCapabilities, request, names)?;
        let tiled = request::is_true(request.params().get("tiled"));
        let address = request.urls().base;
        let (sizes, generation) = (&self.legend_sizes, self.legend_sizes.prepare());
        let text = if permit.is_full() {
            self.capabilities.text(&self.options, sizes, generation, dialect, tiled, &address)
        } else {
            let part = permitted::part(&self.options, &permit);
            Capabilities::default().text(&part, sizes, generation, dialect, tiled, &address)
        };
        Ok(self.document(dialect, text))
    }

    fn document(&self, dialect: &Dialect, text: Bytes) -> Response {
        let mut response = respond(StatusCode::OK, dialect.capabilities_type, text);
        if let Some(inspire) = self.options.inspire.as_deref().filter(|_| dialect.version == WmsVersion::V1_3_0)
            && let Some(language) = inspire::content_language(&inspire.language)
        {
            response.headers_mut().insert(CONTENT_LANGUAGE, language);
        }
        response
    }
}

/// The answer, or what there is in its place.
fn told(answer: Result<Response, Failure>, exception: impl FnOnce(WmsError) -> Response) -> Response {
    answer.unwrap_or_else(|failure| match failure {
        Failure::Exception(error) => exception(error),
        Failure::Refused(refusal) => refusal.response(),
    })
}

impl Service for Wms {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        Some(self.answer(request))
    }

    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        let params = request.params();
        let dialect = Dialect::sniff(params, &self.options.versions);
        if !self.options.gate.is_open() {
            return None;
        }
        let tiled = request::is_true(params.get("tiled"));
        match Operation::parse(params, dialect).ok()? {
            Operation::Capabilities => {
                let text =
                    self.capabilities.kept(self.legend_sizes.settled()?, dialect, tiled, &request.urls().base)?;
                Some(self.document(dialect, text))
            }
            Operation::Map if tiled => self.get_tile_now(request, dialect),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
