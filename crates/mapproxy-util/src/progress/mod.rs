//! How far work on a whole cache is, for people and for programs.
//!
//! On a terminal a bar, which is one line that is written again and again; elsewhere a line now and then, as the
//! original's; or a JSON document for each event. What fails is told on the error output, one line each.

mod bar;
mod json;
mod plain;
mod text;

use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use mapproxy_seeding::{Observer, Silent};

pub use self::bar::Bar;
pub use self::json::Json;
pub use self::plain::Plain;

/// `--progress`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// A bar on one line, written again and again.
    Bar,
    /// A line every 30 seconds, and at the end.
    Plain,
    /// A JSON document on a line of its own for each event, every second at least.
    Json,
}

/// Tells how far a run is: as asked, or by a bar on a terminal and lines elsewhere. `quiet` counts `-q`: once for lines in
/// place of the bar, twice for nothing but failures.
pub fn observer(style: Option<Style>, quiet: u8) -> Box<dyn Observer> {
    let has_terminal = std::io::stdout().is_terminal();
    match style {
        Some(Style::Json) => Box::new(Json::new(std::io::stdout())),
        _ if quiet >= 2 => Box::new(Plain::failures_only(std::io::stderr())),
        Some(Style::Bar) => Box::new(Bar::new(std::io::stdout(), std::io::stderr())),
        None if has_terminal && quiet == 0 => Box::new(Bar::new(std::io::stdout(), std::io::stderr())),
        Some(Style::Plain) | None => Box::new(Plain::new(std::io::stdout(), std::io::stderr())),
    }
}

/// An observer for what is not to be watched.
pub fn nobody() -> Box<dyn Observer> {
    Box::new(Silent)
}

/// Where lines go; several threads write.
struct Out(Mutex<Box<dyn Write + Send>>);

impl Out {
    fn new(out: impl Write + Send + 'static) -> Out {
        Out(Mutex::new(Box::new(out)))
    }

    /// Writes at once. Whoever does not want to read it does not stop the work.
    fn write(&self, text: &str) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Out")
    }
}

#[cfg(test)]
mod testkit {
    use std::collections::BTreeMap;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use mapproxy_grid::{Bbox, TileCoord};
    use mapproxy_seeding::{Counts, Ended, Latency, Progress, Report, Traffic, Work};

    /// What was written.
    #[derive(Clone, Default)]
    pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn traffic() -> Vec<Traffic> {
        let mut latency = Latency::default();
        latency.note(Duration::from_millis(50));
        let errors = BTreeMap::from([("HTTP 503".to_owned(), 3)]);
        let host = "maps.example".to_owned();
        vec![Traffic { host, requests: 60, bytes: 5_000_000, errors, latency, held: None, reason: None }]
    }

    fn counts() -> Counts {
        Counts {
            pieces: 60,
            tiles: 960,
            made: 900,
            kept: 40,
            empty: 4,
            failed: 16,
            failed_pieces: 1,
            retries: 3,
            bytes: 4_500_000,
        }
    }

    pub(super) fn progress(fraction: f64) -> Progress {
        let is_begun = fraction > 0.0;
        Progress {
            task: "all".into(),
            cache: "osm".into(),
            grid: "world".into(),
            fraction,
            at: (is_begun && fraction < 1.0).then_some(TileCoord::new(4, 8, 12)),
            bbox: Bbox::new(-180.0, -90.0, 180.0, 90.0),
            counts: if is_begun { counts() } else { Counts::default() },
            elapsed: Duration::from_secs(if is_begun { 30 } else { 0 }),
            rate: 32.0,
            left: is_begun.then_some(Duration::from_secs(3700)),
            waiting: 2,
            traffic: traffic(),
        }
    }

    pub(super) fn report() -> Report {
        Report {
            task: "all".into(),
            cache: "osm".into(),
            grid: "world".into(),
            counts: counts(),
            errors: BTreeMap::from([("HTTP 503".to_owned(), 3), ("store".to_owned(), 1)]),
            elapsed: Duration::from_secs(60),
            ended: Ended::Complete,
            traffic: traffic(),
        }
    }

    pub(super) fn work() -> Work {
        let main = TileCoord::new(4, 8, 12);
        Work { number: 17, main, tiles: vec![main] }
    }
}
