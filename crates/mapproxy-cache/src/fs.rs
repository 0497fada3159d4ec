//! Files: atomic writes, permissions of new files and directories.
//!
//! Everything is written under a temporary name (`<file>.tmp-<random>`) beside its place and renamed, so a reader, ours
//! or a Python MapProxy's, never sees half a file. A write that fails leaves nothing behind.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

/// `directory_permissions` and `file_permissions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Mode of new directories; `None`: by the umask.
    pub directory: Option<u32>,
    /// Mode of new files; `None`: 0664 less the umask.
    pub file: Option<u32>,
}

/// What stands between a file's name and the random part of its temporary name.
const TEMPORARY: &str = ".tmp-";

/// Mode of new files before the umask.
pub(crate) const FILE_MODE: u32 = 0o664;

impl Permissions {
    /// Gives a new file its configured mode, whatever the umask.
    pub(crate) fn apply_to_file(self, file: &File) -> io::Result<()> {
        match self.file {
            Some(mode) => file.set_permissions(fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

/// Writes a file as a whole or not at all; missing directories are created.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], permissions: Permissions) -> io::Result<()> {
    write_atomic_with_times(path, bytes, permissions, None)
}

/// As [`write_atomic`], with other times than now.
pub(crate) fn write_atomic_with_times(
    path: &Path,
    bytes: &[u8],
    permissions: Permissions,
    times: Option<FileTimes>,
) -> io::Result<()> {
    replace(path, permissions, |temporary| {
        temporary.permissions(fs::Permissions::from_mode(FILE_MODE)).tempfile_in(parent(path)).and_then(|mut file| {
            file.write_all(bytes)?;
            permissions.apply_to_file(file.as_file())?;
            if let Some(times) = times {
                file.as_file().set_times(times)?;
            }
            Ok(file.into_temp_path())
        })
    })
}

/// Puts what `make` made under a temporary name in the place of `path`. Directories are created only when one is found
/// missing, and again should somebody have cleaned them away in the meantime.
pub(crate) fn replace(
    path: &Path,
    permissions: Permissions,
    make: impl Fn(&mut tempfile::Builder<'_, '_>) -> io::Result<tempfile::TempPath>,
) -> io::Result<()> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(TEMPORARY);
    with_directory(parent(path), permissions, || {
        let temporary = make(tempfile::Builder::new().prefix(&prefix))?;
        temporary.persist(path).map_err(|error| error.error)
    })
}

/// The name of the file that a temporary file is to become; `None` for other names.
pub(crate) fn temporary_of(name: &str) -> Option<&str> {
    name.rfind(TEMPORARY).map(|tail| &name[..tail])
}

/// Removes those temporary files in `directory` whose files `is_one` wants: left behind by processes that died before they could rename them.
pub(crate) fn remove_temporary(directory: &Path, is_one: impl Fn(&OsStr, &fs::DirEntry) -> bool) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        let tail = bytes.windows(TEMPORARY.len()).rposition(|part| part == TEMPORARY.as_bytes());
        // What lies before the mark is the file's name: cut at ASCII, it is a name again.
        let file = tail.and_then(|tail| std::str::from_utf8(&bytes[..tail]).ok());
        if file.is_some_and(|file| is_one(OsStr::new(file), &entry)) && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// Runs `action`, creating `directory` first if that is what it lacks.
pub(crate) fn with_directory<T>(
    directory: &Path,
    permissions: Permissions,
    action: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    for _ in 0..3 {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_directories(directory, permissions)?,
            result => return result,
        }
    }
    action()
}

/// Creates a directory and those above; another process may do the same at the same time.
pub(crate) fn create_directories(directory: &Path, permissions: Permissions) -> io::Result<()> {
    let create = || match fs::create_dir(directory) {
        Ok(()) => match permissions.directory {
            Some(mode) => fs::set_permissions(directory, fs::Permissions::from_mode(mode)),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    };
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.parent().is_some() => {
            create_directories(parent(directory), permissions)?;
            create()
        }
        result => result,
    }
}

/// Begins the name of a folder that is being removed.
const REMOVED: &str = ".removed-";

/// Removes a folder and all in it. It is out of the way at once: whoever stores something meanwhile makes a new one. A
/// missing one is no error.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(REMOVED);
    name.push(path.file_name().unwrap_or_default());
    let moment = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
    name.push(format!("-{}-{moment}", std::process::id()));
    let away = path.with_file_name(name);
    ignore_missing(fs::rename(path, &away))?;
    ignore_missing(fs::remove_dir_all(&away))
}

/// A folder of that name was being removed by a process that was killed; or is, right now, by another.
pub(crate) fn is_being_removed(name: &str) -> bool {
    name.starts_with(REMOVED)
}

/// What is not there need not be removed.
pub(crate) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The directory of a file; the working directory for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An I/O error in words, with what can be done about it.
pub(crate) fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "; check owner and mode of the file and its directories",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        io::ErrorKind::NotADirectory => "; a file lies where a directory is needed",
        io::ErrorKind::IsADirectory => "; a directory lies where a file is needed",
        _ => "",
    };
    // Errors of temporary files name these; whoever tells of the error names the file that is meant.
    let text = error.to_string();
    let reason = text.split_once(" at path ").map_or(&*text, |(reason, _)| reason);
    format!("{reason}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn new_files_and_directories_get_the_configured_modes() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b/c.png");
        let permissions = Permissions { directory: Some(0o2751), file: Some(0o604) };
        write_atomic(&path, b"x", permissions).unwrap();
        assert_eq!(mode(&path), 0o604);
        assert_eq!(mode(&base.path().join("a")), 0o2751);
        assert_eq!(mode(&base.path().join("a/b")), 0o2751);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let occupied = base.path().join("tile.png");
        fs::create_dir(&occupied).unwrap();
        fs::write(occupied.join("inside"), b"").unwrap();
        assert!(write_atomic(&occupied, b"x", Permissions::default()).is_err());
        let names: Vec<_> = fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["tile.png"]);
    }

    #[test]
    fn a_file_in_place_of_a_directory_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("a"), b"").unwrap();
        let error = write_atomic(&base.path().join("a/b/c.png"), b"x", Permissions::default()).unwrap_err();
        assert!(explain(&error).contains("a file lies where a directory is needed"), "{error:?}");
    }

    #[test]
    fn a_reason_is_the_same_for_all_files() {
        let base = tempfile::tempdir().unwrap();
        let error = tempfile::Builder::new().tempfile_in(base.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing"));
        assert_eq!(explain(&error), "No such file or directory (os error 2)");
    }

    #[test]
    fn many_threads_may_create_the_same_directories() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for name in 0..16 {
                let path = base.path().join(format!("a/b/c/d/e/{name}"));
                scope.spawn(move || write_atomic(&path, b"x", Permissions::default()).unwrap());
            }
        });
        assert_eq!(fs::read_dir(base.path().join("a/b/c/d/e")).unwrap().count(), 16);
    }
}
