//! `TimedRotatingFileHandler`: a file that is put aside under a name with the time, at intervals, at midnight, or after
//! a day of the week.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::file::{LogFile, Mode};
use crate::sink::{Batch, Output};

/// When files are put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Seconds,
    Minutes,
    Hours,
    Days,
    Midnight,
    /// At the end of that day.
    Weekly(Weekday),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let day = |digit: &str| match digit.parse::<i8>() {
            Ok(day @ 0..=6) => Weekday::from_monday_zero_offset(day).ok(),
            _ => None,
        };
        let upper = text.to_ascii_uppercase();
        match upper.as_str() {
            "S" => Ok(When::Seconds),
            "M" => Ok(When::Minutes),
            "H" => Ok(When::Hours),
            "D" => Ok(When::Days),
            "MIDNIGHT" => Ok(When::Midnight),
            _ => {
                upper.strip_prefix('W').and_then(day).map(When::Weekly).ok_or_else(|| {
                    format!("when = {text:?} is not known; S, M, H, D, midnight and W0 (Monday) to W6 are")
                })
            }
        }
    }
}

impl When {
    fn unit(self) -> i64 {
        match self {
            When::Seconds => 1,
            When::Minutes => 60,
            When::Hours => 3600,
            When::Days | When::Midnight => 86400,
            When::Weekly(_) => 7 * 86400,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            When::Seconds => "%Y-%m-%d_%H-%M-%S",
            When::Minutes => "%Y-%m-%d_%H-%M",
            When::Hours => "%Y-%m-%d_%H",
            When::Days | When::Midnight | When::Weekly(_) => "%Y-%m-%d",
        }
    }
}

#[derive(Debug)]
pub(super) struct Timed {
    file: LogFile,
    when: When,
    /// Seconds.
    interval: i64,
    backups: usize,
    zone: TimeZone,
    next: Timestamp,
}

impl Timed {
    pub(super) fn open(
        path: PathBuf,
        delay: bool,
        when: When,
        interval: u32,
        backups: usize,
        zone: TimeZone,
    ) -> io::Result<Timed> {
        // A program that was started again goes on with the file it finds.
        let begun = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
        let begun = Timestamp::try_from(begun).unwrap_or_else(|_| Timestamp::now());
        let file = LogFile::open(path, Mode::Append, delay)?;
        let interval = when.unit().saturating_mul(interval.into());
        let mut log = Timed { file, when, interval, backups, zone, next: begun };
        log.next = log.after(begun);
        Ok(log)
    }

    /// When the file is put aside next, if it was begun at that time. Times without fractions, as Python has them.
    fn after(&self, begun: Timestamp) -> Timestamp {
        let begun = Timestamp::from_second(begun.as_second()).unwrap_or(begun);
        let zoned = begun.to_zoned(self.zone.clone());
        let next = match self.when {
            When::Midnight => midnight_after(&zoned, 0),
            When::Weekly(day) => midnight_after(&zoned, zoned.weekday().until(day)),
            _ => None,
        };
        next.or_else(|| begun.checked_add(self.interval.seconds()).ok()).unwrap_or(Timestamp::MAX)
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let span = self.next.checked_sub(self.interval.seconds()).unwrap_or(self.next);
        let suffix = span.to_zoned(self.zone.clone()).strftime(self.when.suffix()).to_string();
        self.next = self.after(now);
        let aside = beside(self.file.path(), &suffix);
        // Never over a file that was put aside before; its time then goes on in this one.
        if !self.file.is_regular() || aside.exists() {
            return Ok(());
        }
        self.file.close();
        fs::rename(self.file.path(), &aside)?;
        self.remove_old()
    }

