//! Text inside XML, HTML and URLs.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Text made safe for XML and HTML, in and out of attributes.
pub(crate) fn escape(text: &str) -> String {
    escape_but(text, |_| false)
}

/// The same for texts of a configuration, which may hold entities already (`&amp;`, `&#8364;`): these stay as they are.
pub(crate) fn escape_config(text: &str) -> String {
    escape_but(text, begins_with_entity)
}

fn escape_but(text: &str, keep_ampersand: impl Fn(&str) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '&' if keep_ampersand(&text[at..]) => escaped.push('&'),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            // XML 1.0, 2.2: no other control characters, not even as references.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn begins_with_entity(text: &str) -> bool {
    let Some((name, _)) = text[1..].split_once(';') else { return false };
    match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix('x') {
            Some(hex) => !hex.is_empty() && hex.len() <= 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !number.is_empty() && number.len() <= 7 && number.bytes().all(|b| b.is_ascii_digit()),
        },
        None => matches!(name, "amp" | "lt" | "gt" | "quot" | "apos"),
    }
}

/// What a segment of a path may hold as it is (RFC 3986, 3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Text as a segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_is_escaped_wholly() {
        assert_eq!(escape("<a href=\"x\">'&amp;"), "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;amp;");
    }

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(segment("ns:a b/c?d%{e}"), "ns:a%20b%2Fc%3Fd%25%7Be%7D");
    }

    #[test]
    fn entities_in_a_configuration_are_not_escaped_again() {
        assert_eq!(escape_config("A &amp; B & C &#169; &nbsp; &"), "A &amp; B &amp; C &#169; &amp;nbsp; &amp;");
    }
}
