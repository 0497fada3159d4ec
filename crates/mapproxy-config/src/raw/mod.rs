//! The configuration as written: one structure per section, every value with its position.
//!
//! Reading checks types and nothing else: a value of the wrong type is an error, an unknown key a warning, a missing
//! required key an error. All of them are collected; what could be read is there in spite of them. The keys are those
//! of MapProxy 7.0.0, including some it reads but does not know in its own list, and a few of ours.

mod auth;
mod caches;
mod coverage;
mod globals;
mod grids;
mod layers;
mod reader;
mod seed;
mod services;
mod sources;
mod values;

pub use auth::*;
pub use caches::*;
pub use coverage::*;
pub use globals::*;
pub use grids::*;
pub use layers::*;
pub use reader::{Entry, Table, Text};
pub(crate) use reader::{FromNode, Reader, nearest};
pub use seed::*;
pub use services::*;
pub use sources::*;
pub use values::*;

use reader::record;

use crate::yaml::Node;

record! {
    /// `mapproxy.yaml`.
    pub struct Document {
        globals: Globals,
        grids: Table<Grid>,
        caches: Table<Cache>,
        sources: Table<Source>,
        layers: Layers,
        services: Services,
        /// Free room for anchors; never looked at.
        parts: Node,
    }
}
