//! Writes bundles anew without the bytes that nothing names any more.
//!
//! A bundle is locked as for writing, written beside its place and renamed: who has the old one open goes on reading it,
//! and notices the new one as any other that was exchanged. With version 1, whose index is a file of its own, the index is
//! taken away first and comes back last: in between a bundle has no tiles, rather than wrong ones. A bundle without tiles is
//! removed, as the original removes it.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use super::format::{self, FIELDS, Place};
use super::reader::{Found, OpenBundle};
use super::visit::BundleFile;

use super::{BundleKey, CompactStore, Version};
use crate::fs::{parent, replace, write_atomic};
use crate::store::StoreError;
use crate::store::visit::{Halt, ended};

/// Which bundles are written anew.
#[derive(Clone, Copy, Debug)]
pub struct Defragment {
    /// Those of whose bytes at least so many percent are not in use.
    pub min_percent: f64,
    /// And at least so many bytes.
    pub min_bytes: u64,
    /// None is; what would be is told.
    pub dry_run: bool,
}

/// A bundle, and what was done with it.
#[derive(Clone, Debug)]
pub struct Defragmented {
    /// Its place among all bundles, from 1 on, and how many there are.
    pub number: (usize, usize),
    /// The file.
    pub name: String,
    /// Bytes not in use, and all bytes.
    pub unused: (u64, u64),
    /// It was written anew or, being without tiles, removed, or would be; `Err`: it could not be read, and stays as it is.
    pub anew: Result<bool, String>,
}

impl CompactStore {
    /// Writes those bundles anew that have enough bytes which are not in use, and tells of all.
    pub(super) fn defragment_bundles(
        &self,
        wanted: Defragment,
        tell: &mut dyn FnMut(&Defragmented),
    ) -> Result<(), StoreError> {
        let mut bundles = Vec::new();
        let found = self.bundles(
            None,
            &mut |BundleFile { path, level, column, row, dimensions }| {
                let dimensions = std::sync::Arc::clone(dimensions);
                bundles.push((path.to_owned(), BundleKey { store: self.number, level, column, row, dimensions }));
                Ok::<(), Halt>(())
            },
            &mut |_| Ok(()),
        );
        ended(found)?;
        bundles.sort_by(|one, other| one.0.cmp(&other.0));
        let count = bundles.len();
        for (index, (path, key)) in bundles.into_iter().enumerate() {
            let version = self.options.version;
            let name = version.tiles_path(&path).display().to_string();
            let looked = self.write(&key, |path| Ok(self.defragment_one(path, &key, wanted)?))?;
            let (unused, anew) = match looked {
                Ok((unused, all, anew)) => ((unused, all), Ok(anew)),
                Err(reason) => ((0, 0), Err(reason)),
            };
            if anew == Ok(true) {
                self.pool.close(&key);
            }
            tell(&Defragmented { number: (index + 1, count), name, unused, anew });
        }
        Ok(())
    }

    fn defragment_one(
        &self,
        path: &Path,
        key: &BundleKey,
        wanted: Defragment,
    ) -> io::Result<Result<(u64, u64, bool), String>> {
        let version = self.options.version;
        let Some(bundle) = OpenBundle::open(version, path, 0)? else {
            return Ok(Err("one of its two files is missing".to_owned()));
        };
        let entries = match bundle.entries()? {
            Ok(entries) => entries,
            Err(reason) => return Ok(Err(reason)),
        };
        let (mut tiles, mut used) =
            (Vec::new(), if version == Version::V1 { format::V1_TILES } else { format::V2_TILES });
        for (x, y) in entries {
            match bundle.size(Place::of(x, y))? {
                Ok(size) => {
                    used += 4 + size;
                    tiles.push((x, y));
                }
                Err(Found::Damaged(reason)) => return Ok(Err(format!("{reason}; see verify"))),
                Err(_) => {}
            }
        }
        let all = fs::metadata(version.tiles_path(path))?.len();
        let unused = all.saturating_sub(used);
        let percent = unused as f64 / all.max(1) as f64 * 100.0;
        let gains = unused > 0 || tiles.is_empty();
        if !gains || percent < wanted.min_percent || unused < wanted.min_bytes {
            return Ok(Ok((unused, all, false)));
        }
        if wanted.dry_run {
            return Ok(Ok((unused, all, true)));
        }
        if tiles.is_empty() {
            if version == Version::V1 {
                fs::remove_file(version.index_path(path))?;
            }
            fs::remove_file(version.tiles_path(path))?;
            return Ok(Ok((unused, all, true)));
        }
        match self.write_anew(path, key, &bundle, &tiles)? {
            Ok(()) => Ok(Ok((unused, all, true))),
            Err(reason) => Ok(Err(reason)),
        }
    }

    fn write_anew(
        &self,
        path: &Path,
        key: &BundleKey,
        bundle: &OpenBundle,
        tiles: &[(u32, u32)],
    ) -> io::Result<Result<(), String>> {
        let (version, permissions) = (self.options.version, self.options.permissions);
        let damage = RefCell::new(None);
        let index = RefCell::new(Vec::new());
        let place = version.tiles_path(path);
        let made = replace(&place, permissions, |temporary| {
            let mut file = temporary
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(crate::fs::FILE_MODE))
                .tempfile_in(parent(&place))?;
            let mut entries = if version == Version::V1 { format::v1_empty_index() } else { format::v2_empty() };
            let mut out = BufWriter::new(file.as_file_mut());
            let begin = if version == Version::V1 { format::v1_empty(key.column, key.row) } else { entries.clone() };
            out.write_all(&begin)?;
            let (mut end, mut largest) = (begin.len() as u64, 0);
            for (x, y) in tiles {
                let place = Place::of(*x, *y);
                let bytes = match bundle.tile(place)? {
                    Found::Tile(bytes) => bytes,
                    Found::Missing => continue,
                    Found::Damaged(reason) => {
                        damage.replace(Some(format!("{reason}; see verify")));
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                };
                let size = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
                out.write_all(&size.to_le_bytes())?;
                out.write_all(&bytes)?;
                let (at, entry) = match version {
                    Version::V1 => (place.v1_entry(), format::v1_encode(end).to_vec()),
                    Version::V2 => (place.v2_entry(), format::v2_encode(end + 4, size).to_vec()),
                };
                entries[at as usize..at as usize + entry.len()].copy_from_slice(&entry);
                end += 4 + u64::from(size);
                largest = largest.max(size);
            }
            out.flush()?;
            drop(out);
            let file_of_tiles = file.as_file();
            use std::os::unix::fs::FileExt as _;
            match version {
                Version::V1 => {
                    let count = 4 * tiles.len() as u64;
                    file_of_tiles.write_all_at(&count.to_le_bytes(), FIELDS.count)?;
                    index.replace(entries);
                }
                Version::V2 => file_of_tiles.write_all_at(&entries, 0)?,
            }
            file_of_tiles.write_all_at(&largest.to_le_bytes(), FIELDS.largest)?;
            file_of_tiles.write_all_at(&end.to_le_bytes(), FIELDS.size)?;
            permissions.apply_to_file(file_of_tiles)?;
            file_of_tiles.sync_all()?;
            if version == Version::V1 {
                fs::remove_file(version.index_path(path))?;
            }
            Ok(file.into_temp_path())
        });
        if let Some(reason) = damage.into_inner() {
            return Ok(Err(reason));
        }
        made?;
        if version == Version::V1 {
            write_atomic(&version.index_path(path), &index.into_inner(), permissions)?;
        }
        Ok(Ok(()))
    }
}
