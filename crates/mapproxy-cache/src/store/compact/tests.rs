//! Bundles against the bytes of MapProxy's, and against what may befall files.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use mapproxy_grid::TileCoord;
use md5::{Digest as _, Md5};
use proptest::prelude::*;

use super::*;
use crate::store::conformance::store_suite;

const BOTH: [Version; 2] = [Version::V1, Version::V2];

fn store_in(directory: &Path, version: Version) -> CompactStore {
    let options = CompactOptions {
        directory: directory.to_owned(),
        version,
        permissions: Permissions::default(),
        timeout: Duration::from_secs(20),
    };
    CompactStore::new(options, Arc::new(BundlePool::new(4)))
}

fn store(version: Version) -> (CompactStore, tempfile::TempDir) {
    let base = tempfile::tempdir().unwrap();
    (store_in(&base.path().join("cache/grid"), version), base)
}

fn key(x: u32, y: u32, z: u8) -> TileKey {
    TileKey::new(TileCoord::new(x, y, z))
}

fn tile(bytes: impl Into<Bytes>) -> TileData {
    TileData::new(bytes.into())
}

fn numbers(length: u32, seed: u32) -> TileData {
    tile((0..length).map(|i| ((i * 7 + seed) % 251) as u8).collect::<Vec<_>>())
}

fn loaded(store: &CompactStore, key: &TileKey) -> Option<Bytes> {
    store.load(key).unwrap().map(|tile| tile.bytes)
}

