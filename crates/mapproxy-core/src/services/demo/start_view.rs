//! What a viewer shows first: the layer's extent, as far as the SRS is meant for it.

use mapproxy_grid::{Bbox, MapExtent, Srs, SrsDescription};

use crate::Incoming;

/// The part of `extent` that lies in the area of use of `srs`, in `srs`; all of the area if they have nothing in common.
pub(super) fn extent_in(srs: &Srs, description: Option<&SrsDescription>, extent: Option<&MapExtent>) -> Bbox {
    let world = MapExtent::world();
    let extent = extent.unwrap_or(&world);
    if extent.srs == *srs && extent.bbox.is_valid() {
        return extent.bbox;
    }
    let wgs84 = Srs::wgs84();
    let area = area_of(srs, description);
    let wanted = extent.bbox_in(&wgs84).ok().and_then(|bbox| bbox.intersection(&area));
    let bbox_of = |degrees: &Bbox| wgs84.transform_bbox(srs, degrees).ok().filter(Bbox::is_valid);
    wanted.as_ref().and_then(bbox_of).or_else(|| bbox_of(&area)).unwrap_or(extent.bbox)
}

/// In degrees; without the poles, which most projections cannot show.
fn area_of(srs: &Srs, description: Option<&SrsDescription>) -> Bbox {
    let limit = if srs.is_geographic() { 90.0 } else { 89.9 };
    let world = Bbox::new(-180.0, -limit, 180.0, limit);
    let Some([west, south, east, north]) = description.and_then(|description| description.area_of_use) else {
        return world;
    };
    // An area on both sides of the 180th meridian: its larger half.
    let (west, east) = match (west <= east, 180.0 - west >= east + 180.0) {
        (true, _) => (west, east),
        (false, true) => (west, 180.0),
        (false, false) => (-180.0, east),
    };
    Bbox::new(west, south, east, north).intersection(&world).unwrap_or(world)
}

/// The box that the page before this one showed (`at`, in `at_srs`, one of those `known`), in `srs`.
pub(super) fn view_before<'a>(
    srs: &Srs,
    request: &Incoming<'_>,
    mut known: impl Iterator<Item = &'a Srs>,
) -> Option<Bbox> {
    let params = request.params();
    let numbers: Result<Vec<f64>, _> = params.get("at")?.split(',').map(str::parse).collect();
    let [min_x, min_y, max_x, max_y] = numbers.ok()?[..] else { return None };
    let bbox = Bbox::new(min_x, min_y, max_x, max_y);
    let code = params.get("at_srs")?;
    let from = known.find(|known| known.code().eq_ignore_ascii_case(code))?;
    if !bbox.is_valid() {
        return None;
    }
    let moved = if from == srs { bbox } else { from.transform_bbox(srs, &bbox).ok()? };
    moved.is_valid().then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(code: &str, extent: Option<MapExtent>) -> [i64; 4] {
        let srs = Srs::new(code).unwrap();
        extent_in(&srs, srs.describe().as_ref(), extent.as_ref()).to_array().map(|value| value.round() as i64)
    }

    #[test]
    fn a_layer_of_the_world_is_shown_where_a_national_system_is_used() {
        let [min_x, min_y, max_x, max_y] = start("EPSG:25832", None);
        assert!((0..400_000).contains(&min_x) && (600_000..1_200_000).contains(&max_x), "{min_x} {max_x}");
        assert!((4_000_000..5_000_000).contains(&min_y) && (8_000_000..9_500_000).contains(&max_y), "{min_y} {max_y}");
        let [min_x, _, max_x, _] = start("EPSG:2193", None);
        assert!(0 < max_x - min_x && max_x - min_x < 3_000_000);
        assert_eq!(start("EPSG:3857", None)[0], -20_037_508);
        assert_eq!(start("EPSG:4326", None), [-180, -90, 180, 90]);
    }

    #[test]
    fn a_small_layer_is_shown_where_it_is() {
        let city = MapExtent::new(Bbox::new(8.0, 53.0, 8.5, 53.2), Srs::wgs84());
        let [min_x, min_y, max_x, max_y] = start("EPSG:25832", Some(city.clone()));
        assert!(430_000 < min_x && max_x < 470_000 && 5_870_000 < min_y && max_y < 5_900_000);
        // Somewhere else: the area of the SRS.
        assert_eq!(start("EPSG:2193", Some(city)), start("EPSG:2193", None));
    }

    #[test]
    fn an_extent_in_the_same_system_is_taken_as_it_is() {
        let extent = MapExtent::new(Bbox::new(1.0, 2.0, 3.0, 4.0), Srs::new("EPSG:25832").unwrap());
        assert_eq!(start("EPSG:25832", Some(extent)), [1, 2, 3, 4]);
    }
}
