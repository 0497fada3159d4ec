//! A page for each layer: the map, what can be chosen, the addresses that are asked, and how other programs are told
//! of them.

use std::sync::Arc;

use askama::Template;
use mapproxy_grid::{Bbox, Origin, Srs, SrsDescription, TileGrid};
use mapproxy_map::Dimension;
use mapproxy_map::info::InfoKind;
use serde::Serialize;

use super::snippets::{self, Snippet, TiledSnippets, WmsSnippets};
use super::visible::Tiled;
use super::{Demo, Failure, Frame, encode, start_view, visible};
use crate::services::wms::{WmsOptions, WmsVersion};
use crate::services::wmts::{InfoFormat, Wmts};
use crate::{Incoming, TileSet};

#[derive(Template)]
#[template(path = "demo/viewer.html")]
pub(super) struct Page<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) viewer: Viewer,
}

/// What is particular to the layer and the service.
pub(super) struct Viewer {
    layer: String,
    title: String,
    abstract_: Option<String>,
    /// Pages of the same layer in all services.
    services: Vec<ServiceTab>,
    choices: Vec<Choice>,
    /// [`MapData`] as JSON.
    map: String,
    has_tiles: bool,
    has_background: bool,
    /// Formats of answers to clicks, as written in addresses, and as people call them.
    info_formats: Vec<(String, String)>,
    /// Address of the legend.
    legend: Option<String>,
    request_label: &'static str,
    facts: Vec<(&'static str, String)>,
    snippets: Vec<Snippet>,
}

struct ServiceTab {
    name: &'static str,
    href: String,
    is_current: bool,
}

/// A field of the form.
struct Choice {
    label: String,
    name: String,
    value: String,
    kind: ChoiceKind,
    options: Vec<ChoiceOption>,
}

/// How a field looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChoiceKind {
    Hidden,
    List,
    /// Free text, with the options as suggestions.
    Text,
}

/// A dimension and the value that is shown of it.
struct Chosen {
    /// As requests name it: `time`, `elevation`, `dim_other`.
    parameter: String,
    value: String,
    dimension: Arc<Dimension>,
}

struct ChoiceOption {
    value: String,
    text: String,
    selected: bool,
}

/// What `viewer.js` reads from `data-map`.
#[derive(Default, Serialize)]
struct MapData {
    /// With `{z}`, `{x}`, `{y}` for tiles, `{bbox}`, `{width}`, `{height}` for maps; relative to the page.
    url: String,
    /// `{bbox}` has y before x.
    north_first: bool,
    srs: String,
    /// Metres on the ground for each unit, to draw a scale.
    meters_per_unit: f64,
    is_geographic: bool,
    /// Where the centre may be.
    bbox: [f64; 4],
    /// The layer.
    extent: [f64; 4],
    /// What is shown first.
    focus: [f64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    tile_size: Option<[u32; 2]>,
    /// Rows in addresses count from the south.
    rows_from_south: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<LevelData>>,
    /// Where a click is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<InfoData>,
    /// Address of tiles in EPSG:3857 beneath the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<String>,
}

#[derive(Serialize)]
struct InfoData {
    /// As of the map or the tile, and with `{i}`, `{j}` and `{format}`.
    url: String,
}

#[derive(Serialize)]
struct LevelData {
    id: String,
    resolution: f64,
    columns: u32,
    rows: u32,
    /// North-west corner of the tile in the north-west.
    left: f64,
    top: f64,
}

/// A tiled layer as it is to be shown.
struct TiledLayer<'a> {
    service: TiledService,
    layer: &'a str,
    set: &'a TileSet,
    visible: Tiled<'a>,
    url: String,
    /// Identifier in addresses and number in the grid of each level.
    levels: Vec<(String, u8)>,
    /// Of dimensions.
    choices: Vec<Choice>,
    info: Option<InfoData>,
    info_formats: Vec<(String, String)>,
    snippets: Vec<Snippet>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TiledService {
    Wmts,
    Tms,
}

impl TiledService {
    fn parameter(self) -> &'static str {
        match self {
            TiledService::Wmts => "wmts_layer",
            TiledService::Tms => "tms_layer",
        }
    }
}

