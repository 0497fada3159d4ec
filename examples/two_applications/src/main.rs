//! Two configurations in one program, under `/first/` and `/second/`; each follows its files.
//!
//! ```sh
//! cargo run --release -p example-two-applications -- examples/world/mapproxy.yaml mine.yaml 127.0.0.1:8080
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use mapproxy_core::AppBuilder;
use mapproxy_core::wrap::{Reload, UrlMap, Watching};
use mapproxy_http::Server;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-two-applications first.yaml second.yaml [host:port]";
    let (first, second) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let (map, _watching) = url_map(&[("/first", &first), ("/second", &second)])?;
    println!("http://{address}/first/demo/ and http://{address}/second/demo/");
    Server::builder(map).bind(address).stop_on_signals(true).build()?.run()?;
    Ok(())
}

/// Each configuration under its path. The applications are rebuilt when their files change, as long as what is returned
/// beside the map lives.
fn url_map(places: &[(&str, &str)]) -> Result<(UrlMap, Vec<Watching>)> {
    let (mut map, mut watching) = (UrlMap::new(), Vec::new());
    for (path, configuration) in places {
        let app = Arc::new(Reload::of_builder(AppBuilder::from_file(configuration))?);
        watching.push(app.watch(Duration::from_secs(1))?);
        map = map.mount(path, app)?;
    }
    Ok((map, watching))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mapproxy_core::Application;

    use super::*;

    const WORLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");

    #[test]
    fn each_application_draws_maps_and_names_its_own_address() {
        let (map, _watching) = url_map(&[("/first", WORLD), ("/second", WORLD)]).unwrap();
        let get = |uri: &str| {
            let request = http::Request::get(uri).header("host", "maps.example").body(Bytes::new()).unwrap();
            map.call(request)
        };
        for place in ["first", "second"] {
            let picture = get(&format!(
                "/{place}/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:4326\
                 &BBOX=-10,40,20,60&WIDTH=300&HEIGHT=200&FORMAT=image/png"
            ));
            assert_eq!(picture.headers()["content-type"], "image/png");
            let document = get(&format!("/{place}/service?SERVICE=WMS&REQUEST=GetCapabilities"));
            let document = String::from_utf8_lossy(document.body().as_bytes()).into_owned();
            assert!(document.contains(&format!("http://maps.example/{place}/service")), "{document}");
        }
        assert_eq!(get("/third/demo/").status(), 404);
    }
}
