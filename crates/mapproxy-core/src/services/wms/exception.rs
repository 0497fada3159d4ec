//! Exceptions: as XML of each version, as a picture with text, as a blank picture.

use std::sync::Arc;

use http::StatusCode;
use mapproxy_grid::Size;
use mapproxy_image::{ImageFormat, ImageOptions, MapImage, message};

use super::dialect::Dialect;
use super::error::WmsError;
use super::request::{self, MapStyle};
use super::{Wms, WmsVersion};
use crate::response::{forbid_caching, respond};
use crate::services::markup::escape;
use crate::{Params, Response};

impl WmsError {
    /// As a document of the version.
    pub(super) fn xml(&self, dialect: &Dialect) -> Response {
        let text = escape(&self.message);
        let code = self.code.map(|code| format!(" code=\"{code}\"")).unwrap_or_default();
        let version = dialect.version;
        let body = match version {
            WmsVersion::V1_0_0 => {
                format!("<?xml version=\"1.0\"?>\n<WMTException version=\"1.0.0\">\n{text}\n</WMTException>\n")
            }
            WmsVersion::V1_1_0 | WmsVersion::V1_1_1 => {
                let name = if version == WmsVersion::V1_1_0 { "exception_1_1_0" } else { "exception_1_1_1" };
                format!(
                    "<?xml version=\"1.0\"?>\n\
                     <!DOCTYPE ServiceExceptionReport SYSTEM \"http://schemas.opengis.net/wms/{version}/{name}.dtd\">\n\
                     <ServiceExceptionReport version=\"{version}\">\n\
                     <ServiceException{code}>{text}</ServiceException>\n</ServiceExceptionReport>\n"
                )
            }
            WmsVersion::V1_3_0 => format!(
                "<?xml version=\"1.0\"?>\n\
                 <ServiceExceptionReport version=\"1.3.0\" xmlns=\"http://www.opengis.net/ogc\" \
                 xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"http://www.opengis.net/ogc \
                 http://schemas.opengis.net/wms/1.3.0/exceptions_1_3_0.xsd\">\n\
                 <ServiceException{code}>{text}</ServiceException>\n</ServiceExceptionReport>\n"
            ),
        };
        forbid_caching(respond(self.status, dialect.exception_type, body))
    }
}

/// `EXCEPTIONS` of map and feature info requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Xml,
    InImage,
    Blank,
}

impl Form {
    fn of(params: &Params) -> Form {
        let name = params.get("exceptions").unwrap_or("").to_ascii_lowercase();
        if name.contains("image") {
            Form::InImage
        } else if name.contains("blank") {
            Form::Blank
        } else {
            Form::Xml
        }
    }
}

/// Side of a picture with an exception where the request has no usable size.
const FALLBACK_SIZE: Size = Size::new(256, 256);

impl Wms {
    /// The exception in the form that a map or feature info request asks for.
    pub(super) fn exception(&self, error: &WmsError, dialect: &Dialect, params: &Params) -> Response {
        let form = if error.xml_only { Form::Xml } else { Form::of(params) };
        let picture = match form {
            Form::Xml => None,
            Form::InImage => {
                self.error_picture(params, dialect, |size, options| message::error_image(&error.message, size, options))
            }
            Form::Blank => {
                self.error_picture(params, dialect, |size, options| MapImage::blank(size, Arc::clone(options)))
            }
        };
        picture.unwrap_or_else(|| error.xml(dialect))
    }

    /// A picture by what can be understood of the request; `None` where none can be made.
    fn error_picture(
        &self,
        params: &Params,
        dialect: &Dialect,
        draw: impl FnOnce(Size, &Arc<ImageOptions>) -> MapImage,
    ) -> Option<Response> {
        let size = request::size(params).unwrap_or(FALLBACK_SIZE);
        if size.pixels() > self.max_pixels() {
            return None;
        }
        let wanted = params.get("format").and_then(|name| self.image_format(name, dialect));
        let (name, options) = match wanted.or_else(|| self.image_format("image/png", dialect)) {
            Some((name, options)) => (name.clone(), Arc::clone(options)),
            None => ("image/png".to_owned(), Arc::new(ImageOptions::new(ImageFormat::png()))),
        };
        let style = MapStyle::parse(params).unwrap_or_default();
        let options = style.apply(&options);
        match draw(size, &options).encode(&options) {
            Ok(encoded) => Some(forbid_caching(respond(StatusCode::OK, name, encoded.bytes))),
            Err(error) => {
                log::error!(target: "mapproxy.service.wms", "cannot draw an exception as {name}: {error}");
                None
            }
        }
    }
}
