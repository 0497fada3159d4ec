//! Grids: built-in ones, `base` chains, defaults.

use std::sync::Arc;

use super::{Grids, Resolver, origin};
use crate::check::{Reachable, Sections};
use crate::checked::{Grid, GridOrigin, Levels, Name, ResFactor};
use crate::position::{Origin, Span, Spanned};
use crate::raw::{self, NumberOrText, Text};

/// (key, SRS, origin)
const BUILT_IN: [(&str, &str, GridOrigin); 3] = [
    ("GLOBAL_GEODETIC", "EPSG:4326", GridOrigin::LowerLeft),
    ("GLOBAL_MERCATOR", "EPSG:900913", GridOrigin::LowerLeft),
    ("GLOBAL_WEBMERCATOR", "EPSG:3857", GridOrigin::UpperLeft),
];

/// Codes of the SRS whose whole extent is known.
const WITH_EXTENT: [&str; 6] = ["EPSG:4326", "CRS:84", "EPSG:900913", "EPSG:3857", "EPSG:102100", "EPSG:102113"];

impl Resolver<'_> {
    /// All grids, built-in ones first.
    pub(super) fn grids(&mut self, sections: Sections<'_>, reachable: &Reachable) -> Grids {
        let mut grids = Grids::new();
        let tile_size = self.default_tile_size();
        let (stretch_factor, max_shrink_factor) = self.default_factors();
        for (key, srs, origin) in BUILT_IN {
            if sections.grids.contains_key(key) {
                continue;
            }
            let key: Name = Arc::from(key);
            let grid = Grid {
                key: Arc::clone(&key),
                name: Arc::clone(&key),
                at: Origin::new(format!("grids.{key}"), Span::default()),
                srs: Arc::from(srs),
                bbox: None,
                bbox_srs: None,
                tile_size,
                origin,
                levels: Levels::Computed {
                    min_res: None,
                    max_res: None,
                    num_levels: None,
                    factor: None,
                    align_with: None,
                },
                threshold_res: Vec::new(),
                stretch_factor,
                max_shrink_factor,
            };
            grids.insert(key, grid);
        }
        for (key, entry) in sections.grids {
            let used = reachable.grids.contains(key);
            let grid = self.item(used, |resolver| resolver.grid(key, &entry.value, sections));
            if let Some(grid) = grid {
                grids.insert(Arc::clone(key), grid);
            }
        }
        self.check_alignment(sections, reachable, &mut grids);
        grids
    }

    fn default_tile_size(&mut self) -> [u32; 2] {
        let size = self.raw_globals.grid.as_ref().and_then(|grid| grid.tile_size.as_ref());
        size.and_then(|size| self.tile_size(size, "globals.grid.tile_size")).unwrap_or([256, 256])
    }

    fn default_factors(&mut self) -> (f64, f64) {
        let image = self.raw_globals.image.as_ref();
        let stretch = image.and_then(|image| image.stretch_factor.as_ref());
        let shrink = image.and_then(|image| image.max_shrink_factor.as_ref());
        let stretch = stretch.and_then(|factor| self.positive(factor, "globals.image.stretch_factor"));
        let shrink = shrink.and_then(|factor| self.positive(factor, "globals.image.max_shrink_factor"));
        (stretch.unwrap_or(1.15), shrink.unwrap_or(4.0))
    }

    fn tile_size(&mut self, size: &Spanned<Vec<Spanned<i64>>>, path: &str) -> Option<[u32; 2]> {
        let [width, height] = size.value.as_slice() else {
            self.findings.error(size.span, path, "tile_size is two numbers: width and height in pixels");
            return None;
        };
        Some([self.int(width, 1, path)?, self.int(height, 1, path)?])
    }

    fn grid(&mut self, key: &Name, raw: &Spanned<raw::Grid>, sections: Sections<'_>) -> Option<Grid> {
        let path = format!("grids.{key}");
        let folded = self.fold_base(key, raw, sections, &path)?;
        let srs: Arc<str> = folded.srs.as_ref().map_or_else(|| Arc::from("EPSG:900913"), |srs| Arc::clone(&srs.value));
        let bbox = match &folded.bbox {
            Some(bbox) => Some(self.bbox(&bbox.value, bbox.span, &format!("{path}.bbox"))?),
            None if WITH_EXTENT.contains(&&*normal_code(&srs)) => None,
            None => {
                self.findings.error(raw.span, path, format!("need a bbox for grid with SRS {srs}"));
                return None;
            }
        };
        let tile_size = match &folded.tile_size {
            Some(size) => self.tile_size(size, &format!("{path}.tile_size"))?,
            None => self.default_tile_size(),
        };
        let grid_origin = match &folded.origin {
            None => {
                let message = format!("grid '{key}' has no origin: it is counted from sw, the lower left corner");
                let help = Some("add `origin: nw` for a new grid, `origin: sw` to keep what there is".to_owned());
                self.findings.add(crate::diagnostic::Severity::Warning, raw.span, path.clone(), message, help);
                GridOrigin::LowerLeft
            }
            Some(text) => match &*text.value.to_ascii_lowercase() {
                "ll" | "sw" => GridOrigin::LowerLeft,
                "ul" | "nw" => GridOrigin::UpperLeft,
                _ => {
                    let message = format!("unknown origin value '{}': one of sw, ll, nw, ul is needed", text.value);
                    self.findings.error(text.span, format!("{path}.origin"), message);
                    return None;
                }
            },
        };
        let (stretch, shrink) = self.default_factors();
        let stretch_factor = match &folded.stretch_factor {
            Some(factor) => self.positive(factor, &format!("{path}.stretch_factor"))?,
            None => stretch,
        };
        let max_shrink_factor = match &folded.max_shrink_factor {
            Some(factor) => self.positive(factor, &format!("{path}.max_shrink_factor"))?,
            None => shrink,
        };
        let levels = self.levels(&folded, &path)?;
        let mut threshold_res = Vec::new();
        for res in folded.threshold_res.iter().flat_map(|list| list.value.iter()) {
            threshold_res.push(self.positive(res, &format!("{path}.threshold_res"))?);
        }
        Some(Grid {
            key: Arc::clone(key),
            name: raw.name.as_ref().map_or_else(|| Arc::clone(key), |name| Arc::clone(&name.value)),
            at: origin(path, raw.span),
            srs,
            bbox,
            bbox_srs: folded.bbox_srs.as_ref().map(|srs| Arc::clone(&srs.value)),
            tile_size,
            origin: grid_origin,
            levels,
            threshold_res,
            stretch_factor,
            max_shrink_factor,
        })
    }

    fn levels(&mut self, raw: &raw::Grid, path: &str) -> Option<Levels> {
        if let Some(res) = &raw.res {
            let other = raw
                .min_res
                .as_ref()
                .map(|value| (value.span, "min_res"))
                .or_else(|| raw.max_res.as_ref().map(|value| (value.span, "max_res")))
                .or_else(|| raw.align_resolutions_with.as_ref().map(|value| (value.span, "align_resolutions_with")));
            if let Some((span, other)) = other {
                let message = format!("res lists all resolutions, so {other} cannot be given with it");
                self.findings.error(span, format!("{path}.{other}"), message);
                return None;
            }
            let mut list = Vec::with_capacity(res.value.len());
            for number in &res.value {
                list.push(self.positive(number, &format!("{path}.res"))?);
            }
            if list.is_empty() {
                self.findings.error(res.span, format!("{path}.res"), "a grid needs at least one resolution");
                return None;
            }
            list.sort_by(|a, b| b.total_cmp(a));
            return Some(Levels::Listed(list));
        }
        let min_res = raw.min_res.as_ref().map(|res| self.positive(res, &format!("{path}.min_res")));
        let max_res = raw.max_res.as_ref().map(|res| self.positive(res, &format!("{path}.max_res")));
        let num_levels = raw.num_levels.as_ref().map(|count| self.int(count, 1, &format!("{path}.num_levels")));
        if let (Some(Some(min)), Some(Some(max)), Some(at)) = (min_res, max_res, &raw.max_res)
            && max > min
        {
            let message = format!("max_res ({max}) is the smaller number: it may not be above min_res ({min})");
            self.findings.error(at.span, format!("{path}.max_res"), message);
            return None;
        }
        if let (Some(Some(count)), Some(at)) = (num_levels, &raw.num_levels)
            && count > MAX_LEVELS
        {
            let message = format!("{count} levels are more than the {MAX_LEVELS} there can be");
            self.findings.error(at.span, format!("{path}.num_levels"), message);
            return None;
        }
        let factor = match raw.res_factor.as_ref().map(|factor| (&factor.value, factor.span)) {
            None => None,
            Some((NumberOrText::Number(value), _)) if value.is_finite() && *value > 1.0 => {
                Some(ResFactor::Value(*value))
            }
            Some((NumberOrText::Text(text), _)) if &**text == "sqrt2" => Some(ResFactor::Sqrt2),
            Some((_, span)) => {
                let message = "res_factor is a number above 1, or sqrt2";
                self.findings.error(span, format!("{path}.res_factor"), message);
                return None;
            }
        };
        Some(Levels::Computed {
            min_res: transpose(min_res)?,
            max_res: transpose(max_res)?,
            num_levels: transpose(num_levels)?,
            factor,
            align_with: raw.align_resolutions_with.as_ref().map(|grid| Arc::clone(&grid.value)),
        })
    }

    /// The grid's own options over those of its `base`, and so on.
    fn fold_base(
        &mut self,
        key: &Name,
        raw: &Spanned<raw::Grid>,
        sections: Sections<'_>,
        path: &str,
    ) -> Option<raw::Grid> {
        let mut folded = raw.value.clone();
        let mut seen: Vec<Text> = vec![Arc::clone(key)];
        let mut next = raw.base.clone();
        while let Some(base) = next {
            if seen.contains(&base.value) {
                let message = format!("grid '{key}' is based on itself: {} -> {}", seen.join(" -> "), base.value);
                self.findings.error(base.span, format!("{path}.base"), message);
                return None;
            }
            if let Some(entry) = sections.grids.get(&base.value) {
                fill(&mut folded, &entry.value.value);
                next = entry.value.base.clone();
            } else if let Some((_, srs, grid_origin)) = BUILT_IN.iter().find(|(name, _, _)| *name == &*base.value) {
                let corner = if *grid_origin == GridOrigin::UpperLeft { "nw" } else { "sw" };
                let text = |text: &str| Some(Spanned { value: Arc::from(text), span: base.span });
                fill(&mut folded, &raw::Grid { srs: text(srs), origin: text(corner), ..raw::Grid::default() });
                next = None;
            } else {
                let message = format!("unknown base {} for grid {key}", base.value);
                let known = sections.grids.keys().map(|name| &**name).chain(BUILT_IN.iter().map(|(name, _, _)| *name));
                let help = raw::nearest(&base.value, known).map(|near| format!("did you mean '{near}'?"));
                let severity = crate::diagnostic::Severity::Error;
                self.findings.add(severity, base.span, format!("{path}.base"), message, help);
                return None;
            }
            seen.push(base.value);
        }
        Some(folded)
    }

    /// Grids others are aligned with exist, and no grid is aligned with itself.
    fn check_alignment(&mut self, sections: Sections<'_>, reachable: &Reachable, grids: &mut Grids) {
        let mut broken = Vec::new();
        for (key, grid) in grids.iter() {
            let mut seen = vec![Arc::clone(key)];
            let mut at = grid;
            while let Levels::Computed { align_with: Some(other), .. } = &at.levels {
                let message = if seen.contains(other) {
                    format!("grid '{key}' is aligned with itself: {} -> {other}", seen.join(" -> "))
                } else if let Some(next) = grids.get(other) {
                    seen.push(Arc::clone(other));
                    at = next;
                    continue;
                } else if sections.grids.contains_key(other) {
                    format!("grid '{other}' cannot be built, so '{key}' cannot be aligned with it")
                } else {
                    format!("unknown grid '{other}' in align_resolutions_with")
                };
                broken.push((Arc::clone(key), grid.at.clone(), message));
                break;
            }
        }
        for (key, at, message) in broken {
            self.item(reachable.grids.contains(&key), |resolver| {
                resolver.findings.error(at.span, format!("{}.align_resolutions_with", at.path), message);
                Some(())
            });
            grids.shift_remove(&key);
        }
    }
}

