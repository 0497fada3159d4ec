//! Deployment files in the form of Paste Deploy: which applications are served, behind which filters, by which server.
//!
//! `parse` reads a file into a [`Deployment`], a plain value; `build` makes the applications. Nothing is accepted and
//! ignored: a key that means nothing here is refused with file and line, one that tunes a server that is not here is
//! warned of. Sections that nobody refers to are not read, as with Paste.

mod build;
mod parse;
mod servers;
mod settings;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use mapproxy_logging::FileConfig;

use crate::server_options::ServerOptions;

/// What a deployment file says.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    /// The file itself.
    file: PathBuf,
    /// The application's name, for reading it again.
    app_name: String,
    pub(crate) app: Part,
    pub(crate) server: ServerOptions,
    pub(crate) logging: Option<FileConfig>,
    /// What has no effect here.
    pub(crate) warnings: Vec<String>,
    /// All files that were read for the applications.
    files: Vec<PathBuf>,
}

/// An application, or something around applications.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// A mapproxy.yaml.
    Configuration(PathBuf),
    /// Every mapproxy.yaml of a directory.
    Directory {
        directory: PathBuf,
        allow_listing: bool,
    },
    UrlMap(Vec<Mount>),
    Prefix {
        prefix: String,
        https: Option<bool>,
        app: Box<Part>,
    },
    Cors {
        cors: Cors,
        app: Box<Part>,
    },
    BasicAuth {
        realm: String,
        htpasswd: PathBuf,
        app: Box<Part>,
    },
}

/// A place of a URL map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mount {
    host: Option<String>,
    path: String,
    app: Part,
}

/// What pages of other origins may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cors {
    origins: Vec<String>,
    expose: Vec<String>,
    max_age: Option<u32>,
    credentials: bool,
}

impl Part {
    /// Calls `visit` with this part and all inside it.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Part)) {
        visit(self);
        match self {
            Part::Configuration(_) | Part::Directory { .. } => {}
            Part::UrlMap(mounts) => mounts.iter().for_each(|mount| mount.app.each(visit)),
            Part::Prefix { app, .. } | Part::Cors { app, .. } | Part::BasicAuth { app, .. } => app.each(visit),
        }
    }
}
