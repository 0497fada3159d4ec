//! Loggers by dotted name, inheriting as Python's do.
//!
//! A logger without a level has that of the nearest one above it that has one; a line goes to the handlers of its
//! logger and of all above it, until one does not propagate. Levels of the loggers above do not matter then.

use log::LevelFilter;

/// A logger as configured.
#[derive(Clone, Debug)]
pub(crate) struct Logger {
    /// Empty for the root.
    pub(crate) name: String,
    /// Python's number; 0 is none.
    pub(crate) level: u8,
    /// Indices of handlers.
    pub(crate) handlers: Vec<usize>,
    pub(crate) propagate: bool,
}

/// The loggers, those with the longest names first.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    loggers: Vec<Logger>,
}

impl Hierarchy {
    pub(crate) fn new(mut loggers: Vec<Logger>) -> Hierarchy {
        loggers.sort_by_key(|logger| std::cmp::Reverse(logger.name.len()));
        Hierarchy { loggers }
    }

    /// The logger of that name if there is one, and those above it, upwards.
    fn above<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Logger> {
        self.loggers.iter().filter(move |logger| {
            let rest = name.strip_prefix(logger.name.as_str());
            rest.is_some_and(|rest| logger.name.is_empty() || rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// From which level on the logger of that name says anything.
    pub(crate) fn level(&self, name: &str) -> u8 {
        self.above(name).map(|logger| logger.level).find(|level| *level > 0).unwrap_or(0)
    }

    /// The handlers that get its lines, in Python's order.
    pub(crate) fn handlers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        let mut propagate = true;
        let reached = self.above(name).take_while(move |logger| std::mem::replace(&mut propagate, logger.propagate));
        reached.flat_map(|logger| logger.handlers.iter().copied())
    }

    /// What no logger ever says need not be made.
    pub(crate) fn max_level(&self) -> LevelFilter {
        // A logger without a level may be below none that has one; the root's 0 lets all through.
        let root = self.loggers.last().map_or(0, |root| root.level);
        let levels = self.loggers.iter().map(|logger| logger.level).filter(|level| *level > 0);
        match levels.chain([root]).min().unwrap_or(0) {
            0..=5 => LevelFilter::Trace,
            6..=10 => LevelFilter::Debug,
            11..=20 => LevelFilter::Info,
            21..=30 => LevelFilter::Warn,
            31..=40 => LevelFilter::Error,
            _ => LevelFilter::Off,
        }
    }
}
