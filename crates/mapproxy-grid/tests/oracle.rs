//! Our numbers against those of MapProxy 7.0.0, recorded by `oracle/generate.py`.
//!
//! Grids, tiles and meta tiles must agree to the last bit: their digits are sent to upstream servers. Transformed boxes
//! may differ as one release of PROJ differs from another.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use mapproxy_grid::{
    AffectedTiles, Bbox, GridError, MetaGrid, MetaTile, Origin, Resolutions, Size, Srs, TileCoord, TileGrid,
};
use serde_json::{Value, json};

fn recorded(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn grids() -> Vec<(Arc<TileGrid>, Value)> {
    let cases = recorded(include_str!("oracle/grids.json"));
    let options: HashMap<&str, &Value> = cases.iter().map(|c| (c["name"].as_str().unwrap(), &c["options"])).collect();
    cases.iter().map(|case| (Arc::new(build(case["name"].as_str().unwrap(), &options)), case.clone())).collect()
}

fn build(name: &str, all: &HashMap<&str, &Value>) -> TileGrid {
    let options = all[name];
    let srs = |key: &str| options[key].as_str().map(|code| Srs::new(code).unwrap());
    let number = |key: &str| options[key].as_f64();
    let numbers = |key: &str| options[key].as_array().map(|list| list.iter().map(|v| v.as_f64().unwrap()).collect());
    let mut builder = TileGrid::builder(name, srs("srs").unwrap());
    builder.bbox = (!options["bbox"].is_null()).then(|| bbox(&options["bbox"]));
    builder.bbox_srs = srs("bbox_srs");
    if matches!(options["origin"].as_str(), Some("ul" | "nw")) {
        builder.origin = Origin::UpperLeft;
    }
    if !options["tile_size"].is_null() {
        builder.tile_size = size(&options["tile_size"]);
    }
    let resolutions = |grid: TileGrid| grid.levels().iter().map(|level| level.resolution).collect();
    builder.resolutions = Resolutions {
        list: numbers("res"),
        factor: if options["res_factor"] == "sqrt2" { Some(2_f64.sqrt()) } else { number("res_factor") },
        min_res: number("min_res"),
        max_res: number("max_res"),
        num_levels: options["num_levels"].as_u64().map(|n| n as u32),
        align_with: options["align_with"].as_str().map(|other| resolutions(build(other, all))),
    };
    builder.threshold_res = numbers("threshold_res").unwrap_or_default();
    builder.stretch_factor = number("stretch_factor").unwrap_or(builder.stretch_factor);
    builder.max_shrink_factor = number("max_shrink_factor").unwrap_or(builder.max_shrink_factor);
    builder.build().unwrap()
}

fn bbox(value: &Value) -> Bbox {
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| value[i].as_f64().unwrap());
    Bbox::new(a, b, c, d)
}

fn size(value: &Value) -> Size {
    Size::new(value[0].as_u64().unwrap() as u32, value[1].as_u64().unwrap() as u32)
}

fn tile(value: &Value) -> TileCoord {
    let [x, y, z] = [0, 1, 2].map(|i| value[i].as_u64().unwrap());
    TileCoord::new(x as u32, y as u32, z as u8)
}

fn level(value: &Value) -> u8 {
    value.as_u64().unwrap() as u8
}

fn coord(tile: TileCoord) -> Value {
    json!([tile.x, tile.y, tile.z])
}

/// The form in which `generate.py` keeps lists of tiles.
fn affected(answer: Result<Option<AffectedTiles>, GridError>) -> Value {
    match answer {
        Ok(None) => json!("NoTiles"),
        Err(GridError::InvalidBbox) => json!("GridError"),
        Err(GridError::TooManyTiles { .. }) => json!("TooManyTiles"),
        Err(other) => json!(other.to_string()),
        Ok(Some(found)) => {
            let inside: Vec<Value> = found.tiles.iter().flatten().map(|tile| coord(*tile)).collect();
            let ends: Vec<&Value> = inside.first().into_iter().chain(inside.last()).collect();
            let list = json!([found.tiles.len(), inside.len(), ends]);
            let list = if found.tiles.len() > 4000 { Value::Null } else { list };
            json!([found.bbox.to_array(), [found.columns, found.rows], list])
        }
    }
}

