//! Dimensions of layers: time, elevation and others (OGC 06-042, annexes C and D; OGC 07-057r7, 7.1.1.1).
//!
//! A [`Dimension`] knows the values that a layer offers. Whatever a client writes becomes one of them, in the one
//! spelling that requests to sources and the names of cached tiles have (`2020-01-01T00:00:00.000+00:00` is
//! `2020-01-01T00:00:00Z`), or it is refused. So the number of maps, and of tiles kept, is that of the values.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};
use jiff::{Span, SpanRound, Timestamp, Unit};

/// How many values a range may have.
const MAX_VALUES: usize = 200_000;

/// A range with more values than this is announced as a range.
const MAX_LISTED: usize = 1000;

/// A dimension as it is configured.
#[derive(Clone, Debug, Default)]
pub struct DimensionOptions {
    /// Name, in any case.
    pub name: String,
    /// Values; those of times, and numbers, may be ranges: `start/end/period`, `min/max/step`.
    pub values: Vec<String>,
    /// What counts where a client says nothing; the last value if there is none.
    pub default: Option<String>,
    /// Unit of the values, `ISO8601` for times.
    pub units: Option<String>,
    /// Symbol of the unit: `m`.
    pub unit_symbol: Option<String>,
    /// A value that is not offered stands for the nearest one that is.
    pub nearest: bool,
    /// Sources are asked for the default where a client of a protocol that leaves it open names no value.
    pub send_default: bool,
}

/// What a request means that says nothing of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// The default.
    Default,
    /// Nothing, so that the server behind the source decides; the default where it is configured to be sent.
    AsConfigured,
}

/// A dimension of a layer, and its values.
#[derive(Clone, Debug)]
pub struct Dimension {
    name: Arc<str>,
    units: String,
    unit_symbol: Option<String>,
    nearest: bool,
    send_default: bool,
    default: Arc<str>,
    /// As announced: values, and ranges of many.
    announced: Vec<Arc<str>>,
    /// All of them, as configured.
    values: Vec<Arc<str>>,
    known: HashSet<Arc<str>>,
    /// Those that are times, ascending, with their index.
    instants: Vec<(Timestamp, usize)>,
    /// Those that are numbers, ascending, with their index.
    numbers: Vec<(f64, usize)>,
}

/// Values that make no dimension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dimension {name}: {reason}")]
pub struct DimensionError {
    name: String,
    reason: String,
}

/// A value of a dimension, and how it was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The value, as it is offered.
    pub value: Arc<str>,
    /// Whose choice it was.
    pub choice: Choice,
}

/// Why a value was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The client named it.
    Named,
    /// The client named none.
    Default,
    /// It is the nearest to the one that the client named.
    Nearest,
}

