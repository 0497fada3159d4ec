//! Files, links and what dead processes leave.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use mapproxy_grid::TileCoord;

use super::*;
use crate::store::conformance::{assert_that_tiles_stay_as_old_as_they_are, store_suite};

fn store(layout: Layout, link: LinkSingleColor) -> (FileStore, tempfile::TempDir) {
    let base = tempfile::tempdir().unwrap();
    let store = FileStore {
        directory: base.path().join("osm_EPSG3857"),
        extension: "png".to_owned(),
        layout,
        link_single_color: link,
        permissions: Permissions::default(),
    };
    (store, base)
}

fn key() -> TileKey {
    TileKey::new(TileCoord::new(1, 2, 3))
}

fn red() -> TileData {
    TileData { single_color: Some(SingleColor::Rgb([255, 1, 5])), ..TileData::new(Bytes::from_static(b"red")) }
}

#[test]
fn tiles_stay_as_old_as_they_are() {
    for link in [LinkSingleColor::Off, LinkSingleColor::Symlink, LinkSingleColor::Hardlink] {
        let (store, _base) = store(Layout::Tc, link);
        assert_that_tiles_stay_as_old_as_they_are(&store);
        let (old, yesterday) = (key(), SystemTime::now() - Duration::from_secs(86_400));
        store.store(&old, &TileData { modified: Some(yesterday), ..red() }).unwrap();
        assert_eq!(store.load(&old).unwrap().unwrap().meta.modified, Some(yesterday), "{link:?}");
    }
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

#[test]
fn every_layout_is_a_store() {
    for layout in [Layout::Tc, Layout::Mp, Layout::Tms, Layout::ReverseTms, Layout::Quadkey, Layout::Arcgis] {
        store_suite(|| store(layout, LinkSingleColor::Off));
    }
}

#[test]
fn links_make_no_difference_to_a_store() {
    store_suite(|| store(Layout::Tc, LinkSingleColor::Symlink));
    store_suite(|| store(Layout::Tms, LinkSingleColor::Hardlink));
}

#[test]
fn tiles_of_one_color_are_relative_symbolic_links() {
    let (store, _base) = store(Layout::Tc, LinkSingleColor::Symlink);
    store.store(&key(), &red()).unwrap();
    let path = store.path(&key()).unwrap();
    let target = fs::read_link(&path).unwrap();
    assert_eq!(target, Path::new("../../../../../../single_color_tiles/ff0105.png"));
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "red");
}

#[test]
fn the_alpha_of_a_color_is_part_of_the_name() {
    let (store, _base) = store(Layout::Quadkey, LinkSingleColor::Symlink);
    let tile = TileData { single_color: Some(SingleColor::Rgba([255, 1, 5, 255])), ..red() };
    store.store(&key(), &tile).unwrap();
    let target = fs::read_link(store.path(&key()).unwrap()).unwrap();
    assert_eq!(target, Path::new("single_color_tiles/ff0105ff.png"));
}

#[test]
fn hard_links_share_a_file_and_are_replaced_without_leftovers() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Hardlink);
    store.store(&key(), &red()).unwrap();
    store.store(&key(), &red()).unwrap();
    let shared = fs::metadata(store.directory.join("single_color_tiles/ff0105.png")).unwrap();
    assert_eq!(fs::metadata(store.path(&key()).unwrap()).unwrap().ino(), shared.ino());
    assert_eq!(shared.nlink(), 2);
    assert_eq!(files_below(&store.directory), ["2.png", "ff0105.png"]);
}

#[test]
fn a_new_tile_never_writes_through_the_link_it_replaces() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Symlink);
    let other = TileKey::new(TileCoord::new(4, 4, 3));
    store.store(&key(), &red()).unwrap();
    store.store(&other, &red()).unwrap();
    store.store(&key(), &TileData::new(Bytes::from_static(b"many"))).unwrap();
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "many");
    assert_eq!(store.load(&other).unwrap().unwrap().bytes, "red");
}

#[test]
fn a_link_to_nothing_is_a_missing_tile() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Symlink);
    store.store(&key(), &red()).unwrap();
    fs::remove_dir_all(store.directory.join("single_color_tiles")).unwrap();
    assert!(store.load(&key()).unwrap().is_none());
    store.store(&key(), &red()).unwrap();
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "red");
}

