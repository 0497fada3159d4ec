//! Map sources around map sources.

mod resolution_switch;
mod srs_switch;

pub use resolution_switch::ResolutionSwitch;
pub use srs_switch::SrsSwitch;
