//! Formats of pictures: how clients name them, and which one a client gets.

use std::sync::Arc;

use mapproxy_image::{Codec, ImageOptions};

use super::error::ApiError;
use super::negotiate::Accept;

/// A format that is offered.
#[derive(Clone, Debug)]
pub(super) struct Format {
    /// Value of `f`: `png`.
    pub(super) name: String,
    /// `image/png`
    pub(super) media_type: String,
    pub(super) options: Arc<ImageOptions>,
}

impl Format {
    /// The formats of a configuration; of two with one name, the first.
    pub(super) fn list(formats: &[(String, Arc<ImageOptions>)]) -> Vec<Format> {
        let mut list: Vec<Format> = Vec::new();
        for (media_type, options) in formats {
            let ext = options.format.as_ref().map_or("png", |format| format.ext()).to_ascii_lowercase();
            if !list.iter().any(|known| known.name == ext) {
                list.push(Format { name: ext, media_type: media_type.clone(), options: Arc::clone(options) });
            }
        }
        list
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        self.name.to_ascii_uppercase()
    }

    /// As in paths that we name.
    pub(super) fn extension(&self) -> &str {
        if self.name == "jpeg" { "jpg" } else { &self.name }
    }

    pub(super) fn codec(&self) -> Option<Codec> {
        self.options.format.as_ref().and_then(|format| format.codec())
    }

    pub(super) fn has_extension(&self, extension: &str) -> bool {
        self.name == extension || self.extension() == extension
    }
}

/// What a request says of the format.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) extension: Option<&'a str>,
    pub(super) f: Option<&'a str>,
    pub(super) accept: Accept,
}

impl Wish<'_> {
    /// The format was left to `Accept`.
    pub(super) fn is_negotiated(&self) -> bool {
        self.extension.is_none() && self.f.is_none()
    }

    /// The format: by the path, else by `f`, else the one of the header's best that comes first; `preferred` goes
    /// before all.
    pub(super) fn choose<'f>(&self, formats: &'f [Format], preferred: Option<Codec>) -> Result<&'f Format, ApiError> {
        if let Some(f) = self.f
            && !formats.iter().any(|format| format.name == f)
        {
            return Err(ApiError::invalid("Invalid value for f query parameter"));
        }
        if let Some(extension) = self.extension {
            let found = formats.iter().find(|format| format.has_extension(extension));
            return found.ok_or_else(|| ApiError::not_acceptable(extension));
        }
        if let Some(found) = formats.iter().find(|format| Some(format.name.as_str()) == self.f) {
            return Ok(found);
        }
        let is_preferred = |format: &&Format| preferred.is_some() && format.codec() == preferred;
        let first = formats.iter().filter(is_preferred);
        let ordered: Vec<&Format> = first.chain(formats.iter().filter(|format| !is_preferred(format))).collect();
        let best = self.accept.best(ordered.iter().map(|format| format.media_type.as_str()));
        let found = ordered.into_iter().find(|format| Some(format.media_type.as_str()) == best);
        found.ok_or_else(|| ApiError::not_acceptable(&self.accept.to_string()))
    }
}
