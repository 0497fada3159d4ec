//! Conditions on attributes, as OGR's SQL has them: comparisons of a column with literals, joined by AND, OR and NOT.
//!
//! They answer as GDAL does, which is not as SQL is defined: a comparison with NULL is false, and NOT makes it true; texts
//! are compared without regard to the case of ASCII letters, except by LIKE; text that a number is compared with, is
//! read as a number. Anything more (arithmetic, functions, columns compared with columns) is left to GDAL itself.

use std::borrow::Cow;
use std::cmp::Ordering;

/// An attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    /// Dates and the like: known to be there or not, no more.
    Other,
}

/// A column of the data.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A condition whose columns are known.
#[derive(Debug)]
pub(crate) struct Condition {
    expression: Expression<usize>,
}

/// Why a condition cannot be answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Unfit {
    /// It may be right, but GDAL has to say.
    Beyond,
    /// It is wrong.
    Wrong(String),
}

impl Condition {
    /// `text` for data with these columns.
    pub(crate) fn new(text: &str, columns: &[Column]) -> Result<Condition, Unfit> {
        let tokens = tokens(text).ok_or(Unfit::Beyond)?;
        let mut parser = Parser { tokens: &tokens, depth: 0 };
        let expression = parser.either().filter(|_| parser.tokens.is_empty()).ok_or(Unfit::Beyond)?;
        Ok(Condition { expression: expression.bound(columns)? })
    }

