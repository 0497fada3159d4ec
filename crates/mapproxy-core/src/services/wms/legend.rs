//! GetLegendGraphic (OGC 05-078r4, 12), and the sizes of legends for capabilities.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use mapproxy_grid::Size;
use mapproxy_image::legend::{stack, stacked_size};
use mapproxy_image::{Color, ImageError, ImageOptions, MapImage};
use mapproxy_map::legend::{Legend, LegendForm, LegendQuery, LegendSource, merge_json};
use mapproxy_trace as trace;

use super::Wms;
use super::dialect::Dialect;
use super::error::{Failure, WmsError};
use super::map::image_error;
use super::request::GetLegendGraphic;
use crate::auth::{Operation, Refusal};
use crate::response::{forbid_caching, respond};
use crate::{Incoming, MapLayer, Response};

impl Wms {
    pub(super) fn legend_graphic(&self, incoming: &Incoming<'_>, dialect: &Dialect) -> Result<Response, Failure> {
        let request = GetLegendGraphic::parse(incoming.params(), dialect, self.options.strict)?;
        let _place = trace::within(|| trace::Place::Layer(request.layer.as_str().into()));
        self.check_layers([&request.layer])?;
        let Some(selection) = self.explanations.legends(&request.layer) else {
            return Err(no_legend(format!("layer {} has no legend graphic", request.layer)).into());
        };
        // A legend may be seen by whoever would see its layer listed.
        let permit = self.options.gate.ask(Operation::WmsCapabilities, incoming, || (selection.names(), None))?;
        let sources = selection.sources(&permit).ok_or(Failure::Refused(Refusal::Forbidden))?;
        if request.format == "application/json" {
            return self.json_legend(&request, &sources);
        }
        let Some((format, options)) = self.image_format(&request.format, dialect) else {
            let message = format!("unsupported image format: {}", request.format);
            return Err(WmsError::with_code("InvalidFormat", message).into());
        };
        let options = request.style.apply(options);
        let legends = self.legends(&request, LegendForm::Picture, &sources)?;
        let pictures = legends.into_iter().filter_map(|legend| match legend {
            Legend::Picture(picture) => Some(picture),
            Legend::Json(_) => None,
        });
        let picture = stack(pictures.collect(), &options).map_err(|error| image_error(&error))?;
        let cacheable = picture.cacheable();
        let encoded = encode(picture, &options).map_err(|error| image_error(&error))?;
        let response = respond(StatusCode::OK, format.to_owned(), encoded);
        Ok(if cacheable { response } else { forbid_caching(response) })
    }

    fn json_legend(&self, request: &GetLegendGraphic, sources: &[Arc<dyn LegendSource>]) -> Result<Response, Failure> {
        let legends = self.legends(request, LegendForm::Json, sources)?;
        let documents = legends.into_iter().filter_map(|legend| match legend {
            Legend::Json(document) => Some(document),
            Legend::Picture(_) => None,
        });
        match merge_json(&documents.collect::<Vec<_>>()) {
            Some(document) => Ok(respond(StatusCode::OK, "application/json", document)),
            None => Err(no_legend(format!("layer {} has no legend graphic in JSON", request.layer)).into()),
        }
    }

    /// What there is of legends; an error if all that there should be have failed.
    fn legends(
        &self,
        request: &GetLegendGraphic,
        form: LegendForm,
        sources: &[Arc<dyn LegendSource>],
    ) -> Result<Vec<Legend>, WmsError> {
        let query = LegendQuery { form, scale: request.scale };
        let (mut legends, mut failure) = (Vec::new(), None);
        // Sources are asked in the order of the map.
        for source in sources.iter().rev() {
            match source.legend(&query) {
                Ok(legend) => legends.extend(legend),
                Err(error) => {
                    let error = self.map_error(&error);
                    failure.get_or_insert(error);
                }
            }
        }
        legends.reverse();
        match failure {
            Some(error) if legends.is_empty() => Err(error),
            Some(_) => Ok(legends.into_iter().map(uncacheable).collect()),
            None => Ok(legends),
        }
    }
}

fn no_legend(message: String) -> WmsError {
    WmsError { status: StatusCode::NOT_FOUND, ..WmsError::new(message) }
}

fn uncacheable(legend: Legend) -> Legend {
    match legend {
        Legend::Picture(picture) => Legend::Picture(picture.with_cacheable(false)),
        document => document,
    }
}

/// The file. A client that did not ask for transparency gets the legend on the ground of its request, unless the
/// picture can be passed on as it is.
fn encode(picture: MapImage, options: &ImageOptions) -> Result<Bytes, ImageError> {
    if picture.encoded_bytes().is_some() || options.transparent == Some(true) {
        return Ok(picture.encode(options)?.bytes);
    }
    let pixels = picture.into_pixels()?.flatten(options.bgcolor.unwrap_or(Color::WHITE));
    Ok(MapImage::from_pixels(pixels, Arc::new(options.clone())).encode(options)?.bytes)
}

