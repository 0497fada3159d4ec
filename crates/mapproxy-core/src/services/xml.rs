//! Writing XML documents that name the address under which the client knows us.

use super::markup::{escape, escape_config};

/// Stands for the address in values; no text of a configuration can hold it, since XML cannot.
pub(crate) const ADDRESS: &str = "\u{1}";

/// Writes a document, indented, element by element. All values are escaped; entities in them are kept.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    depth: usize,
}

/// A document without the address.
#[derive(Debug)]
pub(crate) struct Document {
    /// The parts between the places of the address.
    parts: Vec<String>,
}

impl Writer {
    /// Markup as it is: declarations.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    /// A start tag; to be closed.
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.text.push_str(">\n");
        self.depth += 1;
    }

    /// The end tag.
    pub(crate) fn close(&mut self, name: &str) {
        self.depth -= 1;
        self.indent();
        self.end(name);
    }

    /// An element without content.
    // With a space, as in documents that people and programs have compared for years.
    pub(crate) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.text.push_str(" />\n");
    }

    /// An element with text.
    pub(crate) fn element(&mut self, name: &str, text: &str) {
        self.element_with(name, &[], text);
    }

    /// An element with attributes and text.
    pub(crate) fn element_with(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.tag(name, attributes);
        self.text.push('>');
        self.value(text);
        self.end(name);
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.value(value);
            self.text.push('"');
        }
    }

    fn end(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    fn value(&mut self, text: &str) {
        let text = match text.strip_prefix(ADDRESS) {
            Some(rest) => {
                self.text.push_str(ADDRESS);
                rest
            }
            None => text,
        };
        self.text.push_str(&escape_config(text));
    }

    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }

    pub(crate) fn finish(self) -> Document {
        Document { parts: self.text.split(ADDRESS).map(str::to_owned).collect() }
    }
}

impl Document {
    /// The document for clients who know us under `address`.
    pub(crate) fn with_address(&self, address: &str) -> String {
        self.parts.join(&escape(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_the_address_comes_last() {
        let mut xml = Writer::default();
        xml.open("a", &[("href", &format!("{ADDRESS}?x=1&y=2"))]);
        xml.element_with("b", &[("n", "\"")], "A &amp; B <c> \u{1}");
        xml.element("c", ADDRESS);
        xml.empty("d", &[]);
        xml.close("a");
        let document = xml.finish();
        let text = document.with_address("http://h/<&>");
        assert_eq!(
            text,
            "<a href=\"http://h/&lt;&amp;&gt;?x=1&amp;y=2\">\n  <b n=\"&quot;\">A &amp; B &lt;c&gt;  </b>\n  \
             <c>http://h/&lt;&amp;&gt;</c>\n  <d />\n</a>\n"
        );
        assert!(document.with_address("http://other").contains("<c>http://other</c>"));
    }
}
