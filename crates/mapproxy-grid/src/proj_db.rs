//! What PROJ's database says about a code, and PROJ contexts that look for their files where they should.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proj::{Proj, ProjBuilder};
use serde_json::Value;

/// What we want to know of an SRS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) geographic: bool,
    pub(crate) north_first: bool,
    pub(crate) meters_per_unit: f64,
    /// Geographic, and in degrees (not in gon, as `EPSG:4807`).
    pub(crate) degrees: bool,
}

/// What people are told of an SRS.
#[derive(Clone, Debug, PartialEq)]
pub struct SrsDescription {
    /// Name in PROJ's database: `ETRS89 / UTM zone 32N`.
    pub name: String,
    /// Where it is meant to be used: west, south, east, north in degrees. West is greater than east where the area lies
    /// on both sides of the 180th meridian.
    pub area_of_use: Option<[f64; 4]>,
}

static DATA_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Lets PROJ look for grids and definitions in `dir`, too (`globals.srs.proj_data_dir`).
///
/// To be called before the first SRS is looked up. The first call wins; `false` says that another directory was set
/// before.
pub fn set_proj_data_dir(dir: impl Into<PathBuf>) -> bool {
    let dir = dir.into();
    DATA_DIR.get_or_init(|| dir.clone()) == &dir
}

/// A transformation between two codes, x/y on both sides.
pub(crate) fn transformation(from: &str, to: &str) -> Result<Proj, String> {
    builder()?.proj_known_crs(from, to, None).map_err(|error| error.to_string())
}

/// Asks PROJ for the facts about a code in upper case.
pub(crate) fn look_up(code: &str) -> Result<Facts, String> {
    // PROJ also takes names, pipelines, files and WKT; only codes may reach it from outside.
    let is_code_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '+');
    let (authority, number) = code.split_once(':').unwrap_or_default();
    if authority.is_empty() || number.is_empty() || code.len() > 100 || !code.chars().all(is_code_character) {
        return Err("not of the form AUTHORITY:CODE".to_owned());
    }
    if authority == "EPSG" && !number.bytes().all(|c| c.is_ascii_digit()) {
        return Err("EPSG codes are numbers".to_owned());
    }
    let definition = builder()?.proj(code).map_err(|error| error.to_string())?;
    let json = definition.to_projjson(Some(false), None, None).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    facts(&json).ok_or_else(|| "not a horizontal coordinate reference system".to_owned())
}

/// What people are told about a code that was looked up before.
pub(crate) fn describe(code: &str) -> Option<SrsDescription> {
    let definition = builder().ok()?.proj(code).ok()?;
    let (area, _) = definition.area_of_use().unwrap_or_default();
    let area_of_use = area.map(|area| [area.west, area.south, area.east, area.north]);
    Some(SrsDescription { name: definition.proj_info().description?, area_of_use })
}

/// A PROJ context with our search path.
///
/// PROJ carries its database within, but prefers a `proj.db` in the working directory, whatever the search path. A file
/// that lies there by chance may be of another release or from a stranger, so that is refused.
fn builder() -> Result<ProjBuilder, String> {
    let mut builder = ProjBuilder::new();
    if let Some(dir) = DATA_DIR.get() {
        builder.set_search_paths(dir).map_err(|error| format!("PROJ's search path cannot be set: {error}"))?;
    }
    let default_paths = || builder.lib_info().map(|info| info.searchpath).unwrap_or_default();
    if misleads(Path::new(""), || std::env::split_paths(&default_paths()).chain(DATA_DIR.get().cloned()).collect()) {
        return Err(
            "PROJ would take its database from the file proj.db in the working directory: remove it, start in \
                    another directory, or name the directory of the right proj.db in proj_data_dir or PROJ_DATA"
                .to_owned(),
        );
    }
    Ok(builder)
}

/// There is a `proj.db` in the working directory, and none where PROJ looks first.
fn misleads(working_dir: &Path, search_paths: impl FnOnce() -> Vec<PathBuf>) -> bool {
    let has_database = |dir: &Path| dir.join("proj.db").exists();
    has_database(working_dir) && !search_paths().iter().any(|dir| has_database(dir))
}

/// Reads PROJJSON (<https://proj.org/specifications/projjson.html>); `None` for what has no east and north.
fn facts(json: &Value) -> Option<Facts> {
    match json["type"].as_str()? {
        "CompoundCRS" => facts(json["components"].get(0)?),
        "BoundCRS" => facts(&json["source_crs"]),
        kind @ ("GeographicCRS"
        | "GeodeticCRS"
        | "ProjectedCRS"
        | "DerivedGeographicCRS"
        | "DerivedGeodeticCRS"
        | "DerivedProjectedCRS") => {
            let system = &json["coordinate_system"];
            let geographic = system["subtype"] == "ellipsoidal";
            let first_axis = system["axis"].get(0)?["direction"].as_str()?;
            if !geographic && !kind.contains("Projected") && system["subtype"] != "Cartesian" {
                return None;
            }
            let meters_per_unit =
                if geographic { semi_major_axis(json)? * 2.0 * std::f64::consts::PI / 360.0 } else { 1.0 };
            let degrees = geographic && system["axis"][0]["unit"] == "degree";
            Some(Facts { geographic, north_first: first_axis == "north", meters_per_unit, degrees })
        }
        _ => None,
    }
}

/// In metres.
fn semi_major_axis(json: &Value) -> Option<f64> {
    let base = &json["base_crs"];
    if base.is_object() {
        return semi_major_axis(base);
    }
    let datum = if json["datum"].is_object() { &json["datum"] } else { &json["datum_ensemble"] };
    let ellipsoid = &datum["ellipsoid"];
    let length = |value: &Value| match value {
        Value::Object(with_unit) => {
            let factor = with_unit.get("unit").and_then(|unit| unit["conversion_factor"].as_f64()).unwrap_or(1.0);
            Some(with_unit.get("value")?.as_f64()? * factor)
        }
        plain => plain.as_f64(),
    };
    length(&ellipsoid["semi_major_axis"]).or_else(|| length(&ellipsoid["radius"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_in_the_working_directory_is_refused_unless_another_is_found_first() {
        let (working, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = || vec![PathBuf::from("/nowhere"), other.path().to_owned()];
        assert!(!misleads(working.path(), paths));
        std::fs::write(working.path().join("proj.db"), "no database").unwrap();
        assert!(misleads(working.path(), paths));
        std::fs::write(other.path().join("proj.db"), "the right one").unwrap();
        assert!(!misleads(working.path(), paths));
    }

    #[test]
    fn what_has_no_east_and_north_is_no_srs() {
        let facts_of = |json: &str| facts(&serde_json::from_str(json).unwrap()).is_some();
        assert!(!facts_of("{}"));
        assert!(!facts_of(r#"{"type": "VerticalCRS", "coordinate_system": {"axis": [{"direction": "up"}]}}"#));
        assert!(!facts_of(r#"{"type": "CompoundCRS", "components": []}"#));
        assert!(!facts_of(r#"{"type": "ProjectedCRS", "coordinate_system": {"axis": []}}"#));
        assert!(facts_of(r#"{"type": "ProjectedCRS", "coordinate_system": {"axis": [{"direction": "east"}]}}"#));
    }
}
