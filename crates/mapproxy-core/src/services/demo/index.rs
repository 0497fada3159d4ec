//! The first page: all layers of all services.

use askama::Template;

use super::viewer::is_xyz;
use super::visible::{self, Tiled};
use super::{Demo, Frame};
use crate::auth::Permit;
use crate::services::tms::Tms;
use crate::services::wms::WmsVersion;
use crate::{Incoming, MapLayer};

#[derive(Template)]
#[template(path = "demo/index.html")]
pub(super) struct Index<'a> {
    frame: Frame<'a>,
    abstract_: Option<&'a str>,
    wms: Option<WmsSection>,
    tiled: Vec<TiledSection>,
    kml: Option<Vec<KmlRow>>,
    has_ogc_api: bool,
}

/// Resources of the OGC API that lead to all others, by name and path.
pub(super) const OGC_API: [(&str, &str); 4] = [
    ("Landing page", ""),
    ("Collections", "/collections"),
    ("Description for programs", "/api"),
    ("Conformance", "/conformance"),
];

struct WmsSection {
    rows: Vec<WmsRow>,
    /// The newest one, and those before.
    versions: Vec<&'static str>,
    has_tile_sets: bool,
}

/// A layer or a heading.
struct WmsRow {
    depth: usize,
    name: Option<String>,
    title: String,
}

struct TiledSection {
    key: &'static str,
    title: &'static str,
    documents: Vec<Link>,
    layers: Vec<TiledRow>,
}

/// A document as it is, and shown on a page.
struct Link {
    href: &'static str,
    text: &'static str,
    view: &'static str,
}

struct TiledRow {
    name: String,
    format: String,
    /// Tiles of data have no page that shows them.
    has_pictures: bool,
    sets: Vec<SetLink>,
}

struct SetLink {
    grid: String,
    srs: String,
    /// The SRS does not tell which set is meant.
    is_ambiguous: bool,
    /// The second part of a path of the TMS.
    spec: Option<String>,
    has_tile_json: bool,
}

struct KmlRow {
    name: String,
    specs: Vec<(String, String)>,
}

impl Demo {
    pub(super) fn index(&self, request: &Incoming<'_>) -> Index<'_> {
        let mut tiled = Vec::new();
        if let Some((wmts, visible)) = self.options.wmts.as_ref().zip(self.visible_wmts(request)) {
            let mut documents = Vec::new();
            if wmts.template().is_some() {
                let href = "../wmts/1.0.0/WMTSCapabilities.xml";
                documents.push(Link { href, text: "Capabilities (RESTful)", view: "wmts_capabilities" });
            }
            if wmts.has_kvp() {
                let href = "../service?REQUEST=GetCapabilities&SERVICE=WMTS";
                documents.push(Link { href, text: "Capabilities (KVP)", view: "wmts_capabilities_kvp" });
            }
            tiled.push(TiledSection { key: "wmts", title: "WMTS", documents, layers: rows(&visible, None) });
        }
        if let Some((tms, visible)) = self.options.tms.as_ref().zip(self.visible_tms(request)) {
            let documents = vec![Link { href: "../tms/1.0.0/", text: "Tile maps", view: "tms_capabilities" }];
            tiled.push(TiledSection { key: "tms", title: "TMS", documents, layers: rows(&visible, Some(tms)) });
        }
        Index {
            frame: self.frame(),
            abstract_: self.options.metadata.abstract_.as_deref(),
            wms: self.wms_permit(request).map(|permit| self.wms_section(&permit)),
            tiled,
            kml: self.visible_kml(request).map(|(kml, visible)| kml_rows(kml, &visible)),
            has_ogc_api: self.options.services.contains_key("ogcapi"),
        }
    }

    fn wms_section(&self, permit: &Permit) -> WmsSection {
        let mut rows = Vec::new();
        // A root that is only a heading is left out: it has the title of the page.
        match self.options.wms.as_ref().map(|wms| &wms.root) {
            Some(root) if root.name.is_none() => {
                root.children.iter().for_each(|child| collect(child, permit, 0, &mut rows));
            }
            Some(root) => collect(root, permit, 0, &mut rows),
            None => {}
        }
        let versions = self.wms_versions();
        let has_tile_sets = versions.iter().any(|version| matches!(version, WmsVersion::V1_1_0 | WmsVersion::V1_1_1));
        WmsSection { rows, versions: versions.into_iter().map(WmsVersion::as_str).collect(), has_tile_sets }
    }

    /// The newest first.
    pub(super) fn wms_versions(&self) -> Vec<WmsVersion> {
        let spoken = self.options.wms.as_ref().map(|wms| wms.versions.clone()).unwrap_or_default();
        let spoken = if spoken.is_empty() { WmsVersion::ALL.to_vec() } else { spoken };
        spoken.into_iter().rev().collect()
    }
}

/// The layer and those in it, in the order of the configuration.
fn collect(layer: &MapLayer, permit: &Permit, depth: usize, rows: &mut Vec<WmsRow>) {
    if !visible::is_visible(layer, permit) {
        return;
    }
    // Deeper levels are not told apart by eye.
    rows.push(WmsRow { depth: depth.min(6), name: layer.name.clone(), title: layer.title.clone() });
    for child in &layer.children {
        collect(child, permit, depth + 1, rows);
    }
}

/// Layers with their sets, sorted by name.
fn rows(visible: &Tiled<'_>, tms: Option<&std::sync::Arc<Tms>>) -> Vec<TiledRow> {
    let mut rows: Vec<TiledRow> = Vec::new();
    for (name, set) in &visible.sets {
        let grid = set.grid();
        let srs = grid.srs().code().to_owned();
        let index = rows.iter().position(|row| row.name == **name).unwrap_or_else(|| {
            let (name, format) = ((*name).to_owned(), set.format().to_owned());
            rows.push(TiledRow { name, format, has_pictures: set.data_format().is_none(), sets: Vec::new() });
            rows.len() - 1
        });
        let sets = &mut rows[index].sets;
        let is_ambiguous = sets.iter().any(|other| other.srs == srs);
        let spec = tms.and_then(|tms| Some(tms.spec_and_levels(name, set)?.0.to_owned()));
        let has_tile_json = spec.is_some() && is_xyz(grid);
        sets.push(SetLink { grid: grid.name().to_owned(), srs, is_ambiguous, spec, has_tile_json });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn kml_rows(kml: &Tms, visible: &Tiled<'_>) -> Vec<KmlRow> {
    let mut rows: Vec<KmlRow> = Vec::new();
    for (name, set) in &visible.sets {
        let Some((spec, _)) = kml.spec_and_levels(name, set) else { continue };
        let link = (spec.to_owned(), set.grid().name().to_owned());
        match rows.iter_mut().find(|row| row.name == **name) {
            Some(row) => row.specs.push(link),
            None => rows.push(KmlRow { name: (*name).to_owned(), specs: vec![link] }),
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}
