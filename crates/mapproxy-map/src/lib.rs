//! The contracts between whoever wants a map and whoever can draw one.
//!
//! A service makes a [`MapQuery`], a [`MapSource`] answers it with a picture; caches, upstream servers and the wrappers
//! around them are all map sources. [`render`] asks many and merges their answers. What lies at a point of a map is for an
//! [`InfoSource`](info::InfoSource) to say, what a map means for a [`LegendSource`](legend::LegendSource).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod data;
pub mod dimension;
mod error;
pub mod info;
pub mod legend;
pub mod ogc;
mod query;
pub mod render;
mod source;
pub mod wrap;

pub use dimension::Dimension;
pub use error::{Fault, MapError};
pub use query::{Dimensions, MapQuery, Purpose};
pub use source::{Access, MapSource, SourceProfile};
