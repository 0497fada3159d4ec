//! MapProxy inside a program of one's own: draws one map into a file, without any server.
//!
//! ```sh
//! cargo run --release -p example-embed-app -- examples/world/mapproxy.yaml europe.png
//! ```

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use mapproxy_core::{Application, Request, Response, make_app};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-embed-app mapproxy.yaml map.png";
    let (config, target) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    let picture = draw(&config)?;
    std::fs::write(&target, &picture).with_context(|| format!("cannot write {target}"))?;
    println!("{target}: {} bytes", picture.len());
    Ok(())
}

fn draw(config: &str) -> Result<Bytes> {
    // The application is a function from requests to responses; what stands around it is up to us.
    let app = Timed(make_app(config)?);
    let request = http::Request::get(
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:3857\
         &BBOX=-2000000,4000000,5000000,9000000&WIDTH=1400&HEIGHT=1000&FORMAT=image/png",
    );
    let response = app.call(request.body(Bytes::new())?);
    let (head, body) = response.into_parts();
    let drawn = head.status.is_success() && head.headers.get("content-type").is_some_and(|value| value == "image/png");
    ensure!(drawn, "{}: {}", head.status, String::from_utf8_lossy(body.as_bytes()));
    Ok(body.into_bytes())
}

/// A wrapper around an application is an application.
struct Timed<A>(A);

impl<A: Application> Application for Timed<A> {
    fn call(&self, request: Request) -> Response {
        let (path, begin) = (request.uri().path().to_owned(), Instant::now());
        let response = self.0.call(request);
        println!("{path}: {} in {:?}", response.status(), begin.elapsed());
        response
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.0.call_now(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_europe_is_drawn_and_a_missing_configuration_is_an_error() {
        let world = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let picture = draw(world).expect("the example is complete");
        assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"));
        // Width and height in the header of a PNG.
        assert_eq!(picture[16..24], [0, 0, 5, 120, 0, 0, 3, 232]);
        assert!(draw("nowhere.yaml").is_err());
    }
}
