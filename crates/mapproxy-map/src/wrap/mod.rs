//! Map sources around map sources.

mod clipped;
mod dimensioned;
mod resolution_switch;
mod srs_switch;

pub use clipped::Clipped;
pub use dimensioned::Dimensioned;
pub use resolution_switch::ResolutionSwitch;
pub use srs_switch::SrsSwitch;