    /// Does a feature with these attributes meet it?
    pub(crate) fn holds<'a>(&self, value: impl Fn(usize) -> Value<'a>) -> bool {
        self.expression.holds(&value)
    }

    /// Whether it says anything about texts beyond ASCII, whose encoding must then be known.
    pub(crate) fn is_ascii(&self) -> bool {
        self.expression.is_ascii()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Expression<C> {
    And(Vec<Expression<C>>),
    Or(Vec<Expression<C>>),
    Not(Box<Expression<C>>),
    Compare(C, Comparison, Literal),
    In(C, Vec<Literal>),
    Between(C, Literal, Literal),
    Like {
        column: C,
        pattern: Vec<char>,
        escape: Option<char>,
        any_case: bool,
    },
    IsNull(C),
    /// A column compared with another, or with what was meant to be a text.
    Columns(C, C),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn of(symbol: &str) -> Option<Comparison> {
        Some(match symbol {
            "=" => Comparison::Equal,
            "<>" | "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    fn turned(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Integer(i64),
    Real(f64),
    Text(String),
}

impl Literal {
    /// To be compared with values of this kind.
    fn fitting(self, column: &Column) -> Result<Literal, Unfit> {
        match (column.kind, self) {
            (Kind::Number, Literal::Text(text)) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Literal::Real(number)),
                _ => Err(Unfit::Wrong(format!("{} is a column of numbers, '{text}' is none", column.name))),
            },
            (Kind::Text, Literal::Integer(_) | Literal::Real(_)) => Err(Unfit::Wrong(format!(
                "{} is a column of texts: write what it is compared with between ' and '",
                column.name
            ))),
            (Kind::Other, _) => Err(Unfit::Beyond),
            (_, fitting) => Ok(fitting),
        }
    }

    /// Nothing compares with NULL, nor numbers with texts.
    fn ordering(&self, value: &Value<'_>) -> Option<Ordering> {
        match (value, self) {
            (Value::Integer(value), Literal::Integer(literal)) => Some(value.cmp(literal)),
            (Value::Integer(value), Literal::Real(literal)) => (*value as f64).partial_cmp(literal),
            (Value::Real(value), Literal::Integer(literal)) => value.partial_cmp(&(*literal as f64)),
            (Value::Real(value), Literal::Real(literal)) => value.partial_cmp(literal),
            (Value::Text(value), Literal::Text(literal)) => {
                let (value, literal) = (value.bytes(), literal.bytes());
                Some(value.map(|b| b.to_ascii_lowercase()).cmp(literal.map(|b| b.to_ascii_lowercase())))
            }
            _ => None,
        }
    }
}

impl Expression<String> {
    fn bound(self, columns: &[Column]) -> Result<Expression<usize>, Unfit> {
        let all = |list: Vec<Expression<String>>| -> Result<Vec<_>, Unfit> {
            list.into_iter().map(|part| part.bound(columns)).collect()
        };
        Ok(match self {
            Expression::And(list) => Expression::And(all(list)?),
            Expression::Or(list) => Expression::Or(all(list)?),
            Expression::Not(part) => Expression::Not(Box::new(part.bound(columns)?)),
            Expression::Compare(column, comparison, literal) => {
                let (number, column) = find(&column, columns)?;
                Expression::Compare(number, comparison, literal.fitting(column)?)
            }
            Expression::In(column, list) => {
                let (number, column) = find(&column, columns)?;
                let list = list.into_iter().map(|literal| literal.fitting(column)).collect::<Result<_, _>>()?;
                Expression::In(number, list)
            }
            Expression::Between(column, from, to) => {
                let (number, column) = find(&column, columns)?;
                Expression::Between(number, from.fitting(column)?, to.fitting(column)?)
            }
            Expression::Like { column, pattern, escape, any_case } => {
                let (number, column) = find(&column, columns)?;
                match column.kind {
                    Kind::Text => Expression::Like { column: number, pattern, escape, any_case },
                    Kind::Number => {
                        return Err(Unfit::Wrong(format!(
                            "LIKE compares texts, {} is a column of numbers",
                            column.name
                        )));
                    }
                    Kind::Other => return Err(Unfit::Beyond),
                }
            }
            Expression::IsNull(column) => Expression::IsNull(find(&column, columns)?.0),
            Expression::Columns(left, right) => {
                find(&left, columns)?;
                return Err(match find(&right, columns) {
                    Err(Unfit::Wrong(what)) => Unfit::Wrong(format!("{what}; texts are written between ' and '")),
                    _ => Unfit::Beyond,
                });
            }
        })
    }
}

/// Names that GDAL knows in every layer.
const SPECIAL: &[&str] = &["fid", "ogr_geometry", "ogr_style", "ogr_geom_wkt", "ogr_geom_area"];

fn find<'c>(name: &str, columns: &'c [Column]) -> Result<(usize, &'c Column), Unfit> {
    if let Some(found) = columns.iter().enumerate().find(|(_, column)| column.name.eq_ignore_ascii_case(name)) {
        return Ok(found);
    }
    if SPECIAL.iter().any(|special| special.eq_ignore_ascii_case(name)) {
        return Err(Unfit::Beyond);
    }
    let mut names: Vec<&str> = columns.iter().map(|column| &*column.name).take(20).collect();
    if columns.len() > names.len() {
        names.push("…");
    }
    let names = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    Err(Unfit::Wrong(format!("the data has no column {name} ({names})")))
}

impl Expression<usize> {
    fn holds<'a>(&self, value: &impl Fn(usize) -> Value<'a>) -> bool {
        match self {
            Expression::And(list) => list.iter().all(|part| part.holds(value)),
            Expression::Or(list) => list.iter().any(|part| part.holds(value)),
            Expression::Not(part) => !part.holds(value),
            Expression::Compare(column, comparison, literal) => {
                literal.ordering(&value(*column)).is_some_and(|ordering| comparison.holds(ordering))
            }
            Expression::In(column, list) => {
                let value = value(*column);
                list.iter().any(|literal| literal.ordering(&value) == Some(Ordering::Equal))
            }
            Expression::Between(column, from, to) => {
                let value = value(*column);
                from.ordering(&value).is_some_and(Ordering::is_ge) && to.ordering(&value).is_some_and(Ordering::is_le)
            }
            Expression::Like { column, pattern, escape, any_case } => match value(*column) {
                Value::Text(text) => is_like(&text.chars().collect::<Vec<_>>(), pattern, *escape, *any_case),
                _ => false,
            },
            Expression::IsNull(column) => value(*column) == Value::Null,
            // Never bound.
            Expression::Columns(_, _) => false,
        }
    }

    fn is_ascii(&self) -> bool {
        let ascii = |literal: &Literal| !matches!(literal, Literal::Text(text) if !text.is_ascii());
        match self {
            Expression::And(list) | Expression::Or(list) => list.iter().all(Expression::is_ascii),
            Expression::Not(part) => part.is_ascii(),
            Expression::Compare(_, _, literal) => ascii(literal),
            Expression::In(_, list) => list.iter().all(ascii),
            Expression::Between(_, from, to) => ascii(from) && ascii(to),
            // A `_` stands for a character, whose bytes the encoding tells.
            Expression::Like { pattern, .. } => pattern.iter().all(|c| c.is_ascii() && *c != '_'),
            Expression::IsNull(_) | Expression::Columns(_, _) => true,
        }
    }
}

