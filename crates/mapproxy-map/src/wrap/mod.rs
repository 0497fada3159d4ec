//! Sources around sources.

mod clipped;
mod dimensioned;
mod resolution_switch;
mod srs_switch;
mod transformed;

pub use clipped::Clipped;
pub use dimensioned::Dimensioned;
pub use resolution_switch::ResolutionSwitch;
pub use srs_switch::SrsSwitch;
pub use transformed::Transformed;
