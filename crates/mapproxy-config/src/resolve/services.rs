//! Services and what they tell of themselves.

use std::sync::Arc;

use indexmap::IndexMap;

use super::layers::{LayerTree, keyword_lists};
use super::{Resolver, origin};
use crate::checked::{
    BboxSrs, Contact, Demo, ImageOptions, InfoType, Kml, OnSourceErrors, ServiceMetadata, Services, Tms, Wms,
    WmsVersion, Wmts,
};
use crate::position::Spanned;
use crate::raw::{self, NumberOrList, Text};
use crate::yaml::Node;

/// Boxes that capabilities list where `bbox_srs` does not say which, if the service offers these SRS.
const DEFAULT_BBOX_SRS: [&str; 3] = ["EPSG:3857", "EPSG:4326", "EPSG:900913"];

const DEFAULT_SRS: [&str; 5] = ["EPSG:4326", "EPSG:4258", "CRS:84", "EPSG:900913", "EPSG:3857"];
const DEFAULT_FORMATS: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/GeoTIFF", "image/tiff"];
const DEFAULT_MAX_PIXELS: u64 = 16_000_000;

impl Resolver<'_> {
    pub(super) fn services(&mut self, raw: Option<&raw::Services>, layers: &LayerTree) -> Services {
        let Some(raw) = raw else {
            return Services::default();
        };
        let wms_md = raw.wms.as_ref().and_then(|wms| wms.md.as_ref());
        let mut shared = match wms_md {
            Some(md) => self.metadata(ServiceMetadata::default(), md, "services.wms.md"),
            None => ServiceMetadata::default(),
        };
        if raw.wms.is_some() {
            shared.title.get_or_insert_with(|| "MapProxy WMS".to_owned());
        }
        let drawing = raw.wms.as_ref().map(|wms| (wms.span, "services.wms"));
        let drawing = drawing.or_else(|| raw.ogcapi.as_ref().map(|ogcapi| (ogcapi.span, "services.ogcapi")));
        if let Some(service) = drawing
            && layers.root.is_none()
            && !self.findings.has_errors()
        {
            let (span, path) = layers.span.map_or(service, |span| (span, "layers"));
            self.findings.error(span, path, "found no WMS layer");
        }
        Services {
            wms: raw.wms.as_ref().and_then(|wms| self.wms_service(wms, &shared)),
            wmts: raw.wmts.as_ref().map(|wmts| self.wmts_service(wmts, &shared)),
            tms: raw.tms.as_ref().map(|tms| self.tms_service(tms, &shared)),
            kml: raw.kml.as_ref().map(|kml| Kml {
                at: origin("services.kml", kml.span),
                use_grid_names: kml.use_grid_names.as_ref().is_some_and(|names| names.value),
                md: self.own_metadata(kml.md.as_ref(), &shared, "services.kml.md"),
            }),
            ogcapi: raw.ogcapi.as_ref().and_then(|ogcapi| self.ogcapi_service(ogcapi)),
            demo: raw.demo.as_ref().map(|demo| Demo {
                at: origin("services.demo", demo.span),
                md: shared.clone(),
                background: self.background(),
            }),
        }
    }

    /// The background of the demo pages, if it is an address of tiles.
    fn background(&mut self) -> Option<String> {
        let url = self.raw_globals.background.as_ref()?.value.url.as_ref()?;
        if let Err(reason) = tiles_address(&url.value) {
            let message = format!("{reason}: the demo pages have no background");
            self.findings.warning(url.span, "globals.background.url", message);
            return None;
        }
        Some(url.value.to_string())
    }

    fn wms_service(&mut self, raw: &Spanned<raw::Wms>, md: &ServiceMetadata) -> Option<Wms> {
        let path = "services.wms";
        let global = self.raw_globals.wms.as_ref().map(|wms| &wms.value);
        let srs = raw.srs.as_ref().or_else(|| global.and_then(|wms| wms.srs.as_ref()));
        let srs: Vec<Arc<str>> = match srs {
            Some(list) => srs_codes(list),
            None => DEFAULT_SRS.into_iter().map(Arc::from).collect(),
        };
        let formats = raw.image_formats.as_ref().or_else(|| global.and_then(|wms| wms.image_formats.as_ref()));
        let image_formats = self.image_formats(formats, &DEFAULT_FORMATS, path);
        let mut bbox_srs = Vec::new();
        if raw.bbox_srs.is_none() {
            bbox_srs.extend(DEFAULT_BBOX_SRS.map(|srs| BboxSrs { srs: srs.into(), bbox: None }));
        }
        for (index, entry) in raw.bbox_srs.iter().flat_map(|list| list.value.iter()).enumerate() {
            bbox_srs.extend(self.bbox_srs(&entry.value, entry.span, &format!("{path}.bbox_srs[{index}]")));
        }
        let on_source_errors =
            raw.on_source_errors.as_ref().or_else(|| global.and_then(|wms| wms.on_source_errors.as_ref()));
        let on_source_errors = self.on_source_errors(on_source_errors, path);
        let pixels = raw.max_output_pixels.as_ref().or_else(|| global.and_then(|wms| wms.max_output_pixels.as_ref()));
        let max_output_pixels = self.max_output_pixels(pixels, path);
        let versions = match &raw.versions {
            Some(list) => {
                let mut versions = Vec::new();
                for (index, version) in list.value.iter().enumerate() {
                    versions.extend(self.wms_version(version, &format!("{path}.versions[{index}]")));
                }
                if list.value.is_empty() {
                    self.findings.error(list.span, format!("{path}.versions"), "at least one version is needed");
                }
                versions.sort_unstable();
                versions.dedup();
                versions
            }
            None => WmsVersion::ALL.to_vec(),
        };
        let renderers = raw
            .concurrent_layer_renderer
            .as_ref()
            .or_else(|| global.and_then(|wms| wms.concurrent_layer_renderer.as_ref()));
        let concurrent_layer_renderer = self.concurrent_layer_renderer(renderers, path);
        let inspire = raw.inspire_md.as_ref().and_then(|inspire| self.inspire(inspire, &format!("{path}.inspire_md")));
        let mut featureinfo_types = Vec::new();
        for (index, name) in raw.featureinfo_types.iter().flat_map(|list| list.value.iter()).enumerate() {
            featureinfo_types.extend(self.info_type(
                &name.value,
                name.span,
                &format!("{path}.featureinfo_types[{index}]"),
            ));
        }
        let mut featureinfo_xslt = Vec::new();
        for (name, entry) in raw.featureinfo_xslt.iter().flat_map(|table| table.value.iter()) {
            let path = format!("{path}.featureinfo_xslt.{name}");
            if let Some(kind) = self.info_type(name, entry.key_span, &path) {
                featureinfo_xslt.push((kind, self.stylesheet(&entry.value, path)));
            }
        }
        let strict = raw.strict.as_ref().or_else(|| global.and_then(|wms| wms.strict.as_ref()));
        let attribution = raw.attribution.as_ref().or_else(|| global.and_then(|wms| wms.attribution.as_ref()));
        Some(Wms {
            at: origin(path, raw.span),
            srs,
            bbox_srs,
            image_formats,
            attribution: attribution.and_then(|attribution| text(&attribution.text)),
            on_source_errors,
            max_output_pixels: max_output_pixels?,
            strict: strict.is_some_and(|strict| strict.value),
            versions,
            concurrent_layer_renderer: concurrent_layer_renderer?,
            inspire,
            featureinfo_types,
            featureinfo_xslt,
            md: md.clone(),
        })
    }

    fn info_type(&mut self, name: &str, span: crate::position::Span, path: &str) -> Option<InfoType> {
        let kind = InfoType::parse(name);
        if kind.is_none() {
            let message = format!("unknown type of feature info '{name}': text, html, xml and json are known");
            self.findings.warning(span, path, message);
        }
        kind
    }

    /// `image_formats` of a service at `path`.
    pub(super) fn image_formats(
        &mut self,
        formats: Option<&Spanned<Vec<Spanned<Text>>>>,
        default: &[&str],
        path: &str,
    ) -> IndexMap<Arc<str>, ImageOptions> {
        let mut image_formats = IndexMap::new();
        let Some(list) = formats else {
            image_formats.extend(default.iter().map(|&name| (Arc::from(name), self.globals.image.options(name))));
            return image_formats;
        };
        for (index, name) in list.value.iter().enumerate() {
            let path = format!("{path}.image_formats[{index}]");
            let options = self.globals.image.options(&name.value);
            let Some(mime) = options.format.clone() else {
                let message = format!("unknown image format '{}': it is not offered", name.value);
                self.findings.warning(name.span, path, message);
                continue;
            };
            if image_formats.insert(Arc::clone(&mime), options).is_some() {
                let message = format!("'{mime}' is given more than once: the last one counts");
                self.findings.warning(name.span, path, message);
            }
        }
        image_formats
    }

    pub(super) fn on_source_errors(&mut self, word: Option<&Spanned<Text>>, path: &str) -> OnSourceErrors {
        match word.map(|word| (&*word.value, word.span)) {
            None | Some(("notify", _)) => OnSourceErrors::Notify,
            Some(("raise", _)) => OnSourceErrors::Raise,
            Some((other, span)) => {
                let message = format!("unknown '{other}': notify or raise is needed; notify is used");
                self.findings.warning(span, format!("{path}.on_source_errors"), message);
                OnSourceErrors::Notify
            }
        }
    }

    pub(super) fn max_output_pixels(&mut self, raw: Option<&Spanned<NumberOrList>>, path: &str) -> Option<u64> {
        match raw {
            Some(pixels) => self.pixels(pixels, &format!("{path}.max_output_pixels")),
            None => Some(DEFAULT_MAX_PIXELS),
        }
    }

    pub(super) fn concurrent_layer_renderer(&mut self, raw: Option<&Spanned<f64>>, path: &str) -> Option<u32> {
        match raw {
            Some(count) => self.whole(count, 1, &format!("{path}.concurrent_layer_renderer")),
            None => Some(1),
        }
    }

    fn bbox_srs(&mut self, raw: &raw::BboxSrs, span: crate::position::Span, path: &str) -> Option<BboxSrs> {
        match raw {
            raw::BboxSrs::Srs(srs) => Some(BboxSrs { srs: Arc::clone(srs), bbox: None }),
            raw::BboxSrs::Limited(limited) => {
                let Some(srs) = &limited.srs else {
                    self.findings.error(span, path, format!("missing 'srs', not in {path}"));
                    return None;
                };
                let bbox = match &limited.bbox {
                    Some(bbox) => {
                        Some(self.bbox(&raw::Numbers::List(bbox.value.clone()), bbox.span, &format!("{path}.bbox"))?)
                    }
                    None => None,
                };
                Some(BboxSrs { srs: Arc::clone(&srs.value), bbox })
            }
        }
    }

    fn pixels(&mut self, raw: &Spanned<NumberOrList>, path: &str) -> Option<u64> {
        match &raw.value {
            NumberOrList::Number(number) if *number >= 1.0 && *number < 1e15 => Some(*number as u64),
            NumberOrList::List(list) => {
                let [width, height] = self.pair(list, raw.span, path)?;
                Some(u64::from(width) * u64::from(height))
            }
            NumberOrList::Number(number) => {
                self.findings.error(raw.span, path, format!("{number} is not a number of pixels"));
                None
            }
        }
    }

    fn wmts_service(&mut self, raw: &Spanned<raw::Wmts>, shared: &ServiceMetadata) -> Wmts {
        let path = "services.wmts";
        let kvp = raw.kvp.as_ref().map(|kvp| kvp.value);
        let restful = raw.restful.as_ref().map(|restful| restful.value);
        let neither = kvp.is_none() && restful.is_none();
        let mut featureinfo_formats = Vec::new();
        for (index, format) in raw.featureinfo_formats.iter().flat_map(|list| list.value.iter()).enumerate() {
            match (&format.mimetype, &format.suffix) {
                (Some(mime), Some(suffix)) => {
                    featureinfo_formats.push((mime.value.to_string(), suffix.value.to_string()));
                }
                (Some(_), None) => {
                    let path = format!("{path}.featureinfo_formats[{index}]");
                    let message = format!("missing 'suffix', not in {path}");
                    self.findings.error(format.span, path, message);
                }
                (None, _) => {}
            }
        }
        Wmts {
            at: origin(path, raw.span),
            kvp: kvp.unwrap_or(neither),
            restful: restful.unwrap_or(neither),
            restful_template: text(&raw.restful_template),
            restful_featureinfo_template: text(&raw.restful_featureinfo_template),
            featureinfo_formats,
            md: self.own_metadata(raw.md.as_ref(), shared, "services.wmts.md"),
        }
    }

    fn tms_service(&mut self, raw: &Spanned<raw::Tms>, shared: &ServiceMetadata) -> Tms {
        let origin_nw = match raw.origin.as_ref().map(|corner| (&*corner.value, corner.span)) {
            None | Some(("sw" | "ll", _)) => false,
            Some(("nw" | "ul", _)) => true,
            Some((other, span)) => {
                let message = format!("unknown origin value '{other}': nw or sw is needed");
                self.findings.error(span, "services.tms.origin", message);
                false
            }
        };
        Tms {
            at: origin("services.tms", raw.span),
            use_grid_names: raw.use_grid_names.as_ref().is_some_and(|names| names.value),
            origin_nw,
            md: self.own_metadata(raw.md.as_ref(), shared, "services.tms.md"),
        }
    }

    fn own_metadata(
        &mut self,
        raw: Option<&Spanned<raw::ServiceMetadata>>,
        shared: &ServiceMetadata,
        path: &str,
    ) -> ServiceMetadata {
        match raw {
            Some(raw) => self.metadata(shared.clone(), raw, path),
            None => shared.clone(),
        }
    }

    /// `raw` over `md`, key by key.
    fn metadata(&mut self, md: ServiceMetadata, raw: &raw::ServiceMetadata, path: &str) -> ServiceMetadata {
        ServiceMetadata {
            title: text(&raw.title).or(md.title),
            abstract_: text(&raw.abstract_).or(md.abstract_),
            online_resource: text(&raw.online_resource).or(md.online_resource),
            contact: raw.contact.as_ref().map(|contact| self.contact(&contact.value, path)).or(md.contact),
            fees: text(&raw.fees).or(md.fees),
            access_constraints: text(&raw.access_constraints).or(md.access_constraints),
            keyword_list: match &raw.keyword_list {
                Some(list) => keyword_lists(Some(list)),
                None => md.keyword_list,
            },
        }
    }

    /// Contacts may be written as numbers: postcodes and telephones often are.
    fn contact(&mut self, raw: &raw::Table<Node>, path: &str) -> Contact {
        const KNOWN: [&str; 12] = [
            "person",
            "position",
            "organization",
            "address",
            "address_type",
            "city",
            "postcode",
            "state",
            "country",
            "phone",
            "fax",
            "email",
        ];
        let mut contact = Contact::default();
        for (key, entry) in raw {
            let field = match &**key {
                "person" => &mut contact.person,
                "position" => &mut contact.position,
                "organization" => &mut contact.organization,
                "address" => &mut contact.address,
                "address_type" => &mut contact.address_type,
                "city" => &mut contact.city,
                "postcode" => &mut contact.postcode,
                "state" => &mut contact.state,
                "country" => &mut contact.country,
                "phone" => &mut contact.phone,
                "fax" => &mut contact.fax,
                "email" => &mut contact.email,
                other => {
                    let help = raw::nearest(other, KNOWN).map(|near| format!("did you mean '{near}'?"));
                    let message = format!("unknown '{other}' in {path}.contact");
                    let severity = crate::diagnostic::Severity::Warning;
                    self.findings.add(severity, entry.key_span, format!("{path}.contact"), message, help);
                    continue;
                }
            };
            *field = entry.value.value.python_text().map(|text| text.into_owned());
        }
        contact
    }
}

