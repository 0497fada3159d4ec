//! The capabilities document of WMTS (OGC 07-057r7, 7.1).

use std::fmt::Write as _;

use mapproxy_grid::{METERS_PER_DEGREE, MapExtent, PIXEL_SIZE_M, Srs, TileGrid};
use mapproxy_map::ogc::float;

use super::super::ServiceMetadata;
use super::super::markup::{escape, escape_config};
use super::{InfoFormat, TileTemplate, Wmts, WmtsLayer};
use crate::auth::Permit;

/// How tiles are asked for.
pub(super) enum Access<'a> {
    /// By parameters, at this address.
    Kvp { url: String },
    /// By paths below this address.
    Restful { url: String, template: &'a TileTemplate, info_template: Option<&'a TileTemplate> },
}

impl Wmts {
    /// `base_url`: the address under which all services are.
    pub(super) fn capabilities_document(&self, access: &Access<'_>, permit: &Permit, base_url: &str) -> String {
        let mut xml = String::with_capacity(4096 + self.layers.len() * 1024);
        xml.push_str(
            "<?xml version=\"1.0\"?>\n\
             <Capabilities xmlns=\"http://www.opengis.net/wmts/1.0\" xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
             xmlns:xlink=\"http://www.w3.org/1999/xlink\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xmlns:gml=\"http://www.opengis.net/gml\" \
             xsi:schemaLocation=\"http://www.opengis.net/wmts/1.0 \
             http://schemas.opengis.net/wmts/1.0/wmtsGetCapabilities_response.xsd\" version=\"1.0.0\">\n",
        );
        write_service(&mut xml, &self.options.metadata);
        let info_formats = self.options.info_formats.as_slice();
        write_operations(&mut xml, access, !info_formats.is_empty());
        xml.push_str("  <Contents>\n");
        let mut written: Vec<&str> = Vec::new();
        let mut sets = Vec::new();
        for layer in self.layers.iter().filter(|layer| permit.allows(&layer.name)) {
            let Some(extent) = permit.extent(Some(&layer.name), Some(&layer.extent)) else { continue };
            let is_queryable = layer.is_queryable(info_formats) && permit.allows_info(Some(&layer.name));
            let info_formats = if is_queryable { info_formats } else { &[] };
            write_layer(&mut xml, layer, extent.as_ref().unwrap_or(&layer.extent), access, info_formats, base_url);
            sets.extend(&layer.sets);
        }
        for set in sets {
            let grid = set.grid();
            if !written.contains(&grid.name()) {
                write_matrix_set(&mut xml, grid);
                written.push(grid.name());
            }
        }
        xml.push_str("  </Contents>\n");
        if let Access::Restful { url, .. } = access {
            let url = escape(url);
            let _ = writeln!(xml, "  <ServiceMetadataURL xlink:href=\"{url}/1.0.0/WMTSCapabilities.xml\"/>");
        }
        xml.push_str("</Capabilities>\n");
        xml
    }
}

fn write_service(xml: &mut String, metadata: &ServiceMetadata) {
    let text = |value: &Option<String>| value.as_deref().map(escape_config);
    xml.push_str("  <ows:ServiceIdentification>\n");
    element(xml, 4, "ows:Title", Some(&text(&metadata.title).unwrap_or_else(|| "MapProxy".to_owned())));
    element(xml, 4, "ows:Abstract", text(&metadata.abstract_).as_deref());
    let keywords: Vec<_> = metadata.keyword_list.iter().flat_map(|list| &list.keywords).collect();
    if !keywords.is_empty() {
        xml.push_str("    <ows:Keywords>\n");
        for keyword in keywords {
            element(xml, 6, "ows:Keyword", Some(&escape_config(keyword)));
        }
        xml.push_str("    </ows:Keywords>\n");
    }
    element(xml, 4, "ows:ServiceType", Some("OGC WMTS"));
    element(xml, 4, "ows:ServiceTypeVersion", Some("1.0.0"));
    element(xml, 4, "ows:Fees", Some(&text(&metadata.fees).unwrap_or_else(|| "none".to_owned())));
    let constraints = text(&metadata.access_constraints).unwrap_or_else(|| "none".to_owned());
    element(xml, 4, "ows:AccessConstraints", Some(&constraints));
    xml.push_str("  </ows:ServiceIdentification>\n");

    let Some(contact) = &metadata.contact else { return };
    xml.push_str("  <ows:ServiceProvider>\n");
    element(xml, 4, "ows:ProviderName", Some(&text(&contact.organization).unwrap_or_default()));
    if let Some(url) = text(&metadata.online_resource) {
        let _ = writeln!(xml, "    <ows:ProviderSite xlink:href=\"{url}\"/>");
    }
    xml.push_str("    <ows:ServiceContact>\n");
    element(xml, 6, "ows:IndividualName", text(&contact.person).as_deref());
    element(xml, 6, "ows:PositionName", text(&contact.position).as_deref());
    xml.push_str("      <ows:ContactInfo>\n        <ows:Phone>\n");
    element(xml, 10, "ows:Voice", text(&contact.phone).as_deref());
    element(xml, 10, "ows:Facsimile", text(&contact.fax).as_deref());
    xml.push_str("        </ows:Phone>\n        <ows:Address>\n");
    element(xml, 10, "ows:DeliveryPoint", text(&contact.address).as_deref());
    element(xml, 10, "ows:City", text(&contact.city).as_deref());
    element(xml, 10, "ows:AdministrativeArea", text(&contact.state).as_deref());
    element(xml, 10, "ows:PostalCode", text(&contact.postcode).as_deref());
    element(xml, 10, "ows:Country", text(&contact.country).as_deref());
    element(xml, 10, "ows:ElectronicMailAddress", text(&contact.email).as_deref());
    xml.push_str(
        "        </ows:Address>\n      </ows:ContactInfo>\n    </ows:ServiceContact>\n  </ows:ServiceProvider>\n",
    );
}

