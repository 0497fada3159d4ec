//! Python's arithmetic, where its digits reach upstream servers and file names.

/// `x` to `digits` decimal places, as Python's `round` does: the exact binary value is rounded, ties to even.
///
/// At most 12 digits.
pub(crate) fn round_digits(x: f64, digits: u32) -> f64 {
    /// Integers up to here are numbers of 64 bits, too.
    const EXACT: f64 = (1_u64 << 53) as f64;
    debug_assert!(digits <= 12);
    let scale = 10_u64.pow(digits);
    // Beyond, neighbouring numbers lie further apart than decimals: rounding finds the number itself. NaN stays, too.
    let is_rounded = x.abs() * (scale as f64) < EXACT;
    if !is_rounded {
        return x;
    }
    let bits = x.abs().to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    // |x| = mantissa / 2^shift, and as |x| < 2^53, shift is not negative.
    let (mantissa, shift) = if exponent == 0 { (fraction, 1074) } else { (fraction | 1 << 52, 1075 - exponent) };
    // Below 2^53 · 10^12 < 2^93.
    let scaled = u128::from(mantissa) * u128::from(scale);
    let quotient = if shift == 0 {
        scaled
    } else if shift > 94 {
        // Nothing reaches a half.
        0
    } else {
        let (floor, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1_u128 << (shift - 1));
        if rest > half || (rest == half && floor & 1 == 1) { floor + 1 } else { floor }
    };
    // Both sides are at most 2^53 and so exact: the division rounds once, as reading the decimal number would.
    (quotient as f64 / scale as f64).copysign(x)
}

/// `x // y` for positive numbers: how many whole `y` fit into `x`, from the exact remainder.
pub(crate) fn floor_division(x: f64, y: f64) -> f64 {
    let quotient = (x - x % y) / y;
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_rounded_as_python_does() {
        // Expected values are from Python's `round`.
        for (x, digits, expected) in [
            (2.675, 2, 2.67),
            (0.5, 0, 0.0),
            (1.5, 0, 2.0),
            (2.5, 0, 2.0),
            (-2.5, 0, -2.0),
            (1e-12, 12, 1e-12),
            (4.999e-13, 12, 0.0),
            (5.001e-13, 12, 1e-12),
            (0.1 + 0.2, 12, 0.3),
            (0.703125, 12, 0.703125),
            (359.999_999_999_999_94, 12, 360.0),
            (8_191.999_999_999_999, 12, 8_191.999_999_999_999),
            (1.0 / 3.0, 12, 0.333_333_333_333),
            (5e-324, 12, 0.0),
        ] {
            assert_eq!(round_digits(x, digits).to_bits(), f64::to_bits(expected), "{x} {digits}");
        }
        assert!(round_digits(-1e-20, 12).is_sign_negative());
        assert!(round_digits(f64::NAN, 12).is_nan());
        assert_eq!(round_digits(f64::INFINITY, 12), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn rounding_equals_writing_and_reading_decimals(x in -9000.0_f64..9000.0, e in -30_i32..50, digits in 0_u32..=12) {
            let x = x * 2_f64.powi(e);
            let text = format!("{:.*}", digits as usize, x);
            prop_assert_eq!(round_digits(x, digits).to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn rounding_a_short_decimal_changes_nothing(n in -8_191_000_000_000_000_i64..8_191_000_000_000_000) {
            let x = n as f64 / 1e12;
            prop_assert_eq!(round_digits(x, 12), x);
        }

        #[test]
        fn floor_division_counts_whole_parts(n in 1_u32..1_000_000, y in 1e-6_f64..1e6) {
            let n = f64::from(n);
            prop_assert!((floor_division((n + 0.5) * y, y) - n).abs() < 0.5);
        }
    }
}
