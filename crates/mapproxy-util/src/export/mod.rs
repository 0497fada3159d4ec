//! `mapproxy-util export`: tiles of a cache into a directory or a file of their own.
//!
//! The export is a cache like any other, whose source is the one to be exported: a configuration that includes the
//! person's own and adds it, worked on as by `mapproxy-seed`. Where the grids fit, tiles are copied byte for byte.

mod finish;
mod plan;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Zoned;
use mapproxy_grid::{Bbox, Coverage, MapExtent, TileGrid};
use mapproxy_seeding::{
    Agenda, AgendaError, Claim, Ended, Event, Observer, Outcome, Pace, PaceOptions, Progress, Report, RunOptions,
    SeedTask, Stop, TileWalk, run as seed,
};

use crate::seed::ending::Ending;
use crate::tiles_wanted::TilesWanted;
use crate::{FAILED, Failure, MISTAKEN, eprintln, grids, println};
use plan::{Part, Plan};
use target::Kind;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Tiles that are in the destination already stay as they are, so that an export that was interrupted is gone on with by
--continue. Paths are relative to the current directory.

Types: tms, mapproxy, tc, quadkey and arcgis are directories of files, sqlite is a directory of a file for each level,
compact-v1 and compact-v2 are directories of bundles; mbtile, geopackage and pmtiles are single files.

Examples:

  Levels 0 to 8 of a cache as a file for other programs:
    mapproxy-util export -f mapproxy.yaml --source roads --grid webmercator --levels 0..8 --type mbtile --dest roads.mbtiles
  A part of it in another grid, fetching what is missing:
    mapproxy-util export -f mapproxy.yaml --source roads --grid \"srs='EPSG:25832' bbox=[4,46,16,56] bbox_srs='EPSG:4326' origin=nw\" \\
      --levels 1,3,5..7 --bbox 7,52,9,54 --fetch-missing-tiles --dest tiles/
  One archive for the web:
    mapproxy-util export -f mapproxy.yaml --source roads --grid GLOBAL_WEBMERCATOR --levels 0..14 --type pmtiles --dest roads.pmtiles")]
pub(crate) struct Arguments {
    /// The mapproxy.yaml
    #[arg(short = 'f', long = "mapproxy-conf", value_name = "CONF")]
    configuration: Option<PathBuf>,
    /// Say less; twice: nothing about how far it is
    #[arg(short, long, action = clap::ArgAction::Count)]
    quiet: u8,
    /// The cache to export, or a source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The grid of the export: the name of one in the configuration, or its options, such as "srs='EPSG:4326'
    /// bbox=[5,50,10,60] origin=nw"
    #[arg(long, value_name = "GRID")]
    grid: Option<String>,
    /// Directory or file to write
    #[arg(long, value_name = "PATH")]
    dest: Option<PathBuf>,
    /// What is written: tms, mapproxy, tc, quadkey, arcgis, mbtile, sqlite, geopackage, compact-v1, compact-v2, pmtiles
    #[arg(long = "type", value_name = "TYPE", default_value = "tms")]
    kind: String,
    #[command(flatten)]
    wanted: TilesWanted,
    /// Ask the sources for tiles that the cache has not got; they are kept in the cache, too
    #[arg(long)]
    fetch_missing_tiles: bool,
    /// Write into a destination that is there; tiles in it stay
    #[arg(long)]
    force: bool,
    /// Go on with an export that was interrupted
    #[arg(long = "continue")]
    go_on: bool,
    /// Say what would be done, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Tiles at once
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// The mapproxy.yaml
    #[arg(value_name = "CONF", conflicts_with = "configuration")]
    path: Option<PathBuf>,
}