/// SRS codes in upper case, each once.
pub(super) fn srs_codes(list: &Spanned<Vec<Spanned<Text>>>) -> Vec<Arc<str>> {
    let mut codes: Vec<Arc<str>> = Vec::with_capacity(list.value.len());
    for code in &list.value {
        let code: Arc<str> = Arc::from(code.value.to_uppercase());
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

pub(super) fn text(text: &Option<Spanned<Text>>) -> Option<String> {
    text.as_ref().map(|text| text.value.to_string())
}

/// Whether browsers can ask for tiles at this address: it is http or https, names a host and nobody's password, and has
/// `{z}`, `{x}` and `{y}`.
fn tiles_address(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or("an address that begins with https:// or http:// is expected")?;
    let host = rest.split('/').next().unwrap_or("");
    if host.contains('@') {
        return Err("everybody could read the password in it");
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_host) {
        return Err("the name of one host is expected");
    }
    let mut path = rest.to_owned();
    for name in ["{z}", "{x}", "{y}"] {
        if !path.contains(name) {
            return Err("{z}, {x} and {y} are expected");
        }
        path = path.replace(name, "");
    }
    if path.contains(['{', '}']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("nothing but {z}, {x} and {y} can be filled in");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_is_an_address_of_tiles_on_one_host_without_a_password() {
        for url in ["https://tile.example.org/{z}/{x}/{y}.png", "http://[::1]:8080/t?z={z}&x={x}&y={y}"] {
            assert_eq!(tiles_address(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "tile.example.org/{z}/{x}/{y}.png",
            "ftp://a/{z}/{x}/{y}",
            "https:///{z}/{x}/{y}",
            "https://{s}.example.org/{z}/{x}/{y}",
            "https://a;script-src b/{z}/{x}/{y}",
            "https://me:secret@example.org/{z}/{x}/{y}",
            "https://a/{z}/{x}",
            "https://a/{z}/{x}/{y}{r}.png",
            "https://a/{z}/{x}/{y} .png",
        ] {
            assert!(tiles_address(url).is_err(), "{url}");
        }
    }
}