fn digest(path: PathBuf) -> String {
    Md5::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file with the index of a store's only bundle of level 3, and that with its tiles.
fn files(store: &CompactStore) -> (PathBuf, PathBuf) {
    let bundle = store.options.directory.join("L03/R0000C0000");
    (store.options.version.index_path(&bundle), store.options.version.tiles_path(&bundle))
}

#[test]
fn both_versions_are_stores() {
    for version in BOTH {
        store_suite(|| store(version));
    }
}

/// The digests are those of the files that MapProxy 7.0.0 wrote at the same steps.
#[test]
fn files_are_those_of_mapproxy_byte_for_byte() {
    for (version, expected) in [(Version::V1, V1_STEPS), (Version::V2, V2_STEPS)] {
        let (store, _base) = store(version);
        let check = |step: usize| {
            for (name, md5) in expected[step] {
                assert_eq!(digest(store.options.directory.join("L12").join(name)), *md5, "step {step}: {name}");
            }
        };
        let at = |x: u32, y: u32| key(4992 + x, 896 + y, 12);
        store.store(&at(5, 3), &numbers(1000, 1)).unwrap();
        check(0);
        let several = [(at(6, 3), numbers(500, 2)), (at(5, 4), numbers(3000, 3)), (at(128, 0), numbers(77, 9))];
        store.store_many(&several).unwrap();
        check(1);
        store.store(&at(5, 3), &numbers(200, 4)).unwrap();
        check(2);
        store.remove(&at(6, 3)).unwrap();
        check(3);
        store.store(&at(6, 3), &numbers(10, 5)).unwrap();
        check(4);
    }
}

#[test]
fn a_bundle_written_anew_has_its_tiles_and_nothing_else() {
    for version in BOTH {
        let (store, _base) = store(version);
        for round in 0..5 {
            let tiles: Vec<_> = (0..20).map(|x| (key(x, 100, 3), numbers(5000 + x, round))).collect();
            store.store_many(&tiles).unwrap();
        }
        store.remove(&key(19, 100, 3)).unwrap();
        let (_, tiles) = files(&store);
        let before = fs::metadata(&tiles).unwrap().len();
        let other = store_in(&store.options.directory, version);
        assert!(loaded(&other, &key(3, 100, 3)).is_some(), "it is open elsewhere");
        let run = |min_percent, min_bytes, dry_run| {
            let mut told = Vec::new();
            let wanted = Defragment { min_percent, min_bytes, dry_run };
            assert!(store.defragment(wanted, &mut |one: &Defragmented| told.push(one.clone())).unwrap());
            assert_eq!(told.len(), 1);
            (told[0].unused.0, told[0].anew.clone().unwrap())
        };
        assert!(!run(99.0, 0, false).1 && !run(0.0, before, false).1);
        let (unused, _) = run(10.0, 1, true);
        assert!(unused > 400_000 && fs::metadata(&tiles).unwrap().len() == before);
        assert_eq!(run(10.0, 1, false), (unused, true));
        assert_eq!(fs::metadata(&tiles).unwrap().len(), before - unused);
        assert_eq!(run(0.0, 0, false), (0, false));
        for store in [&store, &other] {
            for x in 0..19 {
                assert_eq!(loaded(store, &key(x, 100, 3)).unwrap(), numbers(5000 + x, 4).bytes, "{version:?}");
            }
        }
        store.store(&key(3, 100, 3), &tile("new")).unwrap();
        assert_eq!(loaded(&store, &key(3, 100, 3)).unwrap(), "new");
        assert_eq!(loaded(&store, &key(4, 100, 3)).unwrap(), numbers(5004, 4).bytes);
        assert_eq!(loaded(&store, &key(19, 100, 3)), None);
    }
}

#[test]
fn a_bundle_without_tiles_is_removed_when_it_would_be_written_anew() {
    for version in BOTH {
        let (store, _base) = store(version);
        for x in 0..5 {
            store.store(&key(x, 1, 3), &numbers(5000, x)).unwrap();
            store.remove(&key(x, 1, 3)).unwrap();
        }
        let other = store_in(&store.options.directory, version);
        assert_eq!(loaded(&other, &key(3, 1, 3)), None, "it is open elsewhere");
        let (index, tiles) = files(&store);
        let run = |min_bytes, dry_run| {
            let mut told = Vec::new();
            let wanted = Defragment { min_percent: 0.0, min_bytes, dry_run };
            store.defragment(wanted, &mut |one: &Defragmented| told.push(one.anew.clone().unwrap())).unwrap();
            told
        };
        assert_eq!((run(1 << 20, false), run(0, true)), (vec![false], vec![true]));
        assert!(index.exists() && tiles.exists());
        assert_eq!(run(0, false), [true]);
        assert!(!index.exists() && !tiles.exists(), "{version:?}");
        assert_eq!(run(0, false), [false; 0]);
        for (writer, x) in [(&other, 3), (&store, 4)] {
            writer.store(&key(x, 1, 3), &numbers(700, x)).unwrap();
        }
        for store in [&store, &other] {
            assert_eq!(loaded(store, &key(3, 1, 3)), Some(numbers(700, 3).bytes));
            assert_eq!(loaded(store, &key(4, 1, 3)), Some(numbers(700, 4).bytes));
        }
    }
}

#[test]
fn reading_and_removing_create_nothing() {
    for version in BOTH {
        let (store, base) = store(version);
        assert_eq!(loaded(&store, &key(1, 1, 3)), None);
        store.remove(&key(1, 1, 3)).unwrap();
        store.remove_level(3, None).unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
    // Half a bundle of version 1 is none.
    let (store, _base) = store(Version::V1);
    store.store(&key(1, 1, 3), &tile("tile")).unwrap();
    let (_, tiles) = files(&store);
    fs::remove_file(&tiles).unwrap();
    assert_eq!(loaded(&store_in(&store.options.directory, Version::V1), &key(1, 1, 3)), None);
    assert!(!tiles.exists());
}

#[test]
fn half_a_bundle_is_made_whole_without_inventing_tiles() {
    for lost in ["index", "tiles"] {
        let (store, _base) = store(Version::V1);
        for x in 0..40 {
            store.store(&key(x, 1, 3), &numbers(500, x)).unwrap();
        }
        let (index, tiles) = files(&store);
        fs::remove_file(if lost == "index" { index } else { tiles }).unwrap();
        store.store(&key(99, 1, 3), &numbers(40_000, 7)).unwrap();
        assert_eq!(loaded(&store, &key(99, 1, 3)), Some(numbers(40_000, 7).bytes));
        for x in 0..40 {
            assert_eq!(loaded(&store, &key(x, 1, 3)), None, "without {lost}");
        }
    }
}

#[test]
fn a_bundle_that_others_replace_or_remove_is_opened_anew() {
    for version in BOTH {
        let (store, base) = store(version);
        store.store(&key(1, 1, 3), &tile("first")).unwrap();
        assert!(loaded(&store, &key(1, 1, 3)).is_some());
        fs::remove_dir_all(store.options.directory.join("L03")).unwrap();
        // A tile that is not in the open file is looked for in the one that has come.
        let other = store_in(&store.options.directory, version);
        other.store(&key(2, 2, 3), &tile("second")).unwrap();
        assert_eq!(loaded(&store, &key(2, 2, 3)).as_deref(), Some(&b"second"[..]));
        assert_eq!(loaded(&store, &key(1, 1, 3)), None);
        fs::rename(base.path().join("cache"), base.path().join("elsewhere")).unwrap();
        assert_eq!(loaded(&store, &key(3, 3, 3)), None);
        assert_eq!(loaded(&store, &key(2, 2, 3)), None);
    }
}

#[test]
fn what_was_read_is_soon_read_from_the_file_that_bears_the_name() {
    let (store, _base) = store(Version::V2);
    store.store(&key(1, 1, 3), &tile("old")).unwrap();
    assert!(loaded(&store, &key(1, 1, 3)).is_some());
    let (_, bundle) = files(&store);
    let copy = bundle.with_extension("copy");
    fs::copy(&bundle, &copy).unwrap();
    fs::rename(&copy, &bundle).unwrap();
    store_in(&store.options.directory, Version::V2).store(&key(1, 1, 3), &tile("new")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(loaded(&store, &key(1, 1, 3)).as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_truncated_bundle_lacks_what_it_lost_and_takes_new_tiles() {
    for version in BOTH {
        for left in [0, 1, 59, 64, 1000, 16_000, 65_596, 131_000, 131_136, 131_200, 131_500] {
            let (store, _base) = store(version);
            for x in 0..20 {
                store.store(&key(x, 1, 3), &numbers(4000, x)).unwrap();
            }
            let (_, tiles) = files(&store);
            let file = OpenOptions::new().write(true).open(&tiles).unwrap();
            file.set_len(left.min(file.metadata().unwrap().len())).unwrap();
            for x in 0..20 {
                let found = loaded(&store, &key(x, 1, 3));
                assert!(found.is_none() || found == Some(numbers(4000, x).bytes), "{version:?} cut at {left}: {x}");
            }
            store.store(&key(50, 1, 3), &numbers(3000, 99)).unwrap();
            assert_eq!(loaded(&store, &key(50, 1, 3)), Some(numbers(3000, 99).bytes), "{version:?} cut at {left}");
        }
    }
}

#[test]
fn a_file_of_somebody_else_is_neither_read_nor_changed() {
    for version in BOTH {
        let (store, _base) = store(version);
        store.store(&key(1, 1, 3), &tile("tile")).unwrap();
        let (_, tiles) = files(&store);
        let foreign = vec![b'#'; 200_000];
        fs::write(&tiles, &foreign).unwrap();
        assert_eq!(loaded(&store_in(&store.options.directory, version), &key(1, 1, 3)), None);
        let error = store.store(&key(1, 1, 3), &tile("tile")).unwrap_err().to_string();
        assert!(error.contains("R0000C0000.bundle") && error.contains("move it out of the way"), "{error}");
        assert_eq!(fs::read(&tiles).unwrap(), foreign);
    }
}

#[test]
fn a_bundle_of_the_other_version_is_named() {
    let (store, _base) = store(Version::V1);
    store.store(&key(1, 1, 3), &tile("tile")).unwrap();
    let other = store_in(&store.options.directory, Version::V2);
    // A bundle of version 1 may be shorter than the index of one of version 2, and is more than its beginning then.
    store.store(&key(1, 1, 3), &numbers(100_000, 3)).unwrap();
    assert_eq!(loaded(&other, &key(1, 1, 3)), None);
    let error = other.store(&key(1, 1, 3), &tile("tile")).unwrap_err().to_string();
    assert!(error.contains("set version: 1"), "{error}");
    assert_eq!(loaded(&store, &key(1, 1, 3)), Some(numbers(100_000, 3).bytes));
}

#[test]
fn an_index_of_nonsense_costs_no_memory_and_gives_no_tiles() {
    for version in BOTH {
        let (store, _base) = store(version);
        store.store(&key(1, 1, 3), &tile("tile")).unwrap();
        let (index, _) = files(&store);
        let file = OpenOptions::new().write(true).open(&index).unwrap();
        for nonsense in
            [[0xff; 8], [0, 0, 0, 0, 0, 0xff, 0xff, 0xff], [1, 0, 0, 0, 0, 1, 0, 0], [70, 0, 2, 0, 0, 2, 0, 0]]
        {
            let place = Place::of(1, 1);
            match version {
                Version::V1 => file.write_all_at(&nonsense[..5], place.v1_entry()).unwrap(),
                Version::V2 => file.write_all_at(&nonsense, place.v2_entry()).unwrap(),
            }
            let _ = store.load(&key(1, 1, 3)).unwrap();
            let _ = store.metadata(&key(1, 1, 3)).unwrap();
            if version == Version::V2 {
                assert_eq!(loaded(&store, &key(1, 1, 3)), None, "{nonsense:?}");
            }
        }
    }
}

/// As a process that is killed leaves it: tiles appended, not yet named.
#[test]
fn tiles_that_no_index_names_do_no_harm() {
    for version in BOTH {
        let (store, _base) = store(version);
        store.store(&key(1, 1, 3), &tile("old")).unwrap();
        let (_, tiles) = files(&store);
        let mut whole = fs::read(&tiles).unwrap();
        whole.extend([100, 0, 0, 0, b'h', b'a', b'l', b'f']);
        fs::write(&tiles, whole).unwrap();
        assert_eq!(loaded(&store, &key(1, 1, 3)).as_deref(), Some(&b"old"[..]));
        store.store(&key(2, 2, 3), &tile("new")).unwrap();
        assert_eq!(loaded(&store, &key(2, 2, 3)).as_deref(), Some(&b"new"[..]));
        assert_eq!(loaded(&store, &key(1, 1, 3)).as_deref(), Some(&b"old"[..]));
    }
}

/// Makes this test program one that stores, in a directory named by the version.
const CHILD: &str = "MAPPROXY_TEST_BUNDLES";

/// Columns of the tiles that are stored over and over; all bytes of a tile are the same, and their number says which.
const COLUMNS: u32 = 24;

fn round(x: u32, round: u32) -> TileData {
    tile(vec![round as u8; (x * 256 + round % 256 + 1) as usize])
}

/// Stores until it is killed.
fn store_for_ever(directory: &Path) {
    let version = if directory.ends_with("1") { Version::V1 } else { Version::V2 };
    let store = store_in(directory, version);
    for number in 0.. {
        let tiles: Vec<_> = (0..COLUMNS).map(|x| (key(x, number % 2, 3), round(x, number))).collect();
        store.store_many(&tiles).unwrap();
    }
}

#[test]
fn killed_writers_leave_whole_tiles() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return store_for_ever(Path::new(&directory));
    }
    for version in ["1", "2"] {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join(version);
        let mut there = std::collections::HashSet::new();
        for attempt in 0..25_u64 {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::compact::tests::killed_writers_leave_whole_tiles"])
                .env(CHILD, &directory)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn();
            let mut child = child.unwrap();
            std::thread::sleep(Duration::from_micros(15_000 + attempt * 1_337));
            child.kill().unwrap();
            child.wait().unwrap();
            let store = store_in(&directory, if version == "1" { Version::V1 } else { Version::V2 });
            for (x, y) in (0..COLUMNS).flat_map(|x| [(x, 0), (x, 1)]) {
                let Some(found) = loaded(&store, &key(x, y, 3)) else {
                    assert!(!there.contains(&(x, y)), "version {version}: {x}/{y} is lost");
                    continue;
                };
                there.insert((x, y));
                let number = found.len() as u32 - 1 - x * 256;
                assert_eq!(found, round(x, number).bytes, "version {version}: {x}/{y} is torn");
            }
        }
        assert_eq!(there.len() as u32, 2 * COLUMNS, "nothing was stored before the kills");
    }
}

#[test]
fn a_tile_too_large_for_the_format_is_refused_and_changes_nothing() {
    let (store, _base) = store(Version::V2);
    store.store(&key(1, 1, 3), &tile("tile")).unwrap();
    let (_, tiles) = files(&store);
    let before = fs::read(&tiles).unwrap();
    let error = store.store(&key(1, 1, 3), &tile(vec![1; 1 << 24])).unwrap_err();
    assert!(error.to_string().contains("16777216 bytes"), "{error}");
    assert!(store.store(&key(1, 1, 3), &tile("")).is_err());
    assert_eq!(fs::read(&tiles).unwrap(), before);
}

#[test]
fn many_writers_of_a_bundle_lose_nothing() {
    for version in BOTH {
        let (store, _base) = store(version);
        // As two processes: they share nothing but files.
        let other = store_in(&store.options.directory, version);
        std::thread::scope(|scope| {
            for writer in 0..6_u32 {
                let store = if writer % 2 == 0 { &store } else { &other };
                scope.spawn(move || {
                    for y in 0..10 {
                        store.store(&key(writer, y, 3), &numbers(writer * 100 + 1, y)).unwrap();
                    }
                });
            }
        });
        for (x, y) in (0..6).flat_map(|x| (0..10).map(move |y| (x, y))) {
            assert_eq!(loaded(&store, &key(x, y, 3)), Some(numbers(x * 100 + 1, y).bytes));
        }
        assert_eq!(
            fs::read_dir(store.options.directory.join("L03")).unwrap().count(),
            if version == Version::V1 { 2 } else { 1 }
        );
    }
}

#[test]
fn new_files_and_folders_get_the_configured_modes() {
    for version in BOTH {
        let (mut store, base) = store(version);
        store.options.permissions = Permissions { directory: Some(0o2751), file: Some(0o604) };
        store.store(&key(1, 1, 3), &tile("tile")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let (index, tiles) = files(&store);
        assert_eq!((mode(&index), mode(&tiles)), (0o604, 0o604));
        assert_eq!((mode(&base.path().join("cache")), mode(index.parent().unwrap())), (0o2751, 0o2751));
    }
}

#[test]
fn dimensions_are_the_directories_of_the_file_cache() {
    let (store, _base) = store(Version::V2);
    let dimensions = [("time", "2020"), ("elevation", "3000")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let dated = TileKey { dimensions: dimensions.into(), ..key(1, 1, 3) };
    store.store(&dated, &tile("dated")).unwrap();
    assert!(store.options.directory.join("elevation-3000/time-2020/L03/R0000C0000.bundle").exists());
    store.remove_level(3, None).unwrap();
    assert_eq!(loaded(&store, &dated), None);
    assert!(!store.options.directory.join("elevation-3000/time-2020/L03").exists());
}

#[test]
fn as_many_files_stay_open_as_the_pool_has_room_for() {
    let (store, _base) = store(Version::V2);
    for z in 0..40 {
        store.store(&key(0, 0, z), &numbers(10, z.into())).unwrap();
        assert!(loaded(&store, &key(0, 0, z)).is_some());
    }
    for z in 0..40 {
        assert_eq!(loaded(&store, &key(0, 0, z)), Some(numbers(10, z.into()).bytes));
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let bundles = open.filter(|path| path.starts_with(&store.options.directory)).count();
    assert!((1..=4).contains(&bundles), "{bundles} bundles are open");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is stored, removed and stored again: the last tile of each place is found.
    #[test]
    fn a_bundle_remembers_what_came_last(
        steps in proptest::collection::vec((0..140_u32, 0..140_u32, proptest::option::of(1..2000_u32)), 1..40),
        old in any::<bool>(),
    ) {
        let (store, _base) = store(if old { Version::V1 } else { Version::V2 });
        let mut expected = std::collections::HashMap::new();
        for (x, y, length) in steps {
            let key = key(x, y, 9);
            match length {
                Some(length) => store.store(&key, &numbers(length, x)).unwrap(),
                None => store.remove(&key).unwrap(),
            }
            expected.insert((x, y), length);
        }
        for ((x, y), length) in expected {
            prop_assert_eq!(loaded(&store, &key(x, y, 9)), length.map(|length| numbers(length, x).bytes));
        }
    }
}

/// Names and digests of the files after each step.
type Steps = [&'static [(&'static str, &'static str)]; 5];

const V1_STEPS: Steps = [
    &[
        ("R0380C1380.bundle", "19e653f84f7c47f7de5658a0900d9680"),
        ("R0380C1380.bundlx", "1d6775d848d0be352b9ec5eb8b514b85"),
    ],
    &[
        ("R0380C1380.bundle", "e5957d17029a51260179fc485cc032d4"),
        ("R0380C1380.bundlx", "b28e0f2e7e88e04f0a59558770203fce"),
        ("R0380C1400.bundle", "bffe69ac0ced30a9c05d3218bedd9b49"),
        ("R0380C1400.bundlx", "9269a30d7fbce3acf87bf85c8aac7b85"),
    ],
    &[
        ("R0380C1380.bundle", "92435d66c6ac697e962a391dff89d951"),
        ("R0380C1380.bundlx", "7e877f0bab43dfb27feaed4c2a791131"),
        ("R0380C1400.bundle", "bffe69ac0ced30a9c05d3218bedd9b49"),
        ("R0380C1400.bundlx", "9269a30d7fbce3acf87bf85c8aac7b85"),
    ],
    &[
        ("R0380C1380.bundle", "92435d66c6ac697e962a391dff89d951"),
        ("R0380C1380.bundlx", "33dcef789b588fa058d18a77906b097a"),
        ("R0380C1400.bundle", "bffe69ac0ced30a9c05d3218bedd9b49"),
        ("R0380C1400.bundlx", "9269a30d7fbce3acf87bf85c8aac7b85"),
    ],
    &[
        ("R0380C1380.bundle", "489537a033df3230cacbaca3be85359e"),
        ("R0380C1380.bundlx", "09da633be9fba013dd9e4ab4dce3a3f0"),
        ("R0380C1400.bundle", "bffe69ac0ced30a9c05d3218bedd9b49"),
        ("R0380C1400.bundlx", "9269a30d7fbce3acf87bf85c8aac7b85"),
    ],
];

const V2_STEPS: Steps = [
    &[("R0380C1380.bundle", "5e4252bf66956d8c7fbd6122c41f197d")],
    &[
        ("R0380C1380.bundle", "5d27fe65466fbe068178bd8eeaf2a1a2"),
        ("R0380C1400.bundle", "05fb849517305e6baaafea975a1feb21"),
    ],
    &[
        ("R0380C1380.bundle", "459c55cb9275f6f3e860635034bb91f6"),
        ("R0380C1400.bundle", "05fb849517305e6baaafea975a1feb21"),
    ],
    &[
        ("R0380C1380.bundle", "8dcf382e116c60d653bab7c22545ef71"),
        ("R0380C1400.bundle", "05fb849517305e6baaafea975a1feb21"),
    ],
    &[
        ("R0380C1380.bundle", "8d7bddddaacab9823590fd2ee57814e3"),
        ("R0380C1400.bundle", "05fb849517305e6baaafea975a1feb21"),
    ],
];
