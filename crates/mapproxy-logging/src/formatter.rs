//! From an event to a line: the three styles of Python's `logging.Formatter`, and JSON.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::fmt::strtime;

use crate::event::{self, Event};

/// How a line looks.
#[derive(Clone, Debug)]
pub(crate) enum Formatter {
    /// Exactly as Python writes it.
    Pattern(Vec<Part>, DateFormat),
    /// `[2026-11-22 08:21:38,123] mapproxy.config - INFO - message`, as MapProxy's users know it; the further lines of a message are indented, so that none looks like another
    /// message, whatever a client or an upstream server had to do with its text.
    Plain,
    Json,
}

/// How `asctime` looks: a pattern of strftime, or `None` for Python's own with milliseconds.
pub(crate) type DateFormat = Option<String>;

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    Field(Field, Spec),
}

/// What a line can say of an event, by Python's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Asctime,
    Created,
    Filename,
    FuncName,
    Levelname,
    Levelno,
    Lineno,
    Message,
    Module,
    Msecs,
    Name,
    Pathname,
    Process,
    ProcessName,
    RelativeCreated,
    Thread,
    ThreadName,
    /// What Python fills where there is an exception, a stack or a task, and is `None` otherwise.
    Nothing,
    NoArguments,
}

const FIELDS: &[(&str, Field)] = &[
    ("asctime", Field::Asctime),
    ("created", Field::Created),
    ("filename", Field::Filename),
    ("funcName", Field::FuncName),
    ("levelname", Field::Levelname),
    ("levelno", Field::Levelno),
    ("lineno", Field::Lineno),
    ("message", Field::Message),
    ("module", Field::Module),
    ("msecs", Field::Msecs),
    ("name", Field::Name),
    ("pathname", Field::Pathname),
    ("process", Field::Process),
    ("processName", Field::ProcessName),
    ("relativeCreated", Field::RelativeCreated),
    ("thread", Field::Thread),
    ("threadName", Field::ThreadName),
    ("msg", Field::Message),
    ("args", Field::NoArguments),
    ("exc_info", Field::Nothing),
    ("exc_text", Field::Nothing),
    ("stack_info", Field::Nothing),
    ("taskName", Field::Nothing),
];

enum FieldValue<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Center,
    /// Between sign and digits.
    BehindSign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As Python's `str` writes it.
    Text,
    /// As Python's `repr` writes it.
    Repr,
    Integer,
    Float,
    Hex,
    HexUpper,
    Octal,
}

/// How a field is written: `-8s`, `<8`, `05.1f`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    kind: Kind,
    align: Align,
    fill: char,
    /// Written in front of numbers that are not negative.
    plus: Option<char>,
    width: usize,
    precision: Option<usize>,
}

/// Python's own.
const DEFAULT_DATES: &str = "%Y-%m-%d %H:%M:%S,%3f";

/// Wider fields are mistakes.
const MAX_WIDTH: usize = 1000;

impl Default for Spec {
    fn default() -> Spec {
        Spec { kind: Kind::Text, align: Align::Left, fill: ' ', plus: None, width: 0, precision: None }
    }
}

impl Formatter {
    /// What Python uses where nothing is said: the message alone.
    pub(crate) fn message_only() -> Formatter {
        Formatter::Pattern(vec![Part::Field(Field::Message, Spec::default())], None)
    }

    /// `pattern` in the style of `style`: `%`, `{` or `$`.
    pub(crate) fn new(pattern: &str, dates: DateFormat, style: &str) -> Result<Formatter, String> {
        let parts = match style {
            "%" => percent(pattern)?,
            "{" => braces(pattern)?,
            "$" => dollars(pattern)?,
            _ => return Err(format!("style {style:?} is not known; %, {{ and $ are")),
        };
        if !parts.iter().any(|part| matches!(part, Part::Field(..))) {
            return Err(format!("the format {pattern:?} names no field in style {style:?}"));
        }
        if let Some(dates) = &dates {
            let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
            strtime::format(dates, &sample).map_err(|error| format!("datefmt: {error}"))?;
        }
        Ok(Formatter::Pattern(parts, dates))
    }

