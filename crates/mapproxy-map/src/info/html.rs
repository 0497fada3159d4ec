//! HTML documents merged: the bodies of the later in the body of the first.
//!
//! Only tags are looked at, as much as it takes to find the body and to close what a document has left open; the rest is
//! passed on as it came.

/// Elements without an end tag.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];

/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// Elements that the next of their kind ends.
const SIBLINGS: [&[&str]; 5] = [&["p"], &["li"], &["dt", "dd"], &["tr"], &["td", "th"]];

/// The first document with the bodies of all.
pub(super) fn merge(texts: &[&str]) -> String {
    let mut documents = texts.iter().map(|text| Document::new(text));
    let Some(first) = documents.next() else { return String::new() };
    let mut merged = String::with_capacity(texts.iter().map(|text| text.len() + 16).sum());
    merged.push_str(first.before);
    let bodies = std::iter::once(first.body).chain(documents.map(|document| document.body));
    for body in bodies {
        merged.push_str(body.trim_end());
        for name in left_open(body).iter().rev() {
            merged.push_str("</");
            merged.push_str(name);
            merged.push('>');
        }
    }
    if first.is_fragment {
        return format!("<html><body>{merged}</body></html>");
    }
    merged.push_str(first.after);
    merged
}

/// A text that has neither root nor body, in both; others as they are.
pub(super) fn complete(text: &str) -> String {
    if Document::new(text).is_fragment { format!("<html><body>{text}</body></html>") } else { text.to_owned() }
}

/// A document by its parts.
struct Document<'a> {
    before: &'a str,
    body: &'a str,
    after: &'a str,
    /// There is neither a root nor a body.
    is_fragment: bool,
}

impl<'a> Document<'a> {
    fn new(text: &'a str) -> Document<'a> {
        let (mut start, mut end) = (0, text.len());
        let (mut has_body, mut has_root) = (false, false);
        for tag in Tags::of(text) {
            match (tag.name.as_str(), tag.is_end) {
                ("body", false) if !has_body => (start, has_body) = (tag.end, true),
                ("html", false) if !has_body && !has_root => (start, has_root) = (tag.end, true),
                ("head", true) if !has_body => start = tag.end,
                ("!doctype", _) if !has_body && !has_root => start = tag.end,
                ("body", true) if tag.start >= start => end = tag.start.min(end),
                ("html", true) if tag.start >= start => end = tag.start.min(end),
                _ => {}
            }
        }
        let (before, rest) = text.split_at(start);
        let (body, after) = rest.split_at(end.max(start) - start);
        Document { before, body, after, is_fragment: !has_body && !has_root }
    }
}

/// Names of elements that a body begins and does not end, from the outside in.
fn left_open(body: &str) -> Vec<String> {
    // A document with more open elements than this is no document anyone shows.
    const MAX_DEPTH: usize = 512;
    let mut open: Vec<String> = Vec::new();
    for tag in Tags::of(body) {
        if tag.is_end {
            if let Some(at) = open.iter().rposition(|name| *name == tag.name) {
                open.truncate(at);
            }
        } else if tag.is_element() {
            let siblings = SIBLINGS.iter().find(|siblings| siblings.contains(&tag.name.as_str()));
            if siblings.is_some_and(|siblings| open.last().is_some_and(|last| siblings.contains(&last.as_str()))) {
                open.pop();
            }
            if open.len() < MAX_DEPTH {
                open.push(tag.name);
            }
        }
    }
    open
}

/// A tag and its place in the text.
struct Tag {
    start: usize,
    end: usize,
    /// Lower case; `!doctype` for declarations.
    name: String,
    is_end: bool,
    is_closed: bool,
}

impl Tag {
    /// Something is in it until its end tag.
    fn is_element(&self) -> bool {
        !self.is_closed && !self.name.starts_with('!') && !VOID.contains(&self.name.as_str())
    }
}

/// The tags of a text, comments and the content of scripts left out.
struct Tags<'a> {
    text: &'a str,
    at: usize,
    /// The element whose end tag is looked for.
    raw: Option<String>,
}

impl<'a> Tags<'a> {
    fn of(text: &'a str) -> Tags<'a> {
        Tags { text, at: 0, raw: None }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        loop {
            let start = self.at + self.text.get(self.at..)?.find('<')?;
            let rest = &self.text[start + 1..];
            if self.raw.is_none() && rest.starts_with("!--") {
                let length = rest[3..].find("-->").map_or(rest.len(), |end| end + 6);
                self.at = start + 1 + length;
                continue;
            }
            let is_end = rest.starts_with('/');
            let name_at = usize::from(is_end);
            let name_end = rest[name_at..]
                .find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '<'))
                .map_or(rest.len(), |length| name_at + length);
            let name = rest[name_at..name_end].to_ascii_lowercase();
            let begins_tag = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!');
            let closes_raw = self.raw.as_ref().is_none_or(|raw| is_end && *raw == name);
            if !begins_tag || !closes_raw {
                self.at = start + 1;
                continue;
            }
            let length = tag_length(&rest[name_end..]).map_or(rest.len(), |length| name_end + length);
            self.at = start + 1 + length;
            self.raw = (!is_end && RAW.contains(&name.as_str())).then(|| name.clone());
            let is_closed = rest[..length].ends_with("/>");
            return Some(Tag { start, end: self.at, name, is_end, is_closed });
        }
    }
}

/// Up to and with the `>` that is not in quotes.
fn tag_length(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at + 1),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_follow_each_other_in_the_first() {
        let merged = merge(&[
            "<!DOCTYPE html>\n<HTML><head><title>a</body></title></head><BODY class='>'><p>1</p></BODY></HTML>\n",
            "<html><body><p>2</p></body></html>",
            "3 <b>bold</b>",
            "<head><meta charset=utf-8></head><i>4</i>",
        ]);
        assert_eq!(
            merged,
            "<!DOCTYPE html>\n<HTML><head><title>a</body></title></head><BODY class='>'><p>1</p><p>2</p>3 <b>bold</b>\
             <i>4</i></BODY></HTML>\n"
        );
    }

    #[test]
    fn what_a_document_leaves_open_is_closed_before_the_next() {
        let merged = merge(&["<body><h1>Hello<p>one<p>Bar<br>", "<table><tr><td>1<td>2<tr><td>3</table><script>'<b>'"]);
        assert_eq!(
            merged,
            "<body><h1>Hello<p>one<p>Bar<br></p></h1><table><tr><td>1<td>2<tr><td>3</table><script>'<b>'</script>"
        );
    }

    #[test]
    fn fragments_become_a_document() {
        assert_eq!(merge(&["<b>1", "2<!-- </body> -->"]), "<html><body><b>1</b>2<!-- </body> --></body></html>");
    }

    #[test]
    fn broken_markup_is_no_trouble() {
        for text in
            ["<", "</", "<a", "<!--", "<body", "<body>", "</body><body>", "<a b=\"", "a < b > c", "<ä>", "\u{1}"]
        {
            let merged = merge(&[text, text]);
            assert!(merged.len() < 200, "{merged}");
        }
        let deep = "<b>".repeat(100_000);
        assert!(merge(&[&deep, &deep]).len() < 2 * deep.len() + 10_000);
    }
}