impl Demo {
    pub(super) fn wms_viewer(&self, name: &str, request: &Incoming<'_>) -> Result<Viewer, Failure> {
        let wms = self.options.wms.as_ref().ok_or(Failure::NoSuch("no such service"))?;
        let permit = self.wms_permit(request).ok_or(Failure::NoSuch("no such service"))?;
        let found = visible::find(&wms.root, name, &permit);
        let (layer, extent) = found.ok_or(Failure::NoSuch("no such layer"))?;
        let params = request.params();
        let srs = match params.get("srs") {
            Some(code) => wms.srs.iter().find(|srs| srs.code().eq_ignore_ascii_case(code)),
            None => wms.srs.first(),
        };
        let srs = srs.ok_or(Failure::NoSuch("no such SRS"))?;
        let formats: Vec<(&str, &str)> = wms.image_formats.iter().filter_map(|(name, _)| shown_format(name)).collect();
        let format = match params.get("format") {
            Some(format) => formats.iter().find(|(name, short)| *name == format || *short == format),
            None => formats.first(),
        };
        let (format, short_format) = *format.ok_or(Failure::NoSuch("no such format"))?;
        let versions = self.wms_versions();
        let version = match params.get("version") {
            Some(version) => versions.iter().find(|known| known.as_str() == version),
            None => versions.first(),
        };
        let version = *version.ok_or(Failure::NoSuch("no such version"))?;
        let has_alpha = !short_format.starts_with("jpeg");
        let transparent = has_alpha && params.get("transparent") != Some("false");
        let description = srs.describe();
        let extent = start_view::extent_in(srs, description.as_ref(), extent.as_ref());
        let north_first = version == WmsVersion::V1_3_0 && srs.is_north_first();
        let dimensions = match version {
            WmsVersion::V1_0_0 => Vec::new(),
            _ => chosen(&visible::dimensions(&wms.root, name), request),
        };
        let get_map = GetMap { version, layer: name, srs, format, transparent, dimensions: &dimensions };
        let is_queryable = layer.is_queryable() && permit.allows_info(Some(name));
        let info_formats = if is_queryable { info_formats(wms, version) } else { Vec::new() };
        let map = MapData {
            url: format!("..{}", get_map.path()),
            info: (!info_formats.is_empty()).then(|| InfoData { url: format!("..{}", get_map.info_path()) }),
            north_first,
            extent: extent.to_array(),
            ..self.map_data(srs, extent, extent, request)
        };
        let systems: Vec<(&str, String)> = wms.srs.iter().map(|srs| (srs.code(), self.name_of(srs, name))).collect();
        let mut choices = vec![
            hidden("wms_layer", name),
            choice("Reference system", "srs", systems.iter().map(|(code, text)| (*code, text.as_str())), srs.code()),
            choice("Format", "format", formats.iter().map(|(name, short)| (*name, *short)), format),
            choice("Version", "version", versions.iter().map(|v| (v.as_str(), v.as_str())), version.as_str()),
            if has_alpha {
                let options = [("true", "transparent"), ("false", "opaque")];
                choice("Empty areas", "transparent", options.into_iter(), if transparent { "true" } else { "false" })
            } else {
                hidden("transparent", "false")
            },
        ];
        choices.extend(dimensions.iter().map(dimension_choice));
        let snippets = snippets::wms(&WmsSnippets {
            script: &request.urls().script,
            layer: name,
            title: &layer.title,
            version,
            srs,
            format,
            transparent,
            extent,
            map_path: &get_map.path(),
        });
        Ok(Viewer {
            layer: name.to_owned(),
            title: layer.title.clone(),
            abstract_: layer.metadata.abstract_.clone(),
            services: self.service_tabs(name, "wms_layer", request),
            choices,
            map: json(&map),
            has_tiles: false,
            has_background: map.background.is_some(),
            info_formats,
            legend: self.legend(name, request),
            request_label: "GetMap request",
            facts: facts(srs, description, &extent),
            snippets,
        })
    }

