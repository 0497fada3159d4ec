//! The arguments of handlers, which `log.ini` gives as Python expressions: tuples and dictionaries of literals, whole
//! numbers multiplied and added (`10 * 1024 * 1024`), and names such as `sys.stdout`. Nothing else is evaluated.

use std::fmt;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A tuple or a list.
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
    /// `a.b.c`
    Name(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::None => write!(f, "None"),
            Literal::Bool(true) => write!(f, "True"),
            Literal::Bool(false) => write!(f, "False"),
            Literal::Int(number) => write!(f, "{number}"),
            Literal::Float(number) => write!(f, "{number:?}"),
            Literal::Str(text) => write!(f, "{text:?}"),
            Literal::List(_) => write!(f, "a tuple"),
            Literal::Dict(_) => write!(f, "a dictionary"),
            Literal::Name(name) => write!(f, "{name}"),
        }
    }
}

/// Expressions inside each other, at most.
const MAX_DEPTH: usize = 16;

/// The value of `text`, or what is wrong with it.
pub(crate) fn evaluate(text: &str) -> Result<Literal, String> {
    let mut parser = Parser { rest: text.trim(), depth: 0 };
    let mut value = parser.sum()?;
    if parser.eat(',') {
        let mut items = vec![value];
        items.extend(parser.items(None)?);
        value = Literal::List(items);
    }
    parser.space();
    match parser.rest {
        "" => Ok(value),
        rest => Err(not_understood(rest)),
    }
}

fn not_understood(rest: &str) -> String {
    match rest.lines().next() {
        Some(line) if !line.is_empty() => {
            format!("{line:?} is not understood; literals, numbers and sys.stdout or sys.stderr are")
        }
        _ => "the expression is not complete".to_owned(),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, what: char) -> bool {
        self.space();
        let found = self.rest.strip_prefix(what);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn sum(&mut self) -> Result<Literal, String> {
        let mut value = self.product()?;
        loop {
            self.space();
            let sign = match self.rest.bytes().next() {
                Some(b'+') => 1,
                Some(b'-') => -1,
                _ => return Ok(value),
            };
            self.rest = &self.rest[1..];
            let right = self.product()?;
            value = arithmetic(&value, &right, |a, b| b.checked_mul(sign).and_then(|b| a.checked_add(b)))?;
        }
    }

    fn product(&mut self) -> Result<Literal, String> {
        let mut value = self.atom()?;
        loop {
            self.space();
            if self.rest.starts_with("**") {
                return Err(not_understood(self.rest));
            }
            if !self.eat('*') {
                return Ok(value);
            }
            let right = self.atom()?;
            value = arithmetic(&value, &right, i64::checked_mul)?;
        }
    }

    fn atom(&mut self) -> Result<Literal, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("there are too many brackets".to_owned());
        }
        self.space();
        let value = match self.rest.chars().next() {
            Some('(') => self.tuple(),
            Some('[') => {
                self.rest = &self.rest[1..];
                self.items(Some(']')).map(Literal::List)
            }
            Some('{') => self.dictionary(),
            Some('-') => {
                self.rest = &self.rest[1..];
                let number = self.atom()?;
                arithmetic(&Literal::Int(0), &number, i64::checked_sub)
            }
            Some('0'..='9' | '.') => self.number(),
            _ => self.string_or_name(),
        };
        self.depth -= 1;
        value
    }

    fn tuple(&mut self) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        if self.eat(')') {
            return Ok(Literal::List(Vec::new()));
        }
        let first = self.sum()?;
        if self.eat(')') {
            return Ok(first); // brackets around a value make no tuple
        }
        if !self.eat(',') {
            return Err(not_understood(self.rest));
        }
        let mut items = vec![first];
        items.extend(self.items(Some(')'))?);
        Ok(Literal::List(items))
    }

    /// Values with commas between them and perhaps behind, up to and with `end`.
    fn items(&mut self, end: Option<char>) -> Result<Vec<Literal>, String> {
        let mut items = Vec::new();
        loop {
            self.space();
            match end {
                Some(end) if self.eat(end) => return Ok(items),
                None if self.rest.is_empty() => return Ok(items),
                _ => items.push(self.sum()?),
            }
            if !self.eat(',') {
                return match end {
                    Some(end) if self.eat(end) => Ok(items),
                    None if self.rest.is_empty() => Ok(items),
                    _ => Err(not_understood(self.rest)),
                };
            }
        }
    }

    fn dictionary(&mut self) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        let mut pairs = Vec::new();
        loop {
            if self.eat('}') {
                return Ok(Literal::Dict(pairs));
            }
            let key = self.sum()?;
            if !self.eat(':') {
                return Err(not_understood(self.rest));
            }
            pairs.push((key, self.sum()?));
            if !self.eat(',') {
                return if self.eat('}') { Ok(Literal::Dict(pairs)) } else { Err(not_understood(self.rest)) };
            }
        }
    }

    fn number(&mut self) -> Result<Literal, String> {
        let other = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        let (text, rest) = self.rest.split_at(self.rest.find(other).unwrap_or(self.rest.len()));
        let digits = text.replace('_', "");
        let whole = match digits.get(..2) {
            Some("0o") => i64::from_str_radix(&digits[2..], 8).ok(),
            Some("0x") => i64::from_str_radix(&digits[2..], 16).ok(),
            _ => digits.parse().ok(),
        };
        let value = whole.map(Literal::Int).or_else(|| digits.parse().ok().map(Literal::Float));
        self.rest = rest;
        value.ok_or_else(|| format!("{text:?} is no number"))
    }

    fn string_or_name(&mut self) -> Result<Literal, String> {
        let letters = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let (word, rest) = self.rest.split_at(letters.unwrap_or(self.rest.len()));
        if rest.starts_with(['"', '\'']) {
            let raw = match word.to_ascii_lowercase().as_str() {
                "" | "u" => false,
                "r" => true,
                _ => return Err(not_understood(self.rest)),
            };
            self.rest = rest;
            let mut text = self.string(raw)?;
            self.space();
            // Strings side by side are one.
            let next = self.rest.trim_start_matches(['r', 'R', 'u', 'U']);
            if next.starts_with(['"', '\'']) {
                let Literal::Str(more) = self.string_or_name()? else { return Err(not_understood(self.rest)) };
                text.push_str(&more);
            }
            return Ok(Literal::Str(text));
        }
        if word.is_empty() || rest.trim_start().starts_with(['(', '[']) {
            return Err(not_understood(self.rest)); // a call
        }
        self.rest = rest;
        Ok(match word {
            "None" => Literal::None,
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            name => Literal::Name(name.to_owned()),
        })
    }

    fn string(&mut self, raw: bool) -> Result<String, String> {
        let quote = match &self.rest[..1] {
            "\"" if self.rest.starts_with("\"\"\"") => "\"\"\"",
            "'" if self.rest.starts_with("'''") => "'''",
            single => single,
        };
        let mut rest = &self.rest[quote.len()..];
        let mut text = String::new();
        loop {
            if let Some(after) = rest.strip_prefix(quote) {
                self.rest = after;
                return Ok(text);
            }
            let mut chars = rest.chars();
            match (chars.next(), raw) {
                (None, _) => return Err(format!("the string {} is not closed", self.rest)),
                (Some('\\'), true) => {
                    text.push('\\');
                    text.extend(chars.next());
                }
                (Some('\\'), false) => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('\n') => {}
                    Some(quoted @ ('\\' | '\'' | '"')) => text.push(quoted),
                    // So Python reads an escape that is none.
                    Some(other @ (' ' | '.' | '/' | '-' | '_' | '%' | 'p' | 'd' | 's' | 'w')) => {
                        text.extend(['\\', other]);
                    }
                    Some(other) => return Err(format!("write \\\\{other} or r\"…\" instead of \\{other}")),
                    None => {}
                },
                (Some(character), _) => text.push(character),
            }
            rest = chars.as_str();
        }
    }
}

