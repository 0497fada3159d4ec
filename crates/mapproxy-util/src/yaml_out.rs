//! Writes YAML for people to go on with: keys sorted, lists of plain values on one line, ASCII only, and lines broken near
//! column 80, as PyYAML does by default.

use mapproxy_config::Span;
use mapproxy_config::yaml::{Node, Value as Read, parse};
use serde_json::Value;

/// Lines are broken at the next occasion behind this column.
const WIDTH: usize = 80;

/// The document, with a line break at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0, is_after_space: true };
    match value {
        Value::Object(map) if !map.is_empty() => writer.mapping(map, 0, true),
        Value::Array(items) if !is_flow(items) => writer.sequence(items, 0, true),
        other => {
            writer.inline(other, 2);
            writer.line_break();
        }
    }
    writer.out
}

/// As Python writes a number.
pub(crate) fn float(value: f64) -> String {
    let node = Node { value: Read::Float(value), span: Span::default() };
    let text = node.python_text().map(|text| text.into_owned()).unwrap_or_default();
    nearest_even(&text, value).unwrap_or(text)
}

/// The digits that Python prefers where two shortest texts are equally near: those with an even end.
fn nearest_even(text: &str, value: f64) -> Option<String> {
    let exact: Vec<u8> =
        format!("{value:.60e}").bytes().take_while(|c| *c != b'e').filter(u8::is_ascii_digit).collect();
    let mantissa = text.split('e').next()?;
    let last = mantissa.rfind(|c: char| c.is_ascii_digit() && c != '0')?;
    let digits = mantissa[..=last].bytes().filter(u8::is_ascii_digit).skip_while(|c| *c == b'0').count();
    let (kept, rest) = exact.split_at_checked(digits)?;
    let is_half = rest.first() == Some(&b'5') && rest[1..].iter().all(|c| *c == b'0');
    let even = kept.last().filter(|digit| is_half && (**digit - b'0').is_multiple_of(2))?;
    let mut candidate = text.to_owned();
    candidate.replace_range(last..=last, std::str::from_utf8(&[*even]).ok()?);
    (candidate.parse() == Ok(value)).then_some(candidate)
}

/// What was read, to be written again. Moments become texts.
pub(crate) fn from_node(node: &Node) -> Value {
    match &node.value {
        Read::Null => Value::Null,
        Read::Bool(value) => (*value).into(),
        Read::Int(value) => (*value).into(),
        Read::Float(value) => (*value).into(),
        Read::String(text) => text.to_string().into(),
        Read::Timestamp(timestamp) => timestamp.to_string().into(),
        Read::Sequence(items) => items.iter().map(from_node).collect(),
        Read::Mapping(mapping) => {
            Value::Object(mapping.iter().map(|(key, value)| (key.text.to_string(), from_node(value))).collect())
        }
    }
}

fn is_flow(items: &[Value]) -> bool {
    !items.iter().any(|item| item.is_array() || item.is_object())
}

struct Writer {
    out: String,
    column: usize,
    is_after_space: bool,
}

impl Writer {
    fn write(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
        self.is_after_space = false;
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.is_after_space = true;
    }

    fn indent(&mut self, indent: usize) {
        if self.column > 0 {
            self.line_break();
        }
        self.write(&" ".repeat(indent));
        self.is_after_space = true;
    }

    fn space(&mut self) {
        if !self.is_after_space {
            self.write(" ");
        }
    }

