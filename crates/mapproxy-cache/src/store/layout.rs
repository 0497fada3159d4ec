//! Names of tile files: MapProxy's six directory layouts.
//!
//! Columns, rows and levels are the grid's own, counted from its origin. Dimension values become directories above the
//! tile's: `elevation-3000/time-2012-11-12T01:00:00Z/01/…`, sorted by name, `dim_…` last.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mapproxy_grid::TileCoord;
use mapproxy_map::Dimensions;

use super::visit::Cells;
use crate::TileKey;

/// A directory layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// TileCache: `01/000/000/001/000/000/002.png`.
    #[default]
    Tc,
    /// MapProxy: `01/0000/0001/0000/0002.png`.
    Mp,
    /// TMS: `1/1/2.png`.
    Tms,
    /// Row first: `2/1/1.png`.
    ReverseTms,
    /// One directory, named by quad key; the only tile of level 0 is `.png`.
    Quadkey,
    /// ArcGIS exploded: `L01/R00000002/C00000001.png`, hexadecimal.
    Arcgis,
}

/// A dimension value that cannot be a directory, such as one that leads out of the cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dimension {name}={value:?} cannot be part of a path")]
pub struct InvalidDimension {
    /// Name of the dimension.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedPath<'a> {
    /// The tile.
    pub coord: TileCoord,
    /// Directories of the dimensions, without slashes around; empty for tiles without dimensions.
    pub dimensions: &'a str,
}

impl Layout {
    /// The layout called `name` in configurations.
    pub fn from_name(name: &str) -> Option<Layout> {
        Some(match name {
            "tc" => Layout::Tc,
            "mp" => Layout::Mp,
            "tms" => Layout::Tms,
            "reverse_tms" => Layout::ReverseTms,
            "quadkey" => Layout::Quadkey,
            "arcgis" => Layout::Arcgis,
            _ => return None,
        })
    }

    /// The file of a tile below `directory`.
    pub fn path(self, directory: &Path, key: &TileKey, extension: &str) -> Result<PathBuf, InvalidDimension> {
        let mut path = OsString::with_capacity(directory.as_os_str().len() + extension.len() + 40);
        path.push(directory);
        if !path.is_empty() {
            path.push("/");
        }
        if !key.dimensions.is_empty() {
            push_dimensions(&mut path, &key.dimensions)?;
        }
        self.push_tile(&mut path, key.coord);
        path.push(".");
        path.push(extension);
        Ok(path.into())
    }

