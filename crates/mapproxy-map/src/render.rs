//! Asks several sources for one map and merges what they answer.

use std::sync::Arc;

use mapproxy_grid::Size;
use mapproxy_image::merge::{self, Frame, Layer};
use mapproxy_image::{ImageOptions, MapImage, message};

use crate::{MapError, MapQuery, MapSource};

/// What to do when some sources of a map fail and others answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnSourceErrors {
    /// Draw the error over what there is.
    #[default]
    Notify,
    /// Fail.
    Raise,
}

/// How [`render_all`] works.
#[derive(Clone, Copy, Debug)]
pub struct RenderOptions {
    /// For partial failures.
    pub on_errors: OnSourceErrors,
    /// Requests at once (`concurrent_layer_renderer`).
    pub concurrency: usize,
    /// Keep URLs and reasons out of what is drawn.
    pub hide_error_details: bool,
}

/// Asks `sources`, bottom to top, and merges. Sources hidden by an opaque one above are not asked, neighbours that can
/// be asked together are.
pub fn render_all(
    sources: &[Arc<dyn MapSource>],
    query: &MapQuery,
    options: &Arc<ImageOptions>,
    how: RenderOptions,
) -> Result<MapImage, MapError> {
    let sources = combine_neighbours(visible(sources, query), query);
    let answers = ask(&sources, query, how.concurrency);

    let mut layers = Vec::with_capacity(answers.len());
    let mut errors = Vec::new();
    let mut answered = false;
    for (source, answer) in sources.iter().zip(answers) {
        match answer {
            Ok(image) => {
                answered = true;
                let coverage = source.profile().coverage.as_ref();
                layers.extend(image.map(|image| Layer { image, coverage }));
            }
            Err(error) if error.fault() != crate::Fault::Upstream || how.on_errors == OnSourceErrors::Raise => {
                return Err(error);
            }
            Err(error) => {
                log::warn!(target: "mapproxy.source", "{error}");
                mapproxy_trace::error(&error);
                errors.push(error.public_message(how.hide_error_details));
            }
        }
    }
    if !answered && !errors.is_empty() {
        return Err(MapError::NoSource(errors.join("\n")));
    }
    let failed = !errors.is_empty();
    if failed {
        layers.push(Layer { image: error_overlay(&errors, query.size), coverage: None });
    }
    let frame = Frame { size: query.size, bbox: query.bbox, srs: &query.srs };
    let image = merge::merge(layers, options, &frame)
        .map_err(|error| MapError::Image { source_name: "merged layers".into(), error })?;
    Ok(if failed { image.with_cacheable(false) } else { image })
}

/// The sources from the topmost opaque one upwards.
fn visible<'a>(sources: &'a [Arc<dyn MapSource>], query: &MapQuery) -> &'a [Arc<dyn MapSource>] {
    let bottom = sources.iter().rposition(|source| source.is_opaque(query)).unwrap_or(0);
    &sources[bottom..]
}

fn combine_neighbours(sources: &[Arc<dyn MapSource>], query: &MapQuery) -> Vec<Arc<dyn MapSource>> {
    let mut combined: Vec<Arc<dyn MapSource>> = Vec::with_capacity(sources.len());
    for source in sources {
        match combined.last().and_then(|below| below.combine(source.as_ref(), query)) {
            Some(both) => *combined.last_mut().expect("a source was combined with") = both,
            None => combined.push(Arc::clone(source)),
        }
    }
    combined
}

type Answer = Result<Option<MapImage>, MapError>;

/// Asks up to `concurrency` sources at once, on scoped threads: they mostly wait for upstream servers.
fn ask(sources: &[Arc<dyn MapSource>], query: &MapQuery, concurrency: usize) -> Vec<Answer> {
    if sources.len() <= 1 || concurrency <= 1 {
        return sources.iter().map(|source| source.render(query)).collect();
    }
    let mut answers = Vec::with_capacity(sources.len());
    for some in sources.chunks(concurrency) {
        let trace = mapproxy_trace::scope();
        std::thread::scope(|scope| {
            let running: Vec<_> =
                some.iter().map(|source| scope.spawn(|| trace.enter(|| source.render(query)))).collect();
            answers.extend(
                running
                    .into_iter()
                    .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
        });
    }
    answers
}

fn error_overlay(errors: &[String], size: Size) -> MapImage {
    let options = Arc::new(ImageOptions::default().with_transparent(true));
    message::notice(errors, size, &options)
}
