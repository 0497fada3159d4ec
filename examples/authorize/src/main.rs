//! MapProxy that asks who is calling: a header names a key, and a key opens a layer within a country, or everything.
//!
//! ```sh
//! cargo run --release -p example-authorize -- examples/world/mapproxy.yaml KEY_FOR_GERMANY KEY_FOR_EVERYTHING
//! curl -H 'X-Api-Key: KEY_FOR_GERMANY' -o tile.png http://127.0.0.1:8080/wmts/world/GLOBAL_WEBMERCATOR/05/16/10.png
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use mapproxy_core::auth::{Authorizer, AuthorizerError, Coverage, Decision, Grant, Partial, Question, Srs};
use mapproxy_core::{App, AppBuilder};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, for_germany, for_everything] = arguments.as_slice() else {
        anyhow::bail!("usage: example-authorize mapproxy.yaml KEY_FOR_GERMANY KEY_FOR_EVERYTHING");
    };
    let app = app(config, for_germany, for_everything)?;
    mapproxy_http::Server::builder(app).bind("127.0.0.1:8080").stop_on_signals(true).build()?.run()?;
    Ok(())
}

fn app(config: &str, for_germany: &str, for_everything: &str) -> Result<App> {
    let germany = Coverage::from_wkt(include_str!("../germany.wkt"), Srs::wgs84())?;
    let part = Partial::new().layer("world", Grant::all().limited_to(germany));
    let keys = ApiKeys(HashMap::from([
        (for_germany.to_owned(), Decision::Partial(part)),
        (for_everything.to_owned(), Decision::Full),
    ]));
    let built = AppBuilder::from_file(config).authorizer(Arc::new(keys)).build();
    Ok(built.with_context(|| format!("cannot serve {config}"))?.app)
}

/// What each key opens. The decisions are made once: to copy one costs little, and areas remember what they look like in
/// the reference systems of the requests.
#[derive(Debug)]
struct ApiKeys(HashMap<String, Decision>);

impl Authorizer for ApiKeys {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        let Some(key) = question.request.headers().get("x-api-key") else { return Ok(Decision::Unauthenticated) };
        Ok(self.0.get(key.to_str()?).cloned().unwrap_or(Decision::None))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mapproxy_core::{Application, Response};
    use mapproxy_image::MapImage;

    use super::*;

    const MAP: &str = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:4326\
                       &BBOX=0,40,20,60&WIDTH=200&HEIGHT=200&FORMAT=image/png&TRANSPARENT=true";

    fn get(app: &App, key: Option<&str>, url: &str) -> Response {
        let mut request = http::Request::get(url);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        app.call(request.body(bytes::Bytes::new()).unwrap())
    }

    fn transparency(response: Response, places: [(u32, u32); 2]) -> [u8; 2] {
        let image = MapImage::from_encoded(response.into_body().into_bytes(), Arc::default());
        let pixels = image.pixels().unwrap();
        places.map(|(x, y)| pixels.pixel(x, y)[3])
    }

    #[test]
    fn each_key_opens_its_part_of_the_world() {
        // A copy, since tiles are kept beside the configuration.
        let (world, copy) = (concat!(env!("CARGO_MANIFEST_DIR"), "/../world"), tempfile::tempdir().unwrap());
        for file in ["mapproxy.yaml", "world.png"] {
            std::fs::copy(Path::new(world).join(file), copy.path().join(file)).unwrap();
        }
        let config = copy.path().join("mapproxy.yaml");
        let app = app(config.to_str().unwrap(), "key-1", "key-2").unwrap();
        assert_eq!(get(&app, None, MAP).status(), 401);
        assert_eq!(get(&app, Some("key-3"), MAP).status(), 403);
        // Frankfurt and Milan.
        let places = [(87, 99), (92, 145)];
        assert_eq!(transparency(get(&app, Some("key-1"), MAP), places), [255, 0]);
        assert_eq!(transparency(get(&app, Some("key-2"), MAP), places), [255, 255]);
        // The tile of 0° to 11.25° east, 48.9° to 55.8° north: Frankfurt and the coast of England.
        let tile = "/wmts/world/GLOBAL_WEBMERCATOR/05/16/10.png";
        assert_eq!(transparency(get(&app, Some("key-1"), tile), [(197, 209), (20, 130)]), [255, 0]);
        assert_eq!(get(&app, Some("key-1"), &MAP.replace("LAYERS=world", "LAYERS=picture")).status(), 403);
    }
}
