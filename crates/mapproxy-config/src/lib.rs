//! The configuration of MapProxy: reads `mapproxy.yaml` and `seed.yaml`, checks them, and resolves them to plain data.
//!
//! The way of a file through this crate:
//!
//! 1. [`yaml`]: bytes → nodes with positions, by the rules of YAML 1.1 as PyYAML reads it; `$VAR` is expanded.
//! 2. `merge`: `base:` files are loaded and merged below the file that names them.
//! 3. [`raw`]: nodes → typed structures as written, every value with its position.
//! 4. `check`: references and rules between keys → [`Diagnostics`], all mistakes at once.
//! 5. [`checked`]: globals folded in, inheritance done, paths absolute: a [`Config`] with nothing left to look up.
//!
//! The crate knows nothing of images, grids or sources: what it hands over are strings, numbers and enumerations.
//!
//! ```
//! let loaded = mapproxy_config::load_str(
//!     "services: {demo: {}}\nsources: {osm: {type: wms, req: {url: 'http://localhost/wms', layers: osm}}}\n\
//!      layers: [{name: osm, title: Map, sources: [osm]}]\n",
//!     std::path::Path::new("/etc/mapproxy"),
//! );
//! let config = loaded.config.expect("no mistakes in it");
//! assert!(config.sources.contains_key("osm"));
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
pub mod checked;
mod diagnostic;
mod env;
mod findings;
mod load;
mod merge;
mod position;
pub mod raw;
mod resolve;
pub mod yaml;

pub use checked::Config;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use env::Environment;
pub use load::{
    LoadOptions, Loaded, LoadedCoverages, LoadedSeed, SeedSelection, load, load_coverages, load_coverages_str,
    load_seed, load_seed_selected, load_seed_str, load_seed_with, load_str, load_str_with, load_with, read_written,
};
pub use position::{Files, Origin, Span, Spanned};
