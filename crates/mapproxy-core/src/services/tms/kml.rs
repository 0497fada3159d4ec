//! KML super-overlays (OGC 07-147r2, KML 2.2): a document for each tile, which places the pictures of the four (or so)
//! tiles below it and links to their documents. Google Earth asks for more as the user comes closer.

use std::fmt::Write as _;

use http::StatusCode;
use http::header::CACHE_CONTROL;
use mapproxy_grid::{Bbox, GridError, MapExtent, Origin, Srs, TileCoord, TileGrid};

use super::super::markup::{escape, escape_config};
use super::{TileMap, Tms, has_sqrt2_levels};
use crate::conditional::public_for;
use crate::response::respond;
use crate::{Incoming, Response};

const CONTENT_TYPE: &str = "application/vnd.google-earth.kml+xml";
/// How far web mercator reaches north and south, less a little.
const MERCATOR_LATITUDE: f64 = 85.051_1;

/// A tile below the one of the document.
struct SubTile {
    /// Level, column and row as URLs have them.
    z: u8,
    x: u32,
    y: u32,
    bbox: Bbox,
}

impl Tms {
    pub(super) fn super_overlay(
        &self,
        request: &Incoming<'_>,
        map: &TileMap,
        tile: TileCoord,
    ) -> Result<Response, GridError> {
        let grid = map.tiles.grid();
        let url = format!("{}/kml/{}/{}", escape(&request.urls().script), escape(&map.layer), escape(&map.spec));
        let format = map.tiles.format();
        let lod = grid.tile_size().width / 2;

        let mut xml =
            "<?xml version=\"1.0\"?>\n<kml xmlns=\"http://www.opengis.net/kml/2.2\">\n  <Document>\n".to_owned();
        let _ = writeln!(xml, "    <name>{}</name>", escape(&map.layer));
        if let Some(text) = &self.options.metadata.abstract_ {
            let _ = writeln!(xml, "    <description>{}</description>", escape_config(text));
        }
        let mut own = in_degrees(grid, &grid.tile_bbox(tile))?;
        // The first tile of a grid may be higher than the world.
        (own.min_y, own.max_y) = (own.min_y.max(-90.0), own.max_y.min(90.0));
        region(&mut xml, &own, None);
        let below = sub_tiles(grid, tile)?;
        for SubTile { z, x, y, bbox } in &below {
            let _ = writeln!(xml, "    <NetworkLink>\n      <name>{} - ({x}, {y}, {z})</name>", escape(&map.layer));
            region(&mut xml, bbox, Some(&format!("<minLodPixels>{lod}</minLodPixels><maxLodPixels>-1</maxLodPixels>")));
            let _ = writeln!(
                xml,
                "      <Link>\n        <href>{url}/{z}/{x}/{y}.kml</href>\n        \
                 <viewRefreshMode>onRegion</viewRefreshMode>\n        <viewFormat/>\n      </Link>\n    </NetworkLink>"
            );
        }
        for SubTile { z, x, y, bbox } in &below {
            let _ = writeln!(xml, "    <GroundOverlay>\n      <name>({x}, {y}, {z})</name>");
            let lods = format!(
                "<minLodPixels>{lod}</minLodPixels><maxLodPixels>{}</maxLodPixels>\
                 <minFadeExtent>8</minFadeExtent><maxFadeExtent>8</maxFadeExtent>",
                lod * 6
            );
            region(&mut xml, bbox, Some(&lods));
            let _ = writeln!(
                xml,
                "      <drawOrder>{z}</drawOrder>\n      <Icon><href>{url}/{z}/{x}/{y}.{format}</href></Icon>\n      \
                 <LatLonBox>{}</LatLonBox>\n    </GroundOverlay>",
                edges(bbox)
            );
        }
        xml.push_str("  </Document>\n</kml>\n");

        // The application adds a tag of the content.
        let mut response = respond(StatusCode::OK, CONTENT_TYPE, xml);
        response.headers_mut().insert(CACHE_CONTROL, public_for(self.options.max_age));
        Ok(response)
    }
}

/// The tiles of the next level that begin inside of `tile`, from the north-west, row by row.
fn sub_tiles(grid: &TileGrid, tile: TileCoord) -> Result<Vec<SubTile>, GridError> {
    let step = if has_sqrt2_levels(grid) { 2 } else { 1 };
    let level = tile.z.saturating_add(step);
    if usize::from(level) >= grid.levels().len() {
        return Ok(Vec::new());
    }
    let bbox = grid.tile_bbox(tile);
    // Less than any tile, more than what is lost in computing.
    let delta = bbox.width() * 1e-7;
    let begins_inside = |below: &Bbox| {
        let inside = |value: f64, min: f64, max: f64| value >= min - delta && value < max - delta;
        inside(below.min_x, bbox.min_x, bbox.max_x) && inside(below.min_y, bbox.min_y, bbox.max_y)
    };
    let mut below = Vec::new();
    for coord in grid.affected_level_tiles(&bbox, level)?.tiles.into_iter().flatten() {
        let own = grid.tile_bbox(coord);
        if begins_inside(&own) {
            let TileCoord { x, y, z } = if grid.origin() == Origin::LowerLeft { coord } else { grid.flip(coord) };
            below.push(SubTile { z: z / step, x, y, bbox: in_degrees(grid, &own)? });
        }
    }
    Ok(below)
}

/// The box in longitude and latitude. The poles have no picture in web mercator; the tiles next to them reach them here,
/// or there would be holes.
fn in_degrees(grid: &TileGrid, bbox: &Bbox) -> Result<Bbox, GridError> {
    let mut bbox = MapExtent::new(*bbox, grid.srs().clone()).bbox_in(&Srs::wgs84())?;
    if *grid.srs() == Srs::web_mercator() {
        if bbox.max_y > MERCATOR_LATITUDE {
            bbox.max_y = 90.0;
        }
        if bbox.min_y < -MERCATOR_LATITUDE {
            bbox.min_y = -90.0;
        }
    }
    // Tiles may reach beyond the world: the only one of the first level of a geodetic grid is square.
    Ok(Bbox::new(bbox.min_x.max(-180.0), bbox.min_y.max(-90.0), bbox.max_x.min(180.0), bbox.max_y.min(90.0)))
}

fn region(xml: &mut String, bbox: &Bbox, lod: Option<&str>) {
    let _ = write!(xml, "    <Region>\n      <LatLonAltBox>{}</LatLonAltBox>\n", edges(bbox));
    if let Some(lod) = lod {
        let _ = writeln!(xml, "      <Lod>{lod}</Lod>");
    }
    xml.push_str("    </Region>\n");
}

fn edges(bbox: &Bbox) -> String {
    let Bbox { min_x, min_y, max_x, max_y } = bbox;
    format!("<north>{max_y:.6}</north><south>{min_y:.6}</south><east>{max_x:.6}</east><west>{min_x:.6}</west>")
}
