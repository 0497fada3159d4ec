//! What can go wrong with pictures.

use mapproxy_grid::{Size, TransformError};

/// A picture that cannot be read, made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes are no picture, or a broken one.
    #[error("cannot decode image: {0}")]
    Decode(String),
    /// The picture is larger than the limit for decoding.
    #[error("image of {size} is larger than the limit of {limit} pixels")]
    TooLarge {
        /// Its size.
        size: Size,
        /// Largest number of pixels allowed.
        limit: u64,
    },
    /// The format cannot be written.
    #[error("cannot encode image as {format}: {reason}")]
    Encode {
        /// The format asked for.
        format: String,
        /// Why not.
        reason: String,
    },
    /// A coordinate has no image in the other SRS.
    #[error(transparent)]
    Transform(#[from] TransformError),
}
