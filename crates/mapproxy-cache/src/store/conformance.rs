//! What every tile store must do, as a suite of checks for the tests of its author.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use mapproxy_grid::TileCoord;

use super::visit::{Cells, Detail, SeenTile, Visit, Visited};
use super::{AtOnce, Look, SingleColor, TileData, TileStore};
use crate::TileKey;

/// Runs all checks that the store's capabilities call for, each on a new, empty store; `make` also returns whatever
/// must live as long as the store (a temporary directory, a server). Panics with the rule that is broken.
pub fn store_suite<S: TileStore, G>(make: impl Fn() -> (S, G)) {
    let checks: &[fn(&dyn TileStore)] = &[
        missing_tiles_are_none,
        a_stored_tile_is_loaded_unchanged,
        neighbours_are_different_tiles,
        storing_again_replaces,
        removing_forgets_and_may_be_repeated,
        many_are_loaded_in_order,
        metadata_agrees_with_loading,
        looking_finds_what_is_loaded,
        times_are_those_of_storing,
        dimensions_tell_tiles_apart,
        tiles_of_one_color_are_tiles,
        readers_see_whole_tiles,
        what_is_known_at_once_is_what_is_loaded,
        a_level_is_removed_and_no_other,
        old_tiles_of_a_level_are_removed,
        what_was_stored_is_visited_once,
        a_visit_is_of_the_tiles_that_are_wanted,
        a_visit_ends_when_the_visitor_breaks_off,
        what_is_visited_can_be_removed_meanwhile,
    ];
    for check in checks {
        let (store, _guard) = make();
        check(&store);
    }
}

fn key(x: u32, y: u32, z: u8) -> TileKey {
    TileKey::new(TileCoord::new(x, y, z))
}

fn data(bytes: &'static [u8]) -> TileData {
    TileData::new(Bytes::from_static(bytes))
}

fn keep(store: &dyn TileStore, key: &TileKey, tile: &TileData) {
    store.store(key, tile).expect("a tile can be stored");
}

fn loaded(store: &dyn TileStore, key: &TileKey) -> Option<Bytes> {
    store.load(key).expect("a store can be read").map(|tile| tile.bytes)
}

fn missing_tiles_are_none(store: &dyn TileStore) {
    let key = key(1, 2, 3);
    assert_eq!(loaded(store, &key), None, "nothing was stored");
    assert_eq!(store.metadata(&key).expect("a store can be read"), None, "nothing was stored");
    store.remove(&key).expect("removing nothing is no error");
}

