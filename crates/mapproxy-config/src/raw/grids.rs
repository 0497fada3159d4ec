//! `grids`.

use super::reader::{Text, record};
use super::{NumberOrText, Numbers};
use crate::position::Spanned;

record! {
    /// A grid.
    pub struct Grid {
        base: Text,
        name: Text,
        srs: Text,
        bbox: Numbers,
        bbox_srs: Text,
        num_levels: i64,
        res: Vec<Spanned<f64>>,
        res_factor: NumberOrText,
        max_res: f64,
        min_res: f64,
        stretch_factor: f64,
        max_shrink_factor: f64,
        align_resolutions_with: Text,
        origin: Text,
        tile_size: Vec<Spanned<i64>>,
        threshold_res: Vec<Spanned<f64>>,
    }
}
