//! Legends: asked from a Web Map Service layer by layer, or at a fixed address.

use std::path::PathBuf;
use std::sync::Arc;

use mapproxy_client::{Credentials, HttpClient, UpstreamRequest, UpstreamResponse};
use mapproxy_image::{ImageError, ImageFormat, ImageOptions, MapImage, legend};
use mapproxy_map::legend::{Legend, LegendForm, LegendQuery, LegendSource, merge_json};
use mapproxy_map::{MapError, ogc};
use mapproxy_trace::{self as trace, Place};

use crate::kvp::{Endpoint, Params};
use crate::{HttpMethod, WmsVersion, answer};

/// Target of the log.
const LOG: &str = "mapproxy.source.wms";

/// Bytes of the largest legend that is taken from a file.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What a [`WmsLegend`] is made of.
#[derive(Clone, Debug)]
pub struct WmsLegendOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, credentials included.
    pub url: String,
    /// `req` without `url`, as in [`crate::WmsOptions`].
    pub params: Vec<(String, String)>,
    /// `req.layers`, one by one.
    pub layers: Vec<String>,
    /// `wms_opts.version`. Versions below 1.1.1 have no legends: 1.1.1 is spoken then.
    pub version: WmsVersion,
    /// `http.method`.
    pub method: HttpMethod,
    /// The format of pictures that the server has, if it has not PNG.
    pub format: Option<String>,
}

/// Asks a Web Map Service for the legends of its layers (`wms_opts.legendgraphic`).
#[derive(Debug)]
pub struct WmsLegend {
    options: WmsLegendOptions,
    params: Params,
    endpoint: Endpoint,
    client: Arc<dyn HttpClient>,
}

impl WmsLegend {
    /// The server that `options` describe, asked through `client`.
    pub fn new(options: WmsLegendOptions, client: Arc<dyn HttpClient>) -> WmsLegend {
        let mut params = Params::of(&options.params);
        params.remove("layers");
        let endpoint = Endpoint::new(&options.url, options.method, params.get("sld_body").is_some());
        WmsLegend { options, params, endpoint, client }
    }

    /// What tells its legends from others: MapProxy's key of them.
    pub fn identifier(&self) -> String {
        self.options.layers.iter().map(|layer| format!("{}{layer}", self.options.url)).collect()
    }

    fn fetch(&self, layer: &str, query: &LegendQuery) -> Result<Answer, MapError> {
        let mut params = self.params.clone();
        params.set("layer", layer);
        let format = match query.form {
            LegendForm::Picture => self.options.format.as_deref().unwrap_or("image/png"),
            LegendForm::Json => "application/json",
        };
        params.set("format", format);
        if let Some(scale) = query.scale {
            params.set("scale", ogc::float(scale));
        }
        params.set("request", "GetLegendGraphic");
        params.set("service", "WMS");
        params.set("sld_version", "1.1.0");
        params.set("version", if self.options.version == WmsVersion::V1_3_0 { "1.3.0" } else { "1.1.1" });
        params.set_default("styles", "");
        let request = self.endpoint.request(&params);
        let response = self.client.send(&request).map_err(|error| answer::client_error(&self.options.name, error))?;
        match query.form {
            LegendForm::Picture => picture(&self.options.name, response, &request.url).map(Answer::Picture),
            LegendForm::Json => json(&self.options.name, &response, &request.url).map(Answer::Json),
        }
    }
}

enum Answer {
    Picture(MapImage),
    Json(String),
}

impl LegendSource for WmsLegend {
    fn name(&self) -> &Arc<str> {
        &self.options.name
    }

    /// Of the layers that the server has a legend for; an error if it has none at all.
    fn legend(&self, query: &LegendQuery) -> Result<Option<Legend>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.options.name)));
        let (mut pictures, mut documents, mut failure) = (Vec::new(), Vec::new(), None);
        for layer in &self.options.layers {
            match self.fetch(layer, query) {
                Ok(Answer::Picture(picture)) => pictures.push(picture),
                Ok(Answer::Json(document)) => documents.push(document),
                Err(error) => {
                    log::error!(target: LOG, "no legend of layer {layer}: {error}");
                    trace::error(&error);
                    failure = Some(error);
                }
            }
        }
        if let Some(document) = merge_json(&documents) {
            return Ok(Some(Legend::Json(document)));
        }
        match failure {
            Some(error) if pictures.is_empty() => return Err(error),
            _ if pictures.is_empty() => return Ok(None),
            _ => {}
        }
        // Maps are drawn from the bottom, legends read from the top.
        pictures.reverse();
        let stacked = legend::stack(pictures, &png()).map_err(|error| image_error(&self.options.name, error))?;
        let is_complete = failure.is_none() && stacked.cacheable();
        Ok(Some(Legend::Picture(stacked.with_cacheable(is_complete))))
    }
}

