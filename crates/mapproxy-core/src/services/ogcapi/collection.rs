//! Collections: the layers that have a name, whatever group they are in.

use mapproxy_grid::{MapExtent, ResolutionRange};
use mapproxy_map::{Dimensions, dimension};

use crate::layers::Attribution;
use crate::{MapLayer, TileLayer, TileSet};

/// A layer with a name.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: Option<String>,
    /// With its media type, where it is not plain.
    pub(super) attribution: Option<(String, Option<&'static str>)>,
    pub(super) extent: MapExtent,
    pub(super) resolutions: ResolutionRange,
    /// The scale at which it is meant to be seen.
    pub(super) nominal_scale: Option<f64>,
    /// Tiles that are kept, by grid.
    pub(super) tiles: Vec<TileSet>,
    /// The defaults of its dimensions, for tiles that are kept.
    pub(super) dimensions: Dimensions,
}

/// Each layer before those in it. Of several with one name the last counts, as it does where maps are drawn.
pub(super) fn list(root: &MapLayer, tile_layers: &[TileLayer]) -> Vec<Collection> {
    let mut collections: Vec<Collection> = Vec::new();
    let mut todo = vec![root];
    while let Some(layer) = todo.pop() {
        todo.extend(layer.children.iter().rev());
        let Some(name) = &layer.name else { continue };
        let tiles = tile_layers.iter().rfind(|tiles| tiles.name == *name);
        let collection = Collection {
            id: name.clone(),
            title: layer.title.clone(),
            description: layer.metadata.abstract_.clone(),
            attribution: layer.metadata.attribution.as_ref().and_then(attribution),
            extent: layer.extent.clone().unwrap_or_else(MapExtent::world),
            resolutions: layer.resolutions,
            nominal_scale: nominal_scale(layer),
            dimensions: tiles.map(|tiles| dimension::defaults(&tiles.dimensions)).unwrap_or_default(),
            tiles: tiles.map(|tiles| tiles.tile_sets.clone()).unwrap_or_default(),
        };
        match collections.iter_mut().find(|known| known.id == *name) {
            Some(known) => *known = collection,
            None => collections.push(collection),
        }
    }
    collections
}

/// A layer's own, or the coarsest of those in it.
fn nominal_scale(layer: &MapLayer) -> Option<f64> {
    layer.nominal_scale.or_else(|| coarsest(layer.children.iter().map(nominal_scale)))
}

/// The coarsest of the scales that are known.
pub(super) fn coarsest(scales: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    scales.into_iter().flatten().reduce(f64::max)
}

/// Plain where it has no link, Markdown (CommonMark) otherwise.
fn attribution(attribution: &Attribution) -> Option<(String, Option<&'static str>)> {
    const MARKDOWN: Option<&str> = Some("text/markdown");
    let logo = attribution.logo.as_ref().map(|logo| logo.url.as_str()).filter(|url| !url.is_empty());
    let title = attribution.title.as_deref().filter(|title| !title.is_empty());
    let (label, is_plain) = match (logo, title) {
        (Some(logo), title) => (format!("![{}]({})", bracketed(title.unwrap_or("")), address(logo)), false),
        (None, Some(title)) => (title.to_owned(), true),
        (None, None) => (attribution.url.clone()?, true),
    };
    match &attribution.url {
        Some(url) => {
            let label = if is_plain { bracketed(&label) } else { label };
            Some((format!("[{label}]({})", address(url)), MARKDOWN))
        }
        None => Some((label, if is_plain { None } else { MARKDOWN })),
    }
}

fn bracketed(text: &str) -> String {
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]")
}

fn address(url: &str) -> String {
    url.replace(' ', "%20").replace('(', "%28").replace(')', "%29")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Logo;

    fn text(title: Option<&str>, url: Option<&str>, logo: Option<&str>) -> Option<(String, Option<&'static str>)> {
        let logo = logo.map(|url| Logo { url: url.to_owned(), ..Logo::default() });
        attribution(&Attribution { title: title.map(str::to_owned), url: url.map(str::to_owned), logo })
    }

    #[test]
    fn attributions_become_markdown_where_they_have_links() {
        let markdown = |text: &str| Some((text.to_owned(), Some("text/markdown")));
        assert_eq!(text(Some("Us"), None, None), Some(("Us".to_owned(), None)));
        assert_eq!(text(Some("Us [1]"), Some("http://u/(a)"), None), markdown("[Us \\[1\\]](http://u/%28a%29)"));
        assert_eq!(text(Some("Us"), Some("http://u"), Some("http://l")), markdown("[![Us](http://l)](http://u)"));
        assert_eq!(text(None, Some("http://u"), None), markdown("[http://u](http://u)"));
        assert_eq!(text(None, None, None), None);
    }
}