    /// Appends the line, with its end, to `line`.
    pub(crate) fn write(&self, event: &Event, line: &mut Vec<u8>) {
        let mut text = String::with_capacity(event.message.len() + 64);
        match self {
            Formatter::Pattern(parts, dates) => {
                for part in parts {
                    match part {
                        Part::Text(literal) => text.push_str(literal),
                        Part::Field(field, spec) => spec.write(value(*field, dates, event), &mut text),
                    }
                }
            }
            Formatter::Plain => {
                let time = event.time.strftime(DEFAULT_DATES);
                let (name, level) = (&event.logger, event::name(event.level));
                let _ = write!(text, "[{time}] {name} - {level} - {}", event.message.replace('\n', "\n    "));
            }
            Formatter::Json => json(event, &mut text),
        }
        text.push('\n');
        line.extend_from_slice(text.as_bytes());
    }
}

fn json(event: &Event, text: &mut String) {
    // In this order, which a map would not keep.
    let quoted = |value: &str| serde_json::Value::from(value).to_string();
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
    let _ = write!(
        text,
        "{{\"time\":\"{time}\",\"level\":\"{}\",\"logger\":{},\"message\":{}}}",
        event::name(event.level),
        quoted(&event.logger),
        quoted(&event.message)
    );
}

fn value<'a>(field: Field, dates: &DateFormat, event: &'a Event) -> FieldValue<'a> {
    let seconds = || event.time.timestamp().as_microsecond() as f64 / 1e6;
    FieldValue::Text(match field {
        Field::Asctime => {
            let pattern = dates.as_deref().unwrap_or(DEFAULT_DATES);
            // It was tried when it was read.
            Cow::Owned(strtime::format(pattern, &event.time).unwrap_or_default())
        }
        Field::Created => return FieldValue::Float(seconds()),
        Field::Msecs => return FieldValue::Float(f64::from(event.time.millisecond())),
        Field::RelativeCreated => return FieldValue::Float(event.age),
        Field::Levelno => return FieldValue::Int(event::number(event.level).into()),
        Field::Lineno => return FieldValue::Int(event.line.into()),
        Field::Process => return FieldValue::Int(event.process.into()),
        Field::Thread => return FieldValue::Int(i64::try_from(event.thread).unwrap_or(i64::MAX)),
        Field::Filename => event.file_name().into(),
        // What Python says where it does not know.
        Field::FuncName => "(unknown function)".into(),
        Field::Levelname => event::name(event.level).into(),
        Field::Message => event.message.as_str().into(),
        Field::Module => event.module().into(),
        Field::Name => event.logger.as_str().into(),
        Field::Pathname => event.path.into(),
        Field::ProcessName => "MainProcess".into(),
        Field::ThreadName => event.thread_name.as_str().into(),
        Field::Nothing => "None".into(),
        Field::NoArguments => "()".into(),
    })
}

/// Whether the field is a number: numbers may be written as text, but not the other way round.
fn is_number(field: Field) -> bool {
    matches!(
        field,
        Field::Created
            | Field::Msecs
            | Field::RelativeCreated
            | Field::Levelno
            | Field::Lineno
            | Field::Process
            | Field::Thread
    )
}

fn is_whole(field: Field) -> bool {
    matches!(field, Field::Levelno | Field::Lineno | Field::Process | Field::Thread)
}

fn field(name: &str) -> Result<Field, String> {
    FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field).ok_or_else(|| {
        let known: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
        format!("there is no field {name:?}; there are {}", known.join(", "))
    })
}

impl Spec {
    fn fits(mut self, name: &str, field: Field) -> Result<Part, String> {
        if matches!(self.kind, Kind::Hex | Kind::HexUpper | Kind::Octal) && !is_whole(field) {
            return Err(format!("{name} is no whole number"));
        }
        if self.kind == Kind::Repr && matches!(field, Field::Nothing | Field::NoArguments) {
            self.kind = Kind::Text; // These are no strings, and not quoted.
        }
        if !matches!(self.kind, Kind::Text | Kind::Repr) && !is_number(field) {
            return Err(format!("{name} is no number"));
        }
        if self.width > MAX_WIDTH || self.precision.is_some_and(|precision| precision > MAX_WIDTH) {
            return Err(format!("{name}: wider than {MAX_WIDTH} characters"));
        }
        Ok(Part::Field(field, self))
    }