/// Status 1 for what is missing on the command line and for tiles that could not be exported, 2 for what is wrong on it, 3 if
/// it was interrupted.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let configuration = arguments.configuration.as_ref().or(arguments.path.as_ref());
    let configuration = configuration.ok_or_else(Failure::without_configuration)?;
    let missing = |name: &str| Failure::with_usage(format_args!("ERROR: missing required option --{name}"));
    let source = arguments.source.as_deref().ok_or_else(|| missing("source"))?;
    let grid = arguments.grid.as_deref().ok_or_else(|| missing("grid"))?;
    let destination = arguments.dest.as_ref().ok_or_else(|| missing("dest"))?;
    let levels = arguments.wanted.levels.as_ref().ok_or_else(|| missing("levels"))?;
    let mistake = |message: String| Failure::new(MISTAKEN, format_args!("ERROR: {message}"));

    let kind = Kind::named(&arguments.kind).ok_or_else(|| mistake(format!("unsupported --type {}", arguments.kind)))?;
    let may_exist = arguments.force || arguments.go_on || arguments.dry_run;
    let working = kind.working_path(destination);
    for path in [destination, &working] {
        if !may_exist && path.symlink_metadata().is_ok() {
            let message = if path == destination {
                "destination exists, remove first or use --force".to_owned()
            } else {
                let part = path.display();
                format!("{part} is what an interrupted export has left: go on with it by --continue, or remove it")
            };
            return Err(mistake(message));
        }
    }
    let config = grids::load(configuration)?;
    let plan = Plan::new(&config, configuration, source, grid, arguments.fetch_missing_tiles)?;
    if usize::from(levels.last()) >= plan.grid.levels().len() {
        return Err(mistake(format!("destination grid only has {} levels", plan.grid.levels().len())));
    }
    kind.check(&plan.grid).map_err(mistake)?;
    let coverage = arguments.wanted.area.coverage(&config)?;
    if !plan.is_copy {
        eprintln(format_args!("WARN: grids are incompatible. needs to scale/reproject tiles for export."));
    }

    // Files of databases are made as soon as the cache is built.
    let scratch = tempfile::tempdir().map_err(|error| mistake(format!("no temporary directory: {error}")))?;
    let place = if arguments.dry_run { scratch.path().join("dry") } else { absolute(&working) };
    let pace = Arc::new(Pace::new(PaceOptions::default()));
    let part =
        Part { kind, place: &place, locks: &scratch.path().join("locks"), area: arguments.wanted.area.written() };
    let manager = plan.build(&part, &pace)?;
    let task = SeedTask {
        name: source.into(),
        manager,
        levels: levels.as_slice().to_vec(),
        coverage: coverage.clone(),
        refresh: mapproxy_seeding::Refresh::Missing,
        skip_geoms_for_last_levels: 0,
    };
    let in_grid = match plan.grid_name {
        Some(name) => format!("grid '{name}'"),
        None => "custom grid".to_owned(),
    };
    let extent = extent_of(coverage.as_ref(), &plan.grid);
    println(format_args!(
        "Exporting cache '{source}' to '{}' with {in_grid} in {}",
        destination.display(),
        plan.grid.srs().code()
    ));
    println(format_args!(
        "  Limited to: {}",
        extent.map_or_else(|| "-".to_owned(), |bbox| format!("{} (EPSG:4326)", five_digits(&bbox)))
    ));
    println(format_args!("  Levels: {levels}"));

    let walk = TileWalk::new(&task).map_err(|error| mistake(error.to_string()))?;
    let agenda = Walking(Mutex::new(walk));
    let options = RunOptions {
        workers: usize::from(arguments.concurrency),
        dry_run: arguments.dry_run,
        pace,
        ..RunOptions::default()
    };
    let observer = Lines::new(arguments.quiet);
    let ending = Ending::watched(None).map_err(|error| mistake(format!("signals cannot be watched: {error}")))?;
    let report = seed(&task, &agenda, &options, &observer, &ending.stop);
    told(&report)?;
    if !arguments.dry_run {
        let about = finish::About { name: source, extent, levels: levels.as_slice(), plan: &plan };
        let failed = |error: String| Failure::new(FAILED, format_args!("ERROR: {error}"));
        finish::finish(kind, &task, &working, destination, &about).map_err(failed)?;
    }
    if arguments.quiet < 2 && !arguments.dry_run {
        let counts = &report.counts;
        println(format_args!(
            "{} tiles exported ({} KiB), {} were there, {} are in no source{}",
            counts.made,
            counts.bytes / 1024,
            counts.kept,
            counts.empty,
            if coverage.is_some() { " or outside" } else { "" }
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The box of what is exported, in degrees.
fn extent_of(coverage: Option<&Coverage>, grid: &TileGrid) -> Option<Bbox> {
    let extent = match coverage {
        Some(coverage) => coverage.extent(),
        None => MapExtent::new(grid.bbox(), grid.srs().clone()),
    };
    extent.bbox_in(&mapproxy_grid::Srs::wgs84()).ok()
}

fn five_digits(bbox: &Bbox) -> String {
    let [min_x, min_y, max_x, max_y] = bbox.to_array();
    format!("{min_x:.5}, {min_y:.5}, {max_x:.5}, {max_y:.5}")
}

/// An error where not all is there.
fn told(report: &Report) -> Result<(), Failure> {
    let status = if matches!(report.ended, Ended::Stopped) { INTERRUPTED } else { FAILED };
    let reason = match &report.ended {
        Ended::Complete if report.counts.failed_pieces == 0 => return Ok(()),
        Ended::Complete => format!("{} tiles could not be exported (see above)", report.counts.failed),
        Ended::Stopped => "interrupted".to_owned(),
        Ended::GivenUp { host, reason } => format!("{host} does not answer: {reason}"),
        Ended::Agenda(error) => error.to_string(),
        _ => "the export did not end".to_owned(),
    };
    Err(Failure::new(status, format_args!("ERROR: {reason}; go on with the same command and --continue")))
}

/// Stopped before all was there.
const INTERRUPTED: u8 = 3;

/// All tiles in turn. What was exported before is found in the destination.
#[derive(Debug)]
struct Walking(Mutex<TileWalk>);

impl Agenda for Walking {
    fn next(&self, stop: &Stop) -> Result<Option<Claim>, AgendaError> {
        if stop.is_asked() {
            return Ok(None);
        }
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        Ok(work.map(|work| Claim { id: String::new(), work }))
    }

    fn finish(&self, _claim: &Claim, _outcome: &Outcome) -> Result<(), AgendaError> {
        Ok(())
    }

    fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fraction()
    }
}

/// How far it is: lines at the beginning, at the end, and now and then.
#[derive(Debug)]
struct Lines {
    is_silent: bool,
    every: std::time::Duration,
    told: Mutex<std::time::Duration>,
    /// Of all that is exported.
    whole: Mutex<Option<Bbox>>,
}

impl Lines {
    fn new(quiet: u8) -> Lines {
        use std::io::IsTerminal;
        let is_watched = quiet == 0 && std::io::stdout().is_terminal();
        let every = std::time::Duration::from_secs(if is_watched { 1 } else { 30 });
        Lines { is_silent: quiet > 1, every, told: Mutex::default(), whole: Mutex::default() }
    }

    fn line(progress_bbox: &Bbox, fraction: f64, tiles: u64) {
        let time = Zoned::now().strftime("%H:%M:%S").to_string();
        println(format_args!("[{time}]  0 {:6.2}% {} ({tiles} tiles)", fraction * 100.0, five_digits(progress_bbox)));
    }

    fn now_and_then(&self, progress: &Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.elapsed >= *told + self.every {
            *told = progress.elapsed;
            Lines::line(&progress.bbox, progress.fraction, progress.counts.tiles);
        }
    }
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { progress, .. } if !self.is_silent => {
                *self.whole.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.bbox);
                Lines::line(&progress.bbox, 0.0, 0);
            }
            Event::Ended(report) if !self.is_silent && matches!(report.ended, Ended::Complete) => {
                let whole = *self.whole.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bbox) = whole {
                    Lines::line(&bbox, 1.0, report.counts.tiles);
                }
            }
            Event::Progress(progress) if !self.is_silent => self.now_and_then(progress),
            Event::Retry { reason, wait, left, .. } => {
                eprintln(format_args!("{reason}; again in {} s, {left} tries left", wait.as_secs()));
            }
            Event::Failed { work, reason } => {
                let tile = work.main;
                eprintln(format_args!("level {}, column {}, row {}: {reason}", tile.z, tile.x, tile.y));
            }
            _ => {}
        }
    }
}