impl Dimension {
    /// The dimension that `options` describe.
    pub fn new(options: &DimensionOptions) -> Result<Dimension, DimensionError> {
        let failed = |reason: String| DimensionError { name: options.name.clone(), reason };
        let name = options.name.trim().to_lowercase();
        if name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace() || "/=&?.".contains(c)) {
            return Err(failed("this is no name of a dimension".to_owned()));
        }
        let is_temporal = is_temporal(&name);
        let (mut announced, mut values) = (Vec::new(), Vec::<Arc<str>>::new());
        for written in &options.values {
            let written = written.trim();
            let expanded = match (is_temporal, written.contains('/')) {
                (true, true) => expand_times(written).map_err(&failed)?,
                (false, true) if options.values.len() == 1 => expand_numbers(written).map_err(&failed)?,
                _ => vec![written.to_owned()],
            };
            if values.len() + expanded.len() > MAX_VALUES {
                return Err(failed(format!("more than {MAX_VALUES} values: a longer period would give fewer")));
            }
            let expanded: Vec<Arc<str>> = expanded.into_iter().map(Arc::from).collect();
            match expanded.as_slice() {
                [first, .., last] if expanded.len() > MAX_LISTED => {
                    let step = written.rsplit('/').next().unwrap_or_default();
                    announced.push(Arc::from(format!("{first}/{last}/{step}")));
                }
                _ => announced.extend(expanded.iter().cloned()),
            }
            values.extend(expanded);
        }
        let default = options.default.as_deref().map(str::trim).filter(|default| !default.is_empty());
        let Some(default) = default.map(Arc::from).or_else(|| values.last().cloned()) else {
            return Err(failed("there are no values".to_owned()));
        };
        let mut dimension = Dimension {
            units: options.units.clone().unwrap_or_else(|| if is_temporal { "ISO8601" } else { "" }.to_owned()),
            unit_symbol: options.unit_symbol.clone(),
            nearest: options.nearest,
            send_default: options.send_default,
            announced,
            known: values.iter().cloned().collect(),
            instants: Vec::new(),
            numbers: Vec::new(),
            name: name.into(),
            default: Arc::clone(&default),
            values,
        };
        dimension.sort();
        // A default that is not announced has always been a value, too.
        dimension.default = match dimension.find(&default) {
            Some(value) => value,
            None => {
                dimension.known.insert(Arc::clone(&default));
                dimension.values.push(Arc::clone(&default));
                dimension.sort();
                default
            }
        };
        match dimension.values.iter().find(|value| !is_plain(value)) {
            Some(value) => Err(failed(format!("{value:?} cannot be a value: it could be no part of a file name"))),
            None => Ok(dimension),
        }
    }

    /// Its name in lower case, by which it is announced and goes to sources and file names.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What counts where a client says nothing.
    pub fn default_value(&self) -> &Arc<str> {
        &self.default
    }

    /// Units of the values; empty where there are none.
    pub fn units(&self) -> &str {
        &self.units
    }

    /// Symbol of the unit.
    pub fn unit_symbol(&self) -> Option<&str> {
        self.unit_symbol.as_deref()
    }

    /// Values that are not offered stand for the nearest that is.
    pub fn has_nearest(&self) -> bool {
        self.nearest
    }

    /// `current` stands for the latest of its values.
    pub fn has_current(&self) -> bool {
        &*self.name == "time" && !self.instants.is_empty()
    }

    /// What documents say of its values: each, or ranges where there are many.
    pub fn announced(&self) -> &[Arc<str>] {
        &self.announced
    }

    /// A parameter of this name means this dimension: `time`, `elevation`, `dim_other` (OGC 06-042, C.3.1).
    pub fn is_asked_by(&self, parameter: &str) -> bool {
        is_same_dimension(&self.name, parameter)
    }

    /// The value that a client means: the default where it says nothing or `default`. `None`: it is not offered.
    pub fn resolve(&self, asked: Option<&str>) -> Option<Resolved> {
        let resolved = |value, choice| Some(Resolved { value, choice });
        let asked = match asked.map(str::trim) {
            None | Some("") => return resolved(Arc::clone(&self.default), Choice::Default),
            Some(asked) => asked,
        };
        if let Some(value) = self.find(asked) {
            return resolved(value, Choice::Named);
        }
        if asked.eq_ignore_ascii_case("default") {
            return resolved(Arc::clone(&self.default), Choice::Default);
        }
        if asked.eq_ignore_ascii_case("current") && self.has_current() {
            return resolved(self.current(Timestamp::now())?, Choice::Named);
        }
        if self.nearest
            && let Some(value) = self.nearest_to(asked)
        {
            return resolved(value, Choice::Nearest);
        }
        None
    }

    /// The value is one of those offered, and spelled as it is.
    pub fn offers(&self, value: &str) -> bool {
        self.known.contains(value)
    }

    fn sort(&mut self) {
        let numbered = || self.values.iter().enumerate();
        self.instants = if is_temporal(&self.name) {
            numbered().filter_map(|(index, value)| Some((Moment::parse(value)?.instant()?, index))).collect()
        } else {
            Vec::new()
        };
        self.instants.sort_by_key(|(instant, _)| *instant);
        self.numbers = numbered().filter_map(|(index, value)| Some((number(value)?, index))).collect();
        self.numbers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    }

    /// The offered value that is equal, however it is written.
    fn find(&self, asked: &str) -> Option<Arc<str>> {
        if let Some(value) = self.known.get(asked) {
            return Some(Arc::clone(value));
        }
        let index = if is_temporal(&self.name) {
            let instant = Moment::parse(asked)?.instant()?;
            let at = self.instants.binary_search_by_key(&instant, |(instant, _)| *instant).ok()?;
            self.instants[at].1
        } else {
            let asked = number(asked)?;
            let at = self.numbers.binary_search_by(|(number, _)| number.total_cmp(&asked)).ok()?;
            self.numbers[at].1
        };
        self.values.get(index).cloned()
    }

    /// The latest value that is not in the future, or else the first.
    fn current(&self, now: Timestamp) -> Option<Arc<str>> {
        let past = self.instants.partition_point(|(instant, _)| *instant <= now);
        let (_, index) = self.instants.get(past.saturating_sub(1))?;
        self.values.get(*index).cloned()
    }

    fn nearest_to(&self, asked: &str) -> Option<Arc<str>> {
        let index = if is_temporal(&self.name) {
            let asked = Moment::parse(asked)?.instant()?.as_second();
            self.instants.iter().min_by_key(|(instant, _)| instant.as_second().abs_diff(asked))?.1
        } else {
            let asked = number(asked)?;
            let distance = |number: f64| (number - asked).abs();
            self.numbers.iter().min_by(|(a, _), (b, _)| distance(*a).total_cmp(&distance(*b)))?.1
        };
        self.values.get(index).cloned()
    }
}

