//! An application around an application: only who sends a key in `X-Api-Key` reaches the maps.
//!
//! What may be seen of a layer, and where, is a question for an `Authorizer` (see `examples/authorize`); a filter like
//! this one lets in or keeps out.
//!
//! ```sh
//! cargo run --release -p example-wrap-with-auth -- examples/world/mapproxy.yaml secret
//! curl -H 'X-Api-Key: secret' 'http://127.0.0.1:8080/demo/'
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

use anyhow::{Context, Result};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use mapproxy_core::{Application, Body, Request, Response, make_app};
use mapproxy_http::Server;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-wrap-with-auth mapproxy.yaml key";
    let (configuration, key) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let app = WithKey { app: make_app(configuration)?, key };
    Server::builder(app).bind("127.0.0.1:8080").stop_on_signals(true).build()?.run()?;
    Ok(())
}

struct WithKey<A> {
    app: A,
    key: String,
}

impl<A> WithKey<A> {
    fn knows(&self, request: &Request) -> bool {
        let given = request.headers().get("x-api-key").map_or(&[][..], HeaderValue::as_bytes);
        // All bytes are compared, whichever differs first: the time is not to tell how much of a guess is right.
        given.len() == self.key.len() && given.iter().zip(self.key.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl<A: Application> Application for WithKey<A> {
    fn call(&self, request: Request) -> Response {
        if !self.knows(&request) {
            let mut refusal = Response::new(Body::from("a key is needed"));
            *refusal.status_mut() = StatusCode::UNAUTHORIZED;
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
            return refusal;
        }
        private(self.app.call(request))
    }

    // Answers that can be had at once (cached tiles) have to pass here, too.
    fn call_now(&self, request: &Request) -> Option<Response> {
        if self.knows(request) { self.app.call_now(request).map(private) } else { None }
    }
}

/// Caches between us and the client must not hand the answer to somebody else.
fn private(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn maps_are_for_those_with_the_key() {
        let world = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let app = WithKey { app: make_app(world).unwrap(), key: "secret".to_owned() };
        let ask = |key: Option<&str>| {
            let request = http::Request::get(
                "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:4326\
                 &BBOX=-10,40,20,60&WIDTH=300&HEIGHT=200&FORMAT=image/png",
            );
            let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
            app.call(request.body(Bytes::new()).unwrap())
        };
        let map = ask(Some("secret"));
        assert_eq!((map.status(), &map.headers()["content-type"]), (StatusCode::OK, &"image/png".parse().unwrap()));
        assert_eq!(map.headers()["cache-control"], "private");
        for key in [None, Some(""), Some("secret2"), Some("Secret")] {
            assert_eq!(ask(key).status(), StatusCode::UNAUTHORIZED, "{key:?}");
        }
    }
}
