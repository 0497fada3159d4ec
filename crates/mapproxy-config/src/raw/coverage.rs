//! Coverages of sources, caches and seeding.

use super::Numbers;
use super::reader::{Text, record};
use crate::position::Spanned;

record! {
    /// A coverage.
    pub struct Coverage {
        polygons: Text,
        polygons_srs: Text,
        bbox: Numbers,
        bbox_srs: Text,
        ogr_datasource: Text,
        ogr_where: Text,
        ogr_srs: Text,
        datasource: Numbers,
        #[doc = "A condition, or a whole query."]
        where_ ("where"): Text,
        srs: Text,
        expire_tiles: Text,
        union: Vec<Spanned<Coverage>>,
        difference: Vec<Spanned<Coverage>>,
        intersection: Vec<Spanned<Coverage>>,
        clip: bool,
    }
}
