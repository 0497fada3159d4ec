//! Options that no source can be made of.

use std::sync::Arc;

/// A source that cannot be; found when it is made, not when it is asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The URL is no URL, or its template names what a tile has not got.
    #[error("{source_name}: url {url}: {reason}")]
    Url {
        /// The source's name in the configuration.
        source_name: Arc<str>,
        /// The URL, without secrets.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read, or does not say what is needed.
    #[error("{source_name}: {file}: {reason}")]
    File {
        /// The source's name in the configuration.
        source_name: Arc<str>,
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}
