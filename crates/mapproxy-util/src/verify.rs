//! `mapproxy-util verify`: looks at every stored tile, and says which are none.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::ValueEnum;
use mapproxy_cache::TileKey;
use mapproxy_cache::store::visit::{Detail, Visited};
use mapproxy_grid::TileCoord;
use mapproxy_image::{Codec, codec};
use rayon::prelude::*;
use serde_json::json;

use crate::stored::{Part, StoredWanted};
use crate::{FAILED, Failure, eprintln, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Every tile is decoded, on all cores. Faults are tiles that are cut off, damaged, of another format than the cache's or of
another size than its grid's, tiles where the grid has none, and parts of the store that cannot be read. Told as well, but
no faults: files that are no tiles, what dead processes have left behind, and suspicious tiles: of one colour, where none
of the neighbours that are there is of that colour, as a message of a server in trouble would be.

A tile that is removed is made anew when it is asked for or seeded. Status 0: no faults; 1: there are some, or there were
and have been removed; 2: the command or the configuration is wrong.

Examples:

  mapproxy-util verify -f mapproxy.yaml
  mapproxy-util verify -f mapproxy.yaml --cache roads --levels 0..10 --remove")]
pub(crate) struct Arguments {
    #[command(flatten)]
    wanted: StoredWanted,
    /// How to say it: lines, or a JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Remove tiles that are faults
    #[arg(long)]
    remove: bool,
    /// Remove suspicious tiles, too
    #[arg(long)]
    remove_suspicious: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is wrong with something that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Damaged,
    Format,
    Size,
    Place,
    Unreadable,
    Foreign,
    Leftover,
    Suspicious,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Damaged => "damaged",
            Fault::Format => "other format",
            Fault::Size => "other size",
            Fault::Place => "outside of the grid",
            Fault::Unreadable => "unreadable",
            Fault::Foreign => "no tile",
            Fault::Leftover => "left behind",
            Fault::Suspicious => "suspicious",
        }
    }

    fn is_told_only(self) -> bool {
        matches!(self, Fault::Foreign | Fault::Leftover | Fault::Suspicious)
    }
}

/// Tiles that are decoded together.
const BATCH: usize = 256;

/// Tiles of one colour that are compared with their neighbours; later ones are not.
const REMEMBERED: usize = 2_000_000;

/// The colour of a tile that has only one.
type Colour = [u8; 4];

