//! `type: mapnik`: maps drawn by Mapnik.
//!
//! Mapnik is C++ behind Python's module `mapnik`. It runs in processes of its own, which read questions and answer with
//! pixels (`worker.py`): what goes wrong there ends one of them and not us.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mapproxy_client::{WorkerError, Workers, program_in_path};
use mapproxy_grid::{Coverage, ResolutionRange, Srs, TileGrid};
use mapproxy_image::{ImageOptions, MapImage, PixelMode, Pixels, codec};
use mapproxy_map::{MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::TransparentColor;

/// The program of the workers.
const WORKER: &str = include_str!("worker.py");

/// What stands for a level in the name of a map file.
const LEVEL: &str = "%(webmercator_level)s";

/// How long Python may take to import the module.
const IMPORT_TIME: Duration = Duration::from_secs(30);

/// A Python that has the module `mapnik`, to draw up to a number of maps at once.
#[derive(Debug)]
pub struct Mapnik {
    workers: Workers,
}

/// What a [`MapnikSource`] is made of.
#[derive(Clone, Debug)]
pub struct MapnikOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `mapfile`; `%(webmercator_level)s` in it stands for the level of the web mercator that fits the map.
    pub mapfile: PathBuf,
    /// `layers`; `None`: all. Layers called `Unknown` are always drawn.
    pub layers: Option<Vec<String>>,
    /// `scale_factor`.
    pub scale_factor: f64,
    /// `image`.
    pub image: Arc<ImageOptions>,
    /// `image.transparent_color` and its tolerance.
    pub transparent_color: Option<TransparentColor>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
}

/// Maps drawn by Mapnik.
#[derive(Debug)]
pub struct MapnikSource {
    profile: SourceProfile,
    options: MapnikOptions,
    /// To count levels in.
    web_mercator: Option<TileGrid>,
    mapnik: Arc<Mapnik>,
}

impl Mapnik {
    /// Up to `limit` processes of `python`; a map has to be there after `timeout`.
    pub fn new(python: PathBuf, limit: usize, timeout: Duration) -> Mapnik {
        let max_answer = usize::try_from(codec::DEFAULT_MAX_PIXELS.saturating_mul(4)).unwrap_or(usize::MAX);
        Mapnik { workers: Workers::new(limit, timeout, max_answer, move || command(&python, WORKER)) }
    }

    /// The first Python with the module: `python3` in the `PATH`, then that of the system. The error says what was
    /// tried.
    pub fn python() -> Result<PathBuf, String> {
        let mut candidates: Vec<PathBuf> = program_in_path("python3").into_iter().collect();
        let system = PathBuf::from("/usr/bin/python3");
        if system.is_file() && !candidates.contains(&system) {
            candidates.push(system);
        }
        let mut tried = String::new();
        for python in candidates {
            match imports_mapnik(&python) {
                Ok(()) => return Ok(python),
                Err(reason) => {
                    let _ = write!(tried, "{}{}: {reason}", if tried.is_empty() { "" } else { "; " }, python.display());
                }
            }
        }
        let tried = if tried.is_empty() { "there is no python3".to_owned() } else { tried };
        Err(format!("needs a Python with the module mapnik (on Debian, `apt install python3-mapnik`): {tried}"))
    }
}

/// A Python that runs `program`; map files may name systems by the words of PROJ.4 (`+init=epsg:3857`).
fn command(python: &Path, program: &str) -> Command {
    let mut command = Command::new(python);
    command.args([OsString::from("-c"), OsString::from(program)]).env("PROJ_USE_PROJ4_INIT_RULES", "YES");
    command
}

fn imports_mapnik(python: &Path) -> Result<(), String> {
    const PROBE: &str = "import sys\nsys.path[:] = [place for place in sys.path if place]\n\
        try:\n    import mapnik\n    said = ('ok', '')\nexcept ImportError as error:\n    said = ('error', str(error))\n\
        sys.stdin.readline()\nprint(said[0], len(said[1].encode()))\nsys.stdout.write(said[1])\nsys.stdout.flush()";
    let python = python.to_owned();
    let probe = Workers::new(1, IMPORT_TIME, 1000, move || command(&python, PROBE));
    probe.ask("").map(drop).map_err(|error| error.to_string())
}