/// Both name the same dimension: in any case, with `dim_` in front or without (OGC 06-042, C.3.1).
pub fn is_same_dimension(one: &str, other: &str) -> bool {
    fn bare(name: &str) -> &str {
        match name.get(..4) {
            Some(start) if start.eq_ignore_ascii_case("dim_") => &name[4..],
            _ => name,
        }
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// A value that a layer does not offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid dimension value ({name}={value}).")]
pub struct InvalidValue {
    /// Name of the dimension.
    pub name: Arc<str>,
    /// What was asked for.
    pub value: String,
}

/// A dimension for which a client named no value, or one that is not there, and what was taken for it.
pub type Replaced = (Arc<Dimension>, Resolved);

/// What `dimensions` come to where a client asks for `asked`, with other parameters of it as they are: the client's
/// spelling of names is kept, since sources may be particular about it. With what was taken in place of what was asked.
pub fn resolve(
    dimensions: &[Arc<Dimension>],
    asked: &crate::Dimensions,
    omitted: Omitted,
) -> Result<(crate::Dimensions, Vec<Replaced>), InvalidValue> {
    if dimensions.is_empty() {
        return Ok((Arc::clone(asked), Vec::new()));
    }
    let is_other = |name: &str| !dimensions.iter().any(|dimension| dimension.is_asked_by(name));
    let mut values: Vec<(String, String)> = asked.iter().filter(|(name, _)| is_other(name)).cloned().collect();
    let mut replaced = Vec::new();
    for dimension in dimensions {
        let named = asked.iter().find(|(name, _)| dimension.is_asked_by(name));
        if named.is_none() && omitted == Omitted::AsConfigured && !dimension.send_default {
            continue;
        }
        let resolved = dimension.resolve(named.map(|(_, value)| value.as_str())).ok_or_else(|| InvalidValue {
            name: Arc::clone(dimension.name()),
            value: named.map_or_else(String::new, |(_, value)| value.clone()),
        })?;
        let spelling = named.map(|(name, _)| name).filter(|name| name.eq_ignore_ascii_case(&dimension.name));
        let name = spelling.cloned().unwrap_or_else(|| dimension.name.to_string());
        values.push((name, resolved.value.to_string()));
        if resolved.choice != Choice::Named {
            replaced.push((Arc::clone(dimension), resolved));
        }
    }
    Ok((values.into(), replaced))
}

/// The values that sources are asked for where a protocol has no dimensions.
pub fn defaults(dimensions: &[Arc<Dimension>]) -> crate::Dimensions {
    let sent = dimensions.iter().filter(|dimension| dimension.send_default);
    sent.map(|dimension| (dimension.name().to_string(), dimension.default_value().to_string())).collect()
}

/// `time` and names like it, as MapProxy has it.
fn is_temporal(name: &str) -> bool {
    name.contains("time")
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| if number == 0.0 { 0.0 } else { number })
}

/// It can be a part of a file's path.
fn is_plain(value: &str) -> bool {
    let is_directory = |part: &str| !part.is_empty() && part != ".";
    value.len() <= 200
        && !value.contains("..")
        && !value.contains(char::is_control)
        && value.split('/').all(is_directory)
}

/// A time as ISO 8601 writes it, down to what was said of it. Without an offset it is UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment {
    civil: DateTime,
    precision: Precision,
    /// Seconds east, where it was said.
    offset: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Year,
    Month,
    Day,
    Time,
}

