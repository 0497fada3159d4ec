//! Numbers in documents, written as MapProxy always did: clients compare them, and caches of documents, too.

/// The shortest digits that mean exactly `value`; with an exponent below 1e-4 and from 1e16 on; whole numbers end in
/// `.0`.
pub(crate) fn float(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-4..1e16).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The same, whole numbers without `.0`.
pub(crate) fn number(value: f64) -> String {
    let mut text = float(value);
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_like_those_of_python() {
        for (value, text) in [
            (0.0, "0.0"),
            (-180.0, "-180.0"),
            (0.1, "0.1"),
            (85.051_128_779_806_6, "85.0511287798066"),
            (8.583_068_847_656_25e-5, "8.58306884765625e-05"),
            (2.682_209_014_892_578e-6, "2.682209014892578e-06"),
            (1e-4, "0.0001"),
            (1e-100, "1e-100"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-1.5e300, "-1.5e+300"),
            (20_037_508.342_789_244, "20037508.342789244"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn whole_numbers_may_do_without_a_fraction() {
        for (value, text) in [(-180.0, "-180"), (0.5, "0.5"), (100.0, "100"), (1e16, "1e+16")] {
            assert_eq!(number(value), text);
        }
    }
}
