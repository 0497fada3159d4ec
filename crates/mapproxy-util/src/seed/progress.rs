//! How far a run is, for people: a line now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_seeding::{Counts, Ended, Event, Observer};

use super::describe::{Numbers, clock};
use crate::{eprintln, println};

/// Lines are no closer than this, but for the last one of a task.
const EVERY: Duration = Duration::from_secs(30);

/// Prints lines, or nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    is_quiet: bool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    level: u8,
    /// Of the whole task.
    bbox: [f64; 4],
}

impl Progress {
    pub(crate) fn new(quiet: u8) -> Progress {
        Progress { is_quiet: quiet >= 2, told: Mutex::default() }
    }
}

impl Told {
    fn tell(&mut self, fraction: f64, bbox: [f64; 4], counts: &Counts) {
        self.last = Some(Instant::now());
        let (level, percent, tiles) = (self.level, fraction * 100.0, counts.tiles);
        println(format_args!("[{}] {level:2} {percent:6.2}% {} ({tiles} tiles)", clock(), Numbers(bbox)));
    }

    fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= EVERY)
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Retry { reason, wait, left, .. } => {
                let seconds = wait.as_secs();
                eprintln(format_args!("An error occured. Retry in {seconds} seconds: {reason}. Retries left: {left}"));
            }
            Event::Failed { reason, .. } => eprintln(format_args!("An error occured. Giving up: {reason}")),
            _ if self.is_quiet => {}
            Event::Began { task, progress } => {
                told.level = task.levels.first().copied().unwrap_or(0);
                told.bbox = progress.bbox.to_array();
                if told.is_due() {
                    let bbox = told.bbox;
                    told.tell(progress.fraction, bbox, &progress.counts);
                }
            }
            Event::Progress(progress) if told.is_due() => {
                told.tell(progress.fraction, progress.bbox.to_array(), &progress.counts);
            }
            Event::Ended(report) if matches!(report.ended, Ended::Complete) => {
                let bbox = told.bbox;
                told.tell(1.0, bbox, &report.counts);
            }
            _ => {}
        }
    }
}
