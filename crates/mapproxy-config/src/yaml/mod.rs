//! YAML with positions, read as PyYAML's safe loader reads it: YAML 1.1 scalars, merge keys, last duplicate wins.
//!
//! [`parse`] never recurses and never builds more than [`MAX_NODES`] nodes, however the input refers to itself; every
//! mistake is an [`Error`] with line and column. Aliases share what they point to, so that cloning a [`Node`] is cheap.

mod scalar;

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

pub use scalar::Timestamp;
pub(crate) use scalar::iso_time;

use crate::position::Span;

/// How deep sequences and mappings may nest.
pub const MAX_DEPTH: usize = 100;

/// How many nodes a document may have, aliases counted as often as they are used.
pub const MAX_NODES: usize = 1_000_000;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it starts.
    pub span: Span,
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `~`, `null` or nothing.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a dot, or a whole number beyond 64 bits.
    Float(f64),
    /// A text.
    String(Arc<str>),
    /// A date or a date with time.
    Timestamp(Timestamp),
    /// A list.
    Sequence(Arc<Vec<Node>>),
    /// A dictionary.
    Mapping(Arc<Mapping>),
}

impl Node {
    /// A node without value at `span`.
    pub fn null(span: Span) -> Self {
        Self { value: Value::Null, span }
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The dictionary, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The value on one line for messages, cut off where it gets long.
    pub fn shown(&self) -> String {
        let mut out = String::new();
        self.show(&mut out, 0);
        if out.chars().count() > 80 {
            out = out.chars().take(77).chain("...".chars()).collect();
        }
        out
    }

    fn show(&self, out: &mut String, depth: usize) {
        if out.len() > 400 || depth > 4 {
            return;
        }
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&scalar::float_text(*value)),
            Value::String(text) => {
                out.push('\'');
                out.extend(text.escape_debug());
                out.push('\'');
            }
            Value::Timestamp(timestamp) => out.push_str(&timestamp.to_string()),
            Value::Sequence(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    item.show(out, depth + 1);
                }
                out.push(']');
            }
            Value::Mapping(mapping) => {
                out.push('{');
                for (index, (key, value)) in mapping.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    out.push_str(&key.text);
                    out.push_str(": ");
                    value.show(out, depth + 1);
                }
                out.push('}');
            }
        }
    }

    /// A scalar as Python's `str()` writes it, which is how parameters of upstream requests are written; `None` for
    /// lists, dictionaries and null.
    pub fn python_text(&self) -> Option<Cow<'_, str>> {
        Some(match &self.value {
            Value::Bool(true) => Cow::Borrowed("True"),
            Value::Bool(false) => Cow::Borrowed("False"),
            Value::Int(value) => Cow::Owned(value.to_string()),
            Value::Float(value) => Cow::Owned(scalar::float_text(*value)),
            Value::String(text) => Cow::Borrowed(&**text),
            Value::Timestamp(timestamp) => Cow::Owned(timestamp.to_string()),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => return None,
        })
    }
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key; what was not written as text (`5`, `yes`) in the form it has in messages.
    pub text: Arc<str>,
    /// Whether it is a text. Others are never equal to an option's name.
    pub is_string: bool,
    /// Where it was written.
    pub span: Span,
}

/// Positions do not matter to equality.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.is_string == other.is_string
    }
}

/// A dictionary in the order written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    entries: Vec<(Key, Node)>,
}

impl Mapping {
    /// The value of the text `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|(k, _)| k.is_string && &*k.text == key).map(|(_, value)| value)
    }

    /// The entry of the text `key`.
    pub fn get_entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.entries.iter().find(|(k, _)| k.is_string && &*k.text == key).map(|(key, value)| (key, value))
    }

    /// All entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Node)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<(Key, Node)> {
        let index = self.entries.iter().position(|(k, _)| k.is_string && &*k.text == key)?;
        Some(self.entries.remove(index))
    }

    pub(crate) fn entries_mut(&mut self) -> &mut Vec<(Key, Node)> {
        &mut self.entries
    }
}

impl FromIterator<(Key, Node)> for Mapping {
    fn from_iter<I: IntoIterator<Item = (Key, Node)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

/// A document and what is odd about it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The root; null for an empty document.
    pub root: Node,
    /// Keys that appear more than once in a mapping: the last counts.
    pub duplicates: Vec<Key>,
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// Reads the one document in `bytes`; `file` is the index positions get. UTF-8, and UTF-16 with byte order mark.
///
/// # Errors
/// Syntax errors, text that is not Unicode, unknown aliases and tags, keys that are not scalars, more than one
/// document, and documents beyond [`MAX_DEPTH`] or [`MAX_NODES`].
pub fn parse(bytes: &[u8], file: u32) -> Result<Document, Error> {
    let text = decode(bytes, file)?;
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(&text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Error {
            message: format!("cannot read YAML: {}", error.info()),
            span: position(file, error.marker()),
        })?;
        if builder.event(event, position(file, &span.start))? {
            break;
        }
    }
    let root = builder.root.take().unwrap_or_else(|| Node::null(Span { file, line: 1, column: 1 }));
    Ok(Document { root, duplicates: builder.duplicates })
}

