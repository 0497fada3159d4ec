//! On a store of files that can be away, as one behind a network.

use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use mapproxy_grid::TileCoord;

use super::*;
use crate::Permissions;
use crate::store::FileStore;
use crate::store::conformance::store_suite;
use crate::store::file::LinkSingleColor;
use crate::store::layout::Layout;
use crate::store::visit::Visited;
use crate::testkit::{AwayStore, FullStore, file_store, files_below};

const LONG: Duration = Duration::from_secs(600);
const SIZE: u64 = 10_000_000;

fn key() -> TileKey {
    TileKey::new(TileCoord::new(1, 2, 3))
}

fn data(bytes: &'static [u8]) -> TileData {
    TileData::new(Bytes::from_static(bytes))
}

fn bytes(store: &dyn TileStore) -> Option<Bytes> {
    store.load(&key()).unwrap().map(|tile| tile.bytes)
}

fn disk(directory: &Path) -> DiskCopies {
    let files = FileStore {
        directory: directory.join("copies"),
        extension: "png".to_owned(),
        layout: Layout::Tc,
        link_single_color: LinkSingleColor::Off,
        permissions: Permissions::default(),
    };
    DiskCopies::new(files, SIZE)
}

/// A tier over a store that can be away, and what must live as long.
fn tier<C: Copies>(copies: impl Fn(&Path) -> C, max_age: Duration) -> (Tier<C>, Arc<AwayStore>, tempfile::TempDir) {
    let (files, base) = file_store();
    let below = Arc::new(AwayStore::new(files));
    (Tier::new(copies(base.path()), Arc::clone(&below) as Arc<dyn TileStore>, max_age), below, base)
}

fn memory(_: &Path) -> MemoryCopies {
    MemoryCopies::new(SIZE)
}