fn arithmetic(a: &Literal, b: &Literal, compute: impl Fn(i64, i64) -> Option<i64>) -> Result<Literal, String> {
    match (a, b) {
        (Literal::Int(x), Literal::Int(y)) => {
            compute(*x, *y).map(Literal::Int).ok_or_else(|| "the number is too large".to_owned())
        }
        _ => Err(format!("{a} and {b} cannot be reckoned with")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_python_reads_them() {
        let str = |text: &str| Literal::Str(text.to_owned());
        let name = |text: &str| Literal::Name(text.to_owned());
        for (text, expected) in [
            ("(sys.stdout,)", Literal::List(vec![name("sys.stdout")])),
            ("(sys.stdout)", name("sys.stdout")),
            ("[sys.stderr]", Literal::List(vec![name("sys.stderr")])),
            ("sys.stderr,", Literal::List(vec![name("sys.stderr")])),
            ("()", Literal::List(vec![])),
            (r#"(r"/var/log/m\x.log", "a")"#, Literal::List(vec![str(r"/var/log/m\x.log"), str("a")])),
            ("('a' 'b', \"it's\", '''x'y''')", Literal::List(vec![str("ab"), str("it's"), str("x'y")])),
            (
                "('m.log', 'a', 10*1024*1024, 5)",
                Literal::List(vec![str("m.log"), str("a"), Literal::Int(10_485_760), Literal::Int(5)]),
            ),
            (
                "{'utc': True, 'a': -1,}",
                Literal::Dict(vec![(str("utc"), Literal::Bool(true)), (str("a"), Literal::Int(-1))]),
            ),
            (
                "(\n('localhost', 514),\nNone)",
                Literal::List(vec![Literal::List(vec![str("localhost"), Literal::Int(514)]), Literal::None]),
            ),
            ("1 + 2 * 3 - 0x10", Literal::Int(-9)),
            ("1_000", Literal::Int(1000)),
            ("1.5", Literal::Float(1.5)),
            (r"'\n\'\p'", str("\n'\\p")),
        ] {
            assert_eq!(evaluate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_would_have_to_be_run_is_refused() {
        for text in [
            "(os.path.join('a', 'b'),)",
            "__import__('os')",
            "",
            "(",
            "('a",
            "('a' 5)",
            "{'a'}",
            "f'{x}'",
            "2**70",
            "9999999999*9999999999",
            "'a' * 3",
            "((((((((((((((((((((1))))))))))))))))))))",
        ] {
            assert!(evaluate(text).is_err(), "{text} gives {:?}", evaluate(text));
        }
    }
}
