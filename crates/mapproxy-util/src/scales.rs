//! `mapproxy-util scales`: resolutions of scales, and the other way round.

use std::io::BufRead;
use std::process::ExitCode;

use clap::ValueEnum;
use mapproxy_grid::METERS_PER_DEGREE;

use crate::{Failure, MISTAKEN, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:

  Resolutions of two scales, in metres per pixel:
    mapproxy-util scales 1000000 500000
  Eight levels, each half of the one before, ready to be put into a grid:
    mapproxy-util scales -l 8 --as-res-config 1000000
  The scales 1:1000, 1:500, 1:250, 1:100 … 1:10, for a grid in degrees:
    mapproxy-util scales --repeat -l 7 --unit d 1000 500 250
  The scale of a resolution:
    mapproxy-util scales --res-to-scale 280
  Scales of a file, one a line:
    mapproxy-util scales - < scales.txt")]
pub(crate) struct Arguments {
    /// How many resolutions or scales are calculated of the last value: each is half of the one before. With --repeat, how
    /// many there are in all
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, allow_negative_numbers = true)]
    levels: i64,
    /// Pixels of an inch, or OGC for pixels of 0.28 mm
    #[arg(short, long, value_name = "DPI", default_value = "OGC", value_parser = Dpi::parse)]
    dpi: Dpi,
    /// Unit of the resolutions: metres or degrees
    #[arg(long, value_enum, default_value_t = Unit::M)]
    unit: Unit,
    /// Calculate values first: `360/256`, `2**10 * (1 + 0.5)`
    #[arg(long)]
    eval: bool,
    /// Further ones are all values again, a tenth of them, and so on
    #[arg(long)]
    repeat: bool,
    /// The values are resolutions, and their scales are wanted
    #[arg(long)]
    res_to_scale: bool,
    /// Write them as `res` of a grid
    #[arg(long)]
    as_res_config: bool,
    /// Scales or resolutions; `-` reads them from the terminal or a file up to an empty line, one a line
    #[arg(value_name = "VALUE")]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Unit {
    /// Metres
    M,
    /// Degrees
    D,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Dpi(f64);

impl Dpi {
    fn parse(text: &str) -> Result<Dpi, String> {
        if text.eq_ignore_ascii_case("ogc") {
            return Ok(Dpi(2.54 / (0.000_28 * 100.0)));
        }
        let number = text.parse().ok().filter(|dpi: &f64| dpi.is_finite() && *dpi > 0.0);
        number.map(Dpi).ok_or_else(|| format!("'{text}' is no number above 0, nor OGC"))
    }
}

/// More lines than anybody reads.
const MAX_VALUES: usize = 10_000;

/// Writes one line for each.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let texts = match arguments.values.as_slice() {
        [] => return Err(Failure::with_usage("ERROR: no scale or resolution given")),
        [dash] if dash == "-" => from_stdin(std::io::stdin().lock())?,
        values => values.iter().flat_map(|text| text.split(',')).map(|text| text.trim().to_owned()).collect(),
    };
    let parse = if arguments.eval { evaluate } else { number };
    let mut values = Vec::with_capacity(texts.len());
    for text in texts.iter().filter(|text| !text.is_empty()) {
        values.push(parse(text).map_err(|reason| Failure::new(MISTAKEN, format_args!("ERROR: {reason}")))?);
    }
    let wanted = usize::try_from(arguments.levels).unwrap_or(0);
    if wanted > MAX_VALUES {
        return Err(Failure::new(MISTAKEN, format_args!("ERROR: more than {MAX_VALUES} levels are no levels")));
    }
    let values = fill(values, wanted, arguments.repeat);
    if arguments.as_res_config {
        println(format_args!("    res: ["));
        println(format_args!("         #  res            level     scale @{:.1} DPI", arguments.dpi.0));
    }
    for (index, value) in values.iter().enumerate() {
        let result = arguments.convert(*value);
        if arguments.as_res_config {
            println(format_args!("    {result:20.10}, # {index:2} {value:20.8}"));
        } else {
            println(format_args!("{result:20.10} # {index:2} {value:20.8}"));
        }
    }
    if arguments.as_res_config {
        println(format_args!("    ]"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn convert(&self, value: f64) -> f64 {
        let metres_per_pixel = 2.54 / (self.dpi.0 * 100.0);
        let unit = match self.unit {
            Unit::M => 1.0,
            Unit::D => METERS_PER_DEGREE,
        };
        if self.res_to_scale { value * unit / metres_per_pixel } else { value * metres_per_pixel / unit }
    }
}

/// The largest first. By repetition there will be as many as `wanted`; the last one is halved one time less than that.
fn fill(mut values: Vec<f64>, wanted: usize, repeat: bool) -> Vec<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    let given = values.len();
    let wanted = if repeat { wanted } else { given + wanted.saturating_sub(1) };
    while values.len() < wanted {
        let Some(next) = (if repeat {
            values.get(values.len() - given).map(|value| value / 10.0)
        } else {
            values.last().map(|value| value / 2.0)
        }) else {
            break;
        };
        values.push(next);
    }
    values
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| format!("'{text}' is no number; calculations need --eval"))
}