/// Requests for capabilities wait no longer for legends that were never seen before.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Legends that are fetched for their sizes at once.
const FETCHES: usize = 8;
/// When a legend that could not be had is asked for again.
const RETRY: Duration = Duration::from_secs(60);

/// How large the legends of layers are, as capabilities announce it. They are fetched beside requests, which wait for
/// them a little the first time, and not at all when they failed before.
#[derive(Debug, Default)]
pub(super) struct LegendSizes {
    by_name: HashMap<String, usize>,
    /// By index.
    layers: Arc<Vec<Vec<Arc<dyn LegendSource>>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    states: Mutex<States>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct States {
    /// Counts changes.
    generation: u64,
    of: Vec<State>,
    /// Layers whose legend is to be fetched.
    queue: Vec<usize>,
    fetching: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    New,
    /// Capabilities may wait for the first time.
    Fetching {
        is_first: bool,
    },
    Known(Size),
    Failed(Instant),
}

impl Shared {
    fn states(&self) -> MutexGuard<'_, States> {
        // Each change is whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next layer whose legend is to be fetched; after the last, one fetches less.
    fn next(&self) -> Option<usize> {
        let mut states = self.states();
        let next = states.queue.pop();
        if next.is_none() {
            states.fetching -= 1;
        }
        next
    }

    fn settle(&self, index: usize, state: State) {
        let mut states = self.states();
        states.of[index] = state;
        states.generation += 1;
        drop(states);
        self.changed.notify_all();
    }
}

impl LegendSizes {
    pub(super) fn new(root: &MapLayer) -> LegendSizes {
        let (mut by_name, mut layers) = (HashMap::new(), Vec::new());
        let mut todo = vec![root];
        while let Some(layer) = todo.pop() {
            if let (Some(name), false) = (&layer.name, layer.legends.is_empty()) {
                by_name.insert(name.clone(), layers.len());
                layers.push(layer.legends.clone());
            }
            todo.extend(&layer.children);
        }
        let sizes = LegendSizes { by_name, layers: Arc::new(layers), shared: Arc::default() };
        sizes.shared.states().of = vec![State::New; sizes.layers.len()];
        sizes
    }

    /// The size of a layer's legend, as far as it is known.
    pub(super) fn size(&self, name: &str) -> Option<Size> {
        match self.shared.states().of[*self.by_name.get(name)?] {
            State::Known(size) => Some(size),
            _ => None,
        }
    }

    /// A number that changes with the sizes; `None` if some are to be asked for first.
    pub(super) fn settled(&self) -> Option<u64> {
        let states = self.shared.states();
        let is_due = |state: &State| match state {
            State::New | State::Fetching { is_first: true } => true,
            State::Failed(at) => at.elapsed() >= RETRY,
            State::Known(_) | State::Fetching { is_first: false } => false,
        };
        (!states.of.iter().any(is_due)).then_some(states.generation)
    }

