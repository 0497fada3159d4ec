//! Coverages: which shape, and how its file is written.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::{Resolver, origin};
use crate::checked::{Coverage, CoverageFile, CoverageShape, Datasource};
use crate::position::{Span, Spanned};
use crate::raw::{self, Numbers, Text};

impl Resolver<'_> {
    /// A coverage; `Ok(None)` if its section is empty, `Err` if it is wrong, which has been reported.
    pub(super) fn coverage(&mut self, raw: &Spanned<raw::Coverage>, path: &str) -> Result<Option<Coverage>, ()> {
        self.only_one_shape(raw, path);
        let shape = if let Some(parts) = &raw.union {
            CoverageShape::Union(self.coverages(parts, &format!("{path}.union"))?)
        } else if let Some(parts) = &raw.intersection {
            CoverageShape::Intersection(self.coverages(parts, &format!("{path}.intersection"))?)
        } else if let Some(parts) = &raw.difference {
            CoverageShape::Difference(self.coverages(parts, &format!("{path}.difference"))?)
        } else if let Some(source) = &raw.ogr_datasource {
            let srs = self.coverage_srs(raw.ogr_srs.as_ref().or(raw.srs.as_ref()), "ogr_srs", raw.span, path)?;
            let condition = raw.ogr_where.as_ref().or(raw.where_.as_ref());
            self.features(&source.value, condition, srs, source.span, &format!("{path}.ogr_datasource"))?
        } else if let Some(file) = &raw.polygons {
            let srs =
                self.coverage_srs(raw.polygons_srs.as_ref().or(raw.srs.as_ref()), "polygons_srs", raw.span, path)?;
            let file_path = self.path(&file.value);
            self.readable(&file_path, file.span, &format!("{path}.polygons"))?;
            CoverageShape::Polygons { path: file_path, format: CoverageFile::Wkt, srs, condition: None }
        } else if let Some(bbox) = &raw.bbox {
            let srs = self.coverage_srs(raw.bbox_srs.as_ref().or(raw.srs.as_ref()), "srs", raw.span, path)?;
            let bbox = self.bbox(&bbox.value, bbox.span, &format!("{path}.bbox")).ok_or(())?;
            CoverageShape::Bbox { bbox, srs }
        } else if let Some(datasource) = &raw.datasource {
            let key_path = format!("{path}.datasource");
            let srs = self.coverage_srs(raw.srs.as_ref(), "srs", raw.span, path)?;
            match &datasource.value {
                Numbers::Text(text) if !is_bbox(text) => {
                    self.features(text, raw.where_.as_ref(), srs, datasource.span, &key_path)?
                }
                bbox => {
                    let bbox = self.bbox(bbox, datasource.span, &key_path).ok_or(())?;
                    CoverageShape::Bbox { bbox, srs }
                }
            }
        } else if let Some(tiles) = &raw.expire_tiles {
            let list = self.main_dir.join(&*tiles.value);
            self.exists(&list, tiles.span, &format!("{path}.expire_tiles"))?;
            CoverageShape::ExpiredTiles { path: list }
        } else {
            return Ok(None);
        };
        let clip = raw.clip.as_ref().is_some_and(|clip| clip.value);
        Ok(Some(Coverage { at: origin(path, raw.span), shape, clip }))
    }

    fn coverages(&mut self, parts: &Spanned<Vec<Spanned<raw::Coverage>>>, path: &str) -> Result<Vec<Coverage>, ()> {
        let mut list = Vec::with_capacity(parts.value.len());
        let mut wrong = false;
        for (index, part) in parts.value.iter().enumerate() {
            match self.coverage(part, &format!("{path}[{index}]")) {
                Ok(coverage) => list.extend(coverage),
                Err(()) => wrong = true,
            }
        }
        if wrong {
            return Err(());
        }
        if list.is_empty() {
            self.findings.error(parts.span, path, "at least one coverage is needed here");
            return Err(());
        }
        Ok(list)
    }

    fn coverage_srs(&mut self, srs: Option<&Spanned<Text>>, key: &str, span: Span, path: &str) -> Result<Arc<str>, ()> {
        match srs {
            Some(srs) => Ok(Arc::clone(&srs.value)),
            None => {
                self.findings.error(span, path, format!("missing '{key}', not in {path}"));
                Err(())
            }
        }
    }

    /// One shape is used; of others that are written beside it, nothing would be seen.
    fn only_one_shape(&mut self, raw: &Spanned<raw::Coverage>, path: &str) {
        let written = [
            ("union", raw.union.is_some()),
            ("intersection", raw.intersection.is_some()),
            ("difference", raw.difference.is_some()),
            ("ogr_datasource", raw.ogr_datasource.is_some()),
            ("polygons", raw.polygons.is_some()),
            ("bbox", raw.bbox.is_some()),
            ("datasource", raw.datasource.is_some()),
            ("expire_tiles", raw.expire_tiles.is_some()),
        ];
        let mut names = written.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let Some(used) = names.next() else { return };
        let others: Vec<&str> = names.collect();
        if !others.is_empty() {
            let message = format!("a coverage has one shape: `{used}` is used, not `{}`", others.join("`, `"));
            self.findings.warning(raw.span, path, message);
        }
        let condition = raw.where_.as_ref().or(raw.ogr_where.as_ref());
        if let Some(condition) = condition.filter(|_| !matches!(used, "datasource" | "ogr_datasource")) {
            let message = format!("`where` has no effect: `{used}` has no features to choose from");
            self.findings.warning(condition.span, path, message);
        }
    }

    /// Features in a file or elsewhere.
    fn features(
        &mut self,
        text: &str,
        condition: Option<&Spanned<Text>>,
        srs: Arc<str>,
        span: Span,
        path: &str,
    ) -> Result<CoverageShape, ()> {
        let condition_text = condition.map(|condition| Arc::clone(&condition.value));
        if is_connection(text) {
            let datasource = Datasource::new(text);
            return Ok(CoverageShape::Ogr { datasource, srs, condition: condition_text });
        }
        let file = self.path(text);
        let by_gdal = |file: &Path| Datasource::new(&*file.to_string_lossy());
        // Paths of GDAL's own: archives, the web.
        if text.starts_with("/vsi") {
            return Ok(CoverageShape::Ogr { datasource: by_gdal(&file), srs, condition: condition_text });
        }
        if file.is_dir() {
            self.files.push(file.clone());
            return Ok(CoverageShape::Ogr { datasource: by_gdal(&file), srs, condition: condition_text });
        }
        let start = self.start_of(&file, span, path)?;
        let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
        let text = lower_case(&start);
        let format = match &*start {
            _ if text.starts_with("polygon") || text.starts_with("multipolygon") => CoverageFile::Wkt,
            _ if text.starts_with('{') => CoverageFile::GeoJson,
            [b'f', b'g', b'b', 3, b'f', b'g', b'b', ..] => CoverageFile::FlatGeobuf,
            [0, 0, 0x27, 0x0a, ..] if extension == "shp" => {
                self.files
                    .extend(["dbf", "DBF"].map(|ending| file.with_extension(ending)).into_iter().find(|f| f.is_file()));
                CoverageFile::Shapefile
            }
            [b'S', b'Q', b'L', b'i', b't', b'e', b' ', b'f', ..]
                if extension == "gpkg" || matches!(start.get(68..72), Some(b"GPKG" | b"GP10" | b"GP11")) =>
            {
                CoverageFile::GeoPackage
            }
            _ => return Ok(CoverageShape::Ogr { datasource: by_gdal(&file), srs, condition: condition_text }),
        };
        if let Some(condition) = condition.filter(|_| format == CoverageFile::Wkt) {
            let message = "`where` has no effect: polygons of WKT have no attributes";
            self.findings.warning(condition.span, path, message);
        }
        let condition = condition_text.filter(|_| format != CoverageFile::Wkt);
        Ok(CoverageShape::Polygons { path: file, format, srs, condition })
    }

    /// The first characters of a file in lower case, without byte order mark and leading blanks.
    pub(super) fn readable(&mut self, file: &Path, span: Span, path: &str) -> Result<String, ()> {
        self.start_of(file, span, path).map(|start| lower_case(&start))
    }

    /// The first bytes of a file, which the outcome depends on.
    fn start_of(&mut self, file: &Path, span: Span, path: &str) -> Result<Vec<u8>, ()> {
        let mut start = Vec::new();
        match File::open(file).and_then(|file| file.take(128).read_to_end(&mut start)) {
            Ok(_) => {
                self.files.push(file.to_path_buf());
                Ok(start)
            }
            Err(error) => {
                self.findings.error(span, path, format!("cannot read '{}': {error}", file.display()));
                Err(())
            }
        }
    }

    fn exists(&mut self, file: &Path, span: Span, path: &str) -> Result<(), ()> {
        match file.metadata() {
            Ok(_) => {
                self.files.push(file.to_path_buf());
                Ok(())
            }
            Err(error) => {
                self.findings.error(span, path, format!("cannot read '{}': {error}", file.display()));
                Err(())
            }
        }
    }
}

fn lower_case(start: &[u8]) -> String {
    let text = String::from_utf8_lossy(start);
    text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase()
}

/// Four numbers with commas between them.
fn is_bbox(text: &str) -> bool {
    let mut count = 0;
    let numbers = text.split(',').all(|part| {
        count += 1;
        part.trim().parse::<f64>().is_ok()
    });
    numbers && count == 4
}

/// `PG:…` and the like: at least two letters before a colon.
fn is_connection(text: &str) -> bool {
    text.split_once(':').is_some_and(|(prefix, _)| {
        prefix.chars().count() >= 2 && prefix.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}
