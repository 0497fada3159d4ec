//! `mapproxy-util grids`: what grids a configuration has, and how many tiles they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mapproxy_config::checked::{CoverageShape, Name};
use mapproxy_config::yaml::{Mapping, Node, Value};
use mapproxy_config::{Config, load_coverages, read_written};
use mapproxy_grid::{Coverage, Origin, TileGrid};

use crate::yaml_out::float;
use crate::{FAILED, Failure, MISTAKEN, eprintln, println};

#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Without --grid or --all, only grids that caches use are shown. What is marked by * is a default.

Examples:

  All grids that are in use:
    mapproxy-util grids -f mapproxy.yaml
  How many tiles a country has on each level of a grid:
    mapproxy-util grids -f mapproxy.yaml -g webmercator -s seed.yaml -c germany"
)]
pub(crate) struct Arguments {
    /// The mapproxy.yaml
    #[arg(short = 'f', long = "mapproxy-conf", value_name = "CONF")]
    configuration: Option<PathBuf>,
    /// Only this grid; upper and lower case are the same
    #[arg(short, long, value_name = "NAME")]
    grid: Option<String>,
    /// Grids that no cache uses, too
    #[arg(long)]
    all: bool,
    /// Only the names
    #[arg(short, long)]
    list: bool,
    /// The seed.yaml with the coverage of --coverage-name
    #[arg(short, long, value_name = "SEED_CONF")]
    seed_conf: Option<PathBuf>,
    /// About how many tiles lie in this coverage
    #[arg(short, long, value_name = "NAME")]
    coverage_name: Option<String>,
    /// The mapproxy.yaml
    #[arg(value_name = "CONF", conflicts_with = "configuration")]
    path: Option<PathBuf>,
}

/// Status 1 for names that nothing has, 2 for a configuration that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = arguments.configuration.as_ref().or(arguments.path.as_ref());
    let path = path.ok_or_else(Failure::without_configuration)?;
    let wanted = match (&arguments.seed_conf, &arguments.coverage_name) {
        (None, None) => None,
        (Some(seeds), Some(name)) => Some((seeds, name)),
        _ => return Err(Failure::new(FAILED, "--coverage-name and --seed-conf can only be used together")),
    };
    let config = load(path)?;
    let (grids, diagnostics) = mapproxy_core::grids(&config);
    for diagnostic in diagnostics.iter() {
        eprintln(format_args!("{diagnostic}"));
    }
    let coverage = wanted.map(|(seeds, name)| Wanted::read(seeds, name, &config)).transpose()?;
    let used: BTreeSet<&Name> =
        config.caches.values().flat_map(|cache| &cache.grids).map(|place| &place.grid).collect();
    let grids: BTreeMap<Name, Arc<TileGrid>> = match &arguments.grid {
        Some(name) => grids.into_iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).collect(),
        None => grids.into_iter().filter(|(key, _)| arguments.all || used.contains(key)).collect(),
    };
    if let (Some(name), true) = (&arguments.grid, grids.is_empty()) {
        return Err(Failure::new(FAILED, format_args!("grid not found: {name}")));
    }
    if arguments.list {
        for key in grids.keys() {
            println(format_args!("{key}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let written = read_written(path);
    let written = written.as_ref().and_then(|root| root.as_mapping()?.get("grids")?.as_mapping());
    let texts: Vec<String> = grids
        .iter()
        .map(|(key, grid)| {
            let shown = Shown { key, grid, written, config: &config };
            shown.text(coverage.as_ref())
        })
        .collect::<Result<_, _>>()?;
    println(format_args!("{}", texts.join("\n").trim_end_matches('\n')));
    Ok(ExitCode::SUCCESS)
}

/// A configuration without errors; what is wrong is told otherwise.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(Failure::new(MISTAKEN, format_args!("ERROR: {}: {error}", path.display())));
    }
    let loaded = mapproxy_config::load(path);
    for diagnostic in loaded.diagnostics.errors() {
        eprintln(format_args!("{diagnostic}"));
    }
    loaded.config.ok_or_else(|| Failure::new(MISTAKEN, "ERROR: invalid configuration (see above)"))
}

/// The coverage that was asked for.
struct Wanted<'n> {
    name: &'n str,
    coverage: Coverage,
    is_box: bool,
}