impl Moment {
    fn parse(text: &str) -> Option<Moment> {
        if !text.is_ascii() || !text.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let date = |date: Date, precision| Moment { civil: date.at(0, 0, 0, 0), precision, offset: None };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i16>().ok()).flatten();
        match text.len() {
            4 => return Some(date(Date::new(digits(text)?, 1, 1).ok()?, Precision::Year)),
            7 if text.as_bytes()[4] == b'-' => {
                let month = i8::try_from(digits(&text[5..])?).ok()?;
                return Some(date(Date::new(digits(&text[..4])?, month, 1).ok()?, Precision::Month));
            }
            _ => {}
        }
        let Some((day, time)) = text.split_once(['T', 't', ' ']) else {
            return Some(date(parse_day(text)?, Precision::Day));
        };
        let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
            Some(at) => (&time[..at], Some(parse_offset(&time[at..])?)),
            None => (time, None),
        };
        let civil = format!("{}T{time}", parse_day(day)?).parse().ok()?;
        Some(Moment { civil, precision: Precision::Time, offset })
    }

    fn instant(&self) -> Option<Timestamp> {
        let offset = jiff::tz::Offset::from_seconds(self.offset.unwrap_or(0)).ok()?;
        offset.to_timestamp(self.civil).ok()
    }

    fn text(&self) -> String {
        let (civil, mut text) = (self.civil, String::with_capacity(25));
        let _ = match self.precision {
            Precision::Year => write!(text, "{:04}", civil.year()),
            Precision::Month => write!(text, "{:04}-{:02}", civil.year(), civil.month()),
            Precision::Day => write!(text, "{}", civil.date()),
            Precision::Time => {
                write!(text, "{}T{:02}:{:02}:{:02}", civil.date(), civil.hour(), civil.minute(), civil.second())
            }
        };
        if self.precision < Precision::Time {
            return text;
        }
        let micros = civil.subsec_nanosecond() / 1000;
        if micros > 0 {
            let _ = write!(text, ".{micros:06}");
        }
        match self.offset {
            None => {}
            Some(0) => text.push('Z'),
            Some(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                let _ = write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
            }
        }
        text
    }
}

/// `2020-02-29`, `20200229`, the day of the year (`2020-060`), of a week (`2020-W09-6`), or the first of a week (`2020-W09`).
fn parse_day(text: &str) -> Option<Date> {
    let digits = |text: &str, length: usize| {
        let is_number = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<i16>().ok()).flatten()
    };
    let mut parts = text.split('-');
    let (first, second, third, rest) = (parts.next()?, parts.next(), parts.next(), parts.next());
    match (second.map(|second| second.strip_prefix('W').ok_or(second)), third) {
        (Some(Ok(week)), third) if rest.is_none() => {
            let weekday = Weekday::from_monday_one_offset(digits(third.unwrap_or("1"), 1)?.try_into().ok()?).ok()?;
            Some(ISOWeekDate::new(digits(first, 4)?, digits(week, 2)?.try_into().ok()?, weekday).ok()?.date())
        }
        (Some(Err(day)), None) if day.len() == 3 => {
            Date::new(digits(first, 4)?, 1, 1).ok()?.with().day_of_year(digits(day, 3)?).build().ok()
        }
        _ => text.parse().ok(),
    }
}

/// `Z`, `+hh`, `+hhmm`, `+hh:mm`, in seconds.
fn parse_offset(text: &str) -> Option<i32> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = (text.starts_with('-'), text.get(1..)?.replace(':', ""));
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes * 60;
    Some(if sign { -seconds } else { seconds })
}

/// `start/end/period`, `start/period`, `period/end`. As MapProxy does, a range that the period does not divide ends with
/// the first value behind its end.
fn expand_times(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = text.split('/').map(str::trim).collect();
    let moment = |text: &str| Moment::parse(text).ok_or_else(|| format!("'{text}' is no time as ISO 8601 writes it"));
    let is_period = |text: &str| text.starts_with('P');
    match parts.as_slice() {
        [start, end, period] => {
            let (start, end, step) = (moment(start)?, moment(end)?, parse_period(period)?);
            let (Some(first), Some(last)) = (start.instant(), end.instant()) else {
                return Err(format!("'{text}' is out of range"));
            };
            if last < first {
                return Err(format!("'{text}' ends before it begins"));
            }
            times(start, last, step).ok_or_else(|| format!("'{text}' has more than {MAX_VALUES} values"))
        }
        [start, period] if is_period(period) => {
            let start = moment(start)?;
            let end = start.civil.checked_add(parse_period(period)?).map_err(|error| format!("'{text}': {error}"))?;
            Ok(vec![start.text(), Moment { civil: end, ..start }.text()])
        }
        [period, end] if is_period(period) => {
            let end = moment(end)?;
            let start = end.civil.checked_sub(parse_period(period)?).map_err(|error| format!("'{text}': {error}"))?;
            Ok(vec![Moment { civil: start, ..end }.text(), end.text()])
        }
        _ => Err(format!("'{text}' is no range: start/end/period is needed, such as 2020-01-01/2020-12-31/P1D")),
    }
}