/// Runs a test with copies in memory and with copies on disk.
macro_rules! with_both {
    ($($(#[$meta:meta])* fn $name:ident($make:ident) $body:block)*) => {
        $(mod $name {
            use super::*;

            fn check<C: Copies>($make: impl Fn(Duration) -> (Tier<C>, Arc<AwayStore>, tempfile::TempDir)) $body

            #[test]
            fn in_memory() {
                check(|max_age| tier(memory, max_age));
            }

            #[test]
            fn on_disk() {
                check(|max_age| tier(disk, max_age));
            }
        })*
    };
}

with_both! {
    fn it_is_a_store_whatever_its_copies_are_believed(make) {
        for max_age in [LONG, Duration::ZERO] {
            store_suite(|| {
                let (tier, _, base) = make(max_age);
                (tier, base)
            });
        }
    }

    fn a_copy_is_found_without_asking_below(make) {
        let (tier, below, _base) = make(LONG);
        tier.store(&key(), &data(b"tile")).unwrap();
        let before = below.asked();
        for _ in 0..3 {
            assert_eq!(bytes(&tier).unwrap(), "tile");
            assert!(tier.metadata(&key()).unwrap().is_some());
            assert!(matches!(tier.load_at_once(&key()).unwrap(), AtOnce::Known(Some(_))));
        }
        assert_eq!(below.asked(), before);
    }

    fn what_was_found_below_is_copied_with_its_time(make) {
        let (tier, below, _base) = make(LONG);
        below.store.store(&key(), &data(b"tile")).unwrap();
        let first = tier.load(&key()).unwrap().unwrap();
        assert_eq!(below.asked(), (1, 0));
        let second = tier.load(&key()).unwrap().unwrap();
        assert_eq!(below.asked(), (1, 0));
        assert_eq!((first.bytes, first.meta), (second.bytes, second.meta));
        assert_eq!(Some(first.meta), below.store.metadata(&key()).unwrap());
    }

    fn a_tile_replaced_by_another_process_is_served_no_longer_than_stated(make) {
        let (believing, below, _base) = make(LONG);
        believing.store(&key(), &data(b"old")).unwrap();
        below.store.store(&key(), &data(b"newer")).unwrap();
        assert_eq!(bytes(&believing).unwrap(), "old");
        assert_eq!(believing.reload(&[key()]).unwrap()[0].as_ref().unwrap().bytes, "newer", "who had a lock knows better");
        assert_eq!(bytes(&believing).unwrap(), "newer");

        let (doubting, below, _base) = make(Duration::ZERO);
        doubting.store(&key(), &data(b"old")).unwrap();
        below.store.store(&key(), &data(b"newer")).unwrap();
        assert_eq!(bytes(&doubting).unwrap(), "newer");
        below.store.remove(&key()).unwrap();
        assert_eq!(bytes(&doubting), None);
        assert!(doubting.copies.get(&key()).is_none());
    }

    fn a_copy_in_doubt_is_confirmed_without_loading_it(make) {
        let (tier, below, _base) = make(Duration::ZERO);
        below.store.store(&key(), &data(b"tile")).unwrap();
        for _ in 0..3 {
            assert_eq!(bytes(&tier).unwrap(), "tile");
        }
        assert_eq!(below.asked(), (1, 2));
    }

    fn copies_are_served_while_the_store_below_is_away(make) {
        let (tier, below, _base) = make(Duration::ZERO);
        tier.store(&key(), &data(b"tile")).unwrap();
        below.leave();
        assert_eq!(bytes(&tier).unwrap(), "tile");
        assert!(tier.metadata(&key()).unwrap().is_some());
        assert_eq!(tier.load_many(&[key()]).unwrap()[0].as_ref().unwrap().bytes, "tile");
        assert_eq!(tier.reload(&[key()]).unwrap()[0].as_ref().unwrap().bytes, "tile");
        let other = TileKey::new(TileCoord::new(2, 2, 3));
        assert!(tier.load(&other).is_err());
        assert!(tier.load_many(&[key(), other]).is_err());
        below.is_away.store(false, Ordering::SeqCst);
        assert_eq!(bytes(&tier).unwrap(), "tile");
    }

    fn what_could_not_be_stored_below_is_no_copy_either(make) {
        let (tier, below, _base) = make(LONG);
        tier.store(&key(), &data(b"old")).unwrap();
        below.leave();
        assert!(tier.store(&key(), &data(b"new")).is_err());
        assert!(tier.store_many(&[(key(), data(b"new"))]).is_err());
        below.is_away.store(false, Ordering::SeqCst);
        assert_eq!(bytes(&tier).unwrap(), "old");
    }

    fn a_tile_read_before_it_was_replaced_is_not_kept_after(make) {
        let (tier, below, _base) = make(LONG);
        below.store.store(&key(), &data(b"old")).unwrap();
        let (seen, old) = (tier.writes.seen(&key()), below.store.load(&key()).unwrap());
        tier.store(&key(), &data(b"new")).unwrap();
        tier.take_over(&key(), seen, old.as_ref(), false);
        assert_eq!(bytes(&tier).unwrap(), "new");
    }
}

/// Copies of a store without times: what is in doubt is loaded again.
#[test]
fn a_store_without_times_has_none_in_its_copies() {
    #[derive(Debug)]
    struct Timeless(Arc<dyn TileStore>);
    impl TileStore for Timeless {
        fn capabilities(&self) -> Capabilities {
            Capabilities { timestamps: false, ..self.0.capabilities() }
        }
        fn lock_id(&self) -> String {
            self.0.lock_id()
        }
        fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
            let tile = self.0.load(key)?;
            Ok(tile.map(|tile| StoredTile { meta: TileMeta { modified: None, ..tile.meta }, ..tile }))
        }
        fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
            self.0.store(key, tile)
        }
        fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
            self.0.remove(key)
        }
        fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
            self.0.visit(wanted, &mut |seen| match seen {
                Visited::Tile(mut tile) => {
                    tile.meta = tile.meta.map(|meta| TileMeta { modified: None, ..meta });
                    visitor(Visited::Tile(tile))
                }
                other => visitor(other),
            })
        }
        fn place(&self, key: &TileKey) -> String {
            self.0.place(key)
        }
        fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
            match before {
                None => self.0.remove_level(level, before),
                Some(_) => Err(StoreError { action: "clean", what: "level".to_owned(), reason: "no times".to_owned() }),
            }
        }
    }
    for max_age in [LONG, Duration::ZERO] {
        store_suite(|| {
            let (store, base) = file_store();
            (Tier::new(disk(base.path()), Arc::new(Timeless(store)), max_age), base)
        });
        store_suite(|| {
            let (store, base) = file_store();
            (Tier::new(MemoryCopies::new(SIZE), Arc::new(Timeless(store)), max_age), base)
        });
    }
}