/// `%` stands for any text, `_` for one character; going back only to the last `%`, so in bounded time.
fn is_like(text: &[char], pattern: &[char], escape: Option<char>, any_case: bool) -> bool {
    let same = |a: char, b: char| a == b || (any_case && a.to_lowercase().eq(b.to_lowercase()));
    let (mut at, mut rest) = (0, 0);
    let mut retry = None;
    loop {
        match pattern.get(rest) {
            Some('%') if escape != Some('%') => {
                rest += 1;
                retry = Some((rest, at));
                continue;
            }
            Some(&wanted) => {
                let is_escaped = Some(wanted) == escape && rest + 1 < pattern.len();
                let (wanted, step) = if is_escaped { (pattern[rest + 1], 2) } else { (wanted, 1) };
                if text.get(at).is_some_and(|found| (wanted == '_' && !is_escaped) || same(wanted, *found)) {
                    at += 1;
                    rest += step;
                    continue;
                }
            }
            None if at == text.len() => return true,
            None => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                retry = Some((after, from + 1));
                (rest, at) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A word without quotes: a keyword or a column.
    Word(String),
    /// In double quotes: a column.
    Quoted(String),
    Text(String),
    Integer(i64),
    Real(f64),
    Symbol(&'static str),
}

const SYMBOLS: &[&str] = &["<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "-"];

/// `None` for what is not known here.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => {
                let (text, length) = quoted(rest, first)?;
                tokens.push(if first == '"' { Token::Quoted(text) } else { Token::Text(text) });
                length
            }
            '0'..='9' | '.' => {
                let mut before = ' ';
                let ends = |c: char| {
                    let goes_on = c.is_ascii_alphanumeric() || c == '.' || ("+-".contains(c) && "eE".contains(before));
                    before = c;
                    !goes_on
                };
                let length = rest.find(ends).unwrap_or(rest.len());
                let number = &rest[..length];
                tokens.push(match number.parse() {
                    Ok(integer) => Token::Integer(integer),
                    Err(_) => Token::Real(number.parse().ok().filter(|number: &f64| number.is_finite())?),
                });
                length
            }
            first if first.is_alphabetic() || first == '_' => {
                let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))?;
                tokens.push(Token::Symbol(symbol));
                symbol.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// The text up to the closing quote, two of which are one, and the length of it all. Backslashes are GDAL's to read.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => return None,
            _ if character != quote => text.push(character),
            _ if characters.next_if(|(_, next)| *next == quote).is_some() => text.push(quote),
            _ => return Some((text, at + 1)),
        }
    }
    None
}

/// Reads tokens from the left.
struct Parser<'t> {
    tokens: &'t [Token],
    depth: u32,
}