/// Tile coordinates are 32 bit numbers, and no pyramid is deeper than this in earnest.
const MAX_LEVELS: u32 = 200;

/// `None` inside means it was reported.
fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

/// Options `grid` does not have itself are taken from `base`; names and bases are not.
fn fill(grid: &mut raw::Grid, base: &raw::Grid) {
    fn option<T: Clone>(own: &mut Option<T>, base: &Option<T>) {
        if own.is_none() {
            own.clone_from(base);
        }
    }
    option(&mut grid.srs, &base.srs);
    option(&mut grid.bbox, &base.bbox);
    option(&mut grid.bbox_srs, &base.bbox_srs);
    option(&mut grid.num_levels, &base.num_levels);
    option(&mut grid.res, &base.res);
    option(&mut grid.res_factor, &base.res_factor);
    option(&mut grid.max_res, &base.max_res);
    option(&mut grid.min_res, &base.min_res);
    option(&mut grid.stretch_factor, &base.stretch_factor);
    option(&mut grid.max_shrink_factor, &base.max_shrink_factor);
    option(&mut grid.align_resolutions_with, &base.align_resolutions_with);
    option(&mut grid.origin, &base.origin);
    option(&mut grid.tile_size, &base.tile_size);
    option(&mut grid.threshold_res, &base.threshold_res);
}

/// Codes are compared in upper case, and a number alone is an EPSG code.
fn normal_code(srs: &str) -> String {
    if srs.contains(':') { srs.to_ascii_uppercase() } else { format!("EPSG:{srs}") }
}
