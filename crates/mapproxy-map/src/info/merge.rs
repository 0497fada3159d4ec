//! One document of many.

use super::{InfoDocument, InfoKind, html, json, xml};

/// One document with what all say, in order; `None` of none. One alone is passed on as it is, but a fragment of HTML
/// becomes a document.
///
/// Documents without content do not count where others have some. Those of one kind are merged as that kind: texts line
/// by line, XML below the root of the first, HTML in its body, JSON object by object. A document that is not what it
/// claims to be is left out, and the log says so; if kinds differ, or nothing else is left, the texts are joined.
pub fn merge(documents: Vec<InfoDocument>) -> Option<InfoDocument> {
    let mut with_content = Vec::with_capacity(documents.len());
    let mut empty = None;
    for document in documents {
        if document.is_empty() {
            empty.get_or_insert(document);
        } else {
            with_content.push(document);
        }
    }
    match with_content.as_slice() {
        [] => return empty,
        [InfoDocument { kind: InfoKind::Html, text }] => {
            return Some(InfoDocument::new(InfoKind::Html, html::complete(text)));
        }
        [_] => return with_content.pop(),
        _ => {}
    }
    let kind = with_content[0].kind;
    let texts: Vec<&str> = with_content.iter().map(|document| document.text.as_str()).collect();
    let merged = if with_content.iter().all(|document| document.kind == kind) {
        match kind {
            InfoKind::Text => None,
            InfoKind::Html => Some(html::merge(&texts)),
            InfoKind::Xml => xml::merge(&texts),
            InfoKind::Json => json::merge(&texts),
        }
    } else {
        None
    };
    Some(match merged {
        Some(text) => InfoDocument::new(kind, text),
        None => InfoDocument::new(InfoKind::Text, texts.join("\n")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(documents: &[(InfoKind, &str)]) -> Option<(InfoKind, String)> {
        let documents = documents.iter().map(|(kind, text)| InfoDocument::new(*kind, *text)).collect();
        merge(documents).map(|document| (document.kind, document.text))
    }

    #[test]
    fn nothing_gives_nothing_and_one_is_passed_on_untouched() {
        assert_eq!(merged(&[]), None);
        let odd = "<a  b='1'></a>\n";
        assert_eq!(merged(&[(InfoKind::Xml, odd)]), Some((InfoKind::Xml, odd.to_owned())));
        assert_eq!(merged(&[(InfoKind::Html, "")]), Some((InfoKind::Html, String::new())));
        let whole = "<HTML><p>1<p>2";
        assert_eq!(merged(&[(InfoKind::Html, whole)]), Some((InfoKind::Html, whole.to_owned())));
        let part = Some((InfoKind::Html, "<html><body>info</body></html>".to_owned()));
        assert_eq!(merged(&[(InfoKind::Html, "info")]), part);
    }

    #[test]
    fn texts_are_joined_line_by_line_without_the_empty_ones() {
        let documents = [(InfoKind::Text, "a"), (InfoKind::Text, ""), (InfoKind::Text, "b\n"), (InfoKind::Text, " \n")];
        assert_eq!(merged(&documents), Some((InfoKind::Text, "a\nb\n".to_owned())));
    }

    #[test]
    fn an_empty_document_of_another_kind_changes_nothing() {
        let documents = [(InfoKind::Text, ""), (InfoKind::Json, "{}")];
        assert_eq!(merged(&documents), Some((InfoKind::Json, "{}".to_owned())));
    }

    #[test]
    fn different_kinds_become_text() {
        let documents = [(InfoKind::Text, "Hello"), (InfoKind::Xml, "<baz/>")];
        assert_eq!(merged(&documents), Some((InfoKind::Text, "Hello\n<baz/>".to_owned())));
    }

    #[test]
    fn what_is_no_xml_at_all_is_shown_as_text() {
        let documents = [(InfoKind::Xml, "no features"), (InfoKind::Xml, "nothing found")];
        assert_eq!(merged(&documents), Some((InfoKind::Text, "no features\nnothing found".to_owned())));
    }
}