fn position(file: u32, marker: &Marker) -> Span {
    Span {
        file,
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        column: u32::try_from(marker.col()).unwrap_or(u32::MAX).saturating_add(1),
    }
}

/// The text of a file, without byte order mark.
fn decode(bytes: &[u8], file: u32) -> Result<Cow<'_, str>, Error> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes, file)?),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes, file)?),
        _ => {
            let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            Cow::Borrowed(std::str::from_utf8(rest).map_err(|error| Error {
                message: "cannot read YAML: the file is not UTF-8".to_owned(),
                span: position_of(&rest[..error.valid_up_to()], file),
            })?)
        }
    };
    match text.char_indices().find(|(_, c)| !is_printable(*c)) {
        Some((at, c)) => Err(Error {
            message: format!("cannot read YAML: control character U+{:04X} is not allowed", u32::from(c)),
            span: position_of(&text.as_bytes()[..at], file),
        }),
        None => Ok(text),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, file: u32) -> Result<String, Error> {
    let pairs = bytes.chunks_exact(2);
    let complete = pairs.remainder().is_empty();
    char::decode_utf16(pairs.map(|pair| unit([pair[0], pair[1]])))
        .collect::<Result<String, _>>()
        .ok()
        .filter(|_| complete)
        .ok_or_else(|| Error {
            message: "cannot read YAML: the file is not UTF-16, though it starts with its byte order mark".to_owned(),
            span: Span { file, line: 1, column: 1 },
        })
}

/// The position after `before`.
fn position_of(before: &[u8], file: u32) -> Span {
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    Span { file, line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}

/// The characters YAML 1.1 allows in a stream.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Makes nodes of parser events.
#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    /// Anchored nodes with their size; `None` while the node is being built.
    anchors: FxHashMap<usize, Option<(Node, usize)>>,
    nodes: usize,
    duplicates: Vec<Key>,
    /// Equal short texts share memory: keys above all.
    texts: FxHashSet<Arc<str>>,
}

struct Frame {
    anchor: usize,
    span: Span,
    size: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, merges: Vec<(Span, Node)>, key: Option<PendingKey> },
}

enum PendingKey {
    Key(Key),
    Merge(Span),
}

/// A finished node, and whether it is a plain `<<` that may be a merge key.
struct Finished {
    node: Node,
    size: usize,
    plain: Option<PlainSign>,
}

#[derive(Clone, Copy, PartialEq)]
enum PlainSign {
    Merge,
    Equals,
}

