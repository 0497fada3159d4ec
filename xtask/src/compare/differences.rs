//! How two answers differ, as far as a client can tell.

use serde_json::Value;

/// What a program answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// What it asked its sources meanwhile.
    pub(super) asked: Vec<String>,
}

/// Least PSNR of pictures, in dB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// Of formats that lose nothing.
    pub(super) lossless: f64,
    /// Of JPEG and lossy WebP, where encoders differ.
    pub(super) lossy: f64,
    /// Of pictures of few colours, which everybody chooses in another way.
    pub(super) paletted: f64,
}

impl Tolerance {
    fn of(self, answer: &Answer) -> f64 {
        let is_palette =
            |bytes: &[u8]| bytes.starts_with(b"GIF8") || (bytes.starts_with(b"\x89PNG") && bytes.get(25) == Some(&3));
        match answer.kind() {
            _ if is_palette(&answer.body) => self.paletted,
            kind if kind.contains("jpeg") || kind.contains("webp") => self.lossy,
            _ => self.lossless,
        }
    }
}

/// Headers that say what the answer is; the others belong to the server that carries it.
pub(super) const HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "cache-control",
    "vary",
    "pragma",
    "expires",
    "location",
    "access-control-allow-origin",
    "etag",
    "last-modified",
    "content-crs",
    "content-bbox",
    "link-template",
];

/// The ETag of all tiles of whose time and size the reference knows nothing.
const MD5_OF_NOTHING: &str = "c7485dcc8d256a6f197ed7802687f252";

/// Attributes that standards ask for and the reference leaves out, or states wrongly: (element, attribute).
const STANDARD: &[(&str, &str)] = &[
    // OGC 06-121r3, 8.5: the version of OWS Common, and which parameter is wrong.
    ("ExceptionReport", "version"),
    ("Exception", "locator"),
    // OGC 06-121r3, 7.4.4: keywords have no vocabulary.
    ("Keyword", "vocabulary"),
    // Fixed by the DTDs and schemas of WMS, so nobody need write it.
    ("OnlineResource", "type"),
    // TMS 1.0.0: where the documents above are.
    ("TileMapService", "services"),
    ("TileMap", "tilemapservice"),
];