    /// Keeps as many files that were put aside as wanted; none are removed for 0.
    fn remove_old(&self) -> io::Result<()> {
        let path = self.file.path();
        let (Some(folder), Some(name), 1..) = (path.parent(), path.file_name(), self.backups) else { return Ok(()) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut aside: Vec<OsString> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
            .filter(|name| {
                let name = name.to_string_lossy();
                name.strip_prefix(&prefix)
                    .is_some_and(|suffix| jiff::fmt::strtime::parse(self.when.suffix(), suffix).is_ok())
            })
            .collect();
        aside.sort();
        for old in aside.iter().rev().skip(self.backups) {
            fs::remove_file(folder.join(old))?;
        }
        Ok(())
    }
}

fn midnight_after(time: &Zoned, days: i8) -> Option<Timestamp> {
    let day = time.date().checked_add((i64::from(days) + 1).days()).ok()?;
    day.to_zoned(time.time_zone().clone()).ok().map(|midnight| midnight.timestamp())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

impl Output for Timed {
    fn write(&mut self, lines: &Batch) -> io::Result<()> {
        let mut failure = Ok(());
        let mut together = Vec::new();
        for (line, _, time) in lines.lines() {
            if time >= self.next {
                self.file.append(&together)?;
                together.clear();
                if let Err(error) = self.rotate(time) {
                    failure = Err(error);
                }
            }
            together.extend_from_slice(line);
        }
        self.file.append(&together).and(failure)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.close();
        self.file.length().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::batch_at;

    fn berlin(text: &str) -> Timestamp {
        format!("{text}[Europe/Berlin]").parse::<Zoned>().unwrap().timestamp()
    }

    fn log(dir: &Path, when: &str, interval: u32, backups: usize, begun: Timestamp) -> Timed {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let path = dir.join("t.log");
        let mut log = Timed::open(path, true, when.parse().unwrap(), interval, backups, zone).unwrap();
        log.next = log.after(begun);
        log
    }

    fn files(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// Python 3.11's `TimedRotatingFileHandler` computes the same times.
    #[test]
    fn the_time_of_the_next_rotation_is_that_of_pythons_handler() {
        let dir = tempfile::tempdir().unwrap();
        for (when, interval, begun, expected) in [
            ("S", 5, "2026-11-22T12:30:50+01", "2026-11-22T12:30:55+01"),
            ("m", 1, "2026-11-22T12:30:50+01", "2026-11-22T12:31:50+01"),
            ("H", 1, "2026-11-22T12:30:50+01", "2026-11-22T13:30:50+01"),
            ("D", 1, "2026-11-22T12:30:50+01", "2026-11-23T12:30:50+01"),
            ("midnight", 1, "2026-11-22T12:30:50+01", "2026-11-23T00:00:00+01"),
            ("MIDNIGHT", 2, "2026-11-22T12:30:50+01", "2026-11-23T00:00:00+01"),
            ("W0", 1, "2026-11-22T12:30:50+01", "2026-11-24T00:00:00+01"),
            ("w0", 1, "2026-11-30T11:30:15+01", "2026-12-01T00:00:00+01"),
            ("W6", 1, "2026-11-22T12:30:50+01", "2026-11-23T00:00:00+01"),
            ("W6", 1, "2026-11-30T12:30:50+01", "2026-12-07T00:00:00+01"),
            // The clock goes back that night.
            ("midnight", 1, "2026-10-25T01:00:00+02", "2026-10-26T00:00:00+01"),
        ] {
            let log = log(dir.path(), when, interval, 0, berlin(begun));
            assert_eq!(log.next, berlin(expected), "{when} from {begun}");
        }
        for when in ["X", "W7", "W", "", "W10"] {
            assert!(when.parse::<When>().is_err(), "{when} was taken");
        }
    }

    #[test]
    fn files_are_named_after_the_time_they_begin_with_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("t.log.txt"), "another file").unwrap();
        let mut log = log(dir.path(), "midnight", 1, 2, berlin("2026-11-22T12:00:00+01"));
        for (time, line) in [
            ("2026-11-22T23:59:59+01", "sunday"),
            ("2026-11-23T00:00:00+01", "monday"),
            ("2026-11-23T12:00:00+01", "monday too"),
            ("2026-11-24T12:00:00+01", "tuesday"),
            ("2026-11-25T12:00:00+01", "wednesday"),
        ] {
            log.write(&batch_at(&[line], berlin(time))).unwrap();
        }
        assert_eq!(files(dir.path()), ["t.log", "t.log.2026-11-23", "t.log.2026-11-24", "t.log.txt"]);
        assert_eq!(fs::read_to_string(dir.path().join("t.log.2026-11-23")).unwrap(), "monday\nmonday too\n");
        assert_eq!(fs::read_to_string(dir.path().join("t.log")).unwrap(), "wednesday\n");
    }

    #[test]
    fn a_file_that_was_put_aside_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("t.log.2026-11-22_12"), "from before\n").unwrap();
        let mut log = log(dir.path(), "H", 1, 5, berlin("2026-11-22T12:30:00+01"));
        for time in ["2026-11-22T13:00:00+01", "2026-11-22T13:30:00+01"] {
            log.write(&batch_at(&["line"], berlin(time))).unwrap();
        }
        assert_eq!(fs::read_to_string(dir.path().join("t.log.2026-11-22_12")).unwrap(), "from before\n");
        assert_eq!(fs::read_to_string(dir.path().join("t.log")).unwrap(), "line\nline\n");
    }
}
