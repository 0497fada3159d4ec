//! Drawing on pictures before they are sent: logos, marks, notices, put there by the embedding program.
//!
//! A [`Decorator`] given to [`AppBuilder::decorate`](crate::AppBuilder::decorate) sees each map and each tile on its way
//! out, with the layers and the box it shows and the request it answers. What caches keep is not touched.
//!
//! A decorated tile is another picture than the one that is kept, so it has validators of its own: a tag made of its
//! bytes, and no date. Unless the decorator says how long its work may be kept, clients ask each time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_grid::MapExtent;
use mapproxy_image::MapImage;
use mapproxy_map::MapError;

use crate::Request;
use crate::auth::Operation;

/// Draws on pictures before they are sent.
///
/// ```
/// use std::sync::Arc;
///
/// use mapproxy_core::decorate::{Decorator, DecoratorError, Picture};
/// use mapproxy_core::image::{MapImage, message};
///
/// /// Writes the name of the customer into the corner.
/// #[derive(Debug)]
/// struct Customer;
///
/// impl Decorator for Customer {
///     fn decorate(&self, image: MapImage, picture: &Picture<'_>) -> Result<MapImage, DecoratorError> {
///         let name = picture.request.headers().get("x-customer").and_then(|name| name.to_str().ok());
///         let Some(name) = name else { return Ok(image) };
///         let mut pixels = Arc::unwrap_or_clone(image.pixels()?);
///         message::attribution(&mut pixels, name);
///         Ok(MapImage::from_pixels(pixels, Arc::clone(image.options())))
///     }
/// }
/// ```
pub trait Decorator: fmt::Debug + Send + Sync {
    /// The picture to send in place of `image`: of the same size. An error is logged, and the request fails.
    fn decorate(&self, image: MapImage, picture: &Picture<'_>) -> Result<MapImage, DecoratorError>;

    /// Whether pictures of this kind are to be decorated at all. Those that are not take the short way.
    fn concerns(&self, _operation: Operation) -> bool {
        true
    }

    /// How long anybody may keep a decorated tile without asking; only where it is the same for all who ask. `None`:
    /// clients ask each time, and nobody else keeps it.
    fn max_age(&self) -> Option<Duration> {
        None
    }
}

/// Why a [`Decorator`] could not draw.
pub type DecoratorError = Box<dyn std::error::Error + Send + Sync>;

/// What a picture shows, and for whom.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Picture<'a> {
    /// What it is the answer to.
    pub operation: Operation,
    /// The layers in it, in the order of drawing. Groups of the WMS are resolved into their layers.
    pub layers: &'a [&'a str],
    /// Its box, x/y order.
    pub extent: &'a MapExtent,
    /// The request.
    pub request: &'a Request,
}

impl<'a> Picture<'a> {
    /// A picture, to try a decorator.
    pub fn new(
        operation: Operation,
        layers: &'a [&'a str],
        extent: &'a MapExtent,
        request: &'a Request,
    ) -> Picture<'a> {
        Picture { operation, layers, extent, request }
    }
}

/// The decorators of an application, in the order in which they draw.
#[derive(Clone, Debug, Default)]
pub struct Decorators(Arc<[Arc<dyn Decorator>]>);

impl Decorators {
    /// These and one more.
    pub fn with(&self, decorator: Arc<dyn Decorator>) -> Decorators {
        Decorators(self.0.iter().cloned().chain([decorator]).collect())
    }

    /// One of them draws on pictures of this kind.
    pub(crate) fn concern(&self, operation: Operation) -> bool {
        self.0.iter().any(|decorator| decorator.concerns(operation))
    }

    /// How long a picture of this kind may be kept by anybody; `None`: not without asking.
    pub(crate) fn max_age(&self, operation: Operation) -> Option<Duration> {
        let concerned = self.0.iter().filter(|decorator| decorator.concerns(operation));
        concerned.map(|decorator| decorator.max_age()).min().flatten()
    }

    /// The picture as they leave it.
    pub(crate) fn apply(&self, image: MapImage, picture: &Picture<'_>) -> Result<MapImage, MapError> {
        let cacheable = image.cacheable();
        let size = image.size().ok();
        let concerned = self.0.iter().filter(|decorator| decorator.concerns(picture.operation));
        let image = concerned.cloned().try_fold(image, |image, decorator| {
            let image = decorator.decorate(image, picture).map_err(|error| MapError::Decoration(error.to_string()))?;
            if size.is_some() && image.size().ok() != size {
                return Err(MapError::Decoration("a decorator changed the size of a picture".to_owned()));
            }
            Ok(image)
        })?;
        // A decorator makes nothing last that must not.
        let is_kept = cacheable && image.cacheable();
        Ok(image.with_cacheable(is_kept))
    }
}
