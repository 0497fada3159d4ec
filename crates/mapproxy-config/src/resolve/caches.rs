//! Caches: sources, grids, formats, directories.

use std::sync::Arc;

use indexmap::IndexMap;

use super::globals::permission;
use super::{CacheImages, Grids, Resolver, image, origin};
use crate::check::{self, Prefer, Reachable, Sections};
use crate::checked::caches::RescaleFrom;
use crate::checked::{
    Bands, Cache, CacheFormat, Color, Coverage, ImageOptions, Name, Permissions, Rescale, SingleColorLink, Source,
    SourceKind, SourceRef, SourceTarget, UseDirectFrom, Watermark,
};
use crate::diagnostic::Severity;
use crate::position::{Span, Spanned};
use crate::raw::{self, BoolOrText, CacheBackend, CacheSources};

impl Resolver<'_> {
    /// All caches that can be built, as they were written; `order` is the one to resolve them in.
    pub(super) fn caches(
        &mut self,
        sections: Sections<'_>,
        reachable: &Reachable,
        order: &[&Name],
        grids: &Grids,
        sources: &IndexMap<Name, Source>,
    ) -> IndexMap<Name, Cache> {
        let mut images = CacheImages::default();
        let mut resolved: rustc_hash::FxHashMap<&Name, Cache> = rustc_hash::FxHashMap::default();
        for name in order {
            let Some(entry) = sections.caches.get(*name) else { continue };
            let used = reachable.caches.contains(*name);
            let cache =
                self.item(used, |resolver| resolver.cache(name, &entry.value, sections, grids, sources, &images));
            if let Some(cache) = cache {
                images.insert(Arc::clone(name), cache.image.clone());
                resolved.insert(name, cache);
            }
        }
        sections.caches.keys().filter_map(|name| Some((Arc::clone(name), resolved.remove(name)?))).collect()
    }

    fn cache(
        &mut self,
        name: &Name,
        raw: &Spanned<raw::Cache>,
        sections: Sections<'_>,
        grids: &Grids,
        sources: &IndexMap<Name, Source>,
        images: &CacheImages,
    ) -> Option<Cache> {
        let path = format!("caches.{name}");
        let backend = raw.cache.as_ref();
        let disabled = raw.disable_storage.as_ref().is_some_and(|disabled| disabled.value);
        // What is wrong in one part does not keep the others from being looked at.
        let (refs, bands) = self.cache_sources(name, raw, sections, sources, images, &path).unzip();
        let grid_keys = self.cache_grids(name, raw, grids, &path);
        let watermark = raw.watermark.as_ref().and_then(|raw| self.watermark(&raw.value, raw.span, &path));
        let format = self.cache_format(raw, &path);
        let image = self.image(raw.image.as_ref(), Some(format.as_ref().map_or("image/png", |f| &f.0.name)), &path);
        let meta_size = self.meta_size(raw, &path);
        let meta_buffer = self.meta_buffer(raw, &path);
        let creators = self.tile_creators(raw, &path);
        let max_tile_limit = self.max_tile_limit(raw, &path);
        let link = self.single_color_link(raw, &path);
        let rescale = self.rescale(raw, &path);
        let use_direct_from = self.use_direct_from(raw, &path);
        let refresh_before = match &raw.refresh_before {
            Some(spec) => self.time(&spec.value, &format!("{path}.refresh_before")),
            None => None,
        };
        let coverage = self.cache_coverage(backend, &path);
        let permissions = self.permissions(backend, &path);

        let refs = refs?;
        let is_data = format.as_ref().is_some_and(|format| format.0.data);
        self.check_data(name, raw, &refs, sources, is_data, &path);
        if is_data {
            self.data_caches.insert(Arc::clone(name));
            if let Ok(Some(coverage)) = &coverage
                && coverage.clip
            {
                self.findings.error(
                    raw.span,
                    path.as_str(),
                    "tiles that are no pictures cannot be cut: `clip` has no meaning",
                );
            }
        }
        let meta_size = meta_size?;
        let meta_buffer = meta_buffer?;
        let is_single = matches!(refs.as_slice(), [SourceRef { target: SourceTarget::Source { .. }, .. }]);
        if use_direct_from.is_some() && (!is_single || matches!(bands, Some(Some(_)))) {
            let span = raw.use_direct_from_level.as_ref().or(raw.use_direct_from_res.as_ref()).map(|value| value.span);
            let message = "use_direct_from_level/res only supports single sources, and no caches";
            self.findings.error(span.unwrap_or_default(), path.as_str(), message);
        }
        self.check_meta_tiling(&refs, sources, meta_size, meta_buffer, raw, &path);
        let (format, request_format) = format?;
        let stores = self.stores(name, raw, &grid_keys?, grids, disabled);
        let source_images: Vec<&ImageOptions> = refs
            .iter()
            .filter_map(|reference| match &reference.target {
                SourceTarget::Cache(name) => images.get(name),
                SourceTarget::Source { name, .. } => sources.get(name).and_then(source_image),
            })
            .collect();
        Some(Cache {
            name: Arc::clone(name),
            image: image::inherit(image, &source_images),
            sources: refs,
            bands: bands?,
            grids: stores?,
            format,
            request_format,
            meta_size,
            meta_buffer,
            bulk_meta_tiles: self.flag(raw.bulk_meta_tiles.as_ref(), |global| global.bulk_meta_tiles.as_ref()),
            minimize_meta_requests: self
                .flag(raw.minimize_meta_requests.as_ref(), |global| global.minimize_meta_requests.as_ref()),
            concurrent_tile_creators: creators?,
            max_tile_limit: max_tile_limit?,
            use_direct_from,
            link_single_color_images: link,
            rescale,
            watermark,
            refresh_before,
            coverage: coverage.ok()?,
            tile_lock_dir: self.tile_lock_dir(raw),
            permissions,
            at: origin(path, raw.span),
        })
    }

    /// The sources, and how their bands are to be put together if that was written.
    fn cache_sources(
        &mut self,
        name: &Name,
        raw: &Spanned<raw::Cache>,
        sections: Sections<'_>,
        sources: &IndexMap<Name, Source>,
        images: &CacheImages,
        path: &str,
    ) -> Option<(Vec<SourceRef>, Option<Bands>)> {
        let written = raw.sources.as_ref()?;
        let (list, bands) = match &written.value {
            CacheSources::List(list) => (list.iter().collect(), None),
            CacheSources::Bands(bands) => {
                let (list, bands) = self.bands(bands, written.span, &format!("{path}.sources"))?;
                (list, Some(bands))
            }
        };
        let mut refs = Vec::with_capacity(list.len());
        let mut complete = true;
        for (index, source) in list.into_iter().enumerate() {
            let place = if bands.is_some() { String::new() } else { format!("[{index}]") };
            let at = origin(format!("{path}.sources{place}"), source.span);
            let unknown = |unknown: &str| format!("unknown source {unknown} in cache '{name}'");
            let Some(reference) = sections.reference(source, Prefer::Source, at, &unknown, self.findings) else {
                complete = false;
                continue;
            };
            let built = match &reference.target {
                SourceTarget::Cache(name) => images.contains_key(name),
                SourceTarget::Source { name, .. } => sources.contains_key(name),
            };
            // The reason is reported where it is, unless that was only a warning.
            complete &= built;
            self.check_layers(&reference);
            refs.push(reference);
        }
        complete.then_some((refs, bands))
    }

    /// A WMS source without layers needs them from whoever refers to it.
    pub(super) fn check_layers(&mut self, reference: &SourceRef) {
        if let SourceTarget::Source { name, layers: None } = &reference.target
            && let Some(span) = self.without_layers.get(name)
        {
            let message = format!("Missing 'layers' for source '{name}'");
            self.findings.warning(*span, format!("sources.{name}.req"), message);
        }
    }

    fn cache_grids(&mut self, name: &Name, raw: &Spanned<raw::Cache>, grids: &Grids, path: &str) -> Option<Vec<Name>> {
        let Some(written) = &raw.grids else {
            let message = format!("cache '{name}' has no grids: its tiles are kept in GLOBAL_MERCATOR");
            let help = Some("add `grids: [GLOBAL_WEBMERCATOR]` to a new cache".to_owned());
            self.findings.add(Severity::Warning, raw.span, path, message, help);
            let default = Arc::from(check::DEFAULT_GRID);
            return self.grid_reference(&default, raw.span, grids, path, "cache", name).map(|grid| vec![grid]);
        };
        if written.value.is_empty() {
            self.findings.error(written.span, format!("{path}.grids"), "a cache needs at least one grid");
            return None;
        }
        let mut keys = Vec::with_capacity(written.value.len());
        for (index, grid) in written.value.iter().enumerate() {
            let path = format!("{path}.grids[{index}]");
            keys.extend(self.grid_reference(&grid.value, grid.span, grids, &path, "cache", name));
        }
        (keys.len() == written.value.len()).then_some(keys)
    }

    fn cache_format(&mut self, raw: &raw::Cache, path: &str) -> Option<(CacheFormat, Arc<str>)> {
        let name: Arc<str> = raw.format.as_ref().map_or_else(|| Arc::from("image/png"), |name| Arc::clone(&name.value));
        let span = raw.format.as_ref().map(|name| name.span).unwrap_or_default();
        if self.globals.image.start(Some(&name)).format.is_none()
            && let Some((media_type, extension)) = crate::checked::image::data_format(&name)
        {
            if let Some(request) = &raw.request_format {
                let message =
                    format!("tiles of format '{name}' are passed on as they come: request_format has no meaning");
                self.findings.error(request.span, format!("{path}.request_format"), message);
            }
            let (mime, extension) = (Arc::from(media_type), Arc::from(extension));
            let format = CacheFormat { name, mime: Arc::clone(&mime), extension, mixed: false, data: true };
            return Some((format, mime));
        }
        let (name, mime) = match self.globals.image.start(Some(&name)).format {
            Some(mime) => (name, mime),
            // MapProxy has always stored PNG here; `png24` and the like are written in many configurations.
            None => {
                let message = format!("unknown image format '{name}': tiles are stored as image/png");
                let help =
                    "a media type such as image/png, or the name of one of globals.image.formats with a `format`";
                self.findings.add(Severity::Warning, span, format!("{path}.format"), message, Some(help.to_owned()));
                (Arc::from("image/png"), Arc::from("image/png"))
            }
        };
        let mixed = &*mime == "mixed";
        let request = raw.request_format.as_ref();
        let request_format = match request {
            Some(format) => match self.globals.image.start(Some(&format.value)).format {
                Some(mime) => mime,
                None => {
                    let message = format!("unknown image format '{}'", format.value);
                    self.findings.error(format.span, format!("{path}.request_format"), message);
                    return None;
                }
            },
            None => Arc::clone(&mime),
        };
        if mixed && !matches!(&*request_format, "image/png" | "image/vnd.jpeg-png") {
            let message = "request_format must be set to image/png or image/vnd.jpeg-png if mixed mode is enabled";
            self.findings.error(request.map_or(span, |format| format.span), path, message);
            return None;
        }
        let extension = Arc::from(crate::checked::image::format_extension(&mime));
        let mime = if mixed { Arc::from("image/png") } else { mime };
        Some((CacheFormat { name, mime, extension, mixed, data: false }, request_format))
    }

    /// Tiles that are no pictures are not merged, drawn on, scaled or made into pictures.
    fn check_data(
        &mut self,
        name: &Name,
        raw: &raw::Cache,
        refs: &[SourceRef],
        sources: &IndexMap<Name, Source>,
        is_data: bool,
        path: &str,
    ) {
        for reference in refs {
            let (comes_from_data, may_be_data) = match &reference.target {
                SourceTarget::Cache(below) => [self.data_caches.contains(below); 2].into(),
                SourceTarget::Source { name, .. } => {
                    let is_tile = |source: &Source| matches!(source.kind, SourceKind::Tile(_));
                    (false, sources.get(name).is_some_and(is_tile))
                }
            };
            let at = &reference.origin;
            if comes_from_data && !is_data {
                let message = format!("cache '{name}' needs pictures, and the tiles of this cache are none");
                self.findings.error(at.span, Arc::clone(&at.path), message);
            } else if is_data && !may_be_data {
                let message = format!(
                    "cache '{name}' has tiles that are no pictures: only a source of type 'tile', or another such cache, \
                     has them"
                );
                self.findings.error(at.span, Arc::clone(&at.path), message);
            }
        }
        if !is_data {
            return;
        }
        let mut refuse = |span: Option<Span>, what: &str| {
            if let Some(span) = span {
                let message = format!("cache '{name}' has tiles that are no pictures, passed on as they come: {what}");
                self.findings.error(span, path, message);
            }
        };
        let bands = raw.sources.as_ref().filter(|sources| matches!(sources.value, CacheSources::Bands(_)));
        refuse(bands.map(|sources| sources.span), "they have no bands");
        if refs.len() > 1 && bands.is_none() {
            refuse(
                raw.sources.as_ref().map(|sources| sources.span),
                "they cannot be merged, so there can be only one source",
            );
        }
        refuse(raw.image.as_ref().map(|image| image.span), "`image` has no meaning");
        refuse(raw.watermark.as_ref().map(|watermark| watermark.span), "nothing can be drawn on them");
        let rescaled = raw.upscale_tiles.as_ref().or(raw.downscale_tiles.as_ref());
        refuse(rescaled.map(|levels| levels.span), "they cannot be scaled");
        let links = raw.link_single_color_images.as_ref().filter(|link| !matches!(link.value, BoolOrText::Bool(false)));
        refuse(links.map(|link| link.span), "they have no colours to link them by");
        let bulk = raw.bulk_meta_tiles.as_ref().filter(|bulk| bulk.value);
        refuse(bulk.map(|bulk| bulk.span), "they are asked for one by one, not in meta tiles");
        let direct = raw.use_direct_from_level.as_ref().or(raw.use_direct_from_res.as_ref()).map(|value| value.span);
        refuse(direct, "there are no maps to be drawn of the source");
    }

    fn global(&self) -> Option<&raw::GlobalCache> {
        self.raw_globals.cache.as_ref().map(|cache| &cache.value)
    }

    fn flag(&self, own: Option<&Spanned<bool>>, global: impl Fn(&raw::GlobalCache) -> Option<&Spanned<bool>>) -> bool {
        own.or_else(|| self.global().and_then(global)).is_some_and(|flag| flag.value)
    }

    fn meta_size(&mut self, raw: &raw::Cache, path: &str) -> Option<[u32; 2]> {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.meta_size.as_ref());
        match (&raw.meta_size, global) {
            (Some(size), _) => self.pair(&size.value, size.span, &format!("{path}.meta_size")),
            (None, Some(size)) => self.pair(&size.value, size.span, "globals.cache.meta_size"),
            (None, None) => Some([4, 4]),
        }
    }

    fn meta_buffer(&mut self, raw: &raw::Cache, path: &str) -> Option<u32> {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.meta_buffer.as_ref());
        match (&raw.meta_buffer, global) {
            (Some(buffer), _) => self.whole(buffer, 0, &format!("{path}.meta_buffer")),
            (None, Some(buffer)) => self.whole(buffer, 0, "globals.cache.meta_buffer"),
            (None, None) => Some(80),
        }
    }

    fn tile_creators(&mut self, raw: &raw::Cache, path: &str) -> Option<u32> {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.concurrent_tile_creators.as_ref());
        match (&raw.concurrent_tile_creators, global) {
            (Some(count), _) => self.int(count, 1, &format!("{path}.concurrent_tile_creators")),
            (None, Some(count)) => self.int(count, 1, "globals.cache.concurrent_tile_creators"),
            (None, None) => Some(2),
        }
    }

    fn max_tile_limit(&mut self, raw: &raw::Cache, path: &str) -> Option<u32> {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.max_tile_limit.as_ref());
        match (&raw.max_tile_limit, global) {
            (Some(limit), _) => self.whole(limit, 0, &format!("{path}.max_tile_limit")),
            (None, Some(limit)) => self.whole(limit, 0, "globals.cache.max_tile_limit"),
            (None, None) => Some(500),
        }
    }

    fn watermark(&mut self, raw: &raw::Watermark, span: Span, path: &str) -> Option<Watermark> {
        let path = format!("{path}.watermark");
        let Some(text) = &raw.text else {
            self.findings.error(span, path.as_str(), "a watermark needs a text");
            return None;
        };
        let color = match &raw.color {
            Some(color) => self.color(&color.value, color.span, &format!("{path}.color"))?,
            None => Color { red: 128, green: 128, blue: 128, alpha: None },
        };
        let font_size = raw.font_size.as_ref().map_or(24.0, |size| size.value);
        if !(1.0..=1000.0).contains(&font_size) {
            let span = raw.font_size.as_ref().map_or(span, |size| size.span);
            self.findings.error(span, path.as_str(), "font_size must be a number of pixels from 1 to 1000");
        }
        let opacity = raw.opacity.as_ref().map_or(30.0, |opacity| opacity.value);
        if !(0.0..=255.0).contains(&opacity) {
            let span = raw.opacity.as_ref().map_or(span, |opacity| opacity.span);
            self.findings.error(span, path.as_str(), "opacity must be a number from 0 to 255");
        }
        let wide = match raw.spacing.as_ref().map(|spacing| (&*spacing.value, spacing.span)) {
            None => false,
            Some(("wide", _)) => true,
            Some((other, span)) => {
                let message = format!("unknown spacing '{other}': leave it out, or write wide");
                self.findings.error(span, path.as_str(), message);
                false
            }
        };
        Some(Watermark { text: text.value.to_string(), font_size, color, opacity: opacity as u8, wide })
    }

    fn single_color_link(&mut self, raw: &raw::Cache, path: &str) -> Option<SingleColorLink> {
        let global = self.raw_globals.cache.as_ref().and_then(|cache| cache.link_single_color_images.as_ref());
        let link = raw.link_single_color_images.as_ref().or(global)?;
        match &link.value {
            BoolOrText::Bool(false) => None,
            BoolOrText::Bool(true) => Some(SingleColorLink::Symlink),
            BoolOrText::Text(text) if &**text == "symlink" => Some(SingleColorLink::Symlink),
            BoolOrText::Text(text) if &**text == "hardlink" => Some(SingleColorLink::Hardlink),
            BoolOrText::Text(text) => {
                let message = format!("'{text}' is none of true, false, symlink, hardlink");
                self.findings.error(link.span, format!("{path}.link_single_color_images"), message);
                None
            }
        }
    }

    fn rescale(&mut self, raw: &raw::Cache, path: &str) -> Option<Rescale> {
        let up = raw.upscale_tiles.as_ref().filter(|levels| levels.value != 0);
        let down = raw.downscale_tiles.as_ref().filter(|levels| levels.value != 0);
        for (name, levels) in [("upscale_tiles", up), ("downscale_tiles", down)] {
            if let Some(levels) = levels.filter(|levels| levels.value < 0) {
                self.findings.error(levels.span, format!("{path}.{name}"), format!("{name} must be positive"));
            }
        }
        if let (Some(_), Some(down)) = (up, down) {
            let message = "cannot use both upscale_tiles and downscale_tiles";
            self.findings.error(down.span, path, message);
            return None;
        }
        let (from, levels) = match (up, down) {
            (Some(levels), _) => (RescaleFrom::Coarser, levels),
            (None, Some(levels)) => (RescaleFrom::Finer, levels),
            (None, None) => return None,
        };
        let store = raw.cache_rescaled_tiles.as_ref().is_some_and(|store| store.value);
        Some(Rescale { from, levels: u32::try_from(levels.value).ok()?, store })
    }

    fn use_direct_from(&mut self, raw: &raw::Cache, path: &str) -> Option<UseDirectFrom> {
        if let Some(level) = &raw.use_direct_from_level {
            if let Some(res) = &raw.use_direct_from_res {
                let message = "use_direct_from_level is given: use_direct_from_res does not count";
                self.findings.warning(res.span, format!("{path}.use_direct_from_res"), message);
            }
            return self.whole(level, 0, &format!("{path}.use_direct_from_level")).map(UseDirectFrom::Level);
        }
        let res = raw.use_direct_from_res.as_ref()?;
        self.positive(res, &format!("{path}.use_direct_from_res")).map(UseDirectFrom::Res)
    }

    fn cache_coverage(&mut self, backend: Option<&Spanned<CacheBackend>>, path: &str) -> Result<Option<Coverage>, ()> {
        match backend.and_then(|backend| backend.common().coverage.as_ref()) {
            Some(coverage) => self.coverage(coverage, &format!("{path}.cache.coverage")),
            None => Ok(None),
        }
    }

    fn permissions(&mut self, backend: Option<&Spanned<CacheBackend>>, path: &str) -> Permissions {
        let Some(common) = backend.map(|backend| backend.common()) else {
            return self.globals.permissions;
        };
        let global = self.globals.permissions;
        let directories = format!("{path}.cache.directory_permissions");
        let files = format!("{path}.cache.file_permissions");
        Permissions {
            directories: permission(common.directory_permissions.as_ref(), &directories, self.findings)
                .or(global.directories),
            files: permission(common.file_permissions.as_ref(), &files, self.findings).or(global.files),
        }
    }

    /// Sources of ready-made tiles and others do not go together while meta tiles are made.
    fn check_meta_tiling(
        &mut self,
        refs: &[SourceRef],
        sources: &IndexMap<Name, Source>,
        meta_size: [u32; 2],
        meta_buffer: u32,
        raw: &Spanned<raw::Cache>,
        path: &str,
    ) {
        if meta_size == [1, 1] && meta_buffer == 0 {
            return;
        }
        let is_tiled = |reference: &SourceRef| match &reference.target {
            SourceTarget::Source { name, .. } => {
                sources.get(name).map(|source| matches!(source.kind, SourceKind::Tile(_) | SourceKind::OgcApiTiles(_)))
            }
            SourceTarget::Cache(_) => None,
        };
        let kinds: Vec<bool> = refs.iter().filter_map(is_tiled).collect();
        if kinds.contains(&true) && kinds.contains(&false) {
            let span = raw.sources.as_ref().map_or(raw.span, |sources| sources.span);
            let message = "meta tiling configured but not supported by all sources";
            let help = Some("set `meta_size: [1, 1]` and `meta_buffer: 0`, or give each source a cache".to_owned());
            self.findings.add(Severity::Error, span, format!("{path}.sources"), message, help);
        }
    }
}

/// The image options of a source that has any.
fn source_image(source: &Source) -> Option<&ImageOptions> {
    match &source.kind {
        SourceKind::Wms(source) => Some(&source.image.options),
        SourceKind::Tile(source) => Some(&source.image.options),
        SourceKind::Raster(source) => Some(&source.image.options),
        SourceKind::Arcgis(source) => Some(&source.image.options),
        SourceKind::OgcApiMaps(source) => Some(&source.image.options),
        SourceKind::OgcApiTiles(source) => Some(&source.image.options),
        SourceKind::Mapnik(source) => Some(&source.image.options),
        SourceKind::Debug | SourceKind::Custom => None,
    }
}
