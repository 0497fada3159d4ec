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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_no_case_and_the_first_value_counts() {
        let params = Params::parse("LAYERS=a&layers=b&Empty&x=1%2C2+3&=v");
        assert_eq!(params.get("layers"), Some("a"));
        assert_eq!(params.all("Layers").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.get("EMPTY"), Some(""));
        assert_eq!(params.get("x"), Some("1,2 3"));
        assert_eq!(params.get("y"), None);
    }

    #[test]
    fn a_semicolon_separates_nothing() {
        assert_eq!(Params::parse("format=image/png;mode=8bit").get("format"), Some("image/png;mode=8bit"));
    }

    proptest! {
        #[test]
        fn any_query_is_read(query in ".{0,200}") {
            let _ = Params::parse(&query);
        }

        #[test]
        fn what_was_encoded_is_read_again(pairs in prop::collection::vec(("[a-z]{1,8}", ".{0,20}"), 0..6)) {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
            let params = Params::parse(&query.join("&"));
            let read: Vec<(String, String)> = params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