    /// The tile that a path (relative to the cache's directory) belongs to; `None` for anything that [`Layout::path`]
    /// does not make: temporary files, other extensions, `single_color_tiles`.
    pub fn parse<'a>(self, relative: &'a str, extension: &str) -> Option<ParsedPath<'a>> {
        let stem = relative.strip_suffix(extension)?.strip_suffix('.')?;
        let mut parts = stem.rsplit('/');
        let mut digits =
            |radix: u32, prefix: &str| u32::from_str_radix(parts.next()?.strip_prefix(prefix)?, radix).ok();
        let coord = match self {
            Layout::Tc => {
                let (y0, y3, y6) = (digits(10, "")?, digits(10, "")?, digits(10, "")?);
                let (x0, x3, x6) = (digits(10, "")?, digits(10, "")?, digits(10, "")?);
                let whole = |millions: u32, thousands: u32, ones: u32| {
                    millions.checked_mul(1_000_000)?.checked_add(thousands.checked_mul(1000)?)?.checked_add(ones)
                };
                TileCoord::new(whole(x6, x3, x0)?, whole(y6, y3, y0)?, digits(10, "")?.try_into().ok()?)
            }
            Layout::Mp => {
                let (y0, y4, x0, x4) = (digits(10, "")?, digits(10, "")?, digits(10, "")?, digits(10, "")?);
                let whole = |high: u32, low: u32| high.checked_mul(10_000)?.checked_add(low);
                TileCoord::new(whole(x4, x0)?, whole(y4, y0)?, digits(10, "")?.try_into().ok()?)
            }
            Layout::Tms => {
                let (y, x) = (digits(10, "")?, digits(10, "")?);
                TileCoord::new(x, y, digits(10, "")?.try_into().ok()?)
            }
            Layout::ReverseTms => {
                let (z, x) = (digits(10, "")?, digits(10, "")?);
                TileCoord::new(x, digits(10, "")?, z.try_into().ok()?)
            }
            Layout::Quadkey => from_quadkey(parts.next()?)?,
            Layout::Arcgis => {
                let (x, y) = (digits(16, "C")?, digits(16, "R")?);
                TileCoord::new(x, y, digits(10, "L")?.try_into().ok()?)
            }
        };
        let mut exact = OsString::new();
        self.push_tile(&mut exact, coord);
        let above = stem.strip_suffix(exact.to_str()?)?;
        let dimensions = if above.is_empty() { above } else { above.strip_suffix('/')? };
        let is_dimensions = dimensions.is_empty() || dimensions.split('/').next()?.contains('-');
        is_dimensions.then_some(ParsedPath { coord, dimensions })
    }

    /// The level of all tiles in a folder (relative to the cache's directory); `None` if there may be tiles of several
    /// levels, or if it is no folder of a level.
    pub fn level_of_folder(self, relative: &str) -> Option<u8> {
        let name = relative.rsplit('/').next()?;
        let number = match self {
            Layout::Tc | Layout::Mp => Some(name).filter(|name| name.len() >= 2)?,
            Layout::Tms => name,
            Layout::Arcgis => name.strip_prefix('L')?,
            Layout::ReverseTms | Layout::Quadkey => return None,
        };
        // Directories above a level's are those of dimensions, which have a hyphen.
        let above_are_dimensions = relative.split('/').rev().skip(1).all(|above| above.contains('-'));
        let is_number = above_are_dimensions && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| number.parse().ok()).flatten()
    }

    /// The name of the folder that has all tiles of a level.
    pub fn level_folder(self, level: u8) -> Option<String> {
        match self {
            Layout::Tc | Layout::Mp => Some(format!("{level:02}")),
            Layout::Tms => Some(level.to_string()),
            Layout::Arcgis => Some(format!("L{level:02}")),
            Layout::ReverseTms | Layout::Quadkey => None,
        }
    }

    /// A folder may have tiles of these columns and rows; `below` is its path from the folder of its level.
    pub(crate) fn may_hold(self, below: &str, cells: &Cells) -> bool {
        const ALL: (u32, u32) = (0, u32::MAX);
        // Numbers in decimal groups, of which the first ones are known.
        let grouped = |known: &[u32], groups: usize, base: u32| {
            // The first group may have any number of digits.
            if known.is_empty() {
                return ALL;
            }
            let (mut first, mut count) = (0_u64, 1_u64);
            for group in 0..groups {
                first = first * u64::from(base) + u64::from(known.get(group).copied().unwrap_or(0));
                if group >= known.len() {
                    count = count.saturating_mul(u64::from(base));
                }
            }
            let clamp = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            (clamp(first), clamp(first.saturating_add(count - 1)))
        };
        let parts = below.split('/').filter(|part| !part.is_empty());
        let (radix, prefix) = if self == Layout::Arcgis { (16, "R") } else { (10, "") };
        let numbers: Option<Vec<u32>> =
            parts.map(|part| u32::from_str_radix(part.strip_prefix(prefix)?, radix).ok()).collect();
        let Some(numbers) = numbers else { return true };
        let columns_and_rows = |groups: usize, base: u32| {
            let (columns, rows) = numbers.split_at(numbers.len().min(groups));
            (grouped(columns, groups, base), grouped(rows, groups, base))
        };
        let (columns, rows) = match self {
            Layout::Tc => columns_and_rows(3, 1000),
            Layout::Mp => columns_and_rows(2, 10_000),
            Layout::Tms => columns_and_rows(1, u32::MAX),
            Layout::Arcgis => (ALL, numbers.first().map_or(ALL, |row| (*row, *row))),
            Layout::ReverseTms | Layout::Quadkey => (ALL, ALL),
        };
        cells.meets(columns, rows)
    }

    fn push_tile(self, path: &mut OsString, TileCoord { x, y, z }: TileCoord) {
        match self {
            Layout::Tc => write!(
                path,
                "{z:02}/{:03}/{:03}/{:03}/{:03}/{:03}/{:03}",
                x / 1_000_000,
                x / 1000 % 1000,
                x % 1000,
                y / 1_000_000,
                y / 1000 % 1000,
                y % 1000
            ),
            Layout::Mp => {
                write!(path, "{z:02}/{:04}/{:04}/{:04}/{:04}", x / 10_000, x % 10_000, y / 10_000, y % 10_000)
            }
            Layout::Tms => write!(path, "{z}/{x}/{y}"),
            Layout::ReverseTms => write!(path, "{y}/{x}/{z}"),
            Layout::Quadkey => (0..z).rev().try_for_each(|bit| write!(path, "{}", bit_at(x, bit) + 2 * bit_at(y, bit))),
            Layout::Arcgis => write!(path, "L{z:02}/R{y:08x}/C{x:08x}"),
        }
        .expect("writing to memory cannot fail");
    }
}