impl Answer {
    fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    fn kind(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    fn picture(&self) -> Option<image::DynamicImage> {
        self.kind().starts_with("image/").then(|| image::load_from_memory(&self.body).ok())?
    }
}

/// A line for each difference; none where a client cannot tell the answers apart.
pub(super) fn differences(expected: &Answer, found: &Answer, tolerance: Tolerance) -> Vec<String> {
    let mut differences = Vec::new();
    // The reference answers mistakes of clients with 500, we with 400: docs/differences.md.
    let is_blame = expected.status == 500 && found.status == 400;
    if expected.status != found.status && !is_blame {
        differences.push(format!("status {} instead of {}", found.status, expected.status));
    }
    let pictures = expected.picture().zip(found.picture());
    for &name in HEADERS {
        let (expected_value, found_value) = (expected.header(name), found.header(name));
        let differs = match name {
            // Lengths depend on encoders and on white space.
            "content-length" => expected_value.is_some() != found_value.is_some(),
            // Values of validators depend on the moment. The reference does not know the time and size of a fresh tile.
            "etag" => expected_value.is_some_and(|etag| etag != MD5_OF_NOTHING) && found_value.is_none(),
            "last-modified" => expected_value.is_some() && found_value.is_none(),
            // The reference lets mistakes be kept, where they are none of WMS, WMTS or TMS.
            "cache-control" | "pragma" | "expires" if found.status >= 400 && expected_value.is_none() => false,
            "vary" => words(expected_value).iter().any(|word| !words(found_value).contains(word)),
            _ => expected_value != found_value,
        };
        if differs {
            let shown = |value: Option<&str>| value.unwrap_or("none").to_owned();
            differences.push(format!("{name}: {} instead of {}", shown(found_value), shown(expected_value)));
        }
    }
    match pictures {
        Some((one, other)) => {
            differences.extend(picture_difference(&one, &other, tolerance.of(expected)));
        }
        None => differences.extend(document_difference(&expected.body, &found.body)),
    }
    let is_known = |path: &String, others: &[String]| others.iter().any(|other| is_same(&sorted(path), &sorted(other)));
    let line = |asked: &[String], others: &[String]| {
        asked.iter().find(|path| !is_known(path, others)).cloned().unwrap_or_else(|| "the same".to_owned())
    };
    let asked_the_same = expected.asked.len() == found.asked.len()
        && found.asked.iter().all(|path| is_known(path, &expected.asked))
        && expected.asked.iter().all(|path| is_known(path, &found.asked));
    if !asked_the_same {
        differences.push(format!(
            "asked its source {} times, the reference {} times:\n        {}\n        instead of\n        {}",
            found.asked.len(),
            expected.asked.len(),
            line(&found.asked, &expected.asked),
            line(&expected.asked, &found.asked),
        ));
    }
    differences
}

/// A URL with its parameters in the order of the alphabet: the reference keeps some in sets, which have none.
fn sorted(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut params: Vec<_> = query.split('&').collect();
    params.sort_unstable();
    format!("{path}?{}", params.join("&"))
}

fn words(value: Option<&str>) -> Vec<String> {
    let words = value.unwrap_or_default().split(',').map(|word| word.trim().to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

fn picture_difference(expected: &image::DynamicImage, found: &image::DynamicImage, least_psnr: f64) -> Option<String> {
    let size = |picture: &image::DynamicImage| (picture.width(), picture.height());
    if size(expected) != size(found) {
        return Some(format!("size {:?} instead of {:?}", size(found), size(expected)));
    }
    if expected.color() != found.color() {
        return Some(format!("colour type {:?} instead of {:?}", found.color(), expected.color()));
    }
    let (expected, found) = (expected.to_rgba8(), found.to_rgba8());
    let (mut squares, mut largest, mut count) = (0.0, 0, 0.0);
    for (one, other) in expected.pixels().zip(found.pixels()) {
        // The colour of what cannot be seen says nothing.
        let is_hidden = one[3] == 0 && other[3] == 0;
        for (one, other) in one.0.iter().zip(other.0) {
            let difference = if is_hidden { 0 } else { one.abs_diff(other) };
            squares += f64::from(difference).powi(2);
            largest = largest.max(difference);
            count += 1.0;
        }
    }
    let psnr = if squares == 0.0 { f64::INFINITY } else { 10.0 * (255.0 * 255.0 * count / squares).log10() };
    (psnr < least_psnr).then(|| format!("pixels: PSNR {psnr:.1} dB, largest difference {largest}"))
}

/// XML and JSON by what they say, other text line by line.
fn document_difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let (Ok(expected), Ok(found)) = (std::str::from_utf8(expected), std::str::from_utf8(found)) else {
        return Some("body: other bytes".to_owned());
    };
    let options = || roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let xml = |text| roxmltree::Document::parse_with_options(text, options());
    if let (Ok(one), Ok(other)) = (xml(expected), xml(found)) {
        return xml_difference(one.root_element(), other.root_element(), String::new());
    }
    if let (Ok(one), Ok(other)) = (serde_json::from_str(expected), serde_json::from_str(found)) {
        return json_difference(&one, &other, "");
    }
    text_difference(expected, found)
}

/// The first difference of two elements, whatever the order of attributes, the prefixes and the white space.
fn xml_difference(expected: roxmltree::Node<'_, '_>, found: roxmltree::Node<'_, '_>, above: String) -> Option<String> {
    let path = format!("{above}/{}", expected.tag_name().name());
    if expected.tag_name() != found.tag_name() {
        return Some(format!("XML: {above}/{} instead of {path}", found.tag_name().name()));
    }
    let is_standard = |name: &str| STANDARD.contains(&(expected.tag_name().name(), name));
    for attribute in expected.attributes().filter(|attribute| !is_standard(attribute.name())) {
        let key = (attribute.namespace().unwrap_or_default(), attribute.name());
        let value = match key.0 {
            "" => found.attribute(key.1),
            _ => found.attribute(key),
        };
        if value.is_none_or(|value| !is_same(attribute.value(), value)) {
            return Some(format!(
                "XML: {path}@{}: {} instead of {}",
                key.1,
                value.unwrap_or("none"),
                attribute.value()
            ));
        }
    }
    let is_new = |attribute: &roxmltree::Attribute<'_, '_>| {
        let key = |attribute: &roxmltree::Attribute<'_, '_>| {
            (attribute.namespace().map(str::to_owned), attribute.name().to_owned())
        };
        !is_standard(attribute.name()) && !expected.attributes().any(|other| key(&other) == key(attribute))
    };
    if let Some(extra) = found.attributes().find(is_new) {
        return Some(format!("XML: {path}@{} is new: {}", extra.name(), extra.value()));
    }
    let text = |node: roxmltree::Node<'_, '_>| -> String {
        node.children().filter(roxmltree::Node::is_text).filter_map(|text| text.text()).collect()
    };
    if !is_same(&text(expected), &text(found)) {
        return Some(format!("XML: {path}: {:?} instead of {:?}", text(found).trim(), text(expected).trim()));
    }
    let count = children(expected).len();
    let (mut one, mut other) = (children(expected).into_iter(), children(found).into_iter());
    let mut index = 0;
    loop {
        match (one.next(), other.next()) {
            (Some(expected_child), Some(found_child)) => {
                index += 1;
                let above = if count > 1 { format!("{path}[{index}]") } else { path.clone() };
                if let Some(difference) = xml_difference(expected_child, found_child, above) {
                    return Some(difference);
                }
            }
            (Some(child), None) => return Some(format!("XML: {path}: no {}", child.tag_name().name())),
            (None, Some(child)) => return Some(format!("XML: {path}: {} is new", child.tag_name().name())),
            (None, None) => return None,
        }
    }
}

/// Whether an element says anything. Those in capitals (`PNG`, `INIMAGE`) say it by being there.
fn is_said(node: &roxmltree::Node<'_, '_>) -> bool {
    node.tag_name().name().chars().all(|c| c.is_ascii_uppercase() || c == '.' || c.is_ascii_digit())
        || node.attributes().any(|attribute| !attribute.value().is_empty())
        || node.children().any(|child| match child.is_element() {
            true => is_said(&child),
            false => child.text().is_some_and(|text| !text.trim().is_empty()),
        })
}

/// The elements in `node` that say anything. Lists of SRS have no order: that of the reference changes with every start.
fn children<'a, 'input>(node: roxmltree::Node<'a, 'input>) -> Vec<roxmltree::Node<'a, 'input>> {
    let mut children: Vec<_> = node.children().filter(|node| node.is_element() && is_said(node)).collect();
    let is_srs = |node: &roxmltree::Node<'_, '_>| matches!(node.tag_name().name(), "SRS" | "CRS");
    if let Some(first) = children.iter().position(is_srs) {
        let count = children[first..].iter().take_while(|node| is_srs(node)).count();
        children[first..first + count].sort_by_key(|node| node.text());
    }
    children
}

/// The same words, where numbers count by value.
fn is_same(expected: &str, found: &str) -> bool {
    let separators = |c: char| c.is_whitespace() || ",=&".contains(c);
    let words = |text: &str| {
        let mut words: Vec<_> = text.split(separators).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if words.iter().all(|word| word.starts_with("EPSG:") || word.starts_with("CRS:")) {
            words.sort();
        }
        words
    };
    let (one, other) = (words(expected), words(found));
    let same = |(one, other): (&String, &String)| match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => is_same_number(one, other),
        _ => one == other,
    };
    one.len() == other.len() && one.iter().zip(&other).all(same)
}

fn is_same_number(one: f64, other: f64) -> bool {
    one == other || (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1e-3)
}

fn json_difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                let path = format!("{path}/{key}");
                let Some(found) = other.get(key) else { return Some(format!("JSON: no {path}")) };
                if let Some(difference) = json_difference(value, found, &path) {
                    return Some(difference);
                }
            }
            let extra = other.keys().find(|key| !one.contains_key(*key))?;
            Some(format!("JSON: {path}/{extra} is new"))
        }
        (Value::Array(one), Value::Array(other)) => {
            for (index, (value, found)) in one.iter().zip(other).enumerate() {
                if let Some(difference) = json_difference(value, found, &format!("{path}/{index}")) {
                    return Some(difference);
                }
            }
            (one.len() != other.len()).then(|| format!("JSON: {path}: {} items instead of {}", other.len(), one.len()))
        }
        (Value::Number(one), Value::Number(other))
            if one.as_f64().zip(other.as_f64()).is_some_and(|(a, b)| is_same_number(a, b)) =>
        {
            None
        }
        _ if expected == found => None,
        _ => Some(format!("JSON: {path}: {found} instead of {expected}")),
    }
}

