//! What a scalar means: the types of YAML 1.1, told apart by the same patterns PyYAML uses.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::Value;

/// A date, or a date with time, with or without offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Date and time as written; midnight for a date.
    pub datetime: DateTime,
    /// Whether only a date was written.
    pub date_only: bool,
    /// Offset from UTC, if one was written.
    pub offset: Option<Offset>,
}

impl Timestamp {
    /// The point in time; without offset it is local time. `None` beyond what can be represented.
    pub fn to_system_time(self) -> Option<std::time::SystemTime> {
        let zone = self.offset.map_or_else(TimeZone::system, TimeZone::fixed);
        let instant = zone.to_timestamp(self.datetime).ok()?;
        Some(instant.into())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.date_only {
            return write!(f, "{}", self.datetime.date());
        }
        write!(f, "{} {}", self.datetime.date(), self.datetime.time())?;
        match self.offset {
            Some(offset) => {
                let seconds = offset.seconds();
                let sign = if seconds < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60)
            }
            None => Ok(()),
        }
    }
}

/// What a plain scalar is, `None` for a text.
pub(super) fn resolve(text: &str) -> Result<Option<Value>, String> {
    let Some(first) = text.bytes().next() else {
        return Ok(Some(Value::Null));
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => {
            Ok(null(text).or_else(|| boolean(text)))
        }
        b'0'..=b'9' | b'+' | b'-' | b'.' => number_or_time(text),
        _ => Ok(None),
    }
}

/// The scalar `text` with an explicit tag, `None` for a text.
pub(super) fn construct(tag: &str, text: &str) -> Result<Option<Value>, String> {
    let value = match tag {
        "!!str" => return Ok(None),
        "!!null" => Some(Value::Null),
        "!!bool" => boolean(&text.to_ascii_lowercase()),
        "!!int" => match number_or_time(text)? {
            Some(value @ Value::Int(_)) => Some(value),
            _ => text.trim().parse().ok().map(Value::Int),
        },
        "!!float" => match number_or_time(text)? {
            Some(Value::Int(value)) => Some(Value::Float(value as f64)),
            Some(value @ Value::Float(_)) => Some(value),
            _ => plain_float(text),
        },
        "!!timestamp" => timestamp(text)?.map(Value::Timestamp),
        _ => return Err(format!("the tag {tag} has no meaning here")),
    };
    value.map(Some).ok_or_else(|| format!("'{}' is not a value of {tag}", text.escape_debug()))
}

/// A float as Python writes it: the shortest form that reads back, always with dot or exponent.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value:?}")
}

fn null(text: &str) -> Option<Value> {
    matches!(text, "~" | "null" | "Null" | "NULL").then_some(Value::Null)
}

fn boolean(text: &str) -> Option<Value> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Value::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn number_or_time(text: &str) -> Result<Option<Value>, String> {
    if let Some(value) = integer(text)? {
        return Ok(Some(value));
    }
    if let Some(value) = float(text) {
        return Ok(Some(Value::Float(value)));
    }
    Ok(timestamp(text)?.map(Value::Timestamp))
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'_' || allowed(byte))
}

fn integer(text: &str) -> Result<Option<Value>, String> {
    let (negative, digits) = split_sign(text);
    let radix = |digits: &str, radix: u32| -> Result<Option<Value>, String> {
        let digits = digits.replace('_', "");
        match i128::from_str_radix(&digits, radix) {
            Ok(value) => Ok(Some(whole(negative, value))),
            Err(_) if digits.is_empty() => Err(format!("'{text}' is a number without digits")),
            Err(_) => Ok(Some(Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }))),
        }
    };
    if let Some(binary) = digits.strip_prefix("0b") {
        return if all(binary, |b| matches!(b, b'0' | b'1')) { radix(binary, 2) } else { Ok(None) };
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return if all(hex, |b| b.is_ascii_hexdigit()) { radix(hex, 16) } else { Ok(None) };
    }
    if digits == "0" {
        return Ok(Some(Value::Int(0)));
    }
    if let Some(octal) = digits.strip_prefix('0') {
        return if all(octal, |b| matches!(b, b'0'..=b'7')) { radix(digits, 8) } else { Ok(None) };
    }
    if !matches!(digits.as_bytes().first(), Some(b'1'..=b'9')) {
        return Ok(None);
    }
    if all(digits, |b| b.is_ascii_digit()) {
        return radix(digits, 10).map(|value| match value {
            Some(Value::Float(_)) => plain_float(&text.replace('_', "")),
            value => value,
        });
    }
    Ok(sexagesimal(digits).map(|value| whole(negative, value)))
}

