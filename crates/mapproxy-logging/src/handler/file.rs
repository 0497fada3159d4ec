//! `FileHandler` and `WatchedFileHandler`: lines appended to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::sink::{Batch, Output};

/// Whether lines are added to what the file has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `a`
    Append,
    /// `w`: the file is emptied when the program starts; when opened anew it is appended to.
    Truncate,
}

/// A file to append to; it can be closed and is opened again by the next line.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// Bytes in the file, if nobody else writes to it.
    length: u64,
}

impl LogFile {
    pub(super) fn open(path: PathBuf, mode: Mode, delay: bool) -> io::Result<LogFile> {
        let mut log = LogFile { path, file: None, length: 0 };
        if mode == Mode::Truncate {
            match OpenOptions::new().write(true).truncate(true).open(&log.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if !delay {
            log.file()?;
        }
        Ok(log)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file if it is closed.
    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
                self.length = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }

    /// Its length; opens the file if it is closed.
    pub(super) fn length(&mut self) -> io::Result<u64> {
        self.file()?;
        Ok(self.length)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file()?.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The next line opens the file of that name, which may be another one.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Whether the name belongs to the file that is open.
    #[cfg(unix)]
    fn is_current(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = &self.file else { return true };
        match (file.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// An open file cannot be moved away.
    #[cfg(not(unix))]
    fn is_current(&self) -> bool {
        true
    }

    /// Whether it is an ordinary file: others cannot be rotated.
    pub(super) fn is_regular(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_file())
    }
}

/// `FileHandler`, and `WatchedFileHandler` if watched.
#[derive(Debug)]
pub(super) struct Plain {
    file: LogFile,
    watched: bool,
}

impl Plain {
    pub(super) fn open(path: PathBuf, mode: Mode, delay: bool, watched: bool) -> io::Result<Plain> {
        Ok(Plain { file: LogFile::open(path, mode, delay)?, watched })
    }
}

impl Output for Plain {
    fn write(&mut self, lines: &Batch) -> io::Result<()> {
        if self.watched && !self.file.is_current() {
            self.file.close();
        }
        self.file.append(lines.bytes())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.close();
        self.file.length().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::batch;

    #[test]
    fn lines_are_appended_and_a_file_that_was_moved_away_is_replaced_when_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        fs::write(&path, "old\n").unwrap();
        let mut log = Plain::open(path.clone(), Mode::Append, false, false).unwrap();
        log.write(&batch(&["one"])).unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write(&batch(&["two"])).unwrap();
        log.reopen().unwrap();
        log.write(&batch(&["three"])).unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "old\none\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_watched_file_notices_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut log = Plain::open(path.clone(), Mode::Append, true, true).unwrap();
        assert!(!path.exists(), "opened before there is a line");
        log.write(&batch(&["one"])).unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write(&batch(&["two"])).unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn mode_w_empties_the_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "old\n").unwrap();
        let mut log = Plain::open(path.clone(), Mode::Truncate, false, false).unwrap();
        log.write(&batch(&["one"])).unwrap();
        log.reopen().unwrap();
        log.write(&batch(&["two"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
