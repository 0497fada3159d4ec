//! Copies of tiles in memory, within a budget of bytes: those asked for lately and often stay.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Copies;
use crate::TileKey;
use crate::store::{StoredTile, TileMeta};

/// Copies in memory.
#[derive(Debug)]
pub struct MemoryCopies {
    tiles: Cache<TileKey, Remembered, Bytesize>,
}

#[derive(Clone, Debug)]
struct Remembered {
    tile: StoredTile,
    confirmed: Instant,
}

/// What an entry costs besides the tile.
const ENTRY: u64 = 256;

/// A tile as it is often seen, to size the index; the budget does not depend on it.
const USUAL_TILE: u64 = 16 * 1024;

#[derive(Clone, Debug)]
struct Bytesize;

impl Weighter<TileKey, Remembered> for Bytesize {
    fn weight(&self, key: &TileKey, entry: &Remembered) -> u64 {
        let dimensions: usize = key.dimensions.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        ENTRY + dimensions as u64 + entry.tile.bytes.len() as u64
    }
}

impl MemoryCopies {
    /// Room for `max_size` bytes, of tiles and of what it takes to find them.
    pub fn new(max_size: u64) -> Self {
        let items = usize::try_from(max_size / USUAL_TILE).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        MemoryCopies { tiles: Cache::with_weighter(items, max_size, Bytesize) }
    }
}

impl Copies for MemoryCopies {
    const IN_MEMORY: bool = true;

    fn get(&self, key: &TileKey) -> Option<(StoredTile, Option<Instant>)> {
        self.tiles.get(key).map(|entry| (entry.tile, Some(entry.confirmed)))
    }

    fn metadata(&self, key: &TileKey) -> Option<(TileMeta, Option<Instant>)> {
        self.tiles.peek(key).map(|entry| (entry.tile.meta, Some(entry.confirmed)))
    }

    fn keep(&self, key: &TileKey, tile: &StoredTile) {
        // A copy of its own: the bytes may be a small part of a large buffer, which would stay alive with them.
        let tile = StoredTile { bytes: Bytes::copy_from_slice(&tile.bytes), meta: tile.meta };
        self.tiles.insert(key.clone(), Remembered { tile, confirmed: Instant::now() });
    }

    fn confirm(&self, key: &TileKey, tile: &StoredTile) {
        self.tiles.insert(key.clone(), Remembered { tile: tile.clone(), confirmed: Instant::now() });
    }

    fn forget(&self, key: &TileKey) {
        self.tiles.remove(key);
    }

    fn forget_level(&self, level: u8, before: Option<SystemTime>) {
        let is_old = |meta: &TileMeta| before.is_none_or(|before| meta.modified.is_none_or(|stored| stored <= before));
        self.tiles.retain(|key, entry| key.coord.z != level || !is_old(&entry.tile.meta));
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::TileCoord;

    use super::*;

    #[test]
    fn the_budget_is_kept_whatever_comes() {
        let copies = MemoryCopies::new(1_000_000);
        for x in 0..2000_u32 {
            let bytes = Bytes::from(vec![1; 1 + (x as usize * 7919) % 30_000]);
            let meta = TileMeta { modified: None, size: bytes.len() as u64 };
            copies.keep(&TileKey::new(TileCoord::new(x, 0, 12)), &StoredTile { bytes, meta });
            assert!(copies.tiles.weight() <= 1_000_000, "{}", copies.tiles.weight());
        }
        assert!(copies.tiles.weight() > 500_000);
    }

    #[test]
    fn a_small_part_of_a_large_buffer_does_not_keep_it_alive() {
        let large = Bytes::from(vec![1; 1_000_000]);
        let (copies, key) = (MemoryCopies::new(1_000_000), TileKey::new(TileCoord::new(1, 2, 3)));
        let bytes = large.slice(10..20);
        copies.keep(&key, &StoredTile { bytes, meta: TileMeta { modified: None, size: 10 } });
        assert!(large.is_unique());
    }
}