fn whole(negative: bool, value: i128) -> Value {
    let value = if negative { -value } else { value };
    i64::try_from(value).map_or(Value::Float(value as f64), Value::Int)
}

/// `12:30:45`: parts to the base of 60, each after the first below 60.
fn sexagesimal(digits: &str) -> Option<i128> {
    let mut parts = digits.split(':');
    let first = parts.next()?;
    if !all(first, |b| b.is_ascii_digit()) {
        return None;
    }
    let mut value: i128 = first.replace('_', "").parse().ok()?;
    let mut more = false;
    for part in parts {
        more = true;
        value = value.checked_mul(60)?.checked_add(sixtieth(part)?)?;
    }
    more.then_some(value)
}

fn sixtieth(part: &str) -> Option<i128> {
    let valid = match part.as_bytes() {
        [a] => a.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    };
    if valid { part.parse().ok() } else { None }
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (negative, digits) = split_sign(text);
    let (whole_part, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return None;
    }
    if let Some(exponent) = exponent {
        // The sign is not optional: `1.5e3` is a text.
        let number = exponent.strip_prefix(['+', '-'])?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    if whole_part.is_empty() {
        // `.5`, but neither `-.5` nor `._5`.
        if digits.len() != text.len() || !fraction.as_bytes().first()?.is_ascii_digit() {
            return None;
        }
    } else if !whole_part.as_bytes()[0].is_ascii_digit() {
        return None;
    } else if whole_part.contains(':') {
        if exponent.is_some() {
            return None;
        }
        let whole = sexagesimal(whole_part)? as f64;
        let fraction: f64 = format!("0.{}", fraction.replace('_', "")).parse().ok()?;
        return Some(if negative { -(whole + fraction) } else { whole + fraction });
    } else if !all(whole_part, |b| b.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// `2010-10-21T12:35:00` and nothing else.
pub(crate) fn iso_time(text: &str) -> Option<Timestamp> {
    if text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    timestamp(text).ok().flatten().filter(|time| time.offset.is_none() && time.datetime.subsec_nanosecond() == 0)
}

fn plain_float(text: &str) -> Option<Value> {
    text.trim().parse().ok().map(Value::Float)
}

/// `2001-12-14`, `2001-12-14T21:59:43`, `2001-12-14 21:59:43.10 -5`.
fn timestamp(text: &str) -> Result<Option<Timestamp>, String> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return Ok(None);
    }
    let Some(parts) = split_timestamp(text) else {
        return Ok(None);
    };
    let wrong = || format!("'{text}' looks like a date, but there is no such day or time");
    let date = Date::new(parts.year, parts.month, parts.day).map_err(|_| wrong())?;
    let Some((hour, minute, second, nanosecond, offset)) = parts.time else {
        return Ok(Some(Timestamp { datetime: date.to_datetime(Time::midnight()), date_only: true, offset: None }));
    };
    let time = Time::new(hour, minute, second, nanosecond).map_err(|_| wrong())?;
    let offset = offset.map(Offset::from_seconds).transpose().map_err(|_| wrong())?;
    Ok(Some(Timestamp { datetime: date.to_datetime(time), date_only: false, offset }))
}

struct TimestampParts {
    year: i16,
    month: i8,
    day: i8,
    /// Hour, minute, second, nanosecond, offset in seconds.
    time: Option<(i8, i8, i8, i32, Option<i32>)>,
}

fn split_timestamp(text: &str) -> Option<TimestampParts> {
    let mut rest = Cursor(text.as_bytes());
    let year = i16::try_from(rest.digits(4, 4)?).ok()?;
    rest.byte(b'-')?;
    let (month, month_digits) = rest.counted_digits(1, 2)?;
    rest.byte(b'-')?;
    let (day, day_digits) = rest.counted_digits(1, 2)?;
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    if rest.0.is_empty() {
        return (month_digits == 2 && day_digits == 2).then_some(TimestampParts { year, month, day, time: None });
    }
    if rest.byte(b'T').or_else(|| rest.byte(b't')).is_none() && rest.blanks() == 0 {
        return None;
    }
    let hour = i8::try_from(rest.digits(1, 2)?).ok()?;
    rest.byte(b':')?;
    let minute = i8::try_from(rest.digits(2, 2)?).ok()?;
    rest.byte(b':')?;
    let second = i8::try_from(rest.digits(2, 2)?).ok()?;
    let mut nanosecond = 0;
    if rest.byte(b'.').is_some() {
        // Six digits count, as many as Python's microseconds.
        let mut scale = 100_000_000;
        while let Some(digit) = rest.digit() {
            if scale >= 1000 {
                nanosecond += i32::from(digit) * scale;
            }
            scale /= 10;
        }
    }
    rest.blanks();
    let mut offset = None;
    if rest.byte(b'Z').is_some() {
        offset = Some(0);
    } else if let Some(sign) = rest.byte(b'+').map(|()| 1).or_else(|| rest.byte(b'-').map(|()| -1)) {
        let hours = rest.digits(1, 2)?;
        let minutes = if rest.byte(b':').is_some() { rest.digits(2, 2)? } else { 0 };
        offset = Some(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?);
    }
    rest.0.is_empty().then_some(TimestampParts {
        year,
        month,
        day,
        time: Some((hour, minute, second, nanosecond, offset)),
    })
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == wanted).then(|| self.0 = rest)
    }

    fn blanks(&mut self) -> usize {
        let count = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.0 = &self.0[count..];
        count
    }

    fn digit(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        first.is_ascii_digit().then(|| {
            self.0 = rest;
            first - b'0'
        })
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        self.counted_digits(least, most).map(|(value, _)| value)
    }

    fn counted_digits(&mut self, least: usize, most: usize) -> Option<(u32, usize)> {
        let mut value = 0;
        let mut count = 0;
        while count < most {
            let Some(digit) = self.digit() else { break };
            value = value * 10 + u32::from(digit);
            count += 1;
        }
        (count >= least).then_some((value, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyYAML 6's CSafeLoader makes of plain scalars.
    #[rustfmt::skip]
    const TABLE: &[(&str, &str)] = &[
        ("yes", "bool true"), ("Yes", "bool true"), ("YES", "bool true"), ("yEs", "str"), ("no", "bool false"),
        ("on", "bool true"), ("Off", "bool false"), ("y", "str"), ("n", "str"), ("true", "bool true"),
        ("TRUE", "bool true"), ("tRue", "str"), ("null", "null"), ("Null", "null"), ("NULL", "null"), ("~", "null"),
        ("", "null"), ("nUll", "str"), ("0", "int 0"), ("00", "int 0"), ("010", "int 8"), ("08", "str"),
        ("0o17", "str"), ("0x1F", "int 31"), ("0xfg", "str"), ("0b11", "int 3"), ("0b2", "str"), ("-0b1", "int -1"),
        ("+12", "int 12"), ("-12", "int -12"), ("1_000", "int 1000"), ("_1", "str"), ("0_", "int 0"),
        ("0_7", "int 7"), ("1:30", "int 90"), ("-1:30", "int -90"), ("1:60", "str"), ("99:99", "str"),
        ("12:30:45", "int 45045"), ("0:30", "str"), ("00:30", "str"), ("1:30.5", "float 90.5"), ("1.5", "float 1.5"),
        ("1.", "float 1.0"), (".5", "float 0.5"), ("-.5", "str"), ("+.5", "str"), ("-1.5", "float -1.5"),
        ("1.e+3", "float 1000.0"), ("1.5e+3", "float 1500.0"), ("1.5E-3", "float 0.0015"), ("1e3", "str"),
        ("1e+3", "str"), ("1.5e3", "str"), (".5e+3", "float 500.0"), ("1_0.5_1", "float 10.51"), (".", "str"),
        (".inf", "float inf"), ("-.inf", "float -inf"), ("+.INF", "float inf"), (".nan", "float nan"),
        (".NaN", "float nan"), ("-.nan", "str"), ("EPSG:4326", "str"), ("1,2", "str"), ("1e", "str"), ("0x", "str"),
        ("0b", "str"), ("--", "str"), ("1__0", "int 10"), ("190:20:30", "int 685230"),
        ("190:20:30.15", "float 685230.15"), ("685_230.15", "float 685230.15"), ("685.230_15e+03", "float 685230.15"),
        ("1.2.3", "str"), ("1/2", "str"), ("0_8", "str"), ("0x_1f", "int 31"), ("0b_1", "int 1"), (".5_", "float 0.5"),
        ("._5", "str"), ("1:3_0", "str"), ("1:5", "int 65"), ("1:5.", "float 65.0"),
        ("123456789012345678901234567890", "float 1.2345678901234568e+29"),
        ("2001-01-01", "time 2001-01-01"), ("2001-1-1", "str"), ("2010-10-21T12:35:00", "time 2010-10-21 12:35:00"),
        ("2010-10-21t12:35:00.25", "time 2010-10-21 12:35:00.25"),
        ("2010-10-21T12:35:00Z", "time 2010-10-21 12:35:00+00:00"),
        ("2010-10-21T12:35:00+01:30", "time 2010-10-21 12:35:00+01:30"),
        ("2010-10-21 12:35:00 -5", "time 2010-10-21 12:35:00-05:00"),
        ("2010-1-2T3:04:05", "time 2010-01-02 03:04:05"),
    ];

    fn described(text: &str) -> String {
        match resolve(text) {
            Err(message) => format!("error {message}"),
            Ok(None) => "str".to_owned(),
            Ok(Some(Value::Null)) => "null".to_owned(),
            Ok(Some(Value::Bool(value))) => format!("bool {value}"),
            Ok(Some(Value::Int(value))) => format!("int {value}"),
            Ok(Some(Value::Float(value))) => format!("float {}", float_text(value)),
            Ok(Some(Value::Timestamp(value))) => format!("time {value}"),
            Ok(Some(other)) => format!("{other:?}"),
        }
    }

    #[test]
    fn plain_scalars_are_what_pyyaml_takes_them_for() {
        for (text, expected) in TABLE {
            assert_eq!(described(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_and_numbers_without_digits_are_errors() {
        assert!(resolve("2001-13-45").is_err());
        assert!(resolve("2001-01-01T25:00:00").is_err());
        assert!(resolve("0b_").is_err());
        assert!(resolve("0x_").is_err());
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (value, text) in [
            (5.0, "5.0"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (1.5e300, "1.5e+300"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }

    #[test]
    fn a_time_without_offset_is_local_and_one_with_offset_is_not() {
        let Ok(Some(Value::Timestamp(utc))) = resolve("1970-01-02T00:00:00Z") else { panic!("a timestamp") };
        let elapsed = utc.to_system_time().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(elapsed.as_secs(), 86_400);
    }
}