fn a_stored_tile_is_loaded_unchanged(store: &dyn TileStore) {
    let bytes = Bytes::from((0..200_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let key = key(12345, 6789, 14);
    keep(store, &key, &TileData::new(bytes.clone()));
    assert_eq!(loaded(store, &key), Some(bytes));
}

fn neighbours_are_different_tiles(store: &dyn TileStore) {
    let keys = [key(2, 3, 4), key(3, 2, 4), key(2, 3, 5), key(3, 3, 4), key(2, 2, 4)];
    let bytes: [&'static [u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    for (key, bytes) in keys.iter().zip(bytes) {
        keep(store, key, &data(bytes));
    }
    for (key, bytes) in keys.iter().zip(bytes) {
        assert_eq!(loaded(store, key).as_deref(), Some(bytes), "{key:?}");
    }
}

fn storing_again_replaces(store: &dyn TileStore) {
    let key = key(1, 1, 1);
    keep(store, &key, &data(b"a longer first tile"));
    keep(store, &key, &data(b"second"));
    assert_eq!(loaded(store, &key).as_deref(), Some(&b"second"[..]));
}

fn removing_forgets_and_may_be_repeated(store: &dyn TileStore) {
    let (gone, stays) = (key(1, 1, 2), key(2, 1, 2));
    keep(store, &gone, &data(b"gone"));
    keep(store, &stays, &data(b"stays"));
    for _ in 0..2 {
        store.remove(&gone).expect("a tile can be removed");
        assert_eq!(loaded(store, &gone), None);
    }
    assert!(loaded(store, &stays).is_some(), "only one tile was removed");
}

fn many_are_loaded_in_order(store: &dyn TileStore) {
    let tiles: Vec<_> = (0..40_u32).map(|x| (key(x, 7, 6), TileData::new(Bytes::from(format!("tile {x}"))))).collect();
    let kept: Vec<_> = tiles.iter().filter(|(key, _)| key.coord.x % 3 != 0).cloned().collect();
    store.store_many(&kept).expect("tiles can be stored");
    let keys: Vec<_> = tiles.iter().map(|(key, _)| key.clone()).collect();
    let found = store.load_many(&keys).expect("tiles can be loaded");
    assert_eq!(found.len(), keys.len(), "an answer for each key");
    for ((key, tile), found) in tiles.iter().zip(found) {
        let expected = (key.coord.x % 3 != 0).then_some(&tile.bytes);
        assert_eq!(found.as_ref().map(|found| &found.bytes), expected, "{key:?}");
    }
}

fn metadata_agrees_with_loading(store: &dyn TileStore) {
    let key = key(5, 5, 5);
    keep(store, &key, &data(b"twelve bytes"));
    let tile = store.load(&key).expect("a store can be read").expect("it was stored");
    assert_eq!(tile.meta.size, 12);
    let metadata = store.metadata(&key).expect("a store can be read").expect("it was stored");
    assert_eq!(metadata, tile.meta, "answers made with either have the same validators");
}

fn looking_finds_what_is_loaded(store: &dyn TileStore) {
    assert!(store.times(&[], Look::Times).expect("nothing can be looked for").is_empty());
    let places = [(8, 8), (8, 9), (9, 8), (9, 9), (8, 11), (400, 8), (8, 8)];
    let keys: Vec<TileKey> = places.iter().map(|(x, y)| key(*x, *y, 10)).chain([key(8, 8, 11)]).collect();
    let look = |look| store.times(&keys, look).expect("a store can be read");
    assert!(look(Look::Presence).iter().all(Option::is_none), "nothing was stored");
    for stored in [1, 3, 4, 5] {
        keep(store, &keys[stored], &data(b"tile"));
    }
    let (presence, times) = (look(Look::Presence), look(Look::Times));
    for (place, key) in keys.iter().enumerate() {
        let loaded = store.load(key).expect("a store can be read");
        assert_eq!(presence[place].is_some(), loaded.is_some(), "{key:?}");
        assert_eq!(times[place].map(|stored| stored.modified), loaded.map(|tile| tile.meta.modified), "{key:?}");
    }
    if store.capabilities().dimensions {
        let dated = TileKey { dimensions: [("time".to_owned(), "2020".to_owned())].into(), ..keys[0].clone() };
        keep(store, &dated, &data(b"2020"));
        let both = store.times(&[keys[0].clone(), dated], Look::Presence).expect("a store can be read");
        assert_eq!(
            both.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true],
            "tiles of other dimensions are others"
        );
    }
}

fn times_are_those_of_storing(store: &dyn TileStore) {
    let key = key(5, 5, 5);
    let before = std::time::SystemTime::now();
    keep(store, &key, &data(b"tile"));
    let modified = store.load(&key).expect("a store can be read").expect("it was stored").meta.modified;
    assert_eq!(modified.is_some(), store.capabilities().timestamps, "a time if and only if the store has times");
    if let Some(modified) = modified {
        let apart = before.duration_since(modified).or_else(|error| Ok::<_, ()>(error.duration()));
        assert!(apart.is_ok_and(|apart| apart.as_secs() < 5), "stored now, but dated {modified:?}");
    }
}

/// Of stores that write the times of tiles themselves.
pub fn assert_that_tiles_stay_as_old_as_they_are(store: &dyn TileStore) {
    let (old, new) = (key(5, 6, 5), key(5, 7, 5));
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    let tiles = [(old.clone(), TileData { modified: Some(yesterday), ..data(b"old") }), (new.clone(), data(b"new"))];
    store.store_many(&tiles).expect("tiles can be stored");
    let hours = |key: &TileKey| {
        let tile = store.load(key).expect("a store can be read").expect("it was stored");
        let age = tile.meta.modified.expect("the store has times").elapsed().unwrap_or_default();
        (age.as_secs() + 60) / 3600
    };
    assert_eq!((hours(&old), hours(&new)), (24, 0));
}

fn dimensions_tell_tiles_apart(store: &dyn TileStore) {
    if !store.capabilities().dimensions {
        return;
    }
    let plain = key(1, 2, 3);
    let at = |time: &str| TileKey { dimensions: [("time".to_owned(), time.to_owned())].into(), ..plain.clone() };
    keep(store, &plain, &data(b"plain"));
    keep(store, &at("2020"), &data(b"2020"));
    assert_eq!(loaded(store, &plain).as_deref(), Some(&b"plain"[..]));
    assert_eq!(loaded(store, &at("2020")).as_deref(), Some(&b"2020"[..]));
    assert_eq!(loaded(store, &at("2021")), None);
    store.remove(&at("2020")).expect("a tile can be removed");
    assert!(loaded(store, &plain).is_some(), "only the tile of 2020 was removed");
    assert!(store.load(&at("../..")).is_err(), "a value that leads elsewhere is refused");
}

fn tiles_of_one_color_are_tiles(store: &dyn TileStore) {
    let red = TileData { single_color: Some(SingleColor::Rgb([255, 0, 0])), ..data(b"red") };
    let keys = [key(1, 1, 3), key(2, 1, 3)];
    for key in &keys {
        keep(store, key, &red);
    }
    keep(store, &keys[0], &data(b"not red"));
    assert_eq!(loaded(store, &keys[0]).as_deref(), Some(&b"not red"[..]));
    assert_eq!(loaded(store, &keys[1]).as_deref(), Some(&b"red"[..]));
    keep(store, &keys[0], &red);
    store.remove(&keys[1]).expect("a tile can be removed");
    assert_eq!(loaded(store, &keys[0]).as_deref(), Some(&b"red"[..]), "the other tile's removal takes only itself");
}

fn readers_see_whole_tiles(store: &dyn TileStore) {
    let key = key(9, 9, 9);
    let tile = |letter: u8| TileData::new(Bytes::from(vec![letter; 100_000]));
    keep(store, &key, &tile(b'a'));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..20_u8 {
                keep(store, &key, &tile(b'a' + round));
            }
        });
        while !writer.is_finished() {
            let bytes = loaded(store, &key).expect("a tile being replaced is never missing");
            assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]), "half a tile was read");
        }
    });
}