fn times(start: Moment, last: Timestamp, step: Span) -> Option<Vec<String>> {
    let whole_days = step.get_hours() == 0
        && step.get_minutes() == 0
        && step.get_seconds() == 0
        && step.get_milliseconds() == 0
        && step.get_microseconds() == 0
        && step.get_nanoseconds() == 0;
    let start = match start.precision {
        // Hours of a day that was said without any.
        precision if precision < Precision::Time && !whole_days => {
            Moment { precision: Precision::Time, offset: Some(0), ..start }
        }
        Precision::Year if step.get_months() != 0 || step.get_days() != 0 || step.get_weeks() != 0 => {
            Moment { precision: Precision::Day, ..start }
        }
        Precision::Month if step.get_days() != 0 || step.get_weeks() != 0 => {
            Moment { precision: Precision::Day, ..start }
        }
        _ => start,
    };
    let mut values = Vec::new();
    let mut before: Option<Moment> = None;
    for index in 0_i64.. {
        // Counted from the start: months have different lengths.
        let Ok(civil) = step.checked_mul(index).and_then(|span| start.civil.checked_add(span)) else { break };
        let moment = Moment { civil, ..start };
        // The value behind the end is taken where the one before lay before the end.
        let is_done = before.and_then(|before| before.instant()).is_some_and(|before| before >= last);
        if is_done || moment.instant().is_none() {
            break;
        }
        if values.len() >= MAX_VALUES {
            return None;
        }
        values.push(moment.text());
        before = Some(moment);
    }
    Some(values)
}

/// A period above zero: `P1D`, `PT1H30M`, `P1Y2M1W3D`, `PT0.5H`. A `T` at the end, with nothing behind it, does no harm.
fn parse_period(text: &str) -> Result<Span, String> {
    let wrong = || format!("'{text}' is no period above zero, such as P1D or PT1H");
    if !text.starts_with('P') {
        return Err(wrong());
    }
    let span: Span = text.strip_suffix('T').unwrap_or(text).parse().map_err(|_| wrong())?;
    // Months have no length of their own; any day will do to tell the sign.
    let day = Date::constant(2000, 1, 1);
    let length = span.total((Unit::Nanosecond, day)).map_err(|_| wrong())?;
    if length < 1000.0 {
        return Err(wrong());
    }
    span.round(SpanRound::new().smallest(Unit::Microsecond).relative(day)).map(|_| span).map_err(|_| wrong())
}

