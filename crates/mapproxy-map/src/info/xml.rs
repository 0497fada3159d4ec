//! XML documents merged: what is below the roots of the later below that of the first.
//!
//! The first document is passed on as it came; of the others what is between the tags of the root, with those namespaces
//! declared again that it needs.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

/// More elements and texts than any feature info has.
const MAX_NODES: u32 = 2_000_000;

/// More namespaces than any root declares.
const MAX_NAMESPACES: usize = 100;

/// How much longer the whole may be than its parts: namespaces are declared again and again.
const MAX_GROWTH: usize = 1 << 20;

/// A document that declares entities, or is cut off in its declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a document type with declarations of its own")]
pub struct UnsafeXml;

/// The document without its document type, so that no parser is led to other files. Declarations inside are refused:
/// what they declare would have to be expanded.
pub fn without_doctype(text: &str) -> Result<Cow<'_, str>, UnsafeXml> {
    let Some(start) = doctype(text) else { return Ok(Cow::Borrowed(text)) };
    let mut quote = None;
    for (at, c) in text[start..].char_indices() {
        match (quote, c) {
            (None, '[') => return Err(UnsafeXml),
            (None, '>') => {
                let rest = format!("{}{}", &text[..start], &text[start + at + 1..]);
                // There is only one, or somebody hides another behind it.
                return if doctype(&rest).is_some() { Err(UnsafeXml) } else { Ok(Cow::Owned(rest)) };
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    Err(UnsafeXml)
}

/// Where the document type begins: behind nothing but space, comments and processing instructions.
fn doctype(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        at += rest.len() - trimmed.len();
        let skipped = if trimmed.starts_with("<!--") {
            trimmed.find("-->")? + 3
        } else if trimmed.starts_with("<?") {
            trimmed.find("?>")? + 2
        } else {
            return trimmed.starts_with("<!DOCTYPE").then_some(at);
        };
        at += skipped;
    }
}

/// The first document with what is below the roots of all; `None` if none of them is XML. Those that are none are left
/// out.
pub(super) fn merge(texts: &[&str]) -> Option<String> {
    let options = || ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let texts: Vec<Cow<'_, str>> = texts.iter().filter_map(|text| told(without_doctype(text))).collect();
    let documents: Vec<Document<'_>> =
        texts.iter().filter_map(|text| told(Document::parse_with_options(text, options()))).collect();
    let mut documents = documents.iter().filter(|document| {
        let is_usable = document.root_element().namespaces().len() <= MAX_NAMESPACES;
        if !is_usable {
            log::warn!(target: "mapproxy.source", "feature info with too many namespaces is left out");
        }
        is_usable
    });
    let first = documents.next()?;
    let root = first.root_element();
    let text = first.input_text();
    let tag = StartTag::of(text, root);
    let mut merged = String::with_capacity(texts.iter().map(|text| text.len() + 64).sum());
    let end = if tag.is_empty {
        merged.push_str(text[..tag.end].trim_end_matches('>').trim_end_matches('/'));
        merged.push('>');
        tag.end
    } else {
        let end = text[..root.range().end].rfind("</").unwrap_or(tag.end);
        merged.push_str(&text[..end]);
        end
    };
    let longest = texts.iter().map(|text| text.len()).sum::<usize>() + MAX_GROWTH;
    for other in documents {
        add(&mut merged, other.root_element(), root, longest)?;
    }
    if tag.is_empty {
        merged.push_str("</");
        merged.push_str(tag.name);
        merged.push('>');
    }
    merged.push_str(&text[end..]);
    Some(merged)
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result
        .inspect_err(
            |error| log::warn!(target: "mapproxy.source", "feature info is no usable XML and left out: {error}"),
        )
        .ok()
}

/// Adds what is below `root` to what is below `first`; `None` if that becomes too long.
fn add(merged: &mut String, root: Node<'_, '_>, first: Node<'_, '_>, longest: usize) -> Option<()> {
    let text = root.document().input_text();
    let tag = StartTag::of(text, root);
    if tag.is_empty {
        return Some(());
    }
    let end = text[..root.range().end].rfind("</").unwrap_or(tag.end);
    let mut at = tag.end;
    for child in root.children().filter(Node::is_element) {
        let child_tag = StartTag::of(text, child);
        let name_end = child_tag.start + 1 + child_tag.name.len();
        merged.push_str(&text[at..name_end]);
        declare(merged, root, first, &child_tag, &text[child.range()]);
        at = name_end;
        if merged.len() > longest {
            log::warn!(target: "mapproxy.source", "feature info becomes too long as one XML document");
            return None;
        }
    }
    merged.push_str(&text[at..end]);
    Some(())
}

/// Declares for an element below `root` what is declared there and means something else below `first`.
fn declare(merged: &mut String, root: Node<'_, '_>, first: Node<'_, '_>, tag: &StartTag<'_>, element: &str) {
    let default = root.lookup_namespace_uri(None).unwrap_or("");
    if default != first.lookup_namespace_uri(None).unwrap_or("") && !tag.has_attribute("xmlns") {
        push_declaration(merged, "xmlns", default);
    }
    for namespace in root.namespaces() {
        let Some(prefix) = namespace.name().filter(|prefix| *prefix != "xml") else { continue };
        let is_needed = first.lookup_namespace_uri(Some(prefix)) != Some(namespace.uri())
            && element.contains(&format!("{prefix}:"));
        let attribute = format!("xmlns:{prefix}");
        if is_needed && !tag.has_attribute(&attribute) {
            push_declaration(merged, &attribute, namespace.uri());
        }
    }
}

fn push_declaration(merged: &mut String, attribute: &str, uri: &str) {
    let uri = uri.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    merged.push_str(&format!(" {attribute}=\"{uri}\""));
}

/// A start tag in the text of a well-formed document.
struct StartTag<'a> {
    name: &'a str,
    start: usize,
    /// Behind its `>`.
    end: usize,
    is_empty: bool,
    attributes: Vec<&'a str>,
}

