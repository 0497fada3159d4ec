//! PROJ's files: where they are looked for. In a process of its own, as the directory is set once.
#![allow(clippy::unwrap_used)]

use mapproxy_grid::{Bbox, Srs, set_proj_data_dir};

#[test]
fn the_data_directory_is_set_once_and_need_not_have_a_database() {
    let given = tempfile::tempdir().unwrap();
    assert!(set_proj_data_dir(given.path()));
    assert!(set_proj_data_dir(given.path()), "the same again is fine");
    assert!(!set_proj_data_dir("/another"), "another one comes too late");

    let utm = Srs::new("EPSG:25832").unwrap();
    let degrees = utm.transform_bbox(&Srs::wgs84(), &Bbox::new(4e5, 5e6, 5e5, 5.1e6)).unwrap();
    assert!((degrees.max_x - 9.0).abs() < 1e-9, "{degrees}");
}
