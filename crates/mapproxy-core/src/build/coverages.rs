//! Coverages: shapes in the configuration and in files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use mapproxy_config::Origin;
use mapproxy_config::checked::{self, CoverageFile, CoverageShape};
use mapproxy_grid::{Bbox, Coverage, CoverageError, Srs, TileCoord};
use mapproxy_polygons::{Datasource, Format, Found};

use super::Parts;

/// Why there is no coverage.
pub(super) enum NoCoverage {
    /// It cannot be built, and that has been told.
    Told,
    /// It has no area: where that was written, and how to say it.
    Empty(Origin, String),
}

impl Parts<'_> {
    /// The coverage, where there is one. `Err(())`: it cannot be built, and that has been told.
    pub(super) fn coverage(&self, config: Option<&checked::Coverage>) -> Result<Option<Coverage>, ()> {
        let built = |config| match self.build_coverage(config) {
            Ok(coverage) => Ok(coverage),
            Err(NoCoverage::Told) => Err(()),
            Err(NoCoverage::Empty(at, message)) => self.error(&at, message).ok_or(()),
        };
        config.map(built).transpose()
    }

    /// The coverage, which may be empty.
    pub(super) fn build_coverage(&self, config: &checked::Coverage) -> Result<Coverage, NoCoverage> {
        use NoCoverage::Told;
        let parts = |parts: &[checked::Coverage]| -> Result<Vec<Coverage>, NoCoverage> {
            parts.iter().map(|part| self.build_coverage(part)).collect()
        };
        let built = match &config.shape {
            CoverageShape::Bbox { bbox: [min_x, min_y, max_x, max_y], srs } => {
                let bbox = Bbox::new(*min_x, *min_y, *max_x, *max_y);
                Ok(Coverage::from_bbox(bbox, self.srs(srs, &config.at).ok_or(Told)?))
            }
            CoverageShape::Polygons { path, format, srs, condition } => {
                let srs = self.srs(srs, &config.at).ok_or(Told)?;
                let format = match format {
                    CoverageFile::Wkt => None,
                    CoverageFile::GeoJson => Some(Format::GeoJson),
                    CoverageFile::Shapefile => Some(Format::Shapefile),
                    CoverageFile::GeoPackage => Some(Format::GeoPackage),
                    CoverageFile::FlatGeobuf => Some(Format::FlatGeobuf),
                };
                return match format {
                    None => match std::fs::read_to_string(path) {
                        Ok(text) => self.read_from(config, path.display(), Coverage::from_wkt(&text, srs)),
                        Err(error) => {
                            self.error(&config.at, format!("cannot read {}: {error}", path.display())).ok_or(Told)
                        }
                    },
                    Some(format) => {
                        self.features(config, path.display(), Datasource::File(path, format), condition.as_deref(), srs)
                    }
                };
            }
            CoverageShape::Ogr { datasource, srs, condition } => {
                let srs = self.srs(srs, &config.at).ok_or(Told)?;
                // What is written there may hold a password.
                let name = "the data source";
                return self.features(config, name, Datasource::Ogr(datasource.name()), condition.as_deref(), srs);
            }
            CoverageShape::ExpiredTiles { path } => {
                let tiles = self.expired_tiles(path, &config.at).ok_or(Told)?;
                return self.read_from(config, path.display(), Coverage::from_mercator_tiles(&tiles));
            }
            CoverageShape::Union(list) => Coverage::union(&parts(list)?),
            CoverageShape::Intersection(list) => Coverage::intersection(&parts(list)?),
            CoverageShape::Difference(list) => Coverage::difference(&parts(list)?),
        };
        match built {
            Ok(coverage) => Ok(coverage.with_clip(config.clip)),
            Err(error @ CoverageError::Empty) => Err(NoCoverage::Empty(config.at.clone(), error.to_string())),
            Err(error) => self.error(&config.at, error).ok_or(Told),
        }
    }

    /// What was read of a file, with what there is to be said of it.
    fn read_from(
        &self,
        config: &checked::Coverage,
        name: impl std::fmt::Display,
        read: Result<Coverage, CoverageError>,
    ) -> Result<Coverage, NoCoverage> {
        match read {
            Ok(coverage) => {
                self.tell_of_others(&config.at, &name, coverage.skipped());
                Ok(coverage.with_clip(config.clip))
            }
            Err(CoverageError::Empty) => Err(NoCoverage::Empty(config.at.clone(), format!("{name}: no polygons"))),
            Err(error) => self.error(&config.at, format!("{name}: {error}")).ok_or(NoCoverage::Told),
        }
    }

    fn features(
        &self,
        config: &checked::Coverage,
        name: impl std::fmt::Display,
        source: Datasource<'_>,
        condition: Option<&str>,
        srs: Srs,
    ) -> Result<Coverage, NoCoverage> {
        let coverage = match mapproxy_polygons::read(source, condition) {
            Err(error) => return self.error(&config.at, error).ok_or(NoCoverage::Told),
            Ok(Found::GeoJson(text)) => Coverage::from_geojson(&text, srs),
            Ok(Found::Polygons { polygons, skipped }) => {
                self.tell_of_others(&config.at, &name, &skipped);
                Coverage::from_polygons(&polygons, srs)
            }
        };
        match (condition, coverage) {
            (Some(condition), Err(CoverageError::Empty)) => {
                let message = format!("{name}: no polygons for which `{condition}`");
                Err(NoCoverage::Empty(config.at.clone(), message))
            }
            (_, coverage) => self.read_from(config, name, coverage),
        }
    }

    fn tell_of_others(&self, at: &Origin, name: impl std::fmt::Display, kinds: &[String]) {
        if !kinds.is_empty() {
            self.warning(at, format!("{name}: what is no polygon is left out ({})", kinds.join(", ")));
        }
    }

    /// `z/x/y` a line, in a file or in all files of a directory and those below it.
    fn expired_tiles(&self, path: &Path, at: &Origin) -> Option<Vec<TileCoord>> {
        let lists = match lists_in(path) {
            Ok(lists) => lists,
            Err(error) => return self.error(at, format!("cannot read {}: {error}", path.display())),
        };
        let mut tiles = Vec::new();
        for list in lists {
            match read_tiles(&list, &mut tiles) {
                Ok(None) => {}
                Ok(Some(line)) => {
                    let message = format!(
                        "{}:{line}: no tile of the form z/x/y: the rest of the list is not used",
                        list.display()
                    );
                    self.warning(at, message);
                }
                Err(error) => return self.error(at, format!("cannot read {}: {error}", list.display())),
            }
        }
        Some(tiles)
    }
}

