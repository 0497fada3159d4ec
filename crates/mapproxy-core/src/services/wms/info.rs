//! GetFeatureInfo.

use std::sync::Arc;

use http::StatusCode;
use mapproxy_grid::{Bbox, MapExtent};
use mapproxy_map::info::{InfoDocument, InfoKind, InfoQuery};
use mapproxy_map::render::OnSourceErrors;
use mapproxy_trace as trace;

use super::dialect::Dialect;
use super::error::{Failure, WmsError};
use super::request::GetFeatureInfo;
use super::{Wms, WmsVersion};
use crate::auth::Operation;
use crate::response::respond;
use crate::services::explanations::{NotAsked, ask_all};
use crate::{Incoming, Response};

impl Wms {
    pub(super) fn feature_info(&self, incoming: &Incoming<'_>, dialect: &Dialect) -> Result<Response, Failure> {
        let options = &self.options;
        let request = GetFeatureInfo::parse(incoming.params(), dialect, options.strict, &options.forward_params)?;
        let _place = trace::within(|| trace::Place::Layer(request.query_layers.join(",").into()));
        self.check_layers(request.layers.iter().chain(&request.query_layers))?;
        let srs = self.srs(&request.srs, dialect)?;
        if let Some(name) = request.query_layers.iter().find(|name| !self.explanations.is_queryable(name)) {
            let error = WmsError::new(format!("layer {name} is not queryable"));
            let code = (dialect.version == WmsVersion::V1_3_0).then_some("LayerNotQueryable");
            return Err(WmsError { code, ..error }.into());
        }
        let Bbox { min_x, min_y, max_x, max_y } = request.bbox;
        let bbox = if dialect.crs_axis_order && srs.is_north_first() {
            Bbox::new(min_y, min_x, max_y, max_x)
        } else {
            request.bbox
        };
        let query = InfoQuery {
            info_format: request.info_format.clone(),
            format: request.format.clone(),
            feature_count: request.feature_count,
            dimensions: Arc::clone(&request.dimensions),
            ..InfoQuery::new(bbox, request.size, srs.clone(), request.position)
        };
        let selection = self.explanations.info(&request.query_layers);
        let subject = || (selection.names(), Some(MapExtent::new(bbox, srs.clone())));
        let permit = options.gate.ask(Operation::WmsFeatureInfo, incoming, subject)?;
        let asks = selection.asks(&permit, &query).map_err(|reason| match reason {
            NotAsked::Refused(refusal) => Failure::Refused(refusal),
            NotAsked::Dimension(error) => WmsError::with_code("InvalidDimensionValue", error.to_string()).into(),
            NotAsked::Failed(error) => self.map_error(&error).into(),
        })?;
        let all_or_none = options.on_source_errors == OnSourceErrors::Raise;
        let document = ask_all(&asks, options.concurrent_layer_renderer, all_or_none)
            .and_then(|document| document.map(|document| self.transformed(document, &query)).transpose())
            .map_err(|error| self.map_error(&error))?;
        Ok(match document {
            Some(InfoDocument { kind, text }) => respond(StatusCode::OK, content_type(kind, dialect), text),
            None => {
                let wanted = query.info_format.as_deref().and_then(InfoKind::of).unwrap_or(InfoKind::Text);
                respond(StatusCode::OK, content_type(wanted, dialect), "")
            }
        })
    }

    /// The answer as the service's own stylesheets make it: the one of the kind that is wanted, or of XML, HTML or any
    /// other where nothing is wanted in particular.
    fn transformed(&self, document: InfoDocument, query: &InfoQuery) -> Result<InfoDocument, mapproxy_map::MapError> {
        let transforms = &self.options.featureinfo_transforms;
        let of = |wanted: InfoKind| transforms.iter().find(|(kind, _)| *kind == wanted);
        let transform = match &query.info_format {
            Some(name) => InfoKind::of(name).and_then(of),
            None => of(InfoKind::Xml).or_else(|| of(InfoKind::Html)).or(transforms.first()),
        };
        match transform {
            Some((_, transform)) => transform.apply(document),
            None => Ok(document),
        }
    }
}

/// As each version calls it.
pub(super) fn content_type(kind: InfoKind, dialect: &Dialect) -> &'static str {
    match kind {
        InfoKind::Text => "text/plain; charset=utf-8",
        InfoKind::Html => "text/html; charset=utf-8",
        InfoKind::Xml if dialect.version == WmsVersion::V1_3_0 => "text/xml; charset=utf-8",
        InfoKind::Xml => "application/vnd.ogc.gml",
        InfoKind::Json => "application/json",
    }
}