impl<'n> Wanted<'n> {
    fn read(seeds: &Path, name: &'n str, config: &Config) -> Result<Wanted<'n>, Failure> {
        let loaded = load_coverages(seeds, config);
        let Some(found) = loaded.coverages.get(name) else {
            for diagnostic in loaded.diagnostics.errors() {
                eprintln(format_args!("{diagnostic}"));
            }
            let known: Vec<&str> = loaded.coverages.keys().map(|name| &**name).collect();
            let message = format!("coverage {name} not found. available coverages: {}", known.join(","));
            return Err(Failure::new(FAILED, message));
        };
        let (coverage, diagnostics) = mapproxy_core::coverage(config, found);
        for diagnostic in diagnostics.iter() {
            eprintln(format_args!("{diagnostic}"));
        }
        let coverage =
            coverage.ok_or_else(|| Failure::new(FAILED, format_args!("coverage {name} cannot be read (see above)")))?;
        Ok(Wanted { name, coverage, is_box: matches!(found.shape, CoverageShape::Bbox { .. }) })
    }

    /// How much of the grid's box it covers: 0 to 1.
    fn share(&self, grid: &TileGrid) -> Result<f64, Failure> {
        let own = grid.bbox();
        let whole = own.width() * own.height();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(FAILED, format_args!("coverage {} in {}: {error}", self.name, grid.srs().code()))
        };
        if self.is_box {
            let extent = self.coverage.extent().bbox_in(grid.srs()).map_err(|error| failed(&error))?;
            return Ok(extent.intersection(&own).map_or(0.0, |common| common.width() * common.height() / whole));
        }
        let moved = self.coverage.in_srs(grid.srs()).map_err(|error| failed(&error))?;
        let bounds = Coverage::from_bbox(own, grid.srs().clone());
        // Nothing in common is no area.
        let Ok(common) = Coverage::intersection(&[moved, bounds]) else { return Ok(0.0) };
        let polygons = common.polygons_in(&own, grid.srs()).map_err(|error| failed(&error))?;
        let area: f64 = polygons
            .iter()
            .map(|rings| {
                let mut areas = rings.iter().map(|ring| ring_area(ring));
                areas.next().unwrap_or_default() - areas.sum::<f64>()
            })
            .sum();
        Ok((area / whole).clamp(0.0, 1.0))
    }
}

fn ring_area(ring: &[(f64, f64)]) -> f64 {
    // Near the first point, so that large coordinates take no digits.
    let Some(&(x0, y0)) = ring.first() else { return 0.0 };
    let next = ring.iter().cycle().skip(1);
    let twice: f64 = ring.iter().zip(next).map(|(a, b)| (a.0 - x0) * (b.1 - y0) - (b.0 - x0) * (a.1 - y0)).sum();
    twice.abs() / 2.0
}

struct Shown<'g> {
    key: &'g Name,
    grid: &'g TileGrid,
    /// All grids as written.
    written: Option<&'g Mapping>,
    config: &'g Config,
}

