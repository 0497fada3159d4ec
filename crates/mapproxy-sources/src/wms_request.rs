//! The words of GetMap, for each version of WMS in the order in which MapProxy writes them.
//!
//! What a source's configuration says is put together once; a request only fills in what its query says. Configured
//! parameters come first and keep their place and spelling, even where their value is the query's; then what is missing:
//! `bbox`, `width`, `height`, `srs`, `format`, forwarded parameters, `request`, `version`, `service`, `styles`.

use std::fmt::Write as _;

use mapproxy_client::UpstreamRequest;
use mapproxy_map::dimension::is_same_dimension;

use crate::picture_server::GetMap;
use crate::pyfmt::{push_f64, quote};
use crate::{HttpMethod, WmsVersion};

/// All requests of a source but what differs between them.
#[derive(Clone, Debug)]
pub(crate) struct RequestTemplate {
    url: String,
    post: bool,
    version: WmsVersion,
    parts: Vec<Part>,
    forward: Vec<String>,
    /// Forwarded names that the configuration presets: they are replaced where they stand.
    preset: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// `key=value&key=`, up to the next value that differs.
    Text(String),
    /// A configured value that the client may replace: lower-case name, value.
    Preset(String, String),
    Bbox,
    Width,
    Height,
    Srs,
    Format,
    /// `&key=value` for each forwarded parameter not yet set.
    Forwarded,
}

impl RequestTemplate {
    pub(crate) fn new(
        url: &str,
        params: &[(String, String)],
        version: WmsVersion,
        method: HttpMethod,
        forward: &[String],
    ) -> Self {
        let post = match method {
            HttpMethod::Post => true,
            HttpMethod::Get => false,
            HttpMethod::Auto => params.iter().any(|(name, _)| name.eq_ignore_ascii_case("sld_body")),
        };
        let url = if post {
            url.trim_end_matches('?').to_owned()
        } else {
            let delimiter = match url {
                _ if url.ends_with('?') => "",
                _ if url.contains('?') => "&",
                _ => "?",
            };
            format!("{url}{delimiter}")
        };
        let mut pairs = Pairs::of(params, forward);
        let mut preset = pairs.presets();
        if version == WmsVersion::V1_0_0 {
            pairs.set("request", Part::text("map"));
        }
        if version == WmsVersion::V1_3_0 {
            pairs.remove("srs");
            pairs.remove("crs");
        }
        pairs.set("bbox", Part::Bbox);
        pairs.set("width", Part::Width);
        pairs.set("height", Part::Height);
        if version != WmsVersion::V1_3_0 {
            pairs.set("srs", Part::Srs);
        }
        pairs.set("format", Part::Format);
        pairs.0.push((String::new(), Part::Forwarded));
        if version == WmsVersion::V1_0_0 {
            pairs.set("wmtver", Part::text("1.0.0"));
        } else {
            pairs.set("request", Part::text("GetMap"));
            pairs.set("version", Part::text(version.number()));
            pairs.set("service", Part::text("WMS"));
        }
        if !pairs.contains("styles") {
            let is_forwarded = forward.iter().any(|name| name.eq_ignore_ascii_case("styles"));
            let empty = || Part::Preset("styles".to_owned(), String::new());
            pairs.set("styles", if is_forwarded { empty() } else { Part::text("") });
            if is_forwarded {
                preset.push("styles".to_owned());
            }
        }
        if version == WmsVersion::V1_3_0 {
            pairs.set("crs", Part::Srs);
        }
        RequestTemplate { url, post, version, parts: pairs.joined(), forward: forward.to_vec(), preset }
    }

    /// The request for a map.
    pub(crate) fn request(&self, map: &GetMap<'_>) -> UpstreamRequest {
        let mut text = String::with_capacity(self.url.len() + 256);
        if !self.post {
            text.push_str(&self.url);
        }
        self.write(&mut text, map);
        if self.post { UpstreamRequest::post_form(self.url.clone(), text) } else { UpstreamRequest::get(text) }
    }

