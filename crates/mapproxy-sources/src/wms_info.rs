//! GetFeatureInfo requests to a Web Map Service, equal to MapProxy's to the byte, and what comes back.

use std::sync::Arc;

use mapproxy_client::{ErrorKind, HttpClient, UpstreamRequest, UpstreamResponse};
use mapproxy_grid::{Coverage, Srs, SupportedSrs};
use mapproxy_map::MapError;
use mapproxy_map::info::{InfoDocument, InfoKind, InfoQuery, InfoSource};
use mapproxy_trace::{self as trace, Place};

use crate::answer;
use crate::kvp::{Endpoint, Params};
use crate::pyfmt::push_f64;
use crate::wms_request::is_dimension;
use crate::{HttpMethod, WmsVersion};

/// Bytes of the largest document that is taken.
pub const MAX_INFO_BYTES: u64 = 16 * 1024 * 1024;

/// What a [`WmsInfo`] is made of.
#[derive(Clone, Debug)]
pub struct WmsInfoOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `req.url`, credentials included.
    pub url: String,
    /// `req` without `url`, as in [`crate::WmsOptions`].
    pub params: Vec<(String, String)>,
    /// `wms_opts.version`.
    pub version: WmsVersion,
    /// `http.method`.
    pub method: HttpMethod,
    /// `supported_srs`; `None` for any. A fixed `srs` in `params` goes before.
    pub supported_srs: Option<SupportedSrs>,
    /// `forward_req_params`.
    pub forward_params: Vec<String>,
    /// `coverage`: of points elsewhere nothing is known.
    pub coverage: Option<Coverage>,
    /// `wms_opts.featureinfo_format`: asked for whatever the client wants, and taken for what comes.
    pub info_format: Option<String>,
    /// `wms_opts.query_layers`; `None`: the layers of the map.
    pub query_layers: Option<String>,
}

/// Asks a Web Map Service what lies at a point.
#[derive(Clone, Debug)]
pub struct WmsInfo {
    options: WmsInfoOptions,
    params: Params,
    endpoint: Endpoint,
    /// The only SRS in which the server is asked, from `req.srs`.
    fixed_srs: Option<Srs>,
    client: Arc<dyn HttpClient>,
}

impl WmsInfo {
    /// The server that `options` describe, asked through `client`.
    pub fn new(options: WmsInfoOptions, client: Arc<dyn HttpClient>) -> WmsInfo {
        let mut params = Params::of(&options.params);
        if let Some(layers) = &options.query_layers {
            params.set("query_layers", layers);
        }
        if let Some(format) = &options.info_format {
            params.set("info_format", format);
        }
        let endpoint = Endpoint::new(&options.url, options.method, params.get("sld_body").is_some());
        let fixed_srs = params.get("srs").or_else(|| params.get("crs")).and_then(|code| Srs::new(code).ok());
        WmsInfo { options, params, endpoint, fixed_srs, client }
    }

    /// The SRS to ask in. One that the server supports under another code is asked for with the client's, as MapProxy
    /// does.
    fn srs_for(&self, srs: &Srs) -> Srs {
        if let Some(fixed) = &self.fixed_srs {
            return fixed.clone();
        }
        match &self.options.supported_srs {
            Some(supported) if supported.find(srs).is_none() => supported.best_for(srs).unwrap_or(srs).clone(),
            _ => srs.clone(),
        }
    }

    fn request(&self, query: &InfoQuery) -> UpstreamRequest {
        let version = self.options.version;
        let mut params = self.params.clone();
        let north_first = version == WmsVersion::V1_3_0 && query.srs.is_north_first();
        let [min_x, min_y, max_x, max_y] = query.bbox.to_array();
        params.set(
            "bbox",
            numbers(if north_first { [min_y, min_x, max_y, max_x] } else { [min_x, min_y, max_x, max_y] }),
        );
        params.set("width", query.size.width.to_string());
        params.set("height", query.size.height.to_string());
        let [x, y] = pixel(query.position);
        if version != WmsVersion::V1_3_0 {
            params.set("x", x.clone());
            params.set("y", y.clone());
        }
        if let Some(count) = query.feature_count {
            params.set("feature_count", count.to_string());
        }
        let layers = params.get("layers").unwrap_or_default().to_owned();
        params.set_default("query_layers", layers);
        if let Some(format) = &query.info_format {
            params.set_default("info_format", format);
        }
        params.set_default("format", query.format.as_deref().unwrap_or("image/png"));
        if version != WmsVersion::V1_3_0 {
            params.set("srs", query.srs.code());
        }
        for (name, value) in query.dimensions.iter() {
            if let Some(configured) = self.options.forward_params.iter().find(|known| known.eq_ignore_ascii_case(name))
            {
                params.set(if is_dimension(name) { name } else { configured }, value);
            }
        }
        if version == WmsVersion::V1_0_0 {
            params.set("request", "feature_info");
            params.set("wmtver", "1.0.0");
        } else {
            params.set("request", "GetFeatureInfo");
            params.set("version", version.number());
            params.set("service", "WMS");
        }
        params.set_default("styles", "");
        if version == WmsVersion::V1_3_0 {
            params.remove("srs");
            params.remove("crs");
            params.set("crs", query.srs.code());
            params.set("i", x);
            params.set("j", y);
        }
        self.endpoint.request(&params)
    }