/// The file, or all files in a directory, but not behind symbolic links to others, which might lead in a circle.
fn lists_in(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut directories, mut lists) = (vec![path.to_owned()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => directories.push(entry.path()),
                _ if entry.path().is_file() => lists.push(entry.path()),
                _ => {}
            }
        }
    }
    lists.sort();
    Ok(lists)
}

/// Adds the tiles of a list; the number of the line that is none, if there is one, where reading ends. Blank lines are
/// passed over.
fn read_tiles(list: &Path, tiles: &mut Vec<TileCoord>) -> std::io::Result<Option<u64>> {
    const LONGEST_LINE: u64 = 100;
    let mut file = BufReader::with_capacity(1 << 16, File::open(list)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match tile(text) {
            Some(tile) => tiles.push(tile),
            None => return Ok(Some(number)),
        }
    }
    Ok(None)
}

fn tile(text: &[u8]) -> Option<TileCoord> {
    let mut numbers = std::str::from_utf8(text).ok()?.split('/').map(|number| number.trim().parse::<u32>().ok());
    let (z, x, y) = (numbers.next()??, numbers.next()??, numbers.next()??);
    // Deeper ones are less than a hand wide.
    let z = u8::try_from(z).ok().filter(|z| *z <= 30)?;
    (numbers.next().is_none() && x >> z == 0 && y >> z == 0).then_some(TileCoord::new(x, y, z))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_up_to_a_line_that_is_no_tile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut tiles = Vec::new();
            (read_tiles(&path, &mut tiles).unwrap(), tiles)
        };
        let tile = |z, x, y| TileCoord::new(x, y, z);
        assert_eq!(read(""), (None, vec![]));
        assert_eq!(read("3/4/2"), (None, vec![tile(3, 4, 2)]));
        assert_eq!(read(" 3/4/2 \r\n\n0/0/0\n"), (None, vec![tile(3, 4, 2), tile(0, 0, 0)]));
        for wrong in
            ["foo", "3/4", "3/4/2/1", "3/4/2.png", "-1/0/0", "2/4/0", "2/0/4", "31/0/0", &"3".repeat(500), "3/4/é"]
        {
            assert_eq!(read(&format!("2/1/1\n{wrong}\n2/0/0\n")), (Some(2), vec![tile(2, 1, 1)]), "{wrong}");
        }
    }

    #[test]
    fn all_lists_of_a_directory_are_found_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        for list in ["z", "a/one", "a/b/two"] {
            std::fs::write(path(list), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(directory.path(), path("a/b/round")).unwrap();
        assert_eq!(lists_in(directory.path()).unwrap(), [path("a/b/two"), path("a/one"), path("z")]);
        assert_eq!(lists_in(&path("z")).unwrap(), [path("z")]);
    }
}