    /// The parameters to forward, dimensions first, with the spelling they go out with: a dimension's is the client's,
    /// another's the configuration's.
    pub(crate) fn forwarded<'a>(&'a self, client: &'a [(String, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let chosen = move |dimensions: bool| {
            client.iter().filter_map(move |(name, value)| {
                let configured = self.forward.iter().find(|forward| is_same_dimension(forward, name))?;
                let is_dimension = is_dimension(name);
                let spelling = if is_dimension && configured.eq_ignore_ascii_case(name) { name } else { configured };
                (is_dimension == dimensions).then_some((spelling.as_str(), value.as_str()))
            })
        };
        chosen(true).chain(chosen(false))
    }

    fn write(&self, text: &mut String, map: &GetMap<'_>) {
        for part in &self.parts {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Preset(name, value) => {
                    let mut forwarded = self.forwarded(map.forwarded);
                    let replaced = forwarded.find(|(forwarded, _)| forwarded.eq_ignore_ascii_case(name));
                    let _ = write!(text, "{}", quote(replaced.map_or(value, |(_, value)| value)));
                }
                Part::Bbox => self.write_bbox(text, map),
                Part::Width => {
                    let _ = write!(text, "{}", map.size.width);
                }
                Part::Height => {
                    let _ = write!(text, "{}", map.size.height);
                }
                Part::Srs => {
                    let _ = write!(text, "{}", quote(map.srs.code()));
                }
                Part::Format if self.version == WmsVersion::V1_0_0 => {
                    let _ = write!(text, "{}", quote(&map.format.ext().to_ascii_uppercase()));
                }
                Part::Format => {
                    let _ = write!(text, "{}", quote(map.format.as_str()));
                }
                Part::Forwarded => {
                    for (name, value) in self.forwarded(map.forwarded) {
                        if !self.preset.iter().any(|preset| preset.eq_ignore_ascii_case(name)) {
                            let _ = write!(text, "&{name}={}", quote(value));
                        }
                    }
                }
            }
        }
    }

    fn write_bbox(&self, text: &mut String, map: &GetMap<'_>) {
        let [min_x, min_y, max_x, max_y] = map.bbox.to_array();
        let north_first = self.version == WmsVersion::V1_3_0 && map.srs.is_north_first();
        let edges = if north_first { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] };
        let mut edge_text = String::with_capacity(24);
        for (index, edge) in edges.into_iter().enumerate() {
            edge_text.clear();
            push_f64(&mut edge_text, edge);
            let comma = if index > 0 { "," } else { "" };
            // Of what numbers are written with, only the plus of an exponent needs encoding.
            let _ = write!(text, "{comma}{}", quote(&edge_text));
        }
    }
}

impl WmsVersion {
    pub(crate) fn number(self) -> &'static str {
        match self {
            WmsVersion::V1_0_0 => "1.0.0",
            WmsVersion::V1_1_0 => "1.1.0",
            WmsVersion::V1_1_1 => "1.1.1",
            WmsVersion::V1_3_0 => "1.3.0",
        }
    }
}

/// WMS 1.3.0, C.3.1: `TIME`, `ELEVATION` and names that begin with `DIM_`.
pub(crate) fn is_dimension(name: &str) -> bool {
    let prefix = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    name.eq_ignore_ascii_case("time") || name.eq_ignore_ascii_case("elevation") || prefix("dim_")
}

/// Keys as spelled, with what their values are.
struct Pairs(Vec<(String, Part)>);

impl Pairs {
    /// Names that differ only in case are one parameter with a list of values.
    fn of(params: &[(String, String)], forward: &[String]) -> Self {
        let mut merged: Vec<(String, String)> = Vec::with_capacity(params.len() + 10);
        for (name, value) in params {
            match merged.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, values)) => {
                    values.push(',');
                    values.push_str(value);
                }
                None => merged.push((name.clone(), value.clone())),
            }
        }
        let part = |(name, value): (String, String)| {
            let replaceable = forward.iter().any(|forward| forward.eq_ignore_ascii_case(&name));
            let part = if replaceable { Part::Preset(name.to_ascii_lowercase(), value) } else { Part::text(&value) };
            (name, part)
        };
        Pairs(merged.into_iter().map(part).collect())
    }

    fn presets(&self) -> Vec<String> {
        self.0.iter().filter(|(_, part)| matches!(part, Part::Preset(..))).map(|(name, _)| name.clone()).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    fn set(&mut self, name: &str, part: Part) {
        match self.position(name) {
            Some(at) => self.0[at].1 = part,
            None => self.0.push((name.to_owned(), part)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// As the parts of a query, texts that follow each other joined.
    fn joined(self) -> Vec<Part> {
        let mut parts = vec![Part::Text(String::new())];
        for (index, (name, part)) in self.0.into_iter().enumerate() {
            if part != Part::Forwarded {
                push_text(&mut parts, &format!("{}{name}=", if index > 0 { "&" } else { "" }));
            }
            match part {
                Part::Text(value) => push_text(&mut parts, &value),
                part => parts.push(part),
            }
        }
        parts
    }
}

impl Part {
    fn text(value: &str) -> Part {
        Part::Text(quote(value).to_string())
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}
