//! Map sources around map sources.

mod clipped;
mod resolution_switch;
mod srs_switch;

pub use clipped::Clipped;
pub use resolution_switch::ResolutionSwitch;
pub use srs_switch::SrsSwitch;