fn meta(meta: &MetaTile) -> Value {
    let inside: Vec<TileCoord> = meta.tiles.iter().filter_map(|place| place.tile).collect();
    let (first, last) = (meta.tiles.first().unwrap(), meta.tiles.last().unwrap());
    let row = meta.tiles.iter().filter(|place| place.y == first.y).count();
    json!([
        meta.bbox.to_array(),
        [meta.size.width, meta.size.height],
        [row, meta.tiles.len() / row],
        coord(inside[0]),
        inside.len(),
        [first.x, first.y],
        [last.x, last.y],
        coord(*inside.last().unwrap()),
    ])
}

/// Integers and floats of the same value are the same; the sign of zero does not matter.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn check(&mut self, what: impl FnOnce() -> String, ours: Value, theirs: &Value) {
        if !same(&ours, theirs) {
            self.0.push(format!("{}\n  ours   {ours}\n  theirs {theirs}", what()));
        }
    }
}

impl Drop for Differences {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} differences:\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}

#[test]
fn levels_are_the_same() {
    let mut differences = Differences::default();
    for (grid, case) in grids() {
        let levels = grid.levels();
        let resolutions: Vec<f64> = levels.iter().map(|level| level.resolution).collect();
        let sizes: Vec<[u32; 2]> = levels.iter().map(|level| [level.columns, level.rows]).collect();
        differences.check(|| format!("{} resolutions", grid.name()), json!(resolutions), &case["resolutions"]);
        differences.check(|| format!("{} sizes", grid.name()), json!(sizes), &case["sizes"]);
        let (ours, theirs) = (grid.bbox().to_array(), bbox(&case["bbox"]).to_array());
        // One may be transformed by another PROJ.
        assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{} {ours:?} {theirs:?}", grid.name());
    }
}

#[test]
fn tile_boxes_are_the_same_to_the_last_bit() {
    let mut differences = Differences::default();
    for (grid, case) in grids() {
        for recorded in case["tiles"].as_array().unwrap() {
            let ours = grid.tile_bbox(tile(&recorded[0]));
            differences.check(|| format!("{} {}", grid.name(), recorded[0]), json!(ours.to_array()), &recorded[1]);
        }
    }
}

#[test]
fn the_closest_levels_are_the_same() {
    let mut differences = Differences::default();
    for (grid, case) in grids() {
        for recorded in case["closest"].as_array().unwrap() {
            let ours = grid.closest_level(recorded[0].as_f64().unwrap());
            differences.check(|| format!("{} {}", grid.name(), recorded[0]), json!(ours), &recorded[1]);
        }
    }
}

#[test]
fn maps_need_the_same_tiles() {
    let mut differences = Differences::default();
    for (grid, case) in grids() {
        for recorded in case["maps"].as_array().unwrap() {
            let (bbox, size) = (bbox(&recorded[0]), size(&recorded[1]));
            let what = || format!("{} {} {}", grid.name(), recorded[0], recorded[1]);
            let found = grid.affected_bbox_and_level(&bbox, size, grid.srs()).unwrap();
            differences.check(what, json!(found.map(|(_, level)| level)), &recorded[2]);
            let tiles = grid.affected_tiles(&bbox, size, grid.srs());
            differences.check(what, affected(tiles), &recorded[3]);
        }
        for recorded in case["level_maps"].as_array().unwrap() {
            let ours = grid.affected_level_tiles(&bbox(&recorded[0]), level(&recorded[1]));
            let what = || format!("{} {} on level {}", grid.name(), recorded[0], recorded[1]);
            differences.check(what, affected(ours.map(Some)), &recorded[2]);
        }
    }
}

