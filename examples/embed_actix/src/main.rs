//! MapProxy below `/maps` of an actix-web server that has other services.
//!
//! ```sh
//! cargo run --release -p example-embed-actix -- examples/world/mapproxy.yaml 127.0.0.1:8080
//! ```

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, rt, web};
use anyhow::{Context, Result};
use mapproxy_core::{Application, make_app};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-embed-actix mapproxy.yaml HOST:PORT";
    let (config, address) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    let listener = std::net::TcpListener::bind(address)?;
    println!("http://{}/", listener.local_addr()?);
    let app = make_app(config)?;
    rt::System::new().block_on(async { server(app, listener)?.await })?;
    Ok(())
}

fn server(app: impl Application + 'static, listener: std::net::TcpListener) -> std::io::Result<Server> {
    let maps = mapproxy_http::actix::service(app).mounted_at("/maps");
    let server = HttpServer::new(move || {
        let health = web::get().to(|| async { HttpResponse::Ok().body("fine") });
        App::new().route("/health", health).service(maps.clone())
    });
    Ok(server.workers(2).listen(listener)?.run())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_map_is_drawn_beside_other_services() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let ask = example_client::at(listener.local_addr().expect("it is bound"));
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let app = make_app(config).expect("the example's configuration is valid");
        thread::spawn(|| rt::System::new().block_on(async { server(app, listener)?.await }));
        assert_eq!(ask.get("/health").body, b"fine");
        ask.assert_map("/maps");
        assert_eq!(ask.get("/service").status, 404);
    }
}
