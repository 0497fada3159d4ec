//! Documents as HTML, their parts told apart by colour.

use crate::services::markup::escape;

/// Longer documents are shown in one colour: browsers take long over hundreds of thousands of elements.
const COLOURED: usize = 400_000;

/// XML; what is none stays as it is.
pub(super) fn xml(text: &str) -> String {
    if text.len() > COLOURED {
        return escape(text);
    }
    let mut html = String::with_capacity(text.len() * 3);
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        html.push_str(&escape(&rest[..start]));
        rest = &rest[start..];
        let (class, end) = if rest.starts_with("<!--") {
            ("c", rest.find("-->").map(|at| at + 3))
        } else if rest.starts_with("<![CDATA[") {
            ("s", rest.find("]]>").map(|at| at + 3))
        } else if rest.starts_with("<!") || rest.starts_with("<?") {
            ("c", rest.find('>').map(|at| at + 1))
        } else {
            ("t", end_of_tag(rest))
        };
        let Some(end) = end else { break };
        match class {
            "t" => tag(&rest[..end], &mut html),
            class => span(class, &rest[..end], &mut html),
        }
        rest = &rest[end..];
    }
    html.push_str(&escape(rest));
    html
}

/// JSON, indented.
pub(super) fn json(text: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let indented = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let text = indented.as_deref().unwrap_or(text);
    if text.len() > COLOURED {
        return escape(text);
    }
    let mut html = String::with_capacity(text.len() * 3);
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        html.push_str(&escape(&rest[..start]));
        rest = &rest[start..];
        let Some(end) = end_of_string(rest) else { break };
        span(if rest[end..].starts_with(':') { "t" } else { "s" }, &rest[..end], &mut html);
        rest = &rest[end..];
    }
    html.push_str(&escape(rest));
    html
}

fn span(class: &str, text: &str, html: &mut String) {
    html.push_str("<span class=\"");
    html.push_str(class);
    html.push_str("\">");
    html.push_str(&escape(text));
    html.push_str("</span>");
}

/// `<name key="value">`: the values of attributes stand out.
fn tag(text: &str, html: &mut String) {
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = &rest[start..=start];
        let Some(length) = rest[start + 1..].find(quote) else { break };
        let end = start + 1 + length + 1;
        span("t", &rest[..start], html);
        span("s", &rest[start..end], html);
        rest = &rest[end..];
    }
    span("t", rest, html);
}

/// Behind the `>` that closes the tag at the start.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at + 1),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Behind the quote that closes the string at the start.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(html: &str) -> String {
        let mut text = String::new();
        let mut inside = false;
        for c in html.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                c if !inside => text.push(c),
                _ => {}
            }
        }
        text
    }

    #[test]
    fn names_values_and_comments_are_told_apart() {
        let html = xml("<?x?><a b=\"1>2\">t &amp;</a><!-- <c> --><![CDATA[<]]>");
        assert_eq!(
            html,
            "<span class=\"c\">&lt;?x?&gt;</span><span class=\"t\">&lt;a b=</span><span class=\"s\">&quot;1&gt;2&quot;\
             </span><span class=\"t\">&gt;</span>t &amp;amp;<span class=\"t\">&lt;/a&gt;</span>\
             <span class=\"c\">&lt;!-- &lt;c&gt; --&gt;</span><span class=\"s\">&lt;![CDATA[&lt;]]&gt;</span>"
        );
        assert!(json(r#"{"a":"b\"<"}"#).contains("<span class=\"t\">&quot;a&quot;</span>: <span class=\"s\">"));
    }

    proptest! {
        #[test]
        fn whatever_the_document_holds_is_escaped_and_complete(text in "[ a-z<>\"'!/?&=\\[\\]-]{0,60}") {
            prop_assert_eq!(text_of(&xml(&text)), escape(&text));
            // Not JSON, mostly: as it is.
            if serde_json::from_str::<serde_json::Value>(&text).is_err() {
                prop_assert_eq!(text_of(&json(&text)), escape(&text));
            }
        }
    }
}