/// One part's check.
struct Check<'a> {
    arguments: &'a Arguments,
    part: &'a Part,
    tiles: u64,
    counts: BTreeMap<Fault, u64>,
    removed: u64,
    /// Could not be removed.
    stuck: u64,
    batch: Vec<(TileKey, bytes::Bytes)>,
    /// Of tiles without dimensions.
    colours: HashMap<TileCoord, Colour>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut is_well = true;
    for part in &arguments.wanted.parts()? {
        let mut check = Check {
            arguments,
            part,
            tiles: 0,
            counts: BTreeMap::new(),
            removed: 0,
            stuck: 0,
            batch: Vec::with_capacity(BATCH),
            colours: HashMap::new(),
        };
        check.run()?;
        is_well &= check.end();
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

impl Check<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let part = self.part;
        part.visit(Detail::Bytes, &mut |seen| {
            match seen {
                Visited::Tile(tile) => {
                    self.tiles += 1;
                    match tile.bytes {
                        Some(bytes) => self.batch.push((tile.key, bytes)),
                        None => self.tell_of(&tile.key, Fault::Damaged, "it cannot be read"),
                    }
                    if self.batch.len() == BATCH {
                        self.look();
                    }
                }
                Visited::Broken { key, reason } => {
                    self.tiles += 1;
                    self.tell_of(&key, Fault::Damaged, &reason);
                }
                Visited::Unreadable { name, reason } => self.tell(Fault::Unreadable, &name, &reason),
                Visited::Foreign { name } => self.tell(Fault::Foreign, &name, "lies among the tiles"),
                Visited::Leftover { name } => self.tell(Fault::Leftover, &name, "or being written right now"),
            }
            ControlFlow::Continue(())
        })?;
        self.look();
        self.compare();
        Ok(())
    }

    /// Decodes what has come together.
    fn look(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let part = self.part;
        let seen: Vec<_> = batch.par_iter().map(|(key, bytes)| judge(part, key, bytes)).collect();
        for ((key, _), seen) in batch.into_iter().zip(seen) {
            match seen {
                Ok(Some(colour)) if key.dimensions.is_empty() && self.colours.len() < REMEMBERED => {
                    self.colours.insert(key.coord, colour);
                }
                Ok(_) => {}
                Err((fault, reason)) => self.tell_of(&key, fault, &reason),
            }
        }
    }

    /// Finds tiles of one colour that stand alone: some of the four neighbours are there, and none is of that colour.
    fn compare(&mut self) {
        let colours = std::mem::take(&mut self.colours);
        let mut lonely: Vec<(TileCoord, Colour)> = Vec::new();
        for (coord, colour) in &colours {
            let TileCoord { x, y, z } = *coord;
            let beside = [(1, 0), (-1, 0), (0, 1), (0, -1)].into_iter().filter_map(|(dx, dy)| {
                let neighbour = TileCoord::new(x.checked_add_signed(dx)?, y.checked_add_signed(dy)?, z);
                self.part.manager.grid().contains_tile(neighbour).then_some(neighbour)
            });
            let beside: Vec<TileCoord> = beside.collect();
            if !beside.iter().any(|neighbour| colours.get(neighbour) == Some(colour)) {
                lonely.push((*coord, *colour));
            }
        }
        lonely.sort_unstable_by_key(|(coord, _)| (coord.z, coord.y, coord.x));
        for (coord, [red, green, blue, alpha]) in lonely {
            let key = TileKey::new(coord);
            let around: Vec<TileKey> = [(1, 0), (-1, 0), (0, 1), (0, -1)]
                .into_iter()
                .filter_map(|(dx, dy)| {
                    let (x, y) = (coord.x.checked_add_signed(dx)?, coord.y.checked_add_signed(dy)?);
                    Some(TileKey::new(TileCoord::new(x, y, coord.z)))
                })
                .filter(|key| self.part.manager.grid().contains_tile(key.coord))
                .collect();
            // With nothing beside it there is nothing to wonder about, and next to one neighbour hardly.
            let there = self.part.store.times(&around, mapproxy_cache::store::Look::Presence);
            if there.is_ok_and(|there| there.iter().flatten().count() >= 2) {
                let reason = format!("all of it is #{red:02x}{green:02x}{blue:02x}{alpha:02x}, and nothing beside it");
                self.tell_of(&key, Fault::Suspicious, &reason);
            }
        }
    }

    /// A fault of a tile.
    fn tell_of(&mut self, key: &TileKey, fault: Fault, reason: &str) {
        self.tell(fault, &self.part.store.place(key), reason);
        let removes = match fault {
            Fault::Suspicious => self.arguments.remove_suspicious,
            _ => self.arguments.remove,
        };
        if removes {
            match self.part.store.remove(key) {
                Ok(()) => self.removed += 1,
                Err(error) => {
                    self.stuck += 1;
                    eprintln(format_args!("ERROR: {error}"));
                }
            }
        }
    }

    fn tell(&mut self, fault: Fault, place: &str, reason: &str) {
        *self.counts.entry(fault).or_default() += 1;
        let Part { cache, grid, .. } = self.part;
        match self.arguments.format {
            Format::Text => println(format_args!("{place}: {}: {reason}", fault.name())),
            Format::Json => {
                let line =
                    json!({"cache": **cache, "grid": **grid, "place": place, "fault": fault.name(), "reason": reason});
                println(format_args!("{line}"));
            }
        }
    }

    /// The last line; whether there were no faults.
    fn end(&self) -> bool {
        let Part { cache, grid, .. } = self.part;
        let count = |told_only: bool| -> u64 {
            self.counts.iter().filter(|(fault, _)| fault.is_told_only() == told_only).map(|(_, count)| count).sum()
        };
        match self.arguments.format {
            Format::Text => {
                let counts: Vec<String> =
                    self.counts.iter().map(|(fault, count)| format!("{count} {}", fault.name())).collect();
                let counts = if counts.is_empty() { "no fault".to_owned() } else { counts.join(", ") };
                let removed = if self.removed > 0 { format!("; {} removed", self.removed) } else { String::new() };
                println(format_args!("{cache} in {grid}: {} tiles, {counts}{removed}", self.tiles));
            }
            Format::Json => {
                let counts: serde_json::Map<String, serde_json::Value> =
                    self.counts.iter().map(|(fault, count)| (fault.name().to_owned(), (*count).into())).collect();
                println(format_args!(
                    "{}",
                    json!({
                        "cache": **cache, "grid": **grid, "tiles": self.tiles, "counts": counts, "removed": self.removed,
                        "faults": count(false),
                    })
                ));
            }
        }
        count(false) == 0 && self.stuck == 0
    }
}

/// The colour of a tile that has only one, or what is wrong with it.
fn judge(part: &Part, key: &TileKey, bytes: &[u8]) -> Result<Option<Colour>, (Fault, String)> {
    let (manager, grid) = (&part.manager, part.manager.grid());
    if !grid.contains_tile(key.coord) {
        return Err((Fault::Place, "the grid has no such tile".to_owned()));
    }
    let damaged = |error: &dyn std::fmt::Display| (Fault::Damaged, error.to_string());
    if let Some(format) = manager.data_format() {
        return format.check(bytes).map(|()| None).map_err(|error| damaged(&error));
    }
    let is = codec::whole(bytes).map_err(|error| damaged(&error))?;
    let size = grid.tile_size();
    let pixels = codec::decode(bytes, u64::from(size.width) * u64::from(size.height) * 16);
    let pixels = pixels.map_err(|error| damaged(&error))?;
    let format = manager.image().format.as_ref();
    let fits = match format.and_then(|format| format.codec()) {
        Some(wanted) => wanted == is,
        None => matches!(is, Codec::Png | Codec::Jpeg),
    };
    if !fits {
        let wanted = format.map_or("", |format| format.as_str());
        return Err((Fault::Format, format!("it is {}, the cache has {wanted}", is.content_type())));
    }
    if pixels.size() != size {
        return Err((Fault::Size, format!("it has {} pixels, a tile of the grid {size}", pixels.size())));
    }
    Ok(pixels.single_color().map(|colour| colour.0))
}
