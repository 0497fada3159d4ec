//! MapProxy as a FastCGI server, for nginx, Apache or lighttpd in front.
//!
//! ```sh
//! cargo run --release -p example-embed-fastcgi -- examples/world/mapproxy.yaml unix:mapproxy.sock
//! ```
//!
//! With `fd:0` in place of the socket, spawn-fcgi and Apache's mod_fcgid can start it.

use anyhow::{Context, Error, Result};
use mapproxy_core::{Application, make_app};
use mapproxy_http::{Listen, Protocol, Server};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-embed-fastcgi mapproxy.yaml HOST:PORT|unix:PATH|fd:NUMBER";
    let (config, address) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    server(make_app(config)?, address.parse().map_err(Error::msg)?)?.run()?;
    Ok(())
}

fn server<A: Application + 'static>(app: A, listen: Listen) -> Result<Server<A>> {
    Ok(Server::builder(app).protocol(Protocol::FastCgi).listen(listen).stop_on_signals(true).build()?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_map_is_drawn_for_a_web_server() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let app = make_app(config).expect("the example's configuration is valid");
        let server = server(app, Listen::Tcp("127.0.0.1:0".to_owned())).expect("a port is free");
        let ask = example_client::fastcgi_at(server.local_addr().expect("it has a port"));
        let handle = server.handle();
        let running = thread::spawn(|| server.run());
        ask.assert_map("");
        handle.stop();
        running.join().expect("no panic").expect("no fault");
    }
}