    fn document(
        &self,
        response: &UpstreamResponse,
        query: &InfoQuery,
        request: &UpstreamRequest,
    ) -> Result<InfoDocument, MapError> {
        let failed = |message: &str, reason| answer::no_image(&self.options.name, message, &request.url, reason);
        if response.body.len() as u64 > MAX_INFO_BYTES {
            let reason = format!("{} bytes, and {MAX_INFO_BYTES} are allowed", response.body.len());
            return Err(failed("feature info is too large", reason));
        }
        let content_type = response.content_type.as_deref().filter(|name| !name.is_empty());
        let said = self.options.info_format.as_deref().or(content_type).or(query.info_format.as_deref());
        let kind = said.and_then(InfoKind::of).unwrap_or(InfoKind::Text);
        let text = text_of(&response.body, content_type, kind);
        if is_exception(&text, content_type) {
            return Err(failed("source answered with an exception", answer::excerpt(response)));
        }
        Ok(InfoDocument::new(kind, text))
    }
}

impl InfoSource for WmsInfo {
    fn name(&self) -> &Arc<str> {
        &self.options.name
    }

    fn info(&self, query: &InfoQuery) -> Result<Option<InfoDocument>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.options.name)));
        if let Some(coverage) = &self.options.coverage
            && !query.lies_in(coverage)?
        {
            return Ok(None);
        }
        let srs = self.srs_for(&query.srs);
        let query = if srs == query.srs { InfoQuery { srs, ..query.clone() } } else { query.in_srs(&srs)? };
        let request = self.request(&query);
        match self.client.send(&request) {
            Ok(response) => self.document(&response, &query, &request).map(Some),
            // Nothing is known there.
            Err(error) if error.kind == ErrorKind::Status(204) => Ok(None),
            Err(error) => Err(answer::client_error(&self.options.name, error)),
        }
    }
}

fn numbers(edges: [f64; 4]) -> String {
    let mut text = String::with_capacity(80);
    for (index, edge) in edges.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_f64(&mut text, edge);
    }
    text
}

/// Column and row; both with a fraction if one has one.
fn pixel((column, row): (f64, f64)) -> [String; 2] {
    let whole = column.fract() == 0.0 && row.fract() == 0.0;
    [column, row].map(|number| {
        let mut text = String::new();
        push_f64(&mut text, number);
        if whole { text.strip_suffix(".0").unwrap_or(&text).to_owned() } else { text }
    })
}

/// The text of a body in the encoding that it has: as its byte order mark says, else as its header says, else as the
/// document itself says, else UTF-8; what is not UTF-8 then is read as Windows-1252, which never fails.
fn text_of(body: &[u8], content_type: Option<&str>, kind: InfoKind) -> String {
    let charset = content_type.and_then(charset);
    let declared = if kind == InfoKind::Xml { declared_encoding(body) } else { None };
    let named = charset.or(declared).and_then(|name| encoding_rs::Encoding::for_label(name.as_bytes()));
    let text = match named {
        Some(encoding) => encoding.decode(body).0.into_owned(),
        None => {
            let (text, _, failed) = encoding_rs::UTF_8.decode(body);
            if failed { encoding_rs::WINDOWS_1252.decode(body).0.into_owned() } else { text.into_owned() }
        }
    };
    match declared {
        Some(name) if !name.eq_ignore_ascii_case("utf-8") => without_declaration(text),
        _ => text,
    }
}

fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// `encoding` of an XML declaration.
fn declared_encoding(body: &[u8]) -> Option<&str> {
    let head = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let head = &head[..head.len().min(200)];
    let end = head.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&head[..end]).ok()?.strip_prefix("<?xml")?;
    let rest = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    rest[1..].split_once(quote).map(|(name, _)| name)
}

