//! Options of the commands that work on some of the tiles of caches: levels, area, caches and grids.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use mapproxy_config::{Config, load_coverages_str};
use mapproxy_grid::Coverage;

use crate::{Failure, MISTAKEN, eprintln};

/// Which levels and which area.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TilesWanted {
    /// Only these levels, such as `0..5,7`; both ends of a range count
    #[arg(long, value_name = "LEVELS")]
    pub(crate) levels: Option<Levels>,
    /// Which area.
    #[command(flatten)]
    pub(crate) area: Area,
}

/// Which area.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Area {
    /// Only tiles that meet this area: a file with polygons (WKT, GeoJSON, Shapefile, GeoPackage, FlatGeobuf), whatever
    /// else `ogr2ogr` reads, or a box as in --bbox
    #[arg(long, value_name = "FILE|BBOX")]
    pub(crate) coverage: Option<String>,
    /// Only tiles that meet this box: min x, min y, max x, max y
    #[arg(long, value_name = "BBOX", conflicts_with = "coverage", allow_hyphen_values = true)]
    pub(crate) bbox: Option<String>,
    /// The reference system of --coverage or --bbox [default: EPSG:4326]
    #[arg(long, value_name = "SRS")]
    pub(crate) srs: Option<String>,
    /// Only the polygons of --coverage for which this holds, such as "name = 'Oldenburg'"
    #[arg(long = "where", value_name = "CONDITION", requires = "coverage")]
    pub(crate) condition: Option<String>,
}

impl Area {
    /// The area as a configuration has it; its file may be read from any directory. `None`: everywhere.
    pub(crate) fn written(&self) -> Option<serde_json::Value> {
        let datasource = self.bbox.as_ref().or(self.coverage.as_ref())?;
        let file = std::path::absolute(datasource).ok().filter(|path| self.bbox.is_none() && path.exists());
        let mut written = serde_json::json!({
            "datasource": file.map_or_else(|| datasource.clone(), |file| file.display().to_string()),
            "srs": self.srs.as_deref().unwrap_or("EPSG:4326"),
        });
        if let Some(condition) = &self.condition {
            written["where"] = condition.as_str().into();
        }
        Some(written)
    }

    /// The area, where one is wanted. Files are looked for from the current directory.
    pub(crate) fn coverage(&self, config: &Config) -> Result<Option<Coverage>, Failure> {
        let (option, datasource) = match (&self.bbox, &self.coverage) {
            (Some(bbox), _) => ("--bbox", bbox),
            (None, Some(coverage)) => ("--coverage", coverage),
            (None, None) if self.srs.is_some() => {
                return Err(Failure::new(MISTAKEN, "ERROR: --srs is that of --coverage or --bbox: neither is given"));
            }
            (None, None) => return Ok(None),
        };
        let mistake = |reason: &dyn fmt::Display| Failure::new(MISTAKEN, format_args!("ERROR: {option}: {reason}"));
        if self.bbox.is_some() && datasource.split(',').filter(|part| part.trim().parse::<f64>().is_ok()).count() != 4 {
            return Err(mistake(&"four numbers are needed: min x, min y, max x, max y"));
        }
        let written = self.written();
        let document = serde_json::json!({ "coverages": { "wanted": written } });
        let loaded = load_coverages_str(document.to_string(), Path::new(""), config);
        let Some(coverage) = loaded.coverages.get("wanted") else {
            return Err(mistake(&messages(&loaded.diagnostics)));
        };
        let (built, diagnostics) = mapproxy_core::coverage(config, coverage);
        let built = built.ok_or_else(|| mistake(&messages(&diagnostics)))?;
        if !diagnostics.is_empty() {
            eprintln(format_args!("WARN: {option}: {}", messages(&diagnostics)));
        }
        Ok(Some(built))
    }
}

/// What is wrong, without the place: nobody has written that file.
fn messages(diagnostics: &mapproxy_config::Diagnostics) -> String {
    let messages: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
    messages.join("; ")
}

/// Which caches, and in which grids.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CachesWanted {
    /// Only these caches, with commas between them [default: all]
    #[arg(long = "cache", visible_alias = "caches", value_name = "NAME", value_delimiter = ',')]
    pub(crate) caches: Vec<String>,
    /// Only in these grids, with commas between them [default: all of the caches]
    #[arg(long = "grid", visible_alias = "grids", value_name = "NAME", value_delimiter = ',')]
    pub(crate) grids: Vec<String>,
}

impl CachesWanted {
    /// Whether the cache called `cache` is wanted in the grid of this key.
    pub(crate) fn wants(&self, cache: &str, grid: &str) -> bool {
        let in_list = |list: &[String], name: &str| list.is_empty() || list.iter().any(|wanted| wanted == name);
        in_list(&self.caches, cache) && in_list(&self.grids, grid)
    }