impl<'a> StartTag<'a> {
    fn of(text: &'a str, element: Node<'_, '_>) -> StartTag<'a> {
        let start = element.range().start;
        let tag = &text[start..];
        let name_end = tag.find([' ', '\t', '\r', '\n', '/', '>']).unwrap_or(tag.len());
        let mut attributes = Vec::new();
        let (mut quote, mut word, mut end) = (None, name_end, tag.len());
        for (at, c) in tag[name_end..].char_indices().map(|(at, c)| (at + name_end, c)) {
            match (quote, c) {
                (None, '>') => {
                    end = at + 1;
                    break;
                }
                (None, '=') => attributes.push(tag[word..at].trim()),
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => (quote, word) = (None, at + 1),
                _ => {}
            }
        }
        let is_empty = tag[..end].ends_with("/>");
        StartTag { name: tag.get(1..name_end).unwrap_or(""), start, end: start + end, is_empty, attributes }
    }

    fn has_attribute(&self, name: &str) -> bool {
        self.attributes.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_roots_comes_below_the_first() {
        let merged = merge(&[
            "<?xml version=\"1.0\"?>\n<a attr='>'><b>Bar</b> tail &amp; ä</a>\n",
            "<x:root xmlns:x=\"urn:x\" xmlns:y=\"urn:y\"><x:b>2</x:b> t <y:c/></x:root>",
            "<a><c/></a>",
            "<a><b></a>",
            "<z/>",
        ]);
        let expected = "<?xml version=\"1.0\"?>\n<a attr='>'><b>Bar</b> tail &amp; ä<x:b xmlns:x=\"urn:x\">2</x:b> t \
                        <y:c xmlns:y=\"urn:y\"/><c/></a>\n";
        assert_eq!(merged.as_deref(), Some(expected));
    }

    #[test]
    fn a_first_document_without_content_gets_some() {
        assert_eq!(merge(&["<a b='/'/>", "<a>1</a>"]).as_deref(), Some("<a b='/'>1</a>"));
        assert_eq!(merge(&["<n:a xmlns:n='u' />", "<a/>"]).as_deref(), Some("<n:a xmlns:n='u' ></n:a>"));
    }

    /// Names of all elements with their namespaces.
    fn names(text: &str) -> Vec<(String, String)> {
        let document = Document::parse(text).unwrap();
        let elements = document.descendants().filter(Node::is_element);
        let name =
            |node: Node<'_, '_>| (node.tag_name().namespace().unwrap_or("").into(), node.tag_name().name().into());
        elements.map(name).collect()
    }

    #[test]
    fn elements_keep_their_namespaces() {
        let merged = merge(&[
            "<r xmlns='urn:1' xmlns:p='urn:p1'><p:a/></r>",
            "<r><b/><c xmlns='urn:own'/></r>",
            "<r xmlns='urn:2' xmlns:p='urn:p&amp;2'><p:d/><p:e xmlns:p = 'urn:p3' p:x=''/><f/></r>",
        ])
        .unwrap();
        let expected = [
            ("urn:1", "r"),
            ("urn:p1", "a"),
            ("", "b"),
            ("urn:own", "c"),
            ("urn:p&2", "d"),
            ("urn:p3", "e"),
            ("urn:2", "f"),
        ];
        let expected: Vec<_> = expected.iter().map(|(uri, name)| ((*uri).to_owned(), (*name).to_owned())).collect();
        assert_eq!(names(&merged), expected, "{merged}");
    }

    #[test]
    fn declarations_of_entities_are_refused_and_other_document_types_dropped() {
        let bomb = "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>";
        assert_eq!(without_doctype(bomb), Err(UnsafeXml));
        assert_eq!(without_doctype("<!DOCTYPE a SYSTEM '>'"), Err(UnsafeXml));
        assert_eq!(without_doctype(&format!("<!DOCTYPE a>{bomb}")), Err(UnsafeXml));
        let typed = "<?xml version='1.0'?><!-- <!DOCTYPE --> <!DOCTYPE a SYSTEM \"http://h/a>.dtd\"><a/>";
        assert_eq!(without_doctype(typed).unwrap(), "<?xml version='1.0'?><!-- <!DOCTYPE --> <a/>");
        assert!(matches!(without_doctype("<a/><!DOCTYPE"), Ok(Cow::Borrowed(_))));
        assert_eq!(merge(&[bomb, "<a>1</a>", typed]).as_deref(), Some("<a>1</a>"));
    }

    #[test]
    fn namespaces_cannot_make_a_document_endless() {
        let uri = "u".repeat(100_000);
        let long = format!("<r xmlns:a='{uri}'>{}</r>", "<c>a:</c>".repeat(1000));
        assert_eq!(merge(&["<r/>", &long]), None);
        let declarations: String = (0..200).map(|i| format!(" xmlns:n{i}='u'")).collect();
        let many = format!("<r{declarations}>x</r>");
        assert_eq!(merge(&["<r/>", &many, "<r>y</r>"]).as_deref(), Some("<r>y</r>"));
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = format!("<a>{}{}</a>", "<b>".repeat(200_000), "</b>".repeat(200_000));
        let merged = merge(&["<a/>", &deep]);
        assert!(merged.is_none_or(|merged| merged.len() < deep.len() + 100));
    }
}
