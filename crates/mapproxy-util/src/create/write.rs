//! Writing what was created: all files or none, each whole or not at all, and nobody's file is lost.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::failure;
use crate::{Failure, println};

/// A file to write.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    text: String,
}

impl Target {
    pub(super) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Target {
        Target { path: path.into(), text: text.into() }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Writes all files, with the folders they lie in, or none. What is there is replaced only with `force`.
pub(super) fn write(targets: &[Target], force: bool) -> Result<(), Failure> {
    for target in targets {
        // A dangling link is there, too: what it points to is nobody's business here.
        match fs::symlink_metadata(&target.path) {
            Ok(there) if there.is_dir() => {
                return Err(failure(format_args!("{} is a folder", target.path.display())));
            }
            Ok(_) if !force => return Err(exists(&target.path)),
            _ => {}
        }
    }
    let mut prepared = Vec::with_capacity(targets.len());
    for target in targets {
        prepared.push((prepare(target).map_err(|error| cannot_write(&target.path, &error))?, &target.path));
    }
    let mut written: Vec<&Path> = Vec::with_capacity(targets.len());
    for (file, path) in prepared {
        let result = match force {
            true => file.persist(path),
            false => file.persist_noclobber(path),
        };
        if let Err(error) = result {
            if !force {
                // Somebody came in between: what is ours goes again.
                for path in written {
                    let _ = fs::remove_file(path);
                }
            }
            return Err(match error.error.kind() {
                ErrorKind::AlreadyExists => exists(path),
                _ => cannot_write(path, &error.error),
            });
        }
        written.push(path);
    }
    for path in written {
        println(format_args!("writing {}", path.display()));
    }
    Ok(())
}

/// The file under another name in its folder, complete.
fn prepare(target: &Target) -> io::Result<NamedTempFile> {
    let folder = match target.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As for any new file: what the umask leaves.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(target.text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn exists(path: &Path) -> Failure {
    failure(format_args!("{} already exists, use --force", path.display()))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    failure(format_args!("cannot write {}: {error}", path.display()))
}