#[test]
fn tiers_can_be_stacked() {
    store_suite(|| {
        let (files, base) = file_store();
        let disk = Tier::new(disk(base.path()), files, LONG);
        (Tier::new(MemoryCopies::new(SIZE), Arc::new(disk), LONG), base)
    });
}

#[test]
fn copies_on_disk_outlive_the_process_but_are_confirmed_first() {
    let (first, below, base) = tier(disk, LONG);
    first.store(&key(), &data(b"tile")).unwrap();
    drop(first);
    let second = Tier::new(disk(base.path()), Arc::clone(&below) as Arc<dyn TileStore>, LONG);
    let before = below.asked();
    assert_eq!(bytes(&second).unwrap(), "tile");
    assert_eq!(below.asked(), (before.0, before.1 + 1));
    assert_eq!(bytes(&second).unwrap(), "tile");
    assert_eq!(below.asked(), (before.0, before.1 + 1));
}

#[test]
fn a_disk_that_cannot_be_written_costs_only_the_copies() {
    let (files, base) = file_store();
    std::fs::write(base.path().join("copies"), b"a file where a directory should be").unwrap();
    let tier = Tier::new(disk(base.path()), files, LONG);
    tier.store(&key(), &data(b"tile")).unwrap();
    assert_eq!(bytes(&tier).unwrap(), "tile");
    tier.remove_level(3, None).unwrap();
    assert_eq!(bytes(&tier), None);
}

#[test]
fn copies_of_many_tiles_stay_within_their_limit() {
    let (files, base) = file_store();
    let copies = DiskCopies::new(
        FileStore {
            directory: base.path().join("copies"),
            extension: "png".to_owned(),
            layout: Layout::Tms,
            link_single_color: LinkSingleColor::Off,
            permissions: Permissions::default(),
        },
        100 * 4096,
    );
    let tier = Tier::new(copies, files, LONG);
    for x in 0..400 {
        tier.store(&TileKey::new(TileCoord::new(x, 0, 9)), &data(b"tile")).unwrap();
        std::thread::sleep(Duration::from_micros(100));
    }
    let begun = Instant::now();
    // One more of each, until the thread has come after.
    while files_below(&base.path().join("copies")) > 102 {
        assert!(begun.elapsed() < LONG / 20, "the limit is not kept");
        tier.store(&TileKey::new(TileCoord::new(0, 0, 9)), &data(b"tile")).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(files_below(&base.path().join("tiles")), 400, "nothing is lost below");
}

#[test]
fn a_tile_found_in_memory_is_noted() {
    let (tier, _below, _base) = tier(memory, LONG);
    tier.store(&key(), &data(b"tile")).unwrap();
    let (_, traced) = trace::collect(|| tier.load(&key()).unwrap());
    assert_eq!(traced.tiles().remembered, 1);
}

#[test]
fn who_reads_and_who_writes_at_once_agree_in_the_end() {
    let (tier, _below, _base) = tier(memory, LONG);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| drop(tier.load(&key()).unwrap())));
        }
        for round in 0..50_u32 {
            let tile = TileData::new(Bytes::from(vec![b'x'; 1 + round as usize]));
            tier.store(&key(), &tile).unwrap();
            assert_eq!(bytes(&tier).unwrap().len(), 1 + round as usize, "who stored a tile finds it");
        }
    });
}

#[test]
fn a_store_that_is_full_is_an_error_in_spite_of_the_copies() {
    let tier = Tier::new(MemoryCopies::new(SIZE), Arc::new(FullStore), LONG);
    assert!(tier.store(&key(), &data(b"tile")).is_err());
    assert_eq!(bytes(&tier), None);
}
