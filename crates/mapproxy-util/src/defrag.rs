//! `mapproxy-util defrag-compact-cache`: bundles, and files of SQLite, are written anew without the bytes that nothing
//! names any more.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Zoned;
use mapproxy_cache::store::compact::{Defragment, Defragmented};
use mapproxy_config::checked::{CacheGrid, CacheStore};
use mapproxy_core::AppBuilder;

use crate::{FAILED, Failure, MISTAKEN, eprintln, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A tile that is stored again leaves its former bytes behind in the bundle. Servers may stay in use: bundles are locked as
for storing tiles, written beside their place and exchanged. As much space is needed as the largest bundle takes.
MBTiles, SQLite caches and GeoPackages are vacuumed: nobody else writes to them, or reads, meanwhile, and up to twice the
size of the file is needed, in the directory for temporary files and in its own.

Examples:

  What there would be to gain:
    mapproxy-util defrag-compact-cache -f mapproxy.yaml -n
  Only bundles of one cache that are at least a quarter empty:
    mapproxy-util defrag-compact-cache -f mapproxy.yaml --caches roads --min-percent 25")]
pub(crate) struct Arguments {
    /// The mapproxy.yaml
    #[arg(short = 'f', long = "mapproxy-conf", value_name = "CONF")]
    configuration: Option<PathBuf>,
    /// Only bundles and files of which at least so many percent are not in use
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    min_percent: f64,
    /// Only bundles and files of which at least so many megabytes are not in use
    #[arg(long, value_name = "MB", default_value_t = 1.0)]
    min_mb: f64,
    /// Change nothing, only tell
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Only these caches, with commas between them [default: all of type compact, mbtiles, sqlite, geopackage]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    caches: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(configuration) = &arguments.configuration else {
        return Err(Failure::without_configuration());
    };
    let caches = AppBuilder::from_file(configuration)
        .caches()
        .map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {}", error.diagnostics)))?;
    let mut compact: Vec<&str> = Vec::new();
    for (name, cache) in &caches.config().caches {
        let in_large_files = |store: &CacheStore| {
            matches!(
                store,
                CacheStore::Compact(_) | CacheStore::Mbtiles(_) | CacheStore::Sqlite(_) | CacheStore::Geopackage(_)
            )
        };
        let is_compact = |grid: &CacheGrid| match &grid.store {
            CacheStore::Tiered(tiered) => in_large_files(&tiered.lowest),
            store => in_large_files(store),
        };
        if cache.grids.iter().any(is_compact) {
            compact.push(name);
        }
    }
    let unknown: Vec<&str> =
        arguments.caches.iter().map(String::as_str).filter(|name| !compact.contains(name)).collect();
    if !unknown.is_empty() {
        println(format_args!("unknown caches: {}", unknown.join(", ")));
        println(format_args!("available compact caches: {}", compact.join(", ")));
        return Ok(ExitCode::from(FAILED));
    }
    let wanted = Defragment {
        min_percent: arguments.min_percent,
        min_bytes: (arguments.min_mb.max(0.0) * f64::from(1 << 20)) as u64,
        dry_run: arguments.dry_run,
    };
    let mut failed = false;
    for name in compact {
        if !arguments.caches.is_empty() && !arguments.caches.iter().any(|wanted| wanted == name) {
            continue;
        }
        let managers = caches
            .get(name)
            .map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {}", error.diagnostics)))?
            .unwrap_or_default();
        for store in managers.iter().filter_map(|(_, manager)| manager.store()) {
            let done = store.defragment(wanted, &mut |bundle| failed |= !tell(name, bundle));
            if let Err(error) = done {
                eprintln(format_args!("ERROR: cache {name}: {error}"));
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// A line about a bundle; whether it was well.
fn tell(cache: &str, bundle: &Defragmented) -> bool {
    let Defragmented { number: (number, count), name, unused: (unused, all), anew } = bundle;
    let now = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f");
    let width = count.to_string().len().max(3);
    match anew {
        Ok(anew) => {
            let percent = *unused as f64 / (*all).max(1) as f64 * 100.0;
            let done = if *anew { "defragmenting" } else { "skipping" };
            println(format_args!(
                "[{now}] {cache}: {number:width$}/{count} ({name}) fragmentation is {percent:.1}% ({}kb) - {done}",
                unused / 1024
            ));
            true
        }
        Err(reason) => {
            eprintln(format_args!("[{now}] {cache}: {number:width$}/{count} ({name}) stays as it is: {reason}"));
            false
        }
    }
}