#[test]
fn meta_tiles_are_asked_and_cut_the_same() {
    let mut differences = Differences::default();
    for (grid, case) in grids() {
        let meta_grid = |size: &Value, buffer: &Value| {
            let size = (size[0].as_u64().unwrap() as u32, size[1].as_u64().unwrap() as u32);
            MetaGrid::new(Arc::clone(&grid), size, buffer.as_u64().unwrap_or(0) as u32)
        };
        for recorded in case["metas"].as_array().unwrap() {
            let metas = meta_grid(&recorded[0], &recorded[1]);
            let what = || format!("{} {} {} {}", grid.name(), recorded[0], recorded[1], recorded[2]);
            let tile = tile(&recorded[2]);
            differences.check(what, coord(metas.main_tile(tile)), &recorded[3]);
            let mut theirs = recorded[4].clone();
            // In a grid narrower than half a pixel. We ask for something that can be drawn.
            if theirs[1][0] == 0 {
                theirs[1][0] = json!(1);
            }
            let ours = metas.meta_tile(tile);
            differences.check(what, meta(&ours), &theirs);
            differences.check(what, coord(ours.main), &recorded[3]);
        }
        for recorded in case["minimal"].as_array().unwrap() {
            let tiles: Vec<TileCoord> = recorded[1].as_array().unwrap().iter().map(tile).collect();
            let what = || format!("{} minimal {} {}", grid.name(), recorded[0], recorded[1]);
            let metas = meta_grid(&json!([4, 4]), &recorded[0]);
            differences.check(what, meta(&metas.minimal_meta_tile(&tiles)), &recorded[2]);
        }
        for recorded in case["meta_levels"].as_array().unwrap() {
            let ours =
                meta_grid(&recorded[0], &Value::Null).affected_level_tiles(&bbox(&recorded[1]), level(&recorded[2]));
            let what = || format!("{} {} {} {}", grid.name(), recorded[0], recorded[1], recorded[2]);
            let (mut ours, mut theirs) = (affected(ours.map(Some)), recorded[3].clone());
            // Counting from the top, MapProxy's box leaves out rows at its top and bottom; nothing asks for it.
            if grid.origin() == Origin::UpperLeft && ours.is_array() {
                ours[0] = Value::Null;
                theirs[0] = Value::Null;
            }
            differences.check(what, ours, &theirs);
        }
    }
}

#[test]
fn origins_and_subsets_are_the_same() {
    let mut differences = Differences::default();
    let grids = grids();
    for (grid, case) in &grids {
        let what = || grid.name().to_owned();
        differences.check(what, json!(grid.supports_origin(Origin::LowerLeft)), &case["ll"]);
        differences.check(what, json!(grid.supports_origin(Origin::UpperLeft)), &case["ul"]);
        let supersets: Vec<&str> =
            grids.iter().filter(|(other, _)| grid.is_subset_of(other)).map(|(other, _)| other.name()).collect();
        differences.check(what, json!(supersets), &case["subset_of"]);
    }
}

#[test]
fn boxes_are_transformed_alike() {
    let mut differences = Differences::default();
    for case in recorded(include_str!("oracle/transforms.json")) {
        let [from, to] = [0, 1].map(|i| Srs::new(case[i].as_str().unwrap()).unwrap());
        let ours = from.transform_bbox(&to, &bbox(&case[2])).ok().map(Bbox::to_array);
        let is_alike = match (&ours, case[3].as_array()) {
            (Some(ours), Some(theirs)) => ours.iter().zip(theirs).all(|(a, b)| {
                let b = b.as_f64().unwrap();
                (a - b).abs() <= 1e-9 * b.abs().max(if to.is_geographic() { 1.0 } else { 100_000.0 })
            }),
            (ours, theirs) => ours.is_none() == theirs.is_none(),
        };
        let is_ours = |srs: &Srs| *srs == Srs::wgs84() || *srs == Srs::web_mercator();
        let ours = json!(ours);
        // With our own formula there is no other PROJ to blame.
        if !is_alike || (is_ours(&from) && is_ours(&to) && !same(&ours, &case[3])) {
            differences.0.push(format!("{from} {to} {}\n  ours   {ours}\n  theirs {}", case[2], case[3]));
        }
    }
}