    fn write(&self, value: FieldValue<'_>, text: &mut String) {
        let value = match (self.kind, value) {
            (Kind::Text, FieldValue::Text(value)) => self.cut(value),
            (Kind::Text | Kind::Repr, FieldValue::Int(value)) => {
                self.cut(self.signed(value < 0, value.unsigned_abs().to_string()).into())
            }
            (Kind::Text | Kind::Repr, FieldValue::Float(value)) => {
                self.cut(self.signed(value.is_sign_negative(), format!("{:?}", value.abs())).into())
            }
            (Kind::Repr, FieldValue::Text(value)) => self.cut(repr(&value).into()),
            (kind, FieldValue::Int(value)) => self.integer(kind, value).into(),
            (Kind::Float, FieldValue::Float(value)) => {
                self.signed(value.is_sign_negative(), format!("{:.*}", self.precision.unwrap_or(6), value.abs())).into()
            }
            // Fractions are dropped, as Python does.
            (kind, FieldValue::Float(value)) => self.integer(kind, value as i64).into(),
            // Refused when the pattern was read.
            (_, FieldValue::Text(value)) => value,
        };
        let missing = self.width.saturating_sub(value.chars().count());
        let left = match self.align {
            Align::Left => 0,
            Align::Right => missing,
            Align::Center => missing / 2,
            Align::BehindSign => {
                let sign = value.len() - value.trim_start_matches(['+', '-', ' ']).len();
                text.push_str(&value[..sign]);
                text.extend(std::iter::repeat_n(self.fill, missing));
                text.push_str(&value[sign..]);
                return;
            }
        };
        text.extend(std::iter::repeat_n(self.fill, left));
        text.push_str(&value);
        text.extend(std::iter::repeat_n(self.fill, missing - left));
    }

    fn cut<'a>(&self, value: Cow<'a, str>) -> Cow<'a, str> {
        match self.precision.and_then(|precision| value.char_indices().nth(precision)) {
            Some((end, _)) => value[..end].to_owned().into(),
            None => value,
        }
    }

    fn integer(&self, kind: Kind, value: i64) -> String {
        let digits = match kind {
            Kind::Float => format!("{:.*}", self.precision.unwrap_or(6), value.unsigned_abs() as f64),
            Kind::Hex => format!("{:x}", value.unsigned_abs()),
            Kind::HexUpper => format!("{:X}", value.unsigned_abs()),
            Kind::Octal => format!("{:o}", value.unsigned_abs()),
            _ => value.unsigned_abs().to_string(),
        };
        let precision = if kind == Kind::Float { 0 } else { self.precision.unwrap_or(0) };
        self.signed(value < 0, format!("{digits:0>precision$}"))
    }

    fn signed(&self, negative: bool, digits: String) -> String {
        match (negative, self.plus) {
            (true, _) => format!("-{digits}"),
            (false, Some(plus)) => format!("{plus}{digits}"),
            (false, None) => digits,
        }
    }
}

/// Text as Python quotes it.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            _ if character == quote => quoted.extend(['\\', quote]),
            _ if character.is_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// `%(name)-8s`
fn percent(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        push_text(&mut parts, before);
        if let Some(after) = after.strip_prefix('%') {
            push_text(&mut parts, "%");
            rest = after;
            continue;
        }
        let (name, after) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'))
            .ok_or_else(|| format!("a percent sign must be written %% where it begins no %(name)s: {pattern:?}"))?;
        let field = field(name)?;
        let mut spec = Spec { align: Align::Right, ..Spec::default() };
        let (flags, after) = split(after, |c| "#0+- ".contains(c));
        let (width, after) = split(after, |c| c.is_ascii_digit());
        spec.width = width.parse().unwrap_or(0);
        let mut after = after;
        if let Some(behind) = after.strip_prefix('.') {
            let (precision, behind) = split(behind, |c| c.is_ascii_digit());
            // A point alone is 0.
            spec.precision = Some(format!("0{precision}").parse().map_err(|_| format!("%({name}): too precise"))?);
            after = behind;
        }
        let mut chars = after.chars();
        spec.kind = match chars.next() {
            Some('s') => Kind::Text,
            Some('r' | 'a') => Kind::Repr,
            Some('d' | 'i' | 'u') => Kind::Integer,
            Some('f' | 'F') => Kind::Float,
            Some('x') => Kind::Hex,
            Some('X') => Kind::HexUpper,
            Some('o') => Kind::Octal,
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "%({name}){other} is not understood; s, r, d, f, x, X and o are, as in %({name})s"
                ));
            }
        };
        if flags.contains('#') {
            return Err(format!("%({name}): the flag # is not supported"));
        }
        let number = !matches!(spec.kind, Kind::Text | Kind::Repr);
        if flags.contains('0') && number {
            (spec.fill, spec.align) = ('0', Align::BehindSign);
        }
        if flags.contains('-') {
            (spec.fill, spec.align) = (' ', Align::Left);
        }
        if number {
            spec.plus = ['+', ' '].into_iter().find(|sign| flags.contains(*sign));
        }
        parts.push(spec.fits(name, field)?);
        rest = chars.as_str();
    }
    push_text(&mut parts, rest);
    Ok(parts)
}

