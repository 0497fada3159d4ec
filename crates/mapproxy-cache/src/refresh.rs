//! When a kept tile is too old (`refresh_before`).

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tiles stored at or before a moment are created anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshBefore {
    /// A fixed moment.
    Time(SystemTime),
    /// So long ago, counted from each request.
    Age(Duration),
    /// The modification time of a file, read at each request. Without the file no tile is too old.
    FileModified(PathBuf),
}

impl RefreshBefore {
    /// The moment, as of now.
    pub fn moment(&self) -> Option<SystemTime> {
        match self {
            RefreshBefore::Time(moment) => Some(*moment),
            RefreshBefore::Age(age) => SystemTime::now().checked_sub(*age),
            RefreshBefore::FileModified(path) => match std::fs::metadata(path).and_then(|file| file.modified()) {
                Ok(modified) => Some(modified),
                Err(error) => {
                    log::warn!(
                        target: "mapproxy.cache.tile", "refresh_before: cannot read the time of {}: {error}; no tile is refreshed",
                        path.display()
                    );
                    None
                }
            },
        }
    }
}

/// A tile stored at `modified` is too old. Its time counts in whole seconds, rounded down; a store without times has no
/// tile that is young enough.
pub(crate) fn is_expired(modified: Option<SystemTime>, moment: Option<SystemTime>) -> bool {
    let Some(moment) = moment else { return false };
    let Some(modified) = modified else { return true };
    let whole = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => modified,
    };
    whole <= moment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_tile_of_the_very_second_is_too_old() {
        assert!(is_expired(Some(at(5_900)), Some(at(5_000))));
        assert!(!is_expired(Some(at(6_000)), Some(at(5_999))));
        assert!(is_expired(Some(at(4_999)), Some(at(5_000))));
    }

    #[test]
    fn without_a_time_a_tile_is_always_too_old_and_without_a_moment_never() {
        assert!(is_expired(None, Some(at(0))));
        assert!(!is_expired(None, None));
        assert!(!is_expired(Some(at(0)), None));
    }

    #[test]
    fn an_age_counts_from_now() {
        let moment = RefreshBefore::Age(Duration::from_secs(3600)).moment().unwrap();
        let ago = SystemTime::now().duration_since(moment).unwrap();
        assert!((3600..3610).contains(&ago.as_secs()));
    }

    #[test]
    fn the_time_of_a_file_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refresh = RefreshBefore::FileModified(file.path().to_owned());
        for millis in [1_000, 2_000] {
            file.as_file().set_modified(at(millis)).unwrap();
            assert_eq!(refresh.moment(), Some(at(millis)));
        }
        drop(file);
        assert_eq!(refresh.moment(), None);
    }
}
