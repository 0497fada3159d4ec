//! The templates of a CouchDB cache: names of documents (`%(z)s-%(x)s-%(y)s`) and what else documents say (`{{x}}`).

use std::time::{SystemTime, UNIX_EPOCH};

use mapproxy_grid::{Srs, TileCoord, TileGrid};
use serde_json::{Map, Value};

/// Names the documents of tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TileId {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Number(Place, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    X,
    Y,
    Z,
}

impl TileId {
    /// MapProxy's own.
    pub(super) const DEFAULT: &str = "%(grid_name)s-%(z)s-%(x)s-%(y)s";

    /// Reads a template for a grid. An address before the name (`%(couch_url)s/`) is no part of the name.
    pub(super) fn parse(template: &str, grid: &str) -> Result<TileId, String> {
        let template = template.strip_prefix("%(couch_url)s/").unwrap_or(template);
        let mut parts = Vec::new();
        let (mut text, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, width, after) = placeholder(after)
                .ok_or_else(|| format!("%{after}: a placeholder is %(x)s, %(y)s, %(z)s or %(grid_name)s"))?;
            let place = match name {
                "grid_name" => {
                    text.push_str(grid);
                    None
                }
                "x" => Some(Place::X),
                "y" => Some(Place::Y),
                "z" => Some(Place::Z),
                other => return Err(format!("unknown placeholder %({other})s: there are x, y, z and grid_name")),
            };
            if let Some(place) = place {
                if text.is_empty() && matches!(parts.last(), Some(Part::Number(..))) {
                    return Err("two numbers need something between them".to_owned());
                }
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Number(place, width));
            }
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        for (place, name) in [(Place::X, "x"), (Place::Y, "y"), (Place::Z, "z")] {
            if !parts.iter().any(|part| matches!(part, Part::Number(own, _) if *own == place)) {
                return Err(format!("without %({name})s several tiles would be one document"));
            }
        }
        if matches!(parts.first(), Some(Part::Text(text)) if text.starts_with('_')) {
            return Err("names of documents that begin with _ are CouchDB's own".to_owned());
        }
        Ok(TileId { parts })
    }

    /// The name of a tile's document.
    pub(super) fn name(&self, TileCoord { x, y, z }: TileCoord) -> String {
        let mut name = String::with_capacity(40);
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Number(place, width) => {
                    let number = match place {
                        Place::X => x,
                        Place::Y => y,
                        Place::Z => u32::from(z),
                    };
                    name.push_str(&format!("{number:0width$}"));
                }
            }
        }
        name
    }

    /// What the names of all tiles of a level begin with; others may, too.
    pub(super) fn prefix(&self, level: u8) -> String {
        let mut prefix = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => prefix.push_str(text),
                Part::Number(Place::Z, width) => prefix.push_str(&format!("{level:0width$}", width = *width)),
                Part::Number(..) => break,
            }
        }
        prefix
    }

    /// What the names of all tiles begin with; others may, too.
    pub(super) fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The tile that a document of this name is of, and the directories of its dimensions.
    pub(super) fn tile_of<'a>(&self, name: &'a str) -> Option<(TileCoord, &'a str)> {
        let mut rest = name;
        let (mut x, mut y, mut z) = (None, None, None);
        for part in &self.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Number(place, _) => {
                    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
                    let (digits, after) = rest.split_at(end);
                    rest = after;
                    let slot = match place {
                        Place::X => &mut x,
                        Place::Y => &mut y,
                        Place::Z => &mut z,
                    };
                    let number = digits.parse::<u32>().ok()?;
                    if slot.is_some_and(|other| other != number) {
                        return None;
                    }
                    *slot = Some(number);
                }
            }
        }
        let coord = TileCoord::new(x?, y?, u8::try_from(z?).ok()?);
        let own = &name[..name.len() - rest.len()];
        let dimensions = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
        // Zeros before a number make another name.
        (self.name(coord) == own).then_some((coord, dimensions))
    }

    /// Whether this is the name of a tile of the level, of whatever dimensions.
    pub(super) fn is_of_level(&self, name: &str, level: u8) -> bool {
        self.tile_of(name).is_some_and(|(coord, _)| coord.z == level)
    }
}

