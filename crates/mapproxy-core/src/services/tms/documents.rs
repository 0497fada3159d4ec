//! The documents of TMS: root resource, tile map service, tile map, error.

use std::fmt::Write as _;

use http::StatusCode;
use mapproxy_grid::{Bbox, MapExtent};
use mapproxy_map::ogc::float;

use super::super::markup::{escape, escape_config};
use super::{TileMap, Tms, srs_name};
use crate::Response;
use crate::auth::Permit;
use crate::request::Urls;
use crate::response::respond;

const XML: &str = "text/xml; charset=utf-8";
const DECLARATION: &str = "<?xml version=\"1.0\"?>\n";

pub(super) fn error(message: &str) -> String {
    format!("{DECLARATION}<TileMapServerError>\n  <Message>{}</Message>\n</TileMapServerError>\n", escape(message))
}

impl Tms {
    fn title(&self) -> String {
        escape_config(self.options.metadata.title.as_deref().unwrap_or("MapProxy"))
    }

    pub(super) fn root_resource(&self, urls: &Urls) -> Response {
        let (title, url) = (self.title(), escape(&urls.script));
        let service = format!("<TileMapService title=\"{title}\" version=\"1.0.0\" href=\"{url}/tms/1.0.0/\"/>");
        respond(StatusCode::OK, XML, format!("{DECLARATION}<Services>\n  {service}\n</Services>\n"))
    }

    pub(super) fn tile_map_service(&self, urls: &Urls, permit: &Permit) -> Response {
        let url = escape(&urls.script);
        let mut xml = format!("{DECLARATION}<TileMapService version=\"1.0.0\" services=\"{url}/tms/\">\n");
        let metadata = &self.options.metadata;
        line(&mut xml, 1, "Title", Some(&self.title()));
        line(&mut xml, 1, "Abstract", Some(&escape_config(metadata.abstract_.as_deref().unwrap_or(""))));
        let keywords: Vec<String> = metadata
            .keyword_list
            .iter()
            .flat_map(|list| &list.keywords)
            .map(|keyword| format!("\"{}\"", escape_config(keyword)))
            .collect();
        if !keywords.is_empty() {
            line(&mut xml, 1, "KeywordList", Some(&keywords.join(" ")));
        }
        if let Some(contact) = &metadata.contact {
            xml.push_str("  <ContactInformation>\n    <ContactPersonPrimary>\n");
            let text = |value: &Option<String>| value.as_deref().map(escape_config);
            line(&mut xml, 3, "ContactPerson", text(&contact.person).as_deref());
            line(&mut xml, 3, "ContactOrganization", text(&contact.organization).as_deref());
            xml.push_str("    </ContactPersonPrimary>\n");
            line(&mut xml, 2, "ContactPosition", text(&contact.position).as_deref());
            xml.push_str("    <ContactAddress>\n");
            line(&mut xml, 3, "AddressType", Some("postal"));
            line(&mut xml, 3, "Address", text(&contact.address).as_deref());
            line(&mut xml, 3, "City", text(&contact.city).as_deref());
            line(&mut xml, 3, "PostCode", text(&contact.postcode).as_deref());
            line(&mut xml, 3, "Country", text(&contact.country).as_deref());
            xml.push_str("    </ContactAddress>\n");
            line(&mut xml, 2, "ContactVoiceTelephone", text(&contact.phone).as_deref());
            line(&mut xml, 2, "ContactFacsimileTelephone", text(&contact.fax).as_deref());
            line(&mut xml, 2, "ContactElectronicMailAddress", text(&contact.email).as_deref());
            xml.push_str("  </ContactInformation>\n");
        }
        xml.push_str("  <TileMaps>\n");
        for map in self.maps.iter().filter(|map| permit.shows(&map.layer, &map.tiles.extent)) {
            let (title, srs) = (escape_config(&map.title), escape(srs_name(map.tiles.grid())));
            let href = format!("{url}/tms/1.0.0/{}/{}", escape(&map.layer), escape(&map.spec));
            let profile = map.profile;
            let _ =
                writeln!(xml, "    <TileMap title=\"{title}\" srs=\"{srs}\" profile=\"{profile}\" href=\"{href}\"/>");
        }
        xml.push_str("  </TileMaps>\n</TileMapService>\n");
        respond(StatusCode::OK, XML, xml)
    }

    pub(super) fn tile_map(&self, map: &TileMap, urls: &Urls, permit: &Permit) -> Response {
        let url = escape(&urls.script);
        let grid = map.tiles.grid();
        let mut xml = format!("{DECLARATION}<TileMap version=\"1.0.0\" tilemapservice=\"{url}/tms/1.0.0/\">\n");
        line(&mut xml, 1, "Title", Some(&escape_config(&map.title)));
        line(&mut xml, 1, "Abstract", Some(&escape_config(map.abstract_.as_deref().unwrap_or(""))));
        line(&mut xml, 1, "SRS", Some(&escape(srs_name(map.tiles.grid()))));
        // The origin is where tiles are counted from, wherever the part begins that may be seen.
        let [x, y, ..] = grid.bbox().to_array().map(float);
        let [min_x, min_y, max_x, max_y] = visible_bbox(map, permit).to_array().map(float);
        let _ = writeln!(
            xml,
            "  <BoundingBox minx=\"{min_x}\" miny=\"{min_y}\" maxx=\"{max_x}\" maxy=\"{max_y}\"/>\n  \
             <Origin x=\"{x}\" y=\"{y}\"/>"
        );
        let ext = map.tiles.format();
        let (width, height) = (grid.tile_size().width, grid.tile_size().height);
        let (ext, media_type) = (escape(ext), escape(&map.tiles.media_type()));
        let _ = writeln!(
            xml,
            "  <TileFormat width=\"{width}\" height=\"{height}\" mime-type=\"{media_type}\" extension=\"{ext}\"/>\n  \
             <TileSets profile=\"{}\">",
            map.profile
        );
        let href = format!("{url}/tms/1.0.0/{}/{}", escape(&map.layer), escape(&map.spec));
        for (order, resolution) in map.orders() {
            let res = float(resolution);
            let _ = writeln!(xml, "    <TileSet href=\"{href}/{order}\" units-per-pixel=\"{res}\" order=\"{order}\"/>");
        }
        xml.push_str("  </TileSets>\n</TileMap>\n");
        respond(StatusCode::OK, XML, xml)
    }
}

/// The box of the grid, as far as it may be seen.
fn visible_bbox(map: &TileMap, permit: &Permit) -> Bbox {
    let grid = map.tiles.grid();
    let whole = MapExtent::new(grid.bbox(), grid.srs().clone());
    let visible = permit.extent(Some(&map.layer), Some(&whole)).flatten();
    let visible = visible.and_then(|extent| extent.bbox_in(grid.srs()).ok()?.intersection(&grid.bbox()));
    visible.unwrap_or(grid.bbox())
}

/// An element with an escaped text, where there is one.
fn line(xml: &mut String, depth: usize, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        let _ = writeln!(xml, "{:1$}<{name}>{text}</{name}>", "", depth * 2);
    }
}
