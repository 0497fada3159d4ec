//! `mapproxy-util cache-info`: how many tiles a cache has, of which levels, how old, and where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mapproxy_cache::store::visit::{Detail, SeenTile, Visited};
use mapproxy_grid::{MetaGrid, Origin, TileCoord, TileGrid};
use mapproxy_seeding::TileWalk;
use serde_json::{Value, json};

use crate::stored::{Part, StoredWanted};
use crate::{FAILED, Failure, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Nothing is decoded and nothing is asked of sources. Files are looked at one by one for their size and age: a cache of many
millions of them takes its time; databases and bundles are read by their index.

Examples:

  What all caches of a configuration have:
    mapproxy-util cache-info -f mapproxy.yaml
  How much of a country is there, level by level, with a picture of each:
    mapproxy-util cache-info -f mapproxy.yaml --cache roads --coverage country.geojson --picture pictures")]
pub(crate) struct Arguments {
    #[command(flatten)]
    wanted: StoredWanted,
    /// How to say it: tables, or a JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A directory for pictures of each level: the darker, the more of the place is there
    #[arg(long, value_name = "DIR")]
    picture: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Tiles that are younger than this are counted together; what is older than all of them, too.
const AGES: [(&str, u64); 5] = [
    ("an hour", 3600),
    ("a day", 24 * 3600),
    ("a week", 7 * 24 * 3600),
    ("a month", 30 * 24 * 3600),
    ("a year", 365 * 24 * 3600),
];

/// Tiles of a level that are counted to tell which part of them is there; a level with more within a coverage has no
/// such figure.
const COUNTED: u64 = 5_000_000;

/// Pixels of a picture in either direction, at most.
const PICTURE: u32 = 1024;

/// What is stored of a level.
#[derive(Debug, Default)]
struct Level {
    tiles: u64,
    with_dimensions: u64,
    bytes: u64,
    oldest: Option<SystemTime>,
    newest: Option<SystemTime>,
    picture: Option<Picture>,
}

/// Which places of a level have tiles.
#[derive(Debug)]
struct Picture {
    width: u32,
    height: u32,
    /// Tiles in a pixel, in either direction, as a power of two.
    scale: u32,
    counts: Vec<u32>,
}

/// What is stored of a cache in a grid.
#[derive(Debug, Default)]
struct Found {
    levels: BTreeMap<u8, Level>,
    /// By [`AGES`].
    ages: [u64; AGES.len() + 1],
    has_ages: bool,
    broken: u64,
    unreadable: Vec<String>,
    foreign: u64,
    leftovers: u64,
}

/// Status 1 if a store cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let parts = arguments.wanted.parts()?;
    if let Some(directory) = &arguments.picture {
        std::fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
    }
    let mut documents = Vec::new();
    for part in &parts {
        let found = look(part, arguments.picture.is_some())?;
        if let Some(directory) = &arguments.picture {
            for (level, found) in &found.levels {
                if let Some(picture) = &found.picture {
                    let name = format!("{}-{}-{level:02}.png", part.cache, part.grid).replace(['/', '\\'], "_");
                    picture.write(&directory.join(name), part.manager.grid(), *level)?;
                }
            }
        }
        match arguments.format {
            Format::Text => println(format_args!("{}", text(part, &found))),
            Format::Json => documents.push(document(part, &found)),
        }
    }
    if arguments.format == Format::Json {
        println(format_args!("{:#}", json!({ "caches": documents })));
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FAILED, format_args!("ERROR: cannot write {}: {error}", path.display()))
}

fn look(part: &Part, draws: bool) -> Result<Found, Failure> {
    let (mut found, now) = (Found::default(), SystemTime::now());
    part.visit(Detail::Meta, &mut |seen| {
        match seen {
            Visited::Tile(tile) => found.add(&tile, part.manager.grid(), now, draws),
            Visited::Broken { .. } => found.broken += 1,
            Visited::Unreadable { name, reason } => found.unreadable.push(format!("{name}: {reason}")),
            Visited::Foreign { .. } => found.foreign += 1,
            Visited::Leftover { .. } => found.leftovers += 1,
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

impl Found {
    fn add(&mut self, tile: &SeenTile, grid: &TileGrid, now: SystemTime, draws: bool) {
        let TileCoord { x, y, z } = tile.key.coord;
        let level = self.levels.entry(z).or_default();
        level.tiles += 1;
        level.with_dimensions += u64::from(!tile.key.dimensions.is_empty());
        if let Some(meta) = tile.meta {
            level.bytes += meta.size;
            if let Some(modified) = meta.modified {
                level.oldest = Some(level.oldest.map_or(modified, |oldest| oldest.min(modified)));
                level.newest = Some(level.newest.map_or(modified, |newest| newest.max(modified)));
                let age = now.duration_since(modified).unwrap_or(Duration::ZERO).as_secs();
                let class = AGES.iter().position(|(_, seconds)| age < *seconds).unwrap_or(AGES.len());
                self.ages[class] += 1;
                self.has_ages = true;
            }
        }
        if draws && grid.contains_tile(tile.key.coord) {
            let (columns, rows) = grid.level(z).map_or((1, 1), |level| (level.columns, level.rows));
            let y = if grid.origin() == Origin::LowerLeft { rows - 1 - y } else { y };
            level.picture.get_or_insert_with(|| Picture::new(columns, rows)).add(x, y);
        }
    }

    /// Its name, and how many tiles, in the order of age.
    fn ages(&self) -> impl Iterator<Item = (String, u64)> {
        let names = AGES.iter().map(|(name, _)| format!("under {name}")).chain(["older".to_owned()]);
        names.zip(self.ages)
    }
}

impl Picture {
    fn new(columns: u32, rows: u32) -> Picture {
        let mut scale = 0;
        while (columns.max(rows) - 1) >> scale >= PICTURE {
            scale += 1;
        }
        let (width, height) = (((columns - 1) >> scale) + 1, ((rows - 1) >> scale) + 1);
        Picture { width, height, scale, counts: vec![0; width as usize * height as usize] }
    }

    fn add(&mut self, x: u32, y: u32) {
        let place = (y >> self.scale) as usize * self.width as usize + (x >> self.scale) as usize;
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    /// White where nothing is there; from light grey to black the more is.
    fn write(&self, path: &Path, grid: &TileGrid, level: u8) -> Result<(), Failure> {
        let (columns, rows) = grid.level(level).map_or((1, 1), |level| (level.columns, level.rows));
        let side = |at: u32, all: u32| u64::from((all - (at << self.scale)).min(1 << self.scale));
        let pixels: Vec<u8> = (0..self.height)
            .flat_map(|y| (0..self.width).map(move |x| (x, y)))
            .zip(&self.counts)
            .map(|((x, y), count)| {
                let room = side(x, columns) * side(y, rows);
                if *count == 0 { 255 } else { (200 - 200 * u64::from(*count).min(room) / room) as u8 }
            })
            .collect();
        let write = || -> Result<(), png::EncodingError> {
            let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), self.width, self.height);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&pixels)?;
            writer.finish()
        };
        write().map_err(|error| cannot_write(path, &error))
    }
}

/// How many tiles the level has that are meant; `None`: too many to count.
fn whole(part: &Part, level: u8) -> Option<u64> {
    let grid = part.manager.grid();
    let size = grid.level(level)?;
    if part.coverage.is_none() {
        return Some(u64::from(size.columns) * u64::from(size.rows));
    }
    let single = MetaGrid::new(std::sync::Arc::clone(grid), (1, 1), 0);
    let mut walk = TileWalk::over(&single, &[level], part.coverage.clone(), 0).ok()?;
    let mut count = 0;
    while walk.next_main().is_some() {
        count += 1;
        if count > COUNTED {
            return None;
        }
    }
    Some(count)
}

fn share(tiles: u64, of: Option<u64>) -> Option<f64> {
    of.filter(|of| *of > 0).map(|of| tiles as f64 / of as f64 * 100.0)
}

fn time(time: Option<SystemTime>) -> Option<String> {
    let time = Timestamp::try_from(time?).ok()?;
    Some(time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

fn text(part: &Part, found: &Found) -> String {
    let mut lines = vec![format!("{} in {}:", part.cache, part.grid)];
    let row = |name: &str, tiles: &str, share: &str, bytes: &str, oldest: &str, newest: &str| {
        format!("  {name:>5} {tiles:>14} {share:>10} {bytes:>10}  {oldest:<19}  {newest:<19}").trim_end().to_owned()
    };
    let of = if part.coverage.is_some() { "of area" } else { "of grid" };
    lines.push(row("level", "tiles", of, "size", "oldest", "newest"));
    let mut all = Level::default();
    for (z, level) in &found.levels {
        let share = share(level.tiles - level.with_dimensions, whole(part, *z));
        lines.push(row(
            &z.to_string(),
            &level.tiles.to_string(),
            &share.map_or("-".to_owned(), |share| format!("{share:.2} %")),
            &size(level.bytes),
            &time(level.oldest).unwrap_or_default(),
            &time(level.newest).unwrap_or_default(),
        ));
        all.tiles += level.tiles;
        all.with_dimensions += level.with_dimensions;
        all.bytes += level.bytes;
        all.oldest = [all.oldest, level.oldest].into_iter().flatten().min();
        all.newest = all.newest.max(level.newest);
    }
    let (oldest, newest) = (time(all.oldest).unwrap_or_default(), time(all.newest).unwrap_or_default());
    lines.push(row("all", &all.tiles.to_string(), "", &size(all.bytes), &oldest, &newest));
    if found.has_ages {
        let ages: Vec<String> = found.ages().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(format!("  age: {}", ages.join(", ")));
    }
    let mut also = |count: u64, what: &str| {
        if count > 0 {
            lines.push(format!("  {count} {what}"));
        }
    };
    also(all.with_dimensions, "of the tiles have dimensions, and are not in the shares");
    also(found.broken, "tiles are named, but cannot be read");
    also(found.foreign, "files lie among the tiles and are none");
    also(found.leftovers, "files were left behind by processes that died, or are being written");
    lines.extend(found.unreadable.iter().map(|what| format!("  cannot be read: {what}")));
    lines.join("\n")
}

fn document(part: &Part, found: &Found) -> Value {
    let seconds = |time: Option<SystemTime>| time.and_then(|time| Some(Timestamp::try_from(time).ok()?.to_string()));
    let levels = found.levels.iter().map(|(z, level)| {
        json!({
            "level": z,
            "tiles": level.tiles,
            "with_dimensions": level.with_dimensions,
            "of": whole(part, *z),
            "bytes": level.bytes,
            "oldest": seconds(level.oldest),
            "newest": seconds(level.newest),
        })
    });
    let ages: serde_json::Map<String, Value> = found.ages().map(|(name, count)| (name, count.into())).collect();
    json!({
        "cache": *part.cache,
        "grid": *part.grid,
        "levels": levels.collect::<Vec<_>>(),
        "ages": found.has_ages.then_some(ages),
        "broken": found.broken,
        "unreadable": found.unreadable,
        "foreign": found.foreign,
        "leftovers": found.leftovers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_all_tiles_of_a_level_and_is_not_too_large() {
        for (columns, rows, wanted) in
            [(1, 1, (1, 1)), (1024, 512, (1024, 512)), (1025, 3, (513, 2)), (1 << 20, 7, (1024, 1))]
        {
            let mut picture = Picture::new(columns, rows);
            assert_eq!((picture.width, picture.height), wanted);
            picture.add(columns - 1, rows - 1);
            assert_eq!(picture.counts.last(), Some(&1));
        }
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(0), size(999), size(1000), size(123_456_789)], ["0 B", "999 B", "1.0 kB", "123.5 MB"]);
    }
}