impl Parser<'_> {
    /// Conditions are written by hand; whatever nests deeper is not.
    const MAX_DEPTH: u32 = 50;

    fn either(&mut self) -> Option<Expression<String>> {
        let mut list = vec![self.both()?];
        while self.word("or") {
            list.push(self.both()?);
        }
        Some(if list.len() == 1 { list.remove(0) } else { Expression::Or(list) })
    }

    fn both(&mut self) -> Option<Expression<String>> {
        let mut list = vec![self.negated()?];
        while self.word("and") {
            list.push(self.negated()?);
        }
        Some(if list.len() == 1 { list.remove(0) } else { Expression::And(list) })
    }

    fn negated(&mut self) -> Option<Expression<String>> {
        self.depth += 1;
        if self.depth > Self::MAX_DEPTH {
            return None;
        }
        let found = if self.word("not") {
            Expression::Not(Box::new(self.negated()?))
        } else if self.symbol("(") {
            let inner = self.either()?;
            self.symbol(")").then_some(inner)?
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Some(found)
    }

    fn comparison(&mut self) -> Option<Expression<String>> {
        if let Some(literal) = self.literal() {
            let comparison = self.comparison_symbol()?;
            return Some(Expression::Compare(self.column()?, comparison.turned(), literal));
        }
        let column = self.column()?;
        if self.word("is") {
            let negated = self.word("not");
            return self.word("null").then_some(negate_if(negated, Expression::IsNull(column)));
        }
        if let Some(comparison) = self.comparison_symbol() {
            if let Some(Token::Quoted(name)) = self.tokens.first() {
                self.tokens = &self.tokens[1..];
                return Some(Expression::Columns(column, name.clone()));
            }
            return Some(Expression::Compare(column, comparison, self.literal()?));
        }
        let negated = self.word("not");
        let any_case = self.peek_word("ilike");
        let found = if self.word("in") {
            self.symbol("(").then_some(())?;
            let mut list = vec![self.literal()?];
            while self.symbol(",") {
                list.push(self.literal()?);
            }
            self.symbol(")").then_some(Expression::In(column, list))?
        } else if self.word("between") {
            let from = self.literal()?;
            self.word("and").then_some(())?;
            Expression::Between(column, from, self.literal()?)
        } else if self.word("like") || self.word("ilike") {
            let Some(Literal::Text(pattern)) = self.literal() else { return None };
            let escape = if self.word("escape") {
                let Some(Literal::Text(text)) = self.literal() else { return None };
                let mut characters = text.chars();
                let escape = characters.next()?;
                characters.next().is_none().then_some(())?;
                Some(escape)
            } else {
                None
            };
            Expression::Like { column, pattern: pattern.chars().collect(), escape, any_case }
        } else {
            return None;
        };
        Some(negate_if(negated, found))
    }

    fn column(&mut self) -> Option<String> {
        const KEYWORDS: &[&str] =
            &["and", "or", "not", "in", "like", "ilike", "between", "is", "null", "escape", "cast", "true", "false"];
        match self.tokens.first()? {
            Token::Quoted(name) => {
                self.tokens = &self.tokens[1..];
                Some(name.clone())
            }
            Token::Word(name) if !KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(name)) => {
                self.tokens = &self.tokens[1..];
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn literal(&mut self) -> Option<Literal> {
        let (literal, used) = match self.tokens {
            [Token::Text(text), ..] => (Literal::Text(text.clone()), 1),
            [Token::Integer(number), ..] => (Literal::Integer(*number), 1),
            [Token::Real(number), ..] => (Literal::Real(*number), 1),
            [Token::Symbol("-"), Token::Integer(number), ..] => (Literal::Integer(-number), 2),
            [Token::Symbol("-"), Token::Real(number), ..] => (Literal::Real(-number), 2),
            _ => return None,
        };
        self.tokens = &self.tokens[used..];
        Some(literal)
    }

    fn comparison_symbol(&mut self) -> Option<Comparison> {
        let Token::Symbol(symbol) = self.tokens.first()? else { return None };
        let comparison = Comparison::of(symbol)?;
        self.tokens = &self.tokens[1..];
        Some(comparison)
    }

    fn peek_word(&self, wanted: &str) -> bool {
        matches!(self.tokens.first(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted))
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = self.peek_word(wanted);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn symbol(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Symbol(symbol)) if *symbol == wanted);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }
}

fn negate_if<C>(negated: bool, expression: Expression<C>) -> Expression<C> {
    if negated { Expression::Not(Box::new(expression)) } else { expression }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        vec![column("k", Kind::Text), column("n", Kind::Number), column("when", Kind::Other)]
    }

    const ROWS: &[(Option<&str>, Option<i64>)] =
        &[(Some("a"), Some(1)), (None, None), (Some("a_b%c"), Some(-3)), (Some("12"), Some(12))];

    /// The rows that meet the condition.
    fn rows(condition: &str) -> Result<Vec<usize>, Unfit> {
        let condition = Condition::new(condition, &columns())?;
        let holds = |(k, n): &(Option<&'static str>, Option<i64>)| {
            condition.holds(|column| match column {
                0 => k.map_or(Value::Null, |k| Value::Text(k.into())),
                1 => n.map_or(Value::Null, Value::Integer),
                _ => Value::Null,
            })
        };
        Ok((0..ROWS.len()).filter(|row| holds(&ROWS[*row])).collect())
    }

    #[test]
    fn conditions_answer_as_those_of_gdal() {
        // What ogr2ogr 3.6 answered for the same rows.
        for (condition, answer) in [
            ("NOT k = 'a'", &[1, 2, 3][..]),
            ("k <> 'a'", &[2, 3]),
            ("NOT k = 'a' OR n = 1", &[0, 1, 2, 3]),
            ("k NOT IN ('a')", &[1, 2, 3]),
            ("n BETWEEN -3 AND 1", &[0, 2]),
            ("n NOT BETWEEN 0 AND 5", &[1, 2, 3]),
            ("n = '12'", &[3]),
            ("12 = n", &[3]),
            ("1<n", &[3]),
            ("k > 'a'", &[2]),
            ("k >= 'A'", &[0, 2]),
            ("k LIKE 'A%'", &[]),
            ("k ILIKE 'A%'", &[0, 2]),
            ("k LIKE '_2'", &[3]),
            ("k LIKE 'a#_%' ESCAPE '#'", &[2]),
            ("k NOT LIKE 'a%'", &[1, 3]),
            ("n IS NOT NULL", &[0, 2, 3]),
            ("NOT n IS NULL", &[0, 2, 3]),
            ("n is null", &[1]),
            ("\"k\" = 'A'", &[0]),
            ("K = 'a'", &[0]),
            ("n = -3", &[2]),
            ("n != 1", &[2, 3]),
            ("n = 1e0", &[0]),
            ("n IN (1, 12)", &[0, 3]),
            ("n IN ('1')", &[0]),
            ("(n > 0) and not (n>5)", &[0]),
            ("NOT (n > 5 AND k='zz')", &[0, 1, 2, 3]),
            ("k ='it''s'", &[]),
            ("when is null", &[0, 1, 2, 3]),
        ] {
            assert_eq!(rows(condition).unwrap(), answer, "{condition}");
        }
    }

    #[test]
    fn what_only_gdal_can_answer_is_left_to_it() {
        for condition in [
            "k IN ('a', NULL)",
            "n + 1 = 2",
            "n%2=1",
            "1=1",
            "n",
            "NOT n",
            "k = 'a' OR NULL",
            "n=1 or",
            "k == 'a'",
            "fid = 1",
            "OGR_GEOM_AREA > 5",
            "when > '2020/01/01'",
            "k = n",
            "k LIKE 'a\\_%' ESCAPE '\\'",
            "k = 'a",
            "CAST(n AS text) = '1'",
            "",
            "(",
            "n = 1)",
            "n = .",
            "k LIKE 'a' ESCAPE 'ab'",
            "n = 99999999999999999999999x",
            &"(".repeat(100_000),
            &"not ".repeat(100_000),
        ] {
            assert_eq!(rows(condition), Err(Unfit::Beyond), "{:.80}", condition);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (condition, part) in [
            ("foo = 1", "no column foo (it has k, n, when)"),
            ("k = \"a\"", "no column a"),
            ("k = 12", "k is a column of texts"),
            ("k in (12)", "k is a column of texts"),
            ("n LIKE '1%'", "n is a column of numbers"),
            ("n = 'one'", "'one' is none"),
        ] {
            match rows(condition) {
                Err(Unfit::Wrong(what)) => assert!(what.contains(part), "{condition}: {what}"),
                other => panic!("{condition}: {other:?}"),
            }
        }
    }

    #[test]
    fn patterns_with_many_wildcards_are_answered_in_bounded_time() {
        let text: Vec<char> = "a".repeat(5_000).chars().collect();
        let pattern: Vec<char> = format!("{}b", "%a".repeat(500)).chars().collect();
        assert!(!is_like(&text, &pattern, None, false));
        assert!(is_like(&text, &pattern[..1_000], None, false));
    }

    proptest! {
        #[test]
        fn texts_without_wildcards_are_like_themselves_only(a in "[ab#]{0,4}", b in "[ab#]{0,4}") {
            let (text, pattern): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(is_like(&text, &pattern, None, false), a == b);
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC{0,40}") {
            let _ = rows(&text);
        }
    }
}
