//! Coordinate transformation, with transformers kept per thread.

use crate::{Bbox, Srs};

/// A box or point has no image in the other SRS.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot transform {what} from {from} to {to}")]
pub struct TransformError {
    /// The box or point.
    pub what: String,
    /// Its SRS.
    pub from: Srs,
    /// The wanted SRS.
    pub to: Srs,
}

impl Srs {
    /// Transforms points in place, x/y order on both sides; a point without image becomes infinite.
    pub fn transform_points(&self, to: &Srs, points: &mut [(f64, f64)]) -> Result<(), TransformError> {
        let _ = (to, points);
        todo!()
    }

    /// The box around 16 transformed points of the outline (four segments a side).
    pub fn transform_bbox(&self, to: &Srs, bbox: &Bbox) -> Result<Bbox, TransformError> {
        let _ = (to, bbox);
        todo!()
    }
}