/// `min/max/step` (OGC 06-042, C.2.1), or three values in a row, as MapProxy reads them.
fn expand_numbers(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = text.split('/').map(str::trim).collect();
    let range = match parts.as_slice() {
        [min, max, step] => number(min).zip(number(max)).zip(number(step)),
        _ => None,
    };
    let Some(((min, max), step)) = range.filter(|((min, max), step)| *step > 0.0 && min + step <= *max) else {
        return Ok(parts.into_iter().map(str::to_owned).collect());
    };
    let steps = ((max - min) / step + 1e-9).floor();
    if steps >= MAX_VALUES as f64 {
        return Err(format!("'{text}' has more than {MAX_VALUES} values"));
    }
    // As many decimals as the numbers were written with.
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len()).min(12);
    let decimals = parts.iter().map(|part| decimals(part)).max().unwrap_or(0);
    Ok((0..=steps as usize).map(|index| format!("{:.decimals$}", min + step * index as f64)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dimension(name: &str, values: &[&str], default: Option<&str>) -> Dimension {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let default = default.map(str::to_owned);
        Dimension::new(&DimensionOptions { name: name.to_owned(), values, default, ..Default::default() }).unwrap()
    }

    fn error(name: &str, value: &str) -> String {
        let values = vec![value.to_owned()];
        let options = DimensionOptions { name: name.to_owned(), values, ..Default::default() };
        Dimension::new(&options).unwrap_err().to_string()
    }

    fn texts(dimension: &Dimension) -> Vec<&str> {
        dimension.announced().iter().map(|value| &**value).collect()
    }

    fn resolved(dimension: &Dimension, asked: &str) -> Option<String> {
        dimension.resolve(Some(asked)).map(|resolved| resolved.value.to_string())
    }

    /// Recorded from MapProxy 7.0.0.
    #[test]
    fn ranges_of_time_have_the_values_of_mapproxy() {
        for (range, values) in [
            (
                "2020-09-22T11:20:00Z/2020-09-22T14:20:00Z/PT2H",
                &["2020-09-22T11:20:00Z", "2020-09-22T13:20:00Z", "2020-09-22T15:20:00Z"][..],
            ),
            ("2020-01-01T00:00:00Z/P1D", &["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]),
            ("P1D/2020-01-03T00:00:00Z", &["2020-01-02T00:00:00Z", "2020-01-03T00:00:00Z"]),
            (
                "2020-01-01T00:00:00+02:00/2020-01-01T02:00:00+02:00/PT1H",
                &["2020-01-01T00:00:00+02:00", "2020-01-01T01:00:00+02:00", "2020-01-01T02:00:00+02:00"],
            ),
            (
                "2020-01-01T00:00:00.5Z/2020-01-01T00:00:02Z/PT1S",
                &["2020-01-01T00:00:00.500000Z", "2020-01-01T00:00:01.500000Z", "2020-01-01T00:00:02.500000Z"],
            ),
            ("20200101T000000Z/20200102T000000Z/P1D", &["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]),
            ("2020-01-01T00:00Z/2020-01-02T00:00Z/P1D", &["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]),
            ("2020-01-01T00:00:00/2020-01-02T00:00:00/P1D", &["2020-01-01T00:00:00", "2020-01-02T00:00:00"]),
            (
                "2020-01-01T00:00:00Z/2020-01-01T01:00:00Z/PT0.5H",
                &["2020-01-01T00:00:00Z", "2020-01-01T00:30:00Z", "2020-01-01T01:00:00Z"],
            ),
            (
                "2020-01-01T00:00:00Z/2020-01-01T03:00:00Z/PT1H30M45S",
                &["2020-01-01T00:00:00Z", "2020-01-01T01:30:45Z", "2020-01-01T03:01:30Z"],
            ),
            ("PT1H30M45S/2020-01-01T00:00:00Z", &["2019-12-31T22:29:15Z", "2020-01-01T00:00:00Z"]),
            (
                "2020-01-01T00:00:00Z/2020-01-15T00:00:00Z/P1W3DT",
                &["2020-01-01T00:00:00Z", "2020-01-11T00:00:00Z", "2020-01-21T00:00:00Z"],
            ),
            ("2020-01-01T00:00:00Z/2020-01-02T00:00:00Z/P0Y0M1DT", &["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]),
            ("2020-01-01T00:00:00Z/2020-01-09T00:00:00Z/P1WT24H", &["2020-01-01T00:00:00Z", "2020-01-09T00:00:00Z"]),
            (
                "2020-01-01T00:00:00Z/2020-01-01T01:00:00Z/PT0,5H",
                &["2020-01-01T00:00:00Z", "2020-01-01T00:30:00Z", "2020-01-01T01:00:00Z"],
            ),
            ("2020-W01-1T00:00:00Z/2020-W02-1T00:00:00Z/P1W", &["2019-12-30T00:00:00Z", "2020-01-06T00:00:00Z"]),
            ("2020-W01T00:00:00Z/2020-W02T00:00:00Z/P1W", &["2019-12-30T00:00:00Z", "2020-01-06T00:00:00Z"]),
            ("2020-060T00:00:00Z/2020-061T00:00:00Z/P1D", &["2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"]),
            ("2020-01-01T00Z/2020-01-01T01Z/PT1H", &["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"]),
            (
                "2020-01-01T00:00:00-0500/2020-01-02T00:00:00-05/P1D",
                &["2020-01-01T00:00:00-05:00", "2020-01-02T00:00:00-05:00"],
            ),
            (
                "2020-01-01T00:00:00,5Z/2020-01-01T00:00:01,5Z/PT1S",
                &["2020-01-01T00:00:00.500000Z", "2020-01-01T00:00:01.500000Z"],
            ),
        ] {
            assert_eq!(texts(&dimension("time", &[range], None)), values, "{range}");
        }
    }

    #[test]
    fn months_and_years_are_steps_of_the_calendar() {
        let months = dimension("time", &["2020-01-31/2020-04-30/P1M"], None);
        assert_eq!(texts(&months), ["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"]);
        assert_eq!(texts(&dimension("time", &["2019/2021/P1Y"], None)), ["2019", "2020", "2021"]);
        assert_eq!(texts(&dimension("time", &["2019-11/2020-01/P1M"], None)), ["2019-11", "2019-12", "2020-01"]);
        let hours = dimension("time", &["2020-01-01/2020-01-02/PT12H"], None);
        assert_eq!(texts(&hours), ["2020-01-01T00:00:00Z", "2020-01-01T12:00:00Z", "2020-01-02T00:00:00Z"]);
    }

    #[test]
    fn several_ranges_and_values_are_one_dimension() {
        let time = dimension("time", &["2020-01-01/2020-01-02/P1D", "2021-05-05"], None);
        assert_eq!(texts(&time), ["2020-01-01", "2020-01-02", "2021-05-05"]);
        assert_eq!(&**time.default_value(), "2021-05-05");
    }

    #[test]
    fn nonsense_ends_and_says_what_is_wrong() {
        for (range, reason) in [
            ("2020-01-02/2020-01-01/P1D", "ends before it begins"),
            ("2020-01-01/2020-01-02/PT0S", "no period above zero"),
            ("2020-01-01/2020-01-02/-P1D", "no period above zero"),
            ("2020-01-01/2020-01-02/1 day", "no period above zero"),
            ("2020-01-01/2020-01-02", "no range"),
            ("2020-13-01/2020-01-02/P1D", "'2020-13-01' is no time"),
            ("2020-366/2021-366/P1D", "'2021-366' is no time"),
            ("2020-W53-7/2021-W53-1/P1D", "'2021-W53-1' is no time"),
            ("2020-W01-8/2020-W02-1/P1D", "'2020-W01-8' is no time"),
            ("2020-W1/2020-W02-1/P1D", "'2020-W1' is no time"),
            ("2020-01-01/2020-01-02/PT", "no period above zero"),
            ("2020-01-01/2020-01-02/P1DTT", "no period above zero"),
            ("0001-01-01/9999-01-01/PT0.001S", "more than 200000 values"),
            ("a/b/c/d", "no range"),
        ] {
            assert!(error("time", range).contains(reason), "{range}: {}", error("time", range));
        }
        assert!(error("elevation", "0/1000000000/1").contains("more than 200000 values"));
        assert!(error("elevation", "../x").contains("file name"));
        assert!(error("a/b", "1").contains("no name"));
        let end_of_time = dimension("time", &["9999-12-29/9999-12-30/P1D"], None);
        assert_eq!(texts(&end_of_time), ["9999-12-29", "9999-12-30"]);
    }

    #[test]
    fn one_moment_has_one_spelling() {
        let time = dimension("time", &["2020-09-22T11:20:00Z/2020-09-22T14:20:00Z/PT1H"], None);
        for asked in [
            "2020-09-22T12:20:00Z",
            "2020-09-22T12:20Z",
            "2020-09-22T12:20:00.000Z",
            "2020-09-22T12:20:00",
            "2020-09-22T14:20:00+02:00",
            "2020-09-22T14:20:00 02:00",
            "20200922T122000Z",
        ] {
            let expected = if asked.contains(' ') { None } else { Some("2020-09-22T12:20:00Z".to_owned()) };
            assert_eq!(resolved(&time, asked), expected, "{asked}");
        }
        for asked in ["2020-09-22T12:20:01Z", "2020-09-22", "12:20", "../..", "2020-09-22T12:20:00Z,x", "ä"] {
            assert_eq!(resolved(&time, asked), None, "{asked}");
        }
    }

    #[test]
    fn the_default_counts_where_nothing_is_said() {
        let time = dimension("Time", &["2020-01-01T00:00:00Z/2020-01-01T03:00:00Z/PT2H"], Some("2020-01-01T03:00:00Z"));
        assert_eq!(&**time.name(), "time");
        for asked in [None, Some(""), Some("default")] {
            let resolved = time.resolve(asked).unwrap();
            assert_eq!((&*resolved.value, resolved.choice), ("2020-01-01T03:00:00Z", Choice::Default));
        }
        assert_eq!(texts(&time).len(), 3, "the default is a value, but not announced as one");
        assert!(time.offers("2020-01-01T03:00:00Z") && !time.offers("2020-01-01T01:00:00Z"));
    }

    #[test]
    fn current_is_the_latest_that_is_not_in_the_future() {
        let time = dimension("time", &["2020-01-01", "2020-01-02", "2999-01-01"], None);
        assert_eq!(resolved(&time, "current").unwrap(), "2020-01-02");
        let forecast = dimension("time", &["2999-01-01", "2999-01-02"], None);
        assert_eq!(resolved(&forecast, "current").unwrap(), "2999-01-01");
        assert_eq!(resolved(&dimension("elevation", &["1"], None), "current"), None);
    }

    #[test]
    fn the_nearest_counts_only_where_that_is_configured() {
        let options = DimensionOptions {
            name: "elevation".to_owned(),
            values: vec!["0".to_owned(), "100".to_owned()],
            nearest: true,
            ..Default::default()
        };
        let elevation = Dimension::new(&options).unwrap();
        let resolved = elevation.resolve(Some("70")).unwrap();
        assert_eq!((&*resolved.value, resolved.choice), ("100", Choice::Nearest));
        assert!(elevation.resolve(Some("high")).is_none());
        assert!(dimension("elevation", &["0", "100"], None).resolve(Some("70")).is_none());
    }

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        let elevation = dimension("elevation", &["0", "1000", "-20.5"], None);
        assert_eq!(resolved(&elevation, "1000.0").unwrap(), "1000");
        assert_eq!(resolved(&elevation, "-0").unwrap(), "0");
        assert_eq!(resolved(&elevation, "-20.50").unwrap(), "-20.5");
        assert_eq!(resolved(&elevation, "nan"), None);
    }

    #[test]
    fn three_numbers_are_a_range_where_they_can_be_one() {
        assert_eq!(texts(&dimension("elevation", &["0/300/100"], None)), ["0", "100", "200", "300"]);
        assert_eq!(texts(&dimension("elevation", &["0/0.3/0.1"], None)), ["0.0", "0.1", "0.2", "0.3"]);
        assert_eq!(texts(&dimension("elevation", &["0/1000/3000"], None)), ["0", "1000", "3000"]);
        assert_eq!(texts(&dimension("dim_x", &["a/b"], None)), ["a", "b"]);
    }

    #[test]
    fn long_ranges_are_announced_as_ranges() {
        let time = dimension("time", &["2020-01-01T00:00:00Z/2020-12-31T23:00:00Z/PT1H"], None);
        assert_eq!(texts(&time), ["2020-01-01T00:00:00Z/2020-12-31T23:00:00Z/PT1H"]);
        assert_eq!(resolved(&time, "2020-06-01T05:00Z").unwrap(), "2020-06-01T05:00:00Z");
    }

    #[test]
    fn parameters_name_dimensions_with_and_without_a_prefix() {
        let time = dimension("time", &["2020"], None);
        assert!(time.is_asked_by("TIME") && !time.is_asked_by("times"));
        let other = dimension("reference_time", &["2020"], None);
        assert!(other.is_asked_by("DIM_Reference_Time") && other.is_asked_by("reference_time"));
        assert!(dimension("dim_x", &["1"], None).is_asked_by("DIM_X"));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_a_dimension_or_an_error(
            name in "time|elevation|[a-z_]{1,6}",
            values in prop::collection::vec("[-0-9TZ:./PMDYHSW+ ]{0,30}|[0-9]{4}-[01][0-9]-[0-3][0-9]/[0-9]{4}/P[0-9]{1,3}[DMY]", 1..4),
            asked in "[-0-9TZ:.+ ]{0,30}|.{0,10}",
        ) {
            let options = DimensionOptions { name, values, nearest: true, ..Default::default() };
            let Ok(dimension) = Dimension::new(&options) else { return Ok(()) };
            prop_assert!(dimension.offers(dimension.default_value()));
            if let Some(resolved) = dimension.resolve(Some(&asked)) {
                prop_assert!(dimension.offers(&resolved.value));
                prop_assert_eq!(dimension.resolve(Some(&resolved.value)).unwrap().value, resolved.value);
            }
        }
    }
}