/// Without an XML declaration, which names an encoding that the text no longer has.
fn without_declaration(text: String) -> String {
    match text.split_once("?>") {
        Some((_, rest)) => rest.trim_start().to_owned(),
        None => text,
    }
}

/// An exception report of WMS or OWS.
fn is_exception(text: &str, content_type: Option<&str>) -> bool {
    let head: String = text.trim_start().chars().take(1000).collect();
    content_type.is_some_and(|name| name.to_ascii_lowercase().starts_with("application/vnd.ogc.se_xml"))
        || (head.starts_with('<')
            && (head.contains("<ServiceExceptionReport") || head.contains("ExceptionReport xmlns")))
}

#[cfg(test)]
mod tests {
    use mapproxy_client::testkit::{ScriptedClient, failure};
    use mapproxy_grid::{Bbox, Size};

    use super::*;

    fn options(version: WmsVersion) -> WmsInfoOptions {
        WmsInfoOptions {
            name: "wms".into(),
            url: "http://h/s".into(),
            params: vec![("layers".into(), "a,b".into()), ("foo".into(), "b a/r".into())],
            version,
            method: HttpMethod::Auto,
            supported_srs: None,
            forward_params: vec!["TIME".into(), "Token".into()],
            coverage: None,
            info_format: None,
            query_layers: None,
        }
    }

    fn query() -> InfoQuery {
        let bbox = Bbox::new(5.0, 45.0, 15.0, 55.0);
        InfoQuery {
            format: Some("image/png".into()),
            ..InfoQuery::new(bbox, Size::new(200, 100), Srs::wgs84(), (10.0, 20.0))
        }
    }

    fn asked(options: WmsInfoOptions, query: &InfoQuery) -> Vec<String> {
        let client = ScriptedClient::answering("text/plain", "x");
        WmsInfo::new(options, Arc::new(client.clone())).info(query).unwrap();
        client.urls().iter().map(|url| url.strip_prefix("http://h/s").unwrap().to_owned()).collect()
    }

    /// As MapProxy 7.0.0 sent them.
    #[test]
    fn requests_are_those_of_the_reference() {
        let map = "bbox=5.0,45.0,15.0,55.0&width=200&height=100";
        assert_eq!(
            asked(options(WmsVersion::V1_0_0), &InfoQuery { feature_count: Some(5), ..query() }),
            [format!(
                "?layers=a,b&foo=b%20a%2Fr&{map}&x=10&y=20&feature_count=5&query_layers=a,b&format=image%2Fpng\
                 &srs=EPSG%3A4326&request=feature_info&wmtver=1.0.0&styles="
            )]
        );
        assert_eq!(
            asked(options(WmsVersion::V1_1_1), &InfoQuery { info_format: Some("text/html".into()), ..query() }),
            [format!(
                "?layers=a,b&foo=b%20a%2Fr&{map}&x=10&y=20&query_layers=a,b&info_format=text%2Fhtml\
                 &format=image%2Fpng&srs=EPSG%3A4326&request=GetFeatureInfo&version=1.1.1&service=WMS&styles="
            )]
        );
        let styled = WmsInfoOptions {
            url: "http://h/s?x=1".into(),
            params: vec![("layers".into(), "a".into()), ("styles".into(), "st".into())],
            ..options(WmsVersion::V1_3_0)
        };
        assert_eq!(
            asked(styled, &query()),
            ["?x=1&layers=a&styles=st&bbox=45.0,5.0,55.0,15.0&width=200&height=100&query_layers=a&format=image%2Fpng\
              &request=GetFeatureInfo&version=1.3.0&service=WMS&crs=EPSG%3A4326&i=10&j=20"]
        );
    }

    #[test]
    fn configured_values_stay_where_they_are_written() {
        let fixed = [("layers", "u"), ("srs", "EPSG:25832"), ("format", "image/jpeg"), ("feature_count", "7")];
        let options = WmsInfoOptions {
            params: fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            info_format: Some("text/plain".into()),
            query_layers: Some("q1,q2".into()),
            ..options(WmsVersion::V1_1_1)
        };
        let asked_for = InfoQuery { info_format: Some("text/html".into()), feature_count: Some(3), ..query() };
        assert_eq!(
            asked(options, &asked_for),
            ["?layers=u&srs=EPSG%3A25832&format=image%2Fjpeg&feature_count=3&query_layers=q1,q2\
              &info_format=text%2Fplain&bbox=184738.5728434822,4983436.768229601,972891.7912730456,6111268.070079633\
              &width=200&height=286&x=20&y=59&request=GetFeatureInfo&version=1.1.1&service=WMS&styles="]
        );
    }