/// One value a line, up to an empty one; what follows `#` is a comment.
fn from_stdin(input: impl BufRead) -> Result<Vec<String>, Failure> {
    let mut values = Vec::new();
    for line in input.lines() {
        let line = line.map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: standard input: {error}")))?;
        if line.trim().is_empty() || values.len() == MAX_VALUES {
            break;
        }
        let value = line.split('#').next().unwrap_or_default().trim();
        if !value.is_empty() {
            values.push(value.to_owned());
        }
    }
    Ok(values)
}

/// Numbers, `+ - * / // % **` and brackets, as Python counts.
fn evaluate(text: &str) -> Result<f64, String> {
    let mut expression = Expression { rest: text, depth: 0 };
    let value = expression.sum().filter(|_| expression.rest.trim().is_empty());
    let value = value.filter(|value| value.is_finite());
    value.ok_or_else(|| format!("'{text}' cannot be calculated: use numbers, + - * / // % ** and brackets"))
}

struct Expression<'t> {
    rest: &'t str,
    depth: u32,
}

/// Nobody nests deeper by hand.
const MAX_DEPTH: u32 = 50;

impl Expression<'_> {
    fn take(&mut self, symbol: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(symbol) else { return false };
        self.rest = rest;
        true
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value += self.product()?;
            } else if self.take("-") {
                value -= self.product()?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.signed()?;
        loop {
            if self.take("//") {
                value = (value / self.signed()?).floor();
            } else if self.take("/") {
                value /= self.signed()?;
            } else if self.take("%") {
                let divisor = self.signed()?;
                value -= (value / divisor).floor() * divisor;
            } else if self.take("*") {
                value *= self.signed()?;
            } else {
                return Some(value);
            }
        }
    }

    fn signed(&mut self) -> Option<f64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = if self.take("-") {
            self.signed().map(|value| -value)
        } else if self.take("+") {
            self.signed()
        } else {
            self.power()
        };
        self.depth -= 1;
        value
    }

    fn power(&mut self) -> Option<f64> {
        let base = self.atom()?;
        // `2**-1`, and `2**3**2` is 2 to the 9th.
        if self.take("**") { Some(base.powf(self.signed()?)) } else { Some(base) }
    }

    fn atom(&mut self) -> Option<f64> {
        if self.take("(") {
            let value = self.sum()?;
            return self.take(")").then_some(value);
        }
        let mut end = 0;
        let mut before = ' ';
        for c in self.rest.chars() {
            let in_number = c.is_ascii_digit() || c == '.' || matches!(c, 'e' | 'E');
            let is_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
            if !in_number && !is_sign {
                break;
            }
            end += c.len_utf8();
            before = c;
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_levels_are_halves_or_tenths() {
        assert_eq!(fill(vec![8.0], 3, false), [8.0, 4.0, 2.0]);
        assert_eq!(fill(vec![4.0, 8.0], 3, false), [8.0, 4.0, 2.0, 1.0]);
        assert_eq!(fill(vec![500.0, 1000.0], 5, true), [1000.0, 500.0, 100.0, 50.0, 10.0]);
        assert_eq!(fill(vec![1.0, 2.0], 0, false), [2.0, 1.0]);
        assert!(fill(Vec::new(), 5, true).is_empty() && fill(Vec::new(), 5, false).is_empty());
    }

    #[test]
    fn expressions_are_calculated_as_python_does() {
        for (text, value) in [
            ("360/256", 1.40625),
            ("2**10", 1024.0),
            ("2**3**2", 512.0),
            ("-2**2", -4.0),
            ("2**-1", 0.5),
            ("1 + 2 * (3 - 1)", 5.0),
            ("7 // 2", 3.0),
            ("-7 % 3", 2.0),
            ("1e3*5", 5000.0),
            ("1.5e-3 * 2", 0.003),
        ] {
            assert_eq!(evaluate(text), Ok(value), "{text}");
        }
        let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
        for wrong in ["", "a", "1 +", "(1", "1)", "1/0", "2 3", "__import__('os')", "1e", deep.as_str()] {
            assert!(evaluate(wrong).is_err());
        }
    }

    #[test]
    fn values_are_read_up_to_an_empty_line() {
        let values = from_stdin(&b"1000 # first\n# none\n500\n\n250\n"[..]).map_err(|failure| failure.message);
        assert_eq!(values.unwrap(), ["1000", "500"]);
    }
}
