//! URL templates of tile servers: Python's `%` formatting with the names of a tile.

use std::fmt::Write as _;

use mapproxy_grid::{Bbox, TileCoord};

/// A template such as `http://host/%(z)s/%(x)s/%(y)s.%(format)s`, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TileUrl {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Number(Number, Format),
    Word(Word, Format),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    X,
    Y,
    Z,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Format,
    QuadKey,
    TileCachePath,
    TmsPath,
    ArcGisCachePath,
    Bbox,
}

/// What stands between the name and the next text: `05d`, `-8s`, `s`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Format {
    zeros: bool,
    left: bool,
    sign: Option<char>,
    prefix: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl TileUrl {
    /// Takes a template apart; the error says what is wrong with it.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, after) = rest.strip_prefix('(').and_then(|r| r.split_once(')')).ok_or_else(|| {
                let near: String = rest.chars().take(8).collect();
                format!("%{near} is neither %(name)s nor %%, which stands for a single %")
            })?;
            let (format, after) = Format::parse(after).map_err(|reason| format!("%({name}): {reason}"))?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::named(name, format)?);
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(TileUrl { parts })
    }

    /// The URL of one tile.
    pub(crate) fn url(&self, tile: TileCoord, bbox: &Bbox, format: &str) -> String {
        let mut url = String::with_capacity(128);
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Number(number, how) => {
                    let number = match number {
                        Number::X => tile.x,
                        Number::Y => tile.y,
                        Number::Z => u32::from(tile.z),
                    };
                    how.write_number(&mut url, number);
                }
                Part::Word(word, how) => how.write_word(&mut url, &word.value(tile, bbox, format)),
            }
        }
        url
    }
}

impl Part {
    fn named(name: &str, format: Format) -> Result<Part, String> {
        let word = match name {
            "x" => return Ok(Part::Number(Number::X, format)),
            "y" => return Ok(Part::Number(Number::Y, format)),
            "z" => return Ok(Part::Number(Number::Z, format)),
            "format" => Word::Format,
            "quadkey" => Word::QuadKey,
            "tc_path" => Word::TileCachePath,
            "tms_path" => Word::TmsPath,
            "arcgiscache_path" => Word::ArcGisCachePath,
            "bbox" => Word::Bbox,
            _ => {
                return Err(format!(
                    "%({name}) is not known; there are x, y, z, format, quadkey, tc_path, tms_path, arcgiscache_path, bbox"
                ));
            }
        };
        if format.conversion != 's' {
            return Err(format!("%({name}){} is no number: write %({name})s", format.conversion));
        }
        Ok(Part::Word(word, format))
    }
}

impl Word {
    fn value(self, tile: TileCoord, bbox: &Bbox, format: &str) -> String {
        let TileCoord { x, y, z } = tile;
        let thousands = |n: u32| format!("{:03}/{:03}/{:03}", n / 1_000_000, n / 1000 % 1000, n % 1000);
        match self {
            Word::Format => format.to_owned(),
            Word::QuadKey => {
                (0..z).rev().map(|bit| char::from(b'0' + (x >> bit & 1) as u8 + 2 * (y >> bit & 1) as u8)).collect()
            }
            Word::TileCachePath => format!("{z:02}/{}/{}", thousands(x), thousands(y)),
            Word::TmsPath => format!("{z}/{x}/{y}"),
            Word::ArcGisCachePath => format!("L{z:02}/R{y:08x}/C{x:08x}"),
            Word::Bbox => {
                let [a, b, c, d] = bbox.to_array();
                format!("{a:.8},{b:.8},{c:.8},{d:.8}")
            }
        }
    }
}

impl Format {
    fn parse(text: &str) -> Result<(Format, &str), String> {
        let mut format = Format::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next().filter(|c| "0-+ #".contains(*c)) {
            match flag {
                '0' => format.zeros = true,
                '-' => format.left = true,
                '#' => format.prefix = true,
                // Python: + goes before a blank.
                sign => format.sign = format.sign.filter(|known| *known == '+').or(Some(sign)),
            }
            rest = &rest[1..];
        }
        let (width, after) = digits(rest)?;
        format.width = width.unwrap_or(0);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = digits(after)?;
            format.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        let conversion = rest.chars().next().ok_or("a letter is missing at the end: write s or d")?;
        format.conversion = match conversion {
            's' | 'r' | 'a' => 's',
            'd' | 'i' | 'u' => 'd',
            'x' | 'X' | 'o' => conversion,
            other => return Err(format!("{other:?} does not say how to write the value: write s or d")),
        };
        Ok((format, &rest[conversion.len_utf8()..]))
    }

