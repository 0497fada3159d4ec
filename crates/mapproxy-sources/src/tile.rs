//! `type: tile`: a server of ready-made tiles.

use std::sync::Arc;

use mapproxy_client::{Credentials, HttpClient, RedactedUrl, UpstreamRequest};
use mapproxy_grid::{Coverage, MapExtent, ResolutionRange, TileCoord, TileGrid};
use mapproxy_image::{ImageOptions, MapImage};
use mapproxy_map::data::{DataFormat, DataSource, DataTile};
use mapproxy_map::{Access, MapError, MapQuery, MapSource, SourceProfile};
use mapproxy_trace::{self as trace, Place};

use crate::tile_url::TileUrl;
use crate::{OnErrors, SourceError, answer};

/// Target of the log.
const LOG: &str = "mapproxy.source.tile";

/// What a [`TileSource`] is made of.
#[derive(Clone, Debug)]
pub struct TileOptions {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// `url`: a template (`%(z)s/%(x)s/%(y)s.%(format)s`), credentials included.
    pub url: String,
    /// `grid`: the server's tiles.
    pub grid: Arc<TileGrid>,
    /// Of the tiles.
    pub image: Arc<ImageOptions>,
    /// `coverage`.
    pub coverage: Option<Coverage>,
    /// `min_res`, `max_res` and the scales.
    pub resolutions: ResolutionRange,
    /// `on_error`.
    pub on_error: OnErrors,
}

/// A server of ready-made tiles; answers only boxes of single tiles of its grid.
#[derive(Debug)]
pub struct TileSource {
    profile: SourceProfile,
    grid: Arc<TileGrid>,
    url: TileUrl,
    credentials: Option<Arc<Credentials>>,
    on_error: OnErrors,
    client: Arc<dyn HttpClient>,
}

impl TileSource {
    /// Checks the template.
    pub fn new(options: TileOptions, client: Arc<dyn HttpClient>) -> Result<Self, SourceError> {
        let (template, credentials) = Credentials::split(&options.url);
        let url = TileUrl::parse(&template).map_err(|reason| SourceError::Url {
            source_name: Arc::clone(&options.name),
            url: RedactedUrl::new(&template).to_string(),
            reason,
        })?;
        let extent = match &options.coverage {
            Some(coverage) => coverage.extent(),
            None => MapExtent::new(options.grid.bbox(), options.grid.srs().clone()),
        };
        let profile = SourceProfile {
            extent: Some(extent),
            coverage: options.coverage,
            resolutions: options.resolutions,
            access: Access::TilesOf(Arc::clone(&options.grid)),
            ..SourceProfile::new(options.name, options.image)
        };
        Ok(TileSource { profile, grid: options.grid, url, credentials, on_error: options.on_error, client })
    }

    fn fetch(&self, tile: TileCoord, query: &MapQuery) -> Result<MapImage, MapError> {
        let format = if query.format.is_mixed() { "png" } else { query.format.ext() };
        let url = self.url.url(tile, &self.grid.tile_bbox(tile), format);
        let request = UpstreamRequest::get(url).with_credentials(self.credentials.clone());
        let server = TileServer {
            profile: &self.profile,
            on_error: &self.on_error,
            client: self.client.as_ref(),
            log_target: LOG,
        };
        server.fetch(&request, query)
    }

    /// The tile as it comes, compressed or not.
    fn fetch_data(&self, tile: TileCoord, query: &MapQuery, format: &DataFormat) -> Result<DataTile, MapError> {
        let name = &self.profile.name;
        let url = self.url.url(tile, &self.grid.tile_bbox(tile), format.extension());
        let mut request = UpstreamRequest::get(url).with_credentials(self.credentials.clone());
        request.headers.push(("Accept-Encoding".to_owned(), "gzip".to_owned()));
        let response = match self.client.send(&request) {
            Ok(response) => response,
            Err(error) if error.status() == Some(204) => return Ok(DataTile::EMPTY),
            Err(error) => return self.no_data(query, answer::client_error(name, error)),
        };
        let unusable = |reason| answer::no_image(name, "response is not a tile", &request.url, reason);
        let coding = response.headers.iter().find(|(name, _)| name == "content-encoding");
        if let Some((_, coding)) = coding.filter(|(_, coding)| !matches!(&**coding, "gzip" | "x-gzip" | "identity")) {
            return self.no_data(query, unusable(format!("content encoding is {coding}")));
        }
        if let Err(damage) = format.check(&response.body) {
            let url = RedactedUrl::new(&request.url);
            log::warn!(target: LOG, "{name}: response is not a tile: {url}: {}", answer::excerpt(&response));
            return self.no_data(query, unusable(damage.to_string()));
        }
        Ok(DataTile { bytes: Some(response.body), cacheable: true })
    }