    /// Fetches what is to be fetched, and waits a little for what was never seen. The number of what is known then.
    pub(super) fn prepare(&self) -> u64 {
        let mut states = self.shared.states();
        for index in 0..states.of.len() {
            let is_first = match states.of[index] {
                State::New => true,
                State::Failed(at) if at.elapsed() >= RETRY => false,
                _ => continue,
            };
            states.of[index] = State::Fetching { is_first };
            states.queue.push(index);
        }
        let threads = states.queue.len().min(FETCHES.saturating_sub(states.fetching));
        states.fetching += threads;
        drop(states);
        (0..threads).for_each(|_| self.spawn());
        let deadline = Instant::now() + PATIENCE;
        let mut states = self.shared.states();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_awaited = states.of.iter().any(|state| matches!(state, State::Fetching { is_first: true }));
            if !is_awaited {
                return states.generation;
            }
            if left.is_zero() {
                // Nobody waits for them again.
                for state in &mut states.of {
                    if matches!(state, State::Fetching { .. }) {
                        *state = State::Fetching { is_first: false };
                    }
                }
                return states.generation;
            }
            states = self.shared.changed.wait_timeout(states, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A thread that fetches, one after the other, what is in the queue. Sources have time-outs.
    fn spawn(&self) {
        let (shared, layers) = (Arc::clone(&self.shared), Arc::clone(&self.layers));
        let work = move || {
            while let Some(index) = shared.next() {
                let size = catch_unwind(AssertUnwindSafe(|| size_of(&layers[index]))).ok().flatten();
                shared.settle(index, size.map_or_else(|| State::Failed(Instant::now()), State::Known));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("legends".to_owned()).spawn(work) {
            log::error!(target: "mapproxy.service.wms", "no thread to fetch legends: {error}");
            let is_last = self.shared.states().fetching == 1;
            while let Some(index) = if is_last { self.shared.next() } else { None } {
                self.shared.settle(index, State::Failed(Instant::now()));
            }
            if !is_last {
                self.shared.states().fetching -= 1;
            }
        }
    }
}

/// The size of the legend that `sources` make up; `None` if one of them cannot be had.
fn size_of(sources: &[Arc<dyn LegendSource>]) -> Option<Size> {
    let query = LegendQuery::default();
    let mut sizes = Vec::with_capacity(sources.len());
    for source in sources {
        let legend = match source.kept(&query) {
            Some(legend) => Some(legend),
            None => source
                .legend(&query)
                .inspect_err(|error| log::warn!(target: "mapproxy.source", "no legend for capabilities: {error}"))
                .ok()?,
        };
        if let Some(Legend::Picture(picture)) = legend {
            sizes.push(picture.size().ok()?);
        }
    }
    (!sizes.is_empty()).then(|| stacked_size(&sizes))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mapproxy_image::{PixelMode, Pixels};
    use mapproxy_map::MapError;

    use super::*;

    /// Takes its time, and gives a picture or nothing.
    #[derive(Debug)]
    struct Slow {
        name: Arc<str>,
        takes: Duration,
        size: Option<Size>,
        asked: AtomicUsize,
    }

    impl LegendSource for Slow {
        fn name(&self) -> &Arc<str> {
            &self.name
        }
        fn legend(&self, _query: &LegendQuery) -> Result<Option<Legend>, MapError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(self.takes);
            let size = self.size.ok_or_else(|| MapError::NoSource("down".to_owned()))?;
            let pixels = Pixels::filled(size, PixelMode::Rgb, Color::WHITE);
            Ok(Some(Legend::Picture(MapImage::from_pixels(pixels, Arc::default()))))
        }
    }

    fn slow(millis: u64, size: Option<Size>) -> Arc<Slow> {
        Arc::new(Slow { name: "slow".into(), takes: Duration::from_millis(millis), size, asked: AtomicUsize::new(0) })
    }

    fn sizes(layers: &[(&str, &[Arc<Slow>])]) -> LegendSizes {
        let layer = |name: Option<&str>, legends: Vec<Arc<dyn LegendSource>>, children| MapLayer {
            name: name.map(str::to_owned),
            title: String::new(),
            sources: Vec::new(),
            info: Vec::new(),
            legends,
            children,
            resolutions: Default::default(),
            extent: None,
            dimensions: Vec::new(),
            forwards_styles: false,
            nominal_scale: None,
            metadata: Arc::default(),
        };
        let children = layers.iter().map(|(name, sources)| {
            let sources = sources.iter().map(|source| Arc::clone(source) as Arc<dyn LegendSource>).collect();
            layer(Some(name), sources, Vec::new())
        });
        LegendSizes::new(&layer(None, Vec::new(), children.collect()))
    }

    #[test]
    fn sizes_are_those_of_stacked_legends_and_asked_for_once() {
        let (a, b) = (slow(20, Some(Size::new(4, 5))), slow(20, Some(Size::new(6, 7))));
        let sizes = sizes(&[("both", &[Arc::clone(&a), Arc::clone(&b)]), ("a", &[Arc::clone(&a)])]);
        assert_eq!((sizes.settled(), sizes.size("both")), (None, None));
        let generation = sizes.prepare();
        assert_eq!((sizes.size("both"), sizes.size("a")), (Some(Size::new(6, 12)), Some(Size::new(4, 5))));
        assert_eq!((sizes.prepare(), sizes.settled()), (generation, Some(generation)));
        assert_eq!((a.asked.load(Ordering::SeqCst), b.asked.load(Ordering::SeqCst)), (2, 1));
        assert_eq!(sizes.size("other"), None);
    }

    #[test]
    fn capabilities_wait_for_slow_legends_once_and_for_failing_ones_not_at_all() {
        let hanging = slow(4000, Some(Size::new(1, 1)));
        let down = slow(0, None);
        let sizes = sizes(&[("hanging", &[Arc::clone(&hanging)]), ("down", &[Arc::clone(&down)])]);
        let begun = Instant::now();
        let first = sizes.prepare();
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && waited < Duration::from_millis(3900), "{waited:?}");
        let begun = Instant::now();
        assert_eq!((sizes.prepare(), sizes.settled()), (first, Some(first)));
        assert!(begun.elapsed() < Duration::from_millis(500));
        assert_eq!((sizes.size("hanging"), sizes.size("down")), (None, None));
        assert_eq!((hanging.asked.load(Ordering::SeqCst), down.asked.load(Ordering::SeqCst)), (1, 1));
        while sizes.size("hanging").is_none() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(sizes.size("hanging"), Some(Size::new(1, 1)), "it came after all");
        assert!(sizes.settled() > Some(first));
    }

    #[test]
    fn without_legends_there_is_nothing_to_wait_for() {
        let sizes = LegendSizes::default();
        assert_eq!((sizes.settled(), sizes.prepare()), (Some(0), 0));
    }
}
