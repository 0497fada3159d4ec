//! The command line of `mapproxy-seed`: the original's options, their abbreviations, and how mistakes are told.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser};
use mapproxy_core::seed::Selected;
use mapproxy_seeding::{QueueAddress, Shard};

use crate::progress::Style;
use crate::{MISTAKEN, eprintln, println};

const USAGE: &str = "mapproxy-seed [options] seed_conf";

#[derive(Debug, Parser)]
#[command(
    name = "mapproxy-seed",
    version = concat!("MapProxy ", env!("CARGO_PKG_VERSION")),
    about = "Fills, refreshes and empties caches, as a seed.yaml says",
    override_usage = USAGE,
    infer_long_args = true,
    args_override_self = true,
    after_long_help = "Examples:
  mapproxy-seed -f mapproxy.yaml seed.yaml --summary
      says what would be done
  mapproxy-seed -f mapproxy.yaml seed.yaml -c 4 --seed europe
      makes the tiles of one task, four meta tiles at a time
  mapproxy-seed -f mapproxy.yaml seed.yaml --continue --duration 8h
      works for eight hours at most, each night where it was

Status: 0 all is done (or the --duration is over), 1 nothing to do or nothing that can be done, 2 mistakes in the
configuration or the command line, 3 stopped before the end, 4 some tiles could not be made."
)]
pub(crate) struct Arguments {
    /// Say less: once, progress in lines of its own; twice, no progress
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) quiet: u8,
    /// The seed.yaml
    #[arg(short, long, value_name = "SEED_FILE")]
    pub(crate) seed_conf: Option<PathBuf>,
    /// The mapproxy.yaml
    #[arg(short = 'f', long, value_name = "CONF_FILE")]
    pub(crate) proxy_conf: Option<PathBuf>,
    /// How many meta tiles are asked for at a time
    #[arg(short, long, value_name = "N", default_value = "2")]
    pub(crate) concurrency: NonZeroUsize,
    /// Only say what would be made or removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not compare tiles with the coverage where fewer than N levels remain
    #[arg(short = 'l', long, value_name = "N", default_value_t = 0)]
    pub(crate) skip_geoms_for_last_levels: u8,
    /// Only refresh tiles that are there (refresh_before), make none that are missing
    #[arg(long)]
    pub(crate) skip_uncached: bool,
    /// Print all tasks and end
    #[arg(long)]
    pub(crate) summary: bool,
    /// Ask for each task whether it is wanted
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Only these tasks of `seeds`, or ALL; cleanups only if --cleanup is given, too
    #[arg(long, value_name = "TASK,…", value_delimiter = ',', action = ArgAction::Append)]
    pub(crate) seed: Vec<String>,
    /// Only these tasks of `cleanups`, or ALL; seeds only if --seed is given, too
    #[arg(long, value_name = "TASK,…", value_delimiter = ',', action = ArgAction::Append)]
    pub(crate) cleanup: Vec<String>,
    /// Do not work on caches that another seeder works on (MapProxy for Python included, in the same directory)
    #[arg(long)]
    pub(crate) use_cache_lock: bool,
    /// Go on where the last run was stopped
    #[arg(long = "continue")]
    pub(crate) go_on: bool,
    /// Only what failed in runs before
    #[arg(long, conflicts_with = "go_on")]
    pub(crate) retry_failed: bool,
    /// Where to remember how far the work is, and what failed [default: .mapproxy_seed_progress]
    #[arg(long, value_name = "FILE")]
    pub(crate) progress_file: Option<PathBuf>,
    /// How to tell how far the work is; on a terminal as a bar, else as lines. With json, nothing else is on standard output
    #[arg(long, value_name = "STYLE", value_enum)]
    pub(crate) progress: Option<Style>,
    /// Only the I-th of N shares of all tiles: N machines, each with another I, make all of them
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Share the work with all machines that name the same Redis server (redis://host:port/db) and have the same tasks
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with_all = ["shard", "go_on", "progress_file", "use_cache_lock"]
    )]
    pub(crate) queue: Option<QueueAddress>,
    /// Ask no upstream server for more than so much in a second (0.5: once in two seconds), all machines of a queue together
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) max_rate: Option<f64>,
    /// Stop after this time (120s, 15m, 4h, 0.5d)
    #[arg(long, value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// A file whose time says when the last complete run was begun
    #[arg(long, value_name = "FILE")]
    pub(crate) reseed_file: Option<PathBuf>,
    /// With --reseed-file and --continue: begin a new run only if the last one was begun so long ago
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) reseed_interval: Option<Duration>,
    /// Log as this file says, in the format of Python's logging.config.fileConfig
    #[arg(long, value_name = "INI")]
    pub(crate) log_config: Option<PathBuf>,
    /// The seed.yaml, if not given by -s
    #[arg(value_name = "SEED_CONF")]
    positional: Option<PathBuf>,
}

impl Arguments {
    /// Tells people, out of the way of programs that read standard output.
    pub(crate) fn say(&self, text: std::fmt::Arguments<'_>) {
        if self.progress == Some(Style::Json) { eprintln(text) } else { println(text) }
    }

    /// The command line of this process, or how the program ends instead.
    pub(crate) fn read() -> Result<Arguments, ExitCode> {
        match Arguments::try_parse() {
            Ok(mut arguments) => match (arguments.seed_conf.is_some(), arguments.positional.take()) {
                (true, Some(extra)) => Err(refuse(&format!("unexpected argument '{}': -s is given", extra.display()))),
                (false, Some(path)) => Ok(Arguments { seed_conf: Some(path), ..arguments }),
                (_, None) => Ok(arguments),
            },
            Err(error) => Err(refuse_all(&error)),
        }
    }