/// Where the picture of a [`StaticLegend`] is.
#[derive(Clone, Debug)]
pub enum LegendAddress {
    /// On a server.
    Url(String),
    /// On disk.
    File(PathBuf),
}

/// A picture at a fixed address (`legendurl`).
#[derive(Debug)]
pub struct StaticLegend {
    name: Arc<str>,
    address: LegendAddress,
    client: Arc<dyn HttpClient>,
}

impl StaticLegend {
    /// The picture at `address`, which is asked for through `client`. `name`: of the source or layer.
    pub fn new(name: Arc<str>, address: LegendAddress, client: Arc<dyn HttpClient>) -> StaticLegend {
        StaticLegend { name, address, client }
    }

    fn picture(&self) -> Result<MapImage, MapError> {
        match &self.address {
            LegendAddress::Url(url) => {
                let (url, credentials) = Credentials::split(url);
                let request = UpstreamRequest::get(url).with_credentials(credentials);
                let response = self.client.send(&request).map_err(|error| answer::client_error(&self.name, error))?;
                picture(&self.name, response, &request.url)
            }
            LegendAddress::File(path) => {
                let read = || match std::fs::metadata(path)?.len() {
                    length if length > MAX_FILE_BYTES => Err(std::io::Error::other("the file is too large")),
                    _ => std::fs::read(path),
                };
                let bytes = read().map_err(|error| {
                    image_error(&self.name, ImageError::Decode(format!("{}: {error}", path.display())))
                })?;
                checked(&self.name, bytes.into())
            }
        }
    }
}

impl LegendSource for StaticLegend {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn legend(&self, query: &LegendQuery) -> Result<Option<Legend>, MapError> {
        match query.form {
            LegendForm::Picture => {
                let _place = trace::within(|| Place::Source(Arc::clone(&self.name)));
                self.picture().map(|picture| Some(Legend::Picture(picture)))
            }
            LegendForm::Json => Ok(None),
        }
    }

    fn kept(&self, query: &LegendQuery) -> Option<Legend> {
        match &self.address {
            LegendAddress::File(_) => self.legend(query).ok().flatten(),
            LegendAddress::Url(_) => None,
        }
    }
}

fn png() -> Arc<ImageOptions> {
    Arc::new(ImageOptions::new(ImageFormat::png()).with_transparent(true))
}

fn picture(name: &Arc<str>, response: UpstreamResponse, url: &str) -> Result<MapImage, MapError> {
    if !answer::is_image(&response) {
        let reason = format!("no picture but {}", answer::excerpt(&response));
        return Err(answer::no_image(name, "no image returned from source WMS", url, reason));
    }
    answer::whole_picture(&response.body)
        .map_err(|reason| answer::no_image(name, "no image returned from source WMS", url, reason))?;
    checked(name, response.body)
}

/// A picture that can be read: a legend is kept for long.
fn checked(name: &Arc<str>, bytes: bytes::Bytes) -> Result<MapImage, MapError> {
    let image = MapImage::from_encoded(bytes, png());
    image.pixels().map_err(|error| image_error(name, error))?;
    Ok(image)
}

fn json(name: &Arc<str>, response: &UpstreamResponse, url: &str) -> Result<String, MapError> {
    let is_json = response.content_type.as_deref().is_none_or(|content_type| content_type.contains("json"));
    let text = std::str::from_utf8(&response.body).ok().filter(|_| is_json);
    text.map(str::to_owned)
        .ok_or_else(|| answer::no_image(name, "no JSON legend from source WMS", url, answer::excerpt(response)))
}

fn image_error(name: &Arc<str>, error: ImageError) -> MapError {
    MapError::Image { source_name: Arc::clone(name), error }
}

#[cfg(test)]
mod tests {
    use mapproxy_client::ErrorKind;
    use mapproxy_client::testkit::{ScriptedClient, failure, response};
    use mapproxy_grid::Size;
    use mapproxy_image::{Color, PixelMode, Pixels, codec};

    use super::*;

    fn encoded(width: u32, height: u32, color: Color) -> Vec<u8> {
        let pixels = Pixels::filled(Size::new(width, height), PixelMode::Rgb, color);
        codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap().bytes.to_vec()
    }

