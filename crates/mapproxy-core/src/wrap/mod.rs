//! Applications around applications.

mod reload;

pub use reload::{Loaded, NotLoaded, Outcome, Reload, Watching};
