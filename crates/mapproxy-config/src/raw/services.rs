//! `services`.

use super::caches::type_of;
use super::reader::{FromNode, Reader, Table, Text, record};
use super::{Date, NumberOrList};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

record! {
    /// `services`. A service that does not exist is no trifle: clients would find nothing.
    pub struct Services; closed true; {
        demo: Demo,
        kml: Kml,
        tms: Tms,
        wmts: Wmts,
        wms: Wms,
        ogcapi: OgcApi,
    }
}

record! {
    /// `services.demo`
    pub struct Demo {}
}

record! {
    /// `services.kml`
    pub struct Kml {
        use_grid_names: bool,
        md: ServiceMetadata,
    }
}

record! {
    /// `services.tms`
    pub struct Tms {
        use_grid_names: bool,
        origin: Text,
        md: ServiceMetadata,
    }
}

record! {
    /// `services.wmts`
    pub struct Wmts {
        kvp: bool,
        restful: bool,
        restful_template: Text,
        restful_featureinfo_template: Text,
        md: ServiceMetadata,
        featureinfo_formats: Vec<Spanned<FeatureInfoFormat>>,
    }
}

record! {
    /// A format of feature info.
    pub struct FeatureInfoFormat {
        mimetype: Text [required],
        suffix: Text,
    }
}

record! {
    /// `services.wms`
    pub struct Wms {
        srs: Vec<Spanned<Text>>,
        bbox_srs: Vec<Spanned<BboxSrs>>,
        image_formats: Vec<Spanned<Text>>,
        attribution: AttributionText,
        featureinfo_types: Vec<Spanned<Text>>,
        featureinfo_xslt: Table<Text>,
        on_source_errors: Text,
        max_output_pixels: NumberOrList,
        strict: bool,
        md: ServiceMetadata,
        inspire_md: InspireMetadata,
        versions: Vec<Spanned<Text>>,
        concurrent_layer_renderer: f64,
    }
}

/// An SRS, alone or with a box.
#[derive(Debug, Clone, PartialEq)]
pub enum BboxSrs {
    /// `EPSG:4326`
    Srs(Text),
    /// `{srs: …, bbox: …}`
    Limited(LimitedSrs),
}

impl FromNode for BboxSrs {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Self::Srs(text.clone())),
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Self::Limited),
            _ => reader.mismatch_any(node, "str, dict"),
        }
    }
}

record! {
    /// An SRS with a box.
    pub struct LimitedSrs {
        srs: Text,
        bbox: Vec<Spanned<f64>>,
    }
}

record! {
    /// `attribution` of a service.
    pub struct AttributionText {
        text: Text,
    }
}

record! {
    /// `md` of a service.
    pub struct ServiceMetadata {
        title: Text,
        abstract_ ("abstract"): Text,
        online_resource: Text,
        contact: Table<Node>,
        fees: Text,
        access_constraints: Text,
        keyword_list: Vec<Spanned<KeywordList>>,
    }
}

record! {
    /// Keywords of one vocabulary.
    pub struct KeywordList {
        vocabulary: Text,
        keywords: Vec<Spanned<Text>>,
    }
}

/// `inspire_md`
#[derive(Debug, Clone, PartialEq)]
pub enum InspireMetadata {
    /// `type: linked`
    Linked(InspireLinked),
    /// `type: embedded`
    Embedded(Box<InspireEmbedded>),
}

impl FromNode for InspireMetadata {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match type_of(node, reader, &["linked", "embedded"])? {
            "linked" => FromNode::from_node(node, reader).map(Self::Linked),
            _ => FromNode::from_node(node, reader).map(Box::new).map(Self::Embedded),
        }
    }
}

record! {
    /// INSPIRE metadata kept elsewhere.
    pub struct InspireLinked {
        type_ ("type"): Text,
        metadata_url: InspireUrl [required],
        languages: InspireLanguages [required],
    }
}

record! {
    /// INSPIRE metadata in the capabilities document.
    pub struct InspireEmbedded {
        type_ ("type"): Text,
        resource_locators: Vec<Spanned<InspireUrl>> [required],
        temporal_reference: InspireDates [required],
        conformities: Vec<Spanned<InspireConformity>> [required],
        metadata_points_of_contact: Vec<Spanned<InspireContact>> [required],
        mandatory_keywords: Vec<Spanned<Text>> [required],
        keywords: Vec<Spanned<InspireKeyword>>,
        metadata_date: Date [required],
        metadata_url: InspireUrl,
        languages: InspireLanguages [required],
    }
}

record! {
    /// A URL with media type.
    pub struct InspireUrl {
        url: Text [required],
        media_type: Text [required],
    }
}

record! {
    /// Languages of a service.
    pub struct InspireLanguages {
        default: Text [required],
    }
}

record! {
    /// Dates of something published.
    pub struct InspireDates {
        date_of_publication: Date,
        date_of_creation: Date,
        date_of_last_revision: Date,
    }
}

record! {
    /// What a service conforms to.
    pub struct InspireConformity with dates: InspireDates {
        title: Text,
        uris: Vec<Spanned<Text>>,
        resource_locators: Vec<Spanned<InspireUrl>> [required],
        degree: Text [required],
    }
}

record! {
    /// Whom to ask about metadata.
    pub struct InspireContact {
        organisation_name: Text,
        email: Text,
    }
}

record! {
    /// A keyword of a vocabulary.
    pub struct InspireKeyword with dates: InspireDates {
        title: Text [required],
        uris: Vec<Spanned<Text>>,
        resource_locators: Vec<Spanned<InspireUrl>>,
        keyword_value: Text [required],
    }
}

record! {
    /// `services.ogcapi`
    pub struct OgcApi {
        enable_tiles: bool,
        enable_maps: bool,
        map_srs: Vec<Spanned<Text>>,
        attribution: AttributionText,
        on_source_errors: Text,
        max_output_pixels: NumberOrList,
        image_formats: Vec<Spanned<Text>>,
        concurrent_layer_renderer: f64,
        md: OgcApiMetadata,
        default_dataset_layers: Vec<Spanned<Text>>,
    }
}

record! {
    /// `services.ogcapi.md`
    pub struct OgcApiMetadata {
        identification: OgcApiIdentification,
        contact: OgcApiContact,
        license: OgcApiLicense,
        provider: OgcApiProvider,
    }
}

record! {
    /// What the service is.
    pub struct OgcApiIdentification {
        title: Text,
        description: Text,
        url: Text,
        terms_of_service: Text,
        keywords: Node,
    }
}

record! {
    /// Whom to ask.
    pub struct OgcApiContact {
        name: Text,
        email: Text,
        address: Text,
        city: Text,
        stateorprovince: Text,
        postalcode: Text,
        country: Text,
        phone: Text,
        fax: Text,
        url: Text,
        instructions: Text,
    }
}

record! {
    /// Under which licence.
    pub struct OgcApiLicense {
        name: Text [required],
        url: Text,
    }
}

record! {
    /// Who provides the service.
    pub struct OgcApiProvider {
        name: Text,
        url: Text,
    }
}
