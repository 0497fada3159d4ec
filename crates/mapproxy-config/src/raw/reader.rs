//! From nodes to structures: what the sections share.

use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostic::Severity;
use crate::findings::Findings;
use crate::position::{Span, Spanned};
use crate::yaml::{Node, Value};

/// A text; shared, since the configuration is full of equal ones.
pub type Text = Arc<str>;

/// A dictionary with names of the author's choice, in the order written.
pub type Table<T> = IndexMap<Text, Entry<T>, rustc_hash::FxBuildHasher>;

/// An entry of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<T> {
    /// Where the name was written.
    pub key_span: Span,
    /// The value.
    pub value: Spanned<T>,
}

/// What can be read from a node.
pub(crate) trait FromNode: Sized {
    /// Reads `node`; `None` if that was impossible, and then it has been reported.
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self>;
}

/// A structure with fixed keys.
pub(crate) trait Record: Default {
    /// Reads the value of `key` into its field; false if there is no such key.
    fn set<'a>(&mut self, key: &str, node: &'a Node, reader: &mut Reader<'a, '_>) -> bool;

    /// All keys.
    fn keys(out: &mut Vec<&'static str>);

    /// Whether keys nobody knows are errors.
    fn is_closed() -> bool;

    /// Keys that must be there.
    fn required(out: &mut Vec<&'static str>);
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

/// Knows where in the document reading has come to, and collects what is wrong.
pub(crate) struct Reader<'a, 'f> {
    path: Vec<Segment<'a>>,
    findings: &'f mut Findings,
}

impl<'a, 'f> Reader<'a, 'f> {
    pub(crate) fn new(findings: &'f mut Findings) -> Self {
        Self { path: Vec::new(), findings }
    }

    /// The key path of the value being read, `.` for the whole document.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) if path.is_empty() => path.push_str(key),
                Segment::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Segment::Index(index) => {
                    let _ = write!(path, "[{index}]");
                }
            }
        }
        if path.is_empty() { ".".to_owned() } else { path }
    }

    pub(crate) fn error(&mut self, span: Span, message: String) {
        let path = self.path();
        self.findings.add(Severity::Error, span, path, message, None);
    }

    pub(crate) fn error_with_help(&mut self, span: Span, message: String, help: String) {
        let path = self.path();
        self.findings.add(Severity::Error, span, path, message, Some(help));
    }

    pub(crate) fn at_key<R>(&mut self, key: &'a str, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(Segment::Key(key));
        let result = read(self);
        self.path.pop();
        result
    }

    pub(crate) fn at_index<R>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(Segment::Index(index));
        let result = read(self);
        self.path.pop();
        result
    }

    /// Reports that the value is not `wanted`.
    pub(crate) fn mismatch<T>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        let message = format!("{} in {} not of type {wanted}", node.shown(), self.path());
        let path = self.path();
        self.findings.add(Severity::Error, node.span, path, message, advice(node, wanted));
        None
    }

    /// Reports that the value is none of `wanted`.
    pub(crate) fn mismatch_any<T>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        let message = format!("{} in {} not of any type {wanted}", node.shown(), self.path());
        let path = self.path();
        self.findings.add(Severity::Error, node.span, path, message, advice(node, wanted));
        None
    }

    /// Reads `node` with its position.
    pub(crate) fn spanned<T: FromNode>(&mut self, node: &'a Node) -> Option<Spanned<T>> {
        T::from_node(node, self).map(|value| Spanned { value, span: node.span })
    }

    /// Reads a structure with fixed keys.
    pub(crate) fn record<T: Record>(&mut self, node: &'a Node) -> Option<T> {
        let mut record = T::default();
        let mapping = match &node.value {
            Value::Mapping(mapping) => Some(mapping),
            Value::Null => None,
            _ => return self.mismatch(node, "dict"),
        };
        for (key, value) in mapping.iter().flat_map(|mapping| mapping.iter()) {
            let known = key.is_string && self.at_key(&key.text, |reader| record.set(&key.text, value, reader));
            if !known {
                let mut keys = Vec::new();
                T::keys(&mut keys);
                let help = nearest(&key.text, keys).map(|near| format!("did you mean '{near}'?"));
                let message = format!("unknown '{}' in {}", key.text, self.path());
                let severity = if T::is_closed() { Severity::Error } else { Severity::Warning };
                let path = self.path();
                self.findings.add(severity, key.span, path, message, help);
            }
        }
        let mut required = Vec::new();
        T::required(&mut required);
        for key in required {
            if mapping.is_none_or(|mapping| mapping.get(key).is_none()) {
                self.error(node.span, format!("missing '{key}', not in {}", self.path()));
            }
        }
        Some(record)
    }
}

