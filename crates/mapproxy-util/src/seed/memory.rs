//! Where a run remembers how far it is: the journal, in `--progress-file`.

use std::path::{Path, PathBuf};

use mapproxy_seeding::{Journal, JournalError};

use super::arguments::Arguments;
use crate::{FAILED, Failure};

const LOG: &str = "mapproxy.seed.util";

/// Its file.
pub(crate) fn file(arguments: &Arguments) -> PathBuf {
    let own = || match arguments.shard {
        None => ".mapproxy_seed_progress".to_owned(),
        // Shares may be worked on in the same directory.
        Some(shard) => format!(".mapproxy_seed_progress.{}", shard.to_string().replace('/', "-of-")),
    };
    arguments.progress_file.clone().unwrap_or_else(|| PathBuf::from(own()))
}

/// Whether it was asked for. Otherwise it is kept where that does no harm.
pub(crate) fn is_kept(arguments: &Arguments) -> bool {
    arguments.go_on || arguments.retry_failed || arguments.progress_file.is_some()
}

/// The journal of this run, in memory where none can be kept and none was asked for.
pub(crate) fn open(arguments: &Arguments) -> Result<Journal, Failure> {
    let failed = |error: JournalError| Failure::new(FAILED, format_args!("ERROR: {error}"));
    let in_memory = || Journal::in_memory().map_err(failed);
    // A queue remembers for all machines.
    if arguments.has_queue() || (arguments.dry_run && !is_kept(arguments)) {
        return in_memory();
    }
    let path = file(arguments);
    if is_for_all(&path) {
        // Whoever may write it may have it say that all is done.
        log::error!(target: LOG, "progress file ({}) is world writable, ignoring file", path.display());
        return in_memory();
    }
    let opened = match Journal::open(&path) {
        Err(error @ (JournalError::Pickle(_) | JournalError::Foreign(_))) if is_kept(arguments) => {
            let mut aside = path.clone().into_os_string();
            aside.push(".old");
            let aside = PathBuf::from(aside);
            std::fs::rename(&path, &aside)
                .map_err(|why| Failure::new(FAILED, format_args!("ERROR: {error}, and not be moved aside: {why}")))?;
            log::warn!(target: LOG, "{error}: begun anew, and the file moved to {}", aside.display());
            Journal::open(&path)
        }
        opened => opened,
    };
    match opened {
        Ok(journal) => Ok(journal),
        Err(error) if is_kept(arguments) => Err(failed(error)),
        Err(error) => {
            log::warn!(target: LOG, "{error}; this run cannot be gone on with (--continue), if it is interrupted");
            in_memory()
        }
    }
}

#[cfg(unix)]
fn is_for_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o002 != 0)
}

#[cfg(not(unix))]
fn is_for_all(_path: &Path) -> bool {
    false
}
