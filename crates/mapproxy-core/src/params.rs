//! Query parameters as OGC services read them: names without case, repeated names collected.

use percent_encoding::percent_decode_str;

/// Parameters of a query string, in order. Names compare without case; `+` and percent escapes are decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Splits at `&` only; a part without `=` has an empty value.
    pub fn parse(query: &str) -> Params {
        let part = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Params(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (part(k), part(v))).collect())
    }

    /// The first value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All values of a repeated name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All pairs in order, names as the client wrote them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
