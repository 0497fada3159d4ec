//! Why there is no map, and whose fault it is.

use std::sync::Arc;

use mapproxy_grid::{CoverageError, GridError, TransformError};
use mapproxy_image::ImageError;

/// Whose fault an error is: decides status code and log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request asks what cannot be given.
    Client,
    /// An upstream server failed.
    Upstream,
    /// Our own machine: disk, configuration, a defect.
    Local,
}

/// A map that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// An upstream server gave no usable answer.
    #[error("{source_name}: {message} {url}: {reason}")]
    Upstream {
        /// The source's name in the configuration.
        source_name: Arc<str>,
        /// Short, fit for clients: `HTTP Error`, `No response from URL`, `no image returned`.
        message: String,
        /// The URL asked, without secrets.
        url: String,
        /// Details for the log.
        reason: String,
        /// Status code of the answer, where there was one.
        status: Option<u16>,
    },
    /// The request needs more tiles than allowed.
    #[error("too many tiles, max_tile_limit: {limit}, num_tiles: {tiles}")]
    TooManyTiles {
        /// `max_tile_limit`.
        limit: u64,
        /// Tiles needed.
        tiles: u64,
    },
    /// The box is not a tile's, the tile size or SRS is another.
    #[error("{source_name}: {reason}")]
    Misaligned {
        /// The source's or cache's name.
        source_name: Arc<str>,
        /// What does not fit.
        reason: String,
    },
    /// A box or point has no image in another SRS.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The area in which a source may be seen cannot be said in the SRS of the map.
    #[error("{source_name}: its area: {error}")]
    Area {
        /// The source's name.
        source_name: Arc<str>,
        /// Why not.
        error: CoverageError,
    },
    /// A grid cannot give the map.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A picture could not be read or written.
    #[error("{source_name}: {error}")]
    Image {
        /// Whose picture.
        source_name: Arc<str>,
        /// What is wrong with it.
        error: ImageError,
    },
    /// Another worker held the lock of a meta tile for too long.
    #[error("gave up waiting for {lock} after {seconds} s: another worker holds it, or its source hangs")]
    LockTimeout {
        /// The lock.
        lock: String,
        /// Time waited.
        seconds: u64,
    },
    /// The cache could not read or write.
    #[error("cache {cache}: {reason}")]
    Store {
        /// Name of the cache.
        cache: Arc<str>,
        /// What failed, with what.
        reason: String,
    },
    /// A stylesheet could not rewrite feature info.
    #[error("{source_name}: cannot transform feature info: {reason}")]
    Transformation {
        /// Whose stylesheet: a source's name, or a service.
        source_name: Arc<str>,
        /// What failed, with which file.
        reason: String,
    },
    /// All sources of a map failed; each message, line by line.
    #[error("Could not get any sources:\n{0}")]
    NoSource(String),
    /// The embedding program could not draw on a finished map.
    #[error("decoration: {0}")]
    Decoration(String),
    /// The same failure, reported to another waiting for the same work.
    #[error(transparent)]
    Shared(#[from] Arc<MapError>),
}

impl MapError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            MapError::Upstream { .. } | MapError::Image { .. } | MapError::NoSource(_) => Fault::Upstream,
            MapError::TooManyTiles { .. } | MapError::Transform(_) | MapError::Grid(_) => Fault::Client,
            MapError::Misaligned { .. }
            | MapError::Transformation { .. }
            | MapError::LockTimeout { .. }
            | MapError::Store { .. }
            | MapError::Area { .. }
            | MapError::Decoration(_) => Fault::Local,
            MapError::Shared(error) => error.fault(),
        }
    }

    /// What a client may read: no URL and no reason while `hide_details` (`globals.http.hide_error_details`).
    pub fn public_message(&self, hide_details: bool) -> String {
        match self {
            MapError::Upstream { message, .. } if hide_details => format!("{message} (see logs for URL and reason)."),
            MapError::Upstream { message, url, reason, .. } => format!("{message} \"{url}\": {reason}"),
            MapError::TooManyTiles { .. } | MapError::Grid(_) => format!("Request too large or invalid BBOX. ({self})"),
            MapError::Transform(_) => "Could not transform BBOX: Invalid result.".to_owned(),
            MapError::Image { error, .. } => format!("error while processing image file: {error}"),
            MapError::NoSource(messages) => format!("Could not get any sources:\n{messages}"),
            MapError::Misaligned { reason, .. } => reason.clone(),
            MapError::Transformation { .. } => "feature info could not be transformed".to_owned(),
            MapError::LockTimeout { .. } | MapError::Store { .. } | MapError::Area { .. } | MapError::Decoration(_) => {
                "internal error".to_owned()
            }
            MapError::Shared(error) => error.public_message(hide_details),
        }
    }
}
