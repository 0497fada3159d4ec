//! Values that can be written in more than one way.

use super::reader::{FromNode, Reader, Text, record};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

/// A list of numbers, or a text with numbers separated by commas.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// `[1, 2, 3, 4]`
    List(Vec<Spanned<f64>>),
    /// `1,2,3,4`, or something else entirely where a text is allowed.
    Text(Text),
}

impl FromNode for Numbers {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            _ => reader.mismatch_any(node, "str, list"),
        }
    }
}

/// A number or a word.
#[derive(Debug, Clone, PartialEq)]
pub enum NumberOrText {
    /// A number.
    Number(f64),
    /// A word.
    Text(Text),
}

impl FromNode for NumberOrText {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Int(_) | Value::Float(_) => FromNode::from_node(node, reader).map(Self::Number),
            _ => reader.mismatch_any(node, "number, str"),
        }
    }
}

/// A number or a list of numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum NumberOrList {
    /// A number.
    Number(f64),
    /// A list.
    List(Vec<Spanned<f64>>),
}

impl FromNode for NumberOrList {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Int(_) | Value::Float(_) => FromNode::from_node(node, reader).map(Self::Number),
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            _ => reader.mismatch_any(node, "number, list"),
        }
    }
}

/// `true`, `false`, or a word.
#[derive(Debug, Clone, PartialEq)]
pub enum BoolOrText {
    /// A boolean.
    Bool(bool),
    /// A word.
    Text(Text),
}

impl FromNode for BoolOrText {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => reader.mismatch_any(node, "bool, str"),
        }
    }
}

/// A text or a list of texts.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOrList {
    /// One text.
    Text(Text),
    /// A list.
    List(Vec<Spanned<Text>>),
}

impl FromNode for TextOrList {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            _ => reader.mismatch_any(node, "str, list"),
        }
    }
}

/// A text, or null where that means the default.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOrNull(pub Option<Text>);

impl FromNode for TextOrNull {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self(None)),
            _ => FromNode::from_node(node, reader).map(|text| Self(Some(text))),
        }
    }
}

/// A date or a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Date(pub Node);

impl FromNode for Date {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(_) | Value::Timestamp(_) => Some(Self(node.clone())),
            _ => reader.mismatch_any(node, "str, date"),
        }
    }
}

/// A value of a dimension: a text or a number.
#[derive(Debug, Clone, PartialEq)]
pub struct DimensionValue(pub Node);

impl FromNode for DimensionValue {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => Some(Self(node.clone())),
            _ => reader.mismatch_any(node, "str, float, int"),
        }
    }
}

record! {
    /// A point in time: `refresh_before`, `remove_before`.
    pub struct TimeSpec {
        seconds: f64,
        minutes: f64,
        hours: f64,
        days: f64,
        weeks: f64,
        time: Node,
        mtime: Text,
    }
}

record! {
    /// Image options as written.
    pub struct ImageOptions {
        mode: Text,
        colors: f64,
        transparent: bool,
        resampling_method: Text,
        format: Text,
        encoding_options: super::Table<Node>,
        /// Without meaning; kept for old files.
        merge_method: Text,
        /// From 0 to 1.
        opacity: f64,
        bgcolor: Numbers,
        /// For sources only.
        transparent_color: Numbers,
        /// For sources only.
        transparent_color_tolerance: f64,
    }
}
