//! Values that several sections have.

use std::fmt;
use std::path::PathBuf;

use crate::position::Origin;

/// A range of resolutions, in metres per pixel.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ResRange {
    /// `min_res`: the largest resolution shown, `None` for no limit.
    pub min_res: Option<f64>,
    /// `max_res`: the smallest resolution shown, `None` for no limit.
    pub max_res: Option<f64>,
}

impl ResRange {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        self.min_res.is_none() && self.max_res.is_none()
    }
}

/// What to do when some sources fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnSourceErrors {
    /// Draw what came, and write the errors on it.
    #[default]
    Notify,
    /// Answer with an exception.
    Raise,
}

/// Versions of WMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WmsVersion {
    /// 1.0.0
    V1_0_0,
    /// 1.1.0
    V1_1_0,
    /// 1.1.1
    V1_1_1,
    /// 1.3.0
    V1_3_0,
}

impl WmsVersion {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::V1_0_0, Self::V1_1_0, Self::V1_1_1, Self::V1_3_0];

    /// As written in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
            Self::V1_1_1 => "1.1.1",
            Self::V1_3_0 => "1.3.0",
        }
    }

    /// The version written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for WmsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An XSLT stylesheet.
#[derive(Debug, Clone)]
pub struct Stylesheet {
    /// The file, absolute.
    pub path: PathBuf,
    /// Where it was written.
    pub at: Origin,
}

/// Keywords of one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeywordList {
    /// `vocabulary`.
    pub vocabulary: Option<String>,
    /// `keywords`.
    pub keywords: Vec<String>,
}
