//! What machines must agree on before they share work: that they mean the same tiles.

use std::fmt::Write as _;

use mapproxy_grid::{Coverage, MetaGrid};
use sha2::{Digest as _, Sha256};

use crate::{Refresh, SeedTask};

/// A task as all machines have to see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Of the task, the cache and the grid.
    pub(super) names: [String; 3],
    /// Everything that decides what a walk finds, one fact a line, the name first.
    facts: String,
    /// That of this machine; the first one's counts.
    pub(super) refresh: Refresh,
}

/// Changes with the order or the extent of walks: machines with different programs must not mix.
const WALK: u32 = 1;

impl Plan {
    pub(super) fn of(task: &SeedTask) -> Plan {
        let meta = task.manager.work_grid();
        Plan::new(
            [&task.name, task.manager.name()],
            &meta,
            &task.levels,
            task.coverage.as_ref(),
            task.refresh,
            task.skip_geoms_for_last_levels,
        )
    }

    pub(super) fn new(
        names: [&str; 2],
        meta: &MetaGrid,
        levels: &[u8],
        coverage: Option<&Coverage>,
        refresh: Refresh,
        unchecked: u8,
    ) -> Plan {
        let grid = meta.grid();
        let [task, cache] = names;
        let names = [task, cache, grid.name()].map(str::to_owned);
        let name = format!("seed {task}, cache {cache}, grid {}", grid.name());
        let mut facts = format!("{name}\nwalk {WALK}\n");
        let mut fact = |what: &str, is: &dyn std::fmt::Debug| {
            writeln!(facts, "{what} {is:?}").expect("a string takes all text");
        };
        fact("srs", &grid.srs().to_string());
        fact("box", &grid.bbox().to_array());
        fact("origin", &grid.origin());
        fact("tile size", &(grid.tile_size().width, grid.tile_size().height));
        fact("meta size", &meta.meta_size());
        fact("levels", &levels);
        let resolutions: Vec<f64> =
            levels.iter().filter_map(|&level| grid.level(level)).map(|level| level.resolution).collect();
        fact("resolutions", &digest(&format!("{resolutions:?}")));
        fact("coverage", &coverage.map(coverage_digest));
        fact("levels without a look at the coverage", &unchecked);
        fact("refreshes", &(refresh != Refresh::Missing));
        Plan { names, facts, refresh }
    }
}

/// Names a queue after its tasks: machines with the same ones meet there.
pub(super) fn name_of(plans: &[Plan]) -> String {
    let names: Vec<String> = plans.iter().map(|plan| plan.names.join("\n")).collect();
    digest(&names.join("\n\n"))
}

pub(super) fn text_of(plans: &[Plan]) -> String {
    plans.iter().map(|plan| plan.facts.as_str()).collect::<Vec<_>>().join("\n\n")
}

/// In which fact the plans differ, for people.
pub(super) fn difference(there: &str, here: &str) -> String {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (there.split("\n\n").collect(), here.split("\n\n").collect());
    if theirs.len() != ours.len() {
        return format!("it has {} tasks, this one {}", theirs.len(), ours.len());
    }
    let name = |facts: &str| facts.lines().next().unwrap_or_default().to_owned();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        let task = name(ours);
        if name(theirs) != name(ours) {
            return format!("it has {}, this one {}", name(theirs), name(ours));
        }
        let differs = theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
        if let Some((theirs, ours)) = differs {
            return format!("{task}: there {theirs}, here {ours}");
        }
    }
    "their tasks differ".to_owned()
}

/// The area itself, not how it is written: to a thousandth of a millionth of its numbers.
fn coverage_digest(coverage: &Coverage) -> String {
    let extent = coverage.extent();
    let mut text = format!("{} {}", coverage.srs(), coverage.clip());
    let bbox = extent.bbox_in(coverage.srs());
    let polygons = bbox.as_ref().ok().and_then(|bbox| coverage.polygons_in(bbox, coverage.srs()).ok());
    for (x, y) in polygons.iter().flatten().flatten().flatten() {
        write!(text, " {x:.9e},{y:.9e}").expect("a string takes all text");
    }
    digest(&text)
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}