fn what_is_known_at_once_is_what_is_loaded(store: &dyn TileStore) {
    let key = key(3, 1, 2);
    for expected in [None, Some(&b"tile"[..])] {
        if let AtOnce::Known(tile) = store.load_at_once(&key).expect("a store can be read") {
            assert_eq!(tile.as_ref().map(|tile| &tile.bytes[..]), expected);
            let slow = store.load(&key).expect("a store can be read");
            assert_eq!(tile.map(|tile| tile.meta), slow.map(|tile| tile.meta));
        }
        keep(store, &key, &data(b"tile"));
    }
}

fn a_level_is_removed_and_no_other(store: &dyn TileStore) {
    let gone = [key(0, 0, 2), key(3, 3, 2), key(1, 2, 2)];
    let stays = [key(0, 0, 1), key(0, 0, 3), key(2, 2, 12), key(200, 2, 20), key(1, 1, 22)];
    for key in gone.iter().chain(&stays) {
        keep(store, key, &data(b"tile"));
    }
    for _ in 0..2 {
        store.remove_level(2, None).expect("a level can be removed, be it empty");
    }
    assert!(gone.iter().all(|key| loaded(store, key).is_none()), "all tiles of the level");
    assert!(stays.iter().all(|key| loaded(store, key).is_some()), "only tiles of the level");
    keep(store, &gone[0], &data(b"again"));
    assert_eq!(loaded(store, &gone[0]).as_deref(), Some(&b"again"[..]));
}

fn old_tiles_of_a_level_are_removed(store: &dyn TileStore) {
    let (here, elsewhere) = (key(1, 1, 4), key(1, 1, 5));
    keep(store, &here, &data(b"tile"));
    keep(store, &elsewhere, &data(b"tile"));
    let now = std::time::SystemTime::now();
    let minute = std::time::Duration::from_secs(60);
    if !store.capabilities().timestamps {
        assert!(store.remove_level(4, Some(now)).is_err(), "without times nothing is known to be old");
        assert!(loaded(store, &here).is_some());
        return;
    }
    store.remove_level(4, Some(now - minute)).expect("a level can be cleaned");
    assert!(loaded(store, &here).is_some(), "it is younger");
    store.remove_level(4, Some(now + minute)).expect("a level can be cleaned");
    assert!(loaded(store, &here).is_none(), "it is older");
    assert!(loaded(store, &elsewhere).is_some(), "it is of another level");
}

/// The tiles of a visit, which has nothing else to show.
fn visited(store: &dyn TileStore, wanted: &Visit) -> Vec<SeenTile> {
    let mut tiles = Vec::new();
    let mut visitor = |seen| {
        match seen {
            Visited::Tile(tile) => tiles.push(tile),
            other => panic!("only tiles were stored, but there is {other:?}"),
        }
        ControlFlow::Continue(())
    };
    store.visit(wanted, &mut visitor).expect("a store can be visited");
    tiles
}

fn names(tiles: &[SeenTile]) -> Vec<(u8, u32, u32)> {
    let mut names: Vec<_> = tiles.iter().map(|tile| (tile.key.coord.z, tile.key.coord.x, tile.key.coord.y)).collect();
    names.sort_unstable();
    names
}

/// Tiles of several levels, far from each other and side by side.
fn scattered() -> Vec<TileKey> {
    let far = [key(0, 0, 0), key(1, 0, 1), key(127, 128, 12), key(128, 127, 12), key(1_234_567, 2_345_678, 22)];
    far.into_iter().chain((0..40).map(|n| key(n % 8, n / 8, 7))).collect()
}