impl MapnikSource {
    /// The map that `options` describe, drawn by `mapnik`.
    pub fn new(options: MapnikOptions, mapnik: Arc<Mapnik>) -> MapnikSource {
        let profile = SourceProfile {
            extent: options.coverage.as_ref().map(Coverage::extent),
            coverage: options.coverage.clone(),
            resolutions: options.resolutions,
            ..SourceProfile::new(Arc::clone(&options.name), Arc::clone(&options.image))
        };
        let has_level = options.mapfile.to_string_lossy().contains(LEVEL);
        let web_mercator = has_level.then(|| TileGrid::builder("levels", Srs::web_mercator()).build().ok()).flatten();
        MapnikSource { profile, options, web_mercator, mapnik }
    }

    /// The file of one map; one name if the name has no level in it.
    pub fn mapfile(&self) -> Option<&Path> {
        self.web_mercator.is_none().then_some(&*self.options.mapfile)
    }

    fn mapfile_for(&self, query: &MapQuery) -> Result<String, MapError> {
        let name = self.options.mapfile.to_string_lossy();
        let Some(grid) = &self.web_mercator else { return Ok(name.into_owned()) };
        let level = grid.affected_bbox_and_level(&query.bbox, query.size, &query.srs)?.map_or(0, |(_, level)| level);
        Ok(name.replace(LEVEL, &level.to_string()).replace("%%", "%"))
    }

    fn draw(&self, query: &MapQuery, mapfile: &str) -> Result<Pixels, WorkerError> {
        if query.size.pixels() > codec::DEFAULT_MAX_PIXELS {
            return Err(WorkerError::Refused(format!("{} pixels are too many", query.size)));
        }
        let question = serde_json::json!({
            "mapfile": mapfile,
            "layers": self.options.layers,
            "srs": proj_code(&query.srs),
            "size": [query.size.width, query.size.height],
            "bbox": query.bbox.to_array(),
            "scale_factor": self.options.scale_factor,
        });
        let data = self.mapnik.workers.ask(&question.to_string())?;
        if data.len() as u64 != query.size.pixels() * 4 {
            return Err(WorkerError::Nonsense(format!("{} bytes for {} pixels", data.len(), query.size)));
        }
        Ok(Pixels::new(query.size, PixelMode::Rgba, data.into()))
    }
}

/// The code as PROJ knows it.
fn proj_code(srs: &Srs) -> String {
    if *srs == Srs::web_mercator() {
        "epsg:3857".to_owned()
    } else if *srs == Srs::wgs84() {
        "epsg:4326".to_owned()
    } else {
        srs.code().to_owned()
    }
}

