//! Capabilities documents of all versions.
//!
//! A document is written once for each version, with and without the tile sets of WMS-C; then the address of the service
//! is put in, by which clients' documents differ, and what comes of it is kept for others. It is written again when more
//! is known of the sizes of legends.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use mapproxy_grid::{Bbox, PIXEL_SIZE_M, Srs};
use mapproxy_image::ImageFormat;
use mapproxy_map::info::InfoKind;
use mapproxy_map::ogc::float;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::boxes::{self, LayerBoxes};
use super::dialect::Dialect;
use super::inspire;
use super::legend::LegendSizes;
use super::{WmsOptions, WmsVersion};
use crate::layers::{Attribution, KeywordList, OnlineResource};
use crate::services::kept::KeptDocuments;
use crate::services::tms;
use crate::services::xml::{ADDRESS, Document, Writer};
use crate::{LayerMetadata, MapLayer};

/// What is said where the configuration has no title.
const DEFAULT_TITLE: &str = "MapProxy WMS";

/// What values of parameters may hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// The namespace of the references in all documents.
const XLINK: (&str, &str) = ("xmlns:xlink", "http://www.w3.org/1999/xlink");

/// All documents, as far as they were asked for.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    boxes: OnceLock<Vec<Arc<LayerBoxes>>>,
    documents: [[RwLock<Option<Written>>; 2]; 4],
    /// With an address.
    kept: KeptDocuments,
}

/// A document without an address.
#[derive(Clone, Debug)]
struct Written {
    /// Of the sizes of legends.
    generation: u64,
    document: Arc<Document>,
}

impl Capabilities {
    /// The document for clients who know the service under `address`. `generation`: of `sizes`.
    pub(super) fn text(
        &self,
        options: &WmsOptions,
        sizes: &LegendSizes,
        generation: u64,
        dialect: &Dialect,
        with_tile_sets: bool,
        address: &str,
    ) -> Bytes {
        self.kept.get_or_write(variant(dialect, with_tile_sets, generation), address, || {
            let written = self.written(generation, dialect, with_tile_sets).unwrap_or_else(|| {
                let boxes = self.boxes.get_or_init(|| boxes::of_tree(options)).iter();
                let writer = DocumentWriter { xml: Writer::default(), options, sizes, version: dialect.version, boxes };
                let document = Arc::new(writer.write(with_tile_sets));
                let mut place = self.place(dialect, with_tile_sets).write().unwrap_or_else(PoisonError::into_inner);
                *place = Some(Written { generation, document: Arc::clone(&document) });
                document
            });
            written.with_address(address)
        })
    }

    /// The document, if it was written before with sizes of this generation, for whatever address.
    pub(super) fn kept(
        &self,
        generation: u64,
        dialect: &Dialect,
        with_tile_sets: bool,
        address: &str,
    ) -> Option<Bytes> {
        let variant = variant(dialect, with_tile_sets, generation);
        self.kept.get(variant, address).or_else(|| {
            let document = self.written(generation, dialect, with_tile_sets)?;
            Some(self.kept.get_or_write(variant, address, || document.with_address(address)))
        })
    }

    fn written(&self, generation: u64, dialect: &Dialect, with_tile_sets: bool) -> Option<Arc<Document>> {
        let place = self.place(dialect, with_tile_sets).read().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().filter(|written| written.generation == generation).map(|written| Arc::clone(&written.document))
    }

    fn place(&self, dialect: &Dialect, with_tile_sets: bool) -> &RwLock<Option<Written>> {
        &self.documents[dialect.version as usize][usize::from(with_tile_sets)]
    }
}

/// What tells documents apart besides the address: those of older sizes of legends are asked for no more.
fn variant(dialect: &Dialect, with_tile_sets: bool, generation: u64) -> usize {
    let kind = dialect.version as usize * 2 + usize::from(with_tile_sets);
    // It would take all time there is to count so far.
    usize::try_from(generation).unwrap_or(usize::MAX).wrapping_mul(8).wrapping_add(kind)
}