    pub(super) fn wmts_viewer(&self, name: &str, request: &Incoming<'_>) -> Result<Viewer, Failure> {
        let no_service = || Failure::NoSuch("no such service");
        let wmts = self.options.wmts.as_ref().ok_or_else(no_service)?;
        let visible = self.visible_wmts(request).ok_or_else(no_service)?;
        let set = choose(&visible.of_layer(name), request)?;
        let format = set.format();
        let grid = set.grid().name();
        let dimensions = self.tile_layer(name).map(|layer| chosen(&layer.dimensions, request)).unwrap_or_default();
        let path = match wmts.template() {
            Some(template) => tile_path(template, name, grid, format, &dimensions),
            None => kvp_path("GetTile", name, grid, format, &dimensions),
        };
        let capabilities = match wmts.template() {
            Some(_) => "/wmts/1.0.0/WMTSCapabilities.xml",
            None => "/service?SERVICE=WMTS&REQUEST=GetCapabilities&VERSION=1.0.0",
        };
        let (info, info_formats) = match visible.permit.allows_info(Some(name)) {
            true => wmts_info(wmts, name, grid, format, &dimensions).unzip(),
            false => (None, None),
        };
        let info_formats = info_formats.unwrap_or_default();
        let levels = (0..=u8::MAX).zip(set.grid().levels()).map(|(z, _)| (format!("{z:02}"), z)).collect();
        let script = request.urls().script;
        let snippets = snippets::wmts(&TiledSnippets {
            script: &script,
            layer: name,
            grid: set.grid(),
            document: capabilities,
            xyz_path: is_xyz(set.grid()).then_some(&*path),
            format,
        });
        let url = format!("..{path}");
        let layer = TiledLayer {
            service: TiledService::Wmts,
            layer: name,
            set,
            visible,
            url,
            levels,
            choices: dimensions.iter().map(dimension_choice).collect(),
            info,
            info_formats,
            snippets,
        };
        Ok(self.tiled_viewer(layer, request))
    }

    pub(super) fn tms_viewer(&self, name: &str, request: &Incoming<'_>) -> Result<Viewer, Failure> {
        let no_service = || Failure::NoSuch("no such service");
        let tms = self.options.tms.as_ref().ok_or_else(no_service)?;
        let visible = self.visible_tms(request).ok_or_else(no_service)?;
        let set = choose(&visible.of_layer(name), request)?;
        let (spec, levels) = tms.spec_and_levels(name, set).ok_or(Failure::NoSuch("no such layer"))?;
        let format = set.format();
        let tile_map = format!("/tms/1.0.0/{}/{}", encode(name), encode(spec));
        let xyz = format!("/tiles/{}/{}/{{z}}/{{x}}/{{y}}.{format}?origin=nw", encode(name), encode(spec));
        let script = request.urls().script;
        let snippets = snippets::tms(&TiledSnippets {
            script: &script,
            layer: name,
            grid: set.grid(),
            document: &tile_map,
            xyz_path: is_xyz(set.grid()).then_some(&*xyz),
            format,
        });
        let url = format!("..{tile_map}/{{z}}/{{x}}/{{y}}.{format}");
        let layer = TiledLayer {
            service: TiledService::Tms,
            layer: name,
            set,
            visible,
            url,
            levels,
            choices: Vec::new(),
            info: None,
            info_formats: Vec::new(),
            snippets,
        };
        Ok(self.tiled_viewer(layer, request))
    }

