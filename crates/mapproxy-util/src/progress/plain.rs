//! Lines for logs: those of the original.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_grid::Bbox;
use mapproxy_seeding::{Counts, Ended, Event, Observer};

use super::{Out, text};

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(30);

/// A line every 30 seconds, and at the end of each task.
#[derive(Debug)]
pub struct Plain {
    /// `None`: only what fails is told.
    out: Option<Out>,
    errors: Out,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    /// The task's first, which the original has in all its lines.
    level: u8,
    /// Of the whole task.
    bbox: Option<Bbox>,
}

impl Plain {
    /// Lines to `out`, failures to `errors`.
    pub fn new(out: impl Write + Send + 'static, errors: impl Write + Send + 'static) -> Plain {
        Plain { out: Some(Out::new(out)), errors: Out::new(errors), state: Mutex::default() }
    }

    /// Failures only.
    pub fn failures_only(errors: impl Write + Send + 'static) -> Plain {
        Plain { out: None, errors: Out::new(errors), state: Mutex::default() }
    }

    fn tell(&self, fraction: f64, bbox: &Bbox, counts: &Counts, state: &mut State) {
        let Some(out) = &self.out else { return };
        state.told = Some(Instant::now());
        let (clock, level, percent) = (text::clock(), state.level, fraction * 100.0);
        out.write(&format!("{clock} {level:2} {percent:6.2}% {} ({} tiles)\n", text::bbox(bbox), counts.tiles));
    }
}

impl State {
    fn is_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= EVERY)
    }
}

impl Observer for Plain {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Began { task, progress } => {
                state.level = task.levels.first().copied().unwrap_or(0);
                state.bbox = Some(progress.bbox);
                if state.is_due() {
                    self.tell(progress.fraction, &progress.bbox, &progress.counts, &mut state);
                }
            }
            Event::Progress(progress) if state.is_due() => {
                self.tell(progress.fraction, &progress.bbox, &progress.counts, &mut state);
            }
            Event::Retry { reason, wait, left, .. } => {
                self.errors.write(&format!("{}\n", text::retry(*wait, reason, *left)));
            }
            Event::Failed { work, reason } => self.errors.write(&format!("{}\n", text::failed(work, reason))),
            Event::Ended(report) => {
                if matches!(report.ended, Ended::Complete)
                    && let Some(bbox) = state.bbox
                {
                    self.tell(1.0, &bbox, &report.counts, &mut state);
                }
                // Where all went well, the lines are the original's and no others.
                match &self.out {
                    Some(out) if !report.errors.is_empty() || !report.is_success() => out.write(&text::report(report)),
                    None if !report.is_success() => self.errors.write(&text::report(report)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::testkit::*;

    #[test]
    fn lines_are_those_of_the_original_and_a_report() {
        let (out, errors) = (Page::default(), Page::default());
        let plain = Plain::new(out.clone(), errors.clone());
        plain.event(&Event::Progress(&progress(0.423_123)));
        plain.event(&Event::Progress(&progress(0.6)));
        let (wait, left, reason) = (Duration::from_millis(1900), 99, "no\nroute");
        plain.event(&Event::Retry { work: &work(), reason, wait, left });
        plain.event(&Event::Failed { work: &work(), reason });
        let line = "  0  42.31% -180.00000, -90.00000, 180.00000, 90.00000 (960 tiles)\n";
        assert_eq!(&out.text()["[12:34:56]".len()..], line);
        assert_eq!(
            errors.text(),
            "An error occured. Retry in 2 seconds: no route. Retries left: 99\n\
             An error occured. Giving up 1 tiles at 12/4/8: no route\n"
        );
        plain.event(&Event::Ended(&report()));
        assert!(out.text().contains("16 failed\n"));
    }

    #[test]
    fn who_wants_failures_only_gets_a_report_of_failures_only() {
        let errors = Page::default();
        let plain = Plain::failures_only(errors.clone());
        plain.event(&Event::Progress(&progress(1.0)));
        let mut report = report();
        plain.event(&Event::Ended(&report));
        assert!(errors.text().contains("16 failed"));
        report.counts.failed_pieces = 0;
        let silent = Page::default();
        Plain::failures_only(silent.clone()).event(&Event::Ended(&report));
        assert_eq!(silent.text(), "");
    }
}