/// The first lines that differ.
fn text_difference(expected: &str, found: &str) -> Option<String> {
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (expected, found) = (lines(expected), lines(found));
    if expected == found {
        return None;
    }
    let same = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let line = |lines: &[String]| lines.get(same).map_or("the end".to_owned(), |line| format!("{line:.160}"));
    let (found, expected) = (line(&found), line(&expected));
    Some(format!("body, line {}:\n        {found}\n        instead of\n        {expected}", same + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { lossless: 40.0, lossy: 30.0, paletted: 24.0 };

    fn answer(status: u16, content_type: &str, body: &[u8]) -> Answer {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Answer { status, headers, body: body.to_vec(), asked: Vec::new() }
    }

    fn between(expected: &str, found: &str) -> Vec<String> {
        differences(&answer(200, "a/b", expected.as_bytes()), &answer(200, "a/b", found.as_bytes()), TOLERANCE)
    }

    #[test]
    fn equal_answers_have_no_difference() {
        assert!(between("a", "a").is_empty());
    }

    #[test]
    fn status_headers_and_the_first_line_are_named() {
        let found = differences(&answer(200, "text/xml", b"a\nb"), &answer(500, "text/html", b"a\nc"), TOLERANCE);
        assert_eq!(found[..2], ["status 500 instead of 200", "content-type: text/html instead of text/xml"]);
        assert!(found[2].starts_with("body, line 2:"), "{found:?}");
    }

    #[test]
    fn what_the_sources_were_asked_counts() {
        let mut found = answer(200, "text/xml", b"a");
        found.asked.push("wms?a".to_owned());
        let differences = differences(&answer(200, "text/xml", b"a"), &found, TOLERANCE);
        assert!(differences[0].starts_with("asked its source 1 times, the reference 0 times"), "{differences:?}");
    }

    #[test]
    fn xml_is_compared_by_what_it_says() {
        let expected = "<a xmlns='u' x='1' y='2'><b>1.0, 2</b>  <c>3</c><empty><e a=''/></empty></a>";
        assert!(
            between(expected, "<p:a xmlns:p='u' y='2'\n x='1.0'><p:b>1.0,2.0</p:b><p:c>3.0</p:c></p:a>").is_empty()
        );
        for (found, difference) in [
            ("<a xmlns='v'/>", "XML: /a instead of /a"),
            ("<a xmlns='u' x='3' y='2'/>", "XML: /a@x: 3 instead of 1"),
            ("<a xmlns='u' x='1' y='2' z=''/>", "XML: /a@z is new: "),
            ("<a xmlns='u' x='1' y='2'><b>1</b></a>", "XML: /a[1]/b: \"1\" instead of \"1.0, 2\""),
            ("<a xmlns='u' x='1' y='2'><b>1,2</b></a>", "XML: /a: no c"),
            ("<a xmlns='u' x='1' y='2'><b>1,2</b><c>3</c><D/></a>", "XML: /a: D is new"),
        ] {
            assert_eq!(between(expected, found), [difference]);
        }
    }

    #[test]
    fn json_is_compared_by_what_it_says() {
        let expected = r#"{"a": [1, {"b": 2}], "c": "x"}"#;
        assert!(between(expected, r#"{"c": "x", "a": [1.0, {"b": 2}]}"#).is_empty());
        for (found, difference) in [
            (r#"{"a": [1, {"b": 3}], "c": "x"}"#, "JSON: /a/1/b: 3 instead of 2"),
            (r#"{"a": [1], "c": "x"}"#, "JSON: /a: 1 items instead of 2"),
            (r#"{"a": [1, {"b": 2}]}"#, "JSON: no /c"),
            (r#"{"a": [1, {"b": 2}], "c": "x", "d": 1}"#, "JSON: /d is new"),
        ] {
            assert_eq!(between(expected, found), [difference]);
        }
    }

    #[test]
    fn pictures_are_compared_by_their_pixels() {
        let encoded = |value: u8| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([value; 3]));
            picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            answer(200, "image/png", &bytes.into_inner())
        };
        assert!(differences(&encoded(100), &encoded(101), TOLERANCE).is_empty());
        let found = differences(&encoded(0), &encoded(255), TOLERANCE);
        assert_eq!(found, ["pixels: PSNR 1.2 dB, largest difference 255"]);
    }
}