    fn write_number(&self, url: &mut String, number: u32) {
        let precision = self.precision.unwrap_or(0);
        let (prefix, digits) = match self.conversion {
            's' => return self.write_word(url, &number.to_string()),
            'x' => ("0x", format!("{number:0precision$x}")),
            'X' => ("0X", format!("{number:0precision$X}")),
            'o' => ("0o", format!("{number:0precision$o}")),
            _ => ("", format!("{number:0precision$}")),
        };
        let prefix = if self.prefix { prefix } else { "" };
        let sign = self.sign.filter(|_| self.conversion == 'd').map_or(String::new(), String::from);
        let used = sign.len() + prefix.len() + digits.len();
        let fill = self.width.saturating_sub(used);
        let _ = match (self.left, self.zeros) {
            (true, _) => write!(url, "{sign}{prefix}{digits}{:fill$}", ""),
            (false, true) => write!(url, "{sign}{prefix}{:0>fill$}{digits}", ""),
            (false, false) => write!(url, "{:fill$}{sign}{prefix}{digits}", ""),
        };
    }

    fn write_word(&self, url: &mut String, word: &str) {
        let word = match self.precision {
            Some(precision) => word.get(..precision).unwrap_or(word),
            None => word,
        };
        let width = self.width;
        let _ = if self.left { write!(url, "{word:<width$}") } else { write!(url, "{word:>width$}") };
    }
}

/// A number at the start; a URL has no field of more than 100 places.
fn digits(text: &str) -> Result<(Option<usize>, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    let number = text[..end].parse().ok().filter(|number| *number <= 100);
    Ok((Some(number.ok_or_else(|| format!("{} places are too many", &text[..end]))?), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(template: &str, x: u32, y: u32, z: u8) -> String {
        let bbox = Bbox::new(0.0, -1.5, 20037508.342789244, 1e-9);
        TileUrl::parse(template).unwrap().url(TileCoord::new(x, y, z), &bbox, "png")
    }

    #[test]
    fn all_names_are_written_as_the_reference_does() {
        let all = "q=%(quadkey)s&tc=%(tc_path)s&t=%(tms_path)s&a=%(arcgiscache_path)s&b=%(bbox)s&f=%(format)s";
        assert_eq!(
            url(all, 1, 1, 1),
            "q=3&tc=01/000/000/001/000/000/001&t=1/1/1&a=L01/R00000001/C00000001&b=0.00000000,-1.50000000,20037508.34278924,0.00000000&f=png"
        );
        assert_eq!(url("%(tc_path)s", 1_234_567, 89_012, 21), "21/001/234/567/000/089/012");
        assert_eq!(url("%(arcgiscache_path)s", 255, 4096, 13), "L13/R00001000/C000000ff");
        assert_eq!(url("%(quadkey)s", 3, 5, 3), "213");
        assert_eq!(url("%(quadkey)s|", 0, 0, 0), "|");
    }

    /// Each compared with Python's own `%`.
    #[test]
    fn numbers_take_the_flags_of_python() {
        for (template, written) in [
            ("%(x)s/%(y)d/%(z)i", "7/12/4"),
            ("%(y)03d", "012"),
            ("%(y)5d|%(y)-5d|", "   12|12   |"),
            ("%(y)x %(y)#X %(y)o %(y)08x", "c 0XC 14 0000000c"),
            ("%(y)+d % (y)d", "+12 % (y)d"),
            ("%(y).4d|%(y)6.4d", "0012|  0012"),
            ("%(format).2s|%(format)5s", "pn|  png"),
            ("100%%/%(z)s", "100%/4"),
        ] {
            if template.contains("% (") {
                assert!(TileUrl::parse(template).is_err());
            } else {
                assert_eq!(url(template, 7, 12, 4), written, "{template}");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |template| TileUrl::parse(template).unwrap_err();
        assert!(error("http://h/a%20b/%(z)s").contains("%%"));
        assert!(error("%(zoom)s").contains("quadkey"));
        assert!(error("%(format)d").contains("%(format)s"));
        assert!(error("%(x)").contains("missing"));
        assert!(error("%(x)q").contains("'q'"));
        assert!(error("%(x)9999999d").contains("too many"));
        assert!(error("%(x").contains("%%"));
        assert!(error("%").contains("%%"));
    }
}
