//! Caches made of bands of sources.

use super::Resolver;
use crate::checked::{BandPart, Bands};
use crate::position::{Span, Spanned};
use crate::raw::{self, Text};

impl Resolver<'_> {
    /// The sources, each once, and what goes where.
    pub(super) fn bands<'r>(
        &mut self,
        raw: &'r raw::Bands,
        span: Span,
        path: &str,
    ) -> Option<(Vec<&'r Spanned<Text>>, Bands)> {
        let mut sources: Vec<&Spanned<Text>> = Vec::new();
        let mut bands = Bands { grey: raw.l.is_some(), alpha: raw.a.is_some(), parts: Vec::new() };
        if bands.grey
            && let Some(colour) = [&raw.r, &raw.g, &raw.b, &raw.a].into_iter().flatten().next()
        {
            let message = "l makes a grey picture: r, g, b and a have no effect beside it";
            self.findings.warning(colour.span, path, message);
            bands.alpha = false;
        }
        let targets = [(0, "l", &raw.l), (0, "r", &raw.r), (1, "g", &raw.g), (2, "b", &raw.b), (3, "a", &raw.a)];
        let mut complete = true;
        for (target, name, list) in targets {
            if bands.grey && name != "l" {
                continue;
            }
            for (index, part) in list.iter().flat_map(|list| &list.value).enumerate() {
                let path = format!("{path}.{name}[{index}]");
                let (Some(source), Some(band)) = (&part.value.source, &part.value.band) else {
                    complete = false;
                    continue;
                };
                let Some(band_number) = u8::try_from(band.value).ok().filter(|band| *band < 4) else {
                    let message = format!("{} is no band: there are 0, 1, 2 and 3", band.value);
                    self.findings.error(band.span, format!("{path}.band"), message);
                    complete = false;
                    continue;
                };
                let factor = part.value.factor.as_ref();
                if let Some(factor) = factor.filter(|factor| !factor.value.is_finite()) {
                    self.findings.error(factor.span, format!("{path}.factor"), "a number is needed here");
                }
                let place = sources.iter().position(|known| known.value == source.value).unwrap_or_else(|| {
                    sources.push(source);
                    sources.len() - 1
                });
                let factor = factor.map_or(1.0, |factor| factor.value);
                bands.parts.push(BandPart { target, source: place, band: band_number, factor });
            }
        }
        if complete && bands.parts.is_empty() {
            self.findings.error(span, path, "a picture is made of at least one band: r, g, b, a or l");
            return None;
        }
        complete.then_some((sources, bands))
    }
}
