//! `--reseed-file`: whether it is time for another run.

use std::fs::{File, FileTimes, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Whether a run is to be made; a file that says when the last one was begun is brought up to date then. `is_new`: this is
/// the beginning of a run, none is to be gone on with.
pub(crate) fn is_due(file: &Path, interval: Option<Duration>, is_new: bool) -> io::Result<bool> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::create(file)?;
        }
        Err(error) => return Err(error),
        Ok(metadata) if is_new => {
            let now = SystemTime::now();
            // A time to come is none to wait for.
            let age = now.duration_since(metadata.modified()?).ok();
            if age.zip(interval).is_some_and(|(age, interval)| age < interval) {
                return Ok(false);
            }
            OpenOptions::new().write(true).open(file)?.set_times(FileTimes::new().set_modified(now))?;
        }
        Ok(_) => {}
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_due_when_the_last_one_was_begun_long_enough_ago() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("reseed");
        let hour = Some(Duration::from_secs(3600));
        let set = |ago: u64| {
            let time = SystemTime::now() - Duration::from_secs(ago);
            File::options().write(true).open(&file).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        let age = || std::fs::metadata(&file).unwrap().modified().unwrap().elapsed().unwrap().as_secs();
        assert!(is_due(&file, hour, true).unwrap() && file.exists());
        assert!(!is_due(&file, hour, true).unwrap());
        set(1800);
        assert!(!is_due(&file, hour, true).unwrap() && age() > 1000, "it says when the last run was begun");
        assert!(is_due(&file, hour, false).unwrap() && age() > 1000, "a run that is gone on with was begun before");
        set(4000);
        assert!(is_due(&file, hour, true).unwrap() && age() < 1000);
        assert!(is_due(&file, None, true).unwrap());
        assert!(is_due(&directory.path().join("no/where"), hour, true).is_err());
    }
}
