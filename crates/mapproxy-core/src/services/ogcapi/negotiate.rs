//! Which representation of a resource a client wants: `f`, else `Accept` with its weights (RFC 9110, 12.5.1).

use std::fmt;

use http::HeaderMap;
use http::header::ACCEPT;

/// The forms of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentForm {
    Json,
    Html,
}

/// What `Accept` says.
#[derive(Debug, Default)]
pub(super) struct Accept {
    ranges: Vec<Range>,
}

#[derive(Debug)]
struct Range {
    kind: String,
    subtype: String,
    /// 0 to 1000.
    weight: u16,
}

impl Accept {
    pub(super) fn of(headers: &HeaderMap) -> Accept {
        let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Accept { ranges: lists.flat_map(|list| list.split(',')).filter_map(Range::parse).collect() }
    }

    /// The weight of a media type, by the most specific range that names it; without a header, all are welcome.
    pub(super) fn weight(&self, media_type: &str) -> u16 {
        if self.ranges.is_empty() {
            return 1000;
        }
        let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
        let subtype = subtype.split(';').next().unwrap_or(subtype);
        let matching = self.ranges.iter().filter_map(|range| Some((range.specificity(kind, subtype)?, range.weight)));
        matching.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, weight)| weight)
    }

    /// HTML where it is named and weighs as much as JSON, as browsers do; JSON for everybody else.
    pub(super) fn document_form(&self) -> DocumentForm {
        let html = self.weight("text/html");
        let is_named = self.ranges.iter().any(|range| range.specificity("text", "html") == Some(2));
        if is_named && html > 0 && html >= self.weight("application/json") {
            DocumentForm::Html
        } else {
            DocumentForm::Json
        }
    }

    /// The media type that weighs most, the first of equals; `None`: none is welcome.
    pub(super) fn best<'a>(&self, offered: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let mut best: Option<(&str, u16)> = None;
        for media_type in offered {
            let weight = self.weight(media_type);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((media_type, weight));
            }
        }
        best.map(|(media_type, _)| media_type)
    }
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(1000, |q| q.trim().parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16));
        Some(Range { kind: kind.to_ascii_lowercase(), subtype: subtype.to_ascii_lowercase(), weight })
    }

    fn specificity(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(kind) => Some(1),
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

impl fmt::Display for Accept {
    /// The names, for error messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.ranges.iter().map(|range| format!("{}/{}", range.kind, range.subtype)).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(text: &str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(text).unwrap());
        Accept::of(&headers)
    }

    #[test]
    fn browsers_get_pages_and_programs_json() {
        for (text, form) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", DocumentForm::Html),
            ("text/html, application/json", DocumentForm::Html),
            ("*/*", DocumentForm::Json),
            ("application/json, text/html;q=0.9", DocumentForm::Json),
            ("text/html;q=0", DocumentForm::Json),
            ("text/html;q=0.1, */*", DocumentForm::Json),
            ("application/xml", DocumentForm::Json),
            ("nonsense", DocumentForm::Json),
        ] {
            assert_eq!(accept(text).document_form(), form, "{text}");
        }
        assert_eq!(Accept::default().document_form(), DocumentForm::Json);
    }

    #[test]
    fn the_most_specific_range_weighs() {
        let accept = accept("image/*;q=0.5, image/png;q=0, */*;q=0.1");
        assert_eq!(
            (accept.weight("image/png"), accept.weight("image/jpeg"), accept.weight("text/html")),
            (0, 500, 100)
        );
        assert_eq!(accept.best(["image/png", "image/jpeg"]), Some("image/jpeg"));
    }

    #[test]
    fn the_first_of_equals_is_chosen_and_none_where_none_is_welcome() {
        let offered = ["image/png", "image/jpeg"];
        assert_eq!(accept("image/*").best(offered), Some("image/png"));
        assert_eq!(accept("image/jpeg;q=0.4,image/png;q=0.3").best(offered), Some("image/jpeg"));
        assert_eq!(accept("image/webp").best(offered), None);
    }
}