    fn tiled_viewer(&self, layer: TiledLayer<'_>, request: &Incoming<'_>) -> Viewer {
        let grid = layer.set.grid();
        let bbox = grid.bbox();
        let description = grid.srs().describe();
        let extent = start_view::extent_in(grid.srs(), description.as_ref(), Some(&layer.set.extent));
        let extent = extent.intersection(&bbox).unwrap_or(bbox);
        let map = MapData {
            url: layer.url,
            tile_size: Some([grid.tile_size().width, grid.tile_size().height]),
            rows_from_south: layer.service == TiledService::Tms,
            info: layer.info,
            levels: Some(layer.levels.iter().filter_map(|(id, z)| level_data(grid, id, *z)).collect()),
            ..self.map_data(grid.srs(), bbox, extent, request)
        };
        let text = |grid: &TileGrid| format!("{} ({})", grid.name(), grid.srs());
        let sets = layer.visible.of_layer(layer.layer);
        let sets: Vec<(&str, String)> = sets.iter().map(|set| (set.grid().name(), text(set.grid()))).collect();
        let mut facts = facts(grid.srs(), description, &extent);
        if let Some(((first, _), (last, _))) = layer.levels.first().zip(layer.levels.last()) {
            facts.push(("Levels", format!("{first} to {last}")));
        }
        let size = grid.tile_size();
        facts.push(("Tiles", format!("{} × {} pixels, {}", size.width, size.height, layer.set.format())));
        facts.push(("Cache", layer.set.cache_name().to_owned()));
        let parameter = layer.service.parameter();
        let options = sets.iter().map(|(name, text)| (*name, text.as_str()));
        let metadata = self.tile_layer(layer.layer);
        let mut choices = vec![hidden(parameter, layer.layer), choice("Tile matrix set", "grid", options, grid.name())];
        choices.extend(layer.choices);
        Viewer {
            layer: layer.layer.to_owned(),
            title: metadata.map_or(layer.layer, |layer| layer.title.as_str()).to_owned(),
            abstract_: metadata.and_then(|layer| layer.metadata.abstract_.clone()),
            services: self.service_tabs(layer.layer, parameter, request),
            choices,
            map: json(&map),
            has_tiles: true,
            has_background: map.background.is_some(),
            info_formats: layer.info_formats,
            legend: self.legend(layer.layer, request),
            request_label: "Tile at the centre",
            facts,
            snippets: layer.snippets,
        }
    }

    /// What maps and tiles have in common.
    fn map_data(&self, srs: &Srs, bbox: Bbox, extent: Bbox, request: &Incoming<'_>) -> MapData {
        let of_wms = self.options.wms.iter().flat_map(|wms| &wms.srs);
        let of_tiles = self.options.layers.iter().flat_map(|layer| &layer.tile_sets).map(|set| set.grid().srs());
        let before = start_view::view_before(srs, request, of_wms.chain(of_tiles));
        let before = before.filter(|before| before.intersects(&bbox));
        MapData {
            srs: srs.code().to_owned(),
            meters_per_unit: srs.meters_per_unit(),
            is_geographic: srs.is_geographic(),
            bbox: bbox.to_array(),
            extent: extent.to_array(),
            focus: before.unwrap_or(extent).to_array(),
            background: self.options.background.clone().filter(|_| *srs == Srs::web_mercator()),
            ..MapData::default()
        }
    }

    /// The code of a reference system; whether there are tiles of the layer in it, so that nothing is reprojected.
    fn name_of(&self, srs: &Srs, layer: &str) -> String {
        let mut sets = self.tile_layer(layer).into_iter().flat_map(|layer| &layer.tile_sets);
        let is_cached = sets.any(|set| set.grid().srs() == srs);
        if is_cached { format!("{} · cached", srs.code()) } else { srs.code().to_owned() }
    }

    /// Address of the legend, if the WMS has one of the layer.
    fn legend(&self, name: &str, request: &Incoming<'_>) -> Option<String> {
        let (wms, permit) = self.options.wms.as_ref().zip(self.wms_permit(request))?;
        let (layer, _) = visible::find(&wms.root, name, &permit)?;
        // Legends came with 1.1.1.
        let version = self.wms_versions().into_iter().find(|version| *version >= WmsVersion::V1_1_1)?;
        layer.has_legend().then(|| {
            format!(
                "../service?SERVICE=WMS&VERSION={version}&REQUEST=GetLegendGraphic&SLD_VERSION=1.1.0&STYLE=\
                 &FORMAT=image/png&LAYER={}",
                encode(name)
            )
        })
    }

