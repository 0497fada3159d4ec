//! `sources`.

use super::caches::type_of;
use super::reader::{FromNode, Reader, Table, Text, record};
use super::{Coverage, Http, ImageOptions, Mapserver, Numbers, TextOrList};
use crate::position::{Span, Spanned};
use crate::yaml::{Key, Node};

/// A source.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// `type: wms`
    Wms(WmsSource),
    /// `type: mapserver`
    Mapserver(MapserverSource),
    /// `type: tile`
    Tile(TileSource),
    /// `type: mapnik`
    Mapnik(MapnikSource),
    /// `type: arcgis`
    Arcgis(ArcgisSource),
    /// `type: ogcapitiles`
    OgcApiTiles(OgcApiTilesSource),
    /// `type: ogcapimaps`
    OgcApiMaps(OgcApiMapsSource),
    /// `type: raster`
    Raster(RasterSource),
    /// `type: debug`
    Debug(DebugSource),
    /// `type: custom`, not known to MapProxy 7.0.0
    Custom(CustomSource),
}

/// The names of [`Source`]'s variants in configurations.
pub(crate) const SOURCE_TYPES: [&str; 10] =
    ["wms", "mapserver", "tile", "mapnik", "arcgis", "ogcapitiles", "ogcapimaps", "raster", "debug", "custom"];

impl Source {
    /// Its `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Wms(_) => "wms",
            Self::Mapserver(_) => "mapserver",
            Self::Tile(_) => "tile",
            Self::Mapnik(_) => "mapnik",
            Self::Arcgis(_) => "arcgis",
            Self::OgcApiTiles(_) => "ogcapitiles",
            Self::OgcApiMaps(_) => "ogcapimaps",
            Self::Raster(_) => "raster",
            Self::Debug(_) => "debug",
            Self::Custom(_) => "custom",
        }
    }

    /// What every type has.
    pub fn common(&self) -> &SourceCommon {
        match self {
            Self::Wms(source) => &source.common,
            Self::Mapserver(source) => &source.common,
            Self::Tile(source) => &source.common,
            Self::Mapnik(source) => &source.common,
            Self::Arcgis(source) => &source.common,
            Self::OgcApiTiles(source) => &source.common,
            Self::OgcApiMaps(source) => &source.common,
            Self::Raster(source) => &source.common,
            Self::Debug(source) => &source.common,
            Self::Custom(source) => &source.common,
        }
    }
}

impl FromNode for Source {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        let name = type_of(node, reader, &SOURCE_TYPES)?;
        match name {
            "wms" => FromNode::from_node(node, reader).map(Self::Wms),
            "mapserver" => FromNode::from_node(node, reader).map(Self::Mapserver),
            "tile" => FromNode::from_node(node, reader).map(Self::Tile),
            "mapnik" => FromNode::from_node(node, reader).map(Self::Mapnik),
            "arcgis" => FromNode::from_node(node, reader).map(Self::Arcgis),
            "ogcapitiles" => FromNode::from_node(node, reader).map(Self::OgcApiTiles),
            "ogcapimaps" => FromNode::from_node(node, reader).map(Self::OgcApiMaps),
            "raster" => FromNode::from_node(node, reader).map(Self::Raster),
            "debug" => FromNode::from_node(node, reader).map(Self::Debug),
            _ => FromNode::from_node(node, reader).map(Self::Custom),
        }
    }
}

record! {
    /// What every source has.
    pub struct SourceCommon {
        type_ ("type"): Text,
        max_scale: f64,
        min_scale: f64,
        max_res: f64,
        min_res: f64,
        concurrent_requests: i64,
        coverage: Coverage,
        seed_only: bool,
    }
}

record! {
    /// `type: wms`
    pub struct WmsSource with common: SourceCommon {
        req: WmsRequest [required],
        wms_opts: WmsOptions,
        image: ImageOptions,
        supported_formats: Vec<Spanned<Text>>,
        supported_srs: Vec<Spanned<Text>>,
        http: Http,
        on_error: Table<OnError>,
        forward_req_params: Vec<Spanned<Text>>,
    }
}

/// `req` of a WMS or ArcGIS source: any parameters, `url` among them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WmsRequest {
    /// `url`
    pub url: Option<Spanned<Text>>,
    /// All others, in the order written.
    pub params: Vec<(Key, Node)>,
}

impl WmsRequest {
    /// The parameter `name`.
    pub fn param(&self, name: &str) -> Option<&Node> {
        self.params.iter().find(|(key, _)| &*key.text == name).map(|(_, value)| value)
    }
}

