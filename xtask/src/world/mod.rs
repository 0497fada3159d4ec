//! `cargo xtask world`: draws examples/world/world.png, the map that is served when no configuration is given.
//!
//! The drawing is deterministic, so that the committed picture can be checked against the committed figures (see the
//! tests). `--import` renews the figures from a TopoJSON file of the npm package `world-atlas`, which is Natural Earth's
//! 1:50m "Admin 0 – Countries" (public domain).

mod draw;
mod figures;
mod palette;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use figures::World;

const FIGURES: &str = "xtask/data/world.txt";
const PICTURE: &str = "examples/world/world.png";
const WORLD_FILE: &str = "examples/world/world.pgw";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// First renew xtask/data/world.txt from this TopoJSON file (countries-50m.json of world-atlas)
    #[arg(long, value_name = "TOPOJSON")]
    import: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = crate::workspace::root();
    if let Some(topojson) = &arguments.import {
        let text = fs::read_to_string(topojson).with_context(|| format!("cannot read {}", topojson.display()))?;
        let world = figures::import(&text).with_context(|| format!("cannot import {}", topojson.display()))?;
        fs::write(root.join(FIGURES), world.to_text()).with_context(|| format!("cannot write {FIGURES}"))?;
    }
    let picture = draw::world(&read_figures(&root)?);
    let bytes = palette::encode(&picture)?;
    fs::write(root.join(PICTURE), &bytes).with_context(|| format!("cannot write {PICTURE}"))?;
    fs::write(root.join(WORLD_FILE), draw::world_file()).with_context(|| format!("cannot write {WORLD_FILE}"))?;
    println!("{PICTURE}: {}x{}, {} bytes", picture.width, picture.height, bytes.len());
    Ok(())
}

fn read_figures(root: &Path) -> Result<World> {
    let text = fs::read_to_string(root.join(FIGURES)).with_context(|| format!("cannot read {FIGURES}"))?;
    World::from_text(&text).with_context(|| format!("cannot understand {FIGURES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_picture_is_the_one_drawn_from_the_committed_figures() {
        let root = crate::workspace::root();
        let expected = palette::quantise(&draw::world(&read_figures(&root).unwrap()));
        let committed = fs::read(root.join(PICTURE)).unwrap();
        assert!(committed.len() < 300_000, "the picture is part of the program: keep it small ({})", committed.len());
        let decoder = png::Decoder::new(std::io::Cursor::new(&committed));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (2048, 1024, png::ColorType::Indexed));
        let colours = reader.info().palette.as_deref().unwrap();
        let same = pixels
            .iter()
            .zip(&expected.indices)
            .filter(|&(&a, &b)| colours[usize::from(a) * 3..][..3] == expected.colours[usize::from(b)][..])
            .count();
        assert_eq!(same, 2048 * 1024, "run `cargo xtask world` and commit the picture");
    }

    #[test]
    fn figures_survive_being_written_and_read() {
        let world = read_figures(&crate::workspace::root()).unwrap();
        assert_eq!(World::from_text(&world.to_text()).unwrap(), world);
    }
}