    /// Nothing, where a rule is made for the failure: its colour is for pictures.
    fn no_data(&self, query: &MapQuery, error: MapError) -> Result<DataTile, MapError> {
        let MapError::Upstream { status, .. } = &error else { return Err(error) };
        let rule = self.on_error.rule(*status).filter(|rule| !(rule.authorize_stale && query.has_stale));
        let Some(rule) = rule else { return Err(error) };
        log::warn!(target: LOG, "{error}");
        Ok(DataTile { bytes: None, cacheable: rule.cacheable })
    }
}

/// A server of tiles, whatever their addresses are.
pub(crate) struct TileServer<'a> {
    pub(crate) profile: &'a SourceProfile,
    pub(crate) on_error: &'a OnErrors,
    pub(crate) client: &'a dyn HttpClient,
    pub(crate) log_target: &'a str,
}

impl TileServer<'_> {
    /// The tile that `request` asks for and `query` wants.
    pub(crate) fn fetch(&self, request: &UpstreamRequest, query: &MapQuery) -> Result<MapImage, MapError> {
        let name = &self.profile.name;
        let failed = |error| self.on_error.instead_of(error, query, query.size, &self.profile.image, self.log_target);
        let response = match self.client.send(request) {
            Ok(response) => response,
            Err(error) => return failed(answer::client_error(name, error)),
        };
        let unusable = |reason| answer::no_image(name, "response is not an image", &request.url, reason);
        if !answer::is_image(&response) {
            let url = RedactedUrl::new(&request.url);
            log::warn!(target: self.log_target, "{name}: response is not an image: {url}: {}", answer::excerpt(&response));
            let content_type = response.content_type.as_deref().unwrap_or_default();
            return failed(unusable(format!("content type is {content_type}")));
        }
        if let Err(reason) = answer::check_picture(&response.body, query.size) {
            return failed(unusable(reason));
        }
        Ok(MapImage::from_encoded(response.body, Arc::clone(&self.profile.image)))
    }
}

/// The tile of `grid` that `query` is the box of; `None` beside the grid.
pub(crate) fn tile_of(
    grid: &TileGrid,
    query: &MapQuery,
    source_name: &Arc<str>,
) -> Result<Option<TileCoord>, MapError> {
    let misaligned = |reason: String| MapError::Misaligned { source_name: Arc::clone(source_name), reason };
    if query.size != grid.tile_size() {
        let reason = "tile size of cache and tile source do not match";
        return Err(misaligned(format!("{reason}: {} != {}", query.size, grid.tile_size())));
    }
    if query.srs != *grid.srs() {
        let reason = "SRS of cache and tile source do not match";
        return Err(misaligned(format!("{reason}: {} != {}", query.srs, grid.srs())));
    }
    let level = grid.closest_level(query.resolution());
    let affected = grid.affected_level_tiles(&query.bbox, level)?;
    let not_one = || {
        let reason = "BBOX does not align to tile";
        misaligned(format!("{reason}: {} is no tile of level {level} of grid {}", query.bbox, grid.name()))
    };
    match affected.tiles.as_slice() {
        [None] => Ok(None),
        [Some(tile)] => {
            let (x_res, y_res) = query.bbox.resolution(query.size);
            let same = grid.tile_bbox(*tile).almost_equals(&query.bbox, x_res / 2.0, y_res / 2.0);
            if same { Ok(Some(*tile)) } else { Err(not_one()) }
        }
        _ => Err(not_one()),
    }
}

impl MapSource for TileSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn render(&self, query: &MapQuery) -> Result<Option<MapImage>, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.profile.name)));
        if !self.profile.covers(query)? {
            return Ok(None);
        }
        let tile = tile_of(&self.grid, query, &self.profile.name)?;
        tile.map(|tile| self.fetch(tile, query)).transpose()
    }
}

impl DataSource for TileSource {
    fn profile(&self) -> &SourceProfile {
        &self.profile
    }

