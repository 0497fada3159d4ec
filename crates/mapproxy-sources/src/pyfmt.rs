//! Numbers and URLs as Python writes them: upstream requests are equal to MapProxy's to the byte.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in parameter values.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b',');

/// Percent-encodes all but letters, digits and `_.-~,`.
pub(crate) fn quote(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, QUOTED)
}

/// Appends the shortest decimal that reads back as `number`, in Python's style: `5.0`, `1e-05`, `1e+16`.
pub(crate) fn push_f64(text: &mut String, number: f64) {
    if !number.is_finite() {
        text.push_str(match number {
            n if n.is_nan() => "nan",
            n if n > 0.0 => "inf",
            _ => "-inf",
        });
        return;
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        let _ = write!(text, "{digits}e{sign}{exponent:0>2}");
    } else {
        let _ = write!(text, "{number:?}");
    }
}

/// Appends `number` as C's `%.17g` does: 17 digits, without zeros at the end.
pub(crate) fn push_g17(text: &mut String, number: f64) {
    if !number.is_finite() {
        return push_f64(text, number);
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trimmed = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    match usize::try_from(16 - exponent) {
        Ok(decimals) if exponent >= -4 => text.push_str(&trimmed(&format!("{number:.decimals$}"))),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            let _ = write!(text, "{}e{sign}{:02}", trimmed(digits), exponent.abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let repr = |number: f64| {
            let mut text = String::new();
            push_f64(&mut text, number);
            text
        };
        for (number, text) in [
            (5.0, "5.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (0.00012345, "0.00012345"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (4.5e15, "4500000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (2.5e-310, "2.5e-310"),
            (-20_037_508.342_789_244, "-20037508.342789244"),
            (0.333_333_333_333_333_3, "0.3333333333333333"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(repr(number), text);
        }
    }

    #[test]
    fn seventeen_digits_are_written_as_c_does() {
        for (number, text) in [
            (5.0, "5"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (1_000_000.123_456_789, "1000000.1234567889"),
            (85.051_128_779_806_6, "85.051128779806604"),
            (0.0001, "0.0001"),
            (8.983_152_841_191_534e-5, "8.983152841191534e-05"),
            (1.796_630_568_239_042_7e-4, "0.00017966305682390427"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (100.0, "100"),
            (-20_037_508.342_789_244, "-20037508.342789244"),
            (1e23, "9.9999999999999992e+22"),
        ] {
            let mut written = String::new();
            push_g17(&mut written, number);
            assert_eq!(written, text);
        }
    }

    #[test]
    fn values_are_quoted_as_python_does() {
        let text = "a/b:c d,ü+&=*~()!'$_.-";
        assert_eq!(quote(text).to_string(), "a%2Fb%3Ac%20d,%C3%BC%2B%26%3D%2A~%28%29%21%27%24_.-");
    }
}