impl FromNode for WmsRequest {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        if !node.is_null() && node.as_mapping().is_none() {
            return reader.mismatch(node, "dict");
        }
        let mut request = Self::default();
        let mut has_url = false;
        for (key, value) in node.as_mapping().iter().flat_map(|mapping| mapping.iter()) {
            if &*key.text == "url" {
                has_url = true;
                request.url = reader.at_key(&key.text, |reader| reader.spanned(value));
            } else {
                request.params.push((key.clone(), value.clone()));
            }
        }
        if !has_url {
            let message = format!("missing 'url', not in {}", reader.path());
            reader.error(node.span, message);
        }
        Some(request)
    }
}

record! {
    /// `wms_opts`
    pub struct WmsOptions {
        version: Text,
        map: bool,
        featureinfo: bool,
        legendgraphic: bool,
        legendurl: Text,
        featureinfo_format: Text,
        featureinfo_xslt: Text,
        featureinfo_out_format: Text,
        query_layers: Text,
    }
}

record! {
    /// What to answer when the upstream server fails.
    pub struct OnError {
        response: Numbers [required],
        cache: bool,
        authorize_stale: bool,
    }
}

record! {
    /// `type: tile`
    pub struct TileSource with common: SourceCommon {
        url: Text [required],
        transparent: bool,
        image: ImageOptions,
        grid: Text,
        /// Without effect.
        request_format: Text,
        /// Without effect: the grid has an origin.
        origin: Text,
        http: Http,
        on_error: Table<OnError>,
    }
}

record! {
    /// `type: raster`: a georeferenced picture on disk.
    pub struct RasterSource with common: SourceCommon {
        file: Text [required],
        srs: Text,
        bbox: Numbers,
        image: ImageOptions,
        transparent: bool,
    }
}

record! {
    /// `type: debug`
    pub struct DebugSource with common: SourceCommon {}
}

record! {
    /// `type: custom`: made by the program that embeds MapProxy
    pub struct CustomSource with common: SourceCommon {}
}

record! {
    /// `type: mapserver`
    pub struct MapserverSource with common: SourceCommon {
        req: MapserverRequest [required],
        wms_opts: WmsOptions,
        image: ImageOptions,
        supported_formats: Vec<Spanned<Text>>,
        supported_srs: Vec<Spanned<Text>>,
        forward_req_params: Vec<Spanned<Text>>,
        mapserver: Mapserver,
    }
}

/// `req` of a MapServer source: any parameters, `map` among them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MapserverRequest {
    /// All of them, in the order written.
    pub params: Vec<(Key, Node)>,
    /// Where the section starts.
    pub span: Span,
}

impl FromNode for MapserverRequest {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        if !node.is_null() && node.as_mapping().is_none() {
            return reader.mismatch(node, "dict");
        }
        let mapping = node.as_mapping();
        match mapping.and_then(|mapping| mapping.get_entry("map")) {
            Some((key, map)) => {
                reader.at_key(&key.text, |reader| reader.spanned::<Text>(map));
            }
            None => {
                let message = format!("missing 'map', not in {}", reader.path());
                reader.error(node.span, message);
            }
        }
        let entries = mapping.iter().flat_map(|mapping| mapping.iter());
        Some(Self { params: entries.map(|(key, value)| (key.clone(), value.clone())).collect(), span: node.span })
    }
}

record! {
    /// `type: mapnik`
    pub struct MapnikSource with common: SourceCommon {
        mapfile: Text [required],
        transparent: bool,
        image: ImageOptions,
        layers: TextOrList,
        use_mapnik2: bool,
        scale_factor: f64,
        multithreaded: bool,
    }
}

record! {
    /// `type: arcgis`
    pub struct ArcgisSource with common: SourceCommon {
        req: WmsRequest [required],
        opts: ArcgisOptions,
        image: ImageOptions,
        supported_formats: Vec<Spanned<Text>>,
        supported_srs: Vec<Spanned<Text>>,
        http: Http,
        on_error: Table<OnError>,
    }
}

record! {
    /// `opts` of an ArcGIS source.
    pub struct ArcgisOptions {
        map: bool,
        featureinfo: bool,
        featureinfo_tolerance: f64,
        featureinfo_return_geometries: bool,
    }
}

record! {
    /// `type: ogcapitiles`
    pub struct OgcApiTilesSource with common: SourceCommon {
        landingpage_url: Text [required],
        collection: Text,
        tile_matrix_set_id: Text,
        image: ImageOptions,
        http: Http,
        on_error: Table<OnError>,
    }
}

record! {
    /// `type: ogcapimaps`
    pub struct OgcApiMapsSource with common: SourceCommon {
        landingpage_url: Text [required],
        collection: Text,
        supported_srs: Vec<Spanned<Text>>,
        transparent: bool,
        image: ImageOptions,
        bgcolor: Numbers,
        http: Http,
        on_error: Table<OnError>,
    }
}
