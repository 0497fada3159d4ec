//! The configuration that is served when none is named: a map of the world, from inside the program.

use std::env;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

const FILES: [(&str, &[u8]); 2] = [
    ("mapproxy.yaml", include_bytes!("../example/mapproxy.yaml")),
    ("world.png", include_bytes!("../example/world.png")),
];

/// The example on disk, with its tile cache beside it.
#[derive(Debug)]
pub(crate) enum Example {
    /// In the user's cache directory, where the tiles outlive the program.
    Kept(PathBuf),
    /// In a directory that goes when this value does, for users without a home.
    Temporary(TempDir),
}

impl Example {
    /// Writes what is not there yet.
    pub(crate) fn unpack() -> io::Result<Example> {
        let kept =
            cache_directory().map(|dir| dir.join("mapproxy").join(concat!("example-", env!("CARGO_PKG_VERSION"))));
        if let Some(dir) = kept {
            match unpack_into(&dir) {
                Ok(()) => return Ok(Example::Kept(dir)),
                Err(error) => {
                    log::info!(target: "mapproxy.config", "cannot write the example to {}: {error}", dir.display());
                }
            }
        }
        let dir = TempDir::with_prefix("mapproxy-example-")?;
        unpack_into(dir.path())?;
        Ok(Example::Temporary(dir))
    }

    /// Its configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        let dir = match self {
            Example::Kept(dir) => dir,
            Example::Temporary(dir) => dir.path(),
        };
        dir.join(FILES[0].0)
    }
}

/// `$XDG_CACHE_HOME` or `~/.cache`. Relative values are to be ignored by that standard.
fn cache_directory() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

fn unpack_into(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, bytes) in FILES {
        let path = dir.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            continue;
        }
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.persist(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_written_once_and_mended_when_changed() {
        let dir = tempfile::tempdir().unwrap();
        unpack_into(dir.path()).unwrap();
        let picture = dir.path().join("world.png");
        let written = std::fs::metadata(&picture).unwrap().modified().unwrap();
        std::fs::write(dir.path().join("mapproxy.yaml"), "changed").unwrap();
        unpack_into(dir.path()).unwrap();
        assert_eq!(std::fs::metadata(&picture).unwrap().modified().unwrap(), written);
        assert_eq!(std::fs::read(dir.path().join("mapproxy.yaml")).unwrap(), FILES[0].1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "temporary files were left");
    }
}
