//! A viewer page for each layer.

use askama::Template;
use mapproxy_grid::{Bbox, MapExtent, Origin, Srs, TileGrid};
use mapproxy_map::ogc::float;
use serde::Serialize;

use super::{Demo, DemoWms, Format, MatrixSet, NamedLayer, NoSuch, TiledLayer};
use crate::{Incoming, MapLayer, TileSet};

#[derive(Template)]
#[template(path = "demo/preview.html")]
pub(super) struct Preview<'a> {
    title: &'a str,
    version: &'static str,
    layer: String,
    choices: Vec<Choice>,
    /// [`ViewerMap`] as JSON.
    map: String,
    url_label: &'static str,
    extent: String,
    levels: Option<String>,
}

/// A drop-down list, or a hidden value where there is one option only.
struct Choice {
    label: &'static str,
    name: &'static str,
    options: Vec<ChoiceOption>,
}

struct ChoiceOption {
    value: String,
    text: String,
    selected: bool,
}

/// What `viewer.js` reads from `data-map`.
#[derive(Serialize)]
struct ViewerMap {
    /// With `{z}`, `{x}`, `{y}` for tiles, `{bbox}`, `{width}`, `{height}` for maps; relative to the page.
    url: String,
    srs: String,
    /// Where the centre may be.
    bbox: [f64; 4],
    /// What is shown first.
    focus: [f64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    tile_size: Option<[u32; 2]>,
    /// Rows in URLs count from the south.
    rows_from_south: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<ViewerLevel>>,
}

#[derive(Serialize)]
struct ViewerLevel {
    id: String,
    resolution: f64,
    columns: u32,
    rows: u32,
    /// North-west corner of the tile in the north-west.
    left: f64,
    top: f64,
}

/// A tiled layer as it is to be previewed.
struct TiledPreview<'a> {
    service: &'static str,
    layer: &'a str,
    set: &'a TileSet,
    sets: Vec<&'a TileSet>,
    url: String,
    rows_from_south: bool,
    /// Identifier in URLs and number in the grid of each level.
    levels: Vec<(String, u8)>,
}