fn bit_at(number: u32, bit: u8) -> u32 {
    number.checked_shr(u32::from(bit)).unwrap_or(0) & 1
}

fn from_quadkey(key: &str) -> Option<TileCoord> {
    if key.len() > 32 {
        return None;
    }
    let (mut x, mut y) = (0, 0);
    for digit in key.bytes() {
        let digit = u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 4)?);
        (x, y) = (x << 1 | digit & 1, y << 1 | digit >> 1);
    }
    Some(TileCoord::new(x, y, key.len() as u8))
}

/// The directories of dimension values, each followed by a slash; empty without dimensions.
pub(crate) fn dimension_directories(dimensions: &[(String, String)]) -> Result<OsString, InvalidDimension> {
    let mut path = OsString::new();
    push_dimensions(&mut path, dimensions)?;
    Ok(path)
}

fn push_dimensions(path: &mut OsString, dimensions: &[(String, String)]) -> Result<(), InvalidDimension> {
    let mut sorted: Vec<_> = dimensions.iter().collect();
    sorted.sort_by_key(|(name, _)| (is_other(name), name));
    for (name, value) in sorted {
        if !is_safe(name, value) {
            return Err(InvalidDimension { name: name.clone(), value: value.clone() });
        }
        write!(path, "{name}-{value}/").expect("writing to memory cannot fail");
    }
    Ok(())
}

