//! The configuration of MapProxy: reads `mapproxy.yaml` and `seed.yaml`, checks them, and resolves them to plain data.
//!
//! The way of a file through this crate:
//!
//! 1. `yaml`: bytes → nodes with positions, by the rules of YAML 1.1 as PyYAML reads it; `$VAR` is expanded.
//! 2. `merge`: `base:` files are loaded and merged below the file that names them.
//! 3. `raw`: nodes → typed structures as written, every value with its position.
//! 4. `check`: references and rules between keys → [`Diagnostics`], all mistakes at once.
//! 5. [`checked`]: globals folded in, inheritance done, paths absolute: a [`Config`] with nothing left to look up.
//!
//! The crate knows nothing of images, grids or sources: what it hands over are strings, numbers and enumerations.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod checked;
mod diagnostic;
mod position;

pub use checked::Config;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use position::{Files, Origin, Span, Spanned};