impl Demo {
    pub(super) fn wms_preview(&self, name: &str, request: &Incoming<'_>) -> Result<Preview<'_>, NoSuch> {
        let wms = self.options.wms.as_ref().ok_or(NoSuch("no such service"))?;
        let layer = find_named(&wms.root, name).ok_or(NoSuch("no such layer"))?;
        let params = request.params();
        let srs = match params.get("srs") {
            Some(code) => wms.srs.iter().find(|srs| srs.code().eq_ignore_ascii_case(code)),
            None => wms.srs.first(),
        };
        let srs = srs.ok_or(NoSuch("no such SRS"))?;
        let formats = shown_formats(wms);
        let format = match params.get("format") {
            Some(format) => formats.iter().find(|f| f.name == format || f.short == format),
            None => formats.first(),
        };
        let format = format.ok_or(NoSuch("no such format"))?;
        let extent = layer.extent.clone().unwrap_or_else(MapExtent::world);
        let extent = visible_in(srs, &extent);
        // 1.1.1 has x before y for all SRS, as the viewer has.
        let url = format!(
            "../service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS={}&STYLES=&SRS={}&FORMAT={}&TRANSPARENT={}\
             &WIDTH={{width}}&HEIGHT={{height}}&BBOX={{bbox}}",
            encode(name),
            encode(srs.code()),
            encode(&format.name),
            format.short != "jpeg",
        );
        let map = ViewerMap {
            url,
            srs: srs.code().to_owned(),
            bbox: extent.to_array(),
            focus: extent.to_array(),
            tile_size: None,
            rows_from_south: false,
            levels: None,
        };
        let option = |value: &str, text: &str, selected: bool| ChoiceOption {
            value: value.to_owned(),
            text: text.to_owned(),
            selected,
        };
        let mut layers = Vec::new();
        collect_named(&wms.root, &mut layers);
        Ok(Preview {
            title: self.title(),
            version: env!("CARGO_PKG_VERSION"),
            layer: name.to_owned(),
            choices: vec![
                Choice {
                    label: "Layer",
                    name: "wms_layer",
                    options: layers.iter().map(|l| option(&l.name, &l.name, l.name == name)).collect(),
                },
                Choice {
                    label: "Coordinate system",
                    name: "srs",
                    options: wms.srs.iter().map(|s| option(s.code(), s.code(), s.code() == srs.code())).collect(),
                },
                Choice {
                    label: "Format",
                    name: "format",
                    options: formats.iter().map(|f| option(&f.name, &f.short, f.name == format.name)).collect(),
                },
            ],
            map: json(&map),
            url_label: "GetMap request",
            extent: format!("{} ({srs})", extent.to_array().map(float).join(", ")),
            levels: None,
        })
    }

    pub(super) fn wmts_preview(&self, name: &str, request: &Incoming<'_>) -> Result<Preview<'_>, NoSuch> {
        let wmts = self.options.wmts.as_ref().ok_or(NoSuch("no such service"))?;
        let sets: Vec<&TileSet> = wmts.tile_sets().filter(|(layer, _)| *layer == name).map(|(_, set)| set).collect();
        let set = choose(&sets, request)?;
        let format = public_format(set);
        let url = match wmts.template() {
            Some(template) => format!("../wmts{}", template)
                .replace("{Layer}", &encode(name))
                .replace("{TileMatrixSet}", &encode(set.grid().name()))
                .replace("{TileMatrix}", "{z}")
                .replace("{TileCol}", "{x}")
                .replace("{TileRow}", "{y}")
                .replace("{Style}", "default")
                .replace("{Format}", &format),
            None => format!(
                "../service?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER={}&STYLE=default&TILEMATRIXSET={}\
                 &TILEMATRIX={{z}}&TILEROW={{y}}&TILECOL={{x}}&FORMAT=image%2F{format}",
                encode(name),
                encode(set.grid().name()),
            ),
        };
        let levels = (0..=u8::MAX).zip(set.grid().levels()).map(|(z, _)| (format!("{z:02}"), z)).collect();
        self.tiled(TiledPreview { service: "wmts_layer", layer: name, set, sets, url, rows_from_south: false, levels })
    }

    pub(super) fn tms_preview(&self, name: &str, request: &Incoming<'_>) -> Result<Preview<'_>, NoSuch> {
        let tms = self.options.tms.as_ref().ok_or(NoSuch("no such service"))?;
        let sets: Vec<&TileSet> = tms.tile_sets().filter(|(layer, _)| *layer == name).map(|(_, set)| set).collect();
        let set = choose(&sets, request)?;
        let (spec, levels) = tms.spec_and_levels(name, set).ok_or(NoSuch("no such layer"))?;
        let format = public_format(set);
        let url = format!("../tms/1.0.0/{}/{}/{{z}}/{{x}}/{{y}}.{format}", encode(name), encode(spec));
        self.tiled(TiledPreview { service: "tms_layer", layer: name, set, sets, url, rows_from_south: true, levels })
    }

    fn tiled(&self, preview: TiledPreview<'_>) -> Result<Preview<'_>, NoSuch> {
        let grid = preview.set.grid();
        let bbox = grid.bbox();
        let extent = preview.set.extent.bbox_in(grid.srs()).ok().and_then(|extent| extent.intersection(&bbox));
        let extent = extent.unwrap_or(bbox);
        let levels = preview.levels.iter().filter_map(|(id, z)| viewer_level(grid, id, *z)).collect();
        let map = ViewerMap {
            url: preview.url,
            srs: grid.srs().code().to_owned(),
            bbox: bbox.to_array(),
            focus: extent.to_array(),
            tile_size: Some([grid.tile_size().width, grid.tile_size().height]),
            rows_from_south: preview.rows_from_south,
            levels: Some(levels),
        };
        let option = |set: &&TileSet| ChoiceOption {
            value: set.grid().name().to_owned(),
            text: format!("{} ({})", set.grid().name(), set.grid().srs()),
            selected: set.grid().name() == grid.name(),
        };
        let levels = preview.levels.first().zip(preview.levels.last());
        Ok(Preview {
            title: self.title(),
            version: env!("CARGO_PKG_VERSION"),
            layer: preview.layer.to_owned(),
            choices: vec![
                Choice {
                    label: "Layer",
                    name: preview.service,
                    options: vec![ChoiceOption {
                        value: preview.layer.to_owned(),
                        text: preview.layer.to_owned(),
                        selected: true,
                    }],
                },
                Choice { label: "Tile matrix set", name: "grid", options: preview.sets.iter().map(option).collect() },
            ],
            map: json(&map),
            url_label: "Tile at the centre",
            extent: format!("{} ({})", extent.to_array().map(float).join(", "), grid.srs()),
            levels: levels.map(|((first, _), (last, _))| format!("{first} to {last}")),
        })
    }
}

/// The set that a request names by grid or SRS; the first without either.
fn choose<'a>(sets: &[&'a TileSet], request: &Incoming<'_>) -> Result<&'a TileSet, NoSuch> {
    let params = request.params();
    let found = match (params.get("grid"), params.get("srs")) {
        (Some(grid), _) => sets.iter().find(|set| set.grid().name() == grid),
        (None, Some(code)) => sets.iter().find(|set| set.grid().srs().code().eq_ignore_ascii_case(code)),
        (None, None) => sets.first(),
    };
    found.copied().ok_or(NoSuch("no such layer"))
}

fn viewer_level(grid: &TileGrid, id: &str, z: u8) -> Option<ViewerLevel> {
    let level = grid.level(z)?;
    // With the origin in the south-west the northernmost tiles may reach beyond the grid's box.
    let top = match grid.origin() {
        Origin::UpperLeft => grid.bbox().max_y,
        Origin::LowerLeft => {
            let span = f64::from(grid.tile_size().height) * level.resolution;
            grid.bbox().min_y + f64::from(level.rows) * span
        }
    };
    Some(ViewerLevel {
        id: id.to_owned(),
        resolution: level.resolution,
        columns: level.columns,
        rows: level.rows,
        left: grid.bbox().min_x,
        top,
    })
}

/// The extent in `srs`, as far as the SRS can show it.
fn visible_in(srs: &Srs, extent: &MapExtent) -> Bbox {
    let limit = if *srs == Srs::web_mercator() { 85.06 } else { 89.9 };
    let wgs84 = Srs::wgs84();
    let clipped =
        extent.bbox_in(&wgs84).ok().and_then(|bbox| bbox.intersection(&Bbox::new(-180.0, -limit, 180.0, limit)));
    let direct = || extent.bbox_in(srs).ok().filter(Bbox::is_valid);
    if extent.srs == *srs {
        return extent.bbox;
    }
    let by_degrees = clipped.and_then(|bbox| wgs84.transform_bbox(srs, &bbox).ok()).filter(Bbox::is_valid);
    by_degrees.or_else(direct).unwrap_or(extent.bbox)
}

fn find_named<'a>(layer: &'a MapLayer, name: &str) -> Option<&'a MapLayer> {
    if layer.name.as_deref() == Some(name) {
        return Some(layer);
    }
    layer.children.iter().find_map(|child| find_named(child, name))
}

pub(super) fn collect_named(layer: &MapLayer, names: &mut Vec<NamedLayer>) {
    names.extend(layer.name.clone().map(|name| NamedLayer { name }));
    for child in &layer.children {
        collect_named(child, names);
    }
}

/// Formats that browsers show.
pub(super) fn shown_formats(wms: &DemoWms) -> Vec<Format> {
    let short = |name: &str| name.strip_prefix("image/").unwrap_or(name).to_owned();
    let shown = wms.formats.iter().filter(|name| ["png", "jpeg"].contains(&short(name).as_str()));
    shown.map(|name| Format { name: name.clone(), short: short(name) }).collect()
}

/// Layers with their sets, sorted by name.
pub(super) fn tiled_layers<'a>(sets: impl Iterator<Item = (&'a str, &'a TileSet)>) -> Vec<TiledLayer> {
    let mut layers: Vec<TiledLayer> = Vec::new();
    for (name, set) in sets {
        let grid = set.grid();
        let srs = grid.srs().code().to_owned();
        let entry = match layers.iter().position(|layer| layer.name == name) {
            Some(index) => &mut layers[index],
            None => {
                layers.push(TiledLayer { name: name.to_owned(), format: public_format(set), sets: Vec::new() });
                layers.last_mut().expect("a layer was pushed")
            }
        };
        let ambiguous = entry.sets.iter().any(|other| other.srs == srs);
        entry.sets.push(MatrixSet { grid: grid.name().to_owned(), srs, ambiguous });
    }
    layers.sort_by(|a, b| a.name.cmp(&b.name));
    layers
}

fn public_format(set: &TileSet) -> String {
    let ext = set.image().format.as_ref().map_or("png", |format| format.ext());
    if ext == "mixed" { "png".to_owned() } else { ext.to_owned() }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn json(map: &ViewerMap) -> String {
    serde_json::to_string(map).expect("numbers and strings can be written as JSON")
}
