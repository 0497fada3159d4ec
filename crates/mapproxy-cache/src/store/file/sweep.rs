//! Removes levels from a directory of tiles.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::failed;
use crate::fs::{ignore_missing, is_being_removed, remove_folder};
use crate::store::StoreError;
use crate::store::layout::Layout;

/// What is to go.
pub(super) struct Sweep<'a> {
    pub(super) layout: Layout,
    pub(super) extension: &'a str,
    pub(super) level: u8,
    /// Only tiles stored then or earlier.
    pub(super) before: Option<SystemTime>,
}

impl Sweep<'_> {
    /// Cleans a cache's directory.
    pub(super) fn clean(&self, directory: &Path) -> Result<(), StoreError> {
        self.folder(directory, "").map(|_| ())
    }

    /// Removes what must go from a folder, which is `relative` to the cache's directory, and the folders below that become
    /// empty. A level whose tiles all lie in one folder, and must all go, goes without a look at them. Whether any was
    /// removed.
    fn folder(&self, folder: &Path, relative: &str) -> Result<bool, StoreError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("list", folder)(error)),
        };
        let mut removed = false;
        for entry in entries {
            let entry = entry.map_err(failed("list", folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            // What is not UTF-8 was not written by a cache.
            let Some(name) = name.to_str() else { continue };
            let below = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
            if !entry.file_type().map_err(failed("read", &path))?.is_dir() {
                removed |= self.file(&path, &below)?;
                continue;
            }
            match self.layout.level_of_folder(&below) {
                Some(other) if other != self.level => {}
                Some(_) if self.before.is_none() => {
                    remove_folder(&path).map_err(failed("remove", &path))?;
                    removed = true;
                }
                // Of a process that was killed.
                None if is_being_removed(name) => {
                    ignore_missing(fs::remove_dir_all(&path)).map_err(failed("remove", &path))?;
                }
                _ => {
                    if self.folder(&path, &below)? {
                        removed = true;
                        // Not empty: other tiles stay, or have come meanwhile.
                        let _ = fs::remove_dir(&path);
                    }
                }
            }
        }
        Ok(removed)
    }

    fn file(&self, path: &Path, relative: &str) -> Result<bool, StoreError> {
        let tile = self.layout.parse(relative, self.extension);
        if tile.is_none_or(|tile| tile.coord.z != self.level) {
            return Ok(false);
        }
        if let Some(before) = self.before {
            let modified = match fs::symlink_metadata(path).and_then(|metadata| metadata.modified()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                modified => modified.map_err(failed("read", path))?,
            };
            if modified > before {
                return Ok(false);
            }
        }
        ignore_missing(fs::remove_file(path)).map_err(failed("remove", path))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    /// A directory of a cache with these files, and the names that are left of them after cleaning.
    fn left(files: &[&str], layout: Layout, level: u8, before: Option<SystemTime>) -> Vec<String> {
        let base = tempfile::tempdir().unwrap();
        for file in files {
            let path = base.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"tile").unwrap();
        }
        Sweep { layout, extension: "png", level, before }.clean(base.path()).unwrap();
        let mut names = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(base.path().join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let name = folder.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(name.clone());
                }
                names.push(name.to_str().unwrap().to_owned());
            }
        }
        names.sort();
        names
    }

    #[test]
    fn a_level_goes_as_a_whole_in_every_dimension() {
        let files = ["1/0/0.png", "11/1/1.png", "time-2020/1/0/0.png", "time-2020/2/1/1.png", ".removed-3-1-1/0/0.png"];
        let gone = left(&files, Layout::Tms, 1, None);
        assert_eq!(
            gone,
            ["11", "11/1", "11/1/1.png", "time-2020", "time-2020/2", "time-2020/2/1", "time-2020/2/1/1.png"]
        );
    }

    #[test]
    fn folders_that_become_empty_go_and_strangers_files_stay() {
        let later = Some(SystemTime::now() + Duration::from_secs(60));
        let files = ["5/7/3.png", "5/8/3.png", "5/8/notes.txt", "single_color_tiles/ff0000.png"];
        let names = left(&files, Layout::Tms, 5, later);
        assert_eq!(names, ["5", "5/8", "5/8/notes.txt", "single_color_tiles", "single_color_tiles/ff0000.png"]);
        let names = left(&["2/1/3.png", "2/1/4.png", "4/4/3.png"], Layout::ReverseTms, 3, None);
        assert_eq!(names, ["2", "2/1", "2/1/4.png"]);
    }
}