    fn data(&self, query: &MapQuery, format: &DataFormat) -> Result<DataTile, MapError> {
        let _place = trace::within(|| Place::Source(Arc::clone(&self.profile.name)));
        if !self.profile.covers(query)? {
            return Ok(DataTile::EMPTY);
        }
        match tile_of(&self.grid, query, &self.profile.name)? {
            Some(tile) => self.fetch_data(tile, query, format),
            None => Ok(DataTile::EMPTY),
        }
    }
}

#[cfg(test)]
mod tests {
    use mapproxy_client::testkit::{ScriptedClient, response};
    use mapproxy_grid::{Bbox, Origin, Size, Srs};
    use mapproxy_image::{Color, ImageFormat, PixelMode, Pixels, codec};

    use super::*;
    use crate::OnErrorRule;

    fn grid(origin: Origin) -> Arc<TileGrid> {
        let mut builder = TileGrid::builder("g", Srs::web_mercator());
        builder.origin = origin;
        Arc::new(builder.build().unwrap())
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let pixels = Pixels::filled(Size::new(width, height), PixelMode::Rgb, Color::rgb(200, 10, 10));
        codec::encode(&pixels, &ImageOptions::new(ImageFormat::png()), None).unwrap().bytes.to_vec()
    }

    fn source(client: &ScriptedClient, on_error: OnErrors) -> TileSource {
        let options = TileOptions {
            name: "tiles".into(),
            url: "http://u:p@h/%(z)s/%(x)s/%(y)s.%(format)s".into(),
            grid: grid(Origin::UpperLeft),
            image: Arc::default(),
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error,
        };
        TileSource::new(options, Arc::new(client.clone())).unwrap()
    }

    /// The query that a cache in `grid` makes for a tile.
    fn query(grid: &TileGrid, tile: TileCoord) -> MapQuery {
        MapQuery::new(grid.tile_bbox(tile), grid.tile_size(), grid.srs().clone(), ImageFormat::png())
    }

    #[test]
    fn tiles_are_asked_in_the_servers_own_rows() {
        let client = ScriptedClient::answering("image/png", png(256, 256));
        let source = source(&client, OnErrors::default());
        let south_first = grid(Origin::LowerLeft);
        let image = source.render(&query(&south_first, TileCoord::new(1, 0, 2))).unwrap().unwrap();
        assert_eq!(client.urls(), ["http://h/2/1/3.png"]);
        assert!(client.requests()[0].credentials.is_some());
        assert_eq!(image.encoded_bytes().unwrap(), &png(256, 256));
    }