impl Shown<'_> {
    fn text(&self, coverage: Option<&Wanted<'_>>) -> Result<String, Failure> {
        let mut text = format!("{}:\n    Configuration:\n", self.grid.name());
        for (key, value) in self.options() {
            text.push_str(&format!("        {key}: {value}\n"));
        }
        let share = coverage.map(|coverage| coverage.share(self.grid)).transpose()?;
        if let (Some(share), Some(coverage)) = (share, coverage) {
            let percent = share * 100.0;
            text.push_str(&format!("    Coverage: {} covers approx. {percent:.4}% of the grid BBOX\n", coverage.name));
        }
        text.push_str("    Levels: Resolutions, # x * y = total tiles");
        text.push_str(if share.is_some() { " (approx. tiles within coverage)\n" } else { "\n" });
        let resolutions: Vec<String> =
            self.grid.levels().iter().map(|level| format!("{},", self.resolution(level.resolution))).collect();
        let longest = resolutions.iter().map(String::len).max().unwrap_or_default();
        for (index, (level, resolution)) in self.grid.levels().iter().zip(&resolutions).enumerate() {
            let total = f64::from(level.columns) * f64::from(level.rows);
            let within = share.map(|share| format!(" ({})", count((total * share).floor()))).unwrap_or_default();
            text.push_str(&format!(
                "        {index:02}:  {resolution:<longest$} # {:>6} * {:<6} = {:>10}{within}\n",
                level.columns,
                level.rows,
                count(total)
            ));
        }
        Ok(text)
    }

    /// As written, and the defaults of what everybody wants to know.
    fn options(&self) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        match self.own(self.key) {
            Some(written) => {
                for (key, value) in written.iter().filter(|(key, _)| &*key.text != "name") {
                    options.insert(key.text.to_string(), python(value));
                }
            }
            None => {
                let corner = if self.grid.origin() == Origin::UpperLeft { "nw" } else { "sw" };
                options.insert("origin".to_owned(), format!("'{corner}'"));
                options.insert("srs".to_owned(), format!("'{}'", self.grid.srs().code()));
            }
        }
        let mut default = |key: &str, value: String| {
            if !options.contains_key(key) {
                options.insert(format!("{key}*"), value);
            }
        };
        let bbox: Vec<String> = self.grid.bbox().to_array().iter().map(|number| float(*number)).collect();
        default("bbox", format!("[{}]", bbox.join(", ")));
        default("origin", (if self.grid.origin() == Origin::UpperLeft { "'ul'" } else { "'ll'" }).to_owned());
        default("tile_size", format!("[{}, {}]", self.grid.tile_size().width, self.grid.tile_size().height));
        options
    }

    fn own(&self, key: &str) -> Option<&Mapping> {
        self.written?.get(key)?.as_mapping()
    }

    /// A number as it was written, which may be a whole one.
    fn resolution(&self, resolution: f64) -> String {
        let mut key: &str = self.key;
        // Resolutions come from the grid itself, from its bases, or from one it is aligned with.
        for _ in 0..self.config.grids.len() {
            let Some(grid) = self.own(key) else { break };
            let listed = grid.get("res").and_then(Node::as_sequence).unwrap_or_default();
            let is_whole = |node: &Node| matches!(node.value, Value::Int(whole) if whole as f64 == resolution);
            if listed.iter().any(is_whole) || grid.get("min_res").is_some_and(is_whole) {
                return (resolution as i64).to_string();
            }
            match grid.get("align_resolutions_with").or_else(|| grid.get("base")).and_then(Node::as_str) {
                Some(next) => key = next,
                None => break,
            }
        }
        float(resolution)
    }
}

/// A number of tiles, in millions where it is that large.
fn count(number: f64) -> String {
    if number > 1e6 { format!("{:7.2}M", number / 1e6) } else { format!("{number:.0}") }
}

/// As Python shows a value.
fn python(node: &Node) -> String {
    match &node.value {
        Value::Null => "None".to_owned(),
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
            if text.contains('\'') && !text.contains('"') {
                format!("\"{text}\"")
            } else {
                format!("'{}'", text.replace('\'', "\\'"))
            }
        }
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(mapping) => {
            let entries: Vec<String> =
                mapping.iter().map(|(key, value)| format!("'{}': {}", key.text, python(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => node.python_text().map(|text| text.into_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        assert_eq!(count(6.0), "6");
        assert_eq!(count(1_048_576.0), "   1.05M");
        assert_eq!(count(274_877_906_944.0), "274877.91M");
    }

    #[test]
    fn the_area_of_a_ring_is_its_own_whatever_its_direction() {
        let ring = [(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0), (0.0, 0.0)];
        assert_eq!(ring_area(&ring), 12.0);
        assert_eq!(ring_area(&ring.iter().rev().map(|(x, y)| (x + 1e9, y - 1e9)).collect::<Vec<_>>()), 12.0);
        assert_eq!(ring_area(&[]), 0.0);
    }
}