impl MapSource for MapnikSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let name = &self.profile.name;
        let _place = trace::within(|| Place::Source(Arc::clone(name)));
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let mapfile = self.mapfile_for(query)?;
        let started = Instant::now();
        let drawn = self.draw(query, &mapfile);
        let bytes = drawn.as_ref().ok().map(|pixels| pixels.data().len() as u64);
        trace::call(|| trace::Call {
            places: Vec::new(),
            method: "MAPNIK",
            url: mapfile.clone(),
            status: None,
            bytes,
            duration: started.elapsed(),
        });
        let kib = bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1024.0));
        let ms = started.elapsed().as_millis();
        log::info!(target: "mapproxy.source.request", "MAPNIK {} - {kib} {ms}", mapfile.replace(' ', ""));
        let pixels = drawn.map_err(|error| {
            let error = MapError::Upstream {
                source_name: Arc::clone(name),
                message: "Could not draw the map".to_owned(),
                url: mapfile.clone(),
                reason: error.to_string(),
                status: None,
            };
            trace::error(&error);
            error
        })?;
        let image = MapImage::from_pixels(pixels, Arc::clone(&self.profile.image));
        match self.options.transparent_color {
            None => Ok(Some(image)),
            Some(transparent) => transparent
                .apply(&image)
                .map(Some)
                .map_err(|error| MapError::Image { source_name: Arc::clone(name), error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_grid::{Bbox, Size};
    use mapproxy_image::ImageFormat;

    use super::*;

    /// Runs in place of the worker with a module of its own: `mapnik` draws what it is asked in two colours.
    const STAND_IN: &str = r#"
import sys, types

class Map:
    def __init__(self, *size): self.layers = []
    def resize(self, *size): self.size = size
    def zoom_to_box(self, box): self.box = box

class Layer:
    def __init__(self, name): self.name, self.active = name, True

class Image:
    def __init__(self, *size): self.size, self.color = size, b''
    def premultiplied(self): return False
    def tostring(self): return self.color * (self.size[0] * self.size[1])

def load_map(drawn, mapfile):
    text = open(mapfile).read().split()
    if not text: raise RuntimeError('empty map')
    if text[0] == 'die': print('dying', file=sys.stderr); sys.exit(3)
    drawn.layers = [Layer(name) for name in text]

def render(drawn, image, factor):
    active = sum(layer.active for layer in drawn.layers)
    image.color = bytes([active, int(factor * 10), len(drawn.srs), 128])

module = types.ModuleType('mapnik')
module.Map, module.Image, module.Box2d = Map, Image, lambda *edges: edges
module.load_map, module.render = load_map, render
sys.modules['mapnik'] = module
"#;

    fn mapnik() -> Arc<Mapnik> {
        let python = program_in_path("python3").unwrap();
        let program = format!("{STAND_IN}\n{WORKER}");
        let workers = Workers::new(2, Duration::from_secs(60), 1 << 20, move || command(&python, &program));
        Arc::new(Mapnik { workers })
    }

    fn options(mapfile: PathBuf) -> MapnikOptions {
        MapnikOptions {
            name: "mapnik".into(),
            mapfile,
            layers: None,
            scale_factor: 1.5,
            image: Arc::default(),
            transparent_color: None,
            coverage: None,
            resolutions: ResolutionRange::default(),
        }
    }

    fn query() -> MapQuery {
        let bbox = Bbox::new(0.0, 0.0, 20_037_508.342_789_244, 20_037_508.342_789_244);
        MapQuery::new(bbox, Size::new(256, 256), Srs::web_mercator(), ImageFormat::png())
    }

    fn pixel(source: &MapnikSource) -> Result<[u8; 4], MapError> {
        let image = source.render(&query())?.unwrap();
        let pixels = image.pixels().unwrap();
        assert_eq!((pixels.size(), pixels.mode()), (query().size, PixelMode::Rgba));
        Ok(pixels.single_color().unwrap().0)
    }

    #[test]
    fn maps_have_the_layers_and_the_scale_that_were_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("style.xml");
        std::fs::write(&file, "roads rivers Unknown").unwrap();
        let mapnik = mapnik();
        let all = MapnikSource::new(options(file.clone()), Arc::clone(&mapnik));
        let code = "epsg:3857".len() as u8;
        assert_eq!(pixel(&all).unwrap(), [3, 15, code, 128]);
        let rivers = MapnikOptions { layers: Some(vec!["rivers".into()]), ..options(file.clone()) };
        assert_eq!(pixel(&MapnikSource::new(rivers, mapnik)).unwrap()[0], 2);
        assert_eq!(pixel(&all).unwrap()[0], 3);
        std::fs::write(&file, "roads rivers woods towns").unwrap();
        assert_eq!(pixel(&all).unwrap()[0], 4, "a changed file is loaded anew");
    }

    #[test]
    fn a_level_in_the_name_is_that_of_the_map() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("style-1-100%.xml"), "roads").unwrap();
        let file = directory.path().join("style-%(webmercator_level)s-100%%.xml");
        let source = MapnikSource::new(options(file), mapnik());
        assert_eq!(source.mapfile(), None);
        assert_eq!(pixel(&source).unwrap()[0], 1);
    }

    #[test]
    fn what_goes_wrong_is_told_and_the_next_map_is_drawn() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("style.xml");
        let source = MapnikSource::new(options(file.clone()), mapnik());
        let reason = |text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            match pixel(&source) {
                Err(MapError::Upstream { reason, .. }) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert!(reason(None).starts_with("FileNotFoundError: "));
        assert_eq!(reason(Some("")), "RuntimeError: empty map");
        assert!(reason(Some("die")).contains("exit status: 3: dying"));
        std::fs::write(&file, "roads").unwrap();
        assert_eq!(pixel(&source).unwrap()[0], 1);
    }

    #[test]
    fn a_python_without_the_module_says_so() {
        let reason = imports_mapnik(Path::new("/nowhere/python3")).unwrap_err();
        assert!(reason.starts_with("cannot be run: "), "{reason}");
        if let Err(message) = Mapnik::python() {
            assert!(message.contains("apt install python3-mapnik") && message.contains("mapnik'"), "{message}");
        }
    }
}