    /// Links to the layer in all services.
    fn service_tabs(&self, name: &str, current: &str, request: &Incoming<'_>) -> Vec<ServiceTab> {
        let has_tiles = |visible: Option<Tiled<'_>>| visible.is_some_and(|visible| !visible.of_layer(name).is_empty());
        let in_wms = || {
            let (wms, permit) = self.options.wms.as_ref().zip(self.wms_permit(request))?;
            visible::find(&wms.root, name, &permit)
        };
        let services = [
            ("WMS", "wms_layer", in_wms().is_some()),
            ("WMTS", "wmts_layer", has_tiles(self.visible_wmts(request))),
            ("TMS", "tms_layer", has_tiles(self.visible_tms(request))),
        ];
        let tab = |(title, parameter, _)| ServiceTab {
            name: title,
            href: format!("../demo/?{parameter}={}", encode(name)),
            is_current: parameter == current,
        };
        services.into_iter().filter(|(_, _, is_there)| *is_there).map(tab).collect()
    }
}

/// A map as the viewer and programs ask for it.
struct GetMap<'a> {
    version: WmsVersion,
    layer: &'a str,
    srs: &'a Srs,
    format: &'a str,
    transparent: bool,
    dimensions: &'a [Chosen],
}

impl GetMap<'_> {
    fn path(&self) -> String {
        let request = if self.version == WmsVersion::V1_0_0 { "map" } else { "GetMap" };
        format!("/service?SERVICE=WMS&{}={}&REQUEST={request}&{}", self.version_name(), self.version, self.map())
    }

    /// The request for what is at a pixel of the map, with `{i}`, `{j}` and `{format}`.
    fn info_path(&self) -> String {
        let request = if self.version == WmsVersion::V1_0_0 { "feature_info" } else { "GetFeatureInfo" };
        let (i, j) = if self.version == WmsVersion::V1_3_0 { ("I", "J") } else { ("X", "Y") };
        format!(
            "/service?SERVICE=WMS&{}={}&REQUEST={request}&{}&QUERY_LAYERS={}&INFO_FORMAT={{format}}&FEATURE_COUNT=10\
             &{i}={{i}}&{j}={{j}}",
            self.version_name(),
            self.version,
            self.map(),
            encode(self.layer),
        )
    }

    fn version_name(&self) -> &'static str {
        if self.version == WmsVersion::V1_0_0 { "WMTVER" } else { "VERSION" }
    }

    fn map(&self) -> String {
        let srs = if self.version == WmsVersion::V1_3_0 { "CRS" } else { "SRS" };
        let dimension = |chosen: &Chosen| format!("{}={}&", chosen.parameter.to_uppercase(), encode(&chosen.value));
        let dimensions: String = self.dimensions.iter().map(dimension).collect();
        format!(
            "LAYERS={}&STYLES=&{srs}={}&{dimensions}FORMAT={}&TRANSPARENT={}&WIDTH={{width}}&HEIGHT={{height}}\
             &BBOX={{bbox}}",
            encode(self.layer),
            encode(self.srs.code()),
            encode(self.format).replace("%2F", "/"),
            if self.transparent { "TRUE" } else { "FALSE" },
        )
    }
}

/// Media types of answers to clicks and their names for people.
fn info_formats(wms: &WmsOptions, version: WmsVersion) -> Vec<(String, String)> {
    let format = |kind: &InfoKind| {
        let (media_type, text) = match kind {
            InfoKind::Html => ("text/html", "HTML"),
            InfoKind::Text => ("text/plain", "Text"),
            InfoKind::Json => ("application/json", "JSON"),
            InfoKind::Xml if version == WmsVersion::V1_3_0 => ("text/xml", "XML"),
            InfoKind::Xml => ("application/vnd.ogc.gml", "GML"),
        };
        (media_type.to_owned(), text.to_owned())
    };
    let mut formats: Vec<_> = wms.info_kinds().iter().map(format).collect();
    // What reads best comes first.
    formats.sort_by_key(|(media_type, _)| media_type != "text/html");
    formats
}