    #[test]
    fn parameters_are_forwarded_and_fractions_kept() {
        let dimensions = [("time", "2020"), ("token", "a b"), ("other", "1")];
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let query = InfoQuery { position: (10.5, 20.0), dimensions: dimensions.collect(), ..query() };
        let asked = asked(options(WmsVersion::V1_1_1), &query);
        assert!(asked[0].contains("&x=10.5&y=20.0&"), "{asked:?}");
        assert!(asked[0].contains("&srs=EPSG%3A4326&time=2020&Token=a%20b&request="), "{asked:?}");
    }

    #[test]
    fn outside_of_the_coverage_nobody_is_asked() {
        let coverage = Some(Coverage::from_bbox(Bbox::new(5.4, 45.0, 5.6, 50.0), Srs::wgs84()));
        assert!(
            asked(WmsInfoOptions { coverage: coverage.clone(), ..options(WmsVersion::V1_1_1) }, &query()).is_empty()
        );
        let inside = InfoQuery { position: (10.0, 90.0), ..query() };
        assert_eq!(asked(WmsInfoOptions { coverage, ..options(WmsVersion::V1_1_1) }, &inside).len(), 1);
    }

    fn answered(content_type: &str, body: &[u8], wanted: Option<&str>) -> Result<InfoDocument, MapError> {
        let client = ScriptedClient::answering(content_type, body.to_vec());
        let query = InfoQuery { info_format: wanted.map(str::to_owned), ..query() };
        Ok(WmsInfo::new(options(WmsVersion::V1_1_1), Arc::new(client)).info(&query)?.unwrap())
    }

    #[test]
    fn documents_are_what_the_server_says_else_what_was_wanted() {
        let kind = |content_type: &str, wanted| answered(content_type, b"x", wanted).unwrap().kind;
        assert_eq!(kind("text/html", Some("text/plain")), InfoKind::Html);
        assert_eq!(kind("", Some("text/html")), InfoKind::Html);
        assert_eq!(kind("application/octet-stream", Some("application/json")), InfoKind::Text);
        let fixed = WmsInfoOptions { info_format: Some("text/xml".into()), ..options(WmsVersion::V1_1_1) };
        let source = WmsInfo::new(fixed, Arc::new(ScriptedClient::answering("text/mycustom_xml", "<a/>")));
        assert_eq!(source.info(&query()).unwrap().unwrap().kind, InfoKind::Xml);
    }

    #[test]
    fn texts_are_read_in_their_encoding() {
        let text = |content_type: &str, body: &[u8]| answered(content_type, body, None).unwrap().text;
        assert_eq!(text("text/plain; charset=ISO-8859-1", b"caf\xe9"), "café");
        assert_eq!(text("text/plain", b"caf\xe9"), "café");
        assert_eq!(text("text/plain", "\u{feff}café".as_bytes()), "café");
        assert_eq!(text("text/xml", b"<?xml version='1.0' encoding='ISO-8859-1'?>\n<a>\xe9</a>"), "<a>é</a>");
        assert_eq!(
            text("text/xml", "<?xml version='1.0' encoding=\"UTF-8\"?>\n<a>é</a>".as_bytes()),
            "<?xml version='1.0' encoding=\"UTF-8\"?>\n<a>é</a>"
        );
    }

    #[test]
    fn exceptions_and_failures_are_errors_and_204_is_nothing() {
        let exception =
            b"<?xml version='1.0'?><ServiceExceptionReport version='1.3.0' xmlns='http://www.opengis.net/ogc'/>";
        assert!(answered("text/xml", exception, None).is_err());
        assert!(answered("application/vnd.ogc.se_xml", b"x", None).is_err());
        assert!(answered("text/plain", &vec![b'x'; MAX_INFO_BYTES as usize + 1], None).is_err());
        for (status, is_error) in [(500, true), (204, false)] {
            let client = ScriptedClient::new(move |request| Err(failure(ErrorKind::Status(status), request)));
            let source = WmsInfo::new(options(WmsVersion::V1_1_1), Arc::new(client));
            assert_eq!(source.info(&query()).is_err(), is_error, "{status}");
        }
    }
}