/// What follows a `%`: name, width of the number, rest.
fn placeholder(text: &str) -> Option<(&str, usize, &str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    let end = after.find(|letter: char| !letter.is_ascii_digit())?;
    let (width, after) = after.split_at(end);
    let width = match width {
        "" => 0,
        // Padding with anything but zeros is for tables.
        width => width.strip_prefix('0')?.parse().ok().filter(|width| *width <= 20)?,
    };
    let after = after.strip_prefix(['s', 'd', 'i'])?;
    Some((name, width, after))
}

/// What documents say besides their tile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metadata {
    entries: Vec<(String, Entry)>,
    /// The key of the time of storing.
    time: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Constant(Value),
    Timestamp,
    X,
    Y,
    Z,
    UtcIso,
    Centroid,
    WgsCentroid,
}

impl Metadata {
    pub(super) fn parse(template: &[(String, Value)]) -> Result<Metadata, String> {
        let mut entries = Vec::with_capacity(template.len() + 1);
        for (key, value) in template {
            if key.starts_with('_') {
                return Err(format!("{key}: keys that begin with _ are CouchDB's own"));
            }
            let name = value.as_str().and_then(|text| text.strip_prefix("{{")?.strip_suffix("}}"));
            let entry = match name {
                None => Entry::Constant(value.clone()),
                Some("timestamp") => Entry::Timestamp,
                Some("x") => Entry::X,
                Some("y") => Entry::Y,
                Some("z" | "level") => Entry::Z,
                Some("utc_iso") => Entry::UtcIso,
                Some("tile_centroid") => Entry::Centroid,
                Some("wgs_tile_centroid") => Entry::WgsCentroid,
                Some(other) => {
                    return Err(format!(
                        "{key}: unknown '{{{{{other}}}}}': there are x, y, z, level, timestamp, utc_iso, tile_centroid and wgs_tile_centroid"
                    ));
                }
            };
            entries.push((key.clone(), entry));
        }
        let time = match entries.iter().find(|(_, entry)| *entry == Entry::Timestamp) {
            Some((key, _)) => key.clone(),
            None => {
                entries.retain(|(key, _)| key != "timestamp");
                entries.push(("timestamp".to_owned(), Entry::Timestamp));
                "timestamp".to_owned()
            }
        };
        Ok(Metadata { entries, time })
    }

    /// Key of the time of storing.
    pub(super) fn time(&self) -> &str {
        &self.time
    }

    /// The document of a tile stored at `now`, without the tile.
    pub(super) fn document(&self, tile: TileCoord, grid: &TileGrid, now: SystemTime) -> Map<String, Value> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let centroid = || {
            let bbox = grid.tile_bbox(tile);
            ((bbox.min_x + bbox.max_x) / 2.0, (bbox.min_y + bbox.max_y) / 2.0)
        };
        let value = |entry: &Entry| match entry {
            Entry::Constant(value) => value.clone(),
            Entry::Timestamp => since.as_secs_f64().into(),
            Entry::X => tile.x.into(),
            Entry::Y => tile.y.into(),
            Entry::Z => tile.z.into(),
            Entry::UtcIso => {
                let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                jiff::Timestamp::from_second(second).map_or(Value::Null, |time| time.to_string().into())
            }
            Entry::Centroid => point(centroid()),
            Entry::WgsCentroid => {
                let mut points = [centroid()];
                match grid.srs().transform_points(&Srs::wgs84(), &mut points) {
                    Ok(()) => point(points[0]),
                    Err(_) => Value::Null,
                }
            }
        };
        self.entries.iter().map(|(key, entry)| (key.clone(), value(entry))).collect()
    }
}