/// `{name:<8}`
fn braces(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        push_text(&mut parts, before);
        if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| after.starts_with(brace)) {
            push_text(&mut parts, &brace[..1]);
            rest = &after[2..];
            continue;
        }
        let (inner, behind) = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'))
            .ok_or_else(|| format!("a brace must be doubled where it belongs to no {{name}}: {pattern:?}"))?;
        let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
        let (name, converted) = match name.split_once('!') {
            None => (name, None),
            Some((name, "s")) => (name, Some(Kind::Text)),
            Some((name, "r" | "a")) => (name, Some(Kind::Repr)),
            Some(_) => return Err(format!("{{{inner}}} is not understood")),
        };
        let field = field(name)?;
        parts.push(
            brace_spec(format, converted, field)
                .ok_or_else(|| format!("{{{inner}}} is not understood"))?
                .fits(name, field)?,
        );
        rest = behind;
    }
    push_text(&mut parts, rest);
    Ok(parts)
}

/// `[[fill]align][sign][0][width][.precision][kind]`, for a field that may have been made text by `!s` or `!r`.
fn brace_spec(format: &str, converted: Option<Kind>, field: Field) -> Option<Spec> {
    let align = |c: char| match c {
        '<' => Some(Align::Left),
        '>' => Some(Align::Right),
        '^' => Some(Align::Center),
        '=' => Some(Align::BehindSign),
        _ => None,
    };
    let number = is_number(field) && converted.is_none();
    let mut spec = Spec { align: if number { Align::Right } else { Align::Left }, ..Spec::default() };
    let mut rest = format;
    let mut chars = format.chars();
    let (first, second) = (chars.next(), chars.next());
    let mut said = (false, false);
    if let (Some(fill), Some(found)) = (first, second.and_then(align)) {
        (spec.fill, spec.align, said) = (fill, found, (true, true));
        rest = chars.as_str();
    } else if let Some(found) = first.and_then(align) {
        (spec.align, said) = (found, (false, true));
        rest = &rest[1..];
    }
    let (signs, rest) = split(rest, |c| "+- ".contains(c));
    spec.plus = match signs {
        "" | "-" => None,
        "+" => Some('+'),
        " " => Some(' '),
        _ => return None,
    };
    let (width, mut rest) = split(rest, |c| c.is_ascii_digit());
    if width.starts_with('0') {
        let (fill_is_said, align_is_said) = said;
        spec.fill = if fill_is_said { spec.fill } else { '0' };
        spec.align = if number && !align_is_said { Align::BehindSign } else { spec.align };
    }
    if !width.is_empty() {
        spec.width = width.parse().ok()?;
    }
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = split(behind, |c| c.is_ascii_digit());
        spec.precision = Some(precision.parse().ok()?);
        rest = behind;
    }
    spec.kind = match rest {
        "" => converted.unwrap_or(Kind::Text),
        "s" if !number => converted.unwrap_or(Kind::Text),
        _ if !number => return None,
        "d" => Kind::Integer,
        "f" | "F" => Kind::Float,
        "x" => Kind::Hex,
        "X" => Kind::HexUpper,
        "o" => Kind::Octal,
        _ => return None,
    };
    // Python knows none of these either.
    let is_object = matches!(field, Field::Nothing | Field::NoArguments) && converted.is_none();
    if is_object && !format.is_empty() {
        return None;
    }
    let odd = match spec.kind {
        Kind::Text | Kind::Repr => {
            if number {
                spec.precision.is_some()
            } else {
                !signs.is_empty()
            }
        }
        Kind::Float => false,
        _ => !is_whole(field) || spec.precision.is_some(),
    };
    (!odd && (number || spec.align != Align::BehindSign)).then_some(spec)
}

/// `$name` and `${name}`
fn dollars(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(&mut parts, before);
        if let Some(after) = after.strip_prefix('$') {
            push_text(&mut parts, "$");
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (name, behind) = braced.unwrap_or_else(|| split(after, |c| c.is_ascii_alphanumeric() || c == '_'));
        parts.push(Part::Field(field(name)?, Spec::default()));
        rest = behind;
    }
    push_text(&mut parts, rest);
    Ok(parts)
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}
