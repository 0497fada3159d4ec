//! Walks through a directory of tiles. Folders that are links are not entered: what they lead to is somewhere else.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mapproxy_grid::TileCoord;
use mapproxy_map::Dimensions;

use super::{FileStore, SINGLE_COLOR_TILES, failed};
use crate::TileKey;
use crate::fs::{is_being_removed, temporary_of};
use crate::lock::TILE_LOCKS;
use crate::store::layout::{Layout, ParsedPath, dimensions_of};
use crate::store::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, ended, show};
use crate::store::{StoreError, TileMeta};

/// Folders below each other; the longest layout has seven, dimensions some more.
const MAX_DEPTH: usize = 64;

/// A walk through the files of a store.
pub(super) struct FileWalk<'a, 'v> {
    store: &'a FileStore,
    wanted: &'a Visit,
    visitor: Visitor<'v>,
    /// Dimensions of the tiles seen last, and their directories.
    last: (String, Dimensions),
}

/// Where a folder is.
#[derive(Clone, Copy)]
enum Where {
    /// Above those of levels.
    Above,
    /// In the folder of a level, whose path has this length.
    Level(usize),
}

impl<'a, 'v> FileWalk<'a, 'v> {
    pub(super) fn run(store: &'a FileStore, wanted: &'a Visit, visitor: Visitor<'v>) -> Result<(), StoreError> {
        let mut walk = FileWalk { store, wanted, visitor, last: Default::default() };
        let directory = store.directory.clone();
        ended(walk.folder(&directory, "", Where::Above, 0))
    }

    fn folder(&mut self, folder: &Path, relative: &str, place: Where, depth: usize) -> Result<(), Halt> {
        let entries = match fs::read_dir(folder) {
            // Removed since it was seen, or not made yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed("list", folder))?,
        };
        let mut below = String::with_capacity(relative.len() + 24);
        for entry in entries {
            let entry = entry.map_err(failed("list", folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.foreign(&entry.path(), "")?;
                continue;
            };
            below.clear();
            below.push_str(relative);
            if !relative.is_empty() {
                below.push('/');
            }
            below.push_str(name);
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind.map_err(failed("read", &entry.path()))?,
            };
            if kind.is_dir() {
                self.subfolder(&entry.path(), &below, name, place, depth)?;
                continue;
            }
            match self.store.layout.parse(&below, &self.store.extension) {
                Some(tile) if self.wanted.wants(tile.coord) => {
                    let key = self.key(tile);
                    self.tile(&entry.path(), key, kind)?;
                }
                Some(_) => {}
                None => self.other(&entry.path(), &below, name)?,
            }
        }
        Ok(())
    }

    fn subfolder(&mut self, path: &Path, below: &str, name: &str, place: Where, depth: usize) -> Result<(), Halt> {
        let layout = self.store.layout;
        if is_being_removed(name) {
            return match self.wanted.level {
                None => show(self.visitor, Visited::Leftover { name: format!("{}/", path.display()) }),
                Some(_) => Ok(()),
            };
        }
        if below == SINGLE_COLOR_TILES || below == TILE_LOCKS {
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return self.foreign(path, "/");
        }
        if let Some(tile) = layout.parse(below, &self.store.extension) {
            if !self.wanted.wants(tile.coord) {
                return Ok(());
            }
            let reason = "a directory lies where its file should".to_owned();
            let key = self.key(tile);
            return show(self.visitor, Visited::Broken { key, reason });
        }
        let may_hold = |level: usize| {
            let from_level = below.get(level + 1..).unwrap_or_default();
            self.wanted.within.is_none_or(|cells| layout.may_hold(from_level, &cells))
        };
        match place {
            Where::Level(length) if may_hold(length) => self.folder(path, below, place, depth + 1),
            Where::Level(_) => Ok(()),
            Where::Above => match layout.level_of_folder(below) {
                Some(level) if self.wanted.level.is_none_or(|wanted| wanted == level) => {
                    self.folder(path, below, Where::Level(below.len()), depth + 1)
                }
                Some(_) => Ok(()),
                None if may_have_tiles(layout, below) => self.folder(path, below, place, depth + 1),
                None => self.foreign(path, "/"),
            },
        }
    }

