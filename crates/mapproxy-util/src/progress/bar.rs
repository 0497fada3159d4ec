//! A bar on a terminal.

use std::io::Write;

use mapproxy_seeding::{Event, Observer, Progress, Traffic};

use super::{Out, text};

/// Characters of the bar.
const WIDTH: usize = 20;

/// To the beginning of the line, and what is too long for the terminal is cut off.
const BEGIN: &str = "\r\x1b[?7l";
/// Nothing is left of what was longer.
const END: &str = "\x1b[K\x1b[?7h";
/// An empty line.
const CLEAR: &str = "\r\x1b[K";

/// One line, written again and again.
#[derive(Debug)]
pub struct Bar {
    out: Out,
    errors: Out,
}

impl Bar {
    /// The bar to `out`, failures to `errors`; both may be the same terminal.
    pub fn new(out: impl Write + Send + 'static, errors: impl Write + Send + 'static) -> Bar {
        Bar { out: Out::new(out), errors: Out::new(errors) }
    }

    fn line(progress: &Progress) -> String {
        let full = ((progress.fraction * WIDTH as f64) as usize).min(WIDTH);
        let (done, left) = ("█".repeat(full), "░".repeat(WIDTH - full));
        let (clock, percent, counts) = (text::clock(), progress.fraction * 100.0, &progress.counts);
        let level = progress.at.map_or(String::new(), |at| format!(" level {}", at.z));
        let mut line = format!("{clock} {percent:6.2}% {done}{left}{level} {} tiles", counts.tiles);
        if progress.rate > 0.0 {
            line += &format!(", {:.0}/s", progress.rate);
        }
        if let Some(left) = progress.left {
            line += &format!(", {} left", text::duration(left));
        }
        line += &format!(", {}", text::bytes(counts.bytes));
        if counts.failed > 0 {
            line += &format!(", {} failed", counts.failed);
        }
        if progress.waiting > 0 {
            line += &format!(", {} to be tried again", progress.waiting);
        }
        for traffic in &progress.traffic {
            line += &format!(" · {}", server(traffic));
        }
        line
    }
}

fn server(traffic: &Traffic) -> String {
    let mut told = traffic.host.clone();
    if let Some((median, slow)) = text::latency(traffic) {
        told += &format!(" {median:.0} ms ({slow:.0})");
    }
    let errors: u64 = traffic.errors.values().sum();
    if errors > 0 {
        told += &format!(", {errors} errors");
    }
    if let Some(held) = traffic.held {
        told += &format!(", left alone for {}", text::duration(held));
    }
    told
}

impl Observer for Bar {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { progress, .. } | Event::Progress(progress) => {
                self.out.write(&format!("{BEGIN}{}{END}", Bar::line(progress)));
            }
            Event::Retry { reason, wait, left, .. } => {
                self.out.write(CLEAR);
                self.errors.write(&format!("{}\n", text::retry(*wait, reason, *left)));
            }
            Event::Failed { work, reason } => {
                self.out.write(CLEAR);
                self.errors.write(&format!("{}\n", text::failed(work, reason)));
            }
            Event::Ended(report) => {
                self.out.write(&format!("\n{}", text::report(report)));
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
    fn the_bar_says_how_far_it_is_how_fast_and_how_the_servers_fare() {
        let (out, errors) = (Page::default(), Page::default());
        let bar = Bar::new(out.clone(), errors.clone());
        bar.event(&Event::Progress(&progress(0.5)));
        let text = out.text();
        assert!(text.starts_with(BEGIN) && text.ends_with(END));
        for part in [
            " 50.00% ██████████░░░░░░░░░░ level 12 960 tiles, 32/s, 1:01:40 left, 4.5 MB, 16 failed, 2 to be tried again",
            " · maps.example 5",
            "), 3 errors",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        bar.event(&Event::Failed { work: &work(), reason: "no route" });
        assert!(out.text().ends_with(CLEAR) && errors.text().ends_with("no route\n"));
    }
}