    /// All names are those of caches, and of grids the caches have.
    pub(crate) fn check(&self, config: &Config) -> Result<(), Failure> {
        let names = |what: &str, name: &str, known: &[&str]| {
            Failure::new(MISTAKEN, format_args!("ERROR: {what} {name} not found. available: {}", known.join(",")))
        };
        let known: Vec<&str> = config.caches.keys().map(|name| &**name).collect();
        if let Some(unknown) = self.caches.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(names("cache", unknown, &known));
        }
        let caches = config
            .caches
            .values()
            .filter(|cache| self.caches.is_empty() || self.caches.iter().any(|name| *name == *cache.name));
        let mut known: Vec<&str> = caches.flat_map(|cache| cache.grids.iter()).map(|grid| &*grid.grid).collect();
        known.sort_unstable();
        known.dedup();
        match self.grids.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(names("grid", unknown, &known)),
            None => Ok(()),
        }
    }
}

/// Levels of a grid, ascending, each once; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels(Vec<u8>);

impl Levels {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The finest.
    pub(crate) fn last(&self) -> u8 {
        self.0.last().copied().unwrap_or_default()
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Levels, String> {
        let level = |part: &str| {
            let part = part.trim();
            part.parse::<u8>().map_err(|_| format!("'{part}' is no level: write numbers and ranges, such as 0..5,7"))
        };
        let mut levels = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                None => levels.push(level(part)?),
                Some((from, to)) => {
                    let (from, to) = (level(from)?, level(to)?);
                    if from > to {
                        return Err(format!("'{}' is empty: the smaller number comes first", part.trim()));
                    }
                    levels.extend(from..=to);
                }
            }
        }
        levels.sort_unstable();
        levels.dedup();
        Ok(Levels(levels))
    }
}

impl fmt::Display for Levels {
    /// As in `[0, 1, 2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "services: {tms: }\nlayers: [{name: l, title: l, sources: [a]}]\ncaches: {a: {sources: [], grids: \
                    [GLOBAL_GEODETIC]}, b: {sources: [], grids: [GLOBAL_WEBMERCATOR]}}";
        mapproxy_config::load_str(text, Path::new("")).config.unwrap()
    }

    #[test]
    fn levels_are_numbers_and_ranges() {
        let levels = |text: &str| text.parse::<Levels>().map(|levels| levels.0);
        assert_eq!(levels("3,1, 2"), Ok(vec![1, 2, 3]));
        assert_eq!(levels("0..3,2..4,7"), Ok(vec![0, 1, 2, 3, 4, 7]));
        for wrong in ["", "a", "1,,2", "..2", "1..", "3..1", "-1", "256", "1...3"] {
            assert!(levels(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_area_is_a_box_or_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a $HOME.geojson");
        let polygon = r#"{"type": "Polygon", "coordinates": [[[5, 50], [10, 50], [10, 55], [5, 50]]]}"#;
        std::fs::write(&file, polygon).unwrap();
        let of = |area: Area| area.coverage(&config());
        let bbox = |area: Area| of(area).unwrap().unwrap().extent().bbox.to_array();
        let text = |text: &str| Some(text.to_owned());
        assert!(of(Area::default()).unwrap().is_none());
        assert_eq!(bbox(Area { bbox: text("-5, 45,10,50"), ..Area::default() }), [-5.0, 45.0, 10.0, 50.0]);
        assert_eq!(bbox(Area { coverage: text("5,45,10,50"), ..Area::default() }), [5.0, 45.0, 10.0, 50.0]);
        let path = file.to_str().map(str::to_owned);
        assert_eq!(bbox(Area { coverage: path, ..Area::default() }), [5.0, 50.0, 10.0, 55.0]);
        for (area, reason) in [
            (Area { bbox: text("1,2,3"), ..Area::default() }, "--bbox: four numbers"),
            (Area { bbox: text("1,2,x,4"), ..Area::default() }, "--bbox: four numbers"),
            (Area { bbox: text("10,45,5,50"), ..Area::default() }, "--bbox: the bbox is empty"),
            (Area { bbox: text("5,45,10,50"), srs: text("EPSG:99"), ..Area::default() }, "EPSG:99"),
            (Area { coverage: text("/nowhere/a.wkt"), ..Area::default() }, "/nowhere/a.wkt"),
            (Area { srs: text("EPSG:4326"), ..Area::default() }, "neither"),
        ] {
            let failure = of(area).unwrap_err();
            assert!(failure.message.contains(reason), "{}", failure.message);
        }
    }

    #[test]
    fn caches_and_grids_are_named_or_all() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = |caches: &[&str], grids: &[&str]| CachesWanted { caches: list(caches), grids: list(grids) };
        assert!(wanted(&[], &[]).wants("a", "GLOBAL_GEODETIC"));
        assert!(!wanted(&["b"], &[]).wants("a", "GLOBAL_GEODETIC"));
        assert!(!wanted(&["a"], &["GLOBAL_WEBMERCATOR"]).wants("a", "GLOBAL_GEODETIC"));
        assert!(wanted(&["a", "b"], &["GLOBAL_GEODETIC"]).check(&config()).is_ok());
        let failure = wanted(&["c"], &[]).check(&config()).unwrap_err();
        assert_eq!(failure.message, "ERROR: cache c not found. available: a,b");
        let failure = wanted(&["a"], &["GLOBAL_WEBMERCATOR"]).check(&config()).unwrap_err();
        assert_eq!(failure.message, "ERROR: grid GLOBAL_WEBMERCATOR not found. available: GLOBAL_GEODETIC");
    }
}