/// The dimension values that directories name: what [`dimension_directories`] makes those of. What begins with no name, or
/// with one out of order, belongs to the value before.
pub(crate) fn dimensions_of(directories: &str) -> Dimensions {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        let named = part.split_once('-').filter(|(name, _)| {
            let is_name = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
            let follows = |last: &str| (is_other(last), last) < (is_other(name), *name);
            is_name && found.last().is_none_or(|(last, _)| follows(last))
        });
        match (named, found.last_mut()) {
            (Some((name, value)), _) => found.push((name.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push('/');
                value.push_str(part);
            }
            (None, None) => {
                let (name, value) = part.split_once('-').unwrap_or((part, ""));
                found.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    found.sort();
    found.into()
}

fn is_other(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("dim_"))
}

/// Intervals have slashes (`2012-01-01/2012-12-31`) and so become several directories; nothing else may move about.
fn is_safe(name: &str, value: &str) -> bool {
    let directories = format!("{name}-{value}");
    !name.is_empty()
        && !directories.contains("..")
        && !directories.contains(char::is_control)
        && directories.split('/').all(|directory| !directory.is_empty() && directory != ".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Layout; 6] = [Layout::Tc, Layout::Mp, Layout::Tms, Layout::ReverseTms, Layout::Quadkey, Layout::Arcgis];

    fn with_dimensions(dimensions: &[(&str, &str)]) -> TileKey {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TileKey { coord: TileCoord::new(1, 2, 3), dimensions }
    }

    fn path(layout: Layout, key: &TileKey) -> String {
        layout.path(Path::new("/tiles"), key, "png").unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn paths_are_mapproxys() {
        let key = TileKey::new(TileCoord::new(12345, 67890, 12));
        assert_eq!(path(Layout::Tc, &key), "/tiles/12/000/012/345/000/067/890.png");
        assert_eq!(path(Layout::Mp, &key), "/tiles/12/0001/2345/0006/7890.png");
        assert_eq!(path(Layout::Tms, &key), "/tiles/12/12345/67890.png");
        assert_eq!(path(Layout::ReverseTms, &key), "/tiles/67890/12345/12.png");
        assert_eq!(path(Layout::Quadkey, &key), "/tiles/200200331021.png");
        assert_eq!(path(Layout::Arcgis, &key), "/tiles/L12/R00010932/C00003039.png");
    }

    #[test]
    fn the_quad_key_of_the_whole_world_is_empty() {
        assert_eq!(path(Layout::Quadkey, &TileKey::new(TileCoord::new(0, 0, 0))), "/tiles/.png");
    }

    #[test]
    fn small_numbers_are_padded_as_in_mapproxy() {
        let key = TileKey::new(TileCoord::new(1, 2, 3));
        assert_eq!(path(Layout::Tc, &key), "/tiles/03/000/000/001/000/000/002.png");
        assert_eq!(path(Layout::Mp, &key), "/tiles/03/0000/0001/0000/0002.png");
        assert_eq!(path(Layout::Tms, &key), "/tiles/3/1/2.png");
    }

    #[test]
    fn dimensions_are_directories_sorted_by_name_with_others_last() {
        let key = with_dimensions(&[("dim_a", "x"), ("time", "2012-11-12T01:00:00Z"), ("elevation", "3000")]);
        assert_eq!(path(Layout::Tms, &key), "/tiles/elevation-3000/time-2012-11-12T01:00:00Z/dim_a-x/3/1/2.png");
    }

    #[test]
    fn dimensions_that_move_about_are_refused() {
        for value in ["..", "../..", "a/../b", "a//b", "a/./b", "a/", "a\0b", "a\nb"] {
            let error = Layout::Tc.path(Path::new("/tiles"), &with_dimensions(&[("time", value)]), "png");
            assert!(error.is_err(), "{value:?} was accepted: {error:?}");
        }
        let name = with_dimensions(&[("../time", "1")]);
        assert!(Layout::Tc.path(Path::new("/tiles"), &name, "png").is_err());
    }

    #[test]
    fn an_interval_becomes_several_directories() {
        let key = with_dimensions(&[("time", "2012-01-01/2012-12-31/P1D")]);
        let relative = "time-2012-01-01/2012-12-31/P1D/3/1/2.png";
        assert_eq!(path(Layout::Tms, &key), format!("/tiles/{relative}"));
        let parsed = Layout::Tms.parse(relative, "png").unwrap();
        assert_eq!((parsed.coord, parsed.dimensions), (key.coord, "time-2012-01-01/2012-12-31/P1D"));
    }

    #[test]
    fn dimensions_are_told_from_directories() {
        for dimensions in [
            &[("elevation", "3000"), ("time", "2012-11-12T01:00:00Z"), ("dim_a", "x")][..],
            &[("time", "2012-01-01/2012-12-31/P1D")],
            &[("elevation", ""), ("time", "a/b/c")],
            &[],
        ] {
            let key = with_dimensions(dimensions);
            let directories = dimension_directories(&key.dimensions).unwrap().into_string().unwrap();
            let mut sorted: Vec<_> = key.dimensions.to_vec();
            sorted.sort();
            assert_eq!(*dimensions_of(&directories), *sorted, "{directories}");
        }
    }

    #[test]
    fn folders_beside_the_wanted_tiles_are_left_out() {
        let cells = Cells { min_x: 1_002_003, min_y: 5, max_x: 1_002_010, max_y: 1_000_000 };
        for (layout, inside, outside) in [
            (Layout::Tc, "001/002/007/000", "001/003"),
            (Layout::Tc, "", "001/002/011"),
            (Layout::Tc, "001/002/003/001/000", "001/002/003/001/001"),
            (Layout::Mp, "0100/2003", "0101"),
            (Layout::Tms, "1002003", "1002011"),
            (Layout::Arcgis, "R00000005", "R00000004"),
        ] {
            assert!(layout.may_hold(inside, &cells) && !layout.may_hold(outside, &cells), "{inside} {outside}");
        }
    }

    #[test]
    fn files_of_others_are_no_tiles() {
        for name in ["single_color_tiles/ff0105.png", "3/1/2.jpeg", "3/1/02.png", "3/1/2.png.tmp-x", "3/1/2/.png", "x"]
        {
            assert_eq!(Layout::Tms.parse(name, "png"), None, "{name}");
        }
        assert_eq!(Layout::Tms.parse("300/1/2.png", "png"), None);
        assert_eq!(Layout::Tc.parse("03/000/000/001/000/002.png", "png"), None);
        assert_eq!(Layout::Quadkey.parse("0124.png", "png"), None);
    }

    proptest! {
        #[test]
        fn a_path_leads_back_to_its_tile(
            x in any::<u32>(), y in any::<u32>(), z in 0..33_u8, time in "[a-zA-Z0-9:]{1,20}", dated in any::<bool>(),
        ) {
            let key = if dated { with_dimensions(&[("time", &time)]) } else { with_dimensions(&[]) };
            for layout in ALL {
                let mask = |n: u32| if layout == Layout::Quadkey { (u64::from(n) & ((1 << z) - 1)) as u32 } else { n };
                let key = TileKey { coord: TileCoord::new(mask(x), mask(y), z), ..key.clone() };
                let path = layout.path(Path::new(""), &key, "png").unwrap();
                let parsed = layout.parse(path.to_str().unwrap(), "png").unwrap();
                prop_assert_eq!(parsed.coord, key.coord);
                let expected = if dated { format!("time-{time}") } else { String::new() };
                prop_assert_eq!(parsed.dimensions, expected);
            }
        }

        #[test]
        fn a_folder_holds_the_tiles_below_it(
            x in any::<u32>(), y in any::<u32>(), z in 0..33_u8, around in 0..3_u32, cut in 0..8_usize,
        ) {
            for layout in ALL {
                let path = layout.path(Path::new(""), &TileKey::new(TileCoord::new(x, y, z)), "png").unwrap();
                let path = path.to_str().unwrap();
                // Without its level and its file, and cut somewhere.
                let folders: Vec<&str> = path.split('/').skip(1).collect();
                let kept = cut.min(folders.len().saturating_sub(1));
                let cells = Cells {
                    min_x: x.saturating_sub(around), min_y: y.saturating_sub(around), max_x: x, max_y: y,
                };
                prop_assert!(layout.may_hold(&folders[..kept].join("/"), &cells), "{path}");
            }
        }

        #[test]
        fn directories_of_dimensions_lead_to_themselves(text in "[a-z0-9_/-]{0,30}") {
            let dimensions = dimensions_of(&text);
            if let Ok(directories) = dimension_directories(&dimensions) {
                let directories = directories.into_string().unwrap();
                prop_assert_eq!(dimensions_of(&directories), dimensions);
            }
        }

        #[test]
        fn parsing_never_fails_hard(text in ".{0,40}", numbers in "[0-9/LRC.png]{0,60}") {
            for layout in ALL {
                layout.parse(&text, "png");
                layout.parse(&numbers, "png");
            }
        }
    }
}