    /// Both configurations, or how the program ends instead.
    pub(crate) fn files(&self) -> Result<(&PathBuf, &PathBuf), ExitCode> {
        match (&self.proxy_conf, &self.seed_conf) {
            (Some(proxy), Some(seed)) => Ok((proxy, seed)),
            (None, Some(_)) => Err(refuse("missing mapproxy configuration -f/--proxy-conf")),
            (_, None) => {
                println(format_args!("{}", Arguments::command().render_help()));
                Err(ExitCode::from(crate::FAILED))
            }
        }
    }

    /// There is a queue, and it is asked: what is only told or tried takes nothing from it.
    pub(crate) fn has_queue(&self) -> bool {
        self.queue.is_some() && !self.summary && !self.dry_run
    }

    /// Which tasks are wanted, of seeds and of cleanups.
    pub(crate) fn selected(&self) -> (Selected, Selected) {
        let of = |names: &[String]| match names {
            [] => Selected::Nothing,
            names if names.iter().any(|name| name == "ALL") => Selected::All,
            names => Selected::Named(names.to_vec()),
        };
        if self.seed.is_empty() && self.cleanup.is_empty() {
            return (Selected::All, Selected::All);
        }
        (of(&self.seed), of(&self.cleanup))
    }
}

fn refuse_all(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        println(format_args!("{}", error.render().to_string().trim_end()));
        return ExitCode::SUCCESS;
    }
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.as_str(),
        _ => "",
    };
    // As the user wrote it, without what clap adds for the value.
    let name = option.split([' ', '=']).next().unwrap_or_default();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    refuse(&match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with('-') => match &candidates(name)[..] {
            [] => format!("no such option: {name}"),
            all => format!("ambiguous option: {name} ({}?)", all.join(", ")),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("{name} option requires 1 argument"),
        ErrorKind::ValueValidation if name == "--concurrency" || name == "--skip-geoms-for-last-levels" => {
            format!("option {name}: invalid integer value: '{value}'")
        }
        ErrorKind::ValueValidation if name == "--duration" || name == "--reseed-interval" => {
            let expected = "expected (10s, 15m, 0.5h, 3d, etc)";
            format!("option {name}: invalid duration value: '{value}', {expected}")
        }
        // Without the value, which may hold a password.
        ErrorKind::ValueValidation if name == "--queue" => {
            let why = std::error::Error::source(error).map(ToString::to_string);
            format!("option {name}: {}", why.unwrap_or_default())
        }
        _ => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

/// Long options that begin so.
fn candidates(beginning: &str) -> Vec<String> {
    let command = Arguments::command();
    let options = command.get_arguments().filter_map(|argument| argument.get_long());
    let mut names: Vec<String> = options.map(|name| format!("--{name}")).collect();
    names.retain(|name| beginning.len() > 2 && name.starts_with(beginning));
    names.sort();
    names
}

/// A mistake in the usage.
pub(crate) fn refuse(message: &str) -> ExitCode {
    eprintln(format_args!("Usage: {USAGE}\n\nmapproxy-seed: error: {message}"));
    ExitCode::from(MISTAKEN)
}

/// `10s`, `15m`, `0.5h`, `3d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration value: '{text}', expected (10s, 15m, 0.5h, 3d, etc)");
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86400.0,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(wrong());
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// Requests in a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0, as 10 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_are_abbreviated_repeated_and_mixed_as_in_the_original() {
        let line = "mapproxy-seed -qq --sum seed.yaml --proxy a.yaml -f b.yaml --seed a,b --seed c --cont -c3";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((arguments.quiet, arguments.summary, arguments.go_on), (2, true, true));
        assert_eq!(arguments.proxy_conf, Some("b.yaml".into()));
        assert_eq!(arguments.positional, Some("seed.yaml".into()));
        assert_eq!(arguments.concurrency.get(), 3);
        let all = |names: &[&str]| Selected::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(arguments.selected(), (all(&["a", "b", "c"]), Selected::Nothing));
        assert_eq!(candidates("--see"), ["--seed", "--seed-conf"]);
        assert!(candidates("--bogus").is_empty() && candidates("--").is_empty());
    }

    #[test]
    fn a_share_a_queue_and_a_rate_are_checked_where_they_are_given() {
        let read = |line: &str| Arguments::try_parse_from(line.split(' '));
        let arguments = read("mapproxy-seed --queue redis://:geheim@host/2 --max-rate 0.5 --retry-failed").unwrap();
        assert_eq!((arguments.has_queue(), arguments.max_rate), (true, Some(0.5)));
        assert!(!format!("{arguments:?}").contains("geheim"));
        assert!(!read("mapproxy-seed --queue redis://host -n").unwrap().has_queue());
        assert_eq!(
            read("mapproxy-seed --shard 2/3").unwrap().shard.map(|shard| shard.to_string()).as_deref(),
            Some("2/3")
        );
        for line in [
            "--shard 4/3",
            "--shard 0/3",
            "--shard x",
            "--max-rate 0",
            "--max-rate -1",
            "--max-rate nan",
            "--queue x",
            "--queue redis://h --shard 1/2",
            "--queue redis://h --continue",
            "--queue redis://h --progress-file p",
            "--queue redis://h --use-cache-lock",
        ] {
            assert!(read(&format!("mapproxy-seed {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [("10s", 10.0), ("15m", 900.0), ("0.5h", 1800.0), (".5h", 1800.0), ("3d", 259_200.0)] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "s", "10", "x", "-5s", "1e3s", "1.2.3s", "10w", "5sé", "é", "99999999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
