//! Events for programs: a JSON document on a line of its own each. Keys stay; others may come.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mapproxy_seeding::{Counts, Ended, Event, Observer, Progress, Report, Traffic, Work};
use serde_json::{Map, Value, json};

use super::{Out, text};

/// How often the progress is told.
const EVERY: Duration = Duration::from_secs(1);

/// A JSON document for each event.
#[derive(Debug)]
pub struct Json {
    out: Out,
    last: Mutex<Duration>,
}

impl Json {
    /// Documents to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Json {
        Json { out: Out::new(out), last: Mutex::default() }
    }

    fn write(&self, event: &str, parts: impl IntoIterator<Item = Value>) {
        let mut all = Map::from_iter([
            ("event".to_owned(), event.into()),
            ("time".to_owned(), jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into()),
        ]);
        for part in parts {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
        self.out.write(&format!("{}\n", Value::Object(all)));
    }
}

fn counts(counts: &Counts) -> Value {
    let Counts { pieces, tiles, made, kept, empty, failed, failed_pieces, retries, bytes } = counts;
    json!({
        "pieces": pieces, "tiles": tiles, "made": made, "kept": kept, "empty": empty, "failed": failed,
        "failed_pieces": failed_pieces, "retries": retries, "bytes": bytes,
    })
}

fn progress(progress: &Progress) -> Value {
    let Progress { task, cache, grid, fraction, at, elapsed, rate, left, waiting, traffic, .. } = progress;
    json!({
        "task": **task, "cache": **cache, "grid": **grid, "fraction": fraction, "level": at.map(|at| at.z),
        "elapsed": rounded(*elapsed), "rate": (rate * 10.0).round() / 10.0, "left": left.map(rounded),
        "waiting": waiting, "upstreams": upstreams(traffic),
    })
}

fn report(report: &Report) -> Value {
    let Report { task, cache, grid, errors, elapsed, ended, traffic, .. } = report;
    let (ended, reason) = match ended {
        Ended::Complete => ("complete", None),
        Ended::Stopped => ("stopped", None),
        Ended::GivenUp { host, reason } => ("given_up", Some(format!("{host}: {reason}"))),
        Ended::Agenda(error) => ("agenda", Some(error.to_string())),
        _ => ("otherwise", None),
    };
    json!({
        "task": **task, "cache": **cache, "grid": **grid, "elapsed": rounded(*elapsed), "ended": ended,
        "reason": reason, "errors": errors, "upstreams": upstreams(traffic),
    })
}

fn upstreams(traffic: &[Traffic]) -> Vec<Value> {
    let upstream = |traffic: &Traffic| {
        let latency = text::latency(traffic);
        let tenths = |millis: f64| (millis * 10.0).round() / 10.0;
        json!({
            "host": traffic.host, "requests": traffic.requests, "bytes": traffic.bytes, "errors": traffic.errors,
            "median_ms": latency.map(|(median, _)| tenths(median)), "p95_ms": latency.map(|(_, slow)| tenths(slow)),
            "held": traffic.held.map(rounded), "reason": traffic.reason,
        })
    };
    traffic.iter().map(upstream).collect()
}

fn work(work: &Work) -> Value {
    let main = work.main;
    json!({ "number": work.number, "tile": [main.z, main.x, main.y], "tiles": work.tiles.len() })
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Observer for Json {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { task, progress: begun } => {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
                self.write("began", [progress(begun), json!({ "levels": task.levels })]);
            }
            Event::Progress(now) => {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                let is_end = now.at.is_none() && now.fraction >= 1.0;
                if is_end || now.elapsed.saturating_sub(*last) >= EVERY {
                    *last = now.elapsed;
                    drop(last);
                    self.write("progress", [counts(&now.counts), progress(now)]);
                }
            }
            Event::Retry { work: piece, reason, wait, left } => {
                let why = json!({ "reason": reason, "wait": rounded(*wait), "tries_left": left });
                self.write("retry", [work(piece), why]);
            }
            Event::Failed { work: piece, reason } => self.write("failed", [work(piece), json!({ "reason": reason })]),
            Event::Ended(ended) => self.write("ended", [counts(&ended.counts), report(ended)]),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::testkit;

    #[test]
    fn each_event_is_a_document_with_the_keys_that_are_promised() {
        let page = testkit::Page::default();
        let json = Json::new(page.clone());
        json.event(&Event::Progress(&testkit::progress(0.25)));
        let (wait, reason) = (Duration::from_millis(2100), "no \"route\"");
        json.event(&Event::Retry { work: &testkit::work(), reason, wait, left: 7 });
        json.event(&Event::Failed { work: &testkit::work(), reason });
        json.event(&Event::Ended(&testkit::report()));
        let text = page.text();
        let mut documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for document in &mut documents {
            assert!(document["time"].as_str().unwrap().ends_with('Z'));
            document.as_object_mut().unwrap().remove("time");
        }
        let counts = json!({
            "pieces": 60, "tiles": 960, "made": 900, "kept": 40, "empty": 4, "failed": 16, "failed_pieces": 1,
            "retries": 3, "bytes": 4_500_000,
        });
        let with = |event: &str, rest: Value| {
            let mut all = json!({ "event": event });
            for part in [counts.clone(), rest] {
                all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            }
            all
        };
        let median = documents[0]["upstreams"][0]["median_ms"].clone();
        let upstreams = json!([{
            "host": "maps.example", "requests": 60, "bytes": 5_000_000, "errors": { "HTTP 503": 3 },
            "median_ms": median, "p95_ms": median, "held": null, "reason": null,
        }]);
        let progress = json!({
            "task": "all", "cache": "osm", "grid": "world", "fraction": 0.25, "level": 12, "elapsed": 30.0,
            "rate": 32.0, "left": 3700.0, "waiting": 2, "upstreams": upstreams,
        });
        let ended = json!({
            "task": "all", "cache": "osm", "grid": "world", "elapsed": 60.0, "ended": "complete", "reason": null,
            "errors": { "HTTP 503": 3, "store": 1 }, "upstreams": upstreams,
        });
        assert_eq!(documents[0], with("progress", progress));
        let tile = json!([12, 4, 8]);
        assert_eq!(
            documents[1],
            json!({ "event": "retry", "number": 17, "tile": tile, "tiles": 1, "reason": reason, "wait": 2.1, "tries_left": 7 })
        );
        assert_eq!(
            documents[2],
            json!({ "event": "failed", "number": 17, "tile": tile, "tiles": 1, "reason": reason })
        );
        assert_eq!(documents[3], with("ended", ended));
    }
}
