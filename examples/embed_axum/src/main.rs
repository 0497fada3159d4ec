//! MapProxy below `/maps` of an axum server that has other routes.
//!
//! ```sh
//! cargo run --release -p example-embed-axum -- examples/world/mapproxy.yaml 127.0.0.1:8080
//! ```

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use mapproxy_core::{Application, make_app};
use mapproxy_http::{AppService, Workers};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-embed-axum mapproxy.yaml HOST:PORT";
    let (config, address) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    let listener = TcpListener::bind(address).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, router(make_app(config)?)).await?;
    Ok(())
}

fn router(app: impl Application + 'static) -> Router {
    // axum takes the prefix off the path; the service puts it back, and into the addresses that answers name.
    let maps = AppService::new(app, Workers::new(64, 256)).mounted_at("/maps");
    Router::new()
        .route("/", get(|| async { "maps are at /maps/" }))
        .route("/health", get(|| async { "fine" }))
        .nest_service("/maps", maps)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn serve() -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("sockets need not block");
        let address = listener.local_addr().expect("it is bound");
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let app = make_app(config).expect("the example's configuration is valid");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is a listener");
                axum::serve(listener, router(app)).await
            })
        });
        address
    }

    #[test]
    fn a_map_is_drawn_beside_other_routes() {
        let ask = example_client::at(serve());
        assert_eq!(ask.get("/health").body, b"fine");
        ask.assert_map("/maps");
        assert_eq!(ask.get("/service").status, 404);
    }
}
