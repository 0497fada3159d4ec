//! A server as a program of one's own: a Cargo package that serves one configuration.

use std::path::{Path, PathBuf};

use super::render::render;
use super::write::Target;
use super::{Order, failure};
use crate::{Failure, println};

/// What MapProxy's users ask for by habit.
pub(super) fn wsgi_app(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    println(format_args!(
        "There are no WSGI scripts here: this is the template server-app, a program that serves your configuration."
    ));
    // `config.py` is the name that manuals of MapProxy give to such a script.
    let destination = match order.destination.extension() {
        Some(extension) if extension == "py" => order.destination.with_extension(""),
        _ => order.destination.to_owned(),
    };
    package(order, &destination)
}

pub(super) fn server_app(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    package(order, order.destination)
}

fn package(order: &Order<'_>, destination: &Path) -> Result<Vec<Target>, Failure> {
    let crates = match order.crates {
        Some(folder) => Some(checked(folder)?),
        None => std::env::current_exe().ok().and_then(|program| checkout(&program)),
    };
    let dependency = |name: &str| match &crates {
        Some(folder) => format!("{name} = {{ path = {:?} }}", folder.join(name)),
        None => format!("{name} = \"{}\"", compatible(env!("CARGO_PKG_VERSION"))),
    };
    let name = package_name(destination);
    let manifest = render(
        include_str!("templates/server-app/manifest.toml"),
        &[
            ("name", &name),
            ("mapproxy-core", &dependency("mapproxy-core")),
            ("mapproxy-http", &dependency("mapproxy-http")),
            ("mapproxy-logging", &dependency("mapproxy-logging")),
        ],
    );
    let configuration = order.configuration.to_str().map(|path| format!("{path:?}"));
    let main = render(
        include_str!("templates/server-app/main.rs"),
        &[("name", &name), ("quoted_config", &configuration.unwrap_or_default())],
    );
    Ok(vec![Target::new(destination.join("Cargo.toml"), manifest), Target::new(destination.join("src/main.rs"), main)])
}

/// `0.1` of `0.1.7`, `1` of `1.2.3`: what Cargo may replace by newer ones.
fn compatible(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    let end = if version.starts_with("0.") { dots.nth(1) } else { dots.next() };
    &version[..end.unwrap_or(version.len())]
}

/// The folder that was named, if the crates lie in it.
fn checked(folder: &Path) -> Result<PathBuf, Failure> {
    match folder.canonicalize() {
        Ok(folder) if has_crates(&folder) => Ok(folder),
        _ => Err(failure(format_args!("{} has no folder mapproxy-core with a Cargo.toml", folder.display()))),
    }
}

/// The crates this program was built from, if it still lies among what Cargo built.
fn checkout(program: &Path) -> Option<PathBuf> {
    program.ancestors().map(|folder| folder.join("crates")).find(|folder| has_crates(folder))
}

fn has_crates(folder: &Path) -> bool {
    folder.join("mapproxy-core/Cargo.toml").is_file()
}

/// A name that Cargo accepts and that is nobody else's, after the folder's.
fn package_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() && name.ends_with("server") => name.to_owned(),
        Some(first) if first.is_ascii_alphabetic() => format!("{name}-server"),
        Some(_) => format!("maps-{name}-server"),
        None => "maps-server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_named_after_its_folder() {
        for (folder, name) in [
            ("/srv/maps", "maps-server"),
            ("/srv/map-server", "map-server"),
            ("/srv/Karten von Köln", "karten-von-k-ln-server"),
            ("/srv/2026", "maps-2026-server"),
            ("/srv/test", "test-server"),
            ("/", "maps-server"),
        ] {
            assert_eq!(package_name(Path::new(folder)), name);
        }
    }

    #[test]
    fn published_crates_are_asked_for_as_semver_wants_it() {
        assert_eq!(compatible("0.1.0"), "0.1");
        assert_eq!(compatible("0.12.3"), "0.12");
        assert_eq!(compatible("1.2.3"), "1");
    }

    #[test]
    fn a_checkout_is_found_around_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("target/release/mapproxy-util");
        assert_eq!(checkout(&program), None);
        std::fs::create_dir_all(dir.path().join("crates/mapproxy-core")).unwrap();
        std::fs::write(dir.path().join("crates/mapproxy-core/Cargo.toml"), "").unwrap();
        assert_eq!(checkout(&program), Some(dir.path().join("crates")));
    }
}