/// Where clicks on tiles are answered, and in which formats: their names in requests and for people.
fn wmts_info(
    wmts: &Wmts,
    layer: &str,
    grid: &str,
    tile_format: &str,
    dimensions: &[Chosen],
) -> Option<(InfoData, Vec<(String, String)>)> {
    let formats = wmts.info_formats(layer);
    formats.first()?;
    let is_restful = wmts.info_template().is_some();
    let path = match wmts.info_template() {
        Some(template) => tile_path(template, layer, grid, tile_format, dimensions)
            .replace("{I}", "{i}")
            .replace("{J}", "{j}")
            .replace("{InfoFormat}", "{format}"),
        None => kvp_path("GetFeatureInfo", layer, grid, tile_format, dimensions) + "&I={i}&J={j}&INFOFORMAT={format}",
    };
    let name = |format: &InfoFormat| {
        let value = if is_restful { &format.suffix } else { &format.media_type };
        (value.clone(), format.media_type.clone())
    };
    let mut formats: Vec<_> = formats.iter().map(name).collect();
    formats.sort_by_key(|(_, media_type)| !media_type.contains("html"));
    Some((InfoData { url: format!("..{path}") }, formats))
}

/// The path of tiles or of feature info, as a template of the WMTS has it, with `{z}`, `{x}` and `{y}`.
fn tile_path(template: &str, layer: &str, grid: &str, format: &str, dimensions: &[Chosen]) -> String {
    with_dimensions(&format!("/wmts{template}"), dimensions)
        .replace("{Layer}", &encode(layer))
        .replace("{TileMatrixSet}", &encode(grid))
        .replace("{TileMatrix}", "{z}")
        .replace("{TileCol}", "{x}")
        .replace("{TileRow}", "{y}")
        .replace("{Style}", "default")
        .replace("{Format}", format)
}

/// The same by parameters.
fn kvp_path(request: &str, layer: &str, grid: &str, format: &str, dimensions: &[Chosen]) -> String {
    let dimension = |chosen: &Chosen| format!("&{}={}", chosen.parameter.to_uppercase(), encode(&chosen.value));
    let dimensions: String = dimensions.iter().map(dimension).collect();
    format!(
        "/service?SERVICE=WMTS&REQUEST={request}&VERSION=1.0.0&LAYER={}&STYLE=default&TILEMATRIXSET={}\
         &TILEMATRIX={{z}}&TILEROW={{y}}&TILECOL={{x}}&FORMAT=image/{format}{dimensions}",
        encode(layer),
        encode(grid),
    )
}

/// A template of paths whose variables of dimensions have these values.
fn with_dimensions(template: &str, dimensions: &[Chosen]) -> String {
    const KNOWN: [&str; 10] =
        ["Layer", "TileMatrixSet", "TileMatrix", "TileCol", "TileRow", "Style", "Format", "I", "J", "InfoFormat"];
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, (variable, after))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        path.push_str(before);
        let chosen = dimensions.iter().find(|chosen| chosen.dimension.is_asked_by(variable));
        match chosen {
            _ if KNOWN.contains(&variable) => path.push_str(&format!("{{{variable}}}")),
            Some(chosen) => path.push_str(&encode(&chosen.value)),
            None => path.push_str("default"),
        }
        rest = after;
    }
    path + rest
}

/// The set that a request names by grid or SRS; the first without either.
fn choose<'a>(sets: &[&'a TileSet], request: &Incoming<'_>) -> Result<&'a TileSet, Failure> {
    let params = request.params();
    let found = match (params.get("grid"), params.get("srs")) {
        (Some(grid), _) => sets.iter().find(|set| set.grid().name() == grid),
        (None, Some(code)) => sets.iter().find(|set| set.grid().srs().code().eq_ignore_ascii_case(code)),
        (None, None) => sets.first(),
    };
    found.copied().ok_or(Failure::NoSuch("no such layer"))
}

/// The grid that everybody calls XYZ: the square of the web mercator, halved at each level.
pub(super) fn is_xyz(grid: &TileGrid) -> bool {
    const HALF: f64 = 20_037_508.342_789_244;
    let is_square = grid.bbox().to_array().iter().all(|value| (value.abs() - HALF).abs() < 1.0);
    let mut levels = (0i32..).zip(grid.levels());
    let is_halved = |(z, level): (i32, &mapproxy_grid::Level)| {
        let expected = 2.0 * HALF / f64::from(grid.tile_size().width) / 2f64.powi(z);
        (level.resolution / expected - 1.0).abs() < 1e-6
    };
    *grid.srs() == Srs::web_mercator()
        && is_square
        && grid.tile_size().width == grid.tile_size().height
        && levels.all(is_halved)
}

