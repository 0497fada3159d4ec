//! Numbers and sentences.

use std::time::Duration;

use jiff::Zoned;
use mapproxy_grid::Bbox;
use mapproxy_seeding::{Ended, Report, Traffic, Work};

/// `[12:34:56]`
pub(super) fn clock() -> String {
    Zoned::now().strftime("[%H:%M:%S]").to_string()
}

/// As the original writes boxes.
pub(super) fn bbox(bbox: &Bbox) -> String {
    let Bbox { min_x, min_y, max_x, max_y } = bbox;
    format!("{min_x:.5}, {min_y:.5}, {max_x:.5}, {max_y:.5}")
}

/// `4.5 MB`
pub(super) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["bytes", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") }
}

/// `1:01:40`
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes, seconds) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// Times of answers, in milliseconds: half of them, and all but the slowest twentieth, took no longer.
pub(super) fn latency(traffic: &Traffic) -> Option<(f64, f64)> {
    let millis = |part| Some(traffic.latency.quantile(part)?.as_secs_f64() * 1000.0);
    Some((millis(0.5)?, millis(0.95)?))
}

/// As the original says it.
pub(super) fn retry(wait: Duration, reason: &str, left: u32) -> String {
    let seconds = wait.as_secs_f64().round();
    format!("An error occured. Retry in {seconds} seconds: {}. Retries left: {left}", one_line(reason))
}

pub(super) fn failed(work: &Work, reason: &str) -> String {
    let (main, tiles) = (work.main, work.tiles.len());
    format!("An error occured. Giving up {tiles} tiles at {}/{}/{}: {}", main.z, main.x, main.y, one_line(reason))
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What came of it, in a few lines.
pub(super) fn report(report: &Report) -> String {
    let counts = &report.counts;
    let seconds = report.elapsed.as_secs_f64().max(1e-3);
    let mut text = format!(
        "    {} tiles in {} ({:.0}/s): {} made ({}), {} kept, {} empty, {} failed\n",
        counts.tiles,
        duration(report.elapsed),
        counts.tiles as f64 / seconds,
        counts.made,
        bytes(counts.bytes),
        counts.kept,
        counts.empty,
        counts.failed
    );
    if !report.errors.is_empty() {
        let errors: Vec<String> = report.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text += &format!("    errors: {}; tried again {} times\n", errors.join(", "), counts.retries);
    }
    match &report.ended {
        Ended::GivenUp { host, reason } => {
            text += &format!(
                "    {host} does not answer any more, its tiles are left for another run: {}\n",
                one_line(reason)
            );
        }
        Ended::Agenda(error) => text += &format!("    the list of work failed: {error}\n"),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::testkit;

    #[test]
    fn numbers_are_short() {
        assert_eq!([bytes(999), bytes(4_500_000), bytes(1_230_000_000_000)], ["999 bytes", "4.5 MB", "1.2 TB"]);
        let seconds = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([seconds(5), seconds(3700), seconds(90_061)], ["0:00:05", "1:01:40", "1d 01:01:01"]);
    }

    #[test]
    fn the_report_adds_up_and_says_what_failed() {
        let mut report = testkit::report();
        assert_eq!(
            super::report(&report),
            "    960 tiles in 0:01:00 (16/s): 900 made (4.5 MB), 40 kept, 4 empty, 16 failed\n    \
             errors: 3 HTTP 503, 1 store; tried again 3 times\n"
        );
        report.ended = Ended::GivenUp { host: "maps.example".to_owned(), reason: "no\nroute".to_owned() };
        assert!(super::report(&report).contains("maps.example does not answer any more"));
        assert!(super::report(&report).ends_with("no route\n"));
    }
}
