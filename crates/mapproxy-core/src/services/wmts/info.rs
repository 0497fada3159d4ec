//! GetFeatureInfo: what lies at a pixel of a tile (OGC 07-057r7, 7.3).

use std::sync::Arc;

use http::StatusCode;
use mapproxy_grid::MapExtent;
use mapproxy_map::info::{InfoDocument, InfoQuery};
use mapproxy_trace as trace;

use super::error::WmtsError;
use super::{TileRequest, Wmts, WmtsLayer};
use crate::auth::{Operation, Refusal};
use crate::response::respond;
use crate::services::explanations::{Ask, ask_all};
use crate::services::log_map_error;
use crate::{Incoming, Params, Response};

/// Sources of a layer asked at once.
const CONCURRENCY: usize = 4;

/// A format of feature info that the service offers (`featureinfo_formats`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoFormat {
    /// Its media type, the name of requests by parameters.
    pub media_type: String,
    /// The end of paths.
    pub suffix: String,
}

/// How a request names a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InfoFormatName<'a> {
    MediaType(&'a str),
    Suffix(&'a str),
}

/// A pixel of a tile as a request names it.
#[derive(Debug)]
pub(super) struct InfoRequest<'a> {
    pub(super) tile: TileRequest<'a>,
    pub(super) column: &'a str,
    pub(super) row: &'a str,
    /// `None`: the first there is.
    pub(super) info_format: Option<InfoFormatName<'a>>,
    pub(super) feature_count: Option<&'a str>,
}

impl WmtsLayer {
    pub(super) fn is_queryable(&self, formats: &[InfoFormat]) -> bool {
        !self.info.is_empty() && !formats.is_empty()
    }
}

impl Wmts {
    pub(super) fn feature_info(
        &self,
        incoming: &Incoming<'_>,
        wanted: &InfoRequest<'_>,
    ) -> Result<Response, WmtsError> {
        let name = wanted.tile.layer;
        let _place = trace::within(|| trace::Place::Layer(name.into()));
        let layer = self.layer(name)?;
        if !layer.is_queryable(&self.options.info_formats) {
            return Err(WmtsError::NotSupported(format!("layer {name} not queryable")));
        }
        let format = self.info_format(wanted.info_format)?;
        let (set, tile, dimensions) = self.find(&wanted.tile)?;
        let grid = set.grid();
        let size = grid.tile_size();
        let pixel = |text: &str, side: u32, locator| {
            let invalid =
                || WmtsError::invalid(format!("invalid value '{text}' for {locator}: not a number"), Some(locator));
            let pixel = text.trim().parse::<f64>().ok().filter(|pixel| pixel.is_finite()).ok_or_else(invalid)?;
            if (0.0..f64::from(side)).contains(&pixel) { Ok(pixel) } else { Err(WmtsError::PointOutOfRange(locator)) }
        };
        let position = (pixel(wanted.column, size.width, "i")?, pixel(wanted.row, size.height, "j")?);
        let feature_count = match wanted.feature_count.map(str::trim) {
            None | Some("") => None,
            Some(text) => {
                let count = text.parse().ok().filter(|count| *count > 0);
                let invalid = || WmtsError::invalid(format!("invalid feature_count: {text}"), Some("feature_count"));
                Some(count.ok_or_else(invalid)?)
            }
        };
        let bbox = grid.tile_bbox(tile);
        let query = InfoQuery {
            info_format: Some(format.media_type.clone()),
            feature_count,
            dimensions,
            ..InfoQuery::new(bbox, size, grid.srs().clone(), position)
        };
        let subject = || (vec![name], Some(MapExtent::new(bbox, grid.srs().clone())));
        let permit = self.options.gate.ask(Operation::WmtsFeatureInfo, incoming, subject)?;
        if !permit.allows(name) {
            return Err(Refusal::Forbidden.into());
        }
        let answer = match permit.shows_point(Some(name), &query) {
            Ok(true) => {
                let query = Arc::new(query);
                let ask = |source: &Arc<_>| Ask { source: Arc::clone(source), query: Arc::clone(&query) };
                ask_all(&layer.info.iter().map(ask).collect::<Vec<_>>(), CONCURRENCY, false)
            }
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        let document = answer.map_err(|error| {
            log_map_error(&error);
            WmtsError::Map(error)
        })?;
        let text = document.map_or_else(String::new, |InfoDocument { text, .. }| text);
        Ok(respond(StatusCode::OK, content_type(&format.media_type), text))
    }

    fn info_format(&self, name: Option<InfoFormatName<'_>>) -> Result<&InfoFormat, WmtsError> {
        let formats = &self.options.info_formats;
        let (found, text) = match name {
            Some(InfoFormatName::MediaType(text)) => {
                (formats.iter().find(|format| format.media_type.eq_ignore_ascii_case(text)), text)
            }
            Some(InfoFormatName::Suffix(text)) => (formats.iter().find(|format| format.suffix == text), text),
            None => (formats.first(), ""),
        };
        found.ok_or_else(|| WmtsError::invalid(format!("unknown infoformat: {text}"), Some("infoformat")))
    }
}

/// KVP GetFeatureInfo: OGC 07-057r7, table 31.
pub(super) fn kvp_info(params: &Params) -> Result<InfoRequest<'_>, WmtsError> {
    let tile = super::kvp_tile_and(params, &["infoformat", "i", "j"])?;
    let value = |name: &str| params.get(name).unwrap_or("");
    Ok(InfoRequest {
        tile: TileRequest { format: None, ..tile },
        column: value("i"),
        row: value("j"),
        info_format: Some(InfoFormatName::MediaType(value("infoformat"))),
        feature_count: params.get("feature_count"),
    })
}

/// What is sent is UTF-8.
fn content_type(media_type: &str) -> String {
    if media_type.starts_with("text/") && !media_type.contains(';') {
        format!("{media_type}; charset=utf-8")
    } else {
        media_type.to_owned()
    }
}