fn level_data(grid: &TileGrid, id: &str, z: u8) -> Option<LevelData> {
    let level = grid.level(z)?;
    // With the origin in the south-west the northernmost tiles may reach beyond the grid's box.
    let top = match grid.origin() {
        Origin::UpperLeft => grid.bbox().max_y,
        Origin::LowerLeft => {
            let span = f64::from(grid.tile_size().height) * level.resolution;
            grid.bbox().min_y + f64::from(level.rows) * span
        }
    };
    Some(LevelData {
        id: id.to_owned(),
        resolution: level.resolution,
        columns: level.columns,
        rows: level.rows,
        left: grid.bbox().min_x,
        top,
    })
}

fn facts(srs: &Srs, description: Option<SrsDescription>, extent: &Bbox) -> Vec<(&'static str, String)> {
    let name = description.map(|description| format!("{} – {}", srs.code(), description.name));
    vec![
        ("Reference system", name.unwrap_or_else(|| srs.code().to_owned())),
        ("Extent", extent.to_array().map(|value| shown(value, srs)).join(", ")),
    ]
}

/// To the millimetre.
fn shown(value: f64, srs: &Srs) -> String {
    let text = format!("{value:.*}", if srs.is_geographic() { 8 } else { 3 });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn hidden(name: &str, value: &str) -> Choice {
    Choice {
        label: String::new(),
        name: name.to_owned(),
        value: value.to_owned(),
        kind: ChoiceKind::Hidden,
        options: Vec::new(),
    }
}

fn choice<'a>(label: &str, name: &str, options: impl Iterator<Item = (&'a str, &'a str)>, selected: &str) -> Choice {
    let option = |(value, text): (&str, &str)| ChoiceOption {
        value: value.to_owned(),
        text: text.to_owned(),
        selected: value == selected,
    };
    Choice {
        label: label.to_owned(),
        name: name.to_owned(),
        value: selected.to_owned(),
        kind: ChoiceKind::List,
        options: options.map(option).collect(),
    }
}

/// The values that a request names, or the defaults.
fn chosen(dimensions: &[Arc<Dimension>], request: &Incoming<'_>) -> Vec<Chosen> {
    let params = request.params();
    let value = |dimension: &Arc<Dimension>| {
        let asked = params.iter().find(|(name, _)| dimension.is_asked_by(name)).map(|(_, value)| value);
        let resolved = dimension.resolve(asked).map(|resolved| resolved.value);
        let value = resolved.unwrap_or_else(|| Arc::clone(dimension.default_value())).to_string();
        let parameter = match &**dimension.name() {
            name @ ("time" | "elevation") => name.to_owned(),
            name if name.starts_with("dim_") => name.to_owned(),
            name => format!("dim_{name}"),
        };
        Chosen { parameter, value, dimension: Arc::clone(dimension) }
    };
    dimensions.iter().map(value).collect()
}

/// A list of the values; where they are announced as a range, a text.
fn dimension_choice(chosen: &Chosen) -> Choice {
    let dimension = &chosen.dimension;
    let label = match dimension.units() {
        "" | "ISO8601" => dimension.name().to_string(),
        units => format!("{} ({})", dimension.name(), dimension.unit_symbol().unwrap_or(units)),
    };
    let announced = dimension.announced();
    let mut values: Vec<&str> = announced.iter().map(|value| &**value).collect();
    let has_ranges = values.iter().any(|value| dimension.resolve(Some(value)).is_none());
    if !values.contains(&chosen.value.as_str()) {
        values.insert(0, &chosen.value);
    }
    let mut choice = choice(&label, &chosen.parameter, values.iter().map(|value| (*value, *value)), &chosen.value);
    if has_ranges {
        choice.kind = ChoiceKind::Text;
    }
    choice
}

/// The format and its short name, if browsers show it.
fn shown_format(name: &str) -> Option<(&str, &str)> {
    let short = name.strip_prefix("image/").unwrap_or(name);
    let kind = short.split(';').next().unwrap_or(short).trim();
    ["png", "jpeg", "gif", "webp"].contains(&kind).then_some((name, short))
}

fn json(map: &MapData) -> String {
    serde_json::to_string(map).expect("numbers and strings can be written as JSON")
}