    fn tile(&mut self, path: &Path, key: TileKey, kind: fs::FileType) -> Result<(), Halt> {
        let seen = match self.look(path, kind) {
            Ok(Ok((meta, bytes))) => Visited::Tile(SeenTile { key, meta, bytes }),
            Ok(Err(reason)) => Visited::Broken { key, reason: reason.to_owned() },
            // A file that went meanwhile is no tile any more; a link that leads nowhere stays one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_err() {
                    return Ok(());
                }
                Visited::Broken { key, reason: "a link that leads nowhere".to_owned() }
            }
            Err(error) => Visited::Broken { key, reason: crate::fs::explain(&error) },
        };
        show(self.visitor, seen)
    }

    #[expect(clippy::type_complexity, reason = "what is there, or why it is no tile, or why that cannot be told")]
    fn look(
        &self,
        path: &Path,
        kind: fs::FileType,
    ) -> io::Result<Result<(Option<TileMeta>, Option<bytes::Bytes>), &'static str>> {
        if !kind.is_file() && !kind.is_symlink() {
            return Ok(Err("it is no file"));
        }
        match self.wanted.detail {
            Detail::Keys if kind.is_file() => Ok(Ok((None, None))),
            Detail::Keys | Detail::Meta => {
                let own = fs::symlink_metadata(path)?;
                let file = if kind.is_symlink() { fs::metadata(path)? } else { own.clone() };
                if !file.is_file() {
                    return Ok(Err("it leads to a directory"));
                }
                Ok(Ok((Some(TileMeta { modified: Some(own.modified()?), size: file.len() }), None)))
            }
            Detail::Bytes => match self.store.read(path)? {
                Some(tile) => Ok(Ok((Some(tile.meta), Some(tile.bytes)))),
                None => Ok(Err("it is too large for a tile, or changed while it was read")),
            },
        }
    }

    /// A file that is no tile.
    fn other(&mut self, path: &Path, below: &str, name: &str) -> Result<(), Halt> {
        if let Some(file) = temporary_of(name) {
            let whole = format!("{}{file}", &below[..below.len() - name.len()]);
            if let Some(tile) = self.store.layout.parse(&whole, &self.store.extension) {
                if !self.wanted.wants(tile.coord) {
                    return Ok(());
                }
                return show(self.visitor, Visited::Leftover { name: path.display().to_string() });
            }
        }
        if name.ends_with(".lck") {
            return Ok(());
        }
        self.foreign(path, "")
    }

    fn foreign(&mut self, path: &Path, end: &str) -> Result<(), Halt> {
        match self.wanted.level {
            None => show(self.visitor, Visited::Foreign { name: format!("{}{end}", path.display()) }),
            Some(_) => Ok(()),
        }
    }

    fn key(&mut self, ParsedPath { coord, dimensions }: ParsedPath<'_>) -> TileKey {
        key(&mut self.last, coord, dimensions)
    }
}

/// A key of dimensions that most likely are those of the tile before.
fn key(last: &mut (String, Dimensions), coord: TileCoord, dimensions: &str) -> TileKey {
    if dimensions != last.0 {
        *last = (dimensions.to_owned(), dimensions_of(dimensions));
    }
    TileKey { coord, dimensions: Arc::clone(&last.1) }
}

/// A folder that is none of a level may be of dimensions (the first of these has a hyphen), or one of the numbers that
/// layouts without folders of levels begin with.
fn may_have_tiles(layout: Layout, below: &str) -> bool {
    let first = below.split('/').next().unwrap_or_default();
    first.contains('-') || layout == Layout::ReverseTms && first.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Permissions;
    use crate::store::TileStore as _;
    use crate::store::file::LinkSingleColor;

    fn store(base: &Path, layout: Layout) -> FileStore {
        FileStore {
            directory: base.join("tiles"),
            extension: "png".to_owned(),
            layout,
            link_single_color: LinkSingleColor::Off,
            permissions: Permissions::default(),
        }
    }

    fn seen(store: &FileStore, wanted: &Visit) -> Vec<String> {
        let mut all = Vec::new();
        let relative = |name: &str| name.rsplit_once("/tiles/").map_or(name, |(_, name)| name).to_owned();
        store
            .visit(wanted, &mut |seen| {
                all.push(match seen {
                    Visited::Tile(tile) => format!("tile {}", relative(&store.place(&tile.key))),
                    Visited::Broken { key, reason } => format!("broken {}: {reason}", relative(&store.place(&key))),
                    Visited::Foreign { name } => format!("foreign {}", relative(&name)),
                    Visited::Leftover { name } => format!("leftover {}", relative(&name)),
                    Visited::Unreadable { .. } => panic!("{seen:?}"),
                });
                ControlFlow::Continue(())
            })
            .unwrap();
        all.sort();
        all
    }

    #[test]
    fn what_is_no_tile_is_told_apart_and_links_are_not_entered() {
        let base = tempfile::tempdir().unwrap();
        let store = store(base.path(), Layout::Tms);
        let elsewhere = base.path().join("elsewhere");
        for file in [
            "tiles/3/1/2.png",
            "tiles/3/1/notes.txt",
            "tiles/3/1/5.png.tmp-abc",
            "tiles/3/1/5.png.lck",
            "tiles/time-2020/3/1/2.png",
            "tiles/single_color_tiles/ff0000.png",
            "tiles/tile_locks/osm-0-0-0.lck",
            "tiles/.removed-4-1-1/0/0.png",
            "tiles/lost+found/x",
            "elsewhere/0/0.png",
        ] {
            let path = base.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"tile").unwrap();
        }
        fs::create_dir_all(store.directory.join("3/1/9.png")).unwrap();
        symlink(&elsewhere, store.directory.join("7")).unwrap();
        symlink("nowhere.png", store.directory.join("3/1/7.png")).unwrap();
        let all = seen(&store, &Visit::all(Detail::Meta));
        assert_eq!(
            all,
            [
                "broken 3/1/7.png: a link that leads nowhere",
                "broken 3/1/9.png: a directory lies where its file should",
                "foreign 3/1/notes.txt",
                "foreign 7",
                "foreign lost+found/",
                "leftover .removed-4-1-1/",
                "leftover 3/1/5.png.tmp-abc",
                "tile 3/1/2.png",
                "tile time-2020/3/1/2.png",
            ]
        );
        assert!(seen(&store, &Visit::level(4, Detail::Keys)).is_empty(), "a level has nothing but its tiles");
    }
}
