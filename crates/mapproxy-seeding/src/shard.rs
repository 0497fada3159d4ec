//! A task cut into shares, one for each machine, without the machines having to talk.
//!
//! All walk the same way, so a piece of work has the same number everywhere. Consecutive numbers, which are neighbours on
//! the map, form groups; of `n` groups in a row each shard takes one, in an order that changes from row to row, so that no
//! rhythm of the walk (every so many pieces a coarser level, say) meets the same shard each time. Shares therefore differ
//! by one group at most, whatever the shape of the coverage, and groups are small against a share.

use std::fmt;
use std::str::FromStr;

use mapproxy_grid::{Coverage, MetaGrid};

use crate::{Part, SeedTask};

/// One of several shares of all work: `2/3` is the second of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    number: u64,
    of: u64,
}

/// No shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid shard '{0}': expected i/n, the i-th of n machines (1/3, 2/3 and 3/3, say)")]
pub struct ShardError(String);

/// Which pieces of one task are a shard's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    shard: Shard,
    group: u64,
}

/// Groups that a share has at least, as far as there is work enough: they bound how much shares differ.
const GROUPS: u64 = 64;

/// Pieces in a group at most: three quarters of them are on one level, an area of about 28 by 28 meta tiles.
const MOST: u64 = 1024;

impl Shard {
    /// Our part of a task.
    pub fn part(self, task: &SeedTask) -> Part {
        let share = self.share(estimated_pieces(&task.manager.work_grid(), &task.levels, task.coverage.as_ref()));
        Part { name: self.to_string(), takes: Box::new(move |number| share.takes(number)) }
    }

    /// The share of a task of about `pieces` pieces. Machines must agree on that number.
    fn share(self, pieces: u64) -> Share {
        let group = (pieces / self.of.saturating_mul(GROUPS)).clamp(1, MOST);
        Share { shard: self, group: 1 << group.ilog2() }
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let error = || ShardError(text.to_owned());
        let (number, of) = text.trim().split_once('/').ok_or_else(error)?;
        let parse = |text: &str| text.trim().parse::<u32>().map(u64::from).map_err(|_| error());
        let (number, of) = (parse(number)?, parse(of)?);
        if !(1..=of).contains(&number) {
            return Err(error());
        }
        Ok(Shard { number, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Share {
    /// Whether the piece of work of this number is ours.
    fn takes(&self, number: u64) -> bool {
        let group = number / self.group;
        let (row, place) = (group / self.shard.of, group % self.shard.of);
        (place + mixed(row) % self.shard.of) % self.shard.of == self.shard.number - 1
    }
}

/// Neighbouring numbers become unlike ones (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let n = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// About how many pieces of work the levels have: of the box around the coverage, without its shape.
///
/// The same on all machines for the same task. A coverage that has no image in the grid's SRS counts as the whole grid.
fn estimated_pieces(meta: &MetaGrid, levels: &[u8], coverage: Option<&Coverage>) -> u64 {
    let grid = meta.grid();
    let bbox = coverage.and_then(|coverage| coverage.extent().bbox_in(grid.srs()).ok());
    let bbox = bbox.and_then(|bbox| bbox.intersection(&grid.bbox())).unwrap_or(grid.bbox());
    let pieces = levels.iter().filter_map(|&level| {
        let range = grid.level_range(&bbox, level).ok()?;
        let (columns, rows) = meta.level_meta_size(level);
        Some(range.columns().div_ceil(u64::from(columns)).saturating_mul(range.rows().div_ceil(u64::from(rows))))
    });
    pieces.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mapproxy_grid::{Bbox, Srs, TileGrid};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_piece_is_one_shards_and_shares_differ_by_a_group_at_most(
            of in 1u64..40, pieces in 0u64..20_000, walked in 0u64..20_000,
        ) {
            let shares: Vec<Share> = (1..=of).map(|number| Shard { number, of }.share(pieces)).collect();
            let mut taken = vec![0u64; shares.len()];
            for piece in 0..walked {
                let owners: Vec<usize> = (0..shares.len()).filter(|&i| shares[i].takes(piece)).collect();
                prop_assert_eq!(owners.len(), 1, "piece {}", piece);
                taken[owners[0]] += 1;
            }
            let difference = taken.iter().max().unwrap() - taken.iter().min().unwrap();
            prop_assert!(difference <= shares[0].group);
            // As far as there is work enough, that is little of a share.
            prop_assert!(pieces < of * GROUPS || shares[0].group * GROUPS <= pieces / of);
        }

        #[test]
        fn a_shard_is_printed_as_it_is_written(of in 1u64..1000, number in 1u64..1000) {
            let text = format!("{number}/{of}");
            match text.parse::<Shard>() {
                Ok(shard) => prop_assert_eq!(shard.to_string(), text),
                Err(_) => prop_assert!(number > of),
            }
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/3", "1.5/3", "1/99999999999"] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid shard '{text}'")), "{error}");
        }
    }

    #[test]
    fn no_rhythm_of_the_walk_meets_the_same_shard_each_time() {
        // Every fourth group holds the expensive pieces, and there are four machines.
        let shares: Vec<Share> = (1..=4).map(|number| Shard { number, of: 4 }.share(256_000)).collect();
        let group = shares[0].group;
        let owner = |number| shares.iter().position(|share| share.takes(number)).unwrap();
        let mut taken = [0; 4];
        (0..250).for_each(|row| taken[owner(row * 4 * group)] += 1);
        assert!(taken.iter().all(|&count| (40..90).contains(&count)), "{taken:?}");
    }

    #[test]
    fn neighbours_stay_together() {
        let share = "1/3".parse::<Shard>().unwrap().share(1_000_000);
        let changes = (1..100_000).filter(|&number| share.takes(number) != share.takes(number - 1)).count();
        assert!(changes < 100_000 * 2 / 1000, "{changes}");
    }

    #[test]
    fn pieces_are_estimated_by_the_box_around_the_coverage() {
        let grid = Arc::new(TileGrid::builder("world", Srs::web_mercator()).build().unwrap());
        let meta = MetaGrid::new(grid, (4, 4), 0);
        assert_eq!(estimated_pieces(&meta, &[0, 1, 2, 3, 4], None), 1 + 1 + 1 + 4 + 16);
        let bbox = Bbox::new(1.0, 1.0, 179.0, 84.0);
        let quarter = Coverage::from_bbox(bbox, Srs::wgs84());
        assert_eq!(estimated_pieces(&meta, &[4], Some(&quarter)), 4);
        assert_eq!(estimated_pieces(&meta, &[4, 99], Some(&quarter)), 4);
    }
}
