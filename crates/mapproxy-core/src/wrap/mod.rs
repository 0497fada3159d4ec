//! Applications around applications.

mod basic_auth;
mod cors;
mod multi;
mod prefix;
mod reload;
mod url_map;

pub use basic_auth::{BasicAuth, Passwords, PasswordsError, User};
pub use cors::{Cors, CorsError};
pub use multi::{Multi, MultiBuilder, MultiError, ProjectName, make_multi_app};
pub use prefix::Prefix;
pub use reload::{Loaded, NotLoaded, Outcome, Reload, Watching};
pub use url_map::{MountError, UrlMap};
