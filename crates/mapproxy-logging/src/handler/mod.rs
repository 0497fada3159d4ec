//! Python's handlers: what each takes, and the output behind it.

mod file;
mod rotating;
mod stream;
mod syslog;
mod timed;

use std::io;
use std::path::PathBuf;

pub(crate) use file::Mode;
pub(crate) use syslog::{Address, facility, facility_of_name};
pub(crate) use timed::When;

use crate::sink::Output;

/// Where a handler's lines go, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    Stderr,
    Null,
    File {
        path: PathBuf,
        mode: Mode,
        /// Open it with the first line only.
        delay: bool,
        /// Look before each batch whether it is still the file of that name.
        watched: bool,
    },
    Rotating {
        path: PathBuf,
        mode: Mode,
        delay: bool,
        max_bytes: u64,
        backups: usize,
    },
    Timed {
        path: PathBuf,
        delay: bool,
        when: When,
        interval: u32,
        backups: usize,
        utc: bool,
    },
    Syslog {
        address: Address,
        facility: u8,
    },
}

impl Destination {
    /// What complaints call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Destination::Stdout => "standard output".to_owned(),
            Destination::Stderr => "standard error".to_owned(),
            Destination::Null => "nothing".to_owned(),
            Destination::File { path, .. } | Destination::Rotating { path, .. } | Destination::Timed { path, .. } => {
                path.display().to_string()
            }
            Destination::Syslog { address, .. } => format!("syslog at {address}"),
        }
    }

    /// Opens it; `None` for the one that writes nothing.
    pub(crate) fn open(&self) -> io::Result<Option<Box<dyn Output>>> {
        Ok(Some(match self {
            Destination::Stdout => Box::new(stream::Stream::Stdout),
            Destination::Stderr => Box::new(stream::Stream::Stderr),
            Destination::Null => return Ok(None),
            Destination::File { path, mode, delay, watched } => {
                Box::new(file::Plain::open(path.clone(), *mode, *delay, *watched)?)
            }
            Destination::Rotating { path, mode, delay, max_bytes, backups } => {
                Box::new(rotating::Rotating::open(path.clone(), *mode, *delay, *max_bytes, *backups)?)
            }
            Destination::Timed { path, delay, when, interval, backups, utc } => {
                let zone = if *utc { jiff::tz::TimeZone::UTC } else { jiff::tz::TimeZone::system() };
                Box::new(timed::Timed::open(path.clone(), *delay, *when, *interval, *backups, zone)?)
            }
            Destination::Syslog { address, facility } => Box::new(syslog::Syslog::new(address.clone(), *facility)),
        }))
    }
}
