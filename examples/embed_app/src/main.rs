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

    // The application is a function from requests to responses; what stands around it is up to us.
    let app = Timed(make_app(&config)?);
    let request = http::Request::get(
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:3857\
         &BBOX=-2000000,4000000,5000000,9000000&WIDTH=1400&HEIGHT=1000&FORMAT=image/png",
    );
    let response = app.call(request.body(Bytes::new())?);
    let (head, body) = response.into_parts();
    let drawn = head.status.is_success() && head.headers.get("content-type").is_some_and(|value| value == "image/png");
    ensure!(drawn, "{}: {}", head.status, String::from_utf8_lossy(body.as_bytes()));
    std::fs::write(&target, body.as_bytes()).with_context(|| format!("cannot write {target}"))?;
    println!("{target}: {} bytes", body.len());
    Ok(())
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
