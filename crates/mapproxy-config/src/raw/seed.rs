//! `seed.yaml`.

use super::reader::{FromNode, Reader, Table, Text, record};
use super::{Coverage, TimeSpec};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

record! {
    /// `seed.yaml`
    pub struct SeedDocument {
        seeds: Table<Seed>,
        cleanups: Table<Cleanup>,
        coverages: Table<Coverage>,
        /// Of files older than MapProxy 1.0.
        views: Node,
    }
}

record! {
    /// What seeds and cleanups share.
    pub struct TaskCommon {
        caches: Vec<Spanned<Text>> [required],
        grids: Vec<Spanned<Text>>,
        coverages: Vec<Spanned<Text>>,
        levels: Selection,
        resolutions: Selection,
    }
}

record! {
    /// Tiles to make.
    pub struct Seed with common: TaskCommon {
        refresh_before: TimeSpec,
    }
}

record! {
    /// Tiles to remove.
    pub struct Cleanup with common: TaskCommon {
        remove_before: TimeSpec,
        remove_all: bool,
    }
}

/// A list of numbers or a range.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// `[1, 2]`
    List(Vec<Spanned<f64>>),
    /// `{from: 1, to: 2}`
    Range(FromTo),
}

impl FromNode for Selection {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Self::Range),
            _ => reader.mismatch_any(node, "list, dict"),
        }
    }
}

record! {
    /// A range, both ends included.
    pub struct FromTo {
        from: f64,
        to: f64,
    }
}