fn advice(node: &Node, wanted: &str) -> Option<String> {
    match (&node.value, wanted) {
        (Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Timestamp(_), "str") => {
            Some("put the value in quotes to make it a text".to_owned())
        }
        (Value::Null, _) => Some("remove the key to use its default".to_owned()),
        (Value::String(text), "number" | "int") if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            Some("write the number without quotes, and an exponent as in 1.0e+3".to_owned())
        }
        (Value::String(_), "list") => Some("write a list: [...]".to_owned()),
        _ => None,
    }
}

/// The one of `known` that `word` is probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 100 {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 4);
    let lower = word.to_lowercase();
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit + 1)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

impl FromNode for Text {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Arc::clone(text)),
            _ => reader.mismatch(node, "str"),
        }
    }
}

impl FromNode for bool {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => reader.mismatch(node, "bool"),
        }
    }
}

impl FromNode for f64 {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match node.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => reader.mismatch(node, "number"),
        }
    }
}

/// Like Python, takes a boolean for 0 or 1.
impl FromNode for i64 {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match node.value {
            Value::Int(value) => Some(value),
            Value::Bool(value) => Some(i64::from(value)),
            _ => reader.mismatch(node, "int"),
        }
    }
}

impl FromNode for Node {
    fn from_node<'a>(node: &'a Node, _reader: &mut Reader<'a, '_>) -> Option<Self> {
        Some(node.clone())
    }
}

impl<T: FromNode> FromNode for Vec<Spanned<T>> {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        let Some(items) = node.as_sequence() else {
            return reader.mismatch(node, "list");
        };
        let read = |(index, item)| reader.at_index(index, |reader| reader.spanned(item));
        Some(items.iter().enumerate().filter_map(read).collect())
    }
}

impl<T: FromNode> FromNode for Table<T> {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        let mapping = match &node.value {
            Value::Mapping(mapping) => mapping,
            Value::Null => return Some(Self::default()),
            _ => return reader.mismatch(node, "dict"),
        };
        let mut table = Self::with_capacity_and_hasher(mapping.len(), rustc_hash::FxBuildHasher);
        for (key, item) in mapping.iter() {
            if !key.is_string && matches!(&*key.text, "true" | "false" | "null") {
                let message = format!("the name '{}' in {} was not written as a text", key.text, reader.path());
                let help = "words like on, off, yes, no and null have to be put in quotes".to_owned();
                let path = reader.path();
                reader.findings.add(Severity::Warning, key.span, path, message, Some(help));
            }
            if let Some(value) = reader.at_key(&key.text, |reader| reader.spanned(item)) {
                table.insert(Arc::clone(&key.text), Entry { key_span: key.span, value });
            }
        }
        Some(table)
    }
}

/// The key of a field: its own name, or the text given for it.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Puts the key of a required field on the list.
macro_rules! require {
    ($out:ident, $key:expr, required) => {
        $out.push($key)
    };
    ($out:ident, $key:expr,) => {};
}

/// Declares a structure with fixed keys: `field ("key"): Type [required]`. Every field is optional and has a position.
/// Unknown keys are warnings, in a `closed` structure errors.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(with $flat:ident : $flat_type:ty)? $(; closed $closed:literal;)? {
            $( $(#[$field_meta:meta])* $field:ident $(($key:literal))? : $type:ty $([$required:ident])? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $(
                #[doc = concat!("`", $crate::raw::reader::key!($field $($key)?), "`")]
                #[doc = ""]
                $(#[$field_meta])*
                pub $field: Option<$crate::position::Spanned<$type>>,
            )*
            $(
                /// Options shared with others.
                pub $flat: $flat_type,
            )?
        }

        impl $crate::raw::reader::Record for $name {
            fn set<'a>(
                &mut self,
                key: &str,
                node: &'a $crate::yaml::Node,
                reader: &mut $crate::raw::reader::Reader<'a, '_>,
            ) -> bool {
                $(
                    if key == $crate::raw::reader::key!($field $($key)?) {
                        self.$field = reader.spanned(node);
                        return true;
                    }
                )*
                $(
                    if $crate::raw::reader::Record::set(&mut self.$flat, key, node, reader) {
                        return true;
                    }
                )?
                let _ = (key, node, reader);
                false
            }

            fn keys(out: &mut Vec<&'static str>) {
                out.extend_from_slice(&[$($crate::raw::reader::key!($field $($key)?)),*]);
                $( <$flat_type as $crate::raw::reader::Record>::keys(out); )?
            }

            fn is_closed() -> bool {
                false $(|| $closed)?
            }

            fn required(out: &mut Vec<&'static str>) {
                $( $crate::raw::reader::require!(out, $crate::raw::reader::key!($field $($key)?), $($required)?); )*
                $( <$flat_type as $crate::raw::reader::Record>::required(out); )?
                let _ = out;
            }
        }

        impl $crate::raw::reader::FromNode for $name {
            fn from_node<'a>(
                node: &'a $crate::yaml::Node,
                reader: &mut $crate::raw::reader::Reader<'a, '_>,
            ) -> Option<Self> {
                reader.record(node)
            }
        }
    };
}

pub(super) use {key, record, require};
