//! `mapproxy-util convert`: the tiles of one cache into another of the same grid.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use mapproxy_cache::store::visit::{Detail, Visited};
use mapproxy_cache::store::{Look, TileData, TileStore};
use mapproxy_cache::{TileKey, TileManager};
use mapproxy_image::{Codec, MapImage, codec};

use crate::seed::ending::Ending;
use crate::stored::{self, Part};
use crate::tiles_wanted::TilesWanted;
use crate::{FAILED, Failure, MISTAKEN, eprintln, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Both caches are in the configuration and have the grids in common; nothing is asked of sources. Tiles are stored byte for
byte, or in the format of the new cache where that is another. Those that the new cache has already stay, so that an
interrupted conversion goes on where it was; damaged ones are told and left out. They stay as old as they are where both
caches have times; S3, Azure and Redis tell that of the conversion.
For PMTiles and for other grids see `export`.

Examples:

  From files to MBTiles (both caches are in the configuration):
    mapproxy-util convert -f mapproxy.yaml --from roads_files --to roads_mbtiles
  Only a country, and only to level 12:
    mapproxy-util convert -f mapproxy.yaml --from roads --to roads_country --levels 0..12 --coverage country.geojson")]
pub(crate) struct Arguments {
    /// The mapproxy.yaml
    #[arg(short = 'f', long = "mapproxy-conf", value_name = "CONF")]
    configuration: Option<PathBuf>,
    /// The cache that has the tiles
    #[arg(long, value_name = "CACHE")]
    from: Option<String>,
    /// The cache that gets them
    #[arg(long, value_name = "CACHE")]
    to: Option<String>,
    /// Only in this grid [default: all that both have]
    #[arg(long, value_name = "NAME")]
    grid: Option<String>,
    #[command(flatten)]
    tiles: TilesWanted,
    /// Tiles that are there already are stored again
    #[arg(long)]
    force: bool,
    /// Change nothing, only count
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How many threads store tiles
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    concurrency: u8,
}

/// Stopped before the work was done.
const INTERRUPTED: u8 = 3;

/// Tiles that are looked for, and stored, together.
const BATCH: usize = 64;

/// What came of the tiles.
#[derive(Debug, Default)]
struct Counts {
    stored: AtomicU64,
    bytes: AtomicU64,
    kept: AtomicU64,
    damaged: AtomicU64,
}

type Batch = Vec<(TileKey, TileData)>;

/// Status 1 if tiles were damaged or could not be stored, 3 if it was interrupted.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.configuration.as_ref().ok_or_else(Failure::without_configuration)?;
    let missing = |option: &str| Failure::new(MISTAKEN, format_args!("ERROR: missing required option {option}"));
    let from = arguments.from.as_deref().ok_or_else(|| missing("--from"))?;
    let to = arguments.to.as_deref().ok_or_else(|| missing("--to"))?;
    if from == to {
        return Err(Failure::new(MISTAKEN, "ERROR: --from and --to are the same cache"));
    }
    let caches = stored::read(path)?;
    for name in [from, to] {
        if !caches.config().caches.contains_key(name) {
            let known: Vec<&str> = caches.names().map(|name| &**name).collect();
            let message = format_args!("ERROR: cache {name} not found. available: {}", known.join(","));
            return Err(Failure::new(MISTAKEN, message));
        }
    }
    let coverage = arguments.tiles.area.coverage(caches.config())?;
    let (sources, targets) = (stored::grids(&caches, from)?, stored::grids(&caches, to)?);
    let mut pairs = Vec::new();
    for (grid, source) in sources {
        let is_meant = arguments.grid.as_deref().is_none_or(|wanted| wanted == &**grid);
        let Some((_, target)) = targets.iter().find(|(other, _)| is_meant && other == grid) else { continue };
        let store = |name: &str, manager: &TileManager| {
            let message = format_args!("ERROR: cache {name} keeps no tiles (disable_storage: true)");
            manager.store().cloned().ok_or_else(|| Failure::new(MISTAKEN, message))
        };
        let levels = arguments.tiles.levels.as_ref().map(|levels| {
            levels.as_slice().iter().copied().filter(|level| source.grid().level(*level).is_some()).collect()
        });
        let part = Part {
            cache: Arc::from(from),
            grid: Arc::clone(grid),
            manager: Arc::clone(source),
            store: store(from, source)?,
            levels,
            coverage: coverage.clone(),
        };
        let formats = |manager: &TileManager| manager.data_format().map(|format| format.kind());
        if formats(source) != formats(target) {
            let message =
                format_args!("ERROR: tiles of {from} and {to} are not of the same kind: pictures, or which data");
            return Err(Failure::new(MISTAKEN, message));
        }
        pairs.push((part, Arc::clone(target), store(to, target)?));
    }
    if pairs.is_empty() {
        let names = |grids: &[(Arc<str>, Arc<TileManager>)]| {
            grids.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(",")
        };
        let message = format_args!(
            "ERROR: caches {from} and {to} have no such grid in common: {from} has {}, {to} has {}; `export` can do that",
            names(sources),
            names(targets)
        );
        return Err(Failure::new(MISTAKEN, message));
    }
    let ending = Ending::watched(None)
        .map_err(|error| Failure::new(FAILED, format_args!("ERROR: no signals can be waited for: {error}")))?;
    let mut is_well = true;
    for (part, target, store) in &pairs {
        let conversion =
            Conversion { arguments, part, target, store: store.as_ref(), ending: &ending, counts: Counts::default() };
        conversion.run()?;
        is_well &= conversion.tell(to);
    }
    Ok(ExitCode::from(match () {
        () if ending.stop.is_asked() => INTERRUPTED,
        () if is_well => 0,
        () => FAILED,
    }))
}

