//! Legends, kept as files until somebody deletes them.
//!
//! The files are MapProxy's: `legends/<MD5 of identifier and scale>.png` below the directory of the caches.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use md5::{Digest, Md5};

use mapproxy_image::{Codec, ImageFormat, ImageOptions, MapImage};
use mapproxy_map::legend::{Legend, LegendForm, LegendQuery, LegendSource};
use mapproxy_map::{MapError, ogc};

use crate::Permissions;
use crate::fs::{explain, write_atomic};

/// Scales for which legends of one source are kept: clients choose them, and may not fill the disk.
const MAX_SCALES: usize = 100;

/// A source of legends that is asked once for each.
#[derive(Debug)]
pub struct CachedLegend {
    inner: Arc<dyn LegendSource>,
    identifier: String,
    directory: PathBuf,
    permissions: Permissions,
    /// Held while the source is asked, so that it is asked once; the scales that were stored.
    stored: Mutex<HashSet<String>>,
}

impl CachedLegend {
    /// Keeps the legends of `inner` in `directory`. `identifier` tells them from those of others.
    pub fn new(
        inner: Arc<dyn LegendSource>,
        identifier: impl Into<String>,
        directory: impl Into<PathBuf>,
        permissions: Permissions,
    ) -> CachedLegend {
        let (identifier, directory) = (identifier.into(), directory.into());
        CachedLegend { inner, identifier, directory, permissions, stored: Mutex::default() }
    }

    fn path(&self, scale: &str) -> PathBuf {
        let digest = Md5::digest(format!("{}{scale}", self.identifier));
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(format!("{name}.png"))
    }

    /// A file that is no picture is none: it is made again.
    fn load(&self, scale: &str) -> Option<Legend> {
        let bytes = std::fs::read(self.path(scale)).ok()?;
        let image = MapImage::from_encoded(Bytes::from(bytes), png());
        image.size().ok()?;
        Some(Legend::Picture(image))
    }

    fn store(&self, scale: &str, image: &MapImage) {
        let path = self.path(scale);
        let bytes = match (image.codec(), image.encoded_bytes()) {
            (Some(Codec::Png), Some(bytes)) => Ok(bytes.clone()),
            _ => image.encode(&png()).map(|encoded| encoded.bytes),
        };
        let written = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
            write_atomic(&path, &bytes, self.permissions)
                .map_err(|error| format!("{}: {}", path.display(), explain(&error)))
        });
        if let Err(error) = written {
            // The legend is there, it will only have to be asked for again.
            log::error!(target: "mapproxy.cache", "cannot keep the legend of {}: {error}", self.inner.name());
        }
    }
}

impl LegendSource for CachedLegend {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn legend(&self, query: &LegendQuery) -> Result<Option<Legend>, MapError> {
        if query.form != LegendForm::Picture {
            return self.inner.legend(query);
        }
        let scale = scale_text(query.scale);
        if let Some(kept) = self.load(&scale) {
            return Ok(Some(kept));
        }
        // What is in it stays whole whatever happens to those who hold it.
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = self.load(&scale) {
            return Ok(Some(kept));
        }
        let legend = self.inner.legend(query)?;
        if let Some(Legend::Picture(image)) = &legend
            && image.cacheable()
            && (stored.contains(&scale) || stored.len() < MAX_SCALES)
        {
            self.store(&scale, image);
            stored.insert(scale);
        }
        Ok(legend)
    }

    fn kept(&self, query: &LegendQuery) -> Option<Legend> {
        match query.form {
            LegendForm::Picture => self.load(&scale_text(query.scale)),
            LegendForm::Json => None,
        }
    }
}

/// As it is in the key: Python's words.
fn scale_text(scale: Option<f64>) -> String {
    scale.map_or_else(|| "None".to_owned(), ogc::float)
}

