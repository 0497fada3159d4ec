//! Tasks for people: what is done with which tiles, as in the original's summary.

use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mapproxy_core::cache::TileManager;
use mapproxy_core::grid::{Coverage, MapExtent, Srs};
use mapproxy_core::seed::{CleanupTask, Planned, Refresh, Remove, SeedTask};

/// A task that can be told to people.
pub(crate) trait Describe {
    /// Its name in the seed.yaml.
    fn name(&self) -> &str;
    /// What it does, a line for each thing to know.
    fn lines(&self) -> Vec<String>;
}

impl Describe for SeedTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn lines(&self) -> Vec<String> {
        let what = match self.refresh {
            Refresh::Missing => "Overwriting: all tiles".to_owned(),
            Refresh::Before(moment) => format!("Overwriting: tiles older than {}", Moment(moment)),
        };
        lines("Seeding", &self.manager, self.coverage.as_ref(), &self.levels, what)
    }
}

impl Describe for CleanupTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn lines(&self) -> Vec<String> {
        let what = match self.remove {
            Remove::All => "Remove: all tiles".to_owned(),
            Remove::Before(moment) => format!("Remove: tiles older than {}", Moment(moment)),
        };
        lines("Cleaning up", &self.manager, self.coverage.as_ref(), &self.levels, what)
    }
}

impl<T: Describe> Describe for Planned<T> {
    fn name(&self) -> &str {
        match self {
            Planned::Task(task) => task.name(),
            Planned::Empty(name) => name,
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Planned::Task(task) => task.lines(),
            Planned::Empty(_) => vec!["Empty coverage given for this task".to_owned(), "Skipped".to_owned()],
        }
    }
}

/// The whole of it, with the name above.
pub(crate) fn text(task: &impl Describe) -> String {
    let mut text = format!("  {}:", task.name());
    for line in task.lines() {
        text.push_str("\n    ");
        text.push_str(&line);
    }
    text
}

fn lines(verb: &str, manager: &TileManager, coverage: Option<&Coverage>, levels: &[u8], what: String) -> Vec<String> {
    let grid = manager.grid();
    let (cache, name, srs) = (manager.name(), grid.name(), grid.srs().code());
    let mut lines = vec![format!("{verb} cache '{cache}' with grid '{name}' in {srs}")];
    let extent = coverage.map_or_else(|| MapExtent::new(grid.bbox(), grid.srs().clone()), Coverage::extent);
    lines.push(match extent.bbox_in(&Srs::wgs84()) {
        Ok(bbox) => format!("Limited to coverage in: {} (EPSG:4326)", Numbers(bbox.to_array())),
        Err(_) => format!("Limited to coverage in: {} ({})", Numbers(extent.bbox.to_array()), extent.srs.code()),
    });
    lines.push(format!("Levels: {levels:?}"));
    lines.push(what);
    lines
}

/// A moment in local time; parts of a second only where there are any.
pub(crate) struct Moment(pub(crate) SystemTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = Timestamp::try_from(self.0) else { return f.write_str("the beginning of time") };
        let time = time.to_zoned(TimeZone::system());
        write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S"))?;
        match time.subsec_nanosecond() / 1000 {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}

/// Numbers with five decimals.
pub(crate) struct Numbers(pub(crate) [f64; 4]);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:.5}, {b:.5}, {c:.5}, {d:.5}")
    }
}

/// The time of day, `22:35:58`.
pub(crate) fn clock() -> String {
    Timestamp::now().to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}