fn write_operations(xml: &mut String, access: &Access<'_>, has_info: bool) {
    xml.push_str("  <ows:OperationsMetadata>\n");
    let operations = ["GetCapabilities", "GetTile", "GetFeatureInfo"];
    for operation in operations.into_iter().take(if has_info { 3 } else { 2 }) {
        let (encoding, url) = match (access, operation) {
            (Access::Kvp { url }, _) => ("KVP", format!("{}?", escape(url))),
            (Access::Restful { url, .. }, "GetCapabilities") => {
                ("RESTful", format!("{}/1.0.0/WMTSCapabilities.xml", escape(url)))
            }
            (Access::Restful { url, .. }, _) => ("RESTful", format!("{}/", escape(url))),
        };
        let _ = writeln!(
            xml,
            "    <ows:Operation name=\"{operation}\">\n      <ows:DCP>\n        <ows:HTTP>\n          \
             <ows:Get xlink:href=\"{url}\">\n            <ows:Constraint name=\"GetEncoding\">\n              \
             <ows:AllowedValues>\n                <ows:Value>{encoding}</ows:Value>\n              \
             </ows:AllowedValues>\n            </ows:Constraint>\n          </ows:Get>\n        </ows:HTTP>\n      \
             </ows:DCP>\n    </ows:Operation>"
        );
    }
    xml.push_str("  </ows:OperationsMetadata>\n");
}

