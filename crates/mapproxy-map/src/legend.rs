//! Legends: pictures, or documents, that explain a layer.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mapproxy_image::MapImage;

use crate::MapError;

/// Something that can explain its map.
pub trait LegendSource: Any + fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// The legend; `None` where there is none of this form.
    fn legend(&self, query: &LegendQuery) -> Result<Option<Legend>, MapError>;

    /// The legend, if it can be had without asking anybody.
    fn kept(&self, _query: &LegendQuery) -> Option<Legend> {
        None
    }
}

/// A legend that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct LegendQuery {
    /// What it is to be.
    pub form: LegendForm,
    /// Denominator of the scale for which it is wanted.
    pub scale: Option<f64>,
}

/// What a legend is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LegendForm {
    /// A picture.
    #[default]
    Picture,
    /// A JSON document.
    Json,
}

/// A legend.
#[derive(Clone, Debug)]
pub enum Legend {
    /// A picture; not to be kept if it is not cacheable.
    Picture(MapImage),
    /// A JSON document.
    Json(String),
}

/// JSON legends as one: the lists of `Legend` one after the other. `None` of none that is JSON.
pub fn merge_json(documents: &[String]) -> Option<String> {
    let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
    crate::info::merge_json(&texts)
}