fn png() -> Arc<ImageOptions> {
    Arc::new(ImageOptions::new(ImageFormat::png()).with_transparent(true))
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::Size;
    use mapproxy_image::{Color, PixelMode, Pixels};

    use super::*;

    /// Counts how often it is asked.
    #[derive(Debug)]
    struct Counting {
        name: Arc<str>,
        asked: Mutex<usize>,
        cacheable: bool,
    }

    impl LegendSource for Counting {
        fn name(&self) -> &Arc<str> {
            &self.name
        }
        fn legend(&self, query: &LegendQuery) -> Result<Option<Legend>, MapError> {
            *self.asked.lock().unwrap() += 1;
            if query.form == LegendForm::Json {
                return Ok(Some(Legend::Json("{}".to_owned())));
            }
            let pixels = Pixels::filled(Size::new(3, 2), PixelMode::Rgba, Color([255, 0, 0, 128]));
            Ok(Some(Legend::Picture(MapImage::from_pixels(pixels, png()).with_cacheable(self.cacheable))))
        }
    }

    fn cached(directory: &std::path::Path, cacheable: bool) -> (Arc<Counting>, CachedLegend) {
        let counting = Arc::new(Counting { name: "wms".into(), asked: Mutex::default(), cacheable });
        let inner = Arc::clone(&counting) as Arc<dyn LegendSource>;
        (
            counting,
            CachedLegend::new(inner, "http://h/sahttp://h/sb", directory.join("legends"), Permissions::default()),
        )
    }

    fn pixel(legend: Option<Legend>) -> [u8; 4] {
        match legend {
            Some(Legend::Picture(image)) => image.pixels().unwrap().pixel(2, 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_legend_is_asked_for_once_for_each_scale_and_kept_under_the_name_of_the_reference() {
        let directory = tempfile::tempdir().unwrap();
        let (counting, cached) = cached(directory.path(), true);
        let scaled = LegendQuery { scale: Some(5.0), ..LegendQuery::default() };
        assert!(cached.kept(&LegendQuery::default()).is_none());
        for query in [LegendQuery::default(), scaled, LegendQuery::default(), scaled] {
            assert_eq!(pixel(cached.legend(&query).unwrap()), [255, 0, 0, 128]);
        }
        assert_eq!(*counting.asked.lock().unwrap(), 2);
        assert_eq!(pixel(cached.kept(&scaled)), [255, 0, 0, 128]);
        let names =
            |text: &str| format!("{}.png", Md5::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>());
        for scale in ["None", "5.0"] {
            let name = names(&format!("http://h/sahttp://h/sb{scale}"));
            assert!(directory.path().join("legends").join(name).is_file(), "{scale}");
        }
    }

    #[test]
    fn broken_files_are_replaced_and_incomplete_legends_and_documents_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (_, whole) = cached(directory.path(), true);
        let path = whole.path("None");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        assert!(whole.kept(&LegendQuery::default()).is_none());
        assert_eq!(pixel(whole.legend(&LegendQuery::default()).unwrap()), [255, 0, 0, 128]);
        assert!(whole.kept(&LegendQuery::default()).is_some());

        let other = tempfile::tempdir().unwrap();
        let (counting, incomplete) = cached(other.path(), false);
        for _ in 0..2 {
            incomplete.legend(&LegendQuery::default()).unwrap();
            incomplete.legend(&LegendQuery { form: LegendForm::Json, scale: None }).unwrap();
        }
        assert_eq!(*counting.asked.lock().unwrap(), 4);
        assert!(!other.path().join("legends").exists());
    }

    #[test]
    fn strangers_cannot_fill_the_disk_with_scales() {
        let directory = tempfile::tempdir().unwrap();
        let (_, cached) = cached(directory.path(), true);
        for scale in 0..MAX_SCALES + 20 {
            cached.legend(&LegendQuery { scale: Some(scale as f64), ..LegendQuery::default() }).unwrap();
        }
        assert_eq!(std::fs::read_dir(directory.path().join("legends")).unwrap().count(), MAX_SCALES);
    }
}