    fn mapping(&mut self, map: &serde_json::Map<String, Value>, indent: usize, is_at_line: bool) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort();
        for (index, key) in keys.into_iter().enumerate() {
            if index > 0 || !is_at_line {
                self.indent(indent);
            }
            self.scalar(key, indent + 2, Place::Key);
            self.write(":");
            match &map[key] {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent + 2, false),
                Value::Array(items) if !is_flow(items) => self.sequence(items, indent, false),
                other => {
                    self.inline(other, indent + 2);
                    self.line_break();
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize, is_at_line: bool) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 || !is_at_line {
                self.indent(indent);
            }
            self.write("- ");
            self.is_after_space = true;
            match item {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent + 2, true),
                Value::Array(inner) if !is_flow(inner) => self.sequence(inner, indent + 2, true),
                other => {
                    self.inline(other, indent + 2);
                    self.line_break();
                }
            }
        }
    }

    /// What stands behind a key or a dash.
    fn inline(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(_) => {
                self.space();
                self.write("{}");
            }
            Value::Array(items) => {
                self.space();
                self.write("[");
                self.is_after_space = true;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.write(",");
                    }
                    if self.column > WIDTH {
                        self.indent(indent);
                    }
                    self.plain_or_text(item, indent + 2, Place::Flow);
                }
                self.write("]");
            }
            other => self.plain_or_text(other, indent, Place::Block),
        }
    }

    fn plain_or_text(&mut self, value: &Value, indent: usize, place: Place) {
        let text = match value {
            Value::String(text) => return self.scalar(text, indent, place),
            // Nothing behind a key is nothing.
            Value::Null if place == Place::Block => return,
            Value::Null => "null".to_owned(),
            Value::Number(number) if number.is_f64() => {
                let text = float(number.as_f64().unwrap_or_default());
                // Without a dot it would be read as a text.
                if text.contains('e') && !text.contains('.') { text.replacen('e', ".0e", 1) } else { text }
            }
            other => other.to_string(),
        };
        self.space();
        self.write(&text);
    }

    fn scalar(&mut self, text: &str, indent: usize, place: Place) {
        self.space();
        let breaks = place != Place::Key;
        match style(text, place) {
            Style::Plain => self.words(text, indent, breaks, false),
            Style::Single => {
                self.write("'");
                self.words(&text.replace('\'', "''"), indent, breaks, true);
                self.write("'");
            }
            Style::Double => self.double_quoted(text, indent, breaks),
        }
    }

    /// Text with line breaks at spaces where lines get long; those of the text itself are doubled.
    fn words(&mut self, text: &str, indent: usize, breaks: bool, is_quoted: bool) {
        let mut rest = text;
        while !rest.is_empty() {
            let kind = rest.chars().next().unwrap_or_default();
            let is_same = |c: char| match kind {
                ' ' | '\n' => c == kind,
                _ => c != ' ' && c != '\n',
            };
            let (run, next) = rest.split_at(rest.find(|c| !is_same(c)).unwrap_or(rest.len()));
            let is_at_edge = is_quoted && (rest.len() == text.len() || next.is_empty());
            match kind {
                ' ' if run.len() == 1 && breaks && self.column > WIDTH && !is_at_edge => {
                    self.line_break();
                    self.indent(indent);
                }
                '\n' => {
                    for _ in 0..=run.len() {
                        self.line_break();
                    }
                    self.indent(indent);
                }
                _ => self.write(run),
            }
            rest = next;
        }
        self.is_after_space = false;
    }

    fn double_quoted(&mut self, text: &str, indent: usize, breaks: bool) {
        self.write("\"");
        let chars: Vec<char> = text.chars().collect();
        // What is written as it is, and not yet.
        let mut start = 0;
        for end in 0..=chars.len() {
            let c = chars.get(end).copied();
            let is_plain = c.is_some_and(|c| (' '..='~').contains(&c) && c != '"' && c != '\\');
            if !is_plain {
                self.write(&chars[start..end].iter().collect::<String>());
                start = end;
                if let Some(c) = c {
                    self.write(&escaped(c));
                    start = end + 1;
                }
            }
            let pending = end.saturating_sub(start);
            let is_occasion = c == Some(' ') || start >= end;
            if breaks && end > 0 && end + 1 < chars.len() && is_occasion && self.column + pending > WIDTH {
                let data: String = chars[start.min(end)..end].iter().collect();
                self.write(&format!("{data}\\"));
                start = start.max(end);
                self.line_break();
                self.indent(indent);
                if chars.get(start) == Some(&' ') {
                    self.write("\\");
                }
            }
        }
        self.write("\"");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Key,
    Block,
    Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// How a text has to be written in order to be read as the same text.
fn style(text: &str, place: Place) -> Style {
    let is_special = |c: char| !(' '..='~').contains(&c) && c != '\n';
    let has_spaces_at_breaks = text.contains(" \n") || text.contains("\n ");
    if text.chars().any(is_special) || has_spaces_at_breaks || text.ends_with([' ']) && text.contains('\n') {
        return Style::Double;
    }
    if text.contains('\n') {
        return if place == Place::Key { Style::Double } else { Style::Single };
    }
    let reads_as_text =
        parse(text.as_bytes(), 0).is_ok_and(|document| document.root.as_str().is_some_and(|read| read == text));
    let starts = text.starts_with(['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`']);
    let in_flow = place == Place::Flow;
    let has_flow_signs = text.contains([',', '?', '[', ']', '{', '}', ':']);
    let is_plain = reads_as_text
        && !starts
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains(": ")
        && !text.ends_with(':')
        && !text.contains(" #")
        && !(text.starts_with(['?', '-']) && text[1..].chars().next().is_none_or(|c| c == ' '))
        && !matches!(text, "=" | "<<")
        && !(in_flow && has_flow_signs);
    if is_plain { Style::Plain } else { Style::Single }
}

fn escaped(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\u{1b}' => "\\e".to_owned(),
        '\u{85}' => "\\N".to_owned(),
        '\u{a0}' => "\\_".to_owned(),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        c if u32::from(c) <= 0xff => format!("\\x{:02X}", u32::from(c)),
        c if u32::from(c) <= 0xffff => format!("\\u{:04X}", u32::from(c)),
        c => format!("\\U{:08X}", u32::from(c)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_look_as_pyyaml_writes_them() {
        let value = json!({
            "caches": {},
            "layers": [{ "name": "a", "layers": [{ "title": "One: two" }], "sources": ["a_wms"] }],
            "sources": { "a_wms": { "req": { "url": "http://h/map?a=b&", "transparent": true }, "srs": ["EPSG:4326"],
                "bbox": [-180.0, -90, 1e-7, 1e16], "version": "1.3.0", "n": "17", "empty": "", "none": null } },
        });
        let wanted = "\
caches: {}
layers:
- layers:
  - title: 'One: two'
  name: a
  sources: [a_wms]
sources:
  a_wms:
    bbox: [-180.0, -90, 1.0e-07, 1.0e+16]
    empty: ''
    n: '17'
    none:
    req:
      transparent: true
      url: http://h/map?a=b&
    srs: ['EPSG:4326']
    version: 1.3.0
";
        assert_eq!(document(&value), wanted);
    }

    #[test]
    fn texts_come_back_as_they_were() {
        let long = "word ".repeat(60);
        let texts = [
            "",
            " a",
            "a ",
            "a: b",
            "a:",
            "#a",
            "a #b",
            "a#b",
            "- a",
            "-",
            "?",
            "yes",
            "1.5",
            "0x1f",
            "2010-01-01",
            "~",
            "<<",
            "=",
            "'",
            "\"",
            "a'b",
            "a\nb",
            "a\n\nb\n",
            "\n",
            "a \n b",
            "\ta",
            "ü",
            "🌍 \u{85}",
            "[a]",
            "a, b",
            "{",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "`x",
            "---",
            "---a",
            "...",
            ": a",
            "a\\b",
            "null",
            "1e5",
            "12:30:45",
            &long,
            &long.replace('w', "ü"),
            &long.replace('w', "'"),
            "a\r\nb",
        ];
        for text in texts {
            for value in
                [json!({ "k": text }), json!({ "k": [text, text] }), json!({ text: 1 }), json!([{ "a": [[text]] }])]
            {
                let written = document(&value);
                assert!(written.is_ascii());
                let read = parse(written.as_bytes(), 0).unwrap_or_else(|error| panic!("{error:?}\n{written}"));
                assert_eq!(from_node(&read.root), value, "{written}");
            }
        }
    }

    #[test]
    fn numbers_are_those_of_python() {
        for (value, text) in [
            (1.40625 / f64::from(1 << 17), "1.0728836059570312e-05"),
            (0.625 / f64::from(1 << 20), "5.960464477539062e-07"),
            (0.15, "0.15"),
            (1e22, "1e+22"),
            (-0.0, "-0.0"),
            (5.0, "5.0"),
            (0.5, "0.5"),
            (180.0, "180.0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn long_lines_are_broken() {
        let value = json!({ "supported": (0..30).map(|n| format!("EPSG:{}", 25800 + n)).collect::<Vec<_>>(), "text": "word ".repeat(40).trim() });
        let written = document(&value);
        assert!(written.lines().all(|line| line.len() <= WIDTH + 20), "{written}");
        assert!(written.lines().count() > 6);
    }
}