fn point((x, y): (f64, f64)) -> Value {
    Value::from(vec![x, y])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::testkit::grid;

    const TILE: TileCoord = TileCoord::new(5, 12, 4);

    #[test]
    fn names_are_mapproxys() {
        let id = TileId::parse(TileId::DEFAULT, "global-webmarcator").unwrap();
        assert_eq!(id.name(TILE), "global-webmarcator-4-5-12");
        assert_eq!(id.prefix(4), "global-webmarcator-4-");
    }

    #[test]
    fn templates_are_pythons() {
        let name = |template: &str| TileId::parse(template, "g").map(|id| id.name(TILE));
        assert_eq!(name("%(couch_url)s/%(z)d/ä%(x)03d 100%% %(y)i").unwrap(), "4/ä005 100% 12");
        for (wrong, told) in [
            ("%(z)s-%(x)s", "%(y)s"),
            ("%(z)s%(x)s-%(y)s", "between"),
            ("%(z)s-%(x)s-%(y)s-%(w)s", "%(w)s"),
            ("%(z)s-%(x)s-%(y)", "placeholder"),
            ("%(z)s-%(x)s-%(y)s-%d", "placeholder"),
            ("%(z)s-%(x)s-%(y)99999999999999999999d", "placeholder"),
            ("_%(z)s-%(x)s-%(y)s", "own"),
        ] {
            let error = name(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn names_of_a_level_are_known_from_others() {
        let id = TileId::parse(TileId::DEFAULT, "g").unwrap();
        for (name, level, expected) in [
            ("g-4-5-12", 4, true),
            ("g-4-5-12/time-2020", 4, true),
            ("g-4-5-12", 5, false),
            ("g-4-5-12-1", 4, false),
            ("g-4-5", 4, false),
            ("g-4-4-5-12", 4, false),
            ("h-4-5-12", 4, false),
        ] {
            assert_eq!(id.is_of_level(name, level), expected, "{name}");
        }
        let late = TileId::parse("%(x)s/%(y)s/%(z)02d", "g").unwrap();
        assert_eq!(late.prefix(4), "");
        assert!(late.is_of_level("1/2/04", 4) && !late.is_of_level("4/4/05", 4));
    }

    #[test]
    fn metadata_is_filled_in_and_has_a_time_in_any_case() {
        let template = [
            ("row", json!("{{y}}")),
            ("column", json!("{{x}}")),
            ("zoom", json!("{{level}}")),
            ("time", json!("{{timestamp}}")),
            ("utc", json!("{{utc_iso}}")),
            ("centre", json!("{{tile_centroid}}")),
            ("wgs", json!("{{wgs_tile_centroid}}")),
            ("same", json!("a {{x}} b")),
            ("list", json!([1, 2])),
        ];
        let template = template.map(|(key, value)| (key.to_owned(), value));
        let metadata = Metadata::parse(&template).unwrap();
        assert_eq!(metadata.time(), "time");
        let now = UNIX_EPOCH + Duration::from_millis(1_795_371_945_250);
        let document = metadata.document(TILE, &grid(), now);
        assert_eq!(document["row"], 12);
        assert_eq!(document["column"], 5);
        assert_eq!(document["zoom"], 4);
        assert_eq!(document["time"], 1_795_371_945.25);
        assert_eq!(document["utc"], "2026-11-22T18:25:45Z");
        assert_eq!(document["same"], "a {{x}} b");
        assert_eq!(document["list"], json!([1, 2]));
        let number = |key: &str, place: usize| document[key][place].as_f64().unwrap();
        assert!((number("centre", 0) + 6_261_721.357).abs() < 0.01, "{document:?}");
        assert!((number("wgs", 0) + 56.25).abs() < 1e-9 && (number("wgs", 1).abs() - 70.612_614).abs() < 1e-6);
        assert!(document.get("timestamp").is_none());

        let plain = Metadata::parse(&[]).unwrap();
        assert_eq!(plain.time(), "timestamp");
        assert_eq!(plain.document(TILE, &grid(), now).len(), 1);
    }

    #[test]
    fn unknown_words_and_reserved_keys_are_told() {
        let parse = |key: &str, value: Value| Metadata::parse(&[(key.to_owned(), value)]).unwrap_err();
        assert!(parse("a", json!("{{foo}}")).contains("{{foo}}"));
        assert!(parse("_id", json!(1)).contains("_id"));
    }
}