/// One grid of a conversion.
struct Conversion<'a> {
    arguments: &'a Arguments,
    part: &'a Part,
    target: &'a TileManager,
    store: &'a dyn TileStore,
    ending: &'a Ending,
    counts: Counts,
}

impl Conversion<'_> {
    /// One thread shows the tiles, others store them; no more than two batches for each are in memory.
    fn run(&self) -> Result<(), Failure> {
        let workers = usize::from(self.arguments.concurrency);
        let (sender, receiver) = sync_channel::<Batch>(workers);
        let receiver = Mutex::new(receiver);
        let failure = Mutex::new(None);
        let shown = thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&receiver, &failure));
            }
            self.show(sender, &failure)
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => shown,
        }
    }

    fn show(&self, sender: SyncSender<Batch>, failure: &Mutex<Option<Failure>>) -> Result<(), Failure> {
        let mut batch = Batch::with_capacity(BATCH);
        self.part.visit(Detail::Bytes, &mut |seen| {
            if self.ending.stop.is_asked() || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return ControlFlow::Break(());
            }
            match seen {
                Visited::Tile(tile) => match tile.bytes {
                    Some(bytes) => {
                        let modified = tile.meta.and_then(|meta| meta.modified);
                        batch.push((tile.key, TileData { modified, ..TileData::new(bytes) }));
                    }
                    None => self.is_damaged(&tile.key, &"it has no bytes"),
                },
                Visited::Broken { key, reason } => self.is_damaged(&key, &reason),
                Visited::Unreadable { name, reason } => {
                    self.counts.damaged.fetch_add(1, Ordering::Relaxed);
                    eprintln(format_args!("{name}: {reason}"));
                }
                Visited::Foreign { .. } | Visited::Leftover { .. } => {}
            }
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Batch::with_capacity(BATCH));
                if sender.send(full).is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if !batch.is_empty() && !self.ending.stop.is_asked() {
            // Nobody takes it only where a failure was told already.
            sender.send(batch).ok();
        }
        Ok(())
    }

    fn work(&self, receiver: &Mutex<Receiver<Batch>>, failure: &Mutex<Option<Failure>>) {
        loop {
            let batch = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            if let Err(error) = self.store(batch) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    fn store(&self, mut batch: Batch) -> Result<(), Failure> {
        let failed = |error| Failure::new(FAILED, format_args!("ERROR: cache {}: {error}", self.target.name()));
        if !self.arguments.force {
            let keys: Vec<TileKey> = batch.iter().map(|(key, _)| key.clone()).collect();
            let mut there = self.store.times(&keys, Look::Presence).map_err(failed)?.into_iter();
            let all = batch.len();
            batch.retain(|_| there.next().flatten().is_none());
            self.counts.kept.fetch_add((all - batch.len()) as u64, Ordering::Relaxed);
        }
        let mut tiles = Vec::with_capacity(batch.len());
        for (key, tile) in batch {
            match self.converted(tile.bytes) {
                Ok(bytes) => tiles.push((key, TileData { bytes, ..tile })),
                Err(reason) => self.is_damaged(&key, &reason),
            }
        }
        let bytes: usize = tiles.iter().map(|(_, tile)| tile.bytes.len()).sum();
        if !self.arguments.dry_run {
            self.store.store_many(&tiles).map_err(failed)?;
        }
        self.counts.stored.fetch_add(tiles.len() as u64, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The tile as the new cache has its tiles.
    fn converted(&self, bytes: Bytes) -> Result<Bytes, String> {
        if let Some(format) = self.target.data_format() {
            return format.check(&bytes).map(|()| bytes).map_err(|damage| damage.to_string());
        }
        let is = codec::whole(&bytes).map_err(|damage| damage.to_string())?;
        let options = self.target.image();
        let format = options.format.as_ref();
        let fits = match format.and_then(|format| format.codec()) {
            Some(wanted) => wanted == is,
            None => format.is_some_and(|format| format.is_mixed()) && matches!(is, Codec::Png | Codec::Jpeg),
        };
        if fits {
            return Ok(bytes);
        }
        let image = MapImage::from_encoded(bytes, Arc::clone(self.part.manager.image()));
        let image = image.decoded().and_then(|image| image.encode(options));
        image.map(|image| image.bytes).map_err(|error| error.to_string())
    }

    fn is_damaged(&self, key: &TileKey, reason: &dyn std::fmt::Display) {
        self.counts.damaged.fetch_add(1, Ordering::Relaxed);
        eprintln(format_args!("{}: {reason}", self.part.store.place(key)));
    }

    /// Whether all went well.
    fn tell(&self, to: &str) -> bool {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (part, damaged) = (self.part, count(&self.counts.damaged));
        println(format_args!(
            "{} to {to} in {}: {} tiles {} ({} bytes), {} were there, {damaged} damaged",
            part.cache,
            part.grid,
            count(&self.counts.stored),
            if self.arguments.dry_run { "to be stored" } else { "stored" },
            count(&self.counts.bytes),
            count(&self.counts.kept),
        ));
        damaged == 0
    }
}
