//! MapProxy as a server of threads and plain sockets, for programs that have no async runtime and want none: neither tokio
//! nor hyper is compiled for this one.
//!
//! ```sh
//! cargo run --release -p example-embed-blocking -- examples/world/mapproxy.yaml 127.0.0.1:8080
//! ```

use anyhow::{Context, Error, Result};
use mapproxy_core::{Application, make_app};
use mapproxy_http::Listen;
use mapproxy_http::blocking::Server;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-embed-blocking mapproxy.yaml HOST:PORT";
    let (config, address) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    let server = server(make_app(config)?, address.parse().map_err(Error::msg)?)?;
    for address in server.addresses() {
        println!("http://{address}/");
    }
    server.run()?;
    Ok(())
}

fn server<A: Application + 'static>(app: A, listen: Listen) -> Result<Server<A>> {
    Ok(Server::builder(app).listen(listen).threads(64).build()?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_map_is_drawn_by_plain_threads() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../world/mapproxy.yaml");
        let app = make_app(config).expect("the example's configuration is valid");
        let server = server(app, Listen::Tcp("127.0.0.1:0".to_owned())).expect("a port is free");
        let ask = example_client::at(server.local_addr().expect("it has a port"));
        let handle = server.handle();
        let running = thread::spawn(|| server.run());
        ask.assert_map("");
        handle.stop();
        running.join().expect("no panic").expect("no fault");
    }

    #[test]
    fn no_async_runtime_is_compiled() {
        let mut tree = std::process::Command::new(env!("CARGO"));
        tree.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", env!("CARGO_PKG_NAME")]);
        let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo can be run");
        let crates = String::from_utf8(output.stdout).expect("names of crates are text");
        assert!(crates.contains("httparse "), "{}", String::from_utf8_lossy(&output.stderr));
        for name in ["tokio", "hyper", "tower", "mio", "futures"] {
            assert!(!crates.lines().any(|line| line.starts_with(name)), "{name} is compiled:\n{crates}");
        }
    }
}
