//! `RotatingFileHandler`: a file that is put aside as `NAME.1`, `NAME.2`… when it would grow beyond a size.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::file::{LogFile, Mode};
use crate::sink::{Batch, Output};

#[derive(Debug)]
pub(super) struct Rotating {
    file: LogFile,
    max_bytes: u64,
    backups: usize,
}

impl Rotating {
    pub(super) fn open(path: PathBuf, mode: Mode, delay: bool, max_bytes: u64, backups: usize) -> io::Result<Rotating> {
        // A file that is rotated is never emptied, whatever the mode.
        let mode = if max_bytes > 0 { Mode::Append } else { mode };
        Ok(Rotating { file: LogFile::open(path, mode, delay)?, max_bytes, backups })
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.close();
        let name = |number: usize| {
            let mut name = self.file.path().as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.backups).rev() {
            rename(name(number), name(number + 1))?;
        }
        rename(self.file.path().to_owned(), name(1))
    }
}

fn rename(from: PathBuf, to: PathBuf) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Output for Rotating {
    fn write(&mut self, lines: &Batch) -> io::Result<()> {
        if self.max_bytes == 0 || self.backups == 0 {
            return self.file.append(lines.bytes());
        }
        let mut failure = Ok(());
        let mut together = Vec::new();
        for (line, _, _) in lines.lines() {
            let length = self.file.length()?;
            let after = length + (together.len() + line.len()) as u64;
            // An empty file is not put aside, however long the line.
            if after >= self.max_bytes && length + together.len() as u64 > 0 && self.file.is_regular() {
                self.file.append(&together)?;
                together.clear();
                // Lines go to the old file rather than nowhere.
                if let Err(error) = self.rotate() {
                    failure = Err(error);
                }
            }
            together.extend_from_slice(line);
        }
        self.file.append(&together).and(failure)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.close();
        self.file.length().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sink::testing::batch;

    fn files(lines: &[&str], mode: Mode, max_bytes: u64, backups: usize, at_once: bool) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path().join("a.log"), mode, false, max_bytes, backups).unwrap();
        match at_once {
            true => log.write(&batch(lines)).unwrap(),
            false => lines.iter().for_each(|line| log.write(&batch(&[line])).unwrap()),
        }
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries.map(|path| (name(&path), fs::read_to_string(path).unwrap())).collect()
    }

    /// The files that Python 3.11's `RotatingFileHandler` leaves.
    #[test]
    fn files_are_those_of_pythons_handler() {
        let nine: Vec<String> = (0..9).map(|number| format!("line {number}")).collect();
        let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
        for at_once in [true, false] {
            let map = |files: &[(&str, &str)]| -> BTreeMap<String, String> {
                files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
            };
            assert_eq!(
                files(&nine, Mode::Append, 20, 2, at_once),
                map(&[("a.log", "line 8\n"), ("a.log.1", "line 6\nline 7\n"), ("a.log.2", "line 4\nline 5\n"),])
            );
            assert_eq!(
                files(&nine[..5], Mode::Append, 14, 2, at_once),
                map(&[("a.log", "line 4\n"), ("a.log.1", "line 3\n"), ("a.log.2", "line 2\n")])
            );
            let all = nine.iter().map(|line| format!("{line}\n")).collect::<String>();
            assert_eq!(files(&nine, Mode::Truncate, 20, 0, at_once), map(&[("a.log", &all)]));
            // Python 3.11 puts the empty file aside here; later ones do not.
            assert_eq!(
                files(&["longer than ten bytes", "x", "longer than ten bytes"], Mode::Append, 10, 2, at_once),
                map(&[
                    ("a.log", "longer than ten bytes\n"),
                    ("a.log.1", "x\n"),
                    ("a.log.2", "longer than ten bytes\n"),
                ])
            );
        }
    }

    #[test]
    fn a_folder_that_lost_its_files_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rotating::open(path.clone(), Mode::Append, false, 10, 2).unwrap();
        log.write(&batch(&["one two"])).unwrap();
        fs::remove_file(&path).unwrap();
        log.write(&batch(&["three"])).unwrap();
        log.reopen().unwrap();
        log.write(&batch(&["four"])).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("four\n"));
    }
}
