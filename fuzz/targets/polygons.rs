//! Files of polygons: whatever is in them, reading takes no more memory than some times their size and does not panic,
//! and what was read makes a coverage or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapproxy_grid::{Bbox, Coverage, Srs};
use mapproxy_polygons::{Format, Found};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    // A condition, the polygons and a table of attributes, with bytes between them that none begins with.
    let mut parts = rest.splitn(3, |byte| *byte == 0xf7);
    let condition = parts.next().map(String::from_utf8_lossy);
    let polygons = parts.next().unwrap_or_default();
    let attributes = parts.next().unwrap_or_default();
    let format = match kind % 5 {
        0 => Format::Shapefile,
        1 => Format::FlatGeobuf,
        2 => Format::GeoPackage,
        3 => Format::GeoJson,
        _ => {
            let _ = Coverage::from_wkt(&String::from_utf8_lossy(rest), Srs::wgs84());
            return;
        }
    };
    let condition = condition.as_deref().filter(|text| !text.is_empty());
    let coverage = match mapproxy_polygons::parse(format, polygons, attributes, condition) {
        None => return,
        Some(Found::GeoJson(text)) => Coverage::from_geojson(&text, Srs::wgs84()),
        Some(Found::Polygons { polygons, .. }) => {
            let points: usize = polygons.iter().flatten().map(Vec::len).sum();
            assert!(points <= polygons_at_most(data.len()), "{points} points out of {} bytes", data.len());
            Coverage::from_polygons(&polygons, Srs::wgs84())
        }
    };
    if let Ok(coverage) = coverage {
        let _ = coverage.intersects(&Bbox::new(1.0, 1.0, 2.0, 2.0), &Srs::wgs84());
    }
});

/// A point takes sixteen bytes.
fn polygons_at_most(bytes: usize) -> usize {
    bytes / 16
}