fn write_layer(
    xml: &mut String,
    layer: &WmtsLayer,
    extent: &MapExtent,
    access: &Access<'_>,
    info_formats: &[InfoFormat],
    base_url: &str,
) {
    let name = escape_config(&layer.name);
    let format = escape(&layer.format);
    xml.push_str("    <Layer>\n");
    element(xml, 6, "ows:Title", Some(&escape_config(&layer.title)));
    element(xml, 6, "ows:Abstract", Some(&escape_config(layer.abstract_.as_deref().unwrap_or(""))));
    if let Ok(bbox) = extent.bbox_in(&Srs::wgs84()) {
        let min_x = float(bbox.min_x.max(-180.0));
        let min_y = float(bbox.min_y.max(-89.999999));
        let max_x = float(bbox.max_x.min(180.0));
        let max_y = float(bbox.max_y.min(89.999999));
        xml.push_str("      <ows:WGS84BoundingBox>\n");
        element(xml, 8, "ows:LowerCorner", Some(&format!("{min_x} {min_y}")));
        element(xml, 8, "ows:UpperCorner", Some(&format!("{max_x} {max_y}")));
        xml.push_str("      </ows:WGS84BoundingBox>\n");
    }
    element(xml, 6, "ows:Identifier", Some(&name));
    let legend_url = match access {
        Access::Kvp { .. } => &layer.legend_urls.kvp,
        Access::Restful { .. } => &layer.legend_urls.restful,
    };
    xml.push_str("      <Style isDefault=\"true\">\n        <ows:Identifier>default</ows:Identifier>\n");
    if let Some(template) = legend_url {
        let url = template.replace("{base_url}", base_url).replace("{layer_name}", &layer.name);
        let _ = writeln!(xml, "        <LegendURL format=\"image/png\" xlink:href=\"{}\"/>", escape_config(&url));
    }
    xml.push_str("      </Style>\n");
    element(xml, 6, "Format", Some(&escape(&layer.media_type)));
    for format in info_formats {
        element(xml, 6, "InfoFormat", Some(&escape(&format.media_type)));
    }
    for dimension in &layer.dimensions {
        // What a path cannot say is not announced to those who ask by paths.
        let in_path = |template: &TileTemplate| template.dimensions().any(|name| dimension.is_asked_by(name));
        if matches!(access, Access::Restful { template, .. } if !in_path(template)) {
            continue;
        }
        xml.push_str("      <Dimension>\n");
        element(xml, 8, "ows:Identifier", Some(&escape(dimension.name())));
        if !dimension.units().is_empty() {
            element(xml, 8, "ows:UOM", Some(&escape(dimension.units())));
        }
        if let Some(symbol) = dimension.unit_symbol() {
            element(xml, 8, "UnitSymbol", Some(&escape_config(symbol)));
        }
        element(xml, 8, "Default", Some(&escape(dimension.default_value())));
        if dimension.has_current() {
            element(xml, 8, "Current", Some("true"));
        }
        for value in dimension.announced() {
            element(xml, 8, "Value", Some(&escape(value)));
        }
        xml.push_str("      </Dimension>\n");
    }
    for set in &layer.sets {
        xml.push_str("      <TileMatrixSetLink>\n");
        element(xml, 8, "TileMatrixSet", Some(&escape_config(set.grid().name())));
        xml.push_str("      </TileMatrixSetLink>\n");
    }
    if let Access::Restful { url, template, info_template } = access {
        let path = |template: &TileTemplate| {
            let path = escape(template.as_str())
                .replace("{Layer}", &name)
                .replace("{Format}", &format)
                .replace("{Style}", "default");
            // Variables of dimensions have the name of the dimension; a layer without it takes the default.
            template.dimensions().fold(path, |path, variable| {
                let own = layer.dimensions.iter().find(|dimension| dimension.is_asked_by(variable));
                let value =
                    own.map_or_else(|| "default".to_owned(), |dimension| format!("{{{}}}", escape(dimension.name())));
                path.replace(&format!("{{{}}}", escape(variable)), &value)
            })
        };
        let mut resource = |format: &str, kind: &str, path: &str| {
            let url = escape(url);
            let _ = writeln!(
                xml,
                "      <ResourceURL format=\"{format}\" resourceType=\"{kind}\" template=\"{url}{path}\"/>"
            );
        };
        resource(&escape(&layer.media_type), "tile", &path(template));
        for info_format in info_formats {
            let Some(template) = info_template else { continue };
            let path = path(template).replace("{InfoFormat}", &escape(&info_format.suffix));
            resource(&escape(&info_format.media_type), "FeatureInfo", &path);
        }
    }
    xml.push_str("    </Layer>\n");
}

fn write_matrix_set(xml: &mut String, grid: &TileGrid) {
    xml.push_str("    <TileMatrixSet>\n");
    element(xml, 6, "ows:Identifier", Some(&escape_config(grid.name())));
    // MapProxy has always written this URN without the empty version of OGC 07-092r3; clients know both.
    element(xml, 6, "ows:SupportedCRS", Some(&format!("urn:ogc:def:crs:{}", escape(grid.srs().code()))));
    let bbox = grid.bbox();
    let (x, y) = (float(bbox.min_x), float(bbox.max_y));
    let corner = if grid.srs().is_north_first() { format!("{y} {x}") } else { format!("{x} {y}") };
    for (index, level) in grid.levels().iter().enumerate() {
        xml.push_str("      <TileMatrix>\n");
        element(xml, 8, "ows:Identifier", Some(&format!("{index:02}")));
        element(xml, 8, "ScaleDenominator", Some(&scale_denominator(level.resolution, grid.srs())));
        element(xml, 8, "TopLeftCorner", Some(&corner));
        element(xml, 8, "TileWidth", Some(&grid.tile_size().width.to_string()));
        element(xml, 8, "TileHeight", Some(&grid.tile_size().height.to_string()));
        element(xml, 8, "MatrixWidth", Some(&level.columns.to_string()));
        element(xml, 8, "MatrixHeight", Some(&level.rows.to_string()));
        xml.push_str("      </TileMatrix>\n");
    }
    xml.push_str("    </TileMatrixSet>\n");
}

/// Resolution in metres over the standard pixel, with ten decimals at most.
fn scale_denominator(resolution: f64, srs: &Srs) -> String {
    let meters_per_unit = if srs.is_geographic() { METERS_PER_DEGREE } else { 1.0 };
    let scale = resolution / PIXEL_SIZE_M * meters_per_unit;
    let rounded: f64 = format!("{scale:.10}").parse().unwrap_or(scale);
    let text = float(rounded);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// An element with an escaped text, where there is one.
fn element(xml: &mut String, indent: usize, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        let _ = writeln!(xml, "{:indent$}<{name}>{text}</{name}>", "");
    }
}