fn keep_scattered(store: &dyn TileStore) {
    let tiles: Vec<_> = scattered().into_iter().map(|key| (key, data(b"tile"))).collect();
    store.store_many(&tiles).expect("tiles can be stored");
}

fn what_was_stored_is_visited_once(store: &dyn TileStore) {
    assert!(visited(store, &Visit::all(Detail::Bytes)).is_empty(), "nothing was stored");
    let mut keys = scattered();
    if store.capabilities().dimensions {
        for (time, place) in
            [("2020", key(1, 0, 1)), ("2021", key(1, 0, 1)), ("2012-01-01/2012-12-31/P1D", key(3, 4, 7))]
        {
            keys.push(TileKey { dimensions: [("time".to_owned(), time.to_owned())].into(), ..place });
        }
    }
    let tiles: Vec<_> = keys
        .iter()
        .map(|key| {
            let bytes = Bytes::from(format!("tile {:?} {:?}", key.coord, key.dimensions));
            (key.clone(), TileData::new(bytes))
        })
        .collect();
    store.store_many(&tiles).expect("tiles can be stored");
    store.store_many(&tiles[..9]).expect("tiles can be replaced");
    for detail in [Detail::Keys, Detail::Meta, Detail::Bytes] {
        let seen = visited(store, &Visit::all(detail));
        assert_eq!(seen.len(), tiles.len(), "each tile once ({detail:?})");
        for (key, tile) in &tiles {
            let seen: Vec<_> = seen.iter().filter(|seen| seen.key == *key).collect();
            assert_eq!(seen.len(), 1, "{key:?} once ({detail:?})");
            if detail >= Detail::Meta {
                let metadata = store.metadata(key).expect("a store can be read");
                assert_eq!(seen[0].meta, metadata, "{key:?} as it is loaded");
                assert_eq!(metadata.map(|meta| meta.size), Some(tile.bytes.len() as u64));
            }
            if detail == Detail::Bytes {
                assert_eq!(seen[0].bytes.as_ref(), Some(&tile.bytes), "{key:?} as it was stored");
            }
            assert!(!store.place(key).is_empty());
        }
    }
}

fn a_visit_is_of_the_tiles_that_are_wanted(store: &dyn TileStore) {
    keep_scattered(store);
    let level = |z| names(&visited(store, &Visit::level(z, Detail::Keys)));
    assert_eq!(level(7).len(), 40);
    assert_eq!(level(12), [(12, 127, 128), (12, 128, 127)]);
    assert_eq!(level(22), [(22, 1_234_567, 2_345_678)]);
    assert!(level(2).is_empty() && level(31).is_empty());
    let within = |z, min_x, min_y, max_x, max_y| {
        let cells = Cells { min_x, min_y, max_x, max_y };
        names(&visited(store, &Visit { level: Some(z), within: Some(cells), detail: Detail::Keys }))
    };
    assert_eq!(within(7, 2, 3, 3, 4), [(7, 2, 3), (7, 2, 4), (7, 3, 3), (7, 3, 4)]);
    assert_eq!(within(7, 7, 4, 500, 500), [(7, 7, 4)]);
    assert_eq!(within(12, 128, 0, 128, 127), [(12, 128, 127)]);
    assert_eq!(within(22, 1_234_567, 2_345_678, 1_234_567, 2_345_678), [(22, 1_234_567, 2_345_678)]);
    assert!(within(22, 1_234_568, 0, u32::MAX, u32::MAX).is_empty());
}

fn a_visit_ends_when_the_visitor_breaks_off(store: &dyn TileStore) {
    keep_scattered(store);
    let mut seen = 0;
    let mut visitor = |_| {
        seen += 1;
        if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.visit(&Visit::all(Detail::Keys), &mut visitor).expect("breaking off is no error");
    assert_eq!(seen, 5);
}

fn what_is_visited_can_be_removed_meanwhile(store: &dyn TileStore) {
    keep_scattered(store);
    let mut batch = Vec::new();
    let mut visitor = |seen| {
        if let Visited::Tile(tile) = seen {
            batch.push(tile.key);
        }
        if batch.len() == 7 {
            store.remove_many(&std::mem::take(&mut batch)).expect("tiles can be removed");
        }
        ControlFlow::Continue(())
    };
    store.visit(&Visit::level(7, Detail::Keys), &mut visitor).expect("a store can be visited");
    store.remove_many(&batch).expect("tiles can be removed");
    store.remove_many(&batch).expect("tiles that are missing, too");
    let left: BTreeSet<u8> = names(&visited(store, &Visit::all(Detail::Keys))).into_iter().map(|name| name.0).collect();
    assert_eq!(left, [0, 1, 12, 22].into(), "all of the level, and no other");
}