struct DocumentWriter<'a> {
    xml: Writer,
    options: &'a WmsOptions,
    sizes: &'a LegendSizes,
    version: WmsVersion,
    /// Of the layers still to come, in the order of the document.
    boxes: std::slice::Iter<'a, Arc<LayerBoxes>>,
}

impl DocumentWriter<'_> {
    fn write(mut self, with_tile_sets: bool) -> Document {
        // Only the templates of 1.1 have tile sets.
        let is_1_1 = matches!(self.version, WmsVersion::V1_1_0 | WmsVersion::V1_1_1);
        let with_tile_sets = with_tile_sets && is_1_1;
        self.prolog(with_tile_sets);
        let version = self.version.as_str();
        let root = match self.version {
            WmsVersion::V1_3_0 => "WMS_Capabilities",
            _ => "WMT_MS_Capabilities",
        };
        match self.version {
            WmsVersion::V1_3_0 => {
                let mut attributes = vec![
                    ("xmlns", "http://www.opengis.net/wms"),
                    ("xmlns:sld", "http://www.opengis.net/sld"),
                    XLINK,
                    ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
                ];
                let mut schemas = "http://www.opengis.net/wms \
                                   http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd \
                                   http://www.opengis.net/sld \
                                   http://schemas.opengis.net/sld/1.1.0/sld_capabilities.xsd"
                    .to_owned();
                if self.options.inspire.is_some() {
                    attributes.extend(inspire::NAMESPACES);
                    schemas.push(' ');
                    schemas.push_str(inspire::SCHEMA_LOCATION);
                }
                attributes.extend([("version", version), ("xsi:schemaLocation", &schemas)]);
                self.xml.open(root, &attributes);
            }
            _ => self.xml.open(root, &[("version", version)]),
        }
        self.service();
        self.xml.open("Capability", &[]);
        self.requests();
        self.exceptions();
        if with_tile_sets {
            self.tile_sets();
        }
        if let Some(inspire) = self.options.inspire.as_deref().filter(|_| self.version == WmsVersion::V1_3_0) {
            inspire::write(&mut self.xml, inspire);
        }
        let options = self.options;
        self.layer(&options.root, true);
        self.xml.close("Capability");
        self.xml.close(root);
        self.xml.finish()
    }

    fn prolog(&mut self, with_tile_sets: bool) {
        self.xml.raw("<?xml version=\"1.0\"?>\n");
        let dtd = match self.version {
            WmsVersion::V1_0_0 => "1.0.0/WMS_MS_Capabilities.dtd",
            WmsVersion::V1_1_0 => "1.1.0/capabilities_1_1_0.dtd",
            WmsVersion::V1_1_1 => "1.1.1/WMS_MS_Capabilities.dtd",
            WmsVersion::V1_3_0 => return,
        };
        let vendor = if with_tile_sets {
            "(TileSet*)>\n\
             <!ELEMENT TileSet (SRS, BoundingBox?, Resolutions, Width, Height, Format, Layers*, Styles*)>\n\
             <!ELEMENT Resolutions (#PCDATA)>\n<!ELEMENT Width (#PCDATA)>\n<!ELEMENT Height (#PCDATA)>\n\
             <!ELEMENT Layers (#PCDATA)>\n<!ELEMENT Styles (#PCDATA)>"
        } else {
            "EMPTY>"
        };
        self.xml.raw(&format!(
            "<!DOCTYPE WMT_MS_Capabilities SYSTEM \"http://schemas.opengis.net/wms/{dtd}\" [\n\
             <!ELEMENT VendorSpecificCapabilities {vendor}\n{}]>\n",
            self.dimension_declarations()
        ));
    }

    /// The attributes of dimensions that MapProxy and 1.3.0 have, and the DTD of 1.1.1 lacks.
    fn dimension_declarations(&self) -> &'static str {
        fn has_dimensions(layer: &MapLayer) -> bool {
            !layer.dimensions.is_empty() || layer.children.iter().any(has_dimensions)
        }
        if self.version == WmsVersion::V1_1_1 && has_dimensions(&self.options.root) {
            "<!ATTLIST Dimension default CDATA #IMPLIED nearestValue CDATA #IMPLIED>\n"
        } else {
            ""
        }
    }

    fn service(&mut self) {
        let metadata = &self.options.metadata;
        self.xml.open("Service", &[]);
        self.xml.element("Name", if self.version == WmsVersion::V1_3_0 { "WMS" } else { "OGC:WMS" });
        self.xml.element("Title", metadata.title.as_deref().unwrap_or(DEFAULT_TITLE));
        self.xml.element("Abstract", metadata.abstract_.as_deref().unwrap_or(""));
        if self.version == WmsVersion::V1_3_0 {
            self.keywords(&metadata.keyword_list);
        }
        let resource = metadata.online_resource.as_deref().unwrap_or(ADDRESS);
        match self.version {
            WmsVersion::V1_0_0 => self.xml.element("OnlineResource", resource),
            _ => self.reference(resource),
        }
        if self.version != WmsVersion::V1_0_0 {
            self.contact();
        }
        self.xml.element("Fees", metadata.fees.as_deref().unwrap_or("none"));
        self.xml.element("AccessConstraints", metadata.access_constraints.as_deref().unwrap_or("none"));
        if let Some(pixels) = self.options.max_output_pixels.filter(|_| self.version == WmsVersion::V1_3_0) {
            let side = pixels.isqrt().to_string();
            self.xml.element("MaxWidth", &side);
            self.xml.element("MaxHeight", &side);
        }
        self.xml.close("Service");
    }

    /// The standards want all elements, in this order.
    fn contact(&mut self) {
        let Some(contact) = &self.options.metadata.contact else { return };
        let xml = &mut self.xml;
        xml.open("ContactInformation", &[]);
        xml.open("ContactPersonPrimary", &[]);
        fields(xml, &[("ContactPerson", &contact.person), ("ContactOrganization", &contact.organization)]);
        xml.close("ContactPersonPrimary");
        fields(xml, &[("ContactPosition", &contact.position)]);
        xml.open("ContactAddress", &[]);
        xml.element("AddressType", contact.address_type.as_deref().unwrap_or("postal"));
        fields(
            xml,
            &[
                ("Address", &contact.address),
                ("City", &contact.city),
                ("StateOrProvince", &contact.state),
                ("PostCode", &contact.postcode),
                ("Country", &contact.country),
            ],
        );
        xml.close("ContactAddress");
        fields(
            xml,
            &[
                ("ContactVoiceTelephone", &contact.phone),
                ("ContactFacsimileTelephone", &contact.fax),
                ("ContactElectronicMailAddress", &contact.email),
            ],
        );
        xml.close("ContactInformation");
    }

    fn requests(&mut self) {
        self.xml.open("Request", &[]);
        let formats: Vec<&str> = self.options.image_formats.iter().map(|(name, _)| name.as_str()).collect();
        match self.version {
            WmsVersion::V1_0_0 => {
                // 1.0.0 has a closed list of names.
                let known =
                    [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/gif", "GIF"), ("image/tiff", "TIFF")];
                let known = |format: &&str| known.iter().find(|(mime, _)| mime == format).map(|(_, name)| *name);
                let formats: Vec<&str> = formats.iter().filter_map(known).collect();
                self.operation("Capabilities", &["WMS_XML"]);
                self.operation("Map", &formats);
            }
            WmsVersion::V1_1_0 | WmsVersion::V1_1_1 => {
                self.operation("GetCapabilities", &["application/vnd.ogc.wms_xml"]);
                self.operation("GetMap", &formats);
            }
            WmsVersion::V1_3_0 => {
                self.operation("GetCapabilities", &["text/xml"]);
                self.operation("GetMap", &formats);
            }
        }
        let info_formats = self.info_formats();
        let name = if self.version == WmsVersion::V1_0_0 { "FeatureInfo" } else { "GetFeatureInfo" };
        self.operation(name, &info_formats);
        let has_legends = self.options.root.has_legend();
        match self.version {
            WmsVersion::V1_1_1 if has_legends => self.operation("GetLegendGraphic", &formats),
            WmsVersion::V1_3_0 if has_legends => self.operation("sld:GetLegendGraphic", &formats),
            _ => {}
        }
        self.xml.close("Request");
    }

    fn operation(&mut self, name: &str, formats: &[&str]) {
        let address = format!("{ADDRESS}?");
        let xml = &mut self.xml;
        xml.open(name, &[]);
        if self.version == WmsVersion::V1_0_0 {
            xml.open("Format", &[]);
            formats.iter().for_each(|format| xml.empty(format, &[]));
            xml.close("Format");
        } else {
            formats.iter().for_each(|format| xml.element("Format", format));
        }
        xml.open("DCPType", &[]);
        xml.open("HTTP", &[]);
        if self.version == WmsVersion::V1_0_0 {
            xml.empty("Get", &[("onlineResource", &address)]);
        } else {
            xml.open("Get", &[]);
            self.reference(&address);
            self.xml.close("Get");
        }
        self.xml.close("HTTP");
        self.xml.close("DCPType");
        self.xml.close(name);
    }

    fn info_formats(&self) -> Vec<&'static str> {
        let format = |kind: &InfoKind| match (kind, self.version) {
            (InfoKind::Xml, WmsVersion::V1_0_0) => "GML.1",
            (_, WmsVersion::V1_0_0) => "MIME",
            (InfoKind::Text, _) => "text/plain",
            (InfoKind::Html, _) => "text/html",
            (InfoKind::Xml, WmsVersion::V1_3_0) => "text/xml",
            (InfoKind::Xml, _) => "application/vnd.ogc.gml",
            (InfoKind::Json, _) => "application/json",
        };
        self.options.info_kinds().iter().map(format).collect()
    }

    fn exceptions(&mut self) {
        let xml = &mut self.xml;
        xml.open("Exception", &[]);
        match self.version {
            WmsVersion::V1_0_0 => {
                xml.open("Format", &[]);
                ["INIMAGE", "BLANK", "WMS_XML"].iter().for_each(|name| xml.empty(name, &[]));
                xml.close("Format");
            }
            WmsVersion::V1_1_0 | WmsVersion::V1_1_1 => {
                for name in ["se_xml", "se_inimage", "se_blank"] {
                    xml.element("Format", &format!("application/vnd.ogc.{name}"));
                }
            }
            WmsVersion::V1_3_0 => ["XML", "INIMAGE", "BLANK"].iter().for_each(|name| xml.element("Format", name)),
        }
        xml.close("Exception");
    }

    /// The grids in which `tiled=true` gives tiles, as TMS offers them.
    fn tile_sets(&mut self) {
        let options = self.options;
        self.xml.open("VendorSpecificCapabilities", &[]);
        for layer in &options.tile_layers {
            for set in &layer.tile_sets {
                let grid = set.grid();
                let resolutions: Vec<String> = tms::offered_levels(grid).map(|level| float(level.resolution)).collect();
                let format = set.image().format.as_ref().filter(|format| !format.is_mixed());
                let code = match self.version {
                    WmsVersion::V1_1_0 => tms::srs_name(grid),
                    _ => grid.srs().code(),
                };
                self.xml.open("TileSet", &[]);
                self.xml.element("SRS", code);
                self.bbox("SRS", code, grid.bbox().to_array().map(float));
                self.xml.element("Resolutions", &resolutions.join(" "));
                self.xml.element("Width", &grid.tile_size().width.to_string());
                self.xml.element("Height", &grid.tile_size().height.to_string());
                self.xml.element("Format", format.map_or("image/png", ImageFormat::as_str));
                self.xml.element("Layers", &layer.name);
                self.xml.element("Styles", "");
                self.xml.close("TileSet");
            }
        }
        self.xml.close("VendorSpecificCapabilities");
    }

    /// The order of elements is that of the DTDs and of the schema.
    fn layer(&mut self, layer: &MapLayer, is_root: bool) {
        let boxes = Arc::clone(self.boxes.next().expect("there are boxes for each layer"));
        let metadata = Arc::clone(&layer.metadata);
        let queryable: &[(&str, &str)] = if layer.is_queryable() { &[("queryable", "1")] } else { &[] };
        self.xml.open("Layer", queryable);
        if let Some(name) = &layer.name {
            self.xml.element("Name", name);
        }
        let title = match layer.title.as_str() {
            "" if is_root => self.options.metadata.title.as_deref().unwrap_or(DEFAULT_TITLE),
            title => title,
        };
        self.xml.element("Title", title);
        if self.version >= WmsVersion::V1_1_1
            && let Some(text) = &metadata.abstract_
        {
            self.xml.element("Abstract", text);
        }
        if self.version == WmsVersion::V1_3_0 {
            self.keywords(&metadata.keywords);
        }
        self.srs_list(is_root);
        self.boxes(&boxes);
        self.dimensions(layer);
        self.links(&metadata);
        self.style(layer);
        self.scales(layer);
        for child in &layer.children {
            self.layer(child, false);
        }
        self.xml.close("Layer");
    }

    /// Children inherit the list, but those of 1.0.0 say it again.
    fn srs_list(&mut self, is_root: bool) {
        let codes = self.options.srs.iter().map(Srs::code);
        match self.version {
            WmsVersion::V1_0_0 => self.xml.element("SRS", &codes.collect::<Vec<_>>().join(" ")),
            _ if !is_root => {}
            WmsVersion::V1_1_0 => self.xml.element("SRS", &codes.collect::<Vec<_>>().join(" ")),
            WmsVersion::V1_1_1 => codes.for_each(|code| self.xml.element("SRS", code)),
            WmsVersion::V1_3_0 => codes.for_each(|code| self.xml.element("CRS", code)),
        }
    }

    fn boxes(&mut self, boxes: &LayerBoxes) {
        let [west, south, east, north] = boxes.geographic.to_array().map(number);
        if self.version == WmsVersion::V1_3_0 {
            self.xml.open("EX_GeographicBoundingBox", &[]);
            self.xml.element("westBoundLongitude", &west);
            self.xml.element("eastBoundLongitude", &east);
            self.xml.element("southBoundLatitude", &south);
            self.xml.element("northBoundLatitude", &north);
            self.xml.close("EX_GeographicBoundingBox");
        } else {
            let edges = [("minx", west.as_str()), ("miny", &south), ("maxx", &east), ("maxy", &north)];
            self.xml.empty("LatLonBoundingBox", &edges);
        }
        for (srs, bbox) in &boxes.boxes {
            let Bbox { min_x, min_y, max_x, max_y } = *bbox;
            match self.version {
                WmsVersion::V1_3_0 if srs.is_north_first() => {
                    self.bbox("CRS", srs.code(), [min_y, min_x, max_y, max_x].map(number))
                }
                WmsVersion::V1_3_0 => self.bbox("CRS", srs.code(), bbox.to_array().map(number)),
                _ => self.bbox("SRS", srs.code(), bbox.to_array().map(number)),
            }
        }
    }

    fn bbox(&mut self, srs_attribute: &str, code: &str, [min_x, min_y, max_x, max_y]: [String; 4]) {
        let edges = [("minx", min_x.as_str()), ("miny", &min_y), ("maxx", &max_x), ("maxy", &max_y)];
        self.xml.empty("BoundingBox", &[&[(srs_attribute, code)], &edges[..]].concat());
    }

    /// 1.3.0 has the values in the element, 1.1.x have an `Extent` for them, and 1.0.0 knows no dimensions. In 1.0.0 and
    /// 1.1.0 they are in `Dimension` all the same, which no DTD allows: there clients of MapProxy look for them, and all
    /// others have asked for 1.1.1 for twenty years.
    fn dimensions(&mut self, layer: &MapLayer) {
        let is_1_1 = matches!(self.version, WmsVersion::V1_1_0 | WmsVersion::V1_1_1);
        let texts = layer.dimensions.iter().map(|dimension| dimension.announced().join(","));
        let texts: Vec<String> = texts.collect();
        for (dimension, text) in layer.dimensions.iter().zip(&texts) {
            let nearest = if dimension.has_nearest() { "1" } else { "0" };
            let mut attributes = vec![("name", &**dimension.name()), ("units", dimension.units())];
            attributes.extend(dimension.unit_symbol().map(|symbol| ("unitSymbol", symbol)));
            attributes.extend([("default", &**dimension.default_value()), ("nearestValue", nearest)]);
            if self.version == WmsVersion::V1_3_0 && dimension.has_current() {
                attributes.push(("current", "1"));
            }
            if self.version == WmsVersion::V1_1_1 {
                self.xml.empty("Dimension", &attributes);
            } else {
                self.xml.element_with("Dimension", &attributes, text);
            }
        }
        if !is_1_1 {
            return;
        }
        for (dimension, text) in layer.dimensions.iter().zip(&texts) {
            let mut attributes = vec![("name", &**dimension.name()), ("default", dimension.default_value())];
            if self.version == WmsVersion::V1_1_1 && dimension.has_nearest() {
                attributes.push(("nearestValue", "1"));
            }
            self.xml.element_with("Extent", &attributes, text);
        }
    }

    fn links(&mut self, metadata: &LayerMetadata) {
        match self.version {
            WmsVersion::V1_0_0 | WmsVersion::V1_1_0 => {}
            WmsVersion::V1_1_1 => {
                // The DTD knows two kinds.
                for resource in &metadata.metadata {
                    let kind = match resource.kind.as_deref() {
                        Some("ISO19115:2003") => "TC211",
                        Some("FGDC:1998") => "FGDC",
                        _ => continue,
                    };
                    self.link("MetadataURL", &[("type", kind)], resource);
                }
            }
            WmsVersion::V1_3_0 => {
                if let Some(attribution) = &metadata.attribution {
                    self.attribution(attribution);
                }
                for identifier in &metadata.identifiers {
                    self.xml.open("AuthorityURL", &[("name", &identifier.name)]);
                    self.reference(&identifier.url);
                    self.xml.close("AuthorityURL");
                }
                for identifier in &metadata.identifiers {
                    self.xml.element_with("Identifier", &[("authority", &identifier.name)], &identifier.value);
                }
                for resource in &metadata.metadata {
                    self.link("MetadataURL", &[("type", resource.kind.as_deref().unwrap_or(""))], resource);
                }
                metadata.data.iter().for_each(|resource| self.link("DataURL", &[], resource));
                metadata.feature_lists.iter().for_each(|resource| self.link("FeatureListURL", &[], resource));
            }
        }
    }

    /// The style of a layer that has a legend of its own. Up to 1.1.1 the size of a legend must be said, so there is no
    /// legend before it is known.
    fn style(&mut self, layer: &MapLayer) {
        let Some(name) = layer.name.as_ref().filter(|_| !layer.legends.is_empty()) else { return };
        let size = self.sizes.size(name);
        if size.is_none() && matches!(self.version, WmsVersion::V1_1_0 | WmsVersion::V1_1_1) {
            return;
        }
        let url = format!(
            "{ADDRESS}?format=image%2Fpng&layer={}&sld_version=1.1.0&request=GetLegendGraphic&service=WMS&version=1.1.1\
             &styles=",
            utf8_percent_encode(name, ENCODED)
        );
        self.xml.open("Style", &[]);
        let is_inspire = self.version == WmsVersion::V1_3_0 && self.options.inspire.is_some();
        self.xml.element("Name", if is_inspire { "inspire_common:DEFAULT" } else { "default" });
        self.xml.element("Title", "default");
        if self.version == WmsVersion::V1_0_0 {
            self.xml.element("StyleURL", &url);
        } else {
            let sides = size.map(|size| [size.width.to_string(), size.height.to_string()]);
            let sides = sides.as_ref().map(|[width, height]| [("width", width.as_str()), ("height", height.as_str())]);
            self.xml.open("LegendURL", sides.as_ref().map_or(&[], |sides| sides));
            self.xml.element("Format", "image/png");
            self.reference(&url);
            self.xml.close("LegendURL");
        }
        self.xml.close("Style");
    }

    fn attribution(&mut self, attribution: &Attribution) {
        self.xml.open("Attribution", &[]);
        if let Some(title) = &attribution.title {
            self.xml.element("Title", title);
        }
        if let Some(url) = &attribution.url {
            self.reference(url);
        }
        if let Some(logo) = &attribution.logo {
            let width = logo.width.map(|width| width.to_string());
            let height = logo.height.map(|height| height.to_string());
            let sides = [("width", &width), ("height", &height)];
            let sides: Vec<_> = sides.iter().filter_map(|(name, side)| Some((*name, side.as_deref()?))).collect();
            self.xml.open("LogoURL", &sides);
            self.xml.element("Format", logo.format.as_deref().unwrap_or(""));
            self.reference(&logo.url);
            self.xml.close("LogoURL");
        }
        self.xml.close("Attribution");
    }

    fn link(&mut self, name: &str, attributes: &[(&str, &str)], resource: &OnlineResource) {
        self.xml.open(name, attributes);
        self.xml.element("Format", resource.format.as_deref().unwrap_or(""));
        self.reference(&resource.url);
        self.xml.close(name);
    }

    /// Scale hints are diagonals of a pixel in metres, denominators are of pixels of 0.28 mm.
    fn scales(&mut self, layer: &MapLayer) {
        let (finest, coarsest) = (layer.resolutions.max_res, layer.resolutions.min_res);
        if self.version == WmsVersion::V1_3_0 {
            for (name, resolution) in [("MinScaleDenominator", finest), ("MaxScaleDenominator", coarsest)] {
                if let Some(resolution) = resolution {
                    self.xml.element(name, &float(resolution / PIXEL_SIZE_M));
                }
            }
        } else if !layer.resolutions.is_unlimited() {
            let hint =
                |resolution: Option<f64>| resolution.map(|resolution| float((2.0 * resolution * resolution).sqrt()));
            let hints = [("min", hint(finest)), ("max", hint(coarsest))];
            let hints: Vec<_> = hints.iter().filter_map(|(name, hint)| Some((*name, hint.as_deref()?))).collect();
            self.xml.empty("ScaleHint", &hints);
        }
    }

    fn keywords(&mut self, lists: &[KeywordList]) {
        if lists.iter().all(|list| list.keywords.is_empty()) {
            return;
        }
        self.xml.open("KeywordList", &[]);
        for list in lists {
            let vocabulary = list.vocabulary.as_deref().map(|vocabulary| ("vocabulary", vocabulary));
            let attributes: Vec<_> = vocabulary.into_iter().collect();
            list.keywords.iter().for_each(|keyword| self.xml.element_with("Keyword", &attributes, keyword));
        }
        self.xml.close("KeywordList");
    }

    fn reference(&mut self, url: &str) {
        match self.version {
            // The root declares the namespace.
            WmsVersion::V1_3_0 => self.xml.empty("OnlineResource", &[("xlink:href", url)]),
            _ => self.xml.empty("OnlineResource", &[XLINK, ("xlink:href", url)]),
        }
    }
}

fn fields(xml: &mut Writer, fields: &[(&str, &Option<String>)]) {
    for (name, text) in fields {
        xml.element(name, text.as_deref().unwrap_or(""));
    }
}

/// A coordinate; whole numbers without a fraction.
fn number(value: f64) -> String {
    let mut text = float(value);
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}
