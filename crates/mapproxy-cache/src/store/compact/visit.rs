//! Goes through bundles by their indexes, each read at once.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mapproxy_grid::TileCoord;
use mapproxy_map::Dimensions;

use super::format::{Place, SIDE};
use super::reader::{Found, OpenBundle};
use super::{CompactStore, Version, failed};
use crate::TileKey;
use crate::fs::{is_being_removed, temporary_of};
use crate::lock::TILE_LOCKS;
use crate::store::layout::{Layout, dimensions_of};
use crate::store::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, show};
use crate::store::{StoreError, TileMeta};

/// A bundle's file.
pub(super) struct BundleFile<'a> {
    /// Its path without extension.
    pub(super) path: &'a Path,
    pub(super) level: u8,
    /// First column and row.
    pub(super) column: u32,
    pub(super) row: u32,
    pub(super) dimensions: &'a Dimensions,
}

impl CompactStore {
    /// Shows bundles and whatever else lies beside them, those of all dimensions.
    pub(super) fn bundles(
        &self,
        level: Option<u8>,
        bundle: &mut dyn FnMut(BundleFile<'_>) -> Result<(), Halt>,
        other: &mut dyn FnMut(Visited) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut folders = vec![(self.options.directory.clone(), String::new())];
        while let Some((folder, relative)) = folders.pop() {
            let is_level = level_of(&relative);
            let directories =
                if is_level.is_some() { relative.rsplit_once('/').map_or("", |(above, _)| above) } else { "" };
            let dimensions = dimensions_of(directories);
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| failed("list", &folder, &error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("list", &folder, &error))?;
                let (path, name) = (entry.path(), entry.file_name());
                let is_folder = entry.file_type().map_err(|error| failed("read", &path, &error))?.is_dir();
                let end = if is_folder { "/" } else { "" };
                let foreign = || Visited::Foreign { name: format!("{}{end}", path.display()) };
                let Some(name) = name.to_str() else {
                    other(foreign())?;
                    continue;
                };
                if is_folder {
                    let below = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
                    match level_of(&below) {
                        _ if is_being_removed(name) => {
                            other(Visited::Leftover { name: format!("{}/", path.display()) })?;
                        }
                        _ if below == TILE_LOCKS => {}
                        Some(found) if level.is_some_and(|level| level != found) => {}
                        Some(_) => folders.push((path, below)),
                        // The first of the directories of dimensions has a hyphen.
                        None if is_level.is_none() && (!relative.is_empty() || name.contains('-')) => {
                            folders.push((path, below));
                        }
                        None => other(foreign())?,
                    }
                    continue;
                }
                let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
                match (is_level, first_tile(stem), extension) {
                    (Some(level), Some((column, row)), "bundle") => {
                        let path = folder.join(stem);
                        bundle(BundleFile { path: &path, level, column, row, dimensions: &dimensions })?;
                    }
                    (Some(_), Some(_), "bundlx") if self.options.version == Version::V1 => {}
                    (_, _, "lck") => {}
                    _ if temporary_of(name).is_some() => {
                        other(Visited::Leftover { name: path.display().to_string() })?;
                    }
                    _ => other(foreign())?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn visit_all(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), Halt> {
        let visitor = std::cell::RefCell::new(visitor);
        self.bundles(
            wanted.level,
            &mut |bundle| self.visit_bundle(&bundle, wanted, *visitor.borrow_mut()),
            &mut |other| if wanted.level.is_none() { show(*visitor.borrow_mut(), other) } else { Ok(()) },
        )
    }

    fn visit_bundle(&self, file: &BundleFile<'_>, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), Halt> {
        let BundleFile { path, level, column, row, dimensions } = *file;
        let last = |first: u32| first.saturating_add(SIDE - 1);
        if wanted.within.is_some_and(|cells| !cells.meets((column, last(column)), (row, last(row)))) {
            return Ok(());
        }
        let name = || self.options.version.tiles_path(path).display().to_string();
        let read = |error: &io::Error| -> StoreError { failed("read", &self.options.version.tiles_path(path), error) };
        let unreadable = |reason: String| Visited::Unreadable { name: name(), reason };
        let open = match OpenBundle::open(self.options.version, path, 0) {
            Ok(Some(open)) => open,
            Ok(None) => return show(visitor, unreadable("one of its two files is missing".to_owned())),
            Err(error) => return Err(read(&error).into()),
        };
        let entries = match open.entries() {
            Ok(Ok(entries)) => entries,
            Ok(Err(reason)) => return show(visitor, unreadable(reason)),
            Err(error) => return Err(read(&error).into()),
        };
        for (x, y) in entries {
            let (Some(x), Some(y)) = (column.checked_add(x), row.checked_add(y)) else { continue };
            let coord = TileCoord::new(x, y, level);
            if !wanted.wants(coord) {
                continue;
            }
            let key = TileKey { coord, dimensions: Arc::clone(dimensions) };
            let place = Place::of(x, y);
            let found = match wanted.detail {
                Detail::Keys | Detail::Meta => match open.size(place).map_err(|error| read(&error))? {
                    Ok(size) => Ok((Some(TileMeta { modified: None, size }), None)),
                    Err(found) => Err(found),
                },
                Detail::Bytes => match open.tile(place).map_err(|error| read(&error))? {
                    Found::Tile(bytes) => {
                        Ok((Some(TileMeta { modified: None, size: bytes.len() as u64 }), Some(bytes)))
                    }
                    other => Err(other),
                },
            };
            match found {
                Ok((meta, bytes)) => show(visitor, Visited::Tile(SeenTile { key, meta, bytes }))?,
                Err(Found::Damaged(reason)) => show(visitor, Visited::Broken { key, reason })?,
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The level of a folder of bundles.
fn level_of(relative: &str) -> Option<u8> {
    Layout::Arcgis.level_of_folder(relative.rsplit('/').next()?)
}

/// Column and row that the name of a bundle says.
fn first_tile(stem: &str) -> Option<(u32, u32)> {
    let (row, column) = stem.strip_prefix('R')?.split_once('C')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok().filter(|number| number % SIDE == 0);
    let (row, column) = (number(row)?, number(column)?);
    (format!("R{row:04x}C{column:04x}") == stem).then_some((column, row))
}
