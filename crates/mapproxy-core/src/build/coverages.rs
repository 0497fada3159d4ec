//! Coverages: shapes in the configuration and in files.

use mapproxy_config::checked::{self, CoverageFile, CoverageShape};
use mapproxy_grid::{Bbox, Coverage};

use super::Parts;

impl Parts<'_> {
    /// The coverage, where there is one. `Err(())`: it cannot be built, and that has been told.
    pub(super) fn coverage(&self, config: Option<&checked::Coverage>) -> Result<Option<Coverage>, ()> {
        config.map(|config| self.build_coverage(config).ok_or(())).transpose()
    }

    fn build_coverage(&self, config: &checked::Coverage) -> Option<Coverage> {
        let parts = |parts: &[checked::Coverage]| -> Option<Vec<Coverage>> {
            parts.iter().map(|part| self.build_coverage(part)).collect()
        };
        let built = match &config.shape {
            CoverageShape::Bbox { bbox: [min_x, min_y, max_x, max_y], srs } => {
                let bbox = Bbox::new(*min_x, *min_y, *max_x, *max_y);
                Ok(Coverage::from_bbox(bbox, self.srs(srs, &config.at)?))
            }
            CoverageShape::Polygons { path, format, srs } => {
                let srs = self.srs(srs, &config.at)?;
                let text = match std::fs::read_to_string(path) {
                    Ok(text) => text,
                    Err(error) => return self.error(&config.at, format!("cannot read {}: {error}", path.display())),
                };
                let built = match format {
                    CoverageFile::Wkt => Coverage::from_wkt(text.trim_start_matches('\u{feff}'), srs),
                    CoverageFile::GeoJson => Coverage::from_geojson(&text, srs),
                };
                match built {
                    Ok(coverage) => Ok(coverage),
                    Err(error) => return self.error(&config.at, format!("{}: {error}", path.display())),
                }
            }
            CoverageShape::Union(list) => Coverage::union(&parts(list)?),
            CoverageShape::Intersection(list) => Coverage::intersection(&parts(list)?),
            CoverageShape::Difference(list) => Coverage::difference(&parts(list)?),
        };
        match built {
            Ok(coverage) => Some(coverage.with_clip(config.clip)),
            Err(error) => self.error(&config.at, error),
        }
    }
}