    /// Layer `a` is red, `b` is blue and wider, others have no legend.
    fn server() -> ScriptedClient {
        ScriptedClient::new(|request| match request.url.as_str() {
            url if url.contains("format=application%2Fjson") && url.contains("layer=a&") => {
                Ok(response("application/json", r#"{"Legend": [{"layerName": "a"}]}"#))
            }
            url if url.contains("format=application%2Fjson") => {
                Ok(response("application/json; charset=utf-8", r#"{"Legend": [{"layerName": "b"}]}"#))
            }
            url if url.contains("layer=a&") => Ok(response("image/png", encoded(4, 2, Color::rgb(255, 0, 0)))),
            url if url.contains("layer=b&") => Ok(response("image/png", encoded(6, 3, Color::rgb(0, 0, 255)))),
            url if url.contains("layer=text&") => Ok(response("text/xml", "<no/>")),
            _ => Err(failure(ErrorKind::Status(500), request)),
        })
    }

    fn legend(layers: &[&str], client: &ScriptedClient) -> WmsLegend {
        let params = [("transparent", "True"), ("layers", "x"), ("foo", "bar")];
        let options = WmsLegendOptions {
            name: "wms".into(),
            url: "http://h/s".into(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            version: WmsVersion::V1_1_1,
            method: HttpMethod::Auto,
            format: None,
        };
        WmsLegend::new(options, Arc::new(client.clone()))
    }

    fn pixels(legend: Option<Legend>) -> (Arc<Pixels>, bool) {
        match legend {
            Some(Legend::Picture(image)) => (image.pixels().unwrap(), image.cacheable()),
            other => panic!("{other:?}"),
        }
    }

    /// As MapProxy 7.0.0 sent them.
    #[test]
    fn requests_and_keys_are_those_of_the_reference() {
        let client = server();
        let source = legend(&["a", "b"], &client);
        source.legend(&LegendQuery::default()).unwrap();
        source.legend(&LegendQuery { scale: Some(5.0), ..LegendQuery::default() }).unwrap();
        let end = "&request=GetLegendGraphic&service=WMS&sld_version=1.1.0&version=1.1.1&styles=";
        let url = |layer: &str, scale: &str| {
            format!("http://h/s?transparent=True&foo=bar&layer={layer}&format=image%2Fpng{scale}{end}")
        };
        assert_eq!(client.urls(), [url("a", ""), url("b", ""), url("a", "&scale=5.0"), url("b", "&scale=5.0")]);
        assert_eq!(source.identifier(), "http://h/sahttp://h/sb");
    }

    #[test]
    fn the_legend_of_the_uppermost_layer_comes_first() {
        let (picture, cacheable) = pixels(legend(&["a", "b"], &server()).legend(&LegendQuery::default()).unwrap());
        assert_eq!((picture.size(), cacheable), (Size::new(6, 5), true));
        assert_eq!((picture.pixel(0, 0), picture.pixel(0, 4)), ([0, 0, 255, 255], [255, 0, 0, 255]));
    }

    #[test]
    fn a_layer_without_a_legend_is_left_out_and_the_rest_not_kept() {
        let (picture, cacheable) =
            pixels(legend(&["a", "c", "text"], &server()).legend(&LegendQuery::default()).unwrap());
        assert_eq!((picture.size(), cacheable), (Size::new(4, 2), false));
        assert!(legend(&["c", "text"], &server()).legend(&LegendQuery::default()).is_err());
        assert!(legend(&[], &server()).legend(&LegendQuery::default()).unwrap().is_none());
    }

    #[test]
    fn json_legends_are_joined() {
        let query = LegendQuery { form: LegendForm::Json, scale: None };
        match legend(&["a", "b"], &server()).legend(&query).unwrap() {
            Some(Legend::Json(text)) => {
                assert_eq!(text, r#"{"Legend":[{"layerName":"a"},{"layerName":"b"}]}"#);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn static_legends_come_from_servers_and_files() {
        let client = ScriptedClient::answering("image/png", encoded(7, 8, Color::WHITE));
        let at = |address| StaticLegend::new("layer".into(), address, Arc::new(client.clone()));
        let url = LegendAddress::Url("http://u:p@h/l.png".into());
        assert_eq!(pixels(at(url).legend(&LegendQuery::default()).unwrap()).0.size(), Size::new(7, 8));
        assert_eq!(client.urls(), ["http://h/l.png"]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("l.png");
        std::fs::write(&path, encoded(2, 1, Color::WHITE)).unwrap();
        let file = at(LegendAddress::File(path.clone()));
        assert_eq!(pixels(file.kept(&LegendQuery::default())).0.size(), Size::new(2, 1));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(file.legend(&LegendQuery::default()).is_err());
        assert!(file.legend(&LegendQuery { form: LegendForm::Json, scale: None }).unwrap().is_none());
    }
}