impl Builder {
    /// Takes an event; true when the stream is at its end.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<bool, Error> {
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(true),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(error(span, "there is a second document here: a configuration is one document"));
                }
            }
            Event::Alias(id) => {
                let (node, size) = match self.anchors.get(&id) {
                    Some(Some((node, size))) => (node.clone(), *size),
                    Some(None) => return Err(error(span, "the alias is inside of what it stands for")),
                    None => return Err(error(span, "unknown alias")),
                };
                self.finish(Finished { node, size, plain: None }, 0)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let finished = self.scalar(&text, style, tag.as_deref(), span)?;
                self.finish(finished, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", span)?;
                self.open(Content::Sequence(Vec::new()), anchor, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", span)?;
                let content = Content::Mapping { entries: Vec::new(), merges: Vec::new(), key: None };
                self.open(content, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
        }
        Ok(false)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Finished, Error> {
        let plain_style = style == ScalarStyle::Plain;
        let tag = tag.map(tag_name).filter(|tag| tag != "!");
        let mut plain = None;
        let value = match tag.as_deref() {
            None if plain_style && text == "<<" => {
                plain = Some(PlainSign::Merge);
                Value::Null
            }
            None if plain_style && text == "=" => {
                plain = Some(PlainSign::Equals);
                Value::Null
            }
            None if plain_style => match scalar::resolve(text).map_err(|message| error(span, &message))? {
                Some(value) => value,
                None => Value::String(self.text(text)),
            },
            None => Value::String(self.text(text)),
            Some(tag) => match scalar::construct(tag, text).map_err(|message| error(span, &message))? {
                Some(value) => value,
                None => Value::String(self.text(text)),
            },
        };
        Ok(Finished { node: Node { value, span }, size: 1, plain })
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if text.len() > 64 {
            return Arc::from(text);
        }
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }

    fn open(&mut self, content: Content, anchor: usize, span: Span) -> Result<(), Error> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(error(span, &format!("nested more than {MAX_DEPTH} levels deep")));
        }
        if let Some(Frame { content: Content::Mapping { key: None, .. }, .. }) = self.stack.last() {
            return Err(error(span, "a list or a dictionary cannot be a key"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.stack.push(Frame { anchor, span, size: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let value = match frame.content {
            Content::Sequence(items) => Value::Sequence(Arc::new(items)),
            Content::Mapping { entries, merges, .. } => Value::Mapping(Arc::new(self.mapping(entries, merges)?)),
        };
        let node = Node { value, span: frame.span };
        self.finish(Finished { node, size: frame.size, plain: None }, frame.anchor)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, finished: Finished, anchor: usize) -> Result<(), Error> {
        let Finished { node, size, plain } = finished;
        self.nodes = self.nodes.saturating_add(1);
        if anchor != 0 {
            self.anchors.insert(anchor, Some((node.clone(), size)));
        }
        let span = node.span;
        let Some(frame) = self.stack.last_mut() else {
            if plain.is_some() {
                return Err(sign_as_value(span));
            }
            self.root = Some(node);
            return Ok(());
        };
        frame.size = frame.size.saturating_add(size);
        if frame.size > MAX_NODES {
            return Err(error(span, "too many values: aliases of aliases make the document grow without end"));
        }
        match &mut frame.content {
            Content::Mapping { key: key @ None, .. } => {
                *key = Some(match plain {
                    Some(PlainSign::Merge) => PendingKey::Merge(span),
                    Some(PlainSign::Equals) => PendingKey::Key(Key { text: Arc::from("="), is_string: true, span }),
                    None => PendingKey::Key(key_of(&node)?),
                });
            }
            _ if plain.is_some() => return Err(sign_as_value(span)),
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, merges, key } => match key.take() {
                Some(PendingKey::Key(key)) => entries.push((key, node)),
                Some(PendingKey::Merge(span)) => merges.push((span, node)),
                None => {}
            },
        }
        Ok(())
    }

    /// Most mappings have no merge keys and few entries: comparing is faster than hashing.
    fn small_mapping(&mut self, own: Vec<(Key, Node)>) -> Mapping {
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(own.len());
        for (key, node) in own {
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some(entry) => {
                    self.duplicates.push(key.clone());
                    *entry = (key, node);
                }
                None => entries.push((key, node)),
            }
        }
        Mapping { entries }
    }

    /// A mapping of its own entries over the merged ones: keys keep the place they first appear, merged ones first.
    fn mapping(&mut self, own: Vec<(Key, Node)>, merges: Vec<(Span, Node)>) -> Result<Mapping, Error> {
        if merges.is_empty() && own.len() <= 16 {
            return Ok(self.small_mapping(own));
        }
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(own.len());
        let mut index: FxHashMap<(Arc<str>, bool), usize> = FxHashMap::default();
        let mut put = |entries: &mut Vec<(Key, Node)>, key: Key, node: Node| -> bool {
            match index.get(&(Arc::clone(&key.text), key.is_string)) {
                Some(&at) => {
                    entries[at] = (key, node);
                    true
                }
                None => {
                    index.insert((Arc::clone(&key.text), key.is_string), entries.len());
                    entries.push((key, node));
                    false
                }
            }
        };
        for (_, merge) in &merges {
            // Within one list the first mapping wins, so the last goes in first.
            let sources: Vec<&Node> = match &merge.value {
                Value::Mapping(_) => vec![merge],
                Value::Sequence(items) => items.iter().rev().collect(),
                _ => return Err(error(merge.span, "`<<` takes a dictionary or a list of dictionaries")),
            };
            for source in sources {
                let Value::Mapping(mapping) = &source.value else {
                    return Err(error(source.span, "`<<` takes a dictionary or a list of dictionaries"));
                };
                self.nodes = self.nodes.saturating_add(mapping.len());
                if self.nodes > MAX_NODES {
                    return Err(error(source.span, "too many values"));
                }
                for (key, node) in mapping.iter() {
                    put(&mut entries, key.clone(), node.clone());
                }
            }
        }
        let merged = entries.len();
        let mut seen: FxHashSet<(Arc<str>, bool)> = FxHashSet::default();
        for (key, node) in own {
            let again = put(&mut entries, key.clone(), node);
            // Overriding a merged key is what merging is for.
            if again && (merged == 0 || seen.contains(&(Arc::clone(&key.text), key.is_string))) {
                self.duplicates.push(key);
            } else if merged > 0 {
                seen.insert((Arc::clone(&key.text), key.is_string));
            }
        }
        Ok(Mapping { entries })
    }
}

fn error(span: Span, message: &str) -> Error {
    Error { message: format!("cannot read YAML: {message}"), span }
}

fn sign_as_value(span: Span) -> Error {
    error(span, "a plain `<<` or `=` cannot be a value; quote it if it is meant as text")
}

fn tag_name(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { format!("{}{}", tag.handle, tag.suffix) }
}

fn check_tag(tag: Option<&Tag>, wanted: &str, span: Span) -> Result<(), Error> {
    match tag.map(tag_name) {
        None => Ok(()),
        Some(name) if name == "!" || name.strip_prefix("!!") == Some(wanted) => Ok(()),
        Some(name) => Err(error(span, &format!("the tag {name} has no meaning here"))),
    }
}

fn key_of(node: &Node) -> Result<Key, Error> {
    let (text, is_string) = match &node.value {
        Value::String(text) => (Arc::clone(text), true),
        Value::Null => (Arc::from("null"), false),
        Value::Sequence(_) | Value::Mapping(_) => {
            return Err(error(node.span, "a list or a dictionary cannot be a key"));
        }
        _ => (Arc::from(node.shown()), false),
    };
    Ok(Key { text, is_string, span: node.span })
}
