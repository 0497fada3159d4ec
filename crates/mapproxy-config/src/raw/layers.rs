//! `layers`.

use super::reader::{FromNode, Reader, Table, Text, record};
use super::{DimensionValue, KeywordList};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

/// `layers`: a list, or in old files a dictionary.
#[derive(Debug, Clone, PartialEq)]
pub enum Layers {
    /// `[{name: …, title: …}, …]`
    List(Vec<Spanned<Layer>>),
    /// `{name: {title: …}, …}`
    Legacy(Table<Layer>),
}

impl Default for Layers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl FromNode for Layers {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self::default()),
            Value::Sequence(items) => match items.first().and_then(legacy_entry) {
                Some(_) => legacy_list(items, reader),
                None => FromNode::from_node(node, reader).map(Self::List),
            },
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Self::Legacy),
            _ => reader.mismatch_any(node, "dict, list"),
        }
    }
}

/// `{name: {title: …, sources: …}}`: one key, and it is not an option.
fn legacy_entry(node: &Node) -> Option<(&crate::yaml::Key, &Node)> {
    let mapping = node.as_mapping().filter(|mapping| mapping.len() == 1)?;
    mapping.iter().next().filter(|(key, value)| value.as_mapping().is_some() && &*key.text != "md")
}

fn legacy_list<'a>(items: &'a [Node], reader: &mut Reader<'a, '_>) -> Option<Layers> {
    let mut table = Table::default();
    for (index, item) in items.iter().enumerate() {
        reader.at_index(index, |reader| match legacy_entry(item) {
            Some((key, value)) => {
                if let Some(value) = reader.at_key(&key.text, |reader| reader.spanned(value)) {
                    table.insert(key.text.clone(), super::Entry { key_span: key.span, value });
                }
            }
            None => reader.error(
                item.span,
                "this list of layers began with `name: {...}` entries, and this entry is not one".to_owned(),
            ),
        });
    }
    Some(Layers::Legacy(table))
}

record! {
    /// A layer or a group of layers.
    pub struct Layer {
        name: Text,
        title: Text [required],
        sources: Vec<Spanned<Text>>,
        tile_sources: Vec<Spanned<Text>>,
        layers: Vec<Spanned<Layer>>,
        max_scale: f64,
        min_scale: f64,
        max_res: f64,
        min_res: f64,
        legendurl: Text,
        wmts_rest_legendurl: Text,
        wmts_kvp_legendurl: Text,
        md: LayerMetadata,
        dimensions: Table<Dimension>,
        /// Not known to MapProxy 7.0.0.
        expires_hours: f64,
        nominal_res: f64,
        nominal_scale: f64,
    }
}

record! {
    /// `md` of a layer.
    pub struct LayerMetadata {
        abstract_ ("abstract"): Text,
        keyword_list: Vec<Spanned<KeywordList>>,
        attribution: Attribution,
        identifier: Vec<Spanned<Identifier>>,
        metadata: Vec<Spanned<Metadata>>,
        data: Vec<Spanned<OnlineData>>,
        feature_list: Vec<Spanned<OnlineData>>,
    }
}

record! {
    /// Who provides a layer.
    pub struct Attribution {
        title: Text,
        url: Text,
        logo: Logo,
    }
}

record! {
    /// A picture of who provides a layer.
    pub struct Logo {
        url: Text,
        width: i64,
        height: i64,
        format: Text,
    }
}

record! {
    /// An identifier some authority gave to a layer.
    pub struct Identifier {
        url: Text,
        name: Text,
        value: Text,
    }
}

record! {
    /// Where a description of a layer is found.
    pub struct Metadata {
        url: Text,
        type_ ("type"): Text,
        format: Text,
    }
}

record! {
    /// Where data of a layer is found.
    pub struct OnlineData {
        url: Text,
        format: Text,
    }
}

record! {
    /// A dimension of a layer.
    pub struct Dimension {
        values: Vec<Spanned<DimensionValue>> [required],
        default: DimensionValue,
        units: Text,
        unit_symbol: Text,
        nearest_value: bool,
        send_default: bool,
    }
}