    #[test]
    fn only_boxes_of_single_tiles_are_answered() {
        let client = ScriptedClient::answering("image/png", png(256, 256));
        let source = source(&client, OnErrors::default());
        let good = query(&grid(Origin::LowerLeft), TileCoord::new(1, 1, 2));
        let reason = |query: &MapQuery| match source.render(query) {
            Err(MapError::Misaligned { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(&good.sub(good.bbox, Size::new(512, 512))).starts_with("tile size of cache"));
        assert!(reason(&MapQuery { srs: Srs::wgs84(), ..good.clone() }).starts_with("SRS of cache"));
        let (width, bbox) = (good.bbox.width(), good.bbox);
        let shifted = Bbox { min_x: bbox.min_x + width / 4.0, max_x: bbox.max_x + width / 4.0, ..bbox };
        assert!(reason(&good.sub(shifted, good.size)).starts_with("BBOX does not align"));
        let half = Bbox { max_x: bbox.min_x + width * 0.9, ..bbox };
        assert!(reason(&good.sub(half, good.size)).starts_with("BBOX does not align"));
        assert!(client.urls().is_empty());
    }

    #[test]
    fn unusable_bodies_are_errors_and_never_pictures() {
        let whole = png(256, 256);
        let cut = whole[..whole.len() - 20].to_vec();
        let bodies = [
            ("text/html", b"<h1>no</h1>".to_vec(), "content type is text/html"),
            ("image/png", Vec::new(), "empty"),
            ("image/png", png(1, 1), "1x1"),
            ("image/png", cut, "cut off"),
            ("image/png", b"<h1>no</h1>".to_vec(), "cannot decode"),
        ];
        for (content_type, body, expected) in bodies {
            let client = ScriptedClient::new({
                let body = body.clone();
                move |_| Ok(response(content_type, body.clone()))
            });
            let query = query(&grid(Origin::LowerLeft), TileCoord::new(0, 0, 1));
            let error = source(&client, OnErrors::default()).render(&query).unwrap_err();
            let MapError::Upstream { url, reason, status, .. } = &error else { panic!("{error:?}") };
            assert!(reason.contains(expected), "{reason:?} should tell {expected:?}");
            assert_eq!((url.as_str(), *status), ("http://h/1/0/1.png", None));

            let rule =
                OnErrorRule { status: None, color: Color::rgb(1, 2, 3), cacheable: false, authorize_stale: false };
            let image = source(&client, OnErrors::new(vec![rule])).render(&query).unwrap().unwrap();
            assert!(!image.cacheable());
            assert_eq!(image.pixels().unwrap().single_color(), Some(Color::rgb(1, 2, 3)));
        }
    }

    /// A vector tile with a layer called `roads`.
    const VECTOR: &[u8] = b"\x1a\x0c\x0a\x05roads\x28\x80\x20\x78\x02";

    #[test]
    fn tiles_of_data_are_passed_on_as_they_come() {
        let packed = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0x55; 20], &[1, 2, 3, 4, 30, 0, 0, 0]].concat();
        for (body, coding) in [(VECTOR, None), (&packed, Some("gzip")), (&packed, None)] {
            let mut answer = response("application/x-protobuf", body.to_vec());
            answer.headers.extend(coding.map(|coding| ("content-encoding".to_owned(), coding.to_owned())));
            let client = ScriptedClient::new(move |_| Ok(answer.clone()));
            let query = query(&grid(Origin::LowerLeft), TileCoord::new(1, 0, 2));
            let format = DataFormat::named("pbf").unwrap();
            let tile = source(&client, OnErrors::default()).data(&query, &format).unwrap();
            assert_eq!((tile.bytes.as_deref(), tile.cacheable), (Some(body), true));
            assert_eq!(client.urls(), ["http://h/2/1/3.pbf"]);
            assert_eq!(client.requests()[0].headers, [("Accept-Encoding".to_owned(), "gzip".to_owned())]);
        }
    }

    #[test]
    fn what_is_no_tile_of_data_is_an_error_unless_a_rule_makes_it_an_empty_one() {
        let format = DataFormat::named("mvt").unwrap();
        let query = query(&grid(Origin::LowerLeft), TileCoord::new(0, 0, 1));
        let mut packed = response("application/x-protobuf", VECTOR.to_vec());
        packed.headers.push(("content-encoding".to_owned(), "br".to_owned()));
        let html = response("text/html", b"<h1>no</h1>".to_vec());
        let cut = response("application/x-protobuf", VECTOR[..9].to_vec());
        for answer in [packed, html, cut, response("application/x-protobuf", Vec::new())] {
            let client = ScriptedClient::new(move |_| Ok(answer.clone()));
            let error = source(&client, OnErrors::default()).data(&query, &format).unwrap_err();
            assert!(error.to_string().contains("response is not a tile"), "{error}");
        }
        let failing = |status, rules| source(&ScriptedClient::failing(status), rules).data(&query, &format);
        assert!(failing(404, OnErrors::default()).is_err());
        let rule =
            OnErrorRule { status: Some(404), color: Color::TRANSPARENT, cacheable: true, authorize_stale: false };
        let rules = OnErrors::new(vec![rule.clone(), OnErrorRule { status: None, cacheable: false, ..rule }]);
        for (status, cacheable) in [(404, true), (500, false)] {
            let tile = failing(status, rules.clone()).unwrap();
            assert_eq!((tile.bytes, tile.cacheable), (None, cacheable));
        }
        let nothing = failing(204, OnErrors::default()).unwrap();
        assert_eq!((nothing.bytes, nothing.cacheable), (None, true));
    }

    #[test]
    fn a_template_with_a_mistake_makes_no_source() {
        let client: Arc<dyn HttpClient> = Arc::new(ScriptedClient::failing(500));
        let options = TileOptions {
            name: "tiles".into(),
            url: "http://u:secret@h/%(zoom)s".into(),
            grid: grid(Origin::LowerLeft),
            image: Arc::default(),
            coverage: None,
            resolutions: ResolutionRange::default(),
            on_error: OnErrors::default(),
        };
        let error = TileSource::new(options, client).unwrap_err().to_string();
        assert!(error.starts_with("tiles: url http://h/%(zoom)s: %(zoom) is not known"), "{error}");
    }
}
