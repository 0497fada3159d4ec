//! Copies of tiles nearer than where they are kept: `type: tiered`, and `memory` of any type.

use std::time::Duration;

use super::Resolver;
use super::stores::Place;
use crate::checked::{CacheStore, FileLayout, FileStore, Tier, TierPlace, TieredStore};
use crate::diagnostic::Severity;
use crate::position::{Span, Spanned};
use crate::raw::{BackendCommon, CacheBackend, FileBackend, Memory, NumberOrText, TieredBackend};

/// For how long copies in memory are believed: what other processes change shows within that time.
const MEMORY_AGE: Duration = Duration::from_secs(10);
/// For how long copies on disk are believed.
const DISK_AGE: Duration = Duration::from_secs(3600);

/// Less than this is not worth the trouble.
const LEAST_MEMORY: u64 = 1_000_000;
const LEAST_DISK: u64 = 10_000_000;

impl Resolver<'_> {
    /// `type: tiered`.
    pub(super) fn tiered_store(&mut self, tiered: &TieredBackend, place: &Place<'_>) -> Option<CacheStore> {
        let written = tiered.tiers.as_ref()?;
        let path = format!("{}.cache.tiers", place.path);
        let Some((lowest, near)) = written.value.split_last().filter(|(_, near)| !near.is_empty()) else {
            let message = "tiers are at least two: copies nearer by, and last where all tiles are kept";
            return self.refuse(written.span, path, message);
        };
        let mut tiers = Vec::with_capacity(near.len());
        for (index, tier) in near.iter().enumerate() {
            tiers.extend(self.tier(tier, index, place, &format!("{path}[{index}]")));
        }
        let complete = tiers.len() == near.len();
        let path = format!("{path}[{}]", near.len());
        self.belongs_to_the_cache(lowest, &path)?;
        match &lowest.value {
            CacheBackend::Tiered(_) => {
                let message = "tiers cannot have tiers: write all of them in one list";
                return self.refuse(lowest.span, path, message);
            }
            CacheBackend::Memory(_) => {
                let message = "the last tier keeps all tiles, and memory would forget them whenever the program ends";
                let help = "put `type: memory` first, and where tiles are kept last".to_owned();
                self.findings.add(Severity::Error, lowest.span, path, message, Some(help));
                return None;
            }
            _ => {}
        }
        let lowest_store = self.store(lowest, place)?;
        if let Some(directory) = lowest_store.directory()
            && tiers.iter().any(|tier| matches!(&tier.place, TierPlace::Files(files) if files.directory == directory))
        {
            let message = format!("{} cannot be the directory of two tiers", directory.display());
            return self.refuse(lowest.span, path, message);
        }
        let store = TieredStore { near: tiers, lowest: Box::new(lowest_store) };
        complete.then_some(CacheStore::Tiered(store))
    }

    /// Adds the copies that `memory` asks for.
    pub(super) fn with_memory(
        &mut self,
        store: CacheStore,
        common: &BackendCommon,
        place: &Place<'_>,
    ) -> Option<CacheStore> {
        let Some(memory) = &common.memory else { return Some(store) };
        let path = format!("{}.cache.memory", place.path);
        let (max_size, max_age) = match &memory.value {
            Memory::Size(size) => (self.size(size, memory.span, LEAST_MEMORY, &path)?, MEMORY_AGE),
            Memory::Options(options) => {
                let size = options.max_size.as_ref()?;
                let max_size = self.size(&size.value, size.span, LEAST_MEMORY, &format!("{path}.max_size"))?;
                (max_size, self.max_age(options.max_age.as_ref(), MEMORY_AGE, &path)?)
            }
        };
        let tier = Tier { max_size, max_age, place: TierPlace::Memory };
        Some(CacheStore::Tiered(match store {
            CacheStore::Tiered(TieredStore { near, lowest }) => {
                if near.iter().any(|tier| tier.place == TierPlace::Memory) {
                    let message = "there is a tier of type memory already";
                    return self.refuse(memory.span, path, message);
                }
                TieredStore { near: [vec![tier], near].concat(), lowest }
            }
            store => TieredStore { near: vec![tier], lowest: Box::new(store) },
        }))
    }

    /// A tier with copies.
    fn tier(&mut self, tier: &Spanned<CacheBackend>, index: usize, place: &Place<'_>, path: &str) -> Option<Tier> {
        self.belongs_to_the_cache(tier, path)?;
        let (max_size, max_age, least, default_age) = match &tier.value {
            CacheBackend::Memory(memory) => (&memory.max_size, &memory.max_age, LEAST_MEMORY, MEMORY_AGE),
            CacheBackend::File(file) => (&file.max_size, &file.max_age, LEAST_DISK, DISK_AGE),
            CacheBackend::Tiered(_) => {
                let message = "tiers cannot have tiers: write all of them in one list";
                return self.refuse(tier.span, path.to_owned(), message);
            }
            other => {
                let message = format!("a tier above the last is of type memory or file, not {}", other.type_name());
                return self.refuse(tier.span, path.to_owned(), message);
            }
        };
        let Some(size) = max_size else {
            let help = "such as `max_size: 10GB`".to_owned();
            let message = "a tier above the last needs a limit";
            self.findings.add(Severity::Error, tier.span, path, message, Some(help));
            return None;
        };
        let max_size = self.size(&size.value, size.span, least, &format!("{path}.max_size"))?;
        let max_age = self.max_age(max_age.as_ref(), default_age, path)?;
        let place = match &tier.value {
            CacheBackend::File(file) => TierPlace::Files(self.near_files(file, place)?),
            _ if index > 0 => {
                let message = "memory is nearer than anything else: it has to be the first tier";
                return self.refuse(tier.span, path.to_owned(), message);
            }
            _ => TierPlace::Memory,
        };
        Some(Tier { max_size, max_age, place })
    }

    /// Copies lie below names of cache and grid, whoever else has the same directory.
    fn near_files(&mut self, file: &FileBackend, place: &Place<'_>) -> Option<FileStore> {
        if let Some(names) = &file.use_grid_names {
            let message = "copies lie below the names of cache and grid in any case";
            self.findings.warning(names.span, format!("{}.cache.tiers", place.path), message);
        }
        let layout = self.layout(file.directory_layout.as_ref(), FileLayout::Tc, place)?;
        let directory = match &file.directory {
            Some(directory) => self.path(&directory.value),
            None => self.globals.cache_base_dir.join("copies"),
        };
        Some(FileStore { directory: directory.join(&**place.cache).join(&*place.grid.name), layout })
    }

    /// Where tiles are kept, nothing may be thrown away.
    pub(super) fn only_in_tiers(&mut self, file: &FileBackend, place: &Place<'_>) -> Option<()> {
        let given = [
            ("max_size", file.max_size.as_ref().map(|size| size.span)),
            ("max_age", file.max_age.as_ref().map(|age| age.span)),
        ];
        for (option, span) in given {
            if let Some(span) = span {
                let message = format!("{option} is for tiers with copies, and here all tiles are kept");
                let help = "put the tier in front of another one: `type: tiered`".to_owned();
                let path = format!("{}.cache", place.path);
                self.findings.add(Severity::Error, span, path, message, Some(help));
                return None;
            }
        }
        Some(())
    }

    /// What is said for the whole cache cannot be said for a tier.
    fn belongs_to_the_cache(&mut self, tier: &Spanned<CacheBackend>, path: &str) -> Option<()> {
        let common = tier.value.common();
        let given: [(&str, Option<Span>); 5] = [
            ("coverage", common.coverage.as_ref().map(|option| option.span)),
            ("tile_lock_dir", common.tile_lock_dir.as_ref().map(|option| option.span)),
            ("directory_permissions", common.directory_permissions.as_ref().map(|option| option.span)),
            ("file_permissions", common.file_permissions.as_ref().map(|option| option.span)),
            ("memory", common.memory.as_ref().map(|option| option.span)),
        ];
        for (option, span) in given {
            if let Some(span) = span {
                let message = format!("{option} belongs to the cache, beside `tiers`, and not to one of them");
                return self.refuse(span, path.to_owned(), message);
            }
        }
        Some(())
    }

    /// A number of bytes, or one with a unit.
    fn size(&mut self, size: &NumberOrText, span: Span, least: u64, path: &str) -> Option<u64> {
        let bytes = match size {
            NumberOrText::Number(number) => (number.is_finite() && *number >= 0.0).then_some(*number as u64),
            NumberOrText::Text(text) => bytes(text),
        };
        match bytes {
            Some(bytes) if bytes >= least => Some(bytes),
            Some(_) => {
                let message = format!("at least {}MB are needed here", least / 1_000_000);
                self.refuse(span, path.to_owned(), message)
            }
            None => {
                let message = "a size is a number of bytes, or one with a unit such as 64MB or 1.5GiB";
                self.refuse(span, path.to_owned(), message)
            }
        }
    }

    fn max_age(&mut self, age: Option<&Spanned<f64>>, default: Duration, path: &str) -> Option<Duration> {
        let Some(age) = age else { return Some(default) };
        match Duration::try_from_secs_f64(age.value) {
            Ok(age) => Some(age),
            Err(_) => {
                let message = "an age is a number of seconds that is not negative";
                self.refuse(age.span, format!("{path}.max_age"), message)
            }
        }
    }
}

/// `64MB`, `1.5 GiB`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        assert_eq!(bytes("64MB"), Some(64_000_000));
        assert_eq!(bytes(" 1.5 GiB "), Some(1_610_612_736));
        assert_eq!(bytes("12345"), Some(12345));
        assert_eq!(bytes("2tb"), Some(2_000_000_000_000));
        for wrong in ["", "MB", "64 M", "-1MB", "1e999", "64 MB/s", "nanMB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