#[test]
fn a_linked_tile_is_as_old_as_its_link() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Symlink);
    store.store(&key(), &red()).unwrap();
    let shared = File::options().write(true).open(store.directory.join("single_color_tiles/ff0105.png")).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(86400);
    shared.set_modified(long_ago).unwrap();
    let loaded = store.load(&key()).unwrap().unwrap().meta.modified.unwrap();
    assert!(loaded > long_ago);
    assert_eq!(store.metadata(&key()).unwrap().unwrap().modified, Some(loaded));
}

#[test]
fn what_a_file_holds_is_for_others_to_judge() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Off);
    write_atomic(&store.path(&key()).unwrap(), b"", Permissions::default()).unwrap();
    assert!(store.load(&key()).unwrap().unwrap().bytes.is_empty());
}

#[test]
fn a_damaged_file_of_one_color_is_replaced() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Symlink);
    store.store(&key(), &red()).unwrap();
    fs::write(store.directory.join("single_color_tiles/ff0105.png"), b"").unwrap();
    store.store(&key(), &red()).unwrap();
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "red");
}

#[test]
fn a_directory_in_place_of_a_tile_is_an_error_that_names_it() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Off);
    fs::create_dir_all(store.path(&key()).unwrap()).unwrap();
    let message = store.load(&key()).unwrap_err().to_string();
    assert!(message.contains("osm_EPSG3857/3/1/2.png"), "{message}");
    assert!(store.store(&key(), &red()).is_err());
    assert_eq!(fs::read_dir(store.directory.join("3/1")).unwrap().count(), 1);
}

#[test]
fn a_file_in_place_of_a_directory_is_an_error_that_names_it() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Off);
    fs::create_dir_all(&store.directory).unwrap();
    fs::write(store.directory.join("3"), b"").unwrap();
    let message = store.store(&key(), &red()).unwrap_err().to_string();
    assert!(message.starts_with("write ") && message.contains("3/1/2.png"), "{message}");
    assert!(store.load(&key()).is_err());
}

#[test]
fn dimensions_that_lead_out_of_the_cache_are_errors() {
    let (store, _base) = store(Layout::Tms, LinkSingleColor::Off);
    let key = TileKey { dimensions: [("time".to_owned(), "../../x".to_owned())].into(), ..key() };
    for result in [store.load(&key).map(drop), store.store(&key, &red()), store.remove(&key)] {
        assert!(result.unwrap_err().to_string().contains("time"));
    }
}

#[test]
fn links_and_their_targets_get_the_configured_modes() {
    let (mut store, _base) = store(Layout::Tms, LinkSingleColor::Symlink);
    store.permissions = Permissions { directory: Some(0o750), file: Some(0o640) };
    store.store(&key(), &red()).unwrap();
    let mode = |path: &str| fs::metadata(store.directory.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("single_color_tiles"), mode("3"), mode("3/1")], [0o750; 3]);
    assert_eq!(mode("single_color_tiles/ff0105.png"), 0o640);
}

/// Runs itself in a process whose files may not grow beyond a block: a write fails half-way, as on a full disk.
#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    const CHILD: &str = "MAPPROXY_TEST_STORE_LIMITED";
    let (mut store, base) = store(Layout::Tms, LinkSingleColor::Off);
    if let Some(directory) = std::env::var_os(CHILD) {
        store.directory = directory.into();
        let tile = TileData::new(vec![1; 100_000].into());
        let message = store.store(&key(), &tile).unwrap_err().to_string();
        assert!(message.starts_with("write "), "{message}");
        assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "red");
        return;
    }
    store.store(&key(), &red()).unwrap();
    let name = "store::file::tests::a_write_that_fails_half_way_leaves_nothing_behind";
    let child = std::process::Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 1; exec "$0" --exact "$1" >/dev/null"#])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, &store.directory)
        .status()
        .unwrap();
    assert!(child.success());
    assert_eq!(files_below(&store.directory), ["2.png"]);
    drop(base);
}
