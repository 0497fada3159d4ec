//! How far a run is, for people: a line now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_seeding::{Event, Observer};

use super::describe::{Numbers, clock};
use crate::{eprintln, println};

/// Lines are no closer than this, but for the last one of a task.
const EVERY: Duration = Duration::from_secs(30);

/// Prints lines, or nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    is_quiet: bool,
    told: Mutex<Option<Instant>>,
    level: Mutex<u8>,
}

impl Progress {
    pub(crate) fn new(quiet: u8) -> Progress {
        Progress { is_quiet: quiet >= 2, told: Mutex::default(), level: Mutex::default() }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        let line = |fraction: f64, bbox: [f64; 4], tiles: u64| {
            let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
            let percent = fraction * 100.0;
            println(format_args!("[{}] {level:2} {percent:6.2}% {} ({tiles} tiles)", clock(), Numbers(bbox)));
        };
        match event {
            Event::Retry { reason, wait, left, .. } => {
                let seconds = wait.as_secs();
                eprintln(format_args!("An error occured. Retry in {seconds} seconds: {reason}. Retries left: {left}"));
            }
            Event::Failed { reason, .. } => eprintln(format_args!("An error occured. Giving up: {reason}")),
            _ if self.is_quiet => {}
            Event::Began { task, progress } => {
                *self.level.lock().unwrap_or_else(PoisonError::into_inner) = task.levels.first().copied().unwrap_or(0);
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.is_none_or(|told| told.elapsed() >= EVERY) {
                    *told = Some(Instant::now());
                    line(progress.fraction, progress.bbox.to_array(), progress.counts.tiles);
                }
            }
            Event::Progress(progress) => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if progress.fraction >= 1.0 || told.is_none_or(|told| told.elapsed() >= EVERY) {
                    *told = Some(Instant::now());
                    line(progress.fraction, progress.bbox.to_array(), progress.counts.tiles);
                }
            }
            _ => {}
        }
    }
}
