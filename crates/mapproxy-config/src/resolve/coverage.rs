//! Coverages: which shape, and how its file is written.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::{Resolver, origin};
use crate::checked::{Coverage, CoverageFile, CoverageShape};
use crate::position::{Span, Spanned};
use crate::raw::{self, Numbers, Text};
use crate::support;

impl Resolver<'_> {
    /// A coverage; `Ok(None)` if its section is empty, `Err` if it is wrong, which has been reported.
    pub(super) fn coverage(&mut self, raw: &Spanned<raw::Coverage>, path: &str) -> Result<Option<Coverage>, ()> {
        let shape = if let Some(parts) = &raw.union {
            CoverageShape::Union(self.coverages(parts, &format!("{path}.union"))?)
        } else if let Some(parts) = &raw.intersection {
            CoverageShape::Intersection(self.coverages(parts, &format!("{path}.intersection"))?)
        } else if let Some(parts) = &raw.difference {
            CoverageShape::Difference(self.coverages(parts, &format!("{path}.difference"))?)
        } else if let Some(source) = &raw.ogr_datasource {
            support::is_supported(self.findings, "ogr", source.span, format!("{path}.ogr_datasource"));
            return Err(());
        } else if let Some(file) = &raw.polygons {
            let srs =
                self.coverage_srs(raw.polygons_srs.as_ref().or(raw.srs.as_ref()), "polygons_srs", raw.span, path)?;
            let file_path = self.path(&file.value);
            self.readable(&file_path, file.span, &format!("{path}.polygons"))?;
            CoverageShape::Polygons { path: file_path, format: CoverageFile::Wkt, srs }
        } else if let Some(bbox) = &raw.bbox {
            let srs = self.coverage_srs(raw.bbox_srs.as_ref().or(raw.srs.as_ref()), "srs", raw.span, path)?;
            let bbox = self.bbox(&bbox.value, bbox.span, &format!("{path}.bbox")).ok_or(())?;
            CoverageShape::Bbox { bbox, srs }
        } else if let Some(datasource) = &raw.datasource {
            self.datasource(raw, datasource, path)?
        } else if let Some(tiles) = &raw.expire_tiles {
            support::is_supported(self.findings, "expire_tiles", tiles.span, format!("{path}.expire_tiles"));
            return Err(());
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

    fn datasource(
        &mut self,
        raw: &Spanned<raw::Coverage>,
        datasource: &Spanned<Numbers>,
        path: &str,
    ) -> Result<CoverageShape, ()> {
        let key_path = format!("{path}.datasource");
        let srs = self.coverage_srs(raw.srs.as_ref(), "srs", raw.span, path)?;
        let text = match &datasource.value {
            Numbers::Text(text) if !is_bbox(text) => text,
            bbox => {
                let bbox = self.bbox(bbox, datasource.span, &key_path).ok_or(())?;
                return Ok(CoverageShape::Bbox { bbox, srs });
            }
        };
        if is_connection(text) {
            support::is_supported(self.findings, "ogr", datasource.span, key_path);
            return Err(());
        }
        let file_path = self.path(text);
        let start = self.readable(&file_path, datasource.span, &key_path)?;
        let format = match &*start {
            start if start.starts_with("polygon") || start.starts_with("multipolygon") => CoverageFile::Wkt,
            start if start.starts_with('{') && raw.where_.is_none() => CoverageFile::GeoJson,
            _ => {
                support::is_supported(self.findings, "ogr", datasource.span, key_path);
                return Err(());
            }
        };
        Ok(CoverageShape::Polygons { path: file_path, format, srs })
    }

    /// The first characters of a file in lower case, without byte order mark and leading blanks.
    pub(super) fn readable(&mut self, file: &std::path::Path, span: Span, path: &str) -> Result<String, ()> {
        let mut start = Vec::new();
        match File::open(file).and_then(|file| file.take(64).read_to_end(&mut start)) {
            Ok(_) => {
                self.files.push(file.to_path_buf());
                let text = String::from_utf8_lossy(&start);
                Ok(text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase())
            }
            Err(error) => {
                self.findings.error(span, path, format!("cannot read '{}': {error}", file.display()));
                Err(())
            }
        }
    }
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
