//! How OGC documents and requests write numbers.

/// The shortest decimal that reads back as `value`, as MapProxy writes it: `5.0`, `0.0001`, `1e-05`, `1e+16`.
pub fn float(value: f64) -> String {
    let text = format!("{value:?}");
    // The same digits and thresholds as Rust's, but exponents have a sign and at least two digits.
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, digits_of_exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e{sign}{digits_of_exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_written_as_the_shortest_decimal_with_two_digit_exponents() {
        let cases = [
            (5.0, "5.0"),
            (0.1, "0.1"),
            (-180.0, "-180.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (20037508.342789244, "20037508.342789244"),
            (1e15, "1000000000000000.0"),
        ];
        for (value, text) in cases {
            assert_eq!(float(value), text);
        }
    }
}
